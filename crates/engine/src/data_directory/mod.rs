//! The data directory: its layout, who has it open, and `pg_control`.
//!
//! - `layout`: the directories and files that `init` makes, as PostgreSQL's `initdb`
//! - `lock_file`: who has it, in `postmaster.pid`
//! - `control`: reading and durably overwriting `global/pg_control`
//! - `relation_maps`: the two `pg_filenode.map`

mod control;
mod layout;
mod lock_file;
mod relation_maps;

use std::path::PathBuf;

use thiserror::Error;

pub use control::ControlFileStore;
pub use layout::{
    DATABASE_OID, complete_layout, create_layout, create_root, inspect, remove_layout,
};
pub use lock_file::LockFile;
pub use relation_maps::{check_relation_maps, write_relation_maps};

/// What is at a path that should be a data directory.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum Found {
    /// Nothing, or a directory with nothing but a lock file: `init` may use it.
    Vacant,
    /// A data directory of ours or of PostgreSQL 18.
    DataDirectory,
}

/// Why a data directory cannot be used. Each is one line that says what to do.
#[derive(Debug, Error)]
pub enum DataDirectoryError {
    /// Another process has it open.
    #[error("data directory \"{}\" is in use by process {}", data_dir.display(), owner.map_or("(unknown)".to_owned(), |pid| pid.to_string()))]
    InUse {
        /// The directory.
        data_dir: PathBuf,
        /// The process, as its lock file says.
        owner: Option<u32>,
    },
    /// It exists and is something else.
    #[error("\"{}\" is not a data directory: {why}", path.display())]
    NotADataDirectory {
        /// The path.
        path: PathBuf,
        /// What is missing or odd.
        why: String,
    },
    /// `init` was asked to use a directory that has something in it.
    #[error("directory \"{}\" exists but is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// It was made by another version.
    #[error("data directory \"{}\" was initialised by PostgreSQL version {version}, which is not compatible with version 18", path.display())]
    Version {
        /// The directory.
        path: PathBuf,
        /// What its `PG_VERSION` says.
        version: String,
    },
    /// It was not made by our `init`.
    #[error("data directory \"{}\" was not initialised by trunkline; opening a cluster that PostgreSQL made is not supported", .0.display())]
    Foreign(PathBuf),
    /// `pg_control` is damaged.
    #[error("control file \"{}\" is damaged: {why}", path.display())]
    Control {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A `pg_filenode.map` is damaged.
    #[error("\"{}\" is damaged: {why}", path.display())]
    RelationMap {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// An operation on one of its files failed.
    #[error("could not access \"{}\": {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
}
