//! Which statement a text is.

use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::tokens::Tokens;
use super::{
    Discard, DropTable, ExecuteStatement, Insert, LockTable, PrepareStatement, QualifiedName,
    Statement, copy, create_table, explain, session,
};
use crate::error::SqlError;

/// Parses one statement, as [`super::split_statements`] gives it.
///
/// # Errors
/// PostgreSQL's syntax error, or 0A000 for a statement that is not supported.
pub fn parse_statement(text: &str) -> Result<Statement, SqlError> {
    let mut tokens = Tokens::new(text)?;
    let statement = parse(&mut tokens)?;
    tokens.expect_end()?;
    Ok(statement)
}

pub(super) fn parse(tokens: &mut Tokens<'_>) -> Result<Statement, SqlError> {
    let Some(word) = tokens.peek_word() else {
        // A query may begin with a parenthesis.
        if tokens.peek(&Token::LParen) {
            return Ok(Statement::Query(tokens.query()?));
        }
        return Err(tokens.syntax_error());
    };
    match word.as_str() {
        "SELECT" | "VALUES" => Ok(Statement::Query(tokens.query()?)),
        "WITH" => with(tokens),
        "TABLE" => table(tokens),
        "INSERT" => insert(tokens),
        "EXPLAIN" => explain::parse(tokens),
        "CREATE" => create_table::parse(tokens),
        "DROP" => drop(tokens),
        "TRUNCATE" => truncate(tokens),
        "COPY" => copy::parse(tokens),
        "LOCK" => lock(tokens),
        "BEGIN" | "START" | "COMMIT" | "END" | "ROLLBACK" | "ABORT" => session::transaction(tokens),
        "SET" => session::set(tokens),
        "RESET" => session::reset(tokens),
        "SHOW" => session::show(tokens),
        "CHECKPOINT" => {
            tokens.skip();
            Ok(Statement::Checkpoint)
        }
        "DISCARD" => discard(tokens),
        "PREPARE" => prepare(tokens),
        "EXECUTE" => execute(tokens),
        "DEALLOCATE" => deallocate(tokens),
        _ => Err(unsupported(tokens, &word)),
    }
}

/// PostgreSQL's other statements, each refused by name; anything else is a syntax error.
fn unsupported(tokens: &Tokens<'_>, word: &str) -> SqlError {
    const KNOWN: &[&str] = &[
        "ALTER",
        "ANALYZE",
        "CALL",
        "CLOSE",
        "CLUSTER",
        "COMMENT",
        "DECLARE",
        "DELETE",
        "DO",
        "FETCH",
        "GRANT",
        "IMPORT",
        "LISTEN",
        "LOAD",
        "MERGE",
        "MOVE",
        "NOTIFY",
        "REASSIGN",
        "REFRESH",
        "REINDEX",
        "RELEASE",
        "REVOKE",
        "SAVEPOINT",
        "SECURITY",
        "UNLISTEN",
        "UPDATE",
        "VACUUM",
    ];
    if word == "ALTER" && tokens.peek_nth_word(1).as_deref() == Some("SYSTEM") {
        SqlError::not_supported("ALTER SYSTEM is not supported").with_hint(
            "Settings of the server are read when it starts, from postgresql.conf and its command line.",
        )
    } else if KNOWN.contains(&word) {
        SqlError::not_supported(format!("{word} is not supported"))
    } else {
        tokens.syntax_error()
    }
}

fn with(tokens: &mut Tokens<'_>) -> Result<Statement, SqlError> {
    match tokens.rest_as_statement()? {
        ast::Statement::Query(query) => match *query.body {
            ast::SetExpr::Insert(_) | ast::SetExpr::Update(_) | ast::SetExpr::Delete(_) => Err(
                SqlError::not_supported("WITH before a data-modifying statement is not supported"),
            ),
            _ => Ok(Statement::Query(query)),
        },
        _ => Err(SqlError::not_supported(
            "WITH before a data-modifying statement is not supported",
        )),
    }
}

/// `TABLE name` is `SELECT * FROM name`.
fn table(tokens: &mut Tokens<'_>) -> Result<Statement, SqlError> {
    tokens.expect_word("TABLE")?;
    let name = tokens.qualified_name()?;
    let quoted = |part: &str| format!("\"{}\"", part.replace('"', "\"\""));
    let from = match &name.schema {
        Some(schema) => format!("{}.{}", quoted(schema), quoted(&name.name)),
        None => quoted(&name.name),
    };
    let text = format!("SELECT * FROM {from}");
    Ok(Statement::Query(Tokens::new(&text)?.query()?))
}

