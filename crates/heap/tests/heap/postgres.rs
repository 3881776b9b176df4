//! PostgreSQL 18's programs, as `tools/judge` installs them, and a cluster of theirs.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// PostgreSQL's server programs refuse to run as root; any other user will do.
const UNPRIVILEGED: u32 = 65534;

const SETTINGS: &str = "
listen_addresses = ''
autovacuum = off
fsync = off
checkpoint_timeout = 1d
max_wal_size = 4GB
bgwriter_lru_maxpages = 0
wal_level = replica
wal_keep_size = 1GB
";

pub struct Postgres {
    bin: PathBuf,
    directory: TempDir,
}

/// PostgreSQL 18, if it is there. Without it a test is skipped, loudly; with
/// `TRUNKLINE_JUDGE_REQUIRED=1` that is a failure.
pub fn postgres() -> Option<Postgres> {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/judge");
    let output = Command::new(&tool).arg("bin").output();
    if let Ok(output) = &output
        && output.status.success()
    {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        let bin = String::from_utf8(output.stdout.clone()).unwrap();
        let bin = PathBuf::from(bin.trim());
        return Some(Postgres { bin, directory });
    }
    assert!(
        std::env::var_os("TRUNKLINE_JUDGE_REQUIRED").is_none_or(|required| required != "1"),
        "PostgreSQL 18 is required and not there: {output:?}"
    );
    let message = b"\nSKIPPED: no PostgreSQL 18 to judge; run tools/judge install\n";
    std::io::stderr().write_all(message).unwrap();
    None
}

impl Postgres {
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn is_root(&self) -> bool {
        fs::metadata(self.directory.path()).unwrap().uid() == 0
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command.current_dir(self.directory.path()).env("TZ", "UTC");
        if self.is_root() {
            command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
        }
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let output = self.command(program).args(arguments).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {errors}");
        output
    }

    fn text_of(&self, program: &str, arguments: &[&str]) -> String {
        String::from_utf8(self.run(program, arguments).stdout).unwrap()
    }

    /// What `pg_waldump` prints. It may run as whoever runs the test.
    pub fn waldump(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(self.bin.join("pg_waldump"));
        let output = command.args(arguments).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Whether a setting may have this value in this build.
    pub fn knows(&self, setting: &str, value: &str) -> bool {
        let mut command = self.command("postgres");
        let data = self.path("no-such-directory");
        command.args(["-C", setting, "-c", &format!("{setting}={value}"), "-D"]);
        let output = command.arg(data).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        !errors.contains("invalid value for parameter")
    }

    /// Makes a cluster, with settings beside those of every cluster here; its data directory.
    pub fn init(&self, settings: &str) -> PathBuf {
        let home = self.path("home");
        fs::create_dir(&home).unwrap();
        if self.is_root() {
            chown(&home, Some(UNPRIVILEGED), Some(UNPRIVILEGED)).unwrap();
        }
        let data = home.join("data");
        let directory = data.to_str().unwrap();
        let arguments = ["-D", directory, "-U", "postgres", "-A", "trust", "-N"];
        self.run(
            "initdb",
            &[&arguments[..], &["--locale=C", "--encoding=UTF8"]].concat(),
        );
        let path = data.join("postgresql.conf");
        let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
        let socket = format!("unix_socket_directories = '{}'\n", home.display());
        file.write_all([SETTINGS, &socket, settings].concat().as_bytes())
            .unwrap();
        data
    }

    pub fn start(&self, data: &Path) {
        let log = data.join("log");
        let mut command = self.command("pg_ctl");
        command.args([
            "-w",
            "-D",
            data.to_str().unwrap(),
            "-l",
            log.to_str().unwrap(),
        ]);
        let status = command.arg("start").stdout(Stdio::null()).status().unwrap();
        let log = fs::read_to_string(&log).unwrap_or_default();
        assert!(status.success(), "{log}");
    }

    pub fn stop(&self, data: &Path, mode: &str) {
        self.run(
            "pg_ctl",
            &["-w", "-D", data.to_str().unwrap(), "-m", mode, "stop"],
        );
    }

    /// Runs a script; what it prints.
    pub fn psql(&self, script: &str) -> String {
        let home = self.path("home");
        let mut command = self.command("psql");
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]);
        command.args([
            "-h",
            home.to_str().unwrap(),
            "-U",
            "postgres",
            "-d",
            "postgres",
        ]);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(script.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// A line of `pg_controldata`.
    pub fn control(&self, data: &Path, name: &str) -> String {
        let text = self.text_of("pg_controldata", &["-D", data.to_str().unwrap()]);
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim_start_matches(':').trim().to_owned()
    }
}

/// Copies a directory with all that is in it.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy(&entry.path(), &target);
        } else if kind.is_file() {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
