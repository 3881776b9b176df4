//! What a checkpoint works on: everything of a database that has to be on disk.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use trunkline_aio::{Clock, IoContext};
use trunkline_buffer::BufferPool;
use trunkline_pgformat::control_file::{CheckPoint, ClusterState, ControlFile};
use trunkline_pgformat::{Lsn, Xid};
use trunkline_smgr::Smgr;
use trunkline_txn::TransactionManager;
use trunkline_wal::{Wal, WalStats};

use crate::data_directory::ControlFileStore;
use crate::database::unix_seconds;
use crate::error::EngineError;
use crate::oid_generator::OidGenerator;
use crate::sessions::Sessions;

/// Called once, with the reason.
type FailureListener = Box<dyn FnOnce(&str) + Send>;

/// Shared by the database and the threads that make it durable.
pub(crate) struct DurableState {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) smgr: Arc<Smgr>,
    pub(crate) pool: Arc<BufferPool>,
    pub(crate) wal: Arc<Wal>,
    pub(crate) transactions: Arc<TransactionManager>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) oids: OidGenerator,
    control_store: ControlFileStore,
    /// What pg_control says.
    control: Mutex<ControlFile>,
    /// Held shared from the record that files are cut or removed until they are, exclusively while the
    /// redo point is set.
    file_changes: RwLock<()>,
    /// Why nothing can be made durable any more.
    failure: OnceLock<String>,
    listeners: Mutex<Vec<FailureListener>>,
}

/// What a database stands on.
pub(crate) struct DurableParts {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) pool: Arc<BufferPool>,
    pub(crate) wal: Arc<Wal>,
    pub(crate) transactions: Arc<TransactionManager>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) oids: OidGenerator,
    pub(crate) control_store: ControlFileStore,
    pub(crate) control: ControlFile,
}

/// While it lives, no checkpoint sets its redo point.
pub(crate) struct NoRedoPoint<'a>(#[expect(dead_code, reason = "held")] RwLockReadGuard<'a, ()>);

impl DurableState {
    pub(crate) fn new(parts: DurableParts) -> DurableState {
        DurableState {
            clock: parts.clock,
            smgr: Arc::clone(parts.pool.smgr()),
            pool: parts.pool,
            wal: parts.wal,
            transactions: parts.transactions,
            sessions: parts.sessions,
            oids: parts.oids,
            control_store: parts.control_store,
            control: Mutex::new(parts.control),
            file_changes: RwLock::new(()),
            failure: OnceLock::new(),
            listeners: Mutex::default(),
        }
    }

    fn control(&self) -> MutexGuard<'_, ControlFile> {
        // Replaced as a whole.
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What pg_control says.
    pub(crate) fn control_copy(&self) -> ControlFile {
        self.control().clone()
    }

    /// Whether the database was stopped cleanly.
    pub(crate) fn is_shut_down(&self) -> bool {
        self.control().state == ClusterState::ShutDown
    }

    /// Why nothing can be made durable any more, if so.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// A sync or the log failed (W7): what it was to make durable may be gone for good, and a second
    /// try would not tell (fsync(2)). Recovery is the retry. Everybody is told to end.
    pub(crate) fn fail(&self, error: &dyn std::fmt::Display) {
        let reason = error.to_string();
        if self.failure.set(reason.clone()).is_err() {
            return;
        }
        tracing::error!("{reason}; the database system must be restarted, and will recover then");
        self.sessions.terminate_all();
        let listeners = std::mem::take(&mut *self.lock_listeners());
        for listener in listeners {
            listener(&reason);
        }
    }

    fn lock_listeners(&self) -> MutexGuard<'_, Vec<FailureListener>> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Has `listener` called when nothing can be made durable any more; at once if that is so.
    pub(crate) fn on_failure(&self, listener: FailureListener) {
        let mut listeners = self.lock_listeners();
        match self.failure() {
            None => listeners.push(listener),
            Some(reason) => {
                drop(listeners);
                listener(reason);
            }
        }
    }

    /// Looks whether the log, or a commit that it lost, has made an end of everything.
    pub(crate) fn check_log(&self) {
        if self.failure.get().is_some() {
            return;
        }
        if let Some(failure) = self.wal.failure() {
            self.fail(&format!("the write-ahead log has failed: {failure}"));
        } else if let Some(reason) = self.transactions.failure() {
            self.fail(&reason);
        }
    }

    /// Records that change what a checkpoint would mean, up to now.
    pub(crate) fn important_records(&self) -> u64 {
        important_records(&self.wal.stats())
    }

    /// Keeps checkpoints from setting their redo point: files whose record is before it, and which are
    /// cut or removed behind it, would stay as they are after a crash. Not to be taken twice.
    pub(crate) fn hold_off_redo_point(&self, io: &mut IoContext) -> NoRedoPoint<'_> {
        io.submit();
        let guard = self.file_changes.read();
        NoRedoPoint(guard.unwrap_or_else(PoisonError::into_inner))
    }

    /// Sets the redo point of a checkpoint by `set`, with no cut or removal of files half done.
    pub(crate) fn set_redo_point<T>(
        &self,
        io: &mut IoContext,
        set: impl FnOnce(&mut IoContext) -> T,
    ) -> T {
        io.submit();
        let _guard = self
            .file_changes
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        set(io)
    }

    /// What the record of a checkpoint with this redo point says. To be asked for after the redo point
    /// is set: ids that are given out later are in the log behind it.
    pub(crate) fn check_point(&self, redo: Lsn, is_shutdown: bool) -> CheckPoint {
        let last = self.control().check_point_copy.clone();
        CheckPoint {
            redo,
            prev_time_line_id: last.this_time_line_id,
            full_page_writes: self.wal.config().full_page_writes,
            next_full_xid: self.transactions.next_xid().0,
            next_oid: self.oids.checkpointed(is_shutdown),
            time: unix_seconds(self.clock.as_ref()),
            oldest_active_xid: if is_shutdown {
                Xid::INVALID
            } else {
                self.transactions.oldest_active_xid()
            },
            ..last
        }
    }

    /// Writes pg_control with `change`.
    pub(crate) fn write_control(
        &self,
        io: &mut IoContext,
        change: impl FnOnce(&mut ControlFile),
    ) -> Result<(), EngineError> {
        let mut control = self.control();
        let mut next = control.clone();
        change(&mut next);
        next.time = unix_seconds(self.clock.as_ref());
        self.control_store.write(&next, io)?;
        *control = next;
        Ok(())
    }
}

/// Records that change what a checkpoint would mean: what was inserted, padding apart.
pub(crate) fn important_records(stats: &WalStats) -> u64 {
    stats.records.saturating_sub(stats.paddings)
}
