//! What a newcomer does, over every I/O method.

use crate::cluster::Cluster;

const LINEITEM: &str = "CREATE TABLE lineitem (l_orderkey bigint NOT NULL, l_quantity \
    numeric(15,2) NOT NULL, l_extendedprice numeric(15,2) NOT NULL, l_returnflag char(1) NOT NULL, \
    l_linestatus char(1) NOT NULL, l_shipdate date NOT NULL, l_comment varchar(44) NOT NULL)";

async fn walk(method: &str) {
    let cluster = Cluster::with(&[("io_method", method)]);
    let mut client = cluster.client();
    client
        .query("CREATE TABLE src (a int, b bigint, c text, d timestamptz)")
        .await;
    let answer = client
        .query(
            "INSERT INTO src SELECT i, i * 10000000000, 'row ' || i, '2024-05-06 07:08:09+00' \
             FROM generate_series(1, 20000) AS i",
        )
        .await;
    assert_eq!(answer.tag, "INSERT 0 20000");
    assert_eq!(client.one("SELECT count(*) FROM src").await, "20000");
    assert_eq!(
        client
            .one("SELECT sum(a), sum(b), min(c), max(d) FROM src")
            .await,
        "200010000|2000100000000000000|row 1|2024-05-06 07:08:09+00"
    );
    let file = cluster.file("src.bin");
    let file = file.display();
    assert_eq!(
        client
            .query(&format!("COPY src TO '{file}' (FORMAT binary)"))
            .await
            .tag,
        "COPY 20000"
    );
    client
        .query(&format!(
            "BEGIN; CREATE TABLE f (LIKE src); COPY f FROM '{file}' (FORMAT binary, FREEZE); COMMIT"
        ))
        .await;
    assert_eq!(
        client.one("SELECT count(*), sum(a) FROM f").await,
        "20000|200010000"
    );
    // After two scans every page is known to be all-visible; the count is the same.
    assert_eq!(client.one("SELECT count(*) FROM src").await, "20000");
    assert_eq!(client.one("SELECT count(*) FROM src").await, "20000");

    client.query(LINEITEM).await;
    let mut csv = String::from("header,is,skipped,a,b,c,d\n");
    for line in 0..3000 {
        let flag = ["A", "N", "R"][line % 3];
        csv.push_str(&format!(
            "{line},{}.50,{}.25,{flag},O,1998-0{}-02,\"a, b\"\n",
            line % 50,
            line,
            8 + line % 2
        ));
    }
    let tag = client
        .try_copy_in(
            "COPY lineitem FROM STDIN (FORMAT csv, HEADER)",
            csv.as_bytes(),
        )
        .await
        .unwrap();
    assert_eq!(tag, "COPY 3000");
    assert_eq!(
        client
            .rows(
                "SELECT l_returnflag, l_linestatus, sum(l_quantity), avg(l_extendedprice), count(*) \
                 FROM lineitem WHERE l_shipdate <= date '1998-09-01' GROUP BY 1, 2 ORDER BY 1, 2"
            )
            .await,
        [
            "A|O|12250.00|1497.2500000000000000|500",
            "N|O|12250.00|1501.2500000000000000|500",
            "R|O|12250.00|1499.2500000000000000|500",
        ]
    );

    let blocks: u64 = client
        .one("SELECT pg_prewarm('src', 'buffer')")
        .await
        .parse()
        .unwrap();
    assert!(blocks > 100);
    assert_eq!(
        client.one("SELECT pg_relation_size('src')").await,
        (blocks * 8192).to_string()
    );
    client.query("SELECT * FROM pg_stat_aios").await;
    assert_eq!(client.one("SHOW io_method").await, method);
    client.query("SET io_combine_limit = '256kB'").await;
    assert_eq!(client.one("SHOW io_combine_limit").await, "256kB");
    assert_eq!(client.query("CHECKPOINT").await.tag, "CHECKPOINT");
    drop(client);

    let cluster = cluster.restart();
    let mut client = cluster.client();
    assert_eq!(
        client.one("SELECT count(*), sum(b) FROM f").await,
        "20000|2000100000000000000"
    );
    assert_eq!(client.one("SELECT count(*) FROM lineitem").await, "3000");
    drop(client);
    cluster.database.stop().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn with_synchronous_io() {
    walk("sync").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_workers() {
    walk("worker").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_io_uring() {
    walk("io_uring").await;
}
