//! Values of settings: parsing with units, ranges and words, and printing as `SHOW` does.
//!
//! The rules and messages are those of PostgreSQL's `utils/misc/guc.c`.

use super::SettingError;
use super::definition::{SettingDefinition, SettingKind};

/// A setting's value; numbers are in the setting's base unit.
#[derive(Clone, PartialEq, Debug)]
pub enum SettingValue {
    /// A `bool` setting's.
    Bool(bool),
    /// An `integer` setting's.
    Integer(i64),
    /// A `real` setting's.
    Real(f64),
    /// A `string` or `enum` setting's.
    Text(String),
}

/// Units that convert into each other, smallest first, each with its size in the smallest.
const MEMORY_UNITS: &[(&str, f64)] = &[
    ("B", 1.0),
    ("kB", 1024.0),
    ("MB", 1024.0 * 1024.0),
    ("GB", 1024.0 * 1024.0 * 1024.0),
    ("TB", 1024.0 * 1024.0 * 1024.0 * 1024.0),
];
const TIME_UNITS: &[(&str, f64)] = &[
    ("us", 1.0),
    ("ms", 1e3),
    ("s", 1e6),
    ("min", 60e6),
    ("h", 3600e6),
    ("d", 86_400e6),
];

const MEMORY_HINT: &str =
    "Valid units for this parameter are \"B\", \"kB\", \"MB\", \"GB\", and \"TB\".";
const TIME_HINT: &str = "Valid units for this parameter are \"us\", \"ms\", \"s\", \"min\", \
                         \"h\", and \"d\".";

/// The family of units that `unit` belongs to, and how many of the family's smallest it is.
fn unit_family(unit: &str) -> Option<(&'static [(&'static str, f64)], f64)> {
    let blocks = unit
        .strip_suffix("kB")
        .and_then(|count| count.parse::<f64>().ok());
    if let Some(count) = blocks {
        return Some((MEMORY_UNITS, count * 1024.0));
    }
    [MEMORY_UNITS, TIME_UNITS].into_iter().find_map(|family| {
        family
            .iter()
            .find(|(name, _)| *name == unit)
            .map(|(_, size)| (family, *size))
    })
}

fn invalid(definition: &SettingDefinition, text: &str, hint: Option<String>) -> SettingError {
    SettingError::InvalidValue {
        name: definition.name.to_owned(),
        value: text.to_owned(),
        hint,
    }
}

/// What `strtol` takes of `text` with base 0, and the rest: hexadecimal, octal or decimal; nothing if
/// there is no digit.
fn take_integer(text: &str) -> Option<(f64, &str)> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let lower = unsigned.to_ascii_lowercase();
    let hexadecimal = lower
        .strip_prefix("0x")
        .is_some_and(|digits| digits.starts_with(|digit: char| digit.is_ascii_hexdigit()));
    let (digits, radix) = match unsigned {
        _ if hexadecimal => (&unsigned[2..], 16),
        octal if octal.starts_with('0') => (octal, 8),
        decimal => (decimal, 10),
    };
    let end = digits
        .find(|digit: char| !digit.is_digit(radix))
        .unwrap_or(digits.len());
    if end == 0 {
        return None;
    }
    let magnitude = digits[..end]
        .chars()
        .filter_map(|digit| digit.to_digit(radix))
        .fold(0.0, |number, digit| {
            number * f64::from(radix) + f64::from(digit)
        });
    let number = if text.starts_with('-') {
        -magnitude
    } else {
        magnitude
    };
    Some((number, &digits[end..]))
}

/// What `strtod` takes of `text` as a decimal number, and the rest; nothing if there is no digit or the
/// number is too large.
fn take_real(text: &str) -> Option<(f64, &str)> {
    // The number ends where the unit's letters begin; an exponent's `e` belongs to the number.
    let end = text
        .char_indices()
        .find(|&(at, c)| {
            let exponent = matches!(c, 'e' | 'E')
                && text[at + 1..].starts_with(|next: char| next.is_ascii_digit() || next == '-');
            !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-') || exponent)
        })
        .map_or(text.len(), |(at, _)| at);
    let number: f64 = text[..end].parse().ok()?;
    number.is_finite().then_some((number, &text[end..]))
}

