//! The write-ahead log as bytes: segments, pages, records, and what the resource managers put in
//! them. No I/O; `crates/wal` does that.
//!
//! | module | what | PostgreSQL's source |
//! |---|---|---|
//! | [`segment`] | file names, LSN arithmetic, usable byte positions | `access/xlog_internal.h`, `transam/xlog.c` |
//! | [`page_header`] | the header of each 8192-byte page | `access/xlog_internal.h` |
//! | [`record`] | a record's header, block references, images; assembling a record | `access/xlogrecord.h`, `transam/xloginsert.c` |
//! | [`decode`] | taking a record apart, restoring page images | `transam/xlogreader.c` |
//! | [`rmgr`] | what each resource manager's records hold, and the text of `pg_waldump` | `access/rmgrdesc/` |
//! | [`reader`] | finding the records in pages, and where the log ends | `transam/xlogreader.c` |
//!
//! # Writing a record
//!
//! [`record::Record`] names the parts, all borrowed. [`record::Record::assemble`] lays out the
//! headers in a fixed buffer and computes the CRC of everything but the record's own header; it
//! tells the record's length, and nothing was copied. Then the caller reserves that many bytes of
//! the log, learns by it where the previous record began, and
//! [`record::AssembledRecord::finish`] puts that and the final CRC into the header. What is then
//! to be copied to the log is [`record::AssembledRecord::pieces`], in order:
//!
//! ```
//! use trunkline_pgformat::wal::record::{HeaderBuffer, Record};
//! use trunkline_pgformat::wal::{info, rmgr_id::RmgrId};
//! use trunkline_pgformat::{Lsn, Xid};
//!
//! let next_oid = 24_576_u32.to_le_bytes();
//! let record = Record {
//!     rmgr: RmgrId::XLOG,
//!     info: info::xlog::NEXTOID,
//!     xid: Xid::INVALID,
//!     origin: None,
//!     toplevel_xid: None,
//!     blocks: &[],
//!     main_data: &[&next_oid],
//! };
//! let mut headers = HeaderBuffer::new();
//! let mut assembled = record.assemble(&mut headers)?;
//! assert_eq!(assembled.total_length(), 30);
//! let previous = Lsn(0x0100_0028); // what the reservation of 30 bytes says
//! assembled.finish(previous);
//! let bytes: Vec<u8> = assembled.pieces().flatten().copied().collect();
//! assert_eq!(bytes.len(), 30);
//! # Ok::<(), trunkline_pgformat::wal::record::RecordError>(())
//! ```
//!
//! The copier starts each record at a multiple of eight, leaves room for page headers
//! ([`segment::SegmentSize`] converts between positions with and without them), and sets
//! `xlp_rem_len` and [`page_header::XLP_FIRST_IS_CONTRECORD`] on each page that a record continues
//! on.

mod cursor;
pub mod decode;
pub mod info;
pub mod page_header;
pub mod reader;
pub mod record;
pub mod rmgr;
pub mod rmgr_id;
pub mod segment;

/// Bytes of a page of the log (`XLOG_BLCKSZ`).
pub const XLOG_BLCKSZ: usize = 8192;

/// A timeline: a history of the cluster (`TimeLineID`).
pub type TimeLineId = u32;
