//! COPY both ways in all formats: we load what PostgreSQL wrote, it loads what we wrote, and the
//! bytes are the same.

use crate::client::Client;
use crate::postgres::Cluster;
use crate::rows::{COLUMNS, create_table, seed, text_rows};
use crate::trunkline::Trunkline;

const ROWS: usize = 2000;

const FORMATS: [&str; 3] = ["binary", "text", "csv"];

/// Other ways to write the same rows.
const DIALECTS: [&str; 7] = [
    "FORMAT text, DELIMITER '|', NULL 'nil', HEADER",
    "FORMAT text, DELIMITER ',', NULL ''",
    "FORMAT csv, HEADER",
    "FORMAT csv, DELIMITER ';', NULL 'NULL', HEADER",
    "FORMAT csv, QUOTE '''', ESCAPE E'\\\\'",
    "FORMAT csv, DELIMITER E'\\t', QUOTE '$', FORCE_QUOTE *, NULL '\\N'",
    "FORMAT csv, FORCE_QUOTE (t, id), HEADER",
];

/// Says where two long byte strings differ first.
#[track_caller]
fn assert_same_bytes(ours: &[u8], theirs: &[u8], what: &str) {
    if ours == theirs {
        return;
    }
    let at = ours
        .iter()
        .zip(theirs)
        .take_while(|(our, their)| our == their)
        .count();
    let around = |data: &[u8]| {
        let range = at.saturating_sub(120)..(at + 120).min(data.len());
        String::from_utf8_lossy(&data[range]).into_owned()
    };
    panic!(
        "{what} differs at byte {at} of {} and {}:\nours   {:?}\ntheirs {:?}",
        ours.len(),
        theirs.len(),
        around(ours),
        around(theirs)
    );
}

/// Lines in an order that does not depend on where the rows were stored.
fn sorted_lines(data: &[u8]) -> Vec<&[u8]> {
    let mut lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    lines.sort_unstable();
    lines
}

/// The rows of a table in an order of their own.
fn ordered(table: &str) -> String {
    format!("(SELECT * FROM {table} ORDER BY id)")
}

/// Asks both the same; tells what they do not agree on.
fn disagreement(ours: &mut Client, theirs: &mut Client, sql: &str) -> Option<String> {
    let their_rows = theirs.rows(sql);
    let our_rows = match ours.try_rows(sql) {
        Ok(our_rows) if our_rows == their_rows => return None,
        Ok(our_rows) => our_rows,
        Err(failure) => return Some(format!("{sql}\n  ours   {failure:?}")),
    };
    let first = our_rows
        .iter()
        .zip(&their_rows)
        .find(|(our, their)| our != their);
    Some(format!(
        "{sql}\n  {} and {} rows; the first that differs: {first:?}",
        our_rows.len(),
        their_rows.len()
    ))
}

/// Queries whose answers do not depend on where the rows were stored.
fn queries(table: &str) -> Vec<String> {
    let mut queries = vec![
        format!("SELECT count(*) FROM {table}"),
        format!("SELECT * FROM {table} ORDER BY id"),
    ];
    for (column, sql_type) in COLUMNS {
        queries.push(format!("SELECT count({column}) FROM {table}"));
        let of_its_type: &[&str] = match sql_type {
            "bool" => &["bool_and", "bool_or"],
            "uuid" => &[],
            "int2" | "int4" | "int8" => &["min", "max", "sum", "avg"],
            "numeric" | "numeric(12,3)" | "numeric(38,10)" => &["min", "max", "sum", "avg"],
            _ => &["min", "max"],
        };
        for aggregate in of_its_type {
            queries.push(format!("SELECT {aggregate}({column}) FROM {table}"));
        }
    }
    for (column, _) in COLUMNS {
        // The odd values stand first.
        queries.push(format!("SELECT count(DISTINCT {column}) FROM {table}"));
        queries.push(format!("SELECT id FROM {table} ORDER BY {column}, id"));
        queries.push(format!(
            "SELECT id FROM {table} ORDER BY {column} DESC NULLS LAST, id"
        ));
        for operator in ["<", "=", "<>", ">="] {
            queries.push(format!(
                "SELECT count(*) FROM {table} a, {table} b \
                 WHERE a.id < 40 AND b.id < 40 AND a.{column} {operator} b.{column}"
            ));
        }
    }
    for number in ["n", "n12", "n38"] {
        queries.push(format!(
            "SELECT sum({number}), avg({number}), min({number}), max({number}) FROM {table} \
             WHERE {number} <> 'NaN'"
        ));
    }
    for column in ["c", "v", "n", "f8"] {
        queries.push(format!(
            "SELECT {column}, count(*) FROM {table} WHERE id < 60 GROUP BY {column} \
             ORDER BY {column}"
        ));
    }
    queries.push(format!(
        "SELECT b, count(*), sum(i4), avg(i2), min(t), max(v) FROM {table} GROUP BY b ORDER BY b"
    ));
    queries
}

