//! Starts after a crash: what had committed is there, over every method; and what PostgreSQL's own
//! programs say of log and control file. A crash is that the database is let go without a stop: nothing
//! that is only in memory gets to the disk. What a power cut takes is tested on the simulated disk.

use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use trunkline_aio::{
    Alarm, AlarmAction, Alarms, Clock, Executor, IoRequest, Op, OsStorage, Storage, SyncMethod,
    SystemCalls,
};
use trunkline_engine::{
    CheckpointerStep, Database, Foundation, InitOptions, Session, initialise_with,
};
use trunkline_harness::{Postgres, copy_directory, logged, postgres};
use trunkline_pgformat::control_file::{ClusterState, ControlFile};
use trunkline_pgformat::wal::rmgr_id::RmgrId;
use trunkline_pgformat::wal::segment::SegmentSize;
use trunkline_pgformat::{ForkNumber, Lsn, Xid};
use trunkline_txn::LockMode;
use trunkline_wal::WalRecord;

use crate::rig::{
    Faults, Rig, begin_load, check_method, count, create, create_unlogged, drop_table, faulty,
    file, load, load_as, opened, options, put_rows, statement, switch, truncate,
};

const METHODS: [&str; 4] = ["sync", "worker", "io_uring", "posix_aio"];

fn control(path: &Path) -> ControlFile {
    let bytes = std::fs::read(path.join("global/pg_control")).unwrap();
    ControlFile::decode(&bytes).unwrap()
}

#[test]
fn what_had_committed_is_there_after_a_crash() {
    for method in METHODS {
        let mut rig = Rig::over(method);
        let mut session = rig.session();
        create(&mut session, "t").unwrap();
        load(&mut session, "t", 20_000, false).unwrap();
        create(&mut session, "dropped").unwrap();
        load(&mut session, "dropped", 1000, false).unwrap();
        let mut io = session.issuer().unwrap();
        rig.database().checkpoint(&mut io).unwrap();
        drop(io);
        // Hints, with an image each.
        count(&mut session, "t").unwrap();
        load(&mut session, "t", 500, false).unwrap();
        load(&mut session, "t", 3000, true).unwrap_err();
        drop_table(&mut session, "dropped").unwrap();
        create(&mut session, "emptied").unwrap();
        load(&mut session, "emptied", 1000, false).unwrap();
        truncate(&mut session, "emptied").unwrap();
        session.begin_block().unwrap();
        create(&mut session, "frozen").unwrap();
        load_as(&mut session, "frozen", 1000, false, true).unwrap();
        session.commit_block().unwrap();
        // Unfinished.
        let mut other = rig.session();
        other.begin_block().unwrap();
        create(&mut other, "unfinished").unwrap();
        load(&mut other, "unfinished", 5000, false).unwrap();
        load(&mut other, "t", 5000, false).unwrap();
        let unfinished = file(&mut other, "unfinished");
        // A later commit makes the log durable up to here.
        load(&mut session, "t", 1, false).unwrap();
        assert!(unfinished.exists());

        // What is in the kernel is not lost: so the log is all that a copy misses.
        let copy = tempfile::tempdir().unwrap();
        let path = copy.path().join("data");
        copy_directory(&rig.path, &path).unwrap();
        std::fs::remove_file(path.join("postmaster.pid")).unwrap();
        assert_eq!(control(&path).state, ClusterState::InProduction);
        let mut with_method = options(method);
        with_method.initialise = false;
        let database = Database::open(&path, &with_method).unwrap();
        check_method(&database, method);
        let mut found = database.session("postgres", &[]).unwrap();
        assert_eq!(count(&mut found, "t").unwrap(), 20_501);
        assert_eq!(count(&mut found, "emptied").unwrap(), 0);
        assert_eq!(count(&mut found, "frozen").unwrap(), 1000);
        for gone in ["dropped", "unfinished"] {
            assert_eq!(count(&mut found, gone).unwrap_err().sqlstate(), "42P01");
        }
        let unfinished = path.join("base/5").join(unfinished.file_name().unwrap());
        assert!(!unfinished.exists());
        // And it goes on.
        load(&mut found, "t", 10, false).unwrap();
        drop(found);
        database.stop().unwrap();
        drop(database);
        let database = Database::open(&path, &with_method).unwrap();
        let mut found = database.session("postgres", &[]).unwrap();
        assert_eq!(count(&mut found, "t").unwrap(), 20_511);
        drop(found);
        database.stop().unwrap();
        drop((session, other));
        rig.restart();
    }
}

