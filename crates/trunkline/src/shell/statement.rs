//! Runs a query string, and shows what each of its statements gives.

use std::io::{self, BufWriter, Write};
use std::time::{Duration, Instant};

use trunkline_sql::error::SqlError;
use trunkline_sql::outcome::{FieldDesc, Format, Outcome, RowStream};
use trunkline_sql::statement::{parse_statement, split_statements};

use super::aligned_table::{AlignedTable, Alignment, Column};
use super::copy_data::CopyEnds;
use super::message::{error_text, notice_text};
use super::progress::Progress;
use super::script::{Script, Shell, Stop, say};

/// Why a statement did not end well.
pub enum Failure {
    /// Its own error.
    Statement(SqlError),
    /// What is to be said instead of an error of the statement: a file's trouble.
    File(String),
    /// Nobody reads the results.
    Output(io::Error),
}

impl From<SqlError> for Failure {
    fn from(error: SqlError) -> Failure {
        Failure::Statement(error)
    }
}

impl Shell {
    /// Runs a query string: outside a transaction block its statements are one transaction.
    ///
    /// # Errors
    /// A statement failed, which was told, or the shell is to end.
    pub async fn run_query(&mut self, query: &str, script: &mut Script) -> Result<(), Stop> {
        self.run_query_with(query, script, &mut CopyEnds::script())
            .await
    }

    /// [`run_query`](Shell::run_query), with COPY data from or to somewhere else.
    ///
    /// # Errors
    /// As there.
    pub async fn run_query_with(
        &mut self,
        query: &str,
        script: &mut Script,
        copy_ends: &mut CopyEnds,
    ) -> Result<(), Stop> {
        let begun = Instant::now();
        let query = query.trim_start();
        let result = self.run_statements(query, script, copy_ends).await;
        self.tell_notices(script);
        let result = match result {
            Ok(()) => Ok(()),
            Err(failure) => {
                self.session.abort().await;
                Err(self.tell_failure(failure, query, script))
            }
        };
        if self.timing {
            say(&format!("{}\n", elapsed_text(begun.elapsed())))?;
        }
        result
    }

    fn tell_failure(&mut self, failure: Failure, query: &str, script: &Script) -> Stop {
        match failure {
            Failure::Statement(error) => {
                self.tell(script, &error_text(&error, query));
                match self.ending.requested() {
                    Some(signal) => Stop::Signal(signal),
                    None if error.is_fatal => Stop::SessionEnded,
                    None => Stop::Failed,
                }
            }
            Failure::File(message) => {
                self.tell(script, &format!("{message}\n"));
                Stop::Failed
            }
            Failure::Output(error) => Stop::Output(error),
        }
    }

    async fn run_statements(
        &mut self,
        query: &str,
        script: &mut Script,
        copy_ends: &mut CopyEnds,
    ) -> Result<(), Failure> {
        let statements = split_statements(query);
        // As in PostgreSQL, a syntax error anywhere in the string comes before any result.
        for statement in statements.iter().skip(1) {
            parse_statement(statement.text)
                .map_err(|error| in_query(error.into(), query, statement.offset))?;
        }
        self.session.begin_query_string(statements.len());
        for statement in statements {
            self.run_statement(statement.text, script, copy_ends)
                .await
                .map_err(|failure| in_query(failure, query, statement.offset))?;
        }
        self.session.sync().await?;
        Ok(())
    }

    async fn run_statement(
        &mut self,
        text: &str,
        script: &mut Script,
        copy_ends: &mut CopyEnds,
    ) -> Result<(), Failure> {
        let progress = Progress::begin(&self.database, copy_ends.total_bytes());
        let prepared = self.session.prepare(text, &[]).await?;
        let outcome = self.session.execute(&prepared, Vec::new()).await?;
        let tag = match outcome {
            Outcome::Rows(rows) => {
                let columns = prepared.fields().iter().map(column).collect();
                self.show_rows(rows, columns, &progress, script).await?
            }
            Outcome::Command { tag } => Some(tag),
            Outcome::CopyIn(copy) => Some(copy_ends.send(copy, &progress, self, script).await?),
            Outcome::CopyOut(copy) => copy_ends.receive(copy, &progress).await?,
            Outcome::Empty => None,
        };
        progress.end();
        self.tell_notices(script);
        if let Some(tag) = tag {
            writeln!(io::stdout(), "{tag}").map_err(Failure::Output)?;
        }
        Ok(())
    }

