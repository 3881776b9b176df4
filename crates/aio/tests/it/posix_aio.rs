//! What is method `posix_aio`'s alone: one file's I/Os over several descriptors.

use std::sync::Arc;

use rustix::io::Errno;
use trunkline_aio::{IoReturn, PosixAioConfig, PosixAioMethod, SystemCalls};

use crate::support::{pipe, shared_buf, small, start_read, start_with, start_write, within_limit};

/// The GNU C library executes the requests of one descriptor one after another: with that descriptor
/// alone, the second would wait for what the first waits for.
#[test]
fn an_io_does_not_wait_for_another_on_the_same_file() {
    within_limit(|| {
        let method = PosixAioMethod::new(PosixAioConfig::default(), Arc::new(SystemCalls));
        let aio = start_with(&small(), Arc::new(method.unwrap()));
        let mut context = aio.issuer(1).unwrap();
        let (reader, writer) = pipe();
        let buffer = shared_buf(4);
        let handle = context.acquire().unwrap();
        let read = start_read(handle, &reader, 0, &buffer, &[4]);
        context.submit();
        // Not possible on this end of the pipe, which is known at once.
        let outcome = IoReturn::new();
        let mut handle = context.acquire().unwrap();
        handle.report_to(&outcome);
        let write = start_write(handle, &reader, 0, &shared_buf(4), &[4]);
        context.wait(write);
        let failure = outcome.get().and_then(|result| result.failure()).unwrap();
        assert_eq!(failure.errno(), Some(Errno::BADF.raw_os_error()));
        assert!(!aio.is_complete(read));
        rustix::io::write(writer.descriptor().unwrap(), b"late").unwrap();
        context.wait(read);
        assert_eq!(buffer.lock().unwrap()[..], *b"late");
    });
}
