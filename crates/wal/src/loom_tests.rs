//! Insertion in every order that a few threads can take (W1): the real tickets, places and waits. Run
//! by `.ci/run` with `--cfg trunkline_loom`. A wake-up that is lost shows as loom's "deadlock"; bytes
//! that are looked at before they are there as loom's "causality violation".
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    unsafe_code,
    clippy::undocumented_unsafe_blocks,
    reason = "what makes it safe is what loom checks"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32 as Count, Ordering::Relaxed};

use loom::cell::UnsafeCell;
use loom::thread::{self, JoinHandle};
use trunkline_pgformat::Lsn;
use trunkline_pgformat::wal::segment::SegmentSize;

use crate::reservation::{Attempt, ImageDecision, InsertPosition, Reservation};
use crate::tickets::Tickets;

const RECORD_BYTES: u32 = 32;
const START: Lsn = Lsn(1 << 24);

fn in_every_order(preemptions: usize, body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 20_000;
    let orders = Arc::new(Count::new(0));
    let count = Arc::clone(&orders);
    builder.check(move || {
        count.fetch_add(1, Relaxed);
        body();
    });
    println!("{} orders", orders.load(Relaxed));
}

/// A log whose every record has one word to fill.
struct Log {
    position: InsertPosition,
    tickets: Tickets,
    words: Vec<UnsafeCell<u64>>,
}

// SAFETY: a word is written by who reserved it and read when it is complete; that the log's rules keep
// the two apart is what loom checks, which fails at a conflicting access.
unsafe impl Sync for Log {}
// SAFETY: as above; nothing in it belongs to a thread.
unsafe impl Send for Log {}

fn decision(oldest_without_image: Option<Lsn>) -> ImageDecision {
    ImageDecision {
        full_page_writes: true,
        oldest_without_image,
        images: 0,
    }
}

impl Log {
    fn new(slots: usize, records: usize) -> Arc<Log> {
        let size = SegmentSize::DEFAULT;
        Arc::new(Log {
            position: InsertPosition::new(size, START, Lsn(40), Lsn(40), true),
            tickets: Tickets::new(slots, START),
            words: (0..records).map(|_| UnsafeCell::new(0)).collect(),
        })
    }

    fn reserve(&self) -> Reservation {
        loop {
            match self
                .position
                .reserve(&self.tickets, RECORD_BYTES, decision(None))
            {
                Attempt::Reserved(reservation) => return reservation,
                Attempt::NoTicket(ticket) => self.tickets.wait_for_room(ticket, || false),
                Attempt::ImageNeeded => unreachable!("no page"),
            }
        }
    }

    fn fill(&self, place: &Reservation) {
        // SAFETY: the place is this thread's until it is published.
        self.words[place.ticket as usize].with_mut(|word| unsafe { *word = place.end.0 });
    }

    fn insert(&self) -> Lsn {
        let place = self.reserve();
        self.fill(&place);
        self.tickets.publish(place.ticket, place.end);
        place.end
    }

    /// Looks at everything that is complete; how many records.
    fn check_complete(&self) -> usize {
        let completed = self.tickets.completed_lsn();
        let mut seen = 0;
        let size = SegmentSize::DEFAULT;
        let mut end = size.byte_position_of(START);
        for word in &self.words {
            end += u64::from(RECORD_BYTES);
            if size.end_lsn_of_byte_position(end) > completed {
                break;
            }
            // SAFETY: the log is complete beyond it.
            let found = word.with(|word| unsafe { *word });
            assert_eq!(found, size.end_lsn_of_byte_position(end).0);
            seen += 1;
        }
        seen
    }
}

fn spawn(log: &Arc<Log>, body: impl FnOnce(&Log) + 'static) -> JoinHandle<()> {
    let log = Arc::clone(log);
    thread::spawn(move || body(&log))
}

#[test]
fn loom_what_is_complete_is_there_whoever_completed_it() {
    in_every_order(3, || {
        let log = Log::new(4, 3);
        let first = spawn(&log, |log| {
            log.insert();
        });
        let second = spawn(&log, |log| {
            log.insert();
        });
        log.check_complete();
        log.insert();
        first.join().unwrap();
        second.join().unwrap();
        assert_eq!(log.check_complete(), 3);
    });
}

#[test]
fn loom_who_waits_for_an_insertion_is_woken() {
    in_every_order(3, || {
        let log = Log::new(4, 2);
        let inserters = [(); 2].map(|()| {
            spawn(&log, |log| {
                log.insert();
            })
        });
        let end = Lsn(START.0 + 40 + 2 * u64::from(RECORD_BYTES));
        log.tickets.wait_for_lsn(end, || false);
        assert_eq!(log.check_complete(), 2);
        for inserter in inserters {
            inserter.join().unwrap();
        }
    });
}

/// A place of two words, told in two parts, behind another thread's insertion.
#[test]
fn loom_what_is_told_of_a_place_is_there_before_all_of_it() {
    in_every_order(3, || {
        let log = Log::new(4, 3);
        let size = SegmentSize::DEFAULT;
        let start = size.byte_position_of(START);
        let end_of =
            |words: u64| size.end_lsn_of_byte_position(start + words * u64::from(RECORD_BYTES));
        let first = log.reserve();
        let place = log.reserve();
        let last = log.reserve();
        let (second_end, third_end) = (end_of(2), end_of(3));
        let other = spawn(&log, move |log| {
            log.fill(&first);
            log.tickets.publish(first.ticket, first.end);
        });
        let filler = spawn(&log, move |log| {
            log.tickets.wait_for_lsn(first.end, || false);
            log.fill(&place);
            log.tickets.publish_part(place.ticket, second_end);
            log.fill(&last);
            log.tickets.publish(place.ticket, third_end);
        });
        log.tickets.wait_for_lsn(second_end, || false);
        assert!(log.check_complete() >= 2);
        other.join().unwrap();
        filler.join().unwrap();
        assert_eq!(log.check_complete(), 3);
    });
}

#[test]
fn loom_with_all_tickets_out_the_next_one_waits_for_the_oldest() {
    in_every_order(3, || {
        let log = Log::new(1, 3);
        let other = spawn(&log, |log| {
            log.insert();
        });
        log.insert();
        log.insert();
        other.join().unwrap();
        assert_eq!(log.check_complete(), 3);
    });
}

#[test]
fn loom_no_record_without_an_image_comes_behind_a_redo_pointer_that_asks_for_it() {
    in_every_order(4, || {
        let log = Log::new(4, 2);
        let page = Lsn(1 << 23);
        let checkpointer = spawn(&log, |log| {
            match log.position.reserve_redo(&log.tickets, RECORD_BYTES) {
                Attempt::Reserved(place) => {
                    log.fill(&place);
                    log.tickets.publish(place.ticket, place.end);
                }
                other => panic!("{other:?}"),
            }
        });
        // No image was needed, as of the redo pointer of before.
        let decided = decision(Some(page));
        match log.position.reserve(&log.tickets, RECORD_BYTES, decided) {
            Attempt::Reserved(place) => {
                log.fill(&place);
                log.tickets.publish(place.ticket, place.end);
                let redo = log.position.redo();
                assert!(redo == Lsn(40) || place.start < redo);
            }
            Attempt::ImageNeeded => assert!(log.position.redo() >= page),
            Attempt::NoTicket(_) => panic!("there are four"),
        }
        checkpointer.join().unwrap();
    });
}
