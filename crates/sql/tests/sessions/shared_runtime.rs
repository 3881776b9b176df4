//! Sessions whose calls share one thread: none of them waits there for what another one has to end.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use futures::poll;
use tokio::runtime::Builder;
use trunkline_sql::Prepared;
use trunkline_sql::outcome::{Outcome, RowStream};

use crate::cluster::{Client, Cluster, read_rows};

/// Long enough that nothing waits for it unless it must.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs `work` on a runtime of one thread; fails if that thread comes to wait for itself.
fn on_one_thread(work: impl Future<Output = ()> + Send + 'static) {
    let (ended, end) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(work);
        ended.send(()).unwrap();
    });
    match end.recv_timeout(PATIENCE) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("a call waits for its own thread"),
        Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => thread.join().unwrap(),
    }
}

/// Until so many sessions wait for a lock.
async fn until_waiting(observer: &mut Client, sessions: usize) {
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted";
    while observer.one(waiting).await != sessions.to_string() {}
}

/// Rows of the query in [`calling`] whose function has a NULL for its argument, so that it is not called:
/// more than are computed before they are wanted.
const ROWS_WITHOUT_CALL: usize = 100_000;

/// A client in a transaction block whose query is calling a function, which waits for a lock that `owner`
/// has. Gives the query, and the rest of its rows.
async fn calling(client: &mut Client, owner: &mut Client) -> (Arc<Prepared>, RowStream) {
    client.query("CREATE TABLE t (a int)").await;
    // By its number: a name is looked up under a lock.
    let oid = client.one("SELECT 't'::regclass::oid").await;
    client.query("BEGIN").await;
    let sql = format!(
        "SELECT pg_relation_size(CASE WHEN g > {ROWS_WITHOUT_CALL} THEN {oid} END) \
         FROM generate_series(1, {ROWS_WITHOUT_CALL} + 3) AS g"
    );
    let sizes = client.session.prepare(&sql, &[]).await.unwrap();
    owner.query("BEGIN; LOCK TABLE t").await;
    let mut rows = match client.session.execute(&sizes, Vec::new()).await {
        Ok(Outcome::Rows(rows)) => rows,
        other => panic!("{other:?}"),
    };
    let mut read = 0;
    while read < ROWS_WITHOUT_CALL * 9 / 10 {
        read += rows.next().await.unwrap().unwrap().len();
    }
    until_waiting(owner, 1).await;
    (sizes, rows)
}

/// A query that is read by and by calls functions meanwhile, which use the session, and may wait for a lock
/// with it. Whatever its client says next, the lock's owner is heard too.
#[test]
fn a_function_that_waits_for_a_lock_holds_up_its_own_session_only() {
    for next in ["", "INSERT INTO u VALUES (1)", "BEGIN", "COMMIT"] {
        on_one_thread(async move {
            let cluster = Cluster::new();
            let (mut client, mut owner) = (cluster.client(), cluster.client());
            client.query("CREATE TABLE u (a int)").await;
            let statement = client.session.prepare(next, &[]).await.unwrap();
            for _ in 0..2 {
                // From here on it runs where it is called, if it does so at all.
                if !next.is_empty() {
                    client.execute_text(&statement, &[]).await.unwrap();
                }
            }
            client.query("ROLLBACK").await;
            let (sizes, rows) = calling(&mut client, &mut owner).await;
            // It has nothing to tell, and tells so at once.
            assert!(client.session.take_parameter_changes().is_empty());
            let session = &mut client.session;
            let mut call = Box::pin(async {
                if next.is_empty() {
                    return session.sync().await;
                }
                session.execute(&statement, Vec::new()).await.map(drop)
            });
            assert!(poll!(&mut call).is_pending(), "{next}");
            owner.query("COMMIT").await;
            call.await.unwrap();
            let read = read_rows(&sizes, rows).await;
            if next != "COMMIT" {
                let rows = read.unwrap().rows;
                assert!(rows.ends_with(&vec![vec![Some("0".to_owned())]; 3]));
            }
            client.query("ROLLBACK").await;
        });
    }
}

#[test]
fn a_session_that_ends_waits_for_no_lock_any_more() {
    on_one_thread(async {
        let cluster = Cluster::new();
        let (mut client, mut owner) = (cluster.client(), cluster.client());
        let (_, rows) = calling(&mut client, &mut owner).await;
        drop(client);
        until_waiting(&mut owner, 0).await;
        drop(rows);
        owner.query("COMMIT").await;
    });
}
