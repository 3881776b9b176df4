//! How fast the log takes records and flushes here.
//!
//! ```text
//! cargo run --release -p trunkline-wal --example wal_rates -- DIR [SECONDS] [IO_METHOD] [SYNC_METHOD]
//! ```
//!
//! - `DIR`: a directory on the device to measure; a directory below it is made and removed. Needs about
//!   1 GB.
//! - `SECONDS` a figure takes; default 2.
//! - `IO_METHOD`: `io_uring`, `worker`, `posix_aio` or `sync`; default: the first that works.
//! - `SYNC_METHOD`: `open_datasync`, `fdatasync` or `fsync`; default `open_datasync`.
//!
//! It prints
//! - insertion: records of 200 bytes and of 8 KiB on 1 and 2 threads, nobody flushing, into a method
//!   that discards what is written: what reserving, copying and publishing cost;
//! - flushes: 1, 8 and 32 threads that each insert 200 bytes and flush, over and over, without padding
//!   and with it; beside them as many threads that each write 4 KiB, durably, at places of their own.
#![allow(
    clippy::unwrap_used,
    reason = "a measurement that goes wrong says so and ends"
)]

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use trunkline_aio::{
    Aio, AioConfig, AlignedBuf, Completions, Executor, InFlight, Method, Op, OpenOptions,
    OsStorage, RequestBatch, Storage, SystemCalls, SystemClock,
};
use trunkline_pgformat::Xid;
use trunkline_pgformat::wal::info;
use trunkline_pgformat::wal::rmgr_id::RmgrId;
use trunkline_pgformat::wal::segment::SegmentSize;
use trunkline_wal::{
    SyncMethod, Wal, WalConfig, WalPosition, WalRecord, WalStats, create_first_segment,
};

const SEGMENT_BYTES: u32 = 128 << 20;
const RAW_FILE_BYTES: u64 = 64 << 20;
const UNIT: usize = 4096;

/// Discards what is written to segments once it is told to.
#[derive(Default)]
struct Discard(AtomicBool);

impl Method for Discard {
    fn name(&self) -> &'static str {
        "discard"
    }

    fn submit(&self, batch: &mut RequestBatch, completions: &Completions) {
        for request in batch {
            let mut next = Some(request);
            while let Some(request) = next {
                let outcome = if request.op() == Op::Writev && self.0.load(Relaxed) {
                    request.length_bytes() as i32
                } else {
                    SystemCalls.execute(&request)
                };
                next = completions.complete(request, outcome);
            }
        }
    }

    fn wait(&self, io: &InFlight<'_>) {
        io.park();
    }
}

fn start(
    aio: &Arc<Aio>,
    directory: &Path,
    sync_method: SyncMethod,
    pad: bool,
    zero: bool,
) -> Arc<Wal> {
    let storage: Arc<dyn Storage> = Arc::new(OsStorage::new());
    let config = WalConfig {
        min_wal_size_bytes: 1 << 30,
        max_wal_size_bytes: 1 << 30,
        wal_sync_method: sync_method,
        io_wal_pad_partial: pad,
        wal_init_zero: zero,
        ..WalConfig::new(
            directory.to_owned(),
            1,
            1,
            SegmentSize::new(SEGMENT_BYTES).unwrap(),
        )
    };
    let mut io = aio.issuer(1).unwrap();
    let first = create_first_segment(&mut io, &storage, &config, &[0; 88]).unwrap();
    let position = WalPosition {
        insert_at: first.end,
        prev: first.start,
        redo: first.start,
    };
    let clock = Arc::new(SystemClock::new());
    Arc::new(Wal::start(&mut io, storage, clock, config, position).unwrap())
}

/// Runs `body` over and over on so many threads: how often a second, and how long once takes.
fn rate(
    threads: usize,
    time: Duration,
    aio: &Arc<Aio>,
    body: impl Fn(&mut trunkline_aio::IoContext, usize) -> bool + Sync,
) -> (f64, Duration) {
    let (stop, total) = (AtomicBool::new(false), AtomicU64::new(0));
    let ready = Barrier::new(threads + 1);
    let mut elapsed = Duration::ZERO;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (stop, total, ready, body) = (&stop, &total, &ready, &body);
            scope.spawn(move || {
                let mut io = aio.issuer(2).unwrap();
                ready.wait();
                let mut count = 0;
                while !stop.load(Relaxed) && body(&mut io, thread) {
                    count += 1;
                }
                total.fetch_add(count, Relaxed);
            });
        }
        ready.wait();
        let began = Instant::now();
        std::thread::sleep(time);
        stop.store(true, Relaxed);
        elapsed = began.elapsed();
    });
    let rate = total.load(Relaxed) as f64 / elapsed.as_secs_f64();
    (rate, Duration::from_secs_f64(threads as f64 / rate))
}

