//! What the tests run on: a data directory, an AIO core over a method of choice, a small pool.

use crate::fake_log::FakeLog;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use trunkline_aio::{
    Aio, AioConfig, Completions, Executor, File, InFlight, IoContext, IoRequest, Method,
    MethodKind, Op, OpenOptions, OsStorage, RequestBatch, State, Storage, SyncMethod, SystemCalls,
    WorkerConfig, WorkerMethod,
};
use trunkline_buffer::{
    BufferPool, DamagedRead, HugePages, PinnedBuffer, PoolConfig, ReadStream, ReadStreamFlags,
    ReadWarnings, Reader, RelFork,
};
use trunkline_pgformat::{
    BLCKSZ, ForkNumber, Oid, PageMut, PageRef, RelFileLocator, page_checksum,
};
use trunkline_smgr::{Smgr, SmgrConfig};

pub const REL: RelFileLocator = RelFileLocator {
    spc_oid: Oid(1663),
    db_oid: Oid(5),
    rel_number: 16384,
};
pub const MAIN: RelFork = RelFork {
    rel: REL,
    fork: ForkNumber::Main,
};

/// The fate of one read.
#[derive(Clone, Copy)]
pub enum Fate {
    /// Moves at most so many bytes.
    AtMost(i32),
    /// Fails.
    Errno(i32),
}

/// Makes the system's calls; reads meet the fates that are meant for them.
#[derive(Default)]
pub struct Inject {
    reads: Mutex<VecDeque<(u32, Fate)>>,
}

impl Inject {
    /// The next reads from block `first` on meet these fates, one each.
    pub fn on_reads(&self, first: u32, fates: impl IntoIterator<Item = Fate>) {
        let fates = fates.into_iter().map(|fate| (first, fate));
        self.reads.lock().unwrap().extend(fates);
    }

    /// Fates that no read has met.
    pub fn left(&self) -> usize {
        self.reads.lock().unwrap().len()
    }

    fn fate_of(&self, request: &IoRequest) -> Option<Fate> {
        let first = (request.offset() / BLCKSZ as u64) as u32;
        let mut reads = self.reads.lock().unwrap();
        let at = reads.iter().position(|read| read.0 == first)?;
        reads.remove(at).map(|read| read.1)
    }
}

impl Executor for Inject {
    fn execute(&self, request: &IoRequest) -> i32 {
        let fate = match request.op() {
            Op::Readv => self.fate_of(request),
            _ => None,
        };
        match fate {
            None => SystemCalls.execute(request),
            Some(Fate::AtMost(bytes)) => SystemCalls.execute(request).min(bytes),
            Some(Fate::Errno(errno)) => -errno,
        }
    }
}

/// Executes nothing until somebody waits for it, and then on the waiter's thread: whoever issued an
/// I/O never completes it by accident. Notes what was submitted.
#[derive(Default)]
pub struct Lazy {
    held: Mutex<VecDeque<IoRequest>>,
    changed: Condvar,
    inject: Arc<Inject>,
    pub submitted: Mutex<Vec<(Op, u32, u32)>>,
    /// Fail every read with EIO.
    pub fail_reads: AtomicBool,
    /// Fail every write with ENOSPC.
    pub fail_writes: AtomicBool,
    /// Fail every flush of a range with EIO.
    pub fail_flushes: AtomicBool,
}

impl Lazy {
    /// First block and blocks of the reads submitted since the last call.
    pub fn take_reads(&self) -> Vec<(u32, u32)> {
        self.take(Op::Readv)
    }

    /// First block and blocks of the flushes submitted since the last call.
    pub fn take_flushes(&self) -> Vec<(u32, u32)> {
        self.take(Op::FlushRange)
    }

    /// The same of writes.
    pub fn take_writes(&self) -> Vec<(u32, u32)> {
        self.take(Op::Writev)
    }

    fn take(&self, op: Op) -> Vec<(u32, u32)> {
        let mut submitted = self.submitted.lock().unwrap();
        let taken = submitted
            .iter()
            .filter(|s| s.0 == op)
            .map(|s| (s.1, s.2))
            .collect();
        submitted.retain(|s| s.0 != op);
        taken
    }

    /// I/Os that nobody has waited for yet.
    pub fn held(&self) -> usize {
        self.held.lock().unwrap().len()
    }

    /// Blocks until `count` I/Os are held.
    pub fn wait_held(&self, count: usize) {
        let mut held = self.held.lock().unwrap();
        while held.len() < count {
            held = self.changed.wait(held).unwrap();
        }
    }

