//! The core's wake-ups and hand-overs, in every order that a few threads can
//! take (A1, A4, A6, A9, and the turn of A15). Run by `.ci/run` with
//! `--cfg trunkline_loom`. A wake-up that is lost shows as loom's "deadlock".
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU32 as Count, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};

use loom::thread::{Builder, JoinHandle};

use crate::method::turn::{CompletionQueue, Turns};
use crate::sync::{Condvar, Mutex, Thread, current, lock, park};
use crate::{
    Aio, AioConfig, Completions, InFlight, IoRequest, IoResult, IoReturn, IoView, Method, ReapedIo,
    RequestBatch, SharedCallbacks, WaitRef,
};

/// Runs `body` in every order with at most `preemptions` switches that no
/// thread asked for.
fn in_every_order(preemptions: usize, body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    let body = Arc::new(body);
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 50_000;
    let orders = Arc::new(Count::new(0));
    let count = Arc::clone(&orders);
    builder.check(move || {
        count.fetch_add(1, Relaxed);
        let body = Arc::clone(&body);
        spawn(move || body()).join().unwrap();
    });
    println!("{} orders", orders.load(Relaxed));
}

/// A thread with a stack that holds a batch of requests; loom's own is smaller.
fn spawn(body: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    const STACK_WORDS: usize = 1 << 15;
    Builder::new().stack_size(STACK_WORDS).spawn(body).unwrap()
}

fn join(threads: impl IntoIterator<Item = JoinHandle<()>>) {
    for thread in threads {
        thread.join().unwrap();
    }
}

fn start(max_issuers: u32, handles: u32, method: &Arc<impl Method + 'static>) -> Arc<Aio> {
    let config = AioConfig {
        max_issuers,
        io_max_concurrency: handles,
        ..AioConfig::default()
    };
    Aio::start_with(config, Arc::clone(method) as Arc<dyn Method>).unwrap()
}

/// Keeps requests until the test, or a call of `drive`, completes them.
#[derive(Default)]
struct Held {
    requests: Mutex<VecDeque<IoRequest>>,
    completions: OnceLock<Completions>,
    /// Complete at once what is submitted.
    at_once: bool,
    submissions: Count,
}

impl Held {
    fn at_once() -> Self {
        Held {
            at_once: true,
            ..Held::default()
        }
    }

    fn complete_first(&self) {
        let request = lock(&self.requests).pop_front();
        if let (Some(request), Some(completions)) = (request, self.completions.get()) {
            assert!(completions.complete(request, 0).is_none());
        }
    }
}

impl Method for Held {
    fn name(&self) -> &'static str {
        "held"
    }

    fn start(&self, completions: &Completions) {
        assert!(self.completions.set(completions.clone()).is_ok());
    }

    fn submit(&self, batch: &mut RequestBatch, completions: &Completions) {
        for request in batch {
            self.submissions.fetch_add(1, Relaxed);
            if self.at_once {
                assert!(completions.complete(request, 0).is_none());
            } else {
                lock(&self.requests).push_back(request);
            }
        }
    }

    fn wait(&self, io: &InFlight<'_>) {
        io.park();
    }

    fn drive(&self, _: &InFlight<'_>) {
        self.complete_first();
    }
}

#[test]
fn loom_a_waiter_and_a_completer_do_not_miss_each_other() {
    in_every_order(4, || {
        let method = Arc::new(Held::default());
        let aio = start(1, 1, &method);
        let mut context = aio.issuer(1).unwrap();
        let cell = IoReturn::new();
        let mut handle = context.acquire().unwrap();
        handle.report_to(&cell);
        let io = handle.start_nop();
        context.submit();
        let waiters = [(); 2].map(|()| {
            let (aio, cell) = (Arc::clone(&aio), Arc::clone(&cell));
            spawn(move || {
                aio.wait(io);
                assert_eq!(cell.get(), Some(IoResult::Ok { bytes: 0 }));
            })
        });
        method.complete_first();
        join(waiters);
    });
}

#[test]
fn loom_issuer_and_waiter_submit_a_pending_io_once() {
    in_every_order(4, || {
        let method = Arc::new(Held::at_once());
        let aio = start(1, 2, &method);
        let mut context = aio.issuer(1).unwrap();
        let io = context.acquire().unwrap().start_nop();
        let waiter = {
            let aio = Arc::clone(&aio);
            spawn(move || aio.wait(io))
        };
        context.submit();
        // On the same list, perhaps while the waiter takes it.
        let second = context.acquire().unwrap().start_nop();
        context.wait(second);
        waiter.join().unwrap();
        assert_eq!(method.submissions.load(Relaxed), 2);
    });
}

#[test]
fn loom_a_waiter_may_come_before_the_definition() {
    in_every_order(4, || {
        let method = Arc::new(Held::at_once());
        let aio = start(1, 1, &method);
        let mut context = aio.issuer(1).unwrap();
        let handle = context.acquire().unwrap();
        let io = handle.wait_ref();
        let waiter = {
            let aio = Arc::clone(&aio);
            spawn(move || aio.wait(io))
        };
        handle.start_nop();
        waiter.join().unwrap();
        assert!(aio.is_complete(io));
    });
}

