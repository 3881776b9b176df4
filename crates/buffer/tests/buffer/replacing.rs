//! Replacement does not make readers wait for writes (B5).

use crate::rig::{ALL, MAIN, Options, Over, Rig, check};
use std::sync::atomic::Ordering;
use trunkline_aio::IoContext;
use trunkline_buffer::{IoAccount, Strategy, StrategyKind};
use trunkline_pgformat::{Lsn, PageMut};

fn rig(over: Over, buffers: u64, blocks: u32) -> (Rig, IoContext) {
    let rig = Rig::new(
        over,
        Options {
            buffers,
            ..Options::default()
        },
    );
    let mut ctx = rig.issuer();
    rig.fill(&mut ctx, blocks);
    (rig, ctx)
}

fn read_and_dirty(rig: &Rig, ctx: &mut IoContext, block: u32, ring: Option<&mut Strategy>) {
    let buffer = rig.pool.read(ctx, MAIN, block, ring).unwrap();
    check(&buffer, block);
    buffer.exclusive().mark_dirty();
}

/// The method executes a write only for somebody who waits for it.
#[test]
fn b5_a_reader_with_a_ring_of_dirty_pages_does_not_wait_while_others_are_clean() {
    for kind in [StrategyKind::BulkRead, StrategyKind::Vacuum] {
        let (rig, mut ctx) = rig(Over::Lazy, 256, 200);
        let mut ring = Strategy::new(&rig.pool, kind);
        let length = ring.ring_buffers() as u32;
        for block in 0..length {
            read_and_dirty(&rig, &mut ctx, block, Some(&mut ring));
        }
        rig.lazy().take_writes();
        for block in length..2 * length {
            let buffer = rig
                .pool
                .read(&mut ctx, MAIN, block, Some(&mut ring))
                .unwrap();
            check(&buffer, block);
        }
        let stats = rig.pool.stats();
        assert_eq!(stats.write_waits, 0, "{stats:?}");
        // They were all started, and none has ended: nobody waited.
        let writes = rig.lazy().take_writes();
        assert_eq!(writes.iter().map(|write| write.1).sum::<u32>(), length);
        assert_eq!(rig.lazy().held(), writes.len());

        // What was let go is the ring's again when it is clean: it does not grow over the pool.
        ctx.wait_all();
        for round in 0..4 {
            for block in 0..3 * length {
                drop(
                    rig.pool
                        .read(&mut ctx, MAIN, block, Some(&mut ring))
                        .unwrap(),
                );
            }
            assert!(
                rig.evict(&mut ctx) <= u64::from(3 * length),
                "round {round}"
            );
        }
    }
}

#[test]
fn b5_a_ring_waits_only_when_it_has_let_go_as_much_as_it_is_long() {
    let (rig, mut ctx) = rig(Over::Lazy, 256, 250);
    let mut ring = Strategy::new(&rig.pool, StrategyKind::Vacuum);
    let length = ring.ring_buffers() as u32;
    for block in 0..2 * length {
        read_and_dirty(&rig, &mut ctx, block, Some(&mut ring));
    }
    assert_eq!(rig.pool.stats_of(IoAccount::Vacuum).write_waits, 0);
    for block in 2 * length..7 * length {
        read_and_dirty(&rig, &mut ctx, block, Some(&mut ring));
    }
    assert!(rig.pool.stats_of(IoAccount::Vacuum).write_waits > 0);
    ctx.wait_all();
}

