//! Starting writes and syncs of the log, and waiting for them (W2, W3, W4).
//!
//! ```text
//!  flush(lsn) ──▶ insertions before lsn published? ── no ──▶ wait for them
//!      │ yes
//!      ▼
//!  claim what is complete (one lock) ──▶ copy of the last unit ──▶ handle ──▶ method
//!      │                                                             │ any thread
//!      │      in flight: [w][w][w]                                   ▼
//!      └──▶ wait for the oldest before lsn, driving it ◀── completion: done? the prefix grows
//! ```
//!
//! A handle is acquired before its range is claimed: acquiring may complete I/O, and completions take
//! the writer's lock. From the claim on, the range's wait reference is known to everybody; who meets
//! it before the I/O is started waits for some instructions of another thread.
#![expect(
    unsafe_code,
    reason = "starts writes of the ring's memory, which they keep alive"
)]

use std::sync::Arc;

use arrayvec::ArrayVec;
use trunkline_aio::{IoContext, Op, WaitRef};
use trunkline_pgformat::Lsn;
use trunkline_pgformat::wal::segment::SegmentNumber;

use crate::Wal;
use crate::completion::Progress;
use crate::error::{Failure, WalError};
use crate::tag::wal_tag;
use crate::writer::{Extent, NextSync, NextWrite};

/// How far a flush has come that does not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushState {
    /// Everything asked for is durable.
    Durable,
    /// To be asked again when this I/O is complete. Not necessarily durable then.
    InFlight(WaitRef),
    /// To be asked again: insertions before are in progress. They may be waiting for the WAL buffers,
    /// never for who asks.
    Inserting,
}

/// What an attempt to start something came to.
enum Step {
    Started(WaitRef),
    Nothing,
    After(WaitRef),
}

/// Who completes what is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Completer {
    /// Who starts it waits for it, or another thread will that needs it; the method if a task does.
    Waiter,
    /// A task starts it: the method is to see to it.
    Method,
}

/// I/Os that one call has started.
struct Started<'w> {
    progress: &'w Progress,
    completer: Completer,
    /// Few: a flush that starts more than one write is a rare one.
    ios: ArrayVec<WaitRef, 8>,
}

impl<'w> Started<'w> {
    fn new(progress: &'w Progress, completer: Completer) -> Self {
        Started {
            progress,
            completer,
            ios: ArrayVec::new(),
        }
    }

    fn push(&mut self, io: &mut IoContext, wait_ref: WaitRef) {
        if self.ios.is_full() {
            self.submit(io);
        }
        self.ios.push(wait_ref);
    }

    /// Gives all that is pending to the method.
    fn submit(&mut self, io: &mut IoContext) {
        io.submit();
        // Looked at before the state is changed: a task that comes later sees the I/O as submitted.
        let goes_on = self.completer == Completer::Method || !self.progress.waiters.is_empty();
        for wait_ref in self.ios.drain(..) {
            if self
                .progress
                .with(|state| state.submitted(wait_ref, goes_on))
            {
                io.aio().drive(wait_ref);
            }
        }
    }
}

/// A claimed range whose I/O is not started yet. If it never is, nothing behind it can become durable.
struct ClaimedWrite<'w> {
    wal: &'w Wal,
    number: usize,
    start: Lsn,
    started: bool,
}

impl Drop for ClaimedWrite<'_> {
    fn drop(&mut self) {
        if !self.started {
            let config = &self.wal.config;
            let failure = Failure::abandoned(config.timeline, config.segment_size, self.start);
            // Tells everybody, as it fails the log.
            self.wal
                .progress
                .with(|state| state.complete_write(self.number, Err(failure)));
        }
    }
}

/// Counts a thread that flushes, for as long as it does.
struct Flusher<'w>(&'w Wal);

impl<'w> Flusher<'w> {
    fn enter(wal: &'w Wal) -> Self {
        wal.progress.with(|state| state.enter_flush());
        Flusher(wal)
    }
}

impl Drop for Flusher<'_> {
    fn drop(&mut self) {
        self.0.progress.with(|state| state.leave_flush());
    }
}

impl Wal {
    /// Makes the log durable up to `lsn`, an end of a record (or more). Waits for the I/Os that this
    /// needs, whoever started them, and completes them itself if need be; for no later ones.
    ///
    /// # Errors
    /// The log has failed, or does not reach that far.
    pub fn flush(&self, io: &mut IoContext, lsn: Lsn) -> Result<(), WalError> {
        self.flush_extent(io, lsn, Extent::All)
    }

    /// [`Self::flush`]; whether it takes along the unit that the log ends in, if `lsn` is before.
    pub(crate) fn flush_extent(
        &self,
        io: &mut IoContext,
        lsn: Lsn,
        extent: Extent,
    ) -> Result<(), WalError> {
        if self.durable_lsn() >= lsn {
            self.counts.flush_found_durable();
            return Ok(());
        }
        self.counts.flush();
        let _flusher = Flusher::enter(self);
        loop {
            match self.start_flush_extent(io, lsn, extent, Completer::Waiter)? {
                FlushState::Durable => return Ok(()),
                FlushState::InFlight(wait_ref) => {
                    self.counts.flush_wait();
                    io.wait(wait_ref);
                }
                FlushState::Inserting => self.await_insertions(io, lsn),
            }
        }
    }

