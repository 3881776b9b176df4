//! Deforming heap tuples: the bytes of a tuple in, its columns out.
//!
//! The bytes come from a page on disk, so nothing is taken for granted: a tuple that contradicts
//! its header or the row's shape is an error, never a panic. PostgreSQL's counterpart is
//! `heap_deform_tuple` (`heaptuple.c`).

use trunkline_pgformat::heap_tuple::{HEAP_HASNULL, HEAP_NATTS_MASK, HEAP_TUPLE_HEADER_SIZE};

use crate::error::{TypeError, sqlstate};
use crate::tuple_desc::{AttrLayout, TupleDesc};

/// A tuple that cannot be taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeformError {
    /// The header or a value reaches past the tuple's end, or a header is nonsense.
    #[error("heap tuple is corrupted")]
    Corrupted,
    /// A value is stored out of line or compressed.
    #[error("value is stored out of line or compressed, which is not supported")]
    Toasted,
}

impl From<DeformError> for TypeError {
    fn from(error: DeformError) -> TypeError {
        let state = match error {
            DeformError::Corrupted => sqlstate::DATA_CORRUPTED,
            DeformError::Toasted => sqlstate::FEATURE_NOT_SUPPORTED,
        };
        TypeError::new(state, error.to_string())
    }
}

/// The parts of a tuple: number of columns, null bitmap if there is one, data area.
struct Parts<'t> {
    natts: usize,
    bitmap: Option<&'t [u8]>,
    data: &'t [u8],
}

#[inline]
fn split(tuple: &[u8]) -> Result<Parts<'_>, DeformError> {
    let Some((header, _)) = tuple.split_first_chunk::<HEAP_TUPLE_HEADER_SIZE>() else {
        return Err(DeformError::Corrupted);
    };
    let natts = usize::from(u16::from_le_bytes([header[18], header[19]]) & HEAP_NATTS_MASK);
    let hoff = usize::from(header[22]);
    if hoff < HEAP_TUPLE_HEADER_SIZE {
        return Err(DeformError::Corrupted);
    }
    let data = tuple.get(hoff..).ok_or(DeformError::Corrupted)?;
    let bitmap = if u16::from_le_bytes([header[20], header[21]]) & HEAP_HASNULL != 0 {
        let end = HEAP_TUPLE_HEADER_SIZE + natts.div_ceil(8);
        if end > hoff {
            return Err(DeformError::Corrupted);
        }
        Some(&tuple[HEAP_TUPLE_HEADER_SIZE..end])
    } else {
        None
    };
    Ok(Parts {
        natts,
        bitmap,
        data,
    })
}

#[inline]
fn is_null(bitmap: &[u8], index: usize) -> bool {
    bitmap[index / 8] & (1 << (index % 8)) == 0
}

/// The value of a non-null column that starts at or after `offset`, and the offset behind it.
#[inline]
pub(crate) fn value_at(
    data: &[u8],
    attr: AttrLayout,
    offset: usize,
) -> Result<(&[u8], usize), DeformError> {
    match attr.len {
        -1 => {
            let first = *data.get(offset).ok_or(DeformError::Corrupted)?;
            // A byte that is not zero where padding could be is a short header: padding is zero,
            // and a four-byte header is aligned (att_align_pointer).
            if first & 1 == 1 {
                if first == 1 {
                    return Err(DeformError::Toasted);
                }
                let end = offset + usize::from(first >> 1);
                let value = data.get(offset + 1..end).ok_or(DeformError::Corrupted)?;
                return Ok((value, end));
            }
            let start = if first == 0 {
                attr.align(offset)
            } else {
                offset
            };
            let rest = data.get(start..).ok_or(DeformError::Corrupted)?;
            let Some((header, _)) = rest.split_first_chunk::<4>() else {
                return Err(DeformError::Corrupted);
            };
            let header = u32::from_le_bytes(*header);
            match header & 3 {
                0 => {
                    let size = (header >> 2) as usize;
                    let value = rest.get(4..size).ok_or(DeformError::Corrupted)?;
                    Ok((value, start + size))
                }
                2 => Err(DeformError::Toasted),
                // The first byte at the aligned place is a short header.
                _ => {
                    if header as u8 == 1 {
                        return Err(DeformError::Toasted);
                    }
                    let size = usize::from((header as u8) >> 1);
                    let value = rest.get(1..size).ok_or(DeformError::Corrupted)?;
                    Ok((value, start + size))
                }
            }
        }
        len if len >= 0 => {
            let start = attr.align(offset);
            let end = start + len as usize;
            let value = data.get(start..end).ok_or(DeformError::Corrupted)?;
            Ok((value, end))
        }
        _ => {
            let rest = data.get(offset..).ok_or(DeformError::Corrupted)?;
            let len = rest
                .iter()
                .position(|&byte| byte == 0)
                .ok_or(DeformError::Corrupted)?;
            Ok((&rest[..len], offset + len + 1))
        }
    }
}

