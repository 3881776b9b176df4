//! What is looked at before recovery changes anything.

use std::path::Path;
use std::sync::Arc;

use trunkline_aio::{IoContext, Storage};
use trunkline_pgformat::Lsn;
use trunkline_pgformat::control_file::{CheckPoint, ClusterState, ControlFile};
use trunkline_pgformat::wal::rmgr::xlog::Xlog;
use trunkline_pgformat::wal::rmgr_id::RmgrId;
use trunkline_wal::{WalConfig, WalReader};

use super::RecoveryError;
use crate::error::EngineError;

/// Files that ask for another kind of recovery, and what that is.
const SIGNALS: [(&str, &str); 4] = [
    (
        "backup_label",
        "recovery from a base backup is not supported",
    ),
    (
        "recovery.signal",
        "recovery from an archive is not supported",
    ),
    ("standby.signal", "being a standby is not supported"),
    ("recovery.conf", "PostgreSQL does not support it any more"),
];

/// Directories that have to be empty, what is in them, and what that would need.
const EMPTY_DIRECTORIES: [(&str, &str, &str); 3] = [
    ("pg_tblspc", "tablespace", "tablespaces are not supported"),
    (
        "pg_twophase",
        "prepared transaction",
        "prepared transactions are not supported",
    ),
    (
        "pg_replslot",
        "replication slot",
        "replication slots are not supported",
    ),
];

/// Refuses what cannot be started, whether it was stopped cleanly or not.
fn check_directory(
    storage: &dyn Storage,
    data_dir: &Path,
    control: &ControlFile,
) -> Result<(), RecoveryError> {
    let refused = |what: String| RecoveryError::NotSupported {
        data_dir: data_dir.display().to_string(),
        what,
    };
    for (name, what) in SIGNALS {
        let path = data_dir.join(name);
        let there = storage.exists(&path);
        if there.map_err(RecoveryError::file("look for", &path))? {
            return Err(refused(format!("it has a file \"{name}\", and {what}")));
        }
    }
    for (name, what, why) in EMPTY_DIRECTORIES {
        let path = data_dir.join(name);
        let entries = storage
            .list(&path)
            .map_err(RecoveryError::file("list", &path))?;
        if let Some(entry) = entries.first() {
            let name = entry.name.to_string_lossy();
            return Err(refused(format!("it has the {what} {name}, and {why}")));
        }
    }
    match control.state {
        ClusterState::InArchiveRecovery | ClusterState::ShutDownInRecovery => {
            Err(refused(format!(
                "its state is \"{}\", and recovery from an archive is not supported",
                control.state.description()
            )))
        }
        ClusterState::Startup => Err(refused(
            "its initialisation was cut short; remove the directory".to_owned(),
        )),
        _ if control.backup_start_point != Lsn::INVALID || control.backup_end_required => Err(
            refused("recovery from a base backup is not supported".to_owned()),
        ),
        _ => Ok(()),
    }
}

/// Reads the checkpoint that pg_control points at, and where its record ends.
///
/// # Errors
/// There is none, it is not what pg_control says, or the directory asks for what is not supported.
fn check_point_record(
    storage: &Arc<dyn Storage>,
    data_dir: &Path,
    config: &WalConfig,
    control: &ControlFile,
    io: &mut IoContext,
) -> Result<(CheckPoint, Lsn), EngineError> {
    check_directory(storage.as_ref(), data_dir, control)?;
    let at = control.check_point;
    let invalid = |why: String| RecoveryError::NoCheckpoint { at, why };
    let mut reader = WalReader::new(Arc::clone(storage), config, at);
    let found = reader.next(io, |_, record| {
        if record.header.rmgr != RmgrId::XLOG {
            return Err(format!("it is a record of {}", record.header.rmgr));
        }
        match Xlog::decode(&record) {
            Ok(Some(Xlog::CheckpointShutdown(check_point))) => Ok((check_point, true)),
            Ok(Some(Xlog::CheckpointOnline(check_point))) => Ok((check_point, false)),
            Ok(_) => Err("it is another record of XLOG".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    })?;
    let (check_point, is_shutdown) = match found {
        Ok(found) => found.map_err(invalid)?,
        Err(end) => return Err(invalid(end.reason.to_string()).into()),
    };
    if check_point != control.check_point_copy {
        return Err(invalid("it is not the one that pg_control has".to_owned()).into());
    }
    if check_point.redo > at || is_shutdown != (check_point.redo == at) {
        return Err(invalid(format!("invalid redo {} in it", check_point.redo)).into());
    }
    if control.state == ClusterState::ShutDown && !is_shutdown {
        return Err(invalid("it is no shutdown checkpoint".to_owned()).into());
    }
    Ok((check_point, reader.position()))
}

/// Looks at everything that a start needs of the log. The checkpoint, and where its record ends.
///
/// # Errors
/// As [`check_point_record`]; or the record that recovery begins with is not there.
pub(crate) fn check(
    storage: &Arc<dyn Storage>,
    data_dir: &Path,
    config: &WalConfig,
    control: &ControlFile,
    io: &mut IoContext,
) -> Result<(CheckPoint, Lsn), EngineError> {
    let (check_point, end) = check_point_record(storage, data_dir, config, control, io)?;
    let (redo, at) = (check_point.redo, control.check_point);
    if redo < at {
        let no_redo = |why: String| RecoveryError::NoRedo {
            redo,
            check_point: at,
            why,
        };
        let mut reader = WalReader::new(Arc::clone(storage), config, redo);
        let found = reader.next(io, |_, record| {
            record.header.rmgr == RmgrId::XLOG
                && matches!(Xlog::decode(&record), Ok(Some(Xlog::CheckpointRedo(_))))
        })?;
        match found {
            Ok(true) => {}
            Ok(false) => return Err(no_redo("it is another record".to_owned()).into()),
            Err(end) => return Err(no_redo(end.reason.to_string()).into()),
        }
    }
    Ok((check_point, end))
}
