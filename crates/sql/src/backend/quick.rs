//! Statements that run where they are called, without an engine thread: those that compute next to
//! nothing and wait for nothing but, at their end, the log.
//!
//! - An INSERT with a plan that holds, whose table's lock is free.
//! - BEGIN; and COMMIT and the implicit commit, if they only have to be recorded.
//!
//! All of this only while nobody else uses the session: what would be waited for then is not the disk, but
//! perhaps another client, who may need the thread that waits.
//!
//! A single-row INSERT and its commit cost some microseconds, a hand-over to another thread and back
//! about as much again. What may yet take a moment is reading the page that the row goes to, or adding
//! pages to the table: both are rare, and bounded by the disk.

use std::sync::Arc;

use trunkline_engine::relation_tag;
use trunkline_txn::LockMode;
use trunkline_wal::{FlushFuture, WalError};

use super::insert_plan::{InsertPlan, Source};
use super::{Backend, Prepared};
use crate::error::SqlError;
use crate::outcome::{Outcome, Param, TransactionStatus};
use crate::query::ParameterValues;
use crate::relations::lock_session;
use crate::statement::{Statement, TransactionStatement};

/// What came of trying a statement at once.
pub(crate) enum Quick {
    /// It is done.
    Done(Result<Outcome, SqlError>),
    /// It is COMMIT: the log is to be waited for, and [`Backend::finish_commit_block`] then.
    Committing(Committing),
    /// It takes a thread: [`Backend::execute`] is to go on from this stage.
    TakesThread(Vec<Param>, Stage),
}

/// How far a statement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nothing has been done.
    New,
    /// It has begun, and with it its transaction.
    Begun,
}

/// A commit that is in the log; it waits for this, if for anything.
pub(crate) struct Committing(Option<FlushFuture>);

impl Committing {
    /// Waits. May be left, and waited for again.
    pub async fn flushed(&mut self) -> Result<(), WalError> {
        match &mut self.0 {
            Some(flush) => {
                if flush.has_company() {
                    // Whose statements are ready now commit with this one.
                    tokio::task::yield_now().await;
                }
                flush.await
            }
            None => Ok(()),
        }
    }
}

impl Backend {
    /// Runs a statement now, if it is one that can.
    pub fn try_now(
        &mut self,
        prepared: &Arc<Prepared>,
        params: Vec<Param>,
        in_implicit_block: bool,
    ) -> Quick {
        if !self.has_session_alone() {
            return Quick::TakesThread(params, Stage::New);
        }
        match prepared.statement() {
            Some(Statement::Insert(_)) => match prepared.plan() {
                Some(plan) => self.try_insert(prepared, &plan, params, in_implicit_block),
                None => Quick::TakesThread(params, Stage::New),
            },
            Some(Statement::Transaction(TransactionStatement::Begin { .. })) => {
                self.in_implicit_block = in_implicit_block;
                let begun = self.run_transaction_statement(prepared);
                if begun.is_err() {
                    self.abort();
                }
                Quick::Done(begun.map(|tag| Outcome::Command { tag: tag.into() }))
            }
            Some(Statement::Transaction(TransactionStatement::Commit { chain: false }))
                if self.status == TransactionStatus::InBlock =>
            {
                self.try_commit_block(prepared)
            }
            _ => Quick::TakesThread(params, Stage::New),
        }
    }

    fn try_commit_block(&mut self, prepared: &Prepared) -> Quick {
        self.show_running(prepared);
        self.timer = None;
        self.scans.close();
        match self.begin_commit(trunkline_engine::Session::begin_commit_block) {
            Ok(Some(committing)) => Quick::Committing(committing),
            Ok(None) => Quick::TakesThread(Vec::new(), Stage::New),
            Err(error) => {
                self.abort();
                Quick::Done(Err(error))
            }
        }
    }

    /// The second half of a COMMIT.
    ///
    /// # Errors
    /// It is in doubt.
    pub fn finish_commit_block(&mut self, flushed: Result<(), WalError>) -> Result<(), SqlError> {
        let finished = lock_session(&self.engine).finish_sync(flushed);
        self.has_run = true;
        if finished.is_err() {
            self.abort();
        } else {
            self.note_transaction();
        }
        Ok(finished?)
    }

