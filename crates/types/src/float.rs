//! Floating-point numbers as text.
//!
//! By default PostgreSQL prints the fewest digits that read back as the same value, never a
//! decimal exactly midway between two values (its `d2s.c` and `f2s.c`, after Ulf Adams' Ryū);
//! with `extra_float_digits` of 0 or less it prints as C's `%g` does.

use std::io::Write as _;

use crate::error::{TypeError, sqlstate};
use crate::integer::is_space;

/// The two float types' differences.
pub(crate) trait Float: Copy {
    const SQL_NAME: &'static str;
    /// Decimal exponents from here on are printed with an exponent.
    const EXPONENT_FROM: i32;
    /// Decimal digits that survive any value (`DBL_DIG`, `FLT_DIG`).
    const DIGITS: i32;
    fn parse(text: &str) -> Option<Self>;
    fn from_hex(value: f64) -> Self;
    fn to_f64(self) -> f64;
    /// Appends the shortest digits as `d.ddde±x`.
    fn push_shortest(self, out: &mut Vec<u8>);
    /// Whether `digits * 10^exponent` lies exactly midway between two values of the type.
    fn is_midway(digits: u64, exponent: i32) -> bool;
}

/// `digits * 10^exponent` as an odd number times a power of two, if that is exact and the odd
/// number small: then a float may equal it.
fn exact_binary(digits: u64, exponent: i32) -> Option<(u128, i32)> {
    // 5^27 is the largest power of five that fits 64 bits; more makes the odd number too large.
    if digits == 0 || !(-27..=27).contains(&exponent) {
        return None;
    }
    let power = 5u64.pow(exponent.unsigned_abs());
    let scaled = if exponent >= 0 {
        u128::from(digits) * u128::from(power)
    } else {
        if !digits.is_multiple_of(power) {
            return None;
        }
        u128::from(digits / power)
    };
    let shift = scaled.trailing_zeros();
    Some((scaled >> shift, exponent + shift as i32))
}

/// Whether `digits * 10^exponent` is an odd integer of `bits` bits times a power of two: then it
/// lies between two values of `bits - 1` bits.
fn has_exactly(bits: u32, digits: u64, exponent: i32) -> bool {
    exact_binary(digits, exponent).is_some_and(|(odd, _)| u128::BITS - odd.leading_zeros() == bits)
}

/// Whether a positive normal float is exactly `digits * 10^exponent`.
fn equals_decimal(value: f64, digits: u64, exponent: i32) -> bool {
    const FRACTION_BITS: u32 = f64::MANTISSA_DIGITS - 1;
    let bits = value.to_bits();
    let mantissa = bits & ((1 << FRACTION_BITS) - 1) | 1 << FRACTION_BITS;
    let shift = mantissa.trailing_zeros();
    let power = (bits >> FRACTION_BITS) as i32 - 1075 + shift as i32;
    exact_binary(digits, exponent) == Some((u128::from(mantissa >> shift), power))
}

impl Float for f64 {
    const SQL_NAME: &'static str = "double precision";
    const EXPONENT_FROM: i32 = 15;
    const DIGITS: i32 = 15;

    fn parse(text: &str) -> Option<f64> {
        text.parse().ok()
    }

    fn from_hex(value: f64) -> f64 {
        value
    }

    fn to_f64(self) -> f64 {
        self
    }

    fn push_shortest(self, out: &mut Vec<u8>) {
        let _ = write!(out, "{self:e}");
    }

    fn is_midway(digits: u64, exponent: i32) -> bool {
        has_exactly(54, digits, exponent)
    }
}

impl Float for f32 {
    const SQL_NAME: &'static str = "real";
    const EXPONENT_FROM: i32 = 6;
    const DIGITS: i32 = 6;

    fn parse(text: &str) -> Option<f32> {
        text.parse().ok()
    }

    fn from_hex(value: f64) -> f32 {
        value as f32
    }

