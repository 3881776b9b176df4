//! Scans of a table in partitions that run on threads of their own.

use std::ops::ControlFlow;
use std::sync::Arc;

use trunkline_aio::IoContext;
use trunkline_buffer::{ReadStreamLimits, Reader, RelFork};
use trunkline_catalog::RelationDesc;
use trunkline_heap::{HeapPage, HeapScan, ScanBlocks};
use trunkline_pgformat::{ForkNumber, HeapTupleRef, ItemPointer};
use trunkline_txn::{CancelToken, RegisteredSnapshot, Visibility};

use crate::database::Database;
use crate::error::EngineError;
use crate::session::Session;

/// One statement's scan of a table: what its partitions share. The caller holds a lock on the
/// table for as long as it is used.
#[derive(Clone)]
pub struct TableScan {
    database: Arc<Database>,
    relation: Arc<RelationDesc>,
    snapshot: Arc<RegisteredSnapshot>,
    blocks: Arc<ScanBlocks>,
    cancel: CancelToken,
    backend_pid: i32,
    limits: ReadStreamLimits,
    combine_limit_bytes: u32,
    reader: Reader,
}

impl TableScan {
    /// A scan of `relation` as `snapshot` sees it, of the blocks that it has now.
    ///
    /// # Errors
    /// The table's size cannot be found out.
    pub fn new(
        session: &Session,
        relation: Arc<RelationDesc>,
        snapshot: Arc<RegisteredSnapshot>,
    ) -> Result<TableScan, EngineError> {
        let database = Arc::clone(session.database());
        let fork = RelFork {
            rel: relation.locator,
            fork: ForkNumber::Main,
        };
        let blocks = ScanBlocks::new(database.pool().nblocks(fork)?);
        Ok(TableScan {
            database,
            relation,
            snapshot,
            blocks,
            cancel: session.cancel().clone(),
            backend_pid: session.backend_pid(),
            limits: session.read_stream_limits("effective_io_concurrency"),
            combine_limit_bytes: session.combine_limit_bytes(),
            reader: session.reader(),
        })
    }

    /// The table.
    pub fn relation(&self) -> &Arc<RelationDesc> {
        &self.relation
    }

    /// The database system.
    pub fn database(&self) -> &Arc<Database> {
        &self.database
    }

    /// Blocks that the scan reads, all partitions together.
    pub fn blocks(&self) -> u32 {
        self.blocks.end()
    }

    /// A partition: an issuer and a stream of its own, and whatever blocks it takes from the shared
    /// range. Any number of them read each block once.
    ///
    /// # Errors
    /// All issuers are in use.
    pub fn partition(&self) -> Result<ScanPartition, EngineError> {
        let mut io = self.database.aio().issuer(self.backend_pid)?;
        io.set_combine_limit(self.combine_limit_bytes);
        self.reader.clone().attach(&mut io);
        Ok(ScanPartition {
            io,
            scan: HeapScan::new(
                self.database.pool(),
                self.relation.heap(),
                Arc::clone(&self.blocks),
                self.limits,
            ),
            shared: self.clone(),
        })
    }
}

/// One partition of a scan.
pub struct ScanPartition {
    // Before `io`, so that the stream's reads are given up before their issuer.
    scan: HeapScan,
    io: IoContext,
    shared: TableScan,
}

impl ScanPartition {
    /// Counts the visible rows, and calls `progress` with the number found on each page.
    ///
    /// # Errors
    /// Those of the scan, or the statement's being told to stop.
    pub fn count(
        self,
        mut progress: impl FnMut(u64) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        self.pages(|page, visibility| {
            let (count, hints) = page.count_visible(visibility)?;
            Ok((progress(u64::from(count)), hints))
        })
    }

    /// Calls `visit` with each visible row, and `page_end` after each page. `visit` runs under the
    /// page's share lock and must not wait; `page_end` may.
    ///
    /// # Errors
    /// Those of the scan, of `visit`, or the statement's being told to stop.
    pub fn rows<C>(
        self,
        context: &mut C,
        mut visit: impl FnMut(&mut C, ItemPointer, HeapTupleRef<'_>) -> Result<(), EngineError>,
        mut page_end: impl FnMut(&mut C) -> ControlFlow<()>,
    ) -> Result<(), EngineError> {
        self.pages(|page, visibility| {
            let hints =
                page.visit_visible(visibility, |place, tuple| visit(context, place, tuple))?;
            Ok((page_end(context), hints))
        })
    }

    fn pages(
        mut self,
        mut page: impl FnMut(
            &HeapPage,
            &mut Visibility<'_>,
        ) -> Result<(ControlFlow<()>, bool), EngineError>,
    ) -> Result<(), EngineError> {
        let shared = self.shared.clone();
        let mut visibility = Visibility::new(shared.database.transactions(), &shared.snapshot);
        while let Some(heap_page) = self.scan.next_page(&mut self.io)? {
            shared.cancel.check()?;
            let (flow, hints) = page(&heap_page, &mut visibility)?;
            if hints {
                self.scan
                    .leave_hints(&heap_page, &mut visibility, &mut self.io)?;
            }
            if flow.is_break() {
                break;
            }
        }
        Ok(())
    }
}
