//! What a statement gives back, between whoever runs it and whoever shows it (the wire protocol,
//! the embedded shell). Nothing here knows how rows come to be.
//!
//! Everything that flows is bounded: [`RowStream`], [`CopyIn`] and [`CopyOut`] are the near ends
//! of bounded channels, whose far ends ([`RowSender`], [`CopySource`], [`CopySink`]) can be used
//! from async code and from an engine thread. Dropping either end stops the other one: a dropped
//! `RowStream` ends the query, a dropped `CopyIn` (a client that vanished) fails the load.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::array::ArrayRef;
use futures::{Stream, StreamExt};
use tokio::sync::{mpsc, oneshot};
use trunkline_types::{ColumnType, Oid, OutputStyle, TypeError, output_binary, output_text};

use crate::error::SqlError;
use crate::query::{ColumnBuilder, PgType};

/// One column of a result, as the protocol's RowDescription tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldDesc {
    /// The column's name or alias; `?column?` where PostgreSQL finds none.
    pub name: String,
    /// The table that it comes from, unchanged; 0 if none.
    pub table_oid: Oid,
    /// `attnum` in that table; 0 if none.
    pub column_number: i16,
    /// Its type.
    pub type_oid: Oid,
    /// `typlen`: bytes, -1 for varlena, -2 for cstring.
    pub type_len: i16,
    /// `atttypmod`; -1 for none.
    pub typmod: i32,
}

/// The form of a value on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// The type's output or input function.
    #[default]
    Text,
    /// The type's send or receive function.
    Binary,
}

/// The value of a `$n`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Param {
    /// How `value` is to be read.
    pub format: Format,
    /// None for NULL.
    pub value: Option<Bytes>,
}

impl Param {
    /// NULL.
    pub const NULL: Param = Param {
        format: Format::Text,
        value: None,
    };

    /// A value in its type's text form.
    pub fn text(value: impl Into<String>) -> Param {
        Param {
            format: Format::Text,
            value: Some(Bytes::from(value.into())),
        }
    }
}

/// How much a [`Notice`] matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticeSeverity {
    /// Asked for by the user; always sent.
    Info,
    /// `IF NOT EXISTS` and the like.
    Notice,
    /// Something is probably not as wanted.
    Warning,
}

impl NoticeSeverity {
    /// PostgreSQL's word.
    pub const fn name(self) -> &'static str {
        match self {
            NoticeSeverity::Info => "INFO",
            NoticeSeverity::Notice => "NOTICE",
            NoticeSeverity::Warning => "WARNING",
        }
    }
}

/// A message beside a statement's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// How much it matters.
    pub severity: NoticeSeverity,
    /// Five characters: `00000` for most notices, `01000` and following for warnings.
    pub sqlstate: Cow<'static, str>,
    /// One line.
    pub message: String,
    /// More about it.
    pub detail: Option<String>,
    /// What to do.
    pub hint: Option<String>,
    /// Where it happened: `COPY t`.
    pub context: Option<String>,
}

impl Notice {
    /// A notice or warning with nothing but its SQLSTATE and message.
    pub fn new(
        severity: NoticeSeverity,
        sqlstate: &'static str,
        message: impl Into<String>,
    ) -> Notice {
        Notice {
            severity,
            sqlstate: Cow::Borrowed(sqlstate),
            message: message.into(),
            detail: None,
            hint: None,
            context: None,
        }
    }
}

/// What ReadyForQuery says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TransactionStatus {
    /// Outside a transaction block.
    #[default]
    Idle,
    /// Inside one.
    InBlock,
    /// Inside one that failed: everything is refused until ROLLBACK.
    Failed,
}

/// What one statement gives.
#[derive(Debug)]
pub enum Outcome {
    /// Rows, in batches.
    Rows(RowStream),
    /// Done; nothing but the command tag.
    Command {
        /// `CREATE TABLE`, `INSERT 0 3`, `COPY 10`.
        tag: String,
    },
    /// `COPY FROM STDIN`: the statement runs while data is written to it.
    CopyIn(CopyIn),
    /// `COPY TO STDOUT`.
    CopyOut(CopyOut),
    /// The statement's text was empty.
    Empty,
}

