//! A whole engine on the simulated disk.
//!
//! Its lock file and its configuration are read from the operating system's
//! files, so that its directory exists there as well, with nothing else in it.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, UNIX_EPOCH};

use trunkline_aio::{Aio, AioConfig, Clock, Storage, read_file};
use trunkline_catalog::{
    ColumnDefinition, RelationDesc, RelationPersistence, TableDefinition, oids,
};
use trunkline_engine::{
    Background, CheckpointerStep, Database, EngineError, Foundation, Load, LoadColumns,
    OpenOptions, Session, TableScan,
};
use trunkline_pgformat::control_file::ControlFile;
use trunkline_sim::{DiskImage, Fault, FaultPlan, FaultRule, OpKind, PathFilter, SimConfig};
use trunkline_sim::{SimDisk, When};
use trunkline_txn::{CancelReason, LockMode};
use trunkline_types::OutputStyle;

/// More than the buffer pool holds.
const ROWS: i32 = 5000;
const SEEDS: u64 = 4;

fn foundation(disk: &SimDisk) -> Foundation {
    Foundation {
        storage: Arc::new(disk.clone()),
        method: Some(Arc::new(disk.clone())),
        clock: Arc::new(disk.clone()),
        background: Background::Driven,
    }
}

fn open_on(disk: &SimDisk, path: &Path) -> Result<Arc<Database>, EngineError> {
    let overrides = [("shared_buffers", "1MB"), ("max_connections", "4")];
    let options = OpenOptions {
        overrides: overrides
            .map(|(name, value)| (name.into(), value.into()))
            .to_vec(),
        initialise: true,
    };
    Database::open_on(foundation(disk), path, &options)
}

/// Where every cluster of these tests is, on every disk.
struct Place {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Place {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data");
        std::fs::create_dir(&path).unwrap();
        Place {
            path,
            _directory: directory,
        }
    }

    fn config(&self, seed: u64) -> SimConfig {
        SimConfig {
            trace_root: self.path.clone(),
            ..SimConfig::new(seed)
        }
    }

    /// A disk with a new cluster.
    fn disk(&self, config: SimConfig) -> SimDisk {
        let disk = SimDisk::from_image(config, cluster());
        disk.make_directories(self.path.parent().unwrap()).unwrap();
        disk.rename("/cluster".as_ref(), &self.path).unwrap();
        disk.sync_dir("/".as_ref()).unwrap();
        disk.sync_dir(self.path.parent().unwrap()).unwrap();
        disk
    }
}

/// A new cluster, made on a simulated disk once.
fn cluster() -> &'static DiskImage {
    static CLUSTER: OnceLock<DiskImage> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let place = Place::new();
        let disk = SimDisk::new(SimConfig::new(0));
        disk.make_directories(place.path.parent().unwrap()).unwrap();
        let database = open_on(&disk, &place.path).unwrap();
        database.stop().unwrap();
        drop(database);
        disk.rename(&place.path, "/cluster".as_ref()).unwrap();
        disk.image()
    })
}

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

fn relation(session: &Session, mode: LockMode) -> Result<Arc<RelationDesc>, EngineError> {
    session.open_relation(None, "t", mode, &mut session.issuer()?)
}

fn create_and_fill(session: &mut Session, rows: i32) -> Result<u64, EngineError> {
    let definition = TableDefinition {
        persistence: RelationPersistence::Permanent,
        name: "t".to_owned(),
        namespace: oids::PG_PUBLIC_NAMESPACE,
        owner: oids::BOOTSTRAP_SUPERUSER,
        columns: vec![
            ColumnDefinition::new("a", trunkline_types::oids::INT4, -1),
            ColumnDefinition::new("b", trunkline_types::oids::TEXT, -1),
        ],
    };
    statement(session, |session| {
        let mut io = session.issuer()?;
        session.create_table(&definition, false, &mut io).map(drop)
    })?;
    statement(session, |session| {
        let relation = relation(session, LockMode::RowExclusive)?;
        let columns = LoadColumns::all(&relation);
        let mut load = Load::begin(session, relation, columns, false, OutputStyle::default())?;
        for row in 0..rows {
            let text = [b'x'; 300];
            load.row(&[Some(&row.to_le_bytes()), Some(&text)])?;
        }
        load.finish()
    })
}

