//! A9: the same references as futures, usable from tokio.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use trunkline_aio::{
    Aio, AioConfig, AlignedBuf, CompletionSource, IoContext, OpenOptions, OsStorage, Storage,
    WaitRef,
};

use crate::support::{GateMethod, for_each_method, pipe, small, start_with, until_readable};

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(60), future)
            .await
            .expect("a wait did not end")
    })
}

#[test]
fn io_completes_when_only_tasks_wait() {
    for_each_method(&small(), |aio| {
        let mut contexts: Vec<_> = (0..4).map(|owner| aio.issuer(owner).unwrap()).collect();
        for _ in 0..20 {
            let references: Vec<_> = contexts
                .iter_mut()
                .map(|context| {
                    let reference = context.acquire().unwrap().start_nop();
                    context.submit();
                    reference
                })
                .collect();
            block_on(async {
                for reference in references {
                    aio.wait_async(reference).await;
                    assert!(aio.is_complete(reference));
                }
            });
        }
    });
}

/// An event loop that watches the sources completes what tasks await, and nobody else does meanwhile. When
/// it has gone, they are completed without it.
#[test]
fn an_event_loop_reaps_what_tasks_await() {
    for_each_method(&small(), |aio| {
        let mut contexts: Vec<_> = (0..4).map(|owner| aio.issuer(owner).unwrap()).collect();
        let mut start = || -> Vec<WaitRef> {
            contexts
                .iter_mut()
                .map(|context| {
                    let reference = context.acquire().unwrap().start_nop();
                    context.submit();
                    reference
                })
                .collect()
        };
        let sources = aio.completion_sources();
        assert_eq!(sources.is_empty(), aio.method_name() != "io_uring");
        let references = start();
        let mut futures: Vec<_> = references
            .iter()
            .map(|reference| Box::pin(aio.wait_async(*reference)))
            .collect();
        let mut nobody = Context::from_waker(Waker::noop());
        for future in &mut futures {
            let _ = future.as_mut().poll(&mut nobody);
        }
        if !sources.is_empty() {
            until_readable(&sources);
            assert!(references.iter().all(|io| !aio.is_complete(*io)));
            while !references.iter().all(|io| aio.is_complete(*io)) {
                until_readable(&sources);
                for source in &sources {
                    while CompletionSource::reap(source) {}
                }
            }
        }
        block_on(async {
            for future in futures {
                future.await;
            }
        });
        // In flight when the watcher goes.
        let references = start();
        let waits: Vec<_> = references.iter().map(|io| aio.wait_async(*io)).collect();
        drop(sources);
        block_on(async {
            for wait in waits {
                wait.await;
            }
        });
    });
}

#[test]
fn a_task_that_came_before_the_submission_is_woken() {
    for_each_method(&small(), |aio| {
        let mut context = aio.issuer(1).unwrap();
        let reference = context.acquire().unwrap().start_nop();
        let mut future = pin!(aio.wait_async(reference));
        let mut nobody = Context::from_waker(Waker::noop());
        assert_eq!(future.as_mut().poll(&mut nobody), Poll::Pending);
        block_on(async {
            let submit = async { context.submit() };
            tokio::join!(future, submit);
        });
    });
}

#[test]
fn dropping_a_future_cancels_nothing() {
    for_each_method(&small(), |aio| {
        if aio.method_name() == "sync" {
            return;
        }
        let (reader, writer) = pipe();
        let mut context = aio.issuer(1).unwrap();
        let read = context
            .read_raw(&reader, AlignedBuf::zeroed(4), 0, 4)
            .unwrap();
        context.submit();
        {
            let mut future = pin!(aio.wait_async(read.wait_ref()));
            let mut nobody = Context::from_waker(Waker::noop());
            assert_eq!(future.as_mut().poll(&mut nobody), Poll::Pending);
        }
        rustix::io::write(writer.descriptor().unwrap(), b"late").unwrap();
        let (buffer, result) = block_on(read.wait_async(&mut context));
        assert_eq!(result.unwrap(), 4);
        assert_eq!(&buffer[..], b"late");
    });
}