/// Parses a number with an optional unit into the base unit (`parse_int` and `parse_real`).
fn parse_number(definition: &SettingDefinition, text: &str) -> Result<f64, SettingError> {
    let trimmed = text.trim_start();
    let family = unit_family(definition.unit);
    let bad = |hint: Option<&str>| Err(invalid(definition, text, hint.map(str::to_owned)));
    let as_integer = take_integer(trimmed);
    let is_integer = match (definition.kind, as_integer) {
        (SettingKind::Integer, Some((number, rest))) => {
            !rest.starts_with(['.', 'e', 'E']) && number.abs() < i64::MAX as f64
        }
        (SettingKind::Integer, None) => trimmed.starts_with(|c: char| c.is_ascii_alphabetic()),
        _ => trimmed.to_ascii_lowercase().starts_with("0x"),
    };
    let taken = if is_integer {
        as_integer
    } else {
        take_real(trimmed)
    };
    let Some((number, rest)) = taken else {
        return bad(None);
    };
    let unit = rest.trim();
    if unit.is_empty() {
        return Ok(number);
    }
    let Some((units, base)) = family else {
        return bad(None);
    };
    match units.iter().find(|(name, _)| *name == unit) {
        Some((_, size)) => Ok(number * size / base),
        None if units == MEMORY_UNITS => bad(Some(MEMORY_HINT)),
        None => bad(Some(TIME_HINT)),
    }
}

