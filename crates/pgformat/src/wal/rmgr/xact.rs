//! Commit and abort (`xactdesc.c`, `access/xact.h`).

use super::invalidation::{self, INVALIDATION_MESSAGE_SIZE, InvalidationMessage, push_messages};
use super::{PayloadError, found, text};
use crate::align::max_align;
use crate::ids::{ForkNumber, Lsn, Oid, RelFileLocator, Xid};
use crate::wal::cursor::Cursor;
use crate::wal::decode::DecodedRecord;
use crate::wal::info::xact::*;

/// Bits of `xl_xact_xinfo` that say what follows.
mod xinfo {
    pub const HAS_DBINFO: u32 = 1 << 0;
    pub const HAS_SUBXACTS: u32 = 1 << 1;
    pub const HAS_RELFILELOCATORS: u32 = 1 << 2;
    pub const HAS_INVALS: u32 = 1 << 3;
    pub const HAS_TWOPHASE: u32 = 1 << 4;
    pub const HAS_ORIGIN: u32 = 1 << 5;
    pub const HAS_GID: u32 = 1 << 7;
    pub const HAS_DROPPED_STATS: u32 = 1 << 8;
    /// All of them: what is left are an [`XactEnd`](super::XactEnd)'s flags.
    pub const WHAT_FOLLOWS: u32 = HAS_DBINFO
        | HAS_SUBXACTS
        | HAS_RELFILELOCATORS
        | HAS_INVALS
        | HAS_TWOPHASE
        | HAS_ORIGIN
        | HAS_GID
        | HAS_DROPPED_STATS;
}

/// The transaction held access exclusive locks (`XACT_XINFO_HAS_AE_LOCKS`).
pub const HAS_AE_LOCKS: u32 = 1 << 6;
/// A standby tells when it has applied the commit (`XACT_COMPLETION_APPLY_FEEDBACK`).
pub const APPLY_FEEDBACK: u32 = 1 << 29;
/// The relcache init file is no longer true (`XACT_COMPLETION_UPDATE_RELCACHE_FILE`).
pub const UPDATE_RELCACHE_FILE: u32 = 1 << 30;
/// The commit must be durable before it is applied (`XACT_COMPLETION_FORCE_SYNC_COMMIT`).
pub const FORCE_SYNC_COMMIT: u32 = 1 << 31;

const LOCATOR_SIZE: usize = 12;
const STATS_ITEM_SIZE: usize = 16;

/// Statistics that go with a dropped object (`xl_xact_stats_item`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DroppedStats {
    /// The kind of statistics.
    pub kind: i32,
    /// The database.
    pub database: Oid,
    /// The object.
    pub object: u64,
}

/// A prepared transaction that is committed or aborted by another one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TwoPhase {
    /// Its xid.
    pub xid: Xid,
    /// Its name, without the zero behind it, if that is told.
    pub gid: Option<Vec<u8>>,
}

/// Where and when the transaction was committed first, if it was replicated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct XactOrigin {
    /// Where in the origin's log.
    pub lsn: Lsn,
    /// When, in microseconds since 2000-01-01 UTC.
    pub timestamp: i64,
}

/// What a commit or abort record holds (`xl_xact_parsed_commit`, `xl_xact_parsed_abort`).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct XactEnd {
    /// When, in microseconds since 2000-01-01 UTC.
    pub xact_time: i64,
    /// [`HAS_AE_LOCKS`] and the like.
    pub flags: u32,
    /// The database and its tablespace, if they are told.
    pub database: Option<(Oid, Oid)>,
    /// Subtransactions that end with it.
    pub subxacts: Vec<Xid>,
    /// Relations whose files go away.
    pub relations: Vec<RelFileLocator>,
    /// Statistics that go away.
    pub dropped_stats: Vec<DroppedStats>,
    /// Messages to caches; an abort has none.
    pub invalidations: Vec<InvalidationMessage>,
    /// The prepared transaction, if one ends.
    pub twophase: Option<TwoPhase>,
    /// Where the transaction comes from, if it was replicated.
    pub origin: Option<XactOrigin>,
}

impl XactEnd {
    /// What `record`, a commit or abort, prepared or not, holds.
    pub fn decode(record: &DecodedRecord<'_>) -> Result<XactEnd, PayloadError> {
        let has_info = record.header.info & HAS_INFO != 0;
        let mut cursor = Cursor::new(record.main_data);
        match record.header.info & OPMASK {
            COMMIT | COMMIT_PREPARED => {
                found(take_end(&mut cursor, has_info, true), "xl_xact_commit")
            }
            _ => found(take_end(&mut cursor, has_info, false), "xl_xact_abort"),
        }
    }

