//! Finding the records in the log's pages, one after the other, and telling where and why the log
//! ends (`XLogDecodeNextRecord`, `XLogReaderValidatePageHeader` in `transam/xlogreader.c`).
//!
//! A pure state machine: [`Reader::step`] gives a record, asks for a page, or tells the end; the
//! caller gets the page from wherever it likes and hands it to [`Reader::feed`], or says with
//! [`Reader::no_page`] that there is none.
//!
//! ```text
//!              page has it whole                   rest is there
//!   AtRecord -------------------> AtRecord <------------------- Continuing
//!      |  \                                                      ^  |   |
//!      |   `---------------- goes on on the next page ----------'   |   |
//!      |<-------------- overwritten: go on at this page ------------'   |
//!      `--> Ended <-----------------------------------------------------'
//! ```
//!
//! Finding that the log ends is how recovery normally finishes: behind the last record there are
//! zeros, or an older use of a recycled segment. So nothing that is read is trusted before the
//! page's header, the link to the record before and the CRC are right.

mod end;

pub use end::{AbortedRecord, EndReason, WalEnd};

use crate::align::max_align;
use crate::ids::Lsn;
use crate::page::PageBytes;
use crate::wal::decode::{DecodeError, DecodeErrorReason, DecodedRecord, check_crc};
use crate::wal::info;
use crate::wal::page_header::{
    LongPageHeader, PageHeader, SHORT_HEADER_SIZE, XLOG_PAGE_MAGIC, XLP_ALL_FLAGS,
    XLP_FIRST_IS_CONTRECORD, XLP_FIRST_IS_OVERWRITE_CONTRECORD,
};
use crate::wal::record::{RECORD_HEADER_SIZE, RecordHeader};
use crate::wal::rmgr_id::RmgrId;
use crate::wal::segment::SegmentSize;
use crate::wal::{TimeLineId, XLOG_BLCKSZ};

const PAGE: u64 = XLOG_BLCKSZ as u64;

/// Whose log is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Log {
    /// Bytes of its segments.
    pub segment_size: SegmentSize,
    /// The cluster's identifier, if it is known: then a segment of another cluster is the end.
    pub system_identifier: Option<u64>,
    /// The timeline that segments are named after in messages.
    pub timeline: TimeLineId,
}

