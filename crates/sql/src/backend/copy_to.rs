//! COPY TO: a table's rows go from its pages straight to the encoder, in their physical order; a
//! query's rows come from the executor.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use trunkline_aio::{IoContext, RawWriter};
use trunkline_copy::{CopyColumn, CopyEncoder, CopySubject as Subject};
use trunkline_engine::{StatementError, TableScan};
use trunkline_pgformat::Oid;
use trunkline_txn::{CancelToken, LockMode};
use trunkline_types::{OutputStyle, Projection};

use super::copy_file::{FILE_BUFFER_BYTES, FILE_BUFFERS, Purpose, reason, sqlstate};
use super::copy_from::{copy_options, copy_subject, wire_format};
use super::rows::column_types;
use super::{Backend, Early, Finished, cancelled};
use crate::database::SqlDatabase;
use crate::error::SqlError;
use crate::outcome::{CopyOut, CopyRows, CopySink, Outcome};
use crate::query::{ParameterValues, PgType, QueryStream};
use crate::relations::{cleared, lock_session};
use crate::statement::{Copy, CopyPlace, CopySubject};
use crate::views::{self, CopyProgress};

/// Bytes of a chunk of rows for the client.
const CHUNK_BYTES: usize = 64 << 10;

/// Chunks that wait for the client.
const CHUNKS_AHEAD: usize = 4;

/// Where the encoded rows go.
enum Destination {
    File {
        path: String,
        writer: Box<RawWriter>,
        io: Box<IoContext>,
    },
    Client(CopySink),
}

/// Encodes rows and passes them on in chunks.
struct Output {
    shared: Arc<SqlDatabase>,
    cancel: CancelToken,
    encoder: CopyEncoder,
    rows: CopyRows,
    count: u64,
    progress: Arc<CopyProgress>,
    destination: Destination,
}

impl Output {
    fn begin(&mut self, is_binary: bool) {
        self.encoder.header(self.rows.bytes_mut());
        // The binary header belongs to the first row; a line of names is a row of its own.
        if !is_binary && self.rows.len_bytes() > 0 {
            self.rows.end_row();
        }
    }

    fn row(&mut self, values: &[Option<&[u8]>]) -> Result<(), trunkline_copy::CopyError> {
        self.encoder.row(values, self.rows.bytes_mut())?;
        self.rows.end_row();
        self.count += 1;
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.rows.len_bytes() >= CHUNK_BYTES
    }

    fn flush(&mut self) -> Result<(), SqlError> {
        let rows = std::mem::take(&mut self.rows);
        self.progress
            .bytes_processed
            .fetch_add(rows.len_bytes() as u64, Ordering::Relaxed);
        self.progress
            .tuples_processed
            .store(self.count, Ordering::Relaxed);
        match &mut self.destination {
            Destination::File { path, writer, io } => {
                for row in rows.rows() {
                    writer
                        .write_all(io, row)
                        .map_err(|error| write_error(path, &error))?;
                }
                Ok(())
            }
            Destination::Client(sink) => self.shared.block_on(async {
                tokio::select! {
                    biased;
                    reason = self.cancel.requested_async() => Err(cancelled(reason)),
                    sent = sink.send(rows) => sent.map_err(|_| {
                        SqlError::new("08006", "the receiver of the data has gone away")
                    }),
                }
            }),
        }
    }

    /// All rows are encoded: their number, and the channel that waits for the end.
    fn finish(mut self, is_binary: bool) -> Result<(u64, Option<CopySink>), SqlError> {
        if is_binary {
            if self.count == 0 {
                self.rows.end_row();
            }
            self.encoder.trailer(self.rows.bytes_mut());
            self.rows.end_row();
        }
        self.flush()?;
        match self.destination {
            Destination::File {
                path,
                writer,
                mut io,
            } => {
                writer
                    .finish(&mut io)
                    .map_err(|error| write_error(&path, &error))?;
                Ok((self.count, None))
            }
            Destination::Client(sink) => Ok((self.count, Some(sink))),
        }
    }
}

fn write_error(path: &str, error: &std::io::Error) -> SqlError {
    SqlError::new(
        sqlstate(error),
        format!("could not write to COPY file \"{path}\": {}", reason(error)),
    )
}

/// What the rows come from.
enum Rows {
    Table(TableScan),
    Query(QueryStream),
}

