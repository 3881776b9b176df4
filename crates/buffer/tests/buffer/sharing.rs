//! One I/O at a time on a buffer, joined and completed by whoever wants it (B1, B10, A4, A6).

use crate::rig::{ALL, MAIN, Options, Over, REL, Rig, check};
use std::sync::{Barrier, Mutex};
use std::thread;
use trunkline_buffer::{StrategyKind, WriteStream};
use trunkline_pgformat::{BLCKSZ, ForkNumber};

#[test]
fn two_streams_over_the_same_blocks_share_their_reads() {
    let rig = Rig::new(
        Over::Lazy,
        Options {
            io_concurrency: 8,
            ..Options::default()
        },
    );
    let (mut one, mut other) = (rig.issuer(), rig.issuer());
    rig.fill(&mut one, 64);
    let mut first = rig.stream(true, 0..24);
    check(&first.next(&mut one).unwrap().unwrap(), 0);
    // In flight, issued by the first stream, which does nothing more for now.
    let ahead = rig.lazy().held();
    assert!(ahead > 0);
    let mut second = rig.stream(true, 0..24);
    for block in 0..24 {
        check(&second.next(&mut other).unwrap().unwrap(), block);
    }
    for block in 1..24 {
        check(&first.next(&mut one).unwrap().unwrap(), block);
    }
    let read: u32 = rig.lazy().take_reads().iter().map(|read| read.1).sum();
    assert_eq!(read, 24, "every block is read once");
    assert!(rig.pool.stats().joined >= 1);
}

#[test]
fn streams_that_collide_at_different_paces_all_get_every_block() {
    for over in ALL {
        let rig = Rig::new(
            over,
            Options {
                buffers: 64,
                ..Options::default()
            },
        );
        rig.fill(&mut rig.issuer(), 150);
        let barrier = Barrier::new(4);
        thread::scope(|scope| {
            for worker in 0..4 {
                let (rig, barrier) = (&rig, &barrier);
                scope.spawn(move || {
                    let mut ctx = rig.issuer();
                    barrier.wait();
                    let start = worker * 10;
                    let mut stream = rig.stream(worker % 2 == 0, start..150);
                    for block in start..150 {
                        check(&stream.next(&mut ctx).unwrap().unwrap(), block);
                    }
                });
            }
        });
        rig.evict(&mut rig.issuer());
    }
}

/// A6: the issuer holds read-ahead in flight and blocks on a lock that the waiter holds.
#[test]
fn a_blocked_issuers_reads_are_completed_by_who_wants_them() {
    for over in ALL {
        let rig = Rig::new(over, Options::default());
        rig.fill(&mut rig.issuer(), 40);
        let lock = Mutex::new(());
        let in_flight = Barrier::new(2);
        let held = lock.lock().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut ctx = rig.issuer();
                let mut stream = rig.stream(true, 0..32);
                check(&stream.next(&mut ctx).unwrap().unwrap(), 0);
                in_flight.wait();
                drop(lock.lock().unwrap());
                for block in 1..32 {
                    check(&stream.next(&mut ctx).unwrap().unwrap(), block);
                }
            });
            in_flight.wait();
            let mut ctx = rig.issuer();
            for block in 0..32 {
                check(&rig.pool.read(&mut ctx, MAIN, block, None).unwrap(), block);
            }
            drop(held);
        });
    }
}

/// B10: the same with a write in flight and a content lock.
#[test]
fn a_blocked_issuers_write_is_completed_by_who_wants_the_lock() {
    for over in ALL {
        let rig = Rig::new(over, Options::default());
        rig.fill(&mut rig.issuer(), 8);
        let lock = Mutex::new(());
        let in_flight = Barrier::new(2);
        let held = lock.lock().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut ctx = rig.issuer();
                let buffer = rig.pool.read(&mut ctx, MAIN, 3, None).unwrap();
                buffer.exclusive().mark_dirty();
                let mut stream = WriteStream::new(&rig.pool, 4);
                stream.push(&mut ctx, buffer).unwrap();
                stream.flush(&mut ctx).unwrap();
                in_flight.wait();
                drop(lock.lock().unwrap());
                stream.finish(&mut ctx).unwrap();
            });
            in_flight.wait();
            let mut ctx = rig.issuer();
            let buffer = rig.pool.read(&mut ctx, MAIN, 3, None).unwrap();
            if over == Over::Lazy {
                // Readers go with a write in flight; those who would change the page do not.
                assert!(buffer.is_dirty() && buffer.try_exclusive().is_none());
                assert!(buffer.try_share_exclusive().is_none());
                assert!(buffer.try_share().is_some());
            }
            check(&buffer, 3);
            let mut guard = buffer.exclusive();
            guard[8000] = 1;
            guard.mark_dirty();
            drop(guard);
            drop(held);
        });
        rig.evict(&mut rig.issuer());
        assert_eq!(std::fs::read(rig.path()).unwrap()[3 * BLCKSZ + 8000], 1);
    }
}

