//! Scans that share a table's blocks, over every method and in a pool smaller than the table.

use std::sync::{Arc, Mutex};

use trunkline_aio::MethodKind;
use trunkline_buffer::ReadStreamLimits;
use trunkline_heap::{HeapScan, ScanBlocks};
use trunkline_txn::Visibility;

use crate::rig::{RELATION, Rig, TABLE};

#[test]
fn scans_that_share_the_blocks_read_each_once() {
    let mut rig = Rig::new(MethodKind::Worker, 64);
    // Several chunks' worth.
    rig.load_committed(2400, 4000);
    let end = rig.blocks();
    assert!(end > 1024, "{end} blocks");
    let snapshot = rig.snapshot();
    let blocks = ScanBlocks::new(end);
    let seen = Mutex::new(Vec::new());
    let rows = Mutex::new(0);
    let (pool, transactions) = (&rig.pool, &rig.transactions);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let mut io = rig.issuer();
            let (blocks, snapshot) = (Arc::clone(&blocks), &snapshot);
            let (seen, rows) = (&seen, &rows);
            scope.spawn(move || {
                let mut visibility = Visibility::new(transactions, snapshot);
                let mut scan = HeapScan::new(pool, RELATION, blocks, ReadStreamLimits::default());
                while let Some(page) = scan.next_page(&mut io).unwrap() {
                    let (count, hints) = page.count_visible(&mut visibility).unwrap();
                    if hints {
                        scan.leave_hints(&page, &mut visibility, &mut io).unwrap();
                    }
                    *rows.lock().unwrap() += count;
                    seen.lock().unwrap().push(page.block());
                }
            });
        }
    });
    assert_eq!(rows.into_inner().unwrap(), 2400);
    let mut seen = seen.into_inner().unwrap();
    seen.sort_unstable();
    assert_eq!(seen, (0..end).collect::<Vec<_>>());
}

#[test]
fn every_method_loads_and_scans_more_than_the_pool_holds() {
    for kind in [MethodKind::Sync, MethodKind::Worker, MethodKind::IoUring] {
        let mut rig = Rig::new(kind, 32);
        rig.load_committed(5000, 300);
        assert!(rig.blocks() > 200);
        for round in 0..3 {
            let snapshot = rig.snapshot();
            assert_eq!(rig.count(&snapshot), 5000, "{kind:?}, round {round}");
        }
        assert!(rig.is_all_visible(0), "{kind:?}");
    }
}

#[test]
fn a_dropped_scan_leaves_nothing_pinned() {
    let mut rig = Rig::new(MethodKind::IoUring, 32);
    rig.load_committed(2000, 300);
    for _ in 0..20 {
        let mut scan = rig.scan();
        scan.next_page(&mut rig.io).unwrap().unwrap();
    }
    let evicted = rig.pool.evict_relation(&mut rig.io, TABLE).unwrap();
    assert_eq!(evicted.skipped, 0);
}
