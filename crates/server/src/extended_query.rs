//! The extended query protocol: prepared statements and portals (`exec_parse_message` and its
//! neighbours in PostgreSQL's `tcop/postgres.c`).

use std::collections::hash_map::Entry;
use std::sync::Arc;

use trunkline_sql::error::SqlError;
use trunkline_sql::outcome::{Format, Outcome, Param};
use trunkline_types::Oid;

use crate::connection::Connection;
use crate::error::{Failure, protocol_violation};
use crate::frontend::{Bind, Target};
use crate::portal::{Portal, PortalState, RunningRows, resolve_formats};
use crate::session::{Session, Statement};

impl<S: Session> Connection<S> {
    pub(crate) async fn parse(
        &mut self,
        name: String,
        query: &str,
        param_types: &[Oid],
    ) -> Result<(), Failure> {
        let statements = self.session.split(query)?;
        let range = match statements.as_slice() {
            [] => 0..0,
            [one] => one.clone(),
            _ => {
                let message = "cannot insert multiple commands into a prepared statement";
                return Err(SqlError::new("42601", message).into());
            }
        };
        if name.is_empty() {
            self.unnamed = None;
        }
        let start = range.start;
        let sql = query
            .get(range)
            .ok_or_else(|| SqlError::internal("a statement lies outside its query string"))?;
        let statement = self
            .session_prepare(sql, param_types)
            .await
            .map_err(|failure| match failure {
                Failure::Statement(mut error) => {
                    let before = query[..start].chars().count();
                    error.position = error.position.map(|position| position + before);
                    Failure::Statement(error)
                }
                other => other,
            })?;
        if name.is_empty() {
            self.unnamed = Some(statement);
        } else {
            self.session.name_statement(&name, statement)?;
        }
        self.wire.put_parse_complete()
    }

    fn statement(&self, name: &str) -> Result<Arc<S::Statement>, SqlError> {
        let statement = if name.is_empty() {
            self.unnamed.clone()
        } else {
            self.session.named_statement(name)
        };
        statement.ok_or_else(|| no_statement(name))
    }

    pub(crate) fn bind(&mut self, bind: Bind) -> Result<(), Failure> {
        let Bind {
            portal,
            statement: name,
            param_formats,
            params,
            result_formats,
        } = bind;
        let statement = self.statement(&name)?;
        let formats = resolve_formats(&param_formats, params.len(), || {
            protocol_violation(format!(
                "bind message has {} parameter formats but {} parameters",
                param_formats.len(),
                params.len()
            ))
        })
        .map_err(|error| parameter_context(error, &portal, &param_formats))?;
        let wanted = statement.param_types().len();
        if params.len() != wanted {
            return Err(protocol_violation(format!(
                "bind message supplies {} parameters, but prepared statement \"{name}\" requires \
                 {wanted}",
                params.len()
            ))
            .into());
        }
        let columns = statement.fields().len();
        let result_formats = if columns == 0 {
            Vec::new()
        } else {
            resolve_formats(&result_formats, columns, || {
                protocol_violation(format!(
                    "bind message has {} result formats but query has {columns} columns",
                    result_formats.len()
                ))
            })?
        };
        let params = params
            .into_iter()
            .zip(formats)
            .map(|(value, format)| Param { format, value })
            .collect();
        if portal.is_empty() {
            self.portals.remove("");
        }
        match self.portals.entry(portal) {
            Entry::Vacant(entry) => {
                let state = PortalState::Bound(params);
                entry.insert(Portal {
                    statement,
                    formats: result_formats,
                    state,
                });
            }
            Entry::Occupied(entry) => {
                let message = format!("cursor \"{}\" already exists", entry.key());
                return Err(SqlError::new("42P03", message).into());
            }
        }
        self.wire.put_bind_complete()
    }

    pub(crate) fn describe(&mut self, target: Target, name: &str) -> Result<(), Failure> {
        match target {
            Target::Statement => {
                let statement = self.statement(name)?;
                self.wire
                    .put_parameter_description(statement.param_types())?;
                let fields = statement.fields();
                if fields.is_empty() {
                    return self.wire.put_no_data();
                }
                self.wire
                    .put_row_description(fields, &vec![Format::Text; fields.len()])
            }
            Target::Portal => {
                let portal = self.portals.get(name).ok_or_else(|| no_portal(name))?;
                let fields = portal.statement.fields();
                if fields.is_empty() {
                    return self.wire.put_no_data();
                }
                self.wire.put_row_description(fields, &portal.formats)
            }
        }
    }

