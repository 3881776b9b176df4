//! Transaction ids that run low: every client that takes one is warned, and in the end refused.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use trunkline_harness::{copy_directory, postgres};
use trunkline_sql::outcome::{Notice, NoticeSeverity};

use crate::cluster::{Client, Cluster};

/// The oldest id, and the first at which ids that are as old seem to lie in the future.
const OLDEST_XID: u32 = 744;
const WRAP_LIMIT: u32 = OLDEST_XID + (u32::MAX >> 1);
/// Ids that share a page of `pg_xact`. `pg_resetwal` makes no page, and the first id of one needs none.
const XACTS_PER_PAGE: u32 = 32_768;

const HINT: &str = "To avoid transaction ID assignment failures, execute a database-wide VACUUM in \
                    that database.\nYou might also need to commit or roll back old prepared \
                    transactions, or drop stale replication slots.";

/// The first id of a page of which so many are left before the wrap, or some more.
fn next_xid(left: u32) -> u32 {
    (WRAP_LIMIT - left) / XACTS_PER_PAGE * XACTS_PER_PAGE
}

/// One whose next transaction id is another one; None where PostgreSQL's programs are not there.
fn with_next_xid(cluster: Cluster, name: &str, next_xid: u32) -> Option<Cluster> {
    let postgres = postgres()?;
    let reset = |data: &Path| {
        let lent = postgres.directory(name).join("data");
        copy_directory(data, &lent).unwrap();
        fs::set_permissions(&lent, Permissions::from_mode(0o700)).unwrap();
        postgres.give(&lent);
        let (next, oldest) = (next_xid.to_string(), OLDEST_XID.to_string());
        let path = lent.to_str().unwrap();
        postgres.run("pg_resetwal", &["-x", &next, "-u", &oldest, path]);
        fs::remove_dir_all(data).unwrap();
        copy_directory(&lent, data).unwrap();
        fs::set_permissions(data, Permissions::from_mode(0o700)).unwrap();
    };
    Some(cluster.restart_after(reset))
}

#[track_caller]
fn assert_warned(client: &mut Client, left: u32) {
    let expected = Notice {
        hint: Some(HINT.to_owned()),
        ..Notice::new(
            NoticeSeverity::Warning,
            "01000",
            format!("database \"postgres\" must be vacuumed within {left} transactions"),
        )
    };
    assert_eq!(client.notices(), [expected]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_takes_an_id_is_warned() {
    let next = next_xid(39_000_000);
    let Some(cluster) = with_next_xid(Cluster::new(), "wraparound_warned", next) else {
        return;
    };
    let mut client = cluster.client();
    let mut left = WRAP_LIMIT - next;
    client.query("SELECT 1").await;
    assert_eq!(client.notices(), []);
    client.query("CREATE TABLE t (a int)").await;
    assert_warned(&mut client, left);
    // A transaction is warned once; whether it commits does not matter.
    left -= 1;
    client.query("BEGIN; INSERT INTO t VALUES (1)").await;
    assert_warned(&mut client, left);
    client.query("INSERT INTO t VALUES (2)").await;
    client.query("ROLLBACK").await;
    assert_eq!(client.notices(), []);
    left -= 1;
    client
        .fails("INSERT INTO t SELECT 1 / (3 - g) FROM generate_series(1, 4) AS g")
        .await;
    assert_warned(&mut client, left);
    left -= 1;
    client
        .try_copy_in("COPY t FROM STDIN", b"3\n")
        .await
        .unwrap();
    assert_warned(&mut client, left);
    // Where it runs without a thread, too.
    let sql = "INSERT INTO t VALUES (4)";
    let insert = client.session.prepare(sql, &[]).await.unwrap();
    for _ in 0..3 {
        left -= 1;
        client.execute_text(&insert, &[]).await.unwrap();
        assert_warned(&mut client, left);
    }
    client.query("SET client_min_messages = error").await;
    client.execute_text(&insert, &[]).await.unwrap();
    assert_eq!(client.notices(), []);
    client.query("SET client_min_messages = warning").await;
    // Who never looks keeps no more of them than this.
    for _ in 0..1010 {
        client.execute_text(&insert, &[]).await.unwrap();
    }
    let notices = client.notices();
    assert_eq!(notices.len(), 1001);
    assert_eq!(notices[1000].message, "10 more messages were left out");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_ids_are_kept_back() {
    let next = next_xid(2_000_000);
    let Some(cluster) = with_next_xid(Cluster::new(), "wraparound_refused", next) else {
        return;
    };
    let mut client = cluster.client();
    let error = client.fails("CREATE TABLE t (a int)").await;
    assert_eq!(error.sqlstate, "54000");
    assert_eq!(
        error.message,
        "database is not accepting commands that assign new transaction IDs to avoid wraparound \
         data loss in database \"postgres\""
    );
    assert_eq!(client.notices(), []);
    assert_eq!(client.one("SELECT 1").await, "1");
}
