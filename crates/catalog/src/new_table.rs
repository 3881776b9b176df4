//! What CREATE TABLE writes to the system tables (`heap_create_with_catalog`, `catalog/heap.c`).

use std::collections::HashSet;

use trunkline_pgformat::{Oid, Xid};
use trunkline_types::{Align, Attribute, TupleDesc, oids as types, type_info};

use crate::definition::TableDefinition;
use crate::error::CatalogError;
use crate::field::{Char, Int2Array, Name, RowValues, Text};
use crate::name::{array_type_name, constraint_name};
use crate::oids;
use crate::rows::{
    CatalogRow, PgAttrdefRow, PgAttributeRow, PgClassRow, PgConstraintRow, PgDependRow, PgTypeRow,
};
use crate::type_facts::type_facts;

/// What building a table's rows asks of the catalogs as they are.
pub trait CreateContext {
    /// An OID that no object of the database has.
    ///
    /// # Errors
    /// The storage's.
    fn new_oid(&mut self) -> Result<Oid, CatalogError>;

    /// Whether `pg_type` has a type of this name in this namespace.
    ///
    /// # Errors
    /// The storage's.
    fn type_exists(&mut self, namespace: Oid, name: &str) -> Result<bool, CatalogError>;

    /// Whether `pg_constraint` has a constraint of this name in this namespace.
    ///
    /// # Errors
    /// The storage's.
    fn constraint_exists(&mut self, namespace: Oid, name: &str) -> Result<bool, CatalogError>;
}

/// What no tuple of a new table can be older than.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrozenHorizon {
    /// `relfrozenxid`
    pub xid: Xid,
    /// `relminmxid`
    pub multixact: Xid,
}

/// The rows that describe a new table.
#[derive(Clone, Debug, PartialEq)]
pub struct NewTable {
    /// Its `pg_class` row; the file number is the table's OID.
    pub class: PgClassRow,
    /// Its columns, then the six system columns.
    pub attributes: Vec<PgAttributeRow>,
    /// Its row type and the array type over it.
    pub types: [PgTypeRow; 2],
    /// The defaults of its columns.
    pub defaults: Vec<PgAttrdefRow>,
    /// The NOT NULL constraints of its columns.
    pub constraints: Vec<PgConstraintRow>,
    /// What depends on what.
    pub depends: Vec<PgDependRow>,
}

impl NewTable {
    /// The rows of the table that `definition` describes. OIDs are taken in PostgreSQL's order:
    /// table, array type, row type, defaults, constraints.
    ///
    /// Whether the table's name is still free is for the caller to see first.
    ///
    /// # Errors
    /// What [`TableDefinition::validate`] finds, [`CatalogError::TypeExists`], and those of
    /// `context`.
    pub fn build(
        definition: &TableDefinition,
        horizon: FrozenHorizon,
        context: &mut impl CreateContext,
    ) -> Result<NewTable, CatalogError> {
        let desc = definition.tuple_desc()?;
        let TableDefinition {
            name,
            namespace,
            owner,
            ..
        } = definition;
        let (namespace, owner) = (*namespace, *owner);
        if context.type_exists(namespace, name)? {
            return Err(CatalogError::TypeExists(name.clone()));
        }
        let relation = context.new_oid()?;
        let array_oid = context.new_oid()?;
        let row_oid = context.new_oid()?;
        let array_name = first_free(
            |pass| array_type_name(name, pass),
            |candidate| Ok(candidate == name || context.type_exists(namespace, candidate)?),
        )?;

        let mut class = heap_class_row(
            relation,
            name,
            namespace,
            owner,
            row_oid,
            desc.len() as i16,
            horizon,
        );
        class.relpersistence = Char(definition.persistence.code());
        let attributes = desc
            .attrs()
            .iter()
            .map(|attribute| column_row(relation, attribute))
            .chain(system_column_rows(relation))
            .collect();
        let row_type = row_type_row(row_oid, name, namespace, owner, relation, array_oid);
        let array_type = array_type_row(array_oid, &array_name, namespace, owner, row_oid);

        let mut defaults = Vec::new();
        for (column, attribute) in definition.columns.iter().zip(desc.attrs()) {
            if let Some(sql) = &column.default {
                defaults.push(PgAttrdefRow {
                    oid: context.new_oid()?,
                    adrelid: relation,
                    adnum: attribute.num,
                    adbin: Text(sql.clone()),
                });
            }
        }
        let constraints = not_null_constraints(definition, &desc, relation, context)?;
        let depends = dependencies(&class, &row_type, &array_type, &defaults, &constraints);
        Ok(NewTable {
            class,
            attributes,
            types: [row_type, array_type],
            defaults,
            constraints,
            depends,
        })
    }

