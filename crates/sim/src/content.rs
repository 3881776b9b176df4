//! The bytes of a file: sparse pages, shared between copies until written.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// Space is given out in this unit.
pub(crate) const PAGE_BYTES: u64 = 4096;

const PAGE: usize = PAGE_BYTES as usize;

type Page = Arc<[u8; PAGE]>;

fn zero_page() -> Page {
    static ZERO: OnceLock<Page> = OnceLock::new();
    Arc::clone(ZERO.get_or_init(|| Arc::new([0; PAGE])))
}

/// What a file contains. Bytes of existing pages beyond `len` are zeros,
/// except between [`Content::put`] and [`Content::set_len`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    pages: BTreeMap<u64, Page>,
    len: u64,
}

impl Content {
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Pages that take up space.
    pub(crate) fn page_count(&self) -> u64 {
        self.pages.len() as u64
    }

    /// Copies what is there from `offset` on, up to the end of the file: the
    /// number of bytes.
    pub(crate) fn read(&self, offset: u64, bytes: &mut [u8]) -> usize {
        let there = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = bytes.len().min(there);
        self.get(offset, &mut bytes[..length]);
        length
    }

    /// Copies bytes whether or not the file reaches that far.
    pub(crate) fn get(&self, offset: u64, bytes: &mut [u8]) {
        for (page, within, range) in pieces(offset, bytes.len()) {
            let piece = &mut bytes[range];
            match self.pages.get(&page) {
                Some(found) => piece.copy_from_slice(&found[within..within + piece.len()]),
                None => piece.fill(0),
            }
        }
    }

    /// Writes, and grows the file as far as need be.
    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.put(offset, bytes);
        self.len = self.len.max(offset + bytes.len() as u64);
    }

    /// Writes and leaves the length alone; [`Self::set_len`] cuts off what is
    /// beyond it.
    pub(crate) fn put(&mut self, offset: u64, bytes: &[u8]) {
        for (page, within, range) in pieces(offset, bytes.len()) {
            let piece = &bytes[range];
            let found = self.pages.entry(page).or_insert_with(zero_page);
            Arc::make_mut(found)[within..within + piece.len()].copy_from_slice(piece);
        }
    }

    /// Cuts or extends with a hole.
    pub(crate) fn set_len(&mut self, len: u64) {
        self.pages.split_off(&len.div_ceil(PAGE_BYTES));
        let within = (len % PAGE_BYTES) as usize;
        if within > 0
            && let Some(page) = self.pages.get_mut(&(len / PAGE_BYTES))
        {
            Arc::make_mut(page)[within..].fill(0);
        }
        self.len = len;
    }

    /// How many of the first `length` bytes at `offset` fit when `free_pages`
    /// can be added.
    pub(crate) fn fits(&self, offset: u64, length: u64, free_pages: u64) -> u64 {
        let mut free = free_pages;
        let end = offset + length;
        let mut at = offset;
        while at < end {
            if !self.pages.contains_key(&(at / PAGE_BYTES)) {
                if free == 0 {
                    break;
                }
                free -= 1;
            }
            at = (at / PAGE_BYTES + 1) * PAGE_BYTES;
        }
        at.min(end) - offset
    }

    /// Gives a range space, zeros where there was none.
    pub(crate) fn reserve(&mut self, offset: u64, length: u64) {
        for page in offset / PAGE_BYTES..(offset + length).div_ceil(PAGE_BYTES) {
            self.pages.entry(page).or_insert_with(zero_page);
        }
        self.len = self.len.max(offset + length);
    }
}

/// A range cut at page ends: page, start within the page, range of bytes.
fn pieces(
    offset: u64,
    length: usize,
) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == length {
            return None;
        }
        let at = offset + done as u64;
        let within = (at % PAGE_BYTES) as usize;
        let taken = (PAGE - within).min(length - done);
        let range = done..done + taken;
        done += taken;
        Some((at / PAGE_BYTES, within, range))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(content: &Content) -> Vec<u8> {
        let mut bytes = vec![0; content.len() as usize];
        assert_eq!(content.read(0, &mut bytes), bytes.len());
        bytes
    }

    #[test]
    fn holes_read_as_zeros_and_the_end_cuts_reads_short() {
        let mut content = Content::default();
        content.write(5000, &[7; 4000]);
        assert_eq!((content.len(), content.page_count()), (9000, 2));
        let mut found = [1; 20];
        assert_eq!(content.read(4990, &mut found), 20);
        assert_eq!(found[..10], [0; 10]);
        assert_eq!(found[10..], [7; 10]);
        assert_eq!(content.read(8995, &mut found), 5);
        assert_eq!(content.read(9000, &mut found), 0);
        assert_eq!(content.read(u64::MAX, &mut found), 0);
    }

    #[test]
    fn what_is_cut_off_does_not_come_back() {
        let mut content = Content::default();
        content.write(0, &[9; 10_000]);
        content.set_len(4100);
        assert_eq!(content.page_count(), 2);
        content.set_len(10_000);
        let found = bytes(&content);
        assert!(found[..4100].iter().all(|&byte| byte == 9));
        assert!(found[4100..].iter().all(|&byte| byte == 0));
        content.set_len(0);
        assert_eq!(content.page_count(), 0);
    }

    #[test]
    fn space_is_counted_in_pages() {
        let mut content = Content::default();
        content.write(4096, &[1; 100]);
        assert_eq!(content.fits(0, 4096 * 3, 0), 0);
        assert_eq!(content.fits(0, 4096 * 3, 1), 8192);
        assert_eq!(content.fits(0, 4096 * 3, 2), 4096 * 3);
        assert_eq!(content.fits(4000, 50, 0), 0);
        assert_eq!(content.fits(4196, 50, 0), 50);
        content.reserve(0, 4096 * 3);
        assert_eq!((content.page_count(), content.len()), (3, 4096 * 3));
        assert_eq!(bytes(&content)[4096..4196], [1; 100]);
    }

    #[test]
    fn copies_do_not_share_later_writes() {
        let mut content = Content::default();
        content.write(0, &[1; 8192]);
        let copy = content.clone();
        content.write(100, &[2; 10]);
        assert!(bytes(&copy).iter().all(|&byte| byte == 1));
        assert_eq!(bytes(&content)[100], 2);
    }
}
