//! The log's segment files: opened, made ahead, recycled, removed (W5).
//!
//! A segment is made under another name, filled, synced, renamed, and its name made durable, before
//! anything is written to it: what is written to a segment is never lost with its name. A commit finds
//! its segment there; if it does not, it makes it, and that is counted.
//!
//! Everything that changes names in the directory holds one mutex, across the I/O of making a segment:
//! who holds it completes that I/O by itself and wants nothing of who waits for it. Who opens a segment that
//! is there does without, unless its name is just being made durable.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use arrayvec::ArrayVec;
use trunkline_aio::{AlignedBuf, File, FileKind, IoContext, OpenOptions, RawIo, Storage};
use trunkline_pgformat::Lsn;
use trunkline_pgformat::wal::XLOG_BLCKSZ;
use trunkline_pgformat::wal::page_header::{LongPageHeader, PageHeader, XLOG_PAGE_MAGIC};
use trunkline_pgformat::wal::segment::SegmentNumber;

use crate::config::WalConfig;
use crate::error::WalError;
use crate::sync::{Mutex, lock};

/// Open files, at most.
const MAX_OPEN: usize = 8;

/// What segments are called until they are whole; PostgreSQL removes these when it starts, too.
const TEMPORARY_PREFIX: &str = "xlogtemp.";

/// Filling a segment: bytes of one write, and writes in flight.
const FILL_BYTES: usize = 256 << 10;
const FILL_DEPTH: usize = 4;

/// What was done to files, for the statistics.
#[derive(Debug, Default)]
pub(crate) struct SegmentCounts {
    pub(crate) made: AtomicU64,
    pub(crate) made_late: AtomicU64,
    pub(crate) recycled: AtomicU64,
    pub(crate) removed: AtomicU64,
}

/// See the module.
pub(crate) struct Segments {
    config: WalConfig,
    storage: Arc<dyn Storage>,
    /// Newest use last. A leaf.
    open: Mutex<ArrayVec<(SegmentNumber, Arc<File>), MAX_OPEN>>,
    /// Held by who changes names; `open` and `unsynced_name` are taken under it.
    names: Mutex<()>,
    /// The segment whose name may be there without being durable. Set before the name is given. A leaf.
    unsynced_name: Mutex<Option<SegmentNumber>>,
    /// Called when a segment is begun. Set once.
    begun: OnceLock<Box<dyn Fn() + Send + Sync>>,
    pub(crate) counts: SegmentCounts,
}

impl Segments {
    pub(crate) fn new(config: WalConfig, storage: Arc<dyn Storage>) -> Self {
        Segments {
            config,
            storage,
            open: Mutex::new(ArrayVec::new()),
            names: Mutex::new(()),
            unsynced_name: Mutex::new(None),
            begun: OnceLock::new(),
            counts: SegmentCounts::default(),
        }
    }

    pub(crate) fn path(&self, number: SegmentNumber) -> PathBuf {
        let name = self
            .config
            .segment_size
            .file_name(self.config.timeline, number);
        self.config.directory.join(name)
    }

    fn options(&self) -> OpenOptions {
        let dsync = self.config.wal_sync_method.sync_operation().is_none();
        OpenOptions::READ_WRITE
            .with_direct(self.config.io_direct_wal)
            .with_dsync(dsync)
    }

    /// The file of a segment, for writing; makes it if it is not there.
    pub(crate) fn file(
        &self,
        io: &mut IoContext,
        number: SegmentNumber,
    ) -> Result<Arc<File>, WalError> {
        if let Some(file) = self.cached(number) {
            return Ok(file);
        }
        let file = match self.open_existing(number)? {
            Some(file) => file,
            None => self.open_or_make(io, number)?,
        };
        let mut open = lock(&self.open);
        if let Some((_, file)) = open.iter().find(|(other, _)| *other == number) {
            // Somebody else was faster.
            return Ok(Arc::clone(file));
        }
        let oldest = open.is_full().then(|| open.remove(0));
        open.push((number, Arc::clone(&file)));
        drop(open);
        // Closes outside of the lock, or with the last I/O on it.
        drop(oldest);
        if let Some(begun) = self.begun.get() {
            begun();
        }
        Ok(file)
    }

