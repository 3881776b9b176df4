//! A cleanly stopped data directory before PostgreSQL's tools.

use std::collections::HashMap;
use std::path::Path;

use trunkline_harness::Postgres;

use crate::client::Client;
use crate::pages;
use crate::postgres::Cluster;
use crate::rows::{create_table, seed, text_rows};
use crate::trunkline::Trunkline;

const ROWS: usize = 2000;

/// pg_controldata's lines.
fn control_data(judge: &Postgres, data: &Path) -> HashMap<String, String> {
    let said = judge.inspect("pg_controldata", &["-D", data.to_str().unwrap()]);
    // Warnings about checksums or sizes go to either.
    let text = said.without_complaints();
    assert!(!text.contains("WARNING"), "{text}");
    text.lines()
        .map(|line| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_owned(), value.trim().to_owned())
        })
        .collect()
}

/// `pg_checksums --check` finds nothing wrong and has nothing to say.
pub fn check_checksums(judge: &Postgres, data: &Path) {
    let said = judge.inspect("pg_checksums", &["--check", "-D", data.to_str().unwrap()]);
    let text = said.without_complaints();
    assert!(text.contains("Bad checksums:  0\n"), "{text}");
    assert!(text.contains("Data checksum version: 1\n"), "{text}");
    let blocks = text
        .lines()
        .find_map(|line| line.strip_prefix("Blocks scanned:"))
        .unwrap();
    assert!(blocks.trim().parse::<u32>().unwrap() > 100, "{text}");
}

/// The rows of a system table's file without a deleter, with PostgreSQL's idea of its columns.
/// `columns` are the columns' numbers.
fn raw_rows(client: &mut Client, path: &str, table: &str, columns: &[usize]) -> Vec<Vec<String>> {
    let wanted: Vec<String> = columns
        .iter()
        .map(|number| format!("encode(attributes[{number}], 'hex')"))
        .collect();
    // HEAP_XMAX_INVALID and HEAP_XMIN_COMMITTED: the row is there.
    let rows = client.rows(&format!(
        "SELECT {} FROM (SELECT tuple_data_split('{table}'::regclass, t_data, t_infomask,
                                                 t_infomask2, t_bits) AS attributes
                           FROM ({}) AS pages, heap_page_items(page)
                          WHERE lp_flags = 1 AND t_infomask & 2048 <> 0) AS tuples",
        wanted.join(", "),
        pages::file_pages(path),
    ));
    let text = |row: Vec<Option<String>>| row.into_iter().map(Option::unwrap).collect();
    rows.into_iter().map(text).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// A little-endian integer in hexadecimal digits, as SELECT shows it.
fn integer(hex: &str) -> String {
    let number = unhex(hex)
        .iter()
        .rev()
        .fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    number.to_string()
}

/// A `name` in hexadecimal digits, as SELECT shows it.
fn name(hex: &str) -> String {
    let bytes = unhex(hex);
    assert_eq!(bytes.len(), 64);
    let text = String::from_utf8(bytes).unwrap();
    text.trim_end_matches('\0').to_owned()
}