    fn to_f64(self) -> f64 {
        self.into()
    }

    fn push_shortest(self, out: &mut Vec<u8>) {
        let _ = write!(out, "{self:e}");
    }

    fn is_midway(digits: u64, exponent: i32) -> bool {
        has_exactly(25, digits, exponent)
    }
}

/// Reads a float (`float8in_internal`, `float.c`).
pub(crate) fn parse<F: Float>(text: &str) -> Result<F, TypeError> {
    let trimmed = text.trim_start_matches(|c: char| c.is_ascii() && is_space(c as u8));
    let invalid = || TypeError::invalid_syntax(F::SQL_NAME, text);
    let (number, rest) = trimmed.split_at(number_length(trimmed.as_bytes()));
    if number.is_empty() || !rest.bytes().all(is_space) {
        return Err(invalid());
    }
    let unsigned = number.trim_start_matches(['+', '-']);
    if unsigned.len() > 2 && unsigned.as_bytes()[1].eq_ignore_ascii_case(&b'x') {
        let magnitude = hex_value(&unsigned[2..]);
        let value = if number.starts_with('-') {
            -magnitude
        } else {
            magnitude
        };
        return Ok(F::from_hex(value));
    }
    let value = F::parse(number).ok_or_else(invalid)?;
    let special = unsigned.starts_with(|c: char| c.is_ascii_alphabetic());
    if !special && overflowed(value.to_f64(), unsigned) {
        return Err(TypeError::new(
            sqlstate::NUMERIC_VALUE_OUT_OF_RANGE,
            format!("\"{number}\" is out of range for type {}", F::SQL_NAME),
        ));
    }
    Ok(value)
}

/// Whether a number's text was too large for its type, or not zero but too small.
fn overflowed(value: f64, text: &str) -> bool {
    if value.is_infinite() {
        return true;
    }
    if value != 0.0 {
        return false;
    }
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    mantissa.bytes().any(|byte| (b'1'..=b'9').contains(&byte))
}

