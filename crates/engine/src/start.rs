//! From a data directory to a running database.
//!
//! ```text
//!  lock file ─▶ settings ─▶ pg_control ─┬─ shut down ─▶ its checkpoint's record is verified ─┐
//!                                       └─ else ──────▶ recovery ────────────────────────────┤
//!  production ◀─ (after recovery: checkpoint) ◀─ transactions ◀─ pool logs ◀─ log goes on ◀──┘
//! ```

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use trunkline_aio::{Aio, AioConfig, Clock, IoContext, MethodKind, Storage};
use trunkline_buffer::{
    BackgroundWriter, BackgroundWriterConfig, BufferPool, HugePages, PoolConfig, Reader,
};
use trunkline_catalog::Catalog;
use trunkline_heap::InsertTargets;
use trunkline_pgformat::control_file::{CheckPoint, ClusterState, ControlFile};
use trunkline_pgformat::slru::XACT_DIRECTORY;
use trunkline_pgformat::wal::rmgr::xlog::ParameterChange;
use trunkline_pgformat::{BLCKSZ, Lsn, Oid};
use trunkline_smgr::{Smgr, SmgrConfig};
use trunkline_txn::{FullXid, LockManager, SlruConfig, TransactionManager, TxnConfig, XidLimits};
use trunkline_wal::{Wal, WalConfig, WalPosition};

use crate::background::{Background, BackgroundThreads};
use crate::checkpoint_requests::{CheckpointCause, CheckpointRequests};
use crate::checkpointer::{CheckpointConfig, Checkpointer, CheckpointerCounters};
use crate::data_directory::{
    ControlFileStore, DATABASE_OID, DataDirectoryError, LockFile, check_relation_maps,
};
use crate::database::{Database, Foundation, OpenOptions, partitions};
use crate::durable_state::{DurableParts, DurableState};
use crate::engine_records;
use crate::engine_threads::{EngineThreads, ThreadError};
use crate::error::EngineError;
use crate::failed_tails::FailedTails;
use crate::memory_limit::usable_memory_bytes;
use crate::oid_generator::OidGenerator;
use crate::recovery::{self, RecoveryParts};
use crate::sessions::Sessions;
use crate::settings::{Configuration, ServerSettings, SettingValue, check_resource_managers};
use crate::wal_config::{checkpoint_distance_bytes, resolve_wal_settings, wal_config};
use crate::wal_writing::WalWriting;

/// Pages of pg_xact kept in memory.
const PG_XACT_BUFFERS: usize = 64;

/// Issuers beyond what sessions and their scans need: start, checkpoint, commit log, log.
const SPARE_ISSUERS: u32 = 16;

/// Transactions and log as they go on.
struct Durability {
    transactions: Arc<TransactionManager>,
    wal: Arc<Wal>,
    next_oid: Oid,
    is_recovered: bool,
}

/// What is there before the log goes on.
struct Base<'a> {
    clock: &'a Arc<dyn Clock>,
    storage: &'a Arc<dyn Storage>,
    data_dir: &'a Path,
    settings: &'a ServerSettings,
    pool: &'a Arc<BufferPool>,
    control_store: &'a ControlFileStore,
}