/// What a reader says.
#[derive(Debug)]
pub enum Step<'a> {
    /// The next record.
    Record(DecodedRecord<'a>),
    /// The page at this LSN is needed to go on.
    NeedPage(Lsn),
    /// The log ends. It stays so.
    End(&'a WalEnd),
}

/// Reads a log from some record on.
#[derive(Clone, Debug)]
pub struct Reader {
    log: Log,
    state: State,
    /// The page that was fed last, if its header was right.
    page: Box<PageBytes>,
    page_header: Option<PageHeader>,
    /// The page that was asked for last.
    wanted: Option<Lsn>,
    /// The last page whose header was right, and its timeline: later ones have no lower.
    latest_page: (Lsn, TimeLineId),
    /// The record being assembled, or the one that was assembled last.
    assembled: Vec<u8>,
    /// Where the last record begins; the next one has to say so.
    last_record: Option<Lsn>,
    /// A record that was begun, and that another one took the place of.
    overwritten: Option<Lsn>,
}

#[derive(Clone, Debug)]
enum State {
    /// The next record begins here, or behind this page's header if this is where a page begins.
    AtRecord(Lsn),
    /// Its beginning is assembled, and `page` has what comes next.
    Continuing {
        /// Where the record begins.
        record: Lsn,
        total_length: u32,
        page: Lsn,
        /// The header was whole and is right.
        header_is_checked: bool,
    },
    Ended(WalEnd),
}

/// Where a complete record's bytes are.
enum Found {
    InPage { at: usize, length: usize },
    Assembled,
}

/// What to do after looking at what there is.
enum Look {
    Found {
        record: Lsn,
        next: Lsn,
        bytes: Found,
    },
    NeedPage(Lsn),
    /// The state has changed; look again.
    Again,
    End(EndReason),
}

impl Reader {
    /// A reader whose first record is at `start`, or, if that is where a page begins, right behind
    /// the page's header. What the first record says of the one before it is not known to be right.
    pub fn new(log: Log, start: Lsn) -> Reader {
        Reader {
            log,
            state: State::AtRecord(start),
            page: Box::new([0; XLOG_BLCKSZ]),
            page_header: None,
            wanted: None,
            latest_page: (Lsn::INVALID, 0),
            assembled: Vec::new(),
            last_record: None,
            overwritten: None,
        }
    }

    /// A reader that knows that the record before `start` begins at `last_record`.
    pub fn after(log: Log, start: Lsn, last_record: Lsn) -> Reader {
        Reader {
            last_record: Some(last_record),
            ..Reader::new(log, start)
        }
    }

    /// Where the record begins that was begun and then given up, so that the one that was found
    /// last took its place. That one should be an `XLOG_OVERWRITE_CONTRECORD` that names it.
    pub const fn overwritten(&self) -> Option<Lsn> {
        self.overwritten
    }

    /// Where the next record is expected to begin; it may be the beginning of a page. Where the
    /// last record ended, unless that was an `XLOG_SWITCH`.
    pub const fn position(&self) -> Lsn {
        match &self.state {
            State::AtRecord(at) => *at,
            State::Continuing { record, .. } => *record,
            State::Ended(end) => end.at,
        }
    }

    /// The next record, or the page that is needed to find it, or the end.
    pub fn step(&mut self) -> Step<'_> {
        if let State::AtRecord(_) = self.state {
            self.overwritten = None;
        }
        loop {
            let look = match &self.state {
                State::Ended(_) => break,
                State::AtRecord(at) => self.look_at_record(*at),
                &State::Continuing {
                    record,
                    total_length,
                    page,
                    header_is_checked,
                } => self.look_on(record, total_length, page, header_is_checked),
            };
            match look {
                Look::Again => {}
                Look::NeedPage(page) => {
                    self.wanted = Some(page);
                    return Step::NeedPage(page);
                }
                Look::End(reason) => self.end(reason),
                Look::Found {
                    record,
                    next,
                    bytes,
                } => {
                    let bytes = match bytes {
                        Found::InPage { at, length } => &self.page[at..at + length],
                        Found::Assembled => &self.assembled[..],
                    };
                    let decoded = if check_crc(bytes) {
                        DecodedRecord::decode(record, bytes)
                    } else {
                        Err(DecodeError {
                            at: record,
                            reason: DecodeErrorReason::Checksum,
                        })
                    };
                    match decoded {
                        Ok(decoded) => {
                            self.last_record = Some(record);
                            self.state = State::AtRecord(next_position(
                                &decoded.header,
                                next,
                                self.log.segment_size,
                            ));
                            return Step::Record(decoded);
                        }
                        Err(error) => {
                            let aborted = end::aborted(&self.state);
                            self.state = State::Ended(WalEnd {
                                at: record,
                                last_record: self.last_record,
                                reason: EndReason::Record(error),
                                aborted,
                            });
                            break;
                        }
                    }
                }
            }
        }
        match &self.state {
            State::Ended(end) => Step::End(end),
            // The loop is left in that state only.
            State::AtRecord(at) | State::Continuing { record: at, .. } => Step::NeedPage(*at),
        }
    }

    /// Takes the page that [`Reader::step`] asked for. Without a question it is ignored.
    pub fn feed(&mut self, page: &PageBytes) {
        let Some(address) = self.wanted.take() else {
            return;
        };
        self.page.copy_from_slice(page);
        self.page_header = None;
        match self.check_page_header(address) {
            Ok(header) => {
                self.latest_page = (address, header.timeline);
                self.page_header = Some(header);
            }
            Err(reason) => self.end(reason),
        }
    }

    /// There is no such page as [`Reader::step`] asked for: the log ends. Without a question it is
    /// ignored.
    pub fn no_page(&mut self) {
        if let Some(address) = self.wanted.take() {
            self.end(EndReason::NoPage { address });
        }
    }

    fn end(&mut self, reason: EndReason) {
        if !matches!(self.state, State::Ended(_)) {
            self.state = State::Ended(WalEnd {
                at: self.position(),
                last_record: self.last_record,
                reason,
                aborted: end::aborted(&self.state),
            });
        }
    }

    /// The header of the page at `address`, if that page is here; else which one is needed. A
    /// segment's first page is looked at before any other of it, since only it tells whose it is.
    fn page_at(&self, address: Lsn) -> Result<PageHeader, Lsn> {
        let size = self.log.segment_size;
        let first = size.start_of(size.segment_of(address));
        match &self.page_header {
            Some(header) if self.latest_page.0 == address => Ok(*header),
            Some(_) if size.segment_of(self.latest_page.0) == size.segment_of(address) => {
                Err(address)
            }
            _ => Err(first),
        }
    }

    fn look_at_record(&mut self, at: Lsn) -> Look {
        let page = start_of_page(at);
        let header = match self.page_at(page) {
            Ok(header) => header,
            Err(needed) => return Look::NeedPage(needed),
        };
        let mut offset = (at.0 % PAGE) as usize;
        if offset == 0 {
            offset = header.size();
        } else if offset < header.size() {
            return Look::End(EndReason::RecordOffset {
                at,
                least: header.size() as u32,
                found: offset as u32,
            });
        } else if !offset.is_multiple_of(8) {
            return Look::End(EndReason::Unaligned { at });
        }
        let record = plus(page, offset as u64);
        if header.flags & XLP_FIRST_IS_CONTRECORD != 0 && offset == header.size() {
            return Look::End(EndReason::ContrecordRequested { at: record });
        }
        // A record is aligned, so that its length is on its first page.
        let here = &self.page[offset..];
        let Some(length) = here.first_chunk::<4>() else {
            return Look::End(EndReason::Unaligned { at: record });
        };
        let total_length = u32::from_le_bytes(*length);
        let header_is_checked = here.len() >= RECORD_HEADER_SIZE;
        let checked = match RecordHeader::decode(here) {
            Some(header) => self.check_record_header(record, &header),
            None => check_length(record, total_length),
        };
        if let Err(reason) = checked {
            return Look::End(reason);
        }
        if total_length as usize <= here.len() {
            return Look::Found {
                record,
                next: plus(record, max_align(total_length as usize) as u64),
                bytes: Found::InPage {
                    at: offset,
                    length: total_length as usize,
                },
            };
        }
        self.assembled.clear();
        self.assembled.extend_from_slice(here);
        self.state = State::Continuing {
            record,
            total_length,
            page: plus(page, PAGE),
            header_is_checked,
        };
        Look::Again
    }

    fn look_on(
        &mut self,
        record: Lsn,
        total_length: u32,
        page: Lsn,
        header_is_checked: bool,
    ) -> Look {
        let header = match self.page_at(page) {
            Ok(header) => header,
            Err(needed) => return Look::NeedPage(needed),
        };
        if header.flags & XLP_FIRST_IS_OVERWRITE_CONTRECORD != 0 {
            self.overwritten = Some(record);
            self.state = State::AtRecord(page);
            return Look::Again;
        }
        if header.flags & XLP_FIRST_IS_CONTRECORD == 0 {
            return Look::End(EndReason::NoContrecordFlag { at: record });
        }
        // Less than the whole length was assembled, or there would be nothing to look for.
        let missing = u64::from(total_length) - self.assembled.len() as u64;
        if u64::from(header.remaining_length) != missing {
            return Look::End(EndReason::ContrecordLength {
                at: record,
                found: header.remaining_length,
                expected: missing,
            });
        }
        let here = &self.page[header.size()..];
        let taken = here.len().min(missing as usize);
        self.assembled.extend_from_slice(&here[..taken]);
        if !header_is_checked {
            let checked = RecordHeader::decode(&self.assembled)
                .map_or(Ok(()), |header| self.check_record_header(record, &header));
            if let Err(reason) = checked {
                return Look::End(reason);
            }
        }
        if taken as u64 == missing {
            return Look::Found {
                record,
                next: plus(page, (header.size() + max_align(taken)) as u64),
                bytes: Found::Assembled,
            };
        }
        self.state = State::Continuing {
            record,
            total_length,
            page: plus(page, PAGE),
            header_is_checked: true,
        };
        Look::Again
    }

    /// `ValidXLogRecordHeader`.
    fn check_record_header(&self, at: Lsn, header: &RecordHeader) -> Result<(), EndReason> {
        check_length(at, header.total_length)?;
        if !header.rmgr.is_valid() {
            return Err(EndReason::Rmgr {
                at,
                rmgr: header.rmgr.0,
            });
        }
        let is_linked = match self.last_record {
            Some(last) => header.prev == last,
            None => header.prev < at,
        };
        if !is_linked {
            return Err(EndReason::PrevLink {
                at,
                prev: header.prev,
            });
        }
        Ok(())
    }

    /// `XLogReaderValidatePageHeader`.
    fn check_page_header(&self, address: Lsn) -> Result<PageHeader, EndReason> {
        let size = self.log.segment_size;
        let place = || end::PlaceInSegment {
            segment: size.file_name(self.log.timeline, size.segment_of(address)),
            address,
            offset: size.offset_of(address),
        };
        let (Some(header), Some(long)) = (
            PageHeader::decode(&self.page[..]),
            LongPageHeader::decode(&self.page[..]),
        ) else {
            return Err(EndReason::NoPage { address });
        };
        if header.magic != XLOG_PAGE_MAGIC {
            return Err(EndReason::Magic {
                magic: header.magic,
                place: place(),
            });
        }
        if header.flags & !XLP_ALL_FLAGS != 0 || (size.offset_of(address) == 0 && !header.is_long())
        {
            return Err(EndReason::PageFlags {
                flags: header.flags,
                place: place(),
            });
        }
        if header.is_long() {
            if let Some(ours) = self.log.system_identifier
                && long.system_identifier != ours
            {
                return Err(EndReason::SystemIdentifier {
                    found: long.system_identifier,
                    ours,
                });
            }
            if long.segment_size != size.bytes() {
                return Err(EndReason::SegmentSize);
            }
            if long.page_size != XLOG_BLCKSZ as u32 {
                return Err(EndReason::PageSize);
            }
        }
        if header.page_address != address {
            return Err(EndReason::PageAddress {
                found: header.page_address,
                place: place(),
            });
        }
        // A segment's first page may be looked at again, after later ones.
        if address > self.latest_page.0 && header.timeline < self.latest_page.1 {
            return Err(EndReason::TimeLine {
                timeline: header.timeline,
                before: self.latest_page.1,
                place: place(),
            });
        }
        Ok(header)
    }
}

fn check_length(at: Lsn, length: u32) -> Result<(), EndReason> {
    if (length as usize) < RECORD_HEADER_SIZE {
        return Err(EndReason::RecordLength { at, length });
    }
    Ok(())
}

/// Where the record behind one that ends at `end` begins: after an `XLOG_SWITCH` in the next
/// segment.
fn next_position(header: &RecordHeader, end: Lsn, size: SegmentSize) -> Lsn {
    let code = header.info & info::XLR_RMGR_INFO_MASK;
    if header.rmgr != RmgrId::XLOG || code != info::xlog::SWITCH {
        return end;
    }
    let last = plus(end, u64::from(size.bytes()) - 1);
    Lsn(last.0 - u64::from(size.offset_of(last)))
}

fn start_of_page(lsn: Lsn) -> Lsn {
    Lsn(lsn.0 - lsn.0 % PAGE)
}

/// Past the last LSN there is the first: no page there says that it is at that address.
fn plus(lsn: Lsn, bytes: u64) -> Lsn {
    Lsn(lsn.0.wrapping_add(bytes))
}

const _: () = assert!(SHORT_HEADER_SIZE + RECORD_HEADER_SIZE < XLOG_BLCKSZ);
