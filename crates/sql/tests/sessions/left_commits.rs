//! Calls that are left in the middle of their commit, by clients who do not call again: the commit takes
//! place all the same, and holds nobody up.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use futures::poll;
use tokio::runtime::{Builder, Runtime};
use trunkline_engine::{Background, Foundation};
use trunkline_harness::{Gate, OpenAtEnd};
use trunkline_sql::Prepared;

use crate::cluster::{Client, Cluster};

/// Long enough that nothing waits for it unless it must.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a client leaves its commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    /// In a call of `sync`, which commits implicitly.
    Sync,
    /// In COMMIT.
    Commit,
    /// In a call of `sync`, and ends its session.
    Session,
}

const LEAVING: [Leaving; 3] = [Leaving::Sync, Leaving::Commit, Leaving::Session];

fn on_gate(gate: &Arc<Gate>) -> Cluster {
    let foundation = Foundation {
        method: Some(Arc::clone(gate) as _),
        background: Background::Driven,
        ..Foundation::default()
    };
    Cluster::on(foundation, &[])
}

/// A table, and an INSERT of a row into it that runs where it is called.
async fn table(client: &mut Client) -> Arc<Prepared> {
    client.query("CREATE TABLE t (a int)").await;
    let sql = "INSERT INTO t VALUES (1)";
    let prepared = client.session.prepare(sql, &[]).await.unwrap();
    for _ in 0..2 {
        client.execute_text(&prepared, &[]).await.unwrap();
    }
    prepared
}

/// Inserts a row and leaves when its commit has come to its first wait. What is left of the client.
async fn leave(mut client: Client, insert: &Arc<Prepared>, leaving: Leaving) -> Option<Client> {
    if leaving == Leaving::Commit {
        client.query("BEGIN").await;
        let commit = client.session.prepare("COMMIT", &[]).await.unwrap();
        client.session.execute(insert, Vec::new()).await.unwrap();
        let call = client.session.execute(&commit, Vec::new());
        assert!(poll!(Box::pin(call)).is_pending());
    } else {
        client.session.execute(insert, Vec::new()).await.unwrap();
        assert!(poll!(Box::pin(client.session.sync())).is_pending());
    }
    (leaving != Leaving::Session).then_some(client)
}

async fn is_locked(client: &mut Client) -> bool {
    let locked = client.try_query("BEGIN; LOCK TABLE t NOWAIT").await;
    client.query("ROLLBACK").await;
    locked.is_err_and(|error| error.sqlstate == "55P03")
}

/// A checkpoint ends, the table can be locked, and has so many rows.
async fn assert_committed(other: &mut Client, rows: usize) {
    let after = async {
        other.query("CHECKPOINT").await;
        other.query("BEGIN; LOCK TABLE t; ROLLBACK").await;
        other.one("SELECT count(*) FROM t").await
    };
    let count = tokio::time::timeout(PATIENCE, after).await.unwrap();
    assert_eq!(count, rows.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_takes_place_without_anybodys_call() {
    for leaving in LEAVING {
        let gate = Arc::new(Gate::default());
        let _open = OpenAtEnd(Arc::clone(&gate));
        let cluster = on_gate(&gate);
        let (mut client, mut other) = (cluster.client(), cluster.client());
        let insert = table(&mut client).await;
        gate.close();
        let left = leave(client, &insert, leaving).await;
        assert!(gate.held() > 0, "{leaving:?}");
        assert!(is_locked(&mut other).await, "{leaving:?}");
        assert_eq!(other.one("SELECT count(*) FROM t").await, "2");
        gate.open();
        assert_committed(&mut other, 3).await;
        // The session that is left goes on.
        if let Some(mut client) = left {
            client.execute_text(&insert, &[]).await.unwrap();
            assert_eq!(client.one("SELECT count(*) FROM t").await, "4");
        }
    }
}

/// The next call has nothing to undo, and waits.
#[tokio::test(flavor = "multi_thread")]
async fn the_sessions_next_call_waits_for_it() {
    let gate = Arc::new(Gate::default());
    let _open = OpenAtEnd(Arc::clone(&gate));
    let cluster = on_gate(&gate);
    let mut client = cluster.client();
    let insert = table(&mut client).await;
    gate.close();
    let mut client = leave(client, &insert, Leaving::Sync).await.unwrap();
    // Calls that do not wait have nothing to tell yet.
    assert!(client.session.take_parameter_changes().is_empty());
    assert!(client.notices().is_empty());
    for _ in 0..2 {
        assert!(poll!(Box::pin(client.session.abort())).is_pending());
        assert!(poll!(Box::pin(client.session.sync())).is_pending());
    }
    let mut next = Box::pin(client.session.abort());
    assert!(poll!(&mut next).is_pending());
    gate.open();
    tokio::time::timeout(PATIENCE, next).await.unwrap();
    assert_eq!(client.one("SELECT count(*) FROM t").await, "3");
}

/// Nobody is there to be told that it is in doubt; the system stops.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_fails_stops_the_system() {
    for leaving in LEAVING {
        let gate = Arc::new(Gate::default());
        let _open = OpenAtEnd(Arc::clone(&gate));
        let cluster = on_gate(&gate);
        let (failed, failure) = mpsc::channel();
        let told = move |reason: &str| drop(failed.send(reason.to_owned()));
        cluster.database.on_failure(told);
        let (mut client, mut other) = (cluster.client(), cluster.client());
        let insert = table(&mut client).await;
        gate.close();
        let left = leave(client, &insert, leaving).await;
        const EIO: i32 = 5;
        gate.release_with(0, -EIO);
        failure.recv_timeout(PATIENCE).unwrap();
        assert_eq!(other.fails("SELECT 1").await.sqlstate, "57P02");
        if let Some(mut client) = left {
            assert_eq!(client.fails("SELECT 1").await.sqlstate, "57P02");
        }
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Whoever ends the I/O, and whether the client's runtime is still there or not.
#[test]
fn it_outlives_the_runtime_of_its_caller() {
    for method in ["io_uring", "worker", "posix_aio", "sync"] {
        for is_watched in [false, true] {
            let cluster = Cluster::with(&[("io_method", method)]);
            let callers = runtime();
            let mut clients: Vec<Client> = (0..4).map(|_| cluster.client()).collect();
            let left = callers.block_on(async {
                let _watch = is_watched.then(|| cluster.sql.watch_io().unwrap());
                let insert = table(&mut clients[0]).await;
                for client in &mut clients {
                    client.session.execute(&insert, Vec::new()).await.unwrap();
                }
                let mut left = Vec::new();
                for client in &mut clients {
                    let mut call = Box::pin(client.session.sync());
                    let _ = poll!(&mut call);
                    left.push(call);
                }
                left
            });
            drop(callers);
            drop(left);
            let others = runtime();
            others.block_on(assert_committed(&mut cluster.client(), 6));
            drop(clients);
            cluster.database.stop().unwrap();
        }
    }
}
