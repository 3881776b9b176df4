//! Where functions that wait may stand.
//!
//! What may wait, a function over storage or a subquery of its own, is computed by an operator below the one
//! that uses it, out of the columns of that one's input. So it cannot be an argument of another such call, nor
//! stand in what an operator has no such help for, as a join's condition. DataFusion finds out when it computes
//! it, and takes it for an error of its own; here it is refused before anything runs.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::async_udf::AsyncScalarUDF;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;

use super::error::QueryError;
use super::functions::subplan::SUBPLAN;

/// Refuses plans in which something that waits stands where nothing can.
#[derive(Debug)]
pub(crate) struct WaitingFunctions;

impl PhysicalOptimizerRule for WaitingFunctions {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.apply(|node| node.apply_expressions(&mut |expr| expr.apply(check)))?;
        Ok(plan)
    }

    fn name(&self) -> &str {
        "waiting_functions"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The calls that an operator waits for are roots of another type, which have the calls' arguments below.
fn check(expr: &Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion> {
    if let Some(call) = expr.downcast_ref::<ScalarFunctionExpr>()
        && call
            .fun()
            .inner()
            .downcast_ref::<AsyncScalarUDF>()
            .is_some()
    {
        let what = match call.name() {
            SUBPLAN => "a subquery like this one".to_owned(),
            name => format!("function {name}"),
        };
        return Err(
            QueryError::unsupported(format!("{what} is not supported here"))
                .with_detail(
                    "It may have to wait, and stands in an argument of another such function or \
                     subquery, or where nothing can wait, as in a join condition.",
                )
                .into(),
        );
    }
    Ok(TreeNodeRecursion::Continue)
}
