//! PostgreSQL reads what we log, and we recover what it logs.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use trunkline_aio::{Aio, AioConfig, OsStorage, Storage, SystemClock};
use trunkline_harness::{Cluster, copy_directory, postgres};
use trunkline_pgformat::control_file::{ClusterState, ControlFile};
use trunkline_pgformat::wal::rmgr::xlog::Xlog;
use trunkline_pgformat::wal::rmgr_id::RmgrId;
use trunkline_pgformat::wal::segment::SegmentSize;
use trunkline_pgformat::{DEFAULTTABLESPACE_OID, Oid, RelFileLocator};
use trunkline_txn::{FullXid, SlruConfig, TransactionManager, TransactionRedo, redo};
use trunkline_wal::{WalConfig, WalReader};

use crate::rig::{ASYNC, NOW, Rig, SYNC, limits, locks};

fn aio() -> Arc<Aio> {
    Aio::start(AioConfig::default()).unwrap()
}

#[test]
fn pg_waldump_prints_what_transactions_log() {
    let Some(postgres) = postgres() else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let (storage, clock) = (Arc::new(OsStorage::new()), Arc::new(SystemClock::new()));
    let mut rig = Rig::create(&aio(), storage, clock, directory.path());
    let start = rig.wal.insert_lsn();
    let file = |rel_number| RelFileLocator {
        spc_oid: DEFAULTTABLESPACE_OID,
        db_oid: Oid(5),
        rel_number,
    };
    let transactions: Vec<_> = (1..=8)
        .map(|process_id| {
            let transaction = rig.manager.begin(process_id);
            transaction.assign_xid().unwrap();
            transaction
        })
        .collect();
    rig.log_running_xacts().unwrap();
    transactions[1].with_pending_files(|files| {
        files.dropped(file(16_384));
        files.dropped(file(16_385));
    });
    transactions[3].with_pending_files(|files| files.created(file(16_386)));
    for transaction in &transactions[..2] {
        transaction.commit(&mut rig.io, SYNC).unwrap();
    }
    for transaction in &transactions[2..4] {
        transaction.abort(&mut rig.io, NOW);
    }
    transactions[4].commit(&mut rig.io, ASYNC).unwrap();
    rig.log_running_xacts().unwrap();
    rig.wal.flush(&mut rig.io, rig.wal.insert_lsn()).unwrap();

    let pg_wal = directory.path().join("pg_wal");
    let (start, end) = (start.to_string(), rig.wal.durable_lsn().to_string());
    let arguments = [
        "--path",
        pg_wal.to_str().unwrap(),
        "--start",
        &start,
        "--end",
        &end,
    ];
    let text = postgres
        .inspect("pg_waldump", &arguments)
        .without_complaints();
    let described: Vec<(&str, &str)> = text
        .lines()
        .filter(|line| !line.contains("NOOP"))
        .map(|line| {
            let manager = line.split_whitespace().nth(1).unwrap();
            (manager, line.split_once("desc: ").unwrap().1.trim_end())
        })
        .collect();
    let at = "2026-11-28 12:00:00.000000 UTC";
    let commit = format!("COMMIT {at}");
    let expected = [
        ("CLOG", "ZEROPAGE page 4".to_owned()),
        (
            "Standby",
            "RUNNING_XACTS nextXid 131075 latestCompletedXid 131066 oldestRunningXid 131067; \
             8 xacts: 131067 131068 131069 131070 131071 131072 131073 131074"
                .to_owned(),
        ),
        ("Transaction", commit.clone()),
        (
            "Transaction",
            format!("{commit}; rels: base/5/16384 base/5/16385"),
        ),
        ("Transaction", format!("ABORT {at}")),
        ("Transaction", format!("ABORT {at}; rels: base/5/16386")),
        ("Transaction", commit),
        (
            "Standby",
            "RUNNING_XACTS nextXid 131075 latestCompletedXid 131071 oldestRunningXid 131072; \
             3 xacts: 131072 131073 131074"
                .to_owned(),
        ),
    ];
    let expected: Vec<_> = expected
        .iter()
        .map(|(manager, text)| (*manager, text.as_str()))
        .collect();
    assert_eq!(described, expected);
}

fn files_of(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}

