//! The log's newest pages in memory: a ring that inserters fill and writes are made from.
//!
//! Who may touch what:
//! 1. A byte belongs to whoever reserved its place, from when its page is free until the place is
//!    published: one thread, and nobody else reads or writes it.
//! 2. After that nobody writes it until its page is free for its next use, and anybody may read it.
//! 3. A page is free for its next use once everything on it has been written.
//! 4. The staging page of a write belongs to whoever claimed the write, then to its I/O.
#![expect(
    unsafe_code,
    reason = "memory that threads share by ranges of the log, and that I/O names by address"
)]

use std::ptr::NonNull;

use arrayvec::ArrayVec;
use trunkline_aio::{AlignedBuf, IoMemory};
use trunkline_pgformat::Lsn;
use trunkline_pgformat::wal::XLOG_BLCKSZ;

/// Pieces of memory of one write: around the ring's end, and the last unit's copy.
pub(crate) const MAX_PIECES: usize = 3;

/// See the module.
#[derive(Debug)]
pub(crate) struct Ring {
    base: NonNull<u8>,
    bytes: usize,
    staging: NonNull<u8>,
    staging_pages: usize,
    _memory: AlignedBuf,
}

// SAFETY: an address; the rules of the module say who may use which part when, whatever the thread.
unsafe impl Send for Ring {}
// SAFETY: as above.
unsafe impl Sync for Ring {}

impl Ring {
    /// A ring of `bytes`, a multiple of the page size, and `staging_pages` pages for copies.
    pub(crate) fn new(bytes: usize, staging_pages: usize) -> Self {
        assert!(bytes > 0 && bytes.is_multiple_of(XLOG_BLCKSZ));
        let all = bytes + staging_pages * XLOG_BLCKSZ;
        let mut memory = match AlignedBuf::zeroed_group(1, all).pop() {
            Some(memory) => memory,
            None => AlignedBuf::zeroed(all),
        };
        let base = NonNull::from(&mut memory[0]);
        // SAFETY: the staging pages lie behind the ring in the same allocation.
        let staging = unsafe { base.add(bytes) };
        Ring {
            base,
            bytes,
            staging,
            staging_pages,
            _memory: memory,
        }
    }

    /// Its size in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn place(&self, lsn: Lsn) -> usize {
        (lsn.0 % self.bytes as u64) as usize
    }

    /// Where `length` bytes from `lsn` on are, which do not go around the ring's end.
    fn at(&self, lsn: Lsn, length: usize) -> NonNull<u8> {
        let place = self.place(lsn);
        assert!(
            length <= self.bytes - place,
            "a copy around the end of the WAL ring"
        );
        // SAFETY: within the ring.
        unsafe { self.base.add(place) }
    }

    /// Puts bytes into a page.
    ///
    /// # Safety
    /// The place is the caller's (rule 1).
    ///
    /// # Panics
    /// If they go around the ring's end.
    pub(crate) unsafe fn put(&self, lsn: Lsn, bytes: &[u8]) {
        let to = self.at(lsn, bytes.len());
        // SAFETY: in bounds; by rule 1 nobody else touches them.
        unsafe { to.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
    }

    /// Puts bytes into a page before anybody shares the ring.
    ///
    /// # Panics
    /// If they go around the ring's end.
    pub(crate) fn load(&mut self, lsn: Lsn, bytes: &[u8]) {
        // SAFETY: `&mut self` makes the access exclusive.
        unsafe { self.put(lsn, bytes) };
    }

    /// The memory to write `[start, end)` from: whole units from the ring, the last one, if the log
    /// ends within it, from a copy with zeros behind, in the staging page `number`.
    ///
    /// # Safety
    /// The range is published and not written yet (rule 2), and the caller has claimed the write of
    /// this number (rule 4).
    pub(crate) unsafe fn memory_of_write(
        &self,
        start: Lsn,
        end: Lsn,
        unit_bytes: u64,
        number: usize,
    ) -> ArrayVec<IoMemory, MAX_PIECES> {
        assert!(number < self.staging_pages && unit_bytes <= XLOG_BLCKSZ as u64);
        let mut pieces = ArrayVec::new();
        let whole_end = end.0 - end.0 % unit_bytes;
        let mut at = start.0;
        while at < whole_end {
            let place = self.place(Lsn(at));
            let length = (self.bytes - place).min((whole_end - at) as usize);
            pieces.push(IoMemory::new(self.at(Lsn(at), length).as_ptr(), length));
            at += length as u64;
        }
        let rest = (end.0 - whole_end) as usize;
        if rest > 0 {
            let from = self.at(Lsn(whole_end), rest);
            // SAFETY: one of the staging pages.
            let copy = unsafe { self.staging.add(number * XLOG_BLCKSZ) };
            let unit = unit_bytes as usize;
            // SAFETY: within the ring and within the staging page, by rules 2 and 4 ours to read
            // and to write.
            unsafe {
                copy.copy_from_nonoverlapping(from, rest);
                copy.add(rest).write_bytes(0, unit - rest);
            }
            pieces.push(IoMemory::new(copy.as_ptr(), unit));
        }
        pieces
    }
}

#[cfg(all(test, not(trunkline_loom)))]
mod tests {
    use super::*;

    const PAGE: u64 = XLOG_BLCKSZ as u64;

    fn bytes_of(pieces: &[IoMemory]) -> Vec<u8> {
        let slices = pieces.iter().map(|piece| {
            // SAFETY: initialised, and touched by this test alone.
            unsafe { std::slice::from_raw_parts(piece.ptr(), piece.len()) }
        });
        slices.flatten().copied().collect()
    }

    #[test]
    fn a_write_goes_around_the_end_and_ends_with_zeros() {
        let ring = Ring::new(4 * XLOG_BLCKSZ, 2);
        for page in 3..6 {
            let bytes = [page as u8; XLOG_BLCKSZ];
            // SAFETY: nobody else has the ring.
            unsafe { ring.put(Lsn(page * PAGE), &bytes) };
        }
        let (start, end) = (Lsn(3 * PAGE), Lsn(5 * PAGE + 10));
        // The staging page has something else in it.
        // SAFETY: as above.
        let _ = unsafe { ring.memory_of_write(Lsn(5 * PAGE), Lsn(5 * PAGE + 99), 4096, 1) };
        // SAFETY: as above.
        let pieces = unsafe { ring.memory_of_write(start, end, 4096, 1) };
        assert_eq!(pieces.len(), 3);
        let mut expected = vec![3; XLOG_BLCKSZ];
        expected.extend([4; XLOG_BLCKSZ]);
        expected.extend([5; 10]);
        expected.extend([0; 4086]);
        assert_eq!(bytes_of(&pieces), expected);
    }

    #[test]
    #[should_panic(expected = "around the end")]
    fn bytes_do_not_go_around_the_end() {
        let ring = Ring::new(2 * XLOG_BLCKSZ, 1);
        // SAFETY: nobody else has the ring.
        unsafe { ring.put(Lsn(2 * PAGE - 4), &[0; 8]) };
    }
}
