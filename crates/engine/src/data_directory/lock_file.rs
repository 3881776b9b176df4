//! `postmaster.pid`: at most one process has a data directory open.
//!
//! The file is laid out as PostgreSQL's (`miscadmin.h`), so that PostgreSQL's own programs see that
//! the directory is in use; among ourselves an advisory lock on it decides, which no crash leaves
//! behind.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::DataDirectoryError;

/// Its name in the data directory.
pub(super) const LOCK_FILE: &str = "postmaster.pid";

/// Holds the data directory; dropping it gives the directory back.
#[derive(Debug)]
pub struct LockFile {
    file: File,
    path: PathBuf,
}

impl LockFile {
    /// Takes the directory.
    ///
    /// # Errors
    /// [`DataDirectoryError::InUse`] when another process, ours or PostgreSQL's, has it open.
    pub fn acquire(data_dir: &Path) -> Result<LockFile, DataDirectoryError> {
        // More rounds than there can be processes ending at the same moment.
        const ROUNDS_MAX: usize = 100;
        for _ in 0..ROUNDS_MAX {
            if let Some(lock) = LockFile::try_acquire(data_dir)? {
                return Ok(lock);
            }
        }
        Err(DataDirectoryError::InUse {
            data_dir: data_dir.to_owned(),
            owner: None,
        })
    }

    /// `None` if the file was removed by its last holder between its opening and its locking: the
    /// lock on it keeps nobody out then.
    fn try_acquire(data_dir: &Path) -> Result<Option<LockFile>, DataDirectoryError> {
        let path = data_dir.join(LOCK_FILE);
        let unusable = |source| DataDirectoryError::File {
            path: path.clone(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(unusable)?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(unusable)?;
        let owner: Option<u32> = text
            .lines()
            .next()
            .and_then(|line| line.trim().parse().ok());
        let in_use = || DataDirectoryError::InUse {
            data_dir: data_dir.to_owned(),
            owner,
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use()),
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        let locked = file.metadata().map_err(unusable)?;
        match std::fs::metadata(&path) {
            Ok(named) if named.ino() == locked.ino() && named.dev() == locked.dev() => {}
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unusable(error)),
        }
        // PostgreSQL itself holds no lock, only its process id here.
        if owner.is_some_and(is_running_postgres) {
            return Err(in_use());
        }
        let lock = LockFile { file, path };
        lock.write(0)?;
        Ok(Some(lock))
    }

    /// Writes the process id, directory, start time and, once known, the port.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, port: u16) -> Result<(), DataDirectoryError> {
        let data_dir = self.path.parent().unwrap_or(&self.path);
        let started = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let text = format!(
            "{}\n{}\n{started}\n{port}\n\n127.0.0.1\n",
            std::process::id(),
            data_dir.display()
        );
        let mut file = &self.file;
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(text.as_bytes()))
            .map_err(|source| DataDirectoryError::File {
                path: self.path.clone(),
                source,
            })
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!("could not remove file \"{}\": {error}", self.path.display());
        }
    }
}

/// Whether `pid` runs, and runs PostgreSQL's server.
fn is_running_postgres(pid: u32) -> bool {
    pid != std::process::id()
        && std::fs::read_to_string(format!("/proc/{pid}/comm"))
            .is_ok_and(|name| name.trim().starts_with("postgres"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_held_once_and_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let lock = LockFile::acquire(dir.path()).unwrap();
        let error = LockFile::acquire(dir.path()).unwrap_err();
        assert!(
            error.to_string().contains("is in use by process"),
            "{error}"
        );
        drop(lock);
        drop(LockFile::acquire(dir.path()).unwrap());
        assert!(!dir.path().join("postmaster.pid").exists());
    }

    #[test]
    fn a_file_left_by_a_dead_process_does_not_hold() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("postmaster.pid"), "4000000\n").unwrap();
        LockFile::acquire(dir.path()).unwrap();
    }
}
