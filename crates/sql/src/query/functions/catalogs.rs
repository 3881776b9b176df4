//! Functions that say what the catalogs hold (`ruleutils.c`, `namespace.c`, `dbsize.c`,
//! `format_type.c`, `comment.c`'s SQL functions).

use trunkline_types::oids::{BOOL, INT4, INT8, NAME, OID, PG_NODE_TREE, REGCLASS, TEXT};

use super::rows::RowFunction as F;
use super::strings::quote_literal;
use crate::query::error::{QueryError, sqlstate};
use crate::query::names::NamesPart::{
    Collations, Comments, Constraints, Functions, Operators, Relations, Roles, Types,
};
use crate::query::value::{Styles, Value};

type Outcome = Result<Value<'static>, QueryError>;

pub(crate) const FUNCTIONS: &[F] = &[
    F::new("pg_table_is_visible", &[OID], BOOL, |v, s| {
        Ok(truth(s.names.relation_is_visible(oid(&v[0])?)))
    })
    .needs(&[Relations]),
    F::new("pg_type_is_visible", &[OID], BOOL, |v, s| {
        Ok(truth(s.names.type_is_visible(oid(&v[0])?)))
    })
    .needs(&[Types]),
    F::new("pg_function_is_visible", &[OID], BOOL, |v, s| {
        Ok(truth(s.names.function_is_visible(oid(&v[0])?)))
    })
    .needs(&[Functions]),
    F::new("pg_operator_is_visible", &[OID], BOOL, |v, s| {
        Ok(truth(s.names.operator_is_visible(oid(&v[0])?)))
    })
    .needs(&[Operators]),
    F::new("pg_collation_is_visible", &[OID], BOOL, |v, s| {
        Ok(truth(s.names.collation_is_visible(oid(&v[0])?)))
    })
    .needs(&[Collations]),
    // There are no such objects.
    F::new("pg_conversion_is_visible", &[OID], BOOL, of_nothing),
    F::new("pg_opclass_is_visible", &[OID], BOOL, of_nothing),
    F::new("pg_opfamily_is_visible", &[OID], BOOL, of_nothing),
    F::new("pg_statistics_obj_is_visible", &[OID], BOOL, of_nothing),
    F::new("pg_get_userbyid", &[OID], NAME, |v, s| {
        let oid = oid(&v[0])?;
        let name = trunkline_types::ObjectNames::role_name(s.names.as_ref(), oid);
        Ok(Value::text(
            name.unwrap_or_else(|| format!("unknown (OID={oid})")),
        ))
    })
    .needs(&[Roles]),
    F::new("format_type", &[OID, INT4], TEXT, format_type)
        .called_with_null()
        .needs(&[Types]),
    F::new("pg_get_expr", &[PG_NODE_TREE, OID], TEXT, pg_get_expr).needs(&[Relations]),
    F::new("pg_get_expr", &[PG_NODE_TREE, OID, BOOL], TEXT, pg_get_expr).needs(&[Relations]),
    F::new("pg_get_constraintdef", &[OID], TEXT, constraint).needs(&[Constraints]),
    F::new("pg_get_constraintdef", &[OID, BOOL], TEXT, constraint).needs(&[Constraints]),
    F::new("pg_get_function_arguments", &[OID], TEXT, |v, s| {
        Ok(text(s.names.function_arguments(oid(&v[0])?)))
    })
    .needs(&[Functions]),
    F::new("pg_get_function_result", &[OID], TEXT, |v, s| {
        Ok(text(s.names.function_result(oid(&v[0])?)))
    })
    .needs(&[Functions]),
    // There are no indexes, statistics objects, triggers, rules and views that these could be of.
    F::new("pg_get_indexdef", &[OID], TEXT, of_nothing),
    F::new("pg_get_indexdef", &[OID, INT4, BOOL], TEXT, of_nothing),
    F::new("pg_get_statisticsobjdef_columns", &[OID], TEXT, of_nothing),
    F::new("pg_get_triggerdef", &[OID], TEXT, of_nothing),
    F::new("pg_get_triggerdef", &[OID, BOOL], TEXT, of_nothing),
    F::new("pg_get_ruledef", &[OID], TEXT, of_nothing),
    F::new("pg_get_ruledef", &[OID, BOOL], TEXT, of_nothing),
    F::new("pg_get_viewdef", &[OID], TEXT, of_nothing),
    F::new("pg_get_viewdef", &[OID, BOOL], TEXT, of_nothing),
    F::new("pg_get_partkeydef", &[OID], TEXT, of_nothing),
    F::new("pg_relation_is_publishable", &[REGCLASS], BOOL, |v, s| {
        // `is_publishable_class`: users' tables are, the system's are not.
        let oid = oid(&v[0])?;
        let kind = s.names.relation_kind(oid);
        Ok(kind.map_or(Value::Null, |kind| Value::Bool(kind == 'r' && oid >= 16384)))
    })
    .needs(&[Relations]),
    F::new("obj_description", &[OID, NAME], TEXT, |v, s| {
        let catalog = s.names.system_table(v[1].as_text()?);
        let object = oid(&v[0])?;
        Ok(text(
            catalog.and_then(|catalog| s.names.comment(object, catalog, 0)),
        ))
    })
    .needs(&[Comments]),
    F::new("obj_description", &[OID], TEXT, |v, s| {
        Ok(text(s.names.comment_anywhere(oid(&v[0])?)))
    })
    .needs(&[Comments]),
    F::new("col_description", &[OID, INT4], TEXT, |v, s| {
        let column = i32::try_from(v[1].as_int()?).unwrap_or_default();
        let relation = oid(&v[0])?;
        let catalog = s.names.system_table("pg_class");
        Ok(text(catalog.and_then(|catalog| {
            s.names.comment(relation, catalog, column)
        })))
    })
    .needs(&[Comments]),
    F::new("shobj_description", &[OID, NAME], TEXT, |v, s| {
        let catalog = s.names.system_table(v[1].as_text()?);
        let object = oid(&v[0])?;
        Ok(text(catalog.and_then(|catalog| {
            s.names.shared_comment(object, catalog)
        })))
    })
    .needs(&[Comments]),
    F::new("pg_tablespace_location", &[OID], TEXT, |v, _| {
        // The two that there are lie in the data directory.
        let oid = oid(&v[0])?;
        if oid == 0 || oid == 1663 || oid == 1664 {
            return Ok(Value::text(""));
        }
        Err(QueryError::new(
            sqlstate::UNDEFINED_OBJECT,
            format!("tablespace with OID {oid} does not exist"),
        ))
    }),
    F::new("pg_encoding_to_char", &[INT4], NAME, |v, _| {
        let index = usize::try_from(v[0].as_int()?).ok();
        let name = index.and_then(|index| ENCODINGS.get(index));
        Ok(Value::text(name.copied().unwrap_or_default()))
    }),
    F::new("pg_char_to_encoding", &[NAME], INT4, |v, _| {
        let bare = |name: &str| name.replace(['-', '_'], "").to_uppercase();
        let wanted = bare(v[0].as_text()?);
        let index = ENCODINGS.iter().position(|name| bare(name) == wanted);
        Ok(Value::Int(index.map_or(-1, |index| index as i64)))
    }),
    F::new("getdatabaseencoding", &[], NAME, |_, _| {
        Ok(Value::text("UTF8"))
    }),
    F::new("pg_size_pretty", &[INT8], TEXT, |v, _| {
        Ok(Value::text(size_pretty(v[0].as_int()?)))
    }),
    F::new("quote_nullable", &[TEXT], TEXT, |v, _| {
        Ok(Value::text(match &v[0] {
            Value::Null => "NULL".to_owned(),
            value => quote_literal(value.as_text()?),
        }))
    })
    .called_with_null(),
    F::new("has_database_privilege", &[NAME, TEXT], BOOL, |v, _| {
        privilege(v[1].as_text()?, &["create", "temporary", "temp", "connect"])
    }),
    F::new("has_database_privilege", &[OID, TEXT], BOOL, |v, _| {
        privilege(v[1].as_text()?, &["create", "temporary", "temp", "connect"])
    }),
    F::new("pg_has_role", &[NAME, TEXT], BOOL, |v, _| {
        privilege(v[1].as_text()?, &["usage", "member", "set"])
    }),
    F::new("pg_has_role", &[OID, TEXT], BOOL, |v, _| {
        privilege(v[1].as_text()?, &["usage", "member", "set"])
    }),
    F::new("pg_is_in_recovery", &[], BOOL, |_, _| {
        Ok(Value::Bool(false))
    }),
];

