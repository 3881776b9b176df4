//! Settings whose values are lists (`GUC_LIST_INPUT`, `GUC_LIST_QUOTE` in PostgreSQL's `utils/guc.h`).

use trunkline_types::quote_identifier;

use super::{SettingError, find};
use crate::settings::definition::definitions;

/// Lists of identifiers, which are quoted where they have to be.
const OF_IDENTIFIERS: &[&str] = &[
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

/// Other lists.
const OF_WORDS: &[&str] = &[
    "createrole_self_grant",
    "DateStyle",
    "debug_io_direct",
    "io_direct",
    "listen_addresses",
    "log_connections",
    "log_destination",
    "restrict_nonsystem_relation_kind",
    "synchronized_standby_slots",
    "synchronous_standby_names",
    "wal_consistency_checking",
];

/// The text of a value that SET gives in so many parts (`flatten_set_variable_args`).
///
/// # Errors
/// Several for a setting that is no list. Of a setting that does not exist nothing is said.
pub fn flatten(name: &str, parts: &[String]) -> Result<String, SettingError> {
    let name = find(name).map_or("", |index| definitions()[index].name);
    if OF_IDENTIFIERS.contains(&name) {
        let quoted: Vec<String> = parts.iter().map(|part| quote_identifier(part)).collect();
        return Ok(quoted.join(", "));
    }
    if parts.len() > 1 && !name.is_empty() && !OF_WORDS.contains(&name) {
        return Err(SettingError::OneArgument(name.to_owned()));
    }
    Ok(parts.join(", "))
}

/// The identifiers of a list: small letters where they are not quoted (`SplitIdentifierString` in
/// PostgreSQL's `utils/adt/varlena.c`). `None` if it is none.
pub fn split_identifiers(text: &str) -> Option<Vec<String>> {
    let mut rest = text.trim_start();
    let mut identifiers = Vec::new();
    if rest.is_empty() {
        return Some(identifiers);
    }
    loop {
        let mut identifier = String::new();
        if let Some(quoted) = rest.strip_prefix('"') {
            rest = quoted;
            loop {
                let (before, after) = rest.split_once('"')?;
                identifier.push_str(before);
                match after.strip_prefix('"') {
                    Some(after) => {
                        identifier.push('"');
                        rest = after;
                    }
                    None => {
                        rest = after;
                        break;
                    }
                }
            }
        } else {
            let end = rest
                .find(|c: char| c == ',' || c.is_ascii_whitespace())
                .unwrap_or(rest.len());
            if end == 0 {
                return None;
            }
            identifier = rest[..end].to_lowercase();
            rest = &rest[end..];
        }
        identifiers.push(identifier);
        rest = rest.trim_start();
        match rest.strip_prefix(',') {
            Some(after) => rest = after.trim_start(),
            None => return rest.is_empty().then_some(identifiers),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // As PostgreSQL 18's SET and SHOW have it.
    #[test]
    fn parts_become_one_text() {
        let flat = |name, parts: &[&str]| {
            let parts: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
            flatten(name, &parts).map_err(|error| error.to_string())
        };
        assert_eq!(
            flat("search_path", &["a", "B c", "d'e"]),
            Ok("a, \"B c\", \"d'e\"".into())
        );
        assert_eq!(flat("SEARCH_PATH", &[""]), Ok("\"\"".into()));
        assert_eq!(flat("datestyle", &["ISO", "MDY"]), Ok("ISO, MDY".into()));
        assert_eq!(flat("my.list", &["a", "B"]), Ok("a, B".into()));
        assert_eq!(
            flat("statement_timeout", &["1", "2"]),
            Err("SET statement_timeout takes only one argument".into())
        );
    }

    #[test]
    fn identifiers_of_a_list() {
        let split = |text| split_identifiers(text);
        let list = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(split("a, B ,\"C d\""), list(&["a", "b", "C d"]));
        assert_eq!(split("\"\""), list(&[""]));
        assert_eq!(split("\"a\"\"b\",$user"), list(&["a\"b", "$user"]));
        assert_eq!(split("  "), list(&[]));
        for bad in ["x,,y", "x,", ",", "\"x", "x y", "\"x\"y"] {
            assert_eq!(split(bad), None, "{bad}");
        }
    }
}
