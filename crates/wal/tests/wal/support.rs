//! What the tests share: clusters with nothing but a log, records that say which they are.

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use trunkline_aio::{
    Aio, AioConfig, Clock, IoContext, Method, MethodKind, OsStorage, Storage, SystemClock,
};
use trunkline_pgformat::wal::decode::DecodedRecord;
use trunkline_pgformat::wal::info;
use trunkline_pgformat::wal::rmgr_id::RmgrId;
use trunkline_pgformat::wal::segment::SegmentSize;
use trunkline_pgformat::{Lsn, Xid};
use trunkline_wal::{
    Inserted, SyncMethod, Wal, WalConfig, WalError, WalPosition, WalReader, WalRecord,
    create_first_segment, first_record,
};

pub const SYSTEM: u64 = 7_312_345_678_901_234_567;

pub fn small_segments() -> SegmentSize {
    SegmentSize::new(1 << 20).unwrap()
}

pub fn aio_config() -> AioConfig {
    AioConfig {
        max_issuers: 64,
        io_max_concurrency: 16,
        ..AioConfig::default()
    }
}

/// Small segments, the smallest ring, few writes in flight: so that running out is part of the tests.
pub fn config(directory: &Path) -> WalConfig {
    WalConfig {
        wal_buffers_bytes: 0,
        min_wal_size_bytes: 2 << 20,
        max_wal_size_bytes: 8 << 20,
        io_wal_concurrency: 8,
        wal_sync_method: SyncMethod::OpenDatasync,
        ..WalConfig::new(directory.to_owned(), 1, SYSTEM, small_segments())
    }
}

/// A log, where it is, and one issuer.
pub struct Cluster {
    pub aio: Arc<Aio>,
    pub storage: Arc<dyn Storage>,
    pub clock: Arc<dyn Clock>,
    pub config: WalConfig,
    pub io: IoContext,
    pub wal: Arc<Wal>,
    /// Where the first record behind the checkpoint is.
    pub start: Lsn,
}

impl Cluster {
    /// A new one; `config.directory` is there, and empty.
    pub fn create(
        aio: &Arc<Aio>,
        storage: Arc<dyn Storage>,
        clock: Arc<dyn Clock>,
        config: WalConfig,
    ) -> Cluster {
        let mut io = aio.issuer(1).unwrap();
        let first = create_first_segment(&mut io, &storage, &config, &[0; 88]).unwrap();
        assert_eq!(first.start, first_record(config.segment_size));
        let position = WalPosition {
            insert_at: first.end,
            prev: first.start,
            redo: first.start,
        };
        Cluster::go_on(aio, storage, clock, config, position).unwrap()
    }

    /// One that is there, where its log ends.
    pub fn go_on(
        aio: &Arc<Aio>,
        storage: Arc<dyn Storage>,
        clock: Arc<dyn Clock>,
        config: WalConfig,
        position: WalPosition,
    ) -> Result<Cluster, WalError> {
        let mut io = aio.issuer(1).unwrap();
        let wal = Wal::start(
            &mut io,
            Arc::clone(&storage),
            Arc::clone(&clock),
            config.clone(),
            position,
        )?;
        Ok(Cluster {
            aio: Arc::clone(aio),
            storage,
            clock,
            config,
            io,
            wal: Arc::new(wal),
            start: position.insert_at,
        })
    }

    /// A new one in a directory of the operating system.
    pub fn on_disk(aio: &Arc<Aio>, config: WalConfig) -> Cluster {
        let clock = Arc::new(SystemClock::new());
        Cluster::create(aio, Arc::new(OsStorage::new()), clock, config)
    }

    pub fn insert(&mut self, id: u64, length: usize) -> Inserted {
        insert(&self.wal, &mut self.io, id, length).unwrap()
    }

    /// The records behind the first checkpoint, padding left out.
    pub fn read_back(&mut self) -> Vec<(Lsn, u64)> {
        read_back(&mut self.io, &self.storage, &self.config, self.start).0
    }
}

