//! Which system tables there are, and their columns.

use std::sync::LazyLock;

use trunkline_pgformat::{DEFAULTTABLESPACE_OID, GLOBALTABLESPACE_OID, Oid, RelFileLocator};
use trunkline_types::{Attribute, TupleDesc};

use crate::copy_text::BuiltInFile;
use crate::error::CatalogError;
use crate::type_facts::type_facts;

const TABLES: BuiltInFile = BuiltInFile {
    name: "tables.tsv",
    text: include_str!("../bootstrap/tables.tsv"),
};
const COLUMNS: BuiltInFile = BuiltInFile {
    name: "columns.tsv",
    text: include_str!("../bootstrap/columns.tsv"),
};

/// A system table that every database of a cluster has, or that all databases share.
#[derive(Clone, Debug)]
pub struct SystemTable {
    /// OID of the table; in a new cluster also the number of its file.
    pub oid: Oid,
    /// Its name, in the namespace `pg_catalog`.
    pub name: &'static str,
    /// Whether there is one for all databases, in `global/`.
    pub shared: bool,
    /// Whether its file is found through `pg_filenode.map`, not through `pg_class.relfilenode`.
    pub mapped: bool,
    /// OID of its row type.
    pub row_type: Oid,
    /// OID of the array type over its row type.
    pub array_type: Oid,
    /// Its columns.
    pub desc: TupleDesc,
    /// Its privileges as `aclitem[]` prints them.
    pub(crate) acl: &'static str,
}

impl SystemTable {
    /// Where the table's file lies in a new cluster, seen from database `database`.
    pub fn initial_locator(&self, database: Oid) -> RelFileLocator {
        let (spc_oid, db_oid) = if self.shared {
            (GLOBALTABLESPACE_OID, Oid::INVALID)
        } else {
            (DEFAULTTABLESPACE_OID, database)
        };
        RelFileLocator {
            spc_oid,
            db_oid,
            rel_number: self.oid.0,
        }
    }
}

static SYSTEM_TABLES: LazyLock<Vec<SystemTable>> = LazyLock::new(|| match load() {
    Ok(tables) => tables,
    // The data is part of the program, and the tests load it.
    Err(error) => panic!("{error}"),
});

/// All system tables, by OID.
pub fn system_tables() -> &'static [SystemTable] {
    &SYSTEM_TABLES
}

/// The system table with this OID.
pub fn system_table(oid: Oid) -> Option<&'static SystemTable> {
    let index = SYSTEM_TABLES
        .binary_search_by_key(&oid, |table| table.oid)
        .ok()?;
    SYSTEM_TABLES.get(index)
}

/// The system table with this name.
pub fn system_table_by_name(name: &str) -> Option<&'static SystemTable> {
    SYSTEM_TABLES.iter().find(|table| table.name == name)
}

/// The fields of a line of a file whose lines hold no NULLs and no escapes.
fn plain_lines<const N: usize>(
    file: BuiltInFile,
) -> impl Iterator<Item = Result<(usize, [&'static str; N]), CatalogError>> {
    file.text
        .lines()
        .enumerate()
        .skip(1)
        .map(move |(index, line)| {
            let fields: Vec<&'static str> = line.split('\t').collect();
            let fields = fields
                .try_into()
                .map_err(|_| file.error(index + 1, "field count"))?;
            Ok((index + 1, fields))
        })
}

fn oid(file: BuiltInFile, line: usize, field: &str) -> Result<Oid, CatalogError> {
    field
        .parse()
        .map(Oid)
        .map_err(|_| file.error(line, format!("{field} is not an OID")))
}

fn load() -> Result<Vec<SystemTable>, CatalogError> {
    let mut columns: Vec<(&'static str, Attribute)> = Vec::new();
    for entry in plain_lines(COLUMNS) {
        let (line, [table, name, type_oid, not_null]) = entry?;
        let type_oid = oid(COLUMNS, line, type_oid)?;
        let facts = type_facts(type_oid)
            .ok_or_else(|| COLUMNS.error(line, format!("unknown type {type_oid}")))?;
        let attribute = Attribute {
            name: name.to_owned(),
            type_oid,
            typmod: -1,
            len: facts.len,
            align: facts.align,
            by_val: facts.by_val,
            storage: facts.storage,
            not_null: not_null == "t",
            num: 0,
            has_default: false,
        };
        columns.push((table, attribute));
    }
    let mut tables = Vec::new();
    for entry in plain_lines(TABLES) {
        let (line, [table_oid, name, shared, mapped, row_type, array_type, acl]) = entry?;
        let attributes: Vec<Attribute> = columns
            .iter()
            .filter(|(table, _)| *table == name)
            .map(|(_, attribute)| attribute.clone())
            .collect();
        if attributes.is_empty() {
            return Err(TABLES.error(line, "no columns"));
        }
        tables.push(SystemTable {
            oid: oid(TABLES, line, table_oid)?,
            name,
            shared: shared == "t",
            mapped: mapped == "t",
            row_type: oid(TABLES, line, row_type)?,
            array_type: oid(TABLES, line, array_type)?,
            desc: TupleDesc::new(attributes),
            acl,
        });
    }
    Ok(tables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_ordered_and_found() {
        assert!(system_tables().is_sorted_by_key(|table| table.oid));
        let pg_class = system_table(crate::oids::PG_CLASS).unwrap();
        assert_eq!(pg_class.name, "pg_class");
        assert!(pg_class.mapped && !pg_class.shared);
        assert_eq!(pg_class.desc.attrs()[1].name, "relname");
        assert_eq!(
            system_table_by_name("pg_database").unwrap().oid,
            crate::oids::PG_DATABASE
        );
        assert!(system_table(Oid(1)).is_none());
    }

    #[test]
    fn shared_tables_lie_in_global() {
        use trunkline_pgformat::ForkNumber;
        let locate = |name| system_table_by_name(name).unwrap().initial_locator(Oid(5));
        assert_eq!(locate("pg_database").path(ForkNumber::Main), "global/1262");
        assert_eq!(locate("pg_class").path(ForkNumber::Main), "base/5/1259");
    }

    /// Every shared table is mapped, as `pg_filenode.map` demands (`relmapper.c`).
    #[test]
    fn shared_tables_are_mapped() {
        assert!(
            system_tables()
                .iter()
                .all(|table| table.mapped || !table.shared)
        );
    }
}
