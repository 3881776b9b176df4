//! Durable writes of one block, as a log makes them: the next block of a file that is there, again and
//! again, with some of them in flight.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use trunkline_aio::{
    Aio, AioConfig, BOUNCE_PAGE_BYTES, File, IoContext, IoResult, MethodKind, OpenOptions,
    OsStorage, Storage,
};

use super::aio::{Fio, Workload, make_file};
use crate::program_error::ProgramError;

/// A block of the log.
pub const BLOCK_BYTES: usize = 8192;

/// As large as a segment of the log.
const FILE_BYTES: u64 = 16 << 20;

/// How a write is made durable. All are direct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The write itself is (`wal_sync_method` `open_datasync`).
    Dsync,
    /// By an fdatasync after it.
    Fdatasync,
    /// By an fsync after it.
    Fsync,
    /// As `Dsync`, with fio.
    FioDsync,
}

impl Way {
    /// What this program can do by itself.
    pub const OURS: &[Way] = &[Way::Dsync, Way::Fdatasync, Way::Fsync];
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Way::Dsync => "open_datasync",
            Way::Fdatasync => "fdatasync",
            Way::Fsync => "fsync",
            Way::FioDsync => "fio, O_DSYNC",
        })
    }
}

/// What one measurement gave.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// How it was done.
    pub way: Way,
    /// Durable writes in a second.
    pub writes_per_second: f64,
    /// One's time from its start until it is durable, on average.
    pub latency_us: f64,
}

/// The fastest of them.
pub fn fastest(rates: &[Rate]) -> Option<Rate> {
    rates
        .iter()
        .copied()
        .max_by(|a, b| a.writes_per_second.total_cmp(&b.writes_per_second))
}

/// A file to write to; removed at the end.
pub struct DurableWrites {
    path: PathBuf,
    fio: Option<Fio>,
}

impl Drop for DurableWrites {
    fn drop(&mut self) {
        // Left behind, it takes space but does no harm.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// I/Os of lanes that are complete, and whether they succeeded: what the local callback tells.
static COMPLETE: Mutex<Vec<(u64, bool)>> = Mutex::new(Vec::new());

fn note(_: &mut IoContext, lane: u64, result: IoResult) {
    let succeeded = matches!(result, IoResult::Ok { .. });
    COMPLETE
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push((lane, succeeded));
}

/// Where one write is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lane {
    Writing,
    Syncing,
}

impl DurableWrites {
    /// Makes the file.
    ///
    /// # Errors
    /// The operating system's.
    pub fn make(path: &Path) -> Result<DurableWrites, ProgramError> {
        make_file(path, FILE_BYTES)
            .map_err(|error| ProgramError::new(format!("{}: {error}", path.display())))?;
        Ok(DurableWrites {
            path: path.to_owned(),
            fio: Fio::find(),
        })
    }

    /// The ways that can be measured here.
    pub fn ways(&self) -> Vec<Way> {
        let fio = self.fio.as_ref().map(|_| Way::FioDsync);
        Way::OURS.iter().copied().chain(fio).collect()
    }

    /// Each of the ways that a log has, and fio's, measured for a share of `time`.
    ///
    /// # Errors
    /// A write failed.
    pub fn rates(&self, depth: usize, time: Duration) -> Result<Vec<Rate>, ProgramError> {
        let mut ways = self.ways();
        ways.retain(|way| *way != Way::Fsync);
        let share = time / ways.len() as u32;
        ways.into_iter()
            .map(|way| self.measure(way, depth, share))
            .collect()
    }

    /// Keeps `depth` writes in flight for a while.
    ///
    /// # Errors
    /// A write failed.
    pub fn measure(&self, way: Way, depth: usize, time: Duration) -> Result<Rate, ProgramError> {
        let writes_per_second = match (&self.fio, way) {
            (Some(fio), Way::FioDsync) => {
                let workload = Workload {
                    name: "durable writes",
                    is_write: true,
                    is_random: false,
                    io_bytes: BLOCK_BYTES,
                    depth,
                    combined_bytes: None,
                    is_dsync: true,
                };
                let run = fio.run(&workload, MethodKind::IoUring, &self.path, FILE_BYTES, time)?;
                run.bytes as f64 / BLOCK_BYTES as f64 / run.seconds
            }
            _ => self.write(way, depth, time)?,
        };
        Ok(Rate {
            way,
            writes_per_second,
            latency_us: depth as f64 * 1e6 / writes_per_second,
        })
    }

    fn write(&self, way: Way, depth: usize, time: Duration) -> Result<f64, ProgramError> {
        let failed = |error: &dyn fmt::Display| {
            ProgramError::new(format!("{}: {error}", self.path.display()))
        };
        let aio = Aio::start(AioConfig {
            max_issuers: 1,
            io_max_concurrency: depth as u32,
            io_bounce_buffers: (depth * BLOCK_BYTES / BOUNCE_PAGE_BYTES) as u32,
            ..AioConfig::default()
        })
        .map_err(|error| failed(&error))?;
        let options = OpenOptions::READ_WRITE
            .with_direct(true)
            .with_dsync(way == Way::Dsync);
        let file = OsStorage::new()
            .open(&self.path, options)
            .map_err(|error| failed(&error))?;
        let mut io = aio.issuer(0).map_err(|error| failed(&error))?;
        COMPLETE
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        let mut lanes = vec![Lane::Writing; depth];
        let mut next = 0;
        let began = Instant::now();
        for lane in 0..depth {
            start_write(&mut io, &file, &mut next, lane as u64).map_err(|error| failed(&error))?;
        }
        let (mut durable, mut in_flight) = (0_u64, depth);
        while in_flight > 0 {
            io.submit();
            io.wait_any();
            let complete =
                std::mem::take(&mut *COMPLETE.lock().unwrap_or_else(PoisonError::into_inner));
            for (lane, succeeded) in complete {
                if !succeeded {
                    return Err(failed(&"a write or sync failed"));
                }
                let place = &mut lanes[lane as usize];
                if *place == Lane::Writing && way != Way::Dsync {
                    *place = Lane::Syncing;
                    let mut handle = io.acquire().map_err(|error| failed(&error))?;
                    handle.on_complete_local(note, lane);
                    if way == Way::Fsync {
                        handle.start_fsync(&file);
                    } else {
                        handle.start_fdatasync(&file);
                    }
                    continue;
                }
                durable += 1;
                *place = Lane::Writing;
                if began.elapsed() < time {
                    start_write(&mut io, &file, &mut next, lane).map_err(|error| failed(&error))?;
                } else {
                    in_flight -= 1;
                }
            }
        }
        Ok(durable as f64 / began.elapsed().as_secs_f64())
    }
}

fn start_write(
    io: &mut IoContext,
    file: &Arc<File>,
    next: &mut u64,
    lane: u64,
) -> Result<(), trunkline_aio::AioError> {
    let buffer = io.bounce_buffer(BLOCK_BYTES)?;
    let mut handle = io.acquire()?;
    handle.on_complete_local(note, lane);
    let offset = *next % (FILE_BYTES / BLOCK_BYTES as u64) * BLOCK_BYTES as u64;
    *next += 1;
    handle.start_write_bounced(file, offset, buffer);
    Ok(())
}
