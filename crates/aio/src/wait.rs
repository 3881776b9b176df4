//! Waiting for an I/O: references that are safe to keep for ever (A9), the
//! list of who waits for a handle, and the future for async callers.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use arrayvec::ArrayVec;

use crate::Aio;
use crate::state::State;
use crate::sync::atomic::{AtomicBool, Ordering::SeqCst};
use crate::sync::{Mutex, Thread, current, lock};

/// Refers to one I/O: a handle and the generation of its use. Copyable,
/// storable anywhere, usable from any thread; once the handle is reused, a
/// wait returns at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WaitRef {
    /// Index of the handle.
    pub slot: u32,
    /// Which use of the handle; 0 for none.
    pub generation: u64,
}

impl WaitRef {
    /// Refers to no I/O; always complete.
    pub const NONE: WaitRef = WaitRef {
        slot: 0,
        generation: 0,
    };
}

/// Tasks that are woken between two looks at the list.
const WAKE_BATCH: usize = 8;

/// Who waits for a handle.
///
/// No wake-up is lost: a waiter first registers here and then looks at the
/// state; a completer first changes the state and then looks here; both with
/// sequentially consistent operations.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    any: AtomicBool,
    list: Mutex<WaiterList>,
}

#[derive(Debug)]
struct WaiterList {
    threads: Vec<Thread>,
    tasks: Vec<(u64, Waker)>,
}

/// With room for the usual number: whether anybody comes to wait is a matter
/// of time, and memory is not to be.
impl Default for WaiterList {
    fn default() -> Self {
        WaiterList {
            threads: Vec::with_capacity(2),
            tasks: Vec::with_capacity(1),
        }
    }
}

impl Waiters {
    /// Registers the current thread, once.
    pub(crate) fn register_thread(&self) {
        let current = current();
        let mut list = lock(&self.list);
        if !list
            .threads
            .iter()
            .any(|thread| thread.id() == current.id())
        {
            list.threads.push(current);
        }
        self.any.store(true, SeqCst);
    }

    pub(crate) fn forget_thread(&self) {
        let id = current().id();
        lock(&self.list).threads.retain(|thread| thread.id() != id);
    }

    /// Registers a task under its own number, replacing what it left before.
    fn register_task(&self, id: u64, waker: &Waker) {
        let mut list = lock(&self.list);
        // A replaced waker is dropped outside the lock: it may run foreign code.
        let replaced = match list.tasks.iter_mut().find(|(other, _)| *other == id) {
            Some((_, old)) => Some(std::mem::replace(old, waker.clone())),
            None => {
                list.tasks.push((id, waker.clone()));
                None
            }
        };
        self.any.store(true, SeqCst);
        drop(list);
        drop(replaced);
    }

    fn forget_task(&self, id: u64) {
        let mut list = lock(&self.list);
        let position = list.tasks.iter().position(|(other, _)| *other == id);
        let removed = position.map(|position| list.tasks.swap_remove(position));
        drop(list);
        drop(removed);
    }

    /// Whether a task (rather than a thread) waits.
    pub(crate) fn has_tasks(&self) -> bool {
        self.any.load(SeqCst) && !lock(&self.list).tasks.is_empty()
    }

    /// Wakes everyone; whoever still has to wait registers again.
    pub(crate) fn wake_all(&self) {
        if !self.any.load(SeqCst) {
            return;
        }
        let mut list = lock(&self.list);
        self.any.store(false, SeqCst);
        for thread in list.threads.drain(..) {
            thread.unpark();
        }
        // A few at a time, so that the list keeps its capacity: wakers run
        // foreign code, which may drop a future of ours, so not under the lock.
        while !list.tasks.is_empty() {
            let count = list.tasks.len().min(WAKE_BATCH);
            let wakers: ArrayVec<Waker, WAKE_BATCH> =
                list.tasks.drain(..count).map(|(_, waker)| waker).collect();
            drop(list);
            for waker in wakers {
                waker.wake();
            }
            list = lock(&self.list);
        }
    }
}

/// Completes when an I/O does. Dropping it cancels nothing.
#[must_use = "a future does nothing unless awaited"]
pub struct WaitFuture {
    aio: Arc<Aio>,
    wait_ref: WaitRef,
    /// The number that this future waits under, once it has registered.
    registration: Option<u64>,
    /// The method knows that nobody but a task may be waiting.
    driven: bool,
}

impl WaitFuture {
    pub(crate) fn new(aio: Arc<Aio>, wait_ref: WaitRef) -> Self {
        WaitFuture {
            aio,
            wait_ref,
            registration: None,
            driven: false,
        }
    }
}

impl Future for WaitFuture {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let table = this.aio.table();
        if table.is_complete(this.wait_ref) {
            return Poll::Ready(());
        }
        let id = *this
            .registration
            .get_or_insert_with(|| table.next_registration());
        let slot = table.slot(this.wait_ref.slot);
        slot.waiters.register_task(id, context.waker());
        match table.status(this.wait_ref) {
            None | Some(State::CompletedShared | State::CompletedLocal) => Poll::Ready(()),
            // Whoever submits it sees this registration and has it driven.
            Some(
                State::Idle | State::HandedOut | State::Defined | State::Staged | State::Pending,
            ) => Poll::Pending,
            Some(State::Submitted | State::CompletedIo) => {
                if !std::mem::replace(&mut this.driven, true) {
                    this.aio.drive(this.wait_ref);
                }
                Poll::Pending
            }
        }
    }
}

impl Drop for WaitFuture {
    fn drop(&mut self) {
        if let Some(id) = self.registration {
            self.aio
                .table()
                .slot(self.wait_ref.slot)
                .waiters
                .forget_task(id);
        }
    }
}