    /// Shows the rows; the tag comes back if it is to be shown.
    async fn show_rows(
        &mut self,
        mut rows: RowStream,
        columns: Vec<Column>,
        progress: &Progress,
        script: &Script,
    ) -> Result<Option<String>, Failure> {
        let column_count = columns.len();
        let mut table = AlignedTable::new(columns);
        let mut out = BufWriter::new(io::stdout());
        let mut cell = Vec::new();
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            self.tell_notices_amid(progress, script);
            for row in 0..batch.len() {
                for column in 0..column_count {
                    cell.clear();
                    batch.encode(row, column, Format::Text, &mut cell)?;
                    table.push_cell(String::from_utf8_lossy(&cell).into_owned());
                }
                table.end_row();
            }
            progress.add_rows(batch.len() as u64);
            if table.is_portion_full() {
                progress.end();
                table.print_portion(&mut out).map_err(Failure::Output)?;
            }
        }
        progress.end();
        self.tell_notices(script);
        let tag = rows.tag().text(table.rows());
        table
            .finish(&mut out)
            .and_then(|()| out.flush())
            .map_err(Failure::Output)?;
        // Of what returns rows, psql shows the tags of those statements that also change some.
        let changes_rows = ["INSERT", "UPDATE", "DELETE", "MERGE"]
            .iter()
            .any(|command| tag.starts_with(command));
        Ok(changes_rows.then_some(tag))
    }

    /// The same while rows come.
    fn tell_notices_amid(&mut self, progress: &Progress, script: &Script) {
        let notices = self.session.take_notices();
        if !notices.is_empty() {
            progress.end();
        }
        for notice in notices {
            self.tell(script, &notice_text(&notice));
        }
    }

    fn tell_notices(&mut self, script: &Script) {
        for notice in self.session.take_notices() {
            self.tell(script, &notice_text(&notice));
        }
    }
}

/// A position in a statement is one in its query.
fn in_query(failure: Failure, query: &str, offset: usize) -> Failure {
    match failure {
        Failure::Statement(mut error) => {
            let before = query[..offset].chars().count();
            error.position = error.position.map(|position| position + before);
            Failure::Statement(error)
        }
        failure => failure,
    }
}

fn column(field: &FieldDesc) -> Column {
    Column {
        name: field.name.clone(),
        alignment: Alignment::of_type(field.type_oid.0),
    }
}

/// `PrintTiming` in psql's common.c.
fn elapsed_text(elapsed: Duration) -> String {
    let milliseconds = elapsed.as_secs_f64() * 1000.0;
    if milliseconds < 1000.0 {
        return format!("Time: {milliseconds:.3} ms");
    }
    let all_seconds = milliseconds / 1000.0;
    let minutes = (all_seconds / 60.0).floor();
    let seconds = all_seconds - minutes * 60.0;
    if minutes < 60.0 {
        return format!("Time: {milliseconds:.3} ms ({minutes:02.0}:{seconds:06.3})");
    }
    let hours = (minutes / 60.0).floor();
    let minutes = minutes - hours * 60.0;
    if hours < 24.0 {
        return format!("Time: {milliseconds:.3} ms ({hours:02.0}:{minutes:02.0}:{seconds:06.3})");
    }
    let days = (hours / 24.0).floor();
    let hours = hours - days * 24.0;
    format!("Time: {milliseconds:.3} ms ({days:.0} d {hours:02.0}:{minutes:02.0}:{seconds:06.3})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_psql_does() {
        let text = |seconds: f64| elapsed_text(Duration::from_secs_f64(seconds));
        assert_eq!(text(0.0003), "Time: 0.300 ms");
        assert_eq!(text(2.5), "Time: 2500.000 ms (00:02.500)");
        assert_eq!(text(3723.25), "Time: 3723250.000 ms (01:02:03.250)");
        assert_eq!(text(90061.0), "Time: 90061000.000 ms (1 d 01:01:01.000)");
    }
}
