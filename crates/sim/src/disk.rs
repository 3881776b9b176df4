//! The disk: its state, its time, and the power that can fail.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use trunkline_aio::{Alarms, Completions, File, IoRequest, Op, WaitRef};

use crate::clock::Sleeper;
use crate::config::{Latency, SimConfig};
use crate::faults::{Fault, FaultPlan, FaultRule, OpKind};
use crate::file_state::Sequence;
use crate::file_system::{Errno, FileSystem};
use crate::names::Inode;
use crate::random::{Purpose, Random};
use crate::trace::{Trace, TraceEvent, TraceKind};

/// How long a machine takes to come back, in simulated time.
const RESTART_NS: u64 = 1_000_000_000;

/// Openings are numbered across all disks, so that a file of one is never
/// taken for a file of another.
static NEXT_OPENING: AtomicU64 = AtomicU64::new(1);

/// A simulated disk with a file system: a [`trunkline_aio::Method`], a
/// [`trunkline_aio::Storage`] and a [`trunkline_aio::Clock`] at once. Clones are the same
/// disk.
#[derive(Clone)]
pub struct SimDisk {
    shared: Arc<Mutex<State>>,
}

/// A file system's content, to start disks from. Cheap to copy.
#[derive(Clone, Debug)]
pub struct DiskImage {
    files: FileSystem,
}

/// A file that is open.
#[derive(Clone, Copy)]
pub(crate) struct Opening {
    pub(crate) inode: Inode,
    pub(crate) read: bool,
    pub(crate) write: bool,
    /// Writes are durable when they are complete.
    pub(crate) dsync: bool,
}

/// An I/O in flight.
pub(crate) struct Queued {
    pub(crate) request: IoRequest,
    /// Of whoever submitted it.
    pub(crate) completions: Completions,
    pub(crate) inode: Option<Inode>,
    /// The latest change when it was submitted.
    pub(crate) submitted: Sequence,
    pub(crate) fault: Option<Fault>,
    /// Decided at submission: it fails.
    pub(crate) refused: Option<Errno>,
}

pub(crate) struct State {
    pub(crate) config: SimConfig,
    pub(crate) files: FileSystem,
    pub(crate) faults: FaultPlan,
    pub(crate) powered: bool,
    pub(crate) now_ns: u64,
    /// In the order in which they will be complete: time, then number.
    pub(crate) queue: BTreeMap<(u64, u64), Queued>,
    next_queued: u64,
    pub(crate) openings: HashMap<u64, Opening>,
    /// Threads that wait for an I/O which another thread has in its hands.
    pub(crate) parked: Vec<Thread>,
    /// I/Os in the hands of another thread, which must see them through.
    pub(crate) driven: Vec<WaitRef>,
    /// Threads that the clock is to wake.
    pub(crate) sleepers: Vec<Sleeper>,
    pub(crate) alarms: Alarms,
    pub(crate) steps: u64,
    cut_at_step: Option<u64>,
    pub(crate) trace: Trace,
    latency: Random,
    fault_chance: Random,
    pub(crate) chance: Random,
    cut_chance: Random,
}

impl SimDisk {
    /// An empty disk.
    ///
    /// # Panics
    /// If a size in `config` makes no sense.
    pub fn new(config: SimConfig) -> Self {
        SimDisk::with_files(config, FileSystem::new())
    }

    /// A disk with what an image holds, all of it durable.
    ///
    /// # Panics
    /// As [`SimDisk::new`].
    pub fn from_image(config: SimConfig, image: &DiskImage) -> Self {
        SimDisk::with_files(config, image.files.clone())
    }

