//! `pg_filenode.map` (`relmapdesc.c`, `utils/relmapper.h`).

use super::{PayloadError, found};
use crate::ids::Oid;
use crate::wal::cursor::Cursor;
use crate::wal::decode::DecodedRecord;
use crate::wal::info::relmap::*;

/// A relation map changed (`xl_relmap_update`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RelMapUpdate<'a> {
    /// The database; invalid for the shared map.
    pub database: Oid,
    /// Its tablespace.
    pub tablespace: Oid,
    /// The map's file, see [`relmap`](crate::relmap).
    pub map: &'a [u8],
}

impl<'a> RelMapUpdate<'a> {
    /// Parses the record's data.
    pub fn decode(data: &'a [u8]) -> Result<RelMapUpdate<'a>, PayloadError> {
        let decode = || {
            let mut cursor = Cursor::new(data);
            let (database, tablespace) = (cursor.oid()?, cursor.oid()?);
            let length = usize::try_from(cursor.i32()?).ok()?;
            let map = cursor.take(length)?;
            cursor.end()?;
            Some(RelMapUpdate {
                database,
                tablespace,
                map,
            })
        };
        found(decode(), "xl_relmap_update")
    }

    /// What comes before the map in the record's main data.
    pub fn encode_header(&self) -> [u8; 12] {
        let mut data = [0; 12];
        data[..4].copy_from_slice(&self.database.0.to_le_bytes());
        data[4..8].copy_from_slice(&self.tablespace.0.to_le_bytes());
        data[8..].copy_from_slice(&(self.map.len() as u32).to_le_bytes());
        data
    }
}

pub(super) const fn identify(code: u8) -> Option<&'static str> {
    match code {
        UPDATE => Some("UPDATE"),
        _ => None,
    }
}

pub(super) fn describe(record: &DecodedRecord<'_>) -> Result<String, PayloadError> {
    if record.code() != UPDATE {
        return Ok(String::new());
    }
    let update = RelMapUpdate::decode(record.main_data)?;
    Ok(format!(
        "database {} tablespace {} size {}",
        update.database,
        update.tablespace,
        update.map.len()
    ))
}
