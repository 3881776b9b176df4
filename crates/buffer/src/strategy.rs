//! Rings: a big scan or load reuses a few buffers of its own instead of sweeping the pool (B6).

use crate::pool::BufferPool;
use std::collections::VecDeque;
use trunkline_pgformat::BLCKSZ;

/// Which kind of big operation a ring serves (PostgreSQL's `BufferAccessStrategyType`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StrategyKind {
    /// A big sequential scan.
    BulkRead,
    /// COPY and other bulk loads.
    BulkWrite,
    /// VACUUM.
    Vacuum,
}

/// Bytes of a ring: room for the reads or writes in flight and as much again to work on. PostgreSQL's
/// 256 kB would be one read.
const RING_BYTES: usize = 16 << 20;

impl StrategyKind {
    /// Buffers of a ring in a pool of `buffers`: never more than an eighth, at least one.
    fn ring_buffers(self, buffers: usize) -> usize {
        let wanted = match self {
            StrategyKind::BulkRead | StrategyKind::BulkWrite | StrategyKind::Vacuum => {
                RING_BYTES / BLCKSZ
            }
        };
        wanted.min(buffers / 8).max(1)
    }
}

/// A ring. Owned by one scan or load; the buffers in it are the pool's and may be taken by others,
/// which the ring notices when it comes to them.
#[derive(Debug)]
pub struct Strategy {
    kind: StrategyKind,
    slots: Vec<Option<u32>>,
    /// The slot used last.
    current: usize,
    /// Buffers that were dirty when their turn came, on their way to being clean, oldest first. At most
    /// as many as there are slots; they count as the pool's, not as the ring's.
    let_go: VecDeque<u32>,
    /// Blocks that a fork was extended by through the ring.
    extended_blocks: u32,
}

/// Once a ring has extended its fork by so many blocks, space on disk is taken ahead,
const SPACE_AHEAD_FROM_BLOCKS: u32 = (1 << 20) / BLCKSZ as u32;

/// up to so much.
const MAX_SPACE_AHEAD_BLOCKS: u32 = (16 << 20) / BLCKSZ as u32;

impl Strategy {
    /// An empty ring of `kind` over `pool`.
    pub fn new(pool: &BufferPool, kind: StrategyKind) -> Strategy {
        let slots = vec![None; kind.ring_buffers(pool.buffers())];
        let current = slots.len() - 1;
        Strategy {
            kind,
            slots,
            current,
            let_go: VecDeque::new(),
            extended_blocks: 0,
        }
    }

    /// What it is for.
    pub fn kind(&self) -> StrategyKind {
        self.kind
    }

    /// Buffers that the ring can have.
    pub fn ring_buffers(&self) -> usize {
        self.slots.len()
    }

    /// Buffers of the ring that a stream may pin at a time (PostgreSQL's
    /// `GetAccessStrategyPinLimit`): half, so that there are always some to reuse.
    pub(crate) fn pin_limit(&self) -> usize {
        (self.slots.len() / 2).max(1)
    }

    /// The blocks for which an extension should take space ahead: no more than there are extended
    /// already.
    pub(crate) fn space_ahead_blocks(&self) -> u32 {
        if self.extended_blocks < SPACE_AHEAD_FROM_BLOCKS {
            0
        } else {
            self.extended_blocks.min(MAX_SPACE_AHEAD_BLOCKS)
        }
    }

    pub(crate) fn note_extended(&mut self, blocks: u32) {
        self.extended_blocks = self.extended_blocks.saturating_add(blocks);
    }

    /// Whether the next extension takes space ahead.
    pub fn takes_space_ahead(&self) -> bool {
        self.space_ahead_blocks() > 0
    }

    /// Moves to the next slot and gives its buffer.
    pub(crate) fn advance(&mut self) -> Option<u32> {
        self.current = (self.current + 1) % self.slots.len();
        self.slots[self.current]
    }

    /// Puts `buffer` into the slot moved to.
    pub(crate) fn fill(&mut self, buffer: u32) {
        self.slots[self.current] = Some(buffer);
    }

    /// The buffers that the ring will come to in a quarter and in an eighth of its length: to be
    /// cleaned ahead (B5). The second is a second chance for what could not be written before.
    pub(crate) fn upcoming(&self) -> [Option<u32>; 2] {
        [4, 8].map(|part| {
            let ahead = self.slots.len() / part;
            if ahead == 0 {
                return None;
            }
            self.slots[(self.current + ahead) % self.slots.len()]
        })
    }

    /// Takes the dirty buffer out of the slot moved to; another one is to fill it.
    pub(crate) fn let_go(&mut self, buffer: u32) {
        self.slots[self.current] = None;
        self.let_go.push_back(buffer);
    }

    /// The buffer that was let go first.
    pub(crate) fn oldest_let_go(&self) -> Option<u32> {
        self.let_go.front().copied()
    }

    /// Whether so many were let go that the ring should rather wait.
    pub(crate) fn has_let_go_all(&self) -> bool {
        self.let_go.len() > self.slots.len()
    }

    /// Puts the buffer that was let go first into the slot moved to.
    pub(crate) fn take_back(&mut self, buffer: u32) {
        let oldest = self.let_go.pop_front();
        assert!(oldest == Some(buffer), "a ring takes back in order");
        self.fill(buffer);
    }

    /// Gives up the buffer that was let go first.
    pub(crate) fn forget_oldest(&mut self) {
        self.let_go.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_is_megabytes_but_never_over_an_eighth_of_the_pool() {
        assert_eq!(StrategyKind::BulkRead.ring_buffers(1 << 20), 2048);
        assert_eq!(StrategyKind::BulkWrite.ring_buffers(4096), 512);
        assert_eq!(StrategyKind::Vacuum.ring_buffers(16), 2);
        assert_eq!(StrategyKind::Vacuum.ring_buffers(4), 1);
    }
}
