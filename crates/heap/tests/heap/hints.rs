//! What scans leave behind: hint bits, PD_ALL_VISIBLE and the visibility map, and when not.

use trunkline_aio::MethodKind;
use trunkline_buffer::ReadStreamLimits;
use trunkline_heap::{HeapError, HeapPage, HeapScan, ScanBlocks, SparePages};
use trunkline_pgformat::heap_tuple::{
    HEAP_XMAX_COMMITTED, HEAP_XMAX_INVALID, HEAP_XMIN_COMMITTED, HEAP_XMIN_FROZEN,
    HEAP_XMIN_INVALID,
};
use trunkline_pgformat::{ItemPointer, LinePointer, PageMut};
use trunkline_txn::Visibility;

use crate::rig::{MAIN, RELATION, Rig, commit};

const HINTS: u16 = HEAP_XMIN_FROZEN | HEAP_XMAX_COMMITTED | HEAP_XMAX_INVALID;

fn hints(rig: &mut Rig, block: u32, offset: u16) -> u16 {
    rig.header(ItemPointer::new(block, offset)).infomask & HINTS
}

#[test]
fn committed_rows_are_hinted_and_marked_once_nobody_may_miss_them() {
    let mut rig = Rig::new(MethodKind::Sync, 64);
    let older = rig.snapshot();
    let transaction = rig.begin(1);
    rig.load(&transaction, 100, 200, false, SparePages::default());
    let while_it_runs = rig.snapshot();
    assert_eq!(rig.count(&while_it_runs), 0);
    assert_eq!(hints(&mut rig, 0, 1), HEAP_XMAX_INVALID);
    // The transaction itself sees its rows from its next command on, and leaves no hints.
    for expected in [0, 100] {
        let own = transaction.snapshot();
        assert_eq!(rig.count(&own), expected);
        transaction.increment_command().unwrap();
    }
    assert_eq!(hints(&mut rig, 0, 1), HEAP_XMAX_INVALID);
    commit(&transaction);

    // A snapshot that was taken before sees nothing, and leaves no hint that would be right by now.
    assert_eq!(rig.count(&while_it_runs), 0);
    assert_eq!(hints(&mut rig, 0, 1), HEAP_XMAX_INVALID);
    let now = rig.snapshot();
    assert_eq!(rig.count(&now), 100);
    assert_eq!(
        hints(&mut rig, 0, 1),
        HEAP_XMAX_INVALID | HEAP_XMIN_COMMITTED
    );
    assert!(
        !rig.is_all_visible(0),
        "an older snapshot does not see the rows"
    );
    drop(while_it_runs);
    assert_eq!(rig.count(&now), 100);
    assert!(
        !rig.is_all_visible(0),
        "the oldest snapshot does not see the rows"
    );
    drop(older);
    assert_eq!(rig.count(&now), 100);
    for block in 0..rig.blocks() {
        let has_rows = rig.tuples_per_page()[block as usize] > 0;
        assert_eq!(rig.is_all_visible(block), has_rows, "block {block}");
        assert!(!rig.map(block).all_frozen);
    }
    assert_eq!(rig.count(&now), 100);
}

#[test]
fn aborted_rows_are_hinted_and_their_page_is_never_marked() {
    let mut rig = Rig::new(MethodKind::Sync, 64);
    let transaction = rig.begin(1);
    rig.load(&transaction, 10, 10, false, SparePages::default());
    transaction.abandon();
    let now = rig.snapshot();
    assert_eq!(rig.count(&now), 0);
    assert_eq!(hints(&mut rig, 0, 1), HEAP_XMAX_INVALID | HEAP_XMIN_INVALID);
    assert_eq!(rig.count(&now), 0);
    assert!(!rig.is_all_visible(0));
}

