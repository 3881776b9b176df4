//! Making the AIO core ready for I/O on the pool's memory (A15): with io_uring the kernel pins it, and
//! each I/O costs less.
//!
//! Pinned memory must be there, and giving a pool all of its memory takes a second or two a GiB. So a
//! thread does that beside the work that has begun, and only for pools that are large: a small one is
//! better left to grow with its use.

use std::io;
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};

use crate::pool::BufferPool;

/// From this size on, a pool is registered when it is made.
pub(crate) const REGISTERED_FROM_BYTES: u64 = 1 << 30;

impl BufferPool {
    /// Registers the pool's memory with the AIO core, on a thread that ends when that is done. The log
    /// says what became of it; once is enough.
    ///
    /// # Errors
    /// The system gives no thread; the pool works as before.
    pub fn register_memory(self: &Arc<Self>) -> io::Result<JoinHandle<()>> {
        // The frames keep the memory mapped while this runs, whatever becomes of the pool.
        let (frames, aio) = (Arc::clone(self.frames_arc()), Arc::clone(self.aio()));
        let pool = Arc::downgrade(self);
        thread::Builder::new()
            .name("pool registration".to_owned())
            .spawn(move || {
                let registered = aio.register_memory(frames.memory().whole());
                if let Some(pool) = pool.upgrade() {
                    pool.registered
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .get_or_insert(registered);
                }
            })
    }
}
