//! `numeric`: decimal numbers of any size, with NaN and infinities.
//!
//! A [`Numeric`] is PostgreSQL's `NumericVar` (`numeric.c`): base-10000 digits, the weight of the
//! first of them, a sign and a display scale. The digits never begin or end with a zero digit, so
//! that two values are equal exactly if sign, weight and digits are; the display scale does not
//! take part in comparisons.
//!
//! The payload of a tuple (without the varlena header) is a 16-bit header, for large weights or
//! scales a 16-bit weight, and the digits, all little-endian.

mod arithmetic;
mod payload;
mod text;

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use crate::error::{TypeError, sqlstate};
use crate::type_info::numeric_typmod;

pub(crate) use payload::{input_binary, output_binary, output_text};
pub use payload::{payload_to_i128, put_i128};
pub(crate) use text::input_text;

/// The base of the digits.
pub(crate) const NBASE: i32 = 10_000;
/// Decimal digits in one digit.
pub(crate) const DEC_DIGITS: i32 = 4;
/// Largest display scale that the format can hold (`NUMERIC_DSCALE_MAX`).
pub const MAX_DSCALE: i32 = 0x3fff;

/// What kind of number a [`Numeric`] is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Sign {
    /// A finite number of zero or more.
    Positive,
    /// A finite number below zero.
    Negative,
    /// Not a number.
    Nan,
    /// Above every other number but NaN.
    PositiveInfinity,
    /// Below every other number.
    NegativeInfinity,
}

/// A decimal number.
#[derive(Clone, Debug)]
pub struct Numeric {
    sign: Sign,
    /// The first digit counts `NBASE` to the power of this.
    weight: i32,
    /// Decimal digits shown after the point.
    dscale: i32,
    digits: Vec<i16>,
}

impl Numeric {
    /// Zero with display scale 0.
    pub const ZERO: Numeric = Numeric {
        sign: Sign::Positive,
        weight: 0,
        dscale: 0,
        digits: Vec::new(),
    };
    /// Not a number.
    pub const NAN: Numeric = Numeric::special(Sign::Nan);
    /// Positive infinity.
    pub const INFINITY: Numeric = Numeric::special(Sign::PositiveInfinity);
    /// Negative infinity.
    pub const NEG_INFINITY: Numeric = Numeric::special(Sign::NegativeInfinity);

    const fn special(sign: Sign) -> Numeric {
        Numeric {
            sign,
            weight: 0,
            dscale: 0,
            digits: Vec::new(),
        }
    }

    /// A number from its parts; zero digits at both ends are dropped.
    pub(crate) fn from_parts(negative: bool, weight: i32, dscale: i32, digits: Vec<i16>) -> Self {
        let sign = if negative {
            Sign::Negative
        } else {
            Sign::Positive
        };
        let mut number = Numeric {
            sign,
            weight,
            dscale,
            digits,
        };
        number.strip();
        number
    }

    /// Restores the invariant on digits after a change.
    fn strip(&mut self) {
        while self.digits.last() == Some(&0) {
            self.digits.pop();
        }
        let leading = self.digits.iter().take_while(|&&digit| digit == 0).count();
        if leading > 0 {
            self.digits.drain(..leading);
            self.weight -= leading as i32;
        }
        if self.digits.is_empty() {
            self.weight = 0;
            if self.sign == Sign::Negative {
                self.sign = Sign::Positive;
            }
        }
    }

    /// What kind of number this is.
    pub fn sign(&self) -> Sign {
        self.sign
    }

    /// The display scale: decimal digits shown after the point.
    pub fn dscale(&self) -> i32 {
        self.dscale
    }

    /// Whether this is neither NaN nor infinite.
    pub fn is_finite(&self) -> bool {
        matches!(self.sign, Sign::Positive | Sign::Negative)
    }

    /// Whether this is NaN.
    pub fn is_nan(&self) -> bool {
        self.sign == Sign::Nan
    }

    /// Whether this is zero.
    pub fn is_zero(&self) -> bool {
        self.is_finite() && self.digits.is_empty()
    }

