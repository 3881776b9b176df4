//! Commits in two halves: between them the log is made durable, by whoever and however; left between them,
//! a commit is finished all the same.

use std::sync::Arc;

use trunkline_engine::{EngineError, LoadColumns, LogWait, RowInsert, Session};
use trunkline_txn::LockMode;
use trunkline_types::OutputStyle;

use crate::rig::{Faults, Rig, count, create, drop_table, faulty, lock_table, opened, switch};

fn insert(session: &mut Session, name: &str) -> Result<(), EngineError> {
    session.begin_statement()?;
    let relation = opened(session, name, LockMode::RowExclusive)?;
    let columns = LoadColumns::all(&relation);
    let mut rows = RowInsert::new(relation, columns, OutputStyle::default());
    let mut io = session.issuer()?;
    rows.insert(
        session,
        &mut io,
        &[Some(&7_i32.to_le_bytes()), Some(b"row")],
    )
}

fn begin_sync(session: &mut Session) -> Result<Option<LogWait>, EngineError> {
    let mut io = session.issuer()?;
    session.begin_sync(&mut io)
}

#[test]
fn nobody_sees_a_commit_between_its_halves_and_everybody_after_it() {
    let rig = Rig::new();
    let (mut session, mut other) = (rig.session(), rig.session());
    create(&mut session, "t").unwrap();
    insert(&mut session, "t").unwrap();
    let wait = begin_sync(&mut session).unwrap().unwrap();
    let lsn = wait.lsn().unwrap();
    assert_eq!(count(&mut other, "t").unwrap(), 0);
    let mut io = session.issuer().unwrap();
    let flushed = rig.database().wal().flush(&mut io, lsn);
    session.finish_sync(flushed).unwrap();
    assert_eq!(count(&mut other, "t").unwrap(), 1);
    // Its locks are gone.
    lock_table(&mut other, "t", LockMode::AccessExclusive).unwrap();
}

#[test]
fn a_block_is_committed_in_halves_too() {
    let rig = Rig::new();
    let (mut session, mut other) = (rig.session(), rig.session());
    create(&mut session, "t").unwrap();
    session.begin_block().unwrap();
    insert(&mut session, "t").unwrap();
    // The end of its message ends no block.
    assert!(begin_sync(&mut session).unwrap().unwrap().lsn().is_none());
    session.finish_sync(Ok(())).unwrap();
    assert!(session.in_transaction());
    let mut io = session.issuer().unwrap();
    let wait = session.begin_commit_block(&mut io).unwrap().unwrap();
    let flushed = rig.database().wal().flush(&mut io, wait.lsn().unwrap());
    session.finish_sync(flushed).unwrap();
    assert!(!session.in_transaction());
    assert_eq!(count(&mut other, "t").unwrap(), 1);
}

/// What deletes files or changes the catalogs takes more than the log.
#[test]
fn a_commit_with_more_to_do_is_not_begun() {
    let rig = Rig::new();
    let mut session = rig.session();
    create(&mut session, "t").unwrap();
    session.begin_block().unwrap();
    drop_table(&mut session, "t").unwrap();
    let mut io = session.issuer().unwrap();
    assert!(session.begin_commit_block(&mut io).unwrap().is_none());
    drop(io);
    session.commit_block().unwrap();
    assert_eq!(count(&mut session, "t").unwrap_err().sqlstate(), "42P01");
}

#[test]
fn a_commit_that_is_left_between_its_halves_is_finished() {
    let mut rig = Rig::new();
    let mut session = rig.session();
    create(&mut session, "t").unwrap();
    // By the next statement.
    insert(&mut session, "t").unwrap();
    assert!(begin_sync(&mut session).unwrap().unwrap().lsn().is_some());
    assert_eq!(count(&mut session, "t").unwrap(), 1);
    // By another attempt, which has the same to wait for.
    insert(&mut session, "t").unwrap();
    let lsn = begin_sync(&mut session).unwrap().unwrap().lsn();
    assert_eq!(begin_sync(&mut session).unwrap().unwrap().lsn(), lsn);
    session.sync().unwrap();
    // By the session's end.
    insert(&mut session, "t").unwrap();
    assert!(begin_sync(&mut session).unwrap().unwrap().lsn().is_some());
    drop(session);
    assert!(rig.database().failure().is_none());
    rig.crash();
    let mut session = rig.session();
    assert_eq!(count(&mut session, "t").unwrap(), 3);
}

#[test]
fn a_commit_whose_log_fails_is_in_doubt_and_stops_the_system() {
    let faults = Arc::new(Faults::default());
    let rig = Rig::on(faulty(&faults));
    let (mut session, mut other) = (rig.session(), rig.session());
    create(&mut session, "t").unwrap();
    insert(&mut session, "t").unwrap();
    let lsn = begin_sync(&mut session).unwrap().unwrap().lsn().unwrap();
    switch(&faults.wal_writes_fail, true);
    let mut io = session.issuer().unwrap();
    let flushed = rig.database().wal().flush(&mut io, lsn);
    assert!(flushed.is_err());
    let error = session.finish_sync(flushed).unwrap_err();
    assert_eq!(error.sqlstate(), "08007");
    assert!(rig.database().failure().is_some());
    assert!(other.begin_statement().is_err());
}
