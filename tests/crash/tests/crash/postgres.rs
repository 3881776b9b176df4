//! PostgreSQL itself recovers what a power cut has left, and what it makes of the pages is what we make
//! of them, to the byte.
//!
//! Its start fails behind the redo, since our catalogs have no more than we need; what it has redone is
//! on disk by then, since recovery ends with a checkpoint. Where the records ask for it
//! (`wal_consistency_checking`) it compares every page that it has redone with the image in the record,
//! and ends if they differ.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use trunkline_crash::recover_and_stop;
use trunkline_crash::{
    Case, Kind, Place, RecordCounts, Workload, count_records, crashed, wal_compression,
};
use trunkline_harness::{Postgres, postgres};
use trunkline_pgformat::BLCKSZ;

/// Bytes of a page's checksum, which is of what was there when it was written.
const PD_CHECKSUM: std::ops::Range<usize> = 8..10;

/// PostgreSQL, and what it is asked to do.
struct Judge(&'static Postgres);

impl Judge {
    /// Gives it a data directory to do everything with.
    fn give(&self, data_dir: &Path) {
        fs::set_permissions(data_dir, fs::Permissions::from_mode(0o700)).unwrap();
        // Ours has settings that it does not know.
        fs::write(data_dir.join("postgresql.conf"), "").unwrap();
        self.0.give(data_dir);
    }

    /// Runs a program that has to succeed, and gives all that it says.
    fn run(&self, program: &str, arguments: &[&str]) -> String {
        self.0.run(program, arguments).all()
    }

    /// Has PostgreSQL recover a directory. Gives its log.
    fn recover(&self, data_dir: &Path) -> String {
        let log = self.start(data_dir);
        // The main fork of an unlogged table was kept, and its init fork was not, which redo made: what
        // PostgreSQL removes before redo goes by the init forks that there are.
        if log.contains("could not create file \"base/5/") && log.contains("File exists") {
            return self.start(data_dir);
        }
        log
    }

    fn start(&self, data_dir: &Path) -> String {
        let mut postgres = self.0.command("postgres");
        postgres.arg("--single").arg("-D").arg(data_dir);
        for setting in [
            "io_method=sync",
            "shared_buffers=16MB",
            "max_connections=20",
        ] {
            postgres.args(["-c", setting]);
        }
        both(&postgres.arg("postgres").output().unwrap())
    }

    /// pg_waldump finds the records that we find, and nothing to complain about.
    fn check_log(&self, data_dir: &Path, counts: &RecordCounts) {
        let pg_wal = data_dir.join("pg_wal");
        let (start, end) = (counts.start.to_string(), counts.end.to_string());
        let range = ["--start", &start, "--end", &end];
        let path = ["--path", pg_wal.to_str().unwrap()];
        let said = self.run(
            "pg_waldump",
            &[
                &path[..],
                &range,
                &counts.segments.each_ref().map(String::as_str),
            ]
            .concat(),
        );
        let mut found = std::collections::BTreeMap::new();
        for line in said.lines() {
            let rmgr = line
                .strip_prefix("rmgr: ")
                .and_then(|rest| rest.split_whitespace().next());
            let rmgr = rmgr.unwrap_or_else(|| panic!("it says {line}"));
            assert!(!line.contains("UNKNOWN"), "{line}");
            *found.entry(rmgr.to_owned()).or_insert(0) += 1;
        }
        assert_eq!(found, counts.by_rmgr);
    }

    /// What its programs say of a directory that was stopped cleanly.
    fn check_stopped(&self, data_dir: &Path) {
        let path = data_dir.to_str().unwrap();
        let controldata = self.run("pg_controldata", &[path]);
        assert!(controldata.contains("shut down\n"), "{controldata}");
        assert!(!controldata.contains("WARNING"), "{controldata}");
        let checksums = self.run("pg_checksums", &["--check", path]);
        assert!(checksums.contains("Bad checksums:  0\n"), "{checksums}");
        let resetwal = self.run("pg_resetwal", &["--dry-run", path]);
        assert!(!resetwal.contains("guessed"), "{resetwal}");
    }
}

fn both(output: &std::process::Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stderr) + &text(&output.stdout)
}

