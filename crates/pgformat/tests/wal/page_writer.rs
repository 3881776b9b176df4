//! Writes records into pages, as the log's real writer has to, but one after the other in memory.

use trunkline_pgformat::wal::XLOG_BLCKSZ;
use trunkline_pgformat::wal::page_header::{
    LongPageHeader, PageHeader, XLOG_PAGE_MAGIC, XLP_FIRST_IS_CONTRECORD,
};
use trunkline_pgformat::wal::reader::Log;
use trunkline_pgformat::wal::record::{HeaderBuffer, Record};
use trunkline_pgformat::wal::segment::SegmentSize;
use trunkline_pgformat::{Lsn, max_align};

pub const SYSTEM_IDENTIFIER: u64 = 0x6ab0_1234_5678_9abc;
pub const LOG: Log = Log {
    segment_size: match SegmentSize::new(1 << 20) {
        Some(size) => size,
        None => unreachable!(),
    },
    system_identifier: Some(SYSTEM_IDENTIFIER),
    timeline: 1,
};

/// The log from the beginning of its segment 1.
pub struct PageWriter {
    pub start: Lsn,
    pub bytes: Vec<u8>,
    position: u64,
    prev: Lsn,
}

impl PageWriter {
    pub fn new() -> PageWriter {
        let start = LOG.segment_size.start_of(1);
        PageWriter {
            start,
            bytes: Vec::new(),
            position: LOG.segment_size.byte_position_of(start),
            prev: Lsn::INVALID,
        }
    }

    /// Appends `record` as if the record at `prev` were before it.
    pub fn write_after(&mut self, record: &Record<'_>, prev: Lsn) -> Lsn {
        self.prev = prev;
        self.write(record)
    }

    /// Appends `record`; gives where it begins.
    pub fn write(&mut self, record: &Record<'_>) -> Lsn {
        let mut headers = HeaderBuffer::new();
        let mut assembled = record.assemble(&mut headers).unwrap();
        assembled.finish(self.prev);
        let at = LOG.segment_size.lsn_of_byte_position(self.position);
        let total_length = assembled.total_length() as usize;
        let mut left = total_length;
        for mut piece in assembled.pieces() {
            while !piece.is_empty() {
                self.begin_page_if_needed(if left == total_length { 0 } else { left as u32 });
                let free = XLOG_BLCKSZ - self.bytes.len() % XLOG_BLCKSZ;
                let (here, rest) = piece.split_at(piece.len().min(free));
                self.bytes.extend_from_slice(here);
                left -= here.len();
                piece = rest;
            }
        }
        assert_eq!(left, 0);
        self.position += max_align(assembled.total_length() as usize) as u64;
        let end = LOG.segment_size.end_lsn_of_byte_position(self.position);
        // Padding, which never begins a page: what is left of a page is a multiple of eight.
        self.bytes.resize((end.0 - self.start.0) as usize, 0);
        self.prev = at;
        at
    }

    fn begin_page_if_needed(&mut self, remaining_length: u32) {
        if !self.bytes.len().is_multiple_of(XLOG_BLCKSZ) {
            return;
        }
        let address = Lsn(self.start.0 + self.bytes.len() as u64);
        let header = PageHeader {
            magic: XLOG_PAGE_MAGIC,
            flags: if remaining_length > 0 {
                XLP_FIRST_IS_CONTRECORD
            } else {
                0
            },
            timeline: LOG.timeline,
            page_address: address,
            remaining_length,
        };
        if LOG.segment_size.offset_of(address) == 0 {
            let long = LongPageHeader::new(SYSTEM_IDENTIFIER, LOG.segment_size.bytes());
            self.bytes.extend_from_slice(&header.encode_long(&long));
        } else {
            self.bytes.extend_from_slice(&header.encode_short());
        }
    }

    /// Where the next record goes.
    pub fn end(&self) -> Lsn {
        LOG.segment_size.end_lsn_of_byte_position(self.position)
    }

    /// The log with zeros to the end of its last segment.
    pub fn whole_segments(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        let size = LOG.segment_size.bytes() as usize;
        bytes.resize(bytes.len().next_multiple_of(size).max(size), 0);
        bytes
    }
}
