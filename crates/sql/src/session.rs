//! One connection's session, for async callers.
//!
//! A session is two halves: this one, which the caller holds, and its [`Backend`], which blocks.
//! For a call the backend moves to an engine thread, and comes home through a channel when the
//! call has ended; COPY's call ends with its data. Statements that wait for nothing but the log run
//! without that ([`Quick`]); a commit whose caller goes away meanwhile goes on without it
//! ([`pending_commit`]).

mod pending_commit;

use std::ops::{ControlFlow, Range};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;
use trunkline_engine::{SessionWarnings, TakenWarnings};
use trunkline_txn::{CancelReason, CancelToken};
use trunkline_types::Oid;

pub use crate::backend::Prepared;
use crate::backend::{Backend, Early, Finished, NamedStatements, Quick, Stage, ToldSettings};
use crate::database::SqlDatabase;
use crate::error::SqlError;
use crate::idle::IdleLimit;
use crate::outcome::{Notice, NoticeSeverity, Outcome, Param, TransactionStatus};
use crate::statement::split_statements;

use pending_commit::PendingCommit;

/// What a session starts with; by default as `postgres` in its database, without settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartupParameters {
    /// The user; any.
    pub user: String,
    /// The database: `postgres`.
    pub database: String,
    /// Settings, in the order in which they apply.
    pub options: Vec<(String, String)>,
}

impl Default for StartupParameters {
    fn default() -> StartupParameters {
        StartupParameters {
            user: "postgres".to_owned(),
            database: "postgres".to_owned(),
            options: Vec::new(),
        }
    }
}

/// Where the backend is.
enum Home {
    /// Here.
    Here(Box<Backend>),
    /// On an engine thread, which sends it back.
    Away(oneshot::Receiver<Box<Backend>>),
    /// It is gone: a failure left it unusable.
    Lost,
}

/// A session. Dropping it rolls back what is open. A future of its calls that is dropped before its end
/// leaves what it was at to go on by itself; the next call waits for that.
pub struct SqlSession {
    shared: Arc<SqlDatabase>,
    home: Home,
    backend_pid: i32,
    cancel: CancelToken,
    warnings: Arc<SessionWarnings>,
    /// The transaction's status when the backend was last at home.
    status: TransactionStatus,
    named: NamedStatements,
    /// The statements that come are several of one query string.
    in_implicit_block: bool,
    /// The settings as they were when the client was last told.
    told: ToldSettings,
}

impl std::fmt::Debug for SqlSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqlSession")
            .field("backend_pid", &self.backend_pid)
            .finish_non_exhaustive()
    }
}

fn lost() -> SqlError {
    SqlError {
        is_fatal: true,
        ..SqlError::internal("the session was lost in an internal error")
    }
}

impl SqlSession {
    /// A new session.
    ///
    /// # Errors
    /// 53300 with too many sessions, 57P03 when the system stops, or a bad setting.
    pub fn new(
        shared: &Arc<SqlDatabase>,
        parameters: &StartupParameters,
    ) -> Result<SqlSession, SqlError> {
        let session = shared
            .database()
            .session(&parameters.user, &parameters.options)?;
        let (backend_pid, cancel) = (session.backend_pid(), session.cancel().clone());
        let named = NamedStatements::default();
        let told = ToldSettings::of(session.settings());
        let backend = Box::new(Backend::new(Arc::clone(shared), session, named.clone()));
        Ok(SqlSession {
            shared: Arc::clone(shared),
            told,
            warnings: backend.warnings(),
            home: Home::Here(backend),
            backend_pid,
            cancel,
            status: TransactionStatus::Idle,
            named,
            in_implicit_block: false,
        })
    }

    /// `pg_backend_pid()`, unique among the sessions that exist.
    pub fn backend_pid(&self) -> i32 {
        self.backend_pid
    }

    /// What stops the running statement.
    pub fn cancel_token(&self) -> CancelToken {
        self.cancel.clone()
    }

    /// Where the statements lie in a query string, in bytes, without their semicolons; blank ones
    /// are left out.
    pub fn split(&self, query: &str) -> Vec<Range<usize>> {
        split_statements(query)
            .into_iter()
            .map(|statement| statement.offset..statement.offset + statement.text.len())
            .collect()
    }

