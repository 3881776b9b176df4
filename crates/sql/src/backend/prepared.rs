//! Prepared statements: analysis, parameters, and SQL's own PREPARE, EXECUTE and DEALLOCATE.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use trunkline_types::{ColumnType, InputStyle, Oid, input_binary, input_text, verify_utf8};

use super::insert_plan::InsertPlan;
use super::settings::text_field;
use super::{Backend, Early, Finished, Stage};
use crate::error::SqlError;
use crate::outcome::{FieldDesc, Format, Param};
use crate::query::{Field, ParameterValues, PgType};
use crate::relations::lock_session;
use crate::statement::{
    ExecuteStatement, PrepareStatement, Statement, parse_statement, split_statements,
};

/// A statement that was parsed and analysed. It is planned anew whenever it runs, so that it
/// always means what the catalog and the search path make of it then; but for simple INSERTs, whose
/// plans know what they depend on.
#[derive(Debug)]
pub struct Prepared {
    text: String,
    statement: Option<Statement>,
    param_types: Vec<Oid>,
    fields: Vec<FieldDesc>,
    /// The plan that it was last run with, if it is of the kind that can be kept.
    plan: Mutex<Option<Arc<InsertPlan>>>,
}

impl Prepared {
    /// The statement's text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The types of `$1`, `$2`, ..., as given or inferred.
    pub fn param_types(&self) -> &[Oid] {
        &self.param_types
    }

    /// The columns of its result; none if it gives no rows.
    pub fn fields(&self) -> &[FieldDesc] {
        &self.fields
    }

    /// Whether the text holds nothing but blanks and comments.
    pub fn is_empty_query(&self) -> bool {
        self.statement.is_none()
    }

    pub(super) fn statement(&self) -> Option<&Statement> {
        self.statement.as_ref()
    }

    pub(super) fn plan(&self) -> Option<Arc<InsertPlan>> {
        let plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        plan.clone()
    }

    pub(super) fn keep_plan(&self, plan: Option<InsertPlan>) {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = plan.map(Arc::new);
    }

    /// The parameters' values as payloads.
    pub(super) fn values(
        &self,
        params: Vec<Param>,
        style: &InputStyle,
    ) -> Result<ParameterValues, SqlError> {
        if params.len() != self.param_types.len() {
            return Err(SqlError::new(
                "08P01",
                format!(
                    "bind message supplies {} parameters, but prepared statement requires {}",
                    params.len(),
                    self.param_types.len()
                ),
            ));
        }
        let mut values = ParameterValues {
            types: self.param_types.iter().copied().map(PgType::new).collect(),
            values: Vec::with_capacity(params.len()),
        };
        for (param, oid) in params.into_iter().zip(&self.param_types) {
            values.values.push(payload(param, *oid, style)?);
        }
        Ok(values)
    }

    /// Refuses a result that is not what was announced.
    pub(super) fn check_fields(&self, fields: &[Field]) -> Result<(), SqlError> {
        let same = fields.len() == self.fields.len()
            && fields.iter().zip(&self.fields).all(|(now, then)| {
                now.name == then.name && now.ty.oid == then.type_oid && now.ty.typmod == then.typmod
            });
        if same { Ok(()) } else { Err(result_changed()) }
    }
}

fn result_changed() -> SqlError {
    SqlError::not_supported("cached plan must not change result type")
}

fn no_statement(name: &str) -> SqlError {
    SqlError::new(
        "26000",
        format!("prepared statement \"{name}\" does not exist"),
    )
}

/// How deep EXECUTE may run EXECUTE.
const EXECUTE_DEPTH_MAX: usize = 32;

fn payload(param: Param, oid: Oid, style: &InputStyle) -> Result<Option<Vec<u8>>, SqlError> {
    let Some(value) = param.value else {
        return Ok(None);
    };
    let ty = ColumnType::new(oid, -1)?;
    let mut payload = Vec::with_capacity(value.len());
    match param.format {
        Format::Binary => input_binary(&ty, &value, &mut payload)?,
        Format::Text => input_text(&ty, verify_utf8(&value)?, style, &mut payload)?,
    }
    Ok(Some(payload))
}

/// A query's column as the protocol tells it.
fn field_desc(field: &Field) -> FieldDesc {
    FieldDesc {
        name: field.name.clone(),
        table_oid: Oid(field.table_oid),
        column_number: field.column_number,
        type_oid: field.ty.oid,
        type_len: field.type_len,
        typmod: field.ty.typmod,
    }
}

/// Whether a statement could have parameters: only then is one that gives no rows analysed twice.
fn may_have_parameters(sql: &str) -> bool {
    sql.as_bytes()
        .windows(2)
        .any(|pair| pair[0] == b'$' && pair[1].is_ascii_digit())
}

#[derive(Default)]
struct Analysis {
    param_types: Vec<Oid>,
    fields: Vec<FieldDesc>,
}

impl Backend {
    /// Parses and analyses `sql`.
    pub(super) fn analyse(&mut self, sql: &str, declared: &[Oid]) -> Result<Prepared, SqlError> {
        let text = sql.to_owned();
        if split_statements(sql).is_empty() {
            let (param_types, fields) = (Vec::new(), Vec::new());
            return Ok(Prepared {
                text,
                statement: None,
                param_types,
                fields,
                plan: Mutex::default(),
            });
        }
        let statement = parse_statement(sql)?;
        if !Self::ends_transaction(&statement) {
            self.refuse_if_failed()?;
        }
        let analysis = self.analyse_statement(sql, &statement, declared)?;
        Ok(Prepared {
            text,
            statement: Some(statement),
            param_types: analysis.param_types,
            fields: analysis.fields,
            plan: Mutex::default(),
        })
    }

