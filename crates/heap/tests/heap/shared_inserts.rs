//! Single inserts: which pages they share, and how large a table they make.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use trunkline_aio::{Aio, Executor, IoRequest, MethodKind, Op, SyncMethod, SystemCalls};
use trunkline_buffer::BufferPool;
use trunkline_heap::{HeapError, HeapWriter, SparePages, TableTargets};
use trunkline_pgformat::{ItemPointer, MAX_HEAP_TUPLE_SIZE, PageRef};
use trunkline_txn::TransactionManager;
use trunkline_types::TupleDesc;

use crate::rig::{RELATION, Rig, TABLE, commit, targets, tuple};

/// Rows of 100 bytes of text that fill a page.
const ROWS_PER_PAGE: u32 = 58;

/// Pages that an extension adds at most.
const RESERVE: u32 = 8;

/// What a thread needs to insert.
struct Table {
    pool: Arc<BufferPool>,
    transactions: Arc<TransactionManager>,
    aio: Arc<Aio>,
    desc: TupleDesc,
    targets: Arc<TableTargets>,
}

impl Table {
    fn of(rig: &Rig, lanes: usize) -> Table {
        Table {
            pool: Arc::clone(&rig.pool),
            transactions: Arc::clone(&rig.transactions),
            aio: Arc::clone(&rig.aio),
            desc: rig.desc.clone(),
            targets: targets(rig, lanes),
        }
    }

    /// Inserts a row in a transaction of its own.
    fn insert(
        &self,
        inserter: usize,
        text_bytes: usize,
        commits: bool,
    ) -> Result<ItemPointer, HeapError> {
        let transaction = self.transactions.begin(inserter as i32);
        let xid = transaction.assign_xid().unwrap().xid();
        let writer = HeapWriter::new(&self.pool, &self.transactions, RELATION, xid, 0);
        let mut tuple = tuple(&self.desc, 1, &"x".repeat(text_bytes));
        let mut io = self.aio.issuer(0).unwrap();
        let placed = writer.insert_shared(&self.targets, inserter, &mut tuple, &mut io);
        if commits && placed.is_ok() {
            commit(&transaction);
        } else {
            transaction.abandon();
        }
        placed
    }
}

#[test]
fn transactions_beside_each_other_fill_the_pages_that_they_share() {
    for method in [MethodKind::Sync, MethodKind::Worker] {
        for lanes in [1, 3] {
            let mut rig = Rig::new(method, 64);
            let table = Table::of(&rig, lanes);
            let (threads, rows) = (8, 250);
            std::thread::scope(|scope| {
                for thread in 0..threads {
                    let table = &table;
                    scope.spawn(move || {
                        for nth in 0..rows {
                            table.insert(thread, 100, nth % 5 != 4).unwrap();
                        }
                    });
                }
            });
            let now = rig.snapshot();
            assert_eq!(rig.count(&now), threads as u64 * rows * 4 / 5);
            drop(now);
            let full = (threads as u32 * rows as u32).div_ceil(ROWS_PER_PAGE);
            let most = full + lanes as u32 + RESERVE;
            let blocks = rig.blocks();
            assert!((full..=most).contains(&blocks), "{blocks} blocks, {most}");
            // All but the lanes' last pages and the reserve are full.
            let counts = rig.tuples_per_page();
            let filled = counts.iter().filter(|count| **count == 58).count();
            assert!(filled + lanes + RESERVE as usize >= counts.len());
        }
    }
}

#[test]
fn a_small_table_stays_small() {
    let rig = Rig::new(MethodKind::Sync, 64);
    let table = Table::of(&rig, 64);
    for inserter in 0..ROWS_PER_PAGE as usize {
        let place = table.insert(inserter, 100, true).unwrap();
        assert_eq!(place, ItemPointer::new(0, inserter as u16 + 1));
    }
    assert_eq!(rig.blocks(), 1);
    table.insert(0, 100, true).unwrap();
    assert_eq!(rig.blocks(), 2);
    // A page at a time at first, and never more than eight that are not used yet.
    for nth in 1..150 * ROWS_PER_PAGE {
        let place = table.insert(0, 100, false).unwrap();
        let unused = rig.blocks() - 1 - place.block;
        let at_most = (place.block / 16).clamp(1, RESERVE) - 1;
        assert!(unused <= at_most, "row {nth}: {unused} pages in reserve");
    }
    assert!(rig.blocks() <= 151 + RESERVE);
}

#[test]
fn the_last_page_that_is_there_is_filled_first() {
    let mut rig = Rig::new(MethodKind::Sync, 64);
    rig.load_committed(60, 100);
    let blocks = rig.blocks();
    let table = Table::of(&rig, 2);
    let place = table.insert(7, 100, true).unwrap();
    assert_eq!((place.block, rig.blocks()), (blocks - 1, blocks));
}

