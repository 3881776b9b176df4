//! Binary input (copyfromparse.c, `ReceiveCopyBinaryHeader` and `CopyReadBinaryAttribute`).
//!
//! ```text
//!  signature (11)  flags (4)  length of extension (4)  extension
//!  row:  number of fields (2)   field: length (4, -1 = null)  bytes     ...
//!  trailer: -1 (2)
//! ```
//! Numbers are in network order. The input is a sequence of parts of known length; a part
//! that is cut by the end of a piece is collected in `carry`.

use trunkline_types::input_binary;

use crate::decoder::{At, BUFFER_LIMIT_BYTES, context};
use crate::{CopyColumn, CopyError, CopySubject, RowSink};

/// What every binary COPY begins with.
pub(crate) const SIGNATURE: [u8; 11] = *b"PGCOPY\n\xff\r\n\0";

/// The part that comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Signature,
    Flags,
    ExtensionLength,
    /// So many more bytes to skip.
    Extension(usize),
    FieldCount,
    FieldLength {
        column: usize,
    },
    FieldData {
        column: usize,
        len: usize,
    },
    /// The trailer was read: nothing may follow.
    End,
}

#[derive(Debug)]
pub(crate) struct BinaryDecoder {
    relation: String,
    columns: Vec<CopyColumn>,
    part: Part,
    /// The beginning of a part that goes on in the next piece.
    carry: Vec<u8>,
    row_number: u64,
    field_limit_bytes: usize,
}

impl BinaryDecoder {
    pub fn new(subject: &CopySubject) -> Self {
        Self {
            relation: subject.relation_name(),
            columns: subject.columns.clone(),
            part: Part::Signature,
            carry: Vec::new(),
            row_number: 0,
            field_limit_bytes: BUFFER_LIMIT_BYTES,
        }
    }

    pub fn row_number(&self) -> u64 {
        self.row_number
    }

    pub fn awaiting_context(&self) -> Option<String> {
        let (row_number, at) = match self.part {
            Part::Signature | Part::Flags | Part::ExtensionLength | Part::Extension(_) => {
                return None;
            }
            Part::FieldCount | Part::End => (self.row_number + 1, At::Line),
            Part::FieldLength { column } | Part::FieldData { column, .. } => {
                let name = &self.columns[column].name;
                (self.row_number, At::Column(name))
            }
        };
        Some(context(&self.relation, row_number, at))
    }

    pub fn push<S: RowSink>(&mut self, chunk: &[u8], sink: &mut S) -> Result<(), CopyError> {
        let mut rest = chunk;
        loop {
            if self.carry.is_empty() && self.part == Part::FieldCount {
                rest = self.read_whole_rows(rest, sink)?;
            }
            if let Part::Extension(left) = self.part {
                let skipped = left.min(rest.len());
                rest = &rest[skipped..];
                self.part = match left - skipped {
                    0 => Part::FieldCount,
                    left => Part::Extension(left),
                };
                if self.part == Part::FieldCount {
                    continue;
                }
            }
            if rest.is_empty() && self.part_len() > 0 {
                return Ok(());
            }
            let missing = self.part_len() - self.carry.len();
            if rest.len() < missing {
                self.carry.extend_from_slice(rest);
                return Ok(());
            }
            let (bytes, after) = rest.split_at(missing);
            rest = after;
            if self.carry.is_empty() {
                self.read_part(bytes, sink)?;
            } else {
                let mut carry = std::mem::take(&mut self.carry);
                carry.extend_from_slice(bytes);
                self.read_part(&carry, sink)?;
                carry.clear();
                self.carry = carry;
            }
        }
    }

    pub fn finish(&mut self) -> Result<(), CopyError> {
        let header = |message| Err(CopyError::bad_format(message));
        match self.part {
            Part::Signature => header("COPY file signature not recognized"),
            Part::Flags => header("invalid COPY file header (missing flags)"),
            Part::ExtensionLength => header("invalid COPY file header (missing length)"),
            Part::Extension(_) => header("invalid COPY file header (wrong length)"),
            Part::FieldLength { column } | Part::FieldData { column, .. } => {
                Err(self.in_column(column, CopyError::bad_format("unexpected EOF in COPY data")))
            }
            // PostgreSQL takes the end of the input for the trailer.
            Part::FieldCount | Part::End => Ok(()),
        }
    }

