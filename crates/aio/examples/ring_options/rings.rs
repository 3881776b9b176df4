//! The measurements.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::time::Instant;

use io_uring::types::{Fd, Fixed};
use io_uring::{IoUring, opcode, squeue};
use trunkline_aio::{
    Aio, AioConfig, AlignedBuf, IoMemory, IoUringMethod, OpenOptions as Options, OsStorage,
    RingConfig, Storage,
};

const MIB: usize = 1 << 20;

/// One way to read through a bare ring.
#[derive(Clone, Copy)]
struct Way {
    fixed_buffers: bool,
    fixed_file: bool,
    offload: bool,
}

#[derive(Clone, Copy)]
struct Load {
    read_bytes: usize,
    depth: usize,
    reads: usize,
    random: bool,
    direct: bool,
}

/// Microseconds a read: of time, of this process's CPU, and in submissions.
#[derive(Clone, Copy)]
struct Cost {
    time: f64,
    cpu: f64,
    submitting: f64,
}

pub fn main() {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().unwrap();
    let rounds: usize = arguments.next().map_or(7, |text| text.parse().unwrap());
    registered(&path, rounds);
    offloaded(&path, rounds);
    several_rings(&path, rounds);
    registered_with_the_core(&path, rounds);
}

fn cpu_us() -> f64 {
    // SAFETY: numbers, filled by the call.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let us = |time: libc::timeval| time.tv_sec as f64 * 1e6 + time.tv_usec as f64;
    us(usage.ru_utime) + us(usage.ru_stime)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn medians(costs: &[Cost]) -> Cost {
    Cost {
        time: median(costs.iter().map(|cost| cost.time).collect()),
        cpu: median(costs.iter().map(|cost| cost.cpu).collect()),
        submitting: median(costs.iter().map(|cost| cost.submitting).collect()),
    }
}

fn next_random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Runs one load through a ring of its own.
fn run(path: &str, load: Load, way: Way, huge_pages: bool, seed: u64) -> Cost {
    let flags = if load.direct { libc::O_DIRECT } else { 0 };
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .unwrap();
    let mut ring: IoUring = IoUring::builder().setup_cqsize(256).build(256).unwrap();
    let mut buffers: Vec<AlignedBuf> = if huge_pages {
        AlignedBuf::zeroed_group(load.depth.max(2 * MIB / load.read_bytes), load.read_bytes)
    } else {
        (0..load.depth)
            .map(|_| AlignedBuf::zeroed(load.read_bytes))
            .collect()
    };
    for buffer in &mut buffers {
        buffer.fill(1);
    }
    let first = buffers
        .iter_mut()
        .map(|buffer| buffer.memory().ptr())
        .min()
        .unwrap();
    let pointers: Vec<*mut u8> = buffers[..load.depth]
        .iter_mut()
        .map(|buffer| buffer.memory().ptr())
        .collect();
    if way.fixed_buffers {
        let iovec = |base: *mut u8, len| libc::iovec {
            iov_base: base.cast(),
            iov_len: len,
        };
        let iovecs: Vec<_> = if huge_pages {
            // A pool's region as one entry.
            vec![iovec(first, buffers.len() * load.read_bytes)]
        } else {
            pointers
                .iter()
                .map(|&base| iovec(base, load.read_bytes))
                .collect()
        };
        // SAFETY: the buffers outlive the ring's last I/O, below.
        unsafe { ring.submitter().register_buffers(&iovecs) }.unwrap();
    }
    if way.fixed_file {
        ring.submitter()
            .register_files(&[file.as_raw_fd()])
            .unwrap();
    }
    let places = file.metadata().unwrap().len() / load.read_bytes as u64;
    let mut state = seed | 1;
    let mut sequence = seed % places;
    let mut entry = |slot: usize| {
        let place = if load.random {
            next_random(&mut state) % places
        } else {
            sequence = (sequence + 1) % places;
            sequence
        };
        let (offset, len) = (place * load.read_bytes as u64, load.read_bytes as u32);
        let (pointer, index) = (pointers[slot], if huge_pages { 0 } else { slot as u16 });
        let fd = Fd(file.as_raw_fd());
        let built = match (way.fixed_buffers, way.fixed_file) {
            (false, false) => opcode::Read::new(fd, pointer, len).offset(offset).build(),
            (false, true) => opcode::Read::new(Fixed(0), pointer, len)
                .offset(offset)
                .build(),
            (true, false) => opcode::ReadFixed::new(fd, pointer, len, index)
                .offset(offset)
                .build(),
            (true, true) => opcode::ReadFixed::new(Fixed(0), pointer, len, index)
                .offset(offset)
                .build(),
        };
        let built = if way.offload {
            built.flags(squeue::Flags::ASYNC)
        } else {
            built
        };
        built.user_data(slot as u64)
    };
    let mut free: Vec<usize> = (0..load.depth).collect();
    let (mut started, mut done) = (0, 0);
    let mut submitting = 0.0;
    let (cpu, time) = (cpu_us(), Instant::now());
    while done < load.reads {
        while started < load.reads
            && let Some(slot) = free.pop()
        {
            // SAFETY: a buffer is in one read at a time and outlives it.
            unsafe { ring.submission().push(&entry(slot)) }.unwrap();
            started += 1;
        }
        let before = Instant::now();
        ring.submit().unwrap();
        submitting += before.elapsed().as_secs_f64() * 1e6;
        // As the method does: wait for one, then take what is there.
        ring.submit_and_wait(1).unwrap();
        for completion in ring.completion() {
            assert_eq!(completion.result(), load.read_bytes as i32);
            free.push(completion.user_data() as usize);
            done += 1;
        }
    }
    let reads = load.reads as f64;
    Cost {
        time: time.elapsed().as_secs_f64() * 1e6 / reads,
        cpu: (cpu_us() - cpu) / reads,
        submitting: submitting / reads,
    }
}

const PLAIN: Way = Way {
    fixed_buffers: false,
    fixed_file: false,
    offload: false,
};

/// Registered buffers and files, direct reads.
fn registered(path: &str, rounds: usize) {
    let load = |read_bytes, depth, reads, random| Load {
        read_bytes,
        depth,
        reads,
        random,
        direct: true,
    };
    let loads = [
        ("random 8 KiB, depth 16", load(8192, 16, 20_000, true)),
        ("random 8 KiB, depth 128", load(8192, 128, 40_000, true)),
        (
            "sequential 256 KiB, depth 8",
            load(262_144, 8, 2_000, false),
        ),
    ];
    let ways = [
        ("plain", PLAIN),
        (
            "registered buffers",
            Way {
                fixed_buffers: true,
                ..PLAIN
            },
        ),
        (
            "registered file",
            Way {
                fixed_file: true,
                ..PLAIN
            },
        ),
        (
            "both",
            Way {
                fixed_buffers: true,
                fixed_file: true,
                ..PLAIN
            },
        ),
    ];
    for (pages, huge_pages) in [("4 KiB pages", false), ("huge pages", true)] {
        for (name, load) in loads {
            let mut costs = vec![Vec::new(); ways.len()];
            for round in 0..rounds {
                for (costs, (_, way)) in costs.iter_mut().zip(ways) {
                    costs.push(run(path, load, way, huge_pages, 77 + round as u64));
                }
            }
            for (costs, (way, _)) in costs.iter().zip(ways) {
                let cost = medians(costs);
                println!(
                    "direct, {pages}, {name}, {way}: {:.0} reads/s, {:.2} us CPU a read",
                    1e6 / cost.time,
                    cost.cpu
                );
            }
        }
    }
}

/// IOSQE_ASYNC for reads of what is cached.
fn offloaded(path: &str, rounds: usize) {
    std::io::copy(
        &mut File::open(path).unwrap().take_first(),
        &mut std::io::sink(),
    )
    .unwrap();
    for read_bytes in [8, 16, 32, 64, 128, 256, 512].map(|kib| kib * 1024) {
        for depth in [1, 16] {
            let load = Load {
                read_bytes,
                depth,
                reads: (256 * MIB / read_bytes).min(8192),
                random: false,
                direct: false,
            };
            let ways = [false, true].map(|offload| Way { offload, ..PLAIN });
            let mut costs = [Vec::new(), Vec::new()];
            for round in 0..rounds {
                for (costs, way) in costs.iter_mut().zip(ways) {
                    costs.push(run(path, load, way, false, round as u64));
                }
            }
            let [inline, offloaded] = costs.map(|costs| medians(&costs));
            println!(
                "cached, {} KiB, depth {depth}: inline {:.1} us a read ({:.1} submitting, {:.1} CPU), \
                 offloaded {:.1} us ({:.1} submitting, {:.1} CPU)",
                read_bytes / 1024,
                inline.time,
                inline.submitting,
                inline.cpu,
                offloaded.time,
                offloaded.submitting,
                offloaded.cpu
            );
        }
    }
}

trait TakeFirst {
    fn take_first(self) -> std::io::Take<File>;
}

impl TakeFirst for File {
    /// As much as the loads over the cache read.
    fn take_first(self) -> std::io::Take<File> {
        std::io::Read::take(self, 512 * MIB as u64)
    }
}

/// The AIO core over one ring or more, several threads.
fn several_rings(path: &str, rounds: usize) {
    for threads in [1, 2, 8] {
        let counts = [1, 2, 4];
        let mut costs = vec![Vec::new(); counts.len()];
        for round in 0..rounds {
            for (costs, rings) in costs.iter_mut().zip(counts) {
                let core = Core {
                    threads,
                    rings,
                    depth: 16,
                    pieces: 1,
                    registered: false,
                };
                costs.push(over_core(path, core, round as u64));
            }
        }
        for (costs, rings) in costs.iter().zip(counts) {
            let cost = medians(costs);
            println!(
                "the core, random 8 KiB direct, {threads} threads at depth 16, {rings} rings: \
                 {:.0} reads/s, {:.2} us CPU a read",
                1e6 / cost.time,
                cost.cpu
            );
        }
    }
}

/// Registered memory through the core.
fn registered_with_the_core(path: &str, rounds: usize) {
    for (name, depth, pieces) in [
        ("8 KiB, depth 16", 16, 1),
        ("8 KiB, depth 64", 64, 1),
        ("128 KiB in 16 pieces, depth 16", 16, 16),
    ] {
        let mut costs = [Vec::new(), Vec::new()];
        for round in 0..rounds {
            for (costs, registered) in costs.iter_mut().zip([false, true]) {
                let core = Core {
                    threads: 1,
                    rings: 4,
                    depth,
                    pieces,
                    registered,
                };
                costs.push(over_core(path, core, round as u64));
            }
        }
        for (costs, way) in costs.iter().zip(["plain", "registered"]) {
            let cost = medians(costs);
            println!(
                "the core, random direct, {name}, {way}: {:.0} reads/s, {:.2} us CPU a read",
                1e6 / cost.time,
                cost.cpu
            );
        }
    }
    let mut pool = AlignedBuf::zeroed_group(1, 1 << 30);
    let aio = Aio::start(AioConfig::default()).unwrap();
    for state in ["untouched", "touched"] {
        let time = Instant::now();
        let registered = aio.register_memory(pool[0].memory());
        println!(
            "registering 1 GiB {state}: {:.0} ms",
            time.elapsed().as_secs_f64() * 1e3
        );
        drop(registered);
    }
}

#[derive(Clone, Copy)]
struct Core {
    threads: u32,
    rings: u32,
    depth: usize,
    /// Of 8 KiB, a read.
    pieces: usize,
    registered: bool,
}

fn over_core(path: &str, core: Core, round: u64) -> Cost {
    const PIECE: usize = 8192;
    let read_bytes = PIECE * core.pieces;
    let reads_each = 24_000 / core.threads as usize / core.pieces.min(8);
    let method = IoUringMethod::new(RingConfig {
        rings: core.rings,
        in_flight_limit: 8 * 64,
    });
    let aio = Aio::start_with(
        AioConfig {
            max_issuers: 8,
            ..AioConfig::default()
        },
        Arc::new(method.unwrap()),
    )
    .unwrap();
    let file = OsStorage::new()
        .open(path.as_ref(), Options::READ.with_direct(true))
        .unwrap();
    let places = OsStorage::new().len(&file).unwrap() / read_bytes as u64;
    // One pool for all, as in the engine, each read's pieces apart from each
    // other so that they stay pieces.
    let slots = core.depth * core.threads as usize;
    let pool_bytes = (slots * read_bytes * 2).max(2 * MIB);
    let mut pool = AlignedBuf::zeroed_group(1, pool_bytes);
    pool[0].fill(1);
    let base = pool[0].memory();
    let registered = core.registered.then(|| aio.register_memory(base));
    let (cpu, time) = (cpu_us(), Instant::now());
    std::thread::scope(|scope| {
        for thread in 0..core.threads {
            let (aio, file, base) = (&aio, &file, &base);
            scope.spawn(move || {
                let mut context = aio.issuer(thread as i32).unwrap();
                context.set_combine_limit(0);
                let mut state = (round * 64 + u64::from(thread)) | 1;
                let mut in_flight = std::collections::VecDeque::new();
                for number in 0..reads_each {
                    if in_flight.len() == core.depth {
                        context.wait(in_flight.pop_front().unwrap());
                    }
                    let slot = thread as usize * core.depth + number % core.depth;
                    let pieces: Vec<IoMemory> = (0..core.pieces)
                        .map(|piece| {
                            let at = (slot * core.pieces + piece) * 2 * PIECE;
                            IoMemory::new(base.ptr().wrapping_add(at), PIECE)
                        })
                        .collect();
                    let offset = next_random(&mut state) % places * read_bytes as u64;
                    let handle = context.acquire().unwrap();
                    // SAFETY: within the pool, which outlives the core's I/O;
                    // the read before in this place is complete.
                    in_flight.push_back(unsafe { handle.start_readv(file, offset, &pieces) });
                }
                context.wait_all();
            });
        }
    });
    drop(registered);
    let reads = (reads_each * core.threads as usize) as f64;
    Cost {
        time: time.elapsed().as_secs_f64() * 1e6 / reads,
        cpu: (cpu_us() - cpu) / reads,
        submitting: 0.0,
    }
}
