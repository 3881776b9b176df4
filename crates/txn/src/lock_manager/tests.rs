use std::collections::HashMap as StdHashMap;
use std::thread;

use trunkline_aio::SystemClock;
use trunkline_pgformat::Oid;

use super::*;
use crate::cancel::CancelReason;
use LockMode::{AccessExclusive, AccessShare, Exclusive, RowExclusive, Share};

const NEVER: Duration = Duration::from_secs(3600);

fn manager(deadlock_timeout: Duration) -> LockManager {
    LockManager::new(Arc::new(SystemClock::new()), deadlock_timeout)
}

fn tag(relation: u32) -> LockTag {
    LockTag::Relation {
        database: Oid(5),
        relation: Oid(relation),
    }
}

fn of(process_id: i32) -> LockOwner {
    LockOwner::transaction(process_id)
}

fn running() -> CancelToken {
    let token = CancelToken::new();
    token.begin_statement();
    token
}

/// Waits for another thread to get somewhere.
fn until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        thread::yield_now();
    }
}

impl LockManager {
    fn take(&self, process_id: i32, relation: u32, mode: LockMode) -> Result<(), TxnError> {
        self.acquire(
            of(process_id),
            tag(relation),
            mode,
            None,
            &CancelToken::new(),
        )
    }

    fn is_waiting(&self, process_id: i32) -> bool {
        self.snapshot()
            .iter()
            .any(|row| row.process_id == process_id && !row.granted)
    }

    fn queue(&self, relation: u32) -> Vec<i32> {
        let shard = lock(&self.shards[self.shard_index(tag(relation))]);
        let queue = shard
            .locks
            .get(&tag(relation))
            .map_or(&[][..], |wanted| &wanted.queue);
        queue.iter().map(|waiter| waiter.owner.process_id).collect()
    }

    fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| {
            let shard = lock(shard);
            shard.locks.is_empty() && shard.holdings.is_empty()
        }) && self.owners.iter().all(|owners| lock(owners).is_empty())
    }
}

#[test]
fn locks_count_by_owner_and_scope() {
    let locks = manager(NEVER);
    let (transaction, session) = (LockOwner::transaction(1), LockOwner::session(1));
    for owner in [transaction, transaction, session] {
        assert!(locks.try_acquire(owner, tag(1), Share));
    }
    assert!(!locks.try_acquire(of(2), tag(1), Exclusive));
    assert!(locks.release(transaction, tag(1), Share));
    assert!(!locks.release(transaction, tag(1), Exclusive), "never held");
    locks.release_all(transaction);
    assert!(locks.holds(1, tag(1), Share), "the session still holds it");
    assert!(!locks.try_acquire(of(2), tag(1), Exclusive));
    locks.release_all(session);
    assert!(locks.try_acquire(of(2), tag(1), Exclusive));
    assert!(locks.release(of(2), tag(1), Exclusive));
    assert!(!locks.release(of(2), tag(1), Exclusive));
    assert!(locks.is_empty());
}

#[test]
fn the_snapshot_shows_what_is_held_and_awaited() {
    let locks = manager(NEVER);
    locks.take(1, 7, AccessShare).unwrap();
    locks.take(1, 7, RowExclusive).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| locks.take(2, 7, AccessExclusive).unwrap());
        until(|| locks.is_waiting(2));
        let mut rows = locks.snapshot();
        rows.sort_by_key(|row| (row.process_id, row.mode));
        let brief: Vec<_> = rows
            .iter()
            .map(|row| (row.process_id, row.mode.name(), row.granted))
            .collect();
        assert_eq!(
            brief,
            [
                (1, "AccessShareLock", true),
                (1, "RowExclusiveLock", true),
                (2, "AccessExclusiveLock", false)
            ]
        );
        assert_eq!(rows[2].tag.lock_type(), "relation");
        assert!(rows[2].wait_start.is_some() && rows[0].wait_start.is_none());
        locks.release_all(of(1));
    });
    locks.release_all(of(2));
    assert!(locks.is_empty());
}

