//! A connection past its start: takes message after message, and answers each as PostgreSQL's
//! main loop does (`PostgresMain` in `tcop/postgres.c`).

use std::any::Any;
use std::collections::HashMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use trunkline_sql::error::SqlError;
use trunkline_sql::outcome::{Outcome, Param, TransactionStatus};
use trunkline_txn::CancelReason;
use trunkline_types::Oid;

use crate::error::{Failure, protocol_violation};
use crate::frontend::{FrontendMessage, decode, is_extended};
use crate::interrupt::{Interrupt, reason_error};
use crate::portal::Portal;
use crate::registry::Registration;
use crate::session::Session;
use crate::wire::{Frame, FrameError, Wire};

/// A connection with its session.
///
/// The fields drop in this order: portals stop what they run before the session rolls back, and
/// the registration goes before the session's pid can be another's.
pub(crate) struct Connection<S: Session> {
    pub(crate) wire: Wire,
    pub(crate) portals: HashMap<String, Portal<S::Statement>>,
    /// The statement that was prepared without a name.
    pub(crate) unnamed: Option<Arc<S::Statement>>,
    pub(crate) interrupt: Interrupt,
    _registration: Registration,
    pub(crate) session: S,
    /// After an error in an extended-protocol message: the client's pipeline is void up to Sync.
    is_skipping: bool,
    /// The client has been told that everything was answered, and has not said anything since.
    is_ready: bool,
}

impl<S: Session> Connection<S> {
    /// A connection whose startup is done, but for the first ReadyForQuery.
    pub(crate) fn new(wire: Wire, session: S, registration: Registration) -> Connection<S> {
        Connection {
            wire,
            portals: HashMap::new(),
            unnamed: None,
            interrupt: Interrupt::new(session.cancel_token()),
            _registration: registration,
            session,
            is_skipping: false,
            is_ready: false,
        }
    }

    /// Serves the client until either side ends the connection.
    pub(crate) async fn run(mut self) {
        if let Err(Failure::Fatal(error)) = self.serve().await {
            let error = self.why_ended(error);
            tracing::info!("{error}");
            let error = SqlError {
                is_fatal: true,
                ..error
            };
            if self.wire.put_error(&error).is_err() {
                return;
            }
        }
        let Connection {
            wire,
            portals,
            session,
            _registration,
            ..
        } = self;
        // What was open is rolled back from here on, if need be by an engine thread.
        drop(portals);
        drop(_registration);
        drop(session);
        wire.close().await;
    }

    /// A system that has failed ends its connections; then it is the failure that the client is told.
    fn why_ended(&self, error: SqlError) -> SqlError {
        match is_termination(&error) {
            true => self.session.system_failure().unwrap_or(error),
            false => error,
        }
    }

    async fn serve(&mut self) -> Result<(), Failure> {
        self.ready().await?;
        loop {
            let Frame::Message { kind, body } = self.next_message_or_limit().await? else {
                // Data of a COPY that has failed is still coming.
                continue;
            };
            if self.is_skipping && !matches!(kind, b'S' | b'X') {
                continue;
            }
            self.is_skipping = false;
            // Short statements run right here: a client that sends many at once must not hold up the
            // others.
            tokio::task::coop::consume_budget().await;
            let result = match decode(kind, body) {
                Ok(FrontendMessage::Terminate) => return Ok(()),
                // Boxed, so that an idle connection is no larger than its waiting for a frame.
                Ok(message) => Box::pin(self.handle(message)).await,
                Err(error) => Err(Failure::Statement(error)),
            };
            match result {
                Ok(()) => {}
                Err(Failure::Statement(error)) => self.recover(&error, is_extended(kind)).await?,
                Err(failure) => return Err(failure),
            }
        }
    }

    /// The next frame. If it is awaited because everything was answered, no longer than the session's
    /// settings allow.
    async fn next_message_or_limit(&mut self) -> Result<Frame, Failure> {
        let limit = match self.is_ready {
            true => self.session.idle_limit(),
            false => None,
        };
        let frame = match limit {
            None => self.next_frame().await,
            // Boxed, as few have one.
            Some(limit) => Box::pin(tokio::time::timeout(limit.after, self.next_frame()))
                .await
                .unwrap_or_else(|_| Err(Failure::Fatal(limit.error()))),
        }?;
        if matches!(frame, Frame::Message { .. }) {
            self.is_ready = false;
        }
        Ok(frame)
    }

    /// The next frame, when it comes.
    pub(crate) async fn next_frame(&mut self) -> Result<Frame, Failure> {
        loop {
            if let Some(frame) = self.buffered_frame()? {
                return Ok(frame);
            }
            let is_open = tokio::select! {
                biased;
                () = self.interrupt.terminated() => {
                    return Err(Failure::Fatal(reason_error(CancelReason::Terminate)));
                }
                is_open = self.wire.fill() => is_open?,
            };
            if !is_open {
                return Err(Failure::Lost);
            }
        }
    }

