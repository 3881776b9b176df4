//! Which segments have been written since they were last synced.
//!
//! A request is noted when a write has *completed*, on whatever thread, so noting must neither
//! allocate nor block: a write that started before a checkpoint's sync and ended after it has to be
//! kept for the next one. Hence each segment that was ever opened for writing has a slot with a flag,
//! found by number; slots live in chunks that never move.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use trunkline_pgformat::{ForkNumber, RelFileLocator};

/// A segment of a fork.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct SegmentKey {
    pub(crate) rel: RelFileLocator,
    pub(crate) fork: ForkNumber,
    pub(crate) segment: u32,
}

impl SegmentKey {
    /// PostgreSQL's name of the segment file, relative to the data directory.
    pub(crate) fn path(&self) -> String {
        segment_path(self.rel, self.fork, self.segment)
    }
}

/// Path of a segment file: `base/5/16384`, `base/5/16384.1`, `base/5/16384_vm`, ...
pub fn segment_path(rel: RelFileLocator, fork: ForkNumber, segment: u32) -> String {
    let mut path = rel.path(fork);
    if segment > 0 {
        path.push('.');
        path.push_str(&segment.to_string());
    }
    path
}

const FIRST_CHUNK: usize = 1024;
/// Chunks double in size; the last slot number is beyond what memory could hold.
const CHUNKS: usize = 20;

#[derive(Default)]
struct Slots {
    /// The segment of each slot that is in use.
    keys: Vec<Option<SegmentKey>>,
    by_key: std::collections::HashMap<SegmentKey, u32>,
    free: Vec<u32>,
}

/// The requests.
pub(crate) struct SyncRequests {
    written: [OnceLock<Box<[AtomicBool]>>; CHUNKS],
    slots: Mutex<Slots>,
    /// Slot and errno of a flush that failed; one is enough.
    lost: OnceLock<(u32, i32)>,
}

impl SyncRequests {
    pub(crate) fn new() -> SyncRequests {
        SyncRequests {
            written: [const { OnceLock::new() }; CHUNKS],
            slots: Mutex::new(Slots::default()),
            lost: OnceLock::new(),
        }
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Chunk and place of slot `slot`.
    fn place(slot: u32) -> (usize, usize) {
        let nth = slot as usize + FIRST_CHUNK;
        let chunk = (nth / FIRST_CHUNK).ilog2() as usize;
        (chunk, nth - (FIRST_CHUNK << chunk))
    }

    fn flag(&self, slot: u32) -> Option<&AtomicBool> {
        let (chunk, at) = Self::place(slot);
        self.written[chunk].get().map(|flags| &flags[at])
    }

    /// The slot of a segment, made if it has none.
    pub(crate) fn slot(&self, key: SegmentKey) -> u32 {
        let mut slots = self.slots();
        if let Some(&slot) = slots.by_key.get(&key) {
            return slot;
        }
        let slot = match slots.free.pop() {
            Some(slot) => slot,
            None => {
                let slot = slots.keys.len() as u32;
                let (chunk, _) = Self::place(slot);
                self.written[chunk].get_or_init(|| {
                    (0..FIRST_CHUNK << chunk)
                        .map(|_| AtomicBool::new(false))
                        .collect()
                });
                slots.keys.push(None);
                slot
            }
        };
        slots.keys[slot as usize] = Some(key);
        slots.by_key.insert(key, slot);
        slot
    }

    /// Notes that the segment of `slot` was written. Neither allocates nor blocks. A write that ends
    /// after its segment's removal notes a sync too many, or none.
    pub(crate) fn note(&self, slot: u32) {
        if let Some(flag) = self.flag(slot) {
            flag.store(true, Ordering::Release);
        }
    }

    /// Notes that what was written to the segment of `slot` may be lost. Neither allocates nor blocks.
    pub(crate) fn note_lost(&self, slot: u32, errno: i32) {
        let _ = self.lost.set((slot, errno));
    }

    /// The segment of which something may be lost, and the errno; for ever once there is one. The
    /// segment is unknown if it was removed since.
    pub(crate) fn lost(&self) -> Option<(Option<SegmentKey>, i32)> {
        let &(slot, errno) = self.lost.get()?;
        let key = self.slots().keys.get(slot as usize).copied().flatten();
        Some((key, errno))
    }

    /// The segments written since the last call, which takes them.
    pub(crate) fn take(&self) -> Vec<SegmentKey> {
        let slots = self.slots();
        let mut taken: Vec<SegmentKey> = (0u32..)
            .zip(&slots.keys)
            .filter_map(|(slot, key)| {
                let key = (*key)?;
                self.flag(slot)?
                    .swap(false, Ordering::AcqRel)
                    .then_some(key)
            })
            .collect();
        taken.sort_unstable();
        taken
    }

    /// Whether a segment was written since they were taken last.
    pub(crate) fn any(&self) -> bool {
        let slots = self.slots();
        (0u32..).zip(&slots.keys).any(|(slot, key)| {
            key.is_some()
                && self
                    .flag(slot)
                    .is_some_and(|flag| flag.load(Ordering::Acquire))
        })
    }

    /// Whether the segment has a slot: it was written and not removed since.
    pub(crate) fn knows(&self, key: SegmentKey) -> bool {
        self.slots().by_key.contains_key(&key)
    }

    /// Forgets a segment that is removed.
    pub(crate) fn forget(&self, key: SegmentKey) {
        let mut slots = self.slots();
        if let Some(slot) = slots.by_key.remove(&key) {
            slots.keys[slot as usize] = None;
            if let Some(flag) = self.flag(slot) {
                flag.store(false, Ordering::Release);
            }
            slots.free.push(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trunkline_pgformat::Oid;

    fn key(rel_number: u32, segment: u32) -> SegmentKey {
        let rel = RelFileLocator {
            spc_oid: Oid(1663),
            db_oid: Oid(5),
            rel_number,
        };
        SegmentKey {
            rel,
            fork: ForkNumber::Main,
            segment,
        }
    }

    #[test]
    fn slots_survive_growth_and_reuse() {
        let requests = SyncRequests::new();
        for n in 0..5000 {
            assert_eq!(requests.slot(key(n, 0)), n);
        }
        for n in (0..5000).step_by(7) {
            requests.note(n);
        }
        let taken = requests.take();
        assert_eq!(taken.len(), 5000usize.div_ceil(7));
        assert!(requests.take().is_empty());

        requests.note(3);
        requests.forget(key(3, 0));
        assert!(requests.take().is_empty());
        assert_eq!(requests.slot(key(9000, 2)), 3);
        assert!(
            requests.take().is_empty(),
            "the next user of a slot inherits no request"
        );
        requests.note(3);
        assert_eq!(requests.take(), [key(9000, 2)]);
    }

    #[test]
    fn segment_names_are_postgresqls() {
        assert_eq!(key(16384, 0).path(), "base/5/16384");
        assert_eq!(key(16384, 3).path(), "base/5/16384.3");
        let rel = RelFileLocator {
            spc_oid: Oid(1664),
            db_oid: Oid(0),
            rel_number: 1262,
        };
        assert_eq!(segment_path(rel, ForkNumber::Vm, 1), "global/1262_vm.1");
    }
}
