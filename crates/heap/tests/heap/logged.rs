//! A table whose changes are logged, on a disk of choice; a workload; and recovery of it elsewhere.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use trunkline_aio::{
    Aio, AioConfig, Clock, IoContext, MethodKind, OsStorage, Storage, SystemClock,
};
use trunkline_buffer::redo::{Redo, RedoError, RedoRecord};
use trunkline_buffer::{BufferPool, HugePages, PoolConfig, RelFork};
use trunkline_heap::{SparePages, mask_page, redo};
use trunkline_pgformat::wal::info;
use trunkline_pgformat::wal::rmgr_id::RmgrId;
use trunkline_pgformat::wal::segment::SegmentSize;
use trunkline_pgformat::{
    BLCKSZ, BlockNumber, ForkNumber, ItemPointer, Lsn, PageBytes, PageMut, PageRef, page_checksum,
};
use trunkline_sim::{SimConfig, SimDisk};
use trunkline_smgr::{Smgr, SmgrConfig};
use trunkline_wal::{Wal, WalConfig, WalPosition, WalReader, create_first_segment};

use crate::rig::{Rig, TABLE, commit, targets};

pub const SYSTEM: u64 = 7_312_345_678_901_234_567;
pub const FORKS: [ForkNumber; 2] = [ForkNumber::Main, ForkNumber::Vm];

/// Pages of the table, all forks.
pub type Pages = BTreeMap<(ForkNumber, BlockNumber), Box<PageBytes>>;

/// A disk.
pub struct Disk {
    pub name: &'static str,
    pub aio: Arc<Aio>,
    pub storage: Arc<dyn Storage>,
    pub clock: Arc<dyn Clock>,
    root: PathBuf,
    pub sim: Option<SimDisk>,
    _directory: Option<tempfile::TempDir>,
}

fn config() -> AioConfig {
    AioConfig {
        max_issuers: 16,
        ..AioConfig::default()
    }
}

impl Disk {
    pub fn simulated(seed: u64) -> Disk {
        let sim = SimDisk::new(SimConfig::new(seed));
        Disk {
            name: "simulated disk",
            aio: Aio::start_with(config(), Arc::new(sim.clone())).unwrap(),
            storage: Arc::new(sim.clone()),
            clock: Arc::new(sim.clone()),
            root: PathBuf::from("/"),
            sim: Some(sim),
            _directory: None,
        }
    }

    pub fn real() -> Disk {
        let directory = tempfile::tempdir().unwrap();
        let config = AioConfig {
            method: Some(MethodKind::Worker),
            ..config()
        };
        Disk {
            name: "files",
            aio: Aio::start(config).unwrap(),
            storage: Arc::new(OsStorage::new()),
            clock: Arc::new(SystemClock::new()),
            root: directory.path().to_owned(),
            sim: None,
            _directory: Some(directory),
        }
    }

    pub fn each() -> [Disk; 2] {
        [Disk::simulated(1), Disk::real()]
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub fn directory(&self, name: &str) -> PathBuf {
        let directory = self.path(name);
        self.storage.create_dir(&directory).unwrap();
        directory
    }
}

/// The table, and where its log is.
pub struct Logged {
    pub rig: Rig,
    pub disk: Disk,
    pub wal: Arc<Wal>,
    pub config: WalConfig,
    /// The first record behind the first checkpoint.
    pub start: Lsn,
}

impl Logged {
    pub fn new(disk: Disk, buffers: u64) -> Logged {
        let root = disk.directory("data");
        let storage = Arc::clone(&disk.storage);
        let mut rig =
            Rig::in_directory(Arc::clone(&disk.aio), Arc::clone(&storage), &root, buffers);
        let config = wal_config(&root);
        let first = create_first_segment(&mut rig.io, &storage, &config, &[0; 88]).unwrap();
        let position = WalPosition {
            insert_at: first.end,
            prev: first.start,
            redo: first.start,
        };
        let clock = Arc::clone(&disk.clock);
        let wal = Wal::start(&mut rig.io, storage, clock, config.clone(), position).unwrap();
        let wal = Arc::new(wal);
        rig.pool.start_logging(Arc::clone(&wal));
        Logged {
            rig,
            disk,
            wal,
            config,
            start: first.end,
        }
    }

    pub fn flush(&mut self) {
        let end = self.wal.insert_lsn();
        self.wal.flush(&mut self.rig.io, end).unwrap();
    }

