//! A session that runs a script instead of SQL, so that the protocol is tested alone. Its
//! statements are single words and numbers; `put` and `copy in` are transactional.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use trunkline_server::{Session, SessionFactory, StartupParameters, Statement};
use trunkline_sql::IdleLimit;
use trunkline_sql::error::SqlError;
use trunkline_sql::outcome::{
    CopyIn, CopyOut, CopyRows, DatumRows, FieldDesc, Format, Notice, NoticeSeverity, Outcome,
    Param, RowBatch, RowStream, RowTag, TransactionStatus,
};
use trunkline_txn::CancelToken;
use trunkline_types::{ColumnType, Oid, OutputStyle, oids};

/// What outlives the sessions, for tests to look at.
#[derive(Default)]
pub struct World {
    /// What was put and committed.
    pub committed: Mutex<Vec<String>>,
    /// How each load ended.
    pub loads: watch::Sender<Vec<Result<String, SqlError>>>,
    /// How many row streams were dropped before their end.
    pub stopped_streams: watch::Sender<usize>,
    /// Notified when a `wait` statement has begun.
    pub waiting: tokio::sync::Notify,
    /// Why the system has failed, if it has.
    pub failure: Mutex<Option<String>>,
}

pub struct Script {
    world: Arc<World>,
    next_pid: AtomicI32,
}

impl Script {
    pub fn new(world: Arc<World>) -> Script {
        Script {
            world,
            next_pid: AtomicI32::new(100),
        }
    }
}

impl SessionFactory for Script {
    type Session = ScriptSession;

    fn has_database(&self, name: &str) -> bool {
        name == "postgres"
    }

    async fn start(&self, parameters: StartupParameters) -> Result<ScriptSession, SqlError> {
        for (name, _) in &parameters.settings {
            if name == "nosuch_x" {
                let message = format!("unrecognized configuration parameter \"{name}\"");
                return Err(SqlError::new("42704", message));
            }
        }
        Ok(ScriptSession {
            world: Arc::clone(&self.world),
            pid: self.next_pid.fetch_add(1, Ordering::Relaxed),
            token: CancelToken::new(),
            parameters,
            block: TransactionStatus::Idle,
            pending: Arc::default(),
            notices: Vec::new(),
            changes: Vec::new(),
            named: HashMap::new(),
        })
    }
}

pub struct ScriptStatement {
    sql: String,
    param_types: Vec<Oid>,
    fields: Vec<FieldDesc>,
}

impl Statement for ScriptStatement {
    fn param_types(&self) -> &[Oid] {
        &self.param_types
    }

    fn fields(&self) -> &[FieldDesc] {
        &self.fields
    }
}

pub struct ScriptSession {
    world: Arc<World>,
    pid: i32,
    token: CancelToken,
    parameters: StartupParameters,
    block: TransactionStatus,
    /// What the transaction put.
    pending: Arc<Mutex<Vec<String>>>,
    notices: Vec<Notice>,
    changes: Vec<(String, String)>,
    named: HashMap<String, Arc<ScriptStatement>>,
}

impl Drop for ScriptSession {
    fn drop(&mut self) {
        self.pending.lock().unwrap().clear();
    }
}

fn field(name: &str, type_oid: Oid, type_len: i16) -> FieldDesc {
    FieldDesc {
        name: name.to_owned(),
        table_oid: Oid(0),
        column_number: 0,
        type_oid,
        type_len,
        typmod: -1,
    }
}

fn int4() -> Arc<[ColumnType]> {
    Arc::new([ColumnType::new(oids::INT4, -1).unwrap()])
}

fn numbers(range: Range<i32>) -> DatumRows {
    let mut rows = DatumRows::new(int4(), Arc::new(OutputStyle::default()));
    for number in range {
        rows.push(&[Some(&number.to_le_bytes())]);
    }
    rows
}

/// 1 to `last`, in batches of up to 1000.
fn stream_of_numbers(world: &Arc<World>, last: i32) -> RowStream {
    let (sender, stream) = RowStream::channel(RowTag::Counted("SELECT"), 1);
    let world = Arc::clone(world);
    tokio::spawn(async move {
        let mut next = 1;
        while next <= last {
            let end = next.saturating_add(1000).min(last.saturating_add(1));
            if sender
                .send(RowBatch::new(numbers(next..end)))
                .await
                .is_err()
            {
                world.stopped_streams.send_modify(|count| *count += 1);
                return;
            }
            next = end;
            if next == i32::MAX {
                next = 1;
            }
        }
        sender.finish().await;
    });
    stream
}

impl ScriptSession {
    fn finish(&mut self, keep: bool) {
        self.token.end_statement();
        let put = std::mem::take(&mut *self.pending.lock().unwrap());
        if keep {
            self.world.committed.lock().unwrap().extend(put);
        }
        self.block = TransactionStatus::Idle;
    }

