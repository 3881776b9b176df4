//! The sessions that exist: their numbers, cancel keys, and what a monitoring view asks of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use trunkline_txn::{CancelReason, CancelToken};

use crate::error::StatementError;

/// What others may know of a session.
#[derive(Debug)]
pub struct SessionEntry {
    /// `pg_backend_pid()`; cancel requests name it.
    pub backend_pid: i32,
    /// The key that a cancel request must show.
    pub secret_key: i32,
    /// Its user.
    pub user: String,
    /// Its database.
    pub database: String,
    /// Stops its statement.
    pub cancel: CancelToken,
}

struct Registered {
    sessions: BTreeMap<i32, Arc<SessionEntry>>,
    /// A stop is under way: no new ones.
    closed: bool,
}

/// All sessions of a database system.
pub struct Sessions {
    limit: usize,
    next_pid: AtomicI32,
    registered: Mutex<Registered>,
    changed: Condvar,
}

impl Sessions {
    /// Room for `limit` sessions (`max_connections`).
    pub fn new(limit: usize) -> Sessions {
        Sessions {
            limit,
            next_pid: AtomicI32::new(1),
            registered: Mutex::new(Registered {
                sessions: BTreeMap::new(),
                closed: false,
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Registered> {
        self.registered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a session.
    ///
    /// # Errors
    /// 53300 when there are too many, 57P03 when the system stops.
    pub fn register(
        self: &Arc<Self>,
        user: &str,
        database: &str,
    ) -> Result<SessionRegistration, StatementError> {
        let mut registered = self.lock();
        if registered.closed {
            return Err(StatementError::new(
                "57P03",
                "the database system is shutting down",
            ));
        }
        if registered.sessions.len() >= self.limit {
            return Err(StatementError::new(
                "53300",
                "sorry, too many clients already",
            ));
        }
        let mut backend_pid = self.next_pid.fetch_add(1, Ordering::Relaxed);
        while backend_pid <= 0 || registered.sessions.contains_key(&backend_pid) {
            self.next_pid.store(1, Ordering::Relaxed);
            backend_pid = self.next_pid.fetch_add(1, Ordering::Relaxed);
            while registered.sessions.contains_key(&backend_pid) {
                backend_pid = self.next_pid.fetch_add(1, Ordering::Relaxed);
            }
        }
        let entry = Arc::new(SessionEntry {
            backend_pid,
            secret_key: random_key(),
            user: user.to_owned(),
            database: database.to_owned(),
            cancel: CancelToken::new(),
        });
        registered.sessions.insert(backend_pid, Arc::clone(&entry));
        Ok(SessionRegistration {
            sessions: Arc::clone(self),
            entry,
        })
    }

    /// Asks the session `backend_pid` to stop its statement, if `secret_key` is its key.
    pub fn cancel(&self, backend_pid: i32, secret_key: i32) -> bool {
        let entry = self.lock().sessions.get(&backend_pid).cloned();
        entry.is_some_and(|entry| {
            entry.secret_key == secret_key && entry.cancel.request(CancelReason::UserRequest)
        })
    }

    /// The sessions that exist now.
    pub fn list(&self) -> Vec<Arc<SessionEntry>> {
        self.lock().sessions.values().cloned().collect()
    }

    /// Refuses new sessions and tells the existing ones to end.
    pub fn terminate_all(&self) {
        let entries = {
            let mut registered = self.lock();
            registered.closed = true;
            registered.sessions.values().cloned().collect::<Vec<_>>()
        };
        for entry in entries {
            entry.cancel.request(CancelReason::Terminate);
        }
    }

    /// Waits until no session is left, at most for `timeout`; whether none is.
    pub fn wait_until_none(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut registered = self.lock();
        while !registered.sessions.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            registered = self
                .changed
                .wait_timeout(registered, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }
}

/// A session's place among the sessions; dropping it gives the place back.
pub struct SessionRegistration {
    sessions: Arc<Sessions>,
    entry: Arc<SessionEntry>,
}

impl SessionRegistration {
    /// What is registered.
    pub fn entry(&self) -> &Arc<SessionEntry> {
        &self.entry
    }
}

impl Drop for SessionRegistration {
    fn drop(&mut self) {
        self.sessions
            .lock()
            .sessions
            .remove(&self.entry.backend_pid);
        self.sessions.changed.notify_all();
    }
}

/// A key that cannot be guessed from another: the standard library's hasher is seeded from the
/// operating system for every map.
fn random_key() -> i32 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_numbered_bounded_and_cancelled_by_key() {
        let sessions = Arc::new(Sessions::new(2));
        let first = sessions.register("u", "postgres").unwrap();
        let second = sessions.register("u", "postgres").unwrap();
        assert_ne!(first.entry().backend_pid, second.entry().backend_pid);
        assert_eq!(
            sessions.register("u", "postgres").err().unwrap().sqlstate,
            "53300"
        );
        let entry = Arc::clone(first.entry());
        entry.cancel.begin_statement();
        assert!(!sessions.cancel(entry.backend_pid, entry.secret_key.wrapping_add(1)));
        assert!(entry.cancel.check().is_ok());
        assert!(sessions.cancel(entry.backend_pid, entry.secret_key));
        assert!(entry.cancel.check().is_err());
        drop(first);
        sessions.terminate_all();
        assert_eq!(
            sessions.register("u", "postgres").err().unwrap().sqlstate,
            "57P03"
        );
        drop(second);
        assert!(sessions.wait_until_none(Duration::ZERO));
    }
}