    /// Waits until the log is complete up to `lsn`, or has failed.
    pub(crate) fn await_insertions(&self, io: &mut IoContext, lsn: Lsn) {
        io.submit();
        let progress = &self.progress;
        progress.tickets.wait_for_lsn(lsn, || progress.has_failed());
    }

    /// Starts what making the log durable up to `lsn` needs, as far as it can be started now, without
    /// waiting for it. (If all handles of the issuer are in use, the oldest of its I/Os is completed.)
    ///
    /// # Errors
    /// As [`Self::flush`].
    pub fn start_flush(&self, io: &mut IoContext, lsn: Lsn) -> Result<FlushState, WalError> {
        self.start_flush_extent(io, lsn, Extent::All, Completer::Waiter)
    }

    /// [`Self::start_flush`], with the choice of who completes what it starts.
    pub(crate) fn start_flush_extent(
        &self,
        io: &mut IoContext,
        lsn: Lsn,
        extent: Extent,
        completer: Completer,
    ) -> Result<FlushState, WalError> {
        self.check_issuer(io);
        if self.durable_lsn() >= lsn {
            return Ok(FlushState::Durable);
        }
        self.progress.check()?;
        if self.progress.tickets.completed_lsn() < lsn {
            let (end, _) = self.position.snapshot();
            return if lsn > end {
                Err(WalError::FlushBeyondEnd {
                    requested: lsn,
                    end,
                })
            } else {
                Ok(FlushState::Inserting)
            };
        }
        loop {
            let mut blocked = None;
            let mut started = Started::new(&self.progress, completer);
            while blocked.is_none() && self.progress.with(|state| state.claimed()) < lsn {
                match self.start_write(io, extent)? {
                    Step::Started(wait_ref) => started.push(io, wait_ref),
                    Step::Nothing => break,
                    Step::After(wait_ref) => blocked = Some(wait_ref),
                }
            }
            if let Some(operation) = self.config.wal_sync_method.sync_operation() {
                // What a method that executes at once has written can be synced at once.
                started.submit(io);
                while blocked.is_none() && self.progress.with(|state| state.needs_sync(lsn)) {
                    match self.start_sync(io, operation)? {
                        Step::Started(wait_ref) => started.push(io, wait_ref),
                        Step::Nothing => break,
                        Step::After(wait_ref) => blocked = Some(wait_ref),
                    }
                }
            }
            started.submit(io);
            if self.durable_lsn() >= lsn {
                return Ok(FlushState::Durable);
            }
            self.progress.check()?;
            let oldest = self
                .progress
                .with(|state| state.write_before(lsn).or_else(|| state.sync_before(lsn)));
            if let Some(wait_ref) = oldest.or(blocked) {
                return Ok(FlushState::InFlight(wait_ref));
            }
        }
    }

    /// Waits until everything before `lsn` is written, and starts what that needs.
    pub(crate) fn write_up_to(
        &self,
        io: &mut IoContext,
        lsn: Lsn,
        extent: Extent,
    ) -> Result<(), WalError> {
        loop {
            if self.progress.written() >= lsn {
                return Ok(());
            }
            self.progress.check()?;
            if self.progress.tickets.completed_lsn() < lsn {
                self.await_insertions(io, lsn);
                continue;
            }
            let mut blocked = None;
            let mut started = Started::new(&self.progress, Completer::Waiter);
            while blocked.is_none() && self.progress.with(|state| state.claimed()) < lsn {
                match self.start_write(io, extent)? {
                    Step::Started(wait_ref) => started.push(io, wait_ref),
                    Step::Nothing => break,
                    Step::After(wait_ref) => blocked = Some(wait_ref),
                }
            }
            started.submit(io);
            let oldest = self.progress.with(|state| state.write_before(lsn));
            if let Some(wait_ref) = oldest.or(blocked) {
                io.wait(wait_ref);
            }
        }
    }

    /// Starts writes of whole units if much was inserted that nobody has asked to be flushed. What
    /// goes wrong here is told by the next flush, which needs the same.
    pub(crate) fn start_bulk_writes(&self, io: &mut IoContext) {
        if self.unsent_bytes() < self.bulk_bytes {
            return;
        }
        let mut started = Started::new(&self.progress, Completer::Waiter);
        while self.unsent_bytes() >= self.bulk_bytes {
            match self.start_write(io, Extent::WholeUnits) {
                Ok(Step::Started(wait_ref)) => started.push(io, wait_ref),
                Ok(Step::Nothing | Step::After(_)) => break,
                Err(error) => {
                    tracing::debug!(%error, "could not start a write of the log");
                    break;
                }
            }
        }
        started.submit(io);
    }

