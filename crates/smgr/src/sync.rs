//! Making what was written durable: every segment written since the last time, asynchronously.

use crate::error::SmgrError;
use crate::manager::Smgr;
use crate::sync_requests::SegmentKey;
use crate::tag::relation_tag;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use trunkline_aio::{IoContext, IoResult, IoReturn, TargetId, WaitRef};
use trunkline_pgformat::{BlockNumber, ForkNumber, RELSEG_SIZE, RelFileLocator};

/// Syncs in flight at most.
const SYNCS_IN_FLIGHT: usize = 32;

struct SyncInFlight {
    key: SegmentKey,
    wait_ref: WaitRef,
    outcome: Arc<IoReturn>,
}

impl Smgr {
    /// Asks for a sync of the segment that holds `block` by the next [`Smgr::sync_all`]. Writes
    /// through [`Smgr::start_writev`] ask by themselves.
    pub fn register_sync(&self, rel: RelFileLocator, fork: ForkNumber, block: BlockNumber) {
        let key = SegmentKey {
            rel,
            fork,
            segment: block / RELSEG_SIZE,
        };
        self.requests.note(self.requests.slot(key));
    }

    /// Syncs every segment written since the last call, and every directory whose names changed.
    /// A write that completes meanwhile is kept for the next call. Waits for all syncs that it
    /// started, also if one fails.
    ///
    /// # Errors
    /// After one, what is durable is unknown: the engine stops.
    pub fn sync_all(&self, ctx: &mut IoContext) -> Result<(), SmgrError> {
        let mut in_flight = VecDeque::new();
        let mut first_error = Ok(());
        for key in self.requests.take() {
            let file = match self.segment(key) {
                Ok(file) => file,
                // Removed since the request was taken.
                Err(SmgrError::Open { error, .. })
                    if error.kind() == io::ErrorKind::NotFound && !self.requests.knows(key) =>
                {
                    continue;
                }
                Err(error) => {
                    first_error = first_error.and(Err(error));
                    break;
                }
            };
            if in_flight.len() == SYNCS_IN_FLIGHT {
                first_error = first_error.and(finish_oldest(ctx, &mut in_flight));
            }
            let outcome = IoReturn::new();
            let mut handle = match ctx.acquire() {
                Ok(handle) => handle,
                Err(error) => {
                    first_error = first_error.and(Err(error.into()));
                    break;
                }
            };
            let block = key.segment * RELSEG_SIZE;
            handle.target(relation_tag(TargetId::Smgr, key.rel, key.fork, block));
            handle.report_to(&outcome);
            let wait_ref = handle.start_fsync(&file);
            self.syncs.fetch_add(1, Ordering::Relaxed);
            in_flight.push_back(SyncInFlight {
                key,
                wait_ref,
                outcome,
            });
        }
        ctx.submit();
        while !in_flight.is_empty() {
            first_error = first_error.and(finish_oldest(ctx, &mut in_flight));
        }
        first_error?;
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

fn finish_oldest(
    ctx: &mut IoContext,
    in_flight: &mut VecDeque<SyncInFlight>,
) -> Result<(), SmgrError> {
    let Some(sync) = in_flight.pop_front() else {
        return Ok(());
    };
    ctx.wait(sync.wait_ref);
    match sync.outcome.get() {
        Some(IoResult::Error(failure)) => Err(SmgrError::Sync {
            path: sync.key.path(),
            error: failure.into(),
        }),
        _ => Ok(()),
    }
}
