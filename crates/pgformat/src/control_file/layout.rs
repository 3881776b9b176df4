//! Where each field of `ControlFileData` lies: C's layout on a 64-bit little-endian machine.
//!
//! One list of fields serves both directions: [`each_field`] hands every field with its offset to
//! a [`Codec`], which fills the field from the bytes or the bytes from the field.

use super::{
    CHECK_POINT_SIZE, CheckPoint, ClusterState, ControlFile, ControlFileError, NewCluster,
    PG_CONTROL_VERSION, WalLevel,
};
use crate::ids::{Lsn, Oid, Xid};
use crate::wal::segment::SegmentSize;

/// Bytes of the structure.
pub(super) const SIZE: usize = 296;
/// Offset of the CRC, which covers what is before it.
pub(super) const CRC: usize = 292;
/// The number that `floatFormat` holds (`FLOATFORMAT_VALUE`).
pub(super) const FLOAT_FORMAT: f64 = 1_234_567.0;

const VERSION: usize = 8;
/// Where the copy of the last checkpoint record's contents is.
const CHECK_POINT: usize = 40;

pub(super) fn version(bytes: &[u8; SIZE]) -> u32 {
    u32::from_le_bytes(array_at(bytes, VERSION))
}

pub(super) fn stored_crc(bytes: &[u8; SIZE]) -> u32 {
    u32::from_le_bytes(array_at(bytes, CRC))
}

pub(super) fn decode(bytes: &[u8; SIZE]) -> Result<ControlFile, ControlFileError> {
    // Every field is overwritten.
    let mut control = ControlFile::for_new_cluster(&NewCluster {
        system_identifier: 0,
        time: 0,
        mock_authentication_nonce: [0; 32],
        next_xid: Xid::INVALID,
        next_oid: Oid::INVALID,
        has_checksums: false,
        wal_segment_size: SegmentSize::DEFAULT,
    });
    each_field(&mut control, &mut Reader(bytes))?;
    Ok(control)
}

pub(super) fn encode(control: &ControlFile, file: &mut [u8]) {
    let mut control = control.clone();
    file[VERSION..VERSION + 4].copy_from_slice(&PG_CONTROL_VERSION.to_le_bytes());
    match each_field(&mut control, &mut Writer(file)) {
        Ok(()) => {}
        Err(never) => match never {},
    }
}

pub(super) fn decode_check_point(
    bytes: &[u8; CHECK_POINT_SIZE],
) -> Result<CheckPoint, ControlFileError> {
    let mut control = [0; SIZE];
    control[CHECK_POINT..CHECK_POINT + CHECK_POINT_SIZE].copy_from_slice(bytes);
    // Every field is overwritten.
    let mut check_point = ControlFile::for_new_cluster(&NewCluster {
        system_identifier: 0,
        time: 0,
        mock_authentication_nonce: [0; 32],
        next_xid: Xid::INVALID,
        next_oid: Oid::INVALID,
        has_checksums: false,
        wal_segment_size: SegmentSize::DEFAULT,
    })
    .check_point_copy;
    each_check_point_field(&mut check_point, &mut Reader(&control))?;
    Ok(check_point)
}

pub(super) fn encode_check_point(check_point: &CheckPoint) -> [u8; CHECK_POINT_SIZE] {
    let mut control = [0; SIZE];
    match each_check_point_field(&mut check_point.clone(), &mut Writer(&mut control)) {
        Ok(()) => {}
        Err(never) => match never {},
    }
    array_at(&control, CHECK_POINT)
}

fn array_at<const N: usize>(bytes: &[u8; SIZE], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

/// One direction of the conversion. `name` is PostgreSQL's name of the field.
trait Codec {
    type Error;
    fn bytes<const N: usize>(&mut self, at: usize, value: &mut [u8; N]);
    fn bool(&mut self, at: usize, name: &'static str, value: &mut bool) -> Result<(), Self::Error>;
    fn choice<T: Copy + Into<u32>>(
        &mut self,
        at: usize,
        name: &'static str,
        all: &[T],
        value: &mut T,
    ) -> Result<(), Self::Error>;

    fn u32(&mut self, at: usize, value: &mut u32) {
        let mut bytes = value.to_le_bytes();
        self.bytes(at, &mut bytes);
        *value = u32::from_le_bytes(bytes);
    }

    fn u64(&mut self, at: usize, value: &mut u64) {
        let mut bytes = value.to_le_bytes();
        self.bytes(at, &mut bytes);
        *value = u64::from_le_bytes(bytes);
    }

    fn i64(&mut self, at: usize, value: &mut i64) {
        let mut bytes = value.to_le_bytes();
        self.bytes(at, &mut bytes);
        *value = i64::from_le_bytes(bytes);
    }

    fn f64(&mut self, at: usize, value: &mut f64) {
        let mut bytes = value.to_le_bytes();
        self.bytes(at, &mut bytes);
        *value = f64::from_le_bytes(bytes);
    }

    fn lsn(&mut self, at: usize, value: &mut Lsn) {
        self.u64(at, &mut value.0);
    }

    fn xid(&mut self, at: usize, value: &mut Xid) {
        self.u32(at, &mut value.0);
    }

    fn oid(&mut self, at: usize, value: &mut Oid) {
        self.u32(at, &mut value.0);
    }
}

struct Reader<'a>(&'a [u8; SIZE]);

impl Codec for Reader<'_> {
    type Error = ControlFileError;

    fn bytes<const N: usize>(&mut self, at: usize, value: &mut [u8; N]) {
        *value = array_at(self.0, at);
    }

    fn bool(
        &mut self,
        at: usize,
        field: &'static str,
        value: &mut bool,
    ) -> Result<(), ControlFileError> {
        *value = match self.0[at] {
            0 => false,
            1 => true,
            found => {
                let found = found.into();
                return Err(ControlFileError::Field { field, found });
            }
        };
        Ok(())
    }

    fn choice<T: Copy + Into<u32>>(
        &mut self,
        at: usize,
        field: &'static str,
        all: &[T],
        value: &mut T,
    ) -> Result<(), ControlFileError> {
        let found = u32::from_le_bytes(array_at(self.0, at));
        *value =
            *all.iter()
                .find(|known| (**known).into() == found)
                .ok_or(ControlFileError::Field {
                    field,
                    found: found.into(),
                })?;
        Ok(())
    }
}