/// A second goes by whenever somebody looks.
#[derive(Default)]
struct TickingClock {
    seconds: AtomicU64,
    /// Never sounded: nothing here has a timeout.
    alarms: Alarms,
}

impl Clock for TickingClock {
    fn monotonic(&self) -> Duration {
        Duration::from_secs(self.seconds.fetch_add(1, Ordering::SeqCst))
    }
    fn since_epoch(&self) -> Duration {
        Duration::from_secs(1_800_000_000) + self.monotonic()
    }
    fn park_until(&self, _: Duration) {
        unreachable!("one thread does everything, and waits for nobody");
    }
    fn alarm(&self, at: Duration, action: AlarmAction) -> std::io::Result<Alarm> {
        Ok(self.alarms.set(at, action))
    }
}

/// With the smallest window for reading ahead, which asserts that it keeps to its bounds.
#[test]
fn a_long_recovery_tells_how_far_it_is() {
    let rig = Rig::new();
    let mut session = rig.session();
    create(&mut session, "t").unwrap();
    for _ in 0..40 {
        load(&mut session, "t", 50, false).unwrap();
    }
    let end = rig.database().wal().insert_lsn();
    for (interval, is_told) in [("10s", true), ("0", false)] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data");
        copy_directory(&rig.path, &path).unwrap();
        std::fs::remove_file(path.join("postmaster.pid")).unwrap();
        let redo = control(&path).check_point_copy.redo;
        let foundation = Foundation {
            clock: Arc::new(TickingClock::default()),
            background: trunkline_engine::Background::Driven,
            ..Foundation::default()
        };
        let mut options = options("sync");
        for (name, value) in [
            ("log_startup_progress_interval", interval),
            ("wal_decode_buffer_size", "64kB"),
            ("maintenance_io_concurrency", "1"),
        ] {
            options.overrides.push((name.into(), value.into()));
        }
        let (lines, database) = logged(|| Database::open_on(foundation, &path, &options).unwrap());
        let mut last = redo;
        let mut elapsed_s = 0;
        let mut told = 0;
        let syncing = "syncing data directory (fsync), elapsed time: ";
        let is_syncing_told = lines.iter().any(|(_, line)| {
            line.strip_prefix(syncing).is_some_and(|rest| {
                let path = rest.split_once(".00 s, current path: ").unwrap().1;
                path.starts_with(directory.path().to_str().unwrap())
            })
        });
        assert_eq!(is_syncing_told, is_told, "{lines:#?}");
        for (_, line) in &lines {
            let start = "redo in progress, elapsed time: ";
            let Some((elapsed, lsn)) = line
                .strip_prefix(start)
                .and_then(|rest| rest.split_once(".00 s, current LSN: "))
            else {
                continue;
            };
            told += 1;
            let elapsed: u64 = elapsed.parse().unwrap();
            assert!(elapsed >= elapsed_s + 10, "{lines:#?}");
            elapsed_s = elapsed;
            let (high, low) = lsn.split_once('/').unwrap();
            let part = |text| u64::from_str_radix(text, 16).unwrap();
            let lsn = Lsn(part(high) << 32 | part(low));
            assert!(last < lsn && lsn < end, "{lines:#?}");
            last = lsn;
        }
        assert_eq!(told > 3, is_told, "{lines:#?}");
        database.stop().unwrap();
    }
}

/// PostgreSQL 18's lines, in its order.
#[test]
fn a_recovery_is_told_in_postgresqls_words() {
    let mut rig = Rig::new();
    let mut session = rig.session();
    create(&mut session, "t").unwrap();
    load(&mut session, "t", 100, false).unwrap();
    drop(session);
    let redo = control(&rig.path).check_point_copy.redo;
    let (lines, ()) = logged(|| rig.crash());
    let lines: Vec<String> = lines.into_iter().map(|(_, line)| line).collect();
    let mut rest = lines.iter();
    for expected in [
        "database system was interrupted; last known up at 20",
        "database system was not properly shut down; automatic recovery in progress",
        &format!("redo starts at {redo}"),
        "invalid record length at ",
        "redo done at ",
        "checkpoint starting: end-of-recovery immediate wait",
        "checkpoint complete: wrote ",
    ] {
        let found = rest.find(|line| line.starts_with(expected));
        assert!(
            found.is_some(),
            "no {expected:?}, in its place, in {lines:#?}"
        );
    }
    let done = lines.iter().find(|line| line.starts_with("redo done at "));
    let (_, usage) = done.unwrap().split_once(" system usage: ").unwrap();
    let words = usage.replace(|c: char| c.is_ascii_digit(), "");
    assert_eq!(
        words, "CPU: user: . s, system: . s, elapsed: . s",
        "{usage}"
    );
    let ended = lines
        .iter()
        .find(|line| line.starts_with("invalid record length"));
    assert!(ended.unwrap().ends_with(": expected at least 24, got 0"));
    let (lines, session) = logged(|| {
        rig.restart();
        rig.session()
    });
    drop(session);
    let is_told = |start: &str| lines.iter().any(|(_, line)| line.starts_with(start));
    assert!(
        is_told("database system was shut down at 20") && !is_told("redo starts"),
        "{lines:#?}"
    );
}

