//! Errors: of the server as a whole, and of one connection.

use std::io;
use std::net::SocketAddr;

use trunkline_sql::error::SqlError;

/// Why a server cannot listen. The program prints it and exits.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// `host` is not a name or address.
    #[error("could not translate host name \"{host}\" to address: {source}")]
    UnknownHost {
        /// As configured.
        host: String,
        /// The resolver's error.
        source: io::Error,
    },
    /// `host` has no address.
    #[error("could not translate host name \"{host}\" to address: no address found")]
    NoAddress {
        /// As configured.
        host: String,
    },
    /// Whoever connects is trusted, so only this machine's users may.
    #[error(
        "refusing to listen on {address}: there is no authentication yet, so only loopback \
         addresses (127.0.0.1, ::1, localhost) are allowed"
    )]
    NotLoopback {
        /// The first address of the host that is not loopback.
        address: SocketAddr,
    },
    /// In use, or not ours.
    #[error("could not bind to {address}: {source}")]
    Bind {
        /// What was to be bound.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
}

/// How handling a message can fail.
#[derive(Debug)]
pub(crate) enum Failure {
    /// ERROR: the statement failed, the connection goes on.
    Statement(SqlError),
    /// FATAL: the client is told, then the connection ends.
    Fatal(SqlError),
    /// The client is gone, or does not speak the protocol: the connection ends without a word.
    Lost,
}

impl From<SqlError> for Failure {
    fn from(error: SqlError) -> Failure {
        if error.is_fatal {
            Failure::Fatal(error)
        } else {
            Failure::Statement(error)
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        tracing::debug!(%error, "connection lost");
        Failure::Lost
    }
}

/// `protocol_violation`.
pub(crate) fn protocol_violation(message: impl Into<String>) -> SqlError {
    SqlError::new("08P01", message)
}
