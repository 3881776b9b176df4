//! What the tests share: every method in turn, a time limit, and methods and
//! files that do as they are told.
#![expect(unsafe_code, reason = "starts I/O on memory that the I/O keeps alive")]

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::Duration;

use trunkline_aio::{
    Aio, AioConfig, AlignedBuf, Completions, File, InFlight, IoHandle, IoMemory, IoRequest, Method,
    Op, PosixAioConfig, PosixAioMethod, RequestBatch, SyncMethod, SystemCalls, WaitRef,
    WorkerConfig, WorkerMethod,
};

/// Few handles, so that running out of them is part of every test.
pub fn small() -> AioConfig {
    AioConfig {
        max_issuers: 8,
        io_max_concurrency: 4,
        ..AioConfig::default()
    }
}

pub fn start_with(config: &AioConfig, method: Arc<dyn Method>) -> Arc<Aio> {
    Aio::start_with(config.clone(), method).unwrap()
}

pub fn workers(min: u32, max: u32, queue_size: u32) -> WorkerConfig {
    WorkerConfig {
        min_workers: min,
        max_workers: max,
        queue_size,
        idle_timeout_ms: 60_000,
    }
}

/// Runs the same body over every method. Where io_uring is forbidden, says so.
pub fn for_each_method(config: &AioConfig, body: impl Fn(&Arc<Aio>)) {
    #[cfg(target_os = "linux")]
    over_io_uring(config, &body);
    let method = WorkerMethod::new(workers(2, 4, 8), Arc::new(SystemCalls)).unwrap();
    run("worker", start_with(config, Arc::new(method)), &body);
    // With several descriptors of a file, and with none but its own.
    for descriptors_per_file in [8, 1] {
        let config_of_method = PosixAioConfig {
            descriptors_per_file,
            ..PosixAioConfig::default()
        };
        let method = PosixAioMethod::new(config_of_method, Arc::new(SystemCalls)).unwrap();
        run("posix_aio", start_with(config, Arc::new(method)), &body);
    }
    let method = SyncMethod::new(Arc::new(SystemCalls));
    run("sync", start_with(config, Arc::new(method)), &body);
}

#[cfg(target_os = "linux")]
fn over_io_uring(config: &AioConfig, body: &impl Fn(&Arc<Aio>)) {
    use trunkline_aio::{IoUringMethod, RingConfig};

    for rings in [1, 4] {
        let in_flight_limit = config.max_issuers * config.io_max_concurrency;
        match IoUringMethod::new(RingConfig {
            rings,
            in_flight_limit,
        }) {
            Ok(method) => run("io_uring", start_with(config, Arc::new(method)), body),
            Err(error) => eprintln!("SKIPPED for io_uring, which does not work here: {error}"),
        }
    }
}

fn run(name: &str, aio: Arc<Aio>, body: &impl Fn(&Arc<Aio>)) {
    println!("method {name}");
    body(&aio);
    assert_eq!(aio.method_name(), name);
    aio.shutdown();
    assert!(
        aio.in_flight().is_empty(),
        "left behind: {:?}",
        aio.in_flight()
    );
}

/// Fails instead of hanging.
pub fn within_limit<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let value = body();
        sender.send(()).unwrap();
        value
    });
    if receiver.recv_timeout(Duration::from_secs(60)) == Err(mpsc::RecvTimeoutError::Timeout) {
        panic!("a wait did not end");
    }
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Memory that an I/O and a test share.
pub type SharedBuf = Arc<Mutex<AlignedBuf>>;

pub fn shared_buf(len: usize) -> SharedBuf {
    Arc::new(Mutex::new(AlignedBuf::zeroed(len)))
}

/// The buffer as memory, in pieces of the given lengths.
fn pieces(buffer: &SharedBuf, lengths: &[usize]) -> Vec<IoMemory> {
    let memory = buffer.lock().unwrap().memory();
    let mut at = 0;
    lengths
        .iter()
        .map(|&length| {
            assert!(at + length <= memory.len());
            let piece = IoMemory::new(memory.ptr().wrapping_add(at), length);
            at += length;
            piece
        })
        .collect()
}

/// Starts a read into consecutive pieces of `buffer`. The test must not lock
/// the buffer before the I/O is complete.
pub fn start_read(
    mut handle: IoHandle<'_>,
    file: &Arc<File>,
    offset: u64,
    buffer: &SharedBuf,
    lengths: &[usize],
) -> WaitRef {
    let memory = pieces(buffer, lengths);
    handle.keep_alive(buffer.clone());
    // SAFETY: kept alive by the I/O, and not touched before it is complete.
    unsafe { handle.start_readv(file, offset, &memory) }
}

/// The same for a write.
pub fn start_write(
    mut handle: IoHandle<'_>,
    file: &Arc<File>,
    offset: u64,
    buffer: &SharedBuf,
    lengths: &[usize],
) -> WaitRef {
    let memory = pieces(buffer, lengths);
    handle.keep_alive(buffer.clone());
    // SAFETY: as above.
    unsafe { handle.start_writev(file, offset, &memory) }
}

/// Both ends of a pipe, reading end first.
pub fn pipe() -> (Arc<File>, Arc<File>) {
    let (reader, writer) = io::pipe().unwrap();
    let file = |fd: OwnedFd| {
        Arc::new(File::from_descriptor(
            fd,
            PathBuf::from("pipe"),
            None,
            false,
        ))
    };
    (file(reader.into()), file(writer.into()))
}

/// Bytes that differ from place to place.
pub fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len)
        .map(|at| (at as u32).wrapping_mul(2_654_435_761).to_le_bytes()[3] ^ seed)
        .collect()
}

