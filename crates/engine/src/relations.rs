//! Finding relations by name, and locking them before they are used.

use std::sync::Arc;

use trunkline_aio::IoContext;
use trunkline_catalog::RelationDesc;
use trunkline_pgformat::{DEFAULTTABLESPACE_OID, GLOBALTABLESPACE_OID, Oid};
use trunkline_txn::{LockMode, LockTag};

use crate::data_directory::DATABASE_OID;
use crate::error::{EngineError, StatementError};
use crate::session::Session;
use crate::settings::split_identifiers;

/// Rounds of looking up and locking before giving up: each means that somebody renamed or replaced
/// the relation in between.
const ROUNDS_MAX: usize = 100;

/// The lock tag of a relation.
pub fn relation_tag(relation: &RelationDesc) -> LockTag {
    let database = if relation.locator.spc_oid == GLOBALTABLESPACE_OID {
        Oid::INVALID
    } else {
        DATABASE_OID
    };
    LockTag::Relation {
        database,
        relation: relation.oid,
    }
}

impl Session {
    /// The namespaces that an unqualified name is looked for in, in order. `pg_catalog` comes first
    /// unless `search_path` names it.
    ///
    /// # Errors
    /// The catalog cannot be read.
    pub fn search_path(&self, io: &mut IoContext) -> Result<Vec<Oid>, EngineError> {
        // Its values were checked.
        let names = split_identifiers(self.settings().text("search_path")).unwrap_or_default();
        let snapshot = self.snapshot()?;
        let mut view =
            self.database()
                .catalog()
                .view(&snapshot, self.has_own_catalog_changes(), io);
        let mut path = Vec::new();
        if !names.iter().any(|name| name == "pg_catalog") {
            path.extend(view.namespace_oid("pg_catalog")?);
        }
        for name in &names {
            let name = if name == "$user" {
                &self.entry().user
            } else {
                name
            };
            // A namespace that does not exist is passed over, as PostgreSQL does.
            path.extend(view.namespace_oid(name)?);
        }
        Ok(path)
    }

    /// The OID of the relation called `schema.name`, or found on the search path.
    ///
    /// # Errors
    /// 3F000 for a schema that does not exist; the catalog cannot be read.
    pub fn find_relation(
        &self,
        schema: Option<&str>,
        name: &str,
        io: &mut IoContext,
    ) -> Result<Option<Oid>, EngineError> {
        let namespaces = match schema {
            Some(schema) => vec![self.namespace(schema, io)?],
            None => self.search_path(io)?,
        };
        let snapshot = self.snapshot()?;
        let mut view =
            self.database()
                .catalog()
                .view(&snapshot, self.has_own_catalog_changes(), io);
        for namespace in namespaces {
            if let Some(oid) = view.relation_oid(namespace, name)? {
                return Ok(Some(oid));
            }
        }
        Ok(None)
    }

    /// The OID of a namespace.
    ///
    /// # Errors
    /// 3F000 if there is none of this name; the catalog cannot be read.
    pub fn namespace(&self, name: &str, io: &mut IoContext) -> Result<Oid, EngineError> {
        let snapshot = self.snapshot()?;
        self.database()
            .catalog()
            .view(&snapshot, self.has_own_catalog_changes(), io)
            .namespace_oid(name)?
            .ok_or_else(|| {
                StatementError::new("3F000", format!("schema \"{name}\" does not exist")).into()
            })
    }

    /// The namespace that a new relation goes to: `schema`, or the first one on the search path.
    ///
    /// # Errors
    /// 3F000 if there is none.
    pub fn creation_namespace(
        &self,
        schema: Option<&str>,
        io: &mut IoContext,
    ) -> Result<Oid, EngineError> {
        if let Some(schema) = schema {
            return self.namespace(schema, io);
        }
        let catalog = trunkline_catalog::oids::PG_CATALOG_NAMESPACE;
        let path = self.search_path(io)?;
        path.into_iter()
            .find(|namespace| *namespace != catalog)
            .ok_or_else(|| {
                StatementError::new("3F000", "no schema has been selected to create in").into()
            })
    }

    /// What the relation `oid` is now; `None` if there is none.
    ///
    /// # Errors
    /// The catalog cannot be read.
    pub fn relation(
        &self,
        oid: Oid,
        io: &mut IoContext,
    ) -> Result<Option<Arc<RelationDesc>>, EngineError> {
        let snapshot = self.snapshot()?;
        Ok(self
            .database()
            .catalog()
            .view(&snapshot, self.has_own_catalog_changes(), io)
            .relation(oid)?)
    }

    /// Finds the relation called `schema.name` and locks it until the transaction ends; `None` if
    /// there is none.
    ///
    /// # Errors
    /// Those of the lock and of the catalog.
    pub fn open_relation_if_exists(
        &self,
        schema: Option<&str>,
        name: &str,
        mode: LockMode,
        io: &mut IoContext,
    ) -> Result<Option<Arc<RelationDesc>>, EngineError> {
        for _ in 0..ROUNDS_MAX {
            let Some(oid) = self.find_relation(schema, name, io)? else {
                return Ok(None);
            };
            let Some(relation) = self.relation(oid, io)? else {
                continue;
            };
            self.lock(relation_tag(&relation), mode)?;
            // What the wait for the lock let through is committed by now: look again.
            if self.find_relation(schema, name, io)? == Some(oid)
                && let Some(relation) = self.relation(oid, io)?
            {
                return Ok(Some(relation));
            }
        }
        Err(StatementError::new(
            "XX000",
            format!("relation \"{name}\" changes faster than it can be opened"),
        )
        .into())
    }

    /// Finds the relation called `schema.name` and locks it until the transaction ends.
    ///
    /// # Errors
    /// 42P01 if there is none; those of the lock and of the catalog.
    pub fn open_relation(
        &self,
        schema: Option<&str>,
        name: &str,
        mode: LockMode,
        io: &mut IoContext,
    ) -> Result<Arc<RelationDesc>, EngineError> {
        self.open_relation_if_exists(schema, name, mode, io)?
            .ok_or_else(|| {
                let shown = schema.map_or(name.to_owned(), |schema| format!("{schema}.{name}"));
                StatementError::new("42P01", format!("relation \"{shown}\" does not exist")).into()
            })
    }

    /// Refuses to change a system table.
    ///
    /// # Errors
    /// 42501.
    pub fn check_user_table(&self, relation: &RelationDesc) -> Result<(), EngineError> {
        if relation.namespace == trunkline_catalog::oids::PG_CATALOG_NAMESPACE
            || relation.locator.spc_oid != DEFAULTTABLESPACE_OID
        {
            return Err(StatementError::new(
                "42501",
                format!(
                    "permission denied: \"{}\" is a system catalog",
                    relation.name
                ),
            )
            .into());
        }
        Ok(())
    }
}
