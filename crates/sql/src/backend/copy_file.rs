//! COPY's own files on the server: buffered, read and written as I/O handles.

use std::io;
use std::path::Path;
use std::sync::Arc;

use trunkline_aio::{File, FileKind, OpenOptions};

use super::Backend;
use crate::error::SqlError;

/// Bytes of one read or write.
pub(super) const FILE_BUFFER_BYTES: usize = 1 << 20;

/// Reads or writes in flight.
pub(super) const FILE_BUFFERS: usize = 4;

/// What the file is opened for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    Reading,
    Writing,
}

impl Purpose {
    const fn name(self) -> &'static str {
        match self {
            Purpose::Reading => "reading",
            Purpose::Writing => "writing",
        }
    }
}

impl Backend {
    /// Opens the file of a COPY, and finds out its length.
    pub(super) fn open_copy_file(
        &self,
        path: &str,
        purpose: Purpose,
    ) -> Result<(Arc<File>, u64), SqlError> {
        let file = Path::new(path);
        if purpose == Purpose::Writing && !file.is_absolute() {
            return Err(SqlError::new(
                "42602",
                "relative path not allowed for COPY to file",
            ));
        }
        let storage = self.shared.database().smgr().storage();
        let options = match purpose {
            Purpose::Reading => OpenOptions::READ,
            // For others to load, as PostgreSQL's are.
            Purpose::Writing => OpenOptions {
                world_readable: true,
                ..OpenOptions::OVERWRITE
            },
        };
        let opened = storage
            .open(file, options)
            .map_err(|error| open_error(path, purpose, &error))?;
        let metadata = storage.metadata(file).map_err(|error| {
            SqlError::new(
                sqlstate(&error),
                format!("could not stat file \"{path}\": {}", reason(&error)),
            )
        })?;
        match metadata {
            Some(metadata) if metadata.kind == FileKind::Directory => {
                Err(SqlError::new("42809", format!("\"{path}\" is a directory")))
            }
            Some(metadata) => Ok((opened, metadata.len_bytes)),
            None => Ok((opened, 0)),
        }
    }
}

/// The system's reason without Rust's number behind it.
pub(super) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" (os error ") {
        Some((reason, _)) => reason.to_owned(),
        None => text,
    }
}

/// `errcode_for_file_access` of PostgreSQL's `elog.c`.
pub(super) fn sqlstate(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => "42501",
        io::ErrorKind::NotFound => "58P01",
        io::ErrorKind::AlreadyExists => "58P02",
        io::ErrorKind::IsADirectory
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::DirectoryNotEmpty => "42809",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "53100",
        io::ErrorKind::InvalidFilename => "58P03",
        _ => "58030",
    }
}

fn open_error(path: &str, purpose: Purpose, error: &io::Error) -> SqlError {
    if purpose == Purpose::Writing && error.kind() == io::ErrorKind::IsADirectory {
        return SqlError::new("42809", format!("\"{path}\" is a directory"));
    }
    let opened = SqlError::new(
        sqlstate(error),
        format!(
            "could not open file \"{path}\" for {}: {}",
            purpose.name(),
            reason(error)
        ),
    );
    if !matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
    ) {
        return opened;
    }
    opened.with_hint(match purpose {
        Purpose::Reading => {
            "COPY FROM instructs the PostgreSQL server process to read a file. You may want a \
             client-side facility such as psql's \\copy."
        }
        Purpose::Writing => {
            "COPY TO instructs the PostgreSQL server process to write a file. You may want a \
             client-side facility such as psql's \\copy."
        }
    })
}
