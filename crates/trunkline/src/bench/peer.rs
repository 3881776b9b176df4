//! The PostgreSQL to measure beside.

use std::io::Read;
use std::path::PathBuf;

use futures::SinkExt;
use tokio_postgres::{Client, NoTls};

use super::sample::{Sample, Stopwatch};
use super::source::{COLUMNS, Source};
use crate::program_error::ProgramError;

/// Settings of the peer that explain its figures.
const SETTINGS: &[&str] = &[
    "shared_buffers",
    "io_method",
    "effective_io_concurrency",
    "io_combine_limit",
    "debug_io_direct",
    "data_checksums",
    "wal_level",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_buffers",
    "max_wal_size",
    "huge_pages",
];

/// A connection to the peer.
pub struct Connection {
    client: Client,
    /// "PostgreSQL 18.x".
    pub name: String,
    /// Its settings, for the heading.
    pub settings: String,
}

fn failed(error: &tokio_postgres::Error) -> ProgramError {
    match error.as_db_error() {
        Some(error) => ProgramError::new(format!("the peer: {}", error.message())),
        None => ProgramError::new(format!("the peer: {error}")),
    }
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// One line.
    pub async fn open(conninfo: &str) -> Result<Connection, ProgramError> {
        let (client, connection) = tokio_postgres::connect(conninfo, NoTls)
            .await
            .map_err(|error| failed(&error))?;
        tokio::spawn(async move {
            // A broken connection shows at the next statement.
            let _ = connection.await;
        });
        let mut peer = Connection {
            client,
            name: String::new(),
            settings: String::new(),
        };
        peer.name = format!("PostgreSQL {}", peer.text("SHOW server_version").await?);
        let mut settings = Vec::new();
        for name in SETTINGS {
            let shown = peer
                .text(&format!("SELECT current_setting('{name}', true)"))
                .await?;
            if !shown.is_empty() {
                settings.push(format!("{name} {shown}"));
            }
        }
        peer.settings = settings.join(", ");
        Ok(peer)
    }

    /// Runs statements.
    ///
    /// # Errors
    /// The peer's, as one line.
    pub async fn run(&self, sql: &str) -> Result<(), ProgramError> {
        self.client
            .batch_execute(sql)
            .await
            .map_err(|error| failed(&error))
    }

    /// The first value of the first row, as text.
    ///
    /// # Errors
    /// The peer's, as one line.
    pub async fn text(&self, sql: &str) -> Result<String, ProgramError> {
        let messages = self
            .client
            .simple_query(sql)
            .await
            .map_err(|error| failed(&error))?;
        Ok(messages
            .iter()
            .find_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            })
            .unwrap_or_default())
    }

    /// Makes a table anew.
    ///
    /// # Errors
    /// The peer's, as one line.
    pub async fn empty_table(&self, table: &str, columns: &str) -> Result<(), ProgramError> {
        self.drop_table(table).await?;
        self.run(&format!("CREATE TABLE {table} {columns}")).await
    }

    /// Removes a table.
    ///
    /// # Errors
    /// The peer's, as one line.
    pub async fn drop_table(&self, table: &str) -> Result<(), ProgramError> {
        self.run(&format!("DROP TABLE IF EXISTS {table}")).await
    }
}

