//! Pins and content locks as values: while one exists, its page stays, or stays as it is.
#![expect(
    unsafe_code,
    reason = "turns a content lock into a reference to the page"
)]

use crate::descriptor::{Descriptor, LockMode, VALID};
use crate::pool::BufferPool;
use crate::tag::{BufferTag, RelFork};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use trunkline_pgformat::{BlockNumber, PageBytes, PageRef};

/// A pin on a buffer: the buffer keeps holding its block. Send; cloning takes another pin.
///
/// The page's bytes are reached through a content lock: [`share`](PinnedBuffer::share),
/// [`share_exclusive`](PinnedBuffer::share_exclusive), [`exclusive`](PinnedBuffer::exclusive). Waiting
/// for one that a write in flight holds drives that write (B10). Locks are not recursive.
pub struct PinnedBuffer {
    pool: Arc<BufferPool>,
    buffer: u32,
}

impl PinnedBuffer {
    /// Takes over a pin that the caller has taken on `buffer`.
    #[inline]
    pub(crate) fn adopt(pool: &Arc<BufferPool>, buffer: u32) -> PinnedBuffer {
        PinnedBuffer {
            pool: Arc::clone(pool),
            buffer,
        }
    }

    #[inline]
    pub(crate) fn descriptor(&self) -> &Descriptor {
        self.pool.frames().descriptor(self.buffer)
    }

    pub(crate) fn index(&self) -> u32 {
        self.buffer
    }

    pub(crate) fn pool(&self) -> &Arc<BufferPool> {
        &self.pool
    }

    /// Which block of which fork it holds.
    pub fn tag(&self) -> BufferTag {
        self.descriptor().tag()
    }

    /// The fork that its block is of.
    pub fn rel_fork(&self) -> RelFork {
        self.tag().rel_fork
    }

    /// The number of its block.
    #[inline]
    pub fn block(&self) -> BlockNumber {
        self.descriptor().tag().block
    }

    /// Whether the page is newer than its block on disk, at this moment.
    pub fn is_dirty(&self) -> bool {
        self.descriptor().state() & crate::descriptor::DIRTY != 0
    }

    #[inline]
    fn lock(&self, mode: LockMode) {
        self.descriptor()
            .lock(mode, |wait_ref| self.pool.aio().wait(wait_ref));
        self.assert_valid();
    }

    #[inline]
    fn try_lock(&self, mode: LockMode) -> bool {
        let locked = self.descriptor().try_lock(mode);
        if locked {
            self.assert_valid();
        }
        locked
    }

    /// The crate hands out no pin on a page that was not read; a guard on one would be unsound.
    #[inline]
    fn assert_valid(&self) {
        assert!(
            self.descriptor().state() & VALID != 0,
            "a page is locked that is not there"
        );
    }

    /// Locks the page for reading, together with other readers and a write in flight.
    #[inline]
    pub fn share(&self) -> ShareGuard<'_> {
        self.lock(LockMode::Shared);
        ShareGuard(self)
    }

    /// [`share`](PinnedBuffer::share) if that needs no wait.
    pub fn try_share(&self) -> Option<ShareGuard<'_>> {
        self.try_lock(LockMode::Shared).then(|| ShareGuard(self))
    }

    /// Locks the page for reading so that nobody else can change it or write it out.
    pub fn share_exclusive(&self) -> ShareExclusiveGuard<'_> {
        self.lock(LockMode::ShareExclusive);
        ShareExclusiveGuard(self)
    }

    /// [`share_exclusive`](PinnedBuffer::share_exclusive) if that needs no wait.
    pub fn try_share_exclusive(&self) -> Option<ShareExclusiveGuard<'_>> {
        self.try_lock(LockMode::ShareExclusive)
            .then(|| ShareExclusiveGuard(self))
    }

    /// Locks the page for changing it.
    pub fn exclusive(&self) -> ExclusiveGuard<'_> {
        self.lock(LockMode::Exclusive);
        ExclusiveGuard(self)
    }

    /// [`exclusive`](PinnedBuffer::exclusive) if that needs no wait: hint bits are set like this, or
    /// not at all.
    pub fn try_exclusive(&self) -> Option<ExclusiveGuard<'_>> {
        self.try_lock(LockMode::Exclusive)
            .then(|| ExclusiveGuard(self))
    }

    #[inline]
    fn page(&self) -> *mut PageBytes {
        self.pool.frames().page(self.buffer).as_ptr()
    }
}

impl Clone for PinnedBuffer {
    fn clone(&self) -> PinnedBuffer {
        self.descriptor().pin_again();
        PinnedBuffer {
            pool: Arc::clone(&self.pool),
            buffer: self.buffer,
        }
    }
}

