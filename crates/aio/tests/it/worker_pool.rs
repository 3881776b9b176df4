//! A14: the pool of method `worker`.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::thread::{self, ThreadId};

use rustix::io::Errno;
use trunkline_aio::{
    Aio, AioConfig, Executor, IoContext, IoRequest, IoResult, IoReturn, WorkerConfig, WorkerMethod,
};

use crate::support::{small, start_with, within_limit, workers};

fn start(min: u32, max: u32, queue_size: u32, executor: Arc<dyn Executor>) -> Arc<Aio> {
    start_sized(workers(min, max, queue_size), executor)
}

fn start_sized(config: WorkerConfig, executor: Arc<dyn Executor>) -> Arc<Aio> {
    let method = WorkerMethod::new(config, executor).unwrap();
    start_with(
        &AioConfig {
            io_max_concurrency: 16,
            ..small()
        },
        Arc::new(method),
    )
}

fn submit_nop(context: &mut IoContext) {
    context.acquire().unwrap().start_nop();
    context.submit();
}

/// Holds workers until told otherwise, and notes who executes.
#[derive(Default)]
struct Hold {
    released: Mutex<bool>,
    changed: Condvar,
    busy: AtomicU32,
    threads: Mutex<HashSet<ThreadId>>,
    issuer: Mutex<Option<ThreadId>>,
}

impl Executor for Hold {
    fn execute(&self, _: &IoRequest) -> i32 {
        let id = thread::current().id();
        self.threads.lock().unwrap().insert(id);
        if *self.issuer.lock().unwrap() != Some(id) {
            self.busy.fetch_add(1, SeqCst);
            let released = self.released.lock().unwrap();
            drop(
                self.changed
                    .wait_while(released, |released| !*released)
                    .unwrap(),
            );
        }
        0
    }
}

#[test]
fn an_io_that_finds_the_queue_full_is_executed_by_its_issuer() {
    let hold = Arc::new(Hold::default());
    let aio = start(1, 1, 2, hold.clone());
    *hold.issuer.lock().unwrap() = Some(thread::current().id());
    let mut context = aio.issuer(1).unwrap();
    submit_nop(&mut context);
    while hold.busy.load(SeqCst) == 0 {
        thread::yield_now();
    }
    // The worker is busy: two are queued, the next two are ours.
    for _ in 0..4 {
        context.acquire().unwrap().start_nop();
    }
    assert!(
        !hold
            .threads
            .lock()
            .unwrap()
            .contains(&thread::current().id())
    );
    context.submit();
    assert!(
        hold.threads
            .lock()
            .unwrap()
            .contains(&thread::current().id())
    );
    let counters = aio.counters().total();
    assert_eq!((counters.executed, counters.in_flight), (5, 3));
    *hold.released.lock().unwrap() = true;
    hold.changed.notify_all();
    within_limit(move || context.wait_all());
}

#[test]
fn the_pool_grows_under_load_up_to_its_maximum() {
    struct Together(Barrier, Mutex<HashSet<ThreadId>>);
    impl Executor for Together {
        fn execute(&self, _: &IoRequest) -> i32 {
            self.1.lock().unwrap().insert(thread::current().id());
            self.0.wait();
            0
        }
    }
    // Nobody gets on before four workers are at work at the same time.
    let together = Arc::new(Together(Barrier::new(4), Mutex::default()));
    let executor = Arc::clone(&together);
    within_limit(move || {
        let aio = start(1, 4, 64, executor);
        let mut context = aio.issuer(1).unwrap();
        for _ in 0..8 {
            submit_nop(&mut context);
        }
        context.wait_all();
    });
    assert_eq!(together.1.lock().unwrap().len(), 4);
}

