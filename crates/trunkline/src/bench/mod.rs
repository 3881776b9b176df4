//! `trunkline bench`: what this engine does on this machine, beside the raw device and, if wanted,
//! beside a PostgreSQL.
//!
//! Every figure is the median of repetitions that take turns (raw, ours, peer, raw, ...), because
//! disks and shared machines are noisy; minimum and maximum stand beside it. What counts is the
//! ratios within one run.
//!
//! | module | what |
//! |---|---|
//! | [`scan`] | count(*), cold beside the raw device and hot beside the peer |
//! | [`prewarm`] | pg_prewarm, cold beside the raw device |
//! | [`copy`], [`concurrent_copy`] | COPY FROM a binary file by one or several clients, beside the peer |
//! | [`checkpoint`] | a checkpoint of many dirty buffers, beside fio's writes |
//! | [`aio`] | the AIO core beside fio, and the cost of a handle |
//! | [`sync`] | ways of making a write durable, with one and several in flight |
//! | [`commit`] | durable single-row inserts, beside the raw device and the peer |
//! | [`checksum`] | the page checksum, in cache and in memory |
//! | [`source`] | the file that is loaded |
//! | [`embedded`], [`served`], [`peer`] | those that run statements |
//! | [`durable_write`] | durable writes of one block |
//! | [`raw`] | the fastest sequential read of a file that is to be had |
//! | [`processor_time`] | what a server's processes have used |
//! | [`work_directory`] | where it all happens |
//! | [`sample`] | times, processor time, medians |

mod aio;
mod checkpoint;
mod checksum;
mod commit;
mod concurrent_copy;
mod copy;
mod durable_write;
mod embedded;
mod peer;
mod prewarm;
mod processor_time;
mod raw;
mod sample;
mod scan;
mod served;
mod source;
mod sync;
mod work_directory;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::program_error::ProgramError;

/// Arguments of `trunkline bench`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// count(*): cold in MiB/s beside the raw device, hot in rows/s
    Scan(Common),
    /// pg_prewarm: cold in MiB/s beside the raw device
    Prewarm(Common),
    /// COPY FROM a binary file by one client: rows/s and MB/s
    Copy(Common),
    /// COPY FROM a binary file by several clients into tables of their own: files/s, and how even
    ConcurrentCopy(concurrent_copy::Arguments),
    /// A checkpoint of many dirty buffers: MiB/s beside fio's direct writes
    Checkpoint(checkpoint::Arguments),
    /// The AIO core beside fio: I/Os/s, MiB/s and processor time; a handle's life in ns
    Aio(aio::Arguments),
    /// Durable writes of one block: the ways to make them, with one and several in flight
    Sync(sync::Arguments),
    /// Single-row inserts, each durable: commits/s, latency, processor time
    Commit(commit::Arguments),
    /// The page checksum on one core: GB/s beside a plain loop and the memory
    Checksum(checksum::Arguments),
}

/// What all benchmarks take.
#[derive(Debug, Args)]
pub struct Common {
    /// Directory to work in; a data directory and a data file are made in it, and removed
    #[arg(short = 'D', long, default_value = "trunkline-bench")]
    directory: PathBuf,
    /// Rows of about 100 bytes to load
    #[arg(long, default_value_t = 5_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    rows: u64,
    /// Repetitions, of which the median counts
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    repetitions: u32,
    /// A PostgreSQL to measure beside, as a connection string: "host=127.0.0.1 user=postgres"
    #[arg(long, value_name = "CONNINFO")]
    peer: Option<String>,
    /// A directory that the peer's server can read, and how the server calls it if it sees it under
    /// another name; without it the peer's COPY reads from the connection
    #[arg(
        long,
        value_name = "DIRECTORY[=AS_SEEN_BY_THE_PEER]",
        requires = "peer"
    )]
    peer_files: Option<String>,
    /// A setting of the engine
    #[arg(short = 'c', value_name = "NAME=VALUE")]
    settings: Vec<String>,
}

/// Runs the benchmark.
///
/// # Errors
/// One line that says what went wrong.
pub fn run(arguments: Arguments) -> Result<ExitCode, ProgramError> {
    let runtime = crate::runtime::start()?;
    runtime.block_on(async {
        match arguments.what {
            What::Scan(common) => scan::run(&common).await,
            What::Prewarm(common) => prewarm::run(&common).await,
            What::Copy(common) => copy::run(&common).await,
            What::ConcurrentCopy(arguments) => concurrent_copy::run(&arguments).await,
            What::Checkpoint(arguments) => checkpoint::run(&arguments).await,
            What::Aio(arguments) => aio::run(&arguments),
            What::Sync(arguments) => sync::run(&arguments),
            What::Commit(arguments) => commit::run(&arguments).await,
            What::Checksum(arguments) => checksum::run(&arguments),
        }
    })?;
    Ok(ExitCode::SUCCESS)
}
