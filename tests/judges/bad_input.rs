//! Data that is no good: PostgreSQL's error, nothing of the COPY visible, everything usable.

use crate::client::Failure;
use crate::postgres::Cluster;
use crate::trunkline::Trunkline;

const CREATE: &str = "CREATE TABLE victim (a int NOT NULL, b varchar(3), c numeric(5,2), \
                      d timestamptz, e bool, f float8, g uuid, h bytea, i smallint, j date)";

/// Options, and lines that follow two good ones.
const TEXT: &[(&str, &[u8])] = &[
    ("", b"3\n"),
    ("", b"3\tx\t1\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\n"),
    ("", b"3\tx\t1\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\textra\n"),
    ("", b"\n"),
    ("(a)", b"x\n"),
    ("(a)", b"\n"),
    ("(a)", b"3 x\n"),
    ("(a)", b"2147483648\n"),
    ("(a)", b"99999999999999999999999999\n"),
    ("(a)", b"1.5\n"),
    ("(a)", b"\\N\n"),
    ("(b)", b"x\n"),
    ("(a, b)", b"3\tlong\n"),
    ("(a, b)", b"3\t\xc3\xa4\xc3\xb6\xc3\xbc\xc3\x9f\n"),
    ("(a, b)", b"3\t\xff\n"),
    ("(a, b)", b"3\tx\xc3\n"),
    ("(a, b)", b"3\t\xc0\x80\n"),
    ("(a, b)", b"3\t\xed\xa0\x80\n"),
    ("(a, b)", b"3\t\xf4\x90\x80\x80\n"),
    ("(a, b)", b"3\tx\0y\n"),
    ("(a, b)", b"3\t\\377\n"),
    ("(a, b)", b"3\t\\000\n"),
    ("(a, b)", b"3\t\\xe2\\x82\n"),
    ("(a, b)", b"3\tx\r\n"),
    ("(a, b)", b"3\tx\ry\n"),
    ("(a, b)", b"3\tx\\.\n"),
    ("(a, b)", b"\\.x\n"),
    ("(a, c)", b"3\t1000\n"),
    ("(a, c)", b"3\t999.995\n"),
    ("(a, c)", b"3\tinf\n"),
    ("(a, c)", b"3\t1e\n"),
    ("(a, c)", b"3\t12,5\n"),
    ("(a, d)", b"3\tyesterdayish\n"),
    ("(a, d)", b"3\t2024-13-45\n"),
    ("(a, d)", b"3\t2024-02-30 12:00\n"),
    ("(a, d)", b"3\t2024-01-01 25:00\n"),
    ("(a, d)", b"3\t2024-01-01 12:00 Nowhere/City\n"),
    ("(a, d)", b"3\t300000-01-01\n"),
    ("(a, e)", b"3\tmaybe\n"),
    ("(a, f)", b"3\t1e400\n"),
    ("(a, f)", b"3\t1e-400\n"),
    ("(a, f)", b"3\tone\n"),
    ("(a, g)", b"3\t1234\n"),
    ("(a, g)", b"3\tg0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\n"),
    ("(a, h)", b"3\t\\\\x0\n"),
    ("(a, h)", b"3\t\\\\xzz\n"),
    ("(a, h)", b"3\t\\\\9\n"),
    ("(a, i)", b"3\t32768\n"),
    ("(a, j)", b"3\t2024-00-01\n"),
    ("(a, j)", b"3\t6000000-01-01\n"),
    ("(a)", b"this line is no number at all, and it is so long that PostgreSQL does not show all of it in its context line, which is cut\n"),
    ("(a, b)", b"3\tthis value is so long that PostgreSQL does not show all of it in its context line, which is cut in the end\n"),
];

