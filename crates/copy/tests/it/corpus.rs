//! Replays corpus.txt: what PostgreSQL 18 made of many COPY statements. The file and how to
//! write it anew: generate_corpus.py.

use trunkline_copy::{
    CopyColumn, CopyDecoder, CopyEncoder, CopyError, CopyOptions, CopySubject, OptionValue,
    select_columns,
};

use crate::random_input::Generator;
use crate::rows::{RowCollector, TestColumn, columns, payload, text};

#[derive(Default)]
struct Case {
    name: String,
    is_from: bool,
    table: String,
    columns: Option<Vec<String>>,
    is_query: bool,
    options: Vec<(String, Option<OptionValue>)>,
    data: Vec<u8>,
    outcome: Outcome,
}

/// What a COPY led to.
#[derive(Default, Debug, PartialEq)]
struct Outcome {
    rows: Vec<Vec<Option<String>>>,
    notices: Vec<String>,
    error: Option<CopyError>,
}

fn unescape(value: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next().unwrap() {
            b'x' => {
                let digits: Vec<u8> = bytes.by_ref().take(2).collect();
                let digits = std::str::from_utf8(&digits).unwrap();
                out.push(u8::from_str_radix(digits, 16).unwrap());
            }
            other => out.push(other),
        }
    }
    out
}

fn unescape_text(value: &str) -> String {
    String::from_utf8(unescape(value)).unwrap()
}

fn option_value(kind: &str, value: &str) -> Option<OptionValue> {
    Some(match kind {
        "none" => return None,
        "string" => OptionValue::String(unescape_text(value)),
        "integer" => OptionValue::Integer(value.parse().unwrap()),
        "float" => OptionValue::Float(value.to_owned()),
        "star" => OptionValue::Star,
        "list" => OptionValue::List(value.split(',').map(str::to_owned).collect()),
        _ => panic!("no kind {kind}"),
    })
}

fn parse(block: &str) -> Case {
    let mut case = Case::default();
    for line in block.lines() {
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        let error = case.outcome.error.as_mut();
        match key {
            "from" | "to" => {
                case.is_from = key == "from";
                case.name = line.to_owned();
            }
            "table" => case.table = unescape_text(value),
            "columns" => case.columns = Some(value.split(',').map(str::to_owned).collect()),
            "query" => case.is_query = true,
            "option" => {
                let mut words = value.splitn(3, ' ');
                let name = words.next().unwrap().to_owned();
                let kind = words.next().unwrap();
                case.options
                    .push((name, option_value(kind, words.next().unwrap_or(""))));
            }
            "data" => case.data = unescape(value),
            "row" if case.table.is_empty() => case.outcome.rows.push(Vec::new()),
            "row" => case.outcome.rows.push(
                value
                    .split('|')
                    .map(|cell| (cell != "\\N").then(|| unescape_text(cell)))
                    .collect(),
            ),
            "notice" => case.outcome.notices.push(unescape_text(value)),
            "error" => {
                let sqlstate: &'static str = value.to_owned().leak();
                case.outcome.error = Some(CopyError::new(sqlstate, ""));
            }
            "message" => error.unwrap().message = unescape_text(value),
            "detail" => error.unwrap().detail = Some(unescape_text(value)),
            "hint" => error.unwrap().hint = Some(unescape_text(value)),
            "context" => error.unwrap().context = Some(unescape_text(value)),
            "option_index" => error.unwrap().option_index = Some(value.parse().unwrap()),
            _ => panic!("no key {key}"),
        }
    }
    case
}

fn cases() -> Vec<Case> {
    let corpus = include_str!("corpus.txt");
    corpus
        .split("\n\n")
        .filter(|block| !block.trim().is_empty())
        .map(parse)
        .collect()
}

impl Case {
    fn subject(&self, columns: &[TestColumn]) -> Result<CopySubject, CopyError> {
        let relation = (!self.is_query).then_some("t");
        let names: Vec<&str> = columns
            .iter()
            .map(|column| column.column.name.as_str())
            .collect();
        let copied = select_columns(&names, relation, self.columns.as_deref())?;
        let chosen: Vec<CopyColumn> = copied
            .iter()
            .map(|number| columns[*number].column.clone())
            .collect();
        Ok(CopySubject {
            relation: relation.map(str::to_owned),
            table_columns: names.into_iter().map(str::to_owned).collect(),
            copied,
            columns: chosen,
        })
    }

