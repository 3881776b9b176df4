//! Settings, under PostgreSQL's names with their units.

use std::path::PathBuf;

use trunkline_aio::Op;
use trunkline_pgformat::wal::record::Compression;
use trunkline_pgformat::wal::segment::SegmentSize;
use trunkline_pgformat::wal::{TimeLineId, XLOG_BLCKSZ};

use crate::error::WalError;

/// How written log becomes durable (`wal_sync_method`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncMethod {
    /// Segments are opened with `O_DSYNC`: a write that is complete is durable.
    OpenDatasync,
    /// A write, and then `fdatasync`.
    Fdatasync,
    /// A write, and then `fsync`.
    Fsync,
}

impl SyncMethod {
    /// Every method that there is.
    pub const ALL: [SyncMethod; 3] = [
        SyncMethod::OpenDatasync,
        SyncMethod::Fdatasync,
        SyncMethod::Fsync,
    ];

    /// The value of the setting.
    pub const fn name(self) -> &'static str {
        match self {
            SyncMethod::OpenDatasync => "open_datasync",
            SyncMethod::Fdatasync => "fdatasync",
            SyncMethod::Fsync => "fsync",
        }
    }

    /// The method of this name.
    ///
    /// # Errors
    /// There is none, or (`open_sync`, `fsync_writethrough`) none here.
    pub fn from_name(name: &str) -> Result<SyncMethod, WalError> {
        SyncMethod::ALL
            .into_iter()
            .find(|method| method.name() == name)
            .ok_or_else(|| WalError::UnknownSyncMethod {
                name: name.to_owned(),
            })
    }

    /// What follows a write; nothing if the write is durable by itself.
    pub(crate) const fn sync_operation(self) -> Option<Op> {
        match self {
            SyncMethod::OpenDatasync => None,
            SyncMethod::Fdatasync => Some(Op::Fdatasync),
            SyncMethod::Fsync => Some(Op::Fsync),
        }
    }
}

/// The write-ahead log's settings.
#[derive(Clone, Debug)]
pub struct WalConfig {
    /// The directory `pg_wal`.
    pub directory: PathBuf,
    /// The timeline that is written.
    pub timeline: TimeLineId,
    /// The cluster's, as in `pg_control`.
    pub system_identifier: u64,
    /// `wal_segment_size`, set when the cluster is made.
    pub segment_size: SegmentSize,
    /// `wal_buffers`, in bytes; raised to [`WalConfig::MIN_BUFFERS_BYTES`].
    pub wal_buffers_bytes: usize,
    /// `wal_sync_method`.
    pub wal_sync_method: SyncMethod,
    /// `full_page_writes` at the start; see [`crate::Wal::set_full_page_writes`].
    pub full_page_writes: bool,
    /// `wal_compression`: how page images are compressed, where that makes them shorter.
    pub wal_compression: Option<Compression>,
    /// `wal_init_zero`: new segments are filled with zeros, not left sparse.
    pub wal_init_zero: bool,
    /// `wal_recycle`: segments that are no longer needed are renamed for later use.
    pub wal_recycle: bool,
    /// `min_wal_size`, in bytes.
    pub min_wal_size_bytes: u64,
    /// `max_wal_size`, in bytes.
    pub max_wal_size_bytes: u64,
    /// `checkpoint_completion_target`, in thousandths.
    pub checkpoint_completion_permille: u32,
    /// `wal_writer_delay`, in milliseconds.
    pub wal_writer_delay_ms: u64,
    /// `wal_writer_flush_after`, in bytes.
    pub wal_writer_flush_after_bytes: u64,
    /// `io_direct` contains `wal`.
    pub io_direct_wal: bool,
    /// `io_direct` contains `wal_init`.
    pub io_direct_wal_init: bool,
    /// `io_wal_concurrency`: writes in flight, at most; 1 to 256.
    pub io_wal_concurrency: usize,
    /// `io_wal_target_blocks`: with so many 8 KiB blocks inserted and not sent, an inserter starts
    /// their write; 1 to 131072.
    pub io_wal_target_blocks: usize,
    /// `io_wal_pad_partial`: a flush fills the write unit that the log ends in with a record that does
    /// nothing if another flush would have to wait for it. Only with [`SyncMethod::OpenDatasync`].
    pub io_wal_pad_partial: bool,
}

