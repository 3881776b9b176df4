//! Mathematical functions (`int.c`, `float.c`, `numeric.c`).

use trunkline_types::oids::{FLOAT4, FLOAT8, INT2, INT4, INT8, NUMERIC, TEXT, UUID};

use super::arithmetic::division_by_zero;
use super::cast::{float_overflow, float_underflow};
use super::rows::RowFunction as F;
use crate::query::error::{QueryError, sqlstate};
use crate::query::numeric::Numeric;
use crate::query::value::{Styles, Value};

type Outcome = Result<Value<'static>, QueryError>;

pub(crate) const FUNCTIONS: &[F] = &[
    F::new("uminus", &[INT2], INT2, |v, _| {
        small(v[0].as_int()?.checked_neg())
    }),
    F::new("uminus", &[INT4], INT4, |v, _| {
        medium(v[0].as_int()?.checked_neg())
    }),
    F::new("uminus", &[INT8], INT8, |v, _| {
        large(v[0].as_int()?.checked_neg())
    }),
    F::new("uminus", &[FLOAT4], FLOAT4, |v, _| {
        Ok(Value::Float(-v[0].as_float()?))
    }),
    F::new("uminus", &[FLOAT8], FLOAT8, |v, _| {
        Ok(Value::Float(-v[0].as_float()?))
    }),
    F::new("uminus", &[NUMERIC], NUMERIC, |v, _| {
        Ok(Value::Numeric(-v[0].as_numeric()?.clone()))
    }),
    F::new("uplus", &[INT2], INT2, |v, _| {
        Ok(Value::Int(v[0].as_int()?))
    }),
    F::new("uplus", &[INT4], INT4, |v, _| {
        Ok(Value::Int(v[0].as_int()?))
    }),
    F::new("uplus", &[INT8], INT8, |v, _| {
        Ok(Value::Int(v[0].as_int()?))
    }),
    F::new("uplus", &[FLOAT4], FLOAT4, |v, _| {
        Ok(Value::Float(v[0].as_float()?))
    }),
    F::new("uplus", &[FLOAT8], FLOAT8, |v, _| {
        Ok(Value::Float(v[0].as_float()?))
    }),
    F::new("uplus", &[NUMERIC], NUMERIC, |v, _| {
        Ok(Value::Numeric(v[0].as_numeric()?.clone()))
    }),
    F::new("abs", &[INT2], INT2, |v, _| {
        small(v[0].as_int()?.checked_abs())
    }),
    F::new("abs", &[INT4], INT4, |v, _| {
        medium(v[0].as_int()?.checked_abs())
    }),
    F::new("abs", &[INT8], INT8, |v, _| {
        large(v[0].as_int()?.checked_abs())
    }),
    F::new("abs", &[FLOAT4], FLOAT4, |v, _| {
        Ok(Value::Float(v[0].as_float()?.abs()))
    }),
    F::new("abs", &[FLOAT8], FLOAT8, |v, _| {
        Ok(Value::Float(v[0].as_float()?.abs()))
    }),
    F::new("abs", &[NUMERIC], NUMERIC, |v, _| {
        Ok(Value::Numeric(v[0].as_numeric()?.clone().abs()))
    }),
    F::new("bitnot", &[INT2], INT2, |v, _| {
        Ok(Value::Int(!v[0].as_int()?))
    }),
    F::new("bitnot", &[INT4], INT4, |v, _| {
        Ok(Value::Int(!v[0].as_int()?))
    }),
    F::new("bitnot", &[INT8], INT8, |v, _| {
        Ok(Value::Int(!v[0].as_int()?))
    }),
    F::new("bitand", &[INT2, INT2], INT2, bit_and),
    F::new("bitand", &[INT4, INT4], INT4, bit_and),
    F::new("bitand", &[INT8, INT8], INT8, bit_and),
    F::new("bitor", &[INT2, INT2], INT2, bit_or),
    F::new("bitor", &[INT4, INT4], INT4, bit_or),
    F::new("bitor", &[INT8, INT8], INT8, bit_or),
    F::new("bitxor", &[INT2, INT2], INT2, bit_xor),
    F::new("bitxor", &[INT4, INT4], INT4, bit_xor),
    F::new("bitxor", &[INT8, INT8], INT8, bit_xor),
    F::new("shiftleft", &[INT2, INT4], INT2, |v, _| {
        // C shifts a smallint as an int and cuts the result.
        let by = v[1].as_int()? as u32 & 31;
        Ok(Value::Int(i64::from(
            ((v[0].as_int()? as i32).wrapping_shl(by)) as i16,
        )))
    }),
    F::new("shiftleft", &[INT4, INT4], INT4, |v, _| {
        let by = v[1].as_int()? as u32 & 31;
        Ok(Value::Int(i64::from(
            (v[0].as_int()? as i32).wrapping_shl(by),
        )))
    }),
    F::new("shiftleft", &[INT8, INT4], INT8, |v, _| {
        let by = v[1].as_int()? as u32 & 63;
        Ok(Value::Int(v[0].as_int()?.wrapping_shl(by)))
    }),
    F::new("shiftright", &[INT2, INT4], INT2, |v, _| {
        let by = v[1].as_int()? as u32 & 31;
        Ok(Value::Int(i64::from(
            (v[0].as_int()? as i32).wrapping_shr(by),
        )))
    }),
    F::new("shiftright", &[INT4, INT4], INT4, |v, _| {
        let by = v[1].as_int()? as u32 & 31;
        Ok(Value::Int(i64::from(
            (v[0].as_int()? as i32).wrapping_shr(by),
        )))
    }),
    F::new("shiftright", &[INT8, INT4], INT8, |v, _| {
        let by = v[1].as_int()? as u32 & 63;
        Ok(Value::Int(v[0].as_int()?.wrapping_shr(by)))
    }),
    F::new("mod", &[INT2, INT2], INT2, modulo),
    F::new("mod", &[INT4, INT4], INT4, modulo),
    F::new("mod", &[INT8, INT8], INT8, modulo),
    F::new("mod", &[NUMERIC, NUMERIC], NUMERIC, |v, _| {
        Ok(Value::Numeric(v[0].as_numeric()?.rem(v[1].as_numeric()?)?))
    }),
    F::new("div", &[NUMERIC, NUMERIC], NUMERIC, |v, _| {
        Ok(Value::Numeric(
            v[0].as_numeric()?.div_trunc(v[1].as_numeric()?)?,
        ))
    }),
    F::new("gcd", &[INT4, INT4], INT4, |v, _| medium(gcd(v)?)),
    F::new("gcd", &[INT8, INT8], INT8, |v, _| large(gcd(v)?)),
    F::new("lcm", &[INT4, INT4], INT4, |v, _| medium(lcm(v)?)),
    F::new("lcm", &[INT8, INT8], INT8, |v, _| large(lcm(v)?)),
    F::new("ceil", &[NUMERIC], NUMERIC, ceil),
    F::new("ceil", &[FLOAT8], FLOAT8, |v, _| {
        Ok(Value::Float(v[0].as_float()?.ceil()))
    }),
    F::new("ceiling", &[NUMERIC], NUMERIC, ceil),
    F::new("ceiling", &[FLOAT8], FLOAT8, |v, _| {
        Ok(Value::Float(v[0].as_float()?.ceil()))
    }),
    F::new("floor", &[NUMERIC], NUMERIC, |v, _| {
        Ok(Value::Numeric(v[0].as_numeric()?.floor()?))
    }),
    F::new("floor", &[FLOAT8], FLOAT8, |v, _| {
        Ok(Value::Float(v[0].as_float()?.floor()))
    }),
    F::new("round", &[NUMERIC], NUMERIC, |v, _| {
        Ok(Value::Numeric(v[0].as_numeric()?.round(0)?))
    }),
    F::new("round", &[NUMERIC, INT4], NUMERIC, |v, _| {
        Ok(Value::Numeric(v[0].as_numeric()?.round(digits(&v[1])?)?))
    }),
    F::new("round", &[FLOAT8], FLOAT8, |v, _| {
        Ok(Value::Float(v[0].as_float()?.round_ties_even()))
    }),
    F::new("trunc", &[NUMERIC], NUMERIC, |v, _| {
        Ok(Value::Numeric(v[0].as_numeric()?.trunc(0)?))
    }),
    F::new("trunc", &[NUMERIC, INT4], NUMERIC, |v, _| {
        Ok(Value::Numeric(v[0].as_numeric()?.trunc(digits(&v[1])?)?))
    }),
    F::new("trunc", &[FLOAT8], FLOAT8, |v, _| {
        Ok(Value::Float(v[0].as_float()?.trunc()))
    }),
    F::new("sign", &[NUMERIC], NUMERIC, |v, _| {
        let value = v[0].as_numeric()?;
        if value.is_nan() {
            return Ok(Value::Numeric(Numeric::NAN));
        }
        let sign = match value.cmp(&Numeric::ZERO) {
            std::cmp::Ordering::Less => -1,
            std::cmp::Ordering::Equal => 0,
            std::cmp::Ordering::Greater => 1,
        };
        Ok(Value::Numeric(Numeric::from(sign)))
    }),
    F::new("sign", &[FLOAT8], FLOAT8, |v, _| {
        let value = v[0].as_float()?;
        Ok(Value::Float(if value > 0.0 {
            1.0
        } else if value < 0.0 {
            -1.0
        } else {
            value
        }))
    }),
    F::new("scale", &[NUMERIC], INT4, |v, _| {
        let value = v[0].as_numeric()?;
        Ok(if value.is_finite() {
            Value::Int(value.dscale().into())
        } else {
            Value::Null
        })
    }),
    F::new("sqrt", &[NUMERIC], NUMERIC, |v, _| {
        Ok(Value::Numeric(v[0].as_numeric()?.sqrt()?))
    }),
    F::new("sqrt", &[FLOAT8], FLOAT8, |v, _| {
        let value = v[0].as_float()?;
        if value < 0.0 {
            return Err(QueryError::new(
                sqlstate::INVALID_ARGUMENT_FOR_POWER,
                "cannot take square root of a negative number",
            ));
        }
        Ok(Value::Float(value.sqrt()))
    }),
    F::new("cbrt", &[FLOAT8], FLOAT8, |v, _| {
        Ok(Value::Float(v[0].as_float()?.cbrt()))
    }),
    F::new("random", &[], FLOAT8, |_, _| {
        // 53 bits are what a double holds of [0, 1) evenly spaced (`pg_prng_double`).
        let bits = u64::from_le_bytes(random_bytes()?) >> 11;
        Ok(Value::Float(bits as f64 / (1_u64 << 53) as f64))
    }),
    F::new("gen_random_uuid", &[], UUID, |_, _| {
        let mut bytes: [u8; 16] = random_bytes()?;
        // Version 4, variant 1 (RFC 9562).
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Ok(Value::Uuid(bytes))
    }),
    F::new("power", &[FLOAT8, FLOAT8], FLOAT8, power),
    F::new("pow", &[FLOAT8, FLOAT8], FLOAT8, power),
    F::new("exp", &[FLOAT8], FLOAT8, |v, _| {
        checked(v[0].as_float()?, f64::exp)
    }),
    F::new("ln", &[FLOAT8], FLOAT8, |v, _| {
        logarithm(v[0].as_float()?, f64::ln)
    }),
    F::new("log", &[FLOAT8], FLOAT8, |v, _| {
        logarithm(v[0].as_float()?, f64::log10)
    }),
    F::new("log10", &[FLOAT8], FLOAT8, |v, _| {
        logarithm(v[0].as_float()?, f64::log10)
    }),
    F::new("power", &[NUMERIC, NUMERIC], NUMERIC, not_for_numeric),
    F::new("pow", &[NUMERIC, NUMERIC], NUMERIC, not_for_numeric),
    F::new("exp", &[NUMERIC], NUMERIC, not_for_numeric),
    F::new("ln", &[NUMERIC], NUMERIC, not_for_numeric),
    F::new("log", &[NUMERIC], NUMERIC, not_for_numeric),
    F::new("log", &[NUMERIC, NUMERIC], NUMERIC, not_for_numeric),
    F::new("log10", &[NUMERIC], NUMERIC, not_for_numeric),
    F::new("sin", &[FLOAT8], FLOAT8, |v, _| {
        trigonometric(v[0].as_float()?, f64::sin)
    }),
    F::new("cos", &[FLOAT8], FLOAT8, |v, _| {
        trigonometric(v[0].as_float()?, f64::cos)
    }),
    F::new("tan", &[FLOAT8], FLOAT8, |v, _| {
        trigonometric(v[0].as_float()?, f64::tan)
    }),
    F::new("asin", &[FLOAT8], FLOAT8, |v, _| {
        inverse(v[0].as_float()?, f64::asin)
    }),
    F::new("acos", &[FLOAT8], FLOAT8, |v, _| {
        inverse(v[0].as_float()?, f64::acos)
    }),
    F::new("atan", &[FLOAT8], FLOAT8, |v, _| {
        Ok(Value::Float(v[0].as_float()?.atan()))
    }),
    F::new("atan2", &[FLOAT8, FLOAT8], FLOAT8, |v, _| {
        Ok(Value::Float(v[0].as_float()?.atan2(v[1].as_float()?)))
    }),
    F::new("degrees", &[FLOAT8], FLOAT8, |v, _| {
        checked(v[0].as_float()?, |value| {
            value / (std::f64::consts::PI / 180.0)
        })
    }),
    F::new("radians", &[FLOAT8], FLOAT8, |v, _| {
        checked(v[0].as_float()?, |value| {
            value * (std::f64::consts::PI / 180.0)
        })
    }),
    F::new("pi", &[], FLOAT8, |_, _| {
        Ok(Value::Float(std::f64::consts::PI))
    }),
    F::new("to_hex", &[INT4], TEXT, |v, _| {
        Ok(Value::text(format!("{:x}", v[0].as_int()? as i32)))
    }),
    F::new("to_hex", &[INT8], TEXT, |v, _| {
        Ok(Value::text(format!("{:x}", v[0].as_int()?)))
    }),
    F::new("pg_size_pretty", &[INT8], TEXT, |v, _| {
        Ok(Value::text(size_pretty(v[0].as_int()?)))
    }),
];