/// A4 at the level of streams: nothing that a stream call has staged waits in a pending list.
#[test]
fn what_a_stream_call_stages_is_submitted_when_it_returns() {
    let rig = Rig::new(
        Over::Lazy,
        Options {
            io_concurrency: 8,
            ..Options::default()
        },
    );
    let mut ctx = rig.issuer();
    rig.fill(&mut ctx, 100);
    let pending = |rig: &Rig| {
        rig.aio
            .in_flight()
            .iter()
            .filter(|io| io.state < trunkline_aio::State::Submitted)
            .count()
    };
    let mut stream = rig.stream(true, 0..100);
    while let Some(buffer) = stream.next(&mut ctx).unwrap() {
        assert_eq!(pending(&rig), 0);
        buffer.exclusive().mark_dirty();
    }
    let mut writes = WriteStream::new(&rig.pool, 8);
    for block in 0..100 {
        let buffer = rig.pool.read(&mut ctx, MAIN, block, None).unwrap();
        writes.push(&mut ctx, buffer).unwrap();
        assert_eq!(pending(&rig), 0);
    }
    assert!(rig.lazy().held() > 0);
    writes.finish(&mut ctx).unwrap();
}

#[test]
fn content_locks_exclude_as_they_should() {
    let rig = Rig::new(ALL[0], Options::default());
    let mut ctx = rig.issuer();
    rig.fill(&mut ctx, 1);
    let buffer = rig.pool.read(&mut ctx, MAIN, 0, None).unwrap();
    let shared = buffer.share();
    assert!(buffer.try_share().is_some());
    assert!(buffer.try_exclusive().is_none());
    let share_exclusive = buffer.try_share_exclusive().unwrap();
    assert!(buffer.try_share_exclusive().is_none());
    // A reader is there: no upgrade; alone: one.
    let share_exclusive = share_exclusive.try_upgrade().err().unwrap();
    drop(shared);
    let exclusive = share_exclusive.try_upgrade().ok().unwrap();
    assert!(buffer.try_share().is_none());
    let shared = exclusive.downgrade();
    let other = buffer.share();
    let shared = shared.try_upgrade().err().unwrap();
    drop(other);
    let mut exclusive = shared.try_upgrade().ok().unwrap();
    exclusive.mark_dirty();
    drop(exclusive);
    drop(buffer);
    rig.evict(&mut ctx);
}

