//! Sequential reading and writing of plain files with several buffers in
//! flight: COPY's own files, configuration, control files.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use crate::file::File;
use crate::issuer::IoContext;
use crate::memory::AlignedBuf;
use crate::operation::Op;
use crate::raw::{RawCell, RawIo};
use crate::result::{IoFailure, IoResult};

/// What a reader or a writer has started, oldest first.
///
/// When it goes, so does everything in it: it waits, as nobody else knows of
/// these I/Os. Only those on a pipe, which can take for ever, are left to
/// complete by themselves.
struct InFlight {
    ios: VecDeque<RawIo>,
    seekable: bool,
}

impl InFlight {
    fn new(file: &File, depth: usize) -> Self {
        InFlight {
            ios: VecDeque::with_capacity(depth),
            seekable: file.is_seekable(),
        }
    }

    fn settle(&mut self) {
        for io in self.ios.drain(..) {
            if self.seekable {
                io.settle();
            }
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.settle();
    }
}

/// Reads a file from an offset to its end.
///
/// A pipe is read with one buffer at a time, since it has no offsets.
/// Dropping the reader early waits for what it has read ahead.
pub struct RawReader {
    file: Arc<File>,
    buffer_bytes: usize,
    depth: usize,
    next_offset: u64,
    in_flight: InFlight,
    idle: Vec<(RawCell, AlignedBuf)>,
    /// The chunk that the caller sees.
    current: Option<(RawCell, AlignedBuf, usize)>,
    at_end: bool,
}

impl RawReader {
    /// A reader that keeps `depth` buffers of `buffer_bytes` each in flight.
    /// For a direct file both `offset` and `buffer_bytes` must be aligned.
    ///
    /// # Panics
    /// If `buffer_bytes` or `depth` is 0.
    pub fn new(file: Arc<File>, offset: u64, buffer_bytes: usize, depth: usize) -> Self {
        assert!(buffer_bytes > 0 && depth > 0, "a reader needs a buffer");
        let depth = if file.is_seekable() { depth } else { 1 };
        let idle = AlignedBuf::zeroed_group(depth, buffer_bytes).into_iter();
        RawReader {
            buffer_bytes,
            depth,
            next_offset: offset,
            in_flight: InFlight::new(&file, depth),
            idle: idle.map(|buffer| (RawCell::new(), buffer)).collect(),
            current: None,
            at_end: false,
            file,
        }
    }

    /// The next chunk, `None` at the end of the file. Only the last chunk is
    /// shorter than a buffer.
    ///
    /// # Errors
    /// As the system reports; the reader ends there.
    pub fn next(&mut self, context: &mut IoContext) -> io::Result<Option<&[u8]>> {
        if let Some((cell, buffer, _)) = self.current.take() {
            self.idle.push((cell, buffer));
        }
        self.read_ahead(context)?;
        if self.at_end {
            // What was read ahead lies beyond the end; if the file grows
            // meanwhile, there is a gap before it.
            self.in_flight.settle();
        }
        let Some(oldest) = self.in_flight.ios.pop_front() else {
            return Ok(None);
        };
        let (cell, buffer, result) = oldest.wait_with_cell(context);
        let bytes = result
            .into_io_result()
            .inspect_err(|_| self.at_end = true)?;
        self.at_end |= bytes < self.buffer_bytes;
        let (_, buffer, len) = self.current.insert((cell, buffer, bytes));
        Ok((*len > 0).then_some(&buffer[..*len]))
    }