fn insert(tokens: &mut Tokens<'_>) -> Result<Statement, SqlError> {
    tokens.expect_word("INSERT")?;
    tokens.expect_word("INTO")?;
    let target = tokens.qualified_name()?;
    if tokens.peek_word().as_deref() == Some("AS") {
        return Err(SqlError::not_supported(
            "an alias of INSERT's table is not supported",
        ));
    }
    let mut columns = Vec::new();
    // A parenthesis begins the column list, unless it begins a parenthesised query.
    let query_words = ["SELECT", "VALUES", "WITH", "TABLE"];
    let begins_query = tokens
        .peek_nth_word(1)
        .is_some_and(|word| query_words.contains(&word.as_str()));
    if tokens.peek(&Token::LParen) && !begins_query && !tokens.peek_nth(1, &Token::LParen) {
        columns = tokens.parenthesized(Tokens::identifier)?;
    }
    if tokens.peek_word().as_deref() == Some("OVERRIDING") {
        return Err(SqlError::not_supported("OVERRIDING is not supported"));
    }
    let source = if tokens.take_words(&["DEFAULT", "VALUES"]) {
        None
    } else if tokens.peek_word().as_deref() == Some("TABLE") {
        match table(tokens)? {
            Statement::Query(query) => Some(query),
            _ => return Err(tokens.syntax_error()),
        }
    } else {
        Some(tokens.query()?)
    };
    if tokens.peek_word().as_deref() == Some("ON") {
        return Err(SqlError::not_supported(
            "INSERT ... ON CONFLICT is not supported",
        ));
    }
    if tokens.peek_word().as_deref() == Some("RETURNING") {
        return Err(SqlError::not_supported(
            "INSERT ... RETURNING is not supported",
        ));
    }
    Ok(Statement::Insert(Box::new(Insert {
        table: target,
        columns,
        source,
    })))
}

fn drop(tokens: &mut Tokens<'_>) -> Result<Statement, SqlError> {
    tokens.expect_word("DROP")?;
    if !tokens.take_word("TABLE") {
        return Err(match tokens.peek_word() {
            Some(word) => SqlError::not_supported(format!("DROP {word} is not supported")),
            None => tokens.syntax_error(),
        });
    }
    let if_exists = tokens.take_words(&["IF", "EXISTS"]);
    let names = tokens.list(Tokens::qualified_name)?;
    // Nothing can depend on a table yet, so both mean the same.
    let _ = tokens.take_word("CASCADE") || tokens.take_word("RESTRICT");
    Ok(Statement::DropTable(DropTable { names, if_exists }))
}

fn truncate(tokens: &mut Tokens<'_>) -> Result<Statement, SqlError> {
    tokens.expect_word("TRUNCATE")?;
    tokens.take_word("TABLE");
    let names = tokens.list(|tokens| {
        tokens.take_word("ONLY");
        let name = tokens.qualified_name()?;
        tokens.take(&Token::Mul);
        Ok(name)
    })?;
    // There are no sequences to restart, and nothing can depend on a table.
    let _ =
        tokens.take_words(&["RESTART", "IDENTITY"]) || tokens.take_words(&["CONTINUE", "IDENTITY"]);
    let _ = tokens.take_word("CASCADE") || tokens.take_word("RESTRICT");
    Ok(Statement::Truncate(names))
}

fn lock(tokens: &mut Tokens<'_>) -> Result<Statement, SqlError> {
    tokens.expect_word("LOCK")?;
    tokens.take_word("TABLE");
    let names: Vec<QualifiedName> = tokens.list(|tokens| {
        tokens.take_word("ONLY");
        tokens.qualified_name()
    })?;
    let mut mode = "ACCESS EXCLUSIVE".to_owned();
    if tokens.take_word("IN") {
        let mut words = Vec::new();
        while let Some(word) = tokens.peek_word().filter(|word| word != "MODE") {
            words.push(word);
            tokens.skip();
        }
        tokens.expect_word("MODE")?;
        mode = words.join(" ");
    }
    let no_wait = tokens.take_word("NOWAIT");
    Ok(Statement::Lock(LockTable {
        names,
        mode,
        no_wait,
    }))
}

fn discard(tokens: &mut Tokens<'_>) -> Result<Statement, SqlError> {
    tokens.expect_word("DISCARD")?;
    for (word, what) in [
        ("ALL", Discard::All),
        ("PLANS", Discard::Plans),
        ("SEQUENCES", Discard::Sequences),
        ("TEMP", Discard::Temporary),
        ("TEMPORARY", Discard::Temporary),
    ] {
        if tokens.take_word(word) {
            return Ok(Statement::Discard(what));
        }
    }
    Err(tokens.syntax_error())
}

