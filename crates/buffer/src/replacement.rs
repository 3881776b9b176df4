//! Finding a buffer for a new block: the ring's next, or the clock sweep's.
//!
//! Dirty victims are written through the ordinary write path, asynchronously, and several ahead (B5):
//! a ring cleans what it will come to in a quarter of its length, with dirty neighbours; the sweep
//! starts writes of the dirty buffers that it passes and goes on looking for a clean one.

use crate::descriptor::{DIRTY, Descriptor, IO_WRITE, TAG_VALID};
use crate::error::BufferError;
use crate::mapping;
use crate::pinned::PinnedBuffer;
use crate::pool::BufferPool;
use crate::stats::{Count, IoAccount};
use crate::strategy::Strategy;
use crate::tag::BufferTag;
use crate::write_io::WriteInFlight;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use trunkline_aio::{IoContext, WaitRef};

/// Writes that one search for a victim starts before it waits for the first of them.
const WRITES_AHEAD: usize = 16;
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

    /// The ring's next buffer, if it is there and nobody else uses it.
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
        let descriptor = self.frames().descriptor(next);
        // Its write may still be in flight. Taking another buffer instead would make the ring grow
        // beyond itself; so wait, for the oldest of the ring's writes.
        let state = descriptor.state();
        if state & IO_WRITE != 0 && Descriptor::pins(state) == 1 {
            descriptor.wait_io(|wait_ref| ctx.wait(wait_ref));
        }
        let Ok(state) = descriptor.claim_unpinned(1) else {
            return Ok(None);
        };
        let victim = PinnedBuffer::adopt(self, next);
        if is_dirty(descriptor.state()) {
            // Cleaning ahead has not got here (or has just begun).
            if let Some(write) = self.start_cleaning(ctx, victim.clone(), account)? {
                self.finish_write(ctx, &write)?;
            }
        }
        if !self.take_tag(&victim) {
            return Ok(None);
        }
        if state & TAG_VALID != 0 {
            self.counters.add(account, next, Count::Reuses, 1);
        }
        *staged |= self.clean_upcoming(ctx, ring)?;
        Ok(Some(victim))
    }

    /// Starts writing what the ring will come to (B5); whether there was something.
    fn clean_upcoming(
        self: &Arc<Self>,
        ctx: &mut IoContext,
        ring: &Strategy,
    ) -> Result<bool, BufferError> {
        let Some(upcoming) = ring.upcoming() else {
            return Ok(false);
        };
        let descriptor = self.frames().descriptor(upcoming);
        let state = descriptor.state();
        if Descriptor::pins(state) == 0 && is_dirty(state) && descriptor.pin_if(DIRTY | TAG_VALID) {
            let buffer = PinnedBuffer::adopt(self, upcoming);
            let write = self.start_cleaning(ctx, buffer, IoAccount::of(Some(ring)))?;
            return Ok(write.is_some());
        }
        Ok(false)
    }

    /// The clock sweep (PostgreSQL's `StrategyGetBuffer`).
    fn sweep(
        self: &Arc<Self>,
        ctx: &mut IoContext,
        patience: Patience,
        account: IoAccount,
        staged: &mut bool,
    ) -> Result<PinnedBuffer, BufferError> {
        let buffers = self.buffers() as u64;
        let mut left = buffers;
        let mut rounds = 0;
        let mut in_flight: Option<WaitRef> = None;
        let mut writes: VecDeque<WriteInFlight> = VecDeque::new();
        loop {
            if left == 0 {
                // Everything is pinned. What only an I/O pins comes free when that is driven.
                if patience == Patience::None || rounds == PATIENT_ROUNDS {
                    return Err(BufferError::NoUnpinnedBuffers);
                }
                if let Some(write) = writes.pop_front() {
                    self.finish_write(ctx, &write)?;
                } else if let Some(wait_ref) = in_flight.take() {
                    ctx.wait(wait_ref);
                } else {
                    return Err(BufferError::NoUnpinnedBuffers);
                }
                rounds += 1;
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
                    in_flight = descriptor.io_wait_ref(state).or(in_flight);
                    left -= 1;
                    continue;
                }
            };
            let victim = PinnedBuffer::adopt(self, next);
            if is_dirty(state) {
                if let Some(write) = self.start_cleaning(ctx, victim, account)? {
                    *staged = true;
                    writes.push_back(write);
                }
                if writes.len() == WRITES_AHEAD
                    && let Some(write) = writes.pop_front()
                {
                    // So much dirt ahead of the hand: what was written first is clean first.
                    self.finish_write(ctx, &write)?;
                    left = buffers;
                }
                continue;
            }
            if self.take_tag(&victim) {
                if state & TAG_VALID != 0 {
                    self.counters.add(account, next, Count::Evictions, 1);
                }
                return Ok(victim);
            }
        }
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
