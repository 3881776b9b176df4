//! The four forms of a value, dispatched on the column's kind.
//!
//! A payload is what a tuple holds without a varlena header; see the crate's documentation.

use crate::array;
use crate::bytes;
use crate::column_type::{ColumnType, TypeKind};
use crate::datetime;
use crate::error::{TypeError, sqlstate};
use crate::float;
use crate::integer::{self, push_i64, push_u64};
use crate::numeric;
use crate::oids;
use crate::string::{self, NAMEDATALEN, verify_utf8, verify_utf8_bytes};
use crate::style::{InputStyle, OutputStyle};
use crate::system;

#[cold]
fn cannot_accept(ty: &ColumnType) -> TypeError {
    TypeError::new(
        sqlstate::FEATURE_NOT_SUPPORTED,
        format!("cannot accept a value of type {}", ty.info().name),
    )
}

#[cold]
fn cannot_display(ty: &ColumnType) -> TypeError {
    TypeError::new(
        sqlstate::FEATURE_NOT_SUPPORTED,
        format!("cannot display a value of type {}", ty.info().name),
    )
}

/// `no binary input function available for type aclitem` and the like.
#[cold]
fn no_binary_form(ty: &ColumnType, direction: &str) -> TypeError {
    TypeError::new(
        sqlstate::UNDEFINED_FUNCTION,
        format!(
            "no binary {direction} function available for type {}",
            ty.info().name
        ),
    )
}

/// Reads a value's text form and appends its payload to `out`. After an error `out` may hold
/// part of one.
///
/// # Errors
/// PostgreSQL's for the type and text.
#[inline]
pub fn input_text(
    ty: &ColumnType,
    text: &str,
    style: &InputStyle,
    out: &mut Vec<u8>,
) -> Result<(), TypeError> {
    match ty.kind() {
        TypeKind::Int4 => out.extend_from_slice(&integer::parse_int4(text)?.to_le_bytes()),
        TypeKind::Int8 => out.extend_from_slice(&integer::parse_int8(text)?.to_le_bytes()),
        TypeKind::Int2 => out.extend_from_slice(&integer::parse_int2(text)?.to_le_bytes()),
        TypeKind::Text | TypeKind::Cstring => out.extend_from_slice(text.as_bytes()),
        TypeKind::Varchar => string::put_varchar(text, ty.typmod(), out)?,
        TypeKind::Bpchar => string::put_bpchar(text, ty.typmod(), out)?,
        TypeKind::Numeric => numeric::input_text(text, ty.typmod(), out)?,
        TypeKind::Date => {
            out.extend_from_slice(&datetime::parse_date(text, style)?.to_le_bytes());
        }
        TypeKind::Timestamp => {
            let value = datetime::parse_timestamp(text, ty.typmod(), style)?;
            out.extend_from_slice(&value.to_le_bytes());
        }
        TypeKind::Timestamptz => {
            let value = datetime::parse_timestamptz(text, ty.typmod(), style)?;
            out.extend_from_slice(&value.to_le_bytes());
        }
        TypeKind::Bool => out.push(bytes::parse_bool(text)?.into()),
        TypeKind::Float4 => out.extend_from_slice(&float::parse::<f32>(text)?.to_le_bytes()),
        TypeKind::Float8 => out.extend_from_slice(&float::parse::<f64>(text)?.to_le_bytes()),
        TypeKind::Bytea => bytes::put_bytea(text, out)?,
        TypeKind::Uuid => out.extend_from_slice(&bytes::parse_uuid(text)?),
        _ => return input_system_text(ty, text, style, out),
    }
    Ok(())
}

