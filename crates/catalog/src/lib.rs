//! System tables: what they are, what they hold, and what a table's definition writes to them.
//!
//! PostgreSQL's catalogs are kept as ordinary heap tables with PostgreSQL's columns and OIDs, the
//! subset that clients look at and that the engine needs. This crate knows
//!
//! - which system tables there are and how their rows look ([`SystemTable`]), from facts that
//!   `bootstrap/generate.py` took from a PostgreSQL 18;
//! - the rows that `init` writes into a new cluster ([`bootstrap_rows`]);
//! - the rows of the hot tables as structs ([`PgClassRow`] and its like, all [`CatalogRow`]s);
//! - what `CREATE TABLE` checks ([`TableDefinition::validate`]) and writes ([`NewTable`]);
//! - what the engine knows of an open relation ([`RelationDesc`]).
//!
//! ```text
//!  TableDefinition ──validate, build──▶ NewTable ──rows──▶ the heap (pg_class, pg_attribute, ...)
//!  the heap ──rows──▶ PgClassRow, PgAttributeRow, ... ──▶ RelationDesc ──▶ scans, loads, SQL
//! ```
//!
//! Rows travel as the payloads that `trunkline-types` defines: one `Option` of bytes a column.
//! Where a PostgreSQL catalog holds a `pg_node_tree`, ours holds SQL text. It knows no pages, no
//! transactions and no SQL grammar.

mod acl;
mod bootstrap;
mod copy_text;
mod definition;
mod error;
mod field;
mod name;
mod new_table;
pub mod oids;
mod relation;
mod rows;
mod system_table;
mod type_facts;

pub use bootstrap::{bootstrap_rows, bootstrap_rows_of, relation_map};
pub use definition::{
    ColumnDefinition, NotNull, TableDefinition, check_namespace, column_type_by_name,
};
pub use error::CatalogError;
pub use field::{CatalogField, Char, Int2Array, Name, Payload, RowValues, Text};
pub use name::{
    IdentifierTruncation, NAMEDATALEN, clip_identifier, make_object_name, truncate_identifier,
};
pub use new_table::{CreateContext, FrozenHorizon, NewTable};
pub use relation::{NotNullConstraint, RelationDesc, RelationKind, RelationPersistence};
pub use rows::{
    CatalogRow, PgAttrdefRow, PgAttributeRow, PgClassRow, PgConstraintRow, PgDatabaseRow,
    PgDependRow, PgNamespaceRow, PgTypeRow,
};
pub use system_table::{SystemTable, system_table, system_table_by_name, system_tables};
