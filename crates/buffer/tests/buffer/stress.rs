//! Many threads at everything at once, in a pool much smaller than the relation.

use crate::random::{Random, seed};
use crate::rig::{ALL, MAIN, Options, REL, Rig, check};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use trunkline_buffer::{BufferError, Strategy, StrategyKind, WriteStream};
use trunkline_pgformat::BLCKSZ;

const BLOCKS: u32 = 160;
const THREADS: u64 = 4;
const STEPS: u32 = 1500;
/// Where in a page its counter is.
const COUNTER: usize = 4096;

/// Every increment of every block's counter survives any mix of replacement, write, eviction and
/// colliding streams, and every page on disk verifies.
#[test]
fn no_change_is_lost() {
    let seed = seed();
    for over in ALL {
        let rig = Rig::new(
            over,
            Options {
                buffers: 48,
                ..Options::default()
            },
        );
        rig.fill(&mut rig.issuer(), BLOCKS);
        let expected: Vec<AtomicU64> = (0..BLOCKS).map(|_| AtomicU64::new(0)).collect();
        thread::scope(|scope| {
            for number in 0..THREADS {
                let (rig, expected) = (&rig, &expected);
                scope.spawn(move || work(rig, expected, Random::new(seed, number)));
            }
        });
        let mut ctx = rig.issuer();
        rig.pool.write_all(&mut ctx).unwrap();
        rig.evict(&mut ctx);
        let mut stream = rig.stream(true, 0..BLOCKS);
        for block in 0..BLOCKS {
            let buffer = stream.next(&mut ctx).unwrap().unwrap();
            check(&buffer, block);
            let found = u64::from_le_bytes(buffer.share()[COUNTER..][..8].try_into().unwrap());
            assert_eq!(
                found,
                expected[block as usize].load(Ordering::Relaxed),
                "block {block}"
            );
        }
        assert_eq!(
            std::fs::metadata(rig.path()).unwrap().len(),
            BLOCKS as u64 * BLCKSZ as u64
        );
    }
}

fn work(rig: &Rig, expected: &[AtomicU64], mut random: Random) {
    let mut ctx = rig.issuer();
    let mut ring = Strategy::new(&rig.pool, StrategyKind::Vacuum);
    let mut writes = WriteStream::new(&rig.pool, 3);
    for _ in 0..STEPS {
        let block = random.below(BLOCKS);
        match random.below(100) {
            0..60 => {
                let ring = (random.below(4) == 0).then_some(&mut ring);
                let buffer = match rig.pool.read(&mut ctx, MAIN, block, ring) {
                    Ok(buffer) => buffer,
                    // So small is the pool that the others may have all of it.
                    Err(BufferError::NoUnpinnedBuffers) => continue,
                    Err(error) => panic!("{error}"),
                };
                let mut guard = buffer.exclusive();
                let counter = &mut guard[COUNTER..COUNTER + 8];
                let value = u64::from_le_bytes((&*counter).try_into().unwrap());
                counter.copy_from_slice(&(value + 1).to_le_bytes());
                guard.mark_dirty();
                expected[block as usize].fetch_add(1, Ordering::Relaxed);
                drop(guard);
                if random.below(3) == 0 {
                    writes.push(&mut ctx, buffer).unwrap();
                }
            }
            60..90 => {
                let length = 1 + random.below(30);
                let end = (block + length).min(BLOCKS);
                let mut stream = rig.stream(random.below(2) == 0, block..end);
                let stop = block + random.below(length);
                for block in block..end {
                    match stream.next(&mut ctx) {
                        Ok(buffer) => check(&buffer.unwrap(), block),
                        Err(BufferError::NoUnpinnedBuffers) => {}
                        Err(error) => panic!("{error}"),
                    }
                    if block == stop {
                        break;
                    }
                }
            }
            90..97 => writes.finish(&mut ctx).unwrap(),
            97..99 => rig.pool.write_all(&mut ctx).unwrap(),
            _ => drop(rig.pool.evict_relation(&mut ctx, REL).unwrap()),
        }
    }
    writes.finish(&mut ctx).unwrap();
}

/// Dropping a relation takes the blocks from under a checkpoint that has locked them to write them;
/// such a block is passed over.
#[test]
fn blocks_are_dropped_beside_their_write() {
    const ROUNDS: u32 = 300;
    let rig = Rig::new(ALL[0], Options::default());
    let mut ctx = rig.issuer();
    rig.fill(&mut ctx, 32);
    for round in 0..ROUNDS {
        for block in 0..32 {
            let buffer = rig.pool.read(&mut ctx, MAIN, block, None).unwrap();
            buffer.exclusive().mark_dirty();
        }
        let has_begun = AtomicBool::new(false);
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut ctx = rig.issuer();
                has_begun.store(true, Ordering::Release);
                rig.pool.write_all(&mut ctx)
            });
            while !has_begun.load(Ordering::Acquire) {
                std::hint::spin_loop();
            }
            // Another moment of the write in each round.
            for _ in 0..round * 3 {
                std::hint::spin_loop();
            }
            rig.pool.drop_relation(REL);
            writer.join().unwrap().unwrap();
        });
        // Nothing is locked or claimed any more.
        rig.pool.write_all(&mut ctx).unwrap();
    }
}
