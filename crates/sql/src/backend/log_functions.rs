//! Functions about the log that give rows or do I/O, and what the names of its files are
//! (`xlogfuncs.c`).

use trunkline_engine::{Database, EngineError};
use trunkline_pgformat::Lsn;
use trunkline_types::oids;

use super::functions::{Args, Call, Function, Returns, Value};

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "pg_walfile_name_offset",
        args: &[oids::PG_LSN],
        required: 1,
        returns: Returns::Record(&[("file_name", oids::TEXT), ("file_offset", oids::INT4)]),
        strict: true,
        run: pg_walfile_name_offset,
    },
    Function {
        name: "pg_switch_wal",
        args: &[],
        required: 0,
        returns: Returns::Value(oids::PG_LSN),
        strict: true,
        run: pg_switch_wal,
    },
];

/// Of the segment that the byte at `lsn` is in, on the timeline that is written.
pub(super) fn file_name(database: &Database, lsn: Lsn) -> String {
    let config = database.wal().config();
    let size = config.segment_size;
    size.file_name(config.timeline, size.segment_of(lsn))
}

fn pg_walfile_name_offset(call: &mut Call<'_>, args: &Args) -> Result<Vec<Value>, EngineError> {
    let Some(lsn) = args.lsn(0) else {
        return Ok(vec![None, None]);
    };
    let database = call.session.database();
    let offset = database.wal().config().segment_size.offset_of(lsn);
    Ok(vec![
        Some(file_name(database, lsn).into_bytes()),
        Some(offset.to_le_bytes().to_vec()),
    ])
}

/// Where the record that ends the segment ends; where the log ends, if nothing was in the segment.
fn pg_switch_wal(call: &mut Call<'_>, _: &Args) -> Result<Vec<Value>, EngineError> {
    let told = call.session.database().wal().switch_segment(call.io)?;
    Ok(vec![Some(told.0.to_le_bytes().to_vec())])
}
