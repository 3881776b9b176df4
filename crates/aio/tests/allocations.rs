//! After the start nothing is allocated for an I/O: lists and cells keep what
//! they have grown to. A test binary of its own, since the allocator counts
//! for the whole process. (glibc's own allocations, inside its POSIX AIO, are
//! not Rust's, and not counted.)
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![expect(
    unsafe_code,
    reason = "an allocator that counts, and I/O on memory that outlives it"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use trunkline_aio::{
    Aio, AioConfig, AlignedBuf, File, IoContext, IoMemory, IoReturn, MethodKind, OpenOptions,
    OsStorage, Storage, WaitRef,
};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: the system's allocator, counted.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const BLOCK: usize = 8192;
const BLOCKS: usize = 64;

/// What the rounds work with, made once.
struct Rig {
    file: Arc<File>,
    buffer: AlignedBuf,
    cells: Vec<Arc<IoReturn>>,
    references: Vec<WaitRef>,
}

impl Rig {
    /// Every block of the file once: written or read, in pieces or whole, as
    /// neighbours that are combined; then a sync, a no-op and bounced I/O.
    fn round(&mut self, context: &mut IoContext) {
        for write in [true, false] {
            self.references.clear();
            for block in 0..BLOCKS {
                let start = self.buffer.memory().ptr().wrapping_add(block * BLOCK);
                let memory = [
                    IoMemory::new(start, BLOCK / 2),
                    IoMemory::new(start.wrapping_add(BLOCK / 2), BLOCK / 2),
                ];
                let mut handle = context.acquire().unwrap();
                handle.report_to(&self.cells[block]);
                let offset = (block * BLOCK) as u64;
                // SAFETY: the buffer outlives the waits below, and nobody
                // touches it before they return.
                let reference = unsafe {
                    if write {
                        handle.start_writev(&self.file, offset, &memory)
                    } else {
                        handle.start_readv(&self.file, offset, &memory)
                    }
                };
                self.references.push(reference);
            }
            for reference in &self.references {
                context.wait(*reference);
            }
        }
        let bounce = context.bounce_buffer(BLOCK).unwrap();
        let handle = context.acquire().unwrap();
        handle.start_write_bounced(&self.file, 0, bounce);
        context.acquire().unwrap().start_nop();
        context
            .acquire()
            .unwrap()
            .start_flush_range(&self.file, 0, BLOCK);
        context.acquire().unwrap().start_fdatasync(&self.file);
        context.wait_all();
        // Awaited by a task, on this thread: the smallest executor there is.
        let reference = context.acquire().unwrap().start_nop();
        context.submit();
        let mut wait = std::pin::pin!(context.aio().wait_async(reference));
        let waker = std::task::Waker::noop();
        let mut task = std::task::Context::from_waker(waker);
        while wait.as_mut().poll(&mut task).is_pending() {
            std::thread::yield_now();
        }
        assert!(
            self.cells
                .iter()
                .all(|cell| !cell.get().unwrap().is_error())
        );
    }
}

#[test]
fn an_io_allocates_nothing() {
    for kind in MethodKind::ALL {
        let aio = Aio::start(AioConfig {
            method: Some(kind),
            max_issuers: 1,
            io_max_concurrency: 128,
            // None comes later: a thread takes memory to start.
            io_min_workers: 4,
            io_max_workers: 4,
            ..AioConfig::default()
        })
        .unwrap();
        if aio.method_name() != kind.name() {
            println!("SKIPPED: {kind} does not work here");
            continue;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let file = OsStorage::new()
            .open(&path, OpenOptions::CREATE_NEW)
            .unwrap();
        let mut rig = Rig {
            file,
            buffer: AlignedBuf::zeroed(BLOCKS * BLOCK),
            cells: (0..BLOCKS).map(|_| IoReturn::new()).collect(),
            references: Vec::with_capacity(BLOCKS),
        };
        let mut context = aio.issuer(1).unwrap();
        // Which handles and threads take part varies: lists grow for a while.
        for _ in 0..100 {
            rig.round(&mut context);
        }
        let before = ALLOCATIONS.load(Ordering::SeqCst);
        const ROUNDS: u64 = 50;
        for _ in 0..ROUNDS {
            rig.round(&mut context);
        }
        let allocated = ALLOCATIONS.load(Ordering::SeqCst) - before;
        // A list that meets a new peak may still grow, which is not per I/O.
        assert!(
            allocated < ROUNDS / 5,
            "{kind}: {allocated} allocations in {ROUNDS} rounds of {} I/Os",
            2 * BLOCKS + 5
        );
    }
}
