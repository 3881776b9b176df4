//! PostgreSQL's reserved words (`kwlist.h`: `RESERVED_KEYWORD` and `TYPE_FUNC_NAME_KEYWORD`), which
//! unquoted are names of neither tables nor columns.

/// In order.
const RESERVED: &[&str] = &[
    "ALL",
    "ANALYSE",
    "ANALYZE",
    "AND",
    "ANY",
    "ARRAY",
    "AS",
    "ASC",
    "ASYMMETRIC",
    "AUTHORIZATION",
    "BINARY",
    "BOTH",
    "CASE",
    "CAST",
    "CHECK",
    "COLLATE",
    "COLLATION",
    "COLUMN",
    "CONCURRENTLY",
    "CONSTRAINT",
    "CREATE",
    "CROSS",
    "CURRENT_CATALOG",
    "CURRENT_DATE",
    "CURRENT_ROLE",
    "CURRENT_SCHEMA",
    "CURRENT_TIME",
    "CURRENT_TIMESTAMP",
    "CURRENT_USER",
    "DEFAULT",
    "DEFERRABLE",
    "DESC",
    "DISTINCT",
    "DO",
    "ELSE",
    "END",
    "EXCEPT",
    "FALSE",
    "FETCH",
    "FOR",
    "FOREIGN",
    "FREEZE",
    "FROM",
    "FULL",
    "GRANT",
    "GROUP",
    "HAVING",
    "ILIKE",
    "IN",
    "INITIALLY",
    "INNER",
    "INTERSECT",
    "INTO",
    "IS",
    "ISNULL",
    "JOIN",
    "LATERAL",
    "LEADING",
    "LEFT",
    "LIKE",
    "LIMIT",
    "LOCALTIME",
    "LOCALTIMESTAMP",
    "NATURAL",
    "NOT",
    "NOTNULL",
    "NULL",
    "OFFSET",
    "ON",
    "ONLY",
    "OR",
    "ORDER",
    "OUTER",
    "OVERLAPS",
    "PLACING",
    "PRIMARY",
    "REFERENCES",
    "RETURNING",
    "RIGHT",
    "SELECT",
    "SESSION_USER",
    "SIMILAR",
    "SOME",
    "SYMMETRIC",
    "SYSTEM_USER",
    "TABLE",
    "TABLESAMPLE",
    "THEN",
    "TO",
    "TRAILING",
    "TRUE",
    "UNION",
    "UNIQUE",
    "USER",
    "USING",
    "VARIADIC",
    "VERBOSE",
    "WHEN",
    "WHERE",
    "WINDOW",
    "WITH",
];

/// Whether `word`, in upper case, is reserved.
pub(super) fn is_reserved(word: &str) -> bool {
    RESERVED.binary_search(&word).is_ok()
}

#[cfg(test)]
mod tests {
    use super::super::parse_statement;
    use super::*;

    #[test]
    fn the_list_is_in_order() {
        assert!(RESERVED.is_sorted());
    }

    #[test]
    fn reserved_words_name_nothing() {
        for (text, near) in [
            ("create table order(a int)", "order"),
            ("create table User(a int)", "User"),
            ("create table left(a int)", "left"),
            ("create table t(select int)", "select"),
            ("create table t(a int, limit int)", "limit"),
            ("create table t(a int, where int)", "where"),
            ("insert into t(a, order) values (1, 2)", "order"),
            ("drop table t, table", "table"),
            ("truncate table all", "all"),
        ] {
            let error = parse_statement(text).expect_err(text);
            assert_eq!(error.message, format!("syntax error at or near \"{near}\""));
            assert_eq!(error.position, Some(text.rfind(near).unwrap() + 1));
        }
        for text in [
            "create table \"order\"(\"select\" int)",
            "create table t(date date, name text, value int, year int, position int)",
            "create table public.order(a int)",
        ] {
            parse_statement(text).expect(text);
        }
    }
}
