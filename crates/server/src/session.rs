//! What the protocol needs of whoever runs statements, and that SQL's sessions have it.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;

use trunkline_sql::error::SqlError;
use trunkline_sql::outcome::{FieldDesc, Notice, Outcome, Param, TransactionStatus};
use trunkline_sql::statement::parse_statement;
use trunkline_sql::{IdleLimit, Prepared, SqlDatabase, SqlSession};
use trunkline_txn::CancelToken;
use trunkline_types::Oid;

/// What the client's startup packet asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartupParameters {
    /// The user; not empty.
    pub user: String,
    /// A database for which [`SessionFactory::has_database`] was true.
    pub database: String,
    /// Settings in the order in which they apply; a later one wins.
    pub settings: Vec<(String, String)>,
}

/// Makes sessions; shared by all connections.
pub trait SessionFactory: Send + Sync + 'static {
    /// Its sessions.
    type Session: Session;

    /// Whether there is a database of this name to connect to.
    fn has_database(&self, name: &str) -> bool;

    /// A new session. What costs memory is to be made when a statement first needs it.
    ///
    /// # Errors
    /// Whatever ends the connection: a bad setting, too many sessions, a server that stops.
    fn start(
        &self,
        parameters: StartupParameters,
    ) -> impl Future<Output = Result<Self::Session, SqlError>> + Send;
}

/// A prepared statement.
pub trait Statement: Send + Sync + 'static {
    /// The types of `$1`, `$2`, ..., as given or inferred.
    fn param_types(&self) -> &[Oid];

    /// The columns of its result; none if it gives no rows.
    fn fields(&self) -> &[FieldDesc];
}

/// One connection's session. Dropping it rolls back what is open.
///
/// Transactions: `execute` outside a transaction block begins an implicit transaction, which goes
/// on over further statements until [`sync`](Session::sync) commits it or
/// [`abort`](Session::abort) rolls it back. Requests on the
/// [`cancel_token`](Session::cancel_token) count from `execute` until then, so while rows are
/// streamed and while COPY data is awaited too.
pub trait Session: Send + 'static {
    /// Its prepared statements.
    type Statement: Statement;

    /// `pg_backend_pid()`, which cancel requests name; unique among the sessions that exist.
    fn backend_pid(&self) -> i32;

    /// What stops the running statement.
    fn cancel_token(&self) -> CancelToken;

    /// The settings that PostgreSQL reports when a connection starts (GUC_REPORT), with their
    /// values.
    fn parameter_statuses(&self) -> Vec<(String, String)>;

    /// Those of them that changed since they were last reported.
    fn take_parameter_changes(&mut self) -> Vec<(String, String)>;

    /// How long the client may be waited for, when a message has been answered and changes were taken.
    fn idle_limit(&self) -> Option<IdleLimit>;

    /// Why the system can go on no more, if it has failed: what clients are told that are made to end.
    fn system_failure(&self) -> Option<SqlError>;

    /// What is to be told to the client besides results, oldest first.
    fn take_notices(&mut self) -> Vec<Notice>;

    /// Whether a transaction block is open.
    fn transaction_status(&self) -> TransactionStatus;

    /// Where the statements lie in a query string, in bytes, without their semicolons; blank ones
    /// are left out.
    ///
    /// # Errors
    /// A string that cannot be divided.
    fn split(&self, query: &str) -> Result<Vec<Range<usize>>, SqlError>;

    /// Analyses one statement. `param_types` are the client's, 0 where it leaves the type open;
    /// they may be fewer than the parameters. An empty string is a statement as well.
    ///
    /// # Errors
    /// A syntax error, an unknown name; 25P02 in a failed block. Positions count from the
    /// statement's start.
    fn prepare(
        &mut self,
        sql: &str,
        param_types: &[Oid],
    ) -> impl Future<Output = Result<Arc<Self::Statement>, SqlError>> + Send;

    /// The prepared statement called `name`: SQL's PREPARE and the protocol's Parse share their
    /// names.
    fn named_statement(&self, name: &str) -> Option<Arc<Self::Statement>>;

    /// Gives a statement a name.
    ///
    /// # Errors
    /// 42P05 if another one has it.
    fn name_statement(
        &mut self,
        name: &str,
        statement: Arc<Self::Statement>,
    ) -> Result<(), SqlError>;

    /// Forgets the prepared statement called `name`, if there is one.
    fn forget_statement(&mut self, name: &str);

    /// A query string of so many statements begins; it ends with [`sync`](Session::sync) or
    /// [`abort`](Session::abort).
    fn begin_query_string(&mut self, statements: usize);

    /// Starts a statement, with as many parameters as it has. What streams goes on while the
    /// caller reads or writes it.
    ///
    /// # Errors
    /// The statement's; the caller then calls [`abort`](Session::abort).
    fn execute(
        &mut self,
        statement: &Arc<Self::Statement>,
        params: Vec<Param>,
    ) -> impl Future<Output = Result<Outcome, SqlError>> + Send;

    /// The end of a query string or of a series of extended-protocol messages: commits the
    /// implicit transaction, if one is open.
    ///
    /// # Errors
    /// It could not commit, and is rolled back.
    fn sync(&mut self) -> impl Future<Output = Result<(), SqlError>> + Send;

    /// A statement failed: the implicit transaction is rolled back, a transaction block waits for
    /// ROLLBACK. Harmless when nothing is open.
    fn abort(&mut self) -> impl Future<Output = ()> + Send;
}

