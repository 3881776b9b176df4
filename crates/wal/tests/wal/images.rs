//! Which pages go along as images (`XLogRecordAssemble`).

use trunkline_pgformat::control_file::WalLevel;
use trunkline_pgformat::wal::info;
use trunkline_pgformat::wal::record::Compression;
use trunkline_pgformat::wal::rmgr_id::RmgrId;
use trunkline_pgformat::{BLCKSZ, ForkNumber, Lsn, Oid, PageBytes, PageMut, RelFileLocator, Xid};
use trunkline_wal::{ImagePolicy, LoggedBlock, WalConfig, WalReader, WalRecord};

use crate::support::{Cluster, config, for_each_method, within_limit};

/// The compression of the record's image.
fn compression_of(cluster: &mut Cluster, at: Lsn) -> Option<Compression> {
    let storage = std::sync::Arc::clone(&cluster.storage);
    let mut reader = WalReader::new(storage, &cluster.config, at);
    let next = reader.next(&mut cluster.io, |_, record| {
        record.blocks[0].image.unwrap().compression()
    });
    next.unwrap().unwrap()
}

#[test]
fn images_are_compressed_where_that_is_shorter() {
    // xorshift64, which no method finds anything in.
    let mut word = 88_172_645_463_325_252_u64;
    let noise: Box<[u8; 8100]> = Box::new(std::array::from_fn(|_| {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        word as u8
    }));
    within_limit(move || {
        for_each_method(|aio, directory| {
            for method in [
                None,
                Some(Compression::Pglz),
                Some(Compression::Lz4),
                Some(Compression::Zstd),
            ] {
                let directory = directory.join(format!("{method:?}"));
                std::fs::create_dir(&directory).unwrap();
                let config = WalConfig {
                    wal_compression: method,
                    ..config(&directory)
                };
                let mut cluster = Cluster::on_disk(aio, config);
                for (item, flags, is_compressed) in [
                    (&[7; 4000][..], 0, true),
                    (&noise[..], 0, false),
                    (&[9; 4000], info::XLR_CHECK_CONSISTENCY, true),
                ] {
                    // Older than the redo pointer, unless its image is for comparison only.
                    let needed = flags == 0;
                    let mut page = page(if needed { Lsn(1) } else { Lsn(1 << 40) });
                    PageMut::new(&mut page).add_item(item).unwrap();
                    let at = cluster.wal.insert_lsn();
                    let found = logged(&mut cluster, block(&page, ImagePolicy::WhenNeeded), flags);
                    assert_eq!(found.0, Some(needed));
                    let expected = method.filter(|_| is_compressed);
                    assert_eq!(compression_of(&mut cluster, at), expected);
                    let length = cluster.wal.insert_lsn().0 - at.0;
                    assert!(
                        expected.is_none() || length < 400,
                        "{length} bytes with {method:?}"
                    );
                }
            }
        });
    });
}

fn page(lsn: Lsn) -> Box<PageBytes> {
    let mut page = Box::new([0; BLCKSZ]);
    let mut view = PageMut::new(&mut page);
    view.init(0);
    view.add_item(b"something that is there").unwrap();
    view.set_lsn(lsn);
    page
}

fn block<'a>(page: &'a PageBytes, image: ImagePolicy) -> LoggedBlock<'a> {
    LoggedBlock {
        id: 0,
        locator: RelFileLocator {
            spc_oid: Oid(1663),
            db_oid: Oid(5),
            rel_number: 16384,
        },
        fork: ForkNumber::Main,
        block: 3,
        page,
        standard: true,
        image,
        keep_data: false,
        data: &[b"block data"],
    }
}

/// Whether a record with this block has an image, and its data.
fn logged(cluster: &mut Cluster, block: LoggedBlock<'_>, flags: u8) -> (Option<bool>, usize) {
    let record = WalRecord {
        rmgr: RmgrId::HEAP,
        info: info::heap::INSERT | flags,
        xid: Xid(700),
        toplevel_xid: None,
        blocks: &[block],
        main_data: &[b"main"],
    };
    let inserted = cluster.wal.insert(&mut cluster.io, &record).unwrap();
    cluster.wal.flush(&mut cluster.io, inserted.end).unwrap();
    let storage = std::sync::Arc::clone(&cluster.storage);
    let mut reader = WalReader::new(storage, &cluster.config, inserted.start);
    reader
        .next(&mut cluster.io, |_, record| {
            let found = &record.blocks[0];
            if let Some(image) = &found.image {
                let mut restored = [0; BLCKSZ];
                image.restore(&mut restored, record.lsn, found.id).unwrap();
                assert_eq!(restored, *block.page);
            }
            (found.image.map(|image| image.apply()), found.data.len())
        })
        .unwrap()
        .unwrap()
}

#[test]
fn a_page_not_changed_since_the_redo_pointer_goes_along() {
    within_limit(|| {
        for_each_method(|aio, directory| {
            let mut cluster = Cluster::on_disk(aio, config(directory));
            let redo = cluster.wal.redo();
            let (old, new) = (page(redo), page(Lsn(redo.0 + 1)));
            use ImagePolicy::{Always, Never, WhenNeeded, WillInit};
            for (bytes, policy, expected) in [
                (&old, WhenNeeded, (Some(true), 0)),
                (&new, WhenNeeded, (None, 10)),
                (&new, Always, (Some(true), 0)),
                (&old, Never, (None, 10)),
                (&old, WillInit, (None, 10)),
            ] {
                let found = logged(&mut cluster, block(bytes, policy), 0);
                assert_eq!(found, expected, "{policy:?}");
            }
            let kept = LoggedBlock {
                keep_data: true,
                ..block(&old, WhenNeeded)
            };
            assert_eq!(logged(&mut cluster, kept, 0), (Some(true), 10));
            let compared = logged(
                &mut cluster,
                block(&new, WhenNeeded),
                info::XLR_CHECK_CONSISTENCY,
            );
            assert_eq!(compared, (Some(false), 10));
            cluster.wal.set_full_page_writes(false);
            assert_eq!(logged(&mut cluster, block(&old, WhenNeeded), 0), (None, 10));
            assert_eq!(
                logged(&mut cluster, block(&old, Always), 0),
                (Some(true), 0)
            );
            cluster.wal.set_full_page_writes(true);
            // What was new enough is so no more.
            let checkpoint = cluster
                .wal
                .begin_checkpoint(&mut cluster.io, WalLevel::Replica)
                .unwrap();
            assert_eq!(cluster.wal.redo(), checkpoint.start);
            assert_eq!(
                logged(&mut cluster, block(&new, WhenNeeded), 0),
                (Some(true), 0)
            );
            assert_eq!(cluster.wal.stats().full_page_images, 6);
        });
    });
}
