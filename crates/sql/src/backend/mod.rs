//! The half of a session that may block, and so runs on engine threads; but for what [`quick`] takes.
//!
//! A statement's life: [`Backend::prepare`] parses and analyses it, [`Backend::execute`] runs it.
//! What streams outlives `execute`: rows of a query are computed by the executor and the scans'
//! threads; COPY keeps the engine thread, and the backend with it, until its data has ended.
//!
//! - [`prepared`], [`named`]: analysis, parameters; PREPARE, EXECUTE, DEALLOCATE
//! - [`queries`], [`rows`]: SELECT and EXPLAIN
//! - [`quick`], [`insert_plan`]: what runs where it is called, without a thread
//! - [`insert`], [`copy_from`], [`copy_to`], [`copy_file`]: rows in and out
//! - [`ddl`], [`settings`], [`transaction`]: utility statements
//! - [`facts`], [`functions`]: what queries ask of the session and of storage

mod copy_file;
mod copy_from;
mod copy_to;
mod ddl;
mod facts;
mod functions;
mod insert;
mod insert_plan;
mod log_functions;
mod named;
mod prepared;
mod queries;
mod quick;
mod rows;
mod settings;
mod transaction;

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::{Arc, Mutex, TryLockError};
use std::time::Duration;

use tokio::sync::oneshot;
use trunkline_aio::{Alarm, Clock, IoContext};
use trunkline_engine::settings::{SessionSettings, SettingValue};
use trunkline_engine::{EngineError, Session, SessionWarnings, ThreadError, settings as guc};
use trunkline_txn::{CancelReason, CancelToken};
use trunkline_types::{DateOrder, DateStyle, InputStyle, OutputStyle, TimeZone, parse_date_style};

use crate::database::SqlDatabase;
use crate::error::SqlError;
use crate::idle::IdleTimeouts;
use crate::outcome::{Notice, NoticeSeverity, Outcome, Param, TransactionStatus};
use crate::query::{Batch, Planner, QueryContext, QueryInputs, QueryRuntime, QueryStream, Styles};
use crate::relations::{Resolver, ScanGroup, SessionRef, SharedSession, lock_session};
use crate::statement::{Statement, TransactionStatement};
use crate::views::{Activity, ActivityState};

pub(crate) use named::NamedStatements;
pub use prepared::Prepared;
pub(crate) use quick::{Committing, Quick, Stage};

/// Microseconds from 1970-01-01 to 2000-01-01, where PostgreSQL's timestamps begin.
pub(crate) const UNIX_TO_PG_US: i64 = 946_684_800_000_000;

/// Settings that clients are told of (`GUC_REPORT`).
const REPORTED: &[&str] = &[
    "application_name",
    "client_encoding",
    "DateStyle",
    "default_transaction_read_only",
    "in_hot_standby",
    "integer_datetimes",
    "IntervalStyle",
    "is_superuser",
    "scram_iterations",
    "search_path",
    "server_encoding",
    "server_version",
    "session_authorization",
    "standard_conforming_strings",
    "TimeZone",
];

/// Messages that wait for a client to take them, at most.
const NOTICES_MAX: usize = 1000;

/// Microseconds since 2000-01-01 UTC.
pub(crate) fn now_us(clock: &dyn Clock) -> i64 {
    i64::try_from(clock.since_epoch().as_micros()).unwrap_or(i64::MAX) - UNIX_TO_PG_US
}

/// The way to give a statement's outcome while the statement goes on.
pub(crate) struct Early(Option<oneshot::Sender<Result<Outcome, SqlError>>>);

impl Early {
    pub fn new(sender: oneshot::Sender<Result<Outcome, SqlError>>) -> Early {
        Early(Some(sender))
    }

    pub fn send(&mut self, result: Result<Outcome, SqlError>) {
        if let Some(sender) = self.0.take() {
            // Nobody waits: the outcome is dropped, which ends what it streams.
            let _ = sender.send(result);
        }
    }
}

/// How a statement left the engine thread.
pub(crate) enum Finished {
    /// With its outcome.
    Outcome(Outcome),
    /// It gave its outcome early; what is left to tell the other end of a stream, once the backend
    /// can be used again.
    Then(Box<dyn FnOnce() + Send>),
}

