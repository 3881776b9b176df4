//! FROM clauses (`parse_clause.c`): relations, subqueries, functions, VALUES and joins.

use std::sync::Arc;

use datafusion::catalog::default_table_source::DefaultTableSource;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, TableReference, UnnestOptions};
use datafusion::logical_expr::{Expr, JoinType, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, FunctionArg, FunctionArgExpr, Join, JoinConstraint, JoinOperator, ObjectName,
    ObjectNamePart, TableAlias, TableFactor, TableWithJoins,
};
use trunkline_pgformat::Oid;
use trunkline_types::oids;

use super::array::element_of;
use super::expr::case_of;
use super::resolve::{Choice, choose};
use super::{
    Analyzer, Bound, Level, Scope, ScopeColumn, Typed, fold, name_parts, name_span, qualified,
    unsupported_clause,
};
use crate::query::error::{QueryError, sqlstate};
use crate::query::functions::arrays::{ArrayOperation, array_call};
use crate::query::functions::record::record_column;
use crate::query::pgtype::{CoercionContext, PgType, arrow_type};
use crate::query::scan::RelationTable;
use crate::query::series::{series_element, series_table};
use crate::query::session::ExternalResult;

/// A plan and what it makes visible.
pub(crate) struct Source {
    pub plan: LogicalPlan,
    pub scope: Scope,
}

impl Scope {
    fn add(&mut self, other: Scope) -> Result<(), QueryError> {
        for relation in &other.relations {
            if self.relations.contains(relation) {
                return Err(QueryError::new(
                    sqlstate::DUPLICATE_ALIAS,
                    format!("table name \"{relation}\" specified more than once"),
                ));
            }
        }
        self.relations.extend(other.relations);
        self.aliased.extend(other.aliased);
        self.columns.extend(other.columns);
        Ok(())
    }
}

/// Column aliases over a FROM item's columns; 42P10 if there are more aliases than columns.
fn rename(scope: &mut Scope, alias: &TableAlias) -> Result<(), QueryError> {
    let given = alias.columns.len();
    if given > scope.columns.len() {
        return Err(QueryError::new(
            sqlstate::INVALID_COLUMN_REFERENCE,
            format!(
                "table \"{}\" has {} columns available but {given} columns specified",
                fold(&alias.name),
                scope.columns.len()
            ),
        ));
    }
    for (column, alias) in scope.columns.iter_mut().zip(&alias.columns) {
        column.name = fold(&alias.name);
    }
    Ok(())
}

