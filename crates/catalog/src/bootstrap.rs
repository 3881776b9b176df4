//! The rows of a new cluster's system tables.
//!
//! `pg_class`, `pg_attribute` and the row types in `pg_type` describe the system tables and follow
//! from their descriptors; all other rows are listed in `bootstrap/rows`.
//!
//! What a cluster of PostgreSQL's has beyond this: the template databases, indexes and TOAST tables
//! of the system tables (so `relhasindex` is false and `reltoastrelid` 0) with the constraints that
//! belong to them, views and `information_schema`, text search, operators, casts, and types and
//! functions that do not exist here.

use trunkline_pgformat::{GLOBALTABLESPACE_OID, Oid, Xid};
use trunkline_types::{Attribute, ColumnType, InputStyle, TypeError, input_text, oids as types};

use crate::acl::{self, acl_payload};
use crate::copy_text::BuiltInFile;
use crate::error::CatalogError;
use crate::field::{Char, Payload, RowValues};
use crate::new_table::{
    FrozenHorizon, array_type_row, column_row, heap_class_row, row_type_row, system_column_rows,
};
use crate::oids;
use crate::rows::{CatalogRow, PgAttributeRow, PgClassRow, PgTypeRow};
use crate::system_table::{SystemTable, system_table, system_tables};
use crate::type_facts::{self, type_facts};

macro_rules! row_files {
    ($($table:literal),* $(,)?) => {
        &[$(BuiltInFile {
            name: concat!("rows/", $table, ".tsv"),
            text: include_str!(concat!("../bootstrap/rows/", $table, ".tsv")),
        }),*]
    };
}

const ROW_FILES: &[BuiltInFile] = row_files![
    "pg_am",
    "pg_auth_members",
    "pg_collation",
    "pg_database",
    "pg_description",
    "pg_language",
    "pg_namespace",
    "pg_proc",
    "pg_shdescription",
    "pg_tablespace",
];

/// A new cluster's rows are written by the bootstrap transaction, so nothing is older than the
/// first normal xid.
const HORIZON: FrozenHorizon = FrozenHorizon {
    xid: Xid::FIRST_NORMAL,
    multixact: Xid(1),
};

/// The rows that `init` writes into `table`, in the order of their OIDs. Every database gets the
/// same rows in its own tables.
///
/// # Errors
/// Only if the facts compiled into the program are damaged.
pub fn bootstrap_rows(table: &SystemTable) -> Result<Vec<RowValues>, CatalogError> {
    match table.oid {
        oids::PG_CLASS => system_tables()
            .iter()
            .map(|table| Ok(described_by(table)?.0.to_values()))
            .collect(),
        oids::PG_ATTRIBUTE => {
            let mut rows = Vec::new();
            for described in system_tables() {
                rows.extend(
                    described_by(described)?
                        .1
                        .iter()
                        .map(PgAttributeRow::to_values),
                );
            }
            Ok(rows)
        }
        oids::PG_TYPE => {
            let mut rows = file_rows(type_facts::FILE, table)?;
            for described in system_tables() {
                rows.push(row_type(described).to_values());
                rows.push(array_type(described).to_values());
            }
            rows.sort_by_key(|row| row.first().and_then(leading_oid));
            Ok(rows)
        }
        oids::PG_AUTHID => file_rows(acl::ROLES, table),
        _ => match ROW_FILES
            .iter()
            .find(|file| file.name == format!("rows/{}.tsv", table.name))
        {
            Some(file) => file_rows(*file, table),
            None => Ok(Vec::new()),
        },
    }
}

/// The rows that `init` writes into the table of `R`, as structs.
///
/// # Errors
/// Only if the facts compiled into the program are damaged.
pub fn bootstrap_rows_of<R: CatalogRow>() -> Result<Vec<R>, CatalogError> {
    let table = system_table(R::TABLE).ok_or(CatalogError::Inconsistent {
        relation: R::TABLE,
        reason: "not a system table".to_owned(),
    })?;
    bootstrap_rows(table)?
        .iter()
        .map(|row| R::from_values(&row.iter().map(Option::as_deref).collect::<Vec<_>>()))
        .collect()
}

/// The contents of `global/pg_filenode.map` (`shared`) or of a database's: pairs of a mapped
/// table's OID and its file number.
pub fn relation_map(shared: bool) -> Vec<(Oid, u32)> {
    system_tables()
        .iter()
        .filter(|table| table.mapped && table.shared == shared)
        .map(|table| (table.oid, table.oid.0))
        .collect()
}

