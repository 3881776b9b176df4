//! Which files a table has, and whether their changes are logged.

use std::sync::Arc;

use trunkline_buffer::{BufferPool, RelFork};
use trunkline_pgformat::{ForkNumber, RelFileLocator};
use trunkline_wal::Wal;

/// A table as this crate knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeapRelation {
    /// Its files.
    pub locator: RelFileLocator,
    /// Its changes are logged (`relpersistence` is permanent).
    pub logged: bool,
}

impl HeapRelation {
    /// A table that survives a crash.
    pub const fn permanent(locator: RelFileLocator) -> HeapRelation {
        HeapRelation {
            locator,
            logged: true,
        }
    }

    /// A table that is empty after a crash.
    pub const fn unlogged(locator: RelFileLocator) -> HeapRelation {
        HeapRelation {
            locator,
            logged: false,
        }
    }

    pub(crate) fn fork(&self, fork: ForkNumber) -> RelFork {
        RelFork::new(self.locator, fork)
    }

    /// The log that its changes go to, if they do (`RelationNeedsWAL`).
    #[inline]
    pub(crate) fn wal<'p>(&self, pool: &'p BufferPool) -> Option<&'p Arc<Wal>> {
        pool.wal().filter(|_| self.logged)
    }
}
