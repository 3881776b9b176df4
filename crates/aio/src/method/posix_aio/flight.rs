//! One request of method `posix_aio` in flight, on as many control blocks as
//! its memory has stretches.
#![expect(
    unsafe_code,
    reason = "names memory to the system that a request keeps"
)]

use crate::descriptor_pool::DescriptorLimits;
use crate::memory::IoMemory;
use crate::operation::Op;
use crate::request::IoRequest;
use crate::wait::WaitRef;

use super::control::{Action, Control};

/// A request with its control blocks. The request keeps file and memory in
/// place, and is handed out again only when no control block is in use.
pub(super) struct Flight {
    request: IoRequest,
    controls: Vec<Control>,
    /// Control blocks in use, from the first on.
    started: usize,
}

impl Flight {
    /// Starts as much of a request as the system takes; the rest becomes the
    /// remainder of a short transfer.
    ///
    /// # Errors
    /// Nothing was started: the operation has no call, or the system refuses.
    pub(super) fn start(
        request: IoRequest,
        controls: Vec<Control>,
        limits: DescriptorLimits,
    ) -> Result<Self, (IoRequest, Vec<Control>)> {
        let mut flight = Flight {
            request,
            controls,
            started: 0,
        };
        flight.start_controls(limits);
        if flight.started == 0 {
            return Err((flight.request, flight.controls));
        }
        Ok(flight)
    }

    fn start_controls(&mut self, limits: DescriptorLimits) {
        let Flight {
            request,
            controls,
            started,
        } = self;
        let Some(file) = request.file() else { return };
        let (Some(own), Some(pool)) = (file.descriptor(), file.descriptor_pool()) else {
            return;
        };
        let Some(action) = action_for(request.op()) else {
            return;
        };
        let mut start_one = |offset, memory| {
            if controls.len() == *started {
                controls.push(Control::new());
            }
            let control = &mut controls[*started];
            let lane = pool.take(own, limits);
            // SAFETY: this value keeps the request, and with it descriptor and
            // memory, until `finish`.
            if unsafe { control.start(action, lane.fd, offset, memory) }.is_err() {
                pool.give_back(lane);
                return false;
            }
            control.lane = Some(lane);
            *started += 1;
            true
        };
        match action {
            Action::Fsync | Action::Fdatasync => {
                start_one(0, IoMemory::new(std::ptr::null_mut(), 0));
            }
            Action::Read | Action::Write => {
                // What has no offsets goes one after the other.
                let limit = if file.is_seekable() { usize::MAX } else { 1 };
                let mut offset = request.offset();
                for memory in stretches(request.memory()).take(limit) {
                    if !start_one(offset, memory) {
                        return;
                    }
                    offset += memory.len() as u64;
                }
            }
        }
    }

    /// The I/O that the request stands for.
    pub(super) fn wait_ref(&self) -> WaitRef {
        self.request.wait_ref()
    }

    /// Blocks until everything is done.
    pub(super) fn wait(&self) {
        self.controls[..self.started].iter().for_each(Control::wait);
    }

    /// A control block that is still in progress; `None` when all are done.
    pub(super) fn in_progress(&self) -> Option<&Control> {
        let mut started = self.controls[..self.started].iter();
        started.find(|control| control.status().is_none())
    }

    /// Takes the result of what is done: bytes moved up to the first shortfall,
    /// or a negated errno if there are none.
    ///
    /// # Panics
    /// If something is in progress.
    pub(super) fn finish(self) -> (IoRequest, Vec<Control>, i32) {
        let Flight {
            request,
            mut controls,
            started,
        } = self;
        let pool = request.file().and_then(|file| file.descriptor_pool());
        let mut outcome = Outcome::default();
        for control in &mut controls[..started] {
            let (moved, bytes) = control.finish();
            outcome.add(moved, bytes);
            if let (Some(pool), Some(lane)) = (pool, control.lane.take()) {
                pool.give_back(lane);
            }
        }
        (request, controls, outcome.value())
    }
}

/// The system's call for an operation, if it has one.
fn action_for(op: Op) -> Option<Action> {
    match op {
        Op::Readv => Some(Action::Read),
        Op::Writev => Some(Action::Write),
        // Apple's makes nothing durable.
        Op::Fsync | Op::Fdatasync if cfg!(target_vendor = "apple") => None,
        Op::Fsync => Some(Action::Fsync),
        Op::Fdatasync => Some(Action::Fdatasync),
        Op::FlushRange | Op::Nop => None,
    }
}

/// The pieces of memory, those next to each other as one.
fn stretches(pieces: &[IoMemory]) -> impl Iterator<Item = IoMemory> + '_ {
    let mut pieces = pieces
        .iter()
        .copied()
        .filter(|piece| !piece.is_empty())
        .peekable();
    std::iter::from_fn(move || {
        let mut stretch = pieces.next()?;
        let end = |stretch: IoMemory| stretch.ptr().wrapping_add(stretch.len());
        while let Some(next) = pieces.next_if(|piece| piece.ptr() == end(stretch)) {
            stretch = IoMemory::new(stretch.ptr(), stretch.len() + next.len());
        }
        Some(stretch)
    })
}

/// The outcome of a request, from those of its stretches in order.
#[derive(Debug, Default)]
struct Outcome {
    moved: usize,
    /// What ended the run of stretches that were moved whole.
    stopped: Option<Result<(), i32>>,
}

impl Outcome {
    fn add(&mut self, moved: Result<usize, i32>, bytes: usize) {
        if self.stopped.is_some() {
            return;
        }
        match moved {
            Ok(moved) => {
                self.moved += moved;
                if moved < bytes {
                    self.stopped = Some(Ok(()));
                }
            }
            Err(errno) => self.stopped = Some(Err(errno)),
        }
    }

    fn value(&self) -> i32 {
        match self.stopped {
            Some(Err(errno)) if self.moved == 0 => -errno,
            // One I/O moves less than 2 GiB, see `MAX_IO_BYTES`.
            _ => self.moved as i32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outcome_is_what_was_moved_without_a_gap() {
        let of = |parts: &[(Result<usize, i32>, usize)]| {
            let mut outcome = Outcome::default();
            parts
                .iter()
                .for_each(|&(moved, bytes)| outcome.add(moved, bytes));
            outcome.value()
        };
        assert_eq!(of(&[(Ok(10), 10), (Ok(20), 20)]), 30);
        assert_eq!(of(&[(Ok(10), 10), (Ok(5), 20), (Ok(30), 30)]), 15);
        assert_eq!(of(&[(Ok(10), 10), (Err(libc::EIO), 20), (Ok(30), 30)]), 10);
        assert_eq!(of(&[(Err(libc::EIO), 10), (Ok(20), 20)]), -libc::EIO);
        assert_eq!(of(&[(Ok(0), 10), (Err(libc::EIO), 20)]), 0);
        assert_eq!(of(&[(Ok(0), 0)]), 0);
    }

    #[test]
    fn memory_side_by_side_is_one_stretch() {
        let at = |address, len| IoMemory::new(std::ptr::without_provenance_mut(address), len);
        let pieces = [
            at(4096, 0),
            at(4096, 100),
            at(4196, 50),
            at(8192, 0),
            at(4246, 1),
            at(8192, 10),
            at(100, 4),
        ];
        let found: Vec<_> = stretches(&pieces)
            .map(|piece| (piece.ptr().addr(), piece.len()))
            .collect();
        assert_eq!(found, [(4096, 151), (8192, 10), (100, 4)]);
        assert_eq!(stretches(&[]).count(), 0);
    }
}
