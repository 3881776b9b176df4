//! Taking a complete record apart (`DecodeXLogRecord` in `transam/xlogreader.c`).
//!
//! Nothing is copied: what is found borrows the record's bytes. Whether the CRC is right is for
//! [`check_crc`] to say, which [`reader`](super::reader) does first.

mod image;

pub use image::{DecodedImage, RestoreError};

use crate::crc::Crc32c;
use crate::ids::{BLCKSZ, BlockNumber, ForkNumber, Lsn, RelFileLocator, Xid};
use crate::wal::cursor::{Cursor, fork_from_number};
use crate::wal::info::XLR_RMGR_INFO_MASK;
use crate::wal::record::{
    BlockReference, CRC_OFFSET, MAX_BLOCK_ID, PageHole, RECORD_HEADER_SIZE, Record, RecordHeader,
    block_flags, header_id, image_flags,
};
use thiserror::Error;

/// Why bytes are no record, in PostgreSQL's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("{reason} at {at}")]
pub struct DecodeError {
    /// Where the record begins.
    pub at: Lsn,
    /// What is wrong.
    pub reason: DecodeErrorReason,
}

/// What is wrong with a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum DecodeErrorReason {
    /// The parts' lengths are not those of the whole.
    #[error("record with invalid length")]
    Length,
    /// The CRC does not match.
    #[error("incorrect resource manager data checksum in record")]
    Checksum,
    /// There is no such block.
    #[error("invalid block_id {id}")]
    BlockId {
        /// The id as found.
        id: u8,
    },
    /// Blocks must come in order.
    #[error("out-of-order block_id {id}")]
    BlockOrder {
        /// The id as found.
        id: u8,
    },
    /// There is no such fork.
    #[error("invalid fork number {fork} of block {id}")]
    Fork {
        /// The block's id.
        id: u8,
        /// The fork's number as found.
        fork: u8,
    },
    /// Data are announced, of no bytes.
    #[error("BKPBLOCK_HAS_DATA set, but no data included")]
    NoData,
    /// Data are there that were not announced.
    #[error("BKPBLOCK_HAS_DATA not set, but data length is {length}")]
    UnexpectedData {
        /// Bytes of the data.
        length: u16,
    },
    /// The image has a hole that it cannot have.
    #[error(
        "BKPIMAGE_HAS_HOLE set, but hole offset {offset} length {length} block image length {image_length}"
    )]
    Hole {
        /// Where the hole begins.
        offset: u16,
        /// Bytes of the hole.
        length: u16,
        /// Bytes of the image.
        image_length: u16,
    },
    /// The image has a hole that was not announced.
    #[error("BKPIMAGE_HAS_HOLE not set, but hole offset {offset} length {length}")]
    UnexpectedHole {
        /// Where the hole begins.
        offset: u16,
        /// Bytes of the hole.
        length: u16,
    },
    /// The image is compressed to no less than a page.
    #[error("BKPIMAGE_COMPRESSED set, but block image length {length}")]
    CompressedLength {
        /// Bytes of the image.
        length: u16,
    },
    /// No block before has a locator.
    #[error("BKPBLOCK_SAME_REL set but no previous rel")]
    NoPreviousRel,
}

/// A record taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DecodedRecord<'a> {
    /// Where it begins.
    pub lsn: Lsn,
    /// All of it, as it is in the log.
    pub bytes: &'a [u8],
    /// Its header.
    pub header: RecordHeader,
    /// The replication origin, if it is told.
    pub origin: Option<u16>,
    /// The transaction that the record's is a subtransaction of, if it is told.
    pub toplevel_xid: Option<Xid>,
    /// The blocks that it changes, in ascending order of their ids.
    pub blocks: Vec<DecodedBlock<'a>>,
    /// The resource manager's own data.
    pub main_data: &'a [u8],
}

/// A block that a record changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DecodedBlock<'a> {
    /// What redo knows it by.
    pub id: u8,
    /// The relation's files.
    pub locator: RelFileLocator,
    /// The fork.
    pub fork: ForkNumber,
    /// The block.
    pub block: BlockNumber,
    /// Redo initializes the page, whatever it holds.
    pub will_init: bool,
    /// The page's image, if there is one.
    pub image: Option<DecodedImage<'a>>,
    /// The data that belong to the block; empty if it has none.
    pub data: &'a [u8],
}

