//! The heap tuple: header, null bitmap, data (`access/htup_details.h`).
//!
//! ```text
//!  0      4      8               12     18          20         22     23
//! | xmin | xmax | cid / xvac    | ctid | infomask2 | infomask | hoff | null bitmap | pad | data
//! ```
//!
//! The bitmap is there if `HEAP_HASNULL` is set, one bit an attribute, a set bit meaning *not*
//! null; the data begins at `hoff`, a multiple of eight.
//!
//! [`HeapTupleRef`] and [`HeapTupleMut`] are views of a whole tuple; making one checks the header
//! against the tuple's length once. [`HeapTupleHeader`] is the fixed part as a value.

use crate::align::max_align;
use crate::ids::{BLCKSZ, CommandId, Xid};
use crate::item_pointer::ItemPointer;
use crate::line_pointer::LINE_POINTER_SIZE;
use crate::page::PAGE_HEADER_SIZE;
use thiserror::Error;

/// Bytes of the fixed part (`SizeofHeapTupleHeader`).
pub const HEAP_TUPLE_HEADER_SIZE: usize = 23;

/// The longest tuple that a page takes (`MaxHeapTupleSize`).
pub const MAX_HEAP_TUPLE_SIZE: usize = BLCKSZ - max_align(PAGE_HEADER_SIZE + LINE_POINTER_SIZE);

/// The most columns that a table may have (`MaxHeapAttributeNumber`).
pub const MAX_HEAP_ATTRIBUTE_NUMBER: usize = 1600;

/// Has null attributes, and so a bitmap.
pub const HEAP_HASNULL: u16 = 0x0001;
/// Has variable-width attributes.
pub const HEAP_HASVARWIDTH: u16 = 0x0002;
/// Has attributes stored outside.
pub const HEAP_HASEXTERNAL: u16 = 0x0004;
/// Has an object id (before PostgreSQL 12).
pub const HEAP_HASOID_OLD: u16 = 0x0008;
/// `xmax` is a key-shared locker.
pub const HEAP_XMAX_KEYSHR_LOCK: u16 = 0x0010;
/// The third field is a combo command id.
pub const HEAP_COMBOCID: u16 = 0x0020;
/// `xmax` is an exclusive locker.
pub const HEAP_XMAX_EXCL_LOCK: u16 = 0x0040;
/// `xmax`, if valid, only locks.
pub const HEAP_XMAX_LOCK_ONLY: u16 = 0x0080;
/// `xmax` is a shared locker.
pub const HEAP_XMAX_SHR_LOCK: u16 = HEAP_XMAX_EXCL_LOCK | HEAP_XMAX_KEYSHR_LOCK;
/// Any of the lock strengths.
pub const HEAP_LOCK_MASK: u16 = HEAP_XMAX_SHR_LOCK;
/// `xmin` is known to have committed.
pub const HEAP_XMIN_COMMITTED: u16 = 0x0100;
/// `xmin` is known to have aborted, or is invalid.
pub const HEAP_XMIN_INVALID: u16 = 0x0200;
/// `xmin` precedes every snapshot: both of its status bits.
pub const HEAP_XMIN_FROZEN: u16 = HEAP_XMIN_COMMITTED | HEAP_XMIN_INVALID;
/// `xmax` is known to have committed.
pub const HEAP_XMAX_COMMITTED: u16 = 0x0400;
/// `xmax` is known to have aborted, or is invalid.
pub const HEAP_XMAX_INVALID: u16 = 0x0800;
/// `xmax` is a multixact.
pub const HEAP_XMAX_IS_MULTI: u16 = 0x1000;
/// This is a new version of an updated row.
pub const HEAP_UPDATED: u16 = 0x2000;
/// Moved by an old VACUUM FULL (before PostgreSQL 9.0).
pub const HEAP_MOVED_OFF: u16 = 0x4000;
/// Moved by an old VACUUM FULL (before PostgreSQL 9.0).
pub const HEAP_MOVED_IN: u16 = 0x8000;
/// Either kind of move.
pub const HEAP_MOVED: u16 = HEAP_MOVED_OFF | HEAP_MOVED_IN;
/// The bits that say how visible the tuple is.
pub const HEAP_XACT_MASK: u16 = 0xfff0;
/// The bits that say what `xmax` is and does.
pub const HEAP_XMAX_BITS: u16 = HEAP_XMAX_COMMITTED
    | HEAP_XMAX_INVALID
    | HEAP_XMAX_IS_MULTI
    | HEAP_LOCK_MASK
    | HEAP_XMAX_LOCK_ONLY;

