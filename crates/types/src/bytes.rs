//! `bytea`, `uuid` and `boolean`: the plain byte types.

use crate::error::{TypeError, sqlstate};
use crate::integer::is_space;
use crate::style::ByteaOutput;

const HEX: &[u8; 16] = b"0123456789abcdef";

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// Reads `\x0102` or `a\\b\001` (`byteain`).
pub(crate) fn put_bytea(text: &str, out: &mut Vec<u8>) -> Result<(), TypeError> {
    match text.strip_prefix("\\x") {
        Some(hex) => put_hex(hex, out),
        None => put_escaped(text.as_bytes(), out),
    }
}

fn put_hex(text: &str, out: &mut Vec<u8>) -> Result<(), TypeError> {
    let invalid = |message: String| TypeError::new(sqlstate::INVALID_PARAMETER_VALUE, message);
    let bytes = text.as_bytes();
    let digit = |at: usize| {
        hex_digit(bytes[at]).ok_or_else(|| {
            let shown = text
                .get(at..)
                .and_then(|rest| rest.chars().next())
                .unwrap_or('?');
            invalid(format!("invalid hexadecimal digit: \"{shown}\""))
        })
    };
    out.reserve(bytes.len() / 2);
    let mut at = 0;
    while at < bytes.len() {
        if matches!(bytes[at], b' ' | b'\n' | b'\t' | b'\r') {
            at += 1;
            continue;
        }
        let high = digit(at)?;
        if at + 1 >= bytes.len() {
            return Err(invalid(
                "invalid hexadecimal data: odd number of digits".to_owned(),
            ));
        }
        out.push(high << 4 | digit(at + 1)?);
        at += 2;
    }
    Ok(())
}

fn put_escaped(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), TypeError> {
    let mut rest = bytes;
    loop {
        rest = match rest {
            [] => return Ok(()),
            [b'\\', b'\\', after @ ..] => {
                out.push(b'\\');
                after
            }
            [
                b'\\',
                a @ b'0'..=b'3',
                b @ b'0'..=b'7',
                c @ b'0'..=b'7',
                after @ ..,
            ] => {
                out.push(((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'));
                after
            }
            [b'\\', ..] => {
                return Err(TypeError::new(
                    sqlstate::INVALID_TEXT_REPRESENTATION,
                    "invalid input syntax for type bytea",
                ));
            }
            [byte, after @ ..] => {
                out.push(*byte);
                after
            }
        };
    }
}

fn push_hex_byte(byte: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
}

/// Appends the text of a `bytea` (`byteaout`).
pub(crate) fn push_bytea(bytes: &[u8], style: ByteaOutput, out: &mut Vec<u8>) {
    match style {
        ByteaOutput::Hex => {
            out.reserve(2 + bytes.len() * 2);
            out.extend_from_slice(b"\\x");
            for &byte in bytes {
                push_hex_byte(byte, out);
            }
        }
        ByteaOutput::Escape => {
            for &byte in bytes {
                match byte {
                    b'\\' => out.extend_from_slice(b"\\\\"),
                    0x20..=0x7e => out.push(byte),
                    _ => out.extend_from_slice(&[
                        b'\\',
                        b'0' + (byte >> 6),
                        b'0' + ((byte >> 3) & 7),
                        b'0' + (byte & 7),
                    ]),
                }
            }
        }
    }
}

/// Reads a `uuid`: 32 hex digits, a hyphen allowed after every four, braces around
/// (`string_to_uuid`).
pub(crate) fn parse_uuid(text: &str) -> Result<[u8; 16], TypeError> {
    uuid_bytes(text.as_bytes()).ok_or_else(|| TypeError::invalid_syntax("uuid", text))
}

fn uuid_bytes(bytes: &[u8]) -> Option<[u8; 16]> {
    let mut rest = match bytes {
        [b'{', inner @ .., b'}'] => inner,
        _ => bytes,
    };
    let mut uuid = [0; 16];
    for (index, slot) in uuid.iter_mut().enumerate() {
        let [high, low, after @ ..] = rest else {
            return None;
        };
        *slot = hex_digit(*high)? << 4 | hex_digit(*low)?;
        rest = match after {
            [b'-', after @ ..] if index % 2 == 1 && index < 15 => after,
            _ => after,
        };
    }
    rest.is_empty().then_some(uuid)
}

/// Appends the text of a `uuid`.
pub(crate) fn push_uuid(uuid: &[u8; 16], out: &mut Vec<u8>) {
    for (index, &byte) in uuid.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        push_hex_byte(byte, out);
    }
}

/// Reads a `boolean`: any unambiguous beginning of `true`, `false`, `yes`, `no`, `on`, `off`, or
/// `1` or `0` (`parse_bool_with_len`).
pub(crate) fn parse_bool(text: &str) -> Result<bool, TypeError> {
    match text.as_bytes() {
        b"t" | b"true" => return Ok(true),
        b"f" | b"false" => return Ok(false),
        _ => {}
    }
    let trimmed = text.trim_matches(|c: char| c.is_ascii() && is_space(c as u8));
    let lower = trimmed.to_ascii_lowercase();
    let begins = |word: &str, at_least: usize| lower.len() >= at_least && word.starts_with(&lower);
    if begins("true", 1) || begins("yes", 1) || lower == "on" || lower == "1" {
        Ok(true)
    } else if begins("false", 1) || begins("no", 1) || begins("off", 2) || lower == "0" {
        Ok(false)
    } else {
        Err(TypeError::invalid_syntax("boolean", text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans() {
        for text in ["t", "TR", " yes ", "on", "1", "y"] {
            assert!(parse_bool(text).unwrap(), "{text}");
        }
        for text in ["f", "fal", "no", "of", "OFF", "0", "n"] {
            assert!(!parse_bool(text).unwrap(), "{text}");
        }
        for text in ["", " ", "o", "truee", "2", "yess"] {
            assert!(parse_bool(text).is_err(), "{text}");
        }
    }

    #[test]
    fn both_ways_through_both_layouts() {
        let bytes: Vec<u8> = (0..=255).collect();
        for style in [ByteaOutput::Hex, ByteaOutput::Escape] {
            let mut text = Vec::new();
            push_bytea(&bytes, style, &mut text);
            let mut back = Vec::new();
            put_bytea(std::str::from_utf8(&text).unwrap(), &mut back).unwrap();
            assert_eq!(back, bytes);
        }
    }
}
