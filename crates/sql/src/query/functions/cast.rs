//! Casts between PostgreSQL's types as one scalar function per pair: `PgCast` changes a value's
//! type, its modifier (`varchar(3)`, `numeric(10,2)`) or only the way a numeric travels.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Decimal128Array, LargeBinaryBuilder};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Decimal128Type};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use trunkline_types::datetime::{
    date_to_timestamp, local_to_timestamptz, round_timestamp, timestamp_to_date,
    timestamptz_to_local,
};
use trunkline_types::{format_type, oids};

use super::alias::{alias_of, read_alias};
use crate::query::column::out_of_range;
use crate::query::decimal::{DECIMAL_NAN, encode_decimal};
use crate::query::error::{QueryError, sqlstate};
use crate::query::numeric::Numeric;
use crate::query::pgtype::PgType;
use crate::query::value::{Styles, Value, map_rows, value_from_text, value_to_text};

/// A cast. Two casts are equal if they mean the same; the session's settings are not compared,
/// because a plan never outlives them.
#[derive(Debug, Clone)]
pub(crate) struct PgCast {
    from: PgType,
    to: PgType,
    to_arrow: DataType,
    /// Written by the user: over-long strings are cut instead of refused.
    explicit: bool,
    styles: Arc<Styles>,
    signature: Signature,
}

impl PartialEq for PgCast {
    fn eq(&self, other: &Self) -> bool {
        self.from == other.from
            && self.to == other.to
            && self.to_arrow == other.to_arrow
            && self.explicit == other.explicit
    }
}

impl Eq for PgCast {}

impl Hash for PgCast {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.from.hash(state);
        self.to.hash(state);
        self.to_arrow.hash(state);
        self.explicit.hash(state);
    }
}

/// The call that casts `expr`.
pub(crate) fn cast_expr(
    expr: Expr,
    from: PgType,
    to: PgType,
    to_arrow: DataType,
    explicit: bool,
    styles: &Arc<Styles>,
) -> Expr {
    let cast = PgCast {
        from,
        to,
        to_arrow,
        explicit,
        styles: Arc::clone(styles),
        signature: Signature::any(1, Volatility::Immutable),
    };
    ScalarUDF::new_from_impl(cast).call(vec![expr])
}

impl ScalarUDFImpl for PgCast {
    fn name(&self) -> &str {
        "cast"
    }