fn random_bytes<const N: usize>() -> Result<[u8; N], QueryError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| {
        QueryError::internal(format!("could not generate random values: {error}"))
    })?;
    Ok(bytes)
}

/// The overload that PostgreSQL would choose, refused instead of computed as a float.
fn not_for_numeric(_: &[Value<'_>], _: &Styles) -> Outcome {
    Err(
        QueryError::unsupported("this function is not supported for type numeric")
            .with_hint("Cast the argument to double precision."),
    )
}

fn overflow(name: &str) -> QueryError {
    QueryError::new(
        sqlstate::NUMERIC_VALUE_OUT_OF_RANGE,
        format!("{name} out of range"),
    )
}

fn small(value: Option<i64>) -> Outcome {
    match value.and_then(|value| i16::try_from(value).ok()) {
        Some(value) => Ok(Value::Int(value.into())),
        None => Err(overflow("smallint")),
    }
}

fn medium(value: Option<i64>) -> Outcome {
    match value.and_then(|value| i32::try_from(value).ok()) {
        Some(value) => Ok(Value::Int(value.into())),
        None => Err(overflow("integer")),
    }
}

fn large(value: Option<i64>) -> Outcome {
    value.map(Value::Int).ok_or_else(|| overflow("bigint"))
}

fn digits(value: &Value<'_>) -> Result<i32, QueryError> {
    Ok(value.as_int()? as i32)
}

fn bit_and(v: &[Value<'_>], _: &Styles) -> Outcome {
    Ok(Value::Int(v[0].as_int()? & v[1].as_int()?))
}

fn bit_or(v: &[Value<'_>], _: &Styles) -> Outcome {
    Ok(Value::Int(v[0].as_int()? | v[1].as_int()?))
}

fn bit_xor(v: &[Value<'_>], _: &Styles) -> Outcome {
    Ok(Value::Int(v[0].as_int()? ^ v[1].as_int()?))
}

fn modulo(v: &[Value<'_>], _: &Styles) -> Outcome {
    let divisor = v[1].as_int()?;
    if divisor == 0 {
        return Err(division_by_zero());
    }
    Ok(Value::Int(v[0].as_int()?.wrapping_rem(divisor)))
}

fn common_divisor(mut a: i128, mut b: i128) -> i128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a.abs()
}

fn gcd(v: &[Value<'_>]) -> Result<Option<i64>, QueryError> {
    let result = common_divisor(v[0].as_int()?.into(), v[1].as_int()?.into());
    Ok(i64::try_from(result).ok())
}

fn lcm(v: &[Value<'_>]) -> Result<Option<i64>, QueryError> {
    let (a, b) = (i128::from(v[0].as_int()?), i128::from(v[1].as_int()?));
    if a == 0 || b == 0 {
        return Ok(Some(0));
    }
    Ok(i64::try_from((a / common_divisor(a, b) * b).abs()).ok())
}

fn ceil(v: &[Value<'_>], _: &Styles) -> Outcome {
    Ok(Value::Numeric(v[0].as_numeric()?.ceil()?))
}

fn checked(value: f64, function: impl Fn(f64) -> f64) -> Outcome {
    let result = function(value);
    if result.is_infinite() && value.is_finite() {
        return Err(float_overflow());
    }
    if result == 0.0 && value != 0.0 && value.is_finite() {
        return Err(float_underflow());
    }
    Ok(Value::Float(result))
}

fn logarithm(value: f64, function: impl Fn(f64) -> f64) -> Outcome {
    if value <= 0.0 {
        let what = if value == 0.0 {
            "zero"
        } else {
            "a negative number"
        };
        return Err(QueryError::new(
            sqlstate::INVALID_ARGUMENT_FOR_LOG,
            format!("cannot take logarithm of {what}"),
        ));
    }
    Ok(Value::Float(function(value)))
}

fn trigonometric(value: f64, function: impl Fn(f64) -> f64) -> Outcome {
    if value.is_infinite() {
        return Err(out_of_range());
    }
    Ok(Value::Float(function(value)))
}

fn inverse(value: f64, function: impl Fn(f64) -> f64) -> Outcome {
    if !value.is_nan() && !(-1.0..=1.0).contains(&value) {
        return Err(out_of_range());
    }
    Ok(Value::Float(function(value)))
}

fn out_of_range() -> QueryError {
    QueryError::new(
        sqlstate::NUMERIC_VALUE_OUT_OF_RANGE,
        "input is out of range",
    )
}

fn power(v: &[Value<'_>], _: &Styles) -> Outcome {
    let (base, exponent) = (v[0].as_float()?, v[1].as_float()?);
    if base == 0.0 && exponent < 0.0 {
        return Err(QueryError::new(
            sqlstate::INVALID_ARGUMENT_FOR_POWER,
            "zero raised to a negative power is undefined",
        ));
    }
    if base < 0.0 && base.is_finite() && exponent.is_finite() && exponent.fract() != 0.0 {
        return Err(QueryError::new(
            sqlstate::INVALID_ARGUMENT_FOR_POWER,
            "a negative number raised to a non-integer power yields a complex result",
        ));
    }
    let result = base.powf(exponent);
    if result.is_infinite() && base.is_finite() && exponent.is_finite() {
        return Err(float_overflow());
    }
    if result == 0.0 && base != 0.0 && base.is_finite() && exponent.is_finite() {
        return Err(float_underflow());
    }
    Ok(Value::Float(result))
}

/// `pg_size_pretty`: units change at 10240 of the smaller one, halves round up.
fn size_pretty(size: i64) -> String {
    let negative = size < 0;
    let size = size.unsigned_abs();
    if size < 10 * 1024 {
        return format!("{}{size} bytes", if negative { "-" } else { "" });
    }
    // The size in half units, so that the last step can round.
    let mut halves = size >> 9;
    let units = ["kB", "MB", "GB", "TB", "PB"];
    let mut unit = 0;
    while unit + 1 < units.len() && halves >= 20 * 1024 - 1 {
        halves >>= 10;
        unit += 1;
    }
    format!(
        "{}{} {}",
        if negative { "-" } else { "" },
        halves.div_ceil(2),
        units[unit]
    )
}
