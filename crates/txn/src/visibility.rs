//! From a tuple's transaction ids to what a snapshot sees.

use trunkline_pgformat::{CommandId, Xid};

use crate::error::TxnError;
use crate::manager::TransactionManager;
use crate::pg_xact::XactStatus;
use crate::snapshot::Snapshot;

/// What became of a transaction, as a snapshot sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum XidFate {
    /// It is the snapshot's own transaction.
    Own,
    /// It ran at the snapshot's moment or began later, whatever became of it since.
    InProgress,
    /// It had committed.
    Committed,
    /// It had aborted, or vanished with its server.
    Aborted,
}

const CACHED: usize = 16;

/// Answers about transaction ids for one scan: a snapshot with a small cache of fates, so that a
/// page whose tuples carry no hint bits costs one look into pg_xact for each distinct id.
pub struct Visibility<'a> {
    manager: &'a TransactionManager,
    snapshot: &'a Snapshot,
    horizon: Xid,
    cache: [(Xid, XidFate); CACHED],
    /// Of which ids the commit is known to be durable, which it then stays.
    durable: [Xid; CACHED],
}

impl<'a> Visibility<'a> {
    /// Answers for `snapshot`, which must stay registered with `manager` meanwhile.
    pub fn new(manager: &'a TransactionManager, snapshot: &'a Snapshot) -> Visibility<'a> {
        Visibility {
            manager,
            snapshot,
            horizon: manager.oldest_xmin(),
            cache: [(Xid::INVALID, XidFate::Aborted); CACHED],
            durable: [Xid::INVALID; CACHED],
        }
    }

    /// The snapshot it answers for.
    pub fn snapshot(&self) -> &'a Snapshot {
        self.snapshot
    }

    /// What became of `xid`. The special ids count as `TransactionLogFetch` has them: bootstrap
    /// and frozen committed, invalid aborted.
    pub fn fate(&mut self, xid: Xid) -> Result<XidFate, TxnError> {
        if !xid.is_normal() {
            return Ok(if xid.is_valid() {
                XidFate::Committed
            } else {
                XidFate::Aborted
            });
        }
        if xid == self.snapshot.own_xid {
            return Ok(XidFate::Own);
        }
        let slot = xid.0 as usize % CACHED;
        if self.cache[slot].0 == xid {
            return Ok(self.cache[slot].1);
        }
        // The snapshot first: pg_xact may already tell of an end that came after it.
        let fate = if self.snapshot.is_in_progress(xid) {
            XidFate::InProgress
        } else {
            match self.manager.pg_xact().status(xid)? {
                XactStatus::Committed => XidFate::Committed,
                // Ended, yet without a recorded end: its server stopped before it.
                _ => XidFate::Aborted,
            }
        };
        self.cache[slot] = (xid, fate);
        Ok(fate)
    }

    /// Whether the snapshot sees what command `command_id` of transaction `xid` did: the question
    /// that `HeapTupleSatisfiesMVCC` asks of xmin and cmin, and again of xmax and cmax.
    pub fn xid_visible(&mut self, xid: Xid, command_id: CommandId) -> Result<bool, TxnError> {
        Ok(match self.fate(xid)? {
            XidFate::Own => command_id < self.snapshot.command_id,
            XidFate::Committed => true,
            XidFate::InProgress | XidFate::Aborted => false,
        })
    }

    /// Whether every snapshot, present and future, sees `xid` as committed, and its commit is durable:
    /// the condition for marking a page all-visible. May answer no for one that has become so lately;
    /// see [`advance_horizon`](Visibility::advance_horizon).
    pub fn is_visible_to_all(&mut self, xid: Xid) -> Result<bool, TxnError> {
        Ok(xid.precedes(self.horizon)
            && self.fate(xid)? == XidFate::Committed
            && self.is_commit_durable(xid))
    }

    /// Whether the commit of `xid`, whose fate is to have committed, is durable: the condition for a
    /// hint bit that says so, for a page with the bit may reach the disk before the log (`SetHintBits`).
    pub fn is_commit_durable(&mut self, xid: Xid) -> bool {
        let slot = xid.0 as usize % CACHED;
        if self.durable[slot] == xid {
            return true;
        }
        let is_durable = self.manager.is_commit_durable(xid);
        if is_durable {
            self.durable[slot] = xid;
        }
        is_durable
    }

    /// Takes into account the transactions and snapshots that ended since this began.
    pub fn advance_horizon(&mut self) {
        self.horizon = self.manager.oldest_xmin();
    }
}
