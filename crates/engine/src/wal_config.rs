//! The write-ahead log's settings, from the server's and from pg_control.

use std::path::Path;

use trunkline_pgformat::BLCKSZ;
use trunkline_pgformat::control_file::ControlFile;
use trunkline_pgformat::wal::record::Compression;
use trunkline_pgformat::wal::segment::{SegmentSize, WAL_DIRECTORY};
use trunkline_wal::{SyncMethod, WalConfig};

use crate::error::EngineError;
use crate::settings::{ServerSettings, SettingError, SettingValue};

const MEBIBYTE: u64 = 1 << 20;

/// The most that `wal_buffers` may be, in blocks (`guc_tables.c`).
const MAX_BUFFERS_BLOCKS: i64 = 262_143;

/// The size of the segments of the cluster whose control file is `control`, which was checked.
pub(crate) fn segment_size(control: &ControlFile) -> SegmentSize {
    SegmentSize::new(control.xlog_seg_size).unwrap_or(SegmentSize::DEFAULT)
}

/// Puts in place of defaults what they stand for in this cluster, and what is a fact.
pub(crate) fn resolve_wal_settings(settings: &mut ServerSettings, control: &ControlFile) {
    let segment_bytes = i64::from(segment_size(control).bytes());
    settings.resolve("wal_segment_size", SettingValue::Integer(segment_bytes));
    let blocks = match settings.integer("wal_buffers") {
        -1 => chosen_buffers_blocks(settings.integer("shared_buffers"), segment_bytes),
        // PostgreSQL's least number.
        blocks => blocks.max(4),
    };
    settings.resolve("wal_buffers", SettingValue::Integer(blocks));
}

/// The `wal_buffers` of a server that is told none (PostgreSQL's `XLOGChooseNumBuffers`); but up to four
/// segments, not one: what is inserted needs room beside the writes in flight. Four of the largest
/// segments are more than the setting may be.
fn chosen_buffers_blocks(shared_buffers_blocks: i64, segment_bytes: i64) -> i64 {
    let most = (4 * segment_bytes / BLCKSZ as i64).min(MAX_BUFFERS_BLOCKS);
    (shared_buffers_blocks / 32).clamp(8, most)
}

/// The settings of the log of the cluster in `data_dir`.
///
/// # Errors
/// `min_wal_size` or `max_wal_size` is less than two segments.
pub(crate) fn wal_config(
    settings: &ServerSettings,
    control: &ControlFile,
    data_dir: &Path,
) -> Result<WalConfig, EngineError> {
    let segment_size = segment_size(control);
    let megabytes = |name: &'static str| {
        let bytes = settings.integer(name).unsigned_abs() * MEBIBYTE;
        if bytes < 2 * u64::from(segment_size.bytes()) {
            return Err(SettingError::TooFewSegments(name));
        }
        Ok(bytes)
    };
    let number = |name| usize::try_from(settings.integer(name)).unwrap_or(0);
    let defaults = WalConfig::new(
        data_dir.join(WAL_DIRECTORY),
        control.check_point_copy.this_time_line_id,
        control.system_identifier,
        segment_size,
    );
    Ok(WalConfig {
        wal_buffers_bytes: number("wal_buffers") * BLCKSZ,
        wal_sync_method: SyncMethod::from_name(settings.text("wal_sync_method"))?,
        full_page_writes: settings.switch("full_page_writes"),
        wal_compression: Compression::from_name(settings.text("wal_compression")),
        wal_init_zero: settings.switch("wal_init_zero"),
        wal_recycle: settings.switch("wal_recycle"),
        min_wal_size_bytes: megabytes("min_wal_size")?,
        max_wal_size_bytes: megabytes("max_wal_size")?,
        checkpoint_completion_permille: (settings.real("checkpoint_completion_target") * 1000.0)
            as u32,
        wal_writer_delay_ms: settings.integer("wal_writer_delay").unsigned_abs(),
        wal_writer_flush_after_bytes: settings.integer("wal_writer_flush_after").unsigned_abs()
            * BLCKSZ as u64,
        io_direct_wal: settings.has_io_direct("wal"),
        io_direct_wal_init: settings.has_io_direct("wal_init"),
        io_wal_concurrency: number("io_wal_concurrency"),
        io_wal_target_blocks: number("io_wal_target_blocks"),
        io_wal_pad_partial: settings.switch("io_wal_pad_partial"),
        ..defaults
    })
}

/// WAL between two checkpoints that `max_wal_size` allows, in bytes: whole segments, at least one
/// (PostgreSQL's `CalculateCheckpointSegments`).
pub(crate) fn checkpoint_distance_bytes(config: &WalConfig) -> u64 {
    let segment = u64::from(config.segment_size.bytes());
    let permille = 1000 + u64::from(config.checkpoint_completion_permille);
    let segments = config.max_wal_size_bytes / segment * 1000 / permille;
    segments.max(1) * segment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_chosen_within_what_the_log_allows() {
        let chosen = |shared_buffers_mb: i64, segment_mb: i64| {
            chosen_buffers_blocks(shared_buffers_mb * 128, segment_mb << 20)
        };
        assert_eq!(chosen(1, 16), 8);
        assert_eq!(chosen(128, 16), 512);
        assert_eq!(chosen(8 << 10, 16), 4 * 2048);
        assert_eq!(chosen(8 << 10, 1), 4 * 128);
        assert_eq!(chosen(512 << 10, 1024), 262_143);
    }

    #[test]
    fn distances_are_postgresqls() {
        let mut config = WalConfig::new("".into(), 1, 1, SegmentSize::DEFAULT);
        // 64 segments, of which 1.9 checkpoints have to fit in.
        assert_eq!(checkpoint_distance_bytes(&config), 33 * (16 << 20));
        config.max_wal_size_bytes = 32 << 20;
        assert_eq!(checkpoint_distance_bytes(&config), 16 << 20);
    }
}
