//! The storage manager: forks as runs of 1 GiB segment files.

use crate::descriptor_cache::DescriptorCache;
use crate::error::SmgrError;
use crate::pending_unlinks::PendingUnlinks;
use crate::sync_requests::{SegmentKey, SyncRequests};
use crate::transfer::{FlushNoted, Named, WriteNoted};
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use trunkline_aio::{Aio, CallbackId, DirectAlignment, File, OpenOptions, Storage};
use trunkline_pgformat::{BLCKSZ, BlockNumber, ForkNumber, RELSEG_SIZE, RelFileLocator};

/// How a storage manager works; fixed when it is made.
#[derive(Clone, Debug)]
pub struct SmgrConfig {
    /// Segment files kept open at most (PostgreSQL's `max_files_per_process`). Those with an I/O in
    /// flight stay open beyond it.
    pub max_open_files: usize,
    /// Whether relation files are opened for direct I/O (`io_direct = data`). Where the file system
    /// cannot do it, they are buffered, and the log says so once.
    pub direct: bool,
}

impl Default for SmgrConfig {
    fn default() -> Self {
        SmgrConfig {
            max_open_files: 1000,
            direct: true,
        }
    }
}

/// The length of a fork, once somebody asked.
struct ForkSize {
    blocks: AtomicU64,
    /// Held by who finds the length out or changes it.
    change: Mutex<SpaceAhead>,
}

/// Where the space ends that was allocated ahead of a fork's end; none was if that is not beyond the
/// fork's end. The files are longer by it than the fork: with zeros.
#[derive(Default)]
struct SpaceAhead {
    end: BlockNumber,
}

const UNKNOWN: u64 = u64::MAX;

impl ForkSize {
    fn known(&self) -> Option<BlockNumber> {
        match self.blocks.load(Ordering::Acquire) {
            UNKNOWN => None,
            blocks => Some(blocks as BlockNumber),
        }
    }

    fn set(&self, blocks: BlockNumber) {
        self.blocks.store(u64::from(blocks), Ordering::Release);
    }

