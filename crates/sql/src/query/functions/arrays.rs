//! Functions over arrays (`arrayfuncs.c`, `array_userfuncs.c`). An array travels as its payload.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, ListArray};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use trunkline_pgformat::Oid;
use trunkline_types::array::{ArrayParts, array_parts, put_elements};
use trunkline_types::oids::{ANYARRAY, INT4, TEXT};

use super::rows::RowFunction as F;
use crate::query::column::ColumnBuilder;
use crate::query::error::{QueryError, sqlstate};
use crate::query::pgtype::{PgType, arrow_type};
use crate::query::value::{
    Styles, Value, ValueReader, argument_arrays, map_rows, payload_to_text, value_from_payload,
};

type Outcome = Result<Value<'static>, QueryError>;

pub(crate) const FUNCTIONS: &[F] = &[
    F::new("array_to_string", &[ANYARRAY, TEXT], TEXT, array_to_string),
    F::new(
        "array_to_string",
        &[ANYARRAY, TEXT, TEXT],
        TEXT,
        array_to_string,
    )
    .called_with_null(),
    F::new("array_length", &[ANYARRAY, INT4], INT4, |v, _| {
        Ok(integer(dimension(v)?.map(|(length, _)| length)))
    }),
    F::new("array_lower", &[ANYARRAY, INT4], INT4, |v, _| {
        Ok(integer(dimension(v)?.map(|(_, lower)| lower)))
    }),
    F::new("array_upper", &[ANYARRAY, INT4], INT4, |v, _| {
        Ok(integer(
            dimension(v)?.map(|(length, lower)| lower + length - 1),
        ))
    }),
    F::new("array_ndims", &[ANYARRAY], INT4, |v, _| {
        let count = parts(&v[0])?.dimensions.len() as i64;
        Ok(integer((count > 0).then_some(count)))
    }),
    F::new("cardinality", &[ANYARRAY], INT4, |v, _| {
        Ok(integer(Some(parts(&v[0])?.elements.len() as i64)))
    }),
];

fn parts<'v>(value: &'v Value<'_>) -> Result<ArrayParts<'v>, QueryError> {
    array_parts(value.as_bytes()?)
        .ok_or_else(|| QueryError::new("XX001", "stored value of an array type is damaged"))
}

fn integer(value: Option<i64>) -> Value<'static> {
    value.map_or(Value::Null, Value::Int)
}

/// Length and lower bound of the dimension that the second argument counts.
fn dimension(v: &[Value<'_>]) -> Result<Option<(i64, i64)>, QueryError> {
    let parts = parts(&v[0])?;
    let index = v[1].as_int()?.checked_sub(1).map(usize::try_from);
    let Some(Ok(index)) = index else {
        return Ok(None);
    };
    let dimension = parts.dimensions.get(index);
    Ok(dimension.map(|(length, lower)| (i64::from(*length), i64::from(*lower))))
}

/// NULL elements are left out unless a text stands for them.
fn array_to_string(v: &[Value<'_>], styles: &Styles) -> Outcome {
    if v[0].is_null() || v[1].is_null() {
        return Ok(Value::Null);
    }
    let parts = parts(&v[0])?;
    let for_null = match v.get(2) {
        Some(value) if !value.is_null() => Some(value.as_text()?),
        _ => None,
    };
    let mut printed = Vec::with_capacity(parts.elements.len());
    for element in &parts.elements {
        match element {
            Some(payload) => {
                printed.push(payload_to_text(
                    PgType::new(parts.element),
                    payload,
                    styles,
                )?);
            }
            None => printed.extend(for_null.map(str::to_owned)),
        }
    }
    Ok(Value::text(printed.join(v[1].as_text()?)))
}

/// What an operation on arrays gives, its types being those that analysis found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ArrayOperation {
    /// `array[subscript]`
    Element,
    /// `value = ANY (array)`
    EqualsAny,
    /// `value <> ALL (array)`
    DiffersFromAll,
    /// `array || array`
    Concatenate,
    /// The elements as a list of the executor's, for `unnest`.
    Elements,
    /// `generate_series` of integers as a list of the executor's.
    Series,
}

/// The longest series that is made at once.
const MAX_SERIES: i64 = 10_000_000;

#[derive(Debug)]
struct ArrayCall {
    operation: ArrayOperation,
    element: PgType,
    signature: Signature,
}

impl PartialEq for ArrayCall {
    fn eq(&self, other: &Self) -> bool {
        self.operation == other.operation && self.element == other.element
    }
}

impl Eq for ArrayCall {}

impl Hash for ArrayCall {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.operation.hash(state);
        self.element.hash(state);
    }
}

