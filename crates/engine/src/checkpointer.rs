//! The checkpointer (B7): a checkpoint is a row of steps that never sleep, taken by its thread, or by
//! whoever waits where there is none.
//!
//! ```text
//!  Idle ── asked for, checkpoint_timeout, max_wal_size ──▶ Writing ── all written ──▶ Syncing ──▶
//!   ▲     redo point; commits leave; mark dirty buffers      │ ahead of schedule: pause   │
//!   │                                                        ▼                            ▼
//!   └── failed: told to who waits ◀──────────────────────────┴── pg_xact, record, pg_control,
//!                                                                unlinks, old segments
//! ```
//!
//! Recovery begins at the redo point. So what is in the log before it must be on disk when pg_control
//! says so: pages, by the pass over the pool, which comes behind the redo point (every change dirties
//! its page before it is logged); commits' entries in pg_xact, because those that were between record
//! and entry are waited for (W10); cuts and removals of files, because
//! none is half done at the redo point.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use trunkline_aio::IoContext;
use trunkline_buffer::CheckpointWrites;
use trunkline_pgformat::Lsn;
use trunkline_pgformat::control_file::{CheckPoint, ClusterState, WalLevel};
use trunkline_smgr::SyncCycle;
use trunkline_wal::WalStats;

use crate::checkpoint_log::{self, CheckpointReport, SegmentChanges};
use crate::checkpoint_requests::{CheckpointCause, CheckpointRequests};
use crate::checkpoint_schedule::{AHEAD_PAUSE, CheckpointSchedule};
use crate::durable_state::{DurableState, important_records};
use crate::engine_records;
use crate::error::{EngineError, StatementError};

/// Buffers that one step of a checkpoint in a hurry deals with.
const FAST_STEP_BUFFERS: usize = 1024;
/// A checkpoint that failed is due still, if it was, but is not tried again before this has passed.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The settings of checkpoints.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CheckpointConfig {
    /// `checkpoint_timeout`.
    pub(crate) timeout: Duration,
    /// `checkpoint_completion_target`.
    pub(crate) completion_target: f64,
    /// Writes in flight (`checkpoint_io_concurrency`).
    pub(crate) io_concurrency: usize,
    /// Log between two checkpoints that `max_wal_size` allows.
    pub(crate) wal_distance_bytes: u64,
    /// `log_checkpoints`.
    pub(crate) log: bool,
    /// `checkpoint_warning`.
    pub(crate) warning: Duration,
}

/// What to do after a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CheckpointerStep {
    /// Take the next one.
    Again,
    /// Nothing to do for so long, unless somebody asks for a checkpoint.
    Pause(Duration),
}

/// The row of `pg_stat_checkpointer`, without restartpoints, of which there are none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CheckpointerStats {
    /// Checkpoints that `checkpoint_timeout` asked for, those included that had nothing to do.
    pub num_timed: u64,
    /// Checkpoints that somebody else asked for.
    pub num_requested: u64,
    /// Checkpoints that were done.
    pub num_done: u64,
    /// Time spent on writing, pauses included.
    pub write_time: Duration,
    /// Time spent on syncing.
    pub sync_time: Duration,
    /// Buffers written by checkpoints.
    pub buffers_written: u64,
    /// Pages of pg_xact written by checkpoints.
    pub slru_written: u64,
}

/// The same as it is counted.
#[derive(Debug, Default)]
pub(crate) struct CheckpointerCounters {
    num_timed: AtomicU64,
    num_requested: AtomicU64,
    num_done: AtomicU64,
    write_us: AtomicU64,
    sync_us: AtomicU64,
    buffers_written: AtomicU64,
    slru_written: AtomicU64,
}

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl CheckpointerCounters {
    pub(crate) fn snapshot(&self) -> CheckpointerStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CheckpointerStats {
            num_timed: get(&self.num_timed),
            num_requested: get(&self.num_requested),
            num_done: get(&self.num_done),
            write_time: Duration::from_micros(get(&self.write_us)),
            sync_time: Duration::from_micros(get(&self.sync_us)),
            buffers_written: get(&self.buffers_written),
            slru_written: get(&self.slru_written),
        }
    }
}

/// A checkpoint that runs.
struct Running {
    cause: CheckpointCause,
    schedule: CheckpointSchedule,
    /// What its record will say.
    check_point: CheckPoint,
    /// The redo point of the one before.
    previous_redo: Lsn,
    /// Where the log was when it began.
    wal_start: Lsn,
    wal_stats: WalStats,
}

