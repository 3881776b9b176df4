//! Pages for redo (`XLogReadBufferForRedoExtended` and its kin in PostgreSQL's `transam/xlogutils.c`).
//!
//! Recovery hands each record to the resource manager that wrote it, and that asks here for the
//! record's blocks. What comes back says what is left to do:
//!
//! ```text
//!  record, block id ─▶ image that applies? ── yes ──▶ the page is the image          Restored
//!                          │ no
//!                          ▼
//!                 block there? ── no ──▶ remembered (invalid pages)                  Missing
//!                          │ yes
//!                          ▼
//!                 page's LSN behind the record? ── yes ──▶ nothing to do             Done
//!                          │ no
//!                          ▼
//!                 the resource manager's change, all of it or nothing; LSN, dirty    Changed
//! ```
//!
//! A change is made on a copy of the page: a record that does not fit the page changes nothing, and
//! what a failed recovery leaves on disk is a state that recovery can start from again.
//!
//! One thread redoes; others may write pages meanwhile, so content locks are taken. Nothing is logged:
//! the pool has no log yet.

use crate::error::BufferError;
use crate::invalid_pages::{Absence, InvalidPages};
use crate::pinned::{ExclusiveGuard, PinnedBuffer};
use crate::pool::BufferPool;
use crate::tag::{BufferTag, RelFork};
use std::sync::Arc;
use trunkline_aio::IoContext;
use trunkline_pgformat::wal::decode::{DecodedBlock, DecodedRecord, RestoreError};
use trunkline_pgformat::wal::info::XLR_CHECK_CONSISTENCY;
use trunkline_pgformat::wal::rmgr::PayloadError;
use trunkline_pgformat::wal::rmgr_id::RmgrId;
use trunkline_pgformat::wal::segment::SegmentSize;
use trunkline_pgformat::{
    BLCKSZ, BlockNumber, ForkNumber, Lsn, Oid, PageBytes, PageMut, PageRef, RelFileLocator,
    max_align,
};

/// Why a record cannot be redone. Recovery has failed then.
#[derive(Debug, thiserror::Error)]
pub enum RedoError {
    /// The pool's: I/O, a damaged page, space.
    #[error(transparent)]
    Buffer(#[from] BufferError),
    /// An image cannot be restored.
    #[error(transparent)]
    Image(#[from] RestoreError),
    /// A record does not hold what its code says.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// A record does not refer to a block that it must refer to, or contradicts itself.
    #[error("WAL record at {lsn} ({rmgr}): {why}")]
    Record {
        /// Where the record begins.
        lsn: Lsn,
        /// Its resource manager.
        rmgr: RmgrId,
        /// What is wrong.
        why: &'static str,
    },
    /// A record does not fit the page that it is to change.
    #[error("WAL record does not fit page {block} of relation \"{path}\": {why}")]
    Page {
        /// The fork's path.
        path: String,
        /// The block.
        block: BlockNumber,
        /// What is wrong.
        why: &'static str,
    },
    /// What the record says cannot be redone here.
    #[error("WAL record at {lsn} cannot be replayed: {rmgr} {code} is not supported")]
    Unsupported {
        /// Where the record begins.
        lsn: Lsn,
        /// Its resource manager.
        rmgr: RmgrId,
        /// PostgreSQL's name of the record.
        code: &'static str,
    },
    /// Pages are missing that no record says to be gone.
    #[error("WAL contains references to invalid pages: {} in all, first: {}", .0.len(), .0.first().map_or("", String::as_str))]
    InvalidPages(Vec<String>),
    /// A page differs from the image that its record carries (`wal_consistency_checking`).
    #[error("inconsistent page found, relation \"{path}\", block {block}, record at {lsn}")]
    Inconsistent {
        /// The fork's path.
        path: String,
        /// The block.
        block: BlockNumber,
        /// Where the record begins.
        lsn: Lsn,
    },
}

/// A change does not fit its page; [`Redo`] tells which page that is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Misfit(pub &'static str);

/// A record to redo.
#[derive(Clone, Copy, Debug)]
pub struct RedoRecord<'r> {
    /// The record.
    pub decoded: &'r DecodedRecord<'r>,
    /// Where it ends: the LSN of the pages that it changes.
    pub end: Lsn,
}

impl<'r> RedoRecord<'r> {
    /// A record of a log with segments of this size.
    pub fn new(decoded: &'r DecodedRecord<'r>, segment_size: SegmentSize) -> RedoRecord<'r> {
        let start = segment_size.byte_position_of(decoded.lsn);
        let length = max_align(decoded.header.total_length as usize) as u64;
        RedoRecord {
            decoded,
            end: segment_size.end_lsn_of_byte_position(start + length),
        }
    }