fn input_system_text(
    ty: &ColumnType,
    text: &str,
    style: &InputStyle,
    out: &mut Vec<u8>,
) -> Result<(), TypeError> {
    match ty.kind() {
        TypeKind::Name => string::put_name(text, out),
        TypeKind::Char => out.push(string::parse_char(text)),
        TypeKind::Oid | TypeKind::Xid | TypeKind::Cid => {
            out.extend_from_slice(&integer::parse_u32(text, ty.info().name)?.to_le_bytes());
        }
        TypeKind::Xid8 => {
            out.extend_from_slice(&integer::parse_u64(text, "xid8")?.to_le_bytes());
        }
        TypeKind::Tid => out.extend_from_slice(&system::parse_tid(text)?),
        TypeKind::PgLsn => out.extend_from_slice(&system::parse_lsn(text)?.to_le_bytes()),
        TypeKind::Alias(alias) => {
            out.extend_from_slice(&system::parse_alias(alias, text)?.to_le_bytes());
        }
        TypeKind::Int2Vector => array::input_vector_text(oids::INT2, text, out)?,
        TypeKind::OidVector => array::input_vector_text(oids::OID, text, out)?,
        TypeKind::AclItem => out.extend_from_slice(&system::parse_aclitem(text)?),
        TypeKind::Array => match ty.element() {
            Some(elem) => array::input_text(&elem, text, style, out)?,
            None => return Err(cannot_accept(ty)),
        },
        TypeKind::Void => out.extend_from_slice(&[0; 4]),
        _ => return Err(cannot_accept(ty)),
    }
    Ok(())
}

/// Exactly `N` bytes of a binary value.
#[inline]
fn exactly<const N: usize>(bytes: &[u8]) -> Result<[u8; N], TypeError> {
    match bytes.split_first_chunk::<N>() {
        Some((value, [])) => Ok(*value),
        Some(_) => Err(TypeError::incorrect_binary_format()),
        None => Err(short_value(bytes.len(), N)),
    }
}

/// PostgreSQL reads one byte with a function of its own, whose message differs.
#[cold]
fn short_value(len: usize, wanted: usize) -> TypeError {
    if len == 0 && wanted == 1 {
        return TypeError::new(sqlstate::PROTOCOL_VIOLATION, "no data left in message");
    }
    TypeError::insufficient_data()
}

/// Appends a big-endian value as the little-endian one of a tuple.
#[inline]
fn put_swapped<const N: usize>(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), TypeError> {
    let mut value = exactly::<N>(bytes)?;
    value.reverse();
    out.extend_from_slice(&value);
    Ok(())
}

#[inline]
fn put_timestamp(bytes: &[u8], typmod: i32, out: &mut Vec<u8>) -> Result<(), TypeError> {
    let value = i64::from_be_bytes(exactly(bytes)?);
    if !datetime::timestamp_is_valid(value) {
        return Err(datetime::timestamp_out_of_range());
    }
    out.extend_from_slice(&datetime::round_timestamp(value, typmod).to_le_bytes());
    Ok(())
}

/// Reads a value's binary form (the wire's and COPY's, big-endian) and appends its payload to
/// `out`. After an error `out` may hold part of one.
///
/// # Errors
/// 08P01 if bytes are missing, 22P03 if some are left over, and the type's own.
#[inline(always)]
pub fn input_binary(ty: &ColumnType, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), TypeError> {
    // The commonest go without a call.
    match ty.kind() {
        TypeKind::Int4 | TypeKind::Float4 => put_swapped::<4>(bytes, out),
        TypeKind::Int8 | TypeKind::Float8 => put_swapped::<8>(bytes, out),
        TypeKind::Text => {
            out.extend_from_slice(verify_utf8_bytes(bytes)?);
            Ok(())
        }
        TypeKind::Timestamp | TypeKind::Timestamptz => put_timestamp(bytes, ty.typmod(), out),
        _ => input_other_binary(ty, bytes, out),
    }
}

#[inline(never)]
fn input_other_binary(ty: &ColumnType, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), TypeError> {
    match ty.kind() {
        TypeKind::Int2 => put_swapped::<2>(bytes, out)?,
        TypeKind::Varchar => string::put_varchar(verify_utf8(bytes)?, ty.typmod(), out)?,
        TypeKind::Bpchar => string::put_bpchar(verify_utf8(bytes)?, ty.typmod(), out)?,
        TypeKind::Numeric => numeric::input_binary(bytes, ty.typmod(), out)?,
        TypeKind::Date => {
            let value = i32::from_be_bytes(exactly(bytes)?);
            if !datetime::date_is_valid(value) {
                return Err(datetime::date_out_of_range());
            }
            out.extend_from_slice(&value.to_le_bytes());
        }
        TypeKind::Bool => {
            let [value] = exactly(bytes)?;
            out.push(u8::from(value != 0));
        }
        TypeKind::Bytea => out.extend_from_slice(bytes),
        TypeKind::Uuid => out.extend_from_slice(&exactly::<16>(bytes)?),
        _ => return input_system_binary(ty, bytes, out),
    }
    Ok(())
}

