//! Single rows into a table, for INSERT: each goes where the table's single inserts go, onto pages that
//! transactions share.
//!
//! Beside a [`Load`](crate::Load) it is light: it has no writes of its own, adds no pages of its own, and
//! leaves nothing to its transaction's end.

use std::sync::Arc;

use trunkline_aio::IoContext;
use trunkline_catalog::RelationDesc;
use trunkline_heap::{HeapWriter, TableTargets};
use trunkline_types::OutputStyle;

use crate::error::EngineError;
use crate::row_former::{LoadColumns, RowFormer, row_error};
use crate::session::Session;

/// Inserts rows into one table, for any number of statements, transactions and sessions of one database, one
/// after the other. It is about the table as it was when this was made: who keeps one looks the relation up
/// in each statement, under its lock, and makes another when it has become a different one.
pub struct RowInsert {
    relation: Arc<RelationDesc>,
    rows: RowFormer,
    /// The row as its page gets it.
    tuple: Vec<u8>,
    /// Known from the first row on. A table that is truncated gets other ones, and is another relation here.
    targets: Option<Arc<TableTargets>>,
}

impl RowInsert {
    /// For rows of `relation` that have `columns`. Errors show values in `output_style`.
    pub fn new(
        relation: Arc<RelationDesc>,
        columns: LoadColumns,
        output_style: OutputStyle,
    ) -> RowInsert {
        RowInsert {
            rows: RowFormer::new(Arc::clone(&relation), columns, output_style),
            relation,
            tuple: Vec::new(),
            targets: None,
        }
    }

    /// The table.
    pub fn relation(&self) -> &Arc<RelationDesc> {
        &self.relation
    }

    /// Inserts a row, one payload for each given column, in the statement that `session` has begun and that
    /// holds a row-exclusive lock on the table.
    ///
    /// # Errors
    /// 42501 for a system table, 23502 for a NULL that is not allowed, 54000 for a row that is too big, 57014
    /// if the statement is cancelled, or a failure of disk or log.
    ///
    /// # Panics
    /// If there are more or fewer values than columns given.
    pub fn insert(
        &mut self,
        session: &mut Session,
        io: &mut IoContext,
        values: &[Option<&[u8]>],
    ) -> Result<(), EngineError> {
        session.check_user_table(&self.relation)?;
        session.cancel().check()?;
        self.rows.fill(values)?;
        let tuple = self.rows.end_row().map_err(row_error)?;
        self.tuple.clear();
        self.tuple.extend_from_slice(tuple);
        let transaction = session.transaction()?;
        let database = session.database();
        let targets = match &self.targets {
            Some(targets) => targets,
            None => {
                let targets = database.insert_targets_of(self.relation.locator)?;
                self.targets.insert(targets)
            }
        };
        let writer = HeapWriter::new(
            database.pool(),
            database.transactions(),
            self.relation.heap(),
            transaction.assign_xid()?.xid(),
            transaction.command_id(true),
        );
        // Sessions are numbered in the order of their beginnings.
        let inserter = session.backend_pid().unsigned_abs() as usize;
        writer.insert_shared(targets, inserter, &mut self.tuple, io)?;
        Ok(())
    }
}
