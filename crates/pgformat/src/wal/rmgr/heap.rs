//! Tables (`heapdesc.c`, `access/heapam_xlog.h`).
//!
//! A tuple is logged without what redo knows from elsewhere: of its header [`LoggedTupleHeader`]
//! is kept, and the bytes from the 23rd on follow, the null bitmap first.

use super::standby::Invalidations;
use super::{PayloadError, found, text};
use crate::ids::{OffsetNumber, Oid, Xid};
use crate::wal::cursor::Cursor;
use crate::wal::decode::DecodedRecord;
use crate::wal::info::heap::*;

/// Where what is logged of a tuple begins (`SizeofHeapTupleHeader`).
pub const LOGGED_TUPLE_OFFSET: usize = 23;

/// Flags of an insertion, single or multiple (`XLH_INSERT_*`).
pub mod insert_flags {
    /// The page was all-visible.
    pub const ALL_VISIBLE_CLEARED: u8 = 1 << 0;
    /// The last record of a multiple insertion.
    pub const LAST_IN_MULTI: u8 = 1 << 1;
    /// The insertion may be taken back.
    pub const IS_SPECULATIVE: u8 = 1 << 2;
    /// The tuple is there even if the page is, for logical decoding.
    pub const CONTAINS_NEW_TUPLE: u8 = 1 << 3;
    /// The relation is a TOAST table.
    pub const ON_TOAST_RELATION: u8 = 1 << 4;
    /// The page became all-frozen.
    pub const ALL_FROZEN_SET: u8 = 1 << 5;
}

/// Flags of an update (`XLH_UPDATE_*`).
pub mod update_flags {
    /// The old tuple's page was all-visible.
    pub const OLD_ALL_VISIBLE_CLEARED: u8 = 1 << 0;
    /// The new tuple's page was all-visible.
    pub const NEW_ALL_VISIBLE_CLEARED: u8 = 1 << 1;
    /// The old tuple is there.
    pub const CONTAINS_OLD_TUPLE: u8 = 1 << 2;
    /// The old tuple's key is there.
    pub const CONTAINS_OLD_KEY: u8 = 1 << 3;
    /// The new tuple is there even if its page is, for logical decoding.
    pub const CONTAINS_NEW_TUPLE: u8 = 1 << 4;
    /// The new tuple begins like the old one.
    pub const PREFIX_FROM_OLD: u8 = 1 << 5;
    /// The new tuple ends like the old one.
    pub const SUFFIX_FROM_OLD: u8 = 1 << 6;
}

/// Flags of a deletion (`XLH_DELETE_*`).
pub mod delete_flags {
    /// The page was all-visible.
    pub const ALL_VISIBLE_CLEARED: u8 = 1 << 0;
    /// The old tuple is there.
    pub const CONTAINS_OLD_TUPLE: u8 = 1 << 1;
    /// The old tuple's key is there.
    pub const CONTAINS_OLD_KEY: u8 = 1 << 2;
    /// A speculative insertion is taken back.
    pub const IS_SUPER: u8 = 1 << 3;
    /// The row moves to another partition.
    pub const IS_PARTITION_MOVE: u8 = 1 << 4;
}

/// What a tuple's infomasks say of `xmax`, in one byte (`XLHL_*`).
pub mod infobits {
    /// `xmax` is a multixact.
    pub const XMAX_IS_MULTI: u8 = 0x01;
    /// `xmax` only locks.
    pub const XMAX_LOCK_ONLY: u8 = 0x02;
    /// `xmax` locks exclusively.
    pub const XMAX_EXCL_LOCK: u8 = 0x04;
    /// `xmax` locks for key share.
    pub const XMAX_KEYSHR_LOCK: u8 = 0x08;
    /// The key was updated.
    pub const KEYS_UPDATED: u8 = 0x10;
}

/// Flag of a lock: the page was all-frozen (`XLH_LOCK_ALL_FROZEN_CLEARED`).
pub const LOCK_ALL_FROZEN_CLEARED: u8 = 0x01;

/// What is logged of a tuple's header (`xl_heap_header`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LoggedTupleHeader {
    /// `t_infomask2`.
    pub infomask2: u16,
    /// `t_infomask`.
    pub infomask: u16,
    /// `t_hoff`.
    pub hoff: u8,
}