/// Takes a whole tuple apart: `out` gets one entry per column of `desc`. Columns that the tuple
/// does not have (it is older than they are) are NULL.
///
/// # Errors
/// [`DeformError`] if the bytes make no sense.
pub fn deform<'t>(
    desc: &TupleDesc,
    tuple: &'t [u8],
    out: &mut Vec<Option<&'t [u8]>>,
) -> Result<(), DeformError> {
    let parts = split(tuple)?;
    out.clear();
    let mut offset = 0;
    let present = parts.natts.min(desc.len());
    for (index, &attr) in desc.layout()[..present].iter().enumerate() {
        if parts.bitmap.is_some_and(|bitmap| is_null(bitmap, index)) {
            out.push(None);
            continue;
        }
        let (value, end) = value_at(parts.data, attr, offset)?;
        out.push(Some(value));
        offset = end;
    }
    out.resize(desc.len(), None);
    Ok(())
}

/// Some columns of a row, and the shortest way to them.
#[derive(Clone, Debug)]
pub struct Projection {
    /// Wanted columns that sit at a fixed offset while nothing before is NULL:
    /// place in the output, offset, layout.
    fixed: Vec<(u32, u32, AttrLayout)>,
    /// From which column the walk starts when there are no NULLs, and at which offset.
    walk_from: (usize, usize),
    /// Every column up to the last wanted one, with its place in the output.
    steps: Vec<(AttrLayout, Option<u32>)>,
    /// Columns that `fixed` and `steps` assume to be there.
    needed: usize,
    width: usize,
}

impl Projection {
    /// The columns with these indexes (from 0), in any order, each at most once.
    ///
    /// # Panics
    /// If an index is out of range or given twice.
    pub fn new(desc: &TupleDesc, columns: &[usize]) -> Projection {
        let needed = columns.iter().max().map_or(0, |last| last + 1);
        let mut places = vec![None; needed];
        for (place, &column) in (0u32..).zip(columns) {
            assert!(column < desc.len(), "column {column} of {}", desc.len());
            assert!(places[column].is_none(), "column {column} is wanted twice");
            places[column] = Some(place);
        }
        let steps: Vec<_> = desc.layout().iter().copied().zip(places).collect();
        let offsets = desc.fixed_offsets();
        let fixed: Vec<_> = steps
            .iter()
            .zip(offsets)
            .filter_map(|(&(attr, place), &offset)| place.map(|place| (place, offset, attr)))
            .collect();
        // Behind the last fixed column if that has a length, else at it.
        let walk_from = if needed <= offsets.len() {
            (needed, 0)
        } else {
            match offsets.last() {
                None => (0, 0),
                Some(&last) => {
                    let index = offsets.len() - 1;
                    match desc.layout()[index].len {
                        len if len >= 0 => (index + 1, last as usize + len as usize),
                        _ => (index, last as usize),
                    }
                }
            }
        };
        Projection {
            fixed,
            walk_from,
            steps,
            needed,
            width: columns.len(),
        }
    }

    /// All columns, in order.
    pub fn all(desc: &TupleDesc) -> Projection {
        Projection::new(desc, &(0..desc.len()).collect::<Vec<_>>())
    }

    /// How many columns come out.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Sets `out[i]` to the value of the i-th wanted column, `None` for NULL; stops after the
    /// last wanted one.
    ///
    /// # Errors
    /// [`DeformError`] if the bytes make no sense; `out` is then undefined.
    ///
    /// # Panics
    /// If `out` is not [`width`](Self::width) long.
    #[inline]
    pub fn deform<'t>(
        &self,
        tuple: &'t [u8],
        out: &mut [Option<&'t [u8]>],
    ) -> Result<(), DeformError> {
        assert_eq!(out.len(), self.width, "width of the projection");
        if self.needed == 0 {
            return Ok(());
        }
        let parts = split(tuple)?;
        if parts.bitmap.is_some() || parts.natts < self.needed {
            return self.deform_slowly(&parts, out);
        }
        for &(place, offset, attr) in &self.fixed {
            out[place as usize] = Some(value_at(parts.data, attr, offset as usize)?.0);
        }
        let (index, mut offset) = self.walk_from;
        for &(attr, place) in &self.steps[index..] {
            let (value, end) = value_at(parts.data, attr, offset)?;
            if let Some(place) = place {
                out[place as usize] = Some(value);
            }
            offset = end;
        }
        Ok(())
    }

    fn deform_slowly<'t>(
        &self,
        parts: &Parts<'t>,
        out: &mut [Option<&'t [u8]>],
    ) -> Result<(), DeformError> {
        let mut offset = 0;
        for (index, &(attr, place)) in self.steps.iter().enumerate() {
            let null =
                index >= parts.natts || parts.bitmap.is_some_and(|bitmap| is_null(bitmap, index));
            let value = if null {
                None
            } else {
                let (value, end) = value_at(parts.data, attr, offset)?;
                offset = end;
                Some(value)
            };
            if let Some(place) = place {
                out[place as usize] = value;
            }
        }
        Ok(())
    }
}

/// The columns with these indexes, in this order; for a hot loop make one [`Projection`].
///
/// # Errors
/// [`DeformError`] if the bytes make no sense.
pub fn deform_columns<'t>(
    desc: &TupleDesc,
    tuple: &'t [u8],
    columns: &[usize],
) -> Result<Vec<Option<&'t [u8]>>, DeformError> {
    let mut out = vec![None; columns.len()];
    Projection::new(desc, columns).deform(tuple, &mut out)?;
    Ok(out)
}
