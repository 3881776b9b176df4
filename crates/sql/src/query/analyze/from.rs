//! FROM clauses (`parse_clause.c`): relations, subqueries and joins.

use std::sync::Arc;

use datafusion::catalog::default_table_source::DefaultTableSource;
use datafusion::common::TableReference;
use datafusion::logical_expr::{Expr, JoinType, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Join, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart, TableAlias,
    TableFactor, TableWithJoins,
};

use super::expr::case_of;
use super::{
    Analyzer, Bound, Level, Scope, ScopeColumn, Typed, fold, name_parts, name_span, qualified,
    unsupported_clause,
};
use crate::query::error::{QueryError, sqlstate};
use crate::query::pgtype::arrow_type;
use crate::query::scan::RelationTable;

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
pub(crate) fn rename(scope: &mut Scope, alias: &TableAlias) -> Result<(), QueryError> {
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
        if relation.oid.is_valid() && !self.relations.contains(&relation.oid) {
            self.relations.push(relation.oid);
        }
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
    pub(crate) fn derived(
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