    /// Whether a transaction block is open.
    pub fn transaction_status(&self) -> TransactionStatus {
        self.status
    }

    /// The reported settings with their values as they were last told.
    pub fn parameter_statuses(&self) -> Vec<(String, String)> {
        self.told.reported.clone()
    }

    /// Those of them that have changed since they were last told. While a query of the session is using it,
    /// they are left for the next time.
    pub fn take_parameter_changes(&mut self) -> Vec<(String, String)> {
        self.look_home();
        let Home::Here(backend) = &self.home else {
            return Vec::new();
        };
        let Some(now) = backend.told_settings_since(self.told.version) else {
            return Vec::new();
        };
        let before = std::mem::replace(&mut self.told, now);
        let changed = |setting: &&(String, String)| !before.reported.contains(setting);
        self.told.reported.iter().filter(changed).cloned().collect()
    }

    /// How long the session may wait for its client's next statement, as of
    /// [`SqlSession::take_parameter_changes`].
    pub fn idle_limit(&self) -> Option<IdleLimit> {
        self.told.idle_timeouts.limit(self.status)
    }

    /// Why nothing can be made durable any more, if so: 57P02, with the reason.
    pub fn system_failure(&self) -> Option<SqlError> {
        self.shared
            .database()
            .check_failure()
            .err()
            .map(SqlError::from)
    }

