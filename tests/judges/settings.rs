//! Settings: what they are, and what SET, RESET and SHOW say of them.

use std::collections::BTreeMap;

use tempfile::TempDir;

use crate::client::{Client, Row};
use crate::postgres::Cluster;
use crate::trunkline::Trunkline;

/// Where a row of `pg_settings` is not PostgreSQL's: because the engine is another one, or because the
/// setting holds for the whole server here.
const OTHER: &[(&str, &[&str])] = &[
    ("backend_flush_after", &["context"]),
    ("client_encoding", &["boot_val"]),
    ("data_checksums", &["boot_val"]),
    ("deadlock_timeout", &["context"]),
    ("io_combine_limit", &["boot_val"]),
    ("io_max_combine_limit", &["boot_val"]),
    ("io_method", &["boot_val", "enumvals"]),
    ("lc_messages", &["boot_val"]),
    ("listen_addresses", &["boot_val"]),
    ("log_min_messages", &["context"]),
    ("server_encoding", &["boot_val"]),
    ("shared_buffers", &["boot_val"]),
    ("TimeZone", &["boot_val"]),
    ("timezone_abbreviations", &["boot_val"]),
    ("wal_compression", &["context", "enumvals"]),
    ("wal_consistency_checking", &["context"]),
    ("wal_init_zero", &["context"]),
    ("wal_recycle", &["context"]),
    ("wal_sync_method", &["boot_val"]),
];

const COLUMNS: [&str; 8] = [
    "vartype", "unit", "context", "min_val", "max_val", "enumvals", "category", "boot_val",
];

fn settings(client: &mut Client) -> BTreeMap<String, Row> {
    // An empty text and none are the same here.
    let columns = COLUMNS.map(|column| format!("coalesce({column}::text, '')"));
    let sql = format!("SELECT name, {} FROM pg_settings", columns.join(", "));
    let rows = client.rows(&sql).into_iter();
    rows.map(|mut row| (row.remove(0).unwrap(), row)).collect()
}

#[test]
fn rows_are_postgresqls() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let directory = TempDir::new().unwrap();
    let trunkline = Trunkline::start(&directory.path().join("data"));
    let mut client = trunkline.client();
    let (ours, theirs) = (settings(&mut client), settings(&mut cluster.client()));
    let mut other = Vec::new();
    // What an extension brings has a dot.
    for (name, expected) in theirs.iter().filter(|(name, _)| !name.contains('.')) {
        let found = &ours[name];
        let columns = COLUMNS.iter().zip(found.iter().zip(expected));
        let differ = columns.filter(|(_, (found, expected))| found != expected);
        let differ: Vec<&str> = differ.map(|(column, _)| *column).collect();
        if !differ.is_empty() {
            other.push((name.as_str(), differ));
        }
    }
    other.sort_unstable_by_key(|(name, _)| name.to_lowercase());
    let mut expected: Vec<(&str, Vec<&str>)> = OTHER
        .iter()
        .map(|(name, columns)| (*name, columns.to_vec()))
        .collect();
    for (name, columns) in &mut expected {
        columns.sort_by_key(|column| COLUMNS.iter().position(|other| other == column));
        assert!(theirs.contains_key(*name), "{name}");
    }
    expected.sort_unstable_by_key(|(name, _)| name.to_lowercase());
    assert_eq!(other, expected);
    let own: Vec<&String> = ours
        .keys()
        .filter(|name| !theirs.contains_key(*name))
        .collect();
    assert_eq!(
        own,
        [
            "checkpoint_io_concurrency",
            "io_direct",
            "io_wal_concurrency",
            "io_wal_pad_partial",
            "io_wal_target_blocks",
        ]
    );
    drop(client);
    trunkline.stop();
}

/// What the scripts that `pg_dump` writes begin with.
const PG_DUMP_HEADER: &str = "
SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
SET default_tablespace = '';
SET default_table_access_method = heap;
";

