//! Records before they are due, and reads of their blocks started (W8; PostgreSQL's
//! `access/transam/xlogprefetcher.c`).
//!
//! Records are read up to so many bytes ahead of redo. Of each, the blocks are read into the pool that
//! redo will need from disk: not those that come with an image or are made anew, nor those that an
//! earlier record in the window makes so (what is on disk of them may be torn), nor those of files that
//! are not there or not so long yet.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use trunkline_aio::IoContext;
use trunkline_buffer::{BufferPool, BufferTag, RelFork};
use trunkline_pgformat::Lsn;
use trunkline_pgformat::wal::decode::{DecodedBlock, DecodedRecord};
use trunkline_pgformat::wal::reader::WalEnd;
use trunkline_pgformat::wal::record::MAX_BLOCK_ID;
use trunkline_wal::WalReader;

use super::{RecoveryError, RecoveryParts};
use crate::error::EngineError;

/// A record in memory.
pub(super) struct QueuedRecord {
    lsn: Lsn,
    bytes: Vec<u8>,
    /// Blocks whose reads were started for it.
    blocks: usize,
}

impl QueuedRecord {
    /// Takes it apart.
    ///
    /// # Errors
    /// None that its first decoding did not have.
    pub(super) fn decode(&self) -> Result<DecodedRecord<'_>, RecoveryError> {
        DecodedRecord::decode(self.lsn, &self.bytes).map_err(|error| RecoveryError::Record {
            at: self.lsn,
            what: error.to_string(),
        })
    }
}

/// The window.
pub(super) struct ReadAhead {
    reader: WalReader,
    queue: VecDeque<QueuedRecord>,
    queued_bytes: usize,
    limit_bytes: usize,
    /// Records of the queue whose blocks were looked at.
    looked_at: usize,
    blocks: usize,
    limit_blocks: usize,
    /// Blocks that a record in the window makes anew, and the last such record.
    made_anew: HashMap<BufferTag, Lsn>,
    idle: Vec<Vec<u8>>,
    end: Option<WalEnd>,
}

impl ReadAhead {
    pub(super) fn new(parts: &RecoveryParts<'_>, start: Lsn) -> ReadAhead {
        ReadAhead {
            reader: WalReader::new(Arc::clone(parts.storage), parts.wal_config, start),
            queue: VecDeque::new(),
            queued_bytes: 0,
            limit_bytes: parts.read_ahead_bytes,
            looked_at: 0,
            blocks: 0,
            limit_blocks: parts.blocks_ahead,
            made_anew: HashMap::new(),
            idle: Vec::new(),
            end: None,
        }
    }

    /// The next record to redo; none at the log's end. To be given back by [`ReadAhead::done`].
    pub(super) fn next(
        &mut self,
        pool: &Arc<BufferPool>,
        io: &mut IoContext,
    ) -> Result<Option<QueuedRecord>, EngineError> {
        self.read(io)?;
        self.look_ahead(pool, io)?;
        self.check_bounds();
        let record = self.queue.pop_front();
        self.looked_at = self.looked_at.saturating_sub(1);
        Ok(record)
    }

    /// A record was redone.
    pub(super) fn done(&mut self, record: QueuedRecord) {
        self.queued_bytes -= record.bytes.len();
        self.blocks -= record.blocks;
        if let Ok(decoded) = record.decode() {
            for block in decoded.blocks.iter().filter(|block| is_made_anew(block)) {
                let tag = tag_of(block);
                if self.made_anew.get(&tag) == Some(&record.lsn) {
                    self.made_anew.remove(&tag);
                }
            }
        }
        self.idle.push(record.bytes);
    }

    /// Where the log ends; known once there is no next record.
    pub(super) fn end(&self) -> &WalEnd {
        match &self.end {
            Some(end) => end,
            None => unreachable!("the end of the log is asked for before it is met"),
        }
    }

    /// The window holds so much, and what its last record has more.
    fn check_bounds(&self) {
        let last = self.queue.back().map_or(0, |record| record.bytes.len());
        assert!(
            self.queue.len() <= 1 || self.queued_bytes - last < self.limit_bytes,
            "{} bytes are read ahead, {} may be",
            self.queued_bytes,
            self.limit_bytes
        );
        assert!(
            self.blocks <= self.limit_blocks + usize::from(MAX_BLOCK_ID),
            "{} blocks are read ahead, {} may be",
            self.blocks,
            self.limit_blocks
        );
    }

    fn read(&mut self, io: &mut IoContext) -> Result<(), EngineError> {
        while self.end.is_none() && (self.queued_bytes < self.limit_bytes || self.queue.is_empty())
        {
            let mut bytes = self.idle.pop().unwrap_or_default();
            let next = self.reader.next(io, |_, record| {
                bytes.clear();
                bytes.extend_from_slice(record.bytes);
                record.lsn
            })?;
            match next {
                Ok(lsn) => {
                    self.queued_bytes += bytes.len();
                    self.queue.push_back(QueuedRecord {
                        lsn,
                        bytes,
                        blocks: 0,
                    });
                }
                Err(end) => self.end = Some(end),
            }
        }
        Ok(())
    }

    fn look_ahead(
        &mut self,
        pool: &Arc<BufferPool>,
        io: &mut IoContext,
    ) -> Result<(), EngineError> {
        while self.blocks < self.limit_blocks
            && let Some(record) = self.queue.get_mut(self.looked_at)
        {
            self.looked_at += 1;
            let lsn = record.lsn;
            let mut started = 0;
            let decoded = record.decode()?;
            for block in &decoded.blocks {
                let tag = tag_of(block);
                if is_made_anew(block) {
                    self.made_anew.insert(tag, lsn);
                } else if !self.made_anew.contains_key(&tag) && is_there(pool, tag)? {
                    // One that fails is met, and told, by who needs the block.
                    let read = pool.prefetch(io, tag.rel_fork, tag.block, 1);
                    started += read.unwrap_or(0) as usize;
                }
            }
            drop(decoded);
            record.blocks = started;
            self.blocks += started;
        }
        Ok(())
    }
}

fn tag_of(block: &DecodedBlock<'_>) -> BufferTag {
    BufferTag::new(RelFork::new(block.locator, block.fork), block.block)
}

fn is_made_anew(block: &DecodedBlock<'_>) -> bool {
    block.will_init || block.image.is_some_and(|image| image.apply())
}

fn is_there(pool: &Arc<BufferPool>, tag: BufferTag) -> Result<bool, EngineError> {
    let RelFork { rel, fork } = tag.rel_fork;
    Ok(pool.smgr().exists(rel, fork)? && tag.block < pool.nblocks(tag.rel_fork)?)
}
