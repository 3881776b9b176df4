//! I/Os in flight over consecutive ranges of the log, and the prefix that is done (W2, W4).
//!
//! Ranges are claimed in the order of the log, complete in any order, and count only when all before
//! them do. A range that fails stays at its place for ever: nothing behind it counts any more (W7).

use std::collections::VecDeque;

use trunkline_aio::WaitRef;
use trunkline_pgformat::Lsn;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RangeState {
    /// Claimed; its I/O is about to be started, or in flight.
    InFlight,
    /// Its I/O succeeded; not counted while one before it is in flight.
    Done,
    /// Its I/O failed. Final.
    Failed,
}

/// Who sees to it that a range's I/O completes, once it is submitted. Tasks wait for I/Os that others
/// started, and cannot complete them; the method can be told to only when it has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Care {
    /// Not submitted; no task has asked. Next: `Wanted`, `Submitted`.
    Unsubmitted,
    /// Not submitted; who submits it is to tell the method. Next: `Driven`.
    Wanted,
    /// Submitted; a thread waits for it, perhaps. Next: `Driven`.
    Submitted,
    /// The method's.
    Driven,
}

#[derive(Clone, Copy, Debug)]
struct Range {
    end: Lsn,
    io: WaitRef,
    state: RangeState,
    care: Care,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct RangeQueue {
    /// Oldest first, at most `limit`.
    ranges: VecDeque<Range>,
    limit: usize,
    /// Number of the oldest, modulo `limit`.
    first: usize,
    /// Everything before is claimed, or was before.
    claimed: Lsn,
    /// Everything before is done.
    done: Lsn,
}

impl RangeQueue {
    pub(crate) fn new(limit: usize, start: Lsn) -> Self {
        RangeQueue {
            ranges: VecDeque::with_capacity(limit),
            limit,
            first: 0,
            claimed: start,
            done: start,
        }
    }

    pub(crate) fn claimed(&self) -> Lsn {
        self.claimed
    }

    pub(crate) fn done(&self) -> Lsn {
        self.done
    }

    /// The oldest I/O, if there is no room for another one.
    pub(crate) fn full(&self) -> Option<WaitRef> {
        (self.ranges.len() == self.limit)
            .then(|| self.ranges.front().map(|range| range.io))
            .flatten()
    }

    /// I/Os that do not count yet: those in flight, and those behind them.
    pub(crate) fn len(&self) -> usize {
        self.ranges.len()
    }

    /// The I/O claimed last, if it is in flight.
    pub(crate) fn last_in_flight(&self) -> Option<WaitRef> {
        let last = self.ranges.back()?;
        (last.state == RangeState::InFlight).then_some(last.io)
    }

    /// The oldest I/O in flight among those that everything before `lsn` waits for.
    pub(crate) fn oldest_before(&self, lsn: Lsn) -> Option<WaitRef> {
        let mut start = self.done;
        for range in &self.ranges {
            if start >= lsn {
                break;
            }
            if range.state == RangeState::InFlight {
                return Some(range.io);
            }
            start = range.end;
        }
        None
    }

    /// Claims what lies between the last claim and `end` for `io`: a number below the limit that no
    /// other range in flight has.
    ///
    /// # Panics
    /// If there is no room, or nothing to claim.
    pub(crate) fn claim(&mut self, end: Lsn, io: WaitRef) -> usize {
        assert!(
            self.ranges.len() < self.limit,
            "too many WAL I/Os in flight"
        );
        assert!(end > self.claimed, "an empty range of the WAL");
        let number = (self.first + self.ranges.len()) % self.limit;
        self.ranges.push_back(Range {
            end,
            io,
            state: RangeState::InFlight,
            care: Care::Unsubmitted,
        });
        self.claimed = end;
        number
    }

