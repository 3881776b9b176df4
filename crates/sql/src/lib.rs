//! SQL over the engine: statements come in as text, results go out as streams of rows.
//!
//! What this crate knows: statements and their command tags, names, types and errors as PostgreSQL
//! has them, DataFusion. What it does not know: the wire protocol, and what a page or a tuple is.
//!
//! | module | what |
//! |---|---|
//! | [`session`] | one connection's session, for async callers |
//! | [`backend`] | its other half, which runs statements on engine threads |
//! | [`statement`] | text to statements; utility statements have a parser of their own |
//! | [`query`] | queries as PostgreSQL means them, over DataFusion |
//! | [`relations`] | tables and views as the query layer sees them |
//! | [`views`] | what the monitoring views show |
//! | [`arrow_form`] | results as Arrow's own types |
//! | [`outcome`] | what a statement gives back, over bounded channels |
//! | [`io_watch`] | completions of I/O, noticed by the caller's event loop |
//! | [`database`] | what all sessions share: the executor, memory for queries |
//!
//! ```text
//!  SqlSession::execute (async) ──Backend, boxed──▶ engine thread: parse, plan, DDL, loads ──┐
//!        ▲                                               │                                  │
//!        └────────────── Outcome ◀───────────────────────┘      Backend goes home ◀─────────┘
//!                           │
//!  RowStream ◀─bounded─ executor (DataFusion) ◀─bounded─ engine threads: one a scan partition
//! ```
//!
//! Blocking code runs on engine threads, DataFusion on an executor of its own, and the caller's
//! threads only wait for channels.

pub mod arrow_form;
pub mod error;
pub mod outcome;
pub mod query;
pub mod statement;

mod backend;
mod database;
mod idle;
mod io_watch;
mod relations;
mod session;
mod views;

pub use database::SqlDatabase;
/// The Arrow that results come in.
pub use datafusion::arrow;
pub use idle::IdleLimit;
pub use io_watch::IoWatch;
pub use session::{Prepared, SqlSession, StartupParameters};
