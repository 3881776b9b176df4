//! COPY TO: rows in, bytes out (PostgreSQL's copyto.c).

use trunkline_types::{OutputStyle, output_binary, output_text};

use crate::binary::SIGNATURE;
use crate::{CopyColumn, CopyError, CopyFormat, CopyOptions, CopySubject, Header};

/// Encodes a COPY's output: the header, each row, the trailer.
#[derive(Debug)]
pub struct CopyEncoder {
    columns: Vec<CopyColumn>,
    style: OutputStyle,
    header: bool,
    writer: Writer,
}

#[derive(Debug)]
enum Writer {
    Text(TextWriter),
    Csv(CsvWriter),
    Binary,
}

impl CopyEncoder {
    /// An encoder of rows that have the values of `subject`'s columns, in that order. `style`
    /// is what the session's settings say about printing.
    pub fn new(
        subject: &CopySubject,
        options: &CopyOptions,
        style: OutputStyle,
    ) -> Result<Self, CopyError> {
        let writer = match options.format {
            CopyFormat::Text => Writer::Text(TextWriter::new(options)),
            CopyFormat::Csv => Writer::Csv(CsvWriter::new(subject, options)?),
            CopyFormat::Binary => Writer::Binary,
        };
        Ok(Self {
            columns: subject.columns.clone(),
            style,
            header: options.header != Header::None,
            writer,
        })
    }

    /// Appends what comes before the first row.
    pub fn header(&self, out: &mut Vec<u8>) {
        let names = self.columns.iter().map(|column| column.name.as_bytes());
        match &self.writer {
            Writer::Binary => {
                out.extend_from_slice(&SIGNATURE);
                // No flags, no extension.
                out.extend_from_slice(&[0; 8]);
            }
            Writer::Text(_) | Writer::Csv(_) if !self.header => {}
            Writer::Text(writer) => {
                for (index, name) in names.enumerate() {
                    writer.delimit(index, out);
                    let start = out.len();
                    out.extend_from_slice(name);
                    writer.escape_from(start, out);
                }
                out.push(b'\n');
            }
            Writer::Csv(writer) => {
                for (index, name) in names.enumerate() {
                    writer.delimit(index, out);
                    let start = out.len();
                    out.extend_from_slice(name);
                    writer.quote_from(start, false, out);
                }
                out.push(b'\n');
            }
        }
    }

    /// Appends a row: the datum of each column, None for null.
    ///
    /// # Panics
    /// If there are not as many values as columns.
    pub fn row(&self, values: &[Option<&[u8]>], out: &mut Vec<u8>) -> Result<(), CopyError> {
        assert_eq!(values.len(), self.columns.len(), "values of the row");
        let cells = self.columns.iter().zip(values);
        match &self.writer {
            Writer::Binary => {
                // At most 1600 columns: the count fits.
                out.extend_from_slice(&(values.len() as i16).to_be_bytes());
                for (column, value) in cells {
                    let Some(datum) = value else {
                        out.extend_from_slice(&(-1_i32).to_be_bytes());
                        continue;
                    };
                    let start = out.len();
                    out.extend_from_slice(&[0; 4]);
                    output_binary(&column.ty, datum, out)?;
                    let len = (out.len() - start - 4) as i32;
                    out[start..start + 4].copy_from_slice(&len.to_be_bytes());
                }
            }
            Writer::Text(writer) => {
                for (index, (column, value)) in cells.enumerate() {
                    writer.delimit(index, out);
                    let Some(datum) = value else {
                        out.extend_from_slice(&writer.null);
                        continue;
                    };
                    let start = out.len();
                    output_text(&column.ty, datum, &self.style, out)?;
                    writer.escape_from(start, out);
                }
                out.push(b'\n');
            }
            Writer::Csv(writer) => {
                for (index, (column, value)) in cells.enumerate() {
                    writer.delimit(index, out);
                    let Some(datum) = value else {
                        out.extend_from_slice(&writer.null);
                        continue;
                    };
                    let start = out.len();
                    output_text(&column.ty, datum, &self.style, out)?;
                    writer.quote_from(start, writer.force_quote[index], out);
                }
                out.push(b'\n');
            }
        }
        Ok(())
    }

    /// Appends what comes after the last row.
    pub fn trailer(&self, out: &mut Vec<u8>) {
        if matches!(self.writer, Writer::Binary) {
            out.extend_from_slice(&(-1_i16).to_be_bytes());
        }
    }
}

#[derive(Debug)]
struct TextWriter {
    delimiter: u8,
    null: Vec<u8>,
    /// For each byte what stands for it after a backslash; 0: it is written as it is.
    escapes: Box<[u8; 256]>,
}

impl TextWriter {
    fn new(options: &CopyOptions) -> Self {
        let mut escapes = Box::new([0; 256]);
        escapes[usize::from(options.delimiter)] = options.delimiter;
        let letters = [
            (b'\\', b'\\'),
            (0x08, b'b'),
            (0x0c, b'f'),
            (b'\n', b'n'),
            (b'\r', b'r'),
            (b'\t', b't'),
            (0x0b, b'v'),
        ];
        for (byte, letter) in letters {
            escapes[usize::from(byte)] = letter;
        }
        Self {
            delimiter: options.delimiter,
            null: options.null.clone().into_bytes(),
            escapes,
        }
    }

    fn delimit(&self, index: usize, out: &mut Vec<u8>) {
        if index > 0 {
            out.push(self.delimiter);
        }
    }

    /// Escapes the value that begins at `start` and ends `out`.
    fn escape_from(&self, start: usize, out: &mut Vec<u8>) {
        let escape = |byte: &u8| self.escapes[usize::from(*byte)];
        let Some(first) = out[start..].iter().position(|byte| escape(byte) != 0) else {
            return;
        };
        let value = out.split_off(start + first);
        for byte in &value {
            match escape(byte) {
                0 => out.push(*byte),
                letter => out.extend_from_slice(&[b'\\', letter]),
            }
        }
    }
}

#[derive(Debug)]
struct CsvWriter {
    delimiter: u8,
    quote: u8,
    escape: u8,
    null: Vec<u8>,
    force_quote: Vec<bool>,
}

impl CsvWriter {
    fn new(subject: &CopySubject, options: &CopyOptions) -> Result<Self, CopyError> {
        Ok(Self {
            delimiter: options.delimiter,
            quote: options.quote,
            escape: options.escape,
            null: options.null.clone().into_bytes(),
            force_quote: subject.flags("FORCE_QUOTE", &options.force_quote)?,
        })
    }

    fn delimit(&self, index: usize, out: &mut Vec<u8>) {
        if index > 0 {
            out.push(self.delimiter);
        }
    }

    /// Puts the value that begins at `start` and ends `out` into quotes, if it must be.
    fn quote_from(&self, start: usize, force: bool, out: &mut Vec<u8>) {
        let value = &out[start..];
        // Older servers and psql take a lone `\.` for the end of the data.
        let is_end_marker = || self.force_quote.len() == 1 && value == b"\\.";
        let is_special = |byte: &u8| {
            matches!(byte, b'\n' | b'\r') || *byte == self.delimiter || *byte == self.quote
        };
        if !force && value != self.null && !is_end_marker() && !value.iter().any(is_special) {
            return;
        }
        let value = out.split_off(start);
        out.reserve(value.len() + 2);
        out.push(self.quote);
        for byte in value {
            if byte == self.quote || byte == self.escape {
                out.push(self.escape);
            }
            out.push(byte);
        }
        out.push(self.quote);
    }
}