    /// Adds the record's main data to `data`. Gives what belongs into `xl_info` beside the code:
    /// [`HAS_INFO`] or nothing.
    pub fn encode(&self, data: &mut Vec<u8>) -> u8 {
        data.extend_from_slice(&self.xact_time.to_le_bytes());
        let xinfo = self.xinfo();
        if xinfo == 0 {
            return 0;
        }
        let put = |data: &mut Vec<u8>, word: u32| data.extend_from_slice(&word.to_le_bytes());
        put(data, xinfo);
        if let Some((database, tablespace)) = self.database {
            put(data, database.0);
            put(data, tablespace.0);
        }
        if !self.subxacts.is_empty() {
            put(data, self.subxacts.len() as u32);
            for xid in &self.subxacts {
                put(data, xid.0);
            }
        }
        if !self.relations.is_empty() {
            put(data, self.relations.len() as u32);
            for locator in &self.relations {
                put(data, locator.spc_oid.0);
                put(data, locator.db_oid.0);
                put(data, locator.rel_number);
            }
        }
        if !self.dropped_stats.is_empty() {
            put(data, self.dropped_stats.len() as u32);
            for stats in &self.dropped_stats {
                put(data, stats.kind as u32);
                put(data, stats.database.0);
                data.extend_from_slice(&stats.object.to_le_bytes());
            }
        }
        if !self.invalidations.is_empty() {
            push_messages(&self.invalidations, data);
        }
        if let Some(twophase) = &self.twophase {
            put(data, twophase.xid.0);
            if let Some(gid) = &twophase.gid {
                data.extend_from_slice(gid);
                data.push(0);
            }
        }
        if let Some(origin) = &self.origin {
            data.extend_from_slice(&origin.lsn.0.to_le_bytes());
            data.extend_from_slice(&origin.timestamp.to_le_bytes());
        }
        HAS_INFO
    }

    fn xinfo(&self) -> u32 {
        let gid = self
            .twophase
            .as_ref()
            .and_then(|twophase| twophase.gid.as_ref());
        let mut xinfo = self.flags & !xinfo::WHAT_FOLLOWS;
        for (is_there, bit) in [
            (self.database.is_some(), xinfo::HAS_DBINFO),
            (!self.subxacts.is_empty(), xinfo::HAS_SUBXACTS),
            (!self.relations.is_empty(), xinfo::HAS_RELFILELOCATORS),
            (!self.invalidations.is_empty(), xinfo::HAS_INVALS),
            (self.twophase.is_some(), xinfo::HAS_TWOPHASE),
            (self.origin.is_some(), xinfo::HAS_ORIGIN),
            (gid.is_some(), xinfo::HAS_GID),
            (!self.dropped_stats.is_empty(), xinfo::HAS_DROPPED_STATS),
        ] {
            if is_there {
                xinfo |= bit;
            }
        }
        xinfo
    }
}

/// `ParseCommitRecord`, `ParseAbortRecord`.
fn take_end(cursor: &mut Cursor<'_>, has_info: bool, is_commit: bool) -> Option<XactEnd> {
    let xact_time = cursor.i64()?;
    let xinfo = if has_info { cursor.u32()? } else { 0 };
    let has = |bit| xinfo & bit != 0;
    let mut end = XactEnd {
        xact_time,
        flags: xinfo & !xinfo::WHAT_FOLLOWS,
        ..XactEnd::default()
    };
    if has(xinfo::HAS_DBINFO) {
        end.database = Some((cursor.oid()?, cursor.oid()?));
    }
    if has(xinfo::HAS_SUBXACTS) {
        end.subxacts = cursor.counted(4, Cursor::xid)?;
    }
    if has(xinfo::HAS_RELFILELOCATORS) {
        end.relations = cursor.counted(LOCATOR_SIZE, Cursor::locator)?;
    }
    if has(xinfo::HAS_DROPPED_STATS) {
        end.dropped_stats = cursor.counted(STATS_ITEM_SIZE, take_stats)?;
    }
    if is_commit && has(xinfo::HAS_INVALS) {
        end.invalidations = cursor.counted(INVALIDATION_MESSAGE_SIZE, InvalidationMessage::take)?;
    }
    if has(xinfo::HAS_TWOPHASE) {
        let xid = cursor.xid()?;
        let mut gid = None;
        if has(xinfo::HAS_GID) {
            let length = cursor.rest().iter().position(|&byte| byte == 0)?;
            gid = Some(cursor.take(length)?.to_vec());
            cursor.skip(1)?;
        }
        end.twophase = Some(TwoPhase { xid, gid });
    }
    if has(xinfo::HAS_ORIGIN) {
        end.origin = Some(XactOrigin {
            lsn: cursor.lsn()?,
            timestamp: cursor.i64()?,
        });
    }
    cursor.end()?;
    Some(end)
}