    pub(crate) fn buffered_frame(&mut self) -> Result<Option<Frame>, Failure> {
        self.wire.buffered_frame().map_err(|error| match error {
            FrameError::Type(kind) => Failure::Fatal(protocol_violation(format!(
                "invalid frontend message type {kind}"
            ))),
            FrameError::Length => {
                tracing::info!("invalid message length");
                Failure::Lost
            }
        })
    }

    async fn handle(&mut self, message: FrontendMessage) -> Result<(), Failure> {
        match message {
            FrontendMessage::Query { query } => {
                self.simple_query(&query).await?;
                self.ready().await
            }
            FrontendMessage::Parse {
                statement,
                query,
                param_types,
            } => self.parse(statement, &query, &param_types).await,
            FrontendMessage::Bind(bind) => self.bind(bind),
            FrontendMessage::Describe { target, name } => self.describe(target, &name),
            FrontendMessage::Execute { portal, max_rows } => {
                self.execute_portal(portal, max_rows).await
            }
            FrontendMessage::Close { target, name } => self.close(target, &name),
            FrontendMessage::Flush => self.wire.flush(&self.interrupt).await,
            FrontendMessage::Sync => {
                self.sync().await?;
                self.ready().await
            }
            FrontendMessage::FunctionCall => Err(SqlError::not_supported(
                "the function call sub-protocol is not supported",
            )
            .into()),
            // The rest of a COPY that has ended already.
            FrontendMessage::CopyDone | FrontendMessage::CopyFail { .. } => Ok(()),
            FrontendMessage::Terminate => Err(Failure::Lost),
        }
    }

    /// Ends the implicit transaction, and with it its portals.
    pub(crate) async fn sync(&mut self) -> Result<(), Failure> {
        if self.session.transaction_status() != TransactionStatus::InBlock {
            self.portals.clear();
        }
        Ok(guarded(self.session.sync()).await?)
    }

    /// A statement failed: its transaction is over before the client hears of it.
    async fn recover(&mut self, error: &SqlError, is_extended: bool) -> Result<(), Failure> {
        self.portals.clear();
        self.session.abort().await;
        self.report_notices()?;
        if self.interrupt.is_terminated() {
            // What became of the statement the client has to know all the same: a commit may be in doubt.
            if !is_termination(error) {
                self.wire.put_error(error)?;
            }
            return Err(Failure::Fatal(reason_error(CancelReason::Terminate)));
        }
        self.wire.put_error(error)?;
        if is_extended {
            self.is_skipping = true;
            self.wire.flush(&self.interrupt).await
        } else {
            self.ready().await
        }
    }

    async fn ready(&mut self) -> Result<(), Failure> {
        self.report_notices()?;
        for (name, value) in self.session.take_parameter_changes() {
            self.wire.put_parameter_status(name, value)?;
        }
        self.wire.put_ready(self.session.transaction_status())?;
        self.is_ready = true;
        self.wire.flush(&self.interrupt).await
    }

    pub(crate) fn report_notices(&mut self) -> Result<(), Failure> {
        for notice in self.session.take_notices() {
            self.wire.put_notice(&notice)?;
        }
        Ok(())
    }

    /// [`Session::prepare`], with its notices.
    pub(crate) async fn session_prepare(
        &mut self,
        sql: &str,
        param_types: &[Oid],
    ) -> Result<Arc<S::Statement>, Failure> {
        let prepared = guarded(self.session.prepare(sql, param_types)).await;
        self.report_notices()?;
        Ok(prepared?)
    }

    /// [`Session::execute`], with its notices.
    pub(crate) async fn session_execute(
        &mut self,
        statement: &Arc<S::Statement>,
        params: Vec<Param>,
    ) -> Result<Outcome, Failure> {
        let was_in_block = self.session.transaction_status() == TransactionStatus::InBlock;
        let outcome = guarded(self.session.execute(statement, params)).await;
        if was_in_block && self.session.transaction_status() != TransactionStatus::InBlock {
            self.portals.clear();
        }
        self.report_notices()?;
        Ok(outcome?)
    }
}

/// Whether `error` says only that the connection is to end.
fn is_termination(error: &SqlError) -> bool {
    error.sqlstate == CancelReason::Terminate.sqlstate()
}

/// A panic ends its statement, not the connection.
async fn guarded<T>(future: impl Future<Output = Result<T, SqlError>>) -> Result<T, SqlError> {
    match AssertUnwindSafe(future).catch_unwind().await {
        Ok(result) => result,
        Err(panic) => Err(SqlError::internal(panic_message(panic.as_ref()))),
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "the statement panicked".to_owned())
}
