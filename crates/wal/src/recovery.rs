//! What recovery does to the log's files before the first new record (W9).

use std::sync::Arc;

use trunkline_aio::{IoContext, Storage};
use trunkline_pgformat::Lsn;
use trunkline_pgformat::wal::XLOG_BLCKSZ;

use crate::config::WalConfig;
use crate::error::WalError;
use crate::segments::Segments;

const PAGE: u64 = XLOG_BLCKSZ as u64;

/// Makes sure that nothing behind `end` can ever be taken for a part of the log. Writes that were in
/// flight at a crash leave holes, with whole records behind them that were never acknowledged; a
/// record written into such a hole later would make them follow. So the rest of `end`'s segment
/// becomes zeros, and later segments are removed, durably, before the first new record.
///
/// A crash in the middle leaves the log with the same end.
///
/// # Errors
/// A file operation failed; to be tried again, or recovery has failed.
pub fn invalidate_beyond(
    io: &mut IoContext,
    storage: &Arc<dyn Storage>,
    config: &WalConfig,
    end: Lsn,
) -> Result<(), WalError> {
    let segments = Segments::new(config.clone(), Arc::clone(storage));
    let size = config.segment_size;
    let number = size.segment_of(end);
    let offset = u64::from(size.offset_of(end));
    segments.remove_temporary()?;
    if offset == 0 {
        segments.remove_from(number)?;
        return Ok(());
    }
    segments.remove_from(number + 1)?;
    let page_start = offset - offset % PAGE;
    let mut head = vec![0; (offset - page_start) as usize];
    read_exactly(
        io,
        &segments,
        config,
        Lsn(end.0 - head.len() as u64),
        &mut head,
    )?;
    segments.overwrite(io, number, page_start, &head)
}

/// Reads bytes that must be there, from one segment.
pub(crate) fn read_exactly(
    io: &mut IoContext,
    segments: &Segments,
    config: &WalConfig,
    from: Lsn,
    bytes: &mut [u8],
) -> Result<(), WalError> {
    let size = config.segment_size;
    let number = size.segment_of(from);
    let file = segments.file(io, number)?;
    let path = segments.path(number);
    let found = io
        .read_unaligned(&file, size.offset_of(from).into(), bytes)
        .map_err(WalError::file("read", &path))?;
    if found < bytes.len() {
        return Err(WalError::CannotContinue {
            at: from,
            reason: format!("\"{}\" is too short", path.display()),
        });
    }
    Ok(())
}
