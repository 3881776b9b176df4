use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use trunkline_aio::{AioConfig, MethodKind, OsStorage, SystemClock};
use trunkline_pgformat::{BLCKSZ, Oid};

use super::*;
use crate::commit::CommitOptions;
use crate::timestamp::TimestampTz;
use crate::transaction::{Transaction, TransactionState};
use crate::visibility::{Visibility, XidFate};

const NOW: TimestampTz = TimestampTz(0);
const SYNCHRONOUS: CommitOptions = CommitOptions {
    synchronous: true,
    now: NOW,
};

/// A manager without a write-ahead log, and who does its I/O.
fn start(directory: &Path, next_xid: u64) -> (Arc<TransactionManager>, IoContext) {
    let config = AioConfig {
        method: Some(MethodKind::Sync),
        ..AioConfig::default()
    };
    let aio = Aio::start(config).unwrap();
    let io = aio.issuer(1).unwrap();
    let clock = Arc::new(SystemClock::new());
    let locks = Arc::new(LockManager::new(clock, Duration::from_millis(10)));
    let config = TxnConfig {
        next_xid: FullXid(next_xid),
        limits: XidLimits {
            oldest_xid: FullXid(next_xid.saturating_sub(700).max(3)),
            oldest_database: Oid(1),
            oldest_database_name: None,
        },
        pg_xact: SlruConfig {
            directory: directory.to_owned(),
            buffers: 4,
            direct: false,
        },
    };
    let storage = Arc::new(OsStorage::new());
    let manager = TransactionManager::start(config, &aio, storage, locks, None).unwrap();
    (manager, io)
}

fn commit(transaction: &Transaction, io: &mut IoContext) {
    transaction.commit(io, SYNCHRONOUS).unwrap();
}

/// A cluster whose pg_xact has pages for `pages` times 32768 ids.
fn cluster(pages: usize, next_xid: u64) -> (tempfile::TempDir, Arc<TransactionManager>, IoContext) {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("0000"), vec![0; pages * BLCKSZ]).unwrap();
    let (manager, io) = start(root.path(), next_xid);
    (root, manager, io)
}

fn sees(manager: &TransactionManager, snapshot: &RegisteredSnapshot, xid: FullXid) -> bool {
    Visibility::new(manager, snapshot)
        .xid_visible(xid.xid(), 0)
        .unwrap()
}

#[test]
fn ids_are_assigned_when_needed_and_in_order() {
    let (_root, manager, mut io) = cluster(1, 1000);
    let (reader, first, second) = (manager.begin(1), manager.begin(2), manager.begin(3));
    assert_eq!(second.assign_xid().unwrap(), FullXid(1000));
    assert_eq!(first.assign_xid().unwrap(), FullXid(1001));
    assert_eq!(second.assign_xid().unwrap(), FullXid(1000), "only once");
    assert_eq!(reader.xid(), None);
    commit(&reader, &mut io);
    assert_eq!(manager.next_xid(), FullXid(1002));
    assert!(manager.is_in_progress(Xid(1001)) && !manager.is_in_progress(Xid(999)));
    first.abort(&mut io, NOW);
    assert_eq!(manager.status(Xid(1001)).unwrap(), XidStatus::Aborted);
    commit(&second, &mut io);
    assert_eq!(manager.status(Xid(1000)).unwrap(), XidStatus::Committed);
    assert_eq!(second.state(), TransactionState::Committed);
    assert_eq!(manager.status(Xid::FROZEN).unwrap(), XidStatus::Committed);
}

#[test]
fn a_snapshot_keeps_its_moment() {
    let (_root, manager, mut io) = cluster(1, 1000);
    let [committed, aborted, running, later] = [1, 2, 3, 4].map(|pid| manager.begin(pid));
    let ids = [&committed, &aborted, &running].map(|transaction| transaction.assign_xid().unwrap());
    let before = manager.snapshot();
    commit(&committed, &mut io);
    aborted.abort(&mut io, NOW);
    let after = manager.snapshot();
    let late = later.assign_xid().unwrap();
    commit(&running, &mut io);
    commit(&later, &mut io);
    assert_eq!(ids.map(|xid| sees(&manager, &before, xid)), [false; 3]);
    assert_eq!(
        ids.map(|xid| sees(&manager, &after, xid)),
        [true, false, false]
    );
    assert!(!sees(&manager, &after, late));
    assert_eq!(
        ids.map(|xid| sees(&manager, &manager.snapshot(), xid)),
        [true, false, true]
    );
    let mut visibility = Visibility::new(&manager, &after);
    assert_eq!(visibility.fate(ids[1].xid()).unwrap(), XidFate::Aborted);
    assert_eq!(visibility.fate(ids[2].xid()).unwrap(), XidFate::InProgress);
    assert_eq!(visibility.fate(Xid::INVALID).unwrap(), XidFate::Aborted);
    assert!(visibility.xid_visible(Xid::FROZEN, 0).unwrap());
}

