//! A table with every user type, and rows for it: each type's extremes and oddities first, then
//! random ones.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// Its columns: name and type.
pub const COLUMNS: [(&str, &str); 18] = [
    ("id", "int4"),
    ("b", "bool"),
    ("i2", "int2"),
    ("i4", "int4"),
    ("i8", "int8"),
    ("f4", "float4"),
    ("f8", "float8"),
    ("n", "numeric"),
    ("n12", "numeric(12,3)"),
    ("n38", "numeric(38,10)"),
    ("t", "text"),
    ("v", "varchar(20)"),
    ("c", "char(7)"),
    ("y", "bytea"),
    ("d", "date"),
    ("ts", "timestamp"),
    ("tz", "timestamptz"),
    ("u", "uuid"),
];

/// How many of the values beyond the first rows are NULL.
const NULL_PERCENT: u64 = 12;

/// CREATE TABLE for it.
pub fn create_table(name: &str) -> String {
    let columns: Vec<String> = COLUMNS
        .iter()
        .map(|(column, sql_type)| format!("{column} {sql_type}"))
        .collect();
    format!("CREATE TABLE {name} ({})", columns.join(", "))
}

/// The seed to use, printed: `TRUNKLINE_SEED`, or one from the clock.
pub fn seed() -> u64 {
    let seed = match std::env::var("TRUNKLINE_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_nanos() as u64,
    };
    println!("TRUNKLINE_SEED={seed}");
    seed
}

/// Random numbers: splitmix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn digits(&mut self, count: u64) -> String {
        (0..count)
            .map(|_| char::from(b'0' + self.below(10) as u8))
            .collect()
    }

    /// Between a few and all bits of a number are random, so that small ones occur.
    fn narrow(&mut self) -> u64 {
        let bits = self.below(64);
        self.next() >> bits
    }
}

/// The values of each type that are most likely to be wrong.
fn extremes(column: &str) -> &'static [&'static str] {
    match column {
        "b" => &["true", "false"],
        "i2" => &["-32768", "32767", "0", "-1"],
        "i4" => &["-2147483648", "2147483647", "0", "-1"],
        "i8" => &[
            "-9223372036854775808",
            "9223372036854775807",
            "0",
            "-1",
            "4294967296",
        ],
        "f4" => &[
            "NaN",
            "Infinity",
            "-Infinity",
            "-0",
            "0",
            "1e-45",
            "3.4028235e38",
            "1.1754944e-38",
            "0.1",
            "1e15",
            "1e16",
            "123456.7",
            "1e-5",
            "1e-4",
        ],
        "f8" => &[
            "NaN",
            "Infinity",
            "-Infinity",
            "-0",
            "0",
            "5e-324",
            "1.7976931348623157e308",
            "0.1",
            "0.30000000000000004",
            "1e15",
            "1e16",
            "2.2250738585072014e-308",
            "1e-5",
            "1e-4",
            "1e22",
            "1e23",
        ],
        "n" => &[
            "0",
            "0.0",
            "0.000",
            "-0.5",
            "NaN",
            "1e20",
            "1e-20",
            "99999999999999999999999999999999999999",
            "-0.00000000000000000000000000000000000001",
            "10000",
            "0.0001",
            "100000000",
            "1.10",
            "0.00010",
            "12345.67890",
            "-9999.9999",
        ],
        "n12" => &[
            "0",
            "999999999.999",
            "-999999999.999",
            "0.001",
            "-0.001",
            "NaN",
            "10000",
            "0.5",
        ],
        "n38" => &[
            "9999999999999999999999999999.9999999999",
            "-9999999999999999999999999999.9999999999",
            "0",
            "0.0000000001",
            "1",
            "NaN",
        ],
        "t" => &[
            "",
            "\\N",
            "\\.",
            "N",
            "NULL",
            "\"",
            "\"\"",
            "'",
            "a,b",
            "a\tb",
            "a\nb",
            "a\r\nb",
            "\r",
            "\\",
            "\\\\",
            " lead and trail ",
            "naïve",
            "日本語",
            "🦀🚋",
            "\u{1}\u{8}\u{b}\u{c}\u{1b}\u{7f}",
            "a\"b,c\nd",
            "\u{feff}bom",
            "e\u{301}",
            "\u{10ffff}",
            ",",
            ";",
            "|",
            "#",
            "\\x41",
            "''",
        ],
        "v" => &[
            "",
            "12345678901234567890",
            "日本語日本語日本語日本語日本語日本語日本",
            "\\.",
            "\"",
            " ",
            "null",
        ],
        "c" => &["", "1234567", "日本語", " a", "\\", "a\n", "\""],
        "y" => &[
            "\\x",
            "\\x00",
            "\\x00ff5c0a0d22272c",
            "\\x5c2e",
            "\\x4e554c4c",
        ],
        "d" => &[
            "infinity",
            "-infinity",
            "4713-11-24 BC",
            "5874897-12-31",
            "2000-01-01",
            "1999-12-31",
            "0001-01-01",
            "0001-12-31 BC",
            "1970-01-01",
            "2024-02-29",
            "1582-10-15",
        ],
        "ts" => &[
            "infinity",
            "-infinity",
            "4713-11-24 00:00:00 BC",
            "294276-12-31 23:59:59.999999",
            "2000-01-01 00:00:00",
            "1999-12-31 23:59:59.999999",
            "0001-12-31 23:59:59 BC",
            "2024-02-29 12:34:56.5",
            "1970-01-01 00:00:00.000001",
            "10000-01-01 00:00:00",
        ],
        "tz" => &[
            "infinity",
            "-infinity",
            "4713-11-24 00:00:00+00 BC",
            "294276-12-31 23:59:59.999999+00",
            "2000-01-01 00:00:00+00",
            "2024-03-31 01:59:59+00",
            "2024-10-27 00:30:00+00",
            "1900-01-01 00:00:00-05",
            "2024-07-01 12:00:00.123+05:45",
            "0044-03-15 12:00:00+00 BC",
        ],
        "u" => &[
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
        ],
        other => panic!("no column {other}"),
    }
}

