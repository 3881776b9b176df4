//! B-tree indexes (`nbtdesc.c`, `access/nbtxlog.h`).

use super::{PayloadError, found, text};
use crate::wal::cursor::Cursor;
use crate::wal::decode::DecodedRecord;
use crate::wal::info::btree::*;

pub(super) const fn identify(code: u8) -> Option<&'static str> {
    Some(match code {
        INSERT_LEAF => "INSERT_LEAF",
        INSERT_UPPER => "INSERT_UPPER",
        INSERT_META => "INSERT_META",
        SPLIT_L => "SPLIT_L",
        SPLIT_R => "SPLIT_R",
        INSERT_POST => "INSERT_POST",
        DEDUP => "DEDUP",
        DELETE => "DELETE",
        UNLINK_PAGE => "UNLINK_PAGE",
        UNLINK_PAGE_META => "UNLINK_PAGE_META",
        NEWROOT => "NEWROOT",
        MARK_PAGE_HALFDEAD => "MARK_PAGE_HALFDEAD",
        VACUUM => "VACUUM",
        REUSE_PAGE => "REUSE_PAGE",
        META_CLEANUP => "META_CLEANUP",
        _ => return None,
    })
}

pub(super) fn describe(record: &DecodedRecord<'_>) -> Result<String, PayloadError> {
    let main = Cursor::new(record.main_data);
    let block = record.block(0).map_or(&[][..], |block| block.data);
    let (description, structure) = match record.code() {
        INSERT_LEAF | INSERT_UPPER | INSERT_META | INSERT_POST => {
            (describe_insert(main), "xl_btree_insert")
        }
        SPLIT_L | SPLIT_R => (describe_split(main), "xl_btree_split"),
        DEDUP => (describe_dedup(main), "xl_btree_dedup"),
        VACUUM => (describe_vacuum(main, block), "xl_btree_vacuum"),
        DELETE => (describe_delete(main, block), "xl_btree_delete"),
        MARK_PAGE_HALFDEAD => (describe_halfdead(main), "xl_btree_mark_page_halfdead"),
        UNLINK_PAGE | UNLINK_PAGE_META => (describe_unlink(main), "xl_btree_unlink_page"),
        NEWROOT => (describe_newroot(main), "xl_btree_newroot"),
        REUSE_PAGE => (describe_reuse(main), "xl_btree_reuse_page"),
        META_CLEANUP => (describe_cleanup(Cursor::new(block)), "xl_btree_metadata"),
        _ => return Ok(String::new()),
    };
    found(description, structure)
}

fn describe_insert(mut main: Cursor<'_>) -> Option<String> {
    Some(format!("off: {}", main.u16()?))
}

fn describe_split(mut main: Cursor<'_>) -> Option<String> {
    let level = main.u32()?;
    let (first_right, new_item, posting) = (main.u16()?, main.u16()?, main.u16()?);
    Some(format!(
        "level: {level}, firstrightoff: {first_right}, newitemoff: {new_item}, \
         postingoff: {posting}"
    ))
}

fn describe_dedup(mut main: Cursor<'_>) -> Option<String> {
    Some(format!("nintervals: {}", main.u16()?))
}

fn describe_vacuum(mut main: Cursor<'_>, block: &[u8]) -> Option<String> {
    let (deleted, updated) = (main.u16()?, main.u16()?);
    Some(format!(
        "ndeleted: {deleted}, nupdated: {updated}{}",
        describe_items(block, deleted, updated)?
    ))
}

fn describe_delete(mut main: Cursor<'_>, block: &[u8]) -> Option<String> {
    let horizon = main.xid()?;
    let (deleted, updated) = (main.u16()?, main.u16()?);
    let is_catalog = text::letter(main.bool()?);
    Some(format!(
        "snapshotConflictHorizon: {horizon}, ndeleted: {deleted}, nupdated: {updated}, \
         isCatalogRel: {is_catalog}{}",
        describe_items(block, deleted, updated)?
    ))
}

/// Line pointers of deleted tuples, and of posting lists with the entries that they lose; nothing
/// where the page itself is logged instead.
fn describe_items(block: &[u8], deleted: u16, updated: u16) -> Option<String> {
    if block.is_empty() {
        return Some(String::new());
    }
    let mut cursor = Cursor::new(block);
    let deleted = cursor.array_of(deleted.into(), 2, Cursor::u16)?;
    let updated = cursor.array_of(updated.into(), 2, Cursor::u16)?;
    let mut updates = Vec::with_capacity(updated.len());
    for offset in updated {
        let count = cursor.u16()?;
        let entries: Vec<String> = cursor
            .array_of(count.into(), 2, Cursor::u16)?
            .iter()
            .map(u16::to_string)
            .collect();
        updates.push(format!(
            "{{ off: {offset}, nptids: {count}, ptids: [{}] }}",
            entries.join(", ")
        ));
    }
    Some(format!(
        ", deleted:{}, updated: [{}]",
        text::array(deleted),
        updates.join(", ")
    ))
}

fn describe_halfdead(mut main: Cursor<'_>) -> Option<String> {
    // The line pointer in the parent, and padding.
    main.skip(4)?;
    let (leaf, left, right, top) = (main.u32()?, main.u32()?, main.u32()?, main.u32()?);
    Some(format!(
        "topparent: {top}, leaf: {leaf}, left: {left}, right: {right}"
    ))
}

fn describe_unlink(mut main: Cursor<'_>) -> Option<String> {
    let (left, right, level) = (main.u32()?, main.u32()?, main.u32()?);
    main.skip(4)?;
    let safe_xid = describe_full_xid(main.u64()?);
    let (leaf_left, leaf_right, leaf_top) = (main.u32()?, main.u32()?, main.u32()?);
    Some(format!(
        "left: {left}, right: {right}, level: {level}, safexid: {safe_xid}, \
         leafleft: {leaf_left}, leafright: {leaf_right}, leaftopparent: {leaf_top}"
    ))
}

fn describe_newroot(mut main: Cursor<'_>) -> Option<String> {
    main.skip(4)?;
    Some(format!("level: {}", main.u32()?))
}

fn describe_reuse(mut main: Cursor<'_>) -> Option<String> {
    let locator = text::locator(main.locator()?);
    // The block.
    main.skip(4)?;
    let horizon = describe_full_xid(main.u64()?);
    let is_catalog = text::letter(main.bool()?);
    Some(format!(
        "rel: {locator}, snapshotConflictHorizon: {horizon}, isCatalogRel: {is_catalog}"
    ))
}

fn describe_cleanup(mut metadata: Cursor<'_>) -> Option<String> {
    // Version, root and level, twice.
    metadata.skip(20)?;
    Some(format!("last_cleanup_num_delpages: {}", metadata.u32()?))
}

/// Epoch and xid.
fn describe_full_xid(xid: u64) -> String {
    format!("{}:{}", xid >> 32, xid as u32)
}
