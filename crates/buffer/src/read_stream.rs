//! Reading blocks in an order known ahead: look-ahead, combining, bounded pins (B3).
//!
//! ```text
//!  next_block ──▶ pending run (block numbers) ──▶ queue (pinned buffers, in order) ──▶ next()
//!                 grows while neighbours miss      Hit | Read (ours, maybe in flight)
//!                                                  | Joined (somebody else's read) | Failed
//! ```
//!
//! Two distances, in blocks, as in PostgreSQL 19's `read_stream.c`: the *read-ahead distance*, how far
//! the stream looks beyond the block consumed, doubles when the consumer had to wait and only then;
//! the *combine distance*, how long a run may become before it is started, doubles with every read
//! started. Both shrink as blocks turn out to be hits, after a hold-off, so that a stream over cached
//! blocks ends at distance one, on its fast path, where a block costs one look at the mapping and the
//! method is never touched.

use crate::descriptor::{IO_IN_PROGRESS, VALID};
use crate::error::BufferError;
use crate::pinned::PinnedBuffer;
use crate::pool::{Allocated, BufferPool, MAX_COMBINE_BLOCKS};
use crate::read_io::ReadInFlight;
use crate::reader::ReadMode;
use crate::replacement::Patience;
use crate::stats::{Count, IoAccount};
use crate::strategy::Strategy;
use crate::tag::{BufferTag, RelFork};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use trunkline_aio::{IoContext, WaitRef};
use trunkline_pgformat::BlockNumber;
use trunkline_smgr::segment_remaining;

/// What is known about a stream beforehand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReadStreamFlags {
    /// Blocks come in order, without gaps: combine as much as allowed from the second read on.
    pub sequential: bool,
    /// Maintenance work: `maintenance_io_concurrency` instead of `effective_io_concurrency`.
    pub maintenance: bool,
    /// All blocks will be consumed: start at full combining, without working up to it.
    pub full: bool,
}

/// What a session's settings say about its streams, where they differ from the pool's configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReadStreamLimits {
    /// `io_combine_limit`, in blocks.
    pub io_combine_blocks: Option<u32>,
    /// `effective_io_concurrency` or `maintenance_io_concurrency`.
    pub io_concurrency: Option<u32>,
}

enum Entry {
    /// Found in the pool.
    Hit(PinnedBuffer),
    /// Read by this stream.
    Read {
        buffer: PinnedBuffer,
        read: Arc<ReadInFlight>,
        /// The first block consumed of its read.
        leads: bool,
    },
    /// Somebody else is reading it, or failed to.
    Joined(PinnedBuffer),
    /// It could not even be started.
    Failed(BufferError),
}

/// A stream of blocks of one fork, in the order in which `next_block` names them.
pub struct ReadStream<F> {
    pool: Arc<BufferPool>,
    rel_fork: RelFork,
    strategy: Option<Strategy>,
    next_block: F,
    /// `next_block` has named the last one.
    ended: bool,
    /// A block that was named and could not be dealt with yet.
    unread: Option<BlockNumber>,
    /// Neighbouring misses, from `pending_first` on, not pinned yet.
    pending_first: BlockNumber,
    pending_blocks: usize,
    queue: VecDeque<Entry>,
    /// Own reads of which no block was consumed yet.
    reads_ahead: usize,
    read_ahead_distance: usize,
    combine_distance: usize,
    /// Hits that do not shrink the distances yet.
    hold_off: usize,
    sequential: bool,
    max_reads: usize,
    combine_limit: usize,
    /// Hits on the fast path, not counted in the pool yet.
    hits: u64,
}

impl<F: FnMut() -> Option<BlockNumber>> ReadStream<F> {
    /// A stream over `rel_fork`, through `strategy`'s ring if given.
    pub fn new(
        pool: &Arc<BufferPool>,
        rel_fork: RelFork,
        strategy: Option<Strategy>,
        flags: ReadStreamFlags,
        next_block: F,
    ) -> ReadStream<F> {
        Self::with_limits(
            pool,
            rel_fork,
            strategy,
            flags,
            ReadStreamLimits::default(),
            next_block,
        )
    }

