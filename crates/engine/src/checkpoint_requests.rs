//! Asking for checkpoints, and waiting for one that began after the request (PostgreSQL's
//! `RequestCheckpoint`).

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;

use crate::error::StatementError;

/// Results that are kept for those who asked; more than can wait for different checkpoints.
const RESULTS_KEPT: usize = 16;

/// Why a checkpoint begins, and how (PostgreSQL's `CHECKPOINT_*` flags).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct CheckpointCause {
    /// The system stops.
    pub(crate) is_shutdown: bool,
    /// As fast as the disk can.
    pub(crate) is_fast: bool,
    /// Also if nothing has happened since the last one.
    pub(crate) is_forced: bool,
    /// Somebody waits for it.
    pub(crate) is_awaited: bool,
    /// `checkpoint_timeout` has passed.
    pub(crate) is_timed: bool,
    /// So much log was written that `max_wal_size` asks for one.
    pub(crate) is_for_wal: bool,
    /// Recovery ends.
    pub(crate) is_end_of_recovery: bool,
}

impl CheckpointCause {
    const NONE: CheckpointCause = CheckpointCause {
        is_shutdown: false,
        is_fast: false,
        is_forced: false,
        is_awaited: false,
        is_timed: false,
        is_for_wal: false,
        is_end_of_recovery: false,
    };

    /// CHECKPOINT's.
    pub(crate) const STATEMENT: CheckpointCause = CheckpointCause {
        is_fast: true,
        is_forced: true,
        is_awaited: true,
        ..CheckpointCause::NONE
    };

    /// `max_wal_size`'s.
    pub(crate) const WAL: CheckpointCause = CheckpointCause {
        is_for_wal: true,
        ..CheckpointCause::NONE
    };

    /// The one that recovery ends with.
    pub(crate) const END_OF_RECOVERY: CheckpointCause = CheckpointCause {
        is_fast: true,
        is_awaited: true,
        is_end_of_recovery: true,
        ..CheckpointCause::NONE
    };

    /// A clean stop's.
    pub(crate) const SHUTDOWN: CheckpointCause = CheckpointCause {
        is_shutdown: true,
        is_fast: true,
        ..CheckpointCause::NONE
    };

    /// `checkpoint_timeout`'s.
    pub(crate) const TIMED: CheckpointCause = CheckpointCause {
        is_timed: true,
        ..CheckpointCause::NONE
    };

    /// Whether nobody else inserts records while it lasts, so that its own record is its redo point.
    pub(crate) const fn is_alone(self) -> bool {
        self.is_shutdown || self.is_end_of_recovery
    }

    /// One for both.
    pub(crate) fn and(self, other: CheckpointCause) -> CheckpointCause {
        CheckpointCause {
            is_shutdown: self.is_shutdown || other.is_shutdown,
            is_fast: self.is_fast || other.is_fast,
            is_forced: self.is_forced || other.is_forced,
            is_awaited: self.is_awaited || other.is_awaited,
            is_timed: self.is_timed || other.is_timed,
            is_for_wal: self.is_for_wal || other.is_for_wal,
            is_end_of_recovery: self.is_end_of_recovery || other.is_end_of_recovery,
        }
    }
}

/// Which checkpoint somebody waits for: those that began are numbered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CheckpointTicket(u64);

#[derive(Default)]
struct State {
    wanted: Option<CheckpointCause>,
    started: u64,
    results: VecDeque<(u64, Result<(), StatementError>)>,
    /// The thread that serves requests, while there is one.
    server: Option<Thread>,
}

impl State {
    fn result(&self, ticket: CheckpointTicket) -> Option<Result<(), StatementError>> {
        let of_ticket = self.results.iter().find(|(number, _)| *number == ticket.0);
        match of_ticket {
            Some((_, result)) => Some(result.clone()),
            None if self
                .results
                .front()
                .is_some_and(|(oldest, _)| *oldest > ticket.0) =>
            {
                // Forgotten by now, so that success cannot be claimed.
                Some(Err(request_failed()))
            }
            None => None,
        }
    }
}

fn request_failed() -> StatementError {
    StatementError::new("XX000", "checkpoint request failed")
        .with_hint("Consult recent messages in the server log for details.")
}

