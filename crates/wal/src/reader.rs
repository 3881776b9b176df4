//! Reading the log: records in their order, with several reads in flight ahead of them (W8).

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use trunkline_aio::{AlignedBuf, File, IoContext, OpenOptions, RawIo, Storage};
use trunkline_pgformat::wal::XLOG_BLCKSZ;
use trunkline_pgformat::wal::decode::DecodedRecord;
use trunkline_pgformat::wal::reader::{Log, Reader, Step, WalEnd};
use trunkline_pgformat::wal::segment::SegmentNumber;
use trunkline_pgformat::{Lsn, PageBytes};

use crate::config::WalConfig;
use crate::error::WalError;

/// Bytes of one read, at most.
const CHUNK_BYTES: usize = 128 << 10;
/// Reads in flight, at most; they grow to that while the log is read without jumps.
const MAX_DEPTH: usize = 8;

const PAGE: u64 = XLOG_BLCKSZ as u64;

/// A piece of the log that is being read; `io` is `None` where there is no file.
struct Ahead {
    start: Lsn,
    length: usize,
    path: PathBuf,
    io: Option<RawIo>,
}

/// A piece of the log in memory.
struct Chunk {
    start: Lsn,
    buffer: AlignedBuf,
    length: usize,
}

/// Reads records from some LSN on, to where the log ends.
pub struct WalReader {
    storage: Arc<dyn Storage>,
    config: WalConfig,
    reader: Reader,
    file: Option<(SegmentNumber, Arc<File>)>,
    current: Option<Chunk>,
    ahead: VecDeque<Ahead>,
    depth: usize,
    next_read: Lsn,
    idle: Vec<AlignedBuf>,
}

impl WalReader {
    /// A reader whose first record is at `start`. Records that another cluster wrote are the end.
    pub fn new(storage: Arc<dyn Storage>, config: &WalConfig, start: Lsn) -> Self {
        let log = Log {
            segment_size: config.segment_size,
            system_identifier: Some(config.system_identifier),
            timeline: config.timeline,
        };
        WalReader {
            storage,
            config: config.clone(),
            reader: Reader::new(log, start),
            file: None,
            current: None,
            ahead: VecDeque::with_capacity(MAX_DEPTH),
            depth: 1,
            next_read: start,
            idle: Vec::new(),
        }
    }

    /// Where the next record is expected; behind the last one.
    pub fn position(&self) -> Lsn {
        self.reader.position()
    }

    /// Hands the next record to `take`, with the issuer, and returns what that makes of it; or tells
    /// where and why the log ends. That is not an error: it is how reading finishes.
    ///
    /// # Errors
    /// A segment could not be opened or read.
    pub fn next<T>(
        &mut self,
        io: &mut IoContext,
        take: impl FnOnce(&mut IoContext, DecodedRecord<'_>) -> T,
    ) -> Result<Result<T, WalEnd>, WalError> {
        loop {
            let needed = match self.reader.step() {
                Step::Record(record) => return Ok(Ok(take(io, record))),
                Step::End(end) => return Ok(Err(end.clone())),
                Step::NeedPage(needed) => needed,
            };
            self.load(io, needed)?;
        }
    }

    /// Feeds the page at `page` to the state machine.
    fn load(&mut self, io: &mut IoContext, page: Lsn) -> Result<(), WalError> {
        if let Some(bytes) = self.current.as_ref().and_then(|chunk| chunk.page(page)) {
            self.reader.feed(bytes);
            return Ok(());
        }
        let follows = self
            .ahead
            .front()
            .map_or(self.next_read, |ahead| ahead.start);
        if follows == page {
            self.depth = (self.depth * 2).min(MAX_DEPTH);
        } else {
            self.restart(io, page);
        }
        self.read_ahead(io)?;
        self.take_oldest(io)?;
        match self.current.as_ref().and_then(|chunk| chunk.page(page)) {
            Some(bytes) => self.reader.feed(bytes),
            None => self.reader.no_page(),
        }
        Ok(())
    }

    /// Forgets what was read ahead, and goes on at `page`.
    fn restart(&mut self, io: &mut IoContext, page: Lsn) {
        for ahead in self.ahead.drain(..) {
            if let Some(read) = ahead.io {
                // Whether it failed does not matter: nobody wants it.
                let (buffer, _) = read.wait(io);
                self.idle.push(buffer);
            }
        }
        self.depth = 1;
        self.next_read = page;
    }

    fn read_ahead(&mut self, io: &mut IoContext) -> Result<(), WalError> {
        while self.ahead.len() < self.depth {
            let size = self.config.segment_size;
            let start = self.next_read;
            let segment = size.segment_of(start);
            let left = u64::from(size.bytes() - size.offset_of(start));
            let length = CHUNK_BYTES.min(left as usize);
            let path = self
                .config
                .directory
                .join(size.file_name(self.config.timeline, segment));
            let read = match self.file(segment, &path)? {
                None => None,
                Some(file) => {
                    let buffer = self
                        .idle
                        .pop()
                        .unwrap_or_else(|| AlignedBuf::zeroed(CHUNK_BYTES));
                    let offset = size.offset_of(start).into();
                    Some(io.read_raw(&file, buffer, offset, length)?)
                }
            };
            let is_end = read.is_none();
            self.ahead.push_back(Ahead {
                start,
                length,
                path,
                io: read,
            });
            self.next_read = Lsn(start.0 + length as u64);
            if is_end {
                break;
            }
        }
        io.submit();
        Ok(())
    }

    fn file(
        &mut self,
        segment: SegmentNumber,
        path: &std::path::Path,
    ) -> Result<Option<Arc<File>>, WalError> {
        if let Some((open, file)) = &self.file
            && *open == segment
        {
            return Ok(Some(Arc::clone(file)));
        }
        let options = OpenOptions::READ.with_direct(self.config.io_direct_wal);
        match self.storage.open(path, options) {
            Ok(file) => {
                self.file = Some((segment, Arc::clone(&file)));
                Ok(Some(file))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(WalError::file("open", path)(error)),
        }
    }

    fn take_oldest(&mut self, io: &mut IoContext) -> Result<(), WalError> {
        if let Some(old) = self.current.take() {
            self.idle.push(old.buffer);
        }
        let Some(oldest) = self.ahead.pop_front() else {
            return Ok(());
        };
        let Some(read) = oldest.io else {
            return Ok(());
        };
        let (buffer, outcome) = read.wait(io);
        let length = outcome.map_err(WalError::file("read", &oldest.path))?;
        self.current = Some(Chunk {
            start: oldest.start,
            buffer,
            length: length.min(oldest.length),
        });
        Ok(())
    }
}

impl Chunk {
    fn page(&self, page: Lsn) -> Option<&PageBytes> {
        let offset = page.0.checked_sub(self.start.0)?;
        let end = offset.checked_add(PAGE)?;
        let bytes = self.buffer.get(offset as usize..end as usize)?;
        (end <= self.length as u64)
            .then(|| bytes.first_chunk())
            .flatten()
    }
}
