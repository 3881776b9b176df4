//! Functions over storage and the views of `pg_catalog`.

use bytes::Bytes;

use crate::cluster::Cluster;

#[tokio::test(flavor = "multi_thread")]
async fn functions_over_storage() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    client
        .query(
            "CREATE TABLE src (a int, b text); \
             INSERT INTO src SELECT i, repeat('y', 100) FROM generate_series(1, 10000) AS i",
        )
        .await;
    let size: u64 = client
        .one("SELECT pg_relation_size('src')")
        .await
        .parse()
        .unwrap();
    let blocks = size / 8192;
    assert!(blocks > 100 && size.is_multiple_of(8192));
    assert_eq!(
        client
            .one("SELECT pg_relation_size('public.src', 'main')")
            .await,
        size.to_string()
    );
    let path = client.one("SELECT pg_relation_filepath('src')").await;
    let file = cluster.database.data_dir().join(&path);
    assert_eq!(std::fs::metadata(file).unwrap().len(), size);
    assert_eq!(
        client
            .one("SELECT pg_relation_filepath(oid) FROM pg_class WHERE relname = 'src'")
            .await,
        path
    );
    client.query("CHECKPOINT").await;
    let evicted = client
        .one("SELECT pg_buffercache_evict_relation('src')")
        .await;
    assert!(evicted.ends_with(",0,0)"), "{evicted}");
    for sql in [
        "SELECT pg_prewarm('src')",
        "SELECT pg_prewarm('src', 'buffer')",
        "SELECT pg_prewarm('src', 'read')",
        "SELECT pg_prewarm('src'::regclass, 'buffer', 'main', 0, NULL)",
    ] {
        assert_eq!(client.one(sql).await, blocks.to_string(), "{sql}");
    }
    assert_eq!(
        client
            .one("SELECT pg_prewarm('src', 'buffer', 'main', 10, 19)")
            .await,
        "10"
    );
    for (sql, sqlstate, message) in [
        (
            "SELECT pg_prewarm('src', 'warm')",
            "22023",
            "invalid prewarm type",
        ),
        (
            "SELECT pg_prewarm('nos')",
            "42P01",
            "relation \"nos\" does not exist",
        ),
        (
            "SELECT pg_relation_size('src', 'x')",
            "22023",
            "invalid fork name",
        ),
        (
            "SELECT pg_prewarm(NULL)",
            "22023",
            "relation cannot be null",
        ),
    ] {
        assert_eq!(
            client.refused(sql).await,
            (sqlstate.into(), message.into()),
            "{sql}"
        );
    }
    assert_eq!(client.one("SELECT pg_relation_size(1)").await, "~");
    let pid = client.session.backend_pid().to_string();
    assert_eq!(client.one("SELECT pg_backend_pid()").await, pid);
    assert!(
        client
            .one("SELECT version()")
            .await
            .starts_with("PostgreSQL 18")
    );
    assert_eq!(
        client.one("SELECT pg_current_xact_id_if_assigned()").await,
        "~"
    );
    assert_eq!(client.one("SELECT pg_cancel_backend(999999)").await, "f");
    assert_eq!(
        client
            .one("SELECT current_user, current_database(), current_schema()")
            .await,
        "postgres|postgres|public"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn views_show_what_happens() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    client.query("CREATE TABLE src (a int)").await;
    assert_eq!(
        client
            .one("SELECT setting, unit, context, vartype FROM pg_settings WHERE name = 'work_mem'")
            .await,
        "4096|kB|user|integer"
    );
    assert_eq!(
        client
            .one("SELECT schemaname, tablename, hasindexes FROM pg_tables WHERE tablename = 'src'")
            .await,
        "public|src|f"
    );
    let mut other = cluster.client();
    other.query("BEGIN; LOCK TABLE src IN SHARE MODE").await;
    let pid = other.session.backend_pid();
    assert_eq!(
        client
            .one(&format!(
                "SELECT c.relname, l.mode, l.granted FROM pg_locks AS l JOIN pg_class AS c \
                 ON l.relation = c.oid WHERE l.pid = {pid} AND c.relname = 'src'"
            ))
            .await,
        "src|ShareLock|t"
    );
    assert_eq!(
        client
            .one(&format!(
                "SELECT state, query FROM pg_stat_activity WHERE pid = {pid}"
            ))
            .await,
        "idle in transaction|LOCK TABLE src IN SHARE MODE"
    );
    other.query("COMMIT; SET application_name = 'tester'").await;
    let mut copy = other.start_copy_in("COPY src FROM STDIN").await;
    // The load has the first chunk when it takes the second: one may wait.
    for _ in 0..8 {
        copy.write(Bytes::from_static(b"1\n2\n")).await.unwrap();
    }
    let progress = client
        .one("SELECT command, type, bytes_processed > 0, datname FROM pg_stat_progress_copy")
        .await;
    assert_eq!(progress, "COPY FROM|PIPE|t|postgres");
    copy.finish().await.unwrap();
    other.session.sync().await.unwrap();
    assert_eq!(
        client
            .rows("SELECT pid FROM pg_stat_progress_copy")
            .await
            .len(),
        0
    );
    assert_eq!(
        client
            .one(&format!(
                "SELECT application_name FROM pg_stat_activity WHERE pid = {pid}"
            ))
            .await,
        "tester"
    );
    let executed = client
        .one("SELECT sum(executed_total_count) > 0 FROM pg_stat_aio_backends")
        .await;
    assert_eq!(executed, "t");
    assert_eq!(
        client.query("SELECT * FROM pg_stat_aios").await.columns,
        [
            "id",
            "gen",
            "op",
            "scb",
            "flags",
            "ring",
            "owner_pid",
            "merge_with",
            "result",
            "desc"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_cancels_another() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    client.query("CREATE TABLE t (a int)").await;
    client.query("BEGIN; LOCK TABLE t").await;
    let mut other = cluster.client();
    let pid = other.session.backend_pid();
    let waiting = tokio::spawn(async move {
        let error = other.fails("SELECT * FROM t").await;
        (other, error)
    });
    // Until the other one runs, there is nothing to cancel.
    while !waiting.is_finished() {
        assert_eq!(
            client
                .one(&format!("SELECT pg_cancel_backend({pid})"))
                .await,
            "t"
        );
    }
    assert_eq!(
        waiting.await.unwrap().1.message,
        "canceling statement due to user request"
    );
}
