//! A7, A8, A10: shared callbacks, the local callback, who sees results.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use trunkline_aio::{
    Aio, AioConfig, CallbackId, FailureOrigin, IoContext, IoFailure, IoResult, IoReturn, IoView,
    Op, OpenOptions, OsStorage, SharedCallbacks, State, Storage, TargetId, TargetTag, WaitRef,
};

use crate::support::{
    GateMethod, for_each_method, shared_buf, small, start_read, start_with, within_limit,
};

type Calls = Arc<Mutex<Vec<String>>>;

/// Notes every call, and passes the result on with the count of bytes grown.
struct Layer {
    name: &'static str,
    calls: Calls,
    staged: Mutex<Option<WaitRef>>,
}

impl SharedCallbacks for Layer {
    fn name(&self) -> &'static str {
        self.name
    }

    fn stage(&self, io: &IoView<'_>) {
        *self.staged.lock().unwrap() = Some(io.wait_ref());
        self.calls
            .lock()
            .unwrap()
            .push(format!("stage {}", self.name));
    }

    fn complete(&self, io: &IoView<'_>, prior: IoResult) -> IoResult {
        let data = (
            io.callback_data(),
            io.data().to_vec(),
            io.target().words[1],
            io.op(),
        );
        self.calls
            .lock()
            .unwrap()
            .push(format!("complete {} {data:?}", self.name));
        IoResult::Ok {
            bytes: prior.bytes() + 1,
        }
    }

    fn describe(&self, io: &IoView<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "{} of {}", self.name, io.target().words[0])
    }
}

fn layers(aio: &Aio) -> (Calls, [(CallbackId, Arc<Layer>); 2]) {
    let calls = Calls::default();
    let register = |name| {
        let calls = Arc::clone(&calls);
        let layer = Arc::new(Layer {
            name,
            calls,
            staged: Mutex::new(None),
        });
        (aio.register_callbacks(layer.clone()), layer)
    };
    let both = [register("upper"), register("lower")];
    (calls, both)
}

#[test]
fn shared_callbacks_run_once_lower_layer_first_and_pass_the_result_up() {
    for_each_method(&small(), |aio| {
        let (calls, [(upper, upper_layer), (lower, _)]) = layers(aio);
        let mut context = aio.issuer(1).unwrap();
        let cell = IoReturn::new();
        let mut handle = context.acquire().unwrap();
        handle.target(TargetTag {
            kind: TargetId::SharedBuffers,
            words: [7, 8, 9, 0],
        });
        handle.callback(upper, 11);
        handle.set_data(&[5, 6]);
        handle.callback(lower, 22);
        handle.report_to(&cell);
        let reference = handle.start_nop();
        assert_eq!(*calls.lock().unwrap(), ["stage lower", "stage upper"]);
        // The hook saw the reference that others will wait with.
        assert_eq!(*upper_layer.staged.lock().unwrap(), Some(reference));
        let row = aio.in_flight().remove(0);
        assert_eq!(
            (row.desc.as_str(), row.target.kind.name()),
            ("upper of 7", "sb")
        );
        context.wait(reference);
        aio.wait(reference);
        assert_eq!(
            calls.lock().unwrap()[2..],
            [
                "complete lower (22, [5, 6], 8, Nop)",
                "complete upper (11, [5, 6], 8, Nop)"
            ]
        );
        assert_eq!(cell.get(), Some(IoResult::Ok { bytes: 2 }));
    });
}

