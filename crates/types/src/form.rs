//! Forming heap tuples: columns in, the bytes that go on a page out.
//!
//! Byte for byte what PostgreSQL's `heap_form_tuple` and `heap_fill_tuple` (`heaptuple.c`) make:
//! short varlena headers where the storage allows them, zero padding, the null bitmap only when
//! there is a NULL. No allocation per row: one buffer is reused.

use std::ops::Range;
use std::sync::Arc;

use trunkline_pgformat::align::max_align;
use trunkline_pgformat::heap_tuple::{
    HEAP_HASNULL, HEAP_HASVARWIDTH, HEAP_TUPLE_HEADER_SIZE, MAX_HEAP_TUPLE_SIZE,
};
use trunkline_pgformat::varlena::{SHORT_PAYLOAD_MAX, long_header, short_header};

use crate::error::{TypeError, sqlstate};
use crate::tuple_desc::{AttrLayout, TupleDesc};

/// A row that does not fit on a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("row is too big: size {size}, maximum size {MAX_HEAP_TUPLE_SIZE}")]
pub struct TupleTooBig {
    /// Size of the tuple in bytes, rounded up to the alignment of tuples on a page.
    pub size: usize,
}

impl From<TupleTooBig> for TypeError {
    fn from(error: TupleTooBig) -> TypeError {
        TypeError::new(sqlstate::PROGRAM_LIMIT_EXCEEDED, error.to_string())
    }
}

/// Makes heap tuples, one after the other, in one buffer.
///
/// For each row: [`begin`](Self::begin), one push per column, [`finish`](Self::finish). A row that is to
/// [stay](Self::keep) in the buffer is followed there by the next one.
#[derive(Debug, Default)]
pub struct TupleFormer {
    layout: Arc<[AttrLayout]>,
    /// Tuples that stay; then, from a multiple of 8 on, a header with room for the null bitmap, and the
    /// data area.
    buf: Vec<u8>,
    /// Where the tuples end that stay.
    kept: usize,
    /// The header with all of that room: a multiple of 8.
    header_size: usize,
    /// Where the row's header begins.
    start: usize,
    /// Columns pushed.
    pushed: usize,
    has_null: bool,
    has_varwidth: bool,
}

/// A value whose payload is being appended.
#[derive(Clone, Copy, Debug)]
pub struct OpenValue {
    /// Where its header begins, or a fixed-length payload.
    header: usize,
}

impl TupleFormer {
    /// A former with an empty buffer.
    pub fn new() -> TupleFormer {
        TupleFormer::default()
    }

    /// Starts a row; whatever was pushed since the last row that stays is gone.
    #[inline]
    pub fn begin(&mut self, desc: &TupleDesc) {
        if !Arc::ptr_eq(&self.layout, desc.layout()) {
            self.layout = Arc::clone(desc.layout());
            self.header_size = max_align(HEAP_TUPLE_HEADER_SIZE + self.layout.len().div_ceil(8));
        }
        self.buf.truncate(self.kept);
        self.start = max_align(self.kept);
        // Of fixed length, as it is for up to eight columns: one store instead of a call.
        self.buf.extend_from_slice(&[0; 7 + 24]);
        self.buf.truncate(self.start + 24);
        if self.header_size > 24 {
            self.buf.resize(self.start + self.header_size, 0);
        }
        self.pushed = 0;
        self.has_null = false;
        self.has_varwidth = false;
    }

    /// How many columns of the row have been pushed.
    pub fn pushed(&self) -> usize {
        self.pushed
    }

    /// Appends the next column: its payload, or NULL.
    ///
    /// # Panics
    /// If the row has no further column, or a fixed-length payload has another length.
    #[inline]
    pub fn push(&mut self, datum: Option<&[u8]>) {
        let Some(payload) = datum else {
            self.push_null();
            return;
        };
        let attr = self.next_layout();
        self.set_not_null();
        match attr.len {
            -1 => self.push_varlena(attr, payload),
            -2 => {
                self.has_varwidth = true;
                self.buf.extend_from_slice(payload);
                self.buf.push(0);
            }
            len => {
                assert_eq!(
                    payload.len(),
                    len as usize,
                    "payload of a fixed-length type"
                );
                self.pad(attr);
                self.buf.extend_from_slice(payload);
            }
        }
        self.pushed += 1;
    }

    /// Appends a NULL.
    #[inline]
    pub fn push_null(&mut self) {
        let _ = self.next_layout();
        self.has_null = true;
        self.pushed += 1;
    }

