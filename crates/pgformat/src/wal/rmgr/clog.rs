//! Pages of `pg_xact` (`clogdesc.c`, `access/clog.h`).

use super::{PayloadError, found};
use crate::ids::{Oid, Xid};
use crate::wal::cursor::Cursor;
use crate::wal::decode::DecodedRecord;
use crate::wal::info::clog::*;

/// The contents of a record of this resource manager.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Clog {
    /// A page of zeros was added.
    ZeroPage {
        /// The page.
        page: i64,
    },
    /// Segments before a page were removed (`xl_clog_truncate`).
    Truncate {
        /// The page.
        page: i64,
        /// The oldest xid whose status is kept.
        oldest_xact: Xid,
        /// A database that has it.
        oldest_xact_db: Oid,
    },
}

impl Clog {
    /// What `record`, one of this resource manager, holds. `None`: there is no such code.
    pub fn decode(record: &DecodedRecord<'_>) -> Result<Option<Clog>, PayloadError> {
        let mut cursor = Cursor::new(record.main_data);
        let mut decode = || {
            let page = cursor.i64()?;
            let clog = if record.code() == ZEROPAGE {
                Clog::ZeroPage { page }
            } else {
                Clog::Truncate {
                    page,
                    oldest_xact: cursor.xid()?,
                    oldest_xact_db: cursor.oid()?,
                }
            };
            cursor.end()?;
            Some(clog)
        };
        match record.code() {
            ZEROPAGE => found(decode(), "CLOG_ZEROPAGE").map(Some),
            TRUNCATE => found(decode(), "xl_clog_truncate").map(Some),
            _ => Ok(None),
        }
    }

    /// The record's code.
    pub const fn code(&self) -> u8 {
        match self {
            Clog::ZeroPage { .. } => ZEROPAGE,
            Clog::Truncate { .. } => TRUNCATE,
        }
    }

    /// The record's main data.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Clog::ZeroPage { page } => page.to_le_bytes().to_vec(),
            Clog::Truncate {
                page,
                oldest_xact,
                oldest_xact_db,
            } => {
                let mut data = page.to_le_bytes().to_vec();
                data.extend_from_slice(&oldest_xact.0.to_le_bytes());
                data.extend_from_slice(&oldest_xact_db.0.to_le_bytes());
                data
            }
        }
    }
}

pub(super) const fn identify(code: u8) -> Option<&'static str> {
    match code {
        ZEROPAGE => Some("ZEROPAGE"),
        TRUNCATE => Some("TRUNCATE"),
        _ => None,
    }
}

pub(super) fn describe(record: &DecodedRecord<'_>) -> Result<String, PayloadError> {
    Ok(match Clog::decode(record)? {
        Some(Clog::ZeroPage { page }) => format!("page {page}"),
        Some(Clog::Truncate {
            page, oldest_xact, ..
        }) => format!("page {page}; oldestXact {oldest_xact}"),
        None => String::new(),
    })
}
