//! Wakes a connection's task when its statement is to be cancelled or the connection is to end.

use std::sync::Arc;

use tokio::sync::Notify;
use trunkline_sql::error::SqlError;
use trunkline_txn::{CancelHook, CancelReason, CancelToken};

/// A session's cancel token with one waiter: the connection's task.
pub(crate) struct Interrupt {
    token: CancelToken,
    /// Keeps one wake-up, so that a request between a look at the token and the wait is not lost.
    wake: Arc<Notify>,
    _hook: CancelHook,
}

impl Interrupt {
    pub(crate) fn new(token: CancelToken) -> Interrupt {
        let wake = Arc::new(Notify::new());
        let notified = Arc::clone(&wake);
        let hook = token.on_request(move || notified.notify_one());
        Interrupt {
            token,
            wake,
            _hook: hook,
        }
    }

    /// Whether the connection is to end.
    pub(crate) fn is_terminated(&self) -> bool {
        self.token.requested() == Some(CancelReason::Terminate)
    }

    /// Resolves when the connection is to end.
    pub(crate) async fn terminated(&self) {
        while !self.is_terminated() {
            self.wake.notified().await;
        }
    }

    /// Resolves when the running statement is to stop, with the error that it then fails with.
    pub(crate) async fn requested(&self) -> SqlError {
        loop {
            if let Some(reason) = self.token.requested() {
                return reason_error(reason);
            }
            self.wake.notified().await;
        }
    }
}

/// The error for `reason`; termination is fatal.
pub(crate) fn reason_error(reason: CancelReason) -> SqlError {
    SqlError {
        is_fatal: reason == CancelReason::Terminate,
        ..SqlError::new(reason.sqlstate(), reason.message())
    }
}