impl LoggedTupleHeader {
    pub(super) fn take(cursor: &mut Cursor<'_>) -> Option<LoggedTupleHeader> {
        Some(LoggedTupleHeader {
            infomask2: cursor.u16()?,
            infomask: cursor.u16()?,
            hoff: cursor.u8()?,
        })
    }

    /// The header's bytes.
    pub fn encode(&self) -> [u8; 5] {
        let [a, b] = self.infomask2.to_le_bytes();
        let [c, d] = self.infomask.to_le_bytes();
        [a, b, c, d, self.hoff]
    }
}

/// What is logged of a tuple.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LoggedTuple<'a> {
    /// Of its header.
    pub header: LoggedTupleHeader,
    /// Its bytes from [`LOGGED_TUPLE_OFFSET`] on.
    pub data: &'a [u8],
}

impl<'a> LoggedTuple<'a> {
    /// Parses block 0's data of an insertion; the tuple goes to their end.
    pub fn decode(data: &'a [u8]) -> Result<LoggedTuple<'a>, PayloadError> {
        let mut cursor = Cursor::new(data);
        let header = found(LoggedTupleHeader::take(&mut cursor), "xl_heap_header")?;
        let data = cursor.rest();
        Ok(LoggedTuple { header, data })
    }
}

/// A tuple was added (`xl_heap_insert`); block 0's data are a [`LoggedTuple`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeapInsert {
    /// Its line pointer.
    pub offset: OffsetNumber,
    /// See [`insert_flags`].
    pub flags: u8,
}

impl HeapInsert {
    /// Parses the main data.
    pub fn decode(data: &[u8]) -> Result<HeapInsert, PayloadError> {
        let decode = || {
            let mut cursor = Cursor::new(data);
            let insert = HeapInsert {
                offset: cursor.u16()?,
                flags: cursor.u8()?,
            };
            cursor.end()?;
            Some(insert)
        };
        found(decode(), "xl_heap_insert")
    }

    /// The main data.
    pub fn encode(&self) -> [u8; 3] {
        let [a, b] = self.offset.to_le_bytes();
        [a, b, self.flags]
    }
}

/// A tuple was deleted (`xl_heap_delete`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeapDelete<'a> {
    /// The tuple's new `xmax`.
    pub xmax: Xid,
    /// Its line pointer.
    pub offset: OffsetNumber,
    /// See [`infobits`].
    pub infobits: u8,
    /// See [`delete_flags`].
    pub flags: u8,
    /// The old tuple or its key, if the flags say so.
    pub old_tuple: Option<LoggedTuple<'a>>,
}

