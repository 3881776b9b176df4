//! One transaction, from its begin to its end.

use std::sync::{Arc, Mutex};

use trunkline_pgformat::{CommandId, RelFileLocator, Xid};

use crate::error::TxnError;
use crate::full_xid::FullXid;
use crate::lock_tag::LockOwner;
use crate::manager::TransactionManager;
use crate::pending_files::PendingFiles;
use crate::pg_xact::XactStatus;
use crate::snapshot::RegisteredSnapshot;
use crate::sync::lock;
use crate::xid_limits::WraparoundWarning;

/// Whether a transaction goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TransactionState {
    /// It goes on.
    Active,
    /// It committed.
    Committed,
    /// It aborted.
    Aborted,
}

/// A running transaction. Threads that work for it share it by reference.
///
/// Its mutex is outermost in the lock order: the manager is called with it held.
pub struct Transaction {
    manager: Arc<TransactionManager>,
    owner: LockOwner,
    inner: Mutex<Inner>,
}

struct Inner {
    state: TransactionState,
    xid: Option<FullXid>,
    command_id: CommandId,
    command_id_used: bool,
    pending: PendingFiles,
    warning: Option<WraparoundWarning>,
}

impl Inner {
    fn own_xid(&self) -> Xid {
        self.xid.map_or(Xid::INVALID, FullXid::xid)
    }
}

impl Transaction {
    pub(crate) fn new(manager: Arc<TransactionManager>, owner: LockOwner) -> Transaction {
        Transaction {
            manager,
            owner,
            inner: Mutex::new(Inner {
                state: TransactionState::Active,
                xid: None,
                command_id: 0,
                command_id_used: false,
                pending: PendingFiles::default(),
                warning: None,
            }),
        }
    }

    /// The manager it belongs to.
    pub fn manager(&self) -> &Arc<TransactionManager> {
        &self.manager
    }

    /// Whom its locks belong to.
    pub fn owner(&self) -> LockOwner {
        self.owner
    }

    /// Whether it goes on.
    pub fn state(&self) -> TransactionState {
        lock(&self.inner).state
    }

    /// Its id, if it needed one so far.
    pub fn xid(&self) -> Option<Xid> {
        self.full_xid().map(FullXid::xid)
    }

    /// Its id with epoch, if it needed one so far (`pg_current_xact_id_if_assigned`).
    pub fn full_xid(&self) -> Option<FullXid> {
        lock(&self.inner).xid
    }

    /// Its id, assigned now if it has none: before it first writes a tuple.
    pub fn assign_xid(&self) -> Result<FullXid, TxnError> {
        let mut inner = lock(&self.inner);
        assert_eq!(
            inner.state,
            TransactionState::Active,
            "an ended transaction writes"
        );
        if let Some(xid) = inner.xid {
            return Ok(xid);
        }
        let (xid, warning) = self.manager.assign(self.owner)?;
        inner.xid = Some(xid);
        inner.warning = warning;
        Ok(xid)
    }

    /// The warning that came with the id, once.
    pub fn take_warning(&self) -> Option<WraparoundWarning> {
        lock(&self.inner).warning.take()
    }

    /// The number of the running command. `for_writing`: tuples get it, so the next command's
    /// number must differ (`GetCurrentCommandId`).
    pub fn command_id(&self, for_writing: bool) -> CommandId {
        let mut inner = lock(&self.inner);
        inner.command_id_used |= for_writing;
        inner.command_id
    }

    /// The command is over: what it wrote is visible to the next (`CommandCounterIncrement`).
    pub fn increment_command(&self) -> Result<(), TxnError> {
        let mut inner = lock(&self.inner);
        if inner.command_id_used {
            // The largest number is PostgreSQL's InvalidCommandId.
            if inner.command_id == CommandId::MAX - 1 {
                return Err(TxnError::TooManyCommands);
            }
            inner.command_id += 1;
            inner.command_id_used = false;
        }
        Ok(())
    }

    /// A snapshot of this moment, as the running command sees it.
    pub fn snapshot(&self) -> RegisteredSnapshot {
        let inner = lock(&self.inner);
        RegisteredSnapshot::new(&self.manager, inner.own_xid(), inner.command_id)
    }

    /// The relation files that its end deletes.
    pub fn with_pending_files<T>(&self, change: impl FnOnce(&mut PendingFiles) -> T) -> T {
        change(&mut lock(&self.inner).pending)
    }

    /// Commits: from the return on, every new snapshot sees its effects. Returns the relation
    /// files to delete; the caller also releases the locks, after it made its invalidations known.
    ///
    /// # Errors
    /// When pg_xact cannot record it; the transaction goes on and is to be aborted.
    ///
    /// # Panics
    /// If it has ended before.
    pub fn commit(&self) -> Result<Vec<RelFileLocator>, TxnError> {
        let mut inner = lock(&self.inner);
        assert_eq!(
            inner.state,
            TransactionState::Active,
            "a transaction ends once"
        );
        if let Some(xid) = inner.xid {
            self.manager
                .pg_xact()
                .set_status(xid.xid(), XactStatus::Committed)?;
            self.manager.procs().end(xid);
        }
        inner.state = TransactionState::Committed;
        Ok(std::mem::take(&mut inner.pending).into_commit())
    }

    /// Aborts. Returns the relation files to delete; the caller also releases the locks.
    ///
    /// # Panics
    /// If it has ended before.
    pub fn abort(&self) -> Vec<RelFileLocator> {
        let mut inner = lock(&self.inner);
        assert_eq!(
            inner.state,
            TransactionState::Active,
            "a transaction ends once"
        );
        if let Some(xid) = inner.xid {
            // An id without a recorded end that runs no more counts as aborted.
            if let Err(error) = self
                .manager
                .pg_xact()
                .set_status(xid.xid(), XactStatus::Aborted)
            {
                tracing::warn!(%error, detail = error.detail(), "an abort was not recorded");
            }
            self.manager.procs().end(xid);
        }
        inner.state = TransactionState::Aborted;
        std::mem::take(&mut inner.pending).into_abort()
    }
}

impl Drop for Transaction {
    /// A transaction that nobody ended (its thread panicked) is aborted and its locks released.
    fn drop(&mut self) {
        if self.state() == TransactionState::Active {
            let files = self.abort();
            self.manager.locks().release_all(self.owner);
            for file in files {
                tracing::warn!(
                    ?file,
                    "the file of an abandoned transaction was left behind"
                );
            }
        }
    }
}