    /// The same with a session's own limits, which are cut to what the pool allows.
    pub fn with_limits(
        pool: &Arc<BufferPool>,
        rel_fork: RelFork,
        strategy: Option<Strategy>,
        flags: ReadStreamFlags,
        limits: ReadStreamLimits,
        next_block: F,
    ) -> ReadStream<F> {
        let config = pool.config();
        let configured = if flags.maintenance {
            config.maintenance_io_concurrency
        } else {
            config.effective_io_concurrency
        };
        let concurrency = limits.io_concurrency.unwrap_or(configured) as usize;
        let combine = limits
            .io_combine_blocks
            .map_or(pool.combine_blocks(), |blocks| blocks as usize)
            .clamp(1, MAX_COMBINE_BLOCKS as usize);
        pool.streams.fetch_add(1, Ordering::Relaxed);
        let mut stream = ReadStream {
            pool: Arc::clone(pool),
            rel_fork,
            strategy,
            next_block,
            ended: false,
            unread: None,
            pending_first: 0,
            pending_blocks: 0,
            queue: VecDeque::new(),
            reads_ahead: 0,
            read_ahead_distance: 1,
            combine_distance: 1,
            hold_off: 0,
            sequential: flags.sequential,
            max_reads: concurrency.max(1),
            combine_limit: combine,
            hits: 0,
        };
        if flags.full {
            stream.combine_distance = stream.combine_limit();
            stream.read_ahead_distance = stream.combine_distance;
        }
        stream
    }

    /// The next block's buffer, pinned and readable; `None` after the last.
    ///
    /// When this returns, nothing is staged and not submitted (A4).
    ///
    /// # Errors
    /// What befell this block. The stream can go on with the next one.
    #[inline]
    pub fn next(&mut self, ctx: &mut IoContext) -> Result<Option<PinnedBuffer>, BufferError> {
        if self.queue.is_empty()
            && self.pending_blocks == 0
            && self.read_ahead_distance == 1
            && self.combine_distance == 1
        {
            let Some(block) = self.name_block() else {
                return Ok(None);
            };
            let tag = BufferTag::new(self.rel_fork, block);
            if let Some((buffer, state)) = self.pool.lookup(&tag, self.strategy.is_some())
                && state & VALID != 0
            {
                self.hits += 1;
                return Ok(Some(buffer));
            }
            self.unread = Some(block);
        }
        self.next_slow(ctx)
    }

    #[inline(never)]
    fn next_slow(&mut self, ctx: &mut IoContext) -> Result<Option<PinnedBuffer>, BufferError> {
        if self.queue.is_empty() {
            self.look_ahead(ctx, Patience::Wait);
        }
        let Some(entry) = self.queue.pop_front() else {
            return Ok(None);
        };
        // Whatever this block's fate: go on reading ahead first, so that the kernel works while the
        // consumer does.
        let taken = self.take(ctx, entry);
        self.look_ahead(ctx, Patience::None);
        taken.map(Some)
    }

    fn name_block(&mut self) -> Option<BlockNumber> {
        if let Some(block) = self.unread.take() {
            return Some(block);
        }
        if self.ended {
            return None;
        }
        let block = (self.next_block)();
        self.ended = block.is_none();
        block
    }

    /// Buffers that this stream may have pinned ahead at this moment.
    fn max_pinned(&self) -> usize {
        let wanted = (self.max_reads + 1) * self.combine_limit;
        let ring = self
            .strategy
            .as_ref()
            .map_or(usize::MAX, Strategy::pin_limit);
        wanted.min(ring).min(self.pool.fair_share()).max(1)
    }

    fn combine_limit(&self) -> usize {
        self.combine_limit.min(self.max_pinned())
    }

    // ---- the consumer's end ----

