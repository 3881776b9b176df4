//! Tables, when the codes of [`heap`](super::heap) did not suffice (`heapdesc.c`,
//! `access/heapam_xlog.h`).

use super::heap::{HeapLock, LoggedTuple, LoggedTupleHeader};
use super::{PayloadError, found, text};
use crate::align::align_up;
use crate::ids::{BlockNumber, CommandId, OffsetNumber, RelFileLocator, Xid};
use crate::wal::cursor::Cursor;
use crate::wal::decode::DecodedRecord;
use crate::wal::info::heap::{INIT_PAGE, OPMASK};
use crate::wal::info::heap2::*;

/// Flags of pruning and freezing (`XLHP_*`); those that are not public say what follows.
pub mod prune_flags {
    /// The table is a catalog.
    pub const IS_CATALOG_REL: u8 = 1 << 1;
    /// Redo needs a cleanup lock: tuples move.
    pub const CLEANUP_LOCK: u8 = 1 << 2;
    pub(super) const HAS_CONFLICT_HORIZON: u8 = 1 << 3;
    pub(super) const HAS_FREEZE_PLANS: u8 = 1 << 4;
    pub(super) const HAS_REDIRECTIONS: u8 = 1 << 5;
    pub(super) const HAS_DEAD_ITEMS: u8 = 1 << 6;
    pub(super) const HAS_NOW_UNUSED_ITEMS: u8 = 1 << 7;
}

/// How some tuples are frozen (`xlhp_freeze_plan`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FreezePlan {
    /// Their new `xmax`.
    pub xmax: Xid,
    /// Their new `t_infomask2`.
    pub infomask2: u16,
    /// Their new `t_infomask`.
    pub infomask: u16,
    /// What becomes of `t_xvac` (`XLH_FREEZE_XVAC`, `XLH_INVALID_XVAC`).
    pub flags: u8,
    /// Their line pointers.
    pub offsets: Vec<OffsetNumber>,
}

/// A page was pruned or frozen (`xl_heap_prune`, and block 0's data).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HeapPrune {
    /// Not used; PostgreSQL does not set it.
    pub reason: u8,
    /// See [`prune_flags`]. Those that say what follows are added when this is encoded; they are
    /// told even where the page itself is there instead of block 0's data.
    pub flags: u8,
    /// Queries on a standby that need what this xid or an older one did are in the way.
    pub conflict_horizon: Option<Xid>,
    /// Tuples that are frozen.
    pub freeze_plans: Vec<FreezePlan>,
    /// Line pointers that become redirects, and where to.
    pub redirected: Vec<(OffsetNumber, OffsetNumber)>,
    /// Line pointers that become dead.
    pub dead: Vec<OffsetNumber>,
    /// Line pointers that become unused.
    pub unused: Vec<OffsetNumber>,
}

const FREEZE_PLAN_SIZE: usize = 12;

impl HeapPrune {
    /// What `record`, of one of the three codes, holds. Block 0's data are left out where the page
    /// itself is there.
    pub fn decode(record: &DecodedRecord<'_>) -> Result<HeapPrune, PayloadError> {
        let mut main = Cursor::new(record.main_data);
        let mut decode = || {
            let (reason, flags) = (main.u8()?, main.u8()?);
            let mut prune = HeapPrune {
                reason,
                flags,
                ..HeapPrune::default()
            };
            if flags & prune_flags::HAS_CONFLICT_HORIZON != 0 {
                prune.conflict_horizon = Some(main.xid()?);
            }
            main.end()?;
            let data = record.block(0).map_or(&[][..], |block| block.data);
            if !data.is_empty() {
                prune.take_items(flags, Cursor::new(data))?;
            }
            Some(prune)
        };
        found(decode(), "xl_heap_prune")
    }

