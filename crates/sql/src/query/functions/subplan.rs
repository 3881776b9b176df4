//! Subqueries that are computed for each row of the query around them (PostgreSQL's `SubPlan`):
//! those that the optimiser cannot turn into joins, and `ARRAY(SELECT ...)`.
//!
//! The outer columns that a subquery uses are the call's arguments. For each combination of their
//! values in a batch the plan is completed with the values as constants, optimised and run.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use datafusion::arrow::array::{Array, ArrayRef, RecordBatch};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result as DfResult, ScalarValue, Spans};
use datafusion::execution::SessionState;
use datafusion::logical_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, LogicalPlanBuilder, ScalarFunctionArgs, ScalarUDFImpl,
    Signature, Subquery, Volatility,
};
use datafusion::physical_plan::collect;

use super::arrays::array_payload;
use crate::query::column::ColumnReader;
use crate::query::error::{QueryError, sqlstate};
use crate::query::pgtype::PgType;

/// What a subquery stands for.
#[derive(Clone, Debug)]
pub(crate) enum SubPlanKind {
    /// The value of its only row, which travels like this.
    Scalar(DataType),
    /// Whether it has rows, or that it has none.
    Exists { negated: bool },
    /// Whether the call's first argument is among its rows' values.
    In { negated: bool },
    /// Its rows' values, of this type, as an array.
    Array(PgType),
}

/// A subquery's plan and where it runs.
pub(crate) struct SubPlan {
    pub kind: SubPlanKind,
    pub plan: LogicalPlan,
    /// The columns of the queries around it, in the order of the arguments.
    pub outer: Vec<Column>,
    pub state: Arc<SessionState>,
}

struct SubPlanCall {
    subplan: SubPlan,
    number: u64,
    signature: Signature,
}

impl std::fmt::Debug for SubPlanCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SubPlanCall")
            .field("number", &self.number)
            .finish()
    }
}

impl PartialEq for SubPlanCall {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for SubPlanCall {}

impl Hash for SubPlanCall {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.number.hash(state);
    }
}

/// What the function is called that computes a subquery.
pub(crate) const SUBPLAN: &str = "subplan";

static NEXT_NUMBER: AtomicU64 = AtomicU64::new(1);

/// The value of a subquery as an expression over `args`: the outer columns, behind the value that
/// is looked for if it is IN.
pub(crate) fn subplan_call(subplan: SubPlan, args: Vec<Expr>) -> Expr {
    let call = SubPlanCall {
        subplan,
        number: NEXT_NUMBER.fetch_add(1, Ordering::Relaxed),
        signature: match args.len() {
            0 => Signature::nullary(Volatility::Volatile),
            count => Signature::any(count, Volatility::Volatile),
        },
    };
    AsyncScalarUDF::new(Arc::new(call))
        .into_scalar_udf()
        .call(args)
}

