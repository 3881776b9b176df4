//! What all sessions of a database system share: the executor that DataFusion runs on, memory for
//! queries, and what the monitoring views show of sessions.

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;
use trunkline_engine::{Database, STACK_BYTES, partitions, usable_memory_bytes};
use trunkline_pgformat::BLCKSZ;

use crate::error::SqlError;
use crate::io_watch::IoWatch;
use crate::query::{QueryContext, QueryRuntime, QuerySettings, RuntimeLimits};
use crate::views::{Activities, CopyProgresses};

/// Rows of a batch.
const BATCH_ROWS: usize = 8192;

/// Least memory for all queries together.
const QUERY_MEMORY_MIN_BYTES: u64 = 64 << 20;

/// Query contexts that are kept, one for each pair of `work_mem` and parallelism in use.
const CONTEXTS_MAX: usize = 16;

/// A database system as SQL sees it; shared by all sessions.
pub struct SqlDatabase {
    database: Arc<Database>,
    /// Runs DataFusion. None only while this is dropped.
    executor: Option<Runtime>,
    query_runtime: QueryRuntime,
    contexts: Mutex<Vec<(QuerySettings, QueryContext)>>,
    pub(crate) activities: Activities,
    pub(crate) copies: CopyProgresses,
}

impl std::fmt::Debug for SqlDatabase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqlDatabase").finish_non_exhaustive()
    }
}

impl SqlDatabase {
    /// SQL over `database`. Queries may use half of the memory that the buffer pool leaves.
    ///
    /// # Errors
    /// The executor's threads cannot be started, or the directory for spilled rows not be used.
    pub fn new(database: Arc<Database>) -> Result<Arc<SqlDatabase>, SqlError> {
        let executor = start_runtime("trunkline-query", partitions())?;
        let settings = database.settings();
        let pool_bytes = settings.integer("shared_buffers").unsigned_abs() * BLCKSZ as u64;
        let rest_bytes = usable_memory_bytes().saturating_sub(pool_bytes);
        let memory_bytes = (rest_bytes / 2).max(QUERY_MEMORY_MIN_BYTES);
        let query_runtime = QueryRuntime::new(RuntimeLimits {
            memory_limit_bytes: usize::try_from(memory_bytes).unwrap_or(usize::MAX),
            spill_directory: Some(database.data_dir().join("base/pgsql_tmp")),
            // Sessions with a temp_file_limit have room of their own.
            spill_limit_bytes: u64::MAX,
        })?;
        Ok(Arc::new(SqlDatabase {
            database,
            executor: Some(executor),
            query_runtime,
            contexts: Mutex::default(),
            activities: Activities::default(),
            copies: CopyProgresses::default(),
        }))
    }

    /// The database system.
    pub fn database(&self) -> &Arc<Database> {
        &self.database
    }

    /// Memory that running queries hold at the moment, in bytes.
    pub fn query_memory_in_use_bytes(&self) -> usize {
        self.query_runtime.memory_in_use_bytes()
    }

    /// Has the runtime that this is called on notice the completions of I/O that tasks of its own
    /// await, commits above all, as long as what is returned lives. Without it a thread does, and hands
    /// over to the runtime.
    ///
    /// # Errors
    /// The runtime cannot watch the descriptors.
    pub fn watch_io(&self) -> io::Result<IoWatch> {
        IoWatch::start(self.database.aio())
    }

    fn executor(&self) -> &Handle {
        match &self.executor {
            Some(executor) => executor.handle(),
            None => unreachable!("the executor lives as long as what it belongs to"),
        }
    }

    /// Runs a future to its end on this thread, an engine thread; what it spawns runs on the
    /// executor.
    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.executor().block_on(future)
    }

    /// Runs a future on the executor.
    pub(crate) fn spawn<F>(&self, future: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.executor().spawn(future)
    }

    /// What queries run with.
    pub(crate) fn query_runtime(&self) -> &QueryRuntime {
        &self.query_runtime
    }

    /// The settings of queries that may use `work_mem_kb` an operator, and run in so many
    /// partitions.
    pub(crate) fn query_settings(work_mem_kb: i64, target_partitions: usize) -> QuerySettings {
        let work_mem_kb = usize::try_from(work_mem_kb).unwrap_or(64);
        QuerySettings {
            target_partitions,
            batch_rows: BATCH_ROWS,
            work_mem_bytes: work_mem_kb.saturating_mul(1024),
        }
    }

    /// The context for queries of sessions without a `temp_file_limit`.
    pub(crate) fn query_context(&self, settings: QuerySettings) -> QueryContext {
        let mut contexts = self.contexts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, context)) = contexts.iter().find(|(known, _)| *known == settings) {
            return context.clone();
        }
        let context = QueryContext::new(&self.query_runtime, settings);
        if contexts.len() == CONTEXTS_MAX {
            contexts.remove(0);
        }
        contexts.push((settings, context.clone()));
        context
    }
}

fn start_runtime(thread_name: &str, threads: usize) -> Result<Runtime, SqlError> {
    Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name(thread_name)
        .thread_stack_size(STACK_BYTES)
        .enable_time()
        .build()
        .map_err(|error| {
            SqlError::new(
                "53000",
                format!("could not start the query executor: {error}"),
            )
        })
}

impl Drop for SqlDatabase {
    fn drop(&mut self) {
        // This may be async code, where waiting for the executor's threads is not allowed.
        if let Some(executor) = self.executor.take() {
            executor.shutdown_background();
        }
    }
}