    /// `heap_xlog_deserialize_prune_and_freeze`.
    fn take_items(&mut self, flags: u8, mut cursor: Cursor<'_>) -> Option<()> {
        let mut counts = Vec::new();
        if flags & prune_flags::HAS_FREEZE_PLANS != 0 {
            let count = usize::from(cursor.u16()?);
            cursor.skip(2)?;
            let plans = cursor.array_of(count, FREEZE_PLAN_SIZE, take_plan)?;
            for (plan, offsets) in plans {
                self.freeze_plans.push(plan);
                counts.push(offsets);
            }
        }
        let items = |flag, size, cursor: &mut Cursor<'_>| {
            if flags & flag == 0 {
                return Some(Vec::new());
            }
            let count = usize::from(cursor.u16()?);
            cursor.array_of(count * size, 2, Cursor::u16)
        };
        let redirected = items(prune_flags::HAS_REDIRECTIONS, 2, &mut cursor)?;
        self.redirected = redirected
            .chunks_exact(2)
            .map(|pair| (pair[0], pair[1]))
            .collect();
        self.dead = items(prune_flags::HAS_DEAD_ITEMS, 1, &mut cursor)?;
        self.unused = items(prune_flags::HAS_NOW_UNUSED_ITEMS, 1, &mut cursor)?;
        for (plan, count) in self.freeze_plans.iter_mut().zip(counts) {
            plan.offsets = cursor.array_of(count, 2, Cursor::u16)?;
        }
        cursor.end()
    }

    /// The main data.
    pub fn encode(&self) -> Vec<u8> {
        let mut flags = self.flags;
        for (is_there, flag) in [
            (
                self.conflict_horizon.is_some(),
                prune_flags::HAS_CONFLICT_HORIZON,
            ),
            (!self.freeze_plans.is_empty(), prune_flags::HAS_FREEZE_PLANS),
            (!self.redirected.is_empty(), prune_flags::HAS_REDIRECTIONS),
            (!self.dead.is_empty(), prune_flags::HAS_DEAD_ITEMS),
            (!self.unused.is_empty(), prune_flags::HAS_NOW_UNUSED_ITEMS),
        ] {
            if is_there {
                flags |= flag;
            }
        }
        let mut data = vec![self.reason, flags];
        if let Some(xid) = self.conflict_horizon {
            data.extend_from_slice(&xid.0.to_le_bytes());
        }
        data
    }

    /// Block 0's data.
    pub fn encode_items(&self) -> Vec<u8> {
        let mut data = Vec::new();
        let put = |data: &mut Vec<u8>, number: u16| data.extend_from_slice(&number.to_le_bytes());
        if !self.freeze_plans.is_empty() {
            put(&mut data, self.freeze_plans.len() as u16);
            put(&mut data, 0);
            for plan in &self.freeze_plans {
                data.extend_from_slice(&plan.xmax.0.to_le_bytes());
                put(&mut data, plan.infomask2);
                put(&mut data, plan.infomask);
                put(&mut data, plan.flags.into());
                put(&mut data, plan.offsets.len() as u16);
            }
        }
        if !self.redirected.is_empty() {
            put(&mut data, self.redirected.len() as u16);
            for &(from, to) in &self.redirected {
                put(&mut data, from);
                put(&mut data, to);
            }
        }
        for items in [&self.dead, &self.unused] {
            if !items.is_empty() {
                put(&mut data, items.len() as u16);
                items.iter().for_each(|&offset| put(&mut data, offset));
            }
        }
        for &offset in self.freeze_plans.iter().flat_map(|plan| &plan.offsets) {
            put(&mut data, offset);
        }
        data
    }
}

/// A plan without its line pointers, and how many there are.
fn take_plan(cursor: &mut Cursor<'_>) -> Option<(FreezePlan, usize)> {
    let plan = FreezePlan {
        xmax: cursor.xid()?,
        infomask2: cursor.u16()?,
        infomask: cursor.u16()?,
        flags: cursor.u8()?,
        offsets: Vec::new(),
    };
    cursor.skip(1)?;
    Some((plan, cursor.u16()?.into()))
}

/// A page became all-visible (`xl_heap_visible`): block 0 is the visibility map's page, block 1 the
/// table's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeapVisible {
    /// Queries on a standby that need what this xid or an older one did are in the way.
    pub conflict_horizon: Xid,
    /// The bits of the visibility map; 4 if the table is a catalog.
    pub flags: u8,
}

impl HeapVisible {
    /// Parses the main data.
    pub fn decode(data: &[u8]) -> Result<HeapVisible, PayloadError> {
        let decode = || {
            let mut cursor = Cursor::new(data);
            let visible = HeapVisible {
                conflict_horizon: cursor.xid()?,
                flags: cursor.u8()?,
            };
            cursor.end()?;
            Some(visible)
        };
        found(decode(), "xl_heap_visible")
    }

    /// The main data.
    pub fn encode(&self) -> [u8; 5] {
        let [a, b, c, d] = self.conflict_horizon.0.to_le_bytes();
        [a, b, c, d, self.flags]
    }
}

/// Several tuples were added to a page (`xl_heap_multi_insert`); block 0's data are
/// [`MultiInsertTuples`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeapMultiInsert {
    /// See [`insert_flags`](super::heap::insert_flags).
    pub flags: u8,
    /// How many.
    pub tuple_count: u16,
    /// Their line pointers; empty if redo initializes the page, then they are 1, 2, 3...
    pub offsets: Vec<OffsetNumber>,
}