fn take_stats(cursor: &mut Cursor<'_>) -> Option<DroppedStats> {
    Some(DroppedStats {
        kind: cursor.i32()?,
        database: cursor.oid()?,
        // Two halves, the low one first.
        object: cursor.u64()?,
    })
}

/// A transaction was prepared (`xl_xact_prepare` and what follows it; also the contents of a file
/// of `pg_twophase`, whose resource managers' own records follow).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct XactPrepare {
    /// Its xid.
    pub xid: Xid,
    /// Its database.
    pub database: Oid,
    /// When, in microseconds since 2000-01-01 UTC.
    pub prepared_at: i64,
    /// The relcache init file is no longer true once it commits.
    pub init_file_inval: bool,
    /// Its name.
    pub gid: Vec<u8>,
    /// Its subtransactions.
    pub subxacts: Vec<Xid>,
    /// Relations whose files go away when it commits.
    pub commit_relations: Vec<RelFileLocator>,
    /// Relations whose files go away when it aborts.
    pub abort_relations: Vec<RelFileLocator>,
    /// Statistics that go away when it commits.
    pub commit_stats: Vec<DroppedStats>,
    /// Statistics that go away when it aborts.
    pub abort_stats: Vec<DroppedStats>,
    /// Messages to caches when it commits.
    pub invalidations: Vec<InvalidationMessage>,
    /// Where the transaction comes from; zeros if it was not replicated.
    pub origin: XactOrigin,
}

impl XactPrepare {
    /// Parses the record's data; what the resource managers added is not looked at.
    pub fn decode(data: &[u8]) -> Result<XactPrepare, PayloadError> {
        found(take_prepare(Cursor::new(data)), "xl_xact_prepare")
    }
}

fn take_prepare(mut cursor: Cursor<'_>) -> Option<XactPrepare> {
    // Magic number and length, which matter in a file.
    cursor.skip(8)?;
    let (xid, database) = (cursor.xid()?, cursor.oid()?);
    let prepared_at = cursor.i64()?;
    // The owner.
    cursor.skip(4)?;
    let mut count = || usize::try_from(cursor.i32()?).ok();
    let (subxacts, commit_relations, abort_relations) = (count()?, count()?, count()?);
    let (commit_stats, abort_stats, invalidations) = (count()?, count()?, count()?);
    let init_file_inval = cursor.bool()?;
    cursor.skip(1)?;
    let gid_length = usize::from(cursor.u16()?);
    let origin = XactOrigin {
        lsn: cursor.lsn()?,
        timestamp: cursor.i64()?,
    };
    let gid = take_aligned(&mut cursor, gid_length, 1)?;
    Some(XactPrepare {
        xid,
        database,
        prepared_at,
        init_file_inval,
        gid: gid.rest().to_vec(),
        subxacts: take_aligned(&mut cursor, subxacts, 4)?.array_of(subxacts, 4, Cursor::xid)?,
        commit_relations: take_aligned(&mut cursor, commit_relations, LOCATOR_SIZE)?.array_of(
            commit_relations,
            LOCATOR_SIZE,
            Cursor::locator,
        )?,
        abort_relations: take_aligned(&mut cursor, abort_relations, LOCATOR_SIZE)?.array_of(
            abort_relations,
            LOCATOR_SIZE,
            Cursor::locator,
        )?,
        commit_stats: take_aligned(&mut cursor, commit_stats, STATS_ITEM_SIZE)?.array_of(
            commit_stats,
            STATS_ITEM_SIZE,
            take_stats,
        )?,
        abort_stats: take_aligned(&mut cursor, abort_stats, STATS_ITEM_SIZE)?.array_of(
            abort_stats,
            STATS_ITEM_SIZE,
            take_stats,
        )?,
        invalidations: take_aligned(&mut cursor, invalidations, INVALIDATION_MESSAGE_SIZE)?
            .array_of(
                invalidations,
                INVALIDATION_MESSAGE_SIZE,
                InvalidationMessage::take,
            )?,
        origin,
    })
}

/// `count` things of `size` bytes each; padding up to a multiple of eight is left out.
fn take_aligned<'a>(cursor: &mut Cursor<'a>, count: usize, size: usize) -> Option<Cursor<'a>> {
    let length = count.checked_mul(size)?;
    let bytes = cursor.take(length)?;
    cursor.skip(max_align(length) - length)?;
    Some(Cursor::new(bytes))
}

