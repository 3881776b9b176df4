//! Files that transactions made which never ended: PostgreSQL leaves them behind for good.

use std::collections::HashMap;

use trunkline_pgformat::wal::decode::DecodedRecord;
use trunkline_pgformat::wal::info::xact;
use trunkline_pgformat::wal::rmgr::xact::XactEnd;
use trunkline_pgformat::{RelFileLocator, Xid};

/// By transaction, the relations whose files it made.
#[derive(Debug, Default)]
pub(super) struct UnfinishedFiles {
    by_xid: HashMap<Xid, Vec<RelFileLocator>>,
}

impl UnfinishedFiles {
    /// `xid` made a fork of `relation`.
    pub(super) fn note_created(&mut self, xid: Xid, relation: RelFileLocator) {
        // Without one nobody's end could make them stay.
        if xid.is_normal() {
            let files = self.by_xid.entry(xid).or_default();
            if !files.contains(&relation) {
                files.push(relation);
            }
        }
    }

    /// `record` may be a transaction's end: what becomes of its files is in it.
    pub(super) fn note_end(&mut self, record: &DecodedRecord<'_>) {
        let is_end = matches!(
            record.header.info & xact::OPMASK,
            xact::COMMIT | xact::ABORT
        );
        if self.by_xid.is_empty() || !is_end {
            return;
        }
        self.by_xid.remove(&record.header.xid);
        // It was decoded before, by who redid it.
        if let Ok(end) = XactEnd::decode(record) {
            for xid in end.subxacts.iter() {
                self.by_xid.remove(xid);
            }
        }
    }

    /// What is left at the end.
    pub(super) fn take(&mut self) -> Vec<RelFileLocator> {
        let mut files: Vec<RelFileLocator> = std::mem::take(&mut self.by_xid)
            .into_values()
            .flatten()
            .collect();
        files.sort_unstable_by_key(|file| (file.spc_oid.0, file.db_oid.0, file.rel_number));
        files
    }
}
