//! Heavyweight locks: who may touch which object how, with fair queues.
//!
//! The table is split by tag into shards; taking a free lock costs two uncontended mutexes and two
//! hash look-ups. The rules are PostgreSQL's (`storage/lmgr/lock.c`, `proc.c`):
//!
//! - A request waits behind conflicting holders *and* behind conflicting waiters, so a stream of
//!   weak locks cannot starve a strong one.
//! - Who already holds the lock in a mode that some waiter waits for goes ahead of that waiter;
//!   otherwise every upgrade would be a deadlock.
//! - On release, waiters are granted in queue order, each unless it conflicts with a holder or
//!   with a waiter that stays ahead of it.
//! - After `deadlock_timeout` a waiter looks for a cycle (`deadlock.rs`), once: the waiter that
//!   closes a cycle later looks for itself.
//!
//! Whoever releases a lock enters the grant for the waiter, so a lock is never free while somebody
//! entitled to it sleeps.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, Thread};
use std::time::Duration;

use hashbrown::hash_map::Entry;
use hashbrown::{DefaultHashBuilder, HashMap};
use trunkline_aio::Clock;

use crate::cancel::{CancelToken, Cancelled};
use crate::deadlock::{GraphLock, GraphWait, Verdict, WaitGraph, describe_cycle};
use crate::error::TxnError;
use crate::lock_mode::{LockMask, LockMode};
use crate::lock_tag::{LockOwner, LockScope, LockTag};
use crate::sync::lock;

const SHARDS: usize = 32;

/// One row of `pg_locks`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LockInfo {
    /// What the lock is on.
    pub tag: LockTag,
    /// Whose it is.
    pub process_id: i32,
    /// In which mode.
    pub mode: LockMode,
    /// Held, or waited for.
    pub granted: bool,
    /// Since when it is waited for: time since 1970-01-01 00:00:00 UTC.
    pub wait_start: Option<Duration>,
}

/// On what owners hold locks; a tag stands once, however often it is held.
type Owned = HashMap<LockOwner, Vec<LockTag>>;

/// The lock manager; one for a whole database system.
pub struct LockManager {
    shards: Box<[Mutex<Shard>]>,
    owners: Box<[Mutex<Owned>]>,
    hasher: DefaultHashBuilder,
    clock: Arc<dyn Clock>,
    deadlock_timeout_us: AtomicU64,
    next_waiter: AtomicU64,
}

#[derive(Default)]
struct Shard {
    locks: HashMap<LockTag, Lock>,
    holdings: HashMap<(LockTag, i32), Holding>,
}

/// A lock that somebody holds or waits for.
#[derive(Default)]
struct Lock {
    /// Processes that hold each mode, by mode number.
    granted: [u32; 9],
    /// In the order in which they are to be served.
    queue: Vec<Waiter>,
}

/// What one process holds of one lock: how often, by scope and mode number.
#[derive(Default)]
struct Holding {
    counts: [[u32; 9]; 2],
}

struct Waiter {
    id: u64,
    owner: LockOwner,
    mode: LockMode,
    since: Duration,
    cell: Arc<WaitCell>,
}

/// Where a waiter sleeps: parked, so that the clock, which may be a simulated one, can wake it.
struct WaitCell {
    is_granted: AtomicBool,
    thread: Thread,
}

enum Slept {
    Granted,
    Due,
    Cancelled(Cancelled),
}

enum Request {
    Granted,
    MustWait {
        position: usize,
    },
    /// Both would wait for each other: the other's process and mode.
    Deadlock {
        other: i32,
        other_mode: LockMode,
    },
}

impl Holding {
    fn mask(&self) -> LockMask {
        LockMode::ALL
            .into_iter()
            .filter(|mode| self.counts.iter().any(|scope| scope[*mode as usize] != 0))
            .fold(0, |mask, mode| mask | mode.bit())
    }

    fn holds_in(&self, scope: LockScope) -> bool {
        self.counts[scope as usize].iter().any(|count| *count != 0)
    }
}

impl Lock {
    fn wait_mask(&self) -> LockMask {
        self.queue
            .iter()
            .fold(0, |mask, waiter| mask | waiter.mode.bit())
    }
}