    /// The files tell the length again.
    fn forget(&self, space: &mut SpaceAhead) {
        *space = SpaceAhead::default();
        self.blocks.store(UNKNOWN, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, SpaceAhead> {
        // Both are numbers, which are whole at any time.
        self.change.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type SizeMap = HashMap<(RelFileLocator, ForkNumber), Arc<ForkSize>>;

/// All relation files of a data directory. Shared by everybody; blocking calls change only metadata,
/// bytes move through I/O handles.
///
/// Callers keep a fork from being created, removed or truncated while others use it (relation locks),
/// and from being extended by two at once (the buffer pool's extension lock).
pub struct Smgr {
    storage: Arc<dyn Storage>,
    data_dir: PathBuf,
    config: SmgrConfig,
    files: DescriptorCache<File>,
    sizes: RwLock<SizeMap>,
    pub(crate) requests: Arc<SyncRequests>,
    directories: Mutex<BTreeSet<PathBuf>>,
    pub(crate) pending_unlinks: PendingUnlinks,
    pub(crate) named: CallbackId,
    pub(crate) write_noted: CallbackId,
    pub(crate) flush_noted: CallbackId,
    /// Syncs of segments that were started.
    pub(crate) syncs: AtomicU64,
    fall_back_logged: AtomicBool,
}

impl Smgr {
    /// A storage manager for the relation files under `data_dir`.
    pub fn new(
        storage: Arc<dyn Storage>,
        aio: &Arc<Aio>,
        data_dir: PathBuf,
        config: SmgrConfig,
    ) -> Arc<Smgr> {
        let requests = Arc::new(SyncRequests::new());
        let write_noted = aio.register_callbacks(Arc::new(WriteNoted::new(Arc::clone(&requests))));
        let flush_noted = aio.register_callbacks(Arc::new(FlushNoted::new(Arc::clone(&requests))));
        Arc::new(Smgr {
            storage,
            data_dir,
            files: DescriptorCache::new(config.max_open_files),
            config,
            sizes: RwLock::new(HashMap::new()),
            requests,
            directories: Mutex::new(BTreeSet::new()),
            pending_unlinks: PendingUnlinks::default(),
            named: aio.register_callbacks(Arc::new(Named)),
            write_noted,
            flush_noted,
            syncs: AtomicU64::new(0),
            fall_back_logged: AtomicBool::new(false),
        })
    }

    /// The directory that all paths are relative to.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Where file metadata is changed.
    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    // ---- existence ----

    /// Makes an empty fork. One that exists already is an error, unless `if_missing`.
    pub fn create(
        &self,
        rel: RelFileLocator,
        fork: ForkNumber,
        if_missing: bool,
    ) -> Result<(), SmgrError> {
        let size = self.size(rel, fork);
        let _change = size.lock();
        let key = SegmentKey {
            rel,
            fork,
            segment: 0,
        };
        if if_missing && self.exists_unlocked(&key)? {
            return Ok(());
        }
        self.open_file(key, OpenOptions::CREATE_NEW)
            .map_err(|error| SmgrError::Create {
                path: key.path(),
                error,
            })?;
        self.note_created(key);
        size.set(0);
        Ok(())
    }

    /// Whether the fork exists.
    pub fn exists(&self, rel: RelFileLocator, fork: ForkNumber) -> Result<bool, SmgrError> {
        if self.size(rel, fork).known().is_some() {
            return Ok(true);
        }
        self.exists_unlocked(&SegmentKey {
            rel,
            fork,
            segment: 0,
        })
    }

    fn exists_unlocked(&self, key: &SegmentKey) -> Result<bool, SmgrError> {
        self.storage
            .exists(&self.absolute(key))
            .map_err(|error| SmgrError::Open {
                path: key.path(),
                error,
            })
    }

    /// Removes all forks and segments of a relation, at once: of one that nobody else has seen, or in
    /// recovery. Files that are not there are none to remove. The caller has made sure that nobody
    /// reads or writes them (the buffer pool drops its buffers first).
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn unlink(&self, rel: RelFileLocator) -> Result<(), SmgrError> {
        self.remove(rel, false)
    }

    /// The same, except that the first segment of the main fork is only emptied, and stays until
    /// [`Smgr::end_checkpoint`]: as long as it is there, nobody takes its number for another relation.
    /// Recovery from the checkpoint before would otherwise apply what was done to the one to the
    /// other (PostgreSQL's `mdunlinkfork`).
    ///
    /// # Errors
    /// A file cannot be emptied or removed.
    pub fn unlink_after_checkpoint(&self, rel: RelFileLocator) -> Result<(), SmgrError> {
        self.remove(rel, true)
    }

    fn remove(&self, rel: RelFileLocator, keep_first: bool) -> Result<(), SmgrError> {
        for fork in ForkNumber::ALL {
            let size = self.size(rel, fork);
            let mut change = size.lock();
            let mut segment = 0;
            if keep_first && fork == ForkNumber::Main {
                self.empty_until_checkpoint(SegmentKey { rel, fork, segment })?;
                segment = 1;
            }
            self.files
                .remove_if(|key| key.rel == rel && key.fork == fork);
            while self.unlink_segment(SegmentKey { rel, fork, segment })? {
                segment += 1;
            }
            size.forget(&mut change);
            self.sizes
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&(rel, fork));
        }
        Ok(())
    }

    fn empty_until_checkpoint(&self, key: SegmentKey) -> Result<(), SmgrError> {
        let file = match self.segment(key) {
            Ok(file) => file,
            Err(SmgrError::Open { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.storage
            .set_len(&file, 0)
            .map_err(|error| SmgrError::Truncate {
                path: key.path(),
                blocks: 0,
                error,
            })?;
        // So that what a crash after the checkpoint may bring back is empty.
        self.requests.note(self.requests.slot(key));
        self.pending_unlinks.add(key);
        Ok(())
    }

    pub(crate) fn unlink_segment(&self, key: SegmentKey) -> Result<bool, SmgrError> {
        self.requests.forget(key);
        let path = self.absolute(&key);
        match self.storage.unlink(&path) {
            Ok(()) => {
                self.note_directory(&path);
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(SmgrError::Remove {
                path: key.path(),
                error,
            }),
        }
    }

    // ---- length ----

    /// Blocks of the fork. Found out from the files once, remembered from then on.
    pub fn nblocks(&self, rel: RelFileLocator, fork: ForkNumber) -> Result<BlockNumber, SmgrError> {
        let size = self.size(rel, fork);
        if let Some(blocks) = size.known() {
            return Ok(blocks);
        }
        let _change = size.lock();
        self.nblocks_locked(rel, fork, &size)
    }

    fn nblocks_locked(
        &self,
        rel: RelFileLocator,
        fork: ForkNumber,
        size: &ForkSize,
    ) -> Result<BlockNumber, SmgrError> {
        if let Some(blocks) = size.known() {
            return Ok(blocks);
        }
        let mut total = 0u32;
        for segment in 0.. {
            let key = SegmentKey { rel, fork, segment };
            let file = match self.segment(key) {
                Ok(file) => file,
                Err(SmgrError::Open { error, .. })
                    if segment > 0 && error.kind() == io::ErrorKind::NotFound =>
                {
                    break;
                }
                Err(error) => return Err(error),
            };
            let blocks = self.segment_blocks(&file, &key)?;
            total = total
                .checked_add(blocks)
                .ok_or_else(|| SmgrError::TooLong {
                    path: rel.path(fork),
                })?;
            if blocks < RELSEG_SIZE {
                break;
            }
        }
        size.set(total);
        Ok(total)
    }

    /// Whole blocks in a segment, at most as many as one may have.
    fn segment_blocks(&self, file: &File, key: &SegmentKey) -> Result<BlockNumber, SmgrError> {
        let bytes = self.storage.len(file).map_err(|error| SmgrError::Length {
            path: key.path(),
            error,
        })?;
        Ok((bytes / BLCKSZ as u64).min(u64::from(RELSEG_SIZE)) as BlockNumber)
    }

    /// Makes the fork at least `from_block + count` blocks long. New blocks read as zeros and have
    /// their space on disk, so that writing them later cannot fail for want of it; when the disk is
    /// full nothing changes.
    ///
    /// If space has to be allocated, it is for `ahead` blocks more where the disk has them, for later
    /// extensions: a file system may let an allocation wait for every direct write to the file that is in
    /// flight, as ext4 does. [`Smgr::release_space_ahead`] gives back what was not needed.
    pub fn extend(
        &self,
        rel: RelFileLocator,
        fork: ForkNumber,
        from_block: BlockNumber,
        count: u32,
        ahead: u32,
    ) -> Result<(), SmgrError> {
        let size = self.size(rel, fork);
        let mut space = size.lock();
        let old = self.nblocks_locked(rel, fork, &size)?;
        // The last block number is not one (PostgreSQL's InvalidBlockNumber).
        let new = from_block
            .checked_add(count)
            .filter(|&blocks| blocks < u32::MAX)
            .ok_or_else(|| SmgrError::TooLong {
                path: rel.path(fork),
            })?;
        if new <= old {
            return Ok(());
        }
        let allocated = old.max(space.end);
        if new > allocated {
            // Within the segment that the fork will end in, whose last block may be the last of all.
            let last = new - 1;
            let ahead = ahead
                .min(segment_remaining(last) - 1)
                .min(u32::MAX - 1 - new);
            if ahead > 0 && self.allocate(rel, fork, allocated, new + ahead).is_ok() {
                space.end = new + ahead;
            } else {
                // What is asked for may fit where more does not.
                self.allocate(rel, fork, allocated, new)?;
            }
        }
        size.set(new);
        Ok(())
    }

    /// Gives back the space ahead of the fork's end.
    ///
    /// # Errors
    /// A file cannot be cut: it stays longer than the fork.
    pub fn release_space_ahead(
        &self,
        rel: RelFileLocator,
        fork: ForkNumber,
    ) -> Result<(), SmgrError> {
        let size = self.size(rel, fork);
        let mut space = size.lock();
        let Some(blocks) = size.known().filter(|&blocks| space.end > blocks) else {
            return Ok(());
        };
        let end = std::mem::take(&mut *space).end;
        self.truncate_locked(rel, fork, blocks, end)
    }

    /// Makes the files, which hold `from` blocks, long enough for `to`.
    fn allocate(
        &self,
        rel: RelFileLocator,
        fork: ForkNumber,
        from: BlockNumber,
        to: BlockNumber,
    ) -> Result<(), SmgrError> {
        let mut block = from;
        while block < to {
            let until = to.min(block.saturating_add(segment_remaining(block)));
            if let Err(error) = self.extend_segment(rel, fork, block, until - block) {
                // Give back what this call allocated; the first error is the one to tell.
                let _ = self.truncate_locked(rel, fork, from, block);
                return Err(error);
            }
            block = until;
        }
        Ok(())
    }

    fn extend_segment(
        &self,
        rel: RelFileLocator,
        fork: ForkNumber,
        block: BlockNumber,
        count: u32,
    ) -> Result<(), SmgrError> {
        let key = SegmentKey {
            rel,
            fork,
            segment: block / RELSEG_SIZE,
        };
        let extend_error = |error| SmgrError::Extend {
            path: key.path(),
            error,
        };
        let file = if block.is_multiple_of(RELSEG_SIZE) && block > 0 {
            let options = OpenOptions {
                create: true,
                ..OpenOptions::READ_WRITE
            };
            let file = self.open_file(key, options).map_err(extend_error)?;
            self.note_created(key);
            file
        } else {
            self.segment(key)?
        };
        let offset = byte_offset(block);
        let bytes = u64::from(count) * BLCKSZ as u64;
        if let Err(error) = self.storage.allocate(&file, offset, bytes) {
            // A failed allocation may have made the file longer up to where space ended.
            let _ = self.storage.set_len(&file, offset);
            return Err(extend_error(error));
        }
        self.requests.note(self.requests.slot(key));
        Ok(())
    }

    /// Cuts the fork to `blocks` blocks. The caller has dropped the buffers beyond.
    pub fn truncate(
        &self,
        rel: RelFileLocator,
        fork: ForkNumber,
        blocks: BlockNumber,
    ) -> Result<(), SmgrError> {
        let size = self.size(rel, fork);
        let mut space = size.lock();
        let old = self.nblocks_locked(rel, fork, &size)?;
        if blocks > old {
            let path = rel.path(fork);
            return Err(SmgrError::TruncateLonger {
                path,
                wanted: blocks,
                blocks: old,
            });
        }
        let allocated = old.max(std::mem::take(&mut *space).end);
        let result = self.truncate_locked(rel, fork, blocks, allocated);
        match result {
            Ok(()) => size.set(blocks),
            // What is left is whatever it is; ask again.
            Err(_) => size.forget(&mut space),
        }
        result
    }

    /// Removes segments that are all behind block `blocks`, of a fork that ends there: a crash may have
    /// made the cut of an earlier one durable and not their removal. What they hold would be the fork's
    /// again once it has grown so long.
    ///
    /// # Errors
    /// The directory cannot be read, or a segment not be removed.
    pub fn remove_segments_beyond(
        &self,
        rel: RelFileLocator,
        fork: ForkNumber,
        blocks: BlockNumber,
    ) -> Result<(), SmgrError> {
        let size = self.size(rel, fork);
        let _change = size.lock();
        let path = self.data_dir.join(rel.path(fork));
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(());
        };
        let entries = self
            .storage
            .list(directory)
            .map_err(|error| SmgrError::Open {
                path: rel.path(fork),
                error,
            })?;
        let name = name.to_string_lossy();
        // There may be gaps between them.
        let segments = entries.iter().filter_map(|entry| {
            let entry = entry.name.to_str()?;
            let number = entry.strip_prefix(name.as_ref())?.strip_prefix('.')?;
            number.parse::<u32>().ok()
        });
        for segment in segments.filter(|&segment| segment >= blocks.div_ceil(RELSEG_SIZE).max(1)) {
            let key = SegmentKey { rel, fork, segment };
            self.files.remove_if(|other| *other == key);
            self.unlink_segment(key)?;
        }
        Ok(())
    }

    /// From the last segment down, so that no full segment is ever missing before another.
    fn truncate_locked(
        &self,
        rel: RelFileLocator,
        fork: ForkNumber,
        blocks: BlockNumber,
        old: BlockNumber,
    ) -> Result<(), SmgrError> {
        let first = blocks / RELSEG_SIZE;
        for segment in (first..=old / RELSEG_SIZE).rev() {
            let key = SegmentKey { rel, fork, segment };
            let start = segment * RELSEG_SIZE;
            if segment > 0 && start >= blocks {
                self.files.remove_if(|other| *other == key);
                self.unlink_segment(key)?;
                continue;
            }
            let file = self.segment(key)?;
            self.storage
                .set_len(&file, u64::from(blocks - start) * BLCKSZ as u64)
                .map_err(|error| SmgrError::Truncate {
                    path: key.path(),
                    blocks: blocks - start,
                    error,
                })?;
            self.requests.note(self.requests.slot(key));
        }
        Ok(())
    }

    // ---- files ----

    /// The open file of a segment that exists.
    pub(crate) fn segment(&self, key: SegmentKey) -> Result<Arc<File>, SmgrError> {
        if let Some(file) = self.files.get(&key) {
            return Ok(file);
        }
        self.open_file(key, OpenOptions::READ_WRITE)
            .map_err(|error| SmgrError::Open {
                path: key.path(),
                error,
            })
    }

    /// The segment file of `block`, and the block's offset in it.
    pub(crate) fn place(
        &self,
        rel: RelFileLocator,
        fork: ForkNumber,
        block: BlockNumber,
    ) -> Result<(SegmentKey, Arc<File>, u64), SmgrError> {
        let key = SegmentKey {
            rel,
            fork,
            segment: block / RELSEG_SIZE,
        };
        let file = self.segment(key).map_err(|error| match error {
            SmgrError::Open { path, error }
                if key.segment > 0 && error.kind() == io::ErrorKind::NotFound =>
            {
                match self.nblocks(rel, fork) {
                    Ok(blocks) => SmgrError::SegmentGap {
                        path,
                        block,
                        blocks: blocks % RELSEG_SIZE,
                    },
                    Err(error) => error,
                }
            }
            other => other,
        })?;
        Ok((key, file, byte_offset(block)))
    }

    fn open_file(&self, key: SegmentKey, options: OpenOptions) -> io::Result<Arc<File>> {
        let path = self.absolute(&key);
        let mut file = self
            .storage
            .open(&path, options.with_direct(self.config.direct))?;
        if self.config.direct
            && file
                .direct()
                .is_none_or(|alignment| !fits_blocks(alignment))
        {
            if !self.fall_back_logged.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    path = %path.display(),
                    alignment = ?file.direct(),
                    "direct I/O on relation files is not possible here; they are buffered"
                );
            }
            if file.direct().is_some() {
                file = self.storage.open(&path, OpenOptions::READ_WRITE)?;
            }
        }
        Ok(self.files.insert(key, file))
    }

    fn absolute(&self, key: &SegmentKey) -> PathBuf {
        self.data_dir.join(key.path())
    }

    fn note_created(&self, key: SegmentKey) {
        self.requests.note(self.requests.slot(key));
        self.note_directory(&self.absolute(&key));
    }

    fn note_directory(&self, path: &Path) {
        if let Some(directory) = path.parent() {
            let mut directories = self
                .directories
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if !directories.contains(directory) {
                directories.insert(directory.to_owned());
            }
        }
    }

    pub(crate) fn has_directories(&self) -> bool {
        !self
            .directories
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }

    pub(crate) fn take_directories(&self) -> BTreeSet<PathBuf> {
        std::mem::take(
            &mut *self
                .directories
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    fn size(&self, rel: RelFileLocator, fork: ForkNumber) -> Arc<ForkSize> {
        let key = (rel, fork);
        if let Some(size) = self
            .sizes
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
        {
            return Arc::clone(size);
        }
        let mut sizes = self.sizes.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(sizes.entry(key).or_insert_with(|| {
            Arc::new(ForkSize {
                blocks: AtomicU64::new(UNKNOWN),
                change: Mutex::new(SpaceAhead::default()),
            })
        }))
    }

    // ---- direct I/O ----

    /// Whether relation files are read and written directly: wanted, and not found impossible so far.
    pub fn is_direct(&self) -> bool {
        self.config.direct && !self.fall_back_logged.load(Ordering::Relaxed)
    }

    /// The alignment that I/O on a fork must have; `None` if it is buffered.
    pub fn alignment(
        &self,
        rel: RelFileLocator,
        fork: ForkNumber,
    ) -> Result<Option<DirectAlignment>, SmgrError> {
        Ok(self
            .segment(SegmentKey {
                rel,
                fork,
                segment: 0,
            })?
            .direct())
    }

    /// Syncs of segments so far (the `fsyncs` of `pg_stat_io`).
    pub fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// Segment files open now.
    pub fn open_files(&self) -> usize {
        self.files.len()
    }
}

/// Whether blocks of a relation can be moved directly under `alignment`.
fn fits_blocks(alignment: DirectAlignment) -> bool {
    let fits = |bytes: u32| bytes > 0 && (BLCKSZ as u32).is_multiple_of(bytes);
    fits(alignment.memory_bytes) && fits(alignment.offset_bytes)
}

fn byte_offset(block: BlockNumber) -> u64 {
    u64::from(block % RELSEG_SIZE) * BLCKSZ as u64
}

/// Blocks from `block` on to the end of its segment: one I/O does not cross it.
pub const fn segment_remaining(block: BlockNumber) -> u32 {
    RELSEG_SIZE - block % RELSEG_SIZE
}
