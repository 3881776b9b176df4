//! Replays the corpus of `tests/slt` against the query layer: results, column names and types,
//! SQLSTATEs and messages are those that PostgreSQL 18 gave to `tests/slt/expect.py`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use trunkline_pgformat::Lsn;
use trunkline_pgformat::wal::segment::SegmentSize;
use trunkline_sql::query::sqlparser::ast::{
    CreateTable, Insert, ObjectName, Statement, TableObject,
};
use trunkline_sql::query::{
    Batch, BatchStream, ColumnBuilder, ExternalFunction, ExternalFunctions, ExternalResult,
    InsertTarget, LogPosition, ParameterValues, PgType, Planner, QueryContext, QueryError,
    QueryInputs, QueryRuntime, QuerySettings, Relation, RelationColumn, RelationScan,
    RelationSource, RuntimeLimits, ScanBatch, ScanRequest, SessionFunctions, Styles, TableResolver,
    parse_query, parse_statement, resolve_type,
};
use trunkline_types::{ColumnType, Oid, format_type, oids, output_text};

/// Tables in memory, of datum payloads: what CREATE TABLE and INSERT of the corpus work on.
#[derive(Default)]
struct Tables(Mutex<HashMap<String, Arc<MemoryTable>>>);

#[derive(Debug)]
struct MemoryTable {
    oid: Oid,
    columns: Vec<RelationColumn>,
    rows: Mutex<Arc<Vec<Row>>>,
}

type Row = Vec<Option<Vec<u8>>>;

impl TableResolver for Tables {
    fn relation(&self, schema: Option<&str>, name: &str) -> Result<Option<Relation>, QueryError> {
        if schema.is_some_and(|schema| schema != "public") {
            return Ok(None);
        }
        Ok(self.0.lock().unwrap().get(name).map(|table| Relation {
            oid: table.oid,
            name: name.to_owned(),
            columns: table.columns.clone(),
            source: Arc::clone(table) as Arc<dyn RelationSource>,
        }))
    }

    fn schema_exists(&self, schema: &str) -> Result<bool, QueryError> {
        Ok(matches!(schema, "pg_catalog" | "public"))
    }

    fn system_rows(&self, _table: &str, _columns: &[&str]) -> Result<Vec<Row>, QueryError> {
        Ok(Vec::new())
    }
}

impl RelationSource for MemoryTable {
    fn scan(&self, request: &ScanRequest) -> Result<Arc<dyn RelationScan>, QueryError> {
        let rows = Arc::clone(&self.rows.lock().unwrap());
        Ok(Arc::new(MemoryScan {
            rows,
            request: request.clone(),
        }))
    }

    fn estimated_rows(&self) -> Option<usize> {
        Some(self.rows.lock().unwrap().len())
    }
}

#[derive(Debug)]
struct MemoryScan {
    rows: Arc<Vec<Row>>,
    request: ScanRequest,
}

impl RelationScan for MemoryScan {
    fn partitions(&self) -> usize {
        2
    }

    fn stream(&self, partition: usize) -> Result<BatchStream, QueryError> {
        let middle = self.rows.len() / 2;
        let share = if partition == 0 {
            0..middle
        } else {
            middle..self.rows.len()
        };
        let (rows, request) = (Arc::clone(&self.rows), self.request.clone());
        let starts: Vec<usize> = share.clone().step_by(request.batch_rows).collect();
        let batches = starts.into_iter().map(move |start| {
            let part = &rows[start..share.end.min(start + request.batch_rows)];
            let mut columns = Vec::new();
            for (index, ty) in request.projection.iter().zip(&request.types) {
                let mut builder = ColumnBuilder::new(*ty, part.len());
                for row in part {
                    builder.push(row[*index].as_deref())?;
                }
                columns.push(builder.finish());
            }
            ScanBatch::new(&request, columns, part.len())
        });
        Ok(Box::pin(futures::stream::iter(batches)))
    }

    fn describe(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(" in memory")
    }
}

