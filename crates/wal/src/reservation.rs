//! Reserving a record's place (W1): one small lock, a handful of additions under it.
//!
//! The place is a range of *usable byte positions*, which leave page headers out, so that reserving
//! is an addition; LSNs are computed outside of the lock. Under the same lock are the redo pointer and
//! `full_page_writes`: whether a page needs an image is decided before, and looked at again with the
//! reservation, so that no record without an image can come behind a redo pointer that asks for one.

use trunkline_pgformat::Lsn;
use trunkline_pgformat::wal::record::RECORD_HEADER_SIZE;
use trunkline_pgformat::wal::segment::SegmentSize;

use crate::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Acquire, Release},
};
use crate::sync::{Mutex, lock};
use crate::tickets::Tickets;

/// Records start at multiples of so many bytes.
const ALIGNMENT: u64 = 8;

/// A record's place, to be filled and published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reservation {
    /// What to publish.
    pub(crate) ticket: u64,
    /// The record's first byte.
    pub(crate) start: Lsn,
    /// Behind the record and what aligns the next one.
    pub(crate) end: Lsn,
    /// The record before.
    pub(crate) prev: Lsn,
}

/// What was decided about page images before the place was reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ImageDecision {
    /// `full_page_writes` at that time.
    pub(crate) full_page_writes: bool,
    /// The smallest LSN among the pages that go without an image, if there is one.
    pub(crate) oldest_without_image: Option<Lsn>,
    /// Images in the record, for the statistics.
    pub(crate) images: u32,
}

/// What comes of an attempt to reserve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// The place is the caller's.
    Reserved(Reservation),
    /// The redo pointer moved: a page needs an image that it did not need before.
    ImageNeeded,
    /// As many insertions as there can be are in progress; to be tried again when this ticket may be
    /// given out.
    NoTicket(u64),
}

/// The place of a record that ends its segment early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SwitchPlace {
    /// Of the record and of the rest of the segment.
    pub(crate) whole: Reservation,
    /// Where the record itself ends: where the rest begins, if there is one.
    pub(crate) record_end: Lsn,
    /// The same as PostgreSQL tells it: behind the header of the page that begins there, if one does.
    pub(crate) told_end: Lsn,
}

/// What comes of an attempt to reserve the rest of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SwitchAttempt {
    /// The place is the caller's.
    Reserved(SwitchPlace),
    /// The log ends here, where a segment begins: there is nothing to do.
    AtSegmentStart(Lsn),
    /// As [`Attempt::NoTicket`].
    NoTicket(u64),
}

/// What was inserted so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct InsertCounts {
    pub(crate) records: u64,
    pub(crate) images: u64,
    pub(crate) record_bytes: u64,
    pub(crate) paddings: u64,
    pub(crate) padding_bytes: u64,
}

#[derive(Debug)]
struct State {
    /// Usable byte position of the next record.
    next: u64,
    /// Usable byte position of the record before it.
    prev: u64,
    next_ticket: u64,
    redo: Lsn,
    full_page_writes: bool,
    counts: InsertCounts,
}

/// Where the next record goes. The lock is a leaf.
#[derive(Debug)]
pub(crate) struct InsertPosition {
    segment_size: SegmentSize,
    state: Mutex<State>,
    /// Copies of what is under the lock, which may be a moment old.
    redo: AtomicU64,
    full_page_writes: AtomicBool,
}

impl InsertPosition {
    /// The next record goes to `insert_at`; the last one began at `prev`.
    pub(crate) fn new(
        segment_size: SegmentSize,
        insert_at: Lsn,
        prev: Lsn,
        redo: Lsn,
        full_page_writes: bool,
    ) -> Self {
        InsertPosition {
            segment_size,
            state: Mutex::new(State {
                next: segment_size.byte_position_of(insert_at),
                prev: segment_size.byte_position_of(prev),
                next_ticket: 0,
                redo,
                full_page_writes,
                counts: InsertCounts::default(),
            }),
            redo: AtomicU64::new(redo.0),
            full_page_writes: AtomicBool::new(full_page_writes),
        }
    }

    /// The redo pointer, as of a moment ago.
    pub(crate) fn redo(&self) -> Lsn {
        Lsn(self.redo.load(Acquire))
    }

    /// `full_page_writes`, as of a moment ago.
    pub(crate) fn full_page_writes(&self) -> bool {
        self.full_page_writes.load(Acquire)
    }

    pub(crate) fn set_full_page_writes(&self, on: bool) {
        let mut state = lock(&self.state);
        state.full_page_writes = on;
        self.full_page_writes.store(on, Release);
    }

    /// Takes `length_bytes` for a record.
    pub(crate) fn reserve(
        &self,
        tickets: &Tickets,
        length_bytes: u32,
        decision: ImageDecision,
    ) -> Attempt {
        let mut state = lock(&self.state);
        let image_needed = state.full_page_writes
            && (!decision.full_page_writes
                || decision
                    .oldest_without_image
                    .is_some_and(|lsn| lsn <= state.redo));
        if image_needed {
            return Attempt::ImageNeeded;
        }
        match self.take(&mut state, tickets, length_bytes, decision.images) {
            Ok(taken) => {
                drop(state);
                Attempt::Reserved(self.locate(taken))
            }
            Err(ticket) => Attempt::NoTicket(ticket),
        }
    }