impl Shard {
    fn held_mask(&self, tag: LockTag, process_id: i32) -> LockMask {
        self.holdings
            .get(&(tag, process_id))
            .map_or(0, Holding::mask)
    }

    /// Whether a process other than `process_id` holds `tag` in a mode that excludes `mode`
    /// (`LockCheckConflicts`).
    fn is_excluded(&self, tag: LockTag, process_id: i32, mode: LockMode) -> bool {
        let Some(held) = self.locks.get(&tag) else {
            return false;
        };
        let own = self.held_mask(tag, process_id);
        LockMode::ALL
            .into_iter()
            .filter(|other| mode.conflicts_with(*other))
            .any(|other| {
                let own_share = u32::from(own & other.bit() != 0);
                held.granted[other as usize] > own_share
            })
    }

    /// Decides about a request and enters it if it is granted.
    fn request(&mut self, owner: LockOwner, tag: LockTag, mode: LockMode) -> Request {
        let process_id = owner.process_id;
        let own = self.held_mask(tag, process_id);
        let Some(wanted) = self.locks.get(&tag) else {
            return Request::Granted;
        };
        if own & mode.bit() != 0 {
            return Request::Granted;
        }
        let waits_ahead = mode.conflicts() & wanted.wait_mask() != 0;
        if !waits_ahead && !self.is_excluded(tag, process_id, mode) {
            return Request::Granted;
        }
        // `JoinWaitQueue`: go before the first waiter that waits for what this process holds.
        let mut ahead: LockMask = 0;
        if own != 0 {
            for (position, waiter) in wanted.queue.iter().enumerate() {
                if waiter.mode.conflicts() & own != 0 {
                    let theirs = self.held_mask(tag, waiter.owner.process_id);
                    if mode.conflicts() & theirs != 0 {
                        return Request::Deadlock {
                            other: waiter.owner.process_id,
                            other_mode: waiter.mode,
                        };
                    }
                    if mode.conflicts() & ahead == 0 && !self.is_excluded(tag, process_id, mode) {
                        return Request::Granted;
                    }
                    return Request::MustWait { position };
                }
                ahead |= waiter.mode.bit();
            }
        }
        Request::MustWait {
            position: wanted.queue.len(),
        }
    }

    /// Enters a grant. Returns whether it is the owner's first on this tag.
    fn grant(&mut self, owner: LockOwner, tag: LockTag, mode: LockMode) -> bool {
        let holding = self.holdings.entry((tag, owner.process_id)).or_default();
        if holding.mask() & mode.bit() == 0 {
            self.locks.entry(tag).or_default().granted[mode as usize] += 1;
        }
        let is_first = !holding.holds_in(owner.scope);
        holding.counts[owner.scope as usize][mode as usize] += 1;
        is_first
    }

    /// Takes back what `owner` holds of `tag`: one count of `mode`, or all of its scope. Returns
    /// whether it held that, and whether it still holds the tag.
    fn take_back(
        &mut self,
        owner: LockOwner,
        tag: LockTag,
        mode: Option<LockMode>,
    ) -> (bool, bool) {
        let Entry::Occupied(mut entry) = self.holdings.entry((tag, owner.process_id)) else {
            return (false, false);
        };
        let holding = entry.get_mut();
        let before = holding.mask();
        let counts = &mut holding.counts[owner.scope as usize];
        match mode {
            Some(mode) if counts[mode as usize] == 0 => {
                return (false, holding.holds_in(owner.scope));
            }
            Some(mode) => counts[mode as usize] -= 1,
            None => *counts = [0; 9],
        }
        let after = holding.mask();
        let still_held = holding.holds_in(owner.scope);
        if after == 0 {
            entry.remove();
        }
        if let Some(held) = self.locks.get_mut(&tag) {
            for gone in LockMode::ALL
                .into_iter()
                .filter(|mode| before & !after & mode.bit() != 0)
            {
                held.granted[gone as usize] -= 1;
            }
        }
        (true, still_held)
    }