/// The command tag of a statement that gives rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowTag {
    /// With the number of rows after it: `SELECT 5`, `INSERT 0 5`.
    Counted(&'static str),
    /// As it is: `SHOW`, `EXPLAIN`.
    Plain(&'static str),
}

impl RowTag {
    /// The tag once `rows` rows were sent.
    pub fn text(self, rows: u64) -> String {
        match self {
            RowTag::Counted(command) => format!("{command} {rows}"),
            RowTag::Plain(command) => command.to_owned(),
        }
    }
}

/// Whether a cell held a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    /// NULL; nothing was appended.
    Null,
    /// The value's bytes were appended.
    Value,
}

/// A batch of rows that can print itself; the query layer puts Arrow arrays behind it.
pub trait BatchRows: Send {
    /// How many rows.
    fn row_count(&self) -> usize;

    /// Appends the value in `row` and `column` (both from 0, in bounds) to `out`, without a
    /// length.
    ///
    /// # Errors
    /// A value that has no such form.
    fn encode(
        &self,
        row: usize,
        column: usize,
        format: Format,
        out: &mut Vec<u8>,
    ) -> Result<Cell, SqlError>;

    /// A column (from 0, in bounds) as it travels within the engine.
    ///
    /// # Errors
    /// A value that is not its type's.
    fn array(&self, column: usize) -> Result<ArrayRef, SqlError>;
}

/// Rows of a result; see [`RowStream`].
pub struct RowBatch(Box<dyn BatchRows>);

impl RowBatch {
    /// A batch of rows that the caller can encode.
    pub fn new(rows: impl BatchRows + 'static) -> RowBatch {
        RowBatch(Box::new(rows))
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.0.row_count()
    }

    /// Whether it holds no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// See [`BatchRows::encode`].
    ///
    /// # Errors
    /// A value that has no such form.
    pub fn encode(
        &self,
        row: usize,
        column: usize,
        format: Format,
        out: &mut Vec<u8>,
    ) -> Result<Cell, SqlError> {
        self.0.encode(row, column, format, out)
    }

    pub(crate) fn array(&self, column: usize) -> Result<ArrayRef, SqlError> {
        self.0.array(column)
    }
}

impl std::fmt::Debug for RowBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowBatch")
            .field("rows", &self.len())
            .finish()
    }
}

/// Plain rows of datums (on-disk payloads), for SHOW, EXPLAIN and other small results.
#[derive(Debug)]
pub struct DatumRows {
    columns: Arc<[ColumnType]>,
    style: Arc<OutputStyle>,
    /// The payloads, one after the other.
    payloads: Vec<u8>,
    /// End of each cell in `payloads`, row by row; None for NULL.
    ends: Vec<Option<usize>>,
}