/// In `infomask2`: the number of attributes.
pub const HEAP_NATTS_MASK: u16 = 0x07ff;
/// In `infomask2`: updated with key columns changed, or deleted.
pub const HEAP_KEYS_UPDATED: u16 = 0x2000;
/// In `infomask2`: updated in the same page without new index entries.
pub const HEAP_HOT_UPDATED: u16 = 0x4000;
/// In `infomask2`: no index entry leads here.
pub const HEAP_ONLY_TUPLE: u16 = 0x8000;

const XMIN: usize = 0;
const XMAX: usize = 4;
const FIELD3: usize = 8;
const CTID: usize = 12;
const INFOMASK2: usize = 18;
const INFOMASK: usize = 20;
const HOFF: usize = 22;

/// Why bytes are no heap tuple.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum HeapTupleError {
    /// Not even a header.
    #[error("tuple of {length} bytes is shorter than its header")]
    TooShort {
        /// Bytes of the item.
        length: usize,
    },
    /// The data does not begin where a header with this many attributes ends, or not in the tuple.
    #[error("tuple data begins at offset {hoff} of {length} bytes, but its header takes {needed}")]
    HeaderOffset {
        /// `t_hoff` as found.
        hoff: u8,
        /// Bytes of the item.
        length: usize,
        /// The least that it could be.
        needed: usize,
    },
}

/// Bytes of the null bitmap of `attribute_count` attributes (`BITMAPLEN`).
#[inline]
pub const fn null_bitmap_size(attribute_count: usize) -> usize {
    attribute_count.div_ceil(8)
}

/// Offset of the data in a tuple, what `t_hoff` becomes when a tuple is formed.
#[inline]
pub const fn data_offset(attribute_count: usize, has_nulls: bool) -> usize {
    let bitmap = if has_nulls {
        null_bitmap_size(attribute_count)
    } else {
        0
    };
    max_align(HEAP_TUPLE_HEADER_SIZE + bitmap)
}

/// Whether `infomask` says that `xmin` precedes every snapshot (`HeapTupleHeaderXminFrozen`).
#[inline]
pub const fn xmin_is_frozen(infomask: u16) -> bool {
    infomask & HEAP_XMIN_FROZEN == HEAP_XMIN_FROZEN
}

/// Whether `infomask` says that `xmax` locks and changes nothing (`HEAP_XMAX_IS_LOCKED_ONLY`).
#[inline]
pub const fn xmax_is_locked_only(infomask: u16) -> bool {
    infomask & HEAP_XMAX_LOCK_ONLY != 0
        || infomask & (HEAP_XMAX_IS_MULTI | HEAP_LOCK_MASK) == HEAP_XMAX_EXCL_LOCK
}

/// The fixed part of a tuple's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeapTupleHeader {
    /// The inserting transaction.
    pub xmin: Xid,
    /// The deleting or locking transaction, or a multixact.
    pub xmax: Xid,
    /// Inserting or deleting command, or a combo command id, or an old VACUUM's xid.
    pub field3: u32,
    /// This tuple's place, or that of its newer version.
    pub ctid: ItemPointer,
    /// Attribute count and `HEAP_*` bits.
    pub infomask2: u16,
    /// `HEAP_*` bits.
    pub infomask: u16,
    /// Offset of the data.
    pub hoff: u8,
}

