//! This program's server, in a process of its own.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::peer::Connection;
use super::processor_time::Processes;
use crate::program_error::ProgramError;

/// A running server; killed if it is not stopped.
pub struct Served {
    process: Child,
    conninfo: String,
    connection: Connection,
}

fn failed(error: &dyn std::fmt::Display) -> ProgramError {
    ProgramError::new(format!("the server: {error}"))
}

/// A port that nobody uses now.
fn free_port() -> std::io::Result<u16> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    Ok(listener.local_addr()?.port())
}

impl Drop for Served {
    fn drop(&mut self) {
        // After a stop there is nothing left to kill.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Served {
    /// Starts one on a new data directory, with settings as `NAME=VALUE`.
    ///
    /// # Errors
    /// One line.
    pub async fn start(data_dir: &Path, settings: &[String]) -> Result<Served, ProgramError> {
        let program = std::env::current_exe().map_err(|error| failed(&error))?;
        let mut command = Command::new(program);
        let port = free_port().map_err(|error| failed(&error))?;
        command
            .arg("serve")
            .arg("-D")
            .arg(data_dir)
            .args(["-p", &port.to_string()]);
        for setting in settings {
            command.args(["-c", setting]);
        }
        let mut process = command
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(|error| failed(&error))?;
        let mut is_ready = false;
        if let Some(stdout) = process.stdout.take() {
            for line in BufReader::new(stdout).lines() {
                is_ready = line.map_err(|error| failed(&error))?.starts_with("ready");
                if is_ready {
                    break;
                }
            }
        }
        if !is_ready {
            let _ = process.kill();
            let _ = process.wait();
            return Err(failed(&"it did not start"));
        }
        let conninfo = format!("host=127.0.0.1 port={port} user=postgres dbname=postgres");
        let connection = match Connection::open(&conninfo).await {
            Ok(connection) => connection,
            Err(error) => {
                let _ = process.kill();
                let _ = process.wait();
                return Err(error);
            }
        };
        Ok(Served {
            process,
            conninfo,
            connection,
        })
    }

    /// How to connect to it.
    pub fn conninfo(&self) -> &str {
        &self.conninfo
    }

    /// Its process.
    pub fn processes(&self) -> Processes {
        Processes::One(self.process.id())
    }

    /// A connection to it.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Settings that explain its figures.
    ///
    /// # Errors
    /// One line.
    pub async fn settings(&self, names: &[&str]) -> Result<String, ProgramError> {
        let mut shown = Vec::new();
        for name in names {
            let value = self.connection.text(&format!("SHOW {name}")).await?;
            shown.push(format!("{name} {value}"));
        }
        Ok(shown.join(", "))
    }

    /// Stops it cleanly.
    ///
    /// # Errors
    /// It ended otherwise.
    pub async fn stop(mut self) -> Result<(), ProgramError> {
        let pid = nix::unistd::Pid::from_raw(self.process.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)
            .map_err(|error| failed(&error))?;
        let status = self.process.wait().map_err(|error| failed(&error))?;
        if status.success() {
            Ok(())
        } else {
            Err(failed(&format!("it ended with {status}")))
        }
    }
}