impl<'a> HeapDelete<'a> {
    /// Parses the main data.
    pub fn decode(data: &'a [u8]) -> Result<HeapDelete<'a>, PayloadError> {
        let decode = || {
            let mut cursor = Cursor::new(data);
            let (xmax, offset) = (cursor.xid()?, cursor.u16()?);
            let (infobits, flags) = (cursor.u8()?, cursor.u8()?);
            let old = delete_flags::CONTAINS_OLD_TUPLE | delete_flags::CONTAINS_OLD_KEY;
            Some(HeapDelete {
                xmax,
                offset,
                infobits,
                flags,
                old_tuple: take_old_tuple(cursor, flags & old != 0)?,
            })
        };
        found(decode(), "xl_heap_delete")
    }

    /// The main data before the old tuple.
    pub fn encode(&self) -> [u8; 8] {
        let mut data = [0; 8];
        data[..4].copy_from_slice(&self.xmax.0.to_le_bytes());
        data[4..6].copy_from_slice(&self.offset.to_le_bytes());
        data[6..].copy_from_slice(&[self.infobits, self.flags]);
        data
    }
}

/// The old tuple at the end of main data, if it `is_there`; else that is the end.
fn take_old_tuple(mut cursor: Cursor<'_>, is_there: bool) -> Option<Option<LoggedTuple<'_>>> {
    if !is_there {
        return cursor.end().map(|()| None);
    }
    let header = LoggedTupleHeader::take(&mut cursor)?;
    let data = cursor.rest();
    Some(Some(LoggedTuple { header, data }))
}

/// A tuple was replaced (`xl_heap_update`), on its page or on another. Block 0 is the new tuple's
/// page, its data are an [`UpdatedTuple`]; block 1 is the old tuple's page, if it is another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeapUpdate<'a> {
    /// The old tuple's new `xmax`.
    pub old_xmax: Xid,
    /// Its line pointer.
    pub old_offset: OffsetNumber,
    /// See [`infobits`].
    pub old_infobits: u8,
    /// See [`update_flags`].
    pub flags: u8,
    /// The new tuple's `xmax`.
    pub new_xmax: Xid,
    /// Its line pointer.
    pub new_offset: OffsetNumber,
    /// The old tuple or its key, if the flags say so.
    pub old_tuple: Option<LoggedTuple<'a>>,
}

impl<'a> HeapUpdate<'a> {
    /// Parses the main data.
    pub fn decode(data: &'a [u8]) -> Result<HeapUpdate<'a>, PayloadError> {
        let decode = || {
            let mut cursor = Cursor::new(data);
            let (old_xmax, old_offset) = (cursor.xid()?, cursor.u16()?);
            let (old_infobits, flags) = (cursor.u8()?, cursor.u8()?);
            let (new_xmax, new_offset) = (cursor.xid()?, cursor.u16()?);
            let old = update_flags::CONTAINS_OLD_TUPLE | update_flags::CONTAINS_OLD_KEY;
            Some(HeapUpdate {
                old_xmax,
                old_offset,
                old_infobits,
                flags,
                new_xmax,
                new_offset,
                old_tuple: take_old_tuple(cursor, flags & old != 0)?,
            })
        };
        found(decode(), "xl_heap_update")
    }

    /// The main data before the old tuple.
    pub fn encode(&self) -> [u8; 14] {
        let mut data = [0; 14];
        data[..4].copy_from_slice(&self.old_xmax.0.to_le_bytes());
        data[4..6].copy_from_slice(&self.old_offset.to_le_bytes());
        data[6..8].copy_from_slice(&[self.old_infobits, self.flags]);
        data[8..12].copy_from_slice(&self.new_xmax.0.to_le_bytes());
        data[12..].copy_from_slice(&self.new_offset.to_le_bytes());
        data
    }
}

/// What is logged of the new tuple of an update.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UpdatedTuple<'a> {
    /// Bytes that it has in common with the old one, from `hoff` on.
    pub prefix: Option<u16>,
    /// Bytes that it has in common with the old one, at the end.
    pub suffix: Option<u16>,
    /// The rest: what lies before `hoff`, and what lies between prefix and suffix.
    pub tuple: LoggedTuple<'a>,
}

impl<'a> UpdatedTuple<'a> {
    /// Parses block 0's data of an update with these flags.
    pub fn decode(data: &'a [u8], flags: u8) -> Result<UpdatedTuple<'a>, PayloadError> {
        let mut cursor = Cursor::new(data);
        let mut length = |flag| {
            if flags & flag == 0 {
                return Ok(None);
            }
            found(cursor.u16(), "xl_heap_update").map(Some)
        };
        let prefix = length(update_flags::PREFIX_FROM_OLD)?;
        let suffix = length(update_flags::SUFFIX_FROM_OLD)?;
        Ok(UpdatedTuple {
            prefix,
            suffix,
            tuple: LoggedTuple::decode(cursor.rest())?,
        })
    }

    /// What comes before the tuple's bytes in block 0's data: its length, and the bytes.
    pub fn encode_header(&self) -> (usize, [u8; 9]) {
        let mut data = [0; 9];
        let mut length = 0;
        for part in [self.prefix, self.suffix].into_iter().flatten() {
            data[length..length + 2].copy_from_slice(&part.to_le_bytes());
            length += 2;
        }
        data[length..length + 5].copy_from_slice(&self.tuple.header.encode());
        (length + 5, data)
    }
}

/// A table was truncated (`xl_heap_truncate`): nothing to redo, for logical decoding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeapTruncate {
    /// The database.
    pub database: Oid,
    /// The statement said `CASCADE` (1), `RESTART IDENTITY` (2).
    pub flags: u8,
    /// The tables.
    pub relations: Vec<Oid>,
}

impl HeapTruncate {
    /// Parses the main data.
    pub fn decode(data: &[u8]) -> Result<HeapTruncate, PayloadError> {
        let decode = || {
            let mut cursor = Cursor::new(data);
            let (database, count) = (cursor.oid()?, cursor.u32()?);
            let flags = cursor.u8()?;
            cursor.skip(3)?;
            let relations = cursor.array_of(count as usize, 4, Cursor::oid)?;
            Some(HeapTruncate {
                database,
                flags,
                relations,
            })
        };
        found(decode(), "xl_heap_truncate")
    }
}

/// A tuple was locked (`xl_heap_lock`, `xl_heap_lock_updated`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeapLock {
    /// The tuple's new `xmax`, which may be a multixact.
    pub xmax: Xid,
    /// Its line pointer.
    pub offset: OffsetNumber,
    /// See [`infobits`].
    pub infobits: u8,
    /// [`LOCK_ALL_FROZEN_CLEARED`] or nothing.
    pub flags: u8,
}

