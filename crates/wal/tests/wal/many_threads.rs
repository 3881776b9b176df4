//! Many threads insert and flush: what was acknowledged is in the log, in the order of its LSNs (W1).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use trunkline_pgformat::Lsn;
use trunkline_wal::WalConfig;

use crate::support::{
    Choice, Cluster, config, for_each_method, for_each_sync_method, insert, within_limit,
};

const THREADS: u64 = 6;

/// Every thread inserts `records`, and flushes now and then; what each acknowledged.
fn run(cluster: &Cluster, records: u64, longest: u64) -> Vec<(Lsn, u64)> {
    let handles: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (wal, aio) = (Arc::clone(&cluster.wal), Arc::clone(&cluster.aio));
            std::thread::spawn(move || {
                let mut io = aio.issuer(2).unwrap();
                let mut choice = Choice(thread);
                let mut mine = Vec::new();
                for number in 0..records {
                    let length = 8 + choice.below(longest) as usize;
                    let id = (thread + 1) << 32 | number;
                    let inserted = insert(&wal, &mut io, id, length).unwrap();
                    mine.push((inserted.start, id));
                    if choice.below(4) == 0 {
                        wal.flush(&mut io, inserted.end).unwrap();
                        assert!(wal.durable_lsn() >= inserted.end);
                    }
                }
                wal.flush(&mut io, wal.insert_lsn()).unwrap();
                mine
            })
        })
        .collect();
    let mut all: Vec<_> = handles
        .into_iter()
        .flat_map(|handle| handle.join().unwrap())
        .collect();
    all.sort_unstable();
    all
}

#[test]
fn the_log_holds_exactly_the_acknowledged_records_in_order() {
    within_limit(|| {
        for_each_method(|aio, directory| {
            for_each_sync_method(|wal_sync_method| {
                for io_wal_pad_partial in [false, true] {
                    let directory = tempfile::tempdir_in(directory).unwrap();
                    let config = WalConfig {
                        wal_sync_method,
                        io_wal_pad_partial,
                        ..config(directory.path())
                    };
                    let mut cluster = Cluster::on_disk(aio, config);
                    let inserted = run(&cluster, 40, 2000);
                    assert_eq!(cluster.read_back(), inserted);
                    let stats = cluster.wal.stats();
                    assert_eq!(stats.records - stats.paddings, inserted.len() as u64);
                    assert!(stats.writes > 0 && stats.flushes > 0, "{stats:?}");
                }
            });
        });
    });
}

#[test]
fn a_ring_smaller_than_the_workload_and_segments_that_change_under_load() {
    within_limit(|| {
        for_each_method(|aio, directory| {
            let mut cluster = Cluster::on_disk(aio, config(directory));
            // 6 threads, 40 records, 30 KB each: seven times the ring and seven segments.
            let inserted = run(&cluster, 40, 60_000);
            assert_eq!(cluster.read_back(), inserted);
            let stats = cluster.wal.stats();
            assert!(stats.segments_made_late >= 5, "{stats:?}");
        });
    });
}

#[test]
fn whoever_waits_drives_though_the_issuer_of_the_write_is_busy_elsewhere() {
    within_limit(|| {
        for_each_method(|aio, directory| {
            let mut cluster = Cluster::on_disk(aio, config(directory));
            let record = cluster.insert(1, 100);
            let done = Arc::new(AtomicBool::new(false));
            // Starts the write, and then spins without entering the core again.
            let mut starter = aio.issuer(2).unwrap();
            let state = cluster.wal.start_flush(&mut starter, record.end).unwrap();
            println!("{state:?}");
            let spinner = std::thread::spawn({
                let done = Arc::clone(&done);
                move || {
                    while !done.load(SeqCst) {
                        std::hint::spin_loop();
                    }
                    drop(starter);
                }
            });
            cluster.wal.flush(&mut cluster.io, record.end).unwrap();
            done.store(true, SeqCst);
            spinner.join().unwrap();
            assert_eq!(cluster.read_back(), [(record.start, 1)]);
        });
    });
}