fn input_system_binary(ty: &ColumnType, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), TypeError> {
    match ty.kind() {
        TypeKind::Cstring => out.extend_from_slice(verify_utf8(bytes)?.as_bytes()),
        TypeKind::Name => {
            let text = verify_utf8(bytes)?;
            if text.len() >= NAMEDATALEN {
                return Err(TypeError::new("42622", "identifier too long")
                    .with_detail("Identifier must be less than 64 characters."));
            }
            string::put_name(text, out);
        }
        TypeKind::Char => out.extend_from_slice(&exactly::<1>(bytes)?),
        TypeKind::Oid | TypeKind::Xid | TypeKind::Cid | TypeKind::Alias(_) => {
            put_swapped::<4>(bytes, out)?;
        }
        TypeKind::Xid8 | TypeKind::PgLsn => put_swapped::<8>(bytes, out)?,
        TypeKind::Tid => {
            let [b0, b1, b2, b3, o0, o1] = exactly(bytes)?;
            let block = u32::from_be_bytes([b0, b1, b2, b3]);
            out.extend_from_slice(&system::tid(block, u16::from_be_bytes([o0, o1])));
        }
        TypeKind::Int2Vector => array::input_vector_binary(oids::INT2, bytes, out)?,
        TypeKind::OidVector => array::input_vector_binary(oids::OID, bytes, out)?,
        TypeKind::Array => match ty.element() {
            Some(elem) => array::input_binary(&elem, bytes, out)?,
            None => return Err(cannot_accept(ty)),
        },
        TypeKind::AclItem => return Err(no_binary_form(ty, "input")),
        TypeKind::Void => out.extend_from_slice(&[0; 4]),
        _ => return Err(cannot_accept(ty)),
    }
    Ok(())
}

/// A payload that is none of its type's: only a damaged page gives one.
#[cold]
pub(crate) fn damaged(ty: &ColumnType) -> TypeError {
    TypeError::new(
        sqlstate::DATA_CORRUPTED,
        format!("stored value of type {} is damaged", ty.sql_name()),
    )
}

#[inline]
fn fixed<const N: usize>(ty: &ColumnType, payload: &[u8]) -> Result<[u8; N], TypeError> {
    payload.try_into().map_err(|_| damaged(ty))
}

/// Appends a value's text form to `out`.
///
/// # Errors
/// XX001 if the payload is none of the type's, 0A000 if the type has no text form.
#[inline]
pub fn output_text(
    ty: &ColumnType,
    payload: &[u8],
    style: &OutputStyle,
    out: &mut Vec<u8>,
) -> Result<(), TypeError> {
    match ty.kind() {
        TypeKind::Int4 => push_i64(out, i32::from_le_bytes(fixed(ty, payload)?).into()),
        TypeKind::Int8 => push_i64(out, i64::from_le_bytes(fixed(ty, payload)?)),
        TypeKind::Int2 => push_i64(out, i16::from_le_bytes(fixed(ty, payload)?).into()),
        TypeKind::Text
        | TypeKind::Varchar
        | TypeKind::Bpchar
        | TypeKind::PgNodeTree
        | TypeKind::Cstring => out.extend_from_slice(payload),
        TypeKind::Numeric => {
            numeric::output_text(payload, out).ok_or_else(|| damaged(ty))?;
        }
        TypeKind::Date => {
            datetime::push_date(out, i32::from_le_bytes(fixed(ty, payload)?), style);
        }
        TypeKind::Timestamp => {
            datetime::push_timestamp(out, i64::from_le_bytes(fixed(ty, payload)?), style);
        }
        TypeKind::Timestamptz => {
            datetime::push_timestamptz(out, i64::from_le_bytes(fixed(ty, payload)?), style);
        }
        TypeKind::Bool => {
            let [value] = fixed(ty, payload)?;
            out.push(if value != 0 { b't' } else { b'f' });
        }
        TypeKind::Float4 => {
            let value = f32::from_le_bytes(fixed(ty, payload)?);
            float::push(out, value, style.extra_float_digits);
        }
        TypeKind::Float8 => {
            let value = f64::from_le_bytes(fixed(ty, payload)?);
            float::push(out, value, style.extra_float_digits);
        }
        TypeKind::Bytea => bytes::push_bytea(payload, style.bytea_output, out),
        TypeKind::Uuid => bytes::push_uuid(&fixed(ty, payload)?, out),
        _ => return output_system_text(ty, payload, style, out),
    }
    Ok(())
}

