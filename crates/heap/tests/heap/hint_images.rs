//! Hints after a checkpoint (B11), and changes that cannot be logged (W7, B4).

use trunkline_heap::{HeapError, SparePages};
use trunkline_pgformat::PageRef;
use trunkline_sim::{Fault, FaultRule, OpKind, PathFilter, When};

use crate::logged::{Disk, Logged, Pages, Recovery};
use crate::rig::{MAIN, TABLE};

/// A page of rows of a transaction that has ended, beside rows of one that has not: so that hints are
/// all that a scan leaves.
fn logged_with_hints_to_leave() -> (Logged, trunkline_txn::Transaction) {
    let mut logged = Logged::new(Disk::simulated(11), 64);
    logged.rig.load_committed(10, 60);
    let running = logged.rig.begin(2);
    let mut spare = SparePages::default();
    spare.push_partial(0);
    logged.rig.load(&running, 10, 60, false, spare);
    (logged, running)
}

fn images(logged: &Logged) -> u64 {
    logged.wal.stats().full_page_images
}

fn is_dirty(logged: &mut Logged) -> bool {
    let rig = &mut logged.rig;
    let buffer = rig.pool.read(&mut rig.io, MAIN, 0, None).unwrap();
    buffer.is_dirty()
}

#[test]
fn hints_on_a_clean_page_log_its_image_once_a_checkpoint() {
    let (mut logged, running) = logged_with_hints_to_leave();
    logged.checkpoint();
    let before = images(&logged);
    assert!(!is_dirty(&mut logged));
    let now = logged.rig.snapshot();
    assert_eq!(logged.rig.count(&now), 10);
    drop(now);
    assert!(is_dirty(&mut logged));
    assert_eq!(images(&logged), before + 1);
    let lsn = PageRef::new(&logged.rig.page(0)).lsn();
    assert!(lsn > logged.wal.redo());
    // Written and dirtied by hints again: its image is there.
    logged.flush();
    logged.rig.pool.write_all(&mut logged.rig.io).unwrap();
    running.abandon();
    let now = logged.rig.snapshot();
    assert_eq!(logged.rig.count(&now), 10);
    drop(now);
    assert!(is_dirty(&mut logged));
    assert_eq!(images(&logged), before + 1);
    assert_eq!(PageRef::new(&logged.rig.page(0)).lsn(), lsn);
}

#[test]
fn hints_on_a_dirty_page_need_no_image() {
    let (mut logged, running) = logged_with_hints_to_leave();
    assert!(is_dirty(&mut logged));
    // The redo point moves; the checkpoint that goes with it has yet to write the page.
    let level = trunkline_pgformat::control_file::WalLevel::Replica;
    logged
        .wal
        .begin_checkpoint(&mut logged.rig.io, level)
        .unwrap();
    let before = images(&logged);
    let now = logged.rig.snapshot();
    assert_eq!(logged.rig.count(&now), 10);
    assert_eq!(images(&logged), before);
    running.abandon();
}

fn fail_the_log(logged: &mut Logged) {
    let sim = logged.disk.sim.clone().unwrap();
    let paths = PathFilter::Contains("pg_wal".to_owned());
    sim.add_fault(FaultRule::new(
        Fault::Fail(5),
        &[OpKind::Write],
        paths,
        When::Always,
    ));
    let level = trunkline_pgformat::control_file::WalLevel::Replica;
    let io = &mut logged.rig.io;
    let record = logged.wal.begin_checkpoint(io, level).unwrap();
    assert!(logged.wal.flush(io, record.end).is_err());
}

#[test]
fn a_change_whose_record_fails_never_reaches_the_disk() {
    let mut logged = Logged::new(Disk::simulated(12), 64);
    logged.rig.load_committed(10, 60);
    logged.checkpoint();
    let before = logged.pages();
    fail_the_log(&mut logged);

    let transaction = logged.rig.begin(1);
    let mut io = logged.rig.issuer();
    let writer = logged.rig.writer(&transaction);
    let place = trunkline_pgformat::ItemPointer::new(0, 3);
    let error = writer.delete(place, &mut io).unwrap_err();
    assert!(matches!(error, HeapError::Buffer(_)), "{error}");
    assert_eq!(error.sqlstate(), "58030");
    assert!(error.to_string().contains("write-ahead log"), "{error}");
    // In memory it was made, and stays there.
    assert!(is_dirty(&mut logged));
    assert!(logged.rig.pool.write_all(&mut io).is_err());
    assert!(logged.rig.pool.write_relation(&mut io, TABLE).is_err());
    let root = logged.rig.pool.smgr().data_dir().to_owned();
    let disk = &logged.disk;
    let mut on_disk = Recovery::of(disk, root);
    let found = on_disk.pages();
    assert_same_block(&before, &found);
}

fn assert_same_block(before: &Pages, found: &Pages) {
    let place = (trunkline_pgformat::ForkNumber::Main, 0);
    let (mut one, mut other) = (before[&place].clone(), found[&place].clone());
    // A write stamps the checksum into the page in memory as well, but later changes of hints do not.
    trunkline_pgformat::PageMut::new(&mut one).set_checksum(0);
    trunkline_pgformat::PageMut::new(&mut other).set_checksum(0);
    assert!(one == other);
}

#[test]
fn hints_that_need_an_image_are_not_kept_when_the_log_has_failed() {
    let (mut logged, running) = logged_with_hints_to_leave();
    logged.checkpoint();
    running.abandon();
    fail_the_log(&mut logged);
    let lsn = PageRef::new(&logged.rig.page(0)).lsn();
    let now = logged.rig.snapshot();
    assert_eq!(logged.rig.count(&now), 10);
    assert!(!is_dirty(&mut logged));
    assert_eq!(PageRef::new(&logged.rig.page(0)).lsn(), lsn);
}

#[test]
fn an_unlogged_table_logs_nothing() {
    use trunkline_heap::{BulkInsert, BulkInsertOptions, HeapRelation, HeapWriter, TupleBatch};
    let mut logged = Logged::new(Disk::simulated(13), 64);
    let before = logged.wal.stats().records;
    let relation = HeapRelation::unlogged(TABLE);
    let transaction = logged.rig.begin(1);
    let xid = transaction.assign_xid().unwrap().xid();
    for frozen in [false, true] {
        let options = BulkInsertOptions {
            xid,
            command_id: 0,
            frozen,
        };
        let pool = &logged.rig.pool;
        let mut insert = BulkInsert::new(pool, relation, options, SparePages::default());
        let mut batch = TupleBatch::new();
        batch.push(&logged.rig.tuple(1, "x"));
        let io = &mut logged.rig.io;
        insert.insert(&mut batch, io).unwrap();
        insert.finish(io).unwrap();
    }
    let mut io = logged.rig.issuer();
    let mut tuple = logged.rig.tuple(2, "y");
    let (pool, transactions) = (&logged.rig.pool, &logged.rig.transactions);
    let writer = HeapWriter::new(pool, transactions, relation, xid, 1);
    let place = writer.insert(&mut tuple, &mut io).unwrap();
    let place = writer.update(place, &mut tuple, &mut io).unwrap();
    writer.delete(place, &mut io).unwrap();
    assert_eq!(logged.wal.stats().records, before);
    // And waits for no log: its pages have no LSN.
    pool.write_relation(&mut io, TABLE).unwrap();
    assert_eq!(PageRef::new(&logged.rig.page(0)).lsn().0, 0);
}
