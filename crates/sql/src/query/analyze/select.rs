//! SELECT: its list, grouping, DISTINCT and ORDER BY (`analyze.c`, `parse_clause.c`, `parse_target.c`).

use std::sync::Arc;

use datafusion::common::Column;
use datafusion::logical_expr::expr::Sort;
use datafusion::logical_expr::{
    Distinct, Expr, Filter, LogicalPlan, LogicalPlanBuilder, Projection,
};
use datafusion::sql::sqlparser::ast::{
    Distinct as SqlDistinct, Expr as SqlExpr, FunctionArguments, GroupByExpr, OrderByExpr,
    OrderByOptions, Select, SelectItem, SelectItemQualifiedWildcardKind, Spanned, Value,
};

use trunkline_types::oids;

use super::aggregate::has_aggregate;
use super::expr::default_name;
use super::group::Grouping;
use super::table_function::SERIES_COLUMN;
use super::{
    Analyzer, Bound, Level, OutputColumn, Scope, ScopeColumn, Typed, Unknown, fold, name_parts,
    qualified, unsupported_clause,
};
use crate::query::error::{QueryError, sqlstate};
use crate::query::functions::key::key_expr;
use crate::query::parse::EMPTY_LIST;
use crate::query::pgtype::{CoercionContext, PgType};

/// A projection whose expressions are taken as they are.
pub(crate) fn project(input: LogicalPlan, exprs: Vec<Expr>) -> Result<LogicalPlan, QueryError> {
    Ok(LogicalPlan::Projection(Projection::try_new(
        exprs,
        Arc::new(input),
    )?))
}

/// A sort key with PostgreSQL's defaults: NULLs are larger than everything.
pub(crate) fn sort_key(value: Typed, options: &OrderByOptions) -> Sort {
    let ascending = options.asc.unwrap_or(true);
    let nulls_first = options.nulls_first.unwrap_or(!ascending);
    Sort::new(
        key_expr(value.expr, value.ty, &value.arrow, false),
        ascending,
        nulls_first,
    )
}

/// An entry of the select list.
pub(crate) struct Target {
    pub value: Typed,
    pub name: String,
    pub origin: (u32, i16),
    /// What the value was before it became text for want of anything better.
    pub unknown: Unknown,
}

/// A key of ORDER BY: an output column, or an expression that isn't one.
pub(crate) enum OrderKey {
    Output(usize),
    Hidden(Typed),
}

