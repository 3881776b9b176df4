//! `HeapTupleSatisfiesMVCC` (`access/heap/heapam_visibility.c`), case by case.

use trunkline_aio::MethodKind;
use trunkline_heap::tuple_is_visible;
use trunkline_pgformat::heap_tuple::{
    HEAP_XMAX_COMMITTED, HEAP_XMAX_INVALID, HEAP_XMAX_LOCK_ONLY, HEAP_XMIN_COMMITTED,
    HEAP_XMIN_FROZEN, HEAP_XMIN_INVALID,
};
use trunkline_pgformat::{HeapTupleMut, HeapTupleRef, ItemPointer, Xid};
use trunkline_txn::Visibility;

use crate::rig::{Rig, commit};

#[test]
fn a_snapshot_sees_what_postgresql_would() {
    let rig = Rig::new(MethodKind::Sync, 64);
    let none = Xid::INVALID;
    // No record of its end, and it does not run: its server crashed.
    let crashed = Xid(5);
    let ended = |commit: bool| {
        let transaction = rig.begin(1);
        let xid = transaction.assign_xid().unwrap().xid();
        if commit {
            crate::rig::commit(&transaction);
        } else {
            transaction.abandon();
        }
        xid
    };
    let committed = ended(true);
    let aborted = ended(false);
    let running = rig.begin(2);
    let running_xid = running.assign_xid().unwrap().xid();
    // Commits after the snapshot is taken.
    let late = rig.begin(3);
    let late_xid = late.assign_xid().unwrap().xid();
    let own = rig.begin(4);
    let own_xid = own.assign_xid().unwrap().xid();
    // The snapshot is that of the third command.
    for _ in 0..2 {
        own.command_id(true);
        own.increment_command().unwrap();
    }
    let snapshot = own.snapshot();
    commit(&late);
    let future = ended(true);

    let no_xmax = HEAP_XMAX_INVALID;
    // What inserted, what hints, the command id, what deleted, and whether the tuple is seen.
    let cases: &[(&str, Xid, u16, u32, Xid, bool)] = &[
        ("committed", committed, no_xmax, 0, none, true),
        (
            "committed, hinted",
            committed,
            no_xmax | HEAP_XMIN_COMMITTED,
            0,
            none,
            true,
        ),
        ("frozen", Xid(3), no_xmax | HEAP_XMIN_FROZEN, 0, none, true),
        (
            "frozen, by one that runs",
            running_xid,
            no_xmax | HEAP_XMIN_FROZEN,
            0,
            none,
            true,
        ),
        ("the frozen xid", Xid(2), no_xmax, 0, none, true),
        ("bootstrap", Xid(1), no_xmax, 0, none, true),
        ("aborted", aborted, no_xmax, 0, none, false),
        (
            "aborted, hinted",
            aborted,
            no_xmax | HEAP_XMIN_INVALID,
            0,
            none,
            false,
        ),
        ("crashed", crashed, no_xmax, 0, none, false),
        ("running", running_xid, no_xmax, 0, none, false),
        ("committed since", late_xid, no_xmax, 0, none, false),
        (
            "committed since, hinted",
            late_xid,
            no_xmax | HEAP_XMIN_COMMITTED,
            0,
            none,
            false,
        ),
        (
            "began since, hinted",
            future,
            no_xmax | HEAP_XMIN_COMMITTED,
            0,
            none,
            false,
        ),
        ("own, an earlier command", own_xid, no_xmax, 1, none, true),
        ("own, this command", own_xid, no_xmax, 2, none, false),
        ("own, a later command", own_xid, no_xmax, 3, none, false),
        ("deleted", committed, 0, 0, committed, false),
        (
            "deleted, hinted",
            committed,
            HEAP_XMAX_COMMITTED,
            0,
            committed,
            false,
        ),
        (
            "frozen and deleted",
            Xid(3),
            HEAP_XMIN_FROZEN,
            0,
            committed,
            false,
        ),
        ("deletion aborted", committed, 0, 0, aborted, true),
        ("deletion crashed", committed, 0, 0, crashed, true),
        ("deletion runs", committed, 0, 0, running_xid, true),
        ("deletion committed since", committed, 0, 0, late_xid, true),
        (
            "the same, hinted",
            committed,
            HEAP_XMAX_COMMITTED,
            0,
            late_xid,
            true,
        ),
        (
            "frozen, deletion runs",
            Xid(3),
            HEAP_XMIN_FROZEN,
            0,
            running_xid,
            true,
        ),
        ("own deletion, earlier", committed, 0, 1, own_xid, false),
        ("own deletion, this command", committed, 0, 2, own_xid, true),
        ("own both, deleted earlier", own_xid, 0, 1, own_xid, false),
        ("own both, deleted by this", own_xid, 0, 2, own_xid, true),
        (
            "own, deletion aborted",
            own_xid,
            HEAP_XMAX_INVALID,
            0,
            aborted,
            true,
        ),
        (
            "locked only",
            committed,
            HEAP_XMAX_LOCK_ONLY,
            0,
            committed,
            true,
        ),
        ("aborted and deleted", aborted, 0, 0, aborted, false),
    ];
    for &(case, xmin, bits, command_id, xmax, expected) in cases {
        let mut bytes = rig.tuple(1, "x");
        let mut tuple = HeapTupleMut::new(&mut bytes).unwrap();
        tuple.stamp_inserted(xmin, command_id, ItemPointer::new(0, 1), 0);
        tuple.set_infomask_bits(bits, HEAP_XMAX_INVALID & !bits);
        tuple.set_xmax(xmax);
        let mut visibility = Visibility::new(&rig.transactions, &snapshot);
        let seen = tuple_is_visible(HeapTupleRef::new(&bytes).unwrap(), &mut visibility).unwrap();
        assert_eq!(seen, expected, "{case}");
    }
    running.abandon();
    own.abandon();
}
