//! Why a heap operation failed.

use thiserror::Error;
use trunkline_buffer::BufferError;
use trunkline_pgformat::{BlockNumber, OffsetNumber};
use trunkline_smgr::SmgrError;
use trunkline_txn::{Cancelled, TxnError};

/// A heap operation's failure.
#[derive(Debug, Error)]
pub enum HeapError {
    /// The buffer pool's: I/O, corruption, space.
    #[error(transparent)]
    Buffer(#[from] BufferError),
    /// The storage manager's: a fork cannot be made.
    #[error(transparent)]
    Smgr(#[from] SmgrError),
    /// A transaction status could not be had.
    #[error(transparent)]
    Transaction(#[from] TxnError),
    /// The statement was told to stop.
    #[error("{0}")]
    Cancelled(#[from] Cancelled),
    /// A tuple's header contradicts its length or its page.
    #[error("corrupted tuple ({block},{offset}): {why}")]
    CorruptedTuple {
        /// Its block.
        block: BlockNumber,
        /// Its line pointer.
        offset: OffsetNumber,
        /// What is wrong.
        why: String,
    },
    /// The tuple to change was changed by another transaction meanwhile.
    #[error("tuple concurrently updated")]
    ConcurrentlyUpdated,
    /// A tuple larger than a page has room for.
    #[error("row is too big: size {size_bytes}, maximum size {limit_bytes}")]
    TooBig {
        /// The tuple's size.
        size_bytes: usize,
        /// What a page has room for.
        limit_bytes: usize,
    },
}

impl HeapError {
    /// PostgreSQL's SQLSTATE for it.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            HeapError::Buffer(error) => error.sqlstate(),
            HeapError::Smgr(error) => error.sqlstate(),
            HeapError::Transaction(error) => error.sqlstate(),
            HeapError::Cancelled(cancelled) => cancelled.0.sqlstate(),
            HeapError::CorruptedTuple { .. } => "XX001",
            HeapError::ConcurrentlyUpdated => "XX000",
            HeapError::TooBig { .. } => "54000",
        }
    }

    /// The DETAIL line, if there is one.
    pub fn detail(&self) -> Option<String> {
        match self {
            HeapError::Buffer(error) => error.detail(),
            HeapError::Transaction(error) => error.detail().map(str::to_owned),
            _ => None,
        }
    }

    /// The HINT line, if there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            HeapError::Buffer(error) => error.hint(),
            HeapError::Smgr(error) => error.hint().map(str::to_owned),
            HeapError::Transaction(error) => error.hint().map(|hint| hint.to_string()),
            _ => None,
        }
    }
}
