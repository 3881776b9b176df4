//! PostgreSQL 18's on-disk formats as bytes: no I/O, no locks, no knowledge of who owns a page.
//!
//! What is here, from the page inwards and then the files around it:
//!
//! | module | what | PostgreSQL's source |
//! |---|---|---|
//! | [`page`] | page header, adding and reading items | `storage/bufpage.h`, `page/bufpage.c` |
//! | [`line_pointer`] | the item array of a page | `storage/itemid.h` |
//! | [`item_pointer`] | where a tuple is: block and offset | `storage/itemptr.h` |
//! | [`heap_tuple`] | heap tuple header, null bitmap | `access/htup_details.h` |
//! | [`varlena`] | headers of variable-length values | `varatt.h` |
//! | [`checksum`] | page checksum and page verification | `storage/checksum_impl.h` |
//! | [`visibility_map`] | the `_vm` fork's pages | `heap/visibilitymap.c` |
//! | [`slru`] | pages and segments of `pg_xact` and its kin | `transam/clog.c`, `slru.c` |
//! | [`control_file`] | `global/pg_control` | `catalog/pg_control.h` |
//! | [`relmap`] | `pg_filenode.map` | `cache/relmapper.c` |
//! | [`version_file`] | `PG_VERSION` | `miscinit.c` |
//! | [`wal`] | the write-ahead log: pages, records, their contents | `access/xlogrecord.h`, `xlogreader.c`, `access/rmgrdesc/` |
//! | [`pglz`] | PostgreSQL's own compression | `common/pg_lzcompress.c` |
//!
//! Data flows one way: callers hand in bytes that they own (a buffer, a file's contents) and get
//! views or values. Everything that reads accepts any bytes: a page that makes no sense yields
//! `None`, an error or a count of zero, never a panic. Numbers are little-endian, as PostgreSQL
//! writes them on the machines that this crate is for.

pub mod align;
pub mod checksum;
pub mod control_file;
mod crc;
pub mod heap_tuple;
mod ids;
pub mod item_pointer;
pub mod line_pointer;
pub mod page;
pub mod pglz;
pub mod relmap;
pub mod slru;
pub mod varlena;
pub mod version_file;
pub mod visibility_map;
pub mod wal;

pub use align::{MAXIMUM_ALIGNOF, max_align};
pub use checksum::{page_checksum, verify_page};
pub use crc::{Crc32c, crc32c};
pub use heap_tuple::{HeapTupleHeader, HeapTupleMut, HeapTupleRef, MAX_HEAP_TUPLE_SIZE};
pub use ids::*;
pub use item_pointer::ItemPointer;
pub use line_pointer::{LinePointer, LinePointerState};
pub use page::{PageBytes, PageMut, PageRef};
