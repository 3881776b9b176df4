//! The transaction manager: assigns ids, knows who runs, records ends.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use trunkline_aio::{Aio, IoContext, Storage};
use trunkline_pgformat::Xid;
use trunkline_pgformat::wal::rmgr::standby::RunningXacts;
use trunkline_wal::Wal;

use crate::cancel::CancelToken;
use crate::commit_gate::{CommitGate, Draining};
use crate::error::TxnError;
use crate::full_xid::FullXid;
use crate::lock_manager::LockManager;
use crate::lock_mode::LockMode;
use crate::lock_tag::{LockOwner, LockTag};
use crate::pg_xact::{PgXact, XactStatus};
use crate::proc_array::ProcArray;
use crate::redo::TransactionRedo;
use crate::slru::SlruConfig;
use crate::snapshot::RegisteredSnapshot;
use crate::sync::lock;
use crate::transaction::Transaction;
use crate::xid_limits::{WraparoundWarning, XidLimits};

/// What the transaction manager starts from.
#[derive(Clone, Debug)]
pub struct TxnConfig {
    /// The next id to assign, as pg_control has it.
    pub next_xid: FullXid,
    /// What limits the assignment of ids.
    pub limits: XidLimits,
    /// Where pg_xact is and how much of it is kept in memory.
    pub pg_xact: SlruConfig,
}

/// What has become of a transaction by now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum XidStatus {
    /// It runs.
    InProgress,
    /// It committed.
    Committed,
    /// It aborted, or vanished with its server.
    Aborted,
}

/// One for a whole database system.
///
/// A transaction that an earlier server did not end has no recorded end and does not run: it counts as
/// aborted.
///
/// A transaction's end is recorded in pg_xact before the transaction leaves the proc array, and a
/// reader asks in the opposite order (snapshot or proc array first), so it never finds one that
/// runs no more and whose end is unknown.
pub struct TransactionManager {
    procs: ProcArray,
    pg_xact: PgXact,
    locks: Arc<LockManager>,
    /// Held while an id is assigned.
    generation: Mutex<XidLimits>,
    /// Nothing is logged without: while a cluster is made.
    wal: Option<Arc<Wal>>,
    gate: CommitGate,
    /// Why nothing more may be committed.
    failure: OnceLock<String>,
}

/// Waits for the commits that were between their record and their entry in `pg_xact` when it was made:
/// their records may lie before a checkpoint's redo point, so their entries have to be in what the
/// checkpoint writes (W10). Commits that come later are not waited for, and none waits for this.
#[must_use = "a checkpoint waits"]
pub struct CommitsInside {
    manager: Arc<TransactionManager>,
    draining: Draining,
}

impl CommitsInside {
    /// Whether all have left by now; does not wait.
    ///
    /// # Errors
    /// A commit came into doubt: the checkpoint must not go on.
    pub fn have_left(&mut self) -> Result<bool, TxnError> {
        self.draining = self.manager.gate.advance(self.draining);
        self.manager.check_failure()?;
        Ok(self.draining == Draining::Done)
    }

    /// Blocks until all have left.
    ///
    /// # Errors
    /// As [`CommitsInside::have_left`].
    pub fn wait(mut self, io: &mut IoContext) -> Result<(), TxnError> {
        io.submit();
        self.draining = self.manager.gate.wait(self.draining);
        self.manager.check_failure()
    }
}

impl Drop for CommitsInside {
    fn drop(&mut self) {
        self.manager.gate.end_wait();
    }
}

impl TransactionManager {
    /// Opens the commit log of a cleanly stopped cluster, or of one just initialised. Without `wal`,
    /// nothing is logged: while a cluster is made.
    ///
    /// # Errors
    /// The commit log's page of `next_xid` cannot be read.
    pub fn start(
        config: TxnConfig,
        aio: &Arc<Aio>,
        storage: Arc<dyn Storage>,
        locks: Arc<LockManager>,
        wal: Option<Arc<Wal>>,
    ) -> Result<Arc<TransactionManager>, TxnError> {
        let pg_xact = PgXact::open(config.pg_xact, aio, storage, wal.clone())?;
        Self::with_pg_xact(pg_xact, config.next_xid, config.limits, locks, wal)
    }

