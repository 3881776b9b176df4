//! Transactions, snapshots, the commit log and the lock manager.
//!
//! What this crate knows: transaction ids and who is running ([`TransactionManager`]), what a
//! point in time sees ([`Snapshot`]), how a transaction ended (its record in the write-ahead log, its
//! entry in `pg_xact`, and the redo of both), who holds which heavyweight lock ([`LockManager`]), and
//! how a statement is told to stop ([`CancelToken`]). What it does not know: tuples, buffers,
//! relations' files (it records which are to be deleted, [`PendingFiles`]; the caller does it), when a
//! checkpoint is due.
//!
//! ```text
//! begin ──▶ Transaction ──snapshot()──▶ RegisteredSnapshot ──▶ Visibility::xid_visible(xid, cid)
//!              │ assign_xid(): extend pg_xact, enter the proc array, lock the xid
//!              ▼
//!           commit(): record ─▶ flush ─▶ pg_xact ─▶ proc array ─▶ (caller: delete files, release
//!                     └───── the commit gate ────┘                 all locks)
//!
//! checkpoint: redo point ─▶ begin_checkpoint().wait() ─▶ pg_xact().begin_flush(), in steps ─▶ its record
//! recovery:   TransactionRedo ◀── redo(every record) … ─▶ TransactionManager::start_after_redo
//! ```
//!
//! # What holds in a crash
//!
//! - A commit that was waited for is in the log, durably, before anybody sees it.
//! - A page of `pg_xact` never overtakes the log: asynchronous commits hold it back.
//! - A commit whose record lies before a checkpoint's redo point is in the `pg_xact` which that
//!   checkpoint writes ([`CommitsInside`]).
//! - A transaction without a recorded end counts as aborted; so an abort is never waited for, and may
//!   go unrecorded.
//! - A commit whose flush failed is told neither as done nor as undone ([`TxnError::CommitInDoubt`]).
//!
//! # Lock order
//!
//! Mutexes of this crate, outermost first; none is held while user code or a cancel hook runs.
//!
//! 1. xid generation (`TransactionManager`)
//! 2. lock manager: tag shards in index order, then one owner shard, then one waiter's cell
//! 3. `pg_xact`: I/O, then the page table
//! 4. proc array
//!
//! Groups 2, 3 and 4 are never nested in one another; group 1 is held around 3 and 4. Under the I/O
//! mutex of 3 the log is inserted into and flushed, whose locks come below. No mutex is held while a
//! commit waits for the log. The commit gate is a count; who waits for it sleeps on a leaf.

mod cancel;
mod commit;
mod commit_gate;
mod deadlock;
mod end_record;
mod error;
mod full_xid;
mod lock_manager;
mod lock_mode;
mod lock_tag;
mod manager;
mod pending_files;
mod pg_xact;
mod proc_array;
mod redo;
mod slru;
mod snapshot;
mod sync;
mod timestamp;
mod transaction;
mod visibility;
mod xid_limits;

pub use cancel::{CancelHook, CancelReason, CancelRequested, CancelToken, Cancelled, StatementId};
pub use commit::CommitOptions;
pub use error::TxnError;
pub use full_xid::FullXid;
pub use lock_manager::{LockInfo, LockManager};
pub use lock_mode::LockMode;
pub use lock_tag::{LockOwner, LockScope, LockTag};
pub use manager::{CommitsInside, TransactionManager, TxnConfig, XidStatus};
pub use pending_files::PendingFiles;
pub use pg_xact::{PgXact, XactStatus};
pub use redo::{TransactionRedo, redo};
pub use slru::{FlushProgress, SlruConfig, SlruFlush};
pub use snapshot::{RegisteredSnapshot, Snapshot};
pub use timestamp::TimestampTz;
pub use transaction::{CommitInProgress, Transaction, TransactionState};
pub use visibility::{Visibility, XidFate};
pub use xid_limits::{WraparoundWarning, XidLimits};
