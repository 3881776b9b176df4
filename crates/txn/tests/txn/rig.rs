//! A cluster with nothing but transactions: a write-ahead log, pg_xact, and a file that says where
//! the last checkpoint's redo point is.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use trunkline_aio::{
    Aio, AioConfig, Clock, IoContext, Storage, SystemClock, read_file, write_file_durably,
};
use trunkline_pgformat::control_file::WalLevel;
use trunkline_pgformat::slru::{XactStatus, page_position, segment_name, xact_page};
use trunkline_pgformat::wal::decode::DecodedRecord;
use trunkline_pgformat::wal::info;
use trunkline_pgformat::wal::rmgr::standby::Standby;
use trunkline_pgformat::wal::rmgr::xact::XactEnd;
use trunkline_pgformat::wal::rmgr_id::RmgrId;
use trunkline_pgformat::wal::segment::SegmentSize;
use trunkline_pgformat::{BLCKSZ, Lsn, Oid, Xid};
use trunkline_sim::SimDisk;
use trunkline_txn::{
    CommitOptions, FullXid, LockManager, SlruConfig, TimestampTz, TransactionManager,
    TransactionRedo, TxnConfig, TxnError, XidLimits, redo,
};
use trunkline_wal::{
    SyncMethod, Wal, WalConfig, WalError, WalPosition, WalReader, WalRecord, create_first_segment,
    first_record, invalidate_beyond,
};

pub const XACTS_PER_PAGE: u32 = 32_768;
/// Pages of pg_xact that a new cluster has; more than are kept in memory.
pub const PAGES: u32 = 4;
/// A few ids before a new page is needed.
pub const FIRST_XID: FullXid = FullXid((PAGES * XACTS_PER_PAGE - 5) as u64);

pub const SYNC: CommitOptions = options(true);
pub const ASYNC: CommitOptions = options(false);
pub const NOW: TimestampTz = TimestampTz(849_182_400_000_000);

const fn options(synchronous: bool) -> CommitOptions {
    CommitOptions {
        synchronous,
        now: NOW,
    }
}

