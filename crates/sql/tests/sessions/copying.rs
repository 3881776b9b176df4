//! COPY: round trips in all formats, files, and bad input.

use std::fs;

use crate::cluster::Cluster;

const MIXED: &str = "CREATE TABLE m (a int, b text, c numeric(8,3), d timestamptz, e bytea, f bool); \
    INSERT INTO m VALUES (1, 'plain', 1.5, '2024-01-02 03:04:05.6+00', '\\x00ff', true), \
    (NULL, NULL, NULL, NULL, NULL, NULL), \
    (-7, E'tab\\tnew\\nline \\\\ \"quote\", \\'', -99999.999, 'infinity', '', false)";

#[tokio::test(flavor = "multi_thread")]
async fn every_format_comes_back_as_it_went() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    client.query(MIXED).await;
    let rows = client.rows("SELECT * FROM m ORDER BY a").await;
    for (index, options) in ["(FORMAT text)", "(FORMAT csv, HEADER)", "(FORMAT binary)"]
        .into_iter()
        .enumerate()
    {
        let (data, tag) = client
            .copy_out(&format!("COPY m TO STDOUT {options}"))
            .await;
        assert_eq!(tag, "COPY 3");
        client.query("CREATE TABLE n (LIKE m)").await;
        let tag = client
            .try_copy_in(&format!("COPY n FROM STDIN {options}"), &data)
            .await
            .unwrap();
        assert_eq!(tag, "COPY 3");
        assert_eq!(
            client.rows("SELECT * FROM n ORDER BY a").await,
            rows,
            "{options}"
        );

        let file = cluster.file(&format!("copy{index}"));
        client
            .query(&format!("COPY m TO '{}' {options}", file.display()))
            .await;
        assert_eq!(fs::read(&file).unwrap(), data, "{options}");
        client
            .query(&format!(
                "TRUNCATE n; COPY n FROM '{}' {options}",
                file.display()
            ))
            .await;
        assert_eq!(
            client.rows("SELECT * FROM n ORDER BY a").await,
            rows,
            "{options}"
        );
        client.query("DROP TABLE n").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_fails_in_its_first_rows_leaves_no_read_in_flight() {
    for method in ["sync", "worker", "io_uring"] {
        let cluster = Cluster::with(&[("io_method", method)]);
        let mut client = cluster.client();
        client.query("CREATE TABLE t (a int)").await;
        let file = cluster.file("bad");
        let mut data = b"1\nx\n".to_vec();
        data.resize(32 << 20, b'\n');
        fs::write(&file, data).unwrap();
        let copy = format!("COPY t FROM '{}'", file.display());
        let (sqlstate, message) = client.refused(&copy).await;
        assert_eq!(sqlstate, "22P02");
        assert_eq!(message, "invalid input syntax for type integer: \"x\"");
        // The view first, then a look that does no I/O of its own.
        let sessions = "SELECT * FROM pg_stat_aios WHERE owner_pid <> 0";
        assert!(client.rows(sessions).await.is_empty());
        let mut left = cluster.database.aio().in_flight();
        left.retain(|io| io.owner_id != 0);
        assert!(left.is_empty(), "{method}: {left:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_columns_and_defaults() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    let (data, tag) = client
        .copy_out("COPY (SELECT i, NULL AS n, 'x' || i AS t FROM generate_series(1, 3) AS i) TO STDOUT (FORMAT csv, HEADER, FORCE_QUOTE (t))")
        .await;
    assert_eq!(
        String::from_utf8(data).unwrap(),
        "i,n,t\n1,,\"x1\"\n2,,\"x2\"\n3,,\"x3\"\n"
    );
    assert_eq!(tag, "COPY 3");
    let (data, _) = client
        .copy_out("COPY (SELECT 1 WHERE false) TO STDOUT (FORMAT binary)")
        .await;
    assert_eq!(data, b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\xff\xff");

    client
        .query("CREATE TABLE t (a int DEFAULT 5, b text, c date DEFAULT '2020-01-01')")
        .await;
    client
        .try_copy_in("COPY t (b, a) FROM STDIN", b"x\t1\n\\N\t2\n")
        .await
        .unwrap();
    client
        .try_copy_in(
            "COPY t (b) FROM STDIN (FORMAT csv, NULL 'nil')",
            b"y\nnil\n",
        )
        .await
        .unwrap();
    client
        .try_copy_in("COPY t FROM STDIN (DEFAULT '\\D')", b"\\D\tz\t\\D\n")
        .await
        .unwrap();
    assert_eq!(
        client
            .rows("SELECT * FROM t ORDER BY a, b NULLS LAST")
            .await,
        [
            "1|x|2020-01-01",
            "2|~|2020-01-01",
            "5|y|2020-01-01",
            "5|z|2020-01-01",
            "5|~|2020-01-01"
        ]
    );
    let (data, _) = client
        .copy_out("COPY t (c, a) TO STDOUT (DELIMITER ';')")
        .await;
    assert!(data.starts_with(b"2020-01-01;1\n"));
}

/// Statement, data, SQLSTATE, message, context.
type BadInput = (
    &'static str,
    &'static [u8],
    &'static str,
    &'static str,
    Option<&'static str>,
);

const BAD_INPUT: &[BadInput] = &[
    (
        "COPY src FROM STDIN",
        b"1\t2\n",
        "22P04",
        "missing data for column \"c\"",
        Some("COPY src, line 1: \"1\t2\""),
    ),
    (
        "COPY src FROM STDIN",
        b"1\t2\tx\n1\t2\tx\ty\n",
        "22P04",
        "extra data after last expected column",
        Some("COPY src, line 2: \"1\t2\tx\ty\""),
    ),
    (
        "COPY src FROM STDIN",
        b"1\t2\tx\n1\tbad\tx\n",
        "22P02",
        "invalid input syntax for type bigint: \"bad\"",
        Some("COPY src, line 2, column b: \"bad\""),
    ),
    (
        "COPY src FROM STDIN",
        b"1\t2\t\xff\n",
        "22021",
        "invalid byte sequence for encoding \"UTF8\": 0xff",
        Some("COPY src, line 1"),
    ),
    (
        "COPY src FROM STDIN",
        b"1\t2\ttoo long\n",
        "22001",
        "value too long for type character varying(5)",
        Some("COPY src, line 1, column c: \"too long\""),
    ),
    (
        "COPY src FROM STDIN (FORMAT csv)",
        b"1,2,\"x\n",
        "22P04",
        "unterminated CSV quoted field",
        Some("COPY src, line 1: \"1,2,\"x\n\""),
    ),
    (
        "COPY src FROM STDIN (FORMAT binary)",
        b"PGCOPX\n\xff\r\n\0\0\0\0\0\0\0\0\0",
        "22P04",
        "COPY file signature not recognized",
        None,
    ),
    (
        "COPY src FROM STDIN (FORMAT binary)",
        b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x03\0\0\0\x04\0\0",
        "22P04",
        "unexpected EOF in COPY data",
        Some("COPY src, line 1, column a"),
    ),
    (
        "COPY src FROM STDIN",
        b"\\N\t2\tx\n",
        "23502",
        "null value in column \"a\" of relation \"src\" violates not-null constraint",
        Some("COPY src, line 1: \"\\N\t2\tx\""),
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_told_and_leaves_nothing() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    client
        .query("CREATE TABLE src (a int NOT NULL, b bigint, c varchar(5))")
        .await;
    client.query("INSERT INTO src VALUES (0, 0, 'kept')").await;
    for (sql, data, sqlstate, message, context) in BAD_INPUT {
        let error = client.try_copy_in(sql, data).await.expect_err(sql);
        assert_eq!(error.sqlstate, *sqlstate, "{error:?}");
        assert_eq!(error.message, *message);
        if context.is_some() {
            assert_eq!(error.context.as_deref(), *context);
        }
        assert_eq!(
            client.rows("SELECT * FROM src").await,
            ["0|0|kept"],
            "{sql}"
        );
    }
    let size = client.one("SELECT pg_relation_size('src')").await;
    // A long load that fails gives back what it added to the table.
    let mut data: Vec<u8> = (0..20000)
        .flat_map(|i| format!("{i}\t1\tx\n").into_bytes())
        .collect();
    data.extend_from_slice(b"oops\n");
    let error = client
        .try_copy_in("COPY src FROM STDIN", &data)
        .await
        .unwrap_err();
    assert_eq!(
        error.context.as_deref(),
        Some("COPY src, line 20001, column a: \"oops\"")
    );
    assert_eq!(client.one("SELECT pg_relation_size('src')").await, size);
    assert_eq!(client.one("SELECT count(*) FROM src").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_that_cannot_be_are_refused() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    client.query("CREATE TABLE t (a int)").await;
    for (sql, sqlstate, message) in [
        (
            "COPY t TO 'relative'",
            "42602",
            "relative path not allowed for COPY to file",
        ),
        (
            "COPY t FROM '/nonexistent/x'",
            "58P01",
            "could not open file \"/nonexistent/x\" for reading: No such file or directory",
        ),
        (
            "COPY t TO '/nonexistent/x'",
            "58P01",
            "could not open file \"/nonexistent/x\" for writing: No such file or directory",
        ),
        ("COPY t FROM '/'", "42809", "\"/\" is a directory"),
        (
            "COPY t (b) FROM '/x'",
            "42703",
            "column \"b\" of relation \"t\" does not exist",
        ),
        (
            "COPY nos FROM '/x'",
            "42P01",
            "relation \"nos\" does not exist",
        ),
        (
            "COPY t FROM '/x' (FORMAT xml)",
            "22023",
            "COPY format \"xml\" not recognized",
        ),
        (
            "COPY t FROM '/x' (NONSENSE)",
            "42601",
            "option \"nonsense\" not recognized",
        ),
        (
            "COPY t FROM '/x' WHERE a > 1",
            "0A000",
            "COPY FROM ... WHERE is not supported",
        ),
        (
            "COPY pg_settings TO '/x'",
            "42809",
            "cannot copy from view \"pg_settings\"",
        ),
    ] {
        assert_eq!(
            client.refused(sql).await,
            (sqlstate.into(), message.into()),
            "{sql}"
        );
    }
    let error = client.fails("COPY t FROM '/nonexistent/x'").await;
    assert!(
        error
            .hint
            .unwrap()
            .starts_with("COPY FROM instructs the PostgreSQL server process")
    );
}

// Positions, notices and contexts as PostgreSQL 18 gives them.
#[tokio::test(flavor = "multi_thread")]
async fn bad_options_are_pointed_at() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    client.query("CREATE TABLE t (a int, b text)").await;
    for (sql, position) in [
        ("copy t from stdin (bogus)", Some(20)),
        ("copy t to stdout (format csv, bogus 1)", Some(31)),
        ("copy t from stdin (format xml)", Some(20)),
        ("copy t from stdin (format csv, format csv)", Some(32)),
        ("copy t from stdin with csv csv", Some(28)),
        (
            "copy t to stdout with csv force quote a force quote b",
            Some(41),
        ),
        ("copy t from stdin (delimiter 'ab')", None),
    ] {
        assert_eq!(client.fails(sql).await.position, position, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn notices_and_failures_tell_where_the_load_was() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    client.query("CREATE TABLE t (a int, b text)").await;
    let data = b"1\tx\nqq\ty\n\\N\tz\nrrrr\t4\n5\t6\n";
    let skipping = |line: u32, value: &str| {
        format!(
            "skipping row due to data type incompatibility at line {line} for column \"a\": \
             \"{value}\""
        )
    };
    let context = Some("COPY t".to_owned());
    let verbose = [
        (skipping(2, "qq"), context.clone()),
        (skipping(4, "rrrr"), context),
    ];
    let total = (
        "2 rows were skipped due to data type incompatibility".to_owned(),
        None,
    );
    let sql = "COPY t FROM STDIN (ON_ERROR ignore, LOG_VERBOSITY verbose)";
    assert_eq!(client.try_copy_in(sql, data).await.unwrap(), "COPY 3");
    let told = |client: &mut crate::cluster::Client| -> Vec<(String, Option<String>)> {
        let notices = client.notices().into_iter();
        notices
            .map(|notice| (notice.message, notice.context))
            .collect()
    };
    assert_eq!(told(&mut client), [&verbose[..], &[total]].concat());
    // What was told before the load failed is told all the same.
    let sql = "COPY t FROM STDIN (ON_ERROR ignore, REJECT_LIMIT 1, LOG_VERBOSITY verbose)";
    let error = client.try_copy_in(sql, data).await.unwrap_err();
    assert_eq!(
        error.context.as_deref(),
        Some("COPY t, line 4, column a: \"rrrr\"")
    );
    assert_eq!(told(&mut client), verbose);

    for (sql, data, context) in [
        ("COPY t FROM STDIN", "1\tx\n2\ty\n", Some("COPY t, line 3")),
        ("COPY t FROM STDIN", "1\tx", Some("COPY t, line 1")),
        ("COPY t FROM STDIN", "", Some("COPY t, line 1")),
        (
            "COPY t FROM STDIN (FORMAT csv)",
            "1,x\n",
            Some("COPY t, line 2"),
        ),
        (
            "COPY t FROM STDIN (HEADER)",
            "a\tb\n",
            Some("COPY t, line 2"),
        ),
        ("COPY t FROM STDIN (FORMAT binary)", "", None),
    ] {
        let mut copy = client.start_copy_in(sql).await;
        if !data.is_empty() {
            let data = bytes::Bytes::copy_from_slice(data.as_bytes());
            copy.write(data).await.unwrap();
        }
        let error = copy.fail_by_client("because").await;
        assert_eq!(error.sqlstate, "57014");
        assert_eq!(error.message, "COPY from stdin failed: because");
        assert_eq!(error.context.as_deref(), context, "{sql} {data:?}");
        client.session.abort().await;
    }
}
