//! Types of the system catalogs with forms of their own: `tid`, `pg_lsn`, `aclitem` and the
//! OID aliases.
//!
//! The names of functions, relations and roles are in the catalogs, which this crate does not
//! know: an [`ObjectNames`] gives them. Without it an OID alias is printed as PostgreSQL prints one
//! whose object is gone: as a number. The exceptions are the built-in types, and the role that
//! every cluster begins with.

use std::io::Write as _;

use trunkline_pgformat::Oid;

use crate::error::{TypeError, sqlstate};
use crate::identifier::push_acl_name;
use crate::integer::push_u64;
use crate::style::ObjectNames;
use crate::type_info::{format_type, type_by_sql_name};

/// OID of the role that owns everything (`BOOTSTRAP_SUPERUSERID`).
const BOOTSTRAP_SUPERUSER: u32 = 10;
/// Its name.
const BOOTSTRAP_SUPERUSER_NAME: &str = "postgres";

/// Reads `(block,offset)`: PostgreSQL's `ItemPointerData` (`tidin`).
pub(crate) fn parse_tid(text: &str) -> Result<[u8; 6], TypeError> {
    let parse = || {
        let (_, inner) = text.split_once('(')?;
        let (block, rest) = inner.split_once(',')?;
        let (offset, _) = rest.split_once(')')?;
        // No digits at all are zero to C's strtoul.
        let value = |digits: &str| match digits {
            "" => Some(0i64),
            _ => digits.trim_start().parse().ok(),
        };
        let block = value(block)?;
        let block = u32::try_from(block).or_else(|_| i32::try_from(block).map(|b| b as u32));
        let offset = u16::try_from(value(offset)?).ok()?;
        Some(tid(block.ok()?, offset))
    };
    parse().ok_or_else(|| TypeError::invalid_syntax("tid", text))
}

/// The payload of a tid: the block's high half first.
pub(crate) fn tid(block: u32, offset: u16) -> [u8; 6] {
    let [h0, h1] = ((block >> 16) as u16).to_le_bytes();
    let [l0, l1] = (block as u16).to_le_bytes();
    let [o0, o1] = offset.to_le_bytes();
    [h0, h1, l0, l1, o0, o1]
}

/// Block and offset of a tid's payload.
pub(crate) fn tid_parts(payload: [u8; 6]) -> (u32, u16) {
    let [h0, h1, l0, l1, o0, o1] = payload;
    let high = u32::from(u16::from_le_bytes([h0, h1]));
    let low = u32::from(u16::from_le_bytes([l0, l1]));
    (high << 16 | low, u16::from_le_bytes([o0, o1]))
}

/// Appends `(block,offset)`.
pub(crate) fn push_tid(payload: [u8; 6], out: &mut Vec<u8>) {
    let (block, offset) = tid_parts(payload);
    out.push(b'(');
    push_u64(out, block.into());
    out.push(b',');
    push_u64(out, offset.into());
    out.push(b')');
}

/// Reads `16/B374D848` (`pg_lsn_in`).
pub(crate) fn parse_lsn(text: &str) -> Result<u64, TypeError> {
    let half = |part: &str| {
        let fits = (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_hexdigit());
        fits.then(|| u32::from_str_radix(part, 16).ok()).flatten()
    };
    text.split_once('/')
        .and_then(|(high, low)| Some(u64::from(half(high)?) << 32 | u64::from(half(low)?)))
        .ok_or_else(|| TypeError::invalid_syntax("pg_lsn", text))
}

/// Appends `16/B374D848`.
pub(crate) fn push_lsn(lsn: u64, out: &mut Vec<u8>) {
    let _ = write!(out, "{:X}/{:X}", lsn >> 32, lsn as u32);
}

/// Which catalog an OID alias points into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OidAlias {
    /// `regproc`
    Proc,
    /// `regclass`
    Class,
    /// `regtype`
    Type,
    /// `regnamespace`
    Namespace,
    /// `regrole`
    Role,
}

impl OidAlias {
    fn sql_name(self) -> &'static str {
        match self {
            OidAlias::Proc => "regproc",
            OidAlias::Class => "regclass",
            OidAlias::Type => "regtype",
            OidAlias::Namespace => "regnamespace",
            OidAlias::Role => "regrole",
        }
    }
}

/// Reads an OID alias: `-`, a number, or the name of a type or of the first role.
pub(crate) fn parse_alias(alias: OidAlias, text: &str) -> Result<u32, TypeError> {
    if text == "-" {
        return Ok(0);
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return crate::integer::parse_u32(text, "oid");
    }
    match alias {
        OidAlias::Type => type_by_sql_name(text)
            .map(|info| info.oid.0)
            .ok_or_else(|| {
                TypeError::new(
                    sqlstate::UNDEFINED_OBJECT,
                    format!("type \"{text}\" does not exist"),
                )
            }),
        OidAlias::Role if text == BOOTSTRAP_SUPERUSER_NAME => Ok(BOOTSTRAP_SUPERUSER),
        OidAlias::Role => Err(TypeError::new(
            sqlstate::UNDEFINED_OBJECT,
            format!("role \"{text}\" does not exist"),
        )),
        _ => Err(TypeError::new(
            sqlstate::FEATURE_NOT_SUPPORTED,
            format!(
                "names are not supported as input for type {}",
                alias.sql_name()
            ),
        )),
    }
}

