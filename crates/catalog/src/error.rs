//! What can be wrong with a definition, with a stored row, or with the storage.

use trunkline_buffer::BufferError;
use trunkline_heap::HeapError;
use trunkline_types::TypeError;

/// An error of the catalog, in PostgreSQL's words where PostgreSQL has any.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// Two columns of one table have the same name.
    #[error("column \"{0}\" specified more than once")]
    DuplicateColumn(String),
    /// A column is named like a system column.
    #[error("column name \"{0}\" conflicts with a system column name")]
    SystemColumnName(String),
    /// More columns than a tuple header can count.
    #[error("tables can have at most {max} columns", max = trunkline_types::MAX_HEAP_ATTRIBUTE_NUMBER)]
    TooManyColumns,
    /// A column's type is one that no value is stored as.
    #[error("column \"{column}\" has pseudo-type {type_name}")]
    PseudoTypeColumn {
        /// The column.
        column: String,
        /// The type as `format_type` prints it.
        type_name: String,
    },
    /// No type has this name.
    #[error("type \"{0}\" does not exist")]
    TypeNotFound(String),
    /// Two constraints of one table were given the same name.
    #[error("constraint \"{constraint}\" for relation \"{relation}\" already exists")]
    DuplicateConstraint {
        /// The constraint.
        constraint: String,
        /// The table.
        relation: String,
    },
    /// A relation of that name is in the namespace.
    #[error("relation \"{0}\" already exists")]
    RelationExists(String),
    /// A type that is no relation's row type has the name of the new table.
    #[error("type \"{0}\" already exists")]
    TypeExists(String),
    /// No relation has this name.
    #[error("relation \"{0}\" does not exist")]
    RelationNotFound(String),
    /// `DROP TABLE` or `TRUNCATE` of a table that does not exist.
    #[error("table \"{0}\" does not exist")]
    TableNotFound(String),
    /// No namespace has this name.
    #[error("schema \"{0}\" does not exist")]
    SchemaNotFound(String),
    /// A definition in a namespace that belongs to the system.
    #[error("permission denied to create \"{schema}.{relation}\"")]
    SystemNamespace {
        /// The namespace.
        schema: String,
        /// The new relation.
        relation: String,
    },
    /// A stored row does not have the shape that its table prescribes.
    #[error("invalid row in catalog \"{table}\": column \"{column}\" {reason}")]
    InvalidRow {
        /// The system table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// What is wrong with its value.
        reason: &'static str,
    },
    /// Rows of different catalogs contradict each other.
    #[error("catalog rows of relation {relation} are inconsistent: {reason}")]
    Inconsistent {
        /// OID of the relation.
        relation: trunkline_pgformat::Oid,
        /// What does not fit.
        reason: String,
    },
    /// The facts compiled into the program do not fit together.
    #[error("built-in catalog data, {file} line {line}: {reason}")]
    BuiltInData {
        /// The file under `bootstrap/`.
        file: &'static str,
        /// Its line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// A relation that was just looked up has no row in `pg_class`.
    #[error("cache lookup failed for relation {0}")]
    NoSuchRelation(trunkline_pgformat::Oid),
    /// A type refused a value.
    #[error(transparent)]
    Type(#[from] TypeError),
    /// The system tables could not be read or written: I/O, corruption, space, a transaction's
    /// status.
    #[error(transparent)]
    Heap(#[from] HeapError),
}

impl From<BufferError> for CatalogError {
    fn from(error: BufferError) -> CatalogError {
        CatalogError::Heap(HeapError::Buffer(error))
    }
}

impl CatalogError {
    /// The SQLSTATE that PostgreSQL reports with this message.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            CatalogError::DuplicateColumn(_) | CatalogError::SystemColumnName(_) => "42701",
            CatalogError::TooManyColumns => "54011",
            CatalogError::PseudoTypeColumn { .. } => "42P16",
            CatalogError::TypeNotFound(_) => "42704",
            CatalogError::DuplicateConstraint { .. } | CatalogError::TypeExists(_) => "42710",
            CatalogError::RelationExists(_) => "42P07",
            CatalogError::RelationNotFound(_) | CatalogError::TableNotFound(_) => "42P01",
            CatalogError::SchemaNotFound(_) => "3F000",
            CatalogError::SystemNamespace { .. } => "42501",
            CatalogError::InvalidRow { .. } | CatalogError::Inconsistent { .. } => "XX001",
            CatalogError::BuiltInData { .. } | CatalogError::NoSuchRelation(_) => "XX000",
            CatalogError::Type(error) => error.sqlstate,
            CatalogError::Heap(error) => error.sqlstate(),
        }
    }

    /// PostgreSQL's DETAIL line, where it has one.
    pub fn detail(&self) -> Option<String> {
        match self {
            CatalogError::SystemNamespace { .. } => {
                Some("System catalog modifications are currently disallowed.".to_owned())
            }
            CatalogError::Type(error) => error.detail.clone(),
            CatalogError::Heap(error) => error.detail(),
            _ => None,
        }
    }

    /// PostgreSQL's HINT line, where it has one.
    pub fn hint(&self) -> Option<String> {
        match self {
            CatalogError::TypeExists(_) => Some(
                "A relation has an associated type of the same name, so you must use a name \
                 that doesn't conflict with any existing type."
                    .to_owned(),
            ),
            CatalogError::Type(error) => error.hint.clone(),
            CatalogError::Heap(error) => error.hint(),
            _ => None,
        }
    }
}
