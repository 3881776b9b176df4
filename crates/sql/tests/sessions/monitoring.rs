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
    assert!(
        evicted.starts_with('(') && evicted.ends_with(",0,0)"),
        "{evicted}"
    );
    client.query("SELECT count(*) FROM src").await;
    for (sql, columns) in [
        (
            "SELECT * FROM pg_buffercache_evict_relation('src')",
            ["buffers_evicted", "buffers_flushed", "buffers_skipped"],
        ),
        (
            "SELECT f.* FROM pg_buffercache_evict_relation('src') f",
            ["buffers_evicted", "buffers_flushed", "buffers_skipped"],
        ),
        (
            "SELECT * FROM pg_buffercache_evict_relation('src') AS f(a, b)",
            ["a", "b", "buffers_skipped"],
        ),
    ] {
        let answer = client.query(sql).await;
        assert_eq!(answer.columns, columns, "{sql}");
        assert_eq!(answer.rows.len(), 1, "{sql}");
        assert_eq!(answer.rows[0][2].as_deref(), Some("0"));
    }
    client.query("SELECT count(*) FROM src").await;
    let evicted = client
        .one(
            "SELECT buffers_evicted FROM pg_buffercache_evict_relation('src') \
             WHERE buffers_flushed = 0",
        )
        .await;
    assert_eq!(evicted, blocks.to_string());
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
async fn functions_of_the_session() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    assert_eq!(
        client
            .one("SELECT set_config('work_mem', '5MB', false)")
            .await,
        "5MB"
    );
    assert_eq!(client.one("SHOW work_mem").await, "5MB");
    client
        .query("BEGIN; SELECT set_config('work_mem', '6MB', true)")
        .await;
    assert_eq!(
        client.one("SELECT current_setting('work_mem')").await,
        "6MB"
    );
    client.query("COMMIT").await;
    assert_eq!(client.one("SHOW work_mem").await, "5MB");
    assert_eq!(
        client
            .refused("SELECT set_config('nosuch', '1', false)")
            .await,
        (
            "42704".into(),
            "unrecognized configuration parameter \"nosuch\"".into()
        )
    );
    assert_eq!(
        client
            .one("SELECT current_setting('no.such', true) IS NULL")
            .await,
        "t"
    );
    let uuids = "SELECT count(DISTINCT u) FROM (SELECT gen_random_uuid() u FROM \
                 generate_series(1, 100)) q WHERE substr(u::text, 15, 1) = '4'";
    assert_eq!(client.one(uuids).await, "100");
    let randoms = "SELECT count(DISTINCT r) FROM (SELECT random() r FROM generate_series(1, 100)) q \
                   WHERE r >= 0 AND r < 1";
    assert_eq!(client.one(randoms).await, "100");
    assert_eq!(client.one("SELECT pg_sleep(0.01)").await, "");
    client.query("SET statement_timeout = 100").await;
    assert_eq!(
        client.refused("SELECT pg_sleep(3600)").await,
        (
            "57014".into(),
            "canceling statement due to statement timeout".into()
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn catalogs_know_names() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    client
        .query("CREATE TABLE \"Odd name\" (a int NOT NULL)")
        .await;
    for (sql, answer) in [
        ("SELECT '\"Odd name\"'::regclass", "\"Odd name\""),
        (
            "SELECT oid::regclass::text FROM pg_class WHERE relname = 'Odd name'",
            "\"Odd name\"",
        ),
        (
            "SELECT relname::regclass = oid FROM pg_class WHERE relname = 'pg_proc'",
            "t",
        ),
        (
            "SELECT reltype::regtype, relnamespace::regnamespace, relowner::regrole FROM pg_class \
             WHERE relname = 'Odd name'",
            "\"Odd name\"|public|postgres",
        ),
        (
            "SELECT 'now'::regproc, 'pg_monitor'::regrole",
            "now|pg_monitor",
        ),
        (
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'n' \
             AND conrelid = '\"Odd name\"'::regclass",
            "NOT NULL a",
        ),
        (
            "SELECT obj_description('pg_catalog'::regnamespace, 'pg_namespace')",
            "system catalog schema",
        ),
        (
            "SELECT format_type(1043, 14), format_type(1042, NULL), format_type(0, NULL), \
             format_type(99999, NULL)",
            "character varying(10)|character|-|???",
        ),
        (
            "SELECT pg_get_userbyid(10), pg_get_userbyid(77)",
            "postgres|unknown (OID=77)",
        ),
        (
            "SELECT pg_database_size('postgres') = pg_database_size(5), \
             pg_database_size('postgres') > 8192, pg_database_size(77) IS NULL",
            "t|t|t",
        ),
    ] {
        assert_eq!(client.one(sql).await, answer, "{sql}");
    }
    // A table's own rows are printed with names too.
    let (copied, _) = client
        .copy_out("COPY pg_type (typname, typinput) TO STDOUT")
        .await;
    let copied = String::from_utf8(copied).unwrap();
    assert!(copied.starts_with("bool\tboolin\n"), "{copied}");
    for (sql, sqlstate, message) in [
        (
            "SELECT 'nosuch'::regrole",
            "42704",
            "role \"nosuch\" does not exist",
        ),
        (
            "SELECT 'nosuch'::regnamespace",
            "3F000",
            "schema \"nosuch\" does not exist",
        ),
        (
            "SELECT 'abs'::regproc",
            "42725",
            "more than one function named \"abs\"",
        ),
        (
            "SELECT pg_database_size('nosuch')",
            "3D000",
            "database \"nosuch\" does not exist",
        ),
    ] {
        assert_eq!(
            client.refused(sql).await,
            (sqlstate.into(), message.into()),
            "{sql}"
        );
    }
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
