//! All handles and issuers, allocated when the AIO core starts, and the steps
//! of a handle's life that any thread may take.
//!
//! # Locks
//! In this order, each held for a few instructions (the definition's also
//! while shared callbacks run):
//! 1. an issuer's pending list
//! 2. a handle's definition
//! 3. leaves: a handle's waiters, the pool of issuers, an `IoReturn`, the
//!    owners of bounce buffers
//!
//! None is held across a call of the method.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI32, AtomicU64};

use arrayvec::ArrayVec;

use crate::bounce::BouncePool;
use crate::callback::CallbackTable;
use crate::combine::{Extent, Groups};
use crate::group::Parts;
use crate::method::Method;
use crate::request::{Completions, IoRequest, RequestBatch, SUBMIT_BATCH_LIMIT};
use crate::result::IoResult;
use crate::slot::{Definition, Slot};
use crate::state::State;
use crate::stats::Counters;
use crate::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed, Ordering::SeqCst};
use crate::sync::{Mutex, MutexGuard, lock, park};
use crate::transfer::Verdict;
use crate::wait::{WaitRef, Waiters};

/// What others may see of an issuer.
#[repr(align(128))]
pub(crate) struct Issuer {
    pub(crate) owner_id: AtomicI32,
    pub(crate) counters: Counters,
    /// Grows when one of the issuer's I/Os is complete: tells the issuer that
    /// a look at its handles is worth while.
    pub(crate) completed: AtomicU64,
    /// The issuer's thread, while it waits for whichever I/O is complete first.
    pub(crate) waiters: Waiters,
    pending: Mutex<PendingList>,
    /// `io_combine_limit`
    pub(crate) combine_limit_bytes: AtomicU32,
    /// The issuer has ended; completers take its handles back.
    ended: AtomicBool,
    /// After the end: handles in flight, plus one while the end is under way.
    outstanding: AtomicU32,
}

type PendingList = ArrayVec<u32, SUBMIT_BATCH_LIMIT>;

impl Issuer {
    pub(crate) fn count_retry(&self) {
        self.counters.retries.fetch_add(1, Relaxed);
    }
}

/// The heart of the AIO core.
pub(crate) struct HandleTable {
    slots: Box<[Slot]>,
    pub(crate) issuers: Box<[Issuer]>,
    handles_per_issuer: u32,
    free_issuers: Mutex<Vec<u32>>,
    pub(crate) callbacks: CallbackTable,
    pub(crate) bounce: BouncePool,
    /// Completions by threads that act for no issuer.
    pub(crate) anonymous_completed: AtomicU64,
    registrations: AtomicU64,
}

impl HandleTable {
    pub(crate) fn new(max_issuers: u32, handles_per_issuer: u32, bounce_pages: u32) -> Self {
        let issuer = || Issuer {
            owner_id: AtomicI32::new(0),
            counters: Counters::default(),
            completed: AtomicU64::new(0),
            waiters: Waiters::default(),
            pending: Mutex::default(),
            combine_limit_bytes: AtomicU32::new(0),
            ended: AtomicBool::new(false),
            outstanding: AtomicU32::new(0),
        };
        HandleTable {
            slots: (0..max_issuers * handles_per_issuer)
                .map(|_| Slot::new())
                .collect(),
            issuers: (0..max_issuers).map(|_| issuer()).collect(),
            handles_per_issuer,
            free_issuers: Mutex::new((0..max_issuers).rev().collect()),
            callbacks: CallbackTable::new(),
            bounce: BouncePool::new(bounce_pages),
            anonymous_completed: AtomicU64::new(0),
            registrations: AtomicU64::new(0),
        }
    }

    pub(crate) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    pub(crate) fn slot(&self, index: u32) -> &Slot {
        &self.slots[index as usize]
    }

    pub(crate) fn issuer(&self, index: u32) -> &Issuer {
        &self.issuers[index as usize]
    }

    pub(crate) fn issuer_of(&self, slot: u32) -> u32 {
        slot / self.handles_per_issuer
    }

    /// The handles of an issuer.
    pub(crate) fn handles_of(&self, issuer: u32) -> std::ops::Range<u32> {
        issuer * self.handles_per_issuer..(issuer + 1) * self.handles_per_issuer
    }

    pub(crate) fn next_registration(&self) -> u64 {
        self.registrations.fetch_add(1, Relaxed)
    }

    /// The state of an I/O; `None` once its handle is reused.
    pub(crate) fn status(&self, wait_ref: WaitRef) -> Option<State> {
        let (generation, state) = self.slot(wait_ref.slot).word.load();
        (generation == wait_ref.generation).then_some(state)
    }

