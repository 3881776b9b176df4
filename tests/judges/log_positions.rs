//! Where the log is, as SQL tells it: names of segments as PostgreSQL's, and positions that
//! PostgreSQL's `pg_waldump` can be given.

use tempfile::TempDir;
use trunkline_harness::postgres;

use crate::client::Client;
use crate::postgres::Cluster;
use crate::trunkline::Trunkline;

/// Pure functions of a position, and what they are called with wrongly.
const QUESTIONS: &[&str] = &[
    "SELECT pg_walfile_name('0/1000000'), pg_walfile_name('0/1000001'), pg_walfile_name('0/0')",
    "SELECT pg_walfile_name('1/FFFFFFFF'), pg_walfile_name(NULL), pg_walfile_name('FFFFFFFF/1')",
    "SELECT * FROM pg_walfile_name_offset('0/1000000')",
    "SELECT * FROM pg_walfile_name_offset('FFFFFFFF/FFFFFFFF')",
    "SELECT file_offset, file_name FROM pg_walfile_name_offset('0/1000028') AS f",
    "SELECT pg_walfile_name_offset('0/1000028')",
    "SELECT * FROM pg_walfile_name_offset(NULL)",
    "SELECT pg_walfile_name('0/1' + 16777216::numeric)",
    "SELECT pg_walfile_name('zz')",
    "SELECT pg_walfile_name(1)",
    "SELECT pg_current_wal_flush_lsn(1)",
    "SELECT pg_switch_wal(1)",
    "SELECT pg_is_in_recovery()",
    "SELECT pg_current_wal_flush_lsn() <= pg_current_wal_lsn(), \
            pg_current_wal_lsn() <= pg_current_wal_insert_lsn()",
    "SELECT pg_walfile_name(pg_current_wal_lsn()) = file_name, \
            file_offset = pg_wal_lsn_diff(l, '0/0') % 16777216 \
       FROM (SELECT pg_current_wal_lsn() AS l) AS p, pg_walfile_name_offset('0/1') AS f",
];

#[test]
fn positions_and_names_are_postgresqls() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let directory = TempDir::new().unwrap();
    let trunkline = Trunkline::start(&directory.path().join("data"));
    let (mut ours, mut theirs) = (trunkline.client(), cluster.client());
    for question in QUESTIONS {
        let expected = theirs.try_rows(question);
        assert_eq!(ours.try_rows(question), expected, "{question}");
    }
    for function in [
        "pg_current_wal_lsn",
        "pg_current_wal_flush_lsn",
        "pg_current_wal_insert_lsn",
        "pg_switch_wal",
    ] {
        let sql = format!("SELECT {function}()");
        assert_eq!(ours.columns(&sql), theirs.columns(&sql));
    }
    drop(ours);
    trunkline.stop();
}

/// The log's end and the number of records before it, seen while nobody inserted.
fn end_and_records(client: &mut Client) -> (String, u64) {
    loop {
        let position = "SELECT pg_current_wal_insert_lsn()";
        let before = client.value(position);
        let records = client.value("SELECT wal_records FROM pg_stat_wal");
        if client.value(position) == before {
            return (before, records.parse().unwrap());
        }
    }
}

