//! The engine through its public API: clusters, transactions, DDL, loads and scans.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use trunkline_catalog::{ColumnDefinition, RelationDesc, TableDefinition, oids};
use trunkline_engine::{Database, EngineError, Load, LoadColumns, OpenOptions, Session, TableScan};
use trunkline_pgformat::ForkNumber;
use trunkline_txn::LockMode;
use trunkline_types::OutputStyle;

const INT4: trunkline_pgformat::Oid = trunkline_types::oids::INT4;
const TEXT: trunkline_pgformat::Oid = trunkline_types::oids::TEXT;

fn open(path: &Path, method: &str) -> Arc<Database> {
    let options = OpenOptions {
        overrides: vec![
            ("shared_buffers".into(), "4MB".into()),
            ("max_connections".into(), "20".into()),
            ("io_method".into(), method.into()),
        ],
        initialise: true,
    };
    Database::open(path, &options).unwrap()
}

fn definition(name: &str) -> TableDefinition {
    TableDefinition {
        name: name.to_owned(),
        namespace: oids::PG_PUBLIC_NAMESPACE,
        owner: oids::BOOTSTRAP_SUPERUSER,
        columns: vec![
            ColumnDefinition::new("a", INT4, -1),
            ColumnDefinition::new("b", TEXT, -1),
        ],
    }
}

/// One statement of its own transaction, or of the open block.
fn statement<T>(
    session: &mut Session,
    body: impl FnOnce(&mut Session) -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    session.begin_statement()?;
    match body(session) {
        Ok(value) => {
            session.sync()?;
            Ok(value)
        }
        Err(error) => {
            session.fail_statement();
            Err(error)
        }
    }
}

fn create(session: &mut Session, name: &str) -> Result<(), EngineError> {
    statement(session, |session| {
        let mut io = session.issuer()?;
        session
            .create_table(&definition(name), false, &mut io)
            .map(drop)
    })
}

fn opened(session: &Session, name: &str, mode: LockMode) -> Result<Arc<RelationDesc>, EngineError> {
    session.open_relation(None, name, mode, &mut session.issuer()?)
}

fn load(session: &mut Session, name: &str, rows: i32, fail: bool) -> Result<u64, EngineError> {
    statement(session, |session| {
        let relation = opened(session, name, LockMode::RowExclusive)?;
        let columns = LoadColumns::all(&relation);
        let mut load = Load::begin(session, relation, columns, false, OutputStyle::default())?;
        for row in 0..rows {
            let text = format!("row {row}");
            load.row(&[Some(&row.to_le_bytes()), Some(text.as_bytes())])?;
        }
        if fail {
            // What any error in the data comes to.
            return load.row(&[Some(&[0; 4]), Some(&[b'x'; 9000])]).map(|()| 0);
        }
        load.finish()
    })
}

fn count(session: &mut Session, name: &str) -> Result<u64, EngineError> {
    statement(session, |session| {
        let relation = opened(session, name, LockMode::AccessShare)?;
        let snapshot = Arc::new(session.snapshot()?);
        let scan = TableScan::new(session, relation, snapshot)?;
        let mut rows = 0;
        for _ in 0..2 {
            scan.partition()?.count(|found| {
                rows += found;
                ControlFlow::Continue(())
            })?;
        }
        Ok(rows)
    })
}

fn blocks(session: &mut Session, name: &str) -> u32 {
    statement(session, |session| {
        let relation = opened(session, name, LockMode::AccessShare)?;
        Ok(session
            .database()
            .smgr()
            .nblocks(relation.locator, ForkNumber::Main)?)
    })
    .unwrap()
}

#[test]
fn rows_survive_a_clean_stop_with_every_method() {
    for method in ["sync", "worker", "io_uring"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        let database = open(&path, method);
        let mut session = database.session("postgres", &[]).unwrap();
        create(&mut session, "t").unwrap();
        // More than the pool holds.
        assert_eq!(load(&mut session, "t", 200_000, false).unwrap(), 200_000);
        assert_eq!(count(&mut session, "t").unwrap(), 200_000, "{method}");
        drop(session);
        database.stop().unwrap();
        drop(database);

        let database = open(&path, method);
        let mut session = database.session("postgres", &[]).unwrap();
        // The first scan sets hints, the second finds all-visible pages.
        assert_eq!(count(&mut session, "t").unwrap(), 200_000, "{method}");
        assert_eq!(count(&mut session, "t").unwrap(), 200_000, "{method}");
        drop(session);
        database.stop().unwrap();
    }
}

