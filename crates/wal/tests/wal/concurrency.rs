//! Several writes in flight, seen with a method that holds them: W2, W3, W4. No test here depends on
//! time.

use std::sync::Arc;

use trunkline_aio::Op;
use trunkline_pgformat::Lsn;
use trunkline_wal::{FlushState, SyncMethod};

use crate::gated::{Gated, gated};
use crate::support::{Cluster, insert, length_to_unit_end, within_limit};

impl Gated {
    fn start_flush(&mut self, lsn: Lsn) -> FlushState {
        let Cluster { wal, io, .. } = &mut self.cluster;
        wal.start_flush(io, lsn).unwrap()
    }

    fn in_flight(&mut self, lsn: Lsn) -> bool {
        matches!(self.start_flush(lsn), FlushState::InFlight(_))
    }
}

#[test]
fn flushes_are_in_flight_at_once_and_none_waits_for_a_later_one() {
    within_limit(|| {
        let mut it = gated(|config| config.io_wal_pad_partial = false);
        let mut ends = Vec::new();
        for id in 1..5 {
            let length = length_to_unit_end(&it.cluster.wal, 1);
            let end = it.cluster.insert(id, length).end;
            assert!(it.in_flight(end));
            ends.push(end);
        }
        assert_eq!(it.gate.held(), 4);
        assert_eq!(it.cluster.wal.stats().partial_block_waits, 0);
        // What is done does not count before what is before it.
        it.gate.release(1);
        it.gate.release(1);
        assert_eq!(it.cluster.wal.durable_lsn(), it.cluster.start);
        it.gate.release(0);
        assert_eq!(it.cluster.wal.durable_lsn(), ends[2]);
        // A flush that waits returns though a later one is in flight.
        let Cluster { wal, io, .. } = &mut it.cluster;
        wal.flush(io, ends[2]).unwrap();
        let length = length_to_unit_end(wal, 1);
        let last = it.cluster.insert(5, length).end;
        assert!(it.in_flight(last));
        let waiter = std::thread::spawn({
            let (wal, aio) = (Arc::clone(&it.cluster.wal), Arc::clone(&it.cluster.aio));
            let fourth = ends[3];
            move || wal.flush(&mut aio.issuer(2).unwrap(), fourth).unwrap()
        });
        assert_eq!(it.gate.held(), 2);
        it.gate.release(0);
        waiter.join().unwrap();
        assert_eq!(it.cluster.wal.durable_lsn(), ends[3]);
        assert_eq!(it.gate.held(), 1);
        it.gate.release(0);
        assert_eq!(it.start_flush(last), FlushState::Durable);
    });
}

#[test]
fn padding_lets_the_next_flush_go_beside_this_one() {
    within_limit(|| {
        for pad in [false, true] {
            let mut it = gated(|config| config.io_wal_pad_partial = pad);
            let length = length_to_unit_end(&it.cluster.wal, 1);
            let first = it.cluster.insert(1, length);
            assert!(it.in_flight(first.end));
            // The first of these ends within a unit while another write is in flight.
            for id in 2..5 {
                let next = it.cluster.insert(id, 100);
                assert!(it.in_flight(next.end));
            }
            let stats = it.cluster.wal.stats();
            if pad {
                // The second is padded, so that the third goes beside it; with two in flight the fourth
                // comes together with whoever else comes meanwhile.
                assert_eq!(it.gate.held(), 3);
                assert_eq!((stats.paddings, stats.partial_block_waits), (1, 1));
                assert!(stats.padding_bytes > 3500, "{stats:?}");
            } else {
                assert_eq!(it.gate.held(), 2);
                assert_eq!((stats.paddings, stats.partial_block_waits), (0, 2));
            }
            it.gate.open();
            let Cluster { wal, io, .. } = &mut it.cluster;
            wal.flush(io, wal.insert_lsn()).unwrap();
            let ids: Vec<u64> = it.cluster.read_back().iter().map(|(_, id)| *id).collect();
            assert_eq!(ids, [1, 2, 3, 4]);
        }
    });
}

