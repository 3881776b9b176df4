//! ReadStream (B3): what is combined, when the distance grows, what a dropped stream leaves.

use crate::rig::{ALL, MAIN, Options, Over, REL, Rig, check};
use trunkline_aio::MethodKind;
use trunkline_buffer::{ReadStream, ReadStreamFlags, Strategy, StrategyKind};
use trunkline_pgformat::{ForkNumber, RELSEG_SIZE};

/// Reads `blocks` through a stream that starts at full combining, after the blocks `cached` were
/// brought in, and gives the reads that it made.
fn reads_of(blocks: &[u32], cached: &[u32]) -> Vec<(u32, u32)> {
    let rig = Rig::new(Over::Lazy, Options::default());
    let mut ctx = rig.issuer();
    rig.fill(&mut ctx, 40);
    for &block in cached {
        drop(rig.pool.read(&mut ctx, MAIN, block, None).unwrap());
    }
    rig.lazy().take_reads();
    let mut stream = rig.stream(true, blocks.iter().copied());
    for &block in blocks {
        check(&stream.next(&mut ctx).unwrap().unwrap(), block);
    }
    assert!(stream.next(&mut ctx).unwrap().is_none());
    assert!(stream.next(&mut ctx).unwrap().is_none());
    drop(stream);
    rig.evict(&mut ctx);
    rig.lazy().take_reads()
}

fn run(range: std::ops::Range<u32>) -> Vec<u32> {
    range.collect()
}

#[test]
fn misses_are_combined_up_to_the_limit() {
    assert_eq!(reads_of(&run(0..20), &[]), [(0, 8), (8, 8), (16, 4)]);
    assert_eq!(reads_of(&run(3..8), &[]), [(3, 5)]);
}

#[test]
fn a_hit_splits_a_run_and_is_not_read() {
    assert_eq!(reads_of(&run(0..8), &[4]), [(0, 4), (5, 3)]);
    assert_eq!(reads_of(&run(0..8), &[3, 4]), [(0, 3), (5, 3)]);
}

#[test]
fn leading_and_trailing_hits_are_left_alone() {
    assert_eq!(reads_of(&run(0..8), &[0, 1]), [(2, 6)]);
    assert_eq!(reads_of(&run(0..8), &[6, 7]), [(0, 6)]);
    assert_eq!(reads_of(&run(0..8), &[0, 7]), [(1, 6)]);
}

#[test]
fn gaps_backward_steps_and_repetitions_split_runs() {
    assert_eq!(reads_of(&[0, 1, 3, 4], &[]), [(0, 2), (3, 2)]);
    assert_eq!(reads_of(&[5, 3, 1], &[]), [(5, 1), (3, 1), (1, 1)]);
    // Three runs, which go to the kernel as one.
    assert_eq!(reads_of(&[5, 4, 3], &[]), [(3, 3)]);
    // The second time each is a join or a hit, never a read.
    assert_eq!(reads_of(&[2, 2, 2], &[]), [(2, 1)]);
    assert_eq!(reads_of(&[0, 1, 0, 1, 3], &[]), [(0, 2), (3, 1)]);
}

#[test]
fn own_reads_in_progress_are_joined_at_any_place() {
    for again in [0, 1, 2] {
        let mut blocks = run(0..3);
        blocks.extend([again, 10]);
        assert_eq!(reads_of(&blocks, &[]), [(0, 3), (10, 1)]);
    }
}

#[test]
fn a_run_ends_with_its_segment() {
    let rig = Rig::new(Over::Lazy, Options::default());
    let mut ctx = rig.issuer();
    rig.smgr.create(REL, ForkNumber::Main, false).unwrap();
    rig.smgr
        .extend(REL, ForkNumber::Main, 0, RELSEG_SIZE + 16, 0)
        .unwrap();
    let blocks = RELSEG_SIZE - 5..RELSEG_SIZE + 8;
    let mut stream = rig.stream(true, blocks.clone());
    for block in blocks {
        let buffer = stream.next(&mut ctx).unwrap().unwrap();
        assert_eq!(buffer.block(), block);
        // Allocated and never written: a new page is sound.
        assert!(buffer.share().page().is_all_zeros());
    }
    assert_eq!(rig.lazy().take_reads(), [(RELSEG_SIZE - 5, 5), (0, 8)]);
}

