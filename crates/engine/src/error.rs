//! Why an engine operation failed, with the SQLSTATE and texts that PostgreSQL would give.

use std::io;

use thiserror::Error;
use trunkline_aio::AioError;
use trunkline_buffer::BufferError;
use trunkline_catalog::CatalogError;
use trunkline_heap::HeapError;
use trunkline_smgr::{SmgrError, file_access_sqlstate};
use trunkline_txn::{Cancelled, TxnError};
use trunkline_wal::WalError;

use crate::data_directory::DataDirectoryError;
use crate::engine_threads::ThreadError;
use crate::recovery::RecoveryError;
use crate::settings::SettingError;

/// A statement's error that belongs to no lower layer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct StatementError {
    /// Five characters.
    pub sqlstate: &'static str,
    /// One line.
    pub message: String,
    /// More about what happened.
    pub detail: Option<String>,
    /// What to do.
    pub hint: Option<String>,
}

impl StatementError {
    /// An error with nothing but its SQLSTATE and message.
    pub fn new(sqlstate: &'static str, message: impl Into<String>) -> StatementError {
        StatementError {
            sqlstate,
            message: message.into(),
            detail: None,
            hint: None,
        }
    }

    /// With a DETAIL.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> StatementError {
        self.detail = Some(detail.into());
        self
    }

    /// With a HINT.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> StatementError {
        self.hint = Some(hint.into());
        self
    }
}

/// An engine operation's failure.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The AIO core's.
    #[error(transparent)]
    Aio(#[from] AioError),
    /// The storage manager's.
    #[error(transparent)]
    Smgr(#[from] SmgrError),
    /// The buffer pool's.
    #[error(transparent)]
    Buffer(#[from] BufferError),
    /// The transaction manager's or the lock manager's.
    #[error(transparent)]
    Transaction(#[from] TxnError),
    /// The heap's.
    #[error(transparent)]
    Heap(#[from] HeapError),
    /// The catalog's.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDirectory(#[from] DataDirectoryError),
    /// The write-ahead log's.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// The cluster cannot be recovered.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// A setting's.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// No thread to run on.
    #[error(transparent)]
    Thread(#[from] ThreadError),
    /// The statement was told to stop.
    #[error("{0}")]
    Cancelled(#[from] Cancelled),
    /// A statement's own error.
    #[error(transparent)]
    Statement(#[from] StatementError),
}

impl EngineError {
    /// PostgreSQL's SQLSTATE for it.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            EngineError::Aio(_) => "58030",
            EngineError::Smgr(error) => error.sqlstate(),
            EngineError::Buffer(error) => error.sqlstate(),
            EngineError::Transaction(error) => error.sqlstate(),
            EngineError::Heap(error) => error.sqlstate(),
            EngineError::Catalog(error) => error.sqlstate(),
            EngineError::DataDirectory(_) => "58030",
            EngineError::Wal(error) => match error.errno() {
                Some(errno) => file_access_sqlstate(&io::Error::from_raw_os_error(errno)),
                None => "58030",
            },
            EngineError::Recovery(error) => match error {
                RecoveryError::NotSupported { .. } | RecoveryError::Record { .. } => "0A000",
                RecoveryError::File { source, .. } => file_access_sqlstate(source),
                _ => "XX001",
            },
            EngineError::Setting(error) => error.sqlstate(),
            EngineError::Thread(ThreadError::Stopping) => "57P01",
            EngineError::Thread(_) => "53000",
            EngineError::Cancelled(cancelled) => cancelled.0.sqlstate(),
            EngineError::Statement(error) => error.sqlstate,
        }
    }

    /// PostgreSQL's DETAIL, where it has one.
    pub fn detail(&self) -> Option<String> {
        match self {
            EngineError::Catalog(error) => error.detail(),
            EngineError::Setting(error) => error.detail().map(str::to_owned),
            EngineError::Transaction(error) => error.detail().map(|detail| detail.to_string()),
            EngineError::Buffer(error) => error.detail(),
            EngineError::Heap(error) => error.detail(),
            EngineError::Statement(error) => error.detail.clone(),
            _ => None,
        }
    }

    /// PostgreSQL's HINT, where it has one.
    pub fn hint(&self) -> Option<String> {
        match self {
            EngineError::Catalog(error) => error.hint(),
            EngineError::Setting(error) => error.hint().map(str::to_owned),
            EngineError::Smgr(error) => error.hint().map(str::to_owned),
            EngineError::Buffer(error) => error.hint(),
            EngineError::Heap(error) => error.hint(),
            EngineError::Transaction(error) => error.hint().map(|hint| hint.to_string()),
            EngineError::Statement(error) => error.hint.clone(),
            _ => None,
        }
    }

    /// Whether the session ends with it.
    pub fn is_fatal(&self) -> bool {
        matches!(self.sqlstate(), "57P01" | "57P02")
    }
}
