//! Redo of the resource manager Storage (`smgr_redo` in PostgreSQL's `catalog/storage.c`).

use std::sync::Arc;

use trunkline_aio::IoContext;
use trunkline_buffer::redo::{Damage, RedoRecord};
use trunkline_buffer::{BufferTag, RelFork};
use trunkline_pgformat::visibility_map::{clear_from, map_block, map_block_count};
use trunkline_pgformat::wal::rmgr::smgr::{Smgr, TRUNCATE_FSM, TRUNCATE_HEAP, TRUNCATE_VM};
use trunkline_pgformat::{BlockNumber, ForkNumber, RelFileLocator};

use super::RecoveryError;
use super::redo::{Recovering, not_supported};
use super::xlog::redo_error;
use crate::error::EngineError;

/// Redoes a record of Storage.
pub(super) fn redo(
    recovering: &mut Recovering,
    io: &mut IoContext,
    record: &RedoRecord<'_>,
) -> Result<(), EngineError> {
    let decoded = record.decoded;
    match Smgr::decode(decoded).map_err(redo_error)? {
        Some(Smgr::Create { locator, fork }) => {
            recovering.pages.pool().smgr().create(locator, fork, true)?;
            recovering
                .unfinished
                .note_created(decoded.header.xid, locator);
            Ok(())
        }
        Some(Smgr::Truncate {
            block,
            locator,
            flags,
        }) => truncate(recovering, io, block, locator, flags),
        None => Err(not_supported(decoded).into()),
    }
}

fn truncate(
    recovering: &mut Recovering,
    io: &mut IoContext,
    blocks: BlockNumber,
    locator: RelFileLocator,
    flags: i32,
) -> Result<(), EngineError> {
    // A relation that was dropped later may be gone.
    let smgr = Arc::clone(recovering.pages.pool().smgr());
    smgr.create(locator, ForkNumber::Main, true)?;
    if flags & TRUNCATE_HEAP != 0 {
        cut(recovering, RelFork::new(locator, ForkNumber::Main), blocks)?;
    }
    if flags & TRUNCATE_VM != 0 && smgr.exists(locator, ForkNumber::Vm)? {
        let map = RelFork::new(locator, ForkNumber::Vm);
        cut(recovering, map, map_block_count(blocks))?;
        clear_map_tail(recovering, io, map, blocks)?;
    }
    // Nobody here keeps the free space map: an empty one is right.
    if flags & TRUNCATE_FSM != 0 && smgr.exists(locator, ForkNumber::Fsm)? {
        cut(recovering, RelFork::new(locator, ForkNumber::Fsm), 0)?;
    }
    Ok(())
}

/// Cuts a fork that is longer, and removes what a cut before the crash may have left of it.
fn cut(recovering: &mut Recovering, fork: RelFork, blocks: BlockNumber) -> Result<(), EngineError> {
    let pool = Arc::clone(recovering.pages.pool());
    recovering.pages.forget_blocks_from(fork, blocks);
    if pool.nblocks(fork)? > blocks {
        pool.drop_blocks_from(fork.rel, fork.fork, blocks);
        pool.smgr().truncate(fork.rel, fork.fork, blocks)?;
    }
    pool.smgr()
        .remove_segments_beyond(fork.rel, fork.fork, blocks)?;
    Ok(())
}

/// The bits of blocks that are gone, on the page that stays the last.
fn clear_map_tail(
    recovering: &mut Recovering,
    io: &mut IoContext,
    map: RelFork,
    heap_blocks: BlockNumber,
) -> Result<(), EngineError> {
    let block = map_block(heap_blocks);
    if block >= recovering.pages.pool().nblocks(map)? {
        return Ok(());
    }
    let page = recovering
        .pages
        .read(io, BufferTag::new(map, block), Damage::Zeroed)
        .map_err(RecoveryError::from)?;
    if let Some(page) = page {
        let mut guard = page.exclusive();
        guard.mark_dirty();
        clear_from(&mut guard, heap_blocks);
    }
    Ok(())
}
