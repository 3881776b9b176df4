//! Statements one by one: DDL, INSERT, settings, EXPLAIN.

use trunkline_sql::outcome::Outcome;

use crate::cluster::{Cluster, read_rows};

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_made_and_dropped() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    let answer = client
        .query(
            "CREATE TABLE t (a int NOT NULL DEFAULT 1 + 2, b varchar(3) DEFAULT 'x', \
             c numeric(6,2), \"D\" char)",
        )
        .await;
    assert_eq!(answer.tag, "CREATE TABLE");
    assert_eq!(
        client.refused("CREATE TABLE t (a int)").await,
        ("42P07".into(), "relation \"t\" already exists".into())
    );
    client
        .query("CREATE TABLE IF NOT EXISTS t (a nonsense)")
        .await;
    let notices = client.notices();
    assert_eq!(notices.len(), 1);
    assert_eq!(notices[0].sqlstate, "42P07");
    assert_eq!(
        notices[0].message,
        "relation \"t\" already exists, skipping"
    );

    client
        .query("CREATE TABLE u (LIKE t); CREATE TABLE v (LIKE t INCLUDING DEFAULTS, e date)")
        .await;
    assert_eq!(
        client.fails("INSERT INTO u DEFAULT VALUES").await.sqlstate,
        "23502"
    );
    client.query("INSERT INTO v DEFAULT VALUES").await;
    assert_eq!(client.rows("SELECT * FROM v").await, ["3|x|~|~|~"]);

    for (sql, sqlstate, message) in [
        (
            "CREATE TABLE w (a int, a text)",
            "42701",
            "column \"a\" specified more than once",
        ),
        (
            "CREATE TABLE w (a nonsense)",
            "42704",
            "type \"nonsense\" does not exist",
        ),
        (
            "CREATE TABLE nos.w (a int)",
            "3F000",
            "schema \"nos\" does not exist",
        ),
        (
            "CREATE TABLE w (a int DEFAULT 'x')",
            "22P02",
            "invalid input syntax for type integer: \"x\"",
        ),
        (
            "CREATE TABLE w (a int DEFAULT now())",
            "42804",
            "column \"a\" is of type integer but default expression is of type timestamp with time \
             zone",
        ),
        (
            "CREATE TABLE w (a int DEFAULT b)",
            "0A000",
            "cannot use column reference in DEFAULT expression",
        ),
        (
            "CREATE TABLE w (a timestamptz DEFAULT clock_timestamp())",
            "0A000",
            "a default with the volatile function clock_timestamp() is not supported",
        ),
        ("DROP TABLE w", "42P01", "table \"w\" does not exist"),
        ("TRUNCATE w", "42P01", "relation \"w\" does not exist"),
        ("SELECT * FROM w", "42P01", "relation \"w\" does not exist"),
        (
            "INSERT INTO nos.w VALUES (1)",
            "42P01",
            "relation \"nos.w\" does not exist",
        ),
        (
            "INSERT INTO pg_class SELECT * FROM pg_class",
            "42501",
            "permission denied: \"pg_class\" is a system catalog",
        ),
    ] {
        assert_eq!(
            client.refused(sql).await,
            (sqlstate.into(), message.into()),
            "{sql}"
        );
    }

    client.query("DROP TABLE IF EXISTS t, w").await;
    let notices = client.notices();
    assert_eq!(notices[0].message, "table \"w\" does not exist, skipping");
    assert_eq!(notices[0].sqlstate, "00000");
    assert_eq!(client.fails("SELECT * FROM t").await.sqlstate, "42P01");
    client.query("TRUNCATE TABLE v").await;
    assert_eq!(client.one("SELECT count(*) FROM v").await, "0");
    assert_eq!(
        client
            .one("SELECT relname, relkind FROM pg_class WHERE relname = 'v'")
            .await,
        "v|r"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn inserted_values_are_assigned_as_postgres_assigns() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    client
        .query("CREATE TABLE t (a int, b varchar(3), c numeric(5,2), d smallint DEFAULT 7, e date)")
        .await;
    assert_eq!(
        client
            .query("INSERT INTO t VALUES (1, 'abc', 1.005, DEFAULT, NULL), (2, 'ab    ', '2.5', DEFAULT, '2024-02-29')")
            .await
            .tag,
        "INSERT 0 2"
    );
    client
        .query("INSERT INTO t (e, a) VALUES ('1999-01-01', 3)")
        .await;
    client
        .query("INSERT INTO t (a, c) SELECT a + 10, c * 2 FROM t")
        .await;
    assert_eq!(
        client.rows("SELECT * FROM t ORDER BY a").await,
        [
            "1|abc|1.01|7|~",
            "2|ab |2.50|7|2024-02-29",
            "3|~|~|7|1999-01-01",
            "11|~|2.02|7|~",
            "12|~|5.00|7|~",
            "13|~|~|7|~",
        ]
    );
    for (sql, sqlstate, message) in [
        (
            "INSERT INTO t (b) VALUES ('abcd')",
            "22001",
            "value too long for type character varying(3)",
        ),
        (
            "INSERT INTO t (d) VALUES (40000)",
            "22003",
            "smallint out of range",
        ),
        (
            "INSERT INTO t (c) VALUES (1000)",
            "22003",
            "numeric field overflow",
        ),
        (
            "INSERT INTO t (a) VALUES (now())",
            "42804",
            "column \"a\" is of type integer but expression is of type timestamp with time zone",
        ),
        (
            "INSERT INTO t (a) SELECT b FROM t",
            "42804",
            "column \"a\" is of type integer but expression is of type character varying",
        ),
        (
            "INSERT INTO t (zz) VALUES (1)",
            "42703",
            "column \"zz\" of relation \"t\" does not exist",
        ),
        (
            "INSERT INTO t (a, a) VALUES (1, 2)",
            "42701",
            "column \"a\" specified more than once",
        ),
        (
            "INSERT INTO t (a, b) VALUES (1)",
            "42601",
            "INSERT has more target columns than expressions",
        ),
        (
            "INSERT INTO t (a, b) SELECT 1",
            "42601",
            "INSERT has more target columns than expressions",
        ),
        (
            "INSERT INTO t (a) VALUES (1, 2)",
            "42601",
            "INSERT has more expressions than target columns",
        ),
        (
            "INSERT INTO t (a) VALUES (1) ON CONFLICT DO NOTHING",
            "0A000",
            "INSERT ... ON CONFLICT is not supported",
        ),
    ] {
        assert_eq!(
            client.refused(sql).await,
            (sqlstate.into(), message.into()),
            "{sql}"
        );
    }
    let error = client.fails("INSERT INTO t (a) VALUES (now())").await;
    assert_eq!(
        error.hint.as_deref(),
        Some("You will need to rewrite or cast the expression.")
    );
    let error = client
        .fails("CREATE TABLE n (a int NOT NULL, b text); INSERT INTO n VALUES (NULL, 'x')")
        .await;
    assert_eq!(
        error.message,
        "null value in column \"a\" of relation \"n\" violates not-null constraint"
    );
    assert_eq!(
        error.detail.as_deref(),
        Some("Failing row contains (null, x).")
    );
    assert_eq!(client.one("SELECT count(*) FROM t").await, "6");
    let error = client
        .fails(&format!(
            "INSERT INTO t (a) VALUES (1); CREATE TABLE w (x text); INSERT INTO w VALUES ('{}')",
            "x".repeat(9000)
        ))
        .await;
    assert_eq!(error.sqlstate, "54000");
    assert!(
        error.message.starts_with("row is too big: size 90"),
        "{}",
        error.message
    );
    assert_eq!(client.one("SELECT count(*) FROM t").await, "6");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_set_shown_and_reset() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    client.query("SET work_mem = '8MB'").await;
    let answer = client.query("SHOW Work_Mem").await;
    assert_eq!(
        (answer.columns[0].as_str(), answer.tag.as_str()),
        ("work_mem", "SHOW")
    );
    assert_eq!(answer.rows, [[Some("8MB".to_owned())]]);
    client
        .query("BEGIN; SET LOCAL work_mem = '1MB'; COMMIT")
        .await;
    assert_eq!(client.one("SHOW work_mem").await, "8MB");
    client.query("BEGIN; SET work_mem = '1MB'; ROLLBACK").await;
    assert_eq!(
        client.one("SELECT current_setting('work_mem')").await,
        "8MB"
    );
    assert_eq!(client.query("RESET work_mem").await.tag, "RESET");
    assert_eq!(client.one("SHOW work_mem").await, "4MB");
    client.query("SET LOCAL work_mem = '1MB'").await;
    assert_eq!(
        client.notices()[0].message,
        "SET LOCAL can only be used in transaction blocks"
    );
    assert_eq!(
        client.refused("SET nope = 1").await,
        (
            "42704".into(),
            "unrecognized configuration parameter \"nope\"".into()
        )
    );
    assert_eq!(
        client.fails("SET jit_above_cost = 1").await.sqlstate,
        "0A000"
    );
    assert_eq!(
        client
            .fails("BEGIN ISOLATION LEVEL SERIALIZABLE")
            .await
            .sqlstate,
        "0A000"
    );
    client.query("ROLLBACK").await;
    client.notices();

    assert_eq!(client.session.take_parameter_changes(), []);
    client.query("SET TimeZone = 'Europe/Berlin'").await;
    assert_eq!(
        client.session.take_parameter_changes(),
        [("TimeZone".to_owned(), "Europe/Berlin".to_owned())]
    );
    assert_eq!(
        client
            .one("SELECT timestamptz '2024-07-01 00:00:00+00'")
            .await,
        "2024-07-01 02:00:00+02"
    );
    assert!(client.query("SHOW ALL").await.rows.len() > 300);
    assert_eq!(client.query("DISCARD ALL").await.tag, "DISCARD ALL");
    assert_eq!(client.one("SHOW timezone").await, "UTC");
}

