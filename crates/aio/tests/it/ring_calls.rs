//! A15: what the rings ask of the kernel, seen from outside of the code: the
//! system calls, and the kernel's threads. Each test has a process for itself.

use std::fs;
use std::io::Write;
use std::sync::Arc;
use std::thread;

use trunkline_aio::{
    Aio, AioConfig, File, IoUringMethod, OpenOptions, OsStorage, RingConfig, SUBMIT_BATCH_LIMIT,
    Storage, WaitRef,
};

use crate::fall_back::in_a_child;
use crate::process::{self, RingParameter, Seen};
use crate::support::{SharedBuf, pattern, pipe, shared_buf, start_read, start_with};

const BLOCK: usize = 8192;
const READS: usize = 32;

/// More than a ring has entries for by itself.
const IN_FLIGHT_LIMIT: u32 = 1024;

/// From this on a read is no small one any more, whatever the limit is.
const LARGE: usize = 16 * BLOCK;

/// An AIO core with one ring, which combines nothing; `None`, and said, where there is no io_uring.
fn over_one_ring() -> Option<Arc<Aio>> {
    over_one_ring_combining(BLOCK as u32)
}

/// The same with another `io_combine_limit`.
fn over_one_ring_combining(io_combine_limit_bytes: u32) -> Option<Arc<Aio>> {
    let config = AioConfig {
        max_issuers: 2,
        io_max_concurrency: IN_FLIGHT_LIMIT / 2,
        io_combine_limit_bytes,
        ..AioConfig::default()
    };
    assert_eq!(
        config.max_issuers * config.io_max_concurrency,
        IN_FLIGHT_LIMIT
    );
    let rings = RingConfig {
        rings: 1,
        in_flight_limit: IN_FLIGHT_LIMIT,
    };
    match IoUringMethod::new(rings) {
        Ok(method) => Some(start_with(&config, Arc::new(method))),
        Err(error) => {
            eprintln!("SKIPPED for io_uring, which does not work here: {error}");
            None
        }
    }
}

/// The submissions (how many I/Os each) and waits (0) to come; `None`, and said, where they cannot
/// be seen.
fn watch_entering() -> Option<Seen> {
    let to_submit = |enter: &process::Arguments| enter[1] as u32;
    process::watch(libc::SYS_io_uring_enter, to_submit)
        .inspect_err(|error| eprintln!("SKIPPED, as system calls cannot be watched: {error}"))
        .ok()
}

/// A file in the page cache, and what is in it.
fn cached_file(bytes: usize) -> (tempfile::TempDir, Arc<File>, Vec<u8>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    let content = pattern(bytes, 3);
    fs::write(&path, &content).unwrap();
    let file = OsStorage::new().open(&path, OpenOptions::READ).unwrap();
    (directory, file, content)
}

#[test]
fn a_batch_is_one_system_call_and_what_has_arrived_is_taken_without_any() {
    let name = "ring_calls::a_batch_is_one_system_call_and_what_has_arrived_is_taken_without_any";
    if in_a_child(name).is_some() {
        return;
    }
    let (Some(aio), Some(seen)) = (over_one_ring(), watch_entering()) else {
        return;
    };
    // Every other block: neighbours would be one I/O anyway.
    let (_directory, file, content) = cached_file(2 * READS * BLOCK);
    let mut context = aio.issuer(1).unwrap();
    let reads: Vec<(WaitRef, SharedBuf)> = (0..READS)
        .map(|index| {
            let buffer = shared_buf(BLOCK);
            let handle = context.acquire().unwrap();
            let offset = (2 * index * BLOCK) as u64;
            let wait_ref = start_read(handle, &file, offset, &buffer, &[BLOCK]);
            (wait_ref, buffer)
        })
        .collect();
    context.submit();
    assert_eq!(seen.calls(), [READS as u32]);
    // The kernel copies what it has in memory before it returns.
    for ((wait_ref, buffer), expected) in reads.iter().zip(content.chunks(2 * BLOCK)) {
        context.wait(*wait_ref);
        assert!(buffer.lock().unwrap()[..] == expected[..BLOCK]);
    }
    assert_eq!(seen.calls(), [READS as u32]);
}

/// A5: at 256 kB, 32 neighbours of 8 KiB are one operation of the kernel, whatever their order.
#[test]
fn a_run_of_neighbours_is_one_operation() {
    if in_a_child("ring_calls::a_run_of_neighbours_is_one_operation").is_some() {
        return;
    }
    let (Some(aio), Some(seen)) = (over_one_ring_combining(256 << 10), watch_entering()) else {
        return;
    };
    let blocks = SUBMIT_BATCH_LIMIT;
    let (_directory, file, content) = cached_file(blocks * BLOCK);
    let mut context = aio.issuer(1).unwrap();
    let reads: Vec<(usize, SharedBuf)> = (0..blocks)
        .map(|index| {
            let block = index * 37 % blocks;
            let buffer = shared_buf(BLOCK);
            let handle = context.acquire().unwrap();
            start_read(handle, &file, (block * BLOCK) as u64, &buffer, &[BLOCK]);
            (block, buffer)
        })
        .collect();
    // The last one has filled the pending list, which submits it.
    let operations: Vec<u32> = seen
        .calls()
        .into_iter()
        .filter(|&count| count > 0)
        .collect();
    assert_eq!(operations, [4]);
    assert!(operations[0] as usize * 30 < blocks);
    context.wait_all();
    for (block, buffer) in reads {
        assert!(buffer.lock().unwrap()[..] == content[block * BLOCK..][..BLOCK]);
    }
}

