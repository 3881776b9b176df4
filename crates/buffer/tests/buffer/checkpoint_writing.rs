//! A checkpoint's writes (B7).

use crate::rig::{ALL, MAIN, Options, Over, REL, Rig};
use std::sync::atomic::Ordering;
use trunkline_aio::IoContext;
use trunkline_buffer::{CheckpointWrites, IoAccount, RelFork, WriteStream};
use trunkline_pgformat::{ForkNumber, Oid, PageMut, RelFileLocator};

fn dirty(rig: &Rig, ctx: &mut IoContext, block: u32) {
    let buffer = rig.pool.read(ctx, MAIN, block, None).unwrap();
    buffer.exclusive().mark_dirty();
}

fn written(rig: &Rig, account: IoAccount) -> u64 {
    rig.pool.stats_of(account).written_blocks
}

#[test]
fn b7_what_was_dirty_at_the_start_is_written_once_in_order_and_combined() {
    let rig = Rig::new(Over::Lazy, Options::default());
    let mut ctx = rig.issuer();
    rig.fill(&mut ctx, 40);
    // Dirtied out of order, with a hole.
    for block in (0..20).rev().filter(|&block| block != 11) {
        dirty(&rig, &mut ctx, block);
    }
    let mut writes = CheckpointWrites::begin(&rig.pool, 32);
    assert_eq!(writes.total(), 19);
    // Dirtied later: not this checkpoint's.
    dirty(&rig, &mut ctx, 30);
    assert!(writes.step(&mut ctx, 1));
    assert_eq!(writes.done(), 8, "a step ends with a whole run");
    assert!(!writes.step(&mut ctx, 100));
    assert_eq!(writes.finish(&mut ctx).unwrap(), 19);
    assert_eq!(rig.lazy().take_writes(), [(0, 8), (8, 3), (12, 8)]);
    assert!(rig.pool.read(&mut ctx, MAIN, 30, None).unwrap().is_dirty());
}

#[test]
fn b7_whoever_writes_a_page_first_spares_the_checkpoint_the_write() {
    for over in ALL {
        let rig = Rig::new(over, Options::default());
        let mut ctx = rig.issuer();
        rig.fill(&mut ctx, 16);
        for block in 0..16 {
            dirty(&rig, &mut ctx, block);
        }
        let writes = CheckpointWrites::begin(&rig.pool, 32);
        let mut other = WriteStream::new(&rig.pool, 4);
        for block in 4..8 {
            let buffer = rig.pool.read(&mut ctx, MAIN, block, None).unwrap();
            other.push(&mut ctx, buffer).unwrap();
        }
        other.finish(&mut ctx).unwrap();
        // Dirty again, but not as it was when the checkpoint began.
        dirty(&rig, &mut ctx, 5);
        assert_eq!(writes.total(), 16);
        assert_eq!(writes.finish(&mut ctx).unwrap(), 12);
        assert_eq!(written(&rig, IoAccount::Checkpointer), 12);
        assert!(rig.pool.read(&mut ctx, MAIN, 5, None).unwrap().is_dirty());
        rig.evict(&mut ctx);
    }
}

#[test]
fn b7_no_more_writes_are_in_flight_than_allowed() {
    let rig = Rig::new(
        Over::Lazy,
        Options {
            buffers: 256,
            ..Options::default()
        },
    );
    let mut ctx = rig.issuer();
    rig.fill(&mut ctx, 80);
    for block in 0..80 {
        dirty(&rig, &mut ctx, block);
    }
    let mut writes = CheckpointWrites::begin(&rig.pool, 3);
    while writes.step(&mut ctx, 1) {
        assert!(rig.lazy().held() <= 3);
    }
    assert_eq!(rig.lazy().held(), 3, "as many are in flight as may be");
    writes.settle(&mut ctx);
    assert_eq!(rig.lazy().held(), 0, "none is left behind before a pause");
    assert_eq!(writes.finish(&mut ctx).unwrap(), 80);
}

#[test]
fn b7_tablespaces_keep_step_with_each_other() {
    let rig = Rig::new(Over::Lazy, Options::default());
    let mut ctx = rig.issuer();
    rig.fill(&mut ctx, 64);
    let shared = RelFileLocator {
        spc_oid: Oid(1664),
        db_oid: Oid(0),
        rel_number: 1262,
    };
    std::fs::create_dir_all(rig.smgr.data_dir().join("global")).unwrap();
    rig.smgr.create(shared, ForkNumber::Main, false).unwrap();
    let fork = RelFork::main(shared);
    for buffer in rig.pool.extend(&mut ctx, fork, 16, None).unwrap() {
        let mut guard = buffer.exclusive();
        PageMut::new(&mut guard).init(0);
        guard.mark_dirty();
    }
    for block in 0..64 {
        dirty(&rig, &mut ctx, block);
    }
    let mut writes = CheckpointWrites::begin(&rig.pool, 32);
    let mut of_shared = Vec::new();
    loop {
        let more = writes.step(&mut ctx, 1);
        let clean = (0..16).filter(|&block| {
            let buffer = rig.pool.read(&mut ctx, fork, block, None).unwrap();
            // Being written: locked by its write.
            buffer.try_exclusive().is_none()
        });
        of_shared.push(clean.count());
        if !more {
            break;
        }
    }
    // Four runs of the one for each of the other's.
    assert_eq!(of_shared.last(), Some(&16));
    let half = of_shared.len() / 2;
    assert_eq!(of_shared[half], 8, "{of_shared:?}");
    writes.finish(&mut ctx).unwrap();
}

