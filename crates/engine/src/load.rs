//! Loads: rows into a table, for COPY FROM and INSERT.
//!
//! Rows are formed where they will be copied from onto pages, gathered into batches, and inserted a
//! batch at a time. They appear when the transaction commits, and never if it does not; the blocks
//! that a failed load added are given back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use trunkline_aio::IoContext;
use trunkline_buffer::RelFork;
use trunkline_catalog::RelationDesc;
use trunkline_copy::{CopyError, CopyNotice, RowSink};
use trunkline_heap::{BulkInsert, BulkInsertOptions, TupleBatch};
use trunkline_pgformat::ForkNumber;
use trunkline_txn::{CancelToken, Transaction, TransactionState};
use trunkline_types::{ColumnType, OutputStyle, TupleFormer, TypeError, output_text};

use crate::database::Database;
use crate::error::{EngineError, StatementError};
use crate::session::{LoadRecord, Session};

/// How far a load is, for others to look at.
#[derive(Debug, Default)]
pub struct LoadProgress {
    /// Rows taken so far.
    pub tuples: AtomicU64,
}

/// Which of the table's columns a load's rows have.
#[derive(Clone, Debug)]
pub struct LoadColumns {
    /// For each value of a row, in the order of the data, the index of its column.
    pub given: Vec<usize>,
    /// For each column of the table, the payload that it gets when the data has none for it; `None`
    /// is NULL.
    pub defaults: Vec<Option<Vec<u8>>>,
}

impl LoadColumns {
    /// Rows that have every column of `relation`, in order.
    pub fn all(relation: &RelationDesc) -> LoadColumns {
        LoadColumns {
            given: (0..relation.desc.len()).collect(),
            defaults: vec![None; relation.desc.len()],
        }
    }

    fn are_in_table_order(&self) -> bool {
        self.given.len() == self.defaults.len()
            && self
                .given
                .iter()
                .enumerate()
                .all(|(index, column)| index == *column)
    }
}

/// A value of a row that has to be put into the table's order first.
#[derive(Clone, Debug, Default)]
struct Gathered {
    payload: Vec<u8>,
    is_null: bool,
}

/// A load into one table. It ends, or is dropped, before its session's statement does.
pub struct Load {
    database: Arc<Database>,
    relation: Arc<RelationDesc>,
    columns: LoadColumns,
    /// Columns that refuse NULL, by index.
    not_null: Vec<usize>,
    former: TupleFormer,
    /// The row's values by column, unless they come in the table's order.
    gathered: Option<Vec<Gathered>>,
    /// Values of the row seen so far.
    seen: usize,
    nulls: Vec<bool>,
    batch: TupleBatch,
    // Before `io`, so that its writes are given up before their issuer.
    insert: BulkInsert,
    io: IoContext,
    record: Arc<LoadRecord>,
    transaction: Arc<Transaction>,
    cancel: CancelToken,
    output_style: OutputStyle,
    progress: Arc<LoadProgress>,
    /// The first failure of a batch; the decoder's error only points to it.
    failure: Option<EngineError>,
    notices: Vec<CopyNotice>,
    /// Nobody else can see the table, so that unused blocks at its end may go at once.
    is_private: bool,
}

impl Load {
    /// Begins a load into `relation`, on which the session holds a row-exclusive lock.
    ///
    /// # Errors
    /// 55000 for `frozen` when PostgreSQL does not allow it: the table was neither created nor
    /// truncated in this transaction.
    pub fn begin(
        session: &mut Session,
        relation: Arc<RelationDesc>,
        columns: LoadColumns,
        frozen: bool,
        output_style: OutputStyle,
    ) -> Result<Load, EngineError> {
        session.check_user_table(&relation)?;
        let transaction = Arc::clone(session.transaction()?);
        let is_private =
            transaction.with_pending_files(|pending| pending.is_created_here(relation.locator));
        if frozen && !is_private {
            return Err(StatementError::new(
                "55000",
                "cannot perform COPY FREEZE because the table was not created or truncated in \
                 the current subtransaction",
            )
            .into());
        }
        let xid = transaction.assign_xid()?.xid();
        let command_id = transaction.command_id(true);
        let io = session.issuer()?;
        let record = session.load_record(&relation)?;
        let database = Arc::clone(session.database());
        let insert = BulkInsert::new(
            database.pool(),
            relation.heap(),
            BulkInsertOptions {
                xid,
                command_id,
                frozen,
            },
            record.take_spare(),
        );
        let width = relation.desc.len();
        let in_order = columns.are_in_table_order();
        let not_null = relation
            .desc
            .attrs()
            .iter()
            .enumerate()
            .filter(|(_, attribute)| attribute.not_null)
            .map(|(index, _)| index)
            .collect();
        Ok(Load {
            io,
            cancel: session.cancel().clone(),
            database,
            relation,
            columns,
            not_null,
            former: TupleFormer::new(),
            gathered: (!in_order).then(|| vec![Gathered::default(); width]),
            seen: 0,
            nulls: vec![false; width],
            batch: TupleBatch::new(),
            insert,
            record,
            transaction,
            output_style,
            progress: Arc::default(),
            failure: None,
            notices: Vec::new(),
            is_private,
        })
    }

