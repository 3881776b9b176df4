//! A log that PostgreSQL wrote: what we read in it is what `pg_waldump` prints, and what we decoded
//! and encode again are the same bytes. And a log that we wrote, which `pg_waldump` reads.

use crate::judge::{cluster_with_log, wal_directory};
use crate::page_writer::{LOG, PageWriter};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Output;
use trunkline_harness::Cluster;
use trunkline_pgformat::wal::XLOG_BLCKSZ;
use trunkline_pgformat::wal::decode::DecodedRecord;
use trunkline_pgformat::wal::info;
use trunkline_pgformat::wal::page_header::LongPageHeader;
use trunkline_pgformat::wal::reader::{Log, Reader, Step};
use trunkline_pgformat::wal::record::{HeaderBuffer, Record};
use trunkline_pgformat::wal::rmgr::clog::Clog;
use trunkline_pgformat::wal::rmgr::heap::{Heap, LoggedTuple, UpdatedTuple};
use trunkline_pgformat::wal::rmgr::heap2::{Heap2, MultiInsertTuples};
use trunkline_pgformat::wal::rmgr::relmap::RelMapUpdate;
use trunkline_pgformat::wal::rmgr::smgr::Smgr;
use trunkline_pgformat::wal::rmgr::standby::Standby;
use trunkline_pgformat::wal::rmgr::xact::XactEnd;
use trunkline_pgformat::wal::rmgr::xlog::Xlog;
use trunkline_pgformat::wal::rmgr::{self, DescribeError};
use trunkline_pgformat::wal::rmgr_id::RmgrId;
use trunkline_pgformat::{BLCKSZ, Lsn, pglz};

/// The whole log of the judge's cluster, from segment 1.
struct PostgresLog<'j> {
    judge: &'j Cluster,
    start: Lsn,
    bytes: Vec<u8>,
    log: Log,
}

impl PostgresLog<'_> {
    fn read(judge: &Cluster) -> PostgresLog<'_> {
        let mut bytes = Vec::new();
        for segment in 1.. {
            let name = LOG.segment_size.file_name(1, segment);
            let Ok(contents) = fs::read(wal_directory(judge).join(name)) else {
                break;
            };
            bytes.extend_from_slice(&contents);
        }
        let long = LongPageHeader::decode(&bytes).unwrap();
        PostgresLog {
            judge,
            start: LOG.segment_size.start_of(1),
            bytes,
            log: Log {
                system_identifier: Some(long.system_identifier),
                ..LOG
            },
        }
    }

    /// Calls `each` with every record; gives PostgreSQL's message of the end.
    fn for_each(&self, mut each: impl FnMut(&DecodedRecord<'_>)) -> String {
        let mut reader = Reader::new(self.log, self.start);
        loop {
            match reader.step() {
                Step::Record(record) => each(&record),
                Step::NeedPage(page) => {
                    let at = (page.0 - self.start.0) as usize;
                    match self.bytes.get(at..at + XLOG_BLCKSZ) {
                        Some(page) => reader.feed(page.try_into().unwrap()),
                        None => reader.no_page(),
                    }
                }
                Step::End(end) => return end.reason.to_string(),
            }
        }
    }
}

#[test]
fn the_log_of_a_postgresql_cluster() {
    let Some(judge) = cluster_with_log() else {
        return;
    };
    let log = PostgresLog::read(&judge);
    every_line_is_that_of_pg_waldump(&log);
    what_is_decoded_and_encoded_again_is_the_same(&log);
    page_images_are_those_that_pg_waldump_restores(&log);
    pg_waldump_reads_a_log_that_we_wrote(&log);
}

fn pg_waldump(log: &PostgresLog<'_>, arguments: &[&str]) -> Output {
    let mut command = log.judge.postgres().command("pg_waldump");
    command.args(arguments).output().unwrap()
}

