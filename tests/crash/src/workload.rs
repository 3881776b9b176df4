//! What the database is made to do.

use std::str::FromStr;

use trunkline_catalog::RelationPersistence::{Permanent, Unlogged};

use crate::case::ParseNameError;
use crate::choice::Choice;
use crate::ledger::Ledger;
use crate::op::Op;
use crate::tables::State;

/// Sessions that take turns.
pub const SESSIONS: usize = 3;

/// Each session has tables of its own, besides those of everybody: nobody waits for another's lock, since
/// all sessions are on one thread.
const OWN_TABLES: [[&str; 2]; SESSIONS] = [["d0", "f0"], ["d1", "f1"], ["d2", "f2"]];

/// Operations of a random workload.
const RANDOM_LENGTH: usize = 40;

/// An operation of a session.
pub type Turn = (usize, Op);

/// A workload by name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Workload {
    /// Something of everything, and more log than one segment.
    Everything,
    /// Loads that extend a table, some of which fail.
    Load,
    /// Transactions of a row or a few, some of which do not wait for the log.
    Insert,
    /// Tables made, emptied and dropped.
    Tables,
    /// Checkpoints between changes of the same pages.
    Checkpoint,
    /// Log of many segments, with checkpoints that recycle them.
    Segments,
    /// Log that is written in many pieces at once, of records that begin with a write unit.
    Units,
    /// Unlogged tables.
    Unlogged,
    /// Transactions of several sessions that overlap.
    Sessions,
    /// Whatever its seed says.
    Random,
}

impl Workload {
    /// All of them.
    pub const ALL: [Workload; 10] = [
        Workload::Everything,
        Workload::Load,
        Workload::Insert,
        Workload::Tables,
        Workload::Checkpoint,
        Workload::Segments,
        Workload::Units,
        Workload::Unlogged,
        Workload::Sessions,
        Workload::Random,
    ];

    /// As the command names it.
    pub const fn name(self) -> &'static str {
        match self {
            Workload::Everything => "everything",
            Workload::Load => "load",
            Workload::Insert => "insert",
            Workload::Tables => "tables",
            Workload::Checkpoint => "checkpoint",
            Workload::Segments => "segments",
            Workload::Units => "units",
            Workload::Unlogged => "unlogged",
            Workload::Sessions => "sessions",
            Workload::Random => "random",
        }
    }

    /// Its operations on an empty database.
    pub(crate) fn turns(self, seed: u64) -> Vec<Turn> {
        let alone: Vec<Op> = match self {
            Workload::Everything => everything(),
            Workload::Load => loads(),
            Workload::Insert => inserts(),
            Workload::Tables => tables(),
            Workload::Checkpoint => checkpoints(),
            Workload::Segments => segments(),
            Workload::Units => units(),
            Workload::Unlogged => unlogged(),
            Workload::Sessions => return sessions(),
            Workload::Random => return random(seed, &State::new(), RANDOM_LENGTH),
        };
        alone.into_iter().map(|op| (0, op)).collect()
    }
}

impl FromStr for Workload {
    type Err = ParseNameError;

    fn from_str(name: &str) -> Result<Workload, ParseNameError> {
        Workload::ALL
            .into_iter()
            .find(|workload| workload.name() == name)
            .ok_or_else(|| {
                ParseNameError::new("workload", name, &Workload::ALL.map(Workload::name))
            })
    }
}

fn everything() -> Vec<Op> {
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
        Op::CreateFrozen("f0", 400),
        Op::Truncate("t"),
        Op::Load("t", 20),
        Op::Create("d0", Permanent),
        Op::Load("d0", 500),
        Op::Drop("d0"),
        Op::Begin,
        Op::CreateFrozen("d0", 60),
        Op::Rollback,
        Op::Truncate("u"),
        Op::Load("u", 4),
        Op::Background(6),
        Op::Load("t", 1500),
        Op::Checkpoint,
        Op::Drop("u"),
        Op::Load("f0", 10),
        Op::Background(3),
        Op::LoadAsync("t", 2),
    ]
}

fn loads() -> Vec<Op> {
    let mut ops = vec![Op::Create("t", Permanent)];
    for rows in [10, 200, 900, 30] {
        ops.extend([
            Op::Load("t", rows),
            Op::FailingLoad("t", rows + 300),
            Op::LoadAsync("t", 3),
        ]);
    }
    ops.extend([
        Op::CreateFrozen("f0", 700),
        // So many that space on disk is taken ahead.
        Op::FailingLoad("t", 5500),
        Op::Load("t", 5000),
    ]);
    ops
}