impl DatumRows {
    /// No rows yet, of these columns.
    pub fn new(columns: Arc<[ColumnType]>, style: Arc<OutputStyle>) -> DatumRows {
        DatumRows {
            columns,
            style,
            payloads: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// The value in a row and column; None for NULL.
    fn payload(&self, row: usize, column: usize) -> Option<&[u8]> {
        let cell = row * self.columns.len() + column;
        let end = self.ends[cell]?;
        let before = self.ends[..cell].iter().rev().find_map(|end| *end);
        Some(&self.payloads[before.unwrap_or(0)..end])
    }

    /// Adds a row.
    ///
    /// # Panics
    /// If `row` has not as many values as there are columns.
    pub fn push(&mut self, row: &[Option<&[u8]>]) {
        assert_eq!(
            row.len(),
            self.columns.len(),
            "values and columns differ in number"
        );
        for value in row {
            self.ends.push(value.map(|payload| {
                self.payloads.extend_from_slice(payload);
                self.payloads.len()
            }));
        }
    }
}

impl BatchRows for DatumRows {
    fn row_count(&self) -> usize {
        self.ends.len().checked_div(self.columns.len()).unwrap_or(0)
    }

    fn encode(
        &self,
        row: usize,
        column: usize,
        format: Format,
        out: &mut Vec<u8>,
    ) -> Result<Cell, SqlError> {
        let Some(payload) = self.payload(row, column) else {
            return Ok(Cell::Null);
        };
        let ty = &self.columns[column];
        match format {
            Format::Text => output_text(ty, payload, &self.style, out),
            Format::Binary => output_binary(ty, payload, out),
        }
        .map_err(from_type_error)?;
        Ok(Cell::Value)
    }

    fn array(&self, column: usize) -> Result<ArrayRef, SqlError> {
        let ty = &self.columns[column];
        let rows = self.row_count();
        let mut builder = ColumnBuilder::new(PgType::with_typmod(ty.oid(), ty.typmod()), rows);
        for row in 0..rows {
            builder.push(self.payload(row, column))?;
        }
        Ok(builder.finish())
    }
}

fn from_type_error(error: TypeError) -> SqlError {
    SqlError {
        detail: error.detail,
        hint: error.hint,
        ..SqlError::new(error.sqlstate, error.message)
    }
}

/// The error of a statement whose running half went away without saying how it ended.
fn abandoned() -> SqlError {
    SqlError::internal("the statement ended without a result")
}

/// Rows as they come. Dropping it stops the query.
pub struct RowStream {
    tag: RowTag,
    batches: Pin<Box<dyn Stream<Item = Result<RowBatch, SqlError>> + Send>>,
}

impl RowStream {
    /// Rows of a stream, which ends after its first error.
    pub fn new(
        tag: RowTag,
        batches: impl Stream<Item = Result<RowBatch, SqlError>> + Send + 'static,
    ) -> RowStream {
        RowStream {
            tag,
            batches: Box::pin(batches),
        }
    }

    /// Rows that are there already.
    pub fn ready(tag: RowTag, rows: impl BatchRows + 'static) -> RowStream {
        let batch = RowBatch::new(rows);
        RowStream::new(tag, futures::stream::once(std::future::ready(Ok(batch))))
    }

    /// Rows that another task or thread sends, at most `capacity` batches ahead.
    pub fn channel(tag: RowTag, capacity: usize) -> (RowSender, RowStream) {
        let (sender, mut receiver) = mpsc::channel::<Option<Result<RowBatch, SqlError>>>(capacity);
        let mut is_over = false;
        let batches = futures::stream::poll_fn(move |context| {
            if is_over {
                return std::task::Poll::Ready(None);
            }
            receiver.poll_recv(context).map(|received| {
                let item = received.unwrap_or_else(|| Some(Err(abandoned())));
                is_over = !matches!(item, Some(Ok(_)));
                item
            })
        });
        (RowSender { sender }, RowStream::new(tag, batches))
    }

    /// The next batch; None after the last.
    pub async fn next(&mut self) -> Option<Result<RowBatch, SqlError>> {
        self.batches.next().await
    }

    /// The command tag, of which the receiver counts the rows.
    pub fn tag(&self) -> RowTag {
        self.tag
    }
}

impl std::fmt::Debug for RowStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowStream")
            .field("tag", &self.tag)
            .finish_non_exhaustive()
    }
}

/// The other end was dropped: nobody wants the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the receiver is gone")]
pub struct Disconnected;

/// The far end of a [`RowStream`]. Dropping it before [`finish`](RowSender::finish) or
/// [`fail`](RowSender::fail) makes the stream end with an internal error.
#[derive(Debug)]
pub struct RowSender {
    sender: mpsc::Sender<Option<Result<RowBatch, SqlError>>>,
}

impl RowSender {
    /// Hands a batch over, once there is room.
    ///
    /// # Errors
    /// The stream was dropped.
    pub async fn send(&self, batch: RowBatch) -> Result<(), Disconnected> {
        self.sender
            .send(Some(Ok(batch)))
            .await
            .map_err(|_| Disconnected)
    }

    /// [`send`](RowSender::send) from an engine thread.
    ///
    /// # Errors
    /// The stream was dropped.
    pub fn blocking_send(&self, batch: RowBatch) -> Result<(), Disconnected> {
        self.sender
            .blocking_send(Some(Ok(batch)))
            .map_err(|_| Disconnected)
    }

    /// That was all.
    pub async fn finish(self) {
        // A receiver that is gone needs no end either; the same holds below.
        let _ = self.sender.send(None).await;
    }

    /// [`finish`](RowSender::finish) from an engine thread.
    pub fn blocking_finish(self) {
        let _ = self.sender.blocking_send(None);
    }

    /// The query failed.
    pub async fn fail(self, error: SqlError) {
        let _ = self.sender.send(Some(Err(error))).await;
    }

    /// [`fail`](RowSender::fail) from an engine thread.
    pub fn blocking_fail(self, error: SqlError) {
        let _ = self.sender.blocking_send(Some(Err(error)));
    }
}

#[derive(Debug)]
enum CopyInput {
    Data(Bytes),
    Done,
    Failed(SqlError),
}

