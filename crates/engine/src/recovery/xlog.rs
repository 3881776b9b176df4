//! Redo of the resource manager XLOG (`xlog_redo` in PostgreSQL's `access/transam/xlog.c`).

use trunkline_aio::IoContext;
use trunkline_buffer::redo::RedoRecord;
use trunkline_pgformat::control_file::{CheckPoint, WalLevel};
use trunkline_pgformat::wal::rmgr::xlog::Xlog;
use trunkline_txn::FullXid;

use super::RecoveryError;
use super::redo::{Recovering, not_supported};
use crate::error::EngineError;

/// Redoes a record of XLOG.
pub(super) fn redo(
    recovering: &mut Recovering,
    io: &mut IoContext,
    record: &RedoRecord<'_>,
) -> Result<(), EngineError> {
    let decoded = record.decoded;
    let Some(xlog) = Xlog::decode(decoded).map_err(redo_error)? else {
        return Err(not_supported(decoded).into());
    };
    match xlog {
        Xlog::NextOid(next) => recovering.next_oid = next,
        Xlog::CheckpointShutdown(check_point) => {
            check_timeline(recovering, record, &check_point)?;
            recovering
                .transactions
                .note_next_xid(FullXid(check_point.next_full_xid));
            recovering.next_oid = check_point.next_oid;
        }
        // Its next OID is that of the last record of OIDs, or older.
        Xlog::CheckpointOnline(check_point) => {
            check_timeline(recovering, record, &check_point)?;
            recovering
                .transactions
                .note_next_xid(FullXid(check_point.next_full_xid));
        }
        Xlog::Fpi => {
            for block in &decoded.blocks {
                let restored = recovering.pages.restore_image(io, record, block.id);
                restored.map_err(RecoveryError::from)?;
            }
        }
        // Without an image where full_page_writes were off: the hints are lost.
        Xlog::FpiForHint => {
            let with_image = decoded.blocks.iter();
            for block in with_image.filter(|block| block.image.is_some_and(|image| image.apply())) {
                let restored = recovering.pages.restore_image(io, record, block.id);
                restored.map_err(RecoveryError::from)?;
            }
        }
        Xlog::EndOfRecovery(end) if end.this_time_line_id != recovering.timeline => {
            return Err(RecoveryError::Record {
                at: decoded.lsn,
                what: format!(
                    "the timeline changes from {} to {}",
                    recovering.timeline, end.this_time_line_id
                ),
            }
            .into());
        }
        Xlog::ParameterChange(change) => {
            if change.wal_level < WalLevel::Replica as i32 {
                return Err(RecoveryError::Record {
                    at: decoded.lsn,
                    what: "wal_level was lowered to minimal".to_owned(),
                }
                .into());
            }
            recovering.parameters = Some(change);
        }
        // Nothing of the cluster changes.
        Xlog::Noop
        | Xlog::Switch
        | Xlog::BackupEnd(_)
        | Xlog::RestorePoint(_)
        | Xlog::FpwChange(_)
        | Xlog::EndOfRecovery(_)
        | Xlog::OverwriteContrecord(_)
        | Xlog::CheckpointRedo(_) => {}
    }
    Ok(())
}

fn check_timeline(
    recovering: &Recovering,
    record: &RedoRecord<'_>,
    check_point: &CheckPoint,
) -> Result<(), RecoveryError> {
    let (found, expected) = (check_point.this_time_line_id, recovering.timeline);
    if found == expected {
        return Ok(());
    }
    Err(RecoveryError::Record {
        at: record.decoded.lsn,
        what: format!("unexpected timeline ID {found} (should be {expected}) in checkpoint record"),
    })
}

pub(super) fn redo_error(error: trunkline_pgformat::wal::rmgr::PayloadError) -> RecoveryError {
    RecoveryError::Redo(error.into())
}