    /// A checkpoint's redo point, from which the pages are whole on disk when it returns.
    pub fn checkpoint(&mut self) -> Lsn {
        let level = trunkline_pgformat::control_file::WalLevel::Replica;
        let io = &mut self.rig.io;
        let redo = self.wal.begin_checkpoint(io, level).unwrap().start;
        self.rig.pool.write_all(io).unwrap();
        redo
    }

    pub fn pages(&mut self) -> Pages {
        pages_of(&self.rig.pool, &mut self.rig.io)
    }

    fn rows(&mut self) -> u64 {
        let now = self.rig.snapshot();
        self.rig.count(&now)
    }

    /// One row more, with its hints.
    pub fn insert_one(&mut self) {
        let transaction = self.rig.begin(1);
        let mut tuple = self.rig.tuple(1, "one more");
        let mut io = self.rig.issuer();
        let writer = self.rig.writer(&transaction);
        writer.insert(&mut tuple, &mut io).unwrap();
        commit(&transaction);
        self.rows();
    }

    /// Loads, inserts, deletes, updates, aborts, freezes; leaves hints and marks in between.
    pub fn work(&mut self) {
        self.load_and_mark();
        self.change();
        self.fill_what_is_spare();
        self.insert_one_by_one();
    }

    pub fn load_and_mark(&mut self) {
        let rig = &mut self.rig;
        rig.load_committed(700, 60);
        let now = rig.snapshot();
        assert_eq!(rig.count(&now), 700);
        drop(now);
        assert!(rig.is_all_visible(0));
    }

    pub fn change(&mut self) {
        let rows = self.rows();
        let rig = &mut self.rig;
        let transaction = rig.begin(1);
        let tuples: Vec<Vec<u8>> = (0..40).map(|n| rig.tuple(n, "a new text")).collect();
        let mut io = rig.issuer();
        let writer = rig.writer(&transaction);
        let last = writer.nblocks().unwrap() - 1;
        for (n, mut tuple) in (0..).zip(tuples) {
            match n % 4 {
                // To another page, unless the table's last page has them.
                0 => {
                    drop(writer.update(ItemPointer::new(n as u32 / 16, n + 1), &mut tuple, &mut io))
                }
                1 => drop(writer.insert(&mut tuple, &mut io)),
                2 => drop(writer.delete(ItemPointer::new(n as u32 / 10, n + 1), &mut io)),
                // On the page, or to a new one when it is full.
                _ => drop(writer.update(ItemPointer::new(last, n / 4 + 1), &mut tuple, &mut io)),
            }
        }
        commit(&transaction);
        let now = rig.snapshot();
        assert_eq!(rig.count(&now), rows);
    }

    /// On a page that stays as it is afterwards, but for hints: its last change is an insertion, which
    /// can be made only once.
    pub fn insert_and_delete_again(&mut self) {
        let rig = &mut self.rig;
        let transaction = rig.begin(1);
        let mut tuple = rig.tuple(7, &"again".repeat(1000));
        let mut io = rig.issuer();
        let writer = rig.writer(&transaction);
        let place = writer.insert(&mut tuple, &mut io).unwrap();
        let mut tuple = rig.tuple(8, "again");
        let place = writer.update(place, &mut tuple, &mut io).unwrap();
        writer.delete(place, &mut io).unwrap();
        let added = writer.insert(&mut tuple, &mut io).unwrap();
        assert_eq!(added.block, place.block);
        transaction.abandon();
    }

    /// Onto pages with dead rows, pages with room, a page that is marked all-visible, and new ones.
    pub fn insert_one_by_one(&mut self) {
        let rows = self.rows();
        let rig = &mut self.rig;
        let failed = rig.begin(1);
        let before = rig.blocks();
        rig.load(&failed, 200, 60, false, SparePages::default());
        failed.abandon();
        let targets = targets(rig, 2);
        let mut spare = SparePages::default();
        spare.push_empty(before);
        spare.push_partial(0);
        targets.give_back(spare);
        let tuples: Vec<Vec<u8>> = (0..300).map(|n| rig.tuple(n, "one by one")).collect();
        for (n, mut tuple) in tuples.into_iter().enumerate() {
            let transaction = rig.begin(1);
            let mut io = rig.issuer();
            let writer = rig.writer(&transaction);
            writer
                .insert_shared(&targets, n, &mut tuple, &mut io)
                .unwrap();
            if n % 3 == 0 {
                transaction.abandon();
            } else {
                commit(&transaction);
            }
        }
        let now = rig.snapshot();
        assert_eq!(rig.count(&now), rows + 200);
    }

