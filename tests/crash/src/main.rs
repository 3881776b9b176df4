//! `trunkline-sim`: as many crashes on the simulated disk as asked for.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use trunkline_crash::{Case, Kind, Outcome, Place, Workload};

/// How often the progress line changes where nobody watches.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

/// Crashes Trunkline on a simulated disk, recovers it, and checks that nothing acknowledged is lost and
/// nothing is half there
#[derive(Debug, Parser)]
#[command(name = "trunkline-sim", version, about)]
struct Arguments {
    /// How many seeds to run
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first of them
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    first: u64,
    /// What the database does: everything, load, insert, tables, checkpoint, segments, units,
    /// unlogged, sessions, random; each of them if not given. Kind threads has one of its own
    #[arg(long, value_name = "NAME")]
    workload: Option<Workload>,
    /// What happens to it: power-cut, io-failure, threads; each of them if not given, without threads if a
    /// workload is
    #[arg(long, value_name = "NAME")]
    kind: Option<Kind>,
    /// At which moments of a seed's workload it happens, with a run each: "once", at one that the seed
    /// chooses; "every"; or a number K, at every Kth
    #[arg(long, value_name = "once|every|K", default_value = "once")]
    steps: Steps,
    /// At this moment instead: the step of the disk, or the number of the I/O among those that the seed
    /// has fail
    #[arg(long, value_name = "MOMENT", conflicts_with = "steps")]
    at: Option<u64>,
    /// How many runs at the same time
    #[arg(long, value_name = "J", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    jobs: u64,
}

#[derive(Clone, Copy, Debug)]
enum Steps {
    Once,
    Each(u64),
}

impl std::str::FromStr for Steps {
    type Err = String;

    fn from_str(text: &str) -> Result<Steps, String> {
        match text {
            "once" => Ok(Steps::Once),
            "every" => Ok(Steps::Each(1)),
            number => match number.parse() {
                Ok(stride) if stride > 0 => Ok(Steps::Each(stride)),
                _ => Err("\"once\", \"every\", or a number above 0 is expected".to_owned()),
            },
        }
    }
}

/// What is asked for.
fn select(
    kind: Option<Kind>,
    workload: Option<Workload>,
) -> Result<Vec<(Kind, Workload)>, &'static str> {
    if kind == Some(Kind::Threads) && workload.is_some() {
        return Err("kind threads has a workload of its own");
    }
    let kinds = kind.map_or(Kind::ALL.to_vec(), |kind| vec![kind]);
    let workloads = workload.map_or(Workload::ALL.to_vec(), |workload| vec![workload]);
    let mut selected = Vec::new();
    for kind in kinds {
        match kind {
            Kind::Threads if workload.is_some() => {}
            Kind::Threads => selected.push((kind, Workload::ALL[0])),
            _ => selected.extend(workloads.iter().map(|workload| (kind, *workload))),
        }
    }
    Ok(selected)
}

/// What comes next, and what came of what was done.
struct Runner {
    arguments: Arguments,
    selected: Vec<(Kind, Workload)>,
    /// Of all seeds with all that is selected, in turn.
    next: AtomicU64,
    failed: AtomicBool,
    runs: AtomicU64,
    leaked: AtomicU64,
    filled: AtomicU64,
    refused: AtomicU64,
    started: Instant,
    told: Mutex<Instant>,
}

impl Runner {
    fn new(arguments: Arguments, selected: Vec<(Kind, Workload)>) -> Runner {
        Runner {
            arguments,
            selected,
            next: AtomicU64::new(0),
            failed: AtomicBool::new(false),
            runs: AtomicU64::new(0),
            leaked: AtomicU64::new(0),
            filled: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            started: Instant::now(),
            told: Mutex::new(Instant::now()),
        }
    }

    /// Seeds go in turn through what is selected: each seed is run once with each.
    fn seed_of(&self, number: u64) -> (Kind, Workload, u64) {
        let selected = self.selected.len() as u64;
        let (kind, workload) = self.selected[(number % selected) as usize];
        let seed = self.arguments.first.wrapping_add(number / selected);
        (kind, workload, seed)
    }