impl HeapLock {
    /// Parses the main data.
    pub fn decode(data: &[u8]) -> Result<HeapLock, PayloadError> {
        let decode = || {
            let mut cursor = Cursor::new(data);
            let lock = HeapLock {
                xmax: cursor.xid()?,
                offset: cursor.u16()?,
                infobits: cursor.u8()?,
                flags: cursor.u8()?,
            };
            cursor.end()?;
            Some(lock)
        };
        found(decode(), "xl_heap_lock")
    }

    /// The main data.
    pub fn encode(&self) -> [u8; 8] {
        let mut data = [0; 8];
        data[..4].copy_from_slice(&self.xmax.0.to_le_bytes());
        data[4..6].copy_from_slice(&self.offset.to_le_bytes());
        data[6..].copy_from_slice(&[self.infobits, self.flags]);
        data
    }

    pub(super) fn describe(&self) -> String {
        format!(
            "xmax: {}, off: {}, {}, flags: 0x{:02X}",
            self.xmax,
            self.offset,
            describe_infobits("infobits", self.infobits),
            self.flags
        )
    }
}

/// A tuple was overwritten by one of the same length (`xl_heap_inplace`); block 0's data are its
/// bytes from `hoff` on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeapInplace {
    /// Its line pointer.
    pub offset: OffsetNumber,
    /// What caches have to know.
    pub invalidations: Invalidations,
}

impl HeapInplace {
    /// Parses the main data.
    pub fn decode(data: &[u8]) -> Result<HeapInplace, PayloadError> {
        let decode = || {
            let mut cursor = Cursor::new(data);
            let offset = cursor.u16()?;
            cursor.skip(2)?;
            let invalidations = Invalidations::take(&mut cursor)?;
            cursor.end()?;
            Some(HeapInplace {
                offset,
                invalidations,
            })
        };
        found(decode(), "xl_heap_inplace")
    }

    /// The main data.
    pub fn encode(&self) -> Vec<u8> {
        let [a, b] = self.offset.to_le_bytes();
        let mut data = vec![a, b, 0, 0];
        self.invalidations.push(&mut data);
        data
    }
}

