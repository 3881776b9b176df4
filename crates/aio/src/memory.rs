//! Memory for I/O: one piece of an I/O's memory list, and an owned, aligned
//! buffer.
#![expect(
    unsafe_code,
    reason = "aligned allocation, and memory named by address for the kernel"
)]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::slice;

/// One piece of memory of an I/O, laid out as a `struct iovec`.
///
/// It names memory without owning or borrowing it; whoever starts an I/O with
/// it vouches that the memory stays in place until the I/O is complete.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct IoMemory(libc::iovec);

// SAFETY: an address and a length; using them is what needs care, and that is
// part of the contract of `IoHandle::start_readv` and `start_writev`.
unsafe impl Send for IoMemory {}
// SAFETY: as above.
unsafe impl Sync for IoMemory {}

impl IoMemory {
    /// `len` bytes from `ptr` on.
    pub const fn new(ptr: *mut u8, len: usize) -> Self {
        IoMemory(libc::iovec {
            iov_base: ptr.cast(),
            iov_len: len,
        })
    }

    /// Where the memory starts.
    pub const fn ptr(&self) -> *mut u8 {
        self.0.iov_base.cast()
    }

    /// Its length in bytes.
    pub const fn len(&self) -> usize {
        self.0.iov_len
    }

    /// Whether there is no memory at all.
    pub const fn is_empty(&self) -> bool {
        self.0.iov_len == 0
    }

    /// What is left without the first `bytes` bytes.
    ///
    /// # Panics
    /// If there are fewer.
    pub(crate) fn skip(&self, bytes: usize) -> Self {
        assert!(bytes <= self.len());
        IoMemory::new(self.ptr().wrapping_add(bytes), self.len() - bytes)
    }
}

/// Owned memory, aligned for direct I/O, zeroed when made.
#[derive(Debug)]
pub struct AlignedBuf {
    ptr: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the buffer is plain bytes with one owner.
unsafe impl Send for AlignedBuf {}
// SAFETY: shared access only reads.
unsafe impl Sync for AlignedBuf {}

impl AlignedBuf {
    /// What every buffer is aligned to at least, in bytes: a page, which
    /// satisfies every file system known to do direct I/O.
    pub const ALIGNMENT_BYTES: usize = 4096;

    /// `len` zero bytes; `len` may be 0.
    ///
    /// # Panics
    /// If `len` is larger than half the address space.
    pub fn zeroed(len: usize) -> Self {
        assert!(
            len <= isize::MAX as usize - Self::ALIGNMENT_BYTES,
            "buffer of {len} bytes"
        );
        // SAFETY: the alignment is a power of two, and the length was checked
        // not to overflow when rounded up to it.
        let layout = unsafe { Layout::from_size_align_unchecked(len, AlignedBuf::ALIGNMENT_BYTES) };
        if len == 0 {
            return AlignedBuf {
                ptr: NonNull::dangling(),
                layout,
            };
        }
        // SAFETY: the layout's size is not 0.
        let ptr = unsafe { alloc_zeroed(layout) };
        let Some(ptr) = NonNull::new(ptr) else {
            handle_alloc_error(layout)
        };
        AlignedBuf { ptr, layout }
    }

    /// The whole buffer as memory of an I/O.
    pub fn memory(&mut self) -> IoMemory {
        IoMemory::new(self.ptr.as_ptr(), self.len())
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `len` initialised bytes that this value owns.
        unsafe { slice::from_raw_parts(self.ptr.as_ptr(), self.layout.size()) }
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` makes the access exclusive.
        unsafe { slice::from_raw_parts_mut(self.ptr.as_ptr(), self.layout.size()) }
    }
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        if self.layout.size() != 0 {
            // SAFETY: allocated with this layout.
            unsafe { dealloc(self.ptr.as_ptr(), self.layout) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_zeroed_and_may_be_empty() {
        let mut buffer = AlignedBuf::zeroed(8192);
        assert_eq!(buffer.as_ptr() as usize % AlignedBuf::ALIGNMENT_BYTES, 0);
        assert!(buffer.iter().all(|&byte| byte == 0));
        buffer[8191] = 7;
        assert_eq!(buffer[8191], 7);
        assert!(AlignedBuf::zeroed(0).is_empty());
    }

    #[test]
    fn skipping_moves_the_start() {
        let memory = IoMemory::new(std::ptr::without_provenance_mut(4096), 100).skip(30);
        assert_eq!((memory.ptr() as usize, memory.len()), (4126, 70));
    }
}
