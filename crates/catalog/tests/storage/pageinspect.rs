//! PostgreSQL's pageinspect takes our catalog pages apart into the rows that we see.

use trunkline_aio::{Aio, AioConfig};
use trunkline_buffer::RelFork;
use trunkline_catalog::{RowValues, SystemTable, oids, system_tables};
use trunkline_harness::Cluster as Judge;
use trunkline_pgformat::ForkNumber;

use crate::cluster::{Cluster, DATABASE, new_table};

/// `t_infomask`: there is no deleter.
const XMAX_INVALID: u32 = 0x0800;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// A value as `tuple_data_split` gives it, without its varlena header.
fn payload(len: i16, value: Vec<u8>) -> Vec<u8> {
    match (len, value.first()) {
        (-1, Some(first)) if first & 1 == 1 => value[1..].to_vec(),
        (-1, _) => value[4..].to_vec(),
        _ => value,
    }
}

/// The rows without a deleter in the file, as PostgreSQL's pageinspect finds them.
fn judged_rows(judge: &Judge, cluster: &Cluster, table: &SystemTable) -> Vec<RowValues> {
    let locator = table.initial_locator(DATABASE);
    let file = cluster
        .directory
        .path()
        .join(locator.path(ForkNumber::Main));
    let path = judge.postgres().lend(&file, table.name);
    let blocks = cluster.pool.nblocks(RelFork::main(locator)).unwrap();
    let pages = format!(
        "(SELECT b, pg_read_binary_file('{path}', b * 8192, 8192) AS page
            FROM generate_series(0, {blocks} - 1) b) pages"
    );
    let headers = judge.query(&format!(
        "SELECT (h).checksum = page_checksum(page, b), (h).pagesize, (h).version, (h).special
           FROM (SELECT *, page_header(page) h FROM {pages}) headers"
    ));
    assert_eq!(headers.len(), blocks as usize);
    for header in headers {
        assert_eq!(
            header,
            ["t", "8192", "4", "8192"],
            "a page of {}",
            table.name
        );
    }
    let rows = judge.query(&format!(
        "SELECT t_infomask, (SELECT string_agg(coalesce(encode(v, 'hex'), 'NULL'), ',' ORDER BY n)
                               FROM unnest(tuple_data_split('pg_catalog.{name}'::regclass, t_data,
                                                            t_infomask, t_infomask2, t_bits))
                                    WITH ORDINALITY u (v, n))
           FROM {pages}, heap_page_items(page) WHERE lp_flags = 1 ORDER BY b, lp",
        name = table.name
    ));
    let live = rows
        .iter()
        .filter(|row| row[0].parse::<u32>().unwrap() & XMAX_INVALID != 0);
    live.map(|row| {
        let values = row[1].split(',').zip(table.desc.attrs());
        values
            .map(|(value, attribute)| {
                (value != "NULL").then(|| payload(attribute.len, unhex(value)))
            })
            .collect()
    })
    .collect()
}

#[test]
fn pageinspect_sees_the_same_rows() {
    let Some(judge) = Judge::init("pageinspect", &[]) else {
        return;
    };
    judge.start(&[]);
    judge.query("CREATE EXTENSION pageinspect");
    let cluster = Cluster::create(Aio::start(AioConfig::default()).unwrap());
    for (name, oid) in [("src", 16384), ("dropped", 16484), ("truncated", 16584)] {
        cluster.create_table(&new_table(name, oid));
    }
    let transaction = cluster.begin();
    let [dropped, truncated] = [16484, 16584].map(trunkline_pgformat::Oid);
    cluster
        .command(&transaction, |writer| writer.drop_table(dropped))
        .unwrap();
    cluster
        .command(&transaction, |writer| {
            writer.set_relfilenode(truncated, 30000)
        })
        .unwrap();
    cluster.commit(transaction, &[dropped, truncated]);
    cluster.write_out();

    let mut compared = 0;
    for table in system_tables() {
        let rows: Vec<RowValues> = cluster
            .rows(table)
            .into_iter()
            .map(|(_, row)| row)
            .collect();
        let judged = judged_rows(&judge, &cluster, table);
        let shown = |rows: &[RowValues]| -> Vec<String> {
            let value = |value: &Option<Vec<u8>>| value.as_deref().map_or("NULL".to_owned(), hex);
            rows.iter()
                .map(|row| row.iter().map(value).collect::<Vec<_>>().join(","))
                .collect()
        };
        assert_eq!(shown(&judged), shown(&rows), "{}", table.name);
        compared += rows.len();
        if table.oid == oids::PG_CLASS {
            assert_eq!(rows.len(), system_tables().len() + 2);
        }
    }
    assert!(compared > 1000, "{compared}");
}
