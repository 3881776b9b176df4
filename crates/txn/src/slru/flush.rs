//! Writing and syncing what changed: a bounded number of I/Os in flight, a step at a time.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use trunkline_aio::{AlignedBuf, File, IoContext, IoReturn, RawIo, WaitRef};
use trunkline_pgformat::slru::page_position;
use trunkline_pgformat::{BLCKSZ, Lsn, Xid};
use trunkline_wal::FlushState;

use super::{Page, Slru};
use crate::error::TxnError;
use crate::sync::{lock, read};

/// Writes, and then syncs, in flight at once.
const DEPTH: usize = 16;

/// How far a flush has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushProgress {
    /// Everything is on disk.
    Done,
    /// There is nothing to do until this I/O is complete.
    InFlight(WaitRef),
}

/// A flush: the pages that were changed when it began are written, and every file written since the
/// last flush is synced. Its owner drives it by [`SlruFlush::step`].
///
/// Dropped before its end, it waits for what is in flight; what it has not done is for the next one.
pub struct SlruFlush {
    slru: Arc<Slru>,
    phase: Phase,
    /// Pages to write, ascending.
    pages: VecDeque<u32>,
    /// Copied, and waiting for the log.
    ready: Option<ReadyPage>,
    writes: VecDeque<PageWrite>,
    idle: Vec<AlignedBuf>,
    segments: VecDeque<u32>,
    syncs: VecDeque<SegmentSync>,
    sync_directory: bool,
    pages_written: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Until all pages are written.
    Writing,
    /// Then until all files are synced.
    Syncing,
    /// Then until the directory is.
    SyncingDirectory,
    Done,
    Failed,
}

/// A page that this flush has to itself among those who write.
struct ReadyPage {
    number: u32,
    page: Arc<Page>,
    file: Arc<File>,
    buffer: AlignedBuf,
    lsn: Lsn,
}

struct PageWrite {
    number: u32,
    page: Arc<Page>,
    io: RawIo,
}

struct SegmentSync {
    segment: u32,
    result: Arc<IoReturn>,
    wait_ref: WaitRef,
}

impl SlruFlush {
    pub(super) fn new(slru: Arc<Slru>, dirty: Vec<u32>) -> SlruFlush {
        SlruFlush {
            slru,
            phase: Phase::Writing,
            pages: dirty.into(),
            ready: None,
            writes: VecDeque::new(),
            idle: Vec::new(),
            segments: VecDeque::new(),
            syncs: VecDeque::new(),
            sync_directory: false,
            pages_written: 0,
        }
    }

    /// Takes back what is complete and starts what can be started, without waiting for an I/O (except
    /// for insertions into the log that are under way, and for an eviction). To be called until it is
    /// done, with the same issuer.
    ///
    /// # Errors
    /// The log, a write or a sync failed; nothing is in flight any more. What was not written is for
    /// the next flush; after a failed sync there is none.
    ///
    /// # Panics
    /// After an error.
    pub fn step(&mut self, io: &mut IoContext) -> Result<FlushProgress, TxnError> {
        let result = self.advance(io);
        if result.is_err() {
            self.settle(io);
            self.phase = Phase::Failed;
        }
        result
    }

    /// Drives it to its end, and gives the number of pages that it has written.
    ///
    /// # Errors
    /// As [`SlruFlush::step`].
    pub fn run(mut self, io: &mut IoContext) -> Result<u64, TxnError> {
        while let FlushProgress::InFlight(wait_ref) = self.step(io)? {
            io.wait(wait_ref);
        }
        Ok(self.pages_written)
    }

