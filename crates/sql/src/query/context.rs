//! Planning and running queries: DataFusion's session set up for PostgreSQL's semantics, and
//! its results as batches of datums.

use std::fmt::{self, Display};
use std::path::PathBuf;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::compute::concat_batches;
use datafusion::common::ScalarValue;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{
    GreedyMemoryPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{
    SendableRecordBatchStream, SessionState, SessionStateBuilder, TaskContext,
};
use datafusion::functions_aggregate::first_last::first_value_udaf;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, displayable, execute_stream};
use datafusion::prelude::SessionConfig;
use datafusion::sql::sqlparser::ast::{Expr as SqlExpr, Query, SetExpr};
use futures::StreamExt;
use trunkline_pgformat::Oid;
use trunkline_types::oids;

use super::analyze::{
    Analyzer, AssignmentTarget, Bound, Environment, Level, Parameters, Scope, check_width,
};
use super::column::{ColumnReader, scalar_from_payload};
use super::constants;
use super::cooperation::CooperativeJoins;
use super::error::{QueryError, sqlstate};
use super::interrupts::{Interrupts, QueryStop};
use super::parse::parse_expression;
use super::pgtype::{PgType, arrow_type};
use super::session::{ExternalFunctions, SessionFunctions, TableResolver};
use super::value::Styles;
use super::waiting::WaitingFunctions;

/// What all sessions of a process share: memory for queries and room to spill.
#[derive(Clone, Debug)]
pub struct QueryRuntime {
    memory: Arc<dyn MemoryPool>,
    environment: Arc<RuntimeEnv>,
    spill_directory: Option<PathBuf>,
    /// `temp_file_limit` in kB, for those who have one of their own.
    temp_file_limit_kb: Option<u64>,
}

/// Limits of a [`QueryRuntime`].
#[derive(Clone, Debug)]
pub struct RuntimeLimits {
    /// Memory of all queries together.
    pub memory_limit_bytes: usize,
    /// Directory for spilled rows (`base/pgsql_tmp`); none: nothing spills.
    pub spill_directory: Option<PathBuf>,
    /// Most bytes of spilled rows at a time.
    pub spill_limit_bytes: u64,
}

impl QueryRuntime {
    /// The shared part, once a process.
    ///
    /// # Errors
    /// 58030 if the spill directory can't be used.
    pub fn new(limits: RuntimeLimits) -> Result<Self, QueryError> {
        let disk = disk_manager(limits.spill_directory.as_ref(), limits.spill_limit_bytes);
        let memory: Arc<dyn MemoryPool> =
            Arc::new(GreedyMemoryPool::new(limits.memory_limit_bytes));
        let environment = RuntimeEnvBuilder::new()
            .with_disk_manager_builder(disk)
            .with_memory_pool(Arc::clone(&memory))
            .build_arc()?;
        Ok(Self {
            memory,
            environment,
            spill_directory: limits.spill_directory,
            temp_file_limit_kb: None,
        })
    }

    /// The same memory, with room to spill that nobody else uses.
    ///
    /// # Errors
    /// 58030 if the spill directory can't be used.
    pub fn with_temp_file_limit(&self, limit_kb: u64) -> Result<Self, QueryError> {
        let limit_bytes = limit_kb.saturating_mul(1024);
        let disk = disk_manager(self.spill_directory.as_ref(), limit_bytes).build()?;
        Ok(Self {
            memory: Arc::clone(&self.memory),
            environment: Arc::new(RuntimeEnv {
                disk_manager: Arc::new(disk),
                ..RuntimeEnv::clone(&self.environment)
            }),
            spill_directory: self.spill_directory.clone(),
            temp_file_limit_kb: Some(limit_kb),
        })
    }

    /// The limit that [`QueryRuntime::with_temp_file_limit`] gave it.
    pub fn temp_file_limit_kb(&self) -> Option<u64> {
        self.temp_file_limit_kb
    }

    /// Memory that running queries hold at the moment.
    pub fn memory_in_use_bytes(&self) -> usize {
        self.memory.reserved()
    }
}

