//! Unlogged tables: made, filled, refused and shown as in PostgreSQL, whole after a clean stop and
//! empty after a crash.

use std::fs;

use tempfile::TempDir;
use trunkline_harness::copy_directory;

use crate::client::{Client, Failure, Row};
use crate::postgres::Cluster;
use crate::trunkline::Trunkline;

/// Statements, in their order, and what each has to give on both sides.
const STATEMENTS: &[&str] = &[
    "CREATE UNLOGGED TABLE ul_kept (a int NOT NULL, b text DEFAULT 'none')",
    "CREATE UNLOGGED TABLE ul_kept (a int)",
    "CREATE UNLOGGED TABLE IF NOT EXISTS ul_kept (a int)",
    "CREATE TABLE ul_like (LIKE ul_kept)",
    "CREATE UNLOGGED TABLE public.ul_like_too (LIKE ul_like INCLUDING ALL, c date)",
    "CREATE UNLOGGED TABLE ul_dropped (a int)",
    "INSERT INTO ul_dropped VALUES (1)",
    "DROP TABLE ul_dropped",
    "BEGIN",
    "CREATE UNLOGGED TABLE ul_never (a int)",
    "INSERT INTO ul_never VALUES (1)",
    "ROLLBACK",
    "SELECT count(*) FROM ul_never",
    "INSERT INTO ul_kept SELECT g, 'row ' || g FROM generate_series(1, 3000) AS g",
    "INSERT INTO ul_kept VALUES (NULL)",
    "INSERT INTO ul_like SELECT * FROM ul_kept",
    "SELECT count(*), sum(a), max(b) FROM ul_kept",
    "CREATE UNLOGGED TABLE ul_emptied (a int)",
    "INSERT INTO ul_emptied SELECT * FROM generate_series(1, 1000)",
    "TRUNCATE ul_emptied",
    "SELECT count(*) FROM ul_emptied",
    "BEGIN",
    "TRUNCATE ul_kept",
    "INSERT INTO ul_kept VALUES (0)",
    "ROLLBACK",
    "SELECT count(*), sum(a) FROM ul_kept",
    "SELECT relname, relpersistence, relkind FROM pg_class WHERE relname LIKE 'ul_%' ORDER BY 1",
    "SELECT pg_relation_size('ul_kept', 'init'), pg_relation_size('ul_emptied')",
    "COPY ul_kept FROM '/dev/null' (FREEZE)",
    "LOCK TABLE ul_kept",
    // Refused by the parser, by DefineView and by DefineRelation.
    "CREATE UNLOGGED VIEW ul_view AS SELECT 1",
    "CREATE UNLOGGED RECURSIVE VIEW ul_view (a) AS SELECT 1",
    "CREATE UNLOGGED MATERIALIZED VIEW ul_view AS SELECT 1",
    "CREATE UNLOGGED TABLE ul_part (a int) PARTITION BY LIST (a)",
    "CREATE UNLOGGED INDEX ON ul_kept (a)",
    "CREATE UNLOGGED TEMP TABLE ul_temp (a int)",
    "CREATE UNLOGGED",
    "CREATE UNLOGGED TABLE nosuch.ul_table (a int)",
    "CREATE UNLOGGED TABLE ul_twice (a int, a int)",
    "CREATE TABLE ul_named (unlogged int)",
    "SELECT unlogged FROM ul_named",
    "SELECT conname FROM pg_constraint WHERE conname LIKE 'ul_%' ORDER BY 1",
];

const SHOWN: &[&str] = &[
    r"\d ul_kept",
    r"\d ul_like",
    r"\d+ ul_like_too",
    r"\dt ul_*",
];

