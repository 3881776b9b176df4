//! What tests of several crates need and no crate does: a dev-dependency of any of them. It knows `aio`
//! alone, and what it does wrong it panics about.
//!
//! | module | what |
//! |---|---|
//! | `postgres` | PostgreSQL 18's programs as `tools/judge` installs them, run as who they agree to run as |
//! | `cluster` | clusters of PostgreSQL's, with their servers |
//! | `gate` | a method that holds I/Os back until the test lets them go |
//! | `log` | what is logged, by a thread or by the process |
//! | `directory` | copies of directories |

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod cluster;
mod directory;
mod gate;
mod log;
mod postgres;

pub use cluster::Cluster;
pub use directory::copy_directory;
pub use gate::{Gate, OpenAtEnd};
pub use log::{logged, take_log};
pub use postgres::{Postgres, Said, postgres, programs, skipped};
