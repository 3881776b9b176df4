//! COPY FROM: the decoder pushes rows straight into the load, on the statement's engine thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use trunkline_aio::{File, RawReader};
use trunkline_catalog::RelationDesc;
use trunkline_copy::{
    CopyColumn, CopyDecoder, CopyFormat, CopyOptions, CopySubject as Subject, select_columns,
};
use trunkline_engine::{Load, LoadColumns};
use trunkline_txn::LockMode;
use trunkline_types::ColumnType;

use super::copy_file::{FILE_BUFFER_BYTES, FILE_BUFFERS, Purpose, reason, sqlstate};
use super::{Backend, Early, Finished, cancelled};
use crate::error::SqlError;
use crate::outcome::{CopyIn, CopySource, Format, Notice, NoticeSeverity, Outcome};
use crate::relations::lock_session;
use crate::statement::{Copy, CopyPlace, CopySubject};
use crate::views::CopyProgress;

/// Chunks of a client's data that wait for the load.
const CHUNKS_AHEAD: usize = 4;

/// A COPY FROM that is ready to take data.
struct Loading {
    load: Load,
    decoder: CopyDecoder,
    progress: Arc<CopyProgress>,
}

impl Loading {
    fn push(&mut self, chunk: &[u8]) -> Result<(), SqlError> {
        self.progress
            .bytes_processed
            .fetch_add(chunk.len() as u64, Ordering::Relaxed);
        let result = self.decoder.push(chunk, &mut self.load);
        result.map_err(|error| self.explain(error))
    }

    /// The load's own failure stands behind a decoder's error that only carries it.
    fn explain(&mut self, error: trunkline_copy::CopyError) -> SqlError {
        match self.load.take_failure() {
            Some(failure) => SqlError {
                context: error.context,
                ..failure.into()
            },
            None => error.into(),
        }
    }

    /// The data has ended.
    fn end_data(&mut self) -> Result<(), SqlError> {
        let result = self.decoder.finish(&mut self.load);
        result.map_err(|error| self.explain(error))
    }

    /// Ends the load after its data: the number of rows.
    fn finish(self) -> Result<u64, SqlError> {
        Ok(self.load.finish()?)
    }

    /// What the client is to be told, whether or not the load fails in the end.
    fn take_notices(&mut self) -> Vec<Notice> {
        let notices = self.load.take_notices().into_iter();
        let notices = notices.map(|notice| Notice {
            context: notice.context,
            ..Notice::new(NoticeSeverity::Notice, "00000", notice.message)
        });
        notices.collect()
    }

    /// An error that came while more data was awaited.
    fn while_awaiting(&self, error: SqlError) -> SqlError {
        SqlError {
            context: self.decoder.awaiting_context(),
            ..error
        }
    }
}

/// COPY's options, with the place of the one that is wrong.
pub(super) fn copy_options(copy: &Copy) -> Result<CopyOptions, SqlError> {
    CopyOptions::from_list(&copy.options, copy.is_from).map_err(|error| {
        let index = error
            .option_index
            .and_then(|index| usize::try_from(index).ok());
        SqlError {
            position: index.and_then(|index| copy.option_positions.get(index).copied()),
            ..error.into()
        }
    })
}

/// The columns of a relation as COPY knows them; `list` holds those that the statement names.
pub(super) fn copy_subject(relation: &RelationDesc, list: &[String]) -> Result<Subject, SqlError> {
    let attributes = relation.desc.attrs();
    let names: Vec<&str> = attributes
        .iter()
        .map(|attribute| attribute.name.as_str())
        .collect();
    let list = (!list.is_empty()).then_some(list);
    let copied = select_columns(&names, Some(&relation.name), list)?;
    let mut columns = Vec::with_capacity(copied.len());
    for index in &copied {
        let attribute = &attributes[*index];
        columns.push(CopyColumn {
            name: attribute.name.clone(),
            ty: ColumnType::new(attribute.type_oid, attribute.typmod)?,
            has_default: relation.defaults.get(*index).is_some_and(Option::is_some),
        });
    }
    Ok(Subject {
        relation: Some(relation.name.clone()),
        table_columns: names.into_iter().map(str::to_owned).collect(),
        copied,
        columns,
    })
}

/// The form of the data on the wire.
pub(super) fn wire_format(options: &CopyOptions) -> Format {
    match options.format {
        CopyFormat::Binary => Format::Binary,
        CopyFormat::Text | CopyFormat::Csv => Format::Text,
    }
}