fn output_system_text(
    ty: &ColumnType,
    payload: &[u8],
    style: &OutputStyle,
    out: &mut Vec<u8>,
) -> Result<(), TypeError> {
    match ty.kind() {
        TypeKind::Name => out.extend_from_slice(string::name_bytes(payload)),
        TypeKind::Char => {
            let [byte] = fixed(ty, payload)?;
            string::push_char(byte, out);
        }
        TypeKind::Oid | TypeKind::Xid | TypeKind::Cid => {
            push_u64(out, u32::from_le_bytes(fixed(ty, payload)?).into());
        }
        TypeKind::Xid8 => push_u64(out, u64::from_le_bytes(fixed(ty, payload)?)),
        TypeKind::Tid => system::push_tid(fixed(ty, payload)?, out),
        TypeKind::PgLsn => system::push_lsn(u64::from_le_bytes(fixed(ty, payload)?), out),
        TypeKind::Alias(alias) => {
            let oid = u32::from_le_bytes(fixed(ty, payload)?);
            system::push_alias(alias, oid, style.names.as_deref(), out);
        }
        TypeKind::Int2Vector | TypeKind::OidVector => {
            array::output_vector_text(payload, out).ok_or_else(|| damaged(ty))?;
        }
        TypeKind::AclItem => {
            system::push_aclitem(&fixed(ty, payload)?, style.names.as_deref(), out);
        }
        TypeKind::Array => {
            array::output_text(ty, payload, style, out)?;
        }
        TypeKind::Void => {}
        _ => return Err(cannot_display(ty)),
    }
    Ok(())
}

/// Appends a little-endian value as the big-endian one of the wire.
#[inline]
fn push_swapped<const N: usize>(
    ty: &ColumnType,
    payload: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), TypeError> {
    let mut value = fixed::<N>(ty, payload)?;
    value.reverse();
    out.extend_from_slice(&value);
    Ok(())
}