#[test]
fn a_reader_does_not_pass_a_waiting_writer() {
    let locks = manager(NEVER);
    let order = Mutex::new(Vec::new());
    locks.take(1, 1, AccessShare).unwrap();
    locks.take(6, 1, AccessShare).unwrap();
    thread::scope(|scope| {
        for (process_id, mode) in [(2, AccessExclusive), (3, AccessShare), (4, AccessExclusive)] {
            let (locks, order) = (&locks, &order);
            scope.spawn(move || {
                locks.take(process_id, 1, mode).unwrap();
                lock(order).push(process_id);
                locks.release_all(of(process_id));
            });
            until(|| locks.is_waiting(process_id));
        }
        assert!(!locks.try_acquire(of(5), tag(1), AccessShare));
        assert_eq!(locks.queue(1), [2, 3, 4]);
        locks.release_all(of(6));
        assert_eq!(
            locks.queue(1),
            [2, 3, 4],
            "3 fits beside 1, but 2 was first"
        );
        locks.release_all(of(1));
    });
    assert_eq!(*lock(&order), [2, 3, 4]);
    assert!(locks.is_empty());
}

#[test]
fn a_holder_goes_ahead_of_those_who_wait_for_it() {
    let locks = manager(NEVER);
    locks.take(1, 1, AccessShare).unwrap();
    locks.take(2, 1, AccessShare).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| locks.take(3, 1, AccessExclusive).unwrap());
        until(|| locks.is_waiting(3));
        // 1 holds what 3 waits for: it is served at once, where a newcomer would wait.
        locks.take(1, 1, RowExclusive).unwrap();
        assert!(!locks.try_acquire(of(9), tag(1), RowExclusive));
        // 2 has to wait for 1, yet before 3.
        scope.spawn(|| locks.take(2, 1, Exclusive).unwrap());
        until(|| locks.is_waiting(2));
        assert_eq!(locks.queue(1), [2, 3]);
        locks.release_all(of(1));
        until(|| locks.holds(2, tag(1), Exclusive));
        assert!(locks.is_waiting(3));
        locks.release_all(of(2));
    });
    assert!(locks.holds(3, tag(1), AccessExclusive));
}

#[test]
fn two_upgrades_are_a_deadlock_at_once() {
    let locks = manager(NEVER);
    locks.take(1, 16384, Share).unwrap();
    locks.take(2, 16384, Share).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| locks.take(1, 16384, Exclusive).unwrap());
        until(|| locks.is_waiting(1));
        let error = locks.take(2, 16384, Exclusive).unwrap_err();
        assert_eq!(
            (error.sqlstate(), error.to_string().as_str()),
            ("40P01", "deadlock detected")
        );
        assert_eq!(
            error.detail().unwrap(),
            "Process 2 waits for ExclusiveLock on relation 16384 of database 5; blocked by process \
             1.\nProcess 1 waits for ExclusiveLock on relation 16384 of database 5; blocked by \
             process 2."
        );
        assert_eq!(error.hint(), Some("See server log for query details."));
        locks.release_all(of(2));
    });
    locks.release_all(of(1));
    assert!(locks.is_empty());
}

#[test]
fn a_lock_timeout_gives_up_the_place() {
    let locks = manager(NEVER);
    locks.take(1, 1, Share).unwrap();
    let timeout = Some(Duration::from_millis(1));
    let error = locks
        .acquire(of(2), tag(1), Exclusive, timeout, &CancelToken::new())
        .unwrap_err();
    assert_eq!(error.sqlstate(), "55P03");
    assert_eq!(error.to_string(), "canceling statement due to lock timeout");
    assert!(
        locks.try_acquire(of(3), tag(1), Share),
        "nobody waits any more"
    );
}

#[test]
fn a_cancel_wakes_the_waiter_and_those_behind_it() {
    let locks = manager(NEVER);
    locks.take(1, 1, Share).unwrap();
    for (reason, sqlstate) in [
        (CancelReason::UserRequest, "57014"),
        (CancelReason::StatementTimeout, "57014"),
        (CancelReason::Terminate, "57P01"),
    ] {
        let token = running();
        thread::scope(|scope| {
            let waiter =
                scope.spawn(|| locks.acquire(of(2), tag(1), AccessExclusive, None, &token));
            until(|| locks.is_waiting(2));
            let behind = scope.spawn(|| locks.take(3, 1, AccessShare));
            until(|| locks.is_waiting(3));
            assert!(token.request(reason));
            let error = waiter.join().unwrap().unwrap_err();
            assert_eq!(
                (error.sqlstate(), error.to_string().as_str()),
                (sqlstate, reason.message())
            );
            behind.join().unwrap().unwrap();
        });
        locks.release_all(of(3));
    }
}

