//! The engine alone: sessions that insert a row and commit, without SQL, sockets, or a thread each.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use trunkline_engine::{Database, EngineError, LoadColumns, OpenOptions, RowInsert, Session};
use trunkline_sql::{IoWatch, SqlDatabase, SqlSession, StartupParameters};
use trunkline_txn::LockMode;
use trunkline_types::OutputStyle;

use super::{COLUMNS, TABLE};
use crate::program_error::ProgramError;
use crate::setting_arguments::parse_settings;

/// An open database with the table.
pub struct Driver {
    database: Arc<Database>,
    _io_watch: IoWatch,
}

fn failed(error: &dyn std::fmt::Display) -> ProgramError {
    ProgramError::new(format!("the engine: {error}"))
}

impl Driver {
    /// Makes a database with an empty table.
    ///
    /// # Errors
    /// One line.
    pub async fn start(data_dir: &Path, settings: &[String]) -> Result<Driver, ProgramError> {
        let options = OpenOptions {
            overrides: parse_settings("-c", settings)?,
            initialise: true,
        };
        let database = Database::open(data_dir, &options)?;
        let sql = SqlDatabase::new(Arc::clone(&database)).map_err(|error| failed(&error))?;
        let mut session =
            SqlSession::new(&sql, &StartupParameters::default()).map_err(|error| failed(&error))?;
        session
            .run(&format!("CREATE TABLE {TABLE} {COLUMNS}"))
            .await
            .map_err(|error| failed(&error))?;
        let _io_watch = sql.watch_io().map_err(|error| failed(&error))?;
        Ok(Driver {
            database,
            _io_watch,
        })
    }

    /// Has sessions commit for a while, each after the other; commits in a second.
    ///
    /// # Errors
    /// One line.
    pub async fn run(&self, sessions: u32, time: Duration) -> Result<f64, ProgramError> {
        let stop = Arc::new(AtomicBool::new(false));
        let commits = Arc::new(AtomicU64::new(0));
        let began = Instant::now();
        let mut tasks = Vec::new();
        for number in 0..sessions {
            let session = self
                .database
                .session("postgres", &[])
                .map_err(|error| failed(&error))?;
            let (stop, commits) = (Arc::clone(&stop), Arc::clone(&commits));
            tasks.push(tokio::spawn(async move {
                commit_rows(session, number, &stop, &commits).await
            }));
        }
        tokio::time::sleep(time).await;
        stop.store(true, Ordering::Relaxed);
        for task in tasks {
            let ended = task.await.map_err(|error| failed(&error))?;
            ended.map_err(|error| failed(&error))?;
        }
        Ok(commits.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64())
    }

    /// Stops it cleanly.
    ///
    /// # Errors
    /// One line.
    pub async fn stop(self) -> Result<(), ProgramError> {
        tokio::task::spawn_blocking(move || self.database.stop())
            .await
            .map_err(|error| failed(&error))?
            .map_err(|error| failed(&error))
    }
}

async fn commit_rows(
    mut session: Session,
    number: u32,
    stop: &AtomicBool,
    commits: &AtomicU64,
) -> Result<(), EngineError> {
    let wal = Arc::clone(session.database().wal());
    let text = "some forty bytes of text, as they come";
    let row: [Option<&[u8]>; 3] = [
        Some(&number.to_le_bytes()),
        Some(&4711_u64.to_le_bytes()),
        Some(text.as_bytes()),
    ];
    let mut insert = None;
    while !stop.load(Ordering::Relaxed) {
        session.begin_statement()?;
        let mut io = session.issuer()?;
        let relation = session.open_relation(None, TABLE, LockMode::RowExclusive, &mut io)?;
        let insert = insert.get_or_insert_with(|| {
            let columns = LoadColumns::all(&relation);
            RowInsert::new(relation, columns, OutputStyle::default())
        });
        insert.insert(&mut session, &mut io, &row)?;
        let Some(wait) = session.begin_sync(&mut io)? else {
            session.sync()?;
            continue;
        };
        let flushed = match wait.lsn() {
            Some(lsn) => wal.flush_async(io, lsn).await,
            None => Ok(()),
        };
        session.finish_sync(flushed)?;
        commits.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
