//! The engine's share of the WAL writer's work: its steps, and what they find out.

use std::sync::Arc;
use std::time::Duration;

use trunkline_aio::IoContext;
use trunkline_wal::WalWriter;

use crate::checkpoint_requests::{CheckpointCause, CheckpointRequests};
use crate::checkpointer::is_wal_due;
use crate::durable_state::DurableState;
use crate::error::EngineError;

/// The WAL writer. One at a time takes its steps.
pub(crate) struct WalWriting {
    state: Arc<DurableState>,
    requests: Arc<CheckpointRequests>,
    distance_bytes: u64,
    writer: WalWriter,
}

impl WalWriting {
    pub(crate) fn new(
        state: Arc<DurableState>,
        requests: Arc<CheckpointRequests>,
        distance_bytes: u64,
    ) -> WalWriting {
        WalWriting {
            state,
            requests,
            distance_bytes,
            writer: WalWriter::new(),
        }
    }

    /// Makes durable what asynchronous commits have asked for, makes segments ahead, and asks for a
    /// checkpoint if so much was written. Gives how long to pause.
    ///
    /// # Errors
    /// The log has failed, which is told to everybody; or a segment could not be made ahead, and will
    /// be when it is needed.
    pub(crate) fn step(&mut self, io: &mut IoContext) -> Result<Duration, EngineError> {
        let stepped = self.writer.step(&self.state.wal, io);
        self.state.check_log();
        let is_wanted = self.requests.wanted().is_some();
        if self.state.failure().is_none()
            && !is_wanted
            && is_wal_due(&self.state, self.distance_bytes)
        {
            self.requests.request(CheckpointCause::WAL);
        }
        Ok(stepped?.delay)
    }
}
