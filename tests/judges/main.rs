//! PostgreSQL 18 judges our files and our answers: what it wrote we load, what we wrote it reads,
//! and asked the same both say the same.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bad_input;
mod client;
mod copying;
mod damaged_page;
mod data_directory;
mod disk_full;
mod file_swap;
mod log_positions;
mod pages;
mod postgres;
mod psql;
mod rows;
mod settings;
mod tpch;
mod trunkline;
mod unlogged;
