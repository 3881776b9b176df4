//! Transactions: what they leave, in files, rows and locks, however they end.

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::sync::mpsc;

use trunkline_engine::CommitOutcome;
use trunkline_txn::LockMode;

use crate::rig::{
    Rig, begin_load, blocks, count, create, drop_table, file, is_removed, load, lock_table, opened,
    put_rows, statement, truncate,
};

#[test]
fn create_drop_and_truncate_are_transactional() {
    let rig = Rig::new();
    let (mut session, mut other) = (rig.session(), rig.session());

    session.begin_block().unwrap();
    create(&mut session, "t").unwrap();
    load(&mut session, "t", 10, false).unwrap();
    assert_eq!(count(&mut session, "t").unwrap(), 10);
    assert_eq!(count(&mut other, "t").unwrap_err().sqlstate(), "42P01");
    session.rollback_block();
    assert_eq!(count(&mut session, "t").unwrap_err().sqlstate(), "42P01");

    create(&mut session, "t").unwrap();
    load(&mut session, "t", 10, false).unwrap();
    assert_eq!(create(&mut other, "t").unwrap_err().sqlstate(), "42P07");
    let first = file(&mut session, "t");
    for commit in [false, true] {
        session.begin_block().unwrap();
        truncate(&mut session, "t").unwrap();
        assert_eq!(count(&mut session, "t").unwrap(), 0);
        if commit {
            session.commit_block().unwrap();
        } else {
            session.rollback_block();
            assert_eq!(count(&mut other, "t").unwrap(), 10);
        }
        assert_eq!(is_removed(&first), commit);
    }
    assert_eq!(count(&mut other, "t").unwrap(), 0);

    let second = file(&mut session, "t");
    drop_table(&mut session, "t").unwrap();
    assert!(is_removed(&second));
    assert_eq!(count(&mut other, "t").unwrap_err().sqlstate(), "42P01");
    drop((session, other));
    rig.database().stop().unwrap();
}

#[test]
fn files_made_and_dropped_in_one_transaction_are_removed_once() {
    let rig = Rig::new();
    let mut session = rig.session();
    let none = BTreeSet::new();
    for commit in [true, false] {
        let end = |session: &mut trunkline_engine::Session| {
            if commit {
                let outcome = session.commit_block().unwrap();
                assert_eq!(outcome, Some(CommitOutcome::Committed));
            } else {
                assert!(session.rollback_block());
            }
        };
        session.begin_block().unwrap();
        create(&mut session, "t").unwrap();
        load(&mut session, "t", 1000, false).unwrap();
        count(&mut session, "t").unwrap();
        drop_table(&mut session, "t").unwrap();
        assert_eq!(count(&mut session, "t").unwrap_err().sqlstate(), "42P01");
        // That failed the block.
        session.rollback_block();
        assert_eq!(rig.files_after_checkpoint(), none, "commit {commit}");

        session.begin_block().unwrap();
        create(&mut session, "t").unwrap();
        load(&mut session, "t", 1000, false).unwrap();
        drop_table(&mut session, "t").unwrap();
        end(&mut session);
        assert_eq!(rig.files_after_checkpoint(), none, "commit {commit}");

        session.begin_block().unwrap();
        create(&mut session, "t").unwrap();
        load(&mut session, "t", 1000, false).unwrap();
        truncate(&mut session, "t").unwrap();
        load(&mut session, "t", 5, false).unwrap();
        truncate(&mut session, "t").unwrap();
        load(&mut session, "t", 7, false).unwrap();
        let last = file(&mut session, "t");
        end(&mut session);
        let left: Vec<String> = rig.files_after_checkpoint().into_iter().collect();
        if commit {
            let last = last.file_name().unwrap().to_string_lossy().into_owned();
            assert_eq!(left, [last]);
            assert_eq!(count(&mut session, "t").unwrap(), 7);
            drop_table(&mut session, "t").unwrap();
            assert_eq!(rig.files_after_checkpoint(), none);
        } else {
            assert!(left.is_empty(), "{left:?}");
        }
    }
    drop(session);
    rig.database().stop().unwrap();
}

