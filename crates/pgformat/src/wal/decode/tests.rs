use super::*;
use crate::ids::Oid;
use crate::page::{PageBytes, PageMut};
use crate::wal::info;
use crate::wal::record::{Compression, HeaderBuffer, ImageCompressor, PageImage};
use crate::wal::rmgr_id::RmgrId;
use proptest::prelude::*;

const AT: Lsn = Lsn(0x0300_0028);
const LOCATOR: RelFileLocator = RelFileLocator {
    spc_oid: Oid(1663),
    db_oid: Oid(5),
    rel_number: 16384,
};

fn block<'a>(id: u8) -> BlockReference<'a> {
    BlockReference {
        id,
        locator: LOCATOR,
        fork: ForkNumber::Main,
        block: 7,
        will_init: false,
        image: None,
        data: &[],
    }
}

fn encode(blocks: &[BlockReference<'_>], main_data: &[u8]) -> Vec<u8> {
    let record = Record {
        rmgr: RmgrId::HEAP,
        info: info::heap::INSERT,
        xid: Xid(700),
        origin: Some(9),
        toplevel_xid: Some(Xid(5)),
        blocks,
        main_data: &[main_data],
    };
    again(&record, Lsn(77))
}

fn again(record: &Record<'_>, prev: Lsn) -> Vec<u8> {
    let mut headers = HeaderBuffer::new();
    let mut assembled = record.assemble(&mut headers).unwrap();
    assembled.finish(prev);
    assembled.pieces().flatten().copied().collect()
}

fn page() -> Box<PageBytes> {
    let mut page = Box::new([0; BLCKSZ]);
    PageMut::new(&mut page).init(16);
    for item in 0..20_u8 {
        PageMut::new(&mut page).add_item(&[item; 40]).unwrap();
    }
    page
}

fn refused(bytes: &[u8]) -> DecodeErrorReason {
    let error = DecodedRecord::decode(AT, bytes).unwrap_err();
    assert_eq!(error.at, AT);
    error.reason
}

#[test]
fn what_was_put_together_is_taken_apart() {
    let page = page();
    let blocks = [
        BlockReference {
            image: Some(PageImage::standard(&page)),
            data: &[b"one", b"two"],
            ..block(0)
        },
        BlockReference {
            will_init: true,
            fork: ForkNumber::Vm,
            ..block(4)
        },
    ];
    let main_data = [3; 300];
    let bytes = encode(&blocks, &main_data);
    assert!(check_crc(&bytes));
    let decoded = DecodedRecord::decode(AT, &bytes).unwrap();
    assert_eq!(decoded.header.prev, Lsn(77));
    assert_eq!(decoded.origin, Some(9));
    assert_eq!(decoded.toplevel_xid, Some(Xid(5)));
    assert_eq!(decoded.main_data, main_data);
    assert_eq!(decoded.blocks.len(), 2);
    let first = decoded.block(0).unwrap();
    assert_eq!((first.locator, first.block), (LOCATOR, 7));
    assert_eq!(first.data, b"onetwo");
    let last = decoded.block(4).unwrap();
    assert_eq!((last.locator, last.fork), (LOCATOR, ForkNumber::Vm));
    assert!(last.will_init && last.image.is_none());
    let mut restored = Box::new([0xff; BLCKSZ]);
    let image = first.image.unwrap();
    image.restore(&mut restored, AT, 0).unwrap();
    assert!(restored == page);
    assert_eq!(
        decoded.with_parts(|parts| again(parts, decoded.header.prev)),
        bytes
    );
}

#[test]
fn compressed_images_are_restored_and_damaged_ones_refused() {
    let page = page();
    for method in [Compression::Pglz, Compression::Lz4, Compression::Zstd] {
        let mut compressor = ImageCompressor::new(method).unwrap();
        for image in [PageImage::standard(&page), PageImage::whole(&page)] {
            let mut blocks = [BlockReference {
                image: Some(image),
                ..block(2)
            }];
            compressor.compress(&mut blocks);
            let bytes = encode(&blocks, b"");
            let decoded = DecodedRecord::decode(AT, &bytes).unwrap();
            let image = decoded.block(2).unwrap().image.unwrap();
            assert_eq!(image.compression(), Some(method));
            let mut restored = Box::new([0xff; BLCKSZ]);
            image.restore(&mut restored, AT, 2).unwrap();
            assert!(restored == page);

            let compressed = image.data();
            let cut = &compressed[..compressed.len() - 1];
            // With a shorter hole there would have to be more.
            let length = image.hole().length.saturating_sub(1);
            let shorter = PageHole {
                length,
                ..image.hole()
            };
            for (data, hole) in [(cut, image.hole()), (compressed, shorter)] {
                if data == compressed && hole == image.hole() {
                    continue;
                }
                let blocks = [BlockReference {
                    image: PageImage::compressed(method, data, hole),
                    ..block(2)
                }];
                let bytes = encode(&blocks, b"");
                let decoded = DecodedRecord::decode(AT, &bytes).unwrap();
                let image = decoded.blocks[0].image.unwrap();
                assert_eq!(
                    image.restore(&mut restored, AT, 2),
                    Err(RestoreError::Damaged { at: AT, id: 2 }),
                    "{method:?}"
                );
            }
        }
    }
    let error = RestoreError::Damaged { at: AT, id: 2 };
    assert_eq!(
        error.to_string(),
        "could not decompress image at 0/3000028, block 2"
    );
}

#[test]
fn every_contradiction_has_postgresqls_message() {
    // Where the parts of the first block's header are.
    const ID: usize = 24;
    const FLAGS: usize = 25;
    const DATA_LENGTH: usize = 26;
    const IMAGE_LENGTH: usize = 28;
    const HOLE_OFFSET: usize = 30;
    const IMAGE_FLAGS: usize = 32;
    let page = page();
    let with_image = [BlockReference {
        image: Some(PageImage::standard(&page)),
        ..block(0)
    }];
    let plain = [block(0), block(1)];
    let image = encode(&with_image, b"x");
    let plain = encode(&plain, b"x");
    type Damage<'a> = &'a [(usize, u8)];
    let cases: [(&[u8], Damage<'_>, &str); 11] = [
        (&plain, &[(ID, 33)], "invalid block_id 33"),
        (&plain, &[(44, 0)], "out-of-order block_id 0"),
        (&plain, &[(FLAGS, 0x09)], "invalid fork number 9 of block 0"),
        (
            &plain,
            &[(FLAGS, 0x20)],
            "BKPBLOCK_HAS_DATA set, but no data included",
        ),
        (
            &plain,
            &[(DATA_LENGTH, 4)],
            "BKPBLOCK_HAS_DATA not set, but data length is 4",
        ),
        (
            &plain,
            &[(FLAGS, 0x80)],
            "BKPBLOCK_SAME_REL set but no previous rel",
        ),
        (
            &image,
            &[(HOLE_OFFSET, 0), (HOLE_OFFSET + 1, 0)],
            "BKPIMAGE_HAS_HOLE set, but hole offset 0 length 7272 block image length 920",
        ),
        (
            &image,
            &[(IMAGE_LENGTH, 0x00), (IMAGE_LENGTH + 1, 0x21)],
            "BKPIMAGE_HAS_HOLE set, but hole offset 104 length 65280 block image length 8448",
        ),
        (
            &image,
            &[(HOLE_OFFSET + 1, 0x1f)],
            "BKPIMAGE_HAS_HOLE set, but hole offset 8040 length 7272 block image length 920",
        ),
        (
            &image,
            &[(IMAGE_FLAGS, 2)],
            "BKPIMAGE_HAS_HOLE not set, but hole offset 104 length 7272",
        ),
        (
            &image,
            &[
                (IMAGE_LENGTH, 0),
                (IMAGE_LENGTH + 1, 0x20),
                (HOLE_OFFSET, 0),
                (IMAGE_FLAGS, 4),
            ],
            "BKPIMAGE_COMPRESSED set, but block image length 8192",
        ),
    ];
    for (bytes, damage, message) in cases {
        let mut bytes = bytes.to_vec();
        for &(at, byte) in damage {
            bytes[at] = byte;
        }
        assert_eq!(refused(&bytes).to_string(), message);
        assert!(!check_crc(&bytes));
    }
    for length in 0..plain.len() {
        assert_eq!(refused(&plain[..length]), DecodeErrorReason::Length);
    }
    let error = DecodedRecord::decode(AT, &plain[..5]).unwrap_err();
    assert_eq!(error.to_string(), "record with invalid length at 0/3000028");
}

proptest! {
    #[test]
    fn any_bytes_are_taken_apart_without_panic(
        tail in proptest::collection::vec(prop_oneof![any::<u8>(), 0_u8..4, 250_u8..], 0..300),
    ) {
        let mut bytes = vec![0; RECORD_HEADER_SIZE];
        bytes[..4].copy_from_slice(&((RECORD_HEADER_SIZE + tail.len()) as u32).to_le_bytes());
        bytes.extend_from_slice(&tail);
        if let Ok(decoded) = DecodedRecord::decode(AT, &bytes) {
            let mut page = Box::new([0; BLCKSZ]);
            for block in &decoded.blocks {
                if let Some(image) = block.image {
                    let _ = image.restore(&mut page, AT, block.id);
                }
            }
        }
    }
}
