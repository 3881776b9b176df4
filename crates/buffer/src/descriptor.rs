//! The buffer descriptor: one atomic word of state, and what that word guards.
//!
//! The word holds, from its lowest bit: the pin count (18 bits), the usage count (4), flags (9), the
//! number of shared holders of the content lock (18), the share-exclusive and the exclusive holder
//! (1 each). One word, so that "unpin, unlock, clear dirty, I/O over" is one atomic step.
//!
//! # Rules of the word
//! 1. Whoever pins a buffer that has a tag keeps that tag from changing. A tag is changed only by the
//!    sole pinner of a buffer without `TAG_VALID` (which nobody can find).
//! 2. `VALID` is set by the completion of a read (or by extension), and cleared only by the sole
//!    pinner of a buffer.
//! 3. A content lock is taken only through a pin on a `VALID` buffer.
//! 4. `IO_IN_PROGRESS` is one I/O (B1): a read exactly if `VALID` is clear; a write exactly if
//!    `IO_WRITE` is set, and then the I/O also holds the content lock in share-exclusive mode.
//! 5. `IO_STAGED` is set exactly while the I/O in progress has a wait reference, which is then in
//!    `io`. Between rules 4 and 5 the claimer does nothing that waits for another thread.
//! 6. `CHECKPOINT_NEEDED` marks pages that were dirty when a checkpoint began. Only `DIRTY` pages have
//!    it; the write that makes the page clean takes it away, whoever's that is.
//! 7. `WAITERS` means that somebody parked on `wake`; who changes the word so that a waiter may go on
//!    clears it and wakes.

use crate::sync::{AtomicU32, AtomicU64, WakeSequence};
use crate::tag::{BufferTag, RelFork};
use std::sync::atomic::Ordering;
use trunkline_aio::WaitRef;
use trunkline_pgformat::{ForkNumber, Oid, RelFileLocator};

const PIN_BITS: u32 = 18;
const USAGE_SHIFT: u32 = PIN_BITS;
const FLAG_SHIFT: u32 = USAGE_SHIFT + 4;
const SHARED_SHIFT: u32 = FLAG_SHIFT + 9;

/// One pin.
pub(crate) const PIN_ONE: u64 = 1;
const PIN_MASK: u64 = (1 << PIN_BITS) - 1;
const USAGE_ONE: u64 = 1 << USAGE_SHIFT;
const USAGE_MASK: u64 = 0xf << USAGE_SHIFT;
/// PostgreSQL's `BM_MAX_USAGE_COUNT`.
const USAGE_MAX: u64 = 5;

/// The page is readable.
pub(crate) const VALID: u64 = 1 << FLAG_SHIFT;
/// The page is newer than its block on disk.
pub(crate) const DIRTY: u64 = 1 << (FLAG_SHIFT + 1);
/// The buffer is in the mapping under its tag.
pub(crate) const TAG_VALID: u64 = 1 << (FLAG_SHIFT + 2);
/// A read or a write of this buffer is claimed or running.
pub(crate) const IO_IN_PROGRESS: u64 = 1 << (FLAG_SHIFT + 3);
/// The I/O in progress is a write.
pub(crate) const IO_WRITE: u64 = 1 << (FLAG_SHIFT + 4);
/// The I/O in progress has a wait reference.
pub(crate) const IO_STAGED: u64 = 1 << (FLAG_SHIFT + 5);
/// The last I/O failed.
pub(crate) const IO_ERROR: u64 = 1 << (FLAG_SHIFT + 6);
/// Somebody is parked on this descriptor.
const WAITERS: u64 = 1 << (FLAG_SHIFT + 7);
/// The page was dirty when the running checkpoint began and has not been written since.
pub(crate) const CHECKPOINT_NEEDED: u64 = 1 << (FLAG_SHIFT + 8);

const SHARED_ONE: u64 = 1 << SHARED_SHIFT;
const SHARED_MASK: u64 = ((1 << 18) - 1) << SHARED_SHIFT;
/// The content lock is held in share-exclusive mode.
pub(crate) const SHARE_EXCLUSIVE: u64 = 1 << (SHARED_SHIFT + 18);
/// The content lock is held in exclusive mode.
pub(crate) const EXCLUSIVE: u64 = 1 << (SHARED_SHIFT + 19);

const _: () = assert!(SHARED_SHIFT + 19 < 64);

/// Everything that an I/O in progress sets.
const IO_FLAGS: u64 = IO_IN_PROGRESS | IO_WRITE | IO_STAGED;

