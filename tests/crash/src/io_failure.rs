//! An I/O fails, in the workload or in the recovery from a power cut: whoever asked gets an error, or the
//! engine stops; nothing hangs, and nothing that was acknowledged is lost.

use std::sync::Arc;

use trunkline_engine::Database;
use trunkline_sim::{Fault, FaultPlan, FaultRule, OpKind, PathFilter, SimDisk, When};

use crate::case::{Case, Outcome};
use crate::choice::Choice;
use crate::ledger::Ledger;
use crate::machine::{Place, open};
use crate::power_cut::finish;
use crate::statements::{run as run_turns, state};
use crate::tables::State;
use crate::workload::{Workload, random};

/// More than any run takes: one that goes on trying is a hang.
const STEPS_LIMIT: u64 = 200_000;

/// Operations after a recovery.
const TURNS_AFTER: usize = 8;

/// What fails, and how.
const FAILURES: [(&[OpKind], Fault); 8] = [
    (&[OpKind::Write], Fault::Fail(libc::EIO)),
    (&[OpKind::Write], Fault::Fail(libc::ENOSPC)),
    (
        &[OpKind::Fsync, OpKind::Fdatasync, OpKind::SyncDir],
        Fault::Fail(libc::EIO),
    ),
    (&[OpKind::Read], Fault::Fail(libc::EIO)),
    (
        &[OpKind::Open, OpKind::Len, OpKind::List, OpKind::Metadata],
        Fault::Fail(libc::EIO),
    ),
    (
        &[
            OpKind::Allocate,
            OpKind::SetLen,
            OpKind::Rename,
            OpKind::Unlink,
            OpKind::CreateDir,
        ],
        Fault::Fail(libc::ENOSPC),
    ),
    (
        &[
            OpKind::Allocate,
            OpKind::SetLen,
            OpKind::Rename,
            OpKind::Unlink,
        ],
        Fault::Fail(libc::EIO),
    ),
    (OpKind::TRANSFERS, Fault::Short),
];

/// How many seeds go through all that can fail, in both phases, once and for good.
pub const CLASSES: u64 = 4 * FAILURES.len() as u64;

/// What a seed has fail.
#[derive(Clone, Copy)]
struct Class {
    ops: &'static [OpKind],
    fault: Fault,
    /// In the recovery, not in the workload.
    in_recovery: bool,
    /// From then on, until the fault is mended.
    for_good: bool,
}

impl Class {
    fn of(seed: u64) -> Class {
        let (ops, fault) = FAILURES[(seed % FAILURES.len() as u64) as usize];
        let rest = seed / FAILURES.len() as u64;
        Class {
            ops,
            fault,
            in_recovery: rest % 2 == 1,
            for_good: rest / 2 % 2 == 1,
        }
    }

    fn rule(&self, at: u64) -> FaultRule {
        let when = match self.for_good {
            true => When::From(at),
            false => When::Nth(at),
        };
        FaultRule::new(self.fault, self.ops, PathFilter::Any, when)
    }
}

/// I/Os that could fail.
pub fn length(place: &Place, workload: Workload, seed: u64) -> u64 {
    let class = Class::of(seed);
    let disk = place.disk(seed, FaultPlan::none());
    let mut ledger = Ledger::new(State::new());
    let watched = with_fault(place, workload, seed, &class, u64::MAX, disk, &mut ledger);
    let plan = watched.disk.faults();
    plan.rules.iter().map(FaultRule::matched).sum()
}

/// How far it came.
struct Watched {
    disk: SimDisk,
    /// None if it did not open.
    database: Option<Arc<Database>>,
}

/// Does the workload, and a recovery if that is what the class is about, while things fail.
fn with_fault(
    place: &Place,
    workload: Workload,
    seed: u64,
    class: &Class,
    at: u64,
    mut disk: SimDisk,
    ledger: &mut Ledger,
) -> Watched {
    let mut choice = Choice::new(seed, "power cut before the failure");
    let mut turns = workload.turns(seed);
    if class.in_recovery {
        let database = open(&disk, &place.path, seed).unwrap();
        disk.power_cut_at(disk.steps() + choice.below(2000));
        run_turns(&database, &disk, &turns, ledger);
        drop(database);
        disk = disk.restart();
        disk.add_fault(class.rule(at));
    }
    disk.power_cut_at(disk.steps() + STEPS_LIMIT);
    let opened = open(&disk, &place.path, seed);
    assert!(disk.is_powered(), "a start that does not end");
    let database = match opened {
        Ok(database) => database,
        Err(error) => {
            assert!(class.in_recovery && class.fault != Fault::Short, "{error}");
            return Watched {
                disk,
                database: None,
            };
        }
    };
    if class.in_recovery {
        // With faults that cannot be read through.
        let plan = disk.faults();
        disk.set_faults(FaultPlan::none());
        let found = state(&database);
        disk.set_faults(plan);
        assert!(
            ledger.allows(&found, true),
            "found {found:?}\nallowed {ledger:?}"
        );
        turns = random(seed, &found, TURNS_AFTER);
        *ledger = Ledger::new(found);
    } else {
        disk.add_fault(class.rule(at));
    }
    run_turns(&database, &disk, &turns, ledger);
    assert!(disk.is_powered(), "a workload that does not end");
    Watched {
        disk,
        database: Some(database),
    }
}

/// Runs a case.
pub fn run(place: &Place, case: Case) -> Outcome {
    let Case {
        workload, seed, at, ..
    } = case;
    let class = Class::of(seed);
    let mut choice = Choice::new(seed.rotate_left(32) ^ at, "failure");
    let disk = place.disk(seed, FaultPlan::none());
    let mut ledger = Ledger::new(State::new());
    let watched = with_fault(place, workload, seed, &class, at, disk, &mut ledger);
    let Watched { mut disk, database } = watched;
    let is_transparent = class.fault == Fault::Short;
    let mut crashed = true;
    if let Some(database) = database {
        let failed = database.failure().map(str::to_owned);
        let stopped = database.stop();
        assert!(disk.is_powered(), "a stop that does not end");
        assert!(
            failed.is_none() || stopped.is_err(),
            "a clean stop after {failed:?}"
        );
        assert!(
            !is_transparent || stopped.is_ok() && ledger.refused.is_empty(),
            "short transfers are seen through: {failed:?} {stopped:?} {:?}",
            ledger.refused
        );
        crashed = stopped.is_err();
    }
    let rules = disk.faults().rules;
    let struck = rules.iter().any(|rule| rule.struck() > 0);
    let refused = ledger.refused.len();
    disk.set_faults(FaultPlan::none());
    // The process is gone; the machine may be too.
    if choice.one_in(2) {
        disk.power_cut();
        disk = disk.restart();
    }
    let leaked = finish(&disk, place, seed, &ledger, crashed);
    Outcome {
        struck,
        filled: 0,
        refused,
        leaked,
    }
}
