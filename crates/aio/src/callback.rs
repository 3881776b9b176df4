//! Shared callbacks: how the owner of an object takes part in its I/O (A7),
//! and the local callback of the issuer (A8).

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use crate::file::File;
use crate::issuer::IoContext;
use crate::memory::IoMemory;
use crate::operation::{Op, TargetTag};
use crate::result::IoResult;
use crate::slot::Definition;
use crate::wait::WaitRef;

/// Shared callbacks on one handle, at most.
pub const MAX_CALLBACKS: usize = 4;

/// Registered [`SharedCallbacks`], at most.
const CALLBACK_TABLE_SIZE: usize = 32;

/// The issuer's own callback: a plain function, its argument, and the result.
/// Runs on the issuer when it next enters the AIO core; may start further I/O.
pub type LocalCallback = fn(&mut IoContext, u64, IoResult);

/// Names registered [`SharedCallbacks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallbackId(pub(crate) u8);

/// What the owner of an object does at the start and at the end of an I/O on
/// it, whoever issued and whoever completes the I/O.
///
/// All methods run inside the AIO state machine. They must not allocate, take
/// a lock that can be held for long, wait for an I/O, enter the AIO core, or
/// panic: a panic ends the process. They must not own an `Arc<Aio>`, which
/// owns them.
pub trait SharedCallbacks: Send + Sync {
    /// A short name for messages.
    fn name(&self) -> &'static str;

    /// Takes the references that the I/O itself owns (pins, content locks) and
    /// publishes [`IoView::wait_ref`] where others look for it. Runs on the
    /// issuer, before the I/O can be submitted, lower layer first like
    /// `complete`.
    fn stage(&self, io: &IoView<'_>) {
        let _ = io;
    }

    /// Moves the object to its new state and says what the next layer up (in
    /// the end: the issuer) is told. `prior` is what the layer below said.
    /// Runs exactly once, on any thread.
    fn complete(&self, io: &IoView<'_>, prior: IoResult) -> IoResult;

    /// Describes the object for messages and `pg_stat_aios`. May run beside
    /// the I/O, on a copy of its definition.
    fn describe(&self, io: &IoView<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        let _ = (io, out);
        Ok(())
    }
}

/// A defined I/O as its callbacks see it.
pub struct IoView<'a> {
    pub(crate) definition: &'a Definition,
    pub(crate) wait_ref: WaitRef,
    pub(crate) callback_data: u32,
}

impl IoView<'_> {
    /// The operation.
    pub fn op(&self) -> Op {
        self.definition.transfer.op
    }

    /// The object.
    pub fn target(&self) -> TargetTag {
        self.definition.target
    }

    /// What the upper layer attached with [`crate::IoHandle::set_data`].
    pub fn data(&self) -> &[u32] {
        &self.definition.data
    }

    /// What was given along with this callback.
    pub fn callback_data(&self) -> u32 {
        self.callback_data
    }

    /// The reference to wait for this I/O with.
    pub fn wait_ref(&self) -> WaitRef {
        self.wait_ref
    }

    /// The file, if the operation has one.
    pub fn file(&self) -> Option<&File> {
        self.definition.file.as_deref()
    }

    /// The file's path, if the operation has a file.
    pub fn path(&self) -> Option<&Path> {
        self.file().map(File::path)
    }

    /// Offset in the file, in bytes.
    pub fn offset(&self) -> u64 {
        self.definition.offset
    }

    /// Length of the whole transfer, in bytes.
    pub fn length_bytes(&self) -> u32 {
        self.definition.transfer.length_bytes
    }

    /// The memory of the whole transfer.
    pub fn memory(&self) -> &[IoMemory] {
        &self.definition.memory
    }
}

impl fmt::Debug for IoView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IoView")
            .field("op", &self.op())
            .field("target", &self.target())
            .field("path", &self.path())
            .field("offset", &self.offset())
            .field("length_bytes", &self.length_bytes())
            .finish_non_exhaustive()
    }
}

/// The registered callbacks; grows at start-up only, read without a lock.
pub(crate) struct CallbackTable {
    entries: [OnceLock<Arc<dyn SharedCallbacks>>; CALLBACK_TABLE_SIZE],
    len: AtomicU32,
}

impl CallbackTable {
    pub(crate) fn new() -> Self {
        CallbackTable {
            entries: [const { OnceLock::new() }; CALLBACK_TABLE_SIZE],
            len: AtomicU32::new(0),
        }
    }

    /// # Panics
    /// If the table is full: callbacks are registered once per owner, at start.
    pub(crate) fn register(&self, callbacks: Arc<dyn SharedCallbacks>) -> CallbackId {
        let index = self.len.fetch_add(1, Ordering::Relaxed) as usize;
        assert!(
            index < CALLBACK_TABLE_SIZE,
            "the table of AIO callbacks is full"
        );
        assert!(
            self.entries[index].set(callbacks).is_ok(),
            "a callback id was given out twice"
        );
        CallbackId(index as u8)
    }

    /// # Panics
    /// If the id came from another table.
    pub(crate) fn get(&self, id: CallbackId) -> &dyn SharedCallbacks {
        match self.entries[usize::from(id.0)].get() {
            Some(callbacks) => callbacks.as_ref(),
            None => panic!("AIO callback {} is not registered here", id.0),
        }
    }
}

/// Ends the process unless forgotten: a callback that panics would leave its
/// object between two states, and the object's waiters with it.
pub(crate) struct AbortOnPanic(&'static str);

impl AbortOnPanic {
    /// Runs a callback under this guard.
    pub(crate) fn guard<T>(callbacks: &dyn SharedCallbacks, run: impl FnOnce() -> T) -> T {
        let guard = AbortOnPanic(callbacks.name());
        let value = run();
        std::mem::forget(guard);
        value
    }
}

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        tracing::error!(callback = self.0, "panic in an AIO callback");
        std::process::abort();
    }
}
