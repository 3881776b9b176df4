//! The records that the engine itself writes to the log: of the resource managers XLOG, Storage and
//! Standby.

use trunkline_aio::IoContext;
use trunkline_buffer::BufferError;
use trunkline_pgformat::control_file::CheckPoint;
use trunkline_pgformat::wal::info::XLR_SPECIAL_REL_UPDATE;
use trunkline_pgformat::wal::rmgr::smgr::{Smgr as StorageRecord, TRUNCATE_HEAP};
use trunkline_pgformat::wal::rmgr::standby::{RunningXacts, Standby};
use trunkline_pgformat::wal::rmgr::xlog::{ParameterChange, Xlog};
use trunkline_pgformat::wal::rmgr_id::RmgrId;
use trunkline_pgformat::{BlockNumber, ForkNumber, Oid, RelFileLocator, Xid};
use trunkline_wal::{Inserted, Wal, WalRecord};

/// A failure of the log, as everybody else gets it too.
fn insert(
    wal: &Wal,
    io: &mut IoContext,
    rmgr: RmgrId,
    info: u8,
    xid: Xid,
    data: &[u8],
) -> Result<Inserted, BufferError> {
    let record = WalRecord {
        rmgr,
        info,
        xid,
        toplevel_xid: None,
        blocks: &[],
        main_data: &[data],
    };
    wal.insert(io, &record)
        .map_err(|error| BufferError::Log(error.into()))
}

fn insert_xlog(wal: &Wal, io: &mut IoContext, record: &Xlog) -> Result<Inserted, BufferError> {
    let data = record.encode();
    insert(wal, io, RmgrId::XLOG, record.code(), Xid::INVALID, &data)
}

/// Makes the log durable up to the end of a record.
pub(crate) fn flush(wal: &Wal, io: &mut IoContext, record: Inserted) -> Result<(), BufferError> {
    wal.flush(io, record.end)
        .map_err(|error| BufferError::Log(error.into()))
}

/// OIDs before `next` may be given out.
pub(crate) fn next_oid(wal: &Wal, io: &mut IoContext, next: Oid) -> Result<Inserted, BufferError> {
    insert_xlog(wal, io, &Xlog::NextOid(next))
}

/// A checkpoint is complete, of a cluster that stops or of one that goes on.
pub(crate) fn check_point(
    wal: &Wal,
    io: &mut IoContext,
    check_point: &CheckPoint,
    is_shutdown: bool,
) -> Result<Inserted, BufferError> {
    let check_point = check_point.clone();
    let record = if is_shutdown {
        Xlog::CheckpointShutdown(check_point)
    } else {
        Xlog::CheckpointOnline(check_point)
    };
    insert_xlog(wal, io, &record)
}

/// `full_page_writes` is other than at the last checkpoint.
pub(crate) fn full_page_writes(
    wal: &Wal,
    io: &mut IoContext,
    on: bool,
) -> Result<Inserted, BufferError> {
    insert_xlog(wal, io, &Xlog::FpwChange(on))
}

/// Settings that a standby must follow are other than pg_control says.
pub(crate) fn parameter_change(
    wal: &Wal,
    io: &mut IoContext,
    change: ParameterChange,
) -> Result<Inserted, BufferError> {
    insert_xlog(wal, io, &Xlog::ParameterChange(change))
}

/// The transactions that run.
pub(crate) fn running_xacts(
    wal: &Wal,
    io: &mut IoContext,
    running: RunningXacts,
) -> Result<Inserted, BufferError> {
    let record = Standby::RunningXacts(running);
    let data = record.encode();
    insert(wal, io, RmgrId::STANDBY, record.code(), Xid::INVALID, &data)
}

fn insert_storage(
    wal: &Wal,
    io: &mut IoContext,
    xid: Xid,
    record: StorageRecord,
) -> Result<Inserted, BufferError> {
    let info = record.code() | XLR_SPECIAL_REL_UPDATE;
    insert(wal, io, RmgrId::SMGR, info, xid, &record.encode())
}

/// Transaction `xid` has made a fork.
pub(crate) fn fork_created(
    wal: &Wal,
    io: &mut IoContext,
    xid: Xid,
    locator: RelFileLocator,
    fork: ForkNumber,
) -> Result<Inserted, BufferError> {
    insert_storage(wal, io, xid, StorageRecord::Create { locator, fork })
}

/// A relation's main fork is about to be cut to `blocks` blocks.
pub(crate) fn truncated(
    wal: &Wal,
    io: &mut IoContext,
    locator: RelFileLocator,
    blocks: BlockNumber,
) -> Result<Inserted, BufferError> {
    let record = StorageRecord::Truncate {
        block: blocks,
        locator,
        flags: TRUNCATE_HEAP,
    };
    insert_storage(wal, io, Xid::INVALID, record)
}