/// The modes of the content lock. Shared goes with shared and with one share-exclusive;
/// share-exclusive keeps the page from changing under a write in flight; exclusive stands alone, and
/// only under it do bytes of a published page change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LockMode {
    Shared,
    ShareExclusive,
    Exclusive,
}

impl LockMode {
    const fn conflicts(self) -> u64 {
        match self {
            LockMode::Shared => EXCLUSIVE,
            LockMode::ShareExclusive => EXCLUSIVE | SHARE_EXCLUSIVE,
            LockMode::Exclusive => EXCLUSIVE | SHARE_EXCLUSIVE | SHARED_MASK,
        }
    }

    const fn held(self) -> u64 {
        match self {
            LockMode::Shared => SHARED_ONE,
            LockMode::ShareExclusive => SHARE_EXCLUSIVE,
            LockMode::Exclusive => EXCLUSIVE,
        }
    }
}

/// What kind of I/O a buffer is claimed for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum IoKind {
    Read,
    Write,
}

/// What an attempt to claim a buffer for I/O found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum IoClaim {
    /// The caller has the I/O: it stages one or gives the claim back.
    Claimed,
    /// Somebody else's I/O is in progress; join it.
    InProgress,
    /// Nothing to do: already valid, or already clean.
    NotNeeded,
}

/// One buffer's descriptor, a cache line of its own.
#[repr(align(64))]
pub(crate) struct Descriptor {
    state: AtomicU64,
    wake: WakeSequence,
    spc_oid: AtomicU32,
    db_oid: AtomicU32,
    rel_number: AtomicU32,
    fork: AtomicU32,
    block: AtomicU32,
    io_slot: AtomicU32,
    io_generation: AtomicU64,
}

impl Descriptor {
    pub(crate) fn new() -> Descriptor {
        Descriptor {
            state: AtomicU64::new(0),
            wake: WakeSequence::default(),
            spc_oid: AtomicU32::new(0),
            db_oid: AtomicU32::new(0),
            rel_number: AtomicU32::new(0),
            fork: AtomicU32::new(0),
            block: AtomicU32::new(0),
            io_slot: AtomicU32::new(0),
            io_generation: AtomicU64::new(0),
        }
    }

    #[inline]
    pub(crate) fn state(&self) -> u64 {
        self.state.load(Ordering::Acquire)
    }

    #[inline]
    pub(crate) const fn pins(state: u64) -> u64 {
        state & PIN_MASK
    }

    #[inline]
    pub(crate) const fn usage(state: u64) -> u64 {
        (state & USAGE_MASK) >> USAGE_SHIFT
    }

    // ---- tag ----

    /// The tag as stored. Meaningful to a pinner, or as a hint that is checked again under a pin.
    #[inline]
    pub(crate) fn tag(&self) -> BufferTag {
        let fork = match self.fork.load(Ordering::Relaxed) {
            1 => ForkNumber::Fsm,
            2 => ForkNumber::Vm,
            3 => ForkNumber::Init,
            _ => ForkNumber::Main,
        };
        BufferTag::new(
            RelFork::new(
                RelFileLocator {
                    spc_oid: Oid(self.spc_oid.load(Ordering::Relaxed)),
                    db_oid: Oid(self.db_oid.load(Ordering::Relaxed)),
                    rel_number: self.rel_number.load(Ordering::Relaxed),
                },
                fork,
            ),
            self.block.load(Ordering::Relaxed),
        )
    }

    /// Gives the buffer its tag and puts `flags` (at least `TAG_VALID`) and a usage count of one into
    /// the word. The caller is the sole pinner of an untagged buffer (rule 1) and holds the tag's
    /// mapping partition exclusively.
    pub(crate) fn publish_tag(&self, tag: BufferTag, flags: u64) {
        let state = self.state();
        assert!(
            state & TAG_VALID == 0 && Self::pins(state) == 1 && flags & TAG_VALID != 0,
            "a buffer is given a tag while others can find it"
        );
        let rel = &tag.rel_fork.rel;
        self.spc_oid.store(rel.spc_oid.0, Ordering::Relaxed);
        self.db_oid.store(rel.db_oid.0, Ordering::Relaxed);
        self.rel_number.store(rel.rel_number, Ordering::Relaxed);
        self.fork.store(tag.rel_fork.fork as u32, Ordering::Relaxed);
        self.block.store(tag.block, Ordering::Relaxed);
        self.state.fetch_add(flags | USAGE_ONE, Ordering::Release);
    }