impl HeapTupleHeader {
    /// The header that `bytes` hold; [`HeapTupleRef`] is the way to one that fits its tuple.
    #[inline]
    pub fn from_bytes(bytes: &[u8; HEAP_TUPLE_HEADER_SIZE]) -> HeapTupleHeader {
        let tuple = HeapTupleRef(bytes);
        HeapTupleHeader {
            xmin: tuple.xmin(),
            xmax: tuple.xmax(),
            field3: tuple.field3(),
            ctid: tuple.ctid(),
            infomask2: tuple.infomask2(),
            infomask: tuple.infomask(),
            hoff: bytes[HOFF],
        }
    }

    /// The bytes on disk.
    #[inline]
    pub fn to_bytes(&self) -> [u8; HEAP_TUPLE_HEADER_SIZE] {
        let mut bytes = [0; HEAP_TUPLE_HEADER_SIZE];
        let mut tuple = HeapTupleMut(&mut bytes);
        tuple.set_xmin(self.xmin);
        tuple.set_xmax(self.xmax);
        tuple.set_field3(self.field3);
        tuple.set_ctid(self.ctid);
        tuple.set_infomask2(self.infomask2);
        tuple.set_infomask(self.infomask);
        bytes[HOFF] = self.hoff;
        bytes
    }
}

/// Checks what the accessors of a view rely on.
fn check(tuple: &[u8]) -> Result<(), HeapTupleError> {
    let length = tuple.len();
    if length < HEAP_TUPLE_HEADER_SIZE {
        return Err(HeapTupleError::TooShort { length });
    }
    let view = HeapTupleRef(tuple);
    let needed = data_offset(usize::from(view.attribute_count()), view.has_nulls());
    let hoff = tuple[HOFF];
    if usize::from(hoff) < needed
        || usize::from(hoff) > length
        || usize::from(hoff) != max_align(usize::from(hoff))
    {
        return Err(HeapTupleError::HeaderOffset {
            hoff,
            length,
            needed,
        });
    }
    Ok(())
}

/// A heap tuple to read. Invariant: its header, bitmap included, lies within its bytes.
#[derive(Clone, Copy)]
pub struct HeapTupleRef<'a>(&'a [u8]);

