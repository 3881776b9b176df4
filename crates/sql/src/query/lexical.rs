//! SQL text to tokens as `scan.l` makes them, where sqlparser's tokenizer differs: strings that go
//! on in the next line, integers with a base or underscores, and operators that end in a sign.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{
    Location, Span, Token, TokenWithSpan, Tokenizer, Whitespace,
};

use super::depth::check_depth;
use super::dialect::PgDialect;
use super::error::{QueryError, character_at, parser_error, sqlstate};
use super::parse::mark_empty_lists;

/// Hexadecimal and other digits that an integer may have; more give a value that numeric refuses.
const RADIX_DIGITS_MAX: usize = 440_000;

/// The tokens of a statement, ready for the parser.
///
/// # Errors
/// 42601 for what is no token; 54001 if the statement is too deep to be parsed.
pub(crate) fn tokenize(sql: &str) -> Result<Vec<TokenWithSpan>, QueryError> {
    let tokens = Tokenizer::new(&PgDialect, sql)
        .tokenize_with_location()
        .map_err(|error| parser_error(sql, &error.into()))?;
    let mut tokens = Lexer::new(sql).run(tokens)?;
    check_depth(&tokens)?;
    mark_empty_lists(&mut tokens);
    Ok(tokens)
}

/// Goes through the text in step with the tokens.
struct Lexer<'a> {
    sql: &'a str,
    /// Byte offset of `at`.
    offset: usize,
    at: Location,
}

impl<'a> Lexer<'a> {
    fn new(sql: &'a str) -> Lexer<'a> {
        Lexer {
            sql,
            offset: 0,
            at: Location { line: 1, column: 1 },
        }
    }

    /// The text from a place on, which is not before those asked for already.
    fn text_from(&mut self, place: Location) -> &'a str {
        let mut rest = self.sql.get(self.offset..).unwrap_or_default().chars();
        while (self.at.line, self.at.column) < (place.line, place.column) {
            let Some(character) = rest.next() else {
                break;
            };
            self.offset += character.len_utf8();
            if character == '\n' {
                self.at = Location {
                    line: self.at.line + 1,
                    column: 1,
                };
            } else {
                self.at.column += 1;
            }
        }
        self.sql.get(self.offset..).unwrap_or_default()
    }

    fn position(&self, place: Location) -> Option<usize> {
        character_at(self.sql, (place.line, place.column))
    }

    fn run(&mut self, tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>, QueryError> {
        let mut made: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
        // Index in `made` of the last token that is not blank space, and whether a line ended since.
        let mut last: Option<usize> = None;
        let mut line_ended = false;
        // Tokens before it are part of a number that was read otherwise.
        let mut resume = self.at;
        for token in tokens {
            let start = token.span.start;
            if (start.line, start.column) < (resume.line, resume.column)
                && token.token != Token::EOF
            {
                continue;
            }
            match &token.token {
                Token::Whitespace(blank) => {
                    line_ended |= matches!(
                        blank,
                        Whitespace::Newline | Whitespace::SingleLineComment { .. }
                    );
                    made.push(token);
                    continue;
                }
                Token::SingleQuotedString(piece) => {
                    if let Some(string) = last.and_then(|last| made.get_mut(last))
                        && is_string(&string.token)
                    {
                        let text = self.text_from(start);
                        let written = quoted(text);
                        if !line_ended {
                            let error = QueryError::syntax(Some(written), self.position(start));
                            return Err(error);
                        }
                        continue_string(&mut string.token, piece, written);
                        string.span.end = token.span.end;
                        made.truncate(last.map_or(0, |last| last + 1));
                        line_ended = false;
                        continue;
                    }
                    made.push(token);
                }
                Token::Number(..) | Token::HexStringLiteral(_) => {
                    let text = self.text_from(start);
                    if text.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
                        let number =
                            read_number(text).map_err(|error| error.at(self.position(start)))?;
                        resume = Location {
                            line: start.line,
                            column: start.column + number.length as u64,
                        };
                        made.push(TokenWithSpan::new(
                            Token::Number(number.value, false),
                            Span::new(start, resume),
                        ));
                    } else {
                        made.push(token);
                    }
                }
                Token::CustomBinaryOperator(operator) => match split_signs(operator) {
                    Some(parts) => {
                        made.extend(
                            parts
                                .into_iter()
                                .map(|part| TokenWithSpan::new(part, token.span)),
                        );
                    }
                    None => made.push(token),
                },
                Token::Mul if is_quantified_star(&made) => {
                    return Err(QueryError::syntax(Some("*"), self.position(start)));
                }
                Token::Placeholder(name) => {
                    let rest = self.text_from(start);
                    let word = rest
                        .get(1..)
                        .and_then(|rest| rest.find(|c| !is_word(c)))
                        .map_or(rest, |length| &rest[..=length]);
                    if name.starts_with('$')
                        && word[1..].starts_with(|c: char| c.is_ascii_digit())
                        && word[1..].contains(|c: char| !c.is_ascii_digit())
                    {
                        return Err(junk("parameter", word).at(self.position(start)));
                    }
                    made.push(token);
                }
                _ => made.push(token),
            }
            last = made.len().checked_sub(1);
            line_ended = false;
        }
        Ok(made)
    }
}