impl Drop for PinnedBuffer {
    #[inline]
    fn drop(&mut self) {
        self.descriptor().unpin();
    }
}

impl fmt::Debug for PinnedBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinnedBuffer")
            .field("buffer", &self.buffer)
            .field("tag", &self.tag())
            .finish()
    }
}

/// The page, to read.
pub struct ShareGuard<'a>(&'a PinnedBuffer);

impl<'a> ShareGuard<'a> {
    /// A view of the page.
    #[inline]
    pub fn page(&self) -> PageRef<'_> {
        PageRef::new(self)
    }

    /// The lock in exclusive mode if nobody else holds it, else as it was. A page scan sets hint bits
    /// like this.
    pub fn try_upgrade(self) -> Result<ExclusiveGuard<'a>, ShareGuard<'a>> {
        if self.0.descriptor().try_upgrade(LockMode::Shared) {
            let buffer = self.0;
            std::mem::forget(self);
            return Ok(ExclusiveGuard(buffer));
        }
        Err(self)
    }
}

impl Deref for ShareGuard<'_> {
    type Target = PageBytes;

    #[inline]
    fn deref(&self) -> &PageBytes {
        // SAFETY: the shared content lock is held (`Frames`, rule 1), and the pin keeps the pool.
        unsafe { &*self.0.page() }
    }
}

impl Drop for ShareGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.descriptor().unlock(LockMode::Shared);
    }
}

/// The page, to read, while nobody else changes it or writes it out.
pub struct ShareExclusiveGuard<'a>(&'a PinnedBuffer);

impl<'a> ShareExclusiveGuard<'a> {
    /// A view of the page.
    pub fn page(&self) -> PageRef<'_> {
        PageRef::new(self)
    }

    /// The lock in exclusive mode if there are no readers now, else as it was.
    pub fn try_upgrade(self) -> Result<ExclusiveGuard<'a>, ShareExclusiveGuard<'a>> {
        if self.0.descriptor().try_upgrade(LockMode::ShareExclusive) {
            let buffer = self.0;
            std::mem::forget(self);
            return Ok(ExclusiveGuard(buffer));
        }
        Err(self)
    }
}

impl Deref for ShareExclusiveGuard<'_> {
    type Target = PageBytes;

    fn deref(&self) -> &PageBytes {
        // SAFETY: the content lock is held in a mode that excludes writers (`Frames`, rule 1).
        unsafe { &*self.0.page() }
    }
}

impl Drop for ShareExclusiveGuard<'_> {
    fn drop(&mut self) {
        self.0.descriptor().unlock(LockMode::ShareExclusive);
    }
}

/// The page, to change. Whoever changes it calls [`ExclusiveGuard::mark_dirty`].
#[derive(Debug)]
pub struct ExclusiveGuard<'a>(&'a PinnedBuffer);

impl<'a> ExclusiveGuard<'a> {
    /// A view of the page.
    pub fn page(&self) -> PageRef<'_> {
        PageRef::new(self)
    }

    /// The buffer that is locked.
    pub fn buffer(&self) -> &'a PinnedBuffer {
        self.0
    }

    /// Makes the page one that has to be written.
    pub fn mark_dirty(&mut self) {
        self.0.descriptor().mark_dirty();
    }

    /// Lets readers in, without letting anybody change the page in between.
    pub fn downgrade(self) -> ShareGuard<'a> {
        self.0
            .descriptor()
            .downgrade(LockMode::Exclusive, LockMode::Shared);
        let buffer = self.0;
        std::mem::forget(self);
        ShareGuard(buffer)
    }

    /// Gives the lock over, in share-exclusive mode, to the write that is about to be staged.
    pub(crate) fn into_write_lock(self) {
        self.0
            .descriptor()
            .downgrade(LockMode::Exclusive, LockMode::ShareExclusive);
        std::mem::forget(self);
    }
}

impl Deref for ExclusiveGuard<'_> {
    type Target = PageBytes;

    fn deref(&self) -> &PageBytes {
        // SAFETY: the exclusive content lock is held (`Frames`, rule 2).
        unsafe { &*self.0.page() }
    }
}

impl DerefMut for ExclusiveGuard<'_> {
    fn deref_mut(&mut self) -> &mut PageBytes {
        // SAFETY: the exclusive content lock is held, and `&mut self` makes this the only reference
        // made from it (`Frames`, rule 2).
        unsafe { &mut *self.0.page() }
    }
}

impl Drop for ExclusiveGuard<'_> {
    fn drop(&mut self) {
        self.0.descriptor().unlock(LockMode::Exclusive);
    }
}
