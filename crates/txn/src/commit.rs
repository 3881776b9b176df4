//! Recording how a transaction ended (`RecordTransactionCommit`, `RecordTransactionAbort` in
//! `access/transam/xact.c`).
//!
//! ```text
//! pin the entry ─▶ enter the gate ─▶ record ─▶ flush (or ask for it) ─▶ entry ─▶ leave ─▶ proc array
//!  can fail, nothing has happened ────┘ │        └─ a failure: in doubt
//! └─────────────── begin ───────────────┘          └──────────────── finish ────────────────────┘
//! ```
//!
//! No lock is held across the flush, nor a thread needed: who has begun may wait for it as it likes. Between record and entry nothing can fail but the flush, and then
//! nobody knows whether the record is durable: the transaction stays in the proc array, so that nobody
//! takes it for aborted, and the manager commits nothing more.

use std::sync::Arc;

use trunkline_aio::IoContext;
use trunkline_pgformat::{Lsn, RelFileLocator};
use trunkline_wal::WalError;

use crate::commit_gate::InsideGate;
use crate::end_record::{self, EndKind};
use crate::error::TxnError;
use crate::full_xid::FullXid;
use crate::manager::TransactionManager;
use crate::pg_xact::{XactEntry, XactStatus};
use crate::timestamp::TimestampTz;

/// How to commit.
#[derive(Clone, Copy, Debug)]
pub struct CommitOptions {
    /// Wait until the commit is durable (`synchronous_commit` other than off). A commit that deletes
    /// files always does.
    pub synchronous: bool,
    /// When it commits, by the wall clock.
    pub now: TimestampTz,
}

/// A commit whose record is in the log and whose entry is not made. If it is never finished, it is in
/// doubt.
pub(crate) struct LoggedCommit {
    manager: Arc<TransactionManager>,
    inside: Option<InsideGate>,
    entry: XactEntry,
    xid: FullXid,
    /// Where the record ends, unless it is durable.
    lsn: Lsn,
    is_finished: bool,
}

/// Everything that can fail without consequences, and the record.
pub(crate) fn begin(
    manager: &Arc<TransactionManager>,
    io: &mut IoContext,
    xid: FullXid,
    files: &[RelFileLocator],
    now: TimestampTz,
) -> Result<LoggedCommit, TxnError> {
    manager.check_failure()?;
    let entry = manager.pg_xact().entry(xid.xid())?;
    let mut inside = None;
    let mut lsn = Lsn::INVALID;
    if let Some(wal) = manager.wal() {
        let entered = manager.gate().enter();
        match end_record::insert(wal, io, EndKind::Commit, xid.xid(), now, files) {
            Ok(inserted) => {
                lsn = inserted.end;
                inside = Some(entered);
            }
            // A record that insertion refuses is not in the log, and never will be.
            Err(error) => {
                manager.gate().leave(entered);
                return Err(error.into());
            }
        }
    }
    Ok(LoggedCommit {
        manager: Arc::clone(manager),
        inside,
        entry,
        xid,
        lsn,
        is_finished: false,
    })
}

impl LoggedCommit {
    /// What has to be durable before it is acknowledged, unless it is already.
    pub(crate) fn lsn(&self) -> Option<Lsn> {
        (self.lsn != Lsn::INVALID).then_some(self.lsn)
    }

    pub(crate) fn xid(&self) -> FullXid {
        self.xid
    }

    /// Makes it durable.
    pub(crate) fn flush(&mut self, io: &mut IoContext) -> Result<(), TxnError> {
        if let Some(wal) = self.manager.wal()
            && self.lsn != Lsn::INVALID
        {
            let flushed = wal.flush(io, self.lsn);
            self.note_flush(flushed)?;
        }
        Ok(())
    }

    /// What came of making it durable.
    pub(crate) fn note_flush(&mut self, flushed: Result<(), WalError>) -> Result<(), TxnError> {
        flushed.map_err(|error| TxnError::CommitInDoubt {
            xid: self.xid,
            reason: error.to_string(),
        })?;
        if let Some(wal) = self.manager.wal() {
            assert!(
                self.lsn == Lsn::INVALID || wal.durable_lsn() >= self.lsn,
                "a commit is acknowledged before it is durable"
            );
        }
        self.lsn = Lsn::INVALID;
        Ok(())
    }

    /// Makes it known: from here on it has committed.
    pub(crate) fn finish(mut self) {
        self.entry.set(XactStatus::Committed, self.lsn);
        self.is_finished = true;
        if let Some(wal) = self.manager.wal()
            && self.lsn != Lsn::INVALID
        {
            wal.request_flush(self.lsn);
        }
        self.leave();
        self.manager.procs().end(self.xid);
    }

    fn leave(&mut self) {
        if let Some(inside) = self.inside.take() {
            self.manager.gate().leave(inside);
        }
    }
}

impl Drop for LoggedCommit {
    fn drop(&mut self) {
        if !self.is_finished {
            let xid = self.xid.xid();
            self.manager
                .fail(format!("the commit of transaction {xid} is in doubt"));
            self.leave();
        }
    }
}

/// Aborts `xid`; with a record if there is an issuer. What fails here is only told: an id without a
/// recorded end that runs no more counts as aborted.
pub(crate) fn abort(
    manager: &TransactionManager,
    record: Option<(&mut IoContext, TimestampTz)>,
    xid: FullXid,
    files: &[RelFileLocator],
) {
    if let Some(wal) = manager.wal()
        && let Some((io, now)) = record
    {
        match end_record::insert(wal, io, EndKind::Abort, xid.xid(), now, files) {
            Ok(inserted) => wal.request_flush(inserted.end),
            Err(error) => tracing::warn!(%error, "an abort was not logged"),
        }
    }
    let recorded = manager.pg_xact().set_status(xid.xid(), XactStatus::Aborted);
    if let Err(error) = recorded {
        tracing::warn!(%error, detail = error.detail(), "an abort was not recorded");
    }
    manager.procs().end(xid);
}

#[cfg(test)]
#[cfg(not(trunkline_loom))]
mod tests;
