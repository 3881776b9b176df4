//! Where a log ends, and why, in PostgreSQL's words.

use super::State;
use crate::ids::Lsn;
use crate::wal::TimeLineId;
use crate::wal::decode::DecodeError;
use std::fmt;
use thiserror::Error;

/// The end of a log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WalEnd {
    /// Where the next record was expected to begin: where the log goes on.
    pub at: Lsn,
    /// Where the last record begins that was read, if one was.
    pub last_record: Option<Lsn>,
    /// Why nothing follows.
    pub reason: EndReason,
    /// The record that was begun and not completed, if there is one.
    pub aborted: Option<AbortedRecord>,
}

/// A record whose end is not there. If the log goes on at the page that should have had more of it,
/// the page has to say so ([`XLP_FIRST_IS_OVERWRITE_CONTRECORD`]) and begin with an
/// `XLOG_OVERWRITE_CONTRECORD`.
///
/// [`XLP_FIRST_IS_OVERWRITE_CONTRECORD`]: crate::wal::page_header::XLP_FIRST_IS_OVERWRITE_CONTRECORD
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AbortedRecord {
    /// Where it begins (`abortedRecPtr`).
    pub record: Lsn,
    /// The page that does not have more of it (`missingContrecPtr`).
    pub missing_contrecord: Lsn,
}

pub(super) fn aborted(state: &State) -> Option<AbortedRecord> {
    match state {
        &State::Continuing { record, page, .. } => Some(AbortedRecord {
            record,
            missing_contrecord: page,
        }),
        State::AtRecord(_) | State::Ended(_) => None,
    }
}

/// Where a page is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlaceInSegment {
    /// Name of the segment's file.
    pub segment: String,
    /// The page's LSN.
    pub address: Lsn,
    /// Its offset in the file.
    pub offset: u32,
}

impl fmt::Display for PlaceInSegment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "in WAL segment {}, LSN {}, offset {}",
            self.segment, self.address, self.offset
        )
    }
}

/// Why a log ends.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum EndReason {
    /// There is no such page.
    #[error("there is no WAL page at {address}")]
    NoPage {
        /// The page's LSN.
        address: Lsn,
    },
    /// The page does not begin as one does.
    #[error("invalid magic number {magic:04X} {place}")]
    Magic {
        /// What it begins with.
        magic: u16,
        /// The page.
        place: PlaceInSegment,
    },
    /// The page's flags make no sense, or it is a segment's first page without a long header.
    #[error("invalid info bits {flags:04X} {place}")]
    PageFlags {
        /// The flags as found.
        flags: u16,
        /// The page.
        place: PlaceInSegment,
    },
    /// The segment is another cluster's.
    #[error(
        "WAL file is from different database system: WAL file database system identifier is {found}, pg_control database system identifier is {ours}"
    )]
    SystemIdentifier {
        /// The segment's.
        found: u64,
        /// Ours.
        ours: u64,
    },
    /// The segment has another size than ours.
    #[error("WAL file is from different database system: incorrect segment size in page header")]
    SegmentSize,
    /// The page has another size than ours.
    #[error("WAL file is from different database system: incorrect XLOG_BLCKSZ in page header")]
    PageSize,
    /// The page was written elsewhere: an older use of a recycled segment.
    #[error("unexpected pageaddr {found} {place}")]
    PageAddress {
        /// What the page says.
        found: Lsn,
        /// The page.
        place: PlaceInSegment,
    },
    /// The page's timeline is before that of a page before.
    #[error("out-of-sequence timeline ID {timeline} (after {before}) {place}")]
    TimeLine {
        /// The page's timeline.
        timeline: TimeLineId,
        /// That of a page before.
        before: TimeLineId,
        /// The page.
        place: PlaceInSegment,
    },
    /// A record was to be read from within a page's header.
    #[error("invalid record offset at {at}: expected at least {least}, got {found}")]
    RecordOffset {
        /// Where.
        at: Lsn,
        /// Bytes of the page's header.
        least: u32,
        /// The offset in the page.
        found: u32,
    },
    /// A record was to be read from where none can begin.
    #[error("invalid record offset at {at}")]
    Unaligned {
        /// Where.
        at: Lsn,
    },
    /// A record was to be read from where the rest of one is.
    #[error("contrecord is requested by {at}")]
    ContrecordRequested {
        /// Where.
        at: Lsn,
    },
    /// There is no record: zeros, most of the time.
    #[error("invalid record length at {at}: expected at least 24, got {length}")]
    RecordLength {
        /// Where.
        at: Lsn,
        /// What should be the record's length.
        length: u32,
    },
    /// There is no such resource manager.
    #[error("invalid resource manager ID {rmgr} at {at}")]
    Rmgr {
        /// Where the record begins.
        at: Lsn,
        /// The resource manager as found.
        rmgr: u8,
    },
    /// The record does not follow the one before.
    #[error("record with incorrect prev-link {prev} at {at}")]
    PrevLink {
        /// Where the record begins.
        at: Lsn,
        /// Where it says that the one before begins.
        prev: Lsn,
    },
    /// A record goes on on a page that does not say so.
    #[error("there is no contrecord flag at {at}")]
    NoContrecordFlag {
        /// Where the record begins.
        at: Lsn,
    },
    /// A record goes on on a page that has another length of it.
    #[error("invalid contrecord length {found} (expected {expected}) at {at}")]
    ContrecordLength {
        /// Where the record begins.
        at: Lsn,
        /// What the page says.
        found: u32,
        /// What is missing.
        expected: u64,
    },
    /// The record is damaged.
    #[error(transparent)]
    Record(#[from] DecodeError),
}