    /// Appends the next column from a function that writes its payload to the end of the buffer.
    /// If it fails, the row is abandoned: only [`begin`](Self::begin) may follow.
    ///
    /// # Errors
    /// What `write` returns.
    ///
    /// # Panics
    /// If the row has no further column, or a fixed-length payload has another length.
    #[inline]
    pub fn push_with<E>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let value = self.begin_value();
        write(&mut self.buf)?;
        self.end_value(value);
        Ok(())
    }

    /// The next column's payload is about to be appended to [`buffer`](Self::buffer).
    ///
    /// # Panics
    /// If the row has no further column.
    #[inline(always)]
    pub fn begin_value(&mut self) -> OpenValue {
        let attr = self.layout[self.pushed];
        self.set_not_null();
        let header = match attr.len {
            -2 => self.buf.len(),
            -1 if attr.packable => {
                let header = self.buf.len();
                self.buf.push(0);
                header
            }
            -1 => {
                self.pad(attr);
                let header = self.buf.len();
                self.buf.extend_from_slice(&[0; 4]);
                header
            }
            _ => {
                self.pad(attr);
                self.buf.len()
            }
        };
        OpenValue { header }
    }

    /// What a value's payload is appended to.
    #[inline]
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buf
    }

    /// The column's payload has been appended.
    ///
    /// # Panics
    /// If it is a fixed-length one and has another length.
    #[inline(always)]
    pub fn end_value(&mut self, value: OpenValue) {
        let OpenValue { header } = value;
        let attr = self.layout[self.pushed];
        let written = self.buf.len() - header;
        match attr.len {
            -1 => {
                self.has_varwidth = true;
                self.end_varlena(attr, header, written);
            }
            -2 => {
                self.has_varwidth = true;
                self.buf.push(0);
            }
            len => assert_eq!(written, len as usize, "payload of a fixed-length type"),
        }
        self.pushed += 1;
    }

    /// The whole tuple: header, null bitmap if needed, data. The transaction fields of the header
    /// are zero, `t_ctid` is invalid.
    ///
    /// # Errors
    /// [`TupleTooBig`] if it cannot fit on a page.
    ///
    /// # Panics
    /// If columns are missing.
    #[inline]
    pub fn finish(&mut self) -> Result<&[u8], TupleTooBig> {
        let place = self.finish_in_place()?;
        Ok(&self.buf[place])
    }

    /// The same, told by its place in the buffer.
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    ///
    /// # Panics
    /// As [`finish`](Self::finish).
    #[inline]
    pub fn finish_in_place(&mut self) -> Result<Range<usize>, TupleTooBig> {
        assert_eq!(self.pushed, self.layout.len(), "columns of the row");
        let hoff = if self.has_null {
            self.header_size
        } else {
            max_align(HEAP_TUPLE_HEADER_SIZE)
        };
        let data_start = self.start + self.header_size;
        let start = data_start - hoff;
        let size = max_align(self.buf.len() - start);
        if size > MAX_HEAP_TUPLE_SIZE {
            return Err(TupleTooBig { size });
        }
        if hoff < self.header_size {
            // The bitmap's room turned out not to be needed; part of it becomes the header.
            self.buf[start..data_start].fill(0);
        } else if !self.has_null {
            // The bitmap of eight columns at most.
            self.buf[start + HEAP_TUPLE_HEADER_SIZE] = 0;
        }
        let mut infomask = 0;
        if self.has_null {
            infomask |= HEAP_HASNULL;
        }
        if self.has_varwidth {
            infomask |= HEAP_HASVARWIDTH;
        }
        let header = &mut self.buf[start..start + HEAP_TUPLE_HEADER_SIZE];
        header[12..16].fill(0xff);
        header[18..20].copy_from_slice(&(self.layout.len() as u16).to_le_bytes());
        header[20..22].copy_from_slice(&infomask.to_le_bytes());
        header[22] = hoff as u8;
        Ok(start..self.buf.len())
    }

    /// The row that was finished last stays in the buffer.
    #[inline]
    pub fn keep(&mut self) {
        self.kept = self.buf.len();
    }

    /// Bytes of the tuples that stay, and of what is between them.
    #[inline]
    pub fn kept_bytes(&self) -> usize {
        self.kept
    }

    /// Exchanges the tuples that stay for other ones: for none, in an allocation to reuse. No row is
    /// begun afterwards.
    pub fn exchange_kept(&mut self, tuples: &mut Vec<u8>) {
        self.buf.truncate(self.kept);
        std::mem::swap(&mut self.buf, tuples);
        self.kept = self.buf.len();
    }

    #[inline]
    fn next_layout(&self) -> AttrLayout {
        self.layout[self.pushed]
    }

    #[inline]
    fn set_not_null(&mut self) {
        self.buf[self.start + HEAP_TUPLE_HEADER_SIZE + self.pushed / 8] |= 1 << (self.pushed % 8);
    }

    /// Zero bytes up to the column's alignment, counted from the data area's start (which is
    /// itself aligned).
    #[inline]
    fn pad(&mut self, attr: AttrLayout) {
        // Eight bytes and less again: cheaper than to write just as many as are missing.
        let aligned = attr.align(self.buf.len());
        self.buf.extend_from_slice(&[0; 8]);
        self.buf.truncate(aligned);
    }

    #[inline]
    fn push_varlena(&mut self, attr: AttrLayout, payload: &[u8]) {
        self.has_varwidth = true;
        if attr.packable && payload.len() <= SHORT_PAYLOAD_MAX {
            self.buf.push(short_header(payload.len()));
        } else {
            self.pad(attr);
            self.buf.extend_from_slice(&long_header(payload.len()));
        }
        self.buf.extend_from_slice(payload);
    }

    /// Fills the header in, with `written` bytes of it and the payload behind it.
    #[inline]
    fn end_varlena(&mut self, attr: AttrLayout, header: usize, written: usize) {
        if !attr.packable {
            self.buf[header..header + 4].copy_from_slice(&long_header(written - 4));
            return;
        }
        let len = written - 1;
        if len <= SHORT_PAYLOAD_MAX {
            self.buf[header] = short_header(len);
        } else {
            self.make_header_long(attr, header, len);
        }
    }

    /// Too long for the one-byte header: moves the payload behind an aligned four-byte one.
    #[inline(never)]
    fn make_header_long(&mut self, attr: AttrLayout, unpadded: usize, len: usize) {
        let header = attr.align(unpadded);
        self.buf.resize(header + 4 + len, 0);
        self.buf
            .copy_within(unpadded + 1..unpadded + 1 + len, header + 4);
        self.buf[unpadded..header].fill(0);
        self.buf[header..header + 4].copy_from_slice(&long_header(len));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oids;
    use crate::tuple_desc::Attribute;

    /// Ten columns, so that the null bitmap may need more than the usual room.
    fn desc() -> TupleDesc {
        let of = |oid| Attribute::new("c", oid, -1).unwrap();
        let mut attrs = vec![of(oids::TEXT)];
        attrs.extend((0..9).map(|number| of([oids::INT2, oids::INT8][number % 2])));
        TupleDesc::new(attrs)
    }

    fn push_row(former: &mut TupleFormer, desc: &TupleDesc, number: usize) {
        former.begin(desc);
        former.push(Some(&vec![b'x'; number]));
        for column in 0..9 {
            if (number + column) % 4 == 3 && number.is_multiple_of(2) {
                former.push_null();
            } else {
                let value = (number * 1000 + column).to_le_bytes();
                let length = [2, 8][column % 2];
                former
                    .push_with(|out| {
                        out.extend_from_slice(&value[..length]);
                        Ok::<(), ()>(())
                    })
                    .unwrap();
            }
        }
    }

    #[test]
    fn rows_that_stay_are_those_that_are_formed_alone() {
        let desc = desc();
        let mut kept = TupleFormer::new();
        let mut tuples = Vec::new();
        for round in 0..2 {
            let mut places = Vec::new();
            for number in 0..300 {
                if number % 3 == 0 {
                    // Begun and left, or finished and not kept.
                    push_row(&mut kept, &desc, number + 7);
                    if number % 2 == 0 {
                        kept.finish().unwrap();
                    }
                }
                push_row(&mut kept, &desc, number);
                places.push(kept.finish_in_place().unwrap());
                kept.keep();
            }
            kept.begin(&desc);
            let bytes = kept.kept_bytes();
            kept.exchange_kept(&mut tuples);
            assert_eq!((tuples.len(), kept.kept_bytes()), (bytes, 0), "{round}");
            let mut alone = TupleFormer::new();
            let mut end = 0;
            for (number, place) in places.into_iter().enumerate() {
                assert!(place.start >= end && place.start.is_multiple_of(8));
                end = place.end;
                push_row(&mut alone, &desc, number);
                assert_eq!(alone.finish().unwrap(), &tuples[place], "row {number}");
            }
            assert_eq!(end, tuples.len());
            tuples.clear();
            kept.exchange_kept(&mut tuples);
        }
    }
}
