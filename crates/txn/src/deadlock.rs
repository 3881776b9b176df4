//! Finding cycles of waiting processes, and breaking those that queue order alone causes.
//!
//! The algorithm is `storage/lmgr/deadlock.c`'s. A waiter has *hard* edges to the processes that
//! hold what excludes it and *soft* edges to the waiters ahead of it whose requests exclude its
//! own. A cycle of hard edges only is a deadlock. One with soft edges may be broken by letting a
//! waiter pass the one it waits behind; reversed soft edges are tried one after another, each
//! trial reordering the queues topologically, until no cycle is left or none can be reversed.
//!
//! It works on a copy of the waits, made while nothing changes, and only proposes: queue orders
//! to set, or the cycle to report.

use std::collections::HashMap;
use std::fmt::Write;

use crate::lock_mode::{LockMask, LockMode};
use crate::lock_tag::LockTag;

/// Trials of reversed soft edges before a cycle counts as a deadlock: the search is exponential in
/// the worst case, and everything waits while it runs.
const TRIALS_MAX: u32 = 1000;

/// A lock that somebody waits for.
#[derive(Debug)]
pub(crate) struct GraphLock {
    pub tag: LockTag,
    /// Processes and the modes that they hold.
    pub holders: Vec<(i32, LockMask)>,
    pub queue: Vec<GraphWait>,
}

/// A place in a lock's queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct GraphWait {
    pub id: u64,
    pub process_id: i32,
    pub mode: LockMode,
}

/// One process of a cycle, and the lock it waits for.
pub(crate) type CycleMember = (i32, LockMode, LockTag);

#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    NoDeadlock,
    /// Queue these locks' waiters in this order, by id.
    Reorder(Vec<(LockTag, Vec<u64>)>),
    /// The cycle, from the process that asked on.
    Deadlock(Vec<CycleMember>),
}

#[derive(Debug)]
pub(crate) struct WaitGraph {
    locks: Vec<GraphLock>,
    /// For each process: the locks it waits for, and its place in their queues.
    waits: HashMap<i32, Vec<(usize, GraphWait)>>,
}

/// A waiter that waits only because another is ahead of it in the queue of `lock`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct SoftEdge {
    lock: usize,
    waiter: GraphWait,
    blocker: GraphWait,
}

/// Queue orders tried instead of the real ones, by lock.
type Orders = HashMap<usize, Vec<GraphWait>>;

#[derive(Default)]
struct Search {
    visited: Vec<i32>,
    members: Vec<CycleMember>,
    soft_edges: Vec<SoftEdge>,
}

/// PostgreSQL's DETAIL of a deadlock (`DeadLockReport`).
pub(crate) fn describe_cycle(cycle: &[CycleMember]) -> String {
    let mut detail = String::new();
    for (index, (process_id, mode, tag)) in cycle.iter().enumerate() {
        if index > 0 {
            detail.push('\n');
        }
        let blocker = cycle[(index + 1) % cycle.len()].0;
        // Writing to a String cannot fail.
        let _ = write!(
            detail,
            "Process {process_id} waits for {mode} on {tag}; blocked by process {blocker}."
        );
    }
    detail
}

impl WaitGraph {
    pub fn new(locks: Vec<GraphLock>) -> WaitGraph {
        let mut waits: HashMap<i32, Vec<(usize, GraphWait)>> = HashMap::new();
        for (index, lock) in locks.iter().enumerate() {
            for wait in &lock.queue {
                waits
                    .entry(wait.process_id)
                    .or_default()
                    .push((index, *wait));
            }
        }
        WaitGraph { locks, waits }
    }

    /// Whether `start` waits in a cycle, and what to do about it (`DeadLockCheck`).
    pub fn check(&self, start: i32) -> Verdict {
        let mut constraints = Vec::new();
        let mut trials = 0;
        match self.solve(start, &mut constraints, &mut trials) {
            Some(orders) if orders.is_empty() => Verdict::NoDeadlock,
            Some(orders) => Verdict::Reorder(
                orders
                    .into_iter()
                    .map(|(lock, order)| {
                        (
                            self.locks[lock].tag,
                            order.iter().map(|wait| wait.id).collect(),
                        )
                    })
                    .collect(),
            ),
            // Report the cycle as it is, not as the last trial had it.
            None => match self.find_cycle(start, &Orders::new()) {
                Some(search) => Verdict::Deadlock(search.members),
                None => Verdict::NoDeadlock,
            },
        }
    }

