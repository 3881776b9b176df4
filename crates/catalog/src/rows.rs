//! Rows of the system tables that the engine itself reads and writes, as structs.
//!
//! A struct has one field per column, named like it and in its place; what the columns mean is
//! PostgreSQL's documentation ("System Catalogs"). `pg_node_tree` columns hold SQL text.

use trunkline_pgformat::{Oid, Xid};

use crate::error::CatalogError;
use crate::field::{CatalogField, Char, Int2Array, Name, Payload, RowValues, Text};

/// A row of one system table.
pub trait CatalogRow: Sized {
    /// OID of the system table.
    const TABLE: Oid;
    /// Its name.
    const TABLE_NAME: &'static str;
    /// Its columns in order, each with the types that the field can hold.
    const COLUMNS: &'static [(&'static str, &'static [Oid])];

    /// The row as payloads.
    fn to_values(&self) -> RowValues;

    /// The row that these payloads make up.
    ///
    /// # Errors
    /// [`CatalogError::InvalidRow`] if a payload does not fit its column.
    fn from_values(values: &[Option<&[u8]>]) -> Result<Self, CatalogError>;
}

macro_rules! catalog_rows {
    ($(
        $(#[$meta:meta])*
        $row:ident of $table:ident $table_name:literal {
            $($field:ident: $type:ty,)*
        }
    )*) => { $(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $row {
            $(
                #[doc = concat!("Column `", stringify!($field), "`.")]
                pub $field: $type,
            )*
        }

        impl CatalogRow for $row {
            const TABLE: Oid = crate::oids::$table;
            const TABLE_NAME: &'static str = $table_name;
            const COLUMNS: &'static [(&'static str, &'static [Oid])] =
                &[$((stringify!($field), <$type as CatalogField>::TYPES)),*];

            fn to_values(&self) -> RowValues {
                vec![$(self.$field.encode()),*]
            }

            fn from_values(values: &[Option<&[u8]>]) -> Result<Self, CatalogError> {
                let mut values = values.iter().copied();
                Ok($row {
                    $($field: values
                        .next()
                        .ok_or("is missing")
                        .and_then(<$type as CatalogField>::decode)
                        .map_err(|reason| CatalogError::InvalidRow {
                            table: $table_name,
                            column: stringify!($field),
                            reason,
                        })?,)*
                })
            }
        }
    )* };
}

catalog_rows! {
    /// A relation.
    PgClassRow of PG_CLASS "pg_class" {
        oid: Oid,
        relname: Name,
        relnamespace: Oid,
        reltype: Oid,
        reloftype: Oid,
        relowner: Oid,
        relam: Oid,
        relfilenode: Oid,
        reltablespace: Oid,
        relpages: i32,
        reltuples: f32,
        relallvisible: i32,
        relallfrozen: i32,
        reltoastrelid: Oid,
        relhasindex: bool,
        relisshared: bool,
        relpersistence: Char,
        relkind: Char,
        relnatts: i16,
        relchecks: i16,
        relhasrules: bool,
        relhastriggers: bool,
        relhassubclass: bool,
        relrowsecurity: bool,
        relforcerowsecurity: bool,
        relispopulated: bool,
        relreplident: Char,
        relispartition: bool,
        relrewrite: Oid,
        relfrozenxid: Xid,
        relminmxid: Xid,
        relacl: Option<Payload>,
        reloptions: Option<Payload>,
        relpartbound: Option<Text>,
    }

    /// A column of a relation, system columns (numbered below 0) included.
    PgAttributeRow of PG_ATTRIBUTE "pg_attribute" {
        attrelid: Oid,
        attname: Name,
        atttypid: Oid,
        attlen: i16,
        attnum: i16,
        atttypmod: i32,
        attndims: i16,
        attbyval: bool,
        attalign: Char,
        attstorage: Char,
        attcompression: Char,
        attnotnull: bool,
        atthasdef: bool,
        atthasmissing: bool,
        attidentity: Char,
        attgenerated: Char,
        attisdropped: bool,
        attislocal: bool,
        attinhcount: i16,
        attcollation: Oid,
        attstattarget: Option<i16>,
        attacl: Option<Payload>,
        attoptions: Option<Payload>,
        attfdwoptions: Option<Payload>,
        attmissingval: Option<Payload>,
    }

    /// A type.
    PgTypeRow of PG_TYPE "pg_type" {
        oid: Oid,
        typname: Name,
        typnamespace: Oid,
        typowner: Oid,
        typlen: i16,
        typbyval: bool,
        typtype: Char,
        typcategory: Char,
        typispreferred: bool,
        typisdefined: bool,
        typdelim: Char,
        typrelid: Oid,
        typsubscript: Oid,
        typelem: Oid,
        typarray: Oid,
        typinput: Oid,
        typoutput: Oid,
        typreceive: Oid,
        typsend: Oid,
        typmodin: Oid,
        typmodout: Oid,
        typanalyze: Oid,
        typalign: Char,
        typstorage: Char,
        typnotnull: bool,
        typbasetype: Oid,
        typtypmod: i32,
        typndims: i32,
        typcollation: Oid,
        typdefaultbin: Option<Text>,
        typdefault: Option<Text>,
        typacl: Option<Payload>,
    }

    /// A namespace (schema).
    PgNamespaceRow of PG_NAMESPACE "pg_namespace" {
        oid: Oid,
        nspname: Name,
        nspowner: Oid,
        nspacl: Option<Payload>,
    }

    /// A column's default; `adbin` is the expression as SQL text.
    PgAttrdefRow of PG_ATTRDEF "pg_attrdef" {
        oid: Oid,
        adrelid: Oid,
        adnum: i16,
        adbin: Text,
    }

    /// A constraint; here only those of kind NOT NULL.
    PgConstraintRow of PG_CONSTRAINT "pg_constraint" {
        oid: Oid,
        conname: Name,
        connamespace: Oid,
        contype: Char,
        condeferrable: bool,
        condeferred: bool,
        conenforced: bool,
        convalidated: bool,
        conrelid: Oid,
        contypid: Oid,
        conindid: Oid,
        conparentid: Oid,
        confrelid: Oid,
        confupdtype: Char,
        confdeltype: Char,
        confmatchtype: Char,
        conislocal: bool,
        coninhcount: i16,
        connoinherit: bool,
        conperiod: bool,
        conkey: Option<Int2Array>,
        confkey: Option<Int2Array>,
        conpfeqop: Option<Payload>,
        conppeqop: Option<Payload>,
        conffeqop: Option<Payload>,
        confdelsetcols: Option<Int2Array>,
        conexclop: Option<Payload>,
        conbin: Option<Text>,
    }

    /// That one object depends on another.
    PgDependRow of PG_DEPEND "pg_depend" {
        classid: Oid,
        objid: Oid,
        objsubid: i32,
        refclassid: Oid,
        refobjid: Oid,
        refobjsubid: i32,
        deptype: Char,
    }

    /// A database.
    PgDatabaseRow of PG_DATABASE "pg_database" {
        oid: Oid,
        datname: Name,
        datdba: Oid,
        encoding: i32,
        datlocprovider: Char,
        datistemplate: bool,
        datallowconn: bool,
        dathasloginevt: bool,
        datconnlimit: i32,
        datfrozenxid: Xid,
        datminmxid: Xid,
        dattablespace: Oid,
        datcollate: Text,
        datctype: Text,
        datlocale: Option<Text>,
        daticurules: Option<Text>,
        datcollversion: Option<Text>,
        datacl: Option<Payload>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::bootstrap_rows;
    use crate::system_table::system_table;

    /// The struct has the table's columns, each of a fitting type, and no column that may be NULL
    /// in a field that cannot.
    fn fits_table<R: CatalogRow + std::fmt::Debug>() {
        let table = system_table(R::TABLE).unwrap();
        assert_eq!(table.name, R::TABLE_NAME);
        let columns = table.desc.attrs();
        assert_eq!(columns.len(), R::COLUMNS.len(), "{}", table.name);
        let nulls: Vec<Option<&[u8]>> = vec![None; columns.len()];
        R::from_values(&nulls).unwrap_err();
        for (column, (name, types)) in columns.iter().zip(R::COLUMNS) {
            assert_eq!(column.name, *name, "{}", table.name);
            assert!(types.contains(&column.type_oid), "{}.{name}", table.name);
        }
    }

    #[test]
    fn structs_have_the_tables_columns() {
        fits_table::<PgClassRow>();
        fits_table::<PgAttributeRow>();
        fits_table::<PgTypeRow>();
        fits_table::<PgNamespaceRow>();
        fits_table::<PgAttrdefRow>();
        fits_table::<PgConstraintRow>();
        fits_table::<PgDependRow>();
        fits_table::<PgDatabaseRow>();
    }

    /// Every bootstrap row survives the way through its struct.
    fn rows_round_trip<R: CatalogRow>() -> usize {
        let rows = rows_of(R::TABLE);
        for values in &rows {
            let borrowed: Vec<Option<&[u8]>> = values.iter().map(Option::as_deref).collect();
            let row = R::from_values(&borrowed).unwrap();
            assert_eq!(&row.to_values(), values);
        }
        rows.len()
    }

    fn rows_of(oid: Oid) -> Vec<RowValues> {
        bootstrap_rows(system_table(oid).unwrap()).unwrap()
    }

    #[test]
    fn bootstrap_rows_fit_the_structs() {
        assert!(rows_round_trip::<PgClassRow>() > 40);
        assert!(rows_round_trip::<PgAttributeRow>() > 400);
        assert!(rows_round_trip::<PgTypeRow>() > 150);
        assert_eq!(rows_round_trip::<PgNamespaceRow>(), 3);
        assert_eq!(rows_round_trip::<PgDatabaseRow>(), 1);
    }

    #[test]
    fn a_misfit_names_its_column() {
        let namespace = rows_of(PgNamespaceRow::TABLE).remove(0);
        let mut values: Vec<Option<&[u8]>> = namespace.iter().map(Option::as_deref).collect();
        values[1] = Some(b"short");
        let error = PgNamespaceRow::from_values(&values).unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid row in catalog \"pg_namespace\": column \"nspname\" has the wrong length"
        );
        assert!(PgNamespaceRow::from_values(&values[..1]).is_err());
    }
}
