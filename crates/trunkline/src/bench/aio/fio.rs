//! fio doing what `bench aio` measures.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use trunkline_aio::MethodKind;

use super::workload::{Run, Workload};
use crate::program_error::ProgramError;

/// Fields of fio's terse output, version 3, counted from 0.
const READ_KIB: usize = 5;
const READ_RUNTIME_MS: usize = 8;
const WRITE_KIB: usize = 46;
const WRITE_RUNTIME_MS: usize = 49;
const USER_PERCENT: usize = 87;
const SYSTEM_PERCENT: usize = 88;

/// An installed fio.
pub struct Fio {
    version: String,
}

impl Fio {
    /// The one on the path.
    pub fn find() -> Option<Fio> {
        let output = Command::new("fio")
            .arg("--version")
            .stderr(Stdio::null())
            .output()
            .ok()?;
        output.status.success().then(|| Fio {
            version: String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        })
    }

    /// What it calls itself.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Runs a workload.
    ///
    /// # Errors
    /// It cannot be run, or gave no result.
    pub fn run(
        &self,
        workload: &Workload,
        method: MethodKind,
        path: &Path,
        file_bytes: u64,
        time: Duration,
    ) -> Result<Run, ProgramError> {
        // Threads that each execute one I/O at a time are fio's jobs.
        let (engine, jobs, depth) = match method {
            MethodKind::IoUring => ("io_uring", 1, workload.depth),
            MethodKind::PosixAio => ("posixaio", 1, workload.depth),
            MethodKind::Worker => ("psync", workload.depth, 1),
            MethodKind::Sync => ("psync", 1, 1),
        };
        let pattern = match (workload.is_random, workload.is_write) {
            (true, false) => "randread",
            (true, true) => "randwrite",
            (false, false) => "read",
            (false, true) => "write",
        };
        let mut command = Command::new("fio");
        command
            .args(["--name=aio", "--direct=1", "--minimal", "--thread"])
            .args(["--time_based=1", "--norandommap", "--overwrite=1"])
            // Other places each time, as the core's: some cache below may have those of before.
            .arg("--randrepeat=0")
            .arg(format!(
                "--filename={}",
                path.display().to_string().replace(':', "\\:")
            ))
            .arg(format!("--size={file_bytes}"))
            .arg(format!("--runtime={}ms", time.as_millis()))
            .arg(format!("--ioengine={engine}"))
            .arg(format!("--rw={pattern}"))
            .arg(format!("--bs={}", workload.io_bytes))
            .arg(format!("--iodepth={depth}"))
            .arg(format!("--numjobs={jobs}"))
            .arg("--group_reporting");
        if jobs > 1 && !workload.is_random {
            // Otherwise each job would go through the whole file, from its start.
            command.arg(format!("--offset_increment={}", file_bytes / jobs as u64));
        }
        if workload.is_dsync {
            command.arg("--sync=dsync");
        }
        let output = command
            .output()
            .map_err(|error| ProgramError::new(format!("could not run fio: {error}")))?;
        let text = String::from_utf8_lossy(&output.stdout);
        parse(&text, workload.is_write, jobs).ok_or_else(|| {
            ProgramError::new(format!(
                "fio gave no result: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            ))
        })
    }
}

/// With several jobs, fio's shares of a processor are averages of them.
fn parse(text: &str, is_write: bool, jobs: usize) -> Option<Run> {
    let line = text.lines().find(|line| line.starts_with("3;"))?;
    let fields: Vec<&str> = line.split(';').collect();
    let number = |at: usize| fields.get(at)?.trim_end_matches('%').parse::<f64>().ok();
    let (kib, runtime_ms) = if is_write {
        (number(WRITE_KIB)?, number(WRITE_RUNTIME_MS)?)
    } else {
        (number(READ_KIB)?, number(READ_RUNTIME_MS)?)
    };
    let seconds = runtime_ms / 1000.0;
    let busy = (number(USER_PERCENT)? + number(SYSTEM_PERCENT)?) / 100.0;
    (kib > 0.0 && seconds > 0.0).then_some(Run {
        bytes: (kib * 1024.0) as u64,
        seconds,
        cpu_seconds: busy * seconds * jobs as f64,
        combined: 1.0,
    })
}