#[test]
fn every_method_reads_every_block() {
    for over in ALL {
        for (buffers, combine_blocks, io_concurrency) in [(16, 1, 0), (16, 8, 4), (300, 16, 16)] {
            let rig = Rig::new(
                over,
                Options {
                    buffers,
                    combine_blocks,
                    io_concurrency,
                    ..Options::default()
                },
            );
            let mut ctx = rig.issuer();
            rig.fill(&mut ctx, 200);
            for strategy in [false, true] {
                for sequential in [false, true] {
                    let flags = ReadStreamFlags {
                        sequential,
                        ..ReadStreamFlags::default()
                    };
                    let ring = strategy.then(|| Strategy::new(&rig.pool, StrategyKind::BulkRead));
                    let mut blocks = 0..200;
                    let next = move || blocks.next();
                    let mut stream = ReadStream::new(&rig.pool, MAIN, ring, flags, next);
                    for block in 0..200 {
                        check(&stream.next(&mut ctx).unwrap().unwrap(), block);
                    }
                    assert!(stream.next(&mut ctx).unwrap().is_none());
                    drop(stream);
                    rig.evict(&mut ctx);
                }
            }
        }
    }
}

#[test]
fn a_pool_whose_memory_is_registered_reads_and_writes_the_same() {
    for over in ALL {
        let rig = Rig::new(over, Options::default());
        // Twice: the second time finds it done.
        for _ in 0..2 {
            rig.pool.register_memory().unwrap().join().unwrap();
        }
        let mut ctx = rig.issuer();
        rig.fill(&mut ctx, 200);
        let mut stream = rig.stream(true, 0..200);
        for block in 0..200 {
            check(&stream.next(&mut ctx).unwrap().unwrap(), block);
        }
        drop(stream);
        rig.evict(&mut ctx);
        rig.check_nothing_underway();
    }
}

#[test]
fn a_ring_keeps_a_scan_to_an_eighth_of_the_pool() {
    let rig = Rig::new(
        Over::Kind(MethodKind::Sync),
        Options {
            buffers: 256,
            ..Options::default()
        },
    );
    let mut ctx = rig.issuer();
    rig.fill(&mut ctx, 200);
    let ring = Strategy::new(&rig.pool, StrategyKind::BulkRead);
    assert_eq!(ring.ring_buffers(), 32);
    let mut blocks = 0..200;
    let flags = ReadStreamFlags {
        sequential: true,
        ..ReadStreamFlags::default()
    };
    let mut stream = ReadStream::new(&rig.pool, MAIN, Some(ring), flags, move || blocks.next());
    while let Some(buffer) = stream.next(&mut ctx).unwrap() {
        drop(buffer);
    }
    drop(stream);
    assert!(rig.evict(&mut ctx) <= 32);
}

#[test]
fn hits_never_touch_the_method_and_the_distance_falls() {
    for over in ALL {
        let rig = Rig::new(over, Options::default());
        let mut ctx = rig.issuer();
        rig.fill(&mut ctx, 60);
        for block in 0..60 {
            drop(rig.pool.read(&mut ctx, MAIN, block, None).unwrap());
        }
        let before = rig.pool.stats();
        let mut stream = rig.stream(true, 0..60);
        for block in 0..60 {
            check(&stream.next(&mut ctx).unwrap().unwrap(), block);
        }
        assert_eq!(stream.distances(), (1, 1));
        drop(stream);
        let after = rig.pool.stats();
        assert_eq!(after.reads, before.reads);
        assert_eq!(after.hits, before.hits + 60);
    }
}