/// The pages of all relation files of ours that PostgreSQL has too, compared; how many. It makes free
/// space maps, and leaves files of unfinished transactions behind.
fn compare_relations(theirs: &Path, ours: &Path) -> usize {
    let mut pages = 0;
    for entry in fs::read_dir(ours).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.starts_with(|first: char| first.is_ascii_digit()) || name.contains("_fsm") {
            continue;
        }
        let [theirs, ours] = [theirs, ours].map(|path| fs::read(path.join(&name)).unwrap());
        assert_eq!(theirs.len(), ours.len(), "length of {name}");
        let blocks = theirs.chunks(BLCKSZ).zip(ours.chunks(BLCKSZ));
        for (block, (theirs, ours)) in blocks.enumerate() {
            pages += 1;
            let differ: Vec<usize> = (0..BLCKSZ)
                .filter(|at| !PD_CHECKSUM.contains(at) && theirs[*at] != ours[*at])
                .take(10)
                .collect();
            assert!(
                differ.is_empty(),
                "{name} block {block}: bytes {differ:?} differ"
            );
        }
    }
    pages
}

/// How many crashes, or as many as TRUNKLINE_POSTGRES_RUNS says.
const RUNS: u64 = 18;

#[test]
fn postgresql_recovers_what_we_recover() {
    let Some(judge) = postgres().map(Judge) else {
        return;
    };
    let directory = judge.0.directory("recoveries");
    let (mut pages, mut redone, mut compressed) = (0, 0, 0);
    let runs = std::env::var("TRUNKLINE_POSTGRES_RUNS");
    let runs = runs.map_or(RUNS, |runs| runs.parse().unwrap());
    // It may be built without lz4 or zstd.
    let known = ["off", "pglz", "lz4", "zstd"];
    let known = known.map(|word| (word, judge.0.knows("wal_compression", word)));
    println!("wal_compression in this build: {known:?}");
    let seeds = (0..).filter(|seed| known.contains(&(wal_compression(*seed), true)));
    let seeds = seeds.take(runs as usize);
    for (workload, seed) in Workload::ALL.into_iter().cycle().zip(seeds) {
        let place = Place::new();
        let case = Case::once(Kind::PowerCut, workload, seed);
        println!("{case}");
        let disk = crashed(&place, case);
        let [theirs, ours] =
            ["theirs", "ours"].map(|name| directory.join(format!("{name}-{seed}")));
        disk.export(&place.path, &theirs).unwrap();
        judge.give(&theirs);
        let counts = count_records(&disk, &place.path);
        judge.check_log(&theirs, &counts);
        compressed += counts.compressed;
        let log = judge.recover(&theirs);
        let is_redone = log.contains("redo done at");
        assert!(is_redone || log.contains("redo is not required"), "{log}");
        assert!(log.contains("checkpoint complete"), "{log}");
        for word in ["PANIC", "WARNING", "invalid page", "inconsistent"] {
            assert!(!log.contains(word), "{log}");
        }
        redone += usize::from(is_redone);

        recover_and_stop(&disk, &place, seed);
        disk.export(&place.path, &ours).unwrap();
        judge.give(&ours);
        for directory in ["base/5", "global"] {
            pages += compare_relations(&theirs.join(directory), &ours.join(directory));
        }
        judge.check_stopped(&ours);
        fs::remove_dir_all(&theirs).unwrap();
        fs::remove_dir_all(&ours).unwrap();
    }
    println!(
        "{pages} pages compared, {redone} recoveries with redo, {compressed} compressed images"
    );
    assert!(
        pages > 500 && redone > 9 && compressed > 100,
        "{pages} pages, {redone} with redo, {compressed} compressed images"
    );
}
