//! How long a session may wait for its client (`idle_session_timeout`,
//! `idle_in_transaction_session_timeout`). Whoever waits for the client ends the session then.

use std::time::Duration;

use trunkline_engine::settings::SessionSettings;

use crate::error::SqlError;
use crate::outcome::TransactionStatus;

/// A session's limits, as its settings are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct IdleTimeouts {
    session: Duration,
    in_transaction: Duration,
}

/// How long a session may be idle now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IdleLimit {
    /// So long.
    pub after: Duration,
    /// A transaction block is open, perhaps a failed one.
    pub is_in_transaction: bool,
}

impl IdleTimeouts {
    pub(crate) fn of(settings: &SessionSettings) -> IdleTimeouts {
        let milliseconds = |name| Duration::from_millis(settings.integer(name).unsigned_abs());
        IdleTimeouts {
            session: milliseconds("idle_session_timeout"),
            in_transaction: milliseconds("idle_in_transaction_session_timeout"),
        }
    }

    /// The limit that counts; none if it is 0.
    pub(crate) fn limit(&self, status: TransactionStatus) -> Option<IdleLimit> {
        let is_in_transaction = status != TransactionStatus::Idle;
        let after = match is_in_transaction {
            true => self.in_transaction,
            false => self.session,
        };
        (!after.is_zero()).then_some(IdleLimit {
            after,
            is_in_transaction,
        })
    }
}

impl IdleLimit {
    /// What the client is told when its session ends for it.
    pub fn error(&self) -> SqlError {
        let (sqlstate, what) = match self.is_in_transaction {
            true => ("25P03", "idle-in-transaction"),
            false => ("57P05", "idle-session"),
        };
        let message = format!("terminating connection due to {what} timeout");
        SqlError {
            is_fatal: true,
            ..SqlError::new(sqlstate, message)
        }
    }
}