#[test]
fn b5_the_sweep_passes_dirty_buffers_and_starts_their_writes() {
    let (rig, mut ctx) = rig(Over::Lazy, 128, 300);
    // Half of the pool is dirty, in stretches; all of it used once.
    for block in 0..120 {
        let buffer = rig.pool.read(&mut ctx, MAIN, block, None).unwrap();
        if block % 40 < 20 {
            buffer.exclusive().mark_dirty();
        }
    }
    rig.lazy().take_writes();
    let waits = rig.pool.stats().write_waits;
    for block in 200..240 {
        drop(rig.pool.read(&mut ctx, MAIN, block, None).unwrap());
    }
    assert_eq!(rig.pool.stats().write_waits, waits);
    let started: u32 = rig.lazy().take_writes().iter().map(|write| write.1).sum();
    assert!(started > 0, "nothing is cleaned ahead");
    assert!(rig.lazy().held() > 0, "somebody waited");
    ctx.wait_all();
}

#[test]
fn b5_with_only_dirty_buffers_one_write_is_waited_for_not_all() {
    let (rig, mut ctx) = rig(Over::Lazy, 64, 300);
    for block in (0..128).step_by(2) {
        read_and_dirty(&rig, &mut ctx, block, None);
    }
    let waits = rig.pool.stats().write_waits;
    drop(rig.pool.read(&mut ctx, MAIN, 200, None).unwrap());
    assert_eq!(rig.pool.stats().write_waits, waits + 1);
    assert!(rig.lazy().held() > 0, "all were waited for");
    ctx.wait_all();
}

/// B4 and B5: what waits for the log is passed as well; the flush is started.
#[test]
fn b5_dirty_pages_ahead_of_the_log_are_passed_and_their_flush_started() {
    for over in ALL {
        let (rig, mut ctx) = rig(over, 256, 200);
        let mut ring = Strategy::new(&rig.pool, StrategyKind::Vacuum);
        let length = ring.ring_buffers() as u32;
        for block in 0..length {
            let buffer = rig
                .pool
                .read(&mut ctx, MAIN, block, Some(&mut ring))
                .unwrap();
            let mut guard = buffer.exclusive();
            PageMut::new(&mut guard).set_lsn(Lsn(700));
            guard.mark_dirty();
        }
        for block in length..2 * length {
            drop(
                rig.pool
                    .read(&mut ctx, MAIN, block, Some(&mut ring))
                    .unwrap(),
            );
        }
        assert_eq!(rig.pool.stats().write_waits, 0);
        assert!(
            rig.log.take_flushed().is_empty(),
            "somebody waited for the log"
        );
        assert!(rig.log.take_started().contains(&Lsn(700)));
        // Once it is durable, the ring's second look writes them.
        rig.log.set_durable(700);
        for block in 2 * length..4 * length {
            drop(
                rig.pool
                    .read(&mut ctx, MAIN, block, Some(&mut ring))
                    .unwrap(),
            );
            ctx.wait_all();
        }
        let vacuum = rig.pool.stats_of(IoAccount::Vacuum);
        assert_eq!(vacuum.written_blocks, u64::from(length));
        rig.evict(&mut ctx);
    }
}

/// A disk that refuses writes: readers go on as long as there are clean buffers, then they are told.
#[test]
fn b5_failing_writes_end_in_an_error_and_not_in_a_loop() {
    let (rig, mut ctx) = rig(Over::Lazy, 64, 300);
    rig.lazy().fail_writes.store(true, Ordering::SeqCst);
    let mut ring = Strategy::new(&rig.pool, StrategyKind::Vacuum);
    let mut failed = None;
    for block in 0..300 {
        match rig.pool.read(&mut ctx, MAIN, block, Some(&mut ring)) {
            Ok(buffer) => buffer.exclusive().mark_dirty(),
            Err(error) => {
                failed = Some((block, error));
                break;
            }
        }
    }
    let (block, error) = failed.expect("an error");
    assert!(block >= 60, "{block}");
    assert_eq!(error.sqlstate(), "53100");
    rig.lazy().fail_writes.store(false, Ordering::SeqCst);
    drop(rig.pool.read(&mut ctx, MAIN, 299, None).unwrap());
    rig.pool.write_all(&mut ctx).unwrap();
    ctx.wait_all();
    rig.evict(&mut ctx);
}