    /// What is to be told to the client besides results, oldest first; also in the middle of what
    /// streams.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        self.look_home();
        let mut notices = match &mut self.home {
            Home::Here(backend) => backend.take_notices(),
            Home::Away(_) | Home::Lost => Vec::new(),
        };
        notices.extend(read_warnings(self.warnings.take()));
        notices
    }

    /// Analyses one statement. `param_types` are the client's, 0 where it leaves the type open;
    /// they may be fewer than the parameters. A blank string is a statement as well.
    ///
    /// # Errors
    /// What is wrong with the statement; 25P02 in a failed block. What was open is rolled back.
    pub async fn prepare(
        &mut self,
        sql: &str,
        param_types: &[Oid],
    ) -> Result<Arc<Prepared>, SqlError> {
        let (sql, param_types) = (sql.to_owned(), param_types.to_vec());
        self.call(move |backend| backend.prepare(&sql, &param_types))
            .await?
    }

    /// The prepared statement called `name`, whether [`SqlSession::name_statement`] or SQL's
    /// PREPARE named it.
    pub fn named_statement(&self, name: &str) -> Option<Arc<Prepared>> {
        self.named.get(name)
    }

    /// Gives a statement a name, for SQL's EXECUTE and DEALLOCATE too.
    ///
    /// # Errors
    /// 42P05 if another one has it.
    pub fn name_statement(&self, name: &str, prepared: Arc<Prepared>) -> Result<(), SqlError> {
        self.named.insert(name, prepared)
    }

    /// Forgets the prepared statement called `name`, if there is one.
    pub fn forget_statement(&self, name: &str) {
        self.named.remove(name);
    }

    /// A query string of so many statements begins; it ends with [`SqlSession::sync`] or
    /// [`SqlSession::abort`]. Several are an implicit transaction block, which a statement that
    /// cannot be rolled back refuses to run in.
    pub fn begin_query_string(&mut self, statements: usize) {
        self.in_implicit_block = statements > 1;
    }

    /// Starts a statement, with as many parameters as it has. What streams goes on while the
    /// caller reads or writes it; requests on the cancel token count until [`SqlSession::sync`],
    /// [`SqlSession::abort`] or the next statement.
    ///
    /// # Errors
    /// The statement's; what was open is rolled back.
    pub async fn execute(
        &mut self,
        prepared: &Arc<Prepared>,
        params: Vec<Param>,
    ) -> Result<Outcome, SqlError> {
        let prepared = Arc::clone(prepared);
        let in_implicit_block = self.in_implicit_block;
        let (params, stage) = match self.execute_now(&prepared, params).await? {
            ControlFlow::Break(outcome) => return Ok(outcome),
            ControlFlow::Continue(rest) => rest,
        };
        let (sender, outcome) = oneshot::channel();
        let mut early = Early::new(sender);
        self.depart(move |backend| {
            let result = catch_unwind(AssertUnwindSafe(|| {
                backend.execute(&prepared, params, stage, in_implicit_block, &mut early)
            }));
            let result = result.unwrap_or_else(|_| {
                backend.abort();
                Err(panicked())
            });
            Box::new(move || match result {
                Ok(Finished::Outcome(outcome)) => early.send(Ok(outcome)),
                Ok(Finished::Then(then)) => then(),
                Err(error) => early.send(Err(error)),
            })
        })
        .await?;
        let outcome = outcome.await.unwrap_or_else(|_| Err(lost()));
        self.look_home();
        outcome
    }

    /// Runs a statement here if it is one that can; else gives its parameters back, and how far it is.
    async fn execute_now(
        &mut self,
        prepared: &Arc<Prepared>,
        params: Vec<Param>,
    ) -> Result<ControlFlow<Outcome, (Vec<Param>, Stage)>, SqlError> {
        self.come_home().await;
        let in_implicit_block = self.in_implicit_block;
        let Home::Here(backend) = &mut self.home else {
            return Err(lost());
        };
        let tried = catch_unwind(AssertUnwindSafe(|| {
            backend.try_now(prepared, params, in_implicit_block)
        }));
        let tried = match tried {
            Ok(Quick::Done(done)) => done.map(ControlFlow::Break),
            Ok(Quick::TakesThread(params, stage)) => Ok(ControlFlow::Continue((params, stage))),
            Ok(Quick::Committing(committing)) => {
                let commit = PendingCommit::new(self, committing, Backend::finish_commit_block);
                commit.finish().await.map(|()| {
                    ControlFlow::Break(Outcome::Command {
                        tag: "COMMIT".to_owned(),
                    })
                })
            }
            Err(_) => {
                backend.abort();
                Err(panicked())
            }
        };
        self.look_home();
        tried
    }

    /// The end of a query string or of a series of extended-protocol messages: commits the
    /// implicit transaction, if one is open.
    ///
    /// # Errors
    /// It could not commit, and is rolled back.
    pub async fn sync(&mut self) -> Result<(), SqlError> {
        self.in_implicit_block = false;
        self.come_home().await;
        if let Home::Here(backend) = &mut self.home
            && !backend.needs_commit()
            && backend.has_session_alone()
        {
            let result = backend.sync();
            self.look_home();
            return result;
        }
        if let Home::Here(backend) = &mut self.home
            && let Some(committing) = backend.begin_sync()?
        {
            let commit = PendingCommit::new(self, committing, Backend::finish_sync);
            let result = commit.finish().await;
            self.look_home();
            return result;
        }
        self.call(Backend::sync).await?
    }

    /// A statement failed: the implicit transaction is rolled back, a transaction block waits for
    /// ROLLBACK. Harmless when nothing is open.
    pub async fn abort(&mut self) {
        self.in_implicit_block = false;
        self.come_home().await;
        if let Home::Here(backend) = &mut self.home
            && !backend.is_in_transaction()
            && backend.has_session_alone()
        {
            backend.abort();
            self.look_home();
            return;
        }
        // A backend that cannot get a thread ends with its session, which rolls back too.
        if self.call(Backend::abort).await.is_err() {
            tracing::warn!("a failed transaction could not be rolled back at once");
        }
    }

    /// Runs one query string as the simple protocol does, for callers that want no streams: every
    /// statement to its end, up to the first that fails.
    ///
    /// # Errors
    /// The first statement's that fails; what was open implicitly is rolled back.
    pub async fn run(&mut self, query: &str) -> Result<Vec<String>, SqlError> {
        let mut tags = Vec::new();
        let ranges = self.split(query);
        self.begin_query_string(ranges.len());
        for range in ranges {
            let prepared = self.prepare(&query[range], &[]).await?;
            let tag = match self.execute(&prepared, Vec::new()).await? {
                Outcome::Command { tag } => tag,
                Outcome::Empty => continue,
                Outcome::Rows(mut rows) => {
                    let mut count = 0;
                    while let Some(batch) = rows.next().await {
                        match batch {
                            Ok(batch) => count += batch.len() as u64,
                            Err(error) => {
                                self.abort().await;
                                return Err(error);
                            }
                        }
                    }
                    rows.tag().text(count)
                }
                Outcome::CopyIn(_) | Outcome::CopyOut(_) => {
                    self.abort().await;
                    return Err(SqlError::not_supported("COPY with the client in a script"));
                }
            };
            tags.push(tag);
        }
        self.sync().await?;
        Ok(tags)
    }

    /// Takes note of a backend that has come home.
    fn look_home(&mut self) {
        if let Home::Away(receiver) = &mut self.home {
            match receiver.try_recv() {
                Ok(backend) => self.home = Home::Here(backend),
                Err(oneshot::error::TryRecvError::Closed) => self.home = Home::Lost,
                Err(oneshot::error::TryRecvError::Empty) => {}
            }
        }
        if let Home::Here(backend) = &self.home {
            self.status = backend.transaction_status();
        }
    }

    /// Waits for the backend.
    async fn come_home(&mut self) {
        if let Home::Away(receiver) = &mut self.home {
            self.home = match receiver.await {
                Ok(backend) => Home::Here(backend),
                Err(_) => Home::Lost,
            };
        }
        self.look_home();
    }

    /// Runs `work` with the backend on an engine thread. A panic in it rolls back.
    async fn call<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Backend) -> T + Send + 'static,
    ) -> Result<T, SqlError> {
        let (sender, result) = oneshot::channel();
        self.depart(move |backend| {
            let result = catch_unwind(AssertUnwindSafe(|| work(backend))).map_err(|_| {
                backend.abort();
                panicked()
            });
            Box::new(move || {
                // The caller may have gone away.
                let _ = sender.send(result);
            })
        })
        .await?;
        let result = result.await.unwrap_or_else(|_| Err(lost()));
        self.look_home();
        result
    }

    /// Sends the backend to an engine thread. What `work` returns is done once the backend is on
    /// its way home.
    async fn depart(
        &mut self,
        work: impl FnOnce(&mut Backend) -> Box<dyn FnOnce() + Send> + Send + 'static,
    ) -> Result<(), SqlError> {
        self.come_home().await;
        let Home::Here(backend) = std::mem::replace(&mut self.home, Home::Lost) else {
            return Err(lost());
        };
        let (sender, receiver) = oneshot::channel();
        // A thread that cannot be had must not take the backend with it.
        let luggage = Arc::new(Mutex::new(Some(backend)));
        let taken = Arc::clone(&luggage);
        let spawned = self.shared.database().threads().spawn(move || {
            let backend = taken.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(mut backend) = backend {
                let then = work(&mut backend);
                // If nobody waits, the backend ends here, where it may block.
                let _ = sender.send(backend);
                then();
            }
        });
        match spawned {
            Ok(()) => {
                self.home = Home::Away(receiver);
                Ok(())
            }
            Err(error) => {
                let backend = luggage
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take();
                self.home = backend.map_or(Home::Lost, Home::Here);
                Err(error.into())
            }
        }
    }
}