enum Phase {
    Idle,
    Writing(Running, CheckpointWrites),
    Syncing(Running, Synced),
}

/// A checkpoint whose pages are written.
struct Synced {
    cycle: SyncCycle,
    buffers_written: u64,
    began: Duration,
}

/// The checkpointer. One at a time takes its steps.
pub(crate) struct Checkpointer {
    state: Arc<DurableState>,
    config: CheckpointConfig,
    requests: Arc<CheckpointRequests>,
    counters: Arc<CheckpointerCounters>,
    phase: Phase,
    /// Records in the log up to the last checkpoint's own.
    records_covered: u64,
    /// Log that is expected between two redo points.
    estimate_bytes: f64,
    /// When the last one began that had something to do, or the system.
    last_began: Duration,
    /// When the next timed one is due.
    due: Duration,
    /// After a failure: when nobody's asking is enough again.
    retry_at: Duration,
    /// When it would be if the running one had not begun.
    due_before: Duration,
}

impl Checkpointer {
    pub(crate) fn new(
        state: Arc<DurableState>,
        config: CheckpointConfig,
        requests: Arc<CheckpointRequests>,
        counters: Arc<CheckpointerCounters>,
    ) -> Checkpointer {
        let records_covered = state.important_records();
        let last_began = state.clock.monotonic();
        let due = last_began + config.timeout;
        Checkpointer {
            state,
            config,
            requests,
            counters,
            phase: Phase::Idle,
            records_covered,
            estimate_bytes: 0.0,
            last_began,
            due,
            due_before: due,
            retry_at: Duration::ZERO,
        }
    }

