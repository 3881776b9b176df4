//! Relations as DataFusion's tables: a [`RelationSource`] gives batches of the wanted columns,
//! one stream a partition; nothing of DataFusion shows outside.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::array::{ArrayRef, RecordBatchOptions};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result as DfResult, Statistics};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{
    Boundedness, EmissionType, ReplaceChildrenOptions, SchedulingType,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use futures::StreamExt;
use futures::stream::BoxStream;

use super::error::QueryError;
use super::pgtype::{PgType, arrow_type};
use super::session::Relation;

/// Rows of some columns, in the order that a [`ScanRequest`] asked for.
#[derive(Clone, Debug)]
pub struct ScanBatch(pub(crate) RecordBatch);

impl ScanBatch {
    /// A batch of columns made by [`super::ColumnBuilder`]s for the requested columns. `rows`
    /// counts where no column was requested.
    ///
    /// # Errors
    /// XX000 if a column hasn't `rows` values of its type.
    pub fn new(
        request: &ScanRequest,
        columns: Vec<ArrayRef>,
        rows: usize,
    ) -> Result<Self, QueryError> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let schema = Arc::clone(&request.schema);
        Ok(Self(RecordBatch::try_new_with_options(
            schema, columns, &options,
        )?))
    }
}

/// Batches of one partition.
pub type BatchStream = BoxStream<'static, Result<ScanBatch, QueryError>>;

/// What a scan should read.
#[derive(Clone, Debug)]
pub struct ScanRequest {
    /// Indexes of the wanted columns; none if only the number of rows matters.
    pub projection: Vec<usize>,
    /// Types of the wanted columns.
    pub types: Vec<PgType>,
    /// More rows than this are not needed.
    pub limit: Option<usize>,
    /// How many partitions the executor would like.
    pub partitions: usize,
    /// How many rows a batch should have.
    pub batch_rows: usize,
    schema: SchemaRef,
}

/// A relation's rows.
pub trait RelationSource: Send + Sync + fmt::Debug {
    /// Prepares a scan; reading begins when a partition's stream is polled.
    ///
    /// # Errors
    /// Those of preparing, e.g. of finding the relation's length.
    fn scan(&self, request: &ScanRequest) -> Result<Arc<dyn RelationScan>, QueryError>;

    /// About how many rows there are, if that is known.
    fn estimated_rows(&self) -> Option<usize> {
        None
    }
}

/// A scan of a relation, split into partitions that may run at the same time.
pub trait RelationScan: Send + Sync + fmt::Debug {
    /// How many partitions there are: at least one.
    fn partitions(&self) -> usize;

    /// The batches of a partition (from 0).
    ///
    /// # Errors
    /// Those of starting.
    fn stream(&self, partition: usize) -> Result<BatchStream, QueryError>;

    /// What EXPLAIN says about the scan behind its name, e.g. ` on src`.
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

/// A relation as a table of DataFusion's.
#[derive(Debug)]
pub(crate) struct RelationTable {
    relation: Relation,
    schema: SchemaRef,
}

impl RelationTable {
    pub(crate) fn new(relation: Relation) -> Self {
        let fields: Vec<Field> = relation
            .columns
            .iter()
            .map(|column| Field::new(&column.name, arrow_type(column.ty), true))
            .collect();
        Self {
            relation,
            schema: Arc::new(Schema::new(fields)),
        }
    }
}

#[async_trait]
impl TableProvider for RelationTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let all = || (0..self.relation.columns.len()).collect();
        let projection = projection.cloned().unwrap_or_else(all);
        let types = projection
            .iter()
            .map(|index| self.relation.columns[*index].ty)
            .collect();
        let request = ScanRequest {
            schema: Arc::new(self.schema.project(&projection)?),
            projection,
            types,
            limit,
            partitions: state.config().target_partitions(),
            batch_rows: state.config().batch_size(),
        };
        let scan = self.relation.source.scan(&request)?;
        Ok(Arc::new(ScanExec::new(
            request,
            scan,
            self.relation.source.estimated_rows(),
        )))
    }

    fn statistics(&self) -> Option<Statistics> {
        let rows = self.relation.source.estimated_rows()?;
        let mut statistics = Statistics::new_unknown(&self.schema);
        statistics.num_rows = Precision::Inexact(rows);
        Some(statistics)
    }
}

/// The leaf of a physical plan that reads a relation.
#[derive(Debug)]
struct ScanExec {
    request: ScanRequest,
    scan: Arc<dyn RelationScan>,
    rows: Option<usize>,
    properties: Arc<PlanProperties>,
}

impl ScanExec {
    fn new(request: ScanRequest, scan: Arc<dyn RelationScan>, rows: Option<usize>) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&request.schema)),
            Partitioning::UnknownPartitioning(scan.partitions()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::NonCooperative);
        Self {
            request,
            scan,
            rows,
            properties: Arc::new(properties),
        }
    }
}

impl DisplayAs for ScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scan")?;
        self.scan.describe(f)?;
        let names: Vec<&str> = self
            .request
            .schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        write!(f, ": columns=[{}]", names.join(", "))?;
        if let Some(limit) = self.request.limit {
            write!(f, ", limit={limit}")?;
        }
        Ok(())
    }
}

impl ExecutionPlan for ScanExec {
    fn name(&self) -> &str {
        "Scan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(
        &self,
        partition: usize,
        _context: Arc<TaskContext>,
    ) -> DfResult<SendableRecordBatchStream> {
        let stream = self.scan.stream(partition)?;
        let batches = stream.map(|batch| batch.map(|batch| batch.0).map_err(DataFusionError::from));
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.request.schema),
            batches,
        )))
    }

    fn statistics_from_inputs(
        &self,
        _input_stats: &[Arc<Statistics>],
        args: &datafusion::physical_plan::statistics::StatisticsArgs,
    ) -> DfResult<Arc<Statistics>> {
        let mut statistics = Statistics::new_unknown(&self.request.schema);
        if let Some(rows) = self.rows {
            let share = match args.partition() {
                Some(_) => rows / self.scan.partitions().max(1),
                None => rows,
            };
            statistics.num_rows = Precision::Inexact(share);
        }
        Ok(Arc::new(statistics))
    }
}