impl HeapMultiInsert {
    /// Parses the main data of a record with this `xl_info`.
    pub fn decode(data: &[u8], info: u8) -> Result<HeapMultiInsert, PayloadError> {
        let decode = || {
            let mut cursor = Cursor::new(data);
            let flags = cursor.u8()?;
            cursor.skip(1)?;
            let tuple_count = cursor.u16()?;
            let offsets = if info & INIT_PAGE != 0 {
                Vec::new()
            } else {
                cursor.array_of(tuple_count.into(), 2, Cursor::u16)?
            };
            cursor.end()?;
            Some(HeapMultiInsert {
                flags,
                tuple_count,
                offsets,
            })
        };
        found(decode(), "xl_heap_multi_insert")
    }

    /// The main data.
    pub fn encode(&self) -> Vec<u8> {
        let mut data = vec![self.flags, 0];
        data.extend_from_slice(&self.tuple_count.to_le_bytes());
        for offset in &self.offsets {
            data.extend_from_slice(&offset.to_le_bytes());
        }
        data
    }
}

/// The tuples of a multiple insertion (`xl_multi_insert_tuple`), each at an even offset.
#[derive(Clone, Copy, Debug)]
pub struct MultiInsertTuples<'a> {
    data: &'a [u8],
    taken: usize,
}

impl<'a> MultiInsertTuples<'a> {
    /// The tuples of block 0's data.
    pub const fn new(data: &'a [u8]) -> MultiInsertTuples<'a> {
        MultiInsertTuples { data, taken: 0 }
    }

    /// Adds `tuple` to block 0's data.
    #[inline]
    pub fn push(tuple: &LoggedTuple<'_>, data: &mut Vec<u8>) {
        if !data.len().is_multiple_of(2) {
            data.push(0);
        }
        let [l, m] = (tuple.data.len() as u16).to_le_bytes();
        let [a, b, c, d, e] = tuple.header.encode();
        data.extend_from_slice(&[l, m, a, b, c, d, e]);
        data.extend_from_slice(tuple.data);
    }

    fn take(&mut self) -> Option<LoggedTuple<'a>> {
        let start = align_up(self.taken, 2);
        let mut cursor = Cursor::new(self.data.get(start..)?);
        let before = cursor.rest().len();
        let length = cursor.u16()?;
        let header = LoggedTupleHeader::take(&mut cursor)?;
        let data = cursor.take(length.into())?;
        self.taken = start + before - cursor.rest().len();
        Some(LoggedTuple { header, data })
    }
}

impl<'a> Iterator for MultiInsertTuples<'a> {
    type Item = Result<LoggedTuple<'a>, PayloadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.taken >= self.data.len() {
            return None;
        }
        let tuple = found(self.take(), "xl_multi_insert_tuple");
        if tuple.is_err() {
            self.taken = self.data.len();
        }
        Some(tuple)
    }
}

/// A command id, for logical decoding (`xl_heap_new_cid`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeapNewCid {
    /// The top-level transaction.
    pub top_xid: Xid,
    /// Who inserted the tuple.
    pub cmin: CommandId,
    /// Who deleted it.
    pub cmax: CommandId,
    /// Both in one.
    pub combo_cid: CommandId,
    /// The table's files.
    pub locator: RelFileLocator,
    /// The tuple: block and line pointer.
    pub tid: (BlockNumber, OffsetNumber),
}

impl HeapNewCid {
    /// Parses the main data.
    pub fn decode(data: &[u8]) -> Result<HeapNewCid, PayloadError> {
        let decode = || {
            let mut cursor = Cursor::new(data);
            let new_cid = HeapNewCid {
                top_xid: cursor.xid()?,
                cmin: cursor.u32()?,
                cmax: cursor.u32()?,
                combo_cid: cursor.u32()?,
                locator: cursor.locator()?,
                tid: (
                    u32::from(cursor.u16()?) << 16 | u32::from(cursor.u16()?),
                    cursor.u16()?,
                ),
            };
            cursor.end()?;
            Some(new_cid)
        };
        found(decode(), "xl_heap_new_cid")
    }
}

/// The contents of a record of this resource manager.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Heap2 {
    /// `REWRITE`, not taken apart.
    Rewrite,
    /// `PRUNE_ON_ACCESS`.
    PruneOnAccess(HeapPrune),
    /// `PRUNE_VACUUM_SCAN`.
    PruneVacuumScan(HeapPrune),
    /// `PRUNE_VACUUM_CLEANUP`.
    PruneVacuumCleanup(HeapPrune),
    /// `VISIBLE`.
    Visible(HeapVisible),
    /// `MULTI_INSERT`.
    MultiInsert(HeapMultiInsert),
    /// `LOCK_UPDATED`.
    LockUpdated(HeapLock),
    /// `NEW_CID`.
    NewCid(HeapNewCid),
}