    fn advance(&mut self, io: &mut IoContext) -> Result<FlushProgress, TxnError> {
        loop {
            match self.phase {
                Phase::Writing => {
                    self.reap_writes(io, false)?;
                    let wait_ref = self.start_writes(io)?;
                    io.submit();
                    let oldest = self.writes.front().map(|write| write.io.wait_ref());
                    if let Some(wait_ref) = wait_ref.or(oldest) {
                        return Ok(FlushProgress::InFlight(wait_ref));
                    }
                    // Every write so far was complete before this; what is written from here on, by
                    // evictions, is for the next flush.
                    let (segments, directory) = lock(&self.slru.io).files.take_unsynced();
                    self.segments.extend(segments);
                    self.sync_directory = directory;
                    self.phase = Phase::Syncing;
                }
                Phase::Syncing => {
                    self.reap_syncs(io, false)?;
                    self.start_syncs(io)?;
                    io.submit();
                    if let Some(oldest) = self.syncs.front() {
                        return Ok(FlushProgress::InFlight(oldest.wait_ref));
                    }
                    self.phase = Phase::SyncingDirectory;
                }
                Phase::SyncingDirectory => {
                    if self.sync_directory {
                        let synced = lock(&self.slru.io).files.sync_directory();
                        synced.inspect_err(|_| self.latch_sync_failure())?;
                        self.sync_directory = false;
                    }
                    self.phase = Phase::Done;
                }
                Phase::Done => return Ok(FlushProgress::Done),
                Phase::Failed => panic!("a flush that failed goes on"),
            }
        }
    }

    /// Starts writes up to the depth. What it returns has to be complete before it can go on.
    fn start_writes(&mut self, io: &mut IoContext) -> Result<Option<WaitRef>, TxnError> {
        while self.writes.len() < DEPTH {
            if self.ready.is_none() {
                self.ready = self.take_page()?;
            }
            let Some(ready) = &self.ready else {
                break;
            };
            if let Some(wal) = self.slru.wal.get() {
                match wal.start_flush(io, ready.lsn)? {
                    FlushState::Durable => {}
                    FlushState::InFlight(wait_ref) => return Ok(Some(wait_ref)),
                    // Not for long, and not for anything that this flush has in flight.
                    FlushState::Inserting => {
                        wal.flush(io, ready.lsn)?;
                    }
                }
            }
            let Some(ready) = self.ready.take() else {
                break;
            };
            let (_, offset) = page_position(ready.number);
            match io.write_raw(&ready.file, ready.buffer, offset, BLCKSZ) {
                Ok(write) => self.writes.push_back(PageWrite {
                    number: ready.number,
                    page: ready.page,
                    io: write,
                }),
                Err(error) => {
                    release_page(&self.slru, ready.number, &ready.page, false);
                    return Err(error.into());
                }
            }
        }
        Ok(None)
    }

    /// Claims and copies the next page that still has changes to write.
    fn take_page(&mut self) -> Result<Option<ReadyPage>, TxnError> {
        while let Some(number) = self.pages.pop_front() {
            let mut slru_io = lock(&self.slru.io);
            let page = read(&self.slru.pages).get(&number).cloned();
            // Evicted meanwhile, and so written.
            let Some(page) = page.filter(|page| page.is_dirty()) else {
                continue;
            };
            self.slru.check_sync_failed()?;
            let (segment, offset) = page_position(number);
            let opened = slru_io.files.file(segment, true);
            let file = opened.map_err(|error| {
                let files = &slru_io.files;
                files.failed(Xid::INVALID, segment, "open", offset, error)
            })?;
            slru_io.files.note_write(segment);
            slru_io.writing.push(number);
            drop(slru_io);
            let mut buffer = self
                .idle
                .pop()
                .unwrap_or_else(|| AlignedBuf::zeroed(BLCKSZ));
            let lsn = page.copy_for_write(&mut buffer);
            return Ok(Some(ReadyPage {
                number,
                page,
                file,
                buffer,
                lsn,
            }));
        }
        Ok(None)
    }

