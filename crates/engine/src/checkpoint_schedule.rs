//! How fast a checkpoint's writes go (PostgreSQL's `IsCheckpointOnSchedule`): spread over a part of
//! the time until the next one, and of the WAL that may be written until then, whichever is used up
//! first.

use std::time::Duration;

/// How long the writes pause when they are ahead of the schedule.
pub(crate) const AHEAD_PAUSE: Duration = Duration::from_millis(100);

/// The schedule of one checkpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CheckpointSchedule {
    /// When it began.
    pub(crate) started: Duration,
    /// From one checkpoint to the next (`checkpoint_timeout`).
    pub(crate) timeout: Duration,
    /// The part of that after which all should be written (`checkpoint_completion_target`).
    pub(crate) completion_target: f64,
}

impl CheckpointSchedule {
    /// Whether so much is written that it may pause: `written` and `wal` are parts of the whole.
    pub(crate) fn is_ahead(&self, now: Duration, written: f64, wal: f64) -> bool {
        let written = written * self.completion_target;
        let elapsed = now.saturating_sub(self.started).as_secs_f64();
        let time = elapsed / self.timeout.as_secs_f64().max(f64::MIN_POSITIVE);
        written >= wal && written >= time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b7_writes_keep_up_with_time_and_wal_whichever_is_further() {
        let schedule = CheckpointSchedule {
            started: Duration::from_secs(1000),
            timeout: Duration::from_secs(300),
            completion_target: 0.5,
        };
        let at = |seconds: u64| Duration::from_secs(1000 + seconds);
        assert!(schedule.is_ahead(at(0), 0.0, 0.0));
        // A tenth of the time is a fifth of the writes.
        assert!(schedule.is_ahead(at(30), 0.2, 0.0));
        assert!(!schedule.is_ahead(at(30), 0.19, 0.0));
        assert!(!schedule.is_ahead(at(31), 0.2, 0.0));
        assert!(schedule.is_ahead(at(30), 0.2, 0.1));
        assert!(!schedule.is_ahead(at(30), 0.2, 0.11));
        assert!(
            !schedule.is_ahead(at(200), 1.0, 0.0),
            "late, whatever is written"
        );
    }
}