fn every_line_is_that_of_pg_waldump(log: &PostgresLog<'_>) {
    let directory = wal_directory(log.judge);
    let start = log.start.to_string();
    // Which ends in a complaint about the end.
    let dump = pg_waldump(log, &["-p", directory.to_str().unwrap(), "-s", &start]);
    let printed = String::from_utf8(dump.stdout).unwrap();
    let mut printed = printed.lines();
    let mut undescribed = BTreeSet::new();
    let mut described = BTreeMap::new();
    let end = log.for_each(|record| {
        let expected = printed.next().unwrap_or("nothing");
        match rmgr::waldump_line(record) {
            Ok(line) => {
                assert_eq!(line, expected);
                let code = rmgr::identify(record).unwrap();
                *described
                    .entry(format!("{} {code}", record.header.rmgr))
                    .or_insert(0) += 1;
            }
            Err(DescribeError::Unsupported { rmgr }) => {
                assert!(
                    expected.starts_with(&format!("rmgr: {rmgr} ")),
                    "{expected}"
                );
                undescribed.insert(rmgr.to_string());
            }
            Err(error) => panic!("{error}, but {expected}"),
        }
    });
    assert_eq!(printed.next(), None);
    // pg_waldump reads until it finds what we find.
    let complaint = String::from_utf8(dump.stderr).unwrap();
    assert!(complaint.trim_end().ends_with(&end), "{complaint}: {end}");
    // Nothing else is unknown, and the work was enough to see these.
    let known = ["BRIN", "Gin", "Hash", "LogicalMessage", "ReplicationOrigin"];
    assert!(
        undescribed.iter().map(String::as_str).eq(known),
        "{undescribed:?}"
    );
    let missing: Vec<&str> = SEEN
        .into_iter()
        .filter(|seen| !described.contains_key(*seen))
        .collect();
    assert!(
        missing.is_empty(),
        "{missing:?} were not seen, but {described:?}"
    );
}

/// Records that the cluster's work makes, of all that are described.
const SEEN: [&str; 61] = [
    "XLOG CHECKPOINT_SHUTDOWN",
    "XLOG CHECKPOINT_ONLINE",
    "XLOG NEXTOID",
    "XLOG SWITCH",
    "XLOG BACKUP_END",
    "XLOG PARAMETER_CHANGE",
    "XLOG RESTORE_POINT",
    "XLOG FPW_CHANGE",
    "XLOG FPI_FOR_HINT",
    "XLOG FPI",
    "XLOG CHECKPOINT_REDO",
    "Transaction COMMIT",
    "Transaction PREPARE",
    "Transaction ABORT",
    "Transaction COMMIT_PREPARED",
    "Transaction ABORT_PREPARED",
    "Transaction ASSIGNMENT",
    "Transaction INVALIDATION",
    "Storage CREATE",
    "Storage TRUNCATE",
    "CLOG ZEROPAGE",
    "Database CREATE_FILE_COPY",
    "Database CREATE_WAL_LOG",
    "Database DROP",
    "Tablespace CREATE",
    "Tablespace DROP",
    "MultiXact CREATE_ID",
    "MultiXact ZERO_MEM_PAGE",
    "RelMap UPDATE",
    "Standby LOCK",
    "Standby RUNNING_XACTS",
    "Standby INVALIDATIONS",
    "Heap2 PRUNE_ON_ACCESS",
    "Heap2 PRUNE_VACUUM_SCAN",
    "Heap2 PRUNE_VACUUM_CLEANUP",
    "Heap2 VISIBLE",
    "Heap2 MULTI_INSERT",
    "Heap2 MULTI_INSERT+INIT",
    "Heap2 LOCK_UPDATED",
    "Heap2 NEW_CID",
    "Heap INSERT",
    "Heap INSERT+INIT",
    "Heap DELETE",
    "Heap UPDATE",
    "Heap UPDATE+INIT",
    "Heap HOT_UPDATE",
    "Heap TRUNCATE",
    "Heap HEAP_CONFIRM",
    "Heap LOCK",
    "Heap INPLACE",
    "Btree INSERT_LEAF",
    "Btree INSERT_UPPER",
    "Btree SPLIT_L",
    "Btree SPLIT_R",
    "Btree DEDUP",
    "Btree DELETE",
    "Btree NEWROOT",
    "Btree MARK_PAGE_HALFDEAD",
    "Btree UNLINK_PAGE",
    "Btree VACUUM",
    "Sequence LOG",
];