/// Length of the number that C's `strtod` would read.
fn number_length(bytes: &[u8]) -> usize {
    let digits = |from: usize| {
        bytes[from..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count()
    };
    let mut at = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    let word = |word: &[u8], at: usize| {
        bytes
            .get(at..at + word.len())
            .is_some_and(|text| text.eq_ignore_ascii_case(word))
    };
    for special in [&b"infinity"[..], b"inf", b"nan"] {
        if word(special, at) {
            return at + special.len();
        }
    }
    if word(b"0x", at) {
        let length = hex_length(&bytes[at + 2..]);
        if length > 0 {
            return at + 2 + length;
        }
    }
    let whole = digits(at);
    at += whole;
    let mut fraction = 0;
    if bytes.get(at) == Some(&b'.') {
        fraction = digits(at + 1);
        if whole + fraction > 0 {
            at += 1 + fraction;
        }
    }
    if whole + fraction == 0 {
        return 0;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let exponent = digits(at + 1 + sign);
        if exponent > 0 {
            at += 1 + sign + exponent;
        }
    }
    at
}

fn hex_length(bytes: &[u8]) -> usize {
    let hex = |from: usize| {
        bytes[from..]
            .iter()
            .take_while(|byte| byte.is_ascii_hexdigit())
            .count()
    };
    let whole = hex(0);
    let mut at = whole;
    let mut any = whole;
    if bytes.get(at) == Some(&b'.') {
        let fraction = hex(at + 1);
        any += fraction;
        if any > 0 {
            at += 1 + fraction;
        }
    }
    if any == 0 {
        return 0;
    }
    if matches!(bytes.get(at), Some(b'p' | b'P')) {
        let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let exponent = bytes[at + 1 + sign..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        if exponent > 0 {
            at += 1 + sign + exponent;
        }
    }
    at
}

/// The value of C's hexadecimal float behind its `0x`.
fn hex_value(text: &str) -> f64 {
    let (mantissa, exponent) = text.split_once(['p', 'P']).unwrap_or((text, "0"));
    let mut exponent: i32 = exponent.parse().unwrap_or(i32::MAX / 2);
    let mut value = 0u64;
    let mut after_point = false;
    for c in mantissa.chars() {
        let Some(digit) = c.to_digit(16) else {
            after_point = true;
            continue;
        };
        if value >> 59 == 0 {
            value = value << 4 | u64::from(digit);
            exponent = exponent.saturating_sub(if after_point { 4 } else { 0 });
        } else {
            // Digits that no longer fit decide ties only.
            value |= u64::from(digit != 0);
            exponent = exponent.saturating_add(if after_point { 0 } else { 4 });
        }
    }
    value as f64 * 2f64.powi(exponent.clamp(-4000, 4000))
}

/// Appends a float (`float8out_internal`, `float4out`).
pub(crate) fn push<F: Float>(out: &mut Vec<u8>, value: F, extra_float_digits: i32) {
    let wide = value.to_f64();
    if wide.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if wide.is_infinite() {
        out.extend_from_slice(if wide > 0.0 {
            b"Infinity"
        } else {
            b"-Infinity"
        });
    } else if extra_float_digits > 0 {
        push_shortest(out, value);
    } else {
        push_general(out, wide, (F::DIGITS + extra_float_digits).max(1) as usize);
    }
}

/// Digits (at most 17) and the exponent of the first.
struct Decimal {
    digits: [u8; 20],
    len: usize,
    exponent: i32,
}

impl Decimal {
    /// Takes apart what Rust's `{:e}` prints, without its sign.
    fn read(text: &[u8]) -> Decimal {
        let mut decimal = Decimal {
            digits: [0; 20],
            len: 0,
            exponent: 0,
        };
        let mut rest = text.iter();
        for &byte in rest.by_ref() {
            match byte {
                b'0'..=b'9' if decimal.len < 20 => {
                    decimal.digits[decimal.len] = byte;
                    decimal.len += 1;
                }
                b'e' => break,
                _ => {}
            }
        }
        let mut negative = false;
        for &byte in rest {
            if byte == b'-' {
                negative = true;
            } else {
                decimal.exponent = decimal.exponent * 10 + i32::from(byte.wrapping_sub(b'0'));
            }
        }
        if negative {
            decimal.exponent = -decimal.exponent;
        }
        decimal
    }

    fn strip_zeros(&mut self) {
        while self.len > 1 && self.digits[self.len - 1] == b'0' {
            self.len -= 1;
        }
    }

    fn digits(&self) -> &[u8] {
        &self.digits[..self.len]
    }

    fn as_integer(&self) -> u64 {
        self.digits()
            .iter()
            .fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'))
    }

    /// Appends the number, with an exponent if that is below -4 or at least `exponent_from`.
    fn push(&self, out: &mut Vec<u8>, exponent_from: i32) {
        let digits = self.digits();
        if self.exponent < -4 || self.exponent >= exponent_from {
            out.push(digits[0]);
            if digits.len() > 1 {
                out.push(b'.');
                out.extend_from_slice(&digits[1..]);
            }
            let sign = if self.exponent < 0 { '-' } else { '+' };
            let _ = write!(out, "e{sign}{:02}", self.exponent.unsigned_abs());
        } else if self.exponent < 0 {
            out.extend_from_slice(b"0.");
            out.resize(out.len() + self.exponent.unsigned_abs() as usize - 1, b'0');
            out.extend_from_slice(digits);
        } else {
            let whole = self.exponent as usize + 1;
            if digits.len() <= whole {
                out.extend_from_slice(digits);
                out.resize(out.len() + whole - digits.len(), b'0');
            } else {
                out.extend_from_slice(&digits[..whole]);
                out.push(b'.');
                out.extend_from_slice(&digits[whole..]);
            }
        }
    }
}

fn push_shortest<F: Float>(out: &mut Vec<u8>, value: F) {
    let start = out.len();
    let wide = value.to_f64().abs();
    value.push_shortest(out);
    let text = &out[start..];
    let negative = text.first() == Some(&b'-');
    let mut decimal = Decimal::read(&text[usize::from(negative)..]);
    out.truncate(start);
    if negative {
        out.push(b'-');
    }
    if F::is_midway(
        decimal.as_integer(),
        decimal.exponent - decimal.len as i32 + 1,
    ) {
        // Midway decimals read back only because ties go to even; take more digits instead.
        for digits in decimal.len..=17 {
            let text = format!("{wide:.digits$e}");
            let longer = Decimal::read(text.as_bytes());
            let exponent = longer.exponent - longer.len as i32 + 1;
            let reads_back = F::parse(&text).is_some_and(|read| read.to_f64() == wide);
            if reads_back && !F::is_midway(longer.as_integer(), exponent) {
                decimal = longer;
                break;
            }
        }
        decimal.strip_zeros();
    }
    // Where two decimals of this length are equally near, the even one is meant.
    let last = decimal.len - 1;
    if decimal.digits[last] % 2 == 1 {
        let between = decimal
            .as_integer()
            .checked_mul(10)
            .map(|digits| digits - 5);
        let exponent = decimal.exponent - decimal.len as i32;
        if between.is_some_and(|digits| equals_decimal(wide, digits, exponent)) {
            decimal.digits[last] -= 1;
            // Below a power of two the values lie denser, and the lower one may be too far.
            let mut text = Vec::new();
            decimal.push(&mut text, 0);
            let read = std::str::from_utf8(&text).ok().and_then(F::parse);
            if read.is_none_or(|read| read.to_f64() != wide) {
                decimal.digits[last] += 1;
            }
        }
    }
    decimal.push(out, F::EXPONENT_FROM);
}

/// Appends a finite number as C's `%.{digits}g` does.
pub(crate) fn push_general(out: &mut Vec<u8>, value: f64, digits: usize) {
    let text = format!("{:.*e}", digits.clamp(1, 17) - 1, value.abs());
    let mut decimal = Decimal::read(text.as_bytes());
    decimal.strip_zeros();
    if value.is_sign_negative() {
        out.push(b'-');
    }
    decimal.push(out, digits as i32);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown<F: Float>(value: F) -> String {
        let mut out = Vec::new();
        push(&mut out, value, 1);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn layout() {
        assert_eq!(shown(1e20f64), "1e+20");
        assert_eq!(shown(123_456_789_012_345f64), "123456789012345");
        assert_eq!(shown(1e15f64), "1e+15");
        assert_eq!(shown(0.0001f64), "0.0001");
        assert_eq!(shown(0.00001f64), "1e-05");
        assert_eq!(shown(-0.0f64), "-0");
        assert_eq!(shown(1e6f32), "1e+06");
        assert_eq!(shown(f64::MIN_POSITIVE), "2.2250738585072014e-308");
        assert_eq!(shown(f32::NAN), "NaN");
        assert_eq!(shown(f64::NEG_INFINITY), "-Infinity");
    }

    #[test]
    fn general_layout_rounds_to_digits() {
        let mut out = Vec::new();
        push(&mut out, 0.1f64 + 0.2, 0);
        out.push(b' ');
        push(&mut out, 123_456_789.0f64, -12);
        assert_eq!(String::from_utf8(out).unwrap(), "0.3 1.23e+08");
    }

    #[test]
    fn every_number_reads_back() {
        let mut state = 1u64;
        for _ in 0..20_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040);
            let value = f64::from_bits(state);
            if value.is_finite() {
                assert_eq!(shown(value).parse(), Ok(value));
            }
            let value = f32::from_bits((state >> 32) as u32);
            if value.is_finite() {
                assert_eq!(shown(value).parse(), Ok(value));
            }
        }
    }
}
