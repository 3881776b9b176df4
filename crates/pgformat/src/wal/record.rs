//! A record of the log: its header, block references, page images and data, and how they are put
//! together (`access/xlogrecord.h`; `XLogRecordAssemble` in `transam/xloginsert.c`).
//!
//! ```text
//!  0           4     8      16     17     18      20    24
//! | total len | xid | prev | info | rmgr | zeros | crc | block headers | origin | top xid | data header |
//! | image and data of the first block | ... | main data |
//!
//! block header:  | id | fork, flags | data length (2) | image header | locator (12) | block (4) |
//! image header:  | length (2) | hole's offset (2) | image flags | hole's length (2), if compressed |
//! origin: 253, 2 bytes     top xid: 252, 4 bytes     data header: 255, 1 byte; or 254, 4 bytes
//! ```
//!
//! A locator is left out when it is that of the block before. The CRC-32C covers everything behind
//! the record's header first, and then the 20 bytes of the header before the CRC: so all but a few
//! bytes are summed before the log's position is known. See [the module above](super) for how a
//! record is written.

mod assemble;
mod compress;
mod image;

pub use assemble::{AssembledRecord, HeaderBuffer, MAX_HEADERS_SIZE};
pub use compress::ImageCompressor;
pub use image::{Compression, PageHole, PageImage};

use crate::ids::{BlockNumber, ForkNumber, Lsn, RelFileLocator, Xid};
use crate::wal::rmgr_id::RmgrId;
use thiserror::Error;

/// Bytes of a record's header, and the fewest that a record has (`SizeOfXLogRecord`).
pub const RECORD_HEADER_SIZE: usize = 24;
/// Where the CRC is in the header; it covers what is before.
pub(super) const CRC_OFFSET: usize = 20;
/// The most bytes that a record can have (`XLogRecordMaxSize`).
pub const MAX_RECORD_SIZE: u32 = 1020 * 1024 * 1024;
/// The largest id of a block reference (`XLR_MAX_BLOCK_ID`).
pub const MAX_BLOCK_ID: u8 = 32;
/// The most bytes that a block reference's data can have.
pub const MAX_BLOCK_DATA_SIZE: usize = u16::MAX as usize;

/// Ids of what else can be where a block's id is.
pub(super) mod header_id {
    pub const TOPLEVEL_XID: u8 = 252;
    pub const ORIGIN: u8 = 253;
    pub const DATA_LONG: u8 = 254;
    pub const DATA_SHORT: u8 = 255;
}

/// Bits of a block header's second byte, beside the fork's number.
pub mod block_flags {
    /// The bits of the fork's number (`BKPBLOCK_FORK_MASK`).
    pub const FORK_MASK: u8 = 0x0f;
    /// A page image follows.
    pub const HAS_IMAGE: u8 = 0x10;
    /// Data follow.
    pub const HAS_DATA: u8 = 0x20;
    /// Redo initializes the page.
    pub const WILL_INIT: u8 = 0x40;
    /// The locator is that of the block before.
    pub const SAME_REL: u8 = 0x80;
}

/// Bits of an image's flags (`bimg_info`).
pub mod image_flags {
    /// Bytes were left out.
    pub const HAS_HOLE: u8 = 0x01;
    /// Redo replaces the page by the image.
    pub const APPLY: u8 = 0x02;
    /// Compressed with pglz.
    pub const COMPRESS_PGLZ: u8 = 0x04;
    /// Compressed with LZ4.
    pub const COMPRESS_LZ4: u8 = 0x08;
    /// Compressed with Zstandard.
    pub const COMPRESS_ZSTD: u8 = 0x10;
}

/// A record's header (`XLogRecord`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordHeader {
    /// Bytes of the whole record, without page headers between them (`xl_tot_len`).
    pub total_length: u32,
    /// The transaction, or invalid (`xl_xid`).
    pub xid: Xid,
    /// Where the record before begins (`xl_prev`).
    pub prev: Lsn,
    /// Flags and the resource manager's code (`xl_info`), see [`info`](super::info).
    pub info: u8,
    /// The resource manager (`xl_rmid`).
    pub rmgr: RmgrId,
    /// CRC-32C (`xl_crc`).
    pub crc: u32,
}

impl RecordHeader {
    /// The header that `bytes` begin with; `None` if they are fewer. Nothing is checked.
    pub fn decode(bytes: &[u8]) -> Option<RecordHeader> {
        let bytes = bytes.first_chunk::<RECORD_HEADER_SIZE>()?;
        let u32_at = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        Some(RecordHeader {
            total_length: u32_at(0),
            xid: Xid(u32_at(4)),
            prev: Lsn(u64::from(u32_at(8)) | u64::from(u32_at(12)) << 32),
            info: bytes[16],
            rmgr: RmgrId(bytes[17]),
            crc: u32_at(CRC_OFFSET),
        })
    }

    /// The header's bytes.
    pub fn encode(&self) -> [u8; RECORD_HEADER_SIZE] {
        let mut bytes = [0; RECORD_HEADER_SIZE];
        bytes[0..4].copy_from_slice(&self.total_length.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.xid.0.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.prev.0.to_le_bytes());
        bytes[16] = self.info;
        bytes[17] = self.rmgr.0;
        bytes[20..24].copy_from_slice(&self.crc.to_le_bytes());
        bytes
    }
}

/// The parts of a record that is to be written. Nothing in it is copied before it is copied to the
/// log.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The resource manager.
    pub rmgr: RmgrId,
    /// Flags and the resource manager's code, see [`info`](super::info).
    pub info: u8,
    /// The transaction, or invalid.
    pub xid: Xid,
    /// The replication origin, if it is to be told.
    pub origin: Option<u16>,
    /// The transaction that `xid` is a subtransaction of, if it is to be told.
    pub toplevel_xid: Option<Xid>,
    /// The blocks that the record changes, in ascending order of their ids.
    pub blocks: &'a [BlockReference<'a>],
    /// The resource manager's own data, one after the other.
    pub main_data: &'a [&'a [u8]],
}

/// A block that a record changes.
#[derive(Clone, Copy, Debug)]
pub struct BlockReference<'a> {
    /// What redo knows it by: 0 to [`MAX_BLOCK_ID`].
    pub id: u8,
    /// The relation's files.
    pub locator: RelFileLocator,
    /// The fork.
    pub fork: ForkNumber,
    /// The block.
    pub block: BlockNumber,
    /// Redo initializes the page, whatever it holds.
    pub will_init: bool,
    /// The page itself, if it is to be logged.
    pub image: Option<PageImage<'a>>,
    /// The data that belong to the block, one after the other. Where an image makes them needless,
    /// the caller leaves them out.
    pub data: &'a [&'a [u8]],
}

/// Why parts are no record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum RecordError {
    /// A block reference's id is too large or not above that of the one before.
    #[error("block reference {id} is out of order")]
    BlockId {
        /// The id.
        id: u8,
    },
    /// A block reference's data do not fit.
    #[error("too much WAL data: {length} bytes for block {id}, which cannot have more than 65535")]
    BlockDataTooLong {
        /// The block reference's id.
        id: u8,
        /// Bytes of its data.
        length: usize,
    },
    /// The record would be larger than any record can be.
    #[error("oversized WAL record: {length} bytes, which is more than 1069547520")]
    TooLong {
        /// Bytes of the record.
        length: usize,
    },
}
