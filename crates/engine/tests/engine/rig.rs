//! What the tests run on: a data directory, sessions, and statements on tables of (a int, b text).

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use trunkline_aio::{
    DirEntry, Executor, File, FileMetadata, IoRequest, Op, OpenOptions as FileOptions, OsStorage,
    Storage, SyncMethod, SystemCalls,
};
use trunkline_catalog::{
    ColumnDefinition, RelationDesc, RelationPersistence, TableDefinition, oids,
};
use trunkline_engine::{
    Database, EngineError, Foundation, Load, LoadColumns, OpenOptions, Session, TableScan,
    initialise,
};
use trunkline_harness::copy_directory;
use trunkline_pgformat::ForkNumber;
use trunkline_txn::LockMode;
use trunkline_types::OutputStyle;

const INT4: trunkline_pgformat::Oid = trunkline_types::oids::INT4;
const TEXT: trunkline_pgformat::Oid = trunkline_types::oids::TEXT;

pub fn options(method: &str) -> OpenOptions {
    let overrides = [
        ("shared_buffers", "4MB"),
        ("max_connections", "20"),
        ("io_method", method),
        ("deadlock_timeout", "10ms"),
    ];
    OpenOptions {
        overrides: overrides
            .map(|(name, value)| (name.into(), value.into()))
            .to_vec(),
        initialise: true,
    }
}

pub fn open(path: &Path, method: &str) -> Arc<Database> {
    Database::open(path, &options(method)).unwrap()
}

/// It runs over the method asked for; over another one only where there is no io_uring.
pub fn check_method(database: &Database, method: &str) {
    let runs = database.aio().method_name();
    if method == "io_uring" && runs != method {
        eprintln!("SKIPPED for io_uring, which does not work here: running over {runs}");
    } else {
        assert_eq!(runs, method);
    }
}

/// A new cluster to copy, which takes less time than making one, with its hundreds of syncs.
fn cluster() -> &'static Path {
    static CLUSTER: OnceLock<PathBuf> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cluster");
        // Of an earlier run, and of another version perhaps.
        let _ = std::fs::remove_dir_all(&path);
        initialise(&path).unwrap();
        path
    })
}

/// A running database system in a directory of its own.
pub struct Rig {
    /// None only while it restarts.
    database: Option<Arc<Database>>,
    pub path: PathBuf,
    _directory: tempfile::TempDir,
}

impl Rig {
    pub fn new() -> Rig {
        Rig::on(Foundation::default())
    }

    /// On a method of choice.
    pub fn over(method: &str) -> Rig {
        let mut rig = Rig::new();
        rig.restart_over(method);
        rig
    }

    pub fn on(foundation: Foundation) -> Rig {
        Rig::on_with(foundation, &[])
    }

    /// With other settings.
    pub fn on_with(foundation: Foundation, settings: &[(&str, &str)]) -> Rig {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data");
        copy_directory(cluster(), &path).unwrap();
        let mut options = options("sync");
        for (name, value) in settings {
            options.overrides.push(((*name).into(), (*value).into()));
        }
        let database = Database::open_on(foundation, &path, &options).unwrap();
        Rig {
            database: Some(database),
            path,
            _directory: directory,
        }
    }

    pub fn database(&self) -> &Arc<Database> {
        self.database.as_ref().unwrap()
    }

    pub fn session(&self) -> Session {
        self.database().session("postgres", &[]).unwrap()
    }

    /// Lets go of a database that was stopped; its directory stays as long as what this gives.
    pub fn close(self) -> tempfile::TempDir {
        let Rig {
            database,
            _directory: directory,
            ..
        } = self;
        drop(database);
        directory
    }

    /// Lets go of it without a stop, and opens again. Nobody has a session.
    pub fn crash(&mut self) {
        let database = self.database.take().unwrap();
        assert_eq!(
            Arc::strong_count(&database),
            1,
            "somebody still has the database"
        );
        drop(database);
        self.database = Some(open(&self.path, "sync"));
    }

    /// Stops it cleanly for good.
    pub fn stop(&mut self) {
        let database = self.database.take().unwrap();
        database.stop().unwrap();
    }

    /// Stops cleanly and opens again.
    pub fn restart(&mut self) {
        self.restart_over("sync");
    }

    pub fn restart_over(&mut self, method: &str) {
        self.restart_with(&[("io_method", method)]);
        check_method(self.database(), method);
    }

