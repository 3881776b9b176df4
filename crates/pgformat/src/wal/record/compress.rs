//! Compressing page images (`XLogCompressBackupBlock` in PostgreSQL's `transam/xloginsert.c`).

use super::{BlockReference, Compression, PageImage};
use crate::ids::BLCKSZ;
use crate::pglz;

/// Bytes of the header that a compressed image has if it has a hole (the hole's length).
const HOLE_LENGTH_SIZE: usize = 2;

/// PostgreSQL's `ZSTD_CLEVEL_DEFAULT`.
const ZSTD_LEVEL: i32 = 3;

/// What one method needs from one image to the next.
enum Method {
    Pglz(pglz::Compressor),
    Lz4(Box<lz4_flex::block::CompressTable>),
    Zstd(zstd::bulk::Compressor<'static>),
}

/// Compresses the images of one record after the other. It keeps the compressed bytes of the last
/// record, and its tables are large: it is meant to be used again.
pub struct ImageCompressor {
    method: Method,
    /// A page without its hole.
    page: Box<[u8; BLCKSZ]>,
    /// One compressed image behind the other.
    compressed: Vec<u8>,
}

impl ImageCompressor {
    /// One for this method.
    ///
    /// # Errors
    /// The operating system's, if there is no memory for what zstd works with.
    pub fn new(method: Compression) -> std::io::Result<ImageCompressor> {
        let method = match method {
            Compression::Pglz => Method::Pglz(pglz::Compressor::new()),
            Compression::Lz4 => Method::Lz4(Box::new(lz4_flex::block::CompressTable::small())),
            Compression::Zstd => Method::Zstd(zstd::bulk::Compressor::new(ZSTD_LEVEL)?),
        };
        Ok(ImageCompressor {
            method,
            page: Box::new([0; BLCKSZ]),
            compressed: Vec::new(),
        })
    }

    /// The method.
    pub const fn method(&self) -> Compression {
        match self.method {
            Method::Pglz(_) => Compression::Pglz,
            Method::Lz4(_) => Compression::Lz4,
            Method::Zstd(_) => Compression::Zstd,
        }
    }

    /// Puts compressed images in the place of those in `blocks` that become shorter; the others stay
    /// as they are.
    pub fn compress<'a>(&'a mut self, blocks: &mut [BlockReference<'a>]) {
        self.compressed.clear();
        // Ends of the compressed images; where one is the end before, the image stays.
        let mut ends = [0; super::MAX_BLOCK_ID as usize + 1];
        for (block, end) in blocks.iter().zip(&mut ends) {
            if let Some(image) = &block.image {
                self.append(image);
            }
            *end = self.compressed.len();
        }
        let compressed = &self.compressed[..];
        let method = self.method();
        let mut start = 0;
        for (block, end) in blocks.iter_mut().zip(ends) {
            let data = &compressed[start..end];
            start = end;
            let Some(image) = block.image.as_mut().filter(|_| !data.is_empty()) else {
                continue;
            };
            if let Some(shorter) = PageImage::compressed(method, data, image.hole) {
                *image = PageImage {
                    apply: image.apply,
                    ..shorter
                };
            }
        }
    }

    /// Appends an image's compressed bytes, if they save something.
    fn append(&mut self, image: &PageImage<'_>) {
        let [before, behind] = image.parts;
        let length = image.length();
        if image.compression.is_some() || length > BLCKSZ {
            return;
        }
        self.page[..before.len()].copy_from_slice(before);
        self.page[before.len()..length].copy_from_slice(behind);
        let source = &self.page[..length];
        let start = self.compressed.len();
        let done = match &mut self.method {
            Method::Pglz(compressor) => compressor.compress(source, &mut self.compressed),
            Method::Lz4(table) => {
                let room = lz4_flex::block::get_maximum_output_size(length);
                self.compressed.resize(start + room, 0);
                let target = &mut self.compressed[start..];
                let written = lz4_flex::block::compress_into_with_table(source, target, table);
                self.compressed
                    .truncate(start + *written.as_ref().unwrap_or(&0));
                written.is_ok()
            }
            Method::Zstd(compressor) => {
                self.compressed
                    .resize(start + zstd::zstd_safe::compress_bound(length), 0);
                let target = &mut self.compressed[start..];
                let written = compressor.compress_to_buffer(source, target);
                self.compressed
                    .truncate(start + *written.as_ref().unwrap_or(&0));
                written.is_ok()
            }
        };
        let extra = match image.hole.length {
            0 => 0,
            _ => HOLE_LENGTH_SIZE,
        };
        if !done || self.compressed.len() - start + extra >= length {
            self.compressed.truncate(start);
        }
    }
}

impl std::fmt::Debug for ImageCompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImageCompressor")
            .field("method", &self.method())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ForkNumber, Oid, RelFileLocator};
    use crate::page::PageMut;
    use crate::wal::record::PageHole;

    fn block(image: PageImage<'_>) -> BlockReference<'_> {
        BlockReference {
            id: 0,
            locator: RelFileLocator {
                spc_oid: Oid(1663),
                db_oid: Oid(5),
                rel_number: 16384,
            },
            fork: ForkNumber::Main,
            block: 0,
            will_init: false,
            image: Some(image),
            data: &[],
        }
    }

    #[test]
    fn what_does_not_become_shorter_stays() {
        let mut compressible = Box::new([0; BLCKSZ]);
        let mut view = PageMut::new(&mut compressible);
        view.init(0);
        view.add_item(&[7; 3000]).unwrap();
        // xorshift64, which no method finds anything in.
        let mut word = 88_172_645_463_325_252_u64;
        let noise = Box::new(std::array::from_fn(|_| {
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            word as u8
        }));
        // A page's header and nothing else.
        let mut empty = Box::new([0; BLCKSZ]);
        PageMut::new(&mut empty).init(0);
        for method in [Compression::Pglz, Compression::Lz4, Compression::Zstd] {
            let mut compressor = ImageCompressor::new(method).unwrap();
            assert_eq!(compressor.method(), method);
            let comparing = PageImage {
                apply: false,
                ..PageImage::whole(&compressible)
            };
            for _ in 0..2 {
                let mut blocks = [
                    block(PageImage::standard(&compressible)),
                    block(PageImage::whole(&noise)),
                    BlockReference {
                        image: None,
                        ..block(comparing)
                    },
                    block(comparing),
                    block(PageImage::standard(&empty)),
                ];
                compressor.compress(&mut blocks);
                let found = blocks.map(|block| {
                    block
                        .image
                        .map(|image| (image.compression, image.apply, image.length()))
                });
                let [standard, noise, none, whole, empty] = found;
                let hole = PageHole::of_standard_page(&compressible);
                let (compression, apply, length) = standard.unwrap();
                assert_eq!((compression, apply), (Some(method), true));
                assert!(length < (BLCKSZ - usize::from(hole.length)) / 4, "{length}");
                assert_eq!(noise, Some((None, true, BLCKSZ)));
                assert_eq!(none, None);
                let (compression, apply, _) = whole.unwrap();
                assert_eq!((compression, apply), (Some(method), false));
                let (compression, _, length) = empty.unwrap();
                assert!(
                    compression.is_none() && length == 24
                        || length + HOLE_LENGTH_SIZE < 24 && compression == Some(method),
                    "{compression:?} {length}"
                );
            }
        }
    }
}
