//! A16, and memory: an I/O in flight keeps its file open and its buffer in
//! place, whatever its issuer lets go of.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use rustix::io::Errno;
use trunkline_aio::AlignedBuf;

use crate::support::{GateMethod, external_file, for_each_method, pipe, small, start_with};

#[test]
fn a_file_closes_when_its_last_io_is_complete() {
    let gate = Arc::new(GateMethod::default());
    let aio = start_with(&small(), gate.clone());
    let mut context = aio.issuer(1).unwrap();
    let (file, closed) = external_file(1);
    let first = context.acquire().unwrap().start_fsync(&file);
    let second = context.acquire().unwrap().start_fdatasync(&file);
    drop(file);
    assert!(!closed.load(SeqCst), "closed while pending");
    context.submit();
    gate.complete_first();
    aio.wait(first);
    assert!(!closed.load(SeqCst), "closed with one I/O in flight");
    gate.open();
    aio.wait(second);
    assert!(
        closed.load(SeqCst),
        "still open after the last wait returned"
    );
}

/// Not only once its issuer takes the handle back.
#[test]
fn what_an_io_kept_alive_is_let_go_when_its_wait_returns() {
    for_each_method(&small(), |aio| {
        let mut context = aio.issuer(1).unwrap();
        let kept = Arc::new(());
        let mut handle = context.acquire().unwrap();
        handle.keep_alive(kept.clone());
        let reference = handle.start_nop();
        assert_eq!(Arc::strong_count(&kept), 2);
        context.submit();
        aio.wait(reference);
        assert_eq!(Arc::strong_count(&kept), 1);
    });
}

#[test]
fn dropping_file_buffer_and_issuer_leaves_the_read_alone() {
    for_each_method(&small(), |aio| {
        if aio.method_name() == "sync" {
            // It would read the pipe inside `submit`, before anything is sent.
            return;
        }
        let (reader, writer) = pipe();
        let send = || rustix::io::write(writer.descriptor().unwrap(), b"late");
        let mut context = aio.issuer(1).unwrap();
        let read = context
            .read_raw(&reader, AlignedBuf::zeroed(4), 0, 4)
            .unwrap();
        let reference = read.wait_ref();
        context.submit();
        drop(read);
        drop(reader);
        drop(context);
        assert!(!aio.is_complete(reference));
        // Somebody still reads the other end.
        assert_eq!(send(), Ok(4));
        aio.wait(reference);
        assert_eq!(send(), Err(Errno::PIPE));
    });
}

#[test]
fn dropping_the_core_waits_for_what_is_in_flight() {
    let gate = Arc::new(GateMethod::default());
    let aio = start_with(&small(), gate.clone());
    let (file, closed) = external_file(1);
    let mut context = aio.issuer(1).unwrap();
    context.acquire().unwrap().start_fsync(&file);
    drop((context, file));
    let opener = std::thread::spawn(move || {
        gate.wait_until_held(1);
        gate.open();
    });
    drop(aio);
    assert!(closed.load(SeqCst), "the core went before its I/O");
    opener.join().unwrap();
}
