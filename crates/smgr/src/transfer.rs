//! Starting I/O on blocks: from a block number to a file and an offset.
#![expect(
    unsafe_code,
    reason = "starts I/O on memory that the caller vouches for"
)]

use crate::error::SmgrError;
use crate::manager::{Smgr, segment_remaining};
use crate::sync_requests::{SyncRequests, segment_path};
use crate::tag::{decode_relation_tag, describe_blocks, relation_tag};
use std::fmt;
use std::io::{Error, ErrorKind};
use std::sync::Arc;
use trunkline_aio::{
    BounceBuffer, IoHandle, IoMemory, IoResult, IoView, Op, SharedCallbacks, TargetId, WaitRef,
};
use trunkline_pgformat::{BLCKSZ, BlockNumber, ForkNumber, RELSEG_SIZE, RelFileLocator};

/// Names what an I/O is on. There is nothing to be done when it completes.
pub(crate) struct Named;

impl SharedCallbacks for Named {
    fn name(&self) -> &'static str {
        "smgr"
    }

    fn complete(&self, _: &IoView<'_>, prior: IoResult) -> IoResult {
        prior
    }

    fn describe(&self, io: &IoView<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        match io.op() {
            Op::Fsync | Op::Fdatasync => {
                let (rel, fork, block) = decode_relation_tag(&io.target());
                let path = segment_path(rel, fork, block / RELSEG_SIZE);
                write!(out, "file \"{path}\"")
            }
            _ => describe_transfer(io, out),
        }
    }
}

fn describe_transfer(io: &IoView<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
    let blocks = u64::from(io.length_bytes()) / BLCKSZ as u64;
    describe_blocks(&io.target(), blocks, out)
}

/// Notes, when a write of a segment has completed, that the segment needs a sync. Before the layer
/// above learns of the completion: who sees a buffer clean must find the request.
pub(crate) struct WriteNoted {
    requests: Arc<SyncRequests>,
}

impl WriteNoted {
    pub(crate) fn new(requests: Arc<SyncRequests>) -> WriteNoted {
        WriteNoted { requests }
    }
}

impl SharedCallbacks for WriteNoted {
    fn name(&self) -> &'static str {
        "smgr_writev"
    }

    fn complete(&self, io: &IoView<'_>, prior: IoResult) -> IoResult {
        // A failed write may have changed a part of the file, too.
        self.requests.note(io.callback_data());
        prior
    }

    fn describe(&self, io: &IoView<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        describe_transfer(io, out)
    }
}

/// Keeps that a flush of a segment has failed. The kernel may have dropped what it could not write, and
/// a sync after that would not tell (PostgreSQL's `pg_flush_data` panics as for a failed sync).
pub(crate) struct FlushNoted {
    requests: Arc<SyncRequests>,
}

impl FlushNoted {
    pub(crate) fn new(requests: Arc<SyncRequests>) -> FlushNoted {
        FlushNoted { requests }
    }
}

impl SharedCallbacks for FlushNoted {
    fn name(&self) -> &'static str {
        "smgr_flush_range"
    }

    fn complete(&self, io: &IoView<'_>, prior: IoResult) -> IoResult {
        if let IoResult::Error(failure) = prior
            && let Some(errno) = failure.errno()
            // Where the file system has no such call, nothing was attempted.
            && Error::from_raw_os_error(errno).kind() != ErrorKind::Unsupported
        {
            self.requests.note_lost(io.callback_data(), errno);
        }
        prior
    }

    fn describe(&self, io: &IoView<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        describe_transfer(io, out)
    }
}

impl Smgr {
    /// Starts a read of the blocks from `block` on into `memory`, all within one segment. The handle
    /// comes with its target and the callbacks of the layers above; it is given back on an error.
    /// A read past the end of the fork is a partial one.
    ///
    /// # Safety
    /// As for [`IoHandle::start_readv`]: the memory stays where it is, and nobody else touches it,
    /// until the I/O is complete.
    pub unsafe fn start_readv(
        &self,
        handle: IoHandle<'_>,
        rel: RelFileLocator,
        fork: ForkNumber,
        block: BlockNumber,
        memory: &[IoMemory],
    ) -> Result<WaitRef, SmgrError> {
        check_range(block, memory.iter().map(IoMemory::len).sum());
        let (_, file, offset) = self.place(rel, fork, block)?;
        // SAFETY: passed on to the caller.
        Ok(unsafe { handle.start_readv(&file, offset, memory) })
    }

    /// Starts a read of the blocks from `block` on, all within one segment, as many as `buffer` holds,
    /// for the sake of the reading: past all shared buffers, into a buffer that the I/O owns from now on.
    /// The handle comes with nothing but what it reports to; it is given back on an error.
    pub fn start_read_discarding(
        &self,
        mut handle: IoHandle<'_>,
        rel: RelFileLocator,
        fork: ForkNumber,
        block: BlockNumber,
        buffer: BounceBuffer,
    ) -> Result<WaitRef, SmgrError> {
        check_range(block, buffer.len());
        let (_, file, offset) = self.place(rel, fork, block)?;
        handle.target(relation_tag(TargetId::Smgr, rel, fork, block));
        handle.callback(self.named, 0);
        Ok(handle.start_read_discarding(&file, offset, buffer))
    }

    /// Starts a write of the blocks from `block` on from `memory`, all within one segment, and notes
    /// the sync that it needs when it completes. The handle as for [`Smgr::start_readv`].
    ///
    /// # Safety
    /// As for [`IoHandle::start_writev`]: the memory stays where it is, and nobody changes it, until
    /// the I/O is complete.
    pub unsafe fn start_writev(
        &self,
        mut handle: IoHandle<'_>,
        rel: RelFileLocator,
        fork: ForkNumber,
        block: BlockNumber,
        memory: &[IoMemory],
    ) -> Result<WaitRef, SmgrError> {
        check_range(block, memory.iter().map(IoMemory::len).sum());
        let (key, file, offset) = self.place(rel, fork, block)?;
        handle.callback(self.write_noted, self.requests.slot(key));
        // SAFETY: passed on to the caller.
        Ok(unsafe { handle.start_writev(&file, offset, memory) })
    }
}

impl Smgr {
    /// Asks the kernel to begin writing what it has buffered of the `blocks` blocks from `block` on,
    /// all within one segment. The handle comes with its target; it is given back, and nothing started,
    /// if there is no such file, or one that is written directly.
    ///
    /// A failure is no less bad than a failed sync, and is told by the next one.
    pub fn start_flush_range(
        &self,
        mut handle: IoHandle<'_>,
        rel: RelFileLocator,
        fork: ForkNumber,
        block: BlockNumber,
        blocks: u32,
    ) -> Option<WaitRef> {
        let blocks = blocks.min(segment_remaining(block));
        let (key, file, offset) = self.place(rel, fork, block).ok()?;
        if file.direct().is_some() {
            return None;
        }
        handle.callback(self.flush_noted, self.requests.slot(key));
        Some(handle.start_flush_range(&file, offset, blocks as usize * BLCKSZ))
    }
}

fn check_range(block: BlockNumber, bytes: usize) {
    assert!(
        bytes > 0
            && bytes.is_multiple_of(BLCKSZ)
            && bytes / BLCKSZ <= segment_remaining(block) as usize,
        "an I/O of {bytes} bytes at block {block} is not of whole blocks of one segment"
    );
}