    /// All rows, each with the OID of the system table it belongs to.
    pub fn rows(&self) -> impl Iterator<Item = (Oid, RowValues)> {
        fn of<R: CatalogRow>(rows: &[R]) -> impl Iterator<Item = (Oid, RowValues)> {
            rows.iter().map(|row| (R::TABLE, row.to_values()))
        }
        of(std::slice::from_ref(&self.class))
            .chain(of(&self.types))
            .chain(of(&self.attributes))
            .chain(of(&self.defaults))
            .chain(of(&self.constraints))
            .chain(of(&self.depends))
    }
}

/// The first of the names made up for pass 0, 1, ... that is not taken.
fn first_free(
    name: impl Fn(u64) -> String,
    mut taken: impl FnMut(&str) -> Result<bool, CatalogError>,
) -> Result<String, CatalogError> {
    let mut pass = 0;
    loop {
        let candidate = name(pass);
        if !taken(&candidate)? {
            return Ok(candidate);
        }
        pass += 1;
    }
}

/// A column that every heap table has without declaring it.
pub(crate) struct SystemColumn {
    pub name: &'static str,
    num: i16,
    type_oid: Oid,
    len: i16,
    align: Align,
    by_val: bool,
}

impl SystemColumn {
    const fn word(name: &'static str, num: i16, type_oid: Oid) -> SystemColumn {
        SystemColumn {
            name,
            num,
            type_oid,
            len: 4,
            align: Align::Int,
            by_val: true,
        }
    }
}

/// The system columns (`SysAtt`, `catalog/heap.c`).
pub(crate) const SYSTEM_COLUMNS: [SystemColumn; 6] = [
    SystemColumn {
        name: "ctid",
        num: -1,
        type_oid: types::TID,
        len: 6,
        align: Align::Short,
        by_val: false,
    },
    SystemColumn::word("xmin", -2, types::XID),
    SystemColumn::word("cmin", -3, types::CID),
    SystemColumn::word("xmax", -4, types::XID),
    SystemColumn::word("cmax", -5, types::CID),
    SystemColumn::word("tableoid", -6, types::OID),
];

/// The `pg_attribute` row of a column.
pub(crate) fn column_row(relation: Oid, attribute: &Attribute) -> PgAttributeRow {
    let facts = type_facts(attribute.type_oid);
    PgAttributeRow {
        attrelid: relation,
        attname: attribute.name.as_str().into(),
        atttypid: attribute.type_oid,
        attlen: attribute.len,
        attnum: attribute.num,
        atttypmod: attribute.typmod,
        // As for `integer[]`; PostgreSQL keeps 0 for a column declared as `_int4`.
        attndims: type_info(attribute.type_oid).map_or(0, |info| info.is_array().into()),
        attbyval: attribute.by_val,
        attalign: Char(attribute.align.code() as u8),
        attstorage: Char(attribute.storage as u8),
        attcompression: Char(0),
        attnotnull: attribute.not_null,
        atthasdef: attribute.has_default,
        atthasmissing: false,
        attidentity: Char(0),
        attgenerated: Char(0),
        attisdropped: false,
        attislocal: true,
        attinhcount: 0,
        attcollation: facts.map_or(Oid::INVALID, |facts| facts.collation),
        attstattarget: None,
        attacl: None,
        attoptions: None,
        attfdwoptions: None,
        attmissingval: None,
    }
}