impl Analyzer<'_> {
    pub(crate) fn select(
        &mut self,
        select: &Select,
        parent: Option<&Level<'_>>,
        order: Vec<&OrderByExpr>,
        assigned: Option<&[PgType]>,
    ) -> Result<Bound, QueryError> {
        refuse_foreign_clauses(select)?;
        let source = self.bind_from(&select.from, parent)?;
        let mut plan = source.plan;
        let mut level = Level::new(source.scope, parent);
        if let Some(condition) = &select.selection {
            level.no_aggregates = Some("WHERE");
            let value = self.expr(condition, &level)?;
            let condition = self.condition(value, "WHERE")?;
            plan = LogicalPlan::Filter(Filter::try_new(condition, Arc::new(plan))?);
            level.no_aggregates = None;
        }
        let mut targets = Vec::new();
        for item in &select.projection {
            self.select_item(item, &level, &mut targets, &mut plan)?;
        }
        self.decide_unknowns(&mut targets, assigned)?;
        let group_by = self.group_by(select, &mut level, &targets)?;
        let mut keys = Vec::new();
        for key in &order {
            keys.push((self.order_key(&key.expr, &level, &targets)?, key.options));
        }
        let having = match &select.having {
            Some(having) => {
                let value = self.expr(having, &level)?;
                let condition = self.condition(value.clone(), "HAVING")?;
                Some(Typed {
                    expr: condition,
                    ..value
                })
            }
            None => None,
        };
        let distinct_on = match &select.distinct {
            Some(SqlDistinct::On(exprs)) => {
                let mut on = Vec::new();
                for expr in exprs {
                    on.push(self.order_key(expr, &level, &targets)?);
                }
                Some(on)
            }
            _ => None,
        };
        let mut grouped = !group_by.is_empty() || having.is_some();
        for target in &targets {
            grouped |= has_aggregate(&target.value.expr)?;
        }
        for (key, _) in &keys {
            if let OrderKey::Hidden(value) = key {
                grouped |= has_aggregate(&value.expr)?;
            }
        }
        if grouped {
            let mut grouping = Grouping::new(self, &level.scope, group_by)?;
            for target in &mut targets {
                target.value = grouping.over_groups(self, target.value.clone())?;
            }
            for (key, _) in &mut keys {
                if let OrderKey::Hidden(value) = key {
                    *value = grouping.over_groups(self, value.clone())?;
                }
            }
            let having = match having {
                Some(having) => Some(grouping.over_groups(self, having)?),
                None => None,
            };
            plan = grouping.plan(self, plan)?;
            if let Some(having) = having {
                plan = LogicalPlan::Filter(Filter::try_new(having.expr, Arc::new(plan))?);
            }
        }
        match distinct_on {
            Some(on) => self.distinct_on(plan, targets, keys, on),
            None => {
                let distinct = matches!(select.distinct, Some(SqlDistinct::Distinct));
                self.finish_select(plan, targets, keys, distinct)
            }
        }
    }

    /// Projects, removes duplicates and sorts.
    fn finish_select(
        &mut self,
        plan: LogicalPlan,
        targets: Vec<Target>,
        keys: Vec<(OrderKey, OrderByOptions)>,
        distinct: bool,
    ) -> Result<Bound, QueryError> {
        let mut columns = Vec::with_capacity(targets.len());
        let mut exprs = Vec::with_capacity(targets.len() + keys.len());
        for target in &targets {
            let base = if target.name == "?column?" {
                "column"
            } else {
                &target.name
            };
            let name = self.unique_name(base);
            exprs.push(target.value.expr.clone().alias(&name));
            columns.push(OutputColumn {
                name: target.name.clone(),
                ty: target.value.ty,
                arrow: target.value.arrow.clone(),
                column: Column::new_unqualified(name),
                origin: target.origin,
                unknown: target.unknown.clone(),
                position: target.value.position,
            });
        }
        let mut sort = Vec::new();
        let mut hidden = false;
        for (key, options) in keys {
            let value = match key {
                OrderKey::Output(index) => {
                    sort.push((OrderKey::Output(index), options));
                    continue;
                }
                OrderKey::Hidden(value) if distinct => {
                    return Err(QueryError::new(
                        sqlstate::INVALID_COLUMN_REFERENCE,
                        "for SELECT DISTINCT, ORDER BY expressions must appear in select list",
                    )
                    .at(value.position));
                }
                OrderKey::Hidden(value) => {
                    hidden = true;
                    let name = self.unique_name("sort");
                    exprs.push(value.expr.clone().alias(&name));
                    Typed {
                        expr: Expr::Column(Column::new_unqualified(name)),
                        ..value
                    }
                }
            };
            sort.push((OrderKey::Hidden(value), options));
        }
        let mut bound = Bound {
            plan: project(plan, exprs)?,
            columns,
        };
        if distinct {
            bound = self.distinct(bound)?;
        }
        // Only now is it known what the output columns are called.
        let sort: Vec<Sort> = sort
            .into_iter()
            .map(|(source, options)| match source {
                OrderKey::Output(index) => sort_key(output_value(&bound.columns[index]), &options),
                OrderKey::Hidden(value) => sort_key(value, &options),
            })
            .collect();
        if !sort.is_empty() {
            bound.plan = LogicalPlanBuilder::from(bound.plan).sort(sort)?.build()?;
        }
        if hidden {
            let visible = bound
                .columns
                .iter()
                .map(|column| Expr::Column(column.column.clone()))
                .collect();
            bound.plan = project(bound.plan, visible)?;
        }
        Ok(bound)
    }

    /// One row of each kind (DISTINCT, UNION).
    pub(crate) fn distinct(&mut self, bound: Bound) -> Result<Bound, QueryError> {
        let values: Vec<Typed> = bound.columns.iter().map(output_value).collect();
        let plain = values
            .iter()
            .all(|value| key_expr(value.expr.clone(), value.ty, &value.arrow, true) == value.expr);
        if plain {
            let plan = LogicalPlan::Distinct(Distinct::All(Arc::new(bound.plan)));
            return Ok(Bound {
                plan,
                columns: bound.columns,
            });
        }
        let scope = Scope::default();
        let mut grouping = Grouping::new(self, &scope, values.clone())?;
        let mut exprs = Vec::new();
        let mut columns = bound.columns;
        for (value, column) in values.into_iter().zip(&mut columns) {
            let value = grouping.over_groups(self, value)?;
            let name = self.unique_name(&column.name);
            exprs.push(value.expr.alias(&name));
            column.column = Column::new_unqualified(name);
        }
        let plan = grouping.plan(self, bound.plan)?;
        Ok(Bound {
            plan: project(plan, exprs)?,
            columns,
        })
    }

    fn distinct_on(
        &mut self,
        plan: LogicalPlan,
        targets: Vec<Target>,
        keys: Vec<(OrderKey, OrderByOptions)>,
        on: Vec<OrderKey>,
    ) -> Result<Bound, QueryError> {
        let value_of = |key: &OrderKey| match key {
            OrderKey::Output(index) => targets[*index].value.clone(),
            OrderKey::Hidden(value) => value.clone(),
        };
        let on: Vec<Typed> = on.iter().map(value_of).collect();
        let leading = keys.iter().take(on.len()).map(|(key, _)| value_of(key));
        for value in leading {
            if !on.iter().any(|other| other.expr == value.expr) {
                return Err(QueryError::new(
                    sqlstate::INVALID_COLUMN_REFERENCE,
                    "SELECT DISTINCT ON expressions must match initial ORDER BY expressions",
                )
                .at(value.position));
            }
        }
        let sort: Vec<Sort> = keys
            .iter()
            .map(|(key, options)| sort_key(value_of(key), options))
            .collect();
        let key = |value: Typed| key_expr(value.expr, value.ty, &value.arrow, true);
        let mut columns = Vec::new();
        let mut exprs = Vec::new();
        for target in &targets {
            let name = self.unique_name(&target.name);
            exprs.push(target.value.expr.clone().alias(&name));
            columns.push(OutputColumn {
                name: target.name.clone(),
                ty: target.value.ty,
                arrow: target.value.arrow.clone(),
                column: Column::new_unqualified(name),
                origin: target.origin,
                unknown: target.unknown.clone(),
                position: target.value.position,
            });
        }
        let sort = if sort.is_empty() { None } else { Some(sort) };
        let plan = LogicalPlanBuilder::from(plan)
            .distinct_on(on.into_iter().map(key).collect(), exprs, sort)?
            .build()?;
        Ok(Bound { plan, columns })
    }

    fn select_item(
        &mut self,
        item: &SelectItem,
        level: &Level<'_>,
        targets: &mut Vec<Target>,
        plan: &mut LogicalPlan,
    ) -> Result<(), QueryError> {
        match item {
            SelectItem::UnnamedExpr(SqlExpr::Identifier(ident)) if ident.value == EMPTY_LIST => {}
            SelectItem::UnnamedExpr(expr) => {
                let name = default_name(expr);
                targets.push(self.target(expr, name, level, plan)?);
            }
            SelectItem::ExprWithAlias { expr, alias } => {
                targets.push(self.target(expr, fold(alias), level, plan)?);
            }
            SelectItem::Wildcard(options) => {
                if level.scope.relations.is_empty() && level.scope.columns.is_empty() {
                    return Err(QueryError::new(
                        sqlstate::SYNTAX_ERROR,
                        "SELECT * with no tables specified is not valid",
                    )
                    .at(self.position(options.wildcard_token.0.span)));
                }
                for column in level
                    .scope
                    .columns
                    .iter()
                    .filter(|column| !column.merged_away)
                {
                    targets.push(column_target(column));
                }
            }
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                let relation = name_parts(name)?.pop().unwrap_or_default();
                if !level.scope.relations.contains(&relation) {
                    return Err(QueryError::new(
                        sqlstate::UNDEFINED_TABLE,
                        format!("missing FROM-clause entry for table \"{relation}\""),
                    )
                    .at(self.position(super::name_span(name))));
                }
                let matching =
                    |column: &&ScopeColumn| column.relation.as_deref() == Some(relation.as_str());
                for column in level.scope.columns.iter().filter(matching) {
                    targets.push(column_target(column));
                }
            }
            other => {
                return Err(QueryError::unsupported(format!(
                    "select item {other} is not supported"
                )));
            }
        }
        Ok(())
    }

    fn target(
        &mut self,
        expr: &SqlExpr,
        name: String,
        level: &Level<'_>,
        plan: &mut LogicalPlan,
    ) -> Result<Target, QueryError> {
        if let Some(value) = self.series_target(expr, plan)? {
            return Ok(Target {
                value,
                name,
                origin: (0, 0),
                unknown: Unknown::No,
            });
        }
        let value = self.expr(expr, level)?;
        let origin = level
            .scope
            .columns
            .iter()
            .find(|column| column.expr == value.expr && matches!(column.expr, Expr::Column(_)))
            .map_or((0, 0), |column| column.origin);
        Ok(Target {
            unknown: value.unknown.clone(),
            value,
            name,
            origin,
        })
    }

    /// `generate_series(...)` as a whole select item: every row of FROM with every element.
    fn series_target(
        &mut self,
        expr: &SqlExpr,
        plan: &mut LogicalPlan,
    ) -> Result<Option<Typed>, QueryError> {
        let SqlExpr::Function(function) = expr else {
            return Ok(None);
        };
        let name = name_parts(&function.name)?.pop().unwrap_or_default();
        let FunctionArguments::List(list) = &function.args else {
            return Ok(None);
        };
        if name == "pg_partition_ancestors" {
            // There are no partitioned tables: no row has any.
            let nothing = self.empty_set(&[("relid", oids::REGCLASS)])?;
            let column = nothing.columns[0].clone();
            *plan = LogicalPlanBuilder::from(plan.clone())
                .cross_join(nothing.plan)?
                .build()?;
            return Ok(Some(output_value(&column)));
        }
        if name != "generate_series" {
            return Ok(None);
        }
        let position = self.position(expr.span());
        if plan_has_series(plan) {
            return Err(QueryError::unsupported(
                "several set-returning functions in one SELECT are not supported",
            )
            .at(position));
        }
        let level = Level::without_aggregates(Scope::default(), None, "set-returning functions");
        let mut values = Vec::new();
        for arg in &list.args {
            match arg {
                datafusion::sql::sqlparser::ast::FunctionArg::Unnamed(
                    datafusion::sql::sqlparser::ast::FunctionArgExpr::Expr(expr),
                ) => values.push(self.expr(expr, &level)?),
                other => return Err(unsupported_clause(&format!("argument {other}"))),
            }
        }
        let (series, qualifier, ty) = self.series(values, SELECTED_SERIES, position)?;
        *plan = LogicalPlanBuilder::from(plan.clone())
            .cross_join(series)?
            .build()?;
        let column = Expr::Column(qualified(&qualifier, SERIES_COLUMN));
        Ok(Some(Typed::of(column, ty.oid)))
    }

    fn decide_unknowns(
        &mut self,
        targets: &mut [Target],
        assigned: Option<&[PgType]>,
    ) -> Result<(), QueryError> {
        for (index, target) in targets.iter_mut().enumerate() {
            if !target.value.is_unknown() {
                continue;
            }
            let value = target.value.clone();
            target.value = match assigned.and_then(|types| types.get(index)) {
                Some(ty) => {
                    let value = self.coerce(value, *ty, CoercionContext::Assignment)?;
                    let arrow = crate::query::pgtype::arrow_type(*ty);
                    self.represent(value, &arrow)
                }
                None => self.resolve_unknown(value)?,
            };
        }
        Ok(())
    }

    fn group_by(
        &mut self,
        select: &Select,
        level: &mut Level<'_>,
        targets: &[Target],
    ) -> Result<Vec<Typed>, QueryError> {
        let GroupByExpr::Expressions(exprs, modifiers) = &select.group_by else {
            return Err(unsupported_clause("GROUP BY ALL"));
        };
        if !modifiers.is_empty() {
            return Err(QueryError::syntax(Some("WITH"), None));
        }
        let mut keys = Vec::new();
        for expr in exprs {
            match expr {
                SqlExpr::Rollup(_) | SqlExpr::Cube(_) | SqlExpr::GroupingSets(_) => {
                    return Err(unsupported_clause("GROUP BY with grouping sets"));
                }
                SqlExpr::Tuple(items) if items.is_empty() => continue,
                _ => {}
            }
            let key = match self.ordinal(expr, targets, "GROUP BY")? {
                Some(index) => targets[index].value.clone(),
                None => self.group_key(expr, level, targets)?,
            };
            if has_aggregate(&key.expr)? {
                return Err(QueryError::new(
                    sqlstate::GROUPING_ERROR,
                    "aggregate functions are not allowed in GROUP BY",
                )
                .at(self.position(expr.span())));
            }
            keys.push(self.resolve_unknown(key)?);
        }
        Ok(keys)
    }

    /// A bare name means a column of FROM first, then an output column (`findTargetlistEntrySQL92`
    /// for GROUP BY).
    fn group_key(
        &mut self,
        expr: &SqlExpr,
        level: &mut Level<'_>,
        targets: &[Target],
    ) -> Result<Typed, QueryError> {
        if let SqlExpr::Identifier(ident) = expr {
            let name = fold(ident);
            let visible = level
                .scope
                .columns
                .iter()
                .any(|column| !column.merged_away && column.name == name);
            if !visible && let Some(target) = self.output_named(&name, targets, "GROUP BY")? {
                return Ok(targets[target].value.clone());
            }
        }
        level.no_aggregates = Some("GROUP BY");
        let key = self.expr(expr, level);
        level.no_aggregates = None;
        key
    }

    fn output_named(
        &self,
        name: &str,
        targets: &[Target],
        clause: &str,
    ) -> Result<Option<usize>, QueryError> {
        let mut found: Option<usize> = None;
        for (index, target) in targets.iter().enumerate() {
            if target.name != name {
                continue;
            }
            match found {
                Some(first) if targets[first].value.expr != target.value.expr => {
                    return Err(QueryError::new(
                        sqlstate::AMBIGUOUS_COLUMN,
                        format!("{clause} \"{name}\" is ambiguous"),
                    ));
                }
                Some(_) => {}
                None => found = Some(index),
            }
        }
        Ok(found)
    }

    /// An integer literal in GROUP BY or ORDER BY counts output columns.
    fn ordinal(
        &self,
        expr: &SqlExpr,
        targets: &[Target],
        clause: &str,
    ) -> Result<Option<usize>, QueryError> {
        let SqlExpr::Value(value) = expr else {
            return Ok(None);
        };
        let position = self.position(value.span);
        let number = match &value.value {
            Value::Number(text, _) => text.parse::<i64>().ok(),
            Value::Null | Value::Placeholder(_) => return Ok(None),
            _ => None,
        };
        let Some(number) = number else {
            return Err(QueryError::new(
                sqlstate::SYNTAX_ERROR,
                format!("non-integer constant in {clause}"),
            )
            .at(position));
        };
        match usize::try_from(number) {
            Ok(number) if (1..=targets.len()).contains(&number) => Ok(Some(number - 1)),
            _ => Err(QueryError::new(
                sqlstate::INVALID_COLUMN_REFERENCE,
                format!("{clause} position {number} is not in select list"),
            )
            .at(position)),
        }
    }

    /// A bare name in ORDER BY means an output column first.
    pub(crate) fn order_key(
        &mut self,
        expr: &SqlExpr,
        level: &Level<'_>,
        targets: &[Target],
    ) -> Result<OrderKey, QueryError> {
        if let Some(index) = self.ordinal(expr, targets, "ORDER BY")? {
            return Ok(OrderKey::Output(index));
        }
        if let SqlExpr::Identifier(ident) = expr
            && let Some(index) = self
                .output_named(&fold(ident), targets, "ORDER BY")
                .map_err(|error| error.at(self.position(ident.span)))?
        {
            return Ok(OrderKey::Output(index));
        }
        let value = self.expr(expr, level)?;
        let value = self.resolve_unknown(value)?;
        match targets
            .iter()
            .position(|target| target.value.expr == value.expr)
        {
            Some(index) => Ok(OrderKey::Output(index)),
            None => Ok(OrderKey::Hidden(value)),
        }
    }
}

