//! The thread that waits on behalf of tasks, and for I/Os that were left
//! alone: for all of them at once. Started with the first of them.

use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};

use crate::sync::lock;

use super::Shared;
use super::bell::{Bell, Ear};
use super::flight::Flight;

#[derive(Default)]
pub(super) struct Completer {
    /// Claimed on its behalf.
    inbox: Vec<Flight>,
    thread: Option<JoinHandle<()>>,
    sleep: Sleep,
    stopping: bool,
}

/// How the completer waits just now.
#[derive(Default)]
enum Sleep {
    /// It does not, or has been called already.
    #[default]
    Awake,
    /// For anything to wait for.
    Idle,
    /// For I/O; the bell ends it.
    Suspended(Arc<Bell>),
}

impl Shared {
    /// Hands a claimed request over, or back if there is no completer.
    pub(super) fn give_to_completer(self: &Arc<Self>, flight: Flight) -> Result<(), Flight> {
        let mut completer = lock(&self.completer);
        if completer.thread.is_none() {
            if completer.stopping {
                return Err(flight);
            }
            let shared = Arc::clone(self);
            let spawned = thread::Builder::new()
                .name("io completer".to_owned())
                .spawn(move || shared.complete_awaited());
            match spawned {
                Ok(thread) => completer.thread = Some(thread),
                Err(error) => {
                    tracing::error!(%error, "could not start an I/O completer");
                    return Err(flight);
                }
            }
        }
        completer.inbox.push(flight);
        match std::mem::take(&mut completer.sleep) {
            Sleep::Awake => {}
            Sleep::Idle => self.completer_work.notify_one(),
            Sleep::Suspended(bell) => bell.ring(),
        }
        Ok(())
    }

    /// The completer's life.
    fn complete_awaited(&self) {
        let completions = &self.core().completions;
        let mut ear = Ear::new();
        let mut flights: Vec<Flight> = Vec::new();
        loop {
            let mut at = 0;
            while at < flights.len() {
                if flights[at].in_progress().is_some() {
                    at += 1;
                    continue;
                }
                let done = flights.swap_remove(at);
                flights.extend(self.finish(done, completions));
            }
            let mut completer = lock(&self.completer);
            if flights.is_empty() && completer.inbox.is_empty() {
                if completer.stopping {
                    return;
                }
                completer.sleep = Sleep::Idle;
                completer = self
                    .completer_work
                    .wait(completer)
                    .unwrap_or_else(PoisonError::into_inner);
                completer.sleep = Sleep::Awake;
            }
            if !completer.inbox.is_empty() {
                flights.append(&mut completer.inbox);
                continue;
            }
            if flights.is_empty() {
                continue;
            }
            completer.sleep = Sleep::Suspended(ear.bell());
            drop(completer);
            ear.suspend(flights.iter().map(Flight::in_progress));
            let sleep = std::mem::take(&mut lock(&self.completer).sleep);
            if matches!(sleep, Sleep::Awake) {
                ear.hear_ring();
            }
        }
    }

    /// Ends the thread once it has nothing in flight.
    pub(super) fn stop_completer(&self) {
        let thread = {
            let mut completer = lock(&self.completer);
            completer.stopping = true;
            completer.thread.take()
        };
        self.completer_work.notify_all();
        if let Some(thread) = thread
            && thread.thread().id() != thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("an I/O completer ended by a panic");
        }
    }
}