/// A running `COPY FROM STDIN`. Dropping it unfinished fails the load.
#[derive(Debug)]
pub struct CopyIn {
    format: Format,
    column_count: usize,
    input: mpsc::Sender<CopyInput>,
    result: oneshot::Receiver<Result<String, SqlError>>,
    /// Why it failed, once that was told.
    error: Option<SqlError>,
}

impl CopyIn {
    /// Both ends of a load: `format` is Binary for `FORMAT binary` only; at most `capacity`
    /// chunks wait between them.
    pub fn channel(format: Format, column_count: usize, capacity: usize) -> (CopySource, CopyIn) {
        let (input, chunks) = mpsc::channel(capacity);
        let (completion, result) = oneshot::channel();
        (
            CopySource {
                chunks,
                completion,
                is_done: false,
            },
            CopyIn {
                format,
                column_count,
                input,
                result,
                error: None,
            },
        )
    }

    /// The data's format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// How many columns are loaded.
    pub fn column_count(&self) -> usize {
        self.column_count
    }

    /// Hands data over, cut anywhere, once there is room.
    ///
    /// # Errors
    /// The load has failed. No further data is wanted; the statement is over.
    pub async fn write(&mut self, data: Bytes) -> Result<(), SqlError> {
        if self.input.send(CopyInput::Data(data)).await.is_ok() {
            return Ok(());
        }
        Err(self.early_end().await)
    }

    /// Resolves when the load has failed, although more data was to come; for a sender that
    /// waits for a slow source.
    pub async fn failed(&mut self) -> SqlError {
        self.input.closed().await;
        self.early_end().await
    }

    /// Why the loader went away before the data's end.
    async fn early_end(&mut self) -> SqlError {
        if let Some(error) = &self.error {
            return error.clone();
        }
        let error = match (&mut self.result).await {
            Ok(Err(error)) => error,
            Ok(Ok(_)) | Err(_) => abandoned(),
        };
        self.error = Some(error.clone());
        error
    }

    /// That was all the data: the load ends, and its rows are the transaction's. Returns the
    /// command tag.
    ///
    /// # Errors
    /// The load failed.
    pub async fn finish(self) -> Result<String, SqlError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        // If the load has failed already, its result says why.
        let _ = self.input.send(CopyInput::Done).await;
        self.result.await.unwrap_or_else(|_| Err(abandoned()))
    }

    /// Gives up: the load fails with `error` and is undone. Returns the error that it ended with,
    /// which is another one if the load had failed before.
    pub async fn fail(self, error: SqlError) -> SqlError {
        if let Some(earlier) = self.error {
            return earlier;
        }
        let _ = self.input.send(CopyInput::Failed(error.clone())).await;
        match self.result.await {
            Ok(Err(error)) => error,
            Ok(Ok(_)) | Err(_) => error,
        }
    }

    /// The client sent CopyFail.
    pub async fn fail_by_client(self, message: &str) -> SqlError {
        self.fail(SqlError::new(
            "57014",
            format!("COPY from stdin failed: {message}"),
        ))
        .await
    }
}

/// The loader's end of a [`CopyIn`].
#[derive(Debug)]
pub struct CopySource {
    chunks: mpsc::Receiver<CopyInput>,
    completion: oneshot::Sender<Result<String, SqlError>>,
    is_done: bool,
}

impl CopySource {
    /// The next data; None at its end.
    ///
    /// # Errors
    /// The sender gave up, or went away without an end (08006). The load is to be undone.
    pub async fn next(&mut self) -> Result<Option<Bytes>, SqlError> {
        if self.is_done {
            return Ok(None);
        }
        let received = self.chunks.recv().await;
        self.take(received)
    }

    /// [`next`](CopySource::next) from an engine thread.
    ///
    /// # Errors
    /// As there.
    pub fn blocking_next(&mut self) -> Result<Option<Bytes>, SqlError> {
        if self.is_done {
            return Ok(None);
        }
        let received = self.chunks.blocking_recv();
        self.take(received)
    }

    fn take(&mut self, received: Option<CopyInput>) -> Result<Option<Bytes>, SqlError> {
        match received {
            Some(CopyInput::Data(data)) => Ok(Some(data)),
            Some(CopyInput::Done) => {
                self.is_done = true;
                Ok(None)
            }
            Some(CopyInput::Failed(error)) => Err(error),
            // `CopyGetData` in copyfromparse.c.
            None => Err(SqlError::new(
                "08006",
                "unexpected EOF on client connection with an open transaction",
            )),
        }
    }

