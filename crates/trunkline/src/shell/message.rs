//! Errors and notices as psql shows them.

use std::fmt::Write;

use trunkline_sql::error::SqlError;
use trunkline_sql::outcome::Notice;

use super::cell_text::cell_lines;

/// An error of a statement in `query`, whose position counts from the query's start
/// (`pqBuildErrorMessage3` in libpq's fe-protocol3.c, default verbosity). Ends with a line feed.
pub fn error_text(error: &SqlError, query: &str) -> String {
    let severity = if error.is_fatal { "FATAL" } else { "ERROR" };
    let mut text = format!("{severity}:  {}\n", error.message);
    if let Some(position) = error.position {
        push_position(&mut text, query, position);
    }
    for (label, field) in [
        ("DETAIL", &error.detail),
        ("HINT", &error.hint),
        ("CONTEXT", &error.context),
    ] {
        if let Some(field) = field {
            let _ = writeln!(text, "{label}:  {field}");
        }
    }
    text
}

/// A notice. Ends with a line feed.
pub fn notice_text(notice: &Notice) -> String {
    let mut text = format!("{}:  {}\n", notice.severity.name(), notice.message);
    for (label, field) in [
        ("DETAIL", &notice.detail),
        ("HINT", &notice.hint),
        ("CONTEXT", &notice.context),
    ] {
        if let Some(field) = field {
            let _ = writeln!(text, "{label}:  {field}");
        }
    }
    text
}

/// A line's part that is shown is at most this wide.
const DISPLAY_WIDTH: usize = 60;

/// What is kept right of the position when the line is cut there.
const MIN_RIGHT_CUT: usize = 10;

/// The line of `query` that has the character `position` (from 1), cut to a bearable width, with a
/// caret under it (`reportErrorPosition` in libpq's fe-protocol3.c).
fn push_position(text: &mut String, query: &str, position: usize) {
    let Some(at) = position.checked_sub(1) else {
        return;
    };
    let chars: Vec<char> = query.chars().collect();
    if at > chars.len() {
        return;
    }
    let mut line_number = 1;
    let mut begin = 0;
    for (index, &c) in chars[..at].iter().enumerate() {
        if c == '\r' || c == '\n' {
            let is_second_of_pair = c == '\n' && index > 0 && chars[index - 1] == '\r';
            line_number += usize::from(!is_second_of_pair);
            begin = index + 1;
        }
    }
    let mut end = chars[at..]
        .iter()
        .position(|c| matches!(c, '\r' | '\n'))
        .map_or(chars.len(), |offset| at + offset);
    // Where each character of the line begins on the screen; a tab is shown as one space.
    let shown: Vec<String> = chars[begin..end]
        .iter()
        .map(|&c| {
            if c == '\t' {
                " ".to_owned()
            } else {
                c.to_string()
            }
        })
        .collect();
    let mut columns = vec![0];
    for character in &shown {
        let width = cell_lines(character)[0].width;
        columns.push(columns.last().copied().unwrap_or(0) + width);
    }
    let line_begin = begin;
    let column = |index: usize| columns[index - line_begin];
    let (mut is_cut_left, mut is_cut_right) = (false, false);
    if column(end) - column(begin) > DISPLAY_WIDTH {
        if column(begin) + DISPLAY_WIDTH >= column(at) + MIN_RIGHT_CUT {
            while column(end) - column(begin) > DISPLAY_WIDTH {
                end -= 1;
            }
            is_cut_right = true;
        } else {
            while column(at) + MIN_RIGHT_CUT < column(end) {
                end -= 1;
                is_cut_right = true;
            }
            while column(end) - column(begin) > DISPLAY_WIDTH {
                begin += 1;
                is_cut_left = true;
            }
        }
    }
    let mut heading = format!("LINE {line_number}: ");
    if is_cut_left {
        heading.push_str("...");
    }
    text.push_str(&heading);
    text.extend(
        shown[begin - line_begin..end - line_begin]
            .iter()
            .map(String::as_str),
    );
    if is_cut_right {
        text.push_str("...");
    }
    let caret_column = heading.len() + column(at) - column(begin);
    let _ = writeln!(text, "\n{:caret_column$}^", "");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn positioned(query: &str, position: usize) -> String {
        let mut text = String::new();
        push_position(&mut text, query, position);
        text
    }

    #[test]
    fn fields_come_in_libpqs_order() {
        let error = SqlError {
            context: Some("COPY t, line 1".to_owned()),
            ..SqlError::new("22P04", "extra data")
                .with_detail("d")
                .with_hint("h")
        };
        assert_eq!(
            error_text(&error, ""),
            "ERROR:  extra data\nDETAIL:  d\nHINT:  h\nCONTEXT:  COPY t, line 1\n"
        );
    }

    #[test]
    fn the_caret_stands_under_the_position() {
        assert_eq!(
            positioned("SELECT x", 8),
            "LINE 1: SELECT x\n               ^\n"
        );
        assert_eq!(
            positioned("SELECT\n\té, x\nFROM", 12),
            "LINE 2:  é, x\n            ^\n"
        );
        // Past the last character: an error at the end of input.
        assert_eq!(positioned("SELEC", 6), "LINE 1: SELEC\n             ^\n");
        assert_eq!(positioned("x", 9), "");
    }

    // The expected texts are psql 15's own.
    #[test]
    fn long_lines_are_cut() {
        let query = format!("SELECT nothing, {}", "1234567890, ".repeat(10));
        assert_eq!(
            positioned(query.trim_end_matches(", "), 8),
            "LINE 1: SELECT nothing, 1234567890, 1234567890, 1234567890, 12345678...\n               ^\n"
        );
        let numbers = "1234567890, ";
        let query = format!(
            "SELECT {}nothing, {}1",
            numbers.repeat(8),
            numbers.repeat(5)
        );
        assert_eq!(
            positioned(&query, 104),
            "LINE 1: ..., 1234567890, 1234567890, 1234567890, 1234567890, nothing, 1...\n\
             \u{20}                                                            ^\n"
        );
    }
}
