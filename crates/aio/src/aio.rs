//! The AIO core as its users hold it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use crate::callback::{CallbackId, SharedCallbacks};
use crate::config::AioConfig;
use crate::error::AioError;
use crate::handle_table::HandleTable;
use crate::issuer::IoContext;
use crate::memory::IoMemory;
use crate::method::{Method, choose};
use crate::request::Completions;
use crate::state::State;
use crate::stats::{AioCounters, IoSnapshot};
use crate::wait::{WaitFuture, WaitRef};

/// All handles, the method that executes, and the registered callbacks.
///
/// Dropping the last `Arc` waits for every I/O in flight, so that none can
/// touch memory that is gone; it must not happen inside a shared callback.
pub struct Aio {
    table: Arc<HandleTable>,
    method: Arc<dyn Method>,
    completions: Completions,
    shut_down: AtomicBool,
    max_issuers: u32,
    combine_limit_bytes: u32,
    max_combine_limit_bytes: u32,
}

impl Aio {
    /// Starts with the configured method, or with the next one that works
    /// here; the log says which and why.
    ///
    /// # Errors
    /// A size out of range, or no method that works.
    pub fn start(config: AioConfig) -> Result<Arc<Self>, AioError> {
        config.validate()?;
        let method = choose::choose(&config)?;
        Aio::start_with(config, method)
    }

    /// Starts with a given method: the simulator's way in.
    ///
    /// # Errors
    /// A size out of range.
    pub fn start_with(config: AioConfig, method: Arc<dyn Method>) -> Result<Arc<Self>, AioError> {
        config.validate()?;
        let table = Arc::new(HandleTable::new(
            config.max_issuers,
            config.io_max_concurrency,
            config.io_bounce_buffers,
        ));
        let completions = Completions::new(Arc::clone(&table), None);
        method.start(&completions);
        Ok(Arc::new(Aio {
            table,
            method,
            completions,
            shut_down: AtomicBool::new(false),
            max_issuers: config.max_issuers,
            combine_limit_bytes: config.io_combine_limit_bytes,
            max_combine_limit_bytes: config.io_max_combine_limit_bytes,
        }))
    }

    /// Takes an issuer from the pool, on behalf of `owner_id` (a session's or
    /// worker's number, for the statistics).
    ///
    /// # Errors
    /// All issuers are in use, or the core has been shut down.
    pub fn issuer(self: &Arc<Self>, owner_id: i32) -> Result<IoContext, AioError> {
        if self.is_shut_down() {
            return Err(AioError::ShutDown);
        }
        let index = self
            .table
            .take_issuer(owner_id)
            .ok_or(AioError::TooManyIssuers {
                limit: self.max_issuers,
            })?;
        let mut context = IoContext::new(Arc::clone(self), index);
        context.set_combine_limit(self.combine_limit_bytes);
        Ok(context)
    }

    /// The longest [`crate::BounceBuffer`], in bytes.
    pub fn bounce_limit_bytes(&self) -> usize {
        self.table.bounce.limit_bytes()
    }

    /// The most that [`IoContext::set_combine_limit`] takes, in bytes.
    pub fn max_combine_limit_bytes(&self) -> u32 {
        self.max_combine_limit_bytes
    }

    /// Registers the callbacks of a target's owner, once per owner, at start.
    ///
    /// # Panics
    /// If more are registered than any sensible engine has.
    pub fn register_callbacks(&self, callbacks: Arc<dyn SharedCallbacks>) -> CallbackId {
        self.table.callbacks.register(callbacks)
    }

    /// Waits until the shared callbacks of an I/O have run, driving it to
    /// completion if need be, whoever issued it. Returns at once if the handle
    /// has been reused. A thread that owns an [`IoContext`] waits through that
    /// instead, which submits what it has pending.
    pub fn wait(&self, wait_ref: WaitRef) {
        self.wait_by(wait_ref, &self.completions);
    }

    pub(crate) fn wait_by(&self, wait_ref: WaitRef, completions: &Completions) {
        loop {
            match self.table.status(wait_ref) {
                None | Some(State::Idle | State::CompletedShared | State::CompletedLocal) => return,
                // Its issuer is about to put it on the pending list.
                Some(State::HandedOut | State::Defined | State::Staged) => {
                    let defined =
                        |state: Option<State>| state.is_none_or(|state| state >= State::Pending);
                    self.table.park(wait_ref, defined, || false);
                }
                Some(State::Pending) => {
                    let issuer = self.table.issuer_of(wait_ref.slot);
                    self.table.flush(self.method.as_ref(), completions, issuer);
                }
                Some(State::Submitted | State::CompletedIo) => {
                    self.method.wait(&completions.in_flight(wait_ref));
                }
            }
        }
    }