impl Finished {
    fn command(tag: impl Into<String>) -> Finished {
        Finished::Outcome(Outcome::Command { tag: tag.into() })
    }
}

/// What of a session's settings those outside of it go by.
pub(crate) struct ToldSettings {
    /// The version of the settings.
    pub version: u64,
    /// The settings that clients are told of.
    pub reported: Vec<(String, String)>,
    pub idle_timeouts: IdleTimeouts,
}

impl ToldSettings {
    pub fn of(settings: &SessionSettings) -> ToldSettings {
        let shown = REPORTED.iter().filter_map(|name| settings.show(name).ok());
        ToldSettings {
            version: settings.version(),
            reported: shown.collect(),
            idle_timeouts: IdleTimeouts::of(settings),
        }
    }
}

/// The styles as the settings of a version have them.
struct KnownStyles {
    settings_version: u64,
    input: InputStyle,
    output: OutputStyle,
}

impl KnownStyles {
    fn read(settings: &SessionSettings) -> KnownStyles {
        let time_zone = TimeZone::parse(settings.text("TimeZone")).unwrap_or_else(TimeZone::utc);
        let default = (DateStyle::Iso, DateOrder::Mdy);
        let (date_style, date_order) =
            parse_date_style(settings.text("DateStyle"), default).unwrap_or(default);
        let bytea_output = match settings.text("bytea_output") {
            "escape" => trunkline_types::ByteaOutput::Escape,
            _ => trunkline_types::ByteaOutput::Hex,
        };
        KnownStyles {
            settings_version: settings.version(),
            input: InputStyle {
                time_zone: time_zone.clone(),
                date_order,
                now_us: 0,
            },
            output: OutputStyle {
                time_zone,
                date_style,
                date_order,
                extra_float_digits: i32::try_from(settings.integer("extra_float_digits"))
                    .unwrap_or(1),
                bytea_output,
                names: None,
            },
        }
    }
}

/// A session's blocking half.
pub(crate) struct Backend {
    shared: Arc<SqlDatabase>,
    engine: SharedSession,
    /// The scans of the running transaction.
    scans: ScanGroup,
    named: NamedStatements,
    notices: Vec<Notice>,
    /// Later ones that there was no room for.
    notices_left_out: u64,
    status: TransactionStatus,
    /// A transaction is in progress, a block's or an implicit one.
    in_transaction: bool,
    /// The statement is one of several in a query string: they count as a transaction block.
    in_implicit_block: bool,
    /// The transaction has run a statement.
    has_run: bool,
    /// How many EXECUTEs are running, one by the other.
    execute_depth: usize,
    transaction_start_us: i64,
    statement_start_us: i64,
    /// The room to spill of a session that has a `temp_file_limit`.
    limited_runtime: RefCell<Option<QueryRuntime>>,
    known_styles: RefCell<Option<KnownStyles>>,
    /// The issuer that the statement before used, for the commit that comes next.
    kept_issuer: Option<IoContext>,
    /// Enforces `statement_timeout`.
    timer: Option<Alarm>,
    activity: Arc<Activity>,
}

impl Backend {
    pub fn new(shared: Arc<SqlDatabase>, session: Session, named: NamedStatements) -> Backend {
        let entry = session.entry();
        let start_us = now_us(shared.database().clock().as_ref());
        let activity =
            shared
                .activities
                .add(entry.backend_pid, &entry.user, &entry.database, start_us);
        let backend = Backend {
            activity,
            shared,
            engine: Arc::new(Mutex::new(session)),
            scans: ScanGroup::new(),
            named,
            notices: Vec::new(),
            notices_left_out: 0,
            status: TransactionStatus::Idle,
            in_transaction: false,
            in_implicit_block: false,
            has_run: false,
            execute_depth: 0,
            limited_runtime: RefCell::new(None),
            known_styles: RefCell::new(None),
            kept_issuer: None,
            transaction_start_us: start_us,
            statement_start_us: start_us,
            timer: None,
        };
        backend.show_waiting();
        backend
    }

    pub fn transaction_status(&self) -> TransactionStatus {
        self.status
    }

    /// Whether ending it takes blocking work.
    pub fn is_in_transaction(&self) -> bool {
        self.in_transaction
    }

