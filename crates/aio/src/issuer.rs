//! Issuers: who starts I/Os (A0).

use std::any::Any;
use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use crate::Aio;
use crate::bounce::BounceBuffer;
use crate::callback::LocalCallback;
use crate::error::AioError;
use crate::file::File;
use crate::handle::IoHandle;
use crate::handle_table::HandleTable;
use crate::request::Completions;
use crate::result::{IoResult, IoReturn};
use crate::state::State;
use crate::sync::lock;
use crate::wait::WaitRef;

/// An issuer: a share of the handles, a pending list, and a queue of local
/// callbacks. Moves between threads, is used by one at a time.
///
/// Dropping it submits what is pending and neither cancels I/Os in flight nor
/// waits for them: they complete without anybody's help, and the pool gets the
/// issuer back with the last of them. Local callbacks that have not run by
/// then never do.
pub struct IoContext {
    aio: Arc<Aio>,
    completions: Completions,
    index: u32,
    /// Idle handles; the one used last is used next, its memory is warm.
    free: Vec<u32>,
    /// Handles from pending on, oldest first.
    in_flight: VecDeque<u32>,
    handed_out: Option<u32>,
    local: VecDeque<LocalCall>,
    in_local_callback: bool,
    /// The issuer's count of completions at the last look.
    seen_completed: u64,
    /// What the layers above know of whom it works for; never looked at here.
    client: Option<Arc<dyn Any + Send + Sync>>,
    /// Used by one thread at a time.
    not_sync: PhantomData<Cell<()>>,
}

struct LocalCall {
    function: LocalCallback,
    argument: u64,
    result: IoResult,
}

impl IoContext {
    pub(crate) fn new(aio: Arc<Aio>, index: u32) -> Self {
        let table = aio.table();
        let completions = Completions::new(Arc::clone(table), Some(index));
        let free: Vec<u32> = table.handles_of(index).rev().collect();
        let handles = free.len();
        let seen_completed = table.issuer(index).completed.load(SeqCst);
        IoContext {
            aio,
            completions,
            index,
            free,
            in_flight: VecDeque::with_capacity(handles),
            handed_out: None,
            local: VecDeque::with_capacity(handles),
            in_local_callback: false,
            seen_completed,
            client: None,
            not_sync: PhantomData,
        }
    }

    /// The AIO core that this issuer belongs to.
    pub fn aio(&self) -> &Arc<Aio> {
        &self.aio
    }

    pub(crate) fn table(&self) -> &Arc<HandleTable> {
        self.completions.table()
    }

    /// From now on this issuer works for `client`: whatever a layer above wants
    /// to find again when it defines I/Os or tells how they ended.
    pub fn set_client(&mut self, client: Arc<dyn Any + Send + Sync>) {
        self.client = Some(client);
    }

    /// Whom the issuer works for, if it is a `T`.
    pub fn client<T: Any>(&self) -> Option<&T> {
        self.client.as_deref()?.downcast_ref()
    }

    /// From now on neighbouring I/Os of this issuer are combined up to
    /// `limit_bytes` (`io_combine_limit`), or the core's maximum if that is
    /// less; 0: never.
    pub fn set_combine_limit(&mut self, limit_bytes: u32) {
        let limit_bytes = limit_bytes.min(self.aio.max_combine_limit_bytes());
        self.table()
            .issuer(self.index)
            .combine_limit_bytes
            .store(limit_bytes, Relaxed);
    }

