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
