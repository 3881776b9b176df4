//! Replays what PostgreSQL 18 said about many values (`corpus/generate.py` asked it).

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;

use trunkline_types::{
    Align, Attribute, ColumnType, InputStyle, Numeric, Oid, OutputStyle, Projection, TimeZone,
    TupleDesc, TupleFormer, TypeError, all_types, deform, format_type, input_binary, input_text,
    numeric, output_binary, output_text, parse_date_style, type_info, typmod_in,
};

/// The rows of a corpus file; `None` is NULL.
fn rows(file: &'static str) -> impl Iterator<Item = Vec<Option<String>>> {
    file.lines().skip(1).map(|line| {
        line.split('\t')
            .map(|field| {
                if field == "\\N" {
                    return None;
                }
                let mut text = String::new();
                let mut chars = field.chars();
                while let Some(c) = chars.next() {
                    text.push(match c {
                        '\\' => match chars.next() {
                            Some('t') => '\t',
                            Some('n') => '\n',
                            Some('r') => '\r',
                            _ => '\\',
                        },
                        other => other,
                    });
                }
                Some(text)
            })
            .collect()
    })
}

fn number<T: std::str::FromStr>(field: &Option<String>) -> T {
    let text = field.as_deref().unwrap();
    text.parse().unwrap_or_else(|_| panic!("a number: {text}"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// Collects what differs, so that one run shows all of it.
#[derive(Default)]
struct Differences {
    found: Vec<String>,
    compared: usize,
}

impl Differences {
    fn compare(&mut self, case: impl std::fmt::Debug, ours: String, theirs: String) {
        self.compared += 1;
        if ours != theirs {
            self.found.push(format!(
                "{case:?}\n  PostgreSQL: {theirs}\n  here:       {ours}"
            ));
        }
    }

    fn finish(self, at_least: usize) {
        assert!(self.compared >= at_least, "only {} cases", self.compared);
        let count = self.found.len();
        assert!(
            count == 0,
            "{count} of {} differ:\n{}",
            self.compared,
            self.found[..count.min(60)].join("\n")
        );
    }
}

fn shown_error(error: &TypeError) -> String {
    format!(
        "error {} {:?} detail {:?} hint {:?}",
        error.sqlstate,
        error.message,
        error.detail.as_deref().unwrap_or(""),
        error.hint.as_deref().unwrap_or("")
    )
}

fn styles(settings: &str) -> (InputStyle, OutputStyle) {
    let mut input = InputStyle::default();
    let mut output = OutputStyle::default();
    for setting in settings.split(';').filter(|setting| !setting.is_empty()) {
        let (name, value) = setting.split_once('=').unwrap();
        match name {
            "TimeZone" => {
                input.time_zone = TimeZone::parse(value).unwrap();
                output.time_zone = input.time_zone.clone();
            }
            "DateStyle" => {
                let current = (output.date_style, output.date_order);
                let (style, order) = parse_date_style(value, current).unwrap();
                output.date_style = style;
                output.date_order = order;
                input.date_order = order;
            }
            "extra_float_digits" => output.extra_float_digits = value.parse().unwrap(),
            "bytea_output" => output.bytea_output = trunkline_types::ByteaOutput::Escape,
            other => panic!("setting {other}"),
        }
    }
    (input, output)
}

#[test]
fn text_input_and_both_outputs() {
    let mut differences = Differences::default();
    let mut settings = None;
    let mut style = (InputStyle::default(), OutputStyle::default());
    for row in rows(include_str!("corpus/text.tsv")) {
        let [set, oid, typmod, input, ok, rest @ ..] = row.as_slice() else {
            panic!("short row {row:?}");
        };
        if settings != *set {
            style = styles(set.as_deref().unwrap());
            settings = set.clone();
        }
        let ty = ColumnType::new(Oid(number(oid)), number(typmod)).unwrap();
        let input = input.as_deref().unwrap();
        let mut payload = Vec::new();
        let ours = match input_text(&ty, input, &style.0, &mut payload) {
            Ok(()) => {
                let mut text = Vec::new();
                output_text(&ty, &payload, &style.1, &mut text).unwrap();
                let mut binary = Vec::new();
                let binary = match output_binary(&ty, &payload, &mut binary) {
                    Ok(()) => hex(&binary),
                    Err(_) => "none".to_owned(),
                };
                format!("ok {:?} {binary}", String::from_utf8_lossy(&text))
            }
            Err(error) => shown_error(&error),
        };
        let field = |index: usize| rest[index].as_deref().unwrap_or("");
        let theirs = if ok.as_deref() == Some("ok") {
            format!("ok {:?} {}", field(0), rest[1].as_deref().unwrap_or("none"))
        } else {
            format!(
                "error {} {:?} detail {:?} hint {:?}",
                field(0),
                field(1),
                field(2),
                field(3)
            )
        };
        differences.compare((set, ty.sql_name(), input), ours, theirs);
    }
    differences.finish(5000);
}

#[test]
fn binary_input() {
    let mut differences = Differences::default();
    let style = OutputStyle::default();
    for row in rows(include_str!("corpus/binary.tsv")) {
        let [oid, typmod, input, ok, rest @ ..] = row.as_slice() else {
            panic!("short row {row:?}");
        };
        let ty = ColumnType::new(Oid(number(oid)), number(typmod)).unwrap();
        let mut payload = Vec::new();
        let ours = match input_binary(&ty, &unhex(input.as_deref().unwrap()), &mut payload) {
            Ok(()) => {
                let mut text = Vec::new();
                output_text(&ty, &payload, &style, &mut text).unwrap();
                format!("ok {:?}", String::from_utf8_lossy(&text))
            }
            Err(error) => format!("error {} {:?}", error.sqlstate, error.message),
        };
        let field = |index: usize| rest[index].as_deref().unwrap_or("");
        let theirs = if ok.as_deref() == Some("ok") {
            format!("ok {:?}", field(0))
        } else {
            format!("error {} {:?}", field(0), field(1))
        };
        differences.compare((ty.sql_name(), input), ours, theirs);
    }
    differences.finish(300);
}

#[test]
fn numeric_arithmetic() {
    let mut differences = Differences::default();
    for row in rows(include_str!("corpus/arithmetic.tsv")) {
        let [operation, left, right, ok, rest @ ..] = row.as_slice() else {
            panic!("short row {row:?}");
        };
        let operation = operation.as_deref().unwrap();
        let left = left.as_deref().unwrap();
        let shown = |number: Result<Numeric, TypeError>| number.map(|number| number.to_string());
        let a = || left.parse::<Numeric>().unwrap();
        let b = || right.as_deref().unwrap().parse::<Numeric>().unwrap();
        let scale = || number::<i32>(right);
        let result = match operation {
            "add" => shown(a().add(&b())),
            "sub" => shown(a().sub(&b())),
            "mul" => shown(a().mul(&b())),
            "div" => shown(a().div(&b())),
            "rem" => shown(a().rem(&b())),
            "div_trunc" => shown(a().div_trunc(&b())),
            "cmp" => Ok((a().cmp(&b()) as i32).to_string()),
            "round" => shown(a().round(scale())),
            "trunc" => shown(a().trunc(scale())),
            "neg" => Ok((-a()).to_string()),
            "abs" => Ok(a().abs().to_string()),
            "ceil" => shown(a().ceil()),
            "floor" => shown(a().floor()),
            "sqrt" => shown(a().sqrt()),
            "int8" => a().to_i64("bigint").map(|value| value.to_string()),
            "int4" => a()
                .to_i64("integer")
                .and_then(|value| match i32::try_from(value) {
                    Ok(value) => Ok(value.to_string()),
                    Err(_) => Err(TypeError::out_of_range("integer")),
                }),
            "float8" => {
                let ty = ColumnType::new(Oid(701), -1).unwrap();
                let mut text = Vec::new();
                let value = a().to_f64();
                output_text(
                    &ty,
                    &value.to_le_bytes(),
                    &OutputStyle::default(),
                    &mut text,
                )
                .unwrap();
                Ok(String::from_utf8(text).unwrap())
            }
            "from_float8" => Ok(Numeric::from_f64(left.parse().unwrap()).to_string()),
            "from_float4" => Ok(Numeric::from_f32(left.parse().unwrap()).to_string()),
            other => panic!("operation {other}"),
        };
        let ours = match result {
            Ok(text) => format!("ok {text}"),
            Err(error) => format!("error {} {}", error.sqlstate, error.message),
        };
        let theirs = if ok.as_deref() == Some("ok") {
            format!("ok {}", rest[0].as_deref().unwrap_or(""))
        } else {
            let field = |index: usize| rest[index].as_deref().unwrap_or("");
            format!("error {} {}", field(0), field(1))
        };
        differences.compare((operation, left, right), ours, theirs);
    }
    differences.finish(3000);
}

#[test]
fn tuples_byte_for_byte() {
    let mut differences = Differences::default();
    let mut former = TupleFormer::new();
    for row in rows(include_str!("corpus/tuples.tsv")) {
        let [columns, mask2, mask, hoff, bits, data, values @ ..] = row.as_slice() else {
            panic!("short row {row:?}");
        };
        let attrs: Vec<Attribute> = columns
            .as_deref()
            .unwrap()
            .split(' ')
            .map(|column| {
                let parts: Vec<&str> = column.split(':').collect();
                let oid = Oid(parts[0].parse().unwrap());
                let mut attr = Attribute::new(column, oid, parts[1].parse().unwrap()).unwrap();
                attr.storage = parts[2].chars().next().unwrap();
                attr
            })
            .collect();
        let desc = TupleDesc::new(attrs);
        let types: Vec<ColumnType> = desc
            .attrs()
            .iter()
            .map(|attr| ColumnType::new(attr.type_oid, attr.typmod).unwrap())
            .collect();
        let style = InputStyle::default();
        let payloads: Vec<Option<Vec<u8>>> = types
            .iter()
            .zip(values)
            .map(|(ty, value)| {
                value.as_deref().map(|text| {
                    let mut payload = Vec::new();
                    input_text(ty, text, &style, &mut payload).unwrap();
                    payload
                })
            })
            .collect();

        former.begin(&desc);
        for payload in &payloads {
            former.push(payload.as_deref());
        }
        let tuple = former.finish().unwrap().to_vec();
        former.begin(&desc);
        for payload in &payloads {
            match payload {
                None => former.push_null(),
                Some(payload) => former
                    .push_with(|out| {
                        out.extend_from_slice(payload);
                        Ok::<(), ()>(())
                    })
                    .unwrap(),
            }
        }
        assert_eq!(former.finish().unwrap(), tuple, "both ways of pushing");

        let our_bits = (tuple[20] & 1 != 0).then(|| {
            let natts = desc.len();
            (0..natts.div_ceil(8) * 8)
                .map(|bit| {
                    if tuple[23 + bit / 8] >> (bit % 8) & 1 == 1 {
                        '1'
                    } else {
                        '0'
                    }
                })
                .collect::<String>()
        });
        let our_hoff = usize::from(tuple[22]);
        let ours = format!(
            "{} {} {our_hoff} {our_bits:?} {}",
            u16::from_le_bytes([tuple[18], tuple[19]]),
            u16::from_le_bytes([tuple[20], tuple[21]]),
            hex(&tuple[our_hoff..])
        );
        let theirs = format!(
            "{} {} {} {bits:?} {}",
            mask2.as_deref().unwrap(),
            mask.as_deref().unwrap(),
            hoff.as_deref().unwrap(),
            data.as_deref().unwrap()
        );
        differences.compare((columns, values), ours, theirs);

        let mut back = Vec::new();
        deform(&desc, &tuple, &mut back).unwrap();
        let expected: Vec<Option<&[u8]>> = payloads.iter().map(Option::as_deref).collect();
        assert_eq!(back, expected);
        for step in 1..=3 {
            let wanted: Vec<usize> = (0..desc.len()).rev().step_by(step).collect();
            let mut some = vec![None; wanted.len()];
            Projection::new(&desc, &wanted)
                .deform(&tuple, &mut some)
                .unwrap();
            let expected: Vec<_> = wanted.iter().map(|&column| expected[column]).collect();
            assert_eq!(some, expected);
        }
        // Whatever is cut off, nothing panics.
        for end in 0..tuple.len() {
            let _ = deform(&desc, &tuple[..end], &mut back);
        }
    }
    differences.finish(200);
}

#[test]
fn the_type_table() {
    let mut differences = Differences::default();
    for row in rows(include_str!("corpus/types.tsv")) {
        let Some(info) = type_info(Oid(number(&row[0]))) else {
            continue;
        };
        let flag = |value: bool| if value { "t" } else { "f" };
        let ours = format!(
            "{} {} {} {} {} {} {} {} {} {}",
            info.name,
            info.sql_name,
            info.len,
            info.align.code(),
            flag(info.by_val),
            info.storage,
            info.category,
            flag(info.is_preferred),
            info.elem,
            info.array
        );
        let theirs: Vec<&str> = row[1..]
            .iter()
            .map(|field| field.as_deref().unwrap_or(""))
            .collect();
        differences.compare(info.oid, ours, theirs.join(" "));
        assert_eq!(Align::from_code(info.align.code()), Some(info.align));
    }
    differences.finish(all_types().len());
}

#[test]
fn type_names_and_modifiers() {
    let mut differences = Differences::default();
    for row in rows(include_str!("corpus/format_type.tsv")) {
        let ours = format_type(Oid(number(&row[0])), number(&row[1]));
        differences.compare(&row, ours, row[2].clone().unwrap());
    }
    for row in rows(include_str!("corpus/typmod.tsv")) {
        let modifiers: Vec<i32> = row[1]
            .as_deref()
            .unwrap()
            .split(',')
            .map(|text| text.parse().unwrap())
            .collect();
        let ours = match typmod_in(Oid(number(&row[0])), &modifiers) {
            Ok(typmod) => format!("ok {typmod}"),
            Err(error) => format!("error {} {}", error.sqlstate, error.message),
        };
        let theirs: Vec<&str> = row[2..]
            .iter()
            .map(|field| field.as_deref().unwrap_or(""))
            .collect();
        differences.compare(&row, ours, theirs.join(" "));
    }
    differences.finish(200);
}

#[test]
fn scaled_integers_of_payloads() {
    for text in [
        "0",
        "-1.50",
        "123456789.99",
        "99999999999999999999999999999999999.999",
        "1e-2",
    ] {
        let number: Numeric = text.parse().unwrap();
        let mut payload = Vec::new();
        number.encode(&mut payload).unwrap();
        let scaled = numeric::payload_to_i128(&payload, 3).unwrap();
        assert_eq!(Some(scaled), number.to_i128(3), "{text}");
        let mut again = Vec::new();
        numeric::put_i128(scaled, 3, &mut again);
        assert_eq!(Numeric::decode(&again), Some(number), "{text}");
    }
}
