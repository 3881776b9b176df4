//! Aggregate calls (`parse_agg.c`).

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::{AggregateFunction, Sort};
use trunkline_pgformat::Oid;
use trunkline_types::oids;

use super::function::Call;
use super::resolve::{ANY, Choice, choose};
use super::{Analyzer, Level, Typed};
use crate::query::error::{QueryError, sqlstate};
use crate::query::functions::aggregate::{AggregateKind, aggregate_function, ordered_concat};
use crate::query::functions::cast::cast_expr;
use crate::query::functions::float_order::{from_ordered, ordered_type, to_ordered};
use crate::query::functions::key::key_expr;
use crate::query::pgtype::{CoercionContext, PgType, arrow_type};

use oids::{
    BOOL, BPCHAR, BYTEA, DATE, FLOAT4, FLOAT8, INT2, INT4, INT8, NUMERIC, OID, PG_LSN, TEXT,
    TIMESTAMP, TIMESTAMPTZ,
};

type Signature = (&'static [Oid], Oid);

const NUMBERS: [Oid; 6] = [INT2, INT4, INT8, FLOAT4, FLOAT8, NUMERIC];

/// Types that have `min` and `max`.
const ORDERED: [Signature; 14] = [
    (&[INT2], INT2),
    (&[INT4], INT4),
    (&[INT8], INT8),
    (&[FLOAT4], FLOAT4),
    (&[FLOAT8], FLOAT8),
    (&[NUMERIC], NUMERIC),
    (&[TEXT], TEXT),
    (&[BPCHAR], BPCHAR),
    (&[BYTEA], BYTEA),
    (&[DATE], DATE),
    (&[TIMESTAMP], TIMESTAMP),
    (&[TIMESTAMPTZ], TIMESTAMPTZ),
    (&[OID], OID),
    (&[PG_LSN], PG_LSN),
];

/// Types `interval` and `money`: they count when PostgreSQL chooses, but no value has them here.
const INTERVAL: Oid = Oid(1186);
const MONEY: Oid = Oid(790);

const SUMS: [Signature; 8] = [
    (&[INT2], INT8),
    (&[INT4], INT8),
    (&[INT8], NUMERIC),
    (&[FLOAT4], FLOAT4),
    (&[FLOAT8], FLOAT8),
    (&[NUMERIC], NUMERIC),
    (&[INTERVAL], INTERVAL),
    (&[MONEY], MONEY),
];

const AVERAGES: [Signature; 7] = [
    (&[INT2], NUMERIC),
    (&[INT4], NUMERIC),
    (&[INT8], NUMERIC),
    (&[FLOAT4], FLOAT8),
    (&[FLOAT8], FLOAT8),
    (&[NUMERIC], NUMERIC),
    (&[INTERVAL], INTERVAL),
];

/// Standard deviations and variances have no interval.
const SPREADS: [Signature; 6] = [
    (&[INT2], NUMERIC),
    (&[INT4], NUMERIC),
    (&[INT8], NUMERIC),
    (&[FLOAT4], FLOAT8),
    (&[FLOAT8], FLOAT8),
    (&[NUMERIC], NUMERIC),
];

fn overloads(name: &str) -> Option<(AggregateKind, &'static [Signature])> {
    Some(match name {
        "count" => (AggregateKind::Count, &[(&[ANY], INT8)]),
        "sum" => (AggregateKind::Sum, &SUMS),
        "avg" => (AggregateKind::Average, &AVERAGES),
        "min" => (AggregateKind::Min, &ORDERED),
        "max" => (AggregateKind::Max, &ORDERED),
        "bool_and" | "every" => (AggregateKind::And, &[(&[BOOL], BOOL)]),
        "bool_or" => (AggregateKind::Or, &[(&[BOOL], BOOL)]),
        "string_agg" => (
            AggregateKind::Concat,
            &[(&[TEXT, TEXT], TEXT), (&[BYTEA, BYTEA], BYTEA)],
        ),
        "stddev" | "stddev_samp" => (AggregateKind::StddevSample, &SPREADS),
        "stddev_pop" => (AggregateKind::StddevPopulation, &SPREADS),
        "variance" | "var_samp" => (AggregateKind::VarianceSample, &SPREADS),
        "var_pop" => (AggregateKind::VariancePopulation, &SPREADS),
        _ => return None,
    })
}

/// Aggregates that PostgreSQL has and this engine doesn't.
const MISSING: [&str; 26] = [
    "any_value",
    "array_agg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "corr",
    "covar_pop",
    "covar_samp",
    "grouping",
    "json_agg",
    "json_object_agg",
    "jsonb_agg",
    "jsonb_object_agg",
    "mode",
    "percentile_cont",
    "percentile_disc",
    "range_agg",
    "regr_avgx",
    "regr_avgy",
    "regr_count",
    "regr_intercept",
    "regr_r2",
    "regr_slope",
    "regr_sxx",
    "regr_sxy",
    "regr_syy",
];

/// Whether PostgreSQL has an aggregate of this name.
pub(crate) fn is_aggregate(name: &str) -> bool {
    overloads(name).is_some() || MISSING.contains(&name)
}

/// Whether an expression holds an aggregate of its own level.
pub(crate) fn has_aggregate(expr: &Expr) -> Result<bool, QueryError> {
    let mut found = false;
    expr.apply(|node| {
        if matches!(node, Expr::AggregateFunction(_)) {
            found = true;
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

fn grouping_error(message: impl Into<String>) -> QueryError {
    QueryError::new(sqlstate::GROUPING_ERROR, message)
}

impl Analyzer<'_> {
    pub(crate) fn aggregate(
        &mut self,
        call: Call<'_>,
        level: &Level<'_>,
    ) -> Result<Typed, QueryError> {
        let Some((kind, signatures)) = overloads(&call.name) else {
            return Err(QueryError::unsupported(format!(
                "aggregate function {} is not supported",
                call.name
            )));
        };
        if let Some(clause) = level.no_aggregates {
            return Err(grouping_error(format!(
                "aggregate functions are not allowed in {clause}"
            )));
        }
        let mut args = Vec::new();
        for arg in &call.args {
            args.push(self.expr(arg, level)?);
        }
        let filter = match call.filter {
            Some(filter) => {
                let value = self.expr(filter, level)?;
                Some(self.condition(value, "FILTER")?)
            }
            None => None,
        };
        for arg in &args {
            if has_aggregate(&arg.expr)? {
                return Err(
                    grouping_error("aggregate function calls cannot be nested").at(arg.position)
                );
            }
        }
        if let Some(filter) = &filter
            && has_aggregate(filter)?
        {
            return Err(grouping_error(
                "aggregate functions are not allowed in FILTER",
            ));
        }
        if call.star {
            if kind != AggregateKind::Count || !args.is_empty() {
                return Err(undefined(&call.name, ""));
            }
            args.push(Typed::of(
                Expr::Literal(ScalarValue::Int64(Some(1)), None),
                INT8,
            ));
        } else if args.is_empty() {
            if kind == AggregateKind::Count {
                return Err(QueryError::new(
                    sqlstate::WRONG_OBJECT_TYPE,
                    "count(*) must be used to call a parameterless aggregate function",
                ));
            }
            return Err(undefined(&call.name, ""));
        }
        let types: Vec<Oid> = args.iter().map(|arg| arg.ty.oid).collect();
        let wanted: Vec<&[Oid]> = signatures.iter().map(|(wanted, _)| *wanted).collect();
        let index = match choose(&types, &wanted) {
            Choice::One(index) => index,
            other => {
                let names: Vec<String> = args.iter().map(|arg| arg.ty.name()).collect();
                if other == Choice::None {
                    return Err(undefined(&call.name, &names.join(", ")));
                }
                return Err(QueryError::new(
                    sqlstate::AMBIGUOUS_FUNCTION,
                    format!("function {}({}) is not unique", call.name, names.join(", ")),
                )
                .with_hint(
                    "Could not choose a best candidate function. \
                     You might need to add explicit type casts.",
                ));
            }
        };
        let (wanted, result) = signatures[index];
        let mut args = self.arguments(args, wanted)?;
        // Only a concatenation depends on the order of its rows.
        let order_by = self.aggregate_order(&call, level)?;
        let distinct = call.distinct && !matches!(kind, AggregateKind::Min | AggregateKind::Max);
        if distinct && kind == AggregateKind::Count {
            for arg in &mut args {
                arg.expr = key_expr(arg.expr.clone(), arg.ty, &arg.arrow, true);
            }
        }
        if distinct && !matches!(kind, AggregateKind::Count) {
            for arg in &mut args {
                self.distinct_argument(arg);
            }
        }
        let mut extreme_of = None;
        if matches!(kind, AggregateKind::Min | AggregateKind::Max) {
            let arg = &mut args[0];
            extreme_of = Some((arg.ty, arg.arrow.clone()));
            if let Some(integers) = ordered_type(&arg.arrow) {
                arg.expr = to_ordered(arg.expr.clone());
                arg.arrow = integers;
            } else if is_padded(arg.ty) {
                // The least and the greatest of padded strings are found without their padding.
                arg.expr = key_expr(arg.expr.clone(), arg.ty, &arg.arrow, false);
            }
        }
        let numeric = NUMBERS.contains(&args[0].ty.oid);
        let arrow = match kind {
            AggregateKind::Min | AggregateKind::Max => args[0].arrow.clone(),
            AggregateKind::Sum if numeric && result == NUMERIC => sum_arrow(&args[0].arrow),
            _ => arrow_type(PgType::new(result)),
        };
        let mut exprs: Vec<Expr> = args.into_iter().map(|arg| arg.expr).collect();
        let function = if kind == AggregateKind::Concat {
            let mut order = Vec::new();
            for key in order_by {
                order.push((!key.asc, key.nulls_first));
                exprs.push(key.expr);
            }
            ordered_concat(arrow.clone(), order)
        } else {
            aggregate_function(kind, arrow.clone())?
        };
        let aggregate = AggregateFunction::new_udf(
            function,
            exprs,
            distinct,
            filter.map(Box::new),
            Vec::new(),
            None,
        );
        let mut expr = Expr::AggregateFunction(aggregate);
        let mut arrow = arrow;
        let result = PgType::new(result);
        if let Some((ty, travels_as)) = extreme_of {
            if ordered_type(&travels_as).is_some() {
                expr = from_ordered(expr);
                arrow = travels_as;
            } else if is_padded(ty) {
                expr = cast_expr(expr, result, ty, arrow.clone(), false, &self.env.styles);
            }
        }
        Ok(Typed::new(expr, result, arrow))
    }

    /// DISTINCT compares what travels: a numeric of variable scale is brought to its shortest
    /// form first, so that 1.0 and 1.00 are one value.
    fn distinct_argument(&mut self, arg: &mut Typed) {
        if arg.arrow == DataType::LargeBinary {
            arg.expr = crate::query::functions::key::shortest_numeric(arg.expr.clone());
        }
    }

    fn aggregate_order(
        &mut self,
        call: &Call<'_>,
        level: &Level<'_>,
    ) -> Result<Vec<Sort>, QueryError> {
        let mut keys = Vec::new();
        for key in &call.order_by {
            let value = self.expr(&key.expr, level)?;
            let value = self.resolve_unknown(value)?;
            let value = self.coerce(value.clone(), value.ty, CoercionContext::Implicit)?;
            keys.push(super::select::sort_key(value, &key.options));
        }
        Ok(keys)
    }
}

/// Whether all strings of the type have blanks up to one length.
fn is_padded(ty: PgType) -> bool {
    ty.oid == BPCHAR && ty.typmod >= 4
}

fn undefined(name: &str, args: &str) -> QueryError {
    QueryError::new(
        sqlstate::UNDEFINED_FUNCTION,
        format!("function {name}({args}) does not exist"),
    )
    .with_hint(
        "No function matches the given name and argument types. \
         You might need to add explicit type casts.",
    )
}

/// How a sum of numerics travels: an i128 holds any sum of 10^11 values of up to 27 digits.
fn sum_arrow(arrow: &DataType) -> DataType {
    match arrow {
        DataType::Int64 => DataType::Decimal128(38, 0),
        DataType::Decimal128(precision, scale) if *precision <= 27 => {
            DataType::Decimal128(38, *scale)
        }
        _ => DataType::LargeBinary,
    }
}
