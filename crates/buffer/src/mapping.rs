//! Which buffer holds which block: 128 partitions, each a lock and a hash table.

use crate::tag::BufferTag;
use hashbrown::HashTable;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

const PARTITION_BITS: u32 = 7;

/// A partition's table. Only what is done under its lock is pinning, tagging and untagging, none of
/// which waits, so that no lock here is ever held across a wait.
pub(crate) type Partition = HashTable<(BufferTag, u32)>;

/// A cache line pair of its own, so that locks of neighbouring partitions do not share one.
#[repr(align(128))]
struct Padded(RwLock<Partition>);

/// The mapping from tags to buffers.
pub(crate) struct Mapping {
    partitions: Box<[Padded]>,
}

impl Mapping {
    pub(crate) fn new(buffers: usize) -> Mapping {
        let count = 1usize << PARTITION_BITS;
        let partitions = (0..count)
            .map(|_| Padded(RwLock::new(HashTable::with_capacity(buffers / count + 8))))
            .collect();
        Mapping { partitions }
    }

    #[inline]
    fn partition(&self, hash: u64) -> &RwLock<Partition> {
        &self.partitions[partition_of(hash)].0
    }

    /// A panic under a partition lock can only be a failed assertion before anything was changed.
    #[inline]
    pub(crate) fn read(&self, hash: u64) -> RwLockReadGuard<'_, Partition> {
        self.partition(hash)
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    pub(crate) fn write(&self, hash: u64) -> RwLockWriteGuard<'_, Partition> {
        self.partition(hash)
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The partition of a hash. Not its lowest or highest bits: the table within uses those.
#[inline]
pub(crate) const fn partition_of(hash: u64) -> usize {
    (hash >> 48) as usize & ((1 << PARTITION_BITS) - 1)
}

/// The buffer that holds `tag`.
#[inline]
pub(crate) fn find(partition: &Partition, tag: &BufferTag, hash: u64) -> Option<u32> {
    partition
        .find(hash, |entry| entry.0 == *tag)
        .map(|entry| entry.1)
}

/// Enters `tag`, which is not there yet.
pub(crate) fn insert(partition: &mut Partition, tag: BufferTag, hash: u64, buffer: u32) {
    partition.insert_unique(hash, (tag, buffer), |entry| entry.0.hash());
}

/// Removes `tag`, which names `buffer`.
pub(crate) fn remove(partition: &mut Partition, tag: &BufferTag, hash: u64, buffer: u32) {
    let found = partition.find_entry(hash, |entry| entry.0 == *tag);
    let Ok(entry) = found else {
        panic!("the mapping has lost {tag:?}");
    };
    assert!(
        entry.get().1 == buffer,
        "the mapping has another buffer for {tag:?}"
    );
    entry.remove();
}