    fn with_files(config: SimConfig, files: FileSystem) -> Self {
        config.check();
        let seed = config.seed;
        let state = State {
            files,
            faults: config.faults.clone(),
            powered: true,
            now_ns: 0,
            queue: BTreeMap::new(),
            next_queued: 0,
            openings: HashMap::new(),
            parked: Vec::new(),
            driven: Vec::new(),
            sleepers: Vec::new(),
            alarms: Alarms::new(),
            steps: 0,
            cut_at_step: None,
            trace: Trace::new(config.record_trace),
            latency: Random::new(seed, Purpose::Latency),
            fault_chance: Random::new(seed, Purpose::Faults),
            chance: Random::new(seed, Purpose::Disk),
            cut_chance: Random::new(seed, Purpose::PowerCut),
            config,
        };
        SimDisk {
            shared: Arc::new(Mutex::new(state)),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What programs see now, as an image.
    pub fn image(&self) -> DiskImage {
        let files = self.lock().files.clone().settled();
        DiskImage { files }
    }

    /// Cuts the power now. What is in flight fails, and so does everything
    /// from here on; what the disk holds is what [`Self::restart`] finds.
    pub fn power_cut(&self) {
        self.lock().cut_power();
    }

    /// Has the power fail just before step `number` (see [`Self::steps`]).
    pub fn power_cut_at(&self, number: u64) {
        self.lock().cut_at_step = Some(number);
    }

    /// Steps so far. Every call of `Storage`, every submission of an I/O and
    /// every completion is one; the first has number 0. A power cut can come
    /// before each.
    pub fn steps(&self) -> u64 {
        self.lock().steps
    }

    /// Whether the power is on.
    pub fn is_powered(&self) -> bool {
        self.lock().powered
    }

    /// The disk after the power is back (it is cut first if it has not been):
    /// a new one, as the old one's users may still be at it, and must not
    /// reach it. Time, trace and chance go on; faults stay.
    #[must_use = "the old disk stays dead"]
    pub fn restart(&self) -> SimDisk {
        let mut old = self.lock();
        old.cut_power();
        let mut state = State {
            config: old.config.clone(),
            files: old.files.clone(),
            faults: old.faults.clone(),
            powered: true,
            now_ns: old.now_ns + RESTART_NS,
            queue: BTreeMap::new(),
            next_queued: 0,
            openings: HashMap::new(),
            parked: Vec::new(),
            driven: Vec::new(),
            sleepers: Vec::new(),
            alarms: Alarms::new(),
            steps: 0,
            cut_at_step: None,
            trace: old.trace.clone(),
            latency: old.latency.clone(),
            fault_chance: old.fault_chance.clone(),
            chance: old.chance.clone(),
            cut_chance: old.cut_chance.clone(),
        };
        state.note_power(TraceKind::Restarted);
        SimDisk {
            shared: Arc::new(Mutex::new(state)),
        }
    }

    /// Replaces what goes wrong.
    pub fn set_faults(&self, faults: FaultPlan) {
        self.lock().faults = faults;
    }

    /// Adds a rule, tried after those that are there.
    pub fn add_fault(&self, rule: FaultRule) {
        self.lock().faults.rules.push(rule);
    }

    /// What goes wrong now, with the rules' counts.
    pub fn faults(&self) -> FaultPlan {
        self.lock().faults.clone()
    }

    /// Changes the space that there is; `None` for no limit. Files keep what
    /// they have.
    pub fn set_capacity_bytes(&self, capacity_bytes: Option<u64>) {
        self.lock().config.capacity_bytes = capacity_bytes;
    }

    /// The space that files take up.
    pub fn used_bytes(&self) -> u64 {
        self.lock().files.used_bytes()
    }

    /// I/Os in flight.
    pub fn in_flight(&self) -> usize {
        self.lock().queue.len()
    }

    /// Lets time pass.
    pub fn advance(&self, duration: Duration) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let mut state = self.lock();
        let to_ns = state.now_ns.saturating_add(nanoseconds);
        state.move_time(to_ns);
        drop(state);
        self.sound_alarms();
    }

    /// The hash of everything that happened so far; the same for the same seed
    /// if one thread drives the disk and does the same things.
    pub fn trace_hash(&self) -> u64 {
        self.lock().trace.hash()
    }

    /// Everything that happened so far; empty unless
    /// [`SimConfig::record_trace`] is set.
    pub fn trace(&self) -> Vec<TraceEvent> {
        self.lock().trace.events().to_vec()
    }
}

impl std::fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.lock();
        f.debug_struct("SimDisk")
            .field("seed", &state.config.seed)
            .field("now_ns", &state.now_ns)
            .field("steps", &state.steps)
            .field("powered", &state.powered)
            .finish_non_exhaustive()
    }
}

