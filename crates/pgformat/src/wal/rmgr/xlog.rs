//! Records about checkpoints and the log itself (`xlogdesc.c`, `access/xlog_internal.h`).

use super::{PayloadError, found, text};
use crate::control_file::CheckPoint;
use crate::ids::{Lsn, Oid};
use crate::wal::TimeLineId;
use crate::wal::cursor::Cursor;
use crate::wal::decode::DecodedRecord;
use crate::wal::info::xlog::*;

/// Bytes of a restore point's name and zeros (`MAXFNAMELEN`).
pub const RESTORE_POINT_NAME_SIZE: usize = 64;

/// Settings that a standby must follow (`xl_parameter_change`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParameterChange {
    /// The setting `max_connections`.
    pub max_connections: i32,
    /// The setting `max_worker_processes`.
    pub max_worker_processes: i32,
    /// The setting `max_wal_senders`.
    pub max_wal_senders: i32,
    /// The setting `max_prepared_transactions`.
    pub max_prepared_xacts: i32,
    /// The setting `max_locks_per_transaction`.
    pub max_locks_per_xact: i32,
    /// The setting `wal_level`, as a number.
    pub wal_level: i32,
    /// The setting `wal_log_hints`.
    pub wal_log_hints: bool,
    /// The setting `track_commit_timestamp`.
    pub track_commit_timestamp: bool,
}

impl ParameterChange {
    /// Parses the record's data.
    pub fn decode(data: &[u8]) -> Result<ParameterChange, PayloadError> {
        let decode = || {
            let mut cursor = Cursor::new(data);
            let change = ParameterChange {
                max_connections: cursor.i32()?,
                max_worker_processes: cursor.i32()?,
                max_wal_senders: cursor.i32()?,
                max_prepared_xacts: cursor.i32()?,
                max_locks_per_xact: cursor.i32()?,
                wal_level: cursor.i32()?,
                wal_log_hints: cursor.bool()?,
                track_commit_timestamp: cursor.bool()?,
            };
            cursor.skip(2)?;
            cursor.end()?;
            Some(change)
        };
        found(decode(), "xl_parameter_change")
    }

    /// The record's data.
    pub fn encode(&self) -> [u8; 28] {
        let mut data = [0; 28];
        for (at, value) in [
            self.max_connections,
            self.max_worker_processes,
            self.max_wal_senders,
            self.max_prepared_xacts,
            self.max_locks_per_xact,
            self.wal_level,
        ]
        .into_iter()
        .enumerate()
        {
            data[at * 4..at * 4 + 4].copy_from_slice(&value.to_le_bytes());
        }
        data[24] = self.wal_log_hints.into();
        data[25] = self.track_commit_timestamp.into();
        data
    }
}

/// A named point to recover to (`xl_restore_point`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RestorePoint {
    /// When, in microseconds since 2000-01-01 UTC.
    pub time: i64,
    /// Its name and zeros.
    pub name: [u8; RESTORE_POINT_NAME_SIZE],
}

impl RestorePoint {
    /// Parses the record's data.
    pub fn decode(data: &[u8]) -> Result<RestorePoint, PayloadError> {
        let decode = || {
            let mut cursor = Cursor::new(data);
            let point = RestorePoint {
                time: cursor.i64()?,
                name: cursor.array()?,
            };
            cursor.end()?;
            Some(point)
        };
        found(decode(), "xl_restore_point")
    }

    /// The record's data.
    pub fn encode(&self) -> [u8; 8 + RESTORE_POINT_NAME_SIZE] {
        let mut data = [0; 8 + RESTORE_POINT_NAME_SIZE];
        data[..8].copy_from_slice(&self.time.to_le_bytes());
        data[8..].copy_from_slice(&self.name);
        data
    }
}

/// Recovery ended and began a timeline (`xl_end_of_recovery`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EndOfRecovery {
    /// When, in microseconds since 2000-01-01 UTC.
    pub end_time: i64,
    /// The timeline that begins.
    pub this_time_line_id: TimeLineId,
    /// The timeline before.
    pub prev_time_line_id: TimeLineId,
    /// The setting `wal_level`, as a number.
    pub wal_level: i32,
}

impl EndOfRecovery {
    /// Parses the record's data.
    pub fn decode(data: &[u8]) -> Result<EndOfRecovery, PayloadError> {
        let decode = || {
            let mut cursor = Cursor::new(data);
            let end = EndOfRecovery {
                end_time: cursor.i64()?,
                this_time_line_id: cursor.u32()?,
                prev_time_line_id: cursor.u32()?,
                wal_level: cursor.i32()?,
            };
            cursor.skip(4)?;
            cursor.end()?;
            Some(end)
        };
        found(decode(), "xl_end_of_recovery")
    }

    /// The record's data.
    pub fn encode(&self) -> [u8; 24] {
        let mut data = [0; 24];
        data[..8].copy_from_slice(&self.end_time.to_le_bytes());
        data[8..12].copy_from_slice(&self.this_time_line_id.to_le_bytes());
        data[12..16].copy_from_slice(&self.prev_time_line_id.to_le_bytes());
        data[16..20].copy_from_slice(&self.wal_level.to_le_bytes());
        data
    }
}

