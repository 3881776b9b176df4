//! The system tables of a new cluster, written to their files.

use std::sync::Arc;

use trunkline_aio::IoContext;
use trunkline_buffer::{BufferError, BufferPool};
use trunkline_heap::{HeapRelation, HeapWriter};
use trunkline_pgformat::{ForkNumber, Oid, Xid};
use trunkline_txn::TransactionManager;
use trunkline_types::TupleFormer;

use crate::bootstrap::bootstrap_rows;
use crate::error::CatalogError;
use crate::system_table::system_tables;
use crate::writer::form_row;

/// Makes the files of all system tables, those of `database` and the shared ones, and fills them
/// with the rows of [`bootstrap_rows`], frozen. The directories are there already. What was written
/// is in `pool`, for the caller to write out and sync.
///
/// # Errors
/// A file exists already, or the storage's.
pub fn bootstrap(
    pool: &Arc<BufferPool>,
    transactions: &Arc<TransactionManager>,
    database: Oid,
    io: &mut IoContext,
) -> Result<(), CatalogError> {
    let mut former = TupleFormer::new();
    for table in system_tables() {
        let locator = table.initial_locator(database);
        pool.smgr()
            .create(locator, ForkNumber::Main, false)
            .map_err(BufferError::from)?;
        let relation = HeapRelation::permanent(locator);
        let heap = HeapWriter::new(pool, transactions, relation, Xid::BOOTSTRAP, 0);
        for row in bootstrap_rows(table)? {
            let mut tuple = form_row(&mut former, table, &row)?;
            heap.insert_frozen(&mut tuple, io)?;
        }
    }
    Ok(())
}
