//! Functions in FROM: series, arrays' elements, records, and functions that give one value.

use std::sync::Arc;

use datafusion::catalog::default_table_source::DefaultTableSource;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, TableReference, UnnestOptions};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast::{FunctionArg, FunctionArgExpr, ObjectName, TableAlias};
use trunkline_pgformat::Oid;
use trunkline_types::oids;

use super::array::element_of;
use super::from::{Source, rename};
use super::resolve::{Choice, choose};
use super::{
    Analyzer, Bound, Level, Scope, ScopeColumn, Typed, fold, name_parts, name_span, qualified,
    unsupported_clause,
};
use crate::query::error::{QueryError, sqlstate};
use crate::query::functions::arrays::{ArrayOperation, array_call};
use crate::query::functions::record::record_column;
use crate::query::pgtype::{CoercionContext, PgType, arrow_type};
use crate::query::series::{series_element, series_table};
use crate::query::session::ExternalResult;

/// The output column of a series scan.
pub(crate) const SERIES_COLUMN: &str = "generate_series";

impl Analyzer<'_> {
    /// A function as a FROM item.
    pub(crate) fn table_function(
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
    pub(crate) fn unnest(
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
}

/// Whether an expression is the same for every row.
fn is_fixed(expr: &Expr) -> bool {
    let mut fixed = true;
    let walked = expr.apply(|node| {
        fixed &= !matches!(node, Expr::Column(_) | Expr::OuterReferenceColumn(..));
        Ok(TreeNodeRecursion::Continue)
    });
    fixed && walked.is_ok()
}