/// Everything that ends transactions, and so many ids that pg_xact grows: by subtransactions of one
/// commit, on two pages.
const WORKLOAD: &[&str] = &[
    "CREATE TABLE t (a int)",
    "CREATE TABLE gone (a int)",
    "INSERT INTO t VALUES (1)",
    "BEGIN; INSERT INTO t VALUES (2); ROLLBACK",
    "BEGIN; SAVEPOINT s; INSERT INTO t VALUES (3); ROLLBACK TO s; INSERT INTO t VALUES (4); COMMIT",
    "DO $$ BEGIN FOR i IN 1..70 LOOP BEGIN INSERT INTO t VALUES (i); EXCEPTION WHEN division_by_zero
     THEN NULL; END; END LOOP; END $$",
    "CHECKPOINT",
    "BEGIN; DROP TABLE gone; CREATE TABLE stays (a int); COMMIT",
    "BEGIN; CREATE TABLE never (a int); ROLLBACK",
    "DO $$ BEGIN FOR i IN 1..33000 LOOP BEGIN INSERT INTO t VALUES (i); IF i % 3 = 0 THEN
     PERFORM 1 / 0; END IF; EXCEPTION WHEN division_by_zero THEN NULL; END; END LOOP; END $$",
    "DO $$ BEGIN FOR i IN 1..200 LOOP INSERT INTO t VALUES (i);
     IF i % 7 = 0 THEN ROLLBACK; ELSE COMMIT; END IF; END LOOP; END $$",
    "SET synchronous_commit = off; INSERT INTO t VALUES (5)",
    // What is flushed last makes sure that all before is in the log.
    "INSERT INTO t VALUES (6)",
];

#[test]
fn our_redo_leaves_the_pg_xact_that_postgresqls_does() {
    let Some(server) = Cluster::init("pg_xact", &[]) else {
        return;
    };
    let settings = ["checkpoint_timeout=1h"];
    server.start(&settings);
    for statement in WORKLOAD {
        server.query(statement);
    }
    server.stop("immediate");
    let ours = tempfile::tempdir().unwrap();
    let data = ours.path().join("data");
    copy_directory(&server.data(), &data).unwrap();
    // Its recovery, then ours.
    server.start(&settings);
    server.stop("fast");

    let control = ControlFile::decode(&fs::read(data.join("global/pg_control")).unwrap()).unwrap();
    assert_eq!(control.state, ClusterState::InProduction);
    let checkpoint = &control.check_point_copy;
    let config = WalConfig::new(
        data.join("pg_wal"),
        checkpoint.this_time_line_id,
        control.system_identifier,
        SegmentSize::new(control.xlog_seg_size).unwrap(),
    );
    let storage: Arc<dyn Storage> = Arc::new(OsStorage::new());
    let aio = aio();
    let mut io = aio.issuer(1).unwrap();
    let slru = SlruConfig {
        directory: data.join("pg_xact"),
        buffers: 4,
        direct: false,
    };
    let next_xid = FullXid(checkpoint.next_full_xid);
    let mut context = TransactionRedo::start(slru, next_xid, &aio, storage.clone()).unwrap();
    let mut reader = WalReader::new(storage, &config, checkpoint.redo);
    let (mut records, mut dropped) = (0, Vec::new());
    loop {
        let next = reader.next(&mut io, |_, record| {
            if record.header.rmgr == RmgrId::XLOG
                && let Some(
                    Xlog::CheckpointOnline(checkpoint) | Xlog::CheckpointShutdown(checkpoint),
                ) = Xlog::decode(&record).unwrap()
            {
                context.note_next_xid(FullXid(checkpoint.next_full_xid));
            }
            redo(&mut context, &record)
        });
        match next.unwrap() {
            Ok(files) => dropped.extend(files.unwrap()),
            Err(_) => break,
        }
        records += 1;
    }
    assert!(records > 33_000, "{records} records");
    // "gone" and "never", whose tables had no other files that their ends name.
    assert_eq!(dropped.len(), 2, "{dropped:?}");
    let next_xid = context.next_xid();
    let manager = TransactionManager::start_after_redo(context, limits(), locks(), None).unwrap();
    manager.flush(&mut io).unwrap();

    let (theirs, ours) = (server.data().join("pg_xact"), data.join("pg_xact"));
    let (theirs, ours) = (files_of(&theirs), files_of(&ours));
    let describe = |files: &[(String, Vec<u8>)]| -> Vec<(String, usize)> {
        files
            .iter()
            .map(|(name, bytes)| (name.clone(), bytes.len()))
            .collect()
    };
    assert_eq!(describe(&theirs), describe(&ours));
    assert!(theirs == ours, "pg_xact differs");
    assert_eq!(theirs[0].1.len(), 2 * 8192, "pg_xact grew");
    let control = fs::read(server.data().join("global/pg_control")).unwrap();
    let control = ControlFile::decode(&control).unwrap();
    assert_eq!(control.check_point_copy.next_full_xid, next_xid.0);
}
