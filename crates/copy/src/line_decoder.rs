//! Text and csv input: bytes to lines to fields to values.
//!
//! A piece of input is checked to be UTF-8 in one go, then cut into lines in place. Only a
//! line that goes on in the next piece is copied, into `carry`; lines are cut out of `carry`
//! until the pieces are in step with the lines again.

use memchr::memchr2;
use trunkline_types::{ColumnType, InputStyle, TypeError, input_text};

use crate::decoder::{At, BUFFER_LIMIT_BYTES, context};
use crate::encoding::{Stop, checked_text, invalid_sequence, verify};
use crate::error::limit_for_display;
use crate::fields::{Field, FieldSplitter, extra_data};
use crate::lines::{Found, LineSplitter};
use crate::sink::CopyNotice;
use crate::{
    CopyColumn, CopyError, CopyOptions, CopySubject, Header, LogVerbosity, OnError, RowSink,
};

/// How many bytes after a line end decide where the line ends: those of `\.` and a line end.
const LOOK_AHEAD_BYTES: usize = 4;

#[derive(Debug)]
pub(crate) struct LineDecoder {
    rows: RowReader,
    splitter: LineSplitter,
    /// The beginning of a line whose end has not come yet.
    carry: Vec<u8>,
    /// How much of `carry` is known to be good UTF-8.
    carry_verified: usize,
    /// An end-of-copy marker was read: the rest is ignored.
    ended: bool,
    line_limit_bytes: usize,
}

impl LineDecoder {
    pub fn new(
        subject: &CopySubject,
        options: &CopyOptions,
        style: InputStyle,
    ) -> Result<Self, CopyError> {
        Ok(Self {
            rows: RowReader::new(subject, options, style)?,
            splitter: LineSplitter::new(options),
            carry: Vec::new(),
            carry_verified: 0,
            ended: false,
            line_limit_bytes: BUFFER_LIMIT_BYTES,
        })
    }

    pub fn line_number(&self) -> u64 {
        self.rows.line_number
    }

    pub fn awaiting_context(&self) -> String {
        self.rows.context(At::Line)
    }

    pub fn push<S: RowSink>(&mut self, chunk: &[u8], sink: &mut S) -> Result<(), CopyError> {
        let mut rest = chunk;
        while !self.carry.is_empty() && !rest.is_empty() {
            // Up to the next byte that may end the line, and what decides whether it does.
            let piece_len = memchr2(b'\n', b'\r', rest)
                .map_or(rest.len(), |at| rest.len().min(at + 1 + LOOK_AHEAD_BYTES));
            let (piece, after) = rest.split_at(piece_len);
            self.carry_on(piece)?;
            rest = after;
            if self.read_carried(false, sink)? {
                // What this push brought is read where it is. (A carriage return before a
                // character that was cut can leave older bytes.)
                let taken = chunk.len() - rest.len();
                let returned = self.carry.len().min(taken);
                self.carry.truncate(self.carry.len() - returned);
                // The cut may be inside a character.
                self.carry_verified = 0;
                rest = &chunk[taken - returned..];
            }
        }
        if self.ended || rest.is_empty() {
            return Ok(());
        }
        let (used, verified) = self.read_lines(rest, sink)?;
        if !self.ended {
            self.carry_on(&rest[used..])?;
            self.carry_verified = verified - used;
        }
        Ok(())
    }

    pub fn finish<S: RowSink>(&mut self, sink: &mut S) -> Result<(), CopyError> {
        while !self.carry.is_empty() {
            self.read_carried(true, sink)?;
        }
        if !self.rows.header_read() {
            self.rows.read_line("", false, sink)?;
        }
        self.rows.finish(sink);
        Ok(())
    }

    /// Appends to the carried line.
    fn carry_on(&mut self, piece: &[u8]) -> Result<(), CopyError> {
        if self.carry.len() + piece.len() >= self.line_limit_bytes {
            let limit = self.line_limit_bytes;
            let error = CopyError::buffer_limit(self.carry.len(), piece.len(), limit);
            return Err(self.rows.in_line(error));
        }
        self.carry.extend_from_slice(piece);
        Ok(())
    }