    /// The I/O is submitted; whether its submitter is to tell the method to complete it, as it must if
    /// `goes_on` says that it will not wait.
    pub(crate) fn submitted(&mut self, io: WaitRef, goes_on: bool) -> bool {
        let range = self.ranges.iter_mut().find(|range| range.io == io);
        // Complete already.
        let Some(range) = range else {
            return false;
        };
        let is_driven = goes_on || range.care == Care::Wanted;
        range.care = if is_driven {
            Care::Driven
        } else {
            Care::Submitted
        };
        is_driven
    }

    /// A task waits for what is before `lsn`. Tells an I/O that the method is to be told to complete, until
    /// there is none; others will be when they are submitted.
    pub(crate) fn next_to_drive(&mut self, lsn: Lsn) -> Option<WaitRef> {
        let mut start = self.done;
        for range in &mut self.ranges {
            if start >= lsn {
                break;
            }
            start = range.end;
            if range.state != RangeState::InFlight {
                continue;
            }
            match range.care {
                Care::Unsubmitted => range.care = Care::Wanted,
                Care::Submitted => {
                    range.care = Care::Driven;
                    return Some(range.io);
                }
                Care::Wanted | Care::Driven => {}
            }
        }
        None
    }

    /// The I/O of range `number` is over.
    ///
    /// # Panics
    /// If it is not in flight.
    pub(crate) fn complete(&mut self, number: usize, succeeded: bool) {
        let index = (number + self.limit - self.first) % self.limit;
        let range = &mut self.ranges[index];
        assert_eq!(
            range.state,
            RangeState::InFlight,
            "a WAL I/O completed twice"
        );
        range.state = if succeeded {
            RangeState::Done
        } else {
            RangeState::Failed
        };
        while let Some(range) = self.ranges.front()
            && range.state == RangeState::Done
        {
            self.done = range.end;
            self.first = (self.first + 1) % self.limit;
            self.ranges.pop_front();
        }
    }
}

#[cfg(all(test, not(trunkline_loom)))]
mod tests {
    use super::*;

    fn io(slot: u32) -> WaitRef {
        WaitRef {
            slot,
            generation: 1,
        }
    }

    #[test]
    fn what_is_done_counts_when_everything_before_is() {
        let mut queue = RangeQueue::new(3, Lsn(10));
        let numbers = [20, 30, 40].map(|end| queue.claim(Lsn(end), io(end as u32)));
        assert_eq!(numbers, [0, 1, 2]);
        assert_eq!(queue.full(), Some(io(20)));
        queue.complete(1, true);
        assert_eq!((queue.done(), queue.claimed()), (Lsn(10), Lsn(40)));
        assert_eq!(queue.oldest_before(Lsn(20)), Some(io(20)));
        assert_eq!(queue.oldest_before(Lsn(31)), Some(io(20)));
        queue.complete(0, true);
        assert_eq!(queue.done(), Lsn(30));
        assert_eq!(queue.oldest_before(Lsn(30)), None);
        assert_eq!(queue.oldest_before(Lsn(31)), Some(io(40)));
        assert_eq!(queue.claim(Lsn(50), io(50)), 0);
        assert_eq!(queue.last_in_flight(), Some(io(50)));
        queue.complete(0, true);
        assert_eq!(queue.last_in_flight(), None);
        queue.complete(2, true);
        assert_eq!(queue.done(), Lsn(50));
    }

    #[test]
    fn nothing_behind_a_failure_counts() {
        let mut queue = RangeQueue::new(3, Lsn(0));
        for end in [10, 20, 30] {
            queue.claim(Lsn(end), io(end as u32));
        }
        queue.complete(1, false);
        queue.complete(2, true);
        queue.complete(0, true);
        assert_eq!(queue.done(), Lsn(10));
        assert_eq!(queue.oldest_before(Lsn(30)), None);
    }

    #[test]
    #[should_panic(expected = "completed twice")]
    fn an_io_completes_once() {
        let mut queue = RangeQueue::new(2, Lsn(0));
        queue.claim(Lsn(10), io(1));
        queue.claim(Lsn(20), io(2));
        queue.complete(1, true);
        queue.complete(1, true);
    }
}
