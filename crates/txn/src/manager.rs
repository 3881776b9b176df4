//! The transaction manager: assigns ids, knows who runs, records ends.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use trunkline_aio::{Aio, Storage};
use trunkline_pgformat::Xid;

use crate::cancel::CancelToken;
use crate::error::TxnError;
use crate::full_xid::FullXid;
use crate::lock_manager::LockManager;
use crate::lock_mode::LockMode;
use crate::lock_tag::{LockOwner, LockTag};
use crate::pg_xact::{PgXact, XactStatus};
use crate::proc_array::ProcArray;
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
/// A transaction's end is recorded in pg_xact before the transaction leaves the proc array, and a
/// reader asks in the opposite order (snapshot or proc array first), so it never finds one that
/// runs no more and whose end is unknown.
pub struct TransactionManager {
    procs: ProcArray,
    pg_xact: PgXact,
    locks: Arc<LockManager>,
    /// Held while an id is assigned.
    generation: Mutex<XidLimits>,
}

impl TransactionManager {
    /// Opens the commit log of a cleanly stopped cluster, or of one just initialised.
    pub fn start(
        config: TxnConfig,
        aio: &Arc<Aio>,
        storage: Arc<dyn Storage>,
        locks: Arc<LockManager>,
    ) -> Result<Arc<TransactionManager>, TxnError> {
        let pg_xact = PgXact::open(config.pg_xact, aio, storage)?;
        pg_xact.trim(config.next_xid.xid())?;
        Ok(Arc::new(TransactionManager {
            procs: ProcArray::new(config.next_xid),
            pg_xact,
            locks,
            generation: Mutex::new(config.limits),
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

    /// Writes and syncs the commit log: at a checkpoint and at a clean stop.
    pub fn flush(&self) -> Result<u64, TxnError> {
        self.pg_xact.flush()
    }
}

#[cfg(test)]
mod tests;
