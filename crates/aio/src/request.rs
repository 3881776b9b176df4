//! An I/O on its way through a method.
//!
//! [`IoRequest`] is linear: it exists exactly while the I/O is with the
//! method, and only [`Completions`] consumes it. Whoever holds it may
//! therefore use the file and the memory that it names: the I/O keeps both.
#![expect(
    unsafe_code,
    reason = "a request names file and memory that its handle keeps alive"
)]

use std::fmt;
use std::ptr::NonNull;
use std::slice;
use std::sync::Arc;

use arrayvec::ArrayVec;

use crate::file::File;
use crate::handle_table::HandleTable;
use crate::memory::IoMemory;
use crate::operation::Op;
use crate::slot::{Definition, Group};
use crate::state::State;
use crate::wait::WaitRef;

/// Requests in one batch, at most: the length of an issuer's pending list.
pub const SUBMIT_BATCH_LIMIT: usize = 128;

/// One I/O (or the remainder of one) for a [`crate::Method`] to execute. Must
/// end in [`Completions::complete`]; dropping it is a bug that panics, since
/// its I/O could never complete.
pub struct IoRequest {
    /// Address of the table that it belongs to.
    table: usize,
    wait_ref: WaitRef,
    issuer: u32,
    op: Op,
    offset: u64,
    length_bytes: u32,
    memory_count: u32,
    /// Other handles depend on this request.
    has_parts: bool,
    memory: NonNull<IoMemory>,
    file: Option<NonNull<File>>,
}

// SAFETY: file and memory list are only read through the request, both are
// Sync, and the handle keeps them in place whatever thread holds the request.
unsafe impl Send for IoRequest {}

impl IoRequest {
    /// The request for what is left of a defined I/O. The caller is about to
    /// make (or has just made) the handle's state `Submitted`, in which nobody
    /// changes the definition.
    pub(crate) fn new(table: &HandleTable, wait_ref: WaitRef, definition: &Definition) -> Self {
        let (transfer, memory) = match &definition.group {
            Group::Combined(transfer) => (transfer, &definition.remaining),
            Group::Alone | Group::OneByOne if definition.transfer.transferred_bytes == 0 => {
                (&definition.transfer, &definition.memory)
            }
            Group::Alone | Group::OneByOne => (&definition.transfer, &definition.remaining),
        };
        IoRequest {
            table: std::ptr::from_ref(table).addr(),
            wait_ref,
            issuer: table.issuer_of(wait_ref.slot),
            op: transfer.op,
            offset: definition.offset + u64::from(transfer.transferred_bytes),
            length_bytes: transfer.length_bytes - transfer.transferred_bytes,
            memory_count: memory.len() as u32,
            has_parts: definition.group != Group::Alone,
            memory: NonNull::from(memory.as_slice()).cast(),
            file: definition.file.as_deref().map(NonNull::from),
        }
    }

    /// The I/O that this is (a part of).
    pub fn wait_ref(&self) -> WaitRef {
        self.wait_ref
    }

    /// Index of the issuer, below [`crate::AioConfig::max_issuers`].
    pub fn issuer(&self) -> u32 {
        self.issuer
    }

    /// The operation.
    pub fn op(&self) -> Op {
        self.op
    }

    /// Where in the file, in bytes.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// How many bytes are to be moved.
    pub fn length_bytes(&self) -> u32 {
        self.length_bytes
    }

    /// The file; `None` for [`Op::Nop`] only.
    pub fn file(&self) -> Option<&File> {
        // SAFETY: the handle's definition holds an Arc of the file and is not
        // changed while this request exists.
        self.file.map(|file| unsafe { file.as_ref() })
    }

    /// The memory, at most [`crate::MAX_MEMORY_PIECES`] pieces. The list itself
    /// stays in place until the request is completed.
    pub fn memory(&self) -> &[IoMemory] {
        // SAFETY: points into the definition's list, which is not changed
        // while this request exists.
        unsafe { slice::from_raw_parts(self.memory.as_ptr(), self.memory_count as usize) }
    }

    /// Copies what a read found into the request's memory, from byte `at` on:
    /// for methods that do not let the kernel do it.
    ///
    /// # Panics
    /// If the request is not a read, or the bytes do not fit.
    pub fn copy_in(&mut self, at: usize, bytes: &[u8]) {
        assert_eq!(self.op, Op::Readv, "only a read fills memory");
        let mut rest = bytes;
        self.for_each_piece(at, bytes.len(), |piece| {
            let (now, later) = rest.split_at(piece.len());
            // SAFETY: whoever started the read vouched that the memory is
            // writable and used by nothing else until the I/O completes.
            unsafe {
                piece
                    .ptr()
                    .copy_from_nonoverlapping(now.as_ptr(), now.len())
            };
            rest = later;
        });
    }

