//! Many threads over few rings: no wake-up is lost, no byte goes astray.

use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use trunkline_aio::{
    AioConfig, IoResult, IoReturn, IoView, OpenOptions, OsStorage, SharedCallbacks, Storage,
    WaitRef, write_file_durably,
};

use crate::random::{Random, seed};
use crate::support::{for_each_method, pattern, shared_buf, small, start_read, within_limit};

const BLOCK: usize = 4096;
const BLOCKS: usize = 256;
const THREADS: usize = 6;
const ROUNDS: usize = 400;

/// Takes time, as a checksum does, so that waiters overlap.
struct Slow;

impl SharedCallbacks for Slow {
    fn name(&self) -> &'static str {
        "slow"
    }
    fn complete(&self, io: &IoView<'_>, prior: IoResult) -> IoResult {
        for _ in 0..io.callback_data() {
            std::hint::spin_loop();
        }
        prior
    }
}

#[test]
fn issuers_that_wait_for_their_own_and_for_each_others_io() {
    let seed = seed();
    let config = AioConfig {
        io_max_concurrency: 6,
        ..small()
    };
    for_each_method(&config, |aio| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data");
        let storage = OsStorage::new();
        let content = Arc::new(pattern(BLOCKS * BLOCK, 4));
        {
            let mut context = aio.issuer(99).unwrap();
            write_file_durably(&storage, &mut context, &path, &content).unwrap();
        }
        let slow = aio.register_callbacks(Arc::new(Slow));
        let latest = Arc::new(Mutex::new([WaitRef::NONE; THREADS]));
        let start = Arc::new(Barrier::new(THREADS));
        let threads: Vec<_> = (0..THREADS)
            .map(|number| {
                let file = storage
                    .open(&path, OpenOptions::READ.with_direct(number % 2 == 0))
                    .unwrap();
                let (aio, content) = (Arc::clone(aio), Arc::clone(&content));
                let (latest, start) = (Arc::clone(&latest), Arc::clone(&start));
                thread::spawn(move || {
                    let mut random = Random::new(seed, number as u64);
                    let mut context = aio.issuer(number as i32).unwrap();
                    let mut own = Vec::new();
                    start.wait();
                    for _ in 0..ROUNDS {
                        let block = random.below(BLOCKS as u32 - 16) as usize;
                        let len = (1 + random.below(16) as usize) * BLOCK;
                        let buffer = shared_buf(len);
                        let cell = IoReturn::new();
                        let mut handle = context.acquire().unwrap();
                        handle.report_to(&cell);
                        handle.callback(slow, random.below(3000));
                        let offset = (block * BLOCK) as u64;
                        let io = start_read(handle, &file, offset, &buffer, &[len]);
                        latest.lock().unwrap()[number] = io;
                        own.push((io, cell, buffer, block));
                        match random.below(5) {
                            0 => context.submit(),
                            1 => {
                                let foreign =
                                    latest.lock().unwrap()[random.below(THREADS as u32) as usize];
                                context.wait(foreign);
                            }
                            2 => {
                                let foreign =
                                    latest.lock().unwrap()[random.below(THREADS as u32) as usize];
                                aio.wait(foreign);
                            }
                            _ => {}
                        }
                        if own.len() > 5 {
                            let (io, cell, buffer, block) =
                                own.swap_remove(random.below(5) as usize);
                            context.wait(io);
                            let buffer = buffer.lock().unwrap();
                            let bytes = buffer.len();
                            assert_eq!(
                                cell.get(),
                                Some(IoResult::Ok {
                                    bytes: bytes as u32
                                })
                            );
                            assert!(buffer[..] == content[block * BLOCK..][..bytes]);
                        }
                    }
                })
            })
            .collect();
        within_limit(move || {
            threads
                .into_iter()
                .for_each(|thread| thread.join().unwrap())
        });
    });
}
