//! Reading blocks of a relation ahead of their use: pg_prewarm's three modes.

use std::collections::VecDeque;
use std::sync::Arc;

use trunkline_aio::{IoContext, IoResult, IoReturn, WaitRef};
use trunkline_buffer::{ReadStream, ReadStreamFlags, RelFork};
use trunkline_catalog::RelationDesc;
use trunkline_pgformat::{BLCKSZ, BlockNumber, ForkNumber, RELSEG_SIZE};
use trunkline_smgr::{segment_path, segment_remaining};

use crate::error::{EngineError, StatementError};
use crate::session::Session;

/// Where the blocks are read to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PrewarmMode {
    /// Into the cache next to the disk, without waiting: the operating system's; with direct I/O there
    /// is none, and it is the buffer pool.
    Prefetch,
    /// Out of the file, and no further.
    Read,
    /// Into the buffer pool.
    Buffer,
}

impl PrewarmMode {
    /// The mode called `name`.
    ///
    /// # Errors
    /// 22023.
    pub fn parse(name: &str) -> Result<PrewarmMode, StatementError> {
        match name {
            "prefetch" => Ok(PrewarmMode::Prefetch),
            "read" => Ok(PrewarmMode::Read),
            "buffer" => Ok(PrewarmMode::Buffer),
            _ => Err(StatementError::new("22023", "invalid prewarm type")
                .with_hint("Valid prewarm types are \"prefetch\", \"read\", and \"buffer\".")),
        }
    }
}

/// What to read.
#[derive(Clone, Debug)]
pub struct PrewarmRequest {
    /// The relation, on which the session holds an access-share lock.
    pub relation: Arc<RelationDesc>,
    /// Its fork.
    pub fork: ForkNumber,
    /// How.
    pub mode: PrewarmMode,
    /// The first block; the relation's first by default.
    pub first: Option<i64>,
    /// The last block; the relation's last by default.
    pub last: Option<i64>,
}

/// Reads the blocks; their number.
///
/// # Errors
/// 22023 for a block outside the fork or a fork that does not exist, and those of reading.
pub fn prewarm(session: &Session, request: &PrewarmRequest) -> Result<i64, EngineError> {
    let fork = RelFork {
        rel: request.relation.locator,
        fork: request.fork,
    };
    let database = session.database();
    if !database.smgr().exists(fork.rel, fork.fork)? {
        return Err(StatementError::new(
            "22023",
            format!(
                "fork \"{}\" does not exist for this relation",
                fork.fork.name()
            ),
        )
        .into());
    }
    let blocks = i64::from(database.pool().nblocks(fork)?);
    let bound = |given: Option<i64>, default: i64, what: &str| match given {
        None => Ok(default),
        Some(block) if (0..blocks).contains(&block) => Ok(block),
        Some(_) => Err(StatementError::new(
            "22023",
            format!("{what} block number must be between 0 and {}", blocks - 1),
        )),
    };
    let first = bound(request.first, 0, "starting")?;
    let last = bound(request.last, blocks - 1, "ending")?;
    if first > last {
        return Ok(0);
    }
    let (first, last) = (first as BlockNumber, last as BlockNumber);
    match request.mode {
        PrewarmMode::Buffer => read_into_pool(session, fork, first, last)?,
        PrewarmMode::Read => read_past_pool(session, fork, first, last)?,
        PrewarmMode::Prefetch if database.smgr().is_direct() => {
            prefetch_into_pool(session, fork, first, last)?;
        }
        PrewarmMode::Prefetch => read_past_pool(session, fork, first, last)?,
    }
    Ok(i64::from(last - first) + 1)
}

fn read_into_pool(
    session: &Session,
    fork: RelFork,
    first: BlockNumber,
    last: BlockNumber,
) -> Result<(), EngineError> {
    let mut io = session.issuer()?;
    let mut blocks = first..=last;
    let mut stream = ReadStream::with_limits(
        session.database().pool(),
        fork,
        None,
        ReadStreamFlags {
            sequential: true,
            maintenance: true,
            full: true,
        },
        session.read_stream_limits("maintenance_io_concurrency"),
        move || blocks.next(),
    );
    while stream.next(&mut io)?.is_some() {
        session.cancel().check()?;
    }
    Ok(())
}

/// Starts reads, and leaves them to complete by themselves; how one ends is told to who next wants the
/// block.
fn prefetch_into_pool(
    session: &Session,
    fork: RelFork,
    first: BlockNumber,
    last: BlockNumber,
) -> Result<(), EngineError> {
    const STEP_BLOCKS: u32 = 128;
    let mut io = session.issuer()?;
    let mut next = first;
    loop {
        session.cancel().check()?;
        let count = (last - next).saturating_add(1).min(STEP_BLOCKS);
        session
            .database()
            .pool()
            .prefetch(&mut io, fork, next, count)?;
        if last - next < count {
            return Ok(());
        }
        next += count;
    }
}