    /// The length in bytes of the part that comes next, 1 for anything after the trailer.
    fn part_len(&self) -> usize {
        match self.part {
            Part::Signature => SIGNATURE.len(),
            Part::Flags | Part::ExtensionLength | Part::FieldLength { .. } => 4,
            Part::Extension(len) | Part::FieldData { len, .. } => len,
            Part::FieldCount => 2,
            Part::End => 1,
        }
    }

    /// Reads rows as long as they are whole, the usual way for nearly all input. Returns
    /// what is left; `part` tells what it begins with.
    fn read_whole_rows<'a, S: RowSink>(
        &mut self,
        mut rest: &'a [u8],
        sink: &mut S,
    ) -> Result<&'a [u8], CopyError> {
        while let Some((count, after)) = rest.split_first_chunk::<2>() {
            let count = i16::from_be_bytes(*count);
            if !self.begin_row(count, sink)? {
                return Ok(after);
            }
            rest = after;
            for column in 0..self.columns.len() {
                let Some((len, after)) = rest.split_first_chunk::<4>() else {
                    self.part = Part::FieldLength { column };
                    return Ok(rest);
                };
                let len = i32::from_be_bytes(*len);
                if len == -1 {
                    sink.null();
                    rest = after;
                    continue;
                }
                let len = self.field_len(column, len)?;
                let Some((bytes, after)) = after.split_at_checked(len) else {
                    self.part = Part::FieldData { column, len };
                    return Ok(after);
                };
                let ty = &self.columns[column].ty;
                if let Err(error) = sink.value(|out| input_binary(ty, bytes, out)) {
                    return Err(self.in_column(column, error.into()));
                }
                rest = after;
            }
            self.end_row(sink)?;
        }
        Ok(rest)
    }

    /// Reads one complete part and moves on to the next.
    #[inline(never)]
    fn read_part<S: RowSink>(&mut self, bytes: &[u8], sink: &mut S) -> Result<(), CopyError> {
        match self.part {
            Part::Signature => {
                if bytes != SIGNATURE {
                    return Err(CopyError::bad_format("COPY file signature not recognized"));
                }
                self.part = Part::Flags;
            }
            Part::Flags => {
                let flags = be_i32(bytes);
                if flags & (1 << 16) != 0 {
                    return Err(CopyError::bad_format(
                        "invalid COPY file header (WITH OIDS)",
                    ));
                }
                if flags >> 16 != 0 {
                    return Err(CopyError::bad_format(
                        "unrecognized critical flags in COPY file header",
                    ));
                }
                self.part = Part::ExtensionLength;
            }
            Part::ExtensionLength => {
                let Ok(len) = usize::try_from(be_i32(bytes)) else {
                    return Err(CopyError::bad_format(
                        "invalid COPY file header (missing length)",
                    ));
                };
                self.part = Part::Extension(len);
            }
            // Skipped by `push`.
            Part::Extension(_) => {}
            Part::FieldCount => {
                let count = bytes
                    .first_chunk()
                    .map_or(0, |count| i16::from_be_bytes(*count));
                if self.begin_row(count, sink)? {
                    self.next_column(0, sink)?;
                }
            }
            Part::FieldLength { column } => {
                let len = be_i32(bytes);
                if len == -1 {
                    sink.null();
                    self.next_column(column + 1, sink)?;
                } else {
                    let len = self.field_len(column, len)?;
                    self.part = Part::FieldData { column, len };
                }
            }
            Part::FieldData { column, .. } => {
                let ty = &self.columns[column].ty;
                if let Err(error) = sink.value(|out| input_binary(ty, bytes, out)) {
                    return Err(self.in_column(column, error.into()));
                }
                self.next_column(column + 1, sink)?;
            }
            Part::End => {
                let error = CopyError::bad_format("received copy data after EOF marker");
                return Err(self.in_row(error));
            }
        }
        Ok(())
    }

    fn next_column<S: RowSink>(&mut self, column: usize, sink: &mut S) -> Result<(), CopyError> {
        if column < self.columns.len() {
            self.part = Part::FieldLength { column };
            return Ok(());
        }
        self.part = Part::FieldCount;
        self.end_row(sink)
    }

    /// Takes a row's number of fields. False: it was the trailer.
    #[inline]
    fn begin_row<S: RowSink>(&mut self, count: i16, sink: &mut S) -> Result<bool, CopyError> {
        self.row_number += 1;
        if count == -1 {
            self.part = Part::End;
            return Ok(false);
        }
        let expected = self.columns.len();
        if usize::try_from(count) != Ok(expected) {
            let message = format!("row field count is {count}, expected {expected}");
            return Err(self.in_row(CopyError::bad_format(message)));
        }
        sink.begin_row();
        Ok(true)
    }

    #[inline]
    fn end_row<S: RowSink>(&self, sink: &mut S) -> Result<(), CopyError> {
        sink.end_row().map_err(|error| self.in_row(error))
    }

    /// A field's length, which is not -1.
    #[inline]
    fn field_len(&self, column: usize, len: i32) -> Result<usize, CopyError> {
        let Ok(len) = usize::try_from(len) else {
            return Err(self.in_column(column, CopyError::bad_format("invalid field size")));
        };
        if len >= self.field_limit_bytes {
            let error = CopyError::buffer_limit(0, len, self.field_limit_bytes);
            return Err(self.in_column(column, error));
        }
        Ok(len)
    }

    #[cold]
    fn in_row(&self, error: CopyError) -> CopyError {
        error.with_context(|| context(&self.relation, self.row_number, At::Line))
    }

    #[cold]
    fn in_column(&self, column: usize, error: CopyError) -> CopyError {
        let name = &self.columns[column].name;
        error.with_context(|| context(&self.relation, self.row_number, At::Column(name)))
    }
}

