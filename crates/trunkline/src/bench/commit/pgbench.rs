//! pgbench as the clients of a server.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::super::processor_time::{Processes, seconds};
use super::Run;
use crate::program_error::ProgramError;

/// A server to connect to.
#[derive(Clone, Debug)]
pub struct Target {
    /// A connection string.
    pub conninfo: String,
    /// Whose time counts; none if it runs elsewhere.
    pub processes: Option<Processes>,
}

/// The program, and the script that it runs.
#[derive(Clone, Debug)]
pub struct Pgbench {
    program: PathBuf,
    script: PathBuf,
}

impl Pgbench {
    /// Writes the script, which inserts a row into `table`, and looks whether the program is there.
    ///
    /// # Errors
    /// It is not, or the script cannot be written.
    pub fn find(program: &Path, script: &Path, table: &str) -> Result<Pgbench, ProgramError> {
        let text = format!(
            "INSERT INTO {table} VALUES (:client_id, 4711, 'some forty bytes of text, as they come');\n"
        );
        std::fs::write(script, text)
            .map_err(|error| ProgramError::new(format!("{}: {error}", script.display())))?;
        let found = Command::new(program)
            .arg("--version")
            .stdout(Stdio::null())
            .status();
        match found {
            Ok(status) if status.success() => Ok(Pgbench {
                program: program.to_owned(),
                script: script.to_owned(),
            }),
            _ => Err(ProgramError::new(format!(
                "{}: no pgbench (--pgbench names it)",
                program.display()
            ))),
        }
    }

    /// Has clients insert for some seconds.
    ///
    /// # Errors
    /// pgbench's.
    pub fn run(
        &self,
        target: &Target,
        clients: u32,
        time_seconds: u32,
    ) -> Result<Run, ProgramError> {
        let before = target.processes.as_ref().map(seconds);
        let output = Command::new(&self.program)
            .args(["--no-vacuum", "--protocol=prepared"])
            .arg(format!("--file={}", self.script.display()))
            .arg(format!("--client={clients}"))
            .arg(format!("--jobs={}", clients.min(2)))
            .arg(format!("--time={time_seconds}"))
            .arg(&target.conninfo)
            .output()
            .map_err(|error| ProgramError::new(format!("{}: {error}", self.program.display())))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let number = |label: &str| {
            let rest = text.lines().find_map(|line| line.strip_prefix(label))?;
            rest.split_whitespace().next()?.parse::<f64>().ok()
        };
        let (Some(latency_ms), Some(rate), Some(count)) = (
            number("latency average = "),
            number("tps = "),
            number("number of transactions actually processed: "),
        ) else {
            return Err(ProgramError::new(format!(
                "pgbench failed: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            )));
        };
        if !output.status.success()
            || number("number of failed transactions: ").unwrap_or(0.0) > 0.0
        {
            return Err(ProgramError::new(format!(
                "pgbench's transactions failed: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            )));
        }
        let used = target.processes.as_ref().map(seconds);
        let cpu_seconds = before
            .zip(used)
            .map_or(f64::NAN, |(before, used)| used - before);
        Ok(Run {
            commits_per_second: rate,
            latency_us: latency_ms * 1000.0,
            cpu_us_per_commit: cpu_seconds * 1e6 / count,
        })
    }
}
