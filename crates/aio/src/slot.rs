//! One handle's memory: its state, what it is defined to do, who waits.

use std::any::Any;
use std::sync::Arc;

use crate::bounce::Run;
use crate::callback::{
    AbortOnPanic, CallbackId, CallbackTable, IoView, LocalCallback, MAX_CALLBACKS,
};
use crate::file::File;
use crate::memory::IoMemory;
use crate::operation::{Op, TargetTag};
use crate::result::{IoResult, IoReturn};
use crate::state::StateWord;
use crate::sync::Mutex;
use crate::transfer::Transfer;
use crate::wait::{WaitRef, Waiters};

/// One handle. Aligned so that threads at work on neighbours do not share
/// cache lines.
#[repr(align(128))]
pub(crate) struct Slot {
    pub(crate) word: StateWord,
    /// Written by whoever owns the handle's state; locked because
    /// `pg_stat_aios` looks from aside. Never contended otherwise.
    pub(crate) definition: Mutex<Definition>,
    pub(crate) waiters: Waiters,
}

impl Slot {
    pub(crate) fn new() -> Self {
        Slot {
            word: StateWord::new(),
            definition: Mutex::new(Definition::new()),
            waiters: Waiters::default(),
        }
    }
}

/// How a handle takes part in a group of combined I/Os.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// It stands for itself, or another handle stands for it.
    Alone,
    /// It is the head of a group that goes to the method as one transfer.
    Combined(Transfer),
    /// It is the head of a group whose parts are attempted one by one.
    OneByOne,
}

/// What a handle is to do. The lists keep their capacity from use to use, so
/// that a handle allocates only while it is new.
#[derive(Clone)]
pub(crate) struct Definition {
    pub(crate) target: TargetTag,
    pub(crate) offset: u64,
    pub(crate) transfer: Transfer,
    pub(crate) memory: Vec<IoMemory>,
    /// What is left of `memory` after a short transfer; of the memory of all
    /// parts, for the head of a combined group.
    pub(crate) remaining: Vec<IoMemory>,
    pub(crate) group: Group,
    /// The handle behind this one in its group.
    pub(crate) next_part: Option<u32>,
    /// The head of the group that this handle is a part of.
    pub(crate) merged_with: Option<u32>,
    pub(crate) data: Vec<u32>,
    callbacks: [(CallbackId, u32); MAX_CALLBACKS],
    callback_count: usize,
    pub(crate) local: Option<(LocalCallback, u64)>,
    pub(crate) report_to: Option<Arc<IoReturn>>,
    /// What the method's last attempt came to, before the shared callbacks
    /// looked at it: bytes moved, or a negated errno.
    pub(crate) raw_result: Option<i32>,
    pub(crate) result: Option<IoResult>,
    /// Completed by another than its issuer.
    pub(crate) completed_by_other: bool,
    /// Goes through the page cache; told also when the file is gone.
    pub(crate) buffered: bool,
    /// Kept open while the I/O is in flight (A16).
    pub(crate) file: Option<Arc<File>>,
    /// The bounce buffer that the I/O owns.
    pub(crate) bounce: Option<Run>,
    /// Whatever else must live until the I/O is complete.
    pub(crate) keep_alive: Option<Arc<dyn Any + Send + Sync>>,
}

impl Definition {
    fn new() -> Self {
        Definition {
            target: TargetTag::RAW,
            offset: 0,
            transfer: Transfer::new(Op::Nop, 0),
            memory: Vec::new(),
            remaining: Vec::new(),
            group: Group::Alone,
            next_part: None,
            merged_with: None,
            data: Vec::new(),
            callbacks: [(CallbackId(0), 0); MAX_CALLBACKS],
            callback_count: 0,
            local: None,
            report_to: None,
            raw_result: None,
            result: None,
            completed_by_other: false,
            buffered: false,
            file: None,
            bounce: None,
            keep_alive: None,
        }
    }

    /// Forgets everything but the lists' capacity.
    pub(crate) fn clear(&mut self) {
        self.target = TargetTag::RAW;
        self.offset = 0;
        self.transfer = Transfer::new(Op::Nop, 0);
        self.memory.clear();
        self.remaining.clear();
        self.group = Group::Alone;
        self.next_part = None;
        self.merged_with = None;
        self.data.clear();
        self.callback_count = 0;
        self.local = None;
        self.report_to = None;
        self.raw_result = None;
        self.result = None;
        self.completed_by_other = false;
        self.buffered = false;
        self.file = None;
        self.bounce = None;
        self.keep_alive = None;
    }

    /// # Panics
    /// If there are [`MAX_CALLBACKS`] already.
    pub(crate) fn add_callback(&mut self, id: CallbackId, data: u32) {
        assert!(
            self.callback_count < MAX_CALLBACKS,
            "an AIO handle takes {MAX_CALLBACKS} callbacks"
        );
        self.callbacks[self.callback_count] = (id, data);
        self.callback_count += 1;
    }

    /// The callbacks, lower layer first: layers add theirs on the way down.
    pub(crate) fn callbacks(&self) -> impl DoubleEndedIterator<Item = (CallbackId, u32)> + '_ {
        self.callbacks[..self.callback_count].iter().rev().copied()
    }

    /// What a direct file demands of offsets; 1 for any other.
    pub(crate) fn alignment_bytes(&self) -> u32 {
        self.file
            .as_ref()
            .and_then(|file| file.direct())
            .map_or(1, |alignment| alignment.offset_bytes)
    }

    /// Runs the stage hooks.
    pub(crate) fn stage(&self, wait_ref: WaitRef, table: &CallbackTable) {
        for (id, callback_data) in self.callbacks() {
            let view = IoView {
                definition: self,
                wait_ref,
                callback_data,
            };
            let callbacks = table.get(id);
            AbortOnPanic::guard(callbacks, || callbacks.stage(&view));
        }
    }

    /// Runs the shared callbacks.
    pub(crate) fn complete(
        &self,
        wait_ref: WaitRef,
        table: &CallbackTable,
        outcome: IoResult,
    ) -> IoResult {
        self.callbacks()
            .fold(outcome, |prior, (id, callback_data)| {
                let view = IoView {
                    definition: self,
                    wait_ref,
                    callback_data,
                };
                let callbacks = table.get(id);
                AbortOnPanic::guard(callbacks, || callbacks.complete(&view, prior))
            })
    }

    /// Computes `remaining` from how far the transfer has come.
    pub(crate) fn cut_remaining(&mut self) {
        self.remaining.clear();
        let mut skip = self.transfer.transferred_bytes as usize;
        for piece in &self.memory {
            let skipped = skip.min(piece.len());
            skip -= skipped;
            if skipped < piece.len() {
                self.remaining.push(piece.skip(skipped));
            }
        }
    }
}
