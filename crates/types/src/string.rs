//! Character types: encoding, length limits and padding, and the two catalog string types.

use crate::error::{TypeError, sqlstate};

/// Bytes of a `name`, the terminating zero included (`NAMEDATALEN`).
pub const NAMEDATALEN: usize = 64;

/// The bytes as text, if they are valid UTF-8 without a zero byte, as PostgreSQL demands.
///
/// # Errors
/// 22021 `invalid byte sequence for encoding "UTF8": 0xff`.
#[inline]
pub fn verify_utf8(bytes: &[u8]) -> Result<&str, TypeError> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !has_zero(bytes) => Ok(text),
        _ => Err(invalid_encoding(bytes)),
    }
}

/// As [`verify_utf8`], for who wants the bytes: what is ASCII, as most text is, needs one look.
#[inline]
pub(crate) fn verify_utf8_bytes(bytes: &[u8]) -> Result<&[u8], TypeError> {
    if is_ascii_without_zero(bytes) {
        return Ok(bytes);
    }
    verify_utf8(bytes).map(str::as_bytes)
}

/// Looks at all bytes, eight at a time: texts are short, and a loop that may end early is slower.
#[inline]
fn is_ascii_without_zero(bytes: &[u8]) -> bool {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let (words, rest) = bytes.as_chunks::<8>();
    // A byte's high bit comes up if the byte has it, or if the byte was zero; a borrow from a lower byte
    // needs a zero there.
    let found = words.iter().fold(0, |found, word| {
        let word = u64::from_le_bytes(*word);
        found | word | word.wrapping_sub(LOW)
    });
    found & HIGH == 0 && rest.iter().all(|byte| (1..0x80).contains(byte))
}

/// Whether any byte is zero. Short texts are the rule, so this does without a call to `memchr`.
#[inline]
fn has_zero(bytes: &[u8]) -> bool {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let (words, rest) = bytes.as_chunks::<8>();
    // A byte's high bit survives only if the byte was zero; a borrow from a lower byte, which
    // could set it wrongly, needs a zero there.
    let found = words.iter().fold(0, |found, word| {
        let word = u64::from_le_bytes(*word);
        found | (word.wrapping_sub(LOW) & !word & HIGH)
    });
    found != 0 || rest.contains(&0)
}

#[cold]
fn invalid_encoding(bytes: &[u8]) -> TypeError {
    let valid = match std::str::from_utf8(bytes) {
        Ok(_) => bytes.len(),
        Err(error) => error.valid_up_to(),
    };
    let at = bytes[..valid]
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(valid);
    let rest = bytes.get(at..).unwrap_or_default();
    // As many bytes as the first one announces (pg_utf_mblen, report_invalid_encoding).
    let announced = match rest.first() {
        Some(0xc0..=0xdf) => 2,
        Some(0xe0..=0xef) => 3,
        Some(0xf0..=0xf7) => 4,
        _ => 1,
    };
    let shown: Vec<String> = rest
        .iter()
        .take(announced)
        .map(|byte| format!("0x{byte:02x}"))
        .collect();
    TypeError::new(
        sqlstate::CHARACTER_NOT_IN_REPERTOIRE,
        format!(
            "invalid byte sequence for encoding \"UTF8\": {}",
            shown.join(" ")
        ),
    )
}

/// How many characters a text has.
#[inline]
fn char_count(text: &str) -> usize {
    if text.is_ascii() {
        text.len()
    } else {
        text.chars().count()
    }
}

/// Byte offset behind the first `count` characters.
fn offset_of_char(text: &str, count: usize) -> usize {
    text.char_indices()
        .nth(count)
        .map_or(text.len(), |(offset, _)| offset)
}

/// The longest part of `text` that fits `limit` characters if only blanks are cut off.
fn cut_to_limit<'t>(text: &'t str, limit: usize, type_name: &str) -> Result<&'t str, TypeError> {
    let (kept, cut) = text.split_at(offset_of_char(text, limit));
    if cut.bytes().all(|byte| byte == b' ') {
        Ok(kept)
    } else {
        Err(TypeError::new(
            sqlstate::STRING_DATA_RIGHT_TRUNCATION,
            format!("value too long for type {type_name}({limit})"),
        ))
    }
}

/// The character limit that a modifier of `varchar` or `bpchar` holds.
#[inline]
fn char_limit(typmod: i32) -> Option<usize> {
    if typmod < 4 {
        None
    } else {
        Some((typmod - 4) as usize)
    }
}

