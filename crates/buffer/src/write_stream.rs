//! Writing many buffers: neighbours combined, a bounded number of writes in flight (B4).
//!
//! ```text
//!  push ──▶ run of neighbours ──▶ log durable? ── yes ──▶ in flight ──▶ written
//!                                     │ no: flush started        ▲
//!                                     └──▶ delayed ── durable ───┘
//! ```

use crate::error::BufferError;
use crate::pinned::PinnedBuffer;
use crate::pool::BufferPool;
use crate::stats::IoAccount;
use crate::tag::BufferTag;
use crate::write_io::{FirstLock, WriteInFlight};
use crate::writeback::Writeback;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use trunkline_aio::IoContext;
use trunkline_pgformat::Lsn;

/// A stream of writes. Buffers are pushed in the order in which they should be written, best by fork
/// and block; a run of neighbours becomes one write of at most `io_combine_limit`.
///
/// Of each run only the first content lock may be waited for, with nothing staged; if a later one is
/// taken, the run ends before it. A buffer that turns out to be clean is passed over. A buffer that
/// somebody else is writing is waited for, and that write driven.
///
/// A run whose pages are newer than what the write-ahead log has durable is put by: the flush that it
/// needs is started, not waited for, and the run is written when it is through. Only when more is put
/// by than the stream may pin does the producer wait for the log.
///
/// A stream that is dropped without [`WriteStream::finish`] leaves what it did not start dirty, and
/// waits for what is in flight, whose result nobody gets to know: a page that could not be written
/// stays dirty.
pub struct WriteStream {
    pool: Arc<BufferPool>,
    max_in_flight: usize,
    account: IoAccount,
    /// Neighbours not yet started.
    run: Vec<PinnedBuffer>,
    /// Runs that wait for the log.
    delayed: VecDeque<Delayed>,
    delayed_blocks: usize,
    in_flight: VecDeque<WriteInFlight>,
    started_blocks: u64,
    writeback: Writeback,
    first_error: Option<BufferError>,
}

struct Delayed {
    run: Vec<PinnedBuffer>,
    lsn: Lsn,
}

impl WriteStream {
    /// A stream with at most `max_in_flight` writes (at least one) at a time, on no particular
    /// account.
    pub fn new(pool: &Arc<BufferPool>, max_in_flight: usize) -> WriteStream {
        Self::with_account(pool, max_in_flight, IoAccount::Normal)
    }

    /// The same on the account of what it writes for.
    pub fn with_account(
        pool: &Arc<BufferPool>,
        max_in_flight: usize,
        account: IoAccount,
    ) -> WriteStream {
        pool.streams.fetch_add(1, Ordering::Relaxed);
        let flush_after_blocks = match account {
            IoAccount::Checkpointer => pool.config().checkpoint_flush_after_blocks,
            IoAccount::BackgroundWriter => pool.config().bgwriter_flush_after_blocks,
            _ => pool.config().backend_flush_after_blocks,
        };
        WriteStream {
            pool: Arc::clone(pool),
            max_in_flight: max_in_flight.max(1),
            account,
            run: Vec::new(),
            delayed: VecDeque::new(),
            delayed_blocks: 0,
            in_flight: VecDeque::new(),
            started_blocks: 0,
            writeback: Writeback::new(flush_after_blocks),
            first_error: None,
        }
    }

    /// Neighbours that one write takes: what waits to be started is pinned, so no more than half of
    /// what the stream may pin. The other half is for whoever fills the pages.
    fn run_limit(&self) -> usize {
        let share = (self.pool.fair_share() / 2).max(1);
        self.pool.combine_blocks().min(share)
    }

    /// Blocks that may wait for the log: what is left of the stream's half.
    fn delay_limit(&self) -> usize {
        (self.pool.fair_share() / 2).saturating_sub(self.run_limit())
    }

    /// Blocks of the writes that were started.
    pub fn started_blocks(&self) -> u64 {
        self.started_blocks
    }

    /// Writes in flight now.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Takes a buffer to write. May start writes and wait for old ones, never for this one.
    ///
    /// The caller holds no content lock: waiting for one here could otherwise wait for its own.
    ///
    /// # Errors
    /// The first error of any write of this stream that is known by now. The stream goes on; buffers
    /// that were not written stay dirty.
    pub fn push(&mut self, ctx: &mut IoContext, buffer: PinnedBuffer) -> Result<(), BufferError> {
        self.start_delayed(ctx);
        if !buffer.is_dirty() {
            return self.take_error();
        }
        let tag = buffer.tag();
        let is_neighbour = self.run.last().is_some_and(|last| {
            let last = last.tag();
            BufferTag::new(last.rel_fork, last.block.wrapping_add(1)) == tag
        });
        if !self.run.is_empty() && (!is_neighbour || self.run.len() >= self.run_limit()) {
            self.start_run(ctx);
        }
        self.run.push(buffer);
        if self.run.len() >= self.run_limit() {
            self.start_run(ctx);
        }
        self.take_error()
    }