impl ScalarUDFImpl for SubPlanCall {
    fn name(&self) -> &str {
        SUBPLAN
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> DfResult<DataType> {
        Ok(match &self.subplan.kind {
            SubPlanKind::Scalar(arrow) => arrow.clone(),
            SubPlanKind::Exists { .. } | SubPlanKind::In { .. } => DataType::Boolean,
            SubPlanKind::Array(_) => DataType::Binary,
        })
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        Err(QueryError::internal("a subplan was called synchronously").into())
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for SubPlanCall {
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let rows = args.number_rows;
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(args.args.len());
        for arg in &args.args {
            arrays.push(arg.clone().into_array(rows)?);
        }
        let mut known: HashMap<Vec<ScalarValue>, ScalarValue> = HashMap::new();
        let mut results = Vec::with_capacity(rows);
        for row in 0..rows {
            let key = arrays
                .iter()
                .map(|array| ScalarValue::try_from_array(array, row))
                .collect::<DfResult<Vec<_>>>()?;
            if let Some(result) = known.get(&key) {
                results.push(result.clone());
                continue;
            }
            let result = self.subplan.compute(&key).await?;
            known.insert(key, result.clone());
            results.push(result);
        }
        let array = if results.is_empty() {
            datafusion::arrow::array::new_empty_array(&self.return_type(&[])?)
        } else {
            ScalarValue::iter_to_array(results)?
        };
        Ok(ColumnarValue::Array(array))
    }
}

impl SubPlan {
    async fn compute(&self, args: &[ScalarValue]) -> DfResult<ScalarValue> {
        let (wanted, outer) = match self.kind {
            SubPlanKind::In { .. } => (args.first(), args.get(1..).unwrap_or_default()),
            _ => (None, args),
        };
        let values: HashMap<&Column, &ScalarValue> = self.outer.iter().zip(outer).collect();
        let mut plan = substitute(self.plan.clone(), &values)?;
        // Enough to know more than one row, or any.
        let enough = match self.kind {
            SubPlanKind::Scalar(_) => Some(2),
            SubPlanKind::Exists { .. } => Some(1),
            _ => None,
        };
        if enough.is_some() {
            plan = LogicalPlanBuilder::from(plan).limit(0, enough)?.build()?;
        }
        let physical = self.state.create_physical_plan(&plan).await?;
        let batches = collect(physical, self.state.task_ctx()).await?;
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let columns = batches.iter().filter_map(|batch| batch.columns().first());
        Ok(match &self.kind {
            SubPlanKind::Scalar(arrow) => {
                if rows > 1 {
                    return Err(QueryError::new(
                        sqlstate::CARDINALITY_VIOLATION,
                        "more than one row returned by a subquery used as an expression",
                    )
                    .into());
                }
                let mut filled = columns.filter(|column| !column.is_empty());
                match filled.next() {
                    Some(column) => ScalarValue::try_from_array(column, 0)?,
                    None => ScalarValue::try_from(arrow)?,
                }
            }
            SubPlanKind::Exists { negated } => ScalarValue::Boolean(Some((rows > 0) != *negated)),
            SubPlanKind::In { negated } => {
                let (mut found, mut unknown) = (false, false);
                let wanted = wanted.filter(|wanted| !wanted.is_null());
                for column in columns {
                    for row in 0..column.len() {
                        let value = ScalarValue::try_from_array(column, row)?;
                        match wanted {
                            Some(wanted) if !value.is_null() => found |= value == *wanted,
                            _ => unknown = true,
                        }
                    }
                }
                ScalarValue::Boolean(if found || !unknown {
                    Some(found != *negated)
                } else {
                    None
                })
            }
            SubPlanKind::Array(element) => {
                let mut elements = Vec::with_capacity(rows);
                for column in columns {
                    let reader = ColumnReader::new(*element, column)?;
                    for row in 0..column.len() {
                        let mut payload = Vec::new();
                        let present = reader.append(row, &mut payload)?;
                        elements.push(present.then_some(payload));
                    }
                }
                ScalarValue::Binary(Some(array_payload(element.oid, &elements)?))
            }
        })
    }
}

/// The plan with values for columns of the queries around it.
fn substitute(plan: LogicalPlan, values: &HashMap<&Column, &ScalarValue>) -> DfResult<LogicalPlan> {
    if values.is_empty() {
        return Ok(plan);
    }
    let completed = plan.transform_down(|node| {
        node.map_expressions(|expr| {
            expr.transform_up(|expr| {
                Ok(match expr {
                    Expr::OuterReferenceColumn(field, column) => match values.get(&column) {
                        Some(value) => {
                            Transformed::yes(Expr::Literal(ScalarValue::clone(value), None))
                        }
                        None => Transformed::no(Expr::OuterReferenceColumn(field, column)),
                    },
                    Expr::ScalarSubquery(inner) => {
                        Transformed::yes(Expr::ScalarSubquery(within(inner, values)?))
                    }
                    Expr::Exists(exists) => Transformed::yes(Expr::Exists(Exists::new(
                        within(exists.subquery, values)?,
                        exists.negated,
                    ))),
                    Expr::InSubquery(test) => Transformed::yes(Expr::InSubquery(InSubquery::new(
                        test.expr,
                        within(test.subquery, values)?,
                        test.negated,
                    ))),
                    other => Transformed::no(other),
                })
            })
        })
    })?;
    Ok(completed.data)
}

fn within(subquery: Subquery, values: &HashMap<&Column, &ScalarValue>) -> DfResult<Subquery> {
    let plan = substitute(Arc::unwrap_or_clone(subquery.subquery), values)?;
    Ok(Subquery {
        outer_ref_columns: plan.all_out_ref_exprs(),
        subquery: Arc::new(plan),
        spans: Spans::new(),
    })
}
