//! What is being written and synced, and what may be next (W2, W3, W4, W7).
//!
//! Only decides; starting I/O is [`crate::flush`]'s. One small lock, a leaf: completions take it too,
//! so nothing that could complete an I/O is called under it.
//!
//! Writes cover whole *units*, the smallest piece that is written at once. A write that ends within a
//! unit (the log's end is there) writes the unit with zeros behind. Until that write is complete, the
//! unit is not written again (W3): only the last write can be of that kind.

use trunkline_aio::WaitRef;
use trunkline_pgformat::Lsn;
use trunkline_pgformat::wal::segment::{SegmentNumber, SegmentSize};

use crate::config::SyncMethod;
use crate::error::Failure;
use crate::range_queue::RangeQueue;

/// Syncs in flight, at most. More would each cover little.
pub(crate) const MAX_SYNCS_IN_FLIGHT: usize = 4;

/// With so many writes in flight, flushes come together in the next one instead of padding: a larger
/// group costs less than one write more, whose submission and interrupt take about as much processor
/// time as a commit. Measured with `bench commit` (docs/decisions/0010).
const MAX_WRITES_TO_PAD: usize = 2;

/// How much of the complete log a write takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Whole units only: there will be more.
    WholeUnits,
    /// Everything.
    All,
}

/// What may be written next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NextWrite {
    /// Nothing.
    Nothing,
    /// `[start, end)`, in one segment; `start` is a unit's.
    Range { start: Lsn, end: Lsn },
    /// The unit is in flight: to be tried again after this I/O.
    UnitInFlight(WaitRef),
    /// As many writes as may be are in flight: to be tried again after this one.
    Full(WaitRef),
}

/// What may be synced next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NextSync {
    /// Nothing is written that no sync covers.
    Nothing,
    /// A segment, which was written from `start` to `end` since the last sync.
    Segment {
        segment: SegmentNumber,
        start: Lsn,
        end: Lsn,
    },
    /// As many syncs as may be are in flight: to be tried again after this one.
    Full(WaitRef),
}

/// What has changed for those who wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Startable {
    pub(crate) durable: Lsn,
    pub(crate) has_failed: bool,
    /// A write can be started for who waits for log in this range, its beginning excluded.
    pub(crate) write_beyond: Option<(Lsn, Lsn)>,
    /// A sync can be started for who waits for log in this range, its beginning excluded.
    pub(crate) sync_within: Option<(Lsn, Lsn)>,
}

/// What was done, for the statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WriterCounts {
    pub(crate) writes: u64,
    pub(crate) write_units: u64,
    pub(crate) syncs: u64,
    /// Times that a write had to wait for its first unit.
    pub(crate) partial_waits: u64,
}

#[derive(Debug)]
pub(crate) struct WriterState {
    segment_size: SegmentSize,
    unit_bytes: u64,
    max_write_bytes: u64,
    sync_method: SyncMethod,
    writes: RangeQueue,
    /// Unused if writes are durable by themselves.
    syncs: RangeQueue,
    failure: Option<Failure>,
    /// Threads and tasks in a flush that found something to do.
    flushers: usize,
    pub(crate) counts: WriterCounts,
}

impl WriterState {
    pub(crate) fn new(
        segment_size: SegmentSize,
        unit_bytes: u64,
        max_write_bytes: u64,
        max_writes: usize,
        sync_method: SyncMethod,
        start: Lsn,
    ) -> Self {
        WriterState {
            segment_size,
            unit_bytes,
            max_write_bytes,
            sync_method,
            writes: RangeQueue::new(max_writes, start),
            syncs: RangeQueue::new(MAX_SYNCS_IN_FLIGHT, start),
            failure: None,
            flushers: 0,
            counts: WriterCounts::default(),
        }
    }

    /// Everything before is in a write that was started.
    pub(crate) fn claimed(&self) -> Lsn {
        self.writes.claimed()
    }

    /// Everything before has been written.
    pub(crate) fn written(&self) -> Lsn {
        self.writes.done()
    }