fn count(session: &mut Session) -> Result<u64, EngineError> {
    statement(session, |session| {
        let relation = relation(session, LockMode::AccessShare)?;
        let snapshot = Arc::new(session.snapshot()?);
        let scan = TableScan::new(session, relation, snapshot)?;
        let mut rows = 0;
        scan.partition()?.count(|found| {
            rows += found;
            ControlFlow::Continue(())
        })?;
        Ok(rows)
    })
}

fn session(database: &Arc<Database>) -> Session {
    database.session("postgres", &[]).unwrap()
}

/// What a power cut is to find: opened, filled, a checkpoint or not.
fn fill(disk: &SimDisk, place: &Place, rows: i32) -> Arc<Database> {
    let database = open_on(disk, &place.path).unwrap();
    let mut session = session(&database);
    let loaded = create_and_fill(&mut session, rows).unwrap();
    assert_eq!(loaded, u64::from(rows.unsigned_abs()));
    assert_eq!(count(&mut session).unwrap(), loaded);
    // The background's steps are this thread's, too.
    let mut io = session.issuer().unwrap();
    for _ in 0..3 {
        database.step_background_writer(&mut io).unwrap();
        assert_ne!(database.step_checkpointer(&mut io), CheckpointerStep::Again);
    }
    database.checkpoint(&mut io).unwrap();
    drop(io);
    drop(session);
    database
}

#[test]
fn a_database_fills_stops_and_reopens_under_mild_faults() {
    for seed in 0..SEEDS {
        println!("seed {seed}");
        let place = Place::new();
        let disk = place.disk(place.config(seed).with_faults(FaultPlan::mild()));
        let database = fill(&disk, &place, ROWS);
        database.stop().unwrap();
        drop(database);
        let struck = disk.faults().rules.iter().map(FaultRule::struck).max();
        assert!(struck > Some(0));
        // A clean stop leaves nothing that a power cut could take.
        let disk = disk.restart();
        let database = open_on(&disk, &place.path).unwrap();
        let mut session = session(&database);
        assert_eq!(count(&mut session).unwrap(), ROWS as u64);
        drop(session);
        database.stop().unwrap();
        // Nothing of it went to the operating system.
        assert_eq!(std::fs::read_dir(&place.path).unwrap().count(), 1);
    }
}

#[test]
fn a_stop_that_the_power_cut_interrupts_loses_nothing() {
    const FEW_ROWS: i32 = 100;
    let place = Place::new();
    // The steps of a stop, which are the same for every seed.
    let stop = |disk: &SimDisk| {
        let database = fill(disk, &place, FEW_ROWS);
        let before = disk.steps();
        let stopped = database.stop();
        (before..disk.steps(), stopped)
    };
    let (cuts, stopped) = stop(&place.disk(place.config(0)));
    stopped.unwrap();
    for (cut, seed) in cuts.flat_map(|cut| (0..SEEDS).map(move |seed| (cut, seed))) {
        let disk = place.disk(place.config(seed));
        disk.power_cut_at(cut);
        drop(stop(&disk));
        assert!(!disk.is_powered());
        let database = open_on(&disk.restart(), &place.path).unwrap();
        let rows = count(&mut session(&database)).unwrap();
        assert_eq!(rows, FEW_ROWS as u64, "cut {cut}, seed {seed}");
        database.stop().unwrap();
    }
}

#[test]
fn a_failed_sync_stops_the_engine() {
    let place = Place::new();
    let disk = place.disk(place.config(1));
    let database = fill(&disk, &place, ROWS);
    let rule = FaultRule::new(
        Fault::Fail(libc::EIO),
        OpKind::SYNCS,
        PathFilter::Contains("base/5/".into()),
        When::Nth(1),
    );
    disk.add_fault(rule);
    let mut session = session(&database);
    let definition_changes = statement(&mut session, |session| {
        let relation = relation(session, LockMode::AccessExclusive)?;
        session.truncate_table(&relation, &mut session.issuer()?)
    });
    definition_changes.unwrap();
    let mut io = session.issuer().unwrap();
    assert!(database.checkpoint(&mut io).is_err());
    assert!(database.failure().is_some());
    drop((io, session));
    assert!(database.stop().is_err());
}