impl Analyzer<'_> {
    /// A whole FROM clause; without items, one row of no columns.
    pub(crate) fn bind_from(
        &mut self,
        items: &[TableWithJoins],
        parent: Option<&Level<'_>>,
    ) -> Result<Source, QueryError> {
        let mut whole: Option<Source> = None;
        for item in items {
            let source = self.table_with_joins(item, parent)?;
            whole = Some(match whole {
                None => source,
                Some(mut before) => {
                    before.scope.add(source.scope)?;
                    let plan = LogicalPlanBuilder::from(before.plan)
                        .cross_join(source.plan)?
                        .build()?;
                    Source {
                        plan,
                        scope: before.scope,
                    }
                }
            });
        }
        match whole {
            Some(source) => Ok(source),
            None => Ok(Source {
                plan: LogicalPlanBuilder::empty(true).build()?,
                scope: Scope::default(),
            }),
        }
    }

    fn table_with_joins(
        &mut self,
        item: &TableWithJoins,
        parent: Option<&Level<'_>>,
    ) -> Result<Source, QueryError> {
        let mut left = self.table_factor(&item.relation, parent)?;
        for join in &item.joins {
            let right = self.table_factor(&join.relation, parent)?;
            left = self.join(left, right, join, parent)?;
        }
        Ok(left)
    }

    fn table_factor(
        &mut self,
        factor: &TableFactor,
        parent: Option<&Level<'_>>,
    ) -> Result<Source, QueryError> {
        match factor {
            TableFactor::Table {
                name,
                alias,
                args: None,
                with_ordinality,
                sample,
                ..
            } => {
                if *with_ordinality {
                    return Err(unsupported_clause("WITH ORDINALITY"));
                }
                if sample.is_some() {
                    return Err(unsupported_clause("TABLESAMPLE"));
                }
                self.relation(name, alias.as_ref())
            }
            TableFactor::Table {
                name,
                alias,
                args: Some(args),
                with_ordinality,
                ..
            } => {
                if *with_ordinality {
                    return Err(unsupported_clause("WITH ORDINALITY"));
                }
                self.table_function(name, &args.args, alias.as_ref(), parent)
            }
            TableFactor::Function {
                lateral: false,
                name,
                args,
                alias,
                with_ordinality: false,
            } => self.table_function(name, args, alias.as_ref(), parent),
            TableFactor::UNNEST {
                alias,
                array_exprs,
                with_offset: false,
                with_offset_alias: None,
                with_ordinality: false,
            } => {
                let level =
                    Level::without_aggregates(Scope::default(), parent, "functions in FROM");
                let mut values = Vec::new();
                for expr in array_exprs {
                    values.push(self.expr(expr, &level)?);
                }
                let visible = alias.as_ref().map(|alias| fold(&alias.name));
                let visible = visible.unwrap_or_else(|| "unnest".to_owned());
                let first = values.first().and_then(|value| value.position);
                let position = self.word_before(first, "unnest");
                self.unnest(values, &visible, alias.as_ref(), position)
            }
            TableFactor::Derived {
                lateral: false,
                subquery,
                alias,
                ..
            } => {
                let bound = self.query(subquery, parent)?;
                let name = alias.as_ref().map(|alias| fold(&alias.name));
                self.derived(bound, name.as_deref(), alias.as_ref())
            }
            TableFactor::NestedJoin {
                table_with_joins,
                alias: None,
            } => self.table_with_joins(table_with_joins, parent),
            TableFactor::Derived { .. }
            | TableFactor::Function { .. }
            | TableFactor::UNNEST { .. } => Err(unsupported_clause("LATERAL or WITH ORDINALITY")),
            TableFactor::NestedJoin { .. } => Err(unsupported_clause("an alias of a join")),
            other => Err(QueryError::unsupported(format!(
                "FROM item {other} is not supported"
            ))),
        }
    }

    fn relation(
        &mut self,
        name: &ObjectName,
        alias: Option<&TableAlias>,
    ) -> Result<Source, QueryError> {
        let position = self.position(name_span(name));
        let parts = name_parts(name)?;
        let (schema, table) = match parts.as_slice() {
            [table] => (None, table),
            [schema, table] => (Some(schema.as_str()), table),
            [database, schema, table] => {
                if *database != self.env.session.database() {
                    return Err(QueryError::unsupported(format!(
                        "cross-database references are not implemented: \"{}\"",
                        parts.join(".")
                    ))
                    .at(position));
                }
                (Some(schema.as_str()), table)
            }
            _ => {
                return Err(QueryError::new(
                    sqlstate::SYNTAX_ERROR,
                    format!(
                        "improper relation name (too many dotted names): {}",
                        parts.join(".")
                    ),
                )
                .at(position));
            }
        };
        let unquoted = matches!(
            name.0.last(),
            Some(ObjectNamePart::Identifier(ident)) if ident.quote_style.is_none()
        );
        if unquoted && RESERVED.contains(&table.as_str()) {
            return Err(QueryError::syntax(Some(&name.to_string()), position));
        }
        let visible = alias.map_or_else(|| table.clone(), |alias| fold(&alias.name));
        if schema.is_none()
            && let Some(bound) = self
                .ctes
                .iter()
                .rev()
                .find_map(|ctes| ctes.get(table))
                .cloned()
        {
            return self.derived(bound, Some(&visible), alias);
        }
        let Some(relation) = self.env.tables.relation(schema, table)? else {
            let shown = match schema {
                Some(schema) => format!("{schema}.{table}"),
                None => table.clone(),
            };
            return Err(QueryError::new(
                sqlstate::UNDEFINED_TABLE,
                format!("relation \"{shown}\" does not exist"),
            )
            .at(position));
        };
        let qualifier = self.unique_name(&visible);
        let mut scope = Scope {
            columns: Vec::new(),
            relations: vec![visible.clone()],
            aliased: alias
                .map(|_| (table.clone(), visible.clone()))
                .into_iter()
                .collect(),
        };
        for column in &relation.columns {
            scope.columns.push(ScopeColumn {
                relation: Some(visible.clone()),
                name: column.name.clone(),
                ty: column.ty,
                arrow: arrow_type(column.ty),
                expr: Expr::Column(qualified(&qualifier, &column.name)),
                merged_away: false,
                origin: (relation.oid.0, column.number),
            });
        }
        if let Some(alias) = alias {
            rename(&mut scope, alias)?;
        }
        let source = Arc::new(DefaultTableSource::new(Arc::new(RelationTable::new(
            relation,
        ))));
        let plan =
            LogicalPlanBuilder::scan(TableReference::bare(qualifier), source, None)?.build()?;
        Ok(Source { plan, scope })
    }

    /// A planned query as a FROM item.
    fn derived(
        &mut self,
        bound: Bound,
        visible: Option<&str>,
        alias: Option<&TableAlias>,
    ) -> Result<Source, QueryError> {
        let qualifier = self.unique_name(visible.unwrap_or("unnamed_subquery"));
        let plan = LogicalPlanBuilder::from(bound.plan)
            .alias(TableReference::bare(qualifier.clone()))?
            .build()?;
        let columns = bound
            .columns
            .into_iter()
            .map(|column| ScopeColumn {
                relation: visible.map(str::to_owned),
                name: column.name,
                ty: column.ty,
                arrow: column.arrow,
                expr: Expr::Column(qualified(&qualifier, &column.column.name)),
                merged_away: false,
                origin: column.origin,
            })
            .collect();
        let relations = visible.map(str::to_owned).into_iter().collect();
        let mut scope = Scope {
            columns,
            relations,
            aliased: Vec::new(),
        };
        if let Some(alias) = alias {
            rename(&mut scope, alias)?;
        }
        Ok(Source { plan, scope })
    }

    fn table_function(
        &mut self,
        name: &ObjectName,
        args: &[FunctionArg],
        alias: Option<&TableAlias>,
        parent: Option<&Level<'_>>,
    ) -> Result<Source, QueryError> {
        let position = self.position(name_span(name));
        let function = name_parts(name)?.pop().unwrap_or_default();
        let mut values = Vec::new();
        let level = Level::without_aggregates(Scope::default(), parent, "functions in FROM");
        for arg in args {
            match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => {
                    values.push(self.expr(expr, &level)?);
                }
                other => return Err(unsupported_clause(&format!("argument {other}")).at(position)),
            }
        }
        let visible = alias.map_or_else(|| function.clone(), |alias| fold(&alias.name));
        if function == "unnest" {
            return self.unnest(values, &visible, alias, position);
        }
        if function == "generate_series" && values.iter().any(|value| !is_fixed(&value.expr)) {
            return self.computed_series(values, &visible, alias, position);
        }
        if function == "generate_series" {
            let (plan, qualifier, ty) = self.series(values, &visible, position)?;
            // The one column is called as the function's alias unless it has an alias itself.
            let column = ScopeColumn {
                relation: Some(visible.clone()),
                name: visible.clone(),
                ty,
                arrow: arrow_type(ty),
                expr: Expr::Column(qualified(&qualifier, SERIES_COLUMN)),
                merged_away: false,
                origin: (0, 0),
            };
            let mut scope = Scope {
                columns: vec![column],
                relations: vec![visible],
                aliased: Vec::new(),
            };
            if let Some(alias) = alias {
                rename(&mut scope, alias)?;
            }
            return Ok(Source { plan, scope });
        }
        if let Some(bound) = self.empty_function(&function, &values)? {
            return self.derived(bound, Some(&visible), alias);
        }
        if let Some((call, ExternalResult::Record(columns))) =
            self.external_function(&function, &values)?
        {
            return self.record(call, &columns, &visible, alias);
        }
        // Any other function gives one row.
        let value = self.named_function(&function, values, position)?;
        let value = self.resolve_unknown(value)?;
        let bound = self.one_column(value, &function, &visible, position)?;
        self.derived(bound, Some(&visible), alias)
    }

    /// One row of one value.
    fn one_column(
        &mut self,
        value: Typed,
        function: &str,
        visible: &str,
        position: Option<usize>,
    ) -> Result<Bound, QueryError> {
        let name = self.unique_name(function);
        let plan = super::select::project(
            LogicalPlanBuilder::empty(true).build()?,
            vec![value.expr.clone().alias(&name)],
        )?;
        let column = super::OutputColumn {
            name: visible.to_owned(),
            ty: value.ty,
            arrow: value.arrow,
            column: Column::new_unqualified(name),
            origin: (0, 0),
            unknown: super::Unknown::No,
            position,
        };
        Ok(Bound {
            plan,
            columns: vec![column],
        })
    }

    /// The rows of a list that an expression computes, its elements being of type `element`.
    fn elements(
        &mut self,
        list: Expr,
        element: PgType,
        visible: &str,
        alias: Option<&TableAlias>,
    ) -> Result<Source, QueryError> {
        let value = Typed::new(list, element, arrow_type(element));
        let mut bound = self.one_column(value, "elements", visible, None)?;
        let column = bound.columns[0].column.clone();
        bound.plan = LogicalPlanBuilder::from(bound.plan)
            .unnest_column_with_options(column, UnnestOptions::new().with_preserve_nulls(false))?
            .build()?;
        self.derived(bound, Some(visible), alias)
    }

    /// `unnest(array)`
    fn unnest(
        &mut self,
        values: Vec<Typed>,
        visible: &str,
        alias: Option<&TableAlias>,
        position: Option<usize>,
    ) -> Result<Source, QueryError> {
        let [array] = values.as_slice() else {
            return Err(unsupported_clause("unnest of several arrays").at(position));
        };
        let Some(element) = element_of(array.ty) else {
            let message = if array.is_unknown() {
                "function unnest(unknown) is not unique".to_owned()
            } else {
                format!("function unnest({}) does not exist", array.ty.name())
            };
            return Err(QueryError::new(sqlstate::UNDEFINED_FUNCTION, message)
                .with_hint(
                    "No function matches the given name and argument types. \
                     You might need to add explicit type casts.",
                )
                .at(position));
        };
        let element = PgType::new(element.oid);
        let list = array_call(ArrayOperation::Elements, element, vec![array.expr.clone()]);
        self.elements(list, element, visible, alias)
    }

    /// A series whose bounds depend on the query around it.
    fn computed_series(
        &mut self,
        values: Vec<Typed>,
        visible: &str,
        alias: Option<&TableAlias>,
        position: Option<usize>,
    ) -> Result<Source, QueryError> {
        let wide = values.iter().any(|value| value.ty.oid == oids::INT8);
        let element = PgType::new(if wide { oids::INT8 } else { oids::INT4 });
        let mut args = Vec::new();
        for value in values {
            if !matches!(
                value.ty.oid,
                oids::INT2 | oids::INT4 | oids::INT8 | oids::UNKNOWN
            ) {
                return Err(QueryError::unsupported(
                    "generate_series of computed bounds that are no integers is not supported",
                )
                .at(position));
            }
            args.push(self.coerce(value, element, CoercionContext::Implicit)?.expr);
        }
        let list = array_call(ArrayOperation::Series, element, args);
        self.elements(list, element, visible, alias)
    }

    /// Functions whose sets are always empty here.
    fn empty_function(
        &mut self,
        function: &str,
        values: &[Typed],
    ) -> Result<Option<Bound>, QueryError> {
        let columns: &[(&str, Oid)] = match (function, values.len()) {
            // There are no partitioned tables.
            ("pg_partition_ancestors", 1) => {
                self.coerce(
                    values[0].clone(),
                    PgType::new(oids::REGCLASS),
                    CoercionContext::Implicit,
                )?;
                &[("relid", oids::REGCLASS)]
            }
            // There is nothing that CREATE EXTENSION could load.
            ("pg_available_extensions", 0) => &[
                ("name", oids::NAME),
                ("default_version", oids::TEXT),
                ("comment", oids::TEXT),
            ],
            _ => return Ok(None),
        };
        self.empty_set(columns).map(Some)
    }

    /// No rows of these columns.
    pub(crate) fn empty_set(&mut self, columns: &[(&str, Oid)]) -> Result<Bound, QueryError> {
        let mut exprs = Vec::new();
        let mut output = Vec::new();
        for (name, oid) in columns {
            let null = super::coerce::typed_null(PgType::new(*oid));
            let unique = self.unique_name(name);
            exprs.push(null.expr.alias(&unique));
            output.push(super::OutputColumn {
                name: (*name).to_owned(),
                ty: null.ty,
                arrow: null.arrow,
                column: Column::new_unqualified(unique),
                origin: (0, 0),
                unknown: super::Unknown::No,
                position: None,
            });
        }
        let plan = super::select::project(LogicalPlanBuilder::empty(false).build()?, exprs)?;
        Ok(Bound {
            plan,
            columns: output,
        })
    }

    /// The one row of a function with several OUT parameters.
    fn record(
        &mut self,
        call: Expr,
        columns: &[(String, Oid)],
        visible: &str,
        alias: Option<&TableAlias>,
    ) -> Result<Source, QueryError> {
        let record = self.unique_name("record");
        // The call is made once: the projection above it only takes its columns out.
        let plan = super::select::project(
            LogicalPlanBuilder::empty(true).build()?,
            vec![call.alias(&record)],
        )?;
        let mut exprs = Vec::new();
        let mut output = Vec::new();
        for (index, (name, oid)) in columns.iter().enumerate() {
            let ty = PgType::new(*oid);
            let unique = self.unique_name(name);
            let value = Expr::Column(Column::new_unqualified(&record));
            exprs.push(record_column(value, index, ty).alias(&unique));
            output.push(super::OutputColumn {
                name: name.clone(),
                ty,
                arrow: arrow_type(ty),
                column: Column::new_unqualified(unique),
                origin: (0, 0),
                unknown: super::Unknown::No,
                position: None,
            });
        }
        let bound = Bound {
            plan: super::select::project(plan, exprs)?,
            columns: output,
        };
        self.derived(bound, Some(visible), alias)
    }

    /// A scan of `generate_series(values)` under a qualifier of its own.
    pub(crate) fn series(
        &mut self,
        values: Vec<Typed>,
        visible: &str,
        position: Option<usize>,
    ) -> Result<(LogicalPlan, String, PgType), QueryError> {
        let types: Vec<Oid> = values.iter().map(|value| value.ty.oid).collect();
        let mut overloads: Vec<Vec<Oid>> = Vec::new();
        for ty in [oids::INT4, oids::INT8, oids::NUMERIC] {
            overloads.push(vec![ty; 2]);
            overloads.push(vec![ty; 3]);
        }
        let candidates: Vec<&[Oid]> = overloads.iter().map(Vec::as_slice).collect();
        let chosen = match choose(&types, &candidates) {
            Choice::One(index) => &overloads[index],
            other => {
                let times = [oids::DATE, oids::TIMESTAMP, oids::TIMESTAMPTZ];
                if types.first().is_some_and(|first| times.contains(first)) {
                    return Err(QueryError::unsupported(
                        "generate_series over timestamps needs type interval, which is not \
                         supported",
                    )
                    .at(position));
                }
                let names: Vec<String> = values.iter().map(|value| value.ty.name()).collect();
                let call = format!("generate_series({})", names.join(", "));
                let (state, message, hint) = if other == Choice::None {
                    (
                        sqlstate::UNDEFINED_FUNCTION,
                        format!("function {call} does not exist"),
                        "No function matches the given name and argument types. \
                         You might need to add explicit type casts.",
                    )
                } else {
                    (
                        sqlstate::AMBIGUOUS_FUNCTION,
                        format!("function {call} is not unique"),
                        "Could not choose a best candidate function. \
                         You might need to add explicit type casts.",
                    )
                };
                return Err(QueryError::new(state, message).with_hint(hint).at(position));
            }
        };
        let element = PgType::new(chosen[0]);
        let mut bounds = Vec::new();
        for value in values {
            let value = self.coerce(value, element, CoercionContext::Implicit)?;
            let value = self.represent(value, &arrow_type(element));
            bounds.push(self.constant(&value.expr)?);
        }
        let series = series_element(element, bounds)?;
        let qualifier = self.unique_name(visible);
        let table = series_table(element, series);
        let source = Arc::new(DefaultTableSource::new(Arc::new(table)));
        let plan = LogicalPlanBuilder::scan(TableReference::bare(qualifier.clone()), source, None)?
            .build()?;
        Ok((plan, qualifier, element))
    }

    fn join(
        &mut self,
        left: Source,
        right: Source,
        join: &Join,
        parent: Option<&Level<'_>>,
    ) -> Result<Source, QueryError> {
        let (kind, constraint) = match &join.join_operator {
            JoinOperator::Join(constraint) | JoinOperator::Inner(constraint) => {
                (JoinType::Inner, constraint)
            }
            JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => {
                (JoinType::Left, constraint)
            }
            JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint) => {
                (JoinType::Right, constraint)
            }
            JoinOperator::FullOuter(constraint) => (JoinType::Full, constraint),
            JoinOperator::CrossJoin(JoinConstraint::None) => {
                let mut scope = left.scope;
                scope.add(right.scope)?;
                let plan = LogicalPlanBuilder::from(left.plan)
                    .cross_join(right.plan)?
                    .build()?;
                return Ok(Source { plan, scope });
            }
            other => {
                return Err(QueryError::unsupported(format!(
                    "join {other:?} is not supported"
                )));
            }
        };
        match constraint {
            JoinConstraint::On(condition) => {
                let mut scope = left.scope;
                scope.add(right.scope)?;
                let level = Level::without_aggregates(scope, parent, "JOIN conditions");
                let value = self.expr(condition, &level)?;
                let condition = self.condition(value, "JOIN/ON")?;
                let plan = LogicalPlanBuilder::from(left.plan)
                    .join_on(right.plan, kind, [condition])?
                    .build()?;
                Ok(Source {
                    plan,
                    scope: level.scope,
                })
            }
            JoinConstraint::Using(names) => {
                let names = names
                    .iter()
                    .map(|name| Ok(name_parts(name)?.pop().unwrap_or_default()))
                    .collect::<Result<Vec<_>, QueryError>>()?;
                self.join_using(left, right, kind, &names)
            }
            JoinConstraint::Natural => {
                let names: Vec<String> = visible(&left.scope)
                    .filter(|column| visible(&right.scope).any(|other| other.name == column.name))
                    .map(|column| column.name.clone())
                    .collect();
                self.join_using(left, right, kind, &names)
            }
            JoinConstraint::None => Err(QueryError::syntax(None, None)),
        }
    }

    fn join_using(
        &mut self,
        mut left: Source,
        mut right: Source,
        kind: JoinType,
        names: &[String],
    ) -> Result<Source, QueryError> {
        let mut conditions = Vec::new();
        let mut merged = Vec::new();
        for name in names {
            let a = using_column(&mut left.scope, name, "left")?;
            let b = using_column(&mut right.scope, name, "right")?;
            let values = vec![
                Typed::new(a.expr.clone(), a.ty, a.arrow.clone()),
                Typed::new(b.expr.clone(), b.ty, b.arrow.clone()),
            ];
            conditions.push(self.compare_values(
                BinaryOperator::Eq,
                values[0].clone(),
                values[1].clone(),
                None,
            )?);
            let alike = self.coerce_alike(values, "JOIN/USING")?;
            let value = match kind {
                JoinType::Right => alike[1].clone(),
                JoinType::Full => {
                    let test = alike[0].expr.clone().is_not_null();
                    case_of(vec![test], vec![alike[1].clone(), alike[0].clone()])
                }
                _ => alike[0].clone(),
            };
            merged.push(ScopeColumn {
                relation: None,
                name: name.clone(),
                ty: value.ty,
                arrow: value.arrow,
                expr: value.expr,
                merged_away: false,
                origin: if kind == JoinType::Right {
                    b.origin
                } else {
                    a.origin
                },
            });
        }
        let mut scope = Scope {
            columns: merged,
            ..Scope::default()
        };
        scope.add(left.scope)?;
        scope.add(right.scope)?;
        let builder = LogicalPlanBuilder::from(left.plan);
        let plan = if conditions.is_empty() && kind == JoinType::Inner {
            builder.cross_join(right.plan)?.build()?
        } else {
            if conditions.is_empty() {
                conditions.push(datafusion::logical_expr::lit(true));
            }
            builder.join_on(right.plan, kind, conditions)?.build()?
        };
        Ok(Source { plan, scope })
    }
}

