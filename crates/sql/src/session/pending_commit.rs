//! A commit that waits for the log, with its caller or without.
//!
//! Its record is in the log, so it takes place; until it is finished it holds its locks, and a checkpoint
//! waits for it. So it must not wait for the session's next call if the caller goes away: then it goes on
//! as a task of the executor. That takes no thread, and there are no more such tasks than sessions.

use std::mem;

use tokio::sync::oneshot;
use trunkline_wal::WalError;

use super::{Home, SqlSession, lost};
use crate::backend::{Backend, Committing};
use crate::error::SqlError;

/// A backend's second half of a commit.
pub(super) type Finish = fn(&mut Backend, Result<(), WalError>) -> Result<(), SqlError>;

/// The commit of a session whose backend is at home.
pub(super) struct PendingCommit<'s> {
    session: &'s mut SqlSession,
    finish: Finish,
    /// What it waits for; None once that has come.
    committing: Option<Committing>,
}

impl<'s> PendingCommit<'s> {
    pub fn new(
        session: &'s mut SqlSession,
        committing: Committing,
        finish: Finish,
    ) -> PendingCommit<'s> {
        PendingCommit {
            session,
            finish,
            committing: Some(committing),
        }
    }

    /// Waits, and finishes it.
    ///
    /// # Errors
    /// It is in doubt.
    pub async fn finish(mut self) -> Result<(), SqlError> {
        let flushed = match &mut self.committing {
            Some(committing) => committing.flushed().await,
            None => Ok(()),
        };
        self.committing = None;
        match &mut self.session.home {
            Home::Here(backend) => (self.finish)(backend, flushed),
            Home::Away(_) | Home::Lost => Err(lost()),
        }
    }
}

impl Drop for PendingCommit<'_> {
    fn drop(&mut self) {
        let Some(mut committing) = self.committing.take() else {
            return;
        };
        let (sender, receiver) = oneshot::channel();
        let home = mem::replace(&mut self.session.home, Home::Away(receiver));
        let Home::Here(mut backend) = home else {
            return;
        };
        let finish = self.finish;
        self.session.shared.spawn(async move {
            let flushed = committing.flushed().await;
            if let Err(error) = finish(&mut backend, flushed) {
                tracing::error!(%error, "a commit that was left by its client is in doubt");
            }
            // If the session has ended, its backend ends here; it has nothing open to roll back.
            let _ = sender.send(backend);
        });
    }
}