    fn schema_name(&self, args: &[Expr]) -> DfResult<String> {
        let inner = args
            .iter()
            .map(|arg| arg.schema_name().to_string())
            .collect::<String>();
        Ok(format!(
            "({inner})::{} {}",
            format_type(self.to.oid, self.to.typmod),
            self.to_arrow
        ))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> DfResult<DataType> {
        Ok(self.to_arrow.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        if let [arg] = args.args.as_slice()
            && let Some(result) = self.vectorised(arg)?
        {
            return Ok(result);
        }
        let result = map_rows(
            &args.args,
            args.number_rows,
            &self.to_arrow,
            true,
            |values| {
                let value = cast_value(
                    values[0].clone(),
                    self.from,
                    self.to,
                    self.explicit,
                    &self.styles,
                )?;
                match (&self.to_arrow, value) {
                    (DataType::Decimal128(_, scale), Value::Numeric(numeric)) => {
                        Ok(Value::Numeric(numeric.round(i32::from(*scale))?))
                    }
                    (_, value) => Ok(value),
                }
            },
        )?;
        Ok(result)
    }
}

impl PgCast {
    /// The casts that Arrow can do as PostgreSQL would, a column at a time.
    fn vectorised(&self, arg: &ColumnarValue) -> Result<Option<ColumnarValue>, QueryError> {
        let from = arg.data_type();
        let widening = matches!(
            (&from, &self.to_arrow),
            (DataType::Int16, DataType::Int32 | DataType::Int64)
                | (DataType::Int32, DataType::Int64)
                | (DataType::Int16 | DataType::Int32, DataType::Float64)
                | (DataType::Int64, DataType::Float64)
                | (DataType::Float32, DataType::Float64)
                | (
                    DataType::Int16 | DataType::Int32 | DataType::Int64,
                    DataType::Decimal128(..)
                )
        ) && self.to.typmod < 0;
        let relabelling = from == self.to_arrow
            && from == DataType::Utf8
            && self.to.typmod < 0
            && self.from.oid != oids::BPCHAR
            && !matches!(self.to.oid, oids::NAME | oids::CHAR)
            && matches!(
                self.from.oid,
                oids::TEXT | oids::VARCHAR | oids::NAME | oids::CHAR
            );
        if relabelling {
            return Ok(Some(arg.clone()));
        }
        let over_column = |body: &dyn Fn(&ArrayRef) -> Result<ArrayRef, QueryError>| {
            Ok(Some(match arg {
                ColumnarValue::Array(array) => ColumnarValue::Array(body(array)?),
                ColumnarValue::Scalar(scalar) => {
                    let array = body(&scalar.to_array_of_size(1)?)?;
                    ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?)
                }
            }))
        };
        if widening {
            let options = CastOptions {
                safe: false,
                ..Default::default()
            };
            return over_column(&|array| Ok(cast_with_options(array, &self.to_arrow, &options)?));
        }
        if self.from.oid == oids::NUMERIC && self.to.oid == oids::NUMERIC && self.to.typmod < 0 {
            match (&from, &self.to_arrow) {
                (DataType::Decimal128(_, old), DataType::Decimal128(precision, new))
                    if old <= new =>
                {
                    let factor = 10_i128.pow((new - old) as u32);
                    return over_column(&|array| rescale(array, factor, *precision, *new));
                }
                (DataType::Decimal128(_, scale), DataType::LargeBinary) => {
                    return over_column(&|array| {
                        let decimals = array.as_primitive::<Decimal128Type>();
                        let mut builder =
                            LargeBinaryBuilder::with_capacity(decimals.len(), decimals.len() * 16);
                        let mut encoded = Vec::with_capacity(32);
                        for decimal in decimals {
                            match decimal {
                                None => builder.append_null(),
                                Some(decimal) => {
                                    encoded.clear();
                                    encode_decimal(decimal, *scale, &mut encoded)?;
                                    builder.append_value(&encoded);
                                }
                            }
                        }
                        Ok(Arc::new(builder.finish()))
                    });
                }
                _ => {}
            }
        }
        Ok(None)
    }
}

/// The same decimals with more digits behind the point; the caller has made room for them.
fn rescale(
    array: &ArrayRef,
    factor: i128,
    precision: u8,
    scale: i8,
) -> Result<ArrayRef, QueryError> {
    let decimals = array.as_primitive::<Decimal128Type>();
    let scaled: Decimal128Array = if factor == 1 {
        decimals.clone()
    } else {
        decimals.unary(|value| {
            if value == DECIMAL_NAN {
                DECIMAL_NAN
            } else {
                value.wrapping_mul(factor)
            }
        })
    };
    Ok(Arc::new(scaled.with_precision_and_scale(precision, scale)?))
}

fn integer(value: i64, to: PgType) -> Result<Value<'static>, QueryError> {
    let fits = match to.oid {
        oids::INT2 => i16::try_from(value).is_ok(),
        oids::INT4 => i32::try_from(value).is_ok(),
        oids::INT8 => true,
        _ => {
            if u32::try_from(value).is_err() {
                return Err(QueryError::new(
                    sqlstate::NUMERIC_VALUE_OUT_OF_RANGE,
                    "OID out of range",
                ));
            }
            true
        }
    };
    if fits {
        Ok(Value::Int(value))
    } else {
        Err(out_of_range(to))
    }
}

/// Rounds half to even, as the C library's `rint`.
fn float_to_integer(value: f64, to: PgType) -> Result<Value<'static>, QueryError> {
    let rounded = value.round_ties_even();
    // -2^63 is exact as a double, 2^63 is the first one beyond.
    let limit = -(i64::MIN as f64);
    if rounded.is_nan() || !(-limit..limit).contains(&rounded) {
        return Err(out_of_range(to));
    }
    integer(rounded as i64, to)
}

fn numeric_to_integer(value: &Numeric, to: PgType) -> Result<Value<'static>, QueryError> {
    // A bigint that the target can't hold is out of the target's range.
    integer(value.to_i64(&to.name())?, to)
}

fn to_float4(value: f64) -> Result<Value<'static>, QueryError> {
    let narrow = value as f32;
    if narrow.is_infinite() && value.is_finite() {
        return Err(float_overflow());
    }
    if narrow == 0.0 && value != 0.0 {
        return Err(float_underflow());
    }
    Ok(Value::Float(f64::from(narrow)))
}

