//! Rings: a big scan or load reuses a few buffers of its own instead of sweeping the pool (B6).

use crate::pool::BufferPool;
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
}

impl Strategy {
    /// An empty ring of `kind` over `pool`.
    pub fn new(pool: &BufferPool, kind: StrategyKind) -> Strategy {
        let slots = vec![None; kind.ring_buffers(pool.buffers())];
        let current = slots.len() - 1;
        Strategy {
            kind,
            slots,
            current,
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

    /// Moves to the next slot and gives its buffer.
    pub(crate) fn advance(&mut self) -> Option<u32> {
        self.current = (self.current + 1) % self.slots.len();
        self.slots[self.current]
    }

    /// Puts `buffer` into the slot moved to.
    pub(crate) fn fill(&mut self, buffer: u32) {
        self.slots[self.current] = Some(buffer);
    }

    /// The buffer that the ring will come to in a quarter of its length: to be cleaned ahead (B5).
    pub(crate) fn upcoming(&self) -> Option<u32> {
        self.slots[(self.current + self.slots.len() / 4) % self.slots.len()]
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
