//! The heap: PostgreSQL's table access method over the buffer pool.
//!
//! What this crate knows: which tuples of a page a snapshot sees, how tuples get onto pages and are
//! marked deleted, and which pages everybody sees whole (the visibility map). What it does not know:
//! columns (a tuple is its header and bytes), names, SQL, when a transaction ends.
//!
//! | module | what |
//! |---|---|
//! | `visibility` | whether a snapshot sees a tuple (`HeapTupleSatisfiesMVCC`) |
//! | `scan` | pages ahead of their use, in ranges that several scans can share |
//! | `page_hints` | what a scan leaves behind for the next: hint bits, all-visible marks |
//! | `bulk_insert` | many tuples onto pages of their own, which stream to disk as they fill |
//! | `spare_pages` | pages with room, in memory |
//! | `insert_targets` | which pages inserts go to, table by table |
//! | `shared_insert` | single inserts, onto pages that transactions share |
//! | `modify` | inserts for the catalogs, deletes and updates |
//! | `visibility_map` | the fork of all-visible and all-frozen bits |
//! | `relation` | a table's files, and whether its changes are logged |
//! | `logging` | what is logged of all these changes, as PostgreSQL logs them |
//! | [`redo`], `mask` | changes made again from the log; what may differ then |
//!
//! ```text
//! ScanBlocks ──▶ ReadStream ──▶ pinned page ──▶ Visibility ──▶ visible tuples, or their number
//! tuple ──▶ HeapWriter::insert_shared: lane's page, lock, put, log
//! tuples ──▶ BulkInsert: extend in bulk, lock, fill ──▶ WriteStream
//! change ──▶ pins, checks ──▶ critical section: dirty, change, record, LSN
//! log ──▶ redo ──▶ the same pages, from an image or from the page before
//! ```
//!
//! # Locks
//!
//! At most one heap page and one visibility-map page are locked at a time, the heap page first; an
//! update locks the old tuple's page and the new one's, the lower block first. Under a heap page's lock
//! nothing is read, extended or waited for but the map page's lock and writes of the log, when its
//! buffers are full; the map's page is pinned before. The locks of [`InsertTargets`] are leaves, also
//! under the extension lock of a table.

mod bulk_insert;
mod error;
mod insert_targets;
mod logging;
mod mask;
mod modify;
mod page_hints;
pub mod redo;
mod relation;
mod scan;
mod shared_insert;
mod spare_pages;
mod visibility;
mod visibility_map;

pub use bulk_insert::{BulkInsert, BulkInsertOptions, SpareSource, TupleBatch};
pub use error::HeapError;
pub use insert_targets::{InsertTargets, TableTargets};
pub use mask::mask_page;
pub use modify::HeapWriter;
pub use relation::HeapRelation;
pub use scan::{HeapPage, HeapScan, ScanBlocks};
pub use spare_pages::SparePages;
pub use visibility::tuple_is_visible;
pub use visibility_map::{PageVisibility, VisibilityMap};
