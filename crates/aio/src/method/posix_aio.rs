//! Method `posix_aio`: the C library or the kernel executes the I/Os, through
//! the calls of POSIX (`aio_read`, `aio_suspend`).
//!
//! Why: what a system without io_uring offers, and on FreeBSD and macOS a
//! method of the kernel's. Limits: on Linux the GNU C library makes the system
//! calls on threads of its own, with one global lock for all bookkeeping, so
//! that it costs more than `worker`; `lio_listio` submits a batch a quarter
//! faster and costs as much in all, so it is not used. The library executes requests of one descriptor one after another, hence
//! the descriptor pool. It has no vectored form: a request moves every stretch of
//! memory by a control block of its own, all at once (FreeBSD's `aio_readv` is
//! not used). On macOS a sync runs in the submitting thread, since there only
//! `F_FULLFSYNC` makes data durable. Fall-back: a request that the system does
//! not take (EAGAIN at its limits) is executed by the submitting thread, as are
//! `nop` and `flush_range`, which have no call; `worker`, chosen at start when
//! not even a first read works.
//!
//! # Waiting
//! There are control blocks for every handle, in the handle's *berth*. A request
//! in flight lies in the berth of its handle (for combined I/Os: of the head's),
//! and nothing happens to it until somebody waits. The first who does *claims*
//! it: takes it out of the berth, blocks in `aio_suspend` for its blocks, asks
//! each for its result once, and drives the I/O to its end, remainders included.
//! Whoever comes later sleeps on the berth. The rules that keep a wake-up from
//! getting lost:
//!
//! 1. A request is claimed only under the berth's lock, by a thread that sees
//!    there that its I/O is `Submitted` and carried by this berth's handle. So
//!    it never blocks for an I/O that it did not come for.
//! 2. Whoever puts a request into a berth, or brings one back to the AIO core,
//!    then wakes those who sleep on the berth; sleepers look again at
//!    everything, under the lock.
//! 3. A request is out of its berth only in the hands of a thread that is about
//!    to put it in, or that completes it. Such a thread waits for nothing but
//!    the I/O.
//!
//! For tasks, and for I/Os that were left alone, a completer thread does the
//! claiming, and waits for all that it has claimed at once. A request that is on
//! its way into the berth meanwhile finds a note there, and goes to the
//! completer directly.
//!
//! Locks: a berth's, and the completer's inbox after it; both leaf otherwise.

mod bell;
mod completer;
mod control;
mod flight;

use std::io;
use std::sync::{Arc, OnceLock, PoisonError};

use crate::descriptor_pool::DescriptorLimits;
use crate::method::Method;
use crate::request::{Completions, InFlight, IoRequest, RequestBatch};
use crate::sync::{Condvar, Mutex, MutexGuard, lock};
use crate::system_call::Executor;
use crate::wait::WaitRef;

use completer::Completer;
use control::Control;
use flight::Flight;

/// Threads of the GNU C library, at most.
const THREADS: u32 = 32;

/// Descriptors of one file that are used at once. With one, nothing overlaps;
/// with many, the library's threads are in each other's way: of 1, 4, 8, 12, 16,
/// 20 and 32, eight gave the most reads for the least CPU at depth 16.
const DESCRIPTORS_PER_FILE: u32 = 8;

/// Sizes of the method.
#[derive(Clone, Copy, Debug)]
pub struct PosixAioConfig {
    /// Descriptors of one file that are used at once, its own included. Only
    /// the GNU C library needs more than one.
    pub descriptors_per_file: u32,
    /// Descriptors beyond their own that all files together may use.
    pub extra_descriptors: u32,
}

impl Default for PosixAioConfig {
    fn default() -> Self {
        let serialises = cfg!(all(target_os = "linux", target_env = "gnu"));
        // A quarter of the limit; what has none is bounded all the same.
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        PosixAioConfig {
            descriptors_per_file: if serialises { DESCRIPTORS_PER_FILE } else { 1 },
            extra_descriptors: limit.map_or(4096, |limit| (limit / 4).min(4096) as u32),
        }
    }
}

