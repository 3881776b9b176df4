//! Which insertions are complete (W1).
//!
//! An insertion reserves its bytes and, under the same lock, the next ticket; it copies; it
//! *publishes* its ticket. Insertions publish in any order; the log is whole up to the end of the
//! longest run of published tickets. Anyone who publishes moves that end over everything published
//! behind it, so that nobody depends on a particular thread.
//!
//! Invariants:
//! 1. Ticket `t` is given out only if `t < completed + slots`, so that a slot has one user.
//! 2. A slot's end is written before its ticket, and stays until `completed` has passed it.
//! 3. `completed` grows by one ticket at a time; `completed_lsn` never shrinks, and is at most the
//!    end of the last completed ticket, or what the one behind it has told to be in place.

use trunkline_pgformat::Lsn;

use crate::event::Event;
use crate::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
    fence,
};

/// Insertions between reservation and publication, at most.
pub(crate) const MAX_INSERTIONS: usize = 64;

#[derive(Debug)]
#[repr(align(64))]
struct Slot {
    /// The ticket published last, plus one.
    published: AtomicU64,
    /// Where its bytes end.
    end: AtomicU64,
}

/// Insertions in progress, and how far the log is whole.
#[derive(Debug)]
pub(crate) struct Tickets {
    slots: Box<[Slot]>,
    completed: AtomicU64,
    completed_lsn: AtomicU64,
    changed: Event,
}

impl Tickets {
    /// A log that is whole up to `start`, with room for `slots` insertions at a time.
    pub(crate) fn new(slots: usize, start: Lsn) -> Self {
        Tickets {
            slots: (0..slots)
                .map(|_| Slot {
                    published: AtomicU64::new(0),
                    end: AtomicU64::new(0),
                })
                .collect(),
            completed: AtomicU64::new(0),
            completed_lsn: AtomicU64::new(start.0),
            changed: Event::new(),
        }
    }

    /// The log is whole up to here.
    pub(crate) fn completed_lsn(&self) -> Lsn {
        Lsn(self.completed_lsn.load(Acquire))
    }

    /// Whether ticket `ticket` may be given out.
    pub(crate) fn has_room_for(&self, ticket: u64) -> bool {
        ticket < self.completed.load(Acquire) + self.slots.len() as u64
    }

    /// Whether every ticket before `ticket` is complete.
    pub(crate) fn are_complete_before(&self, ticket: u64) -> bool {
        self.completed.load(Acquire) >= ticket
    }

    /// The bytes of `ticket`, which end at `end`, are in place.
    pub(crate) fn publish(&self, ticket: u64, end: Lsn) {
        let slot = self.slot(ticket);
        slot.end.store(end.0, Relaxed);
        slot.published.store(ticket + 1, Release);
        // Of two who publish neighbouring tickets at once, at least one sees both.
        fence(SeqCst);
        if self.advance() {
            self.changed.wake();
        }
    }

    /// Of the bytes of `ticket`, those before `lsn` are in place: they may be written while the rest is
    /// being filled. For a place that is longer than the ring, whose filling has to wait for writes of
    /// its own beginning.
    ///
    /// # Panics
    /// If an insertion before it is in progress: its bytes are not there.
    pub(crate) fn publish_part(&self, ticket: u64, lsn: Lsn) {
        let completed = self.completed.load(Acquire);
        assert_eq!(completed, ticket, "a part of the WAL behind a gap");
        self.completed_lsn.fetch_max(lsn.0, AcqRel);
        self.changed.wake();
    }

    fn slot(&self, ticket: u64) -> &Slot {
        &self.slots[(ticket % self.slots.len() as u64) as usize]
    }

    /// Moves the end over what is published; whether it moved.
    fn advance(&self) -> bool {
        let mut moved = false;
        loop {
            let ticket = self.completed.load(Acquire);
            let slot = self.slot(ticket);
            if slot.published.load(Acquire) != ticket + 1 {
                return moved;
            }
            // The right one if the exchange succeeds, by invariants 1 and 2.
            let end = slot.end.load(Relaxed);
            let exchanged = self
                .completed
                .compare_exchange(ticket, ticket + 1, AcqRel, Acquire);
            if exchanged.is_ok() {
                self.completed_lsn.fetch_max(end, AcqRel);
                moved = true;
            }
        }
    }

    /// Waits until the log is whole up to `lsn`, or `given_up` says that it will not be.
    pub(crate) fn wait_for_lsn(&self, lsn: Lsn, given_up: impl Fn() -> bool) {
        self.changed
            .wait_until(|| self.completed_lsn() >= lsn || given_up());
    }

    /// Waits until `ticket` may be given out, or `given_up` says that it will not be.
    pub(crate) fn wait_for_room(&self, ticket: u64, given_up: impl Fn() -> bool) {
        self.changed
            .wait_until(|| self.has_room_for(ticket) || given_up());
    }

    /// Has those who wait look whether it was given up.
    pub(crate) fn wake(&self) {
        self.changed.wake();
    }
}

#[cfg(all(test, not(trunkline_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_that_of_the_run_of_published_tickets() {
        let tickets = Tickets::new(4, Lsn(100));
        assert_eq!(tickets.completed_lsn(), Lsn(100));
        tickets.publish(1, Lsn(120));
        assert_eq!(tickets.completed_lsn(), Lsn(100));
        assert!(tickets.has_room_for(3) && !tickets.has_room_for(4));
        tickets.publish(0, Lsn(110));
        assert_eq!(tickets.completed_lsn(), Lsn(120));
        assert!(tickets.has_room_for(5) && !tickets.has_room_for(6));
        assert!(tickets.are_complete_before(2) && !tickets.are_complete_before(3));
    }

    #[test]
    fn a_part_counts_once_everything_before_it_is_complete() {
        let tickets = Tickets::new(4, Lsn(100));
        tickets.publish(1, Lsn(500));
        tickets.publish_part(0, Lsn(200));
        assert_eq!(tickets.completed_lsn(), Lsn(200));
        tickets.publish_part(0, Lsn(300));
        assert_eq!(tickets.completed_lsn(), Lsn(300));
        assert!(!tickets.are_complete_before(1));
        tickets.publish(0, Lsn(400));
        assert_eq!(tickets.completed_lsn(), Lsn(500));
    }

    #[test]
    #[should_panic(expected = "behind a gap")]
    fn a_part_behind_an_insertion_in_progress_is_refused() {
        Tickets::new(4, Lsn(100)).publish_part(1, Lsn(200));
    }

    #[test]
    fn many_threads_complete_everything_in_order() {
        const COUNT: u64 = 20_000;
        let tickets = Tickets::new(8, Lsn(0));
        let next = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    loop {
                        let ticket = next.fetch_add(1, Relaxed);
                        if ticket >= COUNT {
                            break;
                        }
                        tickets.wait_for_room(ticket, || false);
                        tickets.publish(ticket, Lsn(ticket + 1));
                    }
                });
            }
            for lsn in (1..=COUNT).step_by(997) {
                tickets.wait_for_lsn(Lsn(lsn), || false);
                assert!(tickets.completed_lsn() >= Lsn(lsn));
            }
        });
        assert_eq!(tickets.completed_lsn(), Lsn(COUNT));
    }

    #[test]
    fn a_wait_can_be_given_up() {
        let tickets = Tickets::new(1, Lsn(0));
        let failed = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| tickets.wait_for_lsn(Lsn(1), || failed.load(SeqCst)));
            failed.store(true, SeqCst);
            tickets.wake();
            waiter.join().unwrap();
        });
        assert_eq!(tickets.completed_lsn(), Lsn(0));
    }
}
