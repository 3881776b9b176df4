//! A simulated disk: seeded faults, seeded time, and a power that fails.
//!
//! [`SimDisk`] stands behind the seams of `trunkline-aio` and is implemented
//! with nothing but its public traits: it is a [`Method`] that executes I/Os, a
//! [`Storage`] with a file system in memory, and a [`Clock`]. Whatever runs on
//! those three runs on it, up to the whole engine. It knows files and sectors;
//! it does not know what is in them. No crate depends on it but for its tests.
//!
//! ```
//! use std::sync::Arc;
//! use trunkline_aio::{Aio, AioConfig, read_file, write_file_durably};
//! use trunkline_sim::{FaultPlan, SimConfig, SimDisk};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let disk = SimDisk::new(SimConfig::new(42).with_faults(FaultPlan::mild()));
//! let aio = Aio::start_with(AioConfig::default(), Arc::new(disk.clone()))?;
//! let mut io = aio.issuer(1)?;
//! write_file_durably(&disk, &mut io, "/settings".as_ref(), b"old")?;
//!
//! // The power fails before the third step of the next replacement.
//! disk.power_cut_at(disk.steps() + 2);
//! assert!(write_file_durably(&disk, &mut io, "/settings".as_ref(), b"new").is_err());
//!
//! // The old disk is dead; the machine comes up with what it kept.
//! let disk = disk.restart();
//! let aio = Aio::start_with(AioConfig::default(), Arc::new(disk.clone()))?;
//! let found = read_file(&disk, &mut aio.issuer(1)?, "/settings".as_ref())?;
//! assert_eq!(found, b"old");
//! # Ok(())
//! # }
//! ```
//!
//! # What is durable
//! Programs see the volatile state. Beside it the disk keeps the durable state,
//! and the changes between the two, in order:
//!
//! | change | durable after |
//! |---|---|
//! | content of a file, direct or buffered; its length; space allocated to it | fsync or fdatasync of that file, if the change was complete when the sync was *submitted* |
//! | a name: creation, removal, rename | `sync_dir` of its directory; of a rename, either directory's |
//!
//! A sync of a file does not make its name durable, and one of a directory
//! not what the files in it contain. Files are written back without a sync
//! only beyond [`SimConfig::write_back_limit_bytes`]; a range flush promises
//! nothing, and so needs no state of its own.
//!
//! A power cut keeps all that is durable, and of the rest
//! - of content, any subset of the sectors of every write, those in flight
//!   included: each sector ends as any version it had since the last sync. A
//!   sector of [`SimConfig::sector_bytes`] is never torn;
//! - of a file's lengths, any prefix of the changes, as a journal would. What a
//!   length reveals that was not kept reads as zeros. What was written into
//!   space that a truncation freed is lost with the truncation: no file system
//!   reuses space before its journal has it free;
//! - of names, a part that [`NameOrder`] allows; each change is atomic, and so
//!   a rename leaves one of the two names. A directory that is lost takes along
//!   what is below it.
//!
//! All or nothing of a file or of a write is kept more often than fair coins
//! would. What may happen on a real disk and does not here: sectors torn or
//! garbled by the cut itself, stale data of other files in new space, and a
//! journal that loses what a sync promised (other than [`Fault::LyingSync`]).
//!
//! # What goes wrong before that
//! A [`FaultPlan`] is a list of rules: which [`Fault`], of which operations, on
//! which paths, how often or at which occurrence. It can be changed at any
//! time; a fault is decided when the operation is submitted. Space may run out
//! ([`SimConfig::capacity_bytes`]). Without any fault, I/Os in flight complete
//! in an order of the seed, and where two meet on one range, every sector is
//! decided alone: two writes leave a mix, a read finds a mix.
//!
//! # Time, order and threads
//! Time is simulated, and passes when an operation takes it: an I/O is due its
//! latency after its submission, and is executed as a whole when some thread
//! waits, for whatever I/O. Whoever waits executes what is due first, its own
//! or anybody's (A6), and the clock moves on to that moment. An I/O for which
//! only a task waits, or nobody, is executed at once ([`Method::drive`]).
//!
//! A thread that waits for something else until a moment ([`Clock::park_until`])
//! also executes what is due before, and then moves the clock to the earliest
//! moment that anybody sleeps until or that an alarm is set for: where one
//! thread drives everything after a real millisecond, with several after one
//! in which nothing happened. A timeout of an hour thus costs nothing, and a
//! thread that computes takes, in simulated time, nothing or as long as others
//! sleep. Alarms ([`Clock::alarm`]) go off on a thread that waits, or sets one.
//!
//! With one thread that drives everything, the same seed gives the same trace:
//! [`SimDisk::trace_hash`] covers time, operation, path, offset, length and
//! outcome of all that happened, not the bytes. With several threads the disk
//! is correct, and not repeatable. Seeds stay valid: the numbers come from
//! ChaCha8, and no floating point is involved.
//!
//! # How to crash something on it
//! - [`SimDisk::power_cut`] at a moment of the driver's choice, or
//!   [`SimDisk::power_cut_at`] a step, to go through all of them: run once,
//!   count with [`SimDisk::steps`], then once for each step and seed.
//! - From then on everything fails with EIO, and so do files of before on any
//!   later disk. Drop what ran on it, and go on with [`SimDisk::restart`].
//! - [`SimDisk::image`] and [`SimDisk::from_image`] start many runs from one
//!   state; [`SimDisk::import`] and [`SimDisk::export`] exchange directories
//!   with the operating system, where other tools can judge what was left.
//! - The engine takes its lock file and its configuration from the operating
//!   system: its directory has to exist there too, empty. Name it in
//!   [`SimConfig::trace_root`] if it differs from run to run.
//!
//! Not there: links, permissions, times of files, pipes.
//!
//! [`Method`]: trunkline_aio::Method
//! [`Method::drive`]: trunkline_aio::Method::drive
//! [`Storage`]: trunkline_aio::Storage
//! [`Clock`]: trunkline_aio::Clock
//! [`Clock::park_until`]: trunkline_aio::Clock::park_until
//! [`Clock::alarm`]: trunkline_aio::Clock::alarm

mod clock;
mod config;
mod content;
mod disk;
mod faults;
mod file_state;
mod file_system;
mod host;
mod method;
mod names;
mod random;
mod storage;
mod trace;

pub use config::{Latency, SimConfig};
pub use disk::{DiskImage, SimDisk};
pub use faults::{Fault, FaultPlan, FaultRule, OpKind, PathFilter, When};
pub use names::NameOrder;
pub use trace::{TraceEvent, TraceKind};
