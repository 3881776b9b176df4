//! The directories and files of a data directory, as PostgreSQL's `initdb` lays them out.

use std::io;
use std::path::Path;
use std::sync::Arc;

use trunkline_aio::{FileKind, IoContext, Storage, read_file, write_file_durably};
use trunkline_pgformat::slru::INITIAL_FILES;
use trunkline_pgformat::version_file;
use trunkline_pgformat::wal::segment::SegmentSize;
use trunkline_pgformat::{BLCKSZ, Oid};

use super::lock_file::LOCK_FILE;
use super::{DataDirectoryError, Found};

/// The one database: `postgres`.
pub const DATABASE_OID: Oid = Oid(5);

/// Names the file that tells our data directories from PostgreSQL's, whose catalogs hold what we
/// cannot read yet.
const MARKER: &str = "trunkline.version";

/// There while a directory is being initialised, and after that was cut short.
const UNFINISHED: &str = "trunkline.unfinished";

const DIRECTORIES: &[&str] = &[
    "base",
    "base/5",
    "base/pgsql_tmp",
    "global",
    "pg_commit_ts",
    "pg_dynshmem",
    "pg_logical",
    "pg_logical/mappings",
    "pg_logical/snapshots",
    "pg_multixact",
    "pg_multixact/members",
    "pg_multixact/offsets",
    "pg_notify",
    "pg_replslot",
    "pg_serial",
    "pg_snapshots",
    "pg_stat",
    "pg_stat_tmp",
    "pg_subtrans",
    "pg_tblspc",
    "pg_twophase",
    "pg_wal",
    "pg_wal/archive_status",
    "pg_wal/summaries",
    "pg_xact",
];

const CONFIGURATION: &str = "\
# Settings of this cluster: name = value lines, with PostgreSQL's names and units.
# SHOW ALL lists them with their values.
#
#shared_buffers = 128MB          # default: a quarter of the memory
#io_method = io_uring            # io_uring, worker, posix_aio or sync; default: io_uring where it works
#io_direct = 'data,wal,wal_init'
#port = 5432
#max_connections = 100
";

