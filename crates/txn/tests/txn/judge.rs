//! PostgreSQL reads what we log, and we recover what it logs.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use tempfile::TempDir;
use trunkline_aio::{Aio, AioConfig, OsStorage, Storage, SystemClock};
use trunkline_pgformat::control_file::{ClusterState, ControlFile};
use trunkline_pgformat::wal::rmgr::xlog::Xlog;
use trunkline_pgformat::wal::rmgr_id::RmgrId;
use trunkline_pgformat::wal::segment::SegmentSize;
use trunkline_pgformat::{DEFAULTTABLESPACE_OID, Oid, RelFileLocator};
use trunkline_txn::{FullXid, SlruConfig, TransactionManager, TransactionRedo, redo};
use trunkline_wal::{WalConfig, WalReader};

use crate::rig::{ASYNC, NOW, Rig, SYNC, limits, locks};

/// PostgreSQL's programs refuse to run as root; any other user will do.
const UNPRIVILEGED: u32 = 65534;

/// The directory of PostgreSQL 18's programs; without them a test is skipped, loudly, unless
/// `TRUNKLINE_JUDGE_REQUIRED=1`.
fn programs() -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/judge");
    let output = Command::new(script).arg("bin").output().unwrap();
    if output.status.success() {
        let path = String::from_utf8(output.stdout).unwrap();
        return Some(PathBuf::from(path.trim()));
    }
    assert!(
        std::env::var_os("TRUNKLINE_JUDGE_REQUIRED").is_none_or(|required| required != "1"),
        "PostgreSQL 18 is required and not there"
    );
    eprintln!("SKIPPED: no PostgreSQL 18 to judge; run tools/judge install");
    None
}

fn aio() -> Arc<Aio> {
    Aio::start(AioConfig::default()).unwrap()
}

#[test]
fn pg_waldump_prints_what_transactions_log() {
    let Some(bin) = programs() else {
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

    let output = Command::new(bin.join("pg_waldump"))
        .env("TZ", "UTC")
        .arg("--path")
        .arg(directory.path().join("pg_wal"))
        .args(["--start", &start.to_string()])
        .args(["--end", &rig.wal.durable_lsn().to_string()])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let complaints = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && complaints.is_empty(),
        "{complaints}"
    );
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

/// A PostgreSQL server in a temporary directory.
struct Server {
    bin: PathBuf,
    directory: TempDir,
}

impl Server {
    fn new(bin: PathBuf) -> Server {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let server = Server { bin, directory };
        fs::create_dir(server.home()).unwrap();
        if server.is_root() {
            chown(server.home(), Some(UNPRIVILEGED), Some(UNPRIVILEGED)).unwrap();
        }
        let data = server.data();
        let data = data.to_str().unwrap();
        let arguments = [
            "-U",
            "postgres",
            "-A",
            "trust",
            "-N",
            "--locale=C",
            "-D",
            data,
        ];
        server.run("initdb", &arguments);
        server
    }

    fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    fn data(&self) -> PathBuf {
        self.home().join("data")
    }

    fn is_root(&self) -> bool {
        fs::metadata(self.directory.path()).unwrap().uid() == 0
    }

    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(self.bin.join(program));
        command.current_dir(self.directory.path()).args(arguments);
        if self.is_root() {
            command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
        }
        let output = command.output().unwrap();
        let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{program}: {complaints}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn control(&self, action: &str, more: &[&str]) {
        let (data, log) = (self.data(), self.home().join("log"));
        let mut arguments = vec!["-D", data.to_str().unwrap(), "-w", "-s"];
        arguments.extend(["-l", log.to_str().unwrap(), action]);
        arguments.extend(more);
        self.run("pg_ctl", &arguments);
    }

    fn start(&self) {
        let options = format!(
            "-k {} -c listen_addresses= -c autovacuum=off -c checkpoint_timeout=1h",
            self.home().display()
        );
        self.control("start", &["-o", &options]);
    }

    fn sql(&self, text: &str) {
        let home = self.home();
        self.run(
            "psql",
            &[
                "-X",
                "-q",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                "postgres",
                "-h",
                home.to_str().unwrap(),
                "-c",
                text,
            ],
        );
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.data().join("postmaster.pid").exists() {
            self.control("stop", &["-m", "immediate"]);
        }
    }
}

fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
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
    let Some(bin) = programs() else {
        return;
    };
    let server = Server::new(bin);
    server.start();
    for statement in WORKLOAD {
        server.sql(statement);
    }
    server.control("stop", &["-m", "immediate"]);
    let ours = tempfile::tempdir().unwrap();
    let data = ours.path().join("data");
    copy_directory(&server.data(), &data);
    // Its recovery, then ours.
    server.start();
    server.control("stop", &["-m", "fast"]);

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
