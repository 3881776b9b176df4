//! Crashes of a whole engine: the power fails at every step of a workload, and again while it recovers;
//! every I/O fails in turn.
//!
//! [`STRIDE`] says how many of the steps a run goes through; the environment can say otherwise:
//! `TRUNKLINE_CRASH_STRIDE=1 TRUNKLINE_CRASH_SEEDS=10` goes through all of them, ten times.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use trunkline_catalog::RelationPersistence;
use trunkline_engine::{Background, Foundation};
use trunkline_sim::{Fault, FaultPlan, FaultRule, OpKind, PathFilter, SimDisk, When};

use crate::crash_workload::{
    Ledger, Op, Place, State, check_files, commits, foundation, open_on, open_over, run, state,
    workload,
};
use crate::rig::{Choice, within_limit};

/// Every how many steps the power is cut, or an I/O fails.
const STRIDE: u64 = 17;
/// How often, with other seeds each time.
const SEEDS: u64 = 1;

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn stride() -> u64 {
    from_environment("TRUNKLINE_CRASH_STRIDE", STRIDE)
}

fn seeds() -> u64 {
    from_environment("TRUNKLINE_CRASH_SEEDS", SEEDS)
}

/// The steps of a whole run, after the database has been opened.
fn steps(place: &Place) -> std::ops::Range<u64> {
    let disk = place.disk(0);
    let database = open_on(&disk, &place.path).unwrap();
    let before = disk.steps();
    let ledger = run(&database, &disk, &workload());
    assert_eq!(ledger.refused, 0);
    before..disk.steps()
}

/// What is found after recovery, and that it is all right.
fn recovered(disk: &SimDisk, place: &Place, ledger: &Ledger, crashed: bool) -> usize {
    let database = open_on(disk, &place.path).unwrap();
    let found = state(&database);
    assert!(
        ledger.allows(&found, crashed),
        "found {found:?}\nallowed {ledger:?}"
    );
    // It goes on.
    let more = run(
        &database,
        disk,
        &[Op::Create("x", RelationPersistence::Permanent)],
    );
    assert_eq!(more.refused, 0);
    let found: State = state(&database);
    database.stop().unwrap();
    drop(database);
    check_files(disk, &place.path, &found)
}

#[test]
fn a_power_cut_at_any_step_loses_nothing_acknowledged_and_halves_nothing() {
    let place = Arc::new(Place::new());
    let cuts = steps(&place);
    println!("{} steps", cuts.end - cuts.start);
    let leaked = Arc::new(AtomicUsize::new(0));
    let mut runs = 0;
    // With a stride, each seed goes through steps of its own.
    let each = move |seed| {
        cuts.clone()
            .skip(seed as usize % stride() as usize)
            .step_by(stride() as usize)
            .map(move |cut| (seed, cut))
    };
    for (seed, cut) in (0..seeds()).flat_map(each) {
        let (place, leaked) = (Arc::clone(&place), Arc::clone(&leaked));
        println!("cut {cut}, seed {seed}");
        runs += 1;
        within_limit(move || {
            let disk = place.disk(seed << 32 | cut);
            let database = open_on(&disk, &place.path).unwrap();
            disk.power_cut_at(cut);
            let ledger = run(&database, &disk, &workload());
            drop(database);
            disk.power_cut();
            let mut disk = disk.restart();
            // One run in two is cut again while it recovers, as long as it takes.
            if (cut + seed) % 2 == 0 {
                let mut choice = Choice(seed << 32 | cut);
                for _ in 0..2 {
                    disk.power_cut_at(disk.steps() + choice.below(700));
                    match open_on(&disk, &place.path) {
                        Ok(database) => drop(database),
                        Err(error) => assert!(!disk.is_powered(), "{error}"),
                    }
                    disk.power_cut();
                    disk = disk.restart();
                }
            }
            leaked.fetch_add(recovered(&disk, &place, &ledger, true), Ordering::Relaxed);
        });
    }
    let leaked = leaked.load(Ordering::Relaxed);
    println!("{leaked} files without a table in {runs} runs");
    assert!(leaked <= runs / 4, "{leaked} files in {runs} runs");
}

