//! A database system: everything of one data directory, from open to clean stop.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use trunkline_aio::{
    Aio, AioConfig, Clock, IoContext, Method, MethodKind, OsStorage, Storage, SystemClock,
};
use trunkline_buffer::{
    BackgroundWriter, BackgroundWriterConfig, BufferPool, HugePages, IoAccount, Pause, PoolConfig,
};
use trunkline_catalog::Catalog;
use trunkline_heap::InsertTargets;
use trunkline_pgformat::control_file::{ClusterState, ControlFile};
use trunkline_pgformat::slru::XACT_DIRECTORY;
use trunkline_pgformat::{BLCKSZ, ForkNumber, Oid, RelFileLocator};
use trunkline_smgr::{Smgr, SmgrConfig};
use trunkline_txn::{
    FullXid, LockManager, LockOwner, SlruConfig, TransactionManager, TxnConfig, XidLimits,
};

use crate::background::{Background, BackgroundThreads};
use crate::checkpoint_requests::{CheckpointCause, CheckpointRequests};
use crate::checkpointer::{
    CheckpointConfig, Checkpointer, CheckpointerCounters, CheckpointerStats, CheckpointerStep,
};
use crate::data_directory::{
    ControlFileStore, DATABASE_OID, DataDirectoryError, Found, LockFile, check_relation_maps,
    inspect,
};
use crate::durable_state::DurableState;
use crate::engine_threads::{EngineThreads, ThreadError};
use crate::error::{EngineError, StatementError};
use crate::failed_tails::FailedTails;
use crate::init::{bootstrap_aio, initialise_on};
use crate::memory_limit::usable_memory_bytes;
use crate::session::Session;
use crate::sessions::Sessions;
use crate::settings::{ServerSettings, SessionSettings, SettingError, SettingValue};

/// Pages of pg_xact kept in memory.
const PG_XACT_BUFFERS: usize = 64;

/// Issuers beyond what sessions and their scans need: start, checkpoint, commit log.
const SPARE_ISSUERS: u32 = 16;

/// How to open a data directory.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// Settings over those of `postgresql.conf`, in order.
    pub overrides: Vec<(String, String)>,
    /// Initialise a missing or empty directory.
    pub initialise: bool,
}

/// The row of `pg_stat_bgwriter`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BackgroundWriterStats {
    /// Buffers written by the background writer.
    pub buffers_clean: u64,
    /// Rounds that ended because they had written `bgwriter_lru_maxpages`.
    pub max_written_clean: u64,
    /// Buffers that anybody needed and got from the clock sweep.
    pub buffers_alloc: u64,
}

/// A running database system.
pub struct Database {
    data_dir: PathBuf,
    started: SystemTime,
    clock: Arc<dyn Clock>,
    settings: Arc<ServerSettings>,
    aio: Arc<Aio>,
    smgr: Arc<Smgr>,
    pool: Arc<BufferPool>,
    transactions: Arc<TransactionManager>,
    catalog: Catalog,
    threads: EngineThreads,
    sessions: Arc<Sessions>,
    system_identifier: u64,
    durable: Arc<DurableState>,
    checkpoint_requests: Arc<CheckpointRequests>,
    checkpointer_counters: Arc<CheckpointerCounters>,
    /// Held for a step at a time.
    checkpointer: Arc<Mutex<Checkpointer>>,
    background_writer: Arc<Mutex<BackgroundWriter>>,
    background: Mutex<Option<BackgroundThreads>>,
    insert_targets: InsertTargets,
    failed_tails: FailedTails,
    /// Given back last.
    lock_file: LockFile,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the engine stands on; other than the defaults for simulations and faults.
#[derive(Clone)]
pub struct Foundation {
    /// All changes of file metadata.
    pub storage: Arc<dyn Storage>,
    /// What executes I/Os; chosen by the setting `io_method` if none is given. It serves several AIO
    /// cores, one after the other: those of the start come before the database's own.
    pub method: Option<Arc<dyn Method>>,
    /// All time that anything in the database depends on: timeouts, checkpoints, and the time of day.
    /// Left to the operating system are how long threads without work are kept, how long a stop has
    /// patience with threads that do not end, and the lock file.
    pub clock: Arc<dyn Clock>,
    /// Who takes the steps of the checkpointer and the background writer.
    pub background: Background,
}

impl Default for Foundation {
    fn default() -> Foundation {
        Foundation {
            storage: Arc::new(OsStorage::new()),
            method: None,
            clock: Arc::new(SystemClock::new()),
            background: Background::default(),
        }
    }
}

/// What is at `path`, and the settings to open it with. A directory that is not ours is told before
/// what its configuration file says.
fn look(
    foundation: &Foundation,
    path: &Path,
    options: &OpenOptions,
) -> Result<(Found, ServerSettings), EngineError> {
    let aio = bootstrap_aio(foundation)?;
    let found = inspect(foundation.storage.as_ref(), path, &mut aio.issuer(0)?)?;
    let settings = ServerSettings::load(path, &options.overrides)?;
    check_memory(&settings, usable_memory_bytes())?;
    Ok((found, settings))
}

/// Refuses a buffer pool that the memory cannot hold: the system would kill the process when the
/// pool fills, long after the start.
fn check_memory(settings: &ServerSettings, usable_bytes: u64) -> Result<(), SettingError> {
    let blocks = u64::try_from(settings.integer("shared_buffers")).unwrap_or(0);
    if blocks.saturating_mul(BLCKSZ as u64) <= usable_bytes {
        return Ok(());
    }
    let megabytes = |bytes: u64| format!("{} MB", bytes >> 20);
    Err(SettingError::BeyondMemory {
        value: megabytes(blocks.saturating_mul(BLCKSZ as u64)),
        usable: megabytes(usable_bytes),
    })
}

impl Database {
    /// Opens the data directory `path`.
    ///
    /// # Errors
    /// It is no data directory, is in use, was not stopped cleanly, or something in it or in the
    /// settings cannot be used.
    pub fn open(path: &Path, options: &OpenOptions) -> Result<Arc<Database>, EngineError> {
        Database::open_on(Foundation::default(), path, options)
    }

