//! Splitting a date's text into fields (`ParseDateTime`, `datetime.c`).

use super::keywords::keyword;
use crate::integer::is_space;

/// Most fields that a date may have (`MAXDATEFIELDS`).
const MAX_FIELDS: usize = 25;
/// Bytes of all fields with a terminator each (`MAXDATELEN`).
const MAX_FIELD_BYTES: usize = 128;

/// What a field looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldKind {
    /// Digits, perhaps with a point
    Number,
    /// Words
    Text,
    /// Digits and words with separators
    Date,
    /// Digits with colons
    Time,
    /// A sign and digits
    Zone,
    /// A sign and a word
    Special,
}

/// A field, letters in lower case.
#[derive(Debug)]
pub(super) struct Field {
    pub kind: FieldKind,
    pub text: String,
}

struct Scanner<'t> {
    bytes: &'t [u8],
    at: usize,
    text: String,
}

impl Scanner<'_> {
    fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    fn take(&mut self) {
        self.text.push(self.peek().to_ascii_lowercase() as char);
        self.at += 1;
    }

    fn take_while(&mut self, accept: impl Fn(u8) -> bool) {
        while self.at < self.bytes.len() && accept(self.peek()) {
            self.take();
        }
    }

    fn take_digits(&mut self) {
        self.take_while(|byte| byte.is_ascii_digit());
    }
}

/// The fields of a text; `None` if it cannot be a date.
pub(super) fn split(text: &str) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    let mut size = 0;
    let mut scanner = Scanner {
        bytes: text.as_bytes(),
        at: 0,
        text: String::new(),
    };
    while scanner.at < scanner.bytes.len() {
        let first = scanner.peek();
        if is_space(first) {
            scanner.at += 1;
            continue;
        }
        if fields.len() >= MAX_FIELDS {
            return None;
        }
        let kind = if first.is_ascii_digit() {
            scan_digits(&mut scanner)
        } else if first == b'.' {
            scanner.take();
            scanner.take_digits();
            FieldKind::Number
        } else if first.is_ascii_alphabetic() {
            scan_word(&mut scanner)
        } else if first == b'+' || first == b'-' {
            scan_sign(&mut scanner)?
        } else if first.is_ascii_punctuation() {
            scanner.at += 1;
            continue;
        } else {
            return None;
        };
        let text = std::mem::take(&mut scanner.text);
        size += text.len() + 1;
        if size > MAX_FIELD_BYTES {
            return None;
        }
        fields.push(Field { kind, text });
    }
    Some(fields)
}

/// A time, a date, or just a number.
fn scan_digits(scanner: &mut Scanner<'_>) -> FieldKind {
    scanner.take_digits();
    let delimiter = scanner.peek();
    match delimiter {
        b':' => {
            scanner.take();
            scanner.take_while(|byte| byte.is_ascii_digit() || byte == b':' || byte == b'.');
            FieldKind::Time
        }
        b'-' | b'/' | b'.' => {
            scanner.take();
            if !scanner.peek().is_ascii_digit() {
                scanner.take_while(|byte| byte.is_ascii_alphanumeric() || byte == delimiter);
                return FieldKind::Date;
            }
            scanner.take_digits();
            if scanner.peek() == delimiter {
                scanner.take();
                scanner.take_while(|byte| byte.is_ascii_digit() || byte == delimiter);
                FieldKind::Date
            } else if delimiter == b'.' {
                FieldKind::Number
            } else {
                FieldKind::Date
            }
        }
        _ => FieldKind::Number,
    }
}

/// A keyword, or a time zone's name with its punctuation.
fn scan_word(scanner: &mut Scanner<'_>) -> FieldKind {
    scanner.take_while(|byte| byte.is_ascii_alphabetic());
    let is_date = match scanner.peek() {
        b'-' | b'/' | b'.' => true,
        b'+' | b'0'..=b'9' => keyword(&scanner.text).is_none(),
        _ => false,
    };
    if !is_date {
        return FieldKind::Text;
    }
    scanner.take();
    scanner.take_while(|byte| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'/' | b'_' | b'.' | b':')
    });
    FieldKind::Date
}

/// A numeric time zone, or an infinity.
fn scan_sign(scanner: &mut Scanner<'_>) -> Option<FieldKind> {
    scanner.take();
    while is_space(scanner.peek()) {
        scanner.at += 1;
    }
    if scanner.peek().is_ascii_digit() {
        scanner.take_while(|byte| {
            byte.is_ascii_digit() || byte == b':' || byte == b'.' || byte == b'-'
        });
        Some(FieldKind::Zone)
    } else if scanner.peek().is_ascii_alphabetic() {
        scanner.take_while(|byte| byte.is_ascii_alphabetic());
        Some(FieldKind::Special)
    } else {
        None
    }
}
