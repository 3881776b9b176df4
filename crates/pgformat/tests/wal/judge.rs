//! A log that a PostgreSQL 18 cluster wrote.

use std::path::PathBuf;

use trunkline_harness::Cluster;

/// What the cluster does, in the order of its runs. Each run has its settings; the last but one is
/// killed.
const RUNS: [(&[&str], &str, &str); 3] = [
    (
        &["wal_level=replica", "wal_compression=off"],
        include_str!("workload/replica.sql"),
        "fast",
    ),
    (
        &[
            "wal_level=logical",
            "wal_compression=pglz",
            "max_prepared_transactions=5",
        ],
        include_str!("workload/logical.sql"),
        "immediate",
    ),
    (
        &[
            "wal_level=minimal",
            "max_wal_senders=0",
            "max_prepared_transactions=5",
            "wal_consistency_checking=heap,heap2",
        ],
        include_str!("workload/minimal.sql"),
        "fast",
    ),
];

/// Of initdb. All of the log is kept, its own too.
const INIT: [&str; 7] = [
    "--wal-segsize=1",
    "-c",
    "wal_keep_size=10GB",
    "-c",
    "max_wal_size=1GB",
    "-c",
    "allow_in_place_tablespaces=on",
];

/// A cluster that has done its work and is stopped; none without PostgreSQL.
pub fn cluster_with_log() -> Option<Cluster> {
    let cluster = Cluster::init("log", &INIT)?;
    for (settings, workload, stop) in RUNS {
        cluster.start(settings);
        cluster.psql(workload);
        cluster.stop(stop);
    }
    Some(cluster)
}

/// Its segments.
pub fn wal_directory(cluster: &Cluster) -> PathBuf {
    cluster.data().join("pg_wal")
}