impl State {
    /// Counts a step, before which the power may fail.
    ///
    /// # Errors
    /// EIO without power.
    pub(crate) fn step(&mut self) -> Result<(), Errno> {
        if self.cut_at_step == Some(self.steps) {
            self.cut_power();
        }
        self.steps += 1;
        if self.powered { Ok(()) } else { Err(libc::EIO) }
    }

    fn cut_power(&mut self) {
        if !self.powered {
            return;
        }
        self.powered = false;
        // What is in flight may have been written, as any write without a sync.
        for queued in self.queue.values() {
            let (Some(inode), None) = (queued.inode, queued.refused) else {
                continue;
            };
            let request = &queued.request;
            let lost = queued.fault == Some(Fault::LostWrite);
            if request.op() == Op::Writev && !lost && self.cut_chance.coin() {
                let mut bytes = vec![0; request.length_bytes() as usize];
                request.copy_out(0, &mut bytes);
                self.files.write(
                    inode,
                    queued.submitted,
                    request.offset(),
                    &bytes,
                    self.config.sector_bytes.into(),
                    &mut self.cut_chance,
                );
            }
        }
        let files = std::mem::replace(&mut self.files, FileSystem::new());
        self.files = files.power_cut(
            self.config.name_order,
            self.config.sector_bytes.into(),
            &mut self.cut_chance,
        );
        self.note_power(TraceKind::PowerCut);
    }

    fn note_power(&mut self, kind: TraceKind) {
        self.trace.push(TraceEvent {
            at_ns: self.now_ns,
            kind,
            op: "",
            path: String::new(),
            offset: 0,
            length_bytes: 0,
            outcome: 0,
        });
    }