/// See the module.
pub struct PosixAioMethod {
    shared: Arc<Shared>,
}

struct Shared {
    limits: DescriptorLimits,
    executor: Arc<dyn Executor>,
    /// Both known when the method starts.
    core: OnceLock<Core>,
    completer: Mutex<Completer>,
    completer_work: Condvar,
}

struct Core {
    completions: Completions,
    /// By the handle's number.
    berths: Box<[Berth]>,
}

/// Where a handle's request lies while it is in flight.
#[repr(align(64))]
struct Berth {
    state: Mutex<BerthState>,
    changed: Condvar,
}

struct BerthState {
    place: Place,
    /// Threads that sleep on `changed`.
    sleepers: u32,
    /// The completer is to have the request that is on its way.
    wanted_by_completer: bool,
}

enum Place {
    /// No request, and the control blocks for the next.
    Empty(Vec<Control>),
    InFlight(Flight),
    /// A thread has what is to be, or was, in flight.
    Claimed,
}

impl PosixAioMethod {
    /// Tries a read.
    ///
    /// # Errors
    /// The system has no such calls, or no thread or descriptor for them.
    pub fn new(config: PosixAioConfig, executor: Arc<dyn Executor>) -> io::Result<Self> {
        control::allow_threads(THREADS);
        control::try_out()?;
        Ok(PosixAioMethod {
            shared: Arc::new(Shared {
                limits: DescriptorLimits {
                    per_file: config.descriptors_per_file as usize,
                    duplicates: config.extra_descriptors,
                },
                executor,
                core: OnceLock::new(),
                completer: Mutex::default(),
                completer_work: Condvar::new(),
            }),
        })
    }
}

impl Method for PosixAioMethod {
    fn name(&self) -> &'static str {
        "posix_aio"
    }

    fn start(&self, completions: &Completions) {
        let berth = || Berth {
            state: Mutex::new(BerthState {
                place: Place::Empty(Vec::new()),
                sleepers: 0,
                wanted_by_completer: false,
            }),
            changed: Condvar::new(),
        };
        let core = Core {
            completions: completions.clone(),
            berths: completions
                .table()
                .slots()
                .iter()
                .map(|_| berth())
                .collect(),
        };
        let first = self.shared.core.set(core).is_ok();
        assert!(first, "a method serves one AIO core");
    }

    fn submit(&self, batch: &mut RequestBatch, completions: &Completions) {
        for request in batch {
            match self.shared.start(request) {
                Ok(flight) => self.shared.publish(flight),
                Err(request) => self.shared.execute_here(request, completions),
            }
        }
    }

    fn wait(&self, io: &InFlight<'_>) {
        while !io.is_complete() {
            let mut next = self.shared.claim(io);
            while let Some(flight) = next {
                flight.wait();
                next = self.shared.finish(flight, io.completions());
            }
        }
    }

    fn drive(&self, io: &InFlight<'_>) {
        self.shared.have_driven(io);
    }

    fn shutdown(&self) {
        self.shared.stop_completer();
    }
}

impl Drop for PosixAioMethod {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl Berth {
    /// Wakes those who sleep here.
    fn wake(&self, state: MutexGuard<'_, BerthState>) {
        let sleepers = state.sleepers;
        drop(state);
        if sleepers > 0 {
            self.changed.notify_all();
        }
    }
}

impl BerthState {
    /// Claims what is in flight, if anything.
    fn claim(&mut self) -> Option<Flight> {
        match std::mem::replace(&mut self.place, Place::Claimed) {
            Place::InFlight(flight) => Some(flight),
            other => {
                self.place = other;
                None
            }
        }
    }
}

impl Shared {
    fn core(&self) -> &Core {
        // Started before anything is submitted.
        let Some(core) = self.core.get() else {
            unreachable!("a method is started before it is used")
        };
        core
    }

