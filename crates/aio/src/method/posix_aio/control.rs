//! The system's side of method `posix_aio`: control blocks, each at a place
//! that does not move, and the calls on them.
#![expect(unsafe_code, reason = "the calls of POSIX AIO are wrapped here, once")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr::NonNull;
use std::time::Duration;

use crate::descriptor_pool::Lane;
use crate::memory::IoMemory;

/// What one control block is to do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Action {
    Read,
    Write,
    Fsync,
    Fdatasync,
}

/// One control block.
pub(super) struct Control {
    block: NonNull<libc::aiocb>,
    in_flight: bool,
    bytes: usize,
    /// Where it was started, for its user to give back.
    pub(super) lane: Option<Lane>,
}

// SAFETY: the block is owned by this value, and the calls on a block may come
// from any thread.
unsafe impl Send for Control {}

impl Control {
    pub(super) fn new() -> Self {
        // SAFETY: a control block consists of numbers and pointers, for which
        // zero is a value; zero is also what POSIX wants reserved fields to be.
        let block: Box<libc::aiocb> = Box::new(unsafe { std::mem::zeroed() });
        Control {
            block: NonNull::from(Box::leak(block)),
            in_flight: false,
            bytes: 0,
            lane: None,
        }
    }

    /// Starts a transfer of the memory, or a sync.
    ///
    /// # Errors
    /// EAGAIN at a limit, ENOSYS, EBADF: nothing was started.
    ///
    /// # Safety
    /// Descriptor and memory stay in place, the memory readable or writable as
    /// the action demands, until [`Self::finish`].
    ///
    /// # Panics
    /// If what was started before has not been finished.
    pub(super) unsafe fn start(
        &mut self,
        action: Action,
        fd: RawFd,
        offset: u64,
        memory: IoMemory,
    ) -> io::Result<()> {
        assert!(!self.in_flight, "a control block is in use");
        {
            // SAFETY: owned by this value, and nothing is in flight on it.
            let block = unsafe { self.block.as_mut() };
            block.aio_fildes = fd;
            block.aio_offset = offset as libc::off_t;
            block.aio_buf = memory.ptr().cast();
            block.aio_nbytes = memory.len();
            block.aio_sigevent.sigev_notify = libc::SIGEV_NONE;
        }
        let block = self.block.as_ptr();
        let failed = match action {
            // SAFETY: the block stays in place until finished (`Drop`), the
            // rest the caller vouches for.
            Action::Read => unsafe { libc::aio_read(block) },
            // SAFETY: as above.
            Action::Write => unsafe { libc::aio_write(block) },
            // SAFETY: as above; no memory is named.
            Action::Fsync => unsafe { libc::aio_fsync(libc::O_SYNC, block) },
            // SAFETY: as above.
            Action::Fdatasync => unsafe { libc::aio_fsync(libc::O_DSYNC, block) },
        };
        if failed != 0 {
            return Err(io::Error::last_os_error());
        }
        self.in_flight = true;
        self.bytes = memory.len();
        Ok(())
    }

    /// `None` while in progress, else 0 or an errno.
    pub(super) fn status(&self) -> Option<i32> {
        // SAFETY: the block was started and has not been finished: only the
        // owner of this value does either.
        let status = unsafe { libc::aio_error(self.block.as_ptr()) };
        (status != libc::EINPROGRESS).then_some(status)
    }

    /// Blocks until it is no longer in progress.
    pub(super) fn wait(&self) {
        while self.status().is_none() {
            // SAFETY: `self` keeps the block in place and unfinished.
            unsafe { suspend(&[self.as_ptr()], None) };
        }
    }

    /// Takes the result of what is no longer in progress: bytes moved, or an
    /// errno; and how many bytes there were to move.
    ///
    /// # Panics
    /// If nothing was started, or it is in progress.
    pub(super) fn finish(&mut self) -> (Result<usize, i32>, usize) {
        assert!(self.in_flight, "nothing was started on this control block");
        let Some(status) = self.status() else {
            panic!("a control block is in progress")
        };
        self.in_flight = false;
        // SAFETY: started, complete, and asked for once.
        let moved = unsafe { libc::aio_return(self.block.as_ptr()) };
        let outcome = match (status, usize::try_from(moved)) {
            (0, Ok(moved)) => Ok(moved),
            (0, Err(_)) => Err(libc::EIO),
            (errno, _) => Err(errno),
        };
        (outcome, self.bytes)
    }

    pub(super) fn as_ptr(&self) -> *const libc::aiocb {
        self.block.as_ptr()
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // The system may write to a block in progress: better leaked than freed.
        if !self.in_flight {
            // SAFETY: made by `new`, and nothing is in flight on it.
            drop(unsafe { Box::from_raw(self.block.as_ptr()) });
        }
    }
}

/// Blocks until one of the blocks is not in progress, the time is over, or for
/// no reason.
///
/// # Safety
/// Every block stays in place, and is finished by no other thread, meanwhile.
pub(super) unsafe fn suspend(blocks: &[*const libc::aiocb], timeout: Option<Duration>) {
    let timeout = timeout.map(|timeout| {
        // SAFETY: numbers.
        let mut time: libc::timespec = unsafe { std::mem::zeroed() };
        time.tv_sec = timeout.as_secs() as libc::time_t;
        time.tv_nsec = timeout.subsec_nanos().into();
        time
    });
    let timeout = timeout
        .as_ref()
        .map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: as the caller vouches. Interruptions and time-outs end the call
    // as well, so the result says nothing that a look at the blocks does not.
    unsafe { libc::aio_suspend(blocks.as_ptr(), blocks.len() as libc::c_int, timeout) };
}

/// A read there and back, of a file that every system reads asynchronously,
/// else of the one that is always there.
pub(super) fn try_out() -> io::Result<()> {
    let executable = std::env::current_exe().and_then(File::open);
    let file = executable.or_else(|_| File::open("/dev/null"))?;
    let mut byte = [0];
    let mut control = Control::new();
    let memory = IoMemory::new(byte.as_mut_ptr(), 1);
    // SAFETY: file and byte outlive the wait, which nothing comes before.
    unsafe { control.start(Action::Read, file.as_raw_fd(), 0, memory) }?;
    control.wait();
    match control.finish() {
        (Ok(_), _) => Ok(()),
        (Err(errno), _) => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Has glibc execute requests of so many descriptors at once; it has no effect
/// once the process has made its first request.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(super) fn allow_threads(threads: u32) {
    #[repr(C)]
    struct AioInit {
        threads: libc::c_int,
        requests: libc::c_int,
        unused: [libc::c_int; 4],
        idle_time_s: libc::c_int,
        reserved: libc::c_int,
    }
    unsafe extern "C" {
        fn aio_init(init: *const AioInit);
    }
    let init = AioInit {
        threads: threads as libc::c_int,
        requests: 1024,
        unused: [0; 4],
        idle_time_s: 10,
        reserved: 0,
    };
    // SAFETY: laid out as `struct aioinit` of glibc's aio.h, and only read.
    unsafe { aio_init(&init) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) fn allow_threads(_threads: u32) {}
