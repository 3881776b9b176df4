//! Portals: statements with their parameters, ready to run or half run.

use std::sync::Arc;

use trunkline_sql::error::SqlError;
use trunkline_sql::outcome::{Format, Param, RowBatch, RowStream, RowTag};

use crate::connection::Connection;
use crate::error::Failure;
use crate::session::Session;

/// A bound statement.
pub(crate) struct Portal<T> {
    pub(crate) statement: Arc<T>,
    /// One a result column.
    pub(crate) formats: Vec<Format>,
    pub(crate) state: PortalState,
}

/// How far a portal has run. Next states: `Bound` to any other; `Rows` to `Exhausted`.
pub(crate) enum PortalState {
    /// Not yet.
    Bound(Vec<Param>),
    /// It gives rows, and may have more of them.
    Rows(RunningRows),
    /// It has given all its rows; running it gives none.
    Exhausted(RowTag),
    /// It has done its work, which cannot be done again.
    Spent,
    /// Its statement is empty.
    Empty,
}

/// Rows that are being sent, with the batch that was begun.
pub(crate) struct RunningRows {
    stream: RowStream,
    batch: Option<RowBatch>,
    /// The next row of `batch`.
    next_row: usize,
}

/// What [`Connection::send_rows`] did.
pub(crate) struct SentRows {
    pub(crate) count: u64,
    /// Whether there are no more; false when the limit came first.
    pub(crate) is_over: bool,
}

impl RunningRows {
    pub(crate) fn new(stream: RowStream) -> RunningRows {
        RunningRows {
            stream,
            batch: None,
            next_row: 0,
        }
    }

    pub(crate) fn tag(&self) -> RowTag {
        self.stream.tag()
    }
}

impl<S: Session> Connection<S> {
    /// Sends rows as they come, at most `limit`. Only what the output buffer holds is ahead of the
    /// client.
    pub(crate) async fn send_rows(
        &mut self,
        rows: &mut RunningRows,
        formats: &[Format],
        limit: Option<u64>,
    ) -> Result<SentRows, Failure> {
        let mut count = 0;
        loop {
            while let Some(batch) = &rows.batch {
                if rows.next_row == batch.len() {
                    rows.batch = None;
                    break;
                }
                if limit == Some(count) {
                    return Ok(SentRows {
                        count,
                        is_over: false,
                    });
                }
                self.wire.put_row(batch, rows.next_row, formats)?;
                rows.next_row += 1;
                count += 1;
                if self.wire.is_full() {
                    self.wire.flush(&self.interrupt).await?;
                }
            }
            if limit == Some(count) {
                return Ok(SentRows {
                    count,
                    is_over: false,
                });
            }
            let next = tokio::select! {
                biased;
                error = self.interrupt.requested() => Some(Err(error)),
                next = rows.stream.next() => next,
            };
            match next {
                Some(batch) => {
                    self.report_notices()?;
                    rows.batch = Some(batch?);
                    rows.next_row = 0;
                }
                None => {
                    return Ok(SentRows {
                        count,
                        is_over: true,
                    });
                }
            }
        }
    }
}

/// The format of each of `columns` columns, of which the client gave none, one for all, or one
/// each.
///
/// # Errors
/// Another number of formats, with `mismatch` as its message; an unknown format code.
pub(crate) fn resolve_formats(
    codes: &[i16],
    columns: usize,
    mismatch: impl FnOnce() -> SqlError,
) -> Result<Vec<Format>, SqlError> {
    let formats: Vec<Format> = codes
        .iter()
        .map(|code| format_of(*code))
        .collect::<Result<_, _>>()?;
    match formats.as_slice() {
        [] => Ok(vec![Format::Text; columns]),
        [one] => Ok(vec![*one; columns]),
        _ if formats.len() == columns => Ok(formats),
        _ => Err(mismatch()),
    }
}

fn format_of(code: i16) -> Result<Format, SqlError> {
    match code {
        0 => Ok(Format::Text),
        1 => Ok(Format::Binary),
        other => Err(SqlError::new(
            "22023",
            format!("unsupported format code: {other}"),
        )),
    }
}
