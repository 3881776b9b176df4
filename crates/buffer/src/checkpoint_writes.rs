//! A checkpoint's writes (B7, PostgreSQL's `BufferSync`): what was dirty when it began, sorted,
//! neighbours combined, tablespaces in step with each other, in steps of whatever size.

use crate::descriptor::{CHECKPOINT_NEEDED, DIRTY, TAG_VALID};
use crate::error::BufferError;
use crate::pinned::PinnedBuffer;
use crate::pool::BufferPool;
use crate::stats::IoAccount;
use crate::tag::BufferTag;
use crate::write_stream::WriteStream;
use std::sync::Arc;
use trunkline_aio::IoContext;

/// The buffers that a checkpoint has to write. Each is marked in its descriptor, and whoever writes it
/// first takes the mark away; so it is written once, by the checkpoint or by somebody else.
///
/// Dropped before it has finished, it leaves marks that the next one takes over.
pub struct CheckpointWrites {
    pool: Arc<BufferPool>,
    tablespaces: Vec<Tablespace>,
    total: usize,
    done: usize,
    stream: WriteStream,
    first_error: Option<BufferError>,
}

/// What is to be written in one tablespace, in order.
struct Tablespace {
    buffers: Vec<(BufferTag, u32)>,
    next: usize,
}

impl Tablespace {
    fn is_done(&self) -> bool {
        self.next == self.buffers.len()
    }

    /// Whether it is further behind than `other`: a smaller part of it is done.
    fn is_behind(&self, other: &Tablespace) -> bool {
        let part =
            |this: &Tablespace, that: &Tablespace| this.next as u64 * that.buffers.len() as u64;
        part(self, other) < part(other, self)
    }
}

impl CheckpointWrites {
    /// Marks every buffer that is dirty now. Up to `max_in_flight` writes will be on the way at a time.
    pub fn begin(pool: &Arc<BufferPool>, max_in_flight: usize) -> CheckpointWrites {
        let mut marked: Vec<(BufferTag, u32)> = (0..pool.buffers() as u32)
            .filter_map(|buffer| {
                let descriptor = pool.frames().descriptor(buffer);
                // The tag is a hint, looked at again under a pin.
                descriptor
                    .mark_for_checkpoint()
                    .then(|| (descriptor.tag(), buffer))
            })
            .collect();
        marked.sort_unstable();
        let total = marked.len();
        let tablespaces = marked
            .chunk_by(|one, other| one.0.rel_fork.rel.spc_oid == other.0.rel_fork.rel.spc_oid)
            .map(|buffers| Tablespace {
                buffers: buffers.to_vec(),
                next: 0,
            })
            .collect();
        CheckpointWrites {
            pool: Arc::clone(pool),
            tablespaces,
            total,
            done: 0,
            stream: WriteStream::with_account(pool, max_in_flight, IoAccount::Checkpointer),
            first_error: None,
        }
    }

    /// Buffers that were dirty when it began.
    pub fn total(&self) -> usize {
        self.total
    }

    /// Those of them that were dealt with.
    pub fn done(&self) -> usize {
        self.done
    }

    /// Blocks whose writes were started: fewer than were dealt with if others wrote some.
    pub fn written_blocks(&self) -> u64 {
        self.stream.started_blocks()
    }

    /// Deals with the next `buffers` buffers, or a few more to end a run. Waits for writes only to
    /// keep to its number in flight. Whether there are more to deal with.
    ///
    /// An error is kept for [`CheckpointWrites::finish`]; one page that cannot be written is no reason
    /// not to write the others.
    pub fn step(&mut self, ctx: &mut IoContext, buffers: usize) -> bool {
        let until = self.done.saturating_add(buffers);
        while self.done < until && self.write_run(ctx) {}
        self.done < self.total
    }

    /// Starts what was gathered, and waits for everything in flight: before a pause.
    pub fn settle(&mut self, ctx: &mut IoContext) {
        let settled = self.stream.finish(ctx);
        self.keep(settled);
    }

    /// Deals with all that is left, and waits for it. Gives the blocks written.
    ///
    /// # Errors
    /// The first error of any write. What was not written is dirty still.
    pub fn finish(mut self, ctx: &mut IoContext) -> Result<u64, BufferError> {
        self.step(ctx, usize::MAX);
        self.settle(ctx);
        match self.first_error.take() {
            Some(error) => Err(error),
            None => Ok(self.written_blocks()),
        }
    }

    fn keep(&mut self, result: Result<(), BufferError>) {
        if let Err(error) = result {
            self.first_error.get_or_insert(error);
        }
    }

    /// Pushes what one write may take of the tablespace that is furthest behind; false if none is left.
    fn write_run(&mut self, ctx: &mut IoContext) -> bool {
        let behind = self
            .tablespaces
            .iter_mut()
            .filter(|tablespace| !tablespace.is_done())
            .reduce(|one, other| if other.is_behind(one) { other } else { one });
        let Some(tablespace) = behind else {
            return false;
        };
        let first = tablespace.next;
        let left = &tablespace.buffers[first..];
        let neighbours = left
            .windows(2)
            .take(self.pool.combine_blocks().saturating_sub(1))
            .take_while(|pair| {
                let (one, other) = (pair[0].0, pair[1].0);
                one.rel_fork == other.rel_fork && one.block.checked_add(1) == Some(other.block)
            })
            .count();
        let run = first..first + 1 + neighbours;
        tablespace.next = run.end;
        self.done += run.len();
        let mut result = Ok(());
        for &(tag, buffer) in &tablespace.buffers[run] {
            let descriptor = self.pool.frames().descriptor(buffer);
            if !descriptor.pin_if(CHECKPOINT_NEEDED | DIRTY | TAG_VALID) {
                // Somebody else wrote it, or its block is gone.
                continue;
            }
            let pinned = PinnedBuffer::adopt(&self.pool, buffer);
            if pinned.tag() == tag {
                let pushed = self.stream.push(ctx, pinned);
                result = result.and(pushed);
            }
        }
        self.keep(result);
        true
    }
}