#[tokio::test(flavor = "multi_thread")]
async fn plans_are_explained() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    client
        .query("CREATE TABLE t (a int, b text); INSERT INTO t VALUES (1, 'x'), (2, 'y')")
        .await;
    let answer = client
        .query("EXPLAIN SELECT count(*) FROM t WHERE a > 1")
        .await;
    assert_eq!(
        (answer.columns[0].as_str(), answer.tag.as_str()),
        ("QUERY PLAN", "EXPLAIN")
    );
    let plan: Vec<String> = answer
        .rows
        .into_iter()
        .map(|row| row.into_iter().flatten().collect())
        .collect();
    assert!(
        plan.iter()
            .any(|line| line.contains("Scan on t: columns=[a]")),
        "{plan:#?}"
    );
    let plan = client
        .rows("EXPLAIN ANALYZE INSERT INTO t SELECT * FROM t")
        .await;
    assert_eq!(plan[0], "Insert on t");
    assert!(plan.iter().any(|line| line == "Rows: 2"), "{plan:#?}");
    assert_eq!(client.one("SELECT count(*) FROM t").await, "4");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_and_counts_do_not_read_more_than_they_need() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    client
        .query(
            "CREATE TABLE t (a int, b text); \
             INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, 50000) AS i",
        )
        .await;
    assert_eq!(client.one("SELECT count(*) FROM t").await, "50000");
    assert_eq!(
        client
            .one("SELECT count(*) FROM (SELECT 1 FROM t LIMIT 777) AS x")
            .await,
        "777"
    );
    assert_eq!(client.rows("SELECT a FROM t LIMIT 3").await.len(), 3);
    assert_eq!(
        client
            .one("SELECT count(*) FROM t AS x JOIN t AS y ON x.a = y.a + 49000")
            .await,
        "1000"
    );
    assert_eq!(
        client.rows("SELECT a FROM t ORDER BY a DESC LIMIT 2").await,
        ["50000", "49999"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_queries_count_from_the_next_query_on() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    let sql = "SELECT md5(g::text) FROM generate_series(1, 200000) g ORDER BY 1 OFFSET 199999";
    // It does not fit into 4 MB.
    let expected = client.one(sql).await;
    client.query("SET temp_file_limit = '1MB'").await;
    assert_eq!(
        client.refused(sql).await,
        (
            "53400".into(),
            "temporary file size exceeds \"temp_file_limit\" (1024kB)".into()
        )
    );
    let mut other = cluster.client();
    assert_eq!(
        other.one(sql).await,
        expected,
        "the limit is a session's own"
    );
    client.query("SET work_mem = '64MB'").await;
    assert_eq!(client.one(sql).await, expected, "nothing is put aside");
    client
        .query("RESET work_mem; SET temp_file_limit = '64MB'")
        .await;
    assert_eq!(client.one(sql).await, expected);
    client.query("RESET temp_file_limit").await;
    assert_eq!(client.one(sql).await, expected);

    client.query("CREATE TABLE t (a int, b int)").await;
    client
        .query("INSERT INTO t SELECT g, g % 10 FROM generate_series(1, 200000) g")
        .await;
    let grouped = "EXPLAIN SELECT b, count(*) FROM t GROUP BY b";
    let is_parallel = |plan: Vec<String>| plan.iter().any(|line| line.contains("Repartition"));
    client
        .query("SET max_parallel_workers_per_gather = 0")
        .await;
    assert!(!is_parallel(client.rows(grouped).await));
    client
        .query("SET max_parallel_workers_per_gather = 1")
        .await;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    assert_eq!(is_parallel(client.rows(grouped).await), processors > 1);
}

// As in PostgreSQL, whose planner comes upon them; other errors come with the rows.
#[tokio::test(flavor = "multi_thread")]
async fn errors_of_constants_come_before_the_rows() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    client
        .query("CREATE TABLE t (a int); INSERT INTO t VALUES (0)")
        .await;
    for (sql, is_early) in [
        ("SELECT 1/0", true),
        ("VALUES (1), (1/0)", true),
        ("SELECT a FROM t UNION ALL SELECT 1/0", true),
        ("SELECT a FROM t WHERE a > 1/0", true),
        ("SELECT 1/a FROM t", false),
        ("SELECT 1/a FROM t ORDER BY a", false),
        ("SELECT count(1/a) FROM t", false),
        ("SELECT 1/(SELECT a FROM t)", false),
        (
            "SELECT * FROM generate_series(1, 3) g WHERE 1/(g - 2) > 0",
            false,
        ),
    ] {
        let prepared = client.session.prepare(sql, &[]).await.unwrap();
        let error = match client.session.execute(&prepared, Vec::new()).await {
            Ok(Outcome::Rows(rows)) => {
                assert!(!is_early, "{sql}");
                read_rows(&prepared, rows).await.expect_err(sql)
            }
            Ok(other) => panic!("{sql}: {other:?}"),
            Err(error) => {
                assert!(is_early, "{sql}");
                error
            }
        };
        assert_eq!(error.sqlstate, "22012", "{sql}");
        client.session.abort().await;
    }
    assert_eq!(client.fails("EXPLAIN SELECT 1/0").await.sqlstate, "22012");
    for sql in [
        "SELECT CASE WHEN a = 0 THEN 1 ELSE 1/a END FROM t",
        "SELECT CASE WHEN true THEN 1 ELSE 1/0 END",
        "SELECT coalesce(1, 1/0)",
        "SELECT count(*) FROM t WHERE false AND 1/0 = 1",
    ] {
        client.query(sql).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_point_at_their_place() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    client.query("CREATE TABLE w (a int, b int)").await;
    // Each caret of PostgreSQL's stands below the mark.
    for marked in [
        "INSERT INTO w VALUES (1, 2, ^3)",
        "INSERT INTO w (a) VALUES (1, ^2)",
        "INSERT INTO w VALUES (1, 2), (^3, 4, 5)",
        "INSERT INTO w SELECT 1, 2, ^3",
        "INSERT INTO w (a) SELECT 1, ^2+2",
        "CREATE TABLE x (a int, b int DEFAULT ^nosuch(1))",
        "CREATE TABLE x (a int, b int DEFAULT ^'x')",
        "CREATE TABLE x (a int, b int DEFAULT ^a+1)",
        "CREATE TABLE x (a int, b int DEFAULT ^(SELECT 1))",
        "CREATE TABLE x (a int, b int DEFAULT 1 +^)",
        "CREATE TABLE x (a int, b text DEFAULT ^lower(5, 'x') NOT NULL)",
        "CREATE TABLE x (a int, b int DEFAULT ^count(1))",
    ] {
        let sql = marked.replace('^', "");
        let position = marked.find('^').map(|at| at + 1);
        let error = client.fails(&sql).await;
        assert_eq!(error.position, position, "{sql}: {}", error.message);
    }
    // This one has no place in PostgreSQL either.
    let error = client
        .fails("CREATE TABLE x (a int, b int DEFAULT now())")
        .await;
    assert_eq!((error.sqlstate.as_ref(), error.position), ("42804", None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_select_list_may_be_empty() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    client
        .query("CREATE TABLE w (a int); INSERT INTO w VALUES (1), (2)")
        .await;
    for (sql, rows) in [
        ("SELECT", 1),
        ("SELECT;", 1),
        ("SELECT WHERE false", 0),
        ("SELECT FROM w", 2),
        ("SELECT FROM w WHERE a = 1", 1),
        ("SELECT UNION ALL SELECT", 2),
    ] {
        let answer = client.query(sql).await;
        assert!(answer.columns.is_empty(), "{sql}");
        assert_eq!(answer.rows.len(), rows, "{sql}");
        assert_eq!(answer.tag, format!("SELECT {rows}"));
    }
}

/// What may wait is refused, by its name, where nothing can; before anything runs.
#[tokio::test(flavor = "multi_thread")]
async fn functions_that_wait_are_refused_in_each_others_arguments() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    client.query("CREATE TABLE t (a int)").await;
    let node = "pg_relation_filenode('t')";
    for sql in [
        format!("SELECT pg_relation_size({node}) FROM t"),
        format!("SELECT pg_relation_size((1 + {node}::int8)::oid) FROM t"),
        format!("SELECT a FROM t WHERE pg_relation_size({node}) > 0"),
        format!("SELECT sum(pg_relation_size({node})) FROM t"),
        format!("SELECT a FROM t ORDER BY pg_relation_size({node})"),
        "SELECT 1 FROM t AS u JOIN t AS v ON pg_relation_size('t') + u.a > v.a".to_owned(),
    ] {
        let error = client.fails(&sql).await;
        assert_eq!(error.sqlstate, "0A000", "{sql}: {error:?}");
        let expected = "function pg_relation_size is not supported here";
        let inner = "function pg_relation_filenode is not supported here";
        assert!(
            [expected, inner].contains(&error.message.as_str()),
            "{sql}: {error:?}"
        );
    }
    // Beside each other, and one under the other.
    let beside = format!("SELECT pg_relation_size('t') + {node}::int8 > 16000");
    assert_eq!(client.one(&beside).await, "t");
    client.query("INSERT INTO t VALUES (1)").await;
    let below = format!("SELECT pg_relation_size('t') * a FROM t WHERE {node}::int8 > 0");
    assert_eq!(client.one(&below).await, "8192");
}