fn leading_oid(payload: &Option<Vec<u8>>) -> Option<u32> {
    Some(u32::from_le_bytes(payload.as_deref()?.try_into().ok()?))
}

/// The `pg_class` row of a system table and its `pg_attribute` rows.
///
/// # Errors
/// Only if the facts compiled into the program are damaged.
pub(crate) fn described_by(
    table: &SystemTable,
) -> Result<(PgClassRow, Vec<PgAttributeRow>), CatalogError> {
    let mut class = heap_class_row(
        table.oid,
        table.name,
        oids::PG_CATALOG_NAMESPACE,
        oids::BOOTSTRAP_SUPERUSER,
        table.row_type,
        table.desc.len() as i16,
        HORIZON,
    );
    class.relreplident = Char(b'n');
    class.relisshared = table.shared;
    if table.shared {
        class.reltablespace = GLOBALTABLESPACE_OID;
    }
    if table.mapped {
        class.relfilenode = Oid::INVALID;
    }
    let acl = acl_payload(table.acl).ok_or_else(|| CatalogError::Inconsistent {
        relation: table.oid,
        reason: format!("privileges {}", table.acl),
    })?;
    class.relacl = Some(Payload(acl));

    let columns = table.desc.attrs().iter().map(|attribute| {
        let mut row = column_row(table.oid, attribute);
        // Unlike in a user's table, vectors count as arrays here (`DefineAttr`,
        // `bootstrap/bootstrap.c`).
        row.attndims =
            type_facts(attribute.type_oid).map_or(0, |facts| (facts.category == 'A').into());
        // System tables compare as C whatever the database's collation is.
        if row.attcollation.is_valid() {
            row.attcollation = oids::C_COLLATION;
        }
        row
    });
    Ok((
        class,
        columns.chain(system_column_rows(table.oid)).collect(),
    ))
}

fn row_type(table: &SystemTable) -> PgTypeRow {
    row_type_row(
        table.row_type,
        table.name,
        oids::PG_CATALOG_NAMESPACE,
        oids::BOOTSTRAP_SUPERUSER,
        table.oid,
        table.array_type,
    )
}

fn array_type(table: &SystemTable) -> PgTypeRow {
    let name = format!("_{}", table.name);
    array_type_row(
        table.array_type,
        &name,
        oids::PG_CATALOG_NAMESPACE,
        oids::BOOTSTRAP_SUPERUSER,
        table.row_type,
    )
}

fn file_rows(file: BuiltInFile, table: &SystemTable) -> Result<Vec<RowValues>, CatalogError> {
    if !file.header().eq(table
        .desc
        .attrs()
        .iter()
        .map(|attribute| attribute.name.as_str()))
    {
        return Err(file.error(1, format!("columns are not those of {}", table.name)));
    }
    file.records()
        .map(|(line, fields)| parse_row(table, &fields).map_err(|reason| file.error(line, reason)))
        .collect()
}

/// A row of `table` from its columns' text forms, or why it is none.
pub(crate) fn parse_row(
    table: &SystemTable,
    fields: &[Option<String>],
) -> Result<RowValues, String> {
    let attributes = table.desc.attrs();
    if fields.len() != attributes.len() {
        return Err(format!(
            "{} fields for {} columns",
            fields.len(),
            attributes.len()
        ));
    }
    let parse = |(attribute, field): (&Attribute, &Option<String>)| {
        let Some(text) = field else { return Ok(None) };
        let parsed = if attribute.type_oid == types::ACLITEM_ARRAY {
            acl_payload(text).ok_or_else(|| format!("privileges {text}"))
        } else {
            text_payload(attribute, text).map_err(|error| error.to_string())
        };
        parsed
            .map(Some)
            .map_err(|reason| format!("column {}: {reason}", attribute.name))
    };
    attributes.iter().zip(fields).map(parse).collect()
}