    /// Block `id`, which the record must have.
    ///
    /// # Errors
    /// It does not.
    pub fn block(&self, id: u8) -> Result<&'r DecodedBlock<'r>, RedoError> {
        let found = self.decoded.block(id);
        found.ok_or(self.wrong("a block reference is missing"))
    }

    /// The error that something in the record is wrong.
    pub fn wrong(&self, why: &'static str) -> RedoError {
        RedoError::Record {
            lsn: self.decoded.lsn,
            rmgr: self.decoded.header.rmgr,
            why,
        }
    }

    /// The error that it cannot be redone.
    pub fn unsupported(&self, code: &'static str) -> RedoError {
        RedoError::Unsupported {
            lsn: self.decoded.lsn,
            rmgr: self.decoded.header.rmgr,
            code,
        }
    }
}

/// What became of a record's block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The change was made.
    Changed,
    /// The page is the record's image.
    Restored,
    /// The page has the change already.
    Done,
    /// The page is not there.
    Missing,
}

/// What a page that is read is worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Damage {
    /// An error.
    Refused,
    /// It may be taken for zeros (`RBM_ZERO_ON_ERROR`): the visibility map, whose bits can be lost.
    /// Blocks beyond the end are added.
    Zeroed,
}

/// The pages of a cluster that is being recovered.
#[derive(Debug)]
pub struct Redo {
    pool: Arc<BufferPool>,
    invalid: InvalidPages,
}

impl Redo {
    /// Of a cluster whose pages are in `pool`.
    pub fn new(pool: &Arc<BufferPool>) -> Redo {
        Redo {
            pool: Arc::clone(pool),
            invalid: InvalidPages::default(),
        }
    }

    /// The pool that pages are read into.
    pub fn pool(&self) -> &Arc<BufferPool> {
        &self.pool
    }

