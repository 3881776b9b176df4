//! Opening and closing.

use std::path::Path;
use std::sync::Arc;

use trunkline_engine::OpenOptions;
use trunkline_sql::error::SqlError;
use trunkline_sql::{SqlDatabase, SqlSession, StartupParameters};

use super::Session;

/// How to open a data directory.
#[derive(Clone, Debug)]
pub struct Settings(OpenOptions);

impl Default for Settings {
    fn default() -> Settings {
        Settings::new()
    }
}

impl Settings {
    /// Those of the directory's `postgresql.conf`. A directory that is missing or empty is made a
    /// data directory.
    pub fn new() -> Settings {
        Settings(OpenOptions {
            overrides: Vec::new(),
            initialise: true,
        })
    }

    /// One of PostgreSQL's settings, over `postgresql.conf`, as `serve -c name=value`. A wrong one
    /// is told by [`Database::open`].
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Settings {
        self.0.overrides.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Fails where there is no data directory, rather than making one.
    #[must_use]
    pub fn existing_only(mut self) -> Settings {
        self.0.initialise = false;
        self
    }
}

/// A running database system. One process at a time has a data directory open, once.
#[derive(Debug)]
pub struct Database {
    sql: Arc<SqlDatabase>,
    /// Has a holder more for each session.
    sessions: Arc<()>,
}

impl Database {
    /// Opens the data directory `path`, after a crash by recovering it. Blocks while it does.
    ///
    /// # Errors
    /// The path is no data directory, is in use, or cannot be recovered; 22023 or 42704 for a bad
    /// setting.
    pub fn open(path: impl AsRef<Path>, settings: Settings) -> Result<Database, SqlError> {
        let engine = trunkline_engine::Database::open(path.as_ref(), &settings.0)?;
        Ok(Database {
            sql: SqlDatabase::new(engine)?,
            sessions: Arc::default(),
        })
    }

    /// A new session, independent of all others, to be used from any task or thread.
    ///
    /// # Errors
    /// 53300 beyond `max_connections`, 57P03 once it is closed.
    pub fn session(&self) -> Result<Session, SqlError> {
        let session = SqlSession::new(&self.sql, &StartupParameters::default())?;
        Ok(Session::new(session, Arc::clone(&self.sessions)))
    }

    /// What is below: to serve it (`Server::new`), to look at statistics.
    pub fn sql_database(&self) -> &Arc<SqlDatabase> {
        &self.sql
    }

    /// Stops cleanly, with a checkpoint, so that the next start has nothing to recover. Blocks while
    /// it does. What was committed is safe without it: dropping a database leaves what a crash
    /// would.
    ///
    /// # Errors
    /// 55006 while there are sessions; something cannot be written.
    pub fn close(&self) -> Result<(), SqlError> {
        let open = Arc::strong_count(&self.sessions) - 1;
        if open > 0 {
            return Err(SqlError::new(
                "55006",
                "the database cannot be closed while sessions are open",
            )
            .with_detail(format!("There are {open} of them."))
            .with_hint("Drop them first."));
        }
        Ok(self.sql.database().stop()?)
    }
}