/// A method that keeps I/Os in flight until the gate opens.
#[derive(Default)]
pub struct GateMethod {
    state: Mutex<GateState>,
    arrived: Condvar,
}

#[derive(Default)]
struct GateState {
    open: bool,
    held: Vec<IoRequest>,
    completions: Option<Completions>,
}

impl GateMethod {
    /// Completes what is held, last first, and from now on everything at once.
    pub fn open(&self) {
        let (held, completions) = {
            let mut state = self.state.lock().unwrap();
            state.open = true;
            (std::mem::take(&mut state.held), state.completions.clone())
        };
        for request in held.into_iter().rev() {
            let bytes = request.length_bytes() as i32;
            assert!(
                completions
                    .as_ref()
                    .unwrap()
                    .complete(request, bytes)
                    .is_none()
            );
        }
    }

    /// Completes the I/O that was submitted first.
    pub fn complete_first(&self) {
        let (request, completions) = {
            let mut state = self.state.lock().unwrap();
            (state.held.remove(0), state.completions.clone().unwrap())
        };
        let bytes = request.length_bytes() as i32;
        assert!(completions.complete(request, bytes).is_none());
    }

    pub fn held(&self) -> usize {
        self.state.lock().unwrap().held.len()
    }

    pub fn wait_until_held(&self, count: usize) {
        let state = self.state.lock().unwrap();
        drop(
            self.arrived
                .wait_while(state, |state| state.held.len() < count)
                .unwrap(),
        );
    }
}

impl Method for GateMethod {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn start(&self, completions: &Completions) {
        self.state.lock().unwrap().completions = Some(completions.clone());
    }

    fn submit(&self, batch: &mut RequestBatch, _completions: &Completions) {
        let open = {
            let mut state = self.state.lock().unwrap();
            state.held.extend(batch);
            state.open
        };
        self.arrived.notify_all();
        if open {
            self.open();
        }
    }

    fn wait(&self, io: &InFlight<'_>) {
        io.park();
    }
}

/// What a [`MemoryMethod`] does with one attempt.
#[derive(Clone, Copy, Debug)]
pub enum Attempt {
    /// Moves at most so many bytes.
    AtMost(usize),
    /// Moves nothing and fails.
    Errno(i32),
}

/// A disk in memory, written from outside with nothing but the public traits,
/// whose attempts follow a script (and succeed once it is used up).
#[derive(Default)]
pub struct MemoryMethod {
    pub files: Mutex<HashMap<u64, Vec<u8>>>,
    pub script: Mutex<Vec<Attempt>>,
    pub attempts: Mutex<Vec<(u64, u32)>>,
}

/// An external file, and whether it has been closed.
pub fn external_file(key: u64) -> (Arc<File>, Arc<AtomicBool>) {
    struct OnClose(Arc<AtomicBool>);
    impl Drop for OnClose {
        fn drop(&mut self) {
            self.0.store(true, SeqCst);
        }
    }
    let closed = Arc::new(AtomicBool::new(false));
    let owner = Box::new(OnClose(Arc::clone(&closed)));
    (
        Arc::new(File::external(key, owner, PathBuf::from("memory"), None)),
        closed,
    )
}

impl MemoryMethod {
    fn attempt(&self, request: &mut IoRequest) -> i32 {
        self.attempts
            .lock()
            .unwrap()
            .push((request.offset(), request.length_bytes()));
        let mut script = self.script.lock().unwrap();
        let attempt = if script.is_empty() {
            Attempt::AtMost(usize::MAX)
        } else {
            script.remove(0)
        };
        let limit = match attempt {
            Attempt::Errno(errno) => return -errno,
            Attempt::AtMost(limit) => limit,
        };
        let Some(key) = request.file().and_then(File::external_key) else {
            return -libc_ebadf();
        };
        let mut files = self.files.lock().unwrap();
        let content = files.entry(key).or_default();
        let (offset, length) = (request.offset() as usize, request.length_bytes() as usize);
        match request.op() {
            Op::Readv => {
                let moved = length.min(limit).min(content.len().saturating_sub(offset));
                request.copy_in(0, &content[offset..offset + moved]);
                moved as i32
            }
            Op::Writev => {
                let moved = length.min(limit);
                content.resize(content.len().max(offset + moved), 0);
                request.copy_out(0, &mut content[offset..offset + moved]);
                moved as i32
            }
            Op::Nop | Op::Fsync | Op::Fdatasync | Op::FlushRange => 0,
        }
    }
}

fn libc_ebadf() -> i32 {
    rustix::io::Errno::BADF.raw_os_error()
}

impl Method for MemoryMethod {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn submit(&self, batch: &mut RequestBatch, completions: &Completions) {
        for request in batch {
            let mut next = Some(request);
            while let Some(mut request) = next {
                let outcome = self.attempt(&mut request);
                next = completions.complete(request, outcome);
            }
        }
    }

    fn wait(&self, io: &InFlight<'_>) {
        io.park();
    }
}

/// Blocks until one of the descriptors is readable.
pub fn until_readable(descriptors: &[impl std::os::fd::AsRawFd]) {
    const LIMIT_MS: i32 = 60_000;
    let mut polled: Vec<libc::pollfd> = descriptors
        .iter()
        .map(|descriptor| libc::pollfd {
            fd: descriptor.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        })
        .collect();
    // SAFETY: the array has as many places as it says, and the descriptors are borrowed, so open.
    let ready = unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, LIMIT_MS) };
    assert!(ready > 0, "nothing became readable");
}
