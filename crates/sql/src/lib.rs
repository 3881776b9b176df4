//! SQL over the engine.

pub mod error;
pub mod outcome;
pub mod query;
pub mod statement;