    /// The settings that the data directory `path` would be opened with. Touches nothing.
    ///
    /// # Errors
    /// What can be told beforehand: the path is neither vacant nor a data directory, a setting is
    /// bad, or the buffer pool would not fit into the memory.
    pub fn look(path: &Path, options: &OpenOptions) -> Result<ServerSettings, EngineError> {
        Ok(look(&Foundation::default(), path, options)?.1)
    }

    /// Opens the data directory `path` on a foundation of choice.
    ///
    /// # Errors
    /// As [`Database::open`].
    pub fn open_on(
        foundation: Foundation,
        path: &Path,
        options: &OpenOptions,
    ) -> Result<Arc<Database>, EngineError> {
        let (found, _) = look(&foundation, path, options)?;
        if found == Found::Vacant {
            if !options.initialise {
                return Err(DataDirectoryError::NotADataDirectory {
                    path: path.to_owned(),
                    why: "it does not exist or is empty; \"trunkline init\" makes one".to_owned(),
                }
                .into());
            }
            initialise_on(&foundation, path)?;
        }
        Self::start(path, options, foundation)
    }

    fn start(
        path: &Path,
        options: &OpenOptions,
        foundation: Foundation,
    ) -> Result<Arc<Database>, EngineError> {
        let Foundation {
            storage,
            method,
            clock,
            background,
        } = foundation;
        let data_dir = std::path::absolute(path).map_err(|source| DataDirectoryError::File {
            path: path.to_owned(),
            source,
        })?;
        let lock_file = LockFile::acquire(&data_dir)?;
        let mut settings = ServerSettings::load(&data_dir, &options.overrides)?;
        resolve_defaults(&mut settings, &data_dir);
        let config = aio_config(&settings)?;
        let aio = match method {
            Some(method) => Aio::start_with(config, method)?,
            None => Aio::start(config)?,
        };
        settings.resolve(
            "io_method",
            SettingValue::Text(aio.method_name().to_owned()),
        );
        let mut io = aio.issuer(0)?;
        let control_store = ControlFileStore::new(Arc::clone(&storage), &data_dir);
        let mut control = control_store.read(&mut io)?;
        if control.state != ClusterState::ShutDown {
            return Err(DataDirectoryError::NotCleanlyStopped {
                path: data_dir,
                state: control.state.description().to_owned(),
            }
            .into());
        }
        check_relation_maps(storage.as_ref(), &data_dir, &mut io)?;
        let direct = settings
            .text("io_direct")
            .split(',')
            .any(|kind| kind == "data");
        let smgr = Smgr::new(
            Arc::clone(&storage),
            &aio,
            data_dir.clone(),
            SmgrConfig {
                max_open_files: usize_setting(&settings, "max_files_per_process"),
                direct,
            },
        );
        let pool = BufferPool::new(
            pool_config(&settings, &control),
            Arc::clone(&aio),
            Arc::clone(&smgr),
        )?;
        let locks = Arc::new(LockManager::new(
            Arc::clone(&clock),
            Duration::from_millis(settings.integer("deadlock_timeout").unsigned_abs()),
        ));
        let transactions = TransactionManager::start(
            TxnConfig {
                next_xid: FullXid(control.check_point_copy.next_full_xid),
                limits: XidLimits {
                    oldest_xid: FullXid(u64::from(control.check_point_copy.oldest_xid.0)),
                    oldest_database: DATABASE_OID,
                    oldest_database_name: Some("postgres".to_owned()),
                },
                pg_xact: SlruConfig {
                    directory: data_dir.join(XACT_DIRECTORY),
                    buffers: PG_XACT_BUFFERS,
                    direct,
                },
            },
            &aio,
            Arc::clone(&storage),
            locks,
        )?;
        let catalog = Catalog::new(&pool, &transactions, DATABASE_OID);
        let max_connections = usize_setting(&settings, "max_connections");
        clear_temporary_files(storage.as_ref(), &data_dir)?;
        // From here on only a clean stop is durable.
        let stopped = control.clone();
        control.state = ClusterState::InProduction;
        control.time = unix_seconds(clock.as_ref());
        if let Err(error) = control_store.write(&control, &mut io) {
            // It may be in place all the same, with nothing changed that would justify it.
            if let Err(error) = control_store.write(&stopped, &mut io) {
                tracing::warn!("{error}");
            }
            return Err(error.into());
        }
        drop(io);
        let system_identifier = control.system_identifier;
        let sessions = Arc::new(Sessions::new(max_connections));
        let durable = Arc::new(DurableState::new(
            Arc::clone(&clock),
            Arc::clone(&pool),
            Arc::clone(&transactions),
            Arc::clone(&sessions),
            control_store,
            control,
        ));
        let checkpoint_requests = Arc::new(CheckpointRequests::default());
        let checkpointer_counters = Arc::new(CheckpointerCounters::default());
        let checkpointer = Arc::new(Mutex::new(Checkpointer::new(
            Arc::clone(&durable),
            checkpoint_config(&settings),
            Arc::clone(&checkpoint_requests),
            Arc::clone(&checkpointer_counters),
            // No WAL is written, so none has been.
            Box::new(|| 0.0),
        )));
        let background_writer = Arc::new(Mutex::new(BackgroundWriter::new(
            &pool,
            background_writer_config(&settings),
        )));
        let background = match background {
            Background::Driven => None,
            Background::Threads => Some(
                BackgroundThreads::start(
                    &clock,
                    (
                        Arc::clone(&checkpointer),
                        Arc::clone(&checkpoint_requests),
                        aio.issuer(0)?,
                    ),
                    (
                        Arc::clone(&background_writer),
                        Arc::clone(&pool),
                        aio.issuer(0)?,
                    ),
                )
                .map_err(ThreadError::NotStarted)?,
            ),
        };
        Ok(Arc::new(Database {
            data_dir,
            started: UNIX_EPOCH + clock.since_epoch(),
            clock,
            // A statement has its own thread and one for each partition of its scans.
            threads: EngineThreads::new(max_connections * (1 + partitions())),
            settings: Arc::new(settings),
            aio,
            smgr,
            pool,
            transactions,
            catalog,
            sessions,
            system_identifier,
            durable,
            checkpoint_requests,
            checkpointer_counters,
            checkpointer,
            background_writer,
            background: Mutex::new(background),
            insert_targets: InsertTargets::new(),
            failed_tails: FailedTails::default(),
            lock_file,
        }))
    }

