//! EXPLAIN and its options (`ParseExplainOptionList` in PostgreSQL's `commands/explain_state.c`).

use datafusion::sql::sqlparser::tokenizer::Token;

use super::parse::parse as parse_any;
use super::tokens::Tokens;
use super::{Explain, Statement};
use crate::error::SqlError;

/// Parses EXPLAIN.
pub fn parse(tokens: &mut Tokens<'_>) -> Result<Statement, SqlError> {
    tokens.expect_word("EXPLAIN")?;
    let (analyze, verbose) = if tokens.peek(&Token::LParen) && !query_follows(tokens) {
        check(&tokens.parenthesized(option)?)?
    } else {
        (tokens.take_word("ANALYZE"), tokens.take_word("VERBOSE"))
    };
    let statement = match parse_any(tokens)? {
        statement @ (Statement::Query(_) | Statement::Insert(_)) => statement,
        _ => {
            return Err(SqlError::not_supported(
                "EXPLAIN of this statement is not supported",
            ));
        }
    };
    Ok(Statement::Explain(Box::new(Explain {
        analyze,
        verbose,
        statement,
    })))
}

fn query_follows(tokens: &Tokens<'_>) -> bool {
    tokens.peek_nth(1, &Token::LParen)
        || tokens
            .peek_nth_word(1)
            .is_some_and(|word| ["SELECT", "VALUES", "WITH", "TABLE"].contains(&word.as_str()))
}

/// `name [value]` within the parentheses.
struct ExplainOption {
    name: String,
    value: Option<String>,
    /// One-based character position of the name.
    position: usize,
}

fn option(tokens: &mut Tokens<'_>) -> Result<ExplainOption, SqlError> {
    let position = tokens.position();
    let name = tokens.label()?;
    let value = if tokens.peek(&Token::Comma) || tokens.peek(&Token::RParen) {
        None
    } else if let Some(text) = tokens.take_string() {
        Some(text)
    } else {
        let sign = if tokens.take(&Token::Minus) {
            "-"
        } else {
            tokens.take(&Token::Plus);
            ""
        };
        Some(match tokens.take_number() {
            Some(number) => format!("{sign}{number}"),
            None => tokens.label()?,
        })
    };
    Ok(ExplainOption {
        name,
        value,
        position,
    })
}

impl ExplainOption {
    fn boolean(&self) -> Result<bool, SqlError> {
        let Some(value) = &self.value else {
            return Ok(true);
        };
        match value.to_ascii_lowercase().as_str() {
            "true" | "on" | "1" => Ok(true),
            "false" | "off" | "0" => Ok(false),
            _ => Err(SqlError::new(
                "42601",
                format!("{} requires a Boolean value", self.name),
            )),
        }
    }

    fn unrecognized_value(&self, value: &str) -> SqlError {
        SqlError::new(
            "22023",
            format!(
                "unrecognized value for EXPLAIN option \"{}\": \"{value}\"",
                self.name
            ),
        )
        .at(self.position)
    }

    /// Whether the format is TEXT.
    fn is_text_format(&self) -> Result<bool, SqlError> {
        let Some(value) = &self.value else {
            return Err(SqlError::new(
                "42601",
                format!("{} requires a parameter", self.name),
            ));
        };
        match value.as_str() {
            "text" => Ok(true),
            "xml" | "json" | "yaml" => Ok(false),
            _ => Err(self.unrecognized_value(value)),
        }
    }

    /// Whether SERIALIZE is to be done.
    fn serialize(&self) -> Result<bool, SqlError> {
        match self.value.as_deref() {
            None | Some("text" | "binary") => Ok(true),
            Some("off" | "none") => Ok(false),
            Some(other) => Err(self.unrecognized_value(other)),
        }
    }
}

/// Options that PostgreSQL takes with ANALYZE only.
const WITH_ANALYZE: &[&str] = &["wal", "timing", "serialize"];

