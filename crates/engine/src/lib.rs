//! The engine: the storage layers composed into a database system that can be opened, worked with
//! through sessions, and stopped cleanly.
//!
//! What this crate knows: the data directory, settings, sessions with their transactions, what DDL
//! and loads and scans do to files, buffers, locks and catalogs, and which threads blocking code
//! runs on. What it does not know: SQL text, Arrow, the wire protocol.
//!
//! | module | what |
//! |---|---|
//! | `database` | open, clean stop; what everybody shares |
//! | `checkpointer` | a checkpoint as steps, and when one is due |
//! | `checkpoint_requests` | asking for one, and waiting for it |
//! | `checkpoint_schedule` | how fast its writes go |
//! | `checkpoint_log` | what the log says about it |
//! | `durable_state` | what it works on: pool, files, log, transactions, pg_control; that it has failed |
//! | `background` | the threads of the checkpointer, the background writer and the WAL writer |
//! | `start` | from a data directory to a running database |
//! | `recovery` | after a crash: redo |
//! | `engine_records` | what the engine itself writes to the log |
//! | `oid_generator` | OIDs, each given out once |
//! | `wal_writing` | the steps of the WAL writer |
//! | `wal_config` | the log's settings |
//! | `session` | the transaction block, locks, what a transaction's end sees to |
//! | `relations` | names to locked relations |
//! | `ddl` | CREATE, DROP and TRUNCATE |
//! | `load` | many rows into a table: COPY and INSERT |
//! | `row_insert` | single rows into a table: INSERT |
//! | `row_former` | rows as tuples of a table |
//! | `failed_tails` | giving back what failed loads added to tables |
//! | `table_scan` | rows out of a table, in partitions |
//! | `warnings` | what reads tell a session's client of damaged pages |
//! | [`prewarm`] | blocks into the pool, or only past the disk |
//! | [`settings`] | PostgreSQL's settings |
//! | [`data_directory`] | layout, lock file, control file |
//! | `init` | a new cluster |
//! | `engine_threads` | threads for blocking code |
//!
//! ```text
//! Database::open ─▶ session() ─▶ begin_statement ─▶ open_relation (lock) ─▶ Load / RowInsert / TableScan / ddl
//!                                      ▲                                         │
//!                                      └── sync: commit ◀── end_statement ◀──────┘
//! ```
//!
//! A session's methods block; callers in async code run them on [`EngineThreads`].

mod background;
mod checkpoint_log;
mod checkpoint_requests;
mod checkpoint_schedule;
mod checkpointer;
pub mod data_directory;
mod database;
mod ddl;
mod disk_usage;
mod durable_state;
mod engine_records;
mod engine_threads;
mod error;
mod failed_tails;
mod init;
mod load;
mod memory_limit;
mod oid_generator;
mod prewarm;
mod recovery;
mod relations;
mod row_former;
mod row_insert;
mod session;
mod sessions;
pub mod settings;
mod start;
mod table_scan;
mod wal_config;
mod wal_writing;
mod warnings;

pub use background::Background;
pub use checkpointer::{CheckpointerStats, CheckpointerStep};
pub use database::{BackgroundWriterStats, Database, Foundation, OpenOptions, partitions};
pub use ddl::CreateTableOutcome;
pub use engine_threads::{EngineThreads, STACK_BYTES, ThreadError};
pub use error::{EngineError, StatementError};
pub use init::{InitOptions, initialise, initialise_with};
pub use load::{Load, LoadProgress};
pub use memory_limit::usable_memory_bytes;
pub use prewarm::{PrewarmMode, PrewarmRequest, prewarm};
pub use recovery::RecoveryError;
pub use relations::relation_tag;
pub use row_former::LoadColumns;
pub use row_insert::RowInsert;
pub use session::{CommitOutcome, LogWait, Session, TransactionStatus};
pub use sessions::{SessionEntry, SessionRegistration, Sessions};
pub use table_scan::{ScanPartition, TableScan};
pub use warnings::{SessionWarnings, StatementWarnings, TakenWarnings};
