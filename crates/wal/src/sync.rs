//! Locks and atomics: the standard library's, or with `--cfg trunkline_loom` loom's, which runs a
//! test body in every order that its threads can take. Insertion goes through here; counters, which
//! nothing waits for, do not.

#[cfg(trunkline_loom)]
pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard, atomic};
#[cfg(not(trunkline_loom))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, atomic};

use std::sync::PoisonError;

/// Locks `mutex`, poisoned or not. What the log's locks guard is whole between any two statements;
/// a panic that leaves the log itself half written is noticed by who owned the bytes, not by a lock.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
