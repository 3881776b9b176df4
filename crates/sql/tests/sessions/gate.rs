//! A method that holds the I/Os of one file until it is told to let them go, and executes all others
//! at once.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};

use trunkline_aio::{
    Completions, Executor, InFlight, IoRequest, Method, RequestBatch, SystemCalls,
};
use trunkline_engine::{Background, Foundation};

#[derive(Default)]
pub struct Gate {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    closed_for: Option<PathBuf>,
    held: Vec<IoRequest>,
    /// Of the AIO core that was started last: the database's.
    completions: Option<Completions>,
}

/// Opens the gate at the end of a test that fails, so that the database can stop.
pub struct OpenAtEnd(pub Arc<Gate>);

impl Drop for OpenAtEnd {
    fn drop(&mut self) {
        self.0.open();
    }
}

impl Gate {
    pub fn foundation(self: &Arc<Self>) -> Foundation {
        Foundation {
            method: Some(Arc::clone(self) as _),
            // Whose I/O is held is to be the sessions' alone.
            background: Background::Driven,
            ..Foundation::default()
        }
    }

    /// From now on holds the I/Os of the file that `path` ends.
    pub fn close_for(&self, path: &str) {
        self.state.lock().unwrap().closed_for = Some(path.into());
    }

    /// Executes what is held, and from now on everything at once.
    pub fn open(&self) {
        self.state.lock().unwrap().closed_for = None;
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

    /// Blocks until `count` I/Os are held.
    pub fn wait_until_held(&self, count: usize) {
        let state = self.state.lock().unwrap();
        drop(
            self.arrived
                .wait_while(state, |state| state.held.len() < count)
                .unwrap(),
        );
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
            let held = state.closed_for.as_ref().is_some_and(|path| {
                request
                    .file()
                    .is_some_and(|file| file.path().ends_with(path))
            });
            if held {
                state.held.push(request);
            } else {
                drop(state);
                execute(request, completions);
            }
        }
        self.arrived.notify_all();
    }

    fn wait(&self, io: &InFlight<'_>) {
        io.park();
    }
}
