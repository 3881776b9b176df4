//! placeholder

pub mod error;
pub mod outcome;
