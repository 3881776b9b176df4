//! Single values of batches, for everything that isn't worth a vectorised kernel: a function
//! reads [`Value`]s row by row and writes one.

use std::borrow::Cow;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, BooleanBuilder, FixedSizeBinaryBuilder,
    LargeBinaryBuilder, PrimitiveBuilder, StringBuilder,
};
use datafusion::arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type,
    Int32Type, Int64Type, TimestampMicrosecondType, UInt32Type, UInt64Type,
};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::ColumnarValue;
use trunkline_types::{
    ColumnType, InputStyle, ObjectNames, OutputStyle, input_text, oids, output_text,
};

use super::column::{ColumnBuilder, ColumnReader, date_from_arrow, date_to_arrow};
use super::decimal::{decimal_to_payload, decode_to_payload, encode_payload, payload_to_decimal};
use super::error::{QueryError, sqlstate};
use super::names::CatalogNames;
use super::numeric::{Numeric, from_payload};
use super::pgtype::PgType;

/// What text forms depend on: the session's settings, and what the catalogs call things. Made for
/// one statement.
#[derive(Clone, Debug)]
pub struct Styles {
    /// How text is read.
    pub input: InputStyle,
    /// How values are printed; knows `names`.
    pub output: OutputStyle,
    /// Names of objects, read as analysis finds them needed.
    pub names: Arc<CatalogNames>,
}

impl Styles {
    /// The styles of a statement. Names are none of the settings.
    pub fn new(input: InputStyle, output: OutputStyle) -> Self {
        let names = Arc::new(CatalogNames::default());
        Self {
            input,
            output: OutputStyle {
                names: Some(Arc::clone(&names) as Arc<dyn ObjectNames>),
                ..output
            },
            names,
        }
    }
}

impl Default for Styles {
    fn default() -> Self {
        Self::new(InputStyle::default(), OutputStyle::default())
    }
}

/// One value. Integers of every width and OIDs are `Int`, both floats `Float`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    Numeric(Numeric),
    /// Days since 2000-01-01, as stored.
    Date(i32),
    /// Microseconds since 2000-01-01, as stored.
    Timestamp(i64),
    Uuid([u8; 16]),
}

fn wrong() -> QueryError {
    QueryError::internal("value of an unexpected type")
}

impl<'a> Value<'a> {
    pub(crate) fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Value::Text(text.into())
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    pub(crate) fn as_bool(&self) -> Result<bool, QueryError> {
        match self {
            Value::Bool(value) => Ok(*value),
            _ => Err(wrong()),
        }
    }

    pub(crate) fn as_int(&self) -> Result<i64, QueryError> {
        match self {
            Value::Int(value) => Ok(*value),
            _ => Err(wrong()),
        }
    }

    pub(crate) fn as_float(&self) -> Result<f64, QueryError> {
        match self {
            Value::Float(value) => Ok(*value),
            _ => Err(wrong()),
        }
    }

    pub(crate) fn as_text(&self) -> Result<&str, QueryError> {
        match self {
            Value::Text(value) => Ok(value),
            _ => Err(wrong()),
        }
    }

    pub(crate) fn as_bytes(&self) -> Result<&[u8], QueryError> {
        match self {
            Value::Bytes(value) => Ok(value),
            _ => Err(wrong()),
        }
    }

    pub(crate) fn as_numeric(&self) -> Result<&Numeric, QueryError> {
        match self {
            Value::Numeric(value) => Ok(value),
            _ => Err(wrong()),
        }
    }

    pub(crate) fn as_date(&self) -> Result<i32, QueryError> {
        match self {
            Value::Date(value) => Ok(*value),
            _ => Err(wrong()),
        }
    }

    pub(crate) fn as_timestamp(&self) -> Result<i64, QueryError> {
        match self {
            Value::Timestamp(value) => Ok(*value),
            _ => Err(wrong()),
        }
    }
}

