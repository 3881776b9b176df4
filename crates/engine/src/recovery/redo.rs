//! The records, each to who can redo it (PostgreSQL's `ApplyWalRecord` and `RmgrTable`).

use std::sync::Arc;

use trunkline_aio::IoContext;
use trunkline_buffer::BufferPool;
use trunkline_buffer::redo::{Redo, RedoRecord};
use trunkline_pgformat::control_file::ControlFile;
use trunkline_pgformat::wal::TimeLineId;
use trunkline_pgformat::wal::decode::DecodedRecord;
use trunkline_pgformat::wal::rmgr;
use trunkline_pgformat::wal::rmgr::xlog::ParameterChange;
use trunkline_pgformat::wal::rmgr_id::RmgrId;
use trunkline_pgformat::wal::segment::SegmentSize;
use trunkline_pgformat::{Oid, RelFileLocator};
use trunkline_txn::TransactionRedo;
use trunkline_wal::WalConfig;

use super::unfinished_files::UnfinishedFiles;
use super::{RecoveryError, storage, xlog};
use crate::error::EngineError;

/// A cluster that is being recovered.
pub(super) struct Recovering {
    pub(super) pages: Redo,
    pub(super) transactions: TransactionRedo,
    pub(super) next_oid: Oid,
    pub(super) unfinished: UnfinishedFiles,
    pub(super) parameters: Option<ParameterChange>,
    pub(super) timeline: TimeLineId,
    segment_size: SegmentSize,
}

/// What recovery has found out.
pub(super) struct Finished {
    pub(super) transactions: TransactionRedo,
    pub(super) next_oid: Oid,
    parameters: Option<ParameterChange>,
}

impl Finished {
    /// What pg_control is to say from now on.
    pub(super) fn update(&self, control: &mut ControlFile) {
        let Some(change) = self.parameters else {
            return;
        };
        let number = |number: i32| u32::try_from(number).unwrap_or(0);
        control.max_connections = number(change.max_connections);
        control.max_worker_processes = number(change.max_worker_processes);
        control.max_wal_senders = number(change.max_wal_senders);
        control.max_prepared_xacts = number(change.max_prepared_xacts);
        control.max_locks_per_xact = number(change.max_locks_per_xact);
        control.wal_log_hints = change.wal_log_hints;
        control.track_commit_timestamp = change.track_commit_timestamp;
    }
}

type RedoFunction = fn(&mut Recovering, &mut IoContext, &RedoRecord<'_>) -> Result<(), EngineError>;

/// Who redoes what, but for the ends of transactions.
const RESOURCE_MANAGERS: [(RmgrId, RedoFunction); 7] = [
    (RmgrId::XLOG, xlog::redo),
    (RmgrId::SMGR, storage::redo),
    (RmgrId::HEAP, redo_heap),
    (RmgrId::HEAP2, redo_heap),
    (RmgrId::XACT, nothing_more),
    (RmgrId::CLOG, nothing_more),
    // What it tells is for standbys.
    (RmgrId::STANDBY, nothing_more),
];

fn nothing_more(
    _: &mut Recovering,
    _: &mut IoContext,
    _: &RedoRecord<'_>,
) -> Result<(), EngineError> {
    Ok(())
}

fn redo_heap(
    recovering: &mut Recovering,
    io: &mut IoContext,
    record: &RedoRecord<'_>,
) -> Result<(), EngineError> {
    let pages = &mut recovering.pages;
    trunkline_heap::redo::redo(pages, io, record).map_err(RecoveryError::from)?;
    pages
        .check_consistency(io, record, trunkline_heap::mask_page)
        .map_err(RecoveryError::from)?;
    Ok(())
}

impl Recovering {
    pub(super) fn new(
        pool: &Arc<BufferPool>,
        transactions: TransactionRedo,
        next_oid: Oid,
        config: &WalConfig,
    ) -> Recovering {
        Recovering {
            pages: Redo::new(pool),
            transactions,
            next_oid,
            unfinished: UnfinishedFiles::default(),
            parameters: None,
            timeline: config.timeline,
            segment_size: config.segment_size,
        }
    }

    /// Redoes a record.
    pub(super) fn redo(
        &mut self,
        io: &mut IoContext,
        decoded: &DecodedRecord<'_>,
    ) -> Result<(), EngineError> {
        let rmgr = decoded.header.rmgr;
        let known = RESOURCE_MANAGERS.iter().find(|(known, _)| *known == rmgr);
        let Some((_, redo)) = known else {
            return Err(not_supported(decoded).into());
        };
        // For every record: it may have an id that was not seen before.
        let dropped = trunkline_txn::redo(&mut self.transactions, decoded)?;
        self.drop_relations(&dropped)?;
        if rmgr == RmgrId::XACT {
            self.unfinished.note_end(decoded);
        }
        redo(self, io, &RedoRecord::new(decoded, self.segment_size))
    }

    /// Removes relations' files, at once: everything that was done to them is behind.
    pub(super) fn drop_relations(
        &mut self,
        relations: &[RelFileLocator],
    ) -> Result<(), EngineError> {
        if relations.is_empty() {
            return Ok(());
        }
        let pool = Arc::clone(self.pages.pool());
        pool.drop_relations(relations);
        for relation in relations {
            self.pages.forget_relation(*relation);
            pool.smgr().unlink(*relation)?;
        }
        Ok(())
    }

    /// The log is at its end.
    pub(super) fn finish(mut self, _io: &mut IoContext) -> Result<Finished, EngineError> {
        let unfinished = self.unfinished.take();
        for relation in &unfinished {
            tracing::debug!(?relation, "files of an unfinished transaction are removed");
        }
        self.drop_relations(&unfinished)?;
        self.pages
            .check_invalid_pages()
            .map_err(RecoveryError::from)?;
        Ok(Finished {
            transactions: self.transactions,
            next_oid: self.next_oid,
            parameters: self.parameters,
        })
    }
}

/// The error that a record cannot be redone, with what PostgreSQL's tools call it.
pub(super) fn not_supported(record: &DecodedRecord<'_>) -> RecoveryError {
    let code = rmgr::identify(record).unwrap_or("UNKNOWN");
    RecoveryError::Record {
        at: record.lsn,
        what: format!("{} {code} is not supported", record.header.rmgr),
    }
}
