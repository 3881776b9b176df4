//! Sessions beside each other: locks, running scans, cancel.

use std::time::Duration;

use bytes::Bytes;
use trunkline_sql::outcome::Outcome;
use trunkline_txn::CancelReason;

use crate::cluster::{Cluster, read_rows};

const MANY_ROWS: &str = "CREATE TABLE t (a int, b text); \
    INSERT INTO t SELECT i, repeat('x', 200) FROM generate_series(1, 150000) AS i";

/// Long enough that nothing waits for it unless it must.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_running_scan_keeps_its_table() {
    let cluster = Cluster::new();
    let mut reader = cluster.client();
    reader.query(MANY_ROWS).await;
    let prepared = reader
        .session
        .prepare("SELECT a, b FROM t", &[])
        .await
        .unwrap();
    let Outcome::Rows(mut rows) = reader.session.execute(&prepared, Vec::new()).await.unwrap()
    else {
        panic!("no rows");
    };
    let first = rows.next().await.unwrap().unwrap();
    assert!(!first.is_empty());
    for command in ["DROP TABLE t", "TRUNCATE t"] {
        let mut writer = cluster.client();
        let (sqlstate, message) = writer
            .refused(&format!("SET lock_timeout = 50; {command}"))
            .await;
        assert_eq!(sqlstate, "55P03");
        assert_eq!(message, "canceling statement due to lock timeout");
    }
    // Its own session cannot pull it away either.
    let prepared = reader.session.prepare("DROP TABLE t", &[]).await.unwrap();
    let error = reader
        .session
        .execute(&prepared, Vec::new())
        .await
        .unwrap_err();
    assert_eq!(error.sqlstate, "55006");
    assert_eq!(
        error.message,
        "cannot DROP TABLE \"t\" because it is being used by active queries in this session"
    );
    // That aborted the transaction, which stops the scan: the stream ends, in one way or another.
    while let Some(Ok(_)) = rows.next().await {}
    drop(rows);
    let mut writer = cluster.client();
    writer.query("DROP TABLE t").await;
    assert_eq!(reader.fails("SELECT a FROM t").await.sqlstate, "42P01");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_drop_goes_on_when_the_scan_ends() {
    let cluster = Cluster::new();
    let mut reader = cluster.client();
    reader.query(MANY_ROWS).await;
    let prepared = reader
        .session
        .prepare("SELECT a FROM t", &[])
        .await
        .unwrap();
    let Outcome::Rows(rows) = reader.session.execute(&prepared, Vec::new()).await.unwrap() else {
        panic!("no rows");
    };
    let mut writer = cluster.client();
    let waiting = tokio::spawn(async move { writer.query("TRUNCATE t").await.tag });
    let answer = read_rows(&prepared, rows).await.unwrap();
    assert_eq!(answer.rows.len(), 150_000);
    reader.session.sync().await.unwrap();
    let tag = tokio::time::timeout(PATIENCE, waiting)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(tag, "TRUNCATE TABLE");
    assert_eq!(reader.one("SELECT count(*) FROM t").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_creates_one_wins() {
    let cluster = Cluster::new();
    let mut first = cluster.client();
    first.query("BEGIN; CREATE TABLE t (a int)").await;
    let mut second = cluster.client();
    let waiting = tokio::spawn(async move { second.try_query("CREATE TABLE t (b text)").await });
    // The other one waits for this transaction, whether it has begun to or not.
    first.query("COMMIT").await;
    let result = tokio::time::timeout(PATIENCE, waiting)
        .await
        .unwrap()
        .unwrap();
    let error = result.unwrap_err();
    assert_eq!(error.sqlstate, "42P07");

    let mut racers = Vec::new();
    for _ in 0..8 {
        let mut racer = cluster.client();
        racers.push(tokio::spawn(async move {
            racer.try_query("CREATE TABLE u (a int)").await
        }));
    }
    let mut made = 0;
    for racer in racers {
        match racer.await.unwrap() {
            Ok(_) => made += 1,
            Err(error) => assert_eq!(error.sqlstate, "42P07"),
        }
    }
    assert_eq!(made, 1);
    assert_eq!(
        first
            .one("SELECT count(*) FROM pg_class WHERE relname = 'u'")
            .await,
        "1"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn truncate_beside_scans_never_shows_half_a_table() {
    let cluster = Cluster::new();
    let mut writer = cluster.client();
    writer
        .query("CREATE TABLE t (a int); INSERT INTO t SELECT * FROM generate_series(1, 5000)")
        .await;
    let mut readers = Vec::new();
    for _ in 0..3 {
        let mut reader = cluster.client();
        readers.push(tokio::spawn(async move {
            for _ in 0..15 {
                let count = reader.one("SELECT count(*), count(a) FROM t").await;
                assert!(["0|0", "5000|5000"].contains(&count.as_str()), "{count}");
            }
        }));
    }
    for _ in 0..10 {
        writer
            .query(
                "BEGIN; TRUNCATE t; INSERT INTO t SELECT * FROM generate_series(1, 5000); COMMIT",
            )
            .await;
    }
    for reader in readers {
        reader.await.unwrap();
    }
}

const ENDLESS: &str = "SELECT count(*) FROM generate_series(1, 1000000) AS a, \
                       generate_series(1, 1000000) AS b";

#[tokio::test(flavor = "multi_thread")]
async fn statements_are_cancelled() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    let token = client.session.cancel_token();
    let prepared = client.session.prepare(ENDLESS, &[]).await.unwrap();
    let Outcome::Rows(mut rows) = client.session.execute(&prepared, Vec::new()).await.unwrap()
    else {
        panic!("no rows");
    };
    assert!(token.request(CancelReason::UserRequest));
    let error = tokio::time::timeout(PATIENCE, rows.next())
        .await
        .unwrap()
        .unwrap()
        .unwrap_err();
    assert_eq!(error.sqlstate, "57014");
    assert_eq!(error.message, "canceling statement due to user request");
    client.session.abort().await;

    let error = client
        .fails(&format!("SET statement_timeout = 30; {ENDLESS}"))
        .await;
    assert_eq!(
        error.message,
        "canceling statement due to statement timeout"
    );
    // The timeout was set in the same, aborted transaction.
    assert_eq!(client.one("SHOW statement_timeout").await, "0");
    client
        .query("CREATE TABLE t (a bigint); SET statement_timeout = 100")
        .await;
    let error = client.fails(&format!("INSERT INTO t {ENDLESS}")).await;
    assert_eq!(
        error.message,
        "canceling statement due to statement timeout"
    );

    // A lock that is waited for.
    client.query("SET statement_timeout = 0").await;
    client.query("BEGIN; LOCK TABLE t").await;
    let mut other = cluster.client();
    other.query("SET statement_timeout = 100").await;
    let error = other.fails("SELECT * FROM t").await;
    assert_eq!(
        error.message,
        "canceling statement due to statement timeout"
    );
    // A COPY that gets no data.
    client.query("COMMIT").await;
    let mut copy = other.start_copy_in("COPY t FROM STDIN").await;
    let error = tokio::time::timeout(PATIENCE, copy.failed()).await.unwrap();
    assert_eq!(
        error.message,
        "canceling statement due to statement timeout"
    );
    other.session.abort().await;
    other.query("SET statement_timeout = 0").await;
    assert_eq!(other.one("SELECT count(*) FROM t").await, "0");
}

/// Joins that look at ten thousand million pairs and have no row for any: a nested loop, a hash
/// join with one chain of equal keys, and a semi-join and an anti-join over such a chain.
const FRUITLESS_JOINS: [&str; 4] = [
    "SELECT count(*) FROM t a, t b WHERE a.b || b.b = 'x'",
    "SELECT count(*) FROM t a JOIN t b ON a.k = b.k WHERE a.a + b.a < 0",
    "SELECT count(*) FROM t a WHERE EXISTS (SELECT FROM t b WHERE a.k = b.k AND a.a + b.a < 0)",
    "SELECT count(*) FROM t a WHERE NOT EXISTS (SELECT FROM t b WHERE a.k = b.k)",
];

#[tokio::test(flavor = "multi_thread")]
async fn joins_without_rows_give_way_and_are_stopped() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    client
        .query(
            "CREATE TABLE t (a int, b text, k int); INSERT INTO t SELECT i, 'row ' || i, 7 \
             FROM generate_series(1, 100000) AS i",
        )
        .await;
    let mut running = Vec::new();
    for sql in FRUITLESS_JOINS {
        let mut session = cluster.client().session;
        let token = session.cancel_token();
        let prepared = session.prepare(sql, &[]).await.unwrap();
        let Outcome::Rows(rows) = session.execute(&prepared, Vec::new()).await.unwrap() else {
            panic!("no rows");
        };
        running.push((session, token, rows));
    }
    // They are more than the executor has threads. Other work goes on beside them, for longer
    // than they need to come to their pairs.
    for _ in 0..100 {
        let answer = tokio::time::timeout(PATIENCE, client.one("SELECT count(*) FROM t"));
        assert_eq!(answer.await.unwrap(), "100000");
    }
    for (mut session, token, mut rows) in running {
        assert!(token.request(CancelReason::UserRequest));
        let end = tokio::time::timeout(PATIENCE, rows.next()).await.unwrap();
        assert_eq!(end.unwrap().unwrap_err().sqlstate, "57014");
        session.abort().await;
    }
    // Their tasks end too, and give back what the joins had collected.
    let ended = async {
        while cluster.sql.query_memory_in_use_bytes() > 0 {
            client.one("SELECT 1").await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
    // Here this session's own thread is in the middle of the join.
    client.query("SET statement_timeout = 500").await;
    for sql in FRUITLESS_JOINS {
        let sql = format!("INSERT INTO t (a) {sql}");
        let error = tokio::time::timeout(PATIENCE, client.fails(&sql)).await;
        assert_eq!(
            error.unwrap().message,
            "canceling statement due to statement timeout"
        );
    }
    client.query("DROP TABLE t").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_stream_stops_its_query() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    client.query(MANY_ROWS).await;
    for sql in [ENDLESS, "SELECT a, b FROM t"] {
        let prepared = client.session.prepare(sql, &[]).await.unwrap();
        let outcome = client.session.execute(&prepared, Vec::new()).await.unwrap();
        drop(outcome);
        client.session.sync().await.unwrap();
    }
    client.query("DROP TABLE t").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vanished_copy_client_leaves_nothing() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    client.query("CREATE TABLE t (a int)").await;
    let mut other = cluster.client();
    let mut copy = other.start_copy_in("COPY t FROM STDIN").await;
    copy.write(Bytes::from_static(b"1\n2\n")).await.unwrap();
    drop(copy);
    drop(other);
    client.query("BEGIN; LOCK TABLE t").await;
    assert_eq!(client.one("SELECT count(*) FROM t").await, "0");
    client.query("COMMIT").await;

    let mut other = cluster.client();
    let mut copy = other.start_copy_in("COPY t FROM STDIN").await;
    copy.write(Bytes::from_static(b"1\n")).await.unwrap();
    let error = copy.fail_by_client("had enough").await;
    assert_eq!(error.message, "COPY from stdin failed: had enough");
    other.session.abort().await;
    assert_eq!(other.one("SELECT count(*) FROM t").await, "0");
}
