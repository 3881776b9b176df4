//! WriteStream (B4), replacement of dirty buffers (B5), extension.

use crate::rig::{ALL, MAIN, Options, Over, REL, Rig, check};
use std::sync::atomic::{AtomicU32, Ordering};
use trunkline_aio::MethodKind;
use trunkline_buffer::{Strategy, StrategyKind, WriteStream};
use trunkline_pgformat::{BLCKSZ, ForkNumber, PageMut, verify_page};

/// Every page of the file passes verification, and says `mark` at its end.
#[track_caller]
fn assert_on_disk(rig: &Rig, blocks: u32, mark: u8) {
    let bytes = std::fs::read(rig.path()).unwrap();
    assert_eq!(bytes.len(), blocks as usize * BLCKSZ);
    for (block, page) in (0..).zip(bytes.as_chunks::<BLCKSZ>().0) {
        verify_page(page, block, true).unwrap();
        assert_eq!(page[6000], mark, "block {block}");
        assert_ne!(&page[8..10], [0, 0], "block {block} has a checksum");
    }
}

fn dirty(
    rig: &Rig,
    ctx: &mut trunkline_aio::IoContext,
    block: u32,
    mark: u8,
) -> trunkline_buffer::PinnedBuffer {
    let buffer = rig.pool.read(ctx, MAIN, block, None).unwrap();
    let mut guard = buffer.exclusive();
    guard[6000] = mark;
    guard.mark_dirty();
    drop(guard);
    buffer
}

#[test]
fn what_a_write_stream_wrote_verifies_and_reads_back() {
    for over in ALL {
        let rig = Rig::new(over, Options::default());
        let mut ctx = rig.issuer();
        rig.fill(&mut ctx, 100);
        let mut stream = WriteStream::new(&rig.pool, 4);
        for block in 0..100 {
            let buffer = dirty(&rig, &mut ctx, block, 7);
            stream.push(&mut ctx, buffer).unwrap();
            assert!(stream.in_flight() <= 4);
        }
        stream.finish(&mut ctx).unwrap();
        assert_on_disk(&rig, 100, 7);
        assert!((0..100).all(|b| !rig.pool.read(&mut ctx, MAIN, b, None).unwrap().is_dirty()));
        rig.evict(&mut ctx);
        check(&rig.pool.read(&mut ctx, MAIN, 99, None).unwrap(), 99);
    }
}

#[test]
fn a_write_stream_dropped_early_leaves_nothing_in_flight() {
    for over in ALL {
        let rig = Rig::new(over, Options::default());
        let mut ctx = rig.issuer();
        rig.fill(&mut ctx, 30);
        let mut stream = WriteStream::new(&rig.pool, 8);
        for block in 0..30 {
            let buffer = dirty(&rig, &mut ctx, block, 7);
            stream.push(&mut ctx, buffer).unwrap();
        }
        drop(stream);
        rig.check_nothing_underway();
        // Three runs of eight were started; what was not is dirty still, and nothing is locked.
        let mut is_dirty = |block: u32| {
            let buffer = rig.pool.read(&mut ctx, MAIN, block, None).unwrap();
            drop(buffer.try_exclusive().unwrap());
            buffer.is_dirty()
        };
        let dirty: Vec<u32> = (0..30).filter(|&block| is_dirty(block)).collect();
        assert_eq!(dirty, [24, 25, 26, 27, 28, 29]);
    }
}

#[test]
fn neighbours_are_written_together_and_locked_ones_break_a_run() {
    let rig = Rig::new(Over::Lazy, Options::default());
    let mut ctx = rig.issuer();
    rig.fill(&mut ctx, 40);
    let mut stream = WriteStream::new(&rig.pool, 8);
    let buffers: Vec<_> = (0..20)
        .map(|block| dirty(&rig, &mut ctx, block, 1))
        .collect();
    for buffer in buffers {
        stream.push(&mut ctx, buffer).unwrap();
    }
    stream.finish(&mut ctx).unwrap();
    assert_eq!(rig.lazy().take_writes(), [(0, 8), (8, 8), (16, 4)]);

    // 2 is clean; 5 is locked by a reader for as long as the run is being started, which waits for
    // that lock only when 5 is first, with everything before it submitted.
    let buffers: Vec<_> = (0..8)
        .map(|block| dirty(&rig, &mut ctx, block, 2))
        .collect();
    let mut one = WriteStream::new(&rig.pool, 8);
    one.push(&mut ctx, buffers[2].clone()).unwrap();
    one.finish(&mut ctx).unwrap();
    rig.lazy().take_writes();
    let locked = buffers[5].clone();
    let (ready, go) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let guard = locked.share();
            ready.wait();
            // The writes before it are in flight: the writer has come to this lock.
            rig.lazy().wait_held(2);
            go.wait();
            drop(guard);
        });
        ready.wait();
        scope.spawn(|| go.wait());
        for buffer in buffers {
            stream.push(&mut ctx, buffer).unwrap();
        }
        stream.finish(&mut ctx).unwrap();
    });
    assert_eq!(rig.lazy().take_writes(), [(0, 2), (3, 2), (5, 3)]);
    drop(locked);
    rig.evict(&mut ctx);
}

