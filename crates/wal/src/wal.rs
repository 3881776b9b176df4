//! The log as its users hold it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::AcqRel, Ordering::Acquire};

use trunkline_aio::{Aio, CallbackId, Clock, IoContext, Storage};
use trunkline_pgformat::Lsn;
use trunkline_pgformat::wal::XLOG_BLCKSZ;

use crate::completion::{Progress, WalCallbacks};
use crate::compression::Compressors;
use crate::config::{MAX_WRITE_BYTES, WalConfig};
use crate::error::{Failure, WalError};
use crate::recovery::read_exactly;
use crate::reservation::InsertPosition;
use crate::retention::CheckpointDistance;
use crate::ring::Ring;
use crate::segments::Segments;
use crate::stats::{WalCounters, WalStats};
use crate::sync::{Mutex, lock};
use crate::tickets::{MAX_INSERTIONS, Tickets};
use crate::writer::WriterState;

const PAGE: u64 = XLOG_BLCKSZ as u64;

/// The smallest write; more where direct I/O demands more.
const MIN_UNIT_BYTES: u64 = 4096;

/// Segments beyond the current one that are made ahead.
const SEGMENTS_AHEAD: u64 = 2;

/// Where the log goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalPosition {
    /// Where the next record goes: where the last one ends.
    pub insert_at: Lsn,
    /// Where the last record begins.
    pub prev: Lsn,
    /// The redo pointer of the last checkpoint.
    pub redo: Lsn,
}

/// The write-ahead log of a running cluster.
pub struct Wal {
    pub(crate) aio: Arc<Aio>,
    pub(crate) config: WalConfig,
    clock: Arc<dyn Clock>,
    pub(crate) ring: Arc<Ring>,
    pub(crate) position: InsertPosition,
    /// If images are compressed.
    pub(crate) compressors: Option<Compressors>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) segments: Segments,
    pub(crate) callbacks: CallbackId,
    /// The smallest piece of the log that is written at once, in bytes.
    pub(crate) unit_bytes: u64,
    /// So many bytes complete and not sent have an inserter start writes.
    pub(crate) bulk_bytes: u64,
    pub(crate) counts: WalCounters,
    requested: AtomicU64,
    /// A leaf.
    distance: Mutex<CheckpointDistance>,
}

impl Wal {
    /// Starts the log where it ends. What is behind its end was made invalid before, if it had not
    /// been stopped cleanly ([`crate::invalidate_beyond`]).
    ///
    /// # Errors
    /// A setting out of range, a file operation that failed, or a last page that is not the log's.
    pub fn start(
        io: &mut IoContext,
        storage: Arc<dyn Storage>,
        clock: Arc<dyn Clock>,
        config: WalConfig,
        position: WalPosition,
    ) -> Result<Wal, WalError> {
        config.validate()?;
        let aio = Arc::clone(io.aio());
        let size = config.segment_size;
        // A place behind a page's header is the page's beginning: the header comes with the record.
        let insert_at = size.end_lsn_of_byte_position(size.byte_position_of(position.insert_at));
        let segments = Segments::new(config.clone(), storage);
        segments.remove_temporary()?;
        let file = segments.file(io, size.segment_of(insert_at))?;
        let demanded = file.direct().map_or(0, |direct| direct.offset_bytes.into());
        let unit_bytes = MIN_UNIT_BYTES.max(demanded);
        if unit_bytes > PAGE {
            return Err(WalError::CannotContinue {
                at: insert_at,
                reason: format!("direct I/O demands writes of {unit_bytes} bytes"),
            });
        }
        let mut ring = Ring::new(config.ring_bytes(), config.io_wal_concurrency);
        load_tail(io, &segments, &config, &mut ring, insert_at)?;
        let state = WriterState::new(
            size,
            unit_bytes,
            MAX_WRITE_BYTES.min(ring.bytes() as u64 / 4 / PAGE * PAGE),
            config.io_wal_concurrency,
            config.wal_sync_method,
            insert_at,
        );
        let tickets = Tickets::new(MAX_INSERTIONS, insert_at);
        let progress = Arc::new(Progress::new(config.timeline, size, tickets, state));
        let callbacks = aio.register_callbacks(Arc::new(WalCallbacks {
            progress: Arc::clone(&progress),
        }));
        let bulk_bytes = (config.io_wal_target_blocks as u64 * PAGE).min(ring.bytes() as u64 / 4);
        Ok(Wal {
            position: InsertPosition::new(
                size,
                insert_at,
                position.prev,
                position.redo,
                config.full_page_writes,
            ),
            compressors: config.wal_compression.map(Compressors::new),
            aio,
            clock,
            ring: Arc::new(ring),
            progress,
            segments,
            callbacks,
            unit_bytes,
            bulk_bytes,
            counts: WalCounters::default(),
            requested: AtomicU64::new(insert_at.0),
            distance: Mutex::new(CheckpointDistance::default()),
            config,
        })
    }

    /// The settings that it was started with.
    pub fn config(&self) -> &WalConfig {
        &self.config
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        self.clock.as_ref()
    }

    /// # Panics
    /// If the issuer is another core's: its completions would not reach this log.
    pub(crate) fn check_issuer(&self, io: &IoContext) {
        assert!(
            Arc::ptr_eq(io.aio(), &self.aio),
            "an issuer of another AIO core"
        );
    }

    /// Everything before is durable. Costs one load.
    pub fn durable_lsn(&self) -> Lsn {
        self.progress.durable()
    }

