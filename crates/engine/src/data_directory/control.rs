//! `global/pg_control`: reading it, and writing it durably, in place.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use trunkline_aio::{AlignedBuf, IoContext, OpenOptions, Storage, read_file, write_file_durably};
use trunkline_pgformat::control_file::{CONTROL_FILE_PATH, ControlFile};

use super::DataDirectoryError;

/// Where a data directory's control file is.
pub struct ControlFileStore {
    storage: Arc<dyn Storage>,
    path: PathBuf,
}

impl ControlFileStore {
    /// The control file of `data_dir`.
    pub fn new(storage: Arc<dyn Storage>, data_dir: &Path) -> ControlFileStore {
        ControlFileStore {
            storage,
            path: data_dir.join(CONTROL_FILE_PATH),
        }
    }

    /// Reads and checks it.
    ///
    /// # Errors
    /// It cannot be read, is damaged, or is of an incompatible cluster.
    pub fn read(&self, io: &mut IoContext) -> Result<ControlFile, DataDirectoryError> {
        let bytes = read_file(self.storage.as_ref(), io, &self.path).map_err(|source| {
            DataDirectoryError::File {
                path: self.path.clone(),
                source,
            }
        })?;
        let damaged = |why: String| DataDirectoryError::Control {
            path: self.path.clone(),
            why,
        };
        let control = ControlFile::decode(&bytes).map_err(|error| damaged(error.to_string()))?;
        control
            .check_compatible()
            .map_err(|error| damaged(error.to_string()))?;
        Ok(control)
    }

    /// Writes it over the old one, in place as PostgreSQL does (`update_controlfile`): that takes no
    /// space, which a full disk would refuse. All that it says is in the first sector, so that after
    /// a crash either the old or the new one is there.
    ///
    /// # Errors
    /// It cannot be written; the old one is still there.
    pub fn write(
        &self,
        control: &ControlFile,
        io: &mut IoContext,
    ) -> Result<(), DataDirectoryError> {
        let bytes = control.encode();
        self.overwrite(io, bytes.as_slice())
            .map_err(|source| DataDirectoryError::File {
                path: self.path.clone(),
                source,
            })
    }

    fn overwrite(&self, io: &mut IoContext, bytes: &[u8]) -> std::io::Result<()> {
        let storage = self.storage.as_ref();
        let file = match storage.open(&self.path, OpenOptions::READ_WRITE) {
            // The first of a new cluster.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return write_file_durably(storage, io, &self.path, bytes);
            }
            opened => opened?,
        };
        let mut buffer = AlignedBuf::zeroed(bytes.len());
        buffer.copy_from_slice(bytes);
        let (_, written) = io.write_raw(&file, buffer, 0, bytes.len())?.wait(io);
        written?;
        io.fsync(&file)
    }
}
