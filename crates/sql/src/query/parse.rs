//! SQL text to syntax trees, with PostgreSQL's syntax errors.

use datafusion::sql::sqlparser::ast::{Expr, Query, SetExpr, Statement};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Whitespace};

use super::dialect::PgDialect;
use super::error::{QueryError, parser_error};
use super::lexical::tokenize;

/// How deeply queries and expressions may nest: what the stacks of the threads that parse bear.
const RECURSION_LIMIT: usize = 800;

/// A parser of what [`tokenize`] made.
pub(crate) fn parser(tokens: Vec<TokenWithSpan>) -> Parser<'static> {
    const DIALECT: PgDialect = PgDialect;
    Parser::new(&DIALECT)
        .with_recursion_limit(RECURSION_LIMIT)
        .with_tokens_with_locations(tokens)
}

/// What stands in a select list that is empty: a column name that no statement can write.
pub(crate) const EMPTY_LIST: &str = "\0";

/// The parser knows an empty select list before FROM only: any other gets [`EMPTY_LIST`].
pub(crate) fn mark_empty_lists(tokens: &mut Vec<TokenWithSpan>) {
    let is_blank = |token: &Token| matches!(token, Token::Whitespace(_));
    let mut index = 0;
    while index < tokens.len() {
        let is_select = |token: &Token| {
            matches!(token, Token::Word(word) if word.quote_style.is_none()
                && word.keyword == Keyword::SELECT)
        };
        if is_select(&tokens[index].token) {
            let next = tokens[index + 1..]
                .iter()
                .find(|token| !is_blank(&token.token));
            let ends = match next.map(|token| &token.token) {
                None | Some(Token::EOF | Token::SemiColon | Token::RParen) => true,
                Some(Token::Word(word)) => {
                    word.quote_style.is_none() && ENDS_OF_LIST.contains(&word.keyword)
                }
                _ => false,
            };
            if ends {
                let span = tokens[index].span;
                let marker = Token::make_word(EMPTY_LIST, Some('"'));
                let blank = Token::Whitespace(Whitespace::Space);
                tokens.insert(index + 1, TokenWithSpan::new(blank, span));
                tokens.insert(index + 2, TokenWithSpan::new(marker, span));
            }
        }
        index += 1;
    }
}

/// Keywords that can follow an empty select list; FROM is the parser's own.
const ENDS_OF_LIST: [Keyword; 10] = [
    Keyword::WHERE,
    Keyword::GROUP,
    Keyword::HAVING,
    Keyword::ORDER,
    Keyword::LIMIT,
    Keyword::OFFSET,
    Keyword::FETCH,
    Keyword::UNION,
    Keyword::INTERSECT,
    Keyword::EXCEPT,
];

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
    let mut parser = parser(tokenize(sql)?);
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
    let mut parser = parser(tokenize(sql)?);
    let expr = parser
        .parse_expr()
        .map_err(|error| parser_error(sql, &error))?;
    expect_end(&mut parser, sql)?;
    Ok(expr)
}
