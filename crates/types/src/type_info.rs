//! The facts about each type: length, alignment, storage, names (PostgreSQL's `pg_type`).

use std::fmt::Write as _;

use trunkline_pgformat::Oid;

use crate::error::{TypeError, sqlstate};
use crate::oids;

/// How a type's values are aligned within a tuple (`pg_type.typalign`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Align {
    /// No alignment (`c`).
    Char,
    /// Two bytes (`s`).
    Short,
    /// Four bytes (`i`).
    Int,
    /// Eight bytes (`d`).
    Double,
}

impl Align {
    /// The alignment in bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Align::Char => 1,
            Align::Short => 2,
            Align::Int => 4,
            Align::Double => 8,
        }
    }

    /// `offset` rounded up to this alignment.
    pub const fn up(self, offset: usize) -> usize {
        let mask = self.bytes() - 1;
        (offset + mask) & !mask
    }

    /// The letter that `pg_type.typalign` and `pg_attribute.attalign` hold.
    pub const fn code(self) -> char {
        match self {
            Align::Char => 'c',
            Align::Short => 's',
            Align::Int => 'i',
            Align::Double => 'd',
        }
    }

    /// The alignment that `pg_type.typalign`'s letter means.
    pub const fn from_code(code: char) -> Option<Align> {
        match code {
            'c' => Some(Align::Char),
            's' => Some(Align::Short),
            'i' => Some(Align::Int),
            'd' => Some(Align::Double),
            _ => None,
        }
    }
}

/// One row of the type table: what `pg_type` says about a type.
#[derive(Debug, PartialEq, Eq)]
pub struct TypeInfo {
    /// `pg_type.oid`
    pub oid: Oid,
    /// `pg_type.typname`, e.g. `int4`
    pub name: &'static str,
    /// The name that SQL and messages use, e.g. `integer` (`format_type`).
    pub sql_name: &'static str,
    /// `typlen`: bytes, -1 for a varlena, -2 for a C string
    pub len: i16,
    /// `typalign`
    pub align: Align,
    /// `typbyval`
    pub by_val: bool,
    /// `typstorage`: `p`lain, e`x`tended, `m`ain, `e`xternal
    pub storage: char,
    /// `typcategory`
    pub category: char,
    /// `typispreferred`
    pub is_preferred: bool,
    /// `typelem`: element type of arrays, vectors and `name`; invalid for others
    pub elem: Oid,
    /// `typarray`: the array type over this type; invalid if there is none
    pub array: Oid,
}

impl TypeInfo {
    /// Whether this is a true array type (`integer[]`), not a vector type.
    pub fn is_array(&self) -> bool {
        self.category == 'A' && self.array == Oid::INVALID
    }

    /// Whether values carry a varlena header within a tuple.
    pub const fn is_varlena(&self) -> bool {
        self.len == -1
    }

    /// Whether this is a pseudo-type, which no column may have.
    pub fn is_pseudo(&self) -> bool {
        matches!(
            self.oid,
            oids::CSTRING | oids::VOID | oids::UNKNOWN | oids::ANYARRAY
        )
    }
}

/// The type with this OID.
pub fn type_info(oid: Oid) -> Option<&'static TypeInfo> {
    TYPES
        .binary_search_by_key(&oid, |info| info.oid)
        .ok()
        .and_then(|index| TYPES.get(index))
}

/// The type with this `typname` (`int4`, `_text`).
pub fn type_by_name(name: &str) -> Option<&'static TypeInfo> {
    TYPES.iter().find(|info| info.name == name)
}

/// Every known type, by OID.
pub fn all_types() -> &'static [TypeInfo] {
    &TYPES
}

