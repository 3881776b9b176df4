//! The simulated disk through the seams that it stands behind.

mod aio_api;
mod determinism;
mod engine;
mod fault_kinds;
mod file_model;
mod power_cuts;
mod rig;
mod threads;
