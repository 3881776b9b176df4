//! Changing pages and logging the change, as one step (W10).
//!
//! # Invariants
//! 1. What can fail comes before: pins (the visibility map's too), extension, the checks of what is to
//!    be changed. Inside nothing fails but the log.
//! 2. The order is: dirty, change, record, LSN of every page of the record, unlock. Dirty comes before
//!    the record, so that a checkpoint whose redo pointer is behind the record finds the page dirty and
//!    writes it; the lock is held from the change to the LSN, so that no page goes to disk with one and
//!    not the other.
//! 3. A panic inside ends the process: a page half changed, or changed and not logged, must be seen by
//!    nobody, and the pool has no older version to go back to.
//! 4. If the record cannot be inserted the log has failed for good (W7). The page stays changed in
//!    memory, with an LSN that no log reaches: so it is never written (B4), and the engine stops.

use crate::error::BufferError;
use crate::pinned::{ExclusiveGuard, PinnedBuffer};
use crate::pool::BufferPool;
use arrayvec::ArrayVec;
use trunkline_aio::IoContext;
use trunkline_pgformat::wal::info::XLR_CHECK_CONSISTENCY;
use trunkline_pgformat::wal::rmgr_id::RmgrId;
use trunkline_pgformat::{Lsn, PageBytes, PageMut, Xid};
use trunkline_wal::{ImagePolicy, LoggedBlock, WalError, WalRecord};

/// An LSN that no log reaches.
const NEVER_DURABLE: Lsn = Lsn(u64::MAX);

/// Pages of one record, at most. Records of tables have two.
const MAX_PAGES: usize = 4;

/// Proof that a panic ends the process. See the module for what belongs inside.
#[derive(Debug)]
pub struct CriticalSection(());

/// Ends the process unless forgotten.
struct AbortOnPanic(&'static str);

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        tracing::error!("panic in a critical section: {}", self.0);
        std::process::abort();
    }
}

impl CriticalSection {
    /// Runs `change`, which is about `what`.
    #[inline]
    pub fn run<R>(what: &'static str, change: impl FnOnce(&CriticalSection) -> R) -> R {
        let guard = AbortOnPanic(what);
        let result = change(&CriticalSection(()));
        std::mem::forget(guard);
        result
    }
}

/// A page that is locked exclusively, lent to the one who logs its change.
#[derive(Debug)]
pub struct LentPage<'r> {
    buffer: &'r PinnedBuffer,
    bytes: &'r mut PageBytes,
}

impl ExclusiveGuard<'_> {
    /// Lends the page to [`CriticalSection::log`].
    pub fn lend(&mut self) -> LentPage<'_> {
        LentPage {
            buffer: self.buffer(),
            bytes: self,
        }
    }
}

/// A page that a record is about.
#[derive(Debug)]
pub struct PageOfRecord<'r> {
    /// The page, changed and dirty: [`ExclusiveGuard::lend`].
    pub page: LentPage<'r>,
    /// Whether its image goes along.
    pub image: ImagePolicy,
    /// It has PostgreSQL's layout: its free space need not be logged.
    pub standard: bool,
    /// What redo needs to know beside the record's main data, if it has no image.
    pub data: &'r [&'r [u8]],
    /// Whether the record's end becomes its LSN.
    pub takes_lsn: bool,
}

/// What a record says, its pages apart.
#[derive(Clone, Copy, Debug)]
pub struct ChangeRecord<'r> {
    /// The resource manager.
    pub rmgr: RmgrId,
    /// Flags and the resource manager's code.
    pub info: u8,
    /// The transaction, or invalid.
    pub xid: Xid,
    /// The resource manager's data.
    pub main_data: &'r [&'r [u8]],
}

impl CriticalSection {
    /// Logs a change of `pages`, blocks 0, 1, ... of the record, and makes the record's end their LSN.
    /// Without a log, while a cluster is made or recovered, it does nothing. May wait for writes of the
    /// log if its buffers are full, and drives them; that takes no content lock.
    ///
    /// # Errors
    /// The log has failed. The pages never reach the disk.
    ///
    /// # Panics
    /// And so ends the process: if a page is not dirty, or what is given makes no record.
    pub fn log(
        &self,
        pool: &BufferPool,
        io: &mut IoContext,
        record: ChangeRecord<'_>,
        pages: &mut [PageOfRecord<'_>],
    ) -> Result<(), BufferError> {
        let Some(wal) = pool.wal() else {
            return Ok(());
        };
        let mut info = record.info;
        if pool.checks_consistency_of(record.rmgr) {
            info |= XLR_CHECK_CONSISTENCY;
        }
        let inserted = {
            let blocks: ArrayVec<LoggedBlock<'_>, MAX_PAGES> = (0_u8..)
                .zip(pages.iter())
                .map(|(id, page)| logged_block(id, page))
                .collect();
            wal.insert(
                io,
                &WalRecord {
                    rmgr: record.rmgr,
                    info,
                    xid: record.xid,
                    toplevel_xid: None,
                    blocks: &blocks,
                    main_data: record.main_data,
                },
            )
        };
        let (lsn, outcome) = match inserted {
            Ok(inserted) => (inserted.end, Ok(())),
            Err(error @ (WalError::Record(_) | WalError::RecordTooLong { .. })) => {
                panic!("a change that cannot be logged: {error}")
            }
            Err(error) => (NEVER_DURABLE, Err(BufferError::Log(error.into()))),
        };
        for page in pages {
            if page.takes_lsn || outcome.is_err() {
                PageMut::new(page.page.bytes).set_lsn(lsn);
            }
        }
        outcome
    }
}

fn logged_block<'b>(id: u8, page: &'b PageOfRecord<'_>) -> LoggedBlock<'b> {
    let buffer = page.page.buffer;
    assert!(
        buffer.is_dirty(),
        "a change is logged of a page that is clean"
    );
    let tag = buffer.tag();
    LoggedBlock {
        id,
        locator: tag.rel_fork.rel,
        fork: tag.rel_fork.fork,
        block: tag.block,
        page: page.page.bytes,
        standard: page.standard,
        image: page.image,
        keep_data: false,
        data: page.data,
    }
}
