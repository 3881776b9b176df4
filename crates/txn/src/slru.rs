//! A small page cache over files of fixed-size pages (`access/transam/slru.c`).
//!
//! Readers and writers of cached pages take the page table's read lock and touch atomic bytes;
//! only a miss, an eviction and a flush take the I/O mutex, whose holder owns the cache's one
//! issuer. An I/O here waits for nothing but itself, so holding a mutex across it cannot close a
//! cycle with other issuers' I/Os.
//!
//! A page that is not in its file is an error for readers; [`Slru::zero_page`] makes new ones. Files
//! are written when a page must make room and by [`Slru::flush`], which alone syncs them. After a
//! failed sync nothing is written any more: the kernel may have dropped what it could not write.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use hashbrown::HashMap;
use trunkline_aio::{Aio, AlignedBuf, File, IoContext, OpenOptions, Storage};
use trunkline_pgformat::slru::{page_position, segment_name};
use trunkline_pgformat::{BLCKSZ, Xid};

use crate::error::TxnError;
use crate::sync::{lock, read, write};

/// Which number an SLRU's issuer shows in the I/O views; it belongs to no session.
const OWNER_ID: i32 = 0;

/// Segments kept open: lookups of old ids may touch many of a large log's files.
const OPEN_FILES_MAX: usize = 8;

/// Where an SLRU's files are, and how many of its pages are kept in memory.
#[derive(Clone, Debug)]
pub struct SlruConfig {
    /// The directory of the segment files; its last component is how messages name it.
    pub directory: PathBuf,
    /// Pages of 8 KiB in memory (`transaction_buffers`); at least 2.
    pub buffers: usize,
    /// Bypass the kernel's page cache where the file system allows it.
    pub direct: bool,
}

/// A page in memory. Its bytes change only by atomic operations.
pub(crate) struct Page {
    bytes: Box<[AtomicU8]>,
    is_dirty: AtomicBool,
    /// Used since the eviction clock last passed.
    is_used: AtomicBool,
}

impl Page {
    fn new(bytes: &[u8]) -> Page {
        Page {
            bytes: bytes.iter().map(|byte| AtomicU8::new(*byte)).collect(),
            is_dirty: AtomicBool::new(false),
            is_used: AtomicBool::new(true),
        }
    }

    pub fn byte(&self, at: usize) -> u8 {
        self.bytes[at].load(Ordering::Acquire)
    }

    /// Replaces a byte by what `change` makes of it.
    pub fn change(&self, at: usize, mut change: impl FnMut(u8) -> u8) {
        let byte = &self.bytes[at];
        let mut now = byte.load(Ordering::Acquire);
        while let Err(other) =
            byte.compare_exchange_weak(now, change(now), Ordering::AcqRel, Ordering::Acquire)
        {
            now = other;
        }
        // After the change: a writer that cleared the mark before it may have missed the change.
        self.is_dirty.store(true, Ordering::Release);
    }

    fn mark_used(&self) {
        if !self.is_used.load(Ordering::Relaxed) {
            self.is_used.store(true, Ordering::Relaxed);
        }
    }
}

pub(crate) struct Slru {
    config: SlruConfig,
    storage: Arc<dyn Storage>,
    pages: RwLock<HashMap<u32, Arc<Page>>>,
    io: Mutex<SlruIo>,
    sync_failed: AtomicBool,
}

/// What doing I/O needs; whoever holds it may change which pages are in the table.
struct SlruIo {
    context: IoContext,
    /// Open segments, the most recently used last.
    files: Vec<(u32, Arc<File>)>,
    /// Segments written since they were last synced.
    unsynced: BTreeSet<u32>,
    has_new_files: bool,
    buffer: Option<AlignedBuf>,
    /// Where the eviction clock stands.
    hand: u32,
}

impl Slru {
    pub fn open(
        config: SlruConfig,
        aio: &Arc<Aio>,
        storage: Arc<dyn Storage>,
    ) -> Result<Slru, TxnError> {
        let config = SlruConfig {
            buffers: config.buffers.max(2),
            ..config
        };
        Ok(Slru {
            io: Mutex::new(SlruIo {
                context: aio.issuer(OWNER_ID)?,
                files: Vec::new(),
                unsynced: BTreeSet::new(),
                has_new_files: false,
                buffer: None,
                hand: 0,
            }),
            pages: RwLock::new(HashMap::new()),
            sync_failed: AtomicBool::new(false),
            config,
            storage,
        })
    }

