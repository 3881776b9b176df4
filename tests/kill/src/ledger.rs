//! What was acknowledged to a client, and so what may be found of it.

use std::collections::VecDeque;
use std::fmt::Write as _;

use crate::table::{Statement, Tables};

/// Transactions that are remembered.
const RECENT: usize = 60;

/// What a client committed, or tried to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Counts the client's; it is in the rows.
    pub stamp: i32,
    /// What was done.
    pub statements: Vec<Statement>,
    /// `synchronous_commit` was not off.
    pub waits: bool,
}

impl Transaction {
    fn apply(&self, tables: &mut Tables) {
        for statement in &self.statements {
            statement.apply(tables, self.stamp);
        }
    }

    /// One that has written nothing waits for nothing.
    fn makes_durable(&self) -> bool {
        self.waits && !self.statements.is_empty()
    }
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Killed.
    Crash,
    /// Cleanly, or not at all.
    Clean,
}

/// What of a ledger was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Acknowledged transactions that were lost, and may be.
    pub lost: usize,
    /// Whether there was one in doubt, and whether it is there.
    pub doubtful: Option<bool>,
}

/// The ledger of one client, whose transactions come one after the other.
///
/// States follow each other as its transactions do: `durable`, then with one more of `later` each, then
/// with `doubtful`. What is found must be one of these, as a whole.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// What must be there, at least.
    durable: Tables,
    /// Acknowledged after that, and durable sometime.
    later: Vec<Transaction>,
    /// The last one, if nobody said what became of it.
    doubtful: Option<Transaction>,
    /// With all that was acknowledged.
    now: Tables,
    /// The last transactions and what was known of them, for whoever looks into a failure.
    recent: VecDeque<String>,
}

impl Ledger {
    /// Of a client that has `tables`, durably.
    pub fn new(tables: Tables) -> Ledger {
        Ledger {
            durable: tables.clone(),
            now: tables,
            ..Ledger::default()
        }
    }

    /// What the client sees.
    pub fn now(&self) -> &Tables {
        &self.now
    }

    /// Remembers what became of a transaction.
    pub fn note(&mut self, transaction: &Transaction, what: &str) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent
            .push_back(format!("{what}: {}", brief(transaction)));
    }

    /// The last transactions, each in a line.
    pub fn recent(&self) -> impl Iterator<Item = &String> {
        self.recent.iter()
    }

    /// It was told that this has been committed.
    pub fn acknowledge(&mut self, transaction: Transaction) {
        transaction.apply(&mut self.now);
        let makes_durable = transaction.makes_durable();
        self.later.push(transaction);
        if makes_durable {
            for transaction in self.later.drain(..) {
                transaction.apply(&mut self.durable);
            }
        }
    }

    /// The connection broke, and this may have been committed.
    pub fn doubt(&mut self, transaction: Transaction) {
        self.doubtful = Some(transaction);
    }

    /// Takes over what is found, which stays from now on; or says how it is none of what there may be.
    pub fn adopt(&mut self, found: Tables, end: End) -> Result<Kept, String> {
        let mut state = self.durable.clone();
        let mut matched = None;
        let steps = self.later.iter().chain(&self.doubtful);
        for (number, step) in std::iter::once(None).chain(steps.map(Some)).enumerate() {
            if let Some(transaction) = step {
                transaction.apply(&mut state);
            }
            if (end == End::Crash || number >= self.later.len()) && state == found {
                matched = Some(number);
            }
        }
        let Some(number) = matched else {
            return Err(self.difference(&found, end));
        };
        let kept = Kept {
            lost: self.later.len().saturating_sub(number),
            doubtful: self.doubtful.as_ref().map(|_| number > self.later.len()),
        };
        *self = Ledger {
            recent: std::mem::take(&mut self.recent),
            ..Ledger::new(found)
        };
        Ok(kept)
    }

    /// Between what was found and all that was acknowledged.
    fn difference(&self, found: &Tables, end: End) -> String {
        let mut text = format!(
            "what is there is nothing that may be there after {end:?}; beside all that was \
             acknowledged, the last {} of it not waited for:\n",
            self.later.len()
        );
        for (table, rows) in &self.now {
            let Some(there) = found.get(table) else {
                // Writing to a string does not fail.
                let _ = writeln!(text, "table {table} with {} rows is not there", rows.len());
                continue;
            };
            let missing = rows.iter().filter(|(id, _)| !there.contains_key(id));
            let foreign = there.iter().filter(|(id, _)| !rows.contains_key(id));
            let changed = rows
                .iter()
                .filter(|(id, stamp)| there.get(id).is_some_and(|found| found != *stamp));
            describe(&mut text, table, "not there", missing);
            describe(&mut text, table, "there in vain", foreign);
            describe(&mut text, table, "there as another one wrote them", changed);
        }
        for table in found.keys().filter(|table| !self.now.contains_key(*table)) {
            let _ = writeln!(text, "table {table} is there in vain");
        }
        match &self.doubtful {
            Some(transaction) => {
                let _ = writeln!(text, "in doubt was {}", brief(transaction));
            }
            None => text.push_str("nothing was in doubt\n"),
        }
        for transaction in &self.later {
            let _ = writeln!(text, "not waited for was {}", brief(transaction));
        }
        text
    }
}

