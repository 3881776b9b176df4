//! What the log says about checkpoints (PostgreSQL's `LogCheckpointStart` and `LogCheckpointEnd`).

use std::time::Duration;

use trunkline_pgformat::{BLCKSZ, Lsn};
use trunkline_smgr::SyncTimes;
use trunkline_wal::WalStats;

use crate::checkpoint_requests::CheckpointCause;

/// What a checkpoint did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CheckpointReport {
    /// Buffers written by the checkpoint itself.
    pub(crate) buffers_written: u64,
    /// Buffers of the pool.
    pub(crate) buffers: usize,
    /// Pages of pg_xact written.
    pub(crate) slru_written: u64,
    pub(crate) write: Duration,
    pub(crate) sync: Duration,
    pub(crate) total: Duration,
    pub(crate) sync_times: SyncTimes,
    /// WAL segments made, removed and recycled meanwhile.
    pub(crate) segments: SegmentChanges,
    /// Log from the redo point before to this one, in bytes.
    pub(crate) distance_bytes: u64,
    /// How much is expected between two.
    pub(crate) estimate_bytes: u64,
    /// The checkpoint's record.
    pub(crate) lsn: Lsn,
    pub(crate) redo: Lsn,
}

/// What became of WAL segments.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SegmentChanges {
    pub(crate) added: u64,
    pub(crate) removed: u64,
    pub(crate) recycled: u64,
}

impl SegmentChanges {
    /// From one moment to the other.
    pub(crate) fn between(before: &WalStats, after: &WalStats) -> SegmentChanges {
        SegmentChanges {
            added: after.segments_made.saturating_sub(before.segments_made),
            removed: after
                .segments_removed
                .saturating_sub(before.segments_removed),
            recycled: after
                .segments_recycled
                .saturating_sub(before.segments_recycled),
        }
    }
}

/// "checkpoint starting: ..."
pub(crate) fn starting(cause: CheckpointCause) -> String {
    let words = [
        (cause.is_shutdown, " shutdown"),
        (cause.is_end_of_recovery, " end-of-recovery"),
        (cause.is_fast, " immediate"),
        (cause.is_forced, " force"),
        (cause.is_awaited, " wait"),
        (cause.is_for_wal, " wal"),
        (cause.is_timed, " time"),
    ];
    let said: String = words
        .iter()
        .filter_map(|(is, word)| is.then_some(*word))
        .collect();
    format!("checkpoint starting:{said}")
}

/// What is said if a checkpoint for `max_wal_size` begins so soon after the last one: less than
/// `warning` later, in whole seconds.
pub(crate) fn too_frequent(since_last: Duration, warning: Duration) -> Option<String> {
    let seconds = since_last.as_secs();
    let unit = if seconds == 1 { "second" } else { "seconds" };
    (seconds < warning.as_secs()).then(|| {
        format!(
            "checkpoints are occurring too frequently ({seconds} {unit} apart); consider increasing \
             the configuration parameter \"max_wal_size\""
        )
    })
}

/// Seconds with milliseconds, cut off as PostgreSQL cuts them.
fn seconds(duration: Duration) -> String {
    format!("{}.{:03} s", duration.as_secs(), duration.subsec_millis())
}

/// "checkpoint complete: ...", with the rate of the writes, which PostgreSQL does not say.
pub(crate) fn complete(report: &CheckpointReport) -> String {
    let CheckpointReport {
        buffers_written,
        buffers,
        slru_written,
        write,
        sync,
        total,
        sync_times,
        segments,
        distance_bytes,
        estimate_bytes,
        lsn,
        redo,
    } = report;
    let percent = *buffers_written as f64 * 100.0 / (*buffers).max(1) as f64;
    let mebibytes = (*buffers_written * BLCKSZ as u64) as f64 / f64::from(1 << 20);
    let rate = mebibytes / write.as_secs_f64().max(0.001);
    format!(
        "checkpoint complete: wrote {buffers_written} buffers ({percent:.1}%), \
         wrote {slru_written} SLRU buffers; \
         {} WAL file(s) added, {} removed, {} recycled; \
         write={}, sync={}, total={}; sync files={}, longest={}, average={}; \
         distance={} kB, estimate={} kB; lsn={lsn}, redo lsn={redo}; {rate:.1} MiB/s",
        segments.added,
        segments.removed,
        segments.recycled,
        seconds(*write),
        seconds(*sync),
        seconds(*total),
        sync_times.files,
        seconds(sync_times.longest),
        seconds(sync_times.average()),
        distance_bytes / 1024,
        estimate_bytes / 1024,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_too_close_to_each_other_are_told() {
        let said = |since_ms, warning| {
            too_frequent(
                Duration::from_millis(since_ms),
                Duration::from_secs(warning),
            )
        };
        let begins = |said: Option<String>, beginning: &str| {
            said.is_some_and(|said| said.starts_with(beginning))
        };
        let text = "checkpoints are occurring too frequently";
        assert!(begins(said(1999, 30), &format!("{text} (1 second apart)")));
        assert!(begins(
            said(29_999, 30),
            &format!("{text} (29 seconds apart)")
        ));
        assert_eq!(said(30_000, 30), None);
        assert_eq!(said(0, 0), None);
    }

    #[test]
    fn lines_are_postgresqls() {
        assert_eq!(
            starting(CheckpointCause::STATEMENT),
            "checkpoint starting: immediate force wait"
        );
        assert_eq!(
            starting(CheckpointCause::TIMED),
            "checkpoint starting: time"
        );
        assert_eq!(
            starting(CheckpointCause::SHUTDOWN),
            "checkpoint starting: shutdown immediate"
        );
        let report = CheckpointReport {
            buffers_written: 1024,
            buffers: 16384,
            slru_written: 3,
            write: Duration::from_millis(2000),
            sync: Duration::from_micros(12_999),
            total: Duration::from_millis(2040),
            sync_times: SyncTimes {
                files: 4,
                longest: Duration::from_millis(9),
                sum: Duration::from_millis(16),
            },
            segments: SegmentChanges {
                added: 1,
                removed: 0,
                recycled: 33,
            },
            distance_bytes: 540_672 << 10,
            estimate_bytes: (540_672 << 10) + 1,
            lsn: Lsn(0x1_2345_6789),
            redo: Lsn(0x1_0000_0028),
        };
        assert_eq!(
            complete(&report),
            "checkpoint complete: wrote 1024 buffers (6.2%), wrote 3 SLRU buffers; \
             1 WAL file(s) added, 0 removed, 33 recycled; \
             write=2.000 s, sync=0.012 s, total=2.040 s; sync files=4, longest=0.009 s, \
             average=0.004 s; distance=540672 kB, estimate=540672 kB; \
             lsn=1/23456789, redo lsn=1/28; 4.0 MiB/s"
        );
    }
}
