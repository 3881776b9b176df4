//! String functions (`varlena.c`, `oracle_compat.c`, `like.c`). Case mapping is that of locale C.

use trunkline_types::oids::{BOOL, BPCHAR, BYTEA, INT4, TEXT};
use trunkline_types::quote_identifier;

use super::rows::RowFunction as F;
use crate::query::analyze::ANY;
use crate::query::error::{QueryError, sqlstate};
use crate::query::value::{Styles, Value};

type Outcome = Result<Value<'static>, QueryError>;

pub(crate) const FUNCTIONS: &[F] = &[
    F::new("textcat", &[TEXT, TEXT], TEXT, |v, _| {
        Ok(Value::text(format!(
            "{}{}",
            v[0].as_text()?,
            v[1].as_text()?
        )))
    }),
    F::new("byteacat", &[BYTEA, BYTEA], BYTEA, |v, _| {
        Ok(Value::Bytes(
            [v[0].as_bytes()?, v[1].as_bytes()?].concat().into(),
        ))
    }),
    F::new("length", &[TEXT], INT4, |v, _| {
        count(v[0].as_text()?.chars().count())
    }),
    F::new("length", &[BPCHAR], INT4, bpchar_length),
    F::new("length", &[BYTEA], INT4, |v, _| {
        count(v[0].as_bytes()?.len())
    }),
    F::new("char_length", &[TEXT], INT4, |v, _| {
        count(v[0].as_text()?.chars().count())
    }),
    F::new("char_length", &[BPCHAR], INT4, bpchar_length),
    F::new("character_length", &[TEXT], INT4, |v, _| {
        count(v[0].as_text()?.chars().count())
    }),
    F::new("character_length", &[BPCHAR], INT4, bpchar_length),
    F::new("octet_length", &[TEXT], INT4, |v, _| {
        count(v[0].as_text()?.len())
    }),
    F::new("octet_length", &[BPCHAR], INT4, |v, _| {
        count(v[0].as_text()?.len())
    }),
    F::new("octet_length", &[BYTEA], INT4, |v, _| {
        count(v[0].as_bytes()?.len())
    }),
    F::new("bit_length", &[TEXT], INT4, |v, _| {
        count(v[0].as_text()?.len() * 8)
    }),
    F::new("lower", &[TEXT], TEXT, |v, _| {
        Ok(Value::text(v[0].as_text()?.to_ascii_lowercase()))
    }),
    F::new("upper", &[TEXT], TEXT, |v, _| {
        Ok(Value::text(v[0].as_text()?.to_ascii_uppercase()))
    }),
    F::new("initcap", &[TEXT], TEXT, initcap),
    F::new("substring", &[TEXT, INT4], TEXT, substring_from),
    F::new("substring", &[TEXT, INT4, INT4], TEXT, substring),
    F::new("substr", &[TEXT, INT4], TEXT, substring_from),
    F::new("substr", &[TEXT, INT4, INT4], TEXT, substring),
    F::new("substring", &[BYTEA, INT4], BYTEA, |v, _| {
        byte_range(v[0].as_bytes()?, v[1].as_int()?, None)
    }),
    F::new("substring", &[BYTEA, INT4, INT4], BYTEA, |v, _| {
        byte_range(v[0].as_bytes()?, v[1].as_int()?, Some(v[2].as_int()?))
    }),
    F::new("btrim", &[TEXT], TEXT, |v, _| {
        Ok(owned(v[0].as_text()?.trim_matches(' ')))
    }),
    F::new("ltrim", &[TEXT], TEXT, |v, _| {
        Ok(owned(v[0].as_text()?.trim_start_matches(' ')))
    }),
    F::new("rtrim", &[TEXT], TEXT, |v, _| {
        Ok(owned(v[0].as_text()?.trim_end_matches(' ')))
    }),
    F::new("btrim", &[TEXT, TEXT], TEXT, |v, _| {
        let set = v[1].as_text()?;
        Ok(owned(v[0].as_text()?.trim_matches(|c| set.contains(c))))
    }),
    F::new("ltrim", &[TEXT, TEXT], TEXT, |v, _| {
        let set = v[1].as_text()?;
        Ok(owned(
            v[0].as_text()?.trim_start_matches(|c| set.contains(c)),
        ))
    }),
    F::new("rtrim", &[TEXT, TEXT], TEXT, |v, _| {
        let set = v[1].as_text()?;
        Ok(owned(v[0].as_text()?.trim_end_matches(|c| set.contains(c))))
    }),
    F::new("position", &[TEXT, TEXT], INT4, position),
    F::new("strpos", &[TEXT, TEXT], INT4, position),
    F::new("replace", &[TEXT, TEXT, TEXT], TEXT, |v, _| {
        let (text, from) = (v[0].as_text()?, v[1].as_text()?);
        if from.is_empty() {
            return Ok(owned(text));
        }
        Ok(Value::text(text.replace(from, v[2].as_text()?)))
    }),
    F::new("translate", &[TEXT, TEXT, TEXT], TEXT, translate),
    F::new("left", &[TEXT, INT4], TEXT, |v, _| {
        let text = v[0].as_text()?;
        let kept = signed_length(text, v[1].as_int()?);
        Ok(Value::text(text.chars().take(kept).collect::<String>()))
    }),
    F::new("right", &[TEXT, INT4], TEXT, |v, _| {
        let text = v[0].as_text()?;
        let kept = signed_length(text, v[1].as_int()?);
        let skipped = text.chars().count() - kept.min(text.chars().count());
        Ok(Value::text(text.chars().skip(skipped).collect::<String>()))
    }),
    F::new("repeat", &[TEXT, INT4], TEXT, |v, _| {
        let (text, times) = (v[0].as_text()?, v[1].as_int()?.max(0) as usize);
        check_length(text.len().saturating_mul(times))?;
        Ok(Value::text(text.repeat(times)))
    }),
    F::new("reverse", &[TEXT], TEXT, |v, _| {
        Ok(Value::text(
            v[0].as_text()?.chars().rev().collect::<String>(),
        ))
    }),
    F::new("lpad", &[TEXT, INT4], TEXT, |v, _| pad(v, " ", true)),
    F::new("lpad", &[TEXT, INT4, TEXT], TEXT, |v, _| {
        pad(v, v[2].as_text()?, true)
    }),
    F::new("rpad", &[TEXT, INT4], TEXT, |v, _| pad(v, " ", false)),
    F::new("rpad", &[TEXT, INT4, TEXT], TEXT, |v, _| {
        pad(v, v[2].as_text()?, false)
    }),
    F::new("concat", &[ANY], TEXT, |v, _| {
        let mut out = String::new();
        for value in v {
            push_any(value, &mut out)?;
        }
        Ok(Value::text(out))
    })
    .variadic(),
    F::new("concat_ws", &[TEXT, ANY], TEXT, concat_ws).variadic(),
    F::new("md5", &[TEXT], TEXT, |v, _| {
        Ok(Value::text(md5_hex(v[0].as_text()?.as_bytes())))
    }),
    F::new("md5", &[BYTEA], TEXT, |v, _| {
        Ok(Value::text(md5_hex(v[0].as_bytes()?)))
    }),
    F::new("ascii", &[TEXT], INT4, |v, _| {
        Ok(Value::Int(
            v[0].as_text()?
                .chars()
                .next()
                .map_or(0, |c| i64::from(u32::from(c))),
        ))
    }),
    F::new("chr", &[INT4], TEXT, chr),
    F::new("split_part", &[TEXT, TEXT, INT4], TEXT, split_part),
    F::new("starts_with", &[TEXT, TEXT], BOOL, |v, _| {
        Ok(Value::Bool(v[0].as_text()?.starts_with(v[1].as_text()?)))
    }),
    F::new("overlay", &[TEXT, TEXT, INT4], TEXT, |v, _| {
        let length = v[1].as_text()?.chars().count() as i64;
        overlay(v, length)
    }),
    F::new("overlay", &[TEXT, TEXT, INT4, INT4], TEXT, |v, _| {
        overlay(v, v[3].as_int()?)
    }),
    F::new("quote_literal", &[TEXT], TEXT, |v, _| {
        Ok(Value::text(quote_literal(v[0].as_text()?)))
    }),
    F::new("quote_ident", &[TEXT], TEXT, |v, _| {
        Ok(Value::text(quote_identifier(v[0].as_text()?)))
    }),
    F::new("like", &[TEXT, TEXT], BOOL, |v, _| like(v, false)),
    F::new("like", &[TEXT, TEXT, TEXT], BOOL, |v, _| like(v, false)),
    F::new("notlike", &[TEXT, TEXT], BOOL, |v, _| {
        negate(like(v, false))
    }),
    F::new("notlike", &[TEXT, TEXT, TEXT], BOOL, |v, _| {
        negate(like(v, false))
    }),
    F::new("ilike", &[TEXT, TEXT], BOOL, |v, _| like(v, true)),
    F::new("ilike", &[TEXT, TEXT, TEXT], BOOL, |v, _| like(v, true)),
    F::new("notilike", &[TEXT, TEXT], BOOL, |v, _| {
        negate(like(v, true))
    }),
    F::new("notilike", &[TEXT, TEXT, TEXT], BOOL, |v, _| {
        negate(like(v, true))
    }),
    F::new("encode", &[BYTEA, TEXT], TEXT, |v, _| {
        match v[1].as_text()? {
            "hex" => Ok(Value::text(hex(v[0].as_bytes()?))),
            other => Err(unknown_encoding(other)),
        }
    }),
    F::new("decode", &[TEXT, TEXT], BYTEA, |v, _| {
        match v[1].as_text()? {
            "hex" => unhex(v[0].as_text()?),
            other => Err(unknown_encoding(other)),
        }
    }),
];