    /// Whether an I/O is complete (or its handle reused).
    pub fn is_complete(&self, wait_ref: WaitRef) -> bool {
        self.table.is_complete(wait_ref)
    }

    /// The same wait for an async caller. Never blocks, and never submits: an
    /// I/O that is still pending is waited for until its issuer submits it.
    pub fn wait_async(self: &Arc<Self>, wait_ref: WaitRef) -> WaitFuture {
        WaitFuture::new(Arc::clone(self), wait_ref)
    }

    /// Makes ready for many I/Os within `memory`, a pool of buffers for example.
    /// With io_uring the kernel pins it, which makes direct I/O cheaper and
    /// counts against the limit on locked memory; where that is not allowed,
    /// I/O goes on as without, and the log says so.
    ///
    /// What is returned must be dropped before the memory is unmapped: I/O into
    /// other memory that is mapped there later would go astray.
    pub fn register_memory(&self, memory: IoMemory) -> RegisteredMemory {
        let method = Arc::clone(&self.method);
        let done = method.register_memory(memory);
        RegisteredMemory {
            method: done.then_some(method),
            memory,
        }
    }

    /// The method that executes; not always the one that was asked for.
    pub fn method_name(&self) -> &'static str {
        self.method.name()
    }

    /// Every handle in use: the rows of `pg_stat_aios`.
    pub fn in_flight(&self) -> Vec<IoSnapshot> {
        self.table.snapshot(|issuer| self.method.ring_of(issuer))
    }

    /// What was counted since the start.
    pub fn counters(&self) -> AioCounters {
        self.table.counters(|issuer| self.method.ring_of(issuer))
    }

    /// Waits for every I/O in flight and ends the method's threads. From here
    /// on no handle can be acquired.
    pub fn shutdown(&self) {
        self.shut_down.store(true, SeqCst);
        for (index, slot) in (0..).zip(self.table.slots()) {
            let (generation, state) = slot.word.load();
            if matches!(
                state,
                State::Pending | State::Submitted | State::CompletedIo
            ) {
                self.wait(WaitRef {
                    slot: index,
                    generation,
                });
            }
        }
        self.method.shutdown();
    }

    pub(crate) fn is_shut_down(&self) -> bool {
        self.shut_down.load(SeqCst)
    }

    pub(crate) fn table(&self) -> &Arc<HandleTable> {
        &self.table
    }

    pub(crate) fn method(&self) -> &dyn Method {
        self.method.as_ref()
    }

    /// Makes sure that a submitted I/O completes without a waiting thread, for who is told of its end
    /// by its callbacks. ([`Self::wait_async`] does this by itself.)
    pub fn drive(&self, wait_ref: WaitRef) {
        self.method.drive(&self.completions.in_flight(wait_ref));
    }

    /// Whoever started this I/O will not wait for it. Has it complete all the
    /// same, now and not when somebody else happens to wait: until then it
    /// holds on to its file, its memory and what its stage hooks took.
    pub(crate) fn leave(&self, wait_ref: WaitRef) {
        if self.is_complete(wait_ref) {
            return;
        }
        let issuer = self.table.issuer_of(wait_ref.slot);
        self.table
            .flush(self.method.as_ref(), &self.completions, issuer);
        if !self.is_complete(wait_ref) {
            self.drive(wait_ref);
        }
    }
}

/// Memory that an AIO core is ready for; see [`Aio::register_memory`].
#[must_use = "dropping it undoes the registration"]
pub struct RegisteredMemory {
    /// `None` where there is nothing to undo.
    method: Option<Arc<dyn Method>>,
    memory: IoMemory,
}

impl Drop for RegisteredMemory {
    fn drop(&mut self) {
        if let Some(method) = &self.method {
            method.forget_memory(self.memory);
        }
    }
}

impl std::fmt::Debug for RegisteredMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegisteredMemory")
            .field("memory", &self.memory)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Aio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Aio")
            .field("method", &self.method_name())
            .finish_non_exhaustive()
    }
}

impl Drop for Aio {
    fn drop(&mut self) {
        self.shutdown();
    }
}