/// 22003 for a float result beyond the largest.
pub(crate) fn float_overflow() -> QueryError {
    QueryError::new(
        sqlstate::NUMERIC_VALUE_OUT_OF_RANGE,
        "value out of range: overflow",
    )
}

/// 22003 for a float result that vanishes.
pub(crate) fn float_underflow() -> QueryError {
    QueryError::new(
        sqlstate::NUMERIC_VALUE_OUT_OF_RANGE,
        "value out of range: underflow",
    )
}

/// A value of one type as another; what `CoerceViaIO`, the cast functions of `pg_cast` and the
/// length coercions do together.
pub(crate) fn cast_value<'v>(
    value: Value<'v>,
    from: PgType,
    to: PgType,
    explicit: bool,
    styles: &Styles,
) -> Result<Value<'v>, QueryError> {
    if value.is_null() {
        return Ok(Value::Null);
    }
    let plain = PgType::new(to.oid);
    let converted = if from.oid == to.oid {
        value
    } else {
        match to.oid {
            oids::TEXT | oids::VARCHAR | oids::BPCHAR | oids::NAME | oids::CHAR => {
                to_string_type(value, from, to, styles)?
            }
            _ => match value {
                Value::Text(text) if from.oid != oids::CHAR || to.oid != oids::INT4 => {
                    return value_from_string(&text, from, to, styles);
                }
                value => convert(value, from, plain, styles)?,
            },
        }
    };
    apply_typmod(converted, to, explicit)
}

/// String types give their text to the target's input function, modifier included.
fn value_from_string(
    text: &str,
    from: PgType,
    to: PgType,
    styles: &Styles,
) -> Result<Value<'static>, QueryError> {
    let text = if from.oid == oids::BPCHAR {
        text.trim_end_matches(' ')
    } else {
        text
    };
    if let Some(alias) = alias_of(to.oid) {
        return Ok(Value::Int(read_alias(alias, text, &styles.names)?.into()));
    }
    value_from_text(to, text, styles)
}

fn to_string_type<'v>(
    value: Value<'v>,
    from: PgType,
    to: PgType,
    styles: &Styles,
) -> Result<Value<'v>, QueryError> {
    let text = match value {
        Value::Text(text) if from.oid == oids::BPCHAR && to.oid != oids::BPCHAR => {
            let kept = text.trim_end_matches(' ').len();
            match text {
                std::borrow::Cow::Borrowed(text) => std::borrow::Cow::Borrowed(&text[..kept]),
                std::borrow::Cow::Owned(mut text) => {
                    text.truncate(kept);
                    std::borrow::Cow::Owned(text)
                }
            }
        }
        Value::Text(text) => text,
        Value::Bool(value) => if value { "true" } else { "false" }.into(),
        value => value_to_text(PgType::new(from.oid), &value, styles)?.into(),
    };
    Ok(match to.oid {
        oids::CHAR if from.oid == oids::INT4 => {
            let code = text
                .parse::<i64>()
                .ok()
                .and_then(|code| i8::try_from(code).ok());
            let code = code.ok_or_else(|| {
                QueryError::new(
                    sqlstate::NUMERIC_VALUE_OUT_OF_RANGE,
                    "\"char\" out of range",
                )
            })?;
            Value::text(crate::query::column::char_text(code as u8))
        }
        oids::NAME => {
            let mut end = text.len().min(63);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            Value::text(text[..end].to_owned())
        }
        oids::CHAR => {
            let first = text.chars().next().filter(char::is_ascii);
            Value::text(first.map(String::from).unwrap_or_default())
        }
        _ => Value::Text(text),
    })
}

