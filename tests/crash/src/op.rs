//! Something to do, and what it makes of the tables.

use trunkline_catalog::RelationPersistence;

use crate::tables::{Rows, State, Table};

/// Something to do. Statements outside of a block are a transaction each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// BEGIN.
    Begin,
    /// COMMIT.
    Commit,
    /// ROLLBACK.
    Rollback,
    /// CREATE TABLE.
    Create(&'static str, RelationPersistence),
    /// COPY of so many rows; of few, an INSERT of each.
    Load(&'static str, u32),
    /// The same without waiting for the log, outside of a block.
    LoadAsync(&'static str, u32),
    /// COPY that adds blocks and then meets bad data. In a block, ROLLBACK has to follow.
    FailingLoad(&'static str, u32),
    /// CREATE TABLE and COPY FREEZE, in one transaction.
    CreateFrozen(&'static str, u32),
    /// TRUNCATE.
    Truncate(&'static str),
    /// DROP TABLE.
    Drop(&'static str),
    /// CHECKPOINT.
    Checkpoint,
    /// pg_switch_wal.
    SwitchSegment,
    /// So many write units of the log are filled up, as the log itself does beside other flushes, and
    /// each is sent to the disk while those before are in flight.
    Units(usize),
    /// So many steps of the WAL writer, the background writer and the checkpointer.
    Background(usize),
}

impl Op {
    /// What it makes of `state`, if it can be done there.
    pub fn apply(self, state: &mut State) {
        let empty = |persistence| Table {
            persistence,
            rows: Rows::default(),
        };
        match self {
            Op::Load(name, rows) | Op::LoadAsync(name, rows) => {
                if let Some(table) = state.get_mut(name) {
                    table.rows = table.rows.and(Rows::numbered(rows));
                }
            }
            Op::Create(name, persistence) => {
                state.insert(name, empty(persistence));
            }
            Op::CreateFrozen(name, rows) => {
                let mut table = empty(RelationPersistence::Permanent);
                table.rows = Rows::numbered(rows);
                state.insert(name, table);
            }
            Op::Truncate(name) => {
                if let Some(table) = state.get_mut(name) {
                    table.rows = Rows::default();
                }
            }
            Op::Drop(name) => {
                state.remove(name);
            }
            Op::Begin
            | Op::Commit
            | Op::Rollback
            | Op::FailingLoad(..)
            | Op::Checkpoint
            | Op::SwitchSegment
            | Op::Units(_)
            | Op::Background(_) => {}
        }
    }

    /// Whether its acknowledgement says that everything before it is durable.
    pub fn makes_durable(self) -> bool {
        matches!(
            self,
            Op::Create(..)
                | Op::Load(..)
                | Op::CreateFrozen(..)
                | Op::Truncate(_)
                | Op::Drop(_)
                | Op::Commit
                | Op::Checkpoint
                | Op::SwitchSegment
        )
    }
}