    /// Whether this is finite and has no fraction.
    pub fn is_integer(&self) -> bool {
        self.is_finite() && self.digits.len() as i32 <= self.weight + 1
    }

    /// The digit that counts `NBASE` to the power of `weight`.
    fn digit_at(&self, weight: i32) -> i16 {
        let index = self.weight - weight;
        usize::try_from(index)
            .ok()
            .and_then(|index| self.digits.get(index))
            .copied()
            .unwrap_or(0)
    }

    /// Rounds half away from zero to `scale` decimals, which becomes the display scale
    /// (`round_var`). A negative scale rounds before the point.
    pub(crate) fn round_to(&mut self, scale: i32) {
        self.cut_to(scale, true);
    }

    /// Cuts the decimals behind `scale`, which becomes the display scale (`trunc_var`).
    pub(crate) fn truncate_to(&mut self, scale: i32) {
        self.cut_to(scale, false);
    }

    fn cut_to(&mut self, scale: i32, round: bool) {
        if !self.is_finite() {
            return;
        }
        self.dscale = scale;
        // Decimal digits kept, counted from the first digit's first.
        let kept = (self.weight + 1) * DEC_DIGITS + scale;
        if kept < 0 {
            self.digits.clear();
            self.strip();
            return;
        }
        let whole = (kept / DEC_DIGITS) as usize;
        let part = kept % DEC_DIGITS;
        if whole >= self.digits.len() {
            return;
        }
        let unit = [1, 1000, 100, 10][part as usize];
        let cut = i32::from(self.digits[whole]);
        // Is the first cut decimal digit five or more?
        let mut carry = round
            && match part {
                0 => cut >= NBASE / 2,
                _ => cut % unit >= unit / 2,
            };
        self.digits.truncate(whole + usize::from(part > 0));
        if part > 0 {
            let mut kept_digit = cut - cut % unit;
            if carry {
                kept_digit += unit;
            }
            carry = kept_digit >= NBASE;
            self.digits[whole] = (kept_digit % NBASE) as i16;
        }
        let mut index = whole;
        while carry && index > 0 {
            index -= 1;
            let digit = i32::from(self.digits[index]) + 1;
            carry = digit >= NBASE;
            self.digits[index] = (digit % NBASE) as i16;
        }
        if carry {
            self.digits.insert(0, 1);
            self.weight += 1;
        }
        self.strip();
    }

    /// Decimal digits before the point, without leading zeros; 0 or less for fractions.
    fn integer_digits(&self) -> i32 {
        match self.digits.first() {
            None => 0,
            Some(&first) => {
                let leading = match first {
                    ..10 => 3,
                    10..100 => 2,
                    100..1000 => 1,
                    _ => 0,
                };
                (self.weight + 1) * DEC_DIGITS - leading
            }
        }
    }

    /// Rounds to a column's scale and checks its precision (`apply_typmod`).
    ///
    /// # Errors
    /// 22003 `numeric field overflow`.
    pub fn apply_typmod(&mut self, typmod: i32) -> Result<(), TypeError> {
        let Some((precision, scale)) = numeric_typmod(typmod) else {
            return Ok(());
        };
        if !self.is_finite() {
            if self.is_nan() {
                return Ok(());
            }
            return Err(field_overflow(format!(
                "A field with precision {precision}, scale {scale} cannot hold an infinite value."
            )));
        }
        self.round_to(scale);
        self.dscale = self.dscale.max(0);
        let max_digits = precision - scale;
        if !self.digits.is_empty() && self.integer_digits() > max_digits {
            return Err(precision_overflow(precision, scale));
        }
        Ok(())
    }

    /// Whether the format can hold the number.
    fn check_range(&self) -> Result<(), TypeError> {
        if self.is_finite()
            && (self.weight != i32::from(self.weight as i16)
                || !(0..=MAX_DSCALE).contains(&self.dscale))
        {
            return Err(format_overflow());
        }
        Ok(())
    }

