//! What CREATE TABLE says, and what is wrong with it.

use std::collections::HashSet;

use trunkline_pgformat::Oid;
use trunkline_types::{
    Attribute, MAX_HEAP_ATTRIBUTE_NUMBER, TupleDesc, TypeInfo, format_type, type_by_name,
};

use crate::error::CatalogError;
use crate::new_table::SYSTEM_COLUMNS;
use crate::oids;
use crate::relation::RelationPersistence;
use crate::type_facts::type_facts;

/// A column's NOT NULL constraint.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct NotNull {
    /// Its name if the definition gives one (`CONSTRAINT name NOT NULL`).
    pub constraint_name: Option<String>,
}

/// A column of a new table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnDefinition {
    /// Its name, already cut to 63 bytes.
    pub name: String,
    /// Its type.
    pub type_oid: Oid,
    /// Its type modifier, -1 for none.
    pub typmod: i32,
    /// Whether it refuses NULL.
    pub not_null: Option<NotNull>,
    /// The expression of its DEFAULT as SQL text.
    pub default: Option<String>,
}

impl ColumnDefinition {
    /// A nullable column without a default.
    pub fn new(name: impl Into<String>, type_oid: Oid, typmod: i32) -> ColumnDefinition {
        ColumnDefinition {
            name: name.into(),
            type_oid,
            typmod,
            not_null: None,
            default: None,
        }
    }
}

/// A table to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableDefinition {
    /// Its name, already cut to 63 bytes.
    pub name: String,
    /// The namespace it goes to.
    pub namespace: Oid,
    /// The role that owns it.
    pub owner: Oid,
    /// How long it lives: temporary ones are not made.
    pub persistence: RelationPersistence,
    /// Its columns in order.
    pub columns: Vec<ColumnDefinition>,
}

impl TableDefinition {
    /// Checks the columns in PostgreSQL's order (`MergeAttributes`, then
    /// `CheckAttributeNamesTypes`, then the constraints).
    ///
    /// # Errors
    /// 54011, 42701, 42704, 42P16 and 42710 in PostgreSQL's words.
    pub fn validate(&self) -> Result<(), CatalogError> {
        if self.columns.len() > MAX_HEAP_ATTRIBUTE_NUMBER {
            return Err(CatalogError::TooManyColumns);
        }
        let mut names = HashSet::new();
        for column in &self.columns {
            if !names.insert(column.name.as_str()) {
                return Err(CatalogError::DuplicateColumn(column.name.clone()));
            }
        }
        for column in &self.columns {
            if SYSTEM_COLUMNS
                .iter()
                .any(|system| system.name == column.name)
            {
                return Err(CatalogError::SystemColumnName(column.name.clone()));
            }
        }
        for column in &self.columns {
            let facts = type_facts(column.type_oid).ok_or_else(|| {
                CatalogError::TypeNotFound(format_type(column.type_oid, column.typmod))
            })?;
            if facts.kind == 'p' {
                return Err(CatalogError::PseudoTypeColumn {
                    column: column.name.clone(),
                    type_name: format_type(column.type_oid, -1),
                });
            }
        }
        let mut constraints = HashSet::new();
        let given = self
            .columns
            .iter()
            .filter_map(|column| column.not_null.as_ref());
        for name in given.filter_map(|not_null| not_null.constraint_name.as_deref()) {
            if !constraints.insert(name) {
                return Err(CatalogError::DuplicateConstraint {
                    constraint: name.to_owned(),
                    relation: self.name.clone(),
                });
            }
        }
        Ok(())
    }

    /// The descriptor of the table's rows.
    ///
    /// # Errors
    /// What [`TableDefinition::validate`] finds.
    pub fn tuple_desc(&self) -> Result<TupleDesc, CatalogError> {
        self.validate()?;
        let attributes = self.columns.iter().map(|column| {
            let mut attribute = Attribute::new(&column.name, column.type_oid, column.typmod)?;
            attribute.not_null = column.not_null.is_some();
            attribute.has_default = column.default.is_some();
            Ok(attribute)
        });
        Ok(TupleDesc::new(
            attributes.collect::<Result<_, CatalogError>>()?,
        ))
    }
}

