//! The write-ahead log: records go in from many threads at once, and to the disk in several writes
//! beside each other.
//!
//! It takes block references and page bytes and decides which pages go along as images; it does not
//! know what is on a page, what a transaction is, or when a checkpoint is due. The bytes of records
//! and pages are `trunkline-pgformat`'s, the I/O is `trunkline-aio`'s.
//!
//! ```text
//!  insert(record) ─▶ images? lengths, CRC ─▶ reserve: place, ticket, redo pointer (one small lock)
//!                                              │
//!                     wait for a free page ◀───┤ copy into the ring of pages
//!                     (drives writes)          ▼
//!                                            publish the ticket ─▶ complete up to …
//!                                                                     │
//!  flush(lsn) ─▶ complete up to lsn? ─▶ claim ranges, one write each ─┘─▶ aio ─▶ pg_wal/…
//!      │                                                                   │ any thread
//!      └─ wait for the oldest before lsn ◀── durable up to … ◀── (sync) ◀──┘
//! ```
//!
//! | module | what |
//! |---|---|
//! | `wal` | [`Wal`]: starting, positions, settings, statistics |
//! | `record`, `insert` | [`WalRecord`]; which pages need images; reserve, copy, publish |
//! | `segment_switch` | going on in a new segment |
//! | `compression` | compressors of those images |
//! | `reservation`, `tickets` | where a record goes, and how far the log is whole |
//! | `ring` | the newest pages in memory |
//! | `writer`, `range_queue` | what may be written and synced next; what is in flight |
//! | `flush`, `completion` | starting writes and syncs, waiting for them, what their ends do |
//! | `durability` | [`FlushFuture`]: waiting without a thread |
//! | `segments`, `retention` | files made ahead, recycled, removed |
//! | `wal_writer` | [`WalWriter`]: the background's share |
//! | `reader` | [`WalReader`]: records from the files, read ahead |
//! | `recovery`, `bootstrap` | [`invalidate_beyond`], [`create_first_segment`] |
//! | `tag`, `stats`, `config`, `error` | names of I/Os, counters, settings, errors |
//! | `event`, `sync` | waiting; loom's locks and atomics in place of the real ones |
//!
//! # Locks
//! All are leaves as far as callers can see, and none is held across a wait, but for the names of
//! segments, whose holder drives the I/O that it waits for. Order: names of segments, then one of:
//! insert position, writer's state, open segments, checkpoint distance, idle compressors. Completions take the writer's
//! state; so nothing that can complete an I/O is called under it.
//!
//! The design, its hazards, and which test guards which rule are in the crate's README.

mod bootstrap;
mod completion;
mod compression;
mod config;
mod durability;
mod error;
mod event;
mod flush;
mod insert;
#[cfg(all(test, trunkline_loom))]
mod loom_tests;
mod range_queue;
mod reader;
mod record;
mod recovery;
mod reservation;
mod retention;
mod ring;
mod segment_switch;
mod segments;
mod stats;
mod sync;
mod tag;
mod tickets;
mod wal;
mod wal_writer;
mod writer;

pub use bootstrap::{create_first_segment, first_record};
pub use config::{SyncMethod, WalConfig};
pub use durability::FlushFuture;
pub use error::{Failure, WalError};
pub use flush::FlushState;
pub use insert::Inserted;
pub use reader::WalReader;
pub use record::{ImagePolicy, LoggedBlock, WalRecord};
pub use recovery::invalidate_beyond;
pub use stats::WalStats;
pub use wal::{Wal, WalPosition};
pub use wal_writer::{WalWriter, WalWriterStep};

/// Keeps the README's example compiling.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
