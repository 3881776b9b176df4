//! What happens when the log or pg_xact cannot be written.

use std::sync::Arc;

use trunkline_pgformat::slru::XactStatus;
use trunkline_pgformat::{DEFAULTTABLESPACE_OID, Oid, RelFileLocator};
use trunkline_sim::{Fault, FaultPlan, FaultRule, OpKind, PathFilter, SimConfig, SimDisk, When};
use trunkline_txn::{TransactionState, TxnError, XidStatus};

use crate::rig::{ASYNC, NOW, Rig, SYNC, sim_recovered, sim_rig, status_on_disk};

const EIO: i32 = 5;

fn fail(disk: &SimDisk, op: OpKind, directory: &str, when: When) {
    let paths = PathFilter::Under(directory.into());
    disk.add_fault(FaultRule::new(Fault::Fail(EIO), &[op], paths, when));
}

fn cluster(seed: u64) -> (SimDisk, Rig) {
    let disk = SimDisk::new(SimConfig::new(seed));
    let rig = sim_rig(&disk);
    (disk, rig)
}

#[test]
fn a_commit_whose_flush_fails_is_in_doubt_and_stops_everything() {
    let (disk, mut rig) = cluster(11);
    let (first, second) = (rig.manager.begin(1), rig.manager.begin(2));
    let xid = first.assign_xid().unwrap().xid();
    second.assign_xid().unwrap();
    fail(&disk, OpKind::Write, "/pg_wal", When::Always);
    let error = first.commit(&mut rig.io, SYNC).unwrap_err();
    assert!(matches!(&error, TxnError::CommitInDoubt { xid: of, .. } if of.xid() == xid));
    assert_eq!(error.sqlstate(), "08007");
    assert!(error.must_stop() && error.detail().is_some());
    // It counts as running: nobody takes it for aborted, or gets its locks.
    assert_eq!(first.state(), TransactionState::InDoubt);
    assert_eq!(rig.manager.status(xid).unwrap(), XidStatus::InProgress);
    drop(first);
    assert!(rig.manager.is_in_progress(xid));
    let holders = rig.manager.locks().snapshot();
    assert!(holders.iter().any(|lock| lock.process_id == 1));
    // Nobody commits any more, and no checkpoint ends.
    assert!(rig.manager.failure().is_some());
    let error = second.commit(&mut rig.io, ASYNC).unwrap_err();
    assert!(matches!(error, TxnError::MustStop { .. }) && error.must_stop());
    second.abort(&mut rig.io, NOW);
    let inside = rig.manager.begin_checkpoint();
    assert!(inside.wait(&mut rig.io).unwrap_err().must_stop());
    assert!(rig.manager.flush(&mut rig.io).unwrap_err().must_stop());
    drop(rig);
    disk.power_cut();
    let disk = disk.restart();
    disk.set_faults(FaultPlan::none());
    let rig = sim_recovered(&disk).unwrap();
    assert_ne!(rig.manager.status(xid).unwrap(), XidStatus::InProgress);
}

#[test]
fn a_commit_that_cannot_be_inserted_has_not_happened() {
    let (disk, mut rig) = cluster(12);
    let (first, second) = (rig.manager.begin(1), rig.manager.begin(2));
    let xid = first.assign_xid().unwrap().xid();
    fail(&disk, OpKind::Write, "/pg_wal", When::Always);
    // The log fails for somebody else.
    rig.log_work(xid).unwrap();
    rig.wal
        .flush(&mut rig.io, rig.wal.insert_lsn())
        .unwrap_err();
    let error = first.commit(&mut rig.io, SYNC).unwrap_err();
    assert!(matches!(error, TxnError::Wal(_)) && error.must_stop());
    assert_eq!(error.sqlstate(), "58030");
    assert_eq!(first.state(), TransactionState::Active);
    first.abort(&mut rig.io, NOW);
    assert_eq!(rig.manager.status(xid).unwrap(), XidStatus::Aborted);
    // Who has no id has nothing to record.
    second.commit(&mut rig.io, SYNC).unwrap();
}

