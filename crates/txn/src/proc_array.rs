//! Which transactions run, and which snapshots are in use.
//!
//! One mutex orders the three events that must not be torn apart: an id becomes running, an id
//! stops running, a snapshot is taken (`storage/ipc/procarray.c`). A snapshot only copies a
//! reference: the list of running ids is rebuilt after a transaction's end, not for each snapshot,
//! for new ids lie beyond every snapshot's `xmax` until some transaction ends.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use trunkline_pgformat::Xid;
use trunkline_pgformat::wal::rmgr::standby::RunningXacts;

use crate::full_xid::FullXid;
use crate::sync::lock;

#[derive(Debug)]
pub(crate) struct ProcArray {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The id that the next assignment gives.
    next: FullXid,
    /// Ids that are assigned and not ended, ascending.
    running: Vec<FullXid>,
    /// The newest id that ended.
    latest_completed: FullXid,
    /// What a snapshot taken now sees; dropped when a transaction ends.
    view: Option<View>,
    /// `xmin` of the snapshots in use, and how many have it.
    xmins: BTreeMap<FullXid, usize>,
}

/// What distinguishes a moment for visibility.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// Everything before has ended.
    pub xmin: FullXid,
    /// Nothing from here on has ended.
    pub xmax: FullXid,
    /// Running ids in between, ascending.
    pub xip: Arc<[Xid]>,
}

impl ProcArray {
    pub fn new(next: FullXid) -> ProcArray {
        ProcArray {
            state: Mutex::new(State {
                next,
                running: Vec::new(),
                latest_completed: next.previous(),
                view: None,
                xmins: BTreeMap::new(),
            }),
        }
    }

    pub fn next(&self) -> FullXid {
        lock(&self.state).next
    }

    /// Makes the next id a running one. Only the holder of xid generation calls this.
    pub fn enter(&self, xid: FullXid) {
        let mut state = lock(&self.state);
        assert_eq!(state.next, xid, "ids are assigned in order, one at a time");
        state.next = xid.next();
        state.running.push(xid);
    }

    /// `xid` has ended, and its end is in pg_xact.
    pub fn end(&self, xid: FullXid) {
        let mut state = lock(&self.state);
        match state.running.binary_search(&xid) {
            Ok(at) => drop(state.running.remove(at)),
            Err(_) => panic!("transaction {xid} ended twice"),
        }
        state.latest_completed = state.latest_completed.max(xid);
        state.view = None;
    }

    /// What a snapshot sees now; its `xmin` holds the horizon until it is given to `unregister`.
    pub fn register(&self) -> View {
        let mut state = lock(&self.state);
        let view = state.view();
        *state.xmins.entry(view.xmin).or_insert(0) += 1;
        view
    }

    /// One more snapshot with the `xmin` of a registered one.
    pub fn register_again(&self, xmin: FullXid) {
        let mut state = lock(&self.state);
        let count = state.xmins.get_mut(&xmin);
        *count.unwrap_or_else(|| panic!("no snapshot with xmin {xmin} is registered")) += 1;
    }

    pub fn unregister(&self, xmin: FullXid) {
        let mut state = lock(&self.state);
        match state.xmins.get_mut(&xmin) {
            Some(1) => drop(state.xmins.remove(&xmin)),
            Some(count) => *count -= 1,
            None => panic!("no snapshot with xmin {xmin} is registered"),
        }
    }

    /// The transactions that run, as a standby wants to know them (`GetRunningTransactionData`). There
    /// are no subtransactions.
    pub fn running_xacts(&self) -> RunningXacts {
        let state = lock(&self.state);
        RunningXacts {
            subxid_overflow: false,
            next_xid: state.next.xid(),
            oldest_running_xid: state.oldest_running().xid(),
            latest_completed_xid: state.latest_completed.xid(),
            xids: state.running.iter().map(|xid| xid.xid()).collect(),
            subxids: Vec::new(),
        }
    }

    /// The oldest id that runs, or the next one (`GetOldestActiveTransactionId`).
    pub fn oldest_running(&self) -> FullXid {
        lock(&self.state).oldest_running()
    }

    /// No snapshot, present or future, sees any id before this as running. Never goes back.
    pub fn horizon(&self) -> FullXid {
        let mut state = lock(&self.state);
        let now = state.view().xmin;
        state
            .xmins
            .first_key_value()
            .map_or(now, |(xmin, _)| now.min(*xmin))
    }

    pub fn is_running(&self, xid: Xid) -> bool {
        let state = lock(&self.state);
        state
            .running
            .binary_search(&state.next.nearest(xid))
            .is_ok()
    }
}

impl State {
    fn oldest_running(&self) -> FullXid {
        self.running.first().copied().unwrap_or(self.next)
    }

    fn view(&mut self) -> View {
        let State {
            running,
            latest_completed,
            view,
            ..
        } = self;
        view.get_or_insert_with(|| {
            let xmax = latest_completed.next();
            let xmin = running.first().map_or(xmax, |oldest| xmax.min(*oldest));
            let ended_before = running.partition_point(|xid| *xid < xmax);
            View {
                xmin,
                xmax,
                xip: running[..ended_before]
                    .iter()
                    .map(|xid| xid.xid())
                    .collect(),
            }
        })
        .clone()
    }
}