fn disk_manager(directory: Option<&PathBuf>, limit_bytes: u64) -> DiskManagerBuilder {
    let mode = match directory {
        Some(directory) => DiskManagerMode::Directories(vec![directory.clone()]),
        None => DiskManagerMode::Disabled,
    };
    DiskManagerBuilder::default()
        .with_mode(mode)
        .with_max_temp_directory_size(limit_bytes)
}

/// Bounds each operator that can spill by `work_mem`; those that can't are bounded by the
/// process's memory only, or a join of moderate size could never run.
#[derive(Debug)]
struct WorkMemoryPool {
    shared: Arc<dyn MemoryPool>,
    work_mem_bytes: usize,
}

impl Display for WorkMemoryPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "work_mem({})", self.work_mem_bytes)
    }
}

impl MemoryPool for WorkMemoryPool {
    fn name(&self) -> &str {
        "work_mem"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.shared.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.shared.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.shared.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.shared.shrink(reservation, shrink);
    }

    fn try_grow(
        &self,
        reservation: &MemoryReservation,
        additional: usize,
    ) -> datafusion::common::Result<()> {
        let wanted = reservation.size().saturating_add(additional);
        if reservation.consumer().can_spill() && wanted > self.work_mem_bytes {
            return Err(datafusion::common::DataFusionError::ResourcesExhausted(
                format!(
                    "Failed on request of size {additional} in operator \"{}\": work_mem is {} bytes.",
                    reservation.consumer().name(),
                    self.work_mem_bytes
                ),
            ));
        }
        self.shared.try_grow(reservation, additional)
    }

    fn reserved(&self) -> usize {
        self.shared.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.shared.memory_limit()
    }
}

/// A session's settings for its queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuerySettings {
    /// How many partitions of a plan may run at the same time.
    pub target_partitions: usize,
    /// Rows of a batch.
    pub batch_rows: usize,
    /// `work_mem`.
    pub work_mem_bytes: usize,
}

/// Plans and runs the queries of a session. Cheap to clone; made anew when a setting changes.
#[derive(Clone, Debug)]
pub struct QueryContext {
    state: Arc<SessionState>,
    temp_file_limit_kb: Option<u64>,
}

impl QueryContext {
    /// A session over the shared runtime.
    pub fn new(runtime: &QueryRuntime, settings: QuerySettings) -> Self {
        let pool = WorkMemoryPool {
            shared: Arc::clone(&runtime.memory),
            work_mem_bytes: settings.work_mem_bytes,
        };
        let environment = RuntimeEnv {
            memory_pool: Arc::new(pool),
            ..RuntimeEnv::clone(&runtime.environment)
        };
        let mut config = SessionConfig::new()
            .with_target_partitions(settings.target_partitions.max(1))
            .with_batch_size(settings.batch_rows.max(1));
        let options = config.options_mut();
        // The sorter asks for this much up front, and must get it out of work_mem.
        options.execution.sort_spill_reservation_bytes = settings.work_mem_bytes / 8;
        options.execution.sort_in_place_threshold_bytes = settings.work_mem_bytes / 8;
        // A rule that fails has found a bug: the plan it left behind must not run.
        options.optimizer.skip_failed_rules = false;
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(Arc::new(environment))
            // Every type is decided by analysis; DataFusion has nothing to coerce.
            .with_analyzer_rules(vec![])
            .with_physical_optimizer_rule(Arc::new(CooperativeJoins))
            .with_physical_optimizer_rule(Arc::new(WaitingFunctions))
            // What the optimiser looks up by name: DISTINCT ON becomes first_value.
            .with_aggregate_functions(vec![first_value_udaf()])
            .build();
        Self {
            state: Arc::new(state),
            temp_file_limit_kb: runtime.temp_file_limit_kb,
        }
    }

    /// A planner for one statement.
    pub fn planner(&self, inputs: QueryInputs) -> Planner {
        Planner {
            environment: Environment {
                tables: inputs.tables,
                session: inputs.session,
                external: inputs.external,
                styles: inputs.styles,
                state: Arc::clone(&self.state),
            },
            temp_file_limit_kb: self.temp_file_limit_kb,
        }
    }
}

