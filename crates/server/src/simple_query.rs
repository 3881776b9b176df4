//! The simple query protocol: a string of statements, one implicit transaction
//! (`exec_simple_query` in PostgreSQL's `tcop/postgres.c`).

use trunkline_sql::error::SqlError;
use trunkline_sql::outcome::{Format, Outcome};

use crate::connection::Connection;
use crate::error::Failure;
use crate::portal::RunningRows;
use crate::session::{Session, Statement};

impl<S: Session> Connection<S> {
    /// Runs the statements of `query` up to the first that fails, sending each result as it comes.
    pub(crate) async fn simple_query(&mut self, query: &str) -> Result<(), Failure> {
        self.unnamed = None;
        self.portals.remove("");
        let statements = self.session.split(query)?;
        let Some(last) = statements.len().checked_sub(1) else {
            self.sync().await?;
            return self.wire.put_empty_query();
        };
        self.session.begin_query_string(statements.len());
        for (index, range) in statements.into_iter().enumerate() {
            let start = range.start;
            let sql = query
                .get(range)
                .ok_or_else(|| SqlError::internal("a statement lies outside its query string"))?;
            self.simple_statement(sql, index == last)
                .await
                .map_err(|failure| match failure {
                    Failure::Statement(error) => Failure::Statement(moved(error, &query[..start])),
                    other => other,
                })?;
        }
        Ok(())
    }

    async fn simple_statement(&mut self, sql: &str, is_last: bool) -> Result<(), Failure> {
        let statement = self.session_prepare(sql, &[]).await?;
        if !statement.param_types().is_empty() {
            return Err(SqlError::new("42P02", "there is no parameter $1").into());
        }
        let tag = match self.session_execute(&statement, Vec::new()).await? {
            Outcome::Rows(stream) => {
                let formats = vec![Format::Text; statement.fields().len()];
                self.wire
                    .put_row_description(statement.fields(), &formats)?;
                let mut rows = RunningRows::new(stream);
                let sent = self.send_rows(&mut rows, &formats, None).await?;
                Some(rows.tag().text(sent.count))
            }
            Outcome::Command { tag } => Some(tag),
            Outcome::CopyIn(copy) => Some(self.copy_in(copy).await?),
            Outcome::CopyOut(copy) => Some(self.copy_out(copy).await?),
            Outcome::Empty => None,
        };
        if is_last {
            // It may fail: the client must not have been told of success.
            self.sync().await?;
        }
        self.report_notices()?;
        match tag {
            Some(tag) => self.wire.put_command_complete(&tag),
            None => self.wire.put_empty_query(),
        }
    }
}

/// An error whose position counts from the start of the query string, `before` the statement.
fn moved(mut error: SqlError, before: &str) -> SqlError {
    if let Some(position) = &mut error.position {
        *position += before.chars().count();
    }
    error
}
