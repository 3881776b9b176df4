//! Numbers as text.

use std::fmt;
use std::str::FromStr;

use super::payload::{put_digits, put_scaled};
use super::{DEC_DIGITS, NBASE, Numeric, Sign, format_overflow, precision_overflow};
use crate::error::TypeError;
use crate::integer::is_space;
use crate::type_info::numeric_typmod;

/// Powers of ten that fit 64 bits.
const POWERS: [u64; 20] = {
    let mut powers = [1u64; 20];
    let mut index = 1;
    while index < 20 {
        powers[index] = powers[index - 1] * 10;
        index += 1;
    }
    powers
};

/// Reads a number and appends its payload, rounded to the column's scale.
#[inline]
pub(crate) fn input_text(text: &str, typmod: i32, out: &mut Vec<u8>) -> Result<(), TypeError> {
    if let Some((negative, mut value, mut scale)) = plain(text.as_bytes()) {
        match numeric_typmod(typmod) {
            None => {
                put_scaled(negative, value.into(), scale, out);
                return Ok(());
            }
            Some((precision, column_scale)) if (0..=18).contains(&column_scale) => {
                let column_scale = column_scale as u32;
                if scale > column_scale {
                    let unit = POWERS[(scale - column_scale) as usize];
                    value = value / unit + u64::from(value % unit >= unit / 2);
                    scale = column_scale;
                }
                let integer_digits = precision - column_scale as i32;
                let fits = match usize::try_from(integer_digits) {
                    Ok(digits) => digits >= 19 || value / POWERS[scale as usize] < POWERS[digits],
                    // More decimals than digits: left to the general way.
                    Err(_) => return general(text, typmod, out),
                };
                if !fits {
                    return Err(precision_overflow(precision, column_scale as i32));
                }
                let magnitude =
                    u128::from(value) * u128::from(POWERS[(column_scale - scale) as usize]);
                put_scaled(negative, magnitude, column_scale, out);
                return Ok(());
            }
            Some(_) => {}
        }
    }
    general(text, typmod, out)
}

fn general(text: &str, typmod: i32, out: &mut Vec<u8>) -> Result<(), TypeError> {
    let mut number = Numeric::parse(text)?;
    number.apply_typmod(typmod)?;
    number.check_range()?;
    put_digits(&number, out);
    Ok(())
}

/// An optional minus, at most 18 digits and perhaps a point among them: sign, digits, scale.
#[inline]
fn plain(bytes: &[u8]) -> Option<(bool, u64, u32)> {
    let (negative, rest) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, bytes),
    };
    if rest.len() > 19 {
        return None;
    }
    // `0x`, `0o` and `0b` do not pass, letters are no digits.
    let mut value = 0u64;
    let mut digits = 0u32;
    let mut point = None;
    for &byte in rest {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            value = value * 10 + u64::from(digit);
            digits += 1;
        } else if byte == b'.' && point.is_none() {
            point = Some(digits);
        } else {
            return None;
        }
    }
    if digits == 0 || digits > 18 {
        return None;
    }
    Some((negative, value, point.map_or(0, |point| digits - point)))
}

impl Numeric {
    /// Reads a number in any spelling that PostgreSQL takes (`numeric_in`).
    ///
    /// # Errors
    /// 22P02 for bad syntax, 22003 for an exponent out of range.
    pub fn parse(text: &str) -> Result<Numeric, TypeError> {
        let mut parser = Parser {
            bytes: text.as_bytes(),
            at: 0,
        };
        let number = parser.number().map_err(|failure| match failure {
            Failure::Syntax => TypeError::invalid_syntax("numeric", text),
            Failure::Range => format_overflow(),
        })?;
        parser.skip_spaces();
        if parser.at < parser.bytes.len() {
            return Err(TypeError::invalid_syntax("numeric", text));
        }
        Ok(number)
    }
}

impl FromStr for Numeric {
    type Err = TypeError;

    fn from_str(text: &str) -> Result<Numeric, TypeError> {
        let number = Numeric::parse(text)?;
        number.check_range()?;
        Ok(number)
    }
}

enum Failure {
    Syntax,
    Range,
}

struct Parser<'t> {
    bytes: &'t [u8],
    at: usize,
}

