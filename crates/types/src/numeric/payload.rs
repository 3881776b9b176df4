//! Numbers as they lie in a tuple and as they travel in binary.
//!
//! The functions on COPY's way work on the bytes alone; [`Numeric`] is only made where rounding
//! or arithmetic needs it.

use super::text::push_number;
use super::{DEC_DIGITS, MAX_DSCALE, NBASE, Numeric, Sign, format_overflow};
use crate::error::{TypeError, sqlstate};
use crate::type_info::numeric_typmod;

const SIGN_MASK: u16 = 0xc000;
const NEGATIVE: u16 = 0x4000;
const SHORT: u16 = 0x8000;
const SPECIAL: u16 = 0xc000;
const NAN: u16 = 0xc000;
const POSITIVE_INFINITY: u16 = 0xd000;
const NEGATIVE_INFINITY: u16 = 0xf000;
const SHORT_NEGATIVE: u16 = 0x2000;
const SHORT_DSCALE_MAX: i32 = 0x3f;
const SHORT_DSCALE_SHIFT: u16 = 7;
const SHORT_WEIGHT_NEGATIVE: u16 = 0x40;
const SHORT_WEIGHT_MASK: u16 = 0x3f;
const SHORT_WEIGHT_MIN: i32 = -64;
const SHORT_WEIGHT_MAX: i32 = 63;

/// A payload taken apart; `digits` are pairs of little-endian bytes.
struct View<'a> {
    sign: Sign,
    weight: i32,
    dscale: i32,
    digits: &'a [[u8; 2]],
}

impl View<'_> {
    #[inline]
    fn digit(&self, index: usize) -> i16 {
        self.digits
            .get(index)
            .map_or(0, |bytes| i16::from_le_bytes(*bytes))
    }
}

/// Takes a payload apart; `None` if it is no numeric.
#[inline]
fn view(payload: &[u8]) -> Option<View<'_>> {
    let (header, rest) = payload.split_first_chunk::<2>()?;
    let header = u16::from_le_bytes(*header);
    let (sign, weight, dscale, digits) = match header & SIGN_MASK {
        SPECIAL => {
            let sign = match header {
                NAN => Sign::Nan,
                POSITIVE_INFINITY => Sign::PositiveInfinity,
                NEGATIVE_INFINITY => Sign::NegativeInfinity,
                _ => return None,
            };
            // PostgreSQL reads the bits of a special value's header as a scale, and sends it.
            let dscale = i32::from((header >> SHORT_DSCALE_SHIFT) & SHORT_DSCALE_MAX as u16);
            return Some(View {
                sign,
                weight: 0,
                dscale,
                digits: &[],
            });
        }
        SHORT => {
            let mut weight = i32::from(header & SHORT_WEIGHT_MASK);
            if header & SHORT_WEIGHT_NEGATIVE != 0 {
                weight += SHORT_WEIGHT_MIN;
            }
            let dscale = i32::from((header >> SHORT_DSCALE_SHIFT) & SHORT_DSCALE_MAX as u16);
            (header & SHORT_NEGATIVE != 0, weight, dscale, rest)
        }
        _ => {
            let (weight, digits) = rest.split_first_chunk::<2>()?;
            let weight = i32::from(i16::from_le_bytes(*weight));
            (
                header & NEGATIVE != 0,
                weight,
                i32::from(header & !SIGN_MASK),
                digits,
            )
        }
    };
    let sign = if sign { Sign::Negative } else { Sign::Positive };
    let (digits, odd) = digits.as_chunks::<2>();
    // Digits out of range would break every calculation below.
    if !odd.is_empty()
        || digits
            .iter()
            .any(|pair| u16::from_le_bytes(*pair) >= NBASE as u16)
    {
        return None;
    }
    Some(View {
        sign,
        weight,
        dscale,
        digits,
    })
}

/// Appends the header of a finite number, short if it can be (`make_result`).
#[inline]
fn put_header(negative: bool, weight: i32, dscale: i32, out: &mut Vec<u8>) {
    if dscale <= SHORT_DSCALE_MAX && (SHORT_WEIGHT_MIN..=SHORT_WEIGHT_MAX).contains(&weight) {
        let mut header = SHORT | ((dscale as u16) << SHORT_DSCALE_SHIFT);
        header |= (weight as u16) & (SHORT_WEIGHT_MASK | SHORT_WEIGHT_NEGATIVE);
        if negative {
            header |= SHORT_NEGATIVE;
        }
        out.extend_from_slice(&header.to_le_bytes());
    } else {
        let header = dscale as u16 | if negative { NEGATIVE } else { 0 };
        out.extend_from_slice(&header.to_le_bytes());
        out.extend_from_slice(&(weight as i16).to_le_bytes());
    }
}