/// Main data, and block 0's data where they are encoded too.
type Encoded = (Vec<u8>, Option<Vec<u8>>);

/// What `record` holds, decoded and encoded again; `None` for what is not encoded.
fn encode_again(record: &DecodedRecord<'_>) -> Option<Encoded> {
    let main_data = record.main_data;
    let block = record.block(0).map(|block| block.data);
    let block = block.filter(|data| !data.is_empty());
    let main_only = |data: Vec<u8>| Some((data, None));
    match record.header.rmgr {
        RmgrId::XLOG => {
            let xlog = Xlog::decode(record).unwrap().unwrap();
            assert_eq!(xlog.code(), record.code());
            main_only(xlog.encode())
        }
        RmgrId::XACT => {
            use info::xact::{ABORT, ABORT_PREPARED, COMMIT, COMMIT_PREPARED, HAS_INFO, OPMASK};
            let code = record.header.info & OPMASK;
            if ![COMMIT, ABORT, COMMIT_PREPARED, ABORT_PREPARED].contains(&code) {
                return None;
            }
            let mut data = Vec::new();
            let info = XactEnd::decode(record).unwrap().encode(&mut data);
            assert_eq!(info, record.header.info & HAS_INFO);
            main_only(data)
        }
        RmgrId::SMGR => {
            let smgr = Smgr::decode(record).unwrap().unwrap();
            assert_eq!(smgr.code(), record.code());
            main_only(smgr.encode())
        }
        RmgrId::CLOG => {
            let clog = Clog::decode(record).unwrap().unwrap();
            assert_eq!(clog.code(), record.code());
            main_only(clog.encode())
        }
        RmgrId::RELMAP => {
            let update = RelMapUpdate::decode(main_data).unwrap();
            main_only([&update.encode_header()[..], update.map].concat())
        }
        RmgrId::STANDBY => {
            let standby = Standby::decode(record).unwrap().unwrap();
            assert_eq!(standby.code(), record.code());
            main_only(standby.encode())
        }
        RmgrId::HEAP => encode_heap(record, block),
        RmgrId::HEAP2 => encode_heap2(record, block),
        _ => None,
    }
}

fn with_old_tuple(header: &[u8], old_tuple: Option<LoggedTuple<'_>>) -> Vec<u8> {
    let mut data = header.to_vec();
    if let Some(tuple) = old_tuple {
        data.extend_from_slice(&tuple.header.encode());
        data.extend_from_slice(tuple.data);
    }
    data
}

fn encode_heap(record: &DecodedRecord<'_>, block: Option<&[u8]>) -> Option<Encoded> {
    Some(match Heap::decode(record).unwrap() {
        Heap::Insert(insert) => {
            let block = block.map(|data| {
                let tuple = LoggedTuple::decode(data).unwrap();
                [&tuple.header.encode()[..], tuple.data].concat()
            });
            (insert.encode().to_vec(), block)
        }
        Heap::Delete(delete) => (with_old_tuple(&delete.encode(), delete.old_tuple), None),
        Heap::Update(update) | Heap::HotUpdate(update) => {
            let block = block.map(|data| {
                let updated = UpdatedTuple::decode(data, update.flags).unwrap();
                let (length, header) = updated.encode_header();
                [&header[..length], updated.tuple.data].concat()
            });
            (with_old_tuple(&update.encode(), update.old_tuple), block)
        }
        Heap::Lock(lock) => (lock.encode().to_vec(), None),
        Heap::Inplace(inplace) => (inplace.encode(), None),
        Heap::Truncate(_) | Heap::Confirm(_) => return None,
    })
}

fn encode_heap2(record: &DecodedRecord<'_>, block: Option<&[u8]>) -> Option<Encoded> {
    Some(match Heap2::decode(record).unwrap() {
        Heap2::PruneOnAccess(prune)
        | Heap2::PruneVacuumScan(prune)
        | Heap2::PruneVacuumCleanup(prune) => (prune.encode(), block.map(|_| prune.encode_items())),
        Heap2::Visible(visible) => (visible.encode().to_vec(), None),
        Heap2::MultiInsert(insert) => {
            let block = block.map(|data| {
                let mut again = Vec::new();
                let mut count = 0;
                for tuple in MultiInsertTuples::new(data) {
                    MultiInsertTuples::push(&tuple.unwrap(), &mut again);
                    count += 1;
                }
                assert_eq!(count, insert.tuple_count);
                again
            });
            (insert.encode(), block)
        }
        Heap2::LockUpdated(lock) => (lock.encode().to_vec(), None),
        Heap2::Rewrite | Heap2::NewCid(_) => return None,
    })
}

