//! Time, as a value that is passed in, never taken.

use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A source of time, and the ways to let it pass; the simulator implements its own.
///
/// Who waits for something with a deadline looks at it, then at the clock, and then parks, again and
/// again: whoever makes it come true unparks the thread. A condition variable has no such seam, since
/// its timeouts are the operating system's.
pub trait Clock: Send + Sync {
    /// Time since some fixed point; never goes backwards.
    fn monotonic(&self) -> Duration;
    /// Wall-clock time since 1970-01-01 00:00:00 UTC.
    fn since_epoch(&self) -> Duration;
    /// Blocks the calling thread until [`Thread::unpark`](thread::Thread::unpark), or until
    /// [`monotonic`](Clock::monotonic) is `until`; may return earlier, for no reason. It is part of
    /// work that somebody waits for: simulated time moves on to `until` where nothing else happens.
    fn park_until(&self, until: Duration);
    /// The same for a thread that has nothing to do until then, such as one with a periodic task.
    /// Simulated time moves on only where others make it.
    fn idle_until(&self, until: Duration);
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

    fn park_until(&self, until: Duration) {
        let left = until.saturating_sub(self.monotonic());
        if !left.is_zero() {
            thread::park_timeout(left);
        }
    }

    fn idle_until(&self, until: Duration) {
        self.park_until(until);
    }
}