impl Backend {
    pub(super) fn copy_to(
        &mut self,
        sql: &str,
        copy: &Copy,
        early: &mut Early,
    ) -> Result<Finished, SqlError> {
        let options = copy_options(copy)?;
        let styles = self.styles();
        let (subject, relation, rows) = match &copy.subject {
            CopySubject::Table { name, columns } => {
                if name
                    .schema
                    .as_deref()
                    .is_none_or(|schema| schema == "pg_catalog")
                    && views::find(&name.name).is_some()
                {
                    return Err(SqlError::new(
                        "42809",
                        format!("cannot copy from view \"{}\"", name.name),
                    )
                    .with_hint("Try the COPY (SELECT ...) TO variant."));
                }
                let relation = self.open_relation(name, LockMode::AccessShare)?;
                let subject = copy_subject(&relation, columns)?;
                let oid = relation.oid;
                let types = relation.desc.attrs().iter();
                self.planner(&styles)?
                    .require_names(types.map(|attribute| PgType::new(attribute.type_oid)))?;
                let session = lock_session(&self.engine);
                let snapshot = Arc::new(session.snapshot()?);
                let scan = TableScan::new(&session, relation, snapshot)?;
                (subject, oid, Rows::Table(scan))
            }
            CopySubject::Query(query) => {
                let planner = self.planner(&styles)?;
                let values = ParameterValues::default();
                let stream = self.shared.block_on(planner.run(sql, query, &values))?;
                let types = column_types(stream.fields())?;
                let columns =
                    stream
                        .fields()
                        .iter()
                        .zip(types.iter())
                        .map(|(field, ty)| CopyColumn {
                            name: field.name.clone(),
                            ty: *ty,
                            has_default: false,
                        });
                (
                    Subject::query(columns.collect()),
                    Oid::INVALID,
                    Rows::Query(stream),
                )
            }
        };
        let encoder = CopyEncoder::new(&subject, &options, OutputStyle::clone(&styles.output))?;
        let (destination, place) = match &copy.place {
            CopyPlace::File(path) => {
                let (file, _) = self.open_copy_file(path, Purpose::Writing)?;
                let writer = Box::new(RawWriter::new(file, 0, FILE_BUFFER_BYTES, FILE_BUFFERS));
                let destination = Destination::File {
                    path: path.clone(),
                    writer,
                    io: Box::new(self.issuer()?),
                };
                (destination, "FILE")
            }
            CopyPlace::Client => {
                let (sink, copy_out) =
                    CopyOut::channel(wire_format(&options), subject.copied.len(), CHUNKS_AHEAD);
                self.note_transaction();
                early.send(Ok(Outcome::CopyOut(copy_out)));
                (Destination::Client(sink), "PIPE")
            }
        };
        let output = Output {
            shared: Arc::clone(&self.shared),
            cancel: self.cancel(),
            encoder,
            rows: CopyRows::new(),
            count: 0,
            progress: self.shared.copies.add(CopyProgress {
                backend_pid: self.backend_pid(),
                relation,
                command: "COPY TO",
                place,
                bytes_processed: AtomicU64::new(0),
                bytes_total: 0,
                load: None,
                tuples_processed: AtomicU64::new(0),
            }),
            destination,
        };
        let is_binary = options.format == trunkline_copy::CopyFormat::Binary;
        self.copy_rows(rows, &subject, output, is_binary)
    }

    fn copy_rows(
        &mut self,
        rows: Rows,
        subject: &Subject,
        mut output: Output,
        is_binary: bool,
    ) -> Result<Finished, SqlError> {
        output.begin(is_binary);
        let result = match rows {
            Rows::Table(scan) => copy_table(&scan, &subject.copied, &mut output),
            Rows::Query(stream) => self.copy_query(stream, &mut output),
        };
        let result = match result {
            Ok(()) => output.finish(is_binary),
            Err(error) => match output.destination {
                Destination::File { .. } => Err(error),
                Destination::Client(sink) => {
                    self.abort();
                    return Ok(Finished::Then(Box::new(move || sink.blocking_fail(error))));
                }
            },
        };
        match result? {
            (count, None) => Ok(Finished::command(format!("COPY {count}"))),
            (count, Some(sink)) => Ok(Finished::Then(Box::new(move || {
                sink.blocking_finish(format!("COPY {count}"));
            }))),
        }
    }

    fn copy_query(&mut self, mut stream: QueryStream, output: &mut Output) -> Result<(), SqlError> {
        let cancel = self.cancel();
        while let Some(batch) = self.next_batch(&mut stream, &cancel)? {
            batch.for_each_row(|values| {
                output.row(values)?;
                if output.is_full() {
                    output.flush()?;
                }
                Ok::<(), SqlError>(())
            })?;
        }
        Ok(())
    }
}

/// The state of a table's copy between its pages.
struct Copying<'o> {
    output: &'o mut Output,
    values: Vec<Option<&'static [u8]>>,
    failure: Option<SqlError>,
}

fn copy_table(scan: &TableScan, copied: &[usize], output: &mut Output) -> Result<(), SqlError> {
    let desc = &scan.relation().desc;
    let projection = Projection::new(desc, copied);
    let mut copying = Copying {
        output,
        values: vec![None; copied.len()],
        failure: None,
    };
    scan.partition()?.rows(
        &mut copying,
        |copying, _place, tuple| {
            let mut values = cleared(std::mem::take(&mut copying.values));
            projection
                .deform(tuple.bytes(), &mut values)
                .map_err(|error| StatementError::new("XX001", error.to_string()))?;
            copying
                .output
                .row(&values)
                .map_err(|error| StatementError::new(error.sqlstate, error.message))?;
            copying.values = cleared(values);
            Ok(())
        },
        |copying| {
            if copying.output.is_full()
                && let Err(error) = copying.output.flush()
            {
                copying.failure = Some(error);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        },
    )?;
    copying.failure.map_or(Ok(()), Err)
}