    /// A handle to start an I/O with. When all are busy, the oldest I/O of
    /// this issuer is completed first.
    ///
    /// # Errors
    /// The handle acquired before was leaked (it is taken back), or the core
    /// has been shut down.
    pub fn acquire(&mut self) -> Result<IoHandle<'_>, AioError> {
        self.prepare_acquire()?;
        while self.free.is_empty() {
            self.complete_oldest();
        }
        self.hand_out()
    }

    /// Handles that [`Self::acquire`] gives without completing an I/O first: for who would rather do
    /// without than wait.
    pub fn free_handles(&mut self) -> usize {
        self.poll_local();
        self.free.len()
    }

    /// [`Self::acquire`] for async callers: awaits instead of blocking. (Under
    /// method `sync`, or with the workers' queue full, submission itself
    /// executes I/O.)
    ///
    /// # Errors
    /// As [`Self::acquire`].
    pub async fn acquire_async(&mut self) -> Result<IoHandle<'_>, AioError> {
        self.prepare_acquire()?;
        while self.free.is_empty() {
            self.flush();
            let oldest = self.oldest();
            self.aio.wait_async(oldest).await;
            self.reclaim();
        }
        self.hand_out()
    }

    /// Aligned memory of `len` bytes for an I/O, out of the bounded pool. When
    /// the pool is used up, the I/Os that have its buffers are completed first.
    ///
    /// # Errors
    /// `len` is more than the whole pool, or all of it is held by callers who
    /// have not started an I/O.
    pub fn bounce_buffer(&mut self, len: usize) -> Result<BounceBuffer, AioError> {
        loop {
            match BounceBuffer::take(&self.aio, len)? {
                Ok(buffer) => return Ok(buffer),
                Err(in_flight) => {
                    if self.aio.is_complete(in_flight) {
                        // Whoever waited for it is about to give the buffer back.
                        std::thread::yield_now();
                    }
                    self.wait_shared(in_flight);
                    self.reclaim();
                }
            }
        }
    }

    fn prepare_acquire(&mut self) -> Result<(), AioError> {
        if self.aio.is_shut_down() {
            return Err(AioError::ShutDown);
        }
        self.poll_local();
        if let Some(slot) = self.handed_out {
            self.release_handed_out();
            return Err(AioError::HandleLeaked { slot });
        }
        Ok(())
    }

    fn hand_out(&mut self) -> Result<IoHandle<'_>, AioError> {
        let Some(slot) = self.free.pop() else {
            unreachable!("a handle was made free")
        };
        let (generation, _) = self.table().slot(slot).word.load();
        self.table()
            .slot(slot)
            .word
            .transition(generation, State::Idle, State::HandedOut);
        self.handed_out = Some(slot);
        Ok(IoHandle::new(self, WaitRef { slot, generation }))
    }

    /// Takes back the handle that is handed out.
    pub(crate) fn release_handed_out(&mut self) {
        let Some(index) = self.handed_out.take() else {
            return;
        };
        let slot = self.completions.table().slot(index);
        let (generation, _) = slot.word.load();
        {
            let mut definition = lock(&slot.definition);
            if let Some(cell) = &definition.report_to {
                cell.disarm();
            }
            definition.clear();
        }
        slot.word
            .transition(generation, State::HandedOut, State::Idle);
        slot.waiters.wake_all();
        self.free.push(index);
    }

    /// Takes a staged handle onto the pending list; submits a full list.
    pub(crate) fn enqueue(&mut self, wait_ref: WaitRef) {
        self.handed_out = None;
        self.in_flight.push_back(wait_ref.slot);
        let table = self.completions.table();
        table
            .issuer(self.index)
            .counters
            .executed
            .fetch_add(1, Relaxed);
        let full = table.enqueue(wait_ref);
        table.slot(wait_ref.slot).waiters.wake_all();
        if full {
            self.flush();
        }
    }

    fn flush(&self) {
        self.table()
            .flush(self.aio.method(), &self.completions, self.index);
    }

    /// Submits what is pending. To be called before blocking on anything that
    /// is not an I/O, and when going idle.
    pub fn submit(&mut self) {
        self.flush();
        self.poll_local();
    }

    /// Submits what is pending and waits for an I/O, anyone's; see
    /// [`Aio::wait`]. Submits also when the I/O is complete already: whoever
    /// starts the next and waits for the oldest, over and over, would else let
    /// the device run dry.
    pub fn wait(&mut self, wait_ref: WaitRef) {
        self.flush();
        // The handle was taken back before: whoever waits once for each block
        // of a large read comes here all but once.
        if self.table().status(wait_ref).is_none() {
            return self.poll_local();
        }
        self.wait_shared(wait_ref);
        self.reclaim();
        self.run_local();
    }

    fn wait_shared(&self, wait_ref: WaitRef) {
        if !self.aio.is_complete(wait_ref) {
            self.aio.wait_by(wait_ref, &self.completions);
        }
    }

    /// Submits what is pending and waits until one of this issuer's I/Os is
    /// complete that was in flight at the last look, whichever is first (or
    /// later, under methods that can wait for a particular one only). Returns
    /// at once if none is in flight.
    pub fn wait_any(&mut self) {
        self.flush();
        let before = self.in_flight.len();
        // An I/O is counted as complete a moment after it can be taken back, so
        // that the count may tell of one that was taken back before.
        while before > 0 && self.in_flight.len() == before {
            self.wait_for_a_completion();
            self.reclaim();
        }
        self.run_local();
    }

    /// Waits until an I/O of this issuer is counted as complete that was not at
    /// the last look, or the oldest is complete and about to be counted: whoever
    /// completed it may have no processor while this thread looks for the count.
    fn wait_for_a_completion(&mut self) {
        let issuer = self.completions.table().issuer(self.index);
        let seen = self.seen_completed;
        let ready = || issuer.completed.load(SeqCst) != seen;
        // Register first, look second: see `Waiters`.
        issuer.waiters.register_thread();
        while !ready() {
            let oldest = self.completions.in_flight(self.oldest());
            self.aio.method().wait_until(&oldest, &ready);
            if oldest.is_complete() {
                break;
            }
            issuer.waiters.register_thread();
        }
        issuer.waiters.forget_thread();
        self.seen_completed = issuer.completed.load(SeqCst);
    }

    /// [`Self::wait`] for async callers.
    pub async fn wait_async(&mut self, wait_ref: WaitRef) {
        self.flush();
        self.aio.wait_async(wait_ref).await;
        self.reclaim();
        self.run_local();
    }

    /// Waits for every I/O that this issuer has started, local callbacks and
    /// the I/Os they start included.
    pub fn wait_all(&mut self) {
        loop {
            while !self.in_flight.is_empty() {
                self.complete_oldest();
            }
            // Does nothing when called from a local callback, whose caller
            // runs the rest of the queue.
            self.run_local();
            if self.in_flight.is_empty() && (self.local.is_empty() || self.in_local_callback) {
                return;
            }
        }
    }

    /// Takes back handles of completed I/Os and runs their local callbacks.
    pub fn poll_local(&mut self) {
        let completed = self.table().issuer(self.index).completed.load(SeqCst);
        if completed != self.seen_completed {
            self.seen_completed = completed;
            self.reclaim();
        }
        self.run_local();
    }

    /// I/Os of this issuer that have been started and are not taken back yet.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Makes a file's data and metadata durable: of every write that is
    /// complete now.
    ///
    /// # Errors
    /// As the system reports. A failed sync must not be repeated: the kernel
    /// may have dropped what it could not write.
    pub fn fsync(&mut self, file: &Arc<File>) -> io::Result<()> {
        self.blocking_sync(|handle| handle.start_fsync(file))
    }

    /// [`Self::fsync`] for data alone.
    ///
    /// # Errors
    /// As [`Self::fsync`].
    pub fn fdatasync(&mut self, file: &Arc<File>) -> io::Result<()> {
        self.blocking_sync(|handle| handle.start_fdatasync(file))
    }

    fn blocking_sync(&mut self, start: impl FnOnce(IoHandle<'_>) -> WaitRef) -> io::Result<()> {
        let cell = IoReturn::new();
        let mut handle = self.acquire()?;
        handle.report_to(&cell);
        let wait_ref = start(handle);
        self.wait(wait_ref);
        match cell.get() {
            Some(result) => result.into_io_result().map(|_| ()),
            None => unreachable!("a complete I/O has reported"),
        }
    }

    fn oldest(&self) -> WaitRef {
        let Some(&slot) = self.in_flight.front() else {
            unreachable!("a handle is free, handed out or in flight")
        };
        WaitRef {
            slot,
            generation: self.table().slot(slot).word.load().0,
        }
    }

    /// Waits for the oldest I/O and takes back whatever is complete. Local
    /// callbacks are queued, not run: one that starts I/O again and again must
    /// not keep its issuer from getting a handle.
    fn complete_oldest(&mut self) {
        self.flush();
        let oldest = self.oldest();
        self.wait_shared(oldest);
        self.reclaim();
    }

    /// Takes back the handles of completed I/Os and queues their local
    /// callbacks.
    fn reclaim(&mut self) {
        let IoContext {
            completions,
            in_flight,
            free,
            local,
            ..
        } = self;
        let table = completions.table();
        in_flight.retain(|&index| {
            let slot = table.slot(index);
            let (generation, state) = slot.word.load();
            if state != State::CompletedShared {
                return true;
            }
            let mut definition = lock(&slot.definition);
            if let (Some((function, argument)), Some(result)) =
                (definition.local, definition.result)
            {
                local.push_back(LocalCall {
                    function,
                    argument,
                    result,
                });
            }
            slot.word
                .transition(generation, State::CompletedShared, State::CompletedLocal);
            definition.clear();
            slot.word
                .transition(generation, State::CompletedLocal, State::Idle);
            free.push(index);
            false
        });
    }

    /// Runs the local callbacks queued so far, never from within one. What
    /// they queue waits for the next time.
    fn run_local(&mut self) {
        if self.in_local_callback || self.local.is_empty() {
            return;
        }
        self.in_local_callback = true;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            for _ in 0..self.local.len() {
                let Some(call) = self.local.pop_front() else {
                    break;
                };
                (call.function)(self, call.argument, call.result);
            }
        }));
        self.in_local_callback = false;
        if let Err(panic) = outcome {
            resume_unwind(panic);
        }
    }
}

impl Drop for IoContext {
    fn drop(&mut self) {
        if let Some(slot) = self.handed_out {
            tracing::warn!(slot, "an AIO handle was leaked");
            self.release_handed_out();
        }
        self.flush();
        self.reclaim();
        for wait_ref in self.table().end_issuer(self.index, &self.in_flight) {
            self.aio.leave(wait_ref);
        }
    }
}

impl std::fmt::Debug for IoContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IoContext")
            .field("index", &self.index)
            .field("in_flight", &self.in_flight.len())
            .finish_non_exhaustive()
    }
}
