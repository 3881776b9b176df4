//! The visibility map. Its bits are cleared whatever the LSNs of map and table say: a cleared bit is
//! right at any time, and before that a record may have set it.

use trunkline_aio::IoContext;
use trunkline_buffer::redo::{Damage, Redo, RedoError, RedoRecord};
use trunkline_buffer::{BufferTag, RelFork};
use trunkline_pgformat::wal::rmgr::heap2::HeapVisible;
use trunkline_pgformat::{BlockNumber, ForkNumber, PageMut, RelFileLocator, visibility_map};

pub(super) const BOTH_BITS: u8 = visibility_map::VISIBILITYMAP_VALID_BITS;
pub(super) const FROZEN_BIT: u8 = visibility_map::VISIBILITYMAP_ALL_FROZEN;

/// Clears bits of a table's block. The map is made as long as that needs, as in PostgreSQL.
pub(super) fn clear(
    redo: &mut Redo,
    io: &mut IoContext,
    table: RelFileLocator,
    block: BlockNumber,
    bits: u8,
) -> Result<(), RedoError> {
    let fork = RelFork::new(table, ForkNumber::Vm);
    let tag = BufferTag::new(fork, visibility_map::map_block(block));
    let Some(buffer) = redo.read(io, tag, Damage::Zeroed)? else {
        return Ok(());
    };
    let mut guard = buffer.exclusive();
    if visibility_map::status(&guard, block) & bits != 0 {
        guard.mark_dirty();
        visibility_map::clear(&mut guard, block, bits);
    }
    Ok(())
}

/// A page became all-visible: the table's page first, so that the map is never ahead of it. The map
/// gets its bits even if the table's page is gone or newer: what clears them comes later in the log.
pub(super) fn visible(
    redo: &mut Redo,
    io: &mut IoContext,
    record: &RedoRecord<'_>,
    visible: HeapVisible,
) -> Result<(), RedoError> {
    redo.apply(io, record, 1, Damage::Refused, |page| {
        page.set_all_visible(true);
        Ok(())
    })?;
    let block = record.block(1)?.block;
    let bits = visible.flags & BOTH_BITS;
    redo.apply(io, record, 0, Damage::Zeroed, |page| {
        init_if_new(page);
        visibility_map::set(page.bytes_mut(), block, bits);
        Ok(())
    })?;
    Ok(())
}

fn init_if_new(page: &mut PageMut<'_>) {
    if page.view().is_new() {
        page.init(0);
    }
}
