//! The WAL writer, step by step, on the simulated disk's clock.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use trunkline_aio::{Aio, Storage};
use trunkline_sim::{SimConfig, SimDisk};
use trunkline_wal::WalWriter;

use crate::support::{Cluster, aio_config, config, within_limit};

#[test]
fn asynchronous_commits_become_durable_with_a_delay_and_segments_ahead() {
    within_limit(|| {
        let disk = SimDisk::new(SimConfig::new(3));
        let storage: Arc<dyn Storage> = Arc::new(disk.clone());
        storage.create_dir(Path::new("/pg_wal")).unwrap();
        let aio = Aio::start_with(aio_config(), Arc::new(disk.clone())).unwrap();
        let clock = Arc::new(disk.clone());
        let mut cluster = Cluster::create(&aio, storage, clock, config(Path::new("/pg_wal")));
        let mut writer = WalWriter::new();
        let mut step = |cluster: &mut Cluster| {
            let Cluster { wal, io, .. } = cluster;
            writer.step(wal, io).unwrap()
        };
        let idle = step(&mut cluster);
        assert_eq!((idle.flushed, idle.segments_made), (false, 2));
        assert_eq!(idle.delay, Duration::from_millis(200));

        let commit = cluster.insert(1, 100);
        // Nobody has asked for it.
        assert!(!step(&mut cluster).flushed);
        cluster.wal.request_flush(commit.end);
        assert!(step(&mut cluster).flushed);
        assert_eq!(cluster.wal.durable_lsn(), commit.end);

        // Not before the delay has passed, unless much has come together.
        let commit = cluster.insert(2, 100);
        cluster.wal.request_flush(commit.end);
        assert!(!step(&mut cluster).flushed);
        disk.advance(Duration::from_millis(200));
        assert!(step(&mut cluster).flushed);
        assert_eq!(cluster.wal.durable_lsn(), commit.end);

        for id in 3..30 {
            cluster.insert(id, 50_000);
        }
        let much = step(&mut cluster);
        assert!(much.flushed);
        // To the last whole unit, as nobody asked for more.
        let end = cluster.wal.insert_lsn();
        let durable = cluster.wal.durable_lsn();
        assert!(
            durable < end && end.0 - durable.0 < 8192,
            "{durable} of {end}"
        );
    });
}
