//! Rows that are there already when a query is planned: what the monitoring views show.

use std::fmt;
use std::sync::Arc;

use futures::{StreamExt, stream};
use trunkline_pgformat::{Oid, Xid};
use trunkline_types::numeric::put_i128;

use crate::query::{
    BatchStream, ColumnBuilder, QueryError, RelationScan, RelationSource, ScanBatch, ScanRequest,
};

type Row = Vec<Option<Vec<u8>>>;

/// Takes rows value by value, in the order of the columns.
#[derive(Default)]
pub(crate) struct RowsBuilder {
    rows: Vec<Row>,
    row: Row,
}

impl RowsBuilder {
    fn push(&mut self, payload: Option<Vec<u8>>) -> &mut Self {
        self.row.push(payload);
        self
    }

    pub fn null(&mut self) -> &mut Self {
        self.push(None)
    }

    pub fn text(&mut self, text: &str) -> &mut Self {
        self.push(Some(text.as_bytes().to_vec()))
    }

    pub fn optional_text(&mut self, text: Option<&str>) -> &mut Self {
        self.push(text.map(|text| text.as_bytes().to_vec()))
    }

    /// A payload in its type's own form.
    pub fn payload(&mut self, payload: Option<Vec<u8>>) -> &mut Self {
        self.push(payload)
    }

    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.push(Some(vec![u8::from(value)]))
    }

    pub fn int2(&mut self, value: i16) -> &mut Self {
        self.push(Some(value.to_le_bytes().to_vec()))
    }

    pub fn int4(&mut self, value: i32) -> &mut Self {
        self.push(Some(value.to_le_bytes().to_vec()))
    }

    pub fn int8(&mut self, value: i64) -> &mut Self {
        self.push(Some(value.to_le_bytes().to_vec()))
    }

    /// A count, which no bigint would overflow in practice.
    pub fn count(&mut self, value: u64) -> &mut Self {
        self.int8(i64::try_from(value).unwrap_or(i64::MAX))
    }

    /// A count as a numeric.
    pub fn numeric(&mut self, value: u64) -> &mut Self {
        let mut payload = Vec::new();
        put_i128(i128::from(value), 0, &mut payload);
        self.push(Some(payload))
    }

    pub fn float8(&mut self, value: f64) -> &mut Self {
        self.push(Some(value.to_le_bytes().to_vec()))
    }

    pub fn oid(&mut self, oid: Oid) -> &mut Self {
        self.push(Some(oid.0.to_le_bytes().to_vec()))
    }

    pub fn xid(&mut self, xid: Xid) -> &mut Self {
        self.push(Some(xid.0.to_le_bytes().to_vec()))
    }

    /// Microseconds since 2000-01-01 UTC.
    pub fn timestamptz(&mut self, time_us: Option<i64>) -> &mut Self {
        self.push(time_us.map(|time_us| time_us.to_le_bytes().to_vec()))
    }

    pub fn end_row(&mut self) {
        self.rows.push(std::mem::take(&mut self.row));
    }
}

/// A view's rows.
#[derive(Clone)]
pub(crate) struct MaterialisedRows {
    name: &'static str,
    rows: Arc<Vec<Row>>,
}

impl MaterialisedRows {
    /// The rows of the view `name`.
    pub fn new(name: &'static str, builder: RowsBuilder) -> MaterialisedRows {
        MaterialisedRows {
            name,
            rows: Arc::new(builder.rows),
        }
    }
}

impl fmt::Debug for MaterialisedRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MaterialisedRows").field(&self.name).finish()
    }
}

impl RelationSource for MaterialisedRows {
    fn scan(&self, request: &ScanRequest) -> Result<Arc<dyn RelationScan>, QueryError> {
        Ok(Arc::new(MaterialisedScan {
            source: self.clone(),
            request: request.clone(),
        }))
    }

    fn estimated_rows(&self) -> Option<usize> {
        Some(self.rows.len())
    }
}

struct MaterialisedScan {
    source: MaterialisedRows,
    request: ScanRequest,
}

impl fmt::Debug for MaterialisedScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.source, f)
    }
}

impl MaterialisedScan {
    fn batch(&self) -> Result<ScanBatch, QueryError> {
        let rows = &self.source.rows;
        let count = rows.len().min(self.request.limit.unwrap_or(usize::MAX));
        let mut columns = Vec::with_capacity(self.request.projection.len());
        for (index, ty) in self.request.projection.iter().zip(&self.request.types) {
            let mut builder = ColumnBuilder::new(*ty, count);
            for row in &rows[..count] {
                builder.push(row[*index].as_deref())?;
            }
            columns.push(builder.finish());
        }
        ScanBatch::new(&self.request, columns, count)
    }
}

impl RelationScan for MaterialisedScan {
    fn partitions(&self) -> usize {
        1
    }

    fn stream(&self, _partition: usize) -> Result<BatchStream, QueryError> {
        Ok(stream::once(std::future::ready(self.batch())).boxed())
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " on {}", self.source.name)
    }
}
