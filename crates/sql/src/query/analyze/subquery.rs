//! Subqueries in expressions: scalar ones, EXISTS, IN and comparisons with ANY and ALL
//! (`transformSubLink`).

use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, ScalarValue, Spans};
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Subquery};
use datafusion::sql::sqlparser::ast::{Array, BinaryOperator, Expr as SqlExpr, Query};

use super::expr::{boolean, outer_reference};
use super::{Analyzer, Bound, Level, Typed, unsupported_clause};
use crate::query::error::{QueryError, sqlstate};
use crate::query::functions::subplan::{SubPlan, SubPlanKind, subplan_call};

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
        let depends = !self.outer_columns(&bound.plan, level)?.is_empty();
        let expr = if depends && (self.all_subplans || !is_one_group(&bound.plan)) {
            let kind = SubPlanKind::Scalar(arrow.clone());
            self.subplan(bound.plan, kind, Vec::new(), level)?
        } else {
            Expr::ScalarSubquery(correlated(bound.plan))
        };
        Ok(Typed::new(expr, ty, arrow))
    }

    /// The columns of `level` and of those around it that a subquery's plan uses.
    fn outer_columns(
        &self,
        plan: &LogicalPlan,
        level: &Level<'_>,
    ) -> Result<Vec<Column>, QueryError> {
        let mut used = Vec::new();
        collect_outer(plan, &mut used)?;
        let mut around = Vec::new();
        let mut next = Some(level);
        while let Some(level) = next {
            around.extend(level.scope.columns.iter().map(|column| &column.expr));
            next = level.parent;
        }
        let is_around = |column: &Column| around.iter().any(|expr| is_column(expr, column));
        used.retain(is_around);
        Ok(used)
    }

    /// A subquery that is computed for each row; `first` are arguments before the outer columns.
    pub(crate) fn subplan(
        &mut self,
        plan: LogicalPlan,
        kind: SubPlanKind,
        first: Vec<Expr>,
        level: &Level<'_>,
    ) -> Result<Expr, QueryError> {
        let outer = self.outer_columns(&plan, level)?;
        let mut args = first;
        for column in &outer {
            let own = |other: &&super::ScopeColumn| is_column(&other.expr, column);
            args.push(match level.scope.columns.iter().find(own) {
                Some(_) => Expr::Column(column.clone()),
                None => outer_column(level, column)?,
            });
        }
        let subplan = SubPlan {
            kind,
            plan,
            outer,
            state: Arc::clone(&self.env.state),
        };
        Ok(subplan_call(subplan, args))
    }

    /// EXISTS. One that doesn't depend on the row is computed once, as a count of at most one
    /// row: the executor takes EXISTS itself in conditions only.
    pub(crate) fn exists(
        &mut self,
        bound: Bound,
        negated: bool,
        level: &Level<'_>,
    ) -> Result<Typed, QueryError> {
        if self.all_subplans && !self.outer_columns(&bound.plan, level)?.is_empty() {
            let kind = SubPlanKind::Exists { negated };
            return Ok(boolean(self.subplan(
                bound.plan,
                kind,
                Vec::new(),
                level,
            )?));
        }
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
        if self.all_subplans && !self.outer_columns(&plan, level)?.is_empty() {
            let kind = SubPlanKind::In { negated };
            return Ok(boolean(self.subplan(
                plan,
                kind,
                vec![*binary.left],
                level,
            )?));
        }
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
            other => {
                let array = self.expr(other, level)?;
                let position = self.word_after(self.end_position(left), &op.to_string());
                let value = Typed { position, ..value };
                self.quantified_array(value, op, array, any)
            }
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

fn is_column(expr: &Expr, column: &Column) -> bool {
    matches!(expr, Expr::Column(other) if other == column)
}

/// The column of a level around `level` as an expression of `level`.
fn outer_column(level: &Level<'_>, column: &Column) -> Result<Expr, QueryError> {
    let mut around = level.parent;
    while let Some(level) = around {
        let found = level
            .scope
            .columns
            .iter()
            .find(|other| is_column(&other.expr, column));
        if let Some(found) = found {
            return outer_reference(found);
        }
        around = level.parent;
    }
    Err(QueryError::internal("an outer column is of no level"))
}

/// The outer columns that a plan and the subqueries in it use, each once.
fn collect_outer(plan: &LogicalPlan, used: &mut Vec<Column>) -> Result<(), QueryError> {
    plan.apply_with_subqueries(|node| {
        for expr in node.expressions() {
            expr.apply(|expr| {
                if let Expr::OuterReferenceColumn(_, column) = expr
                    && !used.contains(column)
                {
                    used.push(column.clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })?;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

/// Whether a query is an aggregation of all its rows, which always gives one row: the optimiser
/// can make a join of it. Anything else might give several.
fn is_one_group(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => is_one_group(&projection.input),
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        _ => false,
    }
}
