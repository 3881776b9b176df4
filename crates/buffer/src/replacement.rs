//! Finding a buffer for a new block: the ring's next, or the clock sweep's.
//!
//! Whoever needs a buffer takes a clean one, and starts writing the dirty ones that it meets on the way
//! to it (B5), through the ordinary write path, with their dirty neighbours. So a buffer that was met
//! dirty is clean when somebody comes to it again:
//! - A ring cleans what it will come to in a quarter of its length. What is dirty all the same when its
//!   turn comes, it lets go while it is written, takes another one from the sweep, and has the first one
//!   back when it is clean. As many as the ring is long can be on the way like this; with more, the
//!   writes are what everything waits for, and so does the ring. A load's ring lets nothing go: it
//!   would run ahead of its own writes, and take the pool from others.
//! - The sweep passes dirty buffers, starts writes of a few, and waits for the oldest of them only if
//!   no clean buffer was found in a long look.
//!
//! A dirty buffer that the write-ahead log is not durable for counts as one on the way; the flush that
//! it needs is started (B4). What waits all the same is counted: [`PoolStats::write_waits`].
//!
//! [`PoolStats::write_waits`]: crate::PoolStats::write_waits

use crate::descriptor::{DIRTY, Descriptor, IO_IN_PROGRESS, IO_WRITE, TAG_VALID};
use crate::error::BufferError;
use crate::mapping;
use crate::pinned::PinnedBuffer;
use crate::pool::BufferPool;
use crate::stats::{Count, IoAccount};
use crate::strategy::{Strategy, StrategyKind};
use crate::tag::BufferTag;
use crate::write_io::{Cleaning, WriteInFlight};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use trunkline_aio::{IoContext, WaitRef};
use trunkline_pgformat::Lsn;

/// Writes that one search for a victim starts.
const WRITES_AHEAD: usize = 16;
/// Dirty buffers that the sweep passes before it waits for a write that it has started: 32 MB, which
/// take less time to pass than a write takes.
const DIRTY_TO_PASS: usize = 4096;
/// Handles that an issuer's cleaning ahead leaves for its reads: with none left, starting the next I/O
/// would wait for an old one.
const HANDLES_LEFT: usize = 4;
/// Rounds of "all are pinned, but an I/O is going to unpin some" before that is an error (B9).
const PATIENT_ROUNDS: usize = 1000;

/// Whether to wait for I/Os in flight that pin buffers if everything is pinned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Patience {
    /// Read-ahead: do without.
    None,
    /// The block is needed now.
    Wait,
}

impl BufferPool {
    /// An unpinned buffer, made the caller's: without a tag, its only pin the one returned.
    pub(crate) fn victim(
        self: &Arc<Self>,
        ctx: &mut IoContext,
        strategy: Option<&mut Strategy>,
        patience: Patience,
    ) -> Result<PinnedBuffer, BufferError> {
        let mut staged = false;
        let victim = self.find_victim(ctx, strategy, patience, &mut staged);
        // Writes hold content locks (A4). A caller's reads are left where they are: neighbours that
        // are staged after them may go to the kernel with them.
        if staged {
            ctx.submit();
        }
        victim
    }

    fn find_victim(
        self: &Arc<Self>,
        ctx: &mut IoContext,
        mut strategy: Option<&mut Strategy>,
        patience: Patience,
        staged: &mut bool,
    ) -> Result<PinnedBuffer, BufferError> {
        if let Some(ring) = strategy.as_deref_mut()
            && let Some(victim) = self.ring_victim(ctx, ring, staged)?
        {
            return Ok(victim);
        }
        let account = IoAccount::of(strategy.as_deref());
        let victim = self.sweep(ctx, patience, account, staged)?;
        if let Some(ring) = strategy {
            ring.fill(victim.index());
        }
        Ok(victim)
    }