fn numeric(random: &mut Random, integer_digits: u64, scale: u64) -> String {
    let sign = if random.below(2) == 0 { "-" } else { "" };
    let integer = random.below(integer_digits) + 1;
    let fraction = random.below(scale + 1);
    match fraction {
        0 => format!("{sign}{}", random.digits(integer)),
        _ => format!(
            "{sign}{}.{}",
            random.digits(integer),
            random.digits(fraction)
        ),
    }
}

fn string(random: &mut Random, limit: u64) -> String {
    const ALPHABET: [&str; 24] = [
        "a", "b", "Z", "0", " ", "\t", "\n", "\r", "\\", "\"", "'", ",", ".", "|", "N", "ä", "ß",
        "€", "語", "🦀", "\u{1}", "\u{7f}", "word", "-",
    ];
    let length = random.below(limit + 1);
    let text: String = (0..length)
        .map(|_| ALPHABET[random.below(ALPHABET.len() as u64) as usize])
        .collect();
    text.chars().take(limit as usize).collect()
}

fn date(random: &mut Random) -> (String, &'static str) {
    let year = match random.below(10) {
        0 => random.below(4000) + 1,
        1 => random.below(290_000) + 1,
        _ => random.below(200) + 1900,
    };
    let era = if year < 4000 && random.below(40) == 0 {
        " BC"
    } else {
        ""
    };
    (
        format!(
            "{year:04}-{:02}-{:02}",
            random.below(12) + 1,
            random.below(28) + 1
        ),
        era,
    )
}

fn time(random: &mut Random) -> String {
    let (hour, minute, second) = (random.below(24), random.below(60), random.below(60));
    let fraction = match random.below(3) {
        0 => String::new(),
        1 => format!(".{:03}", random.below(1000)),
        _ => format!(".{:06}", random.below(1_000_000)),
    };
    format!("{hour:02}:{minute:02}:{second:02}{fraction}")
}

fn random_value(column: &str, random: &mut Random) -> String {
    match column {
        "b" => ["t", "f"][random.below(2) as usize].to_owned(),
        "i2" => (random.next() as i16).to_string(),
        "i4" => (random.narrow() as i32).to_string(),
        "i8" => (random.narrow() as i64).to_string(),
        "f4" => match f32::from_bits(random.next() as u32) {
            value if value.is_nan() => "NaN".to_owned(),
            value if value.is_infinite() => "Infinity".to_owned(),
            value => format!("{value:e}"),
        },
        "f8" => match f64::from_bits(random.next()) {
            value if value.is_nan() => "NaN".to_owned(),
            value if value.is_infinite() => "Infinity".to_owned(),
            value if random.below(3) == 0 => format!("{value:e}"),
            _ => format!("{}", random.narrow() as i32 as f64 / 1000.0),
        },
        "n" => numeric(random, 19, 19),
        "n12" => numeric(random, 9, 3),
        "n38" => numeric(random, 28, 10),
        // Some need a four-byte header; all stay below what PostgreSQL would compress.
        "t" if random.below(10) == 0 => string(random, 300),
        "t" => string(random, 40),
        "v" => string(random, 20),
        "c" => string(random, 7),
        "y" => {
            let mut hex = "\\x".to_owned();
            for _ in 0..random.below(40) {
                write!(hex, "{:02x}", random.next() as u8).unwrap();
            }
            hex
        }
        "d" => {
            let (date, era) = date(random);
            format!("{date}{era}")
        }
        "ts" => {
            let (date, era) = date(random);
            format!("{date} {}{era}", time(random))
        }
        "tz" => {
            let (date, era) = date(random);
            let offset = random.below(27) as i64 - 12;
            format!("{date} {}{offset:+03}{era}", time(random))
        }
        "u" => {
            let (high, low) = (random.next(), random.next());
            let hex = format!("{high:016x}{low:016x}");
            format!(
                "{}-{}-{}-{}-{}",
                &hex[..8],
                &hex[8..12],
                &hex[12..16],
                &hex[16..20],
                &hex[20..]
            )
        }
        other => panic!("no column {other}"),
    }
}

/// Rows in COPY's text format, as PostgreSQL is to read them. Their `id` counts from 0.
pub fn text_rows(seed: u64, count: usize) -> Vec<u8> {
    let mut random = Random(seed);
    let mut data = String::new();
    for row in 0..count {
        write!(data, "{row}").unwrap();
        for (column, _) in &COLUMNS[1..] {
            data.push('\t');
            let odd = extremes(column);
            let value = match odd.get(row) {
                Some(value) => (*value).to_owned(),
                None if random.below(100) < NULL_PERCENT => {
                    data.push_str("\\N");
                    continue;
                }
                None if random.below(8) == 0 => {
                    odd[random.below(odd.len() as u64) as usize].to_owned()
                }
                None => random_value(column, &mut random),
            };
            for character in value.chars() {
                match character {
                    '\\' => data.push_str("\\\\"),
                    '\t' => data.push_str("\\t"),
                    '\n' => data.push_str("\\n"),
                    '\r' => data.push_str("\\r"),
                    other => data.push(other),
                }
            }
        }
        data.push('\n');
    }
    data.into_bytes()
}
