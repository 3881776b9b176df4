//! Ending a segment early: the record, the zeros behind it, where the log goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use trunkline_harness::postgres;
use trunkline_pgformat::Lsn;
use trunkline_pgformat::wal::segment::SegmentSize;
use trunkline_wal::WalConfig;

use crate::support::{
    Choice, Cluster, config, for_each_method, for_each_sync_method, insert, within_limit,
};

/// Bytes of a record's header, and of that of its data if they are longer than 255.
const HEADERS: u64 = 24 + 5;

/// Inserts records until the next one's place is `bytes` before the end of the page, or of the segment.
fn insert_up_to(cluster: &mut Cluster, unit: u64, bytes: u64) {
    let size = cluster.config.segment_size;
    let mut id = 1000;
    loop {
        let at = cluster.wal.insert_lsn();
        let goal = Lsn((at.0 / unit + 1) * unit - bytes);
        let left = size
            .byte_position_of(goal)
            .saturating_sub(size.byte_position_of(at));
        if left == 0 {
            return;
        }
        // The last one is no longer than a record may be, and leaves no less than one takes.
        let length = match left {
            300..=400_000 => left - HEADERS,
            _ => 1000,
        };
        cluster.insert(id, length as usize);
        id += 1;
    }
}

fn larger_than_the_ring(config: &WalConfig) -> WalConfig {
    let segment_size = SegmentSize::new(4 << 20).unwrap();
    WalConfig {
        segment_size,
        min_wal_size_bytes: 8 << 20,
        max_wal_size_bytes: 64 << 20,
        ..config.clone()
    }
}

#[test]
fn the_log_goes_on_in_the_next_segment_and_the_rest_are_zeros() {
    within_limit(|| {
        for_each_method(|aio, directory| {
            for_each_sync_method(|wal_sync_method| {
                let directory = tempfile::tempdir_in(directory).unwrap();
                let config = WalConfig {
                    wal_sync_method,
                    ..larger_than_the_ring(&config(directory.path()))
                };
                let size = config.segment_size;
                let mut cluster = Cluster::on_disk(aio, config);
                // What the rest was made of does not matter.
                let path = directory.path().join(size.file_name(1, 1));
                let mut bytes = std::fs::read(&path).unwrap();
                let used = size.offset_of(cluster.start) as usize;
                bytes[used.next_multiple_of(8192)..].fill(0xaa);
                std::fs::write(&path, bytes).unwrap();

                let mut expected = vec![(cluster.insert(1, 20_000).start, 1)];
                let end = cluster.wal.insert_lsn();
                let told = cluster.wal.switch_segment(&mut cluster.io).unwrap();
                assert_eq!(told, Lsn(end.0 + 24));
                assert_eq!(cluster.wal.insert_lsn(), size.start_of(2));
                assert_eq!(cluster.wal.durable_lsn(), size.start_of(2));
                let bytes = std::fs::read(&path).unwrap();
                let rest = &bytes[size.offset_of(told) as usize..];
                assert!(rest.len() > 3 << 20 && rest.iter().all(|&byte| byte == 0));

                // There is nothing to end.
                let records = cluster.wal.stats().records;
                let told = cluster.wal.switch_segment(&mut cluster.io).unwrap();
                assert_eq!(
                    (told, cluster.wal.stats().records),
                    (size.start_of(2), records)
                );

                let next = cluster.insert(2, 100);
                assert_eq!(next.start, Lsn(size.start_of(2).0 + 40));
                cluster.wal.flush(&mut cluster.io, next.end).unwrap();
                expected.push((next.start, 2));
                assert_eq!(cluster.read_back(), expected);
            });
        });
    });
}

