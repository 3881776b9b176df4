//! The arithmetic operators, vectorised: integers and floats with PostgreSQL's errors,
//! decimals exactly, every other numeric through [`Numeric`].

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, Decimal128Array, PrimitiveArray,
};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::cast::{float_overflow, float_underflow};
use crate::query::decimal::{DECIMAL_MAX_PRECISION, DECIMAL_NAN};
use crate::query::error::{QueryError, sqlstate};
use crate::query::numeric::Numeric;
use crate::query::value::{Value, argument_arrays, map_rows};

/// An arithmetic operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ArithmeticOp {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

impl ArithmeticOp {
    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Modulo => "%",
        }
    }

    /// How the result of numerics that travel as `left` and `right` travels.
    pub(crate) fn numeric_result(self, left: &DataType, right: &DataType) -> DataType {
        let (DataType::Decimal128(lp, ls), DataType::Decimal128(rp, rs)) = (left, right) else {
            return DataType::LargeBinary;
        };
        let (lp, ls, rp, rs) = (
            i32::from(*lp),
            i32::from(*ls),
            i32::from(*rp),
            i32::from(*rs),
        );
        let (precision, scale) = match self {
            Self::Add | Self::Subtract => {
                let scale = ls.max(rs);
                ((lp - ls).max(rp - rs) + scale + 1, scale)
            }
            Self::Multiply => (lp + rp, ls + rs),
            Self::Divide | Self::Modulo => return DataType::LargeBinary,
        };
        if precision <= i32::from(DECIMAL_MAX_PRECISION) {
            DataType::Decimal128(precision as u8, scale as i8)
        } else {
            DataType::LargeBinary
        }
    }
}

/// One operator over one pair of argument types. Arguments of integers and floats have the
/// result's type; a date takes an integer or another date.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Arithmetic {
    op: ArithmeticOp,
    result: DataType,
    signature: Signature,
}

/// The call of an operator whose arguments have been brought to its types.
pub(crate) fn arithmetic_expr(op: ArithmeticOp, left: Expr, right: Expr, result: DataType) -> Expr {
    ScalarUDF::new_from_impl(Arithmetic {
        op,
        result,
        signature: Signature::any(2, Volatility::Immutable),
    })
    .call(vec![left, right])
}

impl ScalarUDFImpl for Arithmetic {
    fn name(&self) -> &str {
        self.op.symbol()
    }

