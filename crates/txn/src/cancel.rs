//! Telling a running statement to stop.
//!
//! A [`CancelToken`] belongs to a session and outlives its statements. Its whole state is one
//! word, so that a request and a statement's begin or end cannot interleave badly:
//!
//! ```text
//! bits 0..3  the reasons requested   bit 3  a statement runs   bits 8..64  statement number
//! ```
//!
//! A user's request or a statement timeout counts only while a statement runs and is forgotten
//! with it; a timer that names its statement cannot hit the next one. Termination stays.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use crate::sync::lock;

/// Why a statement stops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum CancelReason {
    /// A cancel request, or `pg_cancel_backend`.
    UserRequest = 1,
    /// `statement_timeout` elapsed.
    StatementTimeout = 2,
    /// The server stops, or `pg_terminate_backend`: the session ends, not only the statement.
    Terminate = 4,
}

impl CancelReason {
    /// The SQLSTATE code.
    pub const fn sqlstate(self) -> &'static str {
        match self {
            CancelReason::UserRequest | CancelReason::StatementTimeout => "57014",
            CancelReason::Terminate => "57P01",
        }
    }

    /// PostgreSQL's message (`ProcessInterrupts` in `tcop/postgres.c`).
    pub const fn message(self) -> &'static str {
        match self {
            CancelReason::UserRequest => "canceling statement due to user request",
            CancelReason::StatementTimeout => "canceling statement due to statement timeout",
            CancelReason::Terminate => "terminating connection due to administrator command",
        }
    }
}

/// The statement was told to stop, for this reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}", .0.message())]
pub struct Cancelled(pub CancelReason);

/// A statement of one session, for timers that must not hit a later one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StatementId(u64);

const REASONS: u64 = 0b111;
const RUNNING: u64 = 0b1000;
const STATEMENT_SHIFT: u32 = 8;
const ONE_STATEMENT: u64 = 1 << STATEMENT_SHIFT;

type Wake = Arc<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct Hooks {
    next_id: u64,
    by_id: HashMap<u64, Wake>,
}

#[derive(Default)]
struct Shared {
    state: AtomicU64,
    hooks: Mutex<Hooks>,
}

/// A session's stop flag; clones are the same flag. [`check`](CancelToken::check) costs one load.
#[derive(Clone, Default)]
pub struct CancelToken {
    shared: Arc<Shared>,
}

impl CancelToken {
    /// A token of a new session: no statement runs, nothing is requested.
    pub fn new() -> CancelToken {
        CancelToken::default()
    }

    /// A statement begins. Requests that an earlier one did not take are dropped, except
    /// termination.
    pub fn begin_statement(&self) -> StatementId {
        let mut id = 0;
        self.update(|state| {
            let next = (state & !REASONS & !RUNNING).wrapping_add(ONE_STATEMENT);
            id = next >> STATEMENT_SHIFT;
            next | RUNNING | (state & CancelReason::Terminate as u64)
        });
        StatementId(id)
    }

    /// The statement is over: requests made for it are dropped, and none is taken until the next
    /// begins, except termination.
    pub fn end_statement(&self) {
        self.update(|state| {
            (state & !RUNNING & !REASONS) | (state & CancelReason::Terminate as u64)
        });
    }

    /// Asks the running statement to stop, and wakes whatever it waits in. Returns whether the
    /// request was taken: it is ignored when nothing runs, except for termination.
    pub fn request(&self, reason: CancelReason) -> bool {
        self.request_if(reason, |_| true)
    }

    /// [`request`](CancelToken::request), only if `statement` is still the one that runs.
    pub fn request_for(&self, statement: StatementId, reason: CancelReason) -> bool {
        self.request_if(reason, |running| running == statement)
    }

    fn request_if(&self, reason: CancelReason, is_meant: impl Fn(StatementId) -> bool) -> bool {
        let mut taken = false;
        self.update(|state| {
            taken = is_meant(StatementId(state >> STATEMENT_SHIFT))
                && (state & RUNNING != 0 || reason == CancelReason::Terminate);
            if taken { state | reason as u64 } else { state }
        });
        if taken {
            // Hooks run without the mutex, so that one may take locks under which others register.
            let wakes: Vec<Wake> = lock(&self.shared.hooks).by_id.values().cloned().collect();
            for wake in wakes {
                wake();
            }
        }
        taken
    }

    fn update(&self, mut change: impl FnMut(u64) -> u64) {
        let mut state = self.shared.state.load(Ordering::Acquire);
        loop {
            let next = change(state);
            match self.shared.state.compare_exchange_weak(
                state,
                next,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return,
                Err(now) => state = now,
            }
        }
    }

    /// What is requested, if anything: termination before a timeout before a user's request.
    pub fn requested(&self) -> Option<CancelReason> {
        let reasons = self.shared.state.load(Ordering::Acquire) & REASONS;
        if reasons == 0 {
            return None;
        }
        [
            CancelReason::Terminate,
            CancelReason::StatementTimeout,
            CancelReason::UserRequest,
        ]
        .into_iter()
        .find(|reason| reasons & *reason as u64 != 0)
    }

    /// Fails if the statement is to stop. To be called often by whatever runs long.
    #[inline]
    pub fn check(&self) -> Result<(), Cancelled> {
        match self.requested() {
            None => Ok(()),
            Some(reason) => Err(Cancelled(reason)),
        }
    }

