//! Names: the 63-byte limit and the names that PostgreSQL makes up.

/// Bytes in a value of type `name`, the terminating zero included (PostgreSQL's `NAMEDATALEN`).
pub const NAMEDATALEN: usize = 64;

/// `text` cut to at most `limit_bytes` bytes at a character boundary (`pg_mbcliplen`).
fn clip(text: &str, limit_bytes: usize) -> &str {
    &text[..text.floor_char_boundary(limit_bytes)]
}

/// `name` cut to what a `name` column can hold.
pub fn clip_identifier(name: &str) -> &str {
    clip(name, NAMEDATALEN - 1)
}

/// The NOTICE (SQLSTATE 42622) that an identifier was too long.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("identifier \"{identifier}\" will be truncated to \"{truncated}\"")]
pub struct IdentifierTruncation {
    /// What was written.
    pub identifier: String,
    /// What it is taken for.
    pub truncated: String,
}

impl IdentifierTruncation {
    /// `name_too_long`
    pub const SQLSTATE: &'static str = "42622";
}

/// An identifier as the parser hands it on: cut to 63 bytes, with the notice if it was longer
/// (`truncate_identifier`).
pub fn truncate_identifier(identifier: &str) -> (&str, Option<IdentifierTruncation>) {
    let truncated = clip_identifier(identifier);
    let notice = (truncated.len() < identifier.len()).then(|| IdentifierTruncation {
        identifier: identifier.to_owned(),
        truncated: truncated.to_owned(),
    });
    (truncated, notice)
}

/// `name1_name2_label`, with the longer of the two names cut until all of it fits into 63 bytes
/// (`makeObjectName`, `commands/indexcmds.c`).
pub fn make_object_name(name1: &str, name2: Option<&str>, label: Option<&str>) -> String {
    let overhead = name2.map_or(0, |_| 1) + label.map_or(0, |label| label.len() + 1);
    let available = (NAMEDATALEN - 1).saturating_sub(overhead);
    let mut len1 = name1.len();
    let mut len2 = name2.map_or(0, str::len);
    while len1 + len2 > available {
        if len1 > len2 {
            len1 -= 1;
        } else {
            len2 -= 1;
        }
    }
    let mut name = clip(name1, len1).to_owned();
    if let Some(name2) = name2 {
        name.push('_');
        name.push_str(clip(name2, len2));
    }
    if let Some(label) = label {
        name.push('_');
        name.push_str(label);
    }
    name
}

/// The name tried for the array type over `type_name` after `pass` others were taken
/// (`makeArrayTypeName`, `catalog/pg_type.c`): `_t`, `_t_1`, `_t_2`, ...
pub fn array_type_name(type_name: &str, pass: u64) -> String {
    let number = (pass > 0).then(|| pass.to_string());
    make_object_name("", Some(type_name), number.as_deref())
}

/// The name tried for a nameless constraint after `pass` others were taken
/// (`ChooseConstraintName`, `catalog/pg_constraint.c`): `t_a_not_null`, `t_a_not_null1`, ...
pub fn constraint_name(relation: &str, column: &str, label: &str, pass: u64) -> String {
    if pass == 0 {
        return make_object_name(relation, Some(column), Some(label));
    }
    make_object_name(relation, Some(column), Some(&format!("{label}{pass}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_identifiers_are_cut_between_characters() {
        assert_eq!(truncate_identifier("short"), ("short", None));
        let exact = "a".repeat(63);
        assert_eq!(truncate_identifier(&exact), (exact.as_str(), None));

        // 37 two-byte characters: PostgreSQL keeps 31 of them.
        let long = "é".repeat(37);
        let (truncated, notice) = truncate_identifier(&long);
        assert_eq!(truncated, "é".repeat(31));
        assert_eq!(
            notice.unwrap().to_string(),
            format!(
                "identifier \"{long}\" will be truncated to \"{}\"",
                "é".repeat(31)
            )
        );
    }

    #[test]
    fn made_names_fit() {
        assert_eq!(
            make_object_name("t", Some("a"), Some("not_null")),
            "t_a_not_null"
        );
        // Names that PostgreSQL 18 made.
        let table = "a_table_with_a_name_that_is_as_long_as_a_name_can_possibly_get1";
        let column = "another_name_that_is_as_long_as_a_name_can_possibly_get_here_12";
        assert_eq!(
            constraint_name(table, column, "not_null", 0),
            "a_table_with_a_name_that_is_another_name_that_is_as_lo_not_null"
        );
        assert_eq!(
            constraint_name(table, column, "not_null", 1),
            "a_table_with_a_name_that_i_another_name_that_is_as_lo_not_null1"
        );
        assert_eq!(array_type_name("t", 0), "_t");
        assert_eq!(array_type_name("t", 2), "_t_2");
    }
}
