//! Relation forks as files: block number to segment file and offset.
//!
//! A fork is a run of segment files of 1 GiB ([`segment_path`]): `base/5/16384`, `base/5/16384.1`,
//! ... This crate opens them (for direct I/O where the file system can), knows how long forks are,
//! extends, truncates and removes them, starts reads and writes of their blocks on I/O handles that
//! the layer above has prepared, and syncs what was written. It does not know what a buffer or a page
//! is: memory is given to it by address.
//!
//! ```text
//!  buffer: handle with target, callbacks ──▶ Smgr::start_readv / start_writev (block → file, offset)
//!                                              │ a write adds its own callback: "note the sync"
//!                                              ▼
//!                                            aio: define → stage → pending
//!  checkpoint, stop ──▶ SyncCycle ──▶ fsync of every segment noted since, many at once
//! ```
//!
//! | module | what |
//! |---|---|
//! | `manager` | [`Smgr`]: create, exists, nblocks, extend, truncate, unlink, open files |
//! | `transfer` | starting reads, writes, and flushes of what the kernel has buffered |
//! | `sync`, `sync_requests` | which segments need a sync, and syncing them |
//! | `pending_unlinks` | files that stay, empty, until a checkpoint has ended |
//! | `descriptor_cache` | open segment files, at most so many |
//! | `tag` | how an I/O names a block |
//!
//! A fork may be shorter than its files while a load goes on: they have space taken ahead, all zeros
//! ([`Smgr::extend`]). What a crash leaves of it is the fork's from the next start on.
//!
//! Locks, each a leaf as far as callers can see: a fork's size (1), then the descriptor cache, the
//! sync slots, the pending unlinks or the directory set (2, never two of them at once). Nothing here waits for an I/O
//! while it holds one; file metadata calls are made under a fork's size lock.

mod descriptor_cache;
mod error;
mod manager;
mod pending_unlinks;
mod sync;
mod sync_requests;
mod tag;
mod transfer;

pub use error::{SmgrError, file_access_sqlstate, os_message};
pub use manager::{Smgr, SmgrConfig, segment_remaining};
pub use sync::{SyncCycle, SyncTimes};
pub use sync_requests::segment_path;
pub use tag::{decode_relation_tag, describe_blocks, relation_tag};
