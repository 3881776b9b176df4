//! The buffer pool through its public API, over every method of the AIO core and one that completes an
//! I/O only on the thread of somebody who waits for it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod damage;
mod log;
#[path = "../../../aio/tests/it/random.rs"]
mod random;
mod read_stream;
mod rig;
mod sharing;
mod statistics;
mod stress;
mod test_aio;
mod writing;
