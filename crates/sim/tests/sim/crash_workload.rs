//! What a database is made to do while its disk fails, and what it may be afterwards.
//!
//! One session does one thing after the other. What was acknowledged must be there as a whole after
//! recovery, what was not must be there as a whole or not at all. Commits that did not wait for the log
//! may be lost, from some point on.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use trunkline_aio::{Aio, AioConfig, FileKind, Storage, read_file};
use trunkline_catalog::{
    ColumnDefinition, RelationDesc, RelationPersistence, TableDefinition, oids,
};
use trunkline_engine::{
    Background, CheckpointerStep, Database, EngineError, Foundation, InitOptions, Load,
    LoadColumns, OpenOptions, Session, TableScan, initialise_with,
};
use trunkline_pgformat::wal::segment::SegmentSize;
use trunkline_pgformat::{BLCKSZ, RELSEG_SIZE, verify_page};
use trunkline_sim::{DiskImage, SimConfig, SimDisk};
use trunkline_txn::LockMode;
use trunkline_types::OutputStyle;

/// Rows of a table: how many, and the sum of their numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rows {
    pub count: u64,
    pub sum: u64,
}

/// A table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Table {
    pub persistence: RelationPersistence,
    pub rows: Rows,
}

/// All tables.
pub type State = BTreeMap<&'static str, Table>;

