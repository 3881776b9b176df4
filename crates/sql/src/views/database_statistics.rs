//! What was done in each database: `pg_stat_database`, with PostgreSQL 18's columns.
//!
//! There are data for the sessions, the pool's blocks and the checksums; everything else is counted by
//! nobody yet and 0 throughout. The blocks of shared tables are counted along with those of the one
//! database that can be connected to. Counts begin when the server starts.

use std::time::{SystemTime, UNIX_EPOCH};

use trunkline_engine::EngineError;
use trunkline_engine::data_directory::DATABASE_OID;
use trunkline_pgformat::Oid;
use trunkline_types::oids;

use super::{Sources, View};
use crate::backend::UNIX_TO_PG_US;
use crate::relations::RowsBuilder;

pub(super) const PG_STAT_DATABASE: View = View {
    name: "pg_stat_database",
    columns: &[
        ("datid", oids::OID),
        ("datname", oids::NAME),
        ("numbackends", oids::INT4),
        ("xact_commit", oids::INT8),
        ("xact_rollback", oids::INT8),
        ("blks_read", oids::INT8),
        ("blks_hit", oids::INT8),
        ("tup_returned", oids::INT8),
        ("tup_fetched", oids::INT8),
        ("tup_inserted", oids::INT8),
        ("tup_updated", oids::INT8),
        ("tup_deleted", oids::INT8),
        ("conflicts", oids::INT8),
        ("temp_files", oids::INT8),
        ("temp_bytes", oids::INT8),
        ("deadlocks", oids::INT8),
        ("checksum_failures", oids::INT8),
        ("checksum_last_failure", oids::TIMESTAMPTZ),
        ("blk_read_time", oids::FLOAT8),
        ("blk_write_time", oids::FLOAT8),
        ("session_time", oids::FLOAT8),
        ("active_time", oids::FLOAT8),
        ("idle_in_transaction_time", oids::FLOAT8),
        ("sessions", oids::INT8),
        ("sessions_abandoned", oids::INT8),
        ("sessions_fatal", oids::INT8),
        ("sessions_killed", oids::INT8),
        ("parallel_workers_to_launch", oids::INT8),
        ("parallel_workers_launched", oids::INT8),
        ("stats_reset", oids::TIMESTAMPTZ),
    ],
    rows: stat_database,
};

fn stat_database(sources: &mut Sources<'_>, rows: &mut RowsBuilder) -> Result<(), EngineError> {
    let snapshot = sources.session.snapshot()?;
    let database = sources.shared.database();
    let databases = database
        .catalog()
        .view(
            &snapshot,
            sources.session.has_own_catalog_changes(),
            sources.io,
        )
        .system_rows("pg_database", &["oid", "datname"])?;
    // What the databases share.
    one_database(sources, Oid::INVALID, None, rows);
    for row in databases {
        let [Some(oid), Some(name)] = row.as_slice() else {
            continue;
        };
        let Ok(oid) = <[u8; 4]>::try_from(oid.as_slice()) else {
            continue;
        };
        let end = name.iter().position(|byte| *byte == 0);
        let name = String::from_utf8_lossy(&name[..end.unwrap_or(name.len())]).into_owned();
        one_database(sources, Oid(u32::from_le_bytes(oid)), Some(&name), rows);
    }
    Ok(())
}

fn one_database(sources: &Sources<'_>, oid: Oid, name: Option<&str>, rows: &mut RowsBuilder) {
    let database = sources.shared.database();
    let pool = database.pool();
    let (mut sessions, mut blocks_read, mut blocks_hit) = (0, 0, 0);
    if oid == DATABASE_OID {
        sessions = database.sessions().list().len();
        let stats = pool.stats();
        blocks_read = stats.read_blocks;
        // As in PostgreSQL, a block that somebody else is reading already is a hit.
        blocks_hit = stats.hits + stats.joined;
    }
    rows.oid(oid).optional_text(name);
    rows.int4(i32::try_from(sessions).unwrap_or(i32::MAX));
    zeros(rows, 2);
    rows.count(blocks_read).count(blocks_hit);
    zeros(rows, 9);
    if pool.config().data_checksums {
        let failures = pool.checksum_failures(oid);
        rows.count(failures.count)
            .timestamptz(failures.last.map(pg_us));
    } else {
        rows.null().null();
    }
    for _ in 0..5 {
        rows.float8(0.0);
    }
    zeros(rows, 6);
    rows.null().end_row();
}

fn zeros(rows: &mut RowsBuilder, columns: usize) {
    for _ in 0..columns {
        rows.count(0);
    }
}

/// Microseconds since 2000-01-01 UTC.
fn pg_us(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX) - UNIX_TO_PG_US
}
