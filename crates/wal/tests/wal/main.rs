//! The write-ahead log through its public API. What does not name a method runs over all of them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod gated;
mod support;

mod asynchronous;
mod checkpoints;
mod concurrency;
mod crashes;
mod failures;
mod images;
mod judge;
mod many_threads;
mod reading;
mod segment_switch;
mod segments;
mod writer_steps;