#[test]
fn of_several_creations_at_once_one_succeeds() {
    const SESSIONS: usize = 6;
    let rig = Rig::new();
    for round in 0..5 {
        let name = format!("t{round}");
        let before = rig.files().len();
        let start = Barrier::new(SESSIONS);
        let outcomes: Vec<Result<(), &str>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..SESSIONS)
                .map(|_| {
                    let (mut session, start, name) = (rig.session(), &start, &name);
                    scope.spawn(move || {
                        start.wait();
                        create(&mut session, name).map_err(|error| error.sqlstate())
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        let made = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(made, 1, "{outcomes:?}");
        assert!(
            outcomes
                .iter()
                .all(|outcome| matches!(outcome, Ok(()) | Err("42P07")))
        );
        assert_eq!(rig.files().len(), before + 1);
        assert_eq!(count(&mut rig.session(), &name).unwrap(), 0);
    }
    // One waits for the other's transaction, and has the name if that rolls back.
    let (mut first, mut second) = (rig.session(), rig.session());
    first.begin_block().unwrap();
    create(&mut first, "u").unwrap();
    let waiting = std::thread::spawn(move || create(&mut second, "u"));
    crate::locking::until_waiting(&rig, 1);
    first.rollback_block();
    waiting.join().unwrap().unwrap();
    assert_eq!(count(&mut first, "u").unwrap(), 0);
}

#[test]
fn reading_takes_no_transaction_id() {
    let rig = Rig::new();
    let mut session = rig.session();
    create(&mut session, "t").unwrap();
    load(&mut session, "t", 1000, false).unwrap();
    let next = rig.database().transactions().next_xid();
    session.begin_block().unwrap();
    for _ in 0..3 {
        assert_eq!(count(&mut session, "t").unwrap(), 1000);
    }
    // Nor does a CREATE that finds the table there.
    statement(&mut session, |session| {
        let mut io = session.issuer()?;
        session.create_table(&crate::rig::definition("t"), true, &mut io)
    })
    .unwrap();
    assert_eq!(session.transaction().unwrap().xid(), None);
    session.commit_block().unwrap();
    assert_eq!(rig.database().transactions().next_xid(), next);
}

#[test]
fn a_session_that_vanishes_leaves_nothing() {
    let rig = Rig::new();
    let mut other = rig.session();
    create(&mut other, "t").unwrap();
    load(&mut other, "t", 10, false).unwrap();
    let (files, before) = (rig.files(), blocks(&mut other, "t"));

    let mut session = rig.session();
    session.begin_block().unwrap();
    create(&mut session, "u").unwrap();
    load(&mut session, "t", 50_000, false).unwrap();
    session.begin_statement().unwrap();
    let mut load_in_progress = begin_load(&mut session, "t", false).unwrap();
    put_rows(&mut load_in_progress, 50_000).unwrap();
    drop(load_in_progress);
    drop(session);

    assert_eq!(rig.files_after_checkpoint(), files);
    assert_eq!(blocks(&mut other, "t"), before);
    assert_eq!(count(&mut other, "t").unwrap(), 10);
    drop_table(&mut other, "t").unwrap();
    assert!(rig.database().locks().snapshot().is_empty());
    drop(other);
    rig.database().stop().unwrap();
}

#[test]
fn a_load_does_not_outlive_its_transaction() {
    let rig = Rig::new();
    let mut session = rig.session();
    create(&mut session, "t").unwrap();
    session.begin_statement().unwrap();
    let mut load = begin_load(&mut session, "t", false).unwrap();
    session.fail_statement();
    let error = put_rows(&mut load, 50_000).unwrap_err();
    assert_eq!(error.sqlstate(), "25000");
    drop(load);
    assert_eq!(blocks(&mut session, "t"), 0);
}

#[test]
fn a_panic_ends_its_session_and_nothing_else() {
    let rig = Rig::new();
    let mut other = rig.session();
    create(&mut other, "t").unwrap();
    load(&mut other, "t", 10, false).unwrap();
    let before = blocks(&mut other, "t");

    let mut session = rig.session();
    let (sender, ended) = mpsc::channel::<()>();
    let task = move || {
        // Dropped last, when the session is gone.
        let _sender = sender;
        session.begin_block().unwrap();
        truncate(&mut session, "t").unwrap();
        session.rollback_block();
        session.begin_statement().unwrap();
        let mut load = begin_load(&mut session, "t", false).unwrap();
        put_rows(&mut load, 50_000).unwrap();
        // Too few values: a mistake of the caller.
        let _ = load.row(&[None]);
    };
    rig.database().threads().spawn(task).unwrap();
    assert!(ended.recv().is_err());

    assert_eq!(count(&mut other, "t").unwrap(), 10);
    assert_eq!(blocks(&mut other, "t"), before);
    lock_table(&mut other, "t", LockMode::AccessExclusive).unwrap();
    drop(other);
    rig.database().stop().unwrap();
}

#[test]
fn a_failed_block_waits_for_its_end() {
    let rig = Rig::new();
    let mut session = rig.session();
    session.begin_block().unwrap();
    create(&mut session, "t").unwrap();
    assert_eq!(create(&mut session, "t").unwrap_err().sqlstate(), "42P07");
    // Its locks and files are gone already.
    assert!(rig.database().locks().snapshot().is_empty());
    assert_eq!(count(&mut session, "t").unwrap_err().sqlstate(), "25P02");
    let refused = statement(&mut session, |session| {
        opened(session, "t", LockMode::AccessShare)
    });
    assert_eq!(refused.unwrap_err().sqlstate(), "25P02");
    assert_eq!(
        session.commit_block().unwrap(),
        Some(CommitOutcome::RolledBack)
    );
    assert_eq!(count(&mut session, "t").unwrap_err().sqlstate(), "42P01");
    create(&mut session, "t").unwrap();
    assert_eq!(session.commit_block().unwrap(), None);
    assert!(!session.rollback_block());
}
