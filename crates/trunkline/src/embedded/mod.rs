//! A database system in this process, without a port: what a program needs to load and to ask.
//!
//! | module | what |
//! |---|---|
//! | `database` | [`Database`]: opening and closing |
//! | `session` | [`Session`]: statements and transactions |
//! | `rows` | [`Rows`]: a query's result in Arrow's types |
//! | `load` | [`Load`]: data for `COPY ... FROM STDIN` |
//!
//! The parts below have more: [`Session::sql_session`] prepares statements once, cancels, and gives
//! `COPY ... TO STDOUT`.

mod database;
mod load;
mod rows;
mod session;

pub use database::{Database, Settings};
pub use load::Load;
pub use rows::Rows;
pub use session::Session;
