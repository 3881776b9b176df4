//! Splitting a query string into statements.
//!
//! sqlparser splits too, but it reads on past `COPY ... FROM STDIN;` for inline data and swallows
//! the statement that follows. This scanner knows only what may hide a semicolon: quotes, dollar
//! quotes, comments and parentheses (PostgreSQL's `parser/scan.l`).

/// One statement's text, and where it begins in the query string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementText<'a> {
    /// The text, without its semicolon; not blank, not only comments.
    pub text: &'a str,
    /// Byte offset of `text` in the query string.
    pub offset: usize,
}

/// Splits `query` at its top-level semicolons. Blank statements are left out.
pub fn split_statements(query: &str) -> Vec<StatementText<'_>> {
    let mut statements = Vec::new();
    let mut scanner = Scanner::new(query);
    let mut start = 0;
    loop {
        let end = scanner.next_semicolon();
        let text = &query[start..end.unwrap_or(query.len())];
        if scanner.saw_substance {
            let leading = text.len() - text.trim_start().len();
            statements.push(StatementText {
                text: text.trim(),
                offset: start + leading,
            });
        }
        match end {
            Some(end) => start = end + 1,
            None => return statements,
        }
    }
}

/// The length of the first statement of `text` with its semicolon, if it is complete: what an
/// interactive client may send. `None` means that more input must come.
pub fn complete_statement_len(text: &str) -> Option<usize> {
    Scanner::new(text).next_semicolon().map(|end| end + 1)
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    /// Whether the statement has anything but white space and comments so far.
    saw_substance: bool,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a str) -> Scanner<'a> {
        Scanner {
            text,
            at: 0,
            saw_substance: false,
        }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Moves past the next top-level semicolon and gives its offset.
    fn next_semicolon(&mut self) -> Option<usize> {
        self.saw_substance = false;
        let mut depth = 0_usize;
        // The previous character when it can be part of an identifier: `a$b$` is no dollar quote,
        // and the E of `nameE'...'` makes no escape string.
        let mut word_start: Option<usize> = None;
        while let Some(c) = self.rest().chars().next() {
            let here = self.at;
            if self.rest().starts_with("--") {
                self.at += self.rest().find('\n').unwrap_or(self.rest().len());
                word_start = None;
                continue;
            }
            if self.rest().starts_with("/*") {
                self.skip_block_comment();
                word_start = None;
                continue;
            }
            self.at += c.len_utf8();
            if c.is_whitespace() {
                word_start = None;
                continue;
            }
            if c == ';' && depth == 0 {
                return Some(here);
            }
            self.saw_substance = true;
            match c {
                '\'' => {
                    let prefix = word_start.map(|start| &self.text[start..here]);
                    let escapes = prefix.is_some_and(|prefix| prefix.eq_ignore_ascii_case("e"));
                    self.skip_quoted('\'', escapes);
                }
                '"' => self.skip_quoted('"', false),
                '$' if word_start.is_none() => self.skip_dollar_quoted(here),
                '(' | '[' => depth += 1,
                ')' | ']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            let in_word = c.is_alphanumeric() || c == '_' || (c == '$' && word_start.is_some());
            word_start = if in_word {
                word_start.or(Some(here))
            } else {
                None
            };
        }
        None
    }

    fn skip_block_comment(&mut self) {
        let mut depth = 0_usize;
        while self.at < self.text.len() {
            if self.rest().starts_with("/*") {
                depth += 1;
                self.at += 2;
            } else if self.rest().starts_with("*/") {
                depth -= 1;
                self.at += 2;
                if depth == 0 {
                    return;
                }
            } else {
                self.at += self.rest().chars().next().map_or(1, char::len_utf8);
            }
        }
    }

    /// Moves past the closing `quote`; a doubled one stands for itself.
    fn skip_quoted(&mut self, quote: char, backslash_escapes: bool) {
        let mut chars = self.rest().char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            if c == '\\' && backslash_escapes {
                chars.next();
            } else if c == quote {
                if matches!(chars.peek(), Some((_, next)) if *next == quote) {
                    chars.next();
                } else {
                    self.at += at + 1;
                    return;
                }
            }
        }
        self.at = self.text.len();
    }

    /// Moves past `$tag$ ... $tag$`, if that is what begins at `start`.
    fn skip_dollar_quoted(&mut self, start: usize) {
        let after = &self.text[start + 1..];
        let Some(tag_len) = after.find('$') else {
            return;
        };
        let tag = &after[..tag_len];
        let is_tag = tag.chars().all(|c| c.is_alphanumeric() || c == '_')
            && !tag.starts_with(|c: char| c.is_ascii_digit());
        if !is_tag {
            return;
        }
        let delimiter = &self.text[start..start + tag_len + 2];
        let body = start + delimiter.len();
        self.at = match self.text[body..].find(delimiter) {
            Some(end) => body + end + delimiter.len(),
            None => self.text.len(),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(query: &str) -> Vec<&str> {
        split_statements(query)
            .into_iter()
            .map(|statement| statement.text)
            .collect()
    }

    #[test]
    fn semicolons_split() {
        assert_eq!(split("select 1; select 2;"), ["select 1", "select 2"]);
        assert_eq!(
            split("copy t from stdin; select 2"),
            ["copy t from stdin", "select 2"]
        );
        assert_eq!(split(" ; ;; -- nothing\n /* at /* all */ */ ;"), [""; 0]);
        assert_eq!(split_statements(" ;\n select 1")[0].offset, 4);
    }

    #[test]
    fn hidden_semicolons_do_not() {
        for whole in [
            "select ';', 'it''s;'",
            r"select E'\';', 1",
            r#"select ";" from "a"";b""#,
            "select $$;$$, $tag$ ; $$ ; $tag$",
            "select 1 -- ;\n + 2",
            "select /* ; /* ; */ ; */ 1",
            "create rule r as on insert to t do (a; b)",
            r"select nameE'\'",
        ] {
            assert_eq!(split(&format!("{whole};")), [whole], "{whole}");
        }
        assert_eq!(split(r"select '\'; select 2"), [r"select '\'", "select 2"]);
        assert_eq!(
            split("select $1;select a$1;select 2"),
            ["select $1", "select a$1", "select 2"]
        );
    }

    #[test]
    fn incomplete_statements_wait_for_more() {
        assert_eq!(complete_statement_len("select 1"), None);
        assert_eq!(complete_statement_len("select ';"), None);
        assert_eq!(complete_statement_len("select 1; select"), Some(9));
    }
}
