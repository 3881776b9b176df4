//! Prepared statements: parameters, results that change, PREPARE and EXECUTE.

use bytes::Bytes;
use trunkline_sql::outcome::{Format, Outcome, Param};
use trunkline_types::{Oid, oids};

use crate::cluster::{Cluster, read_rows};

#[tokio::test(flavor = "multi_thread")]
async fn parameters_are_inferred_and_read() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    client
        .query("CREATE TABLE t (a int, b text, c numeric(10,2))")
        .await;
    let prepared = client
        .session
        .prepare("INSERT INTO t VALUES ($1, $2, $3)", &[])
        .await
        .unwrap();
    assert_eq!(
        prepared.param_types(),
        [oids::INT4, oids::TEXT, oids::NUMERIC]
    );
    assert!(prepared.fields().is_empty());
    let answer = client
        .execute_text(&prepared, &[Some("7"), None, Some("1.239")])
        .await
        .unwrap();
    assert_eq!(answer.tag, "INSERT 0 1");
    let error = client
        .execute_text(&prepared, &[Some("x"), None, None])
        .await
        .unwrap_err();
    assert_eq!(
        error.message,
        "invalid input syntax for type integer: \"x\""
    );

    let prepared = client
        .session
        .prepare(
            "SELECT a, c AS price, $1::text FROM t WHERE a = $2",
            &[Oid(0), oids::INT8],
        )
        .await
        .unwrap();
    assert_eq!(prepared.param_types(), [oids::TEXT, oids::INT8]);
    let fields = prepared.fields();
    assert_eq!(fields[0].column_number, 1);
    assert!(fields[0].table_oid.is_valid());
    assert_eq!(
        (fields[1].name.as_str(), fields[1].type_oid),
        ("price", oids::NUMERIC)
    );
    assert_eq!(fields[2].type_oid, oids::TEXT);
    let params = vec![
        Param {
            format: Format::Text,
            value: Some(Bytes::from_static(b"hello")),
        },
        Param {
            format: Format::Binary,
            value: Some(Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0, 7])),
        },
    ];
    let Outcome::Rows(rows) = client.session.execute(&prepared, params).await.unwrap() else {
        panic!("no rows");
    };
    let answer = read_rows(&prepared, rows).await.unwrap();
    client.session.sync().await.unwrap();
    let row: Vec<String> = answer.rows[0].iter().flatten().cloned().collect();
    assert_eq!(row, ["7", "1.24", "hello"]);
    assert_eq!(
        client
            .session
            .prepare("SELECT $1", &[])
            .await
            .map(|prepared| prepared.param_types().to_vec()),
        Ok(vec![oids::TEXT])
    );
    client.session.sync().await.unwrap();
    assert!(
        client
            .session
            .prepare(" -- nothing", &[])
            .await
            .unwrap()
            .is_empty_query()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_changes_its_result_is_refused() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    client
        .query("CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
        .await;
    let prepared = client
        .session
        .prepare("SELECT * FROM t", &[])
        .await
        .unwrap();
    client.session.sync().await.unwrap();
    assert_eq!(
        client
            .execute_text(&prepared, &[])
            .await
            .unwrap()
            .rows
            .len(),
        1
    );
    client
        .query("DROP TABLE t; CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2)")
        .await;
    // Another table of the same shape will do.
    assert_eq!(
        client
            .execute_text(&prepared, &[])
            .await
            .unwrap()
            .rows
            .len(),
        2
    );
    client.query("DROP TABLE t; CREATE TABLE t (a text)").await;
    let error = client.execute_text(&prepared, &[]).await.unwrap_err();
    assert_eq!(error.sqlstate, "0A000");
    assert_eq!(error.message, "cached plan must not change result type");
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_are_prepared_by_name() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    client.query("CREATE TABLE t (a int, b text)").await;
    assert_eq!(
        client
            .query("PREPARE p (int) AS INSERT INTO t VALUES ($1, $2)")
            .await
            .tag,
        "PREPARE"
    );
    assert_eq!(
        client.query("EXECUTE p (1 + 1, 'x')").await.tag,
        "INSERT 0 1"
    );
    client
        .query("PREPARE q AS SELECT * FROM t WHERE a = $1")
        .await;
    let answer = client.query("EXECUTE q (2)").await;
    assert_eq!(answer.columns, ["a", "b"]);
    assert_eq!(answer.rows, [[Some("2".to_owned()), Some("x".to_owned())]]);
    for (sql, sqlstate, message) in [
        (
            "PREPARE q AS SELECT 1",
            "42P05",
            "prepared statement \"q\" already exists",
        ),
        (
            "EXECUTE r",
            "26000",
            "prepared statement \"r\" does not exist",
        ),
        (
            "EXECUTE q",
            "42601",
            "wrong number of parameters for prepared statement \"q\"",
        ),
        (
            "EXECUTE q (now())",
            "42804",
            "parameter $1 of type timestamp with time zone cannot be coerced to the expected type integer",
        ),
        (
            "DEALLOCATE r",
            "26000",
            "prepared statement \"r\" does not exist",
        ),
    ] {
        assert_eq!(
            client.refused(sql).await,
            (sqlstate.into(), message.into()),
            "{sql}"
        );
    }
    assert_eq!(client.query("DEALLOCATE p").await.tag, "DEALLOCATE");
    assert_eq!(client.query("DEALLOCATE ALL").await.tag, "DEALLOCATE ALL");
    assert_eq!(client.fails("EXECUTE q (2)").await.sqlstate, "26000");
}

// As PostgreSQL 18 does.
#[tokio::test(flavor = "multi_thread")]
async fn the_protocol_and_sql_share_their_names() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    client.query("CREATE TABLE t (a int)").await;
    for (name, sql) in [
        ("one", "SELECT 1 AS one"),
        ("put", "INSERT INTO t VALUES ($1)"),
        ("make", "CREATE TABLE u (b int)"),
        ("open", "BEGIN"),
        ("nothing", ""),
        ("all", "DISCARD ALL"),
    ] {
        let prepared = client.session.prepare(sql, &[]).await.unwrap();
        client.session.name_statement(name, prepared).unwrap();
    }
    client.session.sync().await.unwrap();
    assert_eq!(client.one("EXECUTE one").await, "1");
    // PostgreSQL does not look at the arguments of a statement without parameters.
    assert_eq!(client.one("EXECUTE one (7)").await, "1");
    assert_eq!(client.query("EXECUTE put (5)").await.tag, "INSERT 0 1");
    assert_eq!(client.query("EXECUTE make").await.tag, "CREATE TABLE");
    assert_eq!(client.query("EXECUTE nothing").await.tag, "EXECUTE");
    assert_eq!(client.query("EXECUTE open; ROLLBACK").await.tag, "ROLLBACK");
    assert_eq!(
        client.refused("EXECUTE \"all\"").await,
        (
            "25001".into(),
            "DISCARD ALL cannot be executed from a function".into()
        )
    );
    assert_eq!(
        client.refused("PREPARE one AS SELECT 2").await,
        (
            "42P05".into(),
            "prepared statement \"one\" already exists".into()
        )
    );
    client.query("PREPARE two AS SELECT 2").await;
    let two = client.session.named_statement("two").unwrap();
    let answer = client.execute_text(&two, &[]).await.unwrap();
    assert_eq!(answer.rows, [[Some("2".to_owned())]]);
    let error = client.session.name_statement("two", two).unwrap_err();
    assert_eq!(error.sqlstate, "42P05");
    client.session.forget_statement("two");
    assert_eq!(client.fails("EXECUTE two").await.sqlstate, "26000");
    // DEALLOCATE is not undone.
    client.query("BEGIN; DEALLOCATE one; ROLLBACK").await;
    assert!(client.session.named_statement("one").is_none());
    client.query("DEALLOCATE ALL").await;
    assert!(client.session.named_statement("put").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execute_of_itself_ends() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    client.query("PREPARE a AS SELECT 1").await;
    let prepared = client.session.prepare("EXECUTE a", &[]).await.unwrap();
    client.session.forget_statement("a");
    client.session.name_statement("a", prepared).unwrap();
    client.session.sync().await.unwrap();
    assert_eq!(
        client.refused("EXECUTE a").await,
        ("54001".into(), "stack depth limit exceeded".into())
    );
    // Its columns are those of the statement that had the name when it was prepared.
    client.query("DEALLOCATE a; PREPARE a AS SELECT 1").await;
    let prepared = client.session.prepare("EXECUTE a", &[]).await.unwrap();
    client.query("DEALLOCATE a; PREPARE a AS SELECT 1, 2").await;
    let error = client.execute_text(&prepared, &[]).await.unwrap_err();
    assert_eq!(error.message, "cached plan must not change result type");
}

#[tokio::test(flavor = "multi_thread")]
async fn discard_forgets_what_it_names() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    let setup = "PREPARE a AS SELECT 1; SET work_mem = '9MB'";
    client.query(setup).await;
    for (sql, tag) in [
        ("DISCARD PLANS", "DISCARD PLANS"),
        ("DISCARD SEQUENCES", "DISCARD SEQUENCES"),
        ("DISCARD TEMP", "DISCARD TEMP"),
        ("DISCARD TEMPORARY", "DISCARD TEMP"),
    ] {
        assert_eq!(client.query(sql).await.tag, tag);
        let in_block = format!("BEGIN; {sql}; COMMIT");
        client.query(&in_block).await;
    }
    assert_eq!(client.one("EXECUTE a").await, "1");
    assert_eq!(client.one("SHOW work_mem").await, "9MB");
    let message = "DISCARD ALL cannot run inside a transaction block";
    for sql in [
        "BEGIN; DISCARD ALL",
        "SELECT 1; DISCARD ALL",
        "DISCARD ALL; SELECT 1",
    ] {
        assert_eq!(
            client.refused(sql).await,
            ("25001".into(), message.into()),
            "{sql}"
        );
        client.query("ROLLBACK").await;
    }
    // So it is in a pipeline that has run a statement.
    let one = client.session.prepare("SELECT 1", &[]).await.unwrap();
    let discard = client.session.prepare("DISCARD ALL", &[]).await.unwrap();
    let Outcome::Rows(rows) = client.session.execute(&one, vec![]).await.unwrap() else {
        panic!("no rows");
    };
    read_rows(&one, rows).await.unwrap();
    let error = client.session.execute(&discard, vec![]).await.unwrap_err();
    assert_eq!(error.message, message);
    client.session.abort().await;
    assert_eq!(client.one("SHOW work_mem").await, "9MB");

    assert_eq!(client.query("DISCARD ALL").await.tag, "DISCARD ALL");
    assert_eq!(client.one("SHOW work_mem").await, "4MB");
    assert_eq!(client.fails("EXECUTE a").await.sqlstate, "26000");
}