#[test]
fn a_transaction_sees_its_earlier_commands() {
    let (_root, manager, _io) = cluster(1, 1000);
    let transaction = manager.begin(1);
    let without_id = transaction.snapshot();
    let xid = transaction.assign_xid().unwrap().xid();
    assert!(
        !sees(&manager, &without_id, FullXid(1000)),
        "its own id came later"
    );
    let written_by = transaction.command_id(true);
    let visible = |snapshot: &RegisteredSnapshot| {
        Visibility::new(&manager, snapshot)
            .xid_visible(xid, written_by)
            .unwrap()
    };
    assert!(
        !visible(&transaction.snapshot()),
        "a command does not see itself"
    );
    transaction.increment_command().unwrap();
    assert!(visible(&transaction.snapshot()));
    assert!(visible(
        &without_id.at_command(xid, transaction.command_id(false))
    ));
    transaction.increment_command().unwrap();
    assert_eq!(
        transaction.command_id(false),
        1,
        "a number nobody wrote is used again"
    );
    assert!(!visible(&manager.snapshot()), "others do not see it");
}

#[test]
fn the_horizon_waits_for_transactions_and_snapshots() {
    let (_root, manager, mut io) = cluster(1, 1000);
    let old_snapshot = manager.snapshot();
    let writer = manager.begin(1);
    let xid = writer.assign_xid().unwrap().xid();
    assert_eq!(manager.oldest_xmin(), xid);
    commit(&writer, &mut io);
    assert_eq!(
        manager.oldest_xmin(),
        xid,
        "a snapshot from before still counts it as running"
    );
    let copy = old_snapshot.clone();
    let now = manager.snapshot();
    let mut visibility = Visibility::new(&manager, &now);
    assert!(!visibility.is_visible_to_all(xid).unwrap());
    drop(old_snapshot);
    assert_eq!(manager.oldest_xmin(), xid, "its copy lives");
    drop(copy);
    assert_eq!(manager.oldest_xmin(), Xid(1001));
    assert!(
        !visibility.is_visible_to_all(xid).unwrap(),
        "it has not looked again"
    );
    visibility.advance_horizon();
    assert!(visibility.is_visible_to_all(xid).unwrap());
    let aborted = manager.begin(1);
    let aborted_xid = aborted.assign_xid().unwrap().xid();
    aborted.abort(&mut io, NOW);
    let mut visibility = Visibility::new(&manager, &now);
    assert!(!visibility.is_visible_to_all(aborted_xid).unwrap());
}

