//! What a lock is on, and who holds it.

use std::fmt;

use trunkline_pgformat::{Oid, Xid};

/// What a heavyweight lock is on (`storage/locktag.h`). `Display` is how messages name it
/// (`DescribeLockTag`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LockTag {
    /// A whole relation; `database` is invalid (0) for a shared one.
    Relation {
        /// The relation's database.
        database: Oid,
        /// `pg_class.oid`.
        relation: Oid,
    },
    /// The right to extend a relation.
    RelationExtend {
        /// The relation's database.
        database: Oid,
        /// `pg_class.oid`.
        relation: Oid,
    },
    /// A transaction's life: it holds this exclusively, who waits for its end asks for a share.
    Transaction(
        /// The transaction.
        Xid,
    ),
    /// A catalog object that is no relation.
    Object {
        /// Its database; invalid (0) for a shared object.
        database: Oid,
        /// OID of the catalog that the object is a row of.
        class: Oid,
        /// The object.
        object: Oid,
        /// A part of it, else 0.
        sub_id: u16,
    },
}

impl LockTag {
    /// `pg_locks.locktype`.
    pub const fn lock_type(&self) -> &'static str {
        match self {
            LockTag::Relation { .. } => "relation",
            LockTag::RelationExtend { .. } => "extend",
            LockTag::Transaction(_) => "transactionid",
            LockTag::Object { .. } => "object",
        }
    }
}

impl fmt::Display for LockTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockTag::Relation { database, relation } => {
                write!(f, "relation {relation} of database {database}")
            }
            LockTag::RelationExtend { database, relation } => {
                write!(f, "extension of relation {relation} of database {database}")
            }
            LockTag::Transaction(xid) => write!(f, "transaction {xid}"),
            LockTag::Object {
                database,
                class,
                object,
                ..
            } => {
                write!(f, "object {object} of class {class} of database {database}")
            }
        }
    }
}

/// How long an owner keeps its locks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum LockScope {
    /// Until its transaction ends.
    Transaction = 0,
    /// Until the session gives it back or ends.
    Session = 1,
}

/// Who holds a lock: a process (a session, by the number that cancel requests name), for its
/// transaction or for itself. Locks of one process never conflict with one another.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LockOwner {
    /// The session's backend pid.
    pub process_id: i32,
    /// For how long it holds.
    pub scope: LockScope,
}

impl LockOwner {
    /// The running transaction of `process_id`.
    pub const fn transaction(process_id: i32) -> LockOwner {
        LockOwner {
            process_id,
            scope: LockScope::Transaction,
        }
    }

    /// The session `process_id` itself.
    pub const fn session(process_id: i32) -> LockOwner {
        LockOwner {
            process_id,
            scope: LockScope::Session,
        }
    }
}
