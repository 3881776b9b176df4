//! The scenarios of PostgreSQL's `src/test/modules/test_aio` that need tables, each named after its row
//! in the table of `crates/aio/README.md`.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use trunkline_aio::{Op, State};
use trunkline_buffer::RelFork;
use trunkline_engine::{Database, EngineError, Session};
use trunkline_pgformat::ForkNumber;
use trunkline_txn::LockMode;

use crate::rig::{
    Rig, check_method, count, create, create_unlogged, drop_table, file, is_removed, load, opened,
    options, statement,
};

type Create = fn(&mut Session, &str) -> Result<(), EngineError>;

/// Makes a table of either persistence.
const CREATE: [Create; 2] = [create, create_unlogged];

const METHODS: [&str; 4] = ["sync", "worker", "io_uring", "posix_aio"];

/// Starts reads of all of a table's blocks with an issuer that then ends, and waits for none of them.
fn leave_reads_outstanding(session: &mut Session, name: &str) {
    let locator = statement(session, |session| {
        Ok(opened(session, name, LockMode::AccessShare)?.locator)
    })
    .unwrap();
    let database = session.database().clone();
    let rel_fork = RelFork::new(locator, ForkNumber::Main);
    let mut io = session.issuer().unwrap();
    let blocks = database.pool().nblocks(rel_fork).unwrap();
    database.pool().write_all(&mut io).unwrap();
    let evicted = database.pool().evict_relation(&mut io, locator).unwrap();
    assert_eq!(evicted.skipped, 0);
    let started = database.pool().prefetch(&mut io, rel_fork, 0, blocks);
    assert_eq!(started.unwrap(), blocks);
}

/// No read is. (The log and the background writer write when they will.)
fn assert_no_read_underway(database: &Database) {
    for row in database.aio().in_flight() {
        let is_read = row.op == Op::Readv;
        assert!(
            !is_read || row.state >= State::CompletedShared,
            "left behind: {row:?}"
        );
    }
}

#[test]
fn test_invalidate_a_new_table_is_rolled_back_with_reads_outstanding() {
    for method in METHODS {
        let rig = Rig::over(method);
        let mut session = rig.session();
        for create in CREATE {
            session.begin_block().unwrap();
            create(&mut session, "t").unwrap();
            load(&mut session, "t", 20_000, false).unwrap();
            let path = file(&mut session, "t");
            leave_reads_outstanding(&mut session, "t");
            session.rollback_block();
            assert!(is_removed(&path));
            assert_no_read_underway(rig.database());
            assert_eq!(count(&mut session, "t").unwrap_err().sqlstate(), "42P01");
        }
        drop(session);
        rig.database().stop().unwrap();
    }
}

#[test]
fn test_invalidate_a_table_is_dropped_with_reads_outstanding() {
    for method in METHODS {
        let rig = Rig::over(method);
        let mut session = rig.session();
        for create in CREATE {
            create(&mut session, "t").unwrap();
            load(&mut session, "t", 20_000, false).unwrap();
            let path = file(&mut session, "t");
            leave_reads_outstanding(&mut session, "t");
            drop_table(&mut session, "t").unwrap();
            assert!(is_removed(&path));
            assert_no_read_underway(rig.database());
            // The next table is read as itself.
            create(&mut session, "t").unwrap();
            load(&mut session, "t", 100, false).unwrap();
            assert_eq!(count(&mut session, "t").unwrap(), 100);
            drop_table(&mut session, "t").unwrap();
        }
        drop(session);
        rig.database().stop().unwrap();
    }
}

#[test]
fn test_003_initdb_under_every_method() {
    for method in METHODS {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data");
        // Makes the cluster, and opens it with this method; then once more.
        for made in [false, true] {
            assert_eq!(path.exists(), made);
            let database = Database::open(&path, &options(method)).unwrap();
            check_method(&database, method);
            let mut session = database.session("postgres", &[]).unwrap();
            if !made {
                create(&mut session, "t").unwrap();
                load(&mut session, "t", 1000, false).unwrap();
            }
            assert_eq!(count(&mut session, "t").unwrap(), 1000);
            drop(session);
            database.stop().unwrap();
        }
    }
}

/// A block whose header, or contents, are not what was written: every scan says so, and no other block
/// suffers.
#[test]
fn test_io_error_and_test_checksum_in_a_scan() {
    const BLOCK: u64 = 3;
    for method in METHODS {
        let rig = Rig::over(method);
        let mut session = rig.session();
        create(&mut session, "t").unwrap();
        load(&mut session, "t", 20_000, false).unwrap();
        let path = file(&mut session, "t");
        // The lower end of the free space is in the header; the last byte is some row's.
        for at in [BLOCK * 8192 + 12, BLOCK * 8192 + 8191] {
            let evict = |session: &mut Session| {
                let locator = statement(session, |session| {
                    Ok(opened(session, "t", LockMode::AccessShare)?.locator)
                })
                .unwrap();
                let mut io = session.issuer().unwrap();
                let pool = session.database().pool();
                pool.write_all(&mut io).unwrap();
                assert_eq!(pool.evict_relation(&mut io, locator).unwrap().skipped, 0);
            };
            let flip = || {
                let file = OpenOptions::new()
                    .read(true)
                    .write(true)
                    .open(&path)
                    .unwrap();
                let mut byte = [0];
                file.read_exact_at(&mut byte, at).unwrap();
                file.write_all_at(&[byte[0] ^ 0xff], at).unwrap();
            };
            evict(&mut session);
            flip();
            for _ in 0..2 {
                let error = count(&mut session, "t").unwrap_err();
                let name = path.strip_prefix(&rig.path).unwrap().display();
                assert_eq!(
                    error.to_string(),
                    format!("invalid page in block {BLOCK} of relation \"{name}\"")
                );
                assert_eq!(error.sqlstate(), "XX001");
            }
            evict(&mut session);
            flip();
            assert_eq!(count(&mut session, "t").unwrap(), 20_000);
        }
        drop(session);
        rig.database().stop().unwrap();
    }
}
