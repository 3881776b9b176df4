//! What ends a run.

use std::process::ExitStatus;

use thiserror::Error;

/// Why a run ended before its last round.
#[derive(Debug, Error)]
pub enum Failure {
    /// The tables are not what they may be.
    #[error("client {client}: {what}")]
    Lost {
        /// Whose ledger says so.
        client: usize,
        /// What is missing, or should not be there.
        what: String,
    },
    /// There is something that no client has made.
    #[error("found by query: {0}")]
    Foreign(String),
    /// A statement failed that should not have.
    #[error("client {client}, {sql:?}: {error}")]
    Statement {
        /// Who issued it.
        client: usize,
        /// Its text, or the beginning of it.
        sql: String,
        /// What the server said.
        error: String,
    },
    /// A query of the driver's failed.
    #[error("{sql:?}: {error}")]
    Query {
        /// Its text.
        sql: String,
        /// What was said.
        error: String,
        /// The server, or the connection, is gone.
        is_gone: bool,
    },
    /// The server ended, and was not told to.
    #[error("the server ended by itself: {status}\n{log}")]
    Ended {
        /// How.
        status: ExitStatus,
        /// The end of its log.
        log: String,
    },
    /// The server did not get ready, or did not stop.
    #[error("the server was not {wanted} in {seconds} s\n{log}")]
    Hangs {
        /// What was waited for.
        wanted: &'static str,
        /// How long.
        seconds: u64,
        /// The end of its log.
        log: String,
    },
    /// A clean stop gave another exit code than 0.
    #[error("after SIGTERM the server ended with {status}\n{log}")]
    Stop {
        /// How it ended.
        status: ExitStatus,
        /// The end of its log.
        log: String,
    },
    /// `trunkline init` failed.
    #[error("init: {0}")]
    Init(String),
    /// One of PostgreSQL's programs is not content.
    #[error("{program} {arguments:?}: {said}")]
    Judge {
        /// Its name.
        program: &'static str,
        /// What it was asked.
        arguments: Vec<String>,
        /// All that it said.
        said: String,
    },
    /// The operating system refused something.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// A query of the driver's that failed.
pub(crate) fn query_failed(sql: &str, error: &tokio_postgres::Error) -> Failure {
    Failure::Query {
        sql: sql.to_owned(),
        error: said(error),
        is_gone: is_gone(error),
    }
}

/// Whether the server, or the connection, is gone, or goes: nobody knows what came of the statement.
pub(crate) fn is_gone(error: &tokio_postgres::Error) -> bool {
    match error.as_db_error() {
        // admin_shutdown, crash_shutdown, cannot_connect_now, transaction_resolution_unknown
        Some(error) => ["57P01", "57P02", "57P03", "08007"].contains(&error.code().code()),
        None => true,
    }
}

/// All that an error of the driver's says.
pub(crate) fn said(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(error) => format!("{} {}", error.code().code(), error.message()),
        None => format!("{error:?}"),
    }
}
