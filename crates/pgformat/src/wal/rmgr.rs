//! What the records of each resource manager hold, and the text that `pg_waldump` prints of them
//! (`access/rmgrdesc/`).
//!
//! One module for each resource manager: structures with `decode` and, for what is written by us,
//! `encode`; `identify`, the name of a code; `describe`. Structures are C's, padding included:
//! padding is written as zeros and not looked at. Timestamps are microseconds since 2000-01-01 UTC
//! and printed in UTC.
//!
//! The index access methods other than B-trees, replication origins, commit timestamps, generic
//! and logical messages are not described: [`describe`] says so.

pub mod btree;
pub mod clog;
pub mod dbase;
pub mod heap;
pub mod heap2;
pub mod invalidation;
pub mod multixact;
pub mod relmap;
pub mod sequence;
pub mod smgr;
pub mod standby;
pub mod tblspc;
mod text;
pub mod xact;
pub mod xlog;

use crate::ids::ForkNumber;
use crate::wal::decode::DecodedRecord;
use crate::wal::rmgr_id::RmgrId;
use thiserror::Error;

/// A record does not hold what its code says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("WAL record of {structure} has invalid contents")]
pub struct PayloadError {
    /// PostgreSQL's name of what was expected.
    pub structure: &'static str,
}

/// Why a record cannot be described.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum DescribeError {
    /// Nothing is known of the resource manager's records.
    #[error("WAL records of resource manager {rmgr} are not supported")]
    Unsupported {
        /// The resource manager.
        rmgr: RmgrId,
    },
    /// The record does not hold what its code says.
    #[error(transparent)]
    Payload(#[from] PayloadError),
}

/// What `decode` found, or the error that names the structure.
fn found<T>(value: Option<T>, structure: &'static str) -> Result<T, PayloadError> {
    value.ok_or(PayloadError { structure })
}

/// PostgreSQL's name of what the record does, if its resource manager's codes are known and this is
/// one of them.
pub fn identify(record: &DecodedRecord<'_>) -> Option<&'static str> {
    let info = record.header.info;
    let code = record.code();
    match record.header.rmgr {
        RmgrId::XLOG => xlog::identify(code),
        RmgrId::XACT => xact::identify(info),
        RmgrId::SMGR => smgr::identify(code),
        RmgrId::CLOG => clog::identify(code),
        RmgrId::DBASE => dbase::identify(code),
        RmgrId::TBLSPC => tblspc::identify(code),
        RmgrId::MULTIXACT => multixact::identify(code),
        RmgrId::RELMAP => relmap::identify(code),
        RmgrId::STANDBY => standby::identify(code),
        RmgrId::HEAP2 => heap2::identify(code),
        RmgrId::HEAP => heap::identify(code),
        RmgrId::BTREE => btree::identify(code),
        RmgrId::SEQ => sequence::identify(code),
        _ => None,
    }
}

/// What `pg_waldump` prints of the record's contents; empty for a code that its resource manager
/// does not have.
pub fn describe(record: &DecodedRecord<'_>) -> Result<String, DescribeError> {
    let text = match record.header.rmgr {
        RmgrId::XLOG => xlog::describe(record),
        RmgrId::XACT => xact::describe(record),
        RmgrId::SMGR => smgr::describe(record),
        RmgrId::CLOG => clog::describe(record),
        RmgrId::DBASE => dbase::describe(record),
        RmgrId::TBLSPC => tblspc::describe(record),
        RmgrId::MULTIXACT => multixact::describe(record),
        RmgrId::RELMAP => relmap::describe(record),
        RmgrId::STANDBY => standby::describe(record),
        RmgrId::HEAP2 => heap2::describe(record),
        RmgrId::HEAP => heap::describe(record),
        RmgrId::BTREE => btree::describe(record),
        RmgrId::SEQ => sequence::describe(record),
        rmgr => return Err(DescribeError::Unsupported { rmgr }),
    }?;
    Ok(text)
}

/// What `pg_waldump` prints of the record's block references, in its short format
/// (`XLogRecGetBlockRefInfo`).
pub fn describe_block_references(record: &DecodedRecord<'_>) -> String {
    let mut text = String::new();
    for block in &record.blocks {
        let locator = block.locator;
        text += &format!(
            ", blkref #{}: rel {}/{}/{}",
            block.id, locator.spc_oid, locator.db_oid, locator.rel_number
        );
        if block.fork != ForkNumber::Main {
            text += &format!(" fork {}", block.fork.name());
        }
        text += &format!(" blk {}", block.block);
        match block.image {
            Some(image) if image.apply() => text += " FPW",
            Some(_) => text += " FPW for WAL verification",
            None => {}
        }
    }
    text
}

/// The line that `pg_waldump` prints of the record, without the line feed.
pub fn waldump_line(record: &DecodedRecord<'_>) -> Result<String, DescribeError> {
    let header = &record.header;
    let images: usize = record
        .blocks
        .iter()
        .filter_map(|block| block.image)
        .map(|image| image.data().len())
        .sum();
    let code = match identify(record) {
        Some(code) => code.to_owned(),
        None => format!("UNKNOWN ({:x})", record.code()),
    };
    let (lsn, prev) = (record.lsn.0, header.prev.0);
    Ok(format!(
        "rmgr: {:<11} len (rec/tot): {:6}/{:6}, tx: {:10}, lsn: {:X}/{:08X}, prev {:X}/{:08X}, desc: {code} {}{}",
        header.rmgr.to_string(),
        header.total_length as usize - images,
        header.total_length,
        header.xid.0,
        lsn >> 32,
        lsn & 0xffff_ffff,
        prev >> 32,
        prev & 0xffff_ffff,
        describe(record)?,
        describe_block_references(record),
    ))
}
