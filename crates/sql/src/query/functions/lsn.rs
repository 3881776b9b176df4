//! Arithmetic of positions in the log (`pg_lsn.c`, and `numeric_pg_lsn` of `numeric.c`): what the
//! operators `+` and `-` of `pg_lsn` mean.

use trunkline_types::oids::{NUMERIC, PG_LSN};

use super::rows::RowFunction as F;
use crate::query::error::{QueryError, sqlstate};
use crate::query::numeric::Numeric;
use crate::query::value::Value;

type Outcome = Result<Value<'static>, QueryError>;

pub(crate) const FUNCTIONS: &[F] = &[
    F::new("pg_lsn_mi", &[PG_LSN, PG_LSN], NUMERIC, |v, _| {
        difference(v)
    }),
    F::new("pg_wal_lsn_diff", &[PG_LSN, PG_LSN], NUMERIC, |v, _| {
        difference(v)
    }),
    F::new("pg_lsn_pli", &[PG_LSN, NUMERIC], PG_LSN, |v, _| {
        plus(position(&v[0])?, v[1].as_numeric()?)
    }),
    F::new("numeric_pl_pg_lsn", &[NUMERIC, PG_LSN], PG_LSN, |v, _| {
        plus(position(&v[1])?, v[0].as_numeric()?)
    }),
    F::new("pg_lsn_mii", &[PG_LSN, NUMERIC], PG_LSN, |v, _| {
        minus(position(&v[0])?, v[1].as_numeric()?)
    }),
    F::new("pg_lsn", &[NUMERIC], PG_LSN, |v, _| {
        from_numeric(v[0].as_numeric()?)
    }),
];

/// All 64 bits count; `Value` carries them as they are.
fn position(value: &Value<'_>) -> Result<u64, QueryError> {
    Ok(value.as_int()?.cast_unsigned())
}

fn difference(v: &[Value<'_>]) -> Outcome {
    let bytes = i128::from(position(&v[0])?) - i128::from(position(&v[1])?);
    Ok(Value::Numeric(Numeric::from_i128(bytes, 0)))
}

fn plus(lsn: u64, bytes: &Numeric) -> Outcome {
    if bytes.is_nan() {
        return Err(QueryError::unsupported("cannot add NaN to pg_lsn"));
    }
    from_numeric(&Numeric::from_i128(lsn.into(), 0).add(bytes)?)
}

fn minus(lsn: u64, bytes: &Numeric) -> Outcome {
    if bytes.is_nan() {
        return Err(QueryError::unsupported("cannot subtract NaN from pg_lsn"));
    }
    from_numeric(&Numeric::from_i128(lsn.into(), 0).sub(bytes)?)
}

fn from_numeric(value: &Numeric) -> Outcome {
    if value.is_nan() {
        return Err(QueryError::unsupported("cannot convert NaN to pg_lsn"));
    }
    if !value.is_finite() {
        return Err(QueryError::unsupported("cannot convert infinity to pg_lsn"));
    }
    let rounded = value.round(0)?.to_i128(0);
    let lsn = rounded.and_then(|whole| u64::try_from(whole).ok());
    lsn.map(|lsn| Value::Int(lsn.cast_signed()))
        .ok_or_else(|| QueryError::new(sqlstate::INVALID_PARAMETER_VALUE, "pg_lsn out of range"))
}