/// Also that PostgreSQL finds every record.
#[test]
fn wherever_the_record_lies() {
    within_limit(|| {
        for_each_method(|aio, directory| {
            let segment = u64::from(config(directory).segment_size.bytes());
            for unit in [8192, segment] {
                // Of 24 that the record takes.
                for left in [8, 16, 24, 32, 48] {
                    let directory = tempfile::tempdir_in(directory).unwrap();
                    let config = config(directory.path());
                    let size = config.segment_size;
                    let mut cluster = Cluster::on_disk(aio, config);
                    insert_up_to(&mut cluster, unit, left);
                    let start = cluster.wal.insert_lsn();
                    assert_eq!(start.0 % unit, unit - left);
                    let told = cluster.wal.switch_segment(&mut cluster.io).unwrap();
                    // Behind the header of the page that it goes on in, or that begins behind it.
                    let header = match (left, unit) {
                        (..=24, 8192) => 24,
                        (..=24, _) => 40,
                        _ => 0,
                    };
                    assert_eq!(told, Lsn(start.0 + 24 + header), "{left} bytes left");
                    let goes_on = match (left, unit) {
                        // It ends in the next segment, and ends that.
                        (..24, 1_048_576) => size.start_of(3),
                        _ => size.start_of(2),
                    };
                    assert_eq!(cluster.wal.insert_lsn(), goes_on);
                    let next = cluster.insert(2, 100);
                    assert_eq!(next.start, Lsn(goes_on.0 + 40));
                    cluster.wal.flush(&mut cluster.io, next.end).unwrap();
                    assert_eq!(cluster.read_back().last(), Some(&(next.start, 2)));

                    let Some(postgres) = postgres() else {
                        continue;
                    };
                    let (first, end) = (cluster.start.to_string(), next.end.to_string());
                    let path = directory.path().to_str().unwrap();
                    let arguments = ["--path", path, "--start", &first, "--end", &end];
                    let said = postgres.inspect("pg_waldump", &arguments);
                    let text = said.without_complaints();
                    let stats = cluster.wal.stats();
                    assert_eq!(text.lines().count() as u64, stats.records, "{text}");
                    let switches = text.lines().filter(|line| line.contains("desc: SWITCH"));
                    assert_eq!(switches.count(), 1, "{text}");
                }
            }
        });
    });
}

#[test]
fn many_threads_insert_and_switch() {
    within_limit(|| {
        const THREADS: u64 = 4;
        const RECORDS: u64 = 60;
        for_each_method(|aio, directory| {
            let config = larger_than_the_ring(&config(directory));
            let mut cluster = Cluster::on_disk(aio, config);
            let switches = AtomicU64::new(0);
            let mut expected: Vec<(Lsn, u64)> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..THREADS)
                    .map(|thread| {
                        let (wal, switches) = (Arc::clone(&cluster.wal), &switches);
                        scope.spawn(move || {
                            println!("seed {thread}");
                            let mut io = aio.issuer(10 + thread as i32).unwrap();
                            let mut choice = Choice(thread);
                            let mut inserted = Vec::new();
                            for number in 0..RECORDS {
                                let id = 1 + number * THREADS + thread;
                                let length = 8 + choice.below(60_000) as usize;
                                let place = insert(&wal, &mut io, id, length).unwrap();
                                inserted.push((place.start, id));
                                match choice.below(12) {
                                    0 => {
                                        let told = wal.switch_segment(&mut io).unwrap();
                                        assert!(told >= place.end);
                                        assert!(wal.durable_lsn() >= told.min(place.end));
                                        switches.fetch_add(1, Relaxed);
                                    }
                                    1..4 => wal.flush(&mut io, place.end).unwrap(),
                                    _ => {}
                                }
                            }
                            inserted
                        })
                    })
                    .collect();
                threads
                    .into_iter()
                    .flat_map(|thread| thread.join().unwrap())
                    .collect()
            });
            assert!(switches.load(Relaxed) > 4);
            let end = cluster.wal.insert_lsn();
            cluster.wal.flush(&mut cluster.io, end).unwrap();
            expected.sort_unstable();
            assert_eq!(cluster.read_back(), expected);
        });
    });
}
