//! Laying out a record's headers, and its CRC.

use super::{
    BlockReference, CRC_OFFSET, MAX_BLOCK_DATA_SIZE, MAX_BLOCK_ID, MAX_RECORD_SIZE,
    RECORD_HEADER_SIZE, Record, RecordError, RecordHeader, block_flags, header_id, image_flags,
};
use crate::crc::Crc32c;
use crate::ids::{Lsn, RelFileLocator};
use std::iter;

/// Bytes of a block header with everything that it can have (`MaxSizeOfXLogRecordBlockHeader`).
const MAX_BLOCK_HEADER_SIZE: usize = 4 + 5 + 2 + 12 + 4;
const MAX_DATA_HEADER_SIZE: usize = 1 + 4;
const ORIGIN_SIZE: usize = 1 + 2;
const TOPLEVEL_XID_SIZE: usize = 1 + 4;

/// The most bytes that a record's headers can have (`HEADER_SCRATCH_SIZE`).
pub const MAX_HEADERS_SIZE: usize = RECORD_HEADER_SIZE
    + (MAX_BLOCK_ID as usize + 1) * MAX_BLOCK_HEADER_SIZE
    + ORIGIN_SIZE
    + TOPLEVEL_XID_SIZE
    + MAX_DATA_HEADER_SIZE;

/// Room for a record's headers; made once and used for one record after the other.
#[derive(Clone, Debug)]
pub struct HeaderBuffer {
    bytes: [u8; MAX_HEADERS_SIZE],
    length: usize,
}

