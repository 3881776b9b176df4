//! Floats as integers of the same order, for `min` and `max`.
//!
//! DataFusion's grouped accumulators of floats begin with the largest and the smallest finite
//! number, so that an infinity that is alone in its group is lost; those of integers do not lose
//! anything. NaN is the greatest of all, as in PostgreSQL.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Float32Type, Float64Type, Int32Type, Int64Type};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::query::error::QueryError;

/// The integer type whose order stands for that of a float type.
pub(crate) fn ordered_type(arrow: &DataType) -> Option<DataType> {
    match arrow {
        DataType::Float32 => Some(DataType::Int32),
        DataType::Float64 => Some(DataType::Int64),
        _ => None,
    }
}

/// The integers that stand for the floats of `expr`.
pub(crate) fn to_ordered(expr: Expr) -> Expr {
    call(Direction::ToInteger, expr)
}

/// The floats that the integers of `expr` stand for.
pub(crate) fn from_ordered(expr: Expr) -> Expr {
    call(Direction::ToFloat, expr)
}

fn call(direction: Direction, expr: Expr) -> Expr {
    let function = FloatOrder {
        direction,
        signature: Signature::any(1, Volatility::Immutable),
    };
    ScalarUDF::new_from_impl(function).call(vec![expr])
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Direction {
    ToInteger,
    ToFloat,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct FloatOrder {
    direction: Direction,
    signature: Signature,
}

/// Turns the magnitude of negative numbers around, as [`f32::total_cmp`] does; its own inverse.
fn turned32(bits: i32) -> i32 {
    bits ^ ((bits >> 31).cast_unsigned() >> 1).cast_signed()
}

/// The same as [`f64::total_cmp`].
fn turned64(bits: i64) -> i64 {
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

fn integer32(value: f32) -> i32 {
    let value = if value.is_nan() { f32::NAN } else { value };
    turned32(value.to_bits().cast_signed())
}

fn float32(integer: i32) -> f32 {
    f32::from_bits(turned32(integer).cast_unsigned())
}

fn integer64(value: f64) -> i64 {
    let value = if value.is_nan() { f64::NAN } else { value };
    turned64(value.to_bits().cast_signed())
}

fn float64(integer: i64) -> f64 {
    f64::from_bits(turned64(integer).cast_unsigned())
}

impl FloatOrder {
    fn over(&self, array: &ArrayRef) -> Result<ArrayRef, QueryError> {
        Ok(match (self.direction, array.data_type()) {
            (Direction::ToInteger, DataType::Float32) => Arc::new(
                array
                    .as_primitive::<Float32Type>()
                    .unary::<_, Int32Type>(integer32),
            ),
            (Direction::ToInteger, DataType::Float64) => Arc::new(
                array
                    .as_primitive::<Float64Type>()
                    .unary::<_, Int64Type>(integer64),
            ),
            (Direction::ToFloat, DataType::Int32) => Arc::new(
                array
                    .as_primitive::<Int32Type>()
                    .unary::<_, Float32Type>(float32),
            ),
            (Direction::ToFloat, DataType::Int64) => Arc::new(
                array
                    .as_primitive::<Int64Type>()
                    .unary::<_, Float64Type>(float64),
            ),
            (_, other) => {
                return Err(QueryError::internal(format!("no float order of {other}")));
            }
        })
    }
}

impl ScalarUDFImpl for FloatOrder {
    fn name(&self) -> &str {
        match self.direction {
            Direction::ToInteger => "float_order",
            Direction::ToFloat => "float_of_order",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> DfResult<DataType> {
        let result = match (self.direction, arg_types) {
            (Direction::ToInteger, [float]) => ordered_type(float),
            (Direction::ToFloat, [DataType::Int32]) => Some(DataType::Float32),
            (Direction::ToFloat, [DataType::Int64]) => Some(DataType::Float64),
            _ => None,
        };
        result.ok_or_else(|| QueryError::internal("a float order takes one number").into())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        match args.args.as_slice() {
            [ColumnarValue::Array(array)] => Ok(ColumnarValue::Array(self.over(array)?)),
            [ColumnarValue::Scalar(scalar)] => {
                let array = self.over(&scalar.to_array_of_size(1)?)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(
                    &array, 0,
                )?))
            }
            _ => Err(QueryError::internal("a float order takes one number").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_have_the_order_of_the_floats() {
        let floats = [
            f64::NEG_INFINITY,
            f64::MIN,
            -1.5,
            -f64::from_bits(1),
            -0.0,
            0.0,
            f64::MIN_POSITIVE,
            1.0,
            f64::MAX,
            f64::INFINITY,
            f64::NAN,
        ];
        let integers = floats.map(integer64);
        assert!(integers.is_sorted());
        assert_eq!(
            integers.map(float64).map(f64::to_bits),
            floats.map(f64::to_bits)
        );
        let narrow = floats.map(|float| integer32(float as f32));
        assert!(narrow.is_sorted());
        assert_eq!(float32(narrow[0]), f32::NEG_INFINITY);
        assert_eq!(integer64(-f64::NAN), integer64(f64::NAN));
    }
}
