//! The first segment of a new cluster (`BootStrapXLOG` in PostgreSQL's `transam/xlog.c`).

use std::sync::Arc;

use trunkline_aio::{IoContext, Storage};
use trunkline_pgformat::Lsn;
use trunkline_pgformat::wal::page_header::{
    LONG_HEADER_SIZE, LongPageHeader, PageHeader, XLOG_PAGE_MAGIC,
};
use trunkline_pgformat::wal::record::{HeaderBuffer, Record};
use trunkline_pgformat::wal::rmgr_id::RmgrId;
use trunkline_pgformat::wal::segment::SegmentSize;
use trunkline_pgformat::wal::{XLOG_BLCKSZ, info};

use crate::config::WalConfig;
use crate::error::WalError;
use crate::insert::Inserted;
use crate::segments::Segments;

/// Segment 0 is never used, so that LSN 0 means none.
const FIRST_SEGMENT: u64 = 1;

/// Where the first record of a cluster is: its checkpoint, which is its own redo pointer.
pub fn first_record(segment_size: SegmentSize) -> Lsn {
    Lsn(segment_size.start_of(FIRST_SEGMENT).0 + LONG_HEADER_SIZE as u64)
}

/// Makes the first segment of a cluster, durably, with a shutdown checkpoint of these contents as its
/// only record. `config.directory` is there, and empty.
///
/// # Errors
/// A file operation failed.
pub fn create_first_segment(
    io: &mut IoContext,
    storage: &Arc<dyn Storage>,
    config: &WalConfig,
    checkpoint: &[u8],
) -> Result<Inserted, WalError> {
    let size = config.segment_size;
    let header = PageHeader {
        magic: XLOG_PAGE_MAGIC,
        flags: 0,
        timeline: config.timeline,
        page_address: size.start_of(FIRST_SEGMENT),
        remaining_length: 0,
    };
    let mut page = header
        .encode_long(&LongPageHeader {
            system_identifier: config.system_identifier,
            segment_size: size.bytes(),
            page_size: XLOG_BLCKSZ as u32,
        })
        .to_vec();
    let record = Record {
        rmgr: RmgrId::XLOG,
        info: info::xlog::CHECKPOINT_SHUTDOWN,
        xid: trunkline_pgformat::Xid::INVALID,
        origin: None,
        toplevel_xid: None,
        blocks: &[],
        main_data: &[checkpoint],
    };
    let mut headers = HeaderBuffer::new();
    let mut assembled = record.assemble(&mut headers)?;
    assembled.finish(Lsn::INVALID);
    page.extend(assembled.pieces().flatten());
    if page.len() > XLOG_BLCKSZ {
        return Err(WalError::RecordTooLong {
            length_bytes: assembled.total_length(),
            limit_bytes: XLOG_BLCKSZ - LONG_HEADER_SIZE,
        });
    }
    let end = size.start_of(FIRST_SEGMENT).0 + page.len().next_multiple_of(8) as u64;
    page.resize(XLOG_BLCKSZ, 0);
    let segments = Segments::new(config.clone(), Arc::clone(storage));
    segments.make(io, FIRST_SEGMENT, &page)?;
    Ok(Inserted {
        start: first_record(size),
        end: Lsn(end),
    })
}
