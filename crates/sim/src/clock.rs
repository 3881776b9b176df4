//! Simulated time: how it passes, and who sleeps until when.

use std::io;
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use trunkline_aio::{Alarm, AlarmAction, Clock};

use crate::disk::{SimDisk, State};

/// Real time without any event after which nobody else is taken to be at work. With one thread
/// nothing depends on it; with several, one that computes for longer finds that time has passed.
const QUIET: Duration = Duration::from_millis(1);

/// A thread that parks until a moment.
pub(crate) struct Sleeper {
    until_ns: u64,
    thread: Thread,
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Clock for SimDisk {
    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.lock().now_ns)
    }

    fn since_epoch(&self) -> Duration {
        let state = self.lock();
        Duration::from_secs(state.config.epoch_seconds) + Duration::from_nanos(state.now_ns)
    }

    fn park_until(&self, until: Duration) {
        let until_ns = nanoseconds(until);
        let mut state = self.lock();
        if until_ns <= state.now_ns {
            return;
        }
        if state.is_io_due_by(until_ns) {
            drop(state);
            // It may have had the caller's wake-up to itself, so the caller looks again.
            self.execute_next(None);
            return;
        }
        let before = (state.now_ns, state.steps);
        state.sleep(until_ns);
        drop(state);
        let began = Instant::now();
        thread::park_timeout(QUIET);
        let is_quiet = began.elapsed() >= QUIET;
        let mut state = self.lock();
        state.wake_up();
        if is_quiet && before == (state.now_ns, state.steps) {
            let next_ns = state.next_moment_ns().unwrap_or(until_ns);
            state.move_time(next_ns.min(until_ns));
        }
        drop(state);
        self.sound_alarms();
    }

    fn alarm(&self, at: Duration, action: AlarmAction) -> io::Result<Alarm> {
        let alarm = self.lock().alarms.set(at, action);
        self.sound_alarms();
        Ok(alarm)
    }
}

impl SimDisk {
    /// Runs the alarms whose moment has come. The caller has no lock.
    pub(crate) fn sound_alarms(&self) {
        loop {
            let state = self.lock();
            let now = Duration::from_nanos(state.now_ns);
            let Some(action) = state.alarms.take_due(now) else {
                return;
            };
            drop(state);
            action();
        }
    }
}

impl State {
    /// Lets time pass until `to_ns`, unless it has, and wakes whose moment has come.
    pub(crate) fn move_time(&mut self, to_ns: u64) {
        self.now_ns = self.now_ns.max(to_ns);
        for sleeper in &self.sleepers {
            if sleeper.until_ns <= self.now_ns {
                sleeper.thread.unpark();
            }
        }
    }

    fn is_io_due_by(&self, moment_ns: u64) -> bool {
        self.queue
            .first_key_value()
            .is_some_and(|((due_ns, _), _)| *due_ns <= moment_ns)
    }

    fn sleep(&mut self, until_ns: u64) {
        self.sleepers.push(Sleeper {
            until_ns,
            thread: thread::current(),
        });
    }

    fn wake_up(&mut self) {
        let this = thread::current().id();
        self.sleepers.retain(|sleeper| sleeper.thread.id() != this);
    }

    /// The earliest moment still to come that somebody sleeps until or an alarm is set for.
    fn next_moment_ns(&self) -> Option<u64> {
        let sleepers = self.sleepers.iter().map(|sleeper| sleeper.until_ns);
        let alarm = self.alarms.next().map(nanoseconds);
        sleepers
            .chain(alarm)
            .filter(|moment_ns| *moment_ns > self.now_ns)
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SimConfig;

    #[test]
    fn time_stops_at_the_first_moment_that_anybody_sleeps_until() {
        let disk = SimDisk::new(SimConfig::new(1));
        let [first, last] = [10, 3600].map(Duration::from_secs);
        let sleep_until = |until| {
            while disk.monotonic() < until {
                disk.park_until(until);
            }
            disk.monotonic()
        };
        // One that sleeps, however long it takes to wake up.
        let sleeper = thread::spawn(thread::park);
        disk.lock().sleepers.push(Sleeper {
            until_ns: nanoseconds(first),
            thread: sleeper.thread().clone(),
        });
        while disk.monotonic() == Duration::ZERO {
            disk.park_until(last);
        }
        assert_eq!(disk.monotonic(), first);
        sleeper.join().unwrap();
        disk.lock().sleepers.clear();
        assert_eq!(sleep_until(last), last);
        assert!(disk.lock().sleepers.is_empty());
    }
}