/// A number as C's `printf` gives it with `%g`: six digits, no zeros at their end.
fn format_g(number: f64) -> String {
    const DIGITS: i32 = 6;
    if number == 0.0 || !number.is_finite() {
        return number.to_string();
    }
    let scientific = format!("{number:.*e}", (DIGITS - 1) as usize);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let without_zeros = |digits: &str| match digits.contains('.') {
        true => digits
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned(),
        false => digits.to_owned(),
    };
    if (-4..DIGITS).contains(&exponent) {
        let decimals = (DIGITS - 1 - exponent) as usize;
        return without_zeros(&format!("{number:.decimals$}"));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", without_zeros(mantissa), exponent.abs())
}

/// Parses a `bool` as PostgreSQL's `parse_bool`: unique prefixes of true, false, yes, no, and
/// on, off, 1, 0.
pub fn parse_bool(text: &str) -> Option<bool> {
    let lower = text.to_ascii_lowercase();
    if lower.is_empty() {
        return None;
    }
    match lower.as_str() {
        "1" | "on" => Some(true),
        "0" | "off" | "of" => Some(false),
        word if "true".starts_with(word) || "yes".starts_with(word) => Some(true),
        word if "false".starts_with(word) || "no".starts_with(word) => Some(false),
        _ => None,
    }
}

/// Words that PostgreSQL takes for one of an enum's without listing them, and what they stand for.
const HIDDEN_WORDS: &[(&str, &str, &str)] = &[
    ("client_min_messages", "debug", "debug2"),
    ("client_min_messages", "info", "info"),
    ("log_min_error_statement", "debug", "debug2"),
    ("log_min_messages", "debug", "debug2"),
    ("wal_level", "archive", "replica"),
    ("wal_level", "hot_standby", "replica"),
];

fn hidden_word(definition: &SettingDefinition, text: &str) -> Option<&'static &'static str> {
    HIDDEN_WORDS
        .iter()
        .find(|(name, word, _)| *name == definition.name && word.eq_ignore_ascii_case(text))
        .map(|(_, _, known)| known)
}

fn number_text(definition: &SettingDefinition, number: f64) -> String {
    match definition.kind {
        SettingKind::Real => format_g(number),
        _ => number.to_string(),
    }
}

fn check_range(definition: &SettingDefinition, number: f64) -> Result<(), SettingError> {
    if number >= definition.min && number <= definition.max {
        return Ok(());
    }
    let unit = definition.unit;
    let with_unit = |value: f64| {
        if unit.is_empty() {
            number_text(definition, value)
        } else {
            format!("{} {unit}", number_text(definition, value))
        }
    };
    Err(SettingError::OutOfRange {
        name: definition.name.to_owned(),
        value: with_unit(number),
        min: with_unit(definition.min),
        max: with_unit(definition.max),
    })
}

impl SettingValue {
    /// Parses `text` for `definition`.
    ///
    /// # Errors
    /// PostgreSQL's message for a bad number, unit, word or range (SQLSTATE 22023).
    pub fn parse(definition: &SettingDefinition, text: &str) -> Result<SettingValue, SettingError> {
        match definition.kind {
            SettingKind::Bool => parse_bool(text).map(SettingValue::Bool).ok_or_else(|| {
                SettingError::RequiresBoolean {
                    name: definition.name.to_owned(),
                }
            }),
            SettingKind::Integer => {
                let number = parse_number(definition, text)?.round_ties_even();
                if number > f64::from(i32::MAX) || number < f64::from(i32::MIN) {
                    let hint = "Value exceeds integer range.".to_owned();
                    return Err(invalid(definition, text, Some(hint)));
                }
                check_range(definition, number)?;
                Ok(SettingValue::Integer(number as i64))
            }
            SettingKind::Real => {
                let number = parse_number(definition, text)?;
                check_range(definition, number)?;
                Ok(SettingValue::Real(number))
            }
            SettingKind::String => Ok(SettingValue::Text(text.to_owned())),
            SettingKind::Enum => {
                let known = definition
                    .words
                    .iter()
                    .find(|known| known.eq_ignore_ascii_case(text));
                let known = known.or_else(|| hidden_word(definition, text));
                // Enums whose words are booleans take every spelling of them.
                let known = known.or_else(|| {
                    let as_word = if parse_bool(text)? { "on" } else { "off" };
                    definition.words.iter().find(|known| **known == as_word)
                });
                match known {
                    Some(known) => Ok(SettingValue::Text((*known).to_owned())),
                    None => {
                        let hint = format!("Available values: {}.", definition.words.join(", "));
                        Err(invalid(definition, text, Some(hint)))
                    }
                }
            }
        }
    }

    /// The value when nothing sets it.
    pub fn boot(definition: &SettingDefinition) -> SettingValue {
        match definition.kind {
            SettingKind::Bool => SettingValue::Bool(definition.boot == "on"),
            SettingKind::Integer => {
                SettingValue::Integer(definition.boot.parse().unwrap_or_default())
            }
            SettingKind::Real => SettingValue::Real(definition.boot.parse().unwrap_or_default()),
            SettingKind::String | SettingKind::Enum => {
                SettingValue::Text(definition.boot.to_owned())
            }
        }
    }

    /// The value in its base unit without a unit.
    pub fn plain(&self) -> String {
        match self {
            SettingValue::Bool(true) => "on".to_owned(),
            SettingValue::Bool(false) => "off".to_owned(),
            SettingValue::Integer(number) => number.to_string(),
            SettingValue::Real(number) => format_g(*number),
            SettingValue::Text(text) => text.clone(),
        }
    }

    /// The value as `pg_settings.setting` has it: without a unit.
    pub fn setting(&self, definition: &SettingDefinition) -> String {
        match self {
            // As PostgreSQL's show hooks have it.
            SettingValue::Integer(mode) if OCTAL.contains(&definition.name) => {
                format!("{mode:04o}")
            }
            SettingValue::Text(_) if definition.name == "archive_command" => {
                "(disabled)".to_owned()
            }
            _ => self.plain(),
        }
    }

    /// The value as `SHOW` prints it: in the largest unit that divides it.
    pub fn show(&self, definition: &SettingDefinition) -> String {
        let (number, text) = match *self {
            SettingValue::Integer(number) => (number as f64, number.to_string()),
            SettingValue::Real(number) => (number, format_g(number)),
            _ => return self.setting(definition),
        };
        let Some((units, base)) = unit_family(definition.unit).filter(|_| number > 0.0) else {
            return self.setting(definition);
        };
        let total = number * base;
        match units.iter().rev().find(|(_, size)| total % size == 0.0) {
            Some((unit, size)) => format!("{}{unit}", total / size),
            None => format!("{text}{}", definition.unit),
        }
    }
}

/// Modes of files.
const OCTAL: [&str; 3] = [
    "data_directory_mode",
    "log_file_mode",
    "unix_socket_permissions",
];

#[cfg(test)]
mod tests {
    use super::super::definition::{definitions, find};
    use super::*;

    fn definition(name: &str) -> &'static SettingDefinition {
        &definitions()[find(name).unwrap()]
    }

    fn parsed(name: &str, text: &str) -> Result<String, String> {
        let definition = definition(name);
        SettingValue::parse(definition, text)
            .map(|value| value.show(definition))
            .map_err(|error| error.to_string())
    }

    // Results and messages as PostgreSQL 18's SET and SHOW give them.
    #[test]
    fn numbers_take_units() {
        assert_eq!(parsed("work_mem", "64"), Ok("64kB".into()));
        assert_eq!(parsed("work_mem", "1.5GB"), Ok("1536MB".into()));
        assert_eq!(parsed("io_combine_limit", "256kB"), Ok("256kB".into()));
        assert_eq!(parsed("shared_buffers", "1GB"), Ok("1GB".into()));
        assert_eq!(parsed("statement_timeout", "2min"), Ok("2min".into()));
        assert_eq!(parsed("statement_timeout", "0"), Ok("0".into()));
        assert_eq!(parsed("work_mem", " 2 MB "), Ok("2MB".into()));
        assert_eq!(parsed("work_mem", "0100"), Ok("64kB".into()));
        assert_eq!(parsed("work_mem", "0x100"), Ok("256kB".into()));
        assert_eq!(parsed("work_mem", "0x1MB"), Ok("1MB".into()));
        assert_eq!(parsed("work_mem", "0100.6"), Ok("101kB".into()));
        assert_eq!(parsed("work_mem", "+5000"), Ok("5000kB".into()));
        assert_eq!(parsed("vacuum_cost_delay", "1.5"), Ok("1500us".into()));
        assert_eq!(parsed("vacuum_cost_delay", "2000us"), Ok("2ms".into()));
        assert_eq!(parsed("log_file_mode", "0640"), Ok("0640".into()));
        assert_eq!(
            parsed("bgwriter_lru_multiplier", "1.23456789"),
            Ok("1.23457".into())
        );
        assert_eq!(parsed("seq_page_cost", "1e10"), Ok("1e+10".into()));
        assert_eq!(parsed("seq_page_cost", "1e1"), Ok("10".into()));
    }

    #[test]
    fn words_that_are_not_listed() {
        let parsed = |name, text| parsed(name, text).unwrap();
        assert_eq!(parsed("client_min_messages", "Debug"), "debug2");
        assert_eq!(parsed("client_min_messages", "info"), "info");
        assert_eq!(parsed("wal_level", "hot_standby"), "replica");
        assert_eq!(parsed("ssl_max_protocol_version", ""), "");
    }

    #[test]
    fn bad_values_get_postgresqls_messages() {
        assert_eq!(
            parsed("work_mem", "1kB"),
            Err(
                "1 kB is outside the valid range for parameter \"work_mem\" \
                 (64 kB .. 2147483647 kB)"
                    .into()
            )
        );
        assert_eq!(
            parsed("work_mem", "12parsecs"),
            Err("invalid value for parameter \"work_mem\": \"12parsecs\"".into())
        );
        assert_eq!(
            parsed("random_page_cost", "-1"),
            Err(
                "-1 is outside the valid range for parameter \"random_page_cost\" \
                 (0 .. 1.79769e+308)"
                    .into()
            )
        );
        for (name, text, hint) in [
            ("work_mem", "", None),
            ("work_mem", "nan", None),
            ("work_mem", "08", Some(MEMORY_HINT)),
            ("work_mem", "0x1p3", Some(MEMORY_HINT)),
            ("work_mem", "4 MB x", Some(MEMORY_HINT)),
            ("work_mem", "3e9", Some("Value exceeds integer range.")),
            (
                "work_mem",
                "99999999999999999999",
                Some("Value exceeds integer range."),
            ),
            ("io_workers", "2kB", None),
            ("random_page_cost", "1e400", None),
        ] {
            let error = SettingValue::parse(definition(name), text).unwrap_err();
            let message = format!("invalid value for parameter \"{name}\": \"{text}\"");
            assert_eq!((error.to_string(), error.hint()), (message, hint));
        }
        for text in ["o", "TRUE ", ""] {
            assert!(parsed("zero_damaged_pages", text).is_err(), "{text}");
        }
        assert_eq!(
            parsed("zero_damaged_pages", "maybe"),
            Err("parameter \"zero_damaged_pages\" requires a Boolean value".into())
        );
        assert_eq!(
            parsed("io_workers", "33"),
            Err("33 is outside the valid range for parameter \"io_workers\" (1 .. 32)".into())
        );
        let error = SettingValue::parse(definition("io_method"), "epoll").unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid value for parameter \"io_method\": \"epoll\""
        );
        assert!(
            error
                .hint()
                .is_some_and(|hint| hint.starts_with("Available values: sync"))
        );
    }
}
