//! INSERTs that keep their plans, and commits that wait as tasks: they mean what they would mean if they
//! were planned and committed anew.

use std::time::Duration;

use trunkline_sql::Prepared;
use trunkline_txn::CancelReason;

use crate::cluster::{Client, Cluster};

/// Long enough that nothing waits for it unless it must.
const PATIENCE: Duration = Duration::from_secs(60);

async fn prepare(client: &mut Client, sql: &str) -> std::sync::Arc<Prepared> {
    let prepared = client.session.prepare(sql, &[]).await.unwrap();
    client.session.sync().await.unwrap();
    prepared
}

async fn insert(client: &mut Client, prepared: &std::sync::Arc<Prepared>, values: &[Option<&str>]) {
    let answer = client.execute_text(prepared, values).await.unwrap();
    assert_eq!(answer.tag, "INSERT 0 1");
}

async fn rows(client: &mut Client, query: &str) -> Vec<String> {
    let answer = client.query(query).await;
    let shown = |row: Vec<Option<String>>| {
        let values = row.into_iter().map(|value| value.unwrap_or("null".into()));
        values.collect::<Vec<_>>().join(",")
    };
    answer.rows.into_iter().map(shown).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_what_a_plan_of_their_own_would_make_of_them() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    client
        .query(
            "CREATE TABLE t (a int, b text NOT NULL, c numeric(6,2), d date, e text DEFAULT 'dflt', \
             f varchar(3), g boolean)",
        )
        .await;
    for (sql, values, expected) in [
        (
            "INSERT INTO t (b, a, e) VALUES ($1, $2, 'it''s')",
            vec![Some("x"), Some("-3")],
            "-3,x,null,null,it's,null,null",
        ),
        // A default, a typmod, and a constant whose meaning depends on a setting take a query.
        (
            "INSERT INTO t (a, b) VALUES ($1, 'y')",
            vec![None],
            "null,y,null,null,dflt,null,null",
        ),
        (
            "INSERT INTO t (a, b, c, e) VALUES (1, 'z', $1, NULL)",
            vec![Some("1.239")],
            "1,z,1.24,null,null,null,null",
        ),
        (
            "INSERT INTO t VALUES (-2, 'w', 1.239, '01/02/2024', 'e', 'abc', true)",
            vec![],
            "-2,w,1.24,2024-01-02,e,abc,t",
        ),
        (
            "INSERT INTO t VALUES ($1, 'v', -5, $2, 'e', NULL, $3)",
            vec![Some("5"), Some("2024-03-04"), Some("off")],
            "5,v,-5.00,2024-03-04,e,null,f",
        ),
    ] {
        let prepared = prepare(&mut client, sql).await;
        for _ in 0..3 {
            client.query("TRUNCATE t").await;
            insert(&mut client, &prepared, &values).await;
            insert(&mut client, &prepared, &values).await;
            assert_eq!(
                rows(&mut client, "SELECT * FROM t").await,
                [expected; 2],
                "{sql}"
            );
        }
    }
    let several = prepare(
        &mut client,
        "INSERT INTO t (a, b) VALUES ($1, 'p'), ($2, 'q'), (3, $3)",
    )
    .await;
    client.query("TRUNCATE t").await;
    for _ in 0..2 {
        let values = [Some("1"), Some("2"), Some("r")];
        let answer = client.execute_text(&several, &values).await.unwrap();
        assert_eq!(answer.tag, "INSERT 0 3");
    }
    assert_eq!(
        rows(&mut client, "SELECT sum(a), count(*) FROM t").await,
        ["12,6"]
    );
}

