//! A commit held between its record and its entry in pg_xact (W10).

use std::path::Path;
use std::time::Duration;

use std::sync::Arc;
use trunkline_aio::{Aio, AioConfig, Storage, write_file_durably};
use trunkline_pgformat::control_file::WalLevel;
use trunkline_pgformat::wal::segment::SegmentSize;
use trunkline_pgformat::{BLCKSZ, Oid};
use trunkline_sim::{SimConfig, SimDisk};
use trunkline_wal::{
    Inserted, Wal, WalConfig, WalPosition, WalReader, create_first_segment, first_record,
};

use super::*;
use crate::lock_manager::LockManager;
use crate::manager::TxnConfig;
use crate::redo::{TransactionRedo, redo};
use crate::slru::SlruConfig;
use crate::xid_limits::XidLimits;

const NEXT_XID: FullXid = FullXid(1000);
const NOW: TimestampTz = TimestampTz(0);

struct Cluster {
    disk: SimDisk,
    io: IoContext,
    wal: Arc<Wal>,
    manager: Arc<TransactionManager>,
}

fn wal_config() -> WalConfig {
    let size = SegmentSize::new(1 << 20).unwrap();
    WalConfig {
        min_wal_size_bytes: 2 << 20,
        max_wal_size_bytes: 8 << 20,
        ..WalConfig::new("/pg_wal".into(), 1, 7, size)
    }
}

fn slru_config() -> SlruConfig {
    SlruConfig {
        directory: "/pg_xact".into(),
        buffers: 4,
        direct: true,
    }
}

fn core(disk: &SimDisk) -> Arc<Aio> {
    Aio::start_with(AioConfig::default(), Arc::new(disk.clone())).unwrap()
}

fn cluster() -> Cluster {
    let disk = SimDisk::new(SimConfig::new(5));
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let aio = core(&disk);
    let mut io = aio.issuer(1).unwrap();
    for directory in ["/pg_wal", "/pg_xact"] {
        disk.create_dir(directory.as_ref()).unwrap();
    }
    disk.sync_dir(Path::new("/")).unwrap();
    write_file_durably(&disk, &mut io, "/pg_xact/0000".as_ref(), &[0; BLCKSZ]).unwrap();
    let first = create_first_segment(&mut io, &storage, &wal_config(), &[0; 88]).unwrap();
    let position = WalPosition {
        insert_at: first.end,
        prev: first.start,
        redo: first.start,
    };
    let clock = Arc::new(disk.clone());
    let wal = Wal::start(
        &mut io,
        storage.clone(),
        clock.clone(),
        wal_config(),
        position,
    )
    .unwrap();
    let wal = Arc::new(wal);
    let config = TxnConfig {
        next_xid: NEXT_XID,
        limits: XidLimits {
            oldest_xid: FullXid(3),
            oldest_database: Oid(1),
            oldest_database_name: None,
        },
        pg_xact: slru_config(),
    };
    let locks = Arc::new(LockManager::new(clock, Duration::from_millis(10)));
    let manager =
        TransactionManager::start(config, &aio, storage, locks, Some(Arc::clone(&wal))).unwrap();
    Cluster {
        disk,
        io,
        wal,
        manager,
    }
}

impl Cluster {
    fn hold_commit(&mut self) -> (FullXid, LoggedCommit) {
        let transaction = self.manager.begin(1);
        let xid = transaction.assign_xid().unwrap();
        // What ends it is not what it knows of.
        std::mem::forget(transaction);
        let logged = begin(&self.manager, &mut self.io, xid, &[], NOW).unwrap();
        (xid, logged)
    }

    fn redo_point(&mut self) -> Inserted {
        self.wal
            .begin_checkpoint(&mut self.io, WalLevel::Replica)
            .unwrap()
    }

    /// What recovery from `redo_point` makes of `xid`.
    fn recovered_status(self, redo_point: Inserted, xid: FullXid) -> XactStatus {
        drop((self.io, self.wal, self.manager));
        self.disk.power_cut();
        let disk = self.disk.restart();
        let storage = Arc::new(disk.clone());
        let aio = core(&disk);
        let mut context =
            TransactionRedo::start(slru_config(), NEXT_XID, &aio, storage.clone()).unwrap();
        let mut reader = WalReader::new(storage, &wal_config(), redo_point.start);
        let mut io = aio.issuer(1).unwrap();
        while let Ok(redone) = reader
            .next(&mut io, |_, record| redo(&mut context, &record))
            .unwrap()
        {
            redone.unwrap();
        }
        context.pg_xact().status(xid.xid()).unwrap()
    }
}

#[test]
fn no_redo_point_falls_between_a_commits_record_and_its_entry() {
    let mut cluster = cluster();
    let (xid, mut held) = cluster.hold_commit();
    let redo_point = cluster.redo_point();
    let mut inside = cluster.manager.begin_checkpoint();
    // The commit is acknowledged only after its flush, which ends now.
    held.flush(&mut cluster.io).unwrap();
    let could_go_on = inside.have_left().unwrap();
    if could_go_on {
        cluster.manager.flush(&mut cluster.io).unwrap();
        held.finish();
    } else {
        held.finish();
        assert!(inside.have_left().unwrap());
        cluster.manager.flush(&mut cluster.io).unwrap();
    }
    inside.wait(&mut cluster.io).unwrap();
    cluster.wal.flush(&mut cluster.io, redo_point.end).unwrap();
    // Whatever the checkpoint waited for: what it left on disk must hold the commit.
    assert_eq!(
        cluster.recovered_status(redo_point, xid),
        XactStatus::Committed
    );
}

/// A checkpoint waits for those that may lie before its redo point only.
#[test]
fn a_later_commit_holds_no_checkpoint_up() {
    let mut cluster = cluster();
    let redo_point = cluster.redo_point();
    let inside = cluster.manager.begin_checkpoint();
    let (xid, mut held) = cluster.hold_commit();
    inside.wait(&mut cluster.io).unwrap();
    cluster.manager.flush(&mut cluster.io).unwrap();
    held.flush(&mut cluster.io).unwrap();
    held.finish();
    assert_eq!(
        cluster.recovered_status(redo_point, xid),
        XactStatus::Committed
    );
}

/// Somebody panics, say: a checkpoint must not take the transaction for one without a commit.
#[test]
fn a_commit_that_is_never_finished_stops_everything() {
    let mut cluster = cluster();
    let first = first_record(wal_config().segment_size);
    let (xid, held) = cluster.hold_commit();
    let inside = cluster.manager.begin_checkpoint();
    drop(held);
    assert!(inside.wait(&mut cluster.io).unwrap_err().must_stop());
    assert!(cluster.manager.is_in_progress(xid.xid()));
    cluster
        .wal
        .flush(&mut cluster.io, cluster.wal.insert_lsn())
        .unwrap();
    let from_the_start = Inserted {
        start: first,
        end: first,
    };
    assert_eq!(
        cluster.recovered_status(from_the_start, xid),
        XactStatus::Committed
    );
}
