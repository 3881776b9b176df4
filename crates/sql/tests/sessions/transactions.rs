//! Transaction blocks: status, warnings, and what ROLLBACK undoes.

use trunkline_sql::outcome::TransactionStatus;

use crate::cluster::Cluster;

#[tokio::test(flavor = "multi_thread")]
async fn blocks_begin_fail_and_end() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    assert_eq!(client.query("BEGIN").await.tag, "BEGIN");
    assert_eq!(
        client.session.transaction_status(),
        TransactionStatus::InBlock
    );
    client.query("BEGIN").await;
    let notices = client.notices();
    assert_eq!(notices[0].sqlstate, "25001");
    assert_eq!(
        notices[0].message,
        "there is already a transaction in progress"
    );
    assert_eq!(client.fails("SELECT 1/0").await.sqlstate, "22012");
    assert_eq!(
        client.session.transaction_status(),
        TransactionStatus::Failed
    );
    let (sqlstate, message) = client.refused("SELECT 1").await;
    assert_eq!(sqlstate, "25P02");
    assert_eq!(
        message,
        "current transaction is aborted, commands ignored until end of transaction block"
    );
    // A syntax error is told even there.
    assert_eq!(client.fails("SELEC").await.sqlstate, "42601");
    assert_eq!(client.query("COMMIT").await.tag, "ROLLBACK");
    assert_eq!(client.session.transaction_status(), TransactionStatus::Idle);
    for sql in ["COMMIT", "ROLLBACK"] {
        assert_eq!(client.query(sql).await.tag, sql);
        let notices = client.notices();
        assert_eq!(notices[0].sqlstate, "25P01");
        assert_eq!(notices[0].message, "there is no transaction in progress");
    }
    assert_eq!(client.fails("LOCK TABLE pg_class").await.sqlstate, "25P01");
    client.query("BEGIN; COMMIT AND CHAIN").await;
    assert_eq!(
        client.session.transaction_status(),
        TransactionStatus::InBlock
    );
    client.query("ROLLBACK").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rollback_undoes_tables_and_rows() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    client
        .query("CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
        .await;
    let path = client.one("SELECT pg_relation_filepath('t')").await;
    client
        .query(
            "BEGIN; INSERT INTO t VALUES (2); TRUNCATE t; INSERT INTO t VALUES (3); \
             CREATE TABLE u (b int); INSERT INTO u SELECT a FROM t",
        )
        .await;
    assert_eq!(client.rows("SELECT a FROM t").await, ["3"]);
    assert_eq!(client.rows("SELECT b FROM u").await, ["3"]);
    let other = client.one("SELECT pg_relation_filepath('t')").await;
    assert_ne!(path, other);
    client.query("ROLLBACK").await;
    assert_eq!(client.rows("SELECT a FROM t").await, ["1"]);
    assert_eq!(client.one("SELECT pg_relation_filepath('t')").await, path);
    assert_eq!(client.fails("SELECT b FROM u").await.sqlstate, "42P01");
    assert!(!cluster.database.data_dir().join(&other).exists());

    client.query("BEGIN; DROP TABLE t").await;
    assert_eq!(client.fails("SELECT a FROM t").await.sqlstate, "42P01");
    client.query("ROLLBACK").await;
    assert_eq!(client.rows("SELECT a FROM t").await, ["1"]);
    client.query("DROP TABLE t").await;
    assert!(!cluster.database.data_dir().join(&path).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_string_is_one_transaction() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    assert_eq!(
        client
            .fails("CREATE TABLE t (a int); INSERT INTO t VALUES (1); SELECT 1/0")
            .await
            .sqlstate,
        "22012"
    );
    assert_eq!(client.fails("SELECT * FROM t").await.sqlstate, "42P01");
    // BEGIN takes what came before it into the block.
    client
        .query("CREATE TABLE t (a int); BEGIN; INSERT INTO t VALUES (1)")
        .await;
    client.query("ROLLBACK").await;
    assert_eq!(client.fails("SELECT * FROM t").await.sqlstate, "42P01");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_session_rolls_back() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    client.query("CREATE TABLE t (a int)").await;
    let mut other = cluster.client();
    other
        .query("BEGIN; INSERT INTO t VALUES (1); LOCK TABLE t")
        .await;
    drop(other);
    // Waits for the lock that the rollback releases.
    assert_eq!(client.one("SELECT count(*) FROM t").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_copy_needs_a_table_of_its_own_transaction() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    client.query("CREATE TABLE t (a int)").await;
    let error = client
        .try_copy_in("COPY t FROM STDIN (FREEZE)", b"1\n")
        .await
        .unwrap_err();
    assert_eq!(error.sqlstate, "55000");
    assert_eq!(
        error.message,
        "cannot perform COPY FREEZE because the table was not created or truncated in the current \
         subtransaction"
    );
    client.query("BEGIN; TRUNCATE t").await;
    client
        .try_copy_in("COPY t FROM STDIN (FREEZE)", b"1\n2\n")
        .await
        .unwrap();
    client.query("COMMIT").await;
    assert_eq!(client.one("SELECT count(*), sum(a) FROM t").await, "2|3");
}