/// What a statement's analysis asks for. `tables` sees what the statement's snapshot sees.
#[derive(Clone)]
pub struct QueryInputs {
    /// Finds relations.
    pub tables: Arc<dyn TableResolver>,
    /// Knows the session.
    pub session: Arc<dyn SessionFunctions>,
    /// Functions over storage.
    pub external: Arc<dyn ExternalFunctions>,
    /// Settings that text forms depend on.
    pub styles: Arc<Styles>,
}

/// A column of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: PgType,
    /// `pg_type.typlen`
    pub type_len: i16,
    /// OID of the relation that the column is taken from, 0 if it is computed.
    pub table_oid: u32,
    /// Number of that column, 0 if it is computed.
    pub column_number: i16,
}

/// What is known about a query before it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Columns of its result.
    pub fields: Vec<Field>,
    /// Types of its parameters.
    pub parameters: Vec<PgType>,
}

/// Types and values of a statement's parameters.
#[derive(Clone, Debug, Default)]
pub struct ParameterValues {
    /// The types that the description gave.
    pub types: Vec<PgType>,
    /// Datum payloads, `None` for NULL.
    pub values: Vec<Option<Vec<u8>>>,
}

/// A column that an INSERT fills.
#[derive(Clone, Copy, Debug)]
pub struct InsertTarget<'t> {
    /// Its name.
    pub name: &'t str,
    /// Its type.
    pub ty: PgType,
    /// SQL text of its default.
    pub default: Option<&'t str>,
}

/// Plans one statement: analyses it against its inputs and runs it.
#[derive(Clone)]
pub struct Planner {
    environment: Environment,
    temp_file_limit_kb: Option<u64>,
}

/// An analysed and planned statement.
struct Planned {
    bound: Bound,
    plan: Arc<dyn ExecutionPlan>,
    /// The catalogs' relations that it reads.
    relations: Vec<Oid>,
}

fn fields_of(bound: &Bound) -> Vec<Field> {
    bound
        .columns
        .iter()
        .map(|column| Field {
            name: column.name.clone(),
            ty: column.ty,
            type_len: column.ty.type_len(),
            table_oid: column.origin.0,
            column_number: column.origin.1,
        })
        .collect()
}

impl Planner {
    fn analyzer<'s>(&'s self, sql: &'s str, parameters: Parameters) -> Analyzer<'s> {
        Analyzer::new(&self.environment, sql, parameters)
    }

    fn declared(types: &[Oid]) -> Parameters {
        let known =
            |oid: &Oid| (oid.is_valid() && *oid != oids::UNKNOWN).then(|| PgType::new(*oid));
        Parameters {
            types: types.iter().map(known).collect(),
            values: None,
        }
    }

    fn given(parameters: &ParameterValues) -> Result<Parameters, QueryError> {
        let mut values = Vec::with_capacity(parameters.types.len());
        for (ty, value) in parameters.types.iter().zip(&parameters.values) {
            values.push(scalar_from_payload(
                *ty,
                &arrow_type(*ty),
                value.as_deref(),
            )?);
        }
        Ok(Parameters {
            types: parameters.types.iter().copied().map(Some).collect(),
            values: Some(values),
        })
    }

    /// Result columns and parameter types of a query. `declared` holds the types that the client
    /// gave, 0 where it gave none; those are inferred.
    ///
    /// # Errors
    /// Everything that is wrong with the statement, with PostgreSQL's SQLSTATE and text.
    pub fn describe(
        &self,
        sql: &str,
        query: &Query,
        declared: &[Oid],
    ) -> Result<Description, QueryError> {
        let mut analyzer = self.analyzer(sql, Self::declared(declared));
        let bound = analyzer.query(query, None)?;
        Ok(Description {
            fields: fields_of(&bound),
            parameters: decided(&analyzer.parameters)?,
        })
    }

