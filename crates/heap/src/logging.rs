//! What is logged of changes of tables, as PostgreSQL would log them (`heapam.c`, `visibilitymap.c`).
//!
//! Every function is called with the pages locked exclusively, changed and dirty, in the critical
//! section of the change. A page that holds nothing but what the record brings is made anew by redo
//! (`XLOG_HEAP_INIT_PAGE`) and needs no image.
//!
//! Two things PostgreSQL does are left out: the lock record before an update to another page (both
//! pages are locked at once here), and what only logical decoding reads.

use trunkline_aio::IoContext;
use trunkline_buffer::{
    BufferError, BufferPool, ChangeRecord, CriticalSection, ExclusiveGuard, PageOfRecord,
};
use trunkline_pgformat::heap_tuple::{
    HEAP_KEYS_UPDATED, HEAP_TUPLE_HEADER_SIZE, HEAP_XMAX_EXCL_LOCK, HEAP_XMAX_IS_MULTI,
    HEAP_XMAX_KEYSHR_LOCK, HEAP_XMAX_LOCK_ONLY,
};
use trunkline_pgformat::wal::info::{heap, heap2};
use trunkline_pgformat::wal::rmgr::heap::{
    HeapDelete, HeapInsert, HeapUpdate, LoggedTuple, LoggedTupleHeader, UpdatedTuple, infobits,
    insert_flags, update_flags,
};
use trunkline_pgformat::wal::rmgr::heap2::{HeapMultiInsert, HeapVisible};
use trunkline_pgformat::wal::rmgr_id::RmgrId;
use trunkline_pgformat::{HeapTupleRef, OffsetNumber, Xid};
use trunkline_wal::ImagePolicy;

/// Shorter common prefixes and suffixes cost as much to tell as to log.
const MIN_COMMON_BYTES: usize = 3;

/// What the infomasks say of `xmax`, in a record's form (`compute_infobits`).
fn infobits_of(tuple: HeapTupleRef<'_>) -> u8 {
    let infomask = tuple.infomask();
    let mut bits = 0;
    for (mask, bit) in [
        (HEAP_XMAX_IS_MULTI, infobits::XMAX_IS_MULTI),
        (HEAP_XMAX_LOCK_ONLY, infobits::XMAX_LOCK_ONLY),
        (HEAP_XMAX_EXCL_LOCK, infobits::XMAX_EXCL_LOCK),
        (HEAP_XMAX_KEYSHR_LOCK, infobits::XMAX_KEYSHR_LOCK),
    ] {
        if infomask & mask != 0 {
            bits |= bit;
        }
    }
    if tuple.infomask2() & HEAP_KEYS_UPDATED != 0 {
        bits |= infobits::KEYS_UPDATED;
    }
    bits
}

/// What is logged of a tuple's header.
#[inline]
pub(crate) fn logged_header(tuple: HeapTupleRef<'_>) -> LoggedTupleHeader {
    LoggedTupleHeader {
        infomask2: tuple.infomask2(),
        infomask: tuple.infomask(),
        hoff: tuple.hoff() as u8,
    }
}

#[inline]
fn logged_tuple(tuple: HeapTupleRef<'_>) -> LoggedTuple<'_> {
    LoggedTuple {
        header: logged_header(tuple),
        data: &tuple.bytes()[HEAP_TUPLE_HEADER_SIZE..],
    }
}

fn heap_page<'r>(
    page: &'r mut ExclusiveGuard<'_>,
    made_anew: bool,
    data: &'r [&'r [u8]],
) -> PageOfRecord<'r> {
    PageOfRecord {
        page: page.lend(),
        image: if made_anew {
            ImagePolicy::WillInit
        } else {
            ImagePolicy::WhenNeeded
        },
        standard: true,
        data,
        takes_lsn: true,
    }
}

/// Whether the tuple at `offset` is the first and only one of the page.
fn is_alone(page: &ExclusiveGuard<'_>, offset: OffsetNumber) -> bool {
    offset == 1 && page.page().line_pointer_count() == 1
}

fn flag_if(condition: bool, flag: u8) -> u8 {
    if condition { flag } else { 0 }
}

/// What every record needs.
pub(crate) struct Logger<'l> {
    pub(crate) pool: &'l BufferPool,
    pub(crate) section: &'l CriticalSection,
    pub(crate) xid: Xid,
}