fn describe<'r>(
    text: &mut String,
    table: &str,
    what: &str,
    rows: impl Iterator<Item = (&'r i64, &'r i32)>,
) {
    let rows: Vec<_> = rows.collect();
    if !rows.is_empty() {
        let stamps: std::collections::BTreeSet<_> = rows.iter().map(|(_, stamp)| **stamp).collect();
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{table}: {} rows {what}, of transactions {:?}; ids {:?}",
            rows.len(),
            stamps.iter().take(20).collect::<Vec<_>>(),
            rows.iter().map(|(id, _)| **id).take(20).collect::<Vec<_>>()
        );
    }
}

fn brief(transaction: &Transaction) -> String {
    let mut text = format!("{transaction:?}");
    if text.len() > 500 {
        let end = (0..=500).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Rows;

    fn insert(stamp: i32, waits: bool) -> Transaction {
        Transaction {
            stamp,
            statements: vec![Statement::Insert(
                "t".to_owned(),
                vec![i64::from(stamp) * 10, i64::from(stamp) * 10 + 1],
            )],
            waits,
        }
    }

    fn with(stamps: &[i32]) -> Tables {
        let mut tables = Tables::from([("t".to_owned(), Rows::new())]);
        for stamp in stamps {
            insert(*stamp, true).apply(&mut tables);
        }
        tables
    }

    fn allows(ledger: &Ledger, found: Tables, end: End) -> Option<Kept> {
        ledger.clone().adopt(found, end).ok()
    }

    #[test]
    fn what_was_waited_for_is_there_and_what_was_not_in_order() {
        let mut ledger = Ledger::new(with(&[]));
        ledger.acknowledge(insert(1, false));
        ledger.acknowledge(insert(2, true));
        ledger.acknowledge(insert(3, false));
        ledger.acknowledge(insert(4, false));
        assert_eq!(ledger.now(), &with(&[1, 2, 3, 4]));
        for lost in 0..3 {
            let kept = Kept {
                lost,
                doubtful: None,
            };
            let found = with(&[1, 2, 3, 4][..4 - lost]);
            assert_eq!(allows(&ledger, found, End::Crash), Some(kept));
        }
        assert_eq!(allows(&ledger, with(&[1]), End::Crash), None);
        assert_eq!(allows(&ledger, with(&[1, 2, 4]), End::Crash), None);
        assert_eq!(allows(&ledger, with(&[1, 2, 3]), End::Clean), None);
        let mut half = with(&[1, 2, 3]);
        half.get_mut("t").unwrap().insert(40, 4);
        assert_eq!(allows(&ledger, half, End::Crash), None);
        assert_eq!(allows(&ledger, Tables::new(), End::Crash), None);
    }

    #[test]
    fn what_is_in_doubt_is_there_or_not_and_then_for_good() {
        let mut ledger = Ledger::new(with(&[]));
        ledger.acknowledge(insert(1, true));
        ledger.doubt(insert(2, true));
        for (found, is_there) in [(with(&[1]), false), (with(&[1, 2]), true)] {
            for end in [End::Crash, End::Clean] {
                let mut ledger = ledger.clone();
                let kept = ledger.adopt(found.clone(), end).unwrap();
                assert_eq!(kept.doubtful, Some(is_there));
                let other = if is_there { with(&[1]) } else { with(&[1, 2]) };
                assert!(ledger.adopt(other, End::Crash).is_err());
            }
        }
        assert_eq!(allows(&ledger, with(&[]), End::Crash), None);
        assert_eq!(allows(&ledger, with(&[2]), End::Crash), None);
    }

    #[test]
    fn a_difference_names_rows_and_transactions() {
        let mut ledger = Ledger::new(with(&[1]));
        ledger.acknowledge(insert(2, true));
        let said = ledger.adopt(with(&[1]), End::Crash).unwrap_err();
        assert!(
            said.contains("t: 2 rows not there, of transactions [2]; ids [20, 21]"),
            "{said}"
        );
    }
}