    /// How far it is.
    pub fn progress(&self) -> Arc<LoadProgress> {
        Arc::clone(&self.progress)
    }

    /// What the reader of the data wants the user told.
    pub fn take_notices(&mut self) -> Vec<CopyNotice> {
        std::mem::take(&mut self.notices)
    }

    /// The failure behind an error of the decoder that came from here: disk, cancel, corruption.
    pub fn take_failure(&mut self) -> Option<EngineError> {
        self.failure.take()
    }

    /// The table.
    pub fn relation(&self) -> &Arc<RelationDesc> {
        &self.relation
    }

    /// Adds a row: one payload for each given column.
    ///
    /// # Errors
    /// 23502 for a NULL that is not allowed, 54000 for a row that is too big, or a failure of the
    /// load itself.
    pub fn row(&mut self, values: &[Option<&[u8]>]) -> Result<(), EngineError> {
        assert_eq!(values.len(), self.columns.given.len(), "values of the row");
        self.begin_row();
        for value in values {
            match value {
                None => self.null(),
                Some(payload) => self
                    .value(|out| {
                        out.extend_from_slice(payload);
                        Ok(())
                    })
                    .map_err(|error| from_type_error(&error))?,
            }
        }
        self.end_row().map_err(|error| {
            self.failure.take().unwrap_or_else(|| {
                let mut statement = StatementError::new(error.sqlstate, error.message);
                statement.detail = error.detail;
                statement.into()
            })
        })
    }

    /// Ends the load: the rows are on their pages. Returns their number.
    ///
    /// # Errors
    /// A failure of the load.
    pub fn finish(mut self) -> Result<u64, EngineError> {
        self.insert_batch()?;
        let unused = self.insert.finish(&mut self.io)?;
        if let Some(first) = unused
            && self.is_private
        {
            let locator = self.relation.locator;
            let fork = RelFork {
                rel: locator,
                fork: ForkNumber::Main,
            };
            let pool = self.database.pool();
            let blocks = pool.nblocks(fork)?;
            if self
                .insert
                .extended_blocks()
                .last()
                .is_some_and(|range| range.end == blocks)
            {
                pool.drop_blocks_from(locator, ForkNumber::Main, first);
                self.database
                    .smgr()
                    .truncate(locator, ForkNumber::Main, first)?;
                self.insert.forget_from(first);
            }
        }
        Ok(self.insert.tuples())
    }

    fn insert_batch(&mut self) -> Result<(), EngineError> {
        self.cancel.check()?;
        if self.transaction.state() != TransactionState::Active {
            // Whoever let the session go while this went on: nobody would give its blocks back.
            return Err(
                StatementError::new("25000", "the transaction of this load has ended").into(),
            );
        }
        let rows = self.batch.len() as u64;
        self.insert.insert(&mut self.batch, &mut self.io)?;
        self.progress.tuples.fetch_add(rows, Ordering::Relaxed);
        Ok(())
    }

    /// Forms the gathered row in the table's order.
    fn form_gathered(&mut self) {
        let Some(gathered) = &self.gathered else {
            return;
        };
        self.former.begin(&self.relation.desc);
        for (column, value) in gathered.iter().enumerate() {
            self.nulls[column] = value.is_null;
            self.former
                .push((!value.is_null).then_some(value.payload.as_slice()));
        }
    }