fn owned(text: &str) -> Value<'static> {
    Value::text(text.to_owned())
}

fn count(length: usize) -> Outcome {
    Ok(Value::Int(length as i64))
}

fn bpchar_length(v: &[Value<'_>], _: &Styles) -> Outcome {
    count(v[0].as_text()?.trim_end_matches(' ').chars().count())
}

/// The largest string that a value may be (`MaxAllocSize`).
const MAX_TEXT_BYTES: usize = 0x3FFF_FFFF;

fn check_length(bytes: usize) -> Result<(), QueryError> {
    if bytes > MAX_TEXT_BYTES - 4 {
        return Err(QueryError::new("54000", "requested length too large"));
    }
    Ok(())
}

fn initcap(v: &[Value<'_>], _: &Styles) -> Outcome {
    let mut inside = false;
    let mapped = v[0].as_text()?.chars().map(|c| {
        let mapped = if inside {
            c.to_ascii_lowercase()
        } else {
            c.to_ascii_uppercase()
        };
        inside = c.is_ascii_alphanumeric();
        mapped
    });
    Ok(Value::text(mapped.collect::<String>()))
}

/// The part of `length` characters (all if none) from a place counted from 1, which may lie
/// before the string (`text_substring`).
fn character_range(text: &str, from: i64, length: Option<i64>) -> Result<String, QueryError> {
    let end = end_of_range(from, length)?;
    let start = from.max(1);
    if end <= start {
        return Ok(String::new());
    }
    Ok(text
        .chars()
        .skip((start - 1) as usize)
        .take((end - start) as usize)
        .collect())
}

fn end_of_range(from: i64, length: Option<i64>) -> Result<i64, QueryError> {
    match length {
        None => Ok(i64::MAX),
        Some(length) if length < 0 => Err(QueryError::new(
            sqlstate::SUBSTRING_ERROR,
            "negative substring length not allowed",
        )),
        Some(length) => Ok(from.saturating_add(length)),
    }
}

fn substring_from(v: &[Value<'_>], _: &Styles) -> Outcome {
    Ok(Value::text(character_range(
        v[0].as_text()?,
        v[1].as_int()?,
        None,
    )?))
}

fn substring(v: &[Value<'_>], _: &Styles) -> Outcome {
    Ok(Value::text(character_range(
        v[0].as_text()?,
        v[1].as_int()?,
        Some(v[2].as_int()?),
    )?))
}

fn byte_range(bytes: &[u8], from: i64, length: Option<i64>) -> Outcome {
    let end = (end_of_range(from, length)? - 1).clamp(0, bytes.len() as i64) as usize;
    let start = (from.max(1) - 1).clamp(0, bytes.len() as i64) as usize;
    Ok(Value::Bytes(
        bytes.get(start..end).unwrap_or_default().to_vec().into(),
    ))
}

fn position(v: &[Value<'_>], _: &Styles) -> Outcome {
    let (text, part) = (v[0].as_text()?, v[1].as_text()?);
    count(
        text.find(part)
            .map_or(0, |at| text[..at].chars().count() + 1),
    )
}

fn translate(v: &[Value<'_>], _: &Styles) -> Outcome {
    let from: Vec<char> = v[1].as_text()?.chars().collect();
    let to: Vec<char> = v[2].as_text()?.chars().collect();
    let mapped =
        v[0].as_text()?
            .chars()
            .filter_map(|c| match from.iter().position(|other| *other == c) {
                None => Some(c),
                Some(at) => to.get(at).copied(),
            });
    Ok(Value::text(mapped.collect::<String>()))
}

/// A length that counts from the other end if negative.
fn signed_length(text: &str, length: i64) -> usize {
    if length >= 0 {
        return length as usize;
    }
    let total = text.chars().count() as i64;
    (total + length).max(0) as usize
}

fn pad(v: &[Value<'_>], fill: &str, left: bool) -> Outcome {
    let (text, width) = (v[0].as_text()?, v[1].as_int()?.max(0) as usize);
    let length = text.chars().count();
    if length >= width || fill.is_empty() {
        return Ok(Value::text(text.chars().take(width).collect::<String>()));
    }
    check_length(width.saturating_mul(4))?;
    let padding: String = fill.chars().cycle().take(width - length).collect();
    Ok(Value::text(if left {
        padding + text
    } else {
        text.to_owned() + &padding
    }))
}

/// Arguments of any type have become text before, but for booleans, whose output is shorter than
/// their cast.
fn push_any(value: &Value<'_>, out: &mut String) -> Result<(), QueryError> {
    match value {
        Value::Null => {}
        Value::Bool(value) => out.push(if *value { 't' } else { 'f' }),
        value => out.push_str(value.as_text()?),
    }
    Ok(())
}

fn concat_ws(v: &[Value<'_>], _: &Styles) -> Outcome {
    let Value::Text(separator) = &v[0] else {
        return Ok(Value::Null);
    };
    let mut out = String::new();
    let mut first = true;
    for value in v[1..].iter().filter(|value| !value.is_null()) {
        if !first {
            out.push_str(separator);
        }
        first = false;
        push_any(value, &mut out)?;
    }
    Ok(Value::text(out))
}

fn chr(v: &[Value<'_>], _: &Styles) -> Outcome {
    let code = v[0].as_int()?;
    let limit = |message: &str| QueryError::new("54000", message);
    if code < 0 {
        return Err(limit("character number must be positive"));
    }
    if code == 0 {
        return Err(limit("null character not permitted"));
    }
    match u32::try_from(code).ok().and_then(char::from_u32) {
        Some(character) => Ok(Value::text(character.to_string())),
        None if code > 0x10_FFFF => Err(limit(&format!(
            "requested character too large for encoding: {code}"
        ))),
        None => Err(limit(&format!(
            "requested character not valid for encoding: {code}"
        ))),
    }
}

fn split_part(v: &[Value<'_>], _: &Styles) -> Outcome {
    let (text, separator, field) = (v[0].as_text()?, v[1].as_text()?, v[2].as_int()?);
    if field == 0 {
        return Err(QueryError::new(
            sqlstate::INVALID_PARAMETER_VALUE,
            "field position must not be zero",
        ));
    }
    if text.is_empty() {
        return Ok(Value::text(""));
    }
    if separator.is_empty() {
        return Ok(owned(if field == 1 || field == -1 { text } else { "" }));
    }
    let parts: Vec<&str> = text.split(separator).collect();
    let index = if field > 0 {
        field - 1
    } else {
        parts.len() as i64 + field
    };
    let part = usize::try_from(index)
        .ok()
        .and_then(|index| parts.get(index));
    Ok(owned(part.copied().unwrap_or_default()))
}

fn overlay(v: &[Value<'_>], length: i64) -> Outcome {
    let (text, part, from) = (v[0].as_text()?, v[1].as_text()?, v[2].as_int()?);
    if from <= 0 {
        return Err(QueryError::new(
            sqlstate::SUBSTRING_ERROR,
            "negative substring length not allowed",
        ));
    }
    let head = character_range(text, 1, Some(from - 1))?;
    let tail = character_range(text, from + length, None)?;
    Ok(Value::text(format!("{head}{part}{tail}")))
}

/// `quote_literal_internal` (`quote.c`)
pub(crate) fn quote_literal(text: &str) -> String {
    let escaped = text.replace('\'', "''");
    if text.contains('\\') {
        format!("E'{}'", escaped.replace('\\', "\\\\"))
    } else {
        format!("'{escaped}'")
    }
}

fn negate(outcome: Outcome) -> Outcome {
    match outcome? {
        Value::Bool(value) => Ok(Value::Bool(!value)),
        other => Ok(other),
    }
}

fn like(v: &[Value<'_>], fold: bool) -> Outcome {
    let escape = match v.get(2) {
        None => Some('\\'),
        Some(value) => {
            let mut characters = value.as_text()?.chars();
            let first = characters.next();
            if characters.next().is_some() {
                return Err(QueryError::new(
                    sqlstate::INVALID_ESCAPE_SEQUENCE,
                    "invalid escape string",
                )
                .with_hint("Escape string must be empty or one character."));
            }
            first
        }
    };
    let (text, pattern) = (v[0].as_text()?, v[1].as_text()?);
    let matched = if fold {
        matches(
            &text.to_ascii_lowercase(),
            &pattern.to_ascii_lowercase(),
            escape,
        )?
    } else {
        matches(text, pattern, escape)?
    };
    Ok(Value::Bool(matched))
}

/// Matches a LIKE pattern. Only the last `%` needs to be tried again: an earlier one that let
/// its successor match has done its work.
fn matches(text: &str, pattern: &str, escape: Option<char>) -> Result<bool, QueryError> {
    let mut rest = text;
    let mut wanted = pattern;
    let mut retry: Option<(&str, &str)> = None;
    loop {
        let mut pattern_rest = wanted.chars();
        let fits = match pattern_rest.next() {
            None => rest.is_empty(),
            Some('%') if escape != Some('%') => {
                wanted = pattern_rest.as_str();
                if wanted.is_empty() {
                    return Ok(true);
                }
                retry = Some((rest, wanted));
                continue;
            }
            Some(first) => {
                let mut any = first == '_';
                let mut literal = first;
                // A text that has ended never gets to see that the pattern is broken.
                if rest.is_empty() {
                    return Ok(false);
                }
                if Some(first) == escape {
                    any = false;
                    literal = pattern_rest.next().ok_or_else(|| {
                        QueryError::new(
                            sqlstate::INVALID_ESCAPE_SEQUENCE,
                            "LIKE pattern must not end with escape character",
                        )
                    })?;
                }
                let mut text_rest = rest.chars();
                match text_rest.next() {
                    Some(character) if any || character == literal => {
                        rest = text_rest.as_str();
                        wanted = pattern_rest.as_str();
                        continue;
                    }
                    Some(_) => false,
                    None => return Ok(false),
                }
            }
        };
        if fits {
            return Ok(true);
        }
        let Some((from, after)) = retry else {
            return Ok(false);
        };
        let mut next = from.chars();
        if next.next().is_none() {
            return Ok(false);
        }
        rest = next.as_str();
        wanted = after;
        retry = Some((rest, after));
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Outcome {
    let mut digits = Vec::new();
    for character in text.chars().filter(|c| !c.is_ascii_whitespace()) {
        let digit = character.to_digit(16).ok_or_else(|| {
            QueryError::new(
                sqlstate::INVALID_PARAMETER_VALUE,
                format!("invalid hexadecimal digit: \"{character}\""),
            )
        })?;
        digits.push(digit as u8);
    }
    if digits.len() % 2 != 0 {
        return Err(QueryError::new(
            sqlstate::INVALID_PARAMETER_VALUE,
            "invalid hexadecimal data: odd number of digits",
        ));
    }
    let bytes: Vec<u8> = digits
        .chunks_exact(2)
        .map(|pair| (pair[0] << 4) | pair[1])
        .collect();
    Ok(Value::Bytes(bytes.into()))
}

fn unknown_encoding(name: &str) -> QueryError {
    if matches!(name, "base64" | "escape") {
        return QueryError::unsupported(format!("encoding {name} is not supported"));
    }
    QueryError::new(
        sqlstate::INVALID_PARAMETER_VALUE,
        format!("unrecognized encoding: \"{name}\""),
    )
}

/// MD5 (RFC 1321) in hexadecimal.
fn md5_hex(bytes: &[u8]) -> String {
    const SHIFTS: [[u32; 4]; 4] = [
        [7, 12, 17, 22],
        [5, 9, 14, 20],
        [4, 11, 16, 23],
        [6, 10, 15, 21],
    ];
    let mut state: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    let mut message = bytes.to_vec();
    message.push(0x80);
    message.resize(message.len().next_multiple_of(64), 0);
    if message.len() - bytes.len() < 9 {
        message.resize(message.len() + 64, 0);
    }
    let end = message.len();
    message[end - 8..].copy_from_slice(&(bytes.len() as u64).wrapping_mul(8).to_le_bytes());
    for block in message.chunks_exact(64) {
        let word = |at: usize| {
            let bytes = &block[at * 4..at * 4 + 4];
            u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
        };
        let [mut a, mut b, mut c, mut d] = state;
        for step in 0..64_usize {
            let (mixed, at) = match step / 16 {
                0 => ((b & c) | (!b & d), step),
                1 => ((d & b) | (!d & c), (5 * step + 1) % 16),
                2 => (b ^ c ^ d, (3 * step + 5) % 16),
                _ => (c ^ (b | !d), (7 * step) % 16),
            };
            let constant = (((step + 1) as f64).sin().abs() * 4_294_967_296.0) as u32;
            let sum = a
                .wrapping_add(mixed)
                .wrapping_add(constant)
                .wrapping_add(word(at));
            let rotated = sum.rotate_left(SHIFTS[step / 16][step % 4]);
            (a, d, c, b) = (d, c, b, b.wrapping_add(rotated));
        }
        for (value, part) in state.iter_mut().zip([a, b, c, d]) {
            *value = value.wrapping_add(part);
        }
    }
    hex(&state
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect::<Vec<u8>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn md5_of_known_strings() {
        assert_eq!(md5_hex(b""), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(
            md5_hex(
                b"12345678901234567890123456789012345678901234567890123456789012345678901234567890"
            ),
            "57edf4a22be3c955ac49da2e2107b67a"
        );
    }

    #[test]
    fn percent_tries_again() {
        for (text, pattern, expected) in [
            ("abcabd", "%abd", true),
            ("abcabd", "a%b%d", true),
            ("abc", "a_", false),
            ("a%c", "a\\%c", true),
            ("abc", "a\\%c", false),
            ("", "%", true),
            ("äöü", "_ö_", true),
        ] {
            assert_eq!(
                matches(text, pattern, Some('\\')).unwrap(),
                expected,
                "{text} {pattern}"
            );
        }
        assert!(!matches("a", "a\\", Some('\\')).unwrap());
        assert!(matches("ab", "a\\", Some('\\')).is_err());
    }
}