    pub fn fill_what_is_spare(&mut self) {
        let rows = self.rows();
        let rig = &mut self.rig;
        // Pages that hold nothing that anybody will see are made anew.
        let before = rig.blocks();
        let transaction = rig.begin(1);
        rig.load(&transaction, 300, 60, false, SparePages::default());
        transaction.abandon();
        let mut spare = SparePages::default();
        for block in before..before + 3 {
            spare.push_empty(block);
        }
        spare.push_partial(before - 1);
        let transaction = rig.begin(1);
        rig.load(&transaction, 150, 200, false, spare);
        commit(&transaction);
        let transaction = rig.begin(1);
        rig.load(&transaction, 200, 100, true, SparePages::default());
        commit(&transaction);
        let now = rig.snapshot();
        assert_eq!(rig.count(&now), rows + 150 + 200);
    }
}

pub fn wal_config(root: &Path) -> WalConfig {
    WalConfig {
        wal_buffers_bytes: 0,
        ..WalConfig::new(root.join("pg_wal"), 1, SYSTEM, segment_size())
    }
}

pub fn segment_size() -> SegmentSize {
    SegmentSize::new(1 << 20).unwrap()
}

pub fn pages_of(pool: &Arc<BufferPool>, io: &mut IoContext) -> Pages {
    let mut pages = Pages::new();
    for fork in FORKS {
        let rel_fork = RelFork::new(TABLE, fork);
        if !pool.smgr().exists(TABLE, fork).unwrap() {
            continue;
        }
        for block in 0..pool.nblocks(rel_fork).unwrap() {
            let buffer = pool.read(io, rel_fork, block, None).unwrap();
            let page = Box::new(*buffer.share());
            pages.insert((fork, block), page);
        }
    }
    pages
}

/// What has to be the same after recovery. Unlike the heap's own mask it keeps the all-visible mark.
pub fn masked(fork: ForkNumber, block: BlockNumber, page: &PageBytes) -> Box<PageBytes> {
    let mut masked = Box::new(*page);
    if fork == ForkNumber::Vm {
        let mut map = PageMut::new(&mut masked);
        map.set_lsn(Lsn::INVALID);
        map.set_checksum(0);
        return masked;
    }
    let marked = PageRef::new(page).is_all_visible();
    mask_page(&mut masked, block);
    PageMut::new(&mut masked).set_all_visible(marked);
    masked
}

/// Pages that were added and never filled need not be there after recovery.
pub fn assert_same(expected: &Pages, found: &Pages, what: &str) {
    for (place, page) in expected {
        match found.get(place) {
            Some(other) => assert!(
                masked(place.0, place.1, page) == masked(place.0, place.1, other),
                "{what}: {place:?} differs: {:?} and {:?}",
                difference(
                    &masked(place.0, place.1, page),
                    &masked(place.0, place.1, other)
                ),
                PageRef::new(other).lsn(),
            ),
            None => assert!(PageRef::new(page).is_new(), "{what}: {place:?} is missing"),
        }
    }
    let more = found.keys().find(|place| !expected.contains_key(place));
    assert_eq!(more, None, "{what}");
    assert!(found.keys().any(|place| place.0 == ForkNumber::Vm));
}

fn difference(one: &PageBytes, other: &PageBytes) -> Vec<(usize, u8, u8)> {
    let pairs = one.iter().zip(other).enumerate();
    pairs
        .filter(|(_, (a, b))| a != b)
        .map(|(at, (a, b))| (at, *a, *b))
        .take(20)
        .collect()
}

/// A directory that is recovered from somebody's log.
pub struct Recovery {
    pub redo: Redo,
    pub io: IoContext,
    storage: Arc<dyn Storage>,
}

/// What recovery found.
#[derive(Default, Debug)]
pub struct Replayed {
    pub records: BTreeMap<String, u32>,
    pub compared: u32,
    /// Page images, by method.
    pub compressed: BTreeMap<&'static str, u32>,
}

impl Recovery {
    /// In a new directory that holds `pages` of the table.
    pub fn new(disk: &Disk, name: &str, pages: &Pages) -> Recovery {
        let root = disk.directory(name);
        for name in ["base", "base/5"] {
            disk.storage.create_dir(&root.join(name)).unwrap();
        }
        let recovery = Recovery::of(disk, root);
        let pool = recovery.redo.pool();
        for ((fork, block), page) in pages {
            if !pool.smgr().exists(TABLE, *fork).unwrap() {
                pool.smgr().create(TABLE, *fork, false).unwrap();
            }
            let rel_fork = RelFork::new(TABLE, *fork);
            let blocks = pool.nblocks(rel_fork).unwrap();
            if *block >= blocks {
                pool.smgr()
                    .extend(TABLE, *fork, blocks, block + 1 - blocks, 0)
                    .unwrap();
            }
            write_page(disk, &recovery, *fork, *block, page);
        }
        recovery
    }