    /// Copies what a write is to write out of the request's memory, from byte
    /// `at` on.
    ///
    /// # Panics
    /// If the request is not a write, or has fewer bytes.
    pub fn copy_out(&self, at: usize, bytes: &mut [u8]) {
        assert_eq!(self.op, Op::Writev, "only a write empties memory");
        let length = bytes.len();
        let mut rest = bytes;
        self.for_each_piece(at, length, |piece| {
            let (now, later) = std::mem::take(&mut rest).split_at_mut(piece.len());
            // SAFETY: whoever started the write vouched that the memory is
            // readable and does not change until the I/O completes.
            unsafe {
                piece
                    .ptr()
                    .copy_to_nonoverlapping(now.as_mut_ptr(), now.len())
            };
            rest = later;
        });
    }

    fn for_each_piece(&self, at: usize, length: usize, mut visit: impl FnMut(IoMemory)) {
        assert!(
            at.checked_add(length)
                .is_some_and(|end| end <= self.length_bytes as usize),
            "{length} bytes at {at} of a request of {} bytes",
            self.length_bytes
        );
        let (mut skip, mut left) = (at, length);
        for piece in self.memory() {
            let skipped = skip.min(piece.len());
            skip -= skipped;
            let usable = piece.skip(skipped);
            let taken = left.min(usable.len());
            if taken > 0 {
                visit(IoMemory::new(usable.ptr(), taken));
                left -= taken;
            }
        }
    }

    /// Turns the request into a number that a kernel can carry; undone by
    /// [`Completions::from_token`]. Forgetting the number leaks the I/O, which
    /// is safe, and makes its waiters wait for ever.
    pub fn into_token(self) -> u64 {
        let slot = self.wait_ref.slot;
        std::mem::forget(self);
        slot.into()
    }
}

impl fmt::Debug for IoRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IoRequest")
            .field("wait_ref", &self.wait_ref)
            .field("op", &self.op)
            .field("offset", &self.offset)
            .field("length_bytes", &self.length_bytes)
            .finish_non_exhaustive()
    }
}

impl Drop for IoRequest {
    fn drop(&mut self) {
        panic!("an I/O request was dropped instead of completed: {self:?}");
    }
}

/// The requests of one submission, in the order in which they were defined
/// (a group of neighbours at the place of the first in the file). An iterator;
/// a method takes all of them.
pub struct RequestBatch {
    /// The next one last.
    pub(crate) requests: ArrayVec<IoRequest, SUBMIT_BATCH_LIMIT>,
}

impl RequestBatch {
    /// Adds requests in order; [`Self::finish`] comes after the last.
    pub(crate) fn push(&mut self, request: IoRequest) {
        self.requests.push(request);
    }

    pub(crate) fn finish(&mut self) {
        self.requests.reverse();
    }
}

impl Iterator for RequestBatch {
    type Item = IoRequest;

    fn next(&mut self) -> Option<IoRequest> {
        self.requests.pop()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.requests.len();
        (left, Some(left))
    }
}

impl ExactSizeIterator for RequestBatch {}

/// The way back from a method to the AIO core. Cheap to clone; knows on whose
/// behalf I/Os are completed, for the statistics.
#[derive(Clone)]
pub struct Completions {
    table: Arc<HandleTable>,
    completer: Option<u32>,
}

impl Completions {
    pub(crate) fn new(table: Arc<HandleTable>, completer: Option<u32>) -> Self {
        Completions { table, completer }
    }

    pub(crate) fn table(&self) -> &Arc<HandleTable> {
        &self.table
    }

    /// Ends an attempt with the number of bytes moved, or a negated errno.
    /// When the I/O is over, runs its shared callbacks and wakes its waiters;
    /// else returns what is to be submitted again, by the same method.
    #[must_use = "the remainder of a short transfer must be submitted again"]
    pub fn complete(&self, request: IoRequest, outcome: i32) -> Option<IoRequest> {
        self.reap(request, outcome).finish(self)
    }