    /// Goes on where redo ended. Transactions whose end was not in the log count as aborted.
    ///
    /// # Errors
    /// As [`TransactionManager::start`].
    pub fn start_after_redo(
        redo: TransactionRedo,
        limits: XidLimits,
        locks: Arc<LockManager>,
        wal: Option<Arc<Wal>>,
    ) -> Result<Arc<TransactionManager>, TxnError> {
        let (pg_xact, next_xid) = redo.into_parts();
        pg_xact.end_redo(wal.clone());
        Self::with_pg_xact(pg_xact, next_xid, limits, locks, wal)
    }

    fn with_pg_xact(
        pg_xact: PgXact,
        next_xid: FullXid,
        limits: XidLimits,
        locks: Arc<LockManager>,
        wal: Option<Arc<Wal>>,
    ) -> Result<Arc<TransactionManager>, TxnError> {
        pg_xact.trim(next_xid.xid())?;
        Ok(Arc::new(TransactionManager {
            procs: ProcArray::new(next_xid),
            pg_xact,
            locks,
            generation: Mutex::new(limits),
            wal,
            gate: CommitGate::new(),
            failure: OnceLock::new(),
        }))
    }

    /// Begins a transaction of the session `process_id`. It gets an id when it first needs one.
    pub fn begin(self: &Arc<Self>, process_id: i32) -> Transaction {
        Transaction::new(self.clone(), LockOwner::transaction(process_id))
    }

    /// A snapshot that belongs to no transaction: it sees what has committed.
    pub fn snapshot(self: &Arc<Self>) -> RegisteredSnapshot {
        RegisteredSnapshot::new(self, Xid::INVALID, 0)
    }

    /// The lock manager that holds the transactions' locks on their own ids.
    pub fn locks(&self) -> &Arc<LockManager> {
        &self.locks
    }

    /// The commit log.
    pub fn pg_xact(&self) -> &PgXact {
        &self.pg_xact
    }

    pub(crate) fn procs(&self) -> &ProcArray {
        &self.procs
    }

    /// The id that the next transaction to need one gets; what pg_control records at a checkpoint.
    pub fn next_xid(&self) -> FullXid {
        self.procs.next()
    }

    /// The oldest id that some snapshot, present or future, may see as running
    /// (`GetOldestNonRemovableTransactionId`). What committed before it is visible to all.
    pub fn oldest_xmin(&self) -> Xid {
        self.procs.horizon().xid()
    }

    /// What limits the assignment of ids.
    pub fn limits(&self) -> XidLimits {
        lock(&self.generation).clone()
    }

    /// Sets new limits, after old ids were frozen.
    pub fn set_limits(&self, limits: XidLimits) {
        *lock(&self.generation) = limits;
    }

    /// Assigns the next id (`GetNewTransactionId`) and locks it for `owner`.
    pub(crate) fn assign(
        &self,
        owner: LockOwner,
    ) -> Result<(FullXid, Option<WraparoundWarning>), TxnError> {
        let limits = lock(&self.generation);
        let xid = self.procs.next();
        let warning = limits.check(xid)?;
        // The page must be there before the id is used; a failure here uses up no id.
        self.pg_xact.extend(xid.xid())?;
        self.procs.enter(xid);
        drop(limits);
        // Nobody can know the id yet, so nobody holds or awaits this.
        let is_locked =
            self.locks
                .try_acquire(owner, LockTag::Transaction(xid.xid()), LockMode::Exclusive);
        assert!(is_locked, "a new transaction id was already locked");
        Ok((xid, warning))
    }

