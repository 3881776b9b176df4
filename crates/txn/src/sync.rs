//! Taking std's locks. A panic unwinds only its own statement; everything guarded here is changed
//! in steps that cannot panic half way, so a poisoned lock's contents are whole and used on.

use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// What loom's tests run in every order: the standard library's, or with `--cfg trunkline_loom` loom's.
pub(crate) mod modelled {
    #[cfg(trunkline_loom)]
    pub use loom::sync::{
        Condvar, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    };
    #[cfg(not(trunkline_loom))]
    pub use std::sync::{
        Condvar, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    };

    pub fn lock_modelled<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
