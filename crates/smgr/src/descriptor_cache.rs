//! Open segment files, at most so many, the least recently used going first (by the clock
//! approximation, so that a hit takes only a shared lock).
//!
//! An evicted or removed file stays open while an I/O in flight or a caller holds it, and is closed
//! by whoever lets go of it last.

use crate::sync_requests::SegmentKey;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

struct Entry<F> {
    key: SegmentKey,
    file: Arc<F>,
    used: AtomicBool,
}

struct Open<F> {
    by_key: HashMap<SegmentKey, usize>,
    entries: Vec<Option<Entry<F>>>,
    free: Vec<usize>,
    hand: usize,
}

/// The cache. `F` is the file type.
pub(crate) struct DescriptorCache<F> {
    open: RwLock<Open<F>>,
    limit: usize,
}

impl<F> DescriptorCache<F> {
    pub(crate) fn new(limit: usize) -> DescriptorCache<F> {
        let open = Open {
            by_key: HashMap::new(),
            entries: Vec::new(),
            free: Vec::new(),
            hand: 0,
        };
        DescriptorCache {
            open: RwLock::new(open),
            limit: limit.max(1),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Open<F>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Open<F>> {
        self.open.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The open file of a segment.
    pub(crate) fn get(&self, key: &SegmentKey) -> Option<Arc<F>> {
        let open = self.read();
        let entry = open.entries[*open.by_key.get(key)?].as_ref()?;
        entry.used.store(true, Ordering::Relaxed);
        Some(Arc::clone(&entry.file))
    }

    /// Keeps `file` open for `key`, and gives the file to use: another thread's if it was quicker.
    pub(crate) fn insert(&self, key: SegmentKey, file: Arc<F>) -> Arc<F> {
        let mut evicted = None;
        let mut open = self.write();
        let quicker = open
            .by_key
            .get(&key)
            .copied()
            .and_then(|at| open.entries[at].as_ref());
        if let Some(entry) = quicker {
            return Arc::clone(&entry.file);
        }
        let at = match open.free.pop() {
            Some(at) => at,
            None if open.entries.len() < self.limit => {
                open.entries.push(None);
                open.entries.len() - 1
            }
            None => {
                let (at, entry) = open.evict();
                evicted = entry;
                at
            }
        };
        open.entries[at] = Some(Entry {
            key,
            file: Arc::clone(&file),
            used: AtomicBool::new(true),
        });
        open.by_key.insert(key, at);
        drop(open);
        // Possibly the last reference: closed outside the lock.
        drop(evicted);
        file
    }

    /// Lets go of the files whose key `chosen` says.
    pub(crate) fn remove_if(&self, chosen: impl Fn(&SegmentKey) -> bool) {
        let mut removed = Vec::new();
        let mut open = self.write();
        let keys: Vec<SegmentKey> = open
            .by_key
            .keys()
            .filter(|key| chosen(key))
            .copied()
            .collect();
        for key in keys {
            if let Some(at) = open.by_key.remove(&key) {
                removed.extend(open.entries[at].take());
                open.free.push(at);
            }
        }
        drop(open);
        drop(removed);
    }

    /// Files open.
    pub(crate) fn len(&self) -> usize {
        self.read().by_key.len()
    }
}

impl<F> Open<F> {
    /// Frees the slot of a file not used since the hand last passed. All slots are taken.
    fn evict(&mut self) -> (usize, Option<Entry<F>>) {
        loop {
            let at = self.hand;
            self.hand = (self.hand + 1) % self.entries.len();
            let used = match &self.entries[at] {
                Some(entry) => entry.used.swap(false, Ordering::Relaxed),
                None => false,
            };
            if !used {
                let entry = self.entries[at].take();
                if let Some(entry) = &entry {
                    self.by_key.remove(&entry.key);
                }
                return (at, entry);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trunkline_pgformat::{ForkNumber, Oid, RelFileLocator};

    fn key(segment: u32) -> SegmentKey {
        let rel = RelFileLocator {
            spc_oid: Oid(1663),
            db_oid: Oid(5),
            rel_number: 1,
        };
        SegmentKey {
            rel,
            fork: ForkNumber::Main,
            segment,
        }
    }

    #[test]
    fn keeps_to_its_limit_and_to_what_is_used() {
        let cache = DescriptorCache::new(4);
        for n in 0..4 {
            cache.insert(key(n), Arc::new(n));
        }
        // The first eviction clears every mark and takes the first; from then on use counts.
        cache.insert(key(4), Arc::new(4));
        assert!(cache.get(&key(0)).is_none());
        for n in 5..50 {
            assert!(cache.get(&key(2)).is_some(), "in use at {n}");
            cache.insert(key(n), Arc::new(n));
            assert_eq!(cache.len(), 4);
        }
    }

    #[test]
    fn a_file_in_use_outlives_its_eviction() {
        let cache = DescriptorCache::new(1);
        let held = cache.insert(key(0), Arc::new(0));
        let watch = Arc::downgrade(&held);
        cache.insert(key(1), Arc::new(1));
        assert!(cache.get(&key(0)).is_none());
        assert_eq!(watch.upgrade().as_deref(), Some(&0));
        drop(held);
        assert!(watch.upgrade().is_none());
        cache.remove_if(|key| key.segment == 1);
        assert_eq!(cache.len(), 0);
        assert_eq!(*cache.insert(key(1), Arc::new(7)), 7);
        assert_eq!(
            *cache.insert(key(1), Arc::new(8)),
            7,
            "the quicker one wins"
        );
    }
}
