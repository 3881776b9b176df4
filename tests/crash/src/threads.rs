//! The power fails while threads commit beside each other, with checkpoints and the background's own
//! threads: a crash leaves writes of the log in flight, and commits between their record and their end.

use trunkline_catalog::RelationPersistence::Permanent;
use trunkline_engine::Background;
use trunkline_sim::FaultPlan;

use crate::case::{Case, Outcome};
use crate::hole;
use crate::inspection::{check_crashed, check_stopped};
use crate::ledger::Ledger;
use crate::machine::{Place, open, open_with};
use crate::op::Op;
use crate::statements::{commits, files, run as run_turns, state};
use crate::tables::State;

/// Among how many steps the power fails.
pub const STEPS: u64 = 800;

const NAMES: [&str; 3] = ["t", "f0", "d0"];

/// Rows of a commit.
const ROWS: u32 = 10;

/// Runs a case.
pub fn run(place: &Place, case: Case) -> Outcome {
    let seed = case.seed;
    let disk = place.disk(seed, FaultPlan::none());
    let database = open_with(&disk, &place.path, seed, Background::Threads).unwrap();
    let creates = NAMES.map(|name| (0, Op::Create(name, Permanent)));
    let mut ledger = Ledger::new(State::new());
    run_turns(&database, &disk, &creates, &mut ledger);
    assert!(ledger.refused.is_empty(), "{:?}", ledger.refused);
    disk.power_cut_at(disk.steps() + case.at);
    let acknowledged: Vec<u64> = std::thread::scope(|scope| {
        let workers = NAMES.map(|name| {
            let (database, disk) = (&database, &disk);
            scope.spawn(move || {
                let mut acknowledged = 0;
                while disk.is_powered() && commits(database, Op::Load(name, ROWS)) {
                    acknowledged += u64::from(ROWS);
                }
                acknowledged
            })
        });
        while disk.is_powered() && commits(&database, Op::Checkpoint) {}
        workers.map(|worker| worker.join().unwrap()).to_vec()
    });

    drop(database);
    disk.power_cut();
    let disk = disk.restart();
    check_crashed(&disk, &place.path, ledger.durable_log);
    // What goes into the hole that the crash left must not lead to what lies behind it (W9).
    let filled_up = match seed % 2 {
        0 => hole::fill(&disk, place, seed),
        _ => None,
    };
    let filled = usize::from(filled_up.is_some());
    let disk = filled_up.unwrap_or(disk);
    let database = open(&disk, &place.path, seed).unwrap();
    let found = state(&database);
    for (name, acknowledged) in NAMES.into_iter().zip(acknowledged) {
        let rows = found[name].rows.count;
        assert!(
            rows == acknowledged || rows == acknowledged + u64::from(ROWS),
            "{name}: {rows} rows, {acknowledged} acknowledged"
        );
    }
    let mut ledger = Ledger::new(found);
    run_turns(&database, &disk, &[(0, Op::Load("t", ROWS))], &mut ledger);
    assert!(ledger.refused.is_empty(), "{:?}", ledger.refused);
    disk.power_cut();
    drop(database);
    let disk = disk.restart();
    let database = open(&disk, &place.path, seed).unwrap();
    assert_eq!(state(&database), *ledger.last());
    let files = files(&database);
    database.stop().unwrap();
    drop(database);
    Outcome {
        // They would go on for ever.
        struck: case.at <= STEPS,
        filled,
        refused: 0,
        leaked: check_stopped(&disk, &place.path, &files),
    }
}
