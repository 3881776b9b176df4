//! PostgreSQL's types within the query layer: how a type travels through Arrow, which casts
//! PostgreSQL makes by itself (`pg_cast.dat`, `parse_coerce.c`), and what SQL's type names mean.

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, CharacterLength, DataType as SqlType, ExactNumberInfo, ObjectName,
    ObjectNamePart, TimezoneInfo,
};
use trunkline_pgformat::Oid;
use trunkline_types::{format_type, numeric_typmod, oids, type_by_name, type_info, typmod_in};

use super::decimal::DECIMAL_MAX_PRECISION;
use super::error::{QueryError, sqlstate};

/// A type and its modifier (-1: none), as `pg_attribute` would hold them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PgType {
    /// `pg_type.oid`
    pub oid: Oid,
    /// The type modifier.
    pub typmod: i32,
}

impl PgType {
    /// A type without modifier.
    pub const fn new(oid: Oid) -> Self {
        Self { oid, typmod: -1 }
    }

    /// A type with a modifier.
    pub const fn with_typmod(oid: Oid, typmod: i32) -> Self {
        Self { oid, typmod }
    }

    /// The name that messages use: `integer`, never with its modifier.
    pub fn name(self) -> String {
        sql_type_name(self.oid)
    }

    /// `pg_type.typlen`.
    pub fn type_len(self) -> i16 {
        type_info(self.oid).map_or(-1, |info| info.len)
    }
}

/// `format_type` without a modifier; `character` for bpchar, as messages say.
pub fn sql_type_name(oid: Oid) -> String {
    match oid {
        oids::BPCHAR => "character".to_owned(),
        oids::UNKNOWN => "unknown".to_owned(),
        _ => format_type(oid, -1),
    }
}

/// Microsecond timestamps count from 2000-01-01 as PostgreSQL's do: Unix time would not hold
/// PostgreSQL's latest ones.
pub(crate) const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// How values of a type travel in batches.
pub fn arrow_type(ty: PgType) -> DataType {
    match ty.oid {
        oids::BOOL => DataType::Boolean,
        oids::INT2 => DataType::Int16,
        oids::INT4 => DataType::Int32,
        oids::INT8 => DataType::Int64,
        oids::FLOAT4 => DataType::Float32,
        oids::FLOAT8 => DataType::Float64,
        oids::OID
        | oids::XID
        | oids::CID
        | oids::REGPROC
        | oids::REGCLASS
        | oids::REGTYPE
        | oids::REGNAMESPACE
        | oids::REGROLE => DataType::UInt32,
        oids::XID8 | oids::PG_LSN => DataType::UInt64,
        oids::DATE => DataType::Date32,
        oids::TIMESTAMP => TIMESTAMP,
        oids::TIMESTAMPTZ => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        oids::UUID => DataType::FixedSizeBinary(16),
        oids::NUMERIC => match decimal_shape(ty.typmod) {
            Some((precision, scale)) => DataType::Decimal128(precision, scale),
            None => DataType::LargeBinary,
        },
        oids::TEXT
        | oids::VARCHAR
        | oids::BPCHAR
        | oids::NAME
        | oids::CHAR
        | oids::UNKNOWN
        | oids::CSTRING
        | oids::PG_NODE_TREE
        | oids::VOID => DataType::Utf8,
        // bytea, and the payload of every type that queries can only carry along.
        _ => DataType::Binary,
    }
}

/// Precision and scale of the `Decimal128` that carries a numeric of this modifier, if any.
pub fn decimal_shape(typmod: i32) -> Option<(u8, i8)> {
    let (precision, scale) = numeric_typmod(typmod)?;
    let fits = (1..=i32::from(DECIMAL_MAX_PRECISION)).contains(&precision)
        && (0..=precision).contains(&scale);
    fits.then_some((precision as u8, scale as i8))
}

/// `typcategory`, as far as coercion asks.
pub(crate) fn category(oid: Oid) -> char {
    match oid {
        oids::UNKNOWN => 'X',
        _ => type_info(oid).map_or('U', |info| info.category),
    }
}

/// `typispreferred`.
pub(crate) fn is_preferred(oid: Oid) -> bool {
    type_info(oid).is_some_and(|info| info.is_preferred)
}

/// Who asks for a cast (`CoercionContext`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CoercionContext {
    /// An expression that needs another type.
    Implicit,
    /// A value stored into a column.
    Assignment,
    /// A cast that the user wrote.
    Explicit,
}

/// Whether one type's values may become another's in this context
/// (`find_coercion_pathway`).
pub(crate) fn can_coerce(from: Oid, to: Oid, context: CoercionContext) -> bool {
    if from == to || from == oids::UNKNOWN {
        return true;
    }
    if let Some(needed) = cast_context(from, to) {
        return context >= needed;
    }
    // Conversions through the text forms: automatic to string types on assignment, from
    // string types only on request.
    if category(to) == 'S' {
        return context >= CoercionContext::Assignment;
    }
    category(from) == 'S' && context == CoercionContext::Explicit
}

