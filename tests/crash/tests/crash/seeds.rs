//! A few seeds of everything.

use std::sync::Arc;

use trunkline_crash::{Case, Kind, Outcome, Place, Workload, run_power_cut_on};
use trunkline_sim::{Fault, FaultPlan, FaultRule, OpKind, PathFilter, When};

/// Of each workload.
const SEEDS: u64 = 14;

fn run(place: &Arc<Place>, case: Case) -> Outcome {
    println!("{case}");
    case.run(place)
}

#[test]
fn a_power_cut_loses_nothing_acknowledged_and_halves_nothing() {
    let place = Arc::new(Place::new());
    let (mut runs, mut struck, mut leaked) = (0, 0, 0);
    for seed in 0..SEEDS {
        for workload in Workload::ALL {
            let outcome = run(&place, Case::once(Kind::PowerCut, workload, seed));
            runs += 1;
            struck += usize::from(outcome.struck);
            leaked += outcome.leaked;
        }
    }
    println!("{runs} runs, {struck} cut within the workload, {leaked} files without a table");
    assert!(struck > runs / 2, "{struck} of {runs}");
    // Files whose making the log does not tell of; each run crashes several times.
    assert!(leaked < runs, "{leaked} files in {runs} runs");
}

/// Without what recovery does to it (W9) it would, in most of the holes that are filled.
#[test]
fn log_behind_a_hole_does_not_follow_what_fills_the_hole() {
    let place = Arc::new(Place::new());
    let filled: usize = (SEEDS..3 * SEEDS)
        .map(|seed| run(&place, Case::once(Kind::PowerCut, Workload::Units, seed)).filled)
        .sum();
    println!("{filled} holes filled");
    assert!(filled > 0);
}

#[test]
fn an_io_that_fails_is_an_error_or_a_stop_and_no_loss() {
    let place = Arc::new(Place::new());
    let (mut runs, mut struck, mut refused) = (0, 0, 0);
    for seed in 0..SEEDS {
        for (workload, number) in Workload::ALL.into_iter().zip(0..) {
            // With all workloads, seeds go through all that can fail sooner.
            let seed = seed * Workload::ALL.len() as u64 + number;
            let outcome = run(&place, Case::once(Kind::IoFailure, workload, seed));
            runs += 1;
            struck += usize::from(outcome.struck);
            refused += outcome.refused;
        }
    }
    println!("{runs} runs, {struck} with a failure, {refused} statements refused");
    assert!(struck > runs / 2, "{struck} of {runs}");
    assert!(refused > 0);
}

#[test]
fn a_power_cut_while_threads_commit_loses_nothing_acknowledged() {
    let place = Arc::new(Place::new());
    for seed in 0..SEEDS {
        run(
            &place,
            Case::once(Kind::Threads, Workload::Everything, seed),
        );
    }
}

/// So that it would be seen if the engine did not sync what it should.
#[test]
fn a_disk_that_acknowledges_syncs_and_saves_nothing_is_found_out() {
    let lying = || {
        let ops = &[OpKind::Fsync, OpKind::Fdatasync, OpKind::SyncDir];
        let rule = FaultRule::new(Fault::LyingSync, ops, PathFilter::Any, When::Always);
        FaultPlan::none().with(rule)
    };
    let place = Place::new();
    let found = (0..10)
        .filter(|seed| {
            let case = Case::once(Kind::PowerCut, Workload::Checkpoint, *seed);
            std::panic::catch_unwind(|| run_power_cut_on(&place, case, lying())).is_err()
        })
        .count();
    assert!(found >= 5, "{found} of 10");
}