#[test]
fn b7_one_page_that_cannot_be_written_does_not_keep_the_others_from_it() {
    let rig = Rig::new(Over::Lazy, Options::default());
    let mut ctx = rig.issuer();
    rig.fill(&mut ctx, 32);
    for block in 0..32 {
        dirty(&rig, &mut ctx, block);
    }
    let mut writes = CheckpointWrites::begin(&rig.pool, 2);
    writes.step(&mut ctx, 8);
    rig.lazy().fail_writes.store(true, Ordering::SeqCst);
    writes.settle(&mut ctx);
    rig.lazy().fail_writes.store(false, Ordering::SeqCst);
    let error = writes.finish(&mut ctx).unwrap_err();
    assert!(error.to_string().contains("blocks 0..7"), "{error}");
    let mut is_dirty = |block| {
        rig.pool
            .read(&mut ctx, MAIN, block, None)
            .unwrap()
            .is_dirty()
    };
    assert!((0..8).all(&mut is_dirty));
    assert!(!(8..32).any(is_dirty));
    // The next one has what this one could not write.
    let writes = CheckpointWrites::begin(&rig.pool, 2);
    assert_eq!(writes.finish(&mut ctx).unwrap(), 8);
}

#[test]
fn a_page_dropped_during_the_checkpoint_is_not_written() {
    for over in ALL {
        let rig = Rig::new(over, Options::default());
        let mut ctx = rig.issuer();
        rig.fill(&mut ctx, 16);
        for block in 0..16 {
            dirty(&rig, &mut ctx, block);
        }
        let writes = CheckpointWrites::begin(&rig.pool, 4);
        rig.pool.drop_relation(REL);
        rig.smgr.unlink(REL).unwrap();
        assert_eq!(writes.finish(&mut ctx).unwrap(), 0);
        rig.smgr.sync_all(&mut ctx).unwrap();
    }
}

#[test]
fn buffered_writes_are_flushed_in_merged_ranges_and_direct_ones_never() {
    for direct in [false, true] {
        let rig = Rig::new(
            Over::Lazy,
            Options {
                buffers: 256,
                direct,
                flush_after_blocks: 16,
                ..Options::default()
            },
        );
        let mut ctx = rig.issuer();
        rig.fill(&mut ctx, 80);
        for block in (0..64).filter(|&block| block != 20) {
            dirty(&rig, &mut ctx, block);
        }
        rig.lazy().take_flushes();
        let before = rig.pool.stats_of(IoAccount::Checkpointer).writeback_blocks;
        let writes = CheckpointWrites::begin(&rig.pool, 4);
        writes.finish(&mut ctx).unwrap();
        let flushes = rig.lazy().take_flushes();
        let count = rig.pool.stats_of(IoAccount::Checkpointer).writeback_blocks - before;
        if direct {
            assert!(flushes.is_empty(), "{flushes:?}");
            assert_eq!(count, 0);
        } else {
            // Each once, nothing of the hole, and never before its write.
            let blocks: Vec<u32> = flushes
                .iter()
                .flat_map(|&(first, blocks)| first..first + blocks)
                .collect();
            let expected: Vec<u32> = (0..64).filter(|&block| block != 20).collect();
            assert_eq!(blocks, expected);
            assert!(flushes.len() <= 5, "{flushes:?}");
            assert_eq!(count, 63);
        }
        ctx.wait_all();
    }
}

#[test]
fn a_failed_flush_is_told_by_the_next_sync() {
    let rig = Rig::new(
        Over::Lazy,
        Options {
            direct: false,
            flush_after_blocks: 4,
            ..Options::default()
        },
    );
    let mut ctx = rig.issuer();
    rig.fill(&mut ctx, 8);
    rig.smgr.sync_all(&mut ctx).unwrap();
    for block in 0..8 {
        dirty(&rig, &mut ctx, block);
    }
    rig.lazy().fail_flushes.store(true, Ordering::SeqCst);
    rig.pool.write_all(&mut ctx).unwrap();
    ctx.wait_all();
    rig.lazy().fail_flushes.store(false, Ordering::SeqCst);
    for _ in 0..2 {
        let error = rig.smgr.sync_all(&mut ctx).unwrap_err();
        assert_eq!(
            error.to_string(),
            "could not fsync file \"base/5/16384\": Input/output error"
        );
    }
}