struct Writer<'a>(&'a mut [u8]);

impl Codec for Writer<'_> {
    type Error = std::convert::Infallible;

    fn bytes<const N: usize>(&mut self, at: usize, value: &mut [u8; N]) {
        self.0[at..at + N].copy_from_slice(value);
    }

    fn bool(&mut self, at: usize, _: &'static str, value: &mut bool) -> Result<(), Self::Error> {
        self.0[at] = u8::from(*value);
        Ok(())
    }

    fn choice<T: Copy + Into<u32>>(
        &mut self,
        at: usize,
        _: &'static str,
        _: &[T],
        value: &mut T,
    ) -> Result<(), Self::Error> {
        self.u32(at, &mut (*value).into());
        Ok(())
    }
}

impl From<ClusterState> for u32 {
    fn from(state: ClusterState) -> u32 {
        state as u32
    }
}

impl From<WalLevel> for u32 {
    fn from(level: WalLevel) -> u32 {
        level as u32
    }
}

/// Every field with its offset, but the version and the CRC.
fn each_field<C: Codec>(control: &mut ControlFile, codec: &mut C) -> Result<(), C::Error> {
    codec.u64(0, &mut control.system_identifier);
    codec.u32(12, &mut control.catalog_version_no);
    codec.choice(16, "state", &ClusterState::ALL, &mut control.state)?;
    codec.i64(24, &mut control.time);
    codec.lsn(32, &mut control.check_point);
    each_check_point_field(&mut control.check_point_copy, codec)?;
    codec.lsn(128, &mut control.unlogged_lsn);
    codec.lsn(136, &mut control.min_recovery_point);
    codec.u32(144, &mut control.min_recovery_point_tli);
    codec.lsn(152, &mut control.backup_start_point);
    codec.lsn(160, &mut control.backup_end_point);
    codec.bool(168, "backupEndRequired", &mut control.backup_end_required)?;
    codec.choice(172, "wal_level", &WalLevel::ALL, &mut control.wal_level)?;
    codec.bool(176, "wal_log_hints", &mut control.wal_log_hints)?;
    codec.u32(180, &mut control.max_connections);
    codec.u32(184, &mut control.max_worker_processes);
    codec.u32(188, &mut control.max_wal_senders);
    codec.u32(192, &mut control.max_prepared_xacts);
    codec.u32(196, &mut control.max_locks_per_xact);
    codec.bool(
        200,
        "track_commit_timestamp",
        &mut control.track_commit_timestamp,
    )?;
    codec.u32(204, &mut control.max_align);
    codec.f64(208, &mut control.float_format);
    codec.u32(216, &mut control.blcksz);
    codec.u32(220, &mut control.relseg_size);
    codec.u32(224, &mut control.xlog_blcksz);
    codec.u32(228, &mut control.xlog_seg_size);
    codec.u32(232, &mut control.name_data_len);
    codec.u32(236, &mut control.index_max_keys);
    codec.u32(240, &mut control.toast_max_chunk_size);
    codec.u32(244, &mut control.loblksize);
    codec.bool(248, "float8ByVal", &mut control.float8_by_val)?;
    codec.u32(252, &mut control.data_checksum_version);
    codec.bool(
        256,
        "default_char_signedness",
        &mut control.default_char_signedness,
    )?;
    codec.bytes(257, &mut control.mock_authentication_nonce);
    Ok(())
}

/// The fields of `checkPointCopy`, at their offsets in the control file.
fn each_check_point_field<C: Codec>(
    check_point: &mut CheckPoint,
    codec: &mut C,
) -> Result<(), C::Error> {
    codec.lsn(40, &mut check_point.redo);
    codec.u32(48, &mut check_point.this_time_line_id);
    codec.u32(52, &mut check_point.prev_time_line_id);
    codec.bool(
        56,
        "checkPointCopy.fullPageWrites",
        &mut check_point.full_page_writes,
    )?;
    codec.choice(
        60,
        "checkPointCopy.wal_level",
        &WalLevel::ALL,
        &mut check_point.wal_level,
    )?;
    codec.u64(64, &mut check_point.next_full_xid);
    codec.oid(72, &mut check_point.next_oid);
    codec.u32(76, &mut check_point.next_multi);
    codec.u32(80, &mut check_point.next_multi_offset);
    codec.xid(84, &mut check_point.oldest_xid);
    codec.oid(88, &mut check_point.oldest_xid_db);
    codec.u32(92, &mut check_point.oldest_multi);
    codec.oid(96, &mut check_point.oldest_multi_db);
    codec.i64(104, &mut check_point.time);
    codec.xid(112, &mut check_point.oldest_commit_ts_xid);
    codec.xid(116, &mut check_point.newest_commit_ts_xid);
    codec.xid(120, &mut check_point.oldest_active_xid);
    Ok(())
}