/// Bytes of a block's image and of its data, which come after all headers.
#[derive(Clone, Copy, Default)]
struct Lengths {
    image: u16,
    data: u16,
}

/// Whether the CRC of `record`, which must be a whole record, is right (`ValidXLogRecord`). Fewer
/// bytes than a header's have none.
pub fn check_crc(record: &[u8]) -> bool {
    let Some(header) = RecordHeader::decode(record) else {
        return false;
    };
    let mut crc = Crc32c::new();
    crc.update(&record[RECORD_HEADER_SIZE..]);
    crc.update(&record[..CRC_OFFSET]);
    crc.finish() == header.crc
}

impl<'a> DecodedRecord<'a> {
    /// Takes `record` apart, which begins at `lsn`; it must have exactly as many bytes as its
    /// header says.
    pub fn decode(lsn: Lsn, record: &'a [u8]) -> Result<DecodedRecord<'a>, DecodeError> {
        decode(lsn, record).map_err(|reason| DecodeError { at: lsn, reason })
    }

    /// The resource manager's code: its bits of `xl_info`.
    pub const fn code(&self) -> u8 {
        self.header.info & XLR_RMGR_INFO_MASK
    }

    /// Block `id`, if the record refers to one.
    pub fn block(&self, id: u8) -> Option<&DecodedBlock<'a>> {
        self.blocks.iter().find(|block| block.id == id)
    }

    /// Hands the record's parts to `write`, to write it again or elsewhere.
    pub fn with_parts<R>(&self, write: impl FnOnce(&Record<'_>) -> R) -> R {
        let data: Vec<[&[u8]; 1]> = self.blocks.iter().map(|block| [block.data]).collect();
        let blocks: Vec<BlockReference<'_>> = self
            .blocks
            .iter()
            .zip(&data)
            .map(|(block, data)| BlockReference {
                id: block.id,
                locator: block.locator,
                fork: block.fork,
                block: block.block,
                will_init: block.will_init,
                image: block.image.as_ref().map(DecodedImage::as_page_image),
                data,
            })
            .collect();
        write(&Record {
            rmgr: self.header.rmgr,
            info: self.header.info,
            xid: self.header.xid,
            origin: self.origin,
            toplevel_xid: self.toplevel_xid,
            blocks: &blocks,
            main_data: &[self.main_data],
        })
    }
}

fn decode(lsn: Lsn, record: &[u8]) -> Result<DecodedRecord<'_>, DecodeErrorReason> {
    use DecodeErrorReason::Length;
    let header = RecordHeader::decode(record).ok_or(Length)?;
    if record.len() != header.total_length as usize {
        return Err(Length);
    }
    let mut cursor = Cursor::new(&record[RECORD_HEADER_SIZE..]);
    let mut blocks: Vec<DecodedBlock<'_>> = Vec::new();
    let mut lengths = [Lengths::default(); MAX_BLOCK_ID as usize + 1];
    let mut origin = None;
    let mut toplevel_xid = None;
    let mut main_data_length = 0;
    // Bytes of data that the headers have announced: where they begin the headers end.
    let mut announced: u64 = 0;
    while cursor.rest().len() as u64 > announced {
        match cursor.u8().ok_or(Length)? {
            // The main data's header is always the last one.
            header_id::DATA_SHORT => {
                main_data_length = u32::from(cursor.u8().ok_or(Length)?);
                announced += u64::from(main_data_length);
                break;
            }
            header_id::DATA_LONG => {
                main_data_length = cursor.u32().ok_or(Length)?;
                announced += u64::from(main_data_length);
                break;
            }
            header_id::ORIGIN => origin = Some(cursor.u16().ok_or(Length)?),
            header_id::TOPLEVEL_XID => toplevel_xid = Some(cursor.xid().ok_or(Length)?),
            id if id <= MAX_BLOCK_ID => {
                let (block, of_block) = block_header(id, blocks.last(), &mut cursor)?;
                announced += u64::from(of_block.image) + u64::from(of_block.data);
                lengths[usize::from(id)] = of_block;
                blocks.push(block);
            }
            id => return Err(DecodeErrorReason::BlockId { id }),
        }
    }
    if cursor.rest().len() as u64 != announced {
        return Err(Length);
    }
    for block in &mut blocks {
        let of_block = lengths[usize::from(block.id)];
        if let Some(image) = &mut block.image {
            image.set_data(cursor.take(of_block.image.into()).ok_or(Length)?);
        }
        block.data = cursor.take(of_block.data.into()).ok_or(Length)?;
    }
    Ok(DecodedRecord {
        lsn,
        bytes: record,
        header,
        origin,
        toplevel_xid,
        blocks,
        main_data: cursor.take(main_data_length as usize).ok_or(Length)?,
    })
}

