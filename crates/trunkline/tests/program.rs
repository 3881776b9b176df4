//! The built program, from outside: init, serve and sql in directories of their own.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// Keeps each program's memory small.
const SHARED_BUFFERS: &str = "shared_buffers=16MB";

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trunkline"));
    command
        .args(arguments)
        .env_remove("RUST_LOG")
        .env("USER", "tester")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn path(dir: &Path) -> &str {
    dir.to_str().unwrap()
}

/// Runs `trunkline sql` in `data_dir` with `input` as its standard input.
fn sql(data_dir: &Path, arguments: &[&str], input: &str) -> Output {
    let mut all = vec!["sql", "-D", path(data_dir), "--set", SHARED_BUFFERS];
    all.extend(arguments);
    let mut child = program(&all).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // The program may end without reading all of it.
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()).is_ok());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// What it printed, having succeeded without a word on standard error.
fn printed(output: Output) -> String {
    assert_eq!(text(&output.stderr), "");
    assert!(output.status.success(), "{:?}", output.status);
    text(&output.stdout)
}

/// A running server.
struct Served {
    child: Child,
    stdout: BufReader<ChildStdout>,
    port: u16,
}

impl Served {
    fn start(data_dir: &Path) -> Served {
        let port = free_port();
        let port_text = port.to_string();
        let arguments = [
            "serve",
            "-D",
            path(data_dir),
            "-p",
            &port_text,
            "-c",
            SHARED_BUFFERS,
        ];
        let mut child = program(&arguments).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        if line.is_empty() {
            let mut stderr = String::new();
            child
                .stderr
                .take()
                .unwrap()
                .read_to_string(&mut stderr)
                .unwrap();
            panic!("the server did not start: {stderr}");
        }
        assert_eq!(
            line,
            format!("ready to accept connections on 127.0.0.1:{port}\n")
        );
        Served {
            child,
            stdout,
            port,
        }
    }

    async fn connect(&self) -> Client {
        let config = format!(
            "host=127.0.0.1 port={} user=tester dbname=postgres",
            self.port
        );
        let (client, connection) = tokio_postgres::connect(&config, NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// Signals it, and waits for its end: exit code and log.
    fn stop(mut self, signal: Signal) -> (Option<i32>, String) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
        let output = self.child.wait_with_output().unwrap();
        (output.status.code(), text(&output.stderr))
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// The first column of a query's rows.
async fn column(client: &Client, query: &str) -> Vec<String> {
    let messages = client.simple_query(query).await.unwrap();
    messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap().to_owned()),
            _ => None,
        })
        .collect()
}

