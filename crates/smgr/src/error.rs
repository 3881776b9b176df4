//! What can go wrong with a relation's files, in PostgreSQL's words.

use std::io;
use trunkline_aio::AioError;

/// An operation on a relation's files failed. `path` is relative to the data directory.
#[derive(Debug, thiserror::Error)]
pub enum SmgrError {
    /// A segment could not be opened.
    #[error("could not open file \"{path}\": {}", os_message(error))]
    Open {
        /// The segment.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// A block beyond a segment that is not full.
    #[error(
        "could not open file \"{path}\" (target block {block}): previous segment is only {blocks} blocks"
    )]
    SegmentGap {
        /// The segment that would hold the block.
        path: String,
        /// The block wanted.
        block: u32,
        /// Blocks in the segment before.
        blocks: u32,
    },
    /// A segment could not be created.
    #[error("could not create file \"{path}\": {}", os_message(error))]
    Create {
        /// The segment.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// A segment could not be made longer.
    #[error("could not extend file \"{path}\": {}", os_message(error))]
    Extend {
        /// The segment.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// The fork has as many blocks as one can have.
    #[error("cannot extend file \"{path}\" beyond {max} blocks", max = u32::MAX)]
    TooLong {
        /// The fork.
        path: String,
    },
    /// A segment could not be truncated.
    #[error(
        "could not truncate file \"{path}\" to {blocks} blocks: {}",
        os_message(error)
    )]
    Truncate {
        /// The segment.
        path: String,
        /// The length wanted, in blocks.
        blocks: u32,
        /// Why.
        error: io::Error,
    },
    /// A truncation to more blocks than there are.
    #[error("could not truncate file \"{path}\" to {wanted} blocks: it's only {blocks} blocks now")]
    TruncateLonger {
        /// The fork.
        path: String,
        /// The length wanted, in blocks.
        wanted: u32,
        /// The length found, in blocks.
        blocks: u32,
    },
    /// A segment's length could not be found out.
    #[error("could not seek to end of file \"{path}\": {}", os_message(error))]
    Length {
        /// The segment.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// A segment could not be removed.
    #[error("could not remove file \"{path}\": {}", os_message(error))]
    Remove {
        /// The segment.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// A file or directory could not be made durable. The engine stops on this: a failed sync is
    /// never retried.
    #[error("could not fsync file \"{path}\": {}", os_message(error))]
    Sync {
        /// The file or directory.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// No I/O could be started at all.
    #[error(transparent)]
    Aio(#[from] AioError),
}

impl SmgrError {
    /// PostgreSQL's SQLSTATE for it (`errcode_for_file_access`).
    pub fn sqlstate(&self) -> &'static str {
        match self {
            SmgrError::Open { error, .. }
            | SmgrError::Create { error, .. }
            | SmgrError::Extend { error, .. }
            | SmgrError::Truncate { error, .. }
            | SmgrError::Length { error, .. }
            | SmgrError::Remove { error, .. }
            | SmgrError::Sync { error, .. } => file_access_sqlstate(error),
            SmgrError::SegmentGap { .. } => "58P01",
            SmgrError::TooLong { .. } => "54000",
            SmgrError::TruncateLonger { .. } => "XX000",
            SmgrError::Aio(_) => "53000",
        }
    }

    /// PostgreSQL's HINT, where it has one.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            SmgrError::Extend { .. } => Some("Check free disk space."),
            _ => None,
        }
    }
}

/// PostgreSQL's `errcode_for_file_access`.
pub fn file_access_sqlstate(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "58P01",
        io::ErrorKind::AlreadyExists => "58P02",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => "42501",
        io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::DirectoryNotEmpty => "42809",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            "53100"
        }
        io::ErrorKind::OutOfMemory => "53200",
        _ => match error.raw_os_error() {
            // EMFILE and ENFILE, which the standard library has no kind for.
            Some(23 | 24) => "53000",
            Some(5) => "58030",
            _ => "XX000",
        },
    }
}

/// `%m`: the system's text for an error without the number that the standard library appends.
pub fn os_message(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}