    /// Calls `access` with a page, read from its file if need be. `xid` is for the error message.
    pub fn with_page<T>(
        &self,
        number: u32,
        xid: Xid,
        access: impl Fn(&Page) -> T,
    ) -> Result<T, TxnError> {
        loop {
            // Under the lock, so that no eviction can miss a change.
            if let Some(page) = read(&self.pages).get(&number) {
                page.mark_used();
                return Ok(access(page));
            }
            let mut io = lock(&self.io);
            if !read(&self.pages).contains_key(&number) {
                self.make_room(&mut io, xid)?;
                let page = self.read_page(&mut io, number, xid)?;
                write(&self.pages).insert(number, Arc::new(page));
            }
        }
    }

    /// Puts a new page of zeros into the cache, to be written later.
    pub fn zero_page(&self, number: u32, xid: Xid) -> Result<(), TxnError> {
        let mut io = lock(&self.io);
        if !read(&self.pages).contains_key(&number) {
            self.make_room(&mut io, xid)?;
        }
        let page = Page::new(&[0; BLCKSZ]);
        page.is_dirty.store(true, Ordering::Release);
        write(&self.pages).insert(number, Arc::new(page));
        Ok(())
    }

    /// Writes every changed page and syncs every file written. Gives the pages written.
    pub fn flush(&self) -> Result<u64, TxnError> {
        let mut io = lock(&self.io);
        let mut dirty: Vec<u32> = read(&self.pages)
            .iter()
            .filter(|(_, page)| page.is_dirty.load(Ordering::Acquire))
            .map(|(number, _)| *number)
            .collect();
        dirty.sort_unstable();
        let mut written = 0;
        for number in dirty {
            let page = read(&self.pages).get(&number).cloned();
            if let Some(page) = page {
                self.write_page(&mut io, number, &page, Xid::INVALID)?;
                written += 1;
            }
        }
        self.check_sync_failed()?;
        let unsynced: Vec<u32> = io.unsynced.iter().copied().collect();
        for segment in unsynced {
            let path = self.config.directory.join(segment_name(segment));
            let synced = match self.file(&mut io, segment, false) {
                Ok(file) => io.context.fsync(&file),
                Err(error) => Err(error),
            };
            if let Err(source) = synced {
                self.sync_failed.store(true, Ordering::Release);
                return Err(TxnError::File {
                    action: "fsync",
                    path,
                    source,
                });
            }
            io.unsynced.remove(&segment);
        }
        if io.has_new_files {
            if let Err(source) = self.storage.sync_dir(&self.config.directory) {
                self.sync_failed.store(true, Ordering::Release);
                let path = self.config.directory.clone();
                return Err(TxnError::File {
                    action: "fsync",
                    path,
                    source,
                });
            }
            io.has_new_files = false;
        }
        Ok(written)
    }

    fn check_sync_failed(&self) -> Result<(), TxnError> {
        if self.sync_failed.load(Ordering::Acquire) {
            return Err(TxnError::SyncFailed {
                directory: self.config.directory.clone(),
            });
        }
        Ok(())
    }

    /// Evicts until one more page fits: second chance, in the pages' order.
    fn make_room(&self, io: &mut SlruIo, xid: Xid) -> Result<(), TxnError> {
        loop {
            let Some((number, page)) = self.victim(io) else {
                return Ok(());
            };
            if page.is_dirty.load(Ordering::Acquire) {
                self.write_page(io, number, &page, xid)?;
            }
            let mut pages = write(&self.pages);
            // Changed while it was written: it stays, and the clock goes on.
            if !page.is_dirty.load(Ordering::Acquire) {
                pages.remove(&number);
            }
        }
    }

    /// The page to evict; none if there is room.
    fn victim(&self, io: &mut SlruIo) -> Option<(u32, Arc<Page>)> {
        let pages = read(&self.pages);
        if pages.len() < self.config.buffers {
            return None;
        }
        let mut numbers: Vec<u32> = pages.keys().copied().collect();
        numbers.sort_unstable();
        let start = numbers.partition_point(|number| *number < io.hand);
        // Two rounds suffice unless others use every page meanwhile; then any page will do.
        let clock = numbers.iter().cycle().skip(start).take(2 * numbers.len());
        let unused = clock
            .copied()
            .find(|number| !pages[number].is_used.swap(false, Ordering::Relaxed));
        let number = unused.or_else(|| numbers.first().copied())?;
        io.hand = number + 1;
        Some((number, pages[&number].clone()))
    }

