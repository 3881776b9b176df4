//! The views of I/O: `pg_stat_aios`, `pg_stat_aio_backends`, `pg_aios` and `pg_stat_io`.

use std::collections::BTreeMap;
use std::sync::Arc;

use trunkline_engine::{Background, Foundation};
use trunkline_harness::{Cluster as Judge, Gate, OpenAtEnd};

use crate::cluster::{Client, Cluster};

/// Of a database whose I/O the gate may hold: that of sessions alone.
fn gated(gate: &Arc<Gate>) -> Foundation {
    Foundation {
        method: Some(Arc::clone(gate) as _),
        background: Background::Driven,
        ..Foundation::default()
    }
}

/// A table of some hundred blocks, none of which is in the pool. Gives its file and its blocks.
async fn evicted_table(client: &mut Client) -> (String, u64) {
    client
        .query(
            "CREATE TABLE t (a int, b text); \
             INSERT INTO t SELECT i, repeat('y', 100) FROM generate_series(1, 20000) AS i; \
             CHECKPOINT",
        )
        .await;
    evict(client).await;
    let path = client.one("SELECT pg_relation_filepath('t')").await;
    let blocks = client.one("SELECT pg_relation_size('t') / 8192").await;
    (path, blocks.parse().unwrap())
}

async fn evict(client: &mut Client) {
    let evicted = client
        .one(
            "SELECT buffers_evicted > 100 AND buffers_skipped = 0 \
             FROM pg_buffercache_evict_relation('t')",
        )
        .await;
    assert_eq!(evicted, "t");
}

/// What another session sees of the I/O of the session with `pid` on `path`, all of one kind but for the
/// log that a load writes. What is submitted stays so; meanwhile there may be more of it.
async fn look(observer: &mut Client, pid: i32, operation: &str, path: &str, buffered: bool) {
    let rows = observer
        .rows(
            "SELECT op, scb, owner_pid, result, \"desc\", flags, id, gen \
             FROM pg_stat_aios \
             WHERE flags LIKE 'SUBMITTED%' AND owner_pid <> 0 AND scb <> 'wal'",
        )
        .await;
    assert!(!rows.is_empty());
    let mut described = BTreeMap::new();
    for row in &rows {
        let columns: Vec<&str> = row.split('|').collect();
        let pid = pid.to_string();
        assert_eq!(columns[..4], [operation, "sb", &pid, "~"], "{row}");
        // "block 7 in file "base/5/16384"", or "blocks 7..9 in file ...".
        let (blocks, file) = columns[4].split_once(" in file ").unwrap();
        assert_eq!(file, format!("\"{path}\""));
        let (first, last) = match blocks.split_once(' ').unwrap() {
            ("block", block) => (block, block),
            (_, range) => range.split_once("..").unwrap(),
        };
        let (first, last): (u64, u64) = (first.parse().unwrap(), last.parse().unwrap());
        let flags = ["SUBMITTED", "SUBMITTED BUFFERED"];
        assert_eq!(columns[5], flags[usize::from(buffered)]);
        described.insert(
            (columns[6].to_owned(), columns[7].to_owned()),
            (first, last - first + 1),
        );
    }
    let rows = observer
        .rows(
            "SELECT io_id, io_generation, pid, state, operation, off, length, target, \
             handle_data_len, raw_result, result, target_desc LIKE 'block%', f_sync, f_localmem, \
             f_buffered FROM pg_aios",
        )
        .await;
    let mut left = described.clone();
    for row in rows {
        let columns: Vec<&str> = row.split('|').collect();
        let key = (columns[0].to_owned(), columns[1].to_owned());
        let Some((first, blocks)) = left.remove(&key) else {
            continue;
        };
        let buffered = if buffered { "t" } else { "f" };
        assert_eq!(
            columns[2..].join("|"),
            format!(
                "{pid}|SUBMITTED|{operation}|{}|{}|smgr|{blocks}|~|UNKNOWN|t|f|f|{buffered}",
                first * 8192,
                blocks * 8192
            )
        );
    }
    assert!(left.is_empty(), "not in pg_aios: {left:?}");
    let mine = observer
        .one(&format!(
            "SELECT sum(inflight_count) >= {}, sum(unused_count) > 0, max(last_context), \
             sum(executed_total_count) >= sum(issued_total_count), \
             sum(issued_total_count) >= sum(submissions_total_count), \
             sum(submissions_total_count) > 0 \
             FROM pg_stat_aio_backends WHERE pid = {pid}",
            described.len()
        ))
        .await;
    assert_eq!(mine, "t|t|~|t|t|t");
}