    fn berth(&self, io: WaitRef) -> &Berth {
        &self.core().berths[io.slot as usize]
    }

    /// Starts a request. It is the caller's until published: the berth says
    /// `Claimed`. An error gives it back, with nothing started.
    fn start(&self, request: IoRequest) -> Result<Flight, IoRequest> {
        let berth = self.berth(request.wait_ref());
        let controls = {
            let mut state = lock(&berth.state);
            match std::mem::replace(&mut state.place, Place::Claimed) {
                Place::Empty(controls) => controls,
                Place::InFlight(_) | Place::Claimed => {
                    unreachable!("a handle has one request at a time")
                }
            }
        };
        Flight::start(request, controls, self.limits).map_err(|(request, controls)| {
            lock(&berth.state).place = Place::Empty(controls);
            request
        })
    }

    /// Leaves a request in flight in its berth, for whoever waits for it.
    fn publish(self: &Arc<Self>, flight: Flight) {
        let berth = self.berth(flight.wait_ref());
        let mut state = lock(&berth.state);
        let flight = if std::mem::take(&mut state.wanted_by_completer) {
            self.give_to_completer(flight)
        } else {
            Err(flight)
        };
        if let Err(flight) = flight {
            state.place = Place::InFlight(flight);
            berth.wake(state);
        }
    }

    /// Executes a request, and what remains of it, on this thread.
    fn execute_here(&self, request: IoRequest, completions: &Completions) {
        let mut next = Some(request);
        while let Some(request) = next {
            let outcome = self.executor.execute(&request);
            next = self.bring_back(request, outcome, completions);
        }
    }

    /// Ends an attempt, and wakes who sleeps (rule 2).
    fn bring_back(
        &self,
        request: IoRequest,
        outcome: i32,
        completions: &Completions,
    ) -> Option<IoRequest> {
        let berth = self.berth(request.wait_ref());
        let remainder = completions.complete(request, outcome);
        berth.wake(lock(&berth.state));
        remainder
    }

    /// The request that carries `io`, once it is this thread's to complete;
    /// `None` when the I/O has come further otherwise.
    fn claim(&self, io: &InFlight<'_>) -> Option<Flight> {
        let head = io.carrier();
        let berth = self.berth(head);
        let mut state = lock(&berth.state);
        loop {
            if io.is_complete() {
                return None;
            }
            // In this order: who carries an I/O is settled before it is
            // submitted.
            let submitted = io.is_submitted();
            if io.carrier() != head {
                return None;
            }
            if submitted && let Some(flight) = state.claim() {
                return Some(flight);
            }
            state.sleepers += 1;
            state = berth
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.sleepers -= 1;
        }
    }

    /// Completes a claimed request that is done; returns what remains, claimed
    /// and in flight again.
    fn finish(&self, flight: Flight, completions: &Completions) -> Option<Flight> {
        let (request, controls, outcome) = flight.finish();
        {
            let mut state = lock(&self.berth(request.wait_ref()).state);
            state.place = Place::Empty(controls);
            state.wanted_by_completer = false;
        }
        let remainder = self.bring_back(request, outcome, completions)?;
        match self.start(remainder) {
            Ok(flight) => Some(flight),
            Err(remainder) => {
                self.execute_here(remainder, completions);
                None
            }
        }
    }

    /// Has the completer wait for an I/O, unless a thread does already.
    fn have_driven(self: &Arc<Self>, io: &InFlight<'_>) {
        loop {
            let head = io.carrier();
            let mut state = lock(&self.berth(head).state);
            let submitted = io.is_submitted();
            if io.carrier() != head {
                continue;
            }
            // What is not `Submitted` is in the hands of a thread that brings
            // it to its end.
            if submitted {
                match state.claim() {
                    Some(flight) => {
                        if let Err(flight) = self.give_to_completer(flight) {
                            state.place = Place::InFlight(flight);
                        }
                    }
                    None => state.wanted_by_completer = true,
                }
            }
            return;
        }
    }
}
