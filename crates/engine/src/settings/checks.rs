//! What single settings demand of their values beyond type and range (PostgreSQL's check hooks).

use trunkline_types::{TimeZone, format_date_style, parse_date_style};

use super::SettingError;
use super::definition::SettingDefinition;
use super::value::SettingValue;

/// Checks `value`, and puts it into the form that `SHOW` prints. `current` is what holds now: a
/// DateStyle that names only one of its two parts keeps the other.
pub fn check(
    definition: &SettingDefinition,
    value: SettingValue,
    current: &SettingValue,
) -> Result<SettingValue, SettingError> {
    let SettingValue::Text(text) = &value else {
        return Ok(value);
    };
    let invalid = || SettingError::InvalidValue {
        name: definition.name.to_owned(),
        value: text.clone(),
        hint: None,
    };
    let not_supported = |detail: &str| SettingError::NotSupported {
        name: definition.name.to_owned(),
        value: text.clone(),
        detail: detail.to_owned(),
    };
    match definition.name {
        "client_encoding" => match text.to_ascii_lowercase().replace(['-', '_'], "").as_str() {
            "utf8" | "unicode" => Ok(SettingValue::Text("UTF8".to_owned())),
            _ => Err(not_supported("Only UTF8 is supported.")),
        },
        "DateStyle" => {
            let current = parse_date_style(&current.plain(), Default::default());
            parse_date_style(text, current.unwrap_or_default())
                .map(|(style, order)| SettingValue::Text(format_date_style(style, order)))
                .ok_or_else(invalid)
        }
        "TimeZone" => TimeZone::parse(text)
            .map(|zone| SettingValue::Text(zone.name().to_owned()))
            .ok_or_else(invalid),
        "transaction_isolation" | "default_transaction_isolation" => match text.as_str() {
            "read committed" | "read uncommitted" => Ok(value),
            _ => Err(not_supported("Only READ COMMITTED is supported.")),
        },
        "io_direct" => check_io_direct(text)
            .ok_or_else(invalid)
            .map(SettingValue::Text),
        "listen_addresses" => match text.trim() {
            "localhost" | "127.0.0.1" | "::1" => Ok(value),
            _ => Err(not_supported(
                "Without authentication, only a loopback address may be listened on.",
            )),
        },
        // PostgreSQL cuts it to an identifier's length and masks what is not printable ASCII.
        "application_name" => {
            let clean: String = text
                .bytes()
                .take(63)
                .map(|byte| {
                    if matches!(byte, 32..=126) {
                        byte as char
                    } else {
                        '?'
                    }
                })
                .collect();
            Ok(SettingValue::Text(clean))
        }
        _ => Ok(value),
    }
}

/// A list of `data`, `wal` and `wal_init`, or nothing.
fn check_io_direct(text: &str) -> Option<String> {
    let words: Vec<&str> = text
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .collect();
    words
        .iter()
        .all(|word| ["data", "wal", "wal_init"].contains(word))
        .then(|| words.join(","))
}