    fn execute(&self, request: &IoRequest) -> i32 {
        const EIO: i32 = 5;
        const ENOSPC: i32 = 28;
        match request.op() {
            Op::Readv if self.fail_reads.load(Ordering::SeqCst) => -EIO,
            Op::FlushRange if self.fail_flushes.load(Ordering::SeqCst) => -EIO,
            Op::Writev if self.fail_writes.load(Ordering::SeqCst) => -ENOSPC,
            _ => self.inject.execute(request),
        }
    }
}

impl Method for Lazy {
    fn name(&self) -> &'static str {
        "lazy"
    }

    fn submit(&self, batch: &mut RequestBatch, _: &Completions) {
        let mut held = self.held.lock().unwrap();
        let mut submitted = self.submitted.lock().unwrap();
        for request in batch {
            let first = (request.offset() / BLCKSZ as u64) as u32;
            submitted.push((request.op(), first, request.length_bytes() / BLCKSZ as u32));
            held.push_back(request);
        }
        self.changed.notify_all();
    }

    fn wait(&self, io: &InFlight<'_>) {
        let carrier = io.carrier();
        let mut held = self.held.lock().unwrap();
        let at = held
            .iter()
            .position(|request| request.wait_ref() == carrier);
        let request = at.and_then(|at| held.remove(at));
        drop(held);
        let Some(mut request) = request else {
            // Another waiter has it.
            io.park();
            return;
        };
        loop {
            let outcome = self.execute(&request);
            match io.completions().complete(request, outcome) {
                Some(rest) => request = rest,
                None => return,
            }
        }
    }
}

/// The methods that a test body runs over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Over {
    Kind(MethodKind),
    Lazy,
}

pub const ALL: [Over; 5] = [
    Over::Kind(MethodKind::Sync),
    Over::Kind(MethodKind::Worker),
    Over::Kind(MethodKind::IoUring),
    Over::Kind(MethodKind::PosixAio),
    Over::Lazy,
];

/// Those of them whose reads can be made to fail.
pub const INJECTABLE: [Over; 3] = [
    Over::Kind(MethodKind::Sync),
    Over::Kind(MethodKind::Worker),
    Over::Lazy,
];

pub struct Options {
    pub buffers: u64,
    pub combine_blocks: u32,
    pub io_concurrency: u32,
    /// Relation files are written directly.
    pub direct: bool,
    /// Blocks after which everybody asks the kernel to write.
    pub flush_after_blocks: u32,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            buffers: 128,
            combine_blocks: 8,
            io_concurrency: 4,
            direct: true,
            flush_after_blocks: 0,
        }
    }
}

/// Storage whose disk can be full.
#[derive(Default)]
pub struct FillableStorage {
    os: OsStorage,
    pub full: AtomicBool,
    /// Whether more than a megabyte at a time is too much.
    pub has_only_megabytes: AtomicBool,
    /// Allocations that succeeded.
    pub allocations: AtomicUsize,
}

impl Storage for FillableStorage {
    fn open(&self, path: &Path, options: OpenOptions) -> std::io::Result<Arc<File>> {
        self.os.open(path, options)
    }
    fn len(&self, file: &File) -> std::io::Result<u64> {
        self.os.len(file)
    }
    fn set_len(&self, file: &File, len_bytes: u64) -> std::io::Result<()> {
        self.os.set_len(file, len_bytes)
    }
    fn allocate(&self, file: &File, offset: u64, len_bytes: u64) -> std::io::Result<()> {
        let is_much = len_bytes > 1 << 20;
        let is_too_much = is_much && self.has_only_megabytes.load(Ordering::SeqCst);
        if is_too_much || self.full.load(Ordering::SeqCst) {
            // Like a real file system, that gives what it has and then refuses.
            self.os.allocate(file, offset, len_bytes / 2)?;
            return Err(std::io::Error::from_raw_os_error(28));
        }
        self.os.allocate(file, offset, len_bytes)?;
        self.allocations.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        self.os.rename(from, to)
    }
    fn unlink(&self, path: &Path) -> std::io::Result<()> {
        self.os.unlink(path)
    }
    fn create_dir(&self, path: &Path) -> std::io::Result<()> {
        self.os.create_dir(path)
    }
    fn remove_dir(&self, path: &Path) -> std::io::Result<()> {
        self.os.remove_dir(path)
    }
    fn list(&self, path: &Path) -> std::io::Result<Vec<trunkline_aio::DirEntry>> {
        self.os.list(path)
    }
    fn metadata(&self, path: &Path) -> std::io::Result<Option<trunkline_aio::FileMetadata>> {
        self.os.metadata(path)
    }
    fn sync_dir(&self, path: &Path) -> std::io::Result<()> {
        self.os.sync_dir(path)
    }
}

