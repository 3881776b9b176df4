//! Loads: how pages are filled, which ones are used, what a frozen load leaves.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use trunkline_aio::MethodKind;

use trunkline_heap::{HeapError, SparePages, SpareSource, TableTargets, TupleBatch};
use trunkline_pgformat::heap_tuple::{HEAP_XMAX_INVALID, HEAP_XMIN_FROZEN};
use trunkline_pgformat::{ItemPointer, MAX_HEAP_TUPLE_SIZE, PageRef, verify_page};
use trunkline_txn::Transaction;
use trunkline_types::{TupleDesc, TupleFormer};

use crate::rig::{BATCH_BYTES, MAIN, Rig, commit, targets};

/// Tuples on each seven pages after PostgreSQL 18 has loaded the rows below by `BEGIN; CREATE TABLE;
/// COPY ... FROM; COMMIT` (so that it looks for no room on earlier pages): `SELECT count(*) ... GROUP
/// BY (ctid::text::point)[0] ORDER BY 1`. The rows' lengths repeat after 300 rows.
const POSTGRESQL_TUPLES_PER_PAGE: [u16; 7] = [45, 43, 42, 42, 44, 43, 41];

fn used(rig: &mut Rig) -> Vec<u16> {
    let mut counts = rig.tuples_per_page();
    while counts.last() == Some(&0) {
        counts.pop();
    }
    counts
}

/// Inserts the tuples in batches as the engine does, and commits.
fn load_tuples(rig: &mut Rig, tuples: impl Iterator<Item = Vec<u8>>) {
    let transaction = rig.begin(1);
    let mut insert = rig.bulk_insert(&transaction, false, SparePages::default());
    let mut batch = TupleBatch::new();
    for tuple in tuples {
        batch.push(&tuple);
        if batch.bytes().len() >= BATCH_BYTES {
            insert.insert(&mut batch, &mut rig.io).unwrap();
            assert!(batch.is_empty());
        }
    }
    insert.insert(&mut batch, &mut rig.io).unwrap();
    insert.finish(&mut rig.io).unwrap();
    commit(&transaction);
}

#[test]
fn pages_are_filled_as_postgresql_fills_them() {
    let mut rig = Rig::new(MethodKind::Sync, 128);
    let tuples: Vec<Vec<u8>> = (0..3000_u64)
        .map(|i| rig.tuple(i as i32, &"x".repeat((i * 2_654_435_761 % 300) as usize)))
        .collect();
    load_tuples(&mut rig, tuples.into_iter());
    assert_eq!(used(&mut rig), POSTGRESQL_TUPLES_PER_PAGE.repeat(10));

    // Rows of no columns: PostgreSQL's 291 a page. And rows that nearly or just fill a page.
    let mut rig = Rig::new(MethodKind::Sync, 128);
    let mut former = TupleFormer::new();
    former.begin(&TupleDesc::new(Vec::new()));
    let empty = former.finish().unwrap().to_vec();
    load_tuples(&mut rig, std::iter::repeat_n(empty, 700));
    assert_eq!(used(&mut rig), [291, 291, 118]);

    let mut rig = Rig::new(MethodKind::Sync, 128);
    // (24 bytes of header, 4 of length) as PostgreSQL stored them: 2, 1, 3, 1 a page.
    let sizes = [8000, 100, 7900, 4000, 4000, 60, 8132];
    let tuples: Vec<Vec<u8>> = sizes
        .into_iter()
        .map(|size| {
            let mut tuple = rig.tuple(0, "");
            tuple.resize(28 + size, 0);
            tuple
        })
        .collect();
    load_tuples(&mut rig, tuples.into_iter());
    assert_eq!(used(&mut rig), [2, 1, 3, 1]);
}

#[test]
fn a_tuple_larger_than_a_page_is_refused() {
    let rig = Rig::new(MethodKind::Sync, 64);
    let transaction = rig.begin(1);
    let mut io = rig.issuer();
    let mut tuple = rig.tuple(0, "");
    tuple.resize(MAX_HEAP_TUPLE_SIZE + 1, 0);
    let mut insert = rig.bulk_insert(&transaction, false, SparePages::default());
    let mut batch = TupleBatch::new();
    batch.push(&tuple);
    let by_load = insert.insert(&mut batch, &mut io).unwrap_err();
    let by_insert = rig
        .writer(&transaction)
        .insert(&mut tuple, &mut io)
        .unwrap_err();
    for error in [by_load, by_insert] {
        assert!(matches!(error, HeapError::TooBig { .. }));
        assert_eq!(error.sqlstate(), "54000");
        assert_eq!(
            error.to_string(),
            "row is too big: size 8161, maximum size 8160"
        );
    }
    transaction.abandon();
}

