//! Everything in the data directory to disk (W8; `SyncDataDirectory` in PostgreSQL's
//! `storage/file/fd.c`): after the server has crashed and the machine has not, pages and log that redo
//! builds on may be in the kernel's memory alone. `pg_wal` may be a link to a directory elsewhere.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use trunkline_aio::{File, FileKind, IoContext, IoResult, IoReturn, OpenOptions, Storage, WaitRef};

use trunkline_pgformat::wal::segment::WAL_DIRECTORY;

use super::RecoveryError;
use super::progress::Phase;
use crate::error::EngineError;

/// Syncs in flight.
const DEPTH: usize = 32;

struct Sync {
    path: PathBuf,
    _file: Arc<File>,
    wait_ref: WaitRef,
    outcome: Arc<IoReturn>,
}

/// Syncs all files and directories below `data_dir`, and itself.
pub(super) fn sync_directory(
    storage: &dyn Storage,
    data_dir: &Path,
    io: &mut IoContext,
    phase: &mut Phase,
) -> Result<(), EngineError> {
    let mut directories = Vec::new();
    let mut files = VecDeque::new();
    collect(storage, data_dir, &mut directories, &mut files)?;
    let wal = data_dir.join(WAL_DIRECTORY);
    if !directories.contains(&wal) {
        collect(storage, &wal, &mut directories, &mut files)?;
    }
    let mut in_flight: VecDeque<Sync> = VecDeque::with_capacity(DEPTH);
    while !files.is_empty() || !in_flight.is_empty() {
        while in_flight.len() < DEPTH
            && let Some(path) = files.pop_front()
        {
            let file = storage
                .open(&path, OpenOptions::READ)
                .map_err(RecoveryError::file("open", &path))?;
            let outcome = IoReturn::new();
            let mut handle = io.acquire()?;
            handle.report_to(&outcome);
            let wait_ref = handle.start_fsync(&file);
            in_flight.push_back(Sync {
                path,
                _file: file,
                wait_ref,
                outcome,
            });
        }
        io.submit();
        if let Some(oldest) = in_flight.pop_front() {
            io.wait(oldest.wait_ref);
            if let Some(IoResult::Error(failure)) = oldest.outcome.get() {
                let error = RecoveryError::file("fsync", &oldest.path)(failure.into());
                io.wait_all();
                return Err(error.into());
            }
            if let Some(elapsed) = phase.elapsed_if_due() {
                let path = oldest.path.display();
                tracing::info!(
                    "syncing data directory (fsync), elapsed time: {elapsed}, current path: {path}"
                );
            }
        }
    }
    for path in directories {
        storage
            .sync_dir(&path)
            .map_err(RecoveryError::file("fsync", &path))?;
    }
    Ok(())
}

fn collect(
    storage: &dyn Storage,
    directory: &Path,
    directories: &mut Vec<PathBuf>,
    files: &mut VecDeque<PathBuf>,
) -> Result<(), RecoveryError> {
    let entries = storage
        .list(directory)
        .map_err(RecoveryError::file("list", directory))?;
    for entry in entries {
        let path = directory.join(&entry.name);
        match entry.kind {
            FileKind::Directory => collect(storage, &path, directories, files)?,
            FileKind::File => files.push_back(path),
            _ => {}
        }
    }
    directories.push(directory.to_owned());
    Ok(())
}