    /// Grants what can be granted of `tag`'s queue (`ProcLockWakeup`), and forgets the lock if
    /// nobody holds or awaits it. `entered` learns of each owner's first grant on the tag.
    fn serve(&mut self, tag: LockTag, mut entered: impl FnMut(LockOwner)) {
        let Some(wanted) = self.locks.get_mut(&tag) else {
            return;
        };
        let queue = std::mem::take(&mut wanted.queue);
        let mut staying = Vec::new();
        let mut ahead: LockMask = 0;
        for waiter in queue {
            if waiter.mode.conflicts() & ahead == 0
                && !self.is_excluded(tag, waiter.owner.process_id, waiter.mode)
            {
                if self.grant(waiter.owner, tag, waiter.mode) {
                    entered(waiter.owner);
                }
                waiter.cell.grant();
            } else {
                ahead |= waiter.mode.bit();
                staying.push(waiter);
            }
        }
        if let Entry::Occupied(mut entry) = self.locks.entry(tag) {
            entry.get_mut().queue = staying;
            if entry.get().queue.is_empty() && entry.get().granted == [0; 9] {
                entry.remove();
            }
        }
    }
}

impl WaitCell {
    /// Of the calling thread.
    fn new() -> WaitCell {
        WaitCell {
            is_granted: AtomicBool::new(false),
            thread: thread::current(),
        }
    }

    fn grant(&self) {
        self.is_granted.store(true, Ordering::Release);
        self.thread.unpark();
    }

    /// Makes the sleeper look again at what it sleeps for.
    fn nudge(&self) {
        self.thread.unpark();
    }

    /// On the cell's own thread. An `unpark` between a look and the sleep ends the sleep.
    fn sleep(&self, until: Option<Duration>, clock: &dyn Clock, cancel: &CancelToken) -> Slept {
        loop {
            if self.is_granted.load(Ordering::Acquire) {
                return Slept::Granted;
            }
            if let Err(cancelled) = cancel.check() {
                return Slept::Cancelled(cancelled);
            }
            match until {
                None => thread::park(),
                Some(until) if until <= clock.monotonic() => return Slept::Due,
                Some(until) => clock.park_until(until),
            }
        }
    }
}

impl LockManager {
    /// An empty lock table. `deadlock_timeout`: how long a waiter waits before it looks for a
    /// deadlock (PostgreSQL's setting of that name, 1 s by default).
    pub fn new(clock: Arc<dyn Clock>, deadlock_timeout: Duration) -> LockManager {
        let manager = LockManager {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            owners: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: DefaultHashBuilder::default(),
            clock,
            deadlock_timeout_us: AtomicU64::new(0),
            next_waiter: AtomicU64::new(0),
        };
        manager.set_deadlock_timeout(deadlock_timeout);
        manager
    }