#[test]
fn pg_waldump_reads_up_to_the_flush_position() {
    let Some(judge) = postgres() else {
        return;
    };
    let directory = TempDir::new().unwrap();
    let data_dir = directory.path().join("data");
    let trunkline = Trunkline::start(&data_dir);
    let mut client = trunkline.client();
    let (start, records_before) = end_and_records(&mut client);
    client.run("CREATE TABLE lp (a int, b text); CREATE UNLOGGED TABLE lp_unlogged (LIKE lp)");
    let fill = "SELECT g, repeat('x', 200) FROM generate_series(1, 3000) AS g";
    client.run(&format!("INSERT INTO lp_unlogged {fill}"));
    client.run(&format!(
        "INSERT INTO lp {fill}; CHECKPOINT; INSERT INTO lp {fill}"
    ));
    for number in 0..20 {
        client.run(&format!("INSERT INTO lp VALUES ({number})"));
    }
    let (_, records_after) = end_and_records(&mut client);
    client.run("BEGIN; TRUNCATE lp; ROLLBACK; TRUNCATE lp; DROP TABLE lp; CHECKPOINT");

    // A commit was acknowledged, so everything before it is durable.
    let arguments = ["-X", "-At", "-d", "postgres"];
    let ask = |sql| {
        let arguments = [&arguments[..], &["-c", sql]].concat();
        let (ok, said) = trunkline.client_program(judge, "psql", &arguments);
        assert!(ok, "{said}");
        said.trim().to_owned()
    };
    let (end, records_at_end) = end_and_records(&mut client);
    let flushed = ask("SELECT pg_current_wal_flush_lsn()");
    let rest = format!("SELECT '{end}'::pg_lsn - '{flushed}'");
    assert_eq!(client.value(&rest), "0", "{end} is durable up to {flushed}");
    assert!(records_before < records_after && records_after < records_at_end);

    let wal = data_dir.join("pg_wal");
    // It takes the size of segments from the file that it is told; else from any, and those that
    // were made ahead are empty.
    let first = client.value(&format!("SELECT pg_walfile_name('{start}')"));
    let wal_dir = wal.to_str().unwrap();
    let arguments = ["-p", wal_dir, "--start", &start, "--end", &flushed, &first];
    let said = judge.inspect("pg_waldump", &arguments);
    let (listed, complaints) = (said.output, said.complaints);
    // Where the log begins within a page, it says so.
    let complaints: Vec<&str> = complaints
        .lines()
        .filter(|line| !line.starts_with("pg_waldump: first record is after"))
        .collect();
    assert_eq!(complaints, [] as [&str; 0]);
    let records = listed.lines().count() as u64;
    assert_eq!(records, records_at_end - records_before, "{listed}");
    assert!(listed.contains("rmgr: XLOG") && listed.contains("CHECKPOINT_ONLINE"));
    // Only the file that a crash would empty the unlogged table with is in the log.
    let file = client.value("SELECT pg_relation_filepath('lp_unlogged')");
    let mentions: Vec<&str> = listed
        .lines()
        .filter(|line| line.contains(&file) || line.contains(&format!("/{}", &file[5..])))
        .collect();
    assert_eq!(mentions.len(), 1, "{mentions:?}");
    assert!(
        mentions[0].contains(&format!("CREATE {file}_init")),
        "{mentions:?}"
    );

    // As the README has it: from the beginning of the last file, whose name comes along.
    let readme = "SELECT l, pg_walfile_name(l - 1) FROM (SELECT pg_current_wal_flush_lsn() AS l)";
    let answer = ask(readme);
    let (end, file) = answer.split_once('|').unwrap();
    assert!(wal.join(file).is_file(), "{answer}");
    let said = judge.inspect("pg_waldump", &["-p", wal_dir, "--end", end, file]);
    let whole = said.without_complaints();
    assert_eq!(whole.lines().last(), listed.lines().last());
    drop(client);
    trunkline.stop();
}

/// What the two say of the log around the end of a segment, but for where they are.
#[test]
fn ending_a_segment_early_is_as_in_postgresql() {
    let (Some(cluster), Some(judge)) = (Cluster::shared(), postgres()) else {
        return;
    };
    let directory = TempDir::new().unwrap();
    let data_dir = directory.path().join("data");
    let trunkline = Trunkline::start(&data_dir);
    let (mut ours, mut theirs) = (trunkline.client(), cluster.client());
    let (start, records_before) = end_and_records(&mut ours);
    for client in [&mut ours, &mut theirs] {
        client.run("CREATE TABLE ended (a int); INSERT INTO ended VALUES (1)");
        let told = loop {
            let (end, _) = end_and_records(client);
            let told = client.value("SELECT pg_switch_wal()");
            let is_next = format!("SELECT '{told}'::pg_lsn - '{end}' = 24");
            // Unless the background has logged something meanwhile, or a page ends there.
            if client.value(&is_next) == "t" {
                break told;
            }
            client.run("INSERT INTO ended VALUES (2)");
        };
        // Everything before is durable, and the log goes on with a segment.
        let after = format!(
            "SELECT pg_current_wal_flush_lsn() > '{told}', \
                    pg_walfile_name('{told}'::pg_lsn - 1) \
                    < pg_walfile_name(pg_current_wal_insert_lsn() + 1)"
        );
        let yes = vec![Some("t".to_owned()); 2];
        assert_eq!(client.rows(&after), [yes]);
    }
    // Again, where nothing has been logged since.
    loop {
        ours.value("SELECT pg_switch_wal()");
        let before = end_and_records(&mut ours);
        let told = ours.value("SELECT pg_switch_wal()");
        if end_and_records(&mut ours) == before {
            // What is told of the next record is behind the header of its page.
            let end = &before.0;
            let where_it_is = format!(
                "SELECT file_offset, '{end}'::pg_lsn - '{told}' FROM pg_walfile_name_offset('{told}')"
            );
            let expected = ["0", "40"].map(|text| Some(text.to_owned())).to_vec();
            assert_eq!(ours.rows(&where_it_is), [expected]);
            break;
        }
    }
    ours.run("INSERT INTO ended VALUES (3)");
    let (end, records) = end_and_records(&mut ours);
    let wal = data_dir.join("pg_wal");
    let first = ours.value(&format!("SELECT pg_walfile_name('{start}')"));
    let last = ours.value(&format!("SELECT pg_walfile_name('{end}'::pg_lsn - 1)"));
    let wal_dir = wal.to_str().unwrap();
    let arguments = [
        "-p", wal_dir, "--start", &start, "--end", &end, &first, &last,
    ];
    let said = judge.inspect("pg_waldump", &arguments);
    let lines = said.output.lines().count() as u64;
    assert_eq!(
        lines,
        records - records_before,
        "{}{}",
        said.output,
        said.complaints
    );
    assert!(said.output.contains("desc: SWITCH"));
    theirs.run("DROP TABLE ended");
    drop(ours);
    trunkline.stop();
}