/// Appends the payload of a number that is within the format's range.
pub(super) fn put_digits(number: &Numeric, out: &mut Vec<u8>) {
    let special = match number.sign {
        Sign::Nan => NAN,
        Sign::PositiveInfinity => POSITIVE_INFINITY,
        Sign::NegativeInfinity => NEGATIVE_INFINITY,
        Sign::Positive | Sign::Negative => {
            put_header(
                number.sign == Sign::Negative,
                number.weight,
                number.dscale,
                out,
            );
            out.extend(number.digits.iter().flat_map(|digit| digit.to_le_bytes()));
            return;
        }
    };
    out.extend_from_slice(&special.to_le_bytes());
}

/// Appends the payload of `magnitude / 10^scale`. The scale is at most 1000.
#[inline]
pub(super) fn put_scaled(negative: bool, magnitude: u128, scale: u32, out: &mut Vec<u8>) {
    // At most 39 decimal digits, one digit more for the alignment to the point.
    let mut digits = [[0u8; 2]; 12];
    let mut at = digits.len();
    let fraction_digits = scale.div_ceil(4) as i32;
    let mut count = 0i32;
    let mut put = |digit: u16, at: &mut usize| {
        // Trailing zero digits are not stored.
        if digit != 0 || *at < 12 {
            *at -= 1;
            digits[*at] = digit.to_le_bytes();
        }
        count += 1;
    };
    let mut rest = magnitude;
    if !scale.is_multiple_of(4) {
        let unit = [1u16, 10, 100, 1000][(scale % 4) as usize];
        let low = if let Ok(small) = u64::try_from(rest) {
            rest = u128::from(small / u64::from(unit));
            (small % u64::from(unit)) as u16
        } else {
            let low = (rest % u128::from(unit)) as u16;
            rest /= u128::from(unit);
            low
        };
        put(low * (10_000 / unit), &mut at);
    }
    while rest > u128::from(u64::MAX) {
        put((rest % NBASE as u128) as u16, &mut at);
        rest /= NBASE as u128;
    }
    let mut rest = rest as u64;
    while rest > 0 {
        put((rest % NBASE as u64) as u16, &mut at);
        rest /= NBASE as u64;
    }
    let mut weight = count - 1 - fraction_digits;
    // The short lowest digit may be the only one and zero.
    while at < 12 && digits[at] == [0, 0] {
        at += 1;
        weight -= 1;
    }
    if at == 12 {
        put_header(false, 0, scale as i32, out);
    } else {
        put_header(negative, weight, scale as i32, out);
        out.extend_from_slice(digits[at..].as_flattened());
    }
}

/// Appends the payload of `value / 10^scale`; the scale is at most 1000.
///
/// # Panics
/// If the scale is larger.
pub fn put_i128(value: i128, scale: u32, out: &mut Vec<u8>) {
    assert!(scale <= 1000, "scale {scale}");
    put_scaled(value < 0, value.unsigned_abs(), scale, out);
}

/// The payload's number times `10^scale`, if that is an integer that fits 128 bits. `None` also
/// for NaN, infinities and bytes that are no numeric.
#[inline]
pub fn payload_to_i128(payload: &[u8], scale: u32) -> Option<i128> {
    let view = view(payload)?;
    let negative = match view.sign {
        Sign::Positive => false,
        Sign::Negative => true,
        _ => return None,
    };
    let digits = view.digits.iter().map(|pair| i16::from_le_bytes(*pair));
    digits_to_i128(negative, view.weight, digits, view.digits.len(), scale)
}