/// A record before was never completed (`xl_overwrite_contrecord`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OverwriteContrecord {
    /// Where that record begins.
    pub overwritten_lsn: Lsn,
    /// When this was found, in microseconds since 2000-01-01 UTC.
    pub overwrite_time: i64,
}

impl OverwriteContrecord {
    /// Parses the record's data.
    pub fn decode(data: &[u8]) -> Result<OverwriteContrecord, PayloadError> {
        let decode = || {
            let mut cursor = Cursor::new(data);
            let overwrite = OverwriteContrecord {
                overwritten_lsn: cursor.lsn()?,
                overwrite_time: cursor.i64()?,
            };
            cursor.end()?;
            Some(overwrite)
        };
        found(decode(), "xl_overwrite_contrecord")
    }

    /// The record's data.
    pub fn encode(&self) -> [u8; 16] {
        let mut data = [0; 16];
        data[..8].copy_from_slice(&self.overwritten_lsn.0.to_le_bytes());
        data[8..].copy_from_slice(&self.overwrite_time.to_le_bytes());
        data
    }
}

/// The contents of a record of this resource manager.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Xlog {
    /// `CHECKPOINT_SHUTDOWN`.
    CheckpointShutdown(CheckPoint),
    /// `CHECKPOINT_ONLINE`.
    CheckpointOnline(CheckPoint),
    /// `NOOP`, of any length.
    Noop,
    /// `NEXTOID`.
    NextOid(Oid),
    /// `SWITCH`.
    Switch,
    /// `BACKUP_END`: where the backup began.
    BackupEnd(Lsn),
    /// `PARAMETER_CHANGE`.
    ParameterChange(ParameterChange),
    /// `RESTORE_POINT`.
    RestorePoint(RestorePoint),
    /// `FPW_CHANGE`: whether `full_page_writes` is on.
    FpwChange(bool),
    /// `END_OF_RECOVERY`.
    EndOfRecovery(EndOfRecovery),
    /// `FPI_FOR_HINT`: block 0 has the image.
    FpiForHint,
    /// `FPI`: the blocks have the images.
    Fpi,
    /// `OVERWRITE_CONTRECORD`.
    OverwriteContrecord(OverwriteContrecord),
    /// `CHECKPOINT_REDO`: the setting `wal_level`, as a number.
    CheckpointRedo(i32),
}

impl Xlog {
    /// What `record`, one of this resource manager, holds. `None`: there is no such code.
    pub fn decode(record: &DecodedRecord<'_>) -> Result<Option<Xlog>, PayloadError> {
        let data = record.main_data;
        let check_point = || {
            let check_point = CheckPoint::decode(data).ok();
            found(check_point, "CheckPoint")
        };
        let mut cursor = Cursor::new(data);
        Ok(Some(match record.code() {
            CHECKPOINT_SHUTDOWN => Xlog::CheckpointShutdown(check_point()?),
            CHECKPOINT_ONLINE => Xlog::CheckpointOnline(check_point()?),
            NOOP => Xlog::Noop,
            NEXTOID => Xlog::NextOid(found(cursor.oid(), "XLOG_NEXTOID")?),
            SWITCH => Xlog::Switch,
            BACKUP_END => Xlog::BackupEnd(found(cursor.lsn(), "XLOG_BACKUP_END")?),
            PARAMETER_CHANGE => Xlog::ParameterChange(ParameterChange::decode(data)?),
            RESTORE_POINT => Xlog::RestorePoint(RestorePoint::decode(data)?),
            FPW_CHANGE => Xlog::FpwChange(found(cursor.bool(), "XLOG_FPW_CHANGE")?),
            END_OF_RECOVERY => Xlog::EndOfRecovery(EndOfRecovery::decode(data)?),
            FPI_FOR_HINT => Xlog::FpiForHint,
            FPI => Xlog::Fpi,
            OVERWRITE_CONTRECORD => Xlog::OverwriteContrecord(OverwriteContrecord::decode(data)?),
            CHECKPOINT_REDO => Xlog::CheckpointRedo(found(cursor.i32(), "XLOG_CHECKPOINT_REDO")?),
            _ => return Ok(None),
        }))
    }

    /// The record's code (`xl_info`).
    pub const fn code(&self) -> u8 {
        match self {
            Xlog::CheckpointShutdown(_) => CHECKPOINT_SHUTDOWN,
            Xlog::CheckpointOnline(_) => CHECKPOINT_ONLINE,
            Xlog::Noop => NOOP,
            Xlog::NextOid(_) => NEXTOID,
            Xlog::Switch => SWITCH,
            Xlog::BackupEnd(_) => BACKUP_END,
            Xlog::ParameterChange(_) => PARAMETER_CHANGE,
            Xlog::RestorePoint(_) => RESTORE_POINT,
            Xlog::FpwChange(_) => FPW_CHANGE,
            Xlog::EndOfRecovery(_) => END_OF_RECOVERY,
            Xlog::FpiForHint => FPI_FOR_HINT,
            Xlog::Fpi => FPI,
            Xlog::OverwriteContrecord(_) => OVERWRITE_CONTRECORD,
            Xlog::CheckpointRedo(_) => CHECKPOINT_REDO,
        }
    }

