//! Times and processor times of repeated runs, and their medians.

use std::fmt;
use std::time::Instant;

/// One run's cost.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Elapsed time.
    pub seconds: f64,
    /// Processor time of this process, all its threads and the kernel's work for them.
    pub cpu_seconds: f64,
}

/// Measures from its making to [`Stopwatch::stop`].
pub struct Stopwatch {
    start: Instant,
    cpu_seconds: f64,
}

impl Stopwatch {
    /// Starts.
    pub fn start() -> Stopwatch {
        Stopwatch {
            start: Instant::now(),
            cpu_seconds: process_cpu_seconds(),
        }
    }

    /// Stops.
    pub fn stop(self) -> Sample {
        Sample {
            seconds: self.start.elapsed().as_secs_f64(),
            cpu_seconds: process_cpu_seconds() - self.cpu_seconds,
        }
    }
}

/// Repeated runs of one thing.
#[derive(Clone, Debug, Default)]
pub struct Series {
    samples: Vec<Sample>,
}

impl Series {
    /// Adds a run.
    pub fn push(&mut self, sample: Sample) {
        self.samples.push(sample);
    }

    /// The rate of `amount` a run, as median, minimum and maximum.
    pub fn rate(&self, amount: f64) -> Rate {
        let rates = sorted(self.samples.iter().map(|sample| amount / sample.seconds));
        Rate {
            median: median(&rates),
            min: first(&rates),
            max: first_of_reversed(&rates),
        }
    }

    /// The median of the processor seconds for one unit of which a run has `amount`.
    pub fn cpu_seconds_per(&self, amount: f64) -> f64 {
        median(&sorted(
            self.samples
                .iter()
                .map(|sample| sample.cpu_seconds / amount),
        ))
    }
}

/// A rate: median, minimum, maximum.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// The median.
    pub median: f64,
    /// The slowest.
    pub min: f64,
    /// The fastest.
    pub max: f64,
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = if self.median < 10.0 {
            2
        } else if self.median < 100.0 {
            1
        } else {
            0
        };
        let Rate { median, min, max } = self;
        let shown = format!("{median:.digits$} [{min:.digits$}..{max:.digits$}]");
        write!(f, "{shown:>22}")
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn first(values: &[f64]) -> f64 {
    values.first().copied().unwrap_or(f64::NAN)
}

fn first_of_reversed(values: &[f64]) -> f64 {
    values.last().copied().unwrap_or(f64::NAN)
}

/// The median of values in any order.
pub fn median_of(values: impl IntoIterator<Item = f64>) -> f64 {
    median(&sorted(values.into_iter()))
}

/// The mean of values, and their standard deviation.
pub fn mean_and_deviation(values: impl IntoIterator<Item = f64>) -> (f64, f64) {
    let values: Vec<f64> = values.into_iter().collect();
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (squares / (count - 1.0)).sqrt())
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// Processor seconds that this process has used (`/proc/self/stat`, in hundredths).
fn process_cpu_seconds() -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Fields are counted after the name, which stands in parentheses and may hold anything.
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
    (ticks(11).unwrap_or(0.0) + ticks(12).unwrap_or(0.0)) / TICKS_PER_SECOND
}

/// The most memory that this process has had resident, in MiB, since [`reset_peak_memory`].
pub fn peak_memory_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap_or_default();
    let kib = line
        .split_whitespace()
        .nth(1)
        .and_then(|field| field.parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) / 1024.0
}

/// Makes the peak start again from what is resident now.
pub fn reset_peak_memory() {
    // Where it is not allowed, the peak of the whole run is shown, which is no less.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_counts() {
        assert_eq!(median(&[1.0, 2.0, 9.0]), 2.0);
        assert_eq!(median(&[1.0, 2.0, 4.0, 9.0]), 3.0);
        let mut series = Series::default();
        for seconds in [2.0, 1.0, 4.0] {
            series.push(Sample {
                seconds,
                cpu_seconds: seconds,
            });
        }
        let rate = series.rate(8.0);
        assert_eq!((rate.median, rate.min, rate.max), (4.0, 2.0, 8.0));
        assert_eq!(series.cpu_seconds_per(2.0), 1.0);
    }
}
