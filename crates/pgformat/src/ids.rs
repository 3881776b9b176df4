//! The identifiers that PostgreSQL's formats are written in.
//!
//! They are small newtypes where mixing two up would corrupt data ([`Oid`], [`Xid`], [`Lsn`]) and
//! plain integers where arithmetic is the point ([`BlockNumber`], [`OffsetNumber`]).

use std::fmt;

/// Bytes in a page (PostgreSQL's `BLCKSZ`).
pub const BLCKSZ: usize = 8192;

/// Blocks in a segment file of a relation fork (1 GiB, PostgreSQL's `RELSEG_SIZE`).
pub const RELSEG_SIZE: u32 = 131_072;

/// Number of a block within a relation fork, counted across its segments.
pub type BlockNumber = u32;

/// PostgreSQL's `InvalidBlockNumber`; also one more than the largest block number a fork can have.
pub const INVALID_BLOCK_NUMBER: BlockNumber = u32::MAX;

/// One-based index of a line pointer within its page.
pub type OffsetNumber = u16;

/// Sequence number of a command within its transaction.
pub type CommandId = u32;

/// Identifier of a catalog object (`pg_class.oid` and the like).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Oid(pub u32);

impl Oid {
    /// No object.
    pub const INVALID: Oid = Oid(0);

    /// Whether this names an object.
    pub const fn is_valid(self) -> bool {
        self.0 != 0
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Oid({})", self.0)
    }
}

/// A 32-bit transaction id. Normal ones are compared modulo 2^32 (`access/transam.h`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Xid(pub u32);

impl Xid {
    /// No transaction.
    pub const INVALID: Xid = Xid(0);
    /// The transaction of `init`; always committed.
    pub const BOOTSTRAP: Xid = Xid(1);
    /// Older than every normal xid; always committed and visible.
    pub const FROZEN: Xid = Xid(2);
    /// The first xid handed out to a transaction.
    pub const FIRST_NORMAL: Xid = Xid(3);

    /// Whether this names a transaction.
    pub const fn is_valid(self) -> bool {
        self.0 != 0
    }

    /// Whether this is an ordinary xid, neither invalid, bootstrap nor frozen.
    pub const fn is_normal(self) -> bool {
        self.0 >= 3
    }

    /// `TransactionIdPrecedes`: whether `self` is logically before `other`.
    pub const fn precedes(self, other: Xid) -> bool {
        if !self.is_normal() || !other.is_normal() {
            return self.0 < other.0;
        }
        (self.0.wrapping_sub(other.0) as i32) < 0
    }

    /// Whether `self` is `other` or logically before it.
    pub const fn precedes_or_equals(self, other: Xid) -> bool {
        self.0 == other.0 || self.precedes(other)
    }

    /// The next normal xid, wrapping past the special ones.
    #[must_use]
    pub const fn next(self) -> Xid {
        let next = self.0.wrapping_add(1);
        if next < 3 { Xid(3) } else { Xid(next) }
    }
}

impl fmt::Display for Xid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Xid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Xid({})", self.0)
    }
}

/// A position in the write-ahead log, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

impl Lsn {
    /// No position: pages that were never logged carry it.
    pub const INVALID: Lsn = Lsn(0);
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lsn({self})")
    }
}

/// OID of the tablespace `base/`.
pub const DEFAULTTABLESPACE_OID: Oid = Oid(1663);
/// OID of the tablespace `global/`.
pub const GLOBALTABLESPACE_OID: Oid = Oid(1664);

/// A fork of a relation (`common/relpath.h`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum ForkNumber {
    /// The relation's own data.
    Main = 0,
    /// Free space map.
    Fsm = 1,
    /// Visibility map.
    Vm = 2,
    /// Initial contents of an unlogged relation.
    Init = 3,
}

impl ForkNumber {
    /// All forks, in file-naming order.
    pub const ALL: [ForkNumber; 4] = [
        ForkNumber::Main,
        ForkNumber::Fsm,
        ForkNumber::Vm,
        ForkNumber::Init,
    ];

    /// The name that SQL functions and messages use: `main`, `fsm`, `vm`, `init`.
    pub const fn name(self) -> &'static str {
        match self {
            ForkNumber::Main => "main",
            ForkNumber::Fsm => "fsm",
            ForkNumber::Vm => "vm",
            ForkNumber::Init => "init",
        }
    }

    /// The fork that `name` names.
    pub fn from_name(name: &str) -> Option<ForkNumber> {
        ForkNumber::ALL.into_iter().find(|fork| fork.name() == name)
    }
}

/// What a relation's files are found by (`storage/relfilelocator.h`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RelFileLocator {
    /// Tablespace; `pg_default` or `pg_global`.
    pub spc_oid: Oid,
    /// Database; invalid for shared relations.
    pub db_oid: Oid,
    /// The file's number (`relfilenode`).
    pub rel_number: u32,
}

impl RelFileLocator {
    /// Path of the first segment of `fork`, relative to the data directory, as PostgreSQL's
    /// `relpathbackend` names it: `base/5/16384_vm`.
    pub fn path(&self, fork: ForkNumber) -> String {
        let mut path = if self.spc_oid == GLOBALTABLESPACE_OID {
            format!("global/{}", self.rel_number)
        } else {
            format!("base/{}/{}", self.db_oid, self.rel_number)
        };
        if fork != ForkNumber::Main {
            path.push('_');
            path.push_str(fork.name());
        }
        path
    }
}
