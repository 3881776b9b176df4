//! Relation locks between sessions: waiting, giving up, being told to.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc;

use trunkline_engine::TableScan;
use trunkline_txn::LockMode;

use crate::rig::{Rig, count, create, drop_table, load, lock_table, opened, statement, truncate};

/// Until this many lock requests wait.
pub fn until_waiting(rig: &Rig, requests: usize) {
    let waiting = || {
        let locks = rig.database().locks().snapshot();
        locks.iter().filter(|lock| !lock.granted).count()
    };
    while waiting() < requests {
        std::thread::yield_now();
    }
}

#[test]
fn drop_and_truncate_wait_for_a_running_scan() {
    for drops in [true, false] {
        let rig = Rig::new();
        let (mut reader, mut other) = (rig.session(), rig.session());
        create(&mut reader, "t").unwrap();
        load(&mut reader, "t", 20_000, false).unwrap();
        let (sender, ended) = mpsc::channel();
        let rows = statement(&mut reader, |reader| {
            let relation = opened(reader, "t", LockMode::AccessShare)?;
            let scan = TableScan::new(reader, relation, Arc::new(reader.snapshot()?))?;
            let mut rows = 0;
            let mut changing = None;
            scan.partition()?.count(|found| {
                if changing.is_none() {
                    // In the middle of the scan somebody wants the table away.
                    let (mut other, sender) = (rig.session(), sender.clone());
                    changing = Some(std::thread::spawn(move || {
                        let outcome = if drops {
                            drop_table(&mut other, "t")
                        } else {
                            truncate(&mut other, "t")
                        };
                        sender.send(()).unwrap();
                        outcome.unwrap();
                    }));
                    until_waiting(&rig, 1);
                }
                rows += found;
                ControlFlow::Continue(())
            })?;
            assert!(ended.try_recv().is_err(), "it did not wait");
            // A new reader queues behind who waits.
            assert!(!other_can_read(&rig));
            Ok(rows)
        })
        .unwrap();
        assert_eq!(rows, 20_000);
        ended.recv().unwrap();
        let found = count(&mut other, "t").map_err(|error| error.sqlstate());
        assert_eq!(found, if drops { Err("42P01") } else { Ok(0) });
    }
}

fn other_can_read(rig: &Rig) -> bool {
    let mut session = rig.session();
    session
        .settings_mut()
        .set("lock_timeout", "1ms", false, false)
        .unwrap();
    match lock_table(&mut session, "t", LockMode::AccessShare) {
        Ok(()) => true,
        Err(error) => {
            assert_eq!(error.sqlstate(), "55P03");
            assert_eq!(error.to_string(), "canceling statement due to lock timeout");
            false
        }
    }
}

#[test]
fn a_cancel_ends_the_wait_and_only_that_statement() {
    let rig = Rig::new();
    let (mut holder, mut waiter) = (rig.session(), rig.session());
    create(&mut holder, "t").unwrap();
    holder.begin_block().unwrap();
    lock_table(&mut holder, "t", LockMode::AccessExclusive).unwrap();
    let entry = Arc::clone(waiter.entry());
    let thread = std::thread::spawn(move || {
        let error = count(&mut waiter, "t").unwrap_err();
        (waiter, error)
    });
    until_waiting(&rig, 1);
    assert!(
        rig.database()
            .sessions()
            .cancel(entry.backend_pid, entry.secret_key)
    );
    let (mut waiter, error) = thread.join().unwrap();
    assert_eq!(error.sqlstate(), "57014");
    assert_eq!(error.to_string(), "canceling statement due to user request");
    holder.commit_block().unwrap();
    assert_eq!(count(&mut waiter, "t").unwrap(), 0);
}

#[test]
fn a_cancel_ends_a_load_and_a_scan() {
    let rig = Rig::new();
    let mut session = rig.session();
    create(&mut session, "t").unwrap();
    load(&mut session, "t", 20_000, false).unwrap();
    let entry = Arc::clone(session.entry());
    let cancel = || {
        assert!(
            rig.database()
                .sessions()
                .cancel(entry.backend_pid, entry.secret_key)
        )
    };
    let error = statement(&mut session, |session| {
        let relation = opened(session, "t", LockMode::AccessShare)?;
        let scan = TableScan::new(session, relation, Arc::new(session.snapshot()?))?;
        scan.partition()?.count(|_| {
            cancel();
            ControlFlow::Continue(())
        })
    })
    .unwrap_err();
    assert_eq!(error.sqlstate(), "57014");
    let error = statement(&mut session, |session| {
        let mut load = crate::rig::begin_load(session, "t", false)?;
        cancel();
        crate::rig::put_rows(&mut load, 20_000)
    })
    .unwrap_err();
    assert_eq!(error.sqlstate(), "57014");
    assert_eq!(count(&mut session, "t").unwrap(), 20_000);
}

#[test]
fn a_deadlock_ends_one_of_the_two() {
    let rig = Rig::new();
    let (mut first, mut second) = (rig.session(), rig.session());
    create(&mut first, "a").unwrap();
    create(&mut first, "b").unwrap();
    first.begin_block().unwrap();
    second.begin_block().unwrap();
    lock_table(&mut first, "a", LockMode::AccessExclusive).unwrap();
    lock_table(&mut second, "b", LockMode::AccessExclusive).unwrap();
    let thread = std::thread::spawn(move || {
        let outcome = lock_table(&mut first, "b", LockMode::AccessShare);
        first.rollback_block();
        outcome
    });
    until_waiting(&rig, 1);
    let outcome = lock_table(&mut second, "a", LockMode::AccessShare);
    second.rollback_block();
    let outcomes = [outcome, thread.join().unwrap()];
    let mut errors = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
    let error = errors.next().unwrap();
    assert_eq!(error.sqlstate(), "40P01");
    assert_eq!(error.to_string(), "deadlock detected");
    assert!(
        error
            .detail()
            .unwrap()
            .contains("waits for AccessShareLock on relation")
    );
    assert!(errors.next().is_none(), "one goes on");
    assert!(rig.database().locks().snapshot().is_empty());
}

#[test]
fn termination_ends_waits_and_lets_no_statement_begin() {
    let rig = Rig::new();
    let (mut holder, mut waiter) = (rig.session(), rig.session());
    create(&mut holder, "t").unwrap();
    holder.begin_block().unwrap();
    lock_table(&mut holder, "t", LockMode::AccessExclusive).unwrap();
    let thread = std::thread::spawn(move || count(&mut waiter, "t").unwrap_err().sqlstate());
    until_waiting(&rig, 1);
    rig.database().sessions().terminate_all();
    assert_eq!(thread.join().unwrap(), "57P01");
    let error = holder.begin_statement().unwrap_err();
    assert!(error.is_fatal());
    drop(holder);
    rig.database().stop().unwrap();
}
