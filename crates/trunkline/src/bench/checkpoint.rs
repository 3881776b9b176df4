//! `bench checkpoint`: CHECKPOINT with many dirty buffers, beside fio's direct writes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use trunkline_aio::MethodKind;
use trunkline_buffer::RelFork;
use trunkline_pgformat::{BLCKSZ, ForkNumber};
use trunkline_txn::LockMode;

use super::Common;
use super::aio::{Fio, Workload, make_file};
use super::embedded::Embedded;
use super::sample::{Sample, Series};
use crate::program_error::ProgramError;

const MIB: f64 = 1024.0 * 1024.0;

/// Loads of one file that fill the table: a smaller file takes less room.
const LOADS: u64 = 8;

/// What a row of the source file takes in the table, in bytes, page headers included.
const ROW_BYTES: u64 = 109;

/// Ways to write, each with bytes of a write and depth.
const WAYS: &[(usize, usize)] = &[(128 << 10, 32), (256 << 10, 16), (1 << 20, 8)];

/// How long fio writes in each way.
const FIO_TIME: Duration = Duration::from_secs(2);

/// Arguments of `bench checkpoint`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Directory to work in; a data directory and files are made in it, and removed
    #[arg(short = 'D', long, default_value = "trunkline-bench")]
    directory: PathBuf,
    /// Dirty buffers, in MiB; shared_buffers has to hold them
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u32).range(64..=1_048_576))]
    mib: u32,
    /// Repetitions, of which the median counts; checkpoints and fio take turns
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    repetitions: u32,
    /// A setting of the engine
    #[arg(short = 'c', value_name = "NAME=VALUE")]
    settings: Vec<String>,
}

/// Runs the benchmark and prints its figures.
///
/// # Errors
/// One line.
pub async fn run(arguments: &Arguments) -> Result<(), ProgramError> {
    let bytes = u64::from(arguments.mib) << 20;
    let mut ours = Embedded::start(&Common {
        directory: arguments.directory.clone(),
        rows: bytes / ROW_BYTES / LOADS,
        repetitions: arguments.repetitions,
        peer: None,
        peer_files: None,
        settings: arguments.settings.clone(),
    })
    .await?;
    let buffers = ours.database().pool().buffers();
    if ((buffers * BLCKSZ) as u64) < bytes {
        return Err(ProgramError::new(format!(
            "shared_buffers has {buffers} buffers, which do not hold {} MiB",
            arguments.mib
        )));
    }
    println!("checkpoint: {}", ours.heading().await?);
    let copy = format!(
        "COPY t FROM '{}' (FORMAT binary)",
        ours.source.path.display()
    );
    for _ in 0..LOADS {
        ours.run(&copy).await?;
    }
    let buffers_before = ours.database().checkpointer_stats().buffers_written;
    let path = arguments.directory.join("fio.data");
    let fio = Fio::find();
    if fio.is_some() {
        make_file(&path, bytes)
            .map_err(|error| ProgramError::new(format!("{}: {error}", path.display())))?;
    }
    let mut checkpoints = Series::default();
    let mut fios: Vec<Series> = vec![Series::default(); WAYS.len()];
    let mut table_bytes = 0;
    for _ in 0..arguments.repetitions {
        table_bytes = dirty_table(&mut ours).await?;
        let (sample, _) = ours.timed("CHECKPOINT").await?;
        checkpoints.push(sample);
        if let Some(fio) = &fio {
            for (way, series) in WAYS.iter().zip(&mut fios) {
                series.push(write(fio, *way, &path, bytes)?);
            }
        }
    }
    let buffers = ours.database().checkpointer_stats().buffers_written - buffers_before;
    println!(
        "{} repetitions: median [min..max]; {:.0} buffers written by a checkpoint",
        arguments.repetitions,
        buffers as f64 / f64::from(arguments.repetitions)
    );
    let rate = checkpoints.rate(table_bytes as f64 / MIB);
    println!(
        "{:<34} {rate} MiB/s  {:.2} CPU s/GiB",
        "checkpoint",
        checkpoints.cpu_seconds_per(table_bytes as f64 / MIB / 1024.0)
    );
    let mut best: f64 = 0.0;
    for ((block_bytes, depth), series) in WAYS.iter().zip(&fios).filter(|_| fio.is_some()) {
        let rate = series.rate(bytes as f64 / MIB);
        let name = format!("fio, writes of {} kB, depth {depth}", block_bytes >> 10);
        println!("{name:<34} {rate} MiB/s");
        best = best.max(rate.median);
    }
    if fio.is_some() {
        println!("checkpoint: {:.2} of fio's fastest", rate.median / best);
    }
    ours.finish().await
}

/// What writing `bytes` takes at the rate of a while.
fn write(
    fio: &Fio,
    (io_bytes, depth): (usize, usize),
    path: &Path,
    bytes: u64,
) -> Result<Sample, ProgramError> {
    let workload = Workload {
        name: "writes",
        is_write: true,
        is_random: false,
        io_bytes,
        depth,
        combined_bytes: None,
        is_dsync: false,
    };
    let run = fio.run(&workload, MethodKind::IoUring, path, bytes, FIO_TIME)?;
    Ok(Sample {
        seconds: bytes as f64 / run.bytes_per_second(),
        cpu_seconds: run.cpu_seconds * bytes as f64 / run.bytes as f64,
    })
}

/// Has every block of the table in a buffer, and dirty; their bytes.
async fn dirty_table(ours: &mut Embedded) -> Result<u64, ProgramError> {
    ours.run("SELECT pg_prewarm('t', 'buffer')").await?;
    let database = std::sync::Arc::clone(ours.database());
    let dirtied = tokio::task::spawn_blocking(move || -> Result<u64, ProgramError> {
        let failed = |error: &dyn std::fmt::Display| ProgramError::new(error.to_string());
        let mut session = database
            .session("postgres", &[])
            .map_err(|error| failed(&error))?;
        session.begin_statement().map_err(|error| failed(&error))?;
        let mut io = session.issuer().map_err(|error| failed(&error))?;
        let relation = session
            .open_relation(None, "t", LockMode::AccessShare, &mut io)
            .map_err(|error| failed(&error))?;
        let fork = RelFork::new(relation.locator, ForkNumber::Main);
        let pool = database.pool();
        let blocks = pool.nblocks(fork).map_err(|error| failed(&error))?;
        for block in 0..blocks {
            let buffer = pool
                .read(&mut io, fork, block, None)
                .map_err(|error| failed(&error))?;
            buffer.exclusive().mark_dirty();
        }
        session.sync().map_err(|error| failed(&error))?;
        Ok(u64::from(blocks) * BLCKSZ as u64)
    });
    dirtied
        .await
        .map_err(|error| ProgramError::new(error.to_string()))?
}