impl Parser<'_> {
    fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    fn skip_spaces(&mut self) {
        while self.at < self.bytes.len() && is_space(self.peek()) {
            self.at += 1;
        }
    }

    fn take_word(&mut self, word: &str) -> bool {
        let rest = &self.bytes[self.at..];
        let found =
            rest.len() >= word.len() && rest[..word.len()].eq_ignore_ascii_case(word.as_bytes());
        if found {
            self.at += word.len();
        }
        found
    }

    fn number(&mut self) -> Result<Numeric, Failure> {
        self.skip_spaces();
        // NaN takes no sign.
        if self.take_word("nan") {
            return Ok(Numeric::NAN);
        }
        let negative = self.peek() == b'-';
        if matches!(self.peek(), b'-' | b'+') {
            self.at += 1;
        }
        if !self.peek().is_ascii_digit() && self.peek() != b'.' {
            if self.take_word("infinity") || self.take_word("inf") {
                return Ok(if negative {
                    Numeric::NEG_INFINITY
                } else {
                    Numeric::INFINITY
                });
            }
            return Err(Failure::Syntax);
        }
        let radix = match (self.peek(), self.bytes.get(self.at + 1)) {
            (b'0', Some(b'x' | b'X')) => 16,
            (b'0', Some(b'o' | b'O')) => 8,
            (b'0', Some(b'b' | b'B')) => 2,
            _ => return self.decimal(negative),
        };
        self.at += 2;
        self.non_decimal(negative, radix)
    }

    /// `set_var_from_non_decimal_integer_str`
    fn non_decimal(&mut self, negative: bool, radix: u32) -> Result<Numeric, Failure> {
        // Digits in base 10000, lowest first.
        let mut digits: Vec<i16> = Vec::new();
        let mut any = false;
        loop {
            if self.peek() == b'_' {
                self.at += 1;
                if !(self.peek() as char).is_digit(radix) {
                    return Err(Failure::Syntax);
                }
            }
            let Some(digit) = (self.peek() as char).to_digit(radix) else {
                break;
            };
            self.at += 1;
            any = true;
            let mut carry = digit;
            for place in &mut digits {
                let value = *place as u32 * radix + carry;
                *place = (value % NBASE as u32) as i16;
                carry = value / NBASE as u32;
            }
            if carry > 0 {
                digits.push(carry as i16);
            }
        }
        if !any {
            return Err(Failure::Syntax);
        }
        digits.reverse();
        Ok(Numeric::from_parts(
            negative,
            digits.len() as i32 - 1,
            0,
            digits,
        ))
    }

    /// `set_var_from_str`
    fn decimal(&mut self, negative: bool) -> Result<Numeric, Failure> {
        let mut decimals: Vec<u8> = Vec::with_capacity(self.bytes.len() - self.at);
        let mut point = None;
        if self.peek() == b'.' {
            point = Some(0);
            self.at += 1;
        }
        if !self.peek().is_ascii_digit() {
            return Err(Failure::Syntax);
        }
        loop {
            match self.peek() {
                digit @ b'0'..=b'9' => {
                    decimals.push(digit - b'0');
                    self.at += 1;
                }
                b'.' => {
                    self.at += 1;
                    if point.is_some() || self.peek() == b'_' {
                        return Err(Failure::Syntax);
                    }
                    point = Some(decimals.len());
                }
                b'_' => {
                    self.at += 1;
                    if !self.peek().is_ascii_digit() {
                        return Err(Failure::Syntax);
                    }
                }
                _ => break,
            }
        }
        let exponent = self.exponent()?;
        let point = point.unwrap_or(decimals.len());
        // Decimal digits before the point once the exponent is applied.
        let integer_decimals = point as i64 + exponent;
        let dscale = ((decimals.len() - point) as i64 - exponent).max(0);
        let weight = (integer_decimals + 3).div_euclid(DEC_DIGITS.into()) - 1;
        // The first digit may begin with decimals that are not there.
        let missing = ((weight + 1) * i64::from(DEC_DIGITS) - integer_decimals) as usize;
        let mut digits = Vec::with_capacity(decimals.len() / 4 + 2);
        let mut index = 0usize;
        let decimal = |index: usize| {
            index
                .checked_sub(missing)
                .and_then(|at| decimals.get(at))
                .copied()
                .unwrap_or(0)
        };
        while index < missing + decimals.len() {
            let digit = (0..4).fold(0i16, |sum, k| sum * 10 + i16::from(decimal(index + k)));
            digits.push(digit);
            index += 4;
        }
        let weight = i32::try_from(weight).map_err(|_| Failure::Range)?;
        let dscale = i32::try_from(dscale).map_err(|_| Failure::Range)?;
        Ok(Numeric::from_parts(negative, weight, dscale, digits))
    }

    fn exponent(&mut self) -> Result<i64, Failure> {
        if !matches!(self.peek(), b'e' | b'E') {
            return Ok(0);
        }
        self.at += 1;
        let negative = self.peek() == b'-';
        if matches!(self.peek(), b'-' | b'+') {
            self.at += 1;
        }
        if !self.peek().is_ascii_digit() {
            return Err(Failure::Syntax);
        }
        let mut exponent = 0i64;
        loop {
            match self.peek() {
                digit @ b'0'..=b'9' => {
                    exponent = exponent * 10 + i64::from(digit - b'0');
                    if exponent > i64::from(i32::MAX / 2) {
                        return Err(Failure::Range);
                    }
                    self.at += 1;
                }
                b'_' => {
                    self.at += 1;
                    if !self.peek().is_ascii_digit() {
                        return Err(Failure::Syntax);
                    }
                }
                _ => break,
            }
        }
        Ok(if negative { -exponent } else { exponent })
    }
}

impl fmt::Display for Numeric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::new();
        let special = match self.sign {
            Sign::Nan => Some("NaN"),
            Sign::PositiveInfinity => Some("Infinity"),
            Sign::NegativeInfinity => Some("-Infinity"),
            Sign::Positive | Sign::Negative => None,
        };
        if let Some(special) = special {
            return f.write_str(special);
        }
        push_number(
            self.sign == Sign::Negative,
            self.weight,
            self.dscale,
            |index| self.digits.get(index).copied().unwrap_or(0),
            &mut text,
        );
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

/// Appends a finite number (`get_str_from_var`). `digit` gives the digits from the first on, 0
/// behind the last.
#[inline]
pub(super) fn push_number(
    negative: bool,
    weight: i32,
    dscale: i32,
    digit: impl Fn(usize) -> i16,
    out: &mut Vec<u8>,
) {
    use crate::integer::{push_four, push_u64};
    if negative {
        out.push(b'-');
    }
    if weight < 0 {
        out.push(b'0');
    } else {
        push_u64(out, u64::from(digit(0) as u16));
        for index in 1..=weight as usize {
            push_four(out, u32::from(digit(index) as u16));
        }
    }
    if dscale > 0 {
        out.push(b'.');
        let end = out.len() + dscale as usize;
        // Below 0 for zeros between the point and the first stored digit.
        let mut place = weight + 1;
        while out.len() < end {
            let value = usize::try_from(place).map_or(0, &digit);
            push_four(out, u32::from(value as u16));
            place += 1;
        }
        out.truncate(end);
    }
}