fn text_payload(attribute: &Attribute, text: &str) -> Result<Vec<u8>, TypeError> {
    if attribute.type_oid == types::PG_NODE_TREE {
        // The type has no input function; ours holds SQL text.
        return Ok(text.as_bytes().to_vec());
    }
    let ty = ColumnType::new(attribute.type_oid, attribute.typmod)?;
    let mut payload = Vec::new();
    input_text(&ty, text, &InputStyle::default(), &mut payload)?;
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy_text::unescape;
    use crate::rows::PgDatabaseRow;
    use crate::system_table::system_table_by_name;
    use std::collections::{HashMap, HashSet};

    /// Rows that describe some of the system tables, as PostgreSQL 18 has them.
    #[test]
    fn descriptions_are_those_of_postgres() {
        let built: HashMap<Oid, HashSet<RowValues>> =
            [oids::PG_CLASS, oids::PG_ATTRIBUTE, oids::PG_TYPE]
                .map(|oid| (oid, bootstrap_rows(system_table(oid).unwrap()).unwrap()))
                .map(|(oid, rows)| (oid, rows.into_iter().collect()))
                .into();
        let fixture = include_str!("../tests/fixtures/system_tables.tsv");
        let mut compared = 0;
        for line in fixture.lines() {
            let (catalog, row) = line.split_once('\t').unwrap();
            let catalog = system_table_by_name(catalog).unwrap();
            let fields: Vec<_> = row.split('\t').map(unescape).collect();
            let row = parse_row(catalog, &fields).unwrap();
            assert!(built[&catalog.oid].contains(&row), "{line}");
            compared += 1;
        }
        assert!(compared > 100, "{compared}");
    }

    #[test]
    fn every_table_has_its_rows() {
        for table in system_tables() {
            let rows = bootstrap_rows(table).unwrap();
            for row in &rows {
                assert_eq!(row.len(), table.desc.len());
                for (attribute, value) in table.desc.attrs().iter().zip(row) {
                    assert!(
                        value.is_some() || !attribute.not_null,
                        "{}.{} is null",
                        table.name,
                        attribute.name
                    );
                    if let (Some(value), 1..) = (value, attribute.len) {
                        assert_eq!(value.len(), attribute.len as usize, "{}", attribute.name);
                    }
                }
            }
        }
    }

    #[test]
    fn row_files_belong_to_tables() {
        for file in ROW_FILES {
            let table = file
                .name
                .strip_prefix("rows/")
                .unwrap()
                .strip_suffix(".tsv")
                .unwrap();
            assert!(system_table_by_name(table).is_some(), "{table}");
        }
    }

    #[test]
    fn oids_are_unique_and_references_resolve() {
        let classes: Vec<PgClassRow> = bootstrap_rows_of().unwrap();
        let types: Vec<PgTypeRow> = bootstrap_rows_of().unwrap();
        let attributes: Vec<PgAttributeRow> = bootstrap_rows_of().unwrap();
        let class_oids: HashSet<Oid> = classes.iter().map(|row| row.oid).collect();
        let type_oids: HashSet<Oid> = types.iter().map(|row| row.oid).collect();
        assert_eq!(class_oids.len(), classes.len());
        assert_eq!(type_oids.len(), types.len());
        assert!(classes.iter().all(|row| type_oids.contains(&row.reltype)));
        assert!(
            attributes
                .iter()
                .all(|row| type_oids.contains(&row.atttypid))
        );
        assert!(
            attributes
                .iter()
                .all(|row| class_oids.contains(&row.attrelid))
        );
        for ty in &types {
            assert!(
                !ty.typarray.is_valid() || type_oids.contains(&ty.typarray),
                "{ty:?}"
            );
            assert!(
                !ty.typelem.is_valid() || type_oids.contains(&ty.typelem),
                "{ty:?}"
            );
            assert!(
                !ty.typrelid.is_valid() || class_oids.contains(&ty.typrelid),
                "{ty:?}"
            );
        }
        let functions: HashSet<Oid> = bootstrap_rows(system_table(oids::PG_PROC).unwrap())
            .unwrap()
            .iter()
            .filter_map(|row| leading_oid(&row[0]).map(Oid))
            .collect();
        for ty in &types {
            for function in [ty.typinput, ty.typoutput, ty.typreceive, ty.typsend] {
                assert!(
                    !function.is_valid() || functions.contains(&function),
                    "{ty:?}"
                );
            }
        }
    }

    #[test]
    fn the_database_has_its_fixed_oid() {
        let databases: Vec<PgDatabaseRow> = bootstrap_rows_of().unwrap();
        let named: Vec<(u32, &str)> = databases
            .iter()
            .map(|row| (row.oid.0, &*row.datname))
            .collect();
        assert_eq!(named, [(oids::POSTGRES_DATABASE.0, "postgres")]);
    }

    #[test]
    fn maps_hold_what_postgres_maps() {
        let own: Vec<u32> = relation_map(false).iter().map(|(oid, _)| oid.0).collect();
        assert_eq!(own, [1247, 1249, 1255, 1259]);
        let shared: Vec<u32> = relation_map(true).iter().map(|(oid, _)| oid.0).collect();
        for oid in [1260, 1261, 1262, 1213, 1214, 2396] {
            assert!(shared.contains(&oid), "{oid}");
        }
    }
}
