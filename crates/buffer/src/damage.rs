//! Damaged pages of a read: from the completion that finds them to the message that tells of them.

use crate::error::BufferError;
use crate::tag::RelFork;
use std::fmt;
use trunkline_aio::{CallbackId, FailureOrigin, IoFailure};
use trunkline_pgformat::BlockNumber;

/// Bits of an [`IoFailure`]'s code.
const HAS_INVALID: i32 = 1;
const HAS_ZEROED: i32 = 2;
const HAS_IGNORED: i32 = 4;

/// Why a page that was read is no page (B8).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PageFailure {
    /// The bytes are not those that were written, or were written for another block.
    #[error("page verification failed, calculated checksum {found} but expected {expected}")]
    Checksum {
        /// The checksum of the bytes found.
        found: u16,
        /// The checksum that the page carries.
        expected: u16,
    },
    /// The header makes no sense.
    #[error("page header is not sane")]
    Header,
}

/// What becomes of a damaged page, as the read's flags say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// It is not published.
    Invalid,
    /// Published as zeros.
    Zeroed,
    /// Published with its bad checksum.
    Ignored,
}

/// The damaged pages of one read, counted as its completion comes to them (PostgreSQL's
/// `buffer_readv_complete`).
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct DamageCount {
    invalid: Pages,
    zeroed: Pages,
    ignored: Pages,
    /// Pages whose checksum is wrong, whatever became of them.
    checksum_failures: u32,
}

/// Pages of one fate: how many, and which block of the read is the first and why.
#[derive(Clone, Copy, Default, Debug)]
struct Pages {
    count: u32,
    first: Option<(u32, PageFailure)>,
}

impl DamageCount {
    pub(crate) fn add(&mut self, nth: u32, verdict: Verdict, failure: PageFailure) {
        let pages = match verdict {
            Verdict::Invalid => &mut self.invalid,
            Verdict::Zeroed => &mut self.zeroed,
            Verdict::Ignored => &mut self.ignored,
        };
        pages.count += 1;
        pages.first.get_or_insert((nth, failure));
        if matches!(failure, PageFailure::Checksum { .. }) {
            self.checksum_failures += 1;
        }
    }

    pub(crate) fn has_invalid(&self) -> bool {
        self.invalid.count > 0
    }

    /// What the issuer is told; `None` if no page is damaged.
    pub(crate) fn encode(&self, origin: CallbackId) -> Option<IoFailure> {
        let kinds = [
            (self.invalid, HAS_INVALID),
            (self.zeroed, HAS_ZEROED),
            (self.ignored, HAS_IGNORED),
        ];
        let code = kinds
            .iter()
            .filter(|(pages, _)| pages.count > 0)
            .map(|(_, bit)| bit)
            .sum();
        let (told, _) = kinds.into_iter().find(|(pages, _)| pages.count > 0)?;
        let (nth, failure) = told.first?;
        let checksums = match failure {
            // A calculated checksum is never zero.
            PageFailure::Checksum { found, expected } => {
                u32::from(found) << 16 | u32::from(expected)
            }
            PageFailure::Header => 0,
        };
        Some(IoFailure {
            origin: FailureOrigin::Callback(origin),
            code,
            detail: [nth, told.count, self.checksum_failures, checksums],
        })
    }
}

/// What became of a read's damaged pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DamageFate {
    /// Some are not published: the read failed. Others may have been, with a checksum ignored.
    Invalid,
    /// Published as zeros.
    Zeroed,
    /// Published with their bad checksums.
    Ignored,
    /// Some zeroed, others published with their bad checksums.
    ZeroedAndIgnored,
}

/// The damaged pages of one read, told as PostgreSQL 18 does (`buffer_readv_report` in `bufmgr.c`).
/// `Display` is the message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DamagedRead {
    /// The fork's path relative to the data directory.
    pub path: String,
    /// First block of the read.
    pub first: BlockNumber,
    /// Last block of the read.
    pub last: BlockNumber,
    /// What became of the pages.
    pub fate: DamageFate,
    /// How many: the invalid ones, else the zeroed, else the ignored.
    pub pages: u32,
    /// The first of these.
    pub first_damaged: BlockNumber,
    /// What is wrong with it.
    pub failure: PageFailure,
    /// Pages of the read whose checksum is wrong, whatever became of them.
    pub checksum_failures: u32,
}