#[test]
fn a_wait_for_what_has_not_arrived_is_one_system_call() {
    let name = "ring_calls::a_wait_for_what_has_not_arrived_is_one_system_call";
    if in_a_child(name).is_some() {
        return;
    }
    let (Some(aio), Some(seen)) = (over_one_ring(), watch_entering()) else {
        return;
    };
    let (reader, writer) = pipe();
    let mut writer = fs::File::from(writer.descriptor().unwrap().try_clone_to_owned().unwrap());
    let mut context = aio.issuer(1).unwrap();
    let buffer = shared_buf(BLOCK);
    let handle = context.acquire().unwrap();
    let wait_ref = start_read(handle, &reader, 0, &buffer, &[BLOCK]);
    context.submit();
    assert_eq!(seen.calls(), [1]);
    thread::scope(|scope| {
        let seen = &seen;
        scope.spawn(move || {
            while seen.calls().len() < 2 {
                thread::yield_now();
            }
            writer.write_all(&[7; BLOCK]).unwrap();
        });
        context.wait(wait_ref);
    });
    assert_eq!(buffer.lock().unwrap()[..], [7; BLOCK]);
    assert_eq!(seen.calls(), [1, 0]);
}

/// What the rings to come ask for; `None`, and said, where that cannot be seen.
fn watch_setup(parameter: RingParameter) -> Option<Seen> {
    let look = move |setup: &process::Arguments| process::ring_parameter(setup, parameter);
    process::watch(libc::SYS_io_uring_setup, look)
        .inspect_err(|error| eprintln!("SKIPPED, as system calls cannot be watched: {error}"))
        .ok()
}

/// A6: with any of these flags, a completion has to wait for the thread that submitted the I/O to
/// enter the kernel, or for its next interrupt.
#[test]
fn completions_are_not_left_to_the_thread_that_submitted() {
    const COOP_TASKRUN: u32 = 1 << 8;
    const SINGLE_ISSUER: u32 = 1 << 12;
    const DEFER_TASKRUN: u32 = 1 << 13;
    let name = "ring_calls::completions_are_not_left_to_the_thread_that_submitted";
    if in_a_child(name).is_some() {
        return;
    }
    let seen = watch_setup(RingParameter::Flags);
    let (Some(seen), Some(_aio)) = (seen, over_one_ring()) else {
        return;
    };
    let [flags] = seen.calls()[..] else {
        panic!("{:?}", seen.calls());
    };
    assert_eq!(flags & (COOP_TASKRUN | SINGLE_ISSUER | DEFER_TASKRUN), 0);
}

#[test]
fn the_completion_queue_has_room_for_every_io() {
    if in_a_child("ring_calls::the_completion_queue_has_room_for_every_io").is_some() {
        return;
    }
    let seen = watch_setup(RingParameter::CompletionEntries);
    let (Some(seen), Some(_aio)) = (seen, over_one_ring()) else {
        return;
    };
    let [entries] = seen.calls()[..] else {
        panic!("{:?}", seen.calls());
    };
    assert!(entries >= IN_FLIGHT_LIMIT, "{entries}");
}

/// IOSQE_ASYNC: the copying of large reads is spread over the processors.
#[test]
fn large_buffered_reads_are_left_to_the_kernels_threads() {
    if in_a_child("ring_calls::large_buffered_reads_are_left_to_the_kernels_threads").is_some() {
        return;
    }
    let Some(aio) = over_one_ring() else {
        return;
    };
    let (_directory, file, content) = cached_file(LARGE);
    let mut context = aio.issuer(1).unwrap();
    let mut read = |bytes: usize| {
        let buffer = shared_buf(bytes);
        let handle = context.acquire().unwrap();
        let wait_ref = start_read(handle, &file, 0, &buffer, &[bytes]);
        context.wait(wait_ref);
        assert!(buffer.lock().unwrap()[..] == content[..bytes]);
    };
    read(BLOCK);
    assert_eq!(kernel_workers(), 0);
    read(LARGE);
    assert_eq!(kernel_workers(), 1);
}

/// Those of io_uring in this process. They stay for seconds after their last I/O.
fn kernel_workers() -> usize {
    let threads = fs::read_dir("/proc/self/task").unwrap();
    threads
        .filter(|thread| {
            let path = thread.as_ref().unwrap().path().join("comm");
            // A thread may end meanwhile.
            fs::read_to_string(path).is_ok_and(|name| name.starts_with("iou-wrk"))
        })
        .count()
}
