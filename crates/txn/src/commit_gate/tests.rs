use super::*;

#[cfg(not(trunkline_loom))]
mod one_thread {
    use super::*;

    #[test]
    fn waits_for_those_inside_and_not_for_later_ones() {
        let gate = CommitGate::new();
        let first = gate.enter();
        let second = gate.enter();
        let draining = gate.begin_wait();
        let later = gate.enter();
        gate.leave(first);
        assert_eq!(gate.advance(draining), Draining::Epoch(0));
        gate.leave(second);
        assert_eq!(gate.advance(draining), Draining::Done);
        gate.end_wait();
        // The next one finds the later one, which is in the next epoch.
        let draining = gate.begin_wait();
        assert_eq!(draining, Draining::Epoch(1));
        gate.leave(later);
        assert_eq!(gate.wait(draining), Draining::Done);
        gate.end_wait();
    }

    /// Those whom a wait that was given up leaves in its epoch are waited for by the next one.
    #[test]
    fn a_wait_that_was_given_up_hides_nobody() {
        let gate = CommitGate::new();
        let old = gate.enter();
        assert_eq!(gate.begin_wait(), Draining::Epoch(0));
        gate.end_wait();
        let new = gate.enter();
        let draining = gate.begin_wait();
        assert_eq!(draining, Draining::Older);
        gate.leave(new);
        assert_eq!(gate.advance(draining), Draining::Older);
        gate.leave(old);
        assert_eq!(gate.advance(draining), Draining::Done);
        gate.end_wait();
        assert_eq!(gate.begin_wait(), Draining::Done);
    }

    #[test]
    #[should_panic(expected = "two checkpoints at once")]
    fn there_is_one_checkpoint_at_a_time() {
        let gate = CommitGate::new();
        gate.begin_wait();
        gate.begin_wait();
    }
}

/// In every order that a few threads can take. A wake-up that is lost shows as loom's "deadlock".
#[cfg(trunkline_loom)]
mod loom_orders {
    use std::sync::Arc;

    use loom::sync::atomic::{AtomicBool, Ordering::Relaxed};
    use loom::thread;

    use super::*;

    fn in_every_order(preemptions: usize, body: impl Fn() + Sync + Send + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(preemptions);
        builder.check(body);
    }

    /// What the log and `pg_xact` are to the gate: which commits have their record before the redo
    /// point, by a lock; and whether a commit has its entry, without any.
    struct Log {
        gate: CommitGate,
        records: Mutex<Vec<usize>>,
        entries: [AtomicBool; 2],
    }

    impl Log {
        fn new() -> Arc<Log> {
            Arc::new(Log {
                gate: CommitGate::new(),
                records: Mutex::new(Vec::new()),
                entries: [AtomicBool::new(false), AtomicBool::new(false)],
            })
        }

        fn commit(&self, number: usize) {
            let inside = self.gate.enter();
            lock_modelled(&self.records).push(number);
            self.entries[number].store(true, Relaxed);
            self.gate.leave(inside);
        }

        fn checkpoint(&self) {
            let before_redo_point = lock_modelled(&self.records).clone();
            let draining = self.gate.begin_wait();
            assert_eq!(self.gate.wait(draining), Draining::Done);
            self.gate.end_wait();
            for number in before_redo_point {
                assert!(
                    self.entries[number].load(Relaxed),
                    "a record before the redo point has no entry"
                );
            }
        }
    }

    #[test]
    fn loom_a_checkpoint_misses_no_commit() {
        in_every_order(2, || {
            let log = Log::new();
            let commits: Vec<_> = (0..2)
                .map(|number| {
                    let log = Arc::clone(&log);
                    thread::spawn(move || log.commit(number))
                })
                .collect();
            log.checkpoint();
            for commit in commits {
                commit.join().unwrap();
            }
        });
    }

    /// The second checkpoint meets a commit that entered while the first one changed the epoch.
    #[test]
    fn loom_two_checkpoints_miss_no_commit() {
        in_every_order(4, || {
            let log = Log::new();
            let commit = {
                let log = Arc::clone(&log);
                thread::spawn(move || log.commit(0))
            };
            log.checkpoint();
            log.checkpoint();
            commit.join().unwrap();
        });
    }
}
