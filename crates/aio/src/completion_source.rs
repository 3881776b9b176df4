//! Completions for event loops: where an I/O that nobody waits for with a thread is noticed.
//!
//! Without any of this a method that completes I/Os only when a thread waits for them has a thread of
//! its own for those that tasks await. A program that has an event loop anyway saves that thread and
//! the hand-over to it: the loop watches the descriptor, and reaps.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;

use crate::Aio;

/// Some of a core's completions, as long as it lives the watcher's to reap whenever the descriptor is
/// readable. Dropped, they are seen to without it again.
pub struct CompletionSource {
    aio: Arc<Aio>,
    ring: u32,
}

impl std::fmt::Debug for CompletionSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CompletionSource")
            .field("ring", &self.ring)
            .finish_non_exhaustive()
    }
}

impl Aio {
    /// The sources of all completions that need a watcher; none where the method sees to them by itself.
    /// One watcher at a time is enough.
    pub fn completion_sources(self: &Arc<Self>) -> Vec<CompletionSource> {
        (0..)
            .take_while(|&ring| self.method().completion_descriptor(ring).is_some())
            .map(|ring| {
                self.method().set_watched(ring, true);
                let aio = Arc::clone(self);
                CompletionSource { aio, ring }
            })
            .collect()
    }
}

impl CompletionSource {
    /// Completes some of the I/Os whose completions have appeared, and wakes who waits for them. Does not
    /// block. To be called when the descriptor has become readable, and again as long as it returns true:
    /// then there may be more, of which a watcher that is told of changes only is not told again. Between
    /// two calls others may have their turn: shared callbacks run here, checksums among them.
    pub fn reap(&self) -> bool {
        self.aio.method().reap(self.ring)
    }
}

impl AsFd for CompletionSource {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self.aio.method().completion_descriptor(self.ring) {
            Some(descriptor) => descriptor,
            None => unreachable!("a ring has a descriptor as long as its method lives"),
        }
    }
}

impl AsRawFd for CompletionSource {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl Drop for CompletionSource {
    fn drop(&mut self) {
        self.aio.method().set_watched(self.ring, false);
        // Whoever starts an I/O from here on sees that nobody watches; these may have been started
        // before.
        for io in self.aio.in_flight() {
            if io.ring == Some(self.ring) {
                self.aio.drive(io.wait_ref());
            }
        }
    }
}