/// A record's data: its number, and bytes that follow from it.
pub fn data_of(id: u64, length: usize) -> Vec<u8> {
    assert!(length >= 8);
    let mut data = id.to_le_bytes().to_vec();
    let mut word = id.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while data.len() < length {
        word = word.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
        let left = (length - data.len()).min(8);
        data.extend_from_slice(&word.to_le_bytes()[..left]);
    }
    data
}

/// What nothing else in these tests is, and pg_waldump knows.
pub fn record_of<'a>(parts: &'a [&'a [u8]]) -> WalRecord<'a> {
    WalRecord {
        rmgr: RmgrId::XLOG,
        info: info::xlog::NOOP,
        xid: Xid::INVALID,
        toplevel_xid: None,
        blocks: &[],
        main_data: parts,
    }
}

pub fn insert(wal: &Wal, io: &mut IoContext, id: u64, length: usize) -> Result<Inserted, WalError> {
    let data = data_of(id, length);
    // In pieces of odd lengths.
    let (first, second) = data.split_at(length / 3);
    wal.insert(io, &record_of(&[first, second]))
}

/// The data's length of a record that goes on for so many write units of 4 KiB, and ends where the
/// next one begins.
pub fn length_to_unit_end(wal: &Wal, units: u64) -> usize {
    const UNIT: u64 = 4096;
    let size = wal.config().segment_size;
    let at = wal.insert_lsn();
    let end = Lsn((at.0 / UNIT + units + 1) * UNIT);
    // Without the header, and that of the data.
    (size.byte_position_of(end) - size.byte_position_of(at)) as usize - 24 - 5
}

/// The number of a record that [`insert`] made; padding has none.
fn id_of(record: &DecodedRecord<'_>) -> Option<u64> {
    if record.main_data.iter().all(|&byte| byte == 0) {
        return None;
    }
    let id = u64::from_le_bytes(*record.main_data.first_chunk().unwrap());
    assert_eq!(record.main_data, data_of(id, record.main_data.len()));
    Some(id)
}

/// Places and numbers of the records from `start` on, and where the log goes on.
pub fn read_back(
    io: &mut IoContext,
    storage: &Arc<dyn Storage>,
    config: &WalConfig,
    start: Lsn,
) -> (Vec<(Lsn, u64)>, Option<WalPosition>) {
    let mut reader = WalReader::new(Arc::clone(storage), config, start);
    let mut found = Vec::new();
    loop {
        let next = reader.next(io, |_, record| {
            let is_ours = record.header.info == info::xlog::NOOP;
            (record.lsn, is_ours.then(|| id_of(&record)).flatten())
        });
        match next.unwrap() {
            Ok((lsn, Some(id))) => found.push((lsn, id)),
            Ok((_, None)) => {}
            Err(end) => {
                let position = end.last_record.map(|prev| WalPosition {
                    insert_at: end.at,
                    prev,
                    redo: start,
                });
                return (found, position);
            }
        }
    }
}

/// Runs the same body over every method, with a directory of its own each time. Where one is
/// forbidden, says so.
pub fn for_each_method(body: impl Fn(&Arc<Aio>, &Path)) {
    for method in MethodKind::ALL {
        let config = AioConfig {
            method: Some(method),
            ..aio_config()
        };
        let aio = Aio::start(config).unwrap();
        if aio.method_name() != method.name() {
            eprintln!("SKIPPED for {}: does not work here", method.name());
            continue;
        }
        println!("method {}", method.name());
        let directory = tempfile::tempdir().unwrap();
        body(&aio, directory.path());
    }
}

pub fn for_each_sync_method(body: impl Fn(SyncMethod)) {
    for method in SyncMethod::ALL {
        println!("wal_sync_method {}", method.name());
        body(method);
    }
}

pub fn over(method: Arc<dyn Method>) -> Arc<Aio> {
    Aio::start_with(aio_config(), method).unwrap()
}

/// Fails instead of hanging.
pub fn within_limit<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let value = body();
        sender.send(()).unwrap();
        value
    });
    if receiver.recv_timeout(Duration::from_secs(60)) == Err(mpsc::RecvTimeoutError::Timeout) {
        panic!("a wait did not end");
    }
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Numbers for the tests' own choices: SplitMix64 (Steele, Lea, Flood 2014).
pub struct Choice(pub u64);

impl Choice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}
