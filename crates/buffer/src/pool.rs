//! The buffer pool: finding a block's buffer, reading one block, settings, counts.

use crate::callbacks::{ReadCallbacks, WriteCallbacks};
use crate::damage_log::ChecksumFailures;
use crate::descriptor::{IO_IN_PROGRESS, TAG_VALID, VALID};
use crate::error::BufferError;
use crate::frames::Frames;
use crate::mapping::{self, Mapping};
use crate::memory::{HugePages, HugePagesStatus, PageMemory};
use crate::pinned::PinnedBuffer;
use crate::reader::ReadMode;
use crate::registration::REGISTERED_FROM_BYTES;
use crate::replacement::Patience;
use crate::stats::{Count, Counters, IoAccount, PoolStats};
use crate::strategy::Strategy;
use crate::tag::{BufferTag, RelFork};
use crate::write_ahead_log::{NoLog, WriteAheadLog};
use crate::writeback::Writeback;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use trunkline_aio::{Aio, CallbackId, IoContext, RegisteredMemory};
use trunkline_pgformat::wal::rmgr_id::RmgrId;
use trunkline_pgformat::{BLCKSZ, BlockNumber, Oid};
use trunkline_smgr::Smgr;
use trunkline_wal::Wal;

/// Sizes and settings of a pool; fixed when it is made, except where a method says otherwise.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// Memory for pages (`shared_buffers`).
    pub shared_buffers_bytes: u64,
    /// Whether to ask for huge pages.
    pub huge_pages: HugePages,
    /// Largest read or write that neighbouring blocks are combined into.
    pub io_combine_limit_bytes: u32,
    /// Reads that a stream keeps in flight; 0 for no read-ahead.
    pub effective_io_concurrency: u32,
    /// The same for a stream of maintenance work.
    pub maintenance_io_concurrency: u32,
    /// Whether pages carry checksums (as pg_control says).
    pub data_checksums: bool,
    /// Blocks after which the kernel is asked to write what a checkpoint has written to buffered files
    /// (`checkpoint_flush_after`); 0 never. Nothing is asked of files that are written directly.
    pub checkpoint_flush_after_blocks: u32,
    /// The same for the background writer (`bgwriter_flush_after`).
    pub bgwriter_flush_after_blocks: u32,
    /// The same for everybody else (`backend_flush_after`).
    pub backend_flush_after_blocks: u32,
}

impl Default for PoolConfig {
    fn default() -> Self {
        PoolConfig {
            shared_buffers_bytes: 128 << 20,
            huge_pages: HugePages::Try,
            io_combine_limit_bytes: 128 << 10,
            effective_io_concurrency: 16,
            maintenance_io_concurrency: 16,
            data_checksums: true,
            checkpoint_flush_after_blocks: 32,
            bgwriter_flush_after_blocks: 64,
            backend_flush_after_blocks: 0,
        }
    }
}

/// Largest I/O in blocks (`io_max_combine_limit`): 1 MB.
pub const MAX_COMBINE_BLOCKS: u32 = 128;
/// PostgreSQL's smallest `shared_buffers`.
const MIN_BUFFERS: u64 = 16;
const MAX_BUFFERS: u64 = i32::MAX as u64 / 2;
const MAX_IO_CONCURRENCY: u32 = 1000;
/// Extension locks; forks share them by hash.
const EXTENSION_LOCKS: usize = 64;

/// The pool. Shared by everybody as an `Arc`; every method that may start I/O takes the caller's
/// issuer.
pub struct BufferPool {
    /// Dropped before the frames.
    pub(crate) registered: Mutex<Option<RegisteredMemory>>,
    frames: Arc<Frames>,
    pub(crate) mapping: Mapping,
    aio: Arc<Aio>,
    smgr: Arc<Smgr>,
    pub(crate) read_callbacks: CallbackId,
    pub(crate) write_callbacks: CallbackId,
    pub(crate) hand: AtomicU64,
    pub(crate) counters: Counters,
    pub(crate) streams: AtomicUsize,
    extension: Box<[Mutex<()>]>,
    /// What pages wait for as long as there is no `wal`.
    log: Arc<dyn WriteAheadLog>,
    /// Set once, before the first logged change.
    wal: OnceLock<Arc<Wal>>,
    /// `wal_consistency_checking`: a bit for each resource manager's number.
    consistency_checking: AtomicU32,
    /// Of the victims that sessions write.
    backend_writeback: Mutex<Writeback>,
    /// Whether the next allocation wakes the background writer.
    pub(crate) waker_armed: AtomicBool,
    allocation_waker: OnceLock<AllocationWaker>,
    /// The background writer's rounds that wrote as much as they may.
    pub(crate) rounds_cut_short: AtomicU64,
    config: PoolConfig,
}