#[inline]
pub(super) fn digits_to_i128(
    negative: bool,
    weight: i32,
    digits: impl Iterator<Item = i16>,
    count: usize,
    scale: u32,
) -> Option<i128> {
    // Power of ten of the last digit, once multiplied by 10^scale.
    let exponent = (weight - count as i32 + 1) * DEC_DIGITS + scale as i32;
    let value = if count <= 4 {
        i128::from(digits.fold(0i64, |sum, digit| sum * i64::from(NBASE) + i64::from(digit)))
    } else {
        let mut value = 0u128;
        let mut digits = digits;
        // All but the last digit first: the last may hold more decimals than are wanted.
        let cut = if exponent < 0 { (-exponent) as u32 } else { 0 };
        for _ in 1..count {
            value = value
                .checked_mul(NBASE as u128)?
                .checked_add(u128::from(digits.next()? as u16))?;
        }
        let last = u128::from(digits.next()? as u16);
        if cut >= 4 {
            return None;
        }
        let unit = 10u128.pow(cut);
        if last % unit != 0 {
            return None;
        }
        value = value
            .checked_mul(NBASE as u128 / unit)?
            .checked_add(last / unit)?;
        if exponent > 0 {
            value = value.checked_mul(10u128.checked_pow(exponent as u32)?)?;
        }
        return signed(negative, value);
    };
    if value == 0 {
        return Some(0);
    }
    let value = if exponent >= 0 {
        value.checked_mul(10i128.checked_pow(exponent as u32)?)?
    } else {
        let unit = 10i128.checked_pow((-exponent) as u32)?;
        if value % unit != 0 {
            return None;
        }
        value / unit
    };
    Some(if negative { -value } else { value })
}

fn signed(negative: bool, magnitude: u128) -> Option<i128> {
    if negative {
        0i128.checked_sub_unsigned(magnitude)
    } else {
        i128::try_from(magnitude).ok()
    }
}

impl Numeric {
    /// The number that a payload holds; `None` if it holds none.
    pub fn decode(payload: &[u8]) -> Option<Numeric> {
        let view = view(payload)?;
        let digits = view
            .digits
            .iter()
            .map(|pair| i16::from_le_bytes(*pair))
            .collect();
        Some(match view.sign {
            Sign::Positive | Sign::Negative => Numeric::from_parts(
                view.sign == Sign::Negative,
                view.weight,
                view.dscale,
                digits,
            ),
            special => Numeric::special(special),
        })
    }

    /// Appends the payload, in the form that PostgreSQL would choose.
    ///
    /// # Errors
    /// 22003 if the format cannot hold the number.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), TypeError> {
        self.check_range()?;
        put_digits(self, out);
        Ok(())
    }
}

/// Appends the text of a payload; `None` if it is no numeric.
#[inline]
pub(crate) fn output_text(payload: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let view = view(payload)?;
    match view.sign {
        Sign::Nan => out.extend_from_slice(b"NaN"),
        Sign::PositiveInfinity => out.extend_from_slice(b"Infinity"),
        Sign::NegativeInfinity => out.extend_from_slice(b"-Infinity"),
        Sign::Positive | Sign::Negative => push_number(
            view.sign == Sign::Negative,
            view.weight,
            view.dscale,
            |index| view.digit(index),
            out,
        ),
    }
    Some(())
}

/// Appends digits in the other byte order.
#[inline]
fn extend_swapped(digits: &[[u8; 2]], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(digits.as_flattened());
    let (pairs, _) = out[start..].as_chunks_mut::<2>();
    for pair in pairs {
        pair.reverse();
    }
}

/// Appends the wire form of a payload (`numeric_send`); `None` if it is no numeric.
#[inline]
pub(crate) fn output_binary(payload: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let view = view(payload)?;
    let sign = match view.sign {
        Sign::Positive => 0,
        Sign::Negative => NEGATIVE,
        Sign::Nan => NAN,
        Sign::PositiveInfinity => POSITIVE_INFINITY,
        Sign::NegativeInfinity => NEGATIVE_INFINITY,
    };
    out.extend_from_slice(&(view.digits.len() as u16).to_be_bytes());
    out.extend_from_slice(&(view.weight as i16).to_be_bytes());
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&(view.dscale as u16).to_be_bytes());
    extend_swapped(view.digits, out);
    Some(())
}

/// Whether a number's last digit has no decimals behind its display scale. `spare` is how many
/// decimals the scale shows behind the digit's, negative if it hides some of them.
#[inline]
fn shows_all(last: u16, spare: i32) -> bool {
    match spare {
        0.. => true,
        -1 => last.is_multiple_of(10),
        -2 => last.is_multiple_of(100),
        -3 => last.is_multiple_of(1000),
        _ => false,
    }
}

#[cold]
fn invalid(what: &str) -> TypeError {
    TypeError::new(
        sqlstate::INVALID_BINARY_REPRESENTATION,
        format!("invalid {what} in external \"numeric\" value"),
    )
}

