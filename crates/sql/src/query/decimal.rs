//! numeric values inside DataFusion's batches.
//!
//! A `numeric(p,s)` of at most 38 digits travels as `Decimal128(p, s)`: every value of such a
//! column is displayed with exactly `s` digits, so the integer says everything. One integer
//! is set aside: [`DECIMAL_NAN`], greater than every value, so that NaN orders and groups as
//! PostgreSQL wants without any special case.
//!
//! Every other numeric travels as `LargeBinary` in an encoding whose bytes compare as the
//! values do:
//!
//! ```text
//! class (1 byte: -Infinity 00, negative 40, zero 80, positive C0, Infinity FE, NaN FF)
//! for negative and positive: weight + 32768 (u16), base-10000 digits + 1 (u16 each), 0 (u16)
//!     big-endian; all of it complemented for a negative value
//! display scale (u16, big-endian)
//! ```
//!
//! Digits carry no trailing zeros, so all bytes but the last two ([`comparison_key`]) are the
//! same for equal values: 1.0 and 1.00 differ in their display scale only. The payload that
//! goes to and comes from storage is PostgreSQL's NumericData (`numeric.c`).

use trunkline_types::numeric::{payload_to_i128, put_i128};

use super::error::QueryError;

/// The `Decimal128` value that stands for NaN.
pub const DECIMAL_NAN: i128 = i128::MAX;

pub(crate) fn is_decimal_nan(units: i128) -> bool {
    units == DECIMAL_NAN
}

/// Digits that a `Decimal128` can hold.
pub const DECIMAL_MAX_PRECISION: u8 = 38;

const CLASS_NEGATIVE_INFINITY: u8 = 0x00;
const CLASS_NEGATIVE: u8 = 0x40;
const CLASS_ZERO: u8 = 0x80;
const CLASS_POSITIVE: u8 = 0xC0;
const CLASS_POSITIVE_INFINITY: u8 = 0xFE;
const CLASS_NAN: u8 = 0xFF;

const NUMERIC_SIGN_MASK: u16 = 0xC000;
const NUMERIC_NEG: u16 = 0x4000;
const NUMERIC_SHORT: u16 = 0x8000;
const NUMERIC_SPECIAL: u16 = 0xC000;
const NUMERIC_PINF: u16 = 0xD000;
const NUMERIC_NINF: u16 = 0xF000;
const NUMERIC_SHORT_SIGN_MASK: u16 = 0x2000;
const NUMERIC_SHORT_DSCALE_SHIFT: u16 = 7;
const NUMERIC_SHORT_DSCALE_MAX: u16 = 0x3F;
const NUMERIC_SHORT_WEIGHT_MAX: i16 = 63;
const NUMERIC_SHORT_WEIGHT_MIN: i16 = -64;

/// The head of a NumericData payload.
enum Header<'a> {
    Nan,
    PositiveInfinity,
    NegativeInfinity,
    Finite {
        negative: bool,
        weight: i16,
        dscale: u16,
        digits: &'a [u8],
    },
}

fn corrupt() -> QueryError {
    QueryError::new("XX001", "invalid numeric value in storage")
}

fn read_header(payload: &[u8]) -> Result<Header<'_>, QueryError> {
    let word = |at: usize| -> Result<u16, QueryError> {
        let bytes = payload.get(at..at + 2).ok_or_else(corrupt)?;
        Ok(u16::from_le_bytes([bytes[0], bytes[1]]))
    };
    let header = word(0)?;
    let finite = match header & NUMERIC_SIGN_MASK {
        NUMERIC_SPECIAL => {
            return Ok(match header & 0xF000 {
                NUMERIC_PINF => Header::PositiveInfinity,
                NUMERIC_NINF => Header::NegativeInfinity,
                _ => Header::Nan,
            });
        }
        NUMERIC_SHORT => {
            let low = (header & 0x3F) as i16;
            Header::Finite {
                negative: header & NUMERIC_SHORT_SIGN_MASK != 0,
                weight: if header & 0x40 != 0 { low | !0x3F } else { low },
                dscale: (header >> NUMERIC_SHORT_DSCALE_SHIFT) & NUMERIC_SHORT_DSCALE_MAX,
                digits: &payload[2..],
            }
        }
        sign => Header::Finite {
            negative: sign == NUMERIC_NEG,
            weight: word(2)? as i16,
            dscale: header & 0x3FFF,
            digits: &payload[4..],
        },
    };
    if let Header::Finite { digits, .. } = &finite
        && digits.len() % 2 != 0
    {
        return Err(corrupt());
    }
    Ok(finite)
}