/// The type that a column may be declared with, by `typname` in `pg_catalog`; `shown` is the name
/// as the statement wrote it.
///
/// # Errors
/// 42704 `type "x" does not exist`.
pub fn column_type_by_name(name: &str, shown: &str) -> Result<&'static TypeInfo, CatalogError> {
    type_by_name(name)
        .filter(|info| type_facts(info.oid).is_some())
        .ok_or_else(|| CatalogError::TypeNotFound(shown.to_owned()))
}

/// Refuses definitions in the system's own namespaces.
///
/// # Errors
/// 42501 for `pg_catalog` and `pg_toast`.
pub fn check_namespace(namespace: Oid, relation: &str) -> Result<(), CatalogError> {
    let schema = match namespace {
        oids::PG_CATALOG_NAMESPACE => "pg_catalog",
        oids::PG_TOAST_NAMESPACE => "pg_toast",
        _ => return Ok(()),
    };
    Err(CatalogError::SystemNamespace {
        schema: schema.to_owned(),
        relation: relation.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use trunkline_types::oids as types;

    fn table(columns: Vec<ColumnDefinition>) -> TableDefinition {
        TableDefinition {
            persistence: RelationPersistence::Permanent,
            name: "z".into(),
            namespace: oids::PG_PUBLIC_NAMESPACE,
            owner: oids::BOOTSTRAP_SUPERUSER,
            columns,
        }
    }

    fn int(name: &str) -> ColumnDefinition {
        ColumnDefinition::new(name, types::INT4, -1)
    }

    /// Messages and codes are PostgreSQL 18's for the same statements.
    fn refused(columns: Vec<ColumnDefinition>, sqlstate: &str, message: &str) {
        let error = table(columns).validate().unwrap_err();
        assert_eq!(
            (error.sqlstate(), error.to_string().as_str()),
            (sqlstate, message)
        );
    }

    #[test]
    fn bad_columns_are_refused_as_postgres_refuses_them() {
        refused(
            vec![int("ctid"), int("a"), int("a")],
            "42701",
            "column \"a\" specified more than once",
        );
        refused(
            vec![int("ctid"), ColumnDefinition::new("a", types::ANYARRAY, -1)],
            "42701",
            "column name \"ctid\" conflicts with a system column name",
        );
        refused(
            vec![ColumnDefinition::new("a", types::ANYARRAY, -1)],
            "42P16",
            "column \"a\" has pseudo-type anyarray",
        );
        refused(
            vec![ColumnDefinition::new("a", types::UNKNOWN, -1)],
            "42P16",
            "column \"a\" has pseudo-type unknown",
        );
        let many = (0..1601).map(|i| int(&format!("c{i}"))).collect();
        refused(many, "54011", "tables can have at most 1600 columns");
        let named = |name: &str| ColumnDefinition {
            not_null: Some(NotNull {
                constraint_name: Some("q".into()),
            }),
            ..int(name)
        };
        refused(
            vec![named("a"), named("b")],
            "42710",
            "constraint \"q\" for relation \"z\" already exists",
        );
    }

    #[test]
    fn good_columns_pass() {
        let most: Vec<_> = (0..1600).map(|i| int(&format!("c{i}"))).collect();
        assert_eq!(table(most).tuple_desc().unwrap().len(), 1600);
        assert!(table(Vec::new()).tuple_desc().unwrap().is_empty());
    }

    #[test]
    fn names_and_namespaces_are_checked() {
        assert_eq!(column_type_by_name("int4", "int").unwrap().oid, types::INT4);
        assert_eq!(
            column_type_by_name("json2", "json2")
                .unwrap_err()
                .to_string(),
            "type \"json2\" does not exist"
        );
        let error = check_namespace(oids::PG_CATALOG_NAMESPACE, "z").unwrap_err();
        assert_eq!(
            error.to_string(),
            "permission denied to create \"pg_catalog.z\""
        );
        assert!(error.detail().is_some());
        check_namespace(oids::PG_PUBLIC_NAMESPACE, "z").unwrap();
    }
}