/// The type that SQL's name means, in any letter case and spacing: what `CREATE TABLE` may write
/// without a modifier (`double precision`, `INT`, `timestamp with time zone`, `text[]`, `_int4`).
///
/// `char` means `bpchar` (with modifier 1, which the caller supplies); `"char"` the one-byte type.
pub fn type_by_sql_name(name: &str) -> Option<&'static TypeInfo> {
    let trimmed = name.trim();
    if let Some(element) = trimmed.strip_suffix("[]") {
        let element = type_by_sql_name(element)?;
        return type_info(element.array);
    }
    let folded: Vec<String> = trimmed
        .split_ascii_whitespace()
        .map(str::to_ascii_lowercase)
        .collect();
    let folded = folded.join(" ");
    let name = folded.strip_prefix("pg_catalog.").unwrap_or(&folded);
    let canonical = match name {
        "int" | "integer" => "int4",
        "bigint" => "int8",
        "smallint" => "int2",
        "boolean" => "bool",
        "real" => "float4",
        "double precision" | "float" => "float8",
        "decimal" | "dec" => "numeric",
        "character varying" | "char varying" | "national character varying" | "nchar varying" => {
            "varchar"
        }
        "character" | "char" | "nchar" | "national character" | "national char" => "bpchar",
        "\"char\"" => "char",
        "timestamp without time zone" => "timestamp",
        "timestamp with time zone" => "timestamptz",
        other => other.trim_matches('"'),
    };
    type_by_name(canonical)
}

/// The type's SQL name with its modifier: `numeric(15,2)`, `character varying(3)`, `integer[]`
/// (`format_type` with a modifier of -1 where there is none).
pub fn format_type(oid: Oid, typmod: i32) -> String {
    let Some(info) = type_info(oid) else {
        return if oid.is_valid() {
            "???".to_owned()
        } else {
            "-".to_owned()
        };
    };
    if info.is_array() {
        return format!("{}[]", format_type(info.elem, typmod));
    }
    let mut name = String::from(info.sql_name);
    match oid {
        oids::BPCHAR if typmod < 0 => name = "bpchar".to_owned(),
        oids::TIMESTAMP if typmod >= 0 => {
            name = format!("timestamp({typmod}) without time zone");
        }
        oids::TIMESTAMPTZ if typmod >= 0 => name = format!("timestamp({typmod}) with time zone"),
        oids::BPCHAR | oids::VARCHAR if typmod > 4 => {
            let _ = write!(name, "({})", typmod - 4);
        }
        oids::NUMERIC => {
            if let Some((precision, scale)) = numeric_typmod(typmod) {
                let _ = write!(name, "({precision},{scale})");
            }
        }
        oids::BPCHAR
        | oids::VARCHAR
        | oids::TIMESTAMP
        | oids::TIMESTAMPTZ
        | oids::BOOL
        | oids::INT2
        | oids::INT4
        | oids::INT8
        | oids::FLOAT4
        | oids::FLOAT8 => {}
        // A type that knows no modifiers shows the bare number.
        _ if typmod >= 0 => {
            let _ = write!(name, "({typmod})");
        }
        _ => {}
    }
    name
}

/// Precision and scale that a numeric's type modifier holds, if it holds one (`numeric.c`).
pub const fn numeric_typmod(typmod: i32) -> Option<(i32, i32)> {
    if typmod < 4 {
        return None;
    }
    let packed = typmod - 4;
    let precision = (packed >> 16) & 0xffff;
    // The scale is an 11-bit two's complement number.
    let scale = ((packed & 0x7ff) ^ 1024) - 1024;
    Some((precision, scale))
}

/// The type modifier of `numeric(precision, scale)`.
pub const fn make_numeric_typmod(precision: i32, scale: i32) -> i32 {
    ((precision << 16) | (scale & 0x7ff)) + 4
}