/// The rest of the header of block `id`: the block, whose image and data are empty yet.
fn block_header<'a>(
    id: u8,
    before: Option<&DecodedBlock<'_>>,
    cursor: &mut Cursor<'_>,
) -> Result<(DecodedBlock<'a>, Lengths), DecodeErrorReason> {
    use DecodeErrorReason::Length;
    if before.is_some_and(|before| before.id >= id) {
        return Err(DecodeErrorReason::BlockOrder { id });
    }
    let flags = cursor.u8().ok_or(Length)?;
    let fork = flags & block_flags::FORK_MASK;
    let fork = fork_from_number(fork.into()).ok_or(DecodeErrorReason::Fork { id, fork })?;
    let data_length = cursor.u16().ok_or(Length)?;
    match (flags & block_flags::HAS_DATA != 0, data_length) {
        (true, 0) => return Err(DecodeErrorReason::NoData),
        (false, length @ 1..) => return Err(DecodeErrorReason::UnexpectedData { length }),
        _ => {}
    }
    let mut lengths = Lengths {
        image: 0,
        data: data_length,
    };
    let mut image = None;
    if flags & block_flags::HAS_IMAGE != 0 {
        let header = image_header(cursor)?;
        lengths.image = header.0;
        image = Some(header.1);
    }
    let locator = if flags & block_flags::SAME_REL == 0 {
        cursor.locator().ok_or(Length)?
    } else {
        before.ok_or(DecodeErrorReason::NoPreviousRel)?.locator
    };
    let block = DecodedBlock {
        id,
        locator,
        fork,
        block: cursor.u32().ok_or(Length)?,
        will_init: flags & block_flags::WILL_INIT != 0,
        image,
        data: &[],
    };
    Ok((block, lengths))
}

/// An image's header: how long it is, and the image without its data yet. What it says of the hole
/// fits a page, or it is refused.
fn image_header<'a>(cursor: &mut Cursor<'_>) -> Result<(u16, DecodedImage<'a>), DecodeErrorReason> {
    use DecodeErrorReason::Length;
    let length = cursor.u16().ok_or(Length)?;
    let offset = cursor.u16().ok_or(Length)?;
    let info = cursor.u8().ok_or(Length)?;
    let has_hole = info & image_flags::HAS_HOLE != 0;
    let is_compressed = DecodedImage::is_compressed_by(info);
    let hole_length = match (is_compressed, has_hole) {
        (true, true) => cursor.u16().ok_or(Length)?,
        (true, false) => 0,
        // As in C, where an image longer than a page has a hole of a negative length.
        (false, _) => (BLCKSZ as u16).wrapping_sub(length),
    };
    let hole = PageHole {
        offset,
        length: hole_length,
    };
    if has_hole {
        if offset == 0 || hole_length == 0 || usize::from(length) >= BLCKSZ || !hole.fits() {
            return Err(DecodeErrorReason::Hole {
                offset,
                length: hole_length,
                image_length: length,
            });
        }
    } else if offset != 0 || hole_length != 0 {
        return Err(DecodeErrorReason::UnexpectedHole {
            offset,
            length: hole_length,
        });
    }
    if is_compressed && usize::from(length) >= BLCKSZ {
        return Err(DecodeErrorReason::CompressedLength { length });
    }
    Ok((length, DecodedImage::new(hole, info)))
}

#[cfg(test)]
mod tests;
