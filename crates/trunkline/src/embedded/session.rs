//! Statements and transactions.

use std::sync::Arc;

use trunkline_sql::SqlSession;
use trunkline_sql::arrow_form::ArrowForm;
use trunkline_sql::error::SqlError;
use trunkline_sql::outcome::{Notice, Outcome, Param};

use super::{Load, Rows};

/// What the last call left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Nothing,
    /// Rows of which not all were read.
    Rows,
    /// A load that was not finished, or a call that was not awaited to its end: to be undone.
    Unfinished,
}

/// A session. Outside of BEGIN and COMMIT each call commits what it did, or undoes all of it.
/// The next call undoes one whose future was dropped before its end, unless its commit had begun, which
/// then goes on by itself; it waits for what that one was at. Dropping a session rolls back what is open.
#[derive(Debug)]
pub struct Session {
    session: SqlSession,
    left: Left,
    _count: Arc<()>,
}

impl Session {
    pub(super) fn new(session: SqlSession, count: Arc<()>) -> Session {
        Session {
            session,
            left: Left::Nothing,
            _count: count,
        }
    }

    /// Runs statements, separated by semicolons, in one transaction unless they say otherwise; their
    /// command tags (`CREATE TABLE`, `INSERT 0 3`). Rows are counted and not kept.
    ///
    /// # Errors
    /// The first statement's that fails.
    pub async fn execute(&mut self, sql: &str) -> Result<Vec<String>, SqlError> {
        self.settle().await?;
        self.left = Left::Unfinished;
        let result = self.session.run(sql).await;
        self.left = Left::Nothing;
        result
    }

    /// Runs one statement; its rows come in Arrow's types, as they are read.
    ///
    /// # Errors
    /// The statement's.
    pub async fn query(&mut self, sql: &str) -> Result<Rows<'_>, SqlError> {
        self.query_with(sql, Vec::new()).await
    }

    /// The same for a statement with `$1`, `$2`, ...; also for one that gives no rows. The types of
    /// parameters are those that the statement asks for.
    ///
    /// # Errors
    /// The statement's; 08P01 if there are more or fewer parameters than it has.
    pub async fn query_with(
        &mut self,
        sql: &str,
        params: Vec<Param>,
    ) -> Result<Rows<'_>, SqlError> {
        self.settle().await?;
        self.left = Left::Unfinished;
        let prepared = self.session.prepare(sql, &[]).await?;
        let wanted = prepared.param_types().len();
        if wanted != params.len() {
            return Err(SqlError::new(
                "08P01",
                format!(
                    "{} parameters were given, but the statement requires {wanted}",
                    params.len()
                ),
            ));
        }
        let form = ArrowForm::new(prepared.fields());
        match self.session.execute(&prepared, params).await? {
            Outcome::Rows(rows) => {
                self.left = Left::Rows;
                Ok(Rows::new(self, form, Some(rows), String::new()))
            }
            Outcome::Command { tag } => {
                self.finish().await?;
                Ok(Rows::new(self, form, None, tag))
            }
            Outcome::Empty => {
                self.finish().await?;
                Ok(Rows::new(self, form, None, String::new()))
            }
            Outcome::CopyIn(_) | Outcome::CopyOut(_) => Err(SqlError::not_supported(
                "COPY with the client gives no rows",
            )),
        }
    }

    /// Begins a load: `sql` is `COPY table FROM STDIN` with its options.
    ///
    /// # Errors
    /// The statement's; 42601 for any other.
    pub async fn copy_in(&mut self, sql: &str) -> Result<Load<'_>, SqlError> {
        self.settle().await?;
        self.left = Left::Unfinished;
        let prepared = self.session.prepare(sql, &[]).await?;
        match self.session.execute(&prepared, Vec::new()).await? {
            Outcome::CopyIn(copy) => Ok(Load::new(self, copy)),
            _ => Err(SqlError::new(
                "42601",
                "the statement is not COPY ... FROM STDIN",
            )),
        }
    }

    /// Notices and warnings since the last call, oldest first.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        self.session.take_notices()
    }

    /// The session below, which leaves preparing, committing and streams to its user.
    ///
    /// # Errors
    /// What the last call left open could not be ended.
    pub async fn sql_session(&mut self) -> Result<&mut SqlSession, SqlError> {
        self.settle().await?;
        Ok(&mut self.session)
    }

    /// Ends what the last call left open. May be left itself, and is called again then.
    async fn settle(&mut self) -> Result<(), SqlError> {
        match self.left {
            Left::Nothing => Ok(()),
            Left::Rows => self.finish().await,
            Left::Unfinished => {
                self.undo().await;
                Ok(())
            }
        }
    }

    /// Commits, outside of a transaction block.
    pub(super) async fn finish(&mut self) -> Result<(), SqlError> {
        self.left = Left::Unfinished;
        let result = self.session.sync().await;
        self.left = Left::Nothing;
        result
    }

    /// Undoes, all of the transaction block if there is one.
    pub(super) async fn undo(&mut self) {
        self.left = Left::Unfinished;
        self.session.abort().await;
        self.left = Left::Nothing;
    }
}