#[test]
fn the_distance_grows_only_when_the_consumer_waits() {
    // With method sync every read is over when the consumer comes to it.
    let rig = Rig::new(Over::Kind(MethodKind::Sync), Options::default());
    let mut ctx = rig.issuer();
    rig.fill(&mut ctx, 64);
    let mut stream = rig.stream(false, 0..64);
    while stream.next(&mut ctx).unwrap().is_some() {
        assert_eq!(stream.distances().0, 1);
    }
    assert_eq!(rig.pool.stats().waits, 0);
    // Runs are combined all the same.
    assert!(rig.pool.stats().reads <= 12, "{:?}", rig.pool.stats());

    // With a method that does nothing ahead, the consumer waits for every read.
    let rig = Rig::new(Over::Lazy, Options::default());
    let mut ctx = rig.issuer();
    rig.fill(&mut ctx, 64);
    let mut stream = rig.stream(false, 0..64);
    let mut distances = Vec::new();
    while stream.next(&mut ctx).unwrap().is_some() {
        distances.push(stream.distances().0);
    }
    assert_eq!(distances[..2], [2, 4]);
    // (4 + 1) reads of 8 blocks, but no more than a stream's fair share of the pool.
    assert_eq!(distances.iter().max(), Some(&32));
}

#[test]
fn reads_in_flight_and_pins_are_bounded() {
    let rig = Rig::new(
        Over::Lazy,
        Options {
            buffers: 1024,
            combine_blocks: 4,
            io_concurrency: 3,
            ..Options::default()
        },
    );
    let mut ctx = rig.issuer();
    rig.fill(&mut ctx, 300);
    let mut stream = rig.stream(false, 0..300);
    let mut most = 0;
    while stream.next(&mut ctx).unwrap().is_some() {
        assert!(stream.pinned_ahead() <= (3 + 1) * 4);
        most = most.max(rig.lazy().held());
    }
    assert_eq!(most, 3);
}

#[test]
fn a_stream_dropped_early_leaks_nothing() {
    for over in ALL {
        let rig = Rig::new(over, Options::default());
        let mut ctx = rig.issuer();
        rig.fill(&mut ctx, 64);
        for consumed in [0, 1, 5, 9, 40] {
            let mut stream = rig.stream(true, 0..64);
            for block in 0..consumed {
                check(&stream.next(&mut ctx).unwrap().unwrap(), block);
            }
            drop(stream);
            rig.check_nothing_underway();
            rig.evict(&mut ctx);
        }
        drop(ctx);
        // Also when its issuer is gone.
        let mut ctx = rig.issuer();
        let mut stream = rig.stream(true, 0..64);
        stream.next(&mut ctx).unwrap();
        drop(stream);
        drop(ctx);
        rig.evict(&mut rig.issuer());
    }
}

#[test]
fn a_stream_gets_by_with_the_buffers_there_are() {
    for over in ALL {
        let rig = Rig::new(
            over,
            Options {
                buffers: 16,
                ..Options::default()
            },
        );
        let mut ctx = rig.issuer();
        rig.fill(&mut ctx, 60);
        let pinned: Vec<_> = (40..55)
            .map(|block| rig.pool.read(&mut ctx, MAIN, block, None).unwrap())
            .collect();
        let mut stream = rig.stream(true, 0..30);
        for block in 0..30 {
            check(&stream.next(&mut ctx).unwrap().unwrap(), block);
        }
        assert!(stream.next(&mut ctx).unwrap().is_none());
        drop(stream);
        drop(pinned);
        rig.evict(&mut ctx);
    }
}

#[test]
fn everything_pinned_is_an_error_and_not_a_hang() {
    for over in ALL {
        let rig = Rig::new(
            over,
            Options {
                buffers: 16,
                ..Options::default()
            },
        );
        let mut ctx = rig.issuer();
        rig.fill(&mut ctx, 60);
        let mut pinned: Vec<_> = (0..16)
            .map(|block| rig.pool.read(&mut ctx, MAIN, block, None).unwrap())
            .collect();
        let error = rig.pool.read(&mut ctx, MAIN, 30, None).unwrap_err();
        assert_eq!(error.to_string(), "no unpinned buffers available");
        assert_eq!(error.sqlstate(), "53000");
        let error = rig.pool.extend(&mut ctx, MAIN, 1, None).unwrap_err();
        assert_eq!(error.sqlstate(), "53000");
        let mut stream = rig.stream(true, 30..32);
        assert_eq!(stream.next(&mut ctx).unwrap_err().sqlstate(), "53000");
        // What is cached can still be had, and one buffer is enough to go on.
        check(&rig.pool.read(&mut ctx, MAIN, 7, None).unwrap(), 7);
        pinned.pop();
        check(&stream.next(&mut ctx).unwrap().unwrap(), 31);
    }
}