/// Appends an OID alias.
pub(crate) fn push_alias(
    alias: OidAlias,
    oid: u32,
    names: Option<&dyn ObjectNames>,
    out: &mut Vec<u8>,
) {
    match alias {
        _ if oid == 0 => out.push(b'-'),
        OidAlias::Type if crate::type_info::type_info(Oid(oid)).is_some() => {
            out.extend_from_slice(format_type(Oid(oid), -1).as_bytes());
        }
        OidAlias::Role if oid == BOOTSTRAP_SUPERUSER => {
            out.extend_from_slice(BOOTSTRAP_SUPERUSER_NAME.as_bytes());
        }
        _ => match names.and_then(|names| names.printed_name(alias, oid)) {
            Some(name) => out.extend_from_slice(name.as_bytes()),
            None => push_u64(out, oid.into()),
        },
    }
}

/// Appends a role as privileges name it (`putid`, `acl.c`).
fn push_role(oid: u32, names: Option<&dyn ObjectNames>, out: &mut Vec<u8>) {
    if oid == BOOTSTRAP_SUPERUSER {
        return out.extend_from_slice(BOOTSTRAP_SUPERUSER_NAME.as_bytes());
    }
    match names.and_then(|names| names.role_name(oid)) {
        Some(name) => push_acl_name(&name, out),
        None => push_u64(out, oid.into()),
    }
}

/// Letters of the privileges from bit 0 on (`ACL_ALL_RIGHTS_STR`).
const PRIVILEGES: &[u8] = b"arwdDxtXUCTcsAm";

/// Reads `grantee=privileges/grantor` (`aclitemin`).
pub(crate) fn parse_aclitem(text: &str) -> Result<[u8; 16], TypeError> {
    let invalid = |message: String| TypeError::new(sqlstate::INVALID_TEXT_REPRESENTATION, message);
    let (grantee, rest) = text
        .split_once('=')
        .ok_or_else(|| invalid("missing \"=\" sign".to_owned()))?;
    let (letters, grantor) = rest
        .split_once('/')
        .unwrap_or((rest, BOOTSTRAP_SUPERUSER_NAME));
    let role = |name: &str| {
        if name.bytes().all(|byte| byte.is_ascii_digit()) {
            name.parse()
                .map_err(|_| TypeError::text_out_of_range("oid", name))
        } else {
            parse_alias(OidAlias::Role, name)
        }
    };
    let grantee = if grantee.is_empty() {
        0
    } else {
        role(grantee)?
    };
    let mut privileges = 0u64;
    let mut last = 0u64;
    for letter in letters.bytes() {
        if letter == b'*' {
            privileges |= last << 32;
            continue;
        }
        let bit = PRIVILEGES
            .iter()
            .position(|&known| known == letter)
            .ok_or_else(|| {
                invalid(format!(
                    "invalid mode character: must be one of \"{}\"",
                    String::from_utf8_lossy(PRIVILEGES)
                ))
            })?;
        last = 1 << bit;
        privileges |= last;
    }
    let mut payload = [0; 16];
    payload[..4].copy_from_slice(&grantee.to_le_bytes());
    payload[4..8].copy_from_slice(&role(grantor)?.to_le_bytes());
    payload[8..].copy_from_slice(&privileges.to_le_bytes());
    Ok(payload)
}

/// Appends `grantee=privileges/grantor` (`aclitemout`).
pub(crate) fn push_aclitem(payload: &[u8; 16], names: Option<&dyn ObjectNames>, out: &mut Vec<u8>) {
    let [e0, e1, e2, e3, r0, r1, r2, r3, privileges @ ..] = *payload;
    let grantee = u32::from_le_bytes([e0, e1, e2, e3]);
    let privileges = u64::from_le_bytes(privileges);
    if grantee != 0 {
        push_role(grantee, names, out);
    }
    out.push(b'=');
    for (bit, &letter) in PRIVILEGES.iter().enumerate() {
        if privileges & (1 << bit) != 0 {
            out.push(letter);
            if privileges & (1 << (bit + 32)) != 0 {
                out.push(b'*');
            }
        }
    }
    out.push(b'/');
    push_role(u32::from_le_bytes([r0, r1, r2, r3]), names, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acl_items_both_ways() {
        for text in [
            "postgres=arwdDxtm/postgres",
            "=r/postgres",
            "16384=r*w/postgres",
        ] {
            let mut out = Vec::new();
            push_aclitem(&parse_aclitem(text).unwrap(), None, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    #[test]
    fn tids_and_lsns() {
        let mut out = Vec::new();
        push_tid(parse_tid("(65537,9)").unwrap(), &mut out);
        push_lsn(parse_lsn("16/B374D848").unwrap(), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "(65537,9)16/B374D848");
        assert!(parse_tid("(1,70000)").is_err());
        assert!(parse_lsn("16B374D848").is_err());
    }
}
