//! Which transactions' effects a statement sees.

use std::ops::Deref;
use std::sync::Arc;

use trunkline_pgformat::{CommandId, Xid};

use crate::full_xid::FullXid;
use crate::manager::TransactionManager;

/// A moment: the transactions that had ended by then are visible if they committed
/// (`SnapshotData`, MVCC).
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Every id before this had ended.
    pub xmin: Xid,
    /// This id and later ones had not ended.
    pub xmax: Xid,
    /// The ids from `xmin` to `xmax` that were running, in their logical order.
    pub xip: Arc<[Xid]>,
    /// The transaction that looks; invalid if it had no id yet.
    pub own_xid: Xid,
    /// Of the own transaction's effects those of earlier commands than this are visible.
    pub command_id: CommandId,
}

impl Snapshot {
    /// Whether `xid` was running at the snapshot's moment, or began later (`XidInMVCCSnapshot`).
    /// The own transaction counts as running.
    pub fn is_in_progress(&self, xid: Xid) -> bool {
        if xid.precedes(self.xmin) {
            return false;
        }
        if !xid.precedes(self.xmax) {
            return true;
        }
        if self.xip.len() <= 16 {
            return self.xip.contains(&xid);
        }
        // All ids here lie between xmin and xmax: their distance from xmin is their order.
        let place = |xid: Xid| xid.0.wrapping_sub(self.xmin.0);
        self.xip
            .binary_search_by_key(&place(xid), |other| place(*other))
            .is_ok()
    }
}

/// A snapshot in use: while it lives, nothing it can see is removed or taken for visible to all.
pub struct RegisteredSnapshot {
    manager: Arc<TransactionManager>,
    xmin: FullXid,
    snapshot: Snapshot,
}

impl RegisteredSnapshot {
    pub(crate) fn new(
        manager: &Arc<TransactionManager>,
        own_xid: Xid,
        command_id: CommandId,
    ) -> RegisteredSnapshot {
        let view = manager.procs().register();
        RegisteredSnapshot {
            manager: manager.clone(),
            xmin: view.xmin,
            snapshot: Snapshot {
                xmin: view.xmin.xid(),
                xmax: view.xmax.xid(),
                xip: view.xip,
                own_xid,
                command_id,
            },
        }
    }

    /// The same moment as seen by a later command of the same transaction, which may have got its
    /// id since.
    #[must_use]
    pub fn at_command(&self, own_xid: Xid, command_id: CommandId) -> RegisteredSnapshot {
        let mut later = self.clone();
        later.snapshot.own_xid = own_xid;
        later.snapshot.command_id = command_id;
        later
    }

    /// The manager whose transactions it sees.
    pub fn manager(&self) -> &Arc<TransactionManager> {
        &self.manager
    }
}

impl Deref for RegisteredSnapshot {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.snapshot
    }
}

impl Clone for RegisteredSnapshot {
    fn clone(&self) -> RegisteredSnapshot {
        self.manager.procs().register_again(self.xmin);
        RegisteredSnapshot {
            manager: self.manager.clone(),
            xmin: self.xmin,
            snapshot: self.snapshot.clone(),
        }
    }
}

impl Drop for RegisteredSnapshot {
    fn drop(&mut self) {
        self.manager.procs().unregister(self.xmin);
    }
}

impl std::fmt::Debug for RegisteredSnapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.snapshot.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Also across the 32-bit wrap, and with more running ids than are searched linearly.
        #[test]
        fn in_progress_is_what_the_ids_say(
            xmin in 3u64..1 << 33,
            gaps in proptest::collection::vec(1u64..5, 0..60),
            probe in -50i64..300,
        ) {
            let mut running = Vec::new();
            let mut at = FullXid(xmin);
            prop_assume!(at.xid().is_normal());
            for gap in gaps {
                running.push(at);
                for _ in 0..gap {
                    at = at.next();
                }
            }
            let xmax = at;
            let snapshot = Snapshot {
                xmin: FullXid(xmin).xid(),
                xmax: xmax.xid(),
                xip: running.iter().map(|xid| xid.xid()).collect(),
                own_xid: Xid::INVALID,
                command_id: 0,
            };
            let xid = FullXid(xmin.saturating_add_signed(probe).max(3));
            prop_assume!(xid.xid().is_normal());
            let expected = xid >= xmax || running.contains(&xid);
            prop_assert_eq!(snapshot.is_in_progress(xid.xid()), expected);
        }
    }
}
