//! Operators that make many rows out of few give way to other tasks.
//!
//! DataFusion's own rule makes leaves and exchanges cooperate. A join can go on for hours over the
//! rows that it has, and with it an aggregate above: the task that runs it would see neither that
//! its statement was cancelled nor that nobody wants its rows any more.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::SchedulingType;

/// Wraps every operator of several inputs, so that each of its batches counts against the budget
/// of the task.
#[derive(Debug)]
pub(crate) struct CooperativeJoins;

impl PhysicalOptimizerRule for CooperativeJoins {
    fn name(&self) -> &str {
        "CooperativeJoins"
    }

    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let wrapped = plan.transform_up(|plan| {
            let cooperates = plan.properties().scheduling_type == SchedulingType::Cooperative;
            if plan.children().len() < 2 || cooperates {
                return Ok(Transformed::no(plan));
            }
            Ok(Transformed::yes(
                Arc::new(CooperativeExec::new(plan)) as Arc<dyn ExecutionPlan>
            ))
        })?;
        Ok(wrapped.data)
    }

    fn schema_check(&self) -> bool {
        true
    }
}