/// The program fails with exit code 1 and exactly this on standard error.
#[track_caller]
fn refuses(arguments: &[&str], expected: &str) {
    let output = program(arguments).output().unwrap();
    assert_eq!(text(&output.stderr), expected);
    assert_eq!(text(&output.stdout), "");
    assert_eq!(output.status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_served_is_there_again_after_a_clean_stop() {
    let temp = TempDir::new().unwrap();
    let data_dir = temp.path().join("data");
    let output = program(&["init", "-D", path(&data_dir)]).output().unwrap();
    assert!(printed(output).contains("is ready"));

    for (round, signal) in [Signal::SIGTERM, Signal::SIGINT].into_iter().enumerate() {
        let server = Served::start(&data_dir);
        let client = server.connect().await;
        if round == 0 {
            client
                .batch_execute("CREATE TABLE t (a int, b text)")
                .await
                .unwrap();
        }
        client
            .batch_execute("INSERT INTO t VALUES (1, 'x'), (2, NULL)")
            .await
            .unwrap();
        // A block that is open at the stop leaves nothing behind.
        client
            .batch_execute("BEGIN; INSERT INTO t VALUES (3, 'lost')")
            .await
            .unwrap();
        let (exit_code, log) = server.stop(signal);
        assert_eq!(exit_code, Some(0), "{log}");
        assert!(
            log.contains(&format!("LOG:  received {signal}: fast shutdown request\n")),
            "{log}"
        );
        assert!(
            log.ends_with("LOG:  database system is shut down\n"),
            "{log}"
        );
        assert!(client.batch_execute("SELECT 1").await.is_err());
    }
    assert_eq!(
        printed(sql(
            &data_dir,
            &["-c", "SELECT count(*), count(b) FROM t"],
            ""
        )),
        " count | count \n-------+-------\n     4 |     2\n(1 row)\n\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_work_beside_each_other() {
    let temp = TempDir::new().unwrap();
    let server = Served::start(&temp.path().join("data"));
    let writer = server.connect().await;
    writer
        .batch_execute("CREATE TABLE t (a int)")
        .await
        .unwrap();
    writer
        .batch_execute("BEGIN; INSERT INTO t VALUES (0)")
        .await
        .unwrap();
    let mut readers = Vec::new();
    for number in 1..=8 {
        let client = server.connect().await;
        readers.push(tokio::spawn(async move {
            let insert = format!("INSERT INTO t SELECT {number} FROM generate_series(1, 100)");
            client.batch_execute(&insert).await.unwrap();
            column(
                &client,
                &format!("SELECT count(*) FROM t WHERE a = {number}"),
            )
            .await
        }));
    }
    for reader in readers {
        assert_eq!(reader.await.unwrap(), ["100"]);
    }
    let other = server.connect().await;
    assert_eq!(
        column(&other, "SELECT count(*) FROM t WHERE a = 0").await,
        ["0"]
    );
    writer.batch_execute("COMMIT").await.unwrap();
    assert_eq!(column(&other, "SELECT count(*) FROM t").await, ["801"]);
    assert_eq!(server.stop(Signal::SIGTERM).0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_driver_prepares_sql_can_deallocate() {
    let temp = TempDir::new().unwrap();
    let server = Served::start(&temp.path().join("data"));
    let client = server.connect().await;
    // The driver names its statements s0, s1, ...
    let statement = client.prepare("SELECT 1 AS one").await.unwrap();
    assert_eq!(client.query(&statement, &[]).await.unwrap().len(), 1);
    client.batch_execute("DEALLOCATE ALL").await.unwrap();
    let error = client.query(&statement, &[]).await.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "26000");
    let ending = "\" does not exist";
    assert!(error.message().starts_with("prepared statement \"s"));
    assert!(error.message().ends_with(ending), "{error}");
    // The connection goes on, and prepares it anew.
    let statement = client.prepare("SELECT 2").await.unwrap();
    client.batch_execute("DISCARD ALL").await.unwrap();
    assert!(client.query(&statement, &[]).await.is_err());
    assert_eq!(column(&client, "SELECT 3").await, ["3"]);
    assert_eq!(server.stop(Signal::SIGTERM).0, Some(0));
}

#[test]
fn what_cannot_be_served_is_refused_in_one_line() {
    let temp = TempDir::new().unwrap();
    let data_dir = temp.path().join("data");
    let serve = |more: &[&'static str]| -> Vec<String> {
        ["serve", "-D", path(&data_dir), "-c", SHARED_BUFFERS]
            .iter()
            .chain(more)
            .map(|argument| (*argument).to_owned())
            .collect()
    };
    let refuses_to_serve = |more: &[&'static str], expected: &str| {
        let arguments = serve(more);
        refuses(
            &arguments.iter().map(String::as_str).collect::<Vec<_>>(),
            expected,
        );
    };
    refuses_to_serve(
        &["-c", "shared_bufers=1GB"],
        "trunkline: error: unrecognized configuration parameter \"shared_bufers\"\n",
    );
    refuses_to_serve(
        &["-c", "work_mem=4 lightyears"],
        "trunkline: error: invalid value for parameter \"work_mem\": \"4 lightyears\"\n\
         trunkline: hint: Valid units for this parameter are \"B\", \"kB\", \"MB\", \"GB\", and \
         \"TB\".\n",
    );
    refuses_to_serve(
        &["-p", "65536"],
        "trunkline: error: 65536 is outside the valid range for parameter \"port\" (1 .. 65535)\n",
    );
    refuses_to_serve(
        &["-c", "fsync"],
        "trunkline: error: -c fsync requires a value\n",
    );
    // More than any machine has.
    let too_large = "shared_buffers=8000000MB";
    for arguments in [
        ["serve", "-D", path(&data_dir), "-c", too_large],
        ["sql", "-D", path(&data_dir), "--set", too_large],
    ] {
        let output = program(&arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let stderr = text(&output.stderr);
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        let beginning = "trunkline: error: parameter \"shared_buffers\" is 8000000 MB, but this \
                         process may use only ";
        assert!(stderr.starts_with(beginning), "{stderr}");
    }
    let output = program(&["serve", "-D", path(&data_dir), "-h", "0.0.0.0"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr).lines().count(), 1);
    assert!(text(&output.stderr).contains("loopback"));
    // Nothing was made for a server that cannot start.
    assert!(!data_dir.exists());

    let foreign = temp.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("letter.txt"), "Dear reader").unwrap();
    refuses(
        &["serve", "-D", path(&foreign)],
        &format!(
            "trunkline: error: \"{}\" is not a data directory: it is not empty, and has no file \
             PG_VERSION\n",
            foreign.display()
        ),
    );
    refuses(
        &["init", "-D", path(&foreign)],
        &format!(
            "trunkline: error: \"{}\" is not a data directory: it is not empty, and has no file \
             PG_VERSION\n",
            foreign.display()
        ),
    );
}

#[test]
fn a_foreign_cluster_is_told_before_its_settings() {
    let temp = TempDir::new().unwrap();
    let data_dir = temp.path().join("data");
    printed(program(&["init", "-D", path(&data_dir)]).output().unwrap());
    // As PostgreSQL's initdb leaves it.
    fs::remove_file(data_dir.join("trunkline.version")).unwrap();
    let foreign_setting = "log_timezone = 'Etc/UTC'\n";
    fs::write(data_dir.join("postgresql.conf"), foreign_setting).unwrap();
    let expected = format!(
        "trunkline: error: data directory \"{}\" was not initialised by trunkline; opening a \
         cluster that PostgreSQL made is not supported\n",
        data_dir.display()
    );
    refuses(&["serve", "-D", path(&data_dir)], &expected);
    refuses(&["sql", "-D", path(&data_dir), "-c", "SELECT 1"], &expected);
    let settings = fs::read_to_string(data_dir.join("postgresql.conf")).unwrap();
    assert_eq!(settings, foreign_setting);
    assert!(!data_dir.join("postmaster.pid").exists());
}

#[test]
fn a_directory_and_a_port_are_used_once() {
    let temp = TempDir::new().unwrap();
    let data_dir = temp.path().join("data");
    let server = Served::start(&data_dir);
    let in_use = format!(
        "trunkline: error: data directory \"{}\" is in use by process {}\n",
        data_dir.display(),
        server.child.id()
    );
    refuses(
        &["serve", "-D", path(&data_dir), "-c", SHARED_BUFFERS],
        &in_use,
    );
    refuses(&["sql", "-D", path(&data_dir), "-c", "SELECT 1"], &in_use);
    let other = temp.path().join("other");
    let port = server.port.to_string();
    refuses(
        &[
            "serve",
            "-D",
            path(&other),
            "-p",
            &port,
            "-c",
            SHARED_BUFFERS,
        ],
        &format!(
            "trunkline: error: could not bind to 127.0.0.1:{port}: Address already in use: is \
             another server running on port {port}? Give another one with -p\n"
        ),
    );
    assert!(
        !other.exists(),
        "a server that cannot listen made a directory"
    );
    assert_eq!(server.stop(Signal::SIGTERM).0, Some(0));
}

#[test]
fn after_an_unclean_stop_it_recovers_and_serves() {
    let temp = TempDir::new().unwrap();
    let data_dir = temp.path().join("data");
    let (exit_code, _) = Served::start(&data_dir).stop(Signal::SIGKILL);
    assert_eq!(exit_code, None);
    let (exit_code, _) = Served::start(&data_dir).stop(Signal::SIGTERM);
    assert_eq!(exit_code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unlogged_table_outlives_a_stop_and_is_emptied_by_a_kill() {
    let temp = TempDir::new().unwrap();
    let data_dir = temp.path().join("data");
    let counts = "SELECT (SELECT count(*) FROM u)::text || ' ' || (SELECT count(*) FROM t)::text";
    let fill = "INSERT INTO u SELECT * FROM generate_series(1, 3000)";
    let server = Served::start(&data_dir);
    let client = server.connect().await;
    let make = format!("CREATE UNLOGGED TABLE u (a int); CREATE TABLE t (LIKE u); {fill}");
    client.batch_execute(&make).await.unwrap();
    client
        .batch_execute("INSERT INTO t SELECT * FROM u")
        .await
        .unwrap();
    assert_eq!(server.stop(Signal::SIGTERM).0, Some(0));

    let server = Served::start(&data_dir);
    let client = server.connect().await;
    assert_eq!(column(&client, counts).await, ["3000 3000"]);
    // Part of its rows is on disk for certain, part is not.
    client
        .batch_execute(&format!("{fill}; CHECKPOINT"))
        .await
        .unwrap();
    client.batch_execute(fill).await.unwrap();
    assert_eq!(column(&client, counts).await, ["9000 3000"]);
    assert_eq!(server.stop(Signal::SIGKILL).0, None);

    let server = Served::start(&data_dir);
    let client = server.connect().await;
    assert_eq!(column(&client, counts).await, ["0 3000"]);
    client.batch_execute(fill).await.unwrap();
    assert_eq!(column(&client, counts).await, ["3000 3000"]);
    assert_eq!(server.stop(Signal::SIGTERM).0, Some(0));
    let again = ["-c", "SELECT count(*) FROM u", "-c", "DROP TABLE u"];
    assert!(printed(sql(&data_dir, &again, "")).contains("\n  3000\n"));
}

#[test]
fn results_look_as_in_psql() {
    let temp = TempDir::new().unwrap();
    let data_dir = temp.path().join("data");
    // What psql prints for the same statements at PostgreSQL 18.
    let expected = "\
CREATE TABLE
COPY 3
 n  | amount | word  
----+--------+-------
  1 |   1.50 | one
 10 |        | ten  +
    |        | words
    |  -2.00 | 
(3 rows)

INSERT 0 1
n,word
1,one
10,\"ten
words\"
42,
,
BEGIN
INSERT 0 1
ROLLBACK
 count 
-------
     4
(1 row)

";
    let script = "\
CREATE TABLE t (n int, amount numeric(8,2), word text);
COPY t FROM STDIN;
1\t1.5\tone
10\t\\N\tten\\nwords
\\N\t-2\t\\N
\\.
SELECT * FROM t; INSERT INTO t
  VALUES (42);
\\copy (SELECT n, word FROM t ORDER BY n) TO STDOUT (FORMAT csv, HEADER)
BEGIN; INSERT INTO t VALUES (5); ROLLBACK;
SELECT count(*) FROM t
";
    assert_eq!(printed(sql(&data_dir, &[], script)), expected);
}

#[test]
fn errors_look_as_in_psql_and_end_a_script() {
    let temp = TempDir::new().unwrap();
    let data_dir = temp.path().join("data");
    printed(sql(&data_dir, &["-c", "CREATE TABLE t (a int)"], ""));

    let output = sql(
        &data_dir,
        &[],
        "SELECT a,\n  nothing FROM t;\nSELECT 'not reached';\n",
    );
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "");
    assert_eq!(
        text(&output.stderr),
        "ERROR:  column \"nothing\" does not exist\nLINE 2:   nothing FROM t;\n          ^\n"
    );

    let file = temp.path().join("load.sql");
    fs::write(
        &file,
        "COPY t FROM STDIN;\n1\nx\n\\.\nSELECT 'not reached';\n",
    )
    .unwrap();
    let output = sql(&data_dir, &["-f", path(&file)], "");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr),
        format!(
            "trunkline:{}:4: ERROR:  invalid input syntax for type integer: \"x\"\n\
             CONTEXT:  COPY t, line 2, column a: \"x\"\n",
            file.display()
        )
    );

    // The statements of a -c are one transaction.
    let output = sql(
        &data_dir,
        &[
            "-c",
            "INSERT INTO t VALUES (1); SELECT 1 / a - 1 / (a - a) FROM t",
        ],
        "",
    );
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr), "ERROR:  division by zero\n");
    assert!(printed(sql(&data_dir, &["-c", "SELECT count(*) FROM t"], "")).contains("\n     0\n"));

    // A syntax error in one of them comes before any result.
    let output = sql(&data_dir, &["-c", "SELECT 1; SELEKT"], "");
    assert_eq!(text(&output.stdout), "");
    assert_eq!(
        text(&output.stderr),
        "ERROR:  syntax error at or near \"SELEKT\"\nLINE 1: SELECT 1; SELEKT\n                  ^\n"
    );

    let output = sql(&data_dir, &["-c", "\\x"], "");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr), "invalid command \\x\n");
}

