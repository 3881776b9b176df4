//! The buffers themselves: descriptors and pages, with what the completions of I/Os need to know.
//!
//! Separate from the pool because the callbacks registered with the AIO core keep it: memory that the
//! kernel may still write to, and the descriptors that say so, outlive the pool if need be.

use crate::damage_log::DamageLog;
use crate::descriptor::Descriptor;
use crate::memory::PageMemory;
use std::ptr::NonNull;
use trunkline_pgformat::PageBytes;

/// Buffers by index.
///
/// # Who may touch a page's bytes
/// 1. `&PageBytes` exists only under a content lock of the buffer, which is `VALID` then.
/// 2. `&mut PageBytes` exists only under the exclusive content lock, or to the sole pinner of a buffer
///    without `TAG_VALID`, or to the claimer of a read that has not staged an I/O.
/// 3. A read in flight (from staging to completion) writes: the buffer is not `VALID`, so by 1 nobody
///    has a lock. Its completion may look at the bytes and zero them before it publishes them.
/// 4. A write in flight reads: it holds the content lock in share-exclusive mode, so by 2 nobody
///    writes.
pub(crate) struct Frames {
    memory: PageMemory,
    descriptors: Box<[Descriptor]>,
    /// Damaged pages that reads have met.
    pub(crate) damage: DamageLog,
    /// Whether the cluster's pages carry checksums.
    pub(crate) checksums: bool,
}

impl Frames {
    pub(crate) fn new(memory: PageMemory, buffers: usize, checksums: bool) -> Frames {
        Frames {
            memory,
            descriptors: (0..buffers).map(|_| Descriptor::new()).collect(),
            damage: DamageLog::new(),
            checksums,
        }
    }

    #[inline]
    pub(crate) fn descriptor(&self, buffer: u32) -> &Descriptor {
        &self.descriptors[buffer as usize]
    }

    pub(crate) fn len(&self) -> usize {
        self.descriptors.len()
    }

    /// Where the page of `buffer` is. The rules above say what may be done with it.
    #[inline]
    pub(crate) fn page(&self, buffer: u32) -> NonNull<PageBytes> {
        self.memory.page(buffer as usize)
    }

    pub(crate) fn memory(&self) -> &PageMemory {
        &self.memory
    }
}
