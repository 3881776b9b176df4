//! The write-ahead log before its pages (B4).

use crate::rig::{ALL, MAIN, Options, Over, REL, Rig};
use std::sync::atomic::Ordering;
use trunkline_aio::IoContext;
use trunkline_buffer::{CheckpointWrites, PinnedBuffer, WriteAheadLog, WriteStream};
use trunkline_pgformat::{BLCKSZ, Lsn, PageMut, PageRef};

const BLOCKS: u32 = 48;

fn filled(over: Over) -> (Rig, IoContext) {
    let rig = Rig::new(
        over,
        Options {
            buffers: 512,
            ..Options::default()
        },
    );
    let mut ctx = rig.issuer();
    rig.fill(&mut ctx, BLOCKS);
    (rig, ctx)
}

/// Changes a page as one that a record up to `lsn` is about.
fn log_change(rig: &Rig, ctx: &mut IoContext, block: u32, lsn: u64) -> PinnedBuffer {
    let buffer = rig.pool.read(ctx, MAIN, block, None).unwrap();
    let mut guard = buffer.exclusive();
    PageMut::new(&mut guard).set_lsn(Lsn(lsn));
    guard.mark_dirty();
    drop(guard);
    buffer
}

/// LSNs of the blocks on disk.
fn on_disk(rig: &Rig) -> Vec<u64> {
    let bytes = std::fs::read(rig.path()).unwrap();
    let pages = bytes.as_chunks::<BLCKSZ>().0;
    pages
        .iter()
        .map(|page| PageRef::new(page).lsn().0)
        .collect()
}

#[track_caller]
fn assert_log_before_data(rig: &Rig, durable: u64) {
    let newest = on_disk(rig).into_iter().max().unwrap();
    assert!(
        newest <= durable,
        "a page of LSN {newest} is on disk before its log at {durable}"
    );
}

#[test]
fn b4_no_page_reaches_the_disk_before_its_log_and_the_producer_goes_on() {
    for over in ALL {
        let (rig, mut ctx) = filled(over);
        let mut stream = WriteStream::new(&rig.pool, 16);
        for block in 0..BLOCKS {
            let buffer = log_change(&rig, &mut ctx, block, 1000 + u64::from(block));
            stream.push(&mut ctx, buffer).unwrap();
        }
        // Flushes were started, and not one waited for; nothing was written.
        assert_eq!(rig.log.take_started().len(), 6);
        assert!(
            rig.log.take_flushed().is_empty(),
            "the producer waited for the log"
        );
        assert_eq!(stream.in_flight(), 0);
        assert_log_before_data(&rig, 0);

        // Half of them may go. What the first of the rest needs is durable, the others' is not.
        rig.log.set_durable(1024);
        stream.flush(&mut ctx).unwrap();
        assert_eq!(stream.in_flight(), 3);
        assert_log_before_data(&rig, 1024);
        assert!(rig.log.take_flushed().is_empty());

        stream.finish(&mut ctx).unwrap();
        let expected: Vec<u64> = (0..BLOCKS).map(|block| 1000 + u64::from(block)).collect();
        assert_eq!(on_disk(&rig), expected);
        assert_eq!(rig.log.take_flushed().last(), Some(&Lsn(1047)));
        rig.evict(&mut ctx);
    }
}

#[test]
fn b4_a_record_that_comes_while_the_lock_is_waited_for_is_seen_under_it() {
    let (rig, mut ctx) = filled(Over::Lazy);
    rig.log.set_durable(500);
    let buffer = log_change(&rig, &mut ctx, 0, 500);
    let other = buffer.clone();
    let (locked, go) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut guard = other.exclusive();
            locked.wait();
            go.wait();
            PageMut::new(&mut guard).set_lsn(Lsn(501));
            guard.mark_dirty();
        });
        locked.wait();
        scope.spawn(|| go.wait());
        let mut stream = WriteStream::new(&rig.pool, 4);
        stream.push(&mut ctx, buffer).unwrap();
        stream.flush(&mut ctx).unwrap();
        assert_eq!(stream.in_flight(), 0, "it was written before its log");
        assert_eq!(rig.log.take_started(), [Lsn(501)]);
        stream.finish(&mut ctx).unwrap();
    });
    assert_eq!(rig.log.take_flushed(), [Lsn(501)]);
    assert_eq!(on_disk(&rig)[0], 501);
}

#[test]
fn b4_what_waits_for_the_log_is_bounded_and_then_drives_it() {
    for over in ALL {
        // A stream may pin 16 of 128 buffers, 8 of them behind the log.
        let rig = Rig::new(over, Options::default());
        let mut ctx = rig.issuer();
        rig.fill(&mut ctx, BLOCKS);
        let mut stream = WriteStream::new(&rig.pool, 16);
        for block in 0..BLOCKS {
            let buffer = log_change(&rig, &mut ctx, block, 1000 + u64::from(block));
            stream.push(&mut ctx, buffer).unwrap();
        }
        let flushed = rig.log.take_flushed();
        assert_eq!(flushed.len(), 5, "{flushed:?}");
        assert_log_before_data(&rig, flushed.last().unwrap().0);
        stream.finish(&mut ctx).unwrap();
        rig.evict(&mut ctx);
    }
}

#[test]
fn b4_victims_and_single_writes_flush_the_log_first() {
    for over in ALL {
        let rig = Rig::new(
            over,
            Options {
                buffers: 32,
                ..Options::default()
            },
        );
        let mut ctx = rig.issuer();
        rig.fill(&mut ctx, 100);
        for block in 0..100 {
            drop(log_change(&rig, &mut ctx, block, 1000 + u64::from(block)));
            assert_log_before_data(&rig, rig.log.durable_lsn().0);
        }
        assert!(
            on_disk(&rig).iter().any(|&lsn| lsn >= 1000),
            "nothing was evicted"
        );
        rig.pool.write_relation(&mut ctx, REL).unwrap();
        rig.pool.evict_relation(&mut ctx, REL).unwrap();
        assert_eq!(on_disk(&rig).last(), Some(&1099));
    }
}

#[test]
fn b4_a_failed_log_fails_the_writes_and_leaves_the_pages_dirty() {
    for over in ALL {
        let (rig, mut ctx) = filled(over);
        let buffers: Vec<PinnedBuffer> = (0..BLOCKS)
            .map(|block| log_change(&rig, &mut ctx, block, 1000))
            .collect();
        rig.log.fails.store(true, Ordering::SeqCst);
        let mut stream = WriteStream::new(&rig.pool, 4);
        let pushed = buffers
            .iter()
            .map(|buffer| stream.push(&mut ctx, buffer.clone()))
            .find_map(Result::err);
        let error = pushed.expect("a push after the failure tells of it");
        assert_eq!(error.to_string(), "could not write to the log");
        assert_eq!(error.sqlstate(), "58030");
        let _ = stream.finish(&mut ctx);
        drop(stream);
        let mut checkpoint = CheckpointWrites::begin(&rig.pool, 4);
        checkpoint.step(&mut ctx, usize::MAX);
        assert!(checkpoint.finish(&mut ctx).is_err());
        assert!(buffers.iter().all(PinnedBuffer::is_dirty));
        assert_log_before_data(&rig, 0);
        assert!(
            buffers
                .iter()
                .all(|buffer| buffer.try_exclusive().is_some())
        );

        // The failure was not the pages'.
        rig.log.fails.store(false, Ordering::SeqCst);
        rig.pool.write_all(&mut ctx).unwrap();
        assert!(on_disk(&rig).iter().all(|&lsn| lsn == 1000));
        drop(buffers);
        rig.evict(&mut ctx);
    }
}
