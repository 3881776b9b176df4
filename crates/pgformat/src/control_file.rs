//! `global/pg_control`: what a cluster is and in what state it was left
//! (`ControlFileData` in `catalog/pg_control.h`).
//!
//! The file has 8192 bytes: the 296 of the structure, its CRC-32C last, then zeros. Every field's
//! place is in the layout functions below, one list for reading and writing both; docs/formats.md
//! draws it.

use crate::crc::crc32c;
use crate::ids::{BLCKSZ, Lsn, Oid, RELSEG_SIZE, Xid};
use crate::slru::FIRST_MULTI_XACT_ID;
use crate::wal::segment::SegmentSize;
use thiserror::Error;

mod layout;

/// Path of the file in the data directory.
pub const CONTROL_FILE_PATH: &str = "global/pg_control";

/// Bytes of the file (`PG_CONTROL_FILE_SIZE`).
pub const CONTROL_FILE_SIZE: usize = 8192;

/// Version of the structure (`PG_CONTROL_VERSION`).
pub const PG_CONTROL_VERSION: u32 = 1800;

/// Version of PostgreSQL 18's system catalogs (`CATALOG_VERSION_NO`).
pub const CATALOG_VERSION_NO: u32 = 202_506_291;

/// The version of page checksums that there is (`PG_DATA_CHECKSUM_VERSION`).
pub const PG_DATA_CHECKSUM_VERSION: u32 = 1;

/// First LSN of unlogged relations (`FirstNormalUnloggedLSN`).
pub const FIRST_NORMAL_UNLOGGED_LSN: Lsn = Lsn(1000);

/// Bytes of the header that begins a WAL segment (`SizeOfXLogLongPHD`).
const WAL_LONG_PAGE_HEADER_SIZE: u64 = 40;

/// `template1`'s OID, the database that a new cluster's oldest xids belong to.
const TEMPLATE1_OID: Oid = Oid(1);

/// State of the cluster (`DBState`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u32)]
pub enum ClusterState {
    /// Being started for the first time.
    Startup = 0,
    /// Stopped cleanly.
    ShutDown = 1,
    /// Stopped cleanly while recovering.
    ShutDownInRecovery = 2,
    /// Being stopped.
    ShuttingDown = 3,
    /// Recovering from a crash.
    InCrashRecovery = 4,
    /// Recovering from an archive.
    InArchiveRecovery = 5,
    /// Running; or was, when the machine or the server died.
    InProduction = 6,
}

impl ClusterState {
    const ALL: [ClusterState; 7] = [
        ClusterState::Startup,
        ClusterState::ShutDown,
        ClusterState::ShutDownInRecovery,
        ClusterState::ShuttingDown,
        ClusterState::InCrashRecovery,
        ClusterState::InArchiveRecovery,
        ClusterState::InProduction,
    ];

    /// The words that `pg_controldata` prints.
    pub const fn description(self) -> &'static str {
        match self {
            ClusterState::Startup => "starting up",
            ClusterState::ShutDown => "shut down",
            ClusterState::ShutDownInRecovery => "shut down in recovery",
            ClusterState::ShuttingDown => "shutting down",
            ClusterState::InCrashRecovery => "in crash recovery",
            ClusterState::InArchiveRecovery => "in archive recovery",
            ClusterState::InProduction => "in production",
        }
    }
}

/// The setting `wal_level` (`access/xlog.h`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u32)]
pub enum WalLevel {
    /// Enough to recover from a crash.
    Minimal = 0,
    /// Enough to archive and replicate.
    Replica = 1,
    /// Enough to decode logically.
    Logical = 2,
}

impl WalLevel {
    const ALL: [WalLevel; 3] = [WalLevel::Minimal, WalLevel::Replica, WalLevel::Logical];

    /// The level that `number` stands for in files and records.
    pub fn from_number(number: u32) -> Option<WalLevel> {
        WalLevel::ALL.get(number as usize).copied()
    }

    /// The setting's value: `minimal`, `replica`, `logical`.
    pub const fn name(self) -> &'static str {
        match self {
            WalLevel::Minimal => "minimal",
            WalLevel::Replica => "replica",
            WalLevel::Logical => "logical",
        }
    }
}

