//! What the tests run on: a table of (a int, b text) in a small pool, and transactions.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use trunkline_aio::{
    Aio, AioConfig, IoContext, Method, MethodKind, OsStorage, Storage, SystemClock,
    write_file_durably,
};
use trunkline_buffer::{BufferPool, HugePages, PoolConfig, ReadStreamLimits, RelFork};
use trunkline_heap::{
    BulkInsert, BulkInsertOptions, HeapError, HeapRelation, HeapScan, HeapWriter, InsertTargets,
    PageVisibility, ScanBlocks, SparePages, TableTargets, TupleBatch, VisibilityMap,
};
use trunkline_pgformat::{
    BLCKSZ, BlockNumber, DEFAULTTABLESPACE_OID, ForkNumber, HeapTupleHeader, HeapTupleRef,
    ItemPointer, Oid, PageBytes, RelFileLocator,
};
use trunkline_smgr::{Smgr, SmgrConfig};
use trunkline_txn::{
    CommitOptions, FullXid, LockManager, RegisteredSnapshot, SlruConfig, TimestampTz, Transaction,
    TransactionManager, TxnConfig, Visibility, XidLimits,
};
use trunkline_types::{Attribute, TupleDesc, TupleFormer, oids};

pub const TABLE: RelFileLocator = RelFileLocator {
    spc_oid: DEFAULTTABLESPACE_OID,
    db_oid: Oid(5),
    rel_number: 16384,
};
pub const RELATION: HeapRelation = HeapRelation::permanent(TABLE);
pub const MAIN: RelFork = RelFork {
    rel: TABLE,
    fork: ForkNumber::Main,
};

/// Bytes of tuples that a test gathers before it inserts them.
pub const BATCH_BYTES: usize = 64 << 10;

/// Commits. Transactions have no log here, which is tested where both are: in the engine's tests.
pub fn commit(transaction: &Transaction) {
    let config = AioConfig {
        method: Some(MethodKind::Sync),
        max_issuers: 1,
        ..AioConfig::default()
    };
    let options = CommitOptions {
        synchronous: true,
        now: TimestampTz::default(),
    };
    let aio = Aio::start(config).unwrap();
    transaction
        .commit(&mut aio.issuer(0).unwrap(), options)
        .unwrap();
}

/// A row of a table of (a int, b text).
pub fn tuple(desc: &TupleDesc, a: i32, b: &str) -> Vec<u8> {
    let mut former = TupleFormer::new();
    former.begin(desc);
    former.push(Some(&a.to_le_bytes()));
    former.push(Some(b.as_bytes()));
    former.finish().unwrap().to_vec()
}

/// Where inserts into the table go, with so many lanes at most.
pub fn targets(rig: &Rig, lanes: usize) -> Arc<TableTargets> {
    InsertTargets::new(lanes)
        .table(TABLE, || rig.pool.nblocks(MAIN))
        .unwrap()
}

/// Ids below this were in use once and have no recorded end: their server crashed.
pub const FIRST_XID: u64 = 10;

pub struct Rig {
    pub pool: Arc<BufferPool>,
    pub transactions: Arc<TransactionManager>,
    pub io: IoContext,
    pub aio: Arc<Aio>,
    pub desc: TupleDesc,
    // Removed last.
    _directory: Option<tempfile::TempDir>,
}

impl Rig {
    pub fn new(kind: MethodKind, buffers: u64) -> Rig {
        let config = AioConfig {
            method: Some(kind),
            ..AioConfig::default()
        };
        Rig::over(Aio::start(config).unwrap(), buffers)
    }

    pub fn with_method(method: Arc<dyn Method>, buffers: u64) -> Rig {
        Rig::over(
            Aio::start_with(AioConfig::default(), method).unwrap(),
            buffers,
        )
    }

    fn over(aio: Arc<Aio>, buffers: u64) -> Rig {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().to_owned();
        let rig = Rig::in_directory(aio, Arc::new(OsStorage::new()), &root, buffers);
        Rig {
            _directory: Some(directory),
            ..rig
        }
    }

    /// In the directory `root`, which is there and empty.
    pub fn in_directory(
        aio: Arc<Aio>,
        storage: Arc<dyn Storage>,
        root: &Path,
        buffers: u64,
    ) -> Rig {
        for name in ["base", "base/5", "pg_xact", "pg_wal"] {
            storage.create_dir(&root.join(name)).unwrap();
        }
        let mut io = aio.issuer(0).unwrap();
        let status = root.join("pg_xact/0000");
        write_file_durably(storage.as_ref(), &mut io, &status, &[0; BLCKSZ]).unwrap();
        let smgr = Smgr::new(
            Arc::clone(&storage),
            &aio,
            root.to_owned(),
            SmgrConfig::default(),
        );
        smgr.create(TABLE, ForkNumber::Main, false).unwrap();
        let pool = BufferPool::new(
            PoolConfig {
                shared_buffers_bytes: buffers * BLCKSZ as u64,
                huge_pages: HugePages::Off,
                ..PoolConfig::default()
            },
            Arc::clone(&aio),
            smgr,
        )
        .unwrap();
        let locks = LockManager::new(Arc::new(SystemClock::new()), Duration::from_secs(1));
        let transactions = TransactionManager::start(
            TxnConfig {
                next_xid: FullXid(FIRST_XID),
                limits: XidLimits {
                    oldest_xid: FullXid::FIRST_NORMAL,
                    oldest_database: Oid(5),
                    oldest_database_name: None,
                },
                pg_xact: SlruConfig {
                    directory: root.join("pg_xact"),
                    buffers: 4,
                    direct: false,
                },
            },
            &aio,
            storage,
            Arc::new(locks),
            None,
        )
        .unwrap();
        Rig {
            io,
            pool,
            transactions,
            aio,
            desc: TupleDesc::new(vec![
                Attribute::new("a", oids::INT4, -1).unwrap(),
                Attribute::new("b", oids::TEXT, -1).unwrap(),
            ]),
            _directory: None,
        }
    }

