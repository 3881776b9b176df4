//! When a transfer is over (A11): short transfers are continued, interrupted
//! ones retried with a bound, and everything else is final.

use crate::operation::Op;
use crate::result::{IoFailure, IoResult};

/// Attempts without any progress before an EINTR or EAGAIN counts as an error.
pub(crate) const RETRY_LIMIT: u32 = 64;

/// How far one I/O has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transfer {
    pub(crate) op: Op,
    pub(crate) length_bytes: u32,
    /// Bytes that need not be transferred again.
    pub(crate) transferred_bytes: u32,
    /// Attempts since the last progress.
    stalled: u32,
}

/// What to do after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The I/O is over.
    Finished(IoResult),
    /// Submit what lies beyond [`Transfer::transferred_bytes`].
    Continue,
}

impl Transfer {
    pub(crate) const fn new(op: Op, length_bytes: u32) -> Self {
        Transfer {
            op,
            length_bytes,
            transferred_bytes: 0,
            stalled: 0,
        }
    }

    /// Takes in the outcome of an attempt: bytes moved, or a negated errno.
    /// `alignment_bytes` is what a direct file demands of offsets, else 1.
    pub(crate) fn absorb(&mut self, outcome: i32, alignment_bytes: u32) -> Verdict {
        if outcome < 0 {
            return self.absorb_errno(-outcome);
        }
        match self.op {
            Op::Nop | Op::Fsync | Op::Fdatasync | Op::FlushRange => {
                Verdict::Finished(IoResult::Ok { bytes: 0 })
            }
            Op::Readv | Op::Writev => self.absorb_bytes(outcome.unsigned_abs(), alignment_bytes),
        }
    }

    fn absorb_errno(&mut self, errno: i32) -> Verdict {
        // ECANCELED: the kernel cancels what an exiting thread has queued to
        // its io_uring workers. The memory is still ours to fill, so whoever
        // reaps the cancellation tries again.
        let transient = matches!(errno, libc::EINTR | libc::EAGAIN | libc::ECANCELED);
        if transient && self.stalled < RETRY_LIMIT {
            self.stalled += 1;
            return Verdict::Continue;
        }
        Verdict::Finished(IoResult::Error(IoFailure::system(errno)))
    }

    fn absorb_bytes(&mut self, moved_bytes: u32, alignment_bytes: u32) -> Verdict {
        let before = self.transferred_bytes;
        let now = before + moved_bytes;
        assert!(
            now <= self.length_bytes,
            "a transfer of {} bytes moved {now}",
            self.length_bytes
        );
        if now == self.length_bytes {
            self.transferred_bytes = now;
            return Verdict::Finished(IoResult::Ok { bytes: now });
        }
        if moved_bytes == 0 {
            return Verdict::Finished(match self.op {
                Op::Writev => IoResult::Error(IoFailure::system(libc::ENOSPC)),
                _ => IoResult::Partial { bytes: now },
            });
        }
        if !now.is_multiple_of(alignment_bytes) {
            if self.op == Op::Readv {
                // A direct read stops in mid-block only at the end of the file.
                self.transferred_bytes = now;
                return Verdict::Finished(IoResult::Partial { bytes: now });
            }
            // A direct write must start at a block's start again.
            self.transferred_bytes = now - now % alignment_bytes;
        } else {
            self.transferred_bytes = now;
        }
        if self.transferred_bytes > before {
            self.stalled = 0;
        } else {
            self.stalled += 1;
            if self.stalled > RETRY_LIMIT {
                return Verdict::Finished(IoResult::Error(IoFailure::system(libc::EIO)));
            }
        }
        Verdict::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(bytes: u32) -> Verdict {
        Verdict::Finished(IoResult::Ok { bytes })
    }

    fn error(errno: i32) -> Verdict {
        Verdict::Finished(IoResult::Error(IoFailure::system(errno)))
    }

    #[test]
    fn short_transfers_are_continued_to_their_end() {
        for op in [Op::Readv, Op::Writev] {
            let mut transfer = Transfer::new(op, 100);
            assert_eq!(transfer.absorb(30, 1), Verdict::Continue);
            assert_eq!(transfer.transferred_bytes, 30);
            assert_eq!(transfer.absorb(70, 1), ok(100));
        }
    }

    #[test]
    fn end_of_file_is_a_short_read_and_a_zero_byte_write_no_space() {
        let mut read = Transfer::new(Op::Readv, 100);
        assert_eq!(read.absorb(40, 1), Verdict::Continue);
        assert_eq!(
            read.absorb(0, 1),
            Verdict::Finished(IoResult::Partial { bytes: 40 })
        );
        let mut write = Transfer::new(Op::Writev, 100);
        assert_eq!(write.absorb(40, 1), Verdict::Continue);
        assert_eq!(write.absorb(0, 1), error(libc::ENOSPC));
        assert_eq!(Transfer::new(Op::Readv, 0).absorb(0, 1), ok(0));
        assert_eq!(Transfer::new(Op::Writev, 0).absorb(0, 1), ok(0));
    }

    #[test]
    fn direct_transfers_go_on_at_block_starts() {
        let mut read = Transfer::new(Op::Readv, 8192);
        assert_eq!(read.absorb(4096, 512), Verdict::Continue);
        assert_eq!(
            read.absorb(100, 512),
            Verdict::Finished(IoResult::Partial { bytes: 4196 })
        );
        let mut write = Transfer::new(Op::Writev, 8192);
        assert_eq!(write.absorb(4196, 512), Verdict::Continue);
        assert_eq!(write.transferred_bytes, 4096);
        assert_eq!(write.absorb(4096, 512), ok(8192));
    }

    #[test]
    fn interruptions_are_retried_with_a_bound_that_progress_renews() {
        for errno in [libc::EINTR, libc::EAGAIN, libc::ECANCELED] {
            let mut transfer = Transfer::new(Op::Readv, 100);
            for _ in 0..RETRY_LIMIT {
                assert_eq!(transfer.absorb(-errno, 1), Verdict::Continue);
            }
            assert_eq!(transfer.absorb(-errno, 1), error(errno));
        }
        let mut transfer = Transfer::new(Op::Writev, 100);
        for _ in 0..RETRY_LIMIT {
            assert_eq!(transfer.absorb(-libc::EINTR, 1), Verdict::Continue);
        }
        assert_eq!(transfer.absorb(10, 1), Verdict::Continue);
        assert_eq!(transfer.absorb(-libc::EINTR, 1), Verdict::Continue);
        let mut write = Transfer::new(Op::Writev, 1024);
        for _ in 0..RETRY_LIMIT {
            assert_eq!(write.absorb(100, 512), Verdict::Continue);
        }
        assert_eq!(write.absorb(100, 512), error(libc::EIO));
    }

    #[test]
    fn other_errors_are_final_at_first_sight() {
        assert_eq!(
            Transfer::new(Op::Readv, 100).absorb(-libc::EIO, 1),
            error(libc::EIO)
        );
        assert_eq!(
            Transfer::new(Op::Fsync, 0).absorb(-libc::EIO, 1),
            error(libc::EIO)
        );
        assert_eq!(Transfer::new(Op::Fdatasync, 0).absorb(0, 1), ok(0));
    }
}
