//! A cluster in a temporary directory, with a pool that the catalogs do not fit into.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use trunkline_aio::{Aio, AioConfig, IoContext, Method, MethodKind, OsStorage, SystemClock};
use trunkline_buffer::{BufferPool, PoolConfig, ReadStreamLimits, RelFork};
use trunkline_catalog::{
    Catalog, CatalogError, CatalogWriter, ColumnDefinition, CreateContext, FrozenHorizon, NewTable,
    NotNull, RelationPersistence, RowValues, SystemTable, TableDefinition, bootstrap, oids,
};
use trunkline_heap::{HeapError, HeapRelation, HeapScan, ScanBlocks};
use trunkline_pgformat::{BLCKSZ, HeapTupleHeader, HeapTupleRef, Oid, Xid};
use trunkline_smgr::{Smgr, SmgrConfig};
use trunkline_txn::{
    CommitOptions, FullXid, LockManager, SlruConfig, TimestampTz, Transaction, TransactionManager,
    TxnConfig, Visibility, XidLimits,
};
use trunkline_types::{deform, oids as types};

pub const DATABASE: Oid = oids::POSTGRES_DATABASE;

/// PostgreSQL's smallest pool: less than `pg_attribute` and `pg_proc` need.
const POOL_BYTES: u64 = 16 * BLCKSZ as u64;

pub struct Cluster {
    pub catalog: Catalog,
    pub pool: Arc<BufferPool>,
    pub transactions: Arc<TransactionManager>,
    pub aio: Arc<Aio>,
    pub directory: TempDir,
}

/// Runs `test` over each method that can run here.
pub fn over_methods(test: impl Fn(Arc<Aio>)) {
    for method in MethodKind::ALL {
        let config = AioConfig {
            method: Some(method),
            ..AioConfig::default()
        };
        let aio = Aio::start(config).unwrap();
        println!("method {method}, running on {}", aio.method_name());
        test(aio);
    }
}

pub fn aio_with(method: Arc<dyn Method>) -> Arc<Aio> {
    Aio::start_with(AioConfig::default(), method).unwrap()
}

impl Cluster {
    /// A new cluster with its system tables.
    pub fn create(aio: Arc<Aio>) -> Cluster {
        let directory = tempfile::tempdir().unwrap();
        for part in ["base/5", "global", "pg_xact"] {
            fs::create_dir_all(directory.path().join(part)).unwrap();
        }
        fs::write(directory.path().join("pg_xact/0000"), [0; BLCKSZ]).unwrap();
        let cluster = Cluster::open(aio, directory, FullXid::FIRST_NORMAL);
        let mut io = cluster.io();
        bootstrap(&cluster.pool, &cluster.transactions, DATABASE, &mut io).unwrap();
        cluster
    }

    fn open(aio: Arc<Aio>, directory: TempDir, next_xid: FullXid) -> Cluster {
        let storage = Arc::new(OsStorage::new());
        let path = directory.path().to_owned();
        let smgr = Smgr::new(storage.clone(), &aio, path.clone(), SmgrConfig::default());
        let pool_config = PoolConfig {
            shared_buffers_bytes: POOL_BYTES,
            ..PoolConfig::default()
        };
        let pool = BufferPool::new(pool_config, Arc::clone(&aio), smgr).unwrap();
        let locks = LockManager::new(Arc::new(SystemClock::new()), Duration::from_secs(1));
        let config = TxnConfig {
            next_xid,
            limits: XidLimits {
                oldest_xid: FullXid::FIRST_NORMAL,
                oldest_database: DATABASE,
                oldest_database_name: None,
            },
            pg_xact: SlruConfig {
                directory: path.join("pg_xact"),
                buffers: 4,
                direct: false,
            },
        };
        let transactions =
            TransactionManager::start(config, &aio, storage, Arc::new(locks), None).unwrap();
        Cluster {
            catalog: Catalog::new(&pool, &transactions, DATABASE),
            pool,
            transactions,
            aio,
            directory,
        }
    }

    /// Stops cleanly and starts again: nothing is in memory any more.
    pub fn restart(self) -> Cluster {
        self.write_out();
        let next_xid = self.transactions.next_xid();
        Cluster::open(self.aio, self.directory, next_xid)
    }

    pub fn write_out(&self) {
        let mut io = self.io();
        self.pool.write_all(&mut io).unwrap();
        self.pool.smgr().sync_all(&mut io).unwrap();
        self.transactions.flush(&mut self.io()).unwrap();
    }