    /// `value / 10^scale`, shown with `scale` decimals.
    pub fn from_i128(value: i128, scale: u32) -> Numeric {
        let mut magnitude = value.unsigned_abs();
        let fraction_digits = scale.div_ceil(4) as i32;
        let mut reversed = Vec::with_capacity(11);
        // The lowest digit is short if the scale is no multiple of four.
        if !scale.is_multiple_of(4) {
            let unit = 10u128.pow(scale % 4);
            let factor = 10u128.pow(4 - scale % 4);
            reversed.push(((magnitude % unit) * factor) as i16);
            magnitude /= unit;
        }
        while magnitude > 0 {
            reversed.push((magnitude % NBASE as u128) as i16);
            magnitude /= NBASE as u128;
        }
        let weight = reversed.len() as i32 - 1 - fraction_digits;
        reversed.reverse();
        Numeric::from_parts(value < 0, weight, scale as i32, reversed)
    }

    /// The number times `10^scale`, if that is an integer that fits; `None` also for NaN and
    /// infinities.
    pub fn to_i128(&self, scale: u32) -> Option<i128> {
        if !self.is_finite() {
            return None;
        }
        payload::digits_to_i128(
            self.sign == Sign::Negative,
            self.weight,
            self.digits.iter().copied(),
            self.digits.len(),
            scale,
        )
    }

    /// The nearest integer of 64 bits, ties away from zero; `type_name` (`bigint`) is for the
    /// error.
    ///
    /// # Errors
    /// 22003 `bigint out of range`, 0A000 `cannot convert NaN to bigint`.
    pub fn to_i64(&self, type_name: &str) -> Result<i64, TypeError> {
        match self.sign {
            Sign::Nan => {
                return Err(TypeError::new(
                    sqlstate::FEATURE_NOT_SUPPORTED,
                    format!("cannot convert NaN to {type_name}"),
                ));
            }
            Sign::PositiveInfinity | Sign::NegativeInfinity => {
                return Err(TypeError::new(
                    sqlstate::FEATURE_NOT_SUPPORTED,
                    format!("cannot convert infinity to {type_name}"),
                ));
            }
            Sign::Positive | Sign::Negative => {}
        }
        let mut rounded = self.clone();
        rounded.round_to(0);
        rounded
            .to_i128(0)
            .and_then(|value| i64::try_from(value).ok())
            .ok_or_else(|| TypeError::out_of_range(type_name))
    }

    /// The nearest `double precision`.
    pub fn to_f64(&self) -> f64 {
        match self.sign {
            Sign::Nan => f64::NAN,
            Sign::PositiveInfinity => f64::INFINITY,
            Sign::NegativeInfinity => f64::NEG_INFINITY,
            // The text is a plain decimal number, which always parses.
            Sign::Positive | Sign::Negative => self.to_string().parse().unwrap_or(f64::NAN),
        }
    }

    /// What casting a `double precision` gives: its first 15 significant decimal digits.
    pub fn from_f64(value: f64) -> Numeric {
        Numeric::from_float_text(value, 15)
    }

    /// What casting a `real` gives: its first 6 significant decimal digits.
    pub fn from_f32(value: f32) -> Numeric {
        Numeric::from_float_text(f64::from(value), 6)
    }

    fn from_float_text(value: f64, digits: usize) -> Numeric {
        if value.is_nan() {
            return Numeric::NAN;
        }
        if value.is_infinite() {
            return if value > 0.0 {
                Numeric::INFINITY
            } else {
                Numeric::NEG_INFINITY
            };
        }
        let mut text = Vec::new();
        crate::float::push_general(&mut text, value, digits);
        // `%g` prints what numeric's parser takes.
        std::str::from_utf8(&text)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(Numeric::NAN)
    }
}

#[cold]
fn field_overflow(detail: String) -> TypeError {
    TypeError::new(
        sqlstate::NUMERIC_VALUE_OUT_OF_RANGE,
        "numeric field overflow",
    )
    .with_detail(detail)
}

#[cold]
fn precision_overflow(precision: i32, scale: i32) -> TypeError {
    let max_digits = precision - scale;
    let limit = if max_digits != 0 {
        format!("10^{max_digits}")
    } else {
        "1".to_owned()
    };
    field_overflow(format!(
        "A field with precision {precision}, scale {scale} must round to an absolute value less \
         than {limit}."
    ))
}