    /// Reads the carried line if it is complete and takes it out of `carry` then. False: it
    /// is not complete, which cannot be `at_end`.
    fn read_carried<S: RowSink>(&mut self, at_end: bool, sink: &mut S) -> Result<bool, CopyError> {
        let verified = verify(&self.carry[self.carry_verified..], at_end);
        let stop = verified.stop;
        self.carry_verified += verified.text.len();
        let (text, beyond) = self.carry.split_at(self.carry_verified);
        let found = self
            .splitter
            .next_line(
                text,
                at_end && stop == Stop::End,
                &mut self.rows.line_number,
            )
            .map_err(|error| self.rows.in_line(error))?;
        let used = match found {
            Found::Line { len, next, special } => {
                self.rows
                    .read_line(checked_text(&text[..len])?, special, sink)?;
                next
            }
            Found::EndOfCopy => {
                self.ended = true;
                self.carry.len()
            }
            Found::Incomplete if stop == Stop::Invalid => {
                return Err(self.rows.in_line(invalid_sequence(beyond)));
            }
            Found::Incomplete => return Ok(false),
        };
        self.carry.drain(..used);
        self.carry_verified = self.carry_verified.saturating_sub(used);
        Ok(true)
    }

    /// Reads the complete lines at the start of `input`, which begins at a line's start.
    /// Returns how many bytes they take, and how many bytes are good UTF-8.
    fn read_lines<S: RowSink>(
        &mut self,
        input: &[u8],
        sink: &mut S,
    ) -> Result<(usize, usize), CopyError> {
        let verified = verify(input, false);
        let text = verified.text;
        let mut start = 0;
        while start < text.len() {
            let found = self
                .splitter
                .next_line(&text.as_bytes()[start..], false, &mut self.rows.line_number)
                .map_err(|error| self.rows.in_line(error))?;
            match found {
                Found::Line { len, next, special } => {
                    self.rows
                        .read_line(&text[start..start + len], special, sink)?;
                    start += next;
                }
                Found::EndOfCopy => {
                    self.ended = true;
                    return Ok((input.len(), text.len()));
                }
                Found::Incomplete => break,
            }
        }
        if verified.stop == Stop::Invalid {
            return Err(self.rows.in_line(invalid_sequence(&input[text.len()..])));
        }
        Ok((start, text.len()))
    }
}

/// What is done with a null of a column, or with text that equals the null string.
#[derive(Debug, Clone, Copy, Default)]
struct ForcedNulls {
    /// FORCE_NOT_NULL: null is the null string's text.
    not_null: bool,
    /// FORCE_NULL: quoted text that equals the null string is null.
    null: bool,
}

/// Lines to rows.
#[derive(Debug)]
struct RowReader {
    relation: String,
    columns: Vec<CopyColumn>,
    forced: Vec<ForcedNulls>,
    fields: FieldSplitter,
    style: InputStyle,
    null: String,
    /// A header line is still to come.
    header: Header,
    on_error: OnError,
    log_verbosity: LogVerbosity,
    reject_limit: Option<u64>,
    rows_skipped: u64,
    line_number: u64,
}

impl RowReader {
    fn new(
        subject: &CopySubject,
        options: &CopyOptions,
        style: InputStyle,
    ) -> Result<Self, CopyError> {
        let not_null = subject.flags("FORCE_NOT_NULL", &options.force_not_null)?;
        let null = subject.flags("FORCE_NULL", &options.force_null)?;
        let forced = not_null
            .into_iter()
            .zip(null)
            .map(|(not_null, null)| ForcedNulls { not_null, null })
            .collect();
        Ok(Self {
            relation: subject.relation_name(),
            columns: subject.columns.clone(),
            forced,
            fields: FieldSplitter::new(options),
            style,
            null: options.null.clone(),
            header: options.header,
            on_error: options.on_error,
            log_verbosity: options.log_verbosity,
            reject_limit: options.reject_limit,
            rows_skipped: 0,
            line_number: 1,
        })
    }

