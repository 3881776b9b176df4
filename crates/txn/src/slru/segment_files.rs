//! The files of an SLRU: opening, naming, removing, and which of them are to be synced.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use trunkline_aio::{File, OpenOptions, Storage};
use trunkline_pgformat::Xid;
use trunkline_pgformat::slru::segment_name;

use super::SlruConfig;
use crate::error::TxnError;

/// Segments kept open: lookups of old ids may touch many of a large log's files.
const OPEN_FILES_MAX: usize = 8;

pub(super) struct SegmentFiles {
    directory: PathBuf,
    direct: bool,
    storage: Arc<dyn Storage>,
    /// Open segments, the most recently used last.
    open: Vec<(u32, Arc<File>)>,
    /// Segments written since they were last synced.
    unsynced: BTreeSet<u32>,
    /// Files came or went since the directory was last synced.
    directory_changed: bool,
}

impl SegmentFiles {
    pub fn new(config: &SlruConfig, storage: Arc<dyn Storage>) -> SegmentFiles {
        SegmentFiles {
            directory: config.directory.clone(),
            direct: config.direct,
            storage,
            open: Vec::new(),
            unsynced: BTreeSet::new(),
            directory_changed: false,
        }
    }

    /// The segment's open file; made if it is to be written and is not there.
    pub fn file(&mut self, segment: u32, for_writing: bool) -> io::Result<Arc<File>> {
        if let Some(at) = self.open.iter().position(|(other, _)| *other == segment) {
            let entry = self.open.remove(at);
            let file = entry.1.clone();
            self.open.push(entry);
            return Ok(file);
        }
        let path = self.path(segment);
        let options = OpenOptions::READ_WRITE.with_direct(self.direct);
        let file = match self.storage.open(&path, options) {
            Err(error) if for_writing && error.kind() == io::ErrorKind::NotFound => {
                self.directory_changed = true;
                let options = OpenOptions::CREATE_NEW.with_direct(self.direct);
                self.storage.open(&path, options)?
            }
            opened => opened?,
        };
        if self.open.len() == OPEN_FILES_MAX {
            self.open.remove(0);
        }
        self.open.push((segment, file.clone()));
        Ok(file)
    }

    /// The segments whose files are there.
    pub fn list(&self) -> io::Result<Vec<u32>> {
        let entries = self.storage.list(&self.directory)?;
        let names = entries.iter().filter_map(|entry| entry.name.to_str());
        Ok(names
            .filter_map(|name| {
                let segment = u32::from_str_radix(name, 16).ok()?;
                (segment_name(segment) == name).then_some(segment)
            })
            .collect())
    }

    /// Removes a segment's file, for which no I/O is in flight.
    pub fn remove(&mut self, segment: u32) -> Result<(), TxnError> {
        self.open.retain(|(other, _)| *other != segment);
        self.unsynced.remove(&segment);
        let path = self.path(segment);
        self.directory_changed = true;
        match self.storage.unlink(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(TxnError::File {
                action: "remove",
                path,
                source,
            }),
            _ => Ok(()),
        }
    }

    /// A write of the segment is about to start.
    pub fn note_write(&mut self, segment: u32) {
        self.unsynced.insert(segment);
    }

    /// What is to be synced now, and whether the directory is as well. It counts as done.
    pub fn take_unsynced(&mut self) -> (BTreeSet<u32>, bool) {
        (
            std::mem::take(&mut self.unsynced),
            std::mem::take(&mut self.directory_changed),
        )
    }

    /// What was taken and not done.
    pub fn give_back_unsynced(&mut self, segments: impl IntoIterator<Item = u32>, directory: bool) {
        self.unsynced.extend(segments);
        self.directory_changed |= directory;
    }

    pub fn sync_directory(&self) -> Result<(), TxnError> {
        self.storage
            .sync_dir(&self.directory)
            .map_err(|source| TxnError::File {
                action: "fsync",
                path: self.directory.clone(),
                source,
            })
    }

    pub fn path(&self, segment: u32) -> PathBuf {
        self.directory.join(segment_name(segment))
    }

    /// PostgreSQL's name of a segment: relative to the data directory.
    pub fn display_name(&self, segment: u32) -> String {
        let directory = self.directory.file_name().unwrap_or_default();
        format!("{}/{}", directory.to_string_lossy(), segment_name(segment))
    }

    /// `SlruReportIOError`.
    pub fn failed(
        &self,
        xid: Xid,
        segment: u32,
        action: &str,
        offset: u64,
        error: io::Error,
    ) -> TxnError {
        let name = self.display_name(segment);
        // Without Rust's " (os error N)", which `%m` has not.
        let text = error.to_string();
        let cause = text.split(" (os error").next().unwrap_or_default();
        let detail = if action == "open" {
            format!("Could not open file \"{name}\": {cause}.")
        } else {
            format!("Could not {action} file \"{name}\" at offset {offset}: {cause}.")
        };
        TxnError::Status {
            xid,
            detail,
            kind: error.kind(),
        }
    }

    /// The outcome of a page's write.
    pub fn written(
        &self,
        xid: Xid,
        segment: u32,
        offset: u64,
        result: io::Result<usize>,
    ) -> Result<(), TxnError> {
        match result {
            Ok(trunkline_pgformat::BLCKSZ) => Ok(()),
            Ok(_) => Err(TxnError::Status {
                xid,
                detail: format!(
                    "Could not write to file \"{}\" at offset {offset}: wrote too few bytes.",
                    self.display_name(segment)
                ),
                kind: io::ErrorKind::StorageFull,
            }),
            Err(error) => Err(self.failed(xid, segment, "write to", offset, error)),
        }
    }
}