fn is_string(token: &Token) -> bool {
    matches!(
        token,
        Token::SingleQuotedString(_)
            | Token::EscapedStringLiteral(_)
            | Token::UnicodeStringLiteral(_)
            | Token::NationalStringLiteral(_)
    )
}

/// The string constant that a text begins with, with its quotes.
fn quoted(text: &str) -> &str {
    let mut end = 1;
    while let Some(quote) = text.get(end..).and_then(|rest| rest.find('\'')) {
        end += quote + 1;
        if !text[end..].starts_with('\'') {
            return &text[..end];
        }
        end += 1;
    }
    text
}

/// Appends a piece, `written` with its quotes, which follows the rules of the string's first one.
fn continue_string(string: &mut Token, piece: &str, written: &str) {
    match string {
        Token::EscapedStringLiteral(value) => {
            let escaped = Tokenizer::new(&PgDialect, &format!("E{written}")).tokenize();
            match escaped.as_deref() {
                Ok([Token::EscapedStringLiteral(piece), ..]) => value.push_str(piece),
                _ => value.push_str(piece),
            }
        }
        Token::SingleQuotedString(value)
        | Token::UnicodeStringLiteral(value)
        | Token::NationalStringLiteral(value) => value.push_str(piece),
        _ => {}
    }
}

/// Whether the star that comes next is `f(DISTINCT *)` or `f(ALL *)`, which no grammar rule has.
fn is_quantified_star(before: &[TokenWithSpan]) -> bool {
    let mut before = before
        .iter()
        .rev()
        .map(|token| &token.token)
        .filter(|token| !matches!(token, Token::Whitespace(_)));
    matches!(before.next(), Some(Token::Word(word)) if word.quote_style.is_none()
        && matches!(word.keyword, Keyword::DISTINCT | Keyword::ALL))
        && before.next() == Some(&Token::LParen)
}

/// The parts of an operator that may not end in a sign: without one of `~!@#%^&|`?`, a sign at its
/// end is the operand's.
fn split_signs(operator: &str) -> Option<Vec<Token>> {
    if operator.contains(|c| "~!@#%^&|`?".contains(c)) {
        return None;
    }
    let sign = |c| if c == '-' { Token::Minus } else { Token::Plus };
    let stem = operator.trim_end_matches(['+', '-']);
    let first = match stem {
        "" => None,
        "<" => Some(Token::Lt),
        ">" => Some(Token::Gt),
        "=" => Some(Token::Eq),
        "<=" => Some(Token::LtEq),
        ">=" => Some(Token::GtEq),
        "<>" => Some(Token::Neq),
        "*" => Some(Token::Mul),
        "/" => Some(Token::Div),
        _ => return None,
    };
    let signs = operator.get(stem.len()..).unwrap_or_default();
    Some(first.into_iter().chain(signs.chars().map(sign)).collect())
}

struct Number {
    /// Characters read, all of them ASCII.
    length: usize,
    /// The number in decimal, without underscores.
    value: String,
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_' || character == '$' || !character.is_ascii()
}

fn junk(what: &str, near: &str) -> QueryError {
    QueryError::new(
        sqlstate::SYNTAX_ERROR,
        format!("trailing junk after {what} at or near \"{near}\""),
    )
}

/// The length of `{digit}(_?{digit})*` at the beginning of a text, 0 if there is none.
fn digits_length(text: &str, radix: u32) -> usize {
    let mut length = 0;
    let mut last_was_digit = false;
    for (index, character) in text.char_indices() {
        if character.is_digit(radix) {
            length = index + 1;
            last_was_digit = true;
        } else if character == '_' && last_was_digit {
            last_was_digit = false;
        } else {
            break;
        }
    }
    length
}