    /// The first half of [`Backend::sync`], if it only has to wait for the log; otherwise nothing has
    /// happened.
    ///
    /// # Errors
    /// The implicit transaction could not commit, and is rolled back.
    pub fn begin_sync(&mut self) -> Result<Option<Committing>, SqlError> {
        if !self.has_session_alone() {
            return Ok(None);
        }
        self.timer = None;
        self.scans.close();
        let begun = self.begin_commit(trunkline_engine::Session::begin_sync);
        if begun.is_err() {
            self.note_transaction();
            self.show_waiting();
        }
        begun
    }

    /// The second half.
    ///
    /// # Errors
    /// The commit is in doubt.
    pub fn finish_sync(&mut self, flushed: Result<(), WalError>) -> Result<(), SqlError> {
        let finished = lock_session(&self.engine).finish_sync(flushed);
        self.note_transaction();
        self.show_waiting();
        Ok(finished?)
    }

    fn begin_commit(
        &mut self,
        begin: impl FnOnce(
            &mut trunkline_engine::Session,
            &mut trunkline_aio::IoContext,
        )
            -> Result<Option<trunkline_engine::LogWait>, trunkline_engine::EngineError>,
    ) -> Result<Option<Committing>, SqlError> {
        let mut io = match self.kept_issuer.take() {
            Some(io) => io,
            // Without an issuer the commit fails, which the other way sees to.
            None => match self.issuer() {
                Ok(io) => io,
                Err(_) => return Ok(None),
            },
        };
        let begun = begin(&mut lock_session(&self.engine), &mut io)?;
        let wal = self.shared.database().wal();
        Ok(begun.map(|wait| Committing(wait.lsn().map(|lsn| wal.flush_async(io, lsn)))))
    }

    fn try_insert(
        &mut self,
        prepared: &Arc<Prepared>,
        plan: &Arc<InsertPlan>,
        params: Vec<Param>,
        in_implicit_block: bool,
    ) -> Quick {
        if self.status == TransactionStatus::Failed {
            return Quick::TakesThread(params, Stage::New);
        }
        self.in_implicit_block = in_implicit_block;
        self.execute_depth = 0;
        if let Err(error) = self.begin_running(prepared) {
            self.abort();
            return Quick::Done(Err(error));
        }
        if !self.may_insert(plan) {
            return Quick::TakesThread(params, Stage::Begun);
        }
        let inserted = prepared
            .values(params, &self.input_style())
            .and_then(|values| self.insert_planned(plan, &values));
        self.has_run = true;
        self.warn_of_wraparound();
        lock_session(&self.engine).statement_warnings().end();
        if inserted.is_err() {
            self.abort();
        } else {
            self.note_transaction();
        }
        Quick::Done(inserted.map(|rows| Outcome::Command {
            tag: format!("INSERT 0 {rows}"),
        }))
    }

    /// Whether the plan can be run as it is; its table is locked then.
    pub(super) fn may_insert(&self, plan: &InsertPlan) -> bool {
        // Before the lock, so that it is of the table that is meant; and behind it, so that it stays that.
        if !self.plan_holds(plan) {
            return false;
        }
        let is_locked = {
            let session = lock_session(&self.engine);
            !session.settings().switch("transaction_read_only")
                && session
                    .try_lock(relation_tag(&plan.relation), LockMode::RowExclusive)
                    .unwrap_or(false)
        };
        is_locked && self.plan_holds(plan)
    }

    /// Runs a plan, after [`Self::may_insert`]; the number of rows.
    pub(super) fn insert_planned(
        &mut self,
        plan: &InsertPlan,
        values: &ParameterValues,
    ) -> Result<u64, SqlError> {
        let mut io = self.issuer()?;
        let mut session = lock_session(&self.engine);
        let mut insert = plan.insert();
        let mut row: Vec<Option<&[u8]>> = Vec::new();
        for sources in &plan.rows {
            row.clear();
            row.extend(sources.iter().map(|source| match source {
                Source::Constant(payload) => payload.as_deref(),
                Source::Parameter(index) => values.values[*index].as_deref(),
            }));
            insert.insert(&mut session, &mut io, &row)?;
        }
        drop(session);
        self.kept_issuer = Some(io);
        Ok(plan.rows.len() as u64)
    }
}