#[test]
fn tools_accept_a_stopped_directory_and_decode_its_rows() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let judge = cluster.judge();
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let trunkline = Trunkline::start(&data_dir);
    let (mut ours, mut theirs) = (trunkline.client(), cluster.client());

    // The same rows by the same command on both sides.
    let rows = text_rows(seed(), ROWS);
    for client in [&mut ours, &mut theirs] {
        client.run(&create_table("decoded"));
        client.copy_in("COPY decoded FROM STDIN", &rows);
        client.run("CREATE TABLE dropped (a int); DROP TABLE dropped");
        client.run("BEGIN; CREATE TABLE never (a int); ROLLBACK");
    }
    let user_file = trunkline.table_file("decoded");
    let class_file = trunkline.table_file("pg_class");
    let attribute_file = trunkline.table_file("pg_attribute");
    let select = |client: &mut Client, sql: &str| -> Vec<Vec<String>> {
        let mut rows: Vec<Vec<String>> = client
            .rows(sql)
            .into_iter()
            .map(|row| row.into_iter().map(Option::unwrap).collect())
            .collect();
        rows.sort();
        rows
    };
    let class_rows = select(
        &mut ours,
        "SELECT oid, relname, relnamespace, relfilenode, relkind, relnatts FROM pg_class",
    );
    let attribute_rows = select(
        &mut ours,
        "SELECT attrelid, attname, atttypid, attlen, attnum FROM pg_attribute WHERE attnum > 0",
    );
    let our_oid: u32 = ours
        .value("SELECT 'decoded'::regclass::oid")
        .parse()
        .unwrap();
    drop(ours);
    trunkline.stop();

    // pg_control.
    let control = control_data(judge, &data_dir);
    let theirs_control = control_data(judge, &cluster.data());
    for same in [
        "pg_control version number",
        "Catalog version number",
        "Database block size",
        "Blocks per segment of large relation",
        "WAL block size",
        "Bytes per WAL segment",
        "Maximum data alignment",
        "Maximum length of identifiers",
        "Maximum columns in an index",
        "Maximum size of a TOAST chunk",
        "Size of a large-object chunk",
        "Date/time type storage",
        "Float8 argument passing",
        "Data page checksum version",
        "Default char data signedness",
        "Latest checkpoint's TimeLineID",
    ] {
        assert_eq!(control[same], theirs_control[same], "{same}");
    }
    assert_eq!(control["Database cluster state"], "shut down");
    let next_oid: u32 = control["Latest checkpoint's NextOID"].parse().unwrap();
    assert!(next_oid > our_oid, "{next_oid} after {our_oid}");
    let (epoch, next_xid) = control["Latest checkpoint's NextXID"]
        .split_once(':')
        .unwrap();
    assert_eq!(epoch, "0");
    let next_xid: u32 = next_xid.parse().unwrap();
    let oldest: u32 = control["Latest checkpoint's oldestXID"].parse().unwrap();
    assert!(
        oldest >= 3 && next_xid > oldest,
        "{next_xid} after {oldest}"
    );
    assert_eq!(control["Latest checkpoint's oldestActiveXID"], "0");

    check_checksums(judge, &data_dir);

    // The user table: the same items on the same pages, attribute by attribute.
    let lent = judge.lend(&user_file, "decoded");
    // The shutdown checkpoint's record is the log's last.
    let log_end = &control["Latest checkpoint location"];
    pages::check_headers(&mut theirs, &pages::file_pages(&lent), log_end);
    let our_items = pages::items(&mut theirs, &pages::file_pages(&lent), "decoded");
    let their_items = pages::items(&mut theirs, &pages::table_pages("decoded"), "decoded");
    assert_eq!(our_items.len(), ROWS);
    for (our_item, their_item) in our_items.iter().zip(&their_items) {
        assert_eq!(our_item, their_item);
    }
    assert_eq!(our_items.len(), their_items.len());
    let xids = theirs.rows(&format!(
        "SELECT DISTINCT t_xmin::text::int8 < {next_xid}, t_xmax
           FROM ({}) AS pages, heap_page_items(page)",
        pages::file_pages(&lent)
    ));
    assert_eq!(xids, [["t", "0"].map(|text| Some(text.to_owned()))]);

    // System tables.
    let lent = judge.lend(&class_file, "pg_class");
    let mut decoded: Vec<Vec<String>> =
        raw_rows(&mut theirs, &lent, "pg_class", &[1, 2, 3, 8, 18, 19])
            .iter()
            .map(|row| {
                let kind = String::from_utf8(unhex(&row[4])).unwrap();
                let numbers = [0, 2, 3, 5].map(|at| integer(&row[at]));
                let [oid, namespace, file, columns] = numbers;
                vec![oid, name(&row[1]), namespace, file, kind, columns]
            })
            .collect();
    decoded.sort();
    assert!(class_rows.iter().any(|row| row[1] == "decoded"));
    assert!(
        !class_rows
            .iter()
            .any(|row| row[1] == "dropped" || row[1] == "never")
    );
    // A rolled-back row has no deleter either; only its transaction says that it is not there.
    decoded.retain(|row| row[1] != "never");
    assert_eq!(decoded, class_rows);

    let lent = judge.lend(&attribute_file, "pg_attribute");
    let mut decoded: Vec<Vec<String>> =
        raw_rows(&mut theirs, &lent, "pg_attribute", &[1, 2, 3, 4, 5])
            .iter()
            .map(|row| {
                let signed = |hex: &str| {
                    let number: u64 = integer(hex).parse().unwrap();
                    (number as i16).to_string()
                };
                let oid = integer(&row[0]);
                vec![
                    oid,
                    name(&row[1]),
                    integer(&row[2]),
                    signed(&row[3]),
                    signed(&row[4]),
                ]
            })
            .filter(|row| !row[4].starts_with('-'))
            .collect();
    decoded.retain(|row| class_rows.iter().any(|class| class[0] == row[0]));
    decoded.sort();
    assert_eq!(decoded, attribute_rows);
}