/// Statements that both servers have to answer alike, in one session each.
const STATEMENTS: &[&str] = &[
    "SET client_min_messages = debug; SHOW client_min_messages",
    "SET client_min_messages = Info; SHOW client_min_messages",
    "RESET client_min_messages",
    "SET work_mem = '0100'; SHOW work_mem",
    "SET work_mem = '  100  '; SHOW work_mem",
    "SET work_mem = 100.6; SHOW work_mem",
    "SET work_mem = '1e3'; SHOW work_mem",
    "SET work_mem = '0x100'; SHOW work_mem",
    "SET work_mem = '1.5GB'; SHOW work_mem",
    "SET work_mem = '0x1p3'",
    "SET work_mem = ''",
    "SET work_mem = '08'",
    "SET work_mem = '4 MB x'",
    "SET work_mem = -5",
    "SET work_mem = '99999999999999999999'",
    "SET work_mem = '3e9'",
    "SET work_mem = 'nan'",
    "SET work_mem = true",
    "SET work_mem = '63kB'",
    "SET statement_timeout = '1.5us'; SHOW statement_timeout",
    "SET statement_timeout = '90min'; SHOW statement_timeout; RESET statement_timeout",
    "SET statement_timeout = '1day'",
    "SET statement_timeout TO 10, 20",
    "SET idle_session_timeout = '10min'; SHOW idle_session_timeout",
    "SET idle_in_transaction_session_timeout = 2147483647; SHOW idle_in_transaction_session_timeout",
    "SET zero_damaged_pages = o",
    "SET zero_damaged_pages = of; SHOW zero_damaged_pages",
    "SET zero_damaged_pages = 'TRUE '",
    "SET max_parallel_workers_per_gather = '2kB'",
    "SET \"a-b.c\" = 1",
    "SELECT set_config('a.1b', 'x', false)",
    "SELECT set_config('a.', 'x', false)",
    "SELECT set_config('a.b$', 'x', false)",
    "SET a.b.c = 1; SHOW a.b.c",
    "SET my.x = 'y'; SHOW my.x; RESET my.x; SHOW my.x",
    "SET my.y = 'y'; RESET ALL; SHOW my.y",
    "BEGIN; SET my.z = 2; ROLLBACK; SHOW my.z",
    "SHOW my.never",
    "SHOW nope",
    "SET nope = 1",
    "RESET nope",
    "SET search_path = a, \"B c\", 'd''e'; SHOW search_path",
    "SET search_path = ''; SHOW search_path",
    "SET search_path = \"$user\", public; SHOW search_path",
    "SELECT set_config('search_path', 'Abc, \"Q\"', false)",
    "SET SCHEMA 'foo'; SHOW search_path",
    "RESET search_path",
    "SET work_mem = '5MB'",
    "BEGIN; SET LOCAL work_mem = '9MB'; SET work_mem = '8MB'; SHOW work_mem; COMMIT; SHOW work_mem",
    "BEGIN; SET work_mem = '7MB'; SET LOCAL work_mem = '9MB'; COMMIT; SHOW work_mem",
    "BEGIN; SET work_mem = '6MB'; SET LOCAL work_mem = '9MB'; ROLLBACK; SHOW work_mem",
    "BEGIN; SELECT 1; SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED",
    "ROLLBACK",
    "RESET transaction_isolation",
    "SET DateStyle = 'SQL, DMY'; SHOW DateStyle",
    "SET DateStyle = 'ISO', 'YMD'; SHOW DateStyle; RESET DateStyle",
    "SET TimeZone = 'Europe/Berlin'; SHOW TimeZone",
    "SET TIME ZONE 2.5; SHOW TimeZone",
    "SET TIME ZONE 'foo/bar'",
    "RESET TimeZone",
    "SET bytea_output = ESCAPE; SHOW bytea_output",
    "SET bytea_output = 'hexx'",
    "SET extra_float_digits = 4",
    "SET extra_float_digits = '1.4'; SHOW extra_float_digits",
    "SET application_name = 'a\u{e4}\u{20ac}'; SHOW application_name",
    "SET synchronous_commit = yes; SHOW synchronous_commit",
    "SET lock_timeout = '2147483648'",
    "SET block_size = 1",
    "SET shared_buffers = 1",
    "SET checkpoint_timeout = 60",
    "SET log_connections = on",
    "SET jit_debugging_support = on",
    "SET random_page_cost = 1e400",
    "SET random_page_cost = -1",
    "SHOW vacuum_cost_delay; SHOW autovacuum_vacuum_cost_delay; SHOW log_file_mode",
    "SHOW archive_command; SHOW recursive_worktable_factor; SHOW timezone_abbreviations",
    PG_DUMP_HEADER,
    "SHOW search_path; SHOW check_function_bodies; SHOW row_security; SHOW client_min_messages",
    "SET row_security = maybe",
    // Of older scripts and clients.
    "SET default_with_oids = false; SHOW default_with_oids",
    "SET ssl_renegotiation_limit = 0; SHOW ssl_renegotiation_limit",
    "SET ssl_renegotiation_limit = 1",
    "RESET check_function_bodies; RESET row_security; SHOW row_security; RESET search_path",
    "RESET client_min_messages",
    "SET SESSION AUTHORIZATION DEFAULT; SHOW session_authorization",
    "SET ROLE NONE; SHOW role; RESET ROLE; RESET SESSION AUTHORIZATION",
    "SET SESSION AUTHORIZATION postgres; SET ROLE postgres; SHOW role",
    "DISCARD ALL",
    "SELECT name, setting, source, reset_val FROM pg_settings \
      WHERE name IN ('work_mem', 'transaction_isolation', 'lock_timeout', 'log_file_mode') ORDER BY name",
    "SELECT count(*) FROM pg_settings WHERE name IN ('role', 'is_superuser', 'default_with_oids')",
];