    /// The ring's next buffer, or one that it has let go, if it is there, clean, and nobody else uses
    /// it.
    fn ring_victim(
        self: &Arc<Self>,
        ctx: &mut IoContext,
        ring: &mut Strategy,
        staged: &mut bool,
    ) -> Result<Option<PinnedBuffer>, BufferError> {
        let Some(next) = ring.advance() else {
            return Ok(None);
        };
        let account = IoAccount::of(Some(ring));
        for upcoming in ring.upcoming().into_iter().flatten() {
            self.clean_ahead(ctx, upcoming, account, staged)?;
        }
        if let Some(victim) = self.take_clean(next, account) {
            // What was let go is looked after: its log may be durable by now.
            if let Some(oldest) = ring.oldest_let_go()
                && !self.clean_ahead(ctx, oldest, account, staged)?
            {
                ring.forget_oldest();
            }
            return Ok(Some(victim));
        }
        if self.clean_ahead(ctx, next, account, staged)? {
            if ring.kind() == StrategyKind::BulkWrite {
                self.counters.add(account, next, Count::WriteWaits, 1);
                self.finish_cleaning(ctx, next)?;
                return Ok(self.take_clean(next, account));
            }
            ring.let_go(next);
        }
        while let Some(oldest) = ring.oldest_let_go() {
            if let Some(victim) = self.take_clean(oldest, account) {
                ring.take_back(oldest);
                return Ok(Some(victim));
            }
            if !self.clean_ahead(ctx, oldest, account, staged)? {
                // Somebody uses it now, or it has been replaced: no longer the ring's.
                ring.forget_oldest();
            } else if ring.has_let_go_all() {
                self.counters.add(account, oldest, Count::WriteWaits, 1);
                self.finish_cleaning(ctx, oldest)?;
                if let Some(victim) = self.take_clean(oldest, account) {
                    ring.take_back(oldest);
                    return Ok(Some(victim));
                }
                // It could not be written, or somebody was quicker. The sweep will tell.
                ring.forget_oldest();
                break;
            } else {
                break;
            }
        }
        Ok(None)
    }

    /// Takes a buffer of a ring if it is idle and clean.
    fn take_clean(self: &Arc<Self>, buffer: u32, account: IoAccount) -> Option<PinnedBuffer> {
        let descriptor = self.frames().descriptor(buffer);
        if is_dirty(descriptor.state()) {
            return None;
        }
        let state = descriptor.claim_unpinned(1).ok()?;
        let victim = PinnedBuffer::adopt(self, buffer);
        if is_dirty(state) || !self.take_tag(&victim) {
            return None;
        }
        if state & TAG_VALID != 0 {
            self.counters.add(account, buffer, Count::Reuses, 1);
        }
        Some(victim)
    }

    /// Starts writing a buffer that a ring will come to, or came to, if it is dirty and idle (B5).
    /// Whether it is on its way to being clean.
    fn clean_ahead(
        self: &Arc<Self>,
        ctx: &mut IoContext,
        buffer: u32,
        account: IoAccount,
        staged: &mut bool,
    ) -> Result<bool, BufferError> {
        let descriptor = self.frames().descriptor(buffer);
        let state = descriptor.state();
        if state & IO_WRITE != 0 {
            // Pinned by its write alone.
            return Ok(Descriptor::pins(state) == 1);
        }
        let idle = Descriptor::pins(state) == 0 && is_dirty(state);
        if !idle || ctx.free_handles() <= HANDLES_LEFT || !descriptor.pin_if(DIRTY | TAG_VALID) {
            return Ok(false);
        }
        let pinned = PinnedBuffer::adopt(self, buffer);
        match self.start_cleaning(ctx, pinned, account)? {
            Cleaning::Left => Ok(false),
            Cleaning::Started(_) | Cleaning::NeedsLog(_) => {
                *staged = true;
                Ok(true)
            }
        }
    }

