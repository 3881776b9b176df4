//! One transaction, from its begin to its end.

use std::sync::{Arc, Mutex};

use trunkline_aio::IoContext;
use trunkline_pgformat::{CommandId, Lsn, RelFileLocator, Xid};
use trunkline_wal::WalError;

use crate::commit::{self, CommitOptions, LoggedCommit};
use crate::error::TxnError;
use crate::full_xid::FullXid;
use crate::lock_tag::LockOwner;
use crate::manager::TransactionManager;
use crate::pending_files::PendingFiles;
use crate::snapshot::RegisteredSnapshot;
use crate::sync::lock;
use crate::timestamp::TimestampTz;
use crate::xid_limits::WraparoundWarning;

/// Whether a transaction goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TransactionState {
    /// It goes on.
    Active,
    /// Its end is being recorded.
    Ending,
    /// It committed.
    Committed,
    /// It aborted.
    Aborted,
    /// Its commit is in the write-ahead log, and perhaps durable. It counts as running until the
    /// database has stopped.
    InDoubt,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Event {
    EndBegins,
    /// A commit failed before its record was in the log.
    EndFails,
    Commits,
    Aborts,
    FateUnknown,
}

impl TransactionState {
    fn next(self, event: Event) -> TransactionState {
        use TransactionState::{Aborted, Active, Committed, Ending, InDoubt};
        match (self, event) {
            (Active, Event::EndBegins) => Ending,
            (Ending, Event::EndFails) => Active,
            (Ending, Event::Commits) => Committed,
            (Ending, Event::Aborts) => Aborted,
            (Ending, Event::FateUnknown) => InDoubt,
            (state, event) => panic!("a transaction ends once: {event:?} in {state:?}"),
        }
    }
}

/// A running transaction. Threads that work for it share it by reference.
///
/// Its mutex is outermost in the lock order: the manager is called with it held, but for what records
/// its end, which waits for I/O.
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
    /// If it has an id: the commit is in the write-ahead log, durably if `options` say so or files are
    /// deleted; otherwise the log's writer makes it so soon.
    ///
    /// # Errors
    /// The commit cannot be recorded: the transaction goes on and is to be aborted. Or, with
    /// [`TxnError::CommitInDoubt`], it may have committed: the caller must tell neither, keep its locks
    /// and stop the database.
    ///
    /// # Panics
    /// If it has ended before.
    pub fn commit(
        &self,
        io: &mut IoContext,
        options: CommitOptions,
    ) -> Result<Vec<RelFileLocator>, TxnError> {
        let mut commit = self.begin_commit(io, options)?;
        let flushed = match &mut commit.logged {
            Some(logged) if commit.waits => logged.flush(io),
            _ => Ok(()),
        };
        self.end_commit(commit, flushed)
    }

    /// The first half of [`Self::commit`]: the commit is in the write-ahead log, and to be made durable
    /// before the second half.
    ///
    /// # Errors
    /// The commit cannot be recorded: the transaction goes on and is to be aborted.
    ///
    /// # Panics
    /// If it has ended before.
    pub fn begin_commit(
        &self,
        io: &mut IoContext,
        options: CommitOptions,
    ) -> Result<CommitInProgress, TxnError> {
        let (xid, pending) = self.begin_end();
        let logged = match xid {
            Some(xid) => {
                commit::begin(&self.manager, io, xid, pending.at_commit(), options.now).map(Some)
            }
            None if pending.at_commit().is_empty() => Ok(None),
            None => Err(TxnError::FilesWithoutXid),
        };
        match logged {
            Ok(logged) => Ok(CommitInProgress {
                waits: options.synchronous || !pending.at_commit().is_empty(),
                logged,
                pending,
            }),
            Err(error) => {
                lock(&self.inner).pending = pending;
                self.end(Event::EndFails);
                Err(error)
            }
        }
    }

    /// The second half of [`Self::commit`]: `flushed` is what came of making the log durable up to
    /// [`CommitInProgress::awaits`].
    ///
    /// # Errors
    /// [`TxnError::CommitInDoubt`], as of [`Self::commit`].
    ///
    /// # Panics
    /// If the commit is another transaction's.
    pub fn finish_commit(
        &self,
        mut commit: CommitInProgress,
        flushed: Result<(), WalError>,
    ) -> Result<Vec<RelFileLocator>, TxnError> {
        let flushed = match &mut commit.logged {
            Some(logged) if commit.waits => logged.note_flush(flushed),
            _ => Ok(()),
        };
        self.end_commit(commit, flushed)
    }

    fn end_commit(
        &self,
        commit: CommitInProgress,
        flushed: Result<(), TxnError>,
    ) -> Result<Vec<RelFileLocator>, TxnError> {
        let xid = commit.logged.as_ref().map(LoggedCommit::xid);
        assert_eq!(xid, self.full_xid(), "another transaction's commit");
        match flushed {
            Ok(()) => {
                if let Some(logged) = commit.logged {
                    logged.finish();
                }
                self.end(Event::Commits);
                Ok(commit.pending.into_commit())
            }
            Err(error) => {
                // Its end tells the manager.
                drop(commit.logged);
                self.end(Event::FateUnknown);
                Err(error)
            }
        }
    }

    /// Aborts. Returns the relation files to delete; the caller also releases the locks. If it has an
    /// id, the abort is in the write-ahead log; nobody waits for it to be durable.
    ///
    /// # Panics
    /// If it has ended before.
    pub fn abort(&self, io: &mut IoContext, now: TimestampTz) -> Vec<RelFileLocator> {
        let (xid, pending) = self.begin_end();
        if let Some(xid) = xid {
            commit::abort(&self.manager, Some((io, now)), xid, pending.at_abort());
        }
        self.end(Event::Aborts);
        pending.into_abort()
    }

    /// Aborts without a record in the write-ahead log, for who has no issuer: an id without a recorded
    /// end that runs no more counts as aborted, here and after recovery. What the record would be for
    /// are standbys, which learn it from the next list of running transactions.
    ///
    /// # Panics
    /// If it has ended before.
    pub fn abandon(&self) -> Vec<RelFileLocator> {
        let (xid, pending) = self.begin_end();
        if let Some(xid) = xid {
            commit::abort(&self.manager, None, xid, pending.at_abort());
        }
        self.end(Event::Aborts);
        pending.into_abort()
    }

    /// From here to [`Transaction::end`], the pending files belong to who ends it.
    fn begin_end(&self) -> (Option<FullXid>, PendingFiles) {
        let mut inner = lock(&self.inner);
        inner.state = inner.state.next(Event::EndBegins);
        (inner.xid, std::mem::take(&mut inner.pending))
    }

    fn end(&self, event: Event) {
        let mut inner = lock(&self.inner);
        inner.state = inner.state.next(event);
    }
}

/// A commit between its two halves: in the write-ahead log, and not yet known. Dropped, it is in doubt.
pub struct CommitInProgress {
    /// None if the transaction had no id: then there is nothing to record.
    logged: Option<LoggedCommit>,
    pending: PendingFiles,
    /// Whether it is to be durable before it is known.
    waits: bool,
}

impl CommitInProgress {
    /// What the log has to be durable up to before it is finished.
    pub fn awaits(&self) -> Option<Lsn> {
        let logged = self.logged.as_ref().filter(|_| self.waits)?;
        logged.lsn()
    }
}

impl Drop for Transaction {
    /// A transaction that nobody ended (its thread panicked) is aborted and its locks released. One
    /// whose end was being recorded, or is in doubt, keeps them: it counts as running.
    fn drop(&mut self) {
        if self.state() == TransactionState::Active {
            let files = self.abandon();
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
