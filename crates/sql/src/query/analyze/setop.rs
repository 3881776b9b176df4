//! VALUES and set operations (`transformValuesClause`, `transformSetOperationStmt`).

use std::sync::Arc;

use datafusion::arrow::datatypes::Fields;
use datafusion::common::{Column, DFSchema, JoinType, NullEquality};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Union, Values};
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, SetExpr, SetOperator, SetQuantifier, Spanned, Values as SqlValues,
};

use super::select::{output_value, project};
use super::{
    Analyzer, Bound, Level, OutputColumn, Scope, Typed, Unknown, field, fold, unsupported_clause,
};
use crate::query::error::{QueryError, sqlstate};
use crate::query::functions::key::key_expr;
use crate::query::pgtype::{PgType, arrow_type};

/// A column that rows are inserted into.
pub(crate) struct AssignmentTarget<'t> {
    pub name: &'t str,
    pub ty: PgType,
    /// The SQL text of its default, if it has one.
    pub default: Option<&'t str>,
}

impl Analyzer<'_> {
    /// The part of a query that isn't a plain SELECT.
    pub(crate) fn set_expression(
        &mut self,
        body: &SetExpr,
        parent: Option<&Level<'_>>,
        targets: Option<&[PgType]>,
    ) -> Result<Bound, QueryError> {
        match body {
            SetExpr::Values(values) => self.values(values, parent),
            SetExpr::Query(query) => self.query_into(query, parent, targets),
            SetExpr::Select(select) => {
                let query = datafusion::sql::sqlparser::ast::Query {
                    with: None,
                    body: Box::new(SetExpr::Select(select.clone())),
                    order_by: None,
                    limit_clause: None,
                    fetch: None,
                    locks: vec![],
                    for_clause: None,
                    settings: None,
                    format_clause: None,
                    pipe_operators: vec![],
                };
                self.query_into(&query, parent, targets)
            }
            SetExpr::SetOperation {
                op,
                set_quantifier,
                left,
                right,
            } => self.set_operation(*op, *set_quantifier, left, right, parent),
            SetExpr::Table(_) => Err(unsupported_clause("TABLE")),
            other => Err(QueryError::unsupported(format!(
                "{other} is not supported here"
            ))),
        }
    }

    fn values(
        &mut self,
        values: &SqlValues,
        parent: Option<&Level<'_>>,
    ) -> Result<Bound, QueryError> {
        let level = Level {
            parent,
            ..Level::without_aggregates(Scope::default(), None, "VALUES")
        };
        let width = values.rows.first().map_or(0, |row| row.content.len());
        let mut columns: Vec<Vec<Typed>> = vec![Vec::with_capacity(values.rows.len()); width];
        for row in &values.rows {
            self.env.session.check_interrupts()?;
            if row.content.len() != width {
                let first = row
                    .content
                    .first()
                    .and_then(|expr| self.position(expr.span()));
                return Err(QueryError::new(
                    sqlstate::SYNTAX_ERROR,
                    "VALUES lists must all be the same length",
                )
                .at(first));
            }
            for (column, expr) in columns.iter_mut().zip(&row.content) {
                column.push(self.expr(expr, &level)?);
            }
        }
        let mut outputs = Vec::with_capacity(width);
        let mut alike = Vec::with_capacity(width);
        for (index, column) in columns.into_iter().enumerate() {
            let column = self.coerce_alike(column, "VALUES")?;
            if let Some(first) = column.first() {
                let name = format!("column{}", index + 1);
                outputs.push((name, first.ty, first.arrow.clone()));
            }
            alike.push(column.into_iter());
        }
        let rows = (0..values.rows.len())
            .map(|_| {
                alike
                    .iter_mut()
                    .filter_map(Iterator::next)
                    .map(|value| value.expr)
                    .collect()
            })
            .collect();
        self.values_plan(outputs, rows)
    }

    fn values_plan(
        &mut self,
        outputs: Vec<(String, PgType, datafusion::arrow::datatypes::DataType)>,
        rows: Vec<Vec<Expr>>,
    ) -> Result<Bound, QueryError> {
        let fields: Fields = outputs
            .iter()
            .map(|(name, _, arrow)| field(name, arrow))
            .collect();
        let schema = Arc::new(DFSchema::from_unqualified_fields(
            fields,
            Default::default(),
        )?);
        let plan = LogicalPlan::Values(Values {
            schema,
            values: rows,
        });
        let columns = outputs
            .into_iter()
            .map(|(name, ty, arrow)| OutputColumn {
                column: Column::new_unqualified(&name),
                name,
                ty,
                arrow,
                origin: (0, 0),
                unknown: Unknown::No,
                position: None,
            })
            .collect();
        Ok(Bound { plan, columns })
    }

    /// The VALUES of an INSERT: every expression is assigned to its column by itself, DEFAULT
    /// included (`transformInsertRow`).
    pub(crate) fn insert_values(
        &mut self,
        values: &SqlValues,
        targets: &[AssignmentTarget<'_>],
    ) -> Result<Bound, QueryError> {
        let width = values.rows.first().map_or(0, |row| row.content.len());
        let place = |analyzer: &Self, expr: Option<&SqlExpr>| {
            expr.and_then(|expr| analyzer.position(expr.span()))
        };
        if let Some(row) = values.rows.iter().find(|row| row.content.len() != width) {
            return Err(QueryError::new(
                sqlstate::SYNTAX_ERROR,
                "VALUES lists must all be the same length",
            )
            .at(place(self, row.content.first())));
        }
        let first = values.rows.first();
        check_width(width, targets.len(), |index| {
            place(self, first.and_then(|row| row.content.get(index)))
        })?;
        let targets = &targets[..width];
        let mut rows = Vec::with_capacity(values.rows.len());
        for row in &values.rows {
            self.env.session.check_interrupts()?;
            let mut exprs = Vec::with_capacity(width);
            for (expr, target) in row.content.iter().zip(targets) {
                exprs.push(self.assigned_value(expr, target)?.expr);
            }
            rows.push(exprs);
        }
        let outputs = targets
            .iter()
            .enumerate()
            .map(|(index, target)| {
                (
                    format!("column{}", index + 1),
                    target.ty,
                    arrow_type(target.ty),
                )
            })
            .collect();
        self.values_plan(outputs, rows)
    }

    fn assigned_value(
        &mut self,
        expr: &SqlExpr,
        target: &AssignmentTarget<'_>,
    ) -> Result<Typed, QueryError> {
        if let SqlExpr::Identifier(ident) = expr
            && ident.quote_style.is_none()
            && fold(ident) == "default"
        {
            return self.default_value(target);
        }
        let level = Level::without_aggregates(Scope::default(), None, "VALUES");
        let value = self.expr(expr, &level)?;
        self.coerce_assignment(value, target.name, target.ty)
    }

    /// Assigns a source's columns to the targets; targets without one get their defaults.
    pub(crate) fn assign(
        &mut self,
        bound: Bound,
        targets: &[AssignmentTarget<'_>],
    ) -> Result<Bound, QueryError> {
        let mut exprs = Vec::with_capacity(targets.len());
        let mut columns = Vec::with_capacity(targets.len());
        for (index, target) in targets.iter().enumerate() {
            let value = match bound.columns.get(index) {
                Some(column) => {
                    self.coerce_assignment(output_value(column), target.name, target.ty)?
                }
                None => self.default_value(target)?,
            };
            let name = self.unique_name(target.name);
            exprs.push(value.expr.alias(&name));
            columns.push(OutputColumn {
                name: target.name.to_owned(),
                ty: target.ty,
                arrow: arrow_type(target.ty),
                column: Column::new_unqualified(name),
                origin: (0, 0),
                unknown: Unknown::No,
                position: None,
            });
        }
        Ok(Bound {
            plan: project(bound.plan, exprs)?,
            columns,
        })
    }

    /// A column's default as a value of its type.
    pub(crate) fn default_value(
        &mut self,
        target: &AssignmentTarget<'_>,
    ) -> Result<Typed, QueryError> {
        match target.default {
            None => Ok(super::coerce::typed_null(target.ty)),
            Some(text) => {
                let expr = crate::query::parse::parse_expression(text)?;
                let level =
                    Level::without_aggregates(Scope::default(), None, "DEFAULT expressions");
                let value = self.expr(&expr, &level)?;
                self.coerce_assignment(value, target.name, target.ty)
            }
        }
    }

    fn set_operation(
        &mut self,
        op: SetOperator,
        quantifier: SetQuantifier,
        left: &SetExpr,
        right: &SetExpr,
        parent: Option<&Level<'_>>,
    ) -> Result<Bound, QueryError> {
        let name = match op {
            SetOperator::Union => "UNION",
            SetOperator::Intersect => "INTERSECT",
            SetOperator::Except => "EXCEPT",
            SetOperator::Minus => return Err(QueryError::syntax(Some("MINUS"), None)),
        };
        let all = match quantifier {
            SetQuantifier::All => true,
            SetQuantifier::Distinct | SetQuantifier::None => false,
            _ => return Err(QueryError::syntax(Some("BY"), None)),
        };
        let left = self.set_expression(left, parent, None)?;
        let right = self.set_expression(right, parent, None)?;
        if left.columns.len() != right.columns.len() {
            return Err(QueryError::new(
                sqlstate::SYNTAX_ERROR,
                format!("each {name} query must have the same number of columns"),
            )
            .at(right.columns.first().and_then(|column| column.position)));
        }
        let (left, right) = self.match_columns(left, right, name)?;
        let columns = left.columns.clone();
        match (op, all) {
            (SetOperator::Union, all) => {
                let union = Union::try_new(vec![Arc::new(left.plan), Arc::new(right.plan)])?;
                let bound = Bound {
                    plan: LogicalPlan::Union(union),
                    columns,
                };
                if all { Ok(bound) } else { self.distinct(bound) }
            }
            (SetOperator::Intersect, false) => self.matching(left, right, JoinType::LeftSemi),
            (_, false) => self.matching(left, right, JoinType::LeftAnti),
            (_, true) => Err(unsupported_clause(&format!("{name} ALL"))),
        }
    }

    /// Distinct rows of `left` that do, or don't, have an equal in `right`; NULLs are equal.
    fn matching(&mut self, left: Bound, right: Bound, kind: JoinType) -> Result<Bound, QueryError> {
        let left = self.distinct(left)?;
        let mut sides = Vec::new();
        for bound in [&left, &right] {
            let qualifier = self.unique_name("setop");
            let mut exprs = Vec::new();
            let mut keys = Vec::new();
            for column in &bound.columns {
                let value = output_value(column);
                let key = key_expr(value.expr.clone(), value.ty, &value.arrow, true);
                if key == value.expr {
                    keys.push(Column::new(Some(qualifier.as_str()), &column.column.name));
                } else {
                    let name = self.unique_name("key");
                    exprs.push(key.alias(&name));
                    keys.push(Column::new(Some(qualifier.as_str()), name));
                }
                exprs.push(value.expr);
            }
            let plan = LogicalPlanBuilder::from(project(bound.plan.clone(), exprs)?)
                .alias(datafusion::common::TableReference::bare(qualifier.clone()))?
                .build()?;
            sides.push((plan, keys, qualifier));
        }
        let (Some((right_plan, right_keys, _)), Some((left_plan, left_keys, qualifier))) =
            (sides.pop(), sides.pop())
        else {
            return Err(QueryError::internal("a set operation has two sides"));
        };
        let joined = LogicalPlanBuilder::from(left_plan)
            .join_detailed(
                right_plan,
                kind,
                (left_keys, right_keys),
                None,
                NullEquality::NullEqualsNull,
            )?
            .build()?;
        let mut columns = left.columns;
        let mut exprs = Vec::new();
        for column in &mut columns {
            let name = self.unique_name(&column.name);
            let inner = super::qualified(&qualifier, &column.column.name);
            exprs.push(Expr::Column(inner).alias(&name));
            column.column = Column::new_unqualified(name);
        }
        Ok(Bound {
            plan: project(joined, exprs)?,
            columns,
        })
    }

    /// Brings the columns of both sides to common types and the left side's names.
    fn match_columns(
        &mut self,
        left: Bound,
        right: Bound,
        name: &str,
    ) -> Result<(Bound, Bound), QueryError> {
        let mut left_exprs = Vec::new();
        let mut right_exprs = Vec::new();
        let mut columns = Vec::new();
        for (a, b) in left.columns.iter().zip(&right.columns) {
            let values = vec![undecided_value(a), undecided_value(b)];
            let values = self.coerce_alike(values, name)?;
            let output = self.unique_name(&a.name);
            columns.push(OutputColumn {
                name: a.name.clone(),
                ty: values[0].ty,
                arrow: values[0].arrow.clone(),
                column: Column::new_unqualified(&output),
                origin: (0, 0),
                unknown: Unknown::No,
                position: None,
            });
            left_exprs.push(values[0].expr.clone().alias(&output));
            right_exprs.push(values[1].expr.clone().alias(&output));
        }
        Ok((
            Bound {
                plan: project(left.plan, left_exprs)?,
                columns: columns.clone(),
            },
            Bound {
                plan: project(right.plan, right_exprs)?,
                columns,
            },
        ))
    }
}

/// An output column as an expression over its query; a literal is what it was before it became
/// text.
fn undecided_value(column: &OutputColumn) -> Typed {
    match &column.unknown {
        Unknown::Literal(_) | Unknown::Null => Typed {
            unknown: column.unknown.clone(),
            position: column.position,
            ..Typed::null()
        },
        _ => output_value(column),
    }
}

/// 42601 if an INSERT's source has more columns than its target; `position` tells where one of the
/// source's expressions stands.
pub(crate) fn check_width(
    width: usize,
    targets: usize,
    position: impl Fn(usize) -> Option<usize>,
) -> Result<(), QueryError> {
    if width > targets {
        return Err(QueryError::new(
            sqlstate::SYNTAX_ERROR,
            "INSERT has more expressions than target columns",
        )
        .at(position(targets)));
    }
    Ok(())
}
