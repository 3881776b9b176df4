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
use trunkline_heap::{BulkInsert, BulkInsertOptions, SpareSource, TupleBatch};
use trunkline_pgformat::ForkNumber;
use trunkline_txn::{CancelToken, Transaction, TransactionState};
use trunkline_types::{OutputStyle, TypeError};

use crate::database::Database;
use crate::error::{EngineError, StatementError};
use crate::row_former::{LoadColumns, RowFormer, row_error};
use crate::session::{LoadRecord, Session};

/// How far a load is, for others to look at.
#[derive(Debug, Default)]
pub struct LoadProgress {
    /// Rows taken so far.
    pub tuples: AtomicU64,
}

/// A load into one table. It ends, or is dropped, before its session's statement does.
pub struct Load {
    database: Arc<Database>,
    relation: Arc<RelationDesc>,
    rows: RowFormer,
    batch: TupleBatch,
    // Before `io`, so that its writes are given up before their issuer.
    insert: BulkInsert,
    io: IoContext,
    record: Arc<LoadRecord>,
    transaction: Arc<Transaction>,
    cancel: CancelToken,
    progress: Arc<LoadProgress>,
    /// The first failure of a batch; the decoder's error only points to it.
    failure: Option<EngineError>,
    notices: Vec<CopyNotice>,
    /// Nobody else can see the table, so that unused blocks at its end may go at once.
    is_private: bool,
}

/// Bytes of tuples that are gathered before they are inserted.
const BATCH_BYTES: usize = 64 * 1024;

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
        )
        .with_source(Arc::clone(&record) as Arc<dyn SpareSource>);
        Ok(Load {
            io,
            cancel: session.cancel().clone(),
            database,
            rows: RowFormer::new(Arc::clone(&relation), columns, output_style),
            relation,
            batch: TupleBatch::new(),
            insert,
            record,
            transaction,
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
        self.rows.fill(values)?;
        self.end_row().map_err(|error| {
            self.failure
                .take()
                .unwrap_or_else(|| row_error(error).into())
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
        self.rows.exchange_kept(self.batch.bytes());
        let inserted = self.insert.insert(&mut self.batch, &mut self.io);
        // After a failure, too: what is left of it goes nowhere.
        self.batch.clear();
        // Empty again, with its allocation.
        self.rows.exchange_kept(self.batch.bytes());
        inserted?;
        self.progress.tuples.fetch_add(rows, Ordering::Relaxed);
        Ok(())
    }
}

impl RowSink for Load {
    #[inline]
    fn begin_row(&mut self) {
        self.rows.begin_row();
    }

    #[inline]
    fn null(&mut self) {
        self.rows.null();
    }

    fn default_value(&mut self) -> Result<(), CopyError> {
        self.rows.default_value();
        Ok(())
    }

    #[inline]
    fn value<F>(&mut self, write: F) -> Result<(), TypeError>
    where
        F: FnOnce(&mut Vec<u8>) -> Result<(), TypeError>,
    {
        self.rows.value(write)
    }

    #[inline]
    fn end_row(&mut self) -> Result<(), CopyError> {
        let place = self.rows.keep_row()?;
        self.batch.note(place);
        if self.rows.kept_bytes() >= BATCH_BYTES
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
