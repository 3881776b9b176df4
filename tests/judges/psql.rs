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

/// What pg_dump writes, with COPY and with INSERT, makes the same tables with the same rows.
#[test]
fn what_pg_dump_writes_is_restored() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let directory = TempDir::new().unwrap();
    let trunkline = Trunkline::start(&directory.path().join("data"));
    let mut theirs = cluster.client();
    theirs.run(
        "CREATE TABLE dumped ( \
            a int NOT NULL, b text DEFAULT 'it''s', c numeric(7,3), d timestamptz, e bytea, f float8); \
         INSERT INTO dumped \
            SELECT g, repeat('\\ \t', g % 3), g / 7.0, '2024-02-29 12:00+02', '\\x00ff', 1.0 / g \
            FROM generate_series(1, 30) g; \
         INSERT INTO dumped VALUES (0, NULL, 'NaN', 'infinity', NULL, '-Infinity')",
    );
    let rows = "SELECT * FROM dumped ORDER BY a";
    let expected = theirs.rows(rows);
    let script = tempfile::NamedTempFile::new().unwrap();
    let path = script.path().to_str().unwrap();
    cluster.judge().give(script.path());
    for how in ["--no-owner", "--inserts"] {
        let dump = [
            "-d",
            "postgres",
            "-t",
            "dumped",
            "--no-owner",
            how,
            "-f",
            path,
        ];
        let (ok, said) = cluster.client_program("pg_dump", &dump);
        assert!(ok, "{said}");
        let restore = ["-X", "-d", "postgres", "-v", "ON_ERROR_STOP=1", "-f", path];
        let (ok, said) = trunkline.client_program(cluster.judge(), "psql", &restore);
        assert!(ok, "{how}: {said}");
        let mut ours = trunkline.client();
        assert_eq!(ours.rows(rows), expected, "{how}");
        ours.run("DROP TABLE dumped");
    }
    trunkline.stop();
}