#[test]
fn acquiring_awaits_a_handle_instead_of_blocking() {
    let gate = Arc::new(GateMethod::default());
    let aio = start_with(
        &AioConfig {
            io_max_concurrency: 2,
            ..small()
        },
        gate.clone(),
    );
    let mut context = aio.issuer(1).unwrap();
    for _ in 0..2 {
        context.acquire().unwrap().start_nop();
    }
    {
        let mut acquire = pin!(context.acquire_async());
        let mut nobody = Context::from_waker(Waker::noop());
        assert!(acquire.as_mut().poll(&mut nobody).is_pending());
        assert_eq!(gate.held(), 2);
        gate.complete_first();
        match acquire.as_mut().poll(&mut nobody) {
            Poll::Ready(handle) => handle.unwrap().release(),
            Poll::Pending => panic!("a handle is free"),
        }
    }
    gate.open();
    for_each_method(&small(), |aio| {
        let mut context = aio.issuer(1).unwrap();
        block_on(async {
            for _ in 0..50 {
                context.acquire_async().await.unwrap().start_nop();
            }
            let last = context.acquire_async().await.unwrap().start_nop();
            context.wait_async(last).await;
        });
    });
}

#[test]
fn tasks_on_several_threads_wait_for_the_same_io() {
    for_each_method(&small(), |aio| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .build()
            .unwrap();
        let mut context = aio.issuer(1).unwrap();
        for _ in 0..20 {
            let reference = context.acquire().unwrap().start_nop();
            let tasks: Vec<_> = (0..4)
                .map(|_| runtime.spawn(aio.wait_async(reference)))
                .collect();
            context.submit();
            for task in tasks {
                runtime.block_on(task).unwrap();
            }
        }
    });
}

const ISSUERS: i32 = 8;
const IOS_PER_ISSUER: usize = 500;

fn thousands() -> AioConfig {
    AioConfig {
        max_issuers: ISSUERS as u32,
        io_max_concurrency: IOS_PER_ISSUER as u32,
        // Each read on its own.
        io_combine_limit_bytes: 0,
        ..AioConfig::default()
    }
}

fn issuers(aio: &Arc<Aio>) -> Vec<IoContext> {
    (0..ISSUERS)
        .map(|owner| aio.issuer(owner).unwrap())
        .collect()
}

/// Threads of this process, without those that the kernel makes for io_uring.
fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok())
        .filter(|name| !name.starts_with("iou-"))
        .collect()
}

/// In a process of its own, where it can count the threads.
#[test]
fn one_thread_awaits_thousands_of_reads() {
    const CHILD: &str = "TRUNKLINE_AIO_TEST_THOUSANDS";
    if std::env::var_os(CHILD).is_none() {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "async_waits::one_thread_awaits_thousands_of_reads",
            ])
            .env(CHILD, "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    std::fs::write(&path, vec![7; IOS_PER_ISSUER * 512]).unwrap();
    let file = OsStorage::new().open(&path, OpenOptions::READ).unwrap();
    for_each_method(&thousands(), |aio| {
        let mut contexts = issuers(aio);
        let mut reads = Vec::new();
        for context in &mut contexts {
            for block in (0..IOS_PER_ISSUER as u64).rev() {
                let buffer = AlignedBuf::zeroed(512);
                reads.push(context.read_raw(&file, buffer, block * 512, 512).unwrap());
            }
            context.submit();
        }
        let references: Vec<_> = reads.iter().map(|read| read.wait_ref()).collect();
        block_on(async {
            let tasks: Vec<_> = references
                .into_iter()
                .map(|reference| tokio::spawn(aio.wait_async(reference)))
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
        });
        // The harness, the method's own (up to 32 of glibc's POSIX AIO), and one to await with.
        let threads = threads();
        assert!(threads.len() < 48, "{threads:?}");
        for (number, read) in reads.into_iter().enumerate() {
            let context = &mut contexts[number / IOS_PER_ISSUER];
            let (buffer, moved) = read.wait(context);
            assert_eq!((moved.unwrap(), buffer[511]), (512, 7));
        }
    });
}

/// All of them registered before the first completes.
#[test]
fn thousands_of_tasks_are_woken_however_late_their_io_completes() {
    let gate = Arc::new(GateMethod::default());
    let aio = start_with(&thousands(), gate.clone());
    let mut contexts = issuers(&aio);
    let mut references = Vec::new();
    for context in &mut contexts {
        for _ in 0..IOS_PER_ISSUER {
            references.push(context.acquire().unwrap().start_nop());
        }
        context.submit();
    }
    block_on(async {
        let tasks: Vec<_> = references
            .into_iter()
            .map(|reference| tokio::spawn(aio.wait_async(reference)))
            .collect();
        tokio::task::yield_now().await;
        assert!(tasks.iter().all(|task| !task.is_finished()));
        assert_eq!(gate.held(), ISSUERS as usize * IOS_PER_ISSUER);
        let opener = std::thread::spawn(move || gate.open());
        for task in tasks {
            task.await.unwrap();
        }
        opener.join().unwrap();
    });
}
