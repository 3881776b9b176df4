//! Recovery from a crash: the log from the last checkpoint's redo point on is done again (PostgreSQL's
//! `access/transam/xlogrecovery.c`).
//!
//! ```text
//!  pg_control, its checkpoint's record, what forbids it: looked at, nothing changed
//!      │
//!      ▼
//!  directory synced ─▶ "in crash recovery" ─▶ unlogged tables' files removed
//!      │
//!      ▼
//!  record ─▶ blocks of later records read ahead ─▶ its resource manager ─▶ next … end of the log
//!      │
//!      ▼
//!  pages missing? ─▶ files of unfinished transactions ─▶ unlogged tables made anew ─▶ log behind its
//!  end made invalid (W9) ─▶ (start) log, pool, transactions ─▶ checkpoint ─▶ production
//! ```
//!
//! Everything up to the checkpoint can be done again, after a failure or another crash: pg_control
//! points at the same checkpoint until then.
//!
//! | module | what |
//! |---|---|
//! | `preconditions` | what is refused before anything changes |
//! | `directory_sync` | what is in the kernel's memory alone, to disk |
//! | `redo` | the records, each to who can redo it |
//! | `xlog`, `storage` | redo of the resource managers XLOG and Storage |
//! | `read_ahead` | records before they are due, and their blocks |
//! | `progress` | what the log says meanwhile |
//! | `unlogged` | resetting unlogged tables |
//! | `unfinished_files` | files that nobody's commit covers |

mod directory_sync;
mod preconditions;
mod progress;
mod read_ahead;
mod redo;
mod storage;
mod unfinished_files;
mod unlogged;
mod xlog;

use std::path::Path;
use std::sync::Arc;

use thiserror::Error;
use trunkline_aio::{Clock, IoContext, Storage};
use trunkline_buffer::BufferPool;
use trunkline_buffer::redo::RedoError;
use trunkline_pgformat::control_file::{CheckPoint, ClusterState, ControlFile};
use trunkline_pgformat::wal::reader::EndReason;
use trunkline_pgformat::{Lsn, Oid};
use trunkline_txn::{FullXid, SlruConfig, TransactionRedo};
use trunkline_wal::{WalConfig, WalPosition, invalidate_beyond};

pub(crate) use preconditions::check;
pub(crate) use progress::log_state;

use crate::data_directory::ControlFileStore;
use crate::database::unix_seconds;
use crate::error::EngineError;

use progress::{Phase, RedoProgress};
use read_ahead::ReadAhead;
use redo::Recovering;

