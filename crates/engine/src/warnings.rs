//! Warnings about damaged pages on their way from a session's reads, on whichever thread, to its
//! client.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use trunkline_buffer::{DamagedRead, ReadWarnings};

/// Warnings that wait for the client, at most. Each is in the server's log as well.
const WAITING: usize = 1000;

#[derive(Debug, Default)]
struct Waiting {
    reads: VecDeque<DamagedRead>,
    left_out: u64,
}

/// What a session's client has not been told yet.
#[derive(Debug, Default)]
pub struct SessionWarnings(Mutex<Waiting>);

/// What [`SessionWarnings::take`] gives.
#[derive(Debug, Default)]
pub struct TakenWarnings {
    /// The warnings, oldest first.
    pub reads: VecDeque<DamagedRead>,
    /// Later ones that there was no room for.
    pub left_out: u64,
}

impl SessionWarnings {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what waits.
    pub fn take(&self) -> TakenWarnings {
        let mut waiting = self.waiting();
        TakenWarnings {
            reads: std::mem::take(&mut waiting.reads),
            left_out: std::mem::take(&mut waiting.left_out),
        }
    }
}

/// The warnings of one statement. Its scans may run on for a moment after it has ended; what they
/// read then is nobody's business any more.
#[derive(Debug)]
pub struct StatementWarnings {
    session: Arc<SessionWarnings>,
    is_over: AtomicBool,
}

impl StatementWarnings {
    /// The warnings of a statement; `is_wanted`: its client wants to see warnings.
    pub(crate) fn new(session: &Arc<SessionWarnings>, is_wanted: bool) -> Arc<StatementWarnings> {
        Arc::new(StatementWarnings {
            session: Arc::clone(session),
            is_over: AtomicBool::new(!is_wanted),
        })
    }

    /// The statement has ended, and its results have been read or given up.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

impl ReadWarnings for StatementWarnings {
    fn warn(&self, read: &DamagedRead) {
        if self.is_over.load(Ordering::Relaxed) {
            return;
        }
        let mut waiting = self.session.waiting();
        if waiting.reads.len() < WAITING {
            waiting.reads.push_back(read.clone());
        } else {
            waiting.left_out += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trunkline_buffer::{DamageFate, PageFailure};

    fn read(block: u32) -> DamagedRead {
        DamagedRead {
            path: "base/5/16384".to_owned(),
            first: block,
            last: block,
            fate: DamageFate::Zeroed,
            pages: 1,
            first_damaged: block,
            failure: PageFailure::Header,
            checksum_failures: 0,
        }
    }

    #[test]
    fn what_waits_is_bounded_and_the_rest_counted() {
        let session = Arc::new(SessionWarnings::default());
        let statement = StatementWarnings::new(&session, true);
        for block in 0..WAITING as u32 + 7 {
            statement.warn(&read(block));
        }
        let taken = session.take();
        assert_eq!((taken.reads.len(), taken.left_out), (WAITING, 7));
        assert_eq!(taken.reads[0].first, 0);
        let taken = session.take();
        assert_eq!((taken.reads.len(), taken.left_out), (0, 0));
    }

    #[test]
    fn a_statement_that_is_over_warns_no_more() {
        let session = Arc::new(SessionWarnings::default());
        let (first, second) = (
            StatementWarnings::new(&session, true),
            StatementWarnings::new(&session, true),
        );
        first.end();
        first.warn(&read(1));
        second.warn(&read(2));
        StatementWarnings::new(&session, false).warn(&read(3));
        let reads = session.take().reads;
        assert_eq!(reads.iter().map(|read| read.first).collect::<Vec<_>>(), [2]);
    }
}
