//! A column's type, resolved once, so that no value is looked up by name or OID.

use trunkline_pgformat::Oid;

use crate::error::{TypeError, sqlstate};
use crate::oids;
use crate::tuple_desc::unknown_type;
use crate::type_info::{TypeInfo, format_type, type_info};

/// Which family of forms a type's values have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TypeKind {
    /// `smallint`
    Int2,
    /// `integer`
    Int4,
    /// `bigint`
    Int8,
    /// `text`
    Text,
    /// `character varying`
    Varchar,
    /// `character`
    Bpchar,
}

/// A type with its modifier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ColumnType {
    info: &'static TypeInfo,
    typmod: i32,
    kind: TypeKind,
}

impl ColumnType {
    /// The type with this OID and modifier (-1 for none).
    ///
    /// # Errors
    /// 42704 if the type is unknown, 0A000 if it has no text form here.
    pub fn new(oid: Oid, typmod: i32) -> Result<ColumnType, TypeError> {
        let info = type_info(oid).ok_or_else(|| unknown_type(oid))?;
        let kind = kind_of(oid).ok_or_else(|| {
            TypeError::new(
                sqlstate::FEATURE_NOT_SUPPORTED,
                format!("type {} is not supported", format_type(oid, typmod)),
            )
        })?;
        Ok(ColumnType { info, typmod, kind })
    }

    /// The type's OID.
    pub fn oid(&self) -> Oid {
        self.info.oid
    }

    /// The modifier, -1 for none.
    pub fn typmod(&self) -> i32 {
        self.typmod
    }

    /// The family of forms.
    pub fn kind(&self) -> TypeKind {
        self.kind
    }

    /// What `pg_type` says about the type.
    pub fn info(&self) -> &'static TypeInfo {
        self.info
    }

    /// The type's SQL name with its modifier.
    pub fn sql_name(&self) -> String {
        format_type(self.oid(), self.typmod)
    }
}

fn kind_of(oid: Oid) -> Option<TypeKind> {
    Some(match oid {
        oids::INT2 => TypeKind::Int2,
        oids::INT4 => TypeKind::Int4,
        oids::INT8 => TypeKind::Int8,
        oids::TEXT => TypeKind::Text,
        oids::VARCHAR => TypeKind::Varchar,
        oids::BPCHAR => TypeKind::Bpchar,
        _ => return None,
    })
}