pub(super) const fn identify(info: u8) -> Option<&'static str> {
    match info & OPMASK {
        COMMIT => Some("COMMIT"),
        PREPARE => Some("PREPARE"),
        ABORT => Some("ABORT"),
        COMMIT_PREPARED => Some("COMMIT_PREPARED"),
        ABORT_PREPARED => Some("ABORT_PREPARED"),
        ASSIGNMENT => Some("ASSIGNMENT"),
        INVALIDATIONS => Some("INVALIDATION"),
        _ => None,
    }
}

pub(super) fn describe(record: &DecodedRecord<'_>) -> Result<String, PayloadError> {
    let origin_id = record.origin.unwrap_or(0);
    let mut cursor = Cursor::new(record.main_data);
    match record.header.info & OPMASK {
        COMMIT | COMMIT_PREPARED => Ok(describe_end(&XactEnd::decode(record)?, true, origin_id)),
        ABORT | ABORT_PREPARED => Ok(describe_end(&XactEnd::decode(record)?, false, origin_id)),
        PREPARE => Ok(describe_prepare(
            &XactPrepare::decode(record.main_data)?,
            origin_id,
        )),
        ASSIGNMENT => {
            let mut describe = || {
                let top = cursor.xid()?;
                let subxacts = cursor.counted(4, Cursor::xid)?;
                Some(format!("xtop {top}: subxacts:{}", text::spaced(subxacts)))
            };
            found(describe(), "xl_xact_assignment")
        }
        INVALIDATIONS => {
            let messages = cursor.counted(INVALIDATION_MESSAGE_SIZE, InvalidationMessage::take);
            let messages = found(messages, "xl_xact_invals")?;
            Ok(invalidation::describe(&messages, None))
        }
        _ => Ok(String::new()),
    }
}

fn describe_end(end: &XactEnd, is_commit: bool, origin_id: u16) -> String {
    let mut description = String::new();
    if let Some(twophase) = &end.twophase
        && twophase.xid.is_valid()
    {
        description += &format!("{}: ", twophase.xid);
    }
    description += &text::timestamp(end.xact_time);
    description += &describe_relations("rels", &end.relations);
    description += &describe_subxacts(&end.subxacts);
    let origin = end
        .origin
        .map(|origin| describe_origin(origin, origin_id))
        .unwrap_or_default();
    let stats = describe_stats("", &end.dropped_stats);
    if !is_commit {
        return description + &origin + &stats;
    }
    description += &stats;
    let init_file = (end.flags & UPDATE_RELCACHE_FILE != 0)
        .then(|| end.database.unwrap_or((Oid::INVALID, Oid::INVALID)));
    description += &invalidation::describe(&end.invalidations, init_file);
    if end.flags & APPLY_FEEDBACK != 0 {
        description += "; apply_feedback";
    }
    if end.flags & FORCE_SYNC_COMMIT != 0 {
        description += "; sync";
    }
    description + &origin
}

fn describe_prepare(prepare: &XactPrepare, origin_id: u16) -> String {
    let mut description = format!(
        "gid {}: {}",
        text::c_string(&prepare.gid),
        text::timestamp(prepare.prepared_at)
    );
    description += &describe_relations("rels(commit)", &prepare.commit_relations);
    description += &describe_relations("rels(abort)", &prepare.abort_relations);
    description += &describe_stats("commit ", &prepare.commit_stats);
    description += &describe_stats("abort ", &prepare.abort_stats);
    description += &describe_subxacts(&prepare.subxacts);
    let init_file = prepare
        .init_file_inval
        .then_some((prepare.database, Oid::INVALID));
    description += &invalidation::describe(&prepare.invalidations, init_file);
    if origin_id != 0 {
        description += &describe_origin(prepare.origin, origin_id);
    }
    description
}

fn describe_relations(label: &str, relations: &[RelFileLocator]) -> String {
    if relations.is_empty() {
        return String::new();
    }
    let paths = relations
        .iter()
        .map(|&locator| text::path(locator, ForkNumber::Main));
    format!("; {label}:{}", text::spaced(paths))
}

fn describe_subxacts(subxacts: &[Xid]) -> String {
    if subxacts.is_empty() {
        return String::new();
    }
    format!("; subxacts:{}", text::spaced(subxacts))
}

fn describe_stats(label: &str, stats: &[DroppedStats]) -> String {
    if stats.is_empty() {
        return String::new();
    }
    let items = stats
        .iter()
        .map(|stats| format!("{}/{}/{}", stats.kind, stats.database, stats.object));
    format!("; {label}dropped stats:{}", text::spaced(items))
}

fn describe_origin(origin: XactOrigin, origin_id: u16) -> String {
    format!(
        "; origin: node {origin_id}, lsn {}, at {}",
        origin.lsn,
        text::timestamp(origin.timestamp)
    )
}
