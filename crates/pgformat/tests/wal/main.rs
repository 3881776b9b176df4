//! The write-ahead log: written and read by us, read by PostgreSQL, written by PostgreSQL.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod damage;
mod judge;
mod page_writer;
mod postgres_log;
mod reading;