    fn take(&mut self, ctx: &mut IoContext, entry: Entry) -> Result<PinnedBuffer, BufferError> {
        match entry {
            Entry::Hit(buffer) => {
                self.count(buffer.index(), Count::Hits, 1);
                self.shrink();
                Ok(buffer)
            }
            Entry::Read {
                buffer,
                read,
                leads,
            } => {
                if leads {
                    self.reads_ahead -= 1;
                    self.note_wait(buffer.index(), Some(read.wait_ref));
                }
                let block = buffer.block();
                self.pool.finish_read(ctx, &read, block)?;
                if BufferPool::is_valid(&buffer) {
                    return Ok(buffer);
                }
                // Its read met another damaged page; its own fate is told by a read of its own.
                let tag = BufferTag::new(self.rel_fork, block);
                self.pool
                    .make_valid(ctx, buffer, tag, self.account(), ReadMode::Normal)
            }
            Entry::Joined(buffer) => {
                let state = buffer.descriptor().state();
                if state & IO_IN_PROGRESS != 0 {
                    self.note_wait(buffer.index(), buffer.descriptor().io_wait_ref(state));
                }
                let tag = BufferTag::new(self.rel_fork, buffer.block());
                self.pool
                    .make_valid(ctx, buffer, tag, self.account(), ReadMode::Normal)
            }
            Entry::Failed(error) => Err(error),
        }
    }

    /// The consumer has come to a read. If it has to wait, the stream has not looked ahead far enough.
    fn note_wait(&mut self, near: u32, wait_ref: Option<WaitRef>) {
        let waits = wait_ref.is_none_or(|wait_ref| !self.pool.aio().is_complete(wait_ref));
        if waits {
            self.count(near, Count::Waits, 1);
            let max = self.max_pinned();
            self.read_ahead_distance = (self.read_ahead_distance * 2).min(max);
            self.hold_off = max;
        }
    }

    fn shrink(&mut self) {
        if self.hold_off > 0 {
            self.hold_off -= 1;
            return;
        }
        self.read_ahead_distance = (self.read_ahead_distance - 1).max(1);
        self.combine_distance = (self.combine_distance - 1).max(1);
    }

    // ---- the producer's end ----

    /// Fills the queue. With [`Patience::Wait`] the consumer has nothing else to go on with.
    fn look_ahead(&mut self, ctx: &mut IoContext, patience: Patience) {
        while self.should_look_ahead() {
            let Some(block) = self.name_block() else {
                break;
            };
            let tag = BufferTag::new(self.rel_fork, block);
            let found = self.pool.lookup(&tag, self.strategy.is_some());
            let extends_run = self.pending_blocks > 0
                && block == self.pending_first.wrapping_add(self.pending_blocks as u32)
                && self.pending_blocks < segment_remaining(self.pending_first) as usize;
            if found.is_some() || !extends_run {
                // The run ends here.
                self.start_pending(ctx, patience);
                if self.pending_blocks > 0 {
                    self.unread = Some(block);
                    break;
                }
            }
            match found {
                Some((buffer, state)) if state & VALID != 0 => {
                    self.queue.push_back(Entry::Hit(buffer));
                }
                // Being read by somebody else: join. Else a read of it failed, or has not begun: try.
                Some((buffer, state)) if state & IO_IN_PROGRESS != 0 => {
                    self.queue.push_back(Entry::Joined(buffer));
                }
                found => {
                    drop(found);
                    if self.pending_blocks == 0 {
                        self.pending_first = block;
                    }
                    self.pending_blocks += 1;
                    if self.pending_blocks >= self.combine_limit() {
                        self.start_pending(ctx, patience);
                    }
                }
            }
        }
        let idle = self.queue.is_empty();
        let due = idle || (self.ended && self.unread.is_none());
        if self.pending_blocks > 0 && due && (idle || self.reads_ahead < self.max_reads) {
            self.start_pending(ctx, patience);
        }
        ctx.submit();
    }

    fn should_look_ahead(&self) -> bool {
        let held = self.queue.len() + self.pending_blocks;
        if self.ended && self.unread.is_none() || self.reads_ahead >= self.max_reads {
            return false;
        }
        if held == 0 {
            return true;
        }
        if held >= self.max_pinned() {
            return false;
        }
        held < self.read_ahead_distance
            // A run that is under way may reach its length.
            || (self.pending_blocks > 0 && self.pending_blocks < self.combine_distance)
    }

