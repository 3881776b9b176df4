//! The Rust types of system tables' columns, and their payloads.
//!
//! A payload is what `trunkline-types` calls a datum: fixed-length types in their on-disk bytes,
//! the others without their varlena header; NULL is `None`.

use std::fmt;
use std::ops::Deref;

use trunkline_pgformat::{Oid, Xid};
use trunkline_types::oids as types;

use crate::name::{NAMEDATALEN, clip_identifier};

/// A row as payloads, one per column.
pub type RowValues = Vec<Option<Vec<u8>>>;

/// A column's value as a Rust type.
pub trait CatalogField: Sized {
    /// The types of the columns that can be held in this Rust type.
    const TYPES: &'static [Oid];

    /// The payload; `None` is NULL.
    fn encode(&self) -> Option<Vec<u8>>;

    /// The value of a payload, or what is wrong with it.
    ///
    /// # Errors
    /// A phrase that continues "column ...".
    fn decode(payload: Option<&[u8]>) -> Result<Self, &'static str>;
}

fn fixed<const N: usize>(payload: Option<&[u8]>) -> Result<[u8; N], &'static str> {
    let payload = payload.ok_or("is null")?;
    payload.try_into().map_err(|_| "has the wrong length")
}

fn utf8(payload: &[u8]) -> Result<&str, &'static str> {
    std::str::from_utf8(payload).map_err(|_| "is not valid UTF-8")
}

macro_rules! integer_field {
    ($($type:ty => [$($oid:expr),*];)*) => { $(
        impl CatalogField for $type {
            const TYPES: &'static [Oid] = &[$($oid),*];

            fn encode(&self) -> Option<Vec<u8>> {
                Some(self.to_le_bytes().to_vec())
            }

            fn decode(payload: Option<&[u8]>) -> Result<Self, &'static str> {
                Ok(<$type>::from_le_bytes(fixed(payload)?))
            }
        }
    )* };
}

integer_field! {
    i16 => [types::INT2];
    i32 => [types::INT4];
    f32 => [types::FLOAT4];
}

impl CatalogField for Oid {
    const TYPES: &'static [Oid] = &[types::OID, types::REGPROC];

    fn encode(&self) -> Option<Vec<u8>> {
        Some(self.0.to_le_bytes().to_vec())
    }

    fn decode(payload: Option<&[u8]>) -> Result<Self, &'static str> {
        Ok(Oid(u32::from_le_bytes(fixed(payload)?)))
    }
}

impl CatalogField for Xid {
    const TYPES: &'static [Oid] = &[types::XID];

    fn encode(&self) -> Option<Vec<u8>> {
        Some(self.0.to_le_bytes().to_vec())
    }

    fn decode(payload: Option<&[u8]>) -> Result<Self, &'static str> {
        Ok(Xid(u32::from_le_bytes(fixed(payload)?)))
    }
}

impl CatalogField for bool {
    const TYPES: &'static [Oid] = &[types::BOOL];

    fn encode(&self) -> Option<Vec<u8>> {
        Some(vec![u8::from(*self)])
    }

    fn decode(payload: Option<&[u8]>) -> Result<Self, &'static str> {
        match fixed(payload)? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err("is not a boolean"),
        }
    }
}

/// A value of the one-byte type `"char"`; the zero byte prints as an empty string.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Char(pub u8);

impl fmt::Debug for Char {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", char::from(self.0))
    }
}

impl CatalogField for Char {
    const TYPES: &'static [Oid] = &[types::CHAR];

    fn encode(&self) -> Option<Vec<u8>> {
        Some(vec![self.0])
    }

    fn decode(payload: Option<&[u8]>) -> Result<Self, &'static str> {
        Ok(Char(fixed::<1>(payload)?[0]))
    }
}