impl<'a> HeapTupleRef<'a> {
    /// A view of the tuple that `bytes`, an item of a page, hold.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Result<HeapTupleRef<'a>, HeapTupleError> {
        check(bytes)?;
        Ok(HeapTupleRef(bytes))
    }

    /// The whole tuple.
    #[inline]
    pub const fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// The fixed part as a value.
    #[inline]
    pub fn header(self) -> HeapTupleHeader {
        HeapTupleHeader {
            xmin: self.xmin(),
            xmax: self.xmax(),
            field3: self.field3(),
            ctid: self.ctid(),
            infomask2: self.infomask2(),
            infomask: self.infomask(),
            hoff: self.0[HOFF],
        }
    }

    #[inline]
    fn u32_at(self, at: usize) -> u32 {
        u32::from_le_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
    }

    #[inline]
    fn u16_at(self, at: usize) -> u16 {
        u16::from_le_bytes([self.0[at], self.0[at + 1]])
    }

    /// The inserting transaction as stored, even if frozen (`HeapTupleHeaderGetRawXmin`).
    #[inline]
    pub fn xmin(self) -> Xid {
        Xid(self.u32_at(XMIN))
    }

    /// The deleting or locking transaction or multixact (`HeapTupleHeaderGetRawXmax`).
    #[inline]
    pub fn xmax(self) -> Xid {
        Xid(self.u32_at(XMAX))
    }

    /// Command id, combo command id or old VACUUM's xid.
    #[inline]
    pub fn field3(self) -> u32 {
        self.u32_at(FIELD3)
    }

    /// The command id, which may be a combo one (`HeapTupleHeaderGetRawCommandId`).
    #[inline]
    pub fn command_id(self) -> CommandId {
        self.field3()
    }

    /// This tuple's place or its newer version's.
    #[inline]
    pub fn ctid(self) -> ItemPointer {
        let t = self.0;
        ItemPointer::from_bytes([
            t[CTID],
            t[CTID + 1],
            t[CTID + 2],
            t[CTID + 3],
            t[CTID + 4],
            t[CTID + 5],
        ])
    }

    /// Attribute count and `HEAP_*` bits.
    #[inline]
    pub fn infomask2(self) -> u16 {
        self.u16_at(INFOMASK2)
    }

    /// `HEAP_*` bits.
    #[inline]
    pub fn infomask(self) -> u16 {
        self.u16_at(INFOMASK)
    }

    /// Offset of the data in the tuple.
    #[inline]
    pub fn hoff(self) -> usize {
        usize::from(self.0[HOFF])
    }

    /// How many attributes the tuple has; later ones of its table are null or have their default.
    #[inline]
    pub fn attribute_count(self) -> u16 {
        self.infomask2() & HEAP_NATTS_MASK
    }

    /// Whether there is a null bitmap.
    #[inline]
    pub fn has_nulls(self) -> bool {
        self.infomask() & HEAP_HASNULL != 0
    }

    /// The null bitmap, if there is one: bit `n % 8` of byte `n / 8` is clear if attribute `n`,
    /// from zero, is null.
    #[inline]
    pub fn null_bitmap(self) -> Option<&'a [u8]> {
        if !self.has_nulls() {
            return None;
        }
        let size = null_bitmap_size(usize::from(self.attribute_count()));
        self.0
            .get(HEAP_TUPLE_HEADER_SIZE..HEAP_TUPLE_HEADER_SIZE + size)
    }

    /// Whether attribute `index`, from zero, is null; attributes past the tuple's last are.
    #[inline]
    pub fn is_null(self, index: usize) -> bool {
        if index >= usize::from(self.attribute_count()) {
            return true;
        }
        match self.null_bitmap() {
            None => false,
            Some(bitmap) => bitmap
                .get(index / 8)
                .is_none_or(|byte| byte >> (index % 8) & 1 == 0),
        }
    }

    /// The attributes' values.
    #[inline]
    pub fn data(self) -> &'a [u8] {
        &self.0[self.hoff()..]
    }

    /// Whether `xmin` precedes every snapshot.
    #[inline]
    pub fn xmin_is_frozen(self) -> bool {
        xmin_is_frozen(self.infomask())
    }

    /// Whether `xmin` is known to have committed.
    #[inline]
    pub fn xmin_is_committed(self) -> bool {
        self.infomask() & HEAP_XMIN_COMMITTED != 0
    }

    /// Whether `xmin` is known to have aborted.
    #[inline]
    pub fn xmin_is_invalid(self) -> bool {
        self.infomask() & HEAP_XMIN_FROZEN == HEAP_XMIN_INVALID
    }

    /// Whether no index entry leads here.
    #[inline]
    pub fn is_heap_only(self) -> bool {
        self.infomask2() & HEAP_ONLY_TUPLE != 0
    }

    /// Whether the newer version is a heap-only tuple of the same page
    /// (`HeapTupleHeaderIsHotUpdated`).
    #[inline]
    pub fn is_hot_updated(self) -> bool {
        self.infomask2() & HEAP_HOT_UPDATED != 0
            && self.infomask() & HEAP_XMAX_INVALID == 0
            && !self.xmin_is_invalid()
    }
}

/// A heap tuple whose header is to change. Invariant: as of [`HeapTupleRef`].
pub struct HeapTupleMut<'a>(&'a mut [u8]);

impl<'a> HeapTupleMut<'a> {
    /// A view of the tuple that `bytes`, an item of a page or a tuple just formed, hold.
    #[inline]
    pub fn new(bytes: &'a mut [u8]) -> Result<HeapTupleMut<'a>, HeapTupleError> {
        check(bytes)?;
        Ok(HeapTupleMut(bytes))
    }

    /// The tuple to read.
    #[inline]
    pub const fn view(&self) -> HeapTupleRef<'_> {
        HeapTupleRef(self.0)
    }

    /// The attributes' values, to change in place.
    #[inline]
    pub fn data_mut(&mut self) -> &mut [u8] {
        let hoff = self.view().hoff();
        &mut self.0[hoff..]
    }

    /// Sets the inserting transaction.
    #[inline]
    pub fn set_xmin(&mut self, xid: Xid) {
        self.put_u32(XMIN, xid.0);
    }

