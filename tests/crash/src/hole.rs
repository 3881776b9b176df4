//! Log behind a hole (W9). Writes of the log that were in flight at a crash leave holes, and whole
//! records behind them, which are no part of the log. Recovery makes them invalid; if it did not, a
//! record that later happens to end where one of them begins would make them follow. What happens
//! seldom is made to happen here: the hole is filled so that a record begins where the one before such
//! a remnant did, and ends where the remnant begins.

use std::path::Path;

use trunkline_aio::{IoContext, read_file};
use trunkline_engine::Database;
use trunkline_pgformat::wal::info;
use trunkline_pgformat::wal::record::RECORD_HEADER_SIZE;
use trunkline_pgformat::wal::rmgr_id::RmgrId;
use trunkline_pgformat::wal::segment::SegmentSize;
use trunkline_pgformat::{Lsn, Xid};
use trunkline_sim::SimDisk;
use trunkline_wal::{Inserted, WalError, WalRecord};

use crate::inspection::{control, end_of_log, reader, with_issuer};
use crate::machine::{Place, open};

/// The log is written in units of this size: what is behind the last one is not overwritten.
const UNIT_BYTES: u64 = 4096;

/// Of one record: far from what the ring takes.
const MOST_BYTES: u64 = 64 << 10;

/// Segments that are looked through, from the one on that the log ends in.
const SEGMENTS: u64 = 2;

/// A record behind the end of the log that is whole.
#[derive(Clone, Copy, Debug)]
struct Remnant {
    /// Where it begins: with a write unit.
    start: Lsn,
    /// Where the record before it began.
    prev: Lsn,
}

/// Fills the hole before the first remnant that a crash has left, if it can be filled so that the
/// remnant would follow; the disk after another power cut then. The log must end before the remnant.
pub fn fill(disk: &SimDisk, place: &Place, seed: u64) -> Option<SimDisk> {
    let remnants = remnants(disk, &place.path);
    if remnants.is_empty() {
        return None;
    }
    let database = open(disk, &place.path, seed).unwrap();
    let mut io = database.session("postgres", &[]).unwrap().issuer().unwrap();
    let size = database.wal().config().segment_size;
    let position = |lsn| size.byte_position_of(lsn);
    let at = position(database.wal().insert_lsn());
    let remnant = remnants.into_iter().find(|remnant| {
        // Nothing, or a record.
        let room = position(remnant.prev).checked_sub(at);
        room.is_some_and(|room| room == 0 || room >= RECORD_HEADER_SIZE as u64)
            && position(remnant.start) - position(remnant.prev) <= MOST_BYTES
    })?;
    while position(database.wal().insert_lsn()) < position(remnant.prev) {
        insert_up_to(&database, &mut io, remnant.prev).unwrap();
    }
    let last = insert_up_to(&database, &mut io, remnant.start).unwrap();
    assert_eq!(last.start, remnant.prev, "{remnant:?}");
    assert_eq!(position(last.end), position(remnant.start), "{remnant:?}");
    database.wal().flush(&mut io, last.end).unwrap();
    drop(io);
    drop(database);
    disk.power_cut();
    let disk = disk.restart();
    let end = with_issuer(&disk, |io| {
        let control = control(&disk, &place.path, io);
        end_of_log(
            &disk,
            &place.path,
            &control,
            control.check_point_copy.redo,
            io,
        )
        .0
    });
    assert_eq!(
        position(end),
        position(remnant.start),
        "what a crash has left behind the log's end has become a part of it: {remnant:?}"
    );
    Some(disk)
}

/// Inserts a record that does nothing and ends at `end`, or as near to it as a record can.
fn insert_up_to(database: &Database, io: &mut IoContext, end: Lsn) -> Result<Inserted, WalError> {
    let wal = database.wal();
    let size = wal.config().segment_size;
    let length = size.byte_position_of(end) - size.byte_position_of(wal.insert_lsn());
    insert_of(
        database,
        io,
        if length > 2 * MOST_BYTES {
            MOST_BYTES
        } else {
            length
        },
    )
}

/// Ends the write unit that the log ends in with a record that does nothing, as the log's own padding
/// does.
pub fn end_unit(database: &Database, io: &mut IoContext) -> Result<Inserted, WalError> {
    let at = database.wal().insert_lsn();
    let mut end = Lsn(at.0.next_multiple_of(UNIT_BYTES));
    if end.0 - at.0 < RECORD_HEADER_SIZE as u64 {
        end.0 += UNIT_BYTES;
    }
    insert_up_to(database, io, end)
}

/// Inserts a record of `length` bytes that does nothing.
fn insert_of(database: &Database, io: &mut IoContext, length: u64) -> Result<Inserted, WalError> {
    // A header for the data's length takes two bytes, or five from 256 bytes on.
    let data = match length {
        ..=24 => 0,
        25..=281 => length as usize - 26,
        _ => length as usize - 29,
    };
    let record = WalRecord {
        rmgr: RmgrId::XLOG,
        info: info::xlog::NOOP,
        xid: Xid::INVALID,
        toplevel_xid: None,
        blocks: &[],
        main_data: &[&vec![0; data]],
    };
    database.wal().insert(io, &record)
}

/// Whole records behind the end of the log that begin with a write unit, in their order.
fn remnants(disk: &SimDisk, path: &Path) -> Vec<Remnant> {
    with_issuer(disk, |io| {
        let control = control(disk, path, io);
        let redo = control.check_point_copy.redo;
        let (end, _) = end_of_log(disk, path, &control, redo, io);
        let size = SegmentSize::new(control.xlog_seg_size).unwrap();
        let timeline = control.check_point_copy.this_time_line_id;
        let mut found = Vec::new();
        let first = size.segment_of(end);
        for number in first..first + SEGMENTS {
            let file = path.join("pg_wal").join(size.file_name(timeline, number));
            let Ok(bytes) = read_file(disk, io, &file) else {
                continue;
            };
            let segment = number * u64::from(size.bytes());
            for unit in (0..bytes.len() as u64).step_by(UNIT_BYTES as usize) {
                // Behind the page's header, if there is one.
                let start = Lsn(segment + unit);
                let start = size.lsn_of_byte_position(size.byte_position_of(start));
                let at = (start.0 - segment) as usize;
                let prev = bytes
                    .get(at + 8..at + 16)
                    .map(|prev| Lsn(u64::from_le_bytes(prev.try_into().unwrap())));
                let Some(prev) = prev.filter(|prev| (end..start).contains(prev)) else {
                    continue;
                };
                let next = reader(disk, path, &control, start).next(io, |_, record| record.lsn);
                if next.unwrap().is_ok_and(|lsn| lsn == start) {
                    found.push(Remnant { start, prev });
                }
            }
        }
        found
    })
}