impl HeaderBuffer {
    /// Room without headers.
    pub const fn new() -> HeaderBuffer {
        HeaderBuffer {
            bytes: [0; MAX_HEADERS_SIZE],
            length: 0,
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.length..][..bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    fn filled(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Default for HeaderBuffer {
    fn default() -> HeaderBuffer {
        HeaderBuffer::new()
    }
}

/// A record whose length is known and whose header waits for the place of the record before.
#[derive(Debug)]
pub struct AssembledRecord<'r, 'h> {
    record: Record<'r>,
    headers: &'h mut HeaderBuffer,
    header: RecordHeader,
    /// CRC of everything behind the record's header.
    crc: Crc32c,
}

impl<'r> Record<'r> {
    /// Lays out the headers in `headers`, whose contents before do not matter, and computes the CRC
    /// of all data. Page images must not change between this and the copying of
    /// [`AssembledRecord::pieces`].
    pub fn assemble<'h>(
        &self,
        headers: &'h mut HeaderBuffer,
    ) -> Result<AssembledRecord<'r, 'h>, RecordError> {
        headers.length = RECORD_HEADER_SIZE;
        let mut data_length = 0;
        let mut before: Option<&BlockReference<'_>> = None;
        for block in self.blocks {
            if block.id > MAX_BLOCK_ID || before.is_some_and(|before| before.id >= block.id) {
                return Err(RecordError::BlockId { id: block.id });
            }
            data_length += push_block_header(headers, block, before.map(|block| block.locator))?;
            before = Some(block);
        }
        if let Some(origin) = self.origin {
            headers.push(&[header_id::ORIGIN]);
            headers.push(&origin.to_le_bytes());
        }
        if let Some(xid) = self.toplevel_xid {
            headers.push(&[header_id::TOPLEVEL_XID]);
            headers.push(&xid.0.to_le_bytes());
        }
        let main_data_length = total(self.main_data);
        let too_long = |length| RecordError::TooLong { length };
        if let Ok(length @ 1..) = u8::try_from(main_data_length) {
            headers.push(&[header_id::DATA_SHORT, length]);
        } else if main_data_length > 0 {
            let length = u32::try_from(main_data_length).map_err(|_| too_long(main_data_length))?;
            headers.push(&[header_id::DATA_LONG]);
            headers.push(&length.to_le_bytes());
        }
        let length = headers.length + data_length + main_data_length;
        let total_length = match u32::try_from(length) {
            Ok(total_length @ ..=MAX_RECORD_SIZE) => total_length,
            _ => return Err(too_long(length)),
        };
        let mut crc = Crc32c::new();
        crc.update(&headers.filled()[RECORD_HEADER_SIZE..]);
        for piece in data_pieces(self) {
            crc.update(piece);
        }
        let header = RecordHeader {
            total_length,
            xid: self.xid,
            prev: Lsn::INVALID,
            info: self.info,
            rmgr: self.rmgr,
            crc: 0,
        };
        Ok(AssembledRecord {
            record: *self,
            headers,
            header,
            crc,
        })
    }
}

impl AssembledRecord<'_, '_> {
    /// Bytes of the record; what is to be reserved is the next multiple of eight.
    pub const fn total_length(&self) -> u32 {
        self.header.total_length
    }

    /// Completes the header: the record before begins at `prev`. To be called before
    /// [`AssembledRecord::pieces`]; calling it again replaces what it did.
    pub fn finish(&mut self, prev: Lsn) {
        self.header.prev = prev;
        let mut bytes = self.header.encode();
        let mut crc = self.crc;
        crc.update(&bytes[..CRC_OFFSET]);
        bytes[CRC_OFFSET..].copy_from_slice(&crc.finish().to_le_bytes());
        self.headers.bytes[..RECORD_HEADER_SIZE].copy_from_slice(&bytes);
    }

    /// The record's bytes, in order; some pieces may be empty.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        iter::once(self.headers.filled()).chain(data_pieces(&self.record))
    }
}

fn total(pieces: &[&[u8]]) -> usize {
    pieces.iter().map(|piece| piece.len()).sum()
}

/// What follows the headers.
fn data_pieces<'r>(record: &Record<'r>) -> impl Iterator<Item = &'r [u8]> + use<'r> {
    let of_blocks = record.blocks.iter().flat_map(|block| {
        let image = block.image.map_or([&[][..]; 2], |image| image.parts);
        image.into_iter().chain(block.data.iter().copied())
    });
    of_blocks.chain(record.main_data.iter().copied())
}

/// Adds the header of `block`; gives the bytes of its image and data.
fn push_block_header(
    headers: &mut HeaderBuffer,
    block: &BlockReference<'_>,
    locator_before: Option<RelFileLocator>,
) -> Result<usize, RecordError> {
    let length = total(block.data);
    let data_length = match u16::try_from(length) {
        Ok(data_length) => data_length,
        Err(_) => {
            return Err(RecordError::BlockDataTooLong {
                id: block.id,
                length,
            });
        }
    };
    const { assert!(MAX_BLOCK_DATA_SIZE == u16::MAX as usize) };
    let is_same_rel = locator_before == Some(block.locator);
    let mut flags = block.fork as u8;
    for (is_set, flag) in [
        (block.image.is_some(), block_flags::HAS_IMAGE),
        (length > 0, block_flags::HAS_DATA),
        (block.will_init, block_flags::WILL_INIT),
        (is_same_rel, block_flags::SAME_REL),
    ] {
        if is_set {
            flags |= flag;
        }
    }
    headers.push(&[block.id, flags]);
    headers.push(&data_length.to_le_bytes());
    let mut image_length = 0;
    if let Some(image) = &block.image {
        image_length = image.length();
        // A page at most, whoever made the image.
        headers.push(&(image_length as u16).to_le_bytes());
        headers.push(&image.hole.offset.to_le_bytes());
        headers.push(&[image.flags()]);
        if image.compression.is_some() && image.flags() & image_flags::HAS_HOLE != 0 {
            headers.push(&image.hole.length.to_le_bytes());
        }
    }
    if !is_same_rel {
        headers.push(&block.locator.spc_oid.0.to_le_bytes());
        headers.push(&block.locator.db_oid.0.to_le_bytes());
        headers.push(&block.locator.rel_number.to_le_bytes());
    }
    headers.push(&block.block.to_le_bytes());
    Ok(image_length + length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crc::crc32c;
    use crate::ids::{BLCKSZ, ForkNumber, Oid, Xid};
    use crate::page::PageMut;
    use crate::wal::info;
    use crate::wal::record::{Compression, PageHole, PageImage};
    use crate::wal::rmgr_id::RmgrId;

    const LOCATOR: RelFileLocator = RelFileLocator {
        spc_oid: Oid(1663),
        db_oid: Oid(5),
        rel_number: 16384,
    };

    fn block<'a>(id: u8) -> BlockReference<'a> {
        BlockReference {
            id,
            locator: LOCATOR,
            fork: ForkNumber::Main,
            block: 7,
            will_init: false,
            image: None,
            data: &[],
        }
    }

    fn record<'a>(blocks: &'a [BlockReference<'a>], main_data: &'a [&'a [u8]]) -> Record<'a> {
        Record {
            rmgr: RmgrId::HEAP,
            info: info::heap::INSERT,
            xid: Xid(700),
            origin: None,
            toplevel_xid: None,
            blocks,
            main_data,
        }
    }

    fn bytes_of(record: &Record<'_>) -> Vec<u8> {
        let mut headers = HeaderBuffer::new();
        let mut assembled = record.assemble(&mut headers).unwrap();
        assembled.finish(Lsn(0x1_0000_0028));
        let bytes: Vec<u8> = assembled.pieces().flatten().copied().collect();
        assert_eq!(bytes.len(), assembled.total_length() as usize);
        bytes
    }

    #[test]
    fn a_record_without_parts_is_a_header_with_the_crc_of_its_20_bytes() {
        let bytes = bytes_of(&record(&[], &[]));
        let expected = [
            24, 0, 0, 0, 0xbc, 2, 0, 0, 0x28, 0, 0, 0, 1, 0, 0, 0, 0, 10, 0, 0,
        ];
        assert_eq!(bytes[..20], expected);
        assert_eq!(bytes[20..], crc32c(&expected).to_le_bytes());
    }

    #[test]
    fn headers_come_first_and_the_crc_covers_the_record_header_last() {
        let blocks = [
            BlockReference {
                data: &[b"ab", b"c"],
                ..block(0)
            },
            BlockReference {
                will_init: true,
                fork: ForkNumber::Vm,
                ..block(3)
            },
        ];
        let mut record = record(&blocks, &[b"main", b"", b"data"]);
        record.origin = Some(0x0102);
        record.toplevel_xid = Some(Xid(699));
        let bytes = bytes_of(&record);
        #[rustfmt::skip]
        let expected = [
            0, 0x20, 3, 0, 0x7f, 6, 0, 0, 5, 0, 0, 0, 0, 0x40, 0, 0, 7, 0, 0, 0,
            3, 0x40 | 0x80 | 2, 0, 0, 7, 0, 0, 0,
            253, 2, 1, 252, 0xbb, 2, 0, 0, 255, 8,
            b'a', b'b', b'c', b'm', b'a', b'i', b'n', b'd', b'a', b't', b'a',
        ];
        assert_eq!(bytes[24..], expected);
        let summed = [&bytes[24..], &bytes[..20]].concat();
        assert_eq!(bytes[20..24], crc32c(&summed).to_le_bytes());
    }

    #[test]
    fn an_image_leaves_out_the_free_space() {
        let mut page = Box::new([0; BLCKSZ]);
        PageMut::new(&mut page).init(0);
        PageMut::new(&mut page).add_item(b"0123456789").unwrap();
        let standard = [BlockReference {
            image: Some(PageImage::standard(&page)),
            ..block(0)
        }];
        let bytes = bytes_of(&record(&standard, &[]));
        #[rustfmt::skip]
        let header = [
            0, 0x10, 0, 0, 44, 0, 28, 0, 3, 0x7f, 6, 0, 0, 5, 0, 0, 0, 0, 0x40, 0, 0, 7, 0, 0, 0,
        ];
        assert_eq!(bytes[24..49], header);
        assert_eq!(bytes[49..77], page[..28]);
        assert_eq!(bytes[77..], page[8176..]);

        let whole = [BlockReference {
            image: Some(PageImage::whole(&page)),
            ..block(0)
        }];
        let bytes = bytes_of(&record(&whole, &[]));
        assert_eq!(bytes[28..33], [0, 0x20, 0, 0, 2]);
        assert_eq!(bytes[49..], page[..]);
    }

    #[test]
    fn a_compressed_image_tells_the_length_of_its_hole() {
        let hole = PageHole {
            offset: 28,
            length: 8148,
        };
        let image = PageImage::compressed(Compression::Pglz, b"short", hole).unwrap();
        assert!(PageImage::compressed(Compression::Pglz, &[0; 44], hole).is_none());
        let blocks = [BlockReference {
            image: Some(PageImage {
                apply: false,
                ..image
            }),
            ..block(0)
        }];
        let bytes = bytes_of(&record(&blocks, &[]));
        assert_eq!(bytes[28..35], [5, 0, 28, 0, 5, 0xd4, 0x1f]);
    }

    #[test]
    fn what_cannot_be_a_record_is_refused() {
        let refused = |record: &Record<'_>| record.assemble(&mut HeaderBuffer::new()).unwrap_err();
        for blocks in [[block(1), block(1)], [block(1), block(0)]] {
            let id = blocks[1].id;
            assert_eq!(refused(&record(&blocks, &[])), RecordError::BlockId { id });
        }
        assert_eq!(
            refused(&record(&[block(33)], &[])),
            RecordError::BlockId { id: 33 }
        );
        let data = vec![0; 65536];
        let blocks = [BlockReference {
            data: &[&data],
            ..block(2)
        }];
        let length = 65536;
        assert_eq!(
            refused(&record(&blocks, &[])),
            RecordError::BlockDataTooLong { id: 2, length }
        );
        let megabyte = vec![0; 1 << 20];
        let main_data = vec![&megabyte[..]; 1020];
        let length = 24 + 5 + (1020 << 20);
        assert_eq!(
            refused(&record(&[], &main_data)),
            RecordError::TooLong { length }
        );
    }

    #[test]
    fn the_largest_headers_fit() {
        let mut page = Box::new([0; BLCKSZ]);
        PageMut::new(&mut page).init(0);
        let hole = PageHole::of_standard_page(&page);
        let blocks: Vec<BlockReference<'_>> = (0..=MAX_BLOCK_ID)
            .map(|id| BlockReference {
                locator: RelFileLocator {
                    rel_number: id.into(),
                    ..LOCATOR
                },
                image: PageImage::compressed(Compression::Pglz, b"x", hole),
                ..block(id)
            })
            .collect();
        let main_data = [0; 300];
        let main_data = [&main_data[..]];
        let mut record = record(&blocks, &main_data);
        record.origin = Some(1);
        record.toplevel_xid = Some(Xid(3));
        assert_eq!(bytes_of(&record).len(), MAX_HEADERS_SIZE + 33 + 300);
    }
}