#[test]
fn zeroed_pages_are_warned_of_as_in_psql() {
    let temp = TempDir::new().unwrap();
    let data_dir = temp.path().join("data");
    let load = "CREATE TABLE t (a int, b text);
        INSERT INTO t SELECT g, 'part number ' || g::text FROM generate_series(1, 2000) g;
        SELECT pg_relation_filepath('t')";
    let output = printed(sql(&data_dir, &["-c", load], ""));
    let path = output
        .split_whitespace()
        .find(|word| word.starts_with("base/"));
    let path = path.unwrap();
    let file = data_dir.join(path);
    let mut bytes = fs::read(&file).unwrap();
    for block in [1, 2] {
        bytes[block * 8192 + 5000] ^= 0x10;
    }
    fs::write(&file, bytes).unwrap();
    let count = "SET zero_damaged_pages = on; SET io_combine_limit = 1; SELECT count(*) > 0 FROM t";
    let output = sql(&data_dir, &["-c", count], "");
    assert_eq!(
        text(&output.stderr),
        [1, 2]
            .map(|block| format!(
                "WARNING:  invalid page in block {block} of relation \"{path}\"; zeroing out page\n"
            ))
            .concat()
    );
    assert!(output.status.success());
    let prewarm =
        "SET zero_damaged_pages = on; SET io_combine_limit = 8; SELECT pg_prewarm('t') > 0";
    let output = sql(&data_dir, &["-c", prewarm], "");
    let said = text(&output.stderr);
    assert!(
        said.starts_with("WARNING:  zeroing out 2 invalid pages among blocks 0..7 of relation")
            && said.ends_with(
                "DETAIL:  Block 1 held the first zeroed page.\n\
                 HINT:  See server log for the other 1 zeroed block(s).\n"
            ),
        "{said}"
    );
}