#[test]
fn statements_are_answered_as_by_postgresql() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let directory = TempDir::new().unwrap();
    let trunkline = Trunkline::start(&directory.path().join("data"));
    let (mut ours, mut theirs) = (trunkline.client(), cluster.client());
    for statement in STATEMENTS {
        let expected = theirs.try_rows(statement);
        assert_eq!(ours.try_rows(statement), expected, "{statement}");
    }
    drop(ours);
    trunkline.stop();
}

/// What is changed in the file is told, and counts after a restart.
#[test]
fn a_change_of_the_file_waits_for_a_restart() {
    let directory = TempDir::new().unwrap();
    let data_dir = directory.path().join("data");
    let trunkline = Trunkline::start(&data_dir);
    let mut client = trunkline.client();
    let pending = "SELECT name, setting, source, sourceline FROM pg_settings WHERE pending_restart";
    let reload = "SELECT pg_reload_conf()";
    assert_eq!(client.value(reload), "t");
    assert_eq!(client.rows(pending), [] as [Row; 0]);
    std::fs::write(data_dir.join("postgresql.conf"), "\nlock_timeout = 7s\n").unwrap();
    assert_eq!(client.value(reload), "t");
    let row = |values: [Option<&str>; 4]| values.map(|value| value.map(str::to_owned)).to_vec();
    let waiting = row([Some("lock_timeout"), Some("0"), Some("default"), None]);
    assert_eq!(client.rows(pending), [waiting]);
    drop(client);
    trunkline.stop();

    let trunkline = Trunkline::start(&data_dir);
    let mut client = trunkline.client();
    assert_eq!(client.rows(pending), [] as [Row; 0]);
    let of_file = "SELECT name, setting, source, sourceline FROM pg_settings WHERE sourceline = 2";
    let now = row([
        Some("lock_timeout"),
        Some("7000"),
        Some("configuration file"),
        Some("2"),
    ]);
    assert_eq!(client.rows(of_file), [now]);
    drop(client);
    trunkline.stop();
}