fn is_text_like(oid: Oid) -> bool {
    matches!(oid, oids::TEXT | oids::VARCHAR | oids::BPCHAR)
}

/// The context that `pg_cast` requires of this pair, if it has the pair.
fn cast_context(from: Oid, to: Oid) -> Option<CoercionContext> {
    use CoercionContext::{Assignment, Explicit, Implicit};
    if is_text_like(from) && is_text_like(to) {
        return Some(Implicit);
    }
    let reg = |oid| {
        matches!(
            oid,
            oids::REGPROC | oids::REGCLASS | oids::REGTYPE | oids::REGNAMESPACE | oids::REGROLE
        )
    };
    Some(match (from, to) {
        (oids::INT2, oids::INT4 | oids::INT8 | oids::NUMERIC | oids::FLOAT4 | oids::FLOAT8)
        | (oids::INT4, oids::INT8 | oids::NUMERIC | oids::FLOAT4 | oids::FLOAT8)
        | (oids::INT8, oids::NUMERIC | oids::FLOAT4 | oids::FLOAT8)
        | (oids::NUMERIC, oids::FLOAT4 | oids::FLOAT8)
        | (oids::FLOAT4, oids::FLOAT8)
        | (oids::INT2 | oids::INT4 | oids::INT8, oids::OID)
        | (oids::NAME | oids::CHAR, oids::TEXT)
        | (oids::DATE, oids::TIMESTAMP | oids::TIMESTAMPTZ)
        | (oids::TIMESTAMP, oids::TIMESTAMPTZ)
        | (oids::PG_NODE_TREE, oids::TEXT)
        | (oids::INT2VECTOR, oids::INT2_ARRAY)
        | (oids::OIDVECTOR, oids::OID_ARRAY) => Implicit,
        (oids::INT4, oids::INT2)
        | (oids::INT8, oids::INT2 | oids::INT4)
        | (oids::NUMERIC, oids::INT2 | oids::INT4 | oids::INT8)
        | (oids::FLOAT4 | oids::FLOAT8, oids::INT2 | oids::INT4 | oids::INT8 | oids::NUMERIC)
        | (oids::FLOAT8, oids::FLOAT4)
        | (oids::OID, oids::INT4 | oids::INT8)
        | (oids::TEXT | oids::VARCHAR | oids::BPCHAR, oids::CHAR)
        | (oids::CHAR, oids::VARCHAR | oids::BPCHAR)
        | (oids::NAME, oids::VARCHAR | oids::BPCHAR)
        | (oids::TIMESTAMP, oids::DATE)
        | (oids::TIMESTAMPTZ, oids::DATE | oids::TIMESTAMP)
        | (oids::BOOL, oids::TEXT | oids::VARCHAR | oids::BPCHAR) => Assignment,
        (oids::TEXT | oids::VARCHAR | oids::BPCHAR, oids::NAME) => Implicit,
        (oids::BOOL, oids::INT4) | (oids::INT4, oids::BOOL | oids::CHAR) => Explicit,
        (oids::CHAR, oids::INT4) => Explicit,
        (oids::OID, to) if reg(to) => Implicit,
        (from, oids::OID) if reg(from) => Implicit,
        (oids::INT2 | oids::INT4 | oids::INT8, to) if reg(to) => Implicit,
        (from, oids::INT4 | oids::INT8) if reg(from) => Assignment,
        (oids::TEXT | oids::VARCHAR, oids::REGCLASS) => Implicit,
        _ => return None,
    })
}

fn modifiers(values: &[Option<i64>]) -> Result<Vec<i32>, QueryError> {
    values
        .iter()
        .flatten()
        .map(|value| {
            i32::try_from(*value).map_err(|_| {
                QueryError::new(
                    sqlstate::INVALID_PARAMETER_VALUE,
                    format!("invalid type modifier {value}"),
                )
            })
        })
        .collect()
}

fn with_modifiers(oid: Oid, values: &[Option<i64>]) -> Result<PgType, QueryError> {
    let values = modifiers(values)?;
    if values.is_empty() {
        return Ok(PgType::new(oid));
    }
    Ok(PgType::with_typmod(oid, typmod_in(oid, &values)?))
}

fn character_length(length: Option<CharacterLength>) -> Result<Option<i64>, QueryError> {
    match length {
        None => Ok(None),
        Some(CharacterLength::IntegerLength { length, .. }) => Ok(Some(length as i64)),
        Some(CharacterLength::Max) => Err(QueryError::syntax(Some("max"), None)),
    }
}

fn exact_number(info: ExactNumberInfo) -> [Option<i64>; 2] {
    match info {
        ExactNumberInfo::None => [None, None],
        ExactNumberInfo::Precision(precision) => [Some(precision as i64), None],
        ExactNumberInfo::PrecisionAndScale(precision, scale) => {
            [Some(precision as i64), Some(scale)]
        }
    }
}