    /// Parameter types of an INSERT's source.
    ///
    /// # Errors
    /// As [`Self::describe`].
    pub fn describe_insert(
        &self,
        sql: &str,
        source: &Query,
        targets: &[InsertTarget<'_>],
        declared: &[Oid],
    ) -> Result<Vec<PgType>, QueryError> {
        let mut analyzer = self.analyzer(sql, Self::declared(declared));
        insert_source(&mut analyzer, source, targets)?;
        decided(&analyzer.parameters)
    }

    /// Runs a query.
    ///
    /// # Errors
    /// Those of analysis; those of running come with the stream.
    pub async fn run(
        &self,
        sql: &str,
        query: &Query,
        parameters: &ParameterValues,
    ) -> Result<QueryStream, QueryError> {
        let parameters = Self::given(parameters)?;
        let planned = self
            .planned(sql, parameters, |analyzer| analyzer.query(query, None))
            .await?;
        self.start(planned)
    }

    /// Runs an INSERT's source: its rows have the targets' types, in the targets' order. A
    /// source narrower than the targets leaves the last ones to their defaults.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn run_insert(
        &self,
        sql: &str,
        source: &Query,
        targets: &[InsertTarget<'_>],
        parameters: &ParameterValues,
    ) -> Result<QueryStream, QueryError> {
        let parameters = Self::given(parameters)?;
        let planned = self
            .planned(sql, parameters, |analyzer| {
                insert_source(analyzer, source, targets)
            })
            .await?;
        self.start(planned)
    }

    /// The lines that EXPLAIN shows for a query.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn explain(
        &self,
        sql: &str,
        query: &Query,
        parameters: &ParameterValues,
    ) -> Result<Vec<String>, QueryError> {
        let parameters = Self::given(parameters)?;
        let planned = self
            .planned(sql, parameters, |analyzer| analyzer.query(query, None))
            .await?;
        Ok(displayable(planned.plan.as_ref())
            .indent(false)
            .to_string()
            .lines()
            .map(str::to_owned)
            .collect())
    }

    /// The value of an expression without columns, assigned to a column of type `ty`: a datum
    /// payload, `None` for NULL. COPY fills columns with their defaults this way.
    ///
    /// # Errors
    /// Those of analysis and of evaluation.
    pub fn expression(
        &self,
        text: &str,
        column: &str,
        ty: PgType,
    ) -> Result<Option<Vec<u8>>, QueryError> {
        let expr = parse_expression(text)?;
        self.value_of(text, &expr, column, ty)
    }

    /// The same of an expression that is parsed already, as part of the statement `text`. (Written out and
    /// parsed again it might be another one.)
    ///
    /// # Errors
    /// As [`Self::expression`].
    pub fn value_of(
        &self,
        text: &str,
        expr: &SqlExpr,
        column: &str,
        ty: PgType,
    ) -> Result<Option<Vec<u8>>, QueryError> {
        let mut analyzer = self.analyzer(text, Parameters::default());
        let level = Level::without_aggregates(Scope::default(), None, "DEFAULT expressions");
        let value = analyzer.expr(expr, &level)?;
        let value = analyzer.coerce_assignment(value, column, ty)?;
        let scalar = analyzer.constant(&value.expr)?.unwrap_or(ScalarValue::Null);
        let array = scalar.to_array_of_size(1)?;
        let mut payload = Vec::new();
        let present = ColumnReader::new(ty, &array)?.append(0, &mut payload)?;
        Ok(present.then_some(payload))
    }

    async fn physical_plan(
        &self,
        plan: &LogicalPlan,
    ) -> Result<Arc<dyn ExecutionPlan>, QueryError> {
        let state = &self.environment.state;
        let plan = state.optimize(plan)?;
        constants::check(&plan, state)?;
        Ok(state
            .query_planner()
            .create_physical_plan(&plan, state.as_ref())
            .await?)
    }

    /// Has the names read that values of these types are printed with, for who prints them without
    /// a query.
    ///
    /// # Errors
    /// Those of reading the catalogs.
    pub fn require_names(&self, types: impl IntoIterator<Item = PgType>) -> Result<(), QueryError> {
        let analyzer = self.analyzer("", Parameters::default());
        types
            .into_iter()
            .try_for_each(|ty| analyzer.require_for(ty))
    }