    /// A path as traces show it.
    pub(crate) fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.config.trace_root)
            .unwrap_or(path)
            .to_string_lossy()
            .into_owned()
    }

    fn latency_of(&self, op: OpKind) -> Latency {
        match op {
            OpKind::Nop => Latency::fixed(0),
            OpKind::Read => self.config.read_latency,
            OpKind::Write => self.config.write_latency,
            OpKind::Fsync | OpKind::Fdatasync => self.config.sync_latency,
            _ => self.config.metadata_latency,
        }
    }

    pub(crate) fn open(&mut self, opening: Opening) -> u64 {
        self.files.opened(opening.inode);
        let key = NEXT_OPENING.fetch_add(1, Relaxed);
        self.openings.insert(key, opening);
        key
    }

    /// The opening of a file.
    ///
    /// # Errors
    /// EBADF for a file of the operating system, EIO for one of another disk,
    /// such as this one before its power failed.
    pub(crate) fn opening(&self, file: &File) -> Result<Opening, Errno> {
        let key = file.external_key().ok_or(libc::EBADF)?;
        self.openings.get(&key).copied().ok_or(libc::EIO)
    }

    pub(crate) fn close(&mut self, key: u64) {
        // Without power, nothing of an old opening is left in the files.
        if let Some(opening) = self.openings.remove(&key)
            && self.powered
        {
            self.files.closed(opening.inode);
        }
    }

    /// Takes an I/O (or what is left of one) into the queue.
    pub(crate) fn enqueue(&mut self, request: IoRequest, completions: Completions) {
        let step = self.step();
        let op = OpKind::of(request.op());
        let path = request.file().map_or(Path::new(""), File::path);
        let (shown, paths) = (self.shown(path), [path; 2]);
        let checked = step.and_then(|()| self.check(&request));
        let mut delay_ns = 0;
        let mut fault = None;
        if checked.is_ok() {
            fault = self.faults.strike(op, paths, &mut self.fault_chance);
            delay_ns = self.latency_of(op).draw(&mut self.latency);
            if let Some(Fault::Slow { delay_ns: more }) = fault {
                delay_ns += more;
            }
        }
        self.trace.push(TraceEvent {
            at_ns: self.now_ns,
            kind: TraceKind::Submitted,
            op: op.name(),
            path: shown,
            offset: request.offset(),
            length_bytes: request.length_bytes().into(),
            outcome: 0,
        });
        let key = (self.now_ns + delay_ns, self.next_queued);
        self.next_queued += 1;
        let (inode, refused) = match checked {
            Ok(inode) => (inode, None),
            Err(errno) => (None, Some(errno)),
        };
        let queued = Queued {
            request,
            completions,
            inode,
            submitted: self.files.sequence(),
            fault,
            refused,
        };
        self.queue.insert(key, queued);
    }

    /// The file of an I/O, if Linux would take the I/O.
    fn check(&self, request: &IoRequest) -> Result<Option<Inode>, Errno> {
        let Some(file) = request.file() else {
            return Ok(None);
        };
        let opening = self.opening(file)?;
        let allowed = match request.op() {
            Op::Readv => opening.read,
            Op::Writev => opening.write,
            Op::Nop | Op::Fsync | Op::Fdatasync | Op::FlushRange => true,
        };
        if !allowed {
            return Err(libc::EBADF);
        }
        let end = request.offset().checked_add(request.length_bytes().into());
        if end.is_none_or(|end| i64::try_from(end).is_err()) {
            return Err(libc::EINVAL);
        }
        if let Some(direct) = file.direct() {
            let unit = u64::from(direct.offset_bytes);
            let memory_unit = direct.memory_bytes as usize;
            let fits = request.offset().is_multiple_of(unit)
                && request.memory().iter().all(|piece| {
                    (piece.ptr() as usize).is_multiple_of(memory_unit)
                        && (piece.len() as u64).is_multiple_of(unit)
                });
            if !fits {
                return Err(libc::EINVAL);
            }
        }
        Ok(Some(opening.inode))
    }

    /// Makes one call of `Storage`, which takes its time.
    pub(crate) fn call<T>(
        &mut self,
        op: OpKind,
        paths: [&Path; 2],
        range: (u64, u64),
        body: impl FnOnce(&mut State, Option<Fault>) -> Result<T, Errno>,
    ) -> io::Result<T> {
        let mut outcome = self.step();
        let mut fault = None;
        if outcome.is_ok() {
            fault = self.faults.strike(op, paths, &mut self.fault_chance);
            let mut duration_ns = self.latency_of(op).draw(&mut self.latency);
            match fault {
                Some(Fault::Slow { delay_ns }) => duration_ns += delay_ns,
                Some(Fault::Fail(errno)) => outcome = Err(errno),
                _ => {}
            }
            self.move_time(self.now_ns + duration_ns);
        }
        let result = outcome.and_then(|()| body(self, fault));
        let mut path = self.shown(paths[0]);
        if paths[1] != paths[0] {
            path = format!("{path} -> {}", self.shown(paths[1]));
        }
        self.trace.push(TraceEvent {
            at_ns: self.now_ns,
            kind: TraceKind::Called,
            op: op.name(),
            path,
            offset: range.0,
            length_bytes: range.1,
            outcome: result
                .as_ref()
                .map_or_else(|errno| -i64::from(*errno), |_| 0),
        });
        result.map_err(io::Error::from_raw_os_error)
    }
}