    /// The directory that holds it.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// When it was opened; what it counts, it counts since then.
    pub fn started(&self) -> SystemTime {
        self.started
    }

    /// Its time.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The settings that it started with.
    pub fn settings(&self) -> &Arc<ServerSettings> {
        &self.settings
    }

    /// The AIO core.
    pub fn aio(&self) -> &Arc<Aio> {
        &self.aio
    }

    /// The storage manager.
    pub fn smgr(&self) -> &Arc<Smgr> {
        &self.smgr
    }

    /// The buffer pool.
    pub fn pool(&self) -> &Arc<BufferPool> {
        &self.pool
    }

    /// The transaction manager.
    pub fn transactions(&self) -> &Arc<TransactionManager> {
        &self.transactions
    }

    /// The lock manager.
    pub fn locks(&self) -> &Arc<LockManager> {
        self.transactions.locks()
    }

    /// The catalog.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The threads that blocking code runs on.
    pub fn threads(&self) -> &EngineThreads {
        &self.threads
    }

    /// The sessions that exist.
    pub fn sessions(&self) -> &Arc<Sessions> {
        &self.sessions
    }

    /// The lock file, to write the port into.
    pub fn lock_file(&self) -> &LockFile {
        &self.lock_file
    }

    /// The cluster's identifier, as pg_control has it.
    pub fn system_identifier(&self) -> u64 {
        self.system_identifier
    }

