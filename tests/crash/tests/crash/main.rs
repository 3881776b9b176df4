//! Some hundreds of crashes, and what PostgreSQL says of a few of them. `trunkline-sim` runs more.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod postgres;
mod seeds;
