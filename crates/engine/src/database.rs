//! A database system: everything of one data directory, from open to clean stop.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use trunkline_aio::{Aio, Clock, IoContext, Method, OsStorage, Storage, SystemClock};
use trunkline_buffer::{BackgroundWriter, BufferError, BufferPool, IoAccount, Pause, RelFork};
use trunkline_catalog::Catalog;
use trunkline_heap::{InsertTargets, TableTargets};
use trunkline_pgformat::{BLCKSZ, ForkNumber, Oid, RelFileLocator};
use trunkline_smgr::Smgr;
use trunkline_txn::{LockManager, LockOwner, TransactionManager};
use trunkline_wal::Wal;

use crate::background::{Background, BackgroundThreads};
use crate::checkpoint_requests::{CheckpointCause, CheckpointRequests};
use crate::checkpointer::{
    Checkpointer, CheckpointerCounters, CheckpointerStats, CheckpointerStep,
};
use crate::data_directory::{DataDirectoryError, Found, LockFile, inspect};
use crate::durable_state::DurableState;
use crate::engine_threads::EngineThreads;
use crate::error::{EngineError, StatementError};
use crate::failed_tails::FailedTails;
use crate::init::{InitOptions, bootstrap_aio, initialise_with};
use crate::memory_limit::usable_memory_bytes;
use crate::session::Session;
use crate::sessions::Sessions;
use crate::settings::{Configuration, ServerSettings, SessionSettings, SettingError};
use crate::start::clear_temporary_files;
use crate::wal_writing::WalWriting;

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
    pub(crate) data_dir: PathBuf,
    pub(crate) started: SystemTime,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) settings: Arc<ServerSettings>,
    pub(crate) configuration: Configuration,
    pub(crate) aio: Arc<Aio>,
    pub(crate) smgr: Arc<Smgr>,
    pub(crate) pool: Arc<BufferPool>,
    pub(crate) transactions: Arc<TransactionManager>,
    pub(crate) catalog: Catalog,
    pub(crate) threads: EngineThreads,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) system_identifier: u64,
    pub(crate) durable: Arc<DurableState>,
    pub(crate) checkpoint_requests: Arc<CheckpointRequests>,
    pub(crate) checkpointer_counters: Arc<CheckpointerCounters>,
    /// Held for a step at a time.
    pub(crate) checkpointer: Arc<Mutex<Checkpointer>>,
    pub(crate) background_writer: Arc<Mutex<BackgroundWriter>>,
    pub(crate) wal_writing: Arc<Mutex<WalWriting>>,
    pub(crate) background: Mutex<Option<BackgroundThreads>>,
    pub(crate) insert_targets: InsertTargets,
    pub(crate) failed_tails: FailedTails,
    /// Given back last.
    pub(crate) lock_file: LockFile,
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
    /// It is no data directory, is in use, cannot be recovered, or something in it or in the settings
    /// cannot be used.
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
            initialise_with(&foundation, path, &InitOptions::default())?;
        }
        Self::start(path, options, foundation)
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

    /// What these come from, and whether that has changed.
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// Reads the configuration files again, and tells in the log which settings would change with a
    /// restart: none does without.
    pub fn reload_configuration(&self) {
        match self.configuration.reload() {
            Ok(changed) => {
                for name in changed {
                    let error = SettingError::NeedsRestart(name.to_owned());
                    tracing::info!("{error}");
                }
            }
            Err(error) => {
                tracing::error!("{error}");
                tracing::info!("configuration file contains errors; no changes were applied");
            }
        }
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
        self.check_failure()?;
        let registration = self.sessions.register(user, "postgres")?;
        let settings = SessionSettings::new(Arc::clone(&self.settings), user, options)?;
        Ok(Session::new(Arc::clone(self), registration, settings))
    }

    /// An OID that was not given out before; it wraps past those of the system's objects.
    ///
    /// # Errors
    /// The log has failed, or there is no issuer to log with which ones are given out.
    pub fn new_oid(&self) -> Result<Oid, BufferError> {
        let mut io = self.aio.issuer(0)?;
        self.durable.oids.next(&self.durable.wal, &mut io)
    }

    /// A number for a relation's files that no file has.
    ///
    /// # Errors
    /// The directory cannot be looked at.
    pub fn new_rel_number(&self, like: RelFileLocator) -> Result<RelFileLocator, EngineError> {
        loop {
            let locator = RelFileLocator {
                rel_number: self.new_oid()?.0,
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

    pub(crate) fn request_checkpoint(
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

    /// Takes one step of the WAL writer. Gives how long to pause after it.
    ///
    /// # Errors
    /// The log has failed, or a segment could not be made ahead.
    pub fn step_wal_writer(&self, io: &mut IoContext) -> Result<Duration, EngineError> {
        lock(&self.wal_writing).step(io)
    }

    /// The write-ahead log.
    pub fn wal(&self) -> &Arc<Wal> {
        &self.durable.wal
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
            max_written_clean: self.pool.max_written_clean(),
            buffers_alloc: self.pool.stats().allocations,
        }
    }

    /// Why nothing can be made durable any more, if so: a sync or the write-ahead log failed, or what
    /// became of a commit is not known. The system is to be stopped, which will not be a clean stop;
    /// recovery at the next start is the retry.
    pub fn failure(&self) -> Option<&str> {
        self.durable.failure()
    }

    /// Has `told` called, with the reason, when the system fails so; at once if it has. Whoever runs
    /// it ends the process then, and not with success.
    pub fn on_failure(&self, told: impl FnOnce(&str) + Send + 'static) {
        self.durable.on_failure(Box::new(told));
    }

    /// Nothing can be made durable any more: sessions are told to end, and no stop will be clean.
    pub(crate) fn fail(&self, error: &EngineError) {
        self.durable.fail(error);
    }

    /// Refuses to go on after a failure.
    ///
    /// # Errors
    /// 57P02.
    pub fn check_failure(&self) -> Result<(), EngineError> {
        self.durable.check_log();
        match self.failure() {
            None => Ok(()),
            Some(reason) => Err(StatementError::new(
                "57P02",
                format!("the database system has failed: {reason}"),
            )
            .with_hint("It recovers when it is started again.")
            .into()),
        }
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
        self.check_failure()?;
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

    /// Where inserts go.
    pub(crate) fn insert_targets(&self) -> &InsertTargets {
        &self.insert_targets
    }

    /// Where inserts into a table go, on which the caller has a lock.
    pub(crate) fn insert_targets_of(
        &self,
        locator: RelFileLocator,
    ) -> Result<Arc<TableTargets>, EngineError> {
        let main = RelFork::new(locator, ForkNumber::Main);
        Ok(self
            .insert_targets
            .table(locator, || self.pool.nblocks(main))?)
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