/// The type modifier that the list in parentheses after a type's name means: `(15,2)`, `(3)`.
///
/// # Errors
/// 22023 for a modifier out of range, 42601 for a type that takes none.
pub fn typmod_in(oid: Oid, modifiers: &[i32]) -> Result<i32, TypeError> {
    let invalid = |message: String| Err(TypeError::new(sqlstate::INVALID_PARAMETER_VALUE, message));
    match (oid, modifiers) {
        (oids::VARCHAR | oids::BPCHAR, &[length]) => {
            let name = if oid == oids::VARCHAR {
                "varchar"
            } else {
                "char"
            };
            if length < 1 {
                return invalid(format!("length for type {name} must be at least 1"));
            }
            if length > 10_485_760 {
                return invalid(format!("length for type {name} cannot exceed 10485760"));
            }
            Ok(length + 4)
        }
        (oids::VARCHAR | oids::BPCHAR, _) => invalid("invalid type modifier".to_owned()),
        (oids::NUMERIC, &[precision]) => numeric_typmod_in(precision, 0),
        (oids::NUMERIC, &[precision, scale]) => numeric_typmod_in(precision, scale),
        (oids::NUMERIC, _) => invalid("invalid NUMERIC type modifier".to_owned()),
        (oids::TIMESTAMP | oids::TIMESTAMPTZ, &[precision]) => {
            let suffix = if oid == oids::TIMESTAMPTZ {
                " WITH TIME ZONE"
            } else {
                ""
            };
            if precision < 0 {
                return invalid(format!(
                    "TIMESTAMP({precision}){suffix} precision must not be negative"
                ));
            }
            // PostgreSQL warns and takes its maximum.
            Ok(precision.min(6))
        }
        (oids::TIMESTAMP | oids::TIMESTAMPTZ, _) => invalid("invalid type modifier".to_owned()),
        _ => {
            let name = type_info(oid).map_or("???", |info| info.name);
            Err(TypeError::new(
                "42601",
                format!("type modifier is not allowed for type \"{name}\""),
            ))
        }
    }
}

fn numeric_typmod_in(precision: i32, scale: i32) -> Result<i32, TypeError> {
    if !(1..=1000).contains(&precision) {
        return Err(TypeError::new(
            sqlstate::INVALID_PARAMETER_VALUE,
            format!("NUMERIC precision {precision} must be between 1 and 1000"),
        ));
    }
    if !(-1000..=1000).contains(&scale) {
        return Err(TypeError::new(
            sqlstate::INVALID_PARAMETER_VALUE,
            format!("NUMERIC scale {scale} must be between -1000 and 1000"),
        ));
    }
    Ok(make_numeric_typmod(precision, scale))
}

use Align::{Char, Double, Int, Short};

#[expect(
    clippy::too_many_arguments,
    reason = "a row of the table reads as pg_type's columns"
)]
const fn row(
    oid: Oid,
    name: &'static str,
    sql_name: &'static str,
    len: i16,
    align: Align,
    by_val: bool,
    storage: char,
    category: char,
    is_preferred: bool,
    elem: u32,
    array: u32,
) -> TypeInfo {
    TypeInfo {
        oid,
        name,
        sql_name,
        len,
        align,
        by_val,
        storage,
        category,
        is_preferred,
        elem: Oid(elem),
        array: Oid(array),
    }
}

