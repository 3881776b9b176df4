//! What the engine knows of a relation, built from its catalog rows.

use trunkline_heap::HeapRelation;
use trunkline_pgformat::{DEFAULTTABLESPACE_OID, GLOBALTABLESPACE_OID, Oid, RelFileLocator, Xid};
use trunkline_types::{Align, Attribute, TupleDesc};

use crate::bootstrap::described_by;
use crate::error::CatalogError;
use crate::new_table::NewTable;
use crate::rows::{PgAttrdefRow, PgAttributeRow, PgClassRow, PgConstraintRow};
use crate::system_table::SystemTable;

/// What a relation is (`pg_class.relkind`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RelationKind {
    /// An ordinary table.
    Table,
    /// An index.
    Index,
    /// A sequence.
    Sequence,
    /// A TOAST table.
    Toast,
    /// A view.
    View,
    /// A materialized view.
    MaterializedView,
    /// A composite type.
    CompositeType,
    /// A foreign table.
    ForeignTable,
    /// A partitioned table.
    PartitionedTable,
    /// A partitioned index.
    PartitionedIndex,
}

impl RelationKind {
    fn from_code(code: u8) -> Option<RelationKind> {
        Some(match code {
            b'r' => RelationKind::Table,
            b'i' => RelationKind::Index,
            b'S' => RelationKind::Sequence,
            b't' => RelationKind::Toast,
            b'v' => RelationKind::View,
            b'm' => RelationKind::MaterializedView,
            b'c' => RelationKind::CompositeType,
            b'f' => RelationKind::ForeignTable,
            b'p' => RelationKind::PartitionedTable,
            b'I' => RelationKind::PartitionedIndex,
            _ => return None,
        })
    }
}

/// How long a relation lives (`pg_class.relpersistence`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RelationPersistence {
    /// Until it is dropped, crashes included.
    Permanent,
    /// Until it is dropped; empty after a crash.
    Unlogged,
    /// As long as its session.
    Temporary,
}

impl RelationPersistence {
    /// As `pg_class.relpersistence` has it.
    pub const fn code(self) -> u8 {
        match self {
            RelationPersistence::Permanent => b'p',
            RelationPersistence::Unlogged => b'u',
            RelationPersistence::Temporary => b't',
        }
    }

    fn from_code(code: u8) -> Option<RelationPersistence> {
        Some(match code {
            b'p' => RelationPersistence::Permanent,
            b'u' => RelationPersistence::Unlogged,
            b't' => RelationPersistence::Temporary,
            _ => return None,
        })
    }
}

/// A NOT NULL constraint of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotNullConstraint {
    /// Its name.
    pub name: String,
    /// The column's number, from 1.
    pub column: i16,
}

/// A relation, as of one state of its catalog rows.
#[derive(Clone, Debug, PartialEq)]
pub struct RelationDesc {
    /// OID of the relation.
    pub oid: Oid,
    /// Its name.
    pub name: String,
    /// OID of its namespace.
    pub namespace: Oid,
    /// OID of the role that owns it.
    pub owner: Oid,
    /// OID of its row type.
    pub row_type: Oid,
    /// What it is.
    pub kind: RelationKind,
    /// How long it lives.
    pub persistence: RelationPersistence,
    /// Where its files lie.
    pub locator: RelFileLocator,
    /// Whether its file is found through `pg_filenode.map`.
    pub mapped: bool,
    /// Its columns.
    pub desc: TupleDesc,
    /// Per column the SQL text of its DEFAULT.
    pub defaults: Vec<Option<String>>,
    /// The NOT NULL constraints that have a name, by column. System tables' columns refuse NULL
    /// without such a constraint, so [`Attribute::not_null`] decides.
    pub not_null_constraints: Vec<NotNullConstraint>,
    /// Pages at the last count.
    pub relpages: i32,
    /// Rows at the last count, -1 if there was none.
    pub reltuples: f32,
    /// No tuple holds an older xid.
    pub relfrozenxid: Xid,
}

impl RelationDesc {
    /// Its files, for the heap.
    pub fn heap(&self) -> HeapRelation {
        HeapRelation {
            locator: self.locator,
            logged: self.persistence == RelationPersistence::Permanent,
        }
    }