    pub fn take_notices(&mut self) -> Vec<Notice> {
        let mut notices = std::mem::take(&mut self.notices);
        let left_out = std::mem::take(&mut self.notices_left_out);
        if left_out > 0 {
            let message = format!("{left_out} more messages were left out");
            notices.push(Notice::new(NoticeSeverity::Warning, "01000", message));
        }
        notices
    }

    /// What reads have to tell the client, whichever thread they are on.
    pub fn warnings(&self) -> Arc<SessionWarnings> {
        Arc::clone(lock_session(&self.engine).warnings())
    }

    /// Whether nobody else uses the session, so that whoever has this need not wait for it. A query that
    /// gives its rows by and by may be calling a function that does, and that waits for a lock: whose
    /// owner may need the very thread that would wait for the session here.
    pub fn has_session_alone(&self) -> bool {
        self.scans.is_idle()
    }

    /// The settings, if they are of another version than `version`. None also while somebody else uses the
    /// session; does not wait.
    pub fn told_settings_since(&self, version: u64) -> Option<ToldSettings> {
        let session = match self.engine.try_lock() {
            Ok(session) => session,
            Err(TryLockError::Poisoned(session)) => session.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let settings = session.settings();
        (settings.version() != version).then(|| ToldSettings::of(settings))
    }

    fn cancel(&self) -> CancelToken {
        lock_session(&self.engine).cancel().clone()
    }

    fn issuer(&self) -> Result<IoContext, SqlError> {
        Ok(lock_session(&self.engine).issuer()?)
    }

    /// Runs something with the session and an issuer.
    fn with_session<T, E: Into<SqlError>>(
        &self,
        run: impl FnOnce(&mut Session, &mut IoContext) -> Result<T, E>,
    ) -> Result<T, SqlError> {
        let mut io = self.issuer()?;
        let mut session = lock_session(&self.engine);
        run(&mut session, &mut io).map_err(Into::into)
    }

    /// Tells the client something, if `client_min_messages` lets it through.
    fn notice(&mut self, notice: Notice) {
        let rank = |word: &str| match word {
            "error" => 3,
            "warning" => 2,
            "notice" => 1,
            // "info", "log" and the debug levels.
            _ => 0,
        };
        let threshold = rank(
            lock_session(&self.engine)
                .settings()
                .text("client_min_messages"),
        );
        let passes = match notice.severity {
            NoticeSeverity::Info => true,
            NoticeSeverity::Notice => threshold <= 1,
            NoticeSeverity::Warning => threshold <= 2,
        };
        if passes && self.notices.len() < NOTICES_MAX {
            self.notices.push(notice);
        } else if passes {
            self.notices_left_out += 1;
        }
    }

    fn warn(&mut self, sqlstate: &'static str, message: impl Into<String>) {
        self.notice(Notice::new(NoticeSeverity::Warning, sqlstate, message));
    }

    /// Tells that transaction ids run low, if the statement's transaction got its id so.
    fn warn_of_wraparound(&mut self) {
        let warning = lock_session(&self.engine).take_wraparound_warning();
        if let Some(warning) = warning {
            tracing::warn!(hint = warning.hint, "{}", warning.message);
            self.notice(Notice {
                hint: Some(warning.hint.to_owned()),
                ..Notice::new(NoticeSeverity::Warning, "01000", warning.message)
            });
        }
    }

    fn now_us(&self) -> i64 {
        now_us(self.shared.database().clock().as_ref())
    }

    /// Begins a statement, and with it a transaction unless one is in progress.
    fn begin_statement(&mut self) -> Result<(), SqlError> {
        self.kept_issuer = None;
        let mut session = lock_session(&self.engine);
        let begins = !session.in_transaction();
        session.begin_statement()?;
        self.statement_start_us = self.now_us();
        if begins {
            self.scans = ScanGroup::new();
            self.has_run = false;
            self.transaction_start_us = self.statement_start_us;
        }
        self.in_transaction = true;
        let timeout_ms = u64::try_from(session.settings().integer("statement_timeout"));
        let (statement, cancel) = (session.statement_id(), session.cancel().clone());
        drop(session);
        self.timer = match (timeout_ms, statement) {
            (Ok(timeout_ms @ 1..), Some(statement)) => {
                let clock = self.shared.database().clock();
                let timeout = Duration::from_millis(timeout_ms);
                let action = move || {
                    cancel.request_for(statement, CancelReason::StatementTimeout);
                };
                let alarm =
                    clock.alarm(clock.monotonic().saturating_add(timeout), Box::new(action));
                Some(
                    alarm
                        .map_err(ThreadError::NotStarted)
                        .map_err(EngineError::from)?,
                )
            }
            _ => None,
        };
        Ok(())
    }

    /// After anything that may have changed where the transaction is.
    fn note_transaction(&mut self) {
        let session = lock_session(&self.engine);
        self.in_transaction = session.in_transaction();
        self.status = match session.transaction_status() {
            trunkline_engine::TransactionStatus::Idle => TransactionStatus::Idle,
            trunkline_engine::TransactionStatus::InBlock => TransactionStatus::InBlock,
            trunkline_engine::TransactionStatus::Failed => TransactionStatus::Failed,
        };
    }

    fn show_waiting(&self) {
        let state = match self.status {
            TransactionStatus::Failed => ActivityState::IdleInFailedTransaction,
            TransactionStatus::InBlock => ActivityState::IdleInTransaction,
            TransactionStatus::Idle if self.in_transaction => ActivityState::IdleInTransaction,
            TransactionStatus::Idle => ActivityState::Idle,
        };
        let session = lock_session(&self.engine);
        self.activity.wait(
            state,
            session.settings().text("application_name"),
            self.now_us(),
        );
    }

    /// The statement failed: its transaction is rolled back.
    pub fn abort(&mut self) {
        self.kept_issuer = None;
        self.timer = None;
        self.scans.close();
        lock_session(&self.engine).fail_statement();
        self.note_transaction();
        self.show_waiting();
    }

    /// The end of a query string, or of a series of extended-protocol messages. Blocks only if
    /// [`Backend::needs_commit`], or others use the session.
    ///
    /// # Errors
    /// The implicit transaction could not commit, and is rolled back.
    pub fn sync(&mut self) -> Result<(), SqlError> {
        self.timer = None;
        if self.needs_commit() {
            self.scans.close();
        }
        let result = lock_session(&self.engine).sync();
        self.note_transaction();
        self.show_waiting();
        Ok(result?)
    }

    /// Whether an implicit transaction is in progress.
    pub fn needs_commit(&self) -> bool {
        self.in_transaction && self.status == TransactionStatus::Idle
    }

    /// Analyses a statement.
    ///
    /// # Errors
    /// What is wrong with it; its transaction is rolled back.
    pub fn prepare(
        &mut self,
        sql: &str,
        declared: &[trunkline_types::Oid],
    ) -> Result<Arc<Prepared>, SqlError> {
        let result = self.analyse(sql, declared);
        if result.is_err() {
            self.abort();
        } else {
            self.note_transaction();
        }
        result.map(Arc::new)
    }

    /// Runs a statement. `in_implicit_block`: its query string has others.
    ///
    /// # Errors
    /// The statement's; its transaction is rolled back.
    pub fn execute(
        &mut self,
        prepared: &Arc<Prepared>,
        params: Vec<Param>,
        stage: Stage,
        in_implicit_block: bool,
        early: &mut Early,
    ) -> Result<Finished, SqlError> {
        self.in_implicit_block = in_implicit_block;
        self.execute_depth = 0;
        let result = self.run(prepared, params, stage, early);
        self.has_run = true;
        self.warn_of_wraparound();
        // Rows may be read yet; their stream sees to the end of it.
        if !matches!(result, Ok(Finished::Outcome(Outcome::Rows(_)))) {
            lock_session(&self.engine).statement_warnings().end();
        }
        if result.is_err() {
            self.abort();
        } else {
            self.note_transaction();
        }
        result
    }

    fn run(
        &mut self,
        prepared: &Arc<Prepared>,
        params: Vec<Param>,
        stage: Stage,
        early: &mut Early,
    ) -> Result<Finished, SqlError> {
        let Some(statement) = prepared.statement() else {
            return Ok(Finished::Outcome(Outcome::Empty));
        };
        if let Statement::Transaction(_) = statement {
            return self
                .run_transaction_statement(prepared)
                .map(Finished::command);
        }
        if stage == Stage::New {
            self.begin_running(prepared)?;
        }
        let values = prepared.values(params, &self.input_style())?;
        match statement {
            Statement::Query(query) => self.select(prepared, query, &values).map(Finished::Outcome),
            Statement::Insert(insert) => {
                let kept = prepared.plan().filter(|plan| self.may_insert(plan));
                let rows = match kept {
                    Some(plan) => self.insert_planned(&plan, &values)?,
                    None => self.insert(prepared.text(), insert, &values, Some(prepared))?,
                };
                Ok(Finished::command(format!("INSERT 0 {rows}")))
            }
            Statement::Explain(explain) => self
                .explain(prepared.text(), explain, &values)
                .map(Finished::Outcome),
            Statement::CreateTable(create) => {
                self.create_table(create)?;
                Ok(Finished::command("CREATE TABLE"))
            }
            Statement::DropTable(drop) => {
                self.drop_tables(drop)?;
                Ok(Finished::command("DROP TABLE"))
            }
            Statement::Truncate(names) => {
                self.truncate(names)?;
                Ok(Finished::command("TRUNCATE TABLE"))
            }
            Statement::Copy(copy) if copy.is_from => self.copy_from(copy, early),
            Statement::Copy(copy) => self.copy_to(prepared.text(), copy, early),
            Statement::Lock(lock) => {
                self.lock_tables(lock)?;
                Ok(Finished::command("LOCK TABLE"))
            }
            Statement::Transaction(_) => unreachable!("transaction control was handled before"),
            Statement::Set(set) => {
                self.set(set)?;
                let tag = match set {
                    crate::statement::SetStatement::ResetAll => "RESET",
                    crate::statement::SetStatement::Default { is_reset: true, .. } => "RESET",
                    _ => "SET",
                };
                Ok(Finished::command(tag))
            }
            Statement::Show(name) => self.show(name.as_deref()).map(Finished::Outcome),
            Statement::Checkpoint => {
                let mut io = self.issuer()?;
                self.shared.database().checkpoint(&mut io)?;
                Ok(Finished::command("CHECKPOINT"))
            }
            Statement::Discard(what) => self.discard(*what).map(Finished::command),
            Statement::Prepare(prepare) => {
                self.prepare_named(prepare)?;
                Ok(Finished::command("PREPARE"))
            }
            Statement::Execute(execute) => self.execute_named(prepared, execute, early),
            Statement::Deallocate(name) => self.deallocate(name.as_deref()).map(Finished::command),
        }
    }

    fn show_running(&self, prepared: &Prepared) {
        self.activity
            .begin(prepared.text(), self.transaction_start_us, self.now_us());
    }

    /// Runs BEGIN, COMMIT or ROLLBACK; its command tag.
    fn run_transaction_statement(&mut self, prepared: &Prepared) -> Result<&'static str, SqlError> {
        self.show_running(prepared);
        match prepared.statement() {
            Some(Statement::Transaction(statement)) => self.control_transaction(statement),
            _ => Err(SqlError::internal("no transaction control statement")),
        }
    }

