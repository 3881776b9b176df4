//! What a standby needs to know of running transactions (`standbydesc.c`,
//! `storage/standbydefs.h`).

use super::invalidation::{self, INVALIDATION_MESSAGE_SIZE, InvalidationMessage, push_messages};
use super::{PayloadError, found, text};
use crate::ids::{Oid, Xid};
use crate::wal::cursor::Cursor;
use crate::wal::decode::DecodedRecord;
use crate::wal::info::standby::*;

/// An access exclusive lock (`xl_standby_lock`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StandbyLock {
    /// Who holds it.
    pub xid: Xid,
    /// The relation's database.
    pub database: Oid,
    /// The relation.
    pub relation: Oid,
}

/// The transactions that run (`xl_running_xacts`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunningXacts {
    /// Some subtransactions are missing in `subxids`.
    pub subxid_overflow: bool,
    /// The next xid.
    pub next_xid: Xid,
    /// The oldest xid that runs.
    pub oldest_running_xid: Xid,
    /// The newest xid that does not run any more.
    pub latest_completed_xid: Xid,
    /// Top-level transactions.
    pub xids: Vec<Xid>,
    /// Subtransactions.
    pub subxids: Vec<Xid>,
}

/// Invalidation messages of a transaction without an xid (`xl_invalidations`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invalidations {
    /// The database.
    pub database: Oid,
    /// Its tablespace.
    pub tablespace: Oid,
    /// The relcache init file is no longer true.
    pub relcache_init_file_inval: bool,
    /// The messages.
    pub messages: Vec<InvalidationMessage>,
}

impl Invalidations {
    /// The bytes before the messages' number.
    pub(super) fn take(cursor: &mut Cursor<'_>) -> Option<Invalidations> {
        let (database, tablespace) = (cursor.oid()?, cursor.oid()?);
        let relcache_init_file_inval = cursor.bool()?;
        cursor.skip(3)?;
        Some(Invalidations {
            database,
            tablespace,
            relcache_init_file_inval,
            messages: cursor.counted(INVALIDATION_MESSAGE_SIZE, InvalidationMessage::take)?,
        })
    }

    pub(super) fn push(&self, data: &mut Vec<u8>) {
        data.extend_from_slice(&self.database.0.to_le_bytes());
        data.extend_from_slice(&self.tablespace.0.to_le_bytes());
        data.extend_from_slice(&[self.relcache_init_file_inval.into(), 0, 0, 0]);
        push_messages(&self.messages, data);
    }

    pub(super) fn describe(&self) -> String {
        let init_file = self
            .relcache_init_file_inval
            .then_some((self.database, self.tablespace));
        invalidation::describe(&self.messages, init_file)
    }
}

/// The contents of a record of this resource manager.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Standby {
    /// `LOCK`.
    Locks(Vec<StandbyLock>),
    /// `RUNNING_XACTS`.
    RunningXacts(RunningXacts),
    /// `INVALIDATIONS`.
    Invalidations(Invalidations),
}

impl Standby {
    /// What `record`, one of this resource manager, holds. `None`: there is no such code.
    pub fn decode(record: &DecodedRecord<'_>) -> Result<Option<Standby>, PayloadError> {
        let mut cursor = Cursor::new(record.main_data);
        let (standby, structure) = match record.code() {
            LOCK => (take_locks(&mut cursor), "xl_standby_locks"),
            RUNNING_XACTS => (take_running(&mut cursor), "xl_running_xacts"),
            INVALIDATIONS => (
                Invalidations::take(&mut cursor).map(Standby::Invalidations),
                "xl_invalidations",
            ),
            _ => return Ok(None),
        };
        found(standby.filter(|_| cursor.end().is_some()), structure).map(Some)
    }

    /// The record's code.
    pub const fn code(&self) -> u8 {
        match self {
            Standby::Locks(_) => LOCK,
            Standby::RunningXacts(_) => RUNNING_XACTS,
            Standby::Invalidations(_) => INVALIDATIONS,
        }
    }

    /// The record's main data.
    pub fn encode(&self) -> Vec<u8> {
        let mut data = Vec::new();
        let mut put = |word: u32| data.extend_from_slice(&word.to_le_bytes());
        match self {
            Standby::Locks(locks) => {
                put(locks.len() as u32);
                for lock in locks {
                    put(lock.xid.0);
                    put(lock.database.0);
                    put(lock.relation.0);
                }
            }
            Standby::RunningXacts(running) => {
                put(running.xids.len() as u32);
                put(running.subxids.len() as u32);
                put(running.subxid_overflow.into());
                put(running.next_xid.0);
                put(running.oldest_running_xid.0);
                put(running.latest_completed_xid.0);
                for xid in running.xids.iter().chain(&running.subxids) {
                    put(xid.0);
                }
            }
            Standby::Invalidations(invalidations) => invalidations.push(&mut data),
        }
        data
    }
}

fn take_locks(cursor: &mut Cursor<'_>) -> Option<Standby> {
    let locks = cursor.counted(12, |lock| {
        Some(StandbyLock {
            xid: lock.xid()?,
            database: lock.oid()?,
            relation: lock.oid()?,
        })
    })?;
    Some(Standby::Locks(locks))
}

fn take_running(cursor: &mut Cursor<'_>) -> Option<Standby> {
    let count = usize::try_from(cursor.i32()?).ok()?;
    let subxid_count = usize::try_from(cursor.i32()?).ok()?;
    let subxid_overflow = cursor.bool()?;
    cursor.skip(3)?;
    Some(Standby::RunningXacts(RunningXacts {
        subxid_overflow,
        next_xid: cursor.xid()?,
        oldest_running_xid: cursor.xid()?,
        latest_completed_xid: cursor.xid()?,
        xids: cursor.array_of(count, 4, Cursor::xid)?,
        subxids: cursor.array_of(subxid_count, 4, Cursor::xid)?,
    }))
}

pub(super) const fn identify(code: u8) -> Option<&'static str> {
    match code {
        LOCK => Some("LOCK"),
        RUNNING_XACTS => Some("RUNNING_XACTS"),
        INVALIDATIONS => Some("INVALIDATIONS"),
        _ => None,
    }
}

pub(super) fn describe(record: &DecodedRecord<'_>) -> Result<String, PayloadError> {
    Ok(match Standby::decode(record)? {
        Some(Standby::Locks(locks)) => locks
            .iter()
            .map(|lock| {
                format!(
                    "xid {} db {} rel {} ",
                    lock.xid, lock.database, lock.relation
                )
            })
            .collect(),
        Some(Standby::RunningXacts(running)) => describe_running(&running),
        Some(Standby::Invalidations(invalidations)) => invalidations.describe(),
        None => String::new(),
    })
}

fn describe_running(running: &RunningXacts) -> String {
    let mut description = format!(
        "nextXid {} latestCompletedXid {} oldestRunningXid {}",
        running.next_xid, running.latest_completed_xid, running.oldest_running_xid
    );
    let xids = |xids: &[Xid], what| {
        if xids.is_empty() {
            return String::new();
        }
        format!("; {} {what}:{}", xids.len(), text::spaced(xids))
    };
    description += &xids(&running.xids, "xacts");
    if running.subxid_overflow {
        description += "; subxid overflowed";
    }
    description += &xids(&running.subxids, "subxacts");
    description
}
