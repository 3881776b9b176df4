//! Executing one request by system calls, for the methods that have threads
//! to do so.
#![expect(unsafe_code, reason = "vectored I/O on memory named by address")]

use std::os::fd::AsRawFd;
#[cfg(target_vendor = "apple")]
use std::os::fd::BorrowedFd;

use crate::operation::Op;
use crate::request::IoRequest;

/// Executes requests on the calling thread. A seam of its own, so that faults
/// can be injected under the methods `sync` and `worker`.
pub trait Executor: Send + Sync {
    /// Makes one attempt: the number of bytes moved, or a negated errno.
    fn execute(&self, request: &IoRequest) -> i32;
}

/// The operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemCalls;

impl Executor for SystemCalls {
    fn execute(&self, request: &IoRequest) -> i32 {
        if request.op() == Op::Nop {
            return 0;
        }
        let Some(descriptor) = request.file().and_then(|file| file.descriptor()) else {
            return -libc::EBADF;
        };
        let seekable = request.file().is_some_and(|file| file.is_seekable());
        let fd = descriptor.as_raw_fd();
        // A pipe has no offsets: -1 stands for the current position.
        let offset = if seekable {
            request.offset() as libc::off_t
        } else {
            -1
        };
        let pieces = request.memory();
        let iovec = pieces.as_ptr().cast::<libc::iovec>();
        let count = pieces.len() as libc::c_int;
        let moved = match request.op() {
            // SAFETY: `IoMemory` is a transparent iovec, and the request
            // vouches for list and memory while it exists.
            Op::Readv if seekable => unsafe { libc::preadv(fd, iovec, count, offset) },
            // SAFETY: as above.
            Op::Readv => unsafe { libc::readv(fd, iovec, count) },
            // SAFETY: as above; the memory is only read.
            Op::Writev if seekable => unsafe { libc::pwritev(fd, iovec, count, offset) },
            // SAFETY: as above.
            Op::Writev => unsafe { libc::writev(fd, iovec, count) },
            Op::Fsync => return errno_of(fsync(descriptor)),
            Op::Fdatasync => return errno_of(fdatasync(descriptor)),
            Op::FlushRange => {
                return flush_range(fd, request.offset(), request.length_bytes());
            }
            Op::Nop => 0,
        };
        if moved < 0 {
            let error = std::io::Error::last_os_error();
            return -error.raw_os_error().unwrap_or(libc::EIO);
        }
        // One I/O moves less than 2 GiB, see `MAX_IO_BYTES`.
        moved as i32
    }
}

/// Starts write-back, where the system has a call for that; the next sync does
/// it elsewhere.
fn flush_range(fd: libc::c_int, offset: u64, length_bytes: u32) -> i32 {
    #[cfg(target_os = "linux")]
    {
        let (offset, length) = (offset as libc::off64_t, libc::off64_t::from(length_bytes));
        // SAFETY: names no memory.
        let failed =
            unsafe { libc::sync_file_range(fd, offset, length, libc::SYNC_FILE_RANGE_WRITE) };
        if failed != 0 {
            let error = std::io::Error::last_os_error();
            return -error.raw_os_error().unwrap_or(libc::EIO);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (fd, offset, length_bytes);
    0
}

/// Durable means: on the disk, not in its cache. On Apple's systems only
/// `F_FULLFSYNC` asks for that.
#[cfg(target_vendor = "apple")]
fn fsync(descriptor: BorrowedFd<'_>) -> rustix::io::Result<()> {
    rustix::fs::fcntl_fullfsync(descriptor)
}

#[cfg(target_vendor = "apple")]
fn fdatasync(descriptor: BorrowedFd<'_>) -> rustix::io::Result<()> {
    fsync(descriptor)
}

#[cfg(not(target_vendor = "apple"))]
use rustix::fs::{fdatasync, fsync};

fn errno_of(result: rustix::io::Result<()>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(errno) => -errno.raw_os_error(),
    }
}