/// No session has any; the system's own threads may write what they like.
async fn nothing_in_flight(observer: &mut Client) {
    for sql in [
        "SELECT count(*) FROM pg_stat_aios WHERE owner_pid <> 0",
        "SELECT count(*) FROM pg_aios WHERE pid <> 0",
        "SELECT coalesce(sum(inflight_count + pending_count + outstanding_count \
         + local_completed_count + foreign_completed_count), 0) \
         FROM pg_stat_aio_backends WHERE pid <> 0",
    ] {
        assert_eq!(observer.one(sql).await, "0", "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_io_is_seen_from_another_session_as_its_backends() {
    let gate = Arc::new(Gate::default());
    let cluster = Cluster::on(gated(&gate), &[]);
    let _open = OpenAtEnd(Arc::clone(&gate));
    let mut observer = cluster.client();
    let mut client = cluster.client();
    let (path, _) = evicted_table(&mut client).await;
    let pid = client.session.backend_pid();
    assert_eq!(client.one("SELECT pg_backend_pid()").await, pid.to_string());
    let buffered = !cluster.database.smgr().is_direct();
    nothing_in_flight(&mut observer).await;

    // A scan, whose partitions have issuers of their own.
    gate.close_for(&path);
    let scan = tokio::spawn(async move {
        let rows = client.one("SELECT count(*) FROM t").await;
        (client, rows)
    });
    gate.wait_until_held(1);
    look(&mut observer, pid, "readv", &path, buffered).await;
    gate.open();
    let (mut client, rows) = scan.await.unwrap();
    assert_eq!(rows, "20000");
    nothing_in_flight(&mut observer).await;

    evict(&mut observer).await;
    gate.close_for(&path);
    let copy = tokio::spawn(async move {
        let (_, tag) = client.copy_out("COPY t (a) TO STDOUT").await;
        (client, tag)
    });
    gate.wait_until_held(1);
    look(&mut observer, pid, "readv", &path, buffered).await;
    gate.open();
    let (mut client, tag) = copy.await.unwrap();
    assert_eq!(tag, "COPY 20000");
    nothing_in_flight(&mut observer).await;

    gate.close_for(&path);
    let copy = tokio::spawn(async move {
        let data = format!("1\t{}\n", "z".repeat(1000)).repeat(500);
        client
            .try_copy_in("COPY t FROM STDIN", data.as_bytes())
            .await
    });
    gate.wait_until_held(1);
    look(&mut observer, pid, "writev", &path, buffered).await;
    gate.open();
    assert_eq!(copy.await.unwrap().unwrap(), "COPY 500");
    nothing_in_flight(&mut observer).await;
}

/// Reads of a few blocks each, as the pool is configured, go to the kernel as one where the session
/// allows more.
#[tokio::test(flavor = "multi_thread")]
async fn combined_ios_show_what_they_go_with() {
    let gate = Arc::new(Gate::default());
    let cluster = Cluster::on(gated(&gate), &[("io_combine_limit", "32kB")]);
    let _open = OpenAtEnd(Arc::clone(&gate));
    let mut observer = cluster.client();
    let mut client = cluster.client();
    let (path, _) = evicted_table(&mut client).await;
    if !cluster.database.smgr().is_direct() {
        eprintln!("SKIPPED: no direct I/O here, so that prefetching reads past the pool");
        return;
    }
    let pid = client.session.backend_pid();
    gate.close_for(&path);
    client.query("SET io_combine_limit = '128kB'").await;
    // Does not wait for what it starts.
    let prefetched = client
        .one("SELECT pg_prewarm('t', 'prefetch', 'main', 0, 63)")
        .await;
    assert_eq!(prefetched, "64");
    look(&mut observer, pid, "readv", &path, false).await;
    let groups = observer
        .rows(
            "SELECT count(*), count(DISTINCT merge_with), min(\"desc\") FROM pg_stat_aios \
             GROUP BY coalesce(merge_with, id) ORDER BY min(gen), 3",
        )
        .await;
    // 64 blocks, 4 in an I/O, 4 of which are one operation: the first, and three that go with it.
    assert_eq!(groups.len(), 4, "{groups:?}");
    assert!(
        groups.iter().all(|group| group.starts_with("4|1|blocks ")),
        "{groups:?}"
    );
    let leaders = "SELECT count(*) FROM pg_stat_aios AS a JOIN pg_stat_aios AS b \
                   ON a.merge_with = b.id AND b.merge_with IS NULL";
    assert_eq!(observer.one(leaders).await, "12");
    gate.open();
    nothing_in_flight(&mut observer).await;
    assert_eq!(client.one("SELECT count(*) FROM t").await, "20000");
}

/// A session's own limit holds for the partitions of its scans as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_scan_combines_no_more_than_its_session_says() {
    let gate = Arc::new(Gate::default());
    let cluster = Cluster::on(gated(&gate), &[]);
    let _open = OpenAtEnd(Arc::clone(&gate));
    let mut client = cluster.client();
    let (path, blocks) = evicted_table(&mut client).await;
    client.query("SET io_combine_limit = '8kB'").await;
    let before = cluster.database.aio().counters().total();
    gate.close_for(&path);
    let scan = tokio::spawn(async move { client.one("SELECT count(*) FROM t").await });
    // A scan that has to wait reads more and more ahead, so that neighbours are pending together.
    while !scan.is_finished() {
        gate.let_through();
        tokio::task::yield_now().await;
    }
    assert_eq!(scan.await.unwrap(), "20000");
    let after = cluster.database.aio().counters().total();
    assert!(after.executed - before.executed >= blocks);
    assert!(after.submissions - before.submissions < blocks, "{after:?}");
    assert_eq!(
        after.issued - before.issued,
        after.executed - before.executed
    );
}

/// `pg_stat_io` by backend type and context, columns by name.
async fn stat_io(client: &mut Client) -> BTreeMap<String, BTreeMap<String, Option<String>>> {
    let answer = client.query("SELECT * FROM pg_stat_io").await;
    let row = |row: Vec<Option<String>>| -> BTreeMap<String, Option<String>> {
        answer.columns.iter().cloned().zip(row).collect()
    };
    answer
        .rows
        .iter()
        .map(|columns| {
            let row = row(columns.clone());
            let name = |column: &str| row[column].clone().unwrap();
            assert_eq!(name("object"), "relation");
            (format!("{} {}", name("backend_type"), name("context")), row)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn io_is_counted_by_what_it_is_for() {
    // The table is more than a quarter of the pool, so that a scan of it goes through a ring.
    let settings = [
        ("io_method", "sync"),
        ("shared_buffers", "2MB"),
        ("max_parallel_workers_per_gather", "0"),
        // Nobody writes but who is asked to.
        ("bgwriter_lru_maxpages", "0"),
    ];
    let cluster = Cluster::with(&settings);
    let mut client = cluster.client();
    let (_, blocks) = evicted_table(&mut client).await;
    let mut before = stat_io(&mut client).await;
    let mut since = async |client: &mut Client| {
        let now = stat_io(client).await;
        let number = |value: &Option<String>| value.as_ref().map_or(0, |v| v.parse().unwrap_or(0));
        let grown: BTreeMap<String, BTreeMap<String, i64>> = now
            .iter()
            .map(|(row, columns)| {
                let grown = columns.iter().map(|(column, value)| {
                    let old = &before[row][column];
                    (column.clone(), number(value) - number(old))
                });
                (row.clone(), grown.collect())
            })
            .collect();
        before = now;
        grown
    };
    let bytes = i64::try_from(blocks * 8192).unwrap();

    client.query("SELECT count(*) FROM t").await;
    let grown = since(&mut client).await;
    let scan = &grown["client backend bulkread"];
    assert_eq!(scan["read_bytes"], bytes);
    // In reads of up to 16 blocks.
    let reads = i64::try_from(blocks).unwrap() / 16..i64::try_from(blocks).unwrap() / 4;
    assert!(reads.contains(&scan["reads"]), "{scan:?}");
    assert!(scan["reuses"] > 100, "{scan:?}");
    assert!(grown["client backend normal"]["read_bytes"] < bytes / 10);
    assert_eq!(grown["client backend bulkwrite"]["extends"], 0);

    let data = format!("1\t{}\n", "z".repeat(1000)).repeat(700);
    client
        .try_copy_in("COPY t FROM STDIN", data.as_bytes())
        .await
        .unwrap();
    let grown = since(&mut client).await;
    let load = &grown["client backend bulkwrite"];
    let new_blocks = i64::try_from(
        client
            .one("SELECT pg_relation_size('t')")
            .await
            .parse::<u64>()
            .unwrap(),
    )
    .unwrap()
        - bytes;
    assert!(new_blocks >= 90 * 8192);
    assert!(
        load["extends"] > 0 && load["extend_bytes"] == new_blocks,
        "{load:?}"
    );
    assert!(
        load["writes"] > 0 && load["write_bytes"] >= new_blocks - 32 * 8192,
        "{load:?}"
    );
    assert_eq!(grown["checkpointer normal"].values().sum::<i64>(), 0);

    client
        .query("SELECT pg_buffercache_evict_relation('t')")
        .await;
    let prewarm = "SELECT pg_prewarm('t', 'buffer', 'main', 0, 9)";
    client.query(prewarm).await;
    let normal = &since(&mut client).await["client backend normal"];
    assert!(normal["read_bytes"] >= 10 * 8192, "{normal:?}");
    client.query(prewarm).await;
    let normal = &since(&mut client).await["client backend normal"];
    assert!(normal["hits"] >= 10 && normal["reads"] == 0, "{normal:?}");
    client.query("INSERT INTO t VALUES (1, 'x')").await;
    since(&mut client).await;
    client.query("CHECKPOINT").await;
    let grown = since(&mut client).await;
    let checkpoint = &grown["checkpointer normal"];
    assert!(
        checkpoint["writes"] > 0 && checkpoint["fsyncs"] > 0,
        "{checkpoint:?}"
    );
    assert!(checkpoint["write_bytes"] >= 8192 * checkpoint["writes"]);
    assert_eq!(grown["client backend normal"]["fsyncs"], 0);
    let reset = client
        .one("SELECT count(DISTINCT stats_reset) = 1 AND max(stats_reset) < now() FROM pg_stat_io")
        .await;
    assert_eq!(reset, "t");
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_and_the_background_writer_are_counted() {
    let cluster = Cluster::with(&[("bgwriter_lru_maxpages", "0")]);
    let mut client = cluster.client();
    for sql in [
        "CREATE TABLE t (a int)",
        "INSERT INTO t SELECT i FROM generate_series(1, 10000) AS i",
        "CHECKPOINT",
        "INSERT INTO t VALUES (1)",
        "CHECKPOINT",
    ] {
        client.query(sql).await;
    }
    assert_eq!(
        client
            .one(
                "SELECT num_timed, num_requested, num_done, restartpoints_done, \
                 write_time >= 0 AND sync_time > 0, buffers_written > 0, slru_written > 0, \
                 stats_reset < now() FROM pg_stat_checkpointer",
            )
            .await,
        "0|2|2|0|t|t|t|t"
    );
    assert_eq!(
        client
            .one(
                "SELECT buffers_clean, maxwritten_clean, buffers_alloc > 0, stats_reset < now() \
                 FROM pg_stat_bgwriter",
            )
            .await,
        "0|0|t|t"
    );
    assert_eq!(client.one("SHOW checkpoint_timeout").await, "5min");
    assert_eq!(client.one("SHOW checkpoint_io_concurrency").await, "32");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_write_ahead_log_is_counted() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    client.query("CREATE TABLE t (a int); CHECKPOINT").await;
    let counts = "SELECT wal_records, wal_fpi, wal_bytes, wal_write, wal_flush FROM pg_stat_wal";
    let read = |row: String| -> Vec<u64> { row.split('|').map(|n| n.parse().unwrap()).collect() };
    let before = read(client.one(counts).await);
    // Two records at least, the insert's with the image that a checkpoint asks for, and one flush.
    client.query("INSERT INTO t VALUES (1)").await;
    client.query("CHECKPOINT").await;
    client.query("INSERT INTO t VALUES (2)").await;
    let after = read(client.one(counts).await);
    let grown: Vec<u64> = after
        .iter()
        .zip(&before)
        .map(|(now, then)| now - then)
        .collect();
    assert!(grown[0] >= 4 && grown[1] >= 1, "{grown:?}");
    assert!(grown[2] > grown[0] * 24, "{grown:?}");
    assert!(grown[3] >= 2 && grown[4] >= 2, "{grown:?}");
    assert_eq!(
        client
            .one("SELECT wal_buffers_full, stats_reset < now() FROM pg_stat_wal")
            .await,
        "0|t"
    );
}

/// Columns, their order, names and types, and what is NULL in which row, are PostgreSQL 18's.
#[tokio::test(flavor = "multi_thread")]
async fn postgres_own_views_have_its_columns() {
    let Some(judge) = Judge::init("io_views", &[]) else {
        return;
    };
    judge.start(&[]);
    let cluster = Cluster::new();
    let mut client = cluster.client();
    for view in [
        "pg_aios",
        "pg_stat_io",
        "pg_stat_checkpointer",
        "pg_stat_bgwriter",
        "pg_stat_wal",
    ] {
        let expected: Vec<(String, u32)> = judge
            .query(&format!(
                "SELECT attname, atttypid::oid FROM pg_attribute \
                 WHERE attrelid = '{view}'::regclass AND attnum > 0 ORDER BY attnum"
            ))
            .into_iter()
            .map(|row| (row[0].clone(), row[1].parse().unwrap()))
            .collect();
        let prepared = client
            .session
            .prepare(&format!("SELECT * FROM {view}"), &[])
            .await
            .unwrap();
        let columns: Vec<(String, u32)> = prepared
            .fields()
            .iter()
            .map(|field| (field.name.clone(), field.type_oid.0))
            .collect();
        // Ours has more, behind PostgreSQL's.
        let shared = match view {
            "pg_stat_wal" => &columns[..expected.len()],
            _ => &columns[..],
        };
        assert_eq!(shared, expected, "{view}");
    }
    client.session.sync().await.unwrap();
    let rows = stat_io(&mut client).await;
    assert_eq!(rows.len(), 6);
    let names: Vec<&String> = rows["checkpointer normal"].keys().collect();
    for (key, row) in &rows {
        let nulls: Vec<String> = names.iter().map(|name| format!("{name} IS NULL")).collect();
        let expected = judge.query(&format!(
            "SELECT {} FROM pg_stat_io WHERE object = 'relation' \
             AND backend_type || ' ' || context = '{key}'",
            nulls.join(", ")
        ));
        assert_eq!(expected.len(), 1, "{key}");
        for (name, is_null) in names.iter().zip(&expected[0]) {
            assert_eq!(row[*name].is_none(), is_null == "t", "{key}, {name}");
        }
    }
}