#[test]
fn copy_moves_files_and_standard_input() {
    let temp = TempDir::new().unwrap();
    let data_dir = temp.path().join("data");
    let (csv, binary) = (temp.path().join("in file.csv"), temp.path().join("out.bin"));
    let rows: String = (0..20_000).map(|n| format!("{n},word {n}\n")).collect();
    fs::write(&csv, format!("a,b\n{rows}")).unwrap();
    let script = format!(
        "CREATE TABLE t (a int, b text); CREATE TABLE u (a int, b text);\n\
         \\copy t FROM '{}' (FORMAT csv, HEADER)\n\
         \\copy t TO '{}' (FORMAT binary)\n\
         \\copy u FROM '{}' (FORMAT binary);\n",
        csv.display(),
        binary.display(),
        binary.display()
    );
    assert_eq!(
        printed(sql(&data_dir, &[], &script)),
        "CREATE TABLE\nCREATE TABLE\nCOPY 20000\nCOPY 20000\nCOPY 20000\n"
    );
    assert_eq!(
        printed(sql(&data_dir, &["-c", "COPY u TO STDOUT (FORMAT csv)"], "")),
        rows
    );
    assert_eq!(
        printed(sql(
            &data_dir,
            &["-c", "TRUNCATE u", "-c", "\\copy u FROM pstdin csv"],
            "7,seven\n"
        )),
        "TRUNCATE TABLE\nCOPY 1\n"
    );
    let output = sql(&data_dir, &["-c", "\\copy u FROM 'no file'"], "");
    assert_eq!(text(&output.stderr), "no file: No such file or directory\n");
    assert_eq!(output.status.code(), Some(1));
}

