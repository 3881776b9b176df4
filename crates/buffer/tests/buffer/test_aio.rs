//! The scenarios of PostgreSQL's `src/test/modules/test_aio`, each named after its row in the table of
//! `crates/aio/README.md`, as far as no other test here has them.

use crate::rig::{ALL, Fate, INJECTABLE, MAIN, Options, Over, REL, Rig, check};
use std::thread;
use trunkline_aio::IoContext;
use trunkline_buffer::BufferError;
use trunkline_pgformat::BLCKSZ;

const EIO: i32 = 5;
const EROFS: i32 = 30;

fn filled(over: Over, blocks: u32) -> (Rig, IoContext, IoContext) {
    let rig = Rig::new(over, Options::default());
    let (mut one, other) = (rig.issuer(), rig.issuer());
    rig.fill(&mut one, blocks);
    (rig, one, other)
}

/// Starts reading blocks and waits for nothing.
#[track_caller]
fn start(rig: &Rig, ctx: &mut IoContext, first: u32, count: u32) {
    assert_eq!(rig.pool.prefetch(ctx, MAIN, first, count).unwrap(), count);
}

fn read(rig: &Rig, ctx: &mut IoContext, block: u32) -> Result<(), BufferError> {
    rig.pool
        .read(ctx, MAIN, block, None)
        .map(|buffer| check(&buffer, block))
}

#[track_caller]
fn assert_unreadable(result: Result<(), BufferError>, blocks: &str, why: &str) {
    assert_eq!(
        result.unwrap_err().to_string(),
        format!("could not read blocks {blocks} in file \"base/5/16384\": {why}")
    );
}

#[test]
fn test_startwait_io_first_start_wins() {
    for over in ALL {
        let (rig, mut one, mut other) = filled(over, 8);
        let reads = rig.pool.stats().reads;
        start(&rig, &mut one, 5, 1);
        // Neither the same session nor another starts it again, nor waits for it.
        assert_eq!(rig.pool.prefetch(&mut one, MAIN, 5, 1).unwrap(), 0);
        assert_eq!(rig.pool.prefetch(&mut other, MAIN, 5, 1).unwrap(), 0);
        if over == Over::Lazy {
            assert_eq!(rig.lazy().held(), 1);
        }
        read(&rig, &mut other, 5).unwrap();
        read(&rig, &mut one, 5).unwrap();
        // "no IO needed"
        assert_eq!(rig.pool.prefetch(&mut one, MAIN, 5, 1).unwrap(), 0);
        assert_eq!(rig.pool.stats().reads, reads + 1);
        rig.evict(&mut one);
    }
}

#[test]
fn test_startwait_io_a_waiter_takes_over_after_failure() {
    for over in INJECTABLE {
        let (rig, mut one, mut other) = filled(over, 8);
        rig.inject.on_reads(5, [Fate::Errno(EIO)]);
        let reads = rig.pool.stats().reads;
        start(&rig, &mut one, 5, 1);
        // The read of somebody else fails, on this thread or another; a read of its own does not.
        read(&rig, &mut other, 5).unwrap();
        assert_eq!(rig.pool.stats().reads, reads + 2);
        read(&rig, &mut one, 5).unwrap();
        assert_eq!(rig.pool.stats().reads, reads + 2);
        rig.evict(&mut one);
    }
}

/// The same while a thread waits already, and several of them.
#[test]
fn test_startwait_io_of_several_waiters_one_takes_over_after_failure() {
    let (rig, mut one, _) = filled(Over::Lazy, 8);
    rig.inject.on_reads(5, [Fate::Errno(EIO)]);
    let reads = rig.pool.stats().reads;
    start(&rig, &mut one, 5, 1);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| read(&rig, &mut rig.issuer(), 5).unwrap());
        }
    });
    assert_eq!(rig.pool.stats().reads, reads + 2);
    rig.evict(&mut one);
}

#[test]
fn test_complete_foreign_of_an_issuer_that_has_ended() {
    for over in ALL {
        let (rig, mut one, mut other) = filled(over, 16);
        start(&rig, &mut one, 0, 16);
        drop(one);
        for block in 0..16 {
            read(&rig, &mut other, block).unwrap();
        }
        assert_eq!(rig.evict(&mut other), 16);
    }
}

#[test]
fn test_complete_foreign_of_a_corrupt_page() {
    for over in ALL {
        let (rig, mut one, mut other) = filled(over, 8);
        rig.corrupt(3);
        start(&rig, &mut one, 0, 8);
        // The issuer does nothing more. Who wants the page has an error of its own; the blocks beside
        // it are read.
        for block in 0..8 {
            match read(&rig, &mut other, block) {
                Err(error) => {
                    assert_eq!(block, 3, "{error}");
                    assert_eq!(
                        error.to_string(),
                        "invalid page in block 3 of relation \"base/5/16384\""
                    );
                }
                Ok(()) => assert_ne!(block, 3),
            }
        }
        assert!(read(&rig, &mut one, 3).is_err());
        rig.evict(&mut one);
    }
}

