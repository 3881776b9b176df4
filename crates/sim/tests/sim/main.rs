//! The simulated disk through the seams that it stands behind.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod aio_api;
mod determinism;
mod engine;
mod fault_kinds;
mod file_model;
mod host_files;
mod power_cuts;
mod rig;
mod threads;
