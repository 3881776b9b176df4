//! Grouping: from expressions over a FROM clause to expressions over its groups.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DataFusionError};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan};
use std::sync::Arc;

use super::{Analyzer, Scope, Typed};
use crate::query::error::{QueryError, sqlstate};
use crate::query::functions::aggregate::{AggregateKind, aggregate_function};
use crate::query::functions::float_order::{from_ordered, ordered_type, to_ordered};
use crate::query::functions::key::key_expr;

/// The groups of a query level: what they are made by and what is computed over them.
pub(crate) struct Grouping<'s> {
    scope: &'s Scope,
    /// Grouping expressions as the plan computes them.
    keys: Vec<Expr>,
    /// Expressions that have one value per group, and the columns that hold it.
    replacements: Vec<(Expr, Expr)>,
    /// Aggregates and the columns that hold them.
    aggregates: Vec<(Expr, Expr)>,
}

impl<'s> Grouping<'s> {
    pub(crate) fn new(
        analyzer: &mut Analyzer<'_>,
        scope: &'s Scope,
        group_by: Vec<Typed>,
    ) -> Result<Self, QueryError> {
        let mut grouping = Self {
            scope,
            keys: Vec::new(),
            replacements: Vec::new(),
            aggregates: Vec::new(),
        };
        for value in group_by {
            if grouping
                .replacements
                .iter()
                .any(|(expr, _)| *expr == value.expr)
            {
                continue;
            }
            let key = key_expr(value.expr.clone(), value.ty, &value.arrow, true);
            if key == value.expr {
                if let Expr::Column(_) = value.expr {
                    grouping.keys.push(value.expr.clone());
                    grouping.replacements.push((value.expr.clone(), value.expr));
                } else {
                    let name = analyzer.unique_name("group");
                    grouping.keys.push(value.expr.clone().alias(&name));
                    let column = Expr::Column(Column::new_unqualified(name));
                    grouping.replacements.push((value.expr, column));
                }
            } else {
                // Equal values that look different share a group: one of them stands for it.
                let name = analyzer.unique_name("group");
                grouping.keys.push(key.alias(name));
                let ordered = ordered_type(&value.arrow);
                let (argument, arrow) = match &ordered {
                    Some(integers) => (to_ordered(value.expr.clone()), integers),
                    None => (value.expr.clone(), &value.arrow),
                };
                let function = aggregate_function(AggregateKind::Min, arrow.clone())?;
                let member = Expr::AggregateFunction(AggregateFunction::new_udf(
                    function,
                    vec![argument],
                    false,
                    None,
                    vec![],
                    None,
                ));
                let mut member = grouping.aggregate_column(analyzer, member);
                if ordered.is_some() {
                    member = from_ordered(member);
                }
                grouping.replacements.push((value.expr, member));
            }
        }
        Ok(grouping)
    }

    fn aggregate_column(&mut self, analyzer: &mut Analyzer<'_>, aggregate: Expr) -> Expr {
        if let Some((_, column)) = self
            .aggregates
            .iter()
            .find(|(known, _)| *known == aggregate)
        {
            return column.clone();
        }
        let column = Expr::Column(Column::new_unqualified(analyzer.unique_name("aggregate")));
        self.aggregates.push((aggregate, column.clone()));
        column
    }

