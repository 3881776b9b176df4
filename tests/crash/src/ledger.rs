//! What was acknowledged, and so what may be found after a crash.

use trunkline_pgformat::Lsn;

use crate::op::Op;
use crate::tables::{State, after_crash};
use crate::workload::SESSIONS;

/// A session's transaction block.
#[derive(Clone, Debug, Default)]
enum Block {
    #[default]
    None,
    /// What was done in it.
    Open(Vec<Op>),
    /// A statement in it has failed: nothing of it will be.
    Failed,
}

/// The ledger of one database's life.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// The states that there were since something was last known to be durable: the first of them or any
    /// later one may be found.
    states: Vec<State>,
    /// What there is if what went on at the end has happened after all.
    in_flight: Option<State>,
    blocks: [Block; SESSIONS],
    /// The log is durable up to here, where a record ended.
    pub durable_log: Lsn,
    /// Statements that failed, the engine going on, and why.
    pub refused: Vec<String>,
}

impl Ledger {
    /// What a database has that is there, all of it durable.
    pub fn new(state: State) -> Ledger {
        Ledger {
            states: vec![state],
            in_flight: None,
            blocks: Default::default(),
            durable_log: Lsn::INVALID,
            refused: Vec::new(),
        }
    }

    /// What there is while nothing crashes.
    pub fn last(&self) -> &State {
        self.states.last().unwrap()
    }

    /// What `session` sees.
    pub fn seen_by(&self, session: usize) -> State {
        let mut state = self.last().clone();
        if let Block::Open(ops) = &self.blocks[session] {
            ops.iter().for_each(|op| op.apply(&mut state));
        }
        state
    }

    /// Whether `session` has an open block.
    pub fn is_in_block(&self, session: usize) -> bool {
        !matches!(self.blocks[session], Block::None)
    }

    /// Whether `op` makes sense in `session`: not in a block that has failed.
    pub fn takes(&self, session: usize, op: Op) -> bool {
        match self.blocks[session] {
            Block::Failed => matches!(op, Op::Commit | Op::Rollback),
            Block::None => !matches!(op, Op::Commit | Op::Rollback),
            Block::Open(_) => true,
        }
    }

    /// The state behind `op`, if it commits anything.
    fn behind(&self, session: usize, op: Op) -> Option<State> {
        let mut state = self.last().clone();
        match (&self.blocks[session], op) {
            (Block::None, _) => op.apply(&mut state),
            (Block::Open(ops), Op::Commit) => ops.iter().for_each(|op| op.apply(&mut state)),
            _ => return None,
        }
        Some(state)
    }

    /// `op` was acknowledged.
    pub fn acknowledge(&mut self, session: usize, op: Op) {
        match op {
            Op::Checkpoint | Op::SwitchSegment => {
                self.states.drain(..self.states.len() - 1);
                return;
            }
            Op::Units(_) | Op::Background(_) => return,
            _ => {}
        }
        if let Some(state) = self.behind(session, op) {
            // A transaction that has written nothing waits for nothing.
            let is_empty = matches!(&self.blocks[session], Block::Open(ops) if ops.is_empty());
            if op.makes_durable() && !is_empty {
                self.states.clear();
            }
            self.states.push(state);
        }
        let block = &mut self.blocks[session];
        match (op, block) {
            (Op::Begin, block) => *block = Block::Open(Vec::new()),
            (Op::Commit | Op::Rollback, block) => *block = Block::None,
            (Op::FailingLoad(..), block @ Block::Open(_)) => *block = Block::Failed,
            (_, Block::Open(ops)) => ops.push(op),
            _ => {}
        }
    }

    /// `op` failed, and the engine goes on: it has not happened.
    pub fn refuse(&mut self, session: usize, op: Op, why: &str) {
        self.refused.push(format!("{op:?}: {why}"));
        let block = &mut self.blocks[session];
        match (op, &block) {
            (Op::Commit | Op::Rollback, _) => *block = Block::None,
            (_, Block::Open(_)) => *block = Block::Failed,
            _ => {}
        }
    }

