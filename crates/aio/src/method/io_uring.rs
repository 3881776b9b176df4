//! Method `io_uring`: the kernel executes the I/Os, through a few rings that
//! all threads share.
//!
//! Why: a batch is one system call, and nothing is handed between threads.
//! Limits: needs Linux 5.6, and rights that containers often withhold; the
//! rings count against the limit on locked memory. Fall-back: `worker`,
//! chosen at start when a ring cannot be made or a first no-op through it
//! fails.
//!
//! Neither `DEFER_TASKRUN` nor `COOP_TASKRUN` nor `SINGLE_ISSUER` is set: with
//! them a completion would appear only when the submitting thread enters the
//! kernel, which may be blocked on a lock that the waiter holds (A6).
//!
//! # Submission
//! One mutex per ring guards the submission queue. A batch is pushed and made
//! known to the kernel in one call. The completion queue has an entry for
//! every handle of every issuer that uses the ring, so it cannot overflow.
//!
//! Memory that was registered ([`crate::Aio::register_memory`]) is named by its
//! entry in the ring's table, for direct I/O: the kernel need not look up and pin
//! its pages again. The first ring pins it, the others share that where the kernel
//! can clone tables (6.13), else pin it once more. Where the limit on locked memory does not
//! allow it, I/Os name the memory by address, as all other memory.
//!
//! # Waiting
//! Threads that wait for I/Os of a ring take turns at its completion queue:
//! [`super::turn`].
//! The lock of the list of registered memory comes before a ring's submission
//! lock.
#![expect(unsafe_code, reason = "the io_uring crate is wrapped here, once")]

mod registered;

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};

use io_uring::types::{CloneBuffersFlags, Fd, FsyncFlags};
use io_uring::{EnterFlags, IoUring, Probe, opcode, squeue};

use crate::memory::IoMemory;
use crate::method::Method;
use crate::method::turn::{CompletionQueue, Turns};
use crate::operation::Op;
use crate::request::{Completions, InFlight, IoRequest, ReapedIo, RequestBatch};

use crate::sync::{Condvar, Mutex, lock};
use crate::wait::WaitRef;

use registered::{ENTRIES, Regions, chunks, limit_allows, populate};

/// Entries of a submission queue.
const SUBMISSION_ENTRIES: u32 = 256;

/// The kernel's limit on entries of a completion queue.
const COMPLETION_ENTRIES_LIMIT: u32 = 65_536;

/// More rings than this do not help: a ring's turn is short.
const RINGS_WANTED: u32 = 4;

/// From this length on, a buffered read goes to the kernel's own threads:
/// otherwise the copying would be done by the issuer, one read after another.
/// Below it the hand-over costs more than half of what the copying does.
const ASYNC_READ_BYTES: u32 = 64 * 1024;

/// Number and size of the rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingConfig {
    /// Number of rings.
    pub rings: u32,
    /// I/Os in flight on one ring, at most.
    pub in_flight_limit: u32,
}

impl RingConfig {
    /// Enough rings for so many issuers with so many handles each.
    pub fn for_load(issuers: u32, handles_per_issuer: u32) -> Self {
        let per_ring_limit = (COMPLETION_ENTRIES_LIMIT / handles_per_issuer).max(1);
        let needed = issuers.div_ceil(per_ring_limit);
        let rings = RINGS_WANTED.min(issuers).max(needed);
        RingConfig {
            rings,
            in_flight_limit: issuers.div_ceil(rings) * handles_per_issuer,
        }
    }
}

/// See the module.
pub struct IoUringMethod {
    rings: Box<[Arc<Ring>]>,
    completions: OnceLock<Completions>,
    /// What is registered with the first ring; the others have this or less.
    registered: Mutex<Regions>,
}

impl IoUringMethod {
    /// Makes the rings and sends a no-op through each.
    ///
    /// # Errors
    /// EPERM, ENOSYS, ENOMEM, EMFILE: io_uring is forbidden, missing, or over a
    /// limit. `Unsupported`: the kernel is too old.
    pub fn new(config: RingConfig) -> io::Result<Self> {
        let rings = (0..config.rings).map(|_| Ring::new(config.in_flight_limit).map(Arc::new));
        Ok(IoUringMethod {
            rings: rings.collect::<io::Result<_>>()?,
            completions: OnceLock::new(),
            registered: Mutex::default(),
        })
    }

    /// How many rings know memory at this place: for tests and curiosity.
    pub fn rings_that_know(&self, memory: IoMemory) -> usize {
        let knows = |ring: &&Arc<Ring>| lock(&ring.submission).entry_of(&[memory]).is_some();
        self.rings.iter().filter(knows).count()
    }

