//! Subqueries in expressions: scalar ones, EXISTS, IN and comparisons with ANY and ALL
//! (`transformSubLink`).

use std::sync::Arc;

use datafusion::common::{ScalarValue, Spans};
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Subquery};
use datafusion::sql::sqlparser::ast::{Array, BinaryOperator, Expr as SqlExpr, Query};

use super::expr::boolean;
use super::{Analyzer, Bound, Level, Typed, unsupported_clause};
use crate::query::error::{QueryError, sqlstate};

impl Analyzer<'_> {
    pub(crate) fn scalar_subquery(
        &mut self,
        query: &Query,
        level: &Level<'_>,
    ) -> Result<Typed, QueryError> {
        let bound = self.query(query, Some(level))?;
        let [column] = bound.columns.as_slice() else {
            let first = bound.columns.first().and_then(|column| column.position);
            return Err(QueryError::new(
                sqlstate::SYNTAX_ERROR,
                "subquery must return only one column",
            )
            .at(self.word_before(first, "(")));
        };
        let (ty, arrow) = (column.ty, column.arrow.clone());
        Ok(Typed::new(
            Expr::ScalarSubquery(correlated(bound.plan)),
            ty,
            arrow,
        ))
    }

    /// EXISTS. One that doesn't depend on the row is computed once, as a count of at most one
    /// row: the executor takes EXISTS itself in conditions only.
    pub(crate) fn exists(&mut self, bound: Bound, negated: bool) -> Result<Typed, QueryError> {
        let subquery = correlated(bound.plan);
        if !subquery.outer_ref_columns.is_empty() {
            return Ok(boolean(Expr::Exists(Exists::new(subquery, negated))));
        }
        let plan = Arc::unwrap_or_clone(subquery.subquery);
        let plan = LogicalPlanBuilder::from(plan).limit(0, Some(1))?.build()?;
        let name = self.unique_name("exists");
        let plan = super::group::count_rows(plan, &name)?;
        let count = Expr::ScalarSubquery(correlated(plan));
        let zero = Expr::Literal(ScalarValue::Int64(Some(0)), None);
        Ok(boolean(if negated {
            count.eq(zero)
        } else {
            count.gt(zero)
        }))
    }

    pub(crate) fn in_subquery(
        &mut self,
        value: Typed,
        query: &Query,
        negated: bool,
        level: &Level<'_>,
    ) -> Result<Typed, QueryError> {
        let bound = self.query(query, Some(level))?;
        let [column] = bound.columns.as_slice() else {
            let few = bound.columns.is_empty();
            let amount = if few { "few" } else { "many" };
            return Err(QueryError::new(
                sqlstate::SYNTAX_ERROR,
                format!("subquery has too {amount} columns"),
            )
            .at(value.position));
        };
        let position = value.position;
        let inner = Typed::new(
            Expr::Column(column.column.clone()),
            column.ty,
            column.arrow.clone(),
        );
        let equal = self.binary_operator(&BinaryOperator::Eq, value, inner, position)?;
        let Expr::BinaryExpr(binary) = equal.expr else {
            return Err(QueryError::internal("an equality is no comparison"));
        };
        let plan = self.reproject(bound, *binary.right)?;
        Ok(boolean(Expr::InSubquery(InSubquery::new(
            binary.left,
            correlated(plan),
            negated,
        ))))
    }

    /// The query's rows as one column that `expr` computes of them.
    pub(crate) fn reproject(
        &mut self,
        bound: Bound,
        expr: Expr,
    ) -> Result<LogicalPlan, QueryError> {
        if matches!(expr, Expr::Column(_)) {
            return Ok(bound.plan);
        }
        let name = self.unique_name("key");
        super::select::project(bound.plan, vec![expr.alias(name)])
    }

    pub(crate) fn quantified(
        &mut self,
        left: &SqlExpr,
        op: &BinaryOperator,
        right: &SqlExpr,
        any: bool,
        level: &Level<'_>,
    ) -> Result<Typed, QueryError> {
        let value = self.expr(left, level)?;
        let mut right = right;
        while let SqlExpr::Nested(inner) = right {
            right = inner;
        }
        match right {
            SqlExpr::Subquery(query) => match (op, any) {
                (BinaryOperator::Eq, true) => self.in_subquery(value, query, false, level),
                (BinaryOperator::NotEq, false) => self.in_subquery(value, query, true, level),
                _ => Err(unsupported_clause(
                    "a comparison with ANY or ALL of a subquery",
                )),
            },
            SqlExpr::Array(Array { elem, .. }) => {
                let mut tests: Option<Expr> = None;
                for item in elem {
                    let item = self.expr(item, level)?;
                    let test =
                        self.compare_values(op.clone(), value.clone(), item, value.position)?;
                    tests = Some(match tests {
                        None => test,
                        Some(before) if any => before.or(test),
                        Some(before) => before.and(test),
                    });
                }
                Ok(boolean(tests.unwrap_or(Expr::Literal(
                    ScalarValue::Boolean(Some(!any)),
                    None,
                ))))
            }
            _ => Err(unsupported_clause("ANY or ALL of an array expression")),
        }
    }
}

/// A subquery's plan with the columns of outer levels that it uses.
fn correlated(plan: LogicalPlan) -> Subquery {
    let outer_ref_columns = plan.all_out_ref_exprs();
    Subquery {
        subquery: Arc::new(plan),
        outer_ref_columns,
        spans: Spans::new(),
    }
}
