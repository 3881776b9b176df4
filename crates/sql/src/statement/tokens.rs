//! One statement's tokens, read one by one, with PostgreSQL's syntax errors.
//!
//! A thin layer over sqlparser's parser: names are folded as PostgreSQL folds them, keywords are
//! matched by spelling, and an unexpected token is `syntax error at or near "x"` with its position.

use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan};

use super::reserved::is_reserved;
use super::{QualifiedName, TypeName};
use crate::error::SqlError;
use crate::query::{parser, parser_error, tokenize};

/// Longest identifier in bytes (`NAMEDATALEN` - 1); longer ones are cut, as PostgreSQL does.
const MAX_IDENTIFIER_BYTES: usize = 63;

/// The tokens of one statement.
pub struct Tokens<'a> {
    text: &'a str,
    parser: Parser<'a>,
}

impl<'a> Tokens<'a> {
    /// Tokenizes `text`.
    ///
    /// # Errors
    /// An unterminated quote or comment, or a character that begins no token.
    pub fn new(text: &'a str) -> Result<Tokens<'a>, SqlError> {
        Ok(Tokens {
            text,
            parser: parser(tokenize(text)?),
        })
    }

    /// The statement's text.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// One-based character position of the next token.
    pub fn position(&self) -> usize {
        match self.parser.peek_token_ref() {
            TokenWithSpan {
                token: Token::EOF, ..
            } => self.text.chars().count() + 1,
            token => character_position(self.text, token.span.start),
        }
    }

    /// `syntax error at or near` the next token.
    pub fn syntax_error(&self) -> SqlError {
        let message = match &self.parser.peek_token_ref().token {
            Token::EOF => "syntax error at end of input".to_owned(),
            Token::SemiColon => "syntax error at or near \";\"".to_owned(),
            _ => format!("syntax error at or near \"{}\"", self.token_text()),
        };
        SqlError::new("42601", message).at(self.position())
    }

    /// The next token as it was written.
    fn token_text(&self) -> String {
        let token = self.parser.peek_token_ref();
        let start = character_position(self.text, token.span.start).saturating_sub(1);
        let end = character_position(self.text, token.span.end).saturating_sub(1);
        let written: String = self.text.chars().skip(start).take(end - start).collect();
        if written.is_empty() {
            token.token.to_string()
        } else {
            written
        }
    }

    /// Whether all tokens are read.
    pub fn at_end(&self) -> bool {
        matches!(
            self.parser.peek_token_ref().token,
            Token::EOF | Token::SemiColon
        )
    }

    /// Demands that all tokens are read.
    ///
    /// # Errors
    /// There is another token.
    pub fn expect_end(&self) -> Result<(), SqlError> {
        if self.at_end() {
            Ok(())
        } else {
            Err(self.syntax_error())
        }
    }

    /// The next token's word in upper case, if it is an unquoted word.
    pub fn peek_word(&self) -> Option<String> {
        Self::word_of(&self.parser.peek_token_ref().token)
    }

    /// The word `n` tokens on.
    pub fn peek_nth_word(&self, n: usize) -> Option<String> {
        Self::word_of(&self.parser.peek_nth_token(n).token)
    }

    fn word_of(token: &Token) -> Option<String> {
        match token {
            Token::Word(word) if word.quote_style.is_none() => {
                Some(word.value.to_ascii_uppercase())
            }
            _ => None,
        }
    }

    /// Reads `word` if it is next.
    pub fn take_word(&mut self, word: &str) -> bool {
        let found = self.peek_word().is_some_and(|next| next == word);
        if found {
            self.parser.next_token();
        }
        found
    }

    /// Reads all of `words` if they are next.
    pub fn take_words(&mut self, words: &[&str]) -> bool {
        let all = words
            .iter()
            .enumerate()
            .all(|(n, word)| self.peek_nth_word(n).is_some_and(|next| next == *word));
        if all {
            for _ in words {
                self.parser.next_token();
            }
        }
        all
    }

    /// Reads `word`.
    ///
    /// # Errors
    /// Something else is next.
    pub fn expect_word(&mut self, word: &str) -> Result<(), SqlError> {
        if self.take_word(word) {
            Ok(())
        } else {
            Err(self.syntax_error())
        }
    }

    /// Reads `token` if it is next.
    pub fn take(&mut self, token: &Token) -> bool {
        self.parser.consume_token(token)
    }

    /// Reads `token`.
    ///
    /// # Errors
    /// Something else is next.
    pub fn expect(&mut self, token: &Token) -> Result<(), SqlError> {
        if self.take(token) {
            Ok(())
        } else {
            Err(self.syntax_error())
        }
    }

    /// Whether `token` is next.
    pub fn peek(&self, token: &Token) -> bool {
        self.parser.peek_token_ref().token == *token
    }

    /// Whether `token` is `n` tokens on.
    pub fn peek_nth(&self, n: usize, token: &Token) -> bool {
        self.parser.peek_nth_token(n).token == *token
    }

    /// Reads the name of a table, a column or the like (`ColId`): an identifier that is no
    /// reserved word.
    ///
    /// # Errors
    /// Something else is next.
    pub fn identifier(&mut self) -> Result<String, SqlError> {
        if self.peek_word().is_some_and(|word| is_reserved(&word)) {
            return Err(self.syntax_error());
        }
        self.label()
    }

    /// Reads an identifier or any word (`ColLabel`): folded to lower case unless quoted, cut to 63
    /// bytes.
    ///
    /// # Errors
    /// Something else is next.
    pub fn label(&mut self) -> Result<String, SqlError> {
        let Token::Word(word) = &self.parser.peek_token_ref().token else {
            return Err(self.syntax_error());
        };
        let name = fold_identifier(&word.value, word.quote_style.is_some());
        if name.is_empty() {
            return Err(SqlError::new(
                "42601",
                "zero-length delimited identifier at or near \"\"\"\"",
            )
            .at(self.position()));
        }
        self.parser.next_token();
        Ok(name)
    }

    /// Reads `[schema.]name`.
    ///
    /// # Errors
    /// Something else is next, or the name has more parts.
    pub fn qualified_name(&mut self) -> Result<QualifiedName, SqlError> {
        let mut parts = vec![self.identifier()?];
        while self.take(&Token::Period) {
            parts.push(self.label()?);
        }
        qualify(parts)
    }

    /// Reads a comma-separated list of at least one item.
    ///
    /// # Errors
    /// An item's.
    pub fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, SqlError>,
    ) -> Result<Vec<T>, SqlError> {
        let mut items = vec![item(self)?];
        while self.take(&Token::Comma) {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// Reads `(item, ...)`.
    ///
    /// # Errors
    /// An item's, or a missing parenthesis.
    pub fn parenthesized<T>(
        &mut self,
        item: impl FnMut(&mut Self) -> Result<T, SqlError>,
    ) -> Result<Vec<T>, SqlError> {
        self.expect(&Token::LParen)?;
        let items = self.list(item)?;
        self.expect(&Token::RParen)?;
        Ok(items)
    }

    /// Reads a string constant of any of PostgreSQL's forms, if one is next.
    pub fn take_string(&mut self) -> Option<String> {
        let value = match &self.parser.peek_token_ref().token {
            Token::SingleQuotedString(text)
            | Token::EscapedStringLiteral(text)
            | Token::UnicodeStringLiteral(text) => text.clone(),
            Token::DollarQuotedString(quoted) => quoted.value.clone(),
            _ => return None,
        };
        self.parser.next_token();
        Some(value)
    }

    /// Reads an unsigned numeric constant as written, if one is next.
    pub fn take_number(&mut self) -> Option<String> {
        let Token::Number(number, _) = &self.parser.peek_token_ref().token else {
            return None;
        };
        let number = number.clone();
        self.parser.next_token();
        Some(number)
    }

    /// Skips the next token.
    pub fn skip(&mut self) {
        self.parser.next_token();
    }

    /// Reads an expression, with its text as written.
    ///
    /// # Errors
    /// It does not parse.
    pub fn expression(&mut self) -> Result<(ast::Expr, String), SqlError> {
        let start = self.position();
        let expression = self
            .parser
            .parse_expr()
            .map_err(|error| parser_error(self.text, &error))?;
        let end = self.position();
        let written: String = self
            .text
            .chars()
            .skip(start - 1)
            .take(end - start)
            .collect();
        Ok((expression, written.trim_end().to_owned()))
    }

    /// Reads the expression that ends before the first token outside parentheses for which `ends`
    /// holds (it also learns whether that would be the expression's first), with its text.
    ///
    /// # Errors
    /// It does not parse.
    pub fn expression_before(
        &mut self,
        ends: impl Fn(&Tokens<'_>, bool) -> bool,
    ) -> Result<(ast::Expr, String), SqlError> {
        let start = self.position();
        let mut depth = 0_usize;
        let mut is_first = true;
        while !self.at_end() && (depth > 0 || !(self.peek(&Token::RParen) || ends(self, is_first)))
        {
            if self.peek(&Token::LParen) {
                depth += 1;
            } else if self.peek(&Token::RParen) {
                depth -= 1;
            }
            is_first = false;
            self.skip();
        }
        if is_first {
            return Err(self.syntax_error());
        }
        let end = self.position();
        let text: String = self
            .text
            .chars()
            .skip(start - 1)
            .take(end - start)
            .collect();
        let mut tokens = Tokens::new(&text)?;
        let expression = tokens.expression().and_then(|expression| {
            tokens.expect_end()?;
            Ok(expression)
        });
        expression.map_err(|mut error| {
            if error.message.ends_with("at end of input") {
                return self.syntax_error();
            }
            error.position = error.position.map(|position| position + start - 1);
            error
        })
    }

    /// Reads a query.
    ///
    /// # Errors
    /// It does not parse.
    pub fn query(&mut self) -> Result<Box<ast::Query>, SqlError> {
        let query = self.parser.parse_query();
        Ok(query.map_err(|error| parser_error(self.text, &error))?)
    }

    /// Reads a type's name with its modifiers.
    ///
    /// # Errors
    /// Something else is next, or an array type.
    pub fn type_name(&mut self) -> Result<TypeName, SqlError> {
        let position = self.position();
        let quoted = matches!(&self.parser.peek_token_ref().token,
            Token::Word(word) if word.quote_style.is_some());
        let mut name = self.label()?;
        if name == "pg_catalog" && self.take(&Token::Period) {
            name = self.label()?;
        }
        if !quoted {
            self.type_name_further_words(&mut name);
        }
        let mut modifiers = Vec::new();
        if self.take(&Token::LParen) {
            modifiers = self.list(|tokens| {
                let negative = tokens.take(&Token::Minus);
                let number = tokens.take_number().ok_or_else(|| tokens.syntax_error())?;
                let number: i32 = number.parse().map_err(|_| tokens.syntax_error())?;
                Ok(if negative { -number } else { number })
            })?;
            self.expect(&Token::RParen)?;
        }
        if self.take_words(&["WITH", "TIME", "ZONE"]) {
            name.push_str(" with time zone");
        } else if self.take_words(&["WITHOUT", "TIME", "ZONE"]) {
            name.push_str(" without time zone");
        }
        if self.peek(&Token::LBracket) || self.peek_word().as_deref() == Some("ARRAY") {
            return Err(SqlError::not_supported(format!(
                "columns of array type {name}[] are not supported"
            ))
            .at(position));
        }
        Ok(TypeName {
            name,
            modifiers,
            is_quoted: quoted,
            position,
        })
    }

    /// The second word of `double precision`, `character varying`, `bit varying`.
    fn type_name_further_words(&mut self, name: &mut String) {
        let second = match name.as_str() {
            "double" => "PRECISION",
            "character" | "char" | "bit" | "nchar" => "VARYING",
            "national" => "CHARACTER",
            _ => return,
        };
        if self.take_word(second) {
            name.push(' ');
            name.push_str(&second.to_ascii_lowercase());
        }
    }

    /// Whatever is left, handed to sqlparser as one statement.
    ///
    /// # Errors
    /// It does not parse.
    pub fn rest_as_statement(&mut self) -> Result<ast::Statement, SqlError> {
        let statement = self.parser.parse_statement();
        Ok(statement.map_err(|error| parser_error(self.text, &error))?)
    }
}

/// The names that stand before a parenthesis in an expression: every function that it calls, and a
/// few keywords.
///
/// # Errors
/// The text has no tokens.
pub(crate) fn called_functions(text: &str) -> Result<Vec<String>, SqlError> {
    let mut tokens = Tokens::new(text)?;
    let mut names = Vec::new();
    while !tokens.at_end() {
        let name = tokens.label().ok();
        match name {
            Some(name) if tokens.peek(&Token::LParen) => names.push(name),
            Some(_) => {}
            None => tokens.skip(),
        }
    }
    Ok(names)
}

/// A name as PostgreSQL folds it: to lower case unless quoted, and cut to 63 bytes.
pub fn fold_identifier(written: &str, quoted: bool) -> String {
    let mut name = if quoted {
        written.to_owned()
    } else {
        written.to_lowercase()
    };
    if name.len() > MAX_IDENTIFIER_BYTES {
        let mut end = MAX_IDENTIFIER_BYTES;
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        name.truncate(end);
    }
    name
}

/// `[database.][schema.]name` as its parts.
pub fn qualify(mut parts: Vec<String>) -> Result<QualifiedName, SqlError> {
    let too_many = || SqlError::new("42601", "improper qualified name (too many dotted names)");
    let name = parts.pop().ok_or_else(too_many)?;
    let schema = parts.pop();
    if parts.len() > 1 {
        return Err(too_many());
    }
    Ok(QualifiedName { schema, name })
}

/// One-based character position of a line and column.
fn character_position(text: &str, location: Location) -> usize {
    let line = usize::try_from(location.line).unwrap_or(usize::MAX);
    let column = usize::try_from(location.column).unwrap_or(usize::MAX);
    let before: usize = text
        .split_inclusive('\n')
        .take(line.saturating_sub(1))
        .map(|line| line.chars().count())
        .sum();
    before + column.max(1)
}