    fn header_read(&self) -> bool {
        self.header == Header::None
    }

    fn context(&self, at: At<'_>) -> String {
        context(&self.relation, self.line_number, at)
    }

    /// Puts `error` into a line that has not been read completely.
    fn in_line(&self, error: CopyError) -> CopyError {
        error.with_context(|| self.context(At::Line))
    }

    /// Takes a line; its number is the current one, and the next one's follows.
    fn read_line<S: RowSink>(
        &mut self,
        line: &str,
        special: bool,
        sink: &mut S,
    ) -> Result<(), CopyError> {
        match std::mem::take(&mut self.header) {
            Header::None => self.read_row(line, special, sink),
            Header::True => Ok(()),
            Header::Match => self.match_header(line, special),
        }
        .map_err(|error| error.with_context(|| self.context(At::WholeLine(line))))?;
        self.line_number += 1;
        Ok(())
    }

    fn match_header(&mut self, line: &str, special: bool) -> Result<(), CopyError> {
        self.fields.split(line, special, &self.columns)?;
        let (count, expected) = (self.fields.count(), self.columns.len());
        if count != expected {
            return Err(CopyError::bad_format(format!(
                "wrong number of fields in header line: got {count}, expected {expected}"
            )));
        }
        for (index, column) in self.columns.iter().enumerate() {
            let got = match self.fields.field(line, index)? {
                Field::Text(name) if name == column.name => continue,
                Field::Text(name) => format!("got \"{name}\""),
                Field::Default if self.fields.default_string() == column.name => continue,
                Field::Default => format!("got \"{}\"", self.fields.default_string()),
                Field::Null => format!("got null value (\"{}\")", self.null),
            };
            return Err(CopyError::bad_format(format!(
                "column name mismatch in header line field {}: {got}, expected \"{}\"",
                index + 1,
                column.name
            )));
        }
        Ok(())
    }

    fn read_row<S: RowSink>(
        &mut self,
        line: &str,
        special: bool,
        sink: &mut S,
    ) -> Result<(), CopyError> {
        self.fields.split(line, special, &self.columns)?;
        if self.fields.count() > self.columns.len() {
            return Err(extra_data());
        }
        sink.begin_row();
        for (index, column) in self.columns.iter().enumerate() {
            if index >= self.fields.count() {
                return Err(CopyError::bad_format(format!(
                    "missing data for column \"{}\"",
                    column.name
                )));
            }
            let forced = self.forced[index];
            let text = match self.fields.field(line, index)? {
                Field::Null if forced.not_null => self.null.as_str(),
                Field::Text(text) if !(forced.null && text == self.null) => text,
                Field::Null | Field::Text(_) => {
                    sink.null();
                    continue;
                }
                Field::Default => {
                    let marker = self.fields.default_string();
                    sink.default_value().map_err(|error| {
                        error.with_context(|| self.context(At::Value(&column.name, marker)))
                    })?;
                    continue;
                }
            };
            if let Err(error) = put_value(sink, &column.ty, text, &self.style) {
                if self.on_error == OnError::Stop {
                    return Err(CopyError::from(error)
                        .with_context(|| self.context(At::Value(&column.name, text))));
                }
                if self.log_verbosity == LogVerbosity::Verbose {
                    sink.notice(CopyNotice {
                        message: format!(
                            "skipping row due to data type incompatibility at line {} for column \
                             \"{}\": \"{}\"",
                            self.line_number,
                            column.name,
                            limit_for_display(text)
                        ),
                        context: Some(format!("COPY {}", self.relation)),
                    });
                }
                self.rows_skipped += 1;
                return match self.reject_limit {
                    Some(limit) if self.rows_skipped > limit => Err(CopyError::new(
                        "22P02",
                        format!(
                            "skipped more than REJECT_LIMIT ({limit}) rows due to data type \
                             incompatibility"
                        ),
                    )
                    .with_context(|| self.context(At::Value(&column.name, text)))),
                    _ => Ok(()),
                };
            }
        }
        sink.end_row()
    }