#[test]
fn a_frozen_load_is_visible_to_all_at_once() {
    let mut rig = Rig::new(MethodKind::Sync, 64);
    let transaction = rig.begin(1);
    let spare = rig.load(&transaction, 300, 100, true, SparePages::default());
    transaction.increment_command().unwrap();
    // Frozen again in the same transaction: never onto a page that has other rows.
    let spare = rig.load(&transaction, 10, 100, true, spare);
    let filled = used(&mut rig).len() as u32;
    for block in 0..filled {
        assert!(rig.is_all_visible(block), "block {block}");
        assert!(rig.map(block).all_frozen);
        let header = rig.header(ItemPointer::new(block, 1));
        assert_eq!(
            header.infomask & (HEAP_XMIN_FROZEN | HEAP_XMAX_INVALID),
            HEAP_XMIN_FROZEN | HEAP_XMAX_INVALID
        );
        // PostgreSQL keeps the inserter's id in a frozen tuple.
        assert_eq!(header.xmin, transaction.xid().unwrap());
    }
    let now = rig.snapshot();
    assert_eq!(rig.count(&now), 310);
    // An ordinary load goes on where these ended, and takes the marks back.
    rig.load(&transaction, 1, 100, false, spare);
    let unmarked = (0..filled)
        .filter(|block| !rig.is_all_visible(*block))
        .count();
    assert_eq!(unmarked, 1);
    commit(&transaction);
}

/// Spare pages as a session's transaction takes them: one, then two, and so on.
struct Taking {
    targets: Arc<TableTargets>,
    next: AtomicUsize,
    taken: Mutex<SparePages>,
}

impl Taking {
    fn of(targets: &Arc<TableTargets>) -> Arc<Taking> {
        Arc::new(Taking {
            targets: Arc::clone(targets),
            next: AtomicUsize::new(1),
            taken: Mutex::default(),
        })
    }

    fn give_back(&self) {
        self.targets
            .give_back(std::mem::take(&mut self.taken.lock().unwrap()));
    }
}

impl SpareSource for Taking {
    fn more_spare(&self, only_empty: bool) -> SparePages {
        let count = self.next.load(Ordering::Relaxed);
        let more = self.targets.take(count, only_empty);
        self.next.store(count * 2, Ordering::Relaxed);
        self.taken.lock().unwrap().append(more.clone());
        more
    }
}

#[test]
fn small_loads_share_pages_and_extend_by_what_they_use() {
    let mut rig = Rig::new(MethodKind::Sync, 64);
    let targets = targets(&rig, 1);
    // One row a transaction, a hundred times; every third one fails.
    let mut committed = 0;
    for nth in 0..100 {
        let transaction = rig.begin(1);
        let source = Taking::of(&targets);
        let spare = load_from(&mut rig, &transaction, &source, 1);
        if nth % 3 == 0 {
            transaction.abandon();
            source.give_back();
        } else {
            commit(&transaction);
            targets.give_back(spare);
            committed += 1;
        }
    }
    let now = rig.snapshot();
    assert_eq!(rig.count(&now), committed);
    // 56 rows fill a page.
    assert!(rig.blocks() <= 4, "{} blocks", rig.blocks());
    drop(now);

    // Two at once never write to one page; the second one extends by a page of its own.
    let (first, second) = (rig.begin(1), rig.begin(2));
    let before = rig.blocks();
    let mine = load_from(&mut rig, &first, &Taking::of(&targets), 1);
    assert_eq!(rig.blocks(), before);
    // What the rows of the failed ones lie on.
    while !targets.take(1, false).is_empty() {}
    let theirs = load_from(&mut rig, &second, &Taking::of(&targets), 1);
    assert_eq!(rig.blocks(), before + 1);
    commit(&first);
    commit(&second);
    targets.give_back(mine);
    targets.give_back(theirs);
    let now = rig.snapshot();
    assert_eq!(rig.count(&now), committed + 2);
    drop(now);

    // A large one uses what it extends, and what is left is at most as much again.
    let transaction = rig.begin(1);
    let before = rig.blocks();
    load_from(&mut rig, &transaction, &Taking::of(&targets), 5600);
    commit(&transaction);
    let added = rig.blocks() - before;
    assert!((90..=200).contains(&added), "{added} blocks");
}