#[test]
fn no_two_writes_are_in_flight_over_one_unit() {
    within_limit(|| {
        for pad in [false, true] {
            let mut it = gated(|config| {
                config.io_wal_pad_partial = pad;
                config.io_wal_target_blocks = 1;
                // So that nobody waits for room.
                config.wal_buffers_bytes = 8 << 20;
            });
            let mut most = 0;
            let mut last = Lsn(0);
            for id in 1..200 {
                let length = [100, 9000, 3000, 30, 20_000][id as usize % 5];
                if it.gate.held() >= 6 {
                    // Some old, some new.
                    it.gate.release((id % 3) as usize);
                    it.gate.release(0);
                }
                last = it.cluster.insert(id, length).end;
                if id % 3 == 0 {
                    it.start_flush(last);
                }
                let mut ranges = it.gate.held_ranges();
                ranges.sort_unstable_by_key(|range| range.1);
                most = most.max(ranges.len());
                for pair in ranges.windows(2) {
                    let overlap = pair[0].2 > pair[1].1;
                    assert!(!overlap, "in flight at once: {ranges:?}");
                }
            }
            assert!(most > 1, "nothing was in flight beside anything");
            it.gate.open();
            let Cluster { wal, io, .. } = &mut it.cluster;
            wal.flush(io, last).unwrap();
            assert_eq!(it.cluster.read_back().len(), 199);
        }
    });
}

#[test]
fn a_partial_unit_is_written_again_only_after_its_earlier_write() {
    within_limit(|| {
        let mut it = gated(|config| config.io_wal_pad_partial = false);
        let first = it.cluster.insert(1, 100);
        assert!(it.in_flight(first.end));
        let second = it.cluster.insert(2, 100);
        for _ in 0..3 {
            assert!(it.in_flight(second.end));
            assert_eq!(it.gate.held(), 1);
        }
        it.gate.release(0);
        assert!(it.in_flight(second.end));
        let (_, start, _) = it.gate.held_ranges()[0];
        assert_eq!(start, 0);
        it.gate.release(0);
        assert_eq!(it.start_flush(second.end), FlushState::Durable);
    });
}

#[test]
fn a_sync_covers_what_was_written_before_its_submission_and_no_more() {
    within_limit(|| {
        for method in [SyncMethod::Fdatasync, SyncMethod::Fsync] {
            let mut it = gated(|config| config.wal_sync_method = method);
            let length = length_to_unit_end(&it.cluster.wal, 1);
            let first = it.cluster.insert(1, length);
            assert!(it.in_flight(first.end));
            it.gate.release(0);
            // Written, and not durable. The next write is in flight when the sync is submitted.
            assert_eq!(it.cluster.wal.durable_lsn(), it.cluster.start);
            let second = it.cluster.insert(2, 5000);
            assert!(it.in_flight(second.end));
            assert!(it.in_flight(first.end));
            let ops: Vec<Op> = it.gate.held_ranges().iter().map(|range| range.0).collect();
            assert_eq!(ops.len(), 2);
            assert_eq!(ops[0], Op::Writev);
            assert!(matches!(ops[1], Op::Fdatasync | Op::Fsync));
            it.gate.release(0);
            it.gate.release(0);
            assert_eq!(it.cluster.wal.durable_lsn(), first.end);
            assert!(it.in_flight(second.end));
            // A later sync alone does not make durable what an earlier one has in hand.
            let third = it.cluster.insert(3, 5000);
            assert!(it.in_flight(third.end));
            it.gate.release(1);
            assert!(it.in_flight(third.end));
            assert_eq!(it.gate.held(), 2);
            it.gate.release(1);
            assert_eq!(it.cluster.wal.durable_lsn(), first.end);
            it.gate.release(0);
            assert_eq!(it.start_flush(third.end), FlushState::Durable);
        }
    });
}

#[test]
fn nobody_fills_a_page_of_the_ring_before_it_is_written() {
    within_limit(|| {
        let mut it = gated(|config| config.io_wal_target_blocks = 1);
        let inserter = std::thread::spawn({
            let (wal, aio) = (Arc::clone(&it.cluster.wal), Arc::clone(&it.cluster.aio));
            move || {
                let mut io = aio.issuer(2).unwrap();
                let places = (1..30).map(|id| (insert(&wal, &mut io, id, 100_000).unwrap(), id));
                let places: Vec<_> = places.collect();
                wal.flush(&mut io, wal.insert_lsn()).unwrap();
                places
            }
        });
        // Three times the ring: it waits, and the writes are made from what is there then.
        while it.cluster.wal.stats().buffers_full == 0 {
            std::thread::yield_now();
        }
        it.gate.open();
        let inserted = inserter.join().unwrap();
        let expected: Vec<_> = inserted
            .iter()
            .map(|(place, id)| (place.start, *id))
            .collect();
        assert_eq!(it.cluster.read_back(), expected);
    });
}

#[test]
fn writes_in_flight_are_bounded() {
    within_limit(|| {
        let mut it = gated(|config| {
            config.io_wal_concurrency = 2;
            config.io_wal_target_blocks = 1;
        });
        for id in 1..20 {
            it.cluster.insert(id, 10_000);
        }
        assert_eq!(it.gate.held(), 2);
    });
}
