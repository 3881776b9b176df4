//! Columns of batches <-> datum payloads.
//!
//! A datum is PostgreSQL's on-disk payload without varlena header. [`ColumnBuilder`] makes an
//! Arrow column of payloads (table scans, literals, parameters), [`ColumnReader`] takes
//! payloads out of an Arrow column (INSERT, results). Both decide the type once per column.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, BooleanArray, BooleanBuilder,
    Decimal128Array, FixedSizeBinaryArray, FixedSizeBinaryBuilder, LargeBinaryArray,
    LargeBinaryBuilder, PrimitiveArray, PrimitiveBuilder, StringArray, StringBuilder,
};
use datafusion::arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type,
    Int32Type, Int64Type, TimestampMicrosecondType, UInt32Type, UInt64Type,
};
use trunkline_types::oids;

use super::decimal::{decimal_to_payload, decode_to_payload, encode_payload, payload_to_decimal};
use super::error::{QueryError, sqlstate};
use super::pgtype::{PgType, arrow_type};

/// Days from 1970-01-01, Arrow's first day, to 2000-01-01, PostgreSQL's.
const EPOCH_DAYS: i32 = 10_957;

/// Bytes of a stored `name`.
const NAME_BYTES: usize = 64;

/// A stored date as Arrow's; infinities stay what they are.
pub(crate) fn date_to_arrow(days: i32) -> i32 {
    match days {
        i32::MIN | i32::MAX => days,
        days => days.saturating_add(EPOCH_DAYS),
    }
}

/// Arrow's date as a stored one.
pub(crate) fn date_from_arrow(days: i32) -> i32 {
    match days {
        i32::MIN | i32::MAX => days,
        days => days.saturating_sub(EPOCH_DAYS),
    }
}

fn fixed<const N: usize>(payload: &[u8]) -> Result<[u8; N], QueryError> {
    payload.try_into().map_err(|_| {
        QueryError::new(
            "XX001",
            format!("invalid datum: {} bytes where {N} belong", payload.len()),
        )
    })
}

fn text(payload: &[u8]) -> Result<&str, QueryError> {
    std::str::from_utf8(payload)
        .map_err(|_| QueryError::new("XX001", "invalid byte sequence for encoding \"UTF8\""))
}

/// The text form of a `"char"` (`charout`).
pub(crate) fn char_text(byte: u8) -> String {
    match byte {
        0 => String::new(),
        1..=127 => char::from(byte).to_string(),
        _ => format!("\\{:o}{:o}{:o}", byte >> 6, (byte >> 3) & 7, byte & 7),
    }
}