    /// Analyses and plans. A statement with a subquery that no join can stand for is analysed once
    /// more, with its subqueries as plans of their own.
    async fn planned(
        &self,
        sql: &str,
        parameters: Parameters,
        analyse: impl Fn(&mut Analyzer<'_>) -> Result<Bound, QueryError>,
    ) -> Result<Planned, QueryError> {
        let mut analyzer = self.analyzer(sql, parameters.clone());
        let bound = analyse(&mut analyzer)?;
        for column in &bound.columns {
            analyzer.require_for(column.ty)?;
        }
        let error = match self.physical_plan(&bound.plan).await {
            Ok(plan) => {
                return Ok(Planned {
                    bound,
                    plan,
                    relations: analyzer.relations,
                });
            }
            Err(error) => error,
        };
        if !error.is_about_correlation() {
            return Err(error);
        }
        let mut analyzer = self.analyzer(sql, parameters);
        analyzer.all_subplans = true;
        let bound = analyse(&mut analyzer)?;
        let plan = self.physical_plan(&bound.plan).await?;
        Ok(Planned {
            bound,
            plan,
            relations: analyzer.relations,
        })
    }

    fn start(&self, planned: Planned) -> Result<QueryStream, QueryError> {
        let Planned {
            bound,
            plan,
            relations,
        } = planned;
        let interrupts = Interrupts::new(Arc::clone(&self.environment.session));
        let state = &self.environment.state;
        let config = state.config().clone();
        let context = TaskContext::from(state.as_ref())
            .with_session_config(config.with_extension(Arc::clone(&interrupts)));
        let stream = execute_stream(plan, Arc::new(context))?;
        Ok(QueryStream {
            fields: fields_of(&bound).into(),
            relations,
            stop: QueryStop::new(&interrupts),
            stream,
            temp_file_limit_kb: self.temp_file_limit_kb,
        })
    }
}

/// Parameters that nothing gave a type are refused (42P18).
fn decided(parameters: &Parameters) -> Result<Vec<PgType>, QueryError> {
    parameters
        .types
        .iter()
        .enumerate()
        .map(|(index, ty)| {
            ty.ok_or_else(|| {
                QueryError::new(
                    sqlstate::INDETERMINATE_DATATYPE,
                    format!("could not determine data type of parameter ${}", index + 1),
                )
            })
        })
        .collect()
}

fn insert_source(
    analyzer: &mut Analyzer<'_>,
    source: &Query,
    targets: &[InsertTarget<'_>],
) -> Result<Bound, QueryError> {
    let targets: Vec<AssignmentTarget<'_>> = targets
        .iter()
        .map(|target| AssignmentTarget {
            name: target.name,
            ty: target.ty,
            default: target.default,
        })
        .collect();
    let plain = source.with.is_none()
        && source.order_by.is_none()
        && source.limit_clause.is_none()
        && source.fetch.is_none();
    let bound = match source.body.as_ref() {
        SetExpr::Values(values) if plain => analyzer.insert_values(values, &targets)?,
        _ => {
            let types: Vec<PgType> = targets.iter().map(|target| target.ty).collect();
            let bound = analyzer.query_into(source, None, Some(&types))?;
            check_width(bound.columns.len(), targets.len(), |index| {
                bound.columns.get(index).and_then(|column| column.position)
            })?;
            bound
        }
    };
    analyzer.assign(bound, &targets)
}

/// The result of a query while it is being computed. Dropping it stops the query.
pub struct QueryStream {
    fields: Arc<[Field]>,
    relations: Vec<Oid>,
    stop: QueryStop,
    stream: SendableRecordBatchStream,
    temp_file_limit_kb: Option<u64>,
}

impl Drop for QueryStream {
    fn drop(&mut self) {
        // Tasks that it spawned may be in the middle of something long.
        self.stop.stop();
    }
}

impl QueryStream {
    /// The result's columns.
    pub fn fields(&self) -> &Arc<[Field]> {
        &self.fields
    }

    /// The relations of the catalogs that it reads.
    pub fn relations(&self) -> &[Oid] {
        &self.relations
    }

    /// What stops it while it is being polled elsewhere.
    pub fn stop(&self) -> &QueryStop {
        &self.stop
    }

    /// The next rows, never an empty batch.
    pub async fn next(&mut self) -> Option<Result<Batch, QueryError>> {
        loop {
            let batch = match self.stream.next().await? {
                Ok(batch) => batch,
                Err(error) => {
                    let mut error = QueryError::from(error);
                    if let (sqlstate::CONFIGURATION_LIMIT_EXCEEDED, Some(limit_kb)) =
                        (error.sqlstate, self.temp_file_limit_kb)
                    {
                        // PostgreSQL's message ends with the limit (`FileWriteV` in fd.c).
                        error.message.push_str(&format!(" ({limit_kb}kB)"));
                    }
                    return Some(Err(error));
                }
            };
            if batch.num_rows() > 0 {
                return Some(Ok(Batch {
                    fields: Arc::clone(&self.fields),
                    batch,
                }));
            }
        }
    }
}

/// Rows of a result.
#[derive(Clone, Debug)]
pub struct Batch {
    fields: Arc<[Field]>,
    batch: RecordBatch,
}

impl Batch {
    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.batch.num_rows()
    }

    /// Memory that the rows hold.
    pub fn memory_bytes(&self) -> usize {
        self.batch.get_array_memory_size()
    }

    /// Readers of all columns.
    ///
    /// # Errors
    /// XX000 if a column isn't what its type says.
    pub fn columns(&self) -> Result<Vec<ColumnReader<'_>>, QueryError> {
        let columns = self.fields.iter().zip(self.batch.columns());
        columns
            .map(|(field, column)| ColumnReader::new(field.ty, column))
            .collect()
    }