    /// `DeadLockCheckRecurse`: orders under which `start` is in no cycle, given that each
    /// constraint's waiter goes before its blocker.
    fn solve(
        &self,
        start: i32,
        constraints: &mut Vec<SoftEdge>,
        trials: &mut u32,
    ) -> Option<Orders> {
        *trials += 1;
        if *trials > TRIALS_MAX {
            return None;
        }
        let orders = self.expand(constraints)?;
        // The constraints' ends may be in cycles of their own now (`TestConfiguration`).
        let mut soft_edges = Vec::new();
        let ends = constraints
            .iter()
            .flat_map(|edge| [edge.waiter.process_id, edge.blocker.process_id])
            .chain([start]);
        for process_id in ends {
            if let Some(search) = self.find_cycle(process_id, &orders) {
                if search.soft_edges.is_empty() {
                    return None;
                }
                soft_edges = search.soft_edges;
            }
        }
        if soft_edges.is_empty() {
            return Some(orders);
        }
        for edge in soft_edges {
            constraints.push(edge);
            let solution = self.solve(start, constraints, trials);
            if solution.is_some() {
                return solution;
            }
            constraints.pop();
        }
        None
    }

    /// `ExpandConstraints` and `TopoSort`: an order for each queue that a constraint names. It
    /// keeps the queue's order where no constraint speaks against it.
    fn expand(&self, constraints: &[SoftEdge]) -> Option<Orders> {
        let mut orders = Orders::new();
        for lock in constraints.iter().map(|edge| edge.lock) {
            if orders.contains_key(&lock) {
                continue;
            }
            let mut left = self.locks[lock].queue.clone();
            let mut open: Vec<&SoftEdge> = constraints
                .iter()
                .filter(|edge| edge.lock == lock)
                .collect();
            let mut reversed = Vec::with_capacity(left.len());
            while !left.is_empty() {
                // The last one that need not stand before somebody still to be placed.
                let at = left
                    .iter()
                    .rposition(|wait| !open.iter().any(|edge| edge.waiter.id == wait.id))?;
                let wait = left.remove(at);
                open.retain(|edge| edge.blocker.id != wait.id);
                reversed.push(wait);
            }
            reversed.reverse();
            orders.insert(lock, reversed);
        }
        Some(orders)
    }

    /// A cycle through `start`, with the soft edges in it (`FindLockCycle`).
    fn find_cycle(&self, start: i32, orders: &Orders) -> Option<Search> {
        let mut search = Search::default();
        self.follow(start, orders, &mut search).then(|| {
            search.members.reverse();
            search
        })
    }