/// ANALYZE and VERBOSE. Options that ask for what is not there are refused.
fn check(options: &[ExplainOption]) -> Result<(bool, bool), SqlError> {
    let (mut analyze, mut verbose) = (false, false);
    let mut other_format = None;
    let mut wanted = Vec::new();
    for option in options {
        match option.name.as_str() {
            "analyze" => analyze = option.boolean()?,
            "verbose" => verbose = option.boolean()?,
            "format" => {
                other_format = (!option.is_text_format()?).then_some(option.position);
            }
            name @ ("costs" | "settings" | "generic_plan" | "buffers" | "wal" | "timing"
            | "summary" | "memory") => {
                if option.boolean()? {
                    wanted.push((name, option.position));
                }
            }
            "serialize" => {
                if option.serialize()? {
                    wanted.push(("serialize", option.position));
                }
            }
            name => {
                return Err(SqlError::new(
                    "42601",
                    format!("unrecognized EXPLAIN option \"{name}\""),
                )
                .at(option.position));
            }
        }
    }
    for name in WITH_ANALYZE {
        if !analyze && wanted.iter().any(|(wanted, _)| wanted == name) {
            let name = name.to_ascii_uppercase();
            return Err(SqlError::new(
                "22023",
                format!("EXPLAIN option {name} requires ANALYZE"),
            ));
        }
    }
    if analyze && wanted.iter().any(|(name, _)| *name == "generic_plan") {
        return Err(SqlError::new(
            "22023",
            "EXPLAIN options ANALYZE and GENERIC_PLAN cannot be used together",
        ));
    }
    if let Some(position) = other_format {
        return Err(
            SqlError::not_supported("EXPLAIN formats other than TEXT are not supported")
                .at(position),
        );
    }
    match wanted.first() {
        Some((name, position)) => Err(SqlError::not_supported(format!(
            "EXPLAIN option \"{name}\" is not supported"
        ))
        .at(*position)),
        None => Ok((analyze, verbose)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse_statement;

    // SQLSTATEs, messages and positions as PostgreSQL 18 gives them, but for 0A000.
    #[test]
    fn options_are_read_or_refused() {
        for (text, sqlstate, message, position) in [
            (
                "explain (bogus) select 1",
                "42601",
                "unrecognized EXPLAIN option \"bogus\"",
                Some(10),
            ),
            (
                "explain (verbose, \"Foo\" 1) select 1",
                "42601",
                "unrecognized EXPLAIN option \"Foo\"",
                Some(19),
            ),
            (
                "explain (format bogus) select 1",
                "22023",
                "unrecognized value for EXPLAIN option \"format\": \"bogus\"",
                Some(10),
            ),
            (
                "explain (format) select 1",
                "42601",
                "format requires a parameter",
                None,
            ),
            (
                "explain (analyze -1) select 1",
                "42601",
                "analyze requires a Boolean value",
                None,
            ),
            (
                "explain (timing) select 1",
                "22023",
                "EXPLAIN option TIMING requires ANALYZE",
                None,
            ),
            (
                "explain (serialize foo) select 1",
                "22023",
                "unrecognized value for EXPLAIN option \"serialize\": \"foo\"",
                Some(10),
            ),
            (
                "explain (generic_plan, analyze) select 1",
                "22023",
                "EXPLAIN options ANALYZE and GENERIC_PLAN cannot be used together",
                None,
            ),
            (
                "explain () select 1",
                "42601",
                "syntax error at or near \")\"",
                Some(10),
            ),
            (
                "explain (verbose, format json) select 1",
                "0A000",
                "EXPLAIN formats other than TEXT are not supported",
                Some(19),
            ),
            (
                "explain (buffers) select 1",
                "0A000",
                "EXPLAIN option \"buffers\" is not supported",
                Some(10),
            ),
        ] {
            let error = parse_statement(text).expect_err(text);
            assert_eq!(error.sqlstate, sqlstate, "{text}");
            assert_eq!(error.message, message, "{text}");
            assert_eq!(error.position, position, "{text}");
        }
        parse_statement("explain (analyze 1, costs off, format 'text', timing 'off') select 1")
            .unwrap();
        parse_statement("explain (format json, format text) select 1").unwrap();
    }
}