/// The main data with zeros where C's structures have padding, which PostgreSQL does not set.
fn without_padding(record: &DecodedRecord<'_>) -> Vec<u8> {
    use info::{heap, heap2, standby, xlog};
    let mut data = record.main_data.to_vec();
    let padding = match (record.header.rmgr, record.code()) {
        (RmgrId::XLOG, xlog::CHECKPOINT_SHUTDOWN | xlog::CHECKPOINT_ONLINE) => 17..20,
        (RmgrId::XLOG, xlog::PARAMETER_CHANGE) => 26..28,
        (RmgrId::STANDBY, standby::RUNNING_XACTS | standby::INVALIDATIONS) => 9..12,
        (RmgrId::HEAP, heap::INPLACE) => {
            data[2..4].fill(0);
            13..16
        }
        (RmgrId::HEAP2, code) if code & heap::OPMASK == heap2::MULTI_INSERT => 1..2,
        _ => 0..0,
    };
    data[padding].fill(0);
    data
}

/// Block 0's data likewise: between the tuples of a multiple insertion, and in the plans of
/// freezing.
fn block_without_padding(record: &DecodedRecord<'_>) -> Vec<u8> {
    use info::{heap, heap2};
    let mut data = record.blocks[0].data.to_vec();
    let number = |data: &[u8], at: usize| usize::from(u16::from_le_bytes([data[at], data[at + 1]]));
    match (record.header.rmgr, record.code() & heap::OPMASK) {
        (RmgrId::HEAP2, heap2::MULTI_INSERT) => {
            let mut at = 0;
            while at < data.len() {
                at += 7 + number(&data, at);
                if at % 2 == 1 && at < data.len() {
                    data[at] = 0;
                    at += 1;
                }
            }
        }
        (RmgrId::HEAP2, code) if code <= heap2::PRUNE_VACUUM_CLEANUP => {
            const HAS_FREEZE_PLANS: u8 = 0x10;
            if record.main_data[1] & HAS_FREEZE_PLANS != 0 {
                data[2..4].fill(0);
                for plan in 0..number(&data, 0) {
                    data[4 + plan * 12 + 9] = 0;
                }
            }
        }
        _ => {}
    }
    data
}

fn bytes_of(record: &Record<'_>, prev: Lsn) -> Vec<u8> {
    let mut headers = HeaderBuffer::new();
    let mut assembled = record.assemble(&mut headers).unwrap();
    assembled.finish(prev);
    assembled.pieces().flatten().copied().collect()
}

fn what_is_decoded_and_encoded_again_is_the_same(log: &PostgresLog<'_>) {
    let mut encoded = BTreeMap::new();
    log.for_each(|record| {
        let code = rmgr::identify(record).unwrap_or("?");
        let name = format!("{} {code}", record.header.rmgr);
        // The record's own bytes: its CRC was right, so the same CRC means the same bytes.
        let again = record.with_parts(|parts| bytes_of(parts, record.header.prev));
        let crc = u32::from_le_bytes(again[20..24].try_into().unwrap());
        assert_eq!(crc, record.header.crc, "{name} at {}", record.lsn);
        assert_eq!(again.len(), record.header.total_length as usize);
        if let Some((main_data, block)) = encode_again(record) {
            let expected = without_padding(record);
            assert_eq!(main_data, expected, "{name} at {}", record.lsn);
            if let Some(block) = block {
                let expected = block_without_padding(record);
                assert_eq!(block, expected, "{name} at {}", record.lsn);
            }
            *encoded.entry(name).or_insert(0) += 1;
        }
    });
    assert!(encoded.len() > 30, "{encoded:?}");
}