/// Wakes who sleeps until buffers are needed.
type AllocationWaker = Box<dyn Fn() + Send + Sync>;

/// A buffer found or made for a block.
pub(crate) enum Allocated {
    /// The block is in the pool, or somebody is bringing it in: look at the state.
    Found(PinnedBuffer),
    /// A buffer that carries the tag now and has to be read.
    Fresh(PinnedBuffer),
}

impl BufferPool {
    /// A pool of `config.shared_buffers_bytes`, empty, without a write-ahead log.
    ///
    /// # Errors
    /// As [`BufferPool::with_log`].
    pub fn new(
        config: PoolConfig,
        aio: Arc<Aio>,
        smgr: Arc<Smgr>,
    ) -> Result<Arc<BufferPool>, BufferError> {
        Self::with_log(config, aio, smgr, Arc::new(NoLog))
    }

    /// A pool of `config.shared_buffers_bytes`, empty. No page is written before `log` is durable up
    /// to its LSN.
    ///
    /// # Errors
    /// A size is out of its range, or the memory cannot be had.
    pub fn with_log(
        config: PoolConfig,
        aio: Arc<Aio>,
        smgr: Arc<Smgr>,
        log: Arc<dyn WriteAheadLog>,
    ) -> Result<Arc<BufferPool>, BufferError> {
        let buffers = config.shared_buffers_bytes / BLCKSZ as u64;
        check_range("shared_buffers", buffers, MIN_BUFFERS, MAX_BUFFERS)?;
        check_range(
            "io_combine_limit",
            u64::from(config.io_combine_limit_bytes) / BLCKSZ as u64,
            1,
            u64::from(MAX_COMBINE_BLOCKS),
        )?;
        let max = u64::from(MAX_IO_CONCURRENCY);
        check_range(
            "effective_io_concurrency",
            config.effective_io_concurrency.into(),
            0,
            max,
        )?;
        check_range(
            "maintenance_io_concurrency",
            config.maintenance_io_concurrency.into(),
            0,
            max,
        )?;
        let buffers = buffers as usize;
        let memory = PageMemory::map(buffers, config.huge_pages)?;
        let frames = Arc::new(Frames::new(memory, buffers, config.data_checksums));
        let reads = Arc::new(ReadCallbacks::new(Arc::clone(&frames)));
        let read_callbacks = aio.register_callbacks(Arc::clone(&reads) as _);
        reads.set_id(read_callbacks);
        let write_callbacks =
            aio.register_callbacks(Arc::new(WriteCallbacks::new(Arc::clone(&frames))));
        let pool = Arc::new(BufferPool {
            registered: Mutex::new(None),
            frames,
            mapping: Mapping::new(buffers),
            aio,
            smgr,
            read_callbacks,
            write_callbacks,
            hand: AtomicU64::new(0),
            counters: Counters::new(),
            streams: AtomicUsize::new(0),
            extension: (0..EXTENSION_LOCKS).map(|_| Mutex::new(())).collect(),
            log,
            wal: OnceLock::new(),
            consistency_checking: AtomicU32::new(0),
            backend_writeback: Mutex::new(Writeback::new(config.backend_flush_after_blocks)),
            waker_armed: AtomicBool::new(false),
            rounds_cut_short: AtomicU64::new(0),
            allocation_waker: OnceLock::new(),
            config,
        });
        if pool.config.shared_buffers_bytes >= REGISTERED_FROM_BYTES
            && let Err(error) = pool.register_memory()
        {
            tracing::warn!(%error, "could not register the buffer pool's memory for I/O");
        }
        Ok(pool)
    }

    pub(crate) fn frames_arc(&self) -> &Arc<Frames> {
        &self.frames
    }

    #[inline]
    pub(crate) fn frames(&self) -> &Frames {
        &self.frames
    }

    /// The AIO core that its I/O runs on.
    #[inline]
    pub fn aio(&self) -> &Arc<Aio> {
        &self.aio
    }

    /// The storage manager below.
    pub fn smgr(&self) -> &Arc<Smgr> {
        &self.smgr
    }

    /// The write-ahead log that its pages wait for.
    pub(crate) fn log(&self) -> &dyn WriteAheadLog {
        match self.wal.get() {
            Some(wal) => wal.as_ref(),
            None => self.log.as_ref(),
        }
    }

    /// From here on changes are logged in `wal`, and pages wait for it. Before, while a cluster is
    /// made or recovered, nothing is logged.
    ///
    /// # Panics
    /// If the pool has a log already.
    pub fn start_logging(&self, wal: Arc<Wal>) {
        let first = self.wal.set(wal).is_ok();
        assert!(first, "a buffer pool is given a second write-ahead log");
    }