    /// Calls `wake` upon every later request, from the requesting thread, until the returned hook
    /// is dropped (a call that has begun may still end after that). To wait without missing one:
    /// register, then [`check`](CancelToken::check), then sleep.
    pub fn on_request(&self, wake: impl Fn() + Send + Sync + 'static) -> CancelHook {
        let mut hooks = lock(&self.shared.hooks);
        let id = hooks.next_id;
        hooks.next_id += 1;
        hooks.by_id.insert(id, Arc::new(wake));
        CancelHook {
            token: self.clone(),
            id,
        }
    }

    /// Resolves when something is requested; for async code beside the engine's threads.
    pub fn requested_async(&self) -> CancelRequested {
        CancelRequested {
            token: self.clone(),
            hook: None,
        }
    }
}

/// Waits, asynchronously, for a request; see [`CancelToken::requested_async`].
#[must_use = "futures do nothing unless polled"]
pub struct CancelRequested {
    token: CancelToken,
    /// Wakes the task that polled last.
    hook: Option<CancelHook>,
}

impl Future for CancelRequested {
    type Output = CancelReason;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<CancelReason> {
        let waker = context.waker().clone();
        let hook = self.token.on_request(move || waker.wake_by_ref());
        self.hook = Some(hook);
        match self.token.requested() {
            Some(reason) => Poll::Ready(reason),
            None => Poll::Pending,
        }
    }
}

impl std::fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.shared.state.load(Ordering::Acquire);
        f.debug_struct("CancelToken")
            .field("statement", &(state >> STATEMENT_SHIFT))
            .field("running", &(state & RUNNING != 0))
            .field("requested", &self.requested())
            .finish()
    }
}

/// A registered wake-up; ends when dropped.
#[must_use = "a dropped hook wakes nobody"]
pub struct CancelHook {
    token: CancelToken,
    id: u64,
}

impl Drop for CancelHook {
    fn drop(&mut self) {
        lock(&self.token.shared.hooks).by_id.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[test]
    fn requests_end_with_their_statement() {
        let token = CancelToken::new();
        assert!(!token.request(CancelReason::UserRequest), "nothing runs");
        assert_eq!(token.check(), Ok(()));
        let first = token.begin_statement();
        assert!(token.request(CancelReason::UserRequest));
        assert_eq!(token.check(), Err(Cancelled(CancelReason::UserRequest)));
        token.end_statement();
        assert_eq!(token.check(), Ok(()));
        let second = token.begin_statement();
        assert!(
            !token.request_for(first, CancelReason::StatementTimeout),
            "a late timer"
        );
        assert_eq!(token.check(), Ok(()));
        assert!(token.request_for(second, CancelReason::StatementTimeout));
        assert!(token.request(CancelReason::UserRequest));
        assert_eq!(token.requested(), Some(CancelReason::StatementTimeout));
    }

    #[test]
    fn termination_outlasts_statements() {
        let token = CancelToken::new();
        assert!(token.request(CancelReason::Terminate));
        token.begin_statement();
        let stop = token.check().unwrap_err();
        assert_eq!(
            stop.to_string(),
            "terminating connection due to administrator command"
        );
        assert_eq!(stop.0.sqlstate(), "57P01");
        token.end_statement();
        assert!(token.check().is_err());
    }

    #[test]
    fn hooks_are_called_until_dropped() {
        let token = CancelToken::new();
        token.begin_statement();
        let calls = Arc::new(AtomicU32::new(0));
        let seen = calls.clone();
        let hook = token.on_request(move || {
            seen.fetch_add(1, Ordering::Relaxed);
        });
        token.clone().request(CancelReason::UserRequest);
        drop(hook);
        token.request(CancelReason::UserRequest);
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn async_code_is_woken() {
        struct Count(AtomicU32);
        impl std::task::Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let token = CancelToken::new();
        token.begin_statement();
        let wakes = Arc::new(Count(AtomicU32::new(0)));
        let waker = wakes.clone().into();
        let mut context = Context::from_waker(&waker);
        let mut requested = Box::pin(token.requested_async());
        assert_eq!(requested.as_mut().poll(&mut context), Poll::Pending);
        assert_eq!(requested.as_mut().poll(&mut context), Poll::Pending);
        token.request(CancelReason::UserRequest);
        assert_eq!(
            wakes.0.load(Ordering::Relaxed),
            1,
            "only the last poll's hook is left"
        );
        let reason = Poll::Ready(CancelReason::UserRequest);
        assert_eq!(requested.as_mut().poll(&mut context), reason);
        drop(requested);
        assert!(lock(&token.shared.hooks).by_id.is_empty());
    }

    /// One thread runs statements, another requests at random moments: no statement may see a
    /// request that was made for another one.
    #[test]
    fn a_request_for_one_statement_never_hits_another() {
        let token = CancelToken::new();
        let current = Mutex::new(Some(token.begin_statement()));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while let Some(statement) = *lock(&current) {
                    token.request_for(statement, CancelReason::StatementTimeout);
                }
            });
            for _ in 0..20_000 {
                token.end_statement();
                assert_eq!(token.requested(), None);
                // The requester still names the statement that is over.
                let next = token.begin_statement();
                assert_eq!(token.requested(), None);
                *lock(&current) = Some(next);
            }
            *lock(&current) = None;
        });
    }
}