#[test]
fn a_deletion_clears_the_marks_and_an_aborted_one_lets_them_come_back() {
    let mut rig = Rig::new(MethodKind::Sync, 64);
    rig.load_committed(10, 10);
    let now = rig.snapshot();
    rig.count(&now);
    assert!(rig.is_all_visible(0));
    drop(now);

    let place = ItemPointer::new(0, 3);
    for (commit, left) in [(false, 10), (true, 9)] {
        let transaction = rig.begin(1);
        let mut io = rig.issuer();
        rig.writer(&transaction).delete(place, &mut io).unwrap();
        assert!(
            !rig.is_all_visible(0),
            "cleared with the deletion, not with its commit"
        );
        let refused = rig.begin(2);
        assert!(matches!(
            rig.writer(&refused).delete(place, &mut io),
            Err(HeapError::ConcurrentlyUpdated)
        ));
        refused.abandon();
        let beside = rig.snapshot();
        assert_eq!(rig.count(&beside), 10);
        assert!(!rig.is_all_visible(0));
        if commit {
            crate::rig::commit(&transaction);
        } else {
            transaction.abandon();
        }
        assert_eq!(
            rig.count(&beside),
            10,
            "as it was when the snapshot was taken"
        );
        drop(beside);
        let now = rig.snapshot();
        assert_eq!(rig.count(&now), left);
        let hinted = hints(&mut rig, 0, 3);
        if commit {
            assert_eq!(hinted, HEAP_XMIN_COMMITTED | HEAP_XMAX_COMMITTED);
        } else {
            assert_eq!(hinted, HEAP_XMIN_COMMITTED | HEAP_XMAX_INVALID);
        }
        assert_eq!(rig.is_all_visible(0), !commit);
    }
}

#[test]
fn an_insertion_clears_the_marks() {
    let mut rig = Rig::new(MethodKind::Sync, 64);
    let spare = rig.load_committed(10, 10);
    for by_load in [false, true] {
        let now = rig.snapshot();
        rig.count(&now);
        assert!(rig.is_all_visible(0));
        drop(now);
        let transaction = rig.begin(1);
        if by_load {
            rig.load(&transaction, 1, 10, false, spare.clone());
        } else {
            let mut io = rig.issuer();
            let mut tuple = rig.tuple(7, "seven");
            let place = rig
                .writer(&transaction)
                .insert(&mut tuple, &mut io)
                .unwrap();
            assert_eq!(place, ItemPointer::new(0, 11));
            assert_eq!(rig.header(place).ctid, place);
        }
        assert!(!rig.is_all_visible(0));
        commit(&transaction);
    }
    let now = rig.snapshot();
    assert_eq!(rig.count(&now), 12);
    assert!(rig.is_all_visible(0));
}

#[test]
fn an_update_leaves_one_version_visible() {
    let mut rig = Rig::new(MethodKind::Sync, 64);
    rig.load_committed(1, 10);
    let before = rig.snapshot();
    let transaction = rig.begin(1);
    let mut tuple = rig.tuple(2, "new");
    let mut io = rig.issuer();
    let old = ItemPointer::new(0, 1);
    let new = rig
        .writer(&transaction)
        .update(old, &mut tuple, &mut io)
        .unwrap();
    assert_eq!(rig.header(old).ctid, new);
    commit(&transaction);
    let after = rig.snapshot();
    for snapshot in [&before, &after] {
        assert_eq!(rig.count(snapshot), 1);
    }
    assert!(!rig.is_all_visible(0));
}

#[test]
fn line_pointers_without_tuples() {
    // A dead pointer's page is VACUUM's to mark; unused and redirected ones stand in nobody's way.
    let pointers = [(LinePointer::DEAD, false), (LinePointer::UNUSED, true)];
    for (pointer, marked) in pointers
        .into_iter()
        .chain([(LinePointer::redirect(1), true)])
    {
        let mut rig = Rig::new(MethodKind::Sync, 64);
        rig.load_committed(4, 10);
        {
            let buffer = rig.pool.read(&mut rig.io, MAIN, 0, None).unwrap();
            let mut guard = buffer.exclusive();
            assert!(PageMut::new(&mut guard).set_line_pointer(2, pointer));
            guard.mark_dirty();
        }
        let now = rig.snapshot();
        assert_eq!(rig.count(&now), 3);
        assert_eq!(rig.is_all_visible(0), marked, "{pointer:?}");
        assert_eq!(rig.count(&now), 3);
    }
}

#[test]
fn a_page_in_use_is_left_alone() {
    let mut rig = Rig::new(MethodKind::Sync, 64);
    rig.load_committed(4, 10);
    let now = rig.snapshot();
    let buffer = rig.pool.read(&mut rig.io, MAIN, 0, None).unwrap();
    let page = HeapPage::new(buffer.clone());
    let mut scan = HeapScan::new(
        &rig.pool,
        RELATION,
        ScanBlocks::new(1),
        ReadStreamLimits::default(),
    );
    let mut visibility = Visibility::new(&rig.transactions, &now);
    let reader = buffer.share();
    scan.leave_hints(&page, &mut visibility, &mut rig.io)
        .unwrap();
    assert!(!reader.page().is_all_visible());
    drop(reader);
    scan.leave_hints(&page, &mut visibility, &mut rig.io)
        .unwrap();
    assert!(rig.is_all_visible(0));
}
