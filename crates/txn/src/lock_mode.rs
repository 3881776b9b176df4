//! PostgreSQL's eight lock modes and which of them exclude one another.

use std::fmt;

/// A heavyweight lock's mode (`storage/lockdefs.h`), weakest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum LockMode {
    /// SELECT.
    AccessShare = 1,
    /// SELECT FOR UPDATE and its like.
    RowShare = 2,
    /// INSERT, UPDATE, DELETE, COPY FROM.
    RowExclusive = 3,
    /// VACUUM, ANALYZE, CREATE INDEX CONCURRENTLY.
    ShareUpdateExclusive = 4,
    /// CREATE INDEX; waiting for a transaction to end.
    Share = 5,
    /// CREATE TRIGGER.
    ShareRowExclusive = 6,
    /// REFRESH MATERIALIZED VIEW CONCURRENTLY; a transaction's lock on its own id.
    Exclusive = 7,
    /// DROP, TRUNCATE, ALTER, VACUUM FULL, plain LOCK TABLE.
    AccessExclusive = 8,
}

/// A set of modes; bit n stands for the mode whose number is n.
pub(crate) type LockMask = u16;

impl LockMode {
    /// All modes, weakest first.
    pub const ALL: [LockMode; 8] = [
        LockMode::AccessShare,
        LockMode::RowShare,
        LockMode::RowExclusive,
        LockMode::ShareUpdateExclusive,
        LockMode::Share,
        LockMode::ShareRowExclusive,
        LockMode::Exclusive,
        LockMode::AccessExclusive,
    ];

    /// The name that `pg_locks.mode` and messages show.
    pub const fn name(self) -> &'static str {
        match self {
            LockMode::AccessShare => "AccessShareLock",
            LockMode::RowShare => "RowShareLock",
            LockMode::RowExclusive => "RowExclusiveLock",
            LockMode::ShareUpdateExclusive => "ShareUpdateExclusiveLock",
            LockMode::Share => "ShareLock",
            LockMode::ShareRowExclusive => "ShareRowExclusiveLock",
            LockMode::Exclusive => "ExclusiveLock",
            LockMode::AccessExclusive => "AccessExclusiveLock",
        }
    }

    /// Whether two owners cannot hold `self` and `other` on one object at once.
    pub const fn conflicts_with(self, other: LockMode) -> bool {
        self.conflicts() & other.bit() != 0
    }

    pub(crate) const fn bit(self) -> LockMask {
        1 << self as u8
    }

    /// The modes that exclude this one (`LockConflicts` in `storage/lmgr/lock.c`).
    pub(crate) const fn conflicts(self) -> LockMask {
        const ACCESS_SHARE: LockMask = LockMode::AccessShare.bit();
        const ROW_SHARE: LockMask = LockMode::RowShare.bit();
        const ROW_EXCLUSIVE: LockMask = LockMode::RowExclusive.bit();
        const SHARE_UPDATE: LockMask = LockMode::ShareUpdateExclusive.bit();
        const SHARE: LockMask = LockMode::Share.bit();
        const SHARE_ROW: LockMask = LockMode::ShareRowExclusive.bit();
        const EXCLUSIVE: LockMask = LockMode::Exclusive.bit();
        const ACCESS_EXCLUSIVE: LockMask = LockMode::AccessExclusive.bit();
        match self {
            LockMode::AccessShare => ACCESS_EXCLUSIVE,
            LockMode::RowShare => EXCLUSIVE | ACCESS_EXCLUSIVE,
            LockMode::RowExclusive => SHARE | SHARE_ROW | EXCLUSIVE | ACCESS_EXCLUSIVE,
            LockMode::ShareUpdateExclusive => {
                SHARE_UPDATE | SHARE | SHARE_ROW | EXCLUSIVE | ACCESS_EXCLUSIVE
            }
            LockMode::Share => {
                ROW_EXCLUSIVE | SHARE_UPDATE | SHARE_ROW | EXCLUSIVE | ACCESS_EXCLUSIVE
            }
            LockMode::ShareRowExclusive => {
                ROW_EXCLUSIVE | SHARE_UPDATE | SHARE | SHARE_ROW | EXCLUSIVE | ACCESS_EXCLUSIVE
            }
            LockMode::Exclusive => {
                ROW_SHARE
                    | ROW_EXCLUSIVE
                    | SHARE_UPDATE
                    | SHARE
                    | SHARE_ROW
                    | EXCLUSIVE
                    | ACCESS_EXCLUSIVE
            }
            LockMode::AccessExclusive => {
                ACCESS_SHARE
                    | ROW_SHARE
                    | ROW_EXCLUSIVE
                    | SHARE_UPDATE
                    | SHARE
                    | SHARE_ROW
                    | EXCLUSIVE
                    | ACCESS_EXCLUSIVE
            }
        }
    }
}

impl fmt::Display for LockMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table "Conflicting Lock Modes" of PostgreSQL's documentation (chapter "Explicit
    /// Locking"): row = requested, column = existing, X = conflict.
    const DOCUMENTED: [&str; 8] = [
        "       X", //
        "      XX", //
        "    XXXX", //
        "   XXXXX", //
        "  XX XXX", //
        "  XXXXXX", //
        " XXXXXXX", //
        "XXXXXXXX",
    ];

    #[test]
    fn conflicts_as_documented() {
        for (requested, row) in LockMode::ALL.into_iter().zip(DOCUMENTED) {
            for (existing, cell) in LockMode::ALL.into_iter().zip(row.chars()) {
                assert_eq!(
                    requested.conflicts_with(existing),
                    cell == 'X',
                    "{requested} against {existing}"
                );
                assert_eq!(
                    requested.conflicts_with(existing),
                    existing.conflicts_with(requested)
                );
            }
        }
    }
}
