//! `bench aio`: the AIO core beside fio, with the same method, block size, depth and direct flag; and
//! what a handle's life costs.
//!
//! | module | what |
//! |---|---|
//! | [`workload`] | what is measured, and the core doing it |
//! | [`fio`] | fio doing the same |
//! | [`handle_life`] | no-ops, from acquiring a handle to taking it back |

mod fio;
mod handle_life;
mod workload;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use trunkline_aio::{
    Aio, AioConfig, AlignedBuf, MethodKind, OpenOptions, OsStorage, RawWriter, Storage,
};

pub use self::fio::Fio;
pub use self::workload::Workload;
use self::workload::{Run, WORKLOADS};
use super::sample::median_of;
use crate::program_error::ProgramError;

/// Arguments of `bench aio`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Directory to work in; a file is made in it, and removed
    #[arg(short = 'D', long, default_value = "trunkline-bench")]
    directory: PathBuf,
    /// Size of the file, in MiB
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(64..=1_048_576))]
    file_mib: u32,
    /// Seconds of one measurement
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Repetitions, of which the median counts; the core and fio take turns, and take turns at being
    /// first
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    repetitions: u32,
    /// The methods to measure
    #[arg(long, value_delimiter = ',', default_value = "io_uring")]
    methods: Vec<MethodKind>,
}

/// All runs of one workload.
struct Contest {
    method: MethodKind,
    workload: &'static Workload,
    core: Vec<Run>,
    fio: Vec<Run>,
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
    let time = Duration::from_secs_f64(arguments.seconds);
    std::fs::create_dir_all(&arguments.directory)
        .map_err(|error| failed(&arguments.directory, &error))?;
    let path = arguments.directory.join("aio-bench.data");
    let result = measure(arguments, &path, time);
    let removed = std::fs::remove_file(&path);
    // Only if nothing else is in it.
    let _ = std::fs::remove_dir(&arguments.directory);
    result?;
    removed.map_err(|error| failed(&path, &error))
}

fn measure(arguments: &Arguments, path: &Path, time: Duration) -> Result<(), ProgramError> {
    let file_bytes = u64::from(arguments.file_mib) << 20;
    make_file(path, file_bytes).map_err(|error| failed(path, &error))?;
    let fio = Fio::find();
    println!(
        "aio: file of {} MiB, {} repetitions of {} s: median; fio: {}",
        arguments.file_mib,
        arguments.repetitions,
        arguments.seconds,
        fio.as_ref().map_or("not installed", Fio::version),
    );
    let mut contests: Vec<Contest> = arguments
        .methods
        .iter()
        .flat_map(|&method| {
            let workloads = WORKLOADS.iter().filter(move |load| load.suits(method));
            workloads.map(move |workload| Contest {
                method,
                workload,
                core: Vec::new(),
                fio: Vec::new(),
            })
        })
        .collect();
    for repetition in 0..arguments.repetitions {
        for contest in &mut contests {
            let (method, workload) = (contest.method, contest.workload);
            let core = || workload::run(workload, method, path, file_bytes, time);
            let peer = || match &fio {
                Some(fio) => fio.run(workload, method, path, file_bytes, time).map(Some),
                None => Ok(None),
            };
            let (core, peer) = if repetition % 2 == 0 {
                let core = core()?;
                (core, peer()?)
            } else {
                let peer = peer()?;
                (core()?, peer)
            };
            contest.core.push(core);
            contest.fio.extend(peer);
        }
    }
    for contest in &contests {
        print(contest);
    }
    println!();
    handle_life::run(&arguments.methods, arguments.repetitions)
}

fn print(contest: &Contest) {
    let workload = contest.workload;
    let core_rate = median_of(contest.core.iter().map(Run::bytes_per_second));
    let core_cpu = median_of(
        contest
            .core
            .iter()
            .map(|run| run.cpu_us_per(workload.io_bytes)),
    );
    let shown = |rate: f64| {
        let mib = rate / (1 << 20) as f64;
        format!(
            "{:>9.0} ops/s {mib:>7.0} MiB/s",
            rate / workload.io_bytes as f64
        )
    };
    print!(
        "{:<9} {:<34} {} {core_cpu:>6.1} us CPU",
        contest.method.name(),
        workload.name,
        shown(core_rate),
    );
    if workload.combined_bytes.is_some() {
        let combined = median_of(contest.core.iter().map(|run| run.combined));
        print!("   {combined:.1} I/Os an operation");
    }
    if contest.fio.is_empty() {
        println!();
        return;
    }
    let fio_rate = median_of(contest.fio.iter().map(Run::bytes_per_second));
    let fio_cpu = median_of(
        contest
            .fio
            .iter()
            .map(|run| run.cpu_us_per(workload.io_bytes)),
    );
    // Of the pairs, since a disk that is shared is fast one second and slow the next: a pair's two runs
    // follow one another.
    let pairs = || contest.core.iter().zip(&contest.fio);
    let rate =
        median_of(pairs().map(|(core, fio)| core.bytes_per_second() / fio.bytes_per_second()));
    let cpu =
        median_of(pairs().map(|(core, fio)| {
            core.cpu_us_per(workload.io_bytes) / fio.cpu_us_per(workload.io_bytes)
        }));
    println!(
        "   fio {} {fio_cpu:>6.1} us CPU   {rate:.2} of fio's rate, {cpu:.2} of its CPU",
        shown(fio_rate),
    );
}

/// A file with every block written, so that no read finds a hole.
pub fn make_file(path: &Path, file_bytes: u64) -> std::io::Result<()> {
    const CHUNK_BYTES: usize = 1 << 20;
    let aio = Aio::start(AioConfig {
        max_issuers: 1,
        ..AioConfig::default()
    })
    .map_err(std::io::Error::other)?;
    let mut io = aio.issuer(0)?;
    let file = OsStorage::new().open(path, OpenOptions::OVERWRITE.with_direct(true))?;
    let mut chunk = AlignedBuf::zeroed(CHUNK_BYTES);
    let mut random = fastrand::Rng::with_seed(1);
    let mut writer = RawWriter::new(Arc::clone(&file), 0, CHUNK_BYTES, 8);
    for _ in 0..file_bytes / CHUNK_BYTES as u64 {
        random.fill(&mut chunk);
        writer.write_all(&mut io, &chunk)?;
    }
    writer.finish(&mut io)?;
    io.fsync(&file)
}

fn failed(path: &Path, error: &dyn std::fmt::Display) -> ProgramError {
    ProgramError::new(format!("{}: {error}", path.display()))
}
