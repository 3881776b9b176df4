//! Bounce buffers (A12): aligned memory for I/O whose own memory is not
//! stable, not aligned, or not there at all.
//!
//! A bounded pool of pages, of which a buffer is a run. A buffer belongs to
//! whoever took it until an I/O is started on it; then it belongs to the I/O,
//! and goes back with its completion.
//!
//! Nobody waits for a particular thread here either: when the pool is used up,
//! whoever needs a buffer completes the I/Os that have them. If no I/O has
//! any, waiting would be for ever, and is an error.
#![expect(unsafe_code, reason = "runs of one allocation, each with one owner")]

use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::slice;
use std::sync::{Arc, OnceLock};

use crate::aio::Aio;
use crate::error::AioError;
use crate::memory::{AlignedBuf, IoMemory};
use crate::sync::{Mutex, lock};
use crate::wait::WaitRef;

/// Size and alignment of a page of the pool.
pub const BOUNCE_PAGE_BYTES: usize = 8192;

/// Pages of the pool, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    first: usize,
    pages: usize,
}

/// All bounce buffers of a core.
pub(crate) struct BouncePool {
    pages: usize,
    /// Mapped with the first use: most cores that are short-lived have none.
    memory: OnceLock<Memory>,
    /// Who has each page. Its lock is a leaf.
    owners: Mutex<Vec<PageOwner>>,
}

struct Memory {
    base: NonNull<u8>,
    /// Keeps the mapping.
    _buffer: AlignedBuf,
}

// SAFETY: an address; each page has one owner at a time, whatever thread that
// is on, and `owners` says which.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PageOwner {
    Nobody,
    Caller,
    Io(WaitRef),
}

impl BouncePool {
    pub(crate) fn new(pages: u32) -> Self {
        BouncePool {
            pages: pages as usize,
            memory: OnceLock::new(),
            owners: Mutex::default(),
        }
    }

    pub(crate) fn limit_bytes(&self) -> usize {
        self.pages * BOUNCE_PAGE_BYTES
    }

    /// A free run; else an I/O whose completion gives pages back; else nothing.
    fn take(&self, pages: usize) -> Result<Run, Option<WaitRef>> {
        let mut owners = lock(&self.owners);
        if owners.is_empty() {
            owners.resize(self.pages, PageOwner::Nobody);
        }
        let mut free = 0;
        for at in 0..owners.len() {
            free = if owners[at] == PageOwner::Nobody {
                free + 1
            } else {
                0
            };
            if free == pages {
                let first = at + 1 - pages;
                owners[first..=at].fill(PageOwner::Caller);
                return Ok(Run { first, pages });
            }
        }
        Err(owners.iter().find_map(|owner| match owner {
            PageOwner::Io(wait_ref) => Some(*wait_ref),
            PageOwner::Nobody | PageOwner::Caller => None,
        }))
    }

    /// A run is free once this I/O is complete, or soon after.
    pub(crate) fn hand_to_io(&self, run: Run, wait_ref: WaitRef) {
        lock(&self.owners)[run.first..run.first + run.pages].fill(PageOwner::Io(wait_ref));
    }

    pub(crate) fn release(&self, run: Run) {
        lock(&self.owners)[run.first..run.first + run.pages].fill(PageOwner::Nobody);
    }

    fn start_of(&self, run: Run) -> NonNull<u8> {
        let memory = self.memory.get_or_init(|| {
            let bytes = self.limit_bytes();
            let mut buffer = match AlignedBuf::zeroed_group(1, bytes).pop() {
                Some(buffer) => buffer,
                None => AlignedBuf::zeroed(bytes),
            };
            let base = buffer.memory().ptr();
            Memory {
                base: NonNull::new(base).unwrap_or(NonNull::dangling()),
                _buffer: buffer,
            }
        });
        // SAFETY: a run lies within the pool's pages, which is what was mapped.
        unsafe { memory.base.add(run.first * BOUNCE_PAGE_BYTES) }
    }
}

/// Aligned memory out of the bounded pool, with what its last user left in it.
/// To be filled and given to an I/O at once: a buffer that is held while its
/// owner waits for something else keeps it from everybody.
#[derive(Debug)]
pub struct BounceBuffer {
    aio: Arc<Aio>,
    run: Run,
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: plain bytes with one owner.
unsafe impl Send for BounceBuffer {}
// SAFETY: shared access only reads.
unsafe impl Sync for BounceBuffer {}

impl BounceBuffer {
    /// A buffer of `len` bytes, or the I/O to complete before another attempt.
    pub(crate) fn take(aio: &Arc<Aio>, len: usize) -> Result<Result<Self, WaitRef>, AioError> {
        let pool = &aio.table().bounce;
        let pages = len.div_ceil(BOUNCE_PAGE_BYTES).max(1);
        if pages > pool.pages {
            return Err(AioError::TooLong {
                length_bytes: len,
                limit_bytes: pool.limit_bytes(),
            });
        }
        match pool.take(pages) {
            Ok(run) => Ok(Ok(BounceBuffer {
                aio: Arc::clone(aio),
                start: pool.start_of(run),
                run,
                len,
            })),
            Err(Some(wait_ref)) => Ok(Err(wait_ref)),
            Err(None) => Err(AioError::NoBounceBuffers { limit: pool.pages }),
        }
    }

    /// Who needs buffers may complete this I/O to have this one back soon.
    pub(crate) fn note_io(&self, wait_ref: WaitRef) {
        self.aio.table().bounce.hand_to_io(self.run, wait_ref);
    }

    pub(crate) fn memory(&self) -> IoMemory {
        IoMemory::new(self.start.as_ptr(), self.len)
    }

    /// Leaves the run to an I/O of the same core.
    ///
    /// # Panics
    /// If it is another core's.
    pub(crate) fn into_run(self, aio: &Arc<Aio>) -> Run {
        assert!(
            Arc::ptr_eq(&self.aio, aio),
            "a bounce buffer of another AIO core"
        );
        let buffer = std::mem::ManuallyDrop::new(self);
        // SAFETY: read once, out of a value that is never dropped or used again.
        drop(unsafe { std::ptr::read(&raw const buffer.aio) });
        buffer.run
    }
}

impl Deref for BounceBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: initialised memory (zeroed when mapped) of this owner alone.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for BounceBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` makes the access exclusive.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for BounceBuffer {
    fn drop(&mut self) {
        self.aio.table().bounce.release(self.run);
    }
}
