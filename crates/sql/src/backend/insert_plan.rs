//! Plans of INSERTs that can be kept: a few rows of parameters, as they come, and of constants.
//!
//! Such an INSERT needs no query: its values go from the client to the table. A plan holds as long as
//! nothing that it looked up can have changed: the catalog and the session's settings, by their versions.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use trunkline_catalog::RelationDesc;
use trunkline_engine::{LoadColumns, RowInsert};
use trunkline_types::oids;

use super::Backend;
use crate::error::SqlError;
use crate::query::sqlparser::ast::{Expr, Query, SetExpr, UnaryOperator, Value};
use crate::query::{ParameterValues, PgType, Planner};
use crate::relations::lock_session;

/// More rows than this are a query's work: they gain nothing here.
const ROWS_MAX: usize = 16;

/// Types whose constants mean the same whatever the session's settings and the time.
const CONSTANT_TYPES: &[trunkline_types::Oid] = &[
    oids::BOOL,
    oids::INT2,
    oids::INT4,
    oids::INT8,
    oids::FLOAT4,
    oids::FLOAT8,
    oids::NUMERIC,
    oids::TEXT,
    oids::VARCHAR,
    oids::BPCHAR,
    oids::UUID,
];

/// Where a column's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// The payload; `None` is NULL.
    Constant(Option<Vec<u8>>),
    /// The parameter of this index, which has the column's type.
    Parameter(usize),
}

/// What the plan was made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Basis {
    catalog_version: u64,
    settings_version: u64,
}

impl std::fmt::Debug for InsertPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InsertPlan")
            .field("relation", &self.relation.oid)
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

/// An INSERT that can be run again without being analysed.
pub(super) struct InsertPlan {
    basis: Basis,
    pub(super) relation: Arc<RelationDesc>,
    /// For each row the source of each column of the table.
    pub(super) rows: Vec<Vec<Source>>,
    /// Used by one statement at a time.
    insert: Mutex<RowInsert>,
}

impl InsertPlan {
    /// What puts the rows into the table.
    pub(super) fn insert(&self) -> MutexGuard<'_, RowInsert> {
        // What a panic left in it is forgotten with the next row's beginning.
        self.insert.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend {
    /// The basis of a plan that is made now; none while the transaction sees a catalog of its own.
    fn plan_basis(&self) -> Option<Basis> {
        let session = lock_session(&self.engine);
        (!session.has_own_catalog_changes()).then(|| Basis {
            catalog_version: session.database().catalog().version(),
            settings_version: session.settings().version(),
        })
    }

    /// Whether the plan still means what its statement does. To be asked once its table is locked.
    pub(super) fn plan_holds(&self, plan: &InsertPlan) -> bool {
        let session = lock_session(&self.engine);
        !session.has_own_catalog_changes()
            && session.database().catalog().version() == plan.basis.catalog_version
            && session.settings().version() == plan.basis.settings_version
    }

    /// A plan of `INSERT INTO relation (given) source`, if it is of the kind that can be kept. The
    /// session holds the table's lock.
    ///
    /// # Errors
    /// A constant that is no value of its column's type.
    pub(super) fn plan_insert(
        &self,
        planner: &Planner,
        sql: &str,
        relation: &Arc<RelationDesc>,
        given: &[usize],
        source: &Query,
        values: &ParameterValues,
    ) -> Result<Option<InsertPlan>, SqlError> {
        let Some(rows) = plain_rows(source) else {
            return Ok(None);
        };
        let Some(basis) = self.plan_basis() else {
            return Ok(None);
        };
        let mut planned = Vec::with_capacity(rows.len());
        for row in rows {
            let Some(row) = plan_row(planner, sql, relation, given, row, values)? else {
                return Ok(None);
            };
            planned.push(row);
        }
        let columns = LoadColumns::all(relation);
        let output_style = self.styles().output.clone();
        Ok(Some(InsertPlan {
            basis,
            rows: planned,
            insert: Mutex::new(RowInsert::new(Arc::clone(relation), columns, output_style)),
            relation: Arc::clone(relation),
        }))
    }
}

/// The rows of a source that is nothing but VALUES.
fn plain_rows(source: &Query) -> Option<Vec<&Vec<Expr>>> {
    let is_plain = source.with.is_none()
        && source.order_by.is_none()
        && source.limit_clause.is_none()
        && source.fetch.is_none()
        && source.locks.is_empty();
    let SetExpr::Values(values) = source.body.as_ref() else {
        return None;
    };
    let rows: Vec<&Vec<Expr>> = values.rows.iter().map(|row| &row.content).collect();
    (is_plain && rows.len() <= ROWS_MAX).then_some(rows)
}

fn plan_row(
    planner: &Planner,
    sql: &str,
    relation: &RelationDesc,
    given: &[usize],
    row: &[Expr],
    values: &ParameterValues,
) -> Result<Option<Vec<Source>>, SqlError> {
    if row.len() > given.len() {
        return Ok(None);
    }
    let attributes = relation.desc.attrs();
    let mut sources: Vec<Option<Source>> = vec![None; attributes.len()];
    for (index, expr) in given.iter().zip(row) {
        let attribute = &attributes[*index];
        let ty = PgType::with_typmod(attribute.type_oid, attribute.typmod);
        sources[*index] = match expr {
            Expr::Value(value) => match &value.value {
                Value::Placeholder(name) => {
                    let number = name
                        .strip_prefix('$')
                        .and_then(|number| number.parse().ok());
                    let found = number.and_then(|number: usize| number.checked_sub(1));
                    let fits = found
                        .and_then(|index| values.types.get(index))
                        .is_some_and(|parameter| parameter.oid == ty.oid && ty.typmod == -1);
                    match found {
                        Some(parameter) if fits => Some(Source::Parameter(parameter)),
                        _ => return Ok(None),
                    }
                }
                Value::Null => Some(Source::Constant(None)),
                Value::Number(..) | Value::SingleQuotedString(_) | Value::Boolean(_)
                    if CONSTANT_TYPES.contains(&ty.oid) =>
                {
                    let constant = planner.value_of(sql, expr, &attribute.name, ty)?;
                    Some(Source::Constant(constant))
                }
                _ => return Ok(None),
            },
            Expr::UnaryOp {
                op: UnaryOperator::Minus,
                expr: number,
            } if matches!(number.as_ref(), Expr::Value(value) if matches!(value.value, Value::Number(..)))
                && CONSTANT_TYPES.contains(&ty.oid) =>
            {
                let constant = planner.value_of(sql, expr, &attribute.name, ty)?;
                Some(Source::Constant(constant))
            }
            _ => return Ok(None),
        };
    }
    let mut complete = Vec::with_capacity(sources.len());
    for (index, source) in sources.into_iter().enumerate() {
        let has_default = relation.defaults.get(index).is_some_and(Option::is_some);
        match source {
            Some(source) => complete.push(source),
            None if has_default => return Ok(None),
            None => complete.push(Source::Constant(None)),
        }
    }
    Ok(Some(complete))
}
