//! Time, as a value that is passed in, never taken.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::alarms::{Alarm, AlarmAction, Alarms};

/// A source of time, and the ways to let it pass; the simulator implements its own.
///
/// Who waits for something with a deadline looks at it, then at the clock, and then parks, again and
/// again: whoever makes it come true unparks the thread. (A condition variable has no such seam: its
/// timeouts are the operating system's.) Who does something now and then sets an alarm that unparks
/// its thread.
pub trait Clock: Send + Sync {
    /// Time since some fixed point; never goes backwards.
    fn monotonic(&self) -> Duration;
    /// Wall-clock time since 1970-01-01 00:00:00 UTC.
    fn since_epoch(&self) -> Duration;
    /// Blocks the calling thread until [`unpark`](Thread::unpark), or until
    /// [`monotonic`](Clock::monotonic) is `until`; may return earlier, for no reason. It counts as
    /// work that somebody waits for: simulated time moves on to `until` where nothing else happens.
    fn park_until(&self, until: Duration);
    /// Has `action` run at `at`, or at once if that is past, unless the alarm is dropped before.
    /// Simulated time moves on to it only on the way to something that is waited for.
    ///
    /// # Errors
    /// The operating system gives no thread to run it on.
    fn alarm(&self, at: Duration, action: AlarmAction) -> io::Result<Alarm>;
}

/// The operating system's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
    alarms: Arc<SystemAlarms>,
    /// Runs the alarms; started for the first one.
    thread: Mutex<Option<Thread>>,
}

#[derive(Debug, Default)]
struct SystemAlarms {
    list: Alarms,
    /// The clock is gone.
    ended: AtomicBool,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    pub fn new() -> Self {
        SystemClock {
            start: Instant::now(),
            alarms: Arc::default(),
            thread: Mutex::default(),
        }
    }

    /// Makes the thread look which alarm is first.
    fn wake_thread(&self) -> io::Result<()> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = &*thread {
            thread.unpark();
            return Ok(());
        }
        let (start, alarms) = (self.start, Arc::clone(&self.alarms));
        let started = thread::Builder::new()
            .name("aio-alarms".to_owned())
            .spawn(move || run_alarms(start, &alarms))?;
        *thread = Some(started.thread().clone());
        Ok(())
    }
}

fn run_alarms(start: Instant, alarms: &SystemAlarms) {
    // Whoever sets an alarm or the flag unparks this thread afterwards.
    while !alarms.ended.load(Ordering::Acquire) {
        let now = start.elapsed();
        if let Some(action) = alarms.list.take_due(now) {
            action();
        } else if let Some(next) = alarms.list.next() {
            thread::park_timeout(next.saturating_sub(now));
        } else {
            thread::park();
        }
    }
}

impl Drop for SystemClock {
    /// The thread ends by itself: this may be an action of its own.
    fn drop(&mut self) {
        self.alarms.ended.store(true, Ordering::Release);
        let thread = self
            .thread
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread {
            thread.unpark();
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

    fn alarm(&self, at: Duration, action: AlarmAction) -> io::Result<Alarm> {
        let alarm = self.alarms.list.set(at, action);
        if self.alarms.list.next() == Some(at) {
            self.wake_thread()?;
        }
        Ok(alarm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn alarms_go_off_in_order_unless_dropped() {
        let clock = SystemClock::new();
        let (sender, receiver) = mpsc::channel();
        let set = |at_ms, value| {
            let sender = sender.clone();
            let action = move || sender.send(value).unwrap();
            let at = Duration::from_millis(at_ms);
            clock.alarm(at, Box::new(action)).unwrap()
        };
        let _never = set(3_600_000, 5);
        let _last = set(60, 4);
        let dropped = set(30, 3);
        let _first = set(10, 2);
        drop(dropped);
        let _past = set(0, 1);
        assert_eq!([1, 2, 4].map(|_| receiver.recv().unwrap()), [1, 2, 4]);
        assert!(clock.monotonic() >= Duration::from_millis(60));
        assert!(receiver.try_recv().is_err());
    }

    #[test]
    fn its_thread_ends_with_the_clock() {
        let clock = SystemClock::new();
        let (sender, receiver) = mpsc::channel::<()>();
        let _alarm = clock
            .alarm(Duration::from_secs(3600), Box::new(move || drop(sender)))
            .unwrap();
        let shared = Arc::downgrade(&clock.alarms);
        drop(clock);
        while shared.strong_count() > 0 {
            thread::yield_now();
        }
        // What was left of the alarms is the alarm's own.
        assert_eq!(receiver.try_recv(), Err(mpsc::TryRecvError::Empty));
    }
}