#[test]
fn workers_above_the_minimum_end_when_idle() {
    /// Counts the threads that are alive and have executed something.
    struct Alive(&'static AtomicU32);
    impl Drop for Alive {
        fn drop(&mut self) {
            self.0.fetch_sub(1, SeqCst);
        }
    }
    static ALIVE: AtomicU32 = AtomicU32::new(0);
    thread_local! {
        static THREAD: Alive = {
            ALIVE.fetch_add(1, SeqCst);
            Alive(&ALIVE)
        };
    }
    struct Together(Barrier);
    impl Executor for Together {
        fn execute(&self, _: &IoRequest) -> i32 {
            THREAD.with(|_| ());
            self.0.wait();
            0
        }
    }
    within_limit(|| {
        let config = WorkerConfig {
            idle_timeout_ms: 1,
            ..workers(2, 4, 64)
        };
        let aio = start_sized(config, Arc::new(Together(Barrier::new(2))));
        let mut context = aio.issuer(1).unwrap();
        for _ in 0..16 {
            submit_nop(&mut context);
        }
        context.wait_all();
        while ALIVE.load(SeqCst) > 2 {
            thread::yield_now();
        }
        // Two stay, which is what it takes to execute two more.
        for _ in 0..2 {
            submit_nop(&mut context);
        }
        context.wait_all();
    });
}

#[test]
fn a_pool_that_has_shrunk_grows_again_and_never_beyond_its_maximum() {
    struct Alive(&'static AtomicU32);
    impl Drop for Alive {
        fn drop(&mut self) {
            self.0.fetch_sub(1, SeqCst);
        }
    }
    static ALIVE: AtomicU32 = AtomicU32::new(0);
    static MOST: AtomicU32 = AtomicU32::new(0);
    thread_local! {
        static THREAD: Alive = {
            MOST.fetch_max(ALIVE.fetch_add(1, SeqCst) + 1, SeqCst);
            Alive(&ALIVE)
        };
    }
    struct Together(Barrier);
    impl Executor for Together {
        fn execute(&self, _: &IoRequest) -> i32 {
            THREAD.with(|_| ());
            self.0.wait();
            0
        }
    }
    within_limit(|| {
        let config = WorkerConfig {
            idle_timeout_ms: 1,
            ..workers(1, 3, 64)
        };
        let aio = start_sized(config, Arc::new(Together(Barrier::new(3))));
        let mut context = aio.issuer(1).unwrap();
        for _ in 0..3 {
            // Nobody gets on before three are at work.
            for _ in 0..9 {
                submit_nop(&mut context);
            }
            context.wait_all();
            while ALIVE.load(SeqCst) > 1 {
                thread::yield_now();
            }
        }
        assert_eq!(MOST.load(SeqCst), 3);
        drop(context);
        // The one that is left ends with the core.
        drop(aio);
        assert_eq!(ALIVE.load(SeqCst), 0);
    });
}

#[test]
fn a_worker_that_dies_is_replaced_and_its_io_fails() {
    /// How many I/Os workers have executed.
    struct Dies(Arc<AtomicU32>);
    impl Executor for Dies {
        fn execute(&self, _: &IoRequest) -> i32 {
            let is_worker = thread::current()
                .name()
                .is_some_and(|name| name.starts_with("io worker"));
            if is_worker && self.0.fetch_add(1, SeqCst) == 0 {
                panic!("a worker dies, as the test wants");
            }
            0
        }
    }
    within_limit(|| {
        let executed = Arc::new(AtomicU32::new(0));
        let aio = start(1, 1, 64, Arc::new(Dies(Arc::clone(&executed))));
        let mut context = aio.issuer(1).unwrap();
        let mut run = || {
            let cell = IoReturn::new();
            let mut handle = context.acquire().unwrap();
            handle.report_to(&cell);
            let reference = handle.start_nop();
            context.wait(reference);
            cell.get().unwrap()
        };
        assert_eq!(
            run().failure().unwrap().errno(),
            Some(Errno::IO.raw_os_error())
        );
        // As long as there is none, the issuer executes what it starts.
        while executed.load(SeqCst) < 2 {
            assert_eq!(run(), IoResult::Ok { bytes: 0 });
        }
    });
}
