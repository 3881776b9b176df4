//! Damaged pages: who is warned of those that are published all the same, and when.

use std::os::unix::fs::FileExt;

use trunkline_pgformat::{BLCKSZ, Oid, RelFileLocator};
use trunkline_sql::outcome::NoticeSeverity;

use crate::cluster::{Client, Cluster};

const DAMAGED: [u64; 3] = [10, 60, 150];

struct Damaged {
    cluster: Cluster,
    locator: RelFileLocator,
    path: String,
}

impl Damaged {
    /// A table of enough blocks for several partitions, some of them damaged.
    async fn new() -> Damaged {
        let cluster = Cluster::new();
        let mut client = cluster.client();
        client.query("BEGIN").await;
        client.query("CREATE TABLE t (a int, b text)").await;
        let data: String = (0..40_000)
            .map(|number| format!("{number}\tpart number {number}\n"))
            .collect();
        client
            .try_copy_in("COPY t FROM STDIN (FREEZE)", data.as_bytes())
            .await
            .unwrap();
        client.query("COMMIT").await;
        client.query("CHECKPOINT").await;
        let path = client.one("SELECT pg_relation_filepath('t')").await;
        let rel_number = path.rsplit('/').next().unwrap().parse().unwrap();
        let damaged = Damaged {
            cluster,
            locator: RelFileLocator {
                spc_oid: Oid(1663),
                db_oid: Oid(5),
                rel_number,
            },
            path,
        };
        damaged.evict();
        let file = damaged.cluster.database.data_dir().join(&damaged.path);
        let file = std::fs::OpenOptions::new().write(true).open(file).unwrap();
        for block in DAMAGED {
            file.write_all_at(b"?", block * BLCKSZ as u64 + 5000)
                .unwrap();
        }
        damaged
    }

    /// Empties the pool of the table.
    fn evict(&self) {
        let database = &self.cluster.database;
        let mut io = database.aio().issuer(0).unwrap();
        let evicted = database
            .pool()
            .evict_relation(&mut io, self.locator)
            .unwrap();
        assert_eq!(evicted.skipped, 0);
    }

    fn zeroing(&self, block: u64) -> String {
        let path = &self.path;
        format!("invalid page in block {block} of relation \"{path}\"; zeroing out page")
    }

    #[track_caller]
    fn assert_warned(&self, client: &mut Client, blocks: &[u64]) {
        let mut told: Vec<String> = client
            .notices()
            .into_iter()
            .map(|notice| {
                assert_eq!(notice.severity, NoticeSeverity::Warning);
                assert_eq!(notice.sqlstate, "XX001");
                notice.message
            })
            .collect();
        let mut expected: Vec<String> = blocks.iter().map(|block| self.zeroing(*block)).collect();
        // Partitions tell as they come to them.
        told.sort();
        expected.sort();
        assert_eq!(told, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_statement_that_read_them_is_warned_of_zeroed_pages() {
    let damaged = Damaged::new().await;
    let mut client = damaged.cluster.client();
    client.query("SET io_combine_limit = 1; SET zero_damaged_pages = on; SET max_parallel_workers_per_gather = 4").await;
    client.query("CREATE TABLE u (a int, b text)").await;
    let statements = [
        "SELECT count(*) FROM t",
        "SELECT max(b) FROM t",
        "SELECT x.a FROM t AS x WHERE x.a < 0",
        "INSERT INTO u SELECT * FROM t",
        "SELECT pg_prewarm('t')",
        "EXPLAIN ANALYZE SELECT a FROM t",
    ];
    for statement in statements {
        damaged.evict();
        client.query(statement).await;
        damaged.assert_warned(&mut client, &DAMAGED);
        // In the pool they are sound, and nothing is left over for later statements.
        client.query(statement).await;
        damaged.assert_warned(&mut client, &[]);
    }
    damaged.evict();
    client.copy_out("COPY t TO STDOUT").await;
    damaged.assert_warned(&mut client, &DAMAGED);
    damaged.evict();
    client.query("SET client_min_messages = error").await;
    client.query("SELECT count(*) FROM t").await;
    damaged.assert_warned(&mut client, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_settings_are_a_sessions() {
    let damaged = Damaged::new().await;
    let (mut one, mut other) = (damaged.cluster.client(), damaged.cluster.client());
    one.query("SET io_combine_limit = 1").await;
    one.query("BEGIN").await;
    one.query("SET LOCAL zero_damaged_pages = on").await;
    one.query("SELECT count(*) FROM t").await;
    damaged.assert_warned(&mut one, &DAMAGED);
    one.query("COMMIT").await;
    damaged.evict();
    for client in [&mut one, &mut other] {
        let error = client.fails("SELECT count(*) FROM t").await;
        assert_eq!(error.sqlstate, "XX001");
        assert!(error.message.contains("invalid page"), "{error}");
        damaged.assert_warned(client, &[]);
    }
    damaged.evict();
    one.query("SET ignore_checksum_failure = on").await;
    assert_eq!(one.one("SELECT count(*) FROM t").await, "40000");
    assert_eq!(
        one.notices()
            .into_iter()
            .map(|notice| notice.message)
            .filter(|message| message.starts_with("ignoring checksum failure in block"))
            .count(),
        DAMAGED.len()
    );
    // What one has let into the pool is there for the other, who is not warned.
    assert_eq!(other.one("SELECT count(*) FROM t").await, "40000");
    damaged.assert_warned(&mut other, &[]);
}
