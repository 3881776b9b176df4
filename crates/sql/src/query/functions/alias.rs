//! Input of OID aliases (`regproc.c`): numbers, and names as SQL would write them.

use trunkline_pgformat::Oid;
use trunkline_types::{ColumnType, InputStyle, OidAlias, TypeKind, input_text};

use crate::query::error::{QueryError, sqlstate};
use crate::query::names::CatalogNames;

/// What a type is an alias for, if it is one.
pub(crate) fn alias_of(ty: Oid) -> Option<OidAlias> {
    match ColumnType::new(ty, -1).ok()?.kind() {
        TypeKind::Alias(alias) => Some(alias),
        _ => None,
    }
}

/// The OID that an alias's text means; the names that it needs were read before.
pub(crate) fn read_alias(
    alias: OidAlias,
    text: &str,
    names: &CatalogNames,
) -> Result<u32, QueryError> {
    if text == "-" {
        return Ok(0);
    }
    if let Ok(number) = text.parse::<u32>() {
        return Ok(number);
    }
    if alias == OidAlias::Type
        && let Some(oid) = built_in_type(text)
    {
        return Ok(oid);
    }
    let parts = split_identifiers(text)?;
    let (schema, name) = match parts.as_slice() {
        [name] => (None, name),
        [schema, name] => (Some(schema.as_str()), name),
        _ => {
            return Err(QueryError::new(
                sqlstate::SYNTAX_ERROR,
                "invalid name syntax",
            ));
        }
    };
    let mut found = names.find(alias, schema, name).into_iter();
    match (found.next(), found.next()) {
        (Some(oid), None) => Ok(oid),
        (Some(_), Some(_)) => Err(QueryError::new(
            sqlstate::AMBIGUOUS_FUNCTION,
            format!("more than one function named \"{text}\""),
        )),
        (None, _) => Err(missing(alias, &parts.join("."))),
    }
}

fn built_in_type(text: &str) -> Option<u32> {
    let ty = ColumnType::new(trunkline_types::oids::REGTYPE, -1).ok()?;
    let mut payload = Vec::new();
    let bare = text.strip_prefix("pg_catalog.").unwrap_or(text);
    input_text(&ty, bare, &InputStyle::default(), &mut payload).ok()?;
    Some(u32::from_le_bytes(payload.try_into().ok()?))
}

fn missing(alias: OidAlias, name: &str) -> QueryError {
    let (state, message) = match alias {
        OidAlias::Class => (
            sqlstate::UNDEFINED_TABLE,
            format!("relation \"{name}\" does not exist"),
        ),
        OidAlias::Proc => (
            sqlstate::UNDEFINED_FUNCTION,
            format!("function \"{name}\" does not exist"),
        ),
        OidAlias::Type => (
            sqlstate::UNDEFINED_OBJECT,
            format!("type \"{name}\" does not exist"),
        ),
        OidAlias::Namespace => (
            sqlstate::INVALID_SCHEMA_NAME,
            format!("schema \"{name}\" does not exist"),
        ),
        OidAlias::Role => (
            sqlstate::UNDEFINED_OBJECT,
            format!("role \"{name}\" does not exist"),
        ),
    };
    QueryError::new(state, message)
}

/// The folded parts of a dotted name (`stringToQualifiedNameList`).
pub(crate) fn split_identifiers(text: &str) -> Result<Vec<String>, QueryError> {
    let invalid = || QueryError::new("42602", "invalid name syntax");
    let mut parts = Vec::new();
    let mut rest = text.trim();
    loop {
        let (part, after) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let mut part = String::new();
                let mut tail = quoted;
                loop {
                    let end = tail.find('"').ok_or_else(invalid)?;
                    part.push_str(&tail[..end]);
                    tail = &tail[end + 1..];
                    match tail.strip_prefix('"') {
                        Some(next) => {
                            part.push('"');
                            tail = next;
                        }
                        None => break,
                    }
                }
                (part, tail)
            }
            None => {
                let end = rest
                    .find(|c: char| c == '.' || c.is_whitespace())
                    .unwrap_or(rest.len());
                (rest[..end].to_lowercase(), &rest[end..])
            }
        };
        if part.is_empty() {
            return Err(invalid());
        }
        parts.push(part);
        let after = after.trim_start();
        if after.is_empty() {
            return Ok(parts);
        }
        rest = after.strip_prefix('.').ok_or_else(invalid)?.trim_start();
    }
}