/// `initdb --waldir`'s way, and what `pg_checksums --disable` makes of a cluster.
#[test]
fn a_cluster_recovers_with_its_log_elsewhere_and_without_checksums() {
    let mut rig = Rig::new();
    let mut session = rig.session();
    assert!(rig.database().settings().switch("data_checksums"));
    create(&mut session, "t").unwrap();
    drop(session);
    rig.stop();
    let elsewhere = tempfile::tempdir().unwrap();
    let (pg_wal, moved) = (rig.path.join("pg_wal"), elsewhere.path().join("wal"));
    copy_directory(&pg_wal, &moved).unwrap();
    std::fs::remove_dir_all(&pg_wal).unwrap();
    std::os::unix::fs::symlink(&moved, &pg_wal).unwrap();
    let mut without = control(&rig.path);
    without.data_checksum_version = 0;
    std::fs::write(
        rig.path.join("global/pg_control"),
        without.encode().as_slice(),
    )
    .unwrap();
    let database = Database::open(&rig.path, &options("sync")).unwrap();
    assert!(!database.settings().switch("data_checksums"));
    let mut session = database.session("postgres", &[]).unwrap();
    load(&mut session, "t", 1000, false).unwrap();
    drop(session);
    drop(database);
    let disk = Arc::new(SyncedFiles::default());
    let foundation = Foundation {
        method: Some(Arc::new(SyncMethod::new(Arc::clone(&disk) as _))),
        ..Foundation::default()
    };
    let database = Database::open_on(foundation, &rig.path, &options("sync")).unwrap();
    let synced = disk.paths.lock().unwrap().clone();
    let is_synced = |end: &str| synced.iter().any(|path| path.ends_with(end));
    assert!(is_synced("pg_wal/000000010000000000000001"), "{synced:#?}");
    let mut session = database.session("postgres", &[]).unwrap();
    assert_eq!(count(&mut session, "t").unwrap(), 1000);
    drop(session);
    database.stop().unwrap();
}

/// Notes which files were synced before anything was written.
#[derive(Default)]
struct SyncedFiles {
    paths: Mutex<Vec<PathBuf>>,
    has_written: AtomicBool,
}

impl Executor for SyncedFiles {
    fn execute(&self, request: &IoRequest) -> i32 {
        match request.op() {
            Op::Writev => self.has_written.store(true, Ordering::SeqCst),
            Op::Fsync if !self.has_written.load(Ordering::SeqCst) => {
                let path = request.file().unwrap().path().to_owned();
                self.paths.lock().unwrap().push(path);
            }
            _ => {}
        }
        SystemCalls.execute(request)
    }
}

#[test]
fn an_unlogged_table_survives_a_stop_and_is_empty_after_a_crash() {
    let mut rig = Rig::new();
    let mut session = rig.session();
    create_unlogged(&mut session, "u").unwrap();
    // Hints on the catalogs' pages are images in the log, once.
    load(&mut session, "u", 100, false).unwrap();
    let records = rig.database().wal().stats().records;
    load(&mut session, "u", 1000, false).unwrap();
    let added = rig.database().wal().stats().records - records;
    assert!(added <= 2, "{added} records for rows that are not logged");
    drop(session);
    rig.restart();
    let mut session = rig.session();
    assert_eq!(count(&mut session, "u").unwrap(), 1100);
    // The init fork comes and goes with the table's files.
    let init = |session: &mut Session| {
        statement(session, |session| {
            let relation = opened(session, "u", LockMode::AccessShare)?;
            let path = relation.locator.path(ForkNumber::Init);
            Ok(session.database().data_dir().join(path))
        })
        .unwrap()
    };
    let before = init(&mut session);
    truncate(&mut session, "u").unwrap();
    let after = init(&mut session);
    assert!(before != after && !before.exists() && after.exists());
    load(&mut session, "u", 10, false).unwrap();
    let mut io = session.issuer().unwrap();
    rig.database().checkpoint(&mut io).unwrap();
    drop((io, session));
    rig.crash();
    let mut session = rig.session();
    assert_eq!(count(&mut session, "u").unwrap(), 0);
    load(&mut session, "u", 5, false).unwrap();
    assert_eq!(count(&mut session, "u").unwrap(), 5);
    drop_table(&mut session, "u").unwrap();
    assert!(!after.exists());
}