/// Why the control file cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum ControlFileError {
    /// The file ends within the structure.
    #[error("control file has {length} bytes, which is too few")]
    TooShort {
        /// Bytes of the file.
        length: usize,
    },
    /// Another version's structure, or other bytes.
    #[error(
        "database files are incompatible with server: PG_CONTROL_VERSION {found} (0x{found:08x}), not {PG_CONTROL_VERSION}"
    )]
    Version {
        /// The version as found.
        found: u32,
    },
    /// The CRC does not match.
    #[error("incorrect checksum in control file")]
    Checksum,
    /// A field has a value that it cannot have.
    #[error("invalid value {found} of {field} in control file")]
    Field {
        /// PostgreSQL's name of the field.
        field: &'static str,
        /// The value as found.
        found: u64,
    },
    /// The cluster was made with other constants than these formats'.
    #[error("database files are incompatible with server: {parameter} {found}, not {expected}")]
    Incompatible {
        /// PostgreSQL's name of the constant.
        parameter: &'static str,
        /// The cluster's.
        found: u64,
        /// Ours.
        expected: u64,
    },
}

/// Bytes of a checkpoint record's contents (`sizeof(CheckPoint)`).
pub const CHECK_POINT_SIZE: usize = 88;

/// A checkpoint record's contents (`CheckPoint`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckPoint {
    /// Where recovery starts.
    pub redo: Lsn,
    /// The timeline.
    pub this_time_line_id: u32,
    /// The timeline before, if this checkpoint begins one.
    pub prev_time_line_id: u32,
    /// The setting `full_page_writes`.
    pub full_page_writes: bool,
    /// The setting `wal_level`.
    pub wal_level: WalLevel,
    /// The next xid, with its epoch in the upper half.
    pub next_full_xid: u64,
    /// The next OID.
    pub next_oid: Oid,
    /// The next multixact.
    pub next_multi: u32,
    /// Where the next multixact's members go.
    pub next_multi_offset: u32,
    /// The cluster's oldest `datfrozenxid`.
    pub oldest_xid: Xid,
    /// A database that has it.
    pub oldest_xid_db: Oid,
    /// The cluster's oldest `datminmxid`.
    pub oldest_multi: u32,
    /// A database that has it.
    pub oldest_multi_db: Oid,
    /// Seconds since 1970.
    pub time: i64,
    /// Oldest xid with a commit timestamp; invalid if none.
    pub oldest_commit_ts_xid: Xid,
    /// Newest xid with a commit timestamp; invalid if none.
    pub newest_commit_ts_xid: Xid,
    /// Oldest running xid; only for an online checkpoint.
    pub oldest_active_xid: Xid,
}

impl CheckPoint {
    /// Parses a checkpoint record's contents; they must have [`CHECK_POINT_SIZE`] bytes.
    pub fn decode(bytes: &[u8]) -> Result<CheckPoint, ControlFileError> {
        match <&[u8; CHECK_POINT_SIZE]>::try_from(bytes) {
            Ok(bytes) => layout::decode_check_point(bytes),
            Err(_) => Err(ControlFileError::TooShort {
                length: bytes.len(),
            }),
        }
    }

    /// A checkpoint record's contents.
    pub fn encode(&self) -> [u8; CHECK_POINT_SIZE] {
        layout::encode_check_point(self)
    }

    /// The next xid without its epoch.
    pub const fn next_xid(&self) -> Xid {
        Xid(self.next_full_xid as u32)
    }
}