    /// Everything before is durable.
    pub(crate) fn durable(&self) -> Lsn {
        match self.sync_method.sync_operation() {
            None => self.writes.done(),
            Some(_) => self.syncs.done(),
        }
    }

    pub(crate) fn failure(&self) -> Option<Failure> {
        self.failure
    }

    /// Keeps the first failure.
    pub(crate) fn fail(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
    }

    /// What may be written next, if the log is complete up to `completed`.
    pub(crate) fn next_write(&self, completed: Lsn, extent: Extent) -> NextWrite {
        let claimed = self.writes.claimed();
        let start = Lsn(claimed.0 - claimed.0 % self.unit_bytes);
        let mut end = match extent {
            Extent::WholeUnits => completed.0 - completed.0 % self.unit_bytes,
            Extent::All => completed.0,
        };
        if end <= claimed.0 {
            return NextWrite::Nothing;
        }
        if start != claimed
            && let Some(io) = self.writes.last_in_flight()
        {
            return NextWrite::UnitInFlight(io);
        }
        if let Some(io) = self.writes.full() {
            return NextWrite::Full(io);
        }
        let next_segment = self.segment_size.segment_of(start) + 1;
        end = end
            .min(self.segment_size.start_of(next_segment).0)
            .min(start.0 + self.max_write_bytes);
        NextWrite::Range {
            start,
            end: Lsn(end),
        }
    }

    /// Claims what [`Self::next_write`] told for `io`: the write's number.
    pub(crate) fn claim_write(&mut self, start: Lsn, end: Lsn, io: WaitRef) -> usize {
        self.counts.writes += 1;
        self.counts.write_units += (end.0 - start.0).div_ceil(self.unit_bytes);
        self.writes.claim(end, io)
    }

    /// Whether the unit that the log ends in should be filled up before it is written, so that the
    /// next flush need not wait for this one: only if there is somebody else who flushes, and few
    /// writes are in flight. Where a sync follows, flushes come together in the sync anyway.
    pub(crate) fn should_pad(&self) -> bool {
        if self.sync_method.sync_operation().is_some() {
            return false;
        }
        let writes = self.writes.len();
        (self.flushers > 1 || writes > 0) && writes < MAX_WRITES_TO_PAD
    }

    /// Whether somebody flushes, or a write is in flight.
    pub(crate) fn is_flushing(&self) -> bool {
        self.flushers > 0 || self.writes.len() > 0
    }

    /// A thread begins to flush.
    pub(crate) fn enter_flush(&mut self) {
        self.flushers += 1;
    }

    /// Its flush is over.
    pub(crate) fn leave_flush(&mut self) {
        self.flushers -= 1;
    }

    pub(crate) fn note_unit_contended(&mut self) {
        self.counts.partial_waits += 1;
    }

    /// What may be synced next.
    pub(crate) fn next_sync(&self) -> NextSync {
        let (claimed, written) = (self.syncs.claimed(), self.writes.done());
        if written <= claimed {
            return NextSync::Nothing;
        }
        if let Some(io) = self.syncs.full() {
            return NextSync::Full(io);
        }
        let segment = self.segment_size.segment_of(claimed);
        NextSync::Segment {
            segment,
            start: claimed,
            end: written.min(self.segment_size.start_of(segment + 1)),
        }
    }

    /// Whether everything before `lsn` is written, and a sync has to be started for it.
    pub(crate) fn needs_sync(&self, lsn: Lsn) -> bool {
        self.writes.done() >= lsn && self.syncs.claimed() < lsn
    }

    /// What who waits may have waited for.
    pub(crate) fn startable(&self) -> Startable {
        let claimed = self.writes.claimed();
        // Whether there is room; whether the unit that it begins in is free, who tries will see.
        let may_write = self.writes.full().is_none();
        let may_sync = self.sync_method.sync_operation().is_some()
            && matches!(self.next_sync(), NextSync::Segment { .. });
        Startable {
            durable: self.durable(),
            has_failed: self.failure.is_some(),
            write_beyond: may_write.then_some((claimed, Lsn(u64::MAX))),
            sync_within: may_sync.then(|| (self.syncs.claimed(), self.writes.done())),
        }
    }