    /// Waits until a buffer that is on its way to being clean is so, or at least its write is over.
    fn finish_cleaning(
        self: &Arc<Self>,
        ctx: &mut IoContext,
        buffer: u32,
    ) -> Result<(), BufferError> {
        let descriptor = self.frames().descriptor(buffer);
        let state = descriptor.state();
        if state & IO_IN_PROGRESS != 0 {
            descriptor.wait_io(|wait_ref| ctx.wait(wait_ref));
        } else if descriptor.pin_if(DIRTY | TAG_VALID) {
            let pinned = PinnedBuffer::adopt(self, buffer);
            let lsn = self.newest_lsn(std::slice::from_ref(&pinned));
            self.log().flush(ctx, lsn)?;
        }
        Ok(())
    }

    /// The clock sweep (PostgreSQL's `StrategyGetBuffer`).
    fn sweep(
        self: &Arc<Self>,
        ctx: &mut IoContext,
        patience: Patience,
        account: IoAccount,
        staged: &mut bool,
    ) -> Result<PinnedBuffer, BufferError> {
        self.note_allocation();
        let buffers = self.buffers() as u64;
        let mut left = buffers;
        let mut search = Search::default();
        loop {
            let has_passed_enough = search.dirty_passed >= DIRTY_TO_PASS && search.can_wait();
            if left == 0 || has_passed_enough {
                if let Some(victim) = self.wait_for_victim(ctx, patience, account, &mut search)? {
                    return Ok(victim);
                }
                left = buffers;
            }
            let next = (self.hand.fetch_add(1, Ordering::Relaxed) % buffers) as u32;
            let descriptor = self.frames().descriptor(next);
            let state = match descriptor.claim_unpinned(0) {
                Ok(state) => state,
                Err(state) if Descriptor::pins(state) == 0 => {
                    descriptor.decay_usage(state);
                    left = buffers;
                    continue;
                }
                Err(state) => {
                    search.in_flight = descriptor.io_wait_ref(state).or(search.in_flight);
                    left -= 1;
                    continue;
                }
            };
            let victim = PinnedBuffer::adopt(self, next);
            if is_dirty(state) {
                left -= 1;
                search.dirty_passed += 1;
                if search.may_clean(ctx) {
                    if ctx.free_handles() == 0 {
                        self.counters.add(account, next, Count::WriteWaits, 1);
                    }
                    match self.start_cleaning(ctx, victim, account)? {
                        Cleaning::Started(write) => search.writes.push_back((next, write)),
                        Cleaning::NeedsLog(lsn) => {
                            search.log_needed = search.log_needed.max(lsn);
                            search.unlogged += 1;
                        }
                        Cleaning::Left => continue,
                    }
                    *staged = true;
                }
                continue;
            }
            if let Some(victim) = self.take_swept(victim, state, account) {
                return Ok(victim);
            }
        }
    }

    /// Takes a clean buffer that the sweep has claimed.
    fn take_swept(
        &self,
        victim: PinnedBuffer,
        state: u64,
        account: IoAccount,
    ) -> Option<PinnedBuffer> {
        if !self.take_tag(&victim) {
            return None;
        }
        let near = victim.index();
        if state & TAG_VALID != 0 {
            self.counters.add(account, near, Count::Evictions, 1);
        }
        self.counters.add(account, near, Count::Allocations, 1);
        Some(victim)
    }