    /// Changes `deadlock_timeout` for waits that begin later.
    pub fn set_deadlock_timeout(&self, timeout: Duration) {
        let timeout_us = u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX);
        self.deadlock_timeout_us
            .store(timeout_us, Ordering::Relaxed);
    }

    fn shard_index(&self, tag: LockTag) -> usize {
        self.hasher.hash_one(tag) as usize % SHARDS
    }

    fn owned(&self, owner: LockOwner) -> MutexGuard<'_, Owned> {
        lock(&self.owners[owner.process_id as u32 as usize % SHARDS])
    }

    fn note_owned(&self, owner: LockOwner, tag: LockTag) {
        self.owned(owner).entry(owner).or_default().push(tag);
    }

    /// Takes the lock, waiting for it if need be. Taking it again counts, and needs as many
    /// [`release`](LockManager::release)s. `timeout`: `lock_timeout`, none if it is 0.
    ///
    /// # Errors
    /// [`TxnError::LockTimeout`], [`TxnError::Deadlock`], [`TxnError::Cancelled`]; the lock is
    /// not taken then.
    pub fn acquire(
        &self,
        owner: LockOwner,
        tag: LockTag,
        mode: LockMode,
        timeout: Option<Duration>,
        cancel: &CancelToken,
    ) -> Result<(), TxnError> {
        let shard_index = self.shard_index(tag);
        let mut shard = lock(&self.shards[shard_index]);
        match shard.request(owner, tag, mode) {
            Request::Granted => {
                if shard.grant(owner, tag, mode) {
                    self.note_owned(owner, tag);
                }
                Ok(())
            }
            Request::Deadlock { other, other_mode } => Err(TxnError::Deadlock {
                detail: describe_cycle(&[(owner.process_id, mode, tag), (other, other_mode, tag)]),
            }),
            Request::MustWait { position } => {
                let cell = Arc::new(WaitCell::new());
                let id = self.next_waiter.fetch_add(1, Ordering::Relaxed);
                let waiter = Waiter {
                    id,
                    owner,
                    mode,
                    since: self.clock.since_epoch(),
                    cell: cell.clone(),
                };
                shard
                    .locks
                    .entry(tag)
                    .or_default()
                    .queue
                    .insert(position, waiter);
                drop(shard);
                self.wait(
                    shard_index,
                    owner.process_id,
                    tag,
                    id,
                    &cell,
                    timeout,
                    cancel,
                )
            }
        }
    }

    /// Takes the lock if that needs no wait; returns whether it did.
    pub fn try_acquire(&self, owner: LockOwner, tag: LockTag, mode: LockMode) -> bool {
        let mut shard = lock(&self.shards[self.shard_index(tag)]);
        let is_granted = matches!(shard.request(owner, tag, mode), Request::Granted);
        if is_granted && shard.grant(owner, tag, mode) {
            self.note_owned(owner, tag);
        }
        is_granted
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one wait, used only here"
    )]
    fn wait(
        &self,
        shard_index: usize,
        process_id: i32,
        tag: LockTag,
        id: u64,
        cell: &Arc<WaitCell>,
        timeout: Option<Duration>,
        cancel: &CancelToken,
    ) -> Result<(), TxnError> {
        let nudged = cell.clone();
        let _hook = cancel.on_request(move || nudged.nudge());
        let start = self.clock.monotonic();
        let deadlock_timeout =
            Duration::from_micros(self.deadlock_timeout_us.load(Ordering::Relaxed));
        let mut look_at = start.checked_add(deadlock_timeout);
        let give_up_at = timeout.and_then(|timeout| start.checked_add(timeout));
        loop {
            let until = [look_at, give_up_at].into_iter().flatten().min();
            let failure = match cell.sleep(until, &*self.clock, cancel) {
                Slept::Granted => return Ok(()),
                Slept::Cancelled(cancelled) => TxnError::Cancelled(cancelled),
                Slept::Due if give_up_at.is_some_and(|at| at <= self.clock.monotonic()) => {
                    TxnError::LockTimeout
                }
                Slept::Due => {
                    look_at = None;
                    match self.resolve_deadlock(shard_index, process_id, tag, id) {
                        None => continue,
                        Some(detail) => return Err(TxnError::Deadlock { detail }),
                    }
                }
            };
            let mut shard = lock(&self.shards[shard_index]);
            if shard.withdraw(tag, id) {
                shard.serve(tag, |owner| self.note_owned(owner, tag));
                return Err(failure);
            }
            // It was granted in the meantime.
            return Ok(());
        }
    }

    /// Looks whether `process_id` waits in a cycle. Reorders queues if that breaks it; otherwise
    /// takes waiter `id` out of its queue and returns the cycle's description.
    fn resolve_deadlock(
        &self,
        shard_index: usize,
        process_id: i32,
        tag: LockTag,
        id: u64,
    ) -> Option<String> {
        let mut shards: Vec<MutexGuard<'_, Shard>> = self.shards.iter().map(lock).collect();
        let is_waiting = |shard: &Shard| {
            shard
                .locks
                .get(&tag)
                .is_some_and(|wanted| wanted.queue.iter().any(|w| w.id == id))
        };
        if !is_waiting(&shards[shard_index]) {
            return None;
        }
        match wait_graph(&shards).check(process_id) {
            Verdict::NoDeadlock => None,
            Verdict::Reorder(orders) => {
                for (tag, order) in orders {
                    let shard = &mut shards[self.shard_index(tag)];
                    if let Some(wanted) = shard.locks.get_mut(&tag) {
                        let place = |waiter: &Waiter| order.iter().position(|id| *id == waiter.id);
                        wanted.queue.sort_by_key(place);
                    }
                    shard.serve(tag, |owner| self.note_owned(owner, tag));
                }
                None
            }
            Verdict::Deadlock(cycle) => {
                let shard = &mut shards[shard_index];
                shard.withdraw(tag, id);
                shard.serve(tag, |owner| self.note_owned(owner, tag));
                Some(describe_cycle(&cycle))
            }
        }
    }

    /// Gives back one count of the lock. Returns whether `owner` held it.
    pub fn release(&self, owner: LockOwner, tag: LockTag, mode: LockMode) -> bool {
        let mut shard = lock(&self.shards[self.shard_index(tag)]);
        let (was_held, still_held) = shard.take_back(owner, tag, Some(mode));
        if was_held {
            if !still_held {
                let mut owned = self.owned(owner);
                if let Some(tags) = owned.get_mut(&owner) {
                    if let Some(at) = tags.iter().rposition(|other| *other == tag) {
                        tags.swap_remove(at);
                    }
                    if tags.is_empty() {
                        owned.remove(&owner);
                    }
                }
            }
            shard.serve(tag, |owner| self.note_owned(owner, tag));
        }
        was_held
    }

    /// Gives back all that `owner` holds: at a transaction's end, or a session's.
    pub fn release_all(&self, owner: LockOwner) {
        let tags = self.owned(owner).remove(&owner).unwrap_or_default();
        for tag in tags {
            let mut shard = lock(&self.shards[self.shard_index(tag)]);
            shard.take_back(owner, tag, None);
            shard.serve(tag, |owner| self.note_owned(owner, tag));
        }
    }

    /// Whether `process_id` holds `tag` in just this mode, in any scope.
    pub fn holds(&self, process_id: i32, tag: LockTag, mode: LockMode) -> bool {
        lock(&self.shards[self.shard_index(tag)]).held_mask(tag, process_id) & mode.bit() != 0
    }

    /// All locks held and waited for, at one moment.
    pub fn snapshot(&self) -> Vec<LockInfo> {
        let shards: Vec<MutexGuard<'_, Shard>> = self.shards.iter().map(lock).collect();
        let mut rows = Vec::new();
        for shard in &shards {
            for ((tag, process_id), holding) in &shard.holdings {
                let mask = holding.mask();
                rows.extend(
                    LockMode::ALL
                        .into_iter()
                        .filter(|mode| mask & mode.bit() != 0)
                        .map(|mode| LockInfo {
                            tag: *tag,
                            process_id: *process_id,
                            mode,
                            granted: true,
                            wait_start: None,
                        }),
                );
            }
            for (tag, wanted) in &shard.locks {
                rows.extend(wanted.queue.iter().map(|waiter| LockInfo {
                    tag: *tag,
                    process_id: waiter.owner.process_id,
                    mode: waiter.mode,
                    granted: false,
                    wait_start: Some(waiter.since),
                }));
            }
        }
        rows
    }
}

