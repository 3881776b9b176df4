//! SQL text to syntax trees, with PostgreSQL's syntax errors.

use datafusion::sql::sqlparser::ast::{Expr, Query, SetExpr, Statement};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::error::{QueryError, parser_error};

/// How deeply expressions may nest.
const RECURSION_LIMIT: usize = 128;

fn parser(sql: &str) -> Result<Parser<'static>, QueryError> {
    const DIALECT: PostgreSqlDialect = PostgreSqlDialect {};
    Parser::new(&DIALECT)
        .with_recursion_limit(RECURSION_LIMIT)
        .try_with_sql(sql)
        .map_err(|error| parser_error(sql, &error))
}

fn expect_end(parser: &mut Parser<'_>, sql: &str) -> Result<(), QueryError> {
    while parser.consume_token(&Token::SemiColon) {}
    parser
        .expect_token(&Token::EOF)
        .map(|_| ())
        .map_err(|error| parser_error(sql, &error))
}

/// One statement; `None` if there is only blank space and comments.
///
/// # Errors
/// 42601 with the token and place where the text stops being SQL.
pub fn parse_statement(sql: &str) -> Result<Option<Statement>, QueryError> {
    let mut parser = parser(sql)?;
    while parser.consume_token(&Token::SemiColon) {}
    if parser.peek_token().token == Token::EOF {
        return Ok(None);
    }
    let statement = parser
        .parse_statement()
        .map_err(|error| parser_error(sql, &error))?;
    expect_end(&mut parser, sql)?;
    Ok(Some(statement))
}

/// One query: SELECT, VALUES, WITH or a parenthesised one.
///
/// # Errors
/// 42601, also for a statement of another kind.
pub fn parse_query(sql: &str) -> Result<Box<Query>, QueryError> {
    match parse_statement(sql)? {
        Some(Statement::Query(query)) if !modifies(&query) => Ok(query),
        Some(other) => {
            let word = other.to_string();
            let word = word
                .split_whitespace()
                .next()
                .unwrap_or_default()
                .to_owned();
            Err(QueryError::syntax(Some(&word), Some(1)))
        }
        None => Err(QueryError::syntax(None, Some(1))),
    }
}

fn modifies(query: &Query) -> bool {
    matches!(
        query.body.as_ref(),
        SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_)
    )
}

/// One expression, e.g. a column's default.
///
/// # Errors
/// 42601.
pub fn parse_expression(sql: &str) -> Result<Expr, QueryError> {
    let mut parser = parser(sql)?;
    let expr = parser
        .parse_expr()
        .map_err(|error| parser_error(sql, &error))?;
    expect_end(&mut parser, sql)?;
    Ok(expr)
}