    /// The sweep has found no clean buffer: has one from the writes that it has started, waiting for
    /// the oldest if it must. `None`: something has become clean or unpinned; look again.
    fn wait_for_victim(
        self: &Arc<Self>,
        ctx: &mut IoContext,
        patience: Patience,
        account: IoAccount,
        search: &mut Search,
    ) -> Result<Option<PinnedBuffer>, BufferError> {
        search.rounds += 1;
        search.dirty_passed = 0;
        if search.rounds == PATIENT_ROUNDS {
            return Err(BufferError::NoUnpinnedBuffers);
        }
        if let Some((buffer, write)) = search.writes.pop_front() {
            if !self.aio().is_complete(write.wait_ref) {
                if patience == Patience::None {
                    return Err(BufferError::NoUnpinnedBuffers);
                }
                self.counters.add(account, buffer, Count::WriteWaits, 1);
            }
            self.finish_write(ctx, &write)?;
            let Ok(state) = self.frames().descriptor(buffer).claim_unpinned(0) else {
                return Ok(None);
            };
            let victim = PinnedBuffer::adopt(self, buffer);
            if is_dirty(state) {
                return Ok(None);
            }
            return Ok(self.take_swept(victim, state, account));
        }
        // Everything is pinned, or waits for the log. What only an I/O pins comes free when that is
        // driven.
        if patience == Patience::None {
            return Err(BufferError::NoUnpinnedBuffers);
        }
        search.unlogged = 0;
        let lsn = std::mem::take(&mut search.log_needed);
        if lsn > Lsn::INVALID {
            self.counters.add(account, 0, Count::WriteWaits, 1);
            self.log().flush(ctx, lsn)?;
        } else if let Some(wait_ref) = search.in_flight.take() {
            ctx.wait(wait_ref);
        } else {
            return Err(BufferError::NoUnpinnedBuffers);
        }
        Ok(None)
    }

    /// Removes the victim from the mapping, unless somebody has found it in the meantime, or dirtied
    /// it. Afterwards it has no tag.
    pub(crate) fn take_tag(&self, victim: &PinnedBuffer) -> bool {
        let descriptor = victim.descriptor();
        if descriptor.state() & TAG_VALID == 0 {
            // Only its sole pinner gives a buffer a tag; an orphan may still have other pins.
            return descriptor.retract_tag();
        }
        let tag = descriptor.tag();
        let hash = tag.hash();
        let mut partition = self.mapping.write(hash);
        // It may have been orphaned before the partition was locked.
        let mapped = mapping::find(&partition, &tag, hash) == Some(victim.index())
            && descriptor.state() & TAG_VALID != 0;
        if !descriptor.retract_tag() {
            return false;
        }
        if mapped {
            mapping::remove(&mut partition, &tag, hash, victim.index());
        }
        true
    }

    /// The block's buffer, pinned, if it is mapped, dirty, and used by nobody.
    pub(crate) fn find_idle_dirty(self: &Arc<Self>, tag: &BufferTag) -> Option<PinnedBuffer> {
        let hash = tag.hash();
        let partition = self.mapping.read(hash);
        let buffer = mapping::find(&partition, tag, hash)?;
        let descriptor = self.frames().descriptor(buffer);
        let state = descriptor.state();
        let idle = Descriptor::pins(state) == 0 && is_dirty(state);
        let pinned = idle && descriptor.pin_if(DIRTY | TAG_VALID);
        drop(partition);
        pinned.then(|| PinnedBuffer::adopt(self, buffer))
    }
}

fn is_dirty(state: u64) -> bool {
    state & (DIRTY | TAG_VALID) == DIRTY | TAG_VALID
}

/// What one search of the clock sweep has met and started.
#[derive(Default)]
struct Search {
    /// Dirty buffers since the last wait.
    dirty_passed: usize,
    /// Writes started, oldest first, each with the buffer that it was started for.
    writes: VecDeque<(u32, WriteInFlight)>,
    /// How far the log must be durable for the dirty buffers that could not be written.
    log_needed: Lsn,
    /// How many those were.
    unlogged: usize,
    /// An I/O that pins a buffer that was met.
    in_flight: Option<WaitRef>,
    rounds: usize,
}

impl Search {
    /// Whether to start another write. The first one is started whatever it takes.
    fn may_clean(&self, ctx: &mut IoContext) -> bool {
        let started = self.writes.len() + self.unlogged;
        started == 0 || (started < WRITES_AHEAD && ctx.free_handles() > HANDLES_LEFT)
    }

    /// Whether there is something to wait for that makes a buffer clean.
    fn can_wait(&self) -> bool {
        !self.writes.is_empty() || self.log_needed > Lsn::INVALID
    }
}
