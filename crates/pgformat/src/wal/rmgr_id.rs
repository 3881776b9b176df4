//! Numbers of the resource managers (`access/rmgrlist.h`).

use std::fmt;

/// Who knows what a record means (`RmgrId`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RmgrId(pub u8);

macro_rules! resource_managers {
    ($($number:literal $constant:ident $name:literal $what:literal;)*) => {
        impl RmgrId {
            $(#[doc = $what] pub const $constant: RmgrId = RmgrId($number);)*

            /// The name that PostgreSQL's tools print, if it is one of PostgreSQL's own.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some($name),)*
                    _ => None,
                }
            }
        }
    };
}

resource_managers! {
    0 XLOG "XLOG" "Checkpoints, page images and the log itself.";
    1 XACT "Transaction" "Commit and abort.";
    2 SMGR "Storage" "Creation and truncation of relations' files.";
    3 CLOG "CLOG" "Pages of `pg_xact`.";
    4 DBASE "Database" "Databases' directories.";
    5 TBLSPC "Tablespace" "Tablespaces' directories.";
    6 MULTIXACT "MultiXact" "Multixacts.";
    7 RELMAP "RelMap" "`pg_filenode.map`.";
    8 STANDBY "Standby" "What a standby needs to know of running transactions.";
    9 HEAP2 "Heap2" "Tables, when the codes of `HEAP` did not suffice.";
    10 HEAP "Heap" "Tables.";
    11 BTREE "Btree" "B-tree indexes.";
    12 HASH "Hash" "Hash indexes.";
    13 GIN "Gin" "GIN indexes.";
    14 GIST "Gist" "GiST indexes.";
    15 SEQ "Sequence" "Sequences.";
    16 SPGIST "SPGist" "SP-GiST indexes.";
    17 BRIN "BRIN" "BRIN indexes.";
    18 COMMIT_TS "CommitTs" "Commit timestamps.";
    19 REPLORIGIN "ReplicationOrigin" "Replication origins.";
    20 GENERIC "Generic" "Pages of extensions.";
    21 LOGICALMSG "LogicalMessage" "Messages to logical decoding.";
}

/// The first number that extensions may take (`RM_MIN_CUSTOM_ID`).
const MIN_CUSTOM_ID: u8 = 128;

impl RmgrId {
    /// Whether a record may name it: PostgreSQL's own, or an extension's (`RmgrIdIsValid`).
    pub const fn is_valid(self) -> bool {
        self.0 <= RmgrId::LOGICALMSG.0 || self.0 >= MIN_CUSTOM_ID
    }
}

impl fmt::Display for RmgrId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "custom{:03}", self.0),
        }
    }
}

impl fmt::Debug for RmgrId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RmgrId({self})")
    }
}
