//! What the completion of a write or a sync of the log does, on whichever thread.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Acquire, Release},
};

use trunkline_aio::{IoResult, IoView, Op, SharedCallbacks};
use trunkline_pgformat::Lsn;
use trunkline_pgformat::wal::TimeLineId;
use trunkline_pgformat::wal::segment::SegmentSize;

use crate::durability::DurabilityWaiters;
use crate::error::{Failure, WalError};
use crate::sync::{Mutex, lock};
use crate::tag;
use crate::tickets::Tickets;
use crate::writer::WriterState;

/// `EIO`, for a result that is no error of the system's and no success either.
const EIO: i32 = 5;

/// The writer's state, and what others read of it without its lock.
pub(crate) struct Progress {
    pub(crate) timeline: TimeLineId,
    pub(crate) segment_size: SegmentSize,
    pub(crate) tickets: Tickets,
    /// A leaf: completions take it. Nothing that may complete an I/O is called under it.
    state: Mutex<WriterState>,
    claimed: AtomicU64,
    written: AtomicU64,
    durable: AtomicU64,
    failed: AtomicBool,
    pub(crate) waiters: DurabilityWaiters,
}

impl Progress {
    pub(crate) fn new(
        timeline: TimeLineId,
        segment_size: SegmentSize,
        tickets: Tickets,
        state: WriterState,
    ) -> Self {
        Progress {
            timeline,
            segment_size,
            tickets,
            claimed: AtomicU64::new(state.claimed().0),
            written: AtomicU64::new(state.written().0),
            durable: AtomicU64::new(state.durable().0),
            failed: AtomicBool::new(false),
            waiters: DurabilityWaiters::default(),
            state: Mutex::new(state),
        }
    }

    /// Everything before is in a write that was started, as of a moment ago.
    pub(crate) fn claimed(&self) -> Lsn {
        Lsn(self.claimed.load(Acquire))
    }

    /// Everything before has been written: its pages in the ring are free.
    pub(crate) fn written(&self) -> Lsn {
        Lsn(self.written.load(Acquire))
    }

    /// Everything before survives a crash.
    pub(crate) fn durable(&self) -> Lsn {
        Lsn(self.durable.load(Acquire))
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Acquire)
    }

    /// # Errors
    /// The log has failed.
    pub(crate) fn check(&self) -> Result<(), WalError> {
        if !self.has_failed() {
            return Ok(());
        }
        match lock(&self.state).failure() {
            Some(failure) => Err(WalError::Failed(failure)),
            None => Ok(()),
        }
    }

    /// Looks at or changes the writer's state.
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut WriterState) -> T) -> T {
        let mut state = lock(&self.state);
        let value = change(&mut state);
        self.claimed.store(state.claimed().0, Release);
        self.written.store(state.written().0, Release);
        self.durable.store(state.durable().0, Release);
        let failed = state.failure().is_some();
        let news = failed && !self.failed.load(Acquire);
        if news {
            self.failed.store(true, Release);
        }
        drop(state);
        if news {
            // Whoever waits for an insertion, or for an I/O to be over, may wait in vain.
            self.tickets.wake();
            let now = lock(&self.state).startable();
            self.waiters.wake(&now);
        }
        value
    }

    /// An I/O is over: changes the state, and wakes whom that concerns.
    fn complete(&self, change: impl FnOnce(&mut WriterState)) {
        let now = self.with(|state| {
            change(state);
            state.startable()
        });
        self.waiters.wake(&now);
    }

    /// Stops the log for good.
    pub(crate) fn fail(&self, failure: Failure) -> WalError {
        let first = self.with(|state| {
            state.fail(failure);
            state.failure().unwrap_or(failure)
        });
        WalError::Failed(first)
    }
}

/// Registered once for each log.
pub(crate) struct WalCallbacks {
    pub(crate) progress: Arc<Progress>,
}

impl SharedCallbacks for WalCallbacks {
    fn name(&self) -> &'static str {
        "wal"
    }

    fn complete(&self, io: &IoView<'_>, prior: IoResult) -> IoResult {
        let progress = &self.progress;
        let (timeline, size) = (progress.timeline, progress.segment_size);
        let number = io.callback_data() as usize;
        let (start, end) = tag::range(&io.target());
        let errno = match prior {
            IoResult::Ok { bytes } if bytes == io.length_bytes() => None,
            IoResult::Error(failure) => Some(failure.errno().unwrap_or(EIO)),
            IoResult::Ok { .. } | IoResult::Partial { .. } | IoResult::Warning { .. } => Some(EIO),
        };
        if io.op() == Op::Writev {
            let length_bytes = io.length_bytes().into();
            let outcome = errno.map_or(Ok(()), |errno| {
                Err(Failure::write(timeline, size, start, length_bytes, errno))
            });
            progress.complete(|state| state.complete_write(number, outcome));
        } else {
            let segment = size.segment_before(end);
            let outcome = errno.map_or(Ok(()), |errno| {
                Err(Failure::sync(timeline, size, segment, errno))
            });
            progress.complete(|state| state.complete_sync(number, outcome));
        }
        prior
    }

    fn describe(&self, io: &IoView<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        tag::describe(&io.target(), out)
    }
}
