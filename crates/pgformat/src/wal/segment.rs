//! Segment files of the log, and the arithmetic of positions in it (`access/xlog_internal.h`,
//! `transam/xlog.c`).
//!
//! An LSN counts every byte of the log. A *usable byte position* leaves page headers out, so that
//! reserving space is one addition; [`SegmentSize`] converts between the two.

use crate::ids::Lsn;
use crate::wal::page_header::{LONG_HEADER_SIZE, SHORT_HEADER_SIZE};
use crate::wal::{TimeLineId, XLOG_BLCKSZ};

/// Directory of the segments, in the data directory (`XLOGDIR`).
pub const WAL_DIRECTORY: &str = "pg_wal";

/// The fewest bytes that a segment can have (`WalSegMinSize`).
pub const MIN_SEGMENT_SIZE: u32 = 1024 * 1024;
/// The most bytes that a segment can have (`WalSegMaxSize`).
pub const MAX_SEGMENT_SIZE: u32 = 1024 * 1024 * 1024;

/// Number of a segment, counted from the log's beginning (`XLogSegNo`).
pub type SegmentNumber = u64;

const PAGE: u64 = XLOG_BLCKSZ as u64;
const USABLE_BYTES_IN_PAGE: u64 = PAGE - SHORT_HEADER_SIZE as u64;
const USABLE_BYTES_IN_FIRST_PAGE: u64 = PAGE - LONG_HEADER_SIZE as u64;

/// Bytes of each of a cluster's segments: a power of two from 1 MiB to 1 GiB.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SegmentSize(u32);

impl SegmentSize {
    /// 16 MiB, unless chosen otherwise.
    pub const DEFAULT: SegmentSize = SegmentSize(16 * 1024 * 1024);

    /// `bytes` as a size of segments, if it can be one (`IsValidWalSegSize`).
    pub const fn new(bytes: u32) -> Option<SegmentSize> {
        if bytes.is_power_of_two() && MIN_SEGMENT_SIZE <= bytes && bytes <= MAX_SEGMENT_SIZE {
            Some(SegmentSize(bytes))
        } else {
            None
        }
    }

    /// The size in bytes.
    pub const fn bytes(self) -> u32 {
        self.0
    }

    const fn wide(self) -> u64 {
        self.0 as u64
    }

    /// Segments that the low half of an LSN counts through (`XLogSegmentsPerXLogId`).
    const fn segments_per_log_id(self) -> u64 {
        (1 << 32) / self.wide()
    }

    /// Segment that the byte at `lsn` is in (`XLByteToSeg`).
    pub const fn segment_of(self, lsn: Lsn) -> SegmentNumber {
        lsn.0 / self.wide()
    }

    /// Segment that the byte before `lsn` is in (`XLByteToPrevSeg`).
    pub const fn segment_before(self, lsn: Lsn) -> SegmentNumber {
        lsn.0.saturating_sub(1) / self.wide()
    }

    /// Offset of `lsn` in its segment (`XLogSegmentOffset`).
    pub const fn offset_of(self, lsn: Lsn) -> u32 {
        (lsn.0 % self.wide()) as u32
    }

    /// Where segment `number` begins, or the last LSN that there is if it never does
    /// (`XLogSegNoOffsetToRecPtr`).
    pub const fn start_of(self, number: SegmentNumber) -> Lsn {
        Lsn(number.saturating_mul(self.wide()))
    }

    /// Bytes of the header of the page at `page`: long at the beginning of a segment.
    pub const fn page_header_size(self, page: Lsn) -> usize {
        if self.offset_of(page) == 0 {
            LONG_HEADER_SIZE
        } else {
            SHORT_HEADER_SIZE
        }
    }

    /// Bytes of a segment that are not in page headers (`UsableBytesInSegment`).
    pub const fn usable_bytes(self) -> u64 {
        self.wide() / PAGE * USABLE_BYTES_IN_PAGE - (LONG_HEADER_SIZE - SHORT_HEADER_SIZE) as u64
    }

    /// Where the usable byte `position` is: behind the header, if it is a page's first
    /// (`XLogBytePosToRecPtr`).
    pub const fn lsn_of_byte_position(self, position: u64) -> Lsn {
        self.convert(position, false)
    }

    /// Where a record ends that ends before the usable byte `position`: at the page's beginning, if
    /// that is a page's first (`XLogBytePosToEndRecPtr`).
    pub const fn end_lsn_of_byte_position(self, position: u64) -> Lsn {
        self.convert(position, true)
    }

    const fn convert(self, position: u64, is_end: bool) -> Lsn {
        let segments = position / self.usable_bytes();
        let rest = position % self.usable_bytes();
        let (page, rest, header) = if rest < USABLE_BYTES_IN_FIRST_PAGE {
            (0, rest, LONG_HEADER_SIZE)
        } else {
            let rest = rest - USABLE_BYTES_IN_FIRST_PAGE;
            let page = 1 + rest / USABLE_BYTES_IN_PAGE;
            (page, rest % USABLE_BYTES_IN_PAGE, SHORT_HEADER_SIZE)
        };
        let header = if is_end && rest == 0 {
            0
        } else {
            header as u64
        };
        Lsn(segments * self.wide() + page * PAGE + header + rest)
    }

