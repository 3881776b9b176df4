//! Giving back the blocks that failed loads added to their tables.
//!
//! They hold nothing that anybody will ever see. If they are the end of the table, they are truncated
//! away, which takes that nobody else looks at the table: an access-exclusive lock, only tried. While
//! somebody does they are kept in mind, and whoever ends a transaction tries again. If a later load's
//! rows come behind them, they become spare pages of the table.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use trunkline_buffer::RelFork;
use trunkline_heap::SparePages;
use trunkline_pgformat::{BlockNumber, ForkNumber, Oid, RelFileLocator};
use trunkline_txn::{LockMode, LockOwner, LockTag};

use crate::data_directory::DATABASE_OID;
use crate::database::Database;
use crate::engine_records;
use crate::error::EngineError;

/// Tails that are kept in mind; those of more are left where they are.
const TAILS_MAX: usize = 1024;

/// Blocks that a failed load added to a table.
struct FailedTail {
    relation: Oid,
    locator: RelFileLocator,
    blocks: Range<BlockNumber>,
}

impl FailedTail {
    fn tag(&self) -> LockTag {
        LockTag::Relation {
            database: DATABASE_OID,
            relation: self.relation,
        }
    }
}

/// The blocks that are to be given back.
#[derive(Default)]
pub(crate) struct FailedTails {
    waiting: Mutex<Vec<FailedTail>>,
}

impl FailedTails {
    fn waiting(&self) -> MutexGuard<'_, Vec<FailedTail>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Database {
    /// Keeps in mind the blocks that failed loads added to a table that goes on.
    pub(crate) fn add_failed_tails(
        &self,
        relation: Oid,
        locator: RelFileLocator,
        blocks: Vec<Range<BlockNumber>>,
    ) {
        let mut waiting = self.failed_tails().waiting();
        for blocks in blocks {
            if waiting.len() < TAILS_MAX {
                waiting.push(FailedTail {
                    relation,
                    locator,
                    blocks,
                });
            }
        }
    }

    /// Whether some tables' tails wait for the end of a transaction.
    pub(crate) fn has_failed_tails(&self) -> bool {
        !self.failed_tails().waiting().is_empty()
    }

    /// Gives back what failed loads left in tables that nobody but `owner` looks at now.
    pub(crate) fn give_back_tails(&self, owner: LockOwner) {
        if self.failure().is_some() {
            return;
        }
        // The locks are tried under the mutex and used outside it. Who holds one keeps others from
        // the same table's tails.
        let mut unused = Vec::new();
        {
            let mut waiting = self.failed_tails().waiting();
            if waiting.is_empty() {
                return;
            }
            waiting.retain_mut(|tail| {
                let locks = self.locks();
                if !locks.try_acquire(owner, tail.tag(), LockMode::AccessExclusive) {
                    return true;
                }
                unused.push(FailedTail {
                    relation: tail.relation,
                    locator: tail.locator,
                    blocks: tail.blocks.clone(),
                });
                false
            });
        }
        // From the end of each table on, so that one truncation makes the next one possible.
        unused.sort_by_key(|tail| std::cmp::Reverse(tail.blocks.start));
        for tail in &unused {
            self.give_back_tail(tail);
        }
        for tail in &unused {
            self.locks()
                .release(owner, tail.tag(), LockMode::AccessExclusive);
        }
    }

    fn give_back_tail(&self, tail: &FailedTail) {
        match self.truncate_tail(tail) {
            Ok(true) => {}
            Ok(false) => {
                let mut spare = SparePages::default();
                for block in tail.blocks.clone() {
                    spare.push_empty(block);
                }
                self.insert_targets().give_back(tail.locator, spare);
            }
            Err(error) => {
                tracing::warn!("could not give back the blocks of a failed load: {error}");
            }
        }
    }

    /// Truncates the table if the tail is its end; `false` if it is not.
    fn truncate_tail(&self, tail: &FailedTail) -> Result<bool, EngineError> {
        let main = ForkNumber::Main;
        if !self.smgr().exists(tail.locator, main)? {
            // The table was dropped or truncated meanwhile.
            return Ok(true);
        }
        if self.pool().nblocks(RelFork::new(tail.locator, main))? != tail.blocks.end {
            return Ok(false);
        }
        let mut io = self.aio().issuer(0)?;
        // The record is durable before the cut: else a crash could leave the table shorter than records
        // before it say. And once it is, there must be a cut: recovery makes one.
        let blocks = tail.blocks.start;
        let _no_redo_point = self.durable.hold_off_redo_point(&mut io);
        let is_logged = !self.smgr().exists(tail.locator, ForkNumber::Init)?;
        if is_logged {
            let wal = self.wal();
            let record = engine_records::truncated(wal, &mut io, tail.locator, blocks)?;
            engine_records::flush(wal, &mut io, record)?;
        }
        self.pool().drop_blocks_from(tail.locator, main, blocks);
        if let Err(error) = self.smgr().truncate(tail.locator, main, blocks) {
            let error = EngineError::from(error);
            if is_logged {
                self.fail(&error);
            }
            return Err(error);
        }
        Ok(true)
    }
}