/// Runs the embedding example, which `cargo test` builds beside the program.
fn load_csv(arguments: &[&Path]) -> (Option<i32>, String, String) {
    let program = Path::new(env!("CARGO_BIN_EXE_trunkline"));
    let example = program.with_file_name("examples").join("load_csv");
    assert!(example.exists(), "build it: cargo build --example load_csv");
    let output = Command::new(example).args(arguments).output().unwrap();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    (output.status.code(), stdout, stderr)
}

#[test]
fn the_embedding_example_loads_and_counts() {
    let temp = TempDir::new().unwrap();
    let (data_dir, csv) = (temp.path().join("data"), temp.path().join("in.csv"));
    let header = "station,taken_at,celsius\n";
    let rows = "Uppsala,2026-01-01 12:00+01,-3.5\nLund,2026-01-01 12:00+01,1.25\n\
                Uppsala,2026-01-02 12:00+01,\n";
    fs::write(&csv, format!("{header}{rows}")).unwrap();
    let summary = |loads: usize| {
        format!(
            "3 rows loaded\nLund: {loads} measured, at most 1.25 degrees\n\
             Uppsala: {} measured, at most -3.50 degrees\n",
            2 * loads
        )
    };
    for loads in 1..=2 {
        let done = (Some(0), summary(loads), String::new());
        assert_eq!(load_csv(&[&data_dir, &csv]), done);
    }

    // A row in the middle of a file larger than a chunk; nothing of it stays.
    let many = "Lund,2026-01-01 12:00+01,1\n".repeat(50_000);
    fs::write(&csv, format!("{header}{many}Lund,yesterday,1,2\n{many}")).unwrap();
    let (code, stdout, stderr) = load_csv(&[&data_dir, &csv]);
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert_eq!(
        stderr,
        "load_csv: extra data after last expected column\nSQLSTATE: 22P04\n\
         CONTEXT: COPY temperature, line 50002: \"Lund,yesterday,1,2\"\n"
    );
    fs::write(&csv, format!("{header}Lund,2026-01-01,warm\n")).unwrap();
    assert_eq!(
        load_csv(&[&data_dir, &csv]).2,
        "load_csv: invalid input syntax for type numeric: \"warm\"\nSQLSTATE: 22P02\n\
         CONTEXT: COPY temperature, line 2, column celsius: \"warm\"\n"
    );
    let missing = temp.path().join("no file");
    let (code, _, stderr) = load_csv(&[&data_dir, &missing]);
    let reason = "No such file or directory (os error 2)";
    let said = format!("load_csv: {}: {reason}\n", missing.display());
    assert_eq!((code, stderr), (Some(1), said));
    let (code, _, stderr) = load_csv(&[&csv, &csv]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("is not a data directory"), "{stderr}");
    assert_eq!(load_csv(&[&data_dir]).0, Some(1));

    // It was stopped cleanly each time, and the program reads what it has loaded.
    let log = printed(sql(
        &data_dir,
        &["-c", "SELECT count(*) FROM temperature"],
        "",
    ));
    assert!(log.contains("\n     6\n"), "{log}");
}

