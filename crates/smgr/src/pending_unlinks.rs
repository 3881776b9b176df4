//! Files that are removed after the next checkpoint (PostgreSQL's `pendingUnlinks` in
//! `storage/sync/sync.c`).

use crate::manager::Smgr;
use crate::sync_requests::SegmentKey;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Default)]
struct Pending {
    /// Moves when a checkpoint begins: what is asked for after that is for the next one.
    cycle: u64,
    /// What to remove, with the cycle that it was asked for in; in that order.
    files: Vec<(u64, SegmentKey)>,
}

/// The requests. A leaf lock.
#[derive(Default)]
pub(crate) struct PendingUnlinks {
    pending: Mutex<Pending>,
}

impl PendingUnlinks {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, key: SegmentKey) {
        let mut pending = self.lock();
        let cycle = pending.cycle;
        pending.files.push((cycle, key));
    }
}

impl Smgr {
    /// A checkpoint begins, and has not determined its redo point yet: files whose removal is asked
    /// for from now on stay until the next one has ended.
    pub fn begin_checkpoint(&self) {
        self.pending_unlinks.lock().cycle += 1;
    }

    /// A checkpoint has ended, and the control file says so: removes the files whose removal was asked
    /// for before it began. One that cannot be removed is told in the log, and leaks.
    pub fn end_checkpoint(&self) {
        let due: Vec<(u64, SegmentKey)> = {
            let mut pending = self.pending_unlinks.lock();
            let cycle = pending.cycle;
            let due = pending.files.partition_point(|(asked, _)| *asked < cycle);
            pending.files.drain(..due).collect()
        };
        for (_, key) in due {
            if let Err(error) = self.unlink_segment(key) {
                tracing::warn!("{error}");
            }
        }
    }

    /// Files that wait for a checkpoint to be removed.
    pub fn pending_unlinks(&self) -> usize {
        self.pending_unlinks.lock().files.len()
    }
}
