//! Results as Arrow's own types, for those who embed the engine.
//!
//! | PostgreSQL | Arrow |
//! |---|---|
//! | `boolean`, `smallint`, `integer`, `bigint`, `real`, `double precision` | Boolean, Int16, Int32, Int64, Float32, Float64 |
//! | `numeric(p,s)` up to 38 digits | Decimal128(p, s) |
//! | `text`, `varchar`, `char`, `name` | Utf8 |
//! | `bytea`, `uuid` | Binary, FixedSizeBinary(16) |
//! | `date`, `timestamp`, `timestamptz` | Date32, Timestamp(µs), Timestamp(µs, "UTC"), since 1970 |
//! | `oid`, `xid`, `cid`; `xid8`, `pg_lsn` | UInt32; UInt64 |
//! | any other, also `numeric` without a precision | Utf8, as psql shows it |
//!
//! Within the engine values travel in another form (`query::column`): timestamps count from 2000,
//! numerics have a scale of their own.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StringBuilder,
};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, Schema, SchemaRef, TimestampMicrosecondType,
};
use datafusion::arrow::error::ArrowError;
use trunkline_types::oids;

use crate::error::SqlError;
use crate::outcome::{Cell, FieldDesc, Format, RowBatch};
use crate::query::{ColumnBuilder, ColumnReader, PgType, arrow_type, decimal_shape};

/// Microseconds from 1970-01-01, Arrow's epoch, to 2000-01-01, PostgreSQL's.
const EPOCH_US: i64 = 946_684_800_000_000;

/// How the rows of one result look in Arrow.
#[derive(Debug, Clone)]
pub struct ArrowForm {
    columns: Vec<PgType>,
    schema: SchemaRef,
}

impl ArrowForm {
    /// Of a result with these columns. Every field may be null.
    pub fn new(fields: &[FieldDesc]) -> ArrowForm {
        let columns: Vec<PgType> = fields
            .iter()
            .map(|field| PgType::with_typmod(field.type_oid, field.typmod))
            .collect();
        let shown = fields.iter().zip(&columns).map(|(field, ty)| {
            let arrow = shown_type(*ty).unwrap_or(DataType::Utf8);
            Field::new(&field.name, arrow, true)
        });
        let schema = Arc::new(Schema::new(shown.collect::<Vec<_>>()));
        ArrowForm { columns, schema }
    }

    /// Names and types of the columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Rows of the result.
    ///
    /// # Errors
    /// 22008 for a date or timestamp and 22003 for a numeric that Arrow's type cannot hold:
    /// infinities, NaN, the latest timestamps.
    pub fn batch(&self, rows: &RowBatch) -> Result<RecordBatch, SqlError> {
        let mut arrays = Vec::with_capacity(self.columns.len());
        for (index, ty) in self.columns.iter().enumerate() {
            arrays.push(match shown_type(*ty) {
                Some(shown) => {
                    let array = rows.array(index)?;
                    let array = in_type(*ty, &shown, &array)?;
                    since_1970(&array)?
                }
                None => printed(rows, index)?,
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)
            .map_err(|error| SqlError::internal(error.to_string()))
    }
}

/// The Arrow type that holds a type's values; `None` if they are printed.
fn shown_type(ty: PgType) -> Option<DataType> {
    match ty.oid {
        oids::NUMERIC => {
            let (precision, scale) = decimal_shape(ty.typmod)?;
            Some(DataType::Decimal128(precision, scale))
        }
        oids::BOOL
        | oids::INT2
        | oids::INT4
        | oids::INT8
        | oids::FLOAT4
        | oids::FLOAT8
        | oids::TEXT
        | oids::VARCHAR
        | oids::BPCHAR
        | oids::NAME
        | oids::CHAR
        | oids::UNKNOWN
        | oids::BYTEA
        | oids::UUID
        | oids::DATE
        | oids::TIMESTAMP
        | oids::TIMESTAMPTZ
        | oids::OID
        | oids::XID
        | oids::CID
        | oids::XID8
        | oids::PG_LSN => Some(arrow_type(ty)),
        _ => None,
    }
}

/// A column that travelled as another type than its values are shown in: an all-null one, a numeric
/// of another shape.
fn in_type(ty: PgType, shown: &DataType, array: &ArrayRef) -> Result<ArrayRef, SqlError> {
    if array.data_type() == shown {
        return Ok(Arc::clone(array));
    }
    let reader = ColumnReader::new(ty, array)?;
    let mut builder = ColumnBuilder::new(ty, array.len());
    let mut payload = Vec::new();
    for row in 0..array.len() {
        payload.clear();
        let present = reader.append(row, &mut payload)?;
        builder.push(present.then_some(payload.as_slice()))?;
    }
    Ok(builder.finish())
}

/// Dates and timestamps since Arrow's epoch; refuses values that have no form in Arrow.
fn since_1970(array: &ArrayRef) -> Result<ArrayRef, SqlError> {
    let refused = |sqlstate, what| {
        SqlError::new(sqlstate, format!("a {what} is out of Arrow's range"))
            .with_hint("Cast the column to text.")
    };
    match array.data_type() {
        DataType::Date32 => {
            let dates = array.as_primitive::<Date32Type>();
            // Infinities are what they are in storage.
            if dates.iter().flatten().any(is_infinite_date) {
                return Err(refused("22008", "date"));
            }
            Ok(Arc::clone(array))
        }
        DataType::Timestamp(..) => {
            let shifted = array
                .as_primitive::<TimestampMicrosecondType>()
                .try_unary::<_, TimestampMicrosecondType, _>(|us| match us {
                    i64::MIN | i64::MAX => Err(ArrowError::ComputeError(String::new())),
                    us => us
                        .checked_add(EPOCH_US)
                        .ok_or_else(|| ArrowError::ComputeError(String::new())),
                });
            let shifted = shifted.map_err(|_| refused("22008", "timestamp"))?;
            Ok(Arc::new(shifted.with_data_type(array.data_type().clone())))
        }
        DataType::Decimal128(..) => {
            let decimals = array.as_primitive::<Decimal128Type>();
            if decimals.iter().flatten().any(crate::query::is_decimal_nan) {
                return Err(refused("22003", "numeric"));
            }
            Ok(Arc::clone(array))
        }
        _ => Ok(Arc::clone(array)),
    }
}

fn is_infinite_date(days: i32) -> bool {
    matches!(days, i32::MIN | i32::MAX)
}

fn printed(rows: &RowBatch, column: usize) -> Result<ArrayRef, SqlError> {
    let mut builder = StringBuilder::new();
    let mut text = Vec::new();
    for row in 0..rows.len() {
        text.clear();
        match rows.encode(row, column, Format::Text, &mut text)? {
            Cell::Null => builder.append_null(),
            Cell::Value => builder.append_value(
                std::str::from_utf8(&text)
                    .map_err(|error| SqlError::internal(error.to_string()))?,
            ),
        }
    }
    Ok(Arc::new(builder.finish()))
}