#[test]
fn an_interrupt_cancels_and_the_database_stops_cleanly() {
    let temp = TempDir::new().unwrap();
    let data_dir = temp.path().join("data");
    for (signal, exit_code, severity) in [
        (
            Signal::SIGINT,
            1,
            "ERROR:  canceling statement due to user request\n",
        ),
        (
            Signal::SIGTERM,
            143,
            "FATAL:  terminating connection due to administrator command\n",
        ),
    ] {
        let arguments = [
            "sql",
            "-D",
            path(&data_dir),
            "--set",
            SHARED_BUFFERS,
            "-c",
            "COPY (SELECT * FROM generate_series(1, 1000000000000)) TO STDOUT",
        ];
        let mut child = program(&arguments).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        // It runs for certain once rows come.
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "1\n");
        kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
        std::io::copy(&mut stdout, &mut std::io::sink()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(text(&output.stderr), severity);
        assert_eq!(output.status.code(), Some(exit_code));
    }
    // Reading has not begun, or waits: an interrupt ends the program.
    let arguments = ["sql", "-D", path(&data_dir), "--set", SHARED_BUFFERS];
    let mut child = program(&arguments).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"SELECT 1;\n").unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    kill(
        Pid::from_raw(child.id().try_into().unwrap()),
        Signal::SIGTERM,
    )
    .unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(143));
    drop(stdin);
    printed(sql(&data_dir, &["-c", "SELECT 1"], ""));
}

