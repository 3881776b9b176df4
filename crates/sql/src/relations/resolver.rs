//! Names to relations, for the analysis of one statement.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use trunkline_aio::IoContext;
use trunkline_catalog::RelationDesc;
use trunkline_engine::{EngineError, Session};
use trunkline_txn::{LockMode, RegisteredSnapshot};

use super::scan_group::ScanGroup;
use super::table::{SnapshotCell, TableSource};
use crate::database::SqlDatabase;
use crate::error::query_error;
use crate::query::{PgType, QueryError, Relation, RelationColumn, SystemRow, TableResolver};
use crate::views;

/// An engine session, used by one engine thread at a time: the one that runs its statement, or one
/// that runs a function for it. Never locked while waiting for rows.
pub(crate) type SharedSession = Arc<Mutex<Session>>;

/// Locks a session.
pub(crate) fn lock_session(session: &SharedSession) -> MutexGuard<'_, Session> {
    // A statement that panics is rolled back, which leaves its session whole.
    session.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A session as a plan knows it, which may outlive the session.
#[derive(Clone)]
pub(crate) struct SessionRef(Weak<Mutex<Session>>);

impl SessionRef {
    pub fn new(session: &SharedSession) -> SessionRef {
        SessionRef(Arc::downgrade(session))
    }

    /// The session, if it still exists.
    ///
    /// # Errors
    /// 57P01.
    pub fn get(&self) -> Result<SharedSession, QueryError> {
        self.0
            .upgrade()
            .ok_or_else(|| QueryError::new("57P01", "the session of this query has ended"))
    }
}

/// Finds and locks the relations of one statement.
pub(crate) struct Resolver {
    session: SessionRef,
    shared: Arc<SqlDatabase>,
    scans: ScanGroup,
    /// Made when first needed; reads catalogs.
    io: Mutex<Option<IoContext>>,
    snapshot: SnapshotCell,
}

impl Resolver {
    pub fn new(session: &SharedSession, shared: &Arc<SqlDatabase>, scans: &ScanGroup) -> Resolver {
        Resolver {
            session: SessionRef::new(session),
            shared: Arc::clone(shared),
            scans: scans.clone(),
            io: Mutex::new(None),
            snapshot: Arc::new(OnceLock::new()),
        }
    }

    fn with_session<T>(
        &self,
        ask: impl FnOnce(&Session, &mut IoContext) -> Result<T, EngineError>,
    ) -> Result<T, QueryError> {
        let session = self.session.get()?;
        let session = lock_session(&session);
        let mut io = self.io.lock().unwrap_or_else(PoisonError::into_inner);
        let io = match &mut *io {
            Some(io) => io,
            none => none.insert(session.issuer().map_err(query_error)?),
        };
        ask(&session, io).map_err(query_error)
    }

    fn table(&self, relation: Arc<RelationDesc>) -> Relation {
        let columns = relation
            .desc
            .attrs()
            .iter()
            .map(|attribute| RelationColumn {
                name: attribute.name.clone(),
                ty: PgType::with_typmod(attribute.type_oid, attribute.typmod),
                number: attribute.num,
            })
            .collect();
        Relation {
            oid: relation.oid,
            name: relation.name.clone(),
            columns,
            source: Arc::new(TableSource {
                session: self.session.clone(),
                relation,
                snapshot: Arc::clone(&self.snapshot),
                scans: self.scans.clone(),
            }),
        }
    }
}

impl TableResolver for Resolver {
    fn relation(&self, schema: Option<&str>, name: &str) -> Result<Option<Relation>, QueryError> {
        if schema.is_none_or(|schema| schema == "pg_catalog")
            && let Some(view) = views::find(name)
        {
            return self
                .with_session(|session, io| view.relation(session, &self.shared, io))
                .map(Some);
        }
        if let Some(schema) = schema
            && !self.schema_exists(schema)?
        {
            return Ok(None);
        }
        let found = self.with_session(|session, io| {
            session.open_relation_if_exists(schema, name, LockMode::AccessShare, io)
        })?;
        Ok(found.map(|relation| self.table(relation)))
    }

    fn system_rows(&self, table: &str, columns: &[&str]) -> Result<Vec<SystemRow>, QueryError> {
        self.with_session(|session, io| {
            let snapshot = session.snapshot()?;
            let mut view = self.shared.database().catalog().view(
                &snapshot,
                session.has_own_catalog_changes(),
                io,
            );
            Ok(view.system_rows(table, columns)?)
        })
    }

    fn schema_exists(&self, schema: &str) -> Result<bool, QueryError> {
        self.with_session(|session, io| match session.namespace(schema, io) {
            Ok(_) => Ok(true),
            Err(error) if error.sqlstate() == "3F000" => Ok(false),
            Err(error) => Err(error),
        })
    }
}

/// The snapshot of a statement, taken once all its locks are held: what a lock had to wait for is
/// then seen.
pub(crate) fn statement_snapshot(
    cell: &OnceLock<Arc<RegisteredSnapshot>>,
    session: &Session,
) -> Result<Arc<RegisteredSnapshot>, EngineError> {
    if let Some(snapshot) = cell.get() {
        return Ok(Arc::clone(snapshot));
    }
    let snapshot = Arc::new(session.snapshot()?);
    Ok(Arc::clone(cell.get_or_init(|| snapshot)))
}
