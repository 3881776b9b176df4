//! The scans of one transaction.
//!
//! A stream of rows may outlive the call that started it, and its scans read tables whose locks
//! belong to the transaction. So a transaction does not end before its scans: closing the group
//! tells them to stop, and waits until they have.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, watch};
use trunkline_pgformat::Oid;

struct Shared {
    /// The relations being scanned, one entry a running partition. Its lock is a leaf.
    running: Mutex<Vec<Oid>>,
    /// The relations that open results were made from, one entry a result. Its lock is a leaf.
    open: Mutex<Vec<Oid>>,
    /// Queries whose rows are being computed for a reader, with relations or without.
    executing: AtomicUsize,
    /// Signalled when a partition ends.
    ended: Condvar,
    /// Set once, when the transaction ends.
    is_closed: watch::Sender<bool>,
}

impl Shared {
    fn running(&self) -> MutexGuard<'_, Vec<Oid>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> MutexGuard<'_, Vec<Oid>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The scans of one transaction; clones are the same group.
#[derive(Clone)]
pub(crate) struct ScanGroup {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for ScanGroup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScanGroup")
            .field("is_closed", &self.is_closed())
            .finish()
    }
}

impl ScanGroup {
    pub fn new() -> ScanGroup {
        ScanGroup {
            shared: Arc::new(Shared {
                running: Mutex::default(),
                open: Mutex::default(),
                executing: AtomicUsize::new(0),
                ended: Condvar::new(),
                is_closed: watch::Sender::new(false),
            }),
        }
    }

    /// Counts a scan of `relation` in; `None` if the transaction has ended.
    pub fn enter(&self, relation: Oid) -> Option<RunningScan> {
        // Under the lock that `close` takes after it has set the flag: either it sees the scan, or
        // the scan sees the flag.
        let mut running = self.shared.running();
        if self.is_closed() {
            return None;
        }
        running.push(relation);
        Some(RunningScan {
            group: self.clone(),
            relation,
        })
    }

    /// Marks the relations as used by a result, whether its scans still run or not.
    pub fn open_result(&self, relations: &[Oid]) -> OpenResult {
        self.shared.open().extend_from_slice(relations);
        OpenResult {
            group: self.clone(),
            relations: relations.into(),
        }
    }

    /// Whether a result that is open was made from `relation`.
    pub fn is_in_use(&self, relation: Oid) -> bool {
        self.shared.open().contains(&relation)
    }

    /// Counts a query in that computes rows while its session may do other things. What it calls may
    /// use the session at any time, and be waiting for a lock meanwhile.
    pub fn execute(&self) -> ExecutingQuery {
        self.shared.executing.fetch_add(1, Ordering::AcqRel);
        ExecutingQuery {
            group: self.clone(),
        }
    }

    /// Whether no scan runs, no query is being executed and no result is open: then closing it waits for
    /// nothing, and nobody but its owner uses the session.
    pub fn is_idle(&self) -> bool {
        self.shared.executing.load(Ordering::Acquire) == 0
            && self.shared.running().is_empty()
            && self.shared.open().is_empty()
    }

    /// Waits for the scans of `relation` whose rows nobody wants any more; blocks.
    pub fn wait_for_stopped(&self, relation: Oid) {
        let mut running = self.shared.running();
        while running.contains(&relation) {
            running = self
                .shared
                .ended
                .wait(running)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether the scans are to stop.
    pub fn is_closed(&self) -> bool {
        *self.shared.is_closed.borrow()
    }

    async fn closed(&self) {
        let mut is_closed = self.shared.is_closed.subscribe();
        // The sender lives as long as `self`.
        let _ = is_closed.wait_for(|is_closed| *is_closed).await;
    }

    /// Tells the scans to stop and waits until they have; blocks.
    pub fn close(&self) {
        self.shared.is_closed.send_replace(true);
        let mut running = self.shared.running();
        while !running.is_empty() {
            running = self
                .shared
                .ended
                .wait(running)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A result that is open, until this is dropped.
#[derive(Debug)]
pub(crate) struct OpenResult {
    group: ScanGroup,
    relations: Box<[Oid]>,
}

impl Drop for OpenResult {
    fn drop(&mut self) {
        let mut open = self.group.shared.open();
        for relation in &self.relations {
            if let Some(index) = open.iter().position(|open| open == relation) {
                open.swap_remove(index);
            }
        }
    }
}

/// A query that is being executed, until this is dropped.
#[derive(Debug)]
pub(crate) struct ExecutingQuery {
    group: ScanGroup,
}

impl Drop for ExecutingQuery {
    fn drop(&mut self) {
        self.group.shared.executing.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A scan that runs, until this is dropped.
#[derive(Debug)]
pub(crate) struct RunningScan {
    group: ScanGroup,
    relation: Oid,
}

impl RunningScan {
    /// Whether it is to stop.
    pub fn is_to_stop(&self) -> bool {
        self.group.is_closed()
    }
}

impl Drop for RunningScan {
    fn drop(&mut self) {
        let mut running = self.group.shared.running();
        if let Some(index) = running
            .iter()
            .position(|relation| *relation == self.relation)
        {
            running.swap_remove(index);
        }
        self.group.shared.ended.notify_all();
    }
}

/// Hands `item` over from an engine thread, once there is room; false when nobody wants it, or
/// the scan is to stop.
pub(crate) fn send<T>(sender: &mpsc::Sender<T>, item: T, scan: &RunningScan) -> bool {
    match sender.try_send(item) {
        Ok(()) => true,
        Err(mpsc::error::TrySendError::Closed(_)) => false,
        Err(mpsc::error::TrySendError::Full(item)) => futures::executor::block_on(async {
            tokio::select! {
                biased;
                () = scan.group.closed() => false,
                sent = sender.send(item) => sent.is_ok(),
            }
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_stops_a_scan_that_waits_for_room() {
        let group = ScanGroup::new();
        let scan = group.enter(Oid(1)).unwrap();
        let (sender, mut receiver) = mpsc::channel(1);
        let thread = std::thread::spawn(move || {
            assert!(send(&sender, 1, &scan));
            // Nobody receives: this waits until the group is closed.
            let delivered = send(&sender, 2, &scan);
            (delivered, scan.is_to_stop())
        });
        group.close();
        assert_eq!(thread.join().unwrap(), (false, true));
        group.wait_for_stopped(Oid(1));
        assert!(group.enter(Oid(1)).is_none());
        assert_eq!(receiver.try_recv().ok(), Some(1));
    }

    #[test]
    fn a_result_uses_its_relations_until_it_is_closed() {
        let group = ScanGroup::new();
        let first = group.open_result(&[Oid(1), Oid(2)]);
        let second = group.open_result(&[Oid(2)]);
        assert!(group.is_in_use(Oid(1)));
        drop(first);
        assert!(!group.is_in_use(Oid(1)));
        assert!(group.is_in_use(Oid(2)));
        drop(second);
        assert!(!group.is_in_use(Oid(2)));
    }

    #[test]
    fn a_group_is_idle_when_nothing_of_it_is_under_way() {
        let group = ScanGroup::new();
        assert!(group.is_idle());
        let query = group.execute();
        assert!(!group.is_idle());
        // Of no relation: a function's call.
        let call = group.enter(Oid::INVALID).unwrap();
        drop(query);
        assert!(!group.is_idle());
        drop(call);
        let result = group.open_result(&[Oid(1)]);
        assert!(!group.is_idle());
        drop(result);
        assert!(group.is_idle());
    }
}