impl Database {
    pub(crate) fn start(
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
        let configuration = Configuration::new(&data_dir, &options.overrides, &settings);
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
        // For recovery.
        let reader = Reader {
            zero_damaged_pages: settings.switch("zero_damaged_pages"),
            ignore_checksum_failure: settings.switch("ignore_checksum_failure"),
            warnings: None,
        };
        reader.attach(&mut io);
        let control_store = ControlFileStore::new(Arc::clone(&storage), &data_dir);
        let mut control = control_store.read(&mut io)?;
        let has_checksums = SettingValue::Bool(control.data_checksum_version != 0);
        settings.resolve("data_checksums", has_checksums);
        resolve_wal_settings(&mut settings, &control);
        check_relation_maps(storage.as_ref(), &data_dir, &mut io)?;
        let wal_config = wal_config(&settings, &control, &data_dir)?;
        let found = recovery::check(&storage, &data_dir, &wal_config, &control, &mut io)?;
        let smgr = Smgr::new(
            Arc::clone(&storage),
            &aio,
            data_dir.clone(),
            SmgrConfig {
                max_open_files: usize_setting(&settings, "max_files_per_process"),
                direct: settings.has_io_direct("data"),
            },
        );
        let pool = BufferPool::new(
            pool_config(&settings, &control),
            Arc::clone(&aio),
            Arc::clone(&smgr),
        )?;
        let base = Base {
            clock: &clock,
            storage: &storage,
            data_dir: &data_dir,
            settings: &settings,
            pool: &pool,
            control_store: &control_store,
        };
        let durability = base.go_on(wal_config, found, &mut control, &mut io)?;
        let Durability {
            transactions,
            wal,
            next_oid,
            is_recovered,
        } = durability;
        if let Some(rmgrs) = check_resource_managers(settings.text("wal_consistency_checking")) {
            pool.set_wal_consistency_checking(&rmgrs);
        }
        pool.start_logging(Arc::clone(&wal));
        let catalog = Catalog::new(&pool, &transactions, DATABASE_OID);
        let max_connections = usize_setting(&settings, "max_connections");
        clear_temporary_files(storage.as_ref(), &data_dir)?;
        let system_identifier = control.system_identifier;
        let sessions = Arc::new(Sessions::new(max_connections));
        let durable = Arc::new(DurableState::new(DurableParts {
            clock: Arc::clone(&clock),
            pool: Arc::clone(&pool),
            wal,
            transactions: Arc::clone(&transactions),
            sessions: Arc::clone(&sessions),
            oids: OidGenerator::new(next_oid),
            control_store,
            control,
        }));
        let checkpoint_requests = Arc::new(CheckpointRequests::default());
        let checkpointer_counters = Arc::new(CheckpointerCounters::default());
        let checkpoint_config = checkpoint_config(&settings, durable.wal.config());
        let mut checkpointer = Checkpointer::new(
            Arc::clone(&durable),
            checkpoint_config,
            Arc::clone(&checkpoint_requests),
            Arc::clone(&checkpointer_counters),
        );
        if is_recovered {
            let ticket = checkpoint_requests.request(CheckpointCause::END_OF_RECOVERY);
            let result = loop {
                checkpointer.step(&mut io, clock.monotonic());
                if let Some(result) = checkpoint_requests.result(ticket) {
                    break result;
                }
            };
            result?;
        }
        go_into_production(&durable, &settings, &mut io)?;
        drop(io);
        let checkpointer = Arc::new(Mutex::new(checkpointer));
        let wal_writing = Arc::new(Mutex::new(WalWriting::new(
            Arc::clone(&durable),
            Arc::clone(&checkpoint_requests),
            checkpoint_config.wal_distance_bytes,
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
                    (
                        Arc::clone(&wal_writing),
                        Arc::clone(&durable.wal),
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
            configuration,
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
            wal_writing,
            background: Mutex::new(background),
            insert_targets: InsertTargets::new(partitions()),
            failed_tails: FailedTails::default(),
            lock_file,
        }))
    }
}

impl Base<'_> {
    /// The log where it ends, and the transactions; after recovery, if the cluster was not stopped
    /// cleanly.
    fn go_on(
        &self,
        config: WalConfig,
        (check_point, end): (CheckPoint, Lsn),
        control: &mut ControlFile,
        io: &mut IoContext,
    ) -> Result<Durability, EngineError> {
        let pg_xact = SlruConfig {
            directory: self.data_dir.join(XACT_DIRECTORY),
            buffers: PG_XACT_BUFFERS,
            direct: self.settings.has_io_direct("data"),
        };
        let locks = Arc::new(LockManager::new(
            Arc::clone(self.clock),
            milliseconds(self.settings, "deadlock_timeout"),
        ));
        let limits = XidLimits {
            oldest_xid: FullXid(u64::from(control.check_point_copy.oldest_xid.0)),
            oldest_database: DATABASE_OID,
            oldest_database_name: Some("postgres".to_owned()),
        };
        if control.state == ClusterState::ShutDown {
            recovery::log_state(control);
            let position = WalPosition {
                insert_at: end,
                prev: control.check_point,
                redo: check_point.redo,
            };
            let wal = self.start_wal(config, position, io)?;
            let transactions = TransactionManager::start(
                TxnConfig {
                    next_xid: FullXid(check_point.next_full_xid),
                    limits,
                    pg_xact,
                },
                io.aio(),
                Arc::clone(self.storage),
                locks,
                Some(Arc::clone(&wal)),
            )?;
            return Ok(Durability {
                transactions,
                wal,
                next_oid: check_point.next_oid,
                is_recovered: false,
            });
        }
        let parts = RecoveryParts {
            clock: self.clock,
            storage: self.storage,
            data_dir: self.data_dir,
            pool: self.pool,
            wal_config: &config,
            pg_xact,
            control_store: self.control_store,
            read_ahead_bytes: usize_setting(self.settings, "wal_decode_buffer_size"),
            blocks_ahead: match self.settings.text("recovery_prefetch") {
                "off" => 0,
                _ => usize_setting(self.settings, "maintenance_io_concurrency"),
            },
            progress_interval: milliseconds(self.settings, "log_startup_progress_interval"),
        };
        let recovered = recovery::recover(&parts, &check_point, control, io)?;
        let wal = self.start_wal(config, recovered.position, io)?;
        let transactions = TransactionManager::start_after_redo(
            recovered.transactions,
            limits,
            locks,
            Some(Arc::clone(&wal)),
        )?;
        Ok(Durability {
            transactions,
            wal,
            next_oid: recovered.next_oid,
            is_recovered: true,
        })
    }

