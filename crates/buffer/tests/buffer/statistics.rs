//! What is counted, and on whose account.

use trunkline_aio::MethodKind;
use trunkline_buffer::{
    IoAccount, PoolStats, ReadStream, ReadStreamFlags, Strategy, StrategyKind, WriteStream,
};
use trunkline_pgformat::PageMut;

use crate::rig::{MAIN, Options, Over, Rig};

/// Counters since the last look.
struct Since {
    seen: [PoolStats; IoAccount::ALL.len()],
}

impl Since {
    fn new(rig: &Rig) -> Since {
        Since {
            seen: IoAccount::ALL.map(|account| rig.pool.stats_of(account)),
        }
    }

    /// What was counted for `account`; nothing was for any other.
    #[track_caller]
    fn only(&mut self, rig: &Rig, account: IoAccount) -> PoolStats {
        let now = Since::new(rig);
        for other in IoAccount::ALL {
            if other != account {
                let (before, after) = (self.seen[other as usize], now.seen[other as usize]);
                assert_eq!(before, after, "{other:?}");
            }
        }
        let (before, after) = (self.seen[account as usize], now.seen[account as usize]);
        *self = now;
        PoolStats {
            hits: after.hits - before.hits,
            joined: after.joined - before.joined,
            reads: after.reads - before.reads,
            read_blocks: after.read_blocks - before.read_blocks,
            writes: after.writes - before.writes,
            written_blocks: after.written_blocks - before.written_blocks,
            extends: after.extends - before.extends,
            extended_blocks: after.extended_blocks - before.extended_blocks,
            evictions: after.evictions - before.evictions,
            reuses: after.reuses - before.reuses,
            waits: after.waits - before.waits,
            write_waits: after.write_waits - before.write_waits,
            writebacks: after.writebacks - before.writebacks,
            writeback_blocks: after.writeback_blocks - before.writeback_blocks,
            allocations: after.allocations - before.allocations,
        }
    }
}

#[test]
fn the_kernel_is_asked_on_the_account_of_what_was_written() {
    let options = Options {
        direct: false,
        flush_after_blocks: 4,
        ..Options::default()
    };
    let rig = Rig::new(Over::Kind(MethodKind::Sync), options);
    let mut ctx = rig.issuer();
    rig.fill(&mut ctx, 96);
    let mut since = Since::new(&rig);
    let mut ring = Strategy::new(&rig.pool, StrategyKind::Vacuum);
    for block in 0..48 {
        let buffer = rig
            .pool
            .read(&mut ctx, MAIN, block, Some(&mut ring))
            .unwrap();
        buffer.exclusive().mark_dirty();
    }
    let vacuumed = since.only(&rig, IoAccount::Vacuum);
    assert!(vacuumed.writeback_blocks > 0, "{vacuumed:?}");
    assert!(vacuumed.writeback_blocks <= vacuumed.written_blocks);
}

#[test]
fn what_a_ring_is_for_is_on_whose_account_it_counts() {
    // Rings of 16 buffers.
    let rig = Rig::new(Over::Kind(MethodKind::Sync), Options::default());
    let mut ctx = rig.issuer();
    let mut since = Since::new(&rig);

    // Sixteen at a time, written when they are evicted, as fast as they can be combined.
    rig.fill(&mut ctx, 96);
    let made = since.only(&rig, IoAccount::Normal);
    assert_eq!((made.extends, made.extended_blocks), (6, 96));
    assert_eq!((made.writes, made.written_blocks), (12, 96));
    assert_eq!((made.reads, made.evictions, made.reuses), (0, 0, 0));

    let mut blocks = 0..96;
    let ring = Some(Strategy::new(&rig.pool, StrategyKind::BulkRead));
    let flags = ReadStreamFlags::default();
    let mut stream = ReadStream::new(&rig.pool, MAIN, ring, flags, move || blocks.next());
    while stream.next(&mut ctx).unwrap().is_some() {}
    drop(stream);
    let scanned = since.only(&rig, IoAccount::BulkRead);
    assert_eq!(scanned.read_blocks, 96);
    assert!(scanned.reads < 96, "{scanned:?}");
    // The pool was empty: the ring's buffers held nothing when they came into it.
    assert_eq!((scanned.evictions, scanned.reuses), (0, 80));

    let mut ring = Strategy::new(&rig.pool, StrategyKind::Vacuum);
    for block in 0..48 {
        let buffer = rig
            .pool
            .read(&mut ctx, MAIN, block, Some(&mut ring))
            .unwrap();
        let mut guard = buffer.exclusive();
        guard[6000] = 5;
        guard.mark_dirty();
    }
    let vacuumed = since.only(&rig, IoAccount::Vacuum);
    assert_eq!((vacuumed.read_blocks, vacuumed.hits), (48, 0));
    assert!(
        (24..48).contains(&vacuumed.written_blocks),
        "a ring cleans what it will come to: {vacuumed:?}"
    );

    rig.pool.write_all(&mut ctx).unwrap();
    let written = since.only(&rig, IoAccount::Checkpointer);
    assert_eq!(written.written_blocks, 48 - vacuumed.written_blocks);
    let nothing_else = PoolStats {
        writes: written.writes,
        written_blocks: written.written_blocks,
        ..PoolStats::default()
    };
    assert_eq!(written, nothing_else);

    let mut ring = Strategy::new(&rig.pool, StrategyKind::BulkWrite);
    let mut stream = WriteStream::with_account(&rig.pool, 4, IoAccount::BulkWrite);
    let mut loaded = 0;
    while loaded < 64 {
        for buffer in rig.pool.extend(&mut ctx, MAIN, 8, Some(&mut ring)).unwrap() {
            let mut guard = buffer.exclusive();
            PageMut::new(&mut guard).init(0);
            guard.mark_dirty();
            drop(guard);
            stream.push(&mut ctx, buffer).unwrap();
            loaded += 1;
        }
    }
    stream.finish(&mut ctx).unwrap();
    let load = since.only(&rig, IoAccount::BulkWrite);
    assert_eq!((load.extended_blocks, load.written_blocks), (64, 64));
    assert_eq!(load.reads, 0);

    drop(rig.pool.read(&mut ctx, MAIN, 159, None).unwrap());
    let found = since.only(&rig, IoAccount::Normal);
    assert_eq!((found.hits, found.reads), (1, 0));

    let total = rig.pool.stats();
    let sum = |of: fn(PoolStats) -> u64| -> u64 { since.seen.into_iter().map(of).sum() };
    assert_eq!(total.written_blocks, sum(|stats| stats.written_blocks));
    assert_eq!(total.read_blocks, sum(|stats| stats.read_blocks));
    assert_eq!(total.hits, sum(|stats| stats.hits));
}
