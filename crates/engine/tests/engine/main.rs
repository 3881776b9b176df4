//! The engine through its public API: clusters, transactions, DDL, loads and scans, locks, faults.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod checkpoints;
mod commit_halves;
mod data_directory;
mod faults;
mod loads;
mod locking;
mod prewarming;
#[path = "../../../aio/tests/it/random.rs"]
mod random;
mod recovery;
mod rig;
mod row_inserts;
mod stress;
mod test_aio;
mod transactions;
