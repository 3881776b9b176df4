//! A page that went bad on disk.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::client::Failure;
use crate::postgres::Cluster;
use crate::trunkline::Trunkline;

const BLOCK: u64 = 7;

const ROWS: &str = "5000";

/// Turns one bit of a byte in the middle of the block.
fn damage(file: &Path) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(file)
        .unwrap();
    let at = BLOCK * 8192 + 5000;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

fn fill(table: &str) -> String {
    format!(
        "INSERT INTO {table} SELECT g, 'row number ' || g::text FROM generate_series(1, {ROWS}) g"
    )
}

#[test]
fn a_damaged_page_is_told_as_postgresql_tells_it() {
    let Some(cluster) = Cluster::start_new("damaged_page") else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let trunkline = Trunkline::start(&data_dir);
    let mut ours = trunkline.client();
    let mut theirs = cluster.client();
    let create = "CREATE TABLE damaged (a int, b text)";
    ours.rows(&format!(
        "{create}; CREATE TABLE sound (a int, b text); {}",
        fill("sound")
    ));
    ours.run("BEGIN; TRUNCATE damaged");
    let data: String = (1..=5000)
        .map(|number| format!("{number}\trow number {number}\n"))
        .collect();
    ours.copy_in("COPY damaged FROM STDIN (FREEZE)", data.as_bytes());
    ours.run("COMMIT");
    theirs.run(create);
    let our_path = ours.value("SELECT pg_relation_filepath('damaged')");
    let their_path = theirs.value("SELECT pg_relation_filepath('damaged')");
    let last: u64 = ours
        .value("SELECT pg_relation_size('damaged') / 8192 - 1")
        .parse()
        .unwrap();
    assert!(last > BLOCK);
    let file = trunkline.table_file("damaged");
    drop((ours, theirs));
    trunkline.stop();
    damage(&file);

    // PostgreSQL's words about the same file, and the checksums.
    cluster.stop();
    cluster.replace_file(&their_path, &file);
    cluster.start();
    let mut theirs = cluster.client();
    let expected = theirs.try_rows("SELECT sum(a) FROM damaged").unwrap_err();
    let lent = cluster.judge().lend(&file, "damaged");
    let checksums = theirs.rows(&format!(
        "SELECT page_checksum(page, {BLOCK}), (page_header(page)).checksum
           FROM (SELECT pg_read_binary_file('{lent}', {BLOCK} * 8192, 8192) AS page) AS pages"
    ));
    // Both are unsigned; pageinspect prints them as signed.
    let [found, written] =
        [0, 1].map(|at| checksums[0][at].as_deref().unwrap().parse::<i16>().unwrap() as u16);
    assert_ne!(found, written);
    let rows_left =
        theirs.rows("SET zero_damaged_pages = on; SELECT count(*), sum(a) FROM damaged");

    let trunkline = Trunkline::start(&data_dir);
    let mut ours = trunkline.client();
    for query in [
        "SELECT sum(a) FROM damaged",
        "SELECT * FROM damaged",
        "SELECT pg_prewarm('damaged')",
    ] {
        let Failure {
            sqlstate,
            message,
            detail,
            ..
        } = ours.try_rows(query).unwrap_err();
        assert_eq!(sqlstate, expected.sqlstate);
        assert_eq!(message, expected.message.replace(&their_path, &our_path));
        assert_eq!(
            detail.as_deref(),
            Some(
                format!(
                    "page verification failed, calculated checksum {found} but expected {written}"
                )
                .as_str()
            )
        );
    }
    // The blocks around it, and other tables.
    for (first, end) in [(0, BLOCK - 1), (BLOCK + 1, last)] {
        let sql = format!("SELECT pg_prewarm('damaged', 'buffer', 'main', {first}, {end})");
        assert_eq!(ours.value(&sql), (end - first + 1).to_string());
    }
    assert_eq!(
        ours.copy_out("COPY sound TO STDOUT")
            .iter()
            .filter(|byte| **byte == b'\n')
            .count(),
        5000
    );
    assert_eq!(ours.value("SELECT count(*) FROM sound"), ROWS);
    drop(ours);
    trunkline.stop();

    let trunkline = Trunkline::start_with(&data_dir, &[("zero_damaged_pages", "on")]);
    let mut ours = trunkline.client();
    assert_eq!(ours.rows("SELECT count(*), sum(a) FROM damaged"), rows_left);
    drop(ours);
    trunkline.stop();
}
