//! The files under `bootstrap/`: COPY's text format, column names in the first line.

use crate::error::CatalogError;

/// One file compiled into the program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BuiltInFile {
    /// Its name under `bootstrap/`, for messages.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
}

impl BuiltInFile {
    /// The names in the first line.
    pub fn header(self) -> impl Iterator<Item = &'static str> {
        self.text.lines().next().unwrap_or("").split('\t')
    }

    /// The lines after the first with their line numbers, each split into unescaped fields.
    pub fn records(self) -> impl Iterator<Item = (usize, Vec<Option<String>>)> {
        self.text
            .lines()
            .enumerate()
            .skip(1)
            .map(|(index, line)| (index + 1, line.split('\t').map(unescape).collect()))
    }

    /// An error that names this file and `line`.
    pub fn error(self, line: usize, reason: impl Into<String>) -> CatalogError {
        CatalogError::BuiltInData {
            file: self.name,
            line,
            reason: reason.into(),
        }
    }
}

/// One field of COPY's text format; `\N` is NULL.
pub(crate) fn unescape(field: &str) -> Option<String> {
    if field == "\\N" {
        return None;
    }
    let mut value = String::with_capacity(field.len());
    let mut chars = field.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            value.push(c);
            continue;
        }
        match chars.next() {
            Some('b') => value.push('\u{8}'),
            Some('f') => value.push('\u{c}'),
            Some('n') => value.push('\n'),
            Some('r') => value.push('\r'),
            Some('t') => value.push('\t'),
            Some('v') => value.push('\u{b}'),
            Some(other) => value.push(other),
            None => {}
        }
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_unescaped() {
        assert_eq!(unescape("\\N"), None);
        assert_eq!(unescape("").as_deref(), Some(""));
        assert_eq!(unescape("a\\tb\\\\c\\n").as_deref(), Some("a\tb\\c\n"));
    }

    #[test]
    fn records_follow_the_header() {
        let file = BuiltInFile {
            name: "x",
            text: "a\tb\n1\t\\N\n2\tz\n",
        };
        assert_eq!(file.header().collect::<Vec<_>>(), ["a", "b"]);
        let records: Vec<_> = file.records().collect();
        assert_eq!(records.len(), 2);
        assert_eq!(records[0], (2, vec![Some("1".into()), None]));
    }
}