#[test]
fn every_type_goes_both_ways_in_every_format() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let judge = cluster.judge();
    let directory = tempfile::tempdir().unwrap();
    let trunkline = Trunkline::start(&directory.path().join("data"));
    let (mut ours, mut theirs) = (trunkline.client(), cluster.client());

    theirs.run(&create_table("every_type"));
    let data = text_rows(seed(), ROWS);
    assert_eq!(
        theirs.copy_in("COPY every_type FROM STDIN", &data),
        ROWS as u64
    );

    for loaded in FORMATS {
        let table = format!("from_{loaded}");
        ours.run(&create_table(&table));
        let file = judge.exchange(&format!("theirs.{loaded}"));
        theirs.run(&format!("COPY every_type TO '{file}' (FORMAT {loaded})"));
        ours.run(&format!("COPY {table} FROM '{file}' (FORMAT {loaded})"));
        for dumped in FORMATS {
            assert_same_bytes(
                &ours.copy_out(&format!(
                    "COPY {} TO STDOUT (FORMAT {dumped})",
                    ordered(&table)
                )),
                &theirs.copy_out(&format!(
                    "COPY {} TO STDOUT (FORMAT {dumped})",
                    ordered("every_type")
                )),
                &format!("{table} to {dumped}"),
            );
        }
        // The table itself, in whatever order its rows are.
        let dumps = [(&mut ours, table.as_str()), (&mut theirs, "every_type")]
            .map(|(client, table)| client.copy_out(&format!("COPY {table} TO STDOUT")));
        assert_eq!(sorted_lines(&dumps[0]), sorted_lines(&dumps[1]), "{table}");
        // The file that we write, and PostgreSQL's reading of it.
        let file = judge.exchange(&format!("ours.{loaded}"));
        ours.run(&format!("COPY {table} TO '{file}' (FORMAT {loaded})"));
        theirs.run(&create_table(&table));
        theirs.run(&format!("COPY {table} FROM '{file}' (FORMAT {loaded})"));
        theirs.run(&format!(
            "(TABLE {table} EXCEPT ALL TABLE every_type) UNION ALL \
             (TABLE every_type EXCEPT ALL TABLE {table})"
        ));
        assert_eq!(
            theirs.value(&format!("SELECT count(*) FROM {table}")),
            ROWS.to_string()
        );
    }

    // The contents and what is computed from them, one table for all: they hold the same bytes.
    let wrong: Vec<String> = queries("from_binary")
        .iter()
        .filter_map(|query| disagreement(&mut ours, &mut theirs, query))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    for (number, options) in DIALECTS.iter().enumerate() {
        let written = theirs.copy_out(&format!(
            "COPY {} TO STDOUT ({options})",
            ordered("every_type")
        ));
        assert_same_bytes(
            &ours.copy_out(&format!(
                "COPY {} TO STDOUT ({options})",
                ordered("from_text")
            )),
            &written,
            options,
        );
        // Some of them lose something, as they say: NULL '' cannot be told from an empty text.
        let table = format!("dialect_{number}");
        let options = options
            .replace("FORCE_QUOTE *, ", "")
            .replace("FORCE_QUOTE (t, id), ", "")
            .replace("HEADER", "HEADER MATCH");
        for client in [&mut ours, &mut theirs] {
            client.run(&create_table(&table));
            client.copy_in(&format!("COPY {table} FROM STDIN ({options})"), &written);
        }
        let sql = format!("COPY {} TO STDOUT (FORMAT binary)", ordered(&table));
        assert_same_bytes(&ours.copy_out(&sql), &theirs.copy_out(&sql), &options);
    }

    // Some columns in another order, queries, and other ways to print.
    let sql = "COPY from_csv (u, t, id, tz) TO STDOUT";
    assert_eq!(
        sorted_lines(&ours.copy_out(sql)),
        sorted_lines(&theirs.copy_out(sql))
    );
    for client in [&mut ours, &mut theirs] {
        client.run("SET timezone = 'America/New_York'; SET bytea_output = 'escape'");
        client.run("SET extra_float_digits = 0");
    }
    for source in [
        "(SELECT v, u, tz, ts, d, y, f8, f4, t FROM from_csv ORDER BY id)",
        "(SELECT id, tz, y, f4, f8, n38 FROM from_csv WHERE id < 500 ORDER BY id DESC)",
    ] {
        for format in FORMATS {
            let sql = format!("COPY {source} TO STDOUT (FORMAT {format})");
            assert_same_bytes(&ours.copy_out(&sql), &theirs.copy_out(&sql), &sql);
        }
    }
    drop(ours);
    trunkline.stop();
}
