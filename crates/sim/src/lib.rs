//! A simulated disk.

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