/// What a crash leaves, and that what it leaves can be used.
const AFTER_A_CRASH: &[&str] = &[
    "SELECT count(*) FROM ul_kept",
    "SELECT count(*) FROM ul_frozen",
    "SELECT count(*) FROM ul_emptied",
    "SELECT count(*), sum(a) FROM ul_like",
    "SELECT relname, relpersistence FROM pg_class WHERE relname LIKE 'ul_%' ORDER BY 1",
    "SELECT pg_relation_size('ul_kept'), pg_table_size('ul_frozen')",
    "INSERT INTO ul_kept SELECT g FROM generate_series(1, 500) AS g",
    "SELECT count(*), sum(a), min(b) FROM ul_kept",
    "TRUNCATE ul_frozen",
    "DROP TABLE ul_emptied",
    "SELECT count(*) FROM ul_emptied",
];

fn answers(client: &mut Client, statements: &[&str]) -> Vec<Result<Vec<Row>, Failure>> {
    statements.iter().map(|sql| client.try_rows(sql)).collect()
}

#[track_caller]
fn assert_same(ours: &mut Client, theirs: &mut Client, statements: &[&str]) {
    let (ours, theirs) = (answers(ours, statements), answers(theirs, statements));
    for (sql, (our, their)) in statements.iter().zip(ours.iter().zip(&theirs)) {
        assert_eq!(our, their, "{sql}");
    }
}

#[test]
fn unlogged_tables_are_postgresqls() {
    let Some(cluster) = Cluster::start_new("unlogged") else {
        return;
    };
    let directory = TempDir::new().unwrap();
    let data_dir = directory.path().join("data");
    let trunkline = Trunkline::start(&data_dir);
    let (mut ours, mut theirs) = (trunkline.client(), cluster.client());
    assert_same(&mut ours, &mut theirs, STATEMENTS);
    for client in [&mut ours, &mut theirs] {
        client.run("BEGIN; CREATE UNLOGGED TABLE ul_frozen (a int)");
        let rows: String = (0..2000).map(|number| format!("{number}\n")).collect();
        let sql = "COPY ul_frozen FROM STDIN (FREEZE)";
        assert_eq!(client.copy_in(sql, rows.as_bytes()), 2000);
        client.run("COMMIT");
        assert_eq!(client.copy_out("COPY ul_frozen TO STDOUT"), rows.as_bytes());
    }
    for command in SHOWN {
        let arguments = ["-X", "-d", "postgres", "-c", command];
        let expected = cluster.client_program("psql", &arguments);
        let shown = trunkline.client_program(cluster.judge(), "psql", &arguments);
        assert_eq!(shown, expected, "{command}");
    }

    // A clean stop keeps their rows.
    drop((ours, theirs));
    trunkline.stop();
    cluster.stop();
    let trunkline = Trunkline::start(&data_dir);
    cluster.start();
    let (mut ours, mut theirs) = (trunkline.client(), cluster.client());
    let kept = [
        "SELECT count(*), sum(a) FROM ul_kept",
        "SELECT count(*) FROM ul_frozen",
    ];
    assert_same(&mut ours, &mut theirs, &kept);
    assert_eq!(ours.value("SELECT count(*) FROM ul_kept"), "3000");

    // What lies there while the server runs is what its sudden death would leave.
    for client in [&mut ours, &mut theirs] {
        client.run("CHECKPOINT; INSERT INTO ul_kept VALUES (-1); INSERT INTO ul_like VALUES (-1)");
    }
    let crashed = directory.path().join("crashed");
    copy_directory(&data_dir, &crashed).unwrap();
    fs::remove_file(crashed.join("postmaster.pid")).unwrap();
    drop((ours, theirs));
    trunkline.stop();
    cluster.kill();
    let trunkline = Trunkline::start(&crashed);
    cluster.start();
    let (mut ours, mut theirs) = (trunkline.client(), cluster.client());
    assert_same(&mut ours, &mut theirs, AFTER_A_CRASH);
    assert_eq!(ours.value("SELECT count(*) FROM ul_kept"), "500");
    drop((ours, theirs));
    trunkline.stop();
    cluster.stop();
}
