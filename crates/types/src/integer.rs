//! Integers and the unsigned system types: text in, text out.
//!
//! The accepted spellings are PostgreSQL's (`numutils.c`): surrounding blanks, a sign, `0x`, `0o`
//! and `0b` prefixes, single underscores between digits.

use crate::error::TypeError;

/// C's `isspace` in the C locale.
#[inline]
pub(crate) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

enum Failure {
    Syntax,
    Range,
}

macro_rules! signed_parser {
    ($(#[$doc:meta])* $name:ident, $parse:ident, $int:ty, $unsigned:ty, $type_name:literal) => {
        $(#[$doc])*
        ///
        /// # Errors
        /// 22P02 for bad syntax, 22003 for a value out of range.
        #[inline]
        pub fn $name(text: &str) -> Result<$int, TypeError> {
            $parse(text.as_bytes()).map_err(|failure| match failure {
                Failure::Syntax => TypeError::invalid_syntax($type_name, text),
                Failure::Range => TypeError::text_out_of_range($type_name, text),
            })
        }

        #[inline]
        fn $parse(bytes: &[u8]) -> Result<$int, Failure> {
            /// Above this a further decimal digit overflows.
            const DECIMAL_LIMIT: $unsigned = <$int>::MIN.unsigned_abs() / 10;
            let (negative, digits) = match bytes {
                [b'-', rest @ ..] => (true, rest),
                _ => (false, bytes),
            };
            let mut value: $unsigned = 0;
            for &byte in digits {
                let digit = byte.wrapping_sub(b'0');
                if digit > 9 {
                    return slow(bytes);
                }
                if value > DECIMAL_LIMIT {
                    return Err(Failure::Range);
                }
                value = value * 10 + <$unsigned>::from(digit);
            }
            if digits.is_empty() {
                return Err(Failure::Syntax);
            }
            return finish(negative, value);

            fn finish(negative: bool, value: $unsigned) -> Result<$int, Failure> {
                if negative {
                    if value > <$int>::MIN.unsigned_abs() {
                        return Err(Failure::Range);
                    }
                    Ok((value as $int).wrapping_neg())
                } else {
                    <$int>::try_from(value).map_err(|_| Failure::Range)
                }
            }

            #[cold]
            fn slow(bytes: &[u8]) -> Result<$int, Failure> {
                let mut rest = bytes;
                while let [byte, after @ ..] = rest
                    && is_space(*byte)
                {
                    rest = after;
                }
                let mut negative = false;
                if let [sign @ (b'-' | b'+'), after @ ..] = rest {
                    negative = *sign == b'-';
                    rest = after;
                }
                let (radix, limit, mut after_digit) = match rest {
                    [b'0', b'x' | b'X', after @ ..] => {
                        rest = after;
                        (16, <$int>::MIN.unsigned_abs() / 16, true)
                    }
                    [b'0', b'o' | b'O', after @ ..] => {
                        rest = after;
                        (8, <$int>::MIN.unsigned_abs() / 8, true)
                    }
                    [b'0', b'b' | b'B', after @ ..] => {
                        rest = after;
                        (2, <$int>::MIN.unsigned_abs() / 2, true)
                    }
                    // A decimal number may not begin with an underscore, others may.
                    _ => (10, DECIMAL_LIMIT, false),
                };
                let mut value: $unsigned = 0;
                let mut any = false;
                loop {
                    match rest {
                        [b'_', next, ..]
                            if after_digit && (*next as char).is_digit(radix) =>
                        {
                            rest = &rest[1..];
                        }
                        [b'_', ..] => return Err(Failure::Syntax),
                        [byte, after @ ..] => {
                            let Some(digit) = (*byte as char).to_digit(radix) else {
                                break;
                            };
                            if value > limit {
                                return Err(Failure::Range);
                            }
                            value = value * (radix as $unsigned) + digit as $unsigned;
                            rest = after;
                            any = true;
                            after_digit = true;
                        }
                        [] => break,
                    }
                }
                if !any || !rest.iter().all(|&byte| is_space(byte)) {
                    return Err(Failure::Syntax);
                }
                finish(negative, value)
            }
        }
    };
}

signed_parser!(
    /// Reads a `smallint`.
    parse_int2, int2_bytes, i16, u16, "smallint"
);
signed_parser!(
    /// Reads an `integer`.
    parse_int4, int4_bytes, i32, u32, "integer"
);
signed_parser!(
    /// Reads a `bigint`.
    parse_int8, int8_bytes, i64, u64, "bigint"
);

/// `strtoul` with base 0: value (saturated on overflow: `None`) and the rest of the text;
/// `Err` if there are no digits.
fn strtoul(text: &str) -> Result<(Option<u64>, &str), ()> {
    let mut rest = text.trim_start_matches(|c: char| c.is_ascii() && is_space(c as u8));
    let mut negative = false;
    if let Some(after) = rest.strip_prefix(['-', '+']) {
        negative = rest.starts_with('-');
        rest = after;
    }
    let mut radix = 10;
    if let Some(after) = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X"))
        && after.starts_with(|c: char| c.is_ascii_hexdigit())
    {
        radix = 16;
        rest = after;
    } else if rest.starts_with('0') {
        radix = 8;
    }
    let end = rest
        .find(|c: char| !c.is_digit(radix))
        .unwrap_or(rest.len());
    let (digits, after) = rest.split_at(end);
    if digits.is_empty() {
        return Err(());
    }
    let value = u64::from_str_radix(digits, radix).ok();
    Ok((
        value.map(|value| {
            if negative {
                value.wrapping_neg()
            } else {
                value
            }
        }),
        after,
    ))
}

fn only_space(text: &str) -> bool {
    text.bytes().all(is_space)
}

/// Reads the leading unsigned 32-bit number of `text` and gives the rest (`uint32in_subr`).
///
/// # Errors
/// 22P02 for bad syntax, 22003 for a value out of range.
pub(crate) fn parse_u32_prefix<'t>(
    text: &'t str,
    type_name: &str,
) -> Result<(u32, &'t str), TypeError> {
    let (value, rest) = strtoul(text).map_err(|()| TypeError::invalid_syntax(type_name, text))?;
    let out_of_range = || TypeError::text_out_of_range(type_name, text);
    let value = value.ok_or_else(out_of_range)?;
    let low = value as u32;
    // Negative numbers are taken modulo 2^32, as PostgreSQL does.
    if value != u64::from(low) && value != i64::from(low as i32) as u64 {
        return Err(out_of_range());
    }
    Ok((low, rest))
}

/// Reads an `oid`, `xid` or `cid`.
///
/// # Errors
/// 22P02 for bad syntax, 22003 for a value out of range.
pub fn parse_u32(text: &str, type_name: &str) -> Result<u32, TypeError> {
    let (value, rest) = parse_u32_prefix(text, type_name)?;
    if !only_space(rest) {
        return Err(TypeError::invalid_syntax(type_name, text));
    }
    Ok(value)
}

/// Reads an `xid8`.
///
/// # Errors
/// 22P02 for bad syntax, 22003 for a value out of range.
pub fn parse_u64(text: &str, type_name: &str) -> Result<u64, TypeError> {
    let invalid = || TypeError::invalid_syntax(type_name, text);
    let (value, rest) = strtoul(text).map_err(|()| invalid())?;
    let value = value.ok_or_else(|| TypeError::text_out_of_range(type_name, text))?;
    if only_space(rest) {
        Ok(value)
    } else {
        Err(invalid())
    }
}

/// Pairs of decimal digits, `00` to `99`.
const DIGIT_PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut value = 0;
    while value < 100 {
        pairs[value] = [b'0' + (value / 10) as u8, b'0' + (value % 10) as u8];
        value += 1;
    }
    pairs
};