/// The contents of a record of this resource manager: its main data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Heap<'a> {
    /// `INSERT`.
    Insert(HeapInsert),
    /// `DELETE`.
    Delete(HeapDelete<'a>),
    /// `UPDATE`.
    Update(HeapUpdate<'a>),
    /// `HOT_UPDATE`.
    HotUpdate(HeapUpdate<'a>),
    /// `TRUNCATE`.
    Truncate(HeapTruncate),
    /// `HEAP_CONFIRM`: the tuple's line pointer (`xl_heap_confirm`).
    Confirm(OffsetNumber),
    /// `LOCK`.
    Lock(HeapLock),
    /// `INPLACE`.
    Inplace(HeapInplace),
}

impl<'a> Heap<'a> {
    /// What `record`, one of this resource manager, holds.
    pub fn decode(record: &DecodedRecord<'a>) -> Result<Heap<'a>, PayloadError> {
        let data = record.main_data;
        Ok(match record.header.info & OPMASK {
            INSERT => Heap::Insert(HeapInsert::decode(data)?),
            DELETE => Heap::Delete(HeapDelete::decode(data)?),
            UPDATE => Heap::Update(HeapUpdate::decode(data)?),
            TRUNCATE => Heap::Truncate(HeapTruncate::decode(data)?),
            HOT_UPDATE => Heap::HotUpdate(HeapUpdate::decode(data)?),
            CONFIRM => Heap::Confirm(found(Cursor::new(data).u16(), "xl_heap_confirm")?),
            LOCK => Heap::Lock(HeapLock::decode(data)?),
            // The last of the eight codes.
            _ => Heap::Inplace(HeapInplace::decode(data)?),
        })
    }
}

pub(super) const fn identify(code: u8) -> Option<&'static str> {
    const INSERT_INIT: u8 = INSERT | INIT_PAGE;
    const UPDATE_INIT: u8 = UPDATE | INIT_PAGE;
    const HOT_UPDATE_INIT: u8 = HOT_UPDATE | INIT_PAGE;
    Some(match code {
        INSERT => "INSERT",
        INSERT_INIT => "INSERT+INIT",
        DELETE => "DELETE",
        UPDATE => "UPDATE",
        UPDATE_INIT => "UPDATE+INIT",
        HOT_UPDATE => "HOT_UPDATE",
        HOT_UPDATE_INIT => "HOT_UPDATE+INIT",
        TRUNCATE => "TRUNCATE",
        CONFIRM => "HEAP_CONFIRM",
        LOCK => "LOCK",
        INPLACE => "INPLACE",
        _ => return None,
    })
}

/// The names of the flags that are set, in brackets.
fn describe_flags(name: &str, flags: u8, names: &[(u8, &str)]) -> String {
    let names: Vec<&str> = names
        .iter()
        .filter(|(flag, _)| flags & flag != 0)
        .map(|(_, name)| *name)
        .collect();
    format!("{name}: [{}]", names.join(", "))
}

pub(super) fn describe_infobits(name: &str, bits: u8) -> String {
    let names = [
        (infobits::XMAX_IS_MULTI, "IS_MULTI"),
        (infobits::XMAX_LOCK_ONLY, "LOCK_ONLY"),
        (infobits::XMAX_EXCL_LOCK, "EXCL_LOCK"),
        (infobits::XMAX_KEYSHR_LOCK, "KEYSHR_LOCK"),
        (infobits::KEYS_UPDATED, "KEYS_UPDATED"),
    ];
    describe_flags(name, bits, &names)
}

pub(super) fn describe(record: &DecodedRecord<'_>) -> Result<String, PayloadError> {
    Ok(match Heap::decode(record)? {
        Heap::Insert(insert) => {
            format!("off: {}, flags: 0x{:02X}", insert.offset, insert.flags)
        }
        Heap::Delete(delete) => format!(
            "xmax: {}, off: {}, {}, flags: 0x{:02X}",
            delete.xmax,
            delete.offset,
            describe_infobits("infobits", delete.infobits),
            delete.flags
        ),
        Heap::Update(update) | Heap::HotUpdate(update) => format!(
            "old_xmax: {}, old_off: {}, {}, flags: 0x{:02X}, new_xmax: {}, new_off: {}",
            update.old_xmax,
            update.old_offset,
            describe_infobits("old_infobits", update.old_infobits),
            update.flags,
            update.new_xmax,
            update.new_offset
        ),
        Heap::Truncate(truncate) => {
            let names = [(1, "CASCADE"), (2, "RESTART_SEQS")];
            format!(
                "{}, nrelids: {}, relids:{}",
                describe_flags("flags", truncate.flags, &names),
                truncate.relations.len(),
                text::array(truncate.relations)
            )
        }
        Heap::Confirm(offset) => format!("off: {offset}"),
        Heap::Lock(lock) => lock.describe(),
        Heap::Inplace(inplace) => {
            format!(
                "off: {}{}",
                inplace.offset,
                inplace.invalidations.describe()
            )
        }
    })
}