    /// A session of `user`. `options` are the settings of its start-up packet.
    ///
    /// # Errors
    /// 53300, 57P03, or a bad setting.
    pub fn session(
        self: &Arc<Self>,
        user: &str,
        options: &[(String, String)],
    ) -> Result<Session, EngineError> {
        let registration = self.sessions.register(user, "postgres")?;
        let settings = SessionSettings::new(Arc::clone(&self.settings), options)?;
        Ok(Session::new(Arc::clone(self), registration, settings))
    }

    /// An OID that was not given out before; it wraps past those of the system's objects.
    pub fn new_oid(&self) -> Oid {
        const FIRST_NORMAL: u32 = trunkline_catalog::oids::FIRST_NORMAL_OBJECT.0;
        let after = |oid: u32| oid.max(FIRST_NORMAL).checked_add(1).unwrap_or(FIRST_NORMAL);
        let oid = self
            .durable
            .next_oid
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |oid| Some(after(oid)))
            .unwrap_or_else(|oid| oid);
        Oid(oid.max(FIRST_NORMAL))
    }

    /// A number for a relation's files that no file has.
    ///
    /// # Errors
    /// The directory cannot be looked at.
    pub fn new_rel_number(&self, like: RelFileLocator) -> Result<RelFileLocator, EngineError> {
        loop {
            let locator = RelFileLocator {
                rel_number: self.new_oid().0,
                ..like
            };
            if !self.smgr.exists(locator, ForkNumber::Main)? {
                return Ok(locator);
            }
        }
    }

    /// Writes everything that changed, and syncs it: CHECKPOINT. The checkpointer does it, and this
    /// waits; those who ask before it begins share one checkpoint.
    ///
    /// # Errors
    /// Something cannot be written; it will be tried again. Or something cannot be synced; then
    /// nothing can be made durable any more, and all sessions are told to end.
    pub fn checkpoint(&self, io: &mut IoContext) -> Result<(), EngineError> {
        if self.durable.is_shut_down() {
            return Err(StatementError::new("57P01", "the database system is shut down").into());
        }
        self.request_checkpoint(CheckpointCause::STATEMENT, io)
    }

    fn request_checkpoint(
        &self,
        cause: CheckpointCause,
        io: &mut IoContext,
    ) -> Result<(), EngineError> {
        let mut ticket = self.checkpoint_requests.request(cause);
        // The checkpointer may have to wait for what is pending here.
        io.submit();
        loop {
            if let Some(result) = self.checkpoint_requests.wait(ticket) {
                return result.map_err(EngineError::from);
            }
            let step = self.step_checkpointer(io);
            if step != CheckpointerStep::Again && self.checkpoint_requests.result(ticket).is_none()
            {
                // Whoever had begun it did not come to its end.
                ticket = self.checkpoint_requests.request(cause);
            }
        }
    }

    /// Takes one step of the checkpointer, whoever else does: for who drives it instead of a thread.
    pub fn step_checkpointer(&self, io: &mut IoContext) -> CheckpointerStep {
        let now = self.clock.monotonic();
        lock(&self.checkpointer).step(io, now)
    }

    /// Takes one round of the background writer. Gives how long to pause after it.
    ///
    /// # Errors
    /// A page could not be written; it stays dirty.
    pub fn step_background_writer(&self, io: &mut IoContext) -> Result<Pause, EngineError> {
        Ok(lock(&self.background_writer).step(io)?)
    }

    /// What the checkpointer has done since the start.
    pub fn checkpointer_stats(&self) -> CheckpointerStats {
        self.checkpointer_counters.snapshot()
    }