/// The contents of the control file. Constants that [`ControlFile::check_compatible`] compares
/// are fields too, since they are what a cluster says of itself.
#[derive(Clone, PartialEq, Debug)]
pub struct ControlFile {
    /// Unique to the cluster, and in every WAL segment of it; see [`system_identifier`].
    pub system_identifier: u64,
    /// Version of the system catalogs.
    pub catalog_version_no: u32,
    /// State of the cluster.
    pub state: ClusterState,
    /// When this was last written, in seconds since 1970.
    pub time: i64,
    /// Where the last checkpoint record is.
    pub check_point: Lsn,
    /// The last checkpoint record.
    pub check_point_copy: CheckPoint,
    /// The fake LSN counter of unlogged relations.
    pub unlogged_lsn: Lsn,
    /// How far archive recovery must go before the cluster is consistent.
    pub min_recovery_point: Lsn,
    /// Its timeline.
    pub min_recovery_point_tli: u32,
    /// Where the backup that is being recovered began.
    pub backup_start_point: Lsn,
    /// Where it ended.
    pub backup_end_point: Lsn,
    /// Whether its end record must be seen.
    pub backup_end_required: bool,
    /// The setting `wal_level`.
    pub wal_level: WalLevel,
    /// The setting `wal_log_hints`.
    pub wal_log_hints: bool,
    /// The setting `max_connections`.
    pub max_connections: u32,
    /// The setting `max_worker_processes`.
    pub max_worker_processes: u32,
    /// The setting `max_wal_senders`.
    pub max_wal_senders: u32,
    /// The setting `max_prepared_transactions`.
    pub max_prepared_xacts: u32,
    /// The setting `max_locks_per_transaction`.
    pub max_locks_per_xact: u32,
    /// The setting `track_commit_timestamp`.
    pub track_commit_timestamp: bool,
    /// Alignment of tuples.
    pub max_align: u32,
    /// A number whose bytes tell the format of floating-point numbers.
    pub float_format: f64,
    /// Bytes of a page.
    pub blcksz: u32,
    /// Blocks of a relation's segment.
    pub relseg_size: u32,
    /// Bytes of a WAL page.
    pub xlog_blcksz: u32,
    /// Bytes of a WAL segment, a power of two from 1 MiB to 1 GiB.
    pub xlog_seg_size: u32,
    /// Bytes of type `name`.
    pub name_data_len: u32,
    /// Columns that an index may have.
    pub index_max_keys: u32,
    /// Bytes of a TOAST chunk.
    pub toast_max_chunk_size: u32,
    /// Bytes of a large object's chunk.
    pub loblksize: u32,
    /// Whether 8-byte types are passed by value.
    pub float8_by_val: bool,
    /// Version of the page checksums; zero if pages have none.
    pub data_checksum_version: u32,
    /// Whether `char` was signed where the cluster was made.
    pub default_char_signedness: bool,
    /// Random bytes that authentication uses for users that do not exist.
    pub mock_authentication_nonce: [u8; 32],
}

/// What a new cluster's control file is made from.
#[derive(Clone, Debug)]
pub struct NewCluster {
    /// See [`system_identifier`].
    pub system_identifier: u64,
    /// Seconds since 1970.
    pub time: i64,
    /// Random bytes.
    pub mock_authentication_nonce: [u8; 32],
    /// The first xid that is free.
    pub next_xid: Xid,
    /// The first OID that is free.
    pub next_oid: Oid,
    /// Whether pages carry checksums.
    pub has_checksums: bool,
    /// Bytes of a WAL segment.
    pub wal_segment_size: SegmentSize,
}

/// A new cluster's identifier, unique as far as time and process can make it (`BootStrapXLOG`).
pub const fn system_identifier(seconds: u64, microseconds: u32, process_id: u32) -> u64 {
    seconds << 32 | (microseconds as u64) << 12 | process_id as u64 & 0xfff
}

impl ControlFile {
    /// The control file of a new cluster, cleanly shut down, that has PostgreSQL's default settings
    /// and whose only checkpoint is where `initdb` puts its first: behind the header of the first
    /// WAL segment.
    pub fn for_new_cluster(new: &NewCluster) -> ControlFile {
        let segment_bytes = new.wal_segment_size.bytes();
        let redo = Lsn(u64::from(segment_bytes) + WAL_LONG_PAGE_HEADER_SIZE);
        ControlFile {
            system_identifier: new.system_identifier,
            catalog_version_no: CATALOG_VERSION_NO,
            state: ClusterState::ShutDown,
            time: new.time,
            check_point: redo,
            check_point_copy: CheckPoint {
                redo,
                this_time_line_id: 1,
                prev_time_line_id: 1,
                full_page_writes: true,
                wal_level: WalLevel::Replica,
                next_full_xid: u64::from(new.next_xid.0),
                next_oid: new.next_oid,
                next_multi: FIRST_MULTI_XACT_ID,
                next_multi_offset: 0,
                oldest_xid: Xid::FIRST_NORMAL,
                oldest_xid_db: TEMPLATE1_OID,
                oldest_multi: FIRST_MULTI_XACT_ID,
                oldest_multi_db: TEMPLATE1_OID,
                time: new.time,
                oldest_commit_ts_xid: Xid::INVALID,
                newest_commit_ts_xid: Xid::INVALID,
                oldest_active_xid: Xid::INVALID,
            },
            unlogged_lsn: FIRST_NORMAL_UNLOGGED_LSN,
            min_recovery_point: Lsn::INVALID,
            min_recovery_point_tli: 0,
            backup_start_point: Lsn::INVALID,
            backup_end_point: Lsn::INVALID,
            backup_end_required: false,
            wal_level: WalLevel::Replica,
            wal_log_hints: false,
            max_connections: 100,
            max_worker_processes: 8,
            max_wal_senders: 10,
            max_prepared_xacts: 0,
            max_locks_per_xact: 64,
            track_commit_timestamp: false,
            max_align: 8,
            float_format: layout::FLOAT_FORMAT,
            blcksz: BLCKSZ as u32,
            relseg_size: RELSEG_SIZE,
            xlog_blcksz: 8192,
            xlog_seg_size: segment_bytes,
            name_data_len: 64,
            index_max_keys: 32,
            toast_max_chunk_size: 1996,
            loblksize: 2048,
            float8_by_val: true,
            data_checksum_version: if new.has_checksums {
                PG_DATA_CHECKSUM_VERSION
            } else {
                0
            },
            default_char_signedness: true,
            mock_authentication_nonce: new.mock_authentication_nonce,
        }
    }

