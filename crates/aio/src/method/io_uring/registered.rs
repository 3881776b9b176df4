//! Memory that a ring's kernel side knows: pinned and looked up once instead of
//! at every I/O. Which entry of the ring's table an I/O may name.
#![expect(unsafe_code, reason = "advice about memory named by address")]

use std::ops::Range;

use rustix::process::{Resource, geteuid, getrlimit};

use crate::memory::IoMemory;

/// Entries of a ring's table.
pub(super) const ENTRIES: u16 = 1024;

/// The most memory that the kernel takes in one entry.
pub(super) const ENTRY_BYTES: usize = 1 << 30;

/// A registered region, in as many entries as it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Region {
    start: usize,
    bytes: usize,
    entries: Range<u16>,
}

/// The regions of a table.
#[derive(Clone, Debug, Default)]
pub(super) struct Regions {
    regions: Vec<Region>,
}

impl Regions {
    /// Entries for a region; `None` when there are not enough in a row, or part
    /// of it has some.
    pub(super) fn free_entries(&self, memory: IoMemory) -> Option<Range<u16>> {
        let (start, end) = (memory.ptr().addr(), memory.ptr().addr() + memory.len());
        let overlaps = |region: &Region| region.start < end && start < region.start + region.bytes;
        if self.regions.iter().any(overlaps) {
            return None;
        }
        let count = u16::try_from(memory.len().div_ceil(ENTRY_BYTES)).ok()?;
        let ends = self.regions.iter().map(|region| region.entries.end);
        let free = |first: u16| {
            let wanted = first..first.checked_add(count)?;
            let overlaps = self.regions.iter().any(|region| {
                region.entries.start < wanted.end && wanted.start < region.entries.end
            });
            (wanted.end <= ENTRIES && !overlaps).then_some(wanted)
        };
        std::iter::once(0).chain(ends).find_map(free)
    }

    pub(super) fn add(&mut self, memory: IoMemory, entries: Range<u16>) {
        self.regions.push(Region {
            start: memory.ptr().addr(),
            bytes: memory.len(),
            entries,
        });
    }

    /// Forgets a region; its entries, if it was there.
    pub(super) fn remove(&mut self, memory: IoMemory) -> Option<Range<u16>> {
        let at = self.regions.iter().position(|region| {
            (region.start, region.bytes) == (memory.ptr().addr(), memory.len())
        })?;
        Some(self.regions.swap_remove(at).entries)
    }

    /// The entry that holds all of an I/O's memory, if one does.
    pub(super) fn entry_of(&self, pieces: &[IoMemory]) -> Option<u16> {
        let (first, rest) = pieces.split_first()?;
        let entry = self.entry_of_piece(*first)?;
        rest.iter()
            .all(|piece| self.entry_of_piece(*piece) == Some(entry))
            .then_some(entry)
    }

    fn entry_of_piece(&self, piece: IoMemory) -> Option<u16> {
        self.regions.iter().find_map(|region| {
            let from = piece.ptr().addr().checked_sub(region.start)?;
            let inside = !piece.is_empty() && from.checked_add(piece.len())? <= region.bytes;
            let (first, last) = (
                from / ENTRY_BYTES,
                (from + piece.len()).saturating_sub(1) / ENTRY_BYTES,
            );
            (inside && first == last).then(|| region.entries.start + first as u16)
        })
    }
}

/// A region as the kernel takes it, entry by entry.
pub(super) fn chunks(memory: IoMemory) -> Vec<IoMemory> {
    let starts = (0..memory.len()).step_by(ENTRY_BYTES);
    starts
        .map(|start| {
            let rest = memory.skip(start);
            IoMemory::new(rest.ptr(), rest.len().min(ENTRY_BYTES))
        })
        .collect()
}

/// Whether it is worth while to ask the kernel, which knows best, to pin so
/// much: the limit on locked memory binds everyone but root.
pub(super) fn limit_allows(memory: IoMemory) -> bool {
    let limit = getrlimit(Resource::Memlock).current;
    geteuid().is_root() || limit.is_none_or(|limit| memory.len() as u64 <= limit)
}

