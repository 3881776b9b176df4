//! Sequences (`seqdesc.c`, `commands/sequence.h`).

use super::{PayloadError, found, text};
use crate::wal::cursor::Cursor;
use crate::wal::decode::DecodedRecord;
use crate::wal::info::sequence::*;

pub(super) const fn identify(code: u8) -> Option<&'static str> {
    match code {
        LOG => Some("LOG"),
        _ => None,
    }
}

pub(super) fn describe(record: &DecodedRecord<'_>) -> Result<String, PayloadError> {
    if record.code() != LOG {
        return Ok(String::new());
    }
    let locator = found(Cursor::new(record.main_data).locator(), "xl_seq_rec")?;
    Ok(format!("rel {}", text::locator(locator)))
}
