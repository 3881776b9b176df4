//! The life cycle of a handle: one enum, one transition function.
//!
//! ```text
//!          acquire        start            stage hooks     pending list
//!  Idle ───────▶ HandedOut ───▶ Defined ───────▶ Staged ───────▶ Pending
//!   ▲  ▲             │                                             │ submit
//!   │  └── release ──┘                 ┌── short, retried ──┐      ▼
//!   │                                  ▼                    │      │
//!   └── CompletedLocal ◀── CompletedShared ◀── CompletedIo ◀── Submitted
//!        (local callback     (shared callbacks    (result from
//!         taken over)         have run)            the method)
//! ```
//!
//! State and generation share one atomic word, so that a look at a handle
//! through an old [`crate::WaitRef`] can never mistake a later use of the
//! handle for the I/O it was made for. The generation grows whenever the
//! handle becomes idle.

use crate::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// Where a handle is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum State {
    /// In its issuer's free list. Next: `HandedOut`.
    Idle,
    /// Held by the issuer as an [`crate::IoHandle`]. Next: `Defined`, or
    /// `Idle` when released undefined.
    HandedOut,
    /// Operation, file and memory are known. Next: `Staged`.
    Defined,
    /// The stage hooks have taken the references that the I/O itself owns.
    /// Next: `Pending`.
    Staged,
    /// On its issuer's pending list. Next: `Submitted`.
    Pending,
    /// With the method. Next: `CompletedIo`.
    Submitted,
    /// The method has a result, and one thread works on it. Next:
    /// `CompletedShared`, or `Submitted` for the remainder of a short
    /// transfer or another attempt.
    CompletedIo,
    /// The shared callbacks have run; whoever waited may go on. Next:
    /// `CompletedLocal`.
    CompletedShared,
    /// The issuer has taken over the local callback and the result. Next:
    /// `Idle`.
    CompletedLocal,
}

impl State {
    const ALL: [State; 9] = [
        State::Idle,
        State::HandedOut,
        State::Defined,
        State::Staged,
        State::Pending,
        State::Submitted,
        State::CompletedIo,
        State::CompletedShared,
        State::CompletedLocal,
    ];

    /// The states that may follow this one.
    pub const fn successors(self) -> &'static [State] {
        match self {
            State::Idle => &[State::HandedOut],
            State::HandedOut => &[State::Defined, State::Idle],
            State::Defined => &[State::Staged],
            State::Staged => &[State::Pending],
            State::Pending => &[State::Submitted],
            State::Submitted => &[State::CompletedIo],
            State::CompletedIo => &[State::CompletedShared, State::Submitted],
            State::CompletedShared => &[State::CompletedLocal],
            State::CompletedLocal => &[State::Idle],
        }
    }

    /// The name in `pg_stat_aios`.
    pub const fn name(self) -> &'static str {
        match self {
            State::Idle => "IDLE",
            State::HandedOut => "HANDED_OUT",
            State::Defined => "DEFINED",
            State::Staged => "STAGED",
            State::Pending => "PENDING",
            State::Submitted => "SUBMITTED",
            State::CompletedIo => "COMPLETED_IO",
            State::CompletedShared => "COMPLETED_SHARED",
            State::CompletedLocal => "COMPLETED_LOCAL",
        }
    }
}

/// State (low byte) and generation (the rest) of one handle.
///
/// All accesses are sequentially consistent: a waiter registers and then
/// looks at the state, a completer changes the state and then looks for
/// waiters, and at least one of the two must see the other.
#[derive(Debug)]
pub(crate) struct StateWord(AtomicU64);

impl StateWord {
    /// An idle handle; generations start at 1 so that a zeroed [`crate::WaitRef`]
    /// never matches.
    pub(crate) fn new() -> Self {
        StateWord(AtomicU64::new(1 << 8))
    }

    /// The current generation and state, as one consistent pair.
    pub(crate) fn load(&self) -> (u64, State) {
        let word = self.0.load(SeqCst);
        (word >> 8, State::ALL[(word & 0xff) as usize])
    }

    /// The only way a handle changes state. False when the handle is not in
    /// `from` (or not in this generation) any more, which a caller may only
    /// expect where two threads compete to take a handle back.
    ///
    /// # Panics
    /// If `to` is no successor of `from`.
    pub(crate) fn try_transition(&self, generation: u64, from: State, to: State) -> bool {
        assert!(
            from.successors().contains(&to),
            "AIO handle: no way from {from:?} to {to:?}"
        );
        let next = if to == State::Idle {
            generation + 1
        } else {
            generation
        };
        let old_word = generation << 8 | from as u64;
        let new_word = next << 8 | to as u64;
        self.0
            .compare_exchange(old_word, new_word, SeqCst, SeqCst)
            .is_ok()
    }

    /// [`Self::try_transition`] by a thread that owns the handle's current
    /// state.
    ///
    /// # Panics
    /// If `to` is no successor of `from`, or the handle is not in `from`.
    pub(crate) fn transition(&self, generation: u64, from: State, to: State) {
        assert!(
            self.try_transition(generation, from, to),
            "AIO handle: {from:?} of generation {generation} expected on the way to {to:?}, \
             found {:?}",
            self.load()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_life_ends_idle_with_a_new_generation() {
        let word = StateWord::new();
        let path = [
            State::Idle,
            State::HandedOut,
            State::Defined,
            State::Staged,
            State::Pending,
            State::Submitted,
            State::CompletedIo,
            State::Submitted,
            State::CompletedIo,
            State::CompletedShared,
            State::CompletedLocal,
            State::Idle,
        ];
        for step in path.windows(2) {
            word.transition(1, step[0], step[1]);
        }
        assert_eq!(word.load(), (2, State::Idle));
    }

    #[test]
    #[should_panic(expected = "no way from HandedOut to Submitted")]
    fn an_illegal_transition_asserts() {
        let word = StateWord::new();
        word.transition(1, State::Idle, State::HandedOut);
        word.transition(1, State::HandedOut, State::Submitted);
    }

    #[test]
    #[should_panic(expected = "expected on the way to")]
    fn a_transition_of_an_old_generation_asserts() {
        let word = StateWord::new();
        word.transition(1, State::Idle, State::HandedOut);
        word.transition(1, State::HandedOut, State::Idle);
        word.transition(1, State::Idle, State::HandedOut);
    }

    #[test]
    fn every_state_decodes_to_itself() {
        for (index, state) in State::ALL.into_iter().enumerate() {
            assert_eq!(index, state as usize);
        }
    }
}