/// The same for CSV.
const CSV: &[(&str, &[u8])] = &[
    ("(a, b)", b"3,\"open\n"),
    ("(a, b)", b"3,\"open\n4,x\n5,y\n"),
    ("(a, b)", b"3,x,y\n"),
    ("(a, b)", b"3\n"),
    ("(a, b)", b"\n"),
    ("(a, b)", b"3,long\n"),
    ("(a, b)", b"3,\"lo\nng\"\n4,long\n"),
    ("(a, b)", b"3,x\ry\n"),
    ("(a, b)", b"3,x\r\n4,y\r\n"),
    ("(a, b)", b"3,\xff\n"),
    ("(a, b)", b"three,x\n"),
    ("(a, b)", b",x\n"),
    ("(a, b)", b"\"\",x\n"),
    ("(a, b)", b"3,x\\.\n\\.\n4,y\n"),
    ("(a, c)", b"3,\"1,5\"\n"),
];

/// Headers that do not match.
const HEADERS: &[(&str, &[u8])] = &[
    (
        "COPY victim (a, b) FROM STDIN (FORMAT csv, HEADER MATCH)",
        b"a,c\n3,x\n",
    ),
    (
        "COPY victim (a, b) FROM STDIN (FORMAT csv, HEADER MATCH)",
        b"a\n3,x\n",
    ),
    (
        "COPY victim (a, b) FROM STDIN (HEADER MATCH)",
        b"a\t\\N\n3\tx\n",
    ),
];

/// Statements that are refused before any data.
const STATEMENTS: &[&str] = &[
    "COPY victim (a, nope) FROM STDIN",
    "COPY victim (a, a) FROM STDIN",
    "COPY nowhere FROM STDIN",
    "COPY victim FROM STDIN (FORMAT parquet)",
    "COPY victim FROM STDIN (FORMAT csv, QUOTE 'ab')",
    "COPY victim FROM STDIN (FORMAT csv, DELIMITER ',', QUOTE ',')",
    "COPY victim FROM STDIN (FORMAT binary, DELIMITER ',')",
    "COPY victim FROM STDIN (DELIMITER 'a')",
    "COPY victim FROM STDIN (DELIMITER E'\\n')",
    "COPY victim FROM STDIN (QUOTE '\"')",
    "COPY victim FROM STDIN (NULL E'\\r')",
    "COPY victim FROM STDIN (HEADER, HEADER)",
    "COPY victim FROM STDIN (HEADER 7)",
    "COPY victim FROM STDIN (SPEED 'high')",
    "COPY victim FROM '/dev/null' (FREEZE)",
    "COPY victim FROM '/nowhere/at/all'",
    "COPY victim FROM 'relative'",
    "COPY victim FROM '/tmp'",
    "COPY victim TO '/nowhere/at/all'",
    "COPY victim TO 'relative'",
];

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// A field of binary data.
fn field(payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as i32).to_be_bytes(), payload].concat()
}

fn header() -> Vec<u8> {
    [SIGNATURE, &[0; 8]].concat()
}

/// Two good rows of `(a, b)` in binary, without a trailer.
fn binary_rows() -> Vec<u8> {
    let row = |number: i32| {
        [
            2_i16.to_be_bytes().to_vec(),
            field(&number.to_be_bytes()),
            field(b"x"),
        ]
        .concat()
    };
    [header(), row(1), row(2)].concat()
}