    /// The record's main data.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Xlog::CheckpointShutdown(check_point) | Xlog::CheckpointOnline(check_point) => {
                check_point.encode().to_vec()
            }
            Xlog::Noop | Xlog::Switch | Xlog::FpiForHint | Xlog::Fpi => Vec::new(),
            Xlog::NextOid(oid) => oid.0.to_le_bytes().to_vec(),
            Xlog::BackupEnd(lsn) => lsn.0.to_le_bytes().to_vec(),
            Xlog::ParameterChange(change) => change.encode().to_vec(),
            Xlog::RestorePoint(point) => point.encode().to_vec(),
            Xlog::FpwChange(on) => vec![u8::from(*on)],
            Xlog::EndOfRecovery(end) => end.encode().to_vec(),
            Xlog::OverwriteContrecord(overwrite) => overwrite.encode().to_vec(),
            Xlog::CheckpointRedo(wal_level) => wal_level.to_le_bytes().to_vec(),
        }
    }
}

pub(super) const fn identify(code: u8) -> Option<&'static str> {
    Some(match code {
        CHECKPOINT_SHUTDOWN => "CHECKPOINT_SHUTDOWN",
        CHECKPOINT_ONLINE => "CHECKPOINT_ONLINE",
        NOOP => "NOOP",
        NEXTOID => "NEXTOID",
        SWITCH => "SWITCH",
        BACKUP_END => "BACKUP_END",
        PARAMETER_CHANGE => "PARAMETER_CHANGE",
        RESTORE_POINT => "RESTORE_POINT",
        FPW_CHANGE => "FPW_CHANGE",
        END_OF_RECOVERY => "END_OF_RECOVERY",
        FPI_FOR_HINT => "FPI_FOR_HINT",
        FPI => "FPI",
        OVERWRITE_CONTRECORD => "OVERWRITE_CONTRECORD",
        CHECKPOINT_REDO => "CHECKPOINT_REDO",
        _ => return None,
    })
}

fn describe_check_point(c: &CheckPoint, kind: &str) -> String {
    format!(
        "redo {}; tli {}; prev tli {}; fpw {}; wal_level {}; xid {}:{}; oid {}; multi {}; \
         offset {}; oldest xid {} in DB {}; oldest multi {} in DB {}; \
         oldest/newest commit timestamp xid: {}/{}; oldest running xid {}; {kind}",
        c.redo,
        c.this_time_line_id,
        c.prev_time_line_id,
        c.full_page_writes,
        c.wal_level.name(),
        c.next_full_xid >> 32,
        c.next_xid(),
        c.next_oid,
        c.next_multi,
        c.next_multi_offset,
        c.oldest_xid,
        c.oldest_xid_db,
        c.oldest_multi,
        c.oldest_multi_db,
        c.oldest_commit_ts_xid,
        c.newest_commit_ts_xid,
        c.oldest_active_xid,
    )
}

pub(super) fn describe(record: &DecodedRecord<'_>) -> Result<String, PayloadError> {
    let on_off = |on| if on { "on" } else { "off" };
    Ok(match Xlog::decode(record)? {
        Some(Xlog::CheckpointShutdown(check_point)) => {
            describe_check_point(&check_point, "shutdown")
        }
        Some(Xlog::CheckpointOnline(check_point)) => describe_check_point(&check_point, "online"),
        Some(Xlog::NextOid(oid)) => oid.to_string(),
        Some(Xlog::BackupEnd(lsn)) => lsn.to_string(),
        Some(Xlog::ParameterChange(c)) => format!(
            "max_connections={} max_worker_processes={} max_wal_senders={} \
             max_prepared_xacts={} max_locks_per_xact={} wal_level={} wal_log_hints={} \
             track_commit_timestamp={}",
            c.max_connections,
            c.max_worker_processes,
            c.max_wal_senders,
            c.max_prepared_xacts,
            c.max_locks_per_xact,
            text::wal_level(c.wal_level),
            on_off(c.wal_log_hints),
            on_off(c.track_commit_timestamp),
        ),
        Some(Xlog::RestorePoint(point)) => text::c_string(&point.name),
        Some(Xlog::FpwChange(on)) => on.to_string(),
        Some(Xlog::EndOfRecovery(end)) => format!(
            "tli {}; prev tli {}; time {}; wal_level {}",
            end.this_time_line_id,
            end.prev_time_line_id,
            text::timestamp(end.end_time),
            text::wal_level(end.wal_level),
        ),
        Some(Xlog::OverwriteContrecord(overwrite)) => format!(
            "lsn {}; time {}",
            overwrite.overwritten_lsn,
            text::timestamp(overwrite.overwrite_time),
        ),
        Some(Xlog::CheckpointRedo(level)) => format!("wal_level {}", text::wal_level(level)),
        Some(Xlog::Noop | Xlog::Switch | Xlog::FpiForHint | Xlog::Fpi) | None => String::new(),
    })
}