    fn follow(&self, process_id: i32, orders: &Orders, search: &mut Search) -> bool {
        if search.visited.contains(&process_id) {
            return search.visited[0] == process_id;
        }
        search.visited.push(process_id);
        let waits = self.waits.get(&process_id).map_or(&[][..], Vec::as_slice);
        for (lock_index, wait) in waits {
            let lock = &self.locks[*lock_index];
            let conflicts = wait.mode.conflicts();
            let member = (process_id, wait.mode, lock.tag);
            for (holder, mask) in &lock.holders {
                if *holder != process_id
                    && mask & conflicts != 0
                    && self.follow(*holder, orders, search)
                {
                    search.members.push(member);
                    return true;
                }
            }
            let queue = orders.get(lock_index).unwrap_or(&lock.queue);
            for ahead in queue.iter().take_while(|other| other.id != wait.id) {
                if ahead.process_id != process_id
                    && ahead.mode.bit() & conflicts != 0
                    && self.follow(ahead.process_id, orders, search)
                {
                    search.members.push(member);
                    search.soft_edges.push(SoftEdge {
                        lock: *lock_index,
                        waiter: *wait,
                        blocker: *ahead,
                    });
                    return true;
                }
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trunkline_pgformat::Oid;

    fn tag(relation: u32) -> LockTag {
        LockTag::Relation {
            database: Oid(5),
            relation: Oid(relation),
        }
    }

    fn wait(id: u64, process_id: i32, mode: LockMode) -> GraphWait {
        GraphWait {
            id,
            process_id,
            mode,
        }
    }

    fn on(relation: u32, holders: &[(i32, LockMode)], queue: &[GraphWait]) -> GraphLock {
        GraphLock {
            tag: tag(relation),
            holders: holders
                .iter()
                .map(|(pid, mode)| (*pid, mode.bit()))
                .collect(),
            queue: queue.to_vec(),
        }
    }

    use LockMode::{AccessExclusive, AccessShare, Exclusive, RowExclusive, Share};

    /// The text that PostgreSQL 18 gives for this scene (two tables locked crosswise).
    #[test]
    fn a_hard_cycle_is_reported_from_the_asking_process() {
        let graph = WaitGraph::new(vec![
            on(16388, &[(24448, Share)], &[wait(2, 24450, Exclusive)]),
            on(
                16391,
                &[(24450, RowExclusive)],
                &[wait(1, 24448, AccessExclusive)],
            ),
        ]);
        let Verdict::Deadlock(cycle) = graph.check(24450) else {
            panic!("no deadlock found")
        };
        assert_eq!(
            describe_cycle(&cycle),
            "Process 24450 waits for ExclusiveLock on relation 16388 of database 5; blocked by \
             process 24448.\n\
             Process 24448 waits for AccessExclusiveLock on relation 16391 of database 5; blocked \
             by process 24450."
        );
    }

    #[test]
    fn waiting_without_a_cycle_is_no_deadlock() {
        let graph = WaitGraph::new(vec![
            on(
                1,
                &[(1, Share)],
                &[wait(1, 2, Exclusive), wait(2, 3, Exclusive)],
            ),
            on(2, &[(2, Share)], &[wait(3, 4, Exclusive)]),
        ]);
        for process_id in 1..=4 {
            assert_eq!(graph.check(process_id), Verdict::NoDeadlock);
        }
    }

    /// 1 holds AccessShare on A, so 2's AccessExclusive waits; 3, who holds B, wants AccessShare
    /// on A and waits only behind 2; 1 wants B. Letting 3 pass 2 resolves it.
    #[test]
    fn a_soft_cycle_is_broken_by_passing() {
        let graph = WaitGraph::new(vec![
            on(
                10,
                &[(1, AccessShare)],
                &[wait(1, 2, AccessExclusive), wait(2, 3, AccessShare)],
            ),
            on(11, &[(3, AccessExclusive)], &[wait(3, 1, AccessShare)]),
        ]);
        assert_eq!(
            graph.check(1),
            Verdict::Reorder(vec![(tag(10), vec![2, 1])])
        );
        assert_eq!(
            graph.check(3),
            Verdict::Reorder(vec![(tag(10), vec![2, 1])])
        );
    }

    /// As above, but 3 also waits for what 2 holds: passing would not help.
    #[test]
    fn a_soft_edge_that_is_hard_as_well_cannot_be_reversed() {
        let graph = WaitGraph::new(vec![
            on(
                10,
                &[(1, AccessShare), (2, Exclusive)],
                &[wait(1, 2, AccessExclusive), wait(2, 3, RowExclusive)],
            ),
            on(11, &[(3, AccessExclusive)], &[wait(3, 1, AccessShare)]),
        ]);
        assert!(matches!(graph.check(1), Verdict::Deadlock(cycle) if cycle.len() == 3));
    }

    #[test]
    fn a_sort_keeps_the_order_of_those_it_need_not_move() {
        let queue: Vec<GraphWait> = (0..5).map(|n| wait(n, n as i32, Exclusive)).collect();
        let graph = WaitGraph::new(vec![on(1, &[], &queue)]);
        let edge = |waiter: usize, blocker: usize| SoftEdge {
            lock: 0,
            waiter: queue[waiter],
            blocker: queue[blocker],
        };
        let ids = |constraints: &[SoftEdge]| {
            let orders = graph.expand(constraints)?;
            Some(orders[&0].iter().map(|wait| wait.id).collect::<Vec<_>>())
        };
        assert_eq!(ids(&[edge(3, 1)]), Some(vec![0, 3, 1, 2, 4]));
        assert_eq!(ids(&[edge(3, 1), edge(1, 3)]), None);
    }
}
