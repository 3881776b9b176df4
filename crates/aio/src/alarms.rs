//! What is to happen at a moment: the list that clocks keep.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What an alarm does, on whatever thread it goes off. It must neither block nor panic, nor take a
/// lock under which anybody waits for an I/O.
pub type AlarmAction = Box<dyn FnOnce() + Send>;

/// A moment, and a number that orders the alarms of one moment.
type Key = (Duration, u64);

#[derive(Default)]
struct List {
    actions: BTreeMap<Key, AlarmAction>,
    next_id: u64,
}

/// The alarms of a clock; clones are the same list. It knows no time: the clock asks it what is due.
#[derive(Clone, Default)]
pub struct Alarms {
    list: Arc<Mutex<List>>,
}

impl Alarms {
    /// None yet.
    pub fn new() -> Alarms {
        Alarms::default()
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        // Actions run and are dropped outside the lock.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one that goes off at `at`.
    pub fn set(&self, at: Duration, action: AlarmAction) -> Alarm {
        let mut list = self.lock();
        let key = (at, list.next_id);
        list.next_id += 1;
        list.actions.insert(key, action);
        drop(list);
        Alarm {
            alarms: self.clone(),
            key,
        }
    }

    /// When the first one is to go off.
    pub fn next(&self) -> Option<Duration> {
        self.lock()
            .actions
            .first_key_value()
            .map(|((at, _), _)| *at)
    }

    /// Takes out the first one if its moment, by `now`, has come. It is for the caller to run.
    #[must_use = "an action that is taken out happens only if it is called"]
    pub fn take_due(&self, now: Duration) -> Option<AlarmAction> {
        let mut list = self.lock();
        let first = list.actions.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}

impl std::fmt::Debug for Alarms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let moments: Vec<Duration> = self.lock().actions.keys().map(|(at, _)| *at).collect();
        f.debug_tuple("Alarms").field(&moments).finish()
    }
}

/// An alarm that is set. Dropping it takes it back; one that has begun to go off may still end after
/// that.
#[derive(Debug)]
#[must_use = "a dropped alarm does not go off"]
pub struct Alarm {
    alarms: Alarms,
    key: Key,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let action = self.alarms.lock().actions.remove(&self.key);
        // What it owns goes outside the lock.
        drop(action);
    }
}
