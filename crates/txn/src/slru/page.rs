//! A page in memory.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use trunkline_pgformat::{BLCKSZ, Lsn};

/// Groups of entries for which a page remembers how far the log must be durable before it may be
/// written (`CLOG_LSNS_PER_PAGE`).
pub(crate) const LSN_GROUPS: usize = 1024;

/// A page in memory. Its bytes change only by atomic operations.
pub(crate) struct Page {
    bytes: Box<[AtomicU8]>,
    /// Per group of entries: the end of the newest record that the page must not overtake. Stored
    /// before the byte that it belongs to, and read after it.
    lsns: Box<[AtomicU64]>,
    pub(super) is_dirty: AtomicBool,
    /// Used since the eviction clock last passed.
    pub(super) is_used: AtomicBool,
    /// Raised only under the page table's lock, so that who has it for writing can rely on zero.
    pins: AtomicU32,
}

impl Page {
    pub(super) fn new(bytes: &[u8]) -> Page {
        Page {
            bytes: bytes.iter().map(|byte| AtomicU8::new(*byte)).collect(),
            lsns: (0..LSN_GROUPS).map(|_| AtomicU64::new(0)).collect(),
            is_dirty: AtomicBool::new(false),
            is_used: AtomicBool::new(true),
            pins: AtomicU32::new(0),
        }
    }

    pub fn byte(&self, at: usize) -> u8 {
        self.bytes[at].load(Ordering::Acquire)
    }

    /// Replaces a byte by what `change` makes of it.
    pub fn change(&self, at: usize, mut change: impl FnMut(u8) -> u8) {
        let byte = &self.bytes[at];
        let mut now = byte.load(Ordering::Acquire);
        while let Err(other) =
            byte.compare_exchange_weak(now, change(now), Ordering::AcqRel, Ordering::Acquire)
        {
            now = other;
        }
        // After the change: a writer that cleared the mark before it may have missed the change.
        self.is_dirty.store(true, Ordering::Release);
    }

    /// The page must not reach the disk before the log is durable up to `lsn`. To be called before
    /// the change that the record is about.
    pub fn hold_back(&self, group: usize, lsn: Lsn) {
        self.lsns[group].fetch_max(lsn.0, Ordering::AcqRel);
    }

    /// How far the log must be durable before what the group's entries say may be told on disk.
    pub fn group_lsn(&self, group: usize) -> Lsn {
        Lsn(self.lsns[group].load(Ordering::Acquire))
    }

    /// Copies the page for a write, and tells how far the log must be durable before that. The page
    /// counts as clean from here on, but for changes that the copy misses.
    pub(super) fn copy_for_write(&self, to: &mut [u8]) -> Lsn {
        // Before the bytes are copied: a change that the copy misses marks the page again.
        self.is_dirty.swap(false, Ordering::AcqRel);
        for (to, from) in to.iter_mut().zip(&self.bytes) {
            *to = from.load(Ordering::Acquire);
        }
        // After the bytes: who changed one that was copied had stored the LSN before.
        let lsns = self.lsns.iter().map(|lsn| lsn.load(Ordering::Acquire));
        Lsn(lsns.max().unwrap_or(0))
    }

    pub(super) fn clear(&self) {
        for at in 0..BLCKSZ {
            self.bytes[at].store(0, Ordering::Release);
        }
        self.is_dirty.store(true, Ordering::Release);
    }

    pub(super) fn mark_used(&self) {
        if !self.is_used.load(Ordering::Relaxed) {
            self.is_used.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn mark_dirty(&self) {
        self.is_dirty.store(true, Ordering::Release);
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.is_dirty.load(Ordering::Acquire)
    }

    pub(super) fn is_pinned(&self) -> bool {
        self.pins.load(Ordering::Acquire) > 0
    }
}

/// A page that stays in memory, so that changing it can neither wait nor fail.
pub(crate) struct PinnedPage(Arc<Page>);

impl PinnedPage {
    /// To be called under the page table's lock.
    pub(super) fn pin(page: &Arc<Page>) -> PinnedPage {
        page.pins.fetch_add(1, Ordering::AcqRel);
        PinnedPage(Arc::clone(page))
    }
}

impl Deref for PinnedPage {
    type Target = Page;

    fn deref(&self) -> &Page {
        &self.0
    }
}

impl Drop for PinnedPage {
    fn drop(&mut self) {
        self.0.pins.fetch_sub(1, Ordering::AcqRel);
    }
}