/// The requests.
#[derive(Default)]
pub(crate) struct CheckpointRequests {
    state: Mutex<State>,
    changed: Condvar,
}

impl CheckpointRequests {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a checkpoint that begins from now on. Those who ask before it begins share it; one
    /// that runs already is none of theirs, but is told to hurry if they are in a hurry.
    pub(crate) fn request(&self, cause: CheckpointCause) -> CheckpointTicket {
        let mut state = self.lock();
        let wanted = state.wanted.map_or(cause, |wanted| wanted.and(cause));
        state.wanted = Some(wanted);
        if let Some(server) = &state.server {
            server.unpark();
        }
        CheckpointTicket(state.started + 1)
    }

    /// How the checkpoint of `ticket` ended; none if it has not, and nobody serves requests: then
    /// whoever waits has to take the steps. Else waits.
    pub(crate) fn wait(&self, ticket: CheckpointTicket) -> Option<Result<(), StatementError>> {
        let mut state = self.lock();
        loop {
            let result = state.result(ticket);
            if result.is_some() || state.server.is_none() {
                return result;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// How the checkpoint of `ticket` ended, if it has.
    pub(crate) fn result(&self, ticket: CheckpointTicket) -> Option<Result<(), StatementError>> {
        self.lock().result(ticket)
    }

    /// Whether somebody waits for the next checkpoint who is in a hurry.
    pub(crate) fn is_hurried(&self) -> bool {
        self.lock().wanted.is_some_and(|wanted| wanted.is_fast)
    }

    /// What was asked for, if anything.
    pub(crate) fn wanted(&self) -> Option<CheckpointCause> {
        self.lock().wanted
    }

    /// A checkpoint begins: it serves everybody who has asked until now, for what this gives.
    pub(crate) fn begin(&self) -> Option<CheckpointCause> {
        let mut state = self.lock();
        state.started += 1;
        state.wanted.take()
    }

    /// It has ended.
    pub(crate) fn finish(&self, result: Result<(), StatementError>) {
        let mut state = self.lock();
        let number = state.started;
        if state.results.len() == RESULTS_KEPT {
            state.results.pop_front();
        }
        state.results.push_back((number, result));
        self.changed.notify_all();
    }

    /// The calling thread serves requests until the value is dropped.
    pub(crate) fn serve(self: &Arc<Self>) -> ServesRequests {
        self.lock().server = Some(std::thread::current());
        ServesRequests(Arc::clone(self))
    }
}

/// While it lives, waiters leave the steps to a thread.
pub(crate) struct ServesRequests(Arc<CheckpointRequests>);

impl Drop for ServesRequests {
    fn drop(&mut self) {
        self.0.lock().server = None;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_before_a_checkpoint_begins_shares_it_and_who_asks_later_waits_for_the_next() {
        let requests = CheckpointRequests::default();
        let slow = CheckpointCause {
            is_fast: false,
            ..CheckpointCause::STATEMENT
        };
        let (one, two) = (requests.request(slow), requests.request(slow));
        assert_eq!(one, two);
        assert!(!requests.is_hurried());
        assert_eq!(requests.begin(), Some(slow));
        assert_eq!(requests.wanted(), None);
        let three = requests.request(CheckpointCause::STATEMENT);
        assert_ne!(three, one);
        assert!(requests.is_hurried(), "the running one has to hurry for it");
        requests.finish(Ok(()));
        assert_eq!(requests.wait(one), Some(Ok(())));
        assert_eq!(requests.wait(three), None, "nobody serves");
        requests.begin();
        requests.finish(Err(StatementError::new("58030", "no")));
        assert_eq!(requests.wait(three).unwrap().unwrap_err().message, "no");
        assert_eq!(requests.result(two), Some(Ok(())));
    }

    #[test]
    fn a_result_that_was_forgotten_is_no_success() {
        let requests = CheckpointRequests::default();
        let ticket = requests.request(CheckpointCause::STATEMENT);
        for _ in 0..=RESULTS_KEPT {
            requests.begin();
            requests.finish(Ok(()));
        }
        let error = requests.result(ticket).unwrap().unwrap_err();
        assert_eq!(error.message, "checkpoint request failed");
    }
}