/// Reads `io_combine_limit` at a time into bounce buffers, and forgets what was read;
/// `maintenance_io_concurrency` reads are in flight.
fn read_past_pool(
    session: &Session,
    fork: RelFork,
    first: BlockNumber,
    last: BlockNumber,
) -> Result<(), EngineError> {
    let config = session.database().pool().config();
    let limits = session.read_stream_limits("maintenance_io_concurrency");
    let combined = limits
        .io_combine_blocks
        .unwrap_or(config.io_combine_limit_bytes / BLCKSZ as u32);
    let concurrency = limits
        .io_concurrency
        .unwrap_or(config.maintenance_io_concurrency);
    let mut io = session.issuer()?;
    let bounce_blocks = (io.aio().bounce_limit_bytes() / BLCKSZ) as u32;
    let read_blocks = combined.clamp(1, bounce_blocks.max(1));
    let useful = (last - first + 1).div_ceil(read_blocks);
    let mut reads = ReadsPastPool {
        session,
        fork,
        next: first,
        end: last.saturating_add(1),
        read_blocks,
        in_flight: VecDeque::new(),
        spare: (0..useful.min(concurrency).max(1))
            .map(|_| IoReturn::new())
            .collect(),
    };
    let result = reads.run(&mut io);
    // After an error or a cancellation as well, nothing outlives the statement.
    io.wait_all();
    result
}

/// Reads of a fork's blocks of which nobody wants the bytes.
struct ReadsPastPool<'s> {
    session: &'s Session,
    fork: RelFork,
    next: BlockNumber,
    end: BlockNumber,
    /// Blocks of one read.
    read_blocks: u32,
    in_flight: VecDeque<ReadPastPool>,
    /// Cells of no read: as many reads more may be in flight.
    spare: Vec<Arc<IoReturn>>,
}

struct ReadPastPool {
    first: BlockNumber,
    bytes: usize,
    wait_ref: WaitRef,
    cell: Arc<IoReturn>,
}

impl ReadsPastPool<'_> {
    fn run(&mut self, io: &mut IoContext) -> Result<(), EngineError> {
        loop {
            self.session.cancel().check()?;
            while self.next < self.end
                && let Some(cell) = self.spare.pop()
            {
                self.start(io, cell)?;
            }
            let Some(oldest) = self.in_flight.pop_front() else {
                return Ok(());
            };
            self.finish(io, oldest)?;
            let aio = Arc::clone(io.aio());
            let done = |read: &ReadPastPool| aio.is_complete(read.wait_ref);
            while let Some(at) = self.in_flight.iter().position(done)
                && let Some(read) = self.in_flight.remove(at)
            {
                self.finish(io, read)?;
            }
        }
    }

    fn start(&mut self, io: &mut IoContext, cell: Arc<IoReturn>) -> Result<(), EngineError> {
        let first = self.next;
        let blocks = self
            .read_blocks
            .min(self.end - first)
            .min(segment_remaining(first));
        let smgr = self.session.database().smgr();
        let bytes = blocks as usize * BLCKSZ;
        let buffer = io.bounce_buffer(bytes)?;
        let mut handle = io.acquire()?;
        handle.report_to(&cell);
        let wait_ref =
            smgr.start_read_discarding(handle, self.fork.rel, self.fork.fork, first, buffer)?;
        self.in_flight.push_back(ReadPastPool {
            first,
            bytes,
            wait_ref,
            cell,
        });
        self.next += blocks;
        Ok(())
    }

    fn finish(&mut self, io: &mut IoContext, read: ReadPastPool) -> Result<(), EngineError> {
        io.wait(read.wait_ref);
        let ReadPastPool {
            first, bytes, cell, ..
        } = read;
        let result = cell.get().map(IoResult::into_io_result);
        let why = match result {
            Some(Ok(read_bytes)) if read_bytes == bytes => {
                self.spare.push(cell);
                return Ok(());
            }
            Some(Ok(read_bytes)) => format!("read only {read_bytes} of {bytes} bytes"),
            Some(Err(error)) => error.to_string(),
            None => unreachable!("a complete I/O has reported"),
        };
        let last = first + (bytes / BLCKSZ) as u32 - 1;
        let file = segment_path(self.fork.rel, self.fork.fork, first / RELSEG_SIZE);
        let message = format!("could not read blocks {first}..{last} in file \"{file}\": {why}");
        Err(StatementError::new("58030", message).into())
    }
}
