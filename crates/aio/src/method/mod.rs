//! Methods: the ways to execute I/Os. One trait, one file each.
//!
//! - [`sync`]: the submitting thread makes the system call itself
//! - [`worker`]: a pool of threads makes it
//! - [`posix_aio`]: the C library or the kernel does it, through the calls of POSIX
//! - `io_uring` (on Linux): the kernel does it, through a few shared rings
//! - `turn` (for `io_uring`): how threads share a queue of completions
//! - [`choose`]: which of them to use, and what to fall back to

pub(crate) mod choose;
#[cfg(target_os = "linux")]
pub(crate) mod io_uring;
pub(crate) mod posix_aio;
pub(crate) mod sync;
#[cfg(any(target_os = "linux", trunkline_loom))]
pub(crate) mod turn;
pub(crate) mod worker;

use std::os::fd::BorrowedFd;

use crate::memory::IoMemory;
use crate::request::{Completions, InFlight, RequestBatch};

/// Executes I/Os. Implementable from outside: a simulator completes I/Os in
/// an order of its own with nothing but this trait.
///
/// Calls come from many threads at once. While a method holds an
/// [`crate::IoRequest`], the I/O's file and memory stay in place; the request
/// ends in [`Completions::complete`], which may hand back a remainder for the
/// same method to execute.
pub trait Method: Send + Sync {
    /// The value of `io_method` that names it.
    fn name(&self) -> &'static str;

    /// Called once by an AIO core, before it submits anything. Most methods serve
    /// one core only, and say so by a panic. `completions` is for threads
    /// of the method's own.
    fn start(&self, completions: &Completions) {
        let _ = completions;
    }

    /// Takes every request of the batch. Requests may be executed, and
    /// complete, in any order. A request may stand for several I/Os that were
    /// combined; [`InFlight::carrier`] tells which carries an I/O.
    fn submit(&self, batch: &mut RequestBatch, completions: &Completions);

    /// Blocks until progress was made on `io`, best until it is complete;
    /// returning early is allowed. Whatever it takes to complete the I/O, the
    /// calling thread must be able to do it (A6): no waiter may depend on
    /// another thread that could be blocked outside the AIO core.
    fn wait(&self, io: &InFlight<'_>);

    /// As [`Self::wait`], but `ready` is as good a reason to return: it tells
    /// that another I/O is complete, and whoever makes it true unparks the
    /// thread. Not returning before `io` is complete is allowed.
    fn wait_until(&self, io: &InFlight<'_>, ready: &dyn Fn() -> bool) {
        let _ = ready;
        self.wait(io);
    }

    /// `io` has to complete, and there is no thread to call [`Self::wait`]
    /// from: a task awaits it, or whoever started it has gone. A method whose
    /// I/Os complete only when a thread waits arranges for one; the call
    /// itself must not block.
    fn drive(&self, io: &InFlight<'_>) {
        let _ = io;
    }

    /// A descriptor that becomes readable when completions of ring `ring` can be reaped; none where
    /// I/Os complete without anybody's help. Rings count from 0.
    fn completion_descriptor(&self, ring: u32) -> Option<BorrowedFd<'_>> {
        let _ = ring;
        None
    }

    /// Completes some of what has appeared in ring `ring`; must not block. Whether there may be more.
    fn reap(&self, ring: u32) -> bool {
        let _ = ring;
        false
    }

    /// Whether somebody watches the ring's descriptor, and calls [`Self::reap`]: then
    /// [`Self::drive`] need not arrange for a thread.
    fn set_watched(&self, ring: u32, is_watched: bool) {
        let _ = (ring, is_watched);
    }

    /// Many I/Os will name memory within `memory`: a method may make ready for
    /// that. Whether it does changes their cost, not what they do. True if it
    /// has, and is to forget the memory before it goes.
    fn register_memory(&self, memory: IoMemory) -> bool {
        let _ = memory;
        false
    }

    /// Undoes [`Self::register_memory`].
    fn forget_memory(&self, memory: IoMemory) {
        let _ = memory;
    }

    /// The ring that carries an issuer's I/Os, for `pg_stat_aios`.
    fn ring_of(&self, issuer: u32) -> Option<u32> {
        let _ = issuer;
        None
    }

    /// Ends the method's threads. No I/O is in flight; one that comes later
    /// must still be executed, if slowly.
    fn shutdown(&self) {}
}