    /// The log that changes go to; none while a cluster is made or recovered.
    #[inline]
    pub fn wal(&self) -> Option<&Arc<Wal>> {
        self.wal.get()
    }

    /// `wal_consistency_checking`: records of these resource managers carry images of all their pages,
    /// for recovery to compare with ([`redo::Redo::check_consistency`](crate::redo::Redo)).
    pub fn set_wal_consistency_checking(&self, rmgrs: &[RmgrId]) {
        let bits = rmgrs
            .iter()
            .fold(0, |bits, rmgr| bits | 1_u32.unbounded_shl(rmgr.0.into()));
        self.consistency_checking.store(bits, Ordering::Relaxed);
    }

    pub(crate) fn checks_consistency_of(&self, rmgr: RmgrId) -> bool {
        let bits = self.consistency_checking.load(Ordering::Relaxed);
        bits & 1_u32.unbounded_shl(rmgr.0.into()) != 0
    }

    pub(crate) fn backend_writeback(&self) -> MutexGuard<'_, Writeback> {
        // Only hints are lost by a panic.
        self.backend_writeback
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Who is to be woken, once, by the next buffer that is needed after the background writer went
    /// to sleep for long. `wake` is called by whoever needs the buffer and must not block. Set once.
    pub fn on_allocation(&self, wake: impl Fn() + Send + Sync + 'static) {
        let _ = self.allocation_waker.set(Box::new(wake));
    }

    /// A buffer is about to be taken from the clock sweep.
    pub(crate) fn note_allocation(&self) {
        if self.waker_armed.load(Ordering::Relaxed)
            && self.waker_armed.swap(false, Ordering::AcqRel)
            && let Some(wake) = self.allocation_waker.get()
        {
            wake();
        }
    }

    /// What it was made with.
    pub fn config(&self) -> &PoolConfig {
        &self.config
    }

    /// Buffers in the pool.
    pub fn buffers(&self) -> usize {
        self.frames.len()
    }

    /// What the pages' memory is on.
    pub fn huge_pages_status(&self) -> HugePagesStatus {
        self.frames.memory().status()
    }

    /// What the pool did so far.
    pub fn stats(&self) -> PoolStats {
        self.counters.snapshot(&IoAccount::ALL)
    }

    /// What it did on one account.
    pub fn stats_of(&self, account: IoAccount) -> PoolStats {
        self.counters.snapshot(&[account])
    }

    /// Rounds of the background writer that ended because they had written `bgwriter_lru_maxpages`. Here,
    /// so that who asks does not wait for a round.
    pub fn max_written_clean(&self) -> u64 {
        self.rounds_cut_short.load(Ordering::Relaxed)
    }

    /// Pages of the database `database` that failed their checksum; 0 for what the databases share.
    pub fn checksum_failures(&self, database: Oid) -> ChecksumFailures {
        self.frames.damage.checksum_failures(database)
    }

    /// Blocks of the fork.
    pub fn nblocks(&self, rel_fork: RelFork) -> Result<BlockNumber, BufferError> {
        Ok(self.smgr.nblocks(rel_fork.rel, rel_fork.fork)?)
    }

    /// Largest combined I/O in blocks, as configured.
    pub(crate) fn combine_blocks(&self) -> usize {
        self.config.io_combine_limit_bytes as usize / BLCKSZ
    }

    /// Buffers that one stream may pin: a share of half the pool among the streams there are, so that
    /// what a plain read needs can always be found.
    pub(crate) fn fair_share(&self) -> usize {
        let streams = self.streams.load(Ordering::Relaxed).max(2);
        (self.buffers() / 2 / streams).max(1)
    }