    fn schema_name(&self, args: &[Expr]) -> DfResult<String> {
        match args {
            [left, right] => Ok(format!(
                "({} {} {})",
                left.schema_name(),
                self.op.symbol(),
                right.schema_name()
            )),
            _ => Ok(self.op.symbol().to_owned()),
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> DfResult<DataType> {
        Ok(self.result.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let [left, right] = args.args.as_slice() else {
            return Err(QueryError::internal("arithmetic takes two arguments").into());
        };
        let rows = args.number_rows;
        let op = self.op;
        let types = (left.data_type(), right.data_type());
        let result = match (&types.0, &types.1) {
            (DataType::Int16, DataType::Int16) => {
                zip::<Int16Type, Int16Type, Int16Type>(&args.args, rows, |a, b| int2(op, a, b))
            }
            (DataType::Int32, DataType::Int32) => {
                zip::<Int32Type, Int32Type, Int32Type>(&args.args, rows, |a, b| int4(op, a, b))
            }
            (DataType::Int64, DataType::Int64) => {
                zip::<Int64Type, Int64Type, Int64Type>(&args.args, rows, |a, b| int8(op, a, b))
            }
            (DataType::Float32, DataType::Float32) => {
                zip::<Float32Type, Float32Type, Float32Type>(&args.args, rows, |a, b| {
                    float4(op, a, b)
                })
            }
            (DataType::Float64, DataType::Float64) => {
                zip::<Float64Type, Float64Type, Float64Type>(&args.args, rows, |a, b| {
                    float8(op, a, b)
                })
            }
            (DataType::Date32, DataType::Date32) => {
                zip::<Date32Type, Date32Type, Int32Type>(&args.args, rows, date_difference)
            }
            (DataType::Date32, DataType::Int32) => {
                zip::<Date32Type, Int32Type, Date32Type>(&args.args, rows, |date, days| {
                    shift_date(op, date, days)
                })
            }
            (DataType::Int32, DataType::Date32) => {
                zip::<Int32Type, Date32Type, Date32Type>(&args.args, rows, |days, date| {
                    shift_date(op, date, days)
                })
            }
            (DataType::Decimal128(_, ls), DataType::Decimal128(_, rs)) => match &self.result {
                DataType::Decimal128(precision, scale) => {
                    let result = decimals(op, &args.args, rows, (*ls, *rs, *scale));
                    result.and_then(|value| with_shape(value, *precision, *scale))
                }
                _ => self.numerics(&args.args, rows),
            },
            _ => self.numerics(&args.args, rows),
        };
        Ok(result?)
    }
}

impl Arithmetic {
    fn numerics(&self, args: &[ColumnarValue], rows: usize) -> Result<ColumnarValue, QueryError> {
        map_rows(args, rows, &self.result, true, |values| {
            let (left, right) = (values[0].as_numeric()?, values[1].as_numeric()?);
            Ok(Value::Numeric(numeric(self.op, left, right)?))
        })
    }
}

/// An operator over two numerics.
pub(crate) fn numeric(
    op: ArithmeticOp,
    left: &Numeric,
    right: &Numeric,
) -> Result<Numeric, QueryError> {
    match op {
        ArithmeticOp::Add => Ok(left.add(right)?),
        ArithmeticOp::Subtract => Ok(left.sub(right)?),
        ArithmeticOp::Multiply => Ok(left.mul(right)?),
        ArithmeticOp::Divide => Ok(left.div(right)?),
        ArithmeticOp::Modulo => Ok(left.rem(right)?),
    }
}

fn with_shape(value: ColumnarValue, precision: u8, scale: i8) -> Result<ColumnarValue, QueryError> {
    Ok(match value {
        ColumnarValue::Array(array) => {
            let decimals: Decimal128Array = array.as_primitive::<Decimal128Type>().clone();
            ColumnarValue::Array(Arc::new(
                decimals.with_precision_and_scale(precision, scale)?,
            ))
        }
        ColumnarValue::Scalar(ScalarValue::Decimal128(value, _, _)) => {
            ColumnarValue::Scalar(ScalarValue::Decimal128(value, precision, scale))
        }
        other => other,
    })
}

fn decimals(
    op: ArithmeticOp,
    args: &[ColumnarValue],
    rows: usize,
    (left_scale, right_scale, scale): (i8, i8, i8),
) -> Result<ColumnarValue, QueryError> {
    let (left_factor, right_factor) = match op {
        ArithmeticOp::Multiply => (1, 1),
        _ => (
            10_i128.pow((scale - left_scale) as u32),
            10_i128.pow((scale - right_scale) as u32),
        ),
    };
    // The result's precision leaves room for every result, so nothing here can overflow.
    zip::<Decimal128Type, Decimal128Type, Decimal128Type>(args, rows, |a, b| {
        if a == DECIMAL_NAN || b == DECIMAL_NAN {
            return Ok(DECIMAL_NAN);
        }
        Ok(match op {
            ArithmeticOp::Add => a * left_factor + b * right_factor,
            ArithmeticOp::Subtract => a * left_factor - b * right_factor,
            _ => a * b,
        })
    })
}

/// Applies `body` to pairs that are both not NULL. The value in a NULL's place is never looked
/// at, so it can't cause an error.
fn zip<A, B, O>(
    args: &[ColumnarValue],
    rows: usize,
    body: impl Fn(A::Native, B::Native) -> Result<O::Native, QueryError>,
) -> Result<ColumnarValue, QueryError>
where
    A: ArrowPrimitiveType,
    B: ArrowPrimitiveType,
    O: ArrowPrimitiveType,
{
    let arrays = argument_arrays(args)?;
    let (left, left_constant) = (arrays[0].0.as_primitive::<A>(), arrays[0].1);
    let (right, right_constant) = (arrays[1].0.as_primitive::<B>(), arrays[1].1);
    let fallible = |a, b| {
        body(a, b)
            .map_err(|error| datafusion::arrow::error::ArrowError::ExternalError(Box::new(error)))
    };
    let result: PrimitiveArray<O> = match (left_constant, right_constant) {
        (true, true) => {
            let value = match (left.is_null(0), right.is_null(0)) {
                (false, false) => Some(body(left.value(0), right.value(0))?),
                _ => None,
            };
            let array: ArrayRef = Arc::new(PrimitiveArray::<O>::from_iter([value]));
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(
                &array, 0,
            )?));
        }
        (true, false) if left.is_null(0) => PrimitiveArray::new_null(rows),
        (false, true) if right.is_null(0) => PrimitiveArray::new_null(rows),
        (true, false) => {
            let a = left.value(0);
            right.try_unary(|b| fallible(a, b))?
        }
        (false, true) => {
            let b = right.value(0);
            left.try_unary(|a| fallible(a, b))?
        }
        (false, false) => datafusion::arrow::compute::try_binary(left, right, fallible)?,
    };
    Ok(ColumnarValue::Array(Arc::new(result)))
}

/// 22012.
pub(crate) fn division_by_zero() -> QueryError {
    QueryError::new(sqlstate::DIVISION_BY_ZERO, "division by zero")
}

fn overflow(name: &str) -> QueryError {
    QueryError::new(
        sqlstate::NUMERIC_VALUE_OUT_OF_RANGE,
        format!("{name} out of range"),
    )
}

macro_rules! integer_operator {
    ($function:ident, $type:ty, $name:literal) => {
        #[inline]
        fn $function(op: ArithmeticOp, a: $type, b: $type) -> Result<$type, QueryError> {
            let result = match op {
                ArithmeticOp::Add => a.checked_add(b),
                ArithmeticOp::Subtract => a.checked_sub(b),
                ArithmeticOp::Multiply => a.checked_mul(b),
                ArithmeticOp::Divide if b == 0 => return Err(division_by_zero()),
                ArithmeticOp::Divide => a.checked_div(b),
                ArithmeticOp::Modulo if b == 0 => return Err(division_by_zero()),
                // The smallest value modulo -1 is 0, though the division would overflow.
                ArithmeticOp::Modulo => Some(a.wrapping_rem(b)),
            };
            result.ok_or_else(|| overflow($name))
        }
    };
}

integer_operator!(int2, i16, "smallint");
integer_operator!(int4, i32, "integer");
integer_operator!(int8, i64, "bigint");

macro_rules! float_operator {
    ($function:ident, $type:ty) => {
        #[inline]
        fn $function(op: ArithmeticOp, a: $type, b: $type) -> Result<$type, QueryError> {
            let result = match op {
                ArithmeticOp::Add => a + b,
                ArithmeticOp::Subtract => a - b,
                ArithmeticOp::Multiply => a * b,
                ArithmeticOp::Divide if b == 0.0 && !a.is_nan() => {
                    return Err(division_by_zero());
                }
                ArithmeticOp::Divide => a / b,
                ArithmeticOp::Modulo => {
                    return Err(QueryError::internal("floats have no modulo operator"));
                }
            };
            if result.is_infinite() && a.is_finite() && b.is_finite() {
                return Err(float_overflow());
            }
            let vanished = match op {
                ArithmeticOp::Multiply => result == 0.0 && a != 0.0 && b != 0.0,
                ArithmeticOp::Divide => result == 0.0 && a != 0.0 && !b.is_infinite(),
                _ => false,
            };
            if vanished {
                return Err(float_underflow());
            }
            Ok(result)
        }
    };
}

float_operator!(float4, f32);
float_operator!(float8, f64);

fn is_infinite_date(days: i32) -> bool {
    days == i32::MIN || days == i32::MAX
}

fn date_difference(a: i32, b: i32) -> Result<i32, QueryError> {
    if is_infinite_date(a) || is_infinite_date(b) {
        return Err(QueryError::new(
            sqlstate::DATETIME_FIELD_OVERFLOW,
            "cannot subtract infinite dates",
        ));
    }
    Ok(a.wrapping_sub(b))
}

/// The first day that PostgreSQL's dates reach (4714-11-24 BC) and the first beyond the last, in
/// days since 1970.
const DATE_RANGE: std::ops::Range<i64> = -2_440_588..2_145_042_906;

fn shift_date(op: ArithmeticOp, date: i32, days: i32) -> Result<i32, QueryError> {
    if is_infinite_date(date) {
        return Ok(date);
    }
    let days = i64::from(days);
    let shifted = match op {
        ArithmeticOp::Subtract => i64::from(date) - days,
        _ => i64::from(date) + days,
    };
    if !DATE_RANGE.contains(&shifted) {
        return Err(QueryError::new(
            sqlstate::DATETIME_FIELD_OVERFLOW,
            "date out of range",
        ));
    }
    Ok(shifted as i32)
}