    /// Claims what [`Self::next_sync`] told for `io`: the sync's number.
    pub(crate) fn claim_sync(&mut self, end: Lsn, io: WaitRef) -> usize {
        self.counts.syncs += 1;
        self.syncs.claim(end, io)
    }

    /// An I/O is submitted: [`RangeQueue::submitted`].
    pub(crate) fn submitted(&mut self, io: WaitRef, goes_on: bool) -> bool {
        self.writes.submitted(io, goes_on) || self.syncs.submitted(io, goes_on)
    }

    /// For a task: [`RangeQueue::next_to_drive`].
    pub(crate) fn next_to_drive(&mut self, lsn: Lsn) -> Option<WaitRef> {
        let write = self.writes.next_to_drive(lsn);
        write.or_else(|| self.syncs.next_to_drive(lsn))
    }

    /// A write is over.
    pub(crate) fn complete_write(&mut self, number: usize, outcome: Result<(), Failure>) {
        self.writes.complete(number, outcome.is_ok());
        if let Err(failure) = outcome {
            self.fail(failure);
        }
    }

    /// A sync is over.
    pub(crate) fn complete_sync(&mut self, number: usize, outcome: Result<(), Failure>) {
        self.syncs.complete(number, outcome.is_ok());
        if let Err(failure) = outcome {
            self.fail(failure);
        }
    }

    /// The I/O to wait for before everything before `lsn` can be written.
    pub(crate) fn write_before(&self, lsn: Lsn) -> Option<WaitRef> {
        self.writes.oldest_before(lsn)
    }

    /// The sync to wait for before everything before `lsn` can be durable.
    pub(crate) fn sync_before(&self, lsn: Lsn) -> Option<WaitRef> {
        self.syncs.oldest_before(lsn)
    }
}

#[cfg(all(test, not(trunkline_loom)))]
mod tests {
    use super::*;

    const UNIT: u64 = 4096;
    const SEGMENT: u64 = 1 << 20;

    fn io(slot: u32) -> WaitRef {
        WaitRef {
            slot,
            generation: 1,
        }
    }

    fn state(start: u64, sync_method: SyncMethod) -> WriterState {
        let Some(size) = SegmentSize::new(SEGMENT as u32) else {
            panic!("no size of a segment");
        };
        WriterState::new(size, UNIT, 16 * UNIT, 4, sync_method, Lsn(start))
    }

    fn claim(state: &mut WriterState, completed: u64, extent: Extent, slot: u32) -> (u64, u64) {
        match state.next_write(Lsn(completed), extent) {
            NextWrite::Range { start, end } => {
                state.claim_write(start, end, io(slot));
                (start.0, end.0)
            }
            other => panic!("{other:?}"),
        }
    }

    fn failure() -> Failure {
        Failure::write(1, SegmentSize::DEFAULT, Lsn(0), 4096, 5)
    }

    #[test]
    fn a_partial_unit_waits_for_its_earlier_write() {
        let mut state = state(100, SyncMethod::OpenDatasync);
        assert_eq!(claim(&mut state, 200, Extent::All, 1), (0, 200));
        let blocked = state.next_write(Lsn(300), Extent::All);
        assert_eq!(blocked, NextWrite::UnitInFlight(io(1)));
        state.complete_write(0, Ok(()));
        assert_eq!(claim(&mut state, 300, Extent::All, 2), (0, 300));
    }

    #[test]
    fn whole_units_go_beside_each_other() {
        let mut state = state(0, SyncMethod::OpenDatasync);
        let two = claim(&mut state, 2 * UNIT + 5, Extent::WholeUnits, 1);
        assert_eq!(two, (0, 2 * UNIT));
        let more = state.next_write(Lsn(2 * UNIT + 5), Extent::WholeUnits);
        assert_eq!(more, NextWrite::Nothing);
        let tail = claim(&mut state, 2 * UNIT + 5, Extent::All, 2);
        assert_eq!(tail, (2 * UNIT, 2 * UNIT + 5));
        state.complete_write(1, Ok(()));
        assert_eq!(state.durable(), Lsn(0));
        // The unit is free again, though its write does not count yet.
        let tail = claim(&mut state, 2 * UNIT + 9, Extent::All, 3);
        assert_eq!(tail, (2 * UNIT, 2 * UNIT + 9));
        state.complete_write(0, Ok(()));
        assert_eq!(state.durable(), Lsn(2 * UNIT + 5));
    }