    /// The relation that these rows describe, seen from database `database`. The attribute rows
    /// may come in any order and include system columns. `map` is `pg_filenode.map`: the file
    /// number of a mapped relation.
    ///
    /// # Errors
    /// [`CatalogError::Inconsistent`] if the rows do not fit together.
    pub fn from_rows(
        class: &PgClassRow,
        attributes: &[PgAttributeRow],
        defaults: &[PgAttrdefRow],
        constraints: &[PgConstraintRow],
        database: Oid,
        map: impl FnOnce(Oid) -> Option<u32>,
    ) -> Result<RelationDesc, CatalogError> {
        let misfit = |reason: String| CatalogError::Inconsistent {
            relation: class.oid,
            reason,
        };
        let kind = RelationKind::from_code(class.relkind.0)
            .ok_or_else(|| misfit(format!("relkind {:?}", class.relkind)))?;
        let persistence = RelationPersistence::from_code(class.relpersistence.0)
            .ok_or_else(|| misfit(format!("relpersistence {:?}", class.relpersistence)))?;
        let mapped = !class.relfilenode.is_valid();
        let rel_number = if mapped {
            map(class.oid).ok_or_else(|| misfit("no entry in pg_filenode.map".to_owned()))?
        } else {
            class.relfilenode.0
        };

        let mut columns: Vec<&PgAttributeRow> =
            attributes.iter().filter(|row| row.attnum > 0).collect();
        columns.sort_by_key(|row| row.attnum);
        let expected = 1..=class.relnatts;
        if !columns.iter().map(|row| row.attnum).eq(expected) {
            return Err(misfit(format!(
                "{} columns are not numbered 1 to it",
                class.relnatts
            )));
        }
        let attrs = columns
            .iter()
            .map(|row| attribute(row))
            .collect::<Result<Vec<_>, _>>();
        let attrs = attrs.map_err(misfit)?;

        let mut default_texts = vec![None; attrs.len()];
        for row in defaults {
            let slot = usize::try_from(row.adnum - 1)
                .ok()
                .and_then(|i| default_texts.get_mut(i));
            let slot = slot.ok_or_else(|| misfit(format!("default of column {}", row.adnum)))?;
            *slot = Some(row.adbin.0.clone());
        }
        if let Some(attr) = attrs
            .iter()
            .zip(&default_texts)
            .find_map(|(attr, text)| (attr.has_default != text.is_some()).then_some(attr))
        {
            return Err(misfit(format!("default of column {}", attr.num)));
        }

        let mut not_null_constraints = Vec::new();
        for row in constraints.iter().filter(|row| row.contype.0 == b'n') {
            let key = row.conkey.as_ref().map(|key| key.0.as_slice());
            let Some(&[column]) = key else {
                return Err(misfit(format!("key of constraint {}", row.oid)));
            };
            not_null_constraints.push(NotNullConstraint {
                name: row.conname.0.clone(),
                column,
            });
        }
        not_null_constraints.sort_by_key(|constraint| constraint.column);

        Ok(RelationDesc {
            oid: class.oid,
            name: class.relname.0.clone(),
            namespace: class.relnamespace,
            owner: class.relowner,
            row_type: class.reltype,
            kind,
            persistence,
            locator: locator(class, database, rel_number),
            mapped,
            desc: TupleDesc::new(attrs),
            defaults: default_texts,
            not_null_constraints,
            relpages: class.relpages,
            reltuples: class.reltuples,
            relfrozenxid: class.relfrozenxid,
        })
    }

    /// The relation that a system table is before any row of the catalogs can be read.
    ///
    /// # Errors
    /// [`CatalogError::Inconsistent`] if the table is mapped and not in `map`.
    pub fn of_system_table(
        table: &SystemTable,
        database: Oid,
        map: impl FnOnce(Oid) -> Option<u32>,
    ) -> Result<RelationDesc, CatalogError> {
        let (class, attributes) = described_by(table)?;
        RelationDesc::from_rows(&class, &attributes, &[], &[], database, map)
    }

    /// The relation that the rows of a new table describe.
    ///
    /// # Errors
    /// [`CatalogError::Inconsistent`] never happens to rows that [`NewTable::build`] made.
    pub fn of_new_table(table: &NewTable, database: Oid) -> Result<RelationDesc, CatalogError> {
        RelationDesc::from_rows(
            &table.class,
            &table.attributes,
            &table.defaults,
            &table.constraints,
            database,
            |_| None,
        )
    }
}

