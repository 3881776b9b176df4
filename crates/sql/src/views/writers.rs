//! What is written in the background: `pg_stat_checkpointer` and `pg_stat_bgwriter`, with PostgreSQL
//! 18's columns. There are no restartpoints, and nothing resets the counts.

use std::time::{Duration, UNIX_EPOCH};

use trunkline_engine::{Database, EngineError};
use trunkline_types::oids;

use super::{Sources, View};
use crate::backend::UNIX_TO_PG_US;
use crate::relations::RowsBuilder;

pub(super) const PG_STAT_CHECKPOINTER: View = View {
    name: "pg_stat_checkpointer",
    columns: &[
        ("num_timed", oids::INT8),
        ("num_requested", oids::INT8),
        ("num_done", oids::INT8),
        ("restartpoints_timed", oids::INT8),
        ("restartpoints_req", oids::INT8),
        ("restartpoints_done", oids::INT8),
        ("write_time", oids::FLOAT8),
        ("sync_time", oids::FLOAT8),
        ("buffers_written", oids::INT8),
        ("slru_written", oids::INT8),
        ("stats_reset", oids::TIMESTAMPTZ),
    ],
    rows: stat_checkpointer,
};

pub(super) const PG_STAT_BGWRITER: View = View {
    name: "pg_stat_bgwriter",
    columns: &[
        ("buffers_clean", oids::INT8),
        ("maxwritten_clean", oids::INT8),
        ("buffers_alloc", oids::INT8),
        ("stats_reset", oids::TIMESTAMPTZ),
    ],
    rows: stat_bgwriter,
};

/// Counted since the database was opened.
pub(super) fn stats_reset(database: &Database) -> i64 {
    let since_epoch = database
        .started()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX) - UNIX_TO_PG_US
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn stat_checkpointer(sources: &mut Sources<'_>, rows: &mut RowsBuilder) -> Result<(), EngineError> {
    let database = sources.shared.database();
    let stats = database.checkpointer_stats();
    rows.count(stats.num_timed)
        .count(stats.num_requested)
        .count(stats.num_done)
        .count(0)
        .count(0)
        .count(0)
        .float8(milliseconds(stats.write_time))
        .float8(milliseconds(stats.sync_time))
        .count(stats.buffers_written)
        .count(stats.slru_written)
        .timestamptz(Some(stats_reset(database)))
        .end_row();
    Ok(())
}

fn stat_bgwriter(sources: &mut Sources<'_>, rows: &mut RowsBuilder) -> Result<(), EngineError> {
    let database = sources.shared.database();
    let stats = database.background_writer_stats();
    rows.count(stats.buffers_clean)
        .count(stats.max_written_clean)
        .count(stats.buffers_alloc)
        .timestamptz(Some(stats_reset(database)))
        .end_row();
    Ok(())
}
