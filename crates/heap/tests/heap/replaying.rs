//! Redo of what was logged makes the pages that were there, from whatever was on disk.

use trunkline_aio::IoContext;
use trunkline_buffer::redo::RedoError;
use trunkline_buffer::{BufferTag, RelFork};
use trunkline_heap::SparePages;
use trunkline_pgformat::wal::rmgr_id::RmgrId;
use trunkline_pgformat::{BLCKSZ, ForkNumber, Lsn, PageBytes, PageMut};

use crate::logged::{Disk, Logged, Pages, Recovery, assert_same, masked, stamped};
use crate::rig::{MAIN, TABLE, commit};

const BUFFERS: u64 = 128;

/// A small generator whose seed a failure prints.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
        (self.0 >> 33) % below
    }
}

#[test]
fn the_log_alone_makes_the_pages_again_and_again() {
    for disk in Disk::each() {
        let name = disk.name;
        let mut logged = Logged::new(disk, BUFFERS);
        logged.work();
        logged.flush();
        let expected = logged.pages();
        let mut recovery = Recovery::new(&logged.disk, "again", &Pages::new());
        let replayed = recovery.replay(&logged.config, logged.start).unwrap();
        for code in [
            "Heap INSERT",
            "Heap DELETE",
            "Heap UPDATE",
            "Heap2 MULTI_INSERT",
            "Heap2 MULTI_INSERT+INIT",
            "Heap2 VISIBLE",
        ] {
            assert!(replayed.records.contains_key(code), "{name}: {replayed:?}");
        }
        assert_same(&expected, &recovery.pages(), name);
        recovery.redo.check_invalid_pages().unwrap();
        recovery.replay(&logged.config, logged.start).unwrap();
        assert_same(&expected, &recovery.pages(), name);
    }
}

#[test]
fn whatever_versions_of_pages_were_written_redo_makes_the_last_ones() {
    for seed in 0..8 {
        let mut random = Random(seed);
        let mut logged = Logged::new(Disk::simulated(seed), BUFFERS);
        logged.load_and_mark();
        // The page that is inserted into afterwards is neither made anew nor needs an image for hints.
        logged.insert_one();
        let redo = logged.checkpoint();
        // Without images the pages' LSNs decide alone. No page is torn here.
        logged.wal.set_full_page_writes(false);
        let mut versions = vec![logged.pages()];
        logged.change();
        versions.push(logged.pages());
        logged.insert_and_delete_again();
        versions.push(logged.pages());
        logged.fill_what_is_spare();
        logged.flush();
        let expected = logged.pages();
        versions.push(logged.pages());
        let mut on_disk = Pages::new();
        for &(fork, block) in expected.keys() {
            let version = &versions[random.next(4) as usize];
            let page = version.get(&(fork, block));
            let page = page.map_or_else(|| Box::new([0; BLCKSZ]), |page| stamped(block, page));
            on_disk.insert((fork, block), page);
        }
        let mut recovery = Recovery::new(&logged.disk, "crashed", &on_disk);
        recovery.replay(&logged.config, redo).unwrap();
        recovery.redo.check_invalid_pages().unwrap();
        let mut found = recovery.pages();
        // As in PostgreSQL a bit of the map can be lost (it is cleared whatever the LSN, and set only if
        // that is older), none can be gained.
        let map = (ForkNumber::Vm, 0);
        let status = trunkline_pgformat::visibility_map::status;
        for block in 0..logged.rig.blocks() {
            let bits = status(&found[&map], block);
            assert_eq!(bits & !status(&expected[&map], block), 0, "seed {seed}");
        }
        found.insert(map, expected[&map].clone());
        assert_same(&expected, &found, &format!("seed {seed}"));
    }
}

#[test]
fn a_crash_between_a_frozen_load_and_its_bits_in_the_map_leaves_the_page_marked() {
    let mut logged = Logged::new(Disk::simulated(7), BUFFERS);
    let transaction = logged.rig.begin(1);
    let spare = SparePages::default();
    logged.rig.load(&transaction, 3, 60, true, spare);
    commit(&transaction);
    let expected = logged.pages();
    let place = (ForkNumber::Main, 0);
    logged.flush();
    let mut recovery = Recovery::new(&logged.disk, "between", &Pages::new());
    // The first record only.
    let end = Lsn(logged.start.0 + 1);
    let replayed = recovery.replay_up_to(&logged.config, logged.start, end);
    assert_eq!(replayed.unwrap().records.len(), 1);
    let found = recovery.pages();
    assert_eq!(found.len(), 1);
    let (page, other) = (&expected[&place], &found[&place]);
    assert!(masked(place.0, 0, page) == masked(place.0, 0, other));
}