    fn ring(&self, issuer: u32) -> &Arc<Ring> {
        &self.rings[issuer as usize % self.rings.len()]
    }
}

impl Method for IoUringMethod {
    fn name(&self) -> &'static str {
        "io_uring"
    }

    fn start(&self, completions: &Completions) {
        let first = self.completions.set(completions.clone()).is_ok();
        assert!(first, "a method serves one AIO core");
    }

    fn submit(&self, batch: &mut RequestBatch, _completions: &Completions) {
        // A batch is one issuer's, so one ring's.
        let mut batch = batch.peekable();
        if let Some(issuer) = batch.peek().map(IoRequest::issuer) {
            self.ring(issuer).submit(batch);
        }
    }

    fn wait(&self, io: &InFlight<'_>) {
        self.ring(io.issuer()).wait(io, &|| false);
    }

    fn wait_until(&self, io: &InFlight<'_>, ready: &dyn Fn() -> bool) {
        self.ring(io.issuer()).wait(io, ready);
    }

    fn drive(&self, io: &InFlight<'_>) {
        let Some(completions) = self.completions.get() else {
            return;
        };
        self.ring(io.issuer()).drive(io.wait_ref(), completions);
    }

    fn ring_of(&self, issuer: u32) -> Option<u32> {
        Some(issuer % self.rings.len() as u32)
    }

    fn completion_descriptor(&self, ring: u32) -> Option<BorrowedFd<'_>> {
        self.rings.get(ring as usize).map(|ring| ring.descriptor())
    }

    fn reap(&self, ring: u32) -> bool {
        match (self.rings.get(ring as usize), self.completions.get()) {
            (Some(ring), Some(completions)) => ring.turns.reap(completions, ring.as_ref()),
            _ => false,
        }
    }

    fn set_watched(&self, ring: u32, is_watched: bool) {
        if let Some(ring) = self.rings.get(ring as usize) {
            if is_watched {
                ring.watchers.fetch_add(1, SeqCst);
            } else {
                ring.watchers.fetch_sub(1, SeqCst);
            }
        }
    }

    fn register_memory(&self, memory: IoMemory) -> bool {
        let mut registered = lock(&self.registered);
        let Some(entries) = registered.free_entries(memory) else {
            tracing::warn!(
                bytes = memory.len(),
                "memory for I/O is not registered: it is already, or there is too much"
            );
            return false;
        };
        if !limit_allows(memory) {
            let bytes = memory.len();
            tracing::warn!(bytes, "memory for I/O is not registered: raise ulimit -l");
            return false;
        }
        populate(memory);
        let (mut cloned, mut source) = (0, None);
        for ring in &self.rings {
            let is_clone = source.is_some_and(|source| ring.clone_table(source, &entries).is_ok());
            if !is_clone && let Err(error) = ring.pin(memory, &entries) {
                tracing::warn!(
                    bytes = memory.len(),
                    %error,
                    "memory for I/O is not registered: raise ulimit -l"
                );
                break;
            }
            cloned += u32::from(is_clone);
            source = source.or(Some(ring));
            lock(&ring.submission).add(memory, entries.clone());
        }
        if source.is_some() {
            tracing::info!(
                bytes = memory.len(),
                rings = self.rings_that_know(IoMemory::new(memory.ptr(), 1)),
                cloned,
                "registered memory for I/O"
            );
            registered.add(memory, entries);
        }
        source.is_some()
    }

    fn forget_memory(&self, memory: IoMemory) {
        let mut registered = lock(&self.registered);
        if registered.remove(memory).is_none() {
            return;
        }
        for ring in &self.rings {
            // From here on no I/O names the entries; what is in flight keeps
            // its memory pinned.
            let entries = lock(&ring.submission).remove(memory);
            if let Some(entries) = entries
                && let Err(error) = ring.unpin(&entries)
            {
                tracing::warn!(%error, "could not give registered memory back");
            }
        }
    }

    fn shutdown(&self) {
        for ring in &self.rings {
            ring.stop_completer();
        }
    }
}

impl Drop for IoUringMethod {
    fn drop(&mut self) {
        self.shutdown();
    }
}

struct Ring {
    uring: IoUring,
    /// The right to use the submission queue, and what its entries may name.
    submission: Mutex<Regions>,
    /// Whether I/Os on registered memory may be vectored (Linux 6.15).
    vectored_fixed: bool,
    /// The ring has a table to register memory in.
    has_table: Mutex<bool>,
    turns: Turns,
    completer: Mutex<Completer>,
    completer_work: Condvar,
    /// An event loop reaps what nobody waits for: the completer need not.
    watchers: AtomicU32,
}