    fn next_number(&self) -> Option<u64> {
        let total = self
            .arguments
            .seeds
            .saturating_mul(self.selected.len() as u64);
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number < total && !self.failed.load(Ordering::Relaxed)).then_some(number)
    }

    fn work(&self) {
        let place = Arc::new(Place::new());
        while let Some(number) = self.next_number() {
            let (kind, workload, seed) = self.seed_of(number);
            let case = |at| Case {
                kind,
                workload,
                seed,
                at,
            };
            match (self.arguments.at, self.arguments.steps) {
                (Some(at), _) => drop(self.run(case(at), &place)),
                (None, Steps::Each(stride)) => {
                    // Each seed has moments of its own.
                    let mut at = 1 + seed % stride;
                    while self
                        .run(case(at), &place)
                        .is_some_and(|outcome| outcome.struck)
                    {
                        at += stride;
                    }
                }
                (None, Steps::Once) => {
                    let case = std::panic::catch_unwind(|| Case::once(kind, workload, seed));
                    match case {
                        Ok(case) => drop(self.run(case, &place)),
                        Err(_) => self.fail(&Case::command(kind, workload, seed)),
                    }
                }
            }
        }
    }

    /// Runs a case; none if it failed, or another one has.
    fn run(&self, case: Case, place: &Arc<Place>) -> Option<Outcome> {
        if self.failed.load(Ordering::Relaxed) {
            return None;
        }
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| case.run(place)));
        let Ok(outcome) = outcome else {
            self.fail(&case.to_string());
            return None;
        };
        self.runs.fetch_add(1, Ordering::Relaxed);
        self.leaked
            .fetch_add(outcome.leaked as u64, Ordering::Relaxed);
        self.filled
            .fetch_add(outcome.filled as u64, Ordering::Relaxed);
        self.refused
            .fetch_add(outcome.refused as u64, Ordering::Relaxed);
        self.tell_progress(&case);
        Some(outcome)
    }

    fn fail(&self, command: &str) {
        self.failed.store(true, Ordering::Relaxed);
        eprintln!("\nFAILED; this repeats it:\n    {command}");
    }

    fn tell_progress(&self, case: &Case) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = std::io::stdout().lock();
        let runs = self.runs.load(Ordering::Relaxed);
        let line = format!(
            "{runs} runs in {:.0} s, seed {}, {} {}",
            self.started.elapsed().as_secs_f64(),
            case.seed,
            case.kind.name(),
            case.workload.name()
        );
        // A progress line that cannot be shown is none.
        let _ = if out.is_terminal() {
            write!(out, "\r{line}\x1b[K").and_then(|()| out.flush())
        } else if told.elapsed() >= PROGRESS_INTERVAL {
            *told = Instant::now();
            writeln!(out, "{line}")
        } else {
            Ok(())
        };
    }

    fn finish(&self) -> ExitCode {
        let count = |number: &AtomicU64| number.load(Ordering::Relaxed);
        println!(
            "\n{} runs in {:.1} s: {} statements refused, {} holes in the log filled, \
             {} files left without a table",
            count(&self.runs),
            self.started.elapsed().as_secs_f64(),
            count(&self.refused),
            count(&self.filled),
            count(&self.leaked)
        );
        match self.failed.load(Ordering::Relaxed) {
            true => ExitCode::FAILURE,
            false => ExitCode::SUCCESS,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let selected = select(arguments.kind, arguments.workload).unwrap_or_else(|why| {
        Arguments::command()
            .error(ErrorKind::ArgumentConflict, why)
            .exit()
    });
    let runner = Runner::new(arguments, selected);
    std::thread::scope(|scope| {
        for _ in 0..runner.arguments.jobs {
            scope.spawn(|| runner.work());
        }
    });
    runner.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_have_a_workload_of_their_own() {
        let all = select(None, None).unwrap();
        let of_threads = all.iter().filter(|(kind, _)| *kind == Kind::Threads);
        assert_eq!(of_threads.count(), 1);
        assert_eq!(all.len(), 2 * Workload::ALL.len() + 1);
        assert_eq!(select(Some(Kind::Threads), None).unwrap().len(), 1);
        let tables = "tables".parse().unwrap();
        assert_eq!(
            select(None, Some(tables)).unwrap(),
            [(Kind::PowerCut, tables), (Kind::IoFailure, tables)]
        );
        assert!(select(Some(Kind::Threads), Some(tables)).is_err());
    }

    #[test]
    fn what_repeats_a_failure_is_understood() {
        for (kind, workload) in select(None, None).unwrap() {
            let case = Case {
                kind,
                workload,
                seed: 7,
                at: 9,
            };
            for command in [case.to_string(), Case::command(kind, workload, 7)] {
                let arguments = Arguments::try_parse_from(command.split(' ')).unwrap();
                let selected = select(arguments.kind, arguments.workload).unwrap();
                assert_eq!(selected, [(kind, workload)], "{command}");
            }
        }
    }

    #[test]
    fn nothing_to_do_is_refused() {
        for option in ["--seeds", "--jobs"] {
            assert!(Arguments::try_parse_from(["trunkline-sim", option, "0"]).is_err());
        }
    }
}