    /// Stops cleanly and opens with other settings.
    pub fn restart_with(&mut self, settings: &[(&str, &str)]) {
        let database = self.database.take().unwrap();
        database.stop().unwrap();
        assert_eq!(
            Arc::strong_count(&database),
            1,
            "somebody still has the database"
        );
        drop(database);
        let mut options = options("sync");
        for (name, value) in settings {
            options.overrides.push(((*name).into(), (*value).into()));
        }
        self.database = Some(Database::open(&self.path, &options).unwrap());
    }

    /// The same after a checkpoint, until which a dropped table's first file stays, empty.
    pub fn files_after_checkpoint(&self) -> BTreeSet<String> {
        let mut io = self.database().aio().issuer(0).unwrap();
        self.database().checkpoint(&mut io).unwrap();
        self.files()
    }

    /// The files of users' tables, all forks.
    pub fn files(&self) -> BTreeSet<String> {
        std::fs::read_dir(self.path.join("base/5"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| {
                let number = name
                    .split('_')
                    .next()
                    .and_then(|number| number.parse().ok());
                number.is_some_and(|number| oids::FIRST_NORMAL_OBJECT.0 <= number)
            })
            .collect()
    }
}

pub fn definition(name: &str) -> TableDefinition {
    TableDefinition {
        persistence: RelationPersistence::Permanent,
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
pub fn statement<T>(
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

pub fn create(session: &mut Session, name: &str) -> Result<(), EngineError> {
    statement(session, |session| {
        let mut io = session.issuer()?;
        session
            .create_table(&definition(name), false, &mut io)
            .map(drop)
    })
}

pub fn create_unlogged(session: &mut Session, name: &str) -> Result<(), EngineError> {
    let mut definition = definition(name);
    definition.persistence = RelationPersistence::Unlogged;
    statement(session, |session| {
        let mut io = session.issuer()?;
        session.create_table(&definition, false, &mut io).map(drop)
    })
}

pub fn truncate(session: &mut Session, name: &str) -> Result<(), EngineError> {
    statement(session, |session| {
        let relation = opened(session, name, LockMode::AccessExclusive)?;
        session.truncate_table(&relation, &mut session.issuer()?)
    })
}

pub fn drop_table(session: &mut Session, name: &str) -> Result<(), EngineError> {
    statement(session, |session| {
        let relation = opened(session, name, LockMode::AccessExclusive)?;
        session.drop_table(&relation, &mut session.issuer()?)
    })
}

pub fn opened(
    session: &Session,
    name: &str,
    mode: LockMode,
) -> Result<Arc<RelationDesc>, EngineError> {
    session.open_relation(None, name, mode, &mut session.issuer()?)
}

/// Locks a table as a statement of the open block does.
pub fn lock_table(session: &mut Session, name: &str, mode: LockMode) -> Result<(), EngineError> {
    statement(session, |session| opened(session, name, mode).map(drop))
}

pub fn load(session: &mut Session, name: &str, rows: i32, fail: bool) -> Result<u64, EngineError> {
    load_as(session, name, rows, fail, false)
}

pub fn load_as(
    session: &mut Session,
    name: &str,
    rows: i32,
    fail: bool,
    frozen: bool,
) -> Result<u64, EngineError> {
    statement(session, |session| {
        let mut load = begin_load(session, name, frozen)?;
        put_rows(&mut load, rows)?;
        if fail {
            // What any error in the data comes to.
            return load.row(&[Some(&[0; 4]), Some(&[b'x'; 9000])]).map(|()| 0);
        }
        load.finish()
    })
}

pub fn begin_load(session: &mut Session, name: &str, frozen: bool) -> Result<Load, EngineError> {
    let relation = opened(session, name, LockMode::RowExclusive)?;
    let columns = LoadColumns::all(&relation);
    Load::begin(session, relation, columns, frozen, OutputStyle::default())
}

pub fn put_rows(load: &mut Load, rows: i32) -> Result<(), EngineError> {
    for row in 0..rows {
        let text = format!("row {row}");
        load.row(&[Some(&row.to_le_bytes()), Some(text.as_bytes())])?;
    }
    Ok(())
}

pub fn count(session: &mut Session, name: &str) -> Result<u64, EngineError> {
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

pub fn blocks(session: &mut Session, name: &str) -> u32 {
    statement(session, |session| {
        let relation = opened(session, name, LockMode::AccessShare)?;
        Ok(session
            .database()
            .smgr()
            .nblocks(relation.locator, ForkNumber::Main)?)
    })
    .unwrap()
}

/// Whether a file is gone, or waits empty for a checkpoint to be removed.
pub fn is_removed(path: &Path) -> bool {
    std::fs::metadata(path).map_or(true, |metadata| metadata.len() == 0)
}

/// The file of a table, as the session sees it.
pub fn file(session: &mut Session, name: &str) -> PathBuf {
    statement(session, |session| {
        let relation = opened(session, name, LockMode::AccessShare)?;
        Ok(session
            .database()
            .data_dir()
            .join(relation.locator.path(ForkNumber::Main)))
    })
    .unwrap()
}

/// Faults to switch on: what the disk refuses, for files whose path contains a part.
#[derive(Default)]
pub struct Faults {
    pub disk_full: AtomicBool,
    pub renames_fail: AtomicBool,
    pub control_writes_fail: AtomicBool,
    pub control_syncs_fail: AtomicBool,
    pub syncs_fail: AtomicBool,
    pub writes_fail: AtomicBool,
    /// No space for another WAL segment.
    pub wal_full: AtomicBool,
    /// Writes of the log.
    pub wal_writes_fail: AtomicBool,
}

fn is_on(fault: &AtomicBool) -> bool {
    fault.load(Ordering::SeqCst)
}

pub fn switch(fault: &AtomicBool, on: bool) {
    fault.store(on, Ordering::SeqCst);
}

/// The operating system's disk with the faults of `faults`.
pub fn faulty(faults: &Arc<Faults>) -> Foundation {
    Foundation {
        storage: Arc::new(FaultyStorage {
            os: OsStorage::new(),
            faults: Arc::clone(faults),
        }),
        method: Some(Arc::new(SyncMethod::new(Arc::new(FaultyDisk {
            faults: Arc::clone(faults),
        })))),
        ..Foundation::default()
    }
}

struct FaultyDisk {
    faults: Arc<Faults>,
}

impl Executor for FaultyDisk {
    /// Only the database's relation files and pg_control are on the bad disk.
    fn execute(&self, request: &IoRequest) -> i32 {
        const EIO: i32 = 5;
        let path = request.file().map(|file| file.path().to_string_lossy());
        let path = path.unwrap_or_default();
        let faults = &self.faults;
        let (writes_fail, syncs_fail) = if path.contains("/base/5/") {
            (&faults.writes_fail, &faults.syncs_fail)
        } else if path.ends_with("/pg_control") {
            (&faults.control_writes_fail, &faults.control_syncs_fail)
        } else if path.contains("/pg_wal/0000") {
            return match request.op() {
                Op::Writev if is_on(&faults.wal_writes_fail) => -EIO,
                _ => SystemCalls.execute(request),
            };
        } else if path.contains("/pg_wal/xlogtemp") {
            return match request.op() {
                Op::Writev if is_on(&faults.wal_full) => -28,
                _ => SystemCalls.execute(request),
            };
        } else {
            return SystemCalls.execute(request);
        };
        let fails = match request.op() {
            Op::Writev => is_on(writes_fail),
            Op::Fsync | Op::Fdatasync => is_on(syncs_fail),
            _ => false,
        };
        if fails {
            -EIO
        } else {
            SystemCalls.execute(request)
        }
    }
}

struct FaultyStorage {
    os: OsStorage,
    faults: Arc<Faults>,
}

impl Storage for FaultyStorage {
    fn open(&self, path: &Path, options: FileOptions) -> std::io::Result<Arc<File>> {
        self.os.open(path, options)
    }
    fn len(&self, file: &File) -> std::io::Result<u64> {
        self.os.len(file)
    }
    fn set_len(&self, file: &File, len_bytes: u64) -> std::io::Result<()> {
        self.os.set_len(file, len_bytes)
    }
    fn allocate(&self, file: &File, offset: u64, len_bytes: u64) -> std::io::Result<()> {
        if is_on(&self.faults.disk_full) {
            // Like a real file system, that gives what it has and then refuses.
            self.os.allocate(file, offset, len_bytes / 2)?;
            return Err(std::io::Error::from_raw_os_error(28));
        }
        self.os.allocate(file, offset, len_bytes)
    }
    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        if is_on(&self.faults.renames_fail) {
            return Err(std::io::Error::from_raw_os_error(5));
        }
        self.os.rename(from, to)
    }
    fn unlink(&self, path: &Path) -> std::io::Result<()> {
        self.os.unlink(path)
    }
    fn create_dir(&self, path: &Path) -> std::io::Result<()> {
        self.os.create_dir(path)
    }
    fn remove_dir(&self, path: &Path) -> std::io::Result<()> {
        self.os.remove_dir(path)
    }
    fn list(&self, path: &Path) -> std::io::Result<Vec<DirEntry>> {
        self.os.list(path)
    }
    fn metadata(&self, path: &Path) -> std::io::Result<Option<FileMetadata>> {
        self.os.metadata(path)
    }
    fn sync_dir(&self, path: &Path) -> std::io::Result<()> {
        self.os.sync_dir(path)
    }
}