/// The peer with a table of its own, and the file that is loaded into it.
pub struct Peer {
    connection: Connection,
    /// The source file's copy, and how the peer's server calls it.
    file: Option<(PathBuf, String)>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some((path, _)) = &self.file {
            // Left behind, it takes space but does no harm.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Peer {
    /// Connects, and makes an empty table. `files` is a directory that the peer's server can read,
    /// with `=` and the server's name for it if it has another.
    ///
    /// # Errors
    /// One line.
    pub async fn connect(
        conninfo: &str,
        files: Option<&str>,
        source: &Source,
    ) -> Result<Peer, ProgramError> {
        let connection = Connection::open(conninfo).await?;
        let file = match files {
            None => None,
            Some(files) => {
                let (directory, seen_as) = files.split_once('=').unwrap_or((files, files));
                let name = "trunkline-bench.bin";
                let path = PathBuf::from(directory).join(name);
                std::fs::copy(&source.path, &path)
                    .map_err(|error| ProgramError::new(format!("{}: {error}", path.display())))?;
                Some((path, format!("{seen_as}/{name}")))
            }
        };
        let peer = Peer { connection, file };
        // One client, one core.
        peer.connection
            .run("SET max_parallel_workers_per_gather = 0")
            .await?;
        peer.empty_table().await?;
        Ok(peer)
    }

    /// "PostgreSQL 18.x", and its settings.
    pub fn heading(&self) -> String {
        format!("{}, {}", self.connection.name, self.connection.settings)
    }

    /// "PostgreSQL 18.x".
    pub fn name(&self) -> &str {
        &self.connection.name
    }

    /// Makes the table anew.
    ///
    /// # Errors
    /// The peer's, as one line.
    pub async fn empty_table(&self) -> Result<(), ProgramError> {
        self.connection
            .empty_table("trunkline_bench", COLUMNS)
            .await
    }

    /// Removes the table.
    ///
    /// # Errors
    /// The peer's, as one line.
    pub async fn drop_table(&self) -> Result<(), ProgramError> {
        self.connection.drop_table("trunkline_bench").await
    }

    /// Loads the source file by COPY.
    ///
    /// # Errors
    /// The peer's, as one line.
    pub async fn copy(&self, source: &Source) -> Result<Sample, ProgramError> {
        let watch = Stopwatch::start();
        match &self.file {
            Some((_, seen_as)) => {
                self.connection
                    .run(&format!(
                        "COPY trunkline_bench FROM '{seen_as}' (FORMAT binary)"
                    ))
                    .await?;
            }
            None => self.copy_from_stdin(source).await?,
        }
        Ok(watch.stop())
    }

    async fn copy_from_stdin(&self, source: &Source) -> Result<(), ProgramError> {
        let sink = self
            .connection
            .client
            .copy_in("COPY trunkline_bench FROM STDIN (FORMAT binary)")
            .await
            .map_err(|error| failed(&error))?;
        let mut sink = std::pin::pin!(sink);
        let unreadable = |error: std::io::Error| {
            ProgramError::new(format!("{}: {error}", source.path.display()))
        };
        let mut file = std::fs::File::open(&source.path).map_err(unreadable)?;
        loop {
            let mut chunk = vec![0; 256 << 10];
            let read = tokio::task::block_in_place(|| file.read(&mut chunk)).map_err(unreadable)?;
            if read == 0 {
                break;
            }
            chunk.truncate(read);
            sink.send(bytes::Bytes::from(chunk))
                .await
                .map_err(|error| failed(&error))?;
        }
        sink.finish().await.map_err(|error| failed(&error))?;
        Ok(())
    }

    /// Whether its COPY reads a file, as ours does.
    pub fn reads_file(&self) -> bool {
        self.file.is_some()
    }

    /// Counts the table's rows.
    ///
    /// # Errors
    /// The peer's, as one line.
    pub async fn count(&self) -> Result<Sample, ProgramError> {
        let watch = Stopwatch::start();
        self.connection
            .text("SELECT count(*) FROM trunkline_bench")
            .await?;
        Ok(watch.stop())
    }

    /// Reads the table into the peer's cache, as far as that is possible.
    ///
    /// # Errors
    /// The peer's, as one line.
    pub async fn prewarm(&self) -> Result<(), ProgramError> {
        self.connection
            .run("CREATE EXTENSION IF NOT EXISTS pg_prewarm")
            .await?;
        self.connection
            .text("SELECT pg_prewarm('trunkline_bench')")
            .await
            .map(drop)
    }

    /// Marks the rows visible to all, as the first scans and autovacuum would in time.
    ///
    /// # Errors
    /// The peer's, as one line.
    pub async fn vacuum(&self) -> Result<(), ProgramError> {
        self.connection
            .run("VACUUM (FREEZE, ANALYZE) trunkline_bench")
            .await
    }
}