    /// Sets the deleting or locking transaction.
    #[inline]
    pub fn set_xmax(&mut self, xid: Xid) {
        self.put_u32(XMAX, xid.0);
    }

    /// Sets the field that command ids and an old VACUUM's xid share.
    #[inline]
    pub fn set_field3(&mut self, value: u32) {
        self.put_u32(FIELD3, value);
    }

    /// Sets the command id and says that it is no combo one (`HeapTupleHeaderSetCmin`).
    #[inline]
    pub fn set_command_id(&mut self, command: CommandId) {
        self.set_field3(command);
        self.set_infomask(self.view().infomask() & !HEAP_COMBOCID);
    }

    /// Sets the place of this tuple or of its newer version.
    #[inline]
    pub fn set_ctid(&mut self, ctid: ItemPointer) {
        self.0[CTID..CTID + 6].copy_from_slice(&ctid.to_bytes());
    }

    /// Sets the bits of `infomask2` other than the attribute count.
    #[inline]
    pub fn set_infomask2_bits(&mut self, on: u16, off: u16) {
        let (on, off) = (on & !HEAP_NATTS_MASK, off & !HEAP_NATTS_MASK);
        self.set_infomask2(self.view().infomask2() & !off | on);
    }

    /// Sets and clears bits of `infomask` that do not change the header's length.
    #[inline]
    pub fn set_infomask_bits(&mut self, on: u16, off: u16) {
        let (on, off) = (on & !HEAP_HASNULL, off & !HEAP_HASNULL);
        self.set_infomask(self.view().infomask() & !off | on);
    }

    /// Stamps a tuple just formed as a new row of `xmin`, as an insert does: no `xmax`, place
    /// `ctid`; `xmin_bits` are `HEAP_XMIN_FROZEN` for a frozen load, else zero.
    #[inline]
    pub fn stamp_inserted(
        &mut self,
        xmin: Xid,
        command: CommandId,
        ctid: ItemPointer,
        xmin_bits: u16,
    ) {
        self.set_xmin(xmin);
        self.set_xmax(Xid::INVALID);
        self.set_field3(command);
        self.set_ctid(ctid);
        self.set_infomask2(self.view().attribute_count());
        let kept = self.view().infomask() & !HEAP_XACT_MASK;
        self.set_infomask(kept | HEAP_XMAX_INVALID | xmin_bits & HEAP_XMIN_FROZEN);
    }

    #[inline]
    fn set_infomask2(&mut self, value: u16) {
        self.0[INFOMASK2..INFOMASK2 + 2].copy_from_slice(&value.to_le_bytes());
    }

    #[inline]
    fn set_infomask(&mut self, value: u16) {
        self.0[INFOMASK..INFOMASK + 2].copy_from_slice(&value.to_le_bytes());
    }

