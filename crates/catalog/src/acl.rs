//! Privilege lists: the payload of `aclitem[]` from its text form.
//!
//! Format: `utils/acl.h`. An `aclitem` is 16 bytes: grantee, grantor, and 64 bits of privileges,
//! the upper half for those with grant option. Roles are found among those that `init` creates.

use std::collections::HashMap;
use std::sync::LazyLock;

use trunkline_pgformat::Oid;
use trunkline_types::oids::ACLITEM;

use crate::copy_text::BuiltInFile;
use crate::field::array_header;

pub(crate) const ROLES: BuiltInFile = BuiltInFile {
    name: "rows/pg_authid.tsv",
    text: include_str!("../bootstrap/rows/pg_authid.tsv"),
};

/// Letters of the privileges, the lowest bit first (`ACL_ALL_RIGHTS_STR`).
const PRIVILEGE_LETTERS: &str = "arwdDxtXUCTcsAm";

static ROLE_OIDS: LazyLock<HashMap<String, Oid>> = LazyLock::new(|| {
    ROLES
        .records()
        .filter_map(|(_, fields)| {
            let oid = fields.first()?.as_ref()?.parse().ok()?;
            Some((fields.get(1)?.clone()?, Oid(oid)))
        })
        .collect()
});

/// The payload of an `aclitem[]` such as `{=U/postgres,postgres=UC/postgres}`; role names are
/// plain identifiers of roles that `init` creates, an empty grantee is PUBLIC.
pub(crate) fn acl_payload(text: &str) -> Option<Vec<u8>> {
    let list = text.strip_prefix('{')?.strip_suffix('}')?;
    let items: Vec<&str> = list.split(',').filter(|item| !item.is_empty()).collect();
    let mut payload = array_header(ACLITEM, items.len());
    for item in items {
        let (grantee, rest) = item.split_once('=')?;
        let (letters, grantor) = rest.split_once('/')?;
        let grantee = if grantee.is_empty() {
            Oid::INVALID
        } else {
            *ROLE_OIDS.get(grantee)?
        };
        let grantor = *ROLE_OIDS.get(grantor)?;
        payload.extend_from_slice(&grantee.0.to_le_bytes());
        payload.extend_from_slice(&grantor.0.to_le_bytes());
        payload.extend_from_slice(&privileges(letters)?.to_le_bytes());
    }
    Some(payload)
}

fn privileges(letters: &str) -> Option<u64> {
    let mut bits = 0;
    let mut last = None;
    for letter in letters.chars() {
        if letter == '*' {
            bits |= 1u64 << (last? + 32);
            last = None;
        } else {
            let bit = PRIVILEGE_LETTERS.find(letter)?;
            bits |= 1u64 << bit;
            last = Some(bit);
        }
    }
    Some(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
            .collect()
    }

    #[test]
    fn payload_is_what_postgres_stores() {
        // nspacl of pg_catalog and of public on a page of PostgreSQL 18, after the varlena header.
        let pg_catalog = "01000000000000000904000002000000010000000a0000000a00000000030000\
                          00000000000000000a0000000001000000000000";
        assert_eq!(
            acl_payload("{postgres=UC/postgres,=U/postgres}"),
            Some(unhex(pg_catalog))
        );
        let public = "010000000000000009040000020000000100000\
                      01b1800001b1800000003000000000000000000001b1800000001000000000000";
        assert_eq!(
            acl_payload("{pg_database_owner=UC/pg_database_owner,=U/pg_database_owner}"),
            Some(unhex(public))
        );
    }

    #[test]
    fn unknown_roles_and_privileges_are_refused() {
        assert_eq!(acl_payload("{nobody=U/postgres}"), None);
        assert_eq!(acl_payload("{postgres=?/postgres}"), None);
        assert_eq!(acl_payload("{postgres=*/postgres}"), None);
        assert_eq!(acl_payload("postgres=U/postgres"), None);
        assert_eq!(privileges("r*w"), Some(0b110 | 1 << 33));
    }
}