/// What reads warn of, in PostgreSQL's words.
fn read_warnings(taken: TakenWarnings) -> impl Iterator<Item = Notice> {
    let left_out = (taken.left_out > 0).then(|| Notice {
        hint: Some("See server log for details.".to_owned()),
        ..Notice::new(
            NoticeSeverity::Warning,
            "XX001",
            format!(
                "{} more warnings about damaged pages were left out",
                taken.left_out
            ),
        )
    });
    let reads = taken.reads.into_iter().map(|read| Notice {
        detail: read.detail(),
        hint: read.hint(),
        ..Notice::new(NoticeSeverity::Warning, read.sqlstate(), read.to_string())
    });
    reads.chain(left_out)
}

fn panicked() -> SqlError {
    SqlError::internal("the statement ended in an internal error")
        .with_detail("It was rolled back. The server's log says more.")
}

impl Drop for SqlSession {
    fn drop(&mut self) {
        if let Home::Here(backend) = std::mem::replace(&mut self.home, Home::Lost)
            && backend.is_in_transaction()
        {
            // Nobody wants what its queries still do: they stop waiting, and so does who waits for them.
            self.cancel.request(CancelReason::Terminate);
            // Rolling back blocks. Without a thread it happens here after all.
            let _ = self
                .shared
                .database()
                .threads()
                .spawn(move || drop(backend));
        }
    }
}