/// The `pg_attribute` rows of the system columns.
pub(crate) fn system_column_rows(relation: Oid) -> impl Iterator<Item = PgAttributeRow> {
    SYSTEM_COLUMNS.iter().map(move |column| {
        let attribute = Attribute {
            name: column.name.to_owned(),
            type_oid: column.type_oid,
            typmod: -1,
            len: column.len,
            align: column.align,
            by_val: column.by_val,
            storage: 'p',
            not_null: true,
            num: column.num,
            has_default: false,
        };
        column_row(relation, &attribute)
    })
}

/// The `pg_class` row of a permanent heap table without rows.
pub(crate) fn heap_class_row(
    oid: Oid,
    name: &str,
    namespace: Oid,
    owner: Oid,
    row_type: Oid,
    column_count: i16,
    horizon: FrozenHorizon,
) -> PgClassRow {
    PgClassRow {
        oid,
        relname: name.into(),
        relnamespace: namespace,
        reltype: row_type,
        reloftype: Oid::INVALID,
        relowner: owner,
        relam: oids::HEAP_TABLE_AM,
        relfilenode: oid,
        reltablespace: Oid::INVALID,
        relpages: 0,
        // Never vacuumed or analyzed: the number of rows is unknown.
        reltuples: -1.0,
        relallvisible: 0,
        relallfrozen: 0,
        reltoastrelid: Oid::INVALID,
        relhasindex: false,
        relisshared: false,
        relpersistence: Char(b'p'),
        relkind: Char(b'r'),
        relnatts: column_count,
        relchecks: 0,
        relhasrules: false,
        relhastriggers: false,
        relhassubclass: false,
        relrowsecurity: false,
        relforcerowsecurity: false,
        relispopulated: true,
        relreplident: Char(b'd'),
        relispartition: false,
        relrewrite: Oid::INVALID,
        relfrozenxid: horizon.xid,
        relminmxid: horizon.multixact,
        relacl: None,
        reloptions: None,
        relpartbound: None,
    }
}

/// The `pg_type` row of a relation's row type.
pub(crate) fn row_type_row(
    oid: Oid,
    name: &str,
    namespace: Oid,
    owner: Oid,
    relation: Oid,
    array_type: Oid,
) -> PgTypeRow {
    PgTypeRow {
        oid,
        typname: Name(name.to_owned()),
        typnamespace: namespace,
        typowner: owner,
        typlen: -1,
        typbyval: false,
        typtype: Char(b'c'),
        typcategory: Char(b'C'),
        typispreferred: false,
        typisdefined: true,
        typdelim: Char(b','),
        typrelid: relation,
        typsubscript: Oid::INVALID,
        typelem: Oid::INVALID,
        typarray: array_type,
        typinput: oids::RECORD_IN,
        typoutput: oids::RECORD_OUT,
        typreceive: oids::RECORD_RECV,
        typsend: oids::RECORD_SEND,
        typmodin: Oid::INVALID,
        typmodout: Oid::INVALID,
        typanalyze: Oid::INVALID,
        typalign: Char(b'd'),
        typstorage: Char(b'x'),
        typnotnull: false,
        typbasetype: Oid::INVALID,
        typtypmod: -1,
        typndims: 0,
        typcollation: Oid::INVALID,
        typdefaultbin: None,
        typdefault: None,
        typacl: None,
    }
}

/// The `pg_type` row of the array type over a row type.
pub(crate) fn array_type_row(
    oid: Oid,
    name: &str,
    namespace: Oid,
    owner: Oid,
    element: Oid,
) -> PgTypeRow {
    PgTypeRow {
        typtype: Char(b'b'),
        typcategory: Char(b'A'),
        typsubscript: oids::ARRAY_SUBSCRIPT_HANDLER,
        typelem: element,
        typinput: oids::ARRAY_IN,
        typoutput: oids::ARRAY_OUT,
        typreceive: oids::ARRAY_RECV,
        typsend: oids::ARRAY_SEND,
        typanalyze: oids::ARRAY_TYPANALYZE,
        ..row_type_row(oid, name, namespace, owner, Oid::INVALID, Oid::INVALID)
    }
}