/// Gives memory that was never touched its pages, as touching would. Pinning
/// does the same, but holds up the ring meanwhile: 1.7 s a GiB instead of 0.07.
pub(super) fn populate(memory: IoMemory) {
    // Less at a time: changes of the address space wait for each call.
    const STEP_BYTES: usize = 32 << 20;
    for start in (0..memory.len()).step_by(STEP_BYTES) {
        let part = memory.skip(start);
        let bytes = part.len().min(STEP_BYTES);
        // SAFETY: the advice changes no contents, and fails where there is no
        // memory or it has no page's start.
        let failed = unsafe { libc::madvise(part.ptr().cast(), bytes, libc::MADV_POPULATE_WRITE) };
        if failed != 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 8192;

    fn memory(address: usize, len: usize) -> IoMemory {
        IoMemory::new(std::ptr::without_provenance_mut(address), len)
    }

    #[test]
    fn memory_is_found_in_its_entry_and_nowhere_else() {
        let base = 64 << 20;
        let region = memory(base, 2 * ENTRY_BYTES + PAGE);
        let mut regions = Regions::default();
        assert_eq!(regions.entry_of(&[memory(base, PAGE)]), None);
        let entries = regions.free_entries(region).unwrap();
        assert_eq!(entries, 0..3);
        regions.add(region, entries);
        let at = |offset: usize| memory(base + offset, PAGE);
        assert_eq!(regions.entry_of(&[at(0)]), Some(0));
        assert_eq!(regions.entry_of(&[at(ENTRY_BYTES - PAGE)]), Some(0));
        assert_eq!(regions.entry_of(&[at(ENTRY_BYTES)]), Some(1));
        assert_eq!(regions.entry_of(&[at(2 * ENTRY_BYTES)]), Some(2));
        // Over an entry's end, over the region's ends, and nothing.
        assert_eq!(regions.entry_of(&[at(ENTRY_BYTES - 1)]), None);
        assert_eq!(regions.entry_of(&[at(2 * ENTRY_BYTES + 1)]), None);
        assert_eq!(regions.entry_of(&[memory(base - 1, PAGE)]), None);
        assert_eq!(regions.entry_of(&[memory(base, 0)]), None);
        assert_eq!(regions.entry_of(&[]), None);
        // Several pieces share an entry or have none.
        assert_eq!(regions.entry_of(&[at(PAGE), at(0), at(5 * PAGE)]), Some(0));
        assert_eq!(regions.entry_of(&[at(0), at(ENTRY_BYTES)]), None);
        assert_eq!(regions.entry_of(&[at(0), memory(4096, PAGE)]), None);
        // Nothing is registered twice.
        assert_eq!(regions.free_entries(at(PAGE)), None);
        assert!(regions.free_entries(memory(base - PAGE, PAGE)).is_some());
        assert_eq!(regions.remove(region), Some(0..3));
        assert_eq!(regions.entry_of(&[at(0)]), None);
        assert_eq!(regions.remove(region), None);
    }

    #[test]
    fn entries_are_used_again_and_run_out() {
        let region = |index: usize, gib: usize| memory(index << 50, gib * ENTRY_BYTES);
        let mut regions = Regions::default();
        for (index, gib) in [(0, 3), (1, 2), (2, 4)] {
            let entries = regions.free_entries(region(index, gib)).unwrap();
            regions.add(region(index, gib), entries);
        }
        assert_eq!(regions.free_entries(region(3, 1)), Some(9..10));
        assert_eq!(regions.remove(region(1, 2)), Some(3..5));
        assert_eq!(regions.free_entries(region(3, 2)), Some(3..5));
        assert_eq!(regions.free_entries(region(3, 3)), Some(9..12));
        assert_eq!(regions.free_entries(region(3, 1016)), None);
        assert_eq!(regions.free_entries(region(3, 70_000)), None);
    }

    #[test]
    fn a_region_is_cut_at_the_kernels_limit() {
        let lengths = |len| -> Vec<usize> {
            chunks(memory(4096, len))
                .iter()
                .map(IoMemory::len)
                .collect()
        };
        assert_eq!(lengths(PAGE), [PAGE]);
        assert_eq!(lengths(ENTRY_BYTES), [ENTRY_BYTES]);
        assert_eq!(lengths(ENTRY_BYTES + PAGE), [ENTRY_BYTES, PAGE]);
    }
}