/// The byte of a `"char"`'s text form (`charin`).
fn char_byte(text: &str) -> u8 {
    match text.as_bytes() {
        [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7'] => {
            ((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0')
        }
        [first, ..] => *first,
        [] => 0,
    }
}

/// Builds one Arrow column out of datum payloads.
#[derive(Debug)]
pub struct ColumnBuilder(Builder);

#[derive(Debug)]
enum Builder {
    Bool(BooleanBuilder),
    Int2(PrimitiveBuilder<Int16Type>),
    Int4(PrimitiveBuilder<Int32Type>),
    Int8(PrimitiveBuilder<Int64Type>),
    Float4(PrimitiveBuilder<Float32Type>),
    Float8(PrimitiveBuilder<Float64Type>),
    Oid(PrimitiveBuilder<UInt32Type>),
    Word8(PrimitiveBuilder<UInt64Type>),
    Date(PrimitiveBuilder<Date32Type>),
    Timestamp(PrimitiveBuilder<TimestampMicrosecondType>),
    Uuid(FixedSizeBinaryBuilder),
    Decimal(PrimitiveBuilder<Decimal128Type>, i8),
    Numeric(LargeBinaryBuilder, Vec<u8>),
    Text(StringBuilder),
    Name(StringBuilder),
    Char(StringBuilder),
    Bytes(BinaryBuilder),
}

impl ColumnBuilder {
    /// A builder of the column that [`arrow_type`] names, with room for `rows`.
    pub fn new(ty: PgType, rows: usize) -> Self {
        Self::with_arrow(ty, &arrow_type(ty), rows)
    }

    /// A builder for a numeric that travels as a given Arrow type; as [`Self::new`] otherwise.
    pub(crate) fn with_arrow(ty: PgType, arrow: &DataType, rows: usize) -> Self {
        fn primitive<T: ArrowPrimitiveType>(arrow: &DataType, rows: usize) -> PrimitiveBuilder<T> {
            PrimitiveBuilder::with_capacity(rows).with_data_type(arrow.clone())
        }
        Self(match arrow {
            DataType::Boolean => Builder::Bool(BooleanBuilder::with_capacity(rows)),
            DataType::Int16 => Builder::Int2(primitive(arrow, rows)),
            DataType::Int32 => Builder::Int4(primitive(arrow, rows)),
            DataType::Int64 => Builder::Int8(primitive(arrow, rows)),
            DataType::Float32 => Builder::Float4(primitive(arrow, rows)),
            DataType::Float64 => Builder::Float8(primitive(arrow, rows)),
            DataType::UInt32 => Builder::Oid(primitive(arrow, rows)),
            DataType::UInt64 => Builder::Word8(primitive(arrow, rows)),
            DataType::Date32 => Builder::Date(primitive(arrow, rows)),
            DataType::Timestamp(..) => Builder::Timestamp(primitive(arrow, rows)),
            DataType::FixedSizeBinary(width) => {
                Builder::Uuid(FixedSizeBinaryBuilder::with_capacity(rows, *width))
            }
            DataType::Decimal128(_, scale) => Builder::Decimal(primitive(arrow, rows), *scale),
            DataType::LargeBinary => Builder::Numeric(
                LargeBinaryBuilder::with_capacity(rows, rows * 16),
                Vec::new(),
            ),
            DataType::Utf8 => {
                let builder = StringBuilder::with_capacity(rows, rows * 16);
                match ty.oid {
                    oids::NAME => Builder::Name(builder),
                    oids::CHAR => Builder::Char(builder),
                    _ => Builder::Text(builder),
                }
            }
            _ => Builder::Bytes(BinaryBuilder::with_capacity(rows, rows * 16)),
        })
    }

    /// Appends a value, `None` for NULL. Errors are those of corrupt payloads.
    #[inline]
    pub fn push(&mut self, datum: Option<&[u8]>) -> Result<(), QueryError> {
        let Some(datum) = datum else {
            self.push_null();
            return Ok(());
        };
        match &mut self.0 {
            Builder::Bool(builder) => builder.append_value(fixed::<1>(datum)?[0] != 0),
            Builder::Int2(builder) => builder.append_value(i16::from_le_bytes(fixed(datum)?)),
            Builder::Int4(builder) => builder.append_value(i32::from_le_bytes(fixed(datum)?)),
            Builder::Int8(builder) => builder.append_value(i64::from_le_bytes(fixed(datum)?)),
            Builder::Float4(builder) => builder.append_value(f32::from_le_bytes(fixed(datum)?)),
            Builder::Float8(builder) => builder.append_value(f64::from_le_bytes(fixed(datum)?)),
            Builder::Oid(builder) => builder.append_value(u32::from_le_bytes(fixed(datum)?)),
            Builder::Word8(builder) => builder.append_value(u64::from_le_bytes(fixed(datum)?)),
            Builder::Date(builder) => {
                builder.append_value(date_to_arrow(i32::from_le_bytes(fixed(datum)?)));
            }
            Builder::Timestamp(builder) => {
                builder.append_value(i64::from_le_bytes(fixed(datum)?));
            }
            Builder::Uuid(builder) => builder.append_value(datum)?,
            Builder::Decimal(builder, scale) => match payload_to_decimal(datum, *scale)? {
                Some(value) => builder.append_value(value),
                None => {
                    return Err(QueryError::new(
                        "XX001",
                        "numeric value in storage does not fit its column",
                    ));
                }
            },
            Builder::Numeric(builder, scratch) => {
                scratch.clear();
                encode_payload(datum, scratch)?;
                builder.append_value(&scratch);
            }
            Builder::Text(builder) => builder.append_value(text(datum)?),
            Builder::Name(builder) => {
                let end = datum
                    .iter()
                    .position(|byte| *byte == 0)
                    .unwrap_or(datum.len());
                builder.append_value(text(&datum[..end])?);
            }
            Builder::Char(builder) => builder.append_value(char_text(fixed::<1>(datum)?[0])),
            Builder::Bytes(builder) => builder.append_value(datum),
        }
        Ok(())
    }

    fn push_null(&mut self) {
        match &mut self.0 {
            Builder::Bool(builder) => builder.append_null(),
            Builder::Int2(builder) => builder.append_null(),
            Builder::Int4(builder) => builder.append_null(),
            Builder::Int8(builder) => builder.append_null(),
            Builder::Float4(builder) => builder.append_null(),
            Builder::Float8(builder) => builder.append_null(),
            Builder::Oid(builder) => builder.append_null(),
            Builder::Word8(builder) => builder.append_null(),
            Builder::Date(builder) => builder.append_null(),
            Builder::Timestamp(builder) => builder.append_null(),
            Builder::Uuid(builder) => builder.append_null(),
            Builder::Decimal(builder, _) => builder.append_null(),
            Builder::Numeric(builder, _) => builder.append_null(),
            Builder::Text(builder) | Builder::Name(builder) | Builder::Char(builder) => {
                builder.append_null();
            }
            Builder::Bytes(builder) => builder.append_null(),
        }
    }

    /// The column so far; the builder is empty and ready for the next one.
    pub fn finish(&mut self) -> ArrayRef {
        match &mut self.0 {
            Builder::Bool(builder) => Arc::new(builder.finish()),
            Builder::Int2(builder) => Arc::new(builder.finish()),
            Builder::Int4(builder) => Arc::new(builder.finish()),
            Builder::Int8(builder) => Arc::new(builder.finish()),
            Builder::Float4(builder) => Arc::new(builder.finish()),
            Builder::Float8(builder) => Arc::new(builder.finish()),
            Builder::Oid(builder) => Arc::new(builder.finish()),
            Builder::Word8(builder) => Arc::new(builder.finish()),
            Builder::Date(builder) => Arc::new(builder.finish()),
            Builder::Timestamp(builder) => Arc::new(builder.finish()),
            Builder::Uuid(builder) => Arc::new(builder.finish()),
            Builder::Decimal(builder, _) => Arc::new(builder.finish()),
            Builder::Numeric(builder, _) => Arc::new(builder.finish()),
            Builder::Text(builder) | Builder::Name(builder) | Builder::Char(builder) => {
                Arc::new(builder.finish())
            }
            Builder::Bytes(builder) => Arc::new(builder.finish()),
        }
    }
}

/// Reads one Arrow column as datum payloads.
#[derive(Debug)]
pub struct ColumnReader<'a>(Reader<'a>);

#[derive(Debug)]
enum Reader<'a> {
    AllNull,
    Bool(&'a BooleanArray),
    Int2(&'a PrimitiveArray<Int16Type>),
    Int4(&'a PrimitiveArray<Int32Type>),
    Int8(&'a PrimitiveArray<Int64Type>),
    Float4(&'a PrimitiveArray<Float32Type>),
    Float8(&'a PrimitiveArray<Float64Type>),
    Oid(&'a PrimitiveArray<UInt32Type>),
    Word8(&'a PrimitiveArray<UInt64Type>),
    Date(&'a PrimitiveArray<Date32Type>),
    Timestamp(&'a PrimitiveArray<TimestampMicrosecondType>),
    Uuid(&'a FixedSizeBinaryArray),
    Decimal(&'a Decimal128Array, i8),
    Numeric(&'a LargeBinaryArray),
    Text(&'a StringArray),
    Name(&'a StringArray),
    Char(&'a StringArray),
    Bytes(&'a BinaryArray),
}

impl<'a> ColumnReader<'a> {
    /// A reader of a column that holds values of `ty`.
    pub fn new(ty: PgType, column: &'a ArrayRef) -> Result<Self, QueryError> {
        Ok(Self(match column.data_type() {
            DataType::Null => Reader::AllNull,
            DataType::Boolean => Reader::Bool(column.as_boolean()),
            DataType::Int16 => Reader::Int2(column.as_primitive()),
            DataType::Int32 => Reader::Int4(column.as_primitive()),
            DataType::Int64 => Reader::Int8(column.as_primitive()),
            DataType::Float32 => Reader::Float4(column.as_primitive()),
            DataType::Float64 => Reader::Float8(column.as_primitive()),
            DataType::UInt32 => Reader::Oid(column.as_primitive()),
            DataType::UInt64 => Reader::Word8(column.as_primitive()),
            DataType::Date32 => Reader::Date(column.as_primitive()),
            DataType::Timestamp(..) => Reader::Timestamp(column.as_primitive()),
            DataType::FixedSizeBinary(_) => Reader::Uuid(column.as_fixed_size_binary()),
            DataType::Decimal128(_, scale) => Reader::Decimal(column.as_primitive(), *scale),
            DataType::LargeBinary => Reader::Numeric(column.as_binary()),
            DataType::Utf8 => match ty.oid {
                oids::NAME => Reader::Name(column.as_string()),
                oids::CHAR => Reader::Char(column.as_string()),
                _ => Reader::Text(column.as_string()),
            },
            DataType::Binary => Reader::Bytes(column.as_binary()),
            other => {
                return Err(QueryError::internal(format!(
                    "unexpected column of type {other}"
                )));
            }
        }))
    }

    /// Appends the payload of a row's value to `out`; `false` for NULL.
    #[inline]
    pub fn append(&self, row: usize, out: &mut Vec<u8>) -> Result<bool, QueryError> {
        macro_rules! value {
            ($array:expr, |$value:ident| $append:expr) => {{
                if $array.is_null(row) {
                    return Ok(false);
                }
                let $value = $array.value(row);
                $append
            }};
        }
        match &self.0 {
            Reader::AllNull => return Ok(false),
            Reader::Bool(array) => value!(array, |value| out.push(u8::from(value))),
            Reader::Int2(array) => value!(array, |value| out.extend(value.to_le_bytes())),
            Reader::Int4(array) => value!(array, |value| out.extend(value.to_le_bytes())),
            Reader::Int8(array) => value!(array, |value| out.extend(value.to_le_bytes())),
            Reader::Float4(array) => value!(array, |value| out.extend(value.to_le_bytes())),
            Reader::Float8(array) => value!(array, |value| out.extend(value.to_le_bytes())),
            Reader::Oid(array) => value!(array, |value| out.extend(value.to_le_bytes())),
            Reader::Word8(array) => value!(array, |value| out.extend(value.to_le_bytes())),
            Reader::Date(array) => {
                value!(array, |value| out
                    .extend(date_from_arrow(value).to_le_bytes()));
            }
            Reader::Timestamp(array) => value!(array, |value| out.extend(value.to_le_bytes())),
            Reader::Uuid(array) => value!(array, |value| out.extend_from_slice(value)),
            Reader::Decimal(array, scale) => {
                value!(array, |value| decimal_to_payload(value, *scale, out));
            }
            Reader::Numeric(array) => value!(array, |value| decode_to_payload(value, out)?),
            Reader::Text(array) => value!(array, |value| out.extend_from_slice(value.as_bytes())),
            Reader::Name(array) => value!(array, |value| {
                let bytes = value.as_bytes();
                let length = bytes.len().min(NAME_BYTES - 1);
                out.extend_from_slice(&bytes[..length]);
                out.extend(std::iter::repeat_n(0, NAME_BYTES - length));
            }),
            Reader::Char(array) => value!(array, |value| out.push(char_byte(value))),
            Reader::Bytes(array) => value!(array, |value| out.extend_from_slice(value)),
        }
        Ok(true)
    }
}

/// One value of a type as Arrow's scalar, from its payload.
pub(crate) fn scalar_from_payload(
    ty: PgType,
    arrow: &DataType,
    payload: Option<&[u8]>,
) -> Result<datafusion::common::ScalarValue, QueryError> {
    let mut builder = ColumnBuilder::with_arrow(ty, arrow, 1);
    builder.push(payload)?;
    Ok(datafusion::common::ScalarValue::try_from_array(
        &builder.finish(),
        0,
    )?)
}

/// 22003 with PostgreSQL's text for a type: `integer out of range`.
pub(crate) fn out_of_range(ty: PgType) -> QueryError {
    QueryError::new(
        sqlstate::NUMERIC_VALUE_OUT_OF_RANGE,
        format!("{} out of range", super::pgtype::sql_type_name(ty.oid)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(ty: PgType, payload: &[u8]) {
        let mut builder = ColumnBuilder::new(ty, 2);
        builder.push(Some(payload)).unwrap();
        builder.push(None).unwrap();
        let column = builder.finish();
        assert_eq!(column.data_type(), &arrow_type(ty));
        let reader = ColumnReader::new(ty, &column).unwrap();
        let mut out = Vec::new();
        assert!(reader.append(0, &mut out).unwrap());
        assert_eq!(out, payload, "{ty:?}");
        assert!(!reader.append(1, &mut out).unwrap());
    }

    #[test]
    fn payloads_survive_arrow() {
        round_trip(PgType::new(oids::BOOL), &[1]);
        round_trip(PgType::new(oids::INT4), &(-7_i32).to_le_bytes());
        round_trip(PgType::new(oids::DATE), &(-1_i32).to_le_bytes());
        round_trip(PgType::new(oids::DATE), &i32::MAX.to_le_bytes());
        round_trip(PgType::new(oids::DATE), &i32::MIN.to_le_bytes());
        round_trip(PgType::new(oids::TIMESTAMPTZ), &i64::MAX.to_le_bytes());
        round_trip(PgType::new(oids::UUID), &[7; 16]);
        round_trip(PgType::new(oids::CHAR), &[0xE9]);
        round_trip(PgType::new(oids::CHAR), &[0]);
        round_trip(PgType::new(oids::BYTEA), &[0, 255]);
        round_trip(PgType::new(oids::INT2VECTOR), &[1, 2, 3]);
        let mut name = [0_u8; NAME_BYTES];
        name[..3].copy_from_slice(b"abc");
        round_trip(PgType::new(oids::NAME), &name);
        let mut numeric = Vec::new();
        decimal_to_payload(-12_345, 2, &mut numeric);
        round_trip(PgType::new(oids::NUMERIC), &numeric);
        let typmod = trunkline_types::make_numeric_typmod(15, 2);
        round_trip(PgType::with_typmod(oids::NUMERIC, typmod), &numeric);
    }
}