#[test]
fn test_zero_of_several_pages_in_one_read() {
    for over in ALL {
        let (rig, _, mut other) = filled(over, 8);
        for block in [0, 2, 3, 7] {
            rig.corrupt(block);
        }
        let (mut ctx, told) = rig.reader(true, false);
        // The second time somebody else than the issuer looks first.
        for foreign in [false, true] {
            start(&rig, &mut ctx, 0, 8);
            let looker = if foreign { &mut other } else { &mut ctx };
            for block in 0..8 {
                let buffer = rig.pool.read(looker, MAIN, block, None).unwrap();
                if [0, 2, 3, 7].contains(&block) {
                    assert!(buffer.share().page().is_all_zeros(), "block {block}");
                } else {
                    check(&buffer, block);
                }
            }
            rig.evict(&mut ctx);
        }
        // Nobody came back for the reads' results.
        assert!(told.take().is_empty());
    }
}

#[test]
fn test_ignore_checksum_off_and_on() {
    for over in ALL {
        let (rig, _, _) = filled(over, 8);
        rig.corrupt(1);
        rig.corrupt(6);
        for ignore in [false, true, false] {
            let (mut ctx, _) = rig.reader(false, ignore);
            let mut stream = rig.stream(true, 0..8);
            for block in 0..8 {
                let bad = [1, 6].contains(&block);
                assert_eq!(
                    stream.next(&mut ctx).is_ok(),
                    ignore || !bad,
                    "block {block}"
                );
            }
            drop(stream);
            rig.evict(&mut ctx);
        }
    }
}

/// A foreign read in the way: of the first blocks, of some in the middle, of the last. What it reads is
/// not read again, and what it does not is.
#[test]
fn test_read_buffers_is_split_by_a_foreign_read_that_succeeds() {
    for (first, count, own) in [
        (0, 1, vec![(1, 7)]),
        (3, 1, vec![(0, 3), (4, 4)]),
        (2, 3, vec![(0, 2), (5, 3)]),
        (7, 1, vec![(0, 7)]),
    ] {
        for over in ALL {
            let (rig, mut one, mut other) = filled(over, 8);
            start(&rig, &mut one, first, count);
            if over == Over::Lazy {
                assert_eq!(rig.lazy().take_reads(), [(first, count)]);
            }
            let before = rig.pool.stats().read_blocks;
            let mut stream = rig.stream(true, 0..8);
            for block in 0..8 {
                check(&stream.next(&mut other).unwrap().unwrap(), block);
            }
            assert_eq!(rig.pool.stats().read_blocks - before, u64::from(8 - count));
            if over == Over::Lazy {
                assert_eq!(rig.lazy().take_reads(), own);
            }
            drop(stream);
            rig.evict(&mut one);
        }
    }
}

#[test]
fn test_read_buffers_is_split_by_a_foreign_read_that_fails() {
    for (first, count) in [(0, 1), (3, 1), (2, 3), (7, 1)] {
        for over in INJECTABLE {
            let (rig, mut one, mut other) = filled(over, 8);
            rig.inject.on_reads(first, [Fate::Errno(EIO)]);
            start(&rig, &mut one, first, count);
            let read_blocks = rig.pool.stats().read_blocks;
            // Somebody else's error is nobody else's.
            let mut stream = rig.stream(true, 0..8);
            for block in 0..8 {
                check(&stream.next(&mut other).unwrap().unwrap(), block);
            }
            assert_eq!(rig.pool.stats().read_blocks - read_blocks, 8);
            drop(stream);
            rig.evict(&mut one);
        }
    }
}

#[test]
fn test_read_buffers_inject_the_same_foreign_read_is_met_twice() {
    for over in ALL {
        let (rig, mut one, mut other) = filled(over, 8);
        start(&rig, &mut one, 2, 3);
        if over == Over::Lazy {
            rig.lazy().take_reads();
        }
        let before = rig.pool.stats();
        // Two blocks of one read, with others between and behind.
        let mut stream = rig.stream(true, [2, 6, 4, 7, 2]);
        for block in [2, 6, 4, 7, 2] {
            check(&stream.next(&mut other).unwrap().unwrap(), block);
        }
        assert_eq!(rig.pool.stats().read_blocks - before.read_blocks, 2);
        if over == Over::Lazy {
            // Reads of their own, which are neighbours and were combined.
            assert_eq!(rig.lazy().take_reads(), [(6, 2)]);
        }
        drop(stream);
        rig.evict(&mut one);
    }
}