fn prepare(tokens: &mut Tokens<'_>) -> Result<Statement, SqlError> {
    tokens.expect_word("PREPARE")?;
    if tokens.peek_word().as_deref() == Some("TRANSACTION") {
        return Err(SqlError::not_supported(
            "PREPARE TRANSACTION is not supported",
        ));
    }
    let name = tokens.identifier()?;
    let parameter_types = if tokens.peek(&Token::LParen) {
        tokens.parenthesized(Tokens::type_name)?
    } else {
        Vec::new()
    };
    tokens.expect_word("AS")?;
    let start = tokens.position() - 1;
    let text: String = tokens.text().chars().skip(start).collect();
    match parse(tokens)? {
        Statement::Query(_) | Statement::Insert(_) => {}
        _ => {
            return Err(SqlError::not_supported(
                "PREPARE of this statement is not supported",
            ));
        }
    }
    Ok(Statement::Prepare(Box::new(PrepareStatement {
        name,
        parameter_types,
        text,
    })))
}

fn execute(tokens: &mut Tokens<'_>) -> Result<Statement, SqlError> {
    tokens.expect_word("EXECUTE")?;
    let name = tokens.identifier()?;
    let arguments = if tokens.peek(&Token::LParen) {
        tokens.parenthesized(|tokens| Ok(tokens.expression()?.0))?
    } else {
        Vec::new()
    };
    Ok(Statement::Execute(ExecuteStatement { name, arguments }))
}

