//! A PostgreSQL 18 server to ask, as `tools/judge` installs it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// PostgreSQL's programs refuse to run as root; any other user will do.
const UNPRIVILEGED: u32 = 65534;

pub struct Judge {
    bin: PathBuf,
    pub(crate) directory: TempDir,
}

/// The directory of PostgreSQL's programs. Without them the test is skipped, loudly; with
/// `TRUNKLINE_JUDGE_REQUIRED=1` that is a failure.
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
    /// A server of its own in a temporary directory, stopped when dropped.
    pub fn start() -> Option<Judge> {
        let bin = bin()?;
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let home = directory.path().join("home");
        fs::create_dir(&home).unwrap();
        let judge = Judge { bin, directory };
        if judge.is_root() {
            chown(&home, Some(UNPRIVILEGED), Some(UNPRIVILEGED)).unwrap();
        }
        let data = judge.data();
        judge.run(
            "initdb",
            &[
                "-D",
                &data,
                "-U",
                "postgres",
                "-A",
                "trust",
                "--no-sync",
                "-N",
            ],
        );
        let options = format!("-k {} -c listen_addresses= -c fsync=off", home.display());
        let log = home.join("log");
        let log = log.to_str().unwrap();
        judge.run(
            "pg_ctl",
            &["-D", &data, "-w", "-l", log, "-o", &options, "start"],
        );
        Some(judge)
    }

    fn is_root(&self) -> bool {
        fs::metadata(self.directory.path()).unwrap().uid() == 0
    }

    fn data(&self) -> String {
        self.directory
            .path()
            .join("home/data")
            .to_str()
            .unwrap()
            .to_owned()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command.current_dir(self.directory.path());
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

    /// The rows of a query, each as its columns' text.
    pub fn query(&self, sql: &str) -> Vec<Vec<String>> {
        let home = self.directory.path().join("home");
        let output = self
            .command("psql")
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-F", "\t"])
            .args(["-U", "postgres", "-d", "postgres", "-c", sql, "-h"])
            .arg(home)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{sql}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .map(|line| line.split('\t').map(str::to_owned).collect())
            .collect()
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        let mut stop = self.command("pg_ctl");
        let stopped = stop
            .args(["-D", &self.data(), "-m", "immediate", "-w", "stop"])
            .output();
        if !stopped.is_ok_and(|output| output.status.success()) {
            eprintln!(
                "the judge in {} did not stop",
                self.directory.path().display()
            );
        }
    }
}
