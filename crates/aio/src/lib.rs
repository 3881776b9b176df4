//! Asynchronous I/O handles: every byte that moves between memory and the
//! database's files moves through this crate.
//!
//! It knows files, offsets, memory and how to wait. It does not know what a
//! page, a relation or a WAL record is: whoever owns such an object registers
//! [`SharedCallbacks`] for it, and names it in a [`TargetTag`].
//!
//! # How an I/O flows
//! ```text
//!  IoContext::acquire ─▶ IoHandle: target, callbacks, data ─▶ start_readv(file, offset, memory)
//!                                                                   │ stage hooks
//!                                                                   ▼
//!                                                    the issuer's pending list
//!       submit, list full, somebody waits                           │
//!                                                                   ▼
//!          Method::submit(batch):  sync │ worker │ posix_aio │ io_uring │ a simulator
//!                                                                   │
//!   whoever waits or works: Completions::complete ──short?──▶ the remainder, same method
//!                                                                   │
//!   shared callbacks, lower layer first ─▶ IoReturn ─▶ waiters ─▶ local callback, on the issuer
//! ```
//!
//! - [`Aio`] owns all handles and the method. [`IoContext`] is an issuer: a
//!   value that a session, a scan partition or a background worker owns.
//! - [`WaitRef`] names an I/O, for ever and to anybody; [`Aio::wait`] drives
//!   the I/O to completion, [`Aio::wait_async`] awaits it.
//! - [`Method`], [`Storage`] and [`Clock`] are the seams: all are implemented
//!   from outside by a simulator, and here for the operating system.
//! - The `raw` target ([`IoContext::read_raw`], [`RawReader`], [`RawWriter`],
//!   [`read_file`], [`write_file_durably`]) is this crate's own: any file, with
//!   buffers that the I/O owns, no unsafe code needed.
//!
//! # Example
//! ```
//! use trunkline_aio::{Aio, AioConfig, AlignedBuf, OpenOptions, OsStorage, Storage};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let aio = Aio::start(AioConfig::default())?;
//! let mut context = aio.issuer(1)?;
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("data");
//! let file = OsStorage::new().open(&path, OpenOptions::CREATE_NEW.with_direct(true))?;
//!
//! // Both writes are pending until submitted, and then in flight at once.
//! let first = context.write_raw(&file, AlignedBuf::zeroed(8192), 0, 8192)?;
//! let second = context.write_raw(&file, AlignedBuf::zeroed(8192), 8192, 8192)?;
//! context.submit();
//!
//! // Anyone may wait for them: a reference is enough.
//! let (reference, other) = (first.wait_ref(), aio.clone());
//! std::thread::spawn(move || other.wait(reference)).join().unwrap();
//!
//! let (_buffer, written) = first.wait(&mut context);
//! assert_eq!(written?, 8192);
//! let (_buffer, written) = second.wait(&mut context);
//! assert_eq!(written?, 8192);
//! context.fdatasync(&file)?;
//! # Ok(())
//! # }
//! ```
//!
//! # From async code
//! A reference is also a future: a task awaits thousands at once, without a
//! thread each, on any runtime.
//! ```
//! # use trunkline_aio::{Aio, AioConfig, AlignedBuf, OpenOptions, OsStorage, Storage};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("data");
//! # std::fs::write(&path, vec![7; 64 * 4096])?;
//! let aio = Aio::start(AioConfig::default())?;
//! let mut context = aio.issuer(1)?;
//! let file = OsStorage::new().open(&path, OpenOptions::READ)?;
//! let mut reads = Vec::new();
//! for block in 0..64 {
//!     reads.push(context.read_raw(&file, AlignedBuf::zeroed(4096), block * 4096, 4096)?);
//! }
//! // An awaiting task submits nothing: what is pending stays so without this.
//! context.submit();
//!
//! let runtime = tokio::runtime::Builder::new_current_thread().build()?;
//! runtime.block_on(async {
//!     // Elsewhere, by whoever needs a block: a reference is enough.
//!     let needed = tokio::spawn(aio.wait_async(reads[40].wait_ref()));
//!     for read in reads {
//!         let (block, moved) = read.wait_async(&mut context).await;
//!         assert_eq!((moved?, block[0]), (4096, 7));
//!     }
//!     needed.await?;
//!     Ok(())
//! })
//! # }
//! ```
//!
//! The design and its hazards are in the crate's README, whose table says what
//! the rules A0 to A17 are and where each is kept.

mod aio;
mod alarms;
mod bounce;
mod callback;
mod clock;
mod combine;
mod completion_source;
mod config;
mod descriptor_pool;
mod direct;
mod error;
mod file;
mod group;
mod handle;
mod handle_table;
mod issuer;
#[cfg(all(test, trunkline_loom))]
mod loom_tests;
mod memory;
mod method;
mod operation;
mod raw;
mod raw_file;
mod raw_stream;
mod request;
mod result;
mod slot;
mod state;
mod stats;
mod storage;
mod sync;
mod system_call;
mod transfer;
mod wait;

pub use aio::{Aio, RegisteredMemory};
pub use alarms::{Alarm, AlarmAction, Alarms};
pub use bounce::{BOUNCE_PAGE_BYTES, BounceBuffer};
pub use callback::{CallbackId, IoView, LocalCallback, MAX_CALLBACKS, SharedCallbacks};
pub use clock::{Clock, SystemClock};
pub use completion_source::CompletionSource;
pub use config::{AioConfig, MethodKind};
pub use error::AioError;
pub use file::{DirectAlignment, File};
pub use handle::{IoHandle, MAX_IO_BYTES, MAX_MEMORY_PIECES};
pub use issuer::IoContext;
pub use memory::{AlignedBuf, IoMemory};
pub use method::Method;
#[cfg(target_os = "linux")]
pub use method::io_uring::{IoUringMethod, RingConfig};
pub use method::posix_aio::{PosixAioConfig, PosixAioMethod};
pub use method::sync::SyncMethod;
pub use method::worker::{WorkerConfig, WorkerMethod};
pub use operation::{Op, TargetId, TargetTag};
pub use raw::RawIo;
pub use raw_file::{read_file, write_file_durably};
pub use raw_stream::{RawReader, RawWriter};
pub use request::{Completions, InFlight, IoRequest, ReapedIo, RequestBatch, SUBMIT_BATCH_LIMIT};
pub use result::{FailureOrigin, IoFailure, IoResult, IoReturn};
pub use state::State;
pub use stats::{AioCounters, IoSnapshot, IssuerCounters};
pub use storage::{DirEntry, FileKind, FileMetadata, OpenOptions, OsStorage, Storage};
pub use system_call::{Executor, SystemCalls};
pub use wait::{WaitFuture, WaitRef};

/// Keeps the README's example compiling.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
