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
//! - what the engine knows of an open relation ([`RelationDesc`]);
//! - how these rows lie in the heap: [`bootstrap`] writes a new cluster's, [`Catalog`] looks things
//!   up in them ([`CatalogView`]) with a cache that all sessions share, [`CatalogWriter`] changes
//!   them as part of a transaction.
//!
//! ```text
//!  TableDefinition ──validate, build──▶ NewTable ──CatalogWriter──▶ the heap (pg_class, ...)
//!  the heap ──CatalogView──▶ PgClassRow, PgAttributeRow, ... ──▶ RelationDesc ──▶ scans, loads, SQL
//!                                                                   │ ▲
//!                                                        shared cache, by OID and by name
//! ```
//!
//! Rows travel as the payloads that `trunkline-types` defines: one `Option` of bytes a column.
//! Where a PostgreSQL catalog holds a `pg_node_tree`, ours holds SQL text. It knows no pages, no
//! locks and no SQL grammar, and does not decide when a transaction ends.

mod acl;
mod bootstrap;
mod catalog;
mod catalog_rows;
mod copy_text;
mod create_context;
mod definition;
mod error;
mod field;
mod name;
mod new_cluster;
mod new_table;
pub mod oids;
mod relation;
mod relation_cache;
mod rows;
mod system_table;
mod type_facts;
mod view;
mod writer;

pub use bootstrap::{bootstrap_rows, bootstrap_rows_of, relation_map};
pub use catalog::Catalog;
pub use create_context::NewTableContext;
pub use definition::{
    ColumnDefinition, NotNull, TableDefinition, check_namespace, column_type_by_name,
};
pub use error::CatalogError;
pub use field::{CatalogField, Char, Int2Array, Name, Payload, RowValues, Text};
pub use name::{
    IdentifierTruncation, NAMEDATALEN, clip_identifier, make_object_name, truncate_identifier,
};
pub use new_cluster::bootstrap;
pub use new_table::{CreateContext, FrozenHorizon, NewTable};
pub use relation::{NotNullConstraint, RelationDesc, RelationKind, RelationPersistence};
pub use rows::{
    CatalogRow, PgAttrdefRow, PgAttributeRow, PgClassRow, PgConstraintRow, PgDatabaseRow,
    PgDependRow, PgNamespaceRow, PgTypeRow,
};
pub use system_table::{SystemTable, system_table, system_table_by_name, system_tables};
pub use view::CatalogView;
pub use writer::CatalogWriter;
