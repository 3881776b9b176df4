//! The buffer pool: pages in memory, and the streams that read and write them.
//!
//! A buffer holds one block of one fork. Whoever uses it pins it ([`PinnedBuffer`]) and takes its
//! content lock; the bytes between are its business: this crate knows a page's header and checksum,
//! nothing of what is stored in it. Everything that moves between a page and its file is an I/O handle
//! (`trunkline-aio`) on blocks of a fork (`trunkline-smgr`), and whoever waits for one can complete it.
//!
//! ```text
//!  heap, catalog ──▶ ReadStream / BufferPool::read ──▶ mapping: found? ── yes ──▶ PinnedBuffer
//!                                                        │ no
//!                    victim (ring or clock sweep; dirty ones passed, written ahead) ──▶ mapped, claimed
//!                                                        │
//!                    run of neighbours ──▶ one handle: target, callbacks, buffers ──▶ smgr ──▶ aio
//!        any thread: completion ──▶ verify header and checksum ──▶ VALID, waiters woken, pin dropped
//!
//!  CheckpointWrites, BackgroundWriter, loads ──▶ WriteStream ─┐
//!  victims ───────────────────────────────────────────────────┴▶ log durable? ── no ──▶ its flush started
//!                         │ yes
//!                    content lock, checksum ──▶ one handle a run ──▶ smgr ──▶ aio
//!        any thread: completion ──▶ clean, content lock and pin given back
//! ```
//!
//! | module | what |
//! |---|---|
//! | `tag`, `mapping` | what a buffer holds, and which buffer holds it |
//! | `descriptor` | one word of state: pins, flags, content lock; the I/O in progress |
//! | `sync` | what its waiters park on; loom's in its place |
//! | `memory`, `frames` | the pages, and the rules for touching them |
//! | `registration` | pinning a large pool's memory for I/O |
//! | `pinned` | pins and content locks as values |
//! | `pool` | [`BufferPool`]: finding or reading one block, settings |
//! | `read_io`, `write_io`, `callbacks` | starting I/O on buffers, and what its completion does |
//! | `reader` | on whose behalf is read: what becomes of damaged pages, who is warned |
//! | `damage`, `damage_log` | damaged pages: counted by the completion, told by the issuer and in the log |
//! | `replacement`, `strategy` | victims: clock sweep and rings |
//! | `background_writer` | cleaning ahead of the clock hand |
//! | `checkpoint_writes` | what was dirty when a checkpoint began |
//! | `write_ahead_log` | what the pool asks of the log: [`WriteAheadLog`] |
//! | `writeback` | asking the kernel to write what it has buffered |
//! | `prefetch` | bringing blocks in without waiting |
//! | `extension` | making a fork longer |
//! | `critical_section`, `hints` | changing pages and logging it as one step; hints without a record |
//! | `redo`, `invalid_pages` | pages for recovery |
//! | `read_stream`, `write_stream` | many blocks, looking ahead |
//! | `whole_pool` | writing all, forgetting or evicting a relation |
//! | `stats` | counts of all that, by what it was done for |
//!
//! # The log
//! Pages wait for the log, never the other way round: a page goes to disk only when the log is durable
//! up to its LSN, which is looked at under the page's lock. Whoever changes a page does it in a
//! [`CriticalSection`]: dirty, change, record, LSN. A record is inserted under the content locks of the
//! pages that it is about; that may wait for writes of the log, which take no content lock, and never
//! for its being durable. Hints have no record: [`ExclusiveGuard::mark_dirty_hint`]. While a cluster is
//! made or recovered the pool has no log; [`redo`] gives recovery its pages.
//!
//! # Lock order
//! 1. A caller's relation lock, always before anything here.
//! 2. Content locks. Whoever holds one may pin and lock further pages in the caller's order (heap
//!    before visibility map, ...); only the *first* lock of a batch of writes is waited for (B4).
//! 3. A fork's extension lock. Under it no content lock is waited for and no victim looked for.
//! 4. A mapping partition, one at a time. Under it descriptors change, nothing is waited for.
//! 5. The storage manager's own locks (fork size, descriptor cache), below 3; never under 4.
//! 6. The log's insert position and what lies below it (`trunkline-wal`), under 1 and 2 only; and the
//!    notes on damaged pages, a leaf, which completions take too. The server's log is written outside it.
//! 7. The descriptor word is no lock: its changes are single steps, and parking on it happens with
//!    none of 3 to 6 held.
//!
//! Waiting for an I/O is allowed under 1 and 2, because whoever waits drives it: a completion needs
//! none of these locks. The write-ahead log is waited for, or its flush started, with none of them, and
//! with nothing claimed. A claim on a buffer (`IO_IN_PROGRESS` without a wait reference) is never held
//! across a wait.
//!
//! Hint bits change under the exclusive content lock like everything else: a reader takes it if it is
//! free ([`PinnedBuffer::try_exclusive`]) or upgrades if it is alone ([`ShareGuard::try_upgrade`]), and
//! else leaves them for the next one. So no byte that somebody may be looking at ever changes, and a
//! write in flight needs no copy.

mod background_writer;
mod callbacks;
mod checkpoint_writes;
mod critical_section;
mod damage;
mod damage_log;
mod descriptor;
mod error;
mod extension;
mod frames;
mod hints;
mod invalid_pages;
#[cfg(all(test, trunkline_loom))]
mod loom_tests;
mod mapping;
mod memory;
mod pinned;
mod pool;
mod prefetch;
mod read_io;
mod read_stream;
mod reader;
pub mod redo;
mod registration;
mod replacement;
mod stats;
mod strategy;
mod sync;
mod tag;
mod whole_pool;
mod write_ahead_log;
mod write_io;
mod write_stream;
mod writeback;

pub use background_writer::{BackgroundWriter, BackgroundWriterConfig, Pause};
pub use checkpoint_writes::CheckpointWrites;
pub use critical_section::{ChangeRecord, CriticalSection, LentPage, PageOfRecord};
pub use damage::{DamageFate, DamagedRead, PageFailure};
pub use damage_log::ChecksumFailures;
pub use error::BufferError;
pub use memory::{HugePages, HugePagesStatus};
pub use pinned::{ExclusiveGuard, PinnedBuffer, ShareExclusiveGuard, ShareGuard};
pub use pool::{BufferPool, MAX_COMBINE_BLOCKS, PoolConfig};
pub use read_stream::{ReadStream, ReadStreamFlags, ReadStreamLimits};
pub use reader::{ReadWarnings, Reader};
pub use stats::{IoAccount, PoolStats};
pub use strategy::{Strategy, StrategyKind};
pub use tag::{BufferTag, RelFork};
pub use whole_pool::Evicted;
pub use write_ahead_log::{LogError, LogFlush, NoLog, WriteAheadLog};
pub use write_stream::WriteStream;