fn torn(old: &PageBytes, new: &PageBytes, random: &mut Random) -> Box<PageBytes> {
    let mut page = Box::new(*old);
    for sector in (0..BLCKSZ).step_by(512) {
        if random.next(2) == 0 {
            page[sector..sector + 512].copy_from_slice(&new[sector..sector + 512]);
        }
    }
    page
}

#[test]
fn pages_torn_after_a_checkpoint_are_healed_by_their_images() {
    for seed in 0..8 {
        let mut random = Random(seed);
        let mut logged = Logged::new(Disk::simulated(seed), BUFFERS);
        logged.load_and_mark();
        // Hints of these are left after the checkpoint only.
        logged.rig.load_committed(300, 60);
        let redo = logged.checkpoint();
        let before = logged.pages();
        let now = logged.rig.snapshot();
        assert_eq!(logged.rig.count(&now), 1000);
        drop(now);
        let transaction = logged.rig.begin(1);
        let places: Vec<_> = (0..)
            .zip(logged.rig.tuples_per_page())
            .filter(|(_, tuples)| *tuples > 0)
            .map(|(block, _)| trunkline_pgformat::ItemPointer::new(block, 1))
            .collect();
        let mut io = logged.rig.issuer();
        let writer = logged.rig.writer(&transaction);
        for place in places.iter().step_by(2) {
            writer.delete(*place, &mut io).unwrap();
        }
        commit(&transaction);
        logged.flush();
        let expected = logged.pages();
        let on_disk: Pages = expected
            .iter()
            .map(|(&(fork, block), new)| {
                let new = stamped(block, new);
                let page = match before.get(&(fork, block)) {
                    Some(old) => torn(&stamped(block, old), &new, &mut random),
                    None => new,
                };
                ((fork, block), page)
            })
            .collect();
        let mut recovery = Recovery::new(&logged.disk, "torn", &on_disk);
        let replayed = recovery.replay(&logged.config, redo).unwrap();
        assert!(replayed.records.contains_key("Heap DELETE"), "{replayed:?}");
        assert_same(&expected, &recovery.pages(), &format!("seed {seed}"));
    }
}