    /// COPY FROM with the data in chunks of the sizes that `next_size` gives.
    fn copy_from(&self, next_size: &mut dyn FnMut() -> usize) -> Outcome {
        let columns = columns(&self.table);
        let mut sink = RowCollector::default();
        let result = (|| {
            let options = CopyOptions::from_list(&self.options, true)?;
            let subject = self.subject(&columns)?;
            sink.defaults = subject
                .copied
                .iter()
                .map(|number| {
                    let TestColumn { column, default } = &columns[*number];
                    default.as_ref().map(|default| payload(&column.ty, default))
                })
                .collect();
            let mut decoder = CopyDecoder::new(&subject, &options, Default::default())?;
            let mut rest = self.data.as_slice();
            while !rest.is_empty() {
                let (chunk, after) = rest.split_at(next_size().clamp(1, rest.len()));
                decoder.push(chunk, &mut sink)?;
                rest = after;
            }
            decoder.finish(&mut sink)?;
            Ok(subject)
        })();
        let notices = sink
            .notices
            .into_iter()
            .map(|notice| notice.message)
            .collect();
        match result {
            Err(error) => Outcome {
                rows: Vec::new(),
                notices,
                error: Some(error),
            },
            Ok(subject) => {
                let row_text = |row: Vec<Option<Vec<u8>>>| {
                    let mut cells = vec![None; columns.len()];
                    for (number, cell) in subject.copied.iter().zip(row) {
                        let ty = &columns[*number].column.ty;
                        cells[*number] = cell.map(|cell| text(ty, &cell));
                    }
                    cells
                };
                // A table without columns shows no rows to the corpus's query.
                let rows = match columns.is_empty() {
                    true => Vec::new(),
                    false => sink.rows.into_iter().map(row_text).collect(),
                };
                Outcome {
                    rows,
                    notices,
                    error: None,
                }
            }
        }
    }

    fn copy_to(&self) -> Result<Vec<u8>, CopyError> {
        let columns = columns(&self.table);
        let options = CopyOptions::from_list(&self.options, false)?;
        let subject = self.subject(&columns)?;
        let encoder = CopyEncoder::new(&subject, &options, Default::default())?;
        let mut out = Vec::new();
        encoder.header(&mut out);
        for row in &self.outcome.rows {
            let cells: Vec<Option<Vec<u8>>> = subject
                .copied
                .iter()
                .map(|number| {
                    let ty = &columns[*number].column.ty;
                    row[*number].as_ref().map(|cell| payload(ty, cell))
                })
                .collect();
            let cells: Vec<Option<&[u8]>> = cells.iter().map(Option::as_deref).collect();
            encoder.row(&cells, &mut out)?;
        }
        encoder.trailer(&mut out);
        Ok(out)
    }
}

#[test]
fn copy_from_answers_as_postgresql_does() {
    let cases = cases();
    let mut failures = Vec::new();
    let mut generator = Generator::new(18);
    for case in cases.iter().filter(|case| case.is_from) {
        let mut check = |chunks: &str, next_size: &mut dyn FnMut() -> usize| {
            let outcome = case.copy_from(next_size);
            // Which rows were skipped before an error is not told by the corpus's rows.
            if outcome != case.outcome {
                failures.push(format!(
                    "{} ({chunks})\n  data     {:?}\n  expected {:?}\n  got      {outcome:?}",
                    case.name,
                    String::from_utf8_lossy(&case.data),
                    case.outcome
                ));
            }
        };
        check("whole", &mut || usize::MAX);
        check("bytes", &mut || 1);
        for _ in 0..4 {
            check("random chunks", &mut || 1 + generator.below(9));
        }
    }
    assert!(cases.len() > 1400, "the corpus has {} cases", cases.len());
    assert!(
        failures.is_empty(),
        "{} failures:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn copy_to_answers_as_postgresql_does() {
    let mut count = 0;
    for case in cases().iter().filter(|case| !case.is_from) {
        count += 1;
        match (case.copy_to(), &case.outcome.error) {
            (Ok(bytes), None) => assert_eq!(
                String::from_utf8_lossy(&bytes),
                String::from_utf8_lossy(&case.data),
                "{}",
                case.name
            ),
            (result, expected) => assert_eq!(result.err(), *expected, "{}", case.name),
        }
    }
    assert!(count > 40, "the corpus has {count} cases of COPY TO");
}