#[test]
fn one_thread_and_one_seed_give_the_engine_one_trace() {
    let place = Place::new();
    let run = |seed| {
        let config = SimConfig {
            record_trace: true,
            ..place.config(seed).with_faults(FaultPlan::mild())
        };
        let disk = place.disk(config);
        fill(&disk, &place, ROWS).stop().unwrap();
        (disk.trace_hash(), disk.trace())
    };
    let (first, again, other) = (run(1), run(1), run(2));
    for (one, same) in first.1.iter().zip(&again.1) {
        assert_eq!(one.to_string(), same.to_string());
    }
    assert_eq!(first.0, again.0);
    assert_ne!(first.0, other.0);
}

/// Two sessions of one thread, of which one waits for the other.
#[test]
fn a_lock_timeout_takes_simulated_time_alone() {
    const TIMEOUT: Duration = Duration::from_secs(3600);
    let place = Place::new();
    let run = |seed| {
        let disk = place.disk(place.config(seed).with_faults(FaultPlan::mild()));
        let database = fill(&disk, &place, 10);
        let (mut holder, mut waiter) = (session(&database), session(&database));
        holder.begin_block().unwrap();
        statement(&mut holder, |holder| {
            relation(holder, LockMode::AccessExclusive)
        })
        .unwrap();
        let settings = waiter.settings_mut();
        settings.set("lock_timeout", "1h", false, false).unwrap();
        let (began, real) = (disk.monotonic(), Instant::now());
        let error = count(&mut waiter).unwrap_err();
        let waited = disk.monotonic() - began;
        assert_eq!(error.to_string(), "canceling statement due to lock timeout");
        assert!(
            (TIMEOUT..TIMEOUT + Duration::from_secs(1)).contains(&waited),
            "{waited:?}"
        );
        assert!(real.elapsed() < Duration::from_secs(60));
        holder.commit_block().unwrap();
        assert_eq!(count(&mut waiter).unwrap(), 10);
        drop((holder, waiter));
        database.stop().unwrap();
        disk.trace_hash()
    };
    assert_eq!(run(1), run(1));
}

/// Its time of day is what pg_control gets.
#[test]
fn the_time_of_day_is_the_simulated_one() {
    let place = Place::new();
    let config = SimConfig {
        epoch_seconds: 1_234_567_890,
        ..place.config(1)
    };
    let disk = place.disk(config);
    let database = open_on(&disk, &place.path).unwrap();
    let started = database.started().duration_since(UNIX_EPOCH).unwrap();
    assert_eq!(started.as_secs(), 1_234_567_890);
    disk.advance(Duration::from_secs(100));
    database.stop().unwrap();
    let aio = Aio::start_with(AioConfig::default(), Arc::new(disk.clone())).unwrap();
    let path = place.path.join("global/pg_control");
    let bytes = read_file(&disk, &mut aio.issuer(1).unwrap(), &path).unwrap();
    let control = ControlFile::decode(&bytes).unwrap();
    assert_eq!(control.time, 1_234_567_990);
    assert_eq!(control.check_point_copy.time, 1_234_567_990);
}

/// What waits for a lock longer than its statement may take.
#[test]
fn an_alarm_ends_a_statement_that_waits_for_a_lock() {
    let place = Place::new();
    let disk = place.disk(place.config(1));
    let database = fill(&disk, &place, 10);
    let (mut holder, mut waiter) = (session(&database), session(&database));
    holder.begin_block().unwrap();
    statement(&mut holder, |holder| {
        relation(holder, LockMode::AccessExclusive)
    })
    .unwrap();
    let settings = waiter.settings_mut();
    settings.set("lock_timeout", "1h", false, false).unwrap();
    let at = disk.monotonic() + Duration::from_secs(1800);
    let error = statement(&mut waiter, |waiter| {
        let (statement, cancel) = (waiter.statement_id().unwrap(), waiter.cancel().clone());
        let action = move || {
            cancel.request_for(statement, CancelReason::StatementTimeout);
        };
        let _alarm = database.clock().alarm(at, Box::new(action)).unwrap();
        relation(waiter, LockMode::AccessShare).map(drop)
    });
    let message = "canceling statement due to statement timeout";
    assert_eq!(error.unwrap_err().to_string(), message);
    assert_eq!(disk.monotonic(), at);
}
