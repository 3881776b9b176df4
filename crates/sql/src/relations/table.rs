//! A table's rows as batches: each partition of a scan is an engine thread that writes column
//! builders straight from the tuples, and hands batches over through a bounded channel.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use futures::StreamExt;
use futures::stream;
use tokio::sync::mpsc;
use trunkline_catalog::RelationDesc;
use trunkline_engine::{EngineError, StatementError, TableScan};
use trunkline_txn::RegisteredSnapshot;
use trunkline_types::Projection;

use super::resolver::{SessionRef, lock_session, statement_snapshot};
use super::scan_group::{RunningScan, ScanGroup, send};
use crate::error::query_error;
use crate::query::{
    BatchStream, ColumnBuilder, QueryError, RelationScan, RelationSource, ScanBatch, ScanRequest,
};

/// Batches that wait between a partition and the executor.
const BATCHES_AHEAD: usize = 2;

/// Rows that a batch counts when no column is wanted; many pages give one batch.
const COUNT_BATCH_ROWS: usize = 1 << 20;

/// Blocks that are worth a partition of their own.
const PARTITION_BLOCKS: u32 = 32;

/// The snapshot that all scans of a statement share; empty until the first begins.
pub(crate) type SnapshotCell = Arc<OnceLock<Arc<RegisteredSnapshot>>>;

/// A table that a statement reads.
pub(crate) struct TableSource {
    pub session: SessionRef,
    pub relation: Arc<RelationDesc>,
    pub snapshot: SnapshotCell,
    pub scans: ScanGroup,
}

impl fmt::Debug for TableSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TableSource")
            .field(&self.relation.name)
            .finish()
    }
}

impl RelationSource for TableSource {
    fn scan(&self, request: &ScanRequest) -> Result<Arc<dyn RelationScan>, QueryError> {
        let session = self.session.get()?;
        let session = lock_session(&session);
        let snapshot = statement_snapshot(&self.snapshot, &session).map_err(query_error)?;
        let scan =
            TableScan::new(&session, Arc::clone(&self.relation), snapshot).map_err(query_error)?;
        let worth = usize::try_from(scan.blocks().div_ceil(PARTITION_BLOCKS)).unwrap_or(1);
        Ok(Arc::new(TablePartitions {
            partitions: worth.clamp(1, request.partitions.max(1)),
            scan,
            request: request.clone(),
            scans: self.scans.clone(),
        }))
    }

    fn estimated_rows(&self) -> Option<usize> {
        // Nothing is known before the first ANALYZE, and a wrong count is worse than none.
        (self.relation.reltuples >= 0.0).then_some(self.relation.reltuples as usize)
    }
}

struct TablePartitions {
    scan: TableScan,
    request: ScanRequest,
    partitions: usize,
    scans: ScanGroup,
}

impl fmt::Debug for TablePartitions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TablePartitions")
            .field(&self.scan.relation().name)
            .finish()
    }
}

impl RelationScan for TablePartitions {
    fn partitions(&self) -> usize {
        self.partitions
    }

    fn stream(&self, _partition: usize) -> Result<BatchStream, QueryError> {
        // Nothing starts before the first poll, so that a plan that is never run costs no thread.
        let start = (self.scan.clone(), self.request.clone(), self.scans.clone());
        let batches = stream::once(async move {
            let (scan, request, scans) = start;
            match start_partition(scan, request, &scans) {
                Ok(receiver) => received(receiver),
                Err(error) => stream::once(std::future::ready(Err(error))).boxed(),
            }
        });
        Ok(batches.flatten().boxed())
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " on {}", self.scan.relation().name)
    }
}

/// What a partition sends: batches, then `None` for its end or an error. A channel that closes
/// before that belongs to a thread that panicked.
type Sent = Option<Result<ScanBatch, QueryError>>;

fn received(receiver: mpsc::Receiver<Sent>) -> BatchStream {
    stream::unfold(Some(receiver), |receiver| async {
        let mut receiver = receiver?;
        match receiver.recv().await {
            Some(Some(Ok(batch))) => Some((Ok(batch), Some(receiver))),
            Some(Some(Err(error))) => Some((Err(error), None)),
            Some(None) => None,
            None => Some((Err(QueryError::internal("a scan ended unexpectedly")), None)),
        }
    })
    .boxed()
}

