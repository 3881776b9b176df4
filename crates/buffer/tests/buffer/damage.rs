//! Bad pages and failing reads (B8): who is told, what is published.

use crate::rig::{ALL, MAIN, Options, Over, Rig, check};
use std::sync::atomic::Ordering;
use trunkline_buffer::{BufferError, PageFailure};
use trunkline_pgformat::{BLCKSZ, page_checksum};

#[track_caller]
fn assert_damaged(error: &BufferError, rig: &Rig, block: u32) {
    let bytes = std::fs::read(rig.path()).unwrap();
    let page: &[u8; BLCKSZ] = bytes[block as usize * BLCKSZ..][..BLCKSZ]
        .try_into()
        .unwrap();
    let found = page_checksum(page, block);
    let expected = u16::from_le_bytes([page[8], page[9]]);
    assert_ne!(found, expected);
    assert_eq!(
        error.to_string(),
        format!("invalid page in block {block} of relation \"base/5/16384\"")
    );
    assert_eq!(error.sqlstate(), "XX001");
    assert_eq!(
        error.detail().unwrap(),
        format!("page verification failed, calculated checksum {found} but expected {expected}")
    );
    assert!(matches!(
        error,
        BufferError::InvalidPage {
            failure: PageFailure::Checksum { .. },
            ..
        }
    ));
}

#[test]
fn damaged_pages_amid_a_run_are_told_and_the_others_are_read() {
    for over in ALL {
        let rig = Rig::new(over, Options::default());
        let mut ctx = rig.issuer();
        rig.fill(&mut ctx, 16);
        rig.corrupt(2);
        rig.corrupt(5);
        rig.corrupt(15);
        for _ in 0..2 {
            let mut stream = rig.stream(true, 0..16);
            for block in 0..16 {
                let result = stream.next(&mut ctx);
                if [2, 5, 15].contains(&block) {
                    assert_damaged(&result.unwrap_err(), &rig, block);
                } else {
                    check(&result.unwrap().unwrap(), block);
                }
            }
            assert!(stream.next(&mut ctx).unwrap().is_none());
        }
        // Never published: a plain read is told the same.
        assert_damaged(
            &rig.pool.read(&mut ctx, MAIN, 5, None).unwrap_err(),
            &rig,
            5,
        );
        rig.corrupt(5);
        check(&rig.pool.read(&mut ctx, MAIN, 5, None).unwrap(), 5);
        rig.evict(&mut ctx);
    }
}

#[test]
fn a_page_at_the_wrong_place_is_damaged() {
    let rig = Rig::new(ALL[0], Options::default());
    let mut ctx = rig.issuer();
    rig.fill(&mut ctx, 4);
    let mut bytes = std::fs::read(rig.path()).unwrap();
    bytes.copy_within(BLCKSZ..2 * BLCKSZ, 3 * BLCKSZ);
    std::fs::write(rig.path(), bytes).unwrap();
    assert_damaged(
        &rig.pool.read(&mut ctx, MAIN, 3, None).unwrap_err(),
        &rig,
        3,
    );
}

#[test]
fn zero_damaged_pages_publishes_zeros() {
    for over in ALL {
        let rig = Rig::new(over, Options::default());
        let mut ctx = rig.issuer();
        rig.fill(&mut ctx, 8);
        rig.corrupt(3);
        rig.pool.set_zero_damaged_pages(true);
        let mut stream = rig.stream(true, 0..8);
        for block in 0..8 {
            let buffer = stream.next(&mut ctx).unwrap().unwrap();
            if block == 3 {
                assert!(buffer.share().page().is_all_zeros());
            } else {
                check(&buffer, block);
            }
        }
        drop(stream);
        rig.evict(&mut ctx);
        rig.pool.set_zero_damaged_pages(false);
        assert_damaged(
            &rig.pool.read(&mut ctx, MAIN, 3, None).unwrap_err(),
            &rig,
            3,
        );
    }
}

#[test]
fn ignore_checksum_failure_publishes_what_has_a_sane_header() {
    for over in ALL {
        let rig = Rig::new(over, Options::default());
        let mut ctx = rig.issuer();
        rig.fill(&mut ctx, 8);
        rig.corrupt(3);
        // Block 6: header and checksum are wrong.
        let mut bytes = std::fs::read(rig.path()).unwrap();
        bytes[6 * BLCKSZ + 12..][..4].copy_from_slice(&[0xff; 4]);
        std::fs::write(rig.path(), bytes).unwrap();
        rig.pool.set_ignore_checksum_failure(true);
        let mut stream = rig.stream(true, 0..8);
        for block in 0..8 {
            let result = stream.next(&mut ctx);
            match block {
                3 => assert_eq!(result.unwrap().unwrap().share()[5000], 0x40),
                6 => assert_damaged(&result.unwrap_err(), &rig, 6),
                _ => check(&result.unwrap().unwrap(), block),
            }
        }
    }
}

#[test]
fn a_failed_read_is_told_to_its_issuer_and_can_be_tried_again() {
    let rig = Rig::new(Over::Lazy, Options::default());
    let (mut ctx, mut other) = (rig.issuer(), rig.issuer());
    rig.fill(&mut ctx, 16);
    let mut stream = rig.stream(true, 0..16);
    let mut foreign = rig.stream(true, 4..16);
    check(&stream.next(&mut ctx).unwrap().unwrap(), 0);
    rig.lazy().fail_reads.store(true, Ordering::SeqCst);
    // The read of 8..16 is in flight, and fails on the thread of one who wants block 8. He is told not
    // of somebody else's error but of that of his own attempt.
    for block in 4..8 {
        check(&foreign.next(&mut other).unwrap().unwrap(), block);
    }
    let error = foreign.next(&mut other).unwrap_err();
    assert_eq!(
        error.to_string(),
        "could not read blocks 8..8 in file \"base/5/16384\": Input/output error"
    );
    assert_eq!(error.sqlstate(), "58030");
    rig.lazy().fail_reads.store(false, Ordering::SeqCst);
    for block in 9..16 {
        check(&foreign.next(&mut other).unwrap().unwrap(), block);
    }
    for block in 1..8 {
        check(&stream.next(&mut ctx).unwrap().unwrap(), block);
    }
    let error = stream.next(&mut ctx).unwrap_err();
    assert_eq!(
        error.to_string(),
        "could not read blocks 8..15 in file \"base/5/16384\": Input/output error"
    );
    drop((stream, foreign));
    rig.evict(&mut ctx);
}

#[test]
fn a_missing_file_is_told_block_by_block() {
    let rig = Rig::new(ALL[0], Options::default());
    let mut ctx = rig.issuer();
    let error = rig.pool.read(&mut ctx, MAIN, 0, None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "could not open file \"base/5/16384\": No such file or directory"
    );
    assert_eq!(error.sqlstate(), "58P01");
    let mut stream = rig.stream(true, 0..2);
    assert_eq!(stream.next(&mut ctx).unwrap_err().sqlstate(), "58P01");
    assert_eq!(stream.next(&mut ctx).unwrap_err().sqlstate(), "58P01");
    assert!(stream.next(&mut ctx).unwrap().is_none());
}

#[test]
fn a_block_in_a_segment_that_does_not_exist_names_the_gap() {
    let rig = Rig::new(ALL[0], Options::default());
    let mut ctx = rig.issuer();
    rig.fill(&mut ctx, 3);
    let block = trunkline_pgformat::RELSEG_SIZE + 1;
    let error = rig.pool.read(&mut ctx, MAIN, block, None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "could not open file \"base/5/16384.1\" (target block 131073): previous segment is only 3 blocks"
    );
    rig.evict(&mut ctx);
}
