//! The log: lines on standard error that look like PostgreSQL's.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::Utc;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, filter_fn};
use tracing_subscriber::fmt::format::Writer as LineWriter;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};

use crate::program_error::ProgramError;

/// What is logged if `RUST_LOG` asks for nothing.
#[derive(Debug, Clone, Copy)]
pub enum Verbosity<'a> {
    /// A server's life, as `log_min_messages` says.
    Server {
        /// The setting's value.
        log_min_messages: &'a str,
    },
    /// Only errors: what somebody at a terminal cannot see from results.
    Errors,
}

/// Starts logging: what `RUST_LOG` asks for, if it is set, else what `verbosity` says. The latter
/// is held back until [`HeldLog::release`]: a program that cannot even start
/// says why, and nothing else.
///
/// # Errors
/// `RUST_LOG` cannot be understood.
pub fn start(verbosity: Verbosity<'_>) -> Result<HeldLog, ProgramError> {
    let held = HeldLog {
        lines: Arc::new(Mutex::new(Some(Vec::new()))),
    };
    let writer = held.clone();
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(move || writer.clone())
        .event_format(PostgresFormat);
    match std::env::var("RUST_LOG") {
        Ok(directives) if !directives.is_empty() => {
            held.release();
            let filter = EnvFilter::try_new(&directives)
                .map_err(|error| ProgramError::new(format!("RUST_LOG: {error}")))?;
            install(Registry::default().with(layer.with_filter(filter)))?;
        }
        _ => {
            let threshold = match verbosity {
                Verbosity::Server { log_min_messages } => Threshold::new(log_min_messages),
                Verbosity::Errors => Threshold::ERRORS,
            };
            let filter = filter_fn(move |metadata| threshold.admits(metadata))
                .with_max_level_hint(threshold.most_verbose());
            install(Registry::default().with(layer.with_filter(filter)))?;
        }
    }
    Ok(held)
}

fn install(subscriber: impl Subscriber + Send + Sync) -> Result<(), ProgramError> {
    tracing::subscriber::set_global_default(subscriber)
        .map_err(|error| ProgramError::new(format!("could not start logging: {error}")))
}

/// Where log lines go: held back at first, then to standard error.
#[derive(Debug, Clone)]
pub struct HeldLog {
    /// None once they are no longer held back.
    lines: Arc<Mutex<Option<Vec<u8>>>>,
}

impl HeldLog {
    /// Writes what was held back, and from now on every line at once.
    pub fn release(&self) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = lines.take() {
            // There is nowhere to tell of a log that cannot be written.
            let _ = io::stderr().write_all(&held);
        }
    }
}

impl Write for HeldLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *lines {
            Some(held) => held.write(bytes),
            None => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// PostgreSQL's word for an event's level.
fn severity(level: &Level) -> &'static str {
    match *level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "LOG",
        Level::DEBUG => "DEBUG1",
        Level::TRACE => "DEBUG5",
    }
}

/// Which of the levels that there are is shown. In a server's log LOG ranks above ERROR
/// (`is_log_level_output` in elog.c), so that `log_min_messages = error` still shows what the
/// server does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Threshold {
    debug5: bool,
    debug1: bool,
    warning: bool,
    error: bool,
    log: bool,
}

impl Threshold {
    const ERRORS: Threshold = Threshold {
        debug5: false,
        debug1: false,
        warning: false,
        error: true,
        log: false,
    };

    /// Those at or above `log_min_messages`.
    fn new(log_min_messages: &str) -> Threshold {
        const RANKS: [&str; 12] = [
            "debug5", "debug4", "debug3", "debug2", "debug1", "info", "notice", "warning", "error",
            "log", "fatal", "panic",
        ];
        let rank_of = |word: &str| RANKS.iter().position(|rank| *rank == word);
        let least = rank_of(log_min_messages).or_else(|| rank_of("warning"));
        let shows = |word: &str| rank_of(word) >= least;
        Threshold {
            debug5: shows("debug5"),
            debug1: shows("debug1"),
            warning: shows("warning"),
            error: shows("error"),
            log: shows("log"),
        }
    }

    fn shows(self, level: &Level) -> bool {
        match *level {
            Level::ERROR => self.error,
            Level::WARN => self.warning,
            Level::INFO => self.log,
            Level::DEBUG => self.debug1,
            Level::TRACE => self.debug5,
        }
    }

    fn most_verbose(self) -> Level {
        [Level::TRACE, Level::DEBUG, Level::INFO, Level::WARN]
            .into_iter()
            .find(|level| self.shows(level))
            .unwrap_or(Level::ERROR)
    }

    /// Debug output of the libraries below is `RUST_LOG`'s affair.
    fn admits(self, metadata: &Metadata<'_>) -> bool {
        let is_ours = metadata.target().starts_with("trunkline");
        self.shows(metadata.level()) && (is_ours || *metadata.level() <= Level::WARN)
    }
}

/// `2026-01-02 03:04:05.678 UTC [1234] LOG:  message`.
struct PostgresFormat;

impl<S, N> FormatEvent<S, N> for PostgresFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: LineWriter<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        write!(
            writer,
            "{} UTC [{}] {}:  ",
            Utc::now().format("%Y-%m-%d %H:%M:%S%.3f"),
            std::process::id(),
            severity(event.metadata().level())
        )?;
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_the_setting_is_known() {
        let definition = trunkline_engine::settings::definitions()
            .iter()
            .find(|definition| definition.name == "log_min_messages")
            .unwrap();
        let thresholds: Vec<_> = definition
            .words
            .iter()
            .map(|word| Threshold::new(word))
            .collect();
        for (word, threshold) in definition.words.iter().zip(&thresholds) {
            let is_default = *threshold == Threshold::new("warning");
            assert_eq!(
                is_default,
                ["info", "notice", "warning"].contains(word),
                "{word}"
            );
        }
    }

    #[test]
    fn log_ranks_above_error() {
        let shown = |setting: &str| {
            let threshold = Threshold::new(setting);
            [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG]
                .into_iter()
                .filter(|level| threshold.shows(level))
                .map(|level| severity(&level))
                .collect::<Vec<_>>()
        };
        assert_eq!(shown("warning"), ["ERROR", "WARNING", "LOG"]);
        assert_eq!(shown("error"), ["ERROR", "LOG"]);
        assert_eq!(shown("log"), ["LOG"]);
        assert_eq!(shown("fatal"), [""; 0]);
        assert_eq!(shown("debug1"), ["ERROR", "WARNING", "LOG", "DEBUG1"]);
    }
}
