//! The fastest sequential direct read of a file that is to be had: fio where it is installed, and
//! the AIO core reading raw; whichever is faster, over a few block sizes and depths.
//!
//! The core's buffers are on huge pages, fio's are not, which on a virtual disk can be the greater
//! part of the difference between them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use trunkline_aio::{Aio, File, OpenOptions, OsStorage, RawReader, Storage};

use super::sample::{Rate, Sample, Series, Stopwatch};
use crate::program_error::ProgramError;

/// Ways to read, each with block bytes and depth.
const WAYS: &[(usize, usize)] = &[(256 << 10, 16), (1 << 20, 8)];

/// How a raw read was made.
#[derive(Clone, Debug)]
struct Way {
    with_fio: bool,
    block_bytes: usize,
    depth: usize,
    series: Series,
}

/// Raw reads of one table's files.
pub struct RawReads {
    files: Vec<PathBuf>,
    bytes: u64,
    ways: Vec<Way>,
}

impl RawReads {
    /// Reads of the segment files of the relation file `first`.
    ///
    /// # Errors
    /// The files cannot be looked at.
    pub fn new(first: &Path) -> Result<RawReads, ProgramError> {
        let mut files = Vec::new();
        let mut bytes = 0;
        for segment in 0.. {
            let path = match segment {
                0 => first.to_owned(),
                _ => PathBuf::from(format!("{}.{segment}", first.display())),
            };
            match std::fs::metadata(&path) {
                Ok(metadata) => bytes += metadata.len(),
                Err(_) if segment > 0 => break,
                Err(error) => {
                    return Err(ProgramError::new(format!("{}: {error}", path.display())));
                }
            }
            files.push(path);
        }
        let has_fio = Command::new("fio")
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        let ways = [false, true]
            .into_iter()
            .filter(|with_fio| !with_fio || has_fio)
            .flat_map(|with_fio| {
                WAYS.iter().map(move |&(block_bytes, depth)| Way {
                    with_fio,
                    block_bytes,
                    depth,
                    series: Series::default(),
                })
            })
            .collect();
        Ok(RawReads { files, bytes, ways })
    }

    /// Bytes of one read.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads the files once in each way.
    ///
    /// # Errors
    /// A read failed.
    pub fn repeat(&mut self, aio: &Arc<Aio>) -> Result<(), ProgramError> {
        for way in &mut self.ways {
            let sample = if way.with_fio {
                read_with_fio(&self.files, self.bytes, way.block_bytes, way.depth)?
            } else {
                read_with_core(&self.files, aio, way.block_bytes, way.depth)?
            };
            way.series.push(sample);
        }
        Ok(())
    }

    /// Prints each way's rate in MiB/s; the fastest by its median.
    pub fn print(&self) -> Rate {
        const MIB: f64 = 1024.0 * 1024.0;
        let rates: Vec<Rate> = self
            .ways
            .iter()
            .map(|way| way.series.rate(self.bytes as f64 / MIB))
            .collect();
        for (way, rate) in self.ways.iter().zip(&rates) {
            let reader = if way.with_fio {
                "fio io_uring"
            } else {
                "the AIO core"
            };
            let name = format!(
                "raw read, {reader}, {} kB, depth {}",
                way.block_bytes >> 10,
                way.depth
            );
            println!("{name:<44} {rate} MiB/s");
        }
        let best = rates
            .into_iter()
            .max_by(|a, b| a.median.total_cmp(&b.median));
        best.unwrap_or_else(|| Series::default().rate(0.0))
    }
}

fn read_with_fio(
    files: &[PathBuf],
    bytes: u64,
    block_bytes: usize,
    depth: usize,
) -> Result<Sample, ProgramError> {
    let names: Vec<String> = files
        .iter()
        .map(|file| file.display().to_string().replace(':', "\\:"))
        .collect();
    let output = Command::new("fio")
        .args([
            "--name=raw",
            "--rw=read",
            "--direct=1",
            "--ioengine=io_uring",
            "--readonly",
        ])
        .args(["--minimal", "--file_service_type=sequential"])
        .arg(format!("--filename={}", names.join(":")))
        .arg(format!("--bs={block_bytes}"))
        .arg(format!("--iodepth={depth}"))
        .output()
        .map_err(|error| ProgramError::new(format!("could not run fio: {error}")))?;
    // Terse output, version 3: the seventh field is the read bandwidth in KiB/s.
    let text = String::from_utf8_lossy(&output.stdout);
    let bandwidth: Option<f64> = text.split(';').nth(6).and_then(|field| field.parse().ok());
    match bandwidth.filter(|kib| *kib > 0.0) {
        Some(kib) => Ok(Sample {
            seconds: bytes as f64 / 1024.0 / kib,
            cpu_seconds: 0.0,
        }),
        None => Err(ProgramError::new(format!(
            "fio gave no bandwidth: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ))),
    }
}

fn read_with_core(
    files: &[PathBuf],
    aio: &Arc<Aio>,
    block_bytes: usize,
    depth: usize,
) -> Result<Sample, ProgramError> {
    let failed = |error: &dyn std::fmt::Display| {
        ProgramError::new(format!("could not read the table's files: {error}"))
    };
    let storage = OsStorage::new();
    let mut io = aio.issuer(0).map_err(|error| failed(&error))?;
    let watch = Stopwatch::start();
    for path in files {
        let file: Arc<File> = storage
            .open(path, OpenOptions::READ.with_direct(true))
            .map_err(|error| failed(&error))?;
        let mut reader = RawReader::new(file, 0, block_bytes, depth);
        while reader
            .next(&mut io)
            .map_err(|error| failed(&error))?
            .is_some()
        {}
    }
    Ok(watch.stop())
}
