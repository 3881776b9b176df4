//! What completions note about damaged pages for the server's log and for the counters: a completion
//! itself must not write a log.

use crate::damage::{PageFailure, Verdict, write_one};
use crate::tag::RelFork;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use trunkline_pgformat::{BlockNumber, Oid};

/// Pages that wait for the log, at most; of more only the number is told.
const PAGES: usize = 1024;

/// Databases that there is room for from the start.
const DATABASES: usize = 16;

/// Pages of one database that failed their checksum since the pool was made
/// (`pg_stat_database.checksum_failures` and `checksum_last_failure`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ChecksumFailures {
    /// How many.
    pub count: u64,
    /// When the last one was found.
    pub last: Option<SystemTime>,
}

/// A damaged page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DamagedPage {
    pub(crate) rel_fork: RelFork,
    pub(crate) block: BlockNumber,
    pub(crate) verdict: Verdict,
    pub(crate) failure: PageFailure,
}

#[derive(Default)]
struct Notes {
    pages: VecDeque<DamagedPage>,
    left_out: u64,
    /// By database; 0 for what the databases share.
    failures: Vec<(Oid, ChecksumFailures)>,
}

/// The notes. Its lock is a leaf, held for moments.
pub(crate) struct DamageLog {
    notes: Mutex<Notes>,
    /// There are pages to tell of.
    has_pages: AtomicBool,
}

impl DamageLog {
    pub(crate) fn new() -> DamageLog {
        DamageLog {
            notes: Mutex::new(Notes {
                pages: VecDeque::with_capacity(PAGES),
                left_out: 0,
                failures: Vec::with_capacity(DATABASES),
            }),
            has_pages: AtomicBool::new(false),
        }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a page, in a completion.
    pub(crate) fn note(&self, page: DamagedPage) {
        let mut notes = self.notes();
        if notes.pages.len() < PAGES {
            notes.pages.push_back(page);
        } else {
            notes.left_out += 1;
        }
        if matches!(page.failure, PageFailure::Checksum { .. }) {
            let database = page.rel_fork.rel.db_oid;
            let known = notes.failures.iter().position(|(oid, _)| *oid == database);
            let at = known.unwrap_or_else(|| {
                notes.failures.push((database, ChecksumFailures::default()));
                notes.failures.len() - 1
            });
            let failures = &mut notes.failures[at].1;
            failures.count += 1;
            failures.last = Some(SystemTime::now());
        }
        self.has_pages.store(true, Ordering::Release);
    }

    /// Writes what was noted to the server's log, in PostgreSQL's words. Whoever starts a read or
    /// comes to the end of one does this, so that pages are told of even if their own read's issuer
    /// has gone.
    #[inline]
    pub(crate) fn tell(&self) {
        if self.has_pages.load(Ordering::Acquire) {
            self.tell_pages();
        }
    }

    #[cold]
    fn tell_pages(&self) {
        let mut notes = self.notes();
        self.has_pages.store(false, Ordering::Relaxed);
        let left_out = std::mem::take(&mut notes.left_out);
        let pages: Vec<DamagedPage> = notes.pages.drain(..).collect();
        drop(notes);
        for page in pages {
            if let PageFailure::Checksum { .. } = page.failure {
                tracing::info!("{}", page.failure);
            }
            let mut message = String::new();
            // Writing to a string does not fail.
            let _ = write_one(
                &mut message,
                page.verdict,
                page.block,
                &page.rel_fork.path(),
            );
            tracing::info!("{message}");
        }
        if left_out > 0 {
            tracing::info!("{left_out} more damaged pages were read in the same moment");
        }
    }

    /// Failures in the database `database`; 0 for what the databases share.
    pub(crate) fn checksum_failures(&self, database: Oid) -> ChecksumFailures {
        let notes = self.notes();
        let mut failures = notes.failures.iter();
        failures
            .find(|(oid, _)| *oid == database)
            .map_or_else(ChecksumFailures::default, |(_, failures)| *failures)
    }
}

impl Drop for DamageLog {
    fn drop(&mut self) {
        self.tell();
    }
}
