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
use std::sync::Arc;

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

    /// Where the memory ends.
    pub(crate) const fn end(&self) -> *mut u8 {
        self.ptr().wrapping_add(self.len())
    }

    #[cfg(target_os = "linux")]
    pub(crate) const fn iovec(&self) -> libc::iovec {
        self.0
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
    len: usize,
    owner: Owner,
}

/// What a buffer's memory is part of.
#[derive(Debug)]
enum Owner {
    /// An allocation of its own; none if the buffer is empty.
    Buffer(Layout),
    /// A mapping that other buffers have parts of too.
    Mapping { _mapping: Arc<Mapping> },
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
                len,
                owner: Owner::Buffer(layout),
            };
        }
        // SAFETY: the layout's size is not 0.
        let ptr = unsafe { alloc_zeroed(layout) };
        let Some(ptr) = NonNull::new(ptr) else {
            handle_alloc_error(layout)
        };
        AlignedBuf {
            ptr,
            len,
            owner: Owner::Buffer(layout),
        }
    }

    /// `count` buffers of `len` zero bytes each, side by side, on huge pages
    /// where they are large enough together and the system has any.
    ///
    /// A device is told of an I/O's memory page by page. A read of 1 MiB into
    /// ordinary pages is a list of 256 places, into huge ones a list of one or
    /// two; on a virtual disk that has made large reads twice as fast.
    ///
    /// # Panics
    /// If all together are larger than half the address space.
    pub fn zeroed_group(count: usize, len: usize) -> Vec<Self> {
        let stride = len.next_multiple_of(Self::ALIGNMENT_BYTES);
        let total = stride.checked_mul(count);
        let Some(total) = total.filter(|&total| total <= isize::MAX as usize - HUGE_PAGE_BYTES)
        else {
            panic!("{count} buffers of {len} bytes");
        };
        let mapping = (total >= HUGE_PAGE_BYTES).then(|| Mapping::new(total));
        let Some(mapping) = mapping.flatten().map(Arc::new) else {
            return (0..count).map(|_| AlignedBuf::zeroed(len)).collect();
        };
        let part = |index| AlignedBuf {
            // SAFETY: `count` strides were mapped from `base` on.
            ptr: unsafe { mapping.base.add(index * stride) },
            len,
            owner: Owner::Mapping {
                _mapping: Arc::clone(&mapping),
            },
        };
        (0..count).map(part).collect()
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
        unsafe { slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` makes the access exclusive.
        unsafe { slice::from_raw_parts_mut(self.ptr.as_ptr(), self.len) }
    }
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        if let Owner::Buffer(layout) = self.owner
            && layout.size() != 0
        {
            // SAFETY: allocated with this layout.
            unsafe { dealloc(self.ptr.as_ptr(), layout) };
        }
    }
}

const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Anonymous memory, zero at first, on transparent huge pages where the system
/// gives them.
#[derive(Debug)]
struct Mapping {
    whole: NonNull<libc::c_void>,
    whole_bytes: usize,
    /// The first huge page's start.
    base: NonNull<u8>,
}

// SAFETY: an address; the memory is not tied to a thread, and each part of it
// is one buffer's alone.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// At least `bytes`; `None` if the system refuses.
    fn new(bytes: usize) -> Option<Self> {
        let used_bytes = bytes.next_multiple_of(HUGE_PAGE_BYTES);
        let whole_bytes = used_bytes + HUGE_PAGE_BYTES;
        // SAFETY: a new mapping at a place of the system's choice touches no
        // memory that is there.
        let whole = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                whole_bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if whole == libc::MAP_FAILED {
            return None;
        }
        let whole = NonNull::new(whole)?;
        let lead = whole.cast::<u8>().align_offset(HUGE_PAGE_BYTES);
        assert!(lead < HUGE_PAGE_BYTES);
        // SAFETY: `lead` is less than the extra huge page that was mapped.
        let base = unsafe { whole.cast::<u8>().add(lead) };
        // Only advice: without it, or without huge pages, the memory is as good.
        // SAFETY: the range lies within the mapping; no contents change.
        #[cfg(target_os = "linux")]
        let _ = unsafe { libc::madvise(base.as_ptr().cast(), used_bytes, libc::MADV_HUGEPAGE) };
        Some(Mapping {
            whole,
            whole_bytes,
            base,
        })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped with this length, and no buffer has a part of it any
        // more. It cannot fail for a whole mapping.
        unsafe { libc::munmap(self.whole.as_ptr(), self.whole_bytes) };
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
    fn a_group_is_aligned_zeroed_and_outlived_by_any_of_its_buffers() {
        for (count, len) in [(0, 8192), (3, 100), (5, 700_001), (4, 1 << 20)] {
            let mut group = AlignedBuf::zeroed_group(count, len);
            assert_eq!(group.len(), count);
            for (number, buffer) in (1u8..).zip(&mut group) {
                assert_eq!(buffer.len(), len);
                assert_eq!(buffer.as_ptr() as usize % AlignedBuf::ALIGNMENT_BYTES, 0);
                assert!(buffer.iter().all(|&byte| byte == 0));
                buffer.fill(number);
            }
            for number in (1..=count as u8).rev() {
                let buffer = group.pop().unwrap();
                assert!(buffer.iter().all(|&byte| byte == number));
            }
        }
    }

    #[test]
    #[should_panic(expected = "buffers of")]
    fn an_impossible_group_is_refused() {
        AlignedBuf::zeroed_group(usize::MAX / 8192, 8192);
    }

    #[test]
    fn skipping_moves_the_start() {
        let memory = IoMemory::new(std::ptr::without_provenance_mut(4096), 100).skip(30);
        assert_eq!((memory.ptr() as usize, memory.len()), (4126, 70));
    }
}
