//! The background writer (B7, PostgreSQL's `BgBufferSync`): cleans ahead of the clock hand what will
//! be needed soon, so that nobody who needs a buffer meets a dirty one.
//!
//! How much will be needed is guessed from how much was: the rate of allocations, and how many buffers
//! the hand passes for one of them, each smoothed over some rounds.

use crate::descriptor::{DIRTY, Descriptor, TAG_VALID, VALID};
use crate::error::BufferError;
use crate::pinned::PinnedBuffer;
use crate::pool::BufferPool;
use crate::stats::IoAccount;
use crate::write_stream::WriteStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use trunkline_aio::IoContext;

/// Rounds that the rates are smoothed over.
const SMOOTHING_ROUNDS: f64 = 16.0;
/// The whole pool is looked at in this time, also if nothing is needed.
const WHOLE_POOL: Duration = Duration::from_secs(120);
/// Rounds without anything to do make the next pause so many times longer.
const HIBERNATE_FACTOR: u32 = 50;
/// Writes in flight.
const WRITES_IN_FLIGHT: usize = 16;

/// The settings `bgwriter_*`.
#[derive(Clone, Copy, Debug)]
pub struct BackgroundWriterConfig {
    /// Pause between rounds (`bgwriter_delay`).
    pub delay: Duration,
    /// Blocks that one round writes at most; 0: none (`bgwriter_lru_maxpages`).
    pub lru_max_pages: u32,
    /// Buffers to have clean, in multiples of what the last rounds needed
    /// (`bgwriter_lru_multiplier`).
    pub lru_multiplier: f64,
}

impl Default for BackgroundWriterConfig {
    fn default() -> Self {
        BackgroundWriterConfig {
            delay: Duration::from_millis(200),
            lru_max_pages: 100,
            lru_multiplier: 2.0,
        }
    }
}

/// What to do after a round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pause {
    /// How long to do nothing.
    pub delay: Duration,
    /// Whether [`BufferPool::on_allocation`]'s waker ends it earlier.
    pub hibernates: bool,
}

/// The clock hand as it was in the round before.
#[derive(Clone, Copy)]
struct Before {
    hand: u64,
    allocations: u64,
}

/// The background writer. Whoever runs it calls [`BackgroundWriter::step`] and pauses as long as that
/// says.
pub struct BackgroundWriter {
    pool: Arc<BufferPool>,
    config: BackgroundWriterConfig,
    before: Option<Before>,
    /// What is looked at next, counted like the hand.
    next: u64,
    smoothed_allocations: f64,
    /// Buffers that the hand passes for one allocation.
    smoothed_density: f64,
    has_idled: bool,
}

impl BackgroundWriter {
    /// One for `pool`, which has nothing to go by yet.
    pub fn new(pool: &Arc<BufferPool>, config: BackgroundWriterConfig) -> BackgroundWriter {
        BackgroundWriter {
            pool: Arc::clone(pool),
            config,
            before: None,
            next: 0,
            smoothed_allocations: 0.0,
            smoothed_density: 10.0,
            has_idled: false,
        }
    }

    /// One round. All of its writes have ended when it returns.
    ///
    /// # Errors
    /// A page could not be written; it stays dirty. The next round goes on behind it.
    pub fn step(&mut self, ctx: &mut IoContext) -> Result<Pause, BufferError> {
        let account = IoAccount::BackgroundWriter;
        let mut stream = WriteStream::with_account(&self.pool, WRITES_IN_FLIGHT, account);
        let idles = self.round(ctx, &mut stream);
        let finished = stream.finish(ctx);
        let idles = idles?;
        finished?;
        let hibernates = idles && self.has_idled;
        self.has_idled = idles;
        if hibernates {
            self.pool.waker_armed.store(true, Ordering::Release);
        }
        let factor = if hibernates { HIBERNATE_FACTOR } else { 1 };
        Ok(Pause {
            delay: self.config.delay * factor,
            hibernates,
        })
    }

    /// Whether nothing was needed and nothing could be done.
    fn round(
        &mut self,
        ctx: &mut IoContext,
        stream: &mut WriteStream,
    ) -> Result<bool, BufferError> {
        let buffers = self.pool.buffers() as u64;
        let hand = self.pool.hand.load(Ordering::Relaxed);
        let allocations = self.pool.stats().allocations;
        if self.config.lru_max_pages == 0 {
            self.before = None;
            return Ok(true);
        }
        let before = self.before.replace(Before { hand, allocations });
        let recent = before.map_or(0, |before| allocations - before.allocations);
        let passed = before.map_or(0, |before| hand - before.hand);
        // Never behind the hand, and never more than one round of the clock ahead of it.
        if before.is_none() || self.next < hand {
            self.next = hand;
        }
        let ahead = (self.next - hand).min(buffers);
        let to_lap = buffers - ahead;
        if passed > 0 && recent > 0 {
            self.smooth_density(passed as f64 / recent as f64);
        }
        // A rise is believed at once, a fall only bit by bit.
        let recent_rate = recent as f64;
        if self.smoothed_allocations <= recent_rate {
            self.smoothed_allocations = recent_rate;
        } else {
            self.smoothed_allocations +=
                (recent_rate - self.smoothed_allocations) / SMOOTHING_ROUNDS;
        }
        let mut wanted = (self.smoothed_allocations * self.config.lru_multiplier).floor();
        if wanted == 0.0 {
            self.smoothed_allocations = 0.0;
        }
        let clean_before = (ahead as f64 / self.smoothed_density).floor();
        let rounds = WHOLE_POOL.as_secs_f64() / self.config.delay.as_secs_f64().max(0.001);
        let least = (buffers as f64 / rounds).ceil();
        wanted = wanted.max(least + clean_before);
        let (looked_at, found) = self.clean(ctx, stream, to_lap, wanted - clean_before)?;
        if looked_at > 0 && found > 0 {
            self.smooth_density(looked_at as f64 / found as f64);
        }
        Ok(to_lap == 0 && recent == 0)
    }

    fn smooth_density(&mut self, density: f64) {
        self.smoothed_density += (density - self.smoothed_density) / SMOOTHING_ROUNDS;
    }

    /// Looks at buffers from `next` on, at most `limit`, and writes the dirty ones that the hand would
    /// take, until `wanted` can be taken. Gives how many were looked at, and how many can be taken.
    fn clean(
        &mut self,
        ctx: &mut IoContext,
        stream: &mut WriteStream,
        limit: u64,
        wanted: f64,
    ) -> Result<(u64, u64), BufferError> {
        let buffers = self.pool.buffers() as u64;
        let (mut looked_at, mut found, mut written) = (0, 0, 0);
        while looked_at < limit && (found as f64) < wanted {
            let buffer = (self.next % buffers) as u32;
            self.next += 1;
            looked_at += 1;
            let descriptor = self.pool.frames().descriptor(buffer);
            let state = descriptor.state();
            if Descriptor::pins(state) != 0 || Descriptor::usage(state) != 0 {
                continue;
            }
            found += 1;
            let dirty = DIRTY | TAG_VALID | VALID;
            if state & dirty != dirty || !descriptor.pin_if(dirty) {
                continue;
            }
            let pinned = PinnedBuffer::adopt(&self.pool, buffer);
            // Its neighbours cost little more, and spare somebody else a write.
            for neighbour in self.pool.with_idle_neighbours(pinned) {
                written += 1;
                stream.push(ctx, neighbour)?;
            }
            if written >= self.config.lru_max_pages {
                self.pool.rounds_cut_short.fetch_add(1, Ordering::Relaxed);
                break;
            }
        }
        Ok((looked_at, found))
    }
}
