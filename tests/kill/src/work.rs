//! What a client does next, as its seed chooses.

use fastrand::Rng;

use crate::table::{OWN_TABLES, Rows, SHARED, Statement, Tables, own_table};

/// Rows of a client in one table, about.
const MOST_ROWS: usize = 4000;

/// Ids that a transaction has for new rows.
const IDS: i64 = 100_000;

/// What the server can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// `UPDATE`.
    pub update: bool,
    /// `DELETE`.
    pub delete: bool,
}

/// How statements are put into a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One statement by itself.
    Alone,
    /// One `INSERT` of a row by itself, prepared.
    Prepared,
    /// Several in one message: a transaction of their own.
    OneMessage,
    /// `BEGIN`, one after the other, `COMMIT` or `ROLLBACK`.
    Block {
        /// `COMMIT`; that of a block that has failed is a rollback.
        commit: bool,
        /// The time between statements.
        pause_ms: u64,
    },
}

/// What a client does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// A transaction that writes.
    Write {
        /// Its statements.
        statements: Vec<Statement>,
        /// How.
        form: Form,
        /// With `synchronous_commit` on.
        waits: bool,
    },
    /// Compares one of its tables with what it should be.
    Look(String),
    /// `CHECKPOINT`.
    Checkpoint,
    /// `SELECT pg_switch_wal()`.
    SwitchSegment,
}

/// The choices of one client.
#[derive(Debug)]
pub struct Chooser {
    rng: Rng,
    client: usize,
    abilities: Abilities,
}

impl Chooser {
    /// By `seed`.
    pub fn new(seed: u64, client: usize, abilities: Abilities) -> Chooser {
        Chooser {
            rng: Rng::with_seed(seed),
            client,
            abilities,
        }
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.rng.usize(..times) == 0
    }

    /// What it does as its `stamp`th, having `tables`.
    pub fn next(&mut self, tables: &Tables, stamp: i32) -> Work {
        let mut ids = Ids {
            next: i64::from(stamp) * IDS,
        };
        let waits = !self.one_in(6);
        let (statements, form) = match self.rng.u8(..100) {
            0 if self.one_in(3) => return Work::SwitchSegment,
            0 => return Work::Checkpoint,
            1..=3 => {
                let names: Vec<&String> = tables.keys().collect();
                let name = names[self.rng.usize(..names.len())];
                return Work::Look(name.clone());
            }
            4..=39 => {
                let insert = Statement::Insert(self.table_for_rows(tables), vec![ids.take(1)]);
                let form = match self.rng.bool() {
                    true => Form::Prepared,
                    false => Form::Alone,
                };
                (vec![insert], form)
            }
            40..=59 => (vec![self.statement(tables, &mut ids)], Form::Alone),
            60..=64 => {
                let failing = match self.rng.bool() {
                    true => self.copy(tables, &mut ids, true),
                    false => Statement::Fail,
                };
                (vec![failing], Form::Alone)
            }
            65..=74 => {
                let mut statements = self.several(tables, &mut ids, false);
                if self.one_in(5) {
                    statements.push(Statement::Fail);
                }
                (statements, Form::OneMessage)
            }
            _ => {
                let mut statements = match self.one_in(6) {
                    true => self.frozen_load(tables, &mut ids),
                    false => self.several(tables, &mut ids, true),
                };
                match self.rng.u8(..10) {
                    0 => statements.push(Statement::Fail),
                    1 => {
                        let state = after(&statements, tables);
                        statements.push(self.copy(&state, &mut ids, true));
                    }
                    _ => {}
                }
                let form = Form::Block {
                    commit: !self.one_in(5),
                    pause_ms: if self.one_in(8) {
                        self.rng.u64(..150)
                    } else {
                        0
                    },
                };
                (statements, form)
            }
        };
        Work::Write {
            statements,
            form,
            waits,
        }
    }

    /// One of the tables, with room.
    fn table_for_rows(&mut self, tables: &Tables) -> String {
        let with_room = |name: &&String| name.as_str() != SHARED && tables[*name].len() < MOST_ROWS;
        let own: Vec<&String> = tables.keys().filter(with_room).collect();
        match own.is_empty() || self.rng.u8(..5) < 2 {
            true => SHARED.to_owned(),
            false => own[self.rng.usize(..own.len())].clone(),
        }
    }

    fn copy(&mut self, tables: &Tables, ids: &mut Ids, damaged: bool) -> Statement {
        let rows = match self.rng.u8(..10) {
            0..6 => self.rng.i64(0..40),
            6..9 => self.rng.i64(0..400),
            _ => self.rng.i64(0..2500),
        };
        Statement::Copy {
            table: self.table_for_rows(tables),
            ids: (ids.take(rows), rows),
            freeze: false,
            damaged,
        }
    }

