//! `bench sync`: which way of making a block of the log durable is the fastest here, with one and with
//! several in flight. PostgreSQL's `pg_test_fsync`, with depth.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::durable_write::{BLOCK_BYTES, DurableWrites, Rate, Way};
use super::sample::median_of;
use crate::program_error::ProgramError;

/// Arguments of `bench sync`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Directory to work in; a file is made in it, and removed
    #[arg(short = 'D', long, default_value = "trunkline-bench")]
    directory: PathBuf,
    /// Writes in flight
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8,16,32", value_parser = clap::value_parser!(u32).range(1..=1024))]
    depths: Vec<u32>,
    /// Seconds of one measurement
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
    /// Repetitions, of which the median counts; all ways take turns
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=100))]
    repetitions: u32,
}

/// Runs the benchmark and prints its figures.
///
/// # Errors
/// One line.
pub fn run(arguments: &Arguments) -> Result<(), ProgramError> {
    if !(arguments.seconds > 0.0 && arguments.seconds <= 3600.0) {
        return Err(ProgramError::new(
            "--seconds must be more than 0 and at most 3600".to_owned(),
        ));
    }
    let directory = &arguments.directory;
    std::fs::create_dir_all(directory)
        .map_err(|error| ProgramError::new(format!("{}: {error}", directory.display())))?;
    let measured = measure(arguments);
    // Only if nothing else is in it.
    let _ = std::fs::remove_dir(directory);
    measured
}

fn measure(arguments: &Arguments) -> Result<(), ProgramError> {
    let writes = DurableWrites::make(&arguments.directory.join("sync-bench.data"))?;
    let ways = writes.ways();
    let time = Duration::from_secs_f64(arguments.seconds);
    println!(
        "sync: direct writes of {BLOCK_BYTES} bytes, one after the other, {} repetitions of {} s: median",
        arguments.repetitions, arguments.seconds,
    );
    let mut runs: Vec<Rate> = Vec::new();
    let mut fastest = None;
    for &depth in &arguments.depths {
        let depth = depth as usize;
        runs.clear();
        for _ in 0..arguments.repetitions {
            for &way in &ways {
                runs.push(writes.measure(way, depth, time)?);
            }
        }
        let of = |way: Way, value: fn(&Rate) -> f64| {
            median_of(runs.iter().filter(|run| run.way == way).map(value))
        };
        for &way in &ways {
            let rate = of(way, |run| run.writes_per_second);
            let latency = of(way, |run| run.latency_us);
            println!("depth {depth:>4}  {way:<14} {rate:>9.0} writes/s {latency:>9.1} us each");
            let is_faster = fastest.is_none_or(|(_, best)| latency < best);
            if depth == 1 && Way::OURS.contains(&way) && is_faster {
                fastest = Some((way, latency));
            }
        }
    }
    if let Some((way, _)) = fastest {
        println!("the fastest for one commit at a time: wal_sync_method = {way}");
    }
    Ok(())
}