#[test]
fn many_waiters_see_one_completion() {
    struct Count(Arc<AtomicU32>);
    impl SharedCallbacks for Count {
        fn name(&self) -> &'static str {
            "count"
        }
        fn complete(&self, _: &IoView<'_>, prior: IoResult) -> IoResult {
            self.0.fetch_add(1, SeqCst);
            prior
        }
    }
    for_each_method(&small(), |aio| {
        let completed = Arc::new(AtomicU32::new(0));
        let id = aio.register_callbacks(Arc::new(Count(Arc::clone(&completed))));
        let mut context = aio.issuer(1).unwrap();
        for round in 1..=50 {
            let mut handle = context.acquire().unwrap();
            handle.callback(id, 0);
            let reference = handle.start_nop();
            let start = Arc::new(Barrier::new(5));
            let waiters: Vec<_> = (0..4)
                .map(|_| {
                    let (aio, start, completed) =
                        (Arc::clone(aio), Arc::clone(&start), Arc::clone(&completed));
                    thread::spawn(move || {
                        start.wait();
                        aio.wait(reference);
                        // Nobody goes on before the callbacks have run.
                        assert_eq!(completed.load(SeqCst), round);
                    })
                })
                .collect();
            start.wait();
            context.submit();
            within_limit(move || {
                waiters
                    .into_iter()
                    .for_each(|waiter| waiter.join().unwrap())
            });
        }
    });
}

#[test]
fn only_the_issuer_sees_an_error() {
    for_each_method(&small(), |aio| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("write_only");
        let file = OsStorage::new()
            .open(
                &path,
                OpenOptions {
                    write: true,
                    create_new: true,
                    ..OpenOptions::default()
                },
            )
            .unwrap();
        let mut context = aio.issuer(1).unwrap();
        let cell = IoReturn::new();
        let mut handle = context.acquire().unwrap();
        handle.report_to(&cell);
        let reference = start_read(handle, &file, 0, &shared_buf(4096), &[4096]);
        // The foreign waiter completes it, and returns as from any other.
        let mut other = aio.issuer(2).unwrap();
        other.wait(reference);
        let Some(IoResult::Error(failure)) = cell.get() else {
            panic!("{:?}", cell.get())
        };
        assert_eq!(
            failure.errno(),
            Some(rustix::io::Errno::BADF.raw_os_error())
        );
        context.wait(reference);
    });
}

#[test]
fn a_callback_can_fail_an_io_with_details_for_the_message() {
    struct Reject;
    impl SharedCallbacks for Reject {
        fn name(&self) -> &'static str {
            "reject"
        }
        fn complete(&self, io: &IoView<'_>, _: IoResult) -> IoResult {
            IoResult::Error(IoFailure {
                origin: FailureOrigin::Callback(CALLBACK.lock().unwrap().unwrap()),
                code: 3,
                detail: [io.callback_data(), 0xbad, 0x600d, 0],
            })
        }
    }
    static CALLBACK: Mutex<Option<CallbackId>> = Mutex::new(None);
    for_each_method(&small(), |aio| {
        let id = aio.register_callbacks(Arc::new(Reject));
        *CALLBACK.lock().unwrap() = Some(id);
        let mut context = aio.issuer(1).unwrap();
        let cell = IoReturn::new();
        let mut handle = context.acquire().unwrap();
        handle.callback(id, 42);
        handle.report_to(&cell);
        let reference = handle.start_nop();
        context.wait(reference);
        let failure = cell.get().unwrap().failure().unwrap();
        assert_eq!((failure.code, failure.detail), (3, [42, 0xbad, 0x600d, 0]));
        assert_eq!(failure.errno(), None);
        let error = std::io::Error::from(failure);
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
        let message = "I/O rejected with code 3 [42, 2989, 24589, 0]";
        assert_eq!(error.to_string(), message);
    });
}

#[test]
fn a_local_callback_starts_further_io_without_recursion() {
    static DEPTH: AtomicU32 = AtomicU32::new(0);
    static DEEPEST: AtomicU32 = AtomicU32::new(0);
    static CALLS: AtomicU64 = AtomicU64::new(0);
    fn look_further(context: &mut IoContext, left: u64, result: IoResult) {
        assert_eq!(result, IoResult::Ok { bytes: 0 });
        let depth = DEPTH.fetch_add(1, SeqCst) + 1;
        DEEPEST.fetch_max(depth, SeqCst);
        CALLS.fetch_add(1, SeqCst);
        if left > 0 {
            let mut handle = context.acquire().unwrap();
            handle.on_complete_local(look_further, left - 1);
            let reference = handle.start_nop();
            // Even waiting for it here does not run its callback here.
            context.submit();
            context.wait(reference);
        }
        DEPTH.fetch_sub(1, SeqCst);
    }
    for_each_method(&small(), |aio| {
        CALLS.store(0, SeqCst);
        let mut context = aio.issuer(1).unwrap();
        for _ in 0..2 {
            let mut handle = context.acquire().unwrap();
            handle.on_complete_local(look_further, 99);
            handle.start_nop();
        }
        context.wait_all();
        assert_eq!(CALLS.load(SeqCst), 200);
        assert_eq!(DEEPEST.load(SeqCst), 1);
    });
}