impl Heap2 {
    /// What `record`, one of this resource manager, holds.
    pub fn decode(record: &DecodedRecord<'_>) -> Result<Heap2, PayloadError> {
        let data = record.main_data;
        Ok(match record.header.info & OPMASK {
            REWRITE => Heap2::Rewrite,
            PRUNE_ON_ACCESS => Heap2::PruneOnAccess(HeapPrune::decode(record)?),
            PRUNE_VACUUM_SCAN => Heap2::PruneVacuumScan(HeapPrune::decode(record)?),
            PRUNE_VACUUM_CLEANUP => Heap2::PruneVacuumCleanup(HeapPrune::decode(record)?),
            VISIBLE => Heap2::Visible(HeapVisible::decode(data)?),
            MULTI_INSERT => Heap2::MultiInsert(HeapMultiInsert::decode(data, record.header.info)?),
            LOCK_UPDATED => Heap2::LockUpdated(HeapLock::decode(data)?),
            // The last of the eight codes.
            _ => Heap2::NewCid(HeapNewCid::decode(data)?),
        })
    }
}

pub(super) const fn identify(code: u8) -> Option<&'static str> {
    const MULTI_INSERT_INIT: u8 = MULTI_INSERT | INIT_PAGE;
    Some(match code {
        REWRITE => "REWRITE",
        PRUNE_ON_ACCESS => "PRUNE_ON_ACCESS",
        PRUNE_VACUUM_SCAN => "PRUNE_VACUUM_SCAN",
        PRUNE_VACUUM_CLEANUP => "PRUNE_VACUUM_CLEANUP",
        VISIBLE => "VISIBLE",
        MULTI_INSERT => "MULTI_INSERT",
        MULTI_INSERT_INIT => "MULTI_INSERT+INIT",
        LOCK_UPDATED => "LOCK_UPDATED",
        NEW_CID => "NEW_CID",
        _ => return None,
    })
}

pub(super) fn describe(record: &DecodedRecord<'_>) -> Result<String, PayloadError> {
    let has_data = record.block(0).is_some_and(|block| !block.data.is_empty());
    Ok(match Heap2::decode(record)? {
        Heap2::Rewrite => String::new(),
        Heap2::PruneOnAccess(prune)
        | Heap2::PruneVacuumScan(prune)
        | Heap2::PruneVacuumCleanup(prune) => describe_prune(&prune, has_data),
        Heap2::Visible(visible) => format!(
            "snapshotConflictHorizon: {}, flags: 0x{:02X}",
            visible.conflict_horizon, visible.flags
        ),
        Heap2::MultiInsert(insert) => {
            let mut description = format!(
                "ntuples: {}, flags: 0x{:02X}",
                insert.tuple_count, insert.flags
            );
            if has_data && record.header.info & INIT_PAGE == 0 {
                description += ", offsets:";
                description += &text::array(insert.offsets);
            }
            description
        }
        Heap2::LockUpdated(lock) => lock.describe(),
        Heap2::NewCid(new_cid) => format!(
            "rel: {}, tid: {}/{}, cmin: {}, cmax: {}, combo: {}",
            text::locator(new_cid.locator),
            new_cid.tid.0,
            new_cid.tid.1,
            new_cid.cmin,
            new_cid.cmax,
            new_cid.combo_cid
        ),
    })
}

fn describe_prune(prune: &HeapPrune, has_data: bool) -> String {
    let mut description = String::new();
    if let Some(xid) = prune.conflict_horizon {
        description += &format!("snapshotConflictHorizon: {xid}");
    }
    let is_catalog = prune.flags & prune_flags::IS_CATALOG_REL != 0;
    description += &format!(", isCatalogRel: {}", text::letter(is_catalog));
    if !has_data {
        return description;
    }
    description += &format!(
        ", nplans: {}, nredirected: {}, ndead: {}, nunused: {}",
        prune.freeze_plans.len(),
        prune.redirected.len(),
        prune.dead.len(),
        prune.unused.len()
    );
    if !prune.freeze_plans.is_empty() {
        let plans = prune.freeze_plans.iter().map(|plan| {
            format!(
                "{{ xmax: {}, infomask: {}, infomask2: {}, ntuples: {}, offsets:{} }}",
                plan.xmax,
                plan.infomask,
                plan.infomask2,
                plan.offsets.len(),
                text::array(&plan.offsets)
            )
        });
        description += &format!(", plans:{}", text::array(plans));
    }
    if !prune.redirected.is_empty() {
        let redirected = prune
            .redirected
            .iter()
            .map(|(from, to)| format!("{from}->{to}"));
        description += &format!(", redirected:{}", text::array(redirected));
    }
    for (name, items) in [("dead", &prune.dead), ("unused", &prune.unused)] {
        if !items.is_empty() {
            description += &format!(", {name}:{}", text::array(items));
        }
    }
    description
}