#[derive(Debug)]
pub enum RigError {
    Txn(#[expect(dead_code, reason = "for messages")] TxnError),
    Wal(#[expect(dead_code, reason = "for messages")] WalError),
    File(#[expect(dead_code, reason = "for messages")] std::io::Error),
}

impl From<TxnError> for RigError {
    fn from(error: TxnError) -> RigError {
        RigError::Txn(error)
    }
}

impl From<WalError> for RigError {
    fn from(error: WalError) -> RigError {
        RigError::Wal(error)
    }
}

impl From<std::io::Error> for RigError {
    fn from(error: std::io::Error) -> RigError {
        RigError::File(error)
    }
}

pub struct Rig {
    pub io: IoContext,
    pub storage: Arc<dyn Storage>,
    pub root: PathBuf,
    pub wal: Arc<Wal>,
    pub manager: Arc<TransactionManager>,
}

pub fn wal_config(root: &Path) -> WalConfig {
    WalConfig {
        wal_buffers_bytes: 0,
        min_wal_size_bytes: 2 << 20,
        max_wal_size_bytes: 8 << 20,
        io_wal_concurrency: 8,
        wal_sync_method: SyncMethod::OpenDatasync,
        ..WalConfig::new(
            root.join("pg_wal"),
            1,
            7_312_345_678_901_234_567,
            SegmentSize::new(1 << 20).unwrap(),
        )
    }
}

pub fn slru_config(root: &Path) -> SlruConfig {
    SlruConfig {
        directory: root.join("pg_xact"),
        buffers: 2,
        direct: true,
    }
}

pub fn limits() -> XidLimits {
    XidLimits {
        oldest_xid: FullXid(3),
        oldest_database: Oid(1),
        oldest_database_name: None,
    }
}

pub fn locks() -> Arc<LockManager> {
    let clock = Arc::new(SystemClock::new());
    Arc::new(LockManager::new(clock, Duration::from_millis(10)))
}

pub fn core(disk: &SimDisk) -> Arc<Aio> {
    let config = AioConfig {
        max_issuers: 16,
        io_max_concurrency: 32,
        ..AioConfig::default()
    };
    Aio::start_with(config, Arc::new(disk.clone())).unwrap()
}

pub fn sim_rig(disk: &SimDisk) -> Rig {
    let (storage, clock) = (Arc::new(disk.clone()), Arc::new(disk.clone()));
    Rig::create(&core(disk), storage, clock, Path::new("/"))
}

/// What a machine that comes up finds; recovers.
pub fn sim_recovered(disk: &SimDisk) -> Result<Rig, RigError> {
    let (storage, clock) = (Arc::new(disk.clone()), Arc::new(disk.clone()));
    Rig::recover(&core(disk), storage, clock, Path::new("/"))
}

impl Rig {
    pub fn create(
        aio: &Arc<Aio>,
        storage: Arc<dyn Storage>,
        clock: Arc<dyn Clock>,
        root: &Path,
    ) -> Rig {
        let mut io = aio.issuer(1).unwrap();
        for directory in ["pg_wal", "pg_xact"] {
            storage.create_dir(&root.join(directory)).unwrap();
        }
        storage.sync_dir(root).unwrap();
        let pages = vec![0; PAGES as usize * BLCKSZ];
        let log = root.join("pg_xact/0000");
        write_file_durably(storage.as_ref(), &mut io, &log, &pages).unwrap();
        let config = wal_config(root);
        let first = create_first_segment(&mut io, &storage, &config, &[0; 88]).unwrap();
        let position = WalPosition {
            insert_at: first.end,
            prev: first.start,
            redo: first.start,
        };
        let wal = Wal::start(&mut io, Arc::clone(&storage), clock, config, position).unwrap();
        let wal = Arc::new(wal);
        let config = TxnConfig {
            next_xid: FIRST_XID,
            limits: limits(),
            pg_xact: slru_config(root),
        };
        let manager = TransactionManager::start(
            config,
            aio,
            Arc::clone(&storage),
            locks(),
            Some(Arc::clone(&wal)),
        )
        .unwrap();
        let mut rig = Rig {
            io,
            storage,
            root: root.to_owned(),
            wal,
            manager,
        };
        rig.write_control(first.start, FIRST_XID).unwrap();
        rig
    }

    pub fn recover(
        aio: &Arc<Aio>,
        storage: Arc<dyn Storage>,
        clock: Arc<dyn Clock>,
        root: &Path,
    ) -> Result<Rig, RigError> {
        let mut io = aio.issuer(1).unwrap();
        let control = read_file(storage.as_ref(), &mut io, &root.join("control"))?;
        let word = |at: usize| u64::from_le_bytes(control[at..at + 8].try_into().unwrap());
        let (redo_point, next_xid) = (Lsn(word(0)), FullXid(word(8)));
        let mut context =
            TransactionRedo::start(slru_config(root), next_xid, aio, Arc::clone(&storage))?;
        let config = wal_config(root);
        let mut reader = WalReader::new(Arc::clone(&storage), &config, redo_point);
        let end = loop {
            match reader.next(&mut io, |_, record| redo(&mut context, &record))? {
                Ok(redone) => drop(redone?),
                Err(end) => break end,
            }
        };
        invalidate_beyond(&mut io, &storage, &config, end.at)?;
        let position = WalPosition {
            insert_at: end.at,
            prev: end.last_record.unwrap(),
            redo: redo_point,
        };
        let wal = Wal::start(&mut io, Arc::clone(&storage), clock, config, position)?;
        let wal = Arc::new(wal);
        let manager = TransactionManager::start_after_redo(
            context,
            limits(),
            locks(),
            Some(Arc::clone(&wal)),
        )?;
        let mut rig = Rig {
            io,
            storage,
            root: root.to_owned(),
            wal,
            manager,
        };
        rig.checkpoint()?;
        Ok(rig)
    }

    /// Another issuer.
    pub fn issuer(&self) -> IoContext {
        self.io.aio().issuer(2).unwrap()
    }

    pub fn checkpoint(&mut self) -> Result<(), RigError> {
        let redo_point = self
            .wal
            .begin_checkpoint(&mut self.io, WalLevel::Replica)?
            .start;
        let next_xid = self.manager.next_xid();
        self.log_running_xacts()?;
        self.manager.begin_checkpoint().wait(&mut self.io)?;
        self.manager.flush(&mut self.io)?;
        self.wal.flush(&mut self.io, self.wal.insert_lsn())?;
        self.write_control(redo_point, next_xid)
    }

    pub fn log_running_xacts(&mut self) -> Result<(), RigError> {
        let running = Standby::RunningXacts(self.manager.running_xacts());
        let record = WalRecord {
            rmgr: RmgrId::STANDBY,
            info: running.code(),
            xid: Xid::INVALID,
            toplevel_xid: None,
            blocks: &[],
            main_data: &[&running.encode()],
        };
        self.wal.insert(&mut self.io, &record)?;
        Ok(())
    }

    fn write_control(&mut self, redo_point: Lsn, next_xid: FullXid) -> Result<(), RigError> {
        let mut control = redo_point.0.to_le_bytes().to_vec();
        control.extend(next_xid.0.to_le_bytes());
        let path = self.root.join("control");
        write_file_durably(self.storage.as_ref(), &mut self.io, &path, &control)?;
        Ok(())
    }

    /// What a transaction does besides ending: a record that bears its id.
    pub fn log_work(&mut self, xid: Xid) -> Result<(), WalError> {
        let record = WalRecord {
            rmgr: RmgrId::XLOG,
            info: info::xlog::NOOP,
            xid,
            toplevel_xid: None,
            blocks: &[],
            main_data: &[&[7; 40]],
        };
        self.wal.insert(&mut self.io, &record).map(drop)
    }

    /// Looks at other pages of pg_xact until none of the newest is in memory.
    pub fn push_out_pages(&self) -> Result<(), TxnError> {
        for page in (0..PAGES - 1).chain(0..PAGES - 1) {
            self.manager
                .pg_xact()
                .status(Xid(page * XACTS_PER_PAGE + 9))?;
        }
        Ok(())
    }
}

/// What the log says from its first record on: who committed, in this order.
pub fn commits_in_log(disk: &SimDisk) -> Vec<Xid> {
    let mut commits = Vec::new();
    for_each_record(disk, |record| {
        let is_end = record.header.rmgr == RmgrId::XACT;
        if is_end && record.header.info & info::xact::OPMASK == info::xact::COMMIT {
            XactEnd::decode(&record).unwrap();
            commits.push(record.header.xid);
        }
    });
    commits
}

fn for_each_record(disk: &SimDisk, mut look: impl FnMut(DecodedRecord<'_>)) {
    let mut io = core(disk).issuer(1).unwrap();
    let config = wal_config(Path::new("/"));
    let first = first_record(config.segment_size);
    let mut reader = WalReader::new(Arc::new(disk.clone()), &config, first);
    while reader
        .next(&mut io, |_, record| look(record))
        .unwrap()
        .is_ok()
    {}
}

/// What the file says of an id, whoever has other pages in memory.
pub fn status_on_disk(disk: &SimDisk, xid: Xid) -> XactStatus {
    let mut io = core(disk).issuer(1).unwrap();
    let (segment, offset) = page_position(xact_page(xid));
    let path = Path::new("/pg_xact").join(segment_name(segment));
    let file = read_file(disk, &mut io, &path).unwrap();
    let at = offset as usize + (xid.0 % XACTS_PER_PAGE) as usize / 4;
    let byte = file.get(at).copied().unwrap_or(0);
    match byte >> (xid.0 % 4 * 2) & 3 {
        0 => XactStatus::InProgress,
        1 => XactStatus::Committed,
        2 => XactStatus::Aborted,
        _ => XactStatus::SubCommitted,
    }
}
