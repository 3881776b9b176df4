//! CREATE TABLE and CREATE UNLOGGED TABLE.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::tokens::Tokens;
use super::{ColumnDefault, ColumnDefinition, CreateTable, Statement, TableElement};
use crate::error::SqlError;

/// Words that begin a table constraint.
const TABLE_CONSTRAINTS: &[&str] = &[
    "CONSTRAINT",
    "PRIMARY",
    "UNIQUE",
    "CHECK",
    "FOREIGN",
    "EXCLUDE",
];

/// Words that begin a column constraint which is not supported.
const COLUMN_CONSTRAINTS: &[&str] = &[
    "CHECK",
    "COLLATE",
    "COMPRESSION",
    "CONSTRAINT",
    "GENERATED",
    "PRIMARY",
    "REFERENCES",
    "STORAGE",
    "UNIQUE",
];

/// Parses CREATE; only CREATE TABLE is supported, which may be UNLOGGED.
pub fn parse(tokens: &mut Tokens<'_>) -> Result<Statement, SqlError> {
    tokens.expect_word("CREATE")?;
    let unlogged = tokens.take_word("UNLOGGED");
    if !tokens.take_word("TABLE") {
        return Err(if unlogged {
            refused_unlogged(tokens)
        } else {
            match tokens.peek_word() {
                Some(word) => SqlError::not_supported(format!("CREATE {word} is not supported")),
                None => tokens.syntax_error(),
            }
        });
    }
    let if_not_exists = tokens.take_words(&["IF", "NOT", "EXISTS"]);
    let name = tokens.qualified_name()?;
    if let Some(word) = tokens.peek_word() {
        return Err(match word.as_str() {
            "AS" => SqlError::not_supported("CREATE TABLE AS is not supported"),
            "PARTITION" | "OF" => {
                SqlError::not_supported(format!("CREATE TABLE ... {word} is not supported"))
            }
            _ => tokens.syntax_error(),
        });
    }
    tokens.expect(&Token::LParen)?;
    let mut elements = Vec::new();
    if !tokens.take(&Token::RParen) {
        elements = tokens.list(element)?;
        tokens.expect(&Token::RParen)?;
    }
    if let Some(word) = tokens.peek_word() {
        if unlogged && word == "PARTITION" {
            // `DefineRelation`, `commands/tablecmds.c`.
            return Err(SqlError::not_supported(
                "partitioned tables cannot be unlogged",
            ));
        }
        const CLAUSES: &[&str] = &[
            "INHERITS",
            "PARTITION",
            "USING",
            "WITH",
            "WITHOUT",
            "ON",
            "TABLESPACE",
            "AS",
        ];
        if CLAUSES.contains(&word.as_str()) {
            return Err(SqlError::not_supported(format!(
                "CREATE TABLE ... {word} is not supported"
            )));
        }
    }
    Ok(Statement::CreateTable(Box::new(CreateTable {
        name,
        unlogged,
        if_not_exists,
        elements,
    })))
}

/// What else may follow CREATE UNLOGGED in PostgreSQL's grammar: of these, only sequences can be
/// unlogged (`DefineView`, `transformCreateTableAsStmt`).
fn refused_unlogged(tokens: &Tokens<'_>) -> SqlError {
    match tokens.peek_word().as_deref() {
        Some("SEQUENCE") => SqlError::not_supported("CREATE UNLOGGED SEQUENCE is not supported"),
        Some("VIEW" | "RECURSIVE") => SqlError::new(
            "42601",
            "views cannot be unlogged because they do not have storage",
        ),
        Some("MATERIALIZED") => SqlError::not_supported("materialized views cannot be unlogged"),
        _ => tokens.syntax_error(),
    }
}

fn element(tokens: &mut Tokens<'_>) -> Result<TableElement, SqlError> {
    if let Some(word) = tokens.peek_word() {
        if TABLE_CONSTRAINTS.contains(&word.as_str()) {
            return Err(SqlError::not_supported(format!(
                "{word} constraints are not supported"
            )));
        }
        if word == "LIKE" {
            return like(tokens);
        }
    }
    column(tokens).map(TableElement::Column)
}

fn like(tokens: &mut Tokens<'_>) -> Result<TableElement, SqlError> {
    tokens.expect_word("LIKE")?;
    let source = tokens.qualified_name()?;
    let mut including_defaults = false;
    loop {
        let including = if tokens.take_word("INCLUDING") {
            true
        } else if tokens.take_word("EXCLUDING") {
            false
        } else {
            return Ok(TableElement::Like {
                source,
                including_defaults,
            });
        };
        // Of the things that LIKE can take along, tables here have only defaults.
        const KINDS: &[&str] = &[
            "ALL",
            "COMMENTS",
            "COMPRESSION",
            "CONSTRAINTS",
            "DEFAULTS",
            "GENERATED",
            "IDENTITY",
            "INDEXES",
            "STATISTICS",
            "STORAGE",
        ];
        match tokens.peek_word() {
            Some(kind) if KINDS.contains(&kind.as_str()) => {
                if kind == "ALL" || kind == "DEFAULTS" {
                    including_defaults = including;
                }
                tokens.skip();
            }
            _ => return Err(tokens.syntax_error()),
        }
    }
}

fn column(tokens: &mut Tokens<'_>) -> Result<ColumnDefinition, SqlError> {
    let name = tokens.identifier()?;
    let type_name = tokens.type_name()?;
    let mut column = ColumnDefinition {
        name,
        type_name,
        not_null: false,
        default: None,
    };
    let mut null = false;
    loop {
        let position = tokens.position();
        if tokens.take_words(&["NOT", "NULL"]) {
            column.not_null = true;
        } else if tokens.take_word("NULL") {
            null = true;
        } else if tokens.take_word("DEFAULT") {
            if column.default.is_some() {
                return Err(SqlError::new(
                    "42601",
                    format!(
                        "multiple default values specified for column \"{}\"",
                        column.name
                    ),
                )
                .at(position));
            }
            let position = tokens.position();
            let (expression, text) = tokens.expression_before(ends_default)?;
            column.default = Some(ColumnDefault {
                expression: Box::new(expression),
                text,
                position,
            });
        } else {
            return finish_column(tokens, column, position);
        }
        if null && column.not_null {
            return Err(SqlError::new(
                "42601",
                format!(
                    "conflicting NULL/NOT NULL declarations for column \"{}\"",
                    column.name
                ),
            )
            .at(position));
        }
    }
}

/// Whether a column's default ends before the next token. PostgreSQL's grammar makes it a `b_expr`,
/// which cannot swallow the NOT NULL that may follow; sqlparser would read it as IS NOT NULL.
fn ends_default(tokens: &Tokens<'_>, is_first: bool) -> bool {
    match tokens.peek_word().as_deref() {
        Some("NOT") => tokens.peek_nth_word(1).as_deref() == Some("NULL"),
        Some("NULL" | "DEFAULT") => !is_first,
        Some(word) => COLUMN_CONSTRAINTS.contains(&word),
        None => tokens.peek(&Token::Comma),
    }
}

/// The end of a column, or a constraint that is not supported.
fn finish_column(
    tokens: &Tokens<'_>,
    column: ColumnDefinition,
    position: usize,
) -> Result<ColumnDefinition, SqlError> {
    match tokens.peek_word() {
        Some(word) if COLUMN_CONSTRAINTS.contains(&word.as_str()) => Err(SqlError::not_supported(
            format!("{word} on column \"{}\" is not supported", column.name),
        )
        .at(position)),
        _ => Ok(column),
    }
}
