//! This engine, embedded, with a data directory of its own for the time of the benchmark.

use std::path::PathBuf;
use std::sync::Arc;

use trunkline_engine::{Database, OpenOptions};
use trunkline_sql::outcome::{Cell, Format, Outcome};
use trunkline_sql::{SqlDatabase, SqlSession, StartupParameters};

use super::Common;
use super::sample::{Sample, Stopwatch};
use super::source::{COLUMNS, Source};
use super::work_directory::WorkDirectory;
use crate::program_error::ProgramError;
use crate::setting_arguments::parse_settings;

/// The engine, its session, and the directory to remove.
pub struct Embedded {
    database: Arc<Database>,
    session: SqlSession,
    directory: WorkDirectory,
    /// The file that is loaded.
    pub source: Source,
}

fn failed(error: &dyn std::fmt::Display) -> ProgramError {
    ProgramError::new(error.to_string())
}

impl Embedded {
    /// Writes the source file, makes a data directory, opens it, and makes an empty table `t`.
    ///
    /// # Errors
    /// One line.
    pub async fn start(common: &Common) -> Result<Embedded, ProgramError> {
        let overrides = parse_settings("-c", &common.settings)?;
        let directory = WorkDirectory::make(&common.directory)?;
        let source = Source::write(&directory.join("source.bin"), common.rows)
            .map_err(|error| failed(&error))?;
        let options = OpenOptions {
            overrides,
            initialise: true,
        };
        let database = Database::open(&directory.join("data"), &options)?;
        let sql_database =
            SqlDatabase::new(Arc::clone(&database)).map_err(|error| failed(&error))?;
        let session = SqlSession::new(&sql_database, &StartupParameters::default())
            .map_err(|error| failed(&error))?;
        let mut embedded = Embedded {
            database,
            session,
            directory,
            source,
        };
        embedded.run(&format!("CREATE TABLE t {COLUMNS}")).await?;
        Ok(embedded)
    }

    /// The database system.
    pub fn database(&self) -> &Arc<Database> {
        &self.database
    }

    /// A heading: sizes, method and settings.
    pub async fn heading(&mut self) -> Result<String, ProgramError> {
        let mut shown = Vec::new();
        for name in [
            "shared_buffers",
            "io_method",
            "io_direct",
            "effective_io_concurrency",
            "io_combine_limit",
            "huge_pages",
        ] {
            shown.push(format!(
                "{name} {}",
                self.text(&format!("SHOW {name}")).await?
            ));
        }
        let direct = if self.database.smgr().is_direct() {
            "direct I/O"
        } else {
            "BUFFERED I/O (the file system cannot do direct I/O)"
        };
        Ok(format!(
            "{} rows, source file {:.0} MB, {direct}; {}",
            self.source.rows,
            self.source.bytes as f64 / 1e6,
            shown.join(", ")
        ))
    }

    /// Runs a statement; the first value of its first row as text, if it has one.
    ///
    /// # Errors
    /// The statement's, as one line.
    pub async fn text(&mut self, sql: &str) -> Result<String, ProgramError> {
        let in_statement = |error: &dyn std::fmt::Display| {
            ProgramError::new(format!("{error} (statement: {sql})"))
        };
        let prepared = self
            .session
            .prepare(sql, &[])
            .await
            .map_err(|error| in_statement(&error))?;
        let outcome = self
            .session
            .execute(&prepared, Vec::new())
            .await
            .map_err(|error| in_statement(&error))?;
        let mut first = None;
        if let Outcome::Rows(mut rows) = outcome {
            while let Some(batch) = rows.next().await {
                let batch = batch.map_err(|error| in_statement(&error))?;
                if first.is_none() && !batch.is_empty() {
                    let mut text = Vec::new();
                    let cell = batch
                        .encode(0, 0, Format::Text, &mut text)
                        .map_err(|error| in_statement(&error))?;
                    let text = String::from_utf8_lossy(&text).into_owned();
                    first = Some(if cell == Cell::Null {
                        String::new()
                    } else {
                        text
                    });
                }
            }
        }
        self.session
            .sync()
            .await
            .map_err(|error| in_statement(&error))?;
        Ok(first.unwrap_or_default())
    }

    /// Runs a statement.
    ///
    /// # Errors
    /// The statement's, as one line.
    pub async fn run(&mut self, sql: &str) -> Result<(), ProgramError> {
        self.text(sql).await.map(drop)
    }

    /// Runs a statement against the clock.
    ///
    /// # Errors
    /// The statement's, as one line.
    pub async fn timed(&mut self, sql: &str) -> Result<(Sample, String), ProgramError> {
        let watch = Stopwatch::start();
        let text = self.text(sql).await?;
        Ok((watch.stop(), text))
    }

    /// Makes the table anew and loads the source file into it; `options` go into COPY's list.
    ///
    /// # Errors
    /// The statement's, as one line.
    pub async fn load(&mut self, options: &str) -> Result<Sample, ProgramError> {
        let path = self.source.path.display().to_string().replace('\'', "''");
        self.run("BEGIN").await?;
        self.run("TRUNCATE t").await?;
        let (sample, _) = self
            .timed(&format!("COPY t FROM '{path}' (FORMAT binary{options})"))
            .await?;
        let watch = Stopwatch::start();
        self.run("COMMIT").await?;
        let commit = watch.stop();
        Ok(Sample {
            seconds: sample.seconds + commit.seconds,
            cpu_seconds: sample.cpu_seconds + commit.cpu_seconds,
        })
    }

    /// The first segment file of table `t`.
    ///
    /// # Errors
    /// The statement's, as one line.
    pub async fn table_file(&mut self) -> Result<PathBuf, ProgramError> {
        let path = self.text("SELECT pg_relation_filepath('t')").await?;
        Ok(self.database.data_dir().join(path))
    }

    /// Throws the table out of the pool.
    ///
    /// # Errors
    /// The statement's, as one line.
    pub async fn evict(&mut self) -> Result<(), ProgramError> {
        self.run("SELECT pg_buffercache_evict_relation('t')").await
    }

    /// Reads table `t`, of `table_mib` MiB, again and again until every buffer of the pool has been
    /// used: memory that was never used is slow to get on virtual machines, and it is the reads
    /// that are to be measured. The table is out of the pool afterwards.
    ///
    /// # Errors
    /// The statement's, as one line.
    pub async fn use_whole_pool(&mut self, table_mib: f64) -> Result<(), ProgramError> {
        let pool_mib = self.database.pool().buffers() as f64 / 128.0;
        let rounds = (pool_mib / table_mib).ceil() as u64 + 1;
        for _ in 0..rounds {
            self.run("SELECT pg_prewarm('t', 'buffer')").await?;
            self.evict().await?;
        }
        Ok(())
    }

    /// Stops the engine and removes the directory.
    ///
    /// # Errors
    /// One line.
    pub async fn finish(self) -> Result<(), ProgramError> {
        let Embedded {
            database,
            session,
            directory,
            ..
        } = self;
        drop(session);
        tokio::task::spawn_blocking(move || database.stop())
            .await
            .map_err(|error| failed(&error))?
            .map_err(|error| failed(&error))?;
        drop(directory);
        Ok(())
    }
}