impl Shard {
    /// Takes waiter `id` out of `tag`'s queue; false if it is not there.
    fn withdraw(&mut self, tag: LockTag, id: u64) -> bool {
        let Some(wanted) = self.locks.get_mut(&tag) else {
            return false;
        };
        let Some(at) = wanted.queue.iter().position(|waiter| waiter.id == id) else {
            return false;
        };
        wanted.queue.remove(at);
        true
    }
}

/// Who waits for whom, over all shards.
fn wait_graph(shards: &[MutexGuard<'_, Shard>]) -> WaitGraph {
    let mut locks = Vec::new();
    for shard in shards {
        let first = locks.len();
        let mut index_of = HashMap::new();
        for (tag, wanted) in shard
            .locks
            .iter()
            .filter(|(_, wanted)| !wanted.queue.is_empty())
        {
            index_of.insert(*tag, locks.len());
            let queue = wanted
                .queue
                .iter()
                .map(|waiter| GraphWait {
                    id: waiter.id,
                    process_id: waiter.owner.process_id,
                    mode: waiter.mode,
                })
                .collect();
            locks.push(GraphLock {
                tag: *tag,
                holders: Vec::new(),
                queue,
            });
        }
        if locks.len() > first {
            for ((tag, process_id), holding) in &shard.holdings {
                if let Some(index) = index_of.get(tag) {
                    locks[*index].holders.push((*process_id, holding.mask()));
                }
            }
        }
    }
    WaitGraph::new(locks)
}

#[cfg(test)]
mod tests;