    /// What comes before any other statement's own work.
    fn begin_running(&mut self, prepared: &Prepared) -> Result<(), SqlError> {
        let Some(statement) = prepared.statement() else {
            return Ok(());
        };
        self.refuse_if_failed()?;
        self.begin_statement()?;
        self.activity.begin(
            prepared.text(),
            self.transaction_start_us,
            self.statement_start_us,
        );
        if statement.takes_snapshot() {
            lock_session(&self.engine).note_query();
        }
        if let Some(command) = statement.writing_utility() {
            lock_session(&self.engine).refuse_if_read_only(command)?;
        }
        Ok(())
    }

    /// Whether the statement is in a transaction block, be it of BEGIN or of a query string
    /// (`CheckTransactionBlock` in PostgreSQL's `access/transam/xact.c`).
    fn is_in_block(&self) -> bool {
        self.status != TransactionStatus::Idle || self.in_implicit_block || self.execute_depth > 0
    }

    /// Refuses `command`, which cannot be rolled back, where that could be asked for
    /// (`PreventInTransactionBlock`).
    fn refuse_in_block(&self, command: &str) -> Result<(), SqlError> {
        let reason =
            if self.status != TransactionStatus::Idle || self.in_implicit_block || self.has_run {
                "run inside a transaction block"
            } else if self.execute_depth > 0 {
                "be executed from a function"
            } else {
                return Ok(());
            };
        Err(SqlError::new("25001", format!("{command} cannot {reason}")))
    }

