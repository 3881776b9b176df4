//! The fields of one line of text or csv input, without their escapes and quotes
//! (copyfromparse.c, `CopyReadAttributesText` and `CopyReadAttributesCSV`).

use std::ops::Range;

use memchr::memchr2;

use crate::encoding::checked_text;
use crate::{CopyColumn, CopyError, CopyFormat, CopyOptions};

/// Where a field's text is.
#[derive(Debug, Clone)]
enum Place {
    Null,
    Default,
    Line(Range<usize>),
    Unescaped(Range<usize>),
}

/// A field's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field<'a> {
    /// The null string.
    Null,
    /// The DEFAULT option's string.
    Default,
    /// Text.
    Text(&'a str),
}

/// Splits lines into fields; reused from line to line.
#[derive(Debug)]
pub(crate) struct FieldSplitter {
    csv: bool,
    delimiter: u8,
    quote: u8,
    escape: u8,
    null: Vec<u8>,
    default: Option<String>,
    /// Whether a field that begins with the null string and then a delimiter is null: not
    /// if the null string's last backslash would take the delimiter in.
    null_ends_plainly: bool,
    /// The places of the fields, as many as there are columns at most.
    places: Vec<Place>,
    count: usize,
    unescaped: Vec<u8>,
}

impl FieldSplitter {
    pub fn new(options: &CopyOptions) -> Self {
        Self {
            csv: options.format == CopyFormat::Csv,
            delimiter: options.delimiter,
            quote: options.quote,
            escape: options.escape,
            null: options.null.clone().into_bytes(),
            default: options.default.clone(),
            null_ends_plainly: !options.null.ends_with('\\'),
            places: Vec::new(),
            count: 0,
            unescaped: Vec::new(),
        }
    }

    /// How many fields the last line has.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Field number `index` of `line`, which is the line last split.
    #[inline]
    pub fn field<'a>(&'a self, line: &'a str, index: usize) -> Result<Field<'a>, CopyError> {
        match self.places.get(index) {
            None | Some(Place::Null) => Ok(Field::Null),
            Some(Place::Default) => Ok(Field::Default),
            Some(Place::Line(range)) => Ok(Field::Text(&line[range.clone()])),
            Some(Place::Unescaped(range)) => {
                checked_text(&self.unescaped[range.clone()]).map(Field::Text)
            }
        }
    }

    /// The DEFAULT option's string.
    pub fn default_string(&self) -> &str {
        self.default.as_deref().unwrap_or_default()
    }

    fn is_default(&self, raw: &[u8]) -> bool {
        self.default
            .as_ref()
            .is_some_and(|default| default.as_bytes() == raw)
    }

    /// Splits `line`. `special` tells whether it has a backslash (text) or a quote (csv).
    pub fn split(
        &mut self,
        line: &str,
        special: bool,
        columns: &[CopyColumn],
    ) -> Result<(), CopyError> {
        self.places.clear();
        self.unescaped.clear();
        self.count = 0;
        let line = line.as_bytes();
        // A table without columns has one kind of line: the empty one.
        if columns.is_empty() {
            return if line.is_empty() {
                Ok(())
            } else {
                Err(extra_data())
            };
        }
        match (special, self.csv) {
            (false, _) => self.split_plain(line, columns),
            (true, false) => self.split_text(line, columns),
            (true, true) => self.split_csv(line, columns),
        }
    }

    /// Takes in a field whose text is at `place` and whose raw form is `raw`.
    #[inline]
    fn add(&mut self, raw: &[u8], place: Place, columns: &[CopyColumn]) -> Result<(), CopyError> {
        let index = self.count;
        self.count += 1;
        if index < columns.len() && raw == self.null {
            self.places.push(Place::Null);
        } else if self.default.is_none() && index < columns.len() {
            self.places.push(place);
        } else {
            return self.add_unusual(index, raw, place, columns);
        }
        Ok(())
    }

