//! One run, and the command that repeats it.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::choice::Choice;
use crate::io_failure;
use crate::machine::Place;
use crate::power_cut;
use crate::threads;
use crate::watchdog::within_limit;
use crate::workload::Workload;

/// A name that is not one of those that there are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParseNameError(String);

impl ParseNameError {
    pub(crate) fn new(what: &str, name: &str, names: &[&str]) -> ParseNameError {
        ParseNameError(format!(
            "no {what} \"{name}\"; there are {}",
            names.join(", ")
        ))
    }
}

impl fmt::Display for ParseNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ParseNameError {}

/// What happens to the database.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// The power fails before a step of the disk.
    PowerCut,
    /// An I/O fails, at its nth occurrence or from there on.
    IoFailure,
    /// The power fails while threads commit beside each other. The seed does not decide everything.
    Threads,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 3] = [Kind::PowerCut, Kind::IoFailure, Kind::Threads];

    /// As the command names it.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::PowerCut => "power-cut",
            Kind::IoFailure => "io-failure",
            Kind::Threads => "threads",
        }
    }
}

impl FromStr for Kind {
    type Err = ParseNameError;

    fn from_str(name: &str) -> Result<Kind, ParseNameError> {
        let mut all = Kind::ALL.into_iter();
        all.find(|kind| kind.name() == name)
            .ok_or_else(|| ParseNameError::new("kind", name, &Kind::ALL.map(Kind::name)))
    }
}

/// One run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Case {
    /// What happens.
    pub kind: Kind,
    /// During what; threads have a workload of their own.
    pub workload: Workload,
    /// Decides what else there is to decide.
    pub seed: u64,
    /// When it happens: the step, counted from the beginning of the workload, or the number of the I/O
    /// among those that the seed has fail, counted from 1.
    pub at: u64,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let command = Case::command(self.kind, self.workload, self.seed);
        write!(f, "{command} --at {}", self.at)
    }
}

/// How a run went that found nothing wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Outcome {
    /// It happened before the workload was over.
    pub struck: bool,
    /// Holes in the log that were filled up to what a crash had left behind them.
    pub filled: usize,
    /// Statements that failed while the engine went on.
    pub refused: usize,
    /// Relations that have files and are no table's.
    pub leaked: usize,
}

impl Case {
    /// What runs this seed, at the moment that it chooses.
    pub fn command(kind: Kind, workload: Workload, seed: u64) -> String {
        let what = match kind {
            // They have their own.
            Kind::Threads => String::new(),
            _ => format!(" --workload {}", workload.name()),
        };
        format!(
            "trunkline-sim --kind {}{what} --first {seed} --seeds 1",
            kind.name()
        )
    }

    /// The case of a seed, at a moment that it chooses.
    pub fn once(kind: Kind, workload: Workload, seed: u64) -> Case {
        let length = length(kind, workload, seed).max(1);
        let at = Choice::new(seed, "moment").below(length) + 1;
        Case {
            kind,
            workload,
            seed,
            at,
        }
    }

    /// Runs it.
    ///
    /// # Panics
    /// Something is wrong with the database afterwards, or it does not end.
    pub fn run(self, place: &Arc<Place>) -> Outcome {
        let place = Arc::clone(place);
        within_limit(move || match self.kind {
            Kind::PowerCut => power_cut::run(&place, self),
            Kind::IoFailure => io_failure::run(&place, self),
            Kind::Threads => threads::run(&place, self),
        })
    }
}

/// About how many moments there are, measured once for all seeds that differ little.
fn length(kind: Kind, workload: Workload, seed: u64) -> u64 {
    type Lengths = HashMap<(Kind, Workload, u64), u64>;
    static MEASURED: Mutex<Option<Lengths>> = Mutex::new(None);
    let class = match kind {
        Kind::IoFailure => seed % io_failure::CLASSES,
        Kind::PowerCut => 0,
        Kind::Threads => return threads::STEPS,
    };
    let mut measured = MEASURED.lock().unwrap_or_else(PoisonError::into_inner);
    let lengths = measured.get_or_insert_default();
    *lengths.entry((kind, workload, class)).or_insert_with(|| {
        within_limit(move || {
            let place = Place::new();
            match kind {
                Kind::IoFailure => io_failure::length(&place, workload, class),
                _ => power_cut::length(&place, workload, class),
            }
        })
    })
}
