//! SELECT and EXPLAIN.

use std::sync::Arc;
use std::time::Instant;

use super::rows::{Execution, row_stream};
use super::settings::text_rows;
use super::{Backend, Prepared};
use crate::error::SqlError;
use crate::outcome::{Outcome, RowTag};
use crate::query::sqlparser::ast::Query;
use crate::query::{ParameterValues, QueryError};
use crate::relations::lock_session;
use crate::statement::{Explain, Statement};

impl Backend {
    pub(super) fn select(
        &mut self,
        prepared: &Prepared,
        query: &Query,
        values: &ParameterValues,
    ) -> Result<Outcome, SqlError> {
        let styles = self.styles();
        let planner = self.planner(&styles)?;
        // Once it runs, it may be using the session itself.
        let warnings = Arc::clone(lock_session(&self.engine).statement_warnings());
        let cancel = self.cancel();
        let stream = self
            .shared
            .block_on(planner.run(prepared.text(), query, values))?;
        prepared.check_fields(stream.fields())?;
        let open = self.scans.open_result(stream.relations());
        let style = styles.output.clone();
        let execution = Execution {
            stream,
            _executing: self.scans.execute(),
        };
        let rows = row_stream(&self.shared, execution, style, cancel, warnings, open)?;
        Ok(Outcome::Rows(rows))
    }

    pub(super) fn explain(
        &mut self,
        sql: &str,
        explain: &Explain,
        values: &ParameterValues,
    ) -> Result<Outcome, SqlError> {
        let began = Instant::now();
        let mut lines = self.explain_plan(sql, &explain.statement, values)?;
        let planned = began.elapsed();
        if explain.analyze {
            let began = Instant::now();
            let rows = match &explain.statement {
                Statement::Insert(insert) => self.insert(sql, insert, values, None)?,
                Statement::Query(query) => self.run_to_end(sql, query, values)?,
                _ => return Err(SqlError::internal("EXPLAIN of another statement")),
            };
            lines.push(format!("Rows: {rows}"));
            lines.push(format!(
                "Planning Time: {:.3} ms",
                planned.as_secs_f64() * 1e3
            ));
            let elapsed = began.elapsed();
            lines.push(format!(
                "Execution Time: {:.3} ms",
                elapsed.as_secs_f64() * 1e3
            ));
        }
        let rows: Vec<Vec<String>> = lines.into_iter().map(|line| vec![line]).collect();
        text_rows(&rows, 1, RowTag::Plain("EXPLAIN"))
    }

    fn explain_plan(
        &mut self,
        sql: &str,
        statement: &Statement,
        values: &ParameterValues,
    ) -> Result<Vec<String>, SqlError> {
        let styles = self.styles();
        let planner = self.planner(&styles)?;
        let explain = |query: &Query| -> Result<Vec<String>, QueryError> {
            self.shared.block_on(planner.explain(sql, query, values))
        };
        match statement {
            Statement::Query(query) => Ok(explain(query)?),
            Statement::Insert(insert) => {
                let mut lines = vec![format!("Insert on {}", insert.table.name)];
                let source = match &insert.source {
                    Some(query) => explain(query)?,
                    None => vec!["Result".to_owned()],
                };
                lines.extend(source.into_iter().map(|line| format!("  {line}")));
                Ok(lines)
            }
            _ => Err(SqlError::internal("EXPLAIN of another statement")),
        }
    }

    /// Runs a query whose rows nobody wants; their number.
    fn run_to_end(
        &mut self,
        sql: &str,
        query: &Query,
        values: &ParameterValues,
    ) -> Result<u64, SqlError> {
        let styles = self.styles();
        let planner = self.planner(&styles)?;
        let mut stream = self.shared.block_on(planner.run(sql, query, values))?;
        let cancel = self.cancel();
        let mut rows = 0;
        while let Some(batch) = self.next_batch(&mut stream, &cancel)? {
            rows += batch.rows() as u64;
        }
        Ok(rows)
    }
}