#[cold]
fn format_overflow() -> TypeError {
    TypeError::new(
        sqlstate::NUMERIC_VALUE_OUT_OF_RANGE,
        "value overflows numeric format",
    )
}

impl From<i64> for Numeric {
    fn from(value: i64) -> Numeric {
        Numeric::from_i128(value.into(), 0)
    }
}

impl From<i32> for Numeric {
    fn from(value: i32) -> Numeric {
        Numeric::from_i128(value.into(), 0)
    }
}

impl PartialEq for Numeric {
    fn eq(&self, other: &Self) -> bool {
        self.sign == other.sign && self.weight == other.weight && self.digits == other.digits
    }
}

impl Eq for Numeric {}

impl Hash for Numeric {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.sign.hash(state);
        self.weight.hash(state);
        self.digits.hash(state);
    }
}

impl PartialOrd for Numeric {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Numeric {
    /// PostgreSQL's order: NaN equals itself and is above everything, infinity included.
    fn cmp(&self, other: &Self) -> Ordering {
        fn rank(number: &Numeric) -> i32 {
            match number.sign {
                Sign::NegativeInfinity => -2,
                Sign::Negative => -1,
                Sign::Positive if number.digits.is_empty() => 0,
                Sign::Positive => 1,
                Sign::PositiveInfinity => 2,
                Sign::Nan => 3,
            }
        }
        rank(self).cmp(&rank(other)).then_with(|| match self.sign {
            Sign::Positive => self.cmp_magnitude(other),
            Sign::Negative => other.cmp_magnitude(self),
            _ => Ordering::Equal,
        })
    }
}

impl Numeric {
    fn cmp_magnitude(&self, other: &Self) -> Ordering {
        match (self.digits.is_empty(), other.digits.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (false, false) => self
                .weight
                .cmp(&other.weight)
                .then_with(|| self.digits.cmp(&other.digits)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Numeric {
        text.parse().unwrap()
    }

    #[test]
    fn rounding_is_half_away_from_zero() {
        let rounded = |text: &str, scale| {
            let mut value = number(text);
            value.round_to(scale);
            value.dscale = value.dscale.max(0);
            value.to_string()
        };
        assert_eq!(rounded("2.5", 0), "3");
        assert_eq!(rounded("-2.5", 0), "-3");
        assert_eq!(rounded("9999.99995", 4), "10000.0000");
        assert_eq!(rounded("0.00005", 4), "0.0001");
        assert_eq!(rounded("0.00004", 4), "0.0000");
        assert_eq!(rounded("5000", -4), "10000");
        assert_eq!(rounded("4999", -4), "0");
        assert_eq!(rounded("12345678", -3), "12346000");
        assert_eq!(rounded("1.5", 4), "1.5000");
    }

    #[test]
    fn order_puts_nan_last() {
        let order = [
            "-Infinity",
            "-2",
            "-1.5",
            "0",
            "0.0001",
            "1",
            "10000",
            "Infinity",
            "NaN",
        ];
        for (i, a) in order.iter().enumerate() {
            for (j, b) in order.iter().enumerate() {
                assert_eq!(number(a).cmp(&number(b)), i.cmp(&j), "{a} and {b}");
            }
        }
        assert_eq!(number("1.0"), number("1.000"));
    }

    #[test]
    fn scaled_integers_both_ways() {
        for (value, scale, text) in [
            (0, 2, "0.00"),
            (5, 4, "0.0005"),
            (-123_456, 2, "-1234.56"),
            (10_000, 0, "10000"),
            (1, 7, "0.0000001"),
            (i128::MAX, 3, "170141183460469231731687303715884105.727"),
        ] {
            let number = Numeric::from_i128(value, scale);
            assert_eq!(number.to_string(), text);
            assert_eq!(number.to_i128(scale), Some(value));
        }
        assert_eq!(number("1.25").to_i128(1), None);
        assert_eq!(number("1e40").to_i128(0), None);
    }
}