impl Logger<'_> {
    fn record<'r>(&self, rmgr: RmgrId, info: u8, main_data: &'r [&'r [u8]]) -> ChangeRecord<'r> {
        ChangeRecord {
            rmgr,
            info,
            xid: self.xid,
            main_data,
        }
    }

    /// `tuple` was added at `offset`.
    pub(crate) fn insert(
        &self,
        io: &mut IoContext,
        page: &mut ExclusiveGuard<'_>,
        offset: OffsetNumber,
        tuple: HeapTupleRef<'_>,
        all_visible_cleared: bool,
    ) -> Result<(), BufferError> {
        let made_anew = is_alone(page, offset);
        let insert = HeapInsert {
            offset,
            flags: flag_if(all_visible_cleared, insert_flags::ALL_VISIBLE_CLEARED),
        };
        let info = heap::INSERT | flag_if(made_anew, heap::INIT_PAGE);
        let LoggedTuple { header, data } = logged_tuple(tuple);
        self.section.log(
            self.pool,
            io,
            self.record(RmgrId::HEAP, info, &[&insert.encode()]),
            &mut [heap_page(page, made_anew, &[&header.encode(), data])],
        )
    }

    /// The tuple at `offset` was deleted.
    pub(crate) fn delete(
        &self,
        io: &mut IoContext,
        page: &mut ExclusiveGuard<'_>,
        offset: OffsetNumber,
        tuple: HeapDelete<'_>,
    ) -> Result<(), BufferError> {
        debug_assert_eq!(tuple.offset, offset);
        self.section.log(
            self.pool,
            io,
            self.record(RmgrId::HEAP, heap::DELETE, &[&tuple.encode()]),
            &mut [heap_page(page, false, &[])],
        )
    }

    /// The old tuple was replaced by `tuple`, on the same page if there is no `new_page`.
    pub(crate) fn update(
        &self,
        io: &mut IoContext,
        old_page: &mut ExclusiveGuard<'_>,
        new_page: Option<&mut ExclusiveGuard<'_>>,
        update: HeapUpdate<'_>,
        tuple: HeapTupleRef<'_>,
        common: Common,
    ) -> Result<(), BufferError> {
        let made_anew = new_page
            .as_ref()
            .is_some_and(|page| is_alone(page, update.new_offset));
        let Common { prefix, suffix } = common;
        let update = HeapUpdate {
            flags: update.flags
                | flag_if(prefix > 0, update_flags::PREFIX_FROM_OLD)
                | flag_if(suffix > 0, update_flags::SUFFIX_FROM_OLD),
            ..update
        };
        let (length, start) = UpdatedTuple {
            prefix: (prefix > 0).then_some(prefix),
            suffix: (suffix > 0).then_some(suffix),
            tuple: logged_tuple(tuple),
        }
        .encode_header();
        let bytes = tuple.bytes();
        let end = bytes.len() - usize::from(suffix);
        // With a prefix what lies before it, the null bitmap, and what lies behind; else all at once.
        let (before, rest) = if prefix > 0 {
            let data = tuple.hoff();
            let before = &bytes[HEAP_TUPLE_HEADER_SIZE..data];
            (before, &bytes[data + usize::from(prefix)..end])
        } else {
            (&[][..], &bytes[HEAP_TUPLE_HEADER_SIZE..end])
        };
        let data = [&start[..length], before, rest];
        let info = heap::UPDATE | flag_if(made_anew, heap::INIT_PAGE);
        let main_data = update.encode();
        let record_data = [&main_data[..]];
        let record = self.record(RmgrId::HEAP, info, &record_data);
        match new_page {
            None => {
                let pages = &mut [heap_page(old_page, false, &data)];
                self.section.log(self.pool, io, record, pages)
            }
            Some(new_page) => {
                let pages = &mut [
                    heap_page(new_page, made_anew, &data),
                    heap_page(old_page, false, &[]),
                ];
                self.section.log(self.pool, io, record, pages)
            }
        }
    }

    /// Several tuples were added.
    pub(crate) fn multi_insert(
        &self,
        io: &mut IoContext,
        page: &mut ExclusiveGuard<'_>,
        insert: &HeapMultiInsert,
        made_anew: bool,
        tuples: &[u8],
    ) -> Result<(), BufferError> {
        let info = heap2::MULTI_INSERT | flag_if(made_anew, heap::INIT_PAGE);
        self.section.log(
            self.pool,
            io,
            self.record(RmgrId::HEAP2, info, &[&insert.encode()]),
            &mut [heap_page(page, made_anew, &[tuples])],
        )
    }

    /// The page was marked all-visible, and its bits set in the visibility map.
    pub(crate) fn visible(
        &self,
        io: &mut IoContext,
        map: &mut ExclusiveGuard<'_>,
        page: &mut ExclusiveGuard<'_>,
        visible: HeapVisible,
    ) -> Result<(), BufferError> {
        // The mark on the page is as good as a hint: with checksums the page must not be torn by it.
        let protected = self.pool.config().data_checksums;
        let map = PageOfRecord {
            page: map.lend(),
            image: ImagePolicy::WhenNeeded,
            standard: false,
            data: &[],
            takes_lsn: true,
        };
        let page = PageOfRecord {
            page: page.lend(),
            image: if protected {
                ImagePolicy::WhenNeeded
            } else {
                ImagePolicy::Never
            },
            standard: true,
            data: &[],
            takes_lsn: protected,
        };
        self.section.log(
            self.pool,
            io,
            self.record(RmgrId::HEAP2, heap2::VISIBLE, &[&visible.encode()]),
            &mut [map, page],
        )
    }
}