/// `pg_enc2name_tbl`
const ENCODINGS: [&str; 42] = [
    "SQL_ASCII",
    "EUC_JP",
    "EUC_CN",
    "EUC_KR",
    "EUC_TW",
    "EUC_JIS_2004",
    "UTF8",
    "MULE_INTERNAL",
    "LATIN1",
    "LATIN2",
    "LATIN3",
    "LATIN4",
    "LATIN5",
    "LATIN6",
    "LATIN7",
    "LATIN8",
    "LATIN9",
    "LATIN10",
    "WIN1256",
    "WIN1258",
    "WIN866",
    "WIN874",
    "KOI8R",
    "WIN1251",
    "WIN1252",
    "ISO_8859_5",
    "ISO_8859_6",
    "ISO_8859_7",
    "ISO_8859_8",
    "WIN1250",
    "WIN1253",
    "WIN1254",
    "WIN1255",
    "WIN1257",
    "KOI8U",
    "SJIS",
    "BIG5",
    "GBK",
    "UHC",
    "GB18030",
    "JOHAB",
    "SHIFT_JIS_2004",
];

fn oid(value: &Value<'_>) -> Result<u32, QueryError> {
    u32::try_from(value.as_int()?).map_err(|_| QueryError::internal("an OID out of range"))
}