    fn refuse_if_failed(&self) -> Result<(), SqlError> {
        if self.status == TransactionStatus::Failed {
            return Err(SqlError::new(
                "25P02",
                "current transaction is aborted, commands ignored until end of transaction block",
            ));
        }
        Ok(())
    }

    /// Whether a statement may run in a failed block.
    fn ends_transaction(statement: &Statement) -> bool {
        matches!(
            statement,
            Statement::Transaction(
                TransactionStatement::Commit { .. } | TransactionStatement::Rollback { .. }
            )
        )
    }

    /// What reading values depends on.
    fn input_style(&self) -> InputStyle {
        let (input, _) = self.read_styles();
        input
    }

    /// What reading and printing values depends on.
    fn styles(&self) -> Arc<Styles> {
        let (input, output) = self.read_styles();
        Arc::new(Styles::new(input, output))
    }

    fn read_styles(&self) -> (InputStyle, OutputStyle) {
        let session = lock_session(&self.engine);
        let settings = session.settings();
        let mut known = self.known_styles.borrow_mut();
        let known = match &mut *known {
            Some(known) if known.settings_version == settings.version() => known,
            outdated => outdated.insert(KnownStyles::read(settings)),
        };
        let input = InputStyle {
            now_us: self.transaction_start_us,
            ..known.input.clone()
        };
        (input, known.output.clone())
    }

