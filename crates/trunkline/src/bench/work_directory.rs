//! The directory that a benchmark works in.

use std::path::{Path, PathBuf};

use crate::program_error::ProgramError;

/// Made for the benchmark, and removed with all that is in it when that ends, in whatever way.
pub struct WorkDirectory(PathBuf);

impl WorkDirectory {
    /// Makes it; it must not be there.
    ///
    /// # Errors
    /// One line.
    pub fn make(path: &Path) -> Result<WorkDirectory, ProgramError> {
        let failed =
            |error: std::io::Error| ProgramError::new(format!("{}: {error}", path.display()));
        std::fs::create_dir(path).map_err(failed)?;
        Ok(WorkDirectory(std::path::absolute(path).map_err(failed)?))
    }

    /// Where something of this name is in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for WorkDirectory {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(directory = %self.0.display(), %error, "could not remove a directory");
        }
    }
}