fn locator(class: &PgClassRow, database: Oid, rel_number: u32) -> RelFileLocator {
    let spc_oid = if class.reltablespace.is_valid() {
        class.reltablespace
    } else {
        DEFAULTTABLESPACE_OID
    };
    let db_oid = if spc_oid == GLOBALTABLESPACE_OID {
        Oid::INVALID
    } else {
        database
    };
    RelFileLocator {
        spc_oid,
        db_oid,
        rel_number,
    }
}

fn attribute(row: &PgAttributeRow) -> Result<Attribute, String> {
    if row.attisdropped {
        return Err(format!(
            "column {} is dropped, which is not supported",
            row.attnum
        ));
    }
    if row.atthasmissing {
        return Err(format!(
            "column {} has a missing value, which is not supported",
            row.attnum
        ));
    }
    let align = Align::from_code(row.attalign.0.into())
        .ok_or_else(|| format!("attalign {:?} of column {}", row.attalign, row.attnum))?;
    if row.attlen == 0 || row.attlen < -2 {
        return Err(format!("attlen {} of column {}", row.attlen, row.attnum));
    }
    Ok(Attribute {
        name: row.attname.0.clone(),
        type_oid: row.atttypid,
        typmod: row.atttypmod,
        len: row.attlen,
        align,
        by_val: row.attbyval,
        storage: row.attstorage.0.into(),
        not_null: row.attnotnull,
        num: row.attnum,
        has_default: row.atthasdef,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oids;
    use crate::system_table::{system_table, system_tables};
    use trunkline_pgformat::ForkNumber;

    #[test]
    fn system_tables_open() {
        for table in system_tables() {
            let relation = RelationDesc::of_system_table(table, Oid(5), |oid| Some(oid.0)).unwrap();
            assert_eq!(relation.desc, table.desc);
            assert_eq!(relation.locator, table.initial_locator(Oid(5)));
            assert_eq!(relation.mapped, table.mapped);
        }
    }

    fn pg_class() -> (PgClassRow, Vec<PgAttributeRow>) {
        described_by(system_table(oids::PG_CLASS).unwrap()).unwrap()
    }

    fn open(
        class: &PgClassRow,
        attributes: &[PgAttributeRow],
    ) -> Result<RelationDesc, CatalogError> {
        RelationDesc::from_rows(class, attributes, &[], &[], Oid(5), |_| Some(4242))
    }

    #[test]
    fn mapped_relations_are_found_through_the_map() {
        let (class, mut attributes) = pg_class();
        attributes.reverse();
        let relation = open(&class, &attributes).unwrap();
        assert_eq!(relation.locator.path(ForkNumber::Main), "base/5/4242");
        assert_eq!(relation.desc.attrs()[0].name, "oid");
        assert_eq!(relation.kind, RelationKind::Table);
        let unmapped = RelationDesc::from_rows(&class, &attributes, &[], &[], Oid(5), |_| None);
        assert_eq!(unmapped.unwrap_err().sqlstate(), "XX001");
    }

    #[test]
    fn rows_that_do_not_fit_are_refused() {
        let (class, attributes) = pg_class();
        open(&class, &attributes[1..]).unwrap_err();
        open(
            &PgClassRow {
                relnatts: 3,
                ..class.clone()
            },
            &attributes,
        )
        .unwrap_err();
        open(
            &PgClassRow {
                relkind: crate::Char(b'?'),
                ..class.clone()
            },
            &attributes,
        )
        .unwrap_err();

        let changed = |change: fn(&mut PgAttributeRow)| {
            let mut attributes = attributes.clone();
            change(&mut attributes[0]);
            open(&class, &attributes).unwrap_err().to_string()
        };
        assert!(changed(|row| row.attisdropped = true).contains("column 1 is dropped"));
        assert!(changed(|row| row.attalign.0 = b'?').contains("attalign"));
        assert!(changed(|row| row.attlen = -3).contains("attlen"));
        assert!(changed(|row| row.atthasdef = true).contains("default of column 1"));

        let stray = PgAttrdefRow {
            oid: Oid(1),
            adrelid: class.oid,
            adnum: 0,
            adbin: "1".into(),
        };
        RelationDesc::from_rows(&class, &attributes, &[stray], &[], Oid(5), |_| Some(1))
            .unwrap_err();
    }
}