    fn finish<S: RowSink>(&mut self, sink: &mut S) {
        if self.rows_skipped > 0 && self.log_verbosity != LogVerbosity::Silent {
            let (rows, verb) = if self.rows_skipped == 1 {
                ("row", "was")
            } else {
                ("rows", "were")
            };
            sink.notice(CopyNotice {
                message: format!(
                    "{} {rows} {verb} skipped due to data type incompatibility",
                    self.rows_skipped
                ),
                context: None,
            });
        }
    }
}

/// Out of line, so that the loop over the columns stays small.
fn put_value<S: RowSink>(
    sink: &mut S,
    ty: &ColumnType,
    text: &str,
    style: &InputStyle,
) -> Result<(), TypeError> {
    sink.value(|out| input_text(ty, text, style, out))
}

#[cfg(test)]
mod tests {
    use trunkline_types::oids;

    use super::*;
    use crate::CopyFormat;

    /// Keeps the number of rows; refuses rows from `limit` on.
    struct Counter {
        rows: usize,
        limit: usize,
    }

    impl RowSink for Counter {
        fn begin_row(&mut self) {}
        fn null(&mut self) {}
        fn default_value(&mut self) -> Result<(), CopyError> {
            Ok(())
        }
        fn value<F>(&mut self, write: F) -> Result<(), TypeError>
        where
            F: FnOnce(&mut Vec<u8>) -> Result<(), TypeError>,
        {
            write(&mut Vec::new())
        }
        fn end_row(&mut self) -> Result<(), CopyError> {
            self.rows += 1;
            if self.rows >= self.limit {
                return Err(CopyError::new("23502", "a row too many"));
            }
            Ok(())
        }
        fn notice(&mut self, _: CopyNotice) {}
    }

    fn decoder() -> LineDecoder {
        let ty = ColumnType::new(oids::TEXT, -1).unwrap();
        let column = CopyColumn {
            name: "c".to_owned(),
            ty,
            has_default: false,
        };
        let subject = CopySubject::whole("t", vec![column]);
        LineDecoder::new(
            &subject,
            &CopyOptions::new(CopyFormat::Text),
            InputStyle::default(),
        )
        .unwrap()
    }

    #[test]
    fn only_a_cut_line_is_kept() {
        let mut decoder = decoder();
        let mut sink = Counter {
            rows: 0,
            limit: 100,
        };
        decoder.push(b"one\ntwo\n", &mut sink).unwrap();
        assert_eq!((sink.rows, decoder.carry.capacity()), (2, 0));
        decoder.push(b"thr", &mut sink).unwrap();
        assert_eq!((sink.rows, decoder.carry.as_slice()), (2, &b"thr"[..]));
        decoder.push(b"ee\nfour\nfi", &mut sink).unwrap();
        assert_eq!((sink.rows, decoder.carry.as_slice()), (4, &b"fi"[..]));
        decoder.finish(&mut sink).unwrap();
        assert_eq!(sink.rows, 5);
    }

    #[test]
    fn a_line_without_end_is_refused_at_the_limit() {
        let mut decoder = decoder();
        decoder.line_limit_bytes = 100;
        let mut sink = Counter {
            rows: 0,
            limit: 100,
        };
        decoder.push(&[b'x'; 60], &mut sink).unwrap();
        let error = decoder.push(&[b'x'; 40], &mut sink).unwrap_err();
        assert_eq!(error.sqlstate, "54000");
        assert_eq!(
            error.detail.as_deref(),
            Some("Cannot enlarge string buffer containing 60 bytes by 40 more bytes.")
        );
        assert_eq!(error.context.as_deref(), Some("COPY t, line 1"));
    }

    #[test]
    fn a_refused_row_is_shown_with_its_line() {
        let mut sink = Counter { rows: 0, limit: 2 };
        let error = decoder().push(b"one\ntwo\n", &mut sink).unwrap_err();
        assert_eq!(error.sqlstate, "23502");
        assert_eq!(error.context.as_deref(), Some("COPY t, line 2: \"two\""));
    }
}
