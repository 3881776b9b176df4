//! Tablespaces (`tblspcdesc.c`, `commands/tablespace.h`).

use super::{PayloadError, found, text};
use crate::wal::cursor::Cursor;
use crate::wal::decode::DecodedRecord;
use crate::wal::info::tblspc::*;

pub(super) const fn identify(code: u8) -> Option<&'static str> {
    match code {
        CREATE => Some("CREATE"),
        DROP => Some("DROP"),
        _ => None,
    }
}

pub(super) fn describe(record: &DecodedRecord<'_>) -> Result<String, PayloadError> {
    let mut cursor = Cursor::new(record.main_data);
    Ok(match record.code() {
        CREATE => {
            let oid = found(cursor.oid(), "xl_tblspc_create_rec")?;
            format!("{oid} \"{}\"", text::c_string(cursor.rest()))
        }
        DROP => found(cursor.oid(), "xl_tblspc_drop_rec")?.to_string(),
        _ => String::new(),
    })
}
