//! A method that keeps some I/Os in flight until the test says how they end, and executes all others at
//! once.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};

use trunkline_aio::{
    Completions, Executor, InFlight, IoRequest, Method, Op, RequestBatch, SystemCalls,
};

/// The method. It is open to begin with.
#[derive(Default)]
pub struct Gate {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    closed: Closed,
    /// In the order of submission.
    held: Vec<IoRequest>,
    /// Of the AIO core that was started last.
    completions: Option<Completions>,
}

/// For which I/Os it is closed.
#[derive(Default)]
enum Closed {
    #[default]
    Never,
    WritesAndSyncs,
    File(PathBuf),
}

impl Closed {
    fn holds(&self, request: &IoRequest) -> bool {
        match self {
            Closed::Never => false,
            Closed::WritesAndSyncs => {
                matches!(request.op(), Op::Writev | Op::Fdatasync | Op::Fsync)
            }
            Closed::File(path) => request
                .file()
                .is_some_and(|file| file.path().ends_with(path)),
        }
    }
}

/// Opens the gate at the end of a test that fails, so that nobody waits for what is held.
pub struct OpenAtEnd(pub Arc<Gate>);

impl Drop for OpenAtEnd {
    fn drop(&mut self) {
        self.0.open();
    }
}

impl Gate {
    /// From now on holds writes and syncs.
    pub fn close(&self) {
        self.state.lock().unwrap().closed = Closed::WritesAndSyncs;
    }

    /// From now on holds the I/Os of files whose paths end so.
    pub fn close_for(&self, path: &str) {
        self.state.lock().unwrap().closed = Closed::File(path.into());
    }

    /// Executes what is held, and from now on everything at once.
    pub fn open(&self) {
        self.state.lock().unwrap().closed = Closed::Never;
        self.let_through();
    }

    /// Executes what is held now.
    pub fn let_through(&self) {
        let (held, completions) = {
            let mut state = self.state.lock().unwrap();
            (std::mem::take(&mut state.held), state.completions.clone())
        };
        for request in held {
            execute(request, completions.as_ref().unwrap());
        }
    }

    /// How many I/Os are held.
    pub fn held(&self) -> usize {
        self.state.lock().unwrap().held.len()
    }

    /// What is held, in the order of submission: operations, and the offsets at which they begin and end.
    pub fn held_ranges(&self) -> Vec<(Op, u64, u64)> {
        let state = self.state.lock().unwrap();
        let range = |request: &IoRequest| {
            let start = request.offset();
            (
                request.op(),
                start,
                start + u64::from(request.length_bytes()),
            )
        };
        state.held.iter().map(range).collect()
    }

    /// Blocks until `count` I/Os are held.
    pub fn wait_until_held(&self, count: usize) {
        let state = self.state.lock().unwrap();
        drop(
            self.arrived
                .wait_while(state, |state| state.held.len() < count)
                .unwrap(),
        );
    }

    /// Executes one of those held.
    pub fn release(&self, index: usize) {
        let (request, completions) = self.take(index);
        execute(request, &completions);
    }

    /// Ends one of those held with this outcome: bytes moved, or a negated errno.
    pub fn release_with(&self, index: usize, outcome: i32) {
        let (request, completions) = self.take(index);
        assert!(completions.complete(request, outcome).is_none());
    }

    fn take(&self, index: usize) -> (IoRequest, Completions) {
        let mut state = self.state.lock().unwrap();
        let completions = state.completions.clone().unwrap();
        (state.held.remove(index), completions)
    }
}

fn execute(request: IoRequest, completions: &Completions) {
    let mut next = Some(request);
    while let Some(request) = next {
        let outcome = SystemCalls.execute(&request);
        next = completions.complete(request, outcome);
    }
}

impl Method for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn start(&self, completions: &Completions) {
        self.state.lock().unwrap().completions = Some(completions.clone());
    }

    fn submit(&self, batch: &mut RequestBatch, completions: &Completions) {
        for request in batch {
            let mut state = self.state.lock().unwrap();
            if state.closed.holds(&request) {
                state.held.push(request);
                self.arrived.notify_all();
            } else {
                drop(state);
                execute(request, completions);
            }
        }
    }

    fn wait(&self, io: &InFlight<'_>) {
        io.park();
    }
}
