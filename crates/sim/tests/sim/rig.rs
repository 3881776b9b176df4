//! What the tests share: a machine with a simulated disk, and numbers by seed.

use std::io;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use trunkline_aio::{
    Aio, AioConfig, AlignedBuf, File, IoContext, OpenOptions, RawIo, Storage, read_file,
};
use trunkline_sim::{SimConfig, SimDisk};

/// A disk and one issuer on it.
pub struct Machine {
    pub disk: SimDisk,
    pub aio: Arc<Aio>,
    pub io: IoContext,
}

impl Machine {
    pub fn new(config: SimConfig) -> Machine {
        Machine::over(SimDisk::new(config))
    }

    pub fn over(disk: SimDisk) -> Machine {
        let aio = core(&disk);
        let io = aio.issuer(1).unwrap();
        Machine { disk, aio, io }
    }

    /// After a power cut: what the disk kept, in a new machine.
    pub fn restarted(&self) -> Machine {
        Machine::over(self.disk.restart())
    }

    pub fn open(&self, path: &str, options: OpenOptions) -> Arc<File> {
        self.disk.open(Path::new(path), options).unwrap()
    }

    /// A new file whose name is durable.
    pub fn create(&self, path: &str) -> Arc<File> {
        let file = self.open(path, OpenOptions::CREATE_NEW);
        let parent = Path::new(path).parent().unwrap();
        self.disk.sync_dir(parent).unwrap();
        file
    }

    pub fn start_write(&mut self, file: &Arc<File>, offset: u64, bytes: &[u8]) -> RawIo {
        let mut buffer = AlignedBuf::zeroed(bytes.len());
        buffer.copy_from_slice(bytes);
        self.io
            .write_raw(file, buffer, offset, bytes.len())
            .unwrap()
    }

    pub fn write(&mut self, file: &Arc<File>, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        self.start_write(file, offset, bytes).wait(&mut self.io).1
    }

    pub fn read(&mut self, file: &Arc<File>, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let buffer = AlignedBuf::zeroed(len);
        let started = self.io.read_raw(file, buffer, offset, len).unwrap();
        let (buffer, moved) = started.wait(&mut self.io);
        Ok(buffer[..moved?].to_vec())
    }

    pub fn read_file(&mut self, path: &str) -> io::Result<Vec<u8>> {
        read_file(&self.disk, &mut self.io, Path::new(path))
    }
}

pub fn core(disk: &SimDisk) -> Arc<Aio> {
    let config = AioConfig {
        max_issuers: 16,
        io_max_concurrency: 8,
        ..AioConfig::default()
    };
    Aio::start_with(config, Arc::new(disk.clone())).unwrap()
}

/// Numbers for the tests' own choices: SplitMix64 (Steele, Lea, Flood 2014).
pub struct Choice(pub u64);

impl Choice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// Runs `body` for each seed, and says which one failed.
pub fn for_each_seed(count: u64, body: impl Fn(u64)) {
    struct Failing(u64);
    impl Drop for Failing {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("failed with seed {}", self.0);
            }
        }
    }
    for seed in 0..count {
        let failing = Failing(seed);
        body(seed);
        drop(failing);
    }
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