/// Reads the wire form and appends the payload (`numeric_recv`).
#[inline]
pub(crate) fn input_binary(bytes: &[u8], typmod: i32, out: &mut Vec<u8>) -> Result<(), TypeError> {
    let Some((header, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(short_message(bytes));
    };
    let [c0, c1, w0, w1, s0, s1, d0, d1] = *header;
    let count = usize::from(u16::from_be_bytes([c0, c1]));
    let weight = i32::from(i16::from_be_bytes([w0, w1]));
    let sign = u16::from_be_bytes([s0, s1]);
    let dscale = i32::from(u16::from_be_bytes([d0, d1]));
    if !matches!(
        sign,
        0 | NEGATIVE | NAN | POSITIVE_INFINITY | NEGATIVE_INFINITY
    ) {
        return Err(invalid("sign"));
    }
    if dscale > MAX_DSCALE {
        return Err(invalid("scale"));
    }
    let (digits, _) = rest.as_chunks::<2>();
    let digits = digits.get(..count).unwrap_or(digits);
    if digits
        .iter()
        .any(|pair| u16::from_be_bytes(*pair) >= NBASE as u16)
    {
        return Err(invalid("digit"));
    }
    if rest.len() < count * 2 {
        return Err(TypeError::insufficient_data());
    }
    // Bytes left over are the caller's complaint in PostgreSQL, after all others.
    let finite = matches!(sign, 0 | NEGATIVE) && rest.len() == count * 2;
    if finite && count == 0 {
        let dscale = numeric_typmod(typmod).map_or(dscale, |(_, scale)| scale.max(0));
        put_header(false, 0, dscale, out);
        return Ok(());
    }
    // Nothing to strip, nothing to cut, nothing to round, nothing too large.
    if finite
        && let (Some(&first), Some(&last)) = (digits.first(), digits.last())
        && first != [0, 0]
        && last != [0, 0]
        && shows_all(
            u16::from_be_bytes(last),
            (weight - count as i32 + 1) * DEC_DIGITS + dscale,
        )
    {
        let dscale = match numeric_typmod(typmod) {
            None => Some(dscale),
            Some((precision, scale)) => {
                (dscale <= scale && (weight + 1) * DEC_DIGITS <= precision - scale).then_some(scale)
            }
        };
        if let Some(dscale) = dscale {
            put_header(sign == NEGATIVE, weight, dscale, out);
            extend_swapped(digits, out);
            return Ok(());
        }
    }
    let mut number = match sign {
        NAN => Numeric::NAN,
        POSITIVE_INFINITY => Numeric::INFINITY,
        NEGATIVE_INFINITY => Numeric::NEG_INFINITY,
        _ => {
            let digits = digits
                .iter()
                .map(|pair| i16::from_be_bytes(*pair))
                .collect();
            let mut number = Numeric::from_parts(sign == NEGATIVE, weight, dscale, digits);
            number.truncate_to(dscale);
            number
        }
    };
    number.apply_typmod(typmod)?;
    if !(-0x8000..0x8000).contains(&number.weight) {
        return Err(format_overflow());
    }
    if rest.len() > count * 2 {
        return Err(TypeError::incorrect_binary_format());
    }
    put_digits(&number, out);
    Ok(())
}

/// The error for a message without a whole header: PostgreSQL checks each field as it reads it.
#[cold]
fn short_message(bytes: &[u8]) -> TypeError {
    match bytes.get(4..6) {
        Some(&[high, low])
            if !matches!(
                u16::from_be_bytes([high, low]),
                0 | NEGATIVE | NAN | POSITIVE_INFINITY | NEGATIVE_INFINITY
            ) =>
        {
            invalid("sign")
        }
        _ => TypeError::insufficient_data(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaled_values_match_the_general_encoding() {
        let magnitudes = [
            0u128,
            1,
            9,
            10,
            9999,
            10_000,
            10_001,
            100_000_000,
            123_456_789,
            u128::MAX,
        ];
        for magnitude in magnitudes {
            for scale in [0, 1, 2, 3, 4, 5, 7, 8, 12, 19, 38, 64, 100] {
                let mut fast = Vec::new();
                put_scaled(true, magnitude, scale, &mut fast);
                let text = format!("-{magnitude}e-{scale}");
                let mut general = Vec::new();
                Numeric::parse(&text).unwrap().encode(&mut general).unwrap();
                assert_eq!(fast, general, "{text}");
            }
        }
    }

    #[test]
    fn nonsense_is_no_numeric() {
        assert!(view(&[]).is_none());
        assert!(view(&[0x00]).is_none());
        assert!(view(&[0x00, 0x00]).is_none());
        assert!(view(&[0x00, 0x80, 0x10, 0x27]).is_none());
        assert!(view(&[0x00, 0x80, 0x01]).is_none());
        assert!(view(&[0x00, 0xe0]).is_none());
    }
}