fn inserts() -> Vec<Op> {
    let mut ops = vec![Op::Create("t", Permanent), Op::Create("d0", Permanent)];
    for round in 0..8 {
        ops.extend([
            Op::Load("t", 1),
            Op::LoadAsync("d0", 1),
            Op::LoadAsync("t", 2),
            Op::Load("d0", 1),
        ]);
        match round {
            2 | 5 => ops.push(Op::Checkpoint),
            _ => ops.push(Op::Background(1)),
        }
    }
    ops.extend([Op::LoadAsync("t", 1); 3]);
    ops
}

fn tables() -> Vec<Op> {
    let mut ops = Vec::new();
    for round in 0..3 {
        ops.extend([
            Op::Create("d0", Permanent),
            Op::Load("d0", 50 << (2 * round)),
            Op::Truncate("d0"),
            Op::Load("d0", 5),
            Op::Begin,
            Op::Truncate("d0"),
            Op::Load("d0", 70),
            Op::Create("f0", Permanent),
            Op::Truncate("f0"),
            Op::Load("f0", 9),
            if round == 1 { Op::Rollback } else { Op::Commit },
            Op::Background(2),
            Op::Begin,
            Op::Drop("d0"),
            Op::Create("d0", Permanent),
            Op::Load("d0", 30),
            Op::Commit,
            Op::Drop("d0"),
        ]);
        if round != 1 {
            ops.push(Op::Drop("f0"));
        }
        if round == 1 {
            ops.push(Op::Checkpoint);
        }
    }
    ops.push(Op::CreateFrozen("f0", 100));
    ops
}

fn checkpoints() -> Vec<Op> {
    let mut ops = vec![Op::Create("t", Permanent), Op::CreateFrozen("f0", 120)];
    for _ in 0..6 {
        ops.extend([
            Op::Load("t", 30),
            Op::Checkpoint,
            Op::Load("t", 2),
            Op::LoadAsync("f0", 2),
            Op::Background(1),
        ]);
    }
    ops
}

fn segments() -> Vec<Op> {
    let mut ops = vec![Op::Create("t", Permanent)];
    for round in 0..5 {
        ops.extend([Op::Load("t", 2500), Op::Background(3)]);
        if round == 2 {
            ops.extend([Op::SwitchSegment, Op::LoadAsync("t", 2), Op::SwitchSegment]);
        }
        match round {
            1 | 3 => ops.extend([Op::Checkpoint, Op::Truncate("t")]),
            _ => ops.push(Op::LoadAsync("t", 1)),
        }
    }
    ops
}

fn units() -> Vec<Op> {
    let mut ops = vec![Op::Create("t", Permanent)];
    for round in 0..5 {
        for rows in [1, 30, 2] {
            ops.extend([Op::LoadAsync("t", rows), Op::Units(3), Op::Units(12)]);
        }
        ops.push(match round {
            2 => Op::Checkpoint,
            3 => Op::Background(1),
            _ => Op::Load("t", 1),
        });
    }
    ops
}

fn unlogged() -> Vec<Op> {
    vec![
        Op::Create("u", Unlogged),
        Op::Load("u", 500),
        Op::Create("t", Permanent),
        Op::Load("t", 20),
        Op::Checkpoint,
        Op::Load("u", 900),
        Op::Load("t", 20),
        Op::Truncate("u"),
        Op::Load("u", 50),
        Op::Begin,
        Op::Truncate("u"),
        Op::Load("u", 10),
        Op::Create("d0", Unlogged),
        Op::Load("d0", 40),
        Op::Rollback,
        Op::Create("d0", Unlogged),
        Op::Load("d0", 40),
        Op::Background(2),
        Op::Drop("u"),
        Op::Checkpoint,
        Op::Load("d0", 3),
        Op::Drop("d0"),
        Op::Load("t", 1),
    ]
}

