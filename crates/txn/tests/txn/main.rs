//! Transactions with a write-ahead log: on the simulated disk, and before PostgreSQL.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod failures;
mod flushing;
mod judge;
mod power_cuts;
mod redo;
mod rig;
