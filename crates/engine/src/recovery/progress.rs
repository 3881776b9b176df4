//! What the log says of a recovery, in PostgreSQL's words.

use std::sync::Arc;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike};
use trunkline_aio::Clock;
use trunkline_pgformat::Lsn;
use trunkline_pgformat::control_file::{ClusterState, ControlFile};
use trunkline_txn::TimestampTz;
use trunkline_types::{ColumnType, OutputStyle, oids, output_text};

/// Seconds since 1970 as a time of day in UTC.
fn time_of_day(unix_seconds: i64) -> String {
    let since = Duration::from_secs(unix_seconds.max(0).unsigned_abs());
    let timestamp = TimestampTz::since_unix_epoch(since).0;
    let mut text = Vec::new();
    let printed = ColumnType::new(oids::TIMESTAMP, -1).and_then(|column| {
        output_text(
            &column,
            &timestamp.to_le_bytes(),
            &OutputStyle::default(),
            &mut text,
        )
    });
    match printed {
        Ok(()) => format!("{} UTC", String::from_utf8_lossy(&text)),
        Err(_) => format!("{unix_seconds} s after 1970"),
    }
}

/// How the cluster was left.
pub(crate) fn log_state(control: &ControlFile) {
    let time = time_of_day(control.time);
    match control.state {
        ClusterState::ShutDown => tracing::info!("database system was shut down at {time}"),
        ClusterState::ShuttingDown => {
            tracing::info!("database system shutdown was interrupted; last known up at {time}")
        }
        ClusterState::InCrashRecovery => {
            tracing::info!("database system was interrupted while in recovery at {time}");
        }
        _ => tracing::info!("database system was interrupted; last known up at {time}"),
    }
}

/// A part of recovery that may take long, which is told every so often.
pub(super) struct Phase {
    clock: Arc<dyn Clock>,
    interval: Duration,
    started: Duration,
    next: Duration,
}

impl Phase {
    /// It begins. With an `interval` of zero it is never told.
    pub(super) fn start(clock: &Arc<dyn Clock>, interval: Duration) -> Phase {
        let started = clock.monotonic();
        Phase {
            clock: Arc::clone(clock),
            interval,
            started,
            next: started + interval,
        }
    }

    /// How long it has taken, if it is time to tell.
    pub(super) fn elapsed_if_due(&mut self) -> Option<String> {
        if self.interval.is_zero() {
            return None;
        }
        let now = self.clock.monotonic();
        if now < self.next {
            return None;
        }
        self.next = now + self.interval;
        Some(seconds(now.saturating_sub(self.started)))
    }

    fn elapsed(&self) -> String {
        seconds(self.clock.monotonic().saturating_sub(self.started))
    }
}

/// Redo.
pub(super) struct RedoProgress {
    phase: Phase,
    /// What the process had used of CPUs when it began.
    cpu_at_start: CpuTimes,
}

/// Time that CPUs spent for the process.
#[derive(Clone, Copy, Debug, Default)]
struct CpuTimes {
    user: Duration,
    system: Duration,
}

impl CpuTimes {
    /// Until now; zero where the system does not tell.
    fn now() -> CpuTimes {
        let duration =
            |time: TimeVal| Duration::from_micros(time.num_microseconds().unsigned_abs());
        getrusage(UsageWho::RUSAGE_SELF)
            .map(|usage| CpuTimes {
                user: duration(usage.user_time()),
                system: duration(usage.system_time()),
            })
            .unwrap_or_default()
    }
}

/// Seconds with hundredths.
fn seconds(duration: Duration) -> String {
    format!(
        "{}.{:02} s",
        duration.as_secs(),
        duration.subsec_millis() / 10
    )
}

impl RedoProgress {
    pub(super) fn start(phase: Phase) -> RedoProgress {
        RedoProgress {
            phase,
            cpu_at_start: CpuTimes::now(),
        }
    }

    /// The record at `lsn` was redone.
    pub(super) fn note(&mut self, lsn: Lsn) {
        if let Some(elapsed) = self.phase.elapsed_if_due() {
            tracing::info!("redo in progress, elapsed time: {elapsed}, current LSN: {lsn}");
        }
    }

    /// The record at `last` was the last one.
    pub(super) fn finish(&self, last: Lsn) {
        let elapsed = self.phase.elapsed();
        let (cpu, before) = (CpuTimes::now(), self.cpu_at_start);
        let user = seconds(cpu.user.saturating_sub(before.user));
        let system = seconds(cpu.system.saturating_sub(before.system));
        // PostgreSQL's pg_rusage_show.
        tracing::info!(
            "redo done at {last} system usage: CPU: user: {user}, system: {system}, elapsed: {elapsed}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_postgresql_tells_them() {
        assert_eq!(time_of_day(1_234_567_890), "2009-02-13 23:31:30 UTC");
        assert_eq!(seconds(Duration::from_millis(12_345)), "12.34 s");
    }
}