/// The qualifier of a series in a select list.
const SELECTED_SERIES: &str = "project_set";

fn plan_has_series(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Join(join) => match join.right.as_ref() {
            LogicalPlan::TableScan(scan) => scan.table_name.table().starts_with(SELECTED_SERIES),
            _ => false,
        },
        _ => false,
    }
}

fn column_target(column: &ScopeColumn) -> Target {
    Target {
        value: Typed::new(column.expr.clone(), column.ty, column.arrow.clone()),
        name: column.name.clone(),
        origin: column.origin,
        unknown: Unknown::No,
    }
}

/// An output column as an expression over its query.
pub(crate) fn output_value(column: &OutputColumn) -> Typed {
    Typed::new(
        Expr::Column(column.column.clone()),
        column.ty,
        column.arrow.clone(),
    )
    .at(column.position)
}

/// Clauses that the parser knows from other dialects.
fn refuse_foreign_clauses(select: &Select) -> Result<(), QueryError> {
    if select.into.is_some() {
        return Err(unsupported_clause("SELECT INTO"));
    }
    if !select.named_window.is_empty() {
        return Err(unsupported_clause("WINDOW"));
    }
    let foreign = select.top.is_some()
        || select.exclude.is_some()
        || !select.lateral_views.is_empty()
        || select.prewhere.is_some()
        || !select.connect_by.is_empty()
        || !select.cluster_by.is_empty()
        || !select.distribute_by.is_empty()
        || !select.sort_by.is_empty()
        || select.qualify.is_some()
        || select.value_table_mode.is_some()
        || select.select_modifiers.is_some();
    if foreign {
        return Err(QueryError::syntax(None, None));
    }
    Ok(())
}