/// The call of an operation over arguments of its types; `element` is the arrays' element type.
pub(crate) fn array_call(operation: ArrayOperation, element: PgType, args: Vec<Expr>) -> Expr {
    let call = ArrayCall {
        operation,
        element,
        signature: Signature::any(args.len(), Volatility::Immutable),
    };
    ScalarUDF::new_from_impl(call).call(args)
}

fn list_field(element: PgType) -> Arc<Field> {
    Arc::new(Field::new_list_field(arrow_type(element), true))
}

impl ScalarUDFImpl for ArrayCall {
    fn name(&self) -> &str {
        match self.operation {
            ArrayOperation::Element => "array_subscript",
            ArrayOperation::EqualsAny => "equals_any",
            ArrayOperation::DiffersFromAll => "differs_from_all",
            ArrayOperation::Concatenate => "array_cat",
            ArrayOperation::Elements => "array_elements",
            ArrayOperation::Series => "series_elements",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> DfResult<DataType> {
        Ok(match self.operation {
            ArrayOperation::Element => arrow_type(self.element),
            ArrayOperation::EqualsAny | ArrayOperation::DiffersFromAll => DataType::Boolean,
            ArrayOperation::Concatenate => DataType::Binary,
            ArrayOperation::Elements | ArrayOperation::Series => {
                DataType::List(list_field(self.element))
            }
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        if matches!(
            self.operation,
            ArrayOperation::Elements | ArrayOperation::Series
        ) {
            return Ok(ColumnarValue::Array(self.lists(&args)?));
        }
        let arrow = self.return_type(&[])?;
        // A concatenation takes NULL for an empty array.
        let strict = self.operation != ArrayOperation::Concatenate;
        let result = map_rows(
            &args.args,
            args.number_rows,
            &arrow,
            strict,
            |v| match self.operation {
                ArrayOperation::Element => self.subscript(v),
                ArrayOperation::EqualsAny => self.equals_any(v),
                ArrayOperation::DiffersFromAll => Ok(match self.equals_any(v)? {
                    Value::Bool(found) => Value::Bool(!found),
                    other => other,
                }),
                _ => self.concatenate(v),
            },
        )?;
        Ok(result)
    }
}

impl ArrayCall {
    fn subscript(&self, v: &[Value<'_>]) -> Outcome {
        let parts = parts(&v[0])?;
        let [(length, lower)] = parts.dimensions.as_slice() else {
            return Ok(Value::Null);
        };
        let offset = v[1].as_int()? - i64::from(*lower);
        if !(0..i64::from(*length)).contains(&offset) {
            return Ok(Value::Null);
        }
        match parts.elements[offset as usize] {
            Some(payload) => value_from_payload(self.element, payload),
            None => Ok(Value::Null),
        }
    }

    fn equals_any(&self, v: &[Value<'_>]) -> Outcome {
        let mut unknown = false;
        for element in parts(&v[1])?.elements {
            match element {
                None => unknown = true,
                Some(payload) if value_from_payload(self.element, payload)? == v[0] => {
                    return Ok(Value::Bool(true));
                }
                Some(_) => {}
            }
        }
        Ok(if unknown {
            Value::Null
        } else {
            Value::Bool(false)
        })
    }

    fn concatenate(&self, v: &[Value<'_>]) -> Outcome {
        let owned = |value: &Value<'_>| value.as_bytes().map(|bytes| bytes.to_vec());
        let payload = match (v[0].is_null(), v[1].is_null()) {
            (true, true) => return Ok(Value::Null),
            (false, true) => owned(&v[0])?,
            (true, false) => owned(&v[1])?,
            (false, false) => {
                let (left, right) = (parts(&v[0])?, parts(&v[1])?);
                if left.dimensions.is_empty() {
                    owned(&v[1])?
                } else if right.dimensions.is_empty() {
                    owned(&v[0])?
                } else if left.dimensions.len() > 1 || right.dimensions.len() > 1 {
                    return Err(QueryError::unsupported(
                        "concatenating arrays of several dimensions is not supported",
                    ));
                } else {
                    let elements: Vec<Option<Vec<u8>>> = left
                        .elements
                        .iter()
                        .chain(&right.elements)
                        .map(|element| element.map(<[u8]>::to_vec))
                        .collect();
                    array_payload(self.element.oid, &elements)?
                }
            }
        };
        Ok(Value::Bytes(payload.into()))
    }

    fn lists(&self, args: &ScalarFunctionArgs) -> Result<ArrayRef, QueryError> {
        let arrays = argument_arrays(&args.args)?;
        let readers: Vec<_> = arrays.iter().map(ValueReader::new).collect();
        let rows = args.number_rows;
        let mut lengths = Vec::with_capacity(rows);
        let mut elements = ColumnBuilder::new(self.element, rows);
        for row in 0..rows {
            let mut values = Vec::with_capacity(readers.len());
            for reader in &readers {
                values.push(reader.get(row)?);
            }
            // A function of a set gives no rows for NULL.
            if values.iter().any(Value::is_null) {
                lengths.push(0);
                continue;
            }
            lengths.push(match self.operation {
                ArrayOperation::Elements => {
                    let parts = parts(&values[0])?;
                    for element in &parts.elements {
                        elements.push(*element)?;
                    }
                    parts.elements.len()
                }
                _ => self.push_series(&values, &mut elements)?,
            });
        }
        let list = ListArray::try_new(
            list_field(self.element),
            OffsetBuffer::from_lengths(lengths),
            elements.finish(),
            None,
        )?;
        Ok(Arc::new(list))
    }

    fn push_series(
        &self,
        values: &[Value<'_>],
        elements: &mut ColumnBuilder,
    ) -> Result<usize, QueryError> {
        let (start, stop) = (values[0].as_int()?, values[1].as_int()?);
        let step = values.get(2).map_or(Ok(1), Value::as_int)?;
        if step == 0 {
            return Err(QueryError::new(
                sqlstate::INVALID_PARAMETER_VALUE,
                "step size cannot equal zero",
            ));
        }
        let mut count = 0;
        let mut next = Some(start);
        while let Some(value) = next
            && (if step > 0 {
                value <= stop
            } else {
                value >= stop
            })
        {
            count += 1;
            if count as i64 > MAX_SERIES {
                return Err(QueryError::unsupported(format!(
                    "a series of more than {MAX_SERIES} values whose bounds are computed is not \
                     supported"
                )));
            }
            if self.element.oid == INT4 {
                elements.push(Some(&(value as i32).to_le_bytes()))?;
            } else {
                elements.push(Some(&value.to_le_bytes()))?;
            }
            next = value.checked_add(step);
        }
        Ok(count)
    }
}

/// The payload of an array of one dimension.
pub(crate) fn array_payload(
    element: Oid,
    elements: &[Option<Vec<u8>>],
) -> Result<Vec<u8>, QueryError> {
    let mut payload = Vec::new();
    put_elements(element, elements, &mut payload)
        .ok_or_else(|| QueryError::internal(format!("no type {element}")))?;
    Ok(payload)
}