    /// A planner for the running statement.
    ///
    /// # Errors
    /// The room that `temp_file_limit` asks for cannot be had.
    fn planner(&self, styles: &Arc<Styles>) -> Result<Planner, SqlError> {
        let resolver = Arc::new(Resolver::new(&self.engine, &self.shared, &self.scans));
        let context = self.query_context()?;
        let session = facts::Facts::new(
            &lock_session(&self.engine),
            SessionRef::new(&self.engine),
            Arc::clone(&resolver),
            self.transaction_start_us,
            self.statement_start_us,
        );
        let external = functions::StorageFunctions::new(
            &self.shared,
            SessionRef::new(&self.engine),
            &self.scans,
        );
        Ok(context.planner(QueryInputs {
            tables: resolver,
            session: Arc::new(session),
            external: Arc::new(external),
            styles: Arc::clone(styles),
        }))
    }

    /// The context for what the settings are now.
    fn query_context(&self) -> Result<QueryContext, SqlError> {
        let session = lock_session(&self.engine);
        let settings = SqlDatabase::query_settings(
            session.settings().integer("work_mem"),
            session.scan_partitions(),
        );
        let limit_kb = u64::try_from(session.settings().integer("temp_file_limit")).ok();
        drop(session);
        let mut limited = self.limited_runtime.borrow_mut();
        let Some(limit_kb) = limit_kb else {
            *limited = None;
            return Ok(self.shared.query_context(settings));
        };
        let runtime = match limited.take() {
            Some(runtime) if runtime.temp_file_limit_kb() == Some(limit_kb) => runtime,
            _ => self.shared.query_runtime().with_temp_file_limit(limit_kb)?,
        };
        let context = QueryContext::new(&runtime, settings);
        *limited = Some(runtime);
        Ok(context)
    }

    /// The next rows of a query that this thread itself reads.
    fn next_batch(
        &self,
        stream: &mut QueryStream,
        cancel: &CancelToken,
    ) -> Result<Option<Batch>, SqlError> {
        self.shared.block_on(async {
            tokio::select! {
                biased;
                reason = cancel.requested_async() => Err(cancelled(reason)),
                batch = stream.next() => Ok(batch.transpose()?),
            }
        })
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.timer = None;
        self.scans.close();
        // A query's plan may hold the session a moment longer; its transaction ends here.
        lock_session(&self.engine).rollback_block();
    }
}

/// The error of a statement that was told to stop.
pub(crate) fn cancelled(reason: CancelReason) -> SqlError {
    SqlError {
        is_fatal: reason == CancelReason::Terminate,
        sqlstate: Cow::Borrowed(reason.sqlstate()),
        ..SqlError::internal(reason.message())
    }
}

/// A setting's value in the spelling that users see.
fn setting_text(definition: &guc::SettingDefinition, value: &SettingValue) -> String {
    value.show(definition)
}
