//! Databases' directories (`dbasedesc.c`, `commands/dbcommands_xlog.h`).

use super::{PayloadError, found, text};
use crate::ids::Oid;
use crate::wal::cursor::Cursor;
use crate::wal::decode::DecodedRecord;
use crate::wal::info::dbase::*;

/// The contents of a record of this resource manager.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Dbase {
    /// Made by copying another's files (`xl_dbase_create_file_copy_rec`).
    CreateFileCopy {
        /// The database.
        database: Oid,
        /// Its tablespace.
        tablespace: Oid,
        /// The one that was copied.
        source_database: Oid,
        /// Its tablespace.
        source_tablespace: Oid,
    },
    /// The directory was made; every block is logged afterwards (`xl_dbase_create_wal_log_rec`).
    CreateWalLog {
        /// The database.
        database: Oid,
        /// Its tablespace.
        tablespace: Oid,
    },
    /// Dropped (`xl_dbase_drop_rec`).
    Drop {
        /// The database.
        database: Oid,
        /// The tablespaces that it had a directory in.
        tablespaces: Vec<Oid>,
    },
}

impl Dbase {
    /// What `record`, one of this resource manager, holds. `None`: there is no such code.
    pub fn decode(record: &DecodedRecord<'_>) -> Result<Option<Dbase>, PayloadError> {
        let mut cursor = Cursor::new(record.main_data);
        let (dbase, structure) = match record.code() {
            CREATE_FILE_COPY => {
                let mut decode = || {
                    Some(Dbase::CreateFileCopy {
                        database: cursor.oid()?,
                        tablespace: cursor.oid()?,
                        source_database: cursor.oid()?,
                        source_tablespace: cursor.oid()?,
                    })
                };
                (decode(), "xl_dbase_create_file_copy_rec")
            }
            CREATE_WAL_LOG => {
                let mut decode = || {
                    Some(Dbase::CreateWalLog {
                        database: cursor.oid()?,
                        tablespace: cursor.oid()?,
                    })
                };
                (decode(), "xl_dbase_create_wal_log_rec")
            }
            DROP => {
                let mut decode = || {
                    Some(Dbase::Drop {
                        database: cursor.oid()?,
                        tablespaces: cursor.counted(4, Cursor::oid)?,
                    })
                };
                (decode(), "xl_dbase_drop_rec")
            }
            _ => return Ok(None),
        };
        found(dbase.filter(|_| cursor.end().is_some()), structure).map(Some)
    }
}

pub(super) const fn identify(code: u8) -> Option<&'static str> {
    match code {
        CREATE_FILE_COPY => Some("CREATE_FILE_COPY"),
        CREATE_WAL_LOG => Some("CREATE_WAL_LOG"),
        DROP => Some("DROP"),
        _ => None,
    }
}

pub(super) fn describe(record: &DecodedRecord<'_>) -> Result<String, PayloadError> {
    Ok(match Dbase::decode(record)? {
        Some(Dbase::CreateFileCopy {
            database,
            tablespace,
            source_database,
            source_tablespace,
        }) => {
            format!("copy dir {source_tablespace}/{source_database} to {tablespace}/{database}")
        }
        Some(Dbase::CreateWalLog {
            database,
            tablespace,
        }) => format!("create dir {tablespace}/{database}"),
        Some(Dbase::Drop {
            database,
            tablespaces,
        }) => {
            let directories = tablespaces
                .iter()
                .map(|tablespace| format!("{tablespace}/{database}"));
            format!("dir{}", text::spaced(directories))
        }
        None => String::new(),
    })
}
