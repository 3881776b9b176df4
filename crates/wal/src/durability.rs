//! Waiting for the log to be durable without a thread.
//!
//! Tasks are kept by what they wait for. Every completion of the log's I/O wakes those whose log is
//! durable, and of the others those who can start what comes next: one for the next write, one for the
//! next sync. The others sleep on: what one starts covers everything that is complete, so that commits
//! which come while the device is busy go together.
//!
//! No wake-up is lost: a task registers and then looks; a completion changes the writer's state and then
//! looks for tasks, and both look under this list's lock or the state's. A task that was chosen and goes
//! away instead (its future is dropped) passes the choice on.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use arrayvec::ArrayVec;
use trunkline_aio::{IoContext, WaitRef};
use trunkline_pgformat::Lsn;

use crate::Wal;
use crate::error::WalError;
use crate::flush::{Completer, FlushState};
use crate::writer::{Extent, Startable};

/// Tasks that are woken between two looks at the list.
const WAKE_BATCH: usize = 16;

#[derive(Debug)]
struct Waiting {
    id: u64,
    lsn: Lsn,
    waker: Waker,
}

/// The tasks that wait.
#[derive(Debug, Default)]
pub(crate) struct DurabilityWaiters {
    /// A leaf. Wakers, which are foreign code, are called and dropped outside of it.
    list: Mutex<WaiterList>,
}

#[derive(Debug, Default)]
struct WaiterList {
    waiting: Vec<Waiting>,
    last_id: u64,
}

impl DurabilityWaiters {
    fn list(&self) -> MutexGuard<'_, WaiterList> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a task, under the number that it had before if it had one.
    fn register(&self, id: Option<u64>, lsn: Lsn, waker: &Waker) -> u64 {
        let mut list = self.list();
        let known = id.and_then(|id| list.waiting.iter_mut().find(|waiting| waiting.id == id));
        if let Some(waiting) = known {
            let replaced = (!waiting.waker.will_wake(waker))
                .then(|| std::mem::replace(&mut waiting.waker, waker.clone()));
            let id = waiting.id;
            drop(list);
            drop(replaced);
            return id;
        }
        let id = id.unwrap_or_else(|| {
            list.last_id += 1;
            list.last_id
        });
        let waker = waker.clone();
        list.waiting.push(Waiting { id, lsn, waker });
        id
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list().waiting.is_empty()
    }

    fn forget(&self, id: u64) {
        let mut list = self.list();
        let position = list.waiting.iter().position(|waiting| waiting.id == id);
        let removed = position.map(|position| list.waiting.swap_remove(position));
        drop(list);
        drop(removed);
    }

    /// After a change of what is durable, in flight, or failed.
    pub(crate) fn wake(&self, now: &Startable) {
        // Each task is woken once, so this ends; who has to wait again registers again.
        loop {
            let mut list = self.list();
            let mut woken: ArrayVec<Waker, WAKE_BATCH> = ArrayVec::new();
            let mut index = 0;
            while index < list.waiting.len() && !woken.is_full() {
                if list.waiting[index].lsn <= now.durable || now.has_failed {
                    woken.push(list.waiting.swap_remove(index).waker);
                } else {
                    index += 1;
                }
            }
            let are_more = woken.is_full();
            drop(list);
            woken.into_iter().for_each(Waker::wake);
            if !are_more {
                break;
            }
        }
        self.wake_starters(now);
    }

    /// Wakes who can start the next write, and who can start the next sync.
    fn wake_starters(&self, now: &Startable) {
        let mut list = self.list();
        let mut chosen: ArrayVec<Waker, 2> = ArrayVec::new();
        for startable in [now.write_beyond, now.sync_within].into_iter().flatten() {
            let (beyond, up_to) = startable;
            let found = list
                .waiting
                .iter()
                .position(|waiting| waiting.lsn > beyond && waiting.lsn <= up_to);
            if let Some(found) = found {
                chosen.push(list.waiting.swap_remove(found).waker);
            }
        }
        drop(list);
        chosen.into_iter().for_each(Waker::wake);
    }
}

/// Completes when the log is durable up to a place, or has failed; [`Wal::flush_async`] makes it.
#[must_use = "a future does nothing unless awaited"]
pub struct FlushFuture {
    wal: Arc<Wal>,
    io: IoContext,
    lsn: Lsn,
    registration: Option<u64>,
    /// What it waits for.
    awaited: WaitRef,
    /// It counts as one that flushes, and may be in the list.
    is_flushing: bool,
}

impl FlushFuture {
    /// What it waits for.
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// Whether others are flushing too. Who has others that will commit in a moment does well to let
    /// them go first then: their log goes along.
    pub fn has_company(&self) -> bool {
        self.wal.progress.with(|state| state.is_flushing())
    }

    /// It is over: it counts no more, and nobody chooses it.
    fn leave(&mut self) {
        if std::mem::take(&mut self.is_flushing) {
            self.wal.progress.with(|state| state.leave_flush());
            if let Some(id) = self.registration.take() {
                self.wal.progress.waiters.forget(id);
            }
        }
    }
}

impl std::fmt::Debug for FlushFuture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FlushFuture")
            .field("lsn", &self.lsn)
            .finish_non_exhaustive()
    }
}

impl Wal {
    /// [`Wal::flush`] for who has no thread to wait with. `io` is what it starts I/O with; the I/O is
    /// completed whether or not anybody polls.
    pub fn flush_async(self: &Arc<Self>, io: IoContext, lsn: Lsn) -> FlushFuture {
        FlushFuture {
            wal: Arc::clone(self),
            io,
            lsn,
            registration: None,
            awaited: WaitRef::NONE,
            is_flushing: false,
        }
    }
}

impl Future for FlushFuture {
    type Output = Result<(), WalError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if this.wal.durable_lsn() >= this.lsn {
            if !this.is_flushing {
                this.wal.counts.flush_found_durable();
            }
            this.leave();
            return Poll::Ready(Ok(()));
        }
        if !std::mem::replace(&mut this.is_flushing, true) {
            this.wal.counts.flush();
            this.wal.progress.with(|state| state.enter_flush());
        }
        let waiters = &this.wal.progress.waiters;
        let id = waiters.register(this.registration, this.lsn, context.waker());
        this.registration = Some(id);
        loop {
            let (wal, lsn) = (&this.wal, this.lsn);
            match wal.start_flush_extent(&mut this.io, lsn, Extent::All, Completer::Method) {
                Ok(FlushState::InFlight(wait_ref)) => {
                    if std::mem::replace(&mut this.awaited, wait_ref) != wait_ref {
                        wal.counts.flush_wait();
                    }
                    // Others may have started some of it, and not be waiting for it.
                    while let Some(io) = wal.progress.with(|state| state.next_to_drive(lsn)) {
                        wal.aio.drive(io);
                    }
                    return Poll::Pending;
                }
                // Some instructions of another thread, or its wait for the WAL buffers.
                Ok(FlushState::Inserting) => wal.await_insertions(&mut this.io, lsn),
                Ok(FlushState::Durable) => {
                    this.leave();
                    return Poll::Ready(Ok(()));
                }
                Err(error) => {
                    this.leave();
                    return Poll::Ready(Err(error));
                }
            }
        }
    }
}

impl Drop for FlushFuture {
    fn drop(&mut self) {
        if self.is_flushing {
            // Perhaps it was chosen to start what comes next.
            self.leave();
            let progress = &self.wal.progress;
            let now = progress.with(|state| state.startable());
            progress.waiters.wake_starters(&now);
        }
    }
}