    /// What the background writer has done since the start.
    pub fn background_writer_stats(&self) -> BackgroundWriterStats {
        let of_writer = self.pool.stats_of(IoAccount::BackgroundWriter);
        BackgroundWriterStats {
            buffers_clean: of_writer.written_blocks,
            max_written_clean: lock(&self.background_writer).max_written_clean(),
            buffers_alloc: self.pool.stats().allocations,
        }
    }

    /// Why nothing can be made durable any more, if so: a sync failed. The system is to be stopped,
    /// which will not be a clean stop.
    pub fn failure(&self) -> Option<&str> {
        self.durable.failure()
    }

    /// Stops cleanly: sessions end, everything is written and synced, and pg_control says so. Stopping
    /// again changes nothing.
    ///
    /// # Errors
    /// Sessions do not end, or something cannot be written; the directory then counts as not
    /// cleanly stopped.
    pub fn stop(&self) -> Result<(), EngineError> {
        const PATIENCE: Duration = Duration::from_secs(60);
        if self.durable.is_shut_down() {
            return Ok(());
        }
        self.sessions.terminate_all();
        if !self.sessions.wait_until_none(PATIENCE) {
            return Err(StatementError::new(
                "57P01",
                "sessions did not end in time; the data directory was not stopped cleanly",
            )
            .into());
        }
        self.threads.stop();
        // From here on, who stops takes the steps, of a checkpoint that runs as well.
        drop(lock(&self.background).take());
        clear_temporary_files(self.smgr.storage().as_ref(), &self.data_dir)?;
        let mut io = self.aio.issuer(0)?;
        // Nobody looks at any table any more.
        self.give_back_tails(LockOwner::session(0));
        self.request_checkpoint(CheckpointCause::SHUTDOWN, &mut io)?;
        drop(io);
        self.aio.shutdown();
        Ok(())
    }

    pub(crate) fn failed_tails(&self) -> &FailedTails {
        &self.failed_tails
    }

    /// Pages with room.
    pub(crate) fn insert_targets(&self) -> &InsertTargets {
        &self.insert_targets
    }

    /// Deletes the files of relations that a transaction's end removed. Nobody can reach them any
    /// more, so that a failure leaks space but nothing else, and is only told.
    pub(crate) fn delete_files(&self, files: &[RelFileLocator]) {
        if files.is_empty() {
            return;
        }
        self.pool.drop_relations(files);
        for locator in files {
            self.insert_targets.forget(*locator);
            if let Err(error) = self.smgr.unlink_after_checkpoint(*locator) {
                tracing::warn!("could not remove the files of a dropped relation: {error}");
            }
        }
    }
}

/// How many partitions a scan may have: one for each processor.
pub fn partitions() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn usize_setting(settings: &ServerSettings, name: &str) -> usize {
    usize::try_from(settings.integer(name)).unwrap_or(0)
}

/// Defaults that depend on the machine.
fn resolve_defaults(settings: &mut ServerSettings, data_dir: &Path) {
    if settings.integer("shared_buffers") < 0 {
        // Whole megabytes, as people write them.
        let megabytes = (usable_memory_bytes() / (4 << 20)).max(1);
        let blocks = megabytes * (1 << 20) / BLCKSZ as u64;
        let blocks = i64::try_from(blocks).unwrap_or(i64::MAX);
        settings.resolve("shared_buffers", SettingValue::Integer(blocks));
    }
    if settings.integer("io_max_concurrency") < 0 {
        settings.resolve("io_max_concurrency", SettingValue::Integer(64));
    }
    let directory = data_dir.display().to_string();
    settings.resolve("data_directory", SettingValue::Text(directory));
    settings.resolve("data_checksums", SettingValue::Bool(true));
}

fn aio_config(settings: &ServerSettings) -> Result<AioConfig, EngineError> {
    let method = match settings.text("io_method") {
        "auto" => None,
        name => Some(name.parse::<MethodKind>()?),
    };
    let connections = u32::try_from(settings.integer("max_connections")).unwrap_or(100);
    // A statement reads catalogs, loads, and scans in partitions.
    let each = u32::try_from(2 + partitions()).unwrap_or(3);
    let defaults = AioConfig::default();
    let workers = u32::try_from(settings.integer("io_workers")).unwrap_or(3);
    Ok(AioConfig {
        method,
        max_issuers: (connections.saturating_mul(each)).saturating_add(SPARE_ISSUERS),
        io_max_concurrency: u32::try_from(settings.integer("io_max_concurrency")).unwrap_or(64),
        io_combine_limit_bytes: bytes_of_blocks(
            settings
                .integer("io_combine_limit")
                .min(settings.integer("io_max_combine_limit")),
        ),
        io_max_combine_limit_bytes: bytes_of_blocks(settings.integer("io_max_combine_limit")),
        io_min_workers: workers.min(defaults.io_min_workers),
        io_max_workers: workers.max(defaults.io_min_workers),
        ..defaults
    })
}

