//! Writing many buffers: neighbours combined, a bounded number of writes in flight (B4).

use crate::error::BufferError;
use crate::pinned::PinnedBuffer;
use crate::pool::BufferPool;
use crate::stats::IoAccount;
use crate::tag::BufferTag;
use crate::write_io::{FirstLock, WriteInFlight};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use trunkline_aio::IoContext;

/// A stream of writes. Buffers are pushed in the order in which they should be written, best by fork
/// and block; a run of neighbours becomes one write of at most `io_combine_limit`.
///
/// Of each run only the first content lock may be waited for, with nothing staged; if a later one is
/// taken, the run ends before it. A buffer that turns out to be clean is passed over. A buffer that
/// somebody else is writing is waited for, and that write driven.
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
    in_flight: VecDeque<WriteInFlight>,
    first_error: Option<BufferError>,
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
        WriteStream {
            pool: Arc::clone(pool),
            max_in_flight: max_in_flight.max(1),
            account,
            run: Vec::new(),
            in_flight: VecDeque::new(),
            first_error: None,
        }
    }

    /// Neighbours that one write takes: what waits to be started is pinned, so no more than half of
    /// what the stream may pin. The other half is for whoever fills the pages.
    fn run_limit(&self) -> usize {
        let share = (self.pool.fair_share() / 2).max(1);
        self.pool.combine_blocks().min(share)
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
        while !self.in_flight.is_empty() {
            self.finish_oldest(ctx);
        }
        self.take_error()
    }

    fn start_run(&mut self, ctx: &mut IoContext) {
        let run = std::mem::take(&mut self.run);
        let mut rest = run.as_slice();
        while !rest.is_empty() {
            while self.in_flight.len() >= self.max_in_flight {
                self.finish_oldest(ctx);
            }
            // Every write before is submitted, so nothing is staged while this waits for a lock.
            match self
                .pool
                .start_write(ctx, rest, FirstLock::Wait, self.account)
            {
                Ok(started) => {
                    ctx.submit();
                    self.in_flight.extend(started.write);
                    rest = &rest[started.done.max(1)..];
                }
                Err(error) => {
                    self.first_error.get_or_insert(error);
                    break;
                }
            }
        }
    }

    fn finish_oldest(&mut self, ctx: &mut IoContext) {
        if let Some(write) = self.in_flight.pop_front()
            && let Err(error) = self.pool.finish_write(ctx, &write)
        {
            self.first_error.get_or_insert(error);
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
