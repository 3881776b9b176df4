//! Operators that look at many pairs of rows give way to other tasks, and can be stopped.
//!
//! DataFusion's own rule makes leaves and exchanges cooperate: a task gives way between batches. A
//! join may look at rows for hours before it has a batch of them, or may never have one, all
//! within one poll. The executor's threads are few; one such poll on each and nothing else runs.
//! So a join's filter, which sees every few thousand pairs, is a [`Checkpoint`]: it stops the query
//! if that is wanted, and once the poll has taken long it hands the thread's other tasks over to
//! another thread, which leaves the sharing of the processor to the kernel. A join that neither
//! has a filter nor hands out the pairs it finds (a semi-join) gets a filter that is always true.

use std::cell::RefCell;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{JoinSide, JoinType, Result};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::lit;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, SchedulingType};
use datafusion::physical_plan::joins::utils::{ColumnIndex, JoinFilter};
use datafusion::physical_plan::joins::{
    HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder,
};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
};
use futures::Stream;
use tokio::runtime::{Handle, RuntimeFlavor};

use super::interrupts::Interrupts;

/// A poll that takes longer than this is not one that other tasks should wait for.
const LONG_POLL: Duration = Duration::from_millis(10);

/// A poll of a join that is under way on this thread.
#[derive(Clone)]
struct RunningPoll {
    began: Instant,
    interrupts: Arc<Interrupts>,
}

thread_local! {
    static RUNNING_POLL: RefCell<Option<RunningPoll>> = const { RefCell::new(None) };
}

/// Makes every operator of several inputs cooperate.
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
            let input = with_checkpoint(plan)?;
            Ok(Transformed::yes(
                Arc::new(CooperativeExec::new(input)) as Arc<dyn ExecutionPlan>
            ))
        })?;
        Ok(wrapped.data)
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The same join with a checkpoint in its filter, if it may go on for long without a result.
fn with_checkpoint(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
        let filter = checked_filter(join.filter(), *join.join_type(), join.left(), join.right());
        if filter.is_some() {
            let join = NestedLoopJoinExecBuilder::from(join).with_filter(filter);
            return Ok(Arc::new(join.build()?));
        }
    } else if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        // A null-aware anti-join may have no filter; it looks at the keys of a batch only once.
        let filter = checked_filter(join.filter(), *join.join_type(), join.left(), join.right());
        if filter.is_some() && !join.null_aware {
            return join.builder().with_filter(filter).build_exec();
        }
    }
    Ok(plan)
}

fn checked_filter(
    filter: Option<&JoinFilter>,
    join_type: JoinType,
    left: &Arc<dyn ExecutionPlan>,
    right: &Arc<dyn ExecutionPlan>,
) -> Option<JoinFilter> {
    if let Some(filter) = filter {
        return Some(JoinFilter::new(
            Arc::new(Checkpoint::new(Arc::clone(filter.expression()))),
            filter.column_indices().to_vec(),
            Arc::clone(filter.schema()),
        ));
    }
    match join_type {
        // These hand out all pairs that they find.
        JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => return None,
        JoinType::LeftSemi
        | JoinType::RightSemi
        | JoinType::LeftAnti
        | JoinType::RightAnti
        | JoinType::LeftMark
        | JoinType::RightMark => {}
    }
    // A filter needs a column to know how many pairs there are.
    let (side, schema) = [
        (JoinSide::Right, right.schema()),
        (JoinSide::Left, left.schema()),
    ]
    .into_iter()
    .find(|(_, schema)| !schema.fields().is_empty())?;
    Some(JoinFilter::new(
        Arc::new(Checkpoint::new(lit(true))),
        vec![ColumnIndex { index: 0, side }],
        Arc::new(Schema::new(vec![Arc::clone(&schema.fields()[0])])),
    ))
}

/// An expression whose evaluation is a step of long work.
#[derive(Debug, Eq)]
struct Checkpoint {
    inner: Arc<dyn PhysicalExpr>,
}

impl PartialEq for Checkpoint {
    fn eq(&self, other: &Self) -> bool {
        *self.inner == *other.inner
    }
}

impl Hash for Checkpoint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl Checkpoint {
    fn new(inner: Arc<dyn PhysicalExpr>) -> Self {
        Self { inner }
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl PhysicalExpr for Checkpoint {
    fn data_type(&self, input_schema: &Schema) -> Result<DataType> {
        self.inner.data_type(input_schema)
    }

    fn nullable(&self, input_schema: &Schema) -> Result<bool> {
        self.inner.nullable(input_schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let Some(poll) = RUNNING_POLL.with_borrow(Clone::clone) else {
            return self.inner.evaluate(batch);
        };
        poll.interrupts.check()?;
        if poll.began.elapsed() > LONG_POLL && can_hand_over() {
            // The thread's other tasks go to another thread; once they have, this costs nothing
            // for the rest of the poll.
            return tokio::task::block_in_place(|| self.inner.evaluate(batch));
        }
        self.inner.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        match (children.pop(), children.is_empty()) {
            (Some(inner), true) => Ok(Arc::new(Self::new(inner))),
            _ => datafusion::common::internal_err!("a checkpoint has one expression"),
        }
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_sql(f)
    }
}

/// Whether there is an executor of several threads here.
fn can_hand_over() -> bool {
    Handle::try_current().is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread)
}

/// Counts its input's batches against the budget of the task, and its polls' time.
#[derive(Debug)]
struct CooperativeExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl CooperativeExec {
    fn new(input: Arc<dyn ExecutionPlan>) -> Self {
        let properties = PlanProperties::clone(input.properties())
            .with_scheduling_type(SchedulingType::Cooperative);
        Self {
            input,
            properties: Arc::new(properties),
        }
    }
}

impl DisplayAs for CooperativeExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl ExecutionPlan for CooperativeExec {
    fn name(&self) -> &str {
        "Cooperative"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => Ok(Arc::new(Self::new(input))),
            _ => datafusion::common::internal_err!("{} has one input", self.name()),
        }
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let recompute = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        self.replace_children(children, recompute)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let stream = self.input.execute(partition, Arc::clone(&context))?;
        let stream = make_cooperative(stream);
        let Some(interrupts) = context.session_config().get_extension::<Interrupts>() else {
            return Ok(stream);
        };
        Ok(Box::pin(TimedStream { stream, interrupts }))
    }
}

/// Notes when each poll began.
struct TimedStream {
    stream: SendableRecordBatchStream,
    interrupts: Arc<Interrupts>,
}

impl Stream for TimedStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Err(error) = self.interrupts.check() {
            return Poll::Ready(Some(Err(error.into())));
        }
        // A join below another one is polled by the poll of that one, which goes on after it.
        let outer = RUNNING_POLL.take();
        let began = outer
            .as_ref()
            .map_or_else(Instant::now, |outer| outer.began);
        RUNNING_POLL.set(Some(RunningPoll {
            began,
            interrupts: Arc::clone(&self.interrupts),
        }));
        let _restored = RestoreOnDrop(outer);
        self.stream.as_mut().poll_next(context)
    }
}

impl RecordBatchStream for TimedStream {
    fn schema(&self) -> SchemaRef {
        self.stream.schema()
    }
}

/// Also when a poll panics.
struct RestoreOnDrop(Option<RunningPoll>);

impl Drop for RestoreOnDrop {
    fn drop(&mut self) {
        RUNNING_POLL.set(self.0.take());
    }
}