/// Loads rows of 100 bytes of text, with spare pages from `source`; what is spare afterwards.
fn load_from(
    rig: &mut Rig,
    transaction: &Transaction,
    source: &Arc<Taking>,
    rows: usize,
) -> SparePages {
    let mut insert = rig
        .bulk_insert(transaction, false, SparePages::default())
        .with_source(Arc::clone(source) as Arc<dyn SpareSource>);
    let mut batch = TupleBatch::new();
    for row in 0..rows {
        batch.push(&rig.tuple(row as i32, &"x".repeat(100)));
        if batch.bytes().len() >= BATCH_BYTES {
            insert.insert(&mut batch, &mut rig.io).unwrap();
        }
    }
    insert.insert(&mut batch, &mut rig.io).unwrap();
    insert.finish(&mut rig.io).unwrap();
    insert.take_spare()
}

#[test]
fn a_load_takes_of_many_spare_pages_no_more_than_it_uses() {
    let mut rig = Rig::new(MethodKind::Sync, 64);
    let targets = targets(&rig, 1);
    // 40 pages that a failed load added.
    let failed = rig.begin(1);
    rig.load(&failed, 40 * 56, 100, false, SparePages::default());
    failed.abandon();
    let mut spare = SparePages::default();
    for block in 0..rig.blocks() {
        spare.push_empty(block);
    }
    targets.give_back(spare);
    let before = rig.blocks();
    let (small, large) = (rig.begin(1), rig.begin(2));
    let few = load_from(&mut rig, &small, &Taking::of(&targets), 1);
    load_from(&mut rig, &large, &Taking::of(&targets), 20 * 56);
    assert_eq!(rig.blocks(), before, "there is enough for both");
    // One, two, four, eight and sixteen.
    let mut left = 0;
    while !targets.take(1, false).is_empty() {
        left += 1;
    }
    assert_eq!(left, before - 1 - 31);
    drop(few);
    commit(&small);
    commit(&large);
    let now = rig.snapshot();
    assert_eq!(rig.count(&now), 1 + 20 * 56);
}

#[test]
fn pages_of_a_failed_load_are_made_anew_when_they_are_used_again() {
    let mut rig = Rig::new(MethodKind::Sync, 64);
    rig.load_committed(10, 100);
    let first_failed = rig.blocks();
    let failed = rig.begin(1);
    rig.load(&failed, 200, 100, false, SparePages::default());
    failed.abandon();
    let mut spare = SparePages::default();
    for block in first_failed..rig.blocks() {
        spare.push_empty(block);
    }
    let now = rig.snapshot();
    assert_eq!(rig.count(&now), 10);
    let before = rig.blocks();
    let transaction = rig.begin(1);
    // Needs all of the seven pages that the failed one added.
    rig.load(&transaction, 350, 100, false, spare);
    assert_eq!(rig.count(&now), 10, "the older snapshot sees none of it");
    commit(&transaction);
    assert_eq!(rig.blocks(), before);
    assert_eq!(rig.count(&now), 10);
    drop(now);
    let now = rig.snapshot();
    assert_eq!(rig.count(&now), 360);
}

#[test]
fn full_pages_are_on_disk_when_a_load_ends() {
    let mut rig = Rig::new(MethodKind::Worker, 64);
    rig.load_committed(2000, 100);
    let path = rig.pool.smgr().data_dir().join("base/5/16384");
    let file = std::fs::read(path).unwrap();
    let counts = used(&mut rig);
    let (pages, _) = file.as_chunks::<8192>();
    for (block, page) in pages.iter().enumerate().take(counts.len() - 1) {
        verify_page(page, block as u32, true).unwrap();
        assert_eq!(PageRef::new(page).line_pointer_count(), counts[block]);
    }
    let last = counts.len() as u32 - 1;
    let buffer = rig.pool.read(&mut rig.io, MAIN, last, None).unwrap();
    assert!(
        buffer.is_dirty(),
        "the last page has room: it waits for more"
    );
}
