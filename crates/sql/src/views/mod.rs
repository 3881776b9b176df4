//! Views of `pg_catalog` whose rows are made up when they are asked for.
//!
//! - [`aio`]: I/O in flight, and who has how much of it
//! - [`io_statistics`]: what I/O was done, and what for
//! - [`writers`]: what the checkpointer and the background writer did
//! - [`wal_statistics`]: what the write-ahead log did
//! - [`database_statistics`]: what was done in each database
//! - [`activity`]: sessions and their COPYs
//! - [`system`]: settings, locks, tables
//! - [`roles`]: roles under their several names
//! - [`nothing`]: what there is nothing of

mod activity;
mod aio;
mod database_statistics;
mod io_statistics;
mod nothing;
mod roles;
mod system;
mod wal_statistics;
mod writers;

use std::sync::Arc;

use trunkline_aio::IoContext;
use trunkline_engine::{EngineError, Session};
use trunkline_pgformat::Oid;

use crate::database::SqlDatabase;
use crate::query::{PgType, Relation, RelationColumn};
use crate::relations::{MaterialisedRows, RowsBuilder};

pub(crate) use activity::{Activities, Activity, ActivityState, CopyProgress, CopyProgresses};

/// What a view's rows are made from.
struct Sources<'a> {
    session: &'a Session,
    shared: &'a SqlDatabase,
    io: &'a mut IoContext,
}

/// A view.
pub(crate) struct View {
    name: &'static str,
    columns: &'static [(&'static str, Oid)],
    rows: fn(&mut Sources<'_>, &mut RowsBuilder) -> Result<(), EngineError>,
}

const VIEWS: &[&View] = &[
    &aio::PG_STAT_AIOS,
    &aio::PG_STAT_AIO_BACKENDS,
    &aio::PG_AIOS,
    &io_statistics::PG_STAT_IO,
    &writers::PG_STAT_CHECKPOINTER,
    &writers::PG_STAT_BGWRITER,
    &wal_statistics::PG_STAT_WAL,
    &database_statistics::PG_STAT_DATABASE,
    &activity::PG_STAT_ACTIVITY,
    &activity::PG_STAT_PROGRESS_COPY,
    &system::PG_SETTINGS,
    &system::PG_LOCKS,
    &system::PG_TABLES,
    &roles::PG_ROLES,
    &roles::PG_USER,
    &roles::PG_SHADOW,
    &nothing::PG_INDEXES,
    &nothing::PG_VIEWS,
    &nothing::PG_MATVIEWS,
    &nothing::PG_SEQUENCES,
    &nothing::PG_AVAILABLE_EXTENSIONS,
];

/// The view called `name`.
pub(crate) fn find(name: &str) -> Option<&'static View> {
    VIEWS.iter().copied().find(|view| view.name == name)
}

impl View {
    /// The view with its present rows.
    ///
    /// # Errors
    /// Those of reading the catalogs.
    pub(crate) fn relation(
        &self,
        session: &Session,
        shared: &SqlDatabase,
        io: &mut IoContext,
    ) -> Result<Relation, EngineError> {
        let mut rows = RowsBuilder::default();
        (self.rows)(
            &mut Sources {
                session,
                shared,
                io,
            },
            &mut rows,
        )?;
        let columns = (1..)
            .zip(self.columns)
            .map(|(number, (name, oid))| RelationColumn {
                name: (*name).to_owned(),
                ty: PgType::new(*oid),
                number,
            })
            .collect();
        Ok(Relation {
            oid: Oid::INVALID,
            name: self.name.to_owned(),
            columns,
            source: Arc::new(MaterialisedRows::new(self.name, rows)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_are_found_by_name() {
        assert_eq!(find("pg_locks").unwrap().columns[0].0, "locktype");
        assert!(find("pg_class").is_none());
    }
}