#[test]
fn a_deadlock_ends_one_of_its_processes() {
    let locks = manager(Duration::from_millis(1));
    locks.take(1, 1, AccessExclusive).unwrap();
    locks.take(2, 2, AccessExclusive).unwrap();
    locks.take(3, 3, AccessExclusive).unwrap();
    let failures: Vec<TxnError> = thread::scope(|scope| {
        let sessions = [(1, 2), (2, 3), (3, 1)].map(|(process_id, wants)| {
            let locks = &locks;
            scope.spawn(move || {
                let result = locks.take(process_id, wants, Share);
                locks.release_all(of(process_id));
                result
            })
        });
        sessions
            .into_iter()
            .filter_map(|session| session.join().unwrap().err())
            .collect()
    });
    assert_eq!(failures.len(), 1, "one victim frees the others");
    assert_eq!(failures[0].detail().unwrap().lines().count(), 3);
    assert!(locks.is_empty());
}

/// A cycle that only the queue's order closes: 2 waits for 1's weak lock, 3 behind 2, 1 for 3.
#[test]
fn a_soft_deadlock_is_resolved_by_reordering() {
    let locks = manager(Duration::from_millis(1));
    locks.take(1, 10, AccessShare).unwrap();
    locks.take(3, 11, AccessExclusive).unwrap();
    thread::scope(|scope| {
        let writer = scope.spawn(|| locks.take(2, 10, AccessExclusive));
        until(|| locks.is_waiting(2));
        let passing = scope.spawn(|| {
            locks.take(3, 10, AccessShare)?;
            locks.release_all(of(3));
            Ok::<_, TxnError>(())
        });
        // 3 has looked for deadlocks once when 1 closes the cycle, or will see it: either way.
        until(|| locks.is_waiting(3));
        locks.take(1, 11, AccessShare).unwrap();
        passing.join().unwrap().unwrap();
        locks.release_all(of(1));
        writer.join().unwrap().unwrap();
    });
    locks.release_all(of(2));
    assert!(locks.is_empty());
}

/// A small generator of reproducible choices (Marsaglia's xorshift).
struct Choices(u64);

impl Choices {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Many sessions take random locks and give them back. A model that knows only who believes to
/// hold what must never see two conflicting beliefs; and all sessions come to their end.
#[test]
fn random_sessions_agree_with_a_simple_model() {
    const SESSIONS: i32 = 8;
    const TRANSACTIONS: u32 = 150;
    for seed in [1u64, 0x5eed, 0xdead_10cc] {
        println!("seed {seed:#x}");
        let locks = manager(Duration::from_millis(2));
        let model: Mutex<StdHashMap<u32, Vec<(i32, LockMode)>>> = Mutex::default();
        let deadlocks = AtomicU64::new(0);
        thread::scope(|scope| {
            for process_id in 1..=SESSIONS {
                let (locks, model, deadlocks) = (&locks, &model, &deadlocks);
                scope.spawn(move || {
                    let mut choices = Choices(seed.wrapping_mul(0x9e37_79b9) + process_id as u64);
                    for _ in 0..TRANSACTIONS {
                        let token = running();
                        for _ in 0..choices.below(5) {
                            let relation = choices.below(4) as u32;
                            let mode = LockMode::ALL[choices.below(8) as usize];
                            let timeout =
                                (choices.below(4) == 0).then_some(Duration::from_micros(300));
                            let result = if choices.below(6) == 0 {
                                if !locks.try_acquire(of(process_id), tag(relation), mode) {
                                    continue;
                                }
                                Ok(())
                            } else {
                                locks.acquire(of(process_id), tag(relation), mode, timeout, &token)
                            };
                            match result {
                                Ok(()) => {
                                    let mut model = lock(model);
                                    let held = model.entry(relation).or_default();
                                    let conflict = held.iter().find(|(other, held)| {
                                        *other != process_id && held.conflicts_with(mode)
                                    });
                                    assert_eq!(conflict, None, "{process_id} got {mode}");
                                    held.push((process_id, mode));
                                }
                                Err(TxnError::LockTimeout) => {}
                                Err(TxnError::Deadlock { .. }) => {
                                    deadlocks.fetch_add(1, Ordering::Relaxed);
                                    break;
                                }
                                Err(error) => panic!("{error}"),
                            }
                            thread::yield_now();
                        }
                        for held in lock(model).values_mut() {
                            held.retain(|(holder, _)| *holder != process_id);
                        }
                        locks.release_all(of(process_id));
                    }
                });
            }
        });
        assert!(locks.is_empty());
        assert!(
            deadlocks.into_inner() > 0,
            "the scene is contended enough to deadlock"
        );
    }
}
