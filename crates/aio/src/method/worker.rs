//! Method `worker`: a pool of threads executes the I/Os.
//!
//! Why: works everywhere, spreads the copying of buffered reads and the
//! checksums of the shared callbacks over several cores. Limits: two context
//! switches an I/O, and as many I/Os in flight as there are workers.
//! Fall-back: a full queue, or a machine that gives no more threads, makes the
//! submitting thread execute the next I/O itself, so submission never waits for
//! a worker. A worker never waits for anything but its queue and the system
//! call, so every queued I/O completes whatever its issuer does (A6).
//!
//! The pool keeps `io_min_workers` threads, adds one whenever a submission
//! finds more requests queued than idle workers, up to `io_max_workers`, and
//! lets a thread above the minimum end after an idle time. A worker that dies
//! is replaced, and the I/O it was executing fails with EIO.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::method::Method;
use crate::method::sync::execute_to_end;
use crate::request::{Completions, InFlight, IoRequest, RequestBatch, SUBMIT_BATCH_LIMIT};
use crate::sync::{Condvar, Mutex, MutexGuard, lock};
use crate::system_call::Executor;

/// Sizes of the pool.
#[derive(Clone, Copy, Debug)]
pub struct WorkerConfig {
    /// Threads kept always.
    pub min_workers: u32,
    /// Threads under load.
    pub max_workers: u32,
    /// Requests that wait for a worker, at most.
    pub queue_size: u32,
    /// How long a thread above the minimum stays without work.
    pub idle_timeout_ms: u64,
}

/// See the module.
pub struct WorkerMethod {
    pool: Arc<Pool>,
}

struct Pool {
    config: WorkerConfig,
    executor: Arc<dyn Executor>,
    completions: OnceLock<Completions>,
    queue: Mutex<Queue>,
    work: Condvar,
}

#[derive(Default)]
struct Queue {
    requests: VecDeque<IoRequest>,
    idle: u32,
    live: u32,
    stopping: bool,
    threads: Vec<JoinHandle<()>>,
    started: u64,
}

impl WorkerMethod {
    /// Starts the minimum of threads.
    ///
    /// # Errors
    /// When the system gives no thread at all.
    pub fn new(config: WorkerConfig, executor: Arc<dyn Executor>) -> io::Result<Self> {
        let pool = Arc::new(Pool {
            config,
            executor,
            completions: OnceLock::new(),
            queue: Mutex::new(Queue {
                requests: VecDeque::with_capacity(config.queue_size as usize),
                ..Queue::default()
            }),
            work: Condvar::new(),
        });
        let mut queue = lock(&pool.queue);
        for _ in 0..config.min_workers {
            if let Err(error) = pool.add_worker(&mut queue)
                && queue.live == 0
            {
                return Err(error);
            }
        }
        drop(queue);
        Ok(WorkerMethod { pool })
    }
}

impl Pool {
    fn add_worker(self: &Arc<Self>, queue: &mut Queue) -> io::Result<()> {
        queue.threads.retain(|thread| !thread.is_finished());
        let name = format!("io worker {}", queue.started);
        let pool = Arc::clone(self);
        let thread = thread::Builder::new().name(name).spawn(move || {
            let _exit = WorkerExit { pool: &pool };
            pool.work();
        })?;
        queue.threads.push(thread);
        queue.started += 1;
        queue.live += 1;
        Ok(())
    }

    /// Queues of the batch what there is room for, and wakes workers for it.
    fn enqueue(self: &Arc<Self>, batch: &mut RequestBatch) {
        let mut queue = lock(&self.queue);
        let mut wake = 0;
        while queue.live > 0 && queue.requests.len() < self.config.queue_size as usize {
            let Some(request) = batch.next() else { break };
            queue.requests.push_back(request);
            wake += 1;
        }
        if queue.requests.len() > queue.idle as usize
            && queue.live < self.config.max_workers
            && !queue.stopping
            && let Err(error) = self.add_worker(&mut queue)
        {
            tracing::warn!(%error, "could not start another I/O worker");
        }
        let idle = queue.idle;
        drop(queue);
        debug_assert!(wake as usize <= SUBMIT_BATCH_LIMIT);
        for _ in 0..idle.min(wake) {
            self.work.notify_one();
        }
    }