    pub fn issuer(&self) -> IoContext {
        self.aio.issuer(0).unwrap()
    }

    pub fn tuple(&self, a: i32, b: &str) -> Vec<u8> {
        tuple(&self.desc, a, b)
    }

    pub fn begin(&self, pid: i32) -> Transaction {
        self.transactions.begin(pid)
    }

    pub fn snapshot(&self) -> RegisteredSnapshot {
        self.transactions.snapshot()
    }

    /// A load of `transaction` into the table.
    pub fn bulk_insert(
        &self,
        transaction: &Transaction,
        frozen: bool,
        spare: SparePages,
    ) -> BulkInsert {
        let options = BulkInsertOptions {
            xid: transaction.assign_xid().unwrap().xid(),
            command_id: transaction.command_id(true),
            frozen,
        };
        BulkInsert::new(&self.pool, RELATION, options, spare)
    }

    /// Loads `rows` rows with texts of `text_bytes`, in batches; what is spare afterwards.
    pub fn load(
        &mut self,
        transaction: &Transaction,
        rows: usize,
        text_bytes: usize,
        frozen: bool,
        spare: SparePages,
    ) -> SparePages {
        let mut insert = self.bulk_insert(transaction, frozen, spare);
        let mut batch = TupleBatch::new();
        let text = "x".repeat(text_bytes);
        for row in 0..rows {
            batch.push(&self.tuple(row as i32, &text));
            if batch.bytes().len() >= BATCH_BYTES {
                insert.insert(&mut batch, &mut self.io).unwrap();
            }
        }
        insert.insert(&mut batch, &mut self.io).unwrap();
        insert.finish(&mut self.io).unwrap();
        assert_eq!(insert.tuples(), rows as u64);
        insert.take_spare()
    }

    /// Loads and commits.
    pub fn load_committed(&mut self, rows: usize, text_bytes: usize) -> SparePages {
        let transaction = self.begin(1);
        let spare = self.load(&transaction, rows, text_bytes, false, SparePages::default());
        commit(&transaction);
        spare
    }

    pub fn writer<'a>(&'a self, transaction: &Transaction) -> HeapWriter<'a> {
        let xid = transaction.assign_xid().unwrap().xid();
        HeapWriter::new(
            &self.pool,
            &self.transactions,
            RELATION,
            xid,
            transaction.command_id(true),
        )
    }

    pub fn blocks(&self) -> BlockNumber {
        self.pool.nblocks(MAIN).unwrap()
    }

    pub fn scan(&self) -> HeapScan {
        let blocks = ScanBlocks::new(self.blocks());
        HeapScan::new(&self.pool, RELATION, blocks, ReadStreamLimits::default())
    }

    /// Visible rows, counted and visited, which must agree; leaves hints.
    pub fn count(&mut self, snapshot: &RegisteredSnapshot) -> u64 {
        self.try_count(snapshot).unwrap()
    }

    pub fn try_count(&mut self, snapshot: &RegisteredSnapshot) -> Result<u64, HeapError> {
        let mut visibility = Visibility::new(&self.transactions, snapshot);
        let mut scan = self.scan();
        let mut total = 0;
        while let Some(page) = scan.next_page(&mut self.io)? {
            let (counted, _) = page.count_visible(&mut visibility)?;
            let mut visited = 0;
            let hints = page.visit_visible(&mut visibility, |place, tuple| {
                assert_eq!(place.block, page.block());
                assert!(tuple.bytes().len() > 24);
                visited += 1;
                Ok::<(), HeapError>(())
            })?;
            assert_eq!(counted, visited, "block {}", page.block());
            if hints {
                scan.leave_hints(&page, &mut visibility, &mut self.io)?;
            }
            total += u64::from(counted);
        }
        Ok(total)
    }

    pub fn page(&mut self, block: BlockNumber) -> Box<PageBytes> {
        let buffer = self.pool.read(&mut self.io, MAIN, block, None).unwrap();
        Box::new(*buffer.share())
    }

    pub fn header(&mut self, place: ItemPointer) -> HeapTupleHeader {
        let page = self.page(place.block);
        let page = trunkline_pgformat::PageRef::new(&page);
        HeapTupleRef::new(page.item(place.offset).unwrap())
            .unwrap()
            .header()
    }

    pub fn is_marked(&mut self, block: BlockNumber) -> bool {
        trunkline_pgformat::PageRef::new(&self.page(block)).is_all_visible()
    }

    /// What the visibility map says of a block.
    pub fn map(&mut self, block: BlockNumber) -> PageVisibility {
        VisibilityMap::new(&self.pool, RELATION)
            .get(block, &mut self.io)
            .unwrap()
    }

    /// PD_ALL_VISIBLE and the map's bit, which must agree.
    pub fn is_all_visible(&mut self, block: BlockNumber) -> bool {
        let marked = self.is_marked(block);
        assert_eq!(self.map(block).all_visible, marked, "block {block}");
        marked
    }

    /// Line pointers of each page.
    pub fn tuples_per_page(&mut self) -> Vec<u16> {
        (0..self.blocks())
            .map(|block| {
                let page = self.page(block);
                trunkline_pgformat::PageRef::new(&page).line_pointer_count()
            })
            .collect()
    }
}