/// Words that PostgreSQL reserves and the parser takes as relation names (`kwlist.h`).
const RESERVED: [&str; 32] = [
    "all",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "case",
    "cast",
    "check",
    "column",
    "constraint",
    "create",
    "default",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "from",
    "grant",
    "group",
    "having",
    "in",
    "into",
    "limit",
    "not",
    "null",
    "or",
    "order",
    "select",
    "union",
    "where",
];

/// The output column of a series scan.
pub(crate) const SERIES_COLUMN: &str = "generate_series";

/// Whether an expression is the same for every row.
fn is_fixed(expr: &Expr) -> bool {
    let mut fixed = true;
    let walked = expr.apply(|node| {
        fixed &= !matches!(node, Expr::Column(_) | Expr::OuterReferenceColumn(..));
        Ok(TreeNodeRecursion::Continue)
    });
    fixed && walked.is_ok()
}

fn visible(scope: &Scope) -> impl Iterator<Item = &ScopeColumn> {
    scope.columns.iter().filter(|column| !column.merged_away)
}

/// One side's column of a USING name, hidden from unqualified names from now on.
fn using_column(scope: &mut Scope, name: &str, side: &str) -> Result<ScopeColumn, QueryError> {
    let mut found = scope
        .columns
        .iter_mut()
        .filter(|column| !column.merged_away && column.name == name);
    let Some(column) = found.next() else {
        return Err(QueryError::new(
            sqlstate::UNDEFINED_COLUMN,
            format!("column \"{name}\" specified in USING clause does not exist in {side} table"),
        ));
    };
    if found.next().is_some() {
        return Err(QueryError::new(
            sqlstate::AMBIGUOUS_COLUMN,
            format!("common column name \"{name}\" appears more than once in {side} table"),
        ));
    }
    let copy = column.clone();
    column.merged_away = true;
    Ok(copy)
}