/// The thread that waits on behalf of tasks, and for I/Os that were left
/// alone; started with the first of them.
#[derive(Default)]
struct Completer {
    awaited: VecDeque<WaitRef>,
    thread: Option<JoinHandle<()>>,
    idle: bool,
    stopping: bool,
}

impl Ring {
    fn new(in_flight_limit: u32) -> io::Result<Self> {
        let mut builder = IoUring::builder();
        let completion_entries = in_flight_limit.next_power_of_two().max(2);
        let submission_entries = SUBMISSION_ENTRIES.min(completion_entries);
        builder.setup_cqsize(completion_entries);
        let uring: IoUring = builder.build(submission_entries)?;
        if uring.params().cq_entries() < in_flight_limit {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the kernel made the completion queue smaller than asked for",
            ));
        }
        let mut probe = Probe::new();
        uring.submitter().register_probe(&mut probe)?;
        let needed = [
            opcode::Nop::CODE,
            opcode::Read::CODE,
            opcode::Write::CODE,
            opcode::Readv::CODE,
            opcode::Writev::CODE,
            opcode::Fsync::CODE,
            opcode::SyncFileRange::CODE,
        ];
        let complete = uring.params().is_feature_nodrop()
            && uring.params().is_feature_submit_stable()
            && uring.params().is_feature_rw_cur_pos();
        if !complete || needed.into_iter().any(|code| !probe.is_supported(code)) {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the kernel is too old",
            ));
        }
        let mut ring = Ring {
            uring,
            submission: Mutex::default(),
            vectored_fixed: probe.is_supported(opcode::ReadvFixed::CODE)
                && probe.is_supported(opcode::WritevFixed::CODE),
            has_table: Mutex::new(false),
            turns: Turns::default(),
            completer: Mutex::default(),
            completer_work: Condvar::new(),
            watchers: AtomicU32::new(0),
        };
        ring.try_out()?;
        Ok(ring)
    }

    /// A no-op there and back: a seccomp profile may forbid the one system
    /// call and allow the other.
    fn try_out(&mut self) -> io::Result<()> {
        // SAFETY: a no-op names no memory.
        let pushed = unsafe { self.uring.submission().push(&opcode::Nop::new().build()) };
        pushed.map_err(io::Error::other)?;
        self.uring.submit_and_wait(1)?;
        match self.uring.completion().next() {
            Some(entry) if entry.result() == 0 => Ok(()),
            other => Err(io::Error::other(format!("a no-op came back as {other:?}"))),
        }
    }

    /// The table, made with the first memory that is registered.
    fn make_table(&self) -> io::Result<()> {
        let mut has_table = lock(&self.has_table);
        if !*has_table {
            let submitter = self.uring.submitter();
            submitter.register_buffers_sparse(ENTRIES.into())?;
            *has_table = true;
        }
        Ok(())
    }

    /// Has the kernel pin memory and remember it.
    fn pin(&self, memory: IoMemory, entries: &Range<u16>) -> io::Result<()> {
        self.make_table()?;
        let iovecs: Vec<_> = chunks(memory).iter().map(IoMemory::iovec).collect();
        self.update(entries.start, &iovecs).inspect_err(|_| {
            // Some of it may be pinned.
            let _ = self.unpin(entries);
        })
    }

    /// Shares what another ring has pinned.
    fn clone_table(&self, source: &Ring, entries: &Range<u16>) -> io::Result<()> {
        self.make_table()?;
        self.uring.submitter().register_buffers_clone_offset(
            source.uring.as_raw_fd(),
            entries.start.into(),
            entries.start.into(),
            entries.len() as u32,
            CloneBuffersFlags::DST_REPLACE,
        )
    }

    fn unpin(&self, entries: &Range<u16>) -> io::Result<()> {
        let nothing = IoMemory::new(std::ptr::null_mut(), 0).iovec();
        self.update(entries.start, &vec![nothing; entries.len()])
    }

    fn update(&self, first: u16, iovecs: &[libc::iovec]) -> io::Result<()> {
        let submitter = self.uring.submitter();
        // SAFETY: the kernel pins the pages that it finds, so that it touches
        // no others even if the memory should go; whoever registers it sees
        // that it is forgotten before.
        unsafe { submitter.register_buffers_update(first.into(), iovecs, None) }
    }

    /// Hands requests to the kernel, in as few system calls as the submission
    /// queue allows.
    fn submit(&self, requests: impl Iterator<Item = IoRequest>) {
        let guard = lock(&self.submission);
        for request in requests {
            let entry = self.entry_for(&request, &guard);
            let entry = entry.user_data(request.into_token());
            // SAFETY: the submission lock is held, so this is the only view of
            // the queue.
            let mut queue = unsafe { self.uring.submission_shared() };
            if queue.is_full() {
                drop(queue);
                self.enter_submissions();
                // SAFETY: as above; the view before is gone.
                queue = unsafe { self.uring.submission_shared() };
            }
            // SAFETY: the entry names memory and a file that stay in place
            // until the request made from its token is completed.
            let pushed = unsafe { queue.push(&entry) };
            assert!(pushed.is_ok(), "the kernel left the submission queue full");
        }
        self.enter_submissions();
        drop(guard);
    }

    /// The kernel's form of a request.
    fn entry_for(&self, request: &IoRequest, registered: &Regions) -> squeue::Entry {
        let Some(file) = request.file() else {
            return opcode::Nop::new().build();
        };
        // An external file has no descriptor; the kernel answers EBADF to -1.
        let fd = Fd(file
            .descriptor()
            .map_or(-1, |descriptor| descriptor.as_raw_fd()));
        // A pipe has no offsets: the kernel takes -1 for the current position.
        let offset = if file.is_seekable() {
            request.offset()
        } else {
            u64::MAX
        };
        let pieces = request.memory();
        if file.direct().is_some() {
            let usable = pieces.len() == 1 || self.vectored_fixed;
            let index = usable.then(|| registered.entry_of(pieces)).flatten();
            return index
                .and_then(|index| entry_by_index(request, fd, offset, index))
                .unwrap_or_else(|| entry_by_address(request, fd, offset));
        }
        let entry = entry_by_address(request, fd, offset);
        if request.op() == Op::Readv && request.length_bytes() >= ASYNC_READ_BYTES {
            entry.flags(squeue::Flags::ASYNC)
        } else {
            entry
        }
    }

    /// Makes the kernel take everything in the submission queue; the
    /// submission lock is held.
    fn enter_submissions(&self) {
        loop {
            // SAFETY: the submission lock is held by the caller, so this is
            // the only view of the queue.
            let queue = unsafe { self.uring.submission_shared() };
            if queue.is_empty() {
                return;
            }
            drop(queue);
            match self.uring.submit() {
                Ok(_) => {}
                // Short of memory for the moment; what is in flight frees some.
                Err(error) if is_transient(&error) => thread::yield_now(),
                Err(error) => panic!("io_uring refused a submission: {error}"),
            }
        }
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        // SAFETY: the ring has it open for as long as it lives.
        unsafe { BorrowedFd::borrow_raw(self.uring.as_raw_fd()) }
    }

    /// Returns when the I/O is complete, or `ready` says true.
    fn wait(&self, io: &InFlight<'_>, ready: &dyn Fn() -> bool) {
        self.turns.wait(io, self, ready);
    }

    /// Has the completer wait for an I/O.
    fn drive(self: &Arc<Self>, wait_ref: WaitRef, completions: &Completions) {
        // After the submission: see the end of a `CompletionSource`.
        if self.watchers.load(SeqCst) > 0 {
            return;
        }
        let mut completer = lock(&self.completer);
        completer.awaited.push_back(wait_ref);
        if completer.thread.is_none() && !completer.stopping {
            let (ring, completions) = (Arc::clone(self), completions.clone());
            let spawned = thread::Builder::new()
                .name("io completer".to_owned())
                .spawn(move || ring.complete_awaited(&completions));
            match spawned {
                Ok(thread) => completer.thread = Some(thread),
                Err(error) => tracing::error!(%error, "could not start an I/O completer"),
            }
        }
        if completer.idle {
            self.completer_work.notify_one();
        }
    }

    /// The completer's life.
    fn complete_awaited(&self, completions: &Completions) {
        let mut completer = lock(&self.completer);
        loop {
            if let Some(wait_ref) = completer.awaited.pop_front() {
                drop(completer);
                self.wait(&completions.in_flight(wait_ref), &|| false);
                completer = lock(&self.completer);
            } else if completer.stopping {
                return;
            } else {
                completer.idle = true;
                completer = self
                    .completer_work
                    .wait(completer)
                    .unwrap_or_else(PoisonError::into_inner);
                completer.idle = false;
            }
        }
    }

    fn stop_completer(&self) {
        let thread = {
            let mut completer = lock(&self.completer);
            completer.stopping = true;
            completer.thread.take()
        };
        self.completer_work.notify_all();
        if let Some(thread) = thread
            && thread.thread().id() != thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("an I/O completer ended by a panic");
        }
    }
}

