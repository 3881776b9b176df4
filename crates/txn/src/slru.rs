//! A small page cache over files of fixed-size pages (`access/transam/slru.c`).
//!
//! Readers and writers of cached pages take the page table's read lock and touch atomic bytes;
//! only a miss, an eviction and a flush take the I/O mutex, whose holder owns the cache's one
//! issuer. An I/O here waits for nothing but itself and the log, whose insertions and flushes wait
//! for nobody who could wait for this; so holding a mutex across it cannot close a cycle with other
//! issuers' I/Os.
//!
//! A page that is not in its file is an error for readers; [`Slru::zero_page`] makes new ones. Files
//! are written when a page must make room and by a [`SlruFlush`], which alone syncs them. After a
//! failed sync nothing is written any more: the kernel may have dropped what it could not write.
//!
//! # The log before the page
//! A page remembers the records that it must not overtake, see [`Page::hold_back`]; whoever writes it
//! makes the log durable up to them first.
//!
//! # Two writers of one page
//! would race for what the disk has in the end. An eviction writes under the I/O mutex; a flush notes
//! the pages it is writing in [`SlruIo::writing`], and evictions pass those by.

mod flush;
mod page;
mod segment_files;

pub use flush::{FlushProgress, SlruFlush};
pub(crate) use page::{LSN_GROUPS, Page, PinnedPage};

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock};

use hashbrown::HashMap;
use trunkline_aio::{Aio, AlignedBuf, IoContext, Storage};
use trunkline_pgformat::slru::{SLRU_PAGES_PER_SEGMENT, page_position};
use trunkline_pgformat::{BLCKSZ, Lsn, Xid};
use trunkline_wal::Wal;

use crate::error::TxnError;
use crate::sync::{lock, read, write};
use segment_files::SegmentFiles;

/// Which number an SLRU's issuer shows in the I/O views; it belongs to no session.
const OWNER_ID: i32 = 0;

/// Where an SLRU's files are, and how many of its pages are kept in memory.
#[derive(Clone, Debug)]
pub struct SlruConfig {
    /// The directory of the segment files; its last component is how messages name it.
    pub directory: PathBuf,
    /// Pages of 8 KiB in memory (`transaction_buffers`); at least 2. Pages that running commits or a
    /// flush need stay beyond that.
    pub buffers: usize,
    /// Bypass the kernel's page cache where the file system allows it.
    pub direct: bool,
}

pub(crate) struct Slru {
    config: SlruConfig,
    /// The log that pages must not overtake; none while a cluster is made, and in recovery, when
    /// everything that is told is in the log already.
    wal: OnceLock<Arc<Wal>>,
    /// A file that is not there reads as zeros: its removal is still to be redone.
    in_recovery: AtomicBool,
    pages: RwLock<HashMap<u32, Arc<Page>>>,
    io: Mutex<SlruIo>,
    sync_failed: AtomicBool,
}

/// What doing I/O needs; whoever holds it may change which pages are in the table.
struct SlruIo {
    context: IoContext,
    files: SegmentFiles,
    /// Pages that a flush is writing.
    writing: Vec<u32>,
    /// A flush exists.
    is_flushing: bool,
    buffer: Option<AlignedBuf>,
    /// Where the eviction clock stands.
    hand: u32,
}

impl Slru {
    pub fn open(
        config: SlruConfig,
        aio: &Arc<Aio>,
        storage: Arc<dyn Storage>,
        in_recovery: bool,
    ) -> Result<Slru, TxnError> {
        let config = SlruConfig {
            buffers: config.buffers.max(2),
            ..config
        };
        Ok(Slru {
            wal: OnceLock::new(),
            in_recovery: AtomicBool::new(in_recovery),
            io: Mutex::new(SlruIo {
                context: aio.issuer(OWNER_ID)?,
                files: SegmentFiles::new(&config, storage),
                writing: Vec::new(),
                is_flushing: false,
                buffer: None,
                hand: 0,
            }),
            pages: RwLock::new(HashMap::new()),
            sync_failed: AtomicBool::new(false),
            config,
        })
    }

    /// From here on pages are held back for `wal`'s records, and files must be there.
    ///
    /// # Panics
    /// If there is a log already.
    pub fn start_logging(&self, wal: Option<Arc<Wal>>) {
        self.in_recovery.store(false, Ordering::Release);
        if let Some(wal) = wal {
            assert!(self.wal.set(wal).is_ok(), "an SLRU has one log");
        }
    }

    /// Calls `access` with a page, read from its file if need be. `xid` is for the error message.
    pub fn with_page<T>(
        &self,
        number: u32,
        xid: Xid,
        access: impl Fn(&Arc<Page>) -> T,
    ) -> Result<T, TxnError> {
        loop {
            if let Some(result) = self.with_cached(number, &access) {
                return Ok(result);
            }
            let mut io = lock(&self.io);
            if !read(&self.pages).contains_key(&number) {
                self.make_room(&mut io, xid)?;
                let page = self.read_page(&mut io, number, xid)?;
                write(&self.pages).insert(number, Arc::new(page));
            }
        }
    }

    /// Calls `access` with a page if it is in memory.
    pub fn with_cached<T>(&self, number: u32, access: impl Fn(&Arc<Page>) -> T) -> Option<T> {
        // Under the lock, so that no eviction can miss a change.
        let pages = read(&self.pages);
        let page = pages.get(&number)?;
        page.mark_used();
        Some(access(page))
    }