    #[test]
    fn a_write_ends_with_its_segment_and_is_not_too_long() {
        let mut state = state(SEGMENT - UNIT, SyncMethod::OpenDatasync);
        let end = SEGMENT + 20 * UNIT;
        let first = claim(&mut state, end, Extent::All, 1);
        assert_eq!(first, (SEGMENT - UNIT, SEGMENT));
        let second = claim(&mut state, end, Extent::All, 2);
        assert_eq!(second, (SEGMENT, SEGMENT + 16 * UNIT));
        let third = claim(&mut state, end, Extent::All, 3);
        assert_eq!(third, (SEGMENT + 16 * UNIT, end));
        claim(&mut state, end + 10 * UNIT, Extent::All, 4);
        let full = state.next_write(Lsn(end + 20 * UNIT), Extent::All);
        assert_eq!(full, NextWrite::Full(io(1)));
    }

    #[test]
    fn a_sync_covers_what_was_written_before_it_segment_by_segment() {
        let mut state = state(SEGMENT - UNIT, SyncMethod::Fdatasync);
        claim(&mut state, SEGMENT + 5, Extent::All, 1);
        claim(&mut state, SEGMENT + 5, Extent::All, 2);
        assert_eq!(state.next_sync(), NextSync::Nothing);
        state.complete_write(0, Ok(()));
        state.complete_write(1, Ok(()));
        assert_eq!(state.durable(), Lsn(SEGMENT - UNIT));
        for (segment, start, end) in [(0, SEGMENT - UNIT, SEGMENT), (1, SEGMENT, SEGMENT + 5)] {
            let (start, end) = (Lsn(start), Lsn(end));
            let next = NextSync::Segment {
                segment,
                start,
                end,
            };
            assert_eq!(state.next_sync(), next);
            state.claim_sync(end, io(10));
        }
        state.complete_sync(1, Ok(()));
        // The earlier one may still tell of an error that the later one did not see.
        assert_eq!(state.durable(), Lsn(SEGMENT - UNIT));
        state.complete_sync(0, Ok(()));
        assert_eq!(state.durable(), Lsn(SEGMENT + 5));
    }

    #[test]
    fn a_failure_stays_and_nothing_behind_it_becomes_durable() {
        let mut state = state(0, SyncMethod::OpenDatasync);
        claim(&mut state, UNIT, Extent::All, 1);
        claim(&mut state, 2 * UNIT, Extent::All, 2);
        state.complete_write(0, Err(failure()));
        state.complete_write(1, Ok(()));
        assert_eq!(state.durable(), Lsn(0));
        assert!(state.failure().is_some());
    }

    #[test]
    fn only_who_would_be_waited_for_pads() {
        let mut state = state(0, SyncMethod::OpenDatasync);
        state.enter_flush();
        assert!(!state.should_pad());
        state.enter_flush();
        assert!(state.should_pad());
        state.leave_flush();
        claim(&mut state, 5, Extent::All, 1);
        assert!(state.should_pad());
        state.complete_write(0, Ok(()));
        assert!(!state.should_pad());
    }

    #[test]
    fn with_enough_writes_in_flight_nobody_pads() {
        let Some(size) = SegmentSize::new(SEGMENT as u32) else {
            panic!("no size of a segment");
        };
        let method = SyncMethod::OpenDatasync;
        let mut state = WriterState::new(size, UNIT, UNIT, 32, method, Lsn(0));
        for number in 0..MAX_WRITES_TO_PAD as u64 {
            assert_eq!(state.should_pad(), number > 0);
            claim(&mut state, (number + 1) * UNIT, Extent::All, 1);
        }
        assert!(!state.should_pad());
        state.complete_write(0, Ok(()));
        assert!(state.should_pad());
    }
}
