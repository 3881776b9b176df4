//! The one place that decides what a poisoned lock means.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex`, poisoned or not. The AIO core's locks guard values that are
/// whole between any two statements, and a panic of a callback under one of
/// them ends the process, so poison carries no information here.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
