//! Pages that the log changes and that are not there (`log_invalid_page` in PostgreSQL's
//! `transam/xlogutils.c`).
//!
//! When the log is replayed once more over files that are newer than it, some of its pages are gone:
//! their relation was dropped or truncated, as a later record will tell. So a page that is missing is
//! only remembered, and forgotten when such a record comes. One that is still missing at the end means
//! that the files and the log do not belong together.

use crate::tag::{BufferTag, RelFork};
use std::collections::BTreeMap;
use trunkline_pgformat::{BlockNumber, Oid, RelFileLocator};

/// How a page is missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Absence {
    /// The fork ends before it.
    NoBlock,
    /// It holds zeros.
    Uninitialized,
}

/// Missing pages, at most one entry for each block that the replayed log names.
#[derive(Debug, Default)]
pub(crate) struct InvalidPages(BTreeMap<BufferTag, Absence>);

impl InvalidPages {
    pub(crate) fn note(&mut self, tag: BufferTag, absence: Absence) {
        tracing::debug!("{}", describe(&tag, absence));
        self.0.entry(tag).or_insert(absence);
    }

    pub(crate) fn forget_blocks_from(&mut self, rel_fork: RelFork, first: BlockNumber) {
        self.0
            .retain(|tag, _| tag.rel_fork != rel_fork || tag.block < first);
    }

    pub(crate) fn forget_relation(&mut self, rel: RelFileLocator) {
        self.0.retain(|tag, _| tag.rel_fork.rel != rel);
    }

    pub(crate) fn forget_database(&mut self, database: Oid) {
        self.0.retain(|tag, _| tag.rel_fork.rel.db_oid != database);
    }

    pub(crate) fn descriptions(&self) -> Vec<String> {
        let described = self.0.iter().map(|(tag, absence)| describe(tag, *absence));
        described.collect()
    }
}

fn describe(tag: &BufferTag, absence: Absence) -> String {
    let (block, path) = (tag.block, tag.rel_fork.path());
    match absence {
        Absence::NoBlock => format!("page {block} of relation \"{path}\" does not exist"),
        Absence::Uninitialized => format!("page {block} of relation \"{path}\" is uninitialized"),
    }
}
