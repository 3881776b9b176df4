//! Reading blocks of a relation ahead of their use: pg_prewarm's three modes.

use std::collections::VecDeque;
use std::sync::Arc;

use trunkline_aio::AlignedBuf;
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

/// Bytes of a read that goes past the pool.
const READ_BYTES: usize = 1 << 20;

/// Reads that go past the pool at a time.
const READS_IN_FLIGHT: usize = 8;

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
            ..ReadStreamFlags::default()
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

/// Reads in large raw I/Os, several in flight, into buffers that are used over and over.
fn read_past_pool(
    session: &Session,
    fork: RelFork,
    first: BlockNumber,
    last: BlockNumber,
) -> Result<(), EngineError> {
    const READ_BLOCKS: u32 = (READ_BYTES / BLCKSZ) as u32;
    let smgr = session.database().smgr();
    let mut io = session.issuer()?;
    let mut in_flight = VecDeque::with_capacity(READS_IN_FLIGHT);
    let mut spare = Vec::with_capacity(READS_IN_FLIGHT);
    let mut next = first;
    let end = last.saturating_add(1);
    while next < end || !in_flight.is_empty() {
        if next < end && in_flight.len() < READS_IN_FLIGHT {
            let blocks = READ_BLOCKS.min(end - next).min(segment_remaining(next));
            let (file, offset) = smgr.locate(fork.rel, fork.fork, next)?;
            let buffer = spare
                .pop()
                .unwrap_or_else(|| AlignedBuf::zeroed(READ_BYTES));
            let bytes = blocks as usize * BLCKSZ;
            let read = io.read_raw(&file, buffer, offset, bytes)?;
            in_flight.push_back((next, bytes, read));
            next += blocks;
            continue;
        }
        session.cancel().check()?;
        if let Some((block, bytes, read)) = in_flight.pop_front() {
            let (buffer, result) = read.wait(&mut io);
            let failed = |why: String| {
                let last = block + (bytes / BLCKSZ) as u32 - 1;
                let file = segment_path(fork.rel, fork.fork, block / RELSEG_SIZE);
                StatementError::new(
                    "58030",
                    format!("could not read blocks {block}..{last} in file \"{file}\": {why}"),
                )
            };
            match result {
                Ok(read_bytes) if read_bytes == bytes => spare.push(buffer),
                Ok(read_bytes) => {
                    let why = format!("read only {read_bytes} of {bytes} bytes");
                    return Err(failed(why).into());
                }
                Err(error) => return Err(failed(error.to_string()).into()),
            }
        }
    }
    Ok(())
}