    /// The lock under which a fork becomes longer. Lock order: no content lock is waited for, and no
    /// victim looked for, under it.
    pub(crate) fn lock_extension(&self, rel_fork: RelFork) -> MutexGuard<'_, ()> {
        let hash = BufferTag::new(rel_fork, 0).hash();
        self.extension[hash as usize % EXTENSION_LOCKS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The block's buffer, pinned, if it is mapped; with the state at that moment.
    #[inline]
    pub(crate) fn lookup(
        self: &Arc<Self>,
        tag: &BufferTag,
        in_ring: bool,
    ) -> Option<(PinnedBuffer, u64)> {
        let hash = tag.hash();
        let partition = self.mapping.read(hash);
        let buffer = mapping::find(&partition, tag, hash)?;
        let state = self.frames.descriptor(buffer).pin_found(in_ring);
        drop(partition);
        Some((PinnedBuffer::adopt(self, buffer), state))
    }

    /// Finds the block's buffer or gives it one.
    pub(crate) fn allocate(
        self: &Arc<Self>,
        ctx: &mut IoContext,
        tag: BufferTag,
        strategy: Option<&mut Strategy>,
        patience: Patience,
    ) -> Result<Allocated, BufferError> {
        let in_ring = strategy.is_some();
        if let Some((found, _)) = self.lookup(&tag, in_ring) {
            return Ok(Allocated::Found(found));
        }
        let victim = self.victim(ctx, strategy, patience)?;
        let hash = tag.hash();
        let mut partition = self.mapping.write(hash);
        if let Some(buffer) = mapping::find(&partition, &tag, hash) {
            self.frames.descriptor(buffer).pin_found(in_ring);
            drop(partition);
            return Ok(Allocated::Found(PinnedBuffer::adopt(self, buffer)));
        }
        victim.descriptor().publish_tag(tag, TAG_VALID);
        mapping::insert(&mut partition, tag, hash, victim.index());
        drop(partition);
        Ok(Allocated::Fresh(victim))
    }

    /// The block, pinned and readable: from the pool, from somebody's read in progress (which is
    /// driven), or read now.
    ///
    /// # Errors
    /// Damaged page, I/O errors, no such block, no unpinned buffer.
    pub fn read(
        self: &Arc<Self>,
        ctx: &mut IoContext,
        rel_fork: RelFork,
        block: BlockNumber,
        strategy: Option<&mut Strategy>,
    ) -> Result<PinnedBuffer, BufferError> {
        self.read_in_mode(ctx, rel_fork, block, strategy, ReadMode::Normal)
    }

    /// The same, but a damaged page is published as zeros, with a warning: for what can be made anew
    /// (PostgreSQL's `RBM_ZERO_ON_ERROR`).
    ///
    /// # Errors
    /// As [`BufferPool::read`], damaged pages excepted.
    pub fn read_or_zero(
        self: &Arc<Self>,
        ctx: &mut IoContext,
        rel_fork: RelFork,
        block: BlockNumber,
    ) -> Result<PinnedBuffer, BufferError> {
        self.read_in_mode(ctx, rel_fork, block, None, ReadMode::ZeroOnError)
    }

    fn read_in_mode(
        self: &Arc<Self>,
        ctx: &mut IoContext,
        rel_fork: RelFork,
        block: BlockNumber,
        strategy: Option<&mut Strategy>,
        mode: ReadMode,
    ) -> Result<PinnedBuffer, BufferError> {
        let tag = BufferTag::new(rel_fork, block);
        let account = IoAccount::of(strategy.as_deref());
        if let Some((buffer, state)) = self.lookup(&tag, strategy.is_some())
            && state & VALID != 0
        {
            self.counters.add(account, buffer.index(), Count::Hits, 1);
            return Ok(buffer);
        }
        match self.allocate(ctx, tag, strategy, Patience::Wait)? {
            Allocated::Found(buffer) | Allocated::Fresh(buffer) => {
                self.make_valid(ctx, buffer, tag, account, mode)
            }
        }
    }

    /// Makes the page of a pinned buffer readable, by joining the read in progress or by reading.
    pub(crate) fn make_valid(
        self: &Arc<Self>,
        ctx: &mut IoContext,
        buffer: PinnedBuffer,
        tag: BufferTag,
        account: IoAccount,
        mode: ReadMode,
    ) -> Result<PinnedBuffer, BufferError> {
        let mut joined = false;
        loop {
            let state = buffer.descriptor().state();
            if state & VALID != 0 {
                let count = if joined { Count::Joined } else { Count::Hits };
                self.counters.add(account, buffer.index(), count, 1);
                return Ok(buffer);
            }
            if state & IO_IN_PROGRESS != 0 {
                joined = true;
                buffer.descriptor().wait_io(|wait_ref| ctx.wait(wait_ref));
                // Of damage that it met its issuer may never speak.
                self.frames.damage.tell();
                continue;
            }
            let only = std::slice::from_ref(&buffer);
            let read = self.start_read(ctx, tag.rel_fork, tag.block, only, account, mode)?;
            if let Some(read) = read {
                self.finish_read(ctx, &read, tag.block)?;
                if buffer.descriptor().state() & VALID != 0 {
                    return Ok(buffer);
                }
            }
        }
    }
}

impl fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferPool")
            .field("buffers", &self.buffers())
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

fn check_range(name: &'static str, value: u64, low: u64, high: u64) -> Result<(), BufferError> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(BufferError::SettingOutOfRange {
        name,
        value,
        low,
        high,
    })
}
