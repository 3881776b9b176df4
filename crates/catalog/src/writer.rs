//! Changing the catalogs: what CREATE TABLE, DROP TABLE and TRUNCATE write.

use std::collections::HashSet;

use trunkline_aio::IoContext;
use trunkline_heap::{HeapRelation, HeapWriter};
use trunkline_pgformat::{CommandId, ItemPointer, Oid, Xid};
use trunkline_txn::RegisteredSnapshot;
use trunkline_types::{TupleFormer, TypeError};

use crate::catalog::Catalog;
use crate::catalog_rows::{CatalogReader, Key, PlacedRow, table_of};
use crate::error::CatalogError;
use crate::field::RowValues;
use crate::new_table::NewTable;
use crate::oids;
use crate::rows::{
    CatalogRow, PgAttrdefRow, PgAttributeRow, PgClassRow, PgConstraintRow, PgDependRow, PgTypeRow,
};
use crate::system_table::SystemTable;

/// Changes catalog rows, as one command of one transaction. Others see the changes when it has
/// committed; it sees them itself from its next command on.
///
/// The caller holds the locks that keep others from the relations and names concerned, and passes
/// the relations to [`Catalog::invalidate`] when the transaction has ended.
pub struct CatalogWriter<'a> {
    catalog: &'a Catalog,
    snapshot: &'a RegisteredSnapshot,
    xid: Xid,
    command_id: CommandId,
    former: TupleFormer,
    io: &'a mut IoContext,
}

/// A row of `table` as a heap tuple.
pub(crate) fn form_row(
    former: &mut TupleFormer,
    table: &SystemTable,
    values: &RowValues,
) -> Result<Vec<u8>, CatalogError> {
    former.begin(&table.desc);
    for value in values {
        former.push(value.as_deref());
    }
    Ok(former.finish().map_err(TypeError::from)?.to_vec())
}

impl<'a> CatalogWriter<'a> {
    /// Writes as command `command_id` of `xid`, the transaction that `snapshot` belongs to. Rows are
    /// looked up as they are at that moment, not as `snapshot` sees them: the locks make sure that
    /// nobody else changes them.
    pub fn new(
        catalog: &'a Catalog,
        snapshot: &'a RegisteredSnapshot,
        xid: Xid,
        command_id: CommandId,
        io: &'a mut IoContext,
    ) -> CatalogWriter<'a> {
        CatalogWriter {
            catalog,
            snapshot,
            xid,
            command_id,
            former: TupleFormer::new(),
            io,
        }
    }

    fn reader(&mut self) -> CatalogReader<'_> {
        let now = self.snapshot.manager().snapshot();
        let now = now.at_command(self.xid, self.command_id);
        CatalogReader::new(&self.catalog.pool, self.catalog.database, now, self.io)
    }

    fn heap(&self, table: &SystemTable) -> HeapWriter<'a> {
        HeapWriter::new(
            &self.catalog.pool,
            &self.catalog.transactions,
            HeapRelation::permanent(table.initial_locator(self.catalog.database)),
            self.xid,
            self.command_id,
        )
    }

    /// Writes the rows of a new table. Its file is the caller's to make.
    ///
    /// # Errors
    /// The storage's; a default longer than a page (54000).
    pub fn create_table(&mut self, table: &NewTable) -> Result<(), CatalogError> {
        for (catalog, values) in table.rows() {
            let catalog = table_of(catalog)?;
            let mut tuple = form_row(&mut self.former, catalog, &values)?;
            self.heap(catalog).insert(&mut tuple, self.io)?;
        }
        Ok(())
    }

    /// Deletes every row of a table: its own, those of its columns, row type and array type,
    /// defaults, constraints, and what says that one of these depends on something or something on
    /// them. Its file is the caller's to remove at commit.
    ///
    /// # Errors
    /// [`CatalogError::NoSuchRelation`] if there is no such table; the storage's.
    pub fn drop_table(&mut self, oid: Oid) -> Result<(), CatalogError> {
        let mut reader = self.reader();
        let class: Vec<PlacedRow<PgClassRow>> = reader.placed_rows(&[Key::new("oid", &oid)])?;
        if class.is_empty() {
            return Err(CatalogError::NoSuchRelation(oid));
        }
        let attributes: Vec<PlacedRow<PgAttributeRow>> =
            reader.placed_rows(&[Key::new("attrelid", &oid)])?;
        let mut types: Vec<PlacedRow<PgTypeRow>> =
            reader.placed_rows(&[Key::new("typrelid", &oid)])?;
        for (_, row_type) in types.clone() {
            types.extend(reader.placed_rows(&[Key::new("oid", &row_type.typarray)])?);
        }
        let defaults: Vec<PlacedRow<PgAttrdefRow>> =
            reader.placed_rows(&[Key::new("adrelid", &oid)])?;
        let constraints: Vec<PlacedRow<PgConstraintRow>> =
            reader.placed_rows(&[Key::new("conrelid", &oid)])?;

        let mut objects = HashSet::from([(oids::PG_CLASS, oid)]);
        objects.extend(types.iter().map(|(_, row)| (oids::PG_TYPE, row.oid)));
        objects.extend(defaults.iter().map(|(_, row)| (oids::PG_ATTRDEF, row.oid)));
        objects.extend(
            constraints
                .iter()
                .map(|(_, row)| (oids::PG_CONSTRAINT, row.oid)),
        );
        let mut depends: Vec<PlacedRow<PgDependRow>> = reader.placed_rows(&[])?;
        depends.retain(|(_, row)| {
            objects.contains(&(row.classid, row.objid))
                || objects.contains(&(row.refclassid, row.refobjid))
        });

        self.delete(&depends)?;
        self.delete(&constraints)?;
        self.delete(&defaults)?;
        self.delete(&types)?;
        self.delete(&attributes)?;
        self.delete(&class)
    }

    fn delete<R: CatalogRow>(&mut self, rows: &[PlacedRow<R>]) -> Result<(), CatalogError> {
        let heap = self.heap(table_of(R::TABLE)?);
        for (place, _) in rows {
            heap.delete(*place, self.io)?;
        }
        Ok(())
    }

    /// Gives a table another, empty file: TRUNCATE (`RelationSetNewRelfilenumber`). The file is the
    /// caller's to make, the old one its to remove at commit.
    ///
    /// # Errors
    /// [`CatalogError::NoSuchRelation`] if there is no such table; the storage's.
    pub fn set_relfilenode(&mut self, oid: Oid, rel_number: u32) -> Result<(), CatalogError> {
        let mut rows: Vec<PlacedRow<PgClassRow>> =
            self.reader().placed_rows(&[Key::new("oid", &oid)])?;
        let (place, mut class): (ItemPointer, PgClassRow) =
            rows.pop().ok_or(CatalogError::NoSuchRelation(oid))?;
        if !class.relfilenode.is_valid() {
            return Err(CatalogError::Inconsistent {
                relation: oid,
                reason: "has no file of its own to replace".to_owned(),
            });
        }
        class.relfilenode = Oid(rel_number);
        class.relpages = 0;
        class.reltuples = -1.0;
        class.relallvisible = 0;
        class.relallfrozen = 0;
        // No row can get in that is older than who runs now.
        class.relfrozenxid = self.catalog.transactions.oldest_xmin();
        let table = table_of(PgClassRow::TABLE)?;
        let mut tuple = form_row(&mut self.former, table, &class.to_values())?;
        self.heap(table).update(place, &mut tuple, self.io)?;
        Ok(())
    }
}
