//! What can go wrong with the log.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use trunkline_aio::AioError;
use trunkline_pgformat::Lsn;
use trunkline_pgformat::wal::TimeLineId;
use trunkline_pgformat::wal::record::RecordError;
use trunkline_pgformat::wal::segment::{SegmentNumber, SegmentSize};

/// What failed first, and stopped the log for good (W7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    timeline: TimeLineId,
    segment_size: SegmentSize,
    segment: SegmentNumber,
    kind: FailureKind,
    errno: Option<i32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FailureKind {
    Write { offset: u32, length_bytes: u64 },
    Sync,
    Open,
    Abandoned,
}

impl Failure {
    pub(crate) fn write(
        timeline: TimeLineId,
        segment_size: SegmentSize,
        start: Lsn,
        length_bytes: u64,
        errno: i32,
    ) -> Failure {
        Failure {
            timeline,
            segment_size,
            segment: segment_size.segment_of(start),
            kind: FailureKind::Write {
                offset: segment_size.offset_of(start),
                length_bytes,
            },
            errno: Some(errno),
        }
    }

    pub(crate) fn sync(
        timeline: TimeLineId,
        segment_size: SegmentSize,
        segment: SegmentNumber,
        errno: i32,
    ) -> Failure {
        Failure {
            timeline,
            segment_size,
            segment,
            kind: FailureKind::Sync,
            errno: Some(errno),
        }
    }

    pub(crate) fn open(
        timeline: TimeLineId,
        segment_size: SegmentSize,
        segment: SegmentNumber,
        errno: Option<i32>,
    ) -> Failure {
        Failure {
            timeline,
            segment_size,
            segment,
            kind: FailureKind::Open,
            errno,
        }
    }

    /// A thread panicked with a place in the log reserved and not filled.
    pub(crate) fn abandoned(
        timeline: TimeLineId,
        segment_size: SegmentSize,
        start: Lsn,
    ) -> Failure {
        Failure {
            timeline,
            segment_size,
            segment: segment_size.segment_of(start),
            kind: FailureKind::Abandoned,
            errno: None,
        }
    }

    /// What the system said, if it said anything.
    pub fn errno(&self) -> Option<i32> {
        self.errno
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.segment_size.file_name(self.timeline, self.segment);
        match self.kind {
            FailureKind::Write {
                offset,
                length_bytes,
            } => write!(
                f,
                "could not write to WAL segment {name} at offset {offset}, length {length_bytes}"
            )?,
            FailureKind::Sync => write!(f, "could not sync WAL segment {name}")?,
            FailureKind::Open => write!(f, "could not open or make WAL segment {name}")?,
            FailureKind::Abandoned => write!(f, "a record for WAL segment {name} was abandoned")?,
        }
        match self.errno {
            Some(errno) => write!(f, ": {}", io::Error::from_raw_os_error(errno)),
            None => Ok(()),
        }
    }
}

/// An error of the write-ahead log.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// A write or a sync failed, now or earlier: nothing more becomes durable, and the engine has to
    /// stop. Recovery is the retry.
    #[error("the write-ahead log has failed: {0}")]
    Failed(Failure),
    /// A record is longer than the log takes.
    #[error(
        "a WAL record of {length_bytes} bytes is longer than half of the WAL buffers, {limit_bytes} bytes"
    )]
    RecordTooLong {
        /// Its length.
        length_bytes: u32,
        /// What is allowed; more with a larger `wal_buffers`.
        limit_bytes: usize,
    },
    /// The parts make no record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A flush was asked for of log that does not exist: the caller's LSN is wrong.
    #[error("cannot flush the write-ahead log to {requested}: it ends at {end}")]
    FlushBeyondEnd {
        /// What was asked for.
        requested: Lsn,
        /// Where the log ends.
        end: Lsn,
    },
    /// The AIO core refused something.
    #[error(transparent)]
    Aio(#[from] AioError),
    /// A file operation failed.
    #[error("could not {action} \"{}\": {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The log cannot go on where it was told to.
    #[error("the write-ahead log cannot be continued at {at}: {reason}")]
    CannotContinue {
        /// Where.
        at: Lsn,
        /// Why not.
        reason: String,
    },
    /// `wal_sync_method` has no such value here.
    #[error("wal_sync_method {name:?} is not supported (open_datasync, fdatasync, fsync are)")]
    UnknownSyncMethod {
        /// The value given.
        name: String,
    },
    /// A setting is outside its range.
    #[error("{name} is {value}, outside the valid range {low} .. {high}")]
    SettingOutOfRange {
        /// Name of the setting.
        name: &'static str,
        /// The value given.
        value: u64,
        /// The smallest valid value.
        low: u64,
        /// The largest valid value.
        high: u64,
    },
}

impl WalError {
    /// Says what was tried with which file.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WalError {
        let path = path.to_owned();
        move |source| WalError::File {
            action,
            path,
            source,
        }
    }

    /// What the system said, if it said anything.
    pub fn errno(&self) -> Option<i32> {
        match self {
            WalError::Failed(failure) => failure.errno(),
            WalError::File { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}
