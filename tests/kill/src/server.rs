//! The program: started, killed, stopped.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::failure::Failure;

/// A start or a stop that takes longer is none.
pub const LIMIT: Duration = Duration::from_secs(120);

/// A server whose connections break is about to end.
const GOING_LIMIT: Duration = Duration::from_secs(10);

/// How often a stopping server is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// How much of a log is shown.
const SHOWN_BYTES: usize = 4000;

/// Makes a data directory with segments of 1 MB.
pub fn init(program: &Path, data_dir: &Path) -> Result<(), Failure> {
    let mut init = Command::new(program);
    init.arg("init").arg("-D").arg(data_dir);
    let output = init.args(["--wal-segsize", "1"]).output();
    let output =
        output.map_err(|error| Failure::Init(format!("{}: {error}", program.display())))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(Failure::Init(
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )),
    }
}

/// A server's process. It is killed when dropped.
pub struct Server {
    child: Child,
    /// Gives what it says when it is ready, and ends when it does.
    lines: Receiver<String>,
    log: PathBuf,
    /// Where it listens.
    pub port: u16,
}

impl Server {
    /// Starts it, whose log goes to a file.
    pub fn spawn(
        program: &Path,
        data_dir: &Path,
        log: &Path,
        settings: &[(&'static str, String)],
    ) -> Result<Server, Failure> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new(program);
        command.arg("serve").arg("-D").arg(data_dir);
        command.args(["-p", &port.to_string()]);
        for (name, value) in settings {
            command.args(["-c", &format!("{name}={value}")]);
        }
        let mut child = command
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(log)?)
            .spawn()?;
        let (sender, lines) = channel();
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        Ok(Server {
            child,
            lines,
            log: log.to_owned(),
            port,
        })
    }

    /// Waits until it takes connections, or for `patience` if that is shorter than any server takes;
    /// whether it does.
    pub fn is_ready_within(&mut self, patience: Option<Duration>) -> Result<bool, Failure> {
        match self.lines.recv_timeout(patience.unwrap_or(LIMIT)) {
            Ok(_) => Ok(true),
            Err(RecvTimeoutError::Timeout) if patience.is_some() => Ok(false),
            Err(RecvTimeoutError::Timeout) => Err(self.hangs("ready")),
            Err(RecvTimeoutError::Disconnected) => {
                // Its output has ended, so it is about to.
                let status = self.child.wait()?;
                Err(self.ended(status))
            }
        }
    }

    /// What is wrong if it has ended.
    pub fn check_alive(&mut self) -> Result<(), Failure> {
        match self.child.try_wait()? {
            Some(status) => Err(self.ended(status)),
            None => Ok(()),
        }
    }

    /// Why its connections break, which nobody has asked for.
    pub fn why_gone(&mut self) -> Failure {
        let started = Instant::now();
        while started.elapsed() < GOING_LIMIT {
            match self.child.try_wait() {
                Ok(Some(status)) => return self.ended(status),
                Ok(None) => std::thread::sleep(LOOK_INTERVAL),
                Err(error) => return error.into(),
            }
        }
        let log = self.end_of_log();
        Failure::Foreign(format!("a connection broke, and the server goes on\n{log}"))
    }

    /// SIGKILL.
    pub fn kill(mut self) -> Result<(), Failure> {
        // It must be the kill that ends it.
        self.check_alive()?;
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks for a clean stop. It goes on for as long as that takes.
    pub fn ask_to_stop(&self) -> Result<(), Failure> {
        let status = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status()?;
        match status.success() {
            true => Ok(()),
            false => Err(std::io::Error::other("kill -TERM failed").into()),
        }
    }

    /// Waits for the end of a clean stop.
    pub fn wait_for_stop(mut self) -> Result<(), Failure> {
        let started = Instant::now();
        loop {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => {
                    return Err(Failure::Stop {
                        status,
                        log: self.end_of_log(),
                    });
                }
                None if started.elapsed() > LIMIT => return Err(self.hangs("stopped")),
                None => std::thread::sleep(LOOK_INTERVAL),
            }
        }
    }

    fn ended(&self, status: ExitStatus) -> Failure {
        Failure::Ended {
            status,
            log: self.end_of_log(),
        }
    }

    fn hangs(&self, wanted: &'static str) -> Failure {
        Failure::Hangs {
            wanted,
            seconds: LIMIT.as_secs(),
            log: self.end_of_log(),
        }
    }

    fn end_of_log(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let start = log.len().saturating_sub(SHOWN_BYTES);
        String::from_utf8_lossy(&log[start..]).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