    /// Starts writes of all whole units that are complete, as far as can be without waiting.
    pub(crate) fn start_writing(&self, io: &mut IoContext) -> Result<(), WalError> {
        let mut started = Started::new(&self.progress, Completer::Waiter);
        while let Step::Started(wait_ref) = self.start_write(io, Extent::WholeUnits)? {
            started.push(io, wait_ref);
        }
        started.submit(io);
        Ok(())
    }

    fn unsent_bytes(&self) -> u64 {
        let completed = self.progress.tickets.completed_lsn();
        completed.0.saturating_sub(self.progress.claimed().0)
    }

    fn start_write(&self, io: &mut IoContext, extent: Extent) -> Result<Step, WalError> {
        let tickets = &self.progress.tickets;
        let mut may_pad = extent == Extent::All && self.config.io_wal_pad_partial;
        loop {
            self.progress.check()?;
            let completed = tickets.completed_lsn();
            let next = self.progress.with(|state| {
                let next = state.next_write(completed, extent);
                if extent == Extent::All && matches!(next, NextWrite::UnitInFlight(_)) {
                    state.note_unit_contended();
                }
                next
            });
            let (start, end) = match next {
                NextWrite::Nothing => return Ok(Step::Nothing),
                NextWrite::UnitInFlight(wait_ref) | NextWrite::Full(wait_ref) => {
                    return Ok(Step::After(wait_ref));
                }
                NextWrite::Range { start, end } => (start, end),
            };
            if may_pad && end == completed && !end.0.is_multiple_of(self.unit_bytes) {
                may_pad = false;
                if self.progress.with(|state| state.should_pad()) {
                    self.pad(io)?;
                    continue;
                }
            }
            let segment = self.config.segment_size.segment_of(start);
            let file = self.open_segment(io, segment)?;
            let mut handle = io.acquire()?;
            let wait_ref = handle.wait_ref();
            // Again: meanwhile others have claimed, and I/O has completed.
            let claimed = self.progress.with(|state| {
                match state.next_write(tickets.completed_lsn(), extent) {
                    NextWrite::Range { start, end }
                        if self.config.segment_size.segment_of(start) == segment =>
                    {
                        Some((start, end, state.claim_write(start, end, wait_ref)))
                    }
                    _ => None,
                }
            });
            let Some((start, end, number)) = claimed else {
                handle.release();
                continue;
            };
            let mut claim = ClaimedWrite {
                wal: self,
                number,
                start,
                started: false,
            };
            // SAFETY: published, by `completed_lsn`, and not written before this write is, which was
            // claimed with this number.
            let memory = unsafe {
                self.ring
                    .memory_of_write(start, end, self.unit_bytes, number)
            };
            handle.target(wal_tag(self.config.timeline, start, end));
            handle.callback(self.callbacks, number as u32);
            handle.keep_alive(Arc::clone(&self.ring) as Arc<dyn std::any::Any + Send + Sync>);
            let offset = self.config.segment_size.offset_of(start).into();
            claim.started = true;
            // SAFETY: the I/O keeps the ring. Nobody changes published bytes before their page is
            // free, which it is not before this write is complete; the staging page is the write's.
            unsafe { handle.start_writev(&file, offset, &memory) };
            return Ok(Step::Started(wait_ref));
        }
    }

    fn start_sync(&self, io: &mut IoContext, operation: Op) -> Result<Step, WalError> {
        loop {
            self.progress.check()?;
            let segment = match self.progress.with(|state| state.next_sync()) {
                NextSync::Nothing => return Ok(Step::Nothing),
                NextSync::Full(wait_ref) => return Ok(Step::After(wait_ref)),
                NextSync::Segment { segment, .. } => segment,
            };
            let file = self.open_segment(io, segment)?;
            let mut handle = io.acquire()?;
            let wait_ref = handle.wait_ref();
            let claimed = self.progress.with(|state| match state.next_sync() {
                NextSync::Segment {
                    segment: next,
                    start,
                    end,
                } if next == segment => Some((start, end, state.claim_sync(end, wait_ref))),
                _ => None,
            });
            let Some((start, end, number)) = claimed else {
                handle.release();
                continue;
            };
            handle.target(wal_tag(self.config.timeline, start, end));
            handle.callback(self.callbacks, number as u32);
            if operation == Op::Fsync {
                handle.start_fsync(&file);
            } else {
                handle.start_fdatasync(&file);
            }
            return Ok(Step::Started(wait_ref));
        }
    }

    /// The segment's file. Whoever needs it cannot go on without, nor can anybody behind.
    fn open_segment(
        &self,
        io: &mut IoContext,
        segment: SegmentNumber,
    ) -> Result<Arc<trunkline_aio::File>, WalError> {
        self.segments.file(io, segment).inspect_err(|error| {
            tracing::error!(%error, "the write-ahead log cannot go on");
            let (timeline, size) = (self.config.timeline, self.config.segment_size);
            self.progress
                .fail(Failure::open(timeline, size, segment, error.errno()));
        })
    }
}
