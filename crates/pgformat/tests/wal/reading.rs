//! What the reader finds in pages that we wrote, whole and damaged.

use crate::page_writer::{LOG, PageWriter, SYSTEM_IDENTIFIER};
use trunkline_pgformat::wal::page_header::XLP_FIRST_IS_OVERWRITE_CONTRECORD;
use trunkline_pgformat::wal::reader::{AbortedRecord, EndReason, Log, Reader, Step, WalEnd};
use trunkline_pgformat::wal::record::Record;
use trunkline_pgformat::wal::rmgr_id::RmgrId;
use trunkline_pgformat::wal::{XLOG_BLCKSZ, info};
use trunkline_pgformat::{Lsn, Xid};

/// The records that `reader` finds in `log`, which begins at `start`, as where they are and their
/// main data; and the end.
pub fn read(mut reader: Reader, start: Lsn, log: &[u8]) -> (Vec<(Lsn, Vec<u8>)>, WalEnd) {
    let mut records = Vec::new();
    loop {
        match reader.step() {
            Step::Record(record) => records.push((record.lsn, record.main_data.to_vec())),
            Step::NeedPage(page) => {
                let at = (page.0.wrapping_sub(start.0)) as usize;
                match log
                    .get(at..)
                    .and_then(|rest| rest.first_chunk::<XLOG_BLCKSZ>())
                {
                    Some(page) => reader.feed(page),
                    None => reader.no_page(),
                }
            }
            Step::End(end) => {
                let end = end.clone();
                assert!(matches!(reader.step(), Step::End(again) if *again == end));
                return (records, end);
            }
        }
    }
}