#[test]
fn loom_a_waiter_of_an_old_generation_returns_though_the_handle_is_in_use_again() {
    in_every_order(3, || {
        let method = Arc::new(Held::default());
        let aio = start(1, 1, &method);
        let mut context = aio.issuer(1).unwrap();
        let old = context.acquire().unwrap().start_nop();
        context.submit();
        let waiter = {
            let aio = Arc::clone(&aio);
            spawn(move || aio.wait(old))
        };
        method.complete_first();
        let new = context.acquire().unwrap().start_nop();
        context.submit();
        assert_eq!(new.slot, old.slot);
        waiter.join().unwrap();
        assert!(!aio.is_complete(new));
        method.complete_first();
    });
}

#[test]
fn loom_an_issuer_ends_while_its_io_completes() {
    in_every_order(4, || {
        let method = Arc::new(Held::default());
        let aio = start(1, 2, &method);
        let mut context = aio.issuer(1).unwrap();
        let refs = [(); 2].map(|()| context.acquire().unwrap().start_nop());
        context.submit();
        let completer = {
            let method = Arc::clone(&method);
            spawn(move || method.complete_first())
        };
        // Has what is left completed by `drive`.
        drop(context);
        completer.join().unwrap();
        // The issuer is back, once, with all its handles in their next life.
        let mut context = aio.issuer(2).unwrap();
        assert!(aio.issuer(3).is_err());
        for _ in 0..2 {
            let io = context.acquire().unwrap().start_nop();
            assert!(
                refs.iter()
                    .any(|old| old.slot == io.slot && old.generation < io.generation)
            );
        }
        context.submit();
        method.complete_first();
        method.complete_first();
    });
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on(future: impl Future<Output = ()>) {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(current())));
    let mut context = Context::from_waker(&waker);
    while future.as_mut().poll(&mut context) == Poll::Pending {
        park();
    }
}

#[test]
fn loom_a_task_is_driven_whether_it_comes_before_or_after_the_submission() {
    in_every_order(4, || {
        let method = Arc::new(Held::default());
        let aio = start(1, 1, &method);
        let mut context = aio.issuer(1).unwrap();
        let io = context.acquire().unwrap().start_nop();
        let task = {
            let aio = Arc::clone(&aio);
            spawn(move || block_on(aio.wait_async(io)))
        };
        // Nobody but `drive` completes it.
        context.submit();
        task.join().unwrap();
        assert!(aio.is_complete(io));
    });
}

#[test]
fn loom_a_task_and_a_completer_do_not_miss_each_other() {
    in_every_order(4, || {
        let method = Arc::new(Held::at_once());
        let aio = start(1, 1, &method);
        let mut context = aio.issuer(1).unwrap();
        let io = context.acquire().unwrap().start_nop();
        let task = {
            let aio = Arc::clone(&aio);
            spawn(move || block_on(aio.wait_async(io)))
        };
        context.submit();
        task.join().unwrap();
    });
}

/// A ring whose kernel is the test: it takes what was submitted and shows
/// completions when the test says so.
#[derive(Default)]
struct Ring {
    turns: Turns,
    queues: Mutex<Queues>,
    submitted: Condvar,
    completed: Condvar,
    completions: Mutex<Option<Completions>>,
}

#[derive(Default)]
struct Queues {
    submitted: Vec<IoRequest>,
    completed: VecDeque<(IoRequest, i32)>,
}

impl Ring {
    /// Shows the completion of an I/O, if need be after its submission.
    fn kernel_completes(&self, io: WaitRef, outcome: i32) {
        let mut queues = lock(&self.queues);
        loop {
            let at = queues
                .submitted
                .iter()
                .position(|request| request.wait_ref() == io);
            if let Some(at) = at {
                let request = queues.submitted.remove(at);
                queues.completed.push_back((request, outcome));
                self.completed.notify_all();
                return;
            }
            queues = self.submitted.wait(queues).unwrap();
        }
    }
}

impl CompletionQueue for Ring {
    fn pop(&self, completions: &Completions, reaped: &mut [Option<ReapedIo>]) -> usize {
        let mut queues = lock(&self.queues);
        let mut count = 0;
        for place in reaped {
            let Some((request, outcome)) = queues.completed.pop_front() else {
                break;
            };
            *place = Some(completions.reap(request, outcome));
            count += 1;
        }
        count
    }

    fn block_for_completion(&self) {
        let queues = lock(&self.queues);
        if queues.completed.is_empty() {
            drop(self.completed.wait(queues).unwrap());
        }
    }

    fn submit_again(&self, remainder: IoRequest) {
        lock(&self.queues).submitted.push(remainder);
        self.submitted.notify_all();
    }
}

