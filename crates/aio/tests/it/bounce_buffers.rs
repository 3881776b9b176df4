//! A12: bounce buffers are bounded, and go back with the I/O.

use std::sync::Arc;

use trunkline_aio::{
    AioConfig, AioError, BOUNCE_PAGE_BYTES, IoResult, IoReturn, OpenOptions, OsStorage, Storage,
};

use crate::support::{
    GateMethod, external_file, for_each_method, pattern, start_with, within_limit,
};

fn four_pages() -> AioConfig {
    AioConfig {
        max_issuers: 4,
        io_max_concurrency: 16,
        io_bounce_buffers: 4,
        ..AioConfig::default()
    }
}

#[test]
fn a_write_from_a_copy_needs_nothing_of_its_issuer() {
    for_each_method(&four_pages(), |aio| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("written");
        let options = OpenOptions::CREATE_NEW.with_direct(true);
        let file = OsStorage::new().open(&path, options).unwrap();
        let mut context = aio.issuer(1).unwrap();
        let content = pattern(64 * BOUNCE_PAGE_BYTES, 3);
        // Far more than there are buffers.
        for (number, page) in (0..).zip(content.chunks(BOUNCE_PAGE_BYTES)) {
            let mut buffer = context.bounce_buffer(BOUNCE_PAGE_BYTES).unwrap();
            buffer.copy_from_slice(page);
            let handle = context.acquire().unwrap();
            handle.start_write_bounced(&file, number * BOUNCE_PAGE_BYTES as u64, buffer);
        }
        drop(context);
        let mut context = aio.issuer(1).unwrap();
        // All four at once: everything before is complete.
        drop(context.bounce_buffer(4 * BOUNCE_PAGE_BYTES).unwrap());
        context.fsync(&file).unwrap();
        assert!(std::fs::read(&path).unwrap() == content);
        let mut found = vec![0; content.len()];
        let read = context.read_unaligned(&file, 0, &mut found).unwrap();
        assert!(read == content.len() && found == content);
    });
}

#[test]
fn any_range_of_a_direct_file_can_be_read() {
    for_each_method(
        &AioConfig {
            io_bounce_buffers: 32,
            ..four_pages()
        },
        |aio| {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("read");
            let content = pattern(300_001, 8);
            std::fs::write(&path, &content).unwrap();
            let options = OpenOptions::READ.with_direct(true);
            let file = OsStorage::new().open(&path, options).unwrap();
            let mut context = aio.issuer(1).unwrap();
            for (offset, len) in [(0, 1), (1, 8191), (4095, 2), (511, 250_000), (299_990, 100)] {
                let mut found = vec![0; len];
                let read = context
                    .read_unaligned(&file, offset as u64, &mut found)
                    .unwrap();
                let expected = &content[offset..content.len().min(offset + len)];
                assert!(read == expected.len() && found[..read] == *expected);
            }
            assert_eq!(
                context.read_unaligned(&file, 400_000, &mut [0; 9]).unwrap(),
                0
            );
        },
    );
}

#[test]
fn who_needs_a_buffer_completes_the_ios_that_have_them() {
    for_each_method(&four_pages(), |aio| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("read");
        std::fs::write(&path, pattern(8 * BOUNCE_PAGE_BYTES, 8)).unwrap();
        let file = OsStorage::new().open(&path, OpenOptions::READ).unwrap();
        let mut holder = aio.issuer(1).unwrap();
        let cells: Vec<_> = (0..4).map(|_| IoReturn::new()).collect();
        for (number, cell) in (0..).zip(&cells) {
            let buffer = holder.bounce_buffer(BOUNCE_PAGE_BYTES).unwrap();
            let mut handle = holder.acquire().unwrap();
            handle.report_to(cell);
            handle.start_read_discarding(&file, number * BOUNCE_PAGE_BYTES as u64, buffer);
        }
        // Nothing is submitted, and the holder does nothing more.
        let other = Arc::clone(aio);
        within_limit(move || {
            let mut context = other.issuer(2).unwrap();
            context.bounce_buffer(4 * BOUNCE_PAGE_BYTES).unwrap();
        });
        for cell in cells {
            let bytes = BOUNCE_PAGE_BYTES as u32;
            assert_eq!(cell.get(), Some(IoResult::Ok { bytes }));
        }
    });
}

#[test]
fn a_pool_that_nobody_can_give_back_to_is_an_error() {
    let gate = Arc::new(GateMethod::default());
    let aio = start_with(&four_pages(), gate.clone());
    let mut context = aio.issuer(1).unwrap();
    let held = context.bounce_buffer(3 * BOUNCE_PAGE_BYTES).unwrap();
    assert!(matches!(
        context.bounce_buffer(2 * BOUNCE_PAGE_BYTES),
        Err(AioError::NoBounceBuffers { limit: 4 })
    ));
    assert!(matches!(
        context.bounce_buffer(4 * BOUNCE_PAGE_BYTES + 1),
        Err(AioError::TooLong { .. })
    ));
    // A buffer of an I/O goes back when that is complete, not before.
    let (file, _) = external_file(1);
    let handle = context.acquire().unwrap();
    let reference = handle.start_write_bounced(&file, 0, held);
    context.submit();
    let last = context.bounce_buffer(BOUNCE_PAGE_BYTES).unwrap();
    gate.open();
    context.wait(reference);
    drop(last);
    context.bounce_buffer(4 * BOUNCE_PAGE_BYTES).unwrap();
}