#[test]
fn test_inject_a_short_read_is_read_to_its_end() {
    for over in INJECTABLE {
        // Multiples of what a direct file demands; see the 17 bytes below.
        for bytes in [4096, 8192, 16384, 20480] {
            let (rig, mut ctx, _) = filled(over, 8);
            rig.inject.on_reads(0, [Fate::AtMost(bytes)]);
            let mut stream = rig.stream(true, 0..8);
            for block in 0..8 {
                check(&stream.next(&mut ctx).unwrap().unwrap(), block);
            }
            assert_eq!(rig.aio.counters().total().retries, 1);
            assert_eq!(rig.inject.left(), 0);
            drop(stream);
            rig.evict(&mut ctx);
        }
    }
}

#[test]
fn test_inject_a_corrupt_page_in_a_short_read() {
    for over in INJECTABLE {
        for bytes in [1, 3, 4].map(|blocks| blocks * BLCKSZ as i32 + 4096) {
            let (rig, mut ctx, _) = filled(over, 8);
            rig.corrupt(3);
            rig.inject.on_reads(0, [Fate::AtMost(bytes)]);
            let mut stream = rig.stream(true, 0..8);
            for block in 0..8 {
                match stream.next(&mut ctx) {
                    Ok(buffer) if block != 3 => check(&buffer.unwrap(), block),
                    Ok(_) => panic!("a corrupt page was published"),
                    Err(error) => {
                        assert_eq!((block, error.sqlstate()), (3, "XX001"), "{error}");
                    }
                }
            }
        }
    }
}

/// The end of the file in the middle of a block: what is there of it does not count. On every method,
/// the kernel's own short read.
#[test]
fn test_inject_a_read_of_17_bytes() {
    for over in ALL {
        let (rig, mut ctx, _) = filled(over, 4);
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(rig.path())
            .unwrap();
        file.set_len(2 * BLCKSZ as u64 + 17).unwrap();
        assert_unreadable(read(&rig, &mut ctx, 2), "2..2", "read only 0 of 8192 bytes");
        rig.evict(&mut ctx);
        let mut stream = rig.stream(true, 0..4);
        for block in 0..2 {
            check(&stream.next(&mut ctx).unwrap().unwrap(), block);
        }
        assert_unreadable(
            stream.next(&mut ctx).map(drop),
            "0..3",
            "read only 16384 of 32768 bytes",
        );
        assert!(stream.next(&mut ctx).is_err());
        drop(stream);
        rig.evict(&mut ctx);
    }
}

#[test]
fn test_inject_errors_are_told_and_the_next_attempt_succeeds() {
    for over in INJECTABLE {
        let (rig, mut ctx, _) = filled(over, 8);
        for (errno, why, sqlstate) in [
            (EIO, "Input/output error", "58030"),
            (EROFS, "Read-only file system", "42501"),
        ] {
            rig.inject.on_reads(2, [Fate::Errno(errno); 2]);
            for _ in 0..2 {
                let error = read(&rig, &mut ctx, 2);
                if let Err(error) = &error {
                    assert_eq!(error.sqlstate(), sqlstate);
                }
                assert_unreadable(error, "2..2", why);
            }
            read(&rig, &mut ctx, 2).unwrap();
            assert_eq!(rig.evict(&mut ctx), 1);
        }
    }
}

#[test]
fn test_004_read_stream_repeated_and_back_and_forth() {
    let ways: [&[u32]; 3] = [&[3; 6], &[0, 1, 2, 1, 0, 1, 2, 3], &[7, 0, 7, 0, 6, 1]];
    for over in ALL {
        for way in ways {
            let (rig, mut ctx, _) = filled(over, 8);
            let mut different = way.to_vec();
            different.sort_unstable();
            different.dedup();
            // Misses, then hits.
            for expected in [different.len() as u64, 0] {
                let before = rig.pool.stats().read_blocks;
                let mut stream = rig.stream(true, way.iter().copied());
                for &block in way {
                    check(&stream.next(&mut ctx).unwrap().unwrap(), block);
                }
                assert!(stream.next(&mut ctx).unwrap().is_none());
                assert_eq!(rig.pool.stats().read_blocks - before, expected);
            }
            rig.evict(&mut ctx);
        }
    }
}

/// A relation that is dropped while reads of it are in flight that nobody waits for; and the next one
/// with its number.
#[test]
fn test_invalidate_with_reads_outstanding() {
    for over in ALL {
        let (rig, mut one, mut other) = filled(over, 16);
        start(&rig, &mut one, 0, 16);
        rig.pool.drop_relation(REL);
        rig.smgr.unlink(REL).unwrap();
        rig.check_nothing_underway();
        rig.fill(&mut other, 4);
        for block in 0..4 {
            read(&rig, &mut other, block).unwrap();
        }
        assert!(
            read(&rig, &mut one, 5).is_err(),
            "a block of the old relation was found"
        );
        rig.evict(&mut one);
    }
}