struct TestSession;

impl SessionFunctions for TestSession {
    fn user(&self) -> String {
        "postgres".to_owned()
    }

    fn session_user(&self) -> String {
        "postgres".to_owned()
    }

    fn database(&self) -> String {
        "postgres".to_owned()
    }

    fn search_path(&self) -> Vec<String> {
        vec!["public".to_owned()]
    }

    fn backend_pid(&self) -> i32 {
        7
    }

    fn version(&self) -> String {
        "PostgreSQL 18".to_owned()
    }

    fn transaction_time_us(&self) -> i64 {
        800_000_000_000_000
    }

    fn statement_time_us(&self) -> i64 {
        800_000_000_000_000
    }

    fn clock_time_us(&self) -> i64 {
        800_000_000_000_001
    }

    fn setting(&self, name: &str, missing_ok: bool) -> Result<Option<String>, QueryError> {
        match name {
            "work_mem" => Ok(Some("4MB".to_owned())),
            _ if missing_ok => Ok(None),
            _ => Err(QueryError::new(
                "42704",
                format!("unrecognized configuration parameter \"{name}\""),
            )),
        }
    }

    fn log_position(&self, position: LogPosition) -> Lsn {
        match position {
            LogPosition::Flushed => Lsn(0x0100_0028),
            LogPosition::Written => Lsn(0x0200_0000),
            LogPosition::Inserted => Lsn(0x0200_0028),
        }
    }

    fn log_file_name(&self, lsn: Lsn) -> String {
        SegmentSize::DEFAULT.file_name(1, SegmentSize::DEFAULT.segment_of(lsn))
    }

    fn check_interrupts(&self) -> Result<(), QueryError> {
        Ok(())
    }
}

/// One function: `double(int8) -> int8`.
struct TestFunctions(Vec<ExternalFunction>);

#[async_trait]
impl ExternalFunctions for TestFunctions {
    fn functions(&self) -> &[ExternalFunction] {
        &self.0
    }

    async fn call(
        &self,
        function: &ExternalFunction,
        args: Vec<Option<Vec<u8>>>,
    ) -> Result<Vec<Option<Vec<u8>>>, QueryError> {
        assert_eq!(function.name, "double");
        let payload = args[0].as_ref().unwrap();
        let value = i64::from_le_bytes(payload.as_slice().try_into().unwrap());
        Ok(vec![Some((value * 2).to_le_bytes().to_vec())])
    }
}

fn planner(limits: RuntimeLimits, work_mem_bytes: usize) -> Planner {
    planner_over(Arc::default(), limits, work_mem_bytes)
}

fn planner_over(tables: Arc<Tables>, limits: RuntimeLimits, work_mem_bytes: usize) -> Planner {
    let runtime = QueryRuntime::new(limits).unwrap();
    let settings = QuerySettings {
        target_partitions: 2,
        batch_rows: 1024,
        work_mem_bytes,
    };
    QueryContext::new(&runtime, settings).planner(QueryInputs {
        tables,
        session: Arc::new(TestSession),
        external: Arc::new(TestFunctions(vec![ExternalFunction {
            name: "double".to_owned(),
            args: vec![oids::INT8],
            required: 1,
            returns: ExternalResult::Value(oids::INT8),
            strict: true,
        }])),
        styles: Arc::new(Styles::default()),
    })
}

fn roomy() -> Planner {
    roomy_over(Arc::default())
}

fn roomy_over(tables: Arc<Tables>) -> Planner {
    let limits = RuntimeLimits {
        memory_limit_bytes: 256 << 20,
        spill_directory: None,
        spill_limit_bytes: 0,
    };
    planner_over(tables, limits, 16 << 20)
}

