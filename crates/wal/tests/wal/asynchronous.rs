//! Waiting for the log without a thread: whose log is durable is woken, and of the others those who can go
//! on (W2 to W4, W7).

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use trunkline_aio::Aio;
use trunkline_wal::{FlushFuture, SyncMethod, Wal, WalConfig, WalError};

use crate::gated::{Gated, gated};
use crate::support::{
    Cluster, config, for_each_method, for_each_sync_method, insert, within_limit,
};

/// Wakes a thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Counts how often it is woken.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// A flush that the test polls.
struct Task {
    future: Pin<Box<FlushFuture>>,
    woken: Arc<Count>,
}

impl Task {
    fn poll(&mut self) -> Poll<Result<(), WalError>> {
        let waker = Waker::from(Arc::clone(&self.woken));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    fn woken(&self) -> usize {
        self.woken.0.load(SeqCst)
    }
}

impl Gated {
    /// Inserts a record and begins to flush it.
    fn commit(&mut self, id: u64) -> Task {
        let lsn = self.cluster.insert(id, 100).end;
        let io = self.cluster.aio.issuer(2).unwrap();
        let mut task = Task {
            future: Box::pin(self.cluster.wal.flush_async(io, lsn)),
            woken: Arc::default(),
        };
        assert!(task.poll().is_pending());
        task
    }
}

#[test]
fn many_tasks_commit_and_each_is_durable_when_it_ends() {
    const TASKS: u64 = 16;
    const COMMITS: u64 = 40;
    for_each_method(|aio, directory| {
        for_each_sync_method(|wal_sync_method| {
            let directory = directory.join(wal_sync_method.name());
            std::fs::create_dir(&directory).unwrap();
            let config = WalConfig {
                wal_sync_method,
                ..config(&directory)
            };
            let mut cluster = Cluster::on_disk(aio, config);
            let wal = Arc::clone(&cluster.wal);
            within_limit({
                let aio = Arc::clone(aio);
                move || {
                    thread::scope(|scope| {
                        for task in 0..TASKS {
                            let (wal, aio): (&Arc<Wal>, &Arc<Aio>) = (&wal, &aio);
                            scope.spawn(move || {
                                block_on(async {
                                    for commit in 0..COMMITS {
                                        let mut io = aio.issuer(1).unwrap();
                                        let id = 1 + task * COMMITS + commit;
                                        let lsn = insert(wal, &mut io, id, 200).unwrap().end;
                                        wal.flush_async(io, lsn).await.unwrap();
                                        assert!(wal.durable_lsn() >= lsn);
                                    }
                                });
                            });
                        }
                    });
                }
            });
            assert_eq!(cluster.read_back().len() as u64, TASKS * COMMITS);
            assert!(cluster.wal.stats().writes <= TASKS * COMMITS);
        });
    });
}

/// Who started the write may have gone on with something else: the task's wait completes it.
#[test]
fn a_write_that_somebody_else_started_and_left_is_completed() {
    for_each_method(|aio, directory| {
        for_each_sync_method(|wal_sync_method| {
            let directory = directory.join(wal_sync_method.name());
            std::fs::create_dir(&directory).unwrap();
            let config = WalConfig {
                wal_sync_method,
                ..config(&directory)
            };
            let mut cluster = Cluster::on_disk(aio, config);
            for id in 1..20 {
                let end = cluster.insert(id, 200).end;
                let Cluster { wal, io, .. } = &mut cluster;
                wal.start_flush(io, end).unwrap();
                let flush = wal.flush_async(aio.issuer(2).unwrap(), end);
                within_limit(|| block_on(flush)).unwrap();
                assert!(cluster.wal.durable_lsn() >= end);
            }
        });
    });
}

/// The same when the write is started after the task has come, by a thread that goes on.
#[test]
fn a_write_that_is_started_for_a_task_by_somebody_else_is_completed() {
    for_each_method(|aio, directory| {
        let mut cluster = Cluster::on_disk(aio, config(directory));
        for id in 1..20 {
            let first = cluster.insert(2 * id, 200).end;
            let Cluster { wal, io, .. } = &mut cluster;
            // Holds the unit, so that the task cannot start a write of its own at once.
            wal.start_flush(io, first).unwrap();
            let second = cluster.insert(2 * id + 1, 200).end;
            let Cluster { wal, io, .. } = &mut cluster;
            let mut flush = Box::pin(wal.flush_async(aio.issuer(2).unwrap(), second));
            let waker = Waker::from(Arc::new(Count::default()));
            let _ = flush.as_mut().poll(&mut Context::from_waker(&waker));
            io.wait_all();
            wal.start_flush(io, second).unwrap();
            within_limit(|| block_on(flush)).unwrap();
        }
    });
}

/// While a write of the unit is in flight, those that come later wait; when it ends, one of them starts the
/// write for all, and nobody else is woken before that is complete.
#[test]
fn those_who_come_while_a_write_is_in_flight_go_together() {
    let mut it = gated(|config| config.io_wal_pad_partial = false);
    let mut first = it.commit(1);
    let mut later: Vec<Task> = (2..6).map(|id| it.commit(id)).collect();
    assert_eq!(it.gate.held(), 1);
    it.gate.release(0);
    assert!(matches!(first.poll(), Poll::Ready(Ok(()))));
    let woken: Vec<usize> = later.iter().map(Task::woken).collect();
    assert_eq!(woken.iter().sum::<usize>(), 1, "{woken:?}");
    let starter = woken.iter().position(|count| *count == 1).unwrap();
    assert!(later[starter].poll().is_pending());
    assert_eq!(it.gate.held(), 1);
    it.gate.release(0);
    for task in &mut later {
        assert!(matches!(task.poll(), Poll::Ready(Ok(()))));
        assert!(task.woken() > 0);
    }
    assert_eq!(it.cluster.wal.stats().writes, 2);
}

/// With a sync behind the write, whose log is written is woken to start it.
#[test]
fn a_written_log_is_synced_by_one_who_waits() {
    let mut it = gated(|config| config.wal_sync_method = SyncMethod::Fdatasync);
    let mut task = it.commit(1);
    it.gate.release(0);
    assert_eq!(task.woken(), 1);
    assert!(task.poll().is_pending());
    assert_eq!(it.gate.held(), 1);
    it.gate.release(0);
    assert_eq!(task.woken(), 2);
    assert!(matches!(task.poll(), Poll::Ready(Ok(()))));
}

#[test]
fn who_was_to_start_a_write_and_goes_away_leaves_it_to_another() {
    let mut it = gated(|config| config.io_wal_pad_partial = false);
    let mut first = it.commit(1);
    let mut later: Vec<Option<Task>> = (2..4).map(|id| Some(it.commit(id))).collect();
    it.gate.release(0);
    assert!(first.poll().is_ready());
    let chosen = later
        .iter()
        .position(|task| task.as_ref().is_some_and(|task| task.woken() == 1))
        .unwrap();
    drop(later[chosen].take());
    let mut other = later.into_iter().flatten().next().unwrap();
    assert_eq!(other.woken(), 1);
    assert!(other.poll().is_pending());
    it.gate.release(0);
    assert!(matches!(other.poll(), Poll::Ready(Ok(()))));
}

#[test]
fn a_failed_write_wakes_everybody_with_an_error() {
    let mut it = gated(|config| config.io_wal_pad_partial = false);
    let mut tasks: Vec<Task> = (1..4).map(|id| it.commit(id)).collect();
    it.gate.release_with(0, -libc::EIO);
    for task in &mut tasks {
        assert!(task.woken() > 0);
        assert!(matches!(task.poll(), Poll::Ready(Err(WalError::Failed(_)))));
    }
    let end = it.cluster.wal.insert_lsn();
    let io = it.cluster.aio.issuer(2).unwrap();
    let flush = it.cluster.wal.flush_async(io, end);
    assert!(matches!(block_on(flush), Err(WalError::Failed(_))));
}
