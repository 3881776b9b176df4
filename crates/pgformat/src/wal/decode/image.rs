//! Page images that a record carries, and making pages of them (`RestoreBlockImage`).

use crate::ids::{BLCKSZ, Lsn};
use crate::page::PageBytes;
use crate::pglz;
use crate::wal::record::{Compression, PageHole, PageImage, image_flags};
use thiserror::Error;

/// Why no page can be made of an image, in PostgreSQL's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum RestoreError {
    /// What is compressed is damaged.
    #[error("could not decompress image at {at}, block {id}")]
    Damaged {
        /// Where the record begins.
        at: Lsn,
        /// The block's id.
        id: u8,
    },
}

/// A page image as a record has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DecodedImage<'a> {
    data: &'a [u8],
    hole: PageHole,
    info: u8,
}

impl<'a> DecodedImage<'a> {
    /// The header was checked: the hole is within a page. The data come later.
    pub(super) fn new(hole: PageHole, info: u8) -> DecodedImage<'a> {
        debug_assert!(hole.fits());
        let data = &[];
        DecodedImage { data, hole, info }
    }

    pub(super) const fn set_data(&mut self, data: &'a [u8]) {
        self.data = data;
    }

    pub(super) const fn is_compressed_by(info: u8) -> bool {
        info & (image_flags::COMPRESS_PGLZ | image_flags::COMPRESS_LZ4 | image_flags::COMPRESS_ZSTD)
            != 0
    }

    /// The stored bytes.
    pub const fn data(&self) -> &'a [u8] {
        self.data
    }

    /// What the stored bytes leave out.
    pub const fn hole(&self) -> PageHole {
        self.hole
    }

    /// How they are compressed.
    pub const fn compression(&self) -> Option<Compression> {
        if self.info & image_flags::COMPRESS_PGLZ != 0 {
            Some(Compression::Pglz)
        } else if self.info & image_flags::COMPRESS_LZ4 != 0 {
            Some(Compression::Lz4)
        } else if self.info & image_flags::COMPRESS_ZSTD != 0 {
            Some(Compression::Zstd)
        } else {
            None
        }
    }

    /// Whether redo replaces the page by it; if not it serves comparison.
    pub const fn apply(&self) -> bool {
        self.info & image_flags::APPLY != 0
    }

    pub(super) fn as_page_image(&self) -> PageImage<'a> {
        PageImage::stored(self.data, self.hole, self.compression(), self.apply())
    }

    /// Makes the page, the hole filled with zeros, in `page`. `at` and `id`, the record's place and
    /// the block's id, are for the error. After an error the page's contents are not specified.
    pub fn restore(&self, page: &mut PageBytes, at: Lsn, id: u8) -> Result<(), RestoreError> {
        let length = BLCKSZ - usize::from(self.hole.length);
        let target = &mut page[..length];
        let is_whole = match self.compression() {
            // Not shorter: the header says so.
            None => self
                .data
                .get(..length)
                .map(|stored| target.copy_from_slice(stored))
                .is_some(),
            Some(Compression::Pglz) => pglz::decompress(self.data, target).is_ok(),
            Some(Compression::Lz4) => {
                lz4_flex::block::decompress_into(self.data, target).ok() == Some(length)
            }
            Some(Compression::Zstd) => {
                zstd::bulk::decompress_to_buffer(self.data, target).ok() == Some(length)
            }
        };
        if !is_whole {
            return Err(RestoreError::Damaged { at, id });
        }
        let start = usize::from(self.hole.offset);
        let end = start + usize::from(self.hole.length);
        page.copy_within(start..length, end);
        page[start..end].fill(0);
        Ok(())
    }
}