#[test]
fn a_failed_write_is_told_and_leaves_its_pages_dirty() {
    let rig = Rig::new(Over::Lazy, Options::default());
    let mut ctx = rig.issuer();
    rig.fill(&mut ctx, 8);
    let mut stream = WriteStream::new(&rig.pool, 8);
    for block in 0..8 {
        let buffer = dirty(&rig, &mut ctx, block, 9);
        stream.push(&mut ctx, buffer).unwrap();
    }
    rig.lazy().fail_writes.store(true, Ordering::SeqCst);
    let error = stream.finish(&mut ctx).unwrap_err();
    assert_eq!(
        error.to_string(),
        "could not write blocks 0..7 in file \"base/5/16384\": No space left on device"
    );
    assert_eq!(error.sqlstate(), "53100");
    assert_eq!(error.hint().as_deref(), Some("Check free disk space."));
    assert!(rig.pool.write_all(&mut ctx).is_err());
    rig.lazy().fail_writes.store(false, Ordering::SeqCst);
    rig.pool.write_all(&mut ctx).unwrap();
    assert_on_disk(&rig, 8, 9);
    rig.evict(&mut ctx);
}

#[test]
fn dirty_buffers_are_written_when_they_are_replaced() {
    for over in ALL {
        let rig = Rig::new(
            over,
            Options {
                buffers: 32,
                ..Options::default()
            },
        );
        let mut ctx = rig.issuer();
        rig.fill(&mut ctx, 200);
        for block in 0..200 {
            drop(dirty(&rig, &mut ctx, block, 3));
        }
        rig.pool.write_all(&mut ctx).unwrap();
        assert_on_disk(&rig, 200, 3);
        let stats = rig.pool.stats();
        // Neighbours are cleaned together, not one by one as they are met.
        assert!(stats.writes * 2 < stats.written_blocks, "{stats:?}");
        rig.evict(&mut ctx);
    }
}

#[test]
fn a_ring_cleans_what_it_will_come_to() {
    for over in ALL {
        let rig = Rig::new(
            over,
            Options {
                buffers: 256,
                ..Options::default()
            },
        );
        let mut ctx = rig.issuer();
        rig.fill(&mut ctx, 200);
        let mut ring = Strategy::new(&rig.pool, StrategyKind::Vacuum);
        for block in 0..200 {
            let buffer = rig
                .pool
                .read(&mut ctx, MAIN, block, Some(&mut ring))
                .unwrap();
            let mut guard = buffer.exclusive();
            guard[6000] = 5;
            guard.mark_dirty();
        }
        rig.pool.write_all(&mut ctx).unwrap();
        assert_on_disk(&rig, 200, 5);
        let stats = rig.pool.stats();
        assert!(stats.writes * 2 < stats.written_blocks, "{stats:?}");
        let used = rig.evict(&mut ctx);
        // The ring, and as much again that it has let go while it was written. What is clean again it
        // need not take back: where others end the writes, how much that is depends on them.
        if matches!(over, Over::Kind(MethodKind::Sync) | Over::Lazy) {
            assert!(used <= 64, "{used} over {over:?}");
        }
    }
}

#[test]
fn a_load_through_a_ring_extends_fills_and_writes() {
    for over in ALL {
        let rig = Rig::new(
            over,
            Options {
                buffers: 128,
                ..Options::default()
            },
        );
        let mut ctx = rig.issuer();
        rig.smgr.create(REL, ForkNumber::Main, false).unwrap();
        let mut ring = Strategy::new(&rig.pool, StrategyKind::BulkWrite);
        let mut stream = WriteStream::new(&rig.pool, 4);
        let mut blocks = 0;
        while blocks < 300 {
            for buffer in rig.pool.extend(&mut ctx, MAIN, 8, Some(&mut ring)).unwrap() {
                let mut guard = buffer.exclusive();
                PageMut::new(&mut guard).init(0);
                guard[6000] = 11;
                guard.mark_dirty();
                drop(guard);
                assert_eq!(buffer.block(), blocks);
                blocks += 1;
                stream.push(&mut ctx, buffer).unwrap();
            }
        }
        stream.finish(&mut ctx).unwrap();
        rig.smgr.release_space_ahead(REL, ForkNumber::Main).unwrap();
        assert_on_disk(&rig, blocks, 11);
        assert!(
            rig.evict(&mut ctx) <= 16,
            "the ring bounds what a load leaves cached"
        );
    }
}

