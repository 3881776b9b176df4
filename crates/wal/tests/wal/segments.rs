//! Segment files (W5): made ahead, recycled, removed, and what is left of them by a crash.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use trunkline_harness::Gate;
use trunkline_pgformat::Lsn;
use trunkline_pgformat::wal::page_header::{LONG_HEADER_SIZE, LongPageHeader, PageHeader};
use trunkline_wal::{WalConfig, WalPosition, invalidate_beyond};

use crate::support::{Cluster, config, for_each_method, over, within_limit};

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    names
}

fn segment(number: u64) -> String {
    format!("{:08X}{:08X}{number:08X}", 1, 0)
}

/// Inserts until the log is in segment `number`, and flushes.
fn fill_up_to(cluster: &mut Cluster, number: u64) -> Lsn {
    let size = cluster.config.segment_size;
    let mut id = 1;
    loop {
        let inserted = cluster.insert(id, 100_000);
        id += 1;
        if size.segment_of(inserted.end) >= number {
            cluster.wal.flush(&mut cluster.io, inserted.end).unwrap();
            return inserted.end;
        }
    }
}

#[test]
fn segments_made_ahead_have_full_size_and_no_log_and_commits_find_them() {
    within_limit(|| {
        for_each_method(|aio, directory| {
            for wal_init_zero in [true, false] {
                let directory = tempfile::tempdir_in(directory).unwrap();
                let config = WalConfig {
                    wal_init_zero,
                    ..config(directory.path())
                };
                let mut cluster = Cluster::on_disk(aio, config);
                assert_eq!(cluster.wal.make_segments_ahead(&mut cluster.io).unwrap(), 2);
                assert_eq!(cluster.wal.make_segments_ahead(&mut cluster.io).unwrap(), 0);
                assert_eq!(names(directory.path()), [1, 2, 3].map(segment));
                let bytes = std::fs::read(directory.path().join(segment(3))).unwrap();
                assert_eq!(bytes.len(), 1 << 20);
                // A header that tells the size of segments, of a page that is nowhere in the log.
                let header = PageHeader::decode(&bytes).unwrap();
                assert!(header.is_long() && header.page_address == Lsn::INVALID);
                let long = LongPageHeader::decode(&bytes).unwrap();
                assert_eq!(long.segment_size, 1 << 20);
                assert!(bytes[LONG_HEADER_SIZE..].iter().all(|&byte| byte == 0));
                fill_up_to(&mut cluster, 3);
                let stats = cluster.wal.stats();
                assert_eq!((stats.segments_made, stats.segments_made_late), (2, 0));
                fill_up_to(&mut cluster, 4);
                assert_eq!(cluster.wal.stats().segments_made_late, 1);
            }
        });
    });
}

#[test]
fn a_segment_that_is_there_is_begun_while_another_one_is_made() {
    within_limit(|| {
        let directory = tempfile::tempdir().unwrap();
        let gate = Arc::new(Gate::default());
        let aio = over(Arc::clone(&gate) as _);
        let mut cluster = Cluster::on_disk(&aio, config(directory.path()));
        let begun = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&begun);
        cluster.wal.on_segment_begun(move || {
            counter.fetch_add(1, Ordering::SeqCst);
        });
        assert_eq!(cluster.wal.make_segments_ahead(&mut cluster.io).unwrap(), 2);
        fill_up_to(&mut cluster, 2);
        assert_eq!(begun.load(Ordering::SeqCst), 1);
        gate.close_for("xlogtemp.4");
        let maker = std::thread::spawn({
            let (wal, aio) = (Arc::clone(&cluster.wal), Arc::clone(&aio));
            move || wal.make_segments_ahead(&mut aio.issuer(2).unwrap())
        });
        gate.wait_until_held(1);
        fill_up_to(&mut cluster, 3);
        assert_eq!(begun.load(Ordering::SeqCst), 2);
        assert!(!names(directory.path()).contains(&segment(4)));
        gate.open();
        assert_eq!(maker.join().unwrap().unwrap(), 1);
        assert_eq!(cluster.wal.stats().segments_made_late, 0);
    });
}

