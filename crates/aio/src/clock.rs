//! Time, as a value that is passed in, never taken.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A source of time; the simulator implements its own.
pub trait Clock: Send + Sync {
    /// Time since some fixed point; never goes backwards.
    fn monotonic(&self) -> Duration;
    /// Wall-clock time since 1970-01-01 00:00:00 UTC.
    fn since_epoch(&self) -> Duration;
}

/// The operating system's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    pub fn new() -> Self {
        SystemClock {
            start: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn since_epoch(&self) -> Duration {
        // A wall clock before 1970 counts as 1970.
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
    }
}
