//! The background's share of the work: flushing what nobody waits for, and making segments ahead
//! (`XLogBackgroundFlush` in PostgreSQL's `transam/xlog.c`, `postmaster/walwriter.c`).

use std::time::Duration;

use trunkline_aio::IoContext;
use trunkline_pgformat::Lsn;

use crate::Wal;
use crate::error::WalError;
use crate::writer::Extent;

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalWriterStep {
    /// Log was made durable; if not, there was none to.
    pub flushed: bool,
    /// Segments that were made.
    pub segments_made: u64,
    /// How long to wait until the next step, unless somebody asks for one before.
    pub delay: Duration,
}

/// The state of the WAL writer between its steps; its thread belongs to whoever calls them.
#[derive(Debug, Default)]
pub struct WalWriter {
    last_flush: Option<Duration>,
    flushed_up_to: Lsn,
}

impl WalWriter {
    /// A writer that has not flushed yet.
    pub fn new() -> Self {
        WalWriter::default()
    }

    /// Writes what is complete in whole units; makes it durable once `wal_writer_delay` has passed
    /// since the last time, or `wal_writer_flush_after` bytes have come together. What asynchronous
    /// commits asked for ([`Wal::request_flush`]) is made durable to the last byte.
    ///
    /// So an asynchronous commit is durable at most about three delays after it, whatever is inserted
    /// meanwhile.
    ///
    /// # Errors
    /// The log has failed; or a segment could not be made ahead, after what was asked for is durable.
    pub fn step(&mut self, wal: &Wal, io: &mut IoContext) -> Result<WalWriterStep, WalError> {
        let config = wal.config();
        let delay = Duration::from_millis(config.wal_writer_delay_ms);
        // If it fails, what is asked for is made durable all the same.
        let segments_made = wal.make_segments_ahead(io);
        let asked = wal.requested_flush();
        let complete = wal.complete_units();
        let goal = asked.max(complete);
        let durable = wal.durable_lsn();
        let mut flushed = false;
        if goal > durable {
            let now = wal.clock().monotonic();
            let is_time = self.last_flush.is_none_or(|last| now >= last + delay);
            let is_much =
                goal.0.saturating_sub(self.flushed_up_to.0) >= config.wal_writer_flush_after_bytes;
            if is_time || is_much {
                // What nobody asked for need not be written twice.
                let extent = if asked > complete {
                    Extent::All
                } else {
                    Extent::WholeUnits
                };
                wal.flush_extent(io, goal, extent)?;
                self.last_flush = Some(wal.clock().monotonic());
                self.flushed_up_to = goal;
                flushed = true;
            } else {
                wal.start_writing(io)?;
            }
        }
        Ok(WalWriterStep {
            flushed,
            segments_made: segments_made?,
            delay,
        })
    }
}
