//! What `bench aio` measures, and the AIO core doing it.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use trunkline_aio::{
    Aio, AioConfig, BOUNCE_PAGE_BYTES, IoContext, IoResult, MethodKind, OpenOptions, OsStorage,
    Storage,
};

use super::super::sample::Stopwatch;
use super::failed;
use crate::program_error::ProgramError;

/// I/O on a file with direct I/O.
pub struct Workload {
    pub name: &'static str,
    pub is_write: bool,
    pub is_random: bool,
    /// Bytes of one I/O as it is issued.
    pub io_bytes: usize,
    /// I/Os in flight.
    pub depth: usize,
    /// The core combines neighbours up to this many bytes.
    pub combined_bytes: Option<usize>,
    /// Each write is durable when it is complete.
    pub is_dsync: bool,
}

const RANDOM_READS: Workload = Workload {
    name: "",
    is_write: false,
    is_random: true,
    io_bytes: 8192,
    depth: 1,
    combined_bytes: None,
    is_dsync: false,
};

/// What is measured.
pub const WORKLOADS: &[Workload] = &[
    Workload {
        name: "random reads 8 kB, depth 1",
        ..RANDOM_READS
    },
    Workload {
        name: "random reads 8 kB, depth 16",
        depth: 16,
        ..RANDOM_READS
    },
    Workload {
        name: "random reads 8 kB, depth 128",
        depth: 128,
        ..RANDOM_READS
    },
    Workload {
        name: "reads 8 kB, depth 128, combined",
        is_random: false,
        depth: 128,
        combined_bytes: Some(256 << 10),
        ..RANDOM_READS
    },
    Workload {
        name: "reads 256 kB, depth 4",
        is_random: false,
        io_bytes: 256 << 10,
        depth: 4,
        ..RANDOM_READS
    },
    Workload {
        name: "random writes 8 kB, depth 16",
        is_write: true,
        depth: 16,
        ..RANDOM_READS
    },
    Workload {
        name: "writes 8 kB, depth 128, combined",
        is_write: true,
        is_random: false,
        depth: 128,
        combined_bytes: Some(256 << 10),
        ..RANDOM_READS
    },
    Workload {
        name: "writes 256 kB, depth 4",
        is_write: true,
        is_random: false,
        io_bytes: 256 << 10,
        depth: 4,
        ..RANDOM_READS
    },
    Workload {
        name: "O_DSYNC writes 8 kB, depth 1",
        is_write: true,
        is_dsync: true,
        ..RANDOM_READS
    },
    Workload {
        name: "O_DSYNC writes 8 kB, depth 8",
        is_write: true,
        is_dsync: true,
        depth: 8,
        ..RANDOM_READS
    },
    Workload {
        name: "O_DSYNC writes 8 kB, depth 32",
        is_write: true,
        is_dsync: true,
        depth: 32,
        ..RANDOM_READS
    },
];

impl Workload {
    /// Whether a method can have so much in flight.
    pub fn suits(&self, method: MethodKind) -> bool {
        method != MethodKind::Sync || self.depth == 1
    }
}

/// One run's outcome.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub bytes: u64,
    pub seconds: f64,
    pub cpu_seconds: f64,
    /// I/Os that were issued for each operation that the method was given; 1 where nothing was combined.
    pub combined: f64,
}

impl Run {
    pub fn bytes_per_second(&self) -> f64 {
        self.bytes as f64 / self.seconds
    }

    pub fn cpu_us_per(&self, bytes: usize) -> f64 {
        self.cpu_seconds * 1e6 / (self.bytes as f64 / bytes as f64)
    }
}

/// Bytes moved, and errors: what the local callback counts.
static MOVED_BYTES: AtomicU64 = AtomicU64::new(0);
static FAILED: AtomicU64 = AtomicU64::new(0);

fn count(_: &mut IoContext, io_bytes: u64, result: IoResult) {
    if u64::from(result.bytes()) == io_bytes {
        MOVED_BYTES.fetch_add(io_bytes, Ordering::Relaxed);
    } else {
        FAILED.fetch_add(1, Ordering::Relaxed);
    }
}

/// Keeps the workload's I/Os in flight for a while.
///
/// # Errors
/// One line.
pub fn run(
    workload: &Workload,
    method: MethodKind,
    path: &Path,
    file_bytes: u64,
    time: Duration,
) -> Result<Run, ProgramError> {
    let aio = Aio::start(AioConfig {
        method: Some(method),
        max_issuers: 1,
        io_max_concurrency: workload.depth as u32,
        io_combine_limit_bytes: workload.combined_bytes.unwrap_or(0) as u32,
        io_bounce_buffers: (workload.depth * workload.io_bytes / BOUNCE_PAGE_BYTES) as u32,
        ..AioConfig::default()
    })
    .map_err(|error| failed(path, &error))?;
    if aio.method_name() != method.name() {
        return Err(ProgramError::new(format!(
            "method {method} does not work here"
        )));
    }
    let options = OpenOptions::READ_WRITE
        .with_direct(true)
        .with_dsync(workload.is_dsync);
    let file = OsStorage::new()
        .open(path, options)
        .map_err(|error| failed(path, &error))?;
    if file.direct().is_none() {
        return Err(failed(path, &"the file system has no direct I/O"));
    }
    let mut io = aio.issuer(0).map_err(|error| failed(path, &error))?;
    let (io_bytes, blocks) = (
        workload.io_bytes as u64,
        file_bytes / workload.io_bytes as u64,
    );
    let mut random = fastrand::Rng::new();
    let mut next_block = 0;
    MOVED_BYTES.store(0, Ordering::Relaxed);
    FAILED.store(0, Ordering::Relaxed);
    let mut start = |io: &mut IoContext| -> Result<(), trunkline_aio::AioError> {
        let block = if workload.is_random {
            random.u64(0..blocks)
        } else {
            next_block = (next_block + 1) % blocks;
            next_block
        };
        let buffer = io.bounce_buffer(workload.io_bytes)?;
        let mut handle = io.acquire()?;
        handle.on_complete_local(count, io_bytes);
        let offset = block * io_bytes;
        if workload.is_write {
            handle.start_write_bounced(&file, offset, buffer);
        } else {
            handle.start_read_discarding(&file, offset, buffer);
        }
        Ok(())
    };
    let watch = Stopwatch::start();
    let began = Instant::now();
    while began.elapsed() < time {
        while io.in_flight() < workload.depth {
            start(&mut io).map_err(|error| failed(path, &error))?;
            // As fio does: else the first of a batch waits for the last to be prepared. What is to be
            // combined has to wait for its neighbours.
            if workload.combined_bytes.is_none() {
                io.submit();
            }
        }
        io.wait_any();
    }
    io.wait_all();
    let sample = watch.stop();
    drop(io);
    let counters = aio.counters().total();
    let failures = FAILED.load(Ordering::Relaxed);
    if failures > 0 {
        return Err(failed(path, &format!("{failures} I/Os failed")));
    }
    Ok(Run {
        bytes: MOVED_BYTES.load(Ordering::Relaxed),
        seconds: sample.seconds,
        cpu_seconds: sample.cpu_seconds,
        combined: counters.executed as f64 / counters.issued.max(1) as f64,
    })
}