    /// The usable byte position of `lsn`; one within a page header counts as the page's first
    /// usable byte (`XLogRecPtrToBytePos`, which must not be given one but the page's start).
    pub const fn byte_position_of(self, lsn: Lsn) -> u64 {
        let offset = self.offset_of(lsn) as u64;
        let (page, within) = (offset / PAGE, offset % PAGE);
        let before = self.segment_of(lsn) * self.usable_bytes();
        if page == 0 {
            before + within.saturating_sub(LONG_HEADER_SIZE as u64)
        } else {
            before
                + USABLE_BYTES_IN_FIRST_PAGE
                + (page - 1) * USABLE_BYTES_IN_PAGE
                + within.saturating_sub(SHORT_HEADER_SIZE as u64)
        }
    }

    /// Name of the file of segment `number`: timeline, and the number in two parts, each eight
    /// hexadecimal digits (`XLogFileName`).
    pub fn file_name(self, timeline: TimeLineId, number: SegmentNumber) -> String {
        let per_log_id = self.segments_per_log_id();
        format!(
            "{timeline:08X}{:08X}{:08X}",
            number / per_log_id,
            number % per_log_id
        )
    }

    /// Timeline and number of the segment that a file of this `name` holds (`XLogFromFileName`);
    /// `None` if it is no segment's name.
    pub fn parse_file_name(self, name: &str) -> Option<(TimeLineId, SegmentNumber)> {
        if !is_segment_file_name(name) {
            return None;
        }
        let part = |at: usize| u32::from_str_radix(name.get(at..at + 8)?, 16).ok();
        let low = u64::from(part(16)?);
        if low >= self.segments_per_log_id() {
            return None;
        }
        Some((
            part(0)?,
            u64::from(part(8)?) * self.segments_per_log_id() + low,
        ))
    }
}

/// Whether a file of this name is a segment: 24 upper-case hexadecimal digits (`IsXLogFileName`).
pub fn is_segment_file_name(name: &str) -> bool {
    name.len() == 24
        && name
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_two_from_1_mib_to_1_gib() {
        for bytes in [1 << 20, 1 << 24, 1 << 30] {
            assert_eq!(SegmentSize::new(bytes).map(SegmentSize::bytes), Some(bytes));
        }
        for bytes in [0, 1 << 19, 3 << 20, 1 << 31, u32::MAX] {
            assert_eq!(SegmentSize::new(bytes), None);
        }
    }

    #[test]
    fn names_are_those_of_postgresql() {
        let size = SegmentSize::DEFAULT;
        assert_eq!(size.file_name(1, 1), "000000010000000000000001");
        assert_eq!(size.file_name(0x1a, 0x1ff), "0000001A00000001000000FF");
        assert_eq!(
            size.parse_file_name("0000001A00000001000000FF"),
            Some((0x1a, 0x1ff))
        );
        for name in [
            "",
            "000000010000000000000100",
            "00000001000000000000000a",
            "00000001000000000000001",
            "000000010000000000000001.partial",
            "00000001.history",
            "\u{e4}0000000100000000000001",
        ] {
            assert_eq!(size.parse_file_name(name), None, "{name}");
        }
        let small = SegmentSize::new(1 << 20).unwrap();
        assert_eq!(small.file_name(1, 0x1000), "000000010000000100000000");
    }

    #[test]
    fn a_boundary_belongs_to_the_segment_that_begins() {
        let size = SegmentSize::DEFAULT;
        assert_eq!(size.segment_of(Lsn(1 << 24)), 1);
        assert_eq!(size.segment_before(Lsn(1 << 24)), 0);
        assert_eq!(size.segment_before(Lsn(0)), 0);
        assert_eq!(size.offset_of(Lsn((1 << 24) + 40)), 40);
        assert_eq!(size.start_of(2), Lsn(2 << 24));
        assert_eq!(size.page_header_size(Lsn(1 << 24)), 40);
        assert_eq!(size.page_header_size(Lsn((1 << 24) + 8192)), 24);
    }

    #[test]
    fn positions_skip_headers() {
        let size = SegmentSize::DEFAULT;
        let usable = size.usable_bytes();
        assert_eq!(usable, 2048 * 8168 - 16);
        // Position, where a byte there is, where a record ends that ends there.
        for (position, start, end) in [
            (0, 40, 0),
            (1, 41, 41),
            (8151, 8191, 8191),
            (8152, 8192 + 24, 8192),
            (8153, 8192 + 25, 8192 + 25),
            (8152 + 8168, 2 * 8192 + 24, 2 * 8192),
            (usable - 1, (1 << 24) - 1, (1 << 24) - 1),
            (usable, (1 << 24) + 40, 1 << 24),
            (usable + 8152, (1 << 24) + 8192 + 24, (1 << 24) + 8192),
        ] {
            assert_eq!(size.lsn_of_byte_position(position), Lsn(start));
            assert_eq!(size.end_lsn_of_byte_position(position), Lsn(end));
            assert_eq!(size.byte_position_of(Lsn(start)), position);
            assert_eq!(size.byte_position_of(Lsn(end)), position);
        }
    }

    #[test]
    fn no_lsn_is_too_large() {
        for bytes in [MIN_SEGMENT_SIZE, MAX_SEGMENT_SIZE] {
            let size = SegmentSize::new(bytes).unwrap();
            let position = size.byte_position_of(Lsn(u64::MAX));
            assert_eq!(size.lsn_of_byte_position(position), Lsn(u64::MAX));
            assert_eq!(size.start_of(u64::MAX), Lsn(u64::MAX));
        }
    }
}
