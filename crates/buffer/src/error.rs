//! What can go wrong in the buffer pool, in PostgreSQL's words.

use crate::damage::DamagedRead;
use crate::write_ahead_log::LogError;
use std::io;
use trunkline_aio::AioError;
use trunkline_pgformat::{BLCKSZ, BlockNumber};
use trunkline_smgr::{SmgrError, file_access_sqlstate, os_message};

/// An operation of the buffer pool failed.
#[derive(Debug, thiserror::Error)]
pub enum BufferError {
    /// Pages of a read are damaged. They are never published; other blocks stay readable.
    #[error("{0}")]
    InvalidPages(Box<DamagedRead>),
    /// A read ended before the blocks wanted: the file is shorter.
    #[error(
        "could not read blocks {first}..{last} in file \"{path}\": read only {bytes} of {wanted} bytes"
    )]
    ShortRead {
        /// The segment.
        path: String,
        /// First block of the read.
        first: BlockNumber,
        /// Last block of the read.
        last: BlockNumber,
        /// Bytes read.
        bytes: u32,
        /// Bytes wanted.
        wanted: u32,
    },
    /// The system refused a read.
    #[error(
        "could not read blocks {first}..{last} in file \"{path}\": {}",
        os_message(error)
    )]
    Read {
        /// The segment.
        path: String,
        /// First block of the read.
        first: BlockNumber,
        /// Last block of the read.
        last: BlockNumber,
        /// Why.
        error: io::Error,
    },
    /// The system refused a write. The buffers stay dirty.
    #[error(
        "could not write blocks {first}..{last} in file \"{path}\": {}",
        os_message(error)
    )]
    Write {
        /// The segment.
        path: String,
        /// First block of the write.
        first: BlockNumber,
        /// Last block of the write.
        last: BlockNumber,
        /// Why.
        error: io::Error,
    },
    /// A fork is extended into a block that is in use (PostgreSQL blames buggy kernels).
    #[error("unexpected data beyond EOF in block {block} of relation \"{path}\"")]
    DataBeyondEnd {
        /// The fork's path.
        path: String,
        /// The block.
        block: BlockNumber,
    },
    /// Every buffer is pinned (B9).
    #[error("no unpinned buffers available")]
    NoUnpinnedBuffers,
    /// The pool's memory could not be had.
    #[error(
        "could not map {bytes} bytes of memory for shared buffers: {}",
        os_message(error)
    )]
    MapMemory {
        /// Bytes asked for.
        bytes: u64,
        /// Why.
        error: io::Error,
    },
    /// A size of the pool's configuration is outside its range.
    #[error("{value} is outside the valid range for parameter \"{name}\" ({low} .. {high})")]
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
    /// A file could not be opened, extended, ...
    #[error(transparent)]
    Smgr(#[from] SmgrError),
    /// A page could not be written because the write-ahead log before it is not durable.
    #[error(transparent)]
    Log(#[from] LogError),
    /// No I/O could be started at all.
    #[error(transparent)]
    Aio(#[from] AioError),
}

impl BufferError {
    /// Whether it tells of the page that was asked for, rather than of what stood in the way of having it.
    pub fn is_of_the_page(&self) -> bool {
        matches!(
            self,
            BufferError::InvalidPages(_) | BufferError::ShortRead { .. } | BufferError::Read { .. }
        )
    }

    /// PostgreSQL's SQLSTATE for it.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            BufferError::InvalidPages(read) => read.sqlstate(),
            BufferError::ShortRead { .. } => "XX001",
            BufferError::Read { error, .. } | BufferError::Write { error, .. } => {
                file_access_sqlstate(error)
            }
            BufferError::DataBeyondEnd { .. } => "XX000",
            BufferError::NoUnpinnedBuffers | BufferError::Aio(_) => "53000",
            BufferError::MapMemory { .. } => "53200",
            BufferError::SettingOutOfRange { .. } => "22023",
            BufferError::Smgr(error) => error.sqlstate(),
            BufferError::Log(error) => error.sqlstate,
        }
    }

    /// The DETAIL line, if there is one.
    pub fn detail(&self) -> Option<String> {
        match self {
            BufferError::InvalidPages(read) => read.detail(),
            _ => None,
        }
    }

    /// The HINT line, if there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            BufferError::InvalidPages(read) => read.hint(),
            BufferError::Write { error, .. } if error.kind() == io::ErrorKind::StorageFull => {
                Some("Check free disk space.".to_owned())
            }
            BufferError::Smgr(error) => error.hint().map(str::to_owned),
            _ => None,
        }
    }

    pub(crate) fn short_read(
        path: String,
        first: BlockNumber,
        blocks: u32,
        bytes: u32,
    ) -> BufferError {
        let wanted = blocks * BLCKSZ as u32;
        // Part of a block is none, as in PostgreSQL.
        let bytes = bytes - bytes % BLCKSZ as u32;
        BufferError::ShortRead {
            path,
            first,
            last: first + blocks - 1,
            bytes,
            wanted,
        }
    }
}
