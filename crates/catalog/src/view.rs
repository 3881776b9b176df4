//! Looking things up in the catalogs.

use std::sync::Arc;

use trunkline_aio::IoContext;
use trunkline_pgformat::Oid;
use trunkline_txn::RegisteredSnapshot;

use crate::catalog::Catalog;
use crate::catalog_rows::{CatalogReader, Key};
use crate::create_context::NewTableContext;
use crate::error::CatalogError;
use crate::field::{Name, RowValues};
use crate::oids;
use crate::relation::RelationDesc;
use crate::relation_cache::Namespaces;
use crate::rows::{
    PgAttrdefRow, PgAttributeRow, PgClassRow, PgConstraintRow, PgDatabaseRow, PgNamespaceRow,
    PgTypeRow,
};
use crate::system_table::system_table_by_name;

/// The catalogs as one transaction sees them; see [`Catalog::view`]. Names are taken as they are:
/// folding and truncating is the caller's.
pub struct CatalogView<'a> {
    catalog: &'a Catalog,
    snapshot: &'a RegisteredSnapshot,
    own_changes: bool,
    io: &'a mut IoContext,
}

impl<'a> CatalogView<'a> {
    pub(crate) fn new(
        catalog: &'a Catalog,
        snapshot: &'a RegisteredSnapshot,
        own_changes: bool,
        io: &'a mut IoContext,
    ) -> CatalogView<'a> {
        CatalogView {
            catalog,
            snapshot,
            own_changes,
            io,
        }
    }

    /// The rows as they are now.
    fn reader(&mut self) -> CatalogReader<'_> {
        let mut now = self.snapshot.manager().snapshot();
        if self.own_changes {
            now = now.at_command(self.snapshot.own_xid, self.snapshot.command_id);
        }
        CatalogReader::new(&self.catalog.pool, self.catalog.database, now, self.io)
    }

    /// The OID of a namespace.
    ///
    /// # Errors
    /// The catalogs cannot be read, or are damaged.
    pub fn namespace_oid(&mut self, name: &str) -> Result<Option<Oid>, CatalogError> {
        let namespaces = self.namespaces()?;
        Ok(namespaces
            .iter()
            .find(|(_, other)| other == name)
            .map(|(oid, _)| *oid))
    }

    /// The name of a namespace.
    ///
    /// # Errors
    /// As [`CatalogView::namespace_oid`].
    pub fn namespace_name(&mut self, oid: Oid) -> Result<Option<String>, CatalogError> {
        let namespaces = self.namespaces()?;
        Ok(namespaces
            .iter()
            .find(|(other, _)| *other == oid)
            .map(|(_, name)| name.clone()))
    }

    fn namespaces(&mut self) -> Result<Namespaces, CatalogError> {
        if !self.own_changes
            && let Some(namespaces) = self.catalog.cache.namespaces()
        {
            return Ok(namespaces);
        }
        let version = self.catalog.version();
        let rows: Vec<PgNamespaceRow> = self.reader().rows(&[])?;
        let namespaces: Namespaces = rows
            .into_iter()
            .map(|row| (row.oid, row.nspname.0))
            .collect();
        if !self.own_changes {
            self.catalog.cache.enter_namespaces(version, &namespaces);
        }
        Ok(namespaces)
    }

    /// The OID of the relation of this name in a namespace.
    ///
    /// # Errors
    /// As [`CatalogView::namespace_oid`].
    pub fn relation_oid(
        &mut self,
        namespace: Oid,
        name: &str,
    ) -> Result<Option<Oid>, CatalogError> {
        if namespace == oids::PG_CATALOG_NAMESPACE
            && let Some(table) = system_table_by_name(name)
        {
            return Ok(Some(table.oid));
        }
        if !self.own_changes
            && let Some(known) = self.catalog.cache.relation_oid(namespace, name)
        {
            return Ok(known);
        }
        let version = self.catalog.version();
        let keys = [
            Key::new("relnamespace", &namespace),
            Key::new("relname", &Name::from(name)),
        ];
        let rows: Vec<PgClassRow> = self.reader().rows(&keys)?;
        // A name too long to be stored would be compared clipped.
        let oid = rows
            .iter()
            .find(|row| *row.relname == *name)
            .map(|row| row.oid);
        if !self.own_changes {
            self.catalog
                .cache
                .enter_relation_oid(version, namespace, name, oid);
        }
        Ok(oid)
    }

    /// What the relation is, whether a user's or a system table.
    ///
    /// # Errors
    /// As [`CatalogView::namespace_oid`]; [`CatalogError::Inconsistent`] if its rows do not fit
    /// together.
    pub fn relation(&mut self, oid: Oid) -> Result<Option<Arc<RelationDesc>>, CatalogError> {
        if let Some(relation) = self.catalog.system_relation(oid)? {
            return Ok(Some(relation));
        }
        if !self.own_changes
            && let Some(relation) = self.catalog.cache.relation(oid)
        {
            return Ok(Some(relation));
        }
        let version = self.catalog.version();
        let Some(relation) = self.read_relation(oid)? else {
            return Ok(None);
        };
        let relation = Arc::new(relation);
        if !self.own_changes {
            self.catalog.cache.enter_relation(version, &relation);
        }
        Ok(Some(relation))
    }

    /// All rows of it as one snapshot sees them.
    fn read_relation(&mut self, oid: Oid) -> Result<Option<RelationDesc>, CatalogError> {
        let database = self.catalog.database;
        let mut reader = self.reader();
        let classes: Vec<PgClassRow> = reader.rows(&[Key::new("oid", &oid)])?;
        let class = match classes.as_slice() {
            [] => return Ok(None),
            [class] => class,
            more => {
                return Err(CatalogError::Inconsistent {
                    relation: oid,
                    reason: format!("{} rows in pg_class", more.len()),
                });
            }
        };
        let attributes: Vec<PgAttributeRow> = reader.rows(&[Key::new("attrelid", &oid)])?;
        let mut defaults: Vec<PgAttrdefRow> = Vec::new();
        if attributes.iter().any(|row| row.atthasdef) {
            defaults = reader.rows(&[Key::new("adrelid", &oid)])?;
        }
        let mut constraints: Vec<PgConstraintRow> = Vec::new();
        if attributes
            .iter()
            .any(|row| row.attnum > 0 && row.attnotnull)
        {
            constraints = reader.rows(&[Key::new("conrelid", &oid)])?;
        }
        // Only system tables are mapped, and those were not read.
        RelationDesc::from_rows(
            class,
            &attributes,
            &defaults,
            &constraints,
            database,
            |_| None,
        )
        .map(Some)
    }

    /// The relations of a namespace, system tables included: their `pg_class` rows by name.
    ///
    /// # Errors
    /// As [`CatalogView::namespace_oid`].
    pub fn relations(&mut self, namespace: Oid) -> Result<Vec<PgClassRow>, CatalogError> {
        let mut rows: Vec<PgClassRow> = self
            .reader()
            .rows(&[Key::new("relnamespace", &namespace)])?;
        rows.sort_by(|a, b| a.relname.0.cmp(&b.relname.0));
        Ok(rows)
    }

    /// All rows of the system table `table`: payloads of `columns`, in their order.
    ///
    /// # Errors
    /// As [`CatalogView::namespace_oid`]; [`CatalogError::Inconsistent`] if there is no such table
    /// or no such column.
    pub fn system_rows(
        &mut self,
        table: &str,
        columns: &[&str],
    ) -> Result<Vec<RowValues>, CatalogError> {
        let missing = |what: &str| CatalogError::Inconsistent {
            relation: Oid::INVALID,
            reason: format!("there is no {what} in the system tables"),
        };
        let system = system_table_by_name(table).ok_or_else(|| missing(table))?;
        let columns = columns
            .iter()
            .map(|column| system.desc.index_of(column).ok_or_else(|| missing(column)))
            .collect::<Result<Vec<_>, _>>()?;
        self.reader().projected_rows(system, &columns)
    }

    /// The names of the relations of a namespace, in order.
    ///
    /// # Errors
    /// As [`CatalogView::namespace_oid`].
    pub fn table_names(&mut self, namespace: Oid) -> Result<Vec<String>, CatalogError> {
        let rows = self.relations(namespace)?;
        Ok(rows.into_iter().map(|row| row.relname.0).collect())
    }

    /// The database of this name.
    ///
    /// # Errors
    /// As [`CatalogView::namespace_oid`].
    pub fn database(&mut self, name: &str) -> Result<Option<PgDatabaseRow>, CatalogError> {
        let rows: Vec<PgDatabaseRow> = self
            .reader()
            .rows(&[Key::new("datname", &Name::from(name))])?;
        Ok(rows.into_iter().find(|row| *row.datname == *name))
    }

    /// Whether a namespace has a type of this name.
    ///
    /// # Errors
    /// As [`CatalogView::namespace_oid`].
    pub fn type_exists(&mut self, namespace: Oid, name: &str) -> Result<bool, CatalogError> {
        let keys = [
            Key::new("typnamespace", &namespace),
            Key::new("typname", &Name::from(name)),
        ];
        let rows: Vec<PgTypeRow> = self.reader().rows(&keys)?;
        Ok(!rows.is_empty())
    }

    /// Whether a namespace has a constraint of this name.
    ///
    /// # Errors
    /// As [`CatalogView::namespace_oid`].
    pub fn constraint_exists(&mut self, namespace: Oid, name: &str) -> Result<bool, CatalogError> {
        let keys = [
            Key::new("connamespace", &namespace),
            Key::new("conname", &Name::from(name)),
        ];
        let rows: Vec<PgConstraintRow> = self.reader().rows(&keys)?;
        Ok(!rows.is_empty())
    }

    /// What [`NewTable::build`](crate::NewTable::build) asks of the catalogs. `next_oid` is the
    /// cluster's counter; what it gives is passed on if nothing in the catalogs has it, be it as OID
    /// or as number of a file.
    pub fn new_table_context<'v, F>(&'v mut self, next_oid: F) -> NewTableContext<'v, 'a, F>
    where
        F: FnMut() -> Result<Oid, CatalogError>,
    {
        NewTableContext::new(self, next_oid)
    }

    /// Every OID that an object in the catalogs has, and the number of every relation's file.
    pub(crate) fn oids_in_use(&mut self) -> Result<Vec<Oid>, CatalogError> {
        let mut reader = self.reader();
        let mut used = Vec::new();
        for class in reader.rows::<PgClassRow>(&[])? {
            used.extend([class.oid, class.relfilenode]);
        }
        used.extend(reader.rows::<PgTypeRow>(&[])?.iter().map(|row| row.oid));
        used.extend(reader.rows::<PgAttrdefRow>(&[])?.iter().map(|row| row.oid));
        used.extend(
            reader
                .rows::<PgConstraintRow>(&[])?
                .iter()
                .map(|row| row.oid),
        );
        used.extend(
            reader
                .rows::<PgNamespaceRow>(&[])?
                .iter()
                .map(|row| row.oid),
        );
        used.extend(reader.rows::<PgDatabaseRow>(&[])?.iter().map(|row| row.oid));
        Ok(used)
    }
}