    /// Calls `row` with each row: one payload for each column.
    ///
    /// # Errors
    /// As [`Batch::columns`], or what `row` returns.
    pub fn for_each_row<E: From<QueryError>>(
        &self,
        mut row: impl FnMut(&[Option<&[u8]>]) -> Result<(), E>,
    ) -> Result<(), E> {
        let columns = self.columns()?;
        let mut payloads = Vec::new();
        let mut ends: Vec<(usize, bool)> = Vec::with_capacity(columns.len());
        for number in 0..self.rows() {
            payloads.clear();
            ends.clear();
            for column in &columns {
                let present = column.append(number, &mut payloads)?;
                ends.push((payloads.len(), present));
            }
            let mut start = 0;
            let values: Vec<Option<&[u8]>> = ends
                .iter()
                .map(|(end, present)| {
                    let value = &payloads[start..*end];
                    start = *end;
                    present.then_some(value)
                })
                .collect();
            row(&values)?;
        }
        Ok(())
    }

    /// A reader of one column (from 0).
    ///
    /// # Errors
    /// XX000 if there is no such column or it isn't what its type says.
    pub fn column(&self, index: usize) -> Result<ColumnReader<'_>, QueryError> {
        match (self.fields.get(index), self.batch.columns().get(index)) {
            (Some(field), Some(column)) => ColumnReader::new(field.ty, column),
            _ => Err(QueryError::internal(format!(
                "a result has no column {index}"
            ))),
        }
    }

    /// One column (from 0) as it travels: timestamps since 2000, numerics of any scale as payloads.
    ///
    /// # Errors
    /// XX000 if there is no such column.
    pub fn array(&self, index: usize) -> Result<ArrayRef, QueryError> {
        let array = self.batch.columns().get(index);
        array
            .cloned()
            .ok_or_else(|| QueryError::internal(format!("a result has no column {index}")))
    }

    /// This batch and another one of the same result as one.
    ///
    /// # Errors
    /// XX000 if they are not of one result.
    pub fn concat(self, other: &Batch) -> Result<Batch, QueryError> {
        let batch = concat_batches(&self.batch.schema(), [&self.batch, &other.batch])?;
        Ok(Batch {
            fields: self.fields,
            batch,
        })
    }
}