    /// Pins buffers for the pending run and starts reading it. If there are not enough buffers now,
    /// what is left stays pending, unless the consumer has nothing else to wait for.
    fn start_pending(&mut self, ctx: &mut IoContext, patience: Patience) {
        let wanted = self.pending_blocks;
        let first = self.pending_first;
        let mut buffers: Vec<PinnedBuffer> = Vec::with_capacity(wanted);
        let mut failed = None;
        while buffers.len() < wanted {
            let needed_now =
                patience == Patience::Wait && self.queue.is_empty() && buffers.is_empty();
            let patience = if needed_now {
                Patience::Wait
            } else {
                Patience::None
            };
            let tag = BufferTag::new(self.rel_fork, first + buffers.len() as u32);
            match self
                .pool
                .allocate(ctx, tag, self.strategy.as_mut(), patience)
            {
                Ok(Allocated::Fresh(buffer) | Allocated::Found(buffer)) => buffers.push(buffer),
                Err(BufferError::NoUnpinnedBuffers) if !needed_now => break,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        let started = buffers.len();
        self.start_reads(ctx, first, buffers);
        self.pending_first = first.wrapping_add(started as u32);
        self.pending_blocks = wanted - started;
        if let Some(error) = failed {
            self.queue.push_back(Entry::Failed(error));
            self.pending_first = self.pending_first.wrapping_add(1);
            self.pending_blocks -= 1;
        }
    }

    /// Queues `buffers`, which hold the blocks from `first` on, and starts reads of those that nobody
    /// has read or is reading meanwhile.
    fn start_reads(
        &mut self,
        ctx: &mut IoContext,
        mut first: BlockNumber,
        mut buffers: Vec<PinnedBuffer>,
    ) {
        while !buffers.is_empty() {
            let dealt_with = match self.pool.start_read(
                ctx,
                self.rel_fork,
                first,
                &buffers,
                self.account(),
                ReadMode::Normal,
            ) {
                Ok(Some(read)) => {
                    let read = Arc::new(read);
                    let blocks = read.blocks as usize;
                    for (nth, buffer) in buffers.drain(..blocks).enumerate() {
                        let read = Arc::clone(&read);
                        self.queue.push_back(Entry::Read {
                            buffer,
                            read,
                            leads: nth == 0,
                        });
                    }
                    self.reads_ahead += 1;
                    let grown = self.combine_distance * 2;
                    let limit = self.combine_limit();
                    self.combine_distance = if self.sequential {
                        limit
                    } else {
                        grown.min(limit)
                    };
                    blocks
                }
                Ok(None) => {
                    let buffer = buffers.remove(0);
                    let hit = BufferPool::is_valid(&buffer);
                    self.queue.push_back(if hit {
                        Entry::Hit(buffer)
                    } else {
                        Entry::Joined(buffer)
                    });
                    1
                }
                Err(error) => {
                    drop(buffers.remove(0));
                    self.queue.push_back(Entry::Failed(error));
                    1
                }
            };
            first += dealt_with as u32;
        }
    }
}

impl<F> ReadStream<F> {
    fn account(&self) -> IoAccount {
        IoAccount::of(self.strategy.as_ref())
    }

    fn count(&self, near: u32, count: Count, n: u64) {
        self.pool.counters.add(self.account(), near, count, n);
    }

    /// The distances that the stream has arrived at, in blocks: read-ahead, combine.
    pub fn distances(&self) -> (usize, usize) {
        (self.read_ahead_distance, self.combine_distance)
    }

    /// Blocks pinned ahead of the consumer.
    pub fn pinned_ahead(&self) -> usize {
        self.queue.len()
    }
}

impl<F> Drop for ReadStream<F> {
    /// Pins go with the queue. Reads in flight have pins of their own, and may have nobody else who
    /// knows of them: they are waited for, as PostgreSQL's `read_stream_reset` does.
    fn drop(&mut self) {
        for entry in &self.queue {
            if let Entry::Read { read, .. } = entry {
                self.pool.aio().wait(read.wait_ref);
            }
        }
        self.pool.streams.fetch_sub(1, Ordering::Relaxed);
        self.count(0, Count::Hits, self.hits);
    }
}

impl<F> fmt::Debug for ReadStream<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadStream")
            .field("rel_fork", &self.rel_fork)
            .field("queue", &self.queue.len())
            .field("pending_blocks", &self.pending_blocks)
            .field("distances", &self.distances())
            .finish_non_exhaustive()
    }
}
