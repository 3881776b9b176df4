//! I/O as it happens: `pg_stat_aios` and `pg_stat_aio_backends`, with the columns of the 2021
//! design.

use trunkline_aio::IoResult;
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
            // Negative for a failure, as system calls tell it.
            Some(IoResult::Error(_)) => rows.int4(-1),
            Some(result) => rows.int4(i32::try_from(result.bytes()).unwrap_or(i32::MAX)),
        };
        rows.text(&io.desc).end_row();
    }
    Ok(())
}

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
        ("pending_count", oids::INT4),
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
        int4(rows, Some(issuer.in_flight));
        int4(rows, Some(issuer.pending));
        rows.end_row();
    }
    Ok(())
}