    /// Lines of text; `bad` is refused, as is the end of input without CopyDone.
    fn load(&self, format: Format) -> Outcome {
        let (mut source, copy) = CopyIn::channel(format, 2, 1);
        let world = Arc::clone(&self.world);
        let pending = Arc::clone(&self.pending);
        tokio::spawn(async move {
            let mut text = Vec::new();
            let result = loop {
                match source.next().await {
                    Ok(Some(data)) => text.extend_from_slice(&data),
                    Ok(None) => {
                        let text = String::from_utf8_lossy(&text).into_owned();
                        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
                        let count = lines.len();
                        pending.lock().unwrap().extend(lines);
                        break Ok(format!("COPY {count}"));
                    }
                    Err(error) => break Err(error),
                }
                if text.starts_with(b"bad\n") {
                    let mut error = SqlError::new("22P02", "bad line");
                    error.context = Some("COPY t, line 1: \"bad\"".to_owned());
                    break Err(error);
                }
            };
            world.loads.send_modify(|loads| loads.push(result.clone()));
            source.complete(result);
        });
        Outcome::CopyIn(copy)
    }

    fn unload(&self, rows: usize) -> Outcome {
        let (sink, copy) = CopyOut::channel(Format::Text, 1, 1);
        tokio::spawn(async move {
            for row in 1..=rows {
                let mut chunk = CopyRows::new();
                chunk
                    .bytes_mut()
                    .extend_from_slice(format!("{row}\n").as_bytes());
                chunk.end_row();
                if sink.send(chunk).await.is_err() {
                    return;
                }
            }
            sink.finish(format!("COPY {rows}")).await;
        });
        Outcome::CopyOut(copy)
    }

    fn command(tag: &str) -> Result<Outcome, SqlError> {
        Ok(Outcome::Command {
            tag: tag.to_owned(),
        })
    }
}

impl Session for ScriptSession {
    type Statement = ScriptStatement;

    fn backend_pid(&self) -> i32 {
        self.pid
    }

    fn cancel_token(&self) -> CancelToken {
        self.token.clone()
    }

    fn parameter_statuses(&self) -> Vec<(String, String)> {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        vec![
            pair("server_version", "18.0"),
            pair("client_encoding", "UTF8"),
            pair("standard_conforming_strings", "on"),
            pair("session_authorization", &self.parameters.user),
        ]
    }

    fn take_parameter_changes(&mut self) -> Vec<(String, String)> {
        std::mem::take(&mut self.changes)
    }

    /// Of `idle_ms`, or in a transaction block `block_idle_ms`.
    fn idle_limit(&self) -> Option<IdleLimit> {
        let is_in_transaction = self.block != TransactionStatus::Idle;
        let name = match is_in_transaction {
            true => "block_idle_ms",
            false => "idle_ms",
        };
        let settings = &self.parameters.settings;
        let (_, limit_ms) = settings.iter().find(|(setting, _)| setting == name)?;
        Some(IdleLimit {
            after: Duration::from_millis(limit_ms.parse().unwrap()),
            is_in_transaction,
        })
    }

    fn system_failure(&self) -> Option<SqlError> {
        let failure = self.world.failure.lock().unwrap();
        failure
            .as_ref()
            .map(|reason| SqlError::new("57P02", reason.clone()))
    }

    fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    fn transaction_status(&self) -> TransactionStatus {
        self.block
    }

    fn split(&self, query: &str) -> Result<Vec<Range<usize>>, SqlError> {
        let mut start = 0;
        let mut ranges = Vec::new();
        for part in query.split(';') {
            let blank = part.len() - part.trim_start().len();
            let text = part.trim();
            if !text.is_empty() {
                ranges.push(start + blank..start + blank + text.len());
            }
            start += part.len() + 1;
        }
        Ok(ranges)
    }

    async fn prepare(
        &mut self,
        sql: &str,
        param_types: &[Oid],
    ) -> Result<Arc<ScriptStatement>, SqlError> {
        if self.block == TransactionStatus::Failed
            && !matches!(sql, "commit" | "rollback" | "COMMIT" | "ROLLBACK")
        {
            let message =
                "current transaction is aborted, commands ignored until end of transaction block";
            return Err(SqlError::new("25P02", message));
        }
        let (params, fields) = match sql.split(' ').next().unwrap_or_default() {
            "rows" | "forever" => (vec![], vec![field("n", oids::INT4, 4)]),
            "database" => (vec![], vec![field("database", oids::TEXT, -1)]),
            "echo" => {
                let first = param_types.first().copied().filter(|oid| oid.0 != 0);
                (
                    vec![first.unwrap_or(oids::TEXT)],
                    vec![field("echo", oids::TEXT, -1)],
                )
            }
            "nonsense" => {
                let message = "syntax error at or near \"nonsense\"";
                return Err(SqlError::new("42601", message).at(1));
            }
            _ => (vec![], vec![]),
        };
        Ok(Arc::new(ScriptStatement {
            sql: sql.to_owned(),
            param_types: params,
            fields,
        }))
    }

