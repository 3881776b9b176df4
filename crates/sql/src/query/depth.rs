//! How deep a statement's syntax tree can become, judged by its tokens before it is built.
//!
//! Everything that walks a tree recurses, the tree's own drop included, and a chain as plain as
//! `1 + 1 + ...` is as deep as it is long. What goes deeper than stacks allow is refused here, in
//! one pass that does not recurse. The bound counts the operators of one item of a list, the items
//! around it, and, with more weight, the set operations and joins that are chained; it may be above
//! the true depth, never below it.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::error::QueryError;

/// The deepest tree that is accepted.
pub(crate) const DEPTH_LIMIT: usize = 3500;

/// How much a set operation or a join counts: walking a plan takes more stack than walking an
/// expression.
const CHAINED_WEIGHT: usize = 3;

/// What opened a level.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Opened {
    /// A parenthesis, a bracket, or the statement.
    Bracket,
    /// CASE, which END closes.
    Case,
}

struct Level {
    opened: Opened,
    /// Set operations and joins so far: each is above all before it.
    chained: usize,
    /// Operators in the current item.
    operators: usize,
    /// In a FROM list, where commas are joins.
    in_from: bool,
}

impl Level {
    fn new(opened: Opened) -> Level {
        Level {
            opened,
            chained: 0,
            operators: 0,
            in_from: false,
        }
    }

    fn depth(&self) -> usize {
        1 + self.chained * CHAINED_WEIGHT + self.operators
    }
}

/// Refuses tokens of a statement that may become too deep a tree.
///
/// # Errors
/// 54001.
pub(crate) fn check_depth(tokens: &[TokenWithSpan]) -> Result<(), QueryError> {
    if depth_bound(tokens) > DEPTH_LIMIT {
        return Err(QueryError::too_deep());
    }
    Ok(())
}

fn depth_bound(tokens: &[TokenWithSpan]) -> usize {
    let mut around = Vec::new();
    // The sum of the depths of the levels around the current one.
    let mut outer_depth = 0;
    let mut level = Level::new(Opened::Bracket);
    let mut deepest = 0;
    let mut after_distinct = false;
    for token in tokens {
        let mut is_distinct = false;
        let opened = match &token.token {
            Token::Whitespace(_) => continue,
            Token::LParen | Token::LBracket | Token::LBrace => Some(Opened::Bracket),
            Token::Word(word) if word.quote_style.is_none() => {
                is_distinct = word.keyword == Keyword::DISTINCT;
                (word.keyword == Keyword::CASE).then_some(Opened::Case)
            }
            _ => None,
        };
        if let Some(opened) = opened {
            outer_depth += level.depth();
            around.push(std::mem::replace(&mut level, Level::new(opened)));
        } else if closes(&token.token, level.opened) {
            while let Some(outer) = around.pop() {
                let closed = std::mem::replace(&mut level, outer);
                outer_depth -= level.depth();
                // A parenthesis ends what is open in it, even if that has no END.
                if closed.opened == Opened::Bracket || is_end(&token.token) {
                    break;
                }
            }
            // A subscript is applied to all before it.
            level.operators += usize::from(token.token == Token::RBracket);
        } else {
            advance(&mut level, &token.token, after_distinct);
        }
        after_distinct = is_distinct;
        deepest = deepest.max(outer_depth + level.depth());
    }
    deepest
}

fn is_end(token: &Token) -> bool {
    matches!(token, Token::Word(word) if word.quote_style.is_none() && word.keyword == Keyword::END)
}

fn closes(token: &Token, opened: Opened) -> bool {
    match token {
        Token::RParen | Token::RBracket | Token::RBrace => true,
        token => opened == Opened::Case && is_end(token),
    }
}

/// Counts a token that neither opens nor closes a level.
fn advance(level: &mut Level, token: &Token, after_distinct: bool) {
    match token {
        Token::Word(word) if word.quote_style.is_none() => match word.keyword {
            Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT => {
                level.chained += 1;
                level.operators = 0;
                level.in_from = false;
            }
            Keyword::JOIN => {
                level.chained += 1;
                level.operators = 0;
            }
            // IS DISTINCT FROM
            Keyword::FROM if after_distinct => level.operators += 1,
            Keyword::FROM => {
                level.operators = 0;
                level.in_from = true;
            }
            Keyword::SELECT
            | Keyword::WHERE
            | Keyword::GROUP
            | Keyword::HAVING
            | Keyword::ORDER
            | Keyword::LIMIT
            | Keyword::OFFSET
            | Keyword::VALUES => {
                level.operators = 0;
                level.in_from = false;
            }
            Keyword::WHEN | Keyword::THEN | Keyword::ELSE => level.operators = 0,
            Keyword::AND
            | Keyword::OR
            | Keyword::NOT
            | Keyword::IS
            | Keyword::NOTNULL
            | Keyword::LIKE
            | Keyword::ILIKE
            | Keyword::SIMILAR
            | Keyword::BETWEEN
            | Keyword::IN
            | Keyword::COLLATE
            | Keyword::AT
            | Keyword::OVERLAPS
            | Keyword::OPERATOR => level.operators += 1,
            _ => {}
        },
        Token::Comma if level.in_from => {
            level.chained += 1;
            level.operators = 0;
        }
        Token::Comma | Token::SemiColon => level.operators = 0,
        Token::Word(_)
        | Token::Number(..)
        | Token::Char(_)
        | Token::Period
        | Token::Placeholder(_)
        | Token::SingleQuotedString(_)
        | Token::EscapedStringLiteral(_)
        | Token::UnicodeStringLiteral(_)
        | Token::NationalStringLiteral(_)
        | Token::DollarQuotedString(_)
        | Token::SingleQuotedByteStringLiteral(_)
        | Token::HexStringLiteral(_)
        | Token::EOF => {}
        _ => level.operators += 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::tokenizer::Tokenizer;

    fn bound(sql: &str) -> usize {
        let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql)
            .tokenize_with_location()
            .unwrap();
        depth_bound(&tokens)
    }

    #[test]
    fn chains_and_nesting_count() {
        assert_eq!(bound("select 1"), 1);
        assert_eq!(bound("select 1 + 1 + 1"), 3);
        assert_eq!(bound("select 1::int::int"), 3);
        assert_eq!(bound("select (((1)))"), 4);
        assert_eq!(bound("select 1 + (1 + (1 + 1))"), 6);
        assert_eq!(bound("select a = 1 or not b like c"), 5);
        assert_eq!(bound("select 1 union select 1 union select 1"), 7);
        assert_eq!(bound("select 1 from a, b join c on a.x = b.x, d"), 10);
        assert_eq!(bound("select a is distinct from b is distinct from c"), 5);
        assert_eq!(
            bound("select case when case when a then b end then c end"),
            3
        );
        assert_eq!(bound("select (case when a), b + c"), 3);
    }

    #[test]
    fn lists_do_not() {
        let rows = ["(1 + 1, -2)"; 1000].join(", ");
        assert_eq!(bound(&format!("insert into t values {rows}")), 3);
        let arms = ["when a = 1 then b"; 1000].join(" ");
        assert_eq!(bound(&format!("select case {arms} else 0 end, 1")), 3);
        assert_eq!(bound("select a + b, c + d from t where a + b"), 2);
        assert_eq!(bound("select \"union\", '+', \"and\" from t"), 1);
        assert_eq!(bound(")) select 1"), 1);
    }
}
