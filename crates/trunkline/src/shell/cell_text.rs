//! A cell's text as a terminal shows it: lines with their widths, control characters made visible.
//! After psql's `mbprint.c`.

use unicode_width::UnicodeWidthChar;

/// One line of a cell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CellLine {
    /// What is printed.
    pub text: String,
    /// How many columns of the terminal it takes.
    pub width: usize,
}

/// Splits `text` at its line feeds; at least one line comes back. Tabs become spaces, other
/// control characters their escapes (`pg_wcsformat`).
pub fn cell_lines(text: &str) -> Vec<CellLine> {
    if text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        return vec![CellLine {
            text: text.to_owned(),
            width: text.len(),
        }];
    }
    text.split('\n').map(cell_line).collect()
}

fn cell_line(text: &str) -> CellLine {
    let mut line = CellLine::default();
    for c in text.chars() {
        match c {
            '\r' => line.push_escape("\\r"),
            '\t' => loop {
                line.push_escape(" ");
                if line.width.is_multiple_of(8) {
                    break;
                }
            },
            c => match c.width() {
                Some(width) => {
                    line.text.push(c);
                    line.width += width;
                }
                None if c.is_ascii() => line.push_escape(&format!("\\x{:02X}", u32::from(c))),
                None => line.push_escape(&format!("\\u{:04X}", u32::from(c))),
            },
        }
    }
    line
}

impl CellLine {
    fn push_escape(&mut self, escape: &str) {
        self.text.push_str(escape);
        self.width += escape.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<(String, usize)> {
        cell_lines(text)
            .into_iter()
            .map(|line| (line.text, line.width))
            .collect()
    }

    #[test]
    fn lines_have_the_width_that_they_show_with() {
        assert_eq!(lines(""), [(String::new(), 0)]);
        assert_eq!(lines("ab"), [("ab".to_owned(), 2)]);
        assert_eq!(lines("é日"), [("é日".to_owned(), 3)]);
        assert_eq!(lines("a\tb"), [("a       b".to_owned(), 9)]);
        assert_eq!(
            lines("a\n\nb\r"),
            [
                ("a".to_owned(), 1),
                (String::new(), 0),
                ("b\\r".to_owned(), 3)
            ]
        );
        assert_eq!(lines("\u{1}\u{85}"), [("\\x01\\u0085".to_owned(), 10)]);
    }
}
