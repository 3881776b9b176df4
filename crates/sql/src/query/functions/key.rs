//! Comparison keys: PostgreSQL's order and equality where Arrow's would differ.
//!
//! A numeric of variable display scale compares without its scale, `character(n)` without its
//! trailing blanks, a float with one zero and one NaN. Every other type is its own key.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, LargeBinaryBuilder, StringArray};
use datafusion::arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use trunkline_types::oids;

use crate::query::decimal::comparison_key;
use crate::query::error::QueryError;
use crate::query::numeric::Numeric;
use crate::query::pgtype::PgType;
use crate::query::value::{decode_numeric, encode_numeric};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum KeyKind {
    /// An encoded numeric without its display scale.
    Numeric,
    /// A string without trailing blanks.
    Blanks,
    /// -0 is 0, and there is one NaN.
    Float,
    /// An encoded numeric with the fewest digits that show it: a numeric still.
    ShortestNumeric,
}

/// One key function.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ComparisonKey {
    kind: KeyKind,
    signature: Signature,
}

/// What `expr` compares and groups by. With `grouping`, it is only asked whether two values of the
/// column are equal: padded strings of one length are their own key then.
pub(crate) fn key_expr(expr: Expr, ty: PgType, arrow: &DataType, grouping: bool) -> Expr {
    let kind = match arrow {
        DataType::LargeBinary => KeyKind::Numeric,
        DataType::Utf8 if ty.oid == oids::BPCHAR && !(grouping && ty.typmod >= 4) => {
            KeyKind::Blanks
        }
        DataType::Float32 | DataType::Float64 => KeyKind::Float,
        _ => return expr,
    };
    call(kind, expr)
}

/// Numerics such that equal ones look the same.
pub(crate) fn shortest_numeric(expr: Expr) -> Expr {
    call(KeyKind::ShortestNumeric, expr)
}

fn call(kind: KeyKind, expr: Expr) -> Expr {
    let key = ComparisonKey {
        kind,
        signature: Signature::any(1, Volatility::Immutable),
    };
    if let Expr::Literal(value, _) = &expr
        && let Ok(array) = value.to_array_of_size(1)
        && let Ok(array) = key.over(&array)
        && let Ok(value) = ScalarValue::try_from_array(&array, 0)
    {
        return Expr::Literal(value, None);
    }
    ScalarUDF::new_from_impl(key).call(vec![expr])
}

impl ScalarUDFImpl for ComparisonKey {
    fn name(&self) -> &str {
        match self.kind {
            KeyKind::Numeric => "numeric_key",
            KeyKind::Blanks => "bpchar_key",
            KeyKind::Float => "float_key",
            KeyKind::ShortestNumeric => "trim_scale",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> DfResult<DataType> {
        arg_types
            .first()
            .cloned()
            .ok_or_else(|| QueryError::internal("a key takes one argument").into())
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
            _ => Err(QueryError::internal("a key takes one argument").into()),
        }
    }
}

impl ComparisonKey {
    fn over(&self, array: &ArrayRef) -> Result<ArrayRef, QueryError> {
        Ok(match (self.kind, array.data_type()) {
            (KeyKind::Numeric | KeyKind::ShortestNumeric, DataType::LargeBinary) => {
                let numerics = array.as_binary::<i64>();
                let mut builder =
                    LargeBinaryBuilder::with_capacity(numerics.len(), numerics.len() * 16);
                for numeric in numerics {
                    match numeric {
                        None => builder.append_null(),
                        Some(numeric) if self.kind == KeyKind::Numeric => {
                            builder.append_value(comparison_key(numeric));
                        }
                        Some(numeric) => {
                            let shortest = trim_scale(decode_numeric(numeric)?)?;
                            builder.append_value(encode_numeric(&shortest)?);
                        }
                    }
                }
                Arc::new(builder.finish())
            }
            (KeyKind::Blanks, DataType::Utf8) => {
                let trimmed: StringArray = array
                    .as_string::<i32>()
                    .iter()
                    .map(|text| text.map(|text| text.trim_end_matches(' ')))
                    .collect();
                Arc::new(trimmed)
            }
            (KeyKind::Float, DataType::Float32) => Arc::new(
                array
                    .as_primitive::<Float32Type>()
                    .unary::<_, Float32Type>(|value| {
                        if value.is_nan() {
                            f32::NAN
                        } else {
                            value + 0.0
                        }
                    }),
            ),
            (KeyKind::Float, DataType::Float64) => Arc::new(
                array
                    .as_primitive::<Float64Type>()
                    .unary::<_, Float64Type>(|value| {
                        if value.is_nan() {
                            f64::NAN
                        } else {
                            value + 0.0
                        }
                    }),
            ),
            (_, other) => {
                return Err(QueryError::internal(format!(
                    "no comparison key of {other}"
                )));
            }
        })
    }
}

/// The same number with as few decimals as show it (`numeric_trim_scale`).
fn trim_scale(value: Numeric) -> Result<Numeric, QueryError> {
    let text = value.to_string();
    if !value.is_finite() || !text.contains('.') {
        return Ok(value);
    }
    Ok(Numeric::parse(
        text.trim_end_matches('0').trim_end_matches('.'),
    )?)
}
