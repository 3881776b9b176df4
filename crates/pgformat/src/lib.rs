//! PostgreSQL 18's on-disk formats as bytes, without I/O and without locks.

mod ids;

pub use ids::*;
