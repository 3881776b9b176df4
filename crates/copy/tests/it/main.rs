//! COPY through the public API: PostgreSQL's answers replayed, and round trips.

#![allow(clippy::unwrap_used)]

mod corpus;
mod random_input;
mod rows;