    /// Starts what was pushed and not started yet, without waiting for it: for a producer that pauses.
    pub fn flush(&mut self, ctx: &mut IoContext) -> Result<(), BufferError> {
        self.start_run(ctx);
        self.take_error()
    }

    /// Starts the rest and waits for all writes in flight.
    ///
    /// # Errors
    /// The first error of any write; all have ended all the same.
    pub fn finish(&mut self, ctx: &mut IoContext) -> Result<(), BufferError> {
        self.start_run(ctx);
        while !self.delayed.is_empty() {
            self.wait_for_log(ctx);
        }
        while !self.in_flight.is_empty() {
            self.finish_oldest(ctx);
        }
        self.writeback.issue(&self.pool, ctx);
        self.take_error()
    }

    fn start_run(&mut self, ctx: &mut IoContext) {
        let run = std::mem::take(&mut self.run);
        self.start_delayed(ctx);
        self.start(ctx, run);
        while self.delayed_blocks > self.delay_limit() {
            self.wait_for_log(ctx);
        }
    }

    /// Starts writing a run, or puts it by, or parts of it the one and parts the other.
    fn start(&mut self, ctx: &mut IoContext, mut run: Vec<PinnedBuffer>) {
        // Before any content lock is waited for; looked at again under the locks.
        let newest = self.pool.newest_lsn(&run);
        if newest > self.pool.log().durable_lsn() {
            return self.delay(ctx, run, newest);
        }
        while !run.is_empty() {
            while self.in_flight.len() >= self.max_in_flight {
                self.finish_oldest(ctx);
            }
            // Every write before is submitted, so nothing is staged while this waits for a lock.
            let started = match self
                .pool
                .start_write(ctx, &run, FirstLock::Wait, self.account)
            {
                Ok(started) => started,
                Err(error) => {
                    self.first_error.get_or_insert(error);
                    return;
                }
            };
            ctx.submit();
            if let Some(lsn) = started.log_needed {
                return self.delay(ctx, run, lsn);
            }
            if let Some(write) = started.write {
                self.started_blocks += u64::from(write.blocks);
                self.in_flight.push_back(write);
            }
            run.drain(..started.done.max(1));
        }
    }

    /// Puts a run by until the log is durable up to `lsn`, which is started.
    fn delay(&mut self, ctx: &mut IoContext, run: Vec<PinnedBuffer>, lsn: Lsn) {
        match self.pool.log().start_flush(ctx, lsn) {
            Ok(_) => {
                ctx.submit();
                self.delayed_blocks += run.len();
                self.delayed.push_back(Delayed { run, lsn });
            }
            Err(error) => {
                self.first_error.get_or_insert(error.into());
            }
        }
    }

    /// Starts the runs that the log is durable for by now.
    fn start_delayed(&mut self, ctx: &mut IoContext) {
        if self.delayed.is_empty() {
            return;
        }
        let durable = self.pool.log().durable_lsn();
        // Those that are put by again go to the end.
        for _ in 0..self.delayed.len() {
            if let Some(delayed) = self.pop_delayed() {
                if delayed.lsn <= durable {
                    self.start(ctx, delayed.run);
                } else {
                    self.delayed_blocks += delayed.run.len();
                    self.delayed.push_back(delayed);
                }
            }
        }
    }

    /// Waits for the log as far as the oldest run needs it, and starts that run.
    fn wait_for_log(&mut self, ctx: &mut IoContext) {
        let Some(delayed) = self.pop_delayed() else {
            return;
        };
        match self.pool.log().flush(ctx, delayed.lsn) {
            Ok(()) => self.start(ctx, delayed.run),
            Err(error) => {
                self.first_error.get_or_insert(error.into());
            }
        }
    }

    fn pop_delayed(&mut self) -> Option<Delayed> {
        let delayed = self.delayed.pop_front()?;
        self.delayed_blocks -= delayed.run.len();
        Some(delayed)
    }

    fn finish_oldest(&mut self, ctx: &mut IoContext) {
        if let Some(write) = self.in_flight.pop_front() {
            match self.pool.finish_write(ctx, &write) {
                Ok(()) => self.writeback.add(&self.pool, ctx, &write, self.account),
                Err(error) => {
                    self.first_error.get_or_insert(error);
                }
            }
        }
    }

    fn take_error(&mut self) -> Result<(), BufferError> {
        self.first_error.take().map_or(Ok(()), Err)
    }
}

impl Drop for WriteStream {
    fn drop(&mut self) {
        for write in &self.in_flight {
            self.pool.aio().wait(write.wait_ref);
        }
        self.pool.streams.fetch_sub(1, Ordering::Relaxed);
    }
}
