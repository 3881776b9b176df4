//! A column's type, resolved once, so that no value is looked up by name or OID.

use trunkline_pgformat::Oid;

use crate::error::TypeError;
use crate::oids;
use crate::system::OidAlias;
use crate::tuple_desc::unknown_type;
use crate::type_info::{TypeInfo, format_type, type_info};

/// Which family of forms a type's values have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TypeKind {
    /// `boolean`
    Bool,
    /// `smallint`
    Int2,
    /// `integer`
    Int4,
    /// `bigint`
    Int8,
    /// `real`
    Float4,
    /// `double precision`
    Float8,
    /// `numeric`
    Numeric,
    /// `text`
    Text,
    /// `character varying`
    Varchar,
    /// `character`
    Bpchar,
    /// `bytea`
    Bytea,
    /// `date`
    Date,
    /// `timestamp without time zone`
    Timestamp,
    /// `timestamp with time zone`
    Timestamptz,
    /// `uuid`
    Uuid,
    /// `name`
    Name,
    /// `"char"`
    Char,
    /// `oid`
    Oid,
    /// `xid`
    Xid,
    /// `cid`
    Cid,
    /// `xid8`
    Xid8,
    /// `tid`
    Tid,
    /// `pg_lsn`
    PgLsn,
    /// `regproc` and its like
    Alias(OidAlias),
    /// `int2vector`
    Int2Vector,
    /// `oidvector`
    OidVector,
    /// `aclitem`
    AclItem,
    /// Any array; the element type has the array's modifier
    Array,
    /// `pg_node_tree`: text that cannot be put in
    PgNodeTree,
    /// `void`
    Void,
    /// `cstring` and `unknown`: text
    Cstring,
    /// A type whose values can be stored but have no forms here
    Opaque,
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
    /// 42704 if the type is unknown.
    pub fn new(oid: Oid, typmod: i32) -> Result<ColumnType, TypeError> {
        let info = type_info(oid).ok_or_else(|| unknown_type(oid))?;
        Ok(ColumnType {
            info,
            typmod,
            kind: kind_of(info),
        })
    }

    /// The type of an array's elements.
    pub fn element(&self) -> Option<ColumnType> {
        if self.kind != TypeKind::Array {
            return None;
        }
        ColumnType::new(self.info.elem, self.typmod).ok()
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

fn kind_of(info: &TypeInfo) -> TypeKind {
    match info.oid {
        oids::BOOL => TypeKind::Bool,
        oids::INT2 => TypeKind::Int2,
        oids::INT4 => TypeKind::Int4,
        oids::INT8 => TypeKind::Int8,
        oids::FLOAT4 => TypeKind::Float4,
        oids::FLOAT8 => TypeKind::Float8,
        oids::NUMERIC => TypeKind::Numeric,
        oids::TEXT => TypeKind::Text,
        oids::VARCHAR => TypeKind::Varchar,
        oids::BPCHAR => TypeKind::Bpchar,
        oids::BYTEA => TypeKind::Bytea,
        oids::DATE => TypeKind::Date,
        oids::TIMESTAMP => TypeKind::Timestamp,
        oids::TIMESTAMPTZ => TypeKind::Timestamptz,
        oids::UUID => TypeKind::Uuid,
        oids::NAME => TypeKind::Name,
        oids::CHAR => TypeKind::Char,
        oids::OID => TypeKind::Oid,
        oids::XID => TypeKind::Xid,
        oids::CID => TypeKind::Cid,
        oids::XID8 => TypeKind::Xid8,
        oids::TID => TypeKind::Tid,
        oids::PG_LSN => TypeKind::PgLsn,
        oids::REGPROC => TypeKind::Alias(OidAlias::Proc),
        oids::REGCLASS => TypeKind::Alias(OidAlias::Class),
        oids::REGTYPE => TypeKind::Alias(OidAlias::Type),
        oids::REGNAMESPACE => TypeKind::Alias(OidAlias::Namespace),
        oids::REGROLE => TypeKind::Alias(OidAlias::Role),
        oids::INT2VECTOR => TypeKind::Int2Vector,
        oids::OIDVECTOR => TypeKind::OidVector,
        oids::ACLITEM => TypeKind::AclItem,
        oids::ANYARRAY => TypeKind::Array,
        oids::PG_NODE_TREE => TypeKind::PgNodeTree,
        oids::VOID => TypeKind::Void,
        oids::CSTRING | oids::UNKNOWN => TypeKind::Cstring,
        _ if info.is_array() => TypeKind::Array,
        _ => TypeKind::Opaque,
    }
}