fn truth(value: Option<bool>) -> Value<'static> {
    value.map_or(Value::Null, Value::Bool)
}

fn text(value: Option<&str>) -> Value<'static> {
    value.map_or(Value::Null, |text| Value::text(text.to_owned()))
}

fn of_nothing(_: &[Value<'_>], _: &Styles) -> Outcome {
    Ok(Value::Null)
}

fn format_type(v: &[Value<'_>], styles: &Styles) -> Outcome {
    if v[0].is_null() {
        return Ok(Value::Null);
    }
    let typmod = match &v[1] {
        Value::Null => None,
        value => i32::try_from(value.as_int()?).ok(),
    };
    Ok(Value::text(styles.names.format_type(oid(&v[0])?, typmod)))
}

/// Expressions are stored as the text that PostgreSQL would show of them.
fn pg_get_expr(v: &[Value<'_>], styles: &Styles) -> Outcome {
    let relation = oid(&v[1])?;
    if relation != 0 && styles.names.relation_kind(relation).is_none() {
        return Ok(Value::Null);
    }
    Ok(Value::text(v[0].as_text()?.to_owned()))
}

fn constraint(v: &[Value<'_>], styles: &Styles) -> Outcome {
    Ok(text(styles.names.constraint(oid(&v[0])?)))
}

/// Everybody is the superuser that the cluster was made for, who may do everything; what there is
/// to be allowed is checked all the same (`convert_any_priv_string`).
fn privilege(asked: &str, known: &[&str]) -> Outcome {
    for word in asked.split(',') {
        let word = word.trim().to_lowercase();
        let bare = word
            .strip_suffix("with grant option")
            .or_else(|| word.strip_suffix("with admin option"))
            .unwrap_or(&word);
        if !known.contains(&bare.trim()) {
            return Err(QueryError::new(
                sqlstate::INVALID_PARAMETER_VALUE,
                format!("unrecognized privilege type: \"{word}\""),
            ));
        }
    }
    Ok(Value::Bool(true))
}

/// `pg_size_pretty` (`dbsize.c`): each unit up to its limit, halves rounded away from zero.
fn size_pretty(bytes: i64) -> String {
    const UNITS: [(&str, u64, bool, u32); 6] = [
        ("bytes", 10 * 1024, false, 0),
        ("kB", 20 * 1024 - 1, true, 10),
        ("MB", 20 * 1024 - 1, true, 20),
        ("GB", 20 * 1024 - 1, true, 30),
        ("TB", 20 * 1024 - 1, true, 40),
        ("PB", 20 * 1024 - 1, true, 50),
    ];
    let mut size = bytes;
    for (index, (name, limit, rounds, bits)) in UNITS.iter().enumerate() {
        let next = UNITS.get(index + 1);
        let Some((_, _, next_rounds, next_bits)) = next.filter(|_| size.unsigned_abs() >= *limit)
        else {
            if *rounds {
                size = (size + if size < 0 { -1 } else { 1 }) / 2;
            }
            return format!("{size} {name}");
        };
        // A size that will be rounded keeps one bit more.
        let shift = next_bits - bits - u32::from(*next_rounds) + u32::from(*rounds);
        size /= 1 << shift;
    }
    format!("{size} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What PostgreSQL 18 prints.
    #[test]
    fn sizes() {
        for (bytes, printed) in [
            (0, "0 bytes"),
            (10239, "10239 bytes"),
            (10240, "10 kB"),
            (16384, "16 kB"),
            (20_971_007, "20 MB"),
            (20_971_008, "20 MB"),
            (-10_752, "-11 kB"),
            (123_456_789_012, "115 GB"),
            (i64::MAX, "8192 PB"),
        ] {
            assert_eq!(size_pretty(bytes), printed);
        }
    }
}