/// Constants are taken as they stand in the statement, not as they would be written out again.
#[tokio::test(flavor = "multi_thread")]
async fn quotes_in_constants_stay_what_they_are() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    client.query("CREATE TABLE t (a text, b int)").await;
    for (constant, value) in [
        ("'a''''b'", "a''b"),
        ("''''''", "''"),
        (r"'it\''s'", r"it\'s"),
        (r"'a\\b\nc'", r"a\\b\nc"),
        ("'''x'''", "'x'"),
    ] {
        let sql = format!("INSERT INTO t VALUES ({constant}, $1)");
        let prepared = prepare(&mut client, &sql).await;
        for _ in 0..3 {
            insert(&mut client, &prepared, &[Some("1")]).await;
        }
        assert_eq!(
            rows(&mut client, "SELECT a FROM t").await,
            [value; 3],
            "{sql}"
        );
        client.query("TRUNCATE t").await;
        client.query("PREPARE q (text) AS SELECT $1").await;
        let executed = rows(&mut client, &format!("EXECUTE q({constant})")).await;
        assert_eq!(executed, [value], "{constant}");
        client.query("DEALLOCATE q").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_values_are_refused_in_the_same_words_every_time() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    client
        .query("CREATE TABLE t (a int NOT NULL, b text)")
        .await;
    let prepared = prepare(&mut client, "INSERT INTO t VALUES ($1, $2)").await;
    for _ in 0..3 {
        let error = client
            .execute_text(&prepared, &[None, Some("x")])
            .await
            .unwrap_err();
        assert_eq!(error.sqlstate, "23502");
        assert_eq!(
            error.message,
            "null value in column \"a\" of relation \"t\" violates not-null constraint"
        );
        assert_eq!(
            error.detail.as_deref(),
            Some("Failing row contains (null, x).")
        );
        let error = client
            .execute_text(&prepared, &[Some("x"), None])
            .await
            .unwrap_err();
        assert_eq!(
            error.message,
            "invalid input syntax for type integer: \"x\""
        );
        insert(&mut client, &prepared, &[Some("1"), None]).await;
    }
    assert_eq!(rows(&mut client, "SELECT count(*) FROM t").await, ["3"]);
    client.query("BEGIN READ ONLY").await;
    let error = client
        .execute_text(&prepared, &[Some("1"), None])
        .await
        .unwrap_err();
    assert_eq!(
        (error.sqlstate.as_ref(), error.message.as_str()),
        ("25006", "cannot execute INSERT in a read-only transaction")
    );
    let error = client
        .execute_text(&prepared, &[Some("1"), None])
        .await
        .unwrap_err();
    assert_eq!(error.sqlstate, "25P02");
    client.query("ROLLBACK").await;
    insert(&mut client, &prepared, &[Some("1"), None]).await;
    assert_eq!(rows(&mut client, "SELECT count(*) FROM t").await, ["4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_does_not_outlive_what_it_was_made_of() {
    let cluster = Cluster::new();
    let (mut client, mut other) = (cluster.client(), cluster.client());
    client.query("CREATE TABLE t (a int, d date)").await;
    let prepared = prepare(&mut client, "INSERT INTO t VALUES ($1, $2)").await;
    let values = [Some("1"), Some("01/02/2024")];
    insert(&mut client, &prepared, &values).await;
    insert(&mut client, &prepared, &values).await;
    // Another file.
    other.query("TRUNCATE t").await;
    insert(&mut client, &prepared, &values).await;
    assert_eq!(
        rows(&mut other, "SELECT a, d FROM t").await,
        ["1,2024-01-02"]
    );
    // Another table of the name.
    other
        .query("DROP TABLE t; CREATE TABLE t (a int, d date, e text DEFAULT 'new')")
        .await;
    insert(&mut client, &prepared, &values).await;
    assert_eq!(
        rows(&mut other, "SELECT * FROM t").await,
        ["1,2024-01-02,new"]
    );
    // Another meaning of the values.
    client.query("SET DateStyle = 'DMY'").await;
    insert(&mut client, &prepared, &values).await;
    assert_eq!(
        rows(&mut other, "SELECT d FROM t ORDER BY d").await,
        ["2024-01-02", "2024-02-01"]
    );
    // What only this transaction sees.
    client
        .query("BEGIN; DROP TABLE t; CREATE TABLE t (a bigint, d date)")
        .await;
    insert(&mut client, &prepared, &values).await;
    assert_eq!(rows(&mut client, "SELECT count(*) FROM t").await, ["1"]);
    client.query("ROLLBACK").await;
    insert(&mut client, &prepared, &values).await;
    assert_eq!(rows(&mut other, "SELECT count(*) FROM t").await, ["3"]);
    other.query("DROP TABLE t").await;
    let error = client.execute_text(&prepared, &values).await.unwrap_err();
    assert_eq!(error.sqlstate, "42P01");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_waits_for_a_lock_like_any_other_and_can_be_cancelled() {
    let cluster = Cluster::new();
    let (mut client, mut other) = (cluster.client(), cluster.client());
    client.query("CREATE TABLE t (a int)").await;
    let prepared = prepare(&mut client, "INSERT INTO t VALUES ($1)").await;
    for _ in 0..2 {
        insert(&mut client, &prepared, &[Some("1")]).await;
    }
    other.query("BEGIN; LOCK TABLE t").await;
    client.query("SET lock_timeout = 50").await;
    let error = client
        .execute_text(&prepared, &[Some("2")])
        .await
        .unwrap_err();
    assert_eq!(error.sqlstate, "55P03");
    client.query("SET lock_timeout = 0").await;
    let cancel = client.session.cancel_token();
    let blocked = tokio::spawn(async move {
        let result = client.execute_text(&prepared, &[Some("2")]).await;
        (client, prepared, result)
    });
    while rows(
        &mut other,
        "SELECT count(*) FROM pg_locks WHERE NOT granted",
    )
    .await
        != ["1"]
    {}
    cancel.request(CancelReason::UserRequest);
    let (mut client, prepared, result) = tokio::time::timeout(PATIENCE, blocked)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(result.unwrap_err().sqlstate, "57014");
    other.query("ROLLBACK").await;
    insert(&mut client, &prepared, &[Some("3")]).await;
    assert_eq!(
        rows(&mut client, "SELECT a FROM t ORDER BY a").await,
        ["1", "1", "3"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_end_as_they_are_told_and_are_there_after_a_crash() {
    let cluster = Cluster::with(&[("io_method", "io_uring")]);
    let _watch = cluster.sql.watch_io().unwrap();
    let (mut client, mut other) = (cluster.client(), cluster.client());
    client.query("CREATE TABLE t (a int)").await;
    let prepared = prepare(&mut client, "INSERT INTO t VALUES ($1)").await;
    for (begin, end, kept) in [
        ("BEGIN", "COMMIT", 2),
        ("BEGIN", "ROLLBACK", 2),
        ("BEGIN", "END", 4),
        ("START TRANSACTION", "COMMIT AND CHAIN", 6),
    ] {
        client.query(begin).await;
        for _ in 0..2 {
            insert(&mut client, &prepared, &[Some("1")]).await;
        }
        client.query(end).await;
        let count = rows(&mut other, "SELECT count(*) FROM t").await;
        assert_eq!(count, [kept.to_string()], "{begin} ... {end}");
    }
    client.query("ROLLBACK").await;
    insert(&mut client, &prepared, &[Some("1")]).await;
    drop((client, other, _watch));
    let cluster = cluster.crash();
    let mut client = cluster.client();
    assert_eq!(rows(&mut client, "SELECT count(*) FROM t").await, ["7"]);
}

/// Many sessions, on the caller's threads and with a watcher of the rings or without.
#[tokio::test(flavor = "multi_thread")]
async fn many_sessions_commit_beside_each_other() {
    const SESSIONS: usize = 24;
    const COMMITS: usize = 30;
    for method in ["io_uring", "worker", "sync"] {
        for is_watched in [false, true] {
            let cluster = Cluster::with(&[("io_method", method)]);
            let _watch = is_watched.then(|| cluster.sql.watch_io().unwrap());
            let mut client = cluster.client();
            client.query("CREATE TABLE t (a int, b text)").await;
            let mut tasks = Vec::new();
            for number in 0..SESSIONS {
                let mut client = cluster.client();
                tasks.push(tokio::spawn(async move {
                    let prepared = prepare(&mut client, "INSERT INTO t VALUES ($1, 'text')").await;
                    let number = number.to_string();
                    for _ in 0..COMMITS {
                        insert(&mut client, &prepared, &[Some(&number)]).await;
                    }
                }));
            }
            for task in tasks {
                tokio::time::timeout(PATIENCE, task).await.unwrap().unwrap();
            }
            let counts = rows(&mut client, "SELECT a, count(*) FROM t GROUP BY a").await;
            assert_eq!(counts.len(), SESSIONS, "{method}");
            let wanted = format!(",{COMMITS}");
            assert!(
                counts.iter().all(|row| row.ends_with(&wanted)),
                "{counts:?}"
            );
            drop(client);
        }
    }
}