/// A program's terminal: what it shows, and what is typed.
struct Typist {
    terminal: File,
    shown: String,
}

impl Typist {
    /// Reads on until `wanted` has been shown.
    fn wait_for(&mut self, wanted: &str) {
        let mut chunk = [0; 65536];
        loop {
            if let Some(at) = self.shown.find(wanted) {
                self.shown.drain(..at + wanted.len());
                return;
            }
            let len = self.terminal.read(&mut chunk).unwrap();
            assert!(len > 0, "the program ended, having shown: {}", self.shown);
            self.shown.push_str(&String::from_utf8_lossy(&chunk[..len]));
        }
    }

    fn type_line(&mut self, line: &str) {
        self.terminal
            .write_all(format!("{line}\r").as_bytes())
            .unwrap();
    }
}

#[test]
fn a_conversation_outlives_errors_and_interrupts() {
    let temp = TempDir::new().unwrap();
    let data_dir = temp.path().join("data");
    let pty = openpty(None, None).unwrap();
    let slave = || Stdio::from(pty.slave.try_clone().unwrap());
    let mut child = program(&["sql", "-D", path(&data_dir), "--set", SHARED_BUFFERS])
        .env("TERM", "xterm")
        .stdin(slave())
        .stdout(slave())
        .stderr(slave())
        .spawn()
        .unwrap();
    let mut typist = Typist {
        terminal: File::from(pty.master),
        shown: String::new(),
    };
    typist.wait_for("Type \"\\?\" for help.");
    typist.wait_for("postgres=> ");
    typist.type_line("BEGIN; SELECT (1");
    typist.wait_for("BEGIN\r\n");
    typist.wait_for("postgres(*> ");
    typist.type_line("); SELEKT;");
    typist.wait_for("(1 row)\r\n");
    typist.wait_for("ERROR:  syntax error at or near \"SELEKT\"");
    typist.wait_for("postgres=!> ");
    typist.type_line("ROLLBACK;");
    typist.wait_for("postgres=> ");
    typist.type_line("\\nonsense");
    typist.wait_for("invalid command \\nonsense\r\nTry \\? for help.\r\n");
    typist.wait_for("postgres=> ");
    typist.type_line("SELECT * FROM generate_series(1, 1000000000000) AS forever;");
    // The second thousand of rows, not what was typed.
    typist.wait_for(" 2000\r\n");
    kill(
        Pid::from_raw(child.id().try_into().unwrap()),
        Signal::SIGINT,
    )
    .unwrap();
    typist.wait_for("ERROR:  canceling statement due to user request\r\n");
    typist.wait_for("postgres=> ");
    typist.type_line("SELECT 'still there' AS answer;");
    typist.wait_for(" still there\r\n");
    typist.wait_for("postgres=> ");
    typist.type_line("\\q");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_reader_that_leaves_does_not_hurt_the_database() {
    let temp = TempDir::new().unwrap();
    let data_dir = temp.path().join("data");
    let arguments = [
        "sql",
        "-D",
        path(&data_dir),
        "--set",
        SHARED_BUFFERS,
        "-c",
        "COPY (SELECT * FROM generate_series(1, 1000000000000)) TO STDOUT",
    ];
    let mut child = program(&arguments).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!(text(&output.stderr), "");
    assert_eq!(output.status.code(), Some(1));
    printed(sql(&data_dir, &["-c", "SELECT 1"], ""));
}
