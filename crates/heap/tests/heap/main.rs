//! The heap through its public API: visibility, hints and the visibility map, loads, scans.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod failing;
mod hint_images;
mod hints;
mod judging;
mod loads;
mod logged;
mod replaying;
mod rig;
mod scans;
mod shared_inserts;
mod tuple_visibility;
