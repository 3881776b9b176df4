//! I/O as it happens: `pg_stat_aios` and `pg_stat_aio_backends`, with the columns of the 2021
//! design, and `pg_aios`, with PostgreSQL 18's.
//!
//! Nobody waits for anybody here: a row is what a handle was when it was looked at.

use trunkline_aio::{IoResult, IoSnapshot, MethodKind, Op, State, TargetId};
use trunkline_engine::EngineError;
use trunkline_types::oids;

use super::{Sources, View};
use crate::relations::RowsBuilder;

pub(super) const PG_STAT_AIOS: View = View {
    name: "pg_stat_aios",
    columns: &[
        ("id", oids::INT4),
        ("gen", oids::INT8),
        ("op", oids::TEXT),
        ("scb", oids::TEXT),
        ("flags", oids::TEXT),
        ("ring", oids::INT4),
        ("owner_pid", oids::INT4),
        ("merge_with", oids::INT4),
        ("result", oids::INT4),
        ("desc", oids::TEXT),
    ],
    rows: aios,
};

fn int4(rows: &mut RowsBuilder, value: Option<u32>) {
    match value.map(i32::try_from) {
        Some(Ok(value)) => rows.int4(value),
        _ => rows.null(),
    };
}

fn aios(sources: &mut Sources<'_>, rows: &mut RowsBuilder) -> Result<(), EngineError> {
    for io in sources.shared.database().aio().in_flight() {
        int4(rows, Some(io.id));
        rows.count(io.generation)
            .text(io.op.name())
            .text(io.target.kind.name());
        let buffered = if io.buffered { " BUFFERED" } else { "" };
        rows.text(&format!("{}{buffered}", io.state.name()));
        int4(rows, io.ring);
        rows.int4(io.owner_id);
        int4(rows, io.merge_with);
        match io.result {
            None => rows.null(),
            // A failure is its negated errno; -1 stands for one that is not the system's.
            Some(IoResult::Error(failure)) => rows.int4(failure.errno().map_or(-1, |errno| -errno)),
            Some(result) => rows.int4(i32::try_from(result.bytes()).unwrap_or(i32::MAX)),
        };
        rows.text(&io.desc).end_row();
    }
    Ok(())
}

/// A row is an issuer, of which a session has one for each partition of its scans, too; its totals go
/// on when it passes from one owner to the next. `foreign_completed_total_count` is what it completed
/// for others, `foreign_completed_count` what others completed for it and it has not taken back yet;
/// `last_context` is the ring that carries its I/Os.
pub(super) const PG_STAT_AIO_BACKENDS: View = View {
    name: "pg_stat_aio_backends",
    columns: &[
        ("pid", oids::INT4),
        ("executed_total_count", oids::INT8),
        ("issued_total_count", oids::INT8),
        ("submissions_total_count", oids::INT8),
        ("foreign_completed_total_count", oids::INT8),
        ("retry_total_count", oids::INT8),
        ("inflight_count", oids::INT4),
        ("unused_count", oids::INT4),
        ("outstanding_count", oids::INT4),
        ("pending_count", oids::INT4),
        ("local_completed_count", oids::INT4),
        ("foreign_completed_count", oids::INT4),
        ("last_context", oids::INT4),
    ],
    rows: aio_backends,
};

fn aio_backends(sources: &mut Sources<'_>, rows: &mut RowsBuilder) -> Result<(), EngineError> {
    for issuer in sources.shared.database().aio().counters().issuers {
        rows.int4(issuer.owner_id)
            .count(issuer.executed)
            .count(issuer.issued)
            .count(issuer.submissions)
            .count(issuer.foreign_completed)
            .count(issuer.retries);
        for count in [
            issuer.in_flight,
            issuer.unused,
            issuer.outstanding,
            issuer.pending,
            issuer.completed_local,
            issuer.completed_foreign,
        ] {
            int4(rows, Some(count));
        }
        int4(rows, issuer.ring);
        rows.end_row();
    }
    Ok(())
}

pub(super) const PG_AIOS: View = View {
    name: "pg_aios",
    columns: &[
        ("pid", oids::INT4),
        ("io_id", oids::INT4),
        ("io_generation", oids::INT8),
        ("state", oids::TEXT),
        ("operation", oids::TEXT),
        ("off", oids::INT8),
        ("length", oids::INT8),
        ("target", oids::TEXT),
        ("handle_data_len", oids::INT2),
        ("raw_result", oids::INT4),
        ("result", oids::TEXT),
        ("target_desc", oids::TEXT),
        ("f_sync", oids::BOOL),
        ("f_localmem", oids::BOOL),
        ("f_buffered", oids::BOOL),
    ],
    rows: postgres_aios,
};

/// What PostgreSQL calls it: there, what waits to be submitted is staged.
fn postgres_state(state: State) -> &'static str {
    match state {
        State::Pending => State::Staged.name(),
        other => other.name(),
    }
}

/// What PostgreSQL calls it: there, shared buffers are read as relations.
fn postgres_target(target: TargetId) -> &'static str {
    match target {
        TargetId::SharedBuffers => TargetId::Smgr.name(),
        other => other.name(),
    }
}

/// PostgreSQL's `pgaio_result_status_string`.
fn status(result: Option<IoResult>) -> &'static str {
    match result {
        None => "UNKNOWN",
        Some(IoResult::Ok { .. }) => "OK",
        Some(IoResult::Partial { .. }) => "PARTIAL",
        Some(IoResult::Warning { .. }) => "WARNING",
        Some(IoResult::Error(_)) => "ERROR",
    }
}

fn postgres_aios(sources: &mut Sources<'_>, rows: &mut RowsBuilder) -> Result<(), EngineError> {
    let aio = sources.shared.database().aio();
    let synchronous = aio.method_name() == MethodKind::Sync.name();
    for io in aio.in_flight() {
        postgres_aio(&io, synchronous, rows);
    }
    Ok(())
}

/// PostgreSQL's `pg_get_aios`, which also says what is NULL when.
fn postgres_aio(io: &IoSnapshot, synchronous: bool, rows: &mut RowsBuilder) {
    rows.int4(io.owner_id);
    int4(rows, Some(io.id));
    rows.count(io.generation).text(postgres_state(io.state));
    if io.state == State::HandedOut {
        for _ in 4..PG_AIOS.columns.len() {
            rows.null();
        }
        return rows.end_row();
    }
    rows.text(io.op.name());
    match io.op {
        Op::Readv | Op::Writev | Op::FlushRange => {
            rows.count(io.offset).count(u64::from(io.length_bytes))
        }
        // On the file as a whole, or on none.
        Op::Fsync | Op::Fdatasync | Op::Nop => rows.null().null(),
    };
    rows.text(postgres_target(io.target.kind))
        .int2(i16::try_from(io.data_len).unwrap_or(i16::MAX));
    match io.raw_result {
        Some(raw_result) => rows.int4(raw_result),
        None => rows.null(),
    };
    rows.text(status(io.result)).text(&io.desc);
    // All memory is shared: there are no processes.
    rows.bool(synchronous).bool(false).bool(io.buffered);
    rows.end_row();
}
