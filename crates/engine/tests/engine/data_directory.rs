//! Data directories: what can be opened, what cannot, and what failures leave of one.

use std::path::Path;
use std::sync::Arc;
use std::sync::Barrier;

use trunkline_engine::{Database, EngineError, OpenOptions, initialise};

use crate::rig::{Faults, Rig, create, faulty, open, options, switch};

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
    let control = path.join("global/pg_control");
    database.stop().unwrap();
    drop(database);
    let stopped = std::fs::read(&control).unwrap();
    let mut damaged = stopped.clone();
    damaged[100] ^= 1;
    std::fs::write(&control, damaged).unwrap();
    assert!(refused(&path).contains("incorrect checksum in control file"));
    std::fs::write(&control, stopped).unwrap();
    let map = path.join("base/5/pg_filenode.map");
    let good = std::fs::read(&map).unwrap();
    let mut damaged = good.clone();
    damaged[9] ^= 1;
    std::fs::write(&map, damaged).unwrap();
    assert!(refused(&path).contains("relation mapping file contains incorrect checksum"));
    std::fs::write(&map, good).unwrap();
    std::fs::write(path.join("PG_VERSION"), "17\n").unwrap();
    assert!(refused(&path).contains("version 17"));
    let other = dir.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("file"), "x").unwrap();
    assert!(refused(&other).contains("is not a data directory"));
    assert!(refused(&other.join("file")).contains("it is not a directory"));
}

fn error_of(result: Result<Arc<Database>, EngineError>) -> String {
    match result {
        Ok(_) => panic!("it opened"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_start_that_fails_leaves_the_directory_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    // Settings are looked at before anything is made.
    let mut bad = options("sync");
    bad.overrides.push(("shared_buffers".into(), "lots".into()));
    assert!(error_of(Database::open(&path, &bad)).contains("shared_buffers"));
    assert!(!path.exists());

    open(&path, "sync").stop().unwrap();
    let lock_file = path.join("postmaster.pid");
    assert!(error_of(Database::open(&path, &bad)).contains("shared_buffers"));
    assert!(!lock_file.exists());
    // pg_control cannot be written: it is the last thing that a start does.
    let faults = Arc::new(Faults::default());
    for fault in [&faults.control_writes_fail, &faults.control_syncs_fail] {
        switch(fault, true);
        let error = error_of(Database::open_on(faulty(&faults), &path, &options("sync")));
        assert!(error.contains("pg_control"), "{error}");
        assert!(!lock_file.exists());
        switch(fault, false);
    }
    std::fs::remove_dir_all(path.join("base/pgsql_tmp")).unwrap();
    open(&path, "sync").stop().unwrap();
}

#[test]
fn an_initialisation_that_fails_leaves_the_directory_vacant() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/data");
    let faults = Arc::new(Faults::default());
    for fault in [&faults.disk_full, &faults.renames_fail] {
        switch(fault, true);
        error_of(Database::open_on(faulty(&faults), &path, &options("sync")));
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0);
        switch(fault, false);
    }
    let database = Database::open_on(faulty(&faults), &path, &options("sync")).unwrap();
    database.stop().unwrap();
    assert!(
        initialise(&path)
            .unwrap_err()
            .to_string()
            .contains("is not empty")
    );

    // What a kill leaves says what it is.
    let killed = dir.path().join("killed");
    std::fs::create_dir_all(killed.join("base")).unwrap();
    std::fs::write(killed.join("trunkline.unfinished"), "").unwrap();
    for error in [
        error_of(Database::open(&killed, &options("sync"))),
        initialise(&killed).unwrap_err().to_string(),
    ] {
        assert!(
            error.contains("its initialisation is going on or was cut short"),
            "{error}"
        );
    }
    // But what is not ours is neither used nor removed.
    let foreign = dir.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("file"), "x").unwrap();
    assert!(initialise(&foreign).is_err());
    assert!(foreign.join("file").exists() && !foreign.join("postmaster.pid").exists());
}

#[test]
fn of_several_initialisations_at_once_one_succeeds() {
    const THREADS: usize = 4;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    let start = Barrier::new(THREADS);
    let made = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    initialise(&path).is_ok()
                })
            })
            .collect();
        threads
            .into_iter()
            .filter_map(|thread| thread.join().ok())
            .filter(|made| *made)
            .count()
    });
    assert_eq!(made, 1);
    open(&path, "sync").stop().unwrap();
}

#[test]
fn a_stop_is_final_and_can_be_repeated() {
    let mut rig = Rig::new();
    let mut session = rig.session();
    create(&mut session, "t").unwrap();
    let mut io = session.issuer().unwrap();
    rig.database().checkpoint(&mut io).unwrap();
    drop((session, io));
    let database = Arc::clone(rig.database());
    let next_xid = database.transactions().next_xid();
    let next_oid = database.new_oid().unwrap();
    database.stop().unwrap();
    database.stop().unwrap();
    assert_eq!(
        database.session("postgres", &[]).err().unwrap().sqlstate(),
        "57P03"
    );
    let aio = trunkline_aio::Aio::start(trunkline_aio::AioConfig::default()).unwrap();
    assert_eq!(
        database
            .checkpoint(&mut aio.issuer(0).unwrap())
            .unwrap_err()
            .sqlstate(),
        "57P01"
    );
    drop(database);
    rig.restart();
    // Numbers go on where they were.
    assert_eq!(rig.database().transactions().next_xid(), next_xid);
    assert_eq!(rig.database().new_oid().unwrap().0, next_oid.0 + 1);
}
