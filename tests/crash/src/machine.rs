//! A simulated disk with a cluster, and the database on it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use trunkline_aio::{DirectAlignment, Storage};
use trunkline_engine::{
    Background, Database, EngineError, Foundation, InitOptions, OpenOptions, initialise_with,
};
use trunkline_pgformat::wal::segment::SegmentSize;
use trunkline_sim::{DiskImage, FaultPlan, NameOrder, SimConfig, SimDisk};

use crate::choice::Choice;

/// Segments of the log are small, so that a workload gets through several.
pub const SEGMENT_SIZE_BYTES: u32 = 1 << 20;

/// Where clusters are, on every disk that one thread has: the engine takes its lock file there from the
/// operating system.
pub struct Place {
    _directory: tempfile::TempDir,
    /// The data directory.
    pub path: PathBuf,
}

impl Default for Place {
    fn default() -> Place {
        Place::new()
    }
}

impl Place {
    /// A new one.
    pub fn new() -> Place {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data");
        std::fs::create_dir(&path).unwrap();
        Place {
            path,
            _directory: directory,
        }
    }

    /// A disk with a new cluster.
    pub(crate) fn disk(&self, seed: u64, faults: FaultPlan) -> SimDisk {
        let mut choice = Choice::new(seed, "disk");
        let sector_bytes = choice.of(&[512, 512, 4096]);
        let config = SimConfig {
            trace_root: self.path.clone(),
            sector_bytes,
            direct: (!choice.one_in(5)).then_some(DirectAlignment {
                memory_bytes: sector_bytes,
                offset_bytes: sector_bytes,
            }),
            name_order: choice.of(&[
                NameOrder::Journal,
                NameOrder::PerDirectory,
                NameOrder::Unordered,
            ]),
            write_back_limit_bytes: choice.of(&[64 << 20, 64 << 20, 256 << 10]),
            faults,
            ..SimConfig::new(seed)
        };
        let disk = SimDisk::from_image(config, cluster());
        disk.make_directories(self.path.parent().unwrap()).unwrap();
        disk.rename("/cluster".as_ref(), &self.path).unwrap();
        disk.sync_dir("/".as_ref()).unwrap();
        disk.sync_dir(self.path.parent().unwrap()).unwrap();
        disk
    }
}

/// A new cluster, made once.
fn cluster() -> &'static DiskImage {
    static CLUSTER: OnceLock<DiskImage> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let place = Place::new();
        let disk = SimDisk::new(SimConfig::new(0));
        disk.make_directories(place.path.parent().unwrap()).unwrap();
        let options = InitOptions {
            wal_segment_size: SegmentSize::new(SEGMENT_SIZE_BYTES).unwrap(),
        };
        let foundation = foundation(&disk, Background::Driven);
        initialise_with(&foundation, &place.path, &options).unwrap();
        disk.rename(&place.path, "/cluster".as_ref()).unwrap();
        disk.image()
    })
}

fn foundation(disk: &SimDisk, background: Background) -> Foundation {
    Foundation {
        storage: Arc::new(disk.clone()),
        method: Some(Arc::new(disk.clone())),
        clock: Arc::new(disk.clone()),
        background,
    }
}

/// The seed's `wal_compression`.
pub fn wal_compression(seed: u64) -> &'static str {
    let methods = ["off", "off", "off", "pglz", "pglz", "lz4", "zstd"];
    Choice::new(seed, "compression").of(&methods)
}

/// The settings of a run: those that matter for what is written where and when are the seed's.
fn settings(seed: u64) -> Vec<(String, String)> {
    let mut choice = Choice::new(seed, "settings");
    let settings = [
        ("shared_buffers", choice.of(&["1MB", "1MB", "4MB"])),
        ("max_connections", "6"),
        ("max_wal_size", choice.of(&["4MB", "4MB", "16MB"])),
        ("min_wal_size", "2MB"),
        (
            "wal_consistency_checking",
            choice.of(&["all", "all", "all", ""]),
        ),
        (
            "wal_sync_method",
            choice.of(&["fdatasync", "open_datasync", "fsync"]),
        ),
        (
            "io_direct",
            choice.of(&["data,wal,wal_init", "data,wal", "data", ""]),
        ),
        ("io_wal_concurrency", choice.of(&["1", "4", "32"])),
        ("io_wal_target_blocks", choice.of(&["1", "8", "64"])),
        ("io_wal_pad_partial", choice.of(&["on", "on", "off"])),
        ("wal_buffers", choice.of(&["64kB", "64kB", "1MB"])),
        ("wal_init_zero", choice.of(&["on", "on", "off"])),
        ("wal_recycle", choice.of(&["on", "on", "off"])),
        ("wal_compression", wal_compression(seed)),
    ];
    settings
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
}

/// Opens the database, which is driven by whoever uses it.
pub fn open(disk: &SimDisk, path: &Path, seed: u64) -> Result<Arc<Database>, EngineError> {
    open_with(disk, path, seed, Background::Driven)
}

/// Opens the database.
pub fn open_with(
    disk: &SimDisk,
    path: &Path,
    seed: u64,
    background: Background,
) -> Result<Arc<Database>, EngineError> {
    let options = OpenOptions {
        overrides: settings(seed),
        initialise: false,
    };
    Database::open_on(foundation(disk, background), path, &options)
}
