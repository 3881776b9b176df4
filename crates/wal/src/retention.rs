//! How many segments to keep for later use when a checkpoint makes them old
//! (`XLOGfileslop`, `UpdateCheckPointDistanceEstimate` in PostgreSQL's `transam/xlog.c`).

use trunkline_pgformat::Lsn;
use trunkline_pgformat::wal::segment::SegmentNumber;

use crate::config::WalConfig;

/// How much log a checkpoint covers, as seen so far: follows increases at once, decreases slowly.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CheckpointDistance {
    estimate_bytes: u64,
}

impl CheckpointDistance {
    /// A checkpoint covered `bytes` of log.
    pub(crate) fn note(&mut self, bytes: u64) {
        self.estimate_bytes = if self.estimate_bytes < bytes {
            bytes
        } else {
            self.estimate_bytes - (self.estimate_bytes - bytes) / 10
        };
    }

    /// What the next one is expected to cover.
    pub(crate) fn estimate_bytes(self) -> u64 {
        self.estimate_bytes
    }

    /// The last segment that an old one may be renamed to, with the redo pointer at `redo`.
    pub(crate) fn recycle_to(self, config: &WalConfig, redo: Lsn) -> SegmentNumber {
        let size = u64::from(config.segment_size.bytes());
        let least = redo.0 / size + (config.min_wal_size_bytes / size).saturating_sub(1);
        let most = redo.0 / size + (config.max_wal_size_bytes / size).saturating_sub(1);
        // Until the end of the next checkpoint but one, and a tenth more.
        let permille = 1000 + u64::from(config.checkpoint_completion_permille);
        let ahead = u128::from(self.estimate_bytes) * u128::from(permille) * 11 / 10_000;
        let until = redo
            .0
            .saturating_add(u64::try_from(ahead).unwrap_or(u64::MAX));
        until.div_ceil(size).clamp(least, most.max(least))
    }
}

#[cfg(all(test, not(trunkline_loom)))]
mod tests {
    use super::*;
    use trunkline_pgformat::wal::segment::SegmentSize;

    const MIB: u64 = 1 << 20;

    fn config() -> WalConfig {
        WalConfig::new("".into(), 1, 1, SegmentSize::DEFAULT)
    }

    #[test]
    fn the_estimate_follows_up_at_once_and_down_slowly() {
        let mut distance = CheckpointDistance::default();
        distance.note(1000);
        assert_eq!(distance.estimate_bytes, 1000);
        distance.note(0);
        assert_eq!(distance.estimate_bytes, 900);
        distance.note(2000);
        assert_eq!(distance.estimate_bytes, 2000);
    }

    #[test]
    fn segments_are_kept_within_the_settings_sizes() {
        let redo = Lsn(160 * MIB);
        let with = |bytes| {
            let mut distance = CheckpointDistance::default();
            distance.note(bytes);
            distance.recycle_to(&config(), redo)
        };
        // 80 MiB are five segments, 1 GiB is sixty-four.
        assert_eq!(with(0), 10 + 4);
        // 200 MiB times 1.9 times 1.1 are 418 MiB.
        assert_eq!(with(200 * MIB), (160 + 418_u64).div_ceil(16));
        assert_eq!(with(10_000 * MIB), 10 + 63);
    }
}
