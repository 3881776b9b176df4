//! COPY, in its present form and in the two older ones that PostgreSQL still takes.

use datafusion::sql::sqlparser::tokenizer::Token;
use trunkline_copy::OptionValue;

use super::tokens::Tokens;
use super::{Copy, CopyPlace, CopySubject, Statement};
use crate::error::SqlError;

type CopyOption = (String, Option<OptionValue>);

/// Parses COPY.
pub fn parse(tokens: &mut Tokens<'_>) -> Result<Statement, SqlError> {
    tokens.expect_word("COPY")?;
    let mut options = Vec::new();
    let position = tokens.position();
    if tokens.take_word("BINARY") {
        let binary = OptionValue::String("binary".to_owned());
        options.push((position, ("format".to_owned(), Some(binary))));
    }
    let subject = subject(tokens)?;
    let is_from = if tokens.take_word("FROM") {
        true
    } else {
        tokens.expect_word("TO")?;
        false
    };
    if is_from && matches!(subject, CopySubject::Query(_)) {
        return Err(tokens.syntax_error());
    }
    let place = place(tokens)?;
    if tokens.peek_word().as_deref() == Some("DELIMITERS")
        || tokens.peek_nth_word(1).as_deref() == Some("DELIMITERS")
    {
        tokens.take_word("USING");
        let position = tokens.position();
        tokens.expect_word("DELIMITERS")?;
        let text = tokens.take_string().ok_or_else(|| tokens.syntax_error())?;
        let text = OptionValue::String(text);
        options.push((position, ("delimiter".to_owned(), Some(text))));
    }
    tokens.take_word("WITH");
    if tokens.peek(&Token::LParen) {
        options.extend(tokens.parenthesized(generic_option)?);
    } else {
        loop {
            let position = tokens.position();
            let Some(option) = old_option(tokens)? else {
                break;
            };
            options.push((position, option));
        }
    }
    if tokens.peek_word().as_deref() == Some("WHERE") {
        return Err(if is_from {
            SqlError::not_supported("COPY FROM ... WHERE is not supported")
        } else {
            SqlError::new("42601", "WHERE clause not allowed with COPY TO")
        });
    }
    let (option_positions, options) = options.into_iter().unzip();
    Ok(Statement::Copy(Box::new(Copy {
        subject,
        is_from,
        place,
        options,
        option_positions,
    })))
}

fn subject(tokens: &mut Tokens<'_>) -> Result<CopySubject, SqlError> {
    if tokens.take(&Token::LParen) {
        let query = tokens.query()?;
        tokens.expect(&Token::RParen)?;
        return Ok(CopySubject::Query(query));
    }
    let name = tokens.qualified_name()?;
    let columns = if tokens.peek(&Token::LParen) {
        tokens.parenthesized(Tokens::identifier)?
    } else {
        Vec::new()
    };
    Ok(CopySubject::Table { name, columns })
}

fn place(tokens: &mut Tokens<'_>) -> Result<CopyPlace, SqlError> {
    if let Some(path) = tokens.take_string() {
        return Ok(CopyPlace::File(path));
    }
    match tokens.peek_word().as_deref() {
        Some("STDIN" | "STDOUT") => {
            tokens.skip();
            Ok(CopyPlace::Client)
        }
        Some("PROGRAM") => Err(SqlError::not_supported(
            "COPY with PROGRAM is not supported",
        )),
        _ => Err(tokens.syntax_error()),
    }
}

/// `name [value]` within parentheses.
fn generic_option(tokens: &mut Tokens<'_>) -> Result<(usize, CopyOption), SqlError> {
    let position = tokens.position();
    let name = tokens.label()?;
    Ok((position, (name, option_value(tokens)?)))
}

fn option_value(tokens: &mut Tokens<'_>) -> Result<Option<OptionValue>, SqlError> {
    if tokens.peek(&Token::Comma) || tokens.peek(&Token::RParen) {
        return Ok(None);
    }
    if tokens.take(&Token::Mul) {
        return Ok(Some(OptionValue::Star));
    }
    if tokens.peek(&Token::LParen) {
        let names = tokens.parenthesized(|tokens| match tokens.take_string() {
            Some(text) => Ok(text),
            None => tokens.label(),
        })?;
        return Ok(Some(OptionValue::List(names)));
    }
    if let Some(text) = tokens.take_string() {
        return Ok(Some(OptionValue::String(text)));
    }
    let sign = if tokens.take(&Token::Minus) {
        "-"
    } else {
        tokens.take(&Token::Plus);
        ""
    };
    if let Some(number) = tokens.take_number() {
        let number = format!("{sign}{number}");
        return Ok(Some(match number.parse::<i32>() {
            Ok(integer) => OptionValue::Integer(integer),
            Err(_) => OptionValue::Float(number),
        }));
    }
    Ok(Some(OptionValue::String(tokens.label()?)))
}

/// One of the options as they were written before PostgreSQL 9.0, if one is next.
fn old_option(tokens: &mut Tokens<'_>) -> Result<Option<CopyOption>, SqlError> {
    let Some(word) = tokens.peek_word() else {
        return Ok(None);
    };
    let text = |value: &str| Some(OptionValue::String(value.to_owned()));
    let option = match word.as_str() {
        "BINARY" | "CSV" => {
            tokens.skip();
            ("format".to_owned(), text(&word.to_ascii_lowercase()))
        }
        "FREEZE" | "HEADER" => {
            tokens.skip();
            (word.to_ascii_lowercase(), text("true"))
        }
        "DELIMITER" | "NULL" | "QUOTE" | "ESCAPE" | "ENCODING" => {
            tokens.skip();
            tokens.take_word("AS");
            let value = tokens.take_string().ok_or_else(|| tokens.syntax_error())?;
            (word.to_ascii_lowercase(), Some(OptionValue::String(value)))
        }
        "FORCE" => {
            tokens.skip();
            let name = if tokens.take_word("QUOTE") {
                "force_quote"
            } else if tokens.take_words(&["NOT", "NULL"]) {
                "force_not_null"
            } else {
                tokens.expect_word("NULL")?;
                "force_null"
            };
            let value = if tokens.take(&Token::Mul) {
                OptionValue::Star
            } else {
                OptionValue::List(tokens.list(Tokens::identifier)?)
            };
            (name.to_owned(), Some(value))
        }
        _ => return Ok(None),
    };
    Ok(Some(option))
}