#[test]
fn a_failed_load_leaves_nothing_and_gives_its_blocks_back() {
    let dir = tempfile::tempdir().unwrap();
    let database = open(&dir.path().join("data"), "sync");
    let mut session = database.session("postgres", &[]).unwrap();
    create(&mut session, "t").unwrap();
    load(&mut session, "t", 1000, false).unwrap();
    let before = blocks(&mut session, "t");
    let error = load(&mut session, "t", 50_000, true).unwrap_err();
    assert_eq!(error.sqlstate(), "54000");
    assert_eq!(count(&mut session, "t").unwrap(), 1000);
    assert_eq!(blocks(&mut session, "t"), before);
    drop(session);
    database.stop().unwrap();
}

#[test]
fn a_failed_load_beside_a_reader_gives_its_blocks_back_later() {
    let dir = tempfile::tempdir().unwrap();
    let database = open(&dir.path().join("data"), "sync");
    let mut session = database.session("postgres", &[]).unwrap();
    create(&mut session, "t").unwrap();
    load(&mut session, "t", 1000, false).unwrap();
    let before = blocks(&mut session, "t");

    let mut reader = database.session("postgres", &[]).unwrap();
    reader.begin_block().unwrap();
    opened(&reader, "t", LockMode::AccessShare).unwrap();
    load(&mut session, "t", 50_000, true).unwrap_err();
    assert!(
        database
            .smgr()
            .nblocks(
                opened(&reader, "t", LockMode::AccessShare).unwrap().locator,
                ForkNumber::Main
            )
            .unwrap()
            > before
    );
    reader.rollback_block();
    assert_eq!(blocks(&mut session, "t"), before);
    drop((session, reader));
    database.stop().unwrap();
}

#[test]
fn create_drop_and_truncate_are_transactional() {
    let dir = tempfile::tempdir().unwrap();
    let database = open(&dir.path().join("data"), "sync");
    let mut session = database.session("postgres", &[]).unwrap();
    let mut other = database.session("postgres", &[]).unwrap();

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
    let file = |session: &mut Session| {
        statement(session, |session| {
            let relation = opened(session, "t", LockMode::AccessShare)?;
            Ok(session
                .database()
                .data_dir()
                .join(relation.locator.path(ForkNumber::Main)))
        })
        .unwrap()
    };
    let first = file(&mut session);
    for commit in [false, true] {
        session.begin_block().unwrap();
        statement(&mut session, |session| {
            let relation = opened(session, "t", LockMode::AccessExclusive)?;
            session.truncate_table(&relation, &mut session.issuer()?)
        })
        .unwrap();
        assert_eq!(count(&mut session, "t").unwrap(), 0);
        if commit {
            session.commit_block().unwrap();
        } else {
            session.rollback_block();
            assert_eq!(count(&mut other, "t").unwrap(), 10);
        }
        assert_eq!(first.exists(), !commit);
    }
    assert_eq!(count(&mut other, "t").unwrap(), 0);

    let second = file(&mut session);
    statement(&mut session, |session| {
        let relation = opened(session, "t", LockMode::AccessExclusive)?;
        session.drop_table(&relation, &mut session.issuer()?)
    })
    .unwrap();
    assert!(!second.exists());
    assert_eq!(count(&mut other, "t").unwrap_err().sqlstate(), "42P01");
    drop((session, other));
    database.stop().unwrap();
}

#[test]
fn directories_that_cannot_be_opened_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    let refused = |path: &Path| match Database::open(path, &OpenOptions::default()) {
        Ok(_) => panic!("{} opened", path.display()),
        Err(error) => error.to_string(),
    };
    assert!(refused(&path).contains("does not exist or is empty"));
    let database = open(&path, "sync");
    assert!(refused(&path).contains("is in use by process"));
    // As a crash would leave it.
    let control = path.join("global/pg_control");
    let running = std::fs::read(&control).unwrap();
    database.stop().unwrap();
    drop(database);
    let stopped = std::fs::read(&control).unwrap();
    std::fs::write(&control, running).unwrap();
    assert!(refused(&path).contains("was not stopped cleanly (state: in production)"));
    let mut damaged = stopped.clone();
    damaged[100] ^= 1;
    std::fs::write(&control, damaged).unwrap();
    assert!(refused(&path).contains("incorrect checksum in control file"));
    std::fs::write(&control, stopped).unwrap();
    std::fs::write(path.join("PG_VERSION"), "17\n").unwrap();
    assert!(refused(&path).contains("version 17"));
    let other = dir.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("file"), "x").unwrap();
    assert!(refused(&other).contains("is not a data directory"));
    assert!(refused(&other.join("file")).contains("it is not a directory"));
}
