//! Method `sync`: the thread that submits executes the I/O.
//!
//! Why: the reference that the other methods are compared with, the last
//! fall-back, and the quickest way where everything is cached. Limits: no
//! overlap of I/O with anything. Fall-back: none needed.

use std::sync::Arc;

use crate::method::Method;
use crate::request::{Completions, InFlight, IoRequest, RequestBatch};
use crate::system_call::Executor;

/// See the module.
pub struct SyncMethod {
    executor: Arc<dyn Executor>,
}

impl SyncMethod {
    /// Executes through `executor`.
    pub fn new(executor: Arc<dyn Executor>) -> Self {
        SyncMethod { executor }
    }
}

/// Executes a request and its remainders until the I/O is complete.
pub(crate) fn execute_to_end(
    executor: &dyn Executor,
    request: IoRequest,
    completions: &Completions,
) {
    let mut next = Some(request);
    while let Some(request) = next {
        let outcome = executor.execute(&request);
        next = completions.complete(request, outcome);
    }
}

impl Method for SyncMethod {
    fn name(&self) -> &'static str {
        "sync"
    }

    fn submit(&self, batch: &mut RequestBatch, completions: &Completions) {
        for request in batch {
            execute_to_end(self.executor.as_ref(), request, completions);
        }
    }

    fn wait(&self, io: &InFlight<'_>) {
        // Another thread is executing it right now, inside a system call.
        io.park();
    }

    fn wait_until(&self, io: &InFlight<'_>, ready: &dyn Fn() -> bool) {
        io.park_until(ready);
    }
}