#[test]
fn a_full_disk_extends_nothing() {
    for over in ALL {
        let rig = Rig::new(over, Options::default());
        let mut ctx = rig.issuer();
        rig.fill(&mut ctx, 10);
        rig.storage.full.store(true, Ordering::SeqCst);
        let error = rig.pool.extend(&mut ctx, MAIN, 8, None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "could not extend file \"base/5/16384\": No space left on device"
        );
        assert_eq!(
            (error.sqlstate(), error.hint().as_deref()),
            ("53100", Some("Check free disk space."))
        );
        assert_eq!(
            std::fs::metadata(rig.path()).unwrap().len(),
            10 * BLCKSZ as u64
        );
        assert_eq!(rig.pool.nblocks(MAIN).unwrap(), 10);
        rig.storage.full.store(false, Ordering::SeqCst);
        let new = rig.pool.extend(&mut ctx, MAIN, 8, None).unwrap();
        assert_eq!(
            new.iter().map(|b| b.block()).collect::<Vec<_>>(),
            (10..18).collect::<Vec<_>>()
        );
        drop(new);
        rig.evict(&mut ctx);
    }
}

#[test]
fn a_load_takes_space_ahead_and_gives_back_what_it_did_not_need() {
    for over in ALL {
        let rig = Rig::new(over, Options::default());
        let mut ctx = rig.issuer();
        rig.smgr.create(REL, ForkNumber::Main, false).unwrap();
        let mut ring = Strategy::new(&rig.pool, StrategyKind::BulkWrite);
        let mut extend = |blocks: u32| {
            let before = rig.pool.nblocks(MAIN).unwrap();
            let allocations = rig.storage.allocations.load(Ordering::SeqCst);
            let mut left = blocks;
            while left > 0 {
                let new = rig
                    .pool
                    .extend(&mut ctx, MAIN, left.min(8), Some(&mut ring));
                left -= new.unwrap().len() as u32;
            }
            assert_eq!(rig.pool.nblocks(MAIN).unwrap(), before + blocks);
            rig.storage.allocations.load(Ordering::SeqCst) - allocations
        };
        let file_blocks = || std::fs::metadata(rig.path()).unwrap().len() / BLCKSZ as u64;

        assert!(extend(128) >= 16, "a small load takes what it needs");
        assert_eq!(file_blocks(), 128);
        assert_eq!(extend(8), 1, "and a larger one as much as it has again");
        assert_eq!(file_blocks(), 128 + 8 + 128);
        assert_eq!(extend(128), 0);
        assert_eq!(file_blocks(), 128 + 8 + 128);

        // What is asked for fits, more does not.
        rig.storage.has_only_megabytes.store(true, Ordering::SeqCst);
        assert_eq!(extend(8), 1);
        assert_eq!(file_blocks(), 272);
        rig.storage
            .has_only_megabytes
            .store(false, Ordering::SeqCst);
        assert_eq!(extend(8), 1);
        assert_eq!(file_blocks(), 280 + 272);

        let release = || rig.smgr.release_space_ahead(MAIN.rel, MAIN.fork);
        release().unwrap();
        assert_eq!((file_blocks(), rig.pool.nblocks(MAIN).unwrap()), (280, 280));
        release().unwrap();
        assert_eq!(file_blocks(), 280);
        assert_eq!(extend(8), 1);
        assert_eq!(file_blocks(), 288 + 280);
        rig.evict(&mut ctx);
    }
}

#[test]
fn extensions_at_once_get_different_blocks() {
    for over in ALL {
        let rig = Rig::new(
            over,
            Options {
                buffers: 256,
                ..Options::default()
            },
        );
        rig.smgr.create(REL, ForkNumber::Main, false).unwrap();
        let mut blocks: Vec<u32> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let mut ctx = rig.issuer();
                        (0..10)
                            .flat_map(|_| rig.pool.extend(&mut ctx, MAIN, 5, None).unwrap())
                            .map(|buffer| buffer.block())
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect()
        });
        blocks.sort_unstable();
        assert_eq!(
            blocks,
            (0..rig.pool.nblocks(MAIN).unwrap()).collect::<Vec<_>>()
        );
    }
}

