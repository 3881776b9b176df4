//! Transaction blocks: status, warnings, and what ROLLBACK undoes.

use trunkline_sql::outcome::TransactionStatus;

use crate::cluster::Cluster;

/// Whether a file is gone, or waits empty for a checkpoint to be removed.
fn is_removed(path: &std::path::Path) -> bool {
    std::fs::metadata(path).map_or(true, |metadata| metadata.len() == 0)
}

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
    assert!(is_removed(&cluster.database.data_dir().join(&other)));

    client.query("BEGIN; DROP TABLE t").await;
    assert_eq!(client.fails("SELECT a FROM t").await.sqlstate, "42P01");
    client.query("ROLLBACK").await;
    assert_eq!(client.rows("SELECT a FROM t").await, ["1"]);
    client.query("DROP TABLE t").await;
    assert!(is_removed(&cluster.database.data_dir().join(&path)));
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

// Everything as PostgreSQL 18 answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_transaction_writes_nothing() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    client
        .query("CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
        .await;
    client.query("PREPARE p AS INSERT INTO t VALUES (2)").await;
    for (sql, command) in [
        ("INSERT INTO t VALUES (2)", "INSERT"),
        ("INSERT INTO t DEFAULT VALUES", "INSERT"),
        ("EXPLAIN ANALYZE INSERT INTO t VALUES (2)", "INSERT"),
        ("EXECUTE p", "INSERT"),
        ("COPY t FROM STDIN", "COPY FROM"),
        ("COPY t FROM '/nope'", "COPY FROM"),
        ("COPY t FROM STDIN (bogus)", "COPY FROM"),
        ("CREATE TABLE u (a int)", "CREATE TABLE"),
        ("CREATE TABLE IF NOT EXISTS t (a int)", "CREATE TABLE"),
        ("DROP TABLE t", "DROP TABLE"),
        ("DROP TABLE IF EXISTS nope", "DROP TABLE"),
        ("TRUNCATE t", "TRUNCATE TABLE"),
        ("TRUNCATE nope", "TRUNCATE TABLE"),
    ] {
        client.query("BEGIN READ ONLY").await;
        let message = format!("cannot execute {command} in a read-only transaction");
        assert_eq!(
            client.refused(sql).await,
            ("25006".into(), message),
            "{sql}"
        );
        client.query("ROLLBACK").await;
    }
    client.query("START TRANSACTION READ ONLY").await;
    assert_eq!(
        client.fails("INSERT INTO nope VALUES (1)").await.sqlstate,
        "42P01"
    );
    client.query("ROLLBACK").await;
    client.query("BEGIN READ ONLY").await;
    for sql in [
        "SELECT * FROM t",
        "EXPLAIN INSERT INTO t VALUES (2)",
        "PREPARE q AS INSERT INTO t VALUES (2)",
        "LOCK TABLE t",
        "CHECKPOINT",
        "SET work_mem = '5MB'",
        "DISCARD TEMP",
        "DEALLOCATE ALL",
    ] {
        client.query(sql).await;
    }
    assert_eq!(client.copy_out("COPY t TO STDOUT").await.0, b"1\n");
    client.query("COMMIT").await;
    assert_eq!(client.rows("SELECT * FROM t").await, ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn transaction_modes_come_and_go_as_in_postgres() {
    let cluster = Cluster::new();
    let mut client = cluster.client();
    client.query("CREATE TABLE t (a int)").await;
    let show = "SHOW transaction_read_only";
    assert_eq!(client.query("BEGIN").await.tag, "BEGIN");
    client.query("ROLLBACK").await;
    let answer = client
        .query("START TRANSACTION READ ONLY, ISOLATION LEVEL READ COMMITTED")
        .await;
    assert_eq!(answer.tag, "START TRANSACTION");
    assert_eq!(client.one(show).await, "on");
    // SHOW and LOCK TABLE are no queries.
    client
        .query("LOCK TABLE t; SET TRANSACTION READ WRITE")
        .await;
    assert_eq!(client.one(show).await, "off");
    client
        .query("INSERT INTO t VALUES (1); SET TRANSACTION READ ONLY")
        .await;
    for sql in [
        "SET TRANSACTION READ WRITE",
        "SET transaction_read_only = off",
    ] {
        client.query("ROLLBACK; BEGIN READ ONLY; SELECT 1").await;
        let message = "transaction read-write mode must be set before any query";
        assert_eq!(client.refused(sql).await, ("25001".into(), message.into()));
    }
    client.query("ROLLBACK").await;
    assert_eq!(client.one(show).await, "off");

    client.query("BEGIN DEFERRABLE").await;
    assert_eq!(client.one("SHOW transaction_deferrable").await, "on");
    client.query("SELECT 1").await;
    let message = "SET TRANSACTION [NOT] DEFERRABLE must be called before any query";
    assert_eq!(
        client.refused("SET TRANSACTION NOT DEFERRABLE").await,
        ("25001".into(), message.into())
    );
    client.query("ROLLBACK").await;

    // AND CHAIN keeps the modes, but not those of a transaction that has failed.
    client.query("BEGIN READ ONLY; COMMIT AND CHAIN").await;
    assert_eq!(client.one(show).await, "on");
    client.query("ROLLBACK AND CHAIN").await;
    assert_eq!(client.one(show).await, "on");
    client.fails("SELECT 1/0").await;
    client.query("ROLLBACK AND CHAIN").await;
    assert_eq!(client.one(show).await, "off");
    client.query("ROLLBACK").await;

    client
        .query("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY, DEFERRABLE")
        .await;
    assert_eq!(
        client.session.take_parameter_changes(),
        [("default_transaction_read_only".to_owned(), "on".to_owned())]
    );
    assert_eq!(
        client.one("SHOW default_transaction_deferrable").await,
        "on"
    );
    assert_eq!(
        client.fails("INSERT INTO t VALUES (1)").await.sqlstate,
        "25006"
    );
    client
        .query("BEGIN READ WRITE; INSERT INTO t VALUES (2); COMMIT")
        .await;
    // A new default is for later transactions.
    let error = client
        .fails("SET default_transaction_read_only = off; INSERT INTO t VALUES (3)")
        .await;
    assert_eq!(error.sqlstate, "25006");
    client.query("RESET ALL").await;
    client
        .query("SET default_transaction_read_only = on; INSERT INTO t VALUES (4)")
        .await;
    client.query("DISCARD ALL").await;
    client.query("INSERT INTO t VALUES (5)").await;
    assert_eq!(client.rows("SELECT a FROM t").await, ["2", "4", "5"]);

    // A query string is a block to SET TRANSACTION.
    client.notices();
    let error = client
        .fails("SET TRANSACTION READ ONLY; INSERT INTO t VALUES (6)")
        .await;
    assert_eq!(
        (error.sqlstate.as_ref(), client.notices().len()),
        ("25006", 0)
    );
    client.query("SET TRANSACTION READ ONLY").await;
    assert_eq!(
        client.notices()[0].message,
        "SET TRANSACTION can only be used in transaction blocks"
    );
    for sql in [
        "RESET transaction_read_only",
        "SET transaction_read_only TO DEFAULT",
    ] {
        let message = "parameter \"transaction_read_only\" cannot be reset";
        assert_eq!(client.refused(sql).await, ("0A000".into(), message.into()));
    }
}