/// What somebody was warned of.
#[derive(Default)]
pub struct Told(Mutex<Vec<DamagedRead>>);

impl Told {
    /// Message, DETAIL and HINT of the warnings since the last call.
    pub fn take(&self) -> Vec<[String; 3]> {
        let told = std::mem::take(&mut *self.0.lock().unwrap());
        told.iter()
            .map(|read| {
                assert_eq!(read.sqlstate(), "XX001");
                let or_empty = Option::unwrap_or_default;
                [
                    read.to_string(),
                    or_empty(read.detail()),
                    or_empty(read.hint()),
                ]
            })
            .collect()
    }
}

impl ReadWarnings for Told {
    fn warn(&self, read: &DamagedRead) {
        self.0.lock().unwrap().push(read.clone());
    }
}

pub struct Rig {
    pub aio: Arc<Aio>,
    pub smgr: Arc<Smgr>,
    pub pool: Arc<BufferPool>,
    pub lazy: Option<Arc<Lazy>>,
    pub inject: Arc<Inject>,
    pub storage: Arc<FillableStorage>,
    /// Everything is durable there until a page says otherwise.
    pub log: Arc<FakeLog>,
    dir: tempfile::TempDir,
}

impl Rig {
    pub fn new(over: Over, options: Options) -> Rig {
        let config = AioConfig {
            max_issuers: 16,
            io_max_concurrency: 16,
            // What neighbouring runs are combined to, as well: a run is what goes to the kernel.
            io_combine_limit_bytes: options.combine_blocks * BLCKSZ as u32,
            ..AioConfig::default()
        };
        let mut lazy = None;
        let inject = Arc::new(Inject::default());
        let aio = match over {
            Over::Lazy => {
                let method = Arc::new(Lazy {
                    inject: Arc::clone(&inject),
                    ..Lazy::default()
                });
                lazy = Some(Arc::clone(&method));
                Aio::start_with(config, method).unwrap()
            }
            Over::Kind(MethodKind::Sync) => {
                Aio::start_with(config, Arc::new(SyncMethod::new(inject.clone()))).unwrap()
            }
            Over::Kind(MethodKind::Worker) => {
                let workers = WorkerConfig {
                    min_workers: 2,
                    max_workers: 4,
                    queue_size: 64,
                    idle_timeout_ms: 60_000,
                };
                let method = WorkerMethod::new(workers, inject.clone()).unwrap();
                Aio::start_with(config, Arc::new(method)).unwrap()
            }
            Over::Kind(kind) => {
                let aio = Aio::start(AioConfig {
                    method: Some(kind),
                    ..config
                })
                .unwrap();
                if kind == MethodKind::IoUring && aio.method_name() != kind.name() {
                    eprintln!(
                        "SKIPPED for {kind}, which does not work here: running over {}",
                        aio.method_name()
                    );
                } else {
                    assert_eq!(aio.method_name(), kind.name());
                }
                aio
            }
        };
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("base/5")).unwrap();
        let storage = Arc::new(FillableStorage::default());
        let smgr = Smgr::new(
            Arc::clone(&storage) as _,
            &aio,
            dir.path().to_owned(),
            SmgrConfig {
                direct: options.direct,
                ..SmgrConfig::default()
            },
        );
        let log = Arc::new(FakeLog::default());
        let config = PoolConfig {
            checkpoint_flush_after_blocks: options.flush_after_blocks,
            bgwriter_flush_after_blocks: options.flush_after_blocks,
            backend_flush_after_blocks: options.flush_after_blocks,
            shared_buffers_bytes: options.buffers * BLCKSZ as u64,
            huge_pages: HugePages::Off,
            io_combine_limit_bytes: options.combine_blocks * BLCKSZ as u32,
            effective_io_concurrency: options.io_concurrency,
            ..PoolConfig::default()
        };
        let (own_aio, own_smgr) = (Arc::clone(&aio), Arc::clone(&smgr));
        let pool = BufferPool::with_log(config, own_aio, own_smgr, Arc::clone(&log) as _).unwrap();
        Rig {
            aio,
            smgr,
            pool,
            lazy,
            inject,
            storage,
            log,
            dir,
        }
    }

    pub fn issuer(&self) -> IoContext {
        self.aio.issuer(1).unwrap()
    }

    /// An issuer with these settings, and what it is warned of.
    pub fn reader(
        &self,
        zero_damaged_pages: bool,
        ignore_checksum_failure: bool,
    ) -> (IoContext, Arc<Told>) {
        let (mut ctx, told) = (self.issuer(), Arc::new(Told::default()));
        Reader {
            zero_damaged_pages,
            ignore_checksum_failure,
            warnings: Some(Arc::clone(&told) as _),
        }
        .attach(&mut ctx);
        (ctx, told)
    }

    pub fn lazy(&self) -> &Lazy {
        self.lazy.as_deref().unwrap()
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join(MAIN.path())
    }

    /// Makes [`MAIN`] with `blocks` written blocks that each say which they are; none stays cached.
    pub fn fill(&self, ctx: &mut IoContext, blocks: u32) {
        self.smgr.create(REL, ForkNumber::Main, false).unwrap();
        let mut made = 0;
        while made < blocks {
            for buffer in self
                .pool
                .extend(ctx, MAIN, (blocks - made).min(16), None)
                .unwrap()
            {
                assert_eq!(buffer.block(), made);
                let mut guard = buffer.exclusive();
                let mut page = PageMut::new(&mut guard);
                page.init(0);
                page.add_item(&content(made)).unwrap();
                guard.mark_dirty();
                made += 1;
            }
        }
        self.evict(ctx);
        if let Some(lazy) = &self.lazy {
            lazy.submitted.lock().unwrap().clear();
        }
    }

    /// Empties the pool of [`REL`]; fails if anything is still pinned.
    pub fn evict(&self, ctx: &mut IoContext) -> u64 {
        let counts = self.pool.evict_relation(ctx, REL).unwrap();
        assert_eq!(counts.skipped, 0, "a pin was leaked");
        counts.evicted
    }

    /// Fails if an I/O is there that somebody would still have to complete.
    pub fn check_nothing_underway(&self) {
        for row in self.aio.in_flight() {
            let complete = matches!(row.state, State::CompletedShared | State::CompletedLocal);
            assert!(complete, "left behind: {row:?}");
        }
    }

    /// Changes a byte of a block on disk, past the header.
    pub fn corrupt(&self, block: u32) {
        let mut bytes = std::fs::read(self.path()).unwrap();
        bytes[block as usize * BLCKSZ + 5000] ^= 0x40;
        std::fs::write(self.path(), bytes).unwrap();
    }

    /// Makes the header of a block on disk nonsense; its checksum is that of the nonsense.
    pub fn break_header(&self, block: u32) {
        let mut bytes = std::fs::read(self.path()).unwrap();
        let page = &mut bytes[block as usize * BLCKSZ..][..BLCKSZ];
        page[12..16].fill(0xff);
        let page: &mut [u8; BLCKSZ] = page.try_into().unwrap();
        let checksum = page_checksum(page, block);
        page[8..10].copy_from_slice(&checksum.to_le_bytes());
        std::fs::write(self.path(), bytes).unwrap();
    }

    /// The checksum of a block's bytes on disk, and the one that it carries.
    pub fn checksums(&self, block: u32) -> (u16, u16) {
        let bytes = std::fs::read(self.path()).unwrap();
        let page = bytes[block as usize * BLCKSZ..][..BLCKSZ]
            .try_into()
            .unwrap();
        let carried = u16::from_le_bytes([
            bytes[block as usize * BLCKSZ + 8],
            bytes[block as usize * BLCKSZ + 9],
        ]);
        (page_checksum(page, block), carried)
    }

    /// A stream over `blocks`, in that order.
    pub fn stream(
        &self,
        full: bool,
        blocks: impl IntoIterator<Item = u32>,
    ) -> ReadStream<impl FnMut() -> Option<u32>> {
        let flags = ReadStreamFlags {
            full,
            ..ReadStreamFlags::default()
        };
        let blocks: Vec<u32> = blocks.into_iter().collect();
        let mut blocks = blocks.into_iter();
        ReadStream::new(&self.pool, MAIN, None, flags, move || blocks.next())
    }
}

/// What block `block` of a filled relation holds as its only item.
pub fn content(block: u32) -> [u8; 64] {
    let mut item = [block as u8; 64];
    item[..4].copy_from_slice(&block.to_le_bytes());
    item
}

#[track_caller]
pub fn check(buffer: &PinnedBuffer, block: u32) {
    assert_eq!(buffer.block(), block);
    let guard = buffer.share();
    assert_eq!(
        PageRef::new(&guard).item(1),
        Some(&content(block)[..]),
        "block {block}"
    );
}
