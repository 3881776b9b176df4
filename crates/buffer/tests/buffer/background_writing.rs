//! The background writer (B7): ahead of the clock hand, at the rate at which buffers are needed.

use crate::rig::{ALL, MAIN, Options, Over, Rig};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use trunkline_aio::IoContext;
use trunkline_buffer::{BackgroundWriter, BackgroundWriterConfig, IoAccount, Pause};

const DELAY: Duration = Duration::from_millis(200);

fn rig(over: Over) -> (Rig, IoContext) {
    let rig = Rig::new(
        over,
        Options {
            buffers: 256,
            ..Options::default()
        },
    );
    let mut ctx = rig.issuer();
    rig.fill(&mut ctx, 1000);
    (rig, ctx)
}

fn config() -> BackgroundWriterConfig {
    BackgroundWriterConfig {
        delay: DELAY,
        ..BackgroundWriterConfig::default()
    }
}

/// Every other block of a range: no neighbours that could be written with each other.
fn dirty(rig: &Rig, ctx: &mut IoContext, blocks: std::ops::Range<u32>) {
    for block in blocks.step_by(2) {
        let buffer = rig.pool.read(ctx, MAIN, block, None).unwrap();
        buffer.exclusive().mark_dirty();
    }
    // What replacement has started meanwhile is not what this is about.
    ctx.wait_all();
}

fn cleaned(rig: &Rig) -> u64 {
    rig.pool
        .stats_of(IoAccount::BackgroundWriter)
        .written_blocks
}

/// Waits for writes of somebody who dirties as many buffers a round as it needs.
fn waits_at_a_steady_rate(over: Over, mut writer: Option<(&mut BackgroundWriter, &Rig)>) -> u64 {
    let made;
    let rig = match &writer {
        Some((_, rig)) => *rig,
        None => {
            made = self::rig(over).0;
            &made
        }
    };
    let (mut ctx, mut own) = (rig.issuer(), rig.issuer());
    let mut before = 0;
    for round in 0..60 {
        if round == 20 {
            // By then it knows the rate.
            before = rig.pool.stats().write_waits;
        }
        let first = round * 60 % 900;
        for block in (first..first + 60).step_by(2) {
            let buffer = rig.pool.read(&mut ctx, MAIN, block, None).unwrap();
            buffer.exclusive().mark_dirty();
        }
        if let Some((writer, _)) = &mut writer {
            writer.step(&mut own).unwrap();
        }
    }
    ctx.wait_all();
    rig.pool.stats().write_waits - before
}

#[test]
fn b7_who_needs_buffers_at_a_steady_rate_mostly_finds_them_clean() {
    // The method that does nothing for nobody: every dirty buffer that is needed is waited for.
    let (rig, mut ctx) = rig(Over::Lazy);
    let mut writer = BackgroundWriter::new(&rig.pool, config());
    let with = waits_at_a_steady_rate(Over::Lazy, Some((&mut writer, &rig)));
    let without = waits_at_a_steady_rate(Over::Lazy, None);
    assert!(
        with * 4 < without,
        "{with} waits with it, {without} without"
    );
    let cleaned = cleaned(&rig);
    assert!(cleaned > 300, "{cleaned}");
    rig.evict(&mut ctx);
}

#[test]
fn b7_a_round_cleans_what_the_hand_comes_to() {
    for over in ALL {
        let (rig, mut ctx) = rig(over);
        let mut writer = BackgroundWriter::new(&rig.pool, config());
        writer.step(&mut ctx).unwrap();
        // Twice round the clock, so that there is a rate, and much that was used once only.
        dirty(&rig, &mut ctx, 0..900);
        writer.step(&mut ctx).unwrap();
        assert!(cleaned(&rig) > 50, "{}", cleaned(&rig));
        rig.evict(&mut ctx);
    }
}

#[test]
fn b7_a_round_writes_no_more_than_it_may() {
    let (rig, mut ctx) = rig(Over::Lazy);
    let config = BackgroundWriterConfig {
        lru_max_pages: 5,
        ..config()
    };
    let mut writer = BackgroundWriter::new(&rig.pool, config);
    writer.step(&mut ctx).unwrap();
    // All of the pool, so that the hand comes round, and everything is used once only.
    dirty(&rig, &mut ctx, 0..520);
    let (before, max_before) = (cleaned(&rig), rig.pool.max_written_clean());
    writer.step(&mut ctx).unwrap();
    let written = cleaned(&rig) - before;
    assert!((1..=5).contains(&written), "{written}");
    assert_eq!(rig.pool.max_written_clean(), max_before + 1);
    assert_eq!(rig.lazy().held(), 0, "a round leaves nothing in flight");

    let off = BackgroundWriterConfig {
        lru_max_pages: 0,
        ..config
    };
    let mut writer = BackgroundWriter::new(&rig.pool, off);
    dirty(&rig, &mut ctx, 0..520);
    let before = cleaned(&rig);
    writer.step(&mut ctx).unwrap();
    writer.step(&mut ctx).unwrap();
    assert_eq!(cleaned(&rig), before);
}

#[test]
fn b7_with_nothing_to_do_it_sleeps_long_until_a_buffer_is_needed() {
    let (rig, mut ctx) = rig(Over::Lazy);
    let woken = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&woken);
    rig.pool.on_allocation(move || {
        counter.fetch_add(1, Ordering::SeqCst);
    });
    let mut writer = BackgroundWriter::new(&rig.pool, config());
    let mut pauses = Vec::new();
    for _ in 0..2000 {
        let pause = writer.step(&mut ctx).unwrap();
        pauses.push(pause);
        if pause.hibernates {
            break;
        }
    }
    assert_eq!(
        pauses[0],
        Pause {
            delay: DELAY,
            hibernates: false
        }
    );
    let last = pauses[pauses.len() - 1];
    assert_eq!(
        last,
        Pause {
            delay: DELAY * 50,
            hibernates: true
        }
    );
    assert_eq!(woken.load(Ordering::SeqCst), 0);
    // A hit needs none.
    dirty(&rig, &mut ctx, 0..4);
    let after_first = woken.load(Ordering::SeqCst);
    assert_eq!(after_first, 1, "woken once");
    dirty(&rig, &mut ctx, 4..8);
    assert_eq!(
        woken.load(Ordering::SeqCst),
        1,
        "and not again until it sleeps"
    );
    assert!(!writer.step(&mut ctx).unwrap().hibernates);
}
