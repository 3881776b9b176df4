//! psql's backslash commands: their queries over our catalogs say what they say over
//! PostgreSQL's, where both have the same objects.

use tempfile::TempDir;

use crate::postgres::Cluster;
use crate::trunkline::Trunkline;

const TABLES: &str = "\
    CREATE TABLE psql_plain (a int, b bigint, c text, d timestamptz); \
    CREATE TABLE psql_defaults ( \
        a bigint NOT NULL, n numeric(15,2) NOT NULL DEFAULT 0, f char(1) NOT NULL DEFAULT 'x', \
        d date DEFAULT '2020-1-1', v varchar(44) NOT NULL DEFAULT 'it''s', i int DEFAULT -1, \
        b bool DEFAULT 'yes', t timestamptz DEFAULT current_timestamp, w text DEFAULT NULL, \
        u uuid DEFAULT 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', y bytea DEFAULT '\\x01'); \
    CREATE TABLE \"Psql odd\" (\"A b\" uuid, \"char\" \"char\", f float8, ts timestamp(3))";

/// Commands whose output does not depend on what else there is.
const COMMANDS: &[&str] = &[
    r"\d psql_plain",
    r"\d psql_defaults",
    r#"\d "Psql odd""#,
    r"\d+ psql_defaults",
    r"\d nosuch",
    r"\d psql_*",
    r"\dt psql_*",
    r"\dt public.psql_*",
    r"\dtS pg_clas*",
    r"\di psql_*",
    r"\dv psql_*",
    r"\ds psql_*",
    r"\dm psql_*",
    r"\dE psql_*",
    r"\dp psql_*",
    r"\ddp",
    r"\dn",
    r"\dn+",
    r"\du",
    r"\du+",
    r"\drg postgres",
    r"\db",
    r"\df abs",
    r"\df pg_relation_size",
    r"\df format_type",
    r"\df pg_walfile_name*",
    r"\df pg_current_wal_*",
    r"\df pg_wal_lsn_diff",
    r"\df pg_lsn",
    r"\df psql_*",
    r"\dT psql_*",
    r"\dT int4",
    r"\dT+ uuid",
    r"\dconfig work_mem",
    r"\dRp psql_*",
    r"\dy",
    r"\des",
    r"\encoding",
    r"\x \\ \dn",
];

#[test]
fn backslash_commands_say_the_same() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let directory = TempDir::new().unwrap();
    let trunkline = Trunkline::start(&directory.path().join("data"));
    cluster.client().run(TABLES);
    trunkline.client().run(TABLES);
    for command in COMMANDS {
        let arguments = ["-X", "-d", "postgres", "-c", command];
        let expected = cluster.client_program("psql", &arguments);
        let ours = trunkline.client_program(cluster.judge(), "psql", &arguments);
        assert_eq!(ours, expected, "{command}");
    }
    trunkline.stop();
}
