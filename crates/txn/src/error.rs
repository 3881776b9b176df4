//! What can go wrong, with PostgreSQL's SQLSTATE, message, DETAIL and HINT.

use std::io;
use std::path::PathBuf;

use trunkline_pgformat::wal::rmgr::PayloadError;
use trunkline_pgformat::{Lsn, Oid, Xid};
use trunkline_wal::WalError;

use crate::cancel::Cancelled;
use crate::full_xid::FullXid;

/// An error of transactions, locks or the commit log. Its `Display` is PostgreSQL's message.
#[derive(Debug, thiserror::Error)]
pub enum TxnError {
    /// The statement was told to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// A lock was not granted within `lock_timeout` (55P03).
    #[error("canceling statement due to lock timeout")]
    LockTimeout,
    /// Waiting on would never end (40P01).
    #[error("deadlock detected")]
    Deadlock {
        /// One line for each process of the cycle, as PostgreSQL's DETAIL.
        detail: String,
    },
    /// No more transaction ids can be given out safely (54000).
    #[error(
        "database is not accepting commands that assign new transaction IDs to avoid wraparound \
         data loss in database {database}"
    )]
    Wraparound {
        /// The database that holds the limit back: `"name"` quoted, or `with OID n`.
        database: String,
    },
    /// A command counter ran out (54000).
    #[error("cannot have more than 2^32-2 commands in a transaction")]
    TooManyCommands,
    /// A page of the commit log could not be read or written (58030; 58P01 if it is missing).
    #[error("could not access status of transaction {xid}")]
    Status {
        /// A transaction whose status lies on that page.
        xid: Xid,
        /// PostgreSQL's DETAIL: what failed, on which file.
        detail: String,
        /// The cause's kind, for the SQLSTATE.
        kind: io::ErrorKind,
    },
    /// A file of the commit log could not be synced or created (58030, 53100, 58P01).
    #[error("could not {action} file \"{}\": {source}", path.display())]
    File {
        /// `fsync`, `open`, ...
        action: &'static str,
        /// Its path.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// An earlier sync of the commit log failed; nothing written since may be trusted (58030).
    #[error("an earlier sync of \"{}\" failed; the server must be restarted", directory.display())]
    SyncFailed {
        /// The SLRU's directory.
        directory: PathBuf,
    },
    /// The I/O core refused to give a handle (53000).
    #[error("could not start an I/O: {0}")]
    Io(#[from] trunkline_aio::AioError),
    /// The write-ahead log refused a record or a flush (58030; 54000 if the record is too long). If it
    /// was a commit, it has not happened.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// A commit is in the write-ahead log, and whether it became durable is not known (08007). It must
    /// be told neither as done nor as undone, and its transaction counts as running: the database
    /// has to stop, and what recovery finds is the answer.
    #[error("could not make the commit of transaction {} durable: {reason}", xid.xid())]
    CommitInDoubt {
        /// The transaction.
        xid: FullXid,
        /// What failed.
        reason: String,
    },
    /// Nothing more is committed, nor does any checkpoint end, since an earlier commit came into doubt
    /// (58030).
    #[error("the database system has to be restarted: {reason}")]
    MustStop {
        /// What failed, when.
        reason: String,
    },
    /// A transaction without an id deletes files (XX000).
    #[error("cannot commit a transaction that deleted files but has no xid")]
    FilesWithoutXid,
    /// Redo met a record that it has no means for (0A000).
    #[error("WAL redo at {lsn}: {what} is not supported")]
    UnsupportedRecord {
        /// Where the record begins.
        lsn: Lsn,
        /// What it is.
        what: String,
    },
    /// Redo met a record whose contents are not what its code says (XX001).
    #[error("WAL redo at {lsn}: {source}")]
    InvalidRecord {
        /// Where the record begins.
        lsn: Lsn,
        /// What is wrong.
        source: PayloadError,
    },
}

impl TxnError {
    /// The SQLSTATE code.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            TxnError::Cancelled(cancelled) => cancelled.0.sqlstate(),
            TxnError::LockTimeout => "55P03",
            TxnError::Deadlock { .. } => "40P01",
            TxnError::Wraparound { .. } | TxnError::TooManyCommands => "54000",
            TxnError::Status { kind, .. } => file_access_sqlstate(*kind),
            TxnError::File { source, .. } => file_access_sqlstate(source.kind()),
            TxnError::SyncFailed { .. } | TxnError::MustStop { .. } => "58030",
            TxnError::Io(_) => "53000",
            TxnError::Wal(WalError::RecordTooLong { .. }) => "54000",
            TxnError::Wal(WalError::File { source, .. }) => file_access_sqlstate(source.kind()),
            TxnError::Wal(_) => "58030",
            TxnError::CommitInDoubt { .. } => "08007",
            TxnError::FilesWithoutXid => "XX000",
            TxnError::UnsupportedRecord { .. } => "0A000",
            TxnError::InvalidRecord { .. } => "XX001",
        }
    }

    /// Whether the database has to stop: what it would go on with cannot be made durable, or is not
    /// known. Recovery is the retry.
    pub fn must_stop(&self) -> bool {
        matches!(
            self,
            TxnError::CommitInDoubt { .. }
                | TxnError::MustStop { .. }
                | TxnError::SyncFailed { .. }
                | TxnError::Wal(WalError::Failed(_))
        )
    }

    /// The DETAIL, if PostgreSQL has one.
    pub fn detail(&self) -> Option<&str> {
        match self {
            TxnError::CommitInDoubt { .. } => Some(
                "The transaction is in the write-ahead log; whether it committed is known after \
                 recovery.",
            ),
            TxnError::Deadlock { detail } | TxnError::Status { detail, .. } => Some(detail),
            _ => None,
        }
    }

    /// The HINT, if PostgreSQL has one.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            TxnError::Deadlock { .. } => Some("See server log for query details."),
            TxnError::Wraparound { .. } => Some(
                "Execute a database-wide VACUUM in that database.\nYou might also need to commit \
                 or roll back old prepared transactions, or drop stale replication slots.",
            ),
            _ => None,
        }
    }

    /// How messages name a database whose name may be unknown.
    pub(crate) fn database_phrase(oid: Oid, name: Option<&str>) -> String {
        match name {
            Some(name) => format!("\"{name}\""),
            None => format!("with OID {oid}"),
        }
    }
}

/// `errcode_for_file_access` (`utils/error/elog.c`), as far as kinds tell errnos apart.
fn file_access_sqlstate(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => "42501",
        io::ErrorKind::NotFound => "58P01",
        io::ErrorKind::AlreadyExists => "58P02",
        io::ErrorKind::StorageFull => "53100",
        io::ErrorKind::OutOfMemory => "53200",
        _ => "58030",
    }
}