impl CompletionQueue for Ring {
    fn pop(&self, completions: &Completions, reaped: &mut [Option<ReapedIo>]) -> usize {
        // SAFETY: only the thread that has the turn looks at the queue.
        let mut queue = unsafe { self.uring.completion_shared() };
        let mut count = 0;
        for place in reaped {
            let Some(entry) = queue.next() else { break };
            // SAFETY: the kernel returns each token once, and only tokens
            // that `submit` made.
            let request = unsafe { completions.from_token(entry.user_data()) };
            *place = Some(completions.reap(request, entry.result()));
            count += 1;
        }
        count
    }

    fn block_for_completion(&self) {
        // SAFETY: no signal mask is passed.
        let entered = unsafe {
            self.uring
                .submitter()
                .enter::<libc::sigset_t>(0, 1, EnterFlags::GETEVENTS.bits(), None)
        };
        match entered {
            Ok(_) => {}
            Err(error) if is_transient(&error) => {}
            Err(error) => panic!("io_uring refused to wait: {error}"),
        }
    }

    fn submit_again(&self, remainder: IoRequest) {
        self.submit(std::iter::once(remainder));
    }
}

/// Whether a system call on a ring is worth repeating.
fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINTR | libc::EAGAIN | libc::EBUSY)
    )
}

