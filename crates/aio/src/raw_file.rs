//! Small files as a whole: configuration, control files.

use std::io;
use std::path::{Path, PathBuf};

use crate::issuer::IoContext;
use crate::raw_stream::{RawReader, RawWriter};
use crate::storage::{OpenOptions, Storage};

const BUFFER_BYTES: usize = 128 * 1024;
const DEPTH: usize = 2;

/// Reads a whole file, buffered.
///
/// # Errors
/// As the system reports.
pub fn read_file(
    storage: &dyn Storage,
    context: &mut IoContext,
    path: &Path,
) -> io::Result<Vec<u8>> {
    let file = storage.open(path, OpenOptions::READ)?;
    let mut bytes = Vec::new();
    let mut reader = RawReader::new(file, 0, BUFFER_BYTES, DEPTH);
    while let Some(chunk) = reader.next(context)? {
        bytes.extend_from_slice(chunk);
    }
    Ok(bytes)
}

/// Replaces a file as a whole, so that after a crash either the old or the
/// new content is there: writes a temporary file beside it (the name with
/// `.tmp` appended), makes it durable, renames it, makes the name durable.
///
/// # Errors
/// As the system reports; the old content is still there then.
pub fn write_file_durably(
    storage: &dyn Storage,
    context: &mut IoContext,
    path: &Path,
    bytes: &[u8],
) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    let written = (|| {
        let file = storage.open(&temporary, OpenOptions::OVERWRITE)?;
        let mut writer = RawWriter::new(file.clone(), 0, BUFFER_BYTES, DEPTH);
        writer.write_all(context, bytes)?;
        writer.finish(context)?;
        context.fsync(&file)
    })();
    if let Err(error) = written {
        // Best effort: what failed is told, not that its rest stayed behind.
        if storage.unlink(&temporary).is_err() {
            tracing::warn!(path = %temporary.display(), "could not remove a temporary file");
        }
        return Err(error);
    }
    storage.rename(&temporary, path)?;
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => storage.sync_dir(parent),
        _ => storage.sync_dir(Path::new(".")),
    }
}
