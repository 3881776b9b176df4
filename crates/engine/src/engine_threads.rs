//! The threads that blocking engine code runs on.
//!
//! Threads are made on demand, reused while work keeps coming, and end after a while without any.
//! A task never waits for a thread: it is handed to an idle one, or a new one is made, or it is
//! refused. Queueing instead could deadlock, because a queued task may be what a running one waits
//! for: a statement that holds a lock, or the other side of a join whose channel is full.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use thiserror::Error;

/// How long a thread without work stays.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// Statements are analysed and planned by recursion. This is address space, and memory only where
/// it is touched.
pub const STACK_BYTES: usize = 256 << 20;

type Task = Box<dyn FnOnce() + Send>;

/// Why a task was refused.
#[derive(Debug, Error)]
pub enum ThreadError {
    /// All threads that there may be are busy.
    #[error("too many statements and scans are running: all {limit} engine threads are busy")]
    TooMany {
        /// How many threads there may be.
        limit: usize,
    },
    /// The operating system gave no thread.
    #[error("could not start an engine thread: {0}")]
    NotStarted(#[from] std::io::Error),
    /// The engine is stopping.
    #[error("the database system is shutting down")]
    Stopping,
}

#[derive(Default)]
struct State {
    /// Tasks that have an idle thread coming for them; never more than `idle`.
    handed: VecDeque<Task>,
    idle: usize,
    threads: usize,
    stopping: bool,
}

struct Shared {
    limit: usize,
    state: Mutex<State>,
    /// Signalled when a task is handed over, and at stop.
    work: Condvar,
    /// Signalled when the last thread ends.
    ended: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panicking task unwinds outside the lock; the state is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pool of engine threads.
pub struct EngineThreads {
    shared: Arc<Shared>,
}

impl EngineThreads {
    /// A pool of at most `limit` threads; none is made yet.
    pub fn new(limit: usize) -> EngineThreads {
        EngineThreads {
            shared: Arc::new(Shared {
                limit,
                state: Mutex::default(),
                work: Condvar::new(),
                ended: Condvar::new(),
            }),
        }
    }

    /// Runs `task` on an engine thread. A panic in it ends only the task.
    ///
    /// # Errors
    /// No thread may or can be made, or the pool is stopping; the task did not run.
    pub fn spawn(&self, task: impl FnOnce() + Send + 'static) -> Result<(), ThreadError> {
        let mut state = self.shared.lock();
        if state.stopping {
            return Err(ThreadError::Stopping);
        }
        if state.idle > state.handed.len() {
            state.handed.push_back(Box::new(task));
            self.shared.work.notify_one();
            return Ok(());
        }
        if state.threads >= self.shared.limit {
            return Err(ThreadError::TooMany {
                limit: self.shared.limit,
            });
        }
        let shared = Arc::clone(&self.shared);
        let task: Task = Box::new(task);
        thread::Builder::new()
            .name("trunkline-engine".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || run(&shared, task))?;
        state.threads += 1;
        Ok(())
    }

    /// Threads that exist now.
    pub fn thread_count(&self) -> usize {
        self.shared.lock().threads
    }

    /// Refuses new tasks and waits until the running ones have ended.
    pub fn stop(&self) {
        let mut state = self.shared.lock();
        state.stopping = true;
        self.shared.work.notify_all();
        while state.threads > 0 {
            state = self
                .shared
                .ended
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn run(shared: &Shared, first: Task) {
    let mut next = Some(first);
    while let Some(task) = next.take() {
        // The panic hook has already reported it; whoever waits for the task sees its channel close.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(task));
        let mut state = shared.lock();
        state.idle += 1;
        loop {
            next = state.handed.pop_front();
            if next.is_some() || state.stopping {
                break;
            }
            let (waited, timeout) = shared
                .work
                .wait_timeout(state, IDLE_TIMEOUT)
                .unwrap_or_else(PoisonError::into_inner);
            state = waited;
            if timeout.timed_out() && state.handed.is_empty() {
                break;
            }
        }
        state.idle -= 1;
        if next.is_none() {
            state.threads -= 1;
            shared.ended.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn threads_are_reused_and_bounded() {
        let threads = EngineThreads::new(2);
        let (release, blocked) = mpsc::channel::<()>();
        let (done, ended) = mpsc::channel();
        let blocked = Arc::new(Mutex::new(blocked));
        for _ in 0..2 {
            let (blocked, done) = (Arc::clone(&blocked), done.clone());
            threads
                .spawn(move || {
                    let _ = blocked.lock().unwrap().recv();
                    done.send(()).unwrap();
                })
                .unwrap();
        }
        assert!(matches!(
            threads.spawn(|| ()),
            Err(ThreadError::TooMany { limit: 2 })
        ));
        drop(release);
        ended.recv().unwrap();
        ended.recv().unwrap();
        // Both become idle after their send; a task is accepted as soon as one has.
        while threads
            .spawn(|| panic!("a panic ends only its task"))
            .is_err()
        {
            thread::yield_now();
        }
        threads.stop();
        assert_eq!(threads.thread_count(), 0);
        assert!(matches!(threads.spawn(|| ()), Err(ThreadError::Stopping)));
    }
}