    /// A field when there is a DEFAULT option, or beyond the columns.
    #[cold]
    fn add_unusual(
        &mut self,
        index: usize,
        raw: &[u8],
        place: Place,
        columns: &[CopyColumn],
    ) -> Result<(), CopyError> {
        let Some(column) = columns.get(index) else {
            // Only counted.
            if let Place::Unescaped(range) = place {
                self.unescaped.truncate(range.start);
            }
            return Ok(());
        };
        if !self.is_default(raw) {
            self.places.push(place);
        } else if column.has_default {
            self.places.push(Place::Default);
        } else {
            return Err(
                CopyError::bad_format("unexpected default marker in COPY data")
                    .with_detail(format!("Column \"{}\" has no default value.", column.name)),
            );
        }
        Ok(())
    }

    fn split_plain(&mut self, line: &[u8], columns: &[CopyColumn]) -> Result<(), CopyError> {
        let mut start = 0;
        for end in memchr::memchr_iter(self.delimiter, line).chain(Some(line.len())) {
            self.add(&line[start..end], Place::Line(start..end), columns)?;
            start = end + 1;
        }
        Ok(())
    }

    fn split_text(&mut self, line: &[u8], columns: &[CopyColumn]) -> Result<(), CopyError> {
        let mut start = 0;
        loop {
            let rest = &line[start..];
            let null_len = self.null.len();
            let end = if self.null_ends_plainly
                && rest.starts_with(&self.null)
                && rest
                    .get(null_len)
                    .is_none_or(|byte| *byte == self.delimiter)
            {
                let end = start + null_len;
                self.add(&line[start..end], Place::Null, columns)?;
                end
            } else {
                match memchr2(self.delimiter, b'\\', rest) {
                    Some(offset) if rest[offset] == b'\\' => {
                        self.unescape_text(line, start, start + offset, columns)?
                    }
                    offset => {
                        let end = offset.map_or(line.len(), |offset| start + offset);
                        self.add(&line[start..end], Place::Line(start..end), columns)?;
                        end
                    }
                }
            };
            if end >= line.len() {
                return Ok(());
            }
            start = end + 1;
        }
    }

    /// A field of `line` from `start` whose first backslash is at `backslash`. Returns where
    /// it ends: at a delimiter or past the line.
    fn unescape_text(
        &mut self,
        line: &[u8],
        start: usize,
        backslash: usize,
        columns: &[CopyColumn],
    ) -> Result<usize, CopyError> {
        let out_start = self.unescaped.len();
        self.unescaped.extend_from_slice(&line[start..backslash]);
        let mut at = backslash;
        // Only escapes can bring in bytes that are no text.
        let mut saw_foreign = false;
        // A backslash at the line's very end belongs to no field.
        let raw_end;
        let end;
        loop {
            match memchr2(self.delimiter, b'\\', &line[at..]) {
                None => {
                    self.unescaped.extend_from_slice(&line[at..]);
                    raw_end = line.len();
                    end = raw_end;
                    break;
                }
                Some(offset) => {
                    self.unescaped.extend_from_slice(&line[at..at + offset]);
                    at += offset;
                    if line[at] == self.delimiter {
                        raw_end = at;
                        end = at;
                        break;
                    }
                    let Some(&byte) = line.get(at + 1) else {
                        raw_end = at;
                        end = line.len();
                        break;
                    };
                    at += 2;
                    self.unescaped.push(match byte {
                        b'0'..=b'7' => number(line, &mut at, byte, 8, &mut saw_foreign),
                        b'x' => match line.get(at) {
                            Some(&digit) if digit.is_ascii_hexdigit() => {
                                at += 1;
                                number(line, &mut at, digit, 16, &mut saw_foreign)
                            }
                            _ => byte,
                        },
                        b'b' => 0x08,
                        b'f' => 0x0c,
                        b'n' => b'\n',
                        b'r' => b'\r',
                        b't' => b'\t',
                        b'v' => 0x0b,
                        _ => byte,
                    });
                }
            }
        }
        let raw = &line[start..raw_end];
        let is_marker = raw == self.null || (self.count < columns.len() && self.is_default(raw));
        if saw_foreign && !is_marker {
            checked_text(&self.unescaped[out_start..])?;
        }
        self.add(
            raw,
            Place::Unescaped(out_start..self.unescaped.len()),
            columns,
        )?;
        Ok(end)
    }