/// A power cut may keep the cut of a table's first segment, and not the removal of the later ones.
#[test]
fn segments_that_a_cut_has_left_go_with_its_redo() {
    let mut rig = Rig::new();
    let mut session = rig.session();
    create(&mut session, "t").unwrap();
    load(&mut session, "t", 100, false).unwrap();
    let mut io = session.issuer().unwrap();
    rig.database().checkpoint(&mut io).unwrap();
    drop(io);
    load(&mut session, "t", 3000, true).unwrap_err();
    // Another commit, so that the record of the cut is durable.
    load(&mut session, "t", 1, false).unwrap();
    let main = file(&mut session, "t");
    drop(session);
    let named = |end: &str| PathBuf::from(format!("{}{end}", main.display()));
    for end in [".1", ".3", "0.1", "_vm.1"] {
        std::fs::write(named(end), [1; 8192]).unwrap();
    }
    rig.crash();
    assert!(!named(".1").exists() && !named(".3").exists());
    assert!(named("0.1").exists(), "it is another table's");
    assert_eq!(count(&mut rig.session(), "t").unwrap(), 101);
}

#[test]
fn a_commit_that_does_not_wait_is_durable_when_the_wal_writer_has_been() {
    let foundation = Foundation {
        background: trunkline_engine::Background::Driven,
        ..Foundation::default()
    };
    let rig = Rig::on(foundation);
    let mut session = rig.session();
    create(&mut session, "t").unwrap();
    session
        .settings_mut()
        .set("synchronous_commit", "off", false, false)
        .unwrap();
    load(&mut session, "t", 10, false).unwrap();
    let wal = Arc::clone(rig.database().wal());
    let end = wal.insert_lsn();
    assert!(wal.durable_lsn() < end);
    let mut io = session.issuer().unwrap();
    rig.database().step_wal_writer(&mut io).unwrap();
    assert!(wal.durable_lsn() >= end);
}

#[test]
fn what_cannot_be_recovered_is_refused_and_nothing_changes() {
    let rig = Rig::new();
    let mut session = rig.session();
    create(&mut session, "t").unwrap();
    load(&mut session, "t", 100, false).unwrap();
    let copy = tempfile::tempdir().unwrap();
    let path = copy.path().join("data");
    copy_directory(&rig.path, &path).unwrap();
    std::fs::remove_file(path.join("postmaster.pid")).unwrap();
    let before = std::fs::read(path.join("global/pg_control")).unwrap();
    let refused = |words: &str| {
        let error = match Database::open(&path, &options("sync")) {
            Ok(_) => panic!("it opened; expected: {words}"),
            Err(error) => error,
        };
        assert!(error.to_string().contains(words), "{error}");
        let after = std::fs::read(path.join("global/pg_control")).unwrap();
        assert!(before == after, "pg_control has changed");
        error.sqlstate()
    };
    for name in [
        "backup_label",
        "standby.signal",
        "recovery.signal",
        "recovery.conf",
    ] {
        std::fs::write(path.join(name), "").unwrap();
        assert_eq!(refused(name), "0A000");
        std::fs::remove_file(path.join(name)).unwrap();
    }
    for (entry, words) in [
        (
            "pg_tblspc/16999",
            "it has the tablespace 16999, and tablespaces are not supported",
        ),
        (
            "pg_twophase/0000000000000304",
            "it has the prepared transaction 0000000000000304, and prepared",
        ),
        (
            "pg_replslot/one",
            "it has the replication slot one, and replication slots are not",
        ),
    ] {
        std::fs::create_dir(path.join(entry)).unwrap();
        assert_eq!(refused(words), "0A000");
        std::fs::remove_dir(path.join(entry)).unwrap();
    }
    let segment = path.join("pg_wal/000000010000000000000001");
    let log = std::fs::read(&segment).unwrap();
    std::fs::remove_file(&segment).unwrap();
    assert_eq!(
        refused("could not locate a valid checkpoint record at 0/1000028"),
        "XX001"
    );
    let mut damaged = log.clone();
    damaged[60] ^= 1;
    std::fs::write(&segment, damaged).unwrap();
    refused("incorrect resource manager data checksum in record");
    std::fs::write(&segment, &log).unwrap();
    let database = Database::open(&path, &options("sync")).unwrap();
    let mut found = database.session("postgres", &[]).unwrap();
    assert_eq!(count(&mut found, "t").unwrap(), 100);
}

