//! What a failed write or sync does (W7): it stays failed, nothing is tried again, nothing more
//! becomes durable.

use std::path::PathBuf;
use std::sync::Arc;

use trunkline_aio::Aio;
use trunkline_harness::Gate;
use trunkline_pgformat::Lsn;
use trunkline_sim::{Fault, FaultPlan, FaultRule, OpKind, PathFilter, SimConfig, SimDisk, When};
use trunkline_wal::{FlushState, SyncMethod, WalConfig, WalError};

use crate::support::{Cluster, config, insert, over, within_limit};

const EIO: i32 = libc::EIO;
const ENOSPC: i32 = libc::ENOSPC;

fn simulated(wal_sync_method: SyncMethod) -> (SimDisk, Cluster) {
    let disk = SimDisk::new(SimConfig::new(1));
    let aio = Aio::start_with(crate::support::aio_config(), Arc::new(disk.clone())).unwrap();
    let directory = PathBuf::from("/pg_wal");
    trunkline_aio::Storage::create_dir(&disk, &directory).unwrap();
    let config = WalConfig {
        wal_sync_method,
        ..config(&directory)
    };
    let storage = Arc::new(disk.clone());
    let cluster = Cluster::create(&aio, storage, Arc::new(disk.clone()), config);
    (disk, cluster)
}

fn assert_stopped(cluster: &mut Cluster, durable: Lsn, errno: i32) {
    let failed = |result: Result<(), WalError>| match result {
        Err(WalError::Failed(failure)) => assert_eq!(failure.errno(), Some(errno), "{failure}"),
        other => panic!("{other:?}"),
    };
    let end = cluster.wal.insert_lsn();
    for _ in 0..3 {
        failed(cluster.wal.flush(&mut cluster.io, end));
        failed(insert(&cluster.wal, &mut cluster.io, 9, 100).map(|_| ()));
        failed(cluster.wal.start_flush(&mut cluster.io, end).map(|_| ()));
    }
    assert_eq!(cluster.wal.durable_lsn(), durable);
    // What was durable before is so still.
    cluster.wal.flush(&mut cluster.io, durable).unwrap();
    assert!(cluster.wal.failure().is_some());
}

#[test]
fn a_write_or_sync_that_fails_once_stops_the_log_for_good() {
    within_limit(|| {
        for (sync_method, ops, errno) in [
            (SyncMethod::OpenDatasync, &[OpKind::Write][..], EIO),
            (SyncMethod::OpenDatasync, &[OpKind::Write][..], ENOSPC),
            (SyncMethod::Fdatasync, &[OpKind::Write][..], EIO),
            (SyncMethod::Fdatasync, OpKind::SYNCS, EIO),
            (SyncMethod::Fsync, OpKind::SYNCS, EIO),
        ] {
            let (disk, mut cluster) = simulated(sync_method);
            let good = cluster.insert(1, 5000);
            cluster.wal.flush(&mut cluster.io, good.end).unwrap();
            let rule = FaultRule::new(Fault::Fail(errno), ops, PathFilter::Any, When::Nth(1));
            disk.set_faults(FaultPlan::none().with(rule));
            let bad = cluster.insert(2, 5000);
            let error = cluster.wal.flush(&mut cluster.io, bad.end).unwrap_err();
            assert_eq!(error.errno(), Some(errno), "{error}");
            // From here on the disk is well, and the log is not.
            assert_stopped(&mut cluster, good.end, errno);
            assert_eq!(disk.faults().rules[0].struck(), 1);
        }
    });
}

#[test]
fn a_full_disk_is_told_with_the_segment_s_name() {
    within_limit(|| {
        let (disk, mut cluster) = simulated(SyncMethod::OpenDatasync);
        disk.set_capacity_bytes(Some(disk.used_bytes() + 4096));
        let error = (0..)
            .map(|id| {
                insert(&cluster.wal, &mut cluster.io, id, 50_000)
                    .and_then(|inserted| cluster.wal.flush(&mut cluster.io, inserted.end))
            })
            .find_map(Result::err)
            .unwrap();
        assert_eq!(error.errno(), Some(ENOSPC));
        assert_eq!(
            error.to_string(),
            "could not write \"/pg_wal/xlogtemp.2\": No space left on device (os error 28)"
        );
        let durable = cluster.wal.durable_lsn();
        disk.set_capacity_bytes(None);
        assert_stopped(&mut cluster, durable, ENOSPC);
        assert!(
            cluster
                .wal
                .failure()
                .unwrap()
                .to_string()
                .contains("000000010000000000000002"),
            "{:?}",
            cluster.wal.failure()
        );
    });
}