#[test]
fn a_page_waits_for_the_log_of_its_commits() {
    let (disk, mut rig) = cluster(13);
    let transaction = rig.manager.begin(1);
    let xid = transaction.assign_xid().unwrap().xid();
    transaction.commit(&mut rig.io, ASYNC).unwrap();
    let lsn = rig.manager.pg_xact().commit_lsn(xid);
    assert!(rig.wal.durable_lsn() < lsn && lsn <= rig.wal.insert_lsn());
    assert!(!rig.manager.is_commit_durable(xid));
    rig.push_out_pages().unwrap();
    assert!(rig.wal.durable_lsn() >= lsn, "the page went first");
    assert_eq!(status_on_disk(&disk, xid), XactStatus::Committed);
    assert!(rig.manager.is_commit_durable(xid));

    // If the log cannot be had, neither an eviction nor a checkpoint writes the page.
    let transaction = rig.manager.begin(1);
    let xid = transaction.assign_xid().unwrap().xid();
    transaction.commit(&mut rig.io, ASYNC).unwrap();
    fail(&disk, OpKind::Write, "/pg_wal", When::Always);
    assert!(rig.push_out_pages().unwrap_err().must_stop());
    assert!(rig.manager.flush(&mut rig.io).unwrap_err().must_stop());
    assert_eq!(status_on_disk(&disk, xid), XactStatus::InProgress);
    assert_eq!(rig.manager.status(xid).unwrap(), XidStatus::Committed);
}

#[test]
fn a_commit_that_deletes_files_is_always_waited_for() {
    let (_disk, mut rig) = cluster(14);
    let file = RelFileLocator {
        spc_oid: DEFAULTTABLESPACE_OID,
        db_oid: Oid(5),
        rel_number: 16_384,
    };
    let transaction = rig.manager.begin(1);
    transaction.with_pending_files(|files| files.dropped(file));
    let error = transaction.commit(&mut rig.io, ASYNC).unwrap_err();
    assert!(matches!(error, TxnError::FilesWithoutXid));
    transaction.assign_xid().unwrap();
    assert_eq!(transaction.commit(&mut rig.io, ASYNC).unwrap(), [file]);
    assert_eq!(rig.wal.durable_lsn(), rig.wal.insert_lsn());

    // An abort is not.
    let transaction = rig.manager.begin(2);
    transaction.assign_xid().unwrap();
    transaction.with_pending_files(|files| files.created(file));
    assert_eq!(transaction.abort(&mut rig.io, NOW), [file]);
    assert!(rig.wal.durable_lsn() < rig.wal.insert_lsn());
}

#[test]
fn who_writes_nothing_logs_nothing() {
    let (_disk, mut rig) = cluster(15);
    let before = rig.wal.insert_lsn();
    rig.manager.begin(1).commit(&mut rig.io, SYNC).unwrap();
    rig.manager.begin(2).abort(&mut rig.io, NOW);
    let abandoned = rig.manager.begin(3);
    let xid = abandoned.assign_xid().unwrap().xid();
    drop(abandoned);
    assert_eq!(rig.manager.status(xid).unwrap(), XidStatus::Aborted);
    assert_eq!(rig.wal.insert_lsn(), before);
    assert!(rig.manager.locks().snapshot().is_empty());
}

/// A commit that waits for the log holds no lock that others need.
#[test]
fn others_go_on_while_a_commit_is_flushed() {
    let (_disk, rig) = cluster(16);
    let transaction = Arc::new(rig.manager.begin(1));
    transaction.assign_xid().unwrap();
    std::thread::scope(|scope| {
        let mut io = rig.issuer();
        let committing = Arc::clone(&transaction);
        scope.spawn(move || committing.commit(&mut io, SYNC).unwrap());
        // Its own snapshots, states and ids can be asked for at every moment.
        while transaction.state() != TransactionState::Committed {
            transaction.snapshot();
            assert!(transaction.xid().is_some());
        }
    });
}