    /// Restores the image of block `id`, or makes `change` of the page if it needs that.
    ///
    /// # Errors
    /// The page cannot be read, or `change` does not fit it: then it is as it was.
    pub fn apply(
        &mut self,
        io: &mut IoContext,
        record: &RedoRecord<'_>,
        id: u8,
        damage: Damage,
        change: impl FnOnce(&mut PageMut<'_>) -> Result<(), Misfit>,
    ) -> Result<Outcome, RedoError> {
        let block = record.block(id)?;
        if block.will_init {
            return Err(record.wrong("a block marked to be initialized is not"));
        }
        if self.restore(io, record, block)? {
            return Ok(Outcome::Restored);
        }
        let Some(buffer) = self.read(io, tag_of(block), damage)? else {
            return Ok(Outcome::Missing);
        };
        let mut guard = buffer.exclusive();
        if guard.page().lsn() >= record.end {
            return Ok(Outcome::Done);
        }
        let copy = *guard;
        change_page(&mut guard, copy, record.end, change)?;
        Ok(Outcome::Changed)
    }

    /// Makes the page of block `id` anew by `change`, which gets an empty page without special space;
    /// or restores its image.
    ///
    /// # Errors
    /// The page cannot be had, or `change` does not fit: then it is as it was.
    pub fn apply_to_new(
        &mut self,
        io: &mut IoContext,
        record: &RedoRecord<'_>,
        id: u8,
        change: impl FnOnce(&mut PageMut<'_>) -> Result<(), Misfit>,
    ) -> Result<Outcome, RedoError> {
        let block = record.block(id)?;
        if !block.will_init {
            return Err(record.wrong("a block to be initialized is not marked so"));
        }
        if self.restore(io, record, block)? {
            return Ok(Outcome::Restored);
        }
        let buffer = self.buffer_to_overwrite(io, tag_of(block))?;
        let mut empty = [0; BLCKSZ];
        PageMut::new(&mut empty).init(0);
        change_page(&mut buffer.exclusive(), empty, record.end, change)?;
        Ok(Outcome::Changed)
    }

    /// Restores the image of block `id`, which the record must have (records of page images).
    ///
    /// # Errors
    /// It has none to be applied, or it cannot be restored.
    pub fn restore_image(
        &mut self,
        io: &mut IoContext,
        record: &RedoRecord<'_>,
        id: u8,
    ) -> Result<(), RedoError> {
        if self.restore(io, record, record.block(id)?)? {
            return Ok(());
        }
        Err(record.wrong("a page image is missing"))
    }

    fn restore(
        &mut self,
        io: &mut IoContext,
        record: &RedoRecord<'_>,
        block: &DecodedBlock<'_>,
    ) -> Result<bool, RedoError> {
        let Some(image) = block.image.filter(|image| image.apply()) else {
            return Ok(false);
        };
        let mut restored = [0; BLCKSZ];
        image.restore(&mut restored, record.decoded.lsn, block.id)?;
        if !PageRef::new(&restored).is_new() {
            PageMut::new(&mut restored).set_lsn(record.end);
        }
        let buffer = self.buffer_to_overwrite(io, tag_of(block))?;
        let mut guard = buffer.exclusive();
        guard.mark_dirty();
        *guard = restored;
        drop(guard);
        if block.fork == ForkNumber::Init {
            // The end of recovery copies the file.
            self.pool.write_relation(io, block.locator)?;
        }
        Ok(true)
    }

    /// The page of a block, pinned; nothing if it is missing, which is remembered. With
    /// [`Damage::Zeroed`] it is never missing.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(
        &mut self,
        io: &mut IoContext,
        tag: BufferTag,
        damage: Damage,
    ) -> Result<Option<PinnedBuffer>, RedoError> {
        if tag.block >= self.blocks(tag.rel_fork)? {
            if damage == Damage::Zeroed {
                return Ok(Some(self.buffer_to_overwrite(io, tag)?));
            }
            self.invalid.note(tag, Absence::NoBlock);
            return Ok(None);
        }
        match self.pool.read(io, tag.rel_fork, tag.block, None) {
            Ok(buffer) => {
                if damage == Damage::Refused && buffer.share().page().is_new() {
                    self.invalid.note(tag, Absence::Uninitialized);
                    return Ok(None);
                }
                Ok(Some(buffer))
            }
            Err(error @ BufferError::InvalidPages(_)) if damage == Damage::Zeroed => {
                tracing::warn!(%error, "taken for a page of zeros");
                Ok(Some(self.buffer_to_overwrite(io, tag)?))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A buffer for a block whose page will be overwritten as a whole, if it is not there yet zeros.
    /// What the block holds on disk is not read. Its fork is made, and made longer, as need be.
    fn buffer_to_overwrite(
        &self,
        io: &mut IoContext,
        tag: BufferTag,
    ) -> Result<PinnedBuffer, RedoError> {
        loop {
            let blocks = self.blocks(tag.rel_fork)?;
            if tag.block < blocks {
                return Ok(self.pool.buffer_without_read(io, tag)?);
            }
            let count = tag.block - blocks + 1;
            let added = self.pool.extend(io, tag.rel_fork, count, None)?;
            if let Some(last) = added.into_iter().find(|added| added.block() == tag.block) {
                return Ok(last);
            }
        }
    }

    /// Blocks of a fork, which is made if it is not there: it may have been dropped later.
    fn blocks(&self, rel_fork: RelFork) -> Result<BlockNumber, BufferError> {
        let smgr = self.pool.smgr();
        if !smgr.exists(rel_fork.rel, rel_fork.fork)? {
            smgr.create(rel_fork.rel, rel_fork.fork, true)?;
        }
        self.pool.nblocks(rel_fork)
    }

    /// A fork is cut off before block `first`: what is missing from there on is not.
    pub fn forget_blocks_from(&mut self, rel_fork: RelFork, first: BlockNumber) {
        self.invalid.forget_blocks_from(rel_fork, first);
    }

    /// A relation is dropped.
    pub fn forget_relation(&mut self, rel: RelFileLocator) {
        self.invalid.forget_relation(rel);
    }

    /// A database is dropped.
    pub fn forget_database(&mut self, database: Oid) {
        self.invalid.forget_database(database);
    }

    /// Recovery has come to the end of the log.
    ///
    /// # Errors
    /// Pages are missing that no record said to be gone.
    pub fn check_invalid_pages(&self) -> Result<(), RedoError> {
        let invalid = self.invalid.descriptions();
        if invalid.is_empty() {
            return Ok(());
        }
        for page in &invalid {
            tracing::warn!("{page}");
        }
        Err(RedoError::InvalidPages(invalid))
    }

    /// Compares pages with the images that a record carries for that, after it was redone
    /// (`verifyBackupPageConsistency`). `mask` makes equal what may differ.
    ///
    /// # Errors
    /// A page differs, or cannot be read.
    pub fn check_consistency(
        &mut self,
        io: &mut IoContext,
        record: &RedoRecord<'_>,
        mask: impl Fn(&mut PageBytes, BlockNumber),
    ) -> Result<(), RedoError> {
        if record.decoded.header.info & XLR_CHECK_CONSISTENCY == 0 {
            return Ok(());
        }
        for block in &record.decoded.blocks {
            let tag = tag_of(block);
            // An image that was applied would be compared with itself.
            let Some(image) = block.image.filter(|image| !image.apply()) else {
                continue;
            };
            if tag.block >= self.blocks(tag.rel_fork)? {
                continue;
            }
            let buffer = self.pool.read(io, tag.rel_fork, tag.block, None)?;
            let mut replayed = *buffer.share();
            if PageRef::new(&replayed).lsn() > record.end {
                continue;
            }
            let mut logged = [0; BLCKSZ];
            image.restore(&mut logged, record.decoded.lsn, block.id)?;
            mask(&mut replayed, tag.block);
            mask(&mut logged, tag.block);
            if replayed != logged {
                return Err(RedoError::Inconsistent {
                    path: tag.rel_fork.path(),
                    block: tag.block,
                    lsn: record.decoded.lsn,
                });
            }
        }
        Ok(())
    }
}

fn tag_of(block: &DecodedBlock<'_>) -> BufferTag {
    BufferTag::new(RelFork::new(block.locator, block.fork), block.block)
}

/// Makes `change` of `page`, and the result the page of the buffer.
fn change_page(
    guard: &mut ExclusiveGuard<'_>,
    mut page: PageBytes,
    end: Lsn,
    change: impl FnOnce(&mut PageMut<'_>) -> Result<(), Misfit>,
) -> Result<(), RedoError> {
    let mut changed = PageMut::new(&mut page);
    change(&mut changed).map_err(|Misfit(why)| {
        let tag = guard.buffer().tag();
        RedoError::Page {
            path: tag.rel_fork.path(),
            block: tag.block,
            why,
        }
    })?;
    changed.set_lsn(end);
    guard.mark_dirty();
    **guard = page;
    Ok(())
}