    fn null_violation(&mut self, column: usize) -> CopyError {
        let relation = Arc::clone(&self.relation);
        let name = &relation.desc.attrs()[column].name;
        let mut error = CopyError::new(
            "23502",
            format!(
                "null value in column \"{name}\" of relation \"{}\" violates not-null constraint",
                relation.name
            ),
        );
        error.detail = self
            .describe_row()
            .map(|row| format!("Failing row contains ({row})."));
        error
    }

    /// The row as `ExecBuildSlotValueDescription` prints it: values cut to 64 bytes.
    fn describe_row(&mut self) -> Option<String> {
        let tuple = self.former.finish().ok()?;
        let mut values = Vec::new();
        trunkline_types::deform(&self.relation.desc, tuple, &mut values).ok()?;
        let mut shown = Vec::with_capacity(values.len());
        for (attribute, value) in self.relation.desc.attrs().iter().zip(values) {
            let mut text = Vec::new();
            match value {
                None => text.extend_from_slice(b"null"),
                Some(payload) => {
                    let column = ColumnType::new(attribute.type_oid, attribute.typmod).ok()?;
                    output_text(&column, payload, &self.output_style, &mut text).ok()?;
                }
            }
            let mut text = String::from_utf8_lossy(&text).into_owned();
            if text.len() > 64 {
                let mut end = 64;
                while !text.is_char_boundary(end) {
                    end -= 1;
                }
                text.truncate(end);
                text.push_str("...");
            }
            shown.push(text);
        }
        Some(shown.join(", "))
    }
}

impl RowSink for Load {
    #[inline]
    fn begin_row(&mut self) {
        self.seen = 0;
        match &mut self.gathered {
            None => self.former.begin(&self.relation.desc),
            Some(gathered) => {
                for (value, default) in gathered.iter_mut().zip(&self.columns.defaults) {
                    value.payload.clear();
                    value.is_null = default.is_none();
                    value
                        .payload
                        .extend_from_slice(default.as_deref().unwrap_or_default());
                }
            }
        }
    }

    #[inline]
    fn null(&mut self) {
        let column = self.columns.given[self.seen];
        match &mut self.gathered {
            None => {
                self.nulls[column] = true;
                self.former.push_null();
            }
            Some(gathered) => {
                gathered[column].payload.clear();
                gathered[column].is_null = true;
            }
        }
        self.seen += 1;
    }

    fn default_value(&mut self) -> Result<(), CopyError> {
        let column = self.columns.given[self.seen];
        // A gathered row has its defaults since it began.
        if self.gathered.is_none() {
            let default = self.columns.defaults[column].as_deref();
            self.nulls[column] = default.is_none();
            self.former.push(default);
        }
        self.seen += 1;
        Ok(())
    }

    #[inline]
    fn value<F>(&mut self, write: F) -> Result<(), TypeError>
    where
        F: FnOnce(&mut Vec<u8>) -> Result<(), TypeError>,
    {
        let column = self.columns.given[self.seen];
        match &mut self.gathered {
            None => {
                self.nulls[column] = false;
                self.former.push_with(write)?;
            }
            Some(gathered) => {
                let value = &mut gathered[column];
                value.payload.clear();
                value.is_null = false;
                write(&mut value.payload)?;
            }
        }
        self.seen += 1;
        Ok(())
    }

    #[inline]
    fn end_row(&mut self) -> Result<(), CopyError> {
        self.form_gathered();
        if let Some(column) = self
            .not_null
            .iter()
            .copied()
            .find(|column| self.nulls[*column])
        {
            return Err(self.null_violation(column));
        }
        let tuple = self
            .former
            .finish()
            .map_err(|too_big| CopyError::new("54000", too_big.to_string()))?;
        self.batch.push(tuple);
        if self.batch.is_full()
            && let Err(error) = self.insert_batch()
        {
            let shown = CopyError::new(error.sqlstate(), error.to_string());
            self.failure = Some(error);
            return Err(shown);
        }
        Ok(())
    }

    fn notice(&mut self, notice: CopyNotice) {
        self.notices.push(notice);
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // Finished or not: what its transaction's end has to see to.
        let spare = self.insert.take_spare();
        self.record.end_load(self.insert.extended_blocks(), spare);
    }
}

fn from_type_error(error: &TypeError) -> StatementError {
    let mut statement = StatementError::new(error.sqlstate, error.message.clone());
    statement.detail = error.detail.clone();
    statement.hint = error.hint.clone();
    statement
}