    /// Takes back the oldest writes that are complete; all of them, if it is to wait.
    fn reap_writes(&mut self, io: &mut IoContext, wait: bool) -> Result<(), TxnError> {
        while let Some(write) = self.writes.front()
            && (wait || io.aio().is_complete(write.io.wait_ref()))
            && let Some(PageWrite {
                number,
                page,
                io: write,
            }) = self.writes.pop_front()
        {
            let (buffer, result) = write.wait(io);
            self.idle.push(buffer);
            let (segment, offset) = page_position(number);
            let written = lock(&self.slru.io)
                .files
                .written(Xid::INVALID, segment, offset, result);
            release_page(&self.slru, number, &page, written.is_ok());
            written?;
            self.pages_written += 1;
        }
        Ok(())
    }

    fn start_syncs(&mut self, io: &mut IoContext) -> Result<(), TxnError> {
        while self.syncs.len() < DEPTH
            && let Some(&segment) = self.segments.front()
        {
            let opened = lock(&self.slru.io).files.file(segment, false);
            let file = match opened {
                Ok(file) => file,
                Err(error) => return Err(self.sync_failed(segment, error)),
            };
            let result = IoReturn::new();
            let mut handle = io.acquire()?;
            handle.report_to(&result);
            let wait_ref = handle.start_fsync(&file);
            self.segments.pop_front();
            self.syncs.push_back(SegmentSync {
                segment,
                result,
                wait_ref,
            });
        }
        Ok(())
    }

    fn reap_syncs(&mut self, io: &mut IoContext, wait: bool) -> Result<(), TxnError> {
        while let Some(sync) = self.syncs.front()
            && (wait || io.aio().is_complete(sync.wait_ref))
            && let Some(sync) = self.syncs.pop_front()
        {
            io.wait(sync.wait_ref);
            if let Some(failure) = sync.result.get().and_then(|result| result.failure()) {
                let errno = failure.errno();
                let error = errno.map_or_else(
                    || io::Error::from(io::ErrorKind::Other),
                    io::Error::from_raw_os_error,
                );
                return Err(self.sync_failed(sync.segment, error));
            }
        }
        Ok(())
    }

    fn sync_failed(&self, segment: u32, source: io::Error) -> TxnError {
        self.latch_sync_failure();
        TxnError::File {
            action: "fsync",
            path: lock(&self.slru.io).files.path(segment),
            source,
        }
    }

    fn latch_sync_failure(&self) {
        self.slru.sync_failed.store(true, Ordering::Release);
    }

    /// Waits for what is in flight, and leaves the rest to the next flush.
    fn settle(&mut self, io: &mut IoContext) {
        if let Some(ready) = self.ready.take() {
            release_page(&self.slru, ready.number, &ready.page, false);
        }
        io.submit();
        // Each round takes one back, whatever became of it; the first failure was told already.
        while !self.writes.is_empty() {
            if let Err(error) = self.reap_writes(io, true) {
                tracing::warn!(%error, detail = error.detail(), "another write failed");
            }
        }
        while !self.syncs.is_empty() {
            if let Err(error) = self.reap_syncs(io, true) {
                tracing::warn!(%error, "another sync failed");
            }
        }
        lock(&self.slru.io).files.give_back_unsynced(
            self.segments.drain(..),
            std::mem::take(&mut self.sync_directory),
        );
    }
}

impl Drop for SlruFlush {
    fn drop(&mut self) {
        let is_over = matches!(self.phase, Phase::Done | Phase::Failed);
        if !is_over {
            // Not with the SLRU's own issuer: settling takes its lock.
            let issuer = lock(&self.slru.io).context.aio().issuer(super::OWNER_ID);
            match issuer {
                Ok(mut io) => self.settle(&mut io),
                // Its pages stay claimed: no later flush can say that everything is on disk.
                Err(error) => {
                    tracing::error!(%error, "an abandoned flush cannot be cleaned up");
                    self.latch_sync_failure();
                }
            }
        }
        lock(&self.slru.io).is_flushing = false;
    }
}

/// Ends the claim on a page that was to be written.
fn release_page(slru: &Slru, number: u32, page: &Page, written: bool) {
    let mut io = lock(&slru.io);
    if !written {
        page.mark_dirty();
    }
    io.writing.retain(|other| *other != number);
}
