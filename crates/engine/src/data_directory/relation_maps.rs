//! The two `pg_filenode.map`: which files the mapped catalogs are in. Nothing moves them yet, so a map
//! that says otherwise than `init` did is damaged, and what it leads to would be the wrong file.

use std::path::{Path, PathBuf};

use trunkline_aio::{IoContext, Storage, read_file, write_file_durably};
use trunkline_catalog::relation_map;
use trunkline_pgformat::relmap::RelMap;

use super::DataDirectoryError;

const MAPS: [(&str, bool); 2] = [("global", true), ("base/5", false)];

fn map_file(data_dir: &Path, directory: &str) -> PathBuf {
    data_dir.join(directory).join("pg_filenode.map")
}

/// Writes both maps of a new cluster.
///
/// # Errors
/// A file cannot be written.
pub fn write_relation_maps(
    storage: &dyn Storage,
    data_dir: &Path,
    io: &mut IoContext,
) -> Result<(), DataDirectoryError> {
    for (directory, is_shared) in MAPS {
        let path = map_file(data_dir, directory);
        let mut map = RelMap::default();
        for (catalog, file_number) in relation_map(is_shared) {
            if let Err(error) = map.set(catalog, file_number) {
                let why = error.to_string();
                return Err(DataDirectoryError::RelationMap { path, why });
            }
        }
        write_file_durably(storage, io, &path, &map.encode())
            .map_err(|source| DataDirectoryError::File { path, source })?;
    }
    Ok(())
}

/// Reads and checks both maps.
///
/// # Errors
/// One cannot be read, is damaged, or maps a catalog to another file than its own.
pub fn check_relation_maps(
    storage: &dyn Storage,
    data_dir: &Path,
    io: &mut IoContext,
) -> Result<(), DataDirectoryError> {
    for (directory, is_shared) in MAPS {
        let path = map_file(data_dir, directory);
        let bytes = match read_file(storage, io, &path) {
            Ok(bytes) => bytes,
            Err(source) => return Err(DataDirectoryError::File { path, source }),
        };
        let damaged = |why: String| DataDirectoryError::RelationMap {
            path: path.clone(),
            why,
        };
        let map = RelMap::decode(&bytes).map_err(|error| damaged(error.to_string()))?;
        for (catalog, file_number) in relation_map(is_shared) {
            if map.get(catalog) != Some(file_number) {
                return Err(damaged(format!(
                    "it does not map catalog {catalog} to file {file_number}"
                )));
            }
        }
    }
    Ok(())
}