    pub fn of(disk: &Disk, root: PathBuf) -> Recovery {
        let storage = Arc::clone(&disk.storage);
        let smgr = Smgr::new(Arc::clone(&storage), &disk.aio, root, SmgrConfig::default());
        let config = PoolConfig {
            shared_buffers_bytes: 64 * BLCKSZ as u64,
            huge_pages: HugePages::Off,
            ..PoolConfig::default()
        };
        let pool = BufferPool::new(config, Arc::clone(&disk.aio), smgr).unwrap();
        Recovery {
            redo: Redo::new(&pool),
            io: disk.aio.issuer(2).unwrap(),
            storage,
        }
    }

    /// Redoes the log from `start` to its end, and compares with images where records have them.
    pub fn replay(&mut self, config: &WalConfig, start: Lsn) -> Result<Replayed, RedoError> {
        self.replay_up_to(config, start, Lsn(u64::MAX))
    }

    /// The same of records that begin before `end`.
    pub fn replay_up_to(
        &mut self,
        config: &WalConfig,
        start: Lsn,
        end: Lsn,
    ) -> Result<Replayed, RedoError> {
        let mut reader = WalReader::new(Arc::clone(&self.storage), config, start);
        let mut replayed = Replayed::default();
        let (redo, io) = (&mut self.redo, &mut self.io);
        loop {
            if reader.position() >= end {
                return Ok(replayed);
            }
            let next = reader.next(io, |io, decoded| {
                let record = RedoRecord::new(&decoded, config.segment_size);
                let code = trunkline_pgformat::wal::rmgr::identify(&decoded).unwrap_or("?");
                let name = format!("{} {code}", decoded.header.rmgr);
                *replayed.records.entry(name).or_default() += 1;
                let images = decoded
                    .blocks
                    .iter()
                    .filter_map(|block| block.image.as_ref());
                for method in images.filter_map(|image| image.compression()) {
                    *replayed.compressed.entry(method.name()).or_default() += 1;
                }
                replay_record(redo, io, &record)?;
                if decoded.header.info & info::XLR_CHECK_CONSISTENCY != 0 {
                    replayed.compared += 1;
                }
                redo.check_consistency(io, &record, mask_page)
            });
            match next.unwrap() {
                Ok(outcome) => outcome?,
                Err(_end) => return Ok(replayed),
            }
        }
    }

    pub fn pages(&mut self) -> Pages {
        pages_of(self.redo.pool(), &mut self.io)
    }
}

/// What the table's pages need: the others' records are not the heap's.
pub fn replay_record(
    redo: &mut Redo,
    io: &mut IoContext,
    record: &RedoRecord<'_>,
) -> Result<(), RedoError> {
    let decoded = record.decoded;
    match decoded.header.rmgr {
        RmgrId::HEAP | RmgrId::HEAP2 => redo::redo(redo, io, record),
        RmgrId::XLOG if matches!(decoded.code(), info::xlog::FPI | info::xlog::FPI_FOR_HINT) => {
            for block in &decoded.blocks {
                redo.restore_image(io, record, block.id)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn write_page(
    disk: &Disk,
    recovery: &Recovery,
    fork: ForkNumber,
    block: BlockNumber,
    page: &PageBytes,
) {
    let path = recovery
        .redo
        .pool()
        .smgr()
        .data_dir()
        .join(TABLE.path(fork));
    let mut io = disk.aio.issuer(3).unwrap();
    let options = trunkline_aio::OpenOptions::READ_WRITE;
    let file = disk.storage.open(&path, options).unwrap();
    let mut buffer = trunkline_aio::AlignedBuf::zeroed(BLCKSZ);
    buffer[..].copy_from_slice(page);
    let offset = u64::from(block) * BLCKSZ as u64;
    let (_, written) = io
        .write_raw(&file, buffer, offset, BLCKSZ)
        .unwrap()
        .wait(&mut io);
    written.unwrap();
}

/// The page as a write of it leaves it on disk.
pub fn stamped(block: BlockNumber, page: &PageBytes) -> Box<PageBytes> {
    let mut page = Box::new(*page);
    if !PageRef::new(&page).is_new() {
        let checksum = page_checksum(&page, block);
        PageMut::new(&mut page).set_checksum(checksum);
    }
    page
}