/// The NOT NULL constraints, in column order. Names given by the definition are taken first, so
/// that a made-up name avoids all of them (`AddRelationNotNullConstraints`, `catalog/heap.c`).
fn not_null_constraints(
    definition: &TableDefinition,
    desc: &TupleDesc,
    relation: Oid,
    context: &mut impl CreateContext,
) -> Result<Vec<PgConstraintRow>, CatalogError> {
    let mut names: HashSet<String> = definition
        .columns
        .iter()
        .filter_map(|column| column.not_null.as_ref()?.constraint_name.clone())
        .collect();
    let mut constraints = Vec::new();
    for (column, attribute) in definition.columns.iter().zip(desc.attrs()) {
        let Some(not_null) = &column.not_null else {
            continue;
        };
        let name = match &not_null.constraint_name {
            Some(name) => name.clone(),
            None => first_free(
                |pass| constraint_name(&definition.name, &column.name, "not_null", pass),
                |candidate| {
                    Ok(names.contains(candidate)
                        || context.constraint_exists(definition.namespace, candidate)?)
                },
            )?,
        };
        names.insert(name.clone());
        constraints.push(PgConstraintRow {
            oid: context.new_oid()?,
            conname: Name(name),
            connamespace: definition.namespace,
            contype: Char(b'n'),
            condeferrable: false,
            condeferred: false,
            conenforced: true,
            convalidated: true,
            conrelid: relation,
            contypid: Oid::INVALID,
            conindid: Oid::INVALID,
            conparentid: Oid::INVALID,
            confrelid: Oid::INVALID,
            confupdtype: Char(b' '),
            confdeltype: Char(b' '),
            confmatchtype: Char(b' '),
            conislocal: true,
            coninhcount: 0,
            connoinherit: false,
            conperiod: false,
            conkey: Some(Int2Array(vec![attribute.num])),
            confkey: None,
            conpfeqop: None,
            conppeqop: None,
            conffeqop: None,
            confdelsetcols: None,
            conexclop: None,
            conbin: None,
        });
    }
    Ok(constraints)
}

/// One object as `pg_depend` names it: its catalog, its OID, its column or 0.
type ObjectAddress = (Oid, Oid, i32);

fn depend(dependent: ObjectAddress, referenced: ObjectAddress, kind: u8) -> PgDependRow {
    PgDependRow {
        classid: dependent.0,
        objid: dependent.1,
        objsubid: dependent.2,
        refclassid: referenced.0,
        refobjid: referenced.1,
        refobjsubid: referenced.2,
        deptype: Char(kind),
    }
}

