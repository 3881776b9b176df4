//! Writing pg_xact in steps, with several I/Os in flight.

use std::path::Path;
use std::sync::Arc;

use trunkline_aio::{IoContext, Storage, write_file_durably};
use trunkline_pgformat::slru::XactStatus;
use trunkline_pgformat::{BLCKSZ, Xid};
use trunkline_sim::{Fault, FaultRule, OpKind, PathFilter, SimConfig, SimDisk, When};
use trunkline_txn::{FlushProgress, PgXact, SlruConfig, TxnError};

use crate::rig::{XACTS_PER_PAGE, core, status_on_disk};

/// In two segments, and more than are in flight at once. Only every other page is changed: writes of
/// neighbours would be combined.
const PAGES: u32 = 64;

fn pages() -> impl Iterator<Item = u32> {
    (0..PAGES).step_by(2)
}

fn log(seed: u64) -> (SimDisk, IoContext, PgXact) {
    let disk = SimDisk::new(SimConfig::new(seed));
    let aio = core(&disk);
    let mut io = aio.issuer(1).unwrap();
    let directory = Path::new("/pg_xact");
    disk.create_dir(directory).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    let zeros = vec![0; PAGES as usize / 2 * BLCKSZ];
    for segment in ["0000", "0001"] {
        write_file_durably(&disk, &mut io, &directory.join(segment), &zeros).unwrap();
    }
    let config = SlruConfig {
        directory: directory.to_owned(),
        buffers: PAGES as usize,
        direct: true,
    };
    let log = PgXact::open(config, &aio, Arc::new(disk.clone()), None).unwrap();
    (disk, io, log)
}

fn xid(page: u32, nth: u32) -> Xid {
    Xid(page * XACTS_PER_PAGE + 100 + nth)
}

fn change_all(log: &PgXact, nth: u32) {
    for page in pages() {
        log.set_status(xid(page, nth), XactStatus::Committed)
            .unwrap();
    }
}

fn all_on_disk(disk: &SimDisk, nth: u32) -> bool {
    pages().all(|page| status_on_disk(disk, xid(page, nth)) == XactStatus::Committed)
}

#[test]
fn a_bounded_number_of_writes_is_in_flight() {
    let (disk, mut io, log) = log(21);
    change_all(&log, 0);
    let mut flush = log.begin_flush().unwrap();
    let mut most = 0;
    while let FlushProgress::InFlight(wait_ref) = flush.step(&mut io).unwrap() {
        most = most.max(disk.in_flight());
        // What changes under way is for the next flush, if it is not in this one.
        change_all(&log, 1);
        io.wait(wait_ref);
    }
    assert!((8..=16).contains(&most), "{most} in flight");
    assert_eq!(flush.step(&mut io).unwrap(), FlushProgress::Done);
    drop(flush);
    disk.power_cut();
    assert!(all_on_disk(&disk.restart(), 0));
}

#[test]
fn what_changed_under_way_is_in_the_next_flush() {
    let (disk, mut io, log) = log(22);
    change_all(&log, 0);
    let mut flush = log.begin_flush().unwrap();
    assert!(matches!(
        flush.step(&mut io),
        Ok(FlushProgress::InFlight(_))
    ));
    change_all(&log, 1);
    flush.run(&mut io).unwrap();
    log.begin_flush().unwrap().run(&mut io).unwrap();
    disk.power_cut();
    let disk = disk.restart();
    assert!(all_on_disk(&disk, 0) && all_on_disk(&disk, 1));
}

#[test]
fn a_flush_that_is_given_up_leaves_its_pages_to_the_next() {
    let (disk, mut io, log) = log(23);
    change_all(&log, 0);
    for steps in [1, 2] {
        let mut flush = log.begin_flush().unwrap();
        for _ in 0..steps {
            if let FlushProgress::InFlight(wait_ref) = flush.step(&mut io).unwrap() {
                io.wait(wait_ref);
            }
        }
        drop(flush);
    }
    log.begin_flush().unwrap().run(&mut io).unwrap();
    disk.power_cut();
    assert!(all_on_disk(&disk.restart(), 0));
}

#[test]
fn a_write_that_fails_is_done_by_the_next_flush() {
    let (disk, mut io, log) = log(24);
    change_all(&log, 0);
    disk.add_fault(FaultRule::new(
        Fault::Fail(5),
        &[OpKind::Write],
        PathFilter::Under("/pg_xact".into()),
        When::Nth(9),
    ));
    let error = log.begin_flush().unwrap().run(&mut io).unwrap_err();
    assert_eq!(error.sqlstate(), "58030");
    assert!(!error.must_stop(), "{error}");
    log.begin_flush().unwrap().run(&mut io).unwrap();
    disk.power_cut();
    assert!(all_on_disk(&disk.restart(), 0));
}

#[test]
fn after_a_failed_sync_nothing_is_written_any_more() {
    let (disk, mut io, log) = log(25);
    change_all(&log, 0);
    disk.add_fault(FaultRule::new(
        Fault::Fail(5),
        &[OpKind::Fsync],
        PathFilter::Under("/pg_xact".into()),
        When::Nth(1),
    ));
    let error = log.begin_flush().unwrap().run(&mut io).unwrap_err();
    assert!(matches!(
        error,
        TxnError::File {
            action: "fsync",
            ..
        }
    ));
    let error = log.begin_flush().err().unwrap();
    assert!(matches!(error, TxnError::SyncFailed { .. }) && error.must_stop());
}