#[test]
fn a_control_file_of_another_kind_of_cluster_is_refused_and_nothing_changes() {
    let rig = Rig::new();
    let mut session = rig.session();
    create(&mut session, "t").unwrap();
    let copy = tempfile::tempdir().unwrap();
    let path = copy.path().join("data");
    copy_directory(&rig.path, &path).unwrap();
    std::fs::remove_file(path.join("postmaster.pid")).unwrap();
    let good = control(&path);
    let file = path.join("global/pg_control");
    type Change = fn(&mut ControlFile);
    let cases: [(Change, &str); 8] = [
        (|c| c.blcksz = 16384, "BLCKSZ"),
        (|c| c.catalog_version_no += 1, "CATALOG_VERSION_NO"),
        (
            |c| c.system_identifier += 1,
            "could not locate a valid checkpoint record at 0/1000028: WAL file is from different",
        ),
        (
            |c| c.check_point_copy.this_time_line_id = 2,
            "could not locate a valid checkpoint record at 0/1000028",
        ),
        (
            |c| c.check_point_copy.next_oid.0 += 1,
            "it is not the one that pg_control has",
        ),
        (
            |c| c.state = ClusterState::InArchiveRecovery,
            "recovery from an archive is not supported",
        ),
        (
            |c| c.backup_start_point = c.check_point,
            "recovery from a base backup is not supported",
        ),
        (
            |c| c.state = ClusterState::Startup,
            "its initialisation was cut short",
        ),
    ];
    for (change, words) in cases {
        let mut changed = good.clone();
        change(&mut changed);
        let bytes = changed.encode();
        std::fs::write(&file, bytes.as_slice()).unwrap();
        match Database::open(&path, &options("sync")) {
            Ok(_) => panic!("it opened; expected: {words}"),
            Err(error) => assert!(error.to_string().contains(words), "{error}"),
        }
        assert_eq!(std::fs::read(&file).unwrap(), bytes.as_slice());
    }
    std::fs::write(&file, good.encode().as_slice()).unwrap();
    drop(Database::open(&path, &options("sync")).unwrap());
}

/// Records that PostgreSQL, or an extension of it, may have written.
#[test]
fn a_log_of_what_nobody_here_can_redo_is_refused_again_and_again() {
    for (rmgr, info, words) in [
        (RmgrId::BTREE, 0x00, "Btree INSERT_LEAF is not supported"),
        (RmgrId(130), 0x10, "custom130 UNKNOWN is not supported"),
        (RmgrId::XACT, 0x10, "Transaction (PREPARE TRANSACTION)"),
    ] {
        let rig = Rig::new();
        let mut session = rig.session();
        create(&mut session, "t").unwrap();
        load(&mut session, "t", 10, false).unwrap();
        let mut io = session.issuer().unwrap();
        let record = WalRecord {
            rmgr,
            info,
            xid: Xid(9000),
            toplevel_xid: None,
            blocks: &[],
            main_data: &[b"something"],
        };
        let wal = rig.database().wal();
        let inserted = wal.insert(&mut io, &record).unwrap();
        wal.flush(&mut io, inserted.end).unwrap();
        drop((session, io));
        let path = rig.path.clone();
        let _kept = rig.close();
        for _ in 0..2 {
            match Database::open(&path, &options("sync")) {
                Ok(_) => panic!("it opened; expected: {words}"),
                Err(error) => {
                    let text = error.to_string();
                    let at = inserted.start.to_string();
                    assert!(text.contains(words) && text.contains(&at), "{text}");
                    assert_eq!(error.sqlstate(), "0A000");
                }
            }
            assert_eq!(control(&path).state, ClusterState::InCrashRecovery);
        }
    }
}