#[test]
fn a_local_callback_runs_on_its_issuer_only() {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    fn count(_: &mut IoContext, argument: u64, _: IoResult) {
        assert_eq!(argument, 5);
        CALLS.fetch_add(1, SeqCst);
    }
    let gate = Arc::new(GateMethod::default());
    let aio = start_with(&small(), gate.clone());
    let mut context = aio.issuer(1).unwrap();
    let mut other = aio.issuer(2).unwrap();
    let mut handle = context.acquire().unwrap();
    handle.on_complete_local(count, 5);
    let reference = handle.start_nop();
    context.submit();
    gate.open();
    other.wait(reference);
    other.poll_local();
    assert_eq!(CALLS.load(SeqCst), 0);
    context.poll_local();
    assert_eq!(CALLS.load(SeqCst), 1);
    context.poll_local();
    assert_eq!(CALLS.load(SeqCst), 1);
}

#[test]
fn a_callback_that_restarts_itself_does_not_starve_its_issuer() {
    static STOP: AtomicU32 = AtomicU32::new(0);
    fn again(context: &mut IoContext, _: u64, _: IoResult) {
        if STOP.load(SeqCst) == 0 {
            let mut handle = context.acquire().unwrap();
            handle.on_complete_local(again, 0);
            handle.start_nop();
        }
    }
    for_each_method(
        &AioConfig {
            io_max_concurrency: 2,
            ..small()
        },
        |aio| {
            STOP.store(0, SeqCst);
            let aio = Arc::clone(aio);
            within_limit(move || {
                let mut context = aio.issuer(1).unwrap();
                // More than there are handles: a callback that wants one completes another's I/O.
                for _ in 0..3 {
                    let mut handle = context.acquire().unwrap();
                    handle.on_complete_local(again, 0);
                    handle.start_nop();
                }
                for _ in 0..20 {
                    let reference = context.acquire().unwrap().start_nop();
                    context.wait(reference);
                }
                STOP.store(1, SeqCst);
                context.wait_all();
            });
        },
    );
}

#[test]
fn a_panic_in_a_shared_callback_ends_the_process() {
    struct Panics;
    impl SharedCallbacks for Panics {
        fn name(&self) -> &'static str {
            "panics"
        }
        fn complete(&self, _: &IoView<'_>, _: IoResult) -> IoResult {
            panic!("page half changed");
        }
    }
    const CHILD: &str = "TRUNKLINE_AIO_TEST_PANICS";
    if std::env::var_os(CHILD).is_some() {
        let aio = Aio::start(small()).unwrap();
        let id = aio.register_callbacks(Arc::new(Panics));
        let mut context = aio.issuer(1).unwrap();
        let mut handle = context.acquire().unwrap();
        handle.callback(id, 0);
        let reference = handle.start_nop();
        context.wait(reference);
        std::process::exit(0);
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "callbacks::a_panic_in_a_shared_callback_ends_the_process",
        ])
        .env(CHILD, "1")
        .output()
        .unwrap();
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(output.status.signal(), Some(6), "{output:?}");
}

#[test]
fn states_and_operations_have_the_names_of_the_views() {
    assert_eq!(State::CompletedShared.name(), "COMPLETED_SHARED");
    assert_eq!(
        (Op::Readv.name(), Op::Fdatasync.name()),
        ("readv", "fdatasync")
    );
    assert_eq!(TargetTag::RAW.kind.name(), "raw");
}