fn bytes_of_blocks(blocks: i64) -> u32 {
    u32::try_from(blocks).map_or(u32::MAX, |blocks| blocks.saturating_mul(BLCKSZ as u32))
}

fn milliseconds(settings: &ServerSettings, name: &str) -> Duration {
    Duration::from_millis(settings.integer(name).unsigned_abs())
}

fn checkpoint_config(settings: &ServerSettings) -> CheckpointConfig {
    CheckpointConfig {
        timeout: Duration::from_secs(settings.integer("checkpoint_timeout").unsigned_abs()),
        completion_target: settings.real("checkpoint_completion_target"),
        io_concurrency: usize_setting(settings, "checkpoint_io_concurrency"),
        log: settings.switch("log_checkpoints"),
    }
}

fn background_writer_config(settings: &ServerSettings) -> BackgroundWriterConfig {
    BackgroundWriterConfig {
        delay: milliseconds(settings, "bgwriter_delay"),
        lru_max_pages: u32::try_from(settings.integer("bgwriter_lru_maxpages")).unwrap_or(100),
        lru_multiplier: settings.real("bgwriter_lru_multiplier"),
    }
}

fn pool_config(settings: &ServerSettings, control: &ControlFile) -> PoolConfig {
    let concurrency = |name| u32::try_from(settings.integer(name)).unwrap_or(16);
    let flush_after = |name| u32::try_from(settings.integer(name)).unwrap_or(0);
    let combine_blocks = settings
        .integer("io_combine_limit")
        .min(settings.integer("io_max_combine_limit"));
    PoolConfig {
        shared_buffers_bytes: settings.integer("shared_buffers").unsigned_abs() * BLCKSZ as u64,
        huge_pages: match settings.text("huge_pages") {
            "on" => HugePages::On,
            "off" => HugePages::Off,
            _ => HugePages::Try,
        },
        io_combine_limit_bytes: bytes_of_blocks(combine_blocks),
        effective_io_concurrency: concurrency("effective_io_concurrency"),
        maintenance_io_concurrency: concurrency("maintenance_io_concurrency"),
        data_checksums: control.data_checksum_version != 0,
        checkpoint_flush_after_blocks: flush_after("checkpoint_flush_after"),
        bgwriter_flush_after_blocks: flush_after("bgwriter_flush_after"),
        backend_flush_after_blocks: flush_after("backend_flush_after"),
    }
}

/// Removes what spilled to disk and was left: files directly under `base/pgsql_tmp`, and those in
/// its directories.
fn clear_temporary_files(storage: &dyn Storage, data_dir: &Path) -> Result<(), EngineError> {
    fn clear(storage: &dyn Storage, directory: &Path) -> std::io::Result<()> {
        for entry in storage.list(directory)? {
            let path = directory.join(&entry.name);
            if entry.kind == trunkline_aio::FileKind::Directory {
                clear(storage, &path)?;
                storage.remove_dir(&path)?;
            } else {
                storage.unlink(&path)?;
            }
        }
        Ok(())
    }
    let directory = data_dir.join("base/pgsql_tmp");
    let made = match storage.exists(&directory) {
        Ok(true) => clear(storage, &directory),
        Ok(false) => storage.create_dir(&directory),
        Err(error) => Err(error),
    };
    made.map_err(|source| {
        DataDirectoryError::File {
            path: directory,
            source,
        }
        .into()
    })
}

pub(crate) fn unix_seconds(clock: &dyn Clock) -> i64 {
    i64::try_from(clock.since_epoch().as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_beyond_the_memory_is_refused() {
        let mut settings = ServerSettings::default();
        check_memory(&settings, 1 << 30).unwrap();
        settings.set("shared_buffers", "1GB").unwrap();
        check_memory(&settings, 1 << 30).unwrap();
        let error = check_memory(&settings, (1 << 30) - 1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "parameter \"shared_buffers\" is 1024 MB, but this process may use only 1023 MB of memory"
        );
    }
}
