//! A5: neighbours are combined at submission, and keep their own results.

use std::sync::Arc;
use std::thread;

use rustix::io::Errno;
use trunkline_aio::{
    Aio, AioConfig, File, IoContext, IoResult, IoReturn, OpenOptions, OsStorage, Storage, WaitRef,
};

use crate::support::{
    Attempt, GateMethod, MemoryMethod, SharedBuf, external_file, for_each_method, pattern,
    shared_buf, start_read, start_with, start_write, within_limit,
};

const BLOCK: usize = 8192;

/// Room for a whole pending list of one issuer.
fn wide() -> AioConfig {
    AioConfig {
        max_issuers: 4,
        io_max_concurrency: 128,
        io_combine_limit_bytes: 256 << 10,
        ..AioConfig::default()
    }
}

/// Reads in flight, of a block each.
struct Reads {
    cells: Vec<Arc<IoReturn>>,
    buffers: Vec<SharedBuf>,
    references: Vec<WaitRef>,
}

/// Starts a read of each block, in this order, without submitting.
fn read_blocks(context: &mut IoContext, file: &Arc<File>, blocks: &[u64], length: usize) -> Reads {
    let mut reads = Reads {
        cells: Vec::new(),
        buffers: Vec::new(),
        references: Vec::new(),
    };
    for block in blocks {
        let (cell, buffer) = (IoReturn::new(), shared_buf(length));
        let mut handle = context.acquire().unwrap();
        handle.report_to(&cell);
        let offset = block * length as u64;
        let lengths = [1, length - 1];
        let reference = start_read(handle, file, offset, &buffer, &lengths);
        reads.references.push(reference);
        reads.cells.push(cell);
        reads.buffers.push(buffer);
    }
    reads
}

impl Reads {
    fn results(&self) -> Vec<IoResult> {
        self.cells.iter().map(|cell| cell.get().unwrap()).collect()
    }
}

/// An order in which no two neighbours follow each other.
fn shuffled(count: u64) -> Vec<u64> {
    (0..count).map(|index| index * 37 % count).collect()
}

#[test]
fn a_run_of_blocks_is_one_operation_of_the_kernel() {
    for_each_method(&wide(), |aio| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("blocks");
        let content = pattern(128 * BLOCK, 9);
        std::fs::write(&path, &content).unwrap();
        let file = OsStorage::new().open(&path, OpenOptions::READ).unwrap();
        let mut context = aio.issuer(1).unwrap();
        let blocks = shuffled(128);
        let reads = read_blocks(&mut context, &file, &blocks, BLOCK);
        context.submit();
        // Whoever waits for a part can complete the whole.
        let (other, references) = (Arc::clone(aio), reads.references.clone());
        within_limit(move || {
            let waiters = references.into_iter().rev().map(|reference| {
                let aio = Arc::clone(&other);
                thread::spawn(move || aio.wait(reference))
            });
            for waiter in waiters.collect::<Vec<_>>() {
                waiter.join().unwrap();
            }
        });
        for (block, buffer) in blocks.iter().zip(&reads.buffers) {
            let start = *block as usize * BLOCK;
            assert!(buffer.lock().unwrap()[..] == content[start..start + BLOCK]);
        }
        let whole = IoResult::Ok {
            bytes: BLOCK as u32,
        };
        assert!(reads.results().iter().all(|result| *result == whole));
        let counters = aio.counters().total();
        assert_eq!((counters.executed, counters.issued), (128, 4));
        assert!(counters.issued * 30 < counters.executed);
    });
}

#[test]
fn writes_are_combined_too_and_nothing_else_is() {
    const WRITES: usize = 31;
    for_each_method(&wide(), |aio| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("written");
        let file = OsStorage::new()
            .open(&path, OpenOptions::CREATE_NEW)
            .unwrap();
        let mut context = aio.issuer(1).unwrap();
        let content = pattern(WRITES * BLOCK, 4);
        let mut buffers = Vec::new();
        for block in shuffled(WRITES as u64) {
            let buffer = shared_buf(BLOCK);
            let start = block as usize * BLOCK;
            buffer
                .lock()
                .unwrap()
                .copy_from_slice(&content[start..start + BLOCK]);
            let handle = context.acquire().unwrap();
            start_write(handle, &file, start as u64, &buffer, &[BLOCK]);
            buffers.push(buffer);
        }
        // A neighbour within the limit, but no write.
        let beyond = shared_buf(BLOCK);
        let handle = context.acquire().unwrap();
        start_read(handle, &file, (WRITES * BLOCK) as u64, &beyond, &[BLOCK]);
        context.acquire().unwrap().start_nop();
        let handle = context.acquire().unwrap();
        handle.start_flush_range(&file, 0, BLOCK);
        context.wait_all();
        context.fsync(&file).unwrap();
        assert!(std::fs::read(&path).unwrap() == content);
        // The writes, a read, a no-op, a flush and a sync.
        let counters = aio.counters().total();
        assert_eq!((counters.executed, counters.issued), (WRITES as u64 + 4, 5));
    });
}

/// Reads `blocks` of 1000 bytes over a scripted method.
fn scripted(
    stored_bytes: usize,
    blocks: &[u64],
    script: &[Attempt],
) -> (Reads, Vec<(u64, u32)>, Arc<Aio>) {
    let method = Arc::new(MemoryMethod::default());
    *method.script.lock().unwrap() = script.to_vec();
    let aio = start_with(&wide(), method.clone());
    let (file, _) = external_file(1);
    let content = pattern(stored_bytes, 6);
    method.files.lock().unwrap().insert(1, content.clone());
    let mut context = aio.issuer(1).unwrap();
    let reads = read_blocks(&mut context, &file, blocks, 1000);
    context.submit();
    context.wait_all();
    for ((block, buffer), result) in blocks.iter().zip(&reads.buffers).zip(reads.results()) {
        let start = *block as usize * 1000;
        let bytes = result.bytes() as usize;
        if bytes > 0 {
            let read = buffer.lock().unwrap();
            assert!(read[..bytes] == content[start..start + bytes]);
        }
    }
    let attempts = method.attempts.lock().unwrap().clone();
    (reads, attempts, aio)
}

