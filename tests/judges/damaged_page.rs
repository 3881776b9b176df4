//! Pages that went bad on disk.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use tracing::Level;
use trunkline_harness::take_log;
use trunkline_pgformat::page_checksum;

use crate::client::{Client, Failure};
use crate::postgres::Cluster;
use crate::trunkline::Trunkline;

const BLOCK: u64 = 7;

const ROWS: &str = "5000";

fn open(file: &Path) -> File {
    let mut options = OpenOptions::new();
    options.read(true).write(true).open(file).unwrap()
}

/// Turns one bit of a byte in the middle of the block.
fn damage(file: &Path, block: u64) {
    let file = open(file);
    let at = block * 8192 + 5000;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

/// Gives the block a header that makes no sense, and its checksum.
fn break_header(file: &Path, block: u64) {
    let file = open(file);
    let mut page = [0; 8192];
    file.read_exact_at(&mut page, block * 8192).unwrap();
    page[12..16].fill(0xff);
    let checksum = page_checksum(&page, u32::try_from(block).unwrap());
    page[8..10].copy_from_slice(&checksum.to_le_bytes());
    file.write_all_at(&page, block * 8192).unwrap();
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
    damage(&file, BLOCK);

    // PostgreSQL's words about the same file.
    cluster.stop();
    cluster.replace_file(&their_path, &file);
    cluster.start();
    let mut theirs = cluster.client();
    let expected = theirs.try_rows("SELECT sum(a) FROM damaged").unwrap_err();
    let rows_left =
        theirs.rows("SET zero_damaged_pages = on; SELECT count(*), sum(a) FROM damaged");

    let trunkline = Trunkline::start(&data_dir);
    let mut ours = trunkline.client();
    for query in [
        "SELECT sum(a) FROM damaged",
        "SELECT * FROM damaged",
        "SELECT pg_prewarm('damaged')",
    ] {
        let ours = ours.try_rows(query).unwrap_err();
        let expected = Failure {
            message: expected.message.replace(&their_path, &our_path),
            ..expected.clone()
        };
        assert_eq!(ours, expected, "{query}");
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

/// What psql is told of SQLSTATEs, DETAILs and HINTs. Where in PostgreSQL's source a message comes
/// from, only PostgreSQL says.
fn without_location((is_success, said): (bool, String)) -> (bool, String) {
    let lines = said.lines().filter(|line| !line.starts_with("LOCATION:"));
    (is_success, lines.map(|line| format!("{line}\n")).collect())
}

/// The server's log lines about single pages, in the order of the alphabet: which of several reads in
/// flight ends first is not always the same.
fn page_lines(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<String> = lines
        .filter(|line| {
            line.starts_with("page verification failed")
                || line.starts_with("invalid page in block")
                || line.starts_with("ignoring checksum failure in block")
        })
        .collect();
    lines.sort();
    lines
}

/// Settings, statements. How blocks group into reads is each server's own affair while a scan works up
/// to its read-ahead, so scans read block by block; pg_prewarm begins with full reads in both, as
/// far as the pool lets a session pin as many buffers.
const PREWARM: [&str; 2] = ["io_combine_limit = 8", "SELECT pg_prewarm('damaged')"];
const COUNT: [&str; 2] = [
    "io_combine_limit = 1",
    "SELECT count(*), sum(a) FROM damaged",
];
const COPY: [&str; 2] = ["io_combine_limit = 1", "COPY damaged TO STDOUT"];
const FIRST_READ: [&str; 2] = [
    "io_combine_limit = 8",
    "SELECT pg_prewarm('damaged', 'buffer', 'main', 0, 7)",
];
const SECOND_READ: [&str; 2] = [
    "io_combine_limit = 8",
    "SELECT pg_prewarm('damaged', 'buffer', 'main', 8, 15)",
];

/// A server process is new for each: pages that were zeroed or ignored stay in its pool.
const CASES: &[([&str; 2], &[&str])] = &[
    (FIRST_READ, &[]),
    (SECOND_READ, &[]),
    (COUNT, &[]),
    (PREWARM, &["zero_damaged_pages"]),
    (COUNT, &["zero_damaged_pages"]),
    (COPY, &["zero_damaged_pages"]),
    (SECOND_READ, &["ignore_checksum_failure"]),
    (PREWARM, &["ignore_checksum_failure"]),
    (PREWARM, &["zero_damaged_pages", "ignore_checksum_failure"]),
    (COUNT, &["zero_damaged_pages", "ignore_checksum_failure"]),
];

const FAILURES: &str = "SELECT checksum_failures, checksum_last_failure IS NULL \
                        FROM pg_stat_database WHERE datname = 'postgres'";

#[test]
fn psql_shows_the_warnings_that_postgresql_gives() {
    let Some(cluster) = Cluster::start_new("warnings") else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let trunkline = Trunkline::start(&data_dir);
    let create = "CREATE TABLE damaged (a int, b text)";
    let mut ours = trunkline.client();
    ours.run(&format!("BEGIN; {create}"));
    let data: String = (1..=8000)
        .map(|number| format!("{number}\tpart number {number}\n"))
        .collect();
    ours.copy_in("COPY damaged FROM STDIN (FREEZE)", data.as_bytes());
    ours.run("COMMIT");
    let our_path = ours.value("SELECT pg_relation_filepath('damaged')");
    let file = trunkline.table_file("damaged");
    drop(ours);
    trunkline.stop();
    // By reads of eight: one page; several; a header and a checksum; headers and a checksum.
    for block in [17, 25, 26, 28] {
        break_header(&file, block);
    }
    // Block 28 has both.
    for block in [3, 9, 10, 14, 20, 27, 28] {
        damage(&file, block);
    }

    let mut theirs = cluster.client();
    theirs.run(create);
    theirs.run("CREATE EXTENSION pg_prewarm");
    let their_path = theirs.value("SELECT pg_relation_filepath('damaged')");
    drop(theirs);
    cluster.stop();
    cluster.replace_file(&their_path, &file);
    take_log(Level::INFO, "trunkline_buffer");
    for ([combine, statement], flags) in CASES {
        let mut commands = vec![
            r"\set VERBOSITY verbose".to_owned(),
            format!("SET {combine}"),
            "SET max_parallel_workers_per_gather = 0".to_owned(),
        ];
        commands.extend(flags.iter().map(|flag| format!("SET {flag} = on")));
        commands.push((*statement).to_owned());
        // Not of this statement any more.
        commands.push("SELECT 'done'".to_owned());
        let mut arguments = vec!["-X", "-q", "-d", "postgres"];
        for command in &commands {
            arguments.extend(["-c", command]);
        }
        let name = format!("{statement} with {flags:?}");

        cluster.start_with_buffers("128MB");
        let logged_before = cluster.log().len();
        let mut theirs = cluster.client();
        let count_before: u64 = theirs.rows(FAILURES)[0][0]
            .clone()
            .unwrap()
            .parse()
            .unwrap();
        let (ended_well, expected) = without_location(cluster.client_program("psql", &arguments));
        let is_success = !expected.contains("ERROR:");
        let failures = theirs.rows(FAILURES).remove(0);
        let their_count: u64 = failures[0].clone().unwrap().parse::<u64>().unwrap() - count_before;
        drop(theirs);
        cluster.stop();
        let log = cluster.log()[logged_before..].to_owned();
        let their_log = page_lines(
            log.lines()
                .filter_map(|line| line.split_once("LOG:  "))
                .map(|(_, line)| line.replace(&their_path, &our_path)),
        );
        assert!(!their_log.is_empty());
        assert!(expected.contains("XX001"), "{name}: {expected}");

        let trunkline = Trunkline::start(&data_dir);
        let said = without_location(trunkline.client_program(cluster.judge(), "psql", &arguments));
        assert_eq!(
            said,
            (ended_well, expected.replace(&their_path, &our_path)),
            "{name}"
        );
        let mut ours = trunkline.client();
        // After an error, how far the server had looked ahead is its own affair.
        if is_success {
            let our_count = ours.rows(FAILURES).remove(0);
            assert_eq!(our_count[0], Some(their_count.to_string()), "{name}");
            assert_eq!(our_count[1], failures[1], "{name}");
        }
        drop(ours);
        trunkline.stop();
        // Other tests have servers in this process as well.
        let our_log = page_lines(
            take_log(Level::INFO, "trunkline_buffer")
                .into_iter()
                .filter(|line| {
                    let is_of_other_test = line.contains(&format!("block {BLOCK} of"));
                    (line.contains(&our_path) && !is_of_other_test)
                        || their_log.iter().any(|theirs| theirs == line)
                }),
        );
        if is_success {
            assert_eq!(our_log, their_log, "{name}");
        }
    }

    // Who does not want to see warnings does not.
    let trunkline = Trunkline::start(&data_dir);
    let arguments = [
        "-X",
        "-q",
        "-d",
        "postgres",
        "-c",
        "SET client_min_messages = error",
        "-c",
        "SET zero_damaged_pages = on",
        "-c",
        COUNT[1],
    ];
    let (is_success, said) = trunkline.client_program(cluster.judge(), "psql", &arguments);
    assert!(is_success && !said.contains("WARNING"), "{said}");
    trunkline.stop();
}

#[test]
fn pg_stat_database_has_postgresqls_columns() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let trunkline = Trunkline::start(&directory.path().join("data"));
    let columns = |mut client: Client| client.columns("SELECT * FROM pg_stat_database");
    assert_eq!(columns(trunkline.client()), columns(cluster.client()));
    let query = "SELECT datid, datname, checksum_failures, checksum_last_failure \
                 FROM pg_stat_database WHERE datname IS NULL OR datname = 'postgres' ORDER BY datid";
    assert_eq!(trunkline.client().rows(query), cluster.client().rows(query));
    trunkline.stop();
}
