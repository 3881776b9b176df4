//! The descriptor's atomics and what its waiters park on: the standard library's and a futex, or with
//! `--cfg trunkline_loom` loom's, which runs a test body in every order that its threads can take.

#[cfg(not(trunkline_loom))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64};

#[cfg(trunkline_loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64};

#[cfg(not(trunkline_loom))]
pub(crate) use parking::WakeSequence;

#[cfg(trunkline_loom)]
pub(crate) use model::WakeSequence;

#[cfg(not(trunkline_loom))]
mod parking {
    use rustix::thread::futex;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A number that moves with every wake-up, so that a wait begun before one and after a look at
    /// the number returns.
    #[derive(Default)]
    pub(crate) struct WakeSequence(AtomicU32);

    impl WakeSequence {
        pub(crate) fn now(&self) -> u32 {
            self.0.load(Ordering::Acquire)
        }

        /// Sleeps while the number is `seen`; may return early.
        pub(crate) fn wait(&self, seen: u32) {
            // An error is a spurious return (EINTR, EAGAIN).
            let _ = futex::wait(&self.0, futex::Flags::PRIVATE, seen, None);
        }

        pub(crate) fn wake_all(&self) {
            self.0.fetch_add(1, Ordering::AcqRel);
            // Waking cannot fail on an address of our own; a waiter that is missed has seen the number.
            let _ = futex::wake(&self.0, futex::Flags::PRIVATE, i32::MAX as u32);
        }
    }
}

#[cfg(trunkline_loom)]
#[expect(clippy::unwrap_used, reason = "loom's locks are not poisoned")]
mod model {
    use loom::sync::atomic::{AtomicU32, Ordering};
    use loom::sync::{Condvar, Mutex};

    /// The same with the kernel's futex in terms that loom knows: a look and a sleep under one lock.
    #[derive(Default)]
    pub(crate) struct WakeSequence {
        number: AtomicU32,
        kernel: Mutex<()>,
        changed: Condvar,
    }

    impl WakeSequence {
        pub(crate) fn now(&self) -> u32 {
            self.number.load(Ordering::Acquire)
        }

        pub(crate) fn wait(&self, seen: u32) {
            let kernel = self.kernel.lock().unwrap();
            // The kernel's look finds the latest value, as a change does.
            if self.number.fetch_add(0, Ordering::Relaxed) == seen {
                drop(self.changed.wait(kernel).unwrap());
            }
        }

        pub(crate) fn wake_all(&self) {
            self.number.fetch_add(1, Ordering::AcqRel);
            drop(self.kernel.lock().unwrap());
            self.changed.notify_all();
        }
    }
}