/// The configuration file of a new cluster. With segments of another size, as many of them as are the
/// defaults of `max_wal_size` and `min_wal_size` (PostgreSQL's `initdb`).
fn configuration(wal_segment_size: SegmentSize) -> String {
    const DEFAULT_MAX_WAL_SEGMENTS: u32 = 64;
    const DEFAULT_MIN_WAL_SEGMENTS: u32 = 5;
    let mut text = CONFIGURATION.to_owned();
    if wal_segment_size != SegmentSize::DEFAULT {
        let megabytes = wal_segment_size.bytes() >> 20;
        text += &format!(
            "max_wal_size = {}MB\nmin_wal_size = {}MB\n",
            megabytes * DEFAULT_MAX_WAL_SEGMENTS,
            megabytes * DEFAULT_MIN_WAL_SEGMENTS
        );
    }
    text
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> DataDirectoryError {
    let path = path.to_owned();
    move |source| DataDirectoryError::File { path, source }
}

/// Says what is at `path`.
///
/// # Errors
/// It is something that is neither vacant nor a data directory that can be opened.
pub fn inspect(
    storage: &dyn Storage,
    path: &Path,
    io: &mut IoContext,
) -> Result<Found, DataDirectoryError> {
    let Some(metadata) = storage.metadata(path).map_err(failed(path))? else {
        return Ok(Found::Vacant);
    };
    let not_a_data_directory = |why: &str| DataDirectoryError::NotADataDirectory {
        path: path.to_owned(),
        why: why.to_owned(),
    };
    if metadata.kind != FileKind::Directory {
        return Err(not_a_data_directory("it is not a directory"));
    }
    let version_path = path.join("PG_VERSION");
    if !storage
        .exists(&version_path)
        .map_err(failed(&version_path))?
    {
        let mut entries = storage.list(path).map_err(failed(path))?;
        entries.retain(|entry| entry.name != LOCK_FILE);
        return if entries.is_empty() {
            Ok(Found::Vacant)
        } else if entries.iter().any(|entry| entry.name == UNFINISHED) {
            Err(not_a_data_directory(
                "its initialisation is going on or was cut short; if it was, remove the directory",
            ))
        } else {
            Err(not_a_data_directory(
                "it is not empty, and has no file PG_VERSION",
            ))
        };
    }
    let contents = read_file(storage, io, &version_path).map_err(failed(&version_path))?;
    if version_file::decode(&contents) != Some(18) {
        return Err(DataDirectoryError::Version {
            path: path.to_owned(),
            version: String::from_utf8_lossy(&contents).trim().to_owned(),
        });
    }
    let marker = path.join(MARKER);
    if !storage.exists(&marker).map_err(failed(&marker))? {
        return Err(DataDirectoryError::Foreign(path.to_owned()));
    }
    Ok(Found::DataDirectory)
}

/// Makes the directory `path` itself, with those above it, if it is missing.
///
/// # Errors
/// A directory cannot be made.
pub fn create_root(storage: &dyn Storage, path: &Path) -> Result<(), DataDirectoryError> {
    let mut missing = Vec::new();
    let mut ancestor = Some(path);
    while let Some(directory) = ancestor.filter(|directory| !directory.as_os_str().is_empty()) {
        if storage.exists(directory).map_err(failed(directory))? {
            break;
        }
        missing.push(directory);
        ancestor = directory.parent();
    }
    for directory in missing.into_iter().rev() {
        match storage.create_dir(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed(directory)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Makes the directories in `path`, which is vacant, and the files that are no relations.
///
/// # Errors
/// Something cannot be made.
pub fn create_layout(
    storage: &Arc<dyn Storage>,
    path: &Path,
    wal_segment_size: SegmentSize,
    io: &mut IoContext,
) -> Result<(), DataDirectoryError> {
    let unfinished = path.join(UNFINISHED);
    write_file_durably(storage.as_ref(), io, &unfinished, b"").map_err(failed(&unfinished))?;
    for name in DIRECTORIES {
        let directory = path.join(name);
        storage.create_dir(&directory).map_err(failed(&directory))?;
    }
    let mut write = |name: &str, bytes: &[u8]| {
        let file = path.join(name);
        write_file_durably(storage.as_ref(), io, &file, bytes).map_err(failed(&file))
    };
    for name in INITIAL_FILES {
        write(name, &[0; BLCKSZ])?;
    }
    write(
        "postgresql.conf",
        configuration(wal_segment_size).as_bytes(),
    )?;
    write("base/5/PG_VERSION", &version_file::encode())?;
    Ok(())
}

/// Marks the directory as complete: until then it is not a data directory.
///
/// # Errors
/// A file cannot be written.
pub fn complete_layout(
    storage: &dyn Storage,
    path: &Path,
    io: &mut IoContext,
) -> Result<(), DataDirectoryError> {
    let marker = path.join(MARKER);
    let version = format!("{}\n", env!("CARGO_PKG_VERSION"));
    write_file_durably(storage, io, &marker, version.as_bytes()).map_err(failed(&marker))?;
    for name in DIRECTORIES {
        let directory = path.join(name);
        storage.sync_dir(&directory).map_err(failed(&directory))?;
    }
    let version_path = path.join("PG_VERSION");
    write_file_durably(storage, io, &version_path, &version_file::encode())
        .map_err(failed(&version_path))?;
    let unfinished = path.join(UNFINISHED);
    storage.unlink(&unfinished).map_err(failed(&unfinished))?;
    storage.sync_dir(path).map_err(failed(path))
}

/// Removes everything in `path` but the lock file: an initialisation that failed leaves the directory
/// as vacant as it found it.
///
/// # Errors
/// Something cannot be removed.
pub fn remove_layout(storage: &dyn Storage, path: &Path) -> Result<(), DataDirectoryError> {
    fn remove(storage: &dyn Storage, directory: &Path) -> io::Result<()> {
        for entry in storage.list(directory)? {
            let path = directory.join(&entry.name);
            if entry.kind == FileKind::Directory {
                remove(storage, &path)?;
                storage.remove_dir(&path)?;
            } else if entry.name != LOCK_FILE {
                storage.unlink(&path)?;
            }
        }
        Ok(())
    }
    remove(storage, path).map_err(failed(path))
}