/// Appends a value's binary form to `out`.
///
/// # Errors
/// XX001 if the payload is none of the type's, 42883 if the type has no binary form.
#[inline]
pub fn output_binary(ty: &ColumnType, payload: &[u8], out: &mut Vec<u8>) -> Result<(), TypeError> {
    match ty.kind() {
        TypeKind::Int4
        | TypeKind::Float4
        | TypeKind::Date
        | TypeKind::Oid
        | TypeKind::Xid
        | TypeKind::Cid
        | TypeKind::Alias(_) => push_swapped::<4>(ty, payload, out)?,
        TypeKind::Int8
        | TypeKind::Float8
        | TypeKind::Timestamp
        | TypeKind::Timestamptz
        | TypeKind::Xid8
        | TypeKind::PgLsn => push_swapped::<8>(ty, payload, out)?,
        TypeKind::Int2 => push_swapped::<2>(ty, payload, out)?,
        TypeKind::Text
        | TypeKind::Varchar
        | TypeKind::Bpchar
        | TypeKind::Bytea
        | TypeKind::PgNodeTree
        | TypeKind::Cstring => out.extend_from_slice(payload),
        TypeKind::Numeric => {
            numeric::output_binary(payload, out).ok_or_else(|| damaged(ty))?;
        }
        TypeKind::Bool | TypeKind::Char => out.extend_from_slice(&fixed::<1>(ty, payload)?),
        TypeKind::Uuid => out.extend_from_slice(&fixed::<16>(ty, payload)?),
        TypeKind::Name => out.extend_from_slice(string::name_bytes(payload)),
        TypeKind::Tid => {
            let (block, offset) = system::tid_parts(fixed(ty, payload)?);
            out.extend_from_slice(&block.to_be_bytes());
            out.extend_from_slice(&offset.to_be_bytes());
        }
        TypeKind::Int2Vector | TypeKind::OidVector | TypeKind::Array => {
            array::output_binary(ty, payload, out)?;
        }
        TypeKind::Void => {}
        TypeKind::AclItem | TypeKind::Opaque => return Err(no_binary_form(ty, "output")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::type_info::all_types;

    /// A small generator, so that a failure can be repeated from its printed seed.
    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: usize) -> usize {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            ((self.0 >> 33) as usize) % limit
        }
    }

    #[test]
    fn nothing_panics_on_bytes() {
        let style = OutputStyle::default();
        for seed in 0..3000 {
            let mut random = Random(seed);
            for info in all_types() {
                let ty = ColumnType::new(info.oid, random.below(30) as i32 - 1).unwrap();
                let len = if info.len > 0 && random.below(2) == 0 {
                    info.len as usize
                } else {
                    random.below(40)
                };
                let mut bytes: Vec<u8> = (0..len)
                    .map(|_| [0, 1, 2, 8, 0x7f, 0x80, 0xff][random.below(7)])
                    .collect();
                if ty.kind() == TypeKind::Array && bytes.len() >= 12 {
                    let elem = if info.elem.is_valid() {
                        info.elem.0
                    } else {
                        25
                    };
                    bytes[..4].copy_from_slice(&1i32.to_le_bytes());
                    bytes[8..12].copy_from_slice(&elem.to_le_bytes());
                }
                println!("seed {seed}, {}: {bytes:?}", info.name);
                let mut out = Vec::new();
                let _ = output_text(&ty, &bytes, &style, &mut out);
                let _ = output_binary(&ty, &bytes, &mut out);
                let _ = input_binary(&ty, &bytes, &mut out);
            }
        }
    }

    #[test]
    fn what_is_put_in_comes_out() {
        let input = InputStyle::default();
        let output = OutputStyle::default();
        let pieces = [
            "1",
            "2",
            "0",
            "9",
            "12",
            "2024",
            "-",
            "+",
            ".",
            ":",
            " ",
            "e",
            "x",
            "_",
            "jan",
            "bc",
            "pm",
            "{",
            "}",
            ",",
            "\"",
            "\\",
            "t",
            "inf",
            "nan",
            "/",
            "ä",
            "utc",
            "j",
            "(",
            ")",
            "20240102",
            "99999999999",
            "America/New_York",
            "=",
            "r",
        ];
        for seed in 0..4000 {
            let mut random = Random(seed);
            let mut text = String::new();
            for _ in 0..random.below(9) {
                text.push_str(pieces[random.below(pieces.len())]);
            }
            println!("seed {seed}: {text:?}");
            for info in all_types() {
                let ty = ColumnType::new(info.oid, -1).unwrap();
                let mut payload = Vec::new();
                if input_text(&ty, &text, &input, &mut payload).is_err() {
                    continue;
                }
                let mut printed = Vec::new();
                output_text(&ty, &payload, &output, &mut printed).unwrap();
                let mut again = Vec::new();
                let printed = std::str::from_utf8(&printed).unwrap();
                input_text(&ty, printed, &input, &mut again).unwrap();
                assert_eq!(again, payload, "{} {text:?}", info.name);
                let mut binary = Vec::new();
                if output_binary(&ty, &payload, &mut binary).is_ok() {
                    again.clear();
                    input_binary(&ty, &binary, &mut again).unwrap();
                    assert_eq!(again, payload, "{} {text:?} in binary", info.name);
                }
            }
        }
    }
}