/// A deletion or an update of `tuple`, which is stamped already, for its record.
pub(crate) fn deletion(
    tuple: HeapTupleRef<'_>,
    offset: OffsetNumber,
    flags: u8,
) -> HeapDelete<'static> {
    HeapDelete {
        xmax: tuple.xmax(),
        offset,
        infobits: infobits_of(tuple),
        flags,
        old_tuple: None,
    }
}

/// What an updated tuple has in common with its old version on the same page, in bytes of the data;
/// it need not be logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Common {
    prefix: u16,
    suffix: u16,
}

impl Common {
    /// Of `old` and `new`.
    pub(crate) fn of(old: HeapTupleRef<'_>, new: HeapTupleRef<'_>) -> Common {
        let (old, new) = (old.data(), new.data());
        let same = |(a, b): &(&u8, &u8)| a == b;
        let worth = |bytes: usize| {
            if bytes < MIN_COMMON_BYTES { 0 } else { bytes }
        };
        let prefix = worth(old.iter().zip(new).take_while(same).count());
        let left = old.len().min(new.len()) - prefix;
        let backwards = old.iter().rev().zip(new.iter().rev());
        let suffix = worth(backwards.take(left).take_while(same).count());
        Common {
            prefix: prefix as u16,
            suffix: suffix as u16,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trunkline_pgformat::{HeapTupleHeader, ItemPointer};

    fn tuple(data: &[u8]) -> Vec<u8> {
        let header = HeapTupleHeader {
            xmin: Xid(3),
            xmax: Xid::INVALID,
            field3: 0,
            ctid: ItemPointer::INVALID,
            infomask2: 1,
            infomask: 0,
            hoff: 24,
        };
        let mut bytes = header.to_bytes().to_vec();
        bytes.push(0);
        bytes.extend_from_slice(data);
        bytes
    }

    fn common(old: &[u8], new: &[u8]) -> (u16, u16) {
        let (old, new) = (tuple(old), tuple(new));
        let common = Common::of(
            HeapTupleRef::new(&old).unwrap(),
            HeapTupleRef::new(&new).unwrap(),
        );
        (common.prefix, common.suffix)
    }

    #[test]
    fn prefix_and_suffix_never_overlap_and_short_ones_are_not_worth_it() {
        assert_eq!(common(b"aaaaaa", b"aaaaaa"), (6, 0));
        assert_eq!(common(b"aaaaaaa", b"aaaa"), (4, 0));
        assert_eq!(common(b"abcdefgh", b"abcXefgh"), (3, 4));
        assert_eq!(common(b"abcdefgh", b"abXXefgh"), (0, 4));
        assert_eq!(common(b"abcdefgh", b"abcdefXh"), (6, 0));
        // Too short a prefix leaves its bytes to the suffix.
        assert_eq!(common(b"aaXaa", b"aaaa"), (0, 0));
        assert_eq!(common(b"xxaaaa", b"xxyaaaa"), (0, 4));
        assert_eq!(common(b"", b"abc"), (0, 0));
    }
}
