//! Files of the simple least-recently-used caches: `pg_xact` and its kin (`transam/slru.c`).
//!
//! Each is an array of small entries cut into pages of 8192 bytes *without* page headers or
//! checksums; 32 pages make a segment file, named by its number in hexadecimal. `pg_xact`
//! (`transam/clog.c`) has two bits a transaction, the lowest xid in the least significant bits.
//! What a new cluster has of the others is a first page of zeros, see [`INITIAL_FILES`].

use crate::ids::{BLCKSZ, Xid};
use crate::page::PageBytes;

/// Pages of a segment file (`SLRU_PAGES_PER_SEGMENT`).
pub const SLRU_PAGES_PER_SEGMENT: u32 = 32;

/// Directory of the transactions' status.
pub const XACT_DIRECTORY: &str = "pg_xact";
/// Directory of the subtransactions' parents (`transam/subtrans.c`).
pub const SUBTRANS_DIRECTORY: &str = "pg_subtrans";
/// Directory of where each multixact's members begin (`transam/multixact.c`).
pub const MULTIXACT_OFFSETS_DIRECTORY: &str = "pg_multixact/offsets";
/// Directory of the multixacts' members (`transam/multixact.c`).
pub const MULTIXACT_MEMBERS_DIRECTORY: &str = "pg_multixact/members";
/// Directory of the commit timestamps (`transam/commit_ts.c`), empty unless they are tracked.
pub const COMMIT_TS_DIRECTORY: &str = "pg_commit_ts";

/// The files that a new cluster has, each one page of zeros: no transaction has a status or a
/// parent yet and there is no multixact. `pg_xact`'s then gets the status of the transactions that
/// filled the cluster.
pub const INITIAL_FILES: [&str; 4] = [
    "pg_xact/0000",
    "pg_subtrans/0000",
    "pg_multixact/offsets/0000",
    "pg_multixact/members/0000",
];

/// The first multixact, and the next one of a new cluster (`FirstMultiXactId`).
pub const FIRST_MULTI_XACT_ID: u32 = 1;

const BITS_PER_XACT: u32 = 2;
const XACTS_PER_BYTE: u32 = 8 / BITS_PER_XACT;

/// Transactions whose status one page holds (`CLOG_XACTS_PER_PAGE`).
pub const XACTS_PER_PAGE: u32 = BLCKSZ as u32 * XACTS_PER_BYTE;

/// Name of segment `segment`, at least four hexadecimal digits (`SlruFileName`).
pub fn segment_name(segment: u32) -> String {
    format!("{segment:04X}")
}

/// Segment of page `page`, and the page's byte offset in the segment's file.
pub const fn page_position(page: u32) -> (u32, u64) {
    (
        page / SLRU_PAGES_PER_SEGMENT,
        (page % SLRU_PAGES_PER_SEGMENT) as u64 * BLCKSZ as u64,
    )
}

/// Status of a transaction (`access/clog.h`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum XactStatus {
    /// Running, or lost with a crash.
    InProgress = 0,
    /// Committed.
    Committed = 1,
    /// Aborted.
    Aborted = 2,
    /// A subtransaction that committed; its parent decides.
    SubCommitted = 3,
}

/// Page of `pg_xact` that holds the status of `xid`.
#[inline]
pub const fn xact_page(xid: Xid) -> u32 {
    xid.0 / XACTS_PER_PAGE
}

#[inline]
const fn xact_position(xid: Xid) -> (usize, u32) {
    let within = xid.0 % XACTS_PER_PAGE;
    (
        (within / XACTS_PER_BYTE) as usize,
        within % XACTS_PER_BYTE * BITS_PER_XACT,
    )
}

/// Status of `xid`; `page` must be its [`xact_page`].
#[inline]
pub fn xact_status(page: &PageBytes, xid: Xid) -> XactStatus {
    let (byte, shift) = xact_position(xid);
    match page[byte] >> shift & 3 {
        0 => XactStatus::InProgress,
        1 => XactStatus::Committed,
        2 => XactStatus::Aborted,
        _ => XactStatus::SubCommitted,
    }
}

/// Sets the status of `xid`; `page` must be its [`xact_page`].
#[inline]
pub fn set_xact_status(page: &mut PageBytes, xid: Xid, status: XactStatus) {
    let (byte, shift) = xact_position(xid);
    page[byte] = page[byte] & !(3 << shift) | (status as u8) << shift;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_holds_32768_transactions_and_a_segment_32_pages() {
        assert_eq!(XACTS_PER_PAGE, 32_768);
        assert_eq!(xact_page(Xid(32_767)), 0);
        assert_eq!(xact_page(Xid(32_768)), 1);
        assert_eq!(page_position(31), (0, 31 * 8192));
        assert_eq!(page_position(32), (1, 0));
        let (last, _) = page_position(xact_page(Xid(u32::MAX)));
        assert_eq!(
            [0, 0x1a, last, 0x1_2345].map(segment_name),
            ["0000", "001A", "0FFF", "12345"]
        );
    }

    #[test]
    fn a_status_touches_its_two_bits_only() {
        let mut page = [0; BLCKSZ];
        let statuses = [
            (Xid(3), XactStatus::Committed),
            (Xid(4), XactStatus::Aborted),
            (Xid(5), XactStatus::SubCommitted),
            (Xid(32_767), XactStatus::Committed),
        ];
        for (xid, status) in statuses {
            set_xact_status(&mut page, xid, XactStatus::SubCommitted);
            set_xact_status(&mut page, xid, status);
        }
        assert_eq!((page[0], page[1], page[8191]), (0x40, 0x0e, 0x40));
        for (xid, status) in statuses {
            assert_eq!(xact_status(&page, xid), status);
        }
        assert_eq!(xact_status(&page, Xid(6)), XactStatus::InProgress);
    }
}
