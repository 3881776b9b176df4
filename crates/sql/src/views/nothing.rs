//! Views of objects that cannot be made here: PostgreSQL 18's columns and no rows.

use trunkline_engine::EngineError;
use trunkline_types::oids;

use super::{Sources, View};
use crate::relations::RowsBuilder;

fn no_rows(_: &mut Sources<'_>, _: &mut RowsBuilder) -> Result<(), EngineError> {
    Ok(())
}

pub(super) const PG_INDEXES: View = View {
    name: "pg_indexes",
    columns: &[
        ("schemaname", oids::NAME),
        ("tablename", oids::NAME),
        ("indexname", oids::NAME),
        ("tablespace", oids::NAME),
        ("indexdef", oids::TEXT),
    ],
    rows: no_rows,
};

pub(super) const PG_VIEWS: View = View {
    name: "pg_views",
    columns: &[
        ("schemaname", oids::NAME),
        ("viewname", oids::NAME),
        ("viewowner", oids::NAME),
        ("definition", oids::TEXT),
    ],
    rows: no_rows,
};

pub(super) const PG_MATVIEWS: View = View {
    name: "pg_matviews",
    columns: &[
        ("schemaname", oids::NAME),
        ("matviewname", oids::NAME),
        ("matviewowner", oids::NAME),
        ("tablespace", oids::NAME),
        ("hasindexes", oids::BOOL),
        ("ispopulated", oids::BOOL),
        ("definition", oids::TEXT),
    ],
    rows: no_rows,
};

pub(super) const PG_SEQUENCES: View = View {
    name: "pg_sequences",
    columns: &[
        ("schemaname", oids::NAME),
        ("sequencename", oids::NAME),
        ("sequenceowner", oids::NAME),
        ("data_type", oids::REGTYPE),
        ("start_value", oids::INT8),
        ("min_value", oids::INT8),
        ("max_value", oids::INT8),
        ("increment_by", oids::INT8),
        ("cycle", oids::BOOL),
        ("cache_size", oids::INT8),
        ("last_value", oids::INT8),
    ],
    rows: no_rows,
};

pub(super) const PG_AVAILABLE_EXTENSIONS: View = View {
    name: "pg_available_extensions",
    columns: &[
        ("name", oids::NAME),
        ("default_version", oids::TEXT),
        ("installed_version", oids::TEXT),
        ("comment", oids::TEXT),
    ],
    rows: no_rows,
};
