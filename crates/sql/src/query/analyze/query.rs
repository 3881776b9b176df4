//! What surrounds a SELECT: WITH, ORDER BY over set operations, LIMIT and OFFSET
//! (`parse_cte.c`, `transformLimitClause`).

use std::collections::HashMap;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::LogicalPlanBuilder;
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, LimitClause, OrderBy, OrderByExpr, OrderByKind, Query, SetExpr, Value, With,
};
use trunkline_types::oids;

use super::select::{OrderKey, Target, output_value, sort_key};
use super::{Analyzer, Bound, Level, Scope, Unknown, fold, unsupported_clause};
use crate::query::error::{QueryError, sqlstate};
use crate::query::pgtype::{CoercionContext, PgType};

impl Analyzer<'_> {
    /// A query as a statement or subquery.
    pub(crate) fn query(
        &mut self,
        query: &Query,
        parent: Option<&Level<'_>>,
    ) -> Result<Bound, QueryError> {
        self.query_into(query, parent, None)
    }

    /// A query whose output is assigned to columns of `targets`' types: unknown literals of its
    /// select list become those types instead of text.
    pub(crate) fn query_into(
        &mut self,
        query: &Query,
        parent: Option<&Level<'_>>,
        targets: Option<&[PgType]>,
    ) -> Result<Bound, QueryError> {
        if !query.locks.is_empty() {
            return Err(unsupported_clause("SELECT FOR UPDATE/SHARE"));
        }
        if query.for_clause.is_some()
            || query.settings.is_some()
            || query.format_clause.is_some()
            || !query.pipe_operators.is_empty()
        {
            return Err(QueryError::syntax(None, None));
        }
        let scoped = match &query.with {
            Some(with) => {
                self.with_clause(with, parent)?;
                true
            }
            None => false,
        };
        let result = self.body(query, parent, targets);
        if scoped {
            self.ctes.pop();
        }
        result
    }

    pub(crate) fn with_clause(
        &mut self,
        with: &With,
        parent: Option<&Level<'_>>,
    ) -> Result<(), QueryError> {
        if with.recursive {
            return Err(unsupported_clause("WITH RECURSIVE"));
        }
        self.ctes.push(HashMap::new());
        for cte in &with.cte_tables {
            let mut bound = self.query(&cte.query, parent)?;
            let name = fold(&cte.alias.name);
            if cte.alias.columns.len() > bound.columns.len() {
                return Err(QueryError::new(
                    sqlstate::INVALID_COLUMN_REFERENCE,
                    format!(
                        "WITH query \"{name}\" has {} columns available but {} columns specified",
                        bound.columns.len(),
                        cte.alias.columns.len()
                    ),
                ));
            }
            for (column, alias) in bound.columns.iter_mut().zip(&cte.alias.columns) {
                column.name = fold(&alias.name);
            }
            if let Some(ctes) = self.ctes.last_mut()
                && ctes.insert(name.clone(), bound).is_some()
            {
                return Err(QueryError::new(
                    sqlstate::DUPLICATE_ALIAS,
                    format!("WITH query name \"{name}\" specified more than once"),
                ));
            }
        }
        Ok(())
    }

    pub(crate) fn body(
        &mut self,
        query: &Query,
        parent: Option<&Level<'_>>,
        targets: Option<&[PgType]>,
    ) -> Result<Bound, QueryError> {
        let order = order_keys(query.order_by.as_ref())?;
        let bound = match query.body.as_ref() {
            SetExpr::Select(select) => self.select(select, parent, order, targets)?,
            SetExpr::Query(inner) => {
                let bound = self.query_into(inner, parent, targets)?;
                self.sort_output(bound, order)?
            }
            other => {
                let bound = self.set_expression(other, parent, targets)?;
                self.sort_output(bound, order)?
            }
        };
        self.limit(bound, query)
    }

    pub(crate) fn limit(&mut self, bound: Bound, query: &Query) -> Result<Bound, QueryError> {
        let (mut limit, offset) = match &query.limit_clause {
            None => (None, None),
            Some(LimitClause::LimitOffset {
                limit,
                offset,
                limit_by,
            }) if limit_by.is_empty() => {
                (limit.as_ref(), offset.as_ref().map(|offset| &offset.value))
            }
            Some(LimitClause::OffsetCommaLimit { .. }) => {
                return Err(QueryError::new(
                    sqlstate::SYNTAX_ERROR,
                    "LIMIT #,# syntax is not supported",
                )
                .with_hint("Use separate LIMIT and OFFSET clauses."));
            }
            Some(_) => return Err(QueryError::syntax(Some("BY"), None)),
        };
        let one = SqlExpr::Value(Value::Number("1".to_owned(), false).into());
        if let Some(fetch) = &query.fetch {
            if fetch.with_ties || fetch.percent {
                return Err(unsupported_clause("FETCH ... WITH TIES or PERCENT"));
            }
            limit = Some(fetch.quantity.as_ref().unwrap_or(&one));
        }
        if limit.is_none() && offset.is_none() {
            return Ok(bound);
        }
        let limit = self.row_count(limit, "LIMIT", sqlstate::INVALID_ROW_COUNT_IN_LIMIT)?;
        let offset = self.row_count(offset, "OFFSET", sqlstate::INVALID_ROW_COUNT_IN_OFFSET)?;
        let plan = LogicalPlanBuilder::from(bound.plan)
            .limit(offset.unwrap_or(0), limit)?
            .build()?;
        Ok(Bound {
            plan,
            columns: bound.columns,
        })
    }

    pub(crate) fn row_count(
        &mut self,
        expr: Option<&SqlExpr>,
        clause: &'static str,
        negative: &'static str,
    ) -> Result<Option<usize>, QueryError> {
        let Some(expr) = expr else { return Ok(None) };
        if let SqlExpr::Identifier(ident) = expr
            && fold(ident) == "all"
        {
            return Ok(None);
        }
        let level = Level::without_aggregates(Scope::default(), None, clause);
        let value = self.expr(expr, &level).map_err(|error| {
            if error.sqlstate == sqlstate::UNDEFINED_COLUMN {
                QueryError {
                    sqlstate: sqlstate::INVALID_COLUMN_REFERENCE,
                    message: format!("argument of {clause} must not contain variables"),
                    ..error
                }
            } else {
                error
            }
        })?;
        let value = self.coerce(value, PgType::new(oids::INT8), CoercionContext::Assignment)?;
        match self.constant(&value.expr)? {
            Some(ScalarValue::Int64(Some(count))) => usize::try_from(count)
                .map(Some)
                .map_err(|_| QueryError::new(negative, format!("{clause} must not be negative"))),
            _ => Ok(None),
        }
    }

    /// ORDER BY over a set operation or VALUES: output columns only.
    pub(crate) fn sort_output(
        &mut self,
        bound: Bound,
        order: Vec<&OrderByExpr>,
    ) -> Result<Bound, QueryError> {
        if order.is_empty() {
            return Ok(bound);
        }
        let targets: Vec<Target> = bound
            .columns
            .iter()
            .map(|column| Target {
                value: output_value(column),
                name: column.name.clone(),
                origin: column.origin,
                unknown: Unknown::No,
            })
            .collect();
        let mut sort = Vec::new();
        for key in order {
            let level = Level::new(Scope::default(), None);
            match self.order_key(&key.expr, &level, &targets)? {
                OrderKey::Output(index) => {
                    sort.push(sort_key(targets[index].value.clone(), &key.options));
                }
                OrderKey::Hidden(_) => {
                    return Err(QueryError::unsupported(
                        "invalid UNION/INTERSECT/EXCEPT ORDER BY clause",
                    )
                    .with_detail(
                        "Only result column names can be used, not expressions or functions.",
                    )
                    .with_hint(
                        "Add the expression/function to every SELECT, or move the UNION into a \
                         FROM clause.",
                    ));
                }
            }
        }
        let plan = LogicalPlanBuilder::from(bound.plan).sort(sort)?.build()?;
        Ok(Bound {
            plan,
            columns: bound.columns,
        })
    }
}

fn order_keys(order_by: Option<&OrderBy>) -> Result<Vec<&OrderByExpr>, QueryError> {
    match order_by.map(|order_by| &order_by.kind) {
        None => Ok(Vec::new()),
        Some(OrderByKind::Expressions(keys)) => Ok(keys.iter().collect()),
        Some(OrderByKind::All(_)) => Err(unsupported_clause("ORDER BY ALL")),
    }
}
