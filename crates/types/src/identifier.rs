//! Names as SQL text.

/// The keywords that cannot stand for a name everywhere: those that `pg_get_keywords()` of
/// PostgreSQL 18 does not call unreserved, in order.
const KEYWORDS: &str = "all analyse analyze and any array as asc asymmetric authorization between bigint binary \
     bit boolean both case cast char character check coalesce collate collation column \
     concurrently constraint create cross current_catalog current_date current_role \
     current_schema current_time current_timestamp current_user dec decimal default \
     deferrable desc distinct do else end except exists extract false fetch float for foreign \
     freeze from full grant greatest group grouping having ilike in initially inner inout int \
     integer intersect interval into is isnull join json json_array json_arrayagg json_exists \
     json_object json_objectagg json_query json_scalar json_serialize json_table json_value \
     lateral leading least left like limit localtime localtimestamp merge_action national \
     natural nchar none normalize not notnull null nullif numeric offset on only or order out \
     outer overlaps overlay placing position precision primary real references returning \
     right row select session_user setof similar smallint some substring symmetric \
     system_user table tablesample then time timestamp to trailing treat trim true union \
     unique user using values varchar variadic verbose when where window with xmlattributes \
     xmlconcat xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot \
     xmlserialize xmltable";

fn is_keyword(name: &str) -> bool {
    KEYWORDS.split(' ').any(|keyword| keyword == name)
}

/// A name as it must be written in SQL: in double quotes unless it is safe without them
/// (`quote_identifier`, `ruleutils.c`).
pub fn quote_identifier(name: &str) -> String {
    let safe = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && !is_keyword(name);
    if safe {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

/// Appends a role's name as privileges show it (`putid`, `acl.c`).
pub(crate) fn push_acl_name(name: &str, out: &mut Vec<u8>) {
    if name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        out.extend_from_slice(name.as_bytes());
    } else {
        out.push(b'"');
        out.extend_from_slice(name.replace('"', "\"\"").as_bytes());
        out.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What PostgreSQL's `quote_ident` gives.
    #[test]
    fn quoted_where_needed() {
        for (name, quoted) in [
            ("src", "src"),
            ("_a1", "_a1"),
            ("Odd name", "\"Odd name\""),
            ("a\"b", "\"a\"\"b\""),
            ("1a", "\"1a\""),
            ("select", "\"select\""),
            ("int", "\"int\""),
            ("name", "name"),
            ("", "\"\""),
        ] {
            assert_eq!(quote_identifier(name), quoted);
        }
    }
}