    #[inline]
    fn put_u32(&mut self, at: usize, value: u32) {
        self.0[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(infomask2: u16, infomask: u16, hoff: u8) -> HeapTupleHeader {
        HeapTupleHeader {
            xmin: Xid(0x0403_0201),
            xmax: Xid(7),
            field3: 9,
            ctid: ItemPointer::new(1, 2),
            infomask2,
            infomask,
            hoff,
        }
    }

    #[test]
    fn sizes_are_postgresql_s() {
        assert_eq!(MAX_HEAP_TUPLE_SIZE, 8160);
        assert_eq!(data_offset(0, false), 24);
        assert_eq!(data_offset(8, true), 24);
        assert_eq!(data_offset(9, true), 32);
        assert_eq!(data_offset(1600, true), 224);
    }

    #[test]
    fn the_bitmap_says_what_is_null() {
        let mut tuple = header(10, HEAP_HASNULL, 32).to_bytes().to_vec();
        tuple.extend([0b1111_1101, 0b01]);
        tuple.resize(32, 0);
        tuple.extend(b"data");
        let view = HeapTupleRef::new(&tuple).unwrap();
        assert_eq!(view.null_bitmap(), Some(&[0b1111_1101, 0b01][..]));
        let nulls: Vec<_> = (0..12).filter(|index| view.is_null(*index)).collect();
        assert_eq!(nulls, [1, 9, 10, 11]);
        assert_eq!(view.data(), b"data");
        assert_eq!(view.header(), header(10, HEAP_HASNULL, 32));
    }

    #[test]
    fn a_header_that_does_not_fit_is_refused() {
        let short = HeapTupleRef::new(&[0; 22]).err();
        assert_eq!(short, Some(HeapTupleError::TooShort { length: 22 }));
        for (infomask2, infomask, hoff) in [
            (1, 0, 16),
            (1, 0, 25),
            (1, 0, 48),
            (9, HEAP_HASNULL, 24),
            (0x07ff, HEAP_HASNULL, 32),
        ] {
            let mut tuple = header(infomask2, infomask, hoff).to_bytes().to_vec();
            tuple.resize(40, 0);
            assert!(HeapTupleRef::new(&tuple).is_err(), "{infomask2} {hoff}");
            assert!(HeapTupleMut::new(&mut tuple).is_err());
        }
    }

    #[test]
    fn stamping_keeps_what_forming_decided() {
        let formed = HEAP_HASNULL | HEAP_HASVARWIDTH;
        let mut tuple = header(3 | HEAP_ONLY_TUPLE, formed | HEAP_UPDATED, 24)
            .to_bytes()
            .to_vec();
        tuple.resize(30, 0b111);
        let mut view = HeapTupleMut::new(&mut tuple).unwrap();
        view.stamp_inserted(Xid(800), 5, ItemPointer::new(4, 6), HEAP_XMIN_FROZEN);
        let stamped = view.view().header();
        assert_eq!((stamped.xmin, stamped.xmax), (Xid(800), Xid::INVALID));
        assert_eq!((stamped.field3, stamped.infomask2), (5, 3));
        assert_eq!(stamped.ctid, ItemPointer::new(4, 6));
        assert_eq!(
            stamped.infomask,
            formed | HEAP_XMAX_INVALID | HEAP_XMIN_FROZEN
        );
        assert!(view.view().xmin_is_frozen() && !view.view().xmin_is_invalid());
    }

    #[test]
    fn bits_are_set_and_cleared_without_moving_the_data() {
        let mut tuple = header(3, 0, 24).to_bytes().to_vec();
        tuple.resize(30, 0);
        let mut view = HeapTupleMut::new(&mut tuple).unwrap();
        view.set_infomask_bits(HEAP_XMIN_COMMITTED | HEAP_HASNULL, HEAP_XMAX_BITS);
        view.set_infomask2_bits(HEAP_HOT_UPDATED | 0x7ff, 0);
        assert_eq!(view.view().infomask(), HEAP_XMIN_COMMITTED);
        assert_eq!(view.view().infomask2(), HEAP_HOT_UPDATED | 3);
        assert!(view.view().is_hot_updated());
    }

    #[test]
    fn lockers_are_told_from_updaters() {
        assert!(xmax_is_locked_only(
            HEAP_XMAX_LOCK_ONLY | HEAP_XMAX_SHR_LOCK
        ));
        assert!(xmax_is_locked_only(HEAP_XMAX_EXCL_LOCK));
        assert!(!xmax_is_locked_only(
            HEAP_XMAX_EXCL_LOCK | HEAP_XMAX_IS_MULTI
        ));
        assert!(!xmax_is_locked_only(0));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..320),
            hoff in prop_oneof![Just(24_u8), Just(32), any::<u8>()],
            index in any::<usize>(),
        ) {
            let mut bytes = bytes;
            if bytes.len() > HOFF {
                bytes[HOFF] = hoff;
            }
            if let Ok(view) = HeapTupleRef::new(&bytes) {
                let _ = (view.null_bitmap(), view.data(), view.is_null(index));
                for index in 0..usize::from(view.attribute_count()) {
                    let _ = view.is_null(index);
                }
                let header = view.header();
                prop_assert_eq!(&header.to_bytes()[..], &bytes[..HEAP_TUPLE_HEADER_SIZE]);
            }
        }
    }
}