macro_rules! string_newtype {
    ($type:ident) => {
        impl Deref for $type {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $type {
            fn from(text: &str) -> Self {
                $type(text.to_owned())
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

/// A value of type `name`: at most 63 bytes, stored zero-padded.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Name(pub String);

string_newtype!(Name);

impl CatalogField for Name {
    const TYPES: &'static [Oid] = &[types::NAME];

    /// Longer names are clipped as PostgreSQL's `namestrcpy` clips them.
    fn encode(&self) -> Option<Vec<u8>> {
        let mut payload = clip_identifier(&self.0).as_bytes().to_vec();
        payload.resize(NAMEDATALEN, 0);
        Some(payload)
    }

    fn decode(payload: Option<&[u8]>) -> Result<Self, &'static str> {
        let payload: [u8; NAMEDATALEN] = fixed(payload)?;
        let end = payload
            .iter()
            .position(|&byte| byte == 0)
            .ok_or("is not terminated")?;
        Ok(Name(utf8(&payload[..end])?.to_owned()))
    }
}

/// A value of type `text` or `pg_node_tree`.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Text(pub String);

string_newtype!(Text);

impl CatalogField for Text {
    const TYPES: &'static [Oid] = &[types::TEXT, types::PG_NODE_TREE];

    fn encode(&self) -> Option<Vec<u8>> {
        Some(self.0.as_bytes().to_vec())
    }

    fn decode(payload: Option<&[u8]>) -> Result<Self, &'static str> {
        Ok(Text(utf8(payload.ok_or("is null")?)?.to_owned()))
    }
}

/// A one-dimensional `int2[]` without NULLs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Int2Array(pub Vec<i16>);

impl CatalogField for Int2Array {
    const TYPES: &'static [Oid] = &[types::INT2_ARRAY];

    fn encode(&self) -> Option<Vec<u8>> {
        let mut payload = array_header(types::INT2, self.0.len());
        for element in &self.0 {
            payload.extend_from_slice(&element.to_le_bytes());
        }
        Some(payload)
    }

    fn decode(payload: Option<&[u8]>) -> Result<Self, &'static str> {
        let payload = payload.ok_or("is null")?;
        let word = |index: usize| {
            let bytes = payload
                .get(index * 4..index * 4 + 4)
                .ok_or("is too short an array")?;
            Ok(u32::from_le_bytes(
                bytes.try_into().map_err(|_| "is too short an array")?,
            ))
        };
        if word(0)? == 0 {
            return Ok(Int2Array(Vec::new()));
        }
        if word(0)? != 1 || word(1)? != 0 || word(2)? != types::INT2.0 {
            return Err("is not a plain one-dimensional int2 array");
        }
        let elements = payload.get(20..).ok_or("is too short an array")?;
        if elements.len() != word(3)? as usize * 2 {
            return Err("is an array of the wrong length");
        }
        let elements = elements
            .chunks_exact(2)
            .map(|pair| i16::from_le_bytes([pair[0], pair[1]]));
        Ok(Int2Array(elements.collect()))
    }
}

/// What precedes the elements of a one-dimensional array without NULLs (`utils/array.h`), the
/// varlena header not counted: dimensions, no bitmap, element type, length, lower bound.
pub(crate) fn array_header(element: Oid, len: usize) -> Vec<u8> {
    let words = if len == 0 {
        vec![0, 0, element.0]
    } else {
        vec![1, 0, element.0, len as u32, 1]
    };
    words.into_iter().flat_map(u32::to_le_bytes).collect()
}

/// A payload that is passed on unread: arrays and privilege lists.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Payload(pub Vec<u8>);

impl CatalogField for Payload {
    const TYPES: &'static [Oid] = &[
        types::TEXT_ARRAY,
        types::OID_ARRAY,
        types::INT2_ARRAY,
        types::ACLITEM_ARRAY,
        types::ANYARRAY,
    ];

    fn encode(&self) -> Option<Vec<u8>> {
        Some(self.0.clone())
    }

    fn decode(payload: Option<&[u8]>) -> Result<Self, &'static str> {
        Ok(Payload(payload.ok_or("is null")?.to_vec()))
    }
}

impl<T: CatalogField> CatalogField for Option<T> {
    const TYPES: &'static [Oid] = T::TYPES;

    fn encode(&self) -> Option<Vec<u8>> {
        self.as_ref().and_then(CatalogField::encode)
    }

    fn decode(payload: Option<&[u8]>) -> Result<Self, &'static str> {
        match payload {
            None => Ok(None),
            some => T::decode(some).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<T: CatalogField + PartialEq + fmt::Debug>(value: T) {
        let payload = value.encode();
        assert_eq!(T::decode(payload.as_deref()), Ok(value));
    }

    #[test]
    fn values_round_trip() {
        round_trip(Oid(4_000_000_000));
        round_trip(Xid(3));
        round_trip(true);
        round_trip(-7i16);
        round_trip(70_000i32);
        round_trip(-1f32);
        round_trip(Char(b'r'));
        round_trip(Name("pg_class".into()));
        round_trip(Text(String::new()));
        round_trip(Option::<Text>::None);
        round_trip(Int2Array(vec![]));
        round_trip(Int2Array(vec![1, -2, 3]));
    }

    #[test]
    fn int2_array_is_laid_out_as_postgres_does() {
        // conkey of a one-column constraint in PostgreSQL 18, without the varlena header.
        let expected = [
            1, 0, 0, 0, 0, 0, 0, 0, 21, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 3, 0,
        ];
        assert_eq!(Int2Array(vec![3]).encode().as_deref(), Some(&expected[..]));
    }

    #[test]
    fn damaged_payloads_are_refused() {
        assert!(Oid::decode(None).is_err());
        assert!(Oid::decode(Some(&[1, 2, 3])).is_err());
        assert!(bool::decode(Some(&[2])).is_err());
        assert!(Name::decode(Some(&[b'a'; NAMEDATALEN])).is_err());
        assert!(Text::decode(Some(&[0xff])).is_err());
        assert!(Int2Array::decode(Some(&[])).is_err());
        let mut array = Int2Array(vec![1, 2]).encode().unwrap();
        array[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(Int2Array::decode(Some(&array)).is_err());
    }
}