    /// The first half of [`Self::complete`]: from here on the I/O is known to
    /// be in the hands of this thread, not of the kernel.
    pub fn reap(&self, request: IoRequest, outcome: i32) -> ReapedIo {
        let IoRequest {
            table,
            wait_ref,
            has_parts,
            ..
        } = request;
        self.check(table);
        std::mem::forget(request);
        if has_parts {
            self.table.reap_parts(wait_ref);
        } else {
            let slot = self.table.slot(wait_ref.slot);
            slot.word
                .transition(wait_ref.generation, State::Submitted, State::CompletedIo);
        }
        ReapedIo {
            table,
            wait_ref,
            has_parts,
            outcome,
        }
    }

    /// Whether a request is one of this AIO core, and so may be completed
    /// here: for methods that serve several.
    pub fn serves(&self, request: &IoRequest) -> bool {
        request.table == Arc::as_ptr(&self.table).addr()
    }

    /// # Panics
    /// If a request of another AIO core was brought here.
    fn check(&self, table: usize) {
        assert_eq!(
            table,
            Arc::as_ptr(&self.table).addr(),
            "an I/O of another AIO core"
        );
    }

    /// Undoes [`IoRequest::into_token`].
    ///
    /// # Safety
    /// `token` came from a request of the same AIO core, and no request has
    /// been made from it since.
    pub unsafe fn from_token(&self, token: u64) -> IoRequest {
        self.table.submitted_request(token as u32)
    }

    /// A view of a submitted I/O, to wait for it.
    pub fn in_flight(&self, wait_ref: WaitRef) -> InFlight<'_> {
        InFlight {
            completions: self,
            wait_ref,
        }
    }
}

/// An I/O with a result, between [`Completions::reap`] and the end of its
/// shared callbacks. Linear like [`IoRequest`].
#[must_use = "a reaped I/O must be finished"]
#[derive(Debug)]
pub struct ReapedIo {
    table: usize,
    wait_ref: WaitRef,
    has_parts: bool,
    outcome: i32,
}

impl ReapedIo {
    /// The second half of [`Completions::complete`].
    #[must_use = "the remainder of a short transfer must be submitted again"]
    pub fn finish(self, completions: &Completions) -> Option<IoRequest> {
        let ReapedIo {
            table,
            wait_ref,
            has_parts,
            outcome,
        } = self;
        completions.check(table);
        std::mem::forget(self);
        let (table, completer) = (&completions.table, completions.completer);
        if has_parts {
            table.finish_group(wait_ref, outcome, completer)
        } else {
            table.finish(wait_ref, outcome, completer)
        }
    }
}

impl Drop for ReapedIo {
    fn drop(&mut self) {
        panic!("a reaped I/O was dropped instead of finished: {self:?}");
    }
}

/// An I/O that somebody waits for, as a method sees it.
#[derive(Clone, Copy)]
pub struct InFlight<'a> {
    completions: &'a Completions,
    wait_ref: WaitRef,
}

impl<'a> InFlight<'a> {
    /// The I/O.
    pub fn wait_ref(&self) -> WaitRef {
        self.wait_ref
    }

    /// Index of its issuer.
    pub fn issuer(&self) -> u32 {
        self.completions.table.issuer_of(self.wait_ref.slot)
    }

    /// The I/O whose request carries this one: another than itself if they
    /// were combined.
    pub fn carrier(&self) -> WaitRef {
        self.completions.table.carrier_of(self.wait_ref)
    }

    /// Whether the shared callbacks have run (or the handle is reused already).
    pub fn is_complete(&self) -> bool {
        self.completions.table.is_complete(self.wait_ref)
    }

    /// Whether it is with the method, rather than in the hands of a thread
    /// that has reaped it.
    pub fn is_submitted(&self) -> bool {
        self.completions.table.status(self.wait_ref) == Some(State::Submitted)
    }

    /// Where to complete I/Os on behalf of the waiter.
    pub fn completions(&self) -> &'a Completions {
        self.completions
    }

    /// Blocks until the I/O is complete, for methods whose I/Os complete by
    /// themselves.
    pub fn park(&self) {
        self.park_until(|| false);
    }

    /// Blocks until the I/O is complete or `ready` says true. Whoever makes
    /// `ready` true unparks the thread ([`std::thread::Thread::unpark`]).
    pub fn park_until(&self, ready: impl FnMut() -> bool) {
        self.completions
            .table
            .park(self.wait_ref, |state| state.is_none(), ready);
    }
}