impl Backend {
    pub(super) fn copy_from(
        &mut self,
        copy: &Copy,
        early: &mut Early,
    ) -> Result<Finished, SqlError> {
        let CopySubject::Table { name, columns } = &copy.subject else {
            return Err(SqlError::internal("COPY FROM into a query"));
        };
        let relation = self.open_relation(name, LockMode::RowExclusive)?;
        let subject = copy_subject(&relation, columns)?;
        let session = lock_session(&self.engine);
        session.refuse_if_read_only("COPY FROM")?;
        session.check_user_table(&relation)?;
        drop(session);
        let options = copy_options(copy)?;
        match &copy.place {
            CopyPlace::File(path) => {
                let rows = self.load_file(&relation, &subject, &options, path)?;
                Ok(Finished::command(format!("COPY {rows}")))
            }
            CopyPlace::Client => {
                let loading = self.begin_load(&relation, &subject, &options, "PIPE", 0)?;
                let (source, copy_in) =
                    CopyIn::channel(wire_format(&options), subject.copied.len(), CHUNKS_AHEAD);
                self.note_transaction();
                early.send(Ok(Outcome::CopyIn(copy_in)));
                Ok(self.load_client(loading, source))
            }
        }
    }

    fn begin_load(
        &mut self,
        relation: &Arc<RelationDesc>,
        subject: &Subject,
        options: &CopyOptions,
        place: &'static str,
        bytes_total: u64,
    ) -> Result<Loading, SqlError> {
        let styles = self.styles();
        let decoder = CopyDecoder::new(subject, options, styles.input.clone())?;
        let uses_default = options.default.is_some();
        let defaults = self.evaluate_defaults(relation, |index| {
            uses_default || !subject.copied.contains(&index)
        })?;
        let columns = LoadColumns {
            given: subject.copied.clone(),
            defaults,
        };
        let load = Load::begin(
            &mut lock_session(&self.engine),
            Arc::clone(relation),
            columns,
            options.freeze,
            styles.output.clone(),
        )?;
        let progress = self.shared.copies.add(CopyProgress {
            backend_pid: self.backend_pid(),
            relation: relation.oid,
            command: "COPY FROM",
            place,
            bytes_processed: AtomicU64::new(0),
            bytes_total,
            load: Some(load.progress()),
            tuples_processed: AtomicU64::new(0),
        });
        Ok(Loading {
            load,
            decoder,
            progress,
        })
    }

    fn load_file(
        &mut self,
        relation: &Arc<RelationDesc>,
        subject: &Subject,
        options: &CopyOptions,
        path: &str,
    ) -> Result<u64, SqlError> {
        let (file, bytes_total) = self.open_copy_file(path, Purpose::Reading)?;
        let mut loading = self.begin_load(relation, subject, options, "FILE", bytes_total)?;
        let result = self.read_file(&mut loading, file);
        self.tell_all(loading.take_notices());
        result.and_then(|()| loading.finish())
    }

    fn read_file(&self, loading: &mut Loading, file: Arc<File>) -> Result<(), SqlError> {
        let mut io = self.issuer()?;
        let cancel = self.cancel();
        let mut reader = RawReader::new(file, 0, FILE_BUFFER_BYTES, FILE_BUFFERS);
        loop {
            let chunk = reader.next(&mut io).map_err(|error| {
                let text = format!("could not read from COPY file: {}", reason(&error));
                SqlError::new(sqlstate(&error), text)
            })?;
            let Some(chunk) = chunk else {
                return loading.end_data();
            };
            loading.push(chunk)?;
            cancel.check()?;
        }
    }

    fn tell_all(&mut self, notices: Vec<Notice>) {
        for notice in notices {
            self.notice(notice);
        }
    }

    /// Takes a client's data to its end; the outcome was given before.
    fn load_client(&mut self, mut loading: Loading, mut source: CopySource) -> Finished {
        let result = self.read_client(&mut loading, &mut source);
        self.tell_all(loading.take_notices());
        let result = result.and_then(|()| loading.finish());
        if result.is_err() {
            self.abort();
        }
        let result = result.map(|rows| format!("COPY {rows}"));
        Finished::Then(Box::new(move || source.complete(result)))
    }

    fn read_client(&self, loading: &mut Loading, source: &mut CopySource) -> Result<(), SqlError> {
        let cancel = self.cancel();
        loop {
            let chunk = self.shared.block_on(async {
                tokio::select! {
                    biased;
                    reason = cancel.requested_async() => Err(cancelled(reason)),
                    chunk = source.next() => chunk,
                }
            });
            match chunk.map_err(|error| loading.while_awaiting(error))? {
                Some(chunk) => loading.push(&chunk)?,
                None => return loading.end_data(),
            }
        }
    }
}