#[test]
fn every_io_fails_in_turn_and_the_engine_goes_on_or_stops_without_a_loss() {
    const OPERATIONS: [(&[OpKind], i32); 5] = [
        (&[OpKind::Write], libc::EIO),
        (&[OpKind::Write], libc::ENOSPC),
        (
            &[OpKind::Fsync, OpKind::Fdatasync, OpKind::SyncDir],
            libc::EIO,
        ),
        (&[OpKind::Read, OpKind::Open], libc::EIO),
        (
            &[
                OpKind::Allocate,
                OpKind::SetLen,
                OpKind::Rename,
                OpKind::Unlink,
            ],
            libc::ENOSPC,
        ),
    ];
    let place = Arc::new(Place::new());
    for (number, (ops, errno)) in OPERATIONS.into_iter().enumerate() {
        let mut nth = 1 + number as u64;
        loop {
            let place = Arc::clone(&place);
            println!("{ops:?} number {nth} fails with {errno}");
            let struck = within_limit(move || {
                let disk = place.disk(nth);
                let database = open_on(&disk, &place.path).unwrap();
                disk.add_fault(FaultRule::new(
                    Fault::Fail(errno),
                    ops,
                    PathFilter::Any,
                    When::Nth(nth),
                ));
                let ledger = run(&database, &disk, &workload());
                let failed = database.failure().is_some();
                let stopped = database.stop();
                assert!(!failed || stopped.is_err());
                drop(database);
                let struck = disk.faults().rules.iter().any(|rule| rule.struck() > 0);
                disk.set_faults(FaultPlan::default());
                recovered(&disk, &place, &ledger, stopped.is_err());
                struck
            });
            if !struck {
                break;
            }
            nth += stride();
        }
    }
}

/// Sessions that work at once, with checkpoints and the background's own threads beside them. Here a
/// crash leaves writes of the log in flight, and commits between their record and their end.
#[test]
fn a_power_cut_while_many_threads_commit_loses_nothing_acknowledged() {
    const THREADS: usize = 3;
    const NAMES: [&str; THREADS] = ["t", "f", "d"];
    const ROWS: u32 = 10;
    let place = Arc::new(Place::new());
    for seed in 0..8 * seeds() {
        let place = Arc::clone(&place);
        println!("seed {seed}");
        within_limit(move || {
            let disk = place.disk(seed);
            let foundation = Foundation {
                background: Background::Threads,
                ..foundation(&disk)
            };
            let database = open_over(foundation, &place.path).unwrap();
            let creates = NAMES.map(|name| Op::Create(name, RelationPersistence::Permanent));
            assert_eq!(run(&database, &disk, &creates).refused, 0);
            disk.power_cut_at(disk.steps() + 20 + Choice(seed).below(400));
            let acknowledged: Vec<u64> = std::thread::scope(|scope| {
                let workers = NAMES.map(|name| {
                    let (database, disk) = (&database, &disk);
                    scope.spawn(move || {
                        let mut acknowledged = 0;
                        while disk.is_powered() && commits(database, &Op::Load(name, ROWS)) {
                            acknowledged += u64::from(ROWS);
                        }
                        acknowledged
                    })
                });
                while disk.is_powered() && commits(&database, &Op::Checkpoint) {}
                workers.map(|worker| worker.join().unwrap()).to_vec()
            });
            drop(database);
            disk.power_cut();
            let disk = disk.restart();
            let database = open_on(&disk, &place.path).unwrap();
            let mut found = state(&database);
            for (name, acknowledged) in NAMES.into_iter().zip(acknowledged) {
                let rows = found[name].rows.count;
                assert!(
                    rows == acknowledged || rows == acknowledged + u64::from(ROWS),
                    "{name}: {rows} rows, {acknowledged} acknowledged"
                );
            }
            // What goes into the hole that the crash left must not lead to what lies behind it (W9).
            assert!(commits(&database, &Op::Load("t", ROWS)));
            found.get_mut("t").unwrap().rows.count += u64::from(ROWS);
            disk.power_cut();
            drop(database);
            let database = open_on(&disk.restart(), &place.path).unwrap();
            for (name, table) in state(&database) {
                assert_eq!(table.rows.count, found[name].rows.count, "{name}");
            }
            database.stop().unwrap();
        });
    }
}