    /// Whether `xid` runs now.
    pub fn is_in_progress(&self, xid: Xid) -> bool {
        xid.is_normal() && self.procs.is_running(xid)
    }

    /// What has become of `xid` by now, without regard to any snapshot.
    pub fn status(&self, xid: Xid) -> Result<XidStatus, TxnError> {
        if !xid.is_normal() {
            return Ok(if xid.is_valid() {
                XidStatus::Committed
            } else {
                XidStatus::Aborted
            });
        }
        if self.procs.is_running(xid) {
            return Ok(XidStatus::InProgress);
        }
        Ok(match self.pg_xact.status(xid)? {
            XactStatus::Committed => XidStatus::Committed,
            _ => XidStatus::Aborted,
        })
    }

    /// Waits until `xid` has ended (`XactLockTableWait`).
    ///
    /// # Errors
    /// As [`LockManager::acquire`].
    pub fn wait_for_end(
        &self,
        owner: LockOwner,
        xid: Xid,
        timeout: Option<Duration>,
        cancel: &CancelToken,
    ) -> Result<(), TxnError> {
        let tag = LockTag::Transaction(xid);
        // An id is in the proc array a moment before it is locked.
        while self.is_in_progress(xid) {
            self.locks
                .acquire(owner, tag, LockMode::Share, timeout, cancel)?;
            self.locks.release(owner, tag, LockMode::Share);
            cancel.check()?;
            std::thread::yield_now();
        }
        Ok(())
    }

    /// The transactions that run, for `XLOG_RUNNING_XACTS`.
    pub fn running_xacts(&self) -> RunningXacts {
        self.procs.running_xacts()
    }

    /// The oldest id that runs, or the next one: `oldestActiveXid` of an online checkpoint.
    pub fn oldest_active_xid(&self) -> Xid {
        self.procs.oldest_running().xid()
    }

    /// Whether the end of `xid`, which is recorded as committed, is durable. If not, nothing may tell
    /// of it that could reach the disk before the log does: no hint bit (unless the page's own LSN
    /// holds it back as well, [`PgXact::commit_lsn`]), no all-visible mark.
    pub fn is_commit_durable(&self, xid: Xid) -> bool {
        match &self.wal {
            Some(wal) if xid.is_normal() => self.pg_xact.commit_lsn(xid) <= wal.durable_lsn(),
            _ => true,
        }
    }

    /// To be called by a checkpoint once its redo point is set, and to be waited for before it writes
    /// `pg_xact`.
    ///
    /// # Panics
    /// If another checkpoint waits.
    pub fn begin_checkpoint(self: &Arc<Self>) -> CommitsInside {
        CommitsInside {
            draining: self.gate.begin_wait(),
            manager: Arc::clone(self),
        }
    }

    /// Writes and syncs the commit log, and gives the number of pages written. A checkpoint that has
    /// other things to do meanwhile takes the steps of [`PgXact::begin_flush`] instead.
    ///
    /// # Errors
    /// A write or a sync failed.
    ///
    /// # Panics
    /// If another flush is not over.
    pub fn flush(&self, io: &mut IoContext) -> Result<u64, TxnError> {
        self.check_failure()?;
        self.pg_xact.begin_flush()?.run(io)
    }

    pub(crate) fn wal(&self) -> Option<&Wal> {
        self.wal.as_deref()
    }

    pub(crate) fn gate(&self) -> &CommitGate {
        &self.gate
    }

    /// Why the database has to stop, if a commit came into doubt.
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    pub(crate) fn fail(&self, reason: String) {
        tracing::error!("{reason}; the database system has to be restarted");
        // Only the first is told.
        let _ = self.failure.set(reason);
    }

    pub(crate) fn check_failure(&self) -> Result<(), TxnError> {
        match self.failure() {
            Some(reason) => Err(TxnError::MustStop {
                reason: reason.to_owned(),
            }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
