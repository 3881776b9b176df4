//! Pages that have room, in memory: what PostgreSQL's free space map and a relation's target block
//! (`RelationGetTargetBlock`) are for.
//!
//! A page has one user at a time. A transaction that loads into a table takes all of the table's
//! spare pages; another one beside it gets none and adds pages of its own. So inserters never wait
//! for each other's pages, and what a load added to the end of a table holds nobody else's rows until
//! it has committed: if it fails, its pages can be truncated away.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use trunkline_pgformat::{BlockNumber, RelFileLocator};

/// Spare pages of one table that are kept in mind; the room of more is not used.
const SPARE_PAGES_MAX: usize = 4096;

/// Pages of one table with room.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SparePages {
    /// Pages that hold tuples.
    partial: Vec<BlockNumber>,
    /// Pages that hold nothing, or only tuples that nobody will ever see. Nothing else may lead to
    /// these: there are no indexes.
    empty: Vec<BlockNumber>,
}

impl SparePages {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.partial.is_empty() && self.empty.is_empty()
    }

    /// Adds those of `other`.
    pub fn append(&mut self, other: SparePages) {
        for block in other.partial {
            self.push_partial(block);
        }
        for block in other.empty {
            self.push_empty(block);
        }
    }

    /// Adds a page with tuples and some room.
    pub fn push_partial(&mut self, block: BlockNumber) {
        if self.partial.len() < SPARE_PAGES_MAX {
            self.partial.push(block);
        }
    }

    /// Adds a page that holds nothing that anybody will ever see.
    pub fn push_empty(&mut self, block: BlockNumber) {
        if self.empty.len() < SPARE_PAGES_MAX {
            self.empty.push(block);
        }
    }

    pub(crate) fn pop_partial(&mut self) -> Option<BlockNumber> {
        self.partial.pop()
    }

    pub(crate) fn pop_empty(&mut self) -> Option<BlockNumber> {
        self.empty.pop()
    }

    /// Forgets the pages from `first` on: they are truncated away.
    pub(crate) fn forget_from(&mut self, first: BlockNumber) {
        self.partial.retain(|block| *block < first);
        self.empty.retain(|block| *block < first);
    }
}

/// The spare pages of all tables that were loaded into since the start.
#[derive(Debug, Default)]
pub struct InsertTargets {
    /// A table without an entry was not loaded into yet. A leaf lock.
    tables: Mutex<HashMap<RelFileLocator, SparePages>>,
}

impl InsertTargets {
    /// Of no table anything is known.
    pub fn new() -> InsertTargets {
        InsertTargets::default()
    }

    fn tables(&self) -> MutexGuard<'_, HashMap<RelFileLocator, SparePages>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes all spare pages of a table that has `blocks` blocks by now. Of a table that was not loaded
    /// into before that is its last block. Every load takes before it adds pages.
    pub fn take(&self, locator: RelFileLocator, blocks: BlockNumber) -> SparePages {
        let mut tables = self.tables();
        match tables.get_mut(&locator) {
            Some(spare) => std::mem::take(spare),
            None => {
                tables.insert(locator, SparePages::default());
                let mut spare = SparePages::default();
                if let Some(last) = blocks.checked_sub(1) {
                    spare.push_partial(last);
                }
                spare
            }
        }
    }

    /// Gives back what was taken and is left, or pages that were added and are left.
    pub fn give_back(&self, locator: RelFileLocator, spare: SparePages) {
        if !spare.is_empty() {
            self.tables().entry(locator).or_default().append(spare);
        }
    }

    /// The table's files are gone.
    pub fn forget(&self, locator: RelFileLocator) {
        self.tables().remove(&locator);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trunkline_pgformat::{DEFAULTTABLESPACE_OID, Oid};

    #[test]
    fn a_page_has_one_user_at_a_time() {
        let table = RelFileLocator {
            spc_oid: DEFAULTTABLESPACE_OID,
            db_oid: Oid(5),
            rel_number: 16384,
        };
        let targets = InsertTargets::new();
        let first = targets.take(table, 3);
        assert_eq!(
            (first.partial.as_slice(), first.empty.as_slice()),
            (&[2][..], &[][..])
        );
        // The first user has added pages meanwhile: its last one is not the second one's to use.
        assert!(targets.take(table, 10).is_empty());
        targets.give_back(table, first.clone());
        assert_eq!(targets.take(table, 10), first);
        targets.forget(table);
        assert!(targets.take(table, 0).is_empty());
    }

    #[test]
    fn they_are_bounded() {
        let mut spare = SparePages::default();
        for block in 0..2 * SPARE_PAGES_MAX as u32 {
            spare.push_empty(block);
        }
        assert_eq!(spare.empty.len(), SPARE_PAGES_MAX);
        spare.forget_from(10);
        assert_eq!(spare.empty.len(), 10);
    }
}