    pub(crate) fn is_complete(&self, wait_ref: WaitRef) -> bool {
        matches!(
            self.status(wait_ref),
            None | Some(State::CompletedShared | State::CompletedLocal)
        )
    }

    /// Blocks until `done` is true of the I/O's state (`None`: complete), or
    /// `ready` says true.
    pub(crate) fn park(
        &self,
        wait_ref: WaitRef,
        done: impl Fn(Option<State>) -> bool,
        mut ready: impl FnMut() -> bool,
    ) {
        let waiters = &self.slot(wait_ref.slot).waiters;
        loop {
            // Register first, look second: see `Waiters`.
            waiters.register_thread();
            let state = self
                .status(wait_ref)
                .filter(|state| !matches!(state, State::CompletedShared | State::CompletedLocal));
            if done(state) || ready() {
                waiters.forget_thread();
                return;
            }
            park();
        }
    }

    /// Takes an issuer from the pool.
    pub(crate) fn take_issuer(&self, owner_id: i32) -> Option<u32> {
        let index = lock(&self.free_issuers).pop()?;
        self.issuer(index).owner_id.store(owner_id, Relaxed);
        Some(index)
    }

    /// Puts a staged handle on its issuer's pending list. True when the list
    /// is now full.
    pub(crate) fn enqueue(&self, wait_ref: WaitRef) -> bool {
        let issuer = self.issuer(self.issuer_of(wait_ref.slot));
        let mut pending = lock(&issuer.pending);
        pending.push(wait_ref.slot);
        let slot = self.slot(wait_ref.slot);
        slot.word
            .transition(wait_ref.generation, State::Staged, State::Pending);
        pending.is_full()
    }

    /// Submits an issuer's pending list. Any thread may: a waiter that finds
    /// its I/O pending submits it, so that nobody depends on the issuer.
    pub(crate) fn flush(&self, method: &dyn Method, completions: &Completions, issuer_index: u32) {
        let issuer = self.issuer(issuer_index);
        let mut pending = lock(&issuer.pending);
        // First: a stream asks for each block that it gives out.
        if pending.is_empty() {
            return;
        }
        // In place: as a function's value it would be copied, room and all.
        let mut batch = RequestBatch {
            requests: ArrayVec::new_const(),
        };
        let mut refs: ArrayVec<WaitRef, SUBMIT_BATCH_LIMIT> = ArrayVec::new_const();
        refs.extend(pending.drain(..).map(|slot| WaitRef {
            slot,
            generation: self.slot(slot).word.load().0,
        }));
        let groups = self.groups(&refs, issuer.combine_limit_bytes.load(Relaxed));
        for (position, &wait_ref) in refs.iter().enumerate() {
            if groups.is_follower(position) {
                continue;
            }
            if groups.next(position).is_some() {
                let positions = std::iter::successors(Some(position), |at| groups.next(*at));
                let parts: Parts = positions.map(|at| refs[at]).collect();
                self.link(&parts);
                for part in &parts {
                    self.submit_pending(*part);
                }
            } else {
                self.submit_pending(wait_ref);
            }
            let definition = lock(&self.slot(wait_ref.slot).definition);
            batch.push(IoRequest::new(self, wait_ref, &definition));
        }
        drop(pending);
        let issued = batch.len() as u64;
        issuer.counters.issued.fetch_add(issued, Relaxed);
        issuer.counters.submissions.fetch_add(1, Relaxed);
        batch.finish();
        method.submit(&mut batch, completions);
        assert_eq!(
            batch.len(),
            0,
            "method {} left requests behind",
            method.name()
        );
        for &wait_ref in &refs {
            if self.slot(wait_ref.slot).waiters.has_tasks() && !self.is_complete(wait_ref) {
                method.drive(&completions.in_flight(wait_ref));
            }
        }
    }

    fn submit_pending(&self, wait_ref: WaitRef) {
        self.slot(wait_ref.slot).word.transition(
            wait_ref.generation,
            State::Pending,
            State::Submitted,
        );
    }

    /// Which of the pending I/Os go to the method as one.
    fn groups(&self, refs: &[WaitRef], limit_bytes: u32) -> Groups {
        if refs.len() < 2 || limit_bytes == 0 {
            return Groups::ALONE;
        }
        let extents: ArrayVec<Option<Extent>, SUBMIT_BATCH_LIMIT> = refs
            .iter()
            .map(|wait_ref| Extent::of(&lock(&self.slot(wait_ref.slot).definition)))
            .collect();
        Groups::of(&extents, limit_bytes)
    }

    /// The request of an I/O that was turned into a token.
    pub(crate) fn submitted_request(&self, slot_index: u32) -> IoRequest {
        let slot = self.slot(slot_index);
        let (generation, state) = slot.word.load();
        assert_eq!(
            state,
            State::Submitted,
            "the kernel completed handle {slot_index} out of turn"
        );
        let definition = lock(&slot.definition);
        let wait_ref = WaitRef {
            slot: slot_index,
            generation,
        };
        IoRequest::new(self, wait_ref, &definition)
    }

