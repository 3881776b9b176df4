//! Sessions from outside: what a client sees, over databases of their own in temporary
//! directories. Expected texts and codes are PostgreSQL 18's.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cluster;
mod concurrency;
mod copying;
mod damaged_pages;
mod deep_statements;
mod io_views;
mod kept_plans;
mod left_commits;
mod monitoring;
mod preparing;
mod shared_runtime;
mod statements;
mod transactions;
mod walk_through;
mod wraparound;