    /// The end came during `op`: it may have happened, since nobody was told that it has not.
    pub fn cut_off(&mut self, session: usize, op: Op) {
        self.in_flight = self.behind(session, op);
    }

    /// Whether `found` may be what there is, after a crash or a clean stop.
    pub fn allows(&self, found: &State, crashed: bool) -> bool {
        let mut states = self.states.iter().chain(&self.in_flight);
        states.any(|state| match crashed {
            true => after_crash(state) == *found,
            false => state == found,
        })
    }
}

#[cfg(test)]
mod tests {
    use trunkline_catalog::RelationPersistence::{Permanent, Unlogged};

    use super::*;

    fn state_of(ops: &[Op]) -> State {
        let mut state = State::new();
        ops.iter().for_each(|op| op.apply(&mut state));
        state
    }

    #[test]
    fn what_was_acknowledged_must_be_found_as_a_whole() {
        let create = Op::Create("t", Permanent);
        let mut ledger = Ledger::new(State::new());
        ledger.acknowledge(0, create);
        assert!(!ledger.allows(&State::new(), true));
        ledger.acknowledge(0, Op::LoadAsync("t", 3));
        ledger.acknowledge(0, Op::LoadAsync("t", 4));
        ledger.cut_off(0, Op::Load("t", 5));
        let loads = [3, 4, 5].map(|rows| Op::Load("t", rows));
        for lost in 0..3 {
            let found = [&[create], &loads[..lost]].concat();
            assert!(ledger.allows(&state_of(&found), true), "{found:?}");
        }
        assert!(ledger.allows(&state_of(&[create, loads[0], loads[1], loads[2]]), true));
        // Not the second without the first, nor less than a whole one.
        assert!(!ledger.allows(&state_of(&[create, loads[1]]), true));
        assert!(!ledger.allows(&state_of(&[create, Op::Load("t", 2)]), true));
        // A later one that waits makes them all durable.
        ledger.acknowledge(0, Op::Load("t", 1));
        assert!(!ledger.allows(&state_of(&[create, loads[0]]), true));
    }

    #[test]
    fn a_block_is_there_from_its_commit_on() {
        let create = Op::Create("t", Permanent);
        let mut ledger = Ledger::new(State::new());
        ledger.acknowledge(1, Op::Begin);
        ledger.acknowledge(1, create);
        assert!(ledger.allows(&State::new(), true));
        assert!(!ledger.allows(&state_of(&[create]), true));
        let mut committing = ledger.clone();
        committing.cut_off(1, Op::Commit);
        assert!(committing.allows(&State::new(), true));
        assert!(committing.allows(&state_of(&[create]), true));
        ledger.acknowledge(1, Op::Commit);
        assert!(!ledger.allows(&State::new(), true));
        ledger.acknowledge(1, Op::Begin);
        ledger.acknowledge(1, Op::Drop("t"));
        ledger.refuse(1, Op::Load("t", 1), "");
        assert!(!ledger.takes(1, Op::Load("t", 1)));
        ledger.acknowledge(1, Op::Rollback);
        assert!(ledger.allows(&state_of(&[create]), true));
    }

    #[test]
    fn an_unlogged_table_is_empty_after_a_crash_and_not_after_a_stop() {
        let ops = [Op::Create("u", Unlogged), Op::Load("u", 3)];
        let mut ledger = Ledger::new(State::new());
        ops.iter().for_each(|op| ledger.acknowledge(0, *op));
        assert!(ledger.allows(&state_of(&ops[..1]), true));
        assert!(!ledger.allows(&state_of(&ops), true));
        assert!(ledger.allows(&state_of(&ops), false));
        assert!(!ledger.allows(&state_of(&ops[..1]), false));
    }
}
