//! This program's server, in a process of its own.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::pgbench::{Pgbench, Target};
use super::processor_time::Processes;
use crate::program_error::ProgramError;

/// A running server; killed if it is not stopped.
pub struct Served {
    process: Child,
    target: Target,
    client: Client,
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
        let processes = Some(Processes::One(process.id()));
        let connected = tokio_postgres::connect(&conninfo, NoTls).await;
        let (client, connection) = connected.map_err(|error| failed(&error))?;
        tokio::spawn(async move {
            // A broken connection shows at the next statement.
            let _ = connection.await;
        });
        Ok(Served {
            process,
            target: Target {
                conninfo,
                processes,
            },
            client,
        })
    }

    /// Where it is.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Runs statements.
    ///
    /// # Errors
    /// One line.
    pub async fn run(&self, sql: &str) -> Result<(), ProgramError> {
        self.client
            .batch_execute(sql)
            .await
            .map_err(|error| failed(&error))
    }

    async fn text(&self, sql: &str) -> Result<String, ProgramError> {
        let messages = self
            .client
            .simple_query(sql)
            .await
            .map_err(|error| failed(&error))?;
        Ok(messages
            .iter()
            .find_map(|message| match message {
                SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            })
            .unwrap_or_default())
    }

    /// Settings that explain its figures.
    ///
    /// # Errors
    /// One line.
    pub async fn settings(&self) -> Result<String, ProgramError> {
        let mut shown = Vec::new();
        for name in [
            "io_method",
            "io_direct",
            "wal_sync_method",
            "io_wal_concurrency",
            "io_wal_pad_partial",
            "synchronous_commit",
            "full_page_writes",
        ] {
            shown.push(format!(
                "{name} {}",
                self.text(&format!("SHOW {name}")).await?
            ));
        }
        Ok(shown.join(", "))
    }

    /// What `pg_stat_wal` says of how the log got to the disk.
    ///
    /// # Errors
    /// One line.
    pub async fn log_counts(&self) -> Result<String, ProgramError> {
        const COUNTS: &[&str] = &[
            "wal_records",
            "wal_bytes",
            "wal_write",
            "wal_sync",
            "wal_flush",
            "wal_flush_wait",
            "wal_partial_wait",
            "wal_partial_pad",
            "wal_partial_pad_bytes",
        ];
        let mut shown = Vec::new();
        for name in COUNTS {
            let count = self
                .text(&format!("SELECT {name} FROM pg_stat_wal"))
                .await?;
            shown.push(format!("{name} {count}"));
        }
        Ok(shown.join(", "))
    }

    /// The most I/Os of the log that `pg_stat_aios` shows at once while clients commit for a second.
    ///
    /// # Errors
    /// One line.
    pub async fn log_writes_in_flight(
        &self,
        pgbench: &Pgbench,
        clients: u32,
    ) -> Result<u64, ProgramError> {
        let target = self.target.clone();
        let pgbench = pgbench.clone();
        let load = tokio::task::spawn_blocking(move || pgbench.run(&target, clients, 1));
        let mut most = 0;
        while !load.is_finished() {
            let seen = self
                .text("SELECT count(*) FROM pg_stat_aios WHERE scb = 'wal'")
                .await?;
            most = most.max(seen.parse().unwrap_or(0));
        }
        load.await.map_err(|error| failed(&error))??;
        Ok(most)
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
