//! A handle that is handed out and not yet defined.
#![expect(
    unsafe_code,
    reason = "starting an I/O trusts the caller with the memory's lifetime"
)]

use std::any::Any;
use std::sync::Arc;

use crate::bounce::BounceBuffer;
use crate::callback::{CallbackId, LocalCallback};
use crate::file::File;
use crate::issuer::IoContext;
use crate::memory::IoMemory;
use crate::operation::{Op, TargetTag};
use crate::result::IoReturn;
use crate::slot::Definition;
use crate::state::State;
use crate::sync::lock;
use crate::transfer::Transfer;
use crate::wait::WaitRef;

/// Pieces of memory of one I/O, at most.
pub const MAX_MEMORY_PIECES: usize = 128;

/// Bytes of one I/O, at most: what one system call moves at most, rounded
/// down to stay aligned.
pub const MAX_IO_BYTES: usize = 0x7fff_0000;

/// A handle on its way down through the layers: each adds what it knows, the
/// lowest starts the operation. Dropping it releases it unused.
///
/// Callbacks are added from the upper layer to the lower, and run from the
/// lower to the upper.
#[must_use = "a handle is acquired to start an I/O"]
pub struct IoHandle<'c> {
    context: &'c mut IoContext,
    wait_ref: WaitRef,
    started: bool,
}

impl<'c> IoHandle<'c> {
    pub(crate) fn new(context: &'c mut IoContext, wait_ref: WaitRef) -> Self {
        IoHandle {
            context,
            wait_ref,
            started: false,
        }
    }

    fn define<T>(&self, change: impl FnOnce(&mut Definition) -> T) -> T {
        let slot = self.context.table().slot(self.wait_ref.slot);
        change(&mut lock(&slot.definition))
    }

    /// The reference to wait with; valid from now on. Waiting before the I/O
    /// is started lasts until somebody starts it.
    pub fn wait_ref(&self) -> WaitRef {
        self.wait_ref
    }

    /// Names the object.
    pub fn target(&mut self, target: TargetTag) {
        self.define(|definition| definition.target = target);
    }

    /// Adds shared callbacks, to run before those added so far, with a word of
    /// their own.
    ///
    /// # Panics
    /// If the handle has [`crate::MAX_CALLBACKS`] already.
    pub fn callback(&mut self, id: CallbackId, data: u32) {
        self.define(|definition| definition.add_callback(id, data));
    }

    /// Attaches words that the callbacks see, such as buffer numbers: at most
    /// one per piece of memory.
    ///
    /// # Panics
    /// If there are more than [`MAX_MEMORY_PIECES`].
    pub fn set_data(&mut self, data: &[u32]) {
        assert!(
            data.len() <= MAX_MEMORY_PIECES,
            "{} words for an AIO handle",
            data.len()
        );
        self.define(|definition| {
            definition.data.clear();
            definition.data.extend_from_slice(data);
        });
    }

    /// Has the result reported to a cell.
    ///
    /// # Panics
    /// If another I/O still reports there.
    pub fn report_to(&mut self, cell: &Arc<IoReturn>) {
        cell.arm();
        let old = self.define(|definition| definition.report_to.replace(Arc::clone(cell)));
        if let Some(old) = old {
            old.disarm();
        }
    }

    /// Has `function` called with `argument` and the result, on this issuer,
    /// when it next enters the AIO core after completion. Not called if the
    /// issuer has ended by then.
    pub fn on_complete_local(&mut self, function: LocalCallback, argument: u64) {
        self.define(|definition| definition.local = Some((function, argument)));
    }

    /// Keeps a value alive until the I/O is complete, such as the memory that
    /// it moves.
    pub fn keep_alive(&mut self, value: Arc<dyn Any + Send + Sync>) {
        self.define(|definition| definition.keep_alive = Some(value));
    }

    /// Gives the handle back unused.
    pub fn release(self) {
        drop(self);
    }

    /// Reads `memory` full from `offset` on (ignored for a pipe). The read is
    /// continued until everything is there, the file ends, or an error occurs.
    ///
    /// # Safety
    /// The memory is valid for writes, and neither read, written nor freed by
    /// anyone until the I/O is complete (its wait returns), whatever becomes
    /// of the caller.
    ///
    /// # Panics
    /// If there are more than [`MAX_MEMORY_PIECES`] or [`MAX_IO_BYTES`].
    pub unsafe fn start_readv(self, file: &Arc<File>, offset: u64, memory: &[IoMemory]) -> WaitRef {
        self.start(Op::Readv, Some(file), offset, memory, 0)
    }