#[test]
fn an_extension_adds_what_is_wanted_when_its_turn_has_come() {
    for over in ALL {
        let rig = Rig::new(over, Options::default());
        let mut ctx = rig.issuer();
        rig.fill(&mut ctx, 10);
        let mut extend = |wanted: u32| {
            let mut told = None;
            let wants = |blocks| {
                assert_eq!(blocks, rig.pool.nblocks(MAIN).unwrap());
                wanted
            };
            let added = |blocks| told = Some(blocks);
            let new = rig
                .pool
                .extend_as_wanted(&mut ctx, MAIN, 4, None, wants, added);
            let blocks: Option<Vec<u32>> =
                new.ok().map(|new| new.iter().map(|b| b.block()).collect());
            (blocks, told, rig.pool.nblocks(MAIN).unwrap())
        };
        assert_eq!(extend(0), (Some(vec![]), None, 10));
        assert_eq!(extend(2), (Some(vec![10, 11]), Some(10..12), 12));
        // It has no more buffers than it came with.
        assert_eq!(extend(9), (Some((12..16).collect()), Some(12..16), 16));
        rig.storage.full.store(true, Ordering::SeqCst);
        assert_eq!(extend(2), (None, None, 16));
        rig.storage.full.store(false, Ordering::SeqCst);
        assert_eq!(extend(1), (Some(vec![16]), Some(16..17), 17));
        rig.evict(&mut ctx);
    }
}

#[test]
fn an_extension_that_fails_takes_no_page_from_the_next_one() {
    let rig = Rig::new(
        Over::Kind(MethodKind::Sync),
        Options {
            buffers: 1024,
            ..Options::default()
        },
    );
    rig.smgr.create(REL, ForkNumber::Main, false).unwrap();
    let threads = 4;
    let done = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut ctx = rig.issuer();
                let mut added = 0;
                while added < 150 {
                    let Ok(new) = rig.pool.extend(&mut ctx, MAIN, 1, None) else {
                        continue;
                    };
                    let mut guard = new[0].exclusive();
                    guard.mark_dirty();
                    PageMut::new(&mut guard).init(0);
                    guard[100..104].copy_from_slice(&new[0].block().to_le_bytes());
                    added += 1;
                }
                done.fetch_add(1, Ordering::SeqCst);
            });
        }
        while done.load(Ordering::SeqCst) < threads {
            rig.storage.full.fetch_xor(true, Ordering::SeqCst);
            std::thread::yield_now();
        }
    });
    let mut ctx = rig.issuer();
    for block in 0..threads * 150 {
        let buffer = rig.pool.read(&mut ctx, MAIN, block, None).unwrap();
        assert_eq!(buffer.share()[100..104], block.to_le_bytes());
    }
    rig.storage.full.store(false, Ordering::SeqCst);
}

#[test]
fn a_sync_request_is_noted_when_the_write_completes() {
    let rig = Rig::new(Over::Lazy, Options::default());
    let mut ctx = rig.issuer();
    rig.fill(&mut ctx, 4);
    rig.smgr.sync_all(&mut ctx).unwrap();
    let fsyncs = |rig: &Rig| {
        let mut submitted = rig.lazy().submitted.lock().unwrap();
        let count = submitted
            .iter()
            .filter(|s| s.0 == trunkline_aio::Op::Fsync)
            .count();
        submitted.clear();
        count
    };
    assert_eq!(fsyncs(&rig), 1);
    let mut stream = WriteStream::new(&rig.pool, 4);
    let buffer = dirty(&rig, &mut ctx, 1, 1);
    stream.push(&mut ctx, buffer).unwrap();
    stream.flush(&mut ctx).unwrap();
    assert_eq!(rig.lazy().held(), 1);
    rig.smgr.sync_all(&mut ctx).unwrap();
    assert_eq!(fsyncs(&rig), 0, "nothing is complete yet");
    stream.finish(&mut ctx).unwrap();
    rig.smgr.sync_all(&mut ctx).unwrap();
    assert_eq!(fsyncs(&rig), 1, "kept for the next");
    rig.smgr.sync_all(&mut ctx).unwrap();
    assert_eq!(fsyncs(&rig), 0);
}