    /// Rewrites an expression over rows into one over groups. 42803 if it needs a column that
    /// has no single value in a group.
    pub(crate) fn over_groups(
        &mut self,
        analyzer: &mut Analyzer<'_>,
        value: Typed,
    ) -> Result<Typed, QueryError> {
        let position = value.position;
        let expr = value.expr.clone().transform_down(|node| {
            if let Some((_, column)) = self.replacements.iter().find(|(expr, _)| *expr == node) {
                return Ok(Transformed::new(
                    column.clone(),
                    true,
                    TreeNodeRecursion::Jump,
                ));
            }
            if matches!(node, Expr::AggregateFunction(_)) {
                let column = self.aggregate_column(analyzer, node);
                return Ok(Transformed::new(column, true, TreeNodeRecursion::Jump));
            }
            if let Expr::Column(column) = &node {
                let reference = analyzer
                    .references
                    .iter()
                    .filter(|(expr, at)| *expr == node && Some(*at) >= position)
                    .map(|(_, at)| *at)
                    .min();
                let place = reference.or(position);
                return Err(DataFusionError::from(self.ungrouped(column).at(place)));
            }
            Ok(Transformed::no(node))
        })?;
        Ok(Typed {
            expr: expr.data,
            ..value
        })
    }

    fn ungrouped(&self, column: &Column) -> QueryError {
        let expr = Expr::Column(column.clone());
        let name = self
            .scope
            .columns
            .iter()
            .find(|visible| visible.expr == expr)
            .map_or_else(
                || column.name.clone(),
                |visible| match &visible.relation {
                    Some(relation) => format!("{relation}.{}", visible.name),
                    None => visible.name.clone(),
                },
            );
        QueryError::new(
            sqlstate::GROUPING_ERROR,
            format!(
                "column \"{name}\" must appear in the GROUP BY clause or be used in an \
                 aggregate function"
            ),
        )
    }

    /// The plan that forms the groups and computes the aggregates.
    pub(crate) fn plan(
        self,
        analyzer: &mut Analyzer<'_>,
        input: LogicalPlan,
    ) -> Result<LogicalPlan, QueryError> {
        let aggregates: Vec<Expr> = self
            .aggregates
            .into_iter()
            .map(|(aggregate, column)| match column {
                Expr::Column(column) => aggregate.alias(column.name),
                _ => aggregate,
            })
            .collect();
        if self.keys.is_empty() && aggregates.is_empty() {
            // One group, whatever the rows are.
            return count_rows(input, &analyzer.unique_name("aggregate"));
        }
        let (input, keys) = computed_keys(analyzer, input, self.keys)?;
        let aggregate = Aggregate::try_new(Arc::new(input), keys, aggregates)?;
        Ok(LogicalPlan::Aggregate(aggregate))
    }
}

/// Keys that are computed by volatile functions, among them asynchronous ones, become columns of
/// the input first: grouping itself calls no function twice, nor an asynchronous one.
fn computed_keys(
    analyzer: &mut Analyzer<'_>,
    input: LogicalPlan,
    keys: Vec<Expr>,
) -> Result<(LogicalPlan, Vec<Expr>), QueryError> {
    if !keys.iter().any(Expr::is_volatile) {
        return Ok((input, keys));
    }
    let columns = input.schema().columns();
    let mut exprs: Vec<Expr> = columns.into_iter().map(Expr::Column).collect();
    let mut over_columns = Vec::with_capacity(keys.len());
    for key in keys {
        match key {
            Expr::Alias(alias) if alias.expr.is_volatile() => {
                let computed = analyzer.unique_name("key");
                exprs.push(alias.expr.alias(&computed));
                let column = Expr::Column(Column::new_unqualified(computed));
                over_columns.push(column.alias(alias.name));
            }
            plain => over_columns.push(plain),
        }
    }
    Ok((super::select::project(input, exprs)?, over_columns))
}

/// One row: how many rows `input` has, in a column called `name`.
pub(crate) fn count_rows(input: LogicalPlan, name: &str) -> Result<LogicalPlan, QueryError> {
    let function = aggregate_function(AggregateKind::Count, DataType::Int64)?;
    let one = vec![datafusion::logical_expr::lit(1_i64)];
    let count = AggregateFunction::new_udf(function, one, false, None, vec![], None);
    let count = Expr::AggregateFunction(count).alias(name);
    Ok(LogicalPlan::Aggregate(Aggregate::try_new(
        Arc::new(input),
        vec![],
        vec![count],
    )?))
}