/// Ordered by OID. The figures are `pg_type.dat`'s; the corpus test compares them with a
/// PostgreSQL's `pg_type`.
#[rustfmt::skip]
static TYPES: [TypeInfo; 71] = [
    row(oids::BOOL, "bool", "boolean", 1, Char, true, 'p', 'B', true, 0, 1000),
    row(oids::BYTEA, "bytea", "bytea", -1, Int, false, 'x', 'U', false, 0, 1001),
    row(oids::CHAR, "char", "\"char\"", 1, Char, true, 'p', 'Z', false, 0, 1002),
    row(oids::NAME, "name", "name", 64, Char, false, 'p', 'S', false, 18, 1003),
    row(oids::INT8, "int8", "bigint", 8, Double, true, 'p', 'N', false, 0, 1016),
    row(oids::INT2, "int2", "smallint", 2, Short, true, 'p', 'N', false, 0, 1005),
    row(oids::INT2VECTOR, "int2vector", "int2vector", -1, Int, false, 'p', 'A', false, 21, 1006),
    row(oids::INT4, "int4", "integer", 4, Int, true, 'p', 'N', false, 0, 1007),
    row(oids::REGPROC, "regproc", "regproc", 4, Int, true, 'p', 'N', false, 0, 1008),
    row(oids::TEXT, "text", "text", -1, Int, false, 'x', 'S', true, 0, 1009),
    row(oids::OID, "oid", "oid", 4, Int, true, 'p', 'N', true, 0, 1028),
    row(oids::TID, "tid", "tid", 6, Short, false, 'p', 'U', false, 0, 1010),
    row(oids::XID, "xid", "xid", 4, Int, true, 'p', 'U', false, 0, 1011),
    row(oids::CID, "cid", "cid", 4, Int, true, 'p', 'U', false, 0, 1012),
    row(oids::OIDVECTOR, "oidvector", "oidvector", -1, Int, false, 'p', 'A', false, 26, 1013),
    row(oids::PG_NODE_TREE, "pg_node_tree", "pg_node_tree", -1, Int, false, 'x', 'Z', false, 0, 0),
    row(oids::XID8_ARRAY, "_xid8", "xid8[]", -1, Double, false, 'x', 'A', false, 5069, 0),
    row(oids::FLOAT4, "float4", "real", 4, Int, true, 'p', 'N', false, 0, 1021),
    row(oids::FLOAT8, "float8", "double precision", 8, Double, true, 'p', 'N', true, 0, 1022),
    row(oids::UNKNOWN, "unknown", "unknown", -2, Char, false, 'p', 'X', false, 0, 0),
    row(oids::BOOL_ARRAY, "_bool", "boolean[]", -1, Int, false, 'x', 'A', false, 16, 0),
    row(oids::BYTEA_ARRAY, "_bytea", "bytea[]", -1, Int, false, 'x', 'A', false, 17, 0),
    row(oids::CHAR_ARRAY, "_char", "\"char\"[]", -1, Int, false, 'x', 'A', false, 18, 0),
    row(oids::NAME_ARRAY, "_name", "name[]", -1, Int, false, 'x', 'A', false, 19, 0),
    row(oids::INT2_ARRAY, "_int2", "smallint[]", -1, Int, false, 'x', 'A', false, 21, 0),
    row(oids::INT2VECTOR_ARRAY, "_int2vector", "int2vector[]", -1, Int, false, 'x', 'A', false, 22, 0),
    row(oids::INT4_ARRAY, "_int4", "integer[]", -1, Int, false, 'x', 'A', false, 23, 0),
    row(oids::REGPROC_ARRAY, "_regproc", "regproc[]", -1, Int, false, 'x', 'A', false, 24, 0),
    row(oids::TEXT_ARRAY, "_text", "text[]", -1, Int, false, 'x', 'A', false, 25, 0),
    row(oids::TID_ARRAY, "_tid", "tid[]", -1, Int, false, 'x', 'A', false, 27, 0),
    row(oids::XID_ARRAY, "_xid", "xid[]", -1, Int, false, 'x', 'A', false, 28, 0),
    row(oids::CID_ARRAY, "_cid", "cid[]", -1, Int, false, 'x', 'A', false, 29, 0),
    row(oids::OIDVECTOR_ARRAY, "_oidvector", "oidvector[]", -1, Int, false, 'x', 'A', false, 30, 0),
    row(oids::BPCHAR_ARRAY, "_bpchar", "character[]", -1, Int, false, 'x', 'A', false, 1042, 0),
    row(oids::VARCHAR_ARRAY, "_varchar", "character varying[]", -1, Int, false, 'x', 'A', false, 1043, 0),
    row(oids::INT8_ARRAY, "_int8", "bigint[]", -1, Double, false, 'x', 'A', false, 20, 0),
    row(oids::FLOAT4_ARRAY, "_float4", "real[]", -1, Int, false, 'x', 'A', false, 700, 0),
    row(oids::FLOAT8_ARRAY, "_float8", "double precision[]", -1, Double, false, 'x', 'A', false, 701, 0),
    row(oids::OID_ARRAY, "_oid", "oid[]", -1, Int, false, 'x', 'A', false, 26, 0),
    row(oids::ACLITEM, "aclitem", "aclitem", 16, Double, false, 'p', 'U', false, 0, 1034),
    row(oids::ACLITEM_ARRAY, "_aclitem", "aclitem[]", -1, Double, false, 'x', 'A', false, 1033, 0),
    row(oids::BPCHAR, "bpchar", "character", -1, Int, false, 'x', 'S', false, 0, 1014),
    row(oids::VARCHAR, "varchar", "character varying", -1, Int, false, 'x', 'S', false, 0, 1015),
    row(oids::DATE, "date", "date", 4, Int, true, 'p', 'D', false, 0, 1182),
    row(oids::TIMESTAMP, "timestamp", "timestamp without time zone", 8, Double, true, 'p', 'D', false, 0, 1115),
    row(oids::TIMESTAMP_ARRAY, "_timestamp", "timestamp without time zone[]", -1, Double, false, 'x', 'A', false, 1114, 0),
    row(oids::DATE_ARRAY, "_date", "date[]", -1, Int, false, 'x', 'A', false, 1082, 0),
    row(oids::TIMESTAMPTZ, "timestamptz", "timestamp with time zone", 8, Double, true, 'p', 'D', true, 0, 1185),
    row(oids::TIMESTAMPTZ_ARRAY, "_timestamptz", "timestamp with time zone[]", -1, Double, false, 'x', 'A', false, 1184, 0),
    row(oids::NUMERIC_ARRAY, "_numeric", "numeric[]", -1, Int, false, 'x', 'A', false, 1700, 0),
    row(oids::CSTRING_ARRAY, "_cstring", "cstring[]", -1, Int, false, 'x', 'A', false, 2275, 0),
    row(oids::NUMERIC, "numeric", "numeric", -1, Int, false, 'm', 'N', false, 0, 1231),
    row(oids::REGCLASS, "regclass", "regclass", 4, Int, true, 'p', 'N', false, 0, 2210),
    row(oids::REGTYPE, "regtype", "regtype", 4, Int, true, 'p', 'N', false, 0, 2211),
    row(oids::REGCLASS_ARRAY, "_regclass", "regclass[]", -1, Int, false, 'x', 'A', false, 2205, 0),
    row(oids::REGTYPE_ARRAY, "_regtype", "regtype[]", -1, Int, false, 'x', 'A', false, 2206, 0),
    row(oids::CSTRING, "cstring", "cstring", -2, Char, false, 'p', 'P', false, 0, 1263),
    row(oids::ANYARRAY, "anyarray", "anyarray", -1, Double, false, 'x', 'P', false, 0, 0),
    row(oids::VOID, "void", "void", 4, Int, true, 'p', 'P', false, 0, 0),
    row(oids::UUID, "uuid", "uuid", 16, Char, false, 'p', 'U', false, 0, 2951),
    row(oids::UUID_ARRAY, "_uuid", "uuid[]", -1, Int, false, 'x', 'A', false, 2950, 0),
    row(oids::PG_LSN, "pg_lsn", "pg_lsn", 8, Double, true, 'p', 'U', false, 0, 3221),
    row(oids::PG_LSN_ARRAY, "_pg_lsn", "pg_lsn[]", -1, Double, false, 'x', 'A', false, 3220, 0),
    row(oids::PG_NDISTINCT, "pg_ndistinct", "pg_ndistinct", -1, Int, false, 'x', 'Z', false, 0, 0),
    row(oids::PG_DEPENDENCIES, "pg_dependencies", "pg_dependencies", -1, Int, false, 'x', 'Z', false, 0, 0),
    row(oids::REGNAMESPACE, "regnamespace", "regnamespace", 4, Int, true, 'p', 'N', false, 0, 4090),
    row(oids::REGNAMESPACE_ARRAY, "_regnamespace", "regnamespace[]", -1, Int, false, 'x', 'A', false, 4089, 0),
    row(oids::REGROLE, "regrole", "regrole", 4, Int, true, 'p', 'N', false, 0, 4097),
    row(oids::REGROLE_ARRAY, "_regrole", "regrole[]", -1, Int, false, 'x', 'A', false, 4096, 0),
    row(oids::PG_MCV_LIST, "pg_mcv_list", "pg_mcv_list", -1, Int, false, 'x', 'Z', false, 0, 0),
    row(oids::XID8, "xid8", "xid8", 8, Double, true, 'p', 'U', false, 0, 271),
];