    /// Takes the tag, and what came with it, from a buffer that the caller alone pins, unless that is
    /// no longer so or the buffer has become dirty. Under the tag's mapping partition, exclusively.
    pub(crate) fn retract_tag(&self) -> bool {
        let mut state = self.state();
        loop {
            // An orphan may have been dirtied by who still pinned it; it has nowhere to go.
            let unwritten = state & DIRTY != 0 && state & TAG_VALID != 0;
            if Self::pins(state) != 1 || state & IO_IN_PROGRESS != 0 || unwritten {
                return false;
            }
            let next =
                state & !(TAG_VALID | VALID | DIRTY | CHECKPOINT_NEEDED | IO_ERROR | USAGE_MASK);
            match self.cas(state, next) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
    }

    /// Takes the tag from a buffer whose block is gone (dropped, truncated), dirty or not, pinned or
    /// not; who still pins it keeps a page that nobody else finds. Fails while an I/O is in progress.
    /// Under the tag's mapping partition, exclusively.
    pub(crate) fn orphan(&self) -> bool {
        let mut state = self.state();
        loop {
            if state & IO_IN_PROGRESS != 0 {
                return false;
            }
            let mut next = state & !(TAG_VALID | DIRTY | CHECKPOINT_NEEDED | IO_ERROR | USAGE_MASK);
            if Self::pins(state) == 0 {
                next &= !VALID;
            }
            match self.cas(state, next) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
    }

    // ---- pins ----

    /// Pins a buffer that the caller found in the mapping (whose partition it holds), and gives the
    /// state as it then is. Raises the usage count; for a ring's reader to one at most.
    #[inline]
    pub(crate) fn pin_found(&self, in_ring: bool) -> u64 {
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            let limit = if in_ring { 1 } else { USAGE_MAX };
            let mut next = state + PIN_ONE;
            if Self::usage(state) < limit {
                next += USAGE_ONE;
            }
            assert!(Self::pins(state) < PIN_MASK, "too many pins on one buffer");
            match self.cas_weak(state, next) {
                Ok(_) => return next,
                Err(now) => state = now,
            }
        }
    }

    /// One more pin for somebody who has one.
    #[inline]
    pub(crate) fn pin_again(&self) {
        let before = self.state.fetch_add(PIN_ONE, Ordering::Relaxed);
        assert!(
            Self::pins(before) > 0 && Self::pins(before) < PIN_MASK,
            "too many pins on one buffer"
        );
    }

    /// Pins a buffer found by looking at descriptors, if it has `want` flags, without changing its
    /// usage count. The tag may be read reliably only after this.
    pub(crate) fn pin_if(&self, want: u64) -> bool {
        let mut state = self.state();
        loop {
            if state & want != want {
                return false;
            }
            match self.cas(state, state + PIN_ONE) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
    }

    /// Claims an unpinned buffer as a victim: its only pin is then the caller's.
    pub(crate) fn claim_unpinned(&self, usage_limit: u64) -> Result<u64, u64> {
        let mut state = self.state();
        loop {
            if Self::pins(state) != 0 || Self::usage(state) > usage_limit {
                return Err(state);
            }
            match self.cas(state, state + PIN_ONE) {
                Ok(_) => return Ok(state + PIN_ONE),
                Err(now) => state = now,
            }
        }
    }

    /// Lowers the usage count as the clock hand passes. False if the buffer changed meanwhile.
    pub(crate) fn decay_usage(&self, state: u64) -> bool {
        Self::usage(state) > 0 && self.cas(state, state - USAGE_ONE).is_ok()
    }

    #[inline]
    pub(crate) fn unpin(&self) {
        let before = self.state.fetch_sub(PIN_ONE, Ordering::Release);
        assert!(
            Self::pins(before) > 0,
            "a buffer is unpinned that is not pinned"
        );
    }

    // ---- flags ----

    /// Marks the page newer than its block; whether it was that before. The caller holds the content
    /// lock exclusively. What the caller loads afterwards is no older than the mark.
    pub(crate) fn mark_dirty(&self) -> bool {
        let before = self.state.fetch_or(DIRTY, Ordering::SeqCst);
        assert!(
            before & EXCLUSIVE != 0,
            "a page is dirtied without its exclusive content lock"
        );
        before & DIRTY != 0
    }

    /// Takes back a mark that the caller made under the content lock that it still holds exclusively:
    /// what was changed may be lost.
    pub(crate) fn unmark_dirty(&self) {
        let before = self
            .state
            .fetch_and(!(DIRTY | CHECKPOINT_NEEDED), Ordering::AcqRel);
        assert!(
            before & EXCLUSIVE != 0 && before & DIRTY != 0,
            "a page is made clean that was not just dirtied"
        );
    }

    /// Marks the page for the checkpoint that begins, if it is dirty and has a block to be written to.
    /// A write in progress counts as not done: it may fail.
    pub(crate) fn mark_for_checkpoint(&self) -> bool {
        let mut state = self.state();
        loop {
            if state & (DIRTY | TAG_VALID) != DIRTY | TAG_VALID {
                return false;
            }
            match self.cas(state, state | CHECKPOINT_NEEDED) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
    }

    // ---- I/O in progress ----

    /// Claims the buffer for an I/O (rule 4). The caller pins it; for a write it holds the content
    /// lock in share-exclusive mode.
    pub(crate) fn claim_io(&self, kind: IoKind) -> IoClaim {
        let mut state = self.state();
        loop {
            if state & IO_IN_PROGRESS != 0 {
                return IoClaim::InProgress;
            }
            let next = match kind {
                IoKind::Read if state & VALID != 0 => return IoClaim::NotNeeded,
                IoKind::Write if state & (DIRTY | TAG_VALID) != DIRTY | TAG_VALID => {
                    return IoClaim::NotNeeded;
                }
                IoKind::Read => state | IO_IN_PROGRESS,
                IoKind::Write => {
                    assert!(
                        state & SHARE_EXCLUSIVE != 0 && state & VALID != 0,
                        "a page is written without its share-exclusive content lock"
                    );
                    state | IO_IN_PROGRESS | IO_WRITE
                }
            };
            match self.cas(state, next) {
                Ok(_) => return IoClaim::Claimed,
                Err(now) => state = now,
            }
        }
    }

    /// Gives back a claim for which no I/O was staged.
    pub(crate) fn abandon_io(&self) {
        self.update_and_wake(|state| {
            assert!(state & IO_IN_PROGRESS != 0 && state & IO_STAGED == 0);
            state & !IO_FLAGS
        });
    }

    /// The claimed I/O now has a wait reference, and a pin of its own (A7). Wakes those that waited
    /// for nothing but the reference, so that they can drive the I/O (B10).
    pub(crate) fn stage_io(&self, wait_ref: WaitRef) {
        self.io_slot.store(wait_ref.slot, Ordering::Relaxed);
        self.io_generation
            .store(wait_ref.generation, Ordering::Relaxed);
        self.update_and_wake(|state| {
            assert!(state & IO_IN_PROGRESS != 0 && state & IO_STAGED == 0);
            (state | IO_STAGED) + PIN_ONE
        });
    }

    /// The end of a read: publishes the page if it is good, drops the I/O's pin.
    pub(crate) fn finish_read(&self, good: bool) {
        self.update_and_wake(|state| {
            assert!(
                state & IO_STAGED != 0 && state & (IO_WRITE | VALID) == 0,
                "a read ends on a buffer that is not being read"
            );
            let flags = if good { VALID } else { IO_ERROR };
            ((state & !(IO_FLAGS | IO_ERROR)) | flags) - PIN_ONE
        });
    }

    /// The end of a write: the page is clean if it got there; releases the I/O's content lock and pin.
    pub(crate) fn finish_write(&self, good: bool) {
        self.update_and_wake(|state| {
            assert!(
                state & IO_STAGED != 0 && state & IO_WRITE != 0 && state & SHARE_EXCLUSIVE != 0,
                "a write ends on a buffer that is not being written"
            );
            let state = (state & !(IO_FLAGS | IO_ERROR | SHARE_EXCLUSIVE)) - PIN_ONE;
            if good {
                state & !(DIRTY | CHECKPOINT_NEEDED)
            } else {
                state | IO_ERROR
            }
        });
    }

    /// The page of a new block needs no read: `VALID` at once. The caller claimed a read.
    pub(crate) fn finish_without_read(&self) {
        self.update_and_wake(|state| {
            assert!(state & IO_IN_PROGRESS != 0 && state & (IO_STAGED | IO_WRITE | VALID) == 0);
            (state & !IO_FLAGS) | VALID
        });
    }

    /// The wait reference of the I/O in progress, if it has one. It may be over when the caller looks;
    /// waiting for it then returns at once.
    pub(crate) fn io_wait_ref(&self, state: u64) -> Option<WaitRef> {
        (state & IO_STAGED != 0).then(|| WaitRef {
            slot: self.io_slot.load(Ordering::Relaxed),
            generation: self.io_generation.load(Ordering::Relaxed),
        })
    }

    /// Waits until no I/O is in progress, driving the one found (B1) through `drive`. Gives the state.
    pub(crate) fn wait_io(&self, mut drive: impl FnMut(WaitRef)) -> u64 {
        loop {
            let state = self.state();
            if state & IO_IN_PROGRESS == 0 {
                return state;
            }
            match self.io_wait_ref(state) {
                Some(wait_ref) => drive(wait_ref),
                None => self.park_while(|s| s & IO_IN_PROGRESS != 0 && s & IO_STAGED == 0),
            }
        }
    }

    // ---- content lock ----

    /// Takes the content lock if that needs no wait.
    #[inline]
    pub(crate) fn try_lock(&self, mode: LockMode) -> bool {
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            if state & mode.conflicts() != 0 {
                return false;
            }
            match self.cas_weak(state, state + mode.held()) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
    }

    /// Takes the content lock, driving the write that holds it through `drive` if one does (B10).
    #[inline]
    pub(crate) fn lock(&self, mode: LockMode, drive: impl FnMut(WaitRef)) {
        if !self.try_lock(mode) {
            self.lock_slow(mode, drive);
        }
    }

    #[cold]
    fn lock_slow(&self, mode: LockMode, mut drive: impl FnMut(WaitRef)) {
        while !self.try_lock(mode) {
            let state = self.state();
            match self.io_wait_ref(state) {
                Some(wait_ref) if state & mode.conflicts() != 0 => drive(wait_ref),
                _ => self.park_while(|s| s & mode.conflicts() != 0 && s & IO_STAGED == 0),
            }
        }
    }

    /// Releases the content lock.
    #[inline]
    pub(crate) fn unlock(&self, mode: LockMode) {
        let before = self.state.fetch_sub(mode.held(), Ordering::Release);
        assert!(
            match mode {
                LockMode::Shared => before & SHARED_MASK != 0,
                other => before & other.held() != 0,
            },
            "a content lock is released that is not held"
        );
        if before & WAITERS != 0 {
            self.wake_all();
        }
    }

    /// Changes the mode held to one that excludes less, without letting go.
    pub(crate) fn downgrade(&self, from: LockMode, to: LockMode) {
        assert!(from == LockMode::Exclusive && to != LockMode::Exclusive);
        self.update_and_wake(|state| {
            assert!(state & EXCLUSIVE != 0);
            state - from.held() + to.held()
        });
    }

    /// Turns the mode held into exclusive if nobody else holds the lock.
    pub(crate) fn try_upgrade(&self, from: LockMode) -> bool {
        let mut state = self.state();
        loop {
            let others = state - from.held();
            if others & LockMode::Exclusive.conflicts() != 0 {
                return false;
            }
            match self.cas(state, others + EXCLUSIVE) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
    }

    // ---- parking ----

    /// Parks until `blocked` no longer holds for the word.
    fn park_while(&self, blocked: impl Fn(u64) -> bool) {
        loop {
            // The sequence is read before the word: a change after the look moves it, and the wait
            // below returns at once.
            let sequence = self.wake.now();
            let state = self.state();
            if !blocked(state) {
                return;
            }
            if state & WAITERS == 0 && self.cas(state, state | WAITERS).is_err() {
                continue;
            }
            self.wake.wait(sequence);
        }
    }

    #[cold]
    fn wake_all(&self) {
        self.state.fetch_and(!WAITERS, Ordering::AcqRel);
        self.wake.wake_all();
    }

    fn update_and_wake(&self, change: impl Fn(u64) -> u64) {
        let mut state = self.state();
        loop {
            match self.cas(state, change(state) & !WAITERS) {
                Ok(_) => break,
                Err(now) => state = now,
            }
        }
        if state & WAITERS != 0 {
            self.wake.wake_all();
        }
    }

    #[inline]
    fn cas(&self, from: u64, to: u64) -> Result<u64, u64> {
        self.state
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
    }

    #[inline]
    fn cas_weak(&self, from: u64, to: u64) -> Result<u64, u64> {
        self.state
            .compare_exchange_weak(from, to, Ordering::AcqRel, Ordering::Relaxed)
    }
}
