//! The `raw` target: any file, with owned buffers. The memory belongs to the
//! I/O until it is complete, so nothing here is unsafe to use.
#![expect(unsafe_code, reason = "starts I/O on buffers that the I/O itself owns")]

use std::io;
use std::sync::Arc;

use crate::aio::Aio;
use crate::error::AioError;
use crate::file::File;
use crate::handle::MAX_IO_BYTES;
use crate::issuer::IoContext;
use crate::memory::{AlignedBuf, IoMemory};
use crate::operation::Op;
use crate::result::{IoResult, IoReturn};
use crate::sync::{Mutex, lock};
use crate::wait::WaitRef;

/// A buffer and the result of the I/O on it, shared with the I/O. Reusable,
/// so that sequential readers and writers allocate nothing per I/O.
#[derive(Clone, Debug)]
pub(crate) struct RawCell {
    buffer: Arc<Mutex<Option<AlignedBuf>>>,
    result: Arc<IoReturn>,
}

impl RawCell {
    pub(crate) fn new() -> Self {
        RawCell {
            buffer: Arc::default(),
            result: IoReturn::new(),
        }
    }

    /// Starts an I/O on the first `len` bytes of `buffer`, which stays with
    /// the cell (and the I/O) until [`Self::take`].
    pub(crate) fn start(
        self,
        context: &mut IoContext,
        op: Op,
        file: &Arc<File>,
        mut buffer: AlignedBuf,
        offset: u64,
        len: usize,
    ) -> Result<RawIo, AioError> {
        check(file, &buffer, offset, len)?;
        let memory = [IoMemory::new(buffer.memory().ptr(), len)];
        let mut handle = context.acquire()?;
        *lock(&self.buffer) = Some(buffer);
        handle.report_to(&self.result);
        handle.keep_alive(self.buffer.clone());
        // SAFETY: the buffer lies in the cell, which the I/O keeps alive; it
        // is taken out only after the result is there, which is when the
        // system is done with the memory. The first `len` bytes exist.
        let wait_ref = unsafe {
            if op == Op::Readv {
                handle.start_readv(file, offset, &memory)
            } else {
                handle.start_writev(file, offset, &memory)
            }
        };
        Ok(RawIo {
            aio: Arc::clone(context.aio()),
            cell: self,
            wait_ref,
        })
    }

    /// Buffer and result, once the I/O is complete.
    pub(crate) fn take(&self) -> Option<(AlignedBuf, IoResult)> {
        let result = self.result.get()?;
        let buffer = lock(&self.buffer).take()?;
        Some((buffer, result))
    }
}

/// Bytes that [`IoContext::read_unaligned`] reads at a time.
const UNALIGNED_READ_BYTES: usize = 128 << 10;

/// Whether an I/O fits its buffer and its file.
fn check(file: &File, buffer: &AlignedBuf, offset: u64, len: usize) -> Result<(), AioError> {
    let limit_bytes = buffer.len().min(MAX_IO_BYTES);
    if len > limit_bytes {
        return Err(AioError::TooLong {
            length_bytes: len,
            limit_bytes,
        });
    }
    if let Some(alignment) = file.direct() {
        let alignment_bytes = alignment.offset_bytes;
        let unit = u64::from(alignment_bytes);
        if !offset.is_multiple_of(unit) || !(len as u64).is_multiple_of(unit) {
            return Err(AioError::Misaligned {
                offset,
                length_bytes: len,
                alignment_bytes,
            });
        }
    }
    Ok(())
}

/// A raw read or write in flight. Dropping it neither cancels nor waits: the
/// I/O is submitted, keeps the buffer, and completes without anybody's help.
#[must_use = "the buffer and the result come from `wait`"]
#[derive(Debug)]
pub struct RawIo {
    aio: Arc<Aio>,
    cell: RawCell,
    wait_ref: WaitRef,
}

impl RawIo {
    /// The reference to wait with.
    pub fn wait_ref(&self) -> WaitRef {
        self.wait_ref
    }

