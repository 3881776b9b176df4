//! Power cuts at every step of a workload (W7, W10): whoever was told that he committed has, nobody
//! else has by half, and of asynchronous commits a prefix is left.

use trunkline_pgformat::Xid;
use trunkline_pgformat::slru::XactStatus;
use trunkline_sim::{DiskImage, SimConfig, SimDisk};
use trunkline_txn::{Transaction, XidStatus};

use crate::rig::{
    ASYNC, NOW, Rig, RigError, SYNC, commits_in_log, sim_recovered, sim_rig, status_on_disk,
};

#[derive(Clone, Copy)]
enum Step {
    /// The slot's transaction begins and gets an id.
    Begin(usize),
    Commit(usize),
    CommitSoon(usize),
    Abort(usize),
    Checkpoint,
    /// Pages leave the cache.
    PushOut,
    /// The log's writer comes by.
    FlushLog,
}

use Step::{Abort, Begin, Checkpoint, Commit, CommitSoon, FlushLog, PushOut};

/// Several transactions at once; ids of two pages; pages that must leave the cache while commits on
/// them are not durable.
const SCRIPT: &[Step] = &[
    Begin(0),
    Begin(1),
    Begin(2),
    Commit(1),
    CommitSoon(0),
    PushOut,
    Begin(0),
    Begin(1),
    Abort(2),
    CommitSoon(1),
    Begin(2),
    Begin(1),
    Checkpoint,
    CommitSoon(0),
    Commit(2),
    Begin(0),
    Begin(2),
    CommitSoon(1),
    PushOut,
    CommitSoon(2),
    FlushLog,
    Begin(1),
    CommitSoon(1),
    Begin(1),
    Abort(0),
    Begin(0),
    Commit(0),
    Checkpoint,
    Begin(2),
    CommitSoon(2),
    Begin(2),
];

/// What became of the transactions, as their clients know.
#[derive(Default)]
struct Ledger {
    /// In the order of their records.
    commits: Vec<(Xid, bool)>,
    not_committed: Vec<Xid>,
    /// Told neither.
    unknown: Vec<Xid>,
}

fn run(rig: &mut Rig, ledger: &mut Ledger) -> Result<(), RigError> {
    let mut slots: [Option<Transaction>; 3] = [None, None, None];
    let mut outcome = Ok(());
    for step in SCRIPT {
        outcome = take_step(rig, &mut slots, *step, ledger);
        if outcome.is_err() {
            break;
        }
    }
    let running = slots.iter().flatten().filter_map(Transaction::xid);
    ledger.not_committed.extend(running);
    outcome
}

fn take_step(
    rig: &mut Rig,
    slots: &mut [Option<Transaction>; 3],
    step: Step,
    ledger: &mut Ledger,
) -> Result<(), RigError> {
    match step {
        Begin(slot) => {
            let transaction = rig.manager.begin(slot as i32);
            let assigned = transaction.assign_xid();
            slots[slot] = Some(transaction);
            let xid = assigned?.xid();
            rig.log_work(xid)?;
        }
        Commit(slot) | CommitSoon(slot) => {
            let is_synchronous = matches!(step, Commit(_));
            let options = if is_synchronous { SYNC } else { ASYNC };
            let transaction = slots[slot].take().unwrap();
            let xid = transaction.xid().unwrap();
            match transaction.commit(&mut rig.io, options) {
                Ok(_) => ledger.commits.push((xid, is_synchronous)),
                Err(error) => {
                    ledger.unknown.push(xid);
                    return Err(error.into());
                }
            }
            rig.manager.locks().release_all(transaction.owner());
        }
        Abort(slot) => {
            let transaction = slots[slot].take().unwrap();
            ledger.not_committed.push(transaction.xid().unwrap());
            transaction.abort(&mut rig.io, NOW);
            rig.manager.locks().release_all(transaction.owner());
        }
        Checkpoint => rig.checkpoint()?,
        PushOut => rig.push_out_pages()?,
        FlushLog => rig.wal.flush(&mut rig.io, rig.wal.insert_lsn())?,
    }
    Ok(())
}

/// Checks what the machine comes up with, before and after recovery, against the ledger and the log.
fn check(disk: &SimDisk, ledger: &Ledger) {
    let logged = commits_in_log(disk);
    let known: Vec<Xid> = (ledger.commits.iter().map(|(xid, _)| *xid))
        .chain(ledger.not_committed.iter().copied())
        .chain(ledger.unknown.iter().copied())
        .collect();
    // W10's other half: pg_xact on disk knows of no commit that the log does not have.
    for xid in &known {
        if status_on_disk(disk, *xid) == XactStatus::Committed {
            assert!(
                logged.contains(xid),
                "{xid} is committed on disk before its record is"
            );
        }
    }
    // A prefix of the commits, up to the last one that was waited for at least.
    let acknowledged = ledger
        .commits
        .iter()
        .rposition(|(_, synchronous)| *synchronous);
    let at_least = acknowledged.map_or(0, |at| at + 1);
    let mut in_order = ledger.commits.iter().map(|(xid, _)| *xid);
    let found: Vec<Xid> = in_order
        .by_ref()
        .take_while(|xid| logged.contains(xid))
        .collect();
    assert!(
        found.len() >= at_least,
        "{} commits are left of {at_least}",
        found.len()
    );
    assert!(
        !in_order.any(|xid| logged.contains(&xid)),
        "a later commit is there and an earlier one is not"
    );

    let rig = sim_recovered(disk).unwrap();
    let next = rig.manager.next_xid().xid();
    for xid in &logged {
        assert!(xid.precedes(next), "{xid} will be given out again");
    }
    // Of an id that is given out again nothing is left that anybody could ask about.
    for xid in known.into_iter().filter(|xid| xid.precedes(next)) {
        let expected = if logged.contains(&xid) {
            XidStatus::Committed
        } else {
            XidStatus::Aborted
        };
        assert_eq!(rig.manager.status(xid).unwrap(), expected, "{xid}");
        assert!(expected == XidStatus::Aborted || !ledger.not_committed.contains(&xid));
    }
}

fn new_cluster() -> DiskImage {
    let disk = SimDisk::new(SimConfig::new(1));
    drop(sim_rig(&disk));
    disk.image()
}

#[test]
fn power_cuts_at_every_step_lose_no_commit_and_halve_none() {
    let image = new_cluster();
    let disk = SimDisk::from_image(SimConfig::new(0), &image);
    let mut ledger = Ledger::default();
    run(&mut sim_recovered(&disk).unwrap(), &mut ledger).unwrap();
    let steps = disk.steps();
    check(&disk.restart(), &ledger);
    println!("{steps} steps");
    for seed in 0..2 * steps {
        println!("seed {seed}: power cut before step {}", seed % steps);
        let disk = SimDisk::from_image(SimConfig::new(seed), &image);
        disk.power_cut_at(seed % steps);
        let mut ledger = Ledger::default();
        let outcome = sim_recovered(&disk).and_then(|mut rig| run(&mut rig, &mut ledger));
        assert!(outcome.is_err());
        let disk = disk.restart();
        let image = disk.image();
        check(&disk, &ledger);
        // A second crash, in the recovery from the first.
        let again = SimDisk::from_image(SimConfig::new(seed), &image);
        again.power_cut_at(seed * 7 % 40);
        drop(sim_recovered(&again));
        check(&again.restart(), &ledger);
    }
}
