//! What a table's rows consist of.

use std::sync::Arc;

use trunkline_pgformat::Oid;
use trunkline_pgformat::heap_tuple::MAX_HEAP_ATTRIBUTE_NUMBER;

use crate::error::{TypeError, sqlstate};
use crate::type_info::{Align, type_info};

/// One column (`pg_attribute`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// `attname`
    pub name: String,
    /// `atttypid`
    pub type_oid: Oid,
    /// `atttypmod`, -1 for none
    pub typmod: i32,
    /// `attlen`: bytes, -1 varlena, -2 C string
    pub len: i16,
    /// `attalign`
    pub align: Align,
    /// `attbyval`
    pub by_val: bool,
    /// `attstorage`
    pub storage: char,
    /// `attnotnull`
    pub not_null: bool,
    /// `attnum`, from 1
    pub num: i16,
    /// `atthasdef`
    pub has_default: bool,
}

impl Attribute {
    /// A nullable column without default; its number is given by [`TupleDesc::new`].
    ///
    /// # Errors
    /// 42704 if the type is unknown.
    pub fn new(
        name: impl Into<String>,
        type_oid: Oid,
        typmod: i32,
    ) -> Result<Attribute, TypeError> {
        let info = type_info(type_oid).ok_or_else(|| unknown_type(type_oid))?;
        Ok(Attribute {
            name: name.into(),
            type_oid,
            typmod,
            len: info.len,
            align: info.align,
            by_val: info.by_val,
            storage: info.storage,
            not_null: false,
            num: 0,
            has_default: false,
        })
    }
}

pub(crate) fn unknown_type(oid: Oid) -> TypeError {
    TypeError::new(
        sqlstate::UNDEFINED_OBJECT,
        format!("type with OID {oid} does not exist"),
    )
}

/// What forming and deforming look at, four bytes a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AttrLayout {
    pub len: i16,
    /// Alignment in bytes minus one.
    pub align_mask: u8,
    /// Whether a short varlena header may be used (`attstorage` is not plain).
    pub packable: bool,
}

impl AttrLayout {
    #[inline]
    pub(crate) fn align(self, offset: usize) -> usize {
        let mask = usize::from(self.align_mask);
        (offset + mask) & !mask
    }
}

/// A row's shape: its columns in order, with what forming and deforming need precomputed.
#[derive(Clone, Debug)]
pub struct TupleDesc {
    attrs: Arc<[Attribute]>,
    layout: Arc<[AttrLayout]>,
    /// Offsets within the data area of the leading columns whose place does not depend on other
    /// values (as long as no column before is NULL). The first varlena is the last of them.
    fixed_offsets: Arc<[u32]>,
}

impl PartialEq for TupleDesc {
    fn eq(&self, other: &Self) -> bool {
        self.attrs == other.attrs
    }
}

impl Eq for TupleDesc {}

impl TupleDesc {
    /// A descriptor of these columns; they are numbered from 1.
    pub fn new(mut attrs: Vec<Attribute>) -> TupleDesc {
        assert!(
            attrs.len() <= MAX_HEAP_ATTRIBUTE_NUMBER,
            "too many columns: {}",
            attrs.len()
        );
        for (num, attr) in (1i16..).zip(attrs.iter_mut()) {
            attr.num = num;
        }
        let layout: Arc<[AttrLayout]> = attrs
            .iter()
            .map(|attr| AttrLayout {
                len: attr.len,
                align_mask: (attr.align.bytes() - 1) as u8,
                packable: attr.len == -1 && attr.storage != 'p',
            })
            .collect();
        let mut fixed_offsets = Vec::new();
        let mut offset = 0usize;
        for attr in layout.iter() {
            if attr.len < 0 {
                // A varlena that starts aligned anyway sits at this offset with either header; any
                // other may be preceded by padding or not.
                if attr.align(offset) == offset {
                    fixed_offsets.push(offset as u32);
                }
                break;
            }
            offset = attr.align(offset);
            fixed_offsets.push(offset as u32);
            offset += attr.len as usize;
        }
        TupleDesc {
            attrs: attrs.into(),
            layout,
            fixed_offsets: fixed_offsets.into(),
        }
    }

    /// The columns in order.
    pub fn attrs(&self) -> &[Attribute] {
        &self.attrs
    }

    /// How many columns there are.
    pub fn len(&self) -> usize {
        self.attrs.len()
    }

    /// Whether there are no columns.
    pub fn is_empty(&self) -> bool {
        self.attrs.is_empty()
    }

    /// Index (from 0) of the column with this name.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.attrs.iter().position(|attr| attr.name == name)
    }

    pub(crate) fn layout(&self) -> &Arc<[AttrLayout]> {
        &self.layout
    }

    pub(crate) fn fixed_offsets(&self) -> &[u32] {
        &self.fixed_offsets
    }
}