fn start_partition(
    scan: TableScan,
    request: ScanRequest,
    scans: &ScanGroup,
) -> Result<mpsc::Receiver<Sent>, QueryError> {
    let running = scans
        .enter(scan.relation().oid)
        .ok_or_else(|| QueryError::new("55000", "the transaction of this query has ended"))?;
    let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
    let database = Arc::clone(scan.database());
    database
        .threads()
        .spawn(move || {
            let end = match run_partition(&scan, &request, &sender, &running) {
                Ok(()) => None,
                Err(error) => Some(Err(query_error(error))),
            };
            send(&sender, end, &running);
        })
        .map_err(|error| query_error(error.into()))?;
    Ok(receiver)
}

fn run_partition(
    scan: &TableScan,
    request: &ScanRequest,
    sender: &mpsc::Sender<Sent>,
    running: &RunningScan,
) -> Result<(), EngineError> {
    if request.projection.is_empty() {
        count_rows(scan, request, sender, running)
    } else {
        read_rows(scan, request, sender, running)
    }
}

/// Sends only how many rows there are.
fn count_rows(
    scan: &TableScan,
    request: &ScanRequest,
    sender: &mpsc::Sender<Sent>,
    running: &RunningScan,
) -> Result<(), EngineError> {
    let limit = request.limit.unwrap_or(usize::MAX);
    let (mut counted, mut sent) = (0_usize, 0_usize);
    let flush = |rows: usize| {
        let batch = ScanBatch::new(request, Vec::new(), rows);
        send(sender, Some(batch), running)
    };
    scan.partition()?.count(|rows| {
        counted = counted
            .saturating_add(usize::try_from(rows).unwrap_or(usize::MAX))
            .min(limit);
        if counted - sent >= COUNT_BATCH_ROWS {
            if !flush(counted - sent) {
                return ControlFlow::Break(());
            }
            sent = counted;
        }
        if counted >= limit || running.is_to_stop() || sender.is_closed() {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    if counted > sent {
        flush(counted - sent);
    }
    Ok(())
}

/// The rows of a batch that is being filled.
struct Filling {
    projection: Projection,
    builders: Vec<ColumnBuilder>,
    rows: usize,
    /// Rows that the batches sent so far and this one may still take.
    left: usize,
    /// Room for one row's values.
    values: Vec<Option<&'static [u8]>>,
}

/// The same vector, all NULL: values live as long as a tuple's page is locked, the vector longer.
/// `collect` reuses the allocation.
pub(crate) fn cleared<'t>(values: Vec<Option<&[u8]>>) -> Vec<Option<&'t [u8]>> {
    values.into_iter().map(|_| None).collect()
}

fn read_rows(
    scan: &TableScan,
    request: &ScanRequest,
    sender: &mpsc::Sender<Sent>,
    running: &RunningScan,
) -> Result<(), EngineError> {
    let desc = &scan.relation().desc;
    let mut filling = Filling {
        projection: Projection::new(desc, &request.projection),
        builders: request
            .types
            .iter()
            .map(|ty| ColumnBuilder::new(*ty, request.batch_rows))
            .collect(),
        rows: 0,
        left: request.limit.unwrap_or(usize::MAX),
        values: vec![None; request.projection.len()],
    };
    let flush = |filling: &mut Filling| {
        let columns = filling
            .builders
            .iter_mut()
            .map(ColumnBuilder::finish)
            .collect();
        let batch = ScanBatch::new(request, columns, std::mem::take(&mut filling.rows));
        send(sender, Some(batch), running)
    };
    scan.partition()?.rows(
        &mut filling,
        |filling, _place, tuple| {
            if filling.left == 0 {
                return Ok(());
            }
            let mut values = cleared(std::mem::take(&mut filling.values));
            filling
                .projection
                .deform(tuple.bytes(), &mut values)
                .map_err(|error| StatementError::new("XX001", error.to_string()))?;
            for (builder, value) in filling.builders.iter_mut().zip(&values) {
                builder
                    .push(*value)
                    .map_err(|error| StatementError::new(error.sqlstate, error.message))?;
            }
            filling.values = cleared(values);
            filling.rows += 1;
            filling.left -= 1;
            Ok(())
        },
        |filling| {
            if filling.rows >= request.batch_rows && !flush(filling) {
                return ControlFlow::Break(());
            }
            if filling.left == 0 || running.is_to_stop() || sender.is_closed() {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        },
    )?;
    if filling.rows > 0 {
        flush(&mut filling);
    }
    Ok(())
}
