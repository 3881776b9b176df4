//! A session's prepared statements by name: one namespace for SQL's PREPARE and for the protocol's
//! Parse (`prepared_queries` in PostgreSQL's `commands/prepare.c`).
//!
//! The connection and the backend, which runs on another thread, both look into it; neither holds
//! its lock for longer than a look.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Prepared;
use crate::error::SqlError;

/// The statements. Clones are the same namespace.
#[derive(Clone, Default)]
pub(crate) struct NamedStatements(Arc<Mutex<BTreeMap<String, Arc<Prepared>>>>);

impl NamedStatements {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Prepared>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The statement called `name`.
    pub fn get(&self, name: &str) -> Option<Arc<Prepared>> {
        self.lock().get(name).cloned()
    }

    /// Gives a statement its name.
    ///
    /// # Errors
    /// 42P05 if another one has it.
    pub fn insert(&self, name: &str, prepared: Arc<Prepared>) -> Result<(), SqlError> {
        let mut statements = self.lock();
        if statements.contains_key(name) {
            return Err(SqlError::new(
                "42P05",
                format!("prepared statement \"{name}\" already exists"),
            ));
        }
        statements.insert(name.to_owned(), prepared);
        Ok(())
    }

    /// Forgets the statement called `name`; whether there was one.
    pub fn remove(&self, name: &str) -> bool {
        self.lock().remove(name).is_some()
    }

    /// Forgets all of them.
    pub fn clear(&self) {
        self.lock().clear();
    }
}