/// The longest write, in bytes.
pub(crate) const MAX_WRITE_BYTES: u64 = 1 << 20;

impl WalConfig {
    /// The smallest ring of WAL pages.
    pub const MIN_BUFFERS_BYTES: usize = 1 << 20;

    /// PostgreSQL's defaults (direct I/O apart), for the log of a cluster in `directory`.
    pub fn new(
        directory: PathBuf,
        timeline: TimeLineId,
        system_identifier: u64,
        segment_size: SegmentSize,
    ) -> Self {
        WalConfig {
            directory,
            timeline,
            system_identifier,
            segment_size,
            wal_buffers_bytes: 16 << 20,
            wal_sync_method: SyncMethod::OpenDatasync,
            full_page_writes: true,
            wal_compression: None,
            wal_init_zero: true,
            wal_recycle: true,
            min_wal_size_bytes: 80 << 20,
            max_wal_size_bytes: 1 << 30,
            checkpoint_completion_permille: 900,
            wal_writer_delay_ms: 200,
            wal_writer_flush_after_bytes: 1 << 20,
            io_direct_wal: true,
            io_direct_wal_init: true,
            io_wal_concurrency: 32,
            io_wal_target_blocks: 64,
            io_wal_pad_partial: true,
        }
    }

    /// Bytes of the ring.
    pub(crate) fn ring_bytes(&self) -> usize {
        self.wal_buffers_bytes
            .max(Self::MIN_BUFFERS_BYTES)
            .next_multiple_of(XLOG_BLCKSZ)
    }

    /// Checks every field against its range.
    pub(crate) fn validate(&self) -> Result<(), WalError> {
        let range = |name, value: u64, low, high| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(WalError::SettingOutOfRange {
                    name,
                    value,
                    low,
                    high,
                })
            }
        };
        let segment_bytes = u64::from(self.segment_size.bytes());
        range("wal_buffers", self.wal_buffers_bytes as u64, 0, 2 << 30)?;
        range(
            "min_wal_size",
            self.min_wal_size_bytes,
            2 * segment_bytes,
            1 << 51,
        )?;
        range(
            "max_wal_size",
            self.max_wal_size_bytes,
            2 * segment_bytes,
            1 << 51,
        )?;
        range(
            "checkpoint_completion_target",
            self.checkpoint_completion_permille.into(),
            0,
            1000,
        )?;
        range("wal_writer_delay", self.wal_writer_delay_ms, 1, 10_000)?;
        range("io_wal_concurrency", self.io_wal_concurrency as u64, 1, 256)?;
        range(
            "io_wal_target_blocks",
            self.io_wal_target_blocks as u64,
            1,
            131_072,
        )
    }
}

#[cfg(all(test, not(trunkline_loom)))]
mod tests {
    use super::*;

    #[test]
    fn sync_methods_have_postgresqls_names_and_others_are_refused() {
        for method in SyncMethod::ALL {
            assert_eq!(SyncMethod::from_name(method.name()).unwrap(), method);
        }
        for name in ["open_sync", "fsync_writethrough", ""] {
            let error = SyncMethod::from_name(name).unwrap_err();
            assert!(error.to_string().contains(&format!("{name:?}")), "{error}");
        }
    }

    #[test]
    fn sizes_out_of_range_are_refused_by_name() {
        let config = WalConfig::new(PathBuf::new(), 1, 1, SegmentSize::DEFAULT);
        assert!(config.validate().is_ok());
        let config = WalConfig {
            min_wal_size_bytes: 16 << 20,
            ..config
        };
        assert_eq!(
            config.validate().unwrap_err().to_string(),
            "min_wal_size is 16777216, outside the valid range 33554432 .. 2251799813685248"
        );
    }
}
