//! What the query layer asks its caller for: relations, facts about the session, and functions
//! that work on storage.

use std::sync::Arc;

use async_trait::async_trait;
use trunkline_pgformat::{Lsn, Oid};

use super::error::QueryError;
use super::pgtype::PgType;
use super::scan::RelationSource;

/// A column of a relation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelationColumn {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: PgType,
    /// `pg_attribute.attnum`.
    pub number: i16,
}

/// A relation that a query may read.
#[derive(Clone, Debug)]
pub struct Relation {
    /// `pg_class.oid`; invalid for what is no relation of the catalogs.
    pub oid: Oid,
    /// Its name, for plans.
    pub name: String,
    /// Its columns, in order, without dropped ones.
    pub columns: Vec<RelationColumn>,
    /// Its rows.
    pub source: Arc<dyn RelationSource>,
}

/// A row of a system table: payloads of the columns that were asked for.
pub type SystemRow = Vec<Option<Vec<u8>>>;

/// Finds relations by name: the search path, schemas and views are the caller's business, as is
/// taking the lock that reading needs.
pub trait TableResolver: Send + Sync {
    /// The relation of this name, in this schema or on the search path.
    ///
    /// # Errors
    /// Those of reading the catalogs or of waiting for a lock.
    fn relation(&self, schema: Option<&str>, name: &str) -> Result<Option<Relation>, QueryError>;

    /// Whether a schema exists.
    ///
    /// # Errors
    /// Those of reading the catalogs.
    fn schema_exists(&self, schema: &str) -> Result<bool, QueryError>;

    /// All rows of a system table, of these columns.
    ///
    /// # Errors
    /// Those of reading the catalogs.
    fn system_rows(&self, table: &str, columns: &[&str]) -> Result<Vec<SystemRow>, QueryError>;
}

/// A position in the write-ahead log that functions report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogPosition {
    /// Everything before has been handed to the kernel (`GetXLogWriteRecPtr`).
    Written,
    /// Everything before is durable (`GetFlushRecPtr`).
    Flushed,
    /// Where the next record will begin: behind the header of a page that it will begin
    /// (`GetXLogInsertRecPtr`).
    Inserted,
}

/// Facts about the session that functions report. Times are microseconds since 2000-01-01 UTC.
pub trait SessionFunctions: Send + Sync {
    /// `current_user`
    fn user(&self) -> String;
    /// `session_user`
    fn session_user(&self) -> String;
    /// `current_database()`
    fn database(&self) -> String;
    /// The existing schemas of the search path without implicit ones.
    fn search_path(&self) -> Vec<String>;
    /// `pg_backend_pid()`
    fn backend_pid(&self) -> i32;
    /// `version()`
    fn version(&self) -> String;
    /// `now()`: the start of the transaction.
    fn transaction_time_us(&self) -> i64;
    /// `statement_timestamp()`
    fn statement_time_us(&self) -> i64;
    /// `clock_timestamp()`
    fn clock_time_us(&self) -> i64;
    /// `current_setting(name, missing_ok)`; `None` for a missing one where that is allowed.
    ///
    /// # Errors
    /// 42704 `unrecognized configuration parameter "name"`.
    fn setting(&self, name: &str, missing_ok: bool) -> Result<Option<String>, QueryError>;
    /// Where the log is now.
    fn log_position(&self, position: LogPosition) -> Lsn;
    /// The name of the log's file that has, or will have, the byte at `lsn`.
    fn log_file_name(&self, lsn: Lsn) -> String;
    /// Fails if the statement is to stop; called often by work that takes long.
    ///
    /// # Errors
    /// 57014 or 57P01, as `ProcessInterrupts` of PostgreSQL's `postgres.c` has them.
    fn check_interrupts(&self) -> Result<(), QueryError>;
}

/// What a function gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExternalResult {
    /// A value of this type.
    Value(Oid),
    /// A row, as functions with several OUT parameters give: names and types of its columns.
    Record(Vec<(String, Oid)>),
}

/// A function that the caller implements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalFunction {
    /// Its name.
    pub name: String,
    /// Types of its arguments; `regclass` takes a relation's name and hands its OID on.
    pub args: Vec<Oid>,
    /// How many arguments must be given; the rest have defaults that the caller knows.
    pub required: usize,
    /// What it gives.
    pub returns: ExternalResult,
    /// Whether a NULL argument makes the result NULL without a call.
    pub strict: bool,
}

impl ExternalFunction {
    /// Whether it can be called with this many arguments.
    pub(crate) fn accepts(&self, count: usize) -> bool {
        (self.required..=self.args.len()).contains(&count)
    }
}

/// The functions that the caller implements.
#[async_trait]
pub trait ExternalFunctions: Send + Sync {
    /// What there is.
    fn functions(&self) -> &[ExternalFunction];

    /// Calls one with datum payloads (`None`: NULL) for the arguments that were given. The result
    /// is one payload, or one for each column of a record.
    ///
    /// # Errors
    /// The function's own.
    async fn call(
        &self,
        function: &ExternalFunction,
        args: Vec<Option<Vec<u8>>>,
    ) -> Result<Vec<Option<Vec<u8>>>, QueryError>;
}
