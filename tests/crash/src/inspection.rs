//! What is looked at besides tables: checksums of all pages, pg_control, and how far the log can be read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use trunkline_aio::{Aio, AioConfig, FileKind, IoContext, Storage, read_file};
use trunkline_catalog::oids;
use trunkline_pgformat::control_file::{ClusterState, ControlFile};
use trunkline_pgformat::wal::segment::SegmentSize;
use trunkline_pgformat::{BLCKSZ, Lsn, RELSEG_SIZE, verify_page};
use trunkline_sim::SimDisk;
use trunkline_wal::{WalConfig, WalReader};

/// Every directory with relation files.
const DIRECTORIES: [&str; 2] = ["base/5", "global"];

/// Of the first page of a segment (`SizeOfXLogLongPHD`).
const LONG_HEADER_BYTES: u64 = 40;

pub(crate) fn with_issuer<T>(disk: &SimDisk, body: impl FnOnce(&mut IoContext) -> T) -> T {
    let aio = Aio::start_with(AioConfig::default(), Arc::new(disk.clone())).unwrap();
    let mut io = aio.issuer(1).unwrap();
    body(&mut io)
}

pub(crate) fn control(disk: &SimDisk, path: &Path, io: &mut IoContext) -> ControlFile {
    let bytes = read_file(disk, io, &path.join("global/pg_control")).unwrap();
    ControlFile::decode(&bytes).unwrap()
}

pub(crate) fn reader(disk: &SimDisk, path: &Path, control: &ControlFile, start: Lsn) -> WalReader {
    let config = WalConfig::new(
        path.join("pg_wal"),
        control.check_point_copy.this_time_line_id,
        control.system_identifier,
        SegmentSize::new(control.xlog_seg_size).unwrap(),
    );
    WalReader::new(Arc::new(disk.clone()), &config, start)
}

/// Reads the log from `start` on, to its end.
pub(crate) fn end_of_log(
    disk: &SimDisk,
    path: &Path,
    control: &ControlFile,
    start: Lsn,
    io: &mut IoContext,
) -> (Lsn, u64) {
    let mut reader = reader(disk, path, control, start);
    let mut records = 0;
    while reader.next(io, |_, _| ()).unwrap().is_ok() {
        records += 1;
    }
    (reader.position(), records)
}

/// Records of the log, from a redo point on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RecordCounts {
    /// The redo point.
    pub start: Lsn,
    /// Where the last record ends.
    pub end: Lsn,
    /// By resource manager.
    pub by_rmgr: BTreeMap<String, u64>,
    /// Page images that are compressed.
    pub compressed: u64,
    /// The files of the first and the last record.
    pub segments: [String; 2],
}

/// Counts the records from the redo point that pg_control tells.
pub fn count_records(disk: &SimDisk, path: &Path) -> RecordCounts {
    with_issuer(disk, |io| {
        let control = control(disk, path, io);
        let start = control.check_point_copy.redo;
        let mut reader = reader(disk, path, &control, start);
        let (mut by_rmgr, mut compressed) = (BTreeMap::new(), 0);
        let mut end = start;
        loop {
            let next = reader.next(io, |_, record| {
                let images = record.blocks.iter().filter_map(|block| block.image);
                compressed += images.filter(|image| image.compression().is_some()).count() as u64;
                record.header.rmgr.to_string()
            });
            let Ok(rmgr) = next.unwrap() else {
                break;
            };
            *by_rmgr.entry(rmgr).or_default() += 1;
            end = reader.position();
        }
        let size = SegmentSize::new(control.xlog_seg_size).unwrap();
        let timeline = control.check_point_copy.this_time_line_id;
        RecordCounts {
            start,
            end,
            by_rmgr,
            compressed,
            segments: [size.segment_of(start), size.segment_before(end)]
                .map(|segment| size.file_name(timeline, segment)),
        }
    })
}

/// What a crash has left: pg_control is whole, and the log can be read from the redo point that it
/// tells to `durable` at least.
pub fn check_crashed(disk: &SimDisk, path: &Path, durable: Lsn) {
    with_issuer(disk, |io| {
        let control = control(disk, path, io);
        let check_point = control.check_point;
        let redo = control.check_point_copy.redo;
        assert!(redo <= check_point, "redo {redo} of {check_point}");
        let (end, _) = end_of_log(disk, path, &control, redo, io);
        // Before and behind a page's header is the same place.
        let reached = Lsn(end.0 + LONG_HEADER_BYTES) >= durable;
        assert!(
            reached && end > check_point,
            "the log ends at {end}; durable up to {durable}, checkpoint at {check_point}"
        );
    });
}

/// What a clean stop has left, for a database whose tables have the files with the numbers `of_tables`.
/// Gives the number of relations that have files and are no table's: those whose making or dropping a
/// crash cut in two where the log does not tell.
pub fn check_stopped(disk: &SimDisk, path: &Path, of_tables: &BTreeSet<u32>) -> usize {
    with_issuer(disk, |io| {
        let control = control(disk, path, io);
        assert_eq!(control.state, ClusterState::ShutDown);
        assert_eq!(control.check_point, control.check_point_copy.redo);
        let (_, records) = end_of_log(disk, path, &control, control.check_point, io);
        assert_eq!(records, 1, "records from the shutdown checkpoint on");
        check_pages(disk, path, of_tables, io)
    })
}

/// The checksum of every page of every file that is a table's. Of others that are there nobody has
/// redone what the power cut tore.
fn check_pages(
    disk: &SimDisk,
    path: &Path,
    of_tables: &BTreeSet<u32>,
    io: &mut IoContext,
) -> usize {
    let mut of_users = BTreeSet::new();
    for directory in DIRECTORIES {
        let directory = path.join(directory);
        for entry in disk.list(&directory).unwrap() {
            let name = entry.name.to_string_lossy().into_owned();
            if entry.kind != FileKind::File || !name.starts_with(|c: char| c.is_ascii_digit()) {
                continue;
            }
            let (fork, segment) = name.split_once('.').unwrap_or((&name, "0"));
            let number: u32 = fork.split('_').next().unwrap().parse().unwrap();
            if number >= oids::FIRST_NORMAL_OBJECT.0 {
                of_users.insert(number);
                if !of_tables.contains(&number) {
                    continue;
                }
            }
            let first = segment.parse::<u32>().unwrap() * RELSEG_SIZE;
            let bytes = read_file(disk, io, &directory.join(&name)).unwrap();
            assert_eq!(bytes.len() % BLCKSZ, 0, "{name}");
            for (block, page) in (first..).zip(bytes.chunks_exact(BLCKSZ)) {
                let page = page.try_into().unwrap();
                verify_page(page, block, true)
                    .unwrap_or_else(|error| panic!("{name} block {block}: {error}"));
            }
        }
    }
    assert!(
        of_users.is_superset(of_tables),
        "files {of_users:?}, of tables {of_tables:?}"
    );
    of_users.len() - of_tables.len()
}
