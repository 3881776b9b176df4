//! A6: whoever waits for an I/O can complete it, whatever its issuer does.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use trunkline_aio::{
    Aio, AioConfig, File, IoContext, OpenOptions, OsStorage, Storage, WaitRef, write_file_durably,
};

use crate::support::{for_each_method, pattern, shared_buf, small, start_read, within_limit};

const READS: usize = 8;
const READ_BYTES: usize = 64 * 1024;

fn config() -> AioConfig {
    AioConfig {
        io_max_concurrency: 16,
        ..small()
    }
}

/// A file and the same opened for reading, direct (where possible) and not:
/// the two take different ways through the kernel.
fn files(aio: &Arc<Aio>) -> (tempfile::TempDir, [Arc<File>; 2]) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    let storage = OsStorage::new();
    let mut context = aio.issuer(9).unwrap();
    let bytes = pattern(READS * READ_BYTES, 1);
    write_file_durably(&storage, &mut context, &path, &bytes).unwrap();
    let open = |direct| {
        storage
            .open(&path, OpenOptions::READ.with_direct(direct))
            .unwrap()
    };
    let both = [open(true), open(false)];
    (directory, both)
}

/// Starts and submits read-ahead that the issuer does not wait for.
fn read_ahead(context: &mut IoContext, file: &Arc<File>) -> Vec<WaitRef> {
    let references = (0..READS)
        .map(|index| {
            let handle = context.acquire().unwrap();
            let offset = (index * READ_BYTES) as u64;
            start_read(handle, file, offset, &shared_buf(READ_BYTES), &[READ_BYTES])
        })
        .collect();
    context.submit();
    references
}

#[test]
fn an_issuer_blocked_on_a_lock_that_the_waiter_holds() {
    for_each_method(&config(), |aio| {
        let (_directory, files) = files(aio);
        for file in files {
            let aio = Arc::clone(aio);
            within_limit(move || {
                let lock = Arc::new(Mutex::new(()));
                let guard = lock.lock().unwrap();
                let (sender, receiver) = mpsc::channel();
                let mut context = aio.issuer(1).unwrap();
                let issuer_lock = Arc::clone(&lock);
                let issuer = thread::spawn(move || {
                    sender.send(read_ahead(&mut context, &file)).unwrap();
                    drop(issuer_lock.lock().unwrap());
                });
                let mut own = aio.issuer(2).unwrap();
                for reference in receiver.recv().unwrap() {
                    own.wait(reference);
                }
                drop(guard);
                issuer.join().unwrap();
            });
        }
    });
}

#[test]
fn an_issuer_that_spins() {
    for_each_method(&config(), |aio| {
        let (_directory, files) = files(aio);
        for file in files {
            let aio = Arc::clone(aio);
            within_limit(move || {
                let done = Arc::new(AtomicBool::new(false));
                let (sender, receiver) = mpsc::channel();
                let mut context = aio.issuer(1).unwrap();
                let seen_by_issuer = Arc::clone(&done);
                let issuer = thread::spawn(move || {
                    sender.send(read_ahead(&mut context, &file)).unwrap();
                    while !seen_by_issuer.load(SeqCst) {
                        std::hint::spin_loop();
                    }
                });
                for reference in receiver.recv().unwrap() {
                    aio.wait(reference);
                }
                done.store(true, SeqCst);
                issuer.join().unwrap();
            });
        }
    });
}

#[test]
fn an_issuer_whose_thread_has_ended() {
    for_each_method(&config(), |aio| {
        let (_directory, files) = files(aio);
        for file in files {
            for _ in 0..10 {
                let (aio, file) = (Arc::clone(aio), Arc::clone(&file));
                within_limit(move || {
                    let mut context = aio.issuer(1).unwrap();
                    let buffers: Vec<_> = (0..READS).map(|_| shared_buf(READ_BYTES)).collect();
                    let inner = buffers.clone();
                    let references: Vec<_> = thread::spawn(move || {
                        let starts = inner.iter().enumerate().map(|(index, buffer)| {
                            let handle = context.acquire().unwrap();
                            let offset = (index * READ_BYTES) as u64;
                            start_read(handle, &file, offset, buffer, &[READ_BYTES])
                        });
                        starts.collect()
                        // Thread and issuer end here, the reads do not.
                    })
                    .join()
                    .unwrap();
                    references
                        .into_iter()
                        .for_each(|reference| aio.wait(reference));
                    // Nothing was cancelled along with the thread.
                    let expected = pattern(READS * READ_BYTES, 1);
                    for (buffer, expected) in buffers.iter().zip(expected.chunks(READ_BYTES)) {
                        assert!(buffer.lock().unwrap()[..] == *expected);
                    }
                });
            }
        }
    });
}

#[test]
fn two_issuers_that_wait_for_each_other() {
    for_each_method(&config(), |aio| {
        let (_directory, files) = files(aio);
        for file in files {
            let aio = Arc::clone(aio);
            within_limit(move || {
                let mut contexts = [aio.issuer(1).unwrap(), aio.issuer(2).unwrap()];
                let references = contexts
                    .each_mut()
                    .map(|context| read_ahead(context, &file));
                let [first, second] = references;
                let [mut one, mut two] = contexts;
                let other = thread::spawn(move || first.into_iter().for_each(|io| two.wait(io)));
                second.into_iter().for_each(|io| one.wait(io));
                other.join().unwrap();
            });
        }
    });
}