/// A disk that is full when the log needs its next segment.
#[test]
fn a_log_without_space_stops_the_engine_and_a_restart_with_space_has_everything() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    let small = InitOptions {
        wal_segment_size: SegmentSize::new(1 << 20).unwrap(),
    };
    initialise_with(&Foundation::default(), &path, &small).unwrap();
    let faults = Arc::new(Faults::default());
    let foundation = Foundation {
        background: trunkline_engine::Background::Driven,
        ..faulty(&faults)
    };
    let database = Database::open_on(foundation, &path, &options("sync")).unwrap();
    let (sender, told) = std::sync::mpsc::channel();
    database.on_failure(move |reason| sender.send(reason.to_owned()).unwrap());
    let mut session = database.session("postgres", &[]).unwrap();
    create(&mut session, "t").unwrap();
    switch(&faults.wal_full, true);
    let mut committed = 0;
    let error = loop {
        match load(&mut session, "t", 1000, false) {
            Ok(rows) => committed += rows,
            Err(error) => break error,
        }
        assert!(committed < 1_000_000, "the log needs no more space");
    };
    assert!(error.to_string().contains("No space left"), "{error}");
    let reason = told.try_recv().unwrap();
    assert_eq!(database.failure(), Some(reason.as_str()));
    assert_eq!(count(&mut session, "t").unwrap_err().sqlstate(), "57P02");
    drop(session);
    assert_eq!(database.stop().unwrap_err().sqlstate(), "57P02");
    drop(database);
    let refused = match Database::open_on(faulty(&faults), &path, &options("sync")) {
        Ok(database) => database.stop().err(),
        Err(error) => Some(error),
    };
    assert!(refused.is_some(), "there is no space still");
    switch(&faults.wal_full, false);
    let database = Database::open_on(faulty(&faults), &path, &options("sync")).unwrap();
    let mut session = database.session("postgres", &[]).unwrap();
    let found = count(&mut session, "t").unwrap();
    // The one that failed may be there.
    assert!(found == committed || found == committed + 1000, "{found}");
    drop(session);
    database.stop().unwrap();
}

/// The record of a commit is in the log, and whether the disk has it nobody can say.
#[test]
fn a_commit_in_doubt_is_told_so_and_stops_the_engine() {
    let faults = Arc::new(Faults::default());
    let rig = Rig::on(faulty(&faults));
    let mut session = rig.session();
    create(&mut session, "t").unwrap();
    load(&mut session, "t", 10, false).unwrap();
    switch(&faults.wal_writes_fail, true);
    let error = load(&mut session, "t", 20, false).unwrap_err();
    assert!(["08007", "58030"].contains(&error.sqlstate()), "{error}");
    assert!(error.to_string().contains("could not write to WAL segment"));
    assert!(rig.database().failure().is_some());
    // Neither committed nor aborted, it keeps its locks; and nobody gets to see anything.
    let refused = rig.database().session("postgres", &[]).err().unwrap();
    assert_eq!(refused.sqlstate(), "57P02");
    assert!(refused.is_fatal());
    drop(session);
    assert_eq!(rig.database().stop().unwrap_err().sqlstate(), "57P02");
    let path = rig.path.clone();
    let directory = rig.close();
    switch(&faults.wal_writes_fail, false);
    let database = Database::open_on(faulty(&faults), &path, &options("sync")).unwrap();
    let mut session = database.session("postgres", &[]).unwrap();
    let found = count(&mut session, "t").unwrap();
    assert!(found == 10 || found == 30, "{found}");
    drop(session);
    database.stop().unwrap();
    drop(directory);
}

#[test]
fn max_wal_size_asks_for_checkpoints_and_bounds_the_log() {
    for (checkpoint_warning, is_told) in [("30s", true), ("0", false)] {
        let (lines, ()) = logged(|| log_much(checkpoint_warning));
        let too_soon = "checkpoints are occurring too frequently (";
        let told = lines.iter().any(|(_, line)| line.starts_with(too_soon));
        assert_eq!(told, is_told, "{lines:#?}");
    }
}