#[test]
fn old_segments_are_renamed_for_later_use_or_removed() {
    within_limit(|| {
        for_each_method(|aio, directory| {
            for wal_recycle in [true, false] {
                let directory = tempfile::tempdir_in(directory).unwrap();
                let mut config = WalConfig {
                    wal_recycle,
                    ..config(directory.path())
                };
                config.min_wal_size_bytes = 4 << 20;
                config.max_wal_size_bytes = 4 << 20;
                let mut cluster = Cluster::on_disk(aio, config);
                let redo = fill_up_to(&mut cluster, 6);
                assert_eq!(names(directory.path()), [1, 2, 3, 4, 5, 6].map(segment));
                let start = cluster.start;
                cluster.wal.remove_old_segments(start, redo).unwrap();
                let stats = cluster.wal.stats();
                if wal_recycle {
                    // 4 MiB of log are segments 6 to 9.
                    assert_eq!(names(directory.path()), [6, 7, 8, 9].map(segment));
                    assert_eq!((stats.segments_recycled, stats.segments_removed), (3, 2));
                } else {
                    assert_eq!(names(directory.path()), [6].map(segment));
                    assert_eq!((stats.segments_recycled, stats.segments_removed), (0, 5));
                }
                // The log goes on in them, whatever they held.
                let before = cluster.wal.insert_lsn();
                let mut expected = Vec::new();
                for id in 1..40 {
                    let inserted = cluster.insert(id, 90_000);
                    expected.push((inserted.start, id));
                    cluster.wal.flush(&mut cluster.io, inserted.end).unwrap();
                }
                cluster.start = before;
                assert_eq!(cluster.read_back(), expected);
            }
        });
    });
}

#[test]
fn what_is_behind_the_end_becomes_invalid_and_leftovers_go() {
    within_limit(|| {
        for_each_method(|aio, directory| {
            let mut cluster = Cluster::on_disk(aio, config(directory));
            let first = cluster.insert(1, 5000);
            let second = cluster.insert(2, 5000);
            let third = cluster.insert(3, 400_000);
            cluster.wal.flush(&mut cluster.io, third.end).unwrap();
            fill_up_to(&mut cluster, 3);
            std::fs::write(directory.join("xlogtemp.77"), b"half").unwrap();
            let Cluster {
                aio,
                storage,
                clock,
                config,
                mut io,
                wal,
                start,
            } = cluster;
            drop(wal);
            invalidate_beyond(&mut io, &storage, &config, second.start).unwrap();
            assert_eq!(names(directory), [segment(1)]);
            let bytes = std::fs::read(directory.join(segment(1))).unwrap();
            let end = config.segment_size.offset_of(second.start) as usize;
            assert!(bytes[..end].iter().any(|&byte| byte != 0));
            assert_eq!(bytes.len(), 1 << 20);
            assert!(bytes[end..].iter().all(|&byte| byte == 0));
            let position = WalPosition {
                insert_at: second.start,
                prev: first.start,
                redo: start,
            };
            drop(io);
            let mut cluster = Cluster::go_on(&aio, storage, clock, config, position).unwrap();
            cluster.start = start;
            assert_eq!(cluster.read_back(), [(first.start, 1)]);
            let next = cluster.insert(4, 100);
            assert_eq!(next.start, second.start);
            cluster.wal.flush(&mut cluster.io, next.end).unwrap();
            assert_eq!(cluster.read_back(), [(first.start, 1), (next.start, 4)]);
        });
    });
}

#[test]
fn a_log_is_not_continued_where_it_does_not_end() {
    within_limit(|| {
        for_each_method(|aio, directory| {
            let cluster = Cluster::on_disk(aio, config(directory));
            let Cluster {
                storage,
                clock,
                config,
                start,
                ..
            } = cluster;
            let position = WalPosition {
                // A page that was never written.
                insert_at: Lsn(start.0 + 100_000),
                prev: start,
                redo: start,
            };
            let error = Cluster::go_on(aio, Arc::clone(&storage), clock, config, position)
                .map(|_| ())
                .unwrap_err();
            assert!(
                error
                    .to_string()
                    .ends_with("its last page is not a page of this log"),
                "{error}"
            );
            assert!(storage.exists(directory).unwrap());
        });
    });
}
