//! What single settings demand of their values beyond type and range (PostgreSQL's check hooks).

use trunkline_pgformat::wal::rmgr_id::RmgrId;
use trunkline_types::{TimeZone, format_date_style, parse_date_style};
use trunkline_wal::SyncMethod;

use super::SettingError;
use super::definition::SettingDefinition;
use super::list::split_identifiers;
use super::value::SettingValue;

const ONE_ROLE: &str = "There is no other role than the session's own.";

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
        "session_authorization" if value != *current => Err(not_supported(ONE_ROLE)),
        "role" if text != "none" => Err(not_supported(ONE_ROLE)),
        "search_path" => split_identifiers(text)
            .map(|_| value.clone())
            .ok_or_else(invalid),
        "transaction_isolation" | "default_transaction_isolation" => match text.as_str() {
            "read committed" | "read uncommitted" => Ok(value),
            _ => Err(not_supported("Only READ COMMITTED is supported.")),
        },
        "wal_level" => match text.as_str() {
            "replica" => Ok(value),
            "minimal" => Err(not_supported(
                "Everything is logged; leaving the log out for new tables is not supported.",
            )),
            _ => Err(not_supported("Logical decoding is not supported.")),
        },
        // Two words for one thing, as in PostgreSQL.
        "wal_compression" if text == "on" => Ok(SettingValue::Text("pglz".to_owned())),
        "wal_sync_method" => SyncMethod::from_name(text)
            .map(|_| value.clone())
            .map_err(|error| not_supported(&error.to_string())),
        "wal_consistency_checking" => check_resource_managers(text)
            .map(|_| value.clone())
            .ok_or_else(invalid),
        "io_direct" => check_io_direct(text)
            .ok_or_else(invalid)
            .map(SettingValue::Text),
        "listen_addresses" => match text.trim() {
            "localhost" | "127.0.0.1" | "::1" => Ok(value),
            _ => Err(not_supported(
                "Without authentication, only a loopback address may be listened on.",
            )),
        },
        "application_name" => Ok(SettingValue::Text(clean_ascii(cut_name(text)))),
        _ => Ok(value),
    }
}

/// As much of a name as an identifier has at most, not within a character.
fn cut_name(text: &str) -> &str {
    const NAME_BYTES_MAX: usize = 63;
    let mut end = text.len().min(NAME_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// What is not printable ASCII in hexadecimal (`pg_clean_ascii` in PostgreSQL's `common/string.c`).
fn clean_ascii(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            32..=126 => char::from(byte).to_string(),
            other => format!("\\x{other:02x}"),
        })
        .collect()
}

/// Resource managers whose pages can be compared (`rm_mask` in PostgreSQL's `access/rmgrlist.h`), as
/// far as there are any here.
const MASKED: [RmgrId; 2] = [RmgrId::HEAP2, RmgrId::HEAP];

/// The resource managers that `wal_consistency_checking` lists by name, or all; `None` if the list has
/// another word. Those that have no pages to compare count as none, as far as `all` goes.
pub fn check_resource_managers(text: &str) -> Option<Vec<RmgrId>> {
    let mut all = Vec::new();
    for word in text.split(',').map(str::trim) {
        if word.is_empty() {
            continue;
        }
        if word.eq_ignore_ascii_case("all") {
            all.extend(MASKED);
            continue;
        }
        all.push(MASKED.into_iter().find(|rmgr| {
            rmgr.name()
                .is_some_and(|name| name.eq_ignore_ascii_case(word))
        })?);
    }
    Some(all)
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
