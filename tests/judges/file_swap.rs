//! A frozen table's file in the place of the same table of a PostgreSQL cluster.

use crate::client::Client;
use crate::data_directory::check_checksums;
use crate::postgres::Cluster;
use crate::rows::{create_table, seed, text_rows};
use crate::tpch;
use crate::trunkline::Trunkline;

const ROWS: usize = 2000;

const SCALE_FACTOR: f64 = 0.005;

/// `swapped_` and the name is the table whose file was swapped; the name alone one that PostgreSQL
/// loaded itself.
fn check_contents(client: &mut Client, table: &str) {
    client.run(&format!(
        "(TABLE swapped_{table} EXCEPT ALL TABLE {table}) UNION ALL \
         (TABLE {table} EXCEPT ALL TABLE swapped_{table})"
    ));
    let [ours, theirs] = ["swapped_", ""]
        .map(|prefix| client.value(&format!("SELECT count(*) FROM {prefix}{table}")));
    assert_eq!(ours, theirs);
    assert_ne!(ours, "0");
    client.run(&format!(
        "SELECT * FROM verify_heapam('swapped_{table}', check_toast := true)"
    ));
}

#[test]
fn postgresql_reads_a_frozen_table_in_place_of_its_own() {
    let Some(cluster) = Cluster::start_new("file_swap") else {
        return;
    };
    let judge = cluster.judge();
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let trunkline = Trunkline::start(&data_dir);
    let (mut ours, mut theirs) = (trunkline.client(), cluster.client());
    let tables = [
        (
            "every_type",
            create_table("every_type"),
            text_rows(seed(), ROWS),
            "",
        ),
        (
            "lineitem",
            tpch::LINEITEM.to_owned(),
            tpch::lineitem_csv(SCALE_FACTOR),
            "FORMAT csv, HEADER",
        ),
    ];
    let mut files = Vec::new();
    for (table, create, data, options) in &tables {
        let options = if options.is_empty() {
            String::new()
        } else {
            format!("{options}, ")
        };
        theirs.run(create);
        let rows = theirs.copy_in(
            &format!("COPY {table} FROM STDIN ({options}FREEZE false)"),
            data,
        );
        theirs.run(&format!(
            "CREATE TABLE swapped_{table} (LIKE {table} INCLUDING ALL)"
        ));
        let path = theirs.value(&format!("SELECT pg_relation_filepath('swapped_{table}')"));

        ours.run(&format!("BEGIN; {create}"));
        let sql = format!("COPY {table} FROM STDIN ({options}FREEZE)");
        assert_eq!(ours.copy_in(&sql, data), rows);
        ours.run("COMMIT");
        files.push((*table, trunkline.table_file(table), path));
    }
    drop((ours, theirs));
    trunkline.stop();
    check_checksums(judge, &data_dir);

    cluster.stop();
    for (_, ours, path) in &files {
        cluster.replace_file(path, ours);
        cluster.remove_file(&format!("{path}_vm"));
        cluster.remove_file(&format!("{path}_fsm"));
    }
    cluster.start();
    let mut theirs = cluster.client();
    for (table, _, _) in &files {
        check_contents(&mut theirs, table);
    }
    drop(theirs);
    cluster.stop();

    // With our visibility map as well.
    for (_, ours, path) in &files {
        let map = format!("{}_vm", ours.display());
        cluster.replace_file(&format!("{path}_vm"), map.as_ref());
    }
    cluster.start();
    let mut theirs = cluster.client();
    for (table, _, _) in &files {
        let swapped = format!("swapped_{table}");
        let marked = theirs.rows(&format!(
            "SELECT all_visible = blocks, all_frozen = blocks
               FROM pg_visibility_map_summary('{swapped}'),
                    (SELECT pg_relation_size('{swapped}') / 8192 AS blocks) AS size"
        ));
        assert_eq!(
            marked,
            [["t", "t"].map(|text| Some(text.to_owned()))],
            "{table}"
        );
        theirs.run(&format!("SELECT * FROM pg_check_frozen('{swapped}')"));
        theirs.run(&format!("SELECT * FROM pg_check_visible('{swapped}')"));
        check_contents(&mut theirs, table);
        let (is_clean, said) =
            cluster.client_program("pg_amcheck", &["-d", "postgres", "-t", &swapped]);
        assert!(is_clean && said.is_empty(), "{said}");
        // It goes on living there.
        theirs.run(&format!("DELETE FROM {swapped}"));
        theirs.run(&format!("VACUUM {swapped}"));
        assert_eq!(
            theirs.value(&format!("SELECT count(*) FROM {swapped}")),
            "0"
        );
    }
    drop(theirs);
    cluster.stop();
    check_checksums(judge, &cluster.data());
}