#[test]
fn a_parked_locker_is_woken() {
    let rig = Rig::new(ALL[0], Options::default());
    rig.fill(&mut rig.issuer(), 1);
    let buffer = rig.pool.read(&mut rig.issuer(), MAIN, 0, None).unwrap();
    let counter = std::sync::atomic::AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            let (buffer, counter) = (buffer.clone(), &counter);
            scope.spawn(move || {
                for round in 0..2000 {
                    if round % 3 == 0 {
                        let guard = buffer.share();
                        std::hint::black_box(guard[100]);
                    } else {
                        let mut guard = buffer.exclusive();
                        guard[8191] = guard[8191].wrapping_add(1);
                        counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(buffer.share()[8191], counter.into_inner() as u8);
}

#[test]
fn dropping_a_relation_waits_for_its_io_and_forgets_its_blocks() {
    for over in ALL {
        let rig = Rig::new(over, Options::default());
        let mut ctx = rig.issuer();
        rig.fill(&mut ctx, 40);
        // Reads and writes in flight that nobody has waited for, dirty buffers, and a pin.
        let kept = rig.pool.read(&mut ctx, MAIN, 39, None).unwrap();
        let dirty = rig.pool.read(&mut ctx, MAIN, 30, None).unwrap();
        dirty.exclusive().mark_dirty();
        let mut writes = WriteStream::new(&rig.pool, 4);
        writes.push(&mut ctx, dirty).unwrap();
        writes.flush(&mut ctx).unwrap();
        let mut stream = rig.stream(true, 0..20);
        stream.next(&mut ctx).unwrap();
        rig.pool.drop_relation(REL);
        rig.smgr.unlink(REL).unwrap();
        assert_eq!(
            rig.aio
                .in_flight()
                .iter()
                .filter(|io| io.state < trunkline_aio::State::CompletedShared)
                .count(),
            0
        );
        drop((stream, writes));
        assert!(!rig.path().exists());
        check(&kept, 39);

        // The same name again: nothing of the old blocks is found.
        rig.smgr.create(REL, ForkNumber::Main, false).unwrap();
        let ring = &mut trunkline_buffer::Strategy::new(&rig.pool, StrategyKind::BulkWrite);
        let new = rig.pool.extend(&mut ctx, MAIN, 1, Some(ring)).unwrap();
        assert!(new[0].share().page().is_all_zeros());
        kept.exclusive().mark_dirty();
        drop(kept);
        drop(new);
        rig.pool.write_all(&mut ctx).unwrap();
        assert_eq!(std::fs::metadata(rig.path()).unwrap().len(), BLCKSZ as u64);
    }
}

#[test]
fn a_truncated_tail_is_forgotten_and_can_grow_again() {
    for over in ALL {
        let rig = Rig::new(over, Options::default());
        let mut ctx = rig.issuer();
        rig.fill(&mut ctx, 20);
        for block in 0..20 {
            let buffer = rig.pool.read(&mut ctx, MAIN, block, None).unwrap();
            buffer.exclusive().mark_dirty();
        }
        rig.pool.drop_blocks_from(REL, ForkNumber::Main, 12);
        rig.smgr.truncate(REL, ForkNumber::Main, 12).unwrap();
        assert_eq!(rig.pool.nblocks(MAIN).unwrap(), 12);
        // An attempt to read beyond the end leaves an unusable buffer behind, which extension takes.
        let error = rig.pool.read(&mut ctx, MAIN, 13, None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "could not read blocks 13..13 in file \"base/5/16384\": read only 0 of 8192 bytes"
        );
        assert_eq!(error.sqlstate(), "XX001");
        let new = rig.pool.extend(&mut ctx, MAIN, 4, None).unwrap();
        assert_eq!(
            new.iter().map(|b| b.block()).collect::<Vec<_>>(),
            [12, 13, 14, 15]
        );
        assert!(
            new.iter()
                .all(|buffer| buffer.share().page().is_all_zeros())
        );
        drop(new);
        rig.evict(&mut ctx);
        check(&rig.pool.read(&mut ctx, MAIN, 11, None).unwrap(), 11);
        assert!(
            rig.pool
                .read(&mut ctx, MAIN, 13, None)
                .unwrap()
                .share()
                .page()
                .is_all_zeros()
        );
    }
}

#[test]
fn prefetched_blocks_are_read_once_and_joined() {
    for over in ALL {
        let rig = Rig::new(over, Options::default());
        let mut ctx = rig.issuer();
        rig.fill(&mut ctx, 40);
        drop(rig.pool.read(&mut ctx, MAIN, 10, None).unwrap());
        let before = rig.pool.stats().read_blocks;
        assert_eq!(rig.pool.prefetch(&mut ctx, MAIN, 4, 20).unwrap(), 19);
        if over == Over::Lazy {
            assert!(rig.lazy().held() > 0, "nobody has waited");
            assert_eq!(rig.lazy().take_reads(), [(10, 1), (4, 6), (11, 8), (19, 5)]);
        }
        let mut other = rig.issuer();
        for block in 4..24 {
            check(
                &rig.pool.read(&mut other, MAIN, block, None).unwrap(),
                block,
            );
        }
        assert_eq!(rig.pool.stats().read_blocks - before, 19);
        rig.evict(&mut ctx);
    }
}

/// A search for a buffer does not send off the reads before it one by one.
#[test]
fn neighbouring_runs_go_to_the_kernel_as_one_where_the_issuer_allows_it() {
    let rig = Rig::new(Over::Lazy, Options::default());
    let mut ctx = rig.issuer();
    rig.fill(&mut ctx, 64);
    // Runs are of 8 blocks.
    ctx.set_combine_limit(16 * BLCKSZ as u32);
    assert_eq!(rig.pool.prefetch(&mut ctx, MAIN, 0, 40).unwrap(), 40);
    assert_eq!(rig.lazy().take_reads(), [(0, 16), (16, 16), (32, 8)]);
    for block in 0..40 {
        check(&rig.pool.read(&mut ctx, MAIN, block, None).unwrap(), block);
    }
    assert_eq!(rig.pool.stats().reads, 5);
}