/// Appends the encoding of a NumericData payload.
pub fn encode_payload(payload: &[u8], out: &mut Vec<u8>) -> Result<(), QueryError> {
    match read_header(payload)? {
        Header::Nan => out.extend([CLASS_NAN, 0, 0]),
        Header::PositiveInfinity => out.extend([CLASS_POSITIVE_INFINITY, 0, 0]),
        Header::NegativeInfinity => out.extend([CLASS_NEGATIVE_INFINITY, 0, 0]),
        Header::Finite {
            negative,
            mut weight,
            dscale,
            mut digits,
        } => {
            while let [0, 0, rest @ ..] = digits {
                digits = rest;
                weight -= 1;
            }
            while let [rest @ .., 0, 0] = digits {
                digits = rest;
            }
            if digits.is_empty() {
                out.push(CLASS_ZERO);
            } else {
                let flip: u16 = if negative { 0xFFFF } else { 0 };
                out.push(if negative {
                    CLASS_NEGATIVE
                } else {
                    CLASS_POSITIVE
                });
                let biased = (i32::from(weight) + 32768) as u16;
                out.extend((biased ^ flip).to_be_bytes());
                for pair in digits.chunks_exact(2) {
                    let digit = u16::from_le_bytes([pair[0], pair[1]]);
                    if digit > 9999 {
                        return Err(corrupt());
                    }
                    out.extend(((digit + 1) ^ flip).to_be_bytes());
                }
                out.extend(flip.to_be_bytes());
            }
            out.extend(dscale.to_be_bytes());
        }
    }
    Ok(())
}

/// Appends the NumericData payload of an encoded value.
pub fn decode_to_payload(encoded: &[u8], out: &mut Vec<u8>) -> Result<(), QueryError> {
    let (body, dscale) = match encoded {
        [body @ .., high, low] if !body.is_empty() => (body, u16::from_be_bytes([*high, *low])),
        _ => return Err(corrupt()),
    };
    match body[0] {
        CLASS_NAN => out.extend(NUMERIC_SPECIAL.to_le_bytes()),
        CLASS_POSITIVE_INFINITY => out.extend(NUMERIC_PINF.to_le_bytes()),
        CLASS_NEGATIVE_INFINITY => out.extend(NUMERIC_NINF.to_le_bytes()),
        CLASS_ZERO => write_header(false, 0, dscale, out),
        class => {
            let negative = class == CLASS_NEGATIVE;
            let flip: u16 = if negative { 0xFFFF } else { 0 };
            let mut words = body[1..]
                .chunks_exact(2)
                .map(|pair| u16::from_be_bytes([pair[0], pair[1]]) ^ flip);
            let biased = words.next().ok_or_else(corrupt)?;
            write_header(negative, (i32::from(biased) - 32768) as i16, dscale, out);
            for word in words.take_while(|word| *word != 0) {
                out.extend((word - 1).to_le_bytes());
            }
        }
    }
    Ok(())
}

fn write_header(negative: bool, weight: i16, dscale: u16, out: &mut Vec<u8>) {
    let short = dscale <= NUMERIC_SHORT_DSCALE_MAX
        && (NUMERIC_SHORT_WEIGHT_MIN..=NUMERIC_SHORT_WEIGHT_MAX).contains(&weight);
    if short {
        let header = NUMERIC_SHORT
            | if negative { NUMERIC_SHORT_SIGN_MASK } else { 0 }
            | (dscale << NUMERIC_SHORT_DSCALE_SHIFT)
            | (weight as u16 & 0x7F);
        out.extend(header.to_le_bytes());
    } else {
        let header = if negative { NUMERIC_NEG } else { 0 } | dscale;
        out.extend(header.to_le_bytes());
        out.extend((weight as u16).to_le_bytes());
    }
}