    /// A worker's life.
    fn work(&self) {
        while let Some(request) = self.next_request() {
            // Started before anything is submitted, so always there.
            let Some(completions) = self.completions.get() else {
                unreachable!()
            };
            let mut execution = Execution {
                completions,
                request: Some(request),
            };
            while let Some(request) = &execution.request {
                let outcome = self.executor.execute(request);
                execution.step(outcome);
            }
        }
    }

    /// Waits for a request; `None` when this worker should end.
    fn next_request(&self) -> Option<IoRequest> {
        let timeout = Duration::from_millis(self.config.idle_timeout_ms);
        let mut queue = lock(&self.queue);
        loop {
            if let Some(request) = queue.requests.pop_front() {
                return Some(request);
            }
            if queue.stopping {
                return None;
            }
            queue.idle += 1;
            let (guard, wait) = self
                .work
                .wait_timeout(queue, timeout)
                .unwrap_or_else(PoisonError::into_inner);
            queue = guard;
            queue.idle -= 1;
            let surplus = queue.live > self.config.min_workers;
            if wait.timed_out() && surplus && queue.requests.is_empty() {
                return None;
            }
        }
    }
}

/// One request in the hands of a worker. If the worker dies, the I/O fails
/// rather than stay in flight for ever.
struct Execution<'a> {
    completions: &'a Completions,
    request: Option<IoRequest>,
}

impl Execution<'_> {
    fn step(&mut self, outcome: i32) {
        if let Some(request) = self.request.take() {
            self.request = self.completions.complete(request, outcome);
        }
    }
}

impl Drop for Execution<'_> {
    fn drop(&mut self) {
        while self.request.is_some() {
            self.step(-libc::EIO);
        }
    }
}

/// Notes a worker's end, and replaces one that died.
struct WorkerExit<'a> {
    pool: &'a Arc<Pool>,
}

impl Drop for WorkerExit<'_> {
    fn drop(&mut self) {
        let mut queue = lock(&self.pool.queue);
        queue.live -= 1;
        if thread::panicking() && !queue.stopping {
            tracing::error!("an I/O worker died and is replaced");
            if let Err(error) = self.pool.add_worker(&mut queue) {
                tracing::error!(%error, "could not replace an I/O worker");
            }
        }
        if queue.live == 0 && !queue.requests.is_empty() {
            self.drain(queue);
        }
    }
}

impl<'a> WorkerExit<'a> {
    /// The last worker is gone and cannot be replaced: what is queued must
    /// still be executed.
    fn drain(&self, mut queue: MutexGuard<'a, Queue>) {
        let Some(completions) = self.pool.completions.get() else {
            return;
        };
        while let Some(request) = queue.requests.pop_front() {
            drop(queue);
            execute_to_end(self.pool.executor.as_ref(), request, completions);
            queue = lock(&self.pool.queue);
        }
    }
}

impl Method for WorkerMethod {
    fn name(&self) -> &'static str {
        "worker"
    }

    fn start(&self, completions: &Completions) {
        let first = self.pool.completions.set(completions.clone()).is_ok();
        assert!(first, "a method serves one AIO core");
    }

    fn submit(&self, batch: &mut RequestBatch, completions: &Completions) {
        loop {
            self.pool.enqueue(batch);
            // The queue is full. Only one at a time is executed here: the workers make room meanwhile,
            // and would else run out of work.
            let Some(request) = batch.next() else { break };
            execute_to_end(self.pool.executor.as_ref(), request, completions);
        }
    }

    fn wait(&self, io: &InFlight<'_>) {
        io.park();
    }

    fn wait_until(&self, io: &InFlight<'_>, ready: &dyn Fn() -> bool) {
        io.park_until(ready);
    }

    fn shutdown(&self) {
        let mut queue = lock(&self.pool.queue);
        queue.stopping = true;
        let threads = std::mem::take(&mut queue.threads);
        drop(queue);
        self.pool.work.notify_all();
        for thread in threads {
            if thread.thread().id() != thread::current().id() && thread.join().is_err() {
                tracing::error!("an I/O worker ended by a panic");
            }
        }
    }
}

impl Drop for WorkerMethod {
    fn drop(&mut self) {
        self.shutdown();
    }
}