fn record<'a>(parts: &'a [&'a [u8]]) -> WalRecord<'a> {
    WalRecord {
        rmgr: RmgrId::XLOG,
        info: info::xlog::NOOP,
        xid: Xid::INVALID,
        toplevel_xid: None,
        blocks: &[],
        main_data: parts,
    }
}

fn insertion(directory: &Path, time: Duration) {
    println!("insertion, nobody flushing, writes discarded");
    for length in [200, 8192] {
        for threads in [1, 2] {
            let directory = tempfile::tempdir_in(directory).unwrap();
            let method = Arc::new(Discard::default());
            let aio = Aio::start_with(AioConfig::default(), Arc::clone(&method) as _).unwrap();
            let wal = start(
                &aio,
                directory.path(),
                SyncMethod::OpenDatasync,
                false,
                false,
            );
            {
                let mut io = aio.issuer(1).unwrap();
                wal.make_segments_ahead(&mut io).unwrap();
            }
            method.0.store(true, Relaxed);
            let bytes = vec![7; length];
            let parts = [&bytes[..]];
            let (records, _) = rate(threads, time, &aio, |io, _| {
                wal.insert(io, &record(&parts)).unwrap();
                true
            });
            let WalStats { buffers_full, .. } = wal.stats();
            println!(
                "  {length:5} bytes, {threads} threads: {:6.3} GB/s, {:8.0} records/s, {:5.0} ns each; \
                 waited for the ring {buffers_full} times",
                records * length as f64 / 1e9,
                records,
                threads as f64 * 1e9 / records,
            );
        }
    }
}

fn flushes(directory: &Path, aio: &Arc<Aio>, sync_method: SyncMethod, time: Duration) {
    println!(
        "insert 200 bytes and flush, {} over {}",
        sync_method.name(),
        aio.method_name()
    );
    let parts = [&[7_u8; 200 - 26][..]];
    for threads in [1, 8, 32] {
        let (raw, latency) = raw_writes(directory, aio, sync_method, threads, time);
        println!("  {threads:2} threads, raw       : {raw:8.0} a second, {latency:7.1?} each");
        for pad in [false, true] {
            let directory = tempfile::tempdir_in(directory).unwrap();
            let wal = start(aio, directory.path(), sync_method, pad, true);
            {
                let mut io = aio.issuer(1).unwrap();
                wal.make_segments_ahead(&mut io).unwrap();
            }
            let (flushes, latency) = rate(threads, time, aio, |io, _| {
                let inserted = wal.insert(io, &record(&parts)).unwrap();
                wal.flush(io, inserted.end).unwrap();
                true
            });
            let stats = wal.stats();
            println!(
                "  {threads:2} threads, padding {}: {flushes:8.0} a second, {latency:7.1?} each; \
                 {} writes, {} syncs, {} waits for a unit, {} paddings, {} late segments",
                if pad { "on " } else { "off" },
                stats.writes,
                stats.syncs,
                stats.partial_block_waits,
                stats.paddings,
                stats.segments_made_late,
            );
        }
    }
}

/// Every thread overwrites a block of its own, and the next one, and so on.
fn raw_writes(
    directory: &Path,
    aio: &Arc<Aio>,
    sync_method: SyncMethod,
    threads: usize,
    time: Duration,
) -> (f64, Duration) {
    let storage = OsStorage::new();
    let path = directory.join("raw");
    let options = OpenOptions {
        read: true,
        ..OpenOptions::OVERWRITE
    };
    let mut io = aio.issuer(1).unwrap();
    let filled = storage.open(&path, options).unwrap();
    let chunk = 1 << 20;
    for offset in (0..RAW_FILE_BYTES).step_by(chunk) {
        let write = io
            .write_raw(&filled, AlignedBuf::zeroed(chunk), offset, chunk)
            .unwrap();
        write.wait(&mut io).1.unwrap();
    }
    io.fsync(&filled).unwrap();
    let dsync = sync_method == SyncMethod::OpenDatasync;
    let options = OpenOptions::READ_WRITE.with_direct(true).with_dsync(dsync);
    let file = storage.open(&path, options).unwrap();
    let next = AtomicU64::new(0);
    let result = rate(threads, time, aio, |io, _| {
        let offset = next.fetch_add(UNIT as u64, Relaxed) % RAW_FILE_BYTES;
        let write = io
            .write_raw(&file, AlignedBuf::zeroed(UNIT), offset, UNIT)
            .unwrap();
        write.wait(io).1.unwrap();
        match sync_method {
            SyncMethod::OpenDatasync => {}
            SyncMethod::Fdatasync => io.fdatasync(&file).unwrap(),
            SyncMethod::Fsync => io.fsync(&file).unwrap(),
        }
        true
    });
    storage.unlink(&path).unwrap();
    result
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let Some(directory) = arguments.next() else {
        eprintln!("usage: wal_rates DIR [SECONDS] [IO_METHOD] [SYNC_METHOD]");
        std::process::exit(2);
    };
    let seconds = arguments.next().map_or(2.0, |text| text.parse().unwrap());
    let method = arguments.next().map(|text| text.parse().unwrap());
    let sync_method = arguments.next().map_or(SyncMethod::OpenDatasync, |text| {
        SyncMethod::from_name(&text).unwrap()
    });
    let time = Duration::from_secs_f64(seconds);
    let directory = tempfile::tempdir_in(directory).unwrap();
    insertion(directory.path(), time);
    let aio = Aio::start(AioConfig {
        method,
        ..AioConfig::default()
    })
    .unwrap();
    flushes(directory.path(), &aio, sync_method, time);
}