/// The part of an encoded value that is the same for equal values and orders as they do.
pub fn comparison_key(encoded: &[u8]) -> &[u8] {
    &encoded[..encoded.len().saturating_sub(2)]
}

/// A NumericData payload as an integer of units of `10^-scale`, [`DECIMAL_NAN`] for NaN.
/// `None` if it doesn't fit or has more than `scale` digits behind the point.
#[inline]
pub fn payload_to_decimal(payload: &[u8], scale: i8) -> Result<Option<i128>, QueryError> {
    match payload_to_i128(payload, scale.max(0) as u32) {
        Some(DECIMAL_NAN) => Ok(None),
        Some(value) => Ok(Some(value)),
        None => Ok(match read_header(payload)? {
            Header::Nan => Some(DECIMAL_NAN),
            _ => None,
        }),
    }
}

/// Appends the NumericData payload of `value` units of `10^-scale`, displayed with `scale`
/// digits behind the point.
#[inline]
pub fn decimal_to_payload(value: i128, scale: i8, out: &mut Vec<u8>) {
    if value == DECIMAL_NAN {
        out.extend(NUMERIC_SPECIAL.to_le_bytes());
    } else {
        put_i128(value, scale.max(0) as u32, out);
    }
}

/// Appends the encoding of `value` units of `10^-scale`.
pub fn encode_decimal(value: i128, scale: i8, out: &mut Vec<u8>) -> Result<(), QueryError> {
    let mut payload = Vec::with_capacity(32);
    decimal_to_payload(value, scale, &mut payload);
    encode_payload(&payload, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(value: i128, scale: i8) -> Vec<u8> {
        let mut out = Vec::new();
        encode_decimal(value, scale, &mut out).unwrap();
        out
    }

    #[test]
    fn decimals_survive_the_payload() {
        for scale in 0..=38_i8 {
            for value in [
                0,
                1,
                -1,
                9999,
                10_000,
                -123_456_789,
                10_i128.pow(38) - 1,
                DECIMAL_NAN,
            ] {
                let mut payload = Vec::new();
                decimal_to_payload(value, scale, &mut payload);
                assert_eq!(
                    payload_to_decimal(&payload, scale).unwrap(),
                    Some(value),
                    "{value} {scale}"
                );
                let bytes = encoded(value, scale);
                let mut back = Vec::new();
                decode_to_payload(&bytes, &mut back).unwrap();
                assert_eq!(back, payload, "{value} {scale}");
            }
        }
    }

    #[test]
    fn keys_order_as_values() {
        let mut previous: Option<Vec<u8>> = None;
        for value in [
            -10_i128.pow(30),
            -20_001,
            -20_000,
            -10_000,
            -15,
            -10,
            -1,
            0,
            1,
            9,
            10,
            15,
            10_000,
            10_001,
            20_000,
            10_i128.pow(30),
            DECIMAL_NAN,
        ] {
            let key = comparison_key(&encoded(value, 3)).to_vec();
            if let Some(previous) = previous {
                assert!(previous < key, "{value}");
            }
            previous = Some(key);
        }
        assert_eq!(
            comparison_key(&encoded(10, 1)),
            comparison_key(&encoded(100, 2))
        );
        assert_ne!(encoded(10, 1), encoded(100, 2));
    }

    #[test]
    fn a_fraction_that_does_not_fit_is_refused() {
        let mut payload = Vec::new();
        decimal_to_payload(125, 2, &mut payload);
        assert_eq!(payload_to_decimal(&payload, 1).unwrap(), None);
        assert!(payload_to_decimal(&[], 1).is_err());
        assert!(encode_payload(&[0, 0x80, 1], &mut Vec::new()).is_err());
    }
}
