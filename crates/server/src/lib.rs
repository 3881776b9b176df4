//! The PostgreSQL wire protocol, versions 3.0 and 3.2: listens, speaks, and hands statements to a
//! [`Session`].
//!
//! ```text
//! listener ──socket──▶ startup ──parameters──▶ SessionFactory ──▶ Session
//!                                                                   ▲ prepare, execute, sync
//! socket ──bytes──▶ wire (frames) ──▶ frontend (messages) ──▶ connection: simple query,
//! socket ◀─bytes─── wire ◀──────────── backend (messages) ◀──  extended query, portals, COPY
//! ```
//!
//! The crate knows messages, portals and who may connect; it knows no SQL, no table and no row
//! format: a [`RowBatch`](trunkline_sql::outcome::RowBatch) prints itself into the output buffer.
//! Each connection is one task. It holds no buffer while it waits for its client, and never more
//! than one chunk of rows or COPY data between the socket and the session.
//!
//! Messages to the client are pgwire's. Those from it are decoded here ([`frontend`]): a server
//! must answer a message cut short, bad UTF-8 or a bad length with PostgreSQL's errors, which
//! pgwire's decoders do not tell apart. pgwire's connection loop is not used, as it collects
//! results and does not reach a statement that is to be cancelled.
//!
//! Everybody who connects is trusted, so a [`Listener`] refuses to listen beyond loopback.

mod backend;
mod connection;
mod copy;
mod error;
mod extended_query;
mod frontend;
mod interrupt;
mod listener;
mod portal;
mod registry;
mod session;
mod simple_query;
mod startup;
mod startup_options;
mod wire;

pub use error::ServerError;
pub use listener::{Listener, Server, ServerConfig};
pub use session::{Session, SessionFactory, StartupParameters, Statement};