fn page_images_are_those_that_pg_waldump_restores(log: &PostgresLog<'_>) {
    // From where images are compressed on: a database's creation before would take long.
    let mut start = None;
    log.for_each(|record| {
        if rmgr::identify(record) == Some("PARAMETER_CHANGE") {
            start.get_or_insert(record.lsn);
        }
    });
    let start = start.unwrap();
    let directory = wal_directory(log.judge);
    let images = log.judge.postgres().directory("images");
    let start_text = start.to_string();
    let save = format!("--save-fullpage={}", images.display());
    let arguments = [
        "-p",
        directory.to_str().unwrap(),
        "-s",
        &start_text,
        "-q",
        &save,
    ];
    pg_waldump(log, &arguments);
    let mut compressor = pglz::Compressor::new();
    let mut page = Box::new([0; BLCKSZ]);
    let (mut plain, mut compressed) = (0, 0);
    log.for_each(|record| {
        if record.lsn < start {
            return;
        }
        for block in &record.blocks {
            let Some(image) = block.image else {
                continue;
            };
            page.fill(0xee);
            image.restore(&mut page, record.lsn, block.id).unwrap();
            let name = format!(
                "{:08X}-{:08X}-{:08X}.{}.{}.{}.{}_{}",
                1,
                record.lsn.0 >> 32,
                record.lsn.0 as u32,
                block.locator.spc_oid,
                block.locator.db_oid,
                block.locator.rel_number,
                block.block,
                block.fork.name()
            );
            let expected = fs::read(images.join(&name)).unwrap();
            assert!(page[..] == expected[..], "{name}");
            if image.compression().is_none() {
                plain += 1;
                continue;
            }
            // Our compression gives the same bytes.
            let hole = image.hole();
            let end = usize::from(hole.offset + hole.length);
            let source = [&page[..hole.offset.into()], &page[end..]].concat();
            let mut again = Vec::new();
            assert!(compressor.compress(&source, &mut again));
            assert!(again == image.data(), "{name}");
            compressed += 1;
        }
    });
    assert!(plain > 100 && compressed > 100, "{plain}, {compressed}");
}

fn pg_waldump_reads_a_log_that_we_wrote(log: &PostgresLog<'_>) {
    const RECORDS: u32 = 6000;
    // PostgreSQL's records, each at another place than PostgreSQL put it.
    let mut writer = PageWriter::new();
    let large = vec![7; 1_200_000];
    let noop = Record {
        rmgr: RmgrId::XLOG,
        info: info::xlog::NOOP,
        xid: trunkline_pgformat::Xid::INVALID,
        origin: None,
        toplevel_xid: None,
        blocks: &[],
        main_data: &[&large],
    };
    let mut nth = 0;
    log.for_each(|record| {
        nth += 1;
        if nth >= RECORDS {
            return;
        }
        if nth % 2000 == 5 {
            writer.write(&noop);
        }
        let is_switch = record.header.rmgr == RmgrId::XLOG && record.code() == info::xlog::SWITCH;
        if !is_switch {
            record.with_parts(|parts| writer.write(parts));
        }
    });
    let directory = log.judge.postgres().directory("written");
    let segment_size = LOG.segment_size.bytes() as usize;
    for (nth, segment) in writer.whole_segments().chunks(segment_size).enumerate() {
        let name = LOG.segment_size.file_name(1, 1 + nth as u64);
        fs::write(directory.join(name), segment).unwrap();
    }
    let start = writer.start.to_string();
    let (path, end) = (directory.to_str().unwrap(), writer.end().to_string());
    let dump = pg_waldump(log, &["-p", path, "-s", &start, "-e", &end]);
    assert!(dump.status.success());
    assert_eq!(String::from_utf8(dump.stderr).unwrap(), "");
    let printed = String::from_utf8(dump.stdout).unwrap();
    let mut printed = printed.lines();
    let ours = PostgresLog {
        judge: log.judge,
        start: writer.start,
        bytes: writer.whole_segments(),
        log: LOG,
    };
    ours.for_each(|record| {
        let expected = printed.next().unwrap();
        if let Ok(line) = rmgr::waldump_line(record) {
            assert_eq!(line, expected);
        }
    });
    assert_eq!(printed.next(), None);
}