    /// Everything before has been written, which makes it durable only where no sync follows
    /// (`GetXLogWriteRecPtr`). Costs one load.
    pub fn written_lsn(&self) -> Lsn {
        self.progress.written()
    }

    /// Where the last record ends, published or not (`GetXLogInsertRecPtr`, give or take the header of
    /// a page that is not begun).
    pub fn insert_lsn(&self) -> Lsn {
        self.position.snapshot().0
    }

    /// The redo pointer: pages whose LSN is not above it log an image with their next change.
    pub fn redo(&self) -> Lsn {
        self.position.redo()
    }

    /// Why the log has failed, if it has.
    pub fn failure(&self) -> Option<Failure> {
        self.progress
            .has_failed()
            .then(|| self.progress.with(|state| state.failure()))
            .flatten()
    }

    /// Turns `full_page_writes` on or off, for records inserted from now on.
    pub fn set_full_page_writes(&self, on: bool) {
        self.position.set_full_page_writes(on);
    }

    /// Asks the WAL writer to make the log durable up to `lsn`: an asynchronous commit.
    pub fn request_flush(&self, lsn: Lsn) {
        self.requested.fetch_max(lsn.0, AcqRel);
    }

    pub(crate) fn requested_flush(&self) -> Lsn {
        Lsn(self.requested.load(Acquire))
    }

    /// The end of the last write unit that is complete.
    pub(crate) fn complete_units(&self) -> Lsn {
        let completed = self.progress.tickets.completed_lsn();
        Lsn(completed.0 - completed.0 % self.unit_bytes)
    }

    /// Makes segments beyond the current one that are not there; how many it made.
    ///
    /// # Errors
    /// A file operation failed. The log goes on without.
    pub fn make_segments_ahead(&self, io: &mut IoContext) -> Result<u64, WalError> {
        let current = self.config.segment_size.segment_of(self.insert_lsn());
        self.segments
            .make_ahead(io, current + 1, current + SEGMENTS_AHEAD)
    }

    /// Who is to be woken when the log comes to another segment, to take a step of the [`WalWriter`]: so
    /// that the next segments are there in time. `wake` must not block. Set once.
    ///
    /// [`WalWriter`]: crate::WalWriter
    pub fn on_segment_begun(&self, wake: impl Fn() + Send + Sync + 'static) {
        self.segments.on_begun(wake);
    }

    /// After a checkpoint with its redo pointer at `redo`, the one before having had it at
    /// `previous_redo`: renames the segments before it for later use, or removes them.
    ///
    /// # Errors
    /// A file operation failed; what was not done is done after the next checkpoint.
    pub fn remove_old_segments(&self, previous_redo: Lsn, redo: Lsn) -> Result<(), WalError> {
        let recycle_to = {
            let mut distance = lock(&self.distance);
            distance.note(redo.0.saturating_sub(previous_redo.0));
            distance.recycle_to(&self.config, redo)
        };
        let first = self.config.segment_size.segment_of(redo);
        self.segments
            .remove_before(first, self.insert_lsn(), recycle_to)
    }

    /// How much log the next checkpoint is expected to cover, in bytes, going by those so far.
    pub fn checkpoint_distance_estimate_bytes(&self) -> u64 {
        lock(&self.distance).estimate_bytes()
    }

    /// What was done so far. The numbers are of about the same time.
    pub fn stats(&self) -> WalStats {
        use std::sync::atomic::Ordering::Relaxed;
        let (_, inserted) = self.position.snapshot();
        let written = self.progress.with(|state| state.counts);
        let files = &self.segments.counts;
        WalStats {
            records: inserted.records,
            full_page_images: inserted.images,
            bytes: inserted.record_bytes,
            paddings: inserted.paddings,
            padding_bytes: inserted.padding_bytes,
            writes: written.writes,
            write_units: written.write_units,
            syncs: written.syncs,
            partial_block_waits: written.partial_waits,
            segments_made: files.made.load(Relaxed),
            segments_made_late: files.made_late.load(Relaxed),
            segments_recycled: files.recycled.load(Relaxed),
            segments_removed: files.removed.load(Relaxed),
            ..self.counts.snapshot()
        }
    }
}

impl std::fmt::Debug for Wal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wal")
            .field("insert_lsn", &self.insert_lsn())
            .field("durable_lsn", &self.durable_lsn())
            .field("failure", &self.failure())
            .finish_non_exhaustive()
    }
}

/// Brings what the log's last page holds into the ring: the page is written again with more on it.
fn load_tail(
    io: &mut IoContext,
    segments: &Segments,
    config: &WalConfig,
    ring: &mut Ring,
    insert_at: Lsn,
) -> Result<(), WalError> {
    use trunkline_pgformat::wal::page_header::{PageHeader, XLOG_PAGE_MAGIC};

    let page = Lsn(insert_at.0 - insert_at.0 % PAGE);
    if page == insert_at {
        return Ok(());
    }
    let mut bytes = vec![0; (insert_at.0 - page.0) as usize];
    read_exactly(io, segments, config, page, &mut bytes)?;
    let header = PageHeader::decode(&bytes);
    let is_ours = header.is_some_and(|header| {
        header.magic == XLOG_PAGE_MAGIC
            && header.page_address == page
            && header.timeline <= config.timeline
    });
    if !is_ours {
        return Err(WalError::CannotContinue {
            at: insert_at,
            reason: "its last page is not a page of this log".to_owned(),
        });
    }
    ring.load(page, &bytes);
    Ok(())
}
