//! Headers of the log's pages (`XLogPageHeaderData` in `access/xlog_internal.h`).
//!
//! ```text
//!  0       2       4      8           16        20       24         32         36          40
//! | magic | flags | tli  | page's LSN | rem_len | zeros | system id | seg size | page size |
//! |<--------------- every page ----------------------->|<-- a segment's first page ------->|
//! ```
//!
//! `rem_len` counts the bytes, from this page on, of the record that an earlier page began.

use crate::ids::Lsn;
use crate::wal::{TimeLineId, XLOG_BLCKSZ};

/// What a page begins with; changes with the format (`XLOG_PAGE_MAGIC`).
pub const XLOG_PAGE_MAGIC: u16 = 0xd118;

/// The page begins with the rest of a record.
pub const XLP_FIRST_IS_CONTRECORD: u16 = 0x0001;
/// The header has the fields of a segment's first page.
pub const XLP_LONG_HEADER: u16 = 0x0002;
/// Page images that begin on this page are optional.
pub const XLP_BKP_REMOVABLE: u16 = 0x0004;
/// The page begins where the rest of a record was expected that was never completed.
pub const XLP_FIRST_IS_OVERWRITE_CONTRECORD: u16 = 0x0008;
/// Every flag that there is.
pub const XLP_ALL_FLAGS: u16 = 0x000f;

/// Bytes of the header of every page but a segment's first (`SizeOfXLogShortPHD`).
pub const SHORT_HEADER_SIZE: usize = 24;
/// Bytes of the header of a segment's first page (`SizeOfXLogLongPHD`).
pub const LONG_HEADER_SIZE: usize = 40;

/// Header of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageHeader {
    /// [`XLOG_PAGE_MAGIC`] (`xlp_magic`).
    pub magic: u16,
    /// Flags, [`XLP_LONG_HEADER`] among them (`xlp_info`).
    pub flags: u16,
    /// Timeline of the first record on the page (`xlp_tli`).
    pub timeline: TimeLineId,
    /// Where the page begins in the log (`xlp_pageaddr`).
    pub page_address: Lsn,
    /// Bytes that remain of a record that an earlier page began (`xlp_rem_len`).
    pub remaining_length: u32,
}

/// What a segment's first page says besides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LongPageHeader {
    /// Identifier of the cluster, as in `pg_control` (`xlp_sysid`).
    pub system_identifier: u64,
    /// Bytes of a segment (`xlp_seg_size`).
    pub segment_size: u32,
    /// Bytes of a page (`xlp_xlog_blcksz`).
    pub page_size: u32,
}

impl PageHeader {
    /// The header that `bytes` begin with; `None` if they are fewer than a header's.
    pub fn decode(bytes: &[u8]) -> Option<PageHeader> {
        let bytes = bytes.first_chunk::<SHORT_HEADER_SIZE>()?;
        Some(PageHeader {
            magic: u16::from_le_bytes([bytes[0], bytes[1]]),
            flags: u16::from_le_bytes([bytes[2], bytes[3]]),
            timeline: u32_at(bytes, 4),
            page_address: Lsn(u64_at(bytes, 8)),
            remaining_length: u32_at(bytes, 16),
        })
    }

    /// Bytes of this header: 24 or 40 (`XLogPageHeaderSize`).
    pub const fn size(&self) -> usize {
        if self.is_long() {
            LONG_HEADER_SIZE
        } else {
            SHORT_HEADER_SIZE
        }
    }

    /// Whether this is the header of a segment's first page.
    pub const fn is_long(&self) -> bool {
        self.flags & XLP_LONG_HEADER != 0
    }

    /// The header's bytes, for a page that is not a segment's first: the long flag must not be set.
    pub fn encode_short(&self) -> [u8; SHORT_HEADER_SIZE] {
        debug_assert!(!self.is_long());
        let mut bytes = [0; SHORT_HEADER_SIZE];
        self.put(&mut bytes);
        bytes
    }

    /// The bytes of the header of a segment's first page; sets the long flag.
    pub fn encode_long(&self, long: &LongPageHeader) -> [u8; LONG_HEADER_SIZE] {
        let mut bytes = [0; LONG_HEADER_SIZE];
        let header = PageHeader {
            flags: self.flags | XLP_LONG_HEADER,
            ..*self
        };
        header.put(&mut bytes);
        bytes[24..32].copy_from_slice(&long.system_identifier.to_le_bytes());
        bytes[32..36].copy_from_slice(&long.segment_size.to_le_bytes());
        bytes[36..40].copy_from_slice(&long.page_size.to_le_bytes());
        bytes
    }

    fn put(&self, bytes: &mut [u8]) {
        bytes[0..2].copy_from_slice(&self.magic.to_le_bytes());
        bytes[2..4].copy_from_slice(&self.flags.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.timeline.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.page_address.0.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.remaining_length.to_le_bytes());
    }
}

impl LongPageHeader {
    /// The fields of a segment's first page that `bytes` begins with; `None` if they are fewer than
    /// a long header's. Whether the page has them is for its flags to say.
    pub fn decode(bytes: &[u8]) -> Option<LongPageHeader> {
        let bytes = bytes.first_chunk::<LONG_HEADER_SIZE>()?;
        Some(LongPageHeader {
            system_identifier: u64_at(bytes, 24),
            segment_size: u32_at(bytes, 32),
            page_size: u32_at(bytes, 36),
        })
    }

    /// What the first pages of a cluster's segments say.
    pub const fn new(system_identifier: u64, segment_size: u32) -> LongPageHeader {
        LongPageHeader {
            system_identifier,
            segment_size,
            page_size: XLOG_BLCKSZ as u32,
        }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: PageHeader = PageHeader {
        magic: XLOG_PAGE_MAGIC,
        flags: XLP_FIRST_IS_CONTRECORD,
        timeline: 3,
        page_address: Lsn(0x1_0200_2000),
        remaining_length: 77,
    };

    #[test]
    fn a_short_header_has_its_fields_where_postgresql_has_them() {
        let bytes = HEADER.encode_short();
        let expected = [
            0x18, 0xd1, 1, 0, 3, 0, 0, 0, 0, 0x20, 0, 2, 1, 0, 0, 0, 77, 0, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(bytes, expected);
        assert_eq!(PageHeader::decode(&bytes), Some(HEADER));
        assert_eq!(PageHeader::decode(&bytes[..23]), None);
        assert_eq!(HEADER.size(), 24);
    }

    #[test]
    fn a_long_header_says_so() {
        let long = LongPageHeader::new(0x0123_4567_89ab_cdef, 1 << 24);
        let bytes = HEADER.encode_long(&long);
        let header = PageHeader::decode(&bytes).unwrap();
        assert_eq!(header.flags, XLP_FIRST_IS_CONTRECORD | XLP_LONG_HEADER);
        assert_eq!(header.size(), 40);
        assert_eq!(LongPageHeader::decode(&bytes), Some(long));
        assert_eq!(LongPageHeader::decode(&bytes[..39]), None);
        assert_eq!(bytes[24..32], 0x0123_4567_89ab_cdef_u64.to_le_bytes());
    }
}