    /// `wake` is called when a segment is opened that was not open: usually because the log has come to it,
    /// so that the next ones should be made. It must not block.
    pub(crate) fn on_begun(&self, wake: impl Fn() + Send + Sync + 'static) {
        let _ = self.begun.set(Box::new(wake));
    }

    /// The file of a segment that is there, with a durable name; whoever makes another one need not be
    /// waited for.
    fn open_existing(&self, number: SegmentNumber) -> Result<Option<Arc<File>>, WalError> {
        let path = self.path(number);
        let file = match self.storage.open(&path, self.options()) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(WalError::file("open", &path)(error)),
        };
        // The name was there; whoever gave it has said so before, and says when it is durable.
        if *lock(&self.unsynced_name) == Some(number) {
            return Ok(None);
        }
        self.check_length(number, &file)?;
        Ok(Some(file))
    }

    /// The same by who has the names; the segment is made if it is not there.
    fn open_or_make(
        &self,
        io: &mut IoContext,
        number: SegmentNumber,
    ) -> Result<Arc<File>, WalError> {
        // Whoever has the names may wait for I/O that is still pending here.
        io.submit();
        let _names = lock(&self.names);
        if let Some(file) = self.cached(number) {
            return Ok(file);
        }
        if let Some(file) = self.open_existing(number)? {
            return Ok(file);
        }
        let path = self.path(number);
        self.counts.made_late.fetch_add(1, Relaxed);
        tracing::debug!(path = %path.display(), "a WAL segment was not made ahead");
        self.make(io, number, &[])?;
        let file = self
            .storage
            .open(&path, self.options())
            .map_err(WalError::file("open", &path))?;
        self.check_length(number, &file)?;
        Ok(file)
    }

    fn check_length(&self, number: SegmentNumber, file: &File) -> Result<(), WalError> {
        let path = self.path(number);
        let length = self
            .storage
            .len(file)
            .map_err(WalError::file("measure", &path))?;
        let wanted = self.config.segment_size.bytes().into();
        if length != wanted {
            return Err(WalError::CannotContinue {
                at: self.config.segment_size.start_of(number),
                reason: format!(
                    "\"{}\" has {length} bytes instead of {wanted}",
                    path.display()
                ),
            });
        }
        Ok(())
    }

    fn cached(&self, number: SegmentNumber) -> Option<Arc<File>> {
        let open = lock(&self.open);
        let found = open.iter().rev().find(|(other, _)| *other == number)?;
        Some(Arc::clone(&found.1))
    }

    /// Makes segments up to `last` that are not there; how many it made.
    pub(crate) fn make_ahead(
        &self,
        io: &mut IoContext,
        first: SegmentNumber,
        last: SegmentNumber,
    ) -> Result<u64, WalError> {
        let mut made = 0;
        for number in first..=last {
            if self.cached(number).is_some() {
                continue;
            }
            io.submit();
            let _names = lock(&self.names);
            if !self.is_there(number)? {
                self.make(io, number, &self.blank_page())?;
                made += 1;
            }
        }
        Ok(made)
    }

    /// What a segment begins with until the log has come to it. PostgreSQL's programs learn how large
    /// segments are from the first page of whichever they meet first (`search_directory` in its
    /// `pg_waldump`), and with two made ahead that is often one of these. No page has this address,
    /// segment 0 being none: so it ends the log as zeros do, and as what a recycled segment held (W9).
    fn blank_page(&self) -> Vec<u8> {
        let header = PageHeader {
            magic: XLOG_PAGE_MAGIC,
            flags: 0,
            timeline: self.config.timeline,
            page_address: Lsn::INVALID,
            remaining_length: 0,
        };
        let long = LongPageHeader {
            system_identifier: self.config.system_identifier,
            segment_size: self.config.segment_size.bytes(),
            page_size: XLOG_BLCKSZ as u32,
        };
        let mut page = header.encode_long(&long).to_vec();
        page.resize(XLOG_BLCKSZ, 0);
        page
    }

    fn is_there(&self, number: SegmentNumber) -> Result<bool, WalError> {
        let path = self.path(number);
        self.storage
            .exists(&path)
            .map_err(WalError::file("look for", &path))
    }

    /// Makes a segment that begins with `head`, by who has the names, or is alone.
    pub(crate) fn make(
        &self,
        io: &mut IoContext,
        number: SegmentNumber,
        head: &[u8],
    ) -> Result<(), WalError> {
        let temporary = self
            .config
            .directory
            .join(format!("{TEMPORARY_PREFIX}{number}"));
        self.check_names()?;
        let made = self
            .fill(io, &temporary, head)
            .and_then(|()| self.give_name(number, &temporary));
        if let Err(error) = made {
            // Best effort: it is removed at the next start, too.
            let removed = self.storage.unlink(&temporary);
            if removed.is_err_and(|error| error.kind() != ErrorKind::NotFound) {
                tracing::warn!(path = %temporary.display(), "could not remove a temporary file");
            }
            return Err(error);
        }
        self.counts.made.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Makes the file at `path` the segment, durably, by who has the names, or is alone. Nothing is
    /// written under the new name before that. If the name cannot be made durable, none is given any more:
    /// the log ends with the segments that there are (W7).
    fn give_name(&self, number: SegmentNumber, path: &std::path::Path) -> Result<(), WalError> {
        self.check_names()?;
        *lock(&self.unsynced_name) = Some(number);
        let new = self.path(number);
        let renamed = self.storage.rename(path, &new);
        if renamed.is_ok() {
            self.sync_directory()?;
        }
        // A rename that failed may have happened all the same.
        if renamed.is_ok() || matches!(self.storage.exists(&new), Ok(false)) {
            *lock(&self.unsynced_name) = None;
        }
        renamed.map_err(WalError::file("rename", path))
    }

    /// An error if a name was given that could not be made durable. By who has the names.
    fn check_names(&self) -> Result<(), WalError> {
        if lock(&self.unsynced_name).is_none() {
            return Ok(());
        }
        let error = std::io::Error::other("an earlier attempt to sync it has failed");
        Err(WalError::file("sync directory", &self.config.directory)(
            error,
        ))
    }

    fn fill(
        &self,
        io: &mut IoContext,
        path: &std::path::Path,
        head: &[u8],
    ) -> Result<(), WalError> {
        let size = u64::from(self.config.segment_size.bytes());
        let options = OpenOptions {
            read: true,
            ..OpenOptions::OVERWRITE
        };
        let file = self
            .storage
            .open(path, options.with_direct(self.config.io_direct_wal_init))
            .map_err(WalError::file("create", path))?;
        let written_to = if self.config.wal_init_zero {
            size
        } else {
            self.storage
                .set_len(&file, size)
                .map_err(WalError::file("extend", path))?;
            head.len() as u64
        };
        write_all(io, &file, 0, written_to, head).map_err(WalError::file("write", path))?;
        io.fsync(&file).map_err(WalError::file("sync", path))
    }

    pub(crate) fn sync_directory(&self) -> Result<(), WalError> {
        let directory = &self.config.directory;
        self.storage
            .sync_dir(directory)
            .map_err(WalError::file("sync directory", directory))
    }

    /// Makes `[from, to)` of a segment zeros, durably. Both are multiples of what a direct file
    /// demands; `head` comes first.
    pub(crate) fn overwrite(
        &self,
        io: &mut IoContext,
        number: SegmentNumber,
        from: u64,
        head: &[u8],
    ) -> Result<(), WalError> {
        let path = self.path(number);
        // Many writes and one sync: none of them need be durable by itself.
        let file = self
            .storage
            .open(&path, self.options().with_dsync(false))
            .map_err(WalError::file("open", &path))?;
        let to = self.config.segment_size.bytes().into();
        write_all(io, &file, from, to, head).map_err(WalError::file("write", &path))?;
        io.fdatasync(&file).map_err(WalError::file("sync", &path))
    }

    /// Numbers of the segments of this timeline, in no order.
    pub(crate) fn list(&self) -> Result<Vec<SegmentNumber>, WalError> {
        let directory = &self.config.directory;
        let entries = self
            .storage
            .list(directory)
            .map_err(WalError::file("list", directory))?;
        let size = self.config.segment_size;
        Ok(entries
            .iter()
            .filter(|entry| entry.kind == FileKind::File)
            .filter_map(|entry| size.parse_file_name(entry.name.to_str()?))
            .filter(|(timeline, _)| *timeline == self.config.timeline)
            .map(|(_, number)| number)
            .collect())
    }

    /// Removes what was left of segments that were being made.
    pub(crate) fn remove_temporary(&self) -> Result<(), WalError> {
        let directory = &self.config.directory;
        let entries = self
            .storage
            .list(directory)
            .map_err(WalError::file("list", directory))?;
        for entry in entries {
            if entry.name.to_string_lossy().starts_with(TEMPORARY_PREFIX) {
                let path = directory.join(&entry.name);
                self.storage
                    .unlink(&path)
                    .map_err(WalError::file("remove", &path))?;
            }
        }
        Ok(())
    }

    /// Removes the segments of this timeline from `first` on, durably.
    pub(crate) fn remove_from(&self, first: SegmentNumber) -> Result<u64, WalError> {
        let _names = lock(&self.names);
        let mut numbers = self.list()?;
        numbers.retain(|number| *number >= first);
        // The last one first: what is left after a crash in between has no gap.
        numbers.sort_unstable_by_key(|number| std::cmp::Reverse(*number));
        for number in &numbers {
            self.remove(*number)?;
        }
        self.sync_directory()?;
        Ok(numbers.len() as u64)
    }

    /// Removes the segments before `first`, or renames them to serve after `end`, up to segment
    /// `recycle_to`.
    pub(crate) fn remove_before(
        &self,
        first: SegmentNumber,
        end: Lsn,
        recycle_to: SegmentNumber,
    ) -> Result<(), WalError> {
        let mut free = self.config.segment_size.segment_of(end) + 1;
        let mut old = self.list()?;
        old.retain(|number| *number < first);
        old.sort_unstable();
        for number in old {
            let _names = lock(&self.names);
            if self.config.wal_recycle && self.check_names().is_ok() {
                while free <= recycle_to && self.is_there(free)? {
                    free += 1;
                }
                if free <= recycle_to {
                    self.recycle(number, free)?;
                    continue;
                }
            }
            self.remove(number)?;
        }
        Ok(())
    }

    fn recycle(&self, number: SegmentNumber, to: SegmentNumber) -> Result<(), WalError> {
        self.forget(number);
        self.give_name(to, &self.path(number))?;
        self.counts.recycled.fetch_add(1, Relaxed);
        Ok(())
    }

    fn remove(&self, number: SegmentNumber) -> Result<(), WalError> {
        self.forget(number);
        let path = self.path(number);
        self.storage
            .unlink(&path)
            .map_err(WalError::file("remove", &path))?;
        self.counts.removed.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Closes a segment's file, now or with the last I/O on it.
    fn forget(&self, number: SegmentNumber) {
        let mut open = lock(&self.open);
        let at = open.iter().position(|(other, _)| *other == number);
        let closed = at.map(|at| open.remove(at));
        drop(open);
        drop(closed);
    }
}

/// Writes `head` and then zeros to `[from, to)`, several writes in flight.
fn write_all(
    io: &mut IoContext,
    file: &Arc<File>,
    from: u64,
    to: u64,
    head: &[u8],
) -> std::io::Result<()> {
    let mut idle = AlignedBuf::zeroed_group(FILL_DEPTH, FILL_BYTES);
    let mut in_flight: VecDeque<RawIo> = VecDeque::with_capacity(FILL_DEPTH);
    let mut head = head;
    let mut at = from;
    let mut outcome = Ok(());
    while outcome.is_ok() && at < to {
        let Some(mut buffer) = idle.pop() else {
            outcome = take_oldest(io, &mut in_flight, &mut idle);
            continue;
        };
        let length = FILL_BYTES.min((to - at) as usize);
        let (now, later) = head.split_at(head.len().min(length));
        buffer[..now.len()].copy_from_slice(now);
        head = later;
        match io.write_raw(file, buffer, at, length) {
            Ok(write) => in_flight.push_back(write),
            Err(error) => outcome = Err(error.into()),
        }
        io.submit();
        at += length as u64;
    }
    while !in_flight.is_empty() {
        let waited = take_oldest(io, &mut in_flight, &mut idle);
        outcome = outcome.and(waited);
    }
    outcome
}

/// Waits for the oldest write and has its buffer back, zeros again.
fn take_oldest(
    io: &mut IoContext,
    in_flight: &mut VecDeque<RawIo>,
    idle: &mut Vec<AlignedBuf>,
) -> std::io::Result<()> {
    let Some(oldest) = in_flight.pop_front() else {
        return Ok(());
    };
    let (mut buffer, written) = oldest.wait(io);
    buffer.fill(0);
    idle.push(buffer);
    written.map(|_| ())
}