    /// The load is over, after its effects are in place or undone: its command tag, or why it
    /// failed.
    pub fn complete(self, result: Result<String, SqlError>) {
        // The result goes first: a sender that finds the channel closed looks for it.
        let _ = self.completion.send(result);
    }
}

/// Rows of `COPY TO STDOUT` in their final form. The protocol sends one message a row, and drivers
/// rely on it, so a chunk knows where its rows end. The binary header belongs to the first row's
/// message (or stands alone if there is none), the trailer is a message of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CopyRows {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl CopyRows {
    /// No rows yet.
    pub fn new() -> CopyRows {
        CopyRows::default()
    }

    /// Where to append the row's bytes, its line end included.
    pub fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// The row is complete.
    pub fn end_row(&mut self) {
        self.ends.push(self.bytes.len());
    }

    /// How many bytes it holds.
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it holds no complete row.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Its complete rows, one after the other.
    pub fn rows(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let row = &self.bytes[start..end];
            start = end;
            row
        })
    }
}

/// A running `COPY TO STDOUT`. Dropping it stops the statement.
#[derive(Debug)]
pub struct CopyOut {
    format: Format,
    column_count: usize,
    output: mpsc::Receiver<CopyOutput>,
    tag: Option<String>,
}

#[derive(Debug)]
enum CopyOutput {
    Rows(CopyRows),
    Done { tag: String },
    Failed(SqlError),
}

impl CopyOut {
    /// Both ends: `format` is Binary for `FORMAT binary` only; at most `capacity` chunks wait
    /// between them.
    pub fn channel(format: Format, column_count: usize, capacity: usize) -> (CopySink, CopyOut) {
        let (sender, output) = mpsc::channel(capacity);
        (
            CopySink { sender },
            CopyOut {
                format,
                column_count,
                output,
                tag: None,
            },
        )
    }

    /// The data's format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// How many columns are sent.
    pub fn column_count(&self) -> usize {
        self.column_count
    }

    /// The next rows; None after the last, when [`tag`](CopyOut::tag) is known.
    pub async fn next(&mut self) -> Option<Result<CopyRows, SqlError>> {
        if self.tag.is_some() {
            return None;
        }
        match self.output.recv().await {
            Some(CopyOutput::Rows(rows)) => Some(Ok(rows)),
            Some(CopyOutput::Done { tag }) => {
                self.tag = Some(tag);
                None
            }
            Some(CopyOutput::Failed(error)) => Some(Err(error)),
            None => Some(Err(abandoned())),
        }
    }

    /// The command tag, once [`next`](CopyOut::next) returned None.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }
}

/// The far end of a [`CopyOut`]. Dropping it before [`finish`](CopySink::finish) or
/// [`fail`](CopySink::fail) makes the copy end with an internal error.
#[derive(Debug)]
pub struct CopySink {
    sender: mpsc::Sender<CopyOutput>,
}

impl CopySink {
    /// Hands rows over, once there is room.
    ///
    /// # Errors
    /// The copy was dropped.
    pub async fn send(&self, rows: CopyRows) -> Result<(), Disconnected> {
        self.sender
            .send(CopyOutput::Rows(rows))
            .await
            .map_err(|_| Disconnected)
    }

    /// [`send`](CopySink::send) from an engine thread.
    ///
    /// # Errors
    /// The copy was dropped.
    pub fn blocking_send(&self, rows: CopyRows) -> Result<(), Disconnected> {
        self.sender
            .blocking_send(CopyOutput::Rows(rows))
            .map_err(|_| Disconnected)
    }

    /// That was all: `COPY n`.
    pub async fn finish(self, tag: String) {
        let _ = self.sender.send(CopyOutput::Done { tag }).await;
    }

    /// [`finish`](CopySink::finish) from an engine thread.
    pub fn blocking_finish(self, tag: String) {
        let _ = self.sender.blocking_send(CopyOutput::Done { tag });
    }

    /// The copy failed.
    pub async fn fail(self, error: SqlError) {
        let _ = self.sender.send(CopyOutput::Failed(error)).await;
    }

    /// [`fail`](CopySink::fail) from an engine thread.
    pub fn blocking_fail(self, error: SqlError) {
        let _ = self.sender.blocking_send(CopyOutput::Failed(error));
    }
}
