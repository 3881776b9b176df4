//! The connections that exist, for cancel requests and for the server's stop.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use trunkline_txn::{CancelReason, CancelToken};

/// Length of a cancel key in protocol 3.2 and in 3.0, in bytes (`MAX_CANCEL_KEY_LENGTH` and
/// `ProcessStartupPacket` in PostgreSQL's sources).
const LONG_KEY_BYTES: usize = 32;
const SHORT_KEY_BYTES: usize = 4;

struct Entry {
    key: Vec<u8>,
    token: CancelToken,
}

#[derive(Default)]
struct Connections {
    by_pid: HashMap<i32, Entry>,
    is_stopping: bool,
}

/// The connections past their start, by backend pid. Its mutex is a leaf: nothing is locked and
/// no token is touched under it.
#[derive(Default)]
pub(crate) struct Registry {
    connections: Mutex<Connections>,
}

/// Why a connection cannot be registered.
#[derive(Debug)]
pub(crate) enum RegisterError {
    /// The server stops.
    Stopping,
    /// The system has no random bytes.
    NoRandomness,
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a connection until the value is dropped, and makes its cancel key.
    pub(crate) fn register(
        self: &Arc<Self>,
        pid: i32,
        token: CancelToken,
        has_long_key: bool,
    ) -> Result<Registration, RegisterError> {
        let mut key = vec![
            0;
            if has_long_key {
                LONG_KEY_BYTES
            } else {
                SHORT_KEY_BYTES
            }
        ];
        getrandom::fill(&mut key).map_err(|_| RegisterError::NoRandomness)?;
        let mut connections = self.lock();
        if connections.is_stopping {
            return Err(RegisterError::Stopping);
        }
        let entry = Entry {
            key: key.clone(),
            token,
        };
        let earlier = connections.by_pid.insert(pid, entry);
        assert!(earlier.is_none(), "two sessions have the backend pid {pid}");
        Ok(Registration {
            registry: Arc::clone(self),
            pid,
            key,
        })
    }

    /// A cancel request: asks the connection `pid` to stop its statement, if the key is its own.
    pub(crate) fn cancel(&self, pid: i32, key: &[u8]) {
        let token = match self.lock().by_pid.get(&pid) {
            Some(entry) if keys_equal(&entry.key, key) => entry.token.clone(),
            Some(_) => {
                tracing::info!(pid, "wrong key in cancel request for process {pid}");
                return;
            }
            None => {
                tracing::info!(pid, "PID {pid} in cancel request did not match any process");
                return;
            }
        };
        token.request(CancelReason::UserRequest);
    }

    /// Ends all connections, and refuses new ones.
    pub(crate) fn stop(&self) {
        let tokens: Vec<CancelToken> = {
            let mut connections = self.lock();
            connections.is_stopping = true;
            connections
                .by_pid
                .values()
                .map(|entry| entry.token.clone())
                .collect()
        };
        for token in tokens {
            token.request(CancelReason::Terminate);
        }
    }
}

/// Compares in a time that does not tell where the keys differ.
fn keys_equal(ours: &[u8], theirs: &[u8]) -> bool {
    ours.len() == theirs.len()
        && ours
            .iter()
            .zip(theirs)
            .fold(0, |difference, (a, b)| difference | (a ^ b))
            == 0
}

/// A registered connection.
pub(crate) struct Registration {
    registry: Arc<Registry>,
    pid: i32,
    key: Vec<u8>,
}

impl Registration {
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.registry.lock().by_pid.remove(&self.pid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancel_request_needs_the_key() {
        let registry = Arc::new(Registry::default());
        let token = CancelToken::new();
        token.begin_statement();
        let registration = registry.register(7, token.clone(), true).unwrap();
        assert_eq!(registration.key().len(), 32);
        let key = registration.key().to_vec();
        registry.cancel(8, &key);
        registry.cancel(7, &key[..4]);
        let mut wrong = key.clone();
        wrong[31] ^= 1;
        registry.cancel(7, &wrong);
        assert_eq!(token.requested(), None);
        registry.cancel(7, &key);
        assert_eq!(token.requested(), Some(CancelReason::UserRequest));
        drop(registration);
        assert!(registry.lock().by_pid.is_empty());
    }

    #[test]
    fn a_stop_ends_all_and_refuses_new_ones() {
        let registry = Arc::new(Registry::default());
        let token = CancelToken::new();
        let _registration = registry.register(7, token.clone(), false).unwrap();
        registry.stop();
        assert_eq!(token.requested(), Some(CancelReason::Terminate));
        let refused = registry.register(8, CancelToken::new(), false);
        assert!(matches!(refused, Err(RegisterError::Stopping)));
    }
}
