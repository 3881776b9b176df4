//! The pool's pages: one aligned anonymous mapping, on huge pages where they can be had (B2).
#![expect(
    unsafe_code,
    reason = "maps the pool's memory and hands out pointers into it"
)]

use crate::error::BufferError;
use std::io;
use std::ptr::NonNull;
use trunkline_aio::IoMemory;
use trunkline_pgformat::{BLCKSZ, PageBytes};

/// PostgreSQL's `huge_pages`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum HugePages {
    /// Never ask for huge pages.
    Off,
    /// Reserved huge pages if there are enough, else transparent ones if the system gives them.
    #[default]
    Try,
    /// Reserved huge pages, or an error.
    On,
}

/// What the pool's memory is on (PostgreSQL's `huge_pages_status`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HugePagesStatus {
    /// Ordinary pages.
    Off,
    /// Ordinary pages that the kernel may join into transparent huge ones.
    Transparent,
    /// Reserved huge pages.
    On,
}

const HUGE_PAGE_BYTES: usize = 2 << 20;

/// The mapping. Its first page is aligned to 2 MiB, so every page is aligned to its own size, as
/// direct I/O wants. All bytes are zero at first.
pub(crate) struct PageMemory {
    base: NonNull<PageBytes>,
    mapping: NonNull<libc::c_void>,
    mapping_bytes: usize,
    pages: usize,
    status: HugePagesStatus,
}

// SAFETY: the mapping belongs to this value alone and is not tied to a thread. What may touch which
// bytes when is decided by the descriptors (see `pages`), not by this type.
unsafe impl Send for PageMemory {}
// SAFETY: as above; `&PageMemory` gives out only addresses.
unsafe impl Sync for PageMemory {}

impl PageMemory {
    /// Maps `pages` zeroed pages.
    pub(crate) fn map(pages: usize, huge_pages: HugePages) -> Result<PageMemory, BufferError> {
        let bytes = pages * BLCKSZ;
        let whole = bytes.next_multiple_of(HUGE_PAGE_BYTES);
        if huge_pages != HugePages::Off {
            match map_anonymous(whole, libc::MAP_HUGETLB) {
                Ok(mapping) => {
                    return Ok(PageMemory {
                        base: mapping.cast(),
                        mapping,
                        mapping_bytes: whole,
                        pages,
                        status: HugePagesStatus::On,
                    });
                }
                Err(error) if huge_pages == HugePages::On => {
                    return Err(BufferError::MapMemory {
                        bytes: whole as u64,
                        error,
                    });
                }
                Err(_) => {}
            }
        }
        let mapping_bytes = whole + HUGE_PAGE_BYTES;
        let mapping = map_anonymous(mapping_bytes, libc::MAP_NORESERVE).map_err(|error| {
            BufferError::MapMemory {
                bytes: whole as u64,
                error,
            }
        })?;
        let lead = mapping.as_ptr().align_offset(HUGE_PAGE_BYTES);
        assert!(lead < HUGE_PAGE_BYTES);
        // SAFETY: `lead` is less than the extra huge page that was mapped.
        let base = unsafe { mapping.byte_add(lead) }.cast::<PageBytes>();
        let mut status = HugePagesStatus::Off;
        if huge_pages == HugePages::Try {
            // SAFETY: the range lies within the mapping just made; the advice changes no contents.
            let advised =
                unsafe { libc::madvise(base.as_ptr().cast(), whole, libc::MADV_HUGEPAGE) };
            if advised == 0 {
                status = HugePagesStatus::Transparent;
            }
        }
        Ok(PageMemory {
            base,
            mapping,
            mapping_bytes,
            pages,
            status,
        })
    }

    /// Address of page `index`, aligned to [`BLCKSZ`]. Valid as long as `self`.
    #[inline]
    pub(crate) fn page(&self, index: usize) -> NonNull<PageBytes> {
        assert!(index < self.pages, "no such buffer");
        // SAFETY: `index` is below the number of pages mapped from `base` on.
        unsafe { self.base.add(index) }
    }

    /// All pages, as memory of I/Os.
    pub(crate) fn whole(&self) -> IoMemory {
        IoMemory::new(self.base.as_ptr().cast(), self.pages * BLCKSZ)
    }

    pub(crate) fn status(&self) -> HugePagesStatus {
        self.status
    }
}

impl Drop for PageMemory {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `map` with this length and nobody else unmaps it. Pages in
        // use (guards, I/O in flight) keep `Frames`, and with it this value, alive.
        unsafe {
            libc::munmap(self.mapping.as_ptr(), self.mapping_bytes);
        }
    }
}

fn map_anonymous(bytes: usize, flags: libc::c_int) -> io::Result<NonNull<libc::c_void>> {
    // SAFETY: a fresh private anonymous mapping at an address of the kernel's choice overlaps nothing.
    let mapping = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags,
            -1,
            0,
        )
    };
    if mapping == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(mapping).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_aligned_and_huge_pages_fall_back() {
        for huge_pages in [HugePages::Off, HugePages::Try] {
            let memory = PageMemory::map(100, huge_pages).unwrap();
            assert_eq!(memory.page(0).as_ptr() as usize % HUGE_PAGE_BYTES, 0);
            assert_eq!(
                memory.page(99).as_ptr() as usize - memory.page(0).as_ptr() as usize,
                99 * BLCKSZ
            );
            assert_eq!(
                memory.status() == HugePagesStatus::Off,
                huge_pages == HugePages::Off
            );
        }
    }

    #[test]
    fn impossible_sizes_are_errors() {
        assert!(PageMemory::map(usize::MAX / BLCKSZ / 2, HugePages::Off).is_err());
    }
}
