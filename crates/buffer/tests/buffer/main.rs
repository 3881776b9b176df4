//! The buffer pool through its public API, over every method of the AIO core and one that completes an
//! I/O only on the thread of somebody who waits for it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod background_writing;
mod checkpoint_writing;
mod critical;
mod damage;
mod fake_log;
#[path = "../../../aio/tests/it/random.rs"]
mod random;
mod read_stream;
mod replacing;
mod rig;
mod sharing;
mod statistics;
mod stress;
mod test_aio;
mod write_ahead;
mod writing;