/// Something to do.
#[derive(Clone, Debug)]
pub enum Op {
    Create(&'static str, RelationPersistence),
    Load(&'static str, u32),
    /// Without waiting for the log.
    LoadAsync(&'static str, u32),
    /// It adds blocks, and then meets bad data.
    FailingLoad(&'static str, u32),
    Truncate(&'static str),
    Drop(&'static str),
    /// A block: CREATE TABLE and COPY FREEZE.
    CreateFrozen(&'static str, u32),
    /// A block that ends in ROLLBACK.
    RolledBack(&'static str, u32),
    Checkpoint,
    /// As many steps of everything in the background.
    Background(usize),
}

use RelationPersistence::{Permanent, Unlogged};

/// Everything, and more log than one segment.
pub fn workload() -> Vec<Op> {
    vec![
        Op::Create("t", Permanent),
        Op::Load("t", 40),
        Op::Create("u", Unlogged),
        Op::Load("u", 30),
        Op::LoadAsync("t", 7),
        Op::LoadAsync("t", 5),
        Op::Background(2),
        Op::Checkpoint,
        Op::Load("t", 300),
        Op::FailingLoad("t", 900),
        Op::Load("t", 3),
        Op::CreateFrozen("f", 400),
        Op::Truncate("t"),
        Op::Load("t", 20),
        Op::Create("d", Permanent),
        Op::Load("d", 500),
        Op::Drop("d"),
        Op::RolledBack("r", 60),
        Op::Truncate("u"),
        Op::Load("u", 4),
        Op::Background(6),
        Op::Load("t", 1500),
        Op::Checkpoint,
        Op::Drop("u"),
        Op::Load("f", 10),
        Op::Background(3),
        Op::LoadAsync("t", 2),
    ]
}

/// The number of each row, from which its checksum is made.
fn rows_of(count: u32) -> Rows {
    Rows {
        count: count.into(),
        sum: (0..u64::from(count)).sum(),
    }
}

impl Op {
    /// What it makes of `state`.
    fn apply(&self, state: &mut State) {
        let mut add = |name, count| {
            let table: &mut Table = state.get_mut(name).unwrap();
            let rows = rows_of(count);
            table.rows.count += rows.count;
            table.rows.sum += rows.sum;
        };
        match *self {
            Op::Load(name, rows) | Op::LoadAsync(name, rows) => add(name, rows),
            Op::Create(name, persistence) => {
                let rows = Rows::default();
                state.insert(name, Table { persistence, rows });
            }
            Op::CreateFrozen(name, rows) => {
                let table = Table {
                    persistence: Permanent,
                    rows: rows_of(rows),
                };
                state.insert(name, table);
            }
            Op::Truncate(name) => state.get_mut(name).unwrap().rows = Rows::default(),
            Op::Drop(name) => {
                state.remove(name);
            }
            Op::FailingLoad(..) | Op::RolledBack(..) | Op::Checkpoint | Op::Background(_) => {}
        }
    }

    fn is_asynchronous(&self) -> bool {
        matches!(
            self,
            Op::LoadAsync(..) | Op::FailingLoad(..) | Op::RolledBack(..) | Op::Background(_)
        )
    }
}

/// What may be found after a crash.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// The states that there were; the first of them and all later ones may be found.
    states: Vec<State>,
    /// What there is if what went on has happened after all.
    in_flight: Option<State>,
    /// Statements that failed, the engine going on.
    pub refused: usize,
}

impl Default for Ledger {
    fn default() -> Ledger {
        Ledger {
            states: vec![State::new()],
            in_flight: None,
            refused: 0,
        }
    }
}

impl Ledger {
    fn last(&self) -> &State {
        self.states.last().unwrap()
    }

    /// Whether `found` may be what a crash has left: unlogged tables are empty then.
    pub fn allows(&self, found: &State, crashed: bool) -> bool {
        let of_crash = |state: &State| {
            let mut state = state.clone();
            for table in state.values_mut() {
                if crashed && table.persistence == Unlogged {
                    table.rows = Rows::default();
                }
            }
            state
        };
        let mut states = self.states.iter().chain(&self.in_flight);
        states.any(|state| of_crash(state) == *found)
    }
}

pub fn foundation(disk: &SimDisk) -> Foundation {
    Foundation {
        storage: Arc::new(disk.clone()),
        method: Some(Arc::new(disk.clone())),
        clock: Arc::new(disk.clone()),
        background: Background::Driven,
    }
}

pub fn open_on(disk: &SimDisk, path: &Path) -> Result<Arc<Database>, EngineError> {
    open_over(foundation(disk), path)
}

pub fn open_over(foundation: Foundation, path: &Path) -> Result<Arc<Database>, EngineError> {
    let overrides = [
        ("shared_buffers", "1MB"),
        ("max_connections", "6"),
        ("max_wal_size", "4MB"),
        ("min_wal_size", "2MB"),
        ("wal_consistency_checking", "all"),
    ];
    let options = OpenOptions {
        overrides: overrides
            .map(|(name, value)| (name.into(), value.into()))
            .to_vec(),
        initialise: false,
    };
    Database::open_on(foundation, path, &options)
}

/// Where every cluster of these tests is, on every disk.
pub struct Place {
    _directory: tempfile::TempDir,
    pub path: PathBuf,
}

impl Place {
    pub fn new() -> Place {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data");
        std::fs::create_dir(&path).unwrap();
        Place {
            path,
            _directory: directory,
        }
    }

    /// A disk with a new cluster, whose log has segments of 1 MiB.
    pub fn disk(&self, seed: u64) -> SimDisk {
        let config = SimConfig {
            trace_root: self.path.clone(),
            ..SimConfig::new(seed)
        };
        let disk = SimDisk::from_image(config, cluster());
        disk.make_directories(self.path.parent().unwrap()).unwrap();
        disk.rename("/cluster".as_ref(), &self.path).unwrap();
        disk.sync_dir("/".as_ref()).unwrap();
        disk.sync_dir(self.path.parent().unwrap()).unwrap();
        disk
    }
}

fn cluster() -> &'static DiskImage {
    static CLUSTER: OnceLock<DiskImage> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let place = Place::new();
        let disk = SimDisk::new(SimConfig::new(0));
        disk.make_directories(place.path.parent().unwrap()).unwrap();
        let options = InitOptions {
            wal_segment_size: SegmentSize::new(1 << 20).unwrap(),
        };
        initialise_with(&foundation(&disk), &place.path, &options).unwrap();
        disk.rename(&place.path, "/cluster".as_ref()).unwrap();
        disk.image()
    })
}

/// The statements of a block, or one alone, and its end.
fn transaction<T>(
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

fn relation(
    session: &Session,
    name: &str,
    mode: LockMode,
) -> Result<Arc<RelationDesc>, EngineError> {
    session.open_relation(None, name, mode, &mut session.issuer()?)
}

fn create(
    session: &mut Session,
    name: &str,
    persistence: RelationPersistence,
) -> Result<(), EngineError> {
    let definition = TableDefinition {
        persistence,
        name: name.to_owned(),
        namespace: oids::PG_PUBLIC_NAMESPACE,
        owner: oids::BOOTSTRAP_SUPERUSER,
        columns: vec![
            ColumnDefinition::new("a", trunkline_types::oids::INT4, -1),
            ColumnDefinition::new("b", trunkline_types::oids::TEXT, -1),
        ],
    };
    let mut io = session.issuer()?;
    session.create_table(&definition, false, &mut io).map(drop)
}

fn load(
    session: &mut Session,
    name: &str,
    rows: u32,
    frozen: bool,
    fails: bool,
) -> Result<(), EngineError> {
    let relation = relation(session, name, LockMode::RowExclusive)?;
    let columns = LoadColumns::all(&relation);
    let mut load = Load::begin(session, relation, columns, frozen, OutputStyle::default())?;
    for row in 0..rows {
        let text = vec![b'a' + (row % 26) as u8; 300];
        load.row(&[Some(&row.to_le_bytes()), Some(&text)])?;
    }
    if fails {
        return load.row(&[Some(&[0; 4]), Some(&[b'x'; 9000])]);
    }
    load.finish().map(drop)
}

fn found_rows(session: &mut Session, name: &str) -> Result<Rows, EngineError> {
    let relation = relation(session, name, LockMode::AccessShare)?;
    let snapshot = Arc::new(session.snapshot()?);
    let mut rows = Rows::default();
    TableScan::new(session, relation, snapshot)?
        .partition()?
        .rows(
            &mut rows,
            |rows, _, tuple| {
                let data = tuple.data();
                let number = u32::from_le_bytes(data[..4].try_into().unwrap());
                let text = &data[data.len() - 300..];
                assert!(text.iter().all(|byte| *byte == b'a' + (number % 26) as u8));
                rows.count += 1;
                rows.sum += u64::from(number);
                Ok(())
            },
            |_| ControlFlow::Continue(()),
        )?;
    Ok(rows)
}

fn run_op(database: &Arc<Database>, session: &mut Session, op: &Op) -> Result<(), EngineError> {
    match *op {
        Op::Create(name, persistence) => {
            transaction(session, |session| create(session, name, persistence))
        }
        Op::Load(name, rows) => {
            transaction(session, |session| load(session, name, rows, false, false))
        }
        Op::LoadAsync(name, rows) => {
            session
                .settings_mut()
                .set("synchronous_commit", "off", false, false)?;
            let loaded = transaction(session, |session| load(session, name, rows, false, false));
            session
                .settings_mut()
                .set("synchronous_commit", "on", false, false)?;
            loaded
        }
        Op::FailingLoad(name, rows) => {
            match transaction(session, |session| load(session, name, rows, false, true)) {
                Err(error) if error.sqlstate() == "54000" => Ok(()),
                Err(error) => Err(error),
                Ok(()) => panic!("a row that is too big went in"),
            }
        }
        Op::Truncate(name) => transaction(session, |session| {
            let relation = relation(session, name, LockMode::AccessExclusive)?;
            session.truncate_table(&relation, &mut session.issuer()?)
        }),
        Op::Drop(name) => transaction(session, |session| {
            let relation = relation(session, name, LockMode::AccessExclusive)?;
            session.drop_table(&relation, &mut session.issuer()?)
        }),
        Op::CreateFrozen(name, rows) => transaction(session, |session| {
            create(session, name, Permanent)?;
            session.transaction()?.increment_command()?;
            load(session, name, rows, true, false)
        }),
        Op::RolledBack(name, rows) => {
            session.begin_block()?;
            let done = create(session, name, Permanent)
                .and_then(|()| Ok(session.transaction()?.increment_command()?))
                .and_then(|()| load(session, name, rows, false, false));
            session.rollback_block();
            done
        }
        Op::Checkpoint => database.checkpoint(&mut session.issuer()?),
        Op::Background(steps) => {
            let mut io = session.issuer()?;
            for _ in 0..steps {
                database.step_wal_writer(&mut io)?;
                database.step_background_writer(&mut io)?;
                while database.step_checkpointer(&mut io) == CheckpointerStep::Again {}
            }
            Ok(())
        }
    }
}

/// Does `op` in a session of its own; whether it was acknowledged.
pub fn commits(database: &Arc<Database>, op: &Op) -> bool {
    database
        .session("postgres", &[])
        .and_then(|mut session| run_op(database, &mut session, op))
        .is_ok()
}

/// Does all of `ops`, or as much as can be done.
pub fn run(database: &Arc<Database>, disk: &SimDisk, ops: &[Op]) -> Ledger {
    let mut ledger = Ledger::default();
    let Ok(mut session) = database.session("postgres", &[]) else {
        return ledger;
    };
    for op in ops {
        let result = run_op(database, &mut session, op);
        let mut after = ledger.last().clone();
        match result {
            Ok(()) => {
                op.apply(&mut after);
                if !op.is_asynchronous() {
                    ledger.states.clear();
                }
                ledger.states.push(after);
            }
            Err(error) => {
                let is_over = !disk.is_powered() || database.failure().is_some();
                if is_over {
                    // It may have happened: whoever asked was not told that it has not.
                    if is_possible(op, &after) {
                        op.apply(&mut after);
                        ledger.in_flight = Some(after);
                    }
                    break;
                }
                ledger.refused += 1;
                assert_ne!(
                    error.sqlstate(),
                    "08007",
                    "in doubt, and it goes on: {error}"
                );
            }
        }
    }
    ledger
}

/// Whether there is what it is about.
fn is_possible(op: &Op, state: &State) -> bool {
    match op {
        Op::Load(name, _) | Op::LoadAsync(name, _) | Op::Truncate(name) => state.contains_key(name),
        _ => true,
    }
}

/// All tables as they are now.
pub fn state(database: &Arc<Database>) -> State {
    const NAMES: [&str; 6] = ["t", "u", "f", "d", "r", "x"];
    let mut session = database.session("postgres", &[]).unwrap();
    let mut state = State::new();
    for name in NAMES {
        let table = transaction(&mut session, |session| {
            let mut io = session.issuer()?;
            let mode = LockMode::AccessShare;
            let found = session.open_relation_if_exists(None, name, mode, &mut io)?;
            let Some(relation) = found else {
                return Ok(None);
            };
            Ok(Some(Table {
                persistence: relation.persistence,
                rows: found_rows(session, name)?,
            }))
        });
        if let Some(table) = table.unwrap() {
            state.insert(name, table);
        }
    }
    state
}

/// Checks the checksum of every page of a database that was stopped. Gives the number of files that no
/// table has: those whose making or dropping a crash cut in two where the log does not tell.
pub fn check_files(disk: &SimDisk, path: &Path, state: &State) -> usize {
    let aio = Aio::start_with(AioConfig::default(), Arc::new(disk.clone())).unwrap();
    let mut io = aio.issuer(1).unwrap();
    let mut of_users = std::collections::BTreeSet::new();
    for directory in ["base/5", "global"] {
        let directory = path.join(directory);
        for entry in disk.list(&directory).unwrap() {
            let name = entry.name.to_string_lossy().into_owned();
            if entry.kind != FileKind::File || !name.starts_with(|c: char| c.is_ascii_digit()) {
                continue;
            }
            let (fork, segment) = name.split_once('.').unwrap_or((&name, "0"));
            let number: u32 = fork.split('_').next().unwrap().parse().unwrap();
            if number >= oids::FIRST_NORMAL_OBJECT.0 {
                of_users.insert(number);
            }
            let first = segment.parse::<u32>().unwrap() * RELSEG_SIZE;
            let bytes = read_file(disk, &mut io, &directory.join(&name)).unwrap();
            assert_eq!(bytes.len() % BLCKSZ, 0, "{name}");
            for (block, page) in (first..).zip(bytes.chunks_exact(BLCKSZ)) {
                let page = page.try_into().unwrap();
                verify_page(page, block, true)
                    .unwrap_or_else(|error| panic!("{name} block {block}: {error}"));
            }
        }
    }
    assert!(
        of_users.len() >= state.len(),
        "files {of_users:?} of {state:?}"
    );
    of_users.len() - state.len()
}