    fn analyse_statement(
        &mut self,
        sql: &str,
        statement: &Statement,
        declared: &[Oid],
    ) -> Result<Analysis, SqlError> {
        match statement {
            Statement::Query(query) => {
                self.begin_statement()?;
                lock_session(&self.engine).note_query();
                let planner = self.planner(&self.styles())?;
                let description = planner.describe(sql, query, declared)?;
                Ok(Analysis {
                    param_types: description.parameters.iter().map(|ty| ty.oid).collect(),
                    fields: description.fields.iter().map(field_desc).collect(),
                })
            }
            Statement::Insert(insert) if may_have_parameters(sql) => {
                self.begin_statement()?;
                lock_session(&self.engine).note_query();
                let types = self.describe_insert(sql, insert, declared)?;
                Ok(Analysis {
                    param_types: types,
                    fields: Vec::new(),
                })
            }
            Statement::Explain(explain) => {
                let param_types = if may_have_parameters(sql) {
                    self.analyse_statement(sql, &explain.statement, declared)?
                        .param_types
                } else {
                    Vec::new()
                };
                Ok(Analysis {
                    param_types,
                    fields: vec![text_field("QUERY PLAN")],
                })
            }
            Statement::Show(name) => {
                let fields = self.show_fields(name.as_deref())?;
                Ok(Analysis {
                    fields,
                    ..Analysis::default()
                })
            }
            Statement::Execute(execute) => {
                let fields = self.statement_named(&execute.name)?.fields.clone();
                Ok(Analysis {
                    fields,
                    ..Analysis::default()
                })
            }
            _ => Ok(Analysis::default()),
        }
    }

    fn statement_named(&self, name: &str) -> Result<Arc<Prepared>, SqlError> {
        self.named.get(name).ok_or_else(|| no_statement(name))
    }

    pub(super) fn prepare_named(&mut self, prepare: &PrepareStatement) -> Result<(), SqlError> {
        let mut declared = Vec::with_capacity(prepare.parameter_types.len());
        for name in &prepare.parameter_types {
            declared.push(super::ddl::resolve_type_name(name)?.0);
        }
        let prepared = self.analyse(&prepare.text, &declared)?;
        self.named.insert(&prepare.name, Arc::new(prepared))
    }

    /// Runs EXECUTE, which was announced as `announced`.
    pub(super) fn execute_named(
        &mut self,
        announced: &Prepared,
        execute: &ExecuteStatement,
        early: &mut Early,
    ) -> Result<Finished, SqlError> {
        // The protocol can give a name to an EXECUTE of itself.
        if self.execute_depth == EXECUTE_DEPTH_MAX {
            return Err(SqlError::new("54001", "stack depth limit exceeded"));
        }
        let prepared = self.statement_named(&execute.name)?;
        if prepared.fields != announced.fields {
            return Err(result_changed());
        }
        let (given, wanted) = (execute.arguments.len(), prepared.param_types.len());
        // PostgreSQL does not look at the arguments of a statement without parameters.
        if given != wanted && wanted != 0 {
            return Err(SqlError::new(
                "42601",
                format!(
                    "wrong number of parameters for prepared statement \"{}\"",
                    execute.name
                ),
            )
            .with_detail(format!("Expected {wanted} parameters but got {given}.")));
        }
        let styles = self.styles();
        let planner = self.planner(&styles)?;
        let mut params = Vec::with_capacity(wanted);
        for (index, (argument, oid)) in execute
            .arguments
            .iter()
            .zip(&prepared.param_types)
            .enumerate()
        {
            let name = format!("${}", index + 1);
            let payload = planner
                .value_of(announced.text(), argument, &name, PgType::new(*oid))
                .map_err(|error| coercion_error(index + 1, error.into()))?;
            params.push(match payload {
                None => Param {
                    format: Format::Binary,
                    value: None,
                },
                // The payload travels in the type's binary form, as a client's parameter would.
                Some(payload) => {
                    let mut value = Vec::new();
                    let ty = ColumnType::new(*oid, -1)?;
                    trunkline_types::output_binary(&ty, &payload, &mut value)?;
                    Param {
                        format: Format::Binary,
                        value: Some(Bytes::from(value)),
                    }
                }
            });
        }
        if prepared.is_empty_query() {
            return Ok(Finished::command("EXECUTE"));
        }
        self.execute_depth += 1;
        let finished = self.run(&prepared, params, Stage::New, early);
        self.execute_depth -= 1;
        finished
    }

    pub(super) fn deallocate(&mut self, name: Option<&str>) -> Result<&'static str, SqlError> {
        match name {
            None => {
                self.named.clear();
                Ok("DEALLOCATE ALL")
            }
            Some(name) if self.named.remove(name) => Ok("DEALLOCATE"),
            Some(name) => Err(no_statement(name)),
        }
    }
}

/// An assignment's type mismatch in the words that EXECUTE has for it (`EvaluateParams`).
fn coercion_error(number: usize, error: SqlError) -> SqlError {
    let types = error
        .message
        .split_once(" is of type ")
        .and_then(|(_, rest)| rest.split_once(" but expression is of type "));
    match types {
        Some((to, from)) if error.sqlstate == "42804" => SqlError::new(
            "42804",
            format!(
                "parameter ${number} of type {from} cannot be coerced to the expected type {to}"
            ),
        )
        .with_hint("You will need to rewrite or cast the expression."),
        _ => error,
    }
}
