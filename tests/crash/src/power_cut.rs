//! The power fails before a step of the disk: in the workload, then perhaps in recoveries, then perhaps
//! in what is done after them.

use trunkline_catalog::RelationPersistence::Permanent;
use trunkline_sim::{FaultPlan, SimDisk};

use crate::case::{Case, Outcome};
use crate::choice::Choice;
use crate::hole;
use crate::inspection::{check_crashed, check_stopped};
use crate::ledger::Ledger;
use crate::machine::{Place, open};
use crate::op::Op;
use crate::statements::{files, run as run_turns, state};
use crate::tables::State;
use crate::workload::{Workload, random};

/// Steps of a recovery, about; cuts are among the first so many.
const RECOVERY_STEPS: u64 = 700;

/// Operations after a recovery.
const TURNS_AFTER: usize = 8;

/// Steps of those, about.
const STEPS_AFTER: u64 = 600;

/// The steps of a whole workload.
pub fn length(place: &Place, workload: Workload, seed: u64) -> u64 {
    let disk = place.disk(seed, FaultPlan::none());
    let database = open(&disk, &place.path, seed).unwrap();
    let before = disk.steps();
    let mut ledger = Ledger::new(State::new());
    run_turns(&database, &disk, &workload.turns(seed), &mut ledger);
    assert!(ledger.refused.is_empty(), "{:?}", ledger.refused);
    assert_eq!(state(&database), *ledger.last());
    disk.steps() - before
}

/// The disk after a power cut, before any recovery.
pub fn crashed(place: &Place, case: Case) -> SimDisk {
    let disk = place.disk(case.seed, FaultPlan::none());
    let database = open(&disk, &place.path, case.seed).unwrap();
    disk.power_cut_at(disk.steps() + case.at);
    let mut ledger = Ledger::new(State::new());
    let turns = case.workload.turns(case.seed);
    run_turns(&database, &disk, &turns, &mut ledger);
    drop(database);
    disk.restart()
}

/// Recovers a database, and stops it without having looked at anything.
pub fn recover_and_stop(disk: &SimDisk, place: &Place, seed: u64) {
    open(disk, &place.path, seed).unwrap().stop().unwrap();
}

/// Runs a case.
pub fn run(place: &Place, case: Case) -> Outcome {
    let mut choice = Choice::new(case.seed.rotate_left(32) ^ case.at, "faults");
    // What every disk may do is no fault that anybody gets to see.
    let faults = match choice.one_in(3) {
        true => FaultPlan::mild(),
        false => FaultPlan::none(),
    };
    run_on(place, case, faults)
}

/// Runs a case on a disk that has faults besides.
///
/// # Panics
/// Something is wrong with the database afterwards, as it may be if the faults are such.
pub fn run_on(place: &Place, case: Case, faults: FaultPlan) -> Outcome {
    let seed = case.seed;
    let mut choice = Choice::new(seed.rotate_left(32) ^ case.at, "power cut");
    let mut disk = place.disk(seed, faults);
    let mut ledger = Ledger::new(State::new());
    let mut turns = case.workload.turns(seed);
    let mut cut_in = case.at;
    let mut struck = false;
    let (fills_holes, mut filled) = (Choice::new(seed, "hole").one_in(2), 0);
    let rounds = 1 + choice.below(3);
    for round in 0..rounds {
        let database = open(&disk, &place.path, seed).unwrap();
        disk.power_cut_at(disk.steps() + cut_in);
        run_turns(&database, &disk, &turns, &mut ledger);
        assert!(ledger.refused.is_empty(), "{:?}", ledger.refused);
        if round == 0 {
            struck = !disk.is_powered();
        }

        drop(database);
        disk.power_cut();
        disk = disk.restart();
        check_crashed(&disk, &place.path, ledger.durable_log);
        if fills_holes && let Some(filled_up) = hole::fill(&disk, place, seed) {
            disk = filled_up;
            filled += 1;
        }
        for _ in 0..choice.below(3) {
            disk = cut_while_recovering(&disk, place, seed, &mut choice);
        }
        let found = recovered(&disk, place, seed, &ledger);
        turns = random(seed ^ round, &found, TURNS_AFTER);
        cut_in = choice.below(STEPS_AFTER);
        ledger = Ledger::new(found);
        // What recovery has made is not only in memory.
        disk = disk.restart();
    }
    let leaked = finish(&disk, place, seed, &ledger, true);
    Outcome {
        struck,
        filled,
        refused: 0,
        leaked,
    }
}

fn cut_while_recovering(disk: &SimDisk, place: &Place, seed: u64, choice: &mut Choice) -> SimDisk {
    disk.power_cut_at(disk.steps() + choice.below(RECOVERY_STEPS));
    match open(disk, &place.path, seed) {
        Ok(database) => drop(database),
        Err(error) => assert!(!disk.is_powered(), "{error}"),
    }
    disk.power_cut();
    disk.restart()
}

/// What there is after recovery, which the ledger has to allow.
pub fn recovered(disk: &SimDisk, place: &Place, seed: u64, ledger: &Ledger) -> State {
    let database = open(disk, &place.path, seed).unwrap();
    let found = state(&database);
    assert!(
        ledger.allows(&found, true),
        "found {found:?}\nallowed {ledger:?}"
    );
    found
}

/// Opens once more, after a crash or not, does something, stops cleanly, and looks at everything. Gives
/// the number of relations that have files and are no table's.
pub fn finish(disk: &SimDisk, place: &Place, seed: u64, ledger: &Ledger, crashed: bool) -> usize {
    let database = open(disk, &place.path, seed).unwrap();
    let found = state(&database);
    assert!(
        ledger.allows(&found, crashed),
        "found {found:?}\nallowed {ledger:?}"
    );
    let mut ledger = Ledger::new(found);
    let turns = [(0, Op::Create("x", Permanent)), (0, Op::Load("x", 30))];
    run_turns(&database, disk, &turns, &mut ledger);
    assert!(ledger.refused.is_empty(), "{:?}", ledger.refused);
    let files = files(&database);
    database.stop().unwrap();
    drop(database);
    check_stopped(disk, &place.path, &files)
}