#[test]
fn images_for_comparison_agree_and_a_difference_is_found() {
    let mut logged = Logged::new(Disk::simulated(3), BUFFERS);
    let rmgrs = [RmgrId::HEAP, RmgrId::HEAP2];
    logged.rig.pool.set_wal_consistency_checking(&rmgrs);
    logged.load_and_mark();
    logged.change();
    logged.fill_what_is_spare();
    let middle = logged.wal.insert_lsn();
    // The last page that has tuples.
    let tuples = logged.rig.tuples_per_page();
    let last = tuples.iter().rposition(|count| *count > 0).unwrap() as u32;
    logged.flush();
    let mut recovery = Recovery::new(&logged.disk, "compared", &Pages::new());
    let replayed = recovery.replay(&logged.config, logged.start).unwrap();
    assert!(replayed.compared > 50, "{replayed:?}");
    assert_same(&logged.pages(), &recovery.pages(), "compared");

    // A page that was changed behind the log's back.
    let transaction = logged.rig.begin(1);
    let mut spare = SparePages::default();
    spare.push_partial(last);
    logged.rig.load(&transaction, 1, 60, false, spare);
    logged.flush();
    change_a_byte(&mut recovery, last);
    let error = recovery.replay(&logged.config, middle).unwrap_err();
    let RedoError::Inconsistent { block, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(*block, last, "{error}");
}

fn change_a_byte(recovery: &mut Recovery, block: u32) {
    let io: &mut IoContext = &mut recovery.io;
    let buffer = recovery.redo.pool().read(io, MAIN, block, None).unwrap();
    let mut guard = buffer.exclusive();
    guard.mark_dirty();
    // Within the page's first tuple, not behind it.
    guard[BLCKSZ - 20] ^= 1;
}

#[test]
fn a_missing_page_is_an_error_at_the_end_unless_a_record_says_that_it_is_gone() {
    let mut logged = Logged::new(Disk::simulated(4), BUFFERS);
    logged.load_and_mark();
    let middle = logged.wal.insert_lsn();
    logged.change();
    logged.flush();
    // Without what was before, and without images: the first changes find nothing.
    let redo = logged.checkpoint();
    assert!(redo > middle);
    let transaction = logged.rig.begin(1);
    let mut io = logged.rig.issuer();
    let writer = logged.rig.writer(&transaction);
    logged.wal.set_full_page_writes(false);
    let place = trunkline_pgformat::ItemPointer::new(2, 2);
    writer.delete(place, &mut io).unwrap();
    logged.flush();
    let mut recovery = Recovery::new(&logged.disk, "missing", &Pages::new());
    recovery.replay(&logged.config, redo).unwrap();
    let error = recovery.redo.check_invalid_pages().unwrap_err();
    assert_eq!(
        error.to_string(),
        "WAL contains references to invalid pages: 1 in all, first: \
         page 2 of relation \"base/5/16384\" does not exist"
    );
    recovery.redo.forget_blocks_from(MAIN, 3);
    assert!(recovery.redo.check_invalid_pages().is_err());
    recovery.redo.forget_blocks_from(MAIN, 2);
    recovery.redo.check_invalid_pages().unwrap();
}

#[test]
fn a_record_that_does_not_fit_its_page_leaves_it_as_it_was() {
    let mut logged = Logged::new(Disk::simulated(5), BUFFERS);
    logged.load_and_mark();
    logged.checkpoint();
    logged.wal.set_full_page_writes(false);
    let middle = logged.wal.insert_lsn();
    logged.change();
    logged.flush();
    let mut empty = Box::new([0; BLCKSZ]);
    PageMut::new(&mut empty).init(0);
    let pages: Pages = (0..20)
        .map(|block| ((ForkNumber::Main, block), stamped(block, &empty)))
        .collect();
    let mut recovery = Recovery::new(&logged.disk, "misfit", &pages);
    let error = recovery.replay(&logged.config, middle).unwrap_err();
    assert!(
        error.to_string().contains("invalid line pointer")
            || error.to_string().contains("failed to add tuple"),
        "{error}"
    );
    let tag = BufferTag::new(RelFork::new(TABLE, ForkNumber::Main), 0);
    let buffer = recovery
        .redo
        .read(
            &mut recovery.io,
            tag,
            trunkline_buffer::redo::Damage::Refused,
        )
        .unwrap()
        .unwrap();
    assert!(!buffer.is_dirty());
    assert_eq!(buffer.share().page().lsn(), Lsn::INVALID);
}

#[test]
fn a_damaged_page_of_the_map_is_taken_for_zeros_and_one_of_the_table_is_an_error() {
    let mut logged = Logged::new(Disk::simulated(6), BUFFERS);
    logged.load_and_mark();
    let redo = logged.checkpoint();
    let mut on_disk: Pages = logged
        .pages()
        .iter()
        .map(|(&(fork, block), page)| ((fork, block), stamped(block, page)))
        .collect();
    logged.wal.set_full_page_writes(false);
    let transaction = logged.rig.begin(1);
    let mut io = logged.rig.issuer();
    let writer = logged.rig.writer(&transaction);
    let place = trunkline_pgformat::ItemPointer::new(0, 1);
    writer.delete(place, &mut io).unwrap();
    logged.flush();

    let map = (ForkNumber::Vm, 0);
    on_disk.get_mut(&map).unwrap()[100] ^= 1;
    let mut recovery = Recovery::new(&logged.disk, "map", &on_disk);
    recovery.replay(&logged.config, redo).unwrap();
    let pages = recovery.pages();
    assert_eq!(
        trunkline_pgformat::visibility_map::count(&pages[&map]),
        (0, 0)
    );

    on_disk.get_mut(&(ForkNumber::Main, 0)).unwrap()[8000] ^= 1;
    let mut recovery = Recovery::new(&logged.disk, "table", &on_disk);
    let error = recovery.replay(&logged.config, redo).unwrap_err();
    assert!(
        error.to_string().starts_with("invalid page in block 0"),
        "{error}"
    );
}
