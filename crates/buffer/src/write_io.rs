//! Starting writes from shared buffers, and telling how they ended.
//!
//! A write locks each buffer exclusively for as long as stamping the checksum takes, keeps the lock in
//! share-exclusive mode while the I/O is in flight, and gives it back in the completion. So a page
//! never changes between its checksum and the disk, and no copy is made.
//!
//! A page whose LSN is beyond what the write-ahead log has durable is not written (B4): its lock is
//! given back, and whoever wanted to write it is told what has to be flushed first. That is looked at
//! under the lock, so that no record can come in between.
#![expect(unsafe_code, reason = "hands pages to the kernel")]

use crate::descriptor::{DIRTY, IoClaim, IoKind, LockMode, TAG_VALID};
use crate::error::BufferError;
use crate::pinned::PinnedBuffer;
use crate::pool::{BufferPool, MAX_COMBINE_BLOCKS};
use crate::stats::{Count, IoAccount};
use crate::tag::{BufferTag, RelFork};
use std::sync::Arc;
use trunkline_aio::{IoContext, IoHandle, IoResult, IoReturn, TargetId, WaitRef};
use trunkline_pgformat::{BlockNumber, Lsn, PageMut, RELSEG_SIZE, page_checksum};
use trunkline_smgr::{relation_tag, segment_path, segment_remaining};

/// A write that was started.
#[derive(Debug)]
pub(crate) struct WriteInFlight {
    pub(crate) wait_ref: WaitRef,
    outcome: Arc<IoReturn>,
    pub(crate) rel_fork: RelFork,
    pub(crate) first: BlockNumber,
    pub(crate) blocks: u32,
}

/// Whether the first content lock of a run is waited for. Later ones never are (B4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FirstLock {
    /// Waited for. The caller has nothing staged.
    Wait,
    /// Only tried.
    Try,
}

/// What became of a run of buffers that were to be written.
#[derive(Debug)]
pub(crate) struct StartedWrite {
    /// How many of the buffers, from the first on, are dealt with.
    pub(crate) done: usize,
    /// The write, if any of them had to be written.
    pub(crate) write: Option<WriteInFlight>,
    /// How far the write-ahead log has to be durable before the rest can be written; `done` is 0.
    pub(crate) log_needed: Option<Lsn>,
}

impl StartedWrite {
    fn without_write(done: usize) -> StartedWrite {
        StartedWrite {
            done,
            write: None,
            log_needed: None,
        }
    }
}

/// What became of a dirty buffer that was met by chance.
#[derive(Debug)]
pub(crate) enum Cleaning {
    /// It is being written.
    Started(WriteInFlight),
    /// It cannot be written before the log is durable up to here; that was started.
    NeedsLog(Lsn),
    /// Somebody uses it, or it is clean by now.
    Left,
}

