//! Bad pages and failing reads (B8): who is told, what is published.

use crate::rig::{ALL, MAIN, Options, Over, Rig, check};
use std::sync::atomic::Ordering;
use tracing::Level;
use trunkline_aio::IoContext;
use trunkline_buffer::{BufferError, ChecksumFailures, PageFailure};
use trunkline_harness::logged;
use trunkline_pgformat::{BLCKSZ, Oid};

/// The error of a read of which `block` is the only damaged page.
#[track_caller]
fn assert_damaged(error: &BufferError, rig: &Rig, block: u32) {
    let (found, expected) = rig.checksums(block);
    assert_ne!(found, expected);
    assert_eq!(
        error.to_string(),
        format!("invalid page in block {block} of relation \"base/5/16384\"")
    );
    assert_eq!(error.sqlstate(), "XX001");
    assert_eq!((error.detail(), error.hint()), (None, None));
    let BufferError::InvalidPages(read) = error else {
        panic!("{error:?}");
    };
    assert_eq!(read.failure, PageFailure::Checksum { found, expected });
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
        for pass in 0..2 {
            let mut stream = rig.stream(true, 0..16);
            for block in 0..16 {
                let result = stream.next(&mut ctx);
                match block {
                    // The first read is of all of them; the second pass finds the others in the pool.
                    2 if pass == 0 => {
                        let error = result.unwrap_err();
                        assert_eq!(
                            error.to_string(),
                            "2 invalid pages among blocks 0..7 of relation \"base/5/16384\""
                        );
                        assert_eq!(error.sqlstate(), "XX001");
                        assert_eq!(
                            error.detail().unwrap(),
                            "Block 2 held the first invalid page."
                        );
                        assert_eq!(
                            error.hint().unwrap(),
                            "See server log for the other 1 invalid block(s)."
                        );
                    }
                    2 | 5 | 15 => assert_damaged(&result.unwrap_err(), &rig, block),
                    _ => check(&result.unwrap().unwrap(), block),
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
        // Each failed attempt counts.
        let failures = rig.pool.checksum_failures(MAIN.rel.db_oid);
        assert_eq!(failures.count, 3 + 1 + 3 + 1);
        assert!(failures.last.is_some());
        assert_eq!(
            rig.pool.checksum_failures(Oid(0)),
            ChecksumFailures::default()
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

/// Reads blocks 0 to 7 as one read, with which of them are zeroed.
#[track_caller]
fn read_all(rig: &Rig, ctx: &mut IoContext, zeroed: &[u32], altered: &[u32]) {
    let mut stream = rig.stream(true, 0..8);
    for block in 0..8 {
        let buffer = stream.next(ctx).unwrap().unwrap();
        if zeroed.contains(&block) {
            assert!(buffer.share().page().is_all_zeros(), "block {block}");
        } else if altered.contains(&block) {
            assert_eq!(buffer.share()[5000], 0x40);
        } else {
            check(&buffer, block);
        }
    }
}

#[test]
fn zero_damaged_pages_publishes_zeros() {
    for over in ALL {
        let rig = Rig::new(over, Options::default());
        let mut ctx = rig.issuer();
        rig.fill(&mut ctx, 8);
        rig.corrupt(3);
        let (mut zeroing, told) = rig.reader(true, false);
        read_all(&rig, &mut zeroing, &[3], &[]);
        let one = "invalid page in block 3 of relation \"base/5/16384\"; zeroing out page";
        assert_eq!(told.take(), [[one, "", ""].map(str::to_owned)]);
        rig.evict(&mut ctx);
        // The flag is the reader's.
        assert_damaged(
            &rig.pool.read(&mut ctx, MAIN, 3, None).unwrap_err(),
            &rig,
            3,
        );
        let zeroed = rig.pool.read(&mut zeroing, MAIN, 3, None).unwrap();
        assert!(zeroed.share().page().is_all_zeros());
        assert_eq!(told.take(), [[one, "", ""].map(str::to_owned)]);
        drop(zeroed);
        // Or the read's own.
        rig.evict(&mut ctx);
        let (mut plain, told) = rig.reader(false, false);
        let zeroed = rig.pool.read_or_zero(&mut plain, MAIN, 3).unwrap();
        assert!(zeroed.share().page().is_all_zeros());
        assert_eq!(told.take(), [[one, "", ""].map(str::to_owned)]);
        drop(zeroed);
        rig.evict(&mut ctx);
    }
}

#[test]
fn several_damaged_pages_of_a_read_make_one_warning() {
    for over in ALL {
        let rig = Rig::new(over, Options::default());
        let mut ctx = rig.issuer();
        rig.fill(&mut ctx, 8);
        for block in [2, 3, 7] {
            rig.corrupt(block);
        }
        let warned = |zero, ignore, zeroed: &[u32], altered: &[u32]| {
            let (mut ctx, told) = rig.reader(zero, ignore);
            read_all(&rig, &mut ctx, zeroed, altered);
            rig.evict(&mut ctx);
            let told: [_; 1] = told.take().try_into().unwrap();
            let [told] = told;
            told
        };
        assert_eq!(
            warned(true, false, &[2, 3, 7], &[]),
            [
                "zeroing out 3 invalid pages among blocks 0..7 of relation \"base/5/16384\"",
                "Block 2 held the first zeroed page.",
                "See server log for the other 2 zeroed block(s).",
            ]
        );
        // What can be ignored is not zeroed.
        for zero in [false, true] {
            assert_eq!(
                warned(zero, true, &[], &[2, 3, 7]),
                [
                    "ignoring 3 checksum failures among blocks 0..7 of relation \"base/5/16384\"",
                    "Block 2 held the first ignored page.",
                    "See server log for the other 2 ignored block(s).",
                ]
            );
        }
        rig.break_header(5);
        assert_eq!(
            warned(true, true, &[5], &[2, 3, 7]),
            [
                "zeroing 1 page(s) and ignoring 3 checksum failure(s) among blocks 0..7 of relation \"base/5/16384\"",
                "",
                "See server log for details about the other 3 invalid blocks.",
            ]
        );
        rig.break_header(1);
        assert_eq!(
            warned(true, true, &[1, 5], &[2, 3, 7]),
            [
                "zeroing 2 page(s) and ignoring 3 checksum failure(s) among blocks 0..7 of relation \"base/5/16384\"",
                "Block 1 held the first zeroed page.",
                "See server log for details about the other 4 invalid blocks.",
            ]
        );
        // A page that is zeroed for its header, and whose checksum is wrong as well, counts as both.
        rig.break_header(6);
        rig.corrupt(6);
        assert_eq!(
            warned(true, true, &[1, 5, 6], &[2, 3, 7])[0],
            "zeroing 3 page(s) and ignoring 4 checksum failure(s) among blocks 0..7 of relation \"base/5/16384\""
        );
        // An error tells of what failed alone.
        let (mut ignoring, told) = rig.reader(false, true);
        let mut stream = rig.stream(true, 0..8);
        check(&stream.next(&mut ignoring).unwrap().unwrap(), 0);
        let error = stream.next(&mut ignoring).unwrap_err();
        assert_eq!(
            error.to_string(),
            "3 invalid pages among blocks 0..7 of relation \"base/5/16384\""
        );
        assert_eq!(
            error.detail().unwrap(),
            "Block 1 held the first invalid page."
        );
        assert!(told.take().is_empty());
        drop(stream);
        rig.evict(&mut ctx);
    }
}

#[test]
fn a_foreign_completer_is_not_warned() {
    for over in ALL {
        let rig = Rig::new(over, Options::default());
        let (mut zeroing, told) = rig.reader(true, false);
        let (mut other, told_other) = rig.reader(false, false);
        rig.fill(&mut other, 16);
        rig.corrupt(9);
        rig.corrupt(11);
        let mut stream = rig.stream(true, 0..16);
        check(&stream.next(&mut zeroing).unwrap().unwrap(), 0);
        // The read of 8..15 is in flight; who completes it here sees what its flags made of it.
        let zeroed = rig.pool.read(&mut other, MAIN, 9, None).unwrap();
        assert!(zeroed.share().page().is_all_zeros());
        drop(zeroed);
        assert!(told.take().is_empty() && told_other.take().is_empty());
        for _ in 1..16 {
            stream.next(&mut zeroing).unwrap().unwrap();
        }
        assert_eq!(
            told.take()
                .into_iter()
                .map(|[message, ..]| message)
                .collect::<Vec<_>>(),
            ["zeroing out 2 invalid pages among blocks 8..15 of relation \"base/5/16384\""]
        );
        assert!(told_other.take().is_empty());
        drop(stream);
        rig.evict(&mut other);
    }
}

#[test]
fn damage_in_a_read_that_ends_early_is_told_too() {
    for over in ALL {
        let rig = Rig::new(over, Options::default());
        let (mut ctx, told) = rig.reader(true, false);
        rig.fill(&mut ctx, 8);
        rig.corrupt(1);
        let file = std::fs::OpenOptions::new().write(true).open(rig.path());
        file.unwrap().set_len(4 * BLCKSZ as u64).unwrap();
        let mut stream = rig.stream(true, 0..8);
        for block in 0..4 {
            let buffer = stream.next(&mut ctx).unwrap().unwrap();
            assert_eq!(buffer.share().page().is_all_zeros(), block == 1);
        }
        assert_eq!(
            stream.next(&mut ctx).unwrap_err().to_string(),
            "could not read blocks 0..7 in file \"base/5/16384\": read only 32768 of 65536 bytes"
        );
        assert_eq!(told.take().len(), 1);
        drop(stream);
        rig.evict(&mut ctx);
    }
}

#[test]
fn the_log_tells_of_each_page() {
    for over in ALL {
        let rig = Rig::new(over, Options::default());
        let (mut ctx, _) = rig.reader(true, true);
        rig.fill(&mut ctx, 9);
        rig.corrupt(2);
        rig.corrupt(3);
        rig.break_header(5);
        let verification = |block| {
            let (found, expected) = rig.checksums(block);
            format!("page verification failed, calculated checksum {found} but expected {expected}")
        };
        let relation = "of relation \"base/5/16384\"";
        let (log, ()) = logged(|| read_all(&rig, &mut ctx, &[5], &[2, 3]));
        assert_eq!(
            log,
            [
                (Level::INFO, verification(2)),
                (
                    Level::INFO,
                    format!("ignoring checksum failure in block 2 {relation}")
                ),
                (Level::INFO, verification(3)),
                (
                    Level::INFO,
                    format!("ignoring checksum failure in block 3 {relation}")
                ),
                (
                    Level::INFO,
                    format!("invalid page in block 5 {relation}; zeroing out page")
                ),
                (
                    Level::WARN,
                    format!(
                        "zeroing 1 page(s) and ignoring 2 checksum failure(s) among blocks 0..7 {relation}"
                    )
                ),
            ]
        );
        // A read that nobody comes back to: whoever reads next tells the log.
        rig.evict(&mut ctx);
        let mut plain = rig.issuer();
        let (log, ()) = logged(|| {
            rig.pool.prefetch(&mut ctx, MAIN, 0, 8).unwrap();
            drop(ctx);
            check(&rig.pool.read(&mut plain, MAIN, 0, None).unwrap(), 0);
            check(&rig.pool.read(&mut plain, MAIN, 8, None).unwrap(), 8);
        });
        assert_eq!(log.len(), 5, "{log:?}");
        assert!(log.iter().all(|(level, _)| *level == Level::INFO));
        rig.evict(&mut plain);
    }
}

#[test]
fn ignore_checksum_failure_publishes_what_has_a_sane_header() {
    for over in ALL {
        let rig = Rig::new(over, Options::default());
        let (mut ctx, _) = rig.reader(false, true);
        rig.fill(&mut ctx, 8);
        rig.corrupt(3);
        // Block 6: header and checksum are wrong.
        let mut bytes = std::fs::read(rig.path()).unwrap();
        bytes[6 * BLCKSZ + 12..][..4].copy_from_slice(&[0xff; 4]);
        std::fs::write(rig.path(), bytes).unwrap();
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
