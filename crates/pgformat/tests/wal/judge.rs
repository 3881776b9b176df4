//! PostgreSQL 18, as `tools/judge` installs it, and a log that a cluster of it wrote.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// PostgreSQL's server programs refuse to run as root; any other user will do.
const UNPRIVILEGED: u32 = 65534;

/// What the cluster does, in the order of its runs. Each run has its settings; the last but one is
/// killed.
const RUNS: [(&str, &str, &str); 3] = [
    (
        "wal_level=replica wal_compression=off",
        include_str!("workload/replica.sql"),
        "fast",
    ),
    (
        "wal_level=logical wal_compression=pglz max_prepared_transactions=5",
        include_str!("workload/logical.sql"),
        "immediate",
    ),
    (
        "wal_level=minimal max_wal_senders=0 max_prepared_transactions=5 wal_consistency_checking=heap,heap2",
        include_str!("workload/minimal.sql"),
        "fast",
    ),
];

pub struct Judge {
    bin: PathBuf,
    pub directory: TempDir,
}

fn bin() -> Option<PathBuf> {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/judge");
    let output = Command::new(&tool).arg("bin").output();
    if let Ok(output) = &output
        && output.status.success()
    {
        let path = String::from_utf8(output.stdout.clone()).unwrap();
        return Some(PathBuf::from(path.trim()));
    }
    assert!(
        std::env::var_os("TRUNKLINE_JUDGE_REQUIRED").is_none_or(|required| required != "1"),
        "PostgreSQL 18 is required and not there: {output:?}"
    );
    eprintln!("SKIPPED: PostgreSQL 18 is not there to judge; run tools/judge install");
    None
}

impl Judge {
    /// A judge, whose cluster has done its work and is stopped. Without PostgreSQL the test is
    /// skipped, loudly; with `TRUNKLINE_JUDGE_REQUIRED=1` that is a failure.
    pub fn with_log() -> Option<Judge> {
        let bin = bin()?;
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let judge = Judge { bin, directory };
        judge.directory_of_its_own("home");
        judge.run_cluster();
        Some(judge)
    }

    /// A directory that PostgreSQL's programs can write to.
    pub fn directory_of_its_own(&self, name: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::create_dir(&path).unwrap();
        if self.is_root() {
            chown(&path, Some(UNPRIVILEGED), Some(UNPRIVILEGED)).unwrap();
        }
        path
    }

    fn is_root(&self) -> bool {
        fs::metadata(self.directory.path()).unwrap().uid() == 0
    }

    fn home(&self) -> String {
        let home = self.directory.path().join("home");
        home.to_str().unwrap().to_owned()
    }

    /// The cluster's segments.
    pub fn wal_directory(&self) -> PathBuf {
        self.directory.path().join("home/data/pg_wal")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command.current_dir(self.directory.path()).env("TZ", "UTC");
        if self.is_root() {
            command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
        }
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        // pg_ctl's server keeps what it inherits open, so nothing may wait for its output's end.
        let output = self.directory.path().join("output");
        let file = fs::File::create(&output).unwrap();
        let status = self
            .command(program)
            .args(arguments)
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .status()
            .unwrap();
        assert!(
            status.success(),
            "{program}: {}",
            fs::read_to_string(output).unwrap()
        );
    }

    fn run_cluster(&self) {
        let data = format!("{}/data", self.home());
        self.run(
            "initdb",
            &[
                "-D",
                &data,
                "-U",
                "postgres",
                "-A",
                "trust",
                "-N",
                "--locale=C",
                "--encoding=UTF8",
                "--wal-segsize=1",
                // All of the log is kept.
                "-c",
                "wal_keep_size=10GB",
                "-c",
                "max_wal_size=1GB",
                "-c",
                "fsync=off",
                "-c",
                "autovacuum=off",
                "-c",
                "allow_in_place_tablespaces=on",
            ],
        );
        let log = format!("{}/log", self.home());
        for (settings, workload, stop) in RUNS {
            let mut options = format!("-k {} -c listen_addresses=", self.home());
            for setting in settings.split(' ') {
                options += &format!(" -c {setting}");
            }
            let start = ["-D", &data, "-w", "-l", &log, "-o", &options, "start"];
            self.run("pg_ctl", &start);
            let script = self.directory.path().join("workload.sql");
            fs::write(&script, workload).unwrap();
            let arguments = ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-h"];
            let mut arguments = arguments.to_vec();
            let home = self.home();
            arguments.extend([&home, "-d", "postgres", "-f", script.to_str().unwrap()]);
            self.run("psql", &arguments);
            self.run("pg_ctl", &["-D", &data, "-m", stop, "-w", "stop"]);
        }
    }

    /// `pg_waldump`, in UTC.
    pub fn pg_waldump(&self, arguments: &[&str]) -> Output {
        self.command("pg_waldump").args(arguments).output().unwrap()
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        let data = format!("{}/data", self.home());
        if !Path::new(&data).join("postmaster.pid").exists() {
            return;
        }
        // The work failed.
        let mut stop = self.command("pg_ctl");
        let stopped = stop.args(["-D", &data, "-m", "immediate", "-w", "stop"]);
        if !stopped.output().is_ok_and(|output| output.status.success()) {
            eprintln!("the judge in {data} did not stop");
        }
    }
}
