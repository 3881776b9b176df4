//! Relation files that a transaction's end deletes.

use trunkline_pgformat::RelFileLocator;

/// The relation files to delete when a transaction ends (`catalog/storage.c`): those it created,
/// if it aborts; those it dropped or replaced, if it commits. Only values: whoever ends the
/// transaction deletes the files, after its end is visible to all.
#[derive(Debug, Default)]
pub struct PendingFiles {
    at_commit: Vec<RelFileLocator>,
    at_abort: Vec<RelFileLocator>,
}

impl PendingFiles {
    /// The transaction created `locator`'s files. Record it before creating them, so that no
    /// failure in between leaves them behind.
    pub fn created(&mut self, locator: RelFileLocator) {
        push_new(&mut self.at_abort, locator);
    }

    /// The transaction dropped `locator`'s relation, or gave it new files.
    pub fn dropped(&mut self, locator: RelFileLocator) {
        push_new(&mut self.at_commit, locator);
    }

    /// Whether `locator`'s files came into being in this transaction.
    pub fn is_created_here(&self, locator: RelFileLocator) -> bool {
        self.at_abort.contains(&locator)
    }

    /// The files to delete after a commit.
    pub fn at_commit(&self) -> &[RelFileLocator] {
        &self.at_commit
    }

    /// The files to delete after an abort.
    pub fn at_abort(&self) -> &[RelFileLocator] {
        &self.at_abort
    }

    /// The files to delete after a commit.
    pub fn into_commit(self) -> Vec<RelFileLocator> {
        self.at_commit
    }

    /// The files to delete after an abort.
    pub fn into_abort(self) -> Vec<RelFileLocator> {
        self.at_abort
    }
}

fn push_new(list: &mut Vec<RelFileLocator>, locator: RelFileLocator) {
    if !list.contains(&locator) {
        list.push(locator);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trunkline_pgformat::{DEFAULTTABLESPACE_OID, Oid};

    fn file(rel_number: u32) -> RelFileLocator {
        RelFileLocator {
            spc_oid: DEFAULTTABLESPACE_OID,
            db_oid: Oid(5),
            rel_number,
        }
    }

    /// CREATE a; TRUNCATE a (new file b); DROP an old c.
    #[test]
    fn each_end_deletes_its_own() {
        let mut pending = PendingFiles::default();
        pending.created(file(1));
        pending.created(file(2));
        pending.dropped(file(1));
        pending.dropped(file(3));
        pending.dropped(file(3));
        assert!(pending.is_created_here(file(2)) && !pending.is_created_here(file(3)));
        assert_eq!(pending.at_abort, [file(1), file(2)]);
        assert_eq!(pending.into_commit(), [file(1), file(3)]);
    }
}