/// Reads the number that a text begins with.
///
/// # Errors
/// 42601: letters follow it, or its base has no digits.
fn read_number(text: &str) -> Result<Number, QueryError> {
    let integer = digits_length(text, 10);
    let mut length = integer;
    let mut radix = 10;
    let bases = [
        (['x', 'X'], 16, "hexadecimal"),
        (['o', 'O'], 8, "octal"),
        (['b', 'B'], 2, "binary"),
    ];
    let prefixed = text.strip_prefix('0').and_then(|rest| {
        let base = bases
            .iter()
            .find(|(letters, ..)| rest.starts_with(*letters))?;
        Some((base, &rest[1..]))
    });
    if let Some((&(_, base, name), rest)) = prefixed {
        // An underscore may stand before the first digit.
        let blank = usize::from(rest.starts_with('_'));
        let digits = digits_length(&rest[blank..], base);
        if digits > 0 {
            (length, radix) = (2 + blank + digits, base);
        } else if !rest[blank..].starts_with(is_word) {
            return Err(QueryError::new(
                sqlstate::SYNTAX_ERROR,
                format!(
                    "invalid {name} integer at or near \"{}\"",
                    &text[..2 + blank]
                ),
            ));
        }
    } else {
        // Two dots are no decimal point (`numericfail`).
        if text[length..].starts_with('.') && !text[length..].starts_with("..") {
            length += 1 + digits_length(&text[length + 1..], 10);
        }
        if let Some(exponent) = text[length..].strip_prefix(['e', 'E']) {
            let sign = usize::from(exponent.starts_with(['+', '-']));
            let digits = digits_length(&exponent[sign..], 10);
            if digits > 0 {
                length += 1 + sign + digits;
            } else if sign > 0 {
                return Err(junk("numeric literal", &text[..length + 2]));
            }
        }
    }
    let rest = &text[length..];
    // A dollar sign begins no identifier.
    if rest.starts_with(|c| is_word(c) && c != '$') {
        let word = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        return Err(junk("numeric literal", &text[..length + word]));
    }
    let written = text[..length].replace('_', "");
    let value = if radix == 10 {
        written
    } else {
        decimal(&written[2..], radix)?
    };
    Ok(Number { length, value })
}

/// Digits of another base as a decimal number.
fn decimal(digits: &str, radix: u32) -> Result<String, QueryError> {
    const LIMB: u64 = 1_000_000_000;
    let digits = digits.trim_start_matches('0');
    if digits.len() > RADIX_DIGITS_MAX {
        return Err(QueryError::new(
            sqlstate::NUMERIC_VALUE_OUT_OF_RANGE,
            "value overflows numeric format",
        ));
    }
    // The least significant first.
    let mut limbs: Vec<u64> = vec![0];
    let values: Vec<u64> = digits
        .chars()
        .filter_map(|digit| digit.to_digit(radix))
        .map(u64::from)
        .collect();
    for chunk in values.chunks(7) {
        let radix = u64::from(radix);
        let scale: u64 = chunk.iter().map(|_| radix).product();
        let mut carry = chunk.iter().fold(0, |value, digit| value * radix + digit);
        for limb in &mut limbs {
            let value = *limb * scale + carry;
            (*limb, carry) = (value % LIMB, value / LIMB);
        }
        if carry > 0 {
            limbs.push(carry);
        }
    }
    let mut text = limbs.pop().unwrap_or_default().to_string();
    for limb in limbs.iter().rev() {
        text.push_str(&format!("{limb:09}"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Result<(usize, String), String> {
        read_number(text)
            .map(|number| (number.length, number.value))
            .map_err(|error| error.message)
    }

    /// Expected values are PostgreSQL 18's.
    #[test]
    fn numbers_are_postgresqls() {
        let read = |length, value: &str| Ok((length, value.to_owned()));
        assert_eq!(number("0b11+1"), read(4, "3"));
        assert_eq!(number("0o17"), read(4, "15"));
        assert_eq!(number("0x1F)"), read(4, "31"));
        assert_eq!(number("0x_F"), read(4, "15"));
        assert_eq!(
            number("0xFFFFFFFFFFFFFFFFFF"),
            read(20, "4722366482869645213695")
        );
        assert_eq!(number("1_000.5_0 "), read(9, "1000.50"));
        assert_eq!(number(".5e-1_0"), read(7, ".5e-10"));
        assert_eq!(number("1..2"), read(1, "1"));
        for near in [
            "1a", "123abc", "1_", "1__0", "1.5e", "0b12", "0xg", "1e5a", "1.5e+",
        ] {
            let error = format!("trailing junk after numeric literal at or near \"{near}\"");
            assert_eq!(number(near), Err(error));
        }
        let error = "invalid hexadecimal integer at or near \"0x\"";
        assert_eq!(number("0x "), Err(error.to_owned()));
    }

    fn values(sql: &str) -> Vec<String> {
        let tokens = tokenize(sql).unwrap();
        let shown = tokens.iter().map(|token| &token.token);
        shown
            .filter(|token| !matches!(token, Token::Whitespace(_)))
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn strings_go_on_in_the_next_line() {
        assert_eq!(values("'a'\n'b' -- x\n 'c''d'"), ["'abc'd'"]);
        let tokens = tokenize("E'a'\n'b\\n'").unwrap();
        assert_eq!(tokens[0].token, Token::EscapedStringLiteral("ab\n".into()));
        let error = tokenize("select 'a' 'b''c' x").unwrap_err();
        assert_eq!(error.message, "syntax error at or near \"'b''c'\"");
        assert_eq!(error.position, Some(12));
    }

    #[test]
    fn signs_are_the_operands() {
        assert_eq!(values("1<-1"), ["1", "<", "-", "1"]);
        assert_eq!(values("1=-+1"), ["1", "=", "-", "+", "1"]);
    }
}