    fn read_ahead(&mut self, context: &mut IoContext) -> io::Result<()> {
        while !self.at_end && self.in_flight.ios.len() < self.depth {
            let Some((cell, buffer)) = self.idle.pop() else {
                break;
            };
            let (offset, len) = (self.next_offset, self.buffer_bytes);
            let io = cell.start(context, Op::Readv, &self.file, buffer, offset, len)?;
            self.next_offset += len as u64;
            self.in_flight.ios.push_back(io);
        }
        context.submit();
        Ok(())
    }
}

/// Writes a file from an offset on, with several buffers in flight. The file
/// must be buffered: the last chunk has any length. Nothing is durable before
/// a sync. Dropping the writer without [`Self::finish`] waits for what it has
/// started, and drops the rest.
pub struct RawWriter {
    file: Arc<File>,
    buffer_bytes: usize,
    next_offset: u64,
    filling: Option<(RawCell, AlignedBuf, usize)>,
    in_flight: InFlight,
    idle: Vec<(RawCell, AlignedBuf)>,
    /// The first error, told at every later call.
    failed: Option<IoFailure>,
}

impl RawWriter {
    /// A writer with `depth` buffers of `buffer_bytes` each.
    ///
    /// # Panics
    /// If `buffer_bytes` or `depth` is 0.
    pub fn new(file: Arc<File>, offset: u64, buffer_bytes: usize, depth: usize) -> Self {
        assert!(buffer_bytes > 0 && depth > 0, "a writer needs a buffer");
        let depth = if file.is_seekable() { depth } else { 1 };
        let idle = AlignedBuf::zeroed_group(depth, buffer_bytes).into_iter();
        RawWriter {
            buffer_bytes,
            next_offset: offset,
            filling: None,
            in_flight: InFlight::new(&file, depth),
            idle: idle.map(|buffer| (RawCell::new(), buffer)).collect(),
            failed: None,
            file,
        }
    }

    /// Takes over `bytes`; full buffers are written behind the caller's back.
    ///
    /// # Errors
    /// As the system reports for this or an earlier write.
    pub fn write_all(&mut self, context: &mut IoContext, mut bytes: &[u8]) -> io::Result<()> {
        self.check_failed()?;
        while !bytes.is_empty() {
            let (cell, mut buffer, filled) = match self.filling.take() {
                Some(filling) => filling,
                None => {
                    let (cell, buffer) = self.free_buffer(context)?;
                    (cell, buffer, 0)
                }
            };
            let taken = bytes.len().min(self.buffer_bytes - filled);
            let (now, later) = bytes.split_at(taken);
            buffer[filled..filled + taken].copy_from_slice(now);
            bytes = later;
            self.filling = Some((cell, buffer, filled + taken));
            if filled + taken == self.buffer_bytes {
                self.write_buffer(context)?;
            }
        }
        Ok(())
    }

    /// Writes the rest and waits for everything: the offset after the last
    /// byte.
    ///
    /// # Errors
    /// As [`Self::write_all`].
    pub fn finish(mut self, context: &mut IoContext) -> io::Result<u64> {
        self.check_failed()?;
        self.write_buffer(context)?;
        while !self.in_flight.ios.is_empty() {
            self.complete_oldest(context)?;
        }
        Ok(self.next_offset)
    }

    fn check_failed(&self) -> io::Result<()> {
        self.failed.map_or(Ok(()), |failure| Err(failure.into()))
    }

    fn free_buffer(&mut self, context: &mut IoContext) -> io::Result<(RawCell, AlignedBuf)> {
        loop {
            if let Some(idle) = self.idle.pop() {
                return Ok(idle);
            }
            self.complete_oldest(context)?;
        }
    }

    fn write_buffer(&mut self, context: &mut IoContext) -> io::Result<()> {
        let Some((cell, buffer, len)) = self.filling.take() else {
            return Ok(());
        };
        let offset = self.next_offset;
        let io = cell.start(context, Op::Writev, &self.file, buffer, offset, len)?;
        self.next_offset += len as u64;
        self.in_flight.ios.push_back(io);
        context.submit();
        Ok(())
    }

    fn complete_oldest(&mut self, context: &mut IoContext) -> io::Result<()> {
        let Some(oldest) = self.in_flight.ios.pop_front() else {
            return Ok(());
        };
        let (cell, buffer, result) = oldest.wait_with_cell(context);
        self.idle.push((cell, buffer));
        if let IoResult::Error(failure) = result {
            self.failed = Some(failure);
        }
        self.check_failed()
    }
}