impl BufferPool {
    /// Starts one write of as many of `buffers`, which hold neighbouring blocks of one fork, as can be
    /// locked, from the first on. Clean ones need none: one at the front is dealt with on its own, one
    /// later on ends the run. With [`FirstLock::Try`], `done` is 0 if the first is locked. The write is
    /// pending: the caller submits before it returns to its own caller, or before it waits (A4).
    pub(crate) fn start_write(
        &self,
        ctx: &mut IoContext,
        buffers: &[PinnedBuffer],
        first_lock: FirstLock,
        account: IoAccount,
    ) -> Result<StartedWrite, BufferError> {
        let Some(first) = buffers.first() else {
            return Ok(StartedWrite::without_write(0));
        };
        let mut durable = Lsn::INVALID;
        let tag = first.tag();
        let mut locked: Vec<u32> = Vec::with_capacity(buffers.len());
        let limit = buffers.len().min(segment_remaining(tag.block) as usize);
        for (nth, buffer) in (0u32..).zip(&buffers[..limit]) {
            let guard = match buffer.try_exclusive() {
                Some(guard) => guard,
                None if nth == 0 && first_lock == FirstLock::Wait => buffer.exclusive(),
                None if nth == 0 => return Ok(StartedWrite::without_write(0)),
                None => break,
            };
            if buffer.descriptor().state() & (DIRTY | TAG_VALID) != DIRTY | TAG_VALID {
                if nth == 0 {
                    return Ok(StartedWrite::without_write(1));
                }
                break;
            }
            let lsn = guard.page().lsn();
            if lsn > durable {
                durable = self.log().durable_lsn();
            }
            if lsn > durable {
                drop(guard);
                if nth == 0 {
                    // Those behind it will need theirs as well.
                    let newest = self.newest_lsn(&buffers[..limit]).max(lsn);
                    return Ok(StartedWrite {
                        log_needed: Some(newest),
                        ..StartedWrite::without_write(0)
                    });
                }
                break;
            }
            assert!(buffer.tag() == BufferTag::new(tag.rel_fork, tag.block + nth));
            let mut guard = guard;
            self.stamp(&mut guard, tag.block + nth);
            guard.into_write_lock();
            locked.push(buffer.index());
        }
        let handle = match ctx.acquire() {
            Ok(handle) => handle,
            Err(error) => {
                self.unlock_unwritten(&locked);
                return Err(error.into());
            }
        };
        let claimed = self.claim_writes(&locked);
        if claimed.is_empty() {
            return Ok(StartedWrite::without_write(1));
        }
        let done = claimed.len();
        match self.stage_write(handle, tag, claimed, account) {
            Ok(write) => Ok(StartedWrite {
                done,
                write: Some(write),
                log_needed: None,
            }),
            Err(error) => {
                self.unlock_unwritten(claimed);
                Err(error)
            }
        }
    }

    /// The newest LSN of those pages that nobody is changing at the moment.
    pub(crate) fn newest_lsn(&self, buffers: &[PinnedBuffer]) -> Lsn {
        let lsns = buffers
            .iter()
            .filter_map(|buffer| Some(buffer.try_share()?.page().lsn()));
        lsns.max().unwrap_or(Lsn::INVALID)
    }

