//! Multixacts (`mxactdesc.c`, `access/multixact.h`).

use super::{PayloadError, found};
use crate::ids::Xid;
use crate::wal::cursor::Cursor;
use crate::wal::decode::DecodedRecord;
use crate::wal::info::multixact::*;

pub(super) const fn identify(code: u8) -> Option<&'static str> {
    match code {
        ZERO_OFF_PAGE => Some("ZERO_OFF_PAGE"),
        ZERO_MEM_PAGE => Some("ZERO_MEM_PAGE"),
        CREATE_ID => Some("CREATE_ID"),
        TRUNCATE_ID => Some("TRUNCATE_ID"),
        _ => None,
    }
}

pub(super) fn describe(record: &DecodedRecord<'_>) -> Result<String, PayloadError> {
    let cursor = Cursor::new(record.main_data);
    match record.code() {
        ZERO_OFF_PAGE | ZERO_MEM_PAGE => {
            found(describe_page(cursor), "XLOG_MULTIXACT_ZERO_OFF_PAGE")
        }
        CREATE_ID => found(describe_create(cursor), "xl_multixact_create"),
        TRUNCATE_ID => found(describe_truncate(cursor), "xl_multixact_truncate"),
        _ => Ok(String::new()),
    }
}

fn describe_page(mut cursor: Cursor<'_>) -> Option<String> {
    cursor.i64().map(|page| page.to_string())
}

fn describe_create(mut cursor: Cursor<'_>) -> Option<String> {
    let (multi, offset) = (cursor.u32()?, cursor.u32()?);
    let members = cursor.counted(8, |member| Some((member.xid()?, member.u32()?)))?;
    let count = members.len();
    let mut text = format!("{multi} offset {offset} nmembers {count}: ");
    for (xid, status) in members {
        text += &describe_member(xid, status);
    }
    Some(text)
}

fn describe_member(xid: Xid, status: u32) -> String {
    let status = match status {
        0 => "keysh",
        1 => "sh",
        2 => "fornokeyupd",
        3 => "forupd",
        4 => "nokeyupd",
        5 => "upd",
        _ => "unk",
    };
    format!("{xid} ({status}) ")
}

fn describe_truncate(mut cursor: Cursor<'_>) -> Option<String> {
    cursor.oid()?;
    let (start, end) = (cursor.u32()?, cursor.u32()?);
    let (start_member, end_member) = (cursor.u32()?, cursor.u32()?);
    Some(format!(
        "offsets [{start}, {end}), members [{start_member}, {end_member})"
    ))
}