/// The kernel's form of a request that names its memory by address.
fn entry_by_address(request: &IoRequest, fd: Fd, offset: u64) -> squeue::Entry {
    let pieces = request.memory();
    let iovec = pieces.as_ptr().cast::<libc::iovec>();
    let count = pieces.len() as u32;
    match (request.op(), pieces) {
        (Op::Nop, _) => opcode::Nop::new().build(),
        (Op::Readv, [piece]) => opcode::Read::new(fd, piece.ptr(), piece.len() as u32)
            .offset(offset)
            .build(),
        (Op::Readv, _) => opcode::Readv::new(fd, iovec, count).offset(offset).build(),
        (Op::Writev, [piece]) => opcode::Write::new(fd, piece.ptr(), piece.len() as u32)
            .offset(offset)
            .build(),
        (Op::Writev, _) => opcode::Writev::new(fd, iovec, count).offset(offset).build(),
        (Op::Fsync, _) => opcode::Fsync::new(fd).build(),
        (Op::FlushRange, _) => opcode::SyncFileRange::new(fd, request.length_bytes())
            .offset(offset)
            .flags(libc::SYNC_FILE_RANGE_WRITE)
            .build(),
        (Op::Fdatasync, _) => opcode::Fsync::new(fd).flags(FsyncFlags::DATASYNC).build(),
    }
}

/// The kernel's form of a transfer whose memory is registered.
fn entry_by_index(request: &IoRequest, fd: Fd, offset: u64, index: u16) -> Option<squeue::Entry> {
    let pieces = request.memory();
    let iovec = pieces.as_ptr().cast::<libc::iovec>();
    let count = pieces.len() as u32;
    match (request.op(), pieces) {
        (Op::Readv, [piece]) => {
            let entry = opcode::ReadFixed::new(fd, piece.ptr(), piece.len() as u32, index);
            Some(entry.offset(offset).build())
        }
        (Op::Readv, _) => {
            let entry = opcode::ReadvFixed::new(fd, iovec, count, index);
            Some(entry.offset(offset).build())
        }
        (Op::Writev, [piece]) => {
            let entry = opcode::WriteFixed::new(fd, piece.ptr(), piece.len() as u32, index);
            Some(entry.offset(offset).build())
        }
        (Op::Writev, _) => {
            let entry = opcode::WritevFixed::new(fd, iovec, count, index);
            Some(entry.offset(offset).build())
        }
        (Op::Nop | Op::Fsync | Op::Fdatasync | Op::FlushRange, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_are_few_and_hold_every_handle() {
        for (issuers, handles) in [(1, 1), (3, 64), (128, 64), (1000, 1024), (65_536, 1024)] {
            let config = RingConfig::for_load(issuers, handles);
            assert!(
                config.in_flight_limit <= COMPLETION_ENTRIES_LIMIT,
                "{config:?}"
            );
            assert!(
                config.rings * config.in_flight_limit >= issuers * handles,
                "{config:?}"
            );
        }
        assert_eq!(
            RingConfig::for_load(128, 64),
            RingConfig {
                rings: 4,
                in_flight_limit: 2048
            }
        );
        assert_eq!(RingConfig::for_load(1, 64).rings, 1);
    }
}
