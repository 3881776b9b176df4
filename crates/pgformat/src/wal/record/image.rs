//! Page images: a page in a record, without the hole that it has in its middle.

use super::image_flags;
use crate::ids::BLCKSZ;
use crate::page::{PAGE_HEADER_SIZE, PageBytes, PageRef};

/// How an image is compressed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Compression {
    /// PostgreSQL's own.
    Pglz,
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl Compression {
    /// The name that PostgreSQL's tools print.
    pub const fn name(self) -> &'static str {
        match self {
            Compression::Pglz => "pglz",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }

    /// The method of this name (`wal_compression`).
    pub fn from_name(name: &str) -> Option<Compression> {
        [Compression::Pglz, Compression::Lz4, Compression::Zstd]
            .into_iter()
            .find(|method| method.name() == name)
    }

    pub(in crate::wal) const fn flag(self) -> u8 {
        match self {
            Compression::Pglz => image_flags::COMPRESS_PGLZ,
            Compression::Lz4 => image_flags::COMPRESS_LZ4,
            Compression::Zstd => image_flags::COMPRESS_ZSTD,
        }
    }
}

/// Bytes of a page that an image leaves out; they are zeros when it is restored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PageHole {
    /// Where it begins.
    pub offset: u16,
    /// How long it is; zero if there is none.
    pub length: u16,
}

impl PageHole {
    /// No hole.
    pub const NONE: PageHole = PageHole {
        offset: 0,
        length: 0,
    };

    /// The free space of a page with PostgreSQL's layout, if its header makes sense
    /// (`REGBUF_STANDARD`).
    pub fn of_standard_page(page: &PageBytes) -> PageHole {
        let view = PageRef::new(page);
        let (lower, upper) = (view.lower(), view.upper());
        if usize::from(lower) >= PAGE_HEADER_SIZE && upper > lower && usize::from(upper) <= BLCKSZ {
            PageHole {
                offset: lower,
                length: upper - lower,
            }
        } else {
            PageHole::NONE
        }
    }

    /// Whether the hole lies within a page, as it must.
    pub(in crate::wal) const fn fits(self) -> bool {
        self.offset as usize + self.length as usize <= BLCKSZ
    }
}

/// A page image that is to be written.
#[derive(Clone, Copy, Debug)]
pub struct PageImage<'a> {
    /// What is stored, in two parts.
    pub(super) parts: [&'a [u8]; 2],
    pub(super) hole: PageHole,
    pub(super) compression: Option<Compression>,
    /// Whether redo replaces the page by it. If not it serves comparison
    /// ([`XLR_CHECK_CONSISTENCY`](crate::wal::info::XLR_CHECK_CONSISTENCY)).
    pub apply: bool,
}

impl<'a> PageImage<'a> {
    /// The image of `page` without its free space; the page must have PostgreSQL's layout.
    pub fn standard(page: &'a PageBytes) -> PageImage<'a> {
        PageImage::with_hole(page, PageHole::of_standard_page(page))
    }

    /// The image of all bytes of `page`.
    pub fn whole(page: &'a PageBytes) -> PageImage<'a> {
        PageImage::with_hole(page, PageHole::NONE)
    }

    fn with_hole(page: &'a PageBytes, hole: PageHole) -> PageImage<'a> {
        debug_assert!(hole.fits());
        let (before, rest) = page.split_at(hole.offset.into());
        PageImage {
            parts: [before, &rest[hole.length.into()..]],
            hole,
            compression: None,
            apply: true,
        }
    }

    /// An image whose page, without `hole`, was compressed to `data`. `None` if the hole is not
    /// within a page, or `data` is not shorter than what it was made from: then the image must be
    /// stored as it is.
    pub fn compressed(
        compression: Compression,
        data: &'a [u8],
        hole: PageHole,
    ) -> Option<PageImage<'a>> {
        if !hole.fits() || data.len() >= BLCKSZ - usize::from(hole.length) {
            return None;
        }
        Some(PageImage {
            parts: [data, &[]],
            hole,
            compression: Some(compression),
            apply: true,
        })
    }

    /// The image as stored in a record, which [`decode`](crate::wal::decode) found.
    pub(in crate::wal) const fn stored(
        data: &'a [u8],
        hole: PageHole,
        compression: Option<Compression>,
        apply: bool,
    ) -> PageImage<'a> {
        PageImage {
            parts: [data, &[]],
            hole,
            compression,
            apply,
        }
    }

    /// Bytes that it takes in the record.
    pub const fn length(&self) -> usize {
        self.parts[0].len() + self.parts[1].len()
    }

    /// `bimg_info`.
    pub(super) const fn flags(&self) -> u8 {
        let mut flags = 0;
        if self.hole.length != 0 {
            flags |= image_flags::HAS_HOLE;
        }
        if self.apply {
            flags |= image_flags::APPLY;
        }
        if let Some(compression) = self.compression {
            flags |= compression.flag();
        }
        flags
    }
}