fn convert(
    value: Value<'_>,
    from: PgType,
    to: PgType,
    styles: &Styles,
) -> Result<Value<'static>, QueryError> {
    Ok(match (value, to.oid) {
        (Value::Int(value), oids::BOOL) => Value::Bool(value != 0),
        (Value::Bool(value), oids::INT4) => Value::Int(value.into()),
        (Value::Text(text), oids::INT4) => {
            Value::Int(text.bytes().next().map_or(0, |byte| i64::from(byte as i8)))
        }
        (
            Value::Int(value),
            oids::INT2
            | oids::INT4
            | oids::INT8
            | oids::OID
            | oids::REGPROC
            | oids::REGCLASS
            | oids::REGTYPE
            | oids::REGNAMESPACE
            | oids::REGROLE,
        ) => integer(value, to)?,
        (Value::Float(value), oids::INT2 | oids::INT4 | oids::INT8) => float_to_integer(value, to)?,
        (Value::Numeric(value), oids::INT2 | oids::INT4 | oids::INT8) => {
            numeric_to_integer(&value, to)?
        }
        (Value::Int(value), oids::FLOAT4) => Value::Float(f64::from(value as f32)),
        (Value::Int(value), oids::FLOAT8) => Value::Float(value as f64),
        (Value::Float(value), oids::FLOAT4) => to_float4(value)?,
        (Value::Float(value), oids::FLOAT8) => Value::Float(value),
        (Value::Numeric(value), oids::FLOAT4 | oids::FLOAT8) => {
            value_from_text(to, &value.to_string(), styles)?
        }
        (Value::Int(value), oids::NUMERIC) => Value::Numeric(Numeric::from_i128(value.into(), 0)),
        (Value::Float(value), oids::NUMERIC) => Value::Numeric(if from.oid == oids::FLOAT4 {
            Numeric::from_f32(value as f32)
        } else {
            Numeric::from_f64(value)
        }),
        (Value::Date(days), oids::TIMESTAMP) => Value::Timestamp(date_to_timestamp(days)?),
        (Value::Date(days), oids::TIMESTAMPTZ) => Value::Timestamp(local_to_timestamptz(
            date_to_timestamp(days)?,
            &styles.input.time_zone,
        )?),
        (Value::Timestamp(us), oids::TIMESTAMPTZ) if from.oid == oids::TIMESTAMP => {
            Value::Timestamp(local_to_timestamptz(us, &styles.input.time_zone)?)
        }
        (Value::Timestamp(us), oids::TIMESTAMP) => {
            Value::Timestamp(timestamptz_to_local(us, &styles.output.time_zone)?)
        }
        (Value::Timestamp(us), oids::DATE) => {
            let local = if from.oid == oids::TIMESTAMPTZ {
                timestamptz_to_local(us, &styles.output.time_zone)?
            } else {
                us
            };
            Value::Date(timestamp_to_date(local))
        }
        (_, _) => {
            return Err(QueryError::new(
                sqlstate::CANNOT_COERCE,
                format!("cannot cast type {} to {}", from.name(), to.name()),
            ));
        }
    })
}

fn apply_typmod<'v>(value: Value<'v>, to: PgType, explicit: bool) -> Result<Value<'v>, QueryError> {
    if to.typmod < 0 {
        return Ok(value);
    }
    match (value, to.oid) {
        (Value::Text(text), oids::VARCHAR | oids::BPCHAR) => {
            let limit = usize::try_from(to.typmod - 4).unwrap_or(0);
            limit_text(text, to, limit, explicit)
        }
        (Value::Numeric(mut value), oids::NUMERIC) => {
            value.apply_typmod(to.typmod)?;
            Ok(Value::Numeric(value))
        }
        (Value::Timestamp(us), oids::TIMESTAMP | oids::TIMESTAMPTZ) => {
            Ok(Value::Timestamp(round_timestamp(us, to.typmod)))
        }
        (value, _) => Ok(value),
    }
}

fn limit_text<'v>(
    text: std::borrow::Cow<'v, str>,
    to: PgType,
    limit: usize,
    explicit: bool,
) -> Result<Value<'v>, QueryError> {
    let length = text.chars().count();
    if length > limit {
        let cut = text
            .char_indices()
            .nth(limit)
            .map_or(text.len(), |(at, _)| at);
        if !explicit && !text[cut..].bytes().all(|byte| byte == b' ') {
            return Err(QueryError::new(
                sqlstate::STRING_DATA_RIGHT_TRUNCATION,
                format!("value too long for type {}", format_type(to.oid, to.typmod)),
            ));
        }
        return Ok(Value::text(text[..cut].to_owned()));
    }
    if to.oid == oids::BPCHAR && length < limit {
        let mut padded = text.into_owned();
        padded.extend(std::iter::repeat_n(' ', limit - length));
        return Ok(Value::text(padded));
    }
    Ok(Value::Text(text))
}
