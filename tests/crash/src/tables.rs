//! What is in the tables.

use std::collections::BTreeMap;

use trunkline_catalog::RelationPersistence;

/// Rows of a table: how many, and the sum of their numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rows {
    /// How many.
    pub count: u64,
    /// Of the numbers in them.
    pub sum: u64,
}

impl Rows {
    /// Those of a load of `count` rows, numbered from 0.
    pub fn numbered(count: u32) -> Rows {
        Rows {
            count: count.into(),
            sum: (0..u64::from(count)).sum(),
        }
    }

    /// These and others.
    pub fn and(self, other: Rows) -> Rows {
        Rows {
            count: self.count + other.count,
            sum: self.sum + other.sum,
        }
    }
}

/// A table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Table {
    /// Whether it is logged.
    pub persistence: RelationPersistence,
    /// What is in it.
    pub rows: Rows,
}

/// All tables by name.
pub type State = BTreeMap<&'static str, Table>;

/// All names that a workload has for tables: those of everybody first, then two of each session.
pub const NAMES: [&str; 9] = ["t", "u", "x", "d0", "d1", "d2", "f0", "f1", "f2"];

/// `state` after a crash, where unlogged tables are empty.
pub fn after_crash(state: &State) -> State {
    let mut state = state.clone();
    for table in state.values_mut() {
        if table.persistence == RelationPersistence::Unlogged {
            table.rows = Rows::default();
        }
    }
    state
}
