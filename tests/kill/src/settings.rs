//! A round's settings: small, so that everything that takes its time in a large database happens in a
//! round, and of every kind.

use fastrand::Rng;

/// Chooses them.
pub fn of_a_round(rng: &mut Rng, connections: usize) -> Vec<(&'static str, String)> {
    let mut of = |choices: &[&str]| choices[rng.usize(..choices.len())].to_owned();
    vec![
        ("max_connections", connections.to_string()),
        ("checkpoint_timeout", "30s".to_owned()),
        ("min_wal_size", "2MB".to_owned()),
        ("max_wal_size", of(&["3MB", "6MB", "20MB"])),
        ("shared_buffers", of(&["2MB", "4MB", "16MB"])),
        ("wal_buffers", of(&["-1", "128kB", "1MB"])),
        ("io_method", of(&["auto", "worker", "posix_aio", "sync"])),
        (
            "io_direct",
            of(&["data,wal,wal_init", "data,wal", "wal", "data", ""]),
        ),
        (
            "wal_sync_method",
            of(&["fdatasync", "fsync", "open_datasync"]),
        ),
        ("io_wal_concurrency", of(&["1", "4", "32"])),
        ("wal_init_zero", of(&["on", "off"])),
        ("wal_recycle", of(&["on", "off"])),
        ("wal_writer_delay", of(&["10ms", "200ms"])),
        ("bgwriter_delay", of(&["10ms", "200ms"])),
        ("checkpoint_completion_target", of(&["0.1", "0.9"])),
        // The next recovery compares every page that it redoes.
        ("wal_consistency_checking", of(&["", "", "all"])),
    ]
}
