//! The records of a transaction's end (`XactLogCommitRecord`, `XactLogAbortRecord` in
//! `access/transam/xact.c`).
//!
//! They say when, and which relations' files go. Left out is what only a standby's caches and locks
//! need: the database, invalidation messages, access exclusive locks, dropped statistics. PostgreSQL's
//! crash recovery asks for none of them.

use trunkline_aio::IoContext;
use trunkline_pgformat::wal::info::{XLR_SPECIAL_REL_UPDATE, xact};
use trunkline_pgformat::wal::rmgr::xact::XactEnd;
use trunkline_pgformat::wal::rmgr_id::RmgrId;
use trunkline_pgformat::{RelFileLocator, Xid};
use trunkline_wal::{Inserted, Wal, WalError, WalRecord};

use crate::timestamp::TimestampTz;

/// Which end it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum EndKind {
    Commit,
    Abort,
}

/// Inserts the record of the end of `xid`, which deletes `files`.
pub(crate) fn insert(
    wal: &Wal,
    io: &mut IoContext,
    kind: EndKind,
    xid: Xid,
    now: TimestampTz,
    files: &[RelFileLocator],
) -> Result<Inserted, WalError> {
    let mut data = Vec::with_capacity(8);
    let end = XactEnd {
        xact_time: now.0,
        relations: files.to_vec(),
        ..XactEnd::default()
    };
    let mut info = end.encode(&mut data);
    info |= match kind {
        EndKind::Commit => xact::COMMIT,
        EndKind::Abort => xact::ABORT,
    };
    if !files.is_empty() {
        info |= XLR_SPECIAL_REL_UPDATE;
    }
    wal.insert(
        io,
        &WalRecord {
            rmgr: RmgrId::XACT,
            info,
            xid,
            toplevel_xid: None,
            blocks: &[],
            main_data: &[&data],
        },
    )
}
