//! How a running query is told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::error::{QueryError, sqlstate};
use super::session::SessionFunctions;

/// What the tasks of one running query look at between two steps of long work.
pub(crate) struct Interrupts {
    /// Nobody wants its rows any more.
    is_unwanted: AtomicBool,
    session: Arc<dyn SessionFunctions>,
}

impl Interrupts {
    pub(crate) fn new(session: Arc<dyn SessionFunctions>) -> Arc<Self> {
        Arc::new(Self {
            is_unwanted: AtomicBool::new(false),
            session,
        })
    }

    /// Fails if the query is to stop.
    ///
    /// # Errors
    /// That of the cancelled statement, or 57014 for a query whose rows nobody reads.
    pub(crate) fn check(&self) -> Result<(), QueryError> {
        if self.is_unwanted.load(Ordering::Relaxed) {
            return Err(QueryError::new(
                sqlstate::QUERY_CANCELED,
                "the rows of this query are no longer wanted",
            ));
        }
        self.session.check_interrupts()
    }
}

impl std::fmt::Debug for Interrupts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interrupts")
            .field("is_unwanted", &self.is_unwanted)
            .finish_non_exhaustive()
    }
}

/// Stops a query that is in the middle of long work, where dropping its stream has to wait for the
/// end of a step.
#[derive(Clone, Debug)]
pub struct QueryStop(Arc<Interrupts>);

impl QueryStop {
    pub(crate) fn new(interrupts: &Arc<Interrupts>) -> Self {
        Self(Arc::clone(interrupts))
    }

    /// The query's rows are no longer wanted.
    pub fn stop(&self) {
        self.0.is_unwanted.store(true, Ordering::Relaxed);
    }
}