/// Binary data that is wrong somewhere, for `(a, b)` or the columns named.
fn binary_cases() -> Vec<(&'static str, Vec<u8>)> {
    let three = field(&3_i32.to_be_bytes());
    let two = 2_i16.to_be_bytes();
    let after_rows = |rest: &[&[u8]]| [binary_rows(), rest.concat()].concat();
    let with_header = |rest: &[&[u8]]| [header(), rest.concat()].concat();
    let all = "(a, b)";
    vec![
        (all, Vec::new()),
        (all, b"PGCOPY\n".to_vec()),
        (all, b"PGCOPY\r\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec()),
        (all, b"1\tx\n2\ty\n3\tz\n".to_vec()),
        (all, SIGNATURE.to_vec()),
        (all, [SIGNATURE, &[0, 0]].concat()),
        (all, [SIGNATURE, &[0, 1, 0, 0], &[0; 4]].concat()),
        (all, [SIGNATURE, &[0, 2, 0, 0], &[0; 4]].concat()),
        (all, [SIGNATURE, &[0; 4], &[0, 0]].concat()),
        (all, [SIGNATURE, &[0; 4], &[0xff; 4]].concat()),
        (all, [SIGNATURE, &[0; 4], &[0, 0, 0, 9], b"short"].concat()),
        (all, after_rows(&[&two])),
        (all, after_rows(&[&two, &[0, 0]])),
        (all, after_rows(&[&two, &three])),
        (all, after_rows(&[&two, &three, &[0, 0, 0, 5], b"abc"])),
        (all, after_rows(&[&two, &three, &[0xff, 0xff, 0xff, 0xfe]])),
        (all, after_rows(&[&3_i16.to_be_bytes(), &three])),
        (all, after_rows(&[&0_i16.to_be_bytes()])),
        (all, after_rows(&[&(-2_i16).to_be_bytes()])),
        (all, after_rows(&[&two, &field(&[0, 0, 3])])),
        (all, after_rows(&[&two, &field(&[0, 0, 0, 0, 3])])),
        (all, after_rows(&[&two, &[0xff; 4], &field(b"x")])),
        (all, after_rows(&[&two, &three, &field(b"long")])),
        (all, after_rows(&[&two, &three, &field(b"\xff")])),
        (all, after_rows(&[&two, &three, &field(b"a\0b")])),
        (all, after_rows(&[&(-1_i16).to_be_bytes(), b"more"])),
        (
            "(a, c)",
            with_header(&[&two, &three, &field(&[0, 1, 0, 0, 0x12, 0x34, 0, 0, 0, 1])]),
        ),
        (
            "(a, c)",
            with_header(&[&two, &three, &field(&[0, 1, 0, 0, 0, 0, 0, 0, 0x27, 0x10])]),
        ),
        (
            "(a, c)",
            with_header(&[&two, &three, &field(&[0, 2, 0, 0, 0, 0, 0, 0, 0, 1])]),
        ),
        (
            "(a, c)",
            with_header(&[&two, &three, &field(&[0, 1, 0, 1, 0, 0, 0, 0, 0, 1])]),
        ),
        (
            "(a, d)",
            with_header(&[&two, &three, &field(&(i64::MIN + 1).to_be_bytes())]),
        ),
        ("(a, d)", with_header(&[&two, &three, &field(&[0; 4])])),
        ("(a, e)", with_header(&[&two, &three, &field(&[0, 0])])),
        ("(a, g)", with_header(&[&two, &three, &field(&[0; 15])])),
        ("(a, i)", with_header(&[&two, &three, &field(&[0; 4])])),
        (
            "(a, j)",
            with_header(&[&two, &three, &field(&(i32::MAX - 1).to_be_bytes())]),
        ),
    ]
}

/// Every case: the statement and its data.
fn cases() -> Vec<(String, Vec<u8>)> {
    let lines = |columns: &str, separator: &str| {
        let count = match columns {
            "" => 10,
            list => list.split(',').count(),
        };
        let null = if separator == "," { "" } else { "\\N" };
        let mut good = String::new();
        for number in 1..=2 {
            let mut row = vec![number.to_string()];
            row.resize(count, null.to_owned());
            good += &(row.join(separator) + "\n");
        }
        good.into_bytes()
    };
    let mut cases = Vec::new();
    for (columns, data) in TEXT {
        let data = [&lines(columns, "\t"), *data].concat();
        cases.push((format!("COPY victim {columns} FROM STDIN"), data));
    }
    for (columns, data) in CSV {
        let data = [&lines(columns, ","), *data].concat();
        cases.push((
            format!("COPY victim {columns} FROM STDIN (FORMAT csv)"),
            data,
        ));
    }
    for (columns, data) in binary_cases() {
        cases.push((
            format!("COPY victim {columns} FROM STDIN (FORMAT binary)"),
            data,
        ));
    }
    cases.extend(
        HEADERS
            .iter()
            .map(|(sql, data)| ((*sql).to_owned(), data.to_vec())),
    );
    cases
}

#[test]
fn bad_data_is_refused_in_postgresqls_words() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let trunkline = Trunkline::start(&directory.path().join("data"));
    let (mut ours, mut theirs) = (trunkline.client(), cluster.client());
    for client in [&mut ours, &mut theirs] {
        client.run(CREATE);
        client.copy_in("COPY victim (a, b) FROM STDIN", b"1\tx\n2\ty\n");
    }
    let mut wrong = Vec::new();
    for (sql, data) in cases() {
        let [our_result, their_result] =
            [&mut ours, &mut theirs].map(|client| client.try_copy_in(&sql, &data));
        let shown = String::from_utf8_lossy(&data).into_owned();
        if our_result != their_result {
            wrong.push(format!(
                "{sql}\n{shown:?}\nours   {our_result:?}\ntheirs {their_result:?}"
            ));
        }
        if their_result.is_ok() {
            // PostgreSQL takes it; so the list is wrong, not the data.
            wrong.push(format!("{sql}\n{shown:?}\nis not refused by PostgreSQL"));
            theirs.run("DELETE FROM victim WHERE a > 2");
        }
        let contents = ours.rows("SELECT a, b FROM victim ORDER BY a");
        if contents.len() != 2 {
            wrong.push(format!("{sql}\n{shown:?}\nleft {contents:?}"));
        }
    }
    for sql in STATEMENTS {
        // Connections of their own: a COPY that is not refused leaves its connection waiting.
        let [our_failure, their_failure] =
            [trunkline.client(), cluster.client()].map(|mut client| client.try_rows(sql));
        if our_failure != their_failure || their_failure.is_ok() {
            wrong.push(format!(
                "{sql}\nours   {our_failure:?}\ntheirs {their_failure:?}"
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n\n")
    );

    assert_eq!(ours.copy_in("COPY victim (a, b) FROM STDIN", b"3\tz\n"), 1);
    assert_eq!(ours.value("SELECT sum(a) FROM victim"), "6");
    drop(ours);
    trunkline.stop();
}

#[test]
fn a_row_that_fits_no_page_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let trunkline = Trunkline::start(&directory.path().join("data"));
    let mut ours = trunkline.client();
    ours.run("CREATE TABLE wide (a int, b text)");
    let data = format!("1\tshort\n2\t{}\n", "x".repeat(9000));
    let refused = ours
        .try_copy_in("COPY wide FROM STDIN", data.as_bytes())
        .unwrap_err();
    // Header, two columns, and the text's four-byte length.
    let Failure {
        sqlstate, message, ..
    } = refused;
    assert_eq!(
        (sqlstate.as_str(), message.as_str()),
        ("54000", "row is too big: size 9032, maximum size 8160")
    );
    assert_eq!(ours.value("SELECT count(*) FROM wide"), "0");
    // The longest that fits.
    let data = format!("1\t{}\n", "x".repeat(8160 - 24 - 4 - 4));
    assert_eq!(ours.copy_in("COPY wide FROM STDIN", data.as_bytes()), 1);
    assert_eq!(ours.value("SELECT length(b) FROM wide"), "8128");
    drop(ours);
    trunkline.stop();
}

#[test]
fn a_client_that_vanishes_in_a_copy_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let trunkline = Trunkline::start(&directory.path().join("data"));
    let mut ours = trunkline.client();
    ours.run("CREATE TABLE half (a int, b text)");
    assert_eq!(ours.copy_in("COPY half FROM STDIN", b"1\tx\n"), 1);
    let data: String = (0..20_000)
        .map(|number| format!("{number}\tsome text\n"))
        .collect();
    trunkline
        .client()
        .vanish_in_copy("COPY half FROM STDIN", data.as_bytes());
    // Waits for the other transaction's end: its lock is in the way.
    ours.run("BEGIN; TRUNCATE half; ROLLBACK");
    assert_eq!(ours.value("SELECT count(*) FROM half"), "1");
    assert_eq!(ours.copy_in("COPY half FROM STDIN", b"2\ty\n"), 1);
    assert_eq!(ours.value("SELECT sum(a) FROM half"), "3");
    drop(ours);
    trunkline.stop();
}