    /// Parses the file's contents, of which the first 296 bytes matter. The version is looked at
    /// first, since another version's CRC is elsewhere (`ReadControlFile`).
    pub fn decode(file: &[u8]) -> Result<ControlFile, ControlFileError> {
        let Some(bytes) = file.first_chunk::<{ layout::SIZE }>() else {
            return Err(ControlFileError::TooShort { length: file.len() });
        };
        let found = layout::version(bytes);
        if found != PG_CONTROL_VERSION {
            return Err(ControlFileError::Version { found });
        }
        if layout::stored_crc(bytes) != crc32c(&bytes[..layout::CRC]) {
            return Err(ControlFileError::Checksum);
        }
        layout::decode(bytes)
    }

    /// The file's contents.
    pub fn encode(&self) -> Box<[u8; CONTROL_FILE_SIZE]> {
        let mut file = Box::new([0; CONTROL_FILE_SIZE]);
        layout::encode(self, &mut file[..]);
        let crc = crc32c(&file[..layout::CRC]);
        file[layout::CRC..layout::SIZE].copy_from_slice(&crc.to_le_bytes());
        file
    }

    /// Whether pages carry checksums.
    pub const fn has_checksums(&self) -> bool {
        self.data_checksum_version != 0
    }

    /// Checks that the cluster was made with the constants that these formats have
    /// (`ReadControlFile`).
    pub fn check_compatible(&self) -> Result<(), ControlFileError> {
        // The constants are those of a new cluster; what differs from one to the next is not read.
        let ours = ControlFile::for_new_cluster(&NewCluster {
            system_identifier: 0,
            time: 0,
            mock_authentication_nonce: [0; 32],
            next_xid: Xid::FIRST_NORMAL,
            next_oid: Oid::INVALID,
            has_checksums: true,
            wal_segment_size: SegmentSize::DEFAULT,
        });
        type Constant = (&'static str, fn(&ControlFile) -> u64);
        let compared: [Constant; 11] = [
            ("CATALOG_VERSION_NO", |c| c.catalog_version_no.into()),
            ("MAXALIGN", |c| c.max_align.into()),
            ("float format", |c| c.float_format.to_bits()),
            ("BLCKSZ", |c| c.blcksz.into()),
            ("RELSEG_SIZE", |c| c.relseg_size.into()),
            ("XLOG_BLCKSZ", |c| c.xlog_blcksz.into()),
            ("NAMEDATALEN", |c| c.name_data_len.into()),
            ("INDEX_MAX_KEYS", |c| c.index_max_keys.into()),
            ("TOAST_MAX_CHUNK_SIZE", |c| c.toast_max_chunk_size.into()),
            ("LOBLKSIZE", |c| c.loblksize.into()),
            ("USE_FLOAT8_BYVAL", |c| c.float8_by_val.into()),
        ];
        for (parameter, value) in compared {
            let (found, expected) = (value(self), value(&ours));
            if found != expected {
                return Err(ControlFileError::Incompatible {
                    parameter,
                    found,
                    expected,
                });
            }
        }
        if self.data_checksum_version > PG_DATA_CHECKSUM_VERSION {
            return Err(ControlFileError::Incompatible {
                parameter: "data checksum version",
                found: self.data_checksum_version.into(),
                expected: PG_DATA_CHECKSUM_VERSION.into(),
            });
        }
        let segment = self.xlog_seg_size;
        if !segment.is_power_of_two() || !(1 << 20..=1 << 30).contains(&segment) {
            return Err(ControlFileError::Field {
                field: "xlog_seg_size",
                found: segment.into(),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn new_cluster() -> ControlFile {
        ControlFile::for_new_cluster(&NewCluster {
            system_identifier: system_identifier(1_700_000_000, 999_999, 4097),
            time: 1_700_000_000,
            mock_authentication_nonce: [0xa5; 32],
            next_xid: Xid(750),
            next_oid: Oid(16_384),
            has_checksums: true,
            wal_segment_size: SegmentSize::DEFAULT,
        })
    }

    #[test]
    fn a_new_cluster_reads_back() {
        let control = new_cluster();
        let file = control.encode();
        assert!(file[layout::SIZE..].iter().all(|byte| *byte == 0));
        let read = ControlFile::decode(&file[..]).unwrap();
        assert_eq!(read, control);
        assert_eq!(read.check_compatible(), Ok(()));
        assert_eq!(read.check_point_copy.next_xid(), Xid(750));
        assert_eq!(read.check_point.to_string(), "0/1000028");
    }

    #[test]
    fn identifiers_hold_time_and_process() {
        assert_eq!(system_identifier(1, 2, 0x1003), 1 << 32 | 2 << 12 | 3);
    }

    #[test]
    fn damage_is_told_from_another_version() {
        let mut file = new_cluster().encode();
        assert_eq!(
            ControlFile::decode(&file[..295]),
            Err(ControlFileError::TooShort { length: 295 })
        );
        file[300] = 1;
        assert!(
            ControlFile::decode(&file[..]).is_ok(),
            "behind the structure"
        );
        file[30] ^= 1;
        assert_eq!(
            ControlFile::decode(&file[..]),
            Err(ControlFileError::Checksum)
        );
        file[8..12].copy_from_slice(&1300_u32.to_le_bytes());
        assert_eq!(
            ControlFile::decode(&file[..]),
            Err(ControlFileError::Version { found: 1300 })
        );
    }

    #[test]
    fn other_constants_are_named() {
        let mut control = new_cluster();
        control.blcksz = 4096;
        assert_eq!(
            control.check_compatible(),
            Err(ControlFileError::Incompatible {
                parameter: "BLCKSZ",
                found: 4096,
                expected: 8192
            })
        );
        let mut control = new_cluster();
        control.xlog_seg_size = 3 << 20;
        assert!(control.check_compatible().is_err());
        let mut control = new_cluster();
        control.data_checksum_version = 2;
        assert!(control.check_compatible().is_err());
    }

    proptest! {
        /// Random fields under a right version and CRC: read without panic, and what is read is
        /// written as the same bytes wherever there are fields.
        #[test]
        fn any_bytes_with_a_right_crc_are_read_without_panic(
            mut bytes in proptest::collection::vec(any::<u8>(), layout::SIZE),
            state in 0_u32..9,
            booleans in 0_u8..3,
        ) {
            bytes[8..12].copy_from_slice(&PG_CONTROL_VERSION.to_le_bytes());
            bytes[16..20].copy_from_slice(&state.to_le_bytes());
            bytes[60..64].copy_from_slice(&[1, 0, 0, 0]);
            bytes[172..176].copy_from_slice(&[2, 0, 0, 0]);
            for at in [56, 168, 176, 200, 248, 256] {
                bytes[at] = booleans;
            }
            let crc = crc32c(&bytes[..layout::CRC]);
            bytes[layout::CRC..].copy_from_slice(&crc.to_le_bytes());
            match ControlFile::decode(&bytes) {
                Ok(control) => {
                    let _ = control.check_compatible();
                    let file = control.encode();
                    let again = ControlFile::decode(&file[..]).unwrap();
                    prop_assert_eq!(again.encode(), file);
                    prop_assert!(state < 7 && booleans < 2);
                }
                Err(error) => {
                    prop_assert!(state >= 7 || booleans >= 2, "{error}");
                }
            }
        }
    }
}