impl Method for Ring {
    fn name(&self) -> &'static str {
        "ring"
    }

    fn start(&self, completions: &Completions) {
        *lock(&self.completions) = Some(completions.clone());
    }

    fn submit(&self, batch: &mut RequestBatch, _: &Completions) {
        lock(&self.queues).submitted.extend(batch);
        self.submitted.notify_all();
    }

    fn wait(&self, io: &InFlight<'_>) {
        self.turns.wait(io, self, &|| false);
    }

    fn reap(&self, _: u32) -> bool {
        let completions = lock(&self.completions).clone().unwrap();
        self.turns.reap(&completions, self)
    }
}

/// Two I/Os in flight on a ring, a waiter of each I/O named in `waiters`, and
/// a kernel that completes as told: (which, outcome).
fn on_a_ring<const WAITERS: usize>(
    preemptions: usize,
    waiters: [usize; WAITERS],
    kernel: &'static [(usize, i32)],
) {
    in_every_order(preemptions, move || {
        let ring = Arc::new(Ring::default());
        let aio = start(1, 2, &ring);
        let mut context = aio.issuer(1).unwrap();
        let refs = [(); 2].map(|()| context.acquire().unwrap().start_nop());
        context.submit();
        let threads = waiters.map(|io| {
            let aio = Arc::clone(&aio);
            spawn(move || {
                aio.wait(refs[io]);
                assert!(aio.is_complete(refs[io]));
            })
        });
        for &(io, outcome) in kernel {
            ring.kernel_completes(refs[io], outcome);
        }
        join(threads);
        // What nobody waited for is reaped by the core's own end.
        drop(context);
    });
}

#[test]
fn loom_two_waiters_of_one_ring_reap_for_each_other() {
    on_a_ring(4, [0, 1], &[(1, 0), (0, 0)]);
}

#[test]
fn loom_two_waiters_of_the_same_io() {
    on_a_ring(4, [0, 0], &[(0, 0), (1, 0)]);
}

/// Whoever reaps the first attempt may have what it wants and leave; the
/// remainder is then the other's to reap.
#[test]
fn loom_a_remainder_is_reaped_by_its_waiter() {
    on_a_ring(3, [0, 1], &[(1, -libc::EINTR), (0, 0), (1, 0)]);
}

#[test]
fn loom_three_waiters_pass_the_turn_on() {
    on_a_ring(2, [0, 1, 1], &[(0, 0), (1, 0)]);
}

/// An event loop is told of each completion, and a thread waits for one of the two: whoever has the turn,
/// the I/O that nobody waits for is reaped too.
#[test]
fn loom_an_event_loop_reaps_beside_a_waiter() {
    for order in [[0, 1], [1, 0]] {
        in_every_order(3, move || {
            let ring = Arc::new(Ring::default());
            let aio = start(1, 2, &ring);
            let mut context = aio.issuer(1).unwrap();
            let refs = [(); 2].map(|()| context.acquire().unwrap().start_nop());
            context.submit();
            let waiter = {
                let aio = Arc::clone(&aio);
                spawn(move || aio.wait(refs[0]))
            };
            for io in order {
                ring.kernel_completes(refs[io], 0);
                while ring.reap(0) {}
            }
            join([waiter]);
            assert!(refs.iter().all(|&io| aio.is_complete(io)));
        });
    }
}

/// Says when the callback of the first I/O runs, and holds it until that of
/// the second does.
#[derive(Default)]
struct Hold {
    entered: Mutex<[bool; 2]>,
    changed: Condvar,
}

impl Hold {
    fn until_entered(&self, io: usize) {
        let mut entered = lock(&self.entered);
        while !entered[io] {
            entered = self.changed.wait(entered).unwrap();
        }
    }
}

impl SharedCallbacks for Hold {
    fn name(&self) -> &'static str {
        "hold"
    }

    fn complete(&self, io: &IoView<'_>, prior: IoResult) -> IoResult {
        let index = io.callback_data() as usize;
        lock(&self.entered)[index] = true;
        self.changed.notify_all();
        if index == 0 {
            self.until_entered(1);
        }
        prior
    }
}

/// Whichever thread is busy with the first I/O, one that waits for the second
/// has or gets the turn meanwhile.
#[test]
fn loom_callbacks_of_one_io_do_not_hold_up_another() {
    in_every_order(2, || {
        let ring = Arc::new(Ring::default());
        let aio = start(1, 2, &ring);
        let hold = Arc::new(Hold::default());
        let callbacks = aio.register_callbacks(Arc::clone(&hold) as Arc<dyn SharedCallbacks>);
        let mut context = aio.issuer(1).unwrap();
        let refs = [0, 1].map(|index| {
            let mut handle = context.acquire().unwrap();
            handle.callback(callbacks, index);
            handle.start_nop()
        });
        context.submit();
        let waiters = [0, 1, 1].map(|io| {
            let aio = Arc::clone(&aio);
            spawn(move || aio.wait(refs[io]))
        });
        ring.kernel_completes(refs[0], 0);
        hold.until_entered(0);
        ring.kernel_completes(refs[1], 0);
        join(waiters);
    });
}
