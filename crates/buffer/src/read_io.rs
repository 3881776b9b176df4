//! Starting reads into shared buffers, and telling how they ended.
#![expect(unsafe_code, reason = "hands pages to the kernel")]

use crate::damage::DamagedRead;
use crate::descriptor::{IoClaim, IoKind, VALID};
use crate::error::BufferError;
use crate::pinned::PinnedBuffer;
use crate::pool::BufferPool;
use crate::reader::{ReadFlags, ReadMode, Reader};
use crate::stats::{Count, IoAccount};
use crate::tag::RelFork;
use std::sync::Arc;
use trunkline_aio::{IoContext, IoMemory, IoReturn, TargetId, WaitRef};
use trunkline_pgformat::{BLCKSZ, BlockNumber, RELSEG_SIZE};
use trunkline_smgr::{relation_tag, segment_path};

/// A read that was started.
#[derive(Debug)]
pub(crate) struct ReadInFlight {
    pub(crate) wait_ref: WaitRef,
    outcome: Arc<IoReturn>,
    rel_fork: RelFork,
    pub(crate) first: BlockNumber,
    pub(crate) blocks: u32,
}

impl BufferPool {
    /// Starts one read of as many of `buffers`, which hold the blocks from `first` on, as can be
    /// claimed from the first on. `None` if the first cannot: it is valid by now, or somebody else
    /// reads it. The read is pending: the caller submits or waits before it returns to its own caller
    /// (A4).
    pub(crate) fn start_read(
        &self,
        ctx: &mut IoContext,
        rel_fork: RelFork,
        first: BlockNumber,
        buffers: &[PinnedBuffer],
        account: IoAccount,
        mode: ReadMode,
    ) -> Result<Option<ReadInFlight>, BufferError> {
        if buffers.is_empty() {
            return Ok(None);
        }
        self.frames().damage.tell();
        let flags = ReadFlags::of(ctx, mode);
        // The handle comes first: acquiring one may wait, claiming buffers must not be followed by a
        // wait before the I/O is staged.
        let mut handle = ctx.acquire()?;
        let claimed: Vec<u32> = buffers
            .iter()
            .take_while(|buffer| buffer.descriptor().claim_io(IoKind::Read) == IoClaim::Claimed)
            .map(PinnedBuffer::index)
            .collect();
        if claimed.is_empty() {
            return Ok(None);
        }
        let outcome = IoReturn::new();
        handle.target(relation_tag(
            TargetId::SharedBuffers,
            rel_fork.rel,
            rel_fork.fork,
            first,
        ));
        handle.callback(self.read_callbacks, flags.to_bits());
        handle.set_data(&claimed);
        handle.report_to(&outcome);
        let memory = self.memory_of(&claimed);
        // SAFETY: each page is claimed for this read and not valid, so that nobody has a reference to
        // it or makes one until the completion publishes it (`Frames`, rules 1 to 3). The read's stage
        // hook pins the buffers, so none changes hands; `Frames`, kept by the registered callbacks,
        // keeps the memory mapped.
        let started = unsafe {
            self.smgr()
                .start_readv(handle, rel_fork.rel, rel_fork.fork, first, &memory)
        };
        match started {
            Ok(wait_ref) => {
                let blocks = claimed.len() as u32;
                let count = |count, n| self.counters.add(account, claimed[0], count, n);
                count(Count::Reads, 1);
                count(Count::ReadBlocks, blocks.into());
                Ok(Some(ReadInFlight {
                    wait_ref,
                    outcome,
                    rel_fork,
                    first,
                    blocks,
                }))
            }
            Err(error) => {
                for &buffer in &claimed {
                    self.frames().descriptor(buffer).abandon_io();
                }
                Err(error.into())
            }
        }
    }

    /// The pages of `buffers`, neighbours in memory joined.
    pub(crate) fn memory_of(&self, buffers: &[u32]) -> Vec<IoMemory> {
        let mut memory: Vec<IoMemory> = Vec::with_capacity(buffers.len());
        for &buffer in buffers {
            let page = self.frames().page(buffer).as_ptr().cast::<u8>();
            match memory.last_mut() {
                Some(last) if last.ptr().wrapping_add(last.len()) == page => {
                    *last = IoMemory::new(last.ptr(), last.len() + BLCKSZ);
                }
                _ => memory.push(IoMemory::new(page, BLCKSZ)),
            }
        }
        memory
    }

    /// Waits for a read and tells what its result means for `block`, one of its blocks: an error only
    /// if that block is the first that failed, or all did. Damaged pages that were published all the
    /// same are told of along with the read's first block. Of others that were not, the issuer is
    /// told along with the first such; each has to be read again for an error of its own.
    pub(crate) fn finish_read(
        &self,
        ctx: &mut IoContext,
        read: &ReadInFlight,
        block: BlockNumber,
    ) -> Result<(), BufferError> {
        ctx.wait(read.wait_ref);
        let Some(result) = read.outcome.get() else {
            return Ok(());
        };
        if let Some(failure) = result.failure() {
            self.frames().damage.tell();
            if failure.errno().is_some() {
                return Err(BufferError::Read {
                    path: read.path(),
                    first: read.first,
                    last: read.first + read.blocks - 1,
                    error: failure.into(),
                });
            }
            let damaged = DamagedRead::decode(&failure, read.rel_fork, read.first, read.blocks);
            if result.is_error() {
                if damaged.first_damaged == block {
                    return Err(damaged.into());
                }
                return Ok(());
            }
            if block == read.first {
                warn(ctx, &damaged);
            }
        }
        if block - read.first < result.bytes() / BLCKSZ as u32 {
            return Ok(());
        }
        Err(BufferError::short_read(
            read.path(),
            read.first,
            read.blocks,
            result.bytes(),
        ))
    }

    /// Whether the page of a buffer may be looked at.
    pub(crate) fn is_valid(buffer: &PinnedBuffer) -> bool {
        buffer.descriptor().state() & VALID != 0
    }
}

impl ReadInFlight {
    fn path(&self) -> String {
        segment_path(
            self.rel_fork.rel,
            self.rel_fork.fork,
            self.first / RELSEG_SIZE,
        )
    }
}

/// Tells the reader, and the server's log, of pages that were zeroed or whose checksums were ignored.
fn warn(ctx: &IoContext, read: &DamagedRead) {
    tracing::warn!(detail = read.detail(), hint = read.hint(), "{read}");
    let reader = ctx.client::<Reader>();
    if let Some(warnings) = reader.and_then(|reader| reader.warnings.as_ref()) {
        warnings.warn(read);
    }
}