pub fn noop<'a>(main_data: &'a [&'a [u8]]) -> Record<'a> {
    Record {
        rmgr: RmgrId::XLOG,
        info: info::xlog::NOOP,
        xid: Xid::INVALID,
        origin: None,
        toplevel_xid: None,
        blocks: &[],
        main_data,
    }
}

/// Records of sizes that end pages and segments in every way.
fn written() -> (PageWriter, Vec<(Lsn, Vec<u8>)>) {
    let mut writer = PageWriter::new();
    let mut expected = Vec::new();
    let sizes = (1..300)
        .map(|n| n * 37 % 2300)
        .chain([0, 100_000, 3_000_000, 8000, 7]);
    for (nth, size) in sizes.enumerate() {
        let data = vec![nth as u8; size];
        let at = writer.write(&noop(&[&data]));
        expected.push((at, data));
    }
    (writer, expected)
}

#[test]
fn every_record_is_found_and_zeros_are_the_end() {
    let (writer, expected) = written();
    let log = writer.whole_segments();
    let (records, end) = read(Reader::new(LOG, writer.start), writer.start, &log);
    assert!(records == expected);
    let last = expected.last().unwrap().0;
    let expected_end = WalEnd {
        at: writer.end(),
        last_record: Some(last),
        reason: EndReason::RecordLength {
            at: writer.end(),
            length: 0,
        },
        aborted: None,
    };
    assert_eq!(end, expected_end);
    // From any record on, with and without knowing what is before.
    for nth in (1..expected.len()).step_by(17) {
        let (at, before) = (expected[nth].0, expected[nth - 1].0);
        for reader in [Reader::new(LOG, at), Reader::after(LOG, at, before)] {
            let (records, end) = read(reader, writer.start, &log);
            assert!(records == expected[nth..]);
            assert_eq!(end.at, writer.end());
        }
        let (records, end) = read(Reader::after(LOG, at, Lsn(7)), writer.start, &log);
        assert!(records.is_empty());
        let reason = EndReason::PrevLink { at, prev: before };
        assert_eq!(end.reason, reason);
    }
}

#[test]
fn pages_that_do_not_belong_are_the_end() {
    let (writer, _) = written();
    let log = writer.whole_segments();
    // Where fields of the header of a page amid the log are: one on which a record goes on.
    let page = (1 << 20) + 5 * XLOG_BLCKSZ;
    let place = "in WAL segment 000000010000000000000002, LSN 0/20A000, offset 40960";
    let cases: [(usize, u8, String); 5] = [
        (page, 0x19, format!("invalid magic number D119 {place}")),
        (page + 3, 0x10, format!("invalid info bits 1001 {place}")),
        (
            page + 8,
            0x01,
            format!("unexpected pageaddr 0/20A001 {place}"),
        ),
        (page + 2, 0, "there is no contrecord flag at 0/".to_owned()),
        (page + 16, 1, "invalid contrecord length ".to_owned()),
    ];
    for (at, byte, message) in cases {
        let mut log = log.clone();
        log[at] = byte;
        let (_, end) = read(Reader::new(LOG, writer.start), writer.start, &log);
        let reason = end.reason.to_string();
        assert!(reason.starts_with(&message), "{reason}, not {message}");
        let aborted = AbortedRecord {
            record: end.at,
            missing_contrecord: Lsn(writer.start.0 + page as u64),
        };
        assert_eq!(end.aborted, Some(aborted));
    }
    let segment = 1 << 20;
    let cases: [(usize, u8, &str); 4] = [
        (segment + 2, 1, "invalid info bits 0001 in WAL segment"),
        (
            segment + 24,
            0xbd,
            "WAL file is from different database system: WAL file database system identifier is \
             7687664579919780541, pg_control database system identifier is 7687664579919780540",
        ),
        (
            segment + 32,
            1,
            "WAL file is from different database system: incorrect segment size in page header",
        ),
        (
            segment + 36,
            1,
            "WAL file is from different database system: incorrect XLOG_BLCKSZ in page header",
        ),
    ];
    assert_eq!(SYSTEM_IDENTIFIER, 7_687_664_579_919_780_540);
    for (at, byte, message) in cases {
        let mut log = log.clone();
        log[at] = byte;
        let (_, end) = read(Reader::new(LOG, writer.start), writer.start, &log);
        let reason = end.reason.to_string();
        assert!(reason.starts_with(message), "{reason}, not {message}");
    }
    // A first page's timeline that a later page is behind of.
    let mut later = log.clone();
    later[4] = 2;
    let (_, end) = read(Reader::new(LOG, writer.start), writer.start, &later);
    assert_eq!(
        end.reason.to_string(),
        "out-of-sequence timeline ID 1 (after 2) in WAL segment 000000010000000000000001, \
         LSN 0/102000, offset 8192"
    );
}

#[test]
fn records_that_cannot_be_are_the_end() {
    let mut writer = PageWriter::new();
    let first = writer.write(&noop(&[b"first"]));
    let second = writer.write(&noop(&[b"second"]));
    let log = writer.whole_segments();
    let at = (second.0 - writer.start.0) as usize;
    let cases: [(usize, u8, String); 5] = [
        (
            at,
            23,
            format!("invalid record length at {second}: expected at least 24, got 23"),
        ),
        (
            at + 17,
            22,
            format!("invalid resource manager ID 22 at {second}"),
        ),
        (
            at + 8,
            1,
            format!("record with incorrect prev-link 0/100001 at {second}"),
        ),
        (
            at + 16,
            0x21,
            format!("incorrect resource manager data checksum in record at {second}"),
        ),
        (
            at + 1,
            0xff,
            format!("there is no contrecord flag at {second}"),
        ),
    ];
    for (at, byte, message) in cases {
        let mut log = log.clone();
        log[at] = byte;
        if byte == 0xff {
            // A page follows that the record does not go on on.
            let mut page = log[..XLOG_BLCKSZ].to_vec();
            page[9] = 0x20;
            log[XLOG_BLCKSZ..2 * XLOG_BLCKSZ].copy_from_slice(&page);
        }
        let (records, end) = read(Reader::new(LOG, writer.start), writer.start, &log);
        assert_eq!(records.len(), 1);
        assert_eq!(end.reason.to_string(), message);
        assert_eq!((end.at, end.last_record), (second, Some(first)));
    }
    let start = writer.start;
    for (start_at, message) in [
        (
            start.0 + 16,
            "invalid record offset at 0/100010: expected at least 40, got 16",
        ),
        (start.0 + 44, "invalid record offset at 0/10002C"),
        (
            start.0 + XLOG_BLCKSZ as u64,
            "invalid magic number 0000 in WAL segment 000000010000000000000001, LSN 0/102000, \
             offset 8192",
        ),
        (u64::MAX - 7, "there is no WAL page at FFFFFFFF/FFF00000"),
    ] {
        let (records, end) = read(Reader::new(LOG, Lsn(start_at)), start, &log);
        assert!(records.is_empty());
        assert_eq!(end.reason.to_string(), message);
    }
    let foreign = Log {
        system_identifier: None,
        ..LOG
    };
    let (records, _) = read(Reader::new(foreign, start), start, &log);
    assert_eq!(records.len(), 2);
}

#[test]
fn the_rest_of_a_record_is_no_record() {
    let mut writer = PageWriter::new();
    writer.write(&noop(&[&[1; 10_000]]));
    let log = writer.whole_segments();
    let page = Lsn(writer.start.0 + XLOG_BLCKSZ as u64);
    let (_, end) = read(Reader::new(LOG, page), writer.start, &log);
    let reason = EndReason::ContrecordRequested {
        at: Lsn(page.0 + 24),
    };
    assert_eq!(end.reason, reason);
}

#[test]
fn a_record_that_was_given_up_is_skipped() {
    let mut writer = PageWriter::new();
    let first = writer.write(&noop(&[b"first"]));
    let given_up = writer.end();
    // What goes on on the second page instead: a writer that begins there gives the bytes.
    let mut log = writer.whole_segments();
    let mut lost = PageWriter::new();
    lost.write(&noop(&[b"first"]));
    lost.write(&noop(&[&[2; 10_000]]));
    log[..XLOG_BLCKSZ].copy_from_slice(&lost.bytes[..XLOG_BLCKSZ]);
    let page = Lsn(writer.start.0 + XLOG_BLCKSZ as u64);
    let (_, end) = read(
        Reader::new(LOG, writer.start),
        writer.start,
        &log[..XLOG_BLCKSZ],
    );
    assert_eq!(end.reason, EndReason::NoPage { address: page });
    let aborted = AbortedRecord {
        record: given_up,
        missing_contrecord: page,
    };
    assert_eq!((end.at, end.aborted), (given_up, Some(aborted)));

    let mut filler = PageWriter::new();
    filler.write(&noop(&[b"first"]));
    // Fills the first page to its end, so that the next record begins on the second.
    let free = XLOG_BLCKSZ - filler.bytes.len() - 24 - 5;
    filler.write(&noop(&[&vec![0; free]]));
    assert_eq!(filler.end(), page);
    filler.write_after(&noop(&[b"instead"]), first);
    let second_page = XLOG_BLCKSZ..filler.bytes.len();
    log[second_page.clone()].copy_from_slice(&filler.bytes[second_page]);
    log[XLOG_BLCKSZ + 2] |= XLP_FIRST_IS_OVERWRITE_CONTRECORD as u8;

    let mut reader = Reader::new(LOG, writer.start);
    let mut found = Vec::new();
    while found.len() < 2 {
        match reader.step() {
            Step::Record(record) => found.push(record.lsn),
            Step::NeedPage(page) => {
                let at = (page.0 - writer.start.0) as usize;
                reader.feed(log[at..].first_chunk().unwrap());
                continue;
            }
            Step::End(end) => panic!("{}", end.reason),
        }
        let overwritten = (found.len() == 2).then_some(given_up);
        assert_eq!(reader.overwritten(), overwritten);
    }
    assert_eq!(found, [first, Lsn(page.0 + 24)]);
}

#[test]
fn the_record_behind_a_switch_begins_a_segment() {
    let mut writer = PageWriter::new();
    let switch = Record {
        info: info::xlog::SWITCH,
        ..noop(&[])
    };
    writer.write(&switch);
    let next = LOG.segment_size.start_of(2);
    let (records, end) = read(
        Reader::new(LOG, writer.start),
        writer.start,
        &writer.whole_segments(),
    );
    assert_eq!(records.len(), 1);
    assert_eq!(end.at, next);
    assert_eq!(end.reason, EndReason::NoPage { address: next });
}