    /// Keeps a page in memory.
    pub fn pin(&self, number: u32, xid: Xid) -> Result<PinnedPage, TxnError> {
        self.with_page(number, xid, PinnedPage::pin)
    }

    /// Puts a new page of zeros into the cache, to be written later. `log` tells so in the log, before
    /// the page is there, and where its record ends.
    pub fn zero_page(
        &self,
        number: u32,
        xid: Xid,
        log: impl FnOnce(&mut IoContext, Option<&Wal>) -> Result<Lsn, TxnError>,
    ) -> Result<(), TxnError> {
        let mut io = lock(&self.io);
        if !read(&self.pages).contains_key(&number) {
            self.make_room(&mut io, xid)?;
        }
        let lsn = log(&mut io.context, self.wal.get().map(Arc::as_ref))?;
        let mut pages = write(&self.pages);
        let page = pages
            .entry(number)
            .or_insert_with(|| Arc::new(Page::new(&[0; BLCKSZ])));
        page.hold_back(0, lsn);
        page.clear();
        Ok(())
    }

    /// Removes the segments all of whose pages come before `cutoff`, in the order of `precedes`
    /// (`SimpleLruTruncate`).
    pub fn truncate(
        &self,
        cutoff: u32,
        precedes: impl Fn(u32, u32) -> bool,
    ) -> Result<(), TxnError> {
        let mut io = lock(&self.io);
        let directory = &self.config.directory;
        let segments = io.files.list().map_err(|source| TxnError::File {
            action: "list",
            path: directory.clone(),
            source,
        })?;
        for segment in segments {
            let first = segment * SLRU_PAGES_PER_SEGMENT;
            let last = first + SLRU_PAGES_PER_SEGMENT - 1;
            if !precedes(first, cutoff) || !precedes(last, cutoff) {
                continue;
            }
            write(&self.pages).retain(|number, _| !(first..=last).contains(number));
            io.files.remove(segment)?;
        }
        Ok(())
    }

    /// Begins to write every changed page and to sync every file written.
    ///
    /// # Errors
    /// An earlier sync failed.
    ///
    /// # Panics
    /// If another flush is not over.
    pub fn begin_flush(self: &Arc<Self>) -> Result<SlruFlush, TxnError> {
        self.check_sync_failed()?;
        let mut io = lock(&self.io);
        assert!(!io.is_flushing, "an SLRU is flushed by one at a time");
        io.is_flushing = true;
        let mut dirty: Vec<u32> = read(&self.pages)
            .iter()
            .filter(|(_, page)| page.is_dirty())
            .map(|(number, _)| *number)
            .collect();
        dirty.sort_unstable();
        Ok(SlruFlush::new(Arc::clone(self), dirty))
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
            if page.is_dirty() {
                self.write_page(io, number, &page, xid)?;
            }
            let mut pages = write(&self.pages);
            // Changed or pinned while it was written: it stays, and the clock goes on.
            if !page.is_dirty() && !page.is_pinned() {
                pages.remove(&number);
            }
        }
    }

    /// The page to evict; none if there is room, or if every page has to stay.
    fn victim(&self, io: &mut SlruIo) -> Option<(u32, Arc<Page>)> {
        let pages = read(&self.pages);
        if pages.len() < self.config.buffers {
            return None;
        }
        let mut numbers: Vec<u32> = pages
            .iter()
            .filter(|(number, page)| !page.is_pinned() && !io.writing.contains(number))
            .map(|(number, _)| *number)
            .collect();
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
        let file = match io.files.file(segment, false) {
            Ok(file) => file,
            Err(error)
                if error.kind() == io::ErrorKind::NotFound
                    && self.in_recovery.load(Ordering::Acquire) =>
            {
                let name = io.files.display_name(segment);
                tracing::info!("file \"{name}\" doesn't exist, reading as zeroes");
                return Ok(Page::new(&[0; BLCKSZ]));
            }
            Err(error) => return Err(io.files.failed(xid, segment, "open", offset, error)),
        };
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
                    io.files.display_name(segment)
                ),
                kind: io::ErrorKind::UnexpectedEof,
            }),
            Err(error) => Err(io.files.failed(xid, segment, "read from", offset, error)),
        }
    }

    /// Writes a page that no flush is writing.
    fn write_page(
        &self,
        io: &mut SlruIo,
        number: u32,
        page: &Page,
        xid: Xid,
    ) -> Result<(), TxnError> {
        self.check_sync_failed()?;
        let written = self.try_write_page(io, number, page, xid);
        if written.is_err() {
            page.mark_dirty();
        }
        written
    }

    fn try_write_page(
        &self,
        io: &mut SlruIo,
        number: u32,
        page: &Page,
        xid: Xid,
    ) -> Result<(), TxnError> {
        let (segment, offset) = page_position(number);
        let opened = io.files.file(segment, true);
        let file = opened.map_err(|error| io.files.failed(xid, segment, "open", offset, error))?;
        let mut buffer = io
            .buffer
            .take()
            .unwrap_or_else(|| AlignedBuf::zeroed(BLCKSZ));
        let lsn = page.copy_for_write(&mut buffer);
        if let Some(wal) = self.wal.get() {
            wal.flush(&mut io.context, lsn)?;
        }
        io.files.note_write(segment);
        let (buffer, result) = io
            .context
            .write_raw(&file, buffer, offset, BLCKSZ)?
            .wait(&mut io.context);
        io.buffer = Some(buffer);
        io.files.written(xid, segment, offset, result)
    }
}
