//! The facade: sessions, loads, and results in Arrow's types.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use futures::poll;
use tempfile::TempDir;
use trunkline::arrow::array::{Array, AsArray, RecordBatch};
use trunkline::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Int64Type, TimeUnit, TimestampMicrosecondType, UInt64Type,
};
use trunkline::arrow::util::pretty::pretty_format_batches;
use trunkline::{Database, Param, Session, Settings};

fn settings() -> Settings {
    Settings::new()
        .set("shared_buffers", "16MB")
        .set("timezone", "UTC")
}

fn opened(temp: &TempDir) -> Database {
    Database::open(temp.path().join("data"), settings()).unwrap()
}

async fn batches(session: &mut Session, sql: &str) -> Vec<RecordBatch> {
    let mut rows = session.query(sql).await.unwrap();
    let mut batches = Vec::new();
    while let Some(batch) = rows.next().await.unwrap() {
        assert_eq!(batch.schema_ref(), rows.schema());
        batches.push(batch);
    }
    batches
}

/// The one value of a count.
async fn count(session: &mut Session, sql: &str) -> i64 {
    let batches = batches(session, sql).await;
    batches[0].column(0).as_primitive::<Int64Type>().value(0)
}

#[tokio::test]
async fn calls_commit_and_what_is_left_unfinished_is_undone() {
    let temp = TempDir::new().unwrap();
    let database = opened(&temp);
    let (mut one, mut two) = (database.session().unwrap(), database.session().unwrap());
    let tags = one
        .execute("CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2)")
        .await
        .unwrap();
    assert_eq!(tags, ["CREATE TABLE", "INSERT 0 2"]);
    assert_eq!(count(&mut two, "SELECT count(*) FROM t").await, 2);

    // Another session sees a load when it is finished.
    let mut load = one.copy_in("COPY t FROM STDIN").await.unwrap();
    load.write("3\n").await.unwrap();
    assert_eq!(count(&mut two, "SELECT count(*) FROM t").await, 2);
    assert_eq!(load.finish().await.unwrap(), 1);
    assert_eq!(count(&mut two, "SELECT count(*) FROM t").await, 3);

    // One that is dropped is undone, and its session goes on.
    let mut load = one.copy_in("COPY t FROM STDIN").await.unwrap();
    load.write("4\n").await.unwrap();
    drop(load);
    assert_eq!(count(&mut one, "SELECT count(*) FROM t").await, 3);
    one.execute("BEGIN; INSERT INTO t VALUES (5)")
        .await
        .unwrap();
    drop(one.copy_in("COPY t FROM STDIN").await.unwrap());
    assert_eq!(one.execute("COMMIT").await.unwrap(), ["ROLLBACK"]);
    // So is a call that is left, here while it waits for a lock.
    for _ in 0..3 {
        two.execute("BEGIN; LOCK TABLE t").await.unwrap();
        let mut left = Box::pin(one.execute("INSERT INTO t VALUES (6)"));
        assert!(poll!(&mut left).is_pending());
        drop(left);
        let mut left = Box::pin(one.query("INSERT INTO t VALUES (6)"));
        assert!(poll!(&mut left).is_pending());
        drop(left);
        two.execute("COMMIT").await.unwrap();
        assert_eq!(count(&mut one, "SELECT count(*) FROM t").await, 3);
    }
    let mut load = one.copy_in("COPY t FROM STDIN").await.unwrap();
    load.write("4\nfive\n").await.unwrap();
    let error = load.finish().await.unwrap_err();
    assert_eq!(error.sqlstate, "22P02");
    assert_eq!(
        error.context.as_deref(),
        Some("COPY t, line 2, column a: \"five\"")
    );
    assert_eq!(count(&mut one, "SELECT count(*) FROM t").await, 3);

    // Rows that nobody reads to their end hold nothing up.
    let endless = "SELECT * FROM generate_series(1, 1000000000000)";
    let mut rows = one.query(endless).await.unwrap();
    assert!(rows.next().await.unwrap().is_some());
    drop(rows);
    assert_eq!(one.execute("TRUNCATE t").await.unwrap(), ["TRUNCATE TABLE"]);

    // Blocks are SQL's.
    one.execute("BEGIN; INSERT INTO t VALUES (7)")
        .await
        .unwrap();
    assert_eq!(count(&mut two, "SELECT count(*) FROM t").await, 0);
    assert_eq!(
        one.execute("SELECT nothing").await.unwrap_err().sqlstate,
        "42703"
    );
    assert_eq!(one.execute("COMMIT").await.unwrap(), ["ROLLBACK"]);
    let insert = "INSERT INTO t VALUES ($1)";
    let mut rows = one
        .query_with(insert, vec![Param::text("8")])
        .await
        .unwrap();
    assert!(rows.next().await.unwrap().is_none());
    assert_eq!(rows.tag(), "INSERT 0 1");
    one.query_with(insert, vec![Param::NULL]).await.unwrap();
    assert_eq!(count(&mut two, "SELECT count(*) FROM t").await, 2);
    assert_eq!(
        one.query_with(insert, Vec::new())
            .await
            .unwrap_err()
            .sqlstate,
        "08P01"
    );

    // What is no load, and what gives no rows.
    assert_eq!(one.copy_in("SELECT 1").await.unwrap_err().sqlstate, "42601");
    let no_rows = one.query("COPY t FROM STDIN").await.unwrap_err();
    assert_eq!(no_rows.sqlstate, "0A000");
    assert_eq!(count(&mut one, "SELECT count(*) FROM t").await, 2);

    // A division in the middle of a result.
    let mut rows = one
        .query("SELECT 1 / (g - 20000) FROM generate_series(1, 30000) AS g")
        .await
        .unwrap();
    let error = loop {
        match rows.next().await {
            Ok(batch) => assert!(batch.is_some()),
            Err(error) => break error,
        }
    };
    assert_eq!(error.sqlstate, "22012");
    assert!(rows.next().await.unwrap().is_none());

    let refused = database.close().unwrap_err();
    assert_eq!(refused.sqlstate, "55006");
    assert_eq!(refused.detail.as_deref(), Some("There are 2 of them."));
    drop((one, two));
    database.close().unwrap();
    assert_eq!(database.session().unwrap_err().sqlstate, "57P03");
}

