//! `trunkline-kill`: kills a server under load as often as asked for.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use trunkline_harness::programs;
use trunkline_kill::{Options, Report};

/// How often the progress line changes where nobody watches.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

/// Kills a Trunkline server under load, starts it again, and checks that nothing acknowledged is lost and
/// nothing is half there
#[derive(Debug, Parser)]
#[command(name = "trunkline-kill", version, about)]
struct Arguments {
    /// The server: the program `trunkline`
    #[arg(
        long,
        value_name = "PROGRAM",
        default_value = "target/release/trunkline"
    )]
    server: PathBuf,
    /// Chooses what clients do, when the server is killed, and its settings; the clock's if not given
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// How many times the server is killed, or now and then stopped
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// How many clients work at a time, each on two connections
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1000))]
    clients: u16,
    /// The longest time in milliseconds that they work before the server is killed
    #[arg(long, value_name = "MS", default_value_t = 1500)]
    longest_ms: u64,
    /// Where the data directory and logs are, missing or empty; a temporary one if not given
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Leaves the directory where it is after a success, too
    #[arg(long)]
    keep: bool,
    /// The directory of PostgreSQL 18's programs, which look at the files; what `tools/judge bin` says if
    /// not given
    #[arg(long, value_name = "DIR", conflicts_with = "no_judge")]
    judge: Option<PathBuf>,
    /// Does without them
    #[arg(long)]
    no_judge: bool,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("trunkline-kill: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), String> {
    let directory = match arguments.directory {
        Some(directory) => directory,
        None => {
            let new = tempfile::Builder::new().prefix("trunkline-kill-").tempdir();
            new.map_err(|error| error.to_string())?.keep()
        }
    };
    if std::fs::read_dir(&directory).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(format!("{} is not empty", directory.display()));
    }
    let judge = match (arguments.judge, arguments.no_judge) {
        (None, false) => programs().ok(),
        (judge, _) => judge,
    };
    if judge.is_none() {
        println!("PostgreSQL's programs do not look at the files");
    }
    let options = Options {
        server: arguments.server,
        directory: directory.clone(),
        seed: arguments.seed.unwrap_or_else(|| fastrand::u64(..1 << 32)),
        rounds: arguments.rounds,
        clients: arguments.clients.into(),
        longest_ms: arguments.longest_ms,
        judge,
    };
    println!("seed {}, in {}", options.seed, directory.display());
    let mut told = Instant::now();
    let result = trunkline_kill::run(&options, |report| tell(report, &mut told));
    match result {
        Ok(report) => {
            println!("\n{report}");
            for (name, has) in ["UPDATE", "DELETE"]
                .iter()
                .zip(report.has_update_and_delete)
            {
                if !has {
                    println!("without {name}, which the server does not support");
                }
            }
            if !arguments.keep {
                std::fs::remove_dir_all(&directory).map_err(|error| error.to_string())?;
            }
            Ok(())
        }
        Err(failure) => Err(format!(
            "FAILED with seed {}: {failure}\n{} is kept",
            options.seed,
            directory.display()
        )),
    }
}

fn tell(report: &Report, told: &mut Instant) {
    let mut out = std::io::stdout().lock();
    // A progress line that cannot be shown is none.
    let _ = if out.is_terminal() {
        write!(out, "\r{report}\x1b[K").and_then(|()| out.flush())
    } else if told.elapsed() >= PROGRESS_INTERVAL {
        *told = Instant::now();
        writeln!(out, "{report}")
    } else {
        Ok(())
    };
}
