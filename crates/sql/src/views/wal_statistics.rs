//! What the write-ahead log did: `pg_stat_wal`. PostgreSQL 18's columns, then how the log got to disk,
//! under the names of the design of 2021 where it had one.

use trunkline_engine::EngineError;
use trunkline_types::oids;

use super::writers::stats_reset;
use super::{Sources, View};
use crate::relations::RowsBuilder;

pub(super) const PG_STAT_WAL: View = View {
    name: "pg_stat_wal",
    columns: &[
        ("wal_records", oids::INT8),
        ("wal_fpi", oids::INT8),
        ("wal_bytes", oids::NUMERIC),
        ("wal_buffers_full", oids::INT8),
        ("stats_reset", oids::TIMESTAMPTZ),
        ("wal_write", oids::INT8),
        ("wal_sync", oids::INT8),
        ("wal_flush", oids::INT8),
        ("wal_flush_already_done", oids::INT8),
        ("wal_flush_wait", oids::INT8),
        ("wal_partial_wait", oids::INT8),
        ("wal_partial_pad", oids::INT8),
        ("wal_partial_pad_bytes", oids::INT8),
    ],
    rows: stat_wal,
};

fn stat_wal(sources: &mut Sources<'_>, rows: &mut RowsBuilder) -> Result<(), EngineError> {
    let database = sources.shared.database();
    let stats = database.wal().stats();
    rows.count(stats.records)
        .count(stats.full_page_images)
        .numeric(stats.bytes)
        .count(stats.buffers_full)
        .timestamptz(Some(stats_reset(database)))
        .count(stats.writes)
        .count(stats.syncs)
        .count(stats.flushes)
        .count(stats.flushes_found_durable)
        .count(stats.flush_waits)
        .count(stats.partial_block_waits)
        .count(stats.paddings)
        .count(stats.padding_bytes)
        .end_row();
    Ok(())
}
