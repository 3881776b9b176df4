//! What a checkpoint works on: everything of a database that has to be on disk.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use trunkline_aio::{Clock, IoContext};
use trunkline_buffer::BufferPool;
use trunkline_pgformat::control_file::{ClusterState, ControlFile};
use trunkline_pgformat::{Oid, Xid};
use trunkline_smgr::Smgr;
use trunkline_txn::TransactionManager;

use crate::data_directory::ControlFileStore;
use crate::database::unix_seconds;
use crate::error::EngineError;
use crate::sessions::Sessions;

/// Shared by the database and the threads that make it durable.
pub(crate) struct DurableState {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) smgr: Arc<Smgr>,
    pub(crate) pool: Arc<BufferPool>,
    pub(crate) transactions: Arc<TransactionManager>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) next_oid: AtomicU32,
    control_store: ControlFileStore,
    /// What pg_control says.
    control: Mutex<ControlFile>,
    /// Why nothing can be made durable any more.
    failure: OnceLock<String>,
}

impl DurableState {
    pub(crate) fn new(
        clock: Arc<dyn Clock>,
        pool: Arc<BufferPool>,
        transactions: Arc<TransactionManager>,
        sessions: Arc<Sessions>,
        control_store: ControlFileStore,
        control: ControlFile,
    ) -> DurableState {
        DurableState {
            clock,
            smgr: Arc::clone(pool.smgr()),
            pool,
            transactions,
            sessions,
            next_oid: AtomicU32::new(control.check_point_copy.next_oid.0),
            control_store,
            control: Mutex::new(control),
            failure: OnceLock::new(),
        }
    }

    fn control(&self) -> MutexGuard<'_, ControlFile> {
        // Replaced as a whole.
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the database was stopped cleanly.
    pub(crate) fn is_shut_down(&self) -> bool {
        self.control().state == ClusterState::ShutDown
    }

    /// Why nothing can be made durable any more, if so.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// A sync failed: what it was to make durable may be gone for good, and a second one would not
    /// tell (fsync(2)).
    pub(crate) fn fail(&self, error: &EngineError) {
        tracing::error!("{error}; the database system can no longer be stopped cleanly");
        let _ = self.failure.set(error.to_string());
        self.sessions.terminate_all();
    }

    /// Whether a checkpoint would say no more than the one before, apart from pages that are dirty.
    pub(crate) fn is_idle(&self) -> bool {
        let control = self.control();
        let last = &control.check_point_copy;
        last.next_full_xid == self.transactions.next_xid().0
            && last.next_oid == Oid(self.next_oid.load(Ordering::Relaxed))
            && self.smgr.is_synced()
            && self.smgr.pending_unlinks() == 0
    }

    /// Writes pg_control, after everything else is durable.
    pub(crate) fn write_control(
        &self,
        state: ClusterState,
        io: &mut IoContext,
    ) -> Result<(), EngineError> {
        let mut control = self.control();
        // After the pages: no xid that one of them carries may be given out again.
        let next_xid = self.transactions.next_xid();
        let now = unix_seconds(self.clock.as_ref());
        let mut next = control.clone();
        next.state = state;
        next.time = now;
        next.check_point_copy.time = now;
        next.check_point_copy.next_full_xid = next_xid.0;
        next.check_point_copy.next_oid = Oid(self.next_oid.load(Ordering::Relaxed));
        next.check_point_copy.oldest_active_xid = match state {
            ClusterState::ShutDown => Xid::INVALID,
            _ => self.transactions.oldest_xmin(),
        };
        self.control_store.write(&next, io)?;
        *control = next;
        Ok(())
    }
}