    /// Closing what does not exist is no error.
    pub(crate) fn close(&mut self, target: Target, name: &str) -> Result<(), Failure> {
        match target {
            Target::Statement if name.is_empty() => self.unnamed = None,
            Target::Statement => self.session.forget_statement(name),
            Target::Portal => drop(self.portals.remove(name)),
        }
        self.wire.put_close_complete()
    }

    /// Runs a portal, or goes on with it. `max_rows` of 0 or less means all.
    pub(crate) async fn execute_portal(
        &mut self,
        name: String,
        max_rows: i32,
    ) -> Result<(), Failure> {
        // Out of the map while it runs; an error drops it, as it does all portals.
        let mut portal = self.portals.remove(&name).ok_or_else(|| no_portal(&name))?;
        let limit = u64::try_from(max_rows).ok().filter(|rows| *rows > 0);
        portal.state = match portal.state {
            PortalState::Bound(params) => {
                match self.session_execute(&portal.statement, params).await? {
                    Outcome::Rows(stream) => {
                        let rows = RunningRows::new(stream);
                        self.continue_rows(rows, &portal.formats, limit).await?
                    }
                    Outcome::Command { tag } => self.spent(&tag)?,
                    Outcome::CopyIn(copy) => {
                        let tag = self.copy_in(copy).await?;
                        self.spent(&tag)?
                    }
                    Outcome::CopyOut(copy) => {
                        let tag = self.copy_out(copy).await?;
                        self.spent(&tag)?
                    }
                    Outcome::Empty => self.empty()?,
                }
            }
            PortalState::Rows(rows) => self.continue_rows(rows, &portal.formats, limit).await?,
            PortalState::Exhausted(tag) => {
                self.wire.put_command_complete(&tag.text(0))?;
                PortalState::Exhausted(tag)
            }
            PortalState::Empty => self.empty()?,
            PortalState::Spent => {
                let message = format!("portal \"{name}\" cannot be run");
                return Err(SqlError::new("55000", message).into());
            }
        };
        self.portals.insert(name, portal);
        Ok(())
    }

    async fn continue_rows(
        &mut self,
        mut rows: RunningRows,
        formats: &[Format],
        limit: Option<u64>,
    ) -> Result<PortalState, Failure> {
        let sent = self.send_rows(&mut rows, formats, limit).await?;
        self.report_notices()?;
        if sent.is_over {
            self.wire
                .put_command_complete(&rows.tag().text(sent.count))?;
            Ok(PortalState::Exhausted(rows.tag()))
        } else {
            self.wire.put_portal_suspended()?;
            Ok(PortalState::Rows(rows))
        }
    }

    fn spent(&mut self, tag: &str) -> Result<PortalState, Failure> {
        self.report_notices()?;
        self.wire.put_command_complete(tag)?;
        Ok(PortalState::Spent)
    }

    fn empty(&mut self) -> Result<PortalState, Failure> {
        self.wire.put_empty_query()?;
        Ok(PortalState::Empty)
    }
}

/// Where an unknown format code of a parameter was found.
fn parameter_context(mut error: SqlError, portal: &str, formats: &[i16]) -> SqlError {
    if let Some(index) = formats.iter().position(|code| !matches!(code, 0 | 1)) {
        let number = index + 1;
        error.context = Some(if portal.is_empty() {
            format!("unnamed portal parameter ${number}")
        } else {
            format!("portal \"{portal}\" parameter ${number}")
        });
    }
    error
}

fn no_statement(name: &str) -> SqlError {
    let message = if name.is_empty() {
        "unnamed prepared statement does not exist".to_owned()
    } else {
        format!("prepared statement \"{name}\" does not exist")
    };
    SqlError::new("26000", message)
}

fn no_portal(name: &str) -> SqlError {
    SqlError::new("34000", format!("portal \"{name}\" does not exist"))
}