#[test]
fn a_segment_whose_name_may_not_be_durable_takes_no_log() {
    within_limit(|| {
        let (disk, mut cluster) = simulated(SyncMethod::OpenDatasync);
        let fail = Fault::Fail(EIO);
        let rule = FaultRule::new(fail, &[OpKind::SyncDir], PathFilter::Any, When::Nth(1));
        disk.set_faults(FaultPlan::none().with(rule));
        let make = |cluster: &mut Cluster| cluster.wal.make_segments_ahead(&mut cluster.io);
        assert_eq!(make(&mut cluster).unwrap_err().errno(), Some(EIO));
        assert_eq!(disk.faults().rules[0].struck(), 1);
        // From here on the disk is well. Nothing is synced again as if it had not failed.
        let message =
            "could not sync directory \"/pg_wal\": an earlier attempt to sync it has failed";
        assert_eq!(make(&mut cluster).unwrap_err().to_string(), message);
        let mut durable = cluster.wal.durable_lsn();
        let error = (0..)
            .map(|id| {
                let inserted = insert(&cluster.wal, &mut cluster.io, id, 50_000)?;
                cluster.wal.flush(&mut cluster.io, inserted.end)?;
                durable = inserted.end;
                Ok::<(), WalError>(())
            })
            .find_map(Result::err)
            .unwrap();
        assert_eq!(error.to_string(), message);
        assert!(cluster.wal.durable_lsn() >= durable);
        assert!(cluster.wal.durable_lsn() <= cluster.config.segment_size.start_of(2));
        assert!(cluster.wal.failure().is_some());
    });
}

#[test]
fn a_write_of_no_bytes_is_no_space_and_later_writes_do_not_count() {
    within_limit(|| {
        let directory = tempfile::tempdir().unwrap();
        let gate = Arc::new(Gate::default());
        let aio = over(Arc::clone(&gate) as _);
        let mut cluster = Cluster::on_disk(
            &aio,
            WalConfig {
                io_wal_target_blocks: 1,
                ..config(directory.path())
            },
        );
        gate.close();
        let start = cluster.wal.durable_lsn();
        for id in 1..4 {
            cluster.insert(id, 10_000);
        }
        assert!(gate.held() > 1);
        // The second is done, the first fails.
        gate.release(1);
        gate.release_with(0, 0);
        gate.open();
        assert_stopped(&mut cluster, start, ENOSPC);
    });
}

#[test]
fn who_waits_for_the_ring_or_a_flush_is_told_of_a_failure() {
    within_limit(|| {
        let directory = tempfile::tempdir().unwrap();
        let gate = Arc::new(Gate::default());
        let aio = over(Arc::clone(&gate) as _);
        let mut cluster = Cluster::on_disk(&aio, config(directory.path()));
        cluster.wal.make_segments_ahead(&mut cluster.io).unwrap();
        gate.close();
        let first = cluster.insert(1, 100);
        let flusher = std::thread::spawn({
            let (wal, aio) = (Arc::clone(&cluster.wal), Arc::clone(&aio));
            move || {
                wal.flush(&mut aio.issuer(2).unwrap(), first.end)
                    .unwrap_err()
            }
        });
        gate.wait_until_held(1);
        // More than the ring, so that it waits for a place in it.
        let inserter = std::thread::spawn({
            let (wal, aio) = (Arc::clone(&cluster.wal), Arc::clone(&aio));
            move || {
                let mut io = aio.issuer(3).unwrap();
                (0..)
                    .map(|id| insert(&wal, &mut io, id, 100_000))
                    .find_map(Result::err)
                    .unwrap()
            }
        });
        // Behind a place that will never be filled.
        while cluster.wal.stats().buffers_full == 0 {
            std::thread::yield_now();
        }
        let flushes = cluster.wal.stats().flushes;
        let behind = std::thread::spawn({
            let (wal, aio) = (Arc::clone(&cluster.wal), Arc::clone(&aio));
            move || {
                let mut io = aio.issuer(4).unwrap();
                wal.flush(&mut io, wal.insert_lsn()).unwrap_err()
            }
        });
        while cluster.wal.stats().flushes == flushes {
            std::thread::yield_now();
        }
        // Most likely it sleeps by now.
        for _ in 0..1000 {
            std::thread::yield_now();
        }
        gate.release_with(0, -EIO);
        for waiter in [flusher, inserter, behind] {
            let error = waiter.join().unwrap();
            assert_eq!(error.errno(), Some(EIO), "{error}");
        }
        gate.open();
    });
}

#[test]
fn what_cannot_be_is_refused() {
    within_limit(|| {
        let (_, mut cluster) = simulated(SyncMethod::OpenDatasync);
        let end = cluster.wal.insert_lsn();
        let error = insert(&cluster.wal, &mut cluster.io, 1, 600_000).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a WAL record of 600029 bytes is longer than half of the WAL buffers, 524288 bytes"
        );
        let beyond = Lsn(end.0 + 1);
        let error = cluster.wal.flush(&mut cluster.io, beyond).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("cannot flush the write-ahead log to {beyond}: it ends at {end}")
        );
        // Neither has happened.
        assert_eq!(cluster.wal.insert_lsn(), end);
        let inserted = cluster.insert(1, 500_000);
        cluster.wal.flush(&mut cluster.io, inserted.end).unwrap();
        let state = cluster.wal.start_flush(&mut cluster.io, inserted.end);
        assert_eq!(state.unwrap(), FlushState::Durable);
        assert_eq!(cluster.read_back(), [(inserted.start, 1)]);
    });
}