    fn split_csv(&mut self, line: &[u8], columns: &[CopyColumn]) -> Result<(), CopyError> {
        let mut start = 0;
        loop {
            let rest = &line[start..];
            let end = if let Some(len) = self.simply_quoted(rest) {
                let end = start + len;
                self.add(&line[start..end], Place::Line(start + 1..end - 1), columns)?;
                end
            } else {
                match memchr2(self.delimiter, self.quote, rest) {
                    Some(offset) if rest[offset] == self.quote => {
                        self.unquote_csv(line, start, columns)?
                    }
                    offset => {
                        let end = offset.map_or(line.len(), |offset| start + offset);
                        self.add(&line[start..end], Place::Line(start..end), columns)?;
                        end
                    }
                }
            };
            if end >= line.len() {
                return Ok(());
            }
            start = end + 1;
        }
    }

    /// The length of the field that begins `rest` if it is one pair of quotes with neither
    /// quotes nor escapes between them, the usual case.
    fn simply_quoted(&self, rest: &[u8]) -> Option<usize> {
        if *rest.first()? != self.quote {
            return None;
        }
        let close = 1 + memchr2(self.quote, self.escape, &rest[1..])?;
        let ends_field = rest
            .get(close + 1)
            .is_none_or(|byte| *byte == self.delimiter);
        (rest[close] == self.quote && ends_field).then_some(close + 1)
    }

    /// A field of `line` from `start` with quotes in it. Returns where it ends: at a
    /// delimiter or past the line.
    fn unquote_csv(
        &mut self,
        line: &[u8],
        start: usize,
        columns: &[CopyColumn],
    ) -> Result<usize, CopyError> {
        let out_start = self.unescaped.len();
        let mut at = start;
        let end = 'field: loop {
            match memchr2(self.delimiter, self.quote, &line[at..]) {
                None => {
                    self.unescaped.extend_from_slice(&line[at..]);
                    break 'field line.len();
                }
                Some(offset) => {
                    self.unescaped.extend_from_slice(&line[at..at + offset]);
                    at += offset;
                    if line[at] == self.delimiter {
                        break 'field at;
                    }
                    at += 1;
                }
            }
            // Inside the quotes.
            loop {
                let Some(offset) = memchr2(self.quote, self.escape, &line[at..]) else {
                    return Err(CopyError::bad_format("unterminated CSV quoted field"));
                };
                self.unescaped.extend_from_slice(&line[at..at + offset]);
                at += offset;
                let byte = line[at];
                at += 1;
                if byte == self.escape
                    && let Some(&next) = line.get(at)
                    && (next == self.escape || next == self.quote)
                {
                    self.unescaped.push(next);
                    at += 1;
                } else if byte == self.quote {
                    break;
                } else {
                    self.unescaped.push(byte);
                }
            }
        };
        // The raw form holds a quote, so it is neither the null nor the default string.
        self.add(
            &line[start..end],
            Place::Unescaped(out_start..self.unescaped.len()),
            columns,
        )?;
        Ok(end)
    }
}

/// `\013` or `\x3F` from its first digit on; `at` is after that digit.
fn number(line: &[u8], at: &mut usize, first: u8, radix: u32, saw_foreign: &mut bool) -> u8 {
    let digit_of = |byte: u8| char::from(byte).to_digit(radix);
    let more_digits = if radix == 8 { 2 } else { 1 };
    let mut value = digit_of(first).unwrap_or(0);
    for _ in 0..more_digits {
        let Some(digit) = line.get(*at).and_then(|byte| digit_of(*byte)) else {
            break;
        };
        value = value * radix + digit;
        *at += 1;
    }
    let byte = (value & 0xff) as u8;
    *saw_foreign |= byte == 0 || byte >= 0x80;
    byte
}

/// 22P04: more fields than columns.
pub(crate) fn extra_data() -> CopyError {
    CopyError::bad_format("extra data after last expected column")
}
