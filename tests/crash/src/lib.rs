//! Crashes of a whole engine on the simulated disk: the power fails at any step of a workload, and again
//! during the recovery; any I/O fails, once or for good. Then the database is recovered, and a ledger of
//! what was acknowledged says what may be there.
//!
//! A [`Case`] is one run, and repeatable: its seed decides what the disk does, which settings the
//! database has, and everything else that is left open. It panics when something is wrong. The command
//! `trunkline-sim` runs as many as asked for; the tests of this package run some hundreds.
//!
//! | module | what |
//! |---|---|
//! | `case` | [`Case`]: which run, and the command that repeats it |
//! | `power_cut`, `io_failure`, `threads` | the kinds of runs |
//! | `workload`, `op` | what the database is made to do |
//! | `tables`, `ledger` | what is in its tables, and what may be after a crash |
//! | `statements` | doing it, through sessions |
//! | `machine` | a simulated disk with a cluster, and the database on it |
//! | `hole` | log behind a hole, which must not follow what fills the hole |
//! | `inspection` | what is looked at besides tables: checksums, log, pg_control |
//! | `choice`, `watchdog` | numbers by seed; a hang is a failure |

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a run fails by panicking"
)]

mod case;
mod choice;
mod hole;
mod inspection;
mod io_failure;
mod ledger;
mod machine;
mod op;
mod power_cut;
mod statements;
mod tables;
mod threads;
mod watchdog;
mod workload;

pub use case::{Case, Kind, Outcome, ParseNameError};
pub use inspection::{RecordCounts, count_records};
pub use machine::{Place, wal_compression};
pub use power_cut::{crashed, recover_and_stop, run_on as run_power_cut_on};
pub use workload::Workload;
