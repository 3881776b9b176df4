//! What I/O was done, and what for: `pg_stat_io`.
//!
//! There are rows for what there is: sessions, with the context `init` aside (nothing initialises
//! here), the background writer, and the checkpointer, whose steps count as its own whoever takes
//! them. Everything is on relations: what goes past the buffer pool is not in this view, as in
//! PostgreSQL.

use trunkline_buffer::{IoAccount, PoolStats};
use trunkline_engine::EngineError;
use trunkline_pgformat::BLCKSZ;
use trunkline_types::oids;

use super::writers::stats_reset;
use super::{Sources, View};
use crate::relations::RowsBuilder;

pub(super) const PG_STAT_IO: View = View {
    name: "pg_stat_io",
    columns: &[
        ("backend_type", oids::TEXT),
        ("object", oids::TEXT),
        ("context", oids::TEXT),
        ("reads", oids::INT8),
        ("read_bytes", oids::NUMERIC),
        ("read_time", oids::FLOAT8),
        ("writes", oids::INT8),
        ("write_bytes", oids::NUMERIC),
        ("write_time", oids::FLOAT8),
        ("writebacks", oids::INT8),
        ("writeback_time", oids::FLOAT8),
        ("extends", oids::INT8),
        ("extend_bytes", oids::NUMERIC),
        ("extend_time", oids::FLOAT8),
        ("hits", oids::INT8),
        ("evictions", oids::INT8),
        ("reuses", oids::INT8),
        ("fsyncs", oids::INT8),
        ("fsync_time", oids::FLOAT8),
        ("stats_reset", oids::TIMESTAMPTZ),
    ],
    rows: stat_io,
};

/// A row, and which of its columns mean something (PostgreSQL's `pgstat_tracks_io_op`).
struct Shape {
    account: IoAccount,
    backend_type: &'static str,
    context: &'static str,
    /// Finds blocks in the pool, reads them, and takes buffers from others.
    uses_pool: bool,
    extends: bool,
    reuses: bool,
    fsyncs: bool,
}

const SHAPES: &[Shape] = &[
    Shape {
        account: IoAccount::BulkRead,
        backend_type: "client backend",
        context: "bulkread",
        uses_pool: true,
        extends: false,
        reuses: true,
        fsyncs: false,
    },
    Shape {
        account: IoAccount::BulkWrite,
        backend_type: "client backend",
        context: "bulkwrite",
        uses_pool: true,
        extends: true,
        reuses: true,
        fsyncs: false,
    },
    Shape {
        account: IoAccount::Normal,
        backend_type: "client backend",
        context: "normal",
        uses_pool: true,
        extends: true,
        reuses: false,
        fsyncs: true,
    },
    Shape {
        account: IoAccount::Vacuum,
        backend_type: "client backend",
        context: "vacuum",
        uses_pool: true,
        extends: true,
        reuses: true,
        fsyncs: false,
    },
    Shape {
        account: IoAccount::BackgroundWriter,
        backend_type: "background writer",
        context: "normal",
        uses_pool: false,
        extends: false,
        reuses: false,
        fsyncs: true,
    },
    Shape {
        account: IoAccount::Checkpointer,
        backend_type: "checkpointer",
        context: "normal",
        uses_pool: false,
        extends: false,
        reuses: false,
        fsyncs: true,
    },
];

/// Times are measured with `track_io_timing`, which can only be off.
const NO_TIME: f64 = 0.0;

fn count(rows: &mut RowsBuilder, tracked: bool, value: u64) {
    if tracked {
        rows.count(value);
    } else {
        rows.null();
    }
}

/// Operations, their bytes and their time.
fn operations(rows: &mut RowsBuilder, tracked: bool, operations: u64, blocks: u64) {
    if tracked {
        rows.count(operations)
            .numeric(blocks * BLCKSZ as u64)
            .float8(NO_TIME);
    } else {
        rows.null().null().null();
    }
}

fn stat_io(sources: &mut Sources<'_>, rows: &mut RowsBuilder) -> Result<(), EngineError> {
    let database = sources.shared.database();
    let started_us = stats_reset(database);
    for shape in SHAPES {
        let stats: PoolStats = database.pool().stats_of(shape.account);
        // Segments are synced by checkpoints, and by nobody else.
        let fsyncs = match shape.account {
            IoAccount::Checkpointer => database.smgr().syncs(),
            _ => 0,
        };
        rows.text(shape.backend_type)
            .text("relation")
            .text(shape.context);
        operations(rows, shape.uses_pool, stats.reads, stats.read_blocks);
        operations(rows, true, stats.writes, stats.written_blocks);
        // In blocks, as in PostgreSQL. What is written directly needs none.
        rows.count(stats.writeback_blocks).float8(NO_TIME);
        operations(rows, shape.extends, stats.extends, stats.extended_blocks);
        // As in PostgreSQL, a block that somebody else is reading already is a hit.
        count(rows, shape.uses_pool, stats.hits + stats.joined);
        count(rows, shape.uses_pool, stats.evictions);
        count(rows, shape.reuses, stats.reuses);
        count(rows, shape.fsyncs, fsyncs);
        if shape.fsyncs {
            rows.float8(NO_TIME);
        } else {
            rows.null();
        }
        rows.timestamptz(Some(started_us)).end_row();
    }
    Ok(())
}
