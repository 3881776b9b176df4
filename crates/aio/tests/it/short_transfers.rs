//! A11: short transfers are continued by whoever reaps them, interruptions
//! retried with a bound.

use std::sync::Arc;
use std::thread;

use rustix::io::Errno;
use trunkline_aio::{IoContext, IoResult, IoReturn};

use crate::support::{
    Attempt, MemoryMethod, external_file, for_each_method, pattern, pipe, shared_buf, small,
    start_read, start_with, start_write,
};

#[test]
fn a_read_that_a_pipe_gives_piecemeal_is_continued_to_its_end() {
    for_each_method(&small(), |aio| {
        let (reader, writer) = pipe();
        let content = pattern(200_000, 3);
        let written = content.clone();
        let feeder = thread::spawn(move || {
            for chunk in written.chunks(777) {
                let mut rest = chunk;
                while !rest.is_empty() {
                    let count = rustix::io::write(writer.descriptor().unwrap(), rest).unwrap();
                    rest = &rest[count..];
                }
            }
        });
        let mut context = aio.issuer(1).unwrap();
        let cell = IoReturn::new();
        // One after another, since a pipe has no offsets; each more than a pipe
        // holds, so that it must be short.
        for part in content.chunks(100_000) {
            let buffer = shared_buf(100_000);
            let mut handle = context.acquire().unwrap();
            handle.report_to(&cell);
            let reference = start_read(handle, &reader, 0, &buffer, &[1, 9_999, 90_000]);
            context.wait(reference);
            assert_eq!(cell.get(), Some(IoResult::Ok { bytes: 100_000 }));
            assert!(buffer.lock().unwrap()[..] == *part);
        }
        feeder.join().unwrap();
        assert!(aio.counters().total().retries >= 2);
        // The other end is closed: end of file.
        let mut handle = context.acquire().unwrap();
        handle.report_to(&cell);
        let reference = start_read(handle, &reader, 0, &shared_buf(10), &[10]);
        context.wait(reference);
        assert_eq!(cell.get(), Some(IoResult::Partial { bytes: 0 }));
    });
}

/// Runs one I/O over a scripted method.
fn scripted(write: bool, content: &[u8], script: &[Attempt]) -> (IoResult, Vec<u8>, usize) {
    let method = Arc::new(MemoryMethod::default());
    *method.script.lock().unwrap() = script.to_vec();
    let aio = start_with(&small(), method.clone());
    let (file, _) = external_file(1);
    let mut context: IoContext = aio.issuer(1).unwrap();
    let cell = IoReturn::new();
    let buffer = shared_buf(1000);
    let mut handle = context.acquire().unwrap();
    handle.report_to(&cell);
    let lengths = [300, 0, 1, 699];
    let reference = if write {
        buffer.lock().unwrap().copy_from_slice(content);
        start_write(handle, &file, 50, &buffer, &lengths)
    } else {
        let mut stored = vec![0; 50];
        stored.extend_from_slice(content);
        method.files.lock().unwrap().insert(1, stored);
        start_read(handle, &file, 50, &buffer, &lengths)
    };
    context.wait(reference);
    let found = if write {
        method
            .files
            .lock()
            .unwrap()
            .get(&1)
            .map_or(Vec::new(), |stored| stored[50..].to_vec())
    } else {
        buffer.lock().unwrap().to_vec()
    };
    let attempts = method.attempts.lock().unwrap().len();
    assert_eq!(aio.counters().total().retries as usize, attempts - 1);
    (cell.get().unwrap(), found, attempts)
}

#[test]
fn short_transfers_continue_where_they_stopped() {
    let script = [
        Attempt::AtMost(299),
        Attempt::Errno(Errno::INTR.raw_os_error()),
        Attempt::AtMost(1),
        Attempt::AtMost(2),
        Attempt::Errno(Errno::AGAIN.raw_os_error()),
        Attempt::AtMost(500),
    ];
    let content = pattern(1000, 5);
    for write in [false, true] {
        let (result, found, attempts) = scripted(write, &content, &script);
        assert_eq!(result, IoResult::Ok { bytes: 1000 });
        assert!(found == content);
        assert_eq!(attempts, 7);
    }
}

#[test]
fn end_of_file_is_a_short_read() {
    let content = pattern(640, 6);
    let (result, found, _) = scripted(false, &content, &[Attempt::AtMost(100)]);
    assert_eq!(result, IoResult::Partial { bytes: 640 });
    assert!(found[..640] == content && found[640..].iter().all(|&byte| byte == 0));
}

#[test]
fn a_zero_byte_write_is_no_space() {
    let script = [Attempt::AtMost(10), Attempt::AtMost(0)];
    let (result, _, attempts) = scripted(true, &pattern(1000, 7), &script);
    let failure = result.failure().unwrap();
    assert_eq!(failure.errno(), Some(Errno::NOSPC.raw_os_error()));
    assert_eq!(attempts, 2);
}

#[test]
fn interruptions_are_retried_with_a_bound_and_other_errors_not_at_all() {
    let endless = vec![Attempt::Errno(Errno::INTR.raw_os_error()); 1000];
    let (result, _, attempts) = scripted(false, &pattern(1000, 8), &endless);
    assert_eq!(
        result.failure().unwrap().errno(),
        Some(Errno::INTR.raw_os_error())
    );
    assert!((10..1000).contains(&attempts), "{attempts}");
    let broken = [
        Attempt::AtMost(10),
        Attempt::Errno(Errno::IO.raw_os_error()),
    ];
    let (result, _, attempts) = scripted(false, &pattern(1000, 8), &broken);
    assert_eq!(
        result.failure().unwrap().errno(),
        Some(Errno::IO.raw_os_error())
    );
    assert_eq!(attempts, 2);
}
