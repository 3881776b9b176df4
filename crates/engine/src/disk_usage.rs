//! What databases and tablespaces take on disk (`utils/adt/dbsize.c`).

use std::path::Path;

use trunkline_aio::{FileKind, Storage};
use trunkline_pgformat::{DEFAULTTABLESPACE_OID, GLOBALTABLESPACE_OID, Oid};

use crate::database::Database;

impl Database {
    /// Bytes of a database's files; `None` if there is no such database.
    pub fn database_bytes(&self, database: Oid) -> Option<u64> {
        let directory = self.data_dir().join("base").join(database.to_string());
        directory_bytes(self.smgr().storage().as_ref(), &directory)
    }

    /// Bytes of the files in a tablespace; `None` if there is no such tablespace.
    pub fn tablespace_bytes(&self, tablespace: Oid) -> Option<u64> {
        let storage = self.smgr().storage().as_ref();
        match tablespace {
            GLOBALTABLESPACE_OID => directory_bytes(storage, &self.data_dir().join("global")),
            DEFAULTTABLESPACE_OID => {
                let base = self.data_dir().join("base");
                let databases = storage.list(&base).ok()?;
                let bytes = databases
                    .iter()
                    .filter_map(|database| directory_bytes(storage, &base.join(&database.name)));
                Some(bytes.sum())
            }
            _ => None,
        }
    }
}

/// Bytes of the files right in a directory, which may go while they are counted.
fn directory_bytes(storage: &dyn Storage, directory: &Path) -> Option<u64> {
    let entries = storage.list(directory).ok()?;
    let bytes = entries
        .iter()
        .filter(|entry| entry.kind == FileKind::File)
        .filter_map(|entry| storage.metadata(&directory.join(&entry.name)).ok()?)
        .map(|metadata| metadata.len_bytes);
    Some(bytes.sum())
}