fn ok(bytes: u32) -> IoResult {
    IoResult::Ok { bytes }
}

fn errno_of(result: IoResult) -> Option<i32> {
    result.failure().and_then(|failure| failure.errno())
}

#[test]
fn a_short_group_is_continued_from_the_byte_where_it_stopped() {
    let script = [
        Attempt::AtMost(1500),
        Attempt::Errno(Errno::INTR.raw_os_error()),
        Attempt::AtMost(1),
    ];
    let (reads, attempts, aio) = scripted(4000, &[3, 0, 2, 1], &script);
    assert_eq!(reads.results(), [ok(1000); 4]);
    assert_eq!(
        attempts,
        [(0, 4000), (1500, 2500), (1500, 2500), (1501, 2499)]
    );
    assert_eq!(aio.counters().total().retries, 3);
}

#[test]
fn the_end_of_the_file_is_short_for_the_parts_that_it_concerns() {
    let (reads, attempts, _) = scripted(2400, &[0, 1, 2, 3], &[]);
    let short = |bytes| IoResult::Partial { bytes };
    assert_eq!(reads.results(), [ok(1000), ok(1000), short(400), short(0)]);
    assert_eq!(attempts, [(0, 4000), (2400, 1600)]);
}

#[test]
fn an_error_is_one_part_s_own() {
    let eio = Attempt::Errno(Errno::IO.raw_os_error());
    // The group gets as far as the third part, which is broken.
    let script = [Attempt::AtMost(2300), eio, eio, Attempt::AtMost(usize::MAX)];
    let (reads, attempts, _) = scripted(5000, &[0, 1, 2, 3, 4], &script);
    let results = reads.results();
    assert_eq!(results[..2], [ok(1000); 2]);
    assert_eq!(errno_of(results[2]), Some(Errno::IO.raw_os_error()));
    assert_eq!(results[3..], [ok(1000); 2]);
    assert_eq!(
        attempts,
        [
            (0, 5000),
            (2300, 2700),
            // From here on one by one.
            (2300, 700),
            (3000, 1000),
            (4000, 1000)
        ]
    );
    // What is left of the group is one part: the error is its own.
    let (reads, attempts, _) = scripted(2000, &[0, 1], &[Attempt::AtMost(1000), eio]);
    assert_eq!(reads.results()[0], ok(1000));
    assert_eq!(errno_of(reads.results()[1]), Some(Errno::IO.raw_os_error()));
    assert_eq!(attempts, [(0, 2000), (1000, 1000)]);
}

#[test]
fn parts_that_go_one_by_one_are_continued_as_well() {
    let script = [
        Attempt::Errno(Errno::IO.raw_os_error()),
        Attempt::AtMost(10),
        Attempt::AtMost(usize::MAX),
        Attempt::Errno(Errno::NOSPC.raw_os_error()),
    ];
    let (reads, attempts, _) = scripted(3000, &[0, 1, 2], &script);
    let results = reads.results();
    assert_eq!((results[0], results[2]), (ok(1000), ok(1000)));
    assert_eq!(errno_of(results[1]), Some(Errno::NOSPC.raw_os_error()));
    assert_eq!(
        attempts,
        [(0, 3000), (0, 1000), (10, 990), (1000, 1000), (2000, 1000)]
    );
}

#[test]
fn a_group_is_seen_and_an_issuer_s_limit_respected() {
    let gate = Arc::new(GateMethod::default());
    let aio = start_with(&wide(), gate.clone());
    let (file, _) = external_file(1);
    let mut context = aio.issuer(1).unwrap();
    context.set_combine_limit(3 * BLOCK as u32);
    let reads = read_blocks(&mut context, &file, &[2, 0, 1, 3], BLOCK);
    context.submit();
    assert_eq!(gate.held(), 2);
    let head = reads.references[1].slot;
    let rows = aio.in_flight();
    let merged: Vec<_> = reads
        .references
        .iter()
        .map(|reference| rows.iter().find(|row| row.id == reference.slot))
        .map(|row| row.unwrap().merge_with)
        .collect();
    assert_eq!(merged, [Some(head), None, Some(head), None]);
    gate.open();
    context.wait_all();
    // More than the maximum is the maximum; nothing is never.
    for (limit_bytes, operations) in [(u32::MAX, 1), (0, 4)] {
        let before = aio.counters().total().issued;
        context.set_combine_limit(limit_bytes);
        read_blocks(&mut context, &file, &[0, 1, 2, 3], BLOCK);
        context.submit();
        context.wait_all();
        assert_eq!(aio.counters().total().issued - before, operations);
    }
}

#[test]
fn an_issuer_may_end_with_a_group_in_flight() {
    for_each_method(&wide(), |aio| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("blocks");
        std::fs::write(&path, pattern(16 * BLOCK, 9)).unwrap();
        let file = OsStorage::new().open(&path, OpenOptions::READ).unwrap();
        for _ in 0..8 {
            let mut context = aio.issuer(1).unwrap();
            let reads = read_blocks(&mut context, &file, &shuffled(16), BLOCK);
            drop(context);
            for reference in reads.references {
                aio.wait(reference);
            }
            assert_eq!(reads.cells[0].get(), Some(ok(BLOCK as u32)));
        }
    });
}