    /// Waits, and returns the buffer with the number of bytes moved. A read
    /// that met the end of the file moved fewer than asked for.
    pub fn wait(self, context: &mut IoContext) -> (AlignedBuf, io::Result<usize>) {
        context.wait(self.wait_ref);
        self.finish()
    }

    /// [`Self::wait`] for async callers.
    pub async fn wait_async(self, context: &mut IoContext) -> (AlignedBuf, io::Result<usize>) {
        context.wait_async(self.wait_ref).await;
        self.finish()
    }

    fn finish(self) -> (AlignedBuf, io::Result<usize>) {
        let (buffer, result) = self.take();
        (buffer, result.into_io_result())
    }

    fn take(&self) -> (AlignedBuf, IoResult) {
        match self.cell.take() {
            Some(taken) => taken,
            None => unreachable!("a complete raw I/O has its buffer and its result"),
        }
    }

    /// [`Self::wait`] for who has further use for the cell.
    pub(crate) fn wait_with_cell(self, context: &mut IoContext) -> (RawCell, AlignedBuf, IoResult) {
        context.wait(self.wait_ref);
        let (buffer, result) = self.take();
        (self.cell.clone(), buffer, result)
    }

    /// Waits without an issuer, and forgets buffer and result.
    pub(crate) fn settle(self) {
        self.aio.wait(self.wait_ref);
    }
}

impl Drop for RawIo {
    fn drop(&mut self) {
        self.aio.leave(self.wait_ref);
    }
}

impl IoContext {
    /// Starts a read of `len` bytes at `offset` into `buffer`. Like every
    /// I/O, it is pending until submitted.
    ///
    /// # Errors
    /// The buffer is too small, a direct file's alignment is not met, or no
    /// handle can be had.
    pub fn read_raw(
        &mut self,
        file: &Arc<File>,
        buffer: AlignedBuf,
        offset: u64,
        len: usize,
    ) -> Result<RawIo, AioError> {
        RawCell::new().start(self, Op::Readv, file, buffer, offset, len)
    }

    /// Reads from any `offset` on until `bytes` is full or the file ends,
    /// whatever a direct file demands of offset, length and memory; the number
    /// of bytes read. Blocks.
    ///
    /// # Errors
    /// As the system reports, and those of [`IoContext::bounce_buffer`].
    pub fn read_unaligned(
        &mut self,
        file: &Arc<File>,
        offset: u64,
        bytes: &mut [u8],
    ) -> io::Result<usize> {
        let unit = file
            .direct()
            .map_or(1, |alignment| u64::from(alignment.offset_bytes));
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let lead = (at % unit) as usize;
            let wanted = (lead + bytes.len() - done)
                .min(UNALIGNED_READ_BYTES.min(self.aio().bounce_limit_bytes()))
                .next_multiple_of(unit as usize);
            let buffer = self.bounce_buffer(wanted)?;
            let memory = [buffer.memory()];
            let cell = IoReturn::new();
            let mut handle = self.acquire()?;
            handle.report_to(&cell);
            // SAFETY: the buffer is ours until the wait below has returned.
            let wait_ref = unsafe { handle.start_readv(file, at - lead as u64, &memory) };
            buffer.note_io(wait_ref);
            self.wait(wait_ref);
            let result = cell.get().map_or(Ok(0), IoResult::into_io_result)?;
            let found = result.saturating_sub(lead).min(bytes.len() - done);
            bytes[done..done + found].copy_from_slice(&buffer[lead..lead + found]);
            done += found;
            if result < wanted {
                break;
            }
        }
        Ok(done)
    }

    /// Starts a write of the first `len` bytes of `buffer` at `offset`.
    ///
    /// # Errors
    /// As [`Self::read_raw`].
    pub fn write_raw(
        &mut self,
        file: &Arc<File>,
        buffer: AlignedBuf,
        offset: u64,
        len: usize,
    ) -> Result<RawIo, AioError> {
        RawCell::new().start(self, Op::Writev, file, buffer, offset, len)
    }
}