    fn read_page(&self, io: &mut SlruIo, number: u32, xid: Xid) -> Result<Page, TxnError> {
        let (segment, offset) = page_position(number);
        let file = self
            .file(io, segment, false)
            .map_err(|error| self.failed(xid, segment, "open", offset, error))?;
        let buffer = io
            .buffer
            .take()
            .unwrap_or_else(|| AlignedBuf::zeroed(BLCKSZ));
        let (buffer, result) = io
            .context
            .read_raw(&file, buffer, offset, BLCKSZ)?
            .wait(&mut io.context);
        let page = Page::new(&buffer);
        io.buffer = Some(buffer);
        match result {
            Ok(BLCKSZ) => Ok(page),
            Ok(_) => Err(TxnError::Status {
                xid,
                detail: format!(
                    "Could not read from file \"{}\" at offset {offset}: read too few bytes.",
                    self.display_name(segment)
                ),
                kind: io::ErrorKind::UnexpectedEof,
            }),
            Err(error) => Err(self.failed(xid, segment, "read from", offset, error)),
        }
    }

    fn write_page(
        &self,
        io: &mut SlruIo,
        number: u32,
        page: &Page,
        xid: Xid,
    ) -> Result<(), TxnError> {
        self.check_sync_failed()?;
        let (segment, offset) = page_position(number);
        let file = self
            .file(io, segment, true)
            .map_err(|error| self.failed(xid, segment, "open", offset, error))?;
        let mut buffer = io
            .buffer
            .take()
            .unwrap_or_else(|| AlignedBuf::zeroed(BLCKSZ));
        // Before the bytes are copied: a change that the copy misses marks the page again.
        page.is_dirty.swap(false, Ordering::AcqRel);
        for (to, from) in buffer.iter_mut().zip(&page.bytes) {
            *to = from.load(Ordering::Acquire);
        }
        io.unsynced.insert(segment);
        let started = io.context.write_raw(&file, buffer, offset, BLCKSZ);
        let result = match started {
            Ok(write) => {
                let (buffer, result) = write.wait(&mut io.context);
                io.buffer = Some(buffer);
                result.map_err(|error| self.failed(xid, segment, "write to", offset, error))
            }
            Err(error) => Err(error.into()),
        };
        match result {
            Ok(BLCKSZ) => Ok(()),
            Ok(_) => {
                page.is_dirty.store(true, Ordering::Release);
                Err(TxnError::Status {
                    xid,
                    detail: format!(
                        "Could not write to file \"{}\" at offset {offset}: wrote too few bytes.",
                        self.display_name(segment)
                    ),
                    kind: io::ErrorKind::StorageFull,
                })
            }
            Err(error) => {
                page.is_dirty.store(true, Ordering::Release);
                Err(error)
            }
        }
    }

    /// The segment's open file; made if it is to be written and is not there.
    fn file(&self, io: &mut SlruIo, segment: u32, for_writing: bool) -> io::Result<Arc<File>> {
        if let Some(at) = io.files.iter().position(|(other, _)| *other == segment) {
            let entry = io.files.remove(at);
            let file = entry.1.clone();
            io.files.push(entry);
            return Ok(file);
        }
        let path = self.config.directory.join(segment_name(segment));
        let options = OpenOptions::READ_WRITE.with_direct(self.config.direct);
        let file = match self.storage.open(&path, options) {
            Err(error) if for_writing && error.kind() == io::ErrorKind::NotFound => {
                io.has_new_files = true;
                let options = OpenOptions::CREATE_NEW.with_direct(self.config.direct);
                self.storage.open(&path, options)?
            }
            opened => opened?,
        };
        if io.files.len() == OPEN_FILES_MAX {
            io.files.remove(0);
        }
        io.files.push((segment, file.clone()));
        Ok(file)
    }

    /// PostgreSQL's name of a segment: relative to the data directory.
    fn display_name(&self, segment: u32) -> String {
        let directory = self.config.directory.file_name().unwrap_or_default();
        format!("{}/{}", directory.to_string_lossy(), segment_name(segment))
    }

    /// `SlruReportIOError`.
    fn failed(
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
}