/// What the new rows depend on. Objects that every cluster has (built-in types, roles, `heap`) are
/// pinned and get no row; `public` is the exception (`IsPinnedObject`, `catalog/catalog.c`).
fn dependencies(
    class: &PgClassRow,
    row_type: &PgTypeRow,
    array_type: &PgTypeRow,
    defaults: &[PgAttrdefRow],
    constraints: &[PgConstraintRow],
) -> Vec<PgDependRow> {
    let relation = (oids::PG_CLASS, class.oid, 0);
    let row = (oids::PG_TYPE, row_type.oid, 0);
    let mut rows = vec![
        depend(row, relation, b'i'),
        depend((oids::PG_TYPE, array_type.oid, 0), row, b'i'),
    ];
    let namespace = class.relnamespace;
    if namespace == oids::PG_PUBLIC_NAMESPACE || namespace >= oids::FIRST_UNPINNED_OBJECT {
        rows.push(depend(relation, (oids::PG_NAMESPACE, namespace, 0), b'n'));
    }
    for default in defaults {
        let column = (oids::PG_CLASS, class.oid, default.adnum.into());
        rows.push(depend((oids::PG_ATTRDEF, default.oid, 0), column, b'a'));
    }
    for constraint in constraints {
        for num in constraint.conkey.iter().flat_map(|key| &key.0) {
            let column = (oids::PG_CLASS, class.oid, i32::from(*num));
            rows.push(depend(
                (oids::PG_CONSTRAINT, constraint.oid, 0),
                column,
                b'a',
            ));
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::parse_row;
    use crate::copy_text::unescape;
    use crate::definition::{ColumnDefinition, NotNull};
    use crate::relation::RelationDesc;
    use crate::relation::RelationPersistence;
    use crate::system_table::{system_table, system_table_by_name};

    /// What PostgreSQL 18 wrote: the new table's name, the system table, its row.
    const FIXTURE: &str = include_str!("../tests/fixtures/create_table.tsv");

    struct Catalogs {
        next_oid: u32,
        types: Vec<&'static str>,
        constraints: Vec<&'static str>,
    }

    impl CreateContext for Catalogs {
        fn new_oid(&mut self) -> Result<Oid, CatalogError> {
            self.next_oid += 1;
            Ok(Oid(self.next_oid - 1))
        }

        fn type_exists(&mut self, _: Oid, name: &str) -> Result<bool, CatalogError> {
            Ok(self.types.contains(&name))
        }

        fn constraint_exists(&mut self, _: Oid, name: &str) -> Result<bool, CatalogError> {
            Ok(self.constraints.contains(&name))
        }
    }

    fn empty_catalogs() -> Catalogs {
        Catalogs {
            next_oid: 20000,
            types: Vec::new(),
            constraints: Vec::new(),
        }
    }

    const HORIZON: FrozenHorizon = FrozenHorizon {
        xid: Xid(3),
        multixact: Xid(1),
    };

    fn column(name: &str, type_name: &str, typmod: i32) -> ColumnDefinition {
        let oid = trunkline_types::type_by_name(type_name).unwrap().oid;
        ColumnDefinition::new(name, oid, typmod)
    }

    fn not_null(mut column: ColumnDefinition, name: Option<&str>) -> ColumnDefinition {
        column.not_null = Some(NotNull {
            constraint_name: name.map(str::to_owned),
        });
        column
    }

    fn default(mut column: ColumnDefinition, sql: &str) -> ColumnDefinition {
        column.default = Some(sql.to_owned());
        column
    }

    fn table(name: &str, columns: Vec<ColumnDefinition>) -> TableDefinition {
        TableDefinition {
            persistence: RelationPersistence::Permanent,
            name: name.to_owned(),
            namespace: oids::PG_PUBLIC_NAMESPACE,
            owner: oids::BOOTSTRAP_SUPERUSER,
            columns,
        }
    }

    /// The rows built for `definition` are those that PostgreSQL wrote, OIDs included.
    fn check_against_postgres(definition: &TableDefinition) {
        let mut expected = Vec::new();
        for line in FIXTURE.lines() {
            let mut fields = line.split('\t');
            if fields.next() != Some(&definition.name) {
                continue;
            }
            let catalog = system_table_by_name(fields.next().unwrap()).unwrap();
            let fields: Vec<_> = fields.map(unescape).collect();
            expected.push((catalog.oid, parse_row(catalog, &fields).unwrap()));
        }
        let first = expected
            .iter()
            .find(|(catalog, _)| *catalog == oids::PG_CLASS)
            .unwrap();
        let oid = u32::from_le_bytes(first.1[0].as_deref().unwrap().try_into().unwrap());
        let mut context = Catalogs {
            next_oid: oid,
            ..empty_catalogs()
        };

        let built = NewTable::build(definition, HORIZON, &mut context).unwrap();
        let mut rows: Vec<_> = built.rows().collect();
        rows.sort();
        expected.sort();
        for (row, expected) in rows.iter().zip(&expected) {
            assert_eq!(
                row,
                expected,
                "a row of {}",
                system_table(expected.0).unwrap().name
            );
        }
        assert_eq!(rows.len(), expected.len());

        let relation = RelationDesc::of_new_table(&built, Oid(5)).unwrap();
        assert_eq!(relation.desc, definition.tuple_desc().unwrap());
        let defaults: Vec<_> = definition
            .columns
            .iter()
            .map(|c| c.default.clone())
            .collect();
        assert_eq!(relation.defaults, defaults);
    }

    #[test]
    fn rows_are_those_of_postgres() {
        check_against_postgres(&table("no_columns", Vec::new()));
        check_against_postgres(&table(
            "every_type",
            vec![
                column("c_bool", "bool", -1),
                column("c_int2", "int2", -1),
                column("c_int4", "int4", -1),
                column("c_int8", "int8", -1),
                column("c_float4", "float4", -1),
                column("c_float8", "float8", -1),
                column("c_numeric", "numeric", -1),
                column("c_numeric_ps", "numeric", (15 << 16 | 2) + 4),
                column("c_text", "text", -1),
                column("c_varchar", "varchar", -1),
                column("c_varchar_n", "varchar", 10 + 4),
                column("c_bpchar", "bpchar", -1),
                column("c_char_n", "bpchar", 3 + 4),
                column("c_bytea", "bytea", -1),
                column("c_date", "date", -1),
                column("c_timestamp", "timestamp", -1),
                column("c_timestamptz", "timestamptz", -1),
                column("c_timestamptz_p", "timestamptz", 3),
                column("c_uuid", "uuid", -1),
                column("c_name", "name", -1),
                column("c_char", "char", -1),
                column("c_oid", "oid", -1),
                column("c_xid", "xid", -1),
                column("c_tid", "tid", -1),
            ],
        ));
        check_against_postgres(&table(
            "with_defaults",
            vec![
                default(not_null(column("a", "int4", -1), None), "42"),
                default(column("b", "text", -1), "'x'::text"),
                default(not_null(column("c", "timestamptz", -1), None), "now()"),
                column("d", "int4", -1),
                not_null(column("e", "varchar", 5 + 4), Some("e_is_there")),
                not_null(column("a_not", "int4", -1), None),
            ],
        ));
        let long = "another_name_that_is_as_long_as_a_name_can_possibly_get_here_1";
        check_against_postgres(&table(
            "a_table_with_a_name_that_is_as_long_as_a_name_can_possibly_get1",
            vec![
                not_null(column(&format!("{long}2"), "int4", -1), None),
                not_null(column(&format!("{long}3"), "int4", -1), None),
                column("short", "int4", -1),
            ],
        ));
    }

    #[test]
    fn taken_names_are_avoided() {
        let mut context = Catalogs {
            types: vec!["_uu", "_uu_1"],
            constraints: vec!["uu_b_not_null"],
            ..empty_catalogs()
        };
        let definition = table(
            "uu",
            vec![
                not_null(column("a", "int4", -1), Some("uu_b_not_null1")),
                not_null(column("b", "int4", -1), None),
            ],
        );
        let built = NewTable::build(&definition, HORIZON, &mut context).unwrap();
        assert_eq!(&*built.types[1].typname, "_uu_2");
        assert_eq!(&*built.constraints[1].conname, "uu_b_not_null2");
    }

    #[test]
    fn a_type_of_the_tables_name_is_in_the_way() {
        let mut context = Catalogs {
            types: vec!["zt"],
            ..empty_catalogs()
        };
        let error = NewTable::build(&table("zt", Vec::new()), HORIZON, &mut context).unwrap_err();
        assert_eq!(
            (error.sqlstate(), error.to_string().as_str()),
            ("42710", "type \"zt\" already exists")
        );
        assert!(
            error
                .hint()
                .unwrap()
                .starts_with("A relation has an associated type")
        );
        assert_eq!(context.next_oid, 20000, "no OID was taken");
    }
}