/// A cluster has one database that can be connected to.
const DATABASE: &str = "postgres";

impl SessionFactory for Arc<SqlDatabase> {
    type Session = SqlSession;

    fn has_database(&self, name: &str) -> bool {
        name == DATABASE
    }

    async fn start(&self, parameters: StartupParameters) -> Result<SqlSession, SqlError> {
        let StartupParameters {
            user,
            database,
            settings,
        } = parameters;
        SqlSession::new(
            self,
            &trunkline_sql::StartupParameters {
                user,
                database,
                options: settings,
            },
        )
    }
}

impl Statement for Prepared {
    fn param_types(&self) -> &[Oid] {
        self.param_types()
    }

    fn fields(&self) -> &[FieldDesc] {
        self.fields()
    }
}

impl Session for SqlSession {
    type Statement = Prepared;

    fn backend_pid(&self) -> i32 {
        self.backend_pid()
    }

    fn cancel_token(&self) -> CancelToken {
        self.cancel_token()
    }

    fn parameter_statuses(&self) -> Vec<(String, String)> {
        self.parameter_statuses()
    }

    fn take_parameter_changes(&mut self) -> Vec<(String, String)> {
        self.take_parameter_changes()
    }

    fn idle_limit(&self) -> Option<IdleLimit> {
        self.idle_limit()
    }

    fn system_failure(&self) -> Option<SqlError> {
        self.system_failure()
    }

    fn take_notices(&mut self) -> Vec<Notice> {
        self.take_notices()
    }

    fn transaction_status(&self) -> TransactionStatus {
        self.transaction_status()
    }

    fn split(&self, query: &str) -> Result<Vec<Range<usize>>, SqlError> {
        let ranges = self.split(query);
        // Nothing of a string runs if one of its statements does not parse; a single one is parsed
        // when it is prepared.
        if ranges.len() > 1 {
            for range in &ranges {
                let characters_before = query[..range.start].chars().count();
                parse_statement(&query[range.clone()]).map_err(|mut error| {
                    error.position = error.position.map(|at| at + characters_before);
                    error
                })?;
            }
        }
        Ok(ranges)
    }

    async fn prepare(&mut self, sql: &str, param_types: &[Oid]) -> Result<Arc<Prepared>, SqlError> {
        self.prepare(sql, param_types).await
    }

    fn named_statement(&self, name: &str) -> Option<Arc<Prepared>> {
        self.named_statement(name)
    }

    fn name_statement(&mut self, name: &str, statement: Arc<Prepared>) -> Result<(), SqlError> {
        SqlSession::name_statement(self, name, statement)
    }

    fn forget_statement(&mut self, name: &str) {
        SqlSession::forget_statement(self, name);
    }

    fn begin_query_string(&mut self, statements: usize) {
        self.begin_query_string(statements);
    }

    async fn execute(
        &mut self,
        statement: &Arc<Prepared>,
        params: Vec<Param>,
    ) -> Result<Outcome, SqlError> {
        self.execute(statement, params).await
    }

    async fn sync(&mut self) -> Result<(), SqlError> {
        self.sync().await
    }

    async fn abort(&mut self) {
        self.abort().await;
    }
}