/// What a type name in a statement means; 42704 if nothing.
pub fn resolve_type(name: &SqlType) -> Result<PgType, QueryError> {
    let simple = |oid| Ok(PgType::new(oid));
    match name {
        SqlType::Bool | SqlType::Boolean => simple(oids::BOOL),
        SqlType::Int2(None) | SqlType::SmallInt(None) => simple(oids::INT2),
        SqlType::Int4(None) | SqlType::Int(None) | SqlType::Integer(None) => simple(oids::INT4),
        SqlType::Int8(None) | SqlType::BigInt(None) => simple(oids::INT8),
        SqlType::Float4 | SqlType::Real => simple(oids::FLOAT4),
        SqlType::Float8 | SqlType::DoublePrecision => simple(oids::FLOAT8),
        SqlType::Float(info) => match exact_number(*info)[0] {
            None => simple(oids::FLOAT8),
            Some(1..=24) => simple(oids::FLOAT4),
            Some(25..=53) => simple(oids::FLOAT8),
            Some(0) => Err(QueryError::new(
                sqlstate::INVALID_PARAMETER_VALUE,
                "precision for type float must be at least 1 bit",
            )),
            Some(_) => Err(QueryError::new(
                sqlstate::INVALID_PARAMETER_VALUE,
                "precision for type float must be less than 54 bits",
            )),
        },
        SqlType::Numeric(info) | SqlType::Decimal(info) | SqlType::Dec(info) => {
            with_modifiers(oids::NUMERIC, &exact_number(*info))
        }
        SqlType::Text => simple(oids::TEXT),
        SqlType::Varchar(length)
        | SqlType::CharacterVarying(length)
        | SqlType::CharVarying(length) => {
            with_modifiers(oids::VARCHAR, &[character_length(*length)?])
        }
        SqlType::Char(length) | SqlType::Character(length) => {
            let length = character_length(*length)?.unwrap_or(1);
            with_modifiers(oids::BPCHAR, &[Some(length)])
        }
        SqlType::Bytea => simple(oids::BYTEA),
        SqlType::Date => simple(oids::DATE),
        SqlType::Timestamp(precision, zone) => {
            let oid = match zone {
                TimezoneInfo::None | TimezoneInfo::WithoutTimeZone => oids::TIMESTAMP,
                TimezoneInfo::WithTimeZone | TimezoneInfo::Tz => oids::TIMESTAMPTZ,
            };
            with_modifiers(oid, &[precision.map(|precision| precision as i64)])
        }
        SqlType::Uuid => simple(oids::UUID),
        SqlType::Regclass => simple(oids::REGCLASS),
        SqlType::Array(
            ArrayElemTypeDef::SquareBracket(element, _) | ArrayElemTypeDef::AngleBracket(element),
        ) => {
            let element = resolve_type(element)?;
            match type_info(element.oid).map(|info| info.array) {
                Some(array) if array.is_valid() => Ok(PgType::with_typmod(array, element.typmod)),
                _ => Err(unknown_type(&name.to_string())),
            }
        }
        SqlType::Custom(name, values) => custom_type(name, values),
        SqlType::Time(..)
        | SqlType::Interval { .. }
        | SqlType::JSON
        | SqlType::JSONB
        | SqlType::Bit(_)
        | SqlType::BitVarying(_) => Err(QueryError::unsupported(format!(
            "type {} is not supported",
            name.to_string().to_lowercase()
        ))),
        other => Err(unknown_type(&other.to_string().to_lowercase())),
    }
}

fn unknown_type(name: &str) -> QueryError {
    QueryError::new(
        sqlstate::UNDEFINED_OBJECT,
        format!("type \"{name}\" does not exist"),
    )
}

fn custom_type(name: &ObjectName, values: &[String]) -> Result<PgType, QueryError> {
    let mut parts = Vec::new();
    for part in &name.0 {
        match part {
            ObjectNamePart::Identifier(ident) => parts.push(ident),
            ObjectNamePart::Function(_) => return Err(unknown_type(&name.to_string())),
        }
    }
    let (Some(last), true) = (parts.last(), parts.len() <= 2) else {
        return Err(unknown_type(&name.to_string()));
    };
    if parts.len() == 2 && parts[0].value.to_lowercase() != "pg_catalog" {
        return Err(unknown_type(&name.to_string()));
    }
    let quoted = last.quote_style.is_some();
    let folded = if quoted {
        last.value.clone()
    } else {
        last.value.to_lowercase()
    };
    let (base, array) = match folded.strip_suffix("[]") {
        Some(base) if !quoted => (base.to_owned(), true),
        _ => (folded.clone(), false),
    };
    let info = type_by_name(&base).filter(|info| !info.is_pseudo());
    let Some(info) = info else {
        if matches!(
            base.as_str(),
            "time" | "timetz" | "interval" | "json" | "jsonb" | "money"
        ) {
            return Err(QueryError::unsupported(format!(
                "type {base} is not supported"
            )));
        }
        return Err(unknown_type(&folded));
    };
    let oid = if array { info.array } else { info.oid };
    let values: Vec<Option<i64>> = values
        .iter()
        .map(|value| value.trim().parse().map(Some))
        .collect::<Result<_, _>>()
        .map_err(|_| QueryError::syntax(values.first().map(String::as_str), None))?;
    with_modifiers(oid, &values)
}
