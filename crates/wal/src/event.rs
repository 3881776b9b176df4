//! Waiting until something becomes true that other threads make true, without a lock around it.

use std::sync::PoisonError;

use crate::sync::atomic::{
    AtomicU32,
    Ordering::{Relaxed, SeqCst},
    fence,
};
use crate::sync::{Condvar, Mutex, lock};

/// Looks before a waiter goes to sleep: what is waited for is usually a copy of some hundred bytes.
#[cfg(not(trunkline_loom))]
const SPINS: u32 = 64;
#[cfg(trunkline_loom)]
const SPINS: u32 = 0;

/// Wakes everybody who waits for something to become true.
///
/// No wake-up is lost: a waiter counts itself and then looks; who makes it true does that first and
/// then looks for waiters; between the two steps of each is a fence.
#[derive(Debug)]
pub(crate) struct Event {
    waiting: AtomicU32,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Event {
    pub(crate) fn new() -> Self {
        Event {
            waiting: AtomicU32::new(0),
            lock: Mutex::new(()),
            changed: Condvar::new(),
        }
    }

    /// Returns when `ready` says so. Whoever makes it so calls [`Self::wake`] afterwards.
    pub(crate) fn wait_until(&self, ready: impl Fn() -> bool) {
        for _ in 0..SPINS {
            if ready() {
                return;
            }
            std::hint::spin_loop();
        }
        self.waiting.fetch_add(1, Relaxed);
        fence(SeqCst);
        let mut guard = lock(&self.lock);
        while !ready() {
            guard = self
                .changed
                .wait(guard)
                .unwrap_or_else(PoisonError::into_inner);
        }
        drop(guard);
        self.waiting.fetch_sub(1, Relaxed);
    }

    /// Has everybody look again.
    pub(crate) fn wake(&self) {
        fence(SeqCst);
        if self.waiting.load(Relaxed) > 0 {
            // A waiter that has looked in vain is asleep once the lock is free.
            drop(lock(&self.lock));
            self.changed.notify_all();
        }
    }
}
