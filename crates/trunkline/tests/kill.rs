//! The built program, killed under load a few times. The command `trunkline-kill` does it as often as asked
//! for.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use trunkline_kill::{Options, installed_judge, run};

#[test]
fn what_it_acknowledged_outlives_kills() {
    let directory = tempfile::tempdir().unwrap().keep();
    let options = Options {
        server: PathBuf::from(env!("CARGO_BIN_EXE_trunkline")),
        directory: directory.clone(),
        seed: fastrand::u64(..1 << 32),
        rounds: 6,
        clients: 3,
        longest_ms: 500,
        judge: installed_judge(),
    };
    println!("seed {}, in {}", options.seed, directory.display());
    let report = run(&options, |_| ()).unwrap_or_else(|failure| panic!("{failure}"));
    println!("{report}");
    assert_eq!((report.rounds, report.kills, report.stops), (6, 5, 1));
    assert!(report.counts.committed > 0 && report.rows_checked > 0);
    std::fs::remove_dir_all(directory).unwrap();
}
