//! Progress of a statement that runs long, on a terminal.
//!
//! What is shown comes from the counters of the shell's own COPY data and rows, and from the
//! buffer pool's: the shell's session is the only one, so what the pool does is its statement's.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use trunkline_engine::Database;
use trunkline_pgformat::BLCKSZ;

/// A statement shows nothing before that.
const DELAY: Duration = Duration::from_secs(1);

const INTERVAL: Duration = Duration::from_millis(100);

/// What a statement has done so far.
#[derive(Debug, Default)]
struct Counts {
    rows: AtomicU64,
    copied_bytes: AtomicU64,
}

/// A statement's progress. Dropping it clears the line.
pub struct Progress {
    counts: Arc<Counts>,
    bar: Arc<Mutex<Bar>>,
}

enum Bar {
    Waiting,
    Shown(ProgressBar),
    Over,
}

impl Progress {
    /// A statement begins. `total_bytes` of COPY data are to come, if that is known. To be called
    /// on the runtime.
    pub fn begin(database: &Arc<Database>, total_bytes: Option<u64>) -> Progress {
        let counts = Arc::new(Counts::default());
        let is_shown = std::io::stderr().is_terminal();
        let bar = Arc::new(Mutex::new(if is_shown { Bar::Waiting } else { Bar::Over }));
        if is_shown {
            let ticker = Ticker {
                database: Arc::clone(database),
                counts: Arc::clone(&counts),
                bar: Arc::clone(&bar),
                begun: Instant::now(),
                blocks_before: BlockCounts::now(database),
                total_bytes,
            };
            tokio::spawn(ticker.run());
        }
        Progress { counts, bar }
    }

    /// Rows have come.
    pub fn add_rows(&self, rows: u64) {
        self.counts.rows.fetch_add(rows, Ordering::Relaxed);
    }

    /// COPY data has gone by.
    pub fn add_copied_bytes(&self, bytes: u64) {
        self.counts.copied_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Clears the line, for good: something is to be printed.
    pub fn end(&self) {
        let mut bar = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        if let Bar::Shown(shown) = &*bar {
            shown.finish_and_clear();
        }
        *bar = Bar::Over;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

/// Blocks that the pool found, read and added.
#[derive(Debug, Clone, Copy)]
struct BlockCounts {
    scanned: u64,
    extended: u64,
}

impl BlockCounts {
    fn now(database: &Database) -> BlockCounts {
        let stats = database.pool().stats();
        BlockCounts {
            scanned: stats.hits + stats.joined + stats.read_blocks,
            extended: stats.extended_blocks,
        }
    }
}

struct Ticker {
    database: Arc<Database>,
    counts: Arc<Counts>,
    bar: Arc<Mutex<Bar>>,
    begun: Instant,
    blocks_before: BlockCounts,
    total_bytes: Option<u64>,
}

impl Ticker {
    async fn run(self) {
        tokio::time::sleep(DELAY).await;
        loop {
            {
                let mut bar = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
                match &*bar {
                    Bar::Over => return,
                    Bar::Waiting => {
                        let shown = self.new_bar();
                        self.update(&shown);
                        *bar = Bar::Shown(shown);
                    }
                    Bar::Shown(shown) => self.update(shown),
                }
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    fn new_bar(&self) -> ProgressBar {
        let target = ProgressDrawTarget::stderr();
        let (bar, template) = match self.total_bytes {
            Some(total) => (
                ProgressBar::with_draw_target(Some(total), target),
                "{wide_bar} {percent:>3}%  {msg}",
            ),
            None => (
                ProgressBar::with_draw_target(None, target),
                "{spinner} {msg}",
            ),
        };
        // A template that does not parse leaves indicatif's own.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar
    }

    fn update(&self, bar: &ProgressBar) {
        let copied_bytes = self.counts.copied_bytes.load(Ordering::Relaxed);
        let rows = self.counts.rows.load(Ordering::Relaxed);
        let blocks = BlockCounts::now(&self.database);
        let elapsed = self.begun.elapsed();
        let message = describe(
            Amounts {
                copied_bytes,
                rows,
                scanned_bytes: (blocks.scanned - self.blocks_before.scanned) * BLCKSZ as u64,
                extended_bytes: (blocks.extended - self.blocks_before.extended) * BLCKSZ as u64,
            },
            elapsed,
        );
        bar.set_message(message);
        if self.total_bytes.is_some() {
            bar.set_position(copied_bytes);
        } else {
            bar.tick();
        }
    }
}

struct Amounts {
    copied_bytes: u64,
    rows: u64,
    scanned_bytes: u64,
    extended_bytes: u64,
}

/// One line: what matters most of `amounts`, and its rate.
fn describe(amounts: Amounts, elapsed: Duration) -> String {
    let rate = |amount: u64| (amount as f64 / elapsed.as_secs_f64().max(0.001)) as u64;
    let bytes = |what: &str, amount: u64| {
        format!(
            "{} {what}, {}/s",
            HumanBytes(amount),
            HumanBytes(rate(amount))
        )
    };
    let mut parts = Vec::new();
    if amounts.copied_bytes > 0 {
        parts.push(bytes("copied", amounts.copied_bytes));
    } else if amounts.extended_bytes > 0 {
        parts.push(bytes("added to tables", amounts.extended_bytes));
    } else if amounts.scanned_bytes > 0 {
        parts.push(bytes("scanned", amounts.scanned_bytes));
    }
    if amounts.rows > 0 {
        parts.push(format!(
            "{} rows, {}/s",
            HumanCount(amounts.rows),
            HumanCount(rate(amounts.rows))
        ));
    }
    parts.push(format!("{:.0} s", elapsed.as_secs_f64()));
    parts.join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_tells_amounts_and_rates() {
        let amounts = Amounts {
            copied_bytes: 0,
            rows: 3000,
            scanned_bytes: 4 << 30,
            extended_bytes: 0,
        };
        assert_eq!(
            describe(amounts, Duration::from_secs(2)),
            "4.00 GiB scanned, 2.00 GiB/s  3,000 rows, 1,500/s  2 s"
        );
    }
}
