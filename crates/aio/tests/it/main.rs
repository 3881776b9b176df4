//! The contract of the AIO core, through its public API. What does not name a
//! method runs over all of them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[cfg(target_os = "linux")]
mod log;
#[cfg(target_os = "linux")]
mod process;
mod random;
mod support;

mod async_waits;
mod bounce_buffers;
mod callbacks;
mod close_safety;
mod combining;
mod deadlock;
mod fall_back;
mod life_cycle;
mod posix_aio;
mod raw_files;
mod registered_memory;
#[cfg(target_os = "linux")]
mod ring_calls;
mod short_transfers;
mod statistics;
mod stress;
mod test_aio;
mod turns;
mod worker_pool;
