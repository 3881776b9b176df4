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

/// Parses a number with an optional unit into the base unit.
fn parse_number(definition: &SettingDefinition, text: &str) -> Result<f64, SettingError> {
    let trimmed = text.trim();
    let family = unit_family(definition.unit);
    let hint = || {
        family.map(|(units, _)| {
            if units == MEMORY_UNITS {
                MEMORY_HINT
            } else {
                TIME_HINT
            }
            .to_owned()
        })
    };
    if let Some(hexadecimal) = trimmed
        .strip_prefix("0x")
        .or_else(|| trimmed.strip_prefix("0X"))
    {
        return i64::from_str_radix(hexadecimal, 16)
            .map(|number| number as f64)
            .map_err(|_| invalid(definition, text, None));
    }
    // The number ends where the unit's letters begin; an exponent's `e` belongs to the number.
    let end = trimmed
        .char_indices()
        .find(|&(at, c)| {
            let exponent = matches!(c, 'e' | 'E')
                && trimmed[at + 1..].starts_with(|next: char| next.is_ascii_digit() || next == '-');
            !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-') || exponent)
        })
        .map_or(trimmed.len(), |(at, _)| at);
    let number: f64 = trimmed[..end]
        .parse()
        .map_err(|_| invalid(definition, text, None))?;
    let unit = trimmed[end..].trim();
    if unit.is_empty() {
        return Ok(number);
    }
    let Some((units, base)) = family else {
        return Err(invalid(definition, text, None));
    };
    match units.iter().find(|(name, _)| *name == unit) {
        Some((_, size)) => Ok(number * size / base),
        None => Err(invalid(definition, text, hint())),
    }
}

/// Parses a `bool` as PostgreSQL's `parse_bool`: unique prefixes of true, false, yes, no, and
/// on, off, 1, 0.
pub fn parse_bool(text: &str) -> Option<bool> {
    let lower = text.trim().to_ascii_lowercase();
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

fn check_range(definition: &SettingDefinition, number: f64) -> Result<(), SettingError> {
    if number >= definition.min && number <= definition.max {
        return Ok(());
    }
    let unit = definition.unit;
    let with_unit = |value: f64| {
        if unit.is_empty() {
            format!("{value}")
        } else {
            format!("{value} {unit}")
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
                let word = text.trim();
                let known = definition
                    .words
                    .iter()
                    .find(|known| known.eq_ignore_ascii_case(word));
                // Enums whose words are booleans take every spelling of them.
                let known = known.or_else(|| {
                    let as_word = if parse_bool(word)? { "on" } else { "off" };
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

    /// The value in its base unit without a unit, as `pg_settings.setting` has it.
    pub fn plain(&self) -> String {
        match self {
            SettingValue::Bool(true) => "on".to_owned(),
            SettingValue::Bool(false) => "off".to_owned(),
            SettingValue::Integer(number) => number.to_string(),
            SettingValue::Real(number) => number.to_string(),
            SettingValue::Text(text) => text.clone(),
        }
    }

    /// The value as `SHOW` prints it: in the largest unit that divides it.
    pub fn show(&self, definition: &SettingDefinition) -> String {
        let SettingValue::Integer(number) = *self else {
            return self.plain();
        };
        let Some((units, base)) = unit_family(definition.unit).filter(|_| number > 0) else {
            return number.to_string();
        };
        let total = number as f64 * base;
        match units.iter().rev().find(|(_, size)| total % size == 0.0) {
            Some((unit, size)) => format!("{}{unit}", total / size),
            None => format!("{number}{}", definition.unit),
        }
    }
}

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
        assert_eq!(parsed("seq_page_cost", "1e1"), Ok("10".into()));
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