/// Reads one argument's values: a column, or one value for every row.
pub(crate) struct ValueReader<'a> {
    array: &'a ArrayRef,
    constant: bool,
}

/// Arguments as arrays: a scalar becomes an array of one row.
pub(crate) fn argument_arrays(args: &[ColumnarValue]) -> Result<Vec<(ArrayRef, bool)>, QueryError> {
    args.iter()
        .map(|arg| {
            Ok(match arg {
                ColumnarValue::Array(array) => (Arc::clone(array), false),
                ColumnarValue::Scalar(scalar) => (scalar.to_array_of_size(1)?, true),
            })
        })
        .collect()
}

impl<'a> ValueReader<'a> {
    pub(crate) fn new(argument: &'a (ArrayRef, bool)) -> Self {
        Self {
            array: &argument.0,
            constant: argument.1,
        }
    }

    pub(crate) fn get(&self, row: usize) -> Result<Value<'a>, QueryError> {
        value_at(self.array, if self.constant { 0 } else { row })
    }
}

/// The value of a row of a column.
pub(crate) fn value_at(array: &ArrayRef, row: usize) -> Result<Value<'_>, QueryError> {
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    Ok(match array.data_type() {
        DataType::Null => Value::Null,
        DataType::Boolean => Value::Bool(array.as_boolean().value(row)),
        DataType::Int16 => Value::Int(array.as_primitive::<Int16Type>().value(row).into()),
        DataType::Int32 => Value::Int(array.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => Value::Int(array.as_primitive::<Int64Type>().value(row)),
        DataType::UInt32 => Value::Int(array.as_primitive::<UInt32Type>().value(row).into()),
        DataType::UInt64 => Value::Int(array.as_primitive::<UInt64Type>().value(row) as i64),
        DataType::Float32 => Value::Float(array.as_primitive::<Float32Type>().value(row).into()),
        DataType::Float64 => Value::Float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => Value::Text(array.as_string::<i32>().value(row).into()),
        DataType::Binary => Value::Bytes(array.as_binary::<i32>().value(row).into()),
        DataType::Date32 => Value::Date(date_from_arrow(
            array.as_primitive::<Date32Type>().value(row),
        )),
        DataType::Timestamp(..) => {
            Value::Timestamp(array.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        DataType::FixedSizeBinary(16) => {
            let bytes = array.as_fixed_size_binary().value(row);
            Value::Uuid(bytes.try_into().map_err(|_| wrong())?)
        }
        DataType::Decimal128(_, scale) => {
            let mut payload = Vec::with_capacity(24);
            decimal_to_payload(
                array.as_primitive::<Decimal128Type>().value(row),
                *scale,
                &mut payload,
            );
            Value::Numeric(from_payload(&payload)?)
        }
        DataType::LargeBinary => {
            let mut payload = Vec::with_capacity(24);
            decode_to_payload(array.as_binary::<i64>().value(row), &mut payload)?;
            Value::Numeric(from_payload(&payload)?)
        }
        other => {
            return Err(QueryError::internal(format!(
                "unexpected column of type {other}"
            )));
        }
    })
}

/// Collects the results of a function.
pub(crate) enum ValueBuilder {
    Bool(BooleanBuilder),
    Int2(PrimitiveBuilder<Int16Type>),
    Int4(PrimitiveBuilder<Int32Type>),
    Int8(PrimitiveBuilder<Int64Type>),
    Oid(PrimitiveBuilder<UInt32Type>),
    Word8(PrimitiveBuilder<UInt64Type>),
    Float4(PrimitiveBuilder<Float32Type>),
    Float8(PrimitiveBuilder<Float64Type>),
    Text(StringBuilder),
    Bytes(BinaryBuilder),
    Date(PrimitiveBuilder<Date32Type>),
    Timestamp(PrimitiveBuilder<TimestampMicrosecondType>),
    Uuid(FixedSizeBinaryBuilder),
    Decimal(PrimitiveBuilder<Decimal128Type>, i8),
    Numeric(LargeBinaryBuilder),
}

/// The most bytes that one column of a batch may hold: what a value may be at most in PostgreSQL
/// (`MaxAllocSize`), and less than an offset of Arrow's can tell.
const COLUMN_BYTES_MAX: usize = 1 << 30;

fn check_room(present: usize, more: usize) -> Result<(), QueryError> {
    if present + more > COLUMN_BYTES_MAX {
        let error = QueryError::new(sqlstate::OUT_OF_MEMORY, "out of memory");
        return Err(error.with_detail(format!(
            "The values of one column of a batch of rows take more than {COLUMN_BYTES_MAX} bytes."
        )));
    }
    Ok(())
}

impl ValueBuilder {
    pub(crate) fn new(arrow: &DataType, rows: usize) -> Result<Self, QueryError> {
        fn primitive<T: ArrowPrimitiveType>(arrow: &DataType, rows: usize) -> PrimitiveBuilder<T> {
            PrimitiveBuilder::with_capacity(rows).with_data_type(arrow.clone())
        }
        Ok(match arrow {
            DataType::Boolean => Self::Bool(BooleanBuilder::with_capacity(rows)),
            DataType::Int16 => Self::Int2(primitive(arrow, rows)),
            DataType::Int32 => Self::Int4(primitive(arrow, rows)),
            DataType::Int64 => Self::Int8(primitive(arrow, rows)),
            DataType::UInt32 => Self::Oid(primitive(arrow, rows)),
            DataType::UInt64 => Self::Word8(primitive(arrow, rows)),
            DataType::Float32 => Self::Float4(primitive(arrow, rows)),
            DataType::Float64 => Self::Float8(primitive(arrow, rows)),
            DataType::Utf8 => Self::Text(StringBuilder::with_capacity(rows, rows * 16)),
            DataType::Binary => Self::Bytes(BinaryBuilder::with_capacity(rows, rows * 16)),
            DataType::Date32 => Self::Date(primitive(arrow, rows)),
            DataType::Timestamp(..) => Self::Timestamp(primitive(arrow, rows)),
            DataType::FixedSizeBinary(16) => {
                Self::Uuid(FixedSizeBinaryBuilder::with_capacity(rows, 16))
            }
            DataType::Decimal128(_, scale) => Self::Decimal(primitive(arrow, rows), *scale),
            DataType::LargeBinary => {
                Self::Numeric(LargeBinaryBuilder::with_capacity(rows, rows * 16))
            }
            other => return Err(QueryError::internal(format!("no builder for {other}"))),
        })
    }

    /// Appends a value of the builder's type. A number that the type can't hold is an internal
    /// error: range checks come before.
    pub(crate) fn push(&mut self, value: &Value<'_>) -> Result<(), QueryError> {
        match (self, value) {
            (Self::Bool(builder), Value::Null) => builder.append_null(),
            (Self::Bool(builder), value) => builder.append_value(value.as_bool()?),
            (Self::Int2(builder), Value::Null) => builder.append_null(),
            (Self::Int2(builder), value) => {
                builder.append_value(i16::try_from(value.as_int()?).map_err(|_| wrong())?);
            }
            (Self::Int4(builder), Value::Null) => builder.append_null(),
            (Self::Int4(builder), value) => {
                builder.append_value(i32::try_from(value.as_int()?).map_err(|_| wrong())?);
            }
            (Self::Int8(builder), Value::Null) => builder.append_null(),
            (Self::Int8(builder), value) => builder.append_value(value.as_int()?),
            (Self::Oid(builder), Value::Null) => builder.append_null(),
            (Self::Oid(builder), value) => {
                builder.append_value(u32::try_from(value.as_int()?).map_err(|_| wrong())?);
            }
            (Self::Word8(builder), Value::Null) => builder.append_null(),
            (Self::Word8(builder), value) => builder.append_value(value.as_int()? as u64),
            (Self::Float4(builder), Value::Null) => builder.append_null(),
            (Self::Float4(builder), value) => builder.append_value(value.as_float()? as f32),
            (Self::Float8(builder), Value::Null) => builder.append_null(),
            (Self::Float8(builder), value) => builder.append_value(value.as_float()?),
            (Self::Text(builder), Value::Null) => builder.append_null(),
            (Self::Text(builder), value) => {
                let text = value.as_text()?;
                check_room(builder.values_slice().len(), text.len())?;
                builder.append_value(text);
            }
            (Self::Bytes(builder), Value::Null) => builder.append_null(),
            (Self::Bytes(builder), value) => {
                let bytes = value.as_bytes()?;
                check_room(builder.values_slice().len(), bytes.len())?;
                builder.append_value(bytes);
            }
            (Self::Date(builder), Value::Null) => builder.append_null(),
            (Self::Date(builder), value) => builder.append_value(date_to_arrow(value.as_date()?)),
            (Self::Timestamp(builder), Value::Null) => builder.append_null(),
            (Self::Timestamp(builder), value) => builder.append_value(value.as_timestamp()?),
            (Self::Uuid(builder), Value::Null) => builder.append_null(),
            (Self::Uuid(builder), Value::Uuid(bytes)) => builder.append_value(bytes)?,
            (Self::Uuid(_), _) => return Err(wrong()),
            (Self::Decimal(builder, _), Value::Null) => builder.append_null(),
            (Self::Decimal(builder, scale), value) => {
                let mut payload = Vec::with_capacity(24);
                value.as_numeric()?.encode(&mut payload)?;
                let decimal = payload_to_decimal(&payload, *scale)?.ok_or_else(wrong)?;
                builder.append_value(decimal);
            }
            (Self::Numeric(builder), Value::Null) => builder.append_null(),
            (Self::Numeric(builder), value) => {
                builder.append_value(encode_numeric(value.as_numeric()?)?);
            }
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> ArrayRef {
        match self {
            Self::Bool(mut builder) => Arc::new(builder.finish()),
            Self::Int2(mut builder) => Arc::new(builder.finish()),
            Self::Int4(mut builder) => Arc::new(builder.finish()),
            Self::Int8(mut builder) => Arc::new(builder.finish()),
            Self::Oid(mut builder) => Arc::new(builder.finish()),
            Self::Word8(mut builder) => Arc::new(builder.finish()),
            Self::Float4(mut builder) => Arc::new(builder.finish()),
            Self::Float8(mut builder) => Arc::new(builder.finish()),
            Self::Text(mut builder) => Arc::new(builder.finish()),
            Self::Bytes(mut builder) => Arc::new(builder.finish()),
            Self::Date(mut builder) => Arc::new(builder.finish()),
            Self::Timestamp(mut builder) => Arc::new(builder.finish()),
            Self::Uuid(mut builder) => Arc::new(builder.finish()),
            Self::Decimal(mut builder, _) => Arc::new(builder.finish()),
            Self::Numeric(mut builder) => Arc::new(builder.finish()),
        }
    }
}

/// A numeric in the encoding of [`super::decimal`].
pub(crate) fn encode_numeric(value: &Numeric) -> Result<Vec<u8>, QueryError> {
    let mut payload = Vec::with_capacity(24);
    value.encode(&mut payload)?;
    let mut encoded = Vec::with_capacity(payload.len() + 8);
    encode_payload(&payload, &mut encoded)?;
    Ok(encoded)
}

/// A value of an encoded numeric.
pub(crate) fn decode_numeric(encoded: &[u8]) -> Result<Numeric, QueryError> {
    let mut payload = Vec::with_capacity(24);
    decode_to_payload(encoded, &mut payload)?;
    from_payload(&payload)
}

/// Runs `body` for every row and collects its results; one row only if all arguments are
/// constant. With `strict`, a NULL argument makes the result NULL without a call.
pub(crate) fn map_rows(
    args: &[ColumnarValue],
    rows: usize,
    arrow: &DataType,
    strict: bool,
    mut body: impl for<'v> FnMut(&[Value<'v>]) -> Result<Value<'v>, QueryError>,
) -> Result<ColumnarValue, QueryError> {
    let arrays = argument_arrays(args)?;
    let constant = !args.is_empty() && arrays.iter().all(|(_, constant)| *constant);
    let count = if constant { 1 } else { rows };
    let readers: Vec<_> = arrays.iter().map(ValueReader::new).collect();
    let mut builder = ValueBuilder::new(arrow, count)?;
    let mut values = Vec::with_capacity(readers.len());
    for row in 0..count {
        values.clear();
        for reader in &readers {
            values.push(reader.get(row)?);
        }
        if strict && values.iter().any(Value::is_null) {
            builder.push(&Value::Null)?;
        } else {
            builder.push(&body(&values)?)?;
        }
    }
    let array = builder.finish();
    Ok(if constant {
        ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?)
    } else {
        ColumnarValue::Array(array)
    })
}

/// Reads a value's text form with its type's input function.
pub(crate) fn value_from_text(
    ty: PgType,
    text: &str,
    styles: &Styles,
) -> Result<Value<'static>, QueryError> {
    let column_type = ColumnType::new(ty.oid, ty.typmod)?;
    let mut payload = Vec::new();
    input_text(&column_type, text, &styles.input, &mut payload)?;
    value_from_payload(ty, &payload)
}