    /// The same for a record that begins at the new redo pointer, and makes it that.
    pub(crate) fn reserve_redo(&self, tickets: &Tickets, length_bytes: u32) -> Attempt {
        let mut state = lock(&self.state);
        match self.take(&mut state, tickets, length_bytes, 0) {
            Ok(taken) => {
                let reservation = self.locate(taken);
                self.set_redo(&mut state, reservation.start);
                Attempt::Reserved(reservation)
            }
            Err(ticket) => Attempt::NoTicket(ticket),
        }
    }

    /// Makes the redo pointer the place where the next record will begin, and tells it.
    pub(crate) fn redo_at_next_record(&self) -> Lsn {
        let mut state = lock(&self.state);
        let redo = self.segment_size.lsn_of_byte_position(state.next);
        self.set_redo(&mut state, redo);
        redo
    }

    fn set_redo(&self, state: &mut State, redo: Lsn) {
        state.redo = redo;
        self.redo.store(redo.0, Release);
    }

    /// Takes the rest of the write unit that the log ends in for a record that does nothing, if no
    /// insertion is in progress and such a record fits. Its length comes with its place.
    pub(crate) fn reserve_padding(
        &self,
        tickets: &Tickets,
        unit_bytes: u64,
    ) -> Option<(Reservation, u32)> {
        let mut state = lock(&self.state);
        if !tickets.are_complete_before(state.next_ticket) {
            return None;
        }
        let at = self.segment_size.end_lsn_of_byte_position(state.next).0;
        let gap = at.next_multiple_of(unit_bytes) - at;
        if gap < RECORD_HEADER_SIZE as u64 {
            return None;
        }
        let length_bytes = u32::try_from(gap).ok()?;
        let taken = self.take(&mut state, tickets, length_bytes, 0).ok()?;
        state.counts.paddings += 1;
        state.counts.padding_bytes += gap;
        drop(state);
        Some((self.locate(taken), length_bytes))
    }

    /// Takes the place of a record of `length_bytes`, and what is behind it in the segment that it
    /// ends in (`ReserveXLogSwitch` in PostgreSQL's `transam/xlog.c`).
    pub(crate) fn reserve_switch(&self, tickets: &Tickets, length_bytes: u32) -> SwitchAttempt {
        let size = self.segment_size;
        let mut state = lock(&self.state);
        let at = size.end_lsn_of_byte_position(state.next);
        if size.offset_of(at) == 0 {
            return SwitchAttempt::AtSegmentStart(at);
        }
        let taken = match self.take(&mut state, tickets, length_bytes, 0) {
            Ok(taken) => taken,
            Err(ticket) => return SwitchAttempt::NoTicket(ticket),
        };
        let record_end = size.end_lsn_of_byte_position(state.next);
        let told_end = size.lsn_of_byte_position(state.next);
        // The record itself may end with the segment, or be the first of the next one.
        let end = size.start_of(size.segment_before(record_end) + 1);
        state.next = size.byte_position_of(end);
        drop(state);
        SwitchAttempt::Reserved(SwitchPlace {
            whole: Reservation {
                end,
                ..self.locate(taken)
            },
            record_end,
            told_end,
        })
    }

    /// Where the next record's predecessor ends, and what was inserted.
    pub(crate) fn snapshot(&self) -> (Lsn, InsertCounts) {
        let state = lock(&self.state);
        let (next, counts) = (state.next, state.counts);
        drop(state);
        (self.segment_size.end_lsn_of_byte_position(next), counts)
    }

    /// The ticket and the positions of the record, its end and the record before.
    fn take(
        &self,
        state: &mut State,
        tickets: &Tickets,
        length_bytes: u32,
        images: u32,
    ) -> Result<(u64, u64, u64, u64), u64> {
        let ticket = state.next_ticket;
        if !tickets.has_room_for(ticket) {
            return Err(ticket);
        }
        let start = state.next;
        let prev = state.prev;
        let end = start + u64::from(length_bytes).next_multiple_of(ALIGNMENT);
        state.next_ticket += 1;
        state.next = end;
        state.prev = start;
        state.counts.records += 1;
        state.counts.images += u64::from(images);
        state.counts.record_bytes += u64::from(length_bytes);
        Ok((ticket, start, end, prev))
    }

    fn locate(&self, (ticket, start, end, prev): (u64, u64, u64, u64)) -> Reservation {
        Reservation {
            ticket,
            start: self.segment_size.lsn_of_byte_position(start),
            end: self.segment_size.end_lsn_of_byte_position(end),
            prev: self.segment_size.lsn_of_byte_position(prev),
        }
    }
}