fn deallocate(tokens: &mut Tokens<'_>) -> Result<Statement, SqlError> {
    tokens.expect_word("DEALLOCATE")?;
    tokens.take_word("PREPARE");
    if tokens.take_word("ALL") {
        return Ok(Statement::Deallocate(None));
    }
    Ok(Statement::Deallocate(Some(tokens.identifier()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement::{
        CopyPlace, CopySubject, SetStatement, TableElement, TransactionStatement,
    };

    fn parsed(text: &str) -> Statement {
        parse_statement(text).unwrap_or_else(|error| panic!("{text}: {error:?}"))
    }

    fn refused(text: &str) -> (String, String, Option<usize>) {
        let error = parse_statement(text).expect_err(text);
        (error.sqlstate.into_owned(), error.message, error.position)
    }

    #[test]
    fn utility_statements_parse() {
        assert!(matches!(parsed("checkpoint"), Statement::Checkpoint));
        assert!(
            matches!(parsed("/* x */ SHOW io_method"), Statement::Show(Some(name)) if name == "io_method")
        );
        assert!(
            matches!(parsed("TRUNCATE TABLE a, b.c CASCADE"), Statement::Truncate(names) if names.len() == 2)
        );
        assert!(
            matches!(parsed("drop table if exists t"), Statement::DropTable(drop) if drop.if_exists)
        );
        assert!(matches!(
            parsed("START TRANSACTION"),
            Statement::Transaction(TransactionStatement::Begin { is_start: true, modes })
                if modes.is_empty()
        ));
        assert!(matches!(
            parsed("SET io_combine_limit = '256kB'"),
            Statement::Set(SetStatement::Value { name, values, local: false })
                if name == "io_combine_limit" && values == ["256kB"]
        ));
        assert!(matches!(
            parsed("set session time zone 'UTC'"),
            Statement::Set(SetStatement::Value { name, .. }) if name == "timezone"
        ));
        assert!(matches!(
            parsed("SET search_path = a, 'b c'"),
            Statement::Set(SetStatement::Value { values, .. }) if values == ["a", "b c"]
        ));
        for (sql, setting) in [
            ("SET LOCAL ROLE None", "role"),
            ("SET role = none", "role"),
            ("SET SESSION AUTHORIZATION ann", "session_authorization"),
        ] {
            let is_it = matches!(
                parsed(sql),
                Statement::Set(SetStatement::Value { name, values, .. })
                    if name == setting && ["none", "ann"].contains(&values[0].as_str())
            );
            assert!(is_it, "{sql}");
        }
        for (sql, setting) in [
            ("SET SESSION AUTHORIZATION DEFAULT", "session_authorization"),
            ("RESET SESSION AUTHORIZATION", "session_authorization"),
            ("RESET ROLE", "role"),
        ] {
            let is_it = matches!(
                parsed(sql),
                Statement::Set(SetStatement::Default { name, .. }) if name == setting
            );
            assert!(is_it, "{sql}");
        }
    }

    #[test]
    fn create_table_parses() {
        let Statement::CreateTable(table) = parsed(
            "CREATE TABLE IF NOT EXISTS public.\"T\" (a int NOT NULL DEFAULT 1 + 2, \
             b numeric(15,2), c double precision, d timestamp with time zone, LIKE src INCLUDING ALL)",
        ) else {
            panic!("not CREATE TABLE");
        };
        assert!(table.if_not_exists);
        assert_eq!(table.name.name, "T");
        let TableElement::Column(a) = &table.elements[0] else {
            panic!()
        };
        assert!(a.not_null);
        assert_eq!(a.default.as_ref().unwrap().text, "1 + 2");
        let TableElement::Column(d) = &table.elements[3] else {
            panic!()
        };
        assert_eq!(d.type_name.name, "timestamp with time zone");
        assert!(matches!(
            &table.elements[4],
            TableElement::Like {
                including_defaults: true,
                ..
            }
        ));
    }

    #[test]
    fn a_default_does_not_swallow_the_constraint_behind_it() {
        let text = "CREATE TABLE t (a bool DEFAULT true NOT NULL, b int DEFAULT (1 + (2)) NULL, \
                    c bool DEFAULT NULL, d text DEFAULT coalesce(NULL, 'x, y') NOT NULL)";
        let Statement::CreateTable(table) = parsed(text) else {
            panic!("not CREATE TABLE");
        };
        let columns: Vec<(bool, &str)> = table
            .elements
            .iter()
            .map(|element| match element {
                TableElement::Column(column) => (
                    column.not_null,
                    column.default.as_ref().unwrap().text.as_str(),
                ),
                TableElement::Like { .. } => panic!("not a column"),
            })
            .collect();
        let expected = [
            (true, "true"),
            (false, "(1 + (2))"),
            (false, "NULL"),
            (true, "coalesce(NULL, 'x, y')"),
        ];
        assert_eq!(columns, expected);
        assert_eq!(
            refused("create table t (a int default not null)").0,
            "42601"
        );
    }

    #[test]
    fn copy_parses_in_all_its_forms() {
        let Statement::Copy(copy) =
            parsed("COPY t (a, b) FROM STDIN WITH (FORMAT csv, HEADER, DELIMITER ';', NULL '')")
        else {
            panic!("not COPY");
        };
        assert!(copy.is_from);
        assert_eq!(copy.place, CopyPlace::Client);
        assert_eq!(copy.options.len(), 4);
        let Statement::Copy(copy) = parsed("copy (select 1) to '/tmp/x' with csv header") else {
            panic!("not COPY");
        };
        assert!(matches!(copy.subject, CopySubject::Query(_)));
        assert_eq!(copy.options.len(), 2);
        assert_eq!(copy.option_positions, [34, 38]);
    }

    // Messages and positions as PostgreSQL 18 gives them.
    #[test]
    fn bad_statements_are_refused_with_their_position() {
        let syntax = |near: &str, at| {
            (
                "42601".to_owned(),
                format!("syntax error at or near \"{near}\""),
                Some(at),
            )
        };
        assert_eq!(refused("SELEC 1"), syntax("SELEC", 1));
        assert_eq!(refused("checkpoint now"), syntax("now", 12));
        assert_eq!(
            refused("drop table"),
            (
                "42601".into(),
                "syntax error at end of input".into(),
                Some(11)
            )
        );
        assert_eq!(refused("create table t (a int,)"), syntax(")", 23));
        assert_eq!(refused("begin , read only"), syntax(",", 7));
        assert_eq!(refused("start transaction work"), syntax("work", 19));
        for (text, end) in [("set transaction", 16), ("begin read only,", 17)] {
            let message = "syntax error at end of input".to_owned();
            assert_eq!(refused(text), ("42601".to_owned(), message, Some(end)));
        }
        assert_eq!(refused("UPDATE t SET a = 1").0, "0A000");
        assert_eq!(refused("create table t (a int primary key)").0, "0A000");
        assert_eq!(refused("create temp table t (a int)").0, "0A000");
        assert_eq!(refused("create unlogged sequence s").0, "0A000");
        assert_eq!(
            refused("create unlogged temp table t (a int)"),
            syntax("temp", 17)
        );
        assert_eq!(
            refused("create unlogged index on t (a)"),
            syntax("index", 17)
        );
    }

    #[test]
    fn unlogged_belongs_to_tables() {
        for (text, unlogged) in [
            ("create unlogged table if not exists t (a int)", true),
            ("create table unlogged (unlogged int)", false),
        ] {
            let Statement::CreateTable(table) = parsed(text) else {
                panic!("{text}");
            };
            assert_eq!(table.unlogged, unlogged, "{text}");
        }
    }
}