/// A value from its payload.
pub(crate) fn value_from_payload(ty: PgType, payload: &[u8]) -> Result<Value<'static>, QueryError> {
    if ty.oid == oids::NUMERIC {
        return Ok(Value::Numeric(from_payload(payload)?));
    }
    let mut builder = ColumnBuilder::new(ty, 1);
    builder.push(Some(payload))?;
    let array = builder.finish();
    Ok(match value_at(&array, 0)? {
        Value::Text(text) => Value::Text(text.into_owned().into()),
        Value::Bytes(bytes) => Value::Bytes(bytes.into_owned().into()),
        Value::Null => Value::Null,
        Value::Bool(value) => Value::Bool(value),
        Value::Int(value) => Value::Int(value),
        Value::Float(value) => Value::Float(value),
        Value::Numeric(value) => Value::Numeric(value),
        Value::Date(value) => Value::Date(value),
        Value::Timestamp(value) => Value::Timestamp(value),
        Value::Uuid(value) => Value::Uuid(value),
    })
}

/// Prints a value with its type's output function.
pub(crate) fn value_to_text(
    ty: PgType,
    value: &Value<'_>,
    styles: &Styles,
) -> Result<String, QueryError> {
    if let Value::Text(text) = value {
        return Ok(text.clone().into_owned());
    }
    let mut payload = Vec::new();
    if let Value::Numeric(numeric) = value {
        numeric.encode(&mut payload)?;
    } else {
        let arrow = super::pgtype::arrow_type(ty);
        let mut builder = ValueBuilder::new(&arrow, 1)?;
        builder.push(value)?;
        let array = builder.finish();
        ColumnReader::new(ty, &array)?.append(0, &mut payload)?;
    }
    payload_to_text(ty, &payload, styles)
}

/// Prints a payload with its type's output function.
pub(crate) fn payload_to_text(
    ty: PgType,
    payload: &[u8],
    styles: &Styles,
) -> Result<String, QueryError> {
    let column_type = ColumnType::new(ty.oid, ty.typmod)?;
    let mut out = Vec::new();
    output_text(&column_type, payload, &styles.output, &mut out)?;
    String::from_utf8(out)
        .map_err(|_| QueryError::new("22021", "invalid byte sequence for encoding \"UTF8\""))
}
