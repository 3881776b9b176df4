//! COPY FROM: bytes in, rows out.

use trunkline_types::InputStyle;

use crate::binary::BinaryDecoder;
use crate::error::limit_for_display;
use crate::line_decoder::LineDecoder;
use crate::{CopyError, CopyFormat, CopyOptions, CopySubject, RowSink};

/// PostgreSQL's `MaxAllocSize`: a line or a field must stay below it.
pub(crate) const BUFFER_LIMIT_BYTES: usize = 0x3fff_ffff;

/// Decodes a COPY's input, which is pushed in pieces of any size.
///
/// Only a line or a field that is cut by the end of a piece is copied and kept, up to
/// PostgreSQL's limit of one gibibyte. After an error the decoder must be dropped.
#[derive(Debug)]
pub struct CopyDecoder {
    decoder: Decoder,
}

#[derive(Debug)]
enum Decoder {
    Lines(Box<LineDecoder>),
    Binary(BinaryDecoder),
}

impl CopyDecoder {
    /// A decoder of input for `subject`. `style` is what the session's settings say about
    /// reading text.
    pub fn new(
        subject: &CopySubject,
        options: &CopyOptions,
        style: InputStyle,
    ) -> Result<Self, CopyError> {
        let decoder = match options.format {
            CopyFormat::Binary => Decoder::Binary(BinaryDecoder::new(subject)),
            CopyFormat::Text | CopyFormat::Csv => {
                Decoder::Lines(Box::new(LineDecoder::new(subject, options, style)?))
            }
        };
        Ok(Self { decoder })
    }

    /// Takes the next piece of input and gives the rows that it completes to `sink`.
    pub fn push<S: RowSink>(&mut self, chunk: &[u8], sink: &mut S) -> Result<(), CopyError> {
        match &mut self.decoder {
            Decoder::Lines(lines) => lines.push(chunk, sink),
            Decoder::Binary(binary) => binary.push(chunk, sink),
        }
    }

    /// The input is complete: gives the last row to `sink` if its line has no end.
    pub fn finish<S: RowSink>(&mut self, sink: &mut S) -> Result<(), CopyError> {
        match &mut self.decoder {
            Decoder::Lines(lines) => lines.finish(sink),
            Decoder::Binary(binary) => binary.finish(),
        }
    }

    /// The CONTEXT of an error that comes while more input is awaited; none before a binary
    /// header is complete.
    pub fn awaiting_context(&self) -> Option<String> {
        match &self.decoder {
            Decoder::Lines(lines) => Some(lines.awaiting_context()),
            Decoder::Binary(binary) => binary.awaiting_context(),
        }
    }

    /// The number of the line (or binary row) being read, from 1: what context lines show.
    pub fn line_number(&self) -> u64 {
        match &self.decoder {
            Decoder::Lines(lines) => lines.line_number(),
            Decoder::Binary(binary) => binary.row_number(),
        }
    }
}

/// Where in the input an error is (copyfrom.c, `CopyFromErrorCallback`).
#[derive(Debug, Clone, Copy)]
pub(crate) enum At<'a> {
    /// In a line or row that cannot be shown.
    Line,
    /// In a line that has been read completely.
    WholeLine(&'a str),
    /// In a column whose value cannot be shown.
    Column(&'a str),
    /// In a column's value.
    Value(&'a str, &'a str),
}

/// The CONTEXT line for an error in line `line_number` of a COPY to `relation`.
pub(crate) fn context(relation: &str, line_number: u64, at: At<'_>) -> String {
    let line = format!("COPY {relation}, line {line_number}");
    match at {
        At::Line => line,
        At::WholeLine(text) => format!("{line}: \"{}\"", limit_for_display(text)),
        At::Column(column) => format!("{line}, column {column}"),
        At::Value(column, text) => {
            format!("{line}, column {column}: \"{}\"", limit_for_display(text))
        }
    }
}