/// Writers commit and abort while readers take snapshots: whatever a snapshot counts as ended has
/// a recorded end, and the same answer later.
#[test]
fn a_snapshot_never_finds_an_ended_transaction_undecided() {
    let (_root, manager, io) = cluster(2, 32_700);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Acquire) {
                    let snapshot = manager.snapshot();
                    let range = || (32_700..snapshot.xmax.0).rev().take(20).map(Xid);
                    let ended: Vec<(Xid, XactStatus)> = range()
                        .filter(|xid| !snapshot.is_in_progress(*xid))
                        .map(|xid| (xid, manager.pg_xact().status(xid).unwrap()))
                        .collect();
                    for (xid, status) in ended {
                        assert_ne!(status, XactStatus::InProgress, "{xid}");
                        let expected = if xid.0 % 3 == 0 {
                            XactStatus::Aborted
                        } else {
                            XactStatus::Committed
                        };
                        assert_eq!(status, expected);
                    }
                    assert!(manager.oldest_xmin().precedes_or_equals(snapshot.xmin));
                }
            });
        }
        let writers: Vec<_> = (1..=3)
            .map(|process_id| {
                let manager = &manager;
                let mut io = io.aio().issuer(process_id).unwrap();
                scope.spawn(move || {
                    for _ in 0..400 {
                        let transaction = manager.begin(process_id);
                        if transaction.assign_xid().unwrap().0 % 3 == 0 {
                            transaction.abort(&mut io, NOW);
                        } else {
                            commit(&transaction, &mut io);
                        }
                        manager.locks().release_all(transaction.owner());
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        is_over.store(true, Ordering::Release);
    });
    assert_eq!(manager.next_xid(), FullXid(32_700 + 1200));
    assert_eq!(manager.oldest_xmin(), manager.next_xid().xid());
}

#[test]
fn ends_survive_a_clean_stop() {
    let (root, manager, mut io) = cluster(1, 32_765);
    let ends: Vec<(Xid, bool)> = (0..6)
        .map(|n| {
            let transaction = manager.begin(1);
            let xid = transaction.assign_xid().unwrap().xid();
            if n % 2 == 0 {
                commit(&transaction, &mut io);
            } else {
                transaction.abort(&mut io, NOW);
            }
            manager.locks().release_all(transaction.owner());
            (xid, n % 2 == 0)
        })
        .collect();
    manager.flush(&mut io).unwrap();
    let next_xid = manager.next_xid();
    drop(manager);
    assert_eq!(
        fs::metadata(root.path().join("0000")).unwrap().len(),
        2 * BLCKSZ as u64
    );
    let (manager, _) = start(root.path(), next_xid.0);
    let snapshot = manager.snapshot();
    for (xid, is_committed) in ends {
        assert_eq!(
            Visibility::new(&manager, &snapshot)
                .xid_visible(xid, 0)
                .unwrap(),
            is_committed
        );
    }
    assert_eq!(manager.begin(1).assign_xid().unwrap(), next_xid);
}

/// A commit that cannot be recorded has not happened: the transaction runs on until its abort.
#[test]
fn a_transaction_runs_until_its_end_is_recorded() {
    let (root, manager, mut io) = cluster(6, 1000);
    let transaction = manager.begin(1);
    let xid = transaction.assign_xid().unwrap().xid();
    // Others' pages push its page out of the cache, and then it cannot be read back.
    for page in (1..6).cycle().take(20) {
        manager.pg_xact().status(Xid(page * 32_768)).unwrap();
    }
    let log = root.path().join("0000");
    fs::write(&log, []).unwrap();
    let error = transaction.commit(&mut io, SYNCHRONOUS).unwrap_err();
    assert_eq!(
        error.to_string(),
        "could not access status of transaction 1000"
    );
    assert!(manager.is_in_progress(xid));
    assert_eq!(manager.oldest_xmin(), xid);
    assert_eq!(transaction.state(), TransactionState::Active);
    transaction.abort(&mut io, NOW);
    assert!(!manager.is_in_progress(xid));
    fs::write(&log, vec![0; 6 * BLCKSZ]).unwrap();
    assert_eq!(manager.status(xid).unwrap(), XidStatus::Aborted);
}

/// An id near the end of the 32-bit range, and the first one after it.
#[test]
fn ids_wrap_into_the_next_epoch() {
    let root = tempfile::tempdir().unwrap();
    let last_segment = root.path().join("0FFF");
    fs::write(last_segment, vec![0; 32 * BLCKSZ]).unwrap();
    let (manager, mut io) = start(root.path(), u64::from(u32::MAX));
    let (last, first) = (manager.begin(1), manager.begin(2));
    assert_eq!(last.assign_xid().unwrap().xid(), Xid(u32::MAX));
    assert_eq!(first.assign_xid().unwrap(), FullXid((1 << 32) + 3));
    commit(&first, &mut io);
    let snapshot = manager.snapshot();
    assert_eq!((snapshot.xmin, snapshot.xmax), (Xid(u32::MAX), Xid(4)));
    assert!(sees(&manager, &snapshot, FullXid(3)));
    assert!(!sees(&manager, &snapshot, FullXid(u64::from(u32::MAX))));
}

#[test]
fn no_id_is_assigned_beyond_the_safe_limit() {
    let next_xid = (1 << 32) + 1000;
    let (_root, manager, _io) = cluster(1, next_xid);
    let mut limits = manager.limits();
    limits.oldest_xid = FullXid(next_xid + 3_000_000 - u64::from(u32::MAX >> 1));
    manager.set_limits(limits.clone());
    let transaction = manager.begin(1);
    let error = transaction.assign_xid().unwrap_err();
    assert_eq!(error.sqlstate(), "54000");
    assert_eq!(manager.next_xid(), FullXid(next_xid), "no id was used up");
    limits.oldest_xid = limits.oldest_xid.next();
    manager.set_limits(limits);
    assert_eq!(transaction.assign_xid().unwrap(), FullXid(next_xid));
    assert!(transaction.take_warning().is_some() && transaction.take_warning().is_none());
}

#[test]
fn waiting_for_a_transaction_ends_with_it() {
    let (_root, manager, mut io) = cluster(1, 1000);
    let transaction = manager.begin(1);
    let xid = transaction.assign_xid().unwrap().xid();
    let waiter = LockOwner::transaction(2);
    let token = CancelToken::new();
    let timeout = Some(Duration::from_millis(1));
    let error = manager
        .wait_for_end(waiter, xid, timeout, &token)
        .unwrap_err();
    assert_eq!(error.sqlstate(), "55P03");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            manager.wait_for_end(waiter, xid, None, &token).unwrap();
            manager.status(xid).unwrap()
        });
        while !manager
            .locks()
            .snapshot()
            .iter()
            .any(|row| row.process_id == 2)
        {
            thread::yield_now();
        }
        commit(&transaction, &mut io);
        manager.locks().release_all(transaction.owner());
        assert_eq!(waiting.join().unwrap(), XidStatus::Committed);
    });
    assert!(manager.locks().snapshot().is_empty());
}

#[test]
fn an_abandoned_transaction_is_aborted() {
    let (_root, manager, _io) = cluster(1, 1000);
    let transaction = manager.begin(1);
    let xid = transaction.assign_xid().unwrap().xid();
    drop(transaction);
    assert_eq!(manager.status(xid).unwrap(), XidStatus::Aborted);
    assert!(manager.locks().snapshot().is_empty());
}