    /// Something that makes sense with `tables`.
    fn statement(&mut self, tables: &Tables, ids: &mut Ids) -> Statement {
        let own = own_table(self.client, self.rng.usize(..OWN_TABLES));
        match (self.rng.u8(..20), tables.get(&own)) {
            (0..=1, None) | (2..=19, None) if tables.len() == 1 => Statement::Create(own),
            (0..=4, None) => Statement::Create(own),
            (0, Some(_)) => Statement::Drop(own),
            (1, Some(_)) => Statement::Truncate(own),
            (2, Some(rows)) if rows.len() >= MOST_ROWS => Statement::Truncate(own),
            (2..=9, _) => self.change(tables, ids),
            (10..=13, _) => self.copy(tables, ids, false),
            _ => {
                let table = self.table_for_rows(tables);
                let count = self.rng.i64(1..12);
                let first = ids.take(count);
                Statement::Insert(table, (first..first + count).collect())
            }
        }
    }

    /// An update or a delete, if the server has them and there are rows.
    fn change(&mut self, tables: &Tables, ids: &mut Ids) -> Statement {
        let names: Vec<&String> = tables
            .keys()
            .filter(|name| !tables[*name].is_empty())
            .collect();
        let is_update = self.rng.u8(..3) < 2;
        let able = match is_update {
            true => self.abilities.update,
            false => self.abilities.delete,
        };
        if names.is_empty() || !able {
            return self.copy(tables, ids, false);
        }
        let table = names[self.rng.usize(..names.len())];
        let rows: &Rows = &tables[table];
        let at = self.rng.usize(..rows.len());
        let count = 1 + if self.one_in(3) {
            self.rng.usize(..8)
        } else {
            0
        };
        let chosen: Vec<i64> = rows.keys().skip(at).take(count).copied().collect();
        match is_update {
            true => Statement::Update(table.clone(), chosen),
            false => Statement::Delete(table.clone(), chosen[0], chosen[chosen.len() - 1]),
        }
    }

    /// Statements, each of which makes sense behind those before.
    fn several(&mut self, tables: &Tables, ids: &mut Ids, with_copy: bool) -> Vec<Statement> {
        let mut state = tables.clone();
        let mut statements = Vec::new();
        for _ in 0..self.rng.usize(1..7) {
            let statement = self.statement(&state, ids);
            if with_copy || !matches!(statement, Statement::Copy { .. }) {
                statement.apply(&mut state, 0);
                statements.push(statement);
            }
        }
        statements
    }

    /// A table made or emptied, and loaded frozen.
    fn frozen_load(&mut self, tables: &Tables, ids: &mut Ids) -> Vec<Statement> {
        let table = own_table(self.client, self.rng.usize(..OWN_TABLES));
        let first = match tables.contains_key(&table) {
            true => Statement::Truncate(table.clone()),
            false => Statement::Create(table.clone()),
        };
        let rows = self.rng.i64(1..1500);
        let copy = Statement::Copy {
            table,
            ids: (ids.take(rows), rows),
            freeze: true,
            damaged: false,
        };
        vec![first, copy]
    }
}

/// Tables behind some statements.
fn after(statements: &[Statement], tables: &Tables) -> Tables {
    let mut tables = tables.clone();
    for statement in statements {
        statement.apply(&mut tables, 0);
    }
    tables
}

/// New ids, of one transaction.
struct Ids {
    next: i64,
}

impl Ids {
    fn take(&mut self, count: i64) -> i64 {
        self.next += count;
        self.next - count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_chosen_sometime_and_ids_are_new() {
        let abilities = Abilities {
            update: true,
            delete: true,
        };
        let mut chooser = Chooser::new(1, 0, abilities);
        let mut tables = Tables::from([(SHARED.to_owned(), Rows::new())]);
        let mut done = std::collections::BTreeSet::new();
        for stamp in 0..400 {
            let Work::Write {
                statements, form, ..
            } = chooser.next(&tables, stamp)
            else {
                continue;
            };
            done.insert(format!("{form:?}").split(' ').next().unwrap().to_owned());
            for statement in statements {
                done.insert(
                    format!("{statement:?}")
                        .split([' ', '('])
                        .next()
                        .unwrap()
                        .to_owned(),
                );
                let before = tables.clone();
                statement.apply(&mut tables, stamp);
                match &statement {
                    Statement::Create(table) => assert!(!before.contains_key(table)),
                    Statement::Drop(table) | Statement::Truncate(table) => {
                        assert!(before.contains_key(table) && table != SHARED);
                    }
                    Statement::Insert(table, ids) => {
                        assert!(ids.iter().all(|id| !before[table].contains_key(id)));
                    }
                    _ => {}
                }
            }
        }
        assert_eq!(done.len(), 12, "{done:?}");
    }
}