/// Several times what `max_wal_size` allows, with the checkpoints that it asks for.
fn log_much(checkpoint_warning: &str) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    let small = InitOptions {
        wal_segment_size: SegmentSize::new(1 << 20).unwrap(),
    };
    initialise_with(&Foundation::default(), &path, &small).unwrap();
    let foundation = Foundation {
        background: trunkline_engine::Background::Driven,
        ..Foundation::default()
    };
    let mut options = options("sync");
    for (name, value) in [
        ("max_wal_size", "4MB"),
        ("min_wal_size", "2MB"),
        ("checkpoint_warning", checkpoint_warning),
    ] {
        options.overrides.push((name.into(), value.into()));
    }
    let database = Database::open_on(foundation, &path, &options).unwrap();
    let mut session = database.session("postgres", &[]).unwrap();
    create(&mut session, "t").unwrap();
    let mut io = session.issuer().unwrap();
    let segments = || {
        std::fs::read_dir(path.join("pg_wal"))
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().path().is_file())
            .count()
    };
    for _ in 0..30 {
        load(&mut session, "t", 10_000, false).unwrap();
        database.step_wal_writer(&mut io).unwrap();
        while database.step_checkpointer(&mut io) == CheckpointerStep::Again {}
        // What it is ahead of its schedule for comes with the next ones' hurry.
        assert!(segments() < 9, "{} segments", segments());
    }
    let stats = database.checkpointer_stats();
    assert!(stats.num_requested >= 3, "{stats:?}");
    let wal = database.wal().stats();
    assert!(wal.bytes > 6 << 20, "{wal:?}");
    assert!(wal.segments_recycled + wal.segments_removed > 3, "{wal:?}");
    drop((session, io));
    database.stop().unwrap();
}

#[test]
fn postgresql_reads_log_and_control_file() {
    let Some(postgres) = postgres() else {
        return;
    };
    let mut rig = Rig::new();
    let start = control(&rig.path).check_point;
    let mut session = rig.session();
    create(&mut session, "t").unwrap();
    load(&mut session, "t", 5000, false).unwrap();
    create_unlogged(&mut session, "u").unwrap();
    let mut io = session.issuer().unwrap();
    rig.database().checkpoint(&mut io).unwrap();
    load(&mut session, "t", 5000, true).unwrap_err();
    truncate(&mut session, "t").unwrap();
    let mut begun = begin_unfinished(&rig);
    put_rows(begun.1.as_mut().unwrap(), 10).unwrap();
    load(&mut session, "t", 10, false).unwrap();
    let wal = Arc::clone(rig.database().wal());
    wal.flush(&mut io, wal.insert_lsn()).unwrap();
    let end = wal.durable_lsn();
    drop((io, session));
    drop(begun.1.take());
    drop(begun);

    let pg_wal = rig.path.join("pg_wal");
    let (start, end) = (start.to_string(), end.to_string());
    let range = ["--start", &start, "--end", &end];
    // It asks any one segment, made ahead or not, for the size of all.
    let path = ["--path", pg_wal.to_str().unwrap()];
    let dump = postgres.inspect("pg_waldump", &[&path[..], &range].concat());
    let dump = dump.all();
    for expected in [
        "CHECKPOINT_SHUTDOWN",
        "CHECKPOINT_REDO wal_level replica",
        "CHECKPOINT_ONLINE redo",
        "RUNNING_XACTS",
        "CREATE base/5/",
        "_init",
        "TRUNCATE base/5/",
        "NEXTOID",
        "COMMIT",
        "ABORT",
        "MULTI_INSERT",
    ] {
        assert!(dump.contains(expected), "no {expected} in\n{dump}");
    }
    assert!(
        !dump.contains("error") && !dump.contains("UNKNOWN"),
        "{dump}"
    );

    drop(wal);
    rig.restart();
    let check_point = control(&rig.path).check_point;
    rig.stop();
    let path = rig.path.to_str().unwrap();
    let controldata = postgres.inspect("pg_controldata", &[path]).all();
    assert!(controldata.contains("shut down\n"), "{controldata}");
    assert!(!controldata.contains("WARNING"), "{controldata}");
    assert!(control(&rig.path).check_point > check_point);
    let checksums = postgres.inspect("pg_checksums", &["--check", path]).all();
    assert!(checksums.contains("Bad checksums:  0"), "{checksums}");
    // It refuses to run as root, and wants the directory to be its user's.
    let lent = copy_for(postgres, &rig.path, "to_reset");
    postgres.give(&lent);
    let resetwal = postgres.run("pg_resetwal", &["-n", lent.to_str().unwrap()]);
    let resetwal = resetwal.all();
    assert!(!resetwal.contains("guessed"), "{resetwal}");
    assert!(
        resetwal.contains("First log segment after reset"),
        "{resetwal}"
    );
}

/// A copy of a data directory, to be given to PostgreSQL. No other has this name.
fn copy_for(postgres: &Postgres, data_dir: &Path, name: &str) -> PathBuf {
    let path = postgres.directory(name).join("data");
    copy_directory(data_dir, &path).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
    path
}

/// A transaction that has begun to load.
fn begin_unfinished(rig: &Rig) -> (Session, Option<trunkline_engine::Load>) {
    let mut session = rig.session();
    session.begin_block().unwrap();
    session.begin_statement().unwrap();
    let load = begin_load(&mut session, "t", false).unwrap();
    (session, Some(load))
}