    fn named_statement(&self, name: &str) -> Option<Arc<ScriptStatement>> {
        self.named.get(name).cloned()
    }

    fn name_statement(
        &mut self,
        name: &str,
        statement: Arc<ScriptStatement>,
    ) -> Result<(), SqlError> {
        if self.named.contains_key(name) {
            let message = format!("prepared statement \"{name}\" already exists");
            return Err(SqlError::new("42P05", message));
        }
        self.named.insert(name.to_owned(), statement);
        Ok(())
    }

    fn forget_statement(&mut self, name: &str) {
        self.named.remove(name);
    }

    fn begin_query_string(&mut self, _statements: usize) {}

    async fn execute(
        &mut self,
        statement: &Arc<ScriptStatement>,
        params: Vec<Param>,
    ) -> Result<Outcome, SqlError> {
        self.token.begin_statement();
        let words: Vec<&str> = statement.sql.split(' ').collect();
        match words.as_slice() {
            [""] => Ok(Outcome::Empty),
            ["rows", count] => Ok(Outcome::Rows(stream_of_numbers(
                &self.world,
                count.parse().unwrap(),
            ))),
            ["forever"] => Ok(Outcome::Rows(stream_of_numbers(&self.world, i32::MAX))),
            ["echo"] => {
                let style = Arc::new(OutputStyle::default());
                let text: Arc<[ColumnType]> = Arc::new([ColumnType::new(oids::TEXT, -1).unwrap()]);
                let mut rows = DatumRows::new(text, style);
                rows.push(&[params[0].value.as_deref()]);
                Ok(Outcome::Rows(RowStream::ready(
                    RowTag::Counted("SELECT"),
                    rows,
                )))
            }
            ["database"] => {
                let text: Arc<[ColumnType]> = Arc::new([ColumnType::new(oids::TEXT, -1).unwrap()]);
                let mut rows = DatumRows::new(text, Arc::new(OutputStyle::default()));
                rows.push(&[Some(self.parameters.database.as_bytes())]);
                Ok(Outcome::Rows(RowStream::ready(RowTag::Plain("SHOW"), rows)))
            }
            ["begin"] | ["START", "TRANSACTION"] => {
                self.block = TransactionStatus::InBlock;
                Self::command("BEGIN")
            }
            ["commit" | "COMMIT"] => {
                let is_good = self.block != TransactionStatus::Failed;
                self.finish(is_good);
                Self::command(if is_good { "COMMIT" } else { "ROLLBACK" })
            }
            ["rollback" | "ROLLBACK"] => {
                self.finish(false);
                Self::command("ROLLBACK")
            }
            ["put", what] => {
                self.pending.lock().unwrap().push((*what).to_owned());
                Self::command("INSERT 0 1")
            }
            ["set", name, value] => {
                self.changes.push(((*name).to_owned(), (*value).to_owned()));
                Self::command("SET")
            }
            ["drop"] => {
                self.notices.push(Notice::new(
                    NoticeSeverity::Notice,
                    "00000",
                    "table \"nope\" does not exist, skipping",
                ));
                Self::command("DROP TABLE")
            }
            ["copy", "in"] => Ok(self.load(Format::Text)),
            ["copy", "in", "binary"] => Ok(self.load(Format::Binary)),
            ["copy", "out", count] => Ok(self.unload(count.parse().unwrap())),
            ["wait"] => {
                self.world.waiting.notify_one();
                let reason = self.token.requested_async().await;
                Err(SqlError::new(reason.sqlstate(), reason.message()))
            }
            ["wait", "and", "doubt"] => {
                self.world.waiting.notify_one();
                self.token.requested_async().await;
                Err(SqlError::new("08007", "nobody knows"))
            }
            ["divide"] => Err(SqlError::new("22012", "division by zero")),
            ["panic"] => panic!("the script panics"),
            _ => Err(SqlError::new("42601", "no such statement")),
        }
    }

    async fn sync(&mut self) -> Result<(), SqlError> {
        self.token.end_statement();
        if self.block == TransactionStatus::Idle {
            if self
                .pending
                .lock()
                .unwrap()
                .iter()
                .any(|put| put == "uncommittable")
            {
                return Err(SqlError::new("40001", "could not serialize access"));
            }
            self.finish(true);
        }
        Ok(())
    }

    async fn abort(&mut self) {
        self.token.end_statement();
        if self.block == TransactionStatus::Idle {
            self.finish(false);
        } else {
            self.pending.lock().unwrap().clear();
            self.block = TransactionStatus::Failed;
        }
    }
}
