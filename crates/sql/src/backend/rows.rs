//! A query's rows on their way out: from the executor through a bounded channel.

use std::cell::RefCell;
use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use tokio::task::AbortHandle;
use trunkline_engine::StatementWarnings;
use trunkline_txn::CancelToken;
use trunkline_types::{ColumnType, OutputStyle, output_binary, output_text};

use super::cancelled;
use crate::database::SqlDatabase;
use crate::error::SqlError;
use crate::outcome::{BatchRows, Cell, Format, RowBatch, RowStream, RowTag};
use crate::query::{Batch, Field, QueryStop, QueryStream};
use crate::relations::{ExecutingQuery, OpenResult};

/// Batches that wait for the reader.
const BATCHES_AHEAD: usize = 2;

struct QueryRows {
    batch: Batch,
    columns: Arc<[ColumnType]>,
    style: Arc<OutputStyle>,
    /// One value's payload.
    payload: RefCell<Vec<u8>>,
}

impl BatchRows for QueryRows {
    fn row_count(&self) -> usize {
        self.batch.rows()
    }

    fn encode(
        &self,
        row: usize,
        column: usize,
        format: Format,
        out: &mut Vec<u8>,
    ) -> Result<Cell, SqlError> {
        let mut payload = self.payload.borrow_mut();
        payload.clear();
        if !self.batch.column(column)?.append(row, &mut payload)? {
            return Ok(Cell::Null);
        }
        let ty = &self.columns[column];
        match format {
            Format::Text => output_text(ty, &payload, &self.style, out)?,
            Format::Binary => output_binary(ty, &payload, out)?,
        }
        Ok(Cell::Value)
    }

    fn array(&self, column: usize) -> Result<ArrayRef, SqlError> {
        Ok(self.batch.array(column)?)
    }
}

/// The types that a result's values are printed as.
pub(super) fn column_types(fields: &[Field]) -> Result<Arc<[ColumnType]>, SqlError> {
    fields
        .iter()
        .map(|field| Ok(ColumnType::new(field.ty.oid, field.ty.typmod)?))
        .collect()
}

/// A query on the executor, seen from the reader of its rows; dropping it stops the query.
struct RunningQuery {
    task: AbortHandle,
    stop: QueryStop,
    warnings: Arc<StatementWarnings>,
    _open: OpenResult,
}

impl Drop for RunningQuery {
    fn drop(&mut self) {
        // What its scans still read in the meantime was not asked for.
        self.warnings.end();
        self.stop.stop();
        self.task.abort();
    }
}

/// A query as the executor has it.
pub(super) struct Execution {
    /// Dropped first.
    pub stream: QueryStream,
    pub _executing: ExecutingQuery,
}

/// Runs a query on the executor; dropping the result stops it.
pub(super) fn row_stream(
    shared: &SqlDatabase,
    mut execution: Execution,
    style: OutputStyle,
    cancel: CancelToken,
    warnings: Arc<StatementWarnings>,
    open: OpenResult,
) -> Result<RowStream, SqlError> {
    let columns = column_types(execution.stream.fields())?;
    let style = Arc::new(style);
    let tag = RowTag::Counted("SELECT");
    let (sender, rows) = RowStream::channel(tag, BATCHES_AHEAD);
    let stop = execution.stream.stop().clone();
    let reader_cancel = cancel.clone();
    let task = shared.spawn(async move {
        loop {
            let batch = tokio::select! {
                biased;
                reason = cancel.requested_async() => {
                    drop(execution);
                    return sender.fail(cancelled(reason)).await;
                }
                batch = execution.stream.next() => batch,
            };
            // Who has been told of its end finds it ended.
            let batch = match batch {
                None => {
                    drop(execution);
                    return sender.finish().await;
                }
                Some(Err(error)) => {
                    drop(execution);
                    return sender.fail(error.into()).await;
                }
                Some(Ok(batch)) => RowBatch::new(QueryRows {
                    batch,
                    columns: Arc::clone(&columns),
                    style: Arc::clone(&style),
                    payload: RefCell::default(),
                }),
            };
            if sender.send(batch).await.is_err() {
                return;
            }
        }
    });
    let running = RunningQuery {
        task: task.abort_handle(),
        stop,
        warnings,
        _open: open,
    };
    Ok(RowStream::new(
        tag,
        futures::stream::unfold(Some((rows, running)), move |state| {
            let cancel = reader_cancel.clone();
            async move {
                let (mut rows, running) = state?;
                // The reader does not wait for a query that is in the middle of something long.
                let batch = tokio::select! {
                    biased;
                    reason = cancel.requested_async() => Some(Err(cancelled(reason))),
                    batch = rows.next() => batch,
                };
                match batch? {
                    Ok(batch) => Some((Ok(batch), Some((rows, running)))),
                    Err(error) => Some((Err(error), None)),
                }
            }
        }),
    ))
}