fn sessions() -> Vec<Turn> {
    let mut turns = vec![
        (0, Op::Create("t", Permanent)),
        (0, Op::Create("u", Unlogged)),
    ];
    for round in 0..3 {
        turns.extend([
            (0, Op::Begin),
            (1, Op::Begin),
            (0, Op::Load("t", 60)),
            (1, Op::CreateFrozen("d1", 90)),
            (2, Op::Load("t", 40)),
            (1, Op::Load("t", 300)),
            (2, Op::LoadAsync("u", 10)),
            (2, Op::Checkpoint),
            (0, Op::Load("t", 5)),
            (2, Op::Background(2)),
            (1, if round == 2 { Op::Commit } else { Op::Rollback }),
            (2, Op::Load("t", 1)),
            (0, Op::Commit),
        ]);
    }
    // Unfinished for good.
    turns.extend([
        (0, Op::Begin),
        (0, Op::Create("d0", Permanent)),
        (0, Op::Load("d0", 300)),
        (0, Op::Load("t", 100)),
        (2, Op::Checkpoint),
        (2, Op::Load("t", 2)),
    ]);
    turns
}

/// `length` operations, or a few more, on a database that is in `state`.
pub fn random(seed: u64, state: &State, length: usize) -> Vec<Turn> {
    let mut choice = Choice::new(seed, "workload");
    // What is acknowledged is what can be done next.
    let mut ledger = Ledger::new(state.clone());
    let mut turns = Vec::new();
    while turns.len() < length {
        let session = choice.below(SESSIONS as u64) as usize;
        for op in random_ops(&mut choice, &ledger, session) {
            ledger.acknowledge(session, op);
            turns.push((session, op));
        }
    }
    turns
}

fn random_ops(choice: &mut Choice, ledger: &Ledger, session: usize) -> Vec<Op> {
    let rows = match choice.below(10) {
        0..5 => 1 + choice.below(5),
        5..8 => 5 + choice.below(200),
        8 => choice.below(600),
        _ => choice.below(1800),
    };
    let rows = rows as u32;
    let in_block = ledger.is_in_block(session);
    match choice.below(if in_block { 14 } else { 20 }) {
        0 | 1 if in_block => return vec![Op::Commit],
        2 if in_block => return vec![Op::Rollback],
        0 | 1 => return vec![Op::Begin],
        14 if choice.one_in(2) => return vec![Op::Units(1 + choice.below(6) as usize)],
        14 if choice.one_in(4) => return vec![Op::SwitchSegment],
        14 => return vec![Op::Checkpoint],
        15 | 16 => return vec![Op::Background(1 + choice.below(4) as usize)],
        _ => {}
    }
    let seen = ledger.seen_by(session);
    // Others do not have it while a block here has made it.
    let shared = if choice.one_in(4) { "u" } else { "t" };
    let name = match choice.below(3) {
        0 => shared,
        _ => choice.of(&OWN_TABLES[session]),
    };
    let is_own = OWN_TABLES[session].contains(&name);
    if !seen.contains_key(name) {
        return match name {
            "t" if !in_block => vec![Op::Create("t", Permanent)],
            "u" if !in_block => vec![Op::Create("u", Unlogged)],
            _ if !is_own => Vec::new(),
            _ if choice.one_in(4) => vec![Op::CreateFrozen(name, rows)],
            _ if choice.one_in(5) => vec![Op::Create(name, Unlogged)],
            _ => vec![Op::Create(name, Permanent)],
        };
    }
    match choice.below(12) {
        0 if is_own => vec![Op::Drop(name)],
        1 | 2 if is_own => vec![Op::Truncate(name)],
        3 if in_block => vec![Op::FailingLoad(name, rows), Op::Rollback],
        3 => vec![Op::FailingLoad(name, rows)],
        4..7 if !in_block => vec![Op::LoadAsync(name, rows)],
        _ => vec![Op::Load(name, rows)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_workloads_do_all_there_is() {
        let mut done = std::collections::BTreeSet::new();
        for seed in 0..50 {
            for (_, op) in random(seed, &State::new(), RANDOM_LENGTH) {
                let text = format!("{op:?}");
                done.insert(text.split('(').next().unwrap().to_owned());
            }
        }
        assert_eq!(done.len(), 14, "{done:?}");
    }

    #[test]
    fn names_are_taken_back() {
        for workload in Workload::ALL {
            assert_eq!(workload.name().parse::<Workload>(), Ok(workload));
        }
        assert!("nothing".parse::<Workload>().is_err());
    }
}