    /// Works on a handle in `CompletedIo`: either back to the method with the
    /// remainder, or on to the shared callbacks and the waiters.
    pub(crate) fn finish(
        &self,
        wait_ref: WaitRef,
        outcome: i32,
        completer: Option<u32>,
    ) -> Option<IoRequest> {
        let slot = self.slot(wait_ref.slot);
        let issuer_index = self.issuer_of(wait_ref.slot);
        let issuer = self.issuer(issuer_index);
        let mut definition = lock(&slot.definition);
        let alignment_bytes = definition.alignment_bytes();
        let result = match definition.absorb(outcome, alignment_bytes) {
            Verdict::Continue => {
                issuer.count_retry();
                slot.word
                    .transition(wait_ref.generation, State::CompletedIo, State::Submitted);
                return Some(IoRequest::new(self, wait_ref, &definition));
            }
            Verdict::Finished(result) => result,
        };
        self.finish_with(wait_ref, definition, result, completer);
        None
    }

    /// Ends a handle in `CompletedIo` with its result.
    pub(crate) fn finish_with(
        &self,
        wait_ref: WaitRef,
        mut definition: MutexGuard<'_, Definition>,
        result: IoResult,
        completer: Option<u32>,
    ) {
        let slot = self.slot(wait_ref.slot);
        let issuer_index = self.issuer_of(wait_ref.slot);
        let issuer = self.issuer(issuer_index);
        definition.raw_result = Some(result.raw());
        definition.completed_by_other = completer != Some(issuer_index);
        let result = definition.complete(wait_ref, &self.callbacks, result);
        definition.result = Some(result);
        if let Some(report_to) = definition.report_to.take() {
            report_to.set(result);
        }
        // When a wait returns, the I/O holds on to nothing any more.
        let file = definition.file.take();
        let keep_alive = definition.keep_alive.take();
        if let Some(run) = definition.bounce.take() {
            self.bounce.release(run);
        }
        drop(definition);
        drop(file);
        drop(keep_alive);
        // Count before the waiters go on, so that they see it counted.
        if completer != Some(issuer_index) {
            let counter = match completer {
                Some(index) => &self.issuer(index).counters.foreign_completed,
                None => &self.anonymous_completed,
            };
            counter.fetch_add(1, Relaxed);
        }
        slot.word.transition(
            wait_ref.generation,
            State::CompletedIo,
            State::CompletedShared,
        );
        slot.waiters.wake_all();
        issuer.completed.fetch_add(1, SeqCst);
        issuer.waiters.wake_all();
        if issuer.ended.load(SeqCst) {
            self.reclaim_orphan(wait_ref, issuer_index);
        }
    }

    /// Ends an issuer whose I/Os `in_flight` are submitted. The pool gets it
    /// back now, or from whoever completes the last of them. Returns those
    /// that were not complete.
    pub(crate) fn end_issuer(&self, index: u32, in_flight: &VecDeque<u32>) -> Vec<WaitRef> {
        let issuer = self.issuer(index);
        issuer.outstanding.store(in_flight.len() as u32 + 1, SeqCst);
        let refs = in_flight.iter().map(|&slot| WaitRef {
            slot,
            generation: self.slot(slot).word.load().0,
        });
        // The generations cannot change before `ended` is set, since only the
        // issuer takes handles back until then.
        let mut refs: Vec<WaitRef> = refs.collect();
        issuer.ended.store(true, SeqCst);
        refs.retain(|&wait_ref| {
            let complete = self.is_complete(wait_ref);
            if complete {
                self.reclaim_orphan(wait_ref, index);
            }
            !complete
        });
        self.release_outstanding(index);
        refs
    }

    /// Takes back a completed handle of an ended issuer; the ending issuer and
    /// the completer may both try.
    fn reclaim_orphan(&self, wait_ref: WaitRef, issuer: u32) {
        let slot = self.slot(wait_ref.slot);
        let mine = slot.word.try_transition(
            wait_ref.generation,
            State::CompletedShared,
            State::CompletedLocal,
        );
        if mine {
            lock(&slot.definition).clear();
            slot.word
                .transition(wait_ref.generation, State::CompletedLocal, State::Idle);
            self.release_outstanding(issuer);
        }
    }

    fn release_outstanding(&self, index: u32) {
        let issuer = self.issuer(index);
        if issuer.outstanding.fetch_sub(1, SeqCst) == 1 {
            issuer.ended.store(false, SeqCst);
            lock(&self.free_issuers).push(index);
        }
    }
}
