//! The heap through its public API: visibility, hints and the visibility map, loads, scans.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod failing;
mod hints;
mod hint_images;
mod loads;
mod logged;
mod replaying;
mod rig;
mod scans;
mod tuple_visibility;