    /// Writes `memory` from `offset` on (ignored for a pipe). The write is
    /// continued until everything is written or an error occurs.
    ///
    /// # Safety
    /// The memory is valid for reads, and neither written nor freed by anyone
    /// until the I/O is complete (its wait returns), whatever becomes of the
    /// caller.
    ///
    /// # Panics
    /// If there are more than [`MAX_MEMORY_PIECES`] or [`MAX_IO_BYTES`].
    pub unsafe fn start_writev(
        self,
        file: &Arc<File>,
        offset: u64,
        memory: &[IoMemory],
    ) -> WaitRef {
        self.start(Op::Writev, Some(file), offset, memory, 0)
    }

    /// Reads from `offset` on into a bounce buffer that the I/O owns from now
    /// on: for the sake of the reading, not of the bytes.
    ///
    /// # Panics
    /// If the buffer is another core's.
    pub fn start_read_discarding(
        self,
        file: &Arc<File>,
        offset: u64,
        buffer: BounceBuffer,
    ) -> WaitRef {
        self.start_bounced(Op::Readv, file, offset, buffer)
    }

    /// Writes a bounce buffer, which the I/O owns from now on, from `offset`
    /// on: what it was copied from may change meanwhile.
    ///
    /// # Panics
    /// If the buffer is another core's.
    pub fn start_write_bounced(
        self,
        file: &Arc<File>,
        offset: u64,
        buffer: BounceBuffer,
    ) -> WaitRef {
        self.start_bounced(Op::Writev, file, offset, buffer)
    }

    fn start_bounced(self, op: Op, file: &Arc<File>, offset: u64, buffer: BounceBuffer) -> WaitRef {
        let memory = [buffer.memory()];
        let run = buffer.into_run(self.context.aio());
        self.context.table().bounce.hand_to_io(run, self.wait_ref);
        self.define(|definition| definition.bounce = Some(run));
        self.start(op, Some(file), offset, &memory, 0)
    }

    /// Makes data and metadata durable: of every write that was complete when
    /// this is submitted.
    pub fn start_fsync(self, file: &Arc<File>) -> WaitRef {
        self.start(Op::Fsync, Some(file), 0, &[], 0)
    }

    /// Makes data durable: of every write that was complete when this is
    /// submitted.
    pub fn start_fdatasync(self, file: &Arc<File>) -> WaitRef {
        self.start(Op::Fdatasync, Some(file), 0, &[], 0)
    }

    /// Starts the write-back of a range of a file: a hint, after which nothing
    /// is durable that was not before. Does nothing where the system has no
    /// such call.
    ///
    /// # Panics
    /// If there are more than [`MAX_IO_BYTES`].
    pub fn start_flush_range(self, file: &Arc<File>, offset: u64, length_bytes: usize) -> WaitRef {
        self.start(Op::FlushRange, Some(file), offset, &[], length_bytes)
    }

    /// Does nothing, through the method.
    pub fn start_nop(self) -> WaitRef {
        self.start(Op::Nop, None, 0, &[], 0)
    }

    fn start(
        mut self,
        op: Op,
        file: Option<&Arc<File>>,
        offset: u64,
        memory: &[IoMemory],
        bytes_without_memory: usize,
    ) -> WaitRef {
        let length_bytes = memory
            .iter()
            .map(IoMemory::len)
            .fold(bytes_without_memory, usize::saturating_add);
        assert!(
            memory.len() <= MAX_MEMORY_PIECES,
            "{} pieces of memory in one I/O",
            memory.len()
        );
        assert!(
            length_bytes <= MAX_IO_BYTES,
            "{length_bytes} bytes in one I/O"
        );
        let WaitRef { slot, generation } = self.wait_ref;
        let table = Arc::clone(self.context.table());
        let slot = table.slot(slot);
        let mut definition = lock(&slot.definition);
        definition.offset = offset;
        definition.transfer = Transfer::new(op, length_bytes as u32);
        definition.memory.clear();
        definition.memory.extend_from_slice(memory);
        definition.file = file.map(Arc::clone);
        definition.buffered = file.is_some_and(|file| file.direct().is_none());
        slot.word
            .transition(generation, State::HandedOut, State::Defined);
        // From here on the handle belongs to the state machine.
        self.started = true;
        definition.stage(self.wait_ref, &table.callbacks);
        slot.word
            .transition(generation, State::Defined, State::Staged);
        drop(definition);
        self.context.enqueue(self.wait_ref);
        self.wait_ref
    }
}

impl Drop for IoHandle<'_> {
    fn drop(&mut self) {
        if !self.started {
            self.context.release_handed_out();
        }
    }
}