    /// Takes one step at the time `now`.
    pub(crate) fn step(&mut self, io: &mut IoContext, now: Duration) -> CheckpointerStep {
        let step = match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Idle => self.begin_if_due(io, now),
            Phase::Writing(running, writes) => self.write(io, now, running, writes),
            Phase::Syncing(running, synced) => self.sync(io, now, running, synced),
        };
        step.unwrap_or_else(|error| {
            self.fail(error, now);
            CheckpointerStep::Again
        })
    }

    fn fail(&mut self, error: EngineError, now: Duration) {
        tracing::error!("checkpoint failed: {error}");
        if let EngineError::Transaction(error) = &error
            && error.must_stop()
        {
            self.state.fail(error);
        }
        self.state.check_log();
        self.retry_at = now + RETRY_AFTER;
        self.due = self.due_before.max(self.retry_at);
        self.requests.finish(Err(StatementError {
            sqlstate: error.sqlstate(),
            message: error.to_string(),
            detail: error.detail(),
            hint: error.hint(),
        }));
    }

    fn begin_if_due(
        &mut self,
        io: &mut IoContext,
        now: Duration,
    ) -> Result<CheckpointerStep, EngineError> {
        let mut wanted = self.requests.wanted();
        self.state.check_log();
        if let Some(failure) = self.state.failure() {
            if wanted.is_none() {
                return Ok(CheckpointerStep::Pause(self.config.timeout));
            }
            self.requests.begin();
            let failure = StatementError::new("58030", failure);
            self.requests.finish(Err(failure));
            return Ok(CheckpointerStep::Again);
        }
        let may_try = now >= self.retry_at;
        if may_try && is_wal_due(&self.state, self.config.wal_distance_bytes) {
            let cause = CheckpointCause::WAL;
            wanted = Some(wanted.map_or(cause, |wanted| wanted.and(cause)));
        }
        let is_due = now >= self.due;
        let cause = match (wanted, is_due) {
            (Some(wanted), false) => wanted,
            (Some(wanted), true) => wanted.and(CheckpointCause::TIMED),
            (None, true) => CheckpointCause::TIMED,
            (None, false) => return Ok(CheckpointerStep::Pause(self.due - now)),
        };
        self.due_before = std::mem::replace(&mut self.due, now + self.config.timeout);
        self.requests.begin();
        // A stop is neither the one nor the other, as in PostgreSQL.
        if wanted.is_some_and(|wanted| !wanted.is_alone()) {
            add(&self.counters.num_requested, 1);
        } else if wanted.is_none() {
            add(&self.counters.num_timed, 1);
        }
        let is_idle = self.state.important_records() == self.records_covered;
        if is_idle && !cause.is_forced && !cause.is_alone() {
            tracing::debug!("checkpoint skipped because system is idle");
            self.requests.finish(Ok(()));
            return Ok(CheckpointerStep::Again);
        }
        let since_last = now.saturating_sub(std::mem::replace(&mut self.last_began, now));
        if cause.is_for_wal
            && let Some(said) = checkpoint_log::too_frequent(since_last, self.config.warning)
        {
            tracing::info!("{said}");
        }
        if self.config.log {
            tracing::info!("{}", checkpoint_log::starting(cause));
        }
        let running = self.begin(io, cause, now)?;
        // Behind the redo point: what is dirty by then has to be written.
        let writes = CheckpointWrites::begin(&self.state.pool, self.config.io_concurrency);
        self.phase = Phase::Writing(running, writes);
        Ok(CheckpointerStep::Again)
    }

    /// Sets the redo point.
    fn begin(
        &self,
        io: &mut IoContext,
        cause: CheckpointCause,
        now: Duration,
    ) -> Result<Running, EngineError> {
        let state = &self.state;
        let wal = &state.wal;
        let wal_stats = wal.stats();
        let wal_start = wal.insert_lsn();
        if cause.is_shutdown {
            state.write_control(io, |control| control.state = ClusterState::ShuttingDown)?;
        }
        // Before the redo point: files whose removal is asked for from here on stay.
        state.smgr.begin_checkpoint();
        let redo = if cause.is_alone() {
            // So that nobody has anything to flush, which could pad the log.
            wal.flush(io, wal_start)?;
            wal.begin_shutdown_checkpoint()
        } else {
            state
                .set_redo_point(io, |io| wal.begin_checkpoint(io, WalLevel::Replica))?
                .start
        };
        state.transactions.begin_checkpoint().wait(io)?;
        Ok(Running {
            cause,
            schedule: CheckpointSchedule {
                started: now,
                timeout: self.config.timeout,
                completion_target: self.config.completion_target,
            },
            check_point: state.check_point(redo, cause.is_alone()),
            previous_redo: state.control_copy().check_point_copy.redo,
            wal_start,
            wal_stats,
        })
    }

    /// The part of the log between two checkpoints that has been written since `running` began.
    fn wal_progress(&self, running: &Running) -> f64 {
        let written = self.state.wal.durable_lsn().0;
        let since = written.saturating_sub(running.wal_start.0);
        since as f64 / self.config.wal_distance_bytes.max(1) as f64
    }

    fn write(
        &mut self,
        io: &mut IoContext,
        now: Duration,
        running: Running,
        mut writes: CheckpointWrites,
    ) -> Result<CheckpointerStep, EngineError> {
        let is_fast = running.cause.is_fast || self.requests.is_hurried();
        let written = writes.done() as f64 / writes.total().max(1) as f64;
        let has_more = writes.done() < writes.total();
        let is_ahead = running
            .schedule
            .is_ahead(now, written, self.wal_progress(&running));
        if has_more && !is_fast && is_ahead {
            // Nothing is left in flight, with its pages locked, over a pause.
            writes.settle(io);
            self.phase = Phase::Writing(running, writes);
            return Ok(CheckpointerStep::Pause(AHEAD_PAUSE));
        }
        if writes.step(io, if is_fast { FAST_STEP_BUFFERS } else { 1 }) {
            self.phase = Phase::Writing(running, writes);
            return Ok(CheckpointerStep::Again);
        }
        let buffers_written = writes.finish(io)?;
        let began = self.state.clock.monotonic();
        let write_time = began.saturating_sub(running.schedule.started);
        add(&self.counters.write_us, micros(write_time));
        add(&self.counters.buffers_written, buffers_written);
        let cycle = self.state.smgr.begin_sync();
        let synced = Synced {
            cycle,
            buffers_written,
            began,
        };
        self.phase = Phase::Syncing(running, synced);
        Ok(CheckpointerStep::Again)
    }

    fn sync(
        &mut self,
        io: &mut IoContext,
        _now: Duration,
        running: Running,
        mut synced: Synced,
    ) -> Result<CheckpointerStep, EngineError> {
        let clock = self.state.clock.as_ref();
        match synced.cycle.step(&self.state.smgr, io, clock) {
            Ok(true) => {
                self.phase = Phase::Syncing(running, synced);
                return Ok(CheckpointerStep::Again);
            }
            Ok(false) => {}
            Err(error) => {
                let error = EngineError::from(error);
                self.state.fail(&error);
                return Err(error);
            }
        }
        let slru_written = self.state.transactions.flush(io)?;
        add(&self.counters.slru_written, slru_written);
        let sync = clock.monotonic().saturating_sub(synced.began);
        add(&self.counters.sync_us, micros(sync));
        let lsn = self.insert_record(io, &running)?;
        let is_alone = running.cause.is_alone();
        self.state.write_control(io, |control| {
            control.state = match is_alone {
                true => ClusterState::ShutDown,
                false => ClusterState::InProduction,
            };
            control.check_point = lsn;
            control.check_point_copy = running.check_point.clone();
            control.min_recovery_point = Lsn::INVALID;
            control.min_recovery_point_tli = 0;
        })?;
        self.state.smgr.end_checkpoint();
        self.remove_old_segments(&running);
        add(&self.counters.num_done, 1);
        let report = self.report(&running, &synced, sync, lsn);
        self.log_complete(CheckpointReport {
            slru_written,
            ..report
        });
        self.requests.finish(Ok(()));
        Ok(CheckpointerStep::Again)
    }

    /// Inserts the record of the checkpoint, durably.
    fn insert_record(&mut self, io: &mut IoContext, running: &Running) -> Result<Lsn, EngineError> {
        let wal = &self.state.wal;
        let is_alone = running.cause.is_alone();
        if !is_alone {
            let xacts = self.state.transactions.running_xacts();
            engine_records::running_xacts(wal, io, xacts)?;
        }
        // Its own: what others inserted behind the redo point is for the next one, or log that is due to
        // be given up by a checkpoint would never be.
        let own_records = if is_alone { 1 } else { 3 };
        let covered = important_records(&running.wal_stats) + own_records;
        let record = engine_records::check_point(wal, io, &running.check_point, is_alone)?;
        if is_alone && record.start != running.check_point.redo {
            let error = StatementError::new(
                "XX000",
                "concurrent write-ahead log activity while database system is shutting down",
            );
            self.state.fail(&error);
            return Err(error.into());
        }
        engine_records::flush(wal, io, record)?;
        self.records_covered = covered;
        Ok(record.start)
    }

    fn remove_old_segments(&mut self, running: &Running) {
        let (previous, redo) = (running.previous_redo, running.check_point.redo);
        let distance = redo.0.saturating_sub(previous.0) as f64;
        self.estimate_bytes = if self.estimate_bytes < distance {
            distance
        } else {
            0.9 * self.estimate_bytes + 0.1 * distance
        };
        if let Err(error) = self.state.wal.remove_old_segments(previous, redo) {
            tracing::warn!("could not remove old WAL segments: {error}");
        }
    }

    fn report(
        &self,
        running: &Running,
        synced: &Synced,
        sync: Duration,
        lsn: Lsn,
    ) -> CheckpointReport {
        let started = running.schedule.started;
        let redo = running.check_point.redo;
        CheckpointReport {
            buffers_written: synced.buffers_written,
            buffers: self.state.pool.buffers(),
            slru_written: 0,
            write: synced.began.saturating_sub(started),
            sync,
            total: self.state.clock.monotonic().saturating_sub(started),
            sync_times: synced.cycle.times(),
            segments: SegmentChanges::between(&running.wal_stats, &self.state.wal.stats()),
            distance_bytes: redo.0.saturating_sub(running.previous_redo.0),
            estimate_bytes: self.estimate_bytes as u64,
            lsn,
            redo,
        }
    }

    fn log_complete(&self, report: CheckpointReport) {
        if self.config.log {
            tracing::info!("{}", checkpoint_log::complete(&report));
        }
    }
}

/// Whether so much log was written since the last redo point that `max_wal_size` asks for a checkpoint
/// (PostgreSQL's `XLogCheckpointNeeded`): whole segments count.
pub(crate) fn is_wal_due(state: &DurableState, distance_bytes: u64) -> bool {
    let size = state.wal.config().segment_size;
    let segments = distance_bytes / u64::from(size.bytes());
    let redo = size.segment_of(state.wal.redo());
    size.segment_of(state.wal.durable_lsn()) >= redo + segments.max(1)
}
