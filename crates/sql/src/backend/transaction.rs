//! BEGIN, COMMIT and ROLLBACK.

use trunkline_engine::CommitOutcome;

use super::Backend;
use crate::error::SqlError;
use crate::relations::lock_session;
use crate::statement::TransactionStatement;

const NO_TRANSACTION: &str = "there is no transaction in progress";

impl Backend {
    /// Runs a transaction control statement; its command tag.
    pub(super) fn control_transaction(
        &mut self,
        statement: &TransactionStatement,
    ) -> Result<&'static str, SqlError> {
        match statement {
            TransactionStatement::Begin { is_start, modes } => {
                self.begin_block(modes)?;
                Ok(if *is_start {
                    "START TRANSACTION"
                } else {
                    "BEGIN"
                })
            }
            TransactionStatement::Commit { chain } => {
                self.refuse_chain_outside_block("COMMIT", *chain)?;
                let modes = self.transaction_modes();
                self.timer = None;
                self.scans.close();
                let outcome = lock_session(&self.engine).commit_block();
                self.note_transaction();
                let tag = match outcome? {
                    Some(CommitOutcome::Committed) => "COMMIT",
                    Some(CommitOutcome::RolledBack) => "ROLLBACK",
                    None => {
                        self.warn("25P01", NO_TRANSACTION);
                        "COMMIT"
                    }
                };
                if *chain {
                    self.begin_block(&modes)?;
                }
                Ok(tag)
            }
            TransactionStatement::Rollback { chain } => {
                self.refuse_chain_outside_block("ROLLBACK", *chain)?;
                let modes = self.transaction_modes();
                self.timer = None;
                self.scans.close();
                let had_block = lock_session(&self.engine).rollback_block();
                self.note_transaction();
                if !had_block {
                    self.warn("25P01", NO_TRANSACTION);
                }
                if *chain {
                    self.begin_block(&modes)?;
                }
                Ok("ROLLBACK")
            }
        }
    }

    fn refuse_chain_outside_block(&self, command: &str, chain: bool) -> Result<(), SqlError> {
        if chain && self.status == crate::outcome::TransactionStatus::Idle {
            return Err(SqlError::new(
                "25P01",
                format!("{command} AND CHAIN can only be used in transaction blocks"),
            ));
        }
        Ok(())
    }

    fn begin_block(&mut self, modes: &[(String, String)]) -> Result<(), SqlError> {
        self.refuse_if_failed()?;
        self.begin_statement()?;
        let opened = lock_session(&self.engine).begin_block()?;
        self.note_transaction();
        if !opened {
            self.warn("25001", "there is already a transaction in progress");
        }
        self.set_modes(modes)
    }

    /// What AND CHAIN gives to the next transaction.
    fn transaction_modes(&self) -> Vec<(String, String)> {
        let session = lock_session(&self.engine);
        let settings = session.settings();
        let switch = |name: &str| if settings.switch(name) { "on" } else { "off" };
        [
            "transaction_isolation",
            "transaction_read_only",
            "transaction_deferrable",
        ]
        .into_iter()
        .map(|name| {
            let value = match name {
                "transaction_isolation" => settings.text(name),
                _ => switch(name),
            };
            (name.to_owned(), value.to_owned())
        })
        .collect()
    }

    /// `ISOLATION LEVEL ...` and its like, for the running transaction.
    pub(super) fn set_modes(&mut self, modes: &[(String, String)]) -> Result<(), SqlError> {
        let mut session = lock_session(&self.engine);
        for (name, value) in modes {
            session.settings_mut().set(name, value, true, true)?;
        }
        Ok(())
    }
}
