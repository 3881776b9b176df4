//! Creation and truncation of relations' files (`smgrdesc.c`, `catalog/storage_xlog.h`).

use super::{PayloadError, found, text};
use crate::ids::{BlockNumber, ForkNumber, RelFileLocator};
use crate::wal::cursor::{Cursor, fork_from_number};
use crate::wal::decode::DecodedRecord;
use crate::wal::info::smgr::*;

/// The main fork is cut off (`SMGR_TRUNCATE_HEAP`).
pub const TRUNCATE_HEAP: i32 = 1;
/// The visibility map is cut off.
pub const TRUNCATE_VM: i32 = 2;
/// The free space map is cut off.
pub const TRUNCATE_FSM: i32 = 4;
/// All of them.
pub const TRUNCATE_ALL: i32 = TRUNCATE_HEAP | TRUNCATE_VM | TRUNCATE_FSM;

/// The contents of a record of this resource manager.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Smgr {
    /// A fork's file was made (`xl_smgr_create`).
    Create {
        /// The relation's files.
        locator: RelFileLocator,
        /// The fork.
        fork: ForkNumber,
    },
    /// A relation was cut off (`xl_smgr_truncate`).
    Truncate {
        /// Blocks of the main fork that remain.
        block: BlockNumber,
        /// The relation's files.
        locator: RelFileLocator,
        /// Which forks.
        flags: i32,
    },
}

impl Smgr {
    /// What `record`, one of this resource manager, holds. `None`: there is no such code.
    pub fn decode(record: &DecodedRecord<'_>) -> Result<Option<Smgr>, PayloadError> {
        let mut cursor = Cursor::new(record.main_data);
        match record.code() {
            CREATE => {
                let mut decode = || {
                    let create = Smgr::Create {
                        locator: cursor.locator()?,
                        fork: fork_from_number(cursor.u32()?)?,
                    };
                    cursor.end()?;
                    Some(create)
                };
                found(decode(), "xl_smgr_create").map(Some)
            }
            TRUNCATE => {
                let mut decode = || {
                    let truncate = Smgr::Truncate {
                        block: cursor.u32()?,
                        locator: cursor.locator()?,
                        flags: cursor.i32()?,
                    };
                    cursor.end()?;
                    Some(truncate)
                };
                found(decode(), "xl_smgr_truncate").map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The record's code; [`XLR_SPECIAL_REL_UPDATE`](crate::wal::info::XLR_SPECIAL_REL_UPDATE)
    /// belongs beside it.
    pub const fn code(&self) -> u8 {
        match self {
            Smgr::Create { .. } => CREATE,
            Smgr::Truncate { .. } => TRUNCATE,
        }
    }

    /// The record's main data.
    pub fn encode(&self) -> Vec<u8> {
        let words =
            |locator: RelFileLocator| [locator.spc_oid.0, locator.db_oid.0, locator.rel_number];
        let mut data = Vec::with_capacity(20);
        let mut put = |word: u32| data.extend_from_slice(&word.to_le_bytes());
        match *self {
            Smgr::Create { locator, fork } => {
                words(locator).into_iter().for_each(&mut put);
                put(fork as u32);
            }
            Smgr::Truncate {
                block,
                locator,
                flags,
            } => {
                put(block);
                words(locator).into_iter().for_each(&mut put);
                put(flags as u32);
            }
        }
        data
    }
}

pub(super) const fn identify(code: u8) -> Option<&'static str> {
    match code {
        CREATE => Some("CREATE"),
        TRUNCATE => Some("TRUNCATE"),
        _ => None,
    }
}

pub(super) fn describe(record: &DecodedRecord<'_>) -> Result<String, PayloadError> {
    Ok(match Smgr::decode(record)? {
        Some(Smgr::Create { locator, fork }) => text::path(locator, fork),
        Some(Smgr::Truncate {
            block,
            locator,
            flags,
        }) => format!(
            "{} to {block} blocks flags {flags}",
            text::path(locator, ForkNumber::Main)
        ),
        None => String::new(),
    })
}