fn printed(ty: PgType, payload: &[u8]) -> String {
    let column_type = ColumnType::new(ty.oid, ty.typmod).unwrap();
    let mut out = Vec::new();
    output_text(&column_type, payload, &Styles::default().output, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn print_rows(batch: &Batch, types: &[PgType], out: &mut Vec<String>) {
    let columns = batch.columns().unwrap();
    for row in 0..batch.rows() {
        let values: Vec<String> = columns
            .iter()
            .zip(types)
            .map(|(column, ty)| {
                let mut payload = Vec::new();
                if !column.append(row, &mut payload).unwrap() {
                    return "NULL".to_owned();
                }
                let text = printed(*ty, &payload).replace('\n', "\\n");
                if text.is_empty() {
                    "(empty)".to_owned()
                } else {
                    text
                }
            })
            .collect();
        out.push(values.join(" "));
    }
}

/// A statement's answer: a command that returns no rows has no columns.
struct Answer {
    columns: Option<String>,
    rows: Vec<String>,
}

impl Answer {
    fn empty() -> Self {
        Self {
            columns: None,
            rows: Vec::new(),
        }
    }
}

fn last_name(name: &ObjectName) -> String {
    name.0.last().unwrap().to_string()
}

/// Executes what the corpus needs besides queries, and hands queries on.
async fn execute(planner: &Planner, tables: &Tables, sql: &str) -> Result<Answer, QueryError> {
    match parse_statement(sql)? {
        Some(Statement::CreateTable(CreateTable { name, columns, .. })) => {
            let columns = columns
                .iter()
                .zip(1..)
                .map(|(column, number)| {
                    let ty = resolve_type(&column.data_type)?;
                    Ok(RelationColumn {
                        name: column.name.value.clone(),
                        ty,
                        number,
                    })
                })
                .collect::<Result<_, QueryError>>()?;
            let table = MemoryTable {
                oid: Oid(16_384),
                columns,
                rows: Mutex::default(),
            };
            tables
                .0
                .lock()
                .unwrap()
                .insert(last_name(&name), Arc::new(table));
            Ok(Answer::empty())
        }
        Some(Statement::Drop { names, .. }) => {
            for name in names {
                tables.0.lock().unwrap().remove(&last_name(&name)).unwrap();
            }
            Ok(Answer::empty())
        }
        Some(Statement::Insert(insert)) => {
            run_insert(planner, tables, sql, &insert).await?;
            Ok(Answer::empty())
        }
        _ => ask(planner, sql).await,
    }
}

async fn run_insert(
    planner: &Planner,
    tables: &Tables,
    sql: &str,
    insert: &Insert,
) -> Result<(), QueryError> {
    let TableObject::TableName(name) = &insert.table else {
        panic!("{sql}")
    };
    let table = Arc::clone(&tables.0.lock().unwrap()[&last_name(name)]);
    let places: Vec<usize> = if insert.columns.is_empty() {
        (0..table.columns.len()).collect()
    } else {
        let place = |name: String| table.columns.iter().position(|c| c.name == name).unwrap();
        insert
            .columns
            .iter()
            .map(|column| place(column.to_string()))
            .collect()
    };
    let targets: Vec<InsertTarget<'_>> = places
        .iter()
        .map(|place| &table.columns[*place])
        .map(|column| InsertTarget {
            name: &column.name,
            ty: column.ty,
            default: None,
        })
        .collect();
    let source = insert.source.as_ref().unwrap();
    let mut stream = planner
        .run_insert(sql, source, &targets, &ParameterValues::default())
        .await?;
    let mut rows = Vec::clone(&table.rows.lock().unwrap());
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        let columns = batch.columns()?;
        for number in 0..batch.rows() {
            let mut row = vec![None; table.columns.len()];
            for (column, place) in columns.iter().zip(&places) {
                let mut payload = Vec::new();
                if column.append(number, &mut payload)? {
                    row[*place] = Some(payload);
                }
            }
            rows.push(row);
        }
    }
    *table.rows.lock().unwrap() = Arc::new(rows);
    Ok(())
}

async fn ask(planner: &Planner, sql: &str) -> Result<Answer, QueryError> {
    let query = parse_query(sql)?;
    let description = planner.describe(sql, &query, &[])?;
    let mut stream = planner
        .run(sql, &query, &ParameterValues::default())
        .await?;
    assert_eq!(description.fields, stream.fields().to_vec(), "{sql}");
    let types: Vec<PgType> = description.fields.iter().map(|field| field.ty).collect();
    let mut rows = Vec::new();
    while let Some(batch) = stream.next().await {
        print_rows(&batch?, &types, &mut rows);
    }
    let described: Vec<String> = description
        .fields
        .iter()
        .map(|field| {
            format!(
                "{} {}",
                field.name,
                format_type(field.ty.oid, field.ty.typmod)
            )
        })
        .collect();
    Ok(Answer {
        columns: Some(described.join(", ")),
        rows,
    })
}

fn shown_error(error: &QueryError) -> Vec<String> {
    let mut lines = vec![format!("{}: {}", error.sqlstate, error.message)];
    lines.extend(
        error
            .detail
            .iter()
            .map(|detail| format!("DETAIL: {detail}")),
    );
    lines.extend(error.hint.iter().map(|hint| format!("HINT: {hint}")));
    lines.extend(
        error
            .position
            .iter()
            .map(|position| format!("POSITION: {position}")),
    );
    lines
}

/// A record of an .slt file.
struct Record {
    columns: Option<String>,
    sort: bool,
    sql: String,
    expected: Vec<String>,
}

fn records(text: &str) -> Vec<Record> {
    let mut records = Vec::new();
    for block in text.split("\n\n") {
        let mut lines = block.lines().filter(|line| !line.is_empty()).peekable();
        let mut columns = None;
        let mut skipped = false;
        while let Some(line) =
            lines.next_if(|line| line.starts_with('#') || line.starts_with("skipif "))
        {
            skipped |= line.trim() == "skipif trunkline";
            columns = line
                .strip_prefix("# columns ")
                .map(str::to_owned)
                .or(columns);
        }
        let Some(head) = lines.next() else { continue };
        let rest: Vec<&str> = lines.collect();
        let split = rest
            .iter()
            .position(|line| *line == "----")
            .unwrap_or(rest.len());
        let expected = rest
            .iter()
            .skip(split + 1)
            .map(|line| (*line).to_owned())
            .collect();
        if !skipped {
            let sql = rest[..split].join("\n");
            records.push(Record {
                columns,
                sort: head.contains("rowsort"),
                sql,
                expected,
            });
        }
    }
    records
}

fn corpus() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/slt");
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "slt"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_corpus_gives_what_postgresql_gives() {
    let tables = Arc::new(Tables::default());
    let planner = roomy_over(Arc::clone(&tables));
    let mut failures = String::new();
    let mut count = 0;
    let mut failed = 0;
    for path in corpus() {
        for record in records(&std::fs::read_to_string(&path).unwrap()) {
            count += 1;
            let (columns, mut rows) = match execute(&planner, &tables, &record.sql).await {
                Ok(answer) => (answer.columns, answer.rows),
                Err(error) => (None, shown_error(&error)),
            };
            if record.sort {
                rows.sort();
            }
            if columns != record.columns || rows != record.expected {
                failed += 1;
                let name = path.file_name().unwrap().display();
                writeln!(failures, "\n{name}: {}", record.sql).unwrap();
                if columns != record.columns {
                    writeln!(failures, "  columns  {:?}", record.columns).unwrap();
                    writeln!(failures, "      not  {columns:?}").unwrap();
                }
                if rows != record.expected {
                    writeln!(failures, "  expected {:?}", record.expected).unwrap();
                    writeln!(failures, "      not  {rows:?}").unwrap();
                }
            }
        }
    }
    assert!(count > 300, "only {count} records were found");
    assert!(
        failures.is_empty(),
        "{failed} of {count} records differ:{failures}"
    );
}

#[tokio::test]
async fn parameters_take_the_types_that_they_are_used_with() {
    let planner = roomy();
    let sql = "SELECT $1 + 1, $2 || 'x', $3::date, $4 = 1.5 WHERE $5";
    let query = parse_query(sql).unwrap();
    let description = planner.describe(sql, &query, &[]).unwrap();
    let types: Vec<Oid> = description.parameters.iter().map(|ty| ty.oid).collect();
    assert_eq!(
        types,
        [
            oids::INT4,
            oids::TEXT,
            oids::DATE,
            oids::NUMERIC,
            oids::BOOL
        ]
    );
    let mut numeric = Vec::new();
    trunkline_types::numeric::Numeric::parse("1.50")
        .unwrap()
        .encode(&mut numeric)
        .unwrap();
    let parameters = ParameterValues {
        types: description.parameters.clone(),
        values: vec![
            Some(41_i32.to_le_bytes().to_vec()),
            None,
            Some(0_i32.to_le_bytes().to_vec()),
            Some(numeric),
            Some(vec![1]),
        ],
    };
    let mut stream = planner.run(sql, &query, &parameters).await.unwrap();
    let types: Vec<PgType> = stream.fields().iter().map(|field| field.ty).collect();
    let mut rows = Vec::new();
    while let Some(batch) = stream.next().await {
        print_rows(&batch.unwrap(), &types, &mut rows);
    }
    assert_eq!(rows, ["42 NULL 2000-01-01 t"]);
}

#[tokio::test]
async fn an_undecided_parameter_is_refused_and_a_bare_one_is_text() {
    let planner = roomy();
    let query = parse_query("SELECT $1").unwrap();
    let description = planner.describe("SELECT $1", &query, &[]).unwrap();
    assert_eq!(description.parameters, [PgType::new(oids::TEXT)]);
    let sql = "SELECT 1 WHERE $2 = 1";
    let error = planner
        .describe(sql, &parse_query(sql).unwrap(), &[])
        .unwrap_err();
    assert_eq!(error.sqlstate, "42P18");
    assert_eq!(
        error.message,
        "could not determine data type of parameter $1"
    );
}

#[tokio::test]
async fn a_series_may_depend_on_parameters() {
    let planner = roomy();
    let sql = "SELECT sum(g) FROM generate_series(1, $1) g LIMIT $2";
    let query = parse_query(sql).unwrap();
    let description = planner.describe(sql, &query, &[]).unwrap();
    let types: Vec<Oid> = description.parameters.iter().map(|ty| ty.oid).collect();
    assert_eq!(types, [oids::INT4, oids::INT8]);
    let parameters = ParameterValues {
        types: description.parameters,
        values: vec![
            Some(4_i32.to_le_bytes().to_vec()),
            Some(1_i64.to_le_bytes().to_vec()),
        ],
    };
    let mut stream = planner.run(sql, &query, &parameters).await.unwrap();
    let mut rows = Vec::new();
    while let Some(batch) = stream.next().await {
        print_rows(&batch.unwrap(), &[PgType::new(oids::INT8)], &mut rows);
    }
    assert_eq!(rows, ["10"]);
}

#[tokio::test]
async fn external_functions_are_called_for_every_row() {
    let planner = roomy();
    let answer = ask(
        &planner,
        "SELECT double(g) FROM generate_series(1, 3) g ORDER BY 1",
    )
    .await;
    assert_eq!(answer.map(|answer| answer.rows).unwrap(), ["2", "4", "6"]);
    let answer = ask(&planner, "SELECT double(NULL), double('21') AS d")
        .await
        .unwrap();
    assert_eq!(answer.rows, ["NULL 42"]);
    assert_eq!(answer.columns.unwrap(), "double bigint, d bigint");
    let error = ask(&planner, "SELECT double(true)")
        .await
        .map(|answer| answer.rows)
        .unwrap_err();
    assert_eq!(error.message, "function double(boolean) does not exist");
}

#[tokio::test]
async fn memory_beyond_the_limit_is_an_error_or_spills() {
    let sql = "SELECT g, md5(g::text) FROM generate_series(1, 200000) g ORDER BY 2";
    let tight = RuntimeLimits {
        memory_limit_bytes: 8 << 20,
        spill_directory: None,
        spill_limit_bytes: 0,
    };
    let error = ask(&planner(tight, 1 << 20), sql)
        .await
        .map(|answer| answer.rows)
        .unwrap_err();
    assert_eq!(error.sqlstate, "53200", "{error:?}");
    let directory = std::env::temp_dir().join(format!("trunkline-spill-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let spilling = RuntimeLimits {
        memory_limit_bytes: 64 << 20,
        spill_directory: Some(directory.clone()),
        spill_limit_bytes: 1 << 30,
    };
    let answer = ask(&planner(spilling, 4 << 20), sql).await;
    std::fs::remove_dir_all(&directory).unwrap();
    let rows = answer.map(|answer| answer.rows).unwrap();
    assert_eq!(rows.len(), 200_000);
    let key = |row: &String| row.split(' ').nth(1).unwrap().to_owned();
    assert!(rows.windows(2).all(|pair| key(&pair[0]) <= key(&pair[1])));
}

#[tokio::test]
async fn insert_sources_take_their_columns_types() {
    let planner = roomy();
    let targets = [
        ("a", oids::INT8, -1, None),
        (
            "b",
            oids::NUMERIC,
            trunkline_types::make_numeric_typmod(10, 2),
            Some("1 + 0.5"),
        ),
        ("c", oids::VARCHAR, 4 + 3, None),
    ];
    let targets = targets.map(|(name, oid, typmod, default)| InsertTarget {
        name,
        ty: PgType::with_typmod(oid, typmod),
        default,
    });
    let types = targets.map(|target| target.ty);
    let insert = async |sql: &str| -> Result<Vec<String>, QueryError> {
        let query = parse_query(sql)?;
        let mut stream = planner
            .run_insert(sql, &query, &targets, &ParameterValues::default())
            .await?;
        let mut rows = Vec::new();
        while let Some(batch) = stream.next().await {
            print_rows(&batch?, &types, &mut rows);
        }
        Ok(rows)
    };
    let rows = insert("VALUES ('1', 2, 'abc  '), (2.5, DEFAULT, NULL)")
        .await
        .unwrap();
    assert_eq!(rows, ["1 2.00 abc", "3 1.50 NULL"]);
    assert_eq!(
        insert("SELECT 1, '2.345', 'x'").await.unwrap(),
        ["1 2.35 x"]
    );
    assert_eq!(insert("SELECT 7").await.unwrap(), ["7 1.50 NULL"]);
    let error = insert("VALUES (1, 2, 'abcd')").await.unwrap_err();
    assert_eq!(
        (error.sqlstate, error.message.as_str()),
        ("22001", "value too long for type character varying(3)")
    );
    let error = insert("SELECT true, 1, 'x'").await.unwrap_err();
    assert_eq!(
        error.message,
        "column \"a\" is of type bigint but expression is of type boolean"
    );
    let error = insert("VALUES (1, 2, 'a', 4)").await.unwrap_err();
    assert_eq!(
        error.message,
        "INSERT has more expressions than target columns"
    );
    let default = planner
        .expression("1 + 0.5", "b", types[1])
        .unwrap()
        .unwrap();
    assert_eq!(printed(types[1], &default), "1.50");
}

#[tokio::test]
async fn explain_shows_the_plan() {
    let planner = roomy();
    let sql = "SELECT g + 1 FROM generate_series(1, 10) g WHERE g > 2 ORDER BY g";
    let query = parse_query(sql).unwrap();
    let lines = planner
        .explain(sql, &query, &ParameterValues::default())
        .await
        .unwrap();
    assert!(
        lines
            .iter()
            .any(|line| line.contains("Scan on generate_series")),
        "{lines:?}"
    );
    assert!(lines.iter().any(|line| line.contains("Sort")), "{lines:?}");
}
