//! Which commits are between their record and their entry in `pg_xact` (W10).
//!
//! Recovery begins at a checkpoint's redo point. A commit whose record lies before it must be in the
//! `pg_xact` that the checkpoint writes, for the record will not be read again. So the checkpoint
//! waits, once it has its redo point, for every commit that may have inserted its record before
//! (`DELAY_CHKPT_START` in PostgreSQL's `storage/proc.h`); those that come later it need not wait for,
//! so it ends however many come.
//!
//! Commits are counted by epoch. A checkpoint makes the next one begin and waits until the one before
//! is empty:
//!
//! ```text
//! one word:  63 epoch │ 62 somebody waits │ 61 a checkpoint waits │ 30..60 in epoch 1 │ 0..30 in epoch 0
//! ```
//!
//! Entering reads the epoch and counts in one step, so nobody counts in an epoch that is over. It comes
//! before the record's reservation and beginning to wait after the redo point's, and both of these take
//! the log's insertion lock: who is before the redo point there, is seen here.

use crate::sync::modelled::{AtomicU64, Condvar, Mutex, Ordering, lock_modelled};

const EPOCH: u64 = 1 << 63;
const WAITED_FOR: u64 = 1 << 62;
const CHECKPOINT: u64 = 1 << 61;
const COUNT_BITS: u32 = 30;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

#[derive(Debug)]
pub(crate) struct CommitGate {
    word: AtomicU64,
    /// Guards nothing but the sleep of who waits. A leaf.
    sleep: Mutex<()>,
    emptied: Condvar,
}

/// A commit that is inside, for as long as it holds this; to be given to [`CommitGate::leave`].
#[derive(Debug)]
#[must_use = "who does not leave holds up every checkpoint"]
pub(crate) struct InsideGate {
    epoch: u32,
}

/// How far the wait for those inside has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Draining {
    /// Some are left in the epoch before the current one: an earlier wait was given up.
    Older,
    /// The next epoch has begun; some are left in this one.
    Epoch(u32),
    /// All that were inside have left.
    Done,
}

impl CommitGate {
    pub fn new() -> CommitGate {
        CommitGate {
            word: AtomicU64::new(0),
            sleep: Mutex::new(()),
            emptied: Condvar::new(),
        }
    }

    /// To be called before the commit's record is inserted, and to be left after its entry is made.
    pub fn enter(&self) -> InsideGate {
        let mut now = self.word.load(Ordering::Relaxed);
        loop {
            let epoch = epoch_of(now);
            assert!(count(now, epoch) < COUNT_MASK, "too many commits at once");
            match self.word.compare_exchange_weak(
                now,
                now + one(epoch),
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => return InsideGate { epoch },
                Err(other) => now = other,
            }
        }
    }

    /// The commit's entry is made, or it has not happened.
    pub fn leave(&self, inside: InsideGate) {
        let InsideGate { epoch } = inside;
        let before = self.word.fetch_sub(one(epoch), Ordering::AcqRel);
        if before & WAITED_FOR != 0 && count(before, epoch) == 1 {
            drop(lock_modelled(&self.sleep));
            self.emptied.notify_all();
        }
    }

    /// A checkpoint has its redo point, and begins to wait. There is one at a time.
    pub fn begin_wait(&self) -> Draining {
        let before = self.word.fetch_or(CHECKPOINT, Ordering::AcqRel);
        assert_eq!(before & CHECKPOINT, 0, "two checkpoints at once");
        self.advance(Draining::Older)
    }

    /// The checkpoint waits no more, be it that it need not.
    pub fn end_wait(&self) {
        self.word.fetch_and(!CHECKPOINT, Ordering::AcqRel);
    }

    /// How far the wait has come by now.
    pub fn advance(&self, mut draining: Draining) -> Draining {
        loop {
            let now = self.word.load(Ordering::Acquire);
            draining = match draining {
                Draining::Older if count(now, 1 - epoch_of(now)) > 0 => return draining,
                // Nobody enters the older epoch, so it is empty still.
                Draining::Older => {
                    let before = self.word.fetch_xor(EPOCH, Ordering::AcqRel);
                    Draining::Epoch(epoch_of(before))
                }
                Draining::Epoch(epoch) if count(now, epoch) > 0 => return draining,
                Draining::Epoch(_) | Draining::Done => return Draining::Done,
            };
        }
    }

    /// Blocks until all have left.
    pub fn wait(&self, mut draining: Draining) -> Draining {
        let mut sleep = lock_modelled(&self.sleep);
        loop {
            // Before looking: who leaves after the look sees it, and then needs the lock to wake us.
            self.word.fetch_or(WAITED_FOR, Ordering::AcqRel);
            draining = self.advance(draining);
            if draining == Draining::Done {
                self.word.fetch_and(!WAITED_FOR, Ordering::AcqRel);
                return draining;
            }
            sleep = self
                .emptied
                .wait(sleep)
                .unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }
}

const fn epoch_of(word: u64) -> u32 {
    (word & EPOCH != 0) as u32
}

const fn one(epoch: u32) -> u64 {
    1 << (epoch * COUNT_BITS)
}

const fn count(word: u64, epoch: u32) -> u64 {
    word >> (epoch * COUNT_BITS) & COUNT_MASK
}

#[cfg(test)]
mod tests;
