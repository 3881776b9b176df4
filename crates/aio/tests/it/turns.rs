//! Waiters that share a ring: whoever reaps must neither hold up the others
//! nor leave them behind. (Other methods pass the same tests.) The reads are
//! of pipes, so that the tests decide when each completes.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use trunkline_aio::{Aio, AioConfig, File, IoContext, IoResult, IoView, SharedCallbacks, WaitRef};

use crate::support::{for_each_method, pipe, shared_buf, small, start_read, within_limit};

/// A callback that says when it runs, and goes on when it is let.
#[derive(Default)]
struct Hold {
    entered: [AtomicBool; 2],
    released: [AtomicBool; 2],
}

impl SharedCallbacks for Hold {
    fn name(&self) -> &'static str {
        "hold"
    }

    fn complete(&self, io: &IoView<'_>, prior: IoResult) -> IoResult {
        let index = io.callback_data() as usize;
        self.entered[index].store(true, SeqCst);
        until(|| self.released[index].load(SeqCst));
        prior
    }
}

fn until(condition: impl Fn() -> bool) {
    while !condition() {
        thread::yield_now();
    }
}

fn send(pipe: &Arc<File>, bytes: &[u8]) {
    assert_eq!(
        rustix::io::write(pipe.descriptor().unwrap(), bytes),
        Ok(bytes.len())
    );
}

fn read(context: &mut IoContext, file: &Arc<File>, len: usize) -> WaitRef {
    let handle = context.acquire().unwrap();
    start_read(handle, file, 0, &shared_buf(len), &[len])
}

/// A thread that waits for an I/O; returns once it sleeps.
fn sleeping_waiter(aio: &Arc<Aio>, reference: WaitRef) -> JoinHandle<()> {
    let (sender, receiver) = mpsc::channel();
    let aio = Arc::clone(aio);
    let waiter = thread::spawn(move || {
        sender
            .send(std::fs::read_link("/proc/thread-self").unwrap())
            .unwrap();
        aio.wait(reference);
    });
    let stat = std::path::Path::new("/proc")
        .join(receiver.recv().unwrap())
        .join("stat");
    until(|| {
        // The state follows the name, which is in parentheses. No such file:
        // the thread has ended already.
        std::fs::read_to_string(&stat).map_or(true, |stat| {
            stat.rsplit(')')
                .next()
                .unwrap()
                .trim_start()
                .starts_with('S')
        })
    });
    waiter
}

fn for_each_threaded_method(body: impl Fn(&Arc<Aio>)) {
    for_each_method(
        &AioConfig {
            io_max_concurrency: 8,
            ..small()
        },
        |aio| {
            // Method sync would read the pipes before anything is sent.
            if aio.method_name() != "sync" {
                body(aio);
            }
        },
    );
}

#[test]
fn callbacks_of_one_io_do_not_hold_up_another() {
    for_each_threaded_method(|aio| {
        let aio = Arc::clone(aio);
        within_limit(move || {
            let hold = Arc::new(Hold::default());
            let id = aio.register_callbacks(hold.clone());
            let pipes = [pipe(), pipe()];
            let mut context = aio.issuer(1).unwrap();
            let references = [0, 1].map(|index| {
                let mut handle = context.acquire().unwrap();
                handle.callback(id, index as u32);
                start_read(handle, &pipes[index].0, 0, &shared_buf(1), &[1])
            });
            context.submit();
            let waiters = references.map(|reference| sleeping_waiter(&aio, reference));
            // One waiter reaps the first and is stuck in its callback ...
            send(&pipes[0].1, b"a");
            until(|| hold.entered[0].load(SeqCst));
            // ... while the other must reap the second.
            send(&pipes[1].1, b"b");
            until(|| hold.entered[1].load(SeqCst));
            hold.released
                .iter()
                .for_each(|released| released.store(true, SeqCst));
            waiters
                .into_iter()
                .for_each(|waiter| waiter.join().unwrap());
        });
    });
}

#[test]
fn a_waiter_comes_while_the_callbacks_run() {
    for_each_threaded_method(|aio| {
        let aio = Arc::clone(aio);
        within_limit(move || {
            let hold = Arc::new(Hold::default());
            let id = aio.register_callbacks(hold.clone());
            let (reader, writer) = pipe();
            let mut context = aio.issuer(1).unwrap();
            let mut handle = context.acquire().unwrap();
            handle.callback(id, 0);
            let reference = start_read(handle, &reader, 0, &shared_buf(1), &[1]);
            context.submit();
            let first = sleeping_waiter(&aio, reference);
            send(&writer, b"a");
            until(|| hold.entered[0].load(SeqCst));
            // The kernel has nothing more to tell: whoever asked it would
            // sleep for ever.
            let second = sleeping_waiter(&aio, reference);
            hold.released[0].store(true, SeqCst);
            first.join().unwrap();
            second.join().unwrap();
        });
    });
}

#[test]
fn a_remainder_that_its_reaper_does_not_wait_for_is_reaped_by_its_waiter() {
    for_each_threaded_method(|aio| {
        let aio = Arc::clone(aio);
        within_limit(move || {
            let pipes = [pipe(), pipe()];
            let mut context = aio.issuer(1).unwrap();
            for _ in 0..100 {
                let whole = read(&mut context, &pipes[0].0, 2);
                let halved = read(&mut context, &pipes[1].0, 2);
                context.submit();
                let waiters = [whole, halved].map(|reference| sleeping_waiter(&aio, reference));
                // The waiter of the whole read reaps both, submits the rest
                // of the other, and leaves.
                send(&pipes[1].1, b"b");
                send(&pipes[0].1, b"aa");
                let [of_whole, of_halved] = waiters;
                of_whole.join().unwrap();
                send(&pipes[1].1, b"b");
                of_halved.join().unwrap();
            }
        });
    });
}

#[test]
fn waiters_come_and_go_in_any_order() {
    for_each_threaded_method(|aio| {
        let aio = Arc::clone(aio);
        within_limit(move || {
            let pipes = [pipe(), pipe(), pipe(), pipe()];
            let mut context = aio.issuer(1).unwrap();
            for round in 0..100 {
                let references = [0, 1, 2, 3].map(|index| read(&mut context, &pipes[index].0, 1));
                context.submit();
                let waiters = references.map(|reference| sleeping_waiter(&aio, reference));
                let order = [[3, 2, 1, 0], [1, 0, 3, 2], [0, 3, 1, 2], [2, 3, 0, 1]][round % 4];
                for index in order {
                    send(&pipes[index].1, b"a");
                }
                waiters
                    .into_iter()
                    .for_each(|waiter| waiter.join().unwrap());
            }
        });
    });
}
