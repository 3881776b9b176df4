//! Locks, atomics and parking: the standard library's, or with
//! `--cfg trunkline_loom` loom's, which runs a test body in every order that
//! its threads can take. What the tests named `loom` check goes through here;
//! counters, which nothing waits for, do not.

#[cfg(trunkline_loom)]
pub(crate) mod model;

#[cfg(not(trunkline_loom))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, atomic};
#[cfg(not(trunkline_loom))]
pub(crate) use std::thread::{Thread, current, park};

#[cfg(trunkline_loom)]
pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};
#[cfg(trunkline_loom)]
pub(crate) use model::{Thread, atomic, current, park};

use std::sync::PoisonError;

/// Locks `mutex`, poisoned or not. The AIO core's locks guard values that are
/// whole between any two statements, and a panic of a callback under one of
/// them ends the process, so poison carries no information here.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