    fn start_wal(
        &self,
        config: WalConfig,
        position: WalPosition,
        io: &mut IoContext,
    ) -> Result<Arc<Wal>, EngineError> {
        let (storage, clock) = (Arc::clone(self.storage), Arc::clone(self.clock));
        Ok(Arc::new(Wal::start(io, storage, clock, config, position)?))
    }
}

/// From here on what is not in the log is lost in a crash. Settings that a standby must follow, and
/// those of the log, are told in the log if they are not what they were.
fn go_into_production(
    durable: &DurableState,
    settings: &ServerSettings,
    io: &mut IoContext,
) -> Result<(), EngineError> {
    let stopped = durable.control_copy();
    let produced = durable.write_control(io, |control| {
        control.state = ClusterState::InProduction;
    });
    if let Err(error) = produced {
        // It may be in place all the same, with nothing changed that would justify it.
        if let Err(error) = durable.write_control(io, |control| *control = stopped) {
            tracing::warn!("{error}");
        }
        return Err(error);
    }
    let wal = &durable.wal;
    let full_page_writes = settings.switch("full_page_writes");
    if full_page_writes != stopped.check_point_copy.full_page_writes {
        engine_records::full_page_writes(wal, io, full_page_writes)?;
    }
    let max_connections = u32::try_from(settings.integer("max_connections")).unwrap_or(100);
    if max_connections != stopped.max_connections {
        let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        let change = ParameterChange {
            max_connections: number(max_connections),
            max_worker_processes: number(stopped.max_worker_processes),
            max_wal_senders: number(stopped.max_wal_senders),
            max_prepared_xacts: number(stopped.max_prepared_xacts),
            max_locks_per_xact: number(stopped.max_locks_per_xact),
            wal_level: stopped.wal_level as i32,
            wal_log_hints: stopped.wal_log_hints,
            track_commit_timestamp: stopped.track_commit_timestamp,
        };
        let record = engine_records::parameter_change(wal, io, change)?;
        engine_records::flush(wal, io, record)?;
        durable.write_control(io, |control| control.max_connections = max_connections)?;
    }
    Ok(())
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
    let of_path = |path: &Path| SettingValue::Text(path.display().to_string());
    settings.state("data_directory", of_path(data_dir));
    settings.state("config_file", of_path(&data_dir.join("postgresql.conf")));
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
        io_max_workers: workers,
        ..defaults
    })
}

fn bytes_of_blocks(blocks: i64) -> u32 {
    u32::try_from(blocks).map_or(u32::MAX, |blocks| blocks.saturating_mul(BLCKSZ as u32))
}

fn milliseconds(settings: &ServerSettings, name: &str) -> Duration {
    Duration::from_millis(settings.integer(name).unsigned_abs())
}

fn checkpoint_config(settings: &ServerSettings, wal_config: &WalConfig) -> CheckpointConfig {
    CheckpointConfig {
        timeout: Duration::from_secs(settings.integer("checkpoint_timeout").unsigned_abs()),
        completion_target: settings.real("checkpoint_completion_target"),
        io_concurrency: usize_setting(settings, "checkpoint_io_concurrency"),
        wal_distance_bytes: checkpoint_distance_bytes(wal_config),
        warning: Duration::from_secs(settings.integer("checkpoint_warning").unsigned_abs()),
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
pub(crate) fn clear_temporary_files(
    storage: &dyn Storage,
    data_dir: &Path,
) -> Result<(), EngineError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Few are kept, however many there may be, and never more than were asked for.
    #[test]
    fn io_workers_is_the_most_that_there_are() {
        for (io_workers, kept) in [(1, 1), (2, 2), (3, 2), (32, 2)] {
            let mut settings = ServerSettings::default();
            settings.set("io_workers", &io_workers.to_string()).unwrap();
            let config = aio_config(&settings).unwrap();
            assert_eq!(
                (config.io_min_workers, config.io_max_workers),
                (kept, io_workers)
            );
        }
    }
}