impl DamagedRead {
    /// What a failure that is not the system's says of the read of `blocks` blocks from `first` on.
    pub(crate) fn decode(
        failure: &IoFailure,
        rel_fork: RelFork,
        first: BlockNumber,
        blocks: u32,
    ) -> DamagedRead {
        let [nth, pages, checksum_failures, checksums] = failure.detail;
        let has = |bit| failure.code & bit != 0;
        let fate = if has(HAS_INVALID) {
            DamageFate::Invalid
        } else if has(HAS_ZEROED) && has(HAS_IGNORED) {
            DamageFate::ZeroedAndIgnored
        } else if has(HAS_ZEROED) {
            DamageFate::Zeroed
        } else {
            DamageFate::Ignored
        };
        DamagedRead {
            path: rel_fork.path(),
            first,
            last: first + blocks - 1,
            fate,
            pages,
            first_damaged: first + nth,
            failure: match checksums {
                0 => PageFailure::Header,
                both => PageFailure::Checksum {
                    found: (both >> 16) as u16,
                    expected: both as u16,
                },
            },
            checksum_failures,
        }
    }

    /// PostgreSQL's SQLSTATE for it: `data_corrupted`.
    pub const fn sqlstate(&self) -> &'static str {
        "XX001"
    }

    /// The DETAIL line, if there are several pages.
    pub fn detail(&self) -> Option<String> {
        let what = match self.fate {
            _ if self.pages <= 1 => return None,
            DamageFate::Invalid => "invalid",
            DamageFate::Zeroed | DamageFate::ZeroedAndIgnored => "zeroed",
            DamageFate::Ignored => "ignored",
        };
        let block = self.first_damaged;
        Some(format!("Block {block} held the first {what} page."))
    }

    /// The HINT line, if there are several pages.
    pub fn hint(&self) -> Option<String> {
        let what = match self.fate {
            DamageFate::ZeroedAndIgnored => {
                let others = self.pages + self.checksum_failures - 1;
                let plural = if others == 1 { "" } else { "s" };
                return Some(format!(
                    "See server log for details about the other {others} invalid block{plural}."
                ));
            }
            _ if self.pages <= 1 => return None,
            DamageFate::Invalid => "invalid",
            DamageFate::Zeroed => "zeroed",
            DamageFate::Ignored => "ignored",
        };
        let others = self.pages - 1;
        Some(format!(
            "See server log for the other {others} {what} block(s)."
        ))
    }
}

impl fmt::Display for DamagedRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DamagedRead {
            path,
            first,
            last,
            pages,
            ..
        } = self;
        let block = self.first_damaged;
        let blocks = format_args!("among blocks {first}..{last} of relation \"{path}\"");
        match (self.fate, *pages) {
            (DamageFate::ZeroedAndIgnored, _) => {
                let ignored = self.checksum_failures;
                write!(
                    f,
                    "zeroing {pages} page(s) and ignoring {ignored} checksum failure(s) {blocks}"
                )
            }
            (DamageFate::Invalid, 1) => write_one(f, Verdict::Invalid, block, path),
            (DamageFate::Zeroed, 1) => write_one(f, Verdict::Zeroed, block, path),
            (DamageFate::Ignored, 1) => write_one(f, Verdict::Ignored, block, path),
            (DamageFate::Invalid, _) => write!(f, "{pages} invalid pages {blocks}"),
            (DamageFate::Zeroed, _) => write!(f, "zeroing out {pages} invalid pages {blocks}"),
            (DamageFate::Ignored, _) => write!(f, "ignoring {pages} checksum failures {blocks}"),
        }
    }
}

/// The message about a single page.
pub(crate) fn write_one(
    f: &mut impl fmt::Write,
    verdict: Verdict,
    block: BlockNumber,
    path: &str,
) -> fmt::Result {
    match verdict {
        Verdict::Invalid => write!(f, "invalid page in block {block} of relation \"{path}\""),
        Verdict::Zeroed => write!(
            f,
            "invalid page in block {block} of relation \"{path}\"; zeroing out page"
        ),
        Verdict::Ignored => write!(
            f,
            "ignoring checksum failure in block {block} of relation \"{path}\""
        ),
    }
}

impl From<DamagedRead> for BufferError {
    fn from(read: DamagedRead) -> BufferError {
        BufferError::InvalidPages(Box::new(read))
    }
}
