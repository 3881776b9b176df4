//! Making what was written durable: every segment written since the last time, asynchronously.

use crate::error::SmgrError;
use crate::manager::Smgr;
use crate::sync_requests::SegmentKey;
use crate::tag::relation_tag;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use trunkline_aio::{Clock, File, IoContext, IoResult, IoReturn, SystemClock, TargetId, WaitRef};
use trunkline_pgformat::{BlockNumber, ForkNumber, RELSEG_SIZE, RelFileLocator};

/// Syncs in flight at most.
const SYNCS_IN_FLIGHT: usize = 32;

struct SyncInFlight {
    key: SegmentKey,
    wait_ref: WaitRef,
    outcome: Arc<IoReturn>,
    started: Duration,
}

/// What a cycle of syncs took.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SyncTimes {
    /// Segments synced.
    pub files: u32,
    /// The longest sync.
    pub longest: Duration,
    /// All syncs, one after the other: more than has passed, since several are in flight.
    pub sum: Duration,
}

impl SyncTimes {
    fn add(&mut self, took: Duration) {
        self.files += 1;
        self.longest = self.longest.max(took);
        self.sum += took;
    }

    /// The average sync.
    pub fn average(&self) -> Duration {
        self.sum.checked_div(self.files).unwrap_or_default()
    }
}

/// A cycle of syncs (B7): of the segments that had been written when it began, several in flight. A
/// write that ends after that is for the next cycle.
///
/// What it has taken and not synced is lost with it: after an error, or if it is dropped early,
/// nothing may be called durable any more.
pub struct SyncCycle {
    /// Not started yet.
    left: VecDeque<SegmentKey>,
    in_flight: VecDeque<SyncInFlight>,
    times: SyncTimes,
    first_error: Option<SmgrError>,
}

impl SyncCycle {
    /// Starts as many syncs as may be in flight, and waits for the oldest. Whether there is more to
    /// do; the directories whose names changed come last.
    ///
    /// # Errors
    /// When all that were started have ended: the first error. What is durable is unknown then: the
    /// engine stops, and nothing is tried again.
    pub fn step(
        &mut self,
        smgr: &Smgr,
        ctx: &mut IoContext,
        clock: &dyn Clock,
    ) -> Result<bool, SmgrError> {
        while self.first_error.is_none() && self.in_flight.len() < SYNCS_IN_FLIGHT {
            let Some(key) = self.left.pop_front() else {
                break;
            };
            if let Err(error) = self.start(smgr, ctx, key, clock.monotonic()) {
                self.first_error = Some(error);
            }
        }
        ctx.submit();
        self.finish_oldest(ctx, clock);
        if !self.in_flight.is_empty() {
            return Ok(true);
        }
        if let Some(error) = self.first_error.take() {
            return Err(error);
        }
        if !self.left.is_empty() {
            return Ok(true);
        }
        smgr.check_nothing_lost()?;
        smgr.sync_directories()?;
        Ok(false)
    }

    /// What it has taken so far.
    pub fn times(&self) -> SyncTimes {
        self.times
    }

    fn start(
        &mut self,
        smgr: &Smgr,
        ctx: &mut IoContext,
        key: SegmentKey,
        started: Duration,
    ) -> Result<(), SmgrError> {
        let Some(file) = smgr.segment_to_sync(key)? else {
            return Ok(());
        };
        let outcome = IoReturn::new();
        let mut handle = ctx.acquire()?;
        let block = key.segment * RELSEG_SIZE;
        handle.target(relation_tag(TargetId::Smgr, key.rel, key.fork, block));
        handle.callback(smgr.named, 0);
        handle.report_to(&outcome);
        let wait_ref = handle.start_fsync(&file);
        smgr.syncs.fetch_add(1, Ordering::Relaxed);
        self.in_flight.push_back(SyncInFlight {
            key,
            wait_ref,
            outcome,
            started,
        });
        Ok(())
    }

    fn finish_oldest(&mut self, ctx: &mut IoContext, clock: &dyn Clock) {
        let Some(sync) = self.in_flight.pop_front() else {
            return;
        };
        ctx.wait(sync.wait_ref);
        self.times
            .add(clock.monotonic().saturating_sub(sync.started));
        if let Some(IoResult::Error(failure)) = sync.outcome.get() {
            self.first_error.get_or_insert(SmgrError::Sync {
                path: sync.key.path(),
                error: failure.into(),
            });
        }
    }
}

impl Smgr {
    /// Asks for a sync of the segment that holds `block` by the next cycle. Writes through
    /// [`Smgr::start_writev`] ask by themselves.
    pub fn register_sync(&self, rel: RelFileLocator, fork: ForkNumber, block: BlockNumber) {
        let key = SegmentKey {
            rel,
            fork,
            segment: block / RELSEG_SIZE,
        };
        self.requests.note(self.requests.slot(key));
    }

    /// Begins to sync every segment written since the last call.
    pub fn begin_sync(&self) -> SyncCycle {
        SyncCycle {
            left: self.requests.take().into(),
            in_flight: VecDeque::new(),
            times: SyncTimes::default(),
            first_error: None,
        }
    }

    /// A whole cycle.
    ///
    /// # Errors
    /// As [`SyncCycle::step`].
    pub fn sync_all(&self, ctx: &mut IoContext) -> Result<(), SmgrError> {
        let clock = SystemClock::new();
        let mut cycle = self.begin_sync();
        while cycle.step(self, ctx, &clock)? {}
        Ok(())
    }

    /// Whether nothing has been written, created or removed since the last cycle.
    pub fn is_synced(&self) -> bool {
        !self.requests.any() && !self.has_directories()
    }

    /// The file of a segment that a sync was asked for; none if it was removed since.
    fn segment_to_sync(&self, key: SegmentKey) -> Result<Option<Arc<File>>, SmgrError> {
        match self.segment(key) {
            Ok(file) => Ok(Some(file)),
            Err(SmgrError::Open { error, .. })
                if error.kind() == io::ErrorKind::NotFound && !self.requests.knows(key) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn check_nothing_lost(&self) -> Result<(), SmgrError> {
        let Some((key, errno)) = self.requests.lost() else {
            return Ok(());
        };
        Err(SmgrError::Sync {
            path: key.map_or_else(|| "a removed segment".to_owned(), |key| key.path()),
            error: io::Error::from_raw_os_error(errno),
        })
    }

    fn sync_directories(&self) -> Result<(), SmgrError> {
        for directory in self.take_directories() {
            self.storage().sync_dir(&directory).or_else(|error| {
                // A directory that was removed with its relations has nothing to keep.
                if error.kind() == io::ErrorKind::NotFound {
                    return Ok(());
                }
                let relative = directory
                    .strip_prefix(self.data_dir())
                    .unwrap_or(&directory);
                Err(SmgrError::Sync {
                    path: relative.display().to_string(),
                    error,
                })
            })?;
        }
        Ok(())
    }
}