#[test]
fn long_and_short_rows_do_not_waste_each_others_pages() {
    let mut rig = Rig::new(MethodKind::Sync, 64);
    let table = Table::of(&rig, 2);
    let rounds: u32 = 120;
    for nth in 0..rounds {
        let inserter = (nth % 4) as usize;
        table.insert(inserter, 5000, true).unwrap();
        for _ in 0..10 {
            table.insert(inserter, 100, true).unwrap();
        }
    }
    let now = rig.snapshot();
    assert_eq!(rig.count(&now), u64::from(rounds) * 11);
    // A long one and the short ones in what it leaves.
    assert!(rig.blocks() <= rounds + 2 + RESERVE, "{}", rig.blocks());
}

#[test]
fn a_row_that_fits_no_page_is_refused() {
    let rig = Rig::new(MethodKind::Sync, 64);
    let table = Table::of(&rig, 1);
    let transaction = rig.begin(1);
    let mut tuple = rig.tuple(0, "");
    let mut io = rig.issuer();
    tuple.resize(MAX_HEAP_TUPLE_SIZE, 0);
    let writer = rig.writer(&transaction);
    let place = writer.insert_shared(&table.targets, 1, &mut tuple, &mut io);
    assert_eq!(place.unwrap(), ItemPointer::new(0, 1));
    tuple.resize(MAX_HEAP_TUPLE_SIZE + 1, 0);
    let error = writer
        .insert_shared(&table.targets, 1, &mut tuple, &mut io)
        .unwrap_err();
    assert!(matches!(error, HeapError::TooBig { .. }));
    assert_eq!(rig.blocks(), 1);
    transaction.abandon();
}

#[test]
fn pages_of_a_failed_load_are_made_anew_by_who_is_first_of_many() {
    let mut rig = Rig::new(MethodKind::Sync, 64);
    let failed = rig.begin(1);
    rig.load(&failed, 500, 100, false, SparePages::default());
    failed.abandon();
    let blocks = rig.blocks();
    let table = Table::of(&rig, 2);
    // The last one is known as it is.
    let mut spare = SparePages::default();
    for block in 0..blocks - 1 {
        spare.push_empty(block);
    }
    table.targets.give_back(spare);
    let rows = ((blocks - 1) * ROWS_PER_PAGE) as usize;
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let table = &table;
            scope.spawn(move || {
                for _ in 0..rows / 4 {
                    table.insert(thread, 100, true).unwrap();
                }
            });
        }
    });
    let now = rig.snapshot();
    assert_eq!(rig.count(&now), rows as u64 / 4 * 4);
    assert_eq!(rig.blocks(), blocks, "there was room for all");
}

#[test]
fn marks_are_taken_back() {
    let mut rig = Rig::new(MethodKind::Sync, 64);
    let table = Table::of(&rig, 1);
    table.insert(1, 100, true).unwrap();
    let now = rig.snapshot();
    assert_eq!(rig.count(&now), 1);
    drop(now);
    assert!(rig.is_all_visible(0));
    table.insert(1, 100, true).unwrap();
    assert!(!rig.is_all_visible(0));
}

#[test]
fn loads_never_get_a_page_that_single_inserts_fill() {
    let mut rig = Rig::new(MethodKind::Sync, 64);
    let table = Table::of(&rig, 2);
    for nth in 0..20 * ROWS_PER_PAGE as usize {
        table.insert(nth, 100, true).unwrap();
    }
    let places = [0, 1].map(|inserter| table.insert(inserter, 100, true).unwrap());
    let transaction = rig.begin(1);
    let spare = table.targets.take(usize::MAX, false);
    let before = rig.tuples_per_page();
    rig.load(&transaction, 500, 100, false, spare);
    let after = rig.tuples_per_page();
    for place in places {
        let block = place.block as usize;
        assert_eq!(before[block], after[block], "block {block}");
    }
    commit(&transaction);
}

/// Reads of the table fail.
#[derive(Default)]
struct UnreadableTable(AtomicBool);

impl Executor for UnreadableTable {
    fn execute(&self, request: &IoRequest) -> i32 {
        const EIO: i32 = 5;
        let is_table = request
            .file()
            .is_some_and(|file| file.path().to_string_lossy().ends_with("/16384"));
        if request.op() == Op::Readv && is_table && self.0.load(Ordering::Relaxed) {
            return -EIO;
        }
        SystemCalls.execute(request)
    }
}

#[test]
fn a_page_that_cannot_be_read_is_left() {
    let disk = Arc::new(UnreadableTable::default());
    let executor: Arc<dyn Executor> = Arc::clone(&disk) as Arc<dyn Executor>;
    let mut rig = Rig::with_method(Arc::new(SyncMethod::new(executor)), 64);
    let table = Table::of(&rig, 1);
    table.insert(1, 100, true).unwrap();
    rig.pool.evict_relation(&mut rig.io, TABLE).unwrap();
    disk.0.store(true, Ordering::Relaxed);
    let error = table.insert(1, 100, true).unwrap_err();
    assert_eq!(error.sqlstate(), "58030");
    let place = table.insert(1, 100, true).unwrap();
    assert_eq!(place, ItemPointer::new(1, 1));
    disk.0.store(false, Ordering::Relaxed);
    let now = rig.snapshot();
    assert_eq!(rig.count(&now), 2);
    let page = rig.page(0);
    assert_eq!(PageRef::new(&page).line_pointer_count(), 1);
}