#[test]
fn segments_have_the_size_of_the_cluster() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    let small = InitOptions {
        wal_segment_size: SegmentSize::new(1 << 20).unwrap(),
    };
    initialise_with(&Foundation::default(), &path, &small).unwrap();
    let database = Database::open(&path, &options("sync")).unwrap();
    let settings = database.settings();
    assert_eq!(settings.integer("wal_segment_size"), 1 << 20);
    assert_eq!(settings.integer("max_wal_size"), 64);
    let mut session = database.session("postgres", &[]).unwrap();
    create(&mut session, "t").unwrap();
    load(&mut session, "t", 50_000, false).unwrap();
    let length = OsStorage::new().metadata(&path.join("pg_wal/000000010000000000000003"));
    assert_eq!(length.unwrap().unwrap().len_bytes, 1 << 20);
    drop(session);
    database.stop().unwrap();
    drop(database);
    let mut too_small = options("sync");
    too_small
        .overrides
        .push(("max_wal_size".into(), "1MB".into()));
    assert!(Database::open(&path, &too_small).is_err());
}

/// PostgreSQL's own server recovers a directory of ours, comparing each page that its redo makes with
/// the image that ours has logged; and ours opens what it has left.
#[test]
fn postgresql_redoes_our_log() {
    let Some(postgres) = postgres() else {
        return;
    };
    let mut rig = Rig::new();
    rig.restart_with(&[("wal_consistency_checking", "all")]);
    let mut session = rig.session();
    create(&mut session, "t").unwrap();
    load(&mut session, "t", 2000, false).unwrap();
    let mut io = session.issuer().unwrap();
    rig.database().checkpoint(&mut io).unwrap();
    count(&mut session, "t").unwrap();
    load(&mut session, "t", 3000, false).unwrap();
    load(&mut session, "t", 3000, true).unwrap_err();
    create_unlogged(&mut session, "u").unwrap();
    load(&mut session, "u", 50, false).unwrap();
    create(&mut session, "dropped").unwrap();
    load(&mut session, "dropped", 1000, false).unwrap();
    drop_table(&mut session, "dropped").unwrap();
    session.begin_block().unwrap();
    create(&mut session, "frozen").unwrap();
    load_as(&mut session, "frozen", 1000, false, true).unwrap();
    session.commit_block().unwrap();
    drop(io);

    let path = &copy_for(postgres, &rig.path, "to_recover");
    std::fs::remove_file(path.join("postmaster.pid")).unwrap();
    // What ours has no use for.
    std::fs::write(path.join("pg_hba.conf"), "local all all trust\n").unwrap();
    std::fs::write(path.join("pg_ident.conf"), "").unwrap();
    postgres.give(path);
    let mut server = postgres.command("postgres");
    let sockets = format!("unix_socket_directories={}", path.display());
    server.arg("-D").arg(path);
    server.args(["-c", "listen_addresses=", "-c", &sockets]);
    server.args([
        "-c",
        "autovacuum=off",
        "-c",
        "max_logical_replication_workers=0",
    ]);
    let mut server = server.stderr(Stdio::piped()).spawn().unwrap();
    let mut log = String::new();
    for line in BufReader::new(server.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        log += &line;
        log.push('\n');
        if line.contains("database system is ready to accept connections") {
            let pid = server.id().to_string();
            let killed = Command::new("kill").args(["-INT", &pid]).status();
            assert!(killed.unwrap().success());
        }
    }
    server.wait().unwrap();
    assert!(log.contains("redo done at"), "{log}");
    assert!(log.contains("database system is shut down"), "{log}");
    for bad in [
        "PANIC",
        "inconsistent page found",
        "invalid page",
        "WARNING",
    ] {
        assert!(!log.contains(bad), "{log}");
    }
    assert_eq!(control(path).state, ClusterState::ShutDown, "{log}");
    let database = Database::open(path, &options("sync")).unwrap();
    let mut found = database.session("postgres", &[]).unwrap();
    assert_eq!(count(&mut found, "t").unwrap(), 5000);
    assert_eq!(count(&mut found, "u").unwrap(), 0);
    assert_eq!(count(&mut found, "frozen").unwrap(), 1000);
    assert_eq!(
        count(&mut found, "dropped").unwrap_err().sqlstate(),
        "42P01"
    );
    load(&mut found, "t", 10, false).unwrap();
    drop(found);
    database.stop().unwrap();
}
