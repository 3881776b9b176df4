//! The four forms of a value, dispatched on the column's kind.
//!
//! A payload is what a tuple holds without a varlena header; see the crate's documentation.

use crate::column_type::{ColumnType, TypeKind};
use crate::error::{TypeError, sqlstate};
use crate::integer;
use crate::string;
use crate::style::{InputStyle, OutputStyle};

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
    let _ = style;
    match ty.kind() {
        TypeKind::Int2 => out.extend_from_slice(&integer::parse_int2(text)?.to_le_bytes()),
        TypeKind::Int4 => out.extend_from_slice(&integer::parse_int4(text)?.to_le_bytes()),
        TypeKind::Int8 => out.extend_from_slice(&integer::parse_int8(text)?.to_le_bytes()),
        TypeKind::Text => out.extend_from_slice(text.as_bytes()),
        TypeKind::Varchar => string::put_varchar(text, ty.typmod(), out)?,
        TypeKind::Bpchar => string::put_bpchar(text, ty.typmod(), out)?,
    }
    Ok(())
}

/// Exactly `N` bytes of a binary value.
#[inline]
fn exactly<const N: usize>(bytes: &[u8]) -> Result<[u8; N], TypeError> {
    match bytes.split_first_chunk::<N>() {
        Some((value, [])) => Ok(*value),
        Some(_) => Err(TypeError::incorrect_binary_format()),
        None => Err(TypeError::insufficient_data()),
    }
}

/// Reads a value's binary form (the wire's and COPY's, big-endian) and appends its payload to
/// `out`. After an error `out` may hold part of one.
///
/// # Errors
/// 08P01 if bytes are missing, 22P03 if some are left over, and the type's own.
#[inline]
pub fn input_binary(ty: &ColumnType, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), TypeError> {
    match ty.kind() {
        TypeKind::Int2 => {
            let value = i16::from_be_bytes(exactly(bytes)?);
            out.extend_from_slice(&value.to_le_bytes());
        }
        TypeKind::Int4 => {
            let value = i32::from_be_bytes(exactly(bytes)?);
            out.extend_from_slice(&value.to_le_bytes());
        }
        TypeKind::Int8 => {
            let value = i64::from_be_bytes(exactly(bytes)?);
            out.extend_from_slice(&value.to_le_bytes());
        }
        TypeKind::Text => out.extend_from_slice(string::verify_utf8(bytes)?.as_bytes()),
        TypeKind::Varchar => string::put_varchar(string::verify_utf8(bytes)?, ty.typmod(), out)?,
        TypeKind::Bpchar => string::put_bpchar(string::verify_utf8(bytes)?, ty.typmod(), out)?,
    }
    Ok(())
}

/// A payload that does not have its type's length: only a damaged page gives one.
#[cold]
fn damaged(ty: &ColumnType) -> TypeError {
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
/// XX001 if the payload is none of the type's.
#[inline]
pub fn output_text(
    ty: &ColumnType,
    payload: &[u8],
    style: &OutputStyle,
    out: &mut Vec<u8>,
) -> Result<(), TypeError> {
    let _ = style;
    match ty.kind() {
        TypeKind::Int2 => {
            integer::push_i64(out, i16::from_le_bytes(fixed(ty, payload)?).into());
        }
        TypeKind::Int4 => {
            integer::push_i64(out, i32::from_le_bytes(fixed(ty, payload)?).into());
        }
        TypeKind::Int8 => integer::push_i64(out, i64::from_le_bytes(fixed(ty, payload)?)),
        TypeKind::Text | TypeKind::Varchar | TypeKind::Bpchar => out.extend_from_slice(payload),
    }
    Ok(())
}

/// Appends a value's binary form to `out`.
///
/// # Errors
/// XX001 if the payload is none of the type's.
#[inline]
pub fn output_binary(ty: &ColumnType, payload: &[u8], out: &mut Vec<u8>) -> Result<(), TypeError> {
    match ty.kind() {
        TypeKind::Int2 => {
            out.extend_from_slice(&i16::from_le_bytes(fixed(ty, payload)?).to_be_bytes());
        }
        TypeKind::Int4 => {
            out.extend_from_slice(&i32::from_le_bytes(fixed(ty, payload)?).to_be_bytes());
        }
        TypeKind::Int8 => {
            out.extend_from_slice(&i64::from_le_bytes(fixed(ty, payload)?).to_be_bytes());
        }
        TypeKind::Text | TypeKind::Varchar | TypeKind::Bpchar => out.extend_from_slice(payload),
    }
    Ok(())
}