#[tokio::test]
async fn values_come_in_arrows_own_types() {
    let temp = TempDir::new().unwrap();
    let database = opened(&temp);
    let mut session = database.session().unwrap();
    let sql = "SELECT true AS b, 1::int2 AS i2, 2 AS i4, 3::int8 AS i8, 1.5::float4 AS f4, \
                      2.5::float8 AS f8, 12.5::numeric(6,2) AS n, 1.50::numeric AS any_scale, \
                      'x'::text AS t, 'y'::char(3) AS c, '\\x01ff'::bytea AS y, \
                      '1970-01-02'::date AS d, '1970-01-01 00:00:01'::timestamp AS ts, \
                      '2000-01-01 00:00:00.5+00'::timestamptz AS tz, 7::oid AS o, \
                      'FFFFFFFF/FFFFFFFF'::pg_lsn AS l, NULL AS nothing, NULL::timestamp AS nots, \
                      'pg_class'::regclass AS r, ARRAY(SELECT 1) AS a, NULL::numeric(5,1) AS non";
    let got = batches(&mut session, sql).await;
    let [batch] = got.as_slice() else {
        panic!("{got:?}");
    };
    let microseconds = |zone: Option<&str>| {
        DataType::Timestamp(TimeUnit::Microsecond, zone.map(std::convert::Into::into))
    };
    let types: Vec<DataType> = batch
        .schema()
        .fields()
        .iter()
        .map(|field| field.data_type().clone())
        .collect();
    assert_eq!(
        types,
        [
            DataType::Boolean,
            DataType::Int16,
            DataType::Int32,
            DataType::Int64,
            DataType::Float32,
            DataType::Float64,
            DataType::Decimal128(6, 2),
            DataType::Utf8,
            DataType::Utf8,
            DataType::Utf8,
            DataType::Binary,
            DataType::Date32,
            microseconds(None),
            microseconds(Some("UTC")),
            DataType::UInt32,
            DataType::UInt64,
            DataType::Utf8,
            microseconds(None),
            DataType::Utf8,
            DataType::Utf8,
            DataType::Decimal128(5, 1),
        ]
    );
    assert_eq!(
        batch.column(6).as_primitive::<Decimal128Type>().value(0),
        1250
    );
    assert_eq!(batch.column(7).as_string::<i32>().value(0), "1.50");
    assert_eq!(batch.column(9).as_string::<i32>().value(0), "y  ");
    assert_eq!(batch.column(11).as_primitive::<Date32Type>().value(0), 1);
    let us = |column: usize| {
        let column = batch.column(column);
        column.as_primitive::<TimestampMicrosecondType>().value(0)
    };
    assert_eq!((us(12), us(13)), (1_000_000, 946_684_800_500_000));
    assert_eq!(
        batch.column(15).as_primitive::<UInt64Type>().value(0),
        u64::MAX
    );
    for column in [16, 17, 20] {
        assert!(batch.column(column).is_null(0));
    }
    assert_eq!(batch.column(18).as_string::<i32>().value(0), "pg_class");
    assert_eq!(batch.column(19).as_string::<i32>().value(0), "{1}");

    // Rows without columns, statements that are no queries.
    let got = batches(&mut session, "SELECT FROM generate_series(1, 3)").await;
    assert_eq!(got.iter().map(RecordBatch::num_rows).sum::<usize>(), 3);
    let shown = batches(&mut session, "SHOW work_mem").await;
    let shown = pretty_format_batches(&shown).unwrap().to_string();
    assert!(shown.contains("| 4MB      |"), "{shown}");

    // What Arrow's types cannot hold.
    for (value, sqlstate) in [
        ("'infinity'::date", "22008"),
        ("'-infinity'::timestamp", "22008"),
        ("'294276-12-31'::timestamptz", "22008"),
        ("'NaN'::numeric(6,2)", "22003"),
    ] {
        let mut rows = session.query(&format!("SELECT {value}")).await.unwrap();
        let error = rows.next().await.unwrap_err();
        assert_eq!(error.sqlstate, sqlstate, "{value}: {error}");
        let text = batches(&mut session, &format!("SELECT {value}::text")).await;
        assert_eq!(text[0].num_rows(), 1);
    }
    drop(session);
    database.close().unwrap();
}

#[tokio::test]
async fn directories_and_settings_are_checked() {
    let temp = TempDir::new().unwrap();
    let data_dir = temp.path().join("data");
    let missing = Database::open(&data_dir, settings().existing_only()).unwrap_err();
    assert!(
        missing.message.contains("is not a data directory"),
        "{missing}"
    );
    let bad = Database::open(&data_dir, settings().set("work_mem", "much")).unwrap_err();
    assert_eq!(bad.sqlstate, "22023");
    assert!(!data_dir.exists());
    let database = opened(&temp);
    let twice = Database::open(&data_dir, settings()).unwrap_err();
    assert!(twice.message.contains("is in use"), "{twice}");
    let mut session = database.session().unwrap();
    session.execute("CREATE TABLE kept (a int)").await.unwrap();
    drop(session);
    database.close().unwrap();
    drop(database);
    let database = Database::open(&data_dir, settings().existing_only()).unwrap();
    let mut session = database.session().unwrap();
    assert_eq!(count(&mut session, "SELECT count(*) FROM kept").await, 0);
}
