//! The threads that clean and make durable while others work: the checkpointer's, the background
//! writer's and the WAL writer's. Each takes the steps of its value, and parks between them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use trunkline_aio::{Clock, IoContext};
use trunkline_buffer::{BackgroundWriter, BufferPool};
use trunkline_wal::Wal;

use crate::checkpoint_requests::CheckpointRequests;
use crate::checkpointer::{Checkpointer, CheckpointerStep};
use crate::wal_writing::WalWriting;

/// The pause after a write that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Who takes the steps of the checkpointer, the background writer and the WAL writer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Background {
    /// Threads of the engine's own.
    #[default]
    Threads,
    /// Nobody but who waits for a checkpoint, and who calls
    /// [`Database::step_checkpointer`](crate::Database::step_checkpointer),
    /// [`Database::step_background_writer`](crate::Database::step_background_writer) and
    /// [`Database::step_wal_writer`](crate::Database::step_wal_writer): a simulation that is to be the
    /// same every time.
    Driven,
}

/// The threads. They end when it is dropped.
pub(crate) struct BackgroundThreads {
    stopping: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// Lets `pause` go by, or less if somebody unparks the thread.
fn park(clock: &dyn Clock, pause: Duration) {
    let until = clock.monotonic() + pause;
    let left = until.saturating_sub(clock.monotonic());
    if !left.is_zero() {
        thread::park_timeout(left);
    }
}

impl BackgroundThreads {
    /// Starts all, each with an issuer of its own.
    pub(crate) fn start(
        clock: &Arc<dyn Clock>,
        checkpointer: (Arc<Mutex<Checkpointer>>, Arc<CheckpointRequests>, IoContext),
        writer: (Arc<Mutex<BackgroundWriter>>, Arc<BufferPool>, IoContext),
        wal_writer: (Arc<Mutex<WalWriting>>, Arc<Wal>, IoContext),
    ) -> std::io::Result<BackgroundThreads> {
        let stopping = Arc::new(AtomicBool::new(false));
        let mut background = BackgroundThreads {
            stopping: Arc::clone(&stopping),
            threads: Vec::new(),
        };
        let (shared, requests, io) = checkpointer;
        let (own_clock, own_stopping) = (Arc::clone(clock), Arc::clone(&stopping));
        background.spawn("checkpointer", move || {
            let _serves = requests.serve();
            run_checkpointer(&shared, io, own_clock.as_ref(), &own_stopping);
        })?;
        let (shared, pool, io) = writer;
        let own_clock = Arc::clone(clock);
        let own_stopping = Arc::clone(&stopping);
        let thread = background.spawn("background writer", move || {
            run_background_writer(&shared, io, own_clock.as_ref(), &own_stopping);
        })?;
        let (shared, wal, io) = wal_writer;
        let own_clock = Arc::clone(clock);
        let wal_thread = background.spawn("WAL writer", move || {
            run_wal_writer(&shared, io, own_clock.as_ref(), &stopping);
        })?;
        pool.on_allocation(move || thread.unpark());
        wal.on_segment_begun(move || wal_thread.unpark());
        Ok(background)
    }

    fn spawn(
        &mut self,
        name: &str,
        body: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<Thread> {
        let handle = thread::Builder::new().name(name.to_owned()).spawn(body)?;
        let thread = handle.thread().clone();
        self.threads.push(handle);
        Ok(thread)
    }
}

impl Drop for BackgroundThreads {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        for handle in self.threads.drain(..) {
            handle.thread().unpark();
            if handle.join().is_err() {
                tracing::error!("a background thread ended with a panic");
            }
        }
    }
}

/// A checkpoint that runs when it is told to stop is left for who stops the database.
fn run_checkpointer(
    shared: &Mutex<Checkpointer>,
    mut io: IoContext,
    clock: &dyn Clock,
    stopping: &AtomicBool,
) {
    while !stopping.load(Ordering::Acquire) {
        let now = clock.monotonic();
        let step = shared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .step(&mut io, now);
        if let CheckpointerStep::Pause(pause) = step {
            io.submit();
            park(clock, pause);
        }
    }
}

fn run_background_writer(
    shared: &Mutex<BackgroundWriter>,
    mut io: IoContext,
    clock: &dyn Clock,
    stopping: &AtomicBool,
) {
    while !stopping.load(Ordering::Acquire) {
        let stepped = shared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .step(&mut io);
        let pause = match stepped {
            Ok(pause) => pause.delay,
            Err(error) => {
                tracing::error!("background writer: {error}");
                AFTER_FAILURE
            }
        };
        io.submit();
        park(clock, pause);
    }
}

fn run_wal_writer(
    shared: &Mutex<WalWriting>,
    mut io: IoContext,
    clock: &dyn Clock,
    stopping: &AtomicBool,
) {
    while !stopping.load(Ordering::Acquire) {
        let stepped = shared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .step(&mut io);
        let pause = stepped.unwrap_or_else(|error| {
            tracing::error!("WAL writer: {error}");
            AFTER_FAILURE
        });
        io.submit();
        park(clock, pause);
    }
}
