//! How a simulated disk is set up.

use std::path::PathBuf;

use trunkline_aio::{AlignedBuf, DirectAlignment};

use crate::content::PAGE_BYTES;
use crate::faults::FaultPlan;
use crate::names::NameOrder;
use crate::random::Random;

/// How long an operation takes: `min_ns` plus something below `spread_ns`, and
/// now and then something below `slow_ns` more. Operations in flight overtake
/// each other as far as these differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// At least, in nanoseconds.
    pub min_ns: u64,
    /// Width of the usual range, in nanoseconds.
    pub spread_ns: u64,
    /// How often an operation is slow.
    pub slow_per_million: u32,
    /// How much longer a slow one takes at most, in nanoseconds.
    pub slow_ns: u64,
}

impl Latency {
    /// Always the same.
    pub const fn fixed(min_ns: u64) -> Self {
        Latency {
            min_ns,
            spread_ns: 0,
            slow_per_million: 0,
            slow_ns: 0,
        }
    }

    pub(crate) fn draw(&self, random: &mut Random) -> u64 {
        let mut latency = self.min_ns + random.below(self.spread_ns);
        if random.chance(self.slow_per_million) {
            latency += random.below(self.slow_ns);
        }
        latency
    }
}

/// A simulated disk's properties.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// What the disk writes or does not write, never half: a power of two from
    /// 512 to 4096.
    pub sector_bytes: u32,
    /// What direct I/O demands; `None` for a file system without it, where
    /// files opened for direct I/O are buffered.
    pub direct: Option<DirectAlignment>,
    /// Space for the files' contents, given out in pages of 4 KiB; `None` for
    /// no limit.
    pub capacity_bytes: Option<u64>,
    /// How long reads take.
    pub read_latency: Latency,
    /// How long writes take.
    pub write_latency: Latency,
    /// How long syncs of files take.
    pub sync_latency: Latency,
    /// How long calls of `Storage` take.
    pub metadata_latency: Latency,
    /// In which order changes of names become durable.
    pub name_order: NameOrder,
    /// What goes wrong from the start.
    pub faults: FaultPlan,
    /// Unsynced bytes of one file that are kept apart from the durable ones;
    /// beyond, the oldest become durable, as by write-back.
    pub write_back_limit_bytes: u64,
    /// The wall-clock time at the start, in seconds since 1970.
    pub epoch_seconds: u64,
    /// Traces show paths without this beginning, so that a temporary
    /// directory's name is no part of their hash.
    pub trace_root: PathBuf,
    /// Keep every event, not only the hash.
    pub record_trace: bool,
}

impl SimConfig {
    /// A small fast disk with 512-byte sectors and direct I/O, nothing wrong
    /// with it.
    pub fn new(seed: u64) -> Self {
        SimConfig {
            seed,
            sector_bytes: 512,
            direct: Some(DirectAlignment {
                memory_bytes: 512,
                offset_bytes: 512,
            }),
            capacity_bytes: None,
            read_latency: Latency {
                min_ns: 60_000,
                spread_ns: 60_000,
                slow_per_million: 10_000,
                slow_ns: 2_000_000,
            },
            write_latency: Latency {
                min_ns: 15_000,
                spread_ns: 30_000,
                slow_per_million: 20_000,
                slow_ns: 3_000_000,
            },
            sync_latency: Latency {
                min_ns: 200_000,
                spread_ns: 800_000,
                slow_per_million: 50_000,
                slow_ns: 10_000_000,
            },
            metadata_latency: Latency {
                min_ns: 5_000,
                spread_ns: 10_000,
                slow_per_million: 1_000,
                slow_ns: 1_000_000,
            },
            name_order: NameOrder::PerDirectory,
            faults: FaultPlan::none(),
            write_back_limit_bytes: 64 << 20,
            // 2026-01-01 00:00:00 UTC.
            epoch_seconds: 1_767_225_600,
            trace_root: PathBuf::new(),
            record_trace: false,
        }
    }

    /// The same with other faults.
    #[must_use]
    pub fn with_faults(self, faults: FaultPlan) -> Self {
        SimConfig { faults, ..self }
    }

    /// # Panics
    /// If a size makes no sense.
    pub(crate) fn check(&self) {
        let sector = self.sector_bytes;
        assert!(
            sector.is_power_of_two() && (512..=PAGE_BYTES as u32).contains(&sector),
            "sectors of {sector} bytes"
        );
        if let Some(direct) = self.direct {
            for bytes in [direct.memory_bytes, direct.offset_bytes] {
                assert!(
                    bytes.is_power_of_two() && bytes as usize <= AlignedBuf::ALIGNMENT_BYTES,
                    "an alignment of {bytes} bytes"
                );
            }
        }
    }
}
