//! A method that keeps writes and syncs of the log in flight until the test says how they end.

use std::sync::{Condvar, Mutex};

use trunkline_aio::{
    Completions, Executor, InFlight, IoRequest, Method, Op, RequestBatch, SystemCalls,
};

#[derive(Default)]
pub struct Gate {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    closed: bool,
    held: Vec<IoRequest>,
    completions: Option<Completions>,
}

impl Gate {
    /// From now on, writes and syncs are held.
    pub fn close(&self) {
        self.state.lock().unwrap().closed = true;
    }

    /// Executes what is held, and from now on everything at once.
    pub fn open(&self) {
        self.state.lock().unwrap().closed = false;
        while self.held() > 0 {
            self.release(0);
        }
    }

    pub fn held(&self) -> usize {
        self.state.lock().unwrap().held.len()
    }

    /// Operations and offsets of what is held, in the order of submission.
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
            let holds = matches!(request.op(), Op::Writev | Op::Fdatasync | Op::Fsync);
            if state.closed && holds {
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