/// The number in the four bytes of a part.
fn be_i32(bytes: &[u8]) -> i32 {
    bytes
        .first_chunk()
        .map_or(0, |number| i32::from_be_bytes(*number))
}

#[cfg(test)]
mod tests {
    use trunkline_types::{ColumnType, TypeError, oids};

    use super::*;
    use crate::CopyNotice;

    /// Counts the rows.
    #[derive(Default)]
    struct Counter(usize);

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
            self.0 += 1;
            Ok(())
        }
        fn notice(&mut self, _: CopyNotice) {}
    }

    fn decoder() -> BinaryDecoder {
        let ty = ColumnType::new(oids::TEXT, -1).unwrap();
        let column = CopyColumn {
            name: "c".to_owned(),
            ty,
            has_default: false,
        };
        BinaryDecoder::new(&CopySubject::whole("t", vec![column]))
    }

    fn header() -> Vec<u8> {
        [&SIGNATURE[..], &[0; 8]].concat()
    }

    #[test]
    fn a_field_is_refused_by_its_length_alone() {
        let mut decoder = decoder();
        decoder.field_limit_bytes = 100;
        decoder.push(&header(), &mut Counter::default()).unwrap();
        decoder
            .push(&[0, 1, 0, 0, 0, 99], &mut Counter::default())
            .unwrap();
        decoder.push(&[b'x'; 99], &mut Counter::default()).unwrap();
        let error = decoder
            .push(&[0, 1, 0, 0, 0, 100], &mut Counter::default())
            .unwrap_err();
        assert_eq!(error.sqlstate, "54000");
        assert_eq!(error.context.as_deref(), Some("COPY t, line 2, column c"));
    }

    #[test]
    fn an_announced_field_takes_no_memory_before_it_comes() {
        let mut decoder = decoder();
        decoder.push(&header(), &mut Counter::default()).unwrap();
        decoder
            .push(&[0, 1, 0x3f, 0, 0, 0, b'x'], &mut Counter::default())
            .unwrap();
        assert!(decoder.carry.capacity() < 1024);
    }

    #[test]
    fn whole_rows_are_not_copied() {
        let mut decoder = decoder();
        let mut input = header();
        for _ in 0..10 {
            input.extend_from_slice(&[0, 1, 0, 0, 0, 1, b'x']);
        }
        let mut sink = Counter::default();
        decoder.push(&input, &mut sink).unwrap();
        assert_eq!((sink.0, decoder.carry.capacity()), (10, 0));
    }
}
