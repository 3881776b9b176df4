//! Clusters of PostgreSQL's, with their servers.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::postgres::{Postgres, postgres};

/// What initdb is told of every cluster.
const INIT: [&str; 7] = [
    "-U",
    "postgres",
    "-A",
    "trust",
    "-N",
    "--locale=C",
    "--encoding=UTF8",
];

/// Settings of every server.
const SETTINGS: [&str; 4] = [
    "listen_addresses=",
    "fsync=off",
    "autovacuum=off",
    "timezone=UTC",
];

/// A cluster in a directory of its own. Its server is stopped when it is dropped, and at the latest when the
/// process ends.
pub struct Cluster {
    postgres: &'static Postgres,
    directory: PathBuf,
}

impl Cluster {
    /// A new one, without a server; none if PostgreSQL is not there, see [`postgres`]. In a process no other
    /// has this name. `options` are initdb's.
    pub fn init(name: &str, options: &[&str]) -> Option<Cluster> {
        let postgres = postgres()?;
        let cluster = Cluster {
            postgres,
            directory: postgres.directory(name),
        };
        let data = cluster.data();
        let data = ["-D", data.to_str().unwrap()];
        postgres.run("initdb", &[&data[..], &INIT, options].concat());
        Some(cluster)
    }

    /// Another one with what this one has, which has no server.
    pub fn copy(&self, name: &str) -> Cluster {
        let copy = Cluster {
            postgres: self.postgres,
            directory: self.postgres.directory(name),
        };
        let mut command = Command::new("cp");
        command.arg("-a").arg(self.data()).arg(&copy.directory);
        assert!(command.status().unwrap().success());
        copy
    }

    /// Starts its server, with settings ("name=value") besides those that all servers here have: no TCP, no
    /// fsync, no autovacuum, UTC.
    pub fn start(&self, settings: &[&str]) {
        let mut options = format!("-k {}", self.directory.display());
        for setting in SETTINGS.iter().chain(settings) {
            options += &format!(" -c {setting}");
        }
        let log = self.directory.join("log");
        self.control(&["-l", log.to_str().unwrap(), "-o", &options, "start"]);
    }

    /// Stops its server: "fast" is cleanly, "immediate" is not.
    pub fn stop(&self, mode: &str) {
        self.control(&["-m", mode, "stop"]);
    }

    fn control(&self, arguments: &[&str]) {
        let data = self.data();
        let common = ["-s", "-w", "-D", data.to_str().unwrap()];
        self.postgres
            .run("pg_ctl", &[&common[..], arguments].concat());
    }

    /// The programs that it belongs to.
    pub fn postgres(&self) -> &'static Postgres {
        self.postgres
    }

    /// Where its server's socket is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// All that its server has logged.
    pub fn log(&self) -> String {
        let log = fs::read(self.directory.join("log")).unwrap();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// The value of a line of `pg_controldata`.
    pub fn control_data(&self, name: &str) -> String {
        let data = self.data();
        let said = self
            .postgres
            .run("pg_controldata", &["-D", data.to_str().unwrap()]);
        let line = said.output.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim_start_matches(':').trim().to_owned()
    }

    /// psql, connected to its server, which prints nothing but what statements give: columns that tabs
    /// divide.
    fn psql_command(&self) -> Command {
        let mut command = self.postgres.command("psql");
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-F", "\t"]);
        command.arg("-h").arg(&self.directory);
        command.args(["-U", "postgres", "-d", "postgres"]);
        command
    }

    /// Runs a script; what psql prints.
    #[track_caller]
    pub fn psql(&self, script: &str) -> String {
        let mut child = self
            .psql_command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(script.as_bytes()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{complaints}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The rows of a query, each as its columns' text.
    #[track_caller]
    pub fn query(&self, sql: &str) -> Vec<Vec<String>> {
        let output = self.psql_command().args(["-c", sql]).output().unwrap();
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{sql}: {complaints}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .map(|line| line.split('\t').map(str::to_owned).collect())
            .collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let data = self.data();
        if !data.join("postmaster.pid").exists() {
            return;
        }
        // The test may be failing.
        let mut stop = self.postgres.command("pg_ctl");
        let stopped = stop
            .args(["-m", "immediate", "-w", "stop", "-D"])
            .arg(&data);
        if !stopped.output().is_ok_and(|output| output.status.success()) {
            eprintln!("the server in {} did not stop", data.display());
        }
    }
}