    /// Claims the locked buffers for a write, up to one whose block was dropped or truncated since it
    /// was locked (that takes no content lock); the locks from there on are given back.
    fn claim_writes<'a>(&self, locked: &'a [u32]) -> &'a [u32] {
        let claimed = locked
            .iter()
            .take_while(|&&buffer| {
                let claim = self.frames().descriptor(buffer).claim_io(IoKind::Write);
                // With the lock held nobody else can be writing it.
                assert!(
                    claim != IoClaim::InProgress,
                    "a locked buffer has an I/O in progress"
                );
                claim == IoClaim::Claimed
            })
            .count();
        let (claimed, rest) = locked.split_at(claimed);
        self.unlock_unwritten(rest);
        claimed
    }

    fn unlock_unwritten(&self, locked: &[u32]) {
        for &buffer in locked {
            self.frames()
                .descriptor(buffer)
                .unlock(LockMode::ShareExclusive);
        }
    }

    /// Sets the checksum that the page will have on disk. A new page (all zeros) has none.
    fn stamp(&self, page: &mut trunkline_pgformat::PageBytes, block: BlockNumber) {
        if !self.config().data_checksums || PageMut::new(page).view().is_new() {
            return;
        }
        let checksum = page_checksum(page, block);
        PageMut::new(page).set_checksum(checksum);
    }

    /// Stages a write of buffers that the caller has claimed and whose content locks it holds in
    /// share-exclusive mode; the I/O has them from then on. After an error the claims are given back.
    fn stage_write(
        &self,
        mut handle: IoHandle<'_>,
        tag: BufferTag,
        locked: &[u32],
        account: IoAccount,
    ) -> Result<WriteInFlight, BufferError> {
        let BufferTag {
            rel_fork,
            block: first,
        } = tag;
        let outcome = IoReturn::new();
        handle.target(relation_tag(
            TargetId::SharedBuffers,
            rel_fork.rel,
            rel_fork.fork,
            first,
        ));
        handle.callback(self.write_callbacks, 0);
        handle.set_data(locked);
        handle.report_to(&outcome);
        let memory = self.memory_of(locked);
        // SAFETY: the content locks are held in share-exclusive mode until the completion gives them
        // back, so nobody changes the pages (`Frames`, rules 2 and 4). The write's stage hook pins the
        // buffers; `Frames`, kept by the registered callbacks, keeps the memory mapped.
        let started = unsafe {
            self.smgr()
                .start_writev(handle, rel_fork.rel, rel_fork.fork, first, &memory)
        };
        match started {
            Ok(wait_ref) => {
                let blocks = locked.len() as u32;
                let count = |count, n| self.counters.add(account, locked[0], count, n);
                count(Count::Writes, 1);
                count(Count::WrittenBlocks, blocks.into());
                Ok(WriteInFlight {
                    wait_ref,
                    outcome,
                    rel_fork,
                    first,
                    blocks,
                })
            }
            Err(error) => {
                for &buffer in locked {
                    self.frames().descriptor(buffer).abandon_io();
                }
                Err(error.into())
            }
        }
    }

    /// Waits for a write and tells how it ended. After an error its buffers are still dirty.
    pub(crate) fn finish_write(
        &self,
        ctx: &mut IoContext,
        write: &WriteInFlight,
    ) -> Result<(), BufferError> {
        ctx.wait(write.wait_ref);
        let error = match write.outcome.get() {
            Some(IoResult::Error(failure)) => failure.into(),
            // Short writes are continued below; one that ends short wrote no more for lack of space.
            Some(IoResult::Partial { .. }) => std::io::ErrorKind::StorageFull.into(),
            _ => return Ok(()),
        };
        Err(BufferError::Write {
            path: segment_path(
                write.rel_fork.rel,
                write.rel_fork.fork,
                write.first / RELSEG_SIZE,
            ),
            first: write.first,
            last: write.first + write.blocks - 1,
            error,
        })
    }

    /// Starts a write, locks only tried, of a dirty buffer that was met by chance, with the dirty
    /// neighbours behind it that nobody uses; or the flush of the log that it needs first. Both are
    /// pending (A4).
    pub(crate) fn start_cleaning(
        self: &Arc<Self>,
        ctx: &mut IoContext,
        buffer: PinnedBuffer,
        account: IoAccount,
    ) -> Result<Cleaning, BufferError> {
        let run = self.with_idle_neighbours(buffer);
        let started = self.start_write(ctx, &run, FirstLock::Try, account)?;
        if let Some(lsn) = started.log_needed {
            self.log().start_flush(ctx, lsn)?;
            return Ok(Cleaning::NeedsLog(lsn));
        }
        let Some(write) = started.write else {
            return Ok(Cleaning::Left);
        };
        if self.config().backend_flush_after_blocks > 0 {
            self.backend_writeback().add(self, ctx, &write, account);
        }
        Ok(Cleaning::Started(write))
    }

    /// A buffer with the dirty neighbours behind it that nobody uses, as many as one write takes.
    pub(crate) fn with_idle_neighbours(
        self: &Arc<Self>,
        buffer: PinnedBuffer,
    ) -> Vec<PinnedBuffer> {
        let tag = buffer.tag();
        let limit = self
            .combine_blocks()
            .min(segment_remaining(tag.block) as usize);
        debug_assert!(limit <= MAX_COMBINE_BLOCKS as usize);
        let mut run = vec![buffer];
        while run.len() < limit {
            let next = BufferTag::new(tag.rel_fork, tag.block + run.len() as u32);
            match self.find_idle_dirty(&next) {
                Some(neighbour) => run.push(neighbour),
                None => break,
            }
        }
        run
    }
}