/// Appends a number in decimal.
#[inline]
pub(crate) fn push_u64(out: &mut Vec<u8>, value: u64) {
    let mut buf = [0u8; 20];
    let mut at = buf.len();
    let mut rest = value;
    while rest >= 100 {
        at -= 2;
        buf[at..at + 2].copy_from_slice(&DIGIT_PAIRS[(rest % 100) as usize]);
        rest /= 100;
    }
    if rest >= 10 {
        at -= 2;
        buf[at..at + 2].copy_from_slice(&DIGIT_PAIRS[rest as usize]);
    } else {
        at -= 1;
        buf[at] = b'0' + rest as u8;
    }
    out.extend_from_slice(&buf[at..]);
}

/// Appends a signed number in decimal.
#[inline]
pub(crate) fn push_i64(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    push_u64(out, value.unsigned_abs());
}

/// Appends a number below 100 with two digits.
#[inline]
pub(crate) fn push_two(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&DIGIT_PAIRS[value as usize % 100]);
}

/// Appends a number below 10000 with four digits.
#[inline]
pub(crate) fn push_four(out: &mut Vec<u8>, value: u32) {
    push_two(out, value / 100);
    push_two(out, value % 100);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_spellings() {
        assert_eq!(parse_int2(" -32768 ").unwrap(), i16::MIN);
        assert_eq!(parse_int2("32768").unwrap_err().sqlstate, "22003");
        assert_eq!(parse_int4("0x_7fff_ffff").unwrap(), i32::MAX);
        assert_eq!(parse_int4("1_000").unwrap(), 1000);
        assert_eq!(parse_int8("-9223372036854775808").unwrap(), i64::MIN);
        for bad in [
            "", " ", "-", "1_", "_1", "1__0", "0x", "1 2", "1.0", "--1", "0b2",
        ] {
            assert_eq!(parse_int4(bad).unwrap_err().sqlstate, "22P02", "{bad:?}");
        }
    }

    #[test]
    fn printing() {
        for value in [0, 7, 10, 99, 100, 12345, i64::MAX, i64::MIN, -1] {
            let mut out = Vec::new();
            push_i64(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }
    }
}