/// Why a cluster cannot be recovered. Nothing that is needed for another try has changed.
#[derive(Debug, Error)]
pub enum RecoveryError {
    /// What pg_control points at is not there.
    #[error("could not locate a valid checkpoint record at {at}: {why}")]
    NoCheckpoint {
        /// Where it should be.
        at: Lsn,
        /// What is there.
        why: String,
    },
    /// The log does not have the record that recovery begins with.
    #[error(
        "could not find redo location {redo} referenced by checkpoint record at {check_point}: {why}"
    )]
    NoRedo {
        /// Where recovery begins.
        redo: Lsn,
        /// The checkpoint's record.
        check_point: Lsn,
        /// What is there.
        why: String,
    },
    /// The log ends too early.
    #[error("WAL ends at {end}, before the checkpoint record at {check_point}: {why}")]
    EndsEarly {
        /// Where it ends.
        end: Lsn,
        /// What it should have at least.
        check_point: Lsn,
        /// Why it ends there.
        why: EndReason,
    },
    /// The directory asks for what there is not.
    #[error("data directory \"{data_dir}\" cannot be started: {what}")]
    NotSupported {
        /// The directory.
        data_dir: String,
        /// What it asks for.
        what: String,
    },
    /// A record of a resource manager that nobody here is.
    #[error("WAL record at {at} cannot be replayed: {what}")]
    Record {
        /// Where it begins.
        at: Lsn,
        /// What it is.
        what: String,
    },
    /// A record cannot be redone.
    #[error(transparent)]
    Redo(#[from] RedoError),
    /// A file operation failed.
    #[error("could not {action} \"{path}\": {source}")]
    File {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
}

impl RecoveryError {
    fn file(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> RecoveryError {
        let path = path.display().to_string();
        move |source| RecoveryError::File {
            action,
            path,
            source,
        }
    }
}

/// What recovery works on.
pub(crate) struct RecoveryParts<'a> {
    pub(crate) clock: &'a Arc<dyn Clock>,
    pub(crate) storage: &'a Arc<dyn Storage>,
    pub(crate) data_dir: &'a Path,
    /// Without a log.
    pub(crate) pool: &'a Arc<BufferPool>,
    pub(crate) wal_config: &'a WalConfig,
    pub(crate) pg_xact: SlruConfig,
    pub(crate) control_store: &'a ControlFileStore,
    /// Bytes of records that are looked at before they are due (`wal_decode_buffer_size`).
    pub(crate) read_ahead_bytes: usize,
    /// Blocks that are read before they are due (`maintenance_io_concurrency`; none without
    /// `recovery_prefetch`).
    pub(crate) blocks_ahead: usize,
    /// How often to tell how far it is (`log_startup_progress_interval`); never if zero.
    pub(crate) progress_interval: std::time::Duration,
}

/// Where the cluster goes on.
pub(crate) struct Recovered {
    pub(crate) transactions: TransactionRedo,
    pub(crate) next_oid: Oid,
    pub(crate) position: WalPosition,
}

/// Does everything again that `check_point` does not cover, which [`check`] has found to be there.
/// `control` becomes what pg_control says.
///
/// # Errors
/// Something cannot be redone. It can be tried again.
pub(crate) fn recover(
    parts: &RecoveryParts<'_>,
    check_point: &CheckPoint,
    control: &mut ControlFile,
    io: &mut IoContext,
) -> Result<Recovered, EngineError> {
    log_state(control);
    let begin_phase = || Phase::start(parts.clock, parts.progress_interval);
    let (check_point_at, redo_at) = (control.check_point, check_point.redo);
    let storage = parts.storage.as_ref();
    directory_sync::sync_directory(storage, parts.data_dir, io, &mut begin_phase())?;
    tracing::info!("database system was not properly shut down; automatic recovery in progress");
    control.state = ClusterState::InCrashRecovery;
    control.time = unix_seconds(parts.clock.as_ref());
    parts.control_store.write(control, io)?;
    unlogged::remove_files(parts.storage.as_ref(), parts.data_dir)?;

    let transactions = TransactionRedo::start(
        parts.pg_xact.clone(),
        FullXid(check_point.next_full_xid),
        io.aio(),
        Arc::clone(parts.storage),
    )?;
    let mut recovering = Recovering::new(
        parts.pool,
        transactions,
        check_point.next_oid,
        parts.wal_config,
    );
    let mut ahead = ReadAhead::new(parts, redo_at);
    let mut progress = RedoProgress::start(begin_phase());
    tracing::info!("redo starts at {redo_at}");
    let mut last = redo_at;
    while let Some(record) = ahead.next(parts.pool, io)? {
        let decoded = record.decode()?;
        recovering.redo(io, &decoded)?;
        last = decoded.lsn;
        progress.note(last);
        ahead.done(record);
    }
    let end = ahead.end();
    let (end_at, reason) = (end.at, end.reason.clone());
    tracing::info!("{reason}");
    progress.finish(last);
    if end_at <= check_point_at {
        return Err(RecoveryError::EndsEarly {
            end: end_at,
            check_point: check_point_at,
            why: reason,
        }
        .into());
    }
    let finished = recovering.finish(io)?;
    unlogged::make_anew(parts.storage.as_ref(), parts.data_dir, io)?;
    invalidate_beyond(io, parts.storage, parts.wal_config, end_at)?;
    finished.update(control);
    Ok(Recovered {
        transactions: finished.transactions,
        next_oid: finished.next_oid,
        position: WalPosition {
            insert_at: end_at,
            prev: last,
            redo: redo_at,
        },
    })
}
