//! Counters, for `pg_stat_wal` and more. What happens under a lock anyway is counted there; the rest
//! is relaxed atomics. Nobody takes a lock to count.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What the log has done since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalStats {
    /// Records inserted (`wal_records`), padding included.
    pub records: u64,
    /// Page images in them (`wal_fpi`).
    pub full_page_images: u64,
    /// Bytes of them, without page headers (`wal_bytes`).
    pub bytes: u64,
    /// Times that an inserter waited for the WAL buffers (`wal_buffers_full`).
    pub buffers_full: u64,
    /// Writes started.
    pub writes: u64,
    /// Write units in them; one that was written twice counts twice.
    pub write_units: u64,
    /// Syncs started.
    pub syncs: u64,
    /// Flushes that found something to do.
    pub flushes: u64,
    /// Flushes that found everything durable.
    pub flushes_found_durable: u64,
    /// Waits of flushes for an I/O.
    pub flush_waits: u64,
    /// Times that a flush found the unit that it had to write in flight.
    pub partial_block_waits: u64,
    /// Records of padding, and their bytes.
    pub paddings: u64,
    /// See `paddings`.
    pub padding_bytes: u64,
    /// Segments made.
    pub segments_made: u64,
    /// Of them, those that a writer needed and did not find.
    pub segments_made_late: u64,
    /// Segments renamed for later use.
    pub segments_recycled: u64,
    /// Segments removed.
    pub segments_removed: u64,
}

/// What is counted without a lock.
#[derive(Debug, Default)]
pub(crate) struct WalCounters {
    buffers_full: AtomicU64,
    flushes: AtomicU64,
    flushes_found_durable: AtomicU64,
    flush_waits: AtomicU64,
}

impl WalCounters {
    pub(crate) fn buffers_full(&self) {
        self.buffers_full.fetch_add(1, Relaxed);
    }

    pub(crate) fn flush(&self) {
        self.flushes.fetch_add(1, Relaxed);
    }

    pub(crate) fn flush_found_durable(&self) {
        self.flushes_found_durable.fetch_add(1, Relaxed);
    }

    pub(crate) fn flush_wait(&self) {
        self.flush_waits.fetch_add(1, Relaxed);
    }

    /// What was counted here; the rest is zero.
    pub(crate) fn snapshot(&self) -> WalStats {
        WalStats {
            buffers_full: self.buffers_full.load(Relaxed),
            flushes: self.flushes.load(Relaxed),
            flushes_found_durable: self.flushes_found_durable.load(Relaxed),
            flush_waits: self.flush_waits.load(Relaxed),
            ..WalStats::default()
        }
    }
}