    pub fn io(&self) -> IoContext {
        self.aio.issuer(1).unwrap()
    }

    pub fn begin(&self) -> Transaction {
        self.transactions.begin(1)
    }

    /// Lets the transaction change the catalogs in a command of its own.
    pub fn command<T>(
        &self,
        transaction: &Transaction,
        change: impl FnOnce(&mut CatalogWriter<'_>) -> Result<T, CatalogError>,
    ) -> Result<T, CatalogError> {
        let xid = transaction.assign_xid().unwrap().xid();
        let command_id = transaction.command_id(true);
        let snapshot = transaction.snapshot();
        let mut io = self.io();
        let mut writer = CatalogWriter::new(&self.catalog, &snapshot, xid, command_id, &mut io);
        let changed = change(&mut writer);
        transaction.increment_command().unwrap();
        changed
    }

    /// Commits, and makes it known.
    pub fn commit(&self, transaction: Transaction, changed: &[Oid]) {
        let options = CommitOptions {
            synchronous: true,
            now: TimestampTz::default(),
        };
        transaction.commit(&mut self.io(), options).unwrap();
        self.catalog.invalidate(changed);
    }

    pub fn abort(&self, transaction: &Transaction) {
        transaction.abort(&mut self.io(), TimestampTz::default());
    }

    /// A committed table.
    pub fn create_table(&self, table: &NewTable) {
        let transaction = self.begin();
        self.command(&transaction, |writer| writer.create_table(table))
            .unwrap();
        self.commit(transaction, &[table.class.oid]);
    }

    /// The rows of a system table that a new snapshot sees, with their headers.
    pub fn rows(&self, table: &SystemTable) -> Vec<(HeapTupleHeader, RowValues)> {
        let mut io = self.io();
        let snapshot = self.transactions.snapshot();
        let mut visibility = Visibility::new(&self.transactions, &snapshot);
        let locator = table.initial_locator(DATABASE);
        let blocks = self.pool.nblocks(RelFork::main(locator)).unwrap();
        let mut scan = HeapScan::new(
            &self.pool,
            HeapRelation::permanent(locator),
            ScanBlocks::new(blocks),
            ReadStreamLimits::default(),
        );
        let mut rows = Vec::new();
        while let Some(page) = scan.next_page(&mut io).unwrap() {
            page.visit_visible(&mut visibility, |_, tuple: HeapTupleRef<'_>| {
                let mut values = Vec::new();
                deform(&table.desc, tuple.bytes(), &mut values).unwrap();
                let values = values.iter().map(|v| v.map(<[u8]>::to_vec)).collect();
                rows.push((tuple.header(), values));
                Ok::<(), HeapError>(())
            })
            .unwrap();
        }
        rows
    }
}

/// OIDs from a number on.
pub struct Counter(pub u32);

impl CreateContext for Counter {
    fn new_oid(&mut self) -> Result<Oid, CatalogError> {
        self.0 += 1;
        Ok(Oid(self.0 - 1))
    }

    fn type_exists(&mut self, _: Oid, _: &str) -> Result<bool, CatalogError> {
        Ok(false)
    }

    fn constraint_exists(&mut self, _: Oid, _: &str) -> Result<bool, CatalogError> {
        Ok(false)
    }
}

pub fn definition(name: &str) -> TableDefinition {
    let mut key = ColumnDefinition::new("k", types::INT8, -1);
    key.not_null = Some(NotNull {
        constraint_name: None,
    });
    let mut value = ColumnDefinition::new("v", types::NUMERIC, (15 << 16 | 2) + 4);
    value.default = Some("0.5".to_owned());
    TableDefinition {
        persistence: RelationPersistence::Permanent,
        name: name.to_owned(),
        namespace: oids::PG_PUBLIC_NAMESPACE,
        owner: oids::BOOTSTRAP_SUPERUSER,
        columns: vec![key, value, ColumnDefinition::new("t", types::TEXT, -1)],
    }
}

pub const HORIZON: FrozenHorizon = FrozenHorizon {
    xid: Xid::FIRST_NORMAL,
    multixact: Xid(1),
};

/// A table with a default and a NOT NULL constraint, whose OID is `oid`.
pub fn new_table(name: &str, oid: u32) -> NewTable {
    NewTable::build(&definition(name), HORIZON, &mut Counter(oid)).unwrap()
}