/// Appends a `character varying` (`varchar_input`).
#[inline]
pub(crate) fn put_varchar(text: &str, typmod: i32, out: &mut Vec<u8>) -> Result<(), TypeError> {
    let text = match char_limit(typmod) {
        Some(limit) if text.len() > limit => cut_to_limit(text, limit, "character varying")?,
        _ => text,
    };
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

/// Appends a `character`, padded with blanks to its length (`bpchar_input`).
#[inline]
pub(crate) fn put_bpchar(text: &str, typmod: i32, out: &mut Vec<u8>) -> Result<(), TypeError> {
    let Some(limit) = char_limit(typmod) else {
        out.extend_from_slice(text.as_bytes());
        return Ok(());
    };
    let count = char_count(text);
    if count > limit {
        out.extend_from_slice(cut_to_limit(text, limit, "character")?.as_bytes());
    } else {
        out.extend_from_slice(text.as_bytes());
        out.resize(out.len() + limit - count, b' ');
    }
    Ok(())
}

/// A `name`'s payload: the text cut to 63 bytes at a character's end, filled with zeros
/// (`namein`).
pub(crate) fn put_name(text: &str, out: &mut Vec<u8>) {
    let mut end = text.len().min(NAMEDATALEN - 1);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    out.extend_from_slice(&text.as_bytes()[..end]);
    out.resize(out.len() + NAMEDATALEN - end, 0);
}

/// The text of a `name` payload, up to the first zero byte.
pub fn name_bytes(payload: &[u8]) -> &[u8] {
    let end = payload
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(payload.len());
    payload.get(..end).unwrap_or_default()
}

/// The byte of a `"char"`: the first one of the text, or a backslash and three octal digits
/// (`charin`).
pub(crate) fn parse_char(text: &str) -> u8 {
    match text.as_bytes() {
        [b'\\', a @ b'0'..=b'7', b @ b'0'..=b'7', c @ b'0'..=b'7'] => {
            ((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0')
        }
        [first, ..] => *first,
        [] => 0,
    }
}

/// Appends the text of a `"char"` (`charout`).
pub(crate) fn push_char(byte: u8, out: &mut Vec<u8>) {
    if byte >= 0x80 {
        out.extend_from_slice(&[
            b'\\',
            b'0' + (byte >> 6),
            b'0' + ((byte >> 3) & 7),
            b'0' + (byte & 7),
        ]);
    } else if byte != 0 {
        out.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoding_errors_name_the_bytes() {
        let message = |bytes: &[u8]| verify_utf8(bytes).unwrap_err().message;
        let prefix = "invalid byte sequence for encoding \"UTF8\": ";
        assert_eq!(message(b"ab\xff"), format!("{prefix}0xff"));
        assert_eq!(
            message(b"a\xe2\x28\xa1z"),
            format!("{prefix}0xe2 0x28 0xa1")
        );
        assert_eq!(message(b"\xf0\x9f"), format!("{prefix}0xf0 0x9f"));
        assert_eq!(message(b"a\0b"), format!("{prefix}0x00"));
        assert_eq!(verify_utf8("äöü€😀".as_bytes()).unwrap(), "äöü€😀");
    }

    #[test]
    fn zeros_are_found_anywhere() {
        for len in 0..40 {
            let mut bytes = vec![0x01; len];
            assert!(!has_zero(&bytes));
            bytes.fill(0x80);
            assert!(!has_zero(&bytes));
            for at in 0..len {
                bytes[at] = 0;
                assert!(has_zero(&bytes), "{at} of {len}");
                bytes[at] = 0xff;
            }
        }
    }

    #[test]
    fn only_blanks_are_cut() {
        let mut out = Vec::new();
        put_varchar("äb   ", 7, &mut out).unwrap();
        assert_eq!(out, "äb ".as_bytes());
        let error = put_varchar("abcd", 7, &mut out).unwrap_err();
        assert_eq!(
            error.message,
            "value too long for type character varying(3)"
        );
        out.clear();
        put_bpchar("ä", 7, &mut out).unwrap();
        assert_eq!(out, "ä  ".as_bytes());
        let error = put_bpchar("abcd", 7, &mut out).unwrap_err();
        assert_eq!(error.message, "value too long for type character(3)");
    }

    #[test]
    fn names_end_at_a_character() {
        let mut out = Vec::new();
        put_name(&"ä".repeat(40), &mut out);
        assert_eq!(out.len(), NAMEDATALEN);
        assert_eq!(name_bytes(&out), "ä".repeat(31).as_bytes());
    }
}
