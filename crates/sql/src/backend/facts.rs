//! What functions report of the session.

use std::sync::Arc;

use trunkline_aio::Clock;
use trunkline_engine::settings::split_identifiers;
use trunkline_engine::{Database, EngineError, Session};
use trunkline_pgformat::Lsn;
use trunkline_txn::CancelToken;

use super::{log_functions, now_us};
use crate::error::query_error;
use crate::query::{LogPosition, QueryError, SessionFunctions, TableResolver};
use crate::relations::{Resolver, SessionRef, lock_session};

/// The session as one statement sees it.
pub(super) struct Facts {
    session: SessionRef,
    engine: Arc<Database>,
    clock: Arc<dyn Clock>,
    cancel: CancelToken,
    resolver: Arc<Resolver>,
    user: String,
    database: String,
    search_path: Vec<String>,
    server_version: String,
    backend_pid: i32,
    transaction_us: i64,
    statement_us: i64,
}

impl Facts {
    pub fn new(
        session: &Session,
        reference: SessionRef,
        resolver: Arc<Resolver>,
        transaction_us: i64,
        statement_us: i64,
    ) -> Facts {
        let entry = session.entry();
        Facts {
            session: reference,
            engine: Arc::clone(session.database()),
            clock: Arc::clone(session.database().clock()),
            cancel: session.cancel().clone(),
            resolver,
            user: entry.user.clone(),
            database: entry.database.clone(),
            search_path: split_identifiers(session.settings().text("search_path"))
                .unwrap_or_default(),
            server_version: session.settings().text("server_version").to_owned(),
            backend_pid: entry.backend_pid,
            transaction_us,
            statement_us,
        }
    }
}

impl SessionFunctions for Facts {
    fn user(&self) -> String {
        self.user.clone()
    }

    fn session_user(&self) -> String {
        self.user.clone()
    }

    fn database(&self) -> String {
        self.database.clone()
    }

    fn search_path(&self) -> Vec<String> {
        self.search_path
            .iter()
            .map(|name| match name.as_str() {
                "$user" => self.user.as_str(),
                name => name,
            })
            // A schema that cannot be looked at now is none that can be worked in.
            .filter(|name| self.resolver.schema_exists(name).unwrap_or(false))
            .map(str::to_owned)
            .collect()
    }

    fn backend_pid(&self) -> i32 {
        self.backend_pid
    }

    fn version(&self) -> String {
        format!(
            "PostgreSQL {} (Trunkline {}) on {}-{}",
            self.server_version,
            env!("CARGO_PKG_VERSION"),
            std::env::consts::ARCH,
            std::env::consts::OS,
        )
    }

    fn transaction_time_us(&self) -> i64 {
        self.transaction_us
    }

    fn statement_time_us(&self) -> i64 {
        self.statement_us
    }

    fn clock_time_us(&self) -> i64 {
        now_us(self.clock.as_ref())
    }

    fn setting(&self, name: &str, missing_ok: bool) -> Result<Option<String>, QueryError> {
        let session = self.session.get()?;
        let shown = lock_session(&session).settings().show(name);
        match shown {
            Ok((_, value)) => Ok(Some(value)),
            Err(error) if missing_ok && error.sqlstate() == "42704" => Ok(None),
            Err(error) => Err(query_error(EngineError::from(error))),
        }
    }

    fn log_position(&self, position: LogPosition) -> Lsn {
        let wal = self.engine.wal();
        match position {
            LogPosition::Written => wal.written_lsn(),
            LogPosition::Flushed => wal.durable_lsn(),
            LogPosition::Inserted => {
                let size = wal.config().segment_size;
                size.lsn_of_byte_position(size.byte_position_of(wal.insert_lsn()))
            }
        }
    }

    fn log_file_name(&self, lsn: Lsn) -> String {
        log_functions::file_name(&self.engine, lsn)
    }

    fn check_interrupts(&self) -> Result<(), QueryError> {
        match self.cancel.requested() {
            None => Ok(()),
            Some(reason) => Err(QueryError::new(reason.sqlstate(), reason.message())),
        }
    }
}
