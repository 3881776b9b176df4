//! The checkpointer (B7): a checkpoint is a row of steps that never sleep, taken by its thread, or by
//! whoever waits where there is none.
//!
//! ```text
//!  Idle ── asked for, or checkpoint_timeout ──▶ Writing ── all written ──▶ Syncing ── all synced ──▶
//!   ▲         mark dirty buffers                  │ ahead of schedule: pause          │
//!   │                                             ▼                                   ▼
//!   └──────────────── failed: told to who waits ◀─┴───── pg_xact, pg_control, unlinks ┘
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use trunkline_aio::IoContext;
use trunkline_buffer::CheckpointWrites;
use trunkline_pgformat::control_file::ClusterState;
use trunkline_smgr::{SyncCycle, SyncTimes};

use crate::checkpoint_log::{self, CheckpointReport};
use crate::checkpoint_requests::{CheckpointCause, CheckpointRequests};
use crate::checkpoint_schedule::{AHEAD_PAUSE, CheckpointSchedule, WalProgress};
use crate::durable_state::DurableState;
use crate::error::{EngineError, StatementError};

/// Buffers that one step of a checkpoint in a hurry deals with.
const FAST_STEP_BUFFERS: usize = 1024;
/// A timed checkpoint that failed is due still, but is not tried again before this has passed.
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
    /// `log_checkpoints`.
    pub(crate) log: bool,
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
    wal_progress: WalProgress,
    phase: Phase,
    /// When the next timed one is due.
    due: Duration,
    /// When it would be if the running one had not begun.
    due_before: Duration,
}

impl Checkpointer {
    pub(crate) fn new(
        state: Arc<DurableState>,
        config: CheckpointConfig,
        requests: Arc<CheckpointRequests>,
        counters: Arc<CheckpointerCounters>,
        wal_progress: WalProgress,
    ) -> Checkpointer {
        let due = state.clock.monotonic() + config.timeout;
        Checkpointer {
            state,
            config,
            requests,
            counters,
            wal_progress,
            phase: Phase::Idle,
            due,
            due_before: due,
        }
    }

    /// Takes one step at the time `now`.
    pub(crate) fn step(&mut self, io: &mut IoContext, now: Duration) -> CheckpointerStep {
        let step = match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Idle => return self.begin_if_due(now),
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
        self.due = self.due_before.max(now + RETRY_AFTER);
        self.requests.finish(Err(StatementError {
            sqlstate: error.sqlstate(),
            message: error.to_string(),
            detail: error.detail(),
            hint: error.hint(),
        }));
    }

    fn begin_if_due(&mut self, now: Duration) -> CheckpointerStep {
        let wanted = self.requests.wanted();
        let is_due = now >= self.due;
        let cause = match (wanted, is_due) {
            (Some(wanted), false) => wanted,
            (Some(wanted), true) => wanted.and(CheckpointCause::TIMED),
            (None, true) => CheckpointCause::TIMED,
            (None, false) => return CheckpointerStep::Pause(self.due - now),
        };
        self.due_before = std::mem::replace(&mut self.due, now + self.config.timeout);
        self.requests.begin();
        // A stop is neither the one nor the other, as in PostgreSQL.
        if wanted.is_some_and(|wanted| !wanted.is_shutdown) {
            add(&self.counters.num_requested, 1);
        } else if wanted.is_none() {
            add(&self.counters.num_timed, 1);
        }
        if let Some(failure) = self.state.failure() {
            let failure = StatementError::new("58030", failure);
            self.requests.finish(Err(failure));
            return CheckpointerStep::Again;
        }
        // Before anything that the checkpoint is to cover is looked at.
        let is_idle = self.state.is_idle();
        self.state.smgr.begin_checkpoint();
        let writes = CheckpointWrites::begin(&self.state.pool, self.config.io_concurrency);
        if is_idle && writes.total() == 0 && !cause.is_forced && !cause.is_shutdown {
            tracing::debug!("checkpoint skipped because system is idle");
            self.requests.finish(Ok(()));
            return CheckpointerStep::Again;
        }
        if self.config.log {
            tracing::info!("{}", checkpoint_log::starting(cause));
        }
        let schedule = CheckpointSchedule {
            started: now,
            timeout: self.config.timeout,
            completion_target: self.config.completion_target,
        };
        self.phase = Phase::Writing(Running { cause, schedule }, writes);
        CheckpointerStep::Again
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
            .is_ahead(now, written, (self.wal_progress)());
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
        let slru_written = self.state.transactions.flush()?;
        let sync = clock.monotonic().saturating_sub(synced.began);
        add(&self.counters.sync_us, micros(sync));
        add(&self.counters.slru_written, slru_written);
        let state = match running.cause.is_shutdown {
            true => ClusterState::ShutDown,
            false => ClusterState::InProduction,
        };
        self.state.write_control(state, io)?;
        self.state.smgr.end_checkpoint();
        add(&self.counters.num_done, 1);
        self.log_complete(&running, &synced, sync, slru_written);
        self.requests.finish(Ok(()));
        Ok(CheckpointerStep::Again)
    }

    fn log_complete(&self, running: &Running, synced: &Synced, sync: Duration, slru_written: u64) {
        if !self.config.log {
            return;
        }
        let started = running.schedule.started;
        let sync_times: SyncTimes = synced.cycle.times();
        let report = CheckpointReport {
            buffers_written: synced.buffers_written,
            buffers: self.state.pool.buffers(),
            slru_written,
            write: synced.began.saturating_sub(started),
            sync,
            total: self.state.clock.monotonic().saturating_sub(started),
            sync_times,
        };
        tracing::info!("{}", checkpoint_log::complete(&report));
    }
}
